//! Boots OP-TEE and Linux in QEMU and runs commands in the guest.
//!
//! A [`Device`](harness::device::Device) is what a piece of hardware would be: its own key and its own
//! storage. An [`Image`](harness::image::Image) is the firmware and software it boots. A
//! [`Machine`](harness::machine::Machine) puts the two together; booted it is a [`Guest`](harness::guest::Guest).
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use otrp_qemu::harness::{device::Device, image::Image, machine::Machine};
//!
//! let device = Device::open_or_create(".cache/devices/example")?;
//! let mut guest = Machine::new(device, Image::open(".cache/image/development")?).boot()?;
//! println!("{}", guest.run("uname -a")?.success()?.text());
//! let device = guest.power_off()?;
//! // The same device boots again, with the storage it had.
//! # drop(device); Ok(())
//! # }
//! ```
//!
//! Servers on the host's loopback are reached from the guest at [`guest::HOST`](harness::guest::HOST).

pub mod harness;
pub mod scenario;
