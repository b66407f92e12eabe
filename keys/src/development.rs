//! A whole PKI for development, in one folder, with every private key unprotected.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::certificate::{
    Identity, Purpose, Template, Validity, generate_p256, generate_rsa, generate_rsa_with_exponent,
};
use crate::file::{beside, chain_pem, read_certificates, write, write_identity, write_secret};
use crate::ocsp::{Period, Responder, Status};
use crate::{Error, Result};

/// The organization in every subject, by which a product's build knows and refuses the anchors.
pub const ORGANIZATION: &str = otrp_trust::DEVELOPMENT_ORGANIZATION;
/// The public exponent of `ta-signing`: "dev1", a prime. A public key has no subject that could say
/// what it is, so the key itself does.
pub const TA_SIGNING_EXPONENT: u32 = u32::from_be_bytes(*b"dev1");
/// The TAM ID of `tam`, and of `rogue-tam`, which claims it under a root nobody trusts.
pub const TAM_ID: &str = "https://tam.example.org/otrp";
/// The TAM ID of `other-tam`.
pub const OTHER_TAM_ID: &str = "https://other-tam.example.org/otrp";
/// The TAM ID of `tam-rsa`.
pub const RSA_TAM_ID: &str = "https://tam-rsa.example.org/otrp";

/// Marks a folder as one that `--force` may replace.
const MARKER: &str = "DEVELOPMENT-KEYS.txt";
const MARKER_TEXT: &str = "\
Development keys of OTrP, made by `otrp-keys init`. Not for production.
Whoever reads this folder can impersonate the TAM, the device maker and both service providers.
A build without ALLOW_DEV_KEYS=1 refuses its anchors and its TA signing key, wherever they are copied.
Made anew with: otrp-keys init --force --out THIS-FOLDER
";

const ROOT_YEARS: u16 = 20;
const AUTHORITY_YEARS: u16 = 10;
const TAM_YEARS: u16 = 1;
const TA_SIGNING_YEARS: u16 = 5;
const RESPONDER_YEARS: u16 = 1;
/// How long the responses are good that come with the keys.
const FIRST_RESPONSES_HOURS: u16 = 7 * 24;

/// Makes the development PKI as the folder `out`, telling `progress` a line for each step.
///
/// The folder appears whole or not at all. `force` lets it replace an older development PKI, and
/// nothing else.
///
/// # Errors
/// `Exists`, `NotOurs`, or what OpenSSL or the file system says.
pub fn create(out: &Path, force: bool, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let replaces = occupied(out)?;
    if replaces && !out.join(MARKER).is_file() {
        return Err(Error::NotOurs(out.to_owned()));
    }
    if replaces && !force {
        return Err(Error::Exists(out.to_owned()));
    }

    let unfinished =
        beside(&without_trailing_slash(out), &format!(".unfinished-{}", process::id()));
    make_directory(&unfinished)?;
    let finished =
        fill(&unfinished, progress).and_then(|()| put_in_place(&unfinished, out, replaces));
    if finished.is_err() {
        // The failure itself is what the caller must hear of, not that of tidying up after it.
        let _ = fs::remove_dir_all(&unfinished);
    }
    finished
}

/// The responses that the TAM `tam` of the development PKI in `directory` staples: its own and its
/// issuing CA's, both good.
///
/// # Errors
/// As [`Responder::read`] and [`Responder::answer`].
pub fn responses(directory: &Path, tam: &str, period: Period) -> Result<[Vec<u8>; 2]> {
    let certificate = |file: &str| -> Result<X509> {
        Ok(read_certificates(&directory.join(file).with_extension("der"))?.remove(0))
    };
    let answer = |responder: &str, issuer: &str, subject: &str| {
        Responder::read(&directory.join(responder), certificate(issuer)?)?.answer(
            &*certificate(subject)?,
            Status::Good,
            period,
        )
    };
    let (root, authority, prefix) = match tam {
        "tam-rsa" => ("tam-rsa-root", "tam-rsa-ca", "tam-rsa"),
        _ => ("tam-root", "tam-issuing-ca", "tam"),
    };
    Ok([
        answer(&format!("{prefix}-ocsp"), authority, tam)?,
        answer(&format!("{prefix}-root-ocsp"), root, authority)?,
    ])
}

/// The files of the first responses for the TAM `tam`, its own before its issuing CA's.
#[must_use]
pub const fn response_files(tam: &str) -> [&'static str; 2] {
    match tam.as_bytes() {
        b"tam-rsa" => ["tam-rsa.ocsp", "tam-rsa-ca.ocsp"],
        _ => ["tam.ocsp", "tam-issuing-ca.ocsp"],
    }
}

/// Whether there is anything at `out` but an empty folder.
fn occupied(out: &Path) -> Result<bool> {
    match fs::read_dir(out) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(_) if out.symlink_metadata().is_err() => Ok(false),
        Err(reason) => Err(Error::Write { path: out.to_owned(), reason }),
    }
}

