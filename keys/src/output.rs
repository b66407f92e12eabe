//! Output of the program, whose reader may have closed it: `otrp-keys show FILE | head -1`.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// Why something could not be written to standard output, other than a closed pipe.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Writes to standard output. A failure does not stop the program: certificates are issued whether or not
/// anybody reads the output.
pub fn write(text: Arguments<'_>) {
    let mut output = io::stdout().lock();
    match output.write_fmt(text).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => drop(FAILURE.set(error)),
        _ => {}
    }
}

/// Writes a line to standard error, if it can be written.
pub fn complain(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "otrp-keys: {text}");
}

/// Reports the first failure to write, if there was one: a truncated list must not look complete.
///
/// # Errors
/// That failure.
pub fn finish() -> anyhow::Result<()> {
    match FAILURE.get() {
        Some(error) => Err(anyhow::anyhow!("cannot write the output: {error}")),
        None => Ok(()),
    }
}
