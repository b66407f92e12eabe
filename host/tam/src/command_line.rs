//! The command line, and the commands on single messages.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use openssl::pkey::{PKey, Public};
use openssl::x509::X509;
use otrp_tam::certificate;
use otrp_tam::check;
use otrp_tam::desired::TamSettings;
use otrp_tam::dsi::{AttestationKey, DeviceState};
use otrp_tam::encoding::{Single, base64, from_base64};
use otrp_tam::foreign::{self, Foreign};
use otrp_tam::identity::Identity;
use otrp_tam::jose::{ContentEncryption, Jws, KeyManagement, KeyType, NotOpened};
use otrp_tam::ocsp;
use otrp_tam::record::DeviceRecord;
use otrp_tam::request::{
    Application, Builder, Command, SdChanges, SignerHeader, Suite, TaEncryption, Target,
};
use otrp_tam::response::{Outcome, Refused, Reply, StateAnswer};
use otrp_tam::store;
use otrp_tam::ta_information::TaInformation;
use serde_json::{Value, json};

/// The smallest configuration that works, and how to serve it.
const SERVE_HELP: &str = "The smallest configuration, desired.toml, with the development keys that
`make run` makes, in the folder of the project:
  [tam]
  key = \".cache/keys/dev/tam.key.pem\"
  chain = \".cache/keys/dev/tam.chain.pem\"
  ocsp = [\".cache/keys/dev/tam.ocsp\", \".cache/keys/dev/tam-issuing-ca.ocsp\"]
  tee_roots = [\".cache/keys/dev/tee-root.pem\"]

  [[sd]]
  name = \"com.example.domain\"
  spid = \"com.example\"
  certificates = [\".cache/keys/dev/sp-ec.der\"]

  [[sd.ta]]
  id = \"com.example.app\"
  file = \"app.ta\"

The OCSP responses, which end after a day, and the application, signed by the service provider:
  otrp-keys ocsp --cert .cache/keys/dev/tam.pem --issuer .cache/keys/dev/tam-issuing-ca.pem \\
      --responder .cache/keys/dev/tam-ocsp --out .cache/keys/dev/tam.ocsp
  otrp-keys ocsp --cert .cache/keys/dev/tam-issuing-ca.pem --issuer .cache/keys/dev/tam-root.pem \\
      --responder .cache/keys/dev/tam-root-ocsp --out .cache/keys/dev/tam-issuing-ca.ocsp
  otrp-keys sign-ta --key .cache/keys/dev/sp-ec.key.pem --uuid 7265664a-f108-4bd7-af1c-86d044babbac \\
      --ta-version 1 --in .cache/image/samples/signer-v1.elf --out app.ta

Then:
  otrp-tam check --config desired.toml
  otrp-tam serve --config desired.toml --listen 0.0.0.0:8080 --state tam.redb
and on a device:
  otrp-agent request http://TAM-HOST:8080/

The server does not start where `check` finds an error. It reads the configuration anew when one of
its files changes; if that is wrong, the log says so once and the configuration of before stays in
use. OCSP responses are read for each device; where a device would refuse them, the server answers
500. GET /health answers 200. At SIGTERM and SIGINT it ends within seconds. No two servers may use
one --state, which is a file for the server's user alone: others cannot open it any more once the
server starts, and one of them who has it locked does not stop the server, which then puts a copy
in its place and says so in the log. What a device answered is on the disk
before the next request is sent; sessions end with the server, and devices connect again.";

/// Everything that a configuration can hold.
pub const CONFIGURATION: &str = "The configuration is a file in TOML. Paths are relative to it.
Certificates and keys are in PEM or DER, signed images and OCSP responses as they are made.

[tam], who this TAM is:
  key             its private key: P-256, or RSA of 2048 to 4096 bits
  chain           its certificates: its own first, then each one's issuer, the root at the end
  ocsp            the OCSP responses to staple: for its own certificate, then for each authority
                  below the root; DER. A device trusts no TAM without
  tee_roots       the roots of the makers whose devices are served. What their authorities certify
                  for another purpose is not taken for a device: an authority's certificate, or one
                  whose extendedKeyUsage has neither anyExtendedKeyUsage nor the purpose of TEEs.
                  Keys and signatures on the way to a root are judged as devices judge them: P-256,
                  for authorities P-384 too, uncompressed, or RSA of 2048 to 4096 bits with an odd
                  exponent of 65537 to 4294967295
  require_tee_purpose  true: serve only devices whose certificate names the purpose of TEEs,
                  2.25.210040065247686543256106716383694557268.1, in its extendedKeyUsage, as
                  `otrp-keys certify` writes it; by default one without extendedKeyUsage will do
  tam_roots       the TAM roots that devices are built with (trust/tam-roots). With it `check`
                  finds a chain under another root, and `chain` needs no root; without it the root
                  in `chain` is taken for one of them
  id              the TAM's identifier, where the certificate says it as a registeredID; by default
                  the certificate's URI, else its DNS name
  content_encryption  how requests are encrypted: \"A128CBC-HS256\" (the default), \"A256CBC-HS512\",
                  \"A128GCM\" or \"A256GCM\". Like the next two it may be a list, the preferred one
                  first; the others are for devices that lack it
  key_management  how keys reach the device: \"ECDH-ES+A128KW\" (the default) or \"ECDH-ES+A256KW\"
                  where its keys are elliptic, \"RSA-OAEP-256\" and \"RSA-OAEP\" (the default, in
                  this order) or \"RSA1_5\", which is used only if listed, where they are RSA.
                  Answers by others are refused. Of the answers RSA1_5 is refused only if other
                  RSA algorithms are listed: a device with elliptic keys answers the commands of a
                  TAM with an RSA key by RSA1_5
  ta_encryption   how images and personalization data are encrypted: \"A256GCM\" (the default), or
                  \"AESCBC\", which does not authenticate them
  firmware_roots  serve only devices whose firmware signs under these roots; by default all
  devices         the list of the devices that are served, in CSV as `otrp-keys inventory` writes it:
                  a device is on it by its key (column key_sha256), or in a list without that
                  column by its certificate (did). By default all below `tee_roots` are served
  admit_new       false: serve only devices that were served before, as `devices` lists them; by
                  default true. With a list, a device has to be on it as well. A device that is
                  not admitted gets 403, and the log has the SHA-256 of its key
  retired         devices that shall have nothing more, each by the fingerprint of its key, which
                  `devices` prints behind `key`: the SHA-256 of its SubjectPublicKeyInfo in
                  hexadecimal. An identifier (`did`) works too, for a device that has shown it to
                  this TAM or shows it now; a certificate that is renewed has another, so prefer
                  the key
  allow_deletion  the name of a desired state, as the log and `check --state` say it, that may
                  delete more than a tenth of the applications which the server knows to be
                  installed, counted on each device, and more than one: without it such a state is
                  not carried out, nor does the server start with it, because half a file is a
                  valid file. What is installed and not desired any more, and all that a device in
                  `retired` has, counts until the device has deleted it or this member has
                  confirmed it; a server that knows no device counts what was desired last, which
                  is in the file beside --state that ends in .desired, as installed on one

[tam.alternative], the same TAM's key of the other type, EC or RSA, for TEEs that do not verify the
first one's signatures: key, chain, ocsp

[[sd]], a security domain that each device shall have; what a device has of this TAM and the file
does not list is deleted:
  name            its name, 1 to 64 bytes
  spid            its service provider, 1 to 64 bytes
  certificates    the certificates of 1 to 4 signers, under which its TAs are signed

[[sd.ta]], a trusted application in the domain above it:
  id              its name in OTrP, 1 to 64 bytes
  file            the signed image, as `otrp-keys sign-ta` or OP-TEE's sign_encrypt.py makes it
  personalization a file that only this TA is given, at most 16 KiB; by default none. Every device
                  below `tee_roots` gets it, so whoever extracts the key of one device, or
                  has one certified, reads it: put nothing in it that must not be known if a
                  single device is broken
";

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or failed, 2 a wrong command line.";

const MESSAGE_HELP: &str = "Examples:
  otrp-tam message --config desired.toml get-device-state > request.json
  otrp-tam message --config desired.toml --state tam.redb create-sd --spid com.example --sd new \\
      --spcert .cache/keys/dev/sp-ec.der > request.json
  otrp-tam message --config desired.toml --state tam.redb --enc A256GCM --alg ECDH-ES+A256KW \\
      install-ta --spid com.example --sd com.example.domain --ta com.example.app --file app.ta \\
      > request.json
Then, on the device:
  otrp-agent process < request.json > answer.json";

const CHECK_HELP: &str = "Example:
  otrp-tam check --config desired.toml
  otrp-tam check --config desired.toml --state tam.redb";

const OPEN_HELP: &str = "Examples:
  otrp-tam open answer.json --config desired.toml --dsi-out dsi.json
  otrp-tam open answer.json --config desired.toml --dsi dsi.json
  otrp-agent ta-info com.example com.example.app | otrp-tam open - --state tam.redb";

/// A Trusted Application Manager that speaks OTrP over HTTP.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Subcommand)]
pub enum Action {
    /// Serves devices, and brings each that connects to the desired state.
    ///
    /// `otrp-tam help config` describes all that the configuration can hold.
    #[command(after_help = SERVE_HELP)]
    Serve {
        /// The configuration with the desired state; followed while the server runs.
        #[arg(long)]
        config: PathBuf,
        /// The address to listen on.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: String,
        /// The database of devices.
        #[arg(long, default_value = "tam.redb")]
        state: PathBuf,
    },
    /// Says everything in a configuration that a device would refuse, or that is wrong otherwise.
    ///
    /// Each finding is a line on standard error; with an error among them the exit code is 1. What only
    /// a device knows is not checked: which roots it is built with, unless `tam_roots` says so, and its
    /// clock.
    #[command(after_help = CHECK_HELP)]
    Check {
        /// The configuration.
        #[arg(long)]
        config: PathBuf,
        /// The database of devices: says whether the server would ask before it deletes so much.
        #[arg(long)]
        state: Option<PathBuf>,
    },
    /// Describes the configuration.
    #[command(after_help = CONFIGURATION)]
    Config,
    /// Writes one signed request to standard output.
    #[command(after_help = MESSAGE_HELP)]
    Message(Box<MessageArguments>),
    /// Verifies and decrypts an answer or a TAInformation message, and prints it as JSON.
    ///
    /// An answer by which the device refuses is opened like any other: see its `status`.
    #[command(after_help = OPEN_HELP)]
    Open(Box<OpenArguments>),
    /// Lists the devices that the TAM remembers, also while it serves.
    ///
    /// A device is its TEE's key, whose fingerprint stands behind `key`. Its identifier (`did`)
    /// changes when its certificate is renewed. While a server has the database, it is asked through
    /// the socket beside it (`tam.redb.socket`), which answers the server's user and root.
    Devices {
        /// The database of devices.
        #[arg(long, default_value = "tam.redb")]
        state: PathBuf,
        /// Print everything, as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which device: by a saved state, by the database, or by its parts.
#[derive(Args)]
struct DeviceArguments {
    /// A saved device state, as `open --dsi-out` writes it.
    #[arg(long, global = true, conflicts_with = "state")]
    dsi: Option<PathBuf>,
    /// The database of devices.
    #[arg(long, global = true)]
    state: Option<PathBuf>,
    /// The device in the database, where there are several: its identifier, or the fingerprint of its
    /// key.
    #[arg(long, global = true, requires = "state")]
    did: Option<String>,
    /// The certificate of the TEE, in place of the device's.
    #[arg(long, global = true)]
    tee_cert: Option<PathBuf>,
    /// The SP's attestation key (PEM or DER), in place of the device's.
    #[arg(long, global = true)]
    aik: Option<PathBuf>,
}

impl DeviceArguments {
    fn record(&self) -> anyhow::Result<Option<DeviceRecord>> {
        let Some(path) = &self.state else { return Ok(None) };
        let mut devices = store::read_devices(path)?;
        if let Some(did) = &self.did {
            devices.retain(|device| device.key == *did || device.identifiers.contains(did));
        }
        match <[DeviceRecord; 1]>::try_from(devices) {
            Ok([record]) => Ok(Some(record)),
            Err(devices) if devices.is_empty() => bail!("no such device in {}", path.display()),
            Err(_) => bail!("several devices in {}: say which with --did", path.display()),
        }
    }

    /// The device, as far as it is known: the name of the TEE and the hash may be empty.
    fn target(&self) -> anyhow::Result<Target> {
        let mut target = if let Some(path) = &self.dsi {
            let document = std::fs::read(path)
                .with_context(|| format!("cannot read the device state {}", path.display()))?;
            Some(Target::from(&DeviceState::read(&document)?))
        } else if let Some(record) = self.record()? {
            let der = from_base64(&record.certificate).context("a damaged record")?;
            Some(Target {
                tee: record.tee,
                certificate: X509::from_der(&der)?,
                dsi_hash: record.dsi_hash,
                attestation_keys: record.attestation_keys,
            })
        } else {
            None
        };
        if let Some(path) = &self.tee_cert {
            let certificate = first_certificate(path)?;
            match &mut target {
                Some(target) => target.certificate = certificate,
                None => {
                    target = Some(Target {
                        tee: String::new(),
                        certificate,
                        dsi_hash: String::new(),
                        attestation_keys: Vec::new(),
                    });
                }
            }
        }
        target.context("which device? Say --dsi, --state or --tee-cert")
    }

    fn attestation_key(&self) -> anyhow::Result<Option<PKey<Public>>> {
        let Some(path) = &self.aik else { return Ok(None) };
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read the attestation key {}", path.display()))?;
        let der = otrp_pem::public_key(&bytes).with_context(|| path.display().to_string())?;
        PKey::public_key_from_der(&der)
            .map(Some)
            .with_context(|| format!("{} holds a damaged public key", path.display()))
    }
}

fn first_certificate(path: &Path) -> anyhow::Result<X509> {
    certificate::read_file(path)?.into_iter().next().context("no certificate")
}

fn certificate_der(path: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(first_certificate(path)?.to_der()?)
}

#[derive(Args)]
pub struct MessageArguments {
    /// The configuration whose `[tam]` signs.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Another TAM's key.
    #[arg(long, global = true, requires = "chain")]
    key: Option<PathBuf>,
    /// The other TAM's chain, leaf first.
    #[arg(long, global = true, requires = "key")]
    chain: Option<PathBuf>,
    /// An OCSP response to staple as it is, in place of the configuration's; may be repeated, the
    /// leaf's first.
    #[arg(long, global = true)]
    ocsp: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArguments,
    /// The transaction; random if not said.
    #[arg(long, global = true)]
    tid: Option<String>,
    /// The request; random if not said.
    #[arg(long, global = true)]
    rid: Option<String>,
    /// Another TEE's name than the device's.
    #[arg(long, global = true)]
    tee: Option<String>,
    /// Another state's hash than the device's.
    #[arg(long, global = true)]
    dsihash: Option<String>,
    /// Another TAM ID to claim than that of the certificate.
    #[arg(long, global = true)]
    tamid: Option<String>,
    /// Do not ask for the new state.
    #[arg(long, global = true)]
    no_nextdsi: bool,
    /// How the request says who signed it.
    #[arg(long, global = true, value_enum, default_value_t)]
    signer: SignerArgument,
    /// How contents are encrypted, such as A256GCM.
    #[arg(long, global = true)]
    enc: Option<String>,
    /// How keys reach the device, such as RSA-OAEP or ECDH-ES+A256KW.
    #[arg(long, global = true)]
    alg: Option<String>,
    /// How images and data are encrypted: A256GCM, or AESCBC, which a stolen TAM key opens.
    #[arg(long, global = true)]
    ta_alg: Option<String>,
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum SignerArgument {
    /// With all certificates.
    #[default]
    Chain,
    /// With the hash of the certificate.
    Kid,
    /// Not at all.
    None,
}

#[derive(Subcommand)]
enum Kind {
    /// Asks for the device's state.
    GetDeviceState,
    /// Creates a security domain.
    CreateSd {
        /// The service provider.
        #[arg(long)]
        spid: String,
        /// The name of the security domain.
        #[arg(long)]
        sd: String,
        /// The certificate of the SP's signer.
        #[arg(long)]
        spcert: PathBuf,
    },
    /// Changes a security domain.
    UpdateSd {
        /// The service provider.
        #[arg(long)]
        spid: String,
        /// The name of the security domain.
        #[arg(long)]
        sd: String,
        /// Its new name.
        #[arg(long)]
        new_sd: Option<String>,
        /// Its new service provider.
        #[arg(long)]
        new_spid: Option<String>,
        /// A certificate to add; may be repeated.
        #[arg(long)]
        spcert: Vec<PathBuf>,
        /// The SHA-256 of a certificate to remove, in hexadecimal; may be repeated.
        #[arg(long)]
        delete_spcert: Vec<String>,
        /// Make the SP's attestation key anew.
        #[arg(long)]
        renew_aik: bool,
    },
    /// Deletes a security domain.
    DeleteSd {
        /// The SP, where the name alone is ambiguous.
        #[arg(long)]
        spid: Option<String>,
        /// The name of the security domain.
        #[arg(long)]
        sd: String,
        /// The applications in it go with it.
        #[arg(long)]
        delete_tas: bool,
    },
    /// Installs a trusted application.
    InstallTa(ApplicationArguments),
    /// Replaces a trusted application or its personalization data.
    UpdateTa(ApplicationArguments),
    /// Deletes a trusted application.
    DeleteTa {
        /// The SP, where the name alone is ambiguous.
        #[arg(long)]
        spid: Option<String>,
        /// The name of the security domain.
        #[arg(long)]
        sd: String,
        /// The application's identifier.
        #[arg(long)]
        ta: String,
    },
}

#[derive(Args)]
struct ApplicationArguments {
    /// The service provider, whose attestation key on the device the image is encrypted for.
    #[arg(long)]
    spid: String,
    /// The name of the security domain.
    #[arg(long)]
    sd: String,
    /// The application's identifier.
    #[arg(long)]
    ta: String,
    /// The signed image.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The personalization data.
    #[arg(long)]
    personalization: Option<PathBuf>,
    /// The certificate of a signer that the domain does not know yet.
    #[arg(long)]
    spcert: Option<PathBuf>,
}

/// What files a command needs, read.
#[derive(Default)]
struct Files {
    certificates: Vec<Vec<u8>>,
    image: Option<Vec<u8>>,
    personalization: Option<Vec<u8>>,
}

impl Kind {
    fn files(&self) -> anyhow::Result<Files> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(match self {
            Self::CreateSd { spcert, .. } => {
                Files { certificates: vec![certificate_der(spcert)?], ..Files::default() }
            }
            Self::UpdateSd { spcert, .. } => Files {
                certificates: spcert
                    .iter()
                    .map(|path| certificate_der(path))
                    .collect::<anyhow::Result<_>>()?,
                ..Files::default()
            },
            Self::InstallTa(arguments) | Self::UpdateTa(arguments) => Files {
                certificates: arguments
                    .spcert
                    .iter()
                    .map(|path| certificate_der(path))
                    .collect::<anyhow::Result<_>>()?,
                image: arguments.file.as_ref().map(read).transpose()?,
                personalization: arguments.personalization.as_ref().map(read).transpose()?,
            },
            _ => Files::default(),
        })
    }

    /// The command; `None` for GetDeviceState.
    fn command<'a>(&'a self, files: &'a Files) -> Option<Command<'a>> {
        let certificate = files.certificates.first().map(Vec::as_slice);
        let application = |arguments: &'a ApplicationArguments| Application {
            spid: &arguments.spid,
            domain: &arguments.sd,
            taid: &arguments.ta,
            certificate,
            image: files.image.as_deref(),
            personalization: files.personalization.as_deref(),
        };
        Some(match self {
            Self::GetDeviceState => return None,
            Self::CreateSd { spid, sd, .. } => {
                Command::CreateSd { spid, name: sd, certificate: certificate.unwrap_or_default() }
            }
            Self::UpdateSd { spid, sd, new_sd, new_spid, delete_spcert, renew_aik, .. } => {
                let changes = SdChanges {
                    new_name: new_sd.as_deref(),
                    new_spid: new_spid.as_deref(),
                    add: files.certificates.iter().map(Vec::as_slice).collect(),
                    remove: delete_spcert.iter().map(String::as_str).collect(),
                    renew_attestation_key: *renew_aik,
                };
                Command::UpdateSd { spid, name: sd, changes }
            }
            Self::DeleteSd { spid, sd, delete_tas } => {
                Command::DeleteSd { spid: spid.as_deref(), name: sd, delete_tas: *delete_tas }
            }
            Self::InstallTa(arguments) => Command::InstallTa(application(arguments)),
            Self::UpdateTa(arguments) => Command::UpdateTa(application(arguments)),
            Self::DeleteTa { spid, sd, ta } => {
                Command::DeleteTa { spid: spid.as_deref(), name: sd, taid: ta }
            }
        })
    }

    fn spid(&self) -> Option<&str> {
        match self {
            Self::InstallTa(arguments) | Self::UpdateTa(arguments) => Some(&arguments.spid),
            _ => None,
        }
    }
}

impl MessageArguments {
    pub fn run(&self) -> anyhow::Result<()> {
        let settings = self.config.as_ref().map(|path| TamSettings::read(path)).transpose()?;
        let identity = &self.identity(settings.as_ref())?;
        let files = self.kind.files()?;
        let target;
        let mut builder = match self.kind.command(&files) {
            None => Builder::device_state(identity),
            Some(command) => {
                target = self.target()?;
                Builder::command(identity, &target, command)
            }
        };
        builder = builder.next_dsi(!self.no_nextdsi).signer(match self.signer {
            SignerArgument::Chain => SignerHeader::Chain,
            SignerArgument::Kid => SignerHeader::KeyId,
            SignerArgument::None => SignerHeader::Absent,
        });
        if let Some(tid) = &self.tid {
            builder = builder.tid(tid.as_str());
        }
        if let Some(rid) = &self.rid {
            builder = builder.rid(rid.as_str());
        }
        if let Some(tam_id) = &self.tamid {
            builder = builder.tam_id(tam_id.as_str());
        }
        let mut suite = match &settings {
            Some(settings) => settings.algorithms.preferred(),
            None => Suite::default(),
        };
        if let Some(name) = &self.enc {
            suite.content_encryption = ContentEncryption::from_name(name).with_context(|| {
                let names = ContentEncryption::ALL.map(ContentEncryption::name);
                format!("--enc is {name:?}, and can be {}", names.join(", "))
            })?;
        }
        if let Some(name) = &self.alg {
            let management = KeyManagement::from_name(name).with_context(|| {
                let names = KeyManagement::ALL.map(KeyManagement::name);
                format!("--alg is {name:?}, and can be {}", names.join(", "))
            })?;
            suite.key_managements = suite.key_managements.with(management);
        }
        match self.ta_alg.as_deref() {
            Some("AESCBC") => suite.ta_encryption = TaEncryption::AesCbc,
            Some("A256GCM") => suite.ta_encryption = TaEncryption::A256Gcm,
            Some(name) => bail!("--ta-alg is {name:?}, and can be AESCBC or A256GCM"),
            None => {}
        }
        let request = builder.suite(suite).build()?;
        std::io::stdout().write_all(&request.message)?;
        Ok(())
    }

    /// Who signs, with what it staples where that is asked for.
    fn identity(&self, settings: Option<&TamSettings>) -> anyhow::Result<Identity> {
        let asks_for_state = matches!(self.kind, Kind::GetDeviceState);
        let identity = match (&self.key, &self.chain, settings) {
            (Some(key), Some(chain), _) => Identity::read(key, chain, self.tamid.as_deref())?,
            (_, _, Some(settings)) if asks_for_state && self.ocsp.is_empty() => {
                // Without any a request is made all the same: a device may not ask for them.
                match settings.files_of(&settings.identity).ocsp.is_empty() {
                    true => settings.identity.clone(),
                    false => check::stapled(settings, &settings.identity)?,
                }
            }
            (_, _, Some(settings)) => settings.identity.clone(),
            _ => bail!("who signs? Say --config, or --key and --chain"),
        };
        if self.ocsp.is_empty() {
            return Ok(identity);
        }
        let responses: anyhow::Result<_> =
            self.ocsp.iter().map(|path| ocsp::read_file(path)).collect();
        Ok(identity.staple(responses?))
    }

    fn target(&self) -> anyhow::Result<Target> {
        let mut target = self.device.target()?;
        if let Some(tee) = &self.tee {
            target.tee.clone_from(tee);
        }
        if let Some(dsi_hash) = &self.dsihash {
            target.dsi_hash.clone_from(dsi_hash);
        }
        ensure!(!target.tee.is_empty(), "which TEE? Say --tee");
        ensure!(!target.dsi_hash.is_empty(), "which state? Say --dsihash");
        if let (Some(key), Some(spid)) = (self.device.attestation_key()?, self.kind.spid()) {
            let (spaik, spaiktype) = match KeyType::of(&key) {
                Some(KeyType::Rsa) => (key.rsa()?.public_key_to_der_pkcs1()?, "RSA"),
                _ => (key.public_key_to_der()?, "ECC"),
            };
            target.attestation_keys = vec![AttestationKey {
                spaik: base64(&spaik),
                spaiktype: String::from(spaiktype),
                spid: String::from(spid),
            }];
        }
        Ok(target)
    }
}

/// Opens an answer with the TAM's key for which it is encrypted, where the TAM has two.
fn open_as_any<T>(
    settings: &TamSettings,
    open: impl Fn(&Identity) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let unfit = |refused: &Refused| {
        matches!(refused, Refused::Jose(NotOpened::Algorithm | NotOpened::Decryption))
    };
    match (open(&settings.identity), &settings.alternative) {
        (Err(refused), Some(alternative)) if unfit(&refused) => open(alternative),
        (opened, _) => opened,
    }
}

#[derive(Args)]
pub struct OpenArguments {
    /// The message; `-` is standard input.
    file: PathBuf,
    /// The configuration whose `[tam]` the message is for.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArguments,
    /// The transaction that it must be of.
    #[arg(long)]
    tid: Option<String>,
    /// The request that it must be the answer to.
    #[arg(long)]
    rid: Option<String>,
    /// Where to save the device state in it.
    #[arg(long)]
    dsi_out: Option<PathBuf>,
}

impl OpenArguments {
    pub fn run(&self) -> anyhow::Result<()> {
        let mut message = Vec::new();
        if self.file == Path::new("-") {
            std::io::stdin().read_to_end(&mut message)?;
        } else {
            message = std::fs::read(&self.file)
                .with_context(|| format!("cannot read {}", self.file.display()))?;
        }
        let opened = match serde_json::from_slice::<Single<Value>>(&message) {
            Ok(outer) if outer.name == "TAInformation" => self.ta_information(&message)?,
            _ => self.reply(&message)?,
        };
        writeln!(std::io::stdout(), "{}", foreign::json(&opened)?)?;
        Ok(())
    }

    fn reply(&self, message: &[u8]) -> anyhow::Result<Value> {
        let answer = match Reply::read(message)? {
            Reply::AgentError { code, rid, tid } => {
                return Ok(json!({ "agent-error": code, "rid": rid, "tid": tid }));
            }
            Reply::Answer(answer) => answer,
        };
        let wanted = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let (tid, rid) = (Foreign::new(answer.tid()), Foreign::new(answer.rid()));
        ensure!(wanted(&self.tid, answer.tid()), "an answer of the transaction {tid:?}");
        ensure!(wanted(&self.rid, answer.rid()), "an answer to the request {rid:?}");
        let config = self.config.as_ref().context("for whom is it? Say --config")?;
        let settings = TamSettings::read(config)?;
        let mut opened = json!({
            "message": answer.name().response(),
            "rid": answer.rid(),
            "tid": answer.tid(),
        });
        let mut add = |name: &str, value: Value| {
            if let Some(members) = opened.as_object_mut() {
                members.insert(String::from(name), value);
            }
        };
        if answer.name() == otrp_wire::RequestName::GetDeviceState {
            let open =
                |identity: &Identity| answer.device_state(None, identity, &settings.tee_roots);
            match open_as_any(&settings, open)? {
                StateAnswer::Refused(refusal) => {
                    add("status", "fail".into());
                    add("verified", false.into());
                    add("reason", serde_json::to_value(refusal)?);
                }
                StateAnswer::State { state, signer_required, .. } => {
                    add("status", "pass".into());
                    add("verified", true.into());
                    add("signerreq", signer_required.into());
                    self.add_state(&state, &mut add)?;
                }
            }
            return Ok(opened);
        }
        let certificate = self.device.target()?.certificate;
        let open = |identity: &Identity| answer.outcome(None, identity, &certificate);
        let outcome = open_as_any(&settings, open)?;
        add("verified", true.into());
        match outcome {
            Outcome::Fail(refusal) => {
                add("status", "fail".into());
                add("reason", serde_json::to_value(refusal)?);
            }
            Outcome::Pass(passed) => {
                add("status", "pass".into());
                if let Some(name) = &passed.sd_name {
                    add("sdname", name.as_str().into());
                }
                if let Some(key) = &passed.attestation_key {
                    add("teespaik", key.as_str().into());
                }
                if let Some(state) = &passed.state {
                    self.add_state(state, &mut add)?;
                }
            }
        }
        Ok(opened)
    }

    fn add_state(
        &self,
        state: &DeviceState,
        add: &mut impl FnMut(&str, Value),
    ) -> anyhow::Result<()> {
        if let Some(path) = &self.dsi_out {
            std::fs::write(path, &state.document)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        add("did", state.device_id.as_str().into());
        add("dsihash", state.hash.as_str().into());
        add("dsi", serde_json::to_value(&state.dsi)?);
        Ok(())
    }

    fn ta_information(&self, message: &[u8]) -> anyhow::Result<Value> {
        let key = match self.device.attestation_key()? {
            Some(key) => key,
            None => self.known_attestation_key(message)?,
        };
        Ok(json!({
            "message": "TAInformation",
            "verified": true,
            "information": TaInformation::verify(message, &key)?,
        }))
    }

    /// The key that the device has for the SP that the message claims to be of.
    fn known_attestation_key(&self, message: &[u8]) -> anyhow::Result<PKey<Public>> {
        // The reader's error quotes what it reads.
        let unread = |error: serde_json::Error| anyhow!("{:?}", Foreign::new(error.to_string()));
        let jws: Single<Jws> = serde_json::from_slice(message).map_err(unread)?;
        let claimed: Single<TaInformation> =
            serde_json::from_slice(&jws.value.unverified_payload()?).map_err(unread)?;
        let spid = claimed.value.spid;
        let target = self.device.target()?;
        target
            .attestation_keys
            .iter()
            .find(|key| key.spid == spid)
            .and_then(AttestationKey::public_key)
            .with_context(|| {
                format!("the device has no attestation key of {:?}", Foreign::new(spid))
            })
    }
}
