//! Which devices are served.
//!
//! Of the devices whose certificate leads to a root: all of them, those on a list, or those that were
//! served before.
//!
//! With the stolen key of a TEE authority, false devices can be certified. Only the inventory of the
//! factory tells them from genuine ones.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use thiserror::Error;

use crate::encoding::from_base64;

/// The columns of the inventory that identify a device.
const KEY_COLUMN: &str = "key_sha256";
const CERTIFICATE_COLUMN: &str = "did";

/// Why a device is not served. Contains the fingerprint of its key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotAdmitted {
    /// There is a list, and the device is not on it.
    #[error("the device with the key {0} is not on the list of devices (`devices`)")]
    NotListed(String),
    /// The device is new, and new ones are not admitted.
    #[error("the device with the key {0} is new, and no new one is admitted (`admit_new`)")]
    New(String),
}

/// Which devices are served.
#[derive(Debug, Default)]
pub struct Admission {
    /// If there is a list, only devices on it are served.
    pub list: Option<DeviceList>,
    /// Whether only devices that were served before are served.
    pub known_only: bool,
}

impl Admission {
    /// Checks a device, given the fingerprint of its key, its identifier, and whether it was served
    /// before.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub fn check(&self, key: &str, device_id: &str, is_known: bool) -> Result<(), NotAdmitted> {
        if !self.lists(key, device_id) {
            Err(NotAdmitted::NotListed(String::from(key)))
        } else if self.known_only && !is_known {
            Err(NotAdmitted::New(String::from(key)))
        } else {
            Ok(())
        }
    }

    /// Whether a device is on the list; `true` if there is none.
    #[must_use]
    pub fn lists(&self, key: &str, device_id: &str) -> bool {
        self.list.as_ref().is_none_or(|list| list.contains(key, device_id))
    }
}

/// The devices of an inventory.
#[derive(Debug, Default)]
pub struct DeviceList {
    /// Fingerprints of keys.
    keys: HashSet<Vec<u8>>,
    /// SHA-256 of the certificates of devices whose keys are not in the inventory.
    certificates: HashSet<Vec<u8>>,
}

impl DeviceList {
    /// Reads an inventory as `otrp-keys inventory` writes it: CSV (RFC 4180) with the names of the
    /// columns in the first line. `key_sha256` is the SHA-256 of the SubjectPublicKeyInfo in
    /// hexadecimal; if it is missing, `did` identifies the certificate. Other columns are ignored.
    /// Several inventories may be concatenated, each with its first line.
    ///
    /// # Errors
    /// If the file cannot be read, contains no device, or a line does not match the first one.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the list of devices {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the list of devices {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut list = Self::default();
        let mut columns: Option<Columns> = None;
        for (line, fields) in records(text.strip_prefix('\u{feff}').unwrap_or(text))? {
            if let Some(header) = Columns::of(&fields) {
                columns = Some(header);
                continue;
            }
            let columns = columns.as_ref().with_context(|| {
                format!("its first line names neither {KEY_COLUMN} nor {CERTIFICATE_COLUMN}")
            })?;
            list.add(columns, &fields).with_context(|| format!("line {line}"))?;
        }
        ensure!(list.len() > 0, "it names no device, so none could be served");
        Ok(list)
    }

    fn add(&mut self, columns: &Columns, fields: &[String]) -> anyhow::Result<()> {
        ensure!(
            fields.len() == columns.count,
            "it has {} fields, and the columns are {}",
            fields.len(),
            columns.count
        );
        let field = |column: Option<usize>| column.and_then(|column| fields.get(column));
        let digest = |bytes: Option<Vec<u8>>| bytes.filter(|digest| digest.len() == 32);
        if let Some(key) = field(columns.key).filter(|key| !key.is_empty()) {
            let key = digest(hex::decode(key).ok()).with_context(|| {
                format!("{KEY_COLUMN} is {key:?}, and must be 64 hexadecimal digits")
            })?;
            self.keys.insert(key);
        } else if let Some(certificate) = field(columns.certificate) {
            let certificate = digest(from_base64(certificate)).with_context(|| {
                format!("{CERTIFICATE_COLUMN} is {certificate:?}, and must be a SHA-256 in base64")
            })?;
            self.certificates.insert(certificate);
        } else {
            bail!("{KEY_COLUMN} is empty");
        }
        Ok(())
    }

    /// Number of devices.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a list is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len() + self.certificates.len()
    }

    fn contains(&self, key: &str, device_id: &str) -> bool {
        hex::decode(key).is_ok_and(|key| self.keys.contains(&key))
            || from_base64(device_id).is_some_and(|device| self.certificates.contains(&device))
    }
}

/// The positions of the columns that identify a device.
struct Columns {
    count: usize,
    key: Option<usize>,
    certificate: Option<usize>,
}

