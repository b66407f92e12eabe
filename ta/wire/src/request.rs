//! What is signed in a request, and what is encrypted inside it (OTrP draft, section 9).

use crate::id::{SdName, SpId, TaId, TamId, is_identifier};
use crate::json::{Malformed, Reader, set};
use crate::jwe::{Jwe, WrappedKey};
use crate::limits::{ALGORITHM_LIMIT, OCSP_LIMIT, SP_CERTIFICATE_LIMIT, TRANSACTION_ID_LIMIT};
use crate::{RequestName, Span};

/// The members of a `<name>TBSRequest` that were read so far.
///
/// It is filled while it is read, so that a refusal can still name the request and transaction.
#[derive(Debug, Default)]
pub struct Tbs {
    /// `ver`.
    pub version: Option<Span>,
    /// `rid`, the request's identifier.
    pub request_id: Option<Span>,
    /// `tid`, the transaction's identifier.
    pub transaction_id: Option<Span>,
    /// `tee`, the name of the TEE that is meant.
    pub tee: Option<Span>,
    /// `nextdsi`, whether the answer is to carry the new device state.
    pub next_dsi: Option<bool>,
    /// `dsihash`, the device state that the request builds on, base64.
    pub dsi_hash: Option<Span>,
    /// `content`.
    pub content: Option<Jwe>,
    /// `encrypted_ta`.
    pub encrypted_ta: Option<EncryptedTa>,
    /// `ocspdat`, base64.
    pub ocsp: Option<heapless::Vec<Span, OCSP_LIMIT>>,
    /// `icaocspdat` of the draft's samples, base64.
    pub ca_ocsp: Option<heapless::Vec<Span, OCSP_LIMIT>>,
    /// `supportedsigalgs`.
    pub algorithms: Option<heapless::Vec<Span, ALGORITHM_LIMIT>>,
}

/// The image and the personalization data (OTrP draft, sections 9.3.1.1 and 14.4).
#[derive(Debug)]
pub struct EncryptedTa {
    /// `key`: the data key, wrapped for the SP's attestation key.
    pub key: WrappedKey,
    /// `iv` of the image, or of the personalization data where it is alone, in hexadecimal.
    pub iv: Span,
    /// `ivp` of the personalization data, in hexadecimal.
    pub personalization_iv: Option<Span>,
    /// `alg`.
    pub algorithm: Span,
    /// `ciphertadata` or `ciphernewtadata`, base64.
    pub image: Option<Span>,
    /// `cipherpdata` or `ciphernewpdata`, base64.
    pub personalization: Option<Span>,
}

impl Tbs {
    /// Reads the payload of a request into `self`, and decodes its strings in place, once.
    ///
    /// # Errors
    /// [`Malformed`] if the payload is not a request of `name` with all its members and no other.
    pub fn read(&mut self, payload: &mut [u8], name: RequestName) -> Result<(), Malformed> {
        let mut reader = Reader::new(payload);
        let mut signed_name = None;
        reader.object(|reader, key| {
            set(&mut signed_name, RequestName::from_tbs_request(key).ok_or(Malformed)?)?;
            self.read_members(reader, name)
        })?;
        reader.end()?;
        // The name outside the signature decides nothing: it must be the signed one.
        if signed_name == Some(name) && self.is_complete(name) { Ok(()) } else { Err(Malformed) }
    }

    fn read_members(
        &mut self,
        reader: &mut Reader<'_>,
        name: RequestName,
    ) -> Result<(), Malformed> {
        let state = name == RequestName::GetDeviceState;
        let image = matches!(name, RequestName::InstallTa | RequestName::UpdateTa);
        reader.object(|reader, key| match key {
            "ver" => set(&mut self.version, reader.string()?),
            "rid" => set(&mut self.request_id, transaction_id(reader)?),
            "tid" => set(&mut self.transaction_id, transaction_id(reader)?),
            "ocspdat" if state => set(&mut self.ocsp, reader.strings()?),
            "icaocspdat" if state => set(&mut self.ca_ocsp, reader.strings()?),
            "supportedsigalgs" if state => set(&mut self.algorithms, reader.strings()?),
            "tee" if !state => set(&mut self.tee, reader.string()?),
            "nextdsi" if !state => set(&mut self.next_dsi, reader.boolean()?),
            "dsihash" if !state => set(&mut self.dsi_hash, reader.string()?),
            "content" if !state => set(&mut self.content, Jwe::read(reader)?),
            "encrypted_ta" if image => {
                set(&mut self.encrypted_ta, EncryptedTa::read(reader, name)?)
            }
            _ => Err(Malformed),
        })
    }

