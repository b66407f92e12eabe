//! The device maker's CA: from a TEE's certification request to its certificate chain.

use std::cmp::Ordering;
use std::path::Path;

use openssl::asn1::Asn1Time;
use openssl::base64::encode_block;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::sha::sha256;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509KeyUsage, X509Req, X509StoreContext};

use crate::certificate::{Identity, Purpose, Template, Validity, now, seconds};
use crate::file::{beside, read_certificates, read_key};
use crate::show::distinguished_name;
use crate::{Error, Result};

/// A certification authority that is ready to issue: key, certificate and chain agree.
#[derive(Debug)]
pub struct Authority {
    identity: Identity,
    /// The certificates above `identity`, the root last.
    above: Vec<X509>,
}

impl Authority {
    /// Reads `stem.key.pem` and `stem.chain.pem`, the CA first and the root last.
    ///
    /// # Errors
    /// If devices would not accept what the authority issues.
    pub fn read(stem: &Path) -> Result<Self> {
        let key = read_key(&beside(stem, ".key.pem"))?;
        let mut chain = read_certificates(&beside(stem, ".chain.pem"))?;
        let certificate = chain.remove(0);
        Self::new(Identity { key, certificate }, chain)
    }

    /// The same authority, if devices import what it issues: a device that is built with the folder of
    /// anchors `trust` imports only what leads to its `tee-root.der`.
    ///
    /// # Errors
    /// `OtherRoot`, such as for the authority of the TAMs.
    pub fn for_devices_of(self, trust: &Path) -> Result<Self> {
        let expected = read_certificates(&trust.join("tee-root.der"))?.remove(0);
        let root = self.above.last().unwrap_or(&self.identity.certificate);
        if root.public_key()?.public_eq(&*expected.public_key()?) {
            return Ok(self);
        }
        Err(Error::OtherRoot {
            found: distinguished_name(root.subject_name()),
            expected: distinguished_name(expected.subject_name()),
            trust: trust.to_owned(),
        })
    }

    /// The same authority, if its certificate, or one above it, has the extendedKeyUsage of TEEs. If the
    /// anchors of the devices are not known, nothing else distinguishes it from the authority of the TAMs.
    ///
    /// # Errors
    /// `NotForTees`.
    pub fn for_tees(self) -> Result<Self> {
        let mut says_so = false;
        for certificate in [&self.identity.certificate].into_iter().chain(&self.above) {
            says_so |= names_tee_purpose(certificate)? == Some(true);
        }
        if says_so { Ok(self) } else { Err(Error::NotForTees) }
    }

    /// An authority from a key with its certificate, and the certificates above that one, the root last.
    ///
    /// # Errors
    /// As for [`Authority::read`].
    pub fn new(identity: Identity, above: Vec<X509>) -> Result<Self> {
        if !identity.certificate.public_key()?.public_eq(&identity.key) {
            return Err(Error::KeyMismatch);
        }
        if !may_issue(&identity.certificate) {
            return Err(Error::NotAuthority);
        }
        for certificate in [&identity.certificate].into_iter().chain(&above) {
            if names_tee_purpose(certificate)? == Some(false) {
                let name = distinguished_name(certificate.subject_name());
                return Err(Error::OtherPurpose(name));
            }
        }
        check_current(&identity.certificate)?;
        check_chain(&identity.certificate, &above)?;
        Ok(Self { identity, above })
    }

