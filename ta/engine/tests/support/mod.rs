//! What the tests of certificates and of images share: OpenSSL as the other side.

use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::md::Md;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Rsa;
use openssl::sign::RsaPssSaltlen;
use otrp_engine::crypto::rsa::signature::Padding;
use otrp_engine::platform::{PortError, RsaPublic};

/// RSA arithmetic by OpenSSL.
pub struct OpensslRsa;

impl RsaPublic for OpensslRsa {
    fn raise(modulus: &[u8], exponent: &[u8], number: &mut [u8]) -> Result<(), PortError> {
        let from = |octets| BigNum::from_slice(octets).unwrap();
        let key = Rsa::from_public_components(from(modulus), from(exponent)).unwrap();
        let input = number.to_vec();
        key.public_encrypt(&input, number, openssl::rsa::Padding::NONE)
            .map(drop)
            .map_err(|_| PortError::Failed)
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
pub fn sign_rsa(key: &PKey<Private>, padding: Padding, digest: &[u8; 32]) -> Vec<u8> {
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

fn pad<T>(context: &mut PkeyCtx<T>, padding: Padding) {
    match padding {
        Padding::Pkcs1 => {
            context.set_rsa_padding(openssl::rsa::Padding::PKCS1).unwrap();
            context.set_signature_md(Md::sha256()).unwrap();
        }
        Padding::Pss => {
            context.set_rsa_padding(openssl::rsa::Padding::PKCS1_PSS).unwrap();
            context.set_signature_md(Md::sha256()).unwrap();
            context.set_rsa_mgf1_md(Md::sha256()).unwrap();
            context.set_rsa_pss_saltlen(RsaPssSaltlen::custom(32)).unwrap();
        }
    }
}
