//! The session with a device, and what to try after a refusal.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::Context as _;
use otrp_wire::ErrorCode;

use crate::check;
use crate::desired::TamSettings;
use crate::dsi::DeviceState;
use crate::identity::Identity;
use crate::jose::SignatureAlgorithm;
use crate::log;
use crate::pending::RequestKey;
use crate::record::Failures;
use crate::request::{Exchange, Target};
use crate::response::Refusal;
use crate::step::Step;

/// One connection of a device, from its first state to the last answer.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) tid: String,
    /// `None` until the TEE has signed a state.
    pub(crate) device: Option<Known>,
    /// The last state that the device's TEE signed; `None` if it is known to have changed since.
    pub(crate) state: Option<Box<DeviceState>>,
    /// Steps that were answered. None of them is made again.
    pub(crate) made: HashSet<Step>,
    /// Steps that were refused once because the device's state had changed. They are not repeated a
    /// second time for this reason.
    pub(crate) repeated: HashSet<Step>,
    /// Number of requests made.
    pub(crate) requests: usize,
    /// Whether a request that names the current state was refused, and so could still be replayed.
    pub(crate) replayable: bool,
    /// Whether only the state may still be requested.
    pub(crate) ending: bool,
    /// Algorithm of the TAM's key that signs.
    pub(crate) signature: SignatureAlgorithm,
    /// Whether the TAM's other key signed before.
    pub(crate) changed_key: bool,
    /// Index of the suite in use, among those that fit the device.
    pub(crate) suite: usize,
    /// Whether requests must carry the TAM's certificates.
    pub(crate) signer_required: bool,
    /// Failures of this session.
    pub(crate) failures: Failures,
    /// Whether the failures differ from those in the database.
    pub(crate) failures_changed: bool,
    /// Failures that were logged: each is logged once.
    pub(crate) logged: HashSet<String>,
}

/// The device of a session.
#[derive(Clone)]
pub(crate) struct Known {
    /// The fingerprint of its key.
    pub(crate) key: String,
    /// The revision of its record from which the request was made.
    pub(crate) revision: u64,
}

/// A request that waits for its answer.
pub(crate) struct Waiting {
    pub(crate) exchange: Exchange,
    /// The step that the request carries out; `None` for GetDeviceState.
    pub(crate) step: Option<Step>,
    /// The version of the image in the request.
    pub(crate) version: Option<u32>,
    pub(crate) session: Session,
    pub(crate) since: Instant,
}

impl Waiting {
    pub(crate) fn key(&self) -> RequestKey {
        (self.exchange.tid.clone(), self.exchange.rid.clone())
    }
}

impl Session {
    pub(crate) fn new(tid: String, signature: SignatureAlgorithm) -> Self {
        Self {
            tid,
            device: None,
            state: None,
            made: HashSet::new(),
            repeated: HashSet::new(),
            requests: 0,
            replayable: false,
            ending: false,
            signature,
            changed_key: false,
            suite: 0,
            signer_required: true,
            failures: Failures::default(),
            // The failures of the device's former session are replaced.
            failures_changed: true,
            logged: HashSet::new(),
        }
    }

    /// Adds a failure; `false` if the session already has it.
    pub(crate) fn fail(&mut self, failure: &str) -> bool {
        let is_new = self.logged.insert(String::from(failure));
        if is_new {
            self.failures.push(failure);
            self.failures_changed = true;
        }
        is_new
    }

    /// The failures, if they differ from those in the database.
    pub(crate) fn changed_failures(&self) -> Option<&Failures> {
        self.failures_changed.then_some(&self.failures)
    }

    /// Prepares the next attempt after the refusal of a step, which left the device's state as it was.
    pub(crate) fn apply(&mut self, remedy: &Remedy, step: &Step) {
        match remedy {
            Remedy::AskForState => {
                self.repeated.insert(step.clone());
                self.state = None;
            }
            Remedy::ChangeKey(other) => {
                self.change_key(*other);
                self.state = None;
            }
            Remedy::ShowCertificates => self.signer_required = true,
            Remedy::ChangeSuite => self.suite += 1,
        }
    }

