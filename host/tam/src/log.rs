//! The log: events of one line each.
//!
//! [`to_standard_error`] writes them with the time in UTC. Only this module records events, and it
//! escapes each line first ([`one_line`]): no text of a device begins a line or reaches a terminal as
//! a control character. Events of other crates are not written, because they are not escaped.
//!
//! Anyone who can reach the server can cause lines, so they are limited. Each address may cause one
//! line a second. Each device, by answers that its TEE's key signed and that were accepted, may
//! cause as many lines as its longest session has, and then one a second. Lines that are left out
//! are counted, and the count is logged.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::foreign::one_line;

/// Sources that are counted separately; all others share one count.
const SOURCES: usize = 1024;
/// Lines that a device may cause at once: more than a session has requests.
const DEVICE_LINES: u32 = 1100;
/// Characters kept of the last line that was left out.
const KEPT: usize = 400;

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Begins to write the log to standard error, one line an event: the time, then the line. What happens
/// before is not written.
pub fn to_standard_error() {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_timer(Utc)
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        // It would panic where nobody reads, and the server must outlive its reader.
        .log_internal_errors(false)
        .with_filter(Targets::new().with_target(module_path!(), LevelFilter::INFO));
    // Fails only if a subscriber was set before, which then writes the events in its own way.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

/// The time of an event, in seconds.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&otrp_check::time::utc(now()))
    }
}

/// Logs a line that anyone at `peer`, an address and a port, can cause. It is left out if another one
/// was logged for this address within the last second.
pub fn about_client(peer: &str, line: &str) {
    limited(Source::of_peer(peer), 1, &format!("{peer} {line}"));
}

/// Logs a line that a device caused by an accepted answer; `device` is the fingerprint of its TEE's
/// key.
pub fn about_device(peer: &str, device: &str, line: &str) {
    limited(Source::Device(String::from(device)), DEVICE_LINES, &format!("{peer} {line}"));
}

/// Logs a line about the server itself.
pub fn about_server(line: &str) {
    write(line);
}

/// Logs how many lines were left out, for each source that may cause a line again. Must be called
/// every second.
pub fn count_left_out() {
    let lines = quota().count_left_out(Instant::now());
    lines.iter().for_each(|line| write(line));
}

fn limited(source: Source, burst: u32, line: &str) {
    let line = quota().pass(source, burst, line, Instant::now());
    if let Some(line) = line {
        write(&line);
    }
}

fn quota() -> MutexGuard<'static, Quota> {
    static QUOTA: LazyLock<Mutex<Quota>> = LazyLock::new(Mutex::default);
    QUOTA.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(line: &str) {
    tracing::info!("{}", one_line(line));
}

/// The cause of a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// An address; the first 64 bits of an IPv6 address, because a client that has one usually has all
    /// below it.
    Address(IpAddr),
    /// A device by the fingerprint of its key.
    Device(String),
    /// Everything else: no address, or more than [`SOURCES`].
    Other,
}

impl Source {
    /// The source of a peer, given as address and port.
    fn of_peer(peer: &str) -> Self {
        peer.parse::<SocketAddr>().map_or(Self::Other, |peer| Self::of_address(peer.ip()))
    }

    /// The source that an address belongs to.
    pub(crate) fn of_address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::from((address.to_bits() >> 64 << 64).to_be_bytes()),
            address => address,
        })
    }
}

/// Decides which lines are logged and which are only counted.
#[derive(Default)]
struct Quota(HashMap<Source, Count>);

struct Count {
    burst: u32,
    /// Lines that may be logged now.
    lines: u32,
    /// Until when lines were allotted, one a second.
    allotted: Instant,
    left_out: usize,
    /// The last line that was left out.
    last: String,
}

impl Count {
    const fn new(burst: u32, now: Instant) -> Self {
        Self { burst, lines: burst, allotted: now, left_out: 0, last: String::new() }
    }

    fn allot(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.allotted).as_secs();
        self.allotted += Duration::from_secs(seconds);
        let lines = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.lines = self.lines.saturating_add(lines).min(self.burst);
    }
}

