//! The device state information of a TEE (OTrP draft, section 9.1.5).

use openssl::pkey::{PKey, Public};
use openssl::rsa::Rsa;
use openssl::x509::X509;
use otrp_wire::limits::{CERTIFICATE_LIMIT, CHAIN_LIMIT, NAME_LIMIT, SD_LIMIT, TA_LIMIT};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::certificate;
use crate::encoding::{base64, from_base64, sha256};
use crate::foreign::Flaw;
use crate::jose::KeyType;

/// The part of a device's state that this TAM may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dsi {
    /// Data of the firmware, if it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tfwdata: Option<FirmwareData>,
    /// The state of the TEE.
    pub tee: Tee,
}

/// Data signed by the trusted firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareData {
    /// What is signed: the transaction's identifier, base64.
    pub tbs: String,
    /// The firmware's certificate, base64.
    pub cert: String,
    /// The algorithm.
    pub sigalg: String,
    /// The signature, base64.
    pub sig: String,
}

/// The state of a TEE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tee {
    /// Its name, which requests repeat.
    pub name: String,
    /// Its version.
    pub ver: String,
    /// Its certificate, base64.
    pub cert: String,
    /// The certificates above it, base64.
    pub cacert: Vec<String>,
    /// A value that is never reused, so that the hash of a state identifies one point in time. Not
    /// in the draft; other TEEs may lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// The security domains of this TAM.
    pub sdlist: SdList,
    /// The attestation keys of this TAM's service providers.
    pub teeaiklist: Vec<AttestationKey>,
}

/// The security domains of this TAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SdList {
    /// Their number, in decimal as in the draft's samples.
    pub cnt: String,
    /// The security domains.
    pub sd: Vec<SecurityDomain>,
}

impl<'de> Deserialize<'de> for SdList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Count {
            Text(String),
            Number(u32),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Members {
            cnt: Count,
            sd: Vec<SecurityDomain>,
        }
        let Members { cnt, sd } = Members::deserialize(deserializer)?;
        let cnt = match cnt {
            Count::Text(text) => text,
            Count::Number(number) => number.to_string(),
        };
        if cnt != sd.len().to_string() {
            return Err(D::Error::custom("cnt is not the number of security domains"));
        }
        Ok(Self { cnt, sd })
    }
}

/// A security domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityDomain {
    /// Its name, unique within its service provider.
    pub name: String,
    /// Its service provider.
    pub spid: String,
    /// The applications installed in it.
    pub talist: Vec<InstalledTa>,
}

/// A trusted application on the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstalledTa {
    /// Its identifier.
    pub taid: String,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taname: Option<String>,
}

/// The anonymous attestation key of a service provider on this device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationKey {
    /// The public key, base64: SubjectPublicKeyInfo of an `ECC` key, PKCS#1 of an `RSA` key.
    pub spaik: String,
    /// `ECC` or `RSA`.
    pub spaiktype: String,
    /// The service provider.
    pub spid: String,
}

impl AttestationKey {
    /// The public key; `None` if it is not what its type says.
    #[must_use]
    pub fn public_key(&self) -> Option<PKey<Public>> {
        attestation_key(&self.spaiktype, &self.spaik)
    }
}

/// The public key of an attestation key's type and base64 text; `None` if it is not what its type
/// says: on P-256, or RSA of 2048 to 4096 bits.
#[must_use]
pub fn attestation_key(key_type: &str, text: &str) -> Option<PKey<Public>> {
    let der = from_base64(text)?;
    // OpenSSL ignores what follows the key, so its own encoding is compared with the whole text.
    let (key, written, expected) = match key_type {
        "ECC" => {
            let key = PKey::public_key_from_der(&der).ok()?;
            let written = key.public_key_to_der().ok()?;
            (key, written, KeyType::Elliptic)
        }
        "RSA" => {
            let key = Rsa::public_key_from_der_pkcs1(&der).ok()?;
            let written = key.public_key_to_der_pkcs1().ok()?;
            (PKey::from_rsa(key).ok()?, written, KeyType::Rsa)
        }
        _ => return None,
    };
    (written == der && KeyType::of(&key) == Some(expected)).then_some(key)
}

/// Longest name and version of a TEE, and longest generation, in bytes.
const WORD_LIMIT: usize = 128;

