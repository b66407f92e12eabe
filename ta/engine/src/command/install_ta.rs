//! InstallTA and UpdateTA (OTrP draft, sections 9.3.1 and 9.3.2).
//!
//! `AESCBC` authenticates nothing, so whoever can sign as the TAM can have any ciphertext decrypted.
//! That it is the right padding must show by nothing but the command being carried out. So what can
//! be refused for another reason is refused before anything is decrypted; from then on all refusals
//! are the same. Two things still tell: storage that fails afterwards, which it does only where
//! the command would have been carried out; and the time, for an image is hashed only if its padding
//! is right. Neither tells more than personalization data that are sent to see whether they are
//! taken.

use otrp_wire::base64::{Form, decode_in_place};
use otrp_wire::id::TaId;
use otrp_wire::jwe::WrappedKey;
use otrp_wire::limits::{NAME_LIMIT, PERSONALIZATION_LIMIT};
use otrp_wire::request::EncryptedTa;
use otrp_wire::{ErrorCode, Span};
use zeroize::{Zeroize, Zeroizing};

use super::context::{Context, Done, INVALID, sp_certificate};
use crate::crypto::PublicKey;
use crate::crypto::digest::sha256;
use crate::error::Error;
use crate::image::{Application, Image};
use crate::jose::content::{DataAlgorithm, DataKey};
use crate::jose::open::{DecryptionKey, open_bare, open_jwe};
use crate::pki::Certificate;
use crate::platform::{Blob, Platform, Ports, Properties, Store};
use crate::registry::{Authorized, Installation, Owner, Sd, State, Ta, Target};
use crate::request::Opened;
use crate::secret::wipe_stack;
use crate::sp_certificates::SpCertificates;

/// Everything that is wrong with an image, its encryption or its signature.
const REFUSED: Error = Error::Refused(ErrorCode::TaInvalid);

/// Installs a trusted application that the domain does not hold yet.
pub(super) fn install<P: Platform>(
    context: &mut Context<'_, P>,
    owner: Owner,
    opened: &mut Opened<'_>,
) -> Result<Done, Error> {
    run(context, owner, opened, |state, sd, id| Target::absent(state, sd, id))
}

/// Replaces the image, the personalization data, or both, of one that it holds.
pub(super) fn update<P: Platform>(
    context: &mut Context<'_, P>,
    owner: Owner,
    opened: &mut Opened<'_>,
) -> Result<Done, Error> {
    run(context, owner, opened, |state, sd, id| Target::present(state, sd, id))
}

fn run<P: Platform>(
    context: &mut Context<'_, P>,
    owner: Owner,
    opened: &mut Opened<'_>,
    target: for<'s> fn(&'s State, &'s Sd, TaId) -> Result<Target<'s>, Error>,
) -> Result<Done, Error> {
    let content = opened.content();
    let id = content.ta_id.clone().ok_or(INVALID)?;
    let sp = content.sp_id.as_ref().ok_or(INVALID)?;
    let name = content.sd_name.as_ref().ok_or(INVALID)?;
    let state = context.registry.state();
    let sd = owner.sd_for_image(state, sp, name)?.clone();
    target(state, &sd, id.clone())?;
    let aik = state.aik(sd.tam, &sd.sp).ok_or(Error::Internal)?;

    let certificate = match opened.content().sp_certificate {
        Some(member) => Some(sp_certificate::<P>(opened, member)?),
        None => None,
    };
    let mut certificates = SpCertificates::load(
        &mut context.ports.store,
        sd.number,
        context.workspace.certificates(),
    )?;
    let new_certificates = match certificate {
        Some(der) => certificates.add(opened.bytes(der))?,
        None => false,
    };
    if new_certificates {
        certificates.settle(|hash| state.signs(sd.number, hash))?;
    }
    let (parts, payload) = opened.encrypted_ta()?;
    let algorithm = DataAlgorithm::from_name(parts.algorithm.text(payload))
        .ok_or(Error::Refused(ErrorCode::UnsupportedCryptoAlg))?;
    let own = DecryptionKey { pair: &aik.key, rsa1_5: context.trust.rsa1_5 };
    let purpose = Purpose { sd: &sd, id: &id };
    let plain = decrypt(parts, payload, algorithm, purpose, context.ports, own)?;
    wipe_stack();

    let target = target(state, &sd, id)?;
    let image = plain.image.map(|span| opened.payload(span));
    let (entry, image) =
        enter::<P>(target, image, &certificates, state).map_err(|error| match algorithm {
            DataAlgorithm::AesCbc => REFUSED,
            DataAlgorithm::A256Gcm => error,
        })?;
    let record = if new_certificates { Some(certificates.into_record()?) } else { None };

    let new = entry.into_installation(state, plain.personalization.is_some())?;
    let Installation { ta, owner: image_owner } = new.get();
    let (uuid, stored) = (ta.uuid, ta.stored);
    let properties = Properties { size: stored.size, version: stored.version, owner: *image_owner };

    let mut staging = context.registry.stage(&mut context.ports.store);
    if let Some(record) = record {
        staging.put(sd.number.certificates(), record)?;
    }
    if let Some(span) = plain.personalization {
        staging.put(Blob::Personalization(uuid), opened.payload(span))?;
    }
    if let Some(image) = image {
        staging.image(uuid, &properties, image.elf())?;
    }
    context.registry.change().install(new)?;
    context.commit(owner, opened)
}

