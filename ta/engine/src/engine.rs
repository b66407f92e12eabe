//! The broker: one entry, bytes to bytes.

use otrp_wire::copy::copy;
use otrp_wire::envelope::EnvelopeError;
use otrp_wire::limits::{CHAIN_BYTES_LIMIT, MESSAGE_LIMIT, REPLY_LIMIT};
use otrp_wire::response::Writer;
use otrp_wire::{ErrorCode, RequestName};
use serde::Serialize;

use crate::chain::ChainBuffer;
use crate::command::{self, Context, Done};
use crate::device::{self, ImportError};
use crate::dsi::{TEE_VERSION, View};
use crate::error::{Error, Unanswerable};
use crate::information::{self, QueryError};
use crate::jose::key_management::{KeyAlgorithm, Recipient, Shown};
use crate::jose::open::DecryptionKey;
use crate::jose::signature::SignatureAlgorithm;
use crate::message::{Opened, Received, Request, SealingKey, Transaction};
use crate::personalization::{self, PersonalizationError};
use crate::platform::{Blob, Clock, KeyType, Keys, Platform, PortError, Ports, Store, UuidBytes};
use crate::policy;
use crate::registry::Registry;
use crate::reply::{Addressed, Outcome, refuse_stranger};
use crate::reserve;
use crate::revocation::{Standing, StapledTam, UnrevokedTam};
use crate::trust::Trust;

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

/// A request that was understood as far as its kind.
#[expect(clippy::large_enum_variant, reason = "there is one, and it lives on the stack")]
enum Answer {
    /// The device state of this generation, for this TAM.
    State { tam: u32, recipient: Recipient, generation: u64 },
    /// The result of a command, under the key of its content.
    Command { tam: u32, recipient: Recipient, content_key: SealingKey, result: Result<Done, Error> },
}

impl<P: Platform> Engine<P> {
    /// An engine that opens its storage at the first use.
    #[must_use]
    pub const fn new(ports: Ports<P>, trust: Trust) -> Self {
        Self { ports, trust, registry: Registry::new(trust), chain: ChainBuffer::new() }
    }

