//! The log: lines on standard error, each with the time in UTC and who is spoken with.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A line that is about one client.
pub fn of_peer(peer: &str, line: &str) {
    write(&format!("{peer} {line}"));
}

/// A line that is about the server itself.
pub fn of_server(line: &str) {
    write(line);
}

fn write(line: &str) {
    // What a device sends can stand in an error's text, and must not begin a line of its own.
    let line = line.replace(char::is_control, " ");
    // `eprintln!` panics when nobody reads, and the server shall outlive its reader.
    let _ = writeln!(std::io::stderr(), "{} {line}", otrp_check::time::utc(now()));
}
