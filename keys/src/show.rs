//! A file of this project's PKI in words, without its secrets.

use std::fmt::Write as _;
use std::path::Path;

use openssl::ec::EcKeyRef;
use openssl::hash::MessageDigest;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef};
use openssl::x509::{X509, X509KeyUsage, X509NameRef, X509Req};

use crate::file::read;
use crate::image::SignedImage;
use crate::{Error, Result};

/// Describes a certificate, a chain, a request, a key or a signed trusted application.
///
/// # Errors
/// `Malformed` where it is none of these.
pub fn describe(path: &Path) -> Result<String> {
    let bytes = read(path)?;
    if let Some(certificates) = certificates(&bytes) {
        return certificates
            .iter()
            .map(certificate)
            .collect::<Result<Vec<_>>>()
            .map(|all| all.join("\n"));
    }
    if let Ok(request) = X509Req::from_der(&bytes).or_else(|_| X509Req::from_pem(&bytes)) {
        return certification_request(&request);
    }
    if let Ok(private) = PKey::private_key_from_pem_callback(&bytes, |_| Ok(0)) {
        return Ok(format!("private key  {}\n", kind(&private)));
    }
    if let Ok(public) = PKey::public_key_from_pem(&bytes) {
        return Ok(format!("public key   {}\n", kind(&public)));
    }
    match SignedImage::parse(&bytes) {
        Ok(image) => Ok(signed_image(&image)),
        Err(_) => Err(Error::Malformed {
            path: path.to_owned(),
            expected: "a certificate, a certification request, a key or a signed trusted application",
        }),
    }
}

fn certificates(bytes: &[u8]) -> Option<Vec<X509>> {
    X509::from_der(bytes)
        .map(|certificate| vec![certificate])
        .or_else(|_| X509::stack_from_pem(bytes))
        .ok()
        .filter(|certificates| !certificates.is_empty())
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
    line("SHA-256", &hexadecimal(&digest));
    Ok(text)
}

fn certification_request(request: &X509Req) -> Result<String> {
    let key = request.public_key()?;
    let signature = match request.verify(&key) {
        Ok(true) => "made by this key",
        _ => "NOT made by this key",
    };
    Ok(format!(
        "certification request\n  subject     {}\n  key         {}\n  signature   {signature}\n",
        distinguished_name(request.subject_name()),
        kind(&key),
    ))
}

fn signed_image(image: &SignedImage<'_>) -> String {
    format!(
        "signed trusted application\n  UUID        {}\n  version     {}\n  ELF         {} bytes\n  algorithm   {}\n  digest      {} ({})\n",
        image.uuid,
        image.version,
        image.elf.len(),
        image.algorithm.name(),
        hexadecimal(image.digest),
        if image.digest_matches() { "matches" } else { "DOES NOT MATCH" },
    )
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

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
