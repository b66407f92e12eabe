//! InstallTA and UpdateTA (OTrP draft, sections 9.3.1 and 9.3.2).
//!
//! `AESCBC` authenticates nothing, so whoever can sign as the TAM can have any ciphertext decrypted.
//! That it is the right padding must show by nothing but the command being carried out. So what can
//! be refused for another reason is refused before anything is decrypted; from then on all refusals
//! are the same. The image is decrypted, hashed and written whatever its end turns out to be, once its
//! header is one that the service provider signed; a failure of storage shows nothing else.
//!
//! What is written before the image is known to be good is not a part of anything: the blob is sealed
//! at the end, or dropped.

use otrp_wire::base64::{Form, decode_in_place};
use otrp_wire::id::TaId;
use otrp_wire::jwe::WrappedKey;
use otrp_wire::limits::{NAME_LIMIT, PERSONALIZATION_LIMIT};
use otrp_wire::request::EncryptedTa;
use otrp_wire::{ErrorCode, Span};
use zeroize::{Zeroize, Zeroizing};

use super::context::{Context, Done, INVALID, sp_certificate};
use super::image::{Admission, REFUSED, Received, key_of, receive};
use crate::error::Error;
use crate::jose::content::{DataAlgorithm, DataKey};
use crate::jose::open::{DecryptionKey, open_bare, open_jwe};
use crate::plaintext::Lock;
use crate::platform::{Blob, Platform, Ports, UuidBytes};
use crate::registry::{Authorized, Owner, Sd, State, Ta, Target};
use crate::request::{EncryptedParts, Opened};
use crate::secret::wipe_stack;
use crate::sp_certificates::SpCertificates;

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
    let image_room = certificates.spare();
    let EncryptedParts { parts, payload, image: image_text } = opened.encrypted_ta()?;
    let algorithm = DataAlgorithm::from_name(parts.algorithm.text(payload))
        .ok_or(Error::Refused(ErrorCode::UnsupportedCryptoAlg))?;
    let own = DecryptionKey { pair: &aik.key, rsa1_5: context.trust.rsa1_5 };
    let purpose = Purpose { sd: &sd, id: &id };
    let Unlocked { key, image_iv, personalization } =
        unlock(parts, payload, algorithm, purpose, context.ports, own)?;
    wipe_stack();

    let target = target(state, &sd, id.clone())?;
    let image_owner = target.image_owner(state)?;
    let mut staging = context.registry.stage(&mut context.ports.store);
    let image = match image_text {
        Some(text) => {
            let lock = Lock { key: &key, algorithm, iv: image_iv.bytes() };
            let aad = purpose.of("image")?;
            let may_be = |uuid: &UuidBytes, version| target.could_be(state, uuid, version);
            let admission =
                Admission { certificates: &certificates, owner: image_owner, may_be: &may_be };
            let aad = aad.as_bytes();
            Some(receive::<P>(admission, &mut staging, text, lock, aad, image_room))
        }
        None => None,
    };
    wipe_stack();
    // Neither is judged before both are decrypted.
    let image = image.transpose()?;
    let personalization = personalization?;
    // The last block of a ciphertext may hold more than its padding.
    if personalization.is_some_and(|span| span.len() > PERSONALIZATION_LIMIT) {
        return Err(REFUSED);
    }

    let written = image.as_ref().map(|image| image.written);
    let entry =
        enter(target, image, &certificates, state).map_err(|error| match (algorithm, error) {
            (DataAlgorithm::AesCbc, Error::Refused(_)) => REFUSED,
            (DataAlgorithm::AesCbc | DataAlgorithm::A256Gcm, error) => error,
        })?;
    let record = if new_certificates { Some(certificates.into_record()?) } else { None };
    let new = entry.into_installation(state, personalization.is_some())?;
    let uuid = new.get().ta.uuid;

    if let Some(written) = written {
        written?;
        staging.seal_image()?;
    }
    if let Some(record) = record {
        staging.put(sd.number.certificates(), record)?;
    }
    if let Some(span) = personalization {
        staging.put(Blob::Personalization(uuid), opened.payload(span))?;
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

/// What the key of the data opens.
struct Unlocked {
    key: DataKey,
    image_iv: Iv,
    /// The personalization data, by their place in the payload.
    personalization: Result<Option<Span>, Error>,
}

fn unlock<P: Platform>(
    parts: &EncryptedTa,
    payload: &mut [u8],
    algorithm: DataAlgorithm,
    purpose: Purpose<'_>,
    ports: &mut Ports<P>,
    aik: DecryptionKey<'_>,
) -> Result<Unlocked, Error> {
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
    let personalization = parts
        .personalization
        .map(|span| decode_in_place(payload, span, Form::Any))
        .transpose()
        .map_err(|_| REFUSED)?;
    let longest = algorithm.longest(PERSONALIZATION_LIMIT);
    if personalization.is_some_and(|ciphertext| ciphertext.len() > longest) {
        return Err(ErrorCode::TeeResourceFull.into());
    }

    let key = data_key(&parts.key, payload, ports, aik)?;
    let personalization = match personalization {
        None => Ok(None),
        Some(ciphertext) => {
            let aad = purpose.of("data")?;
            let buffer = ciphertext.of_mut(payload);
            let iv = personalization_iv.bytes();
            let plaintext = key.decrypt_in_place(algorithm, iv, aad.as_bytes(), buffer);
            plaintext.map(|text| Some(ciphertext.truncated(text.len()))).map_err(|_| REFUSED)
        }
    };
    Ok(Unlocked { key, image_iv, personalization })
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

/// The entry that a request makes or replaces.
fn enter(
    target: Target<'_>,
    image: Option<Received>,
    certificates: &SpCertificates<'_>,
    state: &State,
) -> Result<Authorized<Ta>, Error> {
    let Some(Received { application, signer, .. }) = image else {
        return target.as_installed(state);
    };
    // The certificate may be another one for the same key. One that is not kept any more is
    // nobody's, and so is its key.
    let certificate = certificates.signer(&signer).ok_or(Error::Internal)?;
    let before = target.installed().and_then(|ta| certificates.signer(&ta.signer));
    let same_signer = match before {
        Some(before) => key_of(before)? == key_of(certificate)?,
        None => false,
    };
    target.with_image(state, &application, signer, same_signer)
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
