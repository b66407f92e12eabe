//! The device state that a TAM may see: its own domains, applications and keys, nothing else.

use otrp_wire::dsi::{Aik, Array, Base64, Document, Dsi, Sd, SdList, Ta, Tee, Text};
use otrp_wire::response::Writer;
use serde::Serialize;

use crate::crypto::digest::sha256;
use crate::device::Identity;
use crate::error::Error;
use crate::pki::{EncodedKey, attestation_key};
use crate::platform::KeyType;
use crate::registry::{State, TamNumber};

/// The version of the broker, `dsi.tee.ver`.
pub const TEE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// `spaiktype` of an attestation key.
#[must_use]
pub const fn attestation_key_type(key: KeyType) -> &'static str {
    match key {
        KeyType::P256 => "ECC",
        KeyType::Rsa2048 => "RSA",
    }
}

/// A view of the device for one TAM at one generation.
#[derive(Clone, Copy, Debug)]
pub struct View<'s> {
    /// Everything there is.
    pub state: &'s State,
    /// The TEE.
    pub identity: Identity<'s>,
    /// The TAM that asks.
    pub tam: TamNumber,
    /// The number of this state, which makes it unlike any other that a TAM was given.
    pub generation: u64,
}

/// An attestation key as it is listed.
struct ListedAik<'s> {
    der: EncodedKey,
    key_type: &'static str,
    spid: &'s str,
}

impl Serialize for ListedAik<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Aik { spaik: Base64(&self.der), spaiktype: self.key_type, spid: self.spid }
            .serialize(serializer)
    }
}

impl<'s> View<'s> {
    /// The value of the member `dsi`, to be written.
    #[must_use]
    pub fn dsi(self) -> Dsi<impl Serialize + 's> {
        let Self { state, identity, tam, generation } = self;
        Dsi {
            tee: Tee {
                name: identity.name,
                ver: TEE_VERSION,
                cert: Base64(identity.certificate),
                cacert: Array(move || identity.authorities().map(Base64)),
                generation: Text(state.generation(generation)),
                sdlist: SdList {
                    cnt: Text(state.sds_of(tam).count()),
                    sd: Array(move || {
                        state.sds_of(tam).map(move |sd| Sd {
                            name: sd.name.as_str(),
                            spid: sd.sp.as_str(),
                            talist: Array(move || {
                                state.tas_of(sd.number).map(|ta| Ta { taid: ta.id.as_str() })
                            }),
                        })
                    }),
                },
                teeaiklist: Array(move || {
                    state.aiks_of(tam).map(|aik| ListedAik {
                        der: attestation_key(&aik.key.public),
                        key_type: attestation_key_type(aik.key.public.key_type()),
                        spid: aik.sp.as_str(),
                    })
                }),
            },
        }
    }

    /// Writes `{"dsi": ...}`.
    ///
    /// # Errors
    /// [`Error::Internal`] if the buffer is too short.
    pub fn write(self, writer: &mut Writer<'_>) -> Result<(), Error> {
        Ok(writer.json(&Document { dsi: self.dsi() })?)
    }

    /// SHA-256 of the bytes that [`View::write`] gives: the `dsihash` of the TAM's next request.
    ///
    /// Where the state is a member of an answer's content, the bytes are `{"dsi":`, the member's
    /// value exactly as written, and `}`.
    ///
    /// # Errors
    /// [`Error::Internal`] if `text_buffer` is too short.
    pub fn hash(self, text_buffer: &mut [u8]) -> Result<[u8; 32], Error> {
        let mut writer = Writer::new(text_buffer);
        self.write(&mut writer)?;
        Ok(sha256(writer.finish()))
    }
}