    /// The identity that signs in this session.
    ///
    /// # Errors
    /// If the configuration has changed since the session began and the key is gone.
    pub(crate) fn identity<'s>(&self, settings: &'s TamSettings) -> anyhow::Result<&'s Identity> {
        settings
            .identity_of(self.signature)
            .with_context(|| format!("the TAM has no {} key any more", self.signature.name()))
    }

    /// Signs with the TAM's other key from here on. The device does not have its certificates yet.
    pub(crate) fn change_key(&mut self, signature: SignatureAlgorithm) {
        self.signature = signature;
        self.changed_key = true;
        self.signer_required = true;
    }
}

/// What to try after a refusal.
pub(crate) enum Remedy {
    /// Request the device's state again.
    AskForState,
    /// Send the TAM's certificates, which the device no longer has.
    ShowCertificates,
    /// Sign with the TAM's other key.
    ChangeKey(SignatureAlgorithm),
    /// Encrypt with the next suite.
    ChangeSuite,
}

/// What to try after the refusal of a step; `None` if nothing is left to try.
pub(crate) fn remedy(
    settings: &TamSettings,
    session: &Session,
    step: &Step,
    refusal: &Refusal,
) -> Option<Remedy> {
    match refusal.error_code()? {
        ErrorCode::DevStateMismatch if !session.repeated.contains(step) => {
            Some(Remedy::AskForState)
        }
        ErrorCode::TamNotTrusted if !session.signer_required => Some(Remedy::ShowCertificates),
        ErrorCode::UnsupportedCryptoAlg => match other_key(settings, session, refusal) {
            Some(other) => Some(Remedy::ChangeKey(other)),
            None => {
                let target = Target::from(session.state.as_deref()?);
                let suites = settings.algorithms.suites(&target).len();
                (session.suite + 1 < suites).then_some(Remedy::ChangeSuite)
            }
        },
        _ => None,
    }
}

/// The algorithm of the TAM's other key, if a TEE does not support the current one, the other key was
/// not tried yet, and the TEE's list does not exclude it.
pub(crate) fn other_key(
    settings: &TamSettings,
    session: &Session,
    refusal: &Refusal,
) -> Option<SignatureAlgorithm> {
    if session.changed_key || refusal.error_code() != Some(ErrorCode::UnsupportedCryptoAlg) {
        return None;
    }
    let other = settings
        .identities()
        .map(Identity::signature_algorithm)
        .find(|algorithm| *algorithm != session.signature)?;
    let listed =
        |wanted: SignatureAlgorithm| refusal.algorithms.iter().any(|it| it == wanted.name());
    // In GetDeviceState only the signature can be unsupported.
    let unlisted = refusal.algorithms.is_empty() && session.state.is_none();
    (unlisted || listed(other) && !listed(session.signature)).then_some(other)
}

/// Whether every further step would be refused too, because the reason is the TAM or the TEE and not
/// the step.
pub(crate) fn concerns_every_request(refusal: &Refusal) -> bool {
    matches!(
        refusal.error_code(),
        Some(
            ErrorCode::TamNotTrusted
                | ErrorCode::TfwNotTrusted
                | ErrorCode::UnsupportedCryptoAlg
                | ErrorCode::UnsupportedMsgVersion
        )
    )
}

/// Possible causes of `ERR_TAM_NOT_TRUSTED`, for which a TEE gives no reason; begins with a semicolon.
/// Empty for other refusals.
pub(crate) fn explain(settings: &TamSettings, session: &Session, refusal: &Refusal) -> String {
    if refusal.error_code() != Some(ErrorCode::TamNotTrusted) {
        return String::new();
    }
    let now = log::now();
    let own = match session.identity(settings) {
        Ok(identity) => check::standing(settings, identity, now).faults,
        Err(error) => vec![format!("{error:#}")],
    };
    let clock = otrp_check::time::utc(now);
    if own.is_empty() {
        format!(
            "; by this TAM's clock, {clock}, its certificates and OCSP responses are right, so \
             either the device is built without this TAM's root, or its clock is wrong: compare it \
             with this one"
        )
    } else {
        format!("; by this TAM's clock, {clock}: {}", own.join("; "))
    }
}
