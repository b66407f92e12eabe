//! Describes a file of a deployment's PKI, without its secrets.

use std::fmt::Write as _;
use std::path::Path;

use openssl::ec::EcKeyRef;
use openssl::hash::MessageDigest;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef};
use openssl::x509::{X509, X509KeyUsage, X509NameRef, X509Ref, X509Req};
use otrp_pem::{Item, Kind};

use crate::file::read;
use crate::image::SignedImage;
use crate::{Error, Result, ocsp};

/// The description of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The lines.
    pub text: String,
    /// Whether every digest and signature that was checked is right.
    pub sound: bool,
}

/// Describes certificates, requests, keys, OCSP responses or a signed trusted application, and
/// whether it, or the first certificate, is signed by `signer`.
///
/// # Errors
/// `Malformed` if it is none of these, or has no signature to check; `Content`.
pub fn describe(path: &Path, signer: Option<&X509Ref>) -> Result<Description> {
    let bytes = read(path)?;
    let malformed = |expected| Error::Malformed { path: path.to_owned(), expected };
    if let Ok(image) = SignedImage::parse(&bytes) {
        let mut description = signed_image(&image);
        if let Some(signer) = signer {
            let signed = image.is_signed_by(&*signer.public_key()?)?;
            description.add_signature(signed, signer);
        }
        return Ok(description);
    }
    let items = otrp_pem::items(&bytes)
        .map_err(|reason| Error::Content { path: path.to_owned(), reason })?;
    if items.is_empty() {
        return Err(malformed(
            "a certificate, a certification request, a key, an OCSP response or a signed trusted application",
        ));
    }
    let mut description = Description { text: String::new(), sound: true };
    for item in &items {
        let Description { text, sound } =
            describe_item(item)?.ok_or_else(|| malformed("readable as what it claims to be"))?;
        if !description.text.is_empty() {
            description.text.push('\n');
        }
        description.text += &text;
        description.sound &= sound;
    }
    if let Some(signer) = signer {
        let first = items.iter().find(|item| item.kind == Kind::Certificate);
        let first = first.ok_or_else(|| malformed("something with a signature to compare"))?;
        let signed = X509::from_der(&first.der)?.verify(&*signer.public_key()?)?;
        description.add_signature(signed, signer);
    }
    Ok(description)
}

impl Description {
    fn add_signature(&mut self, signed: bool, signer: &X509Ref) {
        let verdict = if signed { "by" } else { "NOT by" };
        let name = distinguished_name(signer.subject_name());
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "  signature   {verdict} {name}");
        self.sound &= signed;
    }
}

/// Describes one item; `None` if it is damaged.
fn describe_item(item: &Item) -> Result<Option<Description>> {
    let sound = |text| Ok(Some(Description { text, sound: true }));
    match &item.kind {
        Kind::Certificate => match X509::from_der(&item.der) {
            Ok(certificate) => sound(self::certificate(&certificate)?),
            Err(_) => Ok(None),
        },
        Kind::Request => match X509Req::from_der(&item.der) {
            Ok(request) => certification_request(&request).map(Some),
            Err(_) => Ok(None),
        },
        Kind::PrivateKey => match PKey::private_key_from_der(&item.der) {
            Ok(key) => sound(format!("private key  {}\n", kind(&key))),
            Err(_) => Ok(None),
        },
        Kind::PublicKey => match PKey::public_key_from_der(&item.der) {
            Ok(key) => sound(format!("public key   {}\n", kind(&key))),
            Err(_) => Ok(None),
        },
        Kind::OcspResponse => match ocsp::describe(&item.der) {
            Some(text) => sound(text),
            None => Ok(None),
        },
        // Named, so that nothing in the file goes unsaid.
        other => sound(format!("{other}, which is not used here\n")),
    }
}

fn certificate(certificate: &X509) -> Result<String> {
    let mut text = String::from("certificate\n");
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<12}{value}");
    };
    line("subject", &distinguished_name(certificate.subject_name()));
    line("issuer", &distinguished_name(certificate.issuer_name()));
    line("serial", &certificate.serial_number().to_bn()?.to_hex_str()?.to_lowercase());
    line("valid", &format!("{} to {}", certificate.not_before(), certificate.not_after()));
    line("key", &kind(&*certificate.public_key()?));
    if let Some(usage) = certificate.key_usage() {
        line("usage", &usages(usage));
    }
    for name in certificate.subject_alt_names().iter().flatten() {
        if let Some(uri) = name.uri() {
            line("URI", uri);
        }
    }
    let digest = certificate.digest(MessageDigest::sha256())?;
    line("SHA-256", &hex::encode(digest));
    Ok(text)
}

fn certification_request(request: &X509Req) -> Result<Description> {
    let key = request.public_key()?;
    let sound = request.verify(&key).unwrap_or(false);
    let signature = if sound { "made by this key" } else { "NOT made by this key" };
    let text = format!(
        "certification request\n  subject     {}\n  key         {}\n  signature   {signature}\n",
        distinguished_name(request.subject_name()),
        kind(&key),
    );
    Ok(Description { text, sound })
}

fn signed_image(image: &SignedImage<'_>) -> Description {
    let sound = image.digest_matches();
    let mut text = format!(
        "signed trusted application\n  UUID        {}\n  version     {}\n  ELF         {} bytes\n  algorithm   {}\n  digest      {} ({})\n",
        image.uuid,
        image.version,
        image.elf.len(),
        image.algorithm.name(),
        hex::encode(image.digest),
        if sound { "matches" } else { "DOES NOT MATCH" },
    );
    // A device refuses it, but the file is what it says.
    if let Err(reason) = otrp_check::image::check(image.uuid.0, image.elf) {
        let _ = writeln!(text, "  no device installs it: {reason}");
    }
    Description { text, sound }
}

fn kind<T: HasPublic>(key: &PKeyRef<T>) -> String {
    match key.id() {
        Id::RSA => format!("RSA, {} bits", key.bits()),
        Id::EC => match key.ec_key().as_deref().ok().and_then(curve) {
            Some(curve) => format!("EC, {curve}"),
            None => "EC, unnamed curve".to_owned(),
        },
        _ => "of a kind not used here".to_owned(),
    }
}

fn curve<T>(key: &EcKeyRef<T>) -> Option<&'static str>
where
    T: HasPublic,
{
    key.group().curve_name().and_then(|curve| curve.long_name().ok())
}

fn usages(usage: X509KeyUsage) -> String {
    usage
        .iter_names()
        .map(|(name, _)| name.to_lowercase().replace('_', " "))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(crate) fn distinguished_name(name: &X509NameRef) -> String {
    let entry = |entry: &openssl::x509::X509NameEntryRef| {
        let value = String::from_utf8_lossy(entry.data().as_slice()).into_owned();
        // The value may come from a request that anybody could have made.
        let value = value.escape_debug().to_string();
        format!("{} = {value}", entry.object().nid().short_name().unwrap_or("?"))
    };
    name.entries().map(entry).collect::<Vec<_>>().join(", ")
}
