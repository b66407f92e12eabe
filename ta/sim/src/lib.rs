//! The simulated TEE: every port of the engine in memory, with faults on demand.
//!
//! It is for speed and for what hardware cannot be made to do: power cuts and errors at each
//! single operation. The real stack has tests of its own under QEMU.

mod fault;
mod platform;
mod world;

pub use fault::{Cut, Fault, Faults, Moment, Operation};
pub use platform::{SimClock, SimKeys, SimPlatform, SimRng, SimRsa, SimStore};
pub use world::{Snapshot, StoredBlob, World};
