//! What a broker's build takes and refuses, with certificates that the `openssl` program made.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use otrp_trust::{Build, Error, Folder};
use otrp_wire::limits::ANCHOR_LIMIT;
use tempfile::TempDir;

const DEVELOPMENT: &str = "/O=OTrP development PKI (not for production)/CN=root";
const PRODUCT: &str = "/O=Example/CN=Example root";
const NOW: u64 = 1_800_000_000;

/// A self-signed certificate in DER.
fn root(folder: &Path, file: &str, subject: &str) {
    openssl(
        folder,
        &format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key \
             -subj '{subject}' -outform DER -out {file}"
        ),
    );
}

fn openssl(folder: &Path, script: &str) {
    let output = Command::new("sh").current_dir(folder).args(["-euc", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A folder with two TAM roots and a TEE root of these subjects.
fn folder([first, second, tee]: [&str; 3]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tam-roots")).unwrap();
    root(folder.path(), "tam-roots/a.der", first);
    root(folder.path(), "tam-roots/b.der", second);
    root(folder.path(), "tee-root.der", tee);
    folder
}

fn read(folder: &Path, variables: &[(&str, &str)]) -> Result<String, Error> {
    let mut environment: HashMap<_, _> = variables.iter().copied().collect();
    environment.insert("OTRP_TRUST_DIR", folder.to_str().unwrap());
    let variable = |name: &str| environment.get(name).map(|text| (*text).to_owned());
    Build::read(variable, NOW).map(|build| build.source())
}

#[test]
fn development_anchors_are_refused_by_name() {
    for (subjects, refused) in [
        ([DEVELOPMENT, PRODUCT, PRODUCT], &["tam-roots/a.der"][..]),
        ([PRODUCT, DEVELOPMENT, PRODUCT], &["tam-roots/b.der"]),
        ([PRODUCT, PRODUCT, DEVELOPMENT], &["tee-root.der"]),
        ([DEVELOPMENT; 3], &["tam-roots/a.der", "tam-roots/b.der", "tee-root.der"]),
    ] {
        let folder = folder(subjects);
        let paths: Vec<_> =
            refused.iter().map(|file| folder.path().join(file).display().to_string()).collect();
        for allowance in [None, Some(""), Some("0"), Some("yes"), Some("true"), Some("11")] {
            let variables: Vec<_> =
                allowance.map(|text| ("ALLOW_DEV_KEYS", text)).into_iter().collect();
            let message = read(folder.path(), &variables).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("development anchors: {}. ", paths.join(", "))),
                "{allowance:?}: {message}"
            );
            for remedy in ["OTRP_TRUST_DIR", "keys/CEREMONY.md", "ALLOW_DEV_KEYS=1"] {
                assert!(message.contains(remedy), "{message}");
            }
        }
        let source = read(folder.path(), &[("ALLOW_DEV_KEYS", "1")]).unwrap();
        assert!(source.contains("development: true,"), "{source}");
    }
}

/// An authority of a development PKI is as open as its root.
#[test]
fn what_a_development_root_has_issued_is_refused() {
    let folder = folder([PRODUCT; 3]);
    read(folder.path(), &[]).unwrap();
    root(folder.path(), "root.der", DEVELOPMENT);
    let issue = format!(
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other \
             -subj '{PRODUCT}' -out request
         openssl x509 -req -in request -CA root.der -CAform DER -CAkey key -outform DER \
             -out tam-roots/b.der"
    );
    openssl(folder.path(), &issue);
    let message = read(folder.path(), &[]).unwrap_err().to_string();
    assert!(message.contains("tam-roots/b.der"), "{message}");
}

#[test]
fn the_source_has_the_anchors_and_choices_and_no_place() {
    let folder = folder([PRODUCT; 3]);
    let octets = |file: &str| format!("{:?}", fs::read(folder.path().join(file)).unwrap());
    let plain = read(folder.path(), &[]).unwrap();
    for expected in [
        format!(
            "        otrp_engine::trust::Anchor {{ certificate: &{}, names: &[] }},
        otrp_engine::trust::Anchor {{ certificate: &{}, names: &[] }},
    ],
",
            octets("tam-roots/a.der"),
            octets("tam-roots/b.der")
        ),
        format!("tee_anchor: &{},", octets("tee-root.der")),
        "evicted: &[],\n    reserved: &[],\n    floor_epoch: 0,".to_owned(),
        "development: false,".to_owned(),
        "tee_name: \"optee\",".to_owned(),
        "rsa1_5: true,".to_owned(),
        format!("built_at: {NOW},"),
        "KeyType::P256;".to_owned(),
    ] {
        assert!(plain.contains(&expected), "{expected} is not in {plain}");
    }
    assert!(!plain.contains(folder.path().to_str().unwrap()));

    for (variable, text, expected) in [
        ("OTRP_TEE_NAME", "acme \"1\"", "tee_name: \"acme \\\"1\\\"\","),
        ("OTRP_RSA1_5", "on", "rsa1_5: true,"),
        ("OTRP_RSA1_5", "off", "rsa1_5: false,"),
        ("OTRP_RSA1_5", "", "rsa1_5: true,"),
        ("OTRP_KEY_TYPE", "rsa", "KeyType::Rsa2048;"),
        ("OTRP_KEY_TYPE", "p256", "KeyType::P256;"),
        ("SOURCE_DATE_EPOCH", "1700000000", "built_at: 1700000000,"),
    ] {
        let source = read(folder.path(), &[(variable, text)]).unwrap();
        assert!(source.contains(expected), "{variable}={text}: {source}");
    }
}

