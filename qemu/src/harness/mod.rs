//! The emulated device: its hardware, what it boots, and control of the Linux that runs on it.
//!
//! Nothing here depends on OTrP.

use std::path::{Path, PathBuf};

pub mod board;
pub mod counter;
pub mod device;
pub mod guest;
pub mod image;
pub mod machine;
pub mod storage;
pub mod supplicant;

/// The folder in which `make` builds, of the tree that this program was compiled in.
#[must_use]
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache")
}
