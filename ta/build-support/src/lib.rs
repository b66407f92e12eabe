//! For build scripts of trusted applications: generates header and heap, and links without libc.
//!
//! Rust's `aarch64-unknown-linux-gnu` target and the RustCrypto crates ask for libc and its start
//! files, and the linker would silently record `libc.so.6` as needed, which OP-TEE cannot load. The
//! libraries it asks for are therefore empty archives, and a symbol that is really missing fails the
//! link.
//!
//! A build script is:
//!
//! ```no_run
//! use otrp_build_support::{Application, SINGLE_INSTANCE};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     Application {
//!         uuid: "7265664a-f108-4bd7-af1c-86d044babbac",
//!         flags: SINGLE_INSTANCE,
//!         stack: 32 * 1024,
//!         heap: 32 * 1024,
//!     }
//!     .build()
//! }
//! ```
//!
//! The TA itself has `otrp_runtime::header!();`, which includes this header.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use optee_utee_build::{Builder, TaConfig};

/// What OP-TEE's loader needs to know about a TA.
pub struct Application {
    /// The UUID under which it loads.
    pub uuid: &'static str,
    /// `TA_FLAG_...` of OP-TEE's user_ta_header.h.
    pub flags: u32,
    /// Bytes of stack. OP-TEE gives a TA's stack no guard page: measure, do not guess.
    pub stack: u32,
    /// Bytes of heap.
    pub heap: u32,
}

/// `TA_FLAG_SINGLE_INSTANCE`: all sessions share one instance.
pub const SINGLE_INSTANCE: u32 = 1 << 2;
/// `TA_FLAG_MULTI_SESSION`: the one instance serves several sessions.
pub const MULTI_SESSION: u32 = 1 << 3;
/// `TA_FLAG_INSTANCE_KEEP_ALIVE`: the instance stays when its last session ends.
pub const INSTANCE_KEEP_ALIVE: u32 = 1 << 4;

const ABSENT_LIBRARIES: [&str; 8] = ["c", "m", "rt", "pthread", "dl", "util", "gcc_s", "gcc_eh"];

impl Application {
    /// Writes the TA's header and tells cargo how to link its binary.
    ///
    /// # Errors
    /// A dev kit that is missing (`TA_DEV_KIT_DIR`) or whose linker script has another form, a UUID that
    /// is not valid, or a folder that cannot be written.
    pub fn build(&self) -> Result<(), Box<dyn Error>> {
        let directory = PathBuf::from(env::var("OUT_DIR")?);
        for name in ABSENT_LIBRARIES {
            fs::write(directory.join(format!("lib{name}.a")), "!<arch>\n")?;
        }
        println!("cargo:rustc-link-search=native={}", directory.display());
        println!("cargo:rustc-link-arg=-nostartfiles");

        let configuration = TaConfig::new_default_with_cargo_env(self.uuid)
            .map_err(|error| format!("{error:?}"))?
            .ta_flags(self.flags)
            .ta_stack_size(self.stack)
            .ta_data_size(self.heap)
            .trace_level(2);
        // That crate's error type does not implement `Error`.
        Builder::new(configuration).build().map_err(|error| format!("{error:?}"))?;
        discard_unwind_tables(&directory.join("ta.lds"))
    }
}

/// Removes the unwind tables, a tenth of the image: a panic ends the TA, and OP-TEE's own traces
/// follow the frame pointers. In a linker script the first pattern that matches counts.
fn discard_unwind_tables(script: &Path) -> Result<(), Box<dyn Error>> {
    const START: &str = "SECTIONS {";
    let text = fs::read_to_string(script)?;
    let (head, tail) = text.split_once(START).ok_or("OP-TEE's linker script has changed")?;
    let discard = "/DISCARD/ : { *(.eh_frame .eh_frame.* .eh_frame_hdr .gcc_except_table*) }";
    fs::write(script, format!("{head}{START}\n {discard}{tail}"))?;
    println!("cargo:rustc-link-arg=-Wl,--no-eh-frame-hdr");
    Ok(())
}