/// Writes a file into a folder of anchors.
fn write(folder: &TempDir, file: &str, text: impl AsRef<[u8]>) {
    fs::write(folder.path().join(file), text).unwrap();
}

#[test]
fn lists_are_compiled_in() {
    let folder = folder([PRODUCT; 3]);
    // As an editor on Windows writes it.
    let names = "\u{feff}# The operator's names\r\n\r\n  uri:HTTPS://TAM.Example/Otrp/ \r\n\
                 dns:TAM.example\r\ndns:*.tam.example\r\noid:1.3.6.1.4.1.99999\r\nuri:urn:a";
    write(&folder, "tam-roots/b.ids", names);
    let digest = "0123456789abcdef".repeat(4);
    let colons: Vec<_> =
        digest.as_bytes().chunks(2).map(|it| str::from_utf8(it).unwrap()).collect();
    let evicted = format!(
        "https://Gone.example/x#y\n1.2.3\nroot:{digest}\nroot: {}\n",
        colons.join(":").to_uppercase()
    );
    write(&folder, "evicted.txt", evicted);
    write(&folder, "reserved.txt", "7265664a-F108-4bd7-af1c-86d044babbac\n");
    write(&folder, "floor-epoch.txt", "7\n");
    let source = read(folder.path(), &[]).unwrap();
    let octets = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef].repeat(4);
    for expected in [
        "names: &[] },\n".to_owned(),
        "names: &[otrp_engine::trust::NamePattern::Uri(\"https://tam.example/Otrp/\"), \
         otrp_engine::trust::NamePattern::Dns(\"tam.example\"), \
         otrp_engine::trust::NamePattern::DnsBelow(\"tam.example\"), \
         otrp_engine::trust::NamePattern::Oid(\"1.3.6.1.4.1.99999\"), \
         otrp_engine::trust::NamePattern::Uri(\"urn:a\")] },\n"
            .to_owned(),
        format!(
            "evicted: &[otrp_engine::trust::Evicted::Tam(\"https://gone.example/x#y\"), \
             otrp_engine::trust::Evicted::Tam(\"1.2.3\"), \
             otrp_engine::trust::Evicted::Root({octets:?}), \
             otrp_engine::trust::Evicted::Root({octets:?})],"
        ),
        format!(
            "reserved: &[{:?}],",
            [
                0x72, 0x65, 0x66, 0x4a, 0xf1, 0x08, 0x4b, 0xd7, 0xaf, 0x1c, 0x86, 0xd0, 0x44, 0xba,
                0xbb, 0xac
            ]
        ),
        "floor_epoch: 7,".to_owned(),
    ] {
        assert!(source.contains(&expected), "{expected} is not in {source}");
    }
}

