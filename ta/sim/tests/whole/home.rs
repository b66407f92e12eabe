//! A device that is lived on, and requests that are accepted there: what refusals start from.

use std::sync::OnceLock;

use otrp_engine::error::Unanswerable;
use otrp_sim::Snapshot;
use otrp_tam::Identity;
use otrp_tam::request::{Application, Builder, Command, Request, SdChanges, Target};
use otrp_tam::response::Outcome;

use crate::bench::{Device, Refused, base64, der, pki, sha256, signed, uuid};
use crate::model::Model;

/// The provider of `tam`, and its domains: one with an application, one without.
pub const SP: &str = "acme-bank.example";
pub const DOMAIN: &str = "payments";
pub const EMPTY_DOMAIN: &str = "vouchers";
/// In `DOMAIN`, as `uuid(1)` in version 5, with personalization data.
pub const TA: &str = "com.example.wallet";
/// The provider of `other_tam`, its domain, and the application there: `uuid(2)`.
pub const OTHER_SP: &str = "loyalty.example";
pub const OTHER_DOMAIN: &str = "points";
pub const OTHER_TA: &str = "com.example.points";
/// Was installed in version 9 and deleted.
pub const DELETED_UUID: [u8; 16] = uuid(3);
/// Belongs to the TEE's own image.
pub const RESERVED_UUID: [u8; 16] = uuid(4);
/// Nobody has it.
pub const FREE_UUID: [u8; 16] = uuid(5);

/// The device, what its TAMs know of it, and what they could send.
pub struct Home {
    pub snapshot: Snapshot,
    /// What `snapshot` holds.
    pub model: Model,
    pub target: Target,
    pub other_target: Target,
    pub certificate: Vec<u8>,
    pub rsa_certificate: Vec<u8>,
    /// For `FREE_UUID`, version 1.
    pub new_image: Vec<u8>,
    /// For `TA`, version 6.
    pub newer_image: Vec<u8>,
}

pub fn home() -> &'static Home {
    static HOME: OnceLock<Home> = OnceLock::new();
    HOME.get_or_init(|| {
        let mut device = Device::provisioned();
        device.world.reserved.borrow_mut().push(RESERVED_UUID);
        let (tam, other) = (&pki().tam, &pki().other_tam);
        let mut model = Model::default();
        let mut carry_out = |tam: &Identity, command: Command<'_>| {
            model = model.clone().met(tam).after(tam, &command).expect("it makes sense");
            device.carry_out(tam, command);
        };
        let certificate = der(&pki().sp_ec.certificate);
        for name in [DOMAIN, EMPTY_DOMAIN] {
            carry_out(tam, Command::CreateSd { spid: SP, name, certificate: &certificate });
        }
        let create = Command::CreateSd {
            spid: OTHER_SP,
            name: OTHER_DOMAIN,
            certificate: &der(&pki().sp_rsa.certificate),
        };
        carry_out(other, create);
        let image = signed(&pki().sp_ec, uuid(1), 5);
        let wallet = Application { personalization: Some(b"secret"), ..application(TA, &image) };
        carry_out(tam, Command::InstallTa(wallet));
        let image = signed(&pki().sp_ec, DELETED_UUID, 9);
        carry_out(tam, Command::InstallTa(application("deleted", &image)));
        let delete = Command::DeleteTa { spid: None, name: DOMAIN, taid: "deleted" };
        carry_out(tam, delete);
        let image = signed(&pki().sp_rsa, uuid(2), 1);
        let points =
            Application { spid: OTHER_SP, domain: OTHER_DOMAIN, ..application(OTHER_TA, &image) };
        carry_out(other, Command::InstallTa(points));
        Home {
            target: Target::from(&device.state(tam)),
            other_target: Target::from(&device.state(other)),
            snapshot: device.world.snapshot(),
            model: model.aged(),
            certificate,
            rsa_certificate: der(&pki().sp_rsa.certificate),
            new_image: signed(&pki().sp_ec, FREE_UUID, 1),
            newer_image: signed(&pki().sp_ec, uuid(1), 6),
        }
    })
}

/// An image for the domain with the application.
pub fn application<'a>(taid: &'a str, image: &'a [u8]) -> Application<'a> {
    Application {
        spid: SP,
        domain: DOMAIN,
        taid,
        certificate: None,
        image: Some(image),
        personalization: None,
    }
}

/// The requests that `tam` may send to the device at home, one of each name and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    CreateSd,
    UpdateSd,
    DeleteSd,
    InstallTa,
    UpdateTa,
    DeleteTa,
}

impl Base {
    pub const ALL: [Self; 6] = [
        Self::CreateSd,
        Self::UpdateSd,
        Self::DeleteSd,
        Self::InstallTa,
        Self::UpdateTa,
        Self::DeleteTa,
    ];

    pub fn command(self) -> Command<'static> {
        let home = home();
        let personal = |application| Application { personalization: Some(b"new"), ..application };
        match self {
            Self::CreateSd => {
                Command::CreateSd { spid: SP, name: "new", certificate: &home.certificate }
            }
            Self::UpdateSd => {
                let changes = SdChanges {
                    new_name: Some("renamed"),
                    new_spid: Some("acme-broker.example"),
                    add: vec![&home.rsa_certificate],
                    ..SdChanges::default()
                };
                Command::UpdateSd { spid: SP, name: EMPTY_DOMAIN, changes }
            }
            Self::DeleteSd => Command::DeleteSd { spid: None, name: DOMAIN, delete_tas: true },
            Self::InstallTa => {
                let application = personal(application("new", &home.new_image));
                let certificate = Some(home.rsa_certificate.as_slice());
                Command::InstallTa(Application { certificate, ..application })
            }
            Self::UpdateTa => Command::UpdateTa(personal(application(TA, &home.newer_image))),
            Self::DeleteTa => Command::DeleteTa { spid: None, name: DOMAIN, taid: TA },
        }
    }

    /// The accepted request.
    pub fn builder(self) -> Builder<'static> {
        from_tam(self.command())
    }
}

