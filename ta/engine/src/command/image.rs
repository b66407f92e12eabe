//! An image on its way from the message to the store (OTrP draft, sections 9.3.1 and 9.3.2).

use otrp_wire::ErrorCode;

use crate::ciphertext::{Ciphertext, ImageText};
use crate::crypto::PublicKey;
use crate::crypto::digest::sha256;
use crate::error::Error;
use crate::image::{Application, Hashing, Header, SignedHeader};
use crate::intake::READING;
use crate::pki::Certificate;
use crate::plaintext::{ElfPages, Lock, Unreadable, decrypt};
use crate::platform::{ImageOwner, Platform, PortError, Properties, Store, UuidBytes};
use crate::registry::Staging;
use crate::sp_certificates::SpCertificates;

/// Everything that is wrong with an image, its encryption or its signature.
pub(super) const REFUSED: Error = Error::Refused(ErrorCode::TaInvalid);

/// An image that is in the store, not sealed: signed by the service provider, and one that runs.
pub(super) struct Received {
    pub application: Application,
    /// SHA-256 of the certificate that it is signed by.
    pub signer: [u8; 32],
    /// Whether all of it was written. It is judged last: a failure of storage must not distinguish a good
    /// image from a bad one.
    pub written: Result<(), PortError>,
}

/// What an image has to be to get into the store.
pub(super) struct Admission<'r, 'c> {
    /// Whose signature it needs.
    pub certificates: &'r SpCertificates<'c>,
    /// Whose it will be.
    pub owner: ImageOwner,
    /// Whether one of this UUID and version would be authorized, were it as it claims.
    pub may_be: &'r dyn Fn(&UuidBytes, u32) -> bool,
}

/// Takes an image from its message to the store.
struct Receiver<'r, 'c, 's, S: Store> {
    admission: Admission<'r, 'c>,
    staging: &'r mut Staging<'s, S>,
    state: Progress,
}

#[expect(clippy::large_enum_variant, reason = "there is one, and it lives on the stack")]
enum Progress {
    Header,
    Elf {
        hashing: Hashing,
        signer: [u8; 32],
        /// Where in the image the ELF starts.
        start: usize,
        /// Nothing is written of an image that will not be installed whatever its contents.
        is_written: bool,
        /// The octets of the ELF that are missing still.
        missing: usize,
        written: Result<(), PortError>,
    },
}

/// Decrypts the image and writes its ELF, then looks whether it runs.
///
/// Out of line, so that what it leaves on the stack of the image is below the caller's frame.
///
/// # Errors
/// [`REFUSED`], whatever is wrong with it; [`Error::Port`].
#[inline(never)]
pub(super) fn receive<P: Platform>(
    admission: Admission<'_, '_>,
    staging: &mut Staging<'_, P::Store>,
    text: &mut ImageText<'_>,
    lock: Lock<'_>,
    aad: &[u8],
    room: &mut [u8],
) -> Result<Received, Error> {
    let mut receiver = Receiver { admission, staging, state: Progress::Header };
    let (reading, buffer) = room.split_at_mut_checked(READING).ok_or(Error::Internal)?;
    let mut ciphertext = Ciphertext::new(text, reading)?;
    let mut take = |piece: &[u8]| receiver.take::<P>(piece);
    let lengths = decrypt(&mut ciphertext, lock, aad, buffer, &mut take).map_err(refusal)?;
    let Progress::Elf { hashing, signer, start, written, .. } = receiver.state else {
        return Err(REFUSED);
    };
    let image = hashing.finish().map_err(|_| REFUSED)?;
    let size = usize::try_from(image.size()).map_err(|_| Error::Internal)?;
    if lengths.plaintext != start.saturating_add(size) {
        return Err(REFUSED);
    }
    let mut pages = ElfPages::new(&mut ciphertext, lock, lengths.ciphertext, start, size, buffer);
    let application = image.application(&mut pages, P::Store::ELF64).map_err(refusal)?;
    Ok(Received { application: application.ok_or(REFUSED)?, signer, written })
}

impl<S: Store> Receiver<'_, '_, '_, S> {
    fn take<P: Platform>(&mut self, piece: &[u8]) -> Result<(), Error> {
        let elf = match &self.state {
            Progress::Elf { .. } => piece,
            Progress::Header => {
                let (header, start) = Header::parse(piece).map_err(|_| REFUSED)?;
                let (header, signer) = self.signed::<P>(&header)?.ok_or(REFUSED)?;
                self.begin(header, signer, start)?;
                piece.get(start..).unwrap_or_default()
            }
        };
        let Progress::Elf { hashing, missing, is_written, written, .. } = &mut self.state else {
            return Err(Error::Internal);
        };
        // What follows the ELF, padding or too much, is judged by its length.
        let elf = elf.get(..elf.len().min(*missing)).unwrap_or_default();
        *missing = missing.saturating_sub(elf.len());
        hashing.push(elf);
        if *is_written && written.is_ok() {
            *written = self.staging.write(elf);
        }
        Ok(())
    }

    fn begin(&mut self, header: SignedHeader, signer: [u8; 32], start: usize) -> Result<(), Error> {
        let (uuid, version) = (*header.uuid(), header.version());
        let missing = header.elf_size();
        let is_written = missing > 0 && (self.admission.may_be)(&uuid, version);
        let mut written = Ok(());
        if is_written {
            let size = missing.try_into().map_err(|_| Error::Internal)?;
            let properties = Properties { size, version, owner: self.admission.owner };
            written = self.staging.begin_image(uuid, &properties);
        }
        let hashing = header.hash();
        self.state = Progress::Elf { hashing, signer, start, is_written, missing, written };
        Ok(())
    }

    /// The header as one that a certificate of the domain signed, and the SHA-256 of that.
    fn signed<P: Platform>(
        &self,
        header: &Header,
    ) -> Result<Option<(SignedHeader, [u8; 32])>, Error> {
        for der in self.admission.certificates.accepted() {
            if let Some(signed) = header.signed_by::<P::Rsa>(&key_of(der)?) {
                return Ok(Some((signed, sha256(der))));
            }
        }
        Ok(None)
    }
}

fn refusal(error: Unreadable) -> Error {
    match error {
        Unreadable::Undecipherable => REFUSED,
        Unreadable::Failed(error) => error,
    }
}

/// The key of a certificate that was checked when it was taken.
pub(super) fn key_of(der: &[u8]) -> Result<PublicKey<'_>, Error> {
    let key = Certificate::parse(der).and_then(|certificate| certificate.public_key());
    key.map_err(|_| Error::Internal)
}
