//! What DER is, by its outermost structure.

use der::asn1::AnyRef;
use der::{Reader as _, SliceReader, Tag, Tagged as _};
use zeroize::Zeroizing;

use crate::{Item, Kind};

/// The items of a file that is DER after DER and nothing else.
pub(crate) fn items(file: &[u8]) -> Option<Vec<Item>> {
    if file.first() != Some(&0x30) {
        return None;
    }
    let mut reader = SliceReader::new(file).ok()?;
    let mut items = Vec::new();
    while !reader.is_finished() {
        let der = reader.tlv_bytes().ok()?;
        let kind = kind(der).unwrap_or_else(|| Kind::Other("DER structure of another kind".into()));
        items.push(Item { kind, der: Zeroizing::new(der.to_vec()), line: None });
    }
    Some(items)
}

/// Whether a file is meant as DER: no text has such octets in front.
pub(crate) fn begins_as_der(file: &[u8]) -> bool {
    matches!(file, [0x30, 0x80..=0x84, ..])
}

/// The kinds of the DER elements that a file begins with, whatever is behind them.
pub(crate) fn leading(file: &[u8]) -> Vec<Kind> {
    let mut kinds = Vec::new();
    let mut rest = file;
    while rest.first() == Some(&0x30)
        && let Some(element) = first(rest)
    {
        kinds.extend(kind(element));
        rest = rest.get(element.len()..).unwrap_or_default();
    }
    kinds
}

/// The first DER element of what may have something behind it.
pub(crate) fn first(der: &[u8]) -> Option<&[u8]> {
    SliceReader::new(der).ok()?.tlv_bytes().ok()
}

/// The kind of one DER element.
pub(crate) fn kind(der: &[u8]) -> Option<Kind> {
    let [whole] = elements(der)?.try_into().ok()?;
    let parts = elements(sequence(whole)?)?;
    let tags: Vec<Tag> = parts.iter().map(|part| part.tag()).collect();
    match tags.as_slice() {
        [Tag::Sequence, Tag::Sequence, Tag::BitString] => signed(*parts.first()?),
        [Tag::Sequence, Tag::OctetString] => Some(Kind::EncryptedKey),
        [Tag::Sequence, Tag::BitString] => Some(Kind::PublicKey),
        [Tag::Integer, Tag::Integer] => Some(Kind::RsaPublicKey),
        [Tag::Integer, Tag::Sequence, Tag::OctetString, ..]
        | [Tag::Integer, Tag::OctetString, ..]
        | [Tag::Integer, Tag::Integer, Tag::Integer, Tag::Integer, ..] => Some(Kind::PrivateKey),
        [Tag::Integer, Tag::Sequence, ..] => Some(Kind::Pkcs12),
        [Tag::ObjectIdentifier, ..] => Some(Kind::Pkcs7),
        [Tag::Enumerated, ..] => Some(Kind::OcspResponse),
        _ => None,
    }
}

/// What is signed as X.509 signs: a certificate, a request or a revocation list.
fn signed(part: AnyRef<'_>) -> Option<Kind> {
    let tags: Vec<Tag> = elements(sequence(part)?)?.iter().map(|part| part.tag()).collect();
    let time = |tag: &Tag| matches!(tag, Tag::UtcTime | Tag::GeneralizedTime);
    match tags.as_slice() {
        tags if tags.iter().any(time) => Some(Kind::RevocationList),
        [Tag::Integer, Tag::Sequence, Tag::Sequence]
        | [Tag::Integer, Tag::Sequence, Tag::Sequence, Tag::ContextSpecific { .. }] => {
            Some(Kind::Request)
        }
        [Tag::ContextSpecific { .. } | Tag::Integer, ..] => Some(Kind::Certificate),
        _ => None,
    }
}

fn sequence(element: AnyRef<'_>) -> Option<&[u8]> {
    (element.tag() == Tag::Sequence).then(|| element.value())
}

fn elements(der: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(reader.decode().ok()?);
    }
    Some(elements)
}
