//! Certificates: the profiles this project issues, and how they are signed.

use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time, Asn1TimeRef};
use openssl::bn::BigNum;
use openssl::ec::{Asn1Flag, EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef, Private};
use openssl::rand::rand_bytes;
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameRef, X509Ref};
use otrp_check::TEE_PURPOSE_DOTTED;

use crate::Result;

/// A key pair and the certificate of its public half.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The private key.
    pub key: PKey<Private>,
    /// The certificate of `key`.
    pub certificate: X509,
}

/// What a certificate is for, which decides its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A self-signed trust anchor.
    Root,
    /// An authority above other authorities.
    Authority,
    /// An authority directly above the leaves.
    IssuingAuthority,
    /// An authority directly above TEEs, and above nobody else.
    TeeAuthority,
    /// A party of the protocol, a TAM or a TEE: it signs messages and receives wrapped keys.
    Party,
    /// A party with the extendedKeyUsage of TEEs.
    Tee,
    /// A service provider's key that signs trusted applications.
    TaSigning,
    /// Signs OCSP responses for an authority.
    OcspResponder,
}

/// When a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: i64,
    /// Last second.
    pub not_after: i64,
}

/// The contents of a certificate except its key and issuer.
#[derive(Debug, Clone, Copy)]
pub struct Template<'a> {
    /// Subject, organization.
    pub organization: &'a str,
    /// Subject, common name.
    pub common_name: &'a str,
    /// What it is for.
    pub purpose: Purpose,
    /// When it is valid.
    pub validity: Validity,
    /// The subject's alternative name; for a TAM its TAM ID.
    pub uri: Option<&'a str>,
}

/// A new certificate's start lies this far back, so that a device whose clock is a little slow
/// accepts it.
const BACKDATED_SECONDS: i64 = 3600;
const SECONDS_A_DAY: i64 = 86_400;

impl Validity {
    /// From slightly before now, for about this number of years.
    #[must_use]
    pub fn years(years: u16) -> Self {
        let now = now();
        Self {
            not_before: now - BACKDATED_SECONDS,
            // A leap day every four years, so that 20 years do not end in the nineteenth.
            not_after: now + (i64::from(years) * 365 + i64::from(years / 4)) * SECONDS_A_DAY,
        }
    }
}

impl Template<'_> {
    /// A certificate for `key`, signed by itself.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn self_sign(&self, key: PKey<Private>) -> Result<Identity> {
        let certificate = self.build(&key, None, &key)?;
        Ok(Identity { key, certificate })
    }

    /// A certificate for the public key `key`, signed by `issuer`.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn issue<T: HasPublic>(&self, key: &PKeyRef<T>, issuer: &Identity) -> Result<X509> {
        self.build(key, Some(&issuer.certificate), &issuer.key)
    }

    fn build<T: HasPublic>(
        &self,
        key: &PKeyRef<T>,
        issuer: Option<&X509Ref>,
        issuer_key: &PKeyRef<Private>,
    ) -> Result<X509> {
        let subject = name(self.organization, self.common_name)?;
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*random_serial()?)?;
        builder.set_subject_name(&subject)?;
        builder
            .set_issuer_name(issuer.map_or::<&X509NameRef, _>(&subject, X509Ref::subject_name))?;
        builder.set_not_before(&*Asn1Time::from_unix(self.validity.not_before)?)?;
        builder.set_not_after(&*Asn1Time::from_unix(self.validity.not_after)?)?;
        builder.set_pubkey(key)?;
        self.add_extensions(&mut builder, issuer, key.id())?;
        builder.sign(issuer_key, digest_for(issuer_key))?;
        Ok(builder.build())
    }

    fn add_extensions(
        &self,
        builder: &mut X509Builder,
        issuer: Option<&X509Ref>,
        key_type: Id,
    ) -> Result<()> {
        let mut constraints = BasicConstraints::new();
        constraints.critical();
        let mut usage = KeyUsage::new();
        usage.critical();
        match self.purpose {
            Purpose::Root | Purpose::Authority => {
                constraints.ca();
                usage.key_cert_sign().crl_sign();
            }
            Purpose::IssuingAuthority | Purpose::TeeAuthority => {
                constraints.ca().pathlen(0);
                usage.key_cert_sign().crl_sign();
            }
            Purpose::Party | Purpose::Tee => {
                usage.digital_signature();
                match key_type {
                    Id::RSA => usage.key_encipherment(),
                    _ => usage.key_agreement(),
                };
            }
            Purpose::TaSigning => {
                usage.digital_signature();
                builder.append_extension(ExtendedKeyUsage::new().code_signing().build()?)?;
            }
            Purpose::OcspResponder => {
                usage.digital_signature();
                let purpose = ExtendedKeyUsage::new().other("OCSPSigning").build()?;
                builder.append_extension(purpose)?;
                builder.append_extension(ocsp_no_check()?)?;
            }
        }
        if matches!(self.purpose, Purpose::TeeAuthority | Purpose::Tee) {
            let purpose = ExtendedKeyUsage::new().other(TEE_PURPOSE_DOTTED).build()?;
            builder.append_extension(purpose)?;
        }
        builder.append_extension(constraints.build()?)?;
        builder.append_extension(usage.build()?)?;
        let identifier =
            SubjectKeyIdentifier::new().build(&builder.x509v3_context(issuer, None))?;
        builder.append_extension(identifier)?;
        if issuer.is_some() {
            let identifier = AuthorityKeyIdentifier::new()
                .keyid(true)
                .build(&builder.x509v3_context(issuer, None))?;
            builder.append_extension(identifier)?;
        }
        if let Some(uri) = self.uri {
            let alternative = SubjectAlternativeName::new()
                .uri(uri)
                .build(&builder.x509v3_context(issuer, None))?;
            builder.append_extension(alternative)?;
        }
        Ok(())
    }
}

