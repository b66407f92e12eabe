//! Boots OP-TEE and Linux in QEMU and runs commands in the guest.
//!
//! A [`Device`](device::Device) is what a piece of hardware would be: its own key and its own
//! storage. An [`Image`](image::Image) is the firmware and software it boots. A
//! [`Machine`](machine::Machine) puts the two together; booted it is a [`Guest`](guest::Guest).
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use otrp_qemu::{device::Device, image::Image, machine::Machine};
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
//! Servers on the host's loopback are reached from the guest at [`guest::HOST`].

pub mod bench;
pub mod board;
pub mod calls;
pub mod counter;
pub mod deployment;
pub mod device;
pub mod flow;
pub mod guest;
pub mod hostile;
pub mod image;
pub mod machine;
pub mod operator;
pub mod soak;
pub mod storage;
pub mod supplicant;