    /// Processes one message, which is scratch and wiped; the reply is a part of `out`.
    ///
    /// Whatever is wrong with a request is answered with its error code. After a power cut at any
    /// instant the device is in the state before or in the state after.
    ///
    /// # Errors
    /// [`Unanswerable`].
    pub fn process<'o>(
        &mut self,
        message: &mut [u8],
        out: &'o mut [u8],
    ) -> Result<&'o [u8], Unanswerable> {
        let reply = self.answer(message, out);
        self.registry.close();
        wipe(message);
        reply
    }

    fn answer<'o>(
        &mut self,
        message: &mut [u8],
        out: &'o mut [u8],
    ) -> Result<&'o [u8], Unanswerable> {
        if out.len() < REPLY_LIMIT {
            return Err(Unanswerable::ShortBuffer);
        }
        // Without a registry the TEE still can say so.
        let opened = self.registry.open(&mut self.ports, out);
        let mut transaction = None;
        let (name, received) = match Received::parse(message) {
            Ok(received) => (received.name(), opened.map(|()| received)),
            Err(EnvelopeError::NotARequest) => return Err(Unanswerable::NotARequest),
            Err(EnvelopeError::Malformed(name)) => (name, opened.and(Err(INVALID))),
        };
        let received = match received {
            Ok(received) => received,
            Err(error) => return self.reply(name, None, Err(error), out),
        };
        let answer = self.handle(received, &mut transaction, out);
        // After a failure in the middle of a change find out at once which side of it we are on.
        let reopened = self.registry.open(&mut self.ports, out);
        // Where that fails too, say what is wrong: the key that signs is not in the registry.
        let answer = answer.and_then(|answer| reopened.map(|()| answer));
        self.reply(name, transaction.as_ref(), answer, out)
    }

    /// Does what a request asks for. There is a `transaction` as soon as a trusted TAM in good
    /// standing is known to have signed it: who is revoked, or shows no more that it is not, is a
    /// stranger again.
    fn handle(
        &mut self,
        received: Received<'_>,
        transaction: &mut Option<Transaction>,
        scratch: &mut [u8],
    ) -> Result<Answer, Error> {
        let (name, clock) = (received.name(), self.clock());
        let Self { ports, trust, registry, chain } = self;
        let verified = received.authenticate(trust, registry.state(), ports, clock, chain)?;
        let (known, tam, read) = verified.read();
        let (request, standing) = if name == RequestName::GetDeviceState {
            let mut request = read?;
            let state = registry.state();
            let standing = Standing::stapled::<P::Rsa>(&mut request, tam, state, clock)?;
            *transaction = Some(known.of(&standing));
            (request, standing)
        } else {
            let standing = Standing::remembered(tam, registry.state(), clock)?;
            *transaction = Some(known.of(&standing));
            (read?, standing)
        };
        let signer = registry.state().tee_key()?;
        if !request.accepts_signature(SignatureAlgorithm::made_by(&signer.public).name()) {
            return Err(Error::NoCommonSignature);
        }
        device::identity(registry.state(), trust)?;
        let tam = match standing {
            Standing::Stapled(tam) => {
                let listed = |algorithm: KeyAlgorithm| request.lists(algorithm.name());
                let shown = Shown { used: None, listed, rsa1_5: trust.rsa1_5 };
                let recipient = Recipient::new(tam.tam().key(), shown).map_err(Error::of_answer)?;
                let mut context = StateQuery { ports, registry, trust, clock, scratch };
                let (tam, generation) = context.run(&tam)?;
                return Ok(Answer::State { tam, recipient, generation });
            }
            Standing::Remembered(tam) => tam,
        };

        let own = DecryptionKey { pair: signer, rsa1_5: trust.rsa1_5 };
        let (mut opened, owner) = open_request(request, trust, registry, ports, &tam, own)?;
        // A command has no list.
        let used = Some(opened.key_algorithm());
        let shown = Shown { used, listed: |_| false, rsa1_5: trust.rsa1_5 };
        let recipient = Recipient::new(tam.key(), shown).map_err(Error::of_answer)?;
        let mut context = Context { ports, registry, trust, owner, scratch };
        let result = command::run(name, &mut context, &mut opened);
        let (tam, content_key) = (owner.number(), opened.into_key());
        Ok(Answer::Command { tam, recipient, content_key, result })
    }

    fn reply<'o>(
        &mut self,
        name: RequestName,
        transaction: Option<&Transaction>,
        answer: Result<Answer, Error>,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], Unanswerable> {
        let Self { ports, trust, registry, .. } = self;
        let state = registry.state();
        let Some(transaction) = transaction else {
            // Without a signer there is nothing but an error.
            let error = answer.err().unwrap_or(Error::Internal);
            return Ok(refuse_stranger(&mut ports.rng, name, error, out)?);
        };
        let addressed = Addressed { name, signer: state.tee_key()?, transaction };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Ok(addressed.refuse(ports, error, out)?),
        };
        let identity = device::identity(state, trust)?;
        Ok(match answer {
            Answer::State { tam, recipient, generation } => {
                let view = View { state, identity, tam, generation };
                addressed.state(ports, &recipient, view, out)?
            }
            Answer::Command { tam, recipient, content_key, result } => {
                let result = result.as_ref().map_err(|error| *error).map(|done| Outcome {
                    sd_name: done.sd_name.as_ref().map(|name| name.as_str()),
                    aik: done.aik,
                    view: done.generation.map(|generation| View {
                        state,
                        identity,
                        tam,
                        generation,
                    }),
                });
                addressed.content(ports, &recipient, &content_key, &identity, result, out)?
            }
        })
    }

    /// Makes memory follow storage. Whoever opens the registry closes it.
    fn open(&mut self, scratch: &mut [u8]) -> Result<(), Error> {
        let opened = self.registry.open(&mut self.ports, scratch);
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
        let length = device::certification_request(registry.state(), ports, trust, out);
        registry.close();
        out.get(..length?).ok_or(Error::Internal)
    }

    /// Takes the TEE's certificate chain: DER certificates one behind the other, leaf first.
    ///
    /// A new chain is a new state of the device, which every TAM has to ask for.
    ///
    /// `scratch` has [`REPLY_LIMIT`] bytes.
    ///
    /// # Errors
    /// [`ImportError`]; the certificates from before stay.
    pub fn import_certificates(
        &mut self,
        der: &[u8],
        scratch: &mut [u8],
    ) -> Result<(), ImportError> {
        self.open(scratch)?;
        let imported = self.import(der, scratch);
        self.registry.close();
        imported
    }

    fn import(&mut self, der: &[u8], scratch: &mut [u8]) -> Result<(), ImportError> {
        let now = self.clock();
        let Self { ports, trust, registry, .. } = self;
        let chain = device::check::<P>(registry.state(), trust, now, der)?;
        let Some(chain) = chain else { return Ok(()) };
        registry.change().certify(&chain)?;
        Ok(registry.commit(ports, scratch)?)
    }

    /// Makes what a later request needs and what takes long to make. To be called when nobody waits;
    /// does nothing where nothing takes long, or where it is made already.
    ///
    /// `scratch` has [`REPLY_LIMIT`] bytes.
    ///
    /// # Errors
    /// A port's error; a request then takes longer.
    pub fn prepare(&mut self, scratch: &mut [u8]) -> Result<(), Error> {
        if self.ports.keys.makes() == KeyType::P256 {
            return Ok(());
        }
        // Damage of storage is reported here; where RSA key pairs are looked for it may end the TA.
        self.open(scratch)?;
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

/// Checks that a request is for this TEE in its current state, and decrypts its content, which must
/// be that of its signer.
fn open_request<'m, P: Platform>(
    request: Request<'m>,
    trust: &Trust,
    registry: &Registry,
    ports: &mut Ports<P>,
    tam: &UnrevokedTam<'_>,
    own: DecryptionKey<'_>,
) -> Result<(Opened<'m>, policy::Owner), Error> {
    if !request.is_for(trust.tee_name) {
        return Err(INVALID);
    }
    let current = policy::current(registry.state(), tam, &request.dsi_hash()?)?;
    request.open(ports, own, current)
}