#[test]
fn mistakes_in_lists_are_named_with_their_lines() {
    let long = "x".repeat(129);
    let uri = "uri: is followed by a URI with a host";
    let dns = "dns: is followed by a name";
    let oid = "oid: is followed by an object identifier";
    let root = "root: is followed by the 64 hexadecimal digits";
    let alone = "a TAM's identifier stands alone";
    let one = "a line is one TAM's identifier";
    let uuid = "not a UUID like";
    let number = "one whole number from 0 to 4294967295";
    let none = "no TAM has such an identifier";
    let digest = "root: must be followed by the SHA-256 of a root's certificate";
    for (file, line, expected) in [
        ("tam-roots/a.ids", "https://tam.example/", "a line begins with uri:, dns: or oid:"),
        ("tam-roots/a.ids", "URI:https://tam.example/", "a line begins with uri:, dns: or oid:"),
        ("tam-roots/a.ids", "uri:", uri),
        ("tam-roots/a.ids", "uri:tam.example", uri),
        ("tam-roots/a.ids", "uri:https:", uri),
        ("tam-roots/a.ids", "uri:https:/", uri),
        ("tam-roots/a.ids", "uri:https://", uri),
        ("tam-roots/a.ids", "uri:https:///otrp", uri),
        ("tam-roots/a.ids", "uri:https://user@/otrp", uri),
        ("tam-roots/a.ids", "uri:1://tam.example", uri),
        ("tam-roots/a.ids", "uri: https://tam.example", uri),
        ("tam-roots/a.ids", "uri:https://tam.example # ours", uri),
        ("tam-roots/a.ids", "dns:", dns),
        ("tam-roots/a.ids", "dns:*", dns),
        ("tam-roots/a.ids", "dns:*.", dns),
        ("tam-roots/a.ids", "dns:*.*.example", dns),
        ("tam-roots/a.ids", "dns:a*.example", dns),
        ("tam-roots/a.ids", "dns:.example", dns),
        ("tam-roots/a.ids", "dns:tam.example.", dns),
        ("tam-roots/a.ids", "dns:tam..example", dns),
        ("tam-roots/a.ids", "dns:-tam.example", dns),
        ("tam-roots/a.ids", "dns:1.2.3", dns),
        ("tam-roots/a.ids", "dns:https://tam.example", dns),
        ("tam-roots/a.ids", "oid:", oid),
        ("tam-roots/a.ids", "oid:1", oid),
        ("tam-roots/a.ids", "oid:1.", oid),
        ("tam-roots/a.ids", "oid:1..3", oid),
        ("tam-roots/a.ids", "oid:1.03", oid),
        ("tam-roots/a.ids", "oid:3.1", oid),
        ("tam-roots/a.ids", "oid:1.3.*", oid),
        ("tam-roots/a.ids", &format!("uri:https://{long}"), none),
        ("evicted.txt", "uri:https://tam.example", alone),
        ("evicted.txt", "dns:tam.example", alone),
        ("evicted.txt", "*.example", one),
        ("evicted.txt", "tam.example other.example", one),
        ("evicted.txt", "URI:https://tam.example", alone),
        ("evicted.txt", &"0a".repeat(32), digest),
        ("evicted.txt", &["0A"; 32].join(":"), digest),
        ("evicted.txt", "root:", root),
        ("evicted.txt", "ROOT:01", root),
        ("evicted.txt", "root:01", root),
        ("evicted.txt", &format!("root:{}", "0g".repeat(32)), root),
        ("evicted.txt", &format!("root:{}", "00".repeat(33)), root),
        ("evicted.txt", &long, none),
        ("evicted.txt", "\"", none),
        ("reserved.txt", "7265664a", uuid),
        ("reserved.txt", "7265664af1084bd7af1c86d044babbac", uuid),
        ("reserved.txt", "7265664a-f108-4bd7-af1c-86d044babbag", uuid),
        ("reserved.txt", "7265664a-f108-4bd7-af1c-86d044babba", uuid),
        ("reserved.txt", "{7265664a-f108-4bd7-af1c-86d044babbac}", uuid),
        ("floor-epoch.txt", "-1", number),
        ("floor-epoch.txt", "+1", number),
        ("floor-epoch.txt", "4294967296", number),
        ("floor-epoch.txt", "one", number),
        ("floor-epoch.txt", "1\n2", number),
    ] {
        let folder = folder([PRODUCT; 3]);
        write(&folder, file, format!("# a comment\n\n{line}\n"));
        let message = read(folder.path(), &[]).unwrap_err().to_string();
        let number = if line.contains('\n') { 4 } else { 3 };
        let place = format!("{}, line {number}: {expected}", folder.path().join(file).display());
        assert!(message.starts_with(&place), "{line:?}: {message}");
    }
    for (file, text, expected) in [
        ("tam-roots/a.ids", &b"# nobody\n"[..], ", line 1: no name: a root"),
        ("floor-epoch.txt", b"", ", line 1: one whole number"),
        ("evicted.txt", b"\xff", "stream did not contain valid UTF-8"),
        ("tam-roots/c.ids", b"dns:tam.example", " is for no root: there is no "),
    ] {
        let folder = folder([PRODUCT; 3]);
        write(&folder, file, text);
        let message = read(folder.path(), &[]).unwrap_err().to_string();
        assert!(message.contains(file) && message.contains(expected), "{message}");
    }
}

