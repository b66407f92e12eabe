//! A PKI made with OpenSSL only, and the files of a configuration that name it.

use std::path::{Path, PathBuf};
use std::process::Command;

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, PKeyRef, Private, Public};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use otrp_tam::Identity;

use super::TAM_ID;
use super::device::Device;

pub fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub fn new_rsa_key(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

pub fn public_half(key: &PKeyRef<Private>) -> PKey<Public> {
    PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap()
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Holder {
    pub key: PKey<Private>,
    pub certificate: X509,
}

/// The contents of a certificate.
pub struct Profile<'a> {
    pub name: &'a str,
    pub is_ca: bool,
    pub uri: Option<&'a str>,
    pub days: (i64, i64),
}

impl<'a> Profile<'a> {
    pub fn ca(name: &'a str) -> Self {
        Self { name, is_ca: true, uri: None, days: (-1, 365) }
    }

    pub fn leaf(name: &'a str) -> Self {
        Self { name, is_ca: false, uri: None, days: (-1, 365) }
    }
}

pub fn issue(profile: &Profile<'_>, key: PKey<Private>, issuer: Option<&Holder>) -> Holder {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", profile.name).unwrap();
    let name = name.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, openssl::bn::MsbOption::ONE, false).unwrap();
    let day = |days: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Asn1Time::from_unix(i64::try_from(now.as_secs()).unwrap() + days * 86_400).unwrap()
    };
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    let issuer_name = issuer.map_or(&*name, |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    builder.set_not_before(&day(profile.days.0)).unwrap();
    builder.set_not_after(&day(profile.days.1)).unwrap();
    builder.set_pubkey(&key).unwrap();
    let mut constraints = BasicConstraints::new();
    let mut usage = KeyUsage::new();
    if profile.is_ca {
        constraints.ca();
        usage.key_cert_sign();
    } else {
        usage.digital_signature();
        match key.id() {
            Id::RSA => usage.key_encipherment(),
            _ => usage.key_agreement(),
        };
    }
    builder.append_extension(constraints.critical().build().unwrap()).unwrap();
    builder.append_extension(usage.critical().build().unwrap()).unwrap();
    if let Some(uri) = profile.uri {
        let context = builder.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().uri(uri).build(&context).unwrap();
        builder.append_extension(names).unwrap();
    }
    let signer = issuer.map_or(&key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    Holder { certificate: builder.build(), key }
}

/// The order of P-256, and of P-384 (SEC 2, sections 2.4.2 and 2.5.1).
pub const P256_ORDER: &str = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
pub const P384_ORDER: &str = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF\
                              581A0DB248B0A77AECEC196ACCC52973";

/// The certificate with its ECDSA signature in the other form, (r, n - s): as valid, and made by
/// whoever has the certificate. `order` is that of the issuer's curve.
pub fn other_form(holder: &Holder, issuer: &Holder, order: &str) -> Holder {
    let der = holder.certificate.to_der().unwrap();
    let signature = holder.certificate.signature().as_slice();
    let old = EcdsaSig::from_der(signature).unwrap();
    let s = &BigNum::from_hex_str(order).unwrap() - old.s();
    let new = EcdsaSig::from_private_components(old.r().to_owned().unwrap(), s).unwrap();
    let new = new.to_der().unwrap();
    // SEQUENCE { tbsCertificate, algorithm, BIT STRING }, the lengths of the first in two octets.
    let signed = &der[4..der.len() - signature.len() - 3];
    let bits = [&[3, u8::try_from(new.len() + 1).unwrap(), 0][..], &new].concat();
    let length = u16::try_from(signed.len() + bits.len()).unwrap().to_be_bytes();
    let der = [&[0x30, 0x82], &length[..], signed, &bits].concat();
    let certificate = X509::from_der(&der).unwrap();
    assert!(certificate.verify(&issuer.key).unwrap());
    Holder { certificate, key: holder.key.clone() }
}

pub struct Pki {
    pub tam_root: Holder,
    pub tam: Holder,
    pub tee_root: Holder,
    pub tee_ca: Holder,
    pub sp: Holder,
}

impl Pki {
    pub fn new() -> Self {
        let tam_root = issue(&Profile::ca("test TAM root"), new_key(), None);
        let leaf = Profile { uri: Some(TAM_ID), ..Profile::leaf("test TAM") };
        let tam = issue(&leaf, new_key(), Some(&tam_root));
        let tee_root = issue(&Profile::ca("test TEE root"), new_key(), None);
        let tee_ca = issue(&Profile::ca("test TEE CA"), new_key(), Some(&tee_root));
        let sp = issue(&Profile::leaf("test SP"), new_key(), None);
        Self { tam_root, tam, tee_root, tee_ca, sp }
    }

    pub fn identity(&self) -> Identity {
        self.identity_of(&self.tam)
    }

    /// The same TAM with an RSA key.
    pub fn rsa_tam(&self) -> Holder {
        let leaf = Profile { uri: Some(TAM_ID), ..Profile::leaf("test TAM") };
        issue(&leaf, new_rsa_key(2048), Some(&self.tam_root))
    }

    pub fn identity_of(&self, tam: &Holder) -> Identity {
        let chain = vec![tam.certificate.clone(), self.tam_root.certificate.clone()];
        Identity::new(tam.key.clone(), chain, None).unwrap()
    }

    pub fn device(&self) -> Device {
        self.device_with(new_key())
    }

    pub fn device_with(&self, key: PKey<Private>) -> Device {
        Device::new(self.certify(key), &self.tee_ca)
    }

    pub fn certify(&self, key: PKey<Private>) -> Holder {
        issue(&Profile::leaf("test TEE"), key, Some(&self.tee_ca))
    }

    /// Writes what a configuration names, and gives back its section `[tam]`.
    pub fn write(&self, folder: &Path) -> String {
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.join(name), bytes).unwrap();
        write("tam.key.pem", self.tam.key.private_key_to_pem_pkcs8().unwrap());
        let mut chain = self.tam.certificate.to_pem().unwrap();
        chain.extend(self.tam_root.certificate.to_pem().unwrap());
        write("tam.chain.pem", chain);
        write("tam.ocsp", self.ocsp(&self.tam, false));
        write("tee-root.der", self.tee_root.certificate.to_der().unwrap());
        write("sp.der", self.sp.certificate.to_der().unwrap());
        String::from(
            "[tam]\nkey = 'tam.key.pem'\nchain = 'tam.chain.pem'\ntee_roots = ['tee-root.der']\n\
             ocsp = ['tam.ocsp']\n",
        )
    }

    /// Has OpenSSL answer as the TAM's root that a certificate of it is good, or revoked, for ten
    /// hours.
    pub fn ocsp(&self, subject: &Holder, revoked: bool) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.join(name), bytes).unwrap();
        write("root.pem", self.tam_root.certificate.to_pem().unwrap());
        write("root.key.pem", self.tam_root.key.private_key_to_pem_pkcs8().unwrap());
        write("subject.pem", subject.certificate.to_pem().unwrap());
        let serial = subject.certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap();
        let status = if revoked { "R\t351231235959Z\t250101000000Z" } else { "V\t351231235959Z\t" };
        write("index.txt", format!("{status}\t{serial}\tunknown\t/CN=TAM\n").into_bytes());
        for arguments in [
            "-issuer root.pem -cert subject.pem -no_nonce -reqout request.der",
            "-index index.txt -CA root.pem -rsigner root.pem -rkey root.key.pem -nmin 600 \
             -reqin request.der -respout response.der",
        ] {
            let output = Command::new("openssl")
                .current_dir(folder)
                .arg("ocsp")
                .args(arguments.split_whitespace())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        std::fs::read(folder.join("response.der")).unwrap()
    }

    /// An image of the service provider.
    pub fn image(&self, uuid: u8, version: u32, code: &[u8]) -> Vec<u8> {
        image(&self.sp.key, uuid, version, code)
    }

    pub fn write_image(&self, folder: &Path, name: &str, version: u32) -> PathBuf {
        let path = folder.join(name);
        let code = format!("code of version {version}");
        std::fs::write(&path, self.image(0x72, version, code.as_bytes())).unwrap();
        path
    }
}

/// An image as OP-TEE lays it out, signed by a key on P-256; its UUID is one octet sixteen times.
pub fn image(signer: &PKeyRef<Private>, uuid: u8, version: u32, contents: &[u8]) -> Vec<u8> {
    let code = &otrp_check::fixture::application([uuid; 16], contents)[..];
    let mut fixed = Vec::new();
    for word in [0x4f54_5348, 1, u32::try_from(code.len()).unwrap(), 0x7000_3042] {
        fixed.extend(word.to_le_bytes());
    }
    fixed.extend([32, 0, 64, 0]);
    let behind = [&[uuid; 16][..], &version.to_le_bytes(), code].concat();
    let digest = sha256(&[&fixed[..], &behind].concat());
    let signature = EcdsaSig::sign(&digest, &signer.ec_key().unwrap()).unwrap();
    let halves = [signature.r(), signature.s()].map(|half| half.to_vec_padded(32).unwrap());
    [&fixed[..], &digest, &halves.concat(), &behind].concat()
}
