//! What a trusted application without libc brings along: the panic handler and `getauxval`.

use core::{ffi::c_ulong, panic::PanicInfo};

/// The code with which a TA whose Rust code panicked ends ("RUST").
const PANIC_CODE: u32 = 0x5255_5354;

/// `AT_HWCAP` of Linux' auxiliary vector: the CPU's optional instructions.
const AT_HWCAP: c_ulong = 16;

/// The instructions the image may use (bits of Linux' `HWCAP_...`), from the build.
///
/// A user-space TA cannot read the CPU's identification registers, and OP-TEE has no call for it:
/// who builds the image knows the board. 0 leaves every optional instruction alone.
const CAPABILITIES: c_ulong = match c_ulong::from_str_radix(env!("OTRP_HWCAP"), 10) {
    Ok(capabilities) => capabilities,
    Err(_) => 0,
};

#[panic_handler]
fn panic(_information: &PanicInfo) -> ! {
    otrp_panic_sentinel()
}

/// Where every Rust panic ends. It has a name of its own so that its callers can be counted in the
/// linked image.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn otrp_panic_sentinel() -> ! {
    loop {
        // SAFETY: ends this TA instance and has no precondition.
        unsafe { optee_utee::raw::TEE_Panic(PANIC_CODE) };
    }
}

/// Answers the `cpufeatures` crate, by which RustCrypto picks its implementations.
#[unsafe(no_mangle)]
extern "C" fn getauxval(kind: c_ulong) -> c_ulong {
    if kind == AT_HWCAP { CAPABILITIES } else { 0 }
}