impl Columns {
    /// The columns in a header line; `None` if the line is not one.
    fn of(fields: &[String]) -> Option<Self> {
        let place = |name: &str| fields.iter().position(|field| field == name);
        let (key, certificate) = (place(KEY_COLUMN), place(CERTIFICATE_COLUMN));
        (key.is_some() || certificate.is_some()).then_some(Self {
            count: fields.len(),
            key,
            certificate,
        })
    }
}

/// The records of a text in CSV, each with the number of its line. Empty lines are skipped.
fn records(text: &str) -> anyhow::Result<Vec<(usize, Vec<String>)>> {
    let mut records = Vec::new();
    let mut fields = Vec::new();
    let mut field = String::new();
    let (mut line, mut first_line, mut is_quoted) = (1, 1, false);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        line += usize::from(char == '\n');
        match char {
            '"' if is_quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if is_quoted => {
                is_quoted = false;
                let ends = matches!(chars.peek(), None | Some(',' | '\r' | '\n'));
                ensure!(ends, "line {line}: something follows a quotation mark");
            }
            _ if is_quoted => field.push(char),
            '"' if field.is_empty() => is_quoted = true,
            ',' => fields.push(std::mem::take(&mut field)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                end_record(&mut records, first_line, &mut fields, &mut field);
                first_line = line;
            }
            _ => field.push(char),
        }
    }
    ensure!(!is_quoted, "line {first_line}: a quotation mark has no other one");
    end_record(&mut records, first_line, &mut fields, &mut field);
    Ok(records)
}

fn end_record(
    records: &mut Vec<(usize, Vec<String>)>,
    line: usize,
    fields: &mut Vec<String>,
    field: &mut String,
) {
    fields.push(std::mem::take(field));
    let record = std::mem::take(fields);
    if record != [""] {
        records.push((line, record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From: printf one | sha256sum; printf two | sha256sum, and the same in base64.
    const ONE: &str = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    const TWO: &str = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";
    const ONE_BASE64: &str = "dpLDrTVAu4A8Ags67mbNiIcSMjTqDG5xQ8Ct1z/0Me0=";

    #[test]
    fn inventories_of_both_forms_are_read() {
        let old = "did,serial,subject,key,not_before,not_after,chain\n";
        let old_row = format!("{ONE_BASE64},1,\"CN=a, \"\"b\"\"\nc\",P-256,,,x.pem\n");
        let new = "did,key_sha256,serial\r\n";
        let rows = [
            (format!("key_sha256\n{TWO}\n"), true, false),
            (format!("key_sha256\n{}", TWO.to_uppercase()), true, false),
            (format!("\u{feff}key_sha256,note\r\n{TWO},\r\n\r\n"), true, false),
            (format!("{old}{old_row}"), false, true),
            // The key counts where it is named: a certificate may be renewed.
            (format!("{new}{ONE_BASE64},{TWO},1\r\n"), true, false),
            (format!("{new}{ONE_BASE64},,1\r\n"), false, true),
            (format!("{old}{old_row}{new}{ONE_BASE64},{TWO},1\r\n"), true, true),
        ];
        for (text, has_key, has_certificate) in rows {
            let list = DeviceList::parse(&text).unwrap();
            assert_eq!(list.contains(TWO, ""), has_key, "{text}");
            assert_eq!(list.contains(ONE, ONE_BASE64), has_certificate, "{text}");
            assert!(!list.contains(ONE, ""), "{text}");
            assert_eq!(list.len(), usize::from(has_key) + usize::from(has_certificate), "{text}");
        }
    }

    #[test]
    fn a_broken_list_is_refused_with_its_line() {
        for (text, expected) in [
            (String::new(), "names no device"),
            ("key_sha256\n".into(), "names no device"),
            (format!("{ONE}\n"), "its first line names neither"),
            (format!("name,colour\n{ONE},red\n"), "its first line names neither"),
            (
                format!("key_sha256\n{ONE}\n{}\n", TWO.trim_end_matches(char::is_numeric)),
                "line 3: key_sha256 is",
            ),
            (format!("key_sha256\n{}\n", "76:92:c3"), "line 2: key_sha256 is"),
            (format!("key_sha256,x\n{ONE}\n"), "line 2: it has 1 fields"),
            (format!("key_sha256,x\n{ONE},1,2\n"), "line 2: it has 3 fields"),
            ("key_sha256,x\n,1\n".into(), "line 2: key_sha256 is empty"),
            (format!("did\n{ONE}\n"), "line 2: did is"),
            (format!("key_sha256,x\n{ONE},\"a\n"), "line 2: a quotation mark has no other one"),
            (format!("key_sha256,x\n{ONE},\"a\"b\n"), "line 2: something follows"),
        ] {
            let error = format!("{:#}", DeviceList::parse(&text).unwrap_err());
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
