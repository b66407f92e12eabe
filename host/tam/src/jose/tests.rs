//! Examples of RFC 7515, 7516, 7518 and 7520; OpenSSL and josekit; each defect.

use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::{EcCurve, EcKeyPair};
use josekit::jwk::alg::rsa::RsaKeyPair;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, PKeyRef, Private, Public};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::Verifier;
use serde_json::json;

use super::content::Sealed;
use super::*;
use crate::encoding::{base64url, from_base64url};

fn jwk(value: &Value) -> Jwk {
    Jwk::from_map(value.as_object().unwrap().clone()).unwrap()
}

fn rsa_private_key(value: &Value) -> PKey<Private> {
    let pair = RsaKeyPair::from_jwk(&jwk(value)).unwrap();
    PKey::private_key_from_der(&pair.to_der_private_key()).unwrap()
}

fn new_rsa_key(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

fn private_key(jwk: Value) -> PKey<Private> {
    let pair =
        EcKeyPair::from_jwk(&Jwk::from_map(jwk.as_object().unwrap().clone()).unwrap()).unwrap();
    PKey::private_key_from_der(&pair.to_der_private_key()).unwrap()
}

fn public_half(key: &PKeyRef<Private>) -> PKey<Public> {
    PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap()
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// RFC 7515, appendix A.3.
fn rfc7515_a3() -> (Jws, PKey<Public>) {
    let key = private_key(json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
    }));
    let jws = Jws {
        payload: String::from(
            "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                 cGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        ),
        protected: String::from("eyJhbGciOiJFUzI1NiJ9"),
        header: None,
        signature: String::from(
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA\
                 pmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    };
    (jws, public_half(&key))
}

fn rfc7515_a2() -> (Jws, PKey<Public>) {
    let vector: Value =
        serde_json::from_str(include_str!("../../tests/data/rfc7515-a2.json")).unwrap();
    let number = |name: &str| {
        let text = vector["key"][name].as_str().unwrap();
        BigNum::from_slice(&from_base64url(text).unwrap()).unwrap()
    };
    let key = Rsa::from_public_components(number("n"), number("e")).unwrap();
    (serde_json::from_value(vector["jws"].clone()).unwrap(), PKey::from_rsa(key).unwrap())
}

#[test]
fn the_signatures_of_rfc_7515_are_verified() {
    for (jws, key) in [rfc7515_a3(), rfc7515_a2()] {
        assert_eq!(jws.verify(&key), Ok(()));
        assert!(jws.unverified_payload().unwrap().starts_with(br#"{"iss":"joe""#));
    }
}

#[test]
fn the_key_decides_which_algorithm_signs() {
    let (elliptic, elliptic_key) = rfc7515_a3();
    let (rsa, rsa_key) = rfc7515_a2();
    let protected = |text: &str| base64url(text.as_bytes());
    let flipped = {
        let mut signature = from_base64url(&rsa.signature).unwrap();
        signature[255] ^= 1;
        base64url(&signature)
    };
    let short = base64url(&from_base64url(&rsa.signature).unwrap()[1..]);
    let rows = [
        (elliptic.clone(), &rsa_key, NotOpened::Algorithm),
        (rsa.clone(), &elliptic_key, NotOpened::Algorithm),
        (
            Jws { protected: protected(r#"{"alg":"ES256"}"#), ..rsa.clone() },
            &rsa_key,
            NotOpened::Algorithm,
        ),
        (
            Jws { protected: protected(r#"{"alg":"PS256"}"#), ..rsa.clone() },
            &rsa_key,
            NotOpened::Algorithm,
        ),
        (
            Jws { protected: protected(r#"{"alg":"HS256"}"#), ..rsa.clone() },
            &rsa_key,
            NotOpened::Algorithm,
        ),
        (Jws { signature: flipped, ..rsa.clone() }, &rsa_key, NotOpened::Signature),
        (Jws { signature: short, ..rsa.clone() }, &rsa_key, NotOpened::Signature),
        (Jws { signature: String::new(), ..rsa.clone() }, &rsa_key, NotOpened::Signature),
        (Jws { payload: elliptic.payload + "AA", ..rsa }, &rsa_key, NotOpened::Signature),
    ];
    for (number, (jws, key, error)) in rows.into_iter().enumerate() {
        assert_eq!(jws.verify(key), Err(error), "row {number}");
    }
}

#[test]
fn rsa_signatures_are_verified_by_openssl_alone() {
    let key = new_rsa_key(2048);
    let jws = Jws::sign(b"payload", br#"{"alg":"RS256"}"#, None, &key).unwrap();
    let mut verifier = Verifier::new(MessageDigest::sha256(), &key).unwrap();
    verifier.update(format!("{}.{}", jws.protected, jws.payload).as_bytes()).unwrap();
    assert!(verifier.verify(&from_base64url(&jws.signature).unwrap()).unwrap());
    assert_eq!(jws.verify(&public_half(&key)), Ok(()));
}

#[test]
fn rsa_keys_have_2048_to_4096_bits() {
    for (bits, fits) in [(2040, false), (2048, true), (3072, true), (4104, false)] {
        let key = new_rsa_key(bits);
        assert_eq!(KeyType::of(&key).is_some(), fits, "{bits}");
        assert_eq!(Jws::sign(b"", b"{}", None, &key).is_ok(), fits, "{bits}");
        let public = public_half(&key);
        assert_eq!(KeyManagements::default().for_key(&public).is_ok(), fits, "{bits}");
    }
}

#[test]
fn each_defect_of_a_signature_is_refused() {
    let (jws, key) = rfc7515_a3();
    let none = base64url(br#"{"alg":"none"}"#);
    let critical = base64url(br#"{"alg":"ES256","crit":["exp"]}"#);
    let mut flipped = from_base64url(&jws.signature).unwrap();
    flipped[63] ^= 1;
    let other = new_key();
    let with_header = |header: Value| Jws { header: header.as_object().cloned(), ..jws.clone() };
    let rows: [(Jws, NotOpened); 10] = [
        (Jws { payload: jws.payload.replacen('e', "f", 1), ..jws.clone() }, NotOpened::Signature),
        (Jws { signature: base64url(&flipped), ..jws.clone() }, NotOpened::Signature),
        (Jws { signature: String::new(), ..jws.clone() }, NotOpened::Signature),
        (Jws { signature: jws.signature.clone() + "=", ..jws.clone() }, NotOpened::Malformed),
        (Jws { protected: none, ..jws.clone() }, NotOpened::Algorithm),
        (Jws { protected: critical, ..jws.clone() }, NotOpened::Malformed),
        (
            Jws { protected: base64url(br#"{"alg":"ES256","alg":"ES256"}"#), ..jws.clone() },
            NotOpened::Malformed,
        ),
        (with_header(json!({"alg": "ES256"})), NotOpened::Malformed),
        (with_header(json!({"crit": ["x"]})), NotOpened::Malformed),
        (
            Jws { protected: base64url(br#"{"alg":"ES256"} x"#), ..jws.clone() },
            NotOpened::Malformed,
        ),
    ];
    for (jws, error) in rows {
        assert_eq!(jws.verify(&key), Err(error), "{jws:?}");
    }
    assert_eq!(jws.verify(&public_half(&other)), Err(NotOpened::Signature));
}

#[test]
fn what_is_signed_is_verified_by_openssl_alone() {
    let key = new_key();
    let jws = Jws::sign(b"payload", br#"{"alg":"ES256"}"#, None, &key).unwrap();
    assert_eq!(jws.protected, "eyJhbGciOiJFUzI1NiJ9");
    let signature = from_base64url(&jws.signature).unwrap();
    let number = |bytes: &[u8]| BigNum::from_slice(bytes).unwrap();
    let signature = openssl::ecdsa::EcdsaSig::from_private_components(
        number(&signature[..32]),
        number(&signature[32..]),
    )
    .unwrap();
    let input = format!("{}.{}", jws.protected, jws.payload);
    let digest = crate::encoding::sha256(input.as_bytes()).unwrap();
    assert!(signature.verify(&digest, &key.ec_key().unwrap()).unwrap());
    assert_eq!(jws.verify(&public_half(&key)), Ok(()));
}

#[test]
fn authenticated_cbc_is_that_of_rfc_7518_appendix_b() {
    let key = ContentKey::new(ContentEncryption::A128CbcHs256, (0..32).collect()).unwrap();
    let sealed = Sealed {
        iv: hex::decode("1af38c2dc2b96ffdd86694092341bc04").unwrap(),
        ciphertext: hex::decode(concat!(
            "c80edfa32ddf39d5ef00c0b468834279a2e46a1b8049f792f76bfe54b903a9c9",
            "a94ac9b47ad2655c5f10f9aef71427e2fc6f9b3f399a221489f16362c7032336",
            "09d45ac69864e3321cf82935ac4096c86e133314c54019e8ca7980dfa4b9cf1b",
            "384c486f3a54c51078158ee5d79de59fbd34d848b3d69550a67646344427ade5",
            "4b8851ffb598f7f80074b9473c82e2db"
        ))
        .unwrap(),
        tag: hex::decode("652c3fa36b0a7c5b3219fab3a30bc1c4").unwrap(),
    };
    let additional = "The second principle of Auguste Kerckhoffs";
    let plaintext = key.open(&sealed, additional).unwrap();
    assert_eq!(
        plaintext,
        b"A cipher system must not be required to be secret, and it must be able to fall into \
              the hands of the enemy without inconvenience"
    );
    assert_eq!(key.open(&sealed, "another header"), Err(NotOpened::Decryption));
}

/// RFC 7520, section 5.4: on P-384, which tells the two sides' fields apart.
fn rfc7520_5_4() -> (Jwe, PKey<Private>) {
    let key = private_key(json!({
        "kty": "EC", "crv": "P-384",
        "x": "YU4rRUzdmVqmRtWOs2OpDE_T5fsNIodcG8G5FWPrTPMyxpzsSOGaQLpe2FpxBmu2",
        "y": "A8-yxCHxkfBz3hKZfI1jUYMjUhsEveZ9THuwFjH2sCNdtksRJU7D5-SkgaFL1ETP",
        "d": "iTx2pk7wW-GqJkHcEkFQb2EFyYcO7RugmaW3mRrQVAOUiPommT0IdnYK2xDlZh-j"
    }));
    let jwe = json!({
        "recipients": [{ "encrypted_key": "0DJjBXri_kBcC46IkU5_Jk9BqaQeHdv2" }],
        "protected": concat!(
            "eyJhbGciOiJFQ0RILUVTK0ExMjhLVyIsImtpZCI6InBlcmVncmluLnRvb2tAdHVja2Jvcm91Z2guZXhh",
            "bXBsZSIsImVwayI6eyJrdHkiOiJFQyIsImNydiI6IlAtMzg0IiwieCI6InVCbzRrSFB3Nmtiang1bDB4",
            "b3dyZF9vWXpCbWF6LUdLRlp1NHhBRkZrYllpV2d1dEVLNml1RURzUTZ3TmROZzMiLCJ5Ijoic3AzcDVT",
            "R2haVkMyZmFYdW1JLWU5SlUyTW84S3BvWXJGRHI1eVBOVnRXNFBnRXdaT3lRVEEtSmRhWTh0YjdFMCJ9",
            "LCJlbmMiOiJBMTI4R0NNIn0"
        ),
        "iv": "mH-G2zVqgztUtnW_",
        "ciphertext": concat!(
            "tkZuOO9h95OgHJmkkrfLBisku8rGf6nzVxhRM3sVOhXgz5NJ76oID7lpnAi_cPWJRCjSpAaUZ5dOR3Sp",
            "y7QuEkmKx8-3RCMhSYMzsXaEwDdXta9Mn5B7cCBoJKB0IgEnj_qfo1hIi-uEkUpOZ8aLTZGHfpl05jMw",
            "bKkTe2yK3mjF6SBAsgicQDVCkcY9BLluzx1RmC3ORXaM0JaHPB93YcdSDGgpgBWMVrNU1ErkjcMqMoT_",
            "wtCex3w03XdLkjXIuEr2hWgeP-nkUZTPU9EoGSPj6fAS-bSz87RCPrxZdj_iVyC6QWcqAu07WNhjzJEP",
            "c4jVntRJ6K53NgPQ5p99l3Z408OUqj4ioYezbS6vTPlQ"
        ),
        "tag": "WuGzxmcreYjpHGJoa17EBg"
    });
    (serde_json::from_value(jwe).unwrap(), key)
}

#[test]
fn key_agreement_is_that_of_rfc_7520() {
    let (jwe, key) = rfc7520_5_4();
    let content_key = jwe.unwrap_key(&key).unwrap();
    assert_eq!(base64url(&content_key.bytes), "Nou2ueKlP70ZXDbq9UrRwg");
    let plaintext = String::from_utf8(jwe.open(&content_key).unwrap()).unwrap();
    assert!(plaintext.starts_with("You can trust us to stick with you"), "{plaintext}");
}

/// RFC 7516, appendices A.1 and A.2.
fn rfc7516(text: &str) -> (Jwe, PKey<Private>) {
    let vector: Value = serde_json::from_str(text).unwrap();
    let jwe = serde_json::from_value(vector["jwe"].clone()).unwrap();
    (jwe, rsa_private_key(&vector["key"]))
}

fn rfc7516_a2() -> (Jwe, PKey<Private>) {
    rfc7516(include_str!("../../tests/data/rfc7516-a2.json"))
}

#[test]
fn the_rsa_examples_of_rfc_7516_are_opened() {
    let (jwe, key) = rfc7516(include_str!("../../tests/data/rfc7516-a1.json"));
    let content_key = jwe.unwrap_key(&key).unwrap();
    assert_eq!(
        jwe.open(&content_key).unwrap(),
        b"The true sign of intelligence is not knowledge but imagination."
    );
    let (jwe, key) = rfc7516_a2();
    let content_key = jwe.unwrap_key(&key).unwrap();
    assert_eq!(jwe.open(&content_key).unwrap(), b"Live long and prosper.");
}

/// The example of RSA1_5 with this block, or this wrapped key, instead of its own.
fn with_wrapped(wrapped: &[u8]) -> Jwe {
    let (jwe, _) = rfc7516_a2();
    let encrypted_key = base64url(wrapped);
    Jwe { recipients: [Recipient { header: Header::new(), encrypted_key }], ..jwe }
}

#[test]
fn wrong_rsa1_5_padding_yields_a_random_key() {
    let (jwe, key) = rfc7516_a2();
    let rsa = key.rsa().unwrap();
    let wrapped = from_base64url(&jwe.recipients[0].encrypted_key).unwrap();
    let mut block = vec![0; 256];
    rsa.private_decrypt(&wrapped, &mut block, Padding::NONE).unwrap();
    assert_eq!((block[0], block[1], block[223]), (0, 2, 0));
    let wrap = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut block = block.clone();
        edit(&mut block);
        let mut wrapped = vec![0; 256];
        rsa.public_encrypt(&block, &mut wrapped, Padding::NONE).unwrap();
        with_wrapped(&wrapped)
    };
    let same = jwe.unwrap_key(&key).unwrap();
    assert!(wrap(&|_| ()).unwrap_key(&key).unwrap().is_same(&same));
    for (position, byte) in [(0, 1), (1, 1), (2, 0), (222, 0), (223, 7)] {
        let damaged = wrap(&|block| block[position] = byte);
        let (one, two) = (damaged.unwrap_key(&key).unwrap(), damaged.unwrap_key(&key).unwrap());
        assert!(!one.is_same(&same) && !one.is_same(&two), "byte {position}");
        assert_eq!(damaged.open(&one), Err(NotOpened::Decryption), "byte {position}");
    }
    // As long as the modulus, but larger.
    let large = with_wrapped(&[0xff; 256]);
    assert_eq!(large.unwrap_key(&key).err(), Some(NotOpened::Decryption));
}

#[test]
fn each_defect_of_an_rsa_jwe_is_refused() {
    let (_, other) = rfc7516(include_str!("../../tests/data/rfc7516-a1.json"));
    let (rsa1_5, key) = rfc7516_a2();
    let wrapped = from_base64url(&rsa1_5.recipients[0].encrypted_key).unwrap();
    let rows = [
        ("too short", with_wrapped(&wrapped[1..]), &key, NotOpened::Decryption),
        ("too long", with_wrapped(&[&[0], &wrapped[..]].concat()), &key, NotOpened::Decryption),
        ("nothing", with_wrapped(&[]), &key, NotOpened::Decryption),
        ("another's", rsa1_5.clone(), &other, NotOpened::Decryption),
        ("for an EC key", rsa1_5.clone(), &new_key(), NotOpened::Algorithm),
    ];
    for (what, jwe, key, error) in rows {
        let opened = jwe.unwrap_key(key).and_then(|key| jwe.open(&key));
        assert_eq!(opened, Err(error), "{what}");
    }
    let content_key = ContentKey::random(ContentEncryption::A128Gcm).unwrap();
    for management in [KeyManagement::RsaOaep, KeyManagement::RsaOaep256] {
        let mut jwe = Jwe::seal(b"x", &content_key, management, &public_half(&key)).unwrap();
        let mut wrapped = from_base64url(&jwe.recipients[0].encrypted_key).unwrap();
        wrapped[200] ^= 1;
        jwe.recipients[0].encrypted_key = base64url(&wrapped);
        assert_eq!(jwe.unwrap_key(&key).err(), Some(NotOpened::Decryption));
    }
    // A key of 128 bits where one of 256 is needed.
    let jwe = Jwe::seal(b"x", &content_key, KeyManagement::RsaOaep, &public_half(&key)).unwrap();
    let longer = Jwe { protected: base64url(br#"{"enc":"A256GCM"}"#), ..jwe };
    assert_eq!(longer.unwrap_key(&key).err(), Some(NotOpened::Decryption));
}

/// Which of two members counts would be up to the reader.
#[test]
fn a_duplicate_member_is_refused_in_every_header() {
    let (jwe, key) = rfc7520_5_4();
    for protected in [
        r#"{"enc":"A128CBC-HS256","enc":"A128GCM","alg":"ECDH-ES+A128KW"}"#,
        r#"{"enc":"A128GCM","enc":"A128GCM","alg":"ECDH-ES+A128KW"}"#,
        r#"{"enc":"A128GCM","alg":"dir","alg":"ECDH-ES+A128KW"}"#,
        r#"{"enc":"A128GCM","\u0065nc":"A128GCM","alg":"ECDH-ES+A128KW"}"#,
        r#"{"enc":"A128GCM","alg":"ECDH-ES+A128KW","epk":{"kty":"EC","kty":"EC"}}"#,
    ] {
        let jwe = Jwe { protected: base64url(protected.as_bytes()), ..jwe.clone() };
        assert_eq!(jwe.unwrap_key(&key).err(), Some(NotOpened::Malformed), "{protected}");
        assert_eq!(jwe.algorithms().err(), Some(NotOpened::Malformed), "{protected}");
    }
    // The same where the header is a part of the message.
    let text = serde_json::to_string(&jwe).unwrap();
    assert!(serde_json::from_str::<Jwe>(&text).is_ok());
    let (jws, _) = rfc7515_a3();
    let signed = serde_json::to_string(&jws).unwrap();
    for header in [
        r#"{"kid":"a","kid":"b"}"#,
        r#"{"alg":"dir","alg":"ECDH-ES+A128KW"}"#,
        r#"{"epk":{"x":"","x":""}}"#,
    ] {
        let twice = text.replace(r#""header":{}"#, &format!(r#""header":{header}"#));
        assert!(twice != text && serde_json::from_str::<Jwe>(&twice).is_err(), "{twice}");
        let jws = signed.replacen('{', &format!(r#"{{"header":{header},"#), 1);
        assert!(serde_json::from_str::<Jws>(&jws).is_err(), "{jws}");
        let once = jws.replace(header, r#"{"kid":"a"}"#);
        assert!(serde_json::from_str::<Jws>(&once).is_ok(), "{once}");
    }
    let flattened = serde_json::to_string(&FlattenedJwe::from(jwe)).unwrap();
    let twice = flattened.replace(r#""header":{}"#, r#""header":{"kid":"a","kid":"b"}"#);
    assert!(twice != flattened && serde_json::from_str::<FlattenedJwe>(&twice).is_err());
}

#[test]
fn each_defect_of_a_jwe_is_refused() {
    let (jwe, key) = rfc7520_5_4();
    let open = |jwe: &Jwe| jwe.unwrap_key(&key).and_then(|key| jwe.open(&key));
    let with_recipient = |header: Value, encrypted_key: &str| Jwe {
        recipients: [Recipient {
            header: header.as_object().unwrap().clone(),
            encrypted_key: String::from(encrypted_key),
        }],
        ..jwe.clone()
    };
    let wrapped = jwe.recipients[0].encrypted_key.clone();
    let tag = from_base64url(&jwe.tag).unwrap();
    let rows = [
        // A GCM tag of one byte would be right once in 256 times.
        (Jwe { tag: base64url(&tag[..1]), ..jwe.clone() }, NotOpened::Decryption),
        (Jwe { tag: base64url(&tag[..15]), ..jwe.clone() }, NotOpened::Decryption),
        (Jwe { tag: base64url(&[0; 16]), ..jwe.clone() }, NotOpened::Decryption),
        (Jwe { iv: base64url(&[0; 12]), ..jwe.clone() }, NotOpened::Decryption),
        (Jwe { iv: base64url(&[0; 16]), ..jwe.clone() }, NotOpened::Decryption),
        (with_recipient(json!({}), ""), NotOpened::Decryption),
        (with_recipient(json!({}), "0DJjBXri"), NotOpened::Decryption),
        (with_recipient(json!({}), &base64url(&[7; 24])), NotOpened::Decryption),
        (with_recipient(json!({"alg": "ECDH-ES+A128KW"}), &wrapped), NotOpened::Malformed),
        (with_recipient(json!({"zip": "DEF"}), &wrapped), NotOpened::Malformed),
        (with_recipient(json!({"crit": ["x"]}), &wrapped), NotOpened::Malformed),
        (Jwe { protected: base64url(b"{}"), ..jwe.clone() }, NotOpened::Malformed),
        (
            Jwe { protected: base64url(br#"{"enc":"A192GCM","alg":"dir"}"#), ..jwe.clone() },
            NotOpened::Algorithm,
        ),
        (
            Jwe { protected: base64url(br#"{"enc":"A128GCM","alg":"dir"}"#), ..jwe.clone() },
            NotOpened::Algorithm,
        ),
    ];
    for (jwe, error) in rows {
        assert_eq!(open(&jwe), Err(error), "{jwe:?}");
    }
}

#[test]
fn what_is_sealed_is_opened_by_josekit_alone() {
    let (elliptic, rsa) = (new_key(), new_rsa_key(2048));
    for encryption in ContentEncryption::ALL {
        for management in KeyManagement::ALL {
            let key = match management.key_type() {
                KeyType::Elliptic => &elliptic,
                KeyType::Rsa => &rsa,
            };
            let content_key = ContentKey::random(encryption).unwrap();
            let jwe = Jwe::seal(b"plaintext", &content_key, management, &public_half(key)).unwrap();
            let text = serde_json::to_string(&jwe).unwrap();
            let decrypter = management.decrypter(key).unwrap();
            let (plaintext, _) = josekit::jwe::deserialize_json(&text, &*decrypter).unwrap();
            assert_eq!(plaintext, b"plaintext", "{text}");
            let unwrapped = jwe.unwrap_key(key).unwrap();
            assert!(unwrapped.is_same(&content_key));
            assert_eq!(jwe.open(&unwrapped).unwrap(), b"plaintext");
        }
    }
}

#[test]
fn the_members_stand_where_the_draft_has_them() {
    let content_key = ContentKey::random(ContentEncryption::A128CbcHs256).unwrap();
    let jwe = Jwe::seal(b"x", &content_key, KeyManagement::EcdhEsA128Kw, &public_half(&new_key()))
        .unwrap();
    let jwe = serde_json::to_value(&jwe).unwrap();
    // The value that section 7.5 of the draft prints.
    assert_eq!(jwe["protected"], "eyJlbmMiOiJBMTI4Q0JDLUhTMjU2In0");
    assert_eq!(jwe["recipients"][0]["header"]["alg"], "ECDH-ES+A128KW");
    assert_eq!(jwe["recipients"][0]["header"]["epk"]["crv"], "P-256");
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&jwe), ["protected", "recipients", "iv", "ciphertext", "tag"]);
    assert_eq!(keys(&jwe["recipients"][0]), ["header", "encrypted_key"]);
    assert_eq!(keys(&jwe["recipients"][0]["header"]), ["alg", "epk"]);
    assert_eq!(keys(&jwe["recipients"][0]["header"]["epk"]), ["kty", "crv", "x", "y"]);
}

#[test]
fn a_bit_flipped_anywhere_is_refused() {
    let key = new_key();
    for encryption in ContentEncryption::ALL {
        let content_key = ContentKey::random(encryption).unwrap();
        let jwe =
            Jwe::seal(b"plaintext", &content_key, KeyManagement::EcdhEsA128Kw, &public_half(&key))
                .unwrap();
        let flip = |text: &str| {
            let mut bytes = from_base64url(text).unwrap();
            bytes[0] ^= 0x10;
            base64url(&bytes)
        };
        for jwe in [
            Jwe { iv: flip(&jwe.iv), ..jwe.clone() },
            Jwe { ciphertext: flip(&jwe.ciphertext), ..jwe.clone() },
            Jwe { tag: flip(&jwe.tag), ..jwe.clone() },
        ] {
            assert_eq!(jwe.open(&content_key), Err(NotOpened::Decryption));
        }
    }
}

#[test]
fn keys_of_another_curve_are_not_used() {
    let pair = EcKeyPair::generate(EcCurve::P384).unwrap();
    let key = PKey::private_key_from_der(&pair.to_der_private_key()).unwrap();
    assert!(Jws::sign(b"", br#"{"alg":"ES256"}"#, None, &key).is_err());
    let (jws, _) = rfc7515_a3();
    assert_eq!(jws.verify(&public_half(&key)), Err(NotOpened::Algorithm));
}