fn put_in_place(unfinished: &Path, out: &Path, replaces: bool) -> Result<()> {
    let rename = |from: &Path, to: &Path| {
        fs::rename(from, to).map_err(|reason| Error::Write { path: to.to_owned(), reason })
    };
    if !replaces {
        return rename(unfinished, out);
    }
    let replaced = beside(&without_trailing_slash(out), &format!(".replaced-{}", process::id()));
    rename(out, &replaced)?;
    rename(unfinished, out)?;
    fs::remove_dir_all(&replaced).map_err(|reason| Error::Write { path: replaced, reason })
}

fn fill(directory: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let mut folder = Folder { directory, progress };
    write(&directory.join(MARKER), MARKER_TEXT.as_bytes())?;

    let tam_root = folder.root("tam-root", "OTrP development TAM root", P256)?;
    let tam_authority = folder.authority(
        "tam-issuing-ca",
        TAMS,
        "OTrP development TAM issuing CA",
        P256,
        &tam_root,
    )?;
    folder.responder("tam-root-ocsp", "OTrP development OCSP of the TAM root", P256, &tam_root)?;
    let name = "OTrP development OCSP of the TAM issuing CA";
    folder.responder("tam-ocsp", name, P256, &tam_authority)?;
    let tam_chain = [&tam_authority, &tam_root];
    folder.tam("tam", "OTrP development TAM", P256, TAM_ID, &tam_chain)?;
    folder.tam("other-tam", "OTrP development other TAM", P256, OTHER_TAM_ID, &tam_chain)?;

    let rsa_root = folder.root("tam-rsa-root", "OTrP development TAM root (RSA)", RSA_3072)?;
    let rsa_authority = folder.authority(
        "tam-rsa-ca",
        TAMS,
        "OTrP development TAM CA (RSA)",
        RSA_2048,
        &rsa_root,
    )?;
    let rsa_chain = [&rsa_authority, &rsa_root];
    folder.tam("tam-rsa", "OTrP development TAM (RSA)", RSA_2048, RSA_TAM_ID, &rsa_chain)?;
    let name = "OTrP development OCSP of the TAM root (RSA)";
    folder.responder("tam-rsa-root-ocsp", name, RSA_2048, &rsa_root)?;
    let name = "OTrP development OCSP of the TAM CA (RSA)";
    folder.responder("tam-rsa-ocsp", name, RSA_2048, &rsa_authority)?;

    let rogue_root = folder.root("rogue-root", "OTrP development rogue root", P256)?;
    folder.tam("rogue-tam", "OTrP development rogue TAM", P256, TAM_ID, &[&rogue_root])?;

    let tee_root = folder.root("tee-root", "OTrP development TEE root", P256)?;
    let tee_authority =
        folder.authority("tee-ca", TEES, "OTrP development TEE CA", P256, &tee_root)?;
    folder.chain("tee-ca", [&tee_authority, &tee_root])?;

    folder.service_provider("sp-rsa", "OTrP development SP (RSA)", RSA_2048)?;
    folder.service_provider("sp-ec", "OTrP development SP (P-256)", P256)?;
    folder.ta_signing_key("ta-signing")?;
    folder.trust(&[("tam-root", &tam_root), ("tam-rsa-root", &rsa_root)], &tee_root)?;
    for tam in ["tam", "tam-rsa"] {
        folder.first_responses(tam)?;
    }
    Ok(())
}

/// Whom an authority certifies.
const TAMS: Purpose = Purpose::IssuingAuthority;
const TEES: Purpose = Purpose::TeeAuthority;

/// A kind of key pair to make.
#[derive(Clone, Copy)]
enum NewKey {
    P256,
    Rsa(u32),
}

const P256: NewKey = NewKey::P256;
const RSA_2048_BITS: u32 = 2048;
const RSA_2048: NewKey = NewKey::Rsa(RSA_2048_BITS);
/// Larger than what it issues, and half as long to make as one of 4096 bits.
const RSA_3072: NewKey = NewKey::Rsa(3072);

impl NewKey {
    fn generate(self) -> Result<PKey<Private>> {
        match self {
            Self::P256 => generate_p256(),
            Self::Rsa(bits) => generate_rsa(bits),
        }
    }
}

impl fmt::Display for NewKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P256 => formatter.write_str("P-256"),
            Self::Rsa(bits) => write!(formatter, "RSA-{bits}"),
        }
    }
}

/// The folder being filled.
struct Folder<'a> {
    directory: &'a Path,
    progress: &'a mut dyn FnMut(&str),
}

