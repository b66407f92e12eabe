//! What the tests found, as text.

use core::fmt::Write;

/// Counts checks and writes a line for each that failed.
pub struct Report<'w> {
    out: &'w mut dyn Write,
    passed: u32,
    failed: u32,
}

impl core::fmt::Debug for Report<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Report {{ passed: {}, failed: {} }}", self.passed, self.failed)
    }
}

impl<'w> Report<'w> {
    /// A report whose lines go to `out`.
    pub fn new(out: &'w mut dyn Write) -> Self {
        Self { out, passed: 0, failed: 0 }
    }

    /// Checks that held and that did not.
    #[must_use]
    pub const fn counts(&self) -> (u32, u32) {
        (self.passed, self.failed)
    }

    /// Records whether what `claim` says holds.
    pub fn check(&mut self, claim: &str, holds: bool) {
        if holds {
            self.passed = self.passed.saturating_add(1);
        } else {
            self.failed = self.failed.saturating_add(1);
            self.line(format_args!("FAILED: {claim}"));
        }
    }

    /// Records whether two values are equal, and both if they are not.
    pub fn equal<T: PartialEq + core::fmt::Debug>(&mut self, claim: &str, found: T, expected: T) {
        if found == expected {
            self.passed = self.passed.saturating_add(1);
        } else {
            self.failed = self.failed.saturating_add(1);
            self.line(format_args!("FAILED: {claim}: {found:?} instead of {expected:?}"));
        }
    }

    /// Ends a group of checks with a line that names it.
    pub fn section(&mut self, name: &str) {
        let (passed, failed) = self.counts();
        self.line(format_args!("{name}: {passed} checks so far, {failed} failed"));
    }

    /// Adds a line that is no check.
    pub fn line(&mut self, text: core::fmt::Arguments<'_>) {
        // A report that is full loses lines, not the counts that decide.
        let _ = self.out.write_fmt(text);
        let _ = self.out.write_char('\n');
    }
}
