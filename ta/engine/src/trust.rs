//! What the image itself says whom and what to trust; nothing that arrives later can add to it.

use otrp_wire::id::TamId;

use crate::crypto::digest::sha256;
use crate::platform::UuidBytes;

/// The compiled-in trust anchors, names and choices, covered by the image's own signature.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// The roots that TAM certificates must lead to; at most [`otrp_wire::limits::ANCHOR_LIMIT`].
    pub tam_anchors: &'static [Anchor],
    /// DER certificate of the manufacturer's root that the TEE's certificate must lead to.
    pub tee_anchor: &'static [u8],
    /// TAMs that are refused, and whose security domains are taken back.
    pub evicted: &'static [Evicted],
    /// UUIDs that no trusted application may be installed under, because a later image needs them.
    pub reserved: &'static [UuidBytes],
    /// An image with a higher one forgets the times that were verified under earlier ones.
    pub floor_epoch: u32,
    /// Whether one of the anchors is a development PKI's, whose private keys anybody may have.
    pub development: bool,
    /// The TEE's name in messages; at most 64 plain characters.
    pub tee_name: &'static str,
    /// Whether keys may be wrapped with RSAES-PKCS1-v1_5 (`RSA1_5`): OTrP wants it of everybody, and
    /// JOSE is about to give it up.
    pub rsa1_5: bool,
    /// When the image was built, in seconds since 1970: the lower bound for any clock.
    pub built_at: u64,
}

/// A root, and for whom it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    /// Its DER certificate.
    pub certificate: &'static [u8],
    /// The TAM identifiers that it speaks for; every one where there is no pattern.
    pub names: &'static [NamePattern],
}

/// TAM identifiers, all in the spelling of [`TamId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This URI, and those that extend it after its host or after a component of its path.
    Uri(&'static str),
    /// This dNSName.
    Dns(&'static str),
    /// Each dNSName below this one, and not this one.
    DnsBelow(&'static str),
    /// This registeredID, and those below it.
    Oid(&'static str),
}

/// Whom the maker takes everything back from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// The TAM of this identifier, in the spelling of [`TamId`].
    Tam(&'static str),
    /// Every TAM whose path ended at the root whose certificate has this SHA-256.
    Root([u8; 32]),
}

impl Trust {
    /// Whether everything is taken back from the TAM `id`, whose path ends at the certificate with
    /// the SHA-256 `anchor`.
    #[must_use]
    pub fn evicts(&self, id: &TamId, anchor: &[u8; 32]) -> bool {
        self.evicted.iter().any(|evicted| match evicted {
            Evicted::Tam(listed) => *listed == id.as_str(),
            Evicted::Root(listed) => listed == anchor,
        })
    }

    /// Whether one of the roots has this SHA-256.
    #[must_use]
    pub fn has_anchor(&self, fingerprint: &[u8; 32]) -> bool {
        self.tam_anchors.iter().any(|anchor| sha256(anchor.certificate) == *fingerprint)
    }
}

impl Anchor {
    /// A root that speaks for every name.
    #[must_use]
    pub const fn of(certificate: &'static [u8]) -> Self {
        Self { certificate, names: &[] }
    }

    /// Whether it speaks for a TAM of this identifier.
    #[must_use]
    pub fn speaks_for(&self, id: &TamId) -> bool {
        self.names.is_empty() || self.names.iter().any(|pattern| pattern.covers(id))
    }
}

impl NamePattern {
    /// Whether an identifier is one of these.
    #[must_use]
    pub fn covers(&self, id: &TamId) -> bool {
        let id = id.as_str();
        // The kinds cannot be confused: only a URI has a colon, and only a registeredID nothing but
        // digits and full stops.
        let is_uri = id.contains(':');
        let is_oid = id.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit());
        match self {
            Self::Uri(uri) => id.strip_prefix(uri).is_some_and(|rest| {
                is_uri
                    && (rest.is_empty() || uri.ends_with('/') || rest.starts_with(['/', '?', '#']))
            }),
            Self::Dns(name) => id == *name,
            Self::DnsBelow(name) => {
                let label = id.strip_suffix(name).and_then(|rest| rest.strip_suffix('.'));
                !is_uri && label.is_some_and(|label| !label.is_empty())
            }
            Self::Oid(arc) => {
                let rest = id.strip_prefix(arc);
                is_oid && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has found something")]
mod tests {
    use super::*;

    #[test]
    fn patterns_end_where_names_do() {
        use NamePattern::{Dns, DnsBelow, Oid, Uri};
        let (host, path, urn) =
            (Uri("https://tam.example"), Uri("https://tam.example/otrp/"), Uri("urn:example:tam"));
        for (pattern, id, covered) in [
            (host, "https://tam.example", true),
            (host, "https://tam.example/", true),
            (host, "https://tam.example/otrp", true),
            (host, "https://tam.example?a", true),
            (host, "https://tam.example#a", true),
            (host, "HTTPS://TAM.Example/otrp", true),
            (host, "https://tam.example.evil.test", false),
            (host, "https://tam.example.evil.test/", false),
            (host, "https://tam.example:8443/", false),
            (host, "https://tam.example:x@evil.test/", false),
            (host, "https://tam.example@evil.test/", false),
            (host, "https://tam.exampleevil.test/", false),
            (host, "http://tam.example", false),
            (host, "tam.example", false),
            (path, "https://tam.example/otrp/", true),
            (path, "https://tam.example/otrp/a", true),
            (path, "https://tam.example/otrp", false),
            (path, "https://tam.example/OTRP/", false),
            (path, "https://tam.example/", false),
            (urn, "urn:example:tam", true),
            (urn, "URN:example:tam", true),
            (urn, "urn:example:tam:a", false),
            (urn, "urn:example:tam2", false),
            (Dns("example.com"), "example.com", true),
            (Dns("example.com"), "EXAMPLE.com", true),
            (Dns("example.com"), "a.example.com", false),
            (Dns("example.com"), "example.com.evil.test", false),
            (Dns("example.com"), "https://example.com", false),
            (DnsBelow("example.com"), "a.example.com", true),
            (DnsBelow("example.com"), "A.B.Example.Com", true),
            (DnsBelow("example.com"), "example.com", false),
            (DnsBelow("example.com"), "evilexample.com", false),
            (DnsBelow("example.com"), ".example.com", false),
            (DnsBelow("example.com"), "a.example.com.evil.test", false),
            (DnsBelow("example.com"), "urn:a.example.com", false),
            (DnsBelow("example.com"), "https://evil.test/.example.com", false),
            (Oid("1.3.6.1.4.1.99999"), "1.3.6.1.4.1.99999", true),
            (Oid("1.3.6.1.4.1.99999"), "1.3.6.1.4.1.99999.1", true),
            (Oid("1.3.6.1.4.1.99999"), "1.3.6.1.4.1.999991", false),
            (Oid("1.3.6.1.4.1.99999"), "1.3.6.1.4.1.9999", false),
            (Oid("1.3.6.1.4.1.99999"), "1.3.6.1.4.1.99999.evil.test", false),
            (Oid("1.3.6.1.4.1.99999"), "1.3.6.1.4.1.99999.1:a", false),
        ] {
            let known = TamId::new(id).unwrap();
            assert_eq!(pattern.covers(&known), covered, "{pattern:?} and {id}");
            let anchor = |names| Anchor { certificate: &[], names };
            assert!(anchor(&[]).speaks_for(&known), "a root without patterns speaks for {id}");
        }
    }
}
