//! What the program says, to readers that may have gone: `otrp-keys show FILE | head -1`.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// Why something could not be written to standard output, other than that nobody reads it.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Writes to standard output. What is to be done goes on where that fails: nobody waits for the words
/// of a program that issues certificates.
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

/// The first failure to write, if there was one: a list that is cut off must not look like a whole one.
///
/// # Errors
/// That failure.
pub fn finish() -> anyhow::Result<()> {
    match FAILURE.get() {
        Some(error) => Err(anyhow::anyhow!("cannot write the output: {error}")),
        None => Ok(()),
    }
}
