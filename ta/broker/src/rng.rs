//! Random bytes from OP-TEE's generator.

use core::convert::Infallible;

use optee_utee::Random;
use otrp_engine::platform::{PortError, Rng};
use p256::elliptic_curve::rand_core::{TryCryptoRng, TryRng};

/// OP-TEE's generator. It ends the TA rather than give anything but random bytes.
#[derive(Debug)]
pub struct TeeRng;

impl Rng for TeeRng {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError> {
        Random::generate(buffer);
        Ok(())
    }
}

/// The same for RustCrypto.
impl TryRng for TeeRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        Random::generate(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        Random::generate(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        Random::generate(buffer);
        Ok(())
    }
}

impl TryCryptoRng for TeeRng {}
