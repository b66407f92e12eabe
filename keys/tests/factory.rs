//! The production line: batches with bad requests in them, and the inventory, judged by `openssl`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Name, X509Req};
use otrp_keys::certificate::{Identity, Purpose, Template, Validity, generate_p256, generate_rsa};
use otrp_keys::device::Authority;
use otrp_keys::factory::{Device, Event, Outcome, Totals, certify_all, certify_one, inventory};
use otrp_keys::file::chain_pem;
use tempfile::TempDir;

struct Factory {
    folder: TempDir,
    authority: Authority,
}

impl Factory {
    fn new() -> Self {
        let template = |common_name, purpose, years| Template {
            organization: "a maker, of devices",
            common_name,
            purpose,
            validity: Validity::years(years),
            uri: None,
        };
        let root = template("root", Purpose::Root, 2).self_sign(generate_p256().unwrap()).unwrap();
        let key = generate_p256().unwrap();
        let certificate = template("CA", Purpose::IssuingAuthority, 1).issue(&key, &root).unwrap();
        let authority =
            Authority::new(Identity { key, certificate }, vec![root.certificate]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("requests")).unwrap();
        fs::create_dir(folder.path().join("chains")).unwrap();
        Self { folder, authority }
    }

    fn requests(&self) -> PathBuf {
        self.folder.path().join("requests")
    }

    fn chain(&self, name: &str) -> PathBuf {
        self.folder.path().join("chains").join(format!("{name}.chain.pem"))
    }

    fn ask(&self, file: &str, key: &PKey<Private>) {
        fs::write(self.requests().join(file), request(key, key)).unwrap();
    }

    /// Certifies everything; gives the totals, and a word or the reason for each request.
    fn run(&self, renew: bool) -> (Totals, Vec<String>) {
        let mut lines = Vec::new();
        let chains = self.folder.path().join("chains");
        let totals = certify_all(&self.authority, &self.requests(), &chains, renew, &mut |event| {
            let file_name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
            let progress = match event {
                Event::Request(progress) => progress,
                Event::Unreadable(file, why) => {
                    return lines.push(format!("{} {why}", file_name(file)));
                }
                Event::Waiting(folder) => panic!("waits for {folder:?}"),
            };
            let name = file_name(progress.request);
            let word = match progress.outcome {
                Outcome::Certified(_) => "certified".to_owned(),
                Outcome::Kept => "kept".to_owned(),
                Outcome::Refused(error) => error.to_string(),
                Outcome::Foreign(what) => format!("foreign: {what}"),
            };
            let (number, total) = (progress.number, progress.total);
            lines.push(format!("{number}/{total} {name} {word}"));
        })
        .unwrap();
        (totals, lines)
    }
}

fn request(key: &PKey<Private>, signer: &PKey<Private>) -> Vec<u8> {
    request_by(key, signer, MessageDigest::sha256())
}

fn request_by(key: &PKey<Private>, signer: &PKey<Private>, digest: MessageDigest) -> Vec<u8> {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "optee").unwrap();
    let mut request = X509Req::builder().unwrap();
    request.set_subject_name(&name.build()).unwrap();
    request.set_pubkey(key).unwrap();
    request.sign(signer, digest).unwrap();
    request.build().to_der().unwrap()
}

fn leaf(file: &Path) -> X509 {
    X509::stack_from_pem(&fs::read(file).unwrap()).unwrap().remove(0)
}

