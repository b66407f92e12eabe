//! Checks certificate chains by the rules of devices: the second implementation of
//! `ta/engine/src/pki/path.rs`.

use std::fmt;

use otrp_wire::id::TamId;
use otrp_wire::limits::{CHAIN_BYTES_LIMIT, CHAIN_LIMIT};

use crate::certificate::{
    ANY_PURPOSE, CODE_SIGNING, Certificate, DIGITAL_SIGNATURE, KEY_AGREEMENT, KEY_CERT_SIGN,
    KEY_ENCIPHERMENT, called,
};
use crate::der::{self, Reader, SEQUENCE, explicit, implicit};
use crate::signature::{self, KeyKind};
use crate::time::utc;

/// Something that a device would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which certificate, from 0, the leaf's; `None` if it is about the chain.
    pub position: Option<usize>,
    /// The name of its subject; empty if it could not be read.
    pub subject: String,
    /// What is wrong: the end of a sentence that begins with the certificate, or the chain.
    pub rule: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.position, self.subject.as_str()) {
            (None, _) => write!(formatter, "the chain {}", self.rule),
            (Some(position), "") => write!(formatter, "certificate {} {}", position + 1, self.rule),
            (Some(position), subject) => {
                write!(formatter, "certificate {} ({subject:?}) {}", position + 1, self.rule)
            }
        }
    }
}

/// A chain that a device with this anchor would accept.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    /// The leaf, and the authorities below the anchor.
    pub certificates: Vec<Certificate<'a>>,
    /// The issuer of the last of them.
    pub anchor: Certificate<'a>,
    /// The TAM's identifier.
    pub tam_id: String,
}

impl Chain<'_> {
    /// Each certificate below the anchor with its issuer: those that need an OCSP response.
    pub fn issued(&self) -> impl Iterator<Item = (&Certificate<'_>, &Certificate<'_>)> {
        let issuers = self.certificates.iter().skip(1).chain([&self.anchor]);
        self.certificates.iter().zip(issuers)
    }

    /// The certificate that ends first, and the second after which it does.
    #[must_use]
    pub fn first_end(&self) -> Option<(&Certificate<'_>, u64)> {
        let ends = self.certificates.iter().map(|certificate| (certificate, certificate.not_after));
        ends.min_by_key(|(_, end)| *end)
    }
}

