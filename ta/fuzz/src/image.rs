//! Signed images of trusted applications.

use openssl::sha::{Sha256, sha256};
use otrp_engine::crypto::PublicKey;
use otrp_engine::image::Header;
use otrp_engine::pki::Certificate;

use crate::credulous::{Credulous, Encoding};
use crate::pki::ANCHORS;

/// Where the hash stands, and what comes after the signature.
const HASH: std::ops::Range<usize> = 20..52;
const IDENTITY: usize = 16 + 4;
/// `TEE_ALG_RSASSA_PKCS1_PSS_MGF1_SHA256` as encoded in a header.
const PSS: [u8; 4] = 0x7041_4930_u32.to_le_bytes();

/// Takes an image apart, as it is and with the right hash in its header.
pub fn image(data: &[u8]) {
    check(data);
    let mut repaired = data.to_vec();
    let Some([low, high]) = data.get(18..20) else { return };
    let signature = usize::from(u16::from_le_bytes([*low, *high]));
    let Some(signed) = data.get(HASH.end + signature..) else { return };
    let mut hash = Sha256::new();
    hash.update(&data[..HASH.start]);
    hash.update(signed);
    repaired[HASH].copy_from_slice(&hash.finish());
    check(&repaired);
}

fn check(data: &[u8]) {
    let Ok((header, start)) = Header::parse(data) else { return };
    believe(data);
    let [p256, rsa] = ANCHORS.map(|der| Certificate::parse(der).and_then(|it| it.public_key()));
    let by = |key: &PublicKey<'_>| header.signed_by::<Credulous>(key);
    assert!(by(&p256.expect("a P-256 key")).is_none(), "signed by a key that is thrown away");
    let Some(signed) = by(&rsa.expect("an RSA key")) else { return };
    let (head, elf) = data.split_at(start);
    let mut hashing = signed.hash();
    hashing.push(elf);
    let Ok(signed) = hashing.finish() else { return };
    let (_, identity) = head.split_at(head.len() - IDENTITY);
    assert_eq!(usize::try_from(signed.size()), Ok(elf.len()));
    assert_eq!(signed.digest(), &sha256(elf));
    assert_eq!(signed.uuid(), &identity[..16]);
    assert_eq!(signed.version().to_le_bytes(), identity[16..]);
    // Whatever the ELF is, both judge it; what a 32-bit TEE takes, one of 64 bits takes as well.
    let [wide, narrow] = [true, false].map(|elf64| {
        let application = signed.application(&mut &elf[..], elf64);
        application.expect("the ELF is in memory").is_some()
    });
    assert!(wide || !narrow);
    let _ = otrp_check::image::check(*signed.uuid(), elf);
}

/// Takes the signature for one over the hash in the header, in the algorithm that the header names.
fn believe(data: &[u8]) {
    Credulous::forget();
    let (Some(algorithm), Some(hash)) = (data.get(12..16), data.get(HASH)) else { return };
    let encoding = if algorithm == PSS { Encoding::Pss } else { Encoding::Pkcs1 };
    let length = data
        .get(18..20)
        .map_or(0, |length| usize::from(u16::from_le_bytes([length[0], length[1]])));
    let Some(signature) = data.get(HASH.end..HASH.end + length) else { return };
    Credulous::vouch(signature, hash.try_into().expect("32 octets"), encoding);
}
