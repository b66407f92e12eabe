//! The broker: one entry, bytes to bytes.

use otrp_wire::envelope::EnvelopeError;
use otrp_wire::limits::{MESSAGE_LIMIT, REPLY_LIMIT};
use otrp_wire::response::Writer;
use otrp_wire::{ErrorCode, RequestName};
use serde::Serialize;

use crate::chain::ChainBuffer;
use crate::command::{self, Context, Done, Given};
use crate::device::{self, ImportError};
use crate::dsi::{TEE_VERSION, View};
use crate::error::{Error, Unanswerable};
use crate::information::{self, QueryError};
use crate::intake::{IntakeError, memory_for};
use crate::jose::key_management::{KeyAlgorithm, Recipient, Shown};
use crate::jose::open::DecryptionKey;
use crate::jose::signature::SignatureAlgorithm;
use crate::personalization::{self, PersonalizationError};
use crate::platform::{Clock, KeyType, Keys, Platform, Ports, Source, UuidBytes};
use crate::registry::{self, Owner, Registry, State};
use crate::reply::{Addressed, Outcome, refuse_stranger};
use crate::request::{Opened, Received, Request, SealingKey, Transaction};
use crate::reserve;
use crate::revocation::{self, UnrevokedTam};
use crate::trust::Trust;
use crate::workspace::Workspace;

const INVALID: Error = Error::Refused(ErrorCode::RequestInvalid);

/// The broker on one platform.
pub struct Engine<P: Platform> {
    ports: Ports<P>,
    trust: Trust,
    registry: Registry,
    /// The certificates of the TAM whose request is being processed.
    chain: ChainBuffer,
}

/// What [`Engine::status`] writes.
#[derive(Serialize)]
struct Status {
    name: &'static str,
    version: &'static str,
    provisioned: bool,
    development: bool,
    message_limit: usize,
    reply_limit: usize,
    time: u64,
}

/// What a request is answered with.
#[expect(clippy::large_enum_variant, reason = "there is one, and it lives on the stack")]
enum Answer {
    /// A refusal in the open: whose the content is, or who asks, is not known.
    RefusedOpen(Error),
    /// A refusal under the key of the content, which is the signer's.
    RefusedSealed { recipient: Recipient, content_key: SealingKey, error: Error },
    /// The result of a command, under the key of its content.
    Done { recipient: Recipient, content_key: SealingKey, done: Done },
    /// The device state, under a key of its own.
    State { recipient: Recipient, given: Given },
}

impl<P: Platform> Engine<P> {
    /// An engine that opens its storage at the first use.
    #[must_use]
    pub const fn new(ports: Ports<P>, trust: Trust) -> Self {
        Self { ports, trust, registry: Registry::new(trust), chain: ChainBuffer::new() }
    }