    const fn is_complete(&self, name: RequestName) -> bool {
        let common =
            self.version.is_some() && self.request_id.is_some() && self.transaction_id.is_some();
        let body = match name {
            RequestName::GetDeviceState => self.ocsp.is_some(),
            _ => {
                self.tee.is_some()
                    && self.next_dsi.is_some()
                    && self.dsi_hash.is_some()
                    && self.content.is_some()
            }
        };
        let image = match name {
            RequestName::InstallTa | RequestName::UpdateTa => self.encrypted_ta.is_some(),
            _ => true,
        };
        common && body && image
    }
}

/// Takes a `rid` or `tid`, which answers repeat.
fn transaction_id(reader: &mut Reader<'_>) -> Result<Span, Malformed> {
    let (text, span) = reader.text()?;
    if is_identifier(text, TRANSACTION_ID_LIMIT) { Ok(span) } else { Err(Malformed) }
}

impl EncryptedTa {
    fn read(reader: &mut Reader<'_>, name: RequestName) -> Result<Self, Malformed> {
        let (image_member, personalization_member) = match name {
            RequestName::UpdateTa => ("ciphernewtadata", "ciphernewpdata"),
            _ => ("ciphertadata", "cipherpdata"),
        };
        let (mut encrypted_key, mut iv, mut algorithm) = (None, None, None);
        let (mut personalization_iv, mut image, mut personalization) = (None, None, None);
        reader.object(|reader, key| match key {
            "key" => set(&mut encrypted_key, WrappedKey::read(reader)?),
            "iv" => set(&mut iv, reader.string()?),
            "ivp" => set(&mut personalization_iv, reader.string()?),
            "alg" => set(&mut algorithm, reader.string()?),
            key if key == image_member => set(&mut image, reader.string()?),
            key if key == personalization_member => set(&mut personalization, reader.string()?),
            _ => Err(Malformed),
        })?;
        let wanted = match name {
            RequestName::UpdateTa => image.is_some() || personalization.is_some(),
            _ => image.is_some(),
        };
        if !wanted {
            return Err(Malformed);
        }
        Ok(Self {
            key: encrypted_key.ok_or(Malformed)?,
            iv: iv.ok_or(Malformed)?,
            personalization_iv,
            algorithm: algorithm.ok_or(Malformed)?,
            image,
            personalization,
        })
    }
}

/// Takes a string that must be an identifier.
fn identifier<T>(reader: &mut Reader<'_>, new: fn(&str) -> Option<T>) -> Result<T, Malformed> {
    new(reader.text()?.0).ok_or(Malformed)
}

/// The decrypted `content` of a request.
#[derive(Debug, Default)]
pub struct Content {
    /// `tamid`, the owner that the TAM claims to be.
    pub tam_id: Option<TamId>,
    /// `spid`.
    pub sp_id: Option<SpId>,
    /// `sdname`.
    pub sd_name: Option<SdName>,
    /// `taid`.
    pub ta_id: Option<TaId>,
    /// `spcert`, base64.
    pub sp_certificate: Option<Span>,
    /// `did`: SHA-256 of the TEE certificate, base64.
    pub device_id: Option<Span>,
    /// `deleteta`.
    pub delete_tas: Option<bool>,
    /// `changes` of an UpdateSD.
    pub changes: Option<Changes>,
}

