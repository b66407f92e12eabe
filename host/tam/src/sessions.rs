//! The sessions with devices whose TEE has signed a state: one each, and an end to them all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::echo::Stamp;

/// Most sessions at a time; beyond that the one that waited longest ends.
pub const SESSION_LIMIT: usize = 1024;
/// Most devices of which is known which question they answered last.
const ANSWERED_LIMIT: usize = 65_536;
/// From how many on it is worth looking for those that need not be known any more.
const ANSWERED_SWEEP: usize = 1024;

/// A request by `tid` and `rid`.
pub type RequestKey = (String, String);

/// What waits for the answers of devices, each known by the fingerprint of its TEE's key.
pub struct Sessions<T> {
    patience: Duration,
    waiting: HashMap<RequestKey, Waiting<T>>,
    requests: HashMap<String, RequestKey>,
    answered: HashMap<String, (Stamp, Instant)>,
    /// No question up to this one counts any more, whoever answers.
    floor: Stamp,
    sweep_at: usize,
}

struct Waiting<T> {
    device: String,
    since: Instant,
    what: Arc<T>,
}

impl<T> Sessions<T> {
    /// None yet. Each ends when a request waits longer than `patience` for its answer.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            waiting: HashMap::new(),
            requests: HashMap::new(),
            answered: HashMap::new(),
            floor: Stamp::default(),
            sweep_at: ANSWERED_SWEEP,
        }
    }

    /// Remembers what waits for a device's answer, in place of whatever waited for it before.
    pub fn wait(&mut self, device: &str, request: RequestKey, what: T) {
        self.end(device);
        let Self { patience, requests, .. } = self;
        self.waiting.retain(|_, waiting| {
            let stays = waiting.since.elapsed() < *patience;
            if !stays {
                requests.remove(&waiting.device);
            }
            stays
        });
        if self.waiting.len() >= SESSION_LIMIT {
            let oldest = self.waiting.values().min_by_key(|waiting| waiting.since);
            if let Some(device) = oldest.map(|waiting| waiting.device.clone()) {
                self.end(&device);
            }
        }
        self.requests.insert(String::from(device), request.clone());
        let (device, since) = (String::from(device), Instant::now());
        self.waiting.insert(request, Waiting { device, since, what: Arc::new(what) });
    }

    /// What waits for the answer to a request.
    #[must_use]
    pub fn waiting(&self, request: &RequestKey) -> Option<Arc<T>> {
        let waiting = self.waiting.get(request)?;
        (waiting.since.elapsed() < self.patience).then(|| waiting.what.clone())
    }

    /// Ends the wait for an answer that was verified; `false` if another copy of it ended it
    /// before, or the device began another session.
    #[must_use]
    pub fn take(&mut self, request: &RequestKey) -> bool {
        let Some(waiting) = self.waiting.remove(request) else { return false };
        self.requests.remove(&waiting.device);
        true
    }

    /// Takes over that a device answered a question outside of any session; `false` if it answered
    /// this one before, or a later one, so that no answer counts twice.
    #[must_use]
    pub fn answered(&mut self, device: &str, stamp: Stamp) -> bool {
        let last = self.answered.get(device).map_or(self.floor, |(last, _)| *last);
        if stamp <= last.max(self.floor) {
            return false;
        }
        self.answered.insert(String::from(device), (stamp, Instant::now()));
        if self.answered.len() >= self.sweep_at {
            self.sweep();
        }
        true
    }

    /// Forgets the answers to questions that are too old to be answered again.
    fn sweep(&mut self) {
        let patience = self.patience;
        self.answered.retain(|_, (_, at)| at.elapsed() < patience);
        while self.answered.len() >= ANSWERED_LIMIT {
            let oldest = self.answered.iter().min_by_key(|(_, (stamp, _))| *stamp);
            let Some((device, (stamp, _))) = oldest.map(|(key, at)| (key.clone(), *at)) else {
                break;
            };
            self.floor = self.floor.max(stamp);
            self.answered.remove(&device);
        }
        self.sweep_at =
            ANSWERED_SWEEP.max(self.answered.len().saturating_mul(2)).min(ANSWERED_LIMIT);
    }

    fn end(&mut self, device: &str) {
        if let Some(request) = self.requests.remove(device) {
            self.waiting.remove(&request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::Echoes;
    use crate::jose::SignatureAlgorithm;

    const PATIENCE: Duration = Duration::from_secs(600);

    fn request(number: usize) -> RequestKey {
        (format!("t{number}"), format!("r{number}"))
    }

    #[test]
    fn a_device_has_one_session() {
        let mut sessions = Sessions::new(PATIENCE);
        for number in 0..SESSION_LIMIT * 2 {
            sessions.wait("greedy", request(number), number);
        }
        sessions.wait("modest", request(1_000_000), 0);
        assert_eq!(sessions.waiting.len(), 2);
        assert_eq!(sessions.requests.len(), 2);
        assert!(sessions.waiting(&request(0)).is_none());
        let last = request(SESSION_LIMIT * 2 - 1);
        assert!(sessions.waiting(&last).is_some());
        assert!(sessions.take(&last) && !sessions.take(&last), "once");
        assert_eq!(sessions.requests.len(), 1);
    }

    #[test]
    fn the_oldest_session_ends_where_there_are_too_many() {
        let mut sessions = Sessions::new(PATIENCE);
        for number in 0..=SESSION_LIMIT {
            sessions.wait(&number.to_string(), request(number), number);
        }
        assert_eq!(sessions.waiting.len(), SESSION_LIMIT);
        assert_eq!(sessions.requests.len(), SESSION_LIMIT);
        assert!(sessions.waiting(&request(0)).is_none());
        assert!(sessions.waiting(&request(1)).is_some());
        assert!(sessions.waiting(&request(SESSION_LIMIT)).is_some());
    }

    #[test]
    fn sessions_end_with_the_patience() {
        let mut sessions = Sessions::new(Duration::ZERO);
        sessions.wait("a", request(1), 1);
        assert!(sessions.waiting(&request(1)).is_none());
        sessions.wait("b", request(2), 2);
        assert_eq!((sessions.waiting.len(), sessions.requests.len()), (1, 1));
    }

    #[test]
    fn an_answer_counts_once_and_not_after_a_later_one() {
        let echoes = Echoes::new(PATIENCE).unwrap();
        let stamp = || {
            let rid = echoes.ask("t", SignatureAlgorithm::Es256, false).unwrap();
            echoes.recognize("t", &rid).unwrap().stamp
        };
        let (first, second) = (stamp(), stamp());
        let mut sessions = Sessions::<()>::new(PATIENCE);
        assert!(sessions.answered("a", second));
        assert!(!sessions.answered("a", second) && !sessions.answered("a", first));
        assert!(sessions.answered("b", first), "another device");
        // However many devices answer, none is forgotten before its answers are too old.
        for number in 0..ANSWERED_LIMIT {
            assert!(sessions.answered(&number.to_string(), stamp()));
        }
        assert!(sessions.answered.len() <= ANSWERED_LIMIT);
        assert!(!sessions.answered("a", second) && !sessions.answered("b", first));
    }
}