    /// Processes one message, which may change while it is read; the reply is a part of `out`.
    ///
    /// `memory` has [`memory_for`](crate::intake::memory_for) octets for the message; it is scratch and
    /// wiped.
    ///
    /// Whatever is wrong with a request is answered with its error code. After a power cut at any
    /// instant the device is in the state before or in the state after.
    ///
    /// # Errors
    /// [`Unanswerable`].
    pub fn process<'o>(
        &mut self,
        message: &mut dyn Source,
        memory: &mut [u8],
        out: &'o mut [u8],
    ) -> Result<&'o [u8], Unanswerable> {
        let reply = self.answer(message, memory, out);
        self.registry.close();
        wipe(memory);
        reply
    }

    fn answer<'o>(
        &mut self,
        message: &mut dyn Source,
        memory: &mut [u8],
        out: &'o mut [u8],
    ) -> Result<&'o [u8], Unanswerable> {
        if out.len() < REPLY_LIMIT || memory.len() < memory_for(message.length()) {
            return Err(Unanswerable::ShortBuffer);
        }
        // Without a registry the TEE can still report that.
        let opened = self.registry.open(&mut self.ports, out);
        let mut transaction = None;
        let read = match Received::read(message, memory, &mut self.ports.rng, out) {
            Ok(received) => Ok((received.name(), opened.map(|()| received))),
            Err(IntakeError::Envelope(EnvelopeError::NotARequest)) => {
                return Err(Unanswerable::NotARequest);
            }
            Err(IntakeError::Envelope(EnvelopeError::Malformed(name))) => {
                Ok((name, opened.and(Err(INVALID))))
            }
            Err(IntakeError::Failed(error)) => Err(error),
        };
        let (name, received) = read?;
        let handled = received.and_then(|received| self.handle(received, &mut transaction));
        let answer = handled.unwrap_or_else(Answer::RefusedOpen);
        // An image was there in clear.
        wipe(out);
        // After a failure in the middle of a change find out at once which side of it we are on.
        let reopened = self.registry.open(&mut self.ports, out);
        let answer = match (answer, reopened) {
            (refused @ Answer::RefusedOpen(_), _) => refused,
            // If that fails too, report why: the key that signs is not in the registry.
            (_, Err(error)) => Answer::RefusedOpen(error),
            (answer, Ok(())) => answer,
        };
        self.reply(name, transaction.as_ref(), answer, out)
    }

    /// Does what a request asks for. There is a `transaction` as soon as a trusted TAM in good
    /// standing is known to have signed it: who is revoked, or shows no more that it is not, is a
    /// stranger again.
    fn handle(
        &mut self,
        received: Received<'_, '_>,
        transaction: &mut Option<Transaction>,
    ) -> Result<Answer, Error> {
        let (name, clock) = (received.name(), self.clock());
        let Self { ports, trust, registry, chain } = self;
        let state = registry.state();
        let (verified, out) = received.authenticate(trust, state, ports, clock, chain)?;
        let workspace = Workspace::new(out);
        let (identifiers, tam, read) = verified.read();
        let now = state.time_under(&tam.path().anchor_fingerprint(), clock);

        if name == RequestName::GetDeviceState {
            let mut request = read?;
            let remembered = |authority: &[u8; 32]| state.authority_good_until(authority);
            let tam = {
                let responses = request.ocsp_responses()?;
                revocation::staple::<P::Rsa>(tam, &responses, remembered, now)?
            };
            *transaction = Some(identifiers.of(tam.tam()));
            check_answerable(&request, state, trust)?;
            let listed = |algorithm: KeyAlgorithm| request.lists(algorithm.name());
            let shown = Shown { used: None, listed, rsa1_5: trust.rsa1_5 };
            let recipient = Recipient::new(tam.tam().key(), shown).map_err(Error::of_answer)?;
            let mut context = Context { ports, registry, trust, workspace };
            let given = command::get_device_state::run(&mut context, &tam, clock)?;
            return Ok(Answer::State { recipient, given });
        }

        let last = state.last_proof(tam.identity());
        let tam = revocation::remember(tam, last, now)?;
        *transaction = Some(identifiers.of(&tam));
        let request = read?;
        check_answerable(&request, state, trust)?;
        let own = DecryptionKey { pair: state.tee_key()?, rsa1_5: trust.rsa1_5 };
        let (mut opened, owner) = open_request(request, trust, state, ports, &tam, own)?;
        // A command has no list.
        let used = Some(opened.key_algorithm());
        let shown = Shown { used, listed: |_| false, rsa1_5: trust.rsa1_5 };
        let recipient = Recipient::new(tam.key(), shown).map_err(Error::of_answer)?;
        let mut context = Context { ports, registry, trust, workspace };
        let result = command::run(name, &mut context, owner, &mut opened);
        let content_key = opened.into_key();
        Ok(match result {
            Ok(done) => Answer::Done { recipient, content_key, done },
            Err(error) => Answer::RefusedSealed { recipient, content_key, error },
        })
    }

    fn reply<'o>(
        &mut self,
        name: RequestName,
        transaction: Option<&Transaction>,
        answer: Answer,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], Unanswerable> {
        let Self { ports, trust, registry, .. } = self;
        let state = registry.state();
        let Some(transaction) = transaction else {
            // Without a signer there is nothing but an error.
            let error = match answer {
                Answer::RefusedOpen(error) => error,
                Answer::RefusedSealed { .. } | Answer::Done { .. } | Answer::State { .. } => {
                    Error::Internal
                }
            };
            return Ok(refuse_stranger(&mut ports.rng, name, error, out)?);
        };
        let addressed = Addressed { name, signer: state.tee_key()?, transaction };
        let identity = || device::identity(state.tee_chain(), trust);
        let view = |Given { tam, generation }| -> Result<View<'_>, Error> {
            Ok(View { state, identity: identity()?, tam, generation })
        };
        Ok(match answer {
            Answer::RefusedOpen(error) => addressed.refuse(ports, error, out)?,
            Answer::RefusedSealed { recipient, content_key, error } => {
                addressed.content(ports, &recipient, &content_key, &identity()?, Err(error), out)?
            }
            Answer::Done { recipient, content_key, done } => {
                let outcome = Outcome {
                    sd_name: done.sd_name.as_ref().map(|name| name.as_str()),
                    aik: done.aik,
                    view: done.given.map(view).transpose()?,
                };
                addressed.content(
                    ports,
                    &recipient,
                    &content_key,
                    &identity()?,
                    Ok(outcome),
                    out,
                )?
            }
            Answer::State { recipient, given } => {
                addressed.state(ports, &recipient, view(given)?, out)?
            }
        })
    }

    /// Makes memory follow storage. Whoever opens the registry closes it.
    fn open(&mut self, record_buffer: &mut [u8]) -> Result<(), Error> {
        let opened = self.registry.open(&mut self.ports, record_buffer);
        if opened.is_err() {
            self.registry.close();
        }
        opened
    }

    /// The time: the normal world's clock, but never before the image was built. TAMs are judged by the
    /// times that were verified under their own anchor too.
    fn clock(&mut self) -> u64 {
        self.ports.clock.now().max(self.trust.built_at)
    }

    /// Answers `{"TAQuery":{"spid","taid"}}`, which is scratch and in which `tamid` and `sdname` may
    /// tell which of several applications is meant, with a message that the service provider's attestation
    /// key signs (OTrP draft, section 6.4.2).
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn ta_information<'o>(
        &mut self,
        query: &mut [u8],
        out: &'o mut [u8],
    ) -> Result<&'o [u8], QueryError> {
        if out.len() < REPLY_LIMIT {
            return Err(QueryError::ShortBuffer);
        }
        self.open(out)?;
        let answer = information::answer(&mut self.ports, self.registry.state(), query, out);
        self.registry.close();
        answer
    }

    /// Gives the personalization data of the installed application `client`; they are a part of
    /// `out`. The caller vouches that it is this application that asks.
    ///
    /// # Errors
    /// [`PersonalizationError`].
    pub fn personalization<'o>(
        &mut self,
        client: &UuidBytes,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], PersonalizationError> {
        if out.len() < REPLY_LIMIT {
            return Err(PersonalizationError::ShortBuffer);
        }
        self.open(out)?;
        let data = personalization::load(&mut self.ports, self.registry.state(), client, out);
        self.registry.close();
        data
    }

    /// Writes a PKCS #10 request for a certificate of the TEE's key, as DER.
    ///
    /// # Errors
    /// A port's error; [`Error::Internal`] if `out` is shorter than [`REPLY_LIMIT`].
    pub fn certification_request<'o>(&mut self, out: &'o mut [u8]) -> Result<&'o [u8], Error> {
        self.open(out)?;
        let Self { ports, trust, registry, .. } = self;
        let pair = registry.state().tee_key();
        let length = pair.and_then(|pair| device::certification_request(pair, ports, trust, out));
        registry.close();
        out.get(..length?).ok_or(Error::Internal)
    }

    /// Takes the TEE's certificate chain: DER certificates one behind the other, leaf first.
    ///
    /// A new chain is a new state of the device, which every TAM has to ask for.
    ///
    /// `record_buffer` has [`REPLY_LIMIT`] bytes.
    ///
    /// # Errors
    /// [`ImportError`]; the certificates from before stay.
    pub fn import_certificates(
        &mut self,
        der: &[u8],
        record_buffer: &mut [u8],
    ) -> Result<(), ImportError> {
        self.open(record_buffer)?;
        let imported = self.import(der, record_buffer);
        self.registry.close();
        imported
    }

    fn import(&mut self, der: &[u8], record_buffer: &mut [u8]) -> Result<(), ImportError> {
        let now = self.clock();
        let Self { ports, trust, registry, .. } = self;
        let state = registry.state();
        let own = &state.tee_key()?.public;
        let chain = device::check::<P>(own, state.tee_chain(), trust, now, der)?;
        let Some(chain) = chain else { return Ok(()) };
        registry.change().certify(&chain)?;
        Ok(registry.commit(ports, record_buffer)?)
    }

    /// Makes what a later request needs and what takes long to make. To be called when nobody waits;
    /// does nothing where nothing takes long, or where it is made already.
    ///
    /// `record_buffer` has [`REPLY_LIMIT`] bytes.
    ///
    /// # Errors
    /// A port's error; a request then takes longer.
    pub fn prepare(&mut self, record_buffer: &mut [u8]) -> Result<(), Error> {
        if self.ports.keys.makes() == KeyType::P256 {
            return Ok(());
        }
        // Damage of storage is reported here; where RSA key pairs are looked for it may end the TA.
        self.open(record_buffer)?;
        self.registry.close();
        Ok(reserve::fill(&mut self.ports.keys)?)
    }

    /// Writes what anybody may know: name, version, whether there is a certificate, whether
    /// the anchors are a development PKI's, the limits, the time that it judges by.
    ///
    /// # Errors
    /// A port's error, also where what other commands need is damaged; [`Error::Internal`] if `out` is shorter than [`REPLY_LIMIT`].
    pub fn status<'o>(&mut self, out: &'o mut [u8]) -> Result<&'o [u8], Error> {
        self.open(out)?;
        self.registry.close();
        let time = self.clock();
        let mut writer = Writer::new(out);
        writer.json(&Status {
            name: self.trust.tee_name,
            version: TEE_VERSION,
            provisioned: !self.registry.state().tee_chain().is_empty(),
            development: self.trust.development,
            message_limit: MESSAGE_LIMIT,
            reply_limit: REPLY_LIMIT,
            time,
        })?;
        Ok(writer.finish())
    }

    /// The ports, for tests that look at what is stored.
    pub const fn ports(&mut self) -> &mut Ports<P> {
        &mut self.ports
    }
}

/// Checks that the TAM can verify an answer, and that there is a certificate to verify it with.
fn check_answerable(request: &Request<'_>, state: &State, trust: &Trust) -> Result<(), Error> {
    let signer = state.tee_key()?;
    if !request.accepts_signature(SignatureAlgorithm::made_by(&signer.public).name()) {
        return Err(Error::NoCommonSignature);
    }
    device::identity(state.tee_chain(), trust).map(drop)
}

/// Checks that a request is for this TEE in its current state, and decrypts its content, which must
/// be that of its signer.
fn open_request<'m, P: Platform>(
    request: Request<'m>,
    trust: &Trust,
    state: &State,
    ports: &mut Ports<P>,
    tam: &UnrevokedTam<'_>,
    own: DecryptionKey<'_>,
) -> Result<(Opened<'m>, Owner), Error> {
    if !request.is_for(trust.tee_name) {
        return Err(INVALID);
    }
    let current = registry::current(state, tam, &request.dsi_hash()?)?;
    request.open(ports, own, current)
}

/// Overwrites what a message has left. `black_box` keeps the compiler from seeing that nobody reads the
/// zeros.
fn wipe(memory: &mut [u8]) {
    memory.fill(0);
    core::hint::black_box(memory);
}
