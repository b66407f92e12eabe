//! InstallTA and UpdateTA (OTrP draft, sections 9.3.1 and 9.3.2).

use otrp_wire::base64::{Form, decode_in_place};
use otrp_wire::id::TaId;
use otrp_wire::jwe::WrappedKey;
use otrp_wire::limits::PERSONALIZATION_LIMIT;
use otrp_wire::request::EncryptedTa;
use otrp_wire::{ErrorCode, Span};
use zeroize::{Zeroize, Zeroizing};

use super::{Context, Done, INVALID, sp_certificate};
use crate::error::Error;
use crate::image::{Image, SignedImage};
use crate::jose::content::{DataAlgorithm, DataKey};
use crate::message::{Lock, Opened, open_bare, open_jwe, sha256};
use crate::pki::Certificate;
use crate::platform::{Kind, Name, Platform, Ports, RsaPublic, Storage, TaStore};
use crate::policy::Target;
use crate::registry::Sd;
use crate::sp_certificates::SpCertificates;

/// Everything that is wrong with an image, its encryption or its signature.
const REFUSED: Error = Error::Refused(ErrorCode::TaInvalid);

/// Installs a trusted application that the domain does not hold yet.
pub(super) fn install<P: Platform>(
    context: &mut Context<'_, P>,
    opened: &mut Opened<'_>,
) -> Result<Done, Error> {
    run(context, opened, |state, sd, id| Target::absent(state, sd, id))
}

/// Replaces the image, the personalization data, or both, of one that it holds.
pub(super) fn update<P: Platform>(
    context: &mut Context<'_, P>,
    opened: &mut Opened<'_>,
) -> Result<Done, Error> {
    run(context, opened, |state, sd, id| Target::present(state, sd, id))
}

fn run<P: Platform>(
    context: &mut Context<'_, P>,
    opened: &mut Opened<'_>,
    target: for<'s> fn(&'s crate::registry::State, &'s Sd, TaId) -> Result<Target<'s>, Error>,
) -> Result<Done, Error> {
    let content = opened.content();
    let id = content.ta_id.clone().ok_or(INVALID)?;
    let sp = content.sp_id.as_ref().ok_or(INVALID)?;
    let name = content.sd_name.as_ref().ok_or(INVALID)?;
    let state = context.registry.state();
    let sd = context.owner.sd_for_image(state, sp, name)?.clone();
    target(state, &sd, id.clone())?;
    let aik = state.aik(sd.tam, &sd.sp).ok_or(Error::Internal)?;
    let number = state.next_number();

    let certificate = match opened.content().sp_certificate {
        Some(member) => Some(sp_certificate::<P>(opened, member)?),
        None => None,
    };
    let (parts, payload) = opened.encrypted_ta()?;
    let lock = Lock { pair: aik.key_pair(), rsa1_5: context.rsa1_5 };
    let plain = decrypt(parts, payload, context.ports, lock)?;

    let mut certificates = SpCertificates::load(&mut context.ports.storage, &sd, context.scratch)?;
    let new_certificates = match certificate {
        Some(der) => certificates.add(opened.bytes(der))?,
        None => false,
    };
    let state = context.registry.state();
    let target = target(state, &sd, id)?;
    let (entry, image) = match plain.image {
        Some(span) => {
            let (image, signer) = verify::<P::Rsa>(opened.payload(span), &certificates)?;
            (target.with_image(state, &image, signer)?, Some(image))
        }
        None => (target.as_installed()?, None),
    };
    let record = if new_certificates {
        Some(certificates.into_record(|hash| state.signs(sd.number, hash))?)
    } else {
        None
    };

    context.registry.distrust();
    if let Some(record) = record {
        let name = Name { kind: Kind::SpCertificates, number };
        context.ports.storage.replace(name, record)?;
    }
    if let Some(span) = plain.personalization {
        let name = Name { kind: Kind::Personalization, number };
        context.ports.storage.replace(name, opened.payload(span))?;
    }
    let intent = entry.into_intent(number, plain.personalization.is_some(), new_certificates);
    if let Some(image) = image {
        // Nothing before the commit has an effect, so whatever the database refuses comes before
        // the registry announces anything.
        let ta = &intent.get().ta;
        context.ports.ta_store.begin(&ta.uuid, &ta.stored)?;
        context.ports.ta_store.write(image.elf())?;
        context.registry.announce(context.ports, intent.get(), context.scratch)?;
        context.ports.ta_store.commit()?;
    }
    context.registry.change().install(intent)?;
    context.commit(opened)
}

/// The decrypted parts, by their place in the payload.
struct Plain {
    image: Option<Span>,
    personalization: Option<Span>,
}

fn decrypt<P: Platform>(
    parts: &EncryptedTa,
    payload: &mut [u8],
    ports: &mut Ports<P>,
    aik: Lock<'_>,
) -> Result<Plain, Error> {
    let algorithm = DataAlgorithm::from_name(parts.algorithm.text(payload))
        .ok_or(Error::Refused(ErrorCode::UnsupportedCryptoAlg))?;
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

    let key = data_key(&parts.key, payload, ports, aik)?;
    let mut open = |span: Option<Span>, iv: Iv| -> Result<Option<Span>, Error> {
        let Some(span) = span else { return Ok(None) };
        let ciphertext = decode_in_place(payload, span, Form::Any).map_err(|_| REFUSED)?;
        let length = key
            .decrypt_in_place(algorithm, iv.bytes(), ciphertext.of_mut(payload))
            .map_err(|_| REFUSED)?
            .len();
        Ok(Some(ciphertext.truncated(length)))
    };
    let image = open(parts.image, image_iv)?;
    let personalization = open(parts.personalization, personalization_iv)?;
    if personalization.is_some_and(|span| span.len() > PERSONALIZATION_LIMIT) {
        return Err(ErrorCode::TeeResourceFull.into());
    }
    Ok(Plain { image, personalization })
}

/// Unwraps the key of the data.
fn data_key<P: Platform>(
    wrapped: &WrappedKey,
    payload: &mut [u8],
    ports: &mut Ports<P>,
    aik: Lock<'_>,
) -> Result<DataKey, Error> {
    match wrapped {
        WrappedKey::Jwe(jwe) => {
            let plaintext = open_jwe(payload, jwe, ports, aik, REFUSED)?.plaintext;
            let bytes = plaintext.of_mut(payload);
            let key = DataKey::from_bytes(bytes).map_err(|_| REFUSED);
            bytes.zeroize();
            key
        }
        WrappedKey::Bare(text) => {
            let mut bytes = Zeroizing::new([0; 32]);
            open_bare(text.of(payload), ports, aik, bytes.as_mut_slice(), REFUSED)?;
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

/// Checks an image against the certificates that its domain accepts; also the SHA-256 of the one
/// that it is signed by.
fn verify<'i, R: RsaPublic>(
    bytes: &'i [u8],
    certificates: &SpCertificates<'_>,
) -> Result<(SignedImage<'i>, [u8; 32]), Error> {
    let image = Image::parse(bytes).map_err(|_| REFUSED)?;
    for der in certificates.accepted() {
        let key = Certificate::parse(der).and_then(|certificate| certificate.public_key());
        let key = key.map_err(|_| Error::Internal)?;
        if let Some(signed) = image.signed_by::<R>(&key) {
            return Ok((signed, sha256(der)));
        }
    }
    Err(REFUSED)
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
