//! What happens on an emulated device: the demonstration, benchmarks and stress tests.

pub mod bench;
pub mod calls;
pub mod deployment;
pub mod flow;
pub mod hostile;
pub mod operator;
pub mod report;
pub mod soak;
