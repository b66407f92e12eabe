#!/usr/bin/env python3
"""Makes src/rsa_vectors.rs: RSA signatures by OpenSSL, and forgeries that only a key's owner can make.

Needs python3-cryptography. The keys are thrown away.
"""
import hashlib
import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

DIGEST = hashlib.sha256(b"OTrP conformance").digest()
PREHASHED = utils.Prehashed(hashes.SHA256())
INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def raw(key, block):
    numbers = key.private_numbers()
    n = numbers.public_numbers.n
    length = (n.bit_length() + 7) // 8
    return pow(int.from_bytes(block, "big"), numbers.d, n).to_bytes(length, "big")


def padded(key, tail, ones=None):
    """The PKCS #1 v1.5 block around `tail`, with as many octets of padding as fit, or `ones`."""
    length = (key.key_size + 7) // 8
    ones = length - 3 - len(tail) if ones is None else ones
    block = b"\x00\x01" + b"\xff" * ones + b"\x00" + tail
    return raw(key, block + os.urandom(length - len(block)))


def pss(key, mgf=hashes.SHA256(), salt=32):
    return key.sign(DIGEST, padding.PSS(padding.MGF1(mgf), salt), PREHASHED)


def with_one_bit_more():
    """A key of 2049 bits: the encoding that PSS checks is an octet shorter than its modulus."""
    while True:
        p = rsa.generate_private_key(65537, 2050).private_numbers().p
        q = rsa.generate_private_key(65537, 2048).private_numbers().q
        if (p * q).bit_length() == 2049:
            d = pow(65537, -1, (p - 1) * (q - 1))
            public = rsa.RSAPublicNumbers(65537, p * q)
            return rsa.RSAPrivateNumbers(
                p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
            ).private_key()


keys = {bits: rsa.generate_private_key(65537, bits) for bits in (2048, 4096)}
keys[2049] = with_one_bit_more()
keys["three"] = rsa.generate_private_key(3, 2048)
rows = []
for bits in (2048, 2049, 4096):
    key = keys[bits]
    rows.append((f"PKCS1 with {bits} bits", "Pkcs1", bits, key.sign(DIGEST, padding.PKCS1v15(), PREHASHED), True))
    rows.append((f"PSS with {bits} bits", "Pss", bits, pss(key), True))
key = keys["three"]
rows.append(("PKCS1 with exponent 3", "Pkcs1", "three", key.sign(DIGEST, padding.PKCS1v15(), PREHASHED), True))
rows.append(("PSS with exponent 3", "Pss", "three", pss(key), True))

key = keys[2048]
no_null = bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + DIGEST
sha1 = bytes.fromhex("3021300906052b0e03021a05000414") + DIGEST[:20]
long_oid = b"\x06\x20" + b"\x2a" * 32
long_info = b"\x30\x24" + long_oid + b"\x05\x00"
long_info = b"\x30" + bytes([len(long_info) + 34]) + long_info + b"\x04\x20" + DIGEST
octets = bytes.fromhex("300d06096086480165030402010500") + b"\x04\x81\x80" + DIGEST * 4
octets = b"\x30\x81" + bytes([len(octets)]) + octets
for name, signature in (
    ("PKCS1 without the NULL", padded(key, no_null)),
    ("PKCS1 with SHA-1", padded(key, sha1)),
    ("PKCS1 with an object identifier of 33 arcs", padded(key, long_info)),
    ("PKCS1 with a digest of 128 octets", padded(key, octets)),
    ("PKCS1 with rubbish for DigestInfo", padded(key, b"\x30\x80\xff\xff")),
    ("PKCS1 with nothing for DigestInfo", padded(key, b"")),
    ("PKCS1 with the digest alone", padded(key, DIGEST)),
    ("PKCS1 with octets behind the digest", padded(key, INFO + DIGEST, 8)),
    ("PKCS1 with block type 2", raw(key, b"\x00\x02" + b"\xff" * (256 - 3 - 51) + b"\x00" + INFO + DIGEST)),
    ("PKCS1 with a zero in the padding", raw(key, b"\x00\x01" + b"\xff" * 100 + b"\x00" + b"\xff" * (256 - 104 - 51) + b"\x00" + INFO + DIGEST)),
):
    rows.append((name, "Pkcs1", 2048, signature, False))
for name, signature in (
    ("PSS with a salt of 20 octets", pss(key, salt=20)),
    ("PSS without a salt", pss(key, salt=0)),
    ("PSS with the longest salt", pss(key, salt=256 - 34)),
    ("PSS with MGF1 and SHA-1", pss(key, mgf=hashes.SHA1())),
    ("PSS with a block of zeros", raw(key, b"\x00" * 255 + b"\xbc")),
    ("PSS with a block of ones", raw(key, b"\x7f" + b"\xff" * 254 + b"\xbc")),
):
    rows.append((name, "Pss", 2048, signature, False))


def wrapped(data, indent):
    text = data.hex()
    step = 98 - indent
    lines = [text[i : i + step] for i in range(0, len(text), step)]
    return (" \\\n" + " " * indent).join([""] + lines).lstrip(" ")


print("//! RSA signatures and forgeries over one digest; written by make_rsa_vectors.py.")
print("""
use otrp_engine::crypto::rsa::signature::Padding;

/// A signature and what a check must say of it.
pub struct Vector {
    /// What it is.
    pub name: &'static str,
    /// The padding to check.
    pub padding: Padding,
    /// The key's modulus.
    pub modulus: &'static [u8],
    /// The key's public exponent.
    pub exponent: &'static [u8],
    /// The signature.
    pub signature: &'static [u8],
    /// Whether it is one over [`DIGEST`].
    pub valid: bool,
}

/// Decodes hexadecimal digits while this is compiled; white space is left out.
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    reason = "what is wrong here does not compile"
)]
const fn unhex<const N: usize>(text: &str) -> [u8; N] {
    let digits = text.as_bytes();
    let mut bytes = [0; N];
    let (mut index, mut count) = (0, 0);
    while index < digits.len() {
        let value = match digits[index] {
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'a'..=b'f' => digit - b'a' + 10,
            b' ' => {
                index += 1;
                continue;
            }
            _ => panic!("no hexadecimal digit"),
        };
        bytes[count / 2] = bytes[count / 2] << 4 | value;
        index += 1;
        count += 1;
    }
    assert!(count == 2 * N, "another length");
    bytes
}
""")
print(f'/// SHA-256 of `OTrP conformance`.\npub const DIGEST: &[u8; 32] =\n    &unhex("{DIGEST.hex()}");\n')
for name, key in keys.items():
    numbers = key.public_key().public_numbers()
    length = (numbers.n.bit_length() + 7) // 8
    data = numbers.n.to_bytes(length, "big")
    print(f"const MODULUS_{str(name).upper()}: &[u8] = &unhex::<{length}>(\n    \"{wrapped(data, 5)}\",\n);\n")
print("/// Every vector.\npub const VECTORS: &[Vector] = &[")
for name, kind, bits, signature, valid in rows:
    exponent = "&[3]" if bits == "three" else "&[1, 0, 1]"
    print("    Vector {")
    print(f'        name: "{name}",')
    print(f"        padding: Padding::{kind},")
    print(f"        modulus: MODULUS_{str(bits).upper()},")
    print(f"        exponent: {exponent},")
    print(f"        signature: &unhex::<{len(signature)}>(\n            \"{wrapped(signature, 13)}\",\n        ),")
    print(f"        valid: {str(valid).lower()},")
    print("    },")
print("];")