impl Dsi {
    /// Which limit of the protocol the state exceeds, if any: the TAM stores it.
    fn excess(&self) -> Option<&'static str> {
        let Self { tfwdata: _, tee } = self;
        let domains = &tee.sdlist.sd;
        let applications = || domains.iter().flat_map(|domain| &domain.talist);
        let mut certificates = tee.cacert.iter().chain([&tee.cert]);
        let mut words = [&tee.name, &tee.ver].into_iter().chain(&tee.generation);
        let names = domains.iter().flat_map(|domain| [&domain.name, &domain.spid]);
        let ids = applications().flat_map(|it| [Some(&it.taid), it.taname.as_ref()]).flatten();
        let mut names = names.chain(ids).chain(tee.teeaiklist.iter().map(|key| &key.spid));
        if domains.len() > SD_LIMIT {
            Some("more security domains than a device can have")
        } else if applications().count() > TA_LIMIT {
            Some("more applications than a device can have")
        } else if tee.teeaiklist.len() > SD_LIMIT {
            Some("more attestation keys than a device can have")
        } else if tee.cacert.len() > CHAIN_LIMIT {
            Some("more certificates than a chain can have")
        } else if certificates.any(|text| text.len() > CERTIFICATE_LIMIT.div_ceil(3) * 4) {
            Some("a certificate that is too long")
        } else if names.any(|name| name.len() > NAME_LIMIT) {
            Some("a name that is too long")
        } else if words.any(|word| word.len() > WORD_LIMIT) {
            Some("a description of the TEE that is too long")
        } else {
            None
        }
    }
}

/// Why a text is not a device state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed device state: {0}")]
pub struct MalformedState(Flaw);

/// A device state with what follows from its exact bytes.
#[derive(Clone, Debug)]
pub struct DeviceState {
    /// The bytes `{"dsi":...}` that the TEE encrypted, whose hash the next request names.
    pub document: Vec<u8>,
    /// The parsed state.
    pub dsi: Dsi,
    /// The certificate of the TEE.
    pub certificate: X509,
    /// The certificates above it.
    pub authorities: Vec<X509>,
    /// `did`: base64 SHA-256 of the certificate.
    pub device_id: String,
    /// `dsihash`: base64 SHA-256 of the document.
    pub hash: String,
}

