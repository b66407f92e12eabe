//! Public keys on elliptic curves, from uncompressed points (SEC 1, section 2.3.4).
//!
//! Not by the curves' own readers: these bring along what it takes to decompress a point, 5 KiB of
//! code, and compressed points are refused here.

use p256::elliptic_curve::point::AffineCoordinates;

/// The P-256 public key of a point: 4, x, y. `None` if it is not on the curve.
#[must_use]
pub fn p256_key(point: &[u8]) -> Option<p256::PublicKey> {
    p256::PublicKey::from_affine(uncompressed(point)?).ok()
}

/// A point of a curve: 4, x, y. `None` if it is not on the curve.
pub(crate) fn uncompressed<A: AffineCoordinates>(point: &[u8]) -> Option<A>
where
    for<'a> &'a A::FieldRepr: TryFrom<&'a [u8]>,
{
    let [4, coordinates @ ..] = point else { return None };
    let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
    A::from_coordinates(x.try_into().ok()?, y.try_into().ok()?).into_option()
}
