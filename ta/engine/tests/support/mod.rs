//! What the tests of certificates and of images share: OpenSSL as the other side.

use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::md::Md;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::{Padding, Rsa};
use openssl::sign::RsaPssSaltlen;
use otrp_engine::platform::{RsaPadding, RsaVerify};

/// RSA signature checks by OpenSSL.
pub struct OpensslRsa;

impl RsaVerify for OpensslRsa {
    fn verify(
        padding: RsaPadding,
        modulus: &[u8],
        exponent: &[u8],
        digest: &[u8; 32],
        signature: &[u8],
    ) -> bool {
        let number = |octets| BigNum::from_slice(octets).unwrap();
        let key = Rsa::from_public_components(number(modulus), number(exponent)).unwrap();
        let key = PKey::from_rsa(key).unwrap();
        let mut context = PkeyCtx::new(&key).unwrap();
        context.verify_init().unwrap();
        pad(&mut context, padding);
        context.verify(digest, signature).unwrap_or(false)
    }
}

pub fn p256() -> PKey<Private> {
    elliptic(Nid::X9_62_PRIME256V1)
}

pub fn elliptic(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

/// The DER SubjectPublicKeyInfo of a key.
pub fn spki(key: &PKey<Private>) -> Vec<u8> {
    key.public_key_to_der().unwrap()
}

/// An RSA signature over a digest.
pub fn sign_rsa(key: &PKey<Private>, padding: RsaPadding, digest: &[u8; 32]) -> Vec<u8> {
    let mut context = PkeyCtx::new(key).unwrap();
    context.sign_init().unwrap();
    pad(&mut context, padding);
    let mut signature = Vec::new();
    context.sign_to_vec(digest, &mut signature).unwrap();
    signature
}

/// An ECDSA signature over a digest: r and s as 32 octets each.
pub fn sign_p256(key: &PKey<Private>, digest: &[u8; 32]) -> [u8; 64] {
    let signature = EcdsaSig::sign(digest, &key.ec_key().unwrap()).unwrap();
    let mut fixed = signature.r().to_vec_padded(32).unwrap();
    fixed.extend(signature.s().to_vec_padded(32).unwrap());
    fixed.try_into().unwrap()
}

fn pad<T>(context: &mut PkeyCtx<T>, padding: RsaPadding) {
    match padding {
        RsaPadding::Pkcs1 => {
            context.set_rsa_padding(Padding::PKCS1).unwrap();
            context.set_signature_md(Md::sha256()).unwrap();
        }
        RsaPadding::Pss => {
            context.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            context.set_signature_md(Md::sha256()).unwrap();
            context.set_rsa_mgf1_md(Md::sha256()).unwrap();
            context.set_rsa_pss_saltlen(RsaPssSaltlen::custom(32)).unwrap();
        }
    }
}
