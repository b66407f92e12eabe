//! `otrp-keys`: creates development keys, signs applications, certifies TEEs, signs OCSP responses.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use otrp_keys::broker::{self, Choices};
use otrp_keys::device::Authority;
use otrp_keys::factory::{self, Device, Event, Outcome, Progress};
use otrp_keys::file::shown;
use otrp_keys::image::{self, Algorithm};
use otrp_keys::ocsp::{self, Period, Responder, Status};
use otrp_keys::{Uuid, development, file, product, show, vet};

mod output;

/// A line on standard output.
macro_rules! say {
    ($($text:tt)*) => {{
        output::write(format_args!("{}\n", format_args!($($text)*)))
    }};
}

/// A line on standard error.
macro_rules! complain {
    ($($text:tt)*) => { output::complain(format_args!($($text)*)) };
}

/// Creates and uses the keys and certificates of an OTrP deployment.
#[derive(Parser)]
#[command(version, subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a complete PKI for development: TAM, device maker and service providers.
    ///
    /// This includes OCSP responses for the TAM, valid for a week; `otrp-keys ocsp` creates later ones.
    /// An image trusts only the PKI that it is built with. The one of `make run` is in .cache/keys/dev;
    /// its devices refuse a TAM of a new PKI (ERR_TAM_NOT_TRUSTED).
    #[command(after_help = "Example:
  otrp-keys init --out dev")]
    Init {
        /// The folder to create.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Replace an existing development PKI.
        #[arg(long)]
        force: bool,
    },
    /// Sign a trusted application as OP-TEE's sign_encrypt.py does, with RSA or P-256.
    ///
    /// Refuses what no device would install. The file must be an ELF for AArch64 or 32-bit Arm that
    /// OP-TEE's TA dev kit linked with this UUID, an application or a shared library.
    #[command(after_help = "Example:
  otrp-keys sign-ta --key dev/sp-ec.key.pem --uuid 7265664a-f108-4bd7-af1c-86d044babbac \\
      --ta-version 1 --in app.stripped.elf --out app.ta")]
    SignTa {
        /// The signing key, PEM or DER, without a passphrase.
        #[arg(long, value_name = "KEY")]
        key: PathBuf,
        /// The application's UUID.
        #[arg(long)]
        uuid: Uuid,
        /// The version; a device refuses one lower than it has installed before.
        #[arg(long, value_name = "NUMBER")]
        ta_version: u32,
        /// The application, a stripped ELF.
        #[arg(long = "in", value_name = "ELF")]
        elf: PathBuf,
        /// The signed file to write.
        #[arg(long, value_name = "TA")]
        out: PathBuf,
        /// The signature algorithm, if the key supports several.
        #[arg(long, value_enum)]
        algorithm: Option<AlgorithmName>,
    },
    /// Issue TEE certificates for one certification request, or for a folder of them.
    ///
    /// In a folder, NAME.csr becomes NAME.chain.pem. A bad request is reported and the others are still
    /// processed; the exit code is then 1. Anything that is not a request is reported and left alone: a
    /// folder, or a file that does not end in .csr and contains no complete request. An existing chain
    /// stays, so an interrupted run can be repeated. No key gets a second chain under another name in the
    /// same folder, even if several processes certify into it.
    ///
    /// The CA must be that of the TEEs: it must lead to the tee-root.der of the folder of anchors, or, if
    /// that folder is not known, its certificate must have the extendedKeyUsage of TEEs.
    #[command(after_help = "Examples:
  otrp-keys certify --ca dev/tee-ca --csr device.csr --out device.chain.pem
  otrp-keys certify --ca dev/tee-ca --csr-dir requests --out-dir chains
  otrp-keys certify --ca dev/tee-ca --csr-dir requests --out-dir chains --renew")]
    Certify {
        /// The CA: reads CA.key.pem and CA.chain.pem (the CA first, its root last).
        #[arg(long, value_name = "CA")]
        ca: PathBuf,
        /// The folder of anchors that the devices are built with, if it is not `trust` next to the CA.
        #[arg(long, value_name = "DIR")]
        trust: Option<PathBuf>,
        /// The request, PKCS#10 in DER or PEM.
        #[arg(long, value_name = "FILE", requires = "out", required_unless_present = "csr_dir")]
        csr: Option<PathBuf>,
        /// The chain to write, PEM, device first, root last; its name must not begin with a dot.
        #[arg(long, value_name = "PEM", requires = "csr")]
        out: Option<PathBuf>,
        /// The folder with the requests.
        #[arg(long, value_name = "DIR", requires = "out_dir", conflicts_with = "csr")]
        csr_dir: Option<PathBuf>,
        /// The folder for the chains; created if it is missing.
        #[arg(long, value_name = "DIR", requires = "csr_dir")]
        out_dir: Option<PathBuf>,
        /// Replace existing chains of the same keys.
        #[arg(long)]
        renew: bool,
    },
    /// List the devices whose chains are in a folder, as CSV.
    ///
    /// The columns: the device identifier that TAMs use (base64 SHA-256 of the certificate), the
    /// certificate's serial number, subject, key type and validity, the chain's file, and the SHA-256 of
    /// the key, which stays when the certificate is renewed. A cell that a spreadsheet would interpret as
    /// a formula begins with an apostrophe.
    ///
    /// Damaged files, keys that devices do not accept, and all files that share one key are left out: they
    /// are reported on standard error, and the exit code is 1.
    #[command(after_help = "Example:
  otrp-keys inventory chains > devices.csv")]
    Inventory {
        /// The folder with the files NAME.chain.pem that certify wrote.
        folder: PathBuf,
    },
    /// Sign an OCSP response for a TAM to staple: whether a certificate is revoked.
    #[command(after_help = "Examples:
  otrp-keys ocsp --cert dev/tam.pem --issuer dev/tam-issuing-ca.pem \\
      --responder dev/tam-ocsp --out tam.ocsp
  otrp-keys ocsp --cert dev/tam-issuing-ca.pem --issuer dev/tam-root.pem \\
      --responder dev/tam-root-ocsp --hours 168 --out tam-issuing-ca.ocsp")]
    Ocsp {
        /// The certificate in question, PEM or DER.
        #[arg(long, value_name = "CERTIFICATE")]
        cert: PathBuf,
        /// The certificate of its issuer, PEM or DER.
        #[arg(long, value_name = "CERTIFICATE")]
        issuer: PathBuf,
        /// Who signs, the issuer or its responder: reads STEM.key.pem and STEM.pem.
        #[arg(long, value_name = "STEM")]
        responder: PathBuf,
        /// The status of the certificate.
        #[arg(long, value_enum, default_value_t)]
        status: StatusName,
        /// For how many hours it is valid.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..))]
        hours: u16,
        /// From when it is valid, such as 2027-03-01T00:00:00Z; from now if not given.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// The response to write, DER.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Check what a product is to be built with, before it is built.
    ///
    /// Refused are: an anchor that devices cannot use; a TA signing key that OP-TEE does not accept; a
    /// private key in place of a public one, or anywhere in the folder of anchors; an anchor of a
    /// development PKI; a TA signing key whose private half others have, such as the development PKI's or
    /// the one that OP-TEE publishes with its source.
    ///
    /// With --broker, the ELF that goes into the image is checked too: it must have been built with that
    /// folder and those options, and contain its anchors and no other certificate.
    ///
    /// With --chain, a TAM's certificates are checked by the rules of a device, which itself gives an
    /// untrusted TAM no reason.
    #[command(after_help = "Examples:
  otrp-keys vet --trust trust --ta-signing-key ta-signing.pub.pem
  otrp-keys vet --chain dev/tam.chain.pem --ocsp dev/tam.ocsp --ocsp dev/tam-issuing-ca.ocsp --tam-root dev/tam-root.der")]
    Vet {
        /// The folder of the anchors: tam-roots/*.der and tee-root.der.
        #[arg(
            long,
            value_name = "DIR",
            required_unless_present = "chain",
            requires = "ta_signing_key"
        )]
        trust: Option<PathBuf>,
        /// The public half of OP-TEE's TA key, PEM or DER.
        #[arg(long, value_name = "PEM", requires = "trust")]
        ta_signing_key: Option<PathBuf>,
        /// The broker's ELF that goes into the image; must have been built with that folder.
        #[arg(long, value_name = "ELF", requires = "trust")]
        broker: Option<PathBuf>,
        /// The TEE's name that the broker is to be built with; `optee` if not given.
        #[arg(long, value_name = "NAME", requires = "broker")]
        tee_name: Option<String>,
        /// The type of key pairs that the broker is to generate; `p256` if not given.
        #[arg(long, value_name = "TYPE", requires = "broker", value_parser = ["p256", "rsa"])]
        key_type: Option<String>,
        /// Whether the broker is to accept RSA1_5; `on` if not given.
        #[arg(long = "rsa1_5", value_name = "SWITCH", requires = "broker", value_parser = ["on", "off"])]
        rsa1_5: Option<String>,
        /// The time of the broker's build (SOURCE_DATE_EPOCH), in seconds since 1970; any if not given.
        #[arg(long, value_name = "SECONDS", requires = "broker")]
        built_at: Option<u64>,
        /// Accept development keys, for the image of an emulated device; everything else is checked.
        #[arg(long, requires = "trust")]
        allow_development: bool,
        /// The certificates of a TAM, its own first.
        #[arg(long, value_name = "FILE")]
        chain: Option<PathBuf>,
        /// An OCSP response that the TAM staples; repeated, in the order of the certificates.
        #[arg(long, value_name = "FILE", requires = "chain")]
        ocsp: Vec<PathBuf>,
        /// A TAM root that devices are built with; may be repeated. By default the root of the chain.
        #[arg(long, value_name = "FILE", requires = "chain")]
        tam_root: Vec<PathBuf>,
    },
    /// Describe a certificate, request, key, OCSP response or signed application.
    ///
    /// The exit code is 1 if a digest or a signature in it does not match.
    #[command(after_help = "Examples:
  otrp-keys show dev/tam.chain.pem
  otrp-keys show dev/tam.ocsp
  otrp-keys show app.ta --signed-by dev/sp-ec.pem")]
    Show {
        /// The file.
        file: PathBuf,
        /// Check that it is signed with the key of this certificate, PEM or DER.
        #[arg(long, value_name = "CERTIFICATE")]
        signed_by: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum AlgorithmName {
    /// RSASSA-PSS with SHA-256, OP-TEE's default.
    RsaPss,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1,
    /// ECDSA P-256 with SHA-256.
    Ecdsa,
}

impl From<AlgorithmName> for Algorithm {
    fn from(name: AlgorithmName) -> Self {
        match name {
            AlgorithmName::RsaPss => Self::RsaPssSha256,
            AlgorithmName::RsaPkcs1 => Self::RsaPkcs1Sha256,
            AlgorithmName::Ecdsa => Self::EcdsaP256Sha256,
        }
    }
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum StatusName {
    /// Not revoked.
    #[default]
    Good,
    /// Revoked.
    Revoked,
    /// Not known to the responder.
    Unknown,
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Good => Self::Good,
            StatusName::Revoked => Self::Revoked,
            StatusName::Unknown => Self::Unknown,
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command).and_then(|()| output::finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Init { out, force } => {
            development::create(&out, force, &mut |line| say!("  {line}"))?;
            say!("{} holds a development PKI, not for production", out.display());
            output::write(format_args!("{}", next_steps(&out)));
        }
        Command::SignTa { key, uuid, ta_version, elf, out, algorithm } => {
            let application = file::read(&elf)?;
            otrp_check::image::check(uuid.0, &application)
                .with_context(|| elf.display().to_string())?;
            if let Some(warning) = otrp_check::image::warning(ta_version) {
                complain!("warning: version {ta_version} {warning}");
            }
            let algorithm = algorithm.map(Algorithm::from);
            let signed =
                image::sign(&*file::read_key(&key)?, algorithm, uuid, ta_version, &application)
                    .with_context(|| format!("cannot sign with {}", key.display()))?;
            file::write(&out, &signed)?;
            say!("{}: {uuid} version {ta_version}, {} bytes", out.display(), signed.len());
        }
        Command::Certify { ca, trust, csr: Some(csr), out: Some(out), renew, .. } => {
            let authority = authority(&ca, trust.as_deref())?;
            let outcome = factory::certify_one(&authority, &csr, &out, renew, &mut report)
                .with_context(|| format!("cannot certify {}", csr.display()))?;
            match outcome {
                Outcome::Certified(device) => say!("{}: did {}", out.display(), device.did),
                _ => say!(
                    "{}: has the chain of this key already; --renew replaces it",
                    out.display()
                ),
            }
        }
        Command::Certify {
            ca,
            trust,
            csr_dir: Some(requests),
            out_dir: Some(chains),
            renew,
            ..
        } => {
            certify_all(&authority(&ca, trust.as_deref())?, &requests, &chains, renew)?;
        }
        Command::Certify { .. } => bail!("give --csr and --out, or --csr-dir and --out-dir"),
        Command::Inventory { folder } => inventory(&folder)?,
        Command::Ocsp { cert, issuer, responder, status, hours, at, out } => {
            let period = match at {
                Some(text) => Period::hours_from(ocsp::parse_time(&text)?, hours),
                None => Period::hours(hours),
            };
            let certificate = file::read_certificate(&cert)?;
            let issuer = file::read_certificate(&issuer)?;
            let response = Responder::read(&responder, issuer)
                .and_then(|responder| responder.answer(&certificate, status.into(), period))
                .with_context(|| format!("cannot answer for {}", cert.display()))?;
            file::write(&out, &response)?;
            say!("{}: {} bytes", out.display(), response.len());
        }
        Command::Vet {
            trust,
            ta_signing_key,
            broker,
            tee_name,
            key_type,
            rsa1_5,
            built_at,
            allow_development,
            chain,
            ocsp,
            tam_root,
        } => {
            let (mut accepted, mut refusals) = (Vec::new(), Vec::new());
            let mut judge = |refused: Vec<String>, otherwise: String| match refused.is_empty() {
                true => accepted.push(otherwise),
                false => refusals.extend(refused),
            };
            if let (Some(trust), Some(key)) = (&trust, ta_signing_key) {
                // Nobody delivers a development image, and whoever has a broker built has judged the folder.
                if !allow_development && broker.is_none() {
                    for warning in product::warnings(trust) {
                        complain!("warning: {warning}");
                    }
                }
                let product = product::refusals(trust, &key, allow_development);
                judge(
                    product.iter().map(ToString::to_string).collect(),
                    format!("{} and {}: fit for an image", trust.display(), key.display()),
                );
            }
            if let (Some(trust), Some(elf)) = (&trust, &broker) {
                let choices = Choices { tee_name, key_type, rsa1_5, built_at };
                let differences = match broker::differences(elf, trust, &choices) {
                    Ok(differences) => differences.iter().map(ToString::to_string).collect(),
                    Err(error) => vec![error.to_string()],
                };
                judge(
                    differences,
                    format!("{}: built with {}, and nothing else", elf.display(), trust.display()),
                );
            }
            if let Some(chain) = chain {
                match vet::tam(&chain, &ocsp, &tam_root)? {
                    Ok(sentence) => judge(Vec::new(), sentence),
                    Err(refused) => judge(refused, String::new()),
                }
            }
            for sentence in accepted {
                say!("{sentence}");
            }
            let mut said = HashSet::new();
            for refusal in refusals.iter().filter(|refusal| said.insert(refusal.as_str())) {
                complain!("{refusal}");
            }
            ensure!(refusals.is_empty(), "refused");
        }
        Command::Show { file, signed_by } => {
            let signer = signed_by.as_deref().map(file::read_certificate).transpose()?;
            let description = show::describe(&file, signer.as_deref())?;
            output::write(format_args!("{}", description.text));
            ensure!(description.sound, "{}: a digest or signature does not match", file.display());
        }
    }
    Ok(())
}

/// Reads the CA of the TEEs, and compares its root with that of the devices where that is known.
fn authority(ca: &Path, trust: Option<&Path>) -> Result<Authority> {
    let beside = ca.with_file_name("trust");
    let trust = trust.or_else(|| beside.join("tee-root.der").is_file().then_some(&*beside));
    let authority = Authority::read(ca);
    match trust {
        None => authority.and_then(Authority::for_tees),
        Some(trust) => authority.and_then(|authority| authority.for_devices_of(trust)),
    }
    .with_context(|| format!("cannot certify with {}", ca.display()))
}

/// What to do with a new development PKI.
fn next_steps(out: &Path) -> String {
    let out = out.display();
    format!(
        "Next:
  devices: build and pack the image with it: make image ALLOW_DEV_KEYS=1 \\
             OTRP_TRUST_DIR={out}/trust TA_SIGNING_KEY={out}/ta-signing.pub.pem
           (`make development` with the same variables builds it without packing;
           that of a plain `make run` trusts .cache/keys/dev, and no TAM of this PKI)
  TAM:     key = \"{out}/tam.key.pem\", chain = \"{out}/tam.chain.pem\", tee_roots = [\"{out}/tee-root.pem\"],
           ocsp = [\"{out}/tam.ocsp\", \"{out}/tam-issuing-ca.ocsp\"] in its configuration (otrp-tam serve --help)
  OCSP:    make the responses anew within a week: otrp-keys ocsp --help
"
    )
}

fn certify_all(authority: &Authority, requests: &Path, chains: &Path, renew: bool) -> Result<()> {
    let totals = factory::certify_all(authority, requests, chains, renew, &mut report)?;
    say!("{} certified, {} left as they were", totals.certified, totals.kept);
    ensure!(totals.refused == 0, "{} refused", totals.refused);
    Ok(())
}

fn report(event: Event<'_>) {
    let Progress { number, total, request, outcome } = match event {
        Event::Waiting(folder) => {
            let folder = folder.display();
            return complain!("another process is certifying into {folder}; waiting for it");
        }
        Event::Unreadable(file, why) => {
            let file = shown(file);
            return complain!(
                "warning: {file} {why}, so its device's key could get a chain under another name"
            );
        }
        Event::Request(progress) => progress,
    };
    match outcome {
        Outcome::Certified(device) => {
            say!("{number}/{total} {}: did {}", device.chain.display(), device.did);
        }
        Outcome::Kept => say!("{number}/{total} {}: has its chain already", request.display()),
        Outcome::Refused(error) => {
            complain!("{number}/{total} cannot certify {}: {error}", shown(request));
        }
        Outcome::Foreign(what) => {
            complain!("{number}/{total} {} is left alone: {what}", shown(request));
        }
    }
}

fn inventory(folder: &Path) -> Result<()> {
    let devices = factory::inventory(folder)?;
    let mut bad = 0;
    say!("{}", Device::CSV_HEADER);
    for (file, device) in devices {
        match device {
            Ok(device) => say!("{}", device.csv()),
            Err(error) => {
                bad += 1;
                complain!("{}: {error}", shown(&file));
            }
        }
    }
    ensure!(bad == 0, "{bad} without a place in the inventory");
    Ok(())
}
