//! The emulated device: its hardware, what it boots, and a hold on the Linux that runs on it.
//!
//! Nothing here knows OTrP.

pub mod board;
pub mod counter;
pub mod device;
pub mod guest;
pub mod image;
pub mod machine;
pub mod storage;
pub mod supplicant;
