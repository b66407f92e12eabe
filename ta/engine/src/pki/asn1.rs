//! The few DER productions that certificates and requests need (X.690, section 10).

use der::asn1::AnyRef;
use der::{Header, Reader, SliceReader, Tag, Tagged};

/// Reads all of `bytes` with `read`; what it leaves is an error.
pub(super) fn whole<'a, T, E: From<der::Error>>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut SliceReader<'a>) -> Result<T, E>,
) -> Result<T, E> {
    let mut reader = SliceReader::new(bytes)?;
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// The contents of the next element, which must have `tag`.
pub(super) fn contents<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    let element = reader.decode::<AnyRef<'a>>()?;
    element.tag().assert_eq(tag)?;
    Ok(element.value())
}

/// The next element with its tag and length; it must have `tag`.
pub(super) fn element<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    Header::peek(reader)?.tag().assert_eq(tag)?;
    reader.tlv_bytes()
}

/// The contents of the next element, which must be an OBJECT IDENTIFIER (X.690, section 8.19).
pub(super) fn identifier<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let contents = contents(reader, Tag::ObjectIdentifier)?;
    // Each arc ends with an octet below 128, and none begins with a zero.
    let arcs = contents.split_inclusive(|octet| *octet < 0x80);
    let whole = contents.last().is_some_and(|octet| *octet < 0x80);
    if !whole || arcs.into_iter().any(|arc| arc.first() == Some(&0x80)) {
        return Err(Tag::ObjectIdentifier.value_error().into());
    }
    Ok(contents)
}

/// The contents of the next AlgorithmIdentifier (RFC 5280, section 4.1.1.2).
pub(super) fn algorithm<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let algorithm = contents(reader, Tag::Sequence)?;
    whole(algorithm, |reader| {
        identifier(reader)?;
        reader.decode::<Option<AnyRef<'_>>>()?;
        Ok(algorithm)
    })
}

/// The buffer is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Writes DER from the end of a buffer to its start, so that every length is known when it is
/// written.
pub(super) struct Backwards<'o> {
    buffer: &'o mut [u8],
    start: usize,
}

impl<'o> Backwards<'o> {
    pub(super) fn new(buffer: &'o mut [u8]) -> Self {
        let start = buffer.len();
        Self { buffer, start }
    }

    /// What is written so far.
    pub(super) fn written(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Moves what is written to the start of the buffer and returns its length.
    pub(super) fn finish(self) -> usize {
        let length = self.written().len();
        self.buffer.copy_within(self.start.., 0);
        length
    }

    /// Puts `bytes` before what is written.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let start = self.start.checked_sub(bytes.len()).ok_or(Full)?;
        self.buffer.get_mut(start..self.start).ok_or(Full)?.copy_from_slice(bytes);
        self.start = start;
        Ok(())
    }

    /// Wraps what `write` writes into an element of `tag`.
    pub(super) fn wrap(
        &mut self,
        tag: u8,
        write: impl FnOnce(&mut Self) -> Result<(), Full>,
    ) -> Result<(), Full> {
        let end = self.written().len();
        write(self)?;
        let length = self.written().len().checked_sub(end).ok_or(Full)?;
        match u16::try_from(length).map_err(|_| Full)?.to_be_bytes() {
            [0, short @ 0..=0x7f] => self.bytes(&[tag, short]),
            [0, long] => self.bytes(&[tag, 0x81, long]),
            [high, low] => self.bytes(&[tag, 0x82, high, low]),
        }
    }

    /// A non-negative INTEGER of big-endian octets.
    pub(super) fn integer(&mut self, octets: &[u8]) -> Result<(), Full> {
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        let digits = octets.get(zeros..).unwrap_or_default();
        self.wrap(0x02, |writer| {
            writer.bytes(digits)?;
            match digits.first() {
                Some(0..=0x7f) => Ok(()),
                // Zero has one octet; a set top bit would make it negative.
                _ => writer.bytes(&[0]),
            }
        })
    }
}