    /// Issues the TEE certificate that `request` asks for: the chain, leaf first, root last.
    ///
    /// Only the key is taken from the request, which is DER or PEM. The authority derives the subject
    /// from the key, so no request can choose the name of another device.
    ///
    /// # Errors
    /// `RequestMalformed`, `RequestKey` or `RequestSignature`.
    pub fn certify(&self, request: &[u8]) -> Result<Vec<X509>> {
        let key = requested_key(request)?;
        let fingerprint = sha256(&key.public_key_to_der()?);
        let issuer = &self.identity.certificate;
        let template = Template {
            organization: &organization(issuer),
            common_name: &format!("TEE {}", hex::encode(&fingerprint[..16])),
            purpose: Purpose::Tee,
            validity: Validity { not_after: seconds(issuer.not_after())?, ..Validity::years(0) },
            uri: None,
        };
        let mut leaf = template.issue(&key, &self.identity)?;
        // A spreadsheet would take such a `did` for a formula; the serial number is another each time.
        while encode_block(&sha256(&leaf.to_der()?)).starts_with('+') {
            leaf = template.issue(&key, &self.identity)?;
        }
        let above: Vec<_> = [issuer].into_iter().chain(&self.above).cloned().collect();
        // What basic constraints and path length say of the authority shows only with a leaf.
        check_chain(&leaf, &above)?;
        Ok([leaf].into_iter().chain(above).collect())
    }
}

/// The public key of a request that proves possession of it.
pub(crate) fn requested_key(request: &[u8]) -> Result<PKey<Public>> {
    let der = otrp_pem::request(request).map_err(Error::RequestMalformed)?;
    let request = X509Req::from_der(&der).map_err(|_| {
        let label = "CERTIFICATE REQUEST".into();
        Error::RequestMalformed(otrp_pem::Error::Damaged { label, line: None, why: "is damaged" })
    })?;
    let key = request.public_key().map_err(|_| Error::RequestKey)?;
    if !otrp_check::chain::is_party_key(&key.public_key_to_der()?) {
        return Err(Error::RequestKey);
    }
    match request.verify(&key) {
        Ok(true) => Ok(key),
        _ => Err(Error::RequestSignature),
    }
}

fn may_issue(certificate: &X509) -> bool {
    certificate.key_usage().is_some_and(|usage| usage.contains(X509KeyUsage::KEY_CERT_SIGN))
}

/// Whether an extendedKeyUsage lets the certificate be above TEEs; `None` without one.
fn names_tee_purpose(certificate: &X509) -> Result<Option<bool>> {
    let der = certificate.to_der()?;
    match otrp_check::Certificate::read(&der) {
        Ok(certificate) => Ok(certificate.names_tee_purpose()),
        Err(flaw) => Err(Error::AuthorityFlaw(flaw)),
    }
}

fn check_current(certificate: &X509) -> Result<()> {
    let now = Asn1Time::from_unix(now())?;
    let started = certificate.not_before().compare(&now)? != Ordering::Greater;
    let ended = certificate.not_after().compare(&now)? == Ordering::Less;
    if started && !ended { Ok(()) } else { Err(Error::AuthorityExpired) }
}

fn check_chain(certificate: &X509, above: &[X509]) -> Result<()> {
    check(certificate, above, X509VerifyFlags::empty())
}

/// Whether certificates belong to each other up to the root, valid at present or not.
pub(crate) fn check_chain_ever(certificate: &X509, above: &[X509]) -> Result<()> {
    check(certificate, above, X509VerifyFlags::NO_CHECK_TIME)
}

fn check(certificate: &X509, above: &[X509], flags: X509VerifyFlags) -> Result<()> {
    let Some((root, between)) = above.split_last() else {
        return Err(Error::AuthorityChain(
            "the chain file holds no certificate above the authority's own",
        ));
    };
    let mut parameters = X509VerifyParam::new()?;
    parameters.set_flags(flags)?;
    let mut store = X509StoreBuilder::new()?;
    store.set_param(&parameters)?;
    store.add_cert(root.clone())?;
    let mut untrusted = Stack::new()?;
    for intermediate in between {
        untrusted.push(intermediate.clone())?;
    }
    let mut context = X509StoreContext::new()?;
    let (valid, reason) = context.init(&store.build(), certificate, &untrusted, |context| {
        Ok((context.verify_cert()?, context.error()))
    })?;
    if valid { Ok(()) } else { Err(Error::AuthorityChain(reason.error_string())) }
}

fn organization(certificate: &X509) -> String {
    certificate
        .subject_name()
        .entries_by_nid(Nid::ORGANIZATIONNAME)
        .next()
        .map(|entry| String::from_utf8_lossy(entry.data().as_slice()).into_owned())
        .unwrap_or_default()
}
