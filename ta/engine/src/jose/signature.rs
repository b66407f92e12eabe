//! The signatures of JWS (RFC 7515, section 5; RFC 7518, section 3).

use sha2::{Digest, Sha256};

use crate::crypto::Scheme;
use crate::platform::OwnPublicKey;

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

    /// The algorithm of this TEE's signatures by `key`; a key makes those of one algorithm.
    #[must_use]
    pub const fn made_by(key: &OwnPublicKey) -> Self {
        match key {
            OwnPublicKey::P256(_) => Self::Es256,
            OwnPublicKey::Rsa2048(_) => Self::Rs256,
        }
    }

    /// How a signature of the algorithm is checked.
    #[must_use]
    pub const fn scheme(self) -> Scheme {
        match self {
            Self::Es256 => Scheme::Es256,
            Self::Rs256 => Scheme::RsaPkcs1,
        }
    }

    /// The protected header of what this TEE signs: base64url of `{"alg":"..."}`.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            // As printed in section 7.5 of the OTrP draft.
            Self::Es256 => "eyJhbGciOiJFUzI1NiJ9",
            Self::Rs256 => "eyJhbGciOiJSUzI1NiJ9",
        }
    }
}

/// SHA-256 of the JWS signing input: the two texts exactly as in the message, still in base64url,
/// with a full stop between them.
#[derive(Clone, Debug)]
pub struct SigningInput(Sha256);

impl SigningInput {
    /// The input up to the payload.
    #[must_use]
    pub fn new(protected: &[u8]) -> Self {
        Self(Sha256::new().chain_update(protected).chain_update(b"."))
    }

    /// Appends a piece of the payload.
    pub fn push(&mut self, payload: &[u8]) {
        self.0.update(payload);
    }

    /// The digest.
    #[must_use]
    pub fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// SHA-256 of the JWS signing input of a payload in one piece.
#[must_use]
pub fn signing_digest(protected: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut input = SigningInput::new(protected);
    input.push(payload);
    input.digest()
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
    use std::vec::Vec;

    use super::*;
    use crate::crypto::Error;
    use crate::crypto::ecdsa::es256_verify;
    use crate::platform::Point;

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
    }

    #[test]
    fn headers_name_their_algorithm() {
        for algorithm in SignatureAlgorithm::ALL {
            let header = octets(algorithm.header());
            let expected = std::format!(r#"{{"alg":"{}"}}"#, algorithm.name());
            assert_eq!(header, expected.as_bytes());
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
