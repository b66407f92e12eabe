//! The signed message: `{"<name>Request": <flattened JWS>}` (OTrP draft, section 7.4).

use crate::json::{Malformed, Reader, set};
use crate::limits::CHAIN_LIMIT;
use crate::{RequestName, Span};

/// A request as received: nothing of it is verified yet. The spans are those of base64 texts, their
/// escapes decoded.
#[derive(Debug)]
pub struct Envelope {
    /// The name outside the signature; it must be that of the payload.
    pub name: RequestName,
    /// `payload`, base64url.
    pub payload: Span,
    /// `protected`, base64url.
    pub protected: Span,
    /// `signature`, base64url.
    pub signature: Span,
    /// What the unprotected header says of the signer.
    pub signer: Signer,
}

/// The signer according to the unprotected header.
#[derive(Debug, Default)]
pub struct Signer {
    /// `x5c`, or the samples' `signer`: base64 certificates, leaf first; empty if there is neither.
    pub certificates: heapless::Vec<Span, CHAIN_LIMIT>,
    /// `kid`: base64url SHA-256 of the leaf certificate.
    pub key_id: Option<Span>,
}

/// Why a message is no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Not a request of OTrP: there is no name that an answer could have.
    NotARequest,
    /// A request of this name whose structure is wrong.
    Malformed(RequestName),
}

impl Envelope {
    /// Reads the structure of a message and decodes its strings in place, once.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn read(message: &mut [u8]) -> Result<Self, EnvelopeError> {
        let mut name = None;
        let mut parts = Parts::default();
        let mut reader = Reader::new(message);
        let read = reader
            .object(|reader, key| {
                set(&mut name, RequestName::from_request(key).ok_or(Malformed)?)?;
                parts.read(reader)
            })
            .and_then(|()| reader.end());
        let name = name.ok_or(EnvelopeError::NotARequest)?;
        read.and_then(|()| parts.complete(name)).map_err(|Malformed| EnvelopeError::Malformed(name))
    }
}

#[derive(Default)]
struct Parts {
    payload: Option<Span>,
    protected: Option<Span>,
    signature: Option<Span>,
    header: Option<Signer>,
}

impl Parts {
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        reader.object(|reader, key| match key {
            "payload" => set(&mut self.payload, reader.string()?),
            "protected" => set(&mut self.protected, reader.string()?),
            "signature" => set(&mut self.signature, reader.string()?),
            "header" => set(&mut self.header, Signer::read(reader)?),
            _ => Err(Malformed),
        })
    }

    fn complete(self, name: RequestName) -> Result<Envelope, Malformed> {
        Ok(Envelope {
            name,
            payload: self.payload.ok_or(Malformed)?,
            protected: self.protected.ok_or(Malformed)?,
            signature: self.signature.ok_or(Malformed)?,
            signer: self.header.unwrap_or_default(),
        })
    }
}

impl Signer {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut certificates = None;
        let mut key_id = None;
        reader.object(|reader, key| match key {
            "x5c" => set(&mut certificates, reader.strings()?),
            "signer" => {
                let one = [reader.string()?];
                set(&mut certificates, heapless::Vec::from_slice(&one).map_err(|_| Malformed)?)
            }
            "kid" => set(&mut key_id, reader.string()?),
            _ => Err(Malformed),
        })?;
        // A header that says nothing is left out (RFC 7515, section 7.2.1), and a chain has a
        // leaf (section 4.1.6).
        let empty = match &certificates {
            Some(certificates) => certificates.is_empty(),
            None => key_id.is_none(),
        };
        if empty {
            return Err(Malformed);
        }
        Ok(Self { certificates: certificates.unwrap_or_default(), key_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_to_spans() {
        let text = &mut br#"{"CreateSDRequest": {"payload": "cGF5", "protected": "cHJv",
            "header": {"x5c": ["YQ\u003d=", "Yg=\u003D"], "\u006bid": "a2lk"}, "signature": "c2ln"}}"#
            .to_vec();
        let envelope = Envelope::read(text).unwrap();
        assert_eq!(envelope.name, RequestName::CreateSd);
        assert_eq!(envelope.payload.text(text), "cGF5");
        assert_eq!(envelope.protected.text(text), "cHJv");
        assert_eq!(envelope.signature.text(text), "c2ln");
        assert_eq!(envelope.signer.certificates.len(), 2);
        assert_eq!(envelope.signer.certificates[1].text(text), "Yg==");
        assert_eq!(envelope.signer.key_id.unwrap().text(text), "a2lk");
    }

    #[test]
    fn the_header_may_be_absent_or_hold_one_signer() {
        let text =
            &mut br#"{"DeleteTARequest":{"payload":"","protected":"","signature":""}}"#.to_vec();
        assert!(Envelope::read(text).unwrap().signer.certificates.is_empty());
        let text = &mut br#"{"DeleteTARequest":{"payload":"","protected":"","signature":"",
            "header":{"signer":"YQ=="}}}"#
            .to_vec();
        assert_eq!(Envelope::read(text).unwrap().signer.certificates[0].text(text), "YQ==");
    }

    #[test]
    fn each_defect_is_refused() {
        use EnvelopeError::{Malformed as M, NotARequest};
        let delete = RequestName::DeleteTa;
        let rows: [(&[u8], EnvelopeError); 18] = [
            (b"", NotARequest),
            (b"{}", NotARequest),
            (b"[]", NotARequest),
            (b"eyJ.eyJ.c2ln", NotARequest),
            (br#"{"DeleteTAResponse":{}}"#, NotARequest),
            (br#"{"DeleteTARequest":{}}"#, M(delete)),
            (br#"{"DeleteTARequest":[]}"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"","protected":""}}"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"","protected":"","signature":""}}x"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"","payload":"","protected":"","signature":""}}"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"","p\u0061yload":"","protected":"","signature":""}}"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"\x","protected":"","signature":""}}"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"","protected":"","signatures":[]}}"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"","protected":"","signature":"","header":{"jku":""}}}"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"","protected":"","signature":"","header":{"x5c":[""],"signer":""}}}"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"","protected":"","signature":"","header":{}}}"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"","protected":"","signature":"","header":{"x5c":[]}}}"#, M(delete)),
            (br#"{"DeleteTARequest":{"payload":"","protected":"","signature":""},"CreateSDRequest":{}}"#, M(delete)),
        ];
        for (text, error) in rows {
            let read = Envelope::read(&mut text.to_vec());
            assert_eq!(read.unwrap_err(), error, "{:?}", std::str::from_utf8(text));
        }
    }
}