/// Checks the chain of a TAM, certificates in DER with the leaf first, as a device does at the time
/// `now` (in seconds since 1970).
///
/// `anchors` are the roots that the device is built with. Without any, the chain must end with a root,
/// which is then trusted.
///
/// # Errors
/// All faults, as far as one does not hide another.
pub fn check<'a>(
    chain: &[&'a [u8]],
    anchors: &[&'a [u8]],
    now: u64,
) -> Result<Chain<'a>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut certificates = Vec::new();
    for (position, der) in chain.iter().enumerate() {
        match Certificate::read(der) {
            Ok(certificate) => certificates.push(certificate),
            Err(rule) => {
                faults.push(Fault { position: Some(position), subject: subject_of(der), rule });
            }
        }
    }
    if chain.is_empty() {
        faults.push(of_chain("is empty"));
    }
    let mut odd = Vec::new();
    let named = !anchors.is_empty();
    let anchors: Vec<Certificate<'a>> = if !named {
        certificates.last().filter(|last| last.is_self_issued()).cloned().into_iter().collect()
    } else {
        let mut read = Vec::new();
        for der in anchors {
            match Certificate::read(der) {
                Ok(anchor) => read.push(anchor),
                // Another one may do.
                Err(rule) => odd.push(of_chain(&format!(
                    "cannot be led to the anchor {:?}, for that {rule}",
                    subject_of(der)
                ))),
            }
        }
        read
    };
    if !faults.is_empty() {
        faults.extend(odd);
        return Err(faults);
    }
    if certificates.last().is_some_and(|last| anchors.iter().any(|it| is_anchor(last, it))) {
        certificates.pop();
    }
    let Some((leaf, intermediates)) = certificates.split_first() else {
        return Err(vec![of_chain("holds a root and nothing below it")]);
    };
    // The device keeps the anchor with it, whether it was shown or not.
    if certificates.len() >= CHAIN_LIMIT {
        faults.push(of_chain(&format!(
            "has {} certificates below the root, and a device takes {}",
            certificates.len(),
            CHAIN_LIMIT - 1
        )));
    }
    faults.extend(order(&certificates));
    let topmost = certificates.last().unwrap_or(leaf);
    let mut refused: Option<Vec<Fault>> = None;
    let mut found = None;
    // A root that is left is another one, or the same once more.
    let may_issue =
        |anchor: &&Certificate<'_>| anchor.subject == topmost.issuer && !topmost.is_self_issued();
    for anchor in anchors.iter().filter(may_issue) {
        let path = path(leaf, intermediates, anchor, now);
        if path.is_empty() {
            found = Some(anchor);
            break;
        }
        refused.get_or_insert(path);
    }
    match (found, refused) {
        (Some(_), _) => {}
        (None, Some(path)) => faults.extend(path),
        (None, None) => {
            faults.extend(odd);
            faults.extend(path_without_anchor(leaf, intermediates, now));
            let last = certificates.len() - 1;
            faults.push(of(last, topmost, no_issuer(topmost, &anchors, named)));
        }
    }
    // It is kept with the anchor, whether that was shown or not.
    let kept: usize = certificates.iter().chain(found).map(|it| it.der.len()).sum();
    if kept > CHAIN_BYTES_LIMIT {
        faults.push(of_chain(&format!(
            "is {kept} bytes long with its root, and a device takes {CHAIN_BYTES_LIMIT}"
        )));
    }
    faults.extend(leaf_usage(leaf).map(|rule| of(0, leaf, rule)));
    let tam_id = tam_id(leaf);
    if tam_id.is_none() {
        faults.push(of(
            0,
            leaf,
            String::from(
                "names no TAM: of its alternative names the first registeredID, URI or DNS name \
                 is the TAM's identifier, and must be a valid one",
            ),
        ));
    }
    match (found, tam_id, faults.is_empty()) {
        (Some(anchor), Some(tam_id), true) => {
            let anchor = anchor.clone();
            Ok(Chain { certificates, anchor, tam_id })
        }
        _ => Err(faults),
    }
}

/// Whether a device can use the key of a DER SubjectPublicKeyInfo as a TAM's or its own: a point of
/// P-256, or an RSA key of 2048 to 4096 bits with an odd exponent of 65537 to 2^32 - 1.
#[must_use]
pub fn is_party_key(spki: &[u8]) -> bool {
    matches!(signature::key(spki), Some((KeyKind::P256 | KeyKind::Rsa, _)))
}

/// Checks that a device and TAMs can read the certificates of the device, DER with its own first, and
/// use the keys in them. Returns its own.
///
/// # Errors
/// The first fault, in the order of the certificates.
pub fn check_device_keys<'a>(chain: &[&'a [u8]]) -> Result<Certificate<'a>, Fault> {
    let mut device = None;
    for (position, der) in chain.iter().enumerate() {
        let fault = |rule: String| {
            let subject = subject_of(der);
            Fault { position: Some(position), subject, rule }
        };
        let certificate = Certificate::read(der).map_err(fault)?;
        if device.is_some() {
            if signature::key(certificate.spki).is_none() {
                return Err(fault(String::from(AUTHORITY_KEY)));
            }
        } else if let Some(rule) = signature::party_key_fault(certificate.spki) {
            return Err(fault(String::from(rule)));
        } else {
            device = Some(certificate);
        }
    }
    device.ok_or_else(|| of_chain("is empty"))
}

/// Whether a device accepts certificates that the key of a DER SubjectPublicKeyInfo signed: the keys
/// of [`is_party_key`], and points of P-384.
#[must_use]
pub fn is_authority_key(spki: &[u8]) -> bool {
    signature::key(spki).is_some()
}

