//! `otrp-tam check` reports everything that a device would refuse, with file and rule.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Holder, Pki, Profile, TAM_ID, image, issue, new_key};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use otrp_tam::check;
use otrp_tam::desired::Configuration;

struct Scene {
    pki: Pki,
    folder: tempfile::TempDir,
    section: String,
}

impl Scene {
    fn new() -> Self {
        let pki = Pki::new();
        let folder = tempfile::tempdir().unwrap();
        let section = pki.write(folder.path());
        pki.write_image(folder.path(), "v1.ta", 1);
        Self { pki, folder, section }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    fn findings(&self, text: &str) -> check::Findings {
        self.write("desired.toml", text);
        let path = self.folder.path().join("desired.toml");
        let configuration = Configuration::read(&path).unwrap();
        check::configuration(&configuration, otrp_tam::log::now())
    }

    /// The section with another chain and key.
    fn section_of(&self, tam: &Holder, chain: &[&Holder]) -> String {
        self.write("other.key.pem", tam.key.private_key_to_pem_pkcs8().unwrap());
        let chain: Vec<u8> =
            chain.iter().flat_map(|holder| holder.certificate.to_pem().unwrap()).collect();
        self.write("other.chain.pem", chain);
        self.section.replace("tam.key.pem", "other.key.pem").replace("tam.chain", "other.chain")
    }
}

fn domain(applications: &[(&str, &str)]) -> String {
    let mut text = String::from("[[sd]]\nname = 'sd'\nspid = 'sp'\ncertificates = ['sp.der']\n");
    for (id, file) in applications {
        text += &format!("[[sd.ta]]\nid = '{id}'\nfile = '{file}'\n");
    }
    text
}

#[test]
fn each_mistake_in_the_desired_state_is_found() {
    let scene = Scene::new();
    let sp = &scene.pki.sp.key;
    let whole = image(sp, 0x72, 1, b"code");
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    scene.write("damaged.ta", damaged);
    scene.write("stranger.ta", image(&new_key(), 0x72, 1, b"code"));
    let mut odd = whole.clone();
    odd[12] ^= 1;
    scene.write("odd.ta", odd);
    let authority = issue(&Profile::ca("an authority"), new_key(), None);
    scene.write("ca.der", authority.certificate.to_der().unwrap());
    let many: Vec<String> =
        (0..33).map(|n| domain(&[]).replace("'sd'", &format!("'sd{n}'"))).collect();
    let rows = [
        (domain(&[("ta", "damaged.ta")]), "damaged.ta of the TA ta in sd: its digest"),
        (domain(&[("ta", "stranger.ta")]), "stranger.ta of the TA ta in sd: it is not signed by"),
        (domain(&[("ta", "odd.ta")]), "an algorithm that devices do not know"),
        (
            domain(&[("one", "v1.ta"), ("two", "v1.ta")]),
            "v1.ta of the TA two in sd: it has the UUID",
        ),
        (
            // One name for two providers.
            [domain(&[("ta", "v1.ta")]), domain(&[("ta", "v1.ta")]).replace("'sp'", "'other'")]
                .concat(),
            "v1.ta of the TA ta in sd: it has the UUID",
        ),
        (domain(&[]).replace("sp.der", "ca.der"), "\"an authority\" is not for signing code"),
        (many.concat(), "33 security domains are desired, and a device holds 32"),
    ];
    for (text, expected) in &rows {
        let findings = scene.findings(&format!("{}{text}", scene.section));
        assert!(findings.errors.iter().any(|error| error.contains(expected)), "{findings:?}");
    }
    // All of them are said, and not the first alone.
    let two = domain(&[("one", "damaged.ta"), ("two", "stranger.ta")]);
    let errors = scene.findings(&format!("{}{two}", scene.section)).errors;
    assert_eq!(errors.len(), 3, "{errors:?}");
    let good = scene.findings(&format!("{}{}", scene.section, domain(&[("ta", "v1.ta")])));
    assert_eq!(good, check::Findings::default());
    // The last version is possible, and a mistake in all likelihood.
    scene.write("last.ta", image(sp, 0x72, u32::MAX, b"code"));
    let last = scene.findings(&format!("{}{}", scene.section, domain(&[("ta", "last.ta")])));
    let expected = "last.ta of the TA ta in sd: version 4294967295 is the last one";
    assert!(last.warnings.iter().any(|warning| warning.contains(expected)), "{last:?}");
    assert!(last.errors.is_empty(), "{last:?}");
}

#[test]
fn each_mistake_in_certificates_and_responses_is_found() {
    let scene = Scene::new();
    let root = &scene.pki.tam_root;
    let tam = |profile: Profile<'static>| issue(&profile, new_key(), Some(root));
    let leaf = || Profile { uri: Some(TAM_ID), ..Profile::leaf("test TAM") };
    let expired = tam(Profile { days: (-9, -1), ..leaf() });
    let early = tam(Profile { days: (1, 9), ..leaf() });
    let ending = tam(Profile { days: (-9, 9), ..leaf() });
    let other_root = issue(&Profile::ca("another root"), new_key(), None);
    scene.write("tam-root.der", root.certificate.to_der().unwrap());
    scene.write("other-root.der", other_root.certificate.to_der().unwrap());
    scene.write("ending.ocsp", scene.pki.ocsp(&ending, false));
    scene.write("garbage.ocsp", b"garbage");
    scene.write("cert.ocsp", scene.pki.tam.certificate.to_pem().unwrap());
    let plain = &scene.section;
    let ocsp = |files: &str| plain.replace("['tam.ocsp']", files);
    let rows = [
        (ocsp("[]"), "`ocsp` of ", "there is no OCSP response for certificate 1 (\"test TAM\")"),
        (ocsp("['none.ocsp']"), "none.ocsp", "cannot read the OCSP response"),
        (ocsp("['garbage.ocsp']"), "garbage.ocsp", "in strict DER"),
        (ocsp("['cert.ocsp']"), "cert.ocsp", "cannot read the OCSP response"),
        (ocsp("['ending.ocsp']"), "ending.ocsp", "on another certificate"),
        (ocsp("['tam.ocsp', 'tam.ocsp']"), "tam.chain.pem", "there are 2 OCSP responses"),
        (format!("{plain}tam_roots = ['other-root.der']\n"), "tam.chain.pem", "\"another root\""),
        (scene.section_of(&expired, &[&expired, root]), "other.chain.pem", "has expired on"),
        (scene.section_of(&early, &[&early, root]), "other.chain.pem", "is not valid before"),
        (scene.section_of(&ending, &[&ending]), "other.chain.pem", "is not in the chain: add it"),
        (
            scene.section_of(&ending, &[&ending, &other_root]),
            "other.chain.pem",
            "the leaf comes first",
        ),
    ];
    for (text, file, expected) in rows {
        // The rows share the files of the other identity.
        if text.contains("other.key.pem") {
            let holder = match expected {
                "has expired on" => (&expired, vec![&expired, root]),
                "is not valid before" => (&early, vec![&early, root]),
                "the leaf comes first" => (&ending, vec![&ending, &other_root]),
                _ => (&ending, vec![&ending]),
            };
            scene.section_of(holder.0, &holder.1);
        }
        let findings = scene.findings(&text);
        let found = |error: &String| error.contains(expected) && error.contains(file);
        assert!(findings.errors.iter().any(found), "{expected}: {findings:?}");
    }
    let text = scene.section_of(&ending, &[&ending]).replace("tam.ocsp", "ending.ocsp");
    let findings =
        scene.findings(&format!("{text}tam_roots = ['tam-root.der', 'other-root.der']\n"));
    assert!(findings.errors.is_empty(), "the root comes from those that are named: {findings:?}");
    assert!(findings.warnings[0].contains("have it renewed"), "{findings:?}");
    let over =
        issue(&Profile { days: (-9, -1), ..Profile::ca("an old TEE root") }, new_key(), None);
    scene.write("tee-root.der", over.certificate.to_der().unwrap());
    let findings = scene.findings(&scene.section);
    assert!(findings.errors.is_empty(), "{findings:?}");
    assert!(findings.warnings[0].contains("\"an old TEE root\" is valid from"), "{findings:?}");
}

fn pem(response: &[u8]) -> String {
    let text = openssl::base64::encode_block(response);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN OCSP RESPONSE-----\n{}\n-----END OCSP RESPONSE-----\n", lines.join("\n"))
}

#[test]
fn a_response_in_pem_is_read_as_one_in_der() {
    let scene = Scene::new();
    let response = scene.pki.ocsp(&scene.pki.tam, false);
    scene.write("tam.ocsp", format!("as a responder's log has it\n{}", pem(&response)));
    let findings = scene.findings(&scene.section);
    assert!(findings.errors.is_empty(), "{findings:?}");
}

#[test]
fn a_signer_that_is_listed_twice_is_found() {
    let scene = Scene::new();
    scene.write("same.pem", scene.pki.sp.certificate.to_pem().unwrap());
    let twice = domain(&[]).replace("['sp.der']", "['sp.der', 'same.pem']");
    scene.write("desired.toml", format!("{}{twice}", scene.section));
    let (code, _, errors) = run(scene.folder.path(), &["check", "--config", "desired.toml"]);
    assert_eq!(code, Some(1));
    let digest = hex::encode(openssl::sha::sha256(&scene.pki.sp.certificate.to_der().unwrap()));
    assert!(errors.contains("is listed twice"), "{errors}");
    assert!(errors.contains(&digest), "{errors}");
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_otrp-tam"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_and_serve_report_everything_and_refuse() {
    let scene = Scene::new();
    let folder = scene.folder.path();
    let wrong = scene.section.replace("['tam.ocsp']", "[]");
    scene.write("stranger.ta", image(&new_key(), 0x72, 1, b"code"));
    scene.write("desired.toml", format!("{wrong}{}", domain(&[("ta", "stranger.ta")])));
    for arguments in [
        &["check", "--config", "desired.toml"][..],
        &["serve", "--config", "desired.toml", "--listen", "127.0.0.1:0"],
    ] {
        let (code, out, errors) = run(folder, arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{errors}");
        assert_eq!(errors.lines().count(), 2, "{errors}");
        assert!(errors.lines().all(|line| line.starts_with("otrp-tam: ")), "{errors}");
    }
    // What is malformed is said with the rest that can be read.
    let broken =
        format!("{}{}", domain(&[("ta", "none.ta")]), domain(&[]).replace("sp.der", "none"));
    scene.write("desired.toml", format!("{}{broken}", scene.section));
    let (code, _, errors) = run(folder, &["check", "--config", "desired.toml"]);
    assert_eq!((code, errors.lines().count()), (Some(1), 3), "{errors}");

    scene.write("desired.toml", format!("{}{}", scene.section, domain(&[("ta", "v1.ta")])));
    let (code, out, errors) = run(folder, &["check", "--config", "desired.toml"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(out.contains("1 security domains, 1 TAs"), "{out}");
}

/// What devices do not accept of a root, the TAM does not either: nobody below it would be served.
#[test]
fn a_root_that_devices_do_not_accept_causes_a_warning() {
    let scene = Scene::new();
    let curve = |curve| {
        let group = EcGroup::from_curve_name(curve).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    };
    for (key, expected) in [
        (curve(Nid::SECP384R1), None),
        (curve(Nid::SECP521R1), Some("\"a root\" has a key by which devices accept no signature")),
        (curve(Nid::SECP256K1), Some("\"a root\" has a key by which devices accept no signature")),
    ] {
        let root = issue(&Profile::ca("a root"), key, None).certificate;
        scene.write("tee-root.der", root.to_der().unwrap());
        let warnings = scene.findings(&scene.section).warnings;
        match expected {
            Some(expected) => assert!(warnings[0].contains(expected), "{warnings:?}"),
            None => assert!(warnings.is_empty(), "{warnings:?}"),
        }
    }
}
