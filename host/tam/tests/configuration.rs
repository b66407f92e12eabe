//! The configuration: mistakes are reported in sentences, and changes are followed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::harness::{DOMAIN, Server, with_ta};
use common::{Profile, issue, new_key, new_rsa_key};
use otrp_tam::configured::Configured;

#[test]
fn configurations_with_mistakes_are_refused_in_a_sentence() {
    let server = Server::start(DOMAIN);
    let path = server.path("desired.toml");
    std::fs::write(
        server.path("long.ta"),
        server.pki.image(0x72, 1, &vec![7; otrp_check::image::ELF_LIMIT]),
    )
    .unwrap();
    let mut foreign = server.pki.image(0x72, 1, b"");
    foreign[20 + 32 + 64 + 20 + 18] = 62;
    std::fs::write(server.path("x86.ta"), foreign).unwrap();
    let mut broker = server.pki.image(0x72, 1, b"");
    broker[116..132].copy_from_slice(&hex::decode("9e043ec01043415e853d690a6d341054").unwrap());
    std::fs::write(server.path("broker.ta"), broker).unwrap();
    let long = "x".repeat(65);
    let rows = [
        ("[[sd]]\nname = 'sd'\n", "malformed"),
        ("colour = 'red'\n", "malformed"),
        (&DOMAIN.replace("['sp.der']", "[]"), "1 to 4 certificates"),
        (&DOMAIN.replace("sp.der", "none.der"), "none.der"),
        (&DOMAIN.replace("sp.der", "v1.ta"), "and a certificate is wanted"),
        (&DOMAIN.replace("'sd'", &format!("'{long}'")), "1 to 64 bytes"),
        (&DOMAIN.replace("'sd'", "\"a\\\\b\""), "backslashes"),
        (&format!("{DOMAIN}{DOMAIN}"), "twice"),
        (&with_ta("none.ta"), "none.ta"),
        (&with_ta("sp.der"), "sp.der"),
        (&with_ta("long.ta"), "a device takes up to 8388608"),
        (&with_ta("broker.ta"), "is that of the OTrP broker itself"),
        (&with_ta("x86.ta"), "it is for x86-64, and OP-TEE runs AArch64"),
        (&format!("{}{}", with_ta("v1.ta"), "[[sd.ta]]\nid = 'ta'\nfile = 'v2.ta'\n"), "twice"),
    ];
    for (domains, expected) in rows {
        server.configure(domains);
        let Err(error) = otrp_tam::desired::Configuration::read(&path) else { panic!("{domains}") };
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}

#[test]
fn mistakes_in_the_tams_section_are_refused_in_a_sentence() {
    let server = Server::start(DOMAIN);
    let path = server.path("desired.toml");
    let section = &server.tam_section;
    let alternative = "[tam.alternative]\nkey = 'other.key.pem'\nchain = 'other.chain.pem'\n";
    let same_type = issue(
        &Profile { uri: Some(common::TAM_ID), ..Profile::leaf("test TAM") },
        new_key(),
        Some(&server.pki.tam_root),
    );
    let other_tam = issue(
        &Profile { uri: Some("https://other.test"), ..Profile::leaf("other TAM") },
        new_rsa_key(2048),
        Some(&server.pki.tam_root),
    );
    let rows = [
        (&server.pki.rsa_tam(), format!("{section}{alternative}"), None),
        (&same_type, format!("{section}{alternative}"), Some("the same type as the first")),
        (&other_tam, format!("{section}{alternative}"), Some("is of another TAM")),
        (&same_type, format!("{section}key_management = 'RSA-OAEP-512'\n"), Some("`RSA-OAEP-256`")),
        (&same_type, format!("{section}key_management = ['A128GCM']\n"), Some("malformed")),
        (&same_type, format!("{section}content_encryption = 'A192GCM'\n"), Some("`A128GCM`")),
        (&same_type, format!("{section}content_encryption = 7\n"), Some("a list of names")),
        (&same_type, format!("{section}ta_encryption = ['A256GCM', 'ROT13']\n"), Some("`AESCBC`")),
        (&same_type, format!("{section}key_management = 'RSA1_5'\n"), None),
        (&same_type, format!("{section}retired = ['AAAA']\n"), Some("is neither the fingerprint")),
        (
            &same_type,
            format!("{section}retired = ['{}']\n", "g".repeat(64)),
            Some("is neither the fingerprint"),
        ),
        (&same_type, format!("{section}retired = ['{}']\n", "0a".repeat(32)), None),
    ];
    for (other, text, expected) in rows {
        server.write_alternative(other);
        std::fs::write(&path, &text).unwrap();
        match (otrp_tam::desired::Configuration::read(&path), expected) {
            (Ok(_), None) => {}
            (Err(error), Some(expected)) => {
                assert!(format!("{error:#}").contains(expected), "{error:#}");
            }
            (Ok(_), Some(expected)) => panic!("{text} is accepted, not: {expected}"),
            (Err(error), None) => panic!("{text}: {error:#}"),
        }
    }
}

#[test]
fn a_file_from_the_future_is_read_once() {
    let server = Server::start(DOMAIN);
    let path = server.path("desired.toml");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(100_000)).unwrap();
    // Until then another change could have the same times.
    std::thread::sleep(Duration::from_millis(2500));
    let configured = Configured::read(&path).unwrap();
    let first = configured.current();
    assert!(Arc::ptr_eq(&first, &configured.current()));
    // Nor is it read because a file is missing that was there.
    std::fs::rename(server.path("sp.der"), server.path("gone.der")).unwrap();
    assert!(Arc::ptr_eq(&first, &configured.current()));
    server.configure("");
    assert_eq!(configured.current().desired.domains.len(), 0);
}

#[test]
fn a_wrong_change_leaves_the_former_configuration() {
    let server = Server::start(DOMAIN);
    let configured = Configured::read(&server.path("desired.toml")).unwrap();
    let domains = || configured.current().desired.domains.len();
    for wrong in
        ["[[sd]]\nname = 'sd'\n", "[[sd", &with_ta("none.ta"), &format!("{DOMAIN}{DOMAIN}")]
    {
        server.configure(wrong);
        assert_eq!(domains(), 1, "{wrong}");
    }
    server.configure("");
    assert_eq!(domains(), 0);
    // A file that is named is followed like the file that names it.
    server.configure(&with_ta("v1.ta"));
    let image = || configured.current().desired.domains[0].applications[0].image.bytes.clone();
    let first = image();
    std::fs::write(server.path("v1.ta"), b"half of").unwrap();
    assert_eq!(image(), first);
    let second = server.pki.image(0x72, 3, b"changed");
    std::fs::write(server.path("v1.ta"), &second).unwrap();
    assert_eq!(image(), second);
    // So are the TAM's certificates: without those above its own no device would take it.
    let chain = || configured.current().tam.identity.chain().len();
    let whole = std::fs::read(server.path("tam.chain.pem")).unwrap();
    let length = chain();
    let text = String::from_utf8(whole.clone()).unwrap();
    let first = text.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    std::fs::write(server.path("tam.chain.pem"), first).unwrap();
    assert_eq!(chain(), length);
}