/// A command of `tam` on the current state.
pub fn from_tam(command: Command<'static>) -> Builder<'static> {
    Builder::command(&pki().tam, &home().target, command)
}

/// The form of the answer to a refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Signed by nobody: a trusted TAM is not known to have signed the request.
    Anonymous,
    /// Signed by the TEE.
    Open,
    /// With a content too, under the key of the request's content, which is the signer's own.
    Sealed,
}

/// One device at home to which requests are sent that it must refuse.
///
/// It is the same device for all of them, since none may change it, neither its storage nor its
/// memory: when all are through it still accepts the accepted ones, [`Refusals::end`].
pub struct Refusals {
    device: Device,
}

impl Refusals {
    pub fn begin() -> Self {
        let mut device = Device::from(&home().snapshot);
        device.world.reserved.borrow_mut().push(RESERVED_UUID);
        // The first message opens the storage.
        assert_eq!(device.process(b"{}"), Err(Unanswerable::NotARequest));
        Self { device }
    }

    /// The reply to a message that must leave the device as it is.
    pub fn unchanged(&mut self, what: &str, message: &[u8]) -> Result<Vec<u8>, Unanswerable> {
        let reply = self.device.process(message);
        assert!(self.device.world.snapshot() == home().snapshot, "{what} changed what is stored");
        reply
    }

    /// Sends a message that must be refused openly, by the TEE.
    pub fn open(&mut self, what: &str, code: &str, message: &[u8]) -> Refused {
        let refused = self.plain(what, code, message);
        assert!(refused.by_tee, "{what}: {}", refused.text);
        refused
    }

    /// Sends a message that must be refused openly, by nobody.
    pub fn anonymous(&mut self, what: &str, code: &str, message: &[u8]) -> Refused {
        let refused = self.plain(what, code, message);
        assert!(!refused.by_tee, "{what}: {}", refused.text);
        refused
    }

    fn plain(&mut self, what: &str, code: &str, message: &[u8]) -> Refused {
        let reply =
            self.unchanged(what, message).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let refused = Refused::read(&reply, &home().target.certificate.public_key().unwrap());
        assert_eq!(refused.code.as_deref(), Some(code), "{what}: {}", refused.text);
        assert_eq!(refused.algorithms.is_some(), code == "ERR_UNSUPPORTED_CRYPTO_ALG", "{what}");
        assert_discreet(what, &refused.text);
        refused
    }

    /// Sends a request of `tam` that must be refused with a content.
    pub fn sealed(&mut self, what: &str, code: &str, request: &Request) {
        self.sealed_for(&pki().tam, what, code, request);
    }

    /// Sends a request of a TAM that must be refused with a content.
    pub fn sealed_for(&mut self, tam: &Identity, what: &str, code: &str, request: &Request) {
        let reply = self
            .unchanged(what, &request.message)
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let certificate = &home().target.certificate;
        let refused = Refused::read(&reply, &certificate.public_key().unwrap());
        assert_eq!(refused.code, None, "{what}: {}", refused.text);
        assert_eq!(refused.algorithms.is_some(), code == "ERR_UNSUPPORTED_CRYPTO_ALG", "{what}");
        assert_discreet(what, &refused.text);
        let otrp_tam::response::Reply::Answer(answer) =
            otrp_tam::response::Reply::read(&reply).unwrap()
        else {
            panic!("{what}: a TEE does not make the agent's errors")
        };
        match answer.outcome(Some(&request.exchange), tam, certificate).unwrap() {
            Outcome::Fail(refusal) => assert_eq!(refusal.code, code, "{what}"),
            Outcome::Pass(passed) => panic!("{what} is carried out: {passed:?}"),
        }
    }

    /// Sends what a builder makes, and expects its refusal in this form.
    pub fn refused(&mut self, what: &str, code: &str, answer: Answer, request: Builder<'_>) {
        let request = request.build().unwrap_or_else(|error| panic!("{what}: {error}"));
        match answer {
            Answer::Sealed => self.sealed(what, code, &request),
            Answer::Open => drop(self.open(what, code, &request.message)),
            Answer::Anonymous => drop(self.anonymous(what, code, &request.message)),
        }
    }

    /// Sends the request that all refused ones differ from in one thing.
    pub fn end(mut self, base: Base) {
        self.device.pass(&pki().tam, base.builder());
        assert!(self.device.world.snapshot() != home().snapshot);
    }
}

/// An answer that anybody can read says nothing of the device.
fn assert_discreet(what: &str, text: &str) {
    let target = &home().target;
    let certificate = der(&target.certificate);
    let mut told: Vec<String> =
        [SP, DOMAIN, EMPTY_DOMAIN, TA, OTHER_SP, OTHER_DOMAIN, OTHER_TA].map(String::from).into();
    told.extend([base64(&certificate), base64(&sha256(&certificate))]);
    told.extend(target.attestation_keys.iter().map(|key| key.spaik.clone()));
    told.extend(home().other_target.attestation_keys.iter().map(|key| key.spaik.clone()));
    for secret in told {
        assert!(!text.contains(&secret), "{what}: {text} tells {secret}");
    }
}

#[test]
fn the_requests_are_accepted_at_home() {
    for base in Base::ALL {
        Refusals::begin().end(base);
    }
}
