//! Certificates of a root, an issuing authority and a TAM, and the check of a path both ways.

use std::sync::LazyLock;

use openssl::bn::BigNumContext;
use openssl::ec::PointConversionForm;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use otrp_engine::pki::{Role, Untrusted, verify_path};
use otrp_engine::platform::{OwnPublicKey, Point};
use otrp_engine::trust::{Anchor, Trust};
use otrp_wire::limits::CHAIN_BYTES_LIMIT;

use crate::support::{OpensslRsa, p256, rsa};
use crate::x509::*;

pub const TAM_URI: &str = "https://tam.example.org/otrp";
pub const UNKNOWN: &str = "1.3.6.1.4.1.99999.1";

pub static RSA_2048: LazyLock<PKey<Private>> = LazyLock::new(|| rsa(2048));
pub static RSA_1024: LazyLock<PKey<Private>> = LazyLock::new(|| rsa(1024));

pub fn root(key: PKey<Private>) -> Template {
    let extensions = [(BASIC_CONSTRAINTS, true, CA), (KEY_USAGE, true, CERTIFY)];
    Template::new("root", "root", key, &extensions)
}

pub fn authority(subject: &'static str, issuer: &'static str, key: PKey<Private>) -> Template {
    Template { subject, issuer, ..root(key) }
}

pub fn leaf(issuer: &'static str, key: PKey<Private>) -> Template {
    let names = names(&[(URI, TAM_URI.as_bytes())]);
    let extensions = [
        (BASIC_CONSTRAINTS, true, NOT_CA),
        (KEY_USAGE, true, SIGN_AND_AGREE),
        (ALTERNATIVE_NAME, false, &names),
    ];
    Template::new("TAM", issuer, key, &extensions)
}

/// A root, an issuing authority and a TAM, before they are signed: what a row changes.
pub struct World {
    pub root: Template,
    pub authority: Template,
    pub leaf: Template,
    /// Who signs instead of the authority's and the root's key.
    pub leaf_signer: Option<PKey<Private>>,
    pub authority_signer: Option<PKey<Private>>,
    pub anchored: bool,
    pub now: i64,
    pub role: Role,
}

impl World {
    pub fn new() -> Self {
        Self {
            root: root(p256()),
            authority: authority("authority", "root", p256()),
            leaf: leaf("authority", p256()),
            leaf_signer: None,
            authority_signer: None,
            anchored: true,
            now: NOW,
            role: Role::Tam,
        }
    }

    pub fn root_der(&self) -> Vec<u8> {
        self.root.sign(&self.root.key)
    }

    pub fn authority_der(&self) -> Vec<u8> {
        self.authority.sign(self.authority_signer.as_ref().unwrap_or(&self.root.key))
    }

    pub fn leaf_der(&self) -> Vec<u8> {
        self.leaf.sign(self.leaf_signer.as_ref().unwrap_or(&self.authority.key))
    }

    pub fn verify(&self) -> Result<(), Untrusted> {
        let anchors: Vec<_> = self.anchored.then(|| self.root_der()).into_iter().collect();
        verify(&[self.leaf_der(), self.authority_der()], &anchors, self.now, self.role)
    }
}

pub fn forever(anchors: &[Vec<u8>]) -> Vec<Anchor> {
    anchors.iter().map(|anchor| Anchor::of(anchor.clone().leak())).collect()
}

/// What trusts these anchors.
pub fn trust(anchors: &[Vec<u8>]) -> Trust {
    Trust {
        tam_anchors: forever(anchors).leak(),
        tee_anchor: &[],
        evicted: &[],
        reserved: &[],
        floor_epoch: 0,
        development: false,
        tee_name: "",
        rsa1_5: true,
        built_at: 0,
    }
}

pub const fn always(_: &[u8; 32]) -> u64 {
    NOW.unsigned_abs()
}

pub fn verify(
    chain: &[Vec<u8>],
    anchors: &[Vec<u8>],
    now: i64,
    role: Role,
) -> Result<(), Untrusted> {
    let chain: Vec<_> = chain.iter().map(Vec::as_slice).collect();
    let now = now.try_into().unwrap();
    let verified = verify_path::<OpensslRsa>(&chain, &forever(anchors), |_| now, role).map(|_| ());
    if role == Role::Tam {
        compare(&chain, anchors, now, verified);
    }
    verified
}

/// Compares with `otrp-check`, the second implementation of the rules. A device checks the length of a
/// chain elsewhere; without an anchor `otrp-check` takes the chain's own root.
pub fn compare(chain: &[&[u8]], anchors: &[Vec<u8>], now: u64, verified: Result<(), Untrusted>) {
    if anchors.is_empty() || chain.concat().len() > CHAIN_BYTES_LIMIT {
        return;
    }
    let anchors: Vec<&[u8]> = anchors.iter().map(Vec::as_slice).collect();
    let checked = otrp_check::chain::check(chain, &anchors, now).map(|_| ());
    assert_eq!(checked.is_ok(), verified.is_ok(), "{checked:?}, and a device {verified:?}");
}

/// A leaf that an authority with `key` signed with `digest`, and changed before it did.
pub fn leaf_by(
    key: &PKey<Private>,
    digest: MessageDigest,
    change: impl FnOnce(&mut Vec<Vec<u8>>),
) -> Result<(), Untrusted> {
    let world = World::new();
    let authority = Template { key: key.clone(), ..world.authority.clone() };
    let leaf = rebuild(&world.leaf.sign_with(key, digest), change, |tbs| {
        let mut signer = openssl::sign::Signer::new(digest, key).unwrap();
        signer.sign_oneshot_to_vec(tbs).unwrap()
    });
    assert!(X509::from_der(&leaf).unwrap().verify(key).unwrap(), "OpenSSL agrees");
    let chain = [leaf, authority.sign(&world.root.key)];
    verify(&chain, &[world.root_der()], NOW, Role::Tam)
}

pub fn sp_template(key: PKey<Private>) -> Template {
    let extensions = [(KEY_USAGE, true, SIGN_ONLY), (EXTENDED_KEY_USAGE, false, FOR_CODE)];
    Template::new("SP", "SP", key, &extensions)
}

pub fn point(key: &PKey<Private>) -> Point {
    encode(key, PointConversionForm::UNCOMPRESSED).try_into().unwrap()
}

/// A key as one of this TEE's own.
pub fn own(key: &PKey<Private>) -> OwnPublicKey {
    match key.rsa() {
        Ok(rsa) => OwnPublicKey::Rsa2048(rsa.n().to_vec().try_into().unwrap()),
        Err(_) => OwnPublicKey::P256(point(key)),
    }
}

pub fn encode(key: &PKey<Private>, form: PointConversionForm) -> Vec<u8> {
    let key = key.ec_key().unwrap();
    let mut context = BigNumContext::new().unwrap();
    key.public_key().to_bytes(key.group(), form, &mut context).unwrap()
}

/// AlgorithmIdentifier of RSASSA-PSS with SHA-256, MGF1 of SHA-256 and a salt of `salt` octets
/// (RFC 4055, section 3.1).
pub fn pss(salt: u8) -> Vec<u8> {
    let sha256 = [0x30, 0x0d, 0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0];
    let mgf1 = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
    let parameters = [
        element(0xa0, &sha256),
        element(0xa1, &element(0x30, &[&mgf1[..], &sha256].concat())),
        element(0xa2, &[2, 1, salt]),
    ];
    let identifier = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
    element(0x30, &[&identifier[..], &element(0x30, &parameters.concat())].concat())
}
