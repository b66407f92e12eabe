//! Files as people have them: of the `openssl` program, of editors, and damaged.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test that panics has found something"
)]

use std::path::Path;
use std::process::Command;

use openssl::pkey::PKey;
use openssl::x509::X509;
use otrp_pem::{
    Error, Kind, certificates, has_private_key, items, private_key, public_key, request,
};

/// Found in the field: a chain of three with something before it.
const FIELD: [&[u8]; 4] = [
    include_bytes!("data/chain-blank-line.pem"),
    include_bytes!("data/chain-bom.pem"),
    include_bytes!("data/chain-comment.pem"),
    include_bytes!("data/chain-with-text.pem"),
];

fn sh(folder: &Path, script: &str) {
    let output =
        Command::new("sh").args(["-euc", script]).current_dir(folder).output().expect("sh");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What `openssl` makes of one key, its certificate, and a chain.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    sh(
        folder.path(),
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem \
            -subj /CN=one -days 30 -out one.pem
        openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa.pem -subj /CN=two -days 30 -out two.pem
        openssl x509 -in one.pem -outform DER -out one.der
        openssl x509 -in two.pem -outform DER -out two.der
        openssl pkey -in key.pem -outform DER -out key.der
        openssl pkey -in key.pem -pubout -out key.pub.pem
        openssl pkey -in key.pem -pubout -outform DER -out key.pub.der
        openssl ec -in key.pem -out sec1.pem
        openssl ec -in key.pem -outform DER -out sec1.der
        openssl rsa -in rsa.pem -traditional -out pkcs1.pem
        openssl rsa -in rsa.pem -traditional -outform DER -out pkcs1.der
        openssl rsa -in rsa.pem -RSAPublicKey_out -out pkcs1.pub.pem
        openssl ecparam -name prime256v1 -genkey -out parameters.pem
        openssl pkcs8 -topk8 -in key.pem -passout pass:secret -out locked.pem
        openssl pkcs8 -topk8 -in key.pem -passout pass:secret -outform DER -out locked.der
        openssl ec -in key.pem -aes256 -passout pass:secret -out locked-sec1.pem
        openssl rsa -in rsa.pem -aes256 -traditional -passout pass:secret -out locked-pkcs1.pem
        openssl req -new -key key.pem -subj /CN=one -out one.csr
        openssl req -new -key key.pem -subj /CN=one -outform DER -out csr.der
        openssl req -new -newhdr -key key.pem -subj /CN=one -out new.csr
        openssl x509 -in one.pem -trustout -addtrust serverAuth -out trusted.pem
        openssl pkcs12 -export -inkey key.pem -in one.pem -certfile two.pem -name 'One: the first' \
            -passout pass:secret -out all.p12
        openssl pkcs12 -in all.p12 -passin pass:secret -nodes -out all.pem
        openssl pkcs12 -in all.p12 -passin pass:secret -passout pass:other -out all-locked.pem
        openssl crl2pkcs7 -nocrl -certfile one.pem -out one.p7b
        touch index.txt
        printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index.txt\\ndefault_md=sha256\\ndefault_crl_days=1\\n' >ca.cnf
        openssl ca -gencrl -config ca.cnf -keyfile key.pem -cert one.pem -out crl.pem
        cat one.pem two.pem >chain.pem
        openssl x509 -in one.pem -text -out text.pem; cat two.pem >>text.pem
        sed 's/$/\\r/' chain.pem >crlf.pem
        tr '\\n' '\\r' <chain.pem >cr.pem
        awk '{ print } /BEGIN/ || NR == 4 { print \"\" }' chain.pem >inside.pem
        sed '3i# a comment inside' chain.pem >comment.pem
        sed 's/^/  /; s/$/\\t/' chain.pem >indented.pem
        printf '\\357\\273\\277' >bom.pem; cat chain.pem >>bom.pem
        { printf %s \"$(cat one.pem)\"; cat two.pem; } >joined.pem
        printf %s \"$(cat chain.pem)\" >no-last-line-feed.pem
        { echo '# -----BEGIN CERTIFICATE-----'; echo '# AAAA'; cat chain.pem; } >commented.pem
        cat one.der two.der >chain.der",
    );
    folder
}

fn read(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn chains_of_the_field_are_read_whole() {
    for file in FIELD {
        let read = certificates(file).unwrap();
        assert_eq!(read.len(), 3);
        let names = read.iter().map(|der| {
            let name = X509::from_der(der).unwrap();
            let name = name.subject_name().entries().next().unwrap().data().to_string().unwrap();
            name.to_string()
        });
        assert_eq!(names.collect::<Vec<_>>(), ["TAM", "Field CA", "Field root"]);
    }
}

#[test]
fn whatever_is_around_the_certificates_they_are_read() {
    let folder = folder();
    let folder = folder.path();
    let chain = [read(folder, "one.der"), read(folder, "two.der")];
    for file in [
        "chain.pem",
        "chain.der",
        "text.pem",
        "crlf.pem",
        "cr.pem",
        "inside.pem",
        "comment.pem",
        "indented.pem",
        "bom.pem",
        "joined.pem",
        "no-last-line-feed.pem",
        "commented.pem",
        "all.pem",
        "all-locked.pem",
    ] {
        assert_eq!(certificates(&read(folder, file)).unwrap(), chain, "{file}");
    }
    assert_eq!(certificates(&read(folder, "trusted.pem")).unwrap(), chain[..1]);
}

#[test]
fn keys_and_requests_are_read_in_all_their_forms() {
    let folder = folder();
    let folder = folder.path();
    let public = |der: &[u8]| PKey::private_key_from_der(der).unwrap().public_key_to_der().unwrap();
    let expected = read(folder, "key.pub.der");
    for file in ["key.pem", "key.der", "sec1.pem", "sec1.der", "all.pem"] {
        assert_eq!(public(&private_key(&read(folder, file)).unwrap()), expected, "{file}");
    }
    let rsa = public(&private_key(&read(folder, "rsa.pem")).unwrap());
    for file in ["pkcs1.pem", "pkcs1.der"] {
        assert_eq!(public(&private_key(&read(folder, file)).unwrap()), rsa, "{file}");
    }
    private_key(&read(folder, "parameters.pem")).unwrap();
    for file in ["key.pub.pem", "key.pub.der"] {
        assert_eq!(public_key(&read(folder, file)).unwrap(), expected, "{file}");
    }
    // Each was signed anew, so that only the requests' length can be compared.
    for file in ["one.csr", "csr.der", "new.csr"] {
        let der = request(&read(folder, file)).unwrap();
        openssl::x509::X509Req::from_der(&der).unwrap();
    }
}

#[test]
fn what_is_not_wanted_is_named() {
    let folder = folder();
    let folder = folder.path();
    type Reader = fn(&[u8]) -> Result<(), Error>;
    let certificate: Reader = |file| certificates(file).map(drop);
    let private: Reader = |file| private_key(file).map(drop);
    let public: Reader = |file| public_key(file).map(drop);
    let csr: Reader = |file| request(file).map(drop);
    let passphrase = "its private key is under a passphrase";
    for (file, reader, sentence) in [
        ("locked.pem", private, passphrase),
        ("locked.der", private, passphrase),
        ("locked-sec1.pem", private, passphrase),
        ("locked-pkcs1.pem", private, passphrase),
        ("all-locked.pem", private, passphrase),
        ("locked.pem", private, "openssl pkey -in FILE -out KEY.pem"),
        ("one.pem", private, "it holds a certificate, and a private key is wanted"),
        ("key.pem", certificate, "it holds a private key, and a certificate is wanted"),
        ("one.csr", certificate, "it holds a certification request, and a certificate is wanted"),
        ("one.pem", csr, "it holds a certificate, and a certification request is wanted"),
        (
            "key.pem",
            public,
            "it holds a private key, and a public key is wanted; its public half: openssl pkey",
        ),
        ("key.der", public, "its public half: openssl pkey"),
        ("one.pem", public, "its key: openssl x509"),
        ("pkcs1.pub.pem", public, "wrap it: openssl rsa"),
        ("all.p12", certificate, "a PKCS #12 container"),
        ("all.p12", private, "take it apart: openssl pkcs12"),
        ("one.p7b", certificate, "take it apart: openssl pkcs7"),
        ("index.txt", certificate, "it holds nothing in PEM or DER, and a certificate is wanted"),
        ("ca.cnf", csr, "it holds nothing in PEM or DER"),
    ] {
        let error = reader(&read(folder, file)).expect_err(file).to_string();
        assert!(error.contains(sentence), "{file}: {error}");
    }
    let joined =
        |files: &[&str]| files.iter().flat_map(|file| read(folder, file)).collect::<Vec<_>>();
    for (files, reader, sentence) in [
        (
            &["one.pem", "crl.pem"][..],
            certificate,
            "beside a certificate it holds a revocation list (line ",
        ),
        (&["one.pem", "one.csr"], certificate, "it holds a certification request (line "),
        (&["key.pem", "sec1.pem"], private, "it holds 2 times a private key"),
        (&["key.pem", "key.pub.pem"], private, "beside a private key it holds a public key"),
        (&["one.csr", "new.csr"], csr, "it holds 2 times a certification request"),
    ] {
        let error = reader(&joined(files)).expect_err("refused").to_string();
        assert!(error.contains(sentence), "{files:?}: {error}");
    }
    let kinds = items(&read(folder, "all.pem")).unwrap().into_iter().map(|item| item.kind);
    let expected = [Kind::Certificate, Kind::Certificate, Kind::PrivateKey];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
}

/// What cannot be read is an error that says where, and never a shorter chain.
#[test]
fn no_damage_is_skipped() {
    let folder = folder();
    let chain = String::from_utf8(read(folder.path(), "chain.pem")).unwrap();
    let second = chain.rfind("-----BEGIN").unwrap();
    let line = chain[..second].lines().count() + 1;
    let (one, two) = chain.split_at(second);
    for (what, text) in [
        ("no end", chain[..chain.len() - 30].to_owned()),
        ("half an end", chain.trim_end().trim_end_matches('-').to_owned()),
        (
            "half a beginning",
            format!("{one}{}", two.replace("CERTIFICATE-----\nMII", "CERTIFICATE\nMII")),
        ),
        ("no end of the first", chain.replacen("-----END CERTIFICATE-----\n", "", 1)),
        ("another end", format!("{one}{}", two.replace("END CERTIFICATE", "END X509 CRL"))),
        ("not base64", format!("{one}{}", two.replace("MII", "M*I"))),
        ("a character less", format!("{one}{}", two.replace("MII", "MI"))),
        ("text before it", format!("{one}text {two}")),
        (
            "a name that is not its own",
            format!("{one}{}", two.replace("CERTIFICATE", "PRIVATE KEY")),
        ),
    ] {
        let error = certificates(text.as_bytes()).expect_err(what);
        assert!(matches!(error, Error::Damaged { .. }), "{what}: {error:?}");
        let expected = if what.ends_with("first") { 1 } else { line };
        assert!(error.to_string().contains(&format!("(line {expected})")), "{what}: {error}");
    }
    let der = read(folder.path(), "chain.der");
    for length in [1, 3, 100, der.len() - 1] {
        assert!(certificates(&der[..length]).is_err(), "{length}");
    }
    let mut utf16 = vec![0xff, 0xfe];
    utf16.extend(chain.encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(certificates(&utf16), Err(Error::Utf16));
}

#[test]
fn what_is_written_is_read_by_openssl() {
    let folder = folder();
    let der = read(folder.path(), "csr.der");
    let pem = otrp_pem::encode("CERTIFICATE REQUEST", &der).unwrap();
    assert!(pem.lines().all(|line| line.len() <= 64 || line.starts_with('-')));
    let read = openssl::x509::X509Req::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(read.to_der().unwrap(), der);
    assert_eq!(request(pem.as_bytes()).unwrap(), der);
}

#[test]
fn errors_and_items_show_no_secret() {
    let folder = folder();
    let key = read(folder.path(), "key.pem");
    let shown = format!("{:?}", items(&key).unwrap());
    assert_eq!(shown, "[PrivateKey at Some(1)]");
    let error = certificates(&key).unwrap_err();
    let secret = String::from_utf8(key).unwrap();
    let body = secret.lines().nth(1).unwrap();
    assert!(!format!("{error}{error:?}").contains(body));
}

#[test]
fn a_private_key_is_noticed_whatever_is_around_it() {
    let folder = folder();
    let folder = folder.path();
    let more = "{ cat key.pem; echo -----BEGIN CERTIFICATE-----; } >spoiled
        sed 's/^/# /' key.pem >in-comments; iconv -t UTF-16LE key.pem >wide
        { cat key.der; echo; } >padded; cat one.der key.der >behind; sed 1d key.pem >beheaded
        sed 's/ PRIVATE/ OPENSSH PRIVATE/' key.pem >openssh; tr '\\n' '\\r' <key.pem >cr";
    sh(folder, more);
    for file in [
        "key.pem",
        "key.der",
        "rsa.pem",
        "sec1.pem",
        "sec1.der",
        "pkcs1.pem",
        "pkcs1.der",
        "parameters.pem",
        "locked.pem",
        "locked.der",
        "locked-sec1.pem",
        "locked-pkcs1.pem",
        "all.p12",
        "all.pem",
        "all-locked.pem",
        "spoiled",
        "in-comments",
        "wide",
        "padded",
        "behind",
        "beheaded",
        "openssh",
        "cr",
    ] {
        assert!(has_private_key(&read(folder, file)), "{file}");
    }
    for file in [
        "one.pem",
        "one.der",
        "key.pub.pem",
        "key.pub.der",
        "pkcs1.pub.pem",
        "one.csr",
        "csr.der",
        "trusted.pem",
        "one.p7b",
        "crl.pem",
        "chain.der",
        "text.pem",
        "ca.cnf",
        "index.txt",
    ] {
        assert!(!has_private_key(&read(folder, file)), "{file}");
    }
    assert!(!has_private_key(b"the private key is in the safe; begin there"));
    assert!(!has_private_key(b"0"));
}

#[test]
fn a_key_in_a_line_of_its_own_is_not_repeated() {
    for file in [
        "-----BEGIN PRIVATE KEY-----\\nMIGHAgEA\\n-----END PRIVATE KEY-----",
        "\"-----BEGIN PRIVATE KEY----- MIGHAgEA -----END PRIVATE KEY-----\"",
        "-----BEGIN MIGHAgEA-----\n-----BEGIN CERTIFICATE-----",
        "-----BEGIN MIGHAgEA-----\nAAAA\n-----END MIGHAgEA-----",
    ] {
        let refused = private_key(file.as_bytes()).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("MIGH"), "{refused}");
    }
}

#[test]
fn what_is_nearly_a_block_is_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let make =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem \
                -subj /CN=one -out one.pem
                openssl x509 -in one.pem -outform DER -out one.der";
    sh(folder.path(), make);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let (pem, der) = (read("one.pem"), read("one.der"));
    let text = String::from_utf8(pem.clone()).unwrap();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let behind = |more: &[u8]| [&pem[..], more].concat();
    for file in [
        behind(&der),
        behind(&wide),
        behind(text.replace("-----BEGIN CERTIFICATE-----\n", "").as_bytes()),
        behind(text.replace("BEGIN", "begin").as_bytes()),
        behind(text.replace("-----BEGIN", "----BEGIN").as_bytes()),
    ] {
        assert!(certificates(&file).is_err(), "{}", String::from_utf8_lossy(&file));
    }
    assert_eq!(certificates(&behind(&pem)).unwrap(), [der.clone(), der]);
}