/// id-pkix-ocsp-nocheck: the responder's own certificate is not checked for revocation.
fn ocsp_no_check() -> Result<X509Extension> {
    let identifier = Asn1Object::from_str("1.3.6.1.5.5.7.48.1.5")?;
    let null = Asn1OctetString::new_from_bytes(&[0x05, 0x00])?;
    Ok(X509Extension::new_from_der(&identifier, false, &null)?)
}

/// Generates a P-256 key pair.
///
/// # Errors
/// OpenSSL's.
pub fn generate_p256() -> Result<PKey<Private>> {
    let mut group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    group.set_asn1_flag(Asn1Flag::NAMED_CURVE);
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

/// Generates an RSA key pair of `bits` bits.
///
/// # Errors
/// OpenSSL's.
pub fn generate_rsa(bits: u32) -> Result<PKey<Private>> {
    Ok(PKey::from_rsa(Rsa::generate(bits)?)?)
}

/// Generates an RSA key pair of `bits` bits with this public exponent, which must be odd.
///
/// # Errors
/// OpenSSL's.
pub fn generate_rsa_with_exponent(bits: u32, exponent: u32) -> Result<PKey<Private>> {
    Ok(PKey::from_rsa(Rsa::generate_with_e(bits, &*BigNum::from_u32(exponent)?)?)?)
}

/// The digest that a key signs: for P-384 the one of its own strength, else SHA-256.
pub(crate) fn digest_for(key: &PKeyRef<Private>) -> MessageDigest {
    match (key.id(), key.bits()) {
        (Id::EC, 384) => MessageDigest::sha384(),
        _ => MessageDigest::sha256(),
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

/// A certificate's time in seconds since 1970.
pub(crate) fn seconds(time: &Asn1TimeRef) -> Result<i64> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

fn name(organization: &str, common_name: &str) -> Result<X509Name> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::ORGANIZATIONNAME, organization)?;
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    Ok(name.build())
}

/// 126 random bits below a fixed 1: positive, 16 octets, and unique without a list of serials.
fn random_serial() -> Result<Asn1Integer> {
    let mut octets = [0; 16];
    rand_bytes(&mut octets)?;
    octets[0] = octets[0] & 0x3f | 0x40;
    Ok(BigNum::from_slice(&octets)?.to_asn1_integer()?)
}
