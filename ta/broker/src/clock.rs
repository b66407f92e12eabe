//! The normal world's clock.

use optee_utee::Time;
use otrp_engine::platform::Clock;

/// The time that Linux tells OP-TEE.
#[derive(Debug)]
pub struct ReeClock;

impl Clock for ReeClock {
    fn now(&mut self) -> u64 {
        let mut time = Time::new();
        time.ree_time();
        u64::from(time.seconds)
    }
}
