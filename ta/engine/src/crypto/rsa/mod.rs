//! RSA on octets: what stands around the platform's arithmetic (RFC 8017).
//!
//! A platform only raises numbers to exponents. How a signature and a wrapped key are padded is
//! decided and judged here, in one place that is tested on the host.

use sha2::Digest;
use zeroize::Zeroize;

pub mod encryption;
pub mod signature;

/// Octets of the largest modulus, 4096 bits.
pub const LONGEST_MODULUS: usize = 512;

/// Whether `number` is written at the modulus's length and is below it: whether it is one that the
/// arithmetic is defined for (RFC 8017, sections 5.1 and 5.2).
#[must_use]
pub fn is_below(number: &[u8], modulus: &[u8]) -> bool {
    number.len() == modulus.len() && number < modulus
}

/// Adds MGF1 (RFC 8017, section B.2.1) of `seed` to `block`.
fn mask<H: Digest>(block: &mut [u8], seed: &[u8]) {
    for (counter, part) in (0_u32..).zip(block.chunks_mut(<H as Digest>::output_size())) {
        let mut mask = H::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
        for (octet, mask) in part.iter_mut().zip(&mask) {
            *octet ^= mask;
        }
        mask.zeroize();
    }
}