impl Folder<'_> {
    fn stem(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn root(&mut self, file: &str, common_name: &str, key: NewKey) -> Result<Identity> {
        let identity =
            template(common_name, Purpose::Root, ROOT_YEARS, None).self_sign(key.generate()?)?;
        self.keep(file, &format!("{key}, trust anchor"), identity)
    }

    fn authority(
        &mut self,
        file: &str,
        purpose: Purpose,
        common_name: &str,
        kind: NewKey,
        issuer: &Identity,
    ) -> Result<Identity> {
        let key = kind.generate()?;
        let certificate =
            template(common_name, purpose, AUTHORITY_YEARS, None).issue(&key, issuer)?;
        self.keep(file, &format!("{kind}, issuing authority"), Identity { key, certificate })
    }

    fn responder(
        &mut self,
        file: &str,
        common_name: &str,
        kind: NewKey,
        issuer: &Identity,
    ) -> Result<()> {
        let key = kind.generate()?;
        let certificate = template(common_name, Purpose::OcspResponder, RESPONDER_YEARS, None)
            .issue(&key, issuer)?;
        let identity = Identity { key, certificate };
        self.keep(file, &format!("{kind}, OCSP responder"), identity).map(drop)
    }

    /// A TAM's leaf under the first of `chain`, and its chain file.
    fn tam(
        &mut self,
        file: &str,
        common_name: &str,
        key: NewKey,
        id: &str,
        chain: &[&Identity],
    ) -> Result<()> {
        let Some(issuer) = chain.first() else {
            return Err(Error::NotAuthority);
        };
        let key = key.generate()?;
        let certificate =
            template(common_name, Purpose::Party, TAM_YEARS, Some(id)).issue(&key, issuer)?;
        let identity = self.keep(file, id, Identity { key, certificate })?;
        self.chain(file, [&identity].into_iter().chain(chain.iter().copied()))
    }

    fn service_provider(&mut self, file: &str, common_name: &str, key: NewKey) -> Result<()> {
        let identity = template(common_name, Purpose::TaSigning, TA_SIGNING_YEARS, None)
            .self_sign(key.generate()?)?;
        self.keep(file, &format!("{key}, signs trusted applications"), identity).map(drop)
    }

    fn ta_signing_key(&mut self, file: &str) -> Result<()> {
        let key = generate_rsa_with_exponent(RSA_2048_BITS, TA_SIGNING_EXPONENT)?;
        let stem = self.stem(file);
        write_secret(&beside(&stem, ".key.pem"), &key.private_key_to_pem_pkcs8()?)?;
        write(&beside(&stem, ".pub.pem"), &key.public_key_to_pem()?)?;
        (self.progress)(&format!("{file}: {RSA_2048}, the OP-TEE image's own TA key"));
        Ok(())
    }

    /// What the broker's build compiles in.
    fn trust(&mut self, tam_roots: &[(&str, &Identity)], tee_root: &Identity) -> Result<()> {
        let folder = self.directory.join("trust/tam-roots");
        make_directory(&folder)?;
        for (file, root) in tam_roots {
            write(&beside(&folder.join(file), ".der"), &root.certificate.to_der()?)?;
        }
        write(&self.directory.join("trust/tee-root.der"), &tee_root.certificate.to_der()?)?;
        (self.progress)("trust: the anchors that the broker is built with");
        Ok(())
    }

    /// What the TAM staples until its operator makes others.
    fn first_responses(&mut self, tam: &str) -> Result<()> {
        let responses = responses(self.directory, tam, Period::hours(FIRST_RESPONSES_HOURS))?;
        let files = response_files(tam);
        for (file, response) in files.iter().zip(responses) {
            write(&self.directory.join(file), &response)?;
        }
        let days = FIRST_RESPONSES_HOURS / 24;
        (self.progress)(&format!("{}: OCSP responses, good for {days} days", files.join(", ")));
        Ok(())
    }

    fn keep(&mut self, file: &str, what: &str, identity: Identity) -> Result<Identity> {
        write_identity(&self.stem(file), &identity)?;
        (self.progress)(&format!("{file}: {what}"));
        Ok(identity)
    }

    fn chain<'i>(&self, file: &str, chain: impl IntoIterator<Item = &'i Identity>) -> Result<()> {
        let pem = chain_pem(chain.into_iter().map(|identity| &identity.certificate))?;
        write(&beside(&self.stem(file), ".chain.pem"), &pem)
    }
}

fn template<'a>(
    common_name: &'a str,
    purpose: Purpose,
    years: u16,
    uri: Option<&'a str>,
) -> Template<'a> {
    Template {
        organization: ORGANIZATION,
        common_name,
        purpose,
        validity: Validity::years(years),
        uri,
    }
}

fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|reason| Error::Write { path: path.to_owned(), reason })
}

/// `dev/` names the same folder as `dev`, but not its neighbour `dev/.unfinished`.
fn without_trailing_slash(path: &Path) -> PathBuf {
    path.components().collect()
}
