//! The lab's tee-supplicant, which counts the TEE's calls and can let one of them fail.
//!
//! It is the usual one with `lab/failing_calls.c` in it.

use anyhow::{Context, Result, ensure};

use crate::harness::guest::Guest;

/// Where `lab/failing_calls.c` has its plan, a `struct plan`.
const PLAN: &str = "/run/failing-calls";
const PLAN_LENGTH: usize = PLAN_WORDS * size_of::<u32>() + TRACED;
const PLAN_WORDS: usize = 4;
const TRACED: usize = 4096;

/// A call to the supplicant that fails.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Which one since the plan was made, from 1; 0 for none.
    pub number: u32,
    /// Whether it is done nevertheless.
    pub done: bool,
    /// Whether all later ones fail, too.
    pub lasting: bool,
}

impl Fault {
    /// Nothing fails.
    pub const NONE: Self = Self { number: 0, done: false, lasting: false };

    /// The command of the guest that plans it, and counts from here.
    #[must_use]
    pub fn plan(self) -> String {
        let words = [0, self.number, u32::from(self.done), u32::from(self.lasting)];
        let octets = words.iter().flat_map(|word| word.to_le_bytes());
        let octets: String = octets.map(|octet| format!("\\{octet:03o}")).collect();
        format!("printf '{octets}' | dd of={PLAN} conv=notrunc 2>/dev/null")
    }
}

/// Starts it in the place of the one that runs.
pub fn start(guest: &mut Guest) -> Result<()> {
    let script = format!(
        "dd if=/dev/zero of={PLAN} bs={PLAN_LENGTH} count=1 2>/dev/null
         until grep -q failing_calls /proc/$(pidof tee-supplicant)/maps 2>/dev/null; do
             kill -9 $(pidof tee-supplicant)
             LD_PRELOAD=/usr/bin/failing_calls.so tee-supplicant -d -f /var/lib/tee
             sleep 0.1
         done"
    );
    guest.run(&script)?.success()?;
    Ok(())
}

/// The kinds of the calls since the plan was made: a letter each, as `lab/failing_calls.c` has them.
pub fn trace(guest: &mut Guest) -> Result<Vec<u8>> {
    let plan = guest.get(PLAN)?;
    let (seen, rest) = plan.split_first_chunk().context("the plan is too short")?;
    let seen = usize::try_from(u32::from_le_bytes(*seen))?;
    ensure!(seen <= TRACED, "{seen} calls");
    let kinds = &rest[(PLAN_WORDS - 1) * size_of::<u32>()..][..seen];
    ensure!(!kinds.contains(&b'?'), "unknown calls: {}", String::from_utf8_lossy(kinds));
    Ok(kinds.to_vec())
}
