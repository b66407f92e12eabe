//! What a TAM requires of the firmware below a TEE (OTrP draft, section 9.1.7).

use openssl::x509::X509;

use crate::certificate::TeeRoots;
use crate::dsi::FirmwareData;
use crate::encoding::from_base64;
use crate::jose::SignatureAlgorithm;
use crate::response::Refused;

/// Which firmware is accepted.
pub enum FirmwarePolicy {
    /// Any; its data is not checked.
    Any,
    /// Firmware that signs the transaction, with a certificate that leads to one of these roots.
    SignedUnder(TeeRoots),
}

impl FirmwarePolicy {
    /// Checks the firmware data in a state that answers a request in the transaction `tid`.
    ///
    /// # Errors
    /// [`Refused::Firmware`], [`Refused::Untrusted`], or [`Refused::Jose`].
    pub fn check(&self, data: Option<&FirmwareData>, tid: &str) -> Result<(), Refused> {
        let Self::SignedUnder(roots) = self else { return Ok(()) };
        let data = data.ok_or(Refused::Firmware("it does not sign"))?;
        let bytes =
            |text: &str| from_base64(text).ok_or(Refused::Firmware("a member is not base64"));
        let (signed, signature) = (bytes(&data.tbs)?, bytes(&data.sig)?);
        if signed != tid.as_bytes() {
            return Err(Refused::Firmware("it signs another transaction"));
        }
        let algorithm = SignatureAlgorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == data.sigalg)
            .ok_or(Refused::Firmware("it signs with an algorithm that is not known"))?;
        let certificate = X509::from_der(&bytes(&data.cert)?)
            .map_err(|_| Refused::Firmware("its certificate is invalid"))?;
        roots.validate(&certificate, &[])?;
        let key = certificate
            .public_key()
            .map_err(|_| Refused::Firmware("its certificate has no key"))?;
        Ok(algorithm.verify(&signed, &signature, &key)?)
    }
}