#[test]
fn a_batch_continues_after_each_bad_request() {
    let factory = Factory::new();
    let (one, two, rsa) =
        (generate_p256().unwrap(), generate_p256().unwrap(), generate_rsa(2048).unwrap());
    factory.ask("01.csr", &one);
    fs::write(factory.requests().join("02.csr"), "nothing of the kind").unwrap();
    fs::write(factory.requests().join("03.csr"), request(&two, &one)).unwrap();
    factory.ask("04.csr", &one);
    factory.ask("05.csr", &two);
    factory.ask("06.p10", &rsa);
    fs::write(factory.requests().join(".hidden"), "not a request").unwrap();
    fs::write(factory.requests().join("07.txt"), "a list of the requests").unwrap();
    fs::write(factory.requests().join("08.pem"), one.private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::write(factory.requests().join("09.p10"), &request(&two, &one)[..100]).unwrap();
    fs::create_dir(factory.requests().join("10.csr")).unwrap();
    symlink("nowhere", factory.requests().join("11.csr")).unwrap();
    symlink("nowhere", factory.requests().join("12")).unwrap();
    symlink("01.csr", factory.requests().join("13.csr")).unwrap();
    factory.ask(".hidden.csr", &generate_p256().unwrap());
    fs::write(factory.requests().join("14.jpg"), [0x30, 0x82, 1, 2, 3]).unwrap();
    fs::write(factory.requests().join("15.CSR"), [0x30, 0x82, 1, 2, 3]).unwrap();
    // What is a request by its contents is refused under whatever name.
    fs::write(factory.requests().join("16.p10"), request(&two, &one)).unwrap();
    let pem = request_pem(&two);
    fs::write(factory.requests().join("17.txt"), [&pem[..], &pem].concat()).unwrap();
    fs::write(factory.requests().join("18.txt"), &pem[..pem.len() - 60]).unwrap();
    let pipe = Command::new("mkfifo").arg(factory.requests().join("19.csr")).status().unwrap();
    assert!(pipe.success());
    let (totals, lines) = factory.run(false);
    assert_eq!(totals, Totals { certified: 3, kept: 0, refused: 9 }, "{lines:#?}");
    let taken = factory.chain("01").display().to_string();
    let hidden = factory.chain(".hidden").display().to_string();
    let dangling = factory.requests().display().to_string();
    let twice =
        format!("the same key has a chain already, {taken}: two devices never have the same key");
    let nothing = "it holds nothing in PEM or DER, and a certification request is wanted";
    let unsigned = "the request is not signed by the key it asks a certificate for";
    assert_eq!(
        lines,
        [
            "1/21 .hidden foreign: ".to_owned() + nothing,
            format!(
                "2/21 .hidden.csr {hidden} begins with a dot, and hidden files are easily overlooked: \
                 give the chain another name"
            ),
            "3/21 01.csr certified".to_owned(),
            "4/21 02.csr ".to_owned() + nothing,
            "5/21 03.csr ".to_owned() + unsigned,
            "6/21 04.csr ".to_owned() + &twice,
            "7/21 05.csr certified".to_owned(),
            "8/21 06.p10 certified".to_owned(),
            "9/21 07.txt foreign: ".to_owned() + nothing,
            "10/21 08.pem foreign: it holds a private key, and a certification request is wanted"
                .to_owned(),
            "11/21 09.p10 foreign: the block of DER is cut off or damaged".to_owned(),
            "12/21 10.csr foreign: it is a folder, and what is in it is not read".to_owned(),
            format!(
                "13/21 11.csr cannot read {dangling}/11.csr: No such file or directory (os error 2)"
            ),
            "14/21 12 foreign: it cannot be read: No such file or directory (os error 2)"
                .to_owned(),
            "15/21 13.csr ".to_owned() + &twice,
            "16/21 14.jpg foreign: the block of DER is cut off or damaged".to_owned(),
            "17/21 15.CSR the block of DER is cut off or damaged".to_owned(),
            "18/21 16.p10 ".to_owned() + unsigned,
            "19/21 17.txt it holds 2 times a certification request, and one is wanted".to_owned(),
            "20/21 18.txt foreign: the block CERTIFICATE REQUEST (line 1) has no end".to_owned(),
            "21/21 19.csr foreign: it is neither a file nor a folder".to_owned(),
        ]
    );
    for (name, key) in [("01", &one), ("05", &two), ("06", &rsa)] {
        assert!(leaf(&factory.chain(name)).public_key().unwrap().public_eq(key), "{name}");
    }
    let files = fs::read_dir(factory.folder.path().join("chains")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let shown = names.filter(|name| !name.starts_with('.')).count();
    assert_eq!(shown, 3, "nothing is left of the refused ones");
}

#[test]
fn a_chain_stays_until_it_is_renewed_and_only_for_its_key() {
    let factory = Factory::new();
    let (old, new) = (generate_p256().unwrap(), generate_p256().unwrap());
    factory.ask("a.csr", &old);
    factory.run(false);
    let first = fs::read(factory.chain("a")).unwrap();
    assert_eq!(factory.run(false).1, ["1/1 a.csr kept"]);
    assert_eq!(fs::read(factory.chain("a")).unwrap(), first);
    assert_eq!(factory.run(true).1, ["1/1 a.csr certified"]);
    let second = fs::read(factory.chain("a")).unwrap();
    assert_ne!(second, first);
    assert!(leaf(&factory.chain("a")).public_key().unwrap().public_eq(&old));

    factory.ask("a.csr", &new);
    for renew in [false, true] {
        let (totals, lines) = factory.run(renew);
        assert_eq!(totals.refused, 1);
        assert!(lines[0].contains("exists and is for another key"), "{lines:?}");
        assert_eq!(fs::read(factory.chain("a")).unwrap(), second);
    }
    // A damaged chain is nobody's to replace either.
    fs::write(factory.chain("a"), "damaged").unwrap();
    let lines = factory.run(true).1;
    assert_eq!(lines[0], "a.chain.pem is damaged");
    assert!(lines[1].contains("exists and is for another key"), "{lines:?}");
    // The key of a chain under another name.
    fs::write(factory.chain("b"), &second).unwrap();
    factory.ask("a.csr", &old);
    assert!(factory.run(true).1[1].contains("two devices never have the same key"));
    // Under whatever name; a copy of the certificate alone is no device.
    fs::rename(factory.chain("b"), factory.chain("b").with_extension("")).unwrap();
    assert!(factory.run(true).1[1].contains("two devices never have the same key"));
    fs::write(factory.chain("b").with_extension(""), leaf_pem(&second)).unwrap();
    fs::remove_file(factory.chain("a")).unwrap();
    assert_eq!(factory.run(false).1, ["1/1 a.csr certified"]);
}

/// What a key has once under some name it does not get again under another.
#[test]
fn no_name_and_no_length_hides_a_chain() {
    let factory = Factory::new();
    let key = generate_p256().unwrap();
    factory.ask("a.csr", &key);
    factory.run(false);
    let chain = fs::read(factory.chain("a")).unwrap();
    let chains = factory.folder.path().join("chains");
    fs::remove_file(factory.chain("a")).unwrap();
    let long = |length: usize| [&vec![b'#'; length][..], b"\n", &chain].concat();
    let request_beside = [&chain[..], &request_pem(&key)].concat();
    for (name, bytes) in [
        ("b", chain.clone()),
        ("b.pem", long(70_000)),
        ("b.chain.pem", long(70_000)),
        ("b.pem", long(10 << 20)),
        (".b.chain.pem", chain.clone()),
        (".b", chain.clone()),
        ("..new", chain.clone()),
        ("b.new", chain.clone()),
        ("b.pem", request_beside),
    ] {
        let file = chains.join(name);
        fs::write(&file, bytes).unwrap();
        let (totals, lines) = factory.run(false);
        assert_eq!(totals.refused, 1, "{name}: {lines:?}");
        assert!(lines[0].contains("two devices never have the same key"), "{name}: {lines:?}");
        assert!(lines[0].contains(file.to_str().unwrap()), "{name}: {lines:?}");
        fs::remove_file(file).unwrap();
    }
    // What cannot be read is named.
    let mut damaged = chain.clone();
    damaged.truncate(chain.len() - 40);
    for (name, bytes, word) in [
        ("b.pem", damaged, "is damaged"),
        ("b.chain.pem", b"text".to_vec(), "is damaged"),
        ("b", long(17 << 20), "is longer than 16 MiB"),
    ] {
        let file = chains.join(name);
        fs::write(&file, bytes).unwrap();
        assert_eq!(factory.run(false).1[0], format!("{name} {word}"));
        fs::remove_file(file).unwrap();
        fs::remove_file(factory.chain("a")).unwrap();
    }
    symlink("nowhere", factory.chain("b")).unwrap();
    assert_eq!(factory.run(false).1[0], "b.chain.pem cannot be read");
    // What an interrupted run has left is nobody's chain, nor is a text.
    fs::remove_file(factory.chain("a")).unwrap();
    fs::remove_file(factory.chain("b")).unwrap();
    fs::write(chains.join(".a.chain.pem.new"), &chain).unwrap();
    fs::write(chains.join("notes"), "text").unwrap();
    assert_eq!(factory.run(false).1, ["1/1 a.csr certified"]);
}

#[test]
fn no_chain_gets_a_name_that_begins_with_a_dot() {
    let factory = Factory::new();
    let key = generate_p256().unwrap();
    factory.ask("a.csr", &key);
    for name in [".a.chain.pem", ".a", "..a.pem"] {
        let out = factory.folder.path().join("chains").join(name);
        let request = factory.requests().join("a.csr");
        let refused =
            certify_one(&factory.authority, &request, &out, false, &mut |_| {}).unwrap_err();
        assert!(refused.to_string().contains("begins with a dot"), "{refused}");
        assert!(!out.exists());
    }
}

#[test]
fn a_ca_whose_key_no_device_accepts_writes_no_chain() {
    let mut factory = Factory::new();
    let group = EcGroup::from_curve_name(Nid::SECP521R1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let template = |common_name, purpose| Template {
        organization: "maker",
        common_name,
        purpose,
        validity: Validity::years(1),
        uri: None,
    };
    let root = template("root", Purpose::Root).self_sign(generate_p256().unwrap()).unwrap();
    let certificate = template("CA", Purpose::TeeAuthority).issue(&key, &root).unwrap();
    factory.authority =
        Authority::new(Identity { key, certificate }, vec![root.certificate]).unwrap();
    factory.ask("a.csr", &generate_p256().unwrap());
    let (totals, lines) = factory.run(false);
    assert_eq!(totals.refused, 1, "{lines:?}");
    assert!(lines[0].contains("certificate 2 (\"CA\") has a key that devices do not"), "{lines:?}");
    assert!(!factory.chain("a").exists());
}

fn request_pem(key: &PKey<Private>) -> Vec<u8> {
    X509Req::from_der(&request(key, key)).unwrap().to_pem().unwrap()
}

fn leaf_pem(chain: &[u8]) -> Vec<u8> {
    X509::stack_from_pem(chain).unwrap().remove(0).to_pem().unwrap()
}

#[test]
fn keys_that_no_device_accepts_get_no_chain() {
    let factory = Factory::new();
    let curve = |nid| {
        let group = EcGroup::from_curve_name(nid).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    };
    let rsa = |bits, exponent| {
        let exponent = BigNum::from_dec_str(exponent).unwrap();
        PKey::from_rsa(Rsa::generate_with_e(bits, &exponent).unwrap()).unwrap()
    };
    for (name, key) in [
        ("01-p384", curve(Nid::SECP384R1)),
        ("02-secp256k1", curve(Nid::SECP256K1)),
        ("03-short", rsa(2040, "65537")),
        ("04-long", rsa(4104, "65537")),
        ("05-exponent-3", rsa(2048, "3")),
        ("06-exponent-65535", rsa(2048, "65535")),
        ("07-exponent-too-long", rsa(2048, "4294967297")),
        ("08-ed25519", PKey::generate_ed25519().unwrap()),
    ] {
        let digest = match key.id() {
            Id::ED25519 => MessageDigest::null(),
            _ => MessageDigest::sha256(),
        };
        fs::write(
            factory.requests().join(name).with_extension("csr"),
            request_by(&key, &key, digest),
        )
        .unwrap();
    }
    factory.ask("09-good.csr", &rsa(2048, "4294967295"));
    let (totals, lines) = factory.run(false);
    assert_eq!(totals, Totals { certified: 1, kept: 0, refused: 8 }, "{lines:?}");
    for line in &lines[..8] {
        assert!(line.contains("neither P-256 nor RSA of 2048 to 4096 bits"), "{line}");
    }
}

#[test]
fn no_name_breaks_the_inventory() {
    let factory = Factory::new();
    let key = generate_p256().unwrap();
    for name in ["a\nb.csr", "a\tb.csr", "a\u{2028}b.csr", "a\u{202e}b.csr"] {
        factory.ask(name, &key);
    }
    let (totals, lines) = factory.run(false);
    assert_eq!(totals.refused, 4, "{lines:?}");
    for line in lines {
        assert!(line.contains("a name with control characters"), "{line}");
    }
    for entry in fs::read_dir(factory.requests()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    factory.ask("a, \"b\".csr", &key);
    factory.run(false);
    fs::copy(factory.chain("a, \"b\""), factory.chain("a\nb")).unwrap();
    let mut listed = inventory(&factory.folder.path().join("chains")).unwrap();
    let error = listed.remove(0).1.unwrap_err().to_string();
    assert!(error.contains("a name with control characters"), "{error}");
    let error = listed.remove(0).1.unwrap_err().to_string();
    assert!(error.contains("a\\nb.chain.pem\": two devices never have the same key"), "{error}");
    fs::remove_file(factory.chain("a\nb")).unwrap();
    let mut listed = inventory(&factory.folder.path().join("chains")).unwrap();
    let device = listed.remove(0).1.unwrap();
    assert!(device.csv().contains("/chains/a, \"\"b\"\".chain.pem\","), "{}", device.csv());

    // A formula, for a spreadsheet, in whatever the maker did not choose.
    let device = Device {
        did: "+AAA".into(),
        serial: "-1".into(),
        subject: "=HYPERLINK(\"http://evil.test\")".into(),
        key: "@key".into(),
        chain: "\t=1+1".into(),
        ..device
    };
    let cells = device.csv();
    let expected = "'+AAA,'-1,\"'=HYPERLINK(\"\"http://evil.test\"\")\",'@key,";
    assert!(cells.starts_with(expected), "{cells}");
    assert!(cells.contains(",\"'\t=1+1\","), "{cells}");
}

#[test]
fn no_identifier_begins_like_a_formula() {
    let factory = Factory::new();
    let key = generate_p256().unwrap();
    let asked = request(&key, &key);
    for _ in 0..300 {
        let leaf = factory.authority.certify(&asked).unwrap().remove(0);
        let digest = openssl::sha::sha256(&leaf.to_der().unwrap());
        assert!(!openssl::base64::encode_block(&digest).starts_with('+'));
    }
}

#[test]
fn folders_without_content_are_failures() {
    let factory = Factory::new();
    let chains = factory.folder.path().join("chains");
    let absent = factory.folder.path().join("absent");
    let run = |requests: &Path, chains: &Path| {
        certify_all(&factory.authority, requests, chains, false, &mut |_| {})
            .unwrap_err()
            .to_string()
    };
    assert!(run(&factory.requests(), &chains).ends_with("requests contains no request"));
    fs::write(factory.requests().join("README"), "text").unwrap();
    assert!(run(&factory.requests(), &chains).ends_with("requests contains no request"));
    factory.ask("a.csr", &generate_p256().unwrap());
    assert!(run(&absent, &chains).contains("cannot read"));
    let below_a_file = factory.requests().join("a.csr/chains");
    assert!(run(&factory.requests(), &below_a_file).contains("cannot write"));
    assert!(inventory(&absent).unwrap_err().to_string().contains("cannot read"));
    assert!(inventory(&chains).unwrap_err().to_string().ends_with("chains contains no chain file"));
}

/// What `openssl x509` prints about the first certificate of a file.
fn openssl(file: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-in"])
        .arg(file)
        .args(arguments)
        .output()
        .expect("the openssl program");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_inventory_says_what_openssl_says() {
    let factory = Factory::new();
    factory.ask("ec.csr", &generate_p256().unwrap());
    factory.ask("rsa.csr", &generate_rsa(2048).unwrap());
    factory.run(false);
    fs::write(factory.chain("damaged"), "text").unwrap();
    for name in ["other.csr", "another.csr"] {
        factory.ask(name, &generate_p256().unwrap());
    }
    factory.run(false);
    let strangers = [leaf(&factory.chain("other")), leaf(&factory.chain("another"))];
    fs::remove_file(factory.chain("other")).unwrap();
    fs::remove_file(factory.chain("another")).unwrap();
    fs::write(factory.chain("mixed"), chain_pem(&strangers).unwrap()).unwrap();
    fs::write(factory.chain("alone"), chain_pem(&strangers[1..]).unwrap()).unwrap();
    fs::write(factory.folder.path().join("chains/notes.txt"), "not listed").unwrap();

    let listed = inventory(&factory.folder.path().join("chains")).unwrap();
    let names: Vec<_> =
        listed.iter().map(|(file, _)| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "alone.chain.pem",
            "damaged.chain.pem",
            "ec.chain.pem",
            "mixed.chain.pem",
            "rsa.chain.pem"
        ]
    );
    for (file, device) in listed {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let Ok(device) = device else {
            assert!(!["ec.chain.pem", "rsa.chain.pem"].contains(&name.as_str()), "{name}");
            continue;
        };
        let key = if name == "ec.chain.pem" { "P-256" } else { "RSA-2048" };
        let fingerprint = openssl(&file, &["-fingerprint", "-sha256"]);
        let digest = fingerprint.rsplit('=').next().unwrap().replace(':', "");
        let digest: Vec<u8> = (0..64)
            .step_by(2)
            .map(|position| u8::from_str_radix(&digest[position..position + 2], 16).unwrap())
            .collect();
        let serial = openssl(&file, &["-serial"]).to_lowercase();
        let dates = openssl(&file, &["-dates", "-dateopt", "iso_8601"]).replace(' ', "T");
        let subject =
            openssl(&file, &["-subject", "-nameopt", "sep_comma_plus_space,space_eq,sname"]);
        let expected = [
            openssl::base64::encode_block(&digest),
            serial.strip_prefix("serial=").unwrap().to_owned(),
            format!("\"{}\"", subject.strip_prefix("subject=").unwrap()),
            key.to_owned(),
            date(&dates, "notBefore="),
            date(&dates, "notAfter="),
            file.display().to_string(),
            key_digest(&file),
        ];
        assert_eq!(device.csv(), expected.join(","));
        assert_eq!(Device::CSV_HEADER.split(',').count(), expected.len());
    }
}

/// Each line of the inventory: a name, and `listed` or why it has no place.
fn listed(factory: &Factory) -> Vec<String> {
    let listed = inventory(&factory.folder.path().join("chains")).unwrap();
    let lines = listed.iter().map(|(file, device)| {
        let word = device.as_ref().map_or_else(ToString::to_string, |_| "listed".to_owned());
        format!("{} {word}", file.file_name().unwrap().to_str().unwrap())
    });
    lines.collect()
}

#[test]
fn one_key_under_two_names_has_no_place_in_the_inventory() {
    let factory = Factory::new();
    factory.ask("a.csr", &generate_p256().unwrap());
    factory.ask("b.csr", &generate_p256().unwrap());
    factory.run(false);
    let chains = factory.folder.path().join("chains");
    let chain = fs::read(factory.chain("a")).unwrap();
    // Another certificate of the same key, as openssl makes one with a CA in an HSM.
    let key = leaf(&factory.chain("a")).public_key().unwrap().public_key_to_der().unwrap();
    let again = PKey::public_key_from_der(&key).unwrap();
    let root = X509::stack_from_pem(&chain).unwrap().remove(2);
    let issuer = Identity { key: generate_p256().unwrap(), certificate: root };
    let template = Template {
        organization: "maker",
        common_name: "the same",
        purpose: Purpose::Tee,
        validity: Validity::years(1),
        uri: None,
    };
    let foreign = template.issue(&again, &issuer).unwrap();
    let foreign = chain_pem(&[foreign, issuer.certificate]).unwrap();
    for (name, bytes) in [
        ("c.chain.pem", chain.clone()),
        (".a.chain.pem", chain.clone()),
        ("c.pem", chain.clone()),
        (".c", chain.clone()),
        ("c.chain.pem", foreign),
    ] {
        let file = chains.join(name);
        fs::write(&file, bytes).unwrap();
        let lines = listed(&factory);
        let of_a = lines.iter().find(|line| line.starts_with("a.chain.pem ")).unwrap();
        assert!(of_a.contains("two devices never have the same key"), "{name}: {lines:?}");
        assert!(of_a.contains(file.to_str().unwrap()), "{name}: {lines:?}");
        assert!(lines.contains(&"b.chain.pem listed".to_owned()), "{name}: {lines:?}");
        for line in lines.iter().filter(|line| line.starts_with(name)) {
            assert!(!line.ends_with("listed"), "{line}");
        }
        fs::remove_file(file).unwrap();
    }
    // A copy of the certificate, and what an interrupted run has left, are no second name.
    fs::write(chains.join("a.pem"), leaf_pem(&chain)).unwrap();
    fs::write(chains.join(".a.chain.pem.new"), &chain).unwrap();
    assert_eq!(listed(&factory), ["a.chain.pem listed", "b.chain.pem listed"]);
}

/// A certificate by `openssl` of a key in a form that it makes and no device reads.
#[test]
fn keys_in_forms_that_no_device_accepts_are_not_listed() {
    let factory = Factory::new();
    let folder = factory.folder.path();
    let script = "echo basicConstraints=critical,CA:FALSE >settings
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key \
            -subj /CN=CA -addext keyUsage=keyCertSign -out ca.pem
        openssl ecparam -name prime256v1 -genkey -noout -out named.key
        for form in compressed hybrid; do
            openssl ec -in named.key -conv_form $form -out $form.key
        done
        openssl ec -in named.key -param_enc explicit -out explicit.key
        openssl ecparam -name secp384r1 -genkey -noout -out p384.key
        openssl ecparam -name secp256k1 -genkey -noout -out p256k1.key
        openssl genpkey -algorithm ed25519 -out edwards.key
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_pubexp:3 -out three.key
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out short.key
        openssl genpkey -algorithm RSA -out rsa.key
        openssl genpkey -algorithm RSA-PSS -out pss.key
        for key in *.key; do
            name=${key%.key}; [ $name != ca ] || continue
            openssl req -new -key $key -subj /CN=$name -out $name.csr
            openssl x509 -req -in $name.csr -extfile settings -CA ca.pem -CAkey ca.key -out leaf.pem
            cat leaf.pem ca.pem >chains/$name.chain.pem
        done
        # A CA whose key is in such a form.
        openssl ec -in ca.key -conv_form compressed -out ca-compressed.key
        openssl req -x509 -key ca-compressed.key -subj /CN=CA -addext keyUsage=keyCertSign -out odd.pem
        openssl x509 -req -in rsa.csr -extfile settings -CA odd.pem -CAkey ca.key -out leaf.pem
        openssl ecparam -name prime256v1 -genkey -noout -out below.key
        openssl req -new -key below.key -subj /CN=below -out below.csr
        openssl x509 -req -in below.csr -extfile settings -CA odd.pem -CAkey ca.key -out leaf.pem
        cat leaf.pem odd.pem >chains/below.chain.pem";
    let made = Command::new("sh").args(["-euc", script]).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let lines = listed(&factory);
    let rows = [
        ("below", "certificate 2 (\"CA\") has a key"),
        ("compressed", "a compressed point"),
        ("edwards", "neither on P-256 nor RSA"),
        ("explicit", "another curve than P-256, or not by its name"),
        ("hybrid", "a hybrid point"),
        ("named", "two devices never have the same key"),
        ("p256k1", "another curve than P-256"),
        ("p384", "another curve than P-256"),
        ("pss", "neither on P-256 nor RSA"),
        ("rsa", "listed"),
        ("short", "2048 to 4096 bits"),
        ("three", "odd exponent from 65537"),
    ];
    assert_eq!(lines.len(), rows.len(), "{lines:?}");
    for (line, (name, expected)) in lines.iter().zip(rows) {
        assert!(line.starts_with(&format!("{name}.chain.pem ")), "{line}");
        assert!(line.contains(expected), "{line}");
    }
    // Nor does a request get such a key certified.
    for (name, _) in rows.iter().filter(|(name, _)| !["below", "named", "rsa"].contains(name)) {
        let request = fs::read(folder.join(format!("{name}.csr"))).unwrap();
        let refused = factory.authority.certify(&request).unwrap_err().to_string();
        assert!(
            refused.contains("neither P-256 nor RSA of 2048 to 4096 bits"),
            "{name}: {refused}"
        );
    }
    // The same key, whatever form its point is in.
    for name in ["compressed", "hybrid", "explicit"] {
        assert!(lines[5].contains(&format!("/{name}.chain.pem")), "{}", lines[5]);
        fs::remove_file(factory.chain(name)).unwrap();
    }
    assert!(listed(&factory).contains(&"named.chain.pem listed".to_owned()));
}

/// SHA-256 of the key of a file's first certificate, as the `openssl` program has it.
fn key_digest(file: &Path) -> String {
    let script = "openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform DER |
        openssl dgst -sha256 -r";
    let output = Command::new("sh").args(["-euc", script]).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

fn date(dates: &str, name: &str) -> String {
    dates.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
}

#[test]
fn an_expired_device_is_listed_all_the_same() {
    let factory = Factory::new();
    let day = 86_400;
    let now = Validity::years(0).not_after;
    let validity = Validity { not_before: now - 3 * day, not_after: now - day };
    let template = |common_name, purpose| Template {
        organization: "maker",
        common_name,
        purpose,
        validity,
        uri: None,
    };
    let root = template("root", Purpose::Root).self_sign(generate_p256().unwrap()).unwrap();
    let key = generate_p256().unwrap();
    let leaf = template("TEE", Purpose::Party).issue(&key, &root).unwrap();
    fs::write(factory.chain("old"), chain_pem(&[leaf, root.certificate]).unwrap()).unwrap();
    let (_, device) = inventory(&factory.folder.path().join("chains")).unwrap().remove(0);
    assert_eq!(device.unwrap().not_after, now - day);
}
