//! Shared by the build scripts of the trusted applications: header, heap, and a link without libc.
//!
//! Rust's `aarch64-unknown-linux-gnu` target and the RustCrypto crates ask for libc and its start
//! files, and the linker would quietly record `libc.so.6` as needed, which no TEE can load. So the
//! libraries it asks for are empty archives here, and what is really missing fails the link.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use optee_utee_build::{Builder, TaConfig};

/// What a TA needs of the linker and of OP-TEE's loader.
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

#[allow(dead_code, reason = "each build script uses some of them")]
pub const SINGLE_INSTANCE: u32 = 1 << 2;
#[allow(dead_code, reason = "each build script uses some of them")]
pub const MULTI_SESSION: u32 = 1 << 3;
#[allow(dead_code, reason = "each build script uses some of them")]
pub const INSTANCE_KEEP_ALIVE: u32 = 1 << 4;

const ABSENT_LIBRARIES: [&str; 8] = ["c", "m", "rt", "pthread", "dl", "util", "gcc_s", "gcc_eh"];

impl Application {
    /// Writes the TA's header and tells cargo how to link its binary.
    pub fn build(&self) -> Result<(), Box<dyn Error>> {
        println!("cargo:rerun-if-env-changed=OTRP_HWCAP");
        let capabilities = match env::var("OTRP_HWCAP") {
            Ok(text) => number(&text).map_err(|_| format!("OTRP_HWCAP={text} is no number"))?,
            Err(_) => 0,
        };
        println!("cargo:rustc-env=OTRP_HWCAP={capabilities}");

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
        // The libraries' error is no `Error`.
        Builder::new(configuration).build().map_err(|error| format!("{error:?}"))?;
        discard_unwind_tables(&directory.join("ta.lds"))
    }
}

/// Takes the unwind tables out of the image, a tenth of it: a panic ends the TA, and OP-TEE's own
/// traces follow the frame pointers. The first pattern that matches in a linker script counts.
fn discard_unwind_tables(script: &Path) -> Result<(), Box<dyn Error>> {
    const START: &str = "SECTIONS {";
    let text = fs::read_to_string(script)?;
    let (head, tail) = text.split_once(START).ok_or("OP-TEE's linker script has changed")?;
    let discard = "/DISCARD/ : { *(.eh_frame .eh_frame.* .eh_frame_hdr .gcc_except_table*) }";
    fs::write(script, format!("{head}{START}\n {discard}{tail}"))?;
    println!("cargo:rustc-link-arg=-Wl,--no-eh-frame-hdr");
    Ok(())
}

fn number(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}