/// Checks the certificate under which a service provider signs its applications, as a device does:
/// against itself alone.
///
/// # Errors
/// What is wrong.
pub fn check_signer(der: &[u8]) -> Result<(), Fault> {
    let fault = |rule: String| Fault { position: Some(0), subject: subject_of(der), rule };
    let certificate = Certificate::read(der).map_err(fault)?;
    if !is_party_key(certificate.spki) {
        return Err(fault(String::from(LEAF_KEY)));
    }
    let purpose = certificate.names_purpose(&[CODE_SIGNING, ANY_PURPOSE]).unwrap_or(true);
    if !certificate.allows(DIGITAL_SIGNATURE) || !purpose {
        return Err(fault(String::from(
            "is not for signing code, as its keyUsage or extendedKeyUsage says",
        )));
    }
    if certificate.is_self_issued() {
        certificate.verify_signature(&certificate).map_err(|bad| fault(bad.to_string()))?;
    }
    Ok(())
}

const LEAF_KEY: &str =
    "has a key that a device cannot use: it must be on P-256, or RSA of 2048 to 4096 bits";

/// What is wrong with the key of an authority, or an anchor.
pub(crate) const AUTHORITY_KEY: &str = "has a key that devices do not accept for signing certificates: it must be on P-256 or P-384, \
     or RSA of 2048 to 4096 bits with an odd exponent of 65537 to 4294967295";

fn of(position: usize, certificate: &Certificate<'_>, rule: String) -> Fault {
    Fault { position: Some(position), subject: certificate.common_name(), rule }
}

fn of_chain(rule: &str) -> Fault {
    Fault { position: None, subject: String::new(), rule: String::from(rule) }
}

/// The name of a certificate that a device cannot read.
fn subject_of(der: &[u8]) -> String {
    let certificate = openssl::x509::X509::from_der(der).ok();
    let name = certificate.and_then(|certificate| certificate.subject_name().to_der().ok());
    name.map_or_else(String::new, |name| called(&name))
}

/// Compares by name and key, so that a reissued root is the same as the former one.
fn is_anchor(certificate: &Certificate<'_>, anchor: &Certificate<'_>) -> bool {
    certificate.is_self_issued()
        && certificate.subject == anchor.subject
        && certificate.spki == anchor.spki
}

fn no_issuer(topmost: &Certificate<'_>, anchors: &[Certificate<'_>], named: bool) -> String {
    let issuer = called(topmost.issuer);
    match anchors.first() {
        None => {
            return format!(
                "is issued by {issuer:?}, which is not in the chain: add it, or name the roots \
                 that devices are built with"
            );
        }
        Some(root) if !named => {
            return format!(
                "is issued by {issuer:?}, and the next one in the file is {:?}: the leaf comes \
                 first, and each one is followed by its issuer",
                root.common_name()
            );
        }
        Some(_) => {}
    }
    let roots: Vec<String> =
        anchors.iter().map(|anchor| format!("{:?}", anchor.common_name())).collect();
    if topmost.is_self_issued() {
        return format!(
            "is a root, and not one of those named, or it is there twice: {}",
            roots.join(", ")
        );
    }
    format!("is issued by {issuer:?}, and not by one of the roots named: {}", roots.join(", "))
}

/// Each certificate is issued by the next one's subject, and no name is repeated.
fn order(certificates: &[Certificate<'_>]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (position, certificate) in certificates.iter().enumerate() {
        let above = certificates.get(position + 1);
        if let Some(issuer) = above.filter(|issuer| issuer.subject != certificate.issuer) {
            let rule = format!(
                "is issued by {:?}, and the next one in the file is {:?}: the leaf comes first, \
                 and each one is followed by its issuer",
                called(certificate.issuer),
                issuer.common_name()
            );
            faults.push(of(position, certificate, rule));
        }
        let is_last = above.is_none();
        let rest = certificates.get(position..).unwrap_or_default();
        let returns = rest.iter().any(|other| other.issuer == certificate.subject);
        if returns && !(is_last && certificate.is_self_issued()) {
            let rule = String::from("has a name that comes again as an issuer's above it");
            faults.push(of(position, certificate, rule));
        }
    }
    faults
}