/// The changes of an UpdateSD (OTrP draft, section 9.2.2.1).
#[derive(Debug, Default)]
pub struct Changes {
    /// `newsdname`.
    pub sd_name: Option<SdName>,
    /// `newspid`.
    pub sp_id: Option<SpId>,
    /// `spcert`, base64: certificates to add.
    pub certificates: heapless::Vec<Span, SP_CERTIFICATE_LIMIT>,
    /// `deloldspcert`: SHA-256 of certificates to remove, in hexadecimal or base64.
    pub old_certificates: heapless::Vec<Span, SP_CERTIFICATE_LIMIT>,
    /// `renewteespaik`.
    pub renew_aik: bool,
}

impl Content {
    /// Reads the plaintext of the `content` of a `name` request, and decodes its strings in place,
    /// once.
    ///
    /// # Errors
    /// [`Malformed`] if a member is missing, repeated, or not one of this request, and for an
    /// invalid name.
    pub fn read(plaintext: &mut [u8], name: RequestName) -> Result<Self, Malformed> {
        use RequestName as Name;
        let mut content = Self::default();
        let mut reader = Reader::new(plaintext);
        let image = matches!(name, Name::InstallTa | Name::UpdateTa);
        reader.object(|reader, key| match key {
            "tamid" => set(&mut content.tam_id, identifier(reader, TamId::new)?),
            "spid" => set(&mut content.sp_id, identifier(reader, SpId::new)?),
            "sdname" => set(&mut content.sd_name, identifier(reader, SdName::new)?),
            "taid" if image || name == Name::DeleteTa => {
                set(&mut content.ta_id, identifier(reader, TaId::new)?)
            }
            "spcert" if image || name == Name::CreateSd => {
                set(&mut content.sp_certificate, reader.string()?)
            }
            "did" if name == Name::CreateSd => set(&mut content.device_id, reader.string()?),
            "deleteta" if name == Name::DeleteSd => set(&mut content.delete_tas, reader.boolean()?),
            "changes" if name == Name::UpdateSd => {
                set(&mut content.changes, Changes::read(reader)?)
            }
            _ => Err(Malformed),
        })?;
        reader.end()?;
        let wanted = match name {
            Name::GetDeviceState => false,
            Name::CreateSd => {
                content.sp_id.is_some()
                    && content.sp_certificate.is_some()
                    && content.device_id.is_some()
            }
            Name::UpdateSd => content.sp_id.is_some() && content.changes.is_some(),
            Name::DeleteSd => true,
            Name::InstallTa | Name::UpdateTa => content.sp_id.is_some() && content.ta_id.is_some(),
            Name::DeleteTa => content.ta_id.is_some(),
        };
        if wanted && content.tam_id.is_some() && content.sd_name.is_some() {
            Ok(content)
        } else {
            Err(Malformed)
        }
    }
}

impl Changes {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut changes = Self::default();
        let (mut certificates, mut old_certificates, mut renew_aik) = (None, None, None);
        reader.object(|reader, key| match key {
            "newsdname" => set(&mut changes.sd_name, identifier(reader, SdName::new)?),
            "newspid" => set(&mut changes.sp_id, identifier(reader, SpId::new)?),
            "spcert" => set(&mut certificates, reader.strings()?),
            "deloldspcert" => set(&mut old_certificates, reader.strings()?),
            "renewteespaik" => set(&mut renew_aik, reader.boolean()?),
            _ => Err(Malformed),
        })?;
        changes.certificates = certificates.unwrap_or_default();
        changes.old_certificates = old_certificates.unwrap_or_default();
        changes.renew_aik = renew_aik.unwrap_or_default();
        Ok(changes)
    }
}

/// The local question `{"TAQuery":{"spid","taid"}}` (OTrP draft, section 6.4.2), where `tamid` and
/// `sdname` may tell which of several is meant: service providers of two TAMs may have one name, and
/// a provider's domains may each hold an application of one name.
#[derive(Clone, Debug)]
pub struct TaQuery {
    /// `spid`.
    pub sp_id: Span,
    /// `taid`.
    pub ta_id: Span,
    /// `tamid`.
    pub tam_id: Option<TamId>,
    /// `sdname`.
    pub sd_name: Option<SdName>,
}

