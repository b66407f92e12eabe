//! Compiles in which optional instructions the image may use.

use std::{env, error::Error, num::ParseIntError};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=OTRP_HWCAP");
    let capabilities = match env::var("OTRP_HWCAP") {
        Ok(text) => number(&text).map_err(|_| format!("OTRP_HWCAP={text} is not a number"))?,
        Err(_) => 0,
    };
    println!("cargo:rustc-env=OTRP_HWCAP={capabilities}");
    Ok(())
}

fn number(text: &str) -> Result<u64, ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}
