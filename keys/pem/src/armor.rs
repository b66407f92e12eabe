//! The blocks of PEM (RFC 7468), as lenient about what is around them as files are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::{Error, Item, Kind, shape};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// Where files were joined and the first had no line feed at its end.
const JOINED: &str = "----------";
/// A block whose end has not come yet.
struct Open {
    label: String,
    line: usize,
    base64: Zeroizing<String>,
    encrypted: bool,
}

/// The blocks of a file.
pub(crate) fn items(file: &[u8]) -> Result<Vec<Item>, Error> {
    // What is not UTF-8 is text outside of blocks, such as a name in a bag attribute, or damage inside.
    let text = Zeroizing::new(String::from_utf8_lossy(file).replace("\r\n", "\n"));
    let mut items = Vec::new();
    let mut open: Option<Open> = None;
    for (number, line) in text.trim_start_matches('\u{feff}').split(['\n', '\r']).enumerate() {
        // A seam between two files is two lines.
        let (first, second) = match line.split_once(JOINED) {
            Some((first, second)) if line.contains(BEGIN) => {
                (format!("{first}{DASHES}"), Some(format!("{DASHES}{second}")))
            }
            _ => (line.to_owned(), None),
        };
        for line in [Some(first), second].into_iter().flatten().map(Zeroizing::new) {
            open = match open {
                None => begin(line.trim(), number.saturating_add(1), !items.is_empty())?,
                Some(block) => block.add(line.trim(), &mut items)?,
            };
        }
    }
    match open {
        Some(block) => Err(block.damaged("has no end")),
        None => Ok(items),
    }
}

/// Whether a line of a file begins or ends a block with a private key, wherever in the line that is.
pub(crate) fn names_private_key(file: &[u8]) -> bool {
    // In UTF-16 every other octet of such a line is zero.
    let has = |line: &[u8], words: &[u8]| {
        line.windows(words.len()).any(|window| window.eq_ignore_ascii_case(words))
    };
    file.split(|octet| matches!(octet, b'\n' | b'\r')).any(|line| {
        let line: Zeroizing<Vec<u8>> =
            Zeroizing::new(line.iter().copied().filter(|octet| *octet != 0).collect());
        has(&line, b"PRIVATE KEY") && (has(&line, b"-BEGIN ") || has(&line, b"-END "))
    })
}

/// Whether a line outside of blocks begins one; `behind` another one or before all.
fn begin(line: &str, number: usize, behind: bool) -> Result<Option<Open>, Error> {
    // A key that somebody wrote on one line is a part of this line, and is not repeated.
    let damaged = |why| Error::Damaged { label: shown(""), line: Some(number), why };
    if behind && line.contains('\0') {
        return Err(damaged("is not PEM: DER, or text of 16 bits, follows PEM"));
    }
    let Some(rest) = line.strip_prefix(BEGIN) else {
        // A block whose first line is missing or mistyped would be skipped silently.
        let capitals = line.to_ascii_uppercase();
        let mistyped = ["--BEGIN ", "--END "].iter().any(|mark| capitals.contains(mark));
        if mistyped && !line.contains(BEGIN) && !line.starts_with('#') {
            return Err(damaged("has no proper first line"));
        }
        // A block in a comment is none; any other that is not at the start of its line is not skipped.
        return match line.contains(BEGIN) && !line.starts_with('#') {
            true => Err(damaged("does not begin at the start of its line")),
            false => Ok(None),
        };
    };
    let label = rest.strip_suffix(DASHES).ok_or_else(|| damaged("has no proper first line"))?;
    Ok(Some(Open {
        label: label.into(),
        line: number,
        base64: Zeroizing::default(),
        encrypted: false,
    }))
}

/// A label as it may be shown: what is not one may be anything, a part of a key among it.
fn shown(label: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ';
    match label.len() {
        1..=40 if label.bytes().all(plain) => label.into(),
        _ => "of an unknown kind".into(),
    }
}

impl Open {
    fn damaged(&self, why: &'static str) -> Error {
        Error::Damaged { label: shown(&self.label), line: Some(self.line), why }
    }

    fn add(mut self, line: &str, items: &mut Vec<Item>) -> Result<Option<Self>, Error> {
        if let Some(rest) = line.strip_prefix(END) {
            if rest.strip_suffix(DASHES) != Some(self.label.as_str()) {
                return Err(self.damaged("ends as another one"));
            }
            items.push(self.close()?);
            return Ok(None);
        }
        if line.starts_with(BEGIN) {
            return Err(self.damaged("has no end"));
        }
        if line.contains(':') {
            // A header of RFC 1421, which is how OpenSSL marked keys under a passphrase.
            self.encrypted |= line.contains("ENCRYPTED");
        } else if !line.starts_with('#') {
            self.base64.extend(line.chars().filter(|character| !character.is_ascii_whitespace()));
        }
        Ok(Some(self))
    }

    fn close(self) -> Result<Item, Error> {
        let kind = match self.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => Kind::Certificate,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Kind::Request,
            "ENCRYPTED PRIVATE KEY" => Kind::EncryptedKey,
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" if self.encrypted => {
                Kind::EncryptedKey
            }
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => Kind::PrivateKey,
            "PUBLIC KEY" => Kind::PublicKey,
            "RSA PUBLIC KEY" => Kind::RsaPublicKey,
            "EC PARAMETERS" => Kind::EcParameters,
            "X509 CRL" => Kind::RevocationList,
            "OCSP RESPONSE" => Kind::OcspResponse,
            "PKCS7" => Kind::Pkcs7,
            other => Kind::Other(format!("block {}", shown(other))),
        };
        let line = Some(self.line);
        // What nobody reads need not be readable.
        let opaque =
            matches!(kind, Kind::EncryptedKey | Kind::EcParameters | Kind::Pkcs7 | Kind::Other(_));
        let Ok(bytes) = STANDARD.decode(self.base64.as_bytes()).map(Zeroizing::new) else {
            return match opaque {
                true => Ok(Item { kind, der: Zeroizing::default(), line }),
                false => Err(self.damaged("is not base64")),
            };
        };
        // OpenSSL's trusted certificates have its own data behind them.
        let der = match self.label.as_str() {
            "TRUSTED CERTIFICATE" => shape::first(&bytes).unwrap_or_default().to_vec().into(),
            _ => bytes,
        };
        if !opaque && shape::kind(&der).as_ref() != Some(&kind) {
            return Err(self.damaged("does not contain what its name says"));
        }
        Ok(Item { kind, der, line })
    }
}
