//! End-to-end tests: the engine on the simulated TEE against the independent TAM.
//!
//! Requests come from `otrp-tam`, whose JOSE and certificates are josekit's and OpenSSL's, and
//! whose answers it judges; nothing that is expected here was computed by the engine.

mod attacks;
mod bench;
mod clock;
mod damage;
mod escapes;
mod exhaustion;
mod flow;
mod forms;
mod home;
mod hostile_memory;
mod libraries;
mod limits;
mod mandatory;
mod members;
mod model;
mod mutants;
mod ocsp;
mod order;
mod personalization;
mod power_cuts;
mod record;
mod refusals;
mod renewal;
mod replay;
mod rsa;
mod samples;
mod second_forms;
mod secrets;
mod tams;
mod theft;
mod update;