/// Without its list a root speaks for everybody, and nothing is evicted: a link to nothing is not that.
#[test]
fn a_list_that_is_a_link_is_read_or_refused() {
    let folder = folder([PRODUCT; 3]);
    let text = |file: &str| match file {
        "tam-roots/a.ids" => "dns:tam.example",
        "evicted.txt" => "gone.example",
        "reserved.txt" => "7265664a-f108-4bd7-af1c-86d044babbac",
        _ => "7",
    };
    let plain = read(folder.path(), &[]).unwrap();
    for file in ["tam-roots/a.ids", "evicted.txt", "reserved.txt", "floor-epoch.txt"] {
        let (path, target) = (folder.path().join(file), folder.path().join("elsewhere"));
        symlink(&target, &path).unwrap();
        let message = read(folder.path(), &[]).unwrap_err().to_string();
        assert!(message.starts_with(&format!("cannot read {}: ", path.display())), "{message}");
        fs::write(&target, text(file)).unwrap();
        assert_ne!(read(folder.path(), &[]).unwrap(), plain, "{file}");
        fs::remove_file(path).unwrap();
        fs::remove_file(target).unwrap();
    }
}

#[test]
fn a_root_that_is_trusted_cannot_be_evicted() {
    let folder = folder([PRODUCT; 3]);
    let print = "openssl dgst -sha256 -r tam-roots/b.der | sed 's/ .*//; s/^/root:/' >evicted.txt";
    openssl(folder.path(), print);
    let message = read(folder.path(), &[]).unwrap_err().to_string();
    assert!(message.contains("evicted.txt, line 1: this root is in tam-roots"), "{message}");
    fs::remove_file(folder.path().join("tam-roots/b.der")).unwrap();
    assert!(read(folder.path(), &[]).unwrap().contains("Evicted::Root(["));
}

#[test]
fn roots_are_limited() {
    let folder = folder([PRODUCT; 3]);
    for number in 2..=ANCHOR_LIMIT {
        assert!(read(folder.path(), &[]).is_ok(), "{number} roots");
        let copy = folder.path().join(format!("tam-roots/{number}.der"));
        fs::copy(folder.path().join("tam-roots/a.der"), copy).unwrap();
    }
    let message = read(folder.path(), &[]).unwrap_err().to_string();
    let expected = format!("a device can have {ANCHOR_LIMIT} roots of TAMs");
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn what_may_be_a_mistake_is_warned_of() {
    let folder = folder([PRODUCT; 3]);
    fs::remove_file(folder.path().join("key")).unwrap();
    let warnings = || Folder::read(folder.path()).unwrap().warnings();
    let everybody = |root: &str| {
        let path = folder.path().join("tam-roots").join(root);
        format!(
            "{}.der speaks for every TAM, those of the other roots too: list its names in {0}.ids",
            path.display()
        )
    };
    assert_eq!(warnings(), [everybody("a"), everybody("b")]);
    write(&folder, "tam-roots/a.ids", "dns:a.example");
    assert_eq!(warnings(), [everybody("b")]);
    write(&folder, "tam-roots/b.ids", "dns:b.example");
    assert!(warnings().is_empty());
    // Alone, a root has nobody to speak for in another's place.
    for file in ["a.ids", "b.ids", "b.der"] {
        fs::remove_file(folder.path().join("tam-roots").join(file)).unwrap();
    }
    assert!(warnings().is_empty());
    for file in ["evict.txt", "tam-roots/a.pem"] {
        write(&folder, file, "");
        let warning = warnings().pop().unwrap();
        assert!(warning.contains(file) && warning.contains("is not read"), "{warning}");
        fs::remove_file(folder.path().join(file)).unwrap();
    }
}

#[test]
fn what_is_missing_or_misspelt_is_named() {
    let complete = folder([PRODUCT; 3]);
    for (variable, text, expected) in [
        ("OTRP_KEY_TYPE", "p384", "OTRP_KEY_TYPE=p384 is neither p256 nor rsa"),
        ("OTRP_RSA1_5", "no", "OTRP_RSA1_5=no is neither on nor off"),
        ("SOURCE_DATE_EPOCH", "today", "SOURCE_DATE_EPOCH=today is no number"),
        ("SOURCE_DATE_EPOCH", "-1", "SOURCE_DATE_EPOCH=-1 is no number"),
    ] {
        let message = read(complete.path(), &[(variable, text)]).unwrap_err().to_string();
        assert_eq!(message, expected);
    }

    let message = Build::read(|_| None, NOW).unwrap_err().to_string();
    assert!(message.starts_with("set OTRP_TRUST_DIR to the folder"), "{message}");
    for (removed, expected) in [
        ("tee-root.der", "cannot read "),
        ("tam-roots/*.der", "no .der file in "),
        ("tam-roots", "cannot read "),
    ] {
        let folder = folder([PRODUCT; 3]);
        openssl(folder.path(), &format!("rm -r {removed}"));
        let message = read(folder.path(), &[]).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
}