/// What encrypted data are for.
#[derive(Clone, Copy)]
struct Purpose<'p> {
    sd: &'p Sd,
    id: &'p TaId,
}

/// Longest additional authenticated data.
const AAD_LIMIT: usize = 8 + 3 * NAME_LIMIT;

impl Purpose<'_> {
    /// The additional authenticated data of an image (`image`) or of personalization data (`data`),
    /// so that neither passes as the other or as another application's. No identifier has a NUL.
    fn of(self, role: &str) -> Result<heapless::String<AAD_LIMIT>, Error> {
        let mut aad = heapless::String::new();
        let Self { sd, id } = self;
        for part in [role, "\0", sd.sp.as_str(), "\0", sd.name.as_str(), "\0", id.as_str()] {
            aad.push_str(part).map_err(|_| Error::Internal)?;
        }
        Ok(aad)
    }
}

/// The decrypted parts, by their place in the payload.
struct Plain {
    image: Option<Span>,
    personalization: Option<Span>,
}

fn decrypt<P: Platform>(
    parts: &EncryptedTa,
    payload: &mut [u8],
    algorithm: DataAlgorithm,
    purpose: Purpose<'_>,
    ports: &mut Ports<P>,
    aik: DecryptionKey<'_>,
) -> Result<Plain, Error> {
    let image_iv = Iv::read(parts.iv, payload, algorithm)?;
    let personalization_iv = match (parts.personalization_iv, parts.image) {
        (Some(iv), _) => Iv::read(iv, payload, algorithm)?,
        (None, None) => image_iv,
        // One vector for both is the draft's form and tolerable in CBC mode. In Galois/Counter
        // mode it would give the key of the tags away.
        (None, Some(_)) if algorithm == DataAlgorithm::AesCbc => image_iv,
        (None, Some(_)) if parts.personalization.is_none() => image_iv,
        (None, Some(_)) => return Err(REFUSED),
    };
    let both = parts.image.is_some() && parts.personalization.is_some();
    if both && algorithm == DataAlgorithm::A256Gcm && image_iv == personalization_iv {
        return Err(REFUSED);
    }

    let mut decode = |span: Option<Span>| -> Result<Option<Span>, Error> {
        span.map(|span| decode_in_place(payload, span, Form::Any)).transpose().map_err(|_| REFUSED)
    };
    let (image, personalization) = (decode(parts.image)?, decode(parts.personalization)?);
    let longest = algorithm.longest(PERSONALIZATION_LIMIT);
    if personalization.is_some_and(|ciphertext| ciphertext.len() > longest) {
        return Err(ErrorCode::TeeResourceFull.into());
    }

    let key = data_key(&parts.key, payload, ports, aik)?;
    let mut open = |ciphertext: Option<Span>, iv: Iv, role| -> Result<Option<Span>, Error> {
        let Some(ciphertext) = ciphertext else { return Ok(None) };
        let aad = purpose.of(role)?;
        let buffer = ciphertext.of_mut(payload);
        let plaintext = key.decrypt_in_place(algorithm, iv.bytes(), aad.as_bytes(), buffer);
        let length = plaintext.map_err(|_| REFUSED)?.len();
        Ok(Some(ciphertext.truncated(length)))
    };
    // Neither is judged before both are decrypted.
    let image = open(image, image_iv, "image");
    let personalization = open(personalization, personalization_iv, "data");
    let plain = Plain { image: image?, personalization: personalization? };
    // The last block of a ciphertext may hold more than its padding.
    if plain.personalization.is_some_and(|span| span.len() > PERSONALIZATION_LIMIT) {
        return Err(REFUSED);
    }
    Ok(plain)
}