/// What is wrong with the path to an anchor.
fn path(
    leaf: &Certificate<'_>,
    intermediates: &[Certificate<'_>],
    anchor: &Certificate<'_>,
    now: u64,
) -> Vec<Fault> {
    let mut faults = path_without_anchor(leaf, intermediates, now);
    let count = intermediates.len();
    let topmost = intermediates.last().unwrap_or(leaf);
    if let Err(bad) = topmost.verify_signature(anchor) {
        faults.push(of(count, topmost, bad.to_string()));
    }
    faults.extend(authority(anchor, count).map(|rule| of(count + 1, anchor, rule)));
    let below: Vec<&Certificate<'_>> = [leaf].into_iter().chain(intermediates).collect();
    faults.extend(constrained(anchor, &below).map(|rule| of(count + 1, anchor, rule)));
    faults
}

fn path_without_anchor(
    leaf: &Certificate<'_>,
    intermediates: &[Certificate<'_>],
    now: u64,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let path: Vec<&Certificate<'_>> = [leaf].into_iter().chain(intermediates).collect();
    for (position, certificate) in path.iter().enumerate() {
        let mut add = |rule: String| faults.push(of(position, certificate, rule));
        if now > certificate.not_after {
            add(format!("has expired on {}", utc(certificate.not_after)));
        }
        if now < certificate.not_before {
            add(format!("is not valid before {}", utc(certificate.not_before)));
        }
        if certificate.names_purpose(&[ANY_PURPOSE]) == Some(false) {
            add(String::from(
                "is for other purposes: an extendedKeyUsage must have anyExtendedKeyUsage, or be \
                 left out",
            ));
        }
        if position == 0 {
            if certificate.is_authority() {
                add(String::from("is an authority's, and a TAM's must not be"));
            }
        } else {
            authority(certificate, position - 1).into_iter().for_each(&mut add);
            let below = path.get(..position).unwrap_or_default();
            constrained(certificate, below).into_iter().for_each(&mut add);
        }
        if let Some(issuer) = path.get(position + 1)
            && issuer.subject == certificate.issuer
            && let Err(bad) = certificate.verify_signature(issuer)
        {
            add(bad.to_string());
        }
    }
    faults
}

/// What is wrong with an issuer that has `below` authorities below it.
fn authority(certificate: &Certificate<'_>, below: usize) -> Option<String> {
    if !certificate.is_authority() {
        return Some(String::from("issues others, but its basicConstraints do not say CA:TRUE"));
    }
    if !certificate.allows(KEY_CERT_SIGN) {
        return Some(String::from("issues others, but its keyUsage has no keyCertSign"));
    }
    match certificate.path_length() {
        Some(limit) if below > usize::from(limit) => {
            Some(format!("has pathLenConstraint {limit}, and {below} authorities are below it"))
        }
        _ => None,
    }
}

/// The leaf's key signs messages and receives keys.
fn leaf_usage(leaf: &Certificate<'_>) -> Option<String> {
    let (receives, name) = match signature::key(leaf.spki) {
        Some((KeyKind::P256, _)) => (KEY_AGREEMENT, "keyAgreement"),
        Some((KeyKind::Rsa, _)) => (KEY_ENCIPHERMENT, "keyEncipherment"),
        Some((KeyKind::P384, _)) | None => return Some(String::from(LEAF_KEY)),
    };
    if leaf.allows(DIGITAL_SIGNATURE) && leaf.allows(receives) {
        return None;
    }
    Some(format!("has a keyUsage without digitalSignature and {name}: OTrP needs both"))
}

/// The TAM's identifier: the first registeredID, else URI, else DNS name.
fn tam_id(leaf: &Certificate<'_>) -> Option<String> {
    let names = leaf.extensions.names.as_ref()?;
    let first = |number: u8| {
        names.iter().find(|(tag, _)| *tag == implicit(number)).map(|(_, contents)| *contents)
    };
    let text = if let Some(identifier) = first(8) {
        der::dotted(identifier)?
    } else if let Some(uri) = first(6) {
        String::from(std::str::from_utf8(uri).ok().filter(|uri| is_uri(uri))?)
    } else {
        String::from(std::str::from_utf8(first(2)?).ok().filter(|name| is_dns_name(name))?)
    };
    TamId::new(&text).map(|id| String::from(id.as_str()))
}

/// Whether a URI has a scheme (RFC 3986, section 3), followed by visible characters.
fn is_uri(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char))
            && !rest.is_empty()
            && rest.chars().all(|char| char.is_ascii_graphic())
    })
}