/// GetDeviceState (OTrP draft, section 9.1).
struct StateQuery<'e, P: Platform> {
    ports: &'e mut Ports<P>,
    registry: &'e mut Registry,
    trust: &'e Trust,
    clock: u64,
    scratch: &'e mut [u8],
}

impl<P: Platform> StateQuery<'_, P> {
    /// Remembers the TAM, its certificates, their standing and the state that it is given; returns
    /// its number and the state's generation.
    fn run(&mut self, stapled: &StapledTam<'_>) -> Result<(u32, u64), Error> {
        let tam = stapled.tam();
        // The chain stands in the working space until it is stored.
        let mut length: usize = 0;
        for certificate in tam.path().certificates() {
            let der = certificate.der();
            let end = length.saturating_add(der.len());
            if end > CHAIN_BYTES_LIMIT {
                return Err(PortError::Full.into());
            }
            let place = self.scratch.get_mut(length..end).ok_or(Error::Internal)?;
            copy(place, der).ok_or(Error::Internal)?;
            length = end;
        }
        let (chain, room) = self.scratch.split_at_mut_checked(length).ok_or(Error::Internal)?;
        let digest = tam.path().digest();
        let state = self.registry.state();
        // A record that is lost or damaged is written anew, so that the answer can say that the
        // certificates are there. So is one with another form of a signature: a `kid` names the form
        // that the TAM has, and the normal world may have shown another one before.
        let new = match state.tam(tam.identity()) {
            Some(known) if known.chain_digest == digest => {
                match self.ports.store.read(Blob::TamChain(known.number), room) {
                    Ok(stored) => stored != Some(&*chain),
                    Err(PortError::Corrupt) => true,
                    Err(error) => return Err(error.into()),
                }
            }
            _ => true,
        };
        self.registry.distrust();
        let number = self.registry.change().meet(stapled, new.then_some(digest), self.clock)?;
        if new {
            self.ports.store.put(Blob::TamChain(number), chain)?;
        }
        let state = self.registry.state();
        let generation = state.next_generation();
        let identity = device::identity(state, self.trust)?;
        let view = View { state, identity, tam: number, generation };
        let hash = view.hash(self.scratch)?;
        self.registry.change().give_dsi(number, Some(hash))?;
        self.registry.commit(self.ports, self.scratch)?;
        Ok((number, generation))
    }
}

/// Overwrites what a message held. `black_box` keeps the compiler from seeing that nobody reads
/// the zeros; a volatile write for each of 4 Mi bytes would cost more than the signature check.
fn wipe(message: &mut [u8]) {
    message.fill(0);
    core::hint::black_box(message);
}