/// Unwraps the key of the data.
fn data_key<P: Platform>(
    wrapped: &WrappedKey,
    payload: &mut [u8],
    ports: &mut Ports<P>,
    aik: DecryptionKey<'_>,
) -> Result<DataKey, Error> {
    let refusal = |error| Error::of_message(error, ErrorCode::TaInvalid);
    match wrapped {
        WrappedKey::Jwe(jwe) => {
            let plaintext = open_jwe(payload, jwe, ports, aik).map_err(refusal)?.plaintext;
            let bytes = plaintext.of_mut(payload);
            let key = DataKey::from_bytes(bytes).map_err(|_| REFUSED);
            bytes.zeroize();
            key
        }
        WrappedKey::Bare(text) => {
            let mut bytes = Zeroizing::new([0; 32]);
            open_bare(text.of(payload), ports, aik, bytes.as_mut_slice()).map_err(refusal)?;
            DataKey::from_bytes(bytes.as_slice()).map_err(|_| REFUSED)
        }
    }
}

/// An initialization vector of the length that its algorithm has.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Iv {
    bytes: [u8; 16],
    length: usize,
}

impl Iv {
    fn read(text: Span, payload: &[u8], algorithm: DataAlgorithm) -> Result<Self, Error> {
        let text = text.text(payload);
        let mut iv = Self { bytes: [0; 16], length: algorithm.iv_length() };
        let bytes = iv.bytes.get_mut(..iv.length).ok_or(Error::Internal)?;
        if decode_hexadecimal(text, bytes) { Ok(iv) } else { Err(REFUSED) }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The bytes of a text of exactly `2 * N` hexadecimal digits.
pub(super) fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    decode_hexadecimal(text, &mut bytes).then_some(bytes)
}

fn decode_hexadecimal(text: &str, bytes: &mut [u8]) -> bool {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.len() == bytes.len().saturating_mul(2)
        && text.as_bytes().chunks_exact(2).zip(bytes).all(|(pair, byte)| {
            let [high, low] = pair else { return false };
            let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
            *byte = high << 4 | low;
            true
        })
}

/// The entry that a request makes or replaces; with the image, if it brings one.
fn enter<'i, P: Platform>(
    target: Target<'_>,
    image: Option<&'i [u8]>,
    certificates: &SpCertificates<'_>,
    state: &State,
) -> Result<(Authorized<Ta>, Option<Application<'i>>), Error> {
    let Some(bytes) = image else { return Ok((target.as_installed(state)?, None)) };
    let (image, certificate) = verify::<P>(bytes, certificates)?;
    // The certificate may be another one for the same key. One that is not kept any more is
    // nobody's, and so is its key.
    let before = target.installed().and_then(|ta| certificates.signer(&ta.signer));
    let same_signer = match before {
        Some(before) => key_of(before)? == key_of(certificate)?,
        None => false,
    };
    let entry = target.with_image(state, &image, sha256(certificate), same_signer)?;
    Ok((entry, Some(image)))
}

/// Checks an image against the certificates that its domain accepts, then that it can run; also the
/// certificate that it is signed by.
fn verify<'i, 'c, P: Platform>(
    bytes: &'i [u8],
    certificates: &'c SpCertificates<'_>,
) -> Result<(Application<'i>, &'c [u8]), Error> {
    let image = Image::parse(bytes).map_err(|_| REFUSED)?;
    for der in certificates.accepted() {
        if let Some(signed) = image.signed_by::<P::Rsa>(&key_of(der)?) {
            let application = signed.application(P::Store::ELF64).ok_or(REFUSED)?;
            return Ok((application, der));
        }
    }
    Err(REFUSED)
}

/// The key of a certificate that was checked when it was taken.
fn key_of(der: &[u8]) -> Result<PublicKey<'_>, Error> {
    let key = Certificate::parse(der).and_then(|certificate| certificate.public_key());
    key.map_err(|_| Error::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_exact() {
        assert_eq!(hexadecimal("00fFa9"), Some([0, 255, 0xa9]));
        for text in ["", "00", "00ff", "00ffa", "00ffag", "00ffa9b", "+0ffa9", "00ffa\u{e9}"] {
            assert_eq!(hexadecimal::<3>(text), None, "{text}");
        }
    }
}