/// Labels of 1 to 63 letters, digits, hyphens and underscores; the last one is not a number.
fn is_dns_name(name: &str) -> bool {
    let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(name).split('.').collect();
    let is_label = |label: &&str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|char| char.is_ascii_alphanumeric() || "-_".contains(char))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = |label: &&str| label.chars().all(|char| char.is_ascii_digit());
    name.len() <= 253 && labels.iter().all(is_label) && !labels.last().is_some_and(numeric)
}

/// Violations of an authority's name constraints by the certificates below it (RFC 5280, section
/// 4.2.1.10). Devices apply those on dNSName and iPAddress, and refuse a name of another form that has
/// a constraint.
fn constrained(authority: &Certificate<'_>, below: &[&Certificate<'_>]) -> Option<String> {
    let mut constraints = Reader::new(authority.extensions.name_constraints?);
    let subtrees = |constraints: &mut Reader<'_>, number: u8| {
        let Some(list) = constraints.optional(explicit(number))? else { return Some(Vec::new()) };
        let mut list = Reader::new(list);
        let mut bases = Vec::new();
        while !list.is_finished() {
            let mut subtree = Reader::new(list.contents(SEQUENCE)?);
            let base = subtree.next()?;
            // `minimum` and `maximum` are not used.
            subtree.finish()?;
            bases.push((base.tag, base.contents.to_vec()));
        }
        Some(bases)
    };
    let permitted = subtrees(&mut constraints, 0);
    let excluded = permitted.as_ref().and_then(|_| subtrees(&mut constraints, 1));
    let (Some(permitted), Some(excluded)) = (permitted, excluded) else {
        return Some(String::from("has malformed nameConstraints"));
    };
    for certificate in below {
        let names = certificate.extensions.names.iter().flatten().copied();
        // The subject is a directoryName.
        for (tag, name) in names.chain([(explicit(4), &[][..])]) {
            let of_form = |bases: &[(u8, Vec<u8>)]| -> Vec<Option<bool>> {
                let same = bases.iter().filter(|(base, _)| *base == tag);
                same.map(|(_, base)| is_within(tag, name, base)).collect()
            };
            let (permitted, excluded) = (of_form(&permitted), of_form(&excluded));
            let outside = !permitted.is_empty() && !permitted.contains(&Some(true));
            let inside = excluded.iter().any(|within| *within != Some(false));
            if outside || inside || permitted.contains(&None) {
                let name = match tag {
                    0x82 | 0x86 => format!("{:?}", String::from_utf8_lossy(name)),
                    _ => String::from("a name"),
                };
                return Some(format!(
                    "has nameConstraints that do not allow {name} of {:?}; devices apply those on \
                     DNS names and addresses, and refuse names of other forms that have one",
                    certificate.common_name()
                ));
            }
        }
    }
    None
}

/// Whether a name is within a subtree of its form; `None` for forms that are not evaluated.
fn is_within(tag: u8, name: &[u8], base: &[u8]) -> Option<bool> {
    match tag {
        // dNSName
        0x82 => {
            let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
            let base = std::str::from_utf8(base).ok()?.to_ascii_lowercase();
            let parent = base.strip_prefix('.');
            Some(match parent {
                Some(_) => name.ends_with(&base) && name.len() > base.len(),
                None => base.is_empty() || name == base || name.ends_with(&format!(".{base}")),
            })
        }
        // iPAddress
        0x87 if matches!((name.len(), base.len()), (4, 8 | 32) | (16, 8 | 32)) => {
            if name.len() * 2 != base.len() {
                return Some(false);
            }
            let (network, mask) = base.split_at_checked(name.len())?;
            let ones: u32 = mask.iter().map(|octet| octet.count_ones()).sum();
            let leading = mask.iter().try_fold(0, |leading, octet| match octet {
                0xff => Ok(leading + 8),
                other => Err(leading + other.leading_ones()),
            });
            // A mask is ones, and then zeros.
            if leading.unwrap_or_else(|leading| leading) != ones {
                return None;
            }
            let mut octets = name.iter().zip(network).zip(mask);
            Some(octets.all(|((name, network), mask)| (name ^ network) & mask == 0))
        }
        _ => None,
    }
}
