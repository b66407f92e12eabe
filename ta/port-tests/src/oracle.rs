//! ECDSA through the GlobalPlatform API: the other implementation that keys are tested against.

use optee_utee::{
    AlgorithmId, Asymmetric, AttributeId, AttributeMemref, AttributeValue, ElementId, Error,
    OperationMode, TransientObject, TransientObjectType,
};
use otrp_engine::platform::Point;

/// Whether OP-TEE takes `signature` for one over `digest`.
pub fn verify_p256(point: &Point, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    verify(point, digest, signature).is_ok()
}

fn verify(point: &Point, digest: &[u8; 32], signature: &[u8; 64]) -> Result<(), Error> {
    let (_, coordinates) = point.split_at(1);
    let (x, y) = coordinates.split_at(32);
    let mut key = TransientObject::allocate(TransientObjectType::EcdsaPublicKey, 256)?;
    #[expect(clippy::as_conversions, reason = "the binding has no other way to a curve's number")]
    let curve = ElementId::EccCurveNistP256 as u32;
    key.populate(&[
        AttributeMemref::from_ref(AttributeId::EccPublicValueX, x).into(),
        AttributeMemref::from_ref(AttributeId::EccPublicValueY, y).into(),
        AttributeValue::from_value(AttributeId::EccCurve, curve, 0).into(),
    ])?;
    let mut operation = Asymmetric::allocate(AlgorithmId::EcDsaSha256, OperationMode::Verify, 256)?;
    operation.set_key(&key)?;
    operation.verify_digest(&[], digest, signature)
}
