//! Stapled OCSP: which responses show that a TAM is good, for how long, and what the clock does.
//!
//! Responses are made by `otrp-keys` and by the `openssl` program; OpenSSL judges the good ones.

mod accepted;
mod clock;
mod fixture;
mod memory;
mod refused;
mod tam;