impl TaQuery {
    /// Reads a query, and decodes its strings in place, once.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(text: &mut [u8]) -> Result<Self, Malformed> {
        let (mut sp_id, mut ta_id, mut query) = (None, None, None);
        let (mut tam_id, mut sd_name) = (None, None);
        let mut reader = Reader::new(text);
        reader.object(|reader, key| {
            if key != "TAQuery" {
                return Err(Malformed);
            }
            reader.object(|reader, key| match key {
                "spid" => set(&mut sp_id, reader.string()?),
                "taid" => set(&mut ta_id, reader.string()?),
                "tamid" => set(&mut tam_id, identifier(reader, TamId::new)?),
                "sdname" => set(&mut sd_name, identifier(reader, SdName::new)?),
                _ => Err(Malformed),
            })?;
            set(&mut query, ())
        })?;
        reader.end()?;
        let (sp_id, ta_id) = (sp_id.ok_or(Malformed)?, ta_id.ok_or(Malformed)?);
        Ok(Self { sp_id, ta_id, tam_id, sd_name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    const JWE: &str = r#"{"protected":"","encrypted_key":"","iv":"","ciphertext":"","tag":""}"#;

    /// Every member of a request of `name`, each as the text `"key":value`.
    fn members(name: RequestName) -> std::vec::Vec<String> {
        let mut members = std::vec![
            String::from(r#""ver":"1.0""#),
            String::from(r#""rid":"r""#),
            String::from(r#""tid":"t""#),
        ];
        if name == RequestName::GetDeviceState {
            members.push(String::from(r#""ocspdat":[]"#));
            return members;
        }
        members.push(String::from(r#""tee":"optee""#));
        members.push(String::from(r#""nextdsi":true"#));
        members.push(String::from(r#""dsihash":"aGFzaA==""#));
        members.push(format!(r#""content":{JWE}"#));
        match name {
            RequestName::InstallTa => members.push(format!(
                r#""encrypted_ta":{{"key":{JWE},"iv":"00","alg":"AESCBC","ciphertadata":"YQ"}}"#
            )),
            RequestName::UpdateTa => members.push(String::from(
                r#""encrypted_ta":{"key":"a.b.c.d.e","iv":"00","alg":"AESCBC","ciphernewpdata":"YQ"}"#,
            )),
            _ => {}
        }
        members
    }

    fn read(name: RequestName, members: &[String]) -> Result<Tbs, Malformed> {
        let text = format!(r#"{{"{}":{{{}}}}}"#, name.tbs_request(), members.join(","));
        let mut tbs = Tbs::default();
        tbs.read(&mut text.into_bytes(), name).map(|()| tbs)
    }

    #[test]
    fn every_request_is_read() {
        for name in RequestName::ALL {
            assert!(read(*name, &members(*name)).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn every_member_is_wanted_once() {
        for name in RequestName::ALL {
            let all = members(*name);
            for index in 0..all.len() {
                let mut without = all.clone();
                let member = without.remove(index);
                assert!(read(*name, &without).is_err(), "{name:?} without {member}");
                let mut twice = all.clone();
                twice.push(member.clone());
                assert!(read(*name, &twice).is_err(), "{name:?} with {member} twice");
                let key = member.split(':').next().unwrap();
                let escaped = format!(r#""\u{:04x}{}"#, member.as_bytes()[1], &member[2..]);
                let mut renamed = all.clone();
                renamed[index].clone_from(&escaped);
                assert!(read(*name, &renamed).is_ok(), "{name:?} with {escaped}");
                renamed.push(member.clone());
                assert!(read(*name, &renamed).is_err(), "{name:?} with {escaped} and {member}");
                let mut other_type = all.clone();
                other_type[index] = format!("{key}:17");
                assert!(read(*name, &other_type).is_err(), "{name:?} with a number as {key}");
            }
            let mut unknown = all.clone();
            unknown.push(String::from(r#""x":"y""#));
            assert!(read(*name, &unknown).is_err(), "{name:?} with an unknown member");
        }
    }

    #[test]
    fn the_signed_name_must_be_the_outer_one() {
        let text =
            format!(r#"{{"DeleteSDTBSRequest":{{{}}}}}"#, members(RequestName::DeleteSd).join(","));
        assert!(Tbs::default().read(&mut text.into_bytes(), RequestName::DeleteTa).is_err());
        let text = format!(
            r#"{{"GetDeviceTEEStateTBSRequest":{{{}}}}}"#,
            members(RequestName::GetDeviceState).join(",")
        );
        assert!(Tbs::default().read(&mut text.into_bytes(), RequestName::GetDeviceState).is_ok());
    }

    #[test]
    fn a_refused_request_still_names_its_transaction() {
        let text = br#"{"DeleteSDTBSRequest":{"ver":"1.0","rid":"r\u0031","tid":"t1","x":1}}"#;
        let (mut text, mut tbs) = (*text, Tbs::default());
        assert!(tbs.read(&mut text, RequestName::DeleteSd).is_err());
        assert_eq!(tbs.request_id.unwrap().text(&text), "r1");
        assert_eq!(tbs.transaction_id.unwrap().text(&text), "t1");
    }

    #[test]
    fn transaction_identifiers_are_bounded() {
        let with_rid = |rid: &str| {
            let mut all = members(RequestName::DeleteSd);
            all[1] = format!(r#""rid":"{rid}""#);
            read(RequestName::DeleteSd, &all)
        };
        for character in ["x", r"\u0078", r"\/"] {
            assert!(with_rid(&character.repeat(TRANSACTION_ID_LIMIT)).is_ok());
            assert!(with_rid(&character.repeat(TRANSACTION_ID_LIMIT + 1)).is_err());
        }
        // An answer repeats them as they are.
        for rid in ["", "\u{85}", r"\u0085", r"\n", r"\u0000", r"\u007f", r#"\""#, r"\\", r"\u0022"]
        {
            assert!(with_rid(rid).is_err(), "{rid}");
        }
    }

    #[test]
    fn contents_hold_the_members_of_their_request() {
        let rows = [
            (RequestName::CreateSd, "tamid spid sdname spcert did", ""),
            (RequestName::DeleteSd, "tamid sdname", "spid"),
            (RequestName::InstallTa, "tamid spid sdname taid", "spcert"),
            (RequestName::UpdateTa, "tamid spid sdname taid", "spcert"),
            (RequestName::DeleteTa, "tamid sdname taid", "spid"),
        ];
        let text = |keys: &[&str]| {
            let members: std::vec::Vec<String> =
                keys.iter().map(|key| format!(r#""{key}":"v""#)).collect();
            format!("{{{}}}", members.join(","))
        };
        for (name, wanted, optional) in rows {
            let wanted: std::vec::Vec<&str> = wanted.split(' ').collect();
            assert!(Content::read(&mut text(&wanted).into_bytes(), name).is_ok(), "{name:?}");
            for index in 0..wanted.len() {
                let mut without = wanted.clone();
                without.remove(index);
                assert!(Content::read(&mut text(&without).into_bytes(), name).is_err(), "{name:?}");
                let mut twice = wanted.clone();
                twice.push(wanted[index]);
                assert!(Content::read(&mut text(&twice).into_bytes(), name).is_err(), "{name:?}");
            }
            let mut more = wanted.clone();
            more.extend(optional.split(' ').filter(|key| !key.is_empty()));
            assert!(Content::read(&mut text(&more).into_bytes(), name).is_ok(), "{name:?}");
            more.push("other");
            assert!(Content::read(&mut text(&more).into_bytes(), name).is_err(), "{name:?}");
        }
        let update = br#"{"tamid":"t","spid":"s","sdname":"d","changes":{"newsdname":"n",
            "spcert":["YQ"],"deloldspcert":"00","renewteespaik":"true"}}"#;
        let changes =
            Content::read(&mut update.to_vec(), RequestName::UpdateSd).unwrap().changes.unwrap();
        assert!(changes.renew_aik);
        assert_eq!(changes.certificates.len(), 1);
        assert_eq!(changes.old_certificates.len(), 1);
        let delete = br#"{"tamid":"t","sdname":"d","deleteta":"1"}"#;
        let content = Content::read(&mut delete.to_vec(), RequestName::DeleteSd).unwrap();
        assert_eq!(content.delete_tas, Some(true));
    }

    #[test]
    fn names_are_identifiers() {
        let with = |tam: &str, spid: &str, sdname: &str, taid: &str| {
            let text = format!(
                r#"{{"tamid":"{tam}","spid":"{spid}","sdname":"{sdname}","taid":"{taid}"}}"#
            );
            Content::read(&mut text.into_bytes(), RequestName::DeleteTa).is_ok()
        };
        let (name, longer) = ("n".repeat(SpId::LIMIT), "n".repeat(SpId::LIMIT + 1));
        let (tam, longer_tam) = ("t".repeat(TamId::LIMIT), "t".repeat(TamId::LIMIT + 1));
        assert!(with(&tam, &name, &name, &name));
        assert!(!with(&longer_tam, &name, &name, &name));
        // Escapes are decoded first.
        let escaped = r"\u006e".repeat(SpId::LIMIT);
        assert!(with(&tam, &escaped, &escaped, &escaped));
        assert!(with(r"https:\/\/tam.example", "caf\u{e9}", r"caf\u00E9", r"\ud83d\ude00"));
        for none in [
            longer.as_str(),
            "",
            "\u{85}",
            r"\u0085",
            r"\n",
            r"\u0000",
            r"\u007F",
            r#"\""#,
            r"\\",
            r"\u005C",
            r"\ud83d",
        ] {
            assert!(!with(&tam, none, &name, &name), "{none:?}");
            assert!(!with(&tam, &name, none, &name), "{none:?}");
            assert!(!with(&tam, &name, &name, none), "{none:?}");
        }
        let changes = |member: &str, value: &str| {
            let text = format!(
                r#"{{"tamid":"t","spid":"s","sdname":"d","changes":{{"{member}":"{value}"}}}}"#
            );
            Content::read(&mut text.into_bytes(), RequestName::UpdateSd).is_ok()
        };
        for member in ["newsdname", "newspid"] {
            assert!(changes(member, &name));
            assert!(!changes(member, &longer));
            assert!(!changes(member, ""));
        }
    }

    #[test]
    fn a_ta_query_is_read() {
        let text = &mut br#"{"TAQuery":{"spid":"s\u0070","\u0074aid":"ta"}}"#.to_vec();
        let query = TaQuery::read(text).unwrap();
        assert_eq!((query.sp_id.text(text), query.ta_id.text(text)), ("sp", "ta"));
        assert!(query.tam_id.is_none() && query.sd_name.is_none());
        let text =
            &mut br#"{"TAQuery":{"tamid":"TAM.example","spid":"sp","sdname":"sd","taid":"ta"}}"#
                .to_vec();
        let query = TaQuery::read(text).unwrap();
        assert_eq!((query.sp_id.text(text), query.ta_id.text(text)), ("sp", "ta"));
        assert_eq!((query.tam_id, query.sd_name), (TamId::new("tam.example"), SdName::new("sd")));
        for text in [
            r#"{"TAQuery":{"spid":"sp"}}"#,
            r#"{"Query":{"spid":"sp","taid":"ta"}}"#,
            "{}",
            r#"{"TAQuery":{"spid":"sp","taid":"ta","tamid":"t","tamid":"t"}}"#,
            r#"{"TAQuery":{"spid":"sp","taid":"ta","sdname":""}}"#,
            r#"{"TAQuery":{"spid":"sp","taid":"ta","tee":"t"}}"#,
        ] {
            assert!(TaQuery::read(&mut text.as_bytes().to_vec()).is_err(), "{text}");
        }
    }
}
