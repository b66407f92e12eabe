//! `otrp-tam message`: one signed request.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use otrp_tam::check;
use otrp_tam::desired::TamSettings;
use otrp_tam::dsi::AttestationKey;
use otrp_tam::encoding::base64;
use otrp_tam::identity::Identity;
use otrp_tam::jose::{ContentEncryption, KeyManagement, KeyType};
use otrp_tam::ocsp;
use otrp_tam::request::{
    Application, Builder, Command, SdChanges, SignerHeader, Suite, TaEncryption, Target,
};

use super::device::{DeviceArguments, certificate_der};

#[derive(Args)]
pub struct MessageArguments {
    /// Configuration whose `[tam]` signs.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Key of another TAM, which signs instead.
    #[arg(long, global = true, requires = "chain")]
    key: Option<PathBuf>,
    /// Certificates of the other TAM, leaf first.
    #[arg(long, global = true, requires = "key")]
    chain: Option<PathBuf>,
    /// OCSP response to staple unchecked, instead of the configuration's; may be repeated, the leaf's
    /// first.
    #[arg(long, global = true)]
    ocsp: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArguments,
    /// Transaction identifier; random by default.
    #[arg(long, global = true)]
    tid: Option<String>,
    /// Request identifier; random by default.
    #[arg(long, global = true)]
    rid: Option<String>,
    /// Name of the TEE, instead of the device's.
    #[arg(long, global = true)]
    tee: Option<String>,
    /// Hash of the device state, instead of the device's.
    #[arg(long, global = true)]
    dsihash: Option<String>,
    /// TAM identifier to claim, instead of the certificate's.
    #[arg(long, global = true)]
    tamid: Option<String>,
    /// Do not ask for the new state.
    #[arg(long, global = true)]
    no_nextdsi: bool,
    /// How the request identifies its signer.
    #[arg(long, global = true, value_enum, default_value_t)]
    signer: SignerArgument,
    /// Content encryption, such as A256GCM.
    #[arg(long, global = true)]
    enc: Option<String>,
    /// Key management, such as RSA-OAEP or ECDH-ES+A256KW.
    #[arg(long, global = true)]
    alg: Option<String>,
    /// Encryption of images and personalization data: A256GCM, or AESCBC, which does not authenticate
    /// them.
    #[arg(long, global = true)]
    ta_alg: Option<String>,
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum SignerArgument {
    /// By all certificates.
    #[default]
    Chain,
    /// By the hash of the certificate.
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
        /// Generate a new attestation key of the SP.
        #[arg(long)]
        renew_aik: bool,
    },
    /// Deletes a security domain.
    DeleteSd {
        /// The service provider, if the name alone is ambiguous.
        #[arg(long)]
        spid: Option<String>,
        /// The name of the security domain.
        #[arg(long)]
        sd: String,
        /// Delete the TAs in it, too.
        #[arg(long)]
        delete_tas: bool,
    },
    /// Installs a TA.
    InstallTa(ApplicationArguments),
    /// Replaces a TA or its personalization data.
    UpdateTa(ApplicationArguments),
    /// Deletes a TA.
    DeleteTa {
        /// The service provider, if the name alone is ambiguous.
        #[arg(long)]
        spid: Option<String>,
        /// The name of the security domain.
        #[arg(long)]
        sd: String,
        /// The TA's identifier.
        #[arg(long)]
        ta: String,
    },
}

#[derive(Args)]
struct ApplicationArguments {
    /// The service provider; the image is encrypted for its attestation key on the device.
    #[arg(long)]
    spid: String,
    /// The name of the security domain.
    #[arg(long)]
    sd: String,
    /// The TA's identifier.
    #[arg(long)]
    ta: String,
    /// The signed image.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The personalization data.
    #[arg(long)]
    personalization: Option<PathBuf>,
    /// Certificate of a signer that the domain does not have yet.
    #[arg(long)]
    spcert: Option<PathBuf>,
}

/// The contents of the files that a command needs.
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

    /// The signer, with the OCSP responses that GetDeviceState staples.
    fn identity(&self, settings: Option<&TamSettings>) -> anyhow::Result<Identity> {
        let asks_for_state = matches!(self.kind, Kind::GetDeviceState);
        let identity = match (&self.key, &self.chain, settings) {
            (Some(key), Some(chain), _) => Identity::read(key, chain, self.tamid.as_deref())?,
            (_, _, Some(settings)) if asks_for_state && self.ocsp.is_empty() => {
                // A request without responses is possible: not every device requires them.
                match settings.files_of(&settings.identity).ocsp.is_empty() {
                    true => settings.identity.clone(),
                    false => check::stapled(settings, &settings.identity)?,
                }
            }
            (_, _, Some(settings)) => settings.identity.clone(),
            _ => bail!("who signs? Give --config, or --key and --chain"),
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
        ensure!(!target.tee.is_empty(), "which TEE? Give --tee");
        ensure!(!target.dsi_hash.is_empty(), "which state? Give --dsihash");
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
