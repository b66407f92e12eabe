//! Requests that wait for the answers of identified devices: one per device.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sessions at a time; beyond that the one that has waited longest is evicted.
pub const SESSION_LIMIT: usize = 1024;
/// `tid` and `rid` of a request.
pub type RequestKey = (String, String);

/// What waits for the answers of devices. A device is identified by the fingerprint of its TEE's key.
pub struct Pending<T> {
    patience: Duration,
    waiting: HashMap<RequestKey, Waiting<T>>,
    requests: HashMap<String, RequestKey>,
    at_work: HashSet<String>,
}

struct Waiting<T> {
    device: String,
    since: Instant,
    what: Arc<T>,
}

impl<T> Pending<T> {
    /// An empty table. A session ends when its request has waited for `patience`.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            waiting: HashMap::new(),
            requests: HashMap::new(),
            at_work: HashSet::new(),
        }
    }

    /// Adds what waits for a device's answer, and replaces what waited for the device before.
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

    /// What waits for the answer to a request; `None` if nothing does, or for too long.
    #[must_use]
    pub fn waiting(&self, request: &RequestKey) -> Option<Arc<T>> {
        let waiting = self.waiting.get(request)?;
        (waiting.since.elapsed() < self.patience).then(|| waiting.what.clone())
    }

    /// Removes the request of a verified answer; `false` if another copy of the answer was faster, or
    /// the device began another session.
    #[must_use]
    pub fn take(&mut self, request: &RequestKey) -> bool {
        let Some(waiting) = self.waiting.remove(request) else { return false };
        self.requests.remove(&waiting.device);
        true
    }

    /// Begins to process an answer of a device; `false` if another one is being processed. So a device
    /// that sends many answers at a time has one place in each queue, above all in the database's.
    #[must_use]
    pub fn begin_work(&mut self, device: &str) -> bool {
        self.at_work.insert(String::from(device))
    }

    /// Ends what [`Pending::begin_work`] began.
    pub fn end_work(&mut self, device: &str) {
        self.at_work.remove(device);
    }

    /// Ends the session of a device, if it has one.
    pub fn end(&mut self, device: &str) {
        if let Some(request) = self.requests.remove(device) {
            self.waiting.remove(&request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(600);

    fn request(number: usize) -> RequestKey {
        (format!("t{number}"), format!("r{number}"))
    }

    #[test]
    fn a_device_has_one_session() {
        let mut pending = Pending::new(PATIENCE);
        for number in 0..SESSION_LIMIT * 2 {
            pending.wait("greedy", request(number), number);
        }
        pending.wait("modest", request(1_000_000), 0);
        assert_eq!(pending.waiting.len(), 2);
        assert_eq!(pending.requests.len(), 2);
        assert!(pending.waiting(&request(0)).is_none());
        let last = request(SESSION_LIMIT * 2 - 1);
        assert!(pending.waiting(&last).is_some());
        assert!(pending.take(&last) && !pending.take(&last), "once");
        assert_eq!(pending.requests.len(), 1);
    }

    #[test]
    fn the_oldest_session_is_evicted() {
        let mut pending = Pending::new(PATIENCE);
        for number in 0..=SESSION_LIMIT {
            pending.wait(&number.to_string(), request(number), number);
        }
        assert_eq!(pending.waiting.len(), SESSION_LIMIT);
        assert_eq!(pending.requests.len(), SESSION_LIMIT);
        assert!(pending.waiting(&request(0)).is_none());
        assert!(pending.waiting(&request(1)).is_some());
        assert!(pending.waiting(&request(SESSION_LIMIT)).is_some());
    }

    #[test]
    fn sessions_expire() {
        let mut pending = Pending::new(Duration::ZERO);
        pending.wait("a", request(1), 1);
        assert!(pending.waiting(&request(1)).is_none());
        pending.wait("b", request(2), 2);
        assert_eq!((pending.waiting.len(), pending.requests.len()), (1, 1));
    }

    #[test]
    fn one_answer_of_a_device_is_processed_at_a_time() {
        let mut pending = Pending::<()>::new(PATIENCE);
        assert!(pending.begin_work("a") && pending.begin_work("b"));
        assert!(!pending.begin_work("a"));
        pending.end_work("a");
        assert!(pending.begin_work("a") && !pending.begin_work("b"));
        assert_eq!(pending.at_work.len(), 2);
    }
}
