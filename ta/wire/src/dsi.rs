//! The device state information that a TAM sees (OTrP draft, section 9.1.5), to be written.

use serde::{Serialize, Serializer};

/// `{"dsi": {"tee": ...}}`.
///
/// The TEE takes what it lists as closures that make iterators, so that nothing is gathered.
#[derive(Serialize)]
pub struct Document<T> {
    /// The state.
    pub dsi: Dsi<T>,
}

/// The state of a device. `tfwdata` is absent: no platform here has a firmware signer.
#[derive(Serialize)]
pub struct Dsi<T> {
    /// The state of its TEE.
    pub tee: T,
}

/// The state of a TEE.
#[derive(Serialize)]
pub struct Tee<'a, G, C, S, K> {
    /// Its name, that a request's `tee` repeats.
    pub name: &'a str,
    /// Its version.
    pub ver: &'a str,
    /// Its certificate.
    pub cert: Base64<'a>,
    /// The certificates above it, an array up to the root.
    pub cacert: C,
    /// A text that is never reused for a TAM, so that a DSI hash identifies one state.
    pub generation: G,
    /// The security domains of the TAM that asks.
    pub sdlist: SdList<S>,
    /// The attestation keys of its service providers.
    pub teeaiklist: K,
}

/// The security domains.
#[derive(Serialize)]
pub struct SdList<S> {
    /// How many.
    pub cnt: Text<usize>,
    /// Each of them.
    pub sd: S,
}

/// A security domain.
#[derive(Serialize)]
pub struct Sd<'a, T> {
    /// Its name.
    pub name: &'a str,
    /// Its service provider.
    pub spid: &'a str,
    /// Its trusted applications.
    pub talist: T,
}

/// A trusted application.
#[derive(Serialize)]
pub struct Ta<'a> {
    /// Its identifier.
    pub taid: &'a str,
}

/// A service provider's anonymous attestation key.
#[derive(Serialize)]
pub struct Aik<'a> {
    /// The public key: DER SubjectPublicKeyInfo for `ECC`, PKCS #1 RSAPublicKey for `RSA`.
    pub spaik: Base64<'a>,
    /// `ECC` or `RSA`.
    pub spaiktype: &'static str,
    /// Whose key it is.
    pub spid: &'a str,
}

/// Bytes that are written as standard base64 with padding.
#[derive(Clone, Copy)]
pub struct Base64<'a>(pub &'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_str(&::base64::display::Base64Display::new(self.0, &crate::base64::STANDARD))
    }
}

/// A value that is written as a string.
#[derive(Clone, Copy)]
pub struct Text<T>(pub T);

impl<T: core::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An array whose elements come from an iterator that is created again for each pass.
pub struct Array<F>(pub F);

impl<F, I> Serialize for Array<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_as_in_the_draft() {
        let document = Document {
            dsi: Dsi {
                tee: Tee {
                    name: "optee",
                    ver: "1",
                    cert: Base64(b"sample TEE certificate"),
                    cacert: Array(|| [Base64(b"a"), Base64(b"b")].into_iter()),
                    generation: Text(7),
                    sdlist: SdList {
                        cnt: Text(1),
                        sd: Array(|| {
                            core::iter::once(Sd {
                                name: "default.acmebank.com",
                                spid: "acmebank.com",
                                talist: Array(|| {
                                    core::iter::once(Ta { taid: "acmebank.secure.banking" })
                                }),
                            })
                        }),
                    },
                    teeaiklist: Array(core::iter::empty::<Aik<'_>>),
                },
            },
        };
        let mut buffer = [0; 512];
        let length = serde_json_core::to_slice(&document, &mut buffer).unwrap();
        assert_eq!(
            core::str::from_utf8(&buffer[..length]).unwrap(),
            concat!(
                r#"{"dsi":{"tee":{"name":"optee","ver":"1","cert":"c2FtcGxlIFRFRSBjZXJ0aWZpY2F0ZQ==","#,
                r#""cacert":["YQ==","Yg=="],"generation":"7","sdlist":{"cnt":"1","sd":[{"name":"#,
                r#""default.acmebank.com","spid":"acmebank.com","talist":[{"taid":"#,
                r#""acmebank.secure.banking"}]}]},"teeaiklist":[]}}}"#
            )
        );
    }
}