impl Quota {
    /// The line to log, with the number of lines left out before it; `None` if it is left out.
    fn pass(&mut self, source: Source, burst: u32, line: &str, now: Instant) -> Option<String> {
        if self.0.len() >= SOURCES && !self.0.contains_key(&source) {
            self.0.retain(|_, count| {
                count.allot(now);
                count.lines < count.burst || count.left_out > 0
            });
        }
        let (source, burst) = match self.0.len() < SOURCES || self.0.contains_key(&source) {
            true => (source, burst),
            false => (Source::Other, 1),
        };
        let count = self.0.entry(source).or_insert_with(|| Count::new(burst, now));
        count.allot(now);
        if count.lines == 0 {
            count.left_out += 1;
            count.last = line.chars().take(KEPT).collect();
            return None;
        }
        count.lines -= 1;
        Some(match std::mem::take(&mut count.left_out) {
            0 => String::from(line),
            left_out => format!("{line} ({left_out} lines of this source were left out before)"),
        })
    }

    /// One line for each source that has lines left out and may cause one again. Forgets sources that
    /// have nothing left to count.
    fn count_left_out(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        self.0.retain(|_, count| {
            count.allot(now);
            if count.left_out > 0 && count.lines > 0 {
                count.lines -= 1;
                let (left_out, last) = (count.left_out, &count.last);
                lines.push(format!("{last} (the last of {left_out} lines that were left out)"));
                count.left_out = 0;
                count.last = String::new();
            }
            count.lines < count.burst || count.left_out > 0
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of_address(address.parse().unwrap())
    }

    #[test]
    fn a_source_is_an_address_or_a_network_of_64_bits() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            assert_eq!(source(one) == source(other), same, "{one} {other}");
        }
        assert_eq!(Source::of_peer("192.0.2.1:80"), source("192.0.2.1"));
        assert_eq!(Source::of_peer("[2001:db8::1]:80"), source("2001:db8::"));
        assert_eq!(Source::of_peer("nobody"), Source::Other);
    }

    #[test]
    fn a_source_has_a_line_a_second_and_the_rest_is_counted() {
        let mut quota = Quota::default();
        let start = Instant::now();
        let mut written = Vec::new();
        // A hundred lines a second for ten seconds, and nobody else is kept from writing.
        for at in 0..1000 {
            let now = start + Duration::from_millis(at * 10);
            written.extend(quota.pass(source("192.0.2.1"), 1, &format!("line {at}"), now));
            if at % 200 == 0 {
                assert!(quota.pass(source("192.0.2.2"), 1, "other", now).is_some());
            }
        }
        assert_eq!(written.len(), 10, "{written:?}");
        assert_eq!(written[0], "line 0");
        assert_eq!(written[1], "line 100 (99 lines of this source were left out before)");
        // What was left out at the end is counted once a line is due.
        assert_eq!(quota.count_left_out(start + Duration::from_millis(9_990)).len(), 0);
        let end = start + Duration::from_secs(11);
        let counted = quota.count_left_out(end);
        assert_eq!(counted, ["line 999 (the last of 99 lines that were left out)"]);
        assert!(quota.pass(source("192.0.2.1"), 1, "line", end).is_none(), "that was its line");
        assert_eq!(quota.count_left_out(end + Duration::from_secs(1)).len(), 1);
        assert!(quota.count_left_out(end + Duration::from_secs(2)).is_empty());
        assert!(quota.0.is_empty(), "nothing is remembered of who is quiet");
    }

    #[test]
    fn the_number_of_counted_sources_is_limited() {
        let mut quota = Quota::default();
        let start = Instant::now();
        let address = |number: u32| Source::Address(IpAddr::from(number.to_be_bytes()));
        let mut written = 0;
        for number in 0..10_000 {
            written += usize::from(quota.pass(address(number), 1, "line", start).is_some());
        }
        assert_eq!((quota.0.len(), written), (SOURCES + 1, SOURCES + 1));
        // Those who were quiet for a second make place.
        let later = start + Duration::from_secs(1);
        assert!(quota.pass(address(20_000), 1, "line", later).is_some());
        assert!(quota.0.len() <= 2);
    }

    #[test]
    fn a_device_may_have_a_whole_session_logged() {
        let mut quota = Quota::default();
        let start = Instant::now();
        let device = || Source::Device(String::from("device"));
        let written =
            (0..5000).filter_map(|_| quota.pass(device(), DEVICE_LINES, "line", start)).count();
        assert_eq!(written, 1100);
    }
}
