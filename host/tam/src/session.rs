//! The session with a device: what was asked of it, what it answered, and what helps after a refusal.

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

/// A request whose answer is due.
pub(crate) struct Waiting {
    pub(crate) exchange: Exchange,
    /// The step that the request makes; `None` if it asks for the state.
    pub(crate) step: Option<Step>,
    /// The version of the image that the step carries.
    pub(crate) version: Option<u32>,
    pub(crate) session: Session,
    pub(crate) since: Instant,
}

impl Waiting {
    pub(crate) fn key(&self) -> RequestKey {
        (self.exchange.tid.clone(), self.exchange.rid.clone())
    }
}

/// One connection of a device, from its first state to the last answer.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) tid: String,
    /// `None` until the TEE has signed a state.
    pub(crate) device: Option<Known>,
    /// The last state that the device's TEE signed, unless it is known to be over.
    pub(crate) state: Option<Box<DeviceState>>,
    /// Steps that were answered. None is made twice.
    pub(crate) made: HashSet<Step>,
    /// Steps whose first answer was that the device's state is another one. None has a second such
    /// chance.
    pub(crate) repeated: HashSet<Step>,
    /// How many requests were made.
    pub(crate) requests: usize,
    /// Whether a request that names the current state was refused, and so could still be carried
    /// out.
    pub(crate) undead: bool,
    /// Whether nothing but the state is asked for any more.
    pub(crate) ending: bool,
    /// Which of the TAM's keys signs.
    pub(crate) signature: SignatureAlgorithm,
    /// Whether the other of the TAM's keys signed before.
    pub(crate) changed_key: bool,
    /// Which of the suites that fit the device encrypts.
    pub(crate) suite: usize,
    /// Whether requests must carry the TAM's certificates.
    pub(crate) signer_required: bool,
    /// What failed.
    pub(crate) failures: Failures,
    /// Whether the failures are other than those in the database.
    pub(crate) failures_changed: bool,
    /// What was said of failures, each once.
    pub(crate) told: HashSet<String>,
}

/// The device of a session.
#[derive(Clone)]
pub(crate) struct Known {
    /// The fingerprint of its key.
    pub(crate) key: String,
    /// The revision of its record from which the request was made.
    pub(crate) revision: u64,
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
            undead: false,
            ending: false,
            signature,
            changed_key: false,
            suite: 0,
            signer_required: true,
            failures: Failures::default(),
            // Those of the device's last session are over.
            failures_changed: true,
            told: HashSet::new(),
        }
    }

    /// Takes over a failure; `false` if it was told before.
    pub(crate) fn fail(&mut self, failure: &str) -> bool {
        let is_new = self.told.insert(String::from(failure));
        if is_new {
            self.failures.push(failure);
            self.failures_changed = true;
        }
        is_new
    }

    /// The failures, if those in the database are others.
    pub(crate) fn changed_failures(&self) -> Option<&Failures> {
        self.failures_changed.then_some(&self.failures)
    }

    /// Does what may help after the refusal of a step, which left the device's state as it was.
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

    /// Who this TAM is in this session; the configuration may have changed since it began.
    pub(crate) fn identity<'s>(&self, settings: &'s TamSettings) -> anyhow::Result<&'s Identity> {
        settings
            .identity_of(self.signature)
            .with_context(|| format!("the TAM has no {} key any more", self.signature.name()))
    }

    /// Begins to sign with the other of the TAM's keys, which the device has yet to meet.
    pub(crate) fn change_key(&mut self, signature: SignatureAlgorithm) {
        self.signature = signature;
        self.changed_key = true;
        self.signer_required = true;
    }
}

/// What may help after a refusal.
pub(crate) enum Remedy {
    /// Look at the device again.
    AskForState,
    /// Show the TAM's certificates, which the device forgot.
    ShowCertificates,
    /// Sign with the TAM's other key.
    ChangeKey(SignatureAlgorithm),
    /// Encrypt with the next algorithms.
    ChangeSuite,
}

/// What may help after the refusal of a step; `None` if nothing does, or was tried before.
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

/// The signature algorithm to change to when a TEE does not support the one before: that of the
/// TAM's other key, if it was not tried yet and nothing in the TEE's list speaks against it.
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
    // GetDeviceState has nothing but the signature that could be unsupported.
    let unlisted = refusal.algorithms.is_empty() && session.state.is_none();
    (unlisted || listed(other) && !listed(session.signature)).then_some(other)
}

/// Whether the refusal of one step is that of all, because it is about the TAM or the TEE and not
/// about what the step does.
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

/// What may be behind a refusal for which a TEE gives a stranger no reason; begins with a semicolon.
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