impl DeviceState {
    /// Reads the document `{"dsi":...}`. Unverified.
    ///
    /// # Errors
    /// [`MalformedState`] for unknown, missing or duplicate members, anything after the object, invalid
    /// certificates or keys, and states that exceed a limit of the protocol.
    pub fn read(document: &[u8]) -> Result<Self, MalformedState> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Document {
            dsi: Dsi,
        }
        let malformed = |reason| MalformedState(Flaw::Own(reason));
        let unread = |error: &dyn ToString| MalformedState(Flaw::quoting(error.to_string()));
        let Document { dsi } = serde_json::from_slice(document).map_err(|e| unread(&e))?;
        if let Some(excess) = dsi.excess() {
            return Err(malformed(excess));
        }
        let read = |text: &String| {
            from_base64(text)
                .and_then(|der| X509::from_der(&der).ok())
                .ok_or_else(|| malformed("an invalid certificate"))
        };
        let certificate = read(&dsi.tee.cert)?;
        let authorities = dsi.tee.cacert.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if dsi.tee.teeaiklist.iter().any(|key| key.public_key().is_none()) {
            return Err(malformed("an invalid attestation key"));
        }
        let device_id = certificate::device_id(&certificate).map_err(|e| unread(&e))?;
        let hash = base64(&sha256(document).map_err(|e| unread(&e))?);
        let document = document.to_vec();
        Ok(Self { document, dsi, certificate, authorities, device_id, hash })
    }

    /// Reads the value of a member `dsi` in an answer's content.
    ///
    /// The document that is hashed is always `{"dsi":...}`, so it is put together from the value.
    ///
    /// # Errors
    /// As [`DeviceState::read`].
    pub fn read_member(value: &RawValue) -> Result<Self, MalformedState> {
        Self::read(format!(r#"{{"dsi":{}}}"#, value.get()).as_bytes())
    }

    /// The attestation key of a service provider.
    #[must_use]
    pub fn attestation_key(&self, spid: &str) -> Option<&AttestationKey> {
        self.dsi.tee.teeaiklist.iter().find(|key| key.spid == spid)
    }
}

#[cfg(test)]
mod tests {
    use openssl::ec::{EcGroup, EcKey};
    use openssl::nid::Nid;

    use super::*;

    /// The sample of appendix A.1.1.2, without what is no certificate or key in it.
    const SAMPLE: &str = r#"{
        "tfwdata": { "tbs": "ezRGNDU0QTdGfQ==", "cert": "ZXg=", "sigalg": "RS256", "sig": "c2k=" },
        "tee": {
            "name": "Primary TEE", "ver": "1.0", "cert": "c2FtcGxl",
            "cacert": ["c2FtcGxlIENBIGNlcnRpZmljYXRlIDE=", "c2FtcGxlIENBIGNlcnRpZmljYXRlIDI="],
            "sdlist": { "cnt": "1", "sd": [ {
                "name": "default.acmebank.com", "spid": "acmebank.com",
                "talist": [
                    { "taid": "acmebank.secure.banking", "taname": "Acme secure banking app" },
                    { "taid": "acmebank.loyalty.rewards", "taname": "Acme loyalty rewards app" }
                ] } ] },
            "teeaiklist": [ { "spaik": "c2FtcGxl", "spaiktype": "RSA", "spid": "acmebank.com" } ]
        } }"#;

    #[test]
    fn the_sample_of_the_draft_is_read() {
        let dsi: Dsi = serde_json::from_str(SAMPLE).unwrap();
        assert_eq!(dsi.tee.sdlist.sd[0].talist[1].taid, "acmebank.loyalty.rewards");
        assert_eq!(dsi.tee.generation, None);
        let numbered = SAMPLE.replace(r#""cnt": "1""#, r#""cnt": 1"#);
        assert_eq!(serde_json::from_str::<Dsi>(&numbered).unwrap(), dsi);
    }

    #[test]
    fn attestation_keys_are_what_their_type_says() {
        let rsa = |bits| Rsa::generate(bits).unwrap();
        let elliptic = |curve| {
            let group = EcGroup::from_curve_name(curve).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        };
        let (weak, strong) = (rsa(1024), rsa(2048));
        let pkcs1 = strong.public_key_to_der_pkcs1().unwrap();
        let p256 = elliptic(Nid::X9_62_PRIME256V1).public_key_to_der().unwrap();
        let longer = |der: &[u8]| [der, b"x"].concat();
        let rows = [
            ("RSA", pkcs1.clone(), true),
            ("ECC", p256.clone(), true),
            ("RSA", strong.public_key_to_der().unwrap(), false),
            ("RSA", weak.public_key_to_der_pkcs1().unwrap(), false),
            ("ECC", elliptic(Nid::SECP384R1).public_key_to_der().unwrap(), false),
            ("RSA", p256.clone(), false),
            ("ECC", pkcs1.clone(), false),
            ("ECC", strong.public_key_to_der().unwrap(), false),
            ("DSA", p256.clone(), false),
            ("RSA", longer(&pkcs1), false),
            ("ECC", longer(&p256), false),
            ("ECC", Vec::new(), false),
        ];
        for (number, (key_type, der, accepted)) in rows.into_iter().enumerate() {
            let key = attestation_key(key_type, &base64(&der));
            assert_eq!(key.is_some(), accepted, "row {number}");
        }
        assert!(attestation_key("ECC", "no base64").is_none());
    }

    #[test]
    fn each_defect_is_refused() {
        for (from, to) in [
            (r#""cnt": "1""#, r#""cnt": "2""#),
            (r#""cnt": "1""#, r#""cnt": "01""#),
            (r#""ver": "1.0","#, ""),
            (r#""ver": "1.0","#, r#""ver": "1.0", "ver": "1.0","#),
            (r#""ver": "1.0","#, r#""ver": "1.0", "colour": "red","#),
            (r#""spid": "acmebank.com","#, ""),
            (r#""cacert": ["#, r#""cacert": [7, "#),
        ] {
            let text = SAMPLE.replacen(from, to, 1);
            assert_ne!(text, SAMPLE);
            assert!(serde_json::from_str::<Dsi>(&text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Dsi>(&(String::from(SAMPLE) + "x")).is_err());
        // The sample's certificates are no certificates.
        assert!(DeviceState::read(format!(r#"{{"dsi":{SAMPLE}}}"#).as_bytes()).is_err());
    }
}
