//! The program: single messages, the server, and the list of devices.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::harness::{connect, converge, post};
use common::{Pki, Profile, issue, new_key, new_rsa_key};
use otrp_tam::jose::ContentEncryption;
use otrp_tam::request::TaEncryption;
use serde_json::Value;

fn tam(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otrp-tam"));
    command.current_dir(folder).args(arguments);
    command
}

fn run(folder: &Path, arguments: &str) -> Output {
    tam(folder, &arguments.split(' ').collect::<Vec<_>>()).output().unwrap()
}

fn message(folder: &Path, arguments: &str) -> Vec<u8> {
    let output = run(folder, &format!("message --config desired.toml {arguments}"));
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn open(folder: &Path, reply: &[u8], arguments: &str) -> Value {
    std::fs::write(folder.join("reply.json"), reply).unwrap();
    let output = run(folder, &format!("open reply.json --config desired.toml {arguments}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn scene() -> (Pki, tempfile::TempDir) {
    let pki = Pki::new();
    let folder = tempfile::tempdir().unwrap();
    let section = pki.write(folder.path());
    std::fs::write(folder.path().join("desired.toml"), section).unwrap();
    pki.write_image(folder.path(), "v1.ta", 1);
    (pki, folder)
}

// ---- single messages --------------------------------------------------------------------------

#[test]
fn messages_are_made_and_answers_opened() {
    let (pki, folder) = scene();
    let folder = folder.path();
    let mut device = pki.device();
    let reply = device.process(&message(folder, "--tid t1 --rid r1 get-device-state"));
    let opened = open(folder, &reply, "--tid t1 --rid r1 --dsi-out dsi.json");
    assert_eq!(opened["status"], "pass");
    assert_eq!(opened["did"], device.device_id());
    let wrong = run(folder, "open reply.json --config desired.toml --rid r2");
    assert!(!wrong.status.success());

    let create = "--dsi dsi.json create-sd --spid sp --sd sd --spcert sp.der";
    let reply = device.process(&message(folder, create));
    let opened = open(folder, &reply, "--dsi dsi.json --dsi-out dsi.json");
    assert_eq!(opened["dsi"]["tee"]["sdlist"]["sd"][0]["name"], "sd");

    let stale = "--dsi dsi.json --dsihash AAAA install-ta --spid sp --sd sd --ta ta --file v1.ta";
    let opened = open(folder, &device.process(&message(folder, stale)), "--dsi dsi.json");
    assert_eq!(opened["reason"]["code"], "ERR_DEV_STATE_MISMATCH");

    let install = "--dsi dsi.json --enc A256GCM --ta-alg A256GCM install-ta --spid sp --sd sd \
                   --ta ta --file v1.ta --personalization sp.der";
    let opened = open(
        folder,
        &device.process(&message(folder, install)),
        "--dsi dsi.json --dsi-out dsi.json",
    );
    assert_eq!(opened["status"], "pass");
    let installed = &device.domains[&("sp".into(), "sd".into())].applications["ta"];
    assert_eq!(installed.personalization, Some(std::fs::read(folder.join("sp.der")).unwrap()));

    let information = device.ta_information("sp", "ta").to_string();
    let opened = open(folder, information.as_bytes(), "--dsi dsi.json");
    assert_eq!(opened["information"]["taid"], "ta");

    let delete = "--dsi dsi.json --no-nextdsi delete-sd --sd sd --delete-tas";
    let opened = open(folder, &device.process(&message(folder, delete)), "--dsi dsi.json");
    assert_eq!(opened["status"], "pass");
    assert_eq!(opened.get("dsi"), None);
    assert!(device.domains.is_empty());
}

#[test]
fn another_tam_can_sign() {
    let (pki, folder) = scene();
    let folder = folder.path();
    let profile = Profile { uri: Some("https://other.test"), ..Profile::leaf("other TAM") };
    let other = issue(&profile, new_key(), Some(&pki.tam_root));
    std::fs::write(folder.join("other.key"), other.key.private_key_to_pem_pkcs8().unwrap())
        .unwrap();
    std::fs::write(folder.join("other.pem"), other.certificate.to_pem().unwrap()).unwrap();
    std::fs::write(folder.join("tee.pem"), pki.device().tee.certificate.to_pem().unwrap()).unwrap();
    let mut device = pki.device();
    let made = message(folder, "--key other.key --chain other.pem get-device-state");
    let opened = device.open(&made);
    assert_eq!(
        opened.header["x5c"][0],
        openssl::base64::encode_block(&other.certificate.to_der().unwrap())
    );
    // A device that is known by its parts only.
    let bare = "--tee-cert tee.pem --tee mock --dsihash AAAA delete-ta --sd sd --ta ta";
    assert!(!message(folder, bare).is_empty());
    for incomplete in [
        "message get-device-state",
        "message --config desired.toml delete-ta --sd sd --ta ta",
        "message --config desired.toml --tee-cert tee.pem delete-ta --sd sd --ta ta",
        "message --config none.toml get-device-state",
    ] {
        let output = run(folder, incomplete);
        assert!(!output.status.success(), "{incomplete}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("otrp-tam: "), "{incomplete}");
    }
}

#[test]
fn a_forged_answer_is_not_opened() {
    let (pki, folder) = scene();
    let mut device = pki.device();
    device.faults.sign_with = Some(new_key());
    let reply = device.process(&message(folder.path(), "get-device-state"));
    std::fs::write(folder.path().join("reply.json"), reply).unwrap();
    let output = run(folder.path(), "open reply.json --config desired.toml");
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("wrong signature"));
}

// ---- the list of devices ----------------------------------------------------------------------

#[test]
fn devices_are_listed_beside_the_server() {
    let (pki, folder) = scene();
    let folder = folder.path();
    let section = std::fs::read_to_string(folder.join("desired.toml")).unwrap();
    let domain = "[[sd]]\nname = 'sd'\nspid = 'sp'\ncertificates = ['sp.der']\n\
                  [[sd.ta]]\nid = 'ta'\nfile = 'v1.ta'\n";
    std::fs::write(folder.join("desired.toml"), format!("{section}{domain}")).unwrap();
    let mut server = tam(folder, &["serve", "--config", "desired.toml", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
    let mut device = pki.device();
    converge(address, &mut device);
    let listed = String::from_utf8(run(folder, "devices").stdout).unwrap();
    assert!(listed.contains(&device.device_id()) && listed.contains("sp/sd/ta version 1"));
    assert!(listed.contains(&format!("\n  key {}\n", device.key_fingerprint())), "{listed}");
    let all: Value = serde_json::from_slice(&run(folder, "devices --json").stdout).unwrap();
    assert_eq!(all[0]["tee"], "mock");
    let socket = std::fs::metadata(folder.join("tam.redb.socket")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    std::os::unix::fs::symlink("tam.redb", folder.join("link")).unwrap();
    let linked = run(folder, "devices --state ./link");
    assert_eq!(String::from_utf8(linked.stdout).unwrap(), listed);
    // A message for a device that the database knows.
    let by_key = format!("--state tam.redb --did {} delete-sd --sd sd", device.key_fingerprint());
    message(folder, &by_key);
    let made = message(folder, "--state tam.redb delete-sd --sd sd --delete-tas");
    assert!(String::from_utf8_lossy(&device.process(&made)).contains("DeleteSDResponse"));
    assert!(device.domains.is_empty());
    // The shell's own: a small system has no program of this name.
    let end = format!("kill {}", server.id());
    assert!(Command::new("sh").args(["-c", &end]).status().unwrap().success());
    let output = server.wait_with_output().unwrap();
    assert!(output.status.success());
    let log = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 4, "a line for each exchange: {log}");
    assert!(lines[1].contains("GetDeviceState pass; next CreateSD sp/sd"), "{log}");
    assert!(lines[3].contains("InstallTA sp/sd/ta pass; as desired"), "{log}");
    // Without a server the file is read.
    assert!(!folder.join("tam.redb.socket").exists());
    assert_eq!(String::from_utf8(run(folder, "devices").stdout).unwrap(), listed);
}

/// A server that is killed leaves its socket, and a file that was not closed.
#[test]
fn devices_are_listed_after_a_server_was_killed() {
    let (pki, folder) = scene();
    let folder = folder.path();
    let serve = "serve --config desired.toml --listen 127.0.0.1:0";
    let mut server = Serving::start(folder, serve);
    let mut device = pki.device();
    converge(server.address, &mut device);
    let listed = run(folder, "devices").stdout;
    assert!(!listed.is_empty());
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    assert!(folder.join("tam.redb.socket").exists());
    assert_eq!(run(folder, "devices").stdout, listed);
    let server = Serving::start(folder, serve);
    assert_eq!(run(folder, "devices").stdout, listed);
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
}

// ---- a TAM with two keys ----------------------------------------------------------------------

#[test]
fn a_tam_with_two_keys_opens_the_answers_to_both() {
    let (pki, folder) = scene();
    let folder = folder.path();
    let rsa = pki.rsa_tam();
    std::fs::write(folder.join("rsa.key"), rsa.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    std::fs::write(folder.join("rsa.pem"), rsa.certificate.to_pem().unwrap()).unwrap();
    let one = std::fs::read_to_string(folder.join("desired.toml")).unwrap();
    let mut device = pki.device_with(new_rsa_key(2048));
    let made = message(folder, "--key rsa.key --chain rsa.pem get-device-state");
    let reply = device.process(&made);
    std::fs::write(folder.join("reply.json"), &reply).unwrap();
    assert!(!run(folder, "open reply.json --config desired.toml").status.success());
    let two = format!("{one}[tam.alternative]\nkey = 'rsa.key'\nchain = 'rsa.pem'\n");
    std::fs::write(folder.join("desired.toml"), two).unwrap();
    let opened = open(folder, &reply, "--dsi-out dsi.json");
    assert_eq!(opened["did"], device.device_id());
    // A forged answer is as wrong with two keys.
    device.faults.sign_with = Some(new_key());
    std::fs::write(folder.join("reply.json"), device.process(&made)).unwrap();
    let output = run(folder, "open reply.json --config desired.toml");
    assert!(String::from_utf8_lossy(&output.stderr).contains("unsupported JOSE algorithm"));

    // Keys reach the device in the way that is said, or not at all.
    let create = |alg: &str| {
        format!("--dsi dsi.json --alg {alg} create-sd --spid sp --sd sd --spcert sp.der")
    };
    for (name, used) in
        [("RSA1_5", "RSA1_5"), ("RSA-OAEP", "RSA-OAEP"), ("ECDH-ES+A256KW", "RSA-OAEP-256")]
    {
        let opened = device.open(&message(folder, &create(name)));
        let header = &opened.tbs["content"]["recipients"][0]["header"];
        assert_eq!(header["alg"], used);
    }
    let output = run(folder, &format!("message --config desired.toml {}", create("ROT13")));
    assert!(String::from_utf8_lossy(&output.stderr).contains("and can be "));
    // An attestation key from a file is of the type that it is.
    let aik = new_rsa_key(2048);
    std::fs::write(folder.join("aik.pem"), aik.public_key_to_pem().unwrap()).unwrap();
    device.attestation_keys.insert("sp".into(), aik);
    let install = "--dsi dsi.json --aik aik.pem install-ta --spid sp --sd sd --ta ta --file v1.ta";
    let opened = device.open(&message(folder, install));
    let image = device.open_application(&opened).0;
    assert_eq!(image, Some(std::fs::read(folder.join("v1.ta")).unwrap()));
}

// ---- the help ---------------------------------------------------------------------------------

/// The lines of a help text that are commands, each in one line: indented, and up to the next that
/// does not end in a backslash.
fn commands(help: &str) -> Vec<String> {
    let joined = help.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    let commands = lines.filter(|line| {
        ["otrp-tam ", "otrp-keys ", "otrp-agent "].iter().any(|name| line.starts_with(name))
    });
    commands.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn help(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// What the examples need beyond the development keys, and a device in place of `otrp-agent`.
fn development(folder: &Path) -> common::Device {
    let keys = folder.join(".cache/keys/dev");
    std::fs::create_dir_all(keys.parent().unwrap()).unwrap();
    otrp_keys::development::create(&keys, false, &mut |_| ()).unwrap();
    let authority = otrp_keys::device::Authority::read(&keys.join("tee-ca")).unwrap();
    let key = new_key();
    let mut request = openssl::x509::X509Req::builder().unwrap();
    let mut name = openssl::x509::X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "a device").unwrap();
    request.set_subject_name(&name.build()).unwrap();
    request.set_pubkey(&key).unwrap();
    request.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    let chain = authority.certify(&request.build().to_der().unwrap()).unwrap();
    let mut device = common::Device::new(
        common::Holder { key, certificate: chain[0].clone() },
        &common::Holder { key: new_key(), certificate: chain[1].clone() },
    );
    device.tam_id = "https://tam.example.org/otrp";
    device
}

/// An `otrp-keys` command of an example, by the library: the program is another package's.
fn keys(folder: &Path, command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let value = |name: &str| {
        let place = words.iter().position(|word| *word == name).unwrap_or_else(|| panic!("{name}"));
        folder.join(words[place + 1])
    };
    let text = |name: &str| value(name).file_name().unwrap().to_str().unwrap().to_owned();
    use otrp_keys::{file, image, ocsp};
    let made = match words[1] {
        "ocsp" => {
            let read = |name: &str| file::read_certificates(&value(name)).unwrap().remove(0);
            let responder = ocsp::Responder::read(&value("--responder"), read("--issuer")).unwrap();
            let period = ocsp::Period::hours(24);
            responder.answer(&read("--cert"), ocsp::Status::Good, period).unwrap()
        }
        "sign-ta" => {
            let key = file::read_key(&value("--key")).unwrap();
            let version = text("--ta-version").parse().unwrap();
            let uuid: otrp_keys::Uuid = text("--uuid").parse().unwrap();
            assert!(words.contains(&"--in"));
            let elf = otrp_check::fixture::application(uuid.0, b"");
            image::sign(&key, None, uuid, version, &elf).unwrap()
        }
        other => panic!("{other}"),
    };
    std::fs::write(value("--out"), made).unwrap();
}

/// Every example of every help text, in the order in which a person would try them.
#[test]
fn the_examples_of_the_help_work_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut device = development(folder);
    let mut seen = Vec::new();

    let serve = help(folder, "serve --help");
    let (_, example) = serve.split_once("in the folder of the project:\n").unwrap();
    let (example, _) = example.split_once("\nThe OCSP responses").unwrap();
    std::fs::write(folder.join("desired.toml"), example).unwrap();
    for command in commands(&serve) {
        seen.push(command.clone());
        if command.starts_with("otrp-keys ") {
            keys(folder, &command);
        } else if command.starts_with("otrp-tam check ") {
            let output = run(folder, command.strip_prefix("otrp-tam ").unwrap());
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        } else if command.starts_with("otrp-tam serve ") {
            let command = command.replace("0.0.0.0:8080", "127.0.0.1:0");
            let server = Serving::start(folder, command.strip_prefix("otrp-tam ").unwrap());
            converge(server.address, &mut device);
            assert_eq!(device.requests, ["GetDeviceState", "CreateSD", "InstallTA"]);
        }
    }

    for subcommand in ["check", "message", "open", "devices", "config"] {
        for command in commands(&help(folder, &format!("{subcommand} --help"))) {
            seen.push(command.clone());
            let (command, input) = match command.split_once(" | ") {
                Some((asks, opens)) if asks.starts_with("otrp-agent ta-info ") => {
                    let words: Vec<&str> = asks.split(' ').collect();
                    (opens.to_owned(), Some(device.ta_information(words[2], words[3]).to_string()))
                }
                _ => (command, None),
            };
            if command.starts_with("otrp-agent process") {
                let request = std::fs::read(folder.join("request.json")).unwrap();
                std::fs::write(folder.join("answer.json"), device.process(&request)).unwrap();
                continue;
            }
            if command.contains("open answer.json") {
                // One opens an answer to GetDeviceState, the next one that to a command.
                let name = match command.contains("--dsi-out") {
                    true => "message --config desired.toml get-device-state",
                    false => "message --config desired.toml --dsi dsi.json delete-sd --sd new",
                };
                let request = run(folder, name).stdout;
                std::fs::write(folder.join("answer.json"), device.process(&request)).unwrap();
            }
            let (arguments, output) = match command.split_once(" > ") {
                Some((arguments, output)) => (arguments, Some(output)),
                None => (command.as_str(), None),
            };
            let arguments =
                arguments.strip_prefix("otrp-tam ").unwrap_or_else(|| panic!("{command}"));
            let mut child = tam(folder, &arguments.split(' ').collect::<Vec<_>>())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
            let done = child.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{command}: {errors}");
            assert!(!done.stdout.is_empty(), "{command}");
            if let Some(output) = output {
                std::fs::write(folder.join(output), done.stdout).unwrap();
            }
        }
    }
    assert!(seen.len() >= 12, "{seen:?}");
}

#[test]
fn every_member_of_the_configuration_is_described() {
    let (_, folder) = scene();
    let text = help(folder.path(), "help config");
    assert_eq!(
        help(folder.path(), "config").trim(),
        text.split_once("The configuration is")
            .map(|(_, it)| { format!("The configuration is{it}") })
            .unwrap()
            .trim()
    );
    for member in [
        "key",
        "chain",
        "ocsp",
        "tee_roots",
        "tam_roots",
        "id",
        "content_encryption",
        "key_management",
        "ta_encryption",
        "firmware_roots",
        "require_tee_purpose",
        "devices",
        "admit_new",
        "retired",
        "allow_deletion",
        "name",
        "spid",
        "certificates",
        "file",
        "personalization",
    ] {
        let described =
            text.lines().any(|line| line.trim_start().starts_with(&format!("{member} ")));
        assert!(described, "{member}");
    }
    // Nor is another default named than there is.
    let default = |member: &str| {
        let (_, text) = text.split_once(&format!("\n  {member} ")).unwrap();
        let (before, _) = text.split_once(" (the default").unwrap();
        before.rsplit('"').nth(1).unwrap().to_owned()
    };
    assert_eq!(default("content_encryption"), ContentEncryption::default().name());
    assert_eq!(default("ta_encryption"), TaEncryption::default().name());
    // The members that there are, by what the reader says of one that there is not.
    std::fs::write(folder.path().join("odd.toml"), "[tam]\ncolour = 'red'\n").unwrap();
    let output = run(folder.path(), "check --config odd.toml");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, members) = errors.split_once("expected one of ").unwrap();
    for member in members.lines().next().unwrap().split(", ") {
        let member = member.trim_matches(['`', ' ']);
        assert!(text.contains(member), "{member} is not described");
    }
}

// ---- the server as a process ------------------------------------------------------------------

/// A server that ends with this value.
struct Serving {
    process: std::process::Child,
    address: std::net::SocketAddr,
}

impl Serving {
    fn start(folder: &Path, arguments: &str) -> Self {
        let mut process = tam(folder, &arguments.split(' ').collect::<Vec<_>>())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap();
        let address = address.replace("0.0.0.0", "127.0.0.1").parse().unwrap();
        Self { process, address }
    }

    fn terminate(&mut self) -> std::process::ExitStatus {
        let end = format!("kill {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &end]).status().unwrap().success());
        self.process.wait().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_signal_ends_the_program_whatever_clients_do() {
    let (_, folder) = scene();
    let mut server =
        Serving::start(folder.path(), "serve --config desired.toml --listen 127.0.0.1:0");
    let mut stalled = Vec::new();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/otrp+json\r\n";
    for half in ["", "POST / HT", head, &format!("{head}Content-Length: 100\r\n\r\n{{")] {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        stalled.push(stream);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let start = std::time::Instant::now();
    assert!(server.terminate().success());
    assert!(start.elapsed() < std::time::Duration::from_secs(8), "{:?}", start.elapsed());
}

/// More idle connections than the process may have descriptors: the log says so, and devices are
/// served when the first of them have ended.
#[test]
fn few_descriptors_do_not_stop_the_service() {
    let (pki, folder) = scene();
    let serve = format!(
        "ulimit -n 48; exec {} serve --config desired.toml --listen 127.0.0.1:0",
        env!("CARGO_BIN_EXE_otrp-tam")
    );
    let mut server = Command::new("sh")
        .args(["-c", &serve])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: std::net::SocketAddr =
        line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
    // From several addresses: one alone has a quarter of them.
    let idle: Vec<_> =
        (0..20).map(|at| common::harness::connection_from([127, 0, 1, at / 3], address)).collect();
    let mut device = pki.device();
    assert_eq!(converge(address, &mut device), ["GetDeviceState"]);
    drop(idle);
    server.kill().unwrap();
    let log = String::from_utf8(server.wait_with_output().unwrap().stderr).unwrap();
    assert!(log.contains("12 connections are open, which is the limit"), "{log}");
}

/// A device gives a TAM that it does not trust no reason, so the log has those that there can be.
#[test]
fn the_log_explains_a_lack_of_trust() {
    let (pki, folder) = scene();
    let (mut server, address) = logging(folder.path());
    let mut device = pki.device();
    // An address has a line a second; of those that are left out the last one is said later.
    let wait = || std::thread::sleep(std::time::Duration::from_millis(2200));
    for code in ["ERR_TAM_NOT_TRUSTED", "ERR_TEE_FAIL"] {
        device.faults.refuse = vec![("GetDeviceState", code)];
        assert_eq!(converge(address, &mut device), ["GetDeviceState"]);
        wait();
    }
    // A device of another maker.
    let root = issue(&Profile::ca("another TEE root"), new_key(), None);
    let authority = issue(&Profile::ca("another TEE CA"), new_key(), Some(&root));
    let tee = issue(&Profile::leaf("another TEE"), new_key(), Some(&authority));
    let request = connect(address).body;
    let answer = common::Device::new(tee, &authority).process(&request);
    let refused = post(address, &answer);
    assert_eq!(refused.status, 400);
    wait();
    server.kill().unwrap();
    let log = String::from_utf8(server.wait_with_output().unwrap().stderr).unwrap();
    let of = |text: &str| log.lines().find(|line| line.contains(text)).unwrap_or_default();
    let untrusted = of("ERR_TAM_NOT_TRUSTED");
    assert!(untrusted.contains("by this TAM's clock, 20"), "{log}");
    assert!(untrusted.contains("are right, so either the device is built without"), "{log}");
    assert!(!of("ERR_TEE_FAIL").contains("clock"), "{log}");
    assert!(of("refused: ").contains("none of the roots that are configured"), "{log}");
    assert!(
        of("refused: ").contains("\"another TEE CA\", issued by \"another TEE root\""),
        "{log}"
    );
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{line}");
        assert!(rest.starts_with("127.0.0.1:"), "{line}");
    }
}

// ---- errors and standard input ----------------------------------------------------------------

#[test]
fn failures_are_one_sentence() {
    let (_, folder) = scene();
    let folder = folder.path();
    let truncated = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/truncated.redb");
    std::fs::copy(truncated, folder.join("truncated.redb")).unwrap();
    std::fs::write(folder.join("garbage.redb"), vec![7; 5000]).unwrap();
    std::fs::write(folder.join("empty.redb"), b"").unwrap();
    std::fs::write(folder.join("zeros.redb"), vec![0; 5000]).unwrap();
    for name in ["truncated", "garbage", "empty", "zeros"] {
        let path = folder.join(name).with_extension("redb");
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::create_dir(folder.join("folder")).unwrap();
    let _server = Serving::start(
        folder,
        "serve --config desired.toml --listen 127.0.0.1:0 --state shared.redb",
    );
    let serve = "serve --config desired.toml --listen 127.0.0.1:0 --state";
    let rows = [
        (format!("{serve} truncated.redb"), "truncated.redb is damaged or cut short"),
        ("devices --state truncated.redb".into(), "truncated.redb is damaged or cut short"),
        (format!("{serve} garbage.redb"), "garbage.redb"),
        ("devices --state garbage.redb".into(), "garbage.redb"),
        (format!("{serve} empty.redb"), "empty.redb is empty. Restore it"),
        ("devices --state empty.redb".into(), "empty.redb is empty. Restore it"),
        (format!("{serve} zeros.redb"), "zeros.redb holds zeros in place of a database"),
        ("devices --state zeros.redb".into(), "zeros.redb holds zeros"),
        ("devices --state none.redb".into(), "none.redb"),
        (format!("{serve} folder"), "folder"),
        (format!("{serve} none/tam.redb"), "none/tam.redb"),
        (format!("{serve} shared.redb"), "shared.redb: another server uses it"),
        ("serve --config desired.toml --listen nonsense".into(), "cannot listen on nonsense"),
        ("check --config none.toml".into(), "cannot read the configuration none.toml"),
        ("open none.json --config desired.toml".into(), "cannot read none.json"),
        (
            "message --config desired.toml --enc ROT13 get-device-state".into(),
            "A128CBC-HS256, A256CBC-HS512, A128GCM, A256GCM",
        ),
        (
            "message --config desired.toml --ta-alg ROT13 get-device-state".into(),
            "can be AESCBC or A256GCM",
        ),
    ];
    for (arguments, expected) in rows {
        let output = tam(folder, &arguments.split(' ').collect::<Vec<_>>())
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {text}");
        assert!(text.contains(expected), "{arguments}: {text}");
        assert_eq!(text.lines().count(), 1, "{arguments}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        // No cause twice.
        for cause in text.trim().split(": ") {
            let times = text.matches(cause).count();
            assert!(times == 1 || cause.len() < 20, "{arguments}: {cause:?} in {text}");
        }
    }
    let usage = run(folder, "serve");
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn standard_input_is_opened() {
    let (_, folder) = scene();
    let mut child = tam(folder.path(), &["open", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text =
        br#"{"OTrPBrokerError":{"ver":"1.0","rid":"r","tid":"","errcode":"ERR_AGENT_TEE_BUSY"}}"#;
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    let opened: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(opened["agent-error"], "ERR_AGENT_TEE_BUSY");
}

// ---- the log ----------------------------------------------------------------------------------

/// A server whose log is read at the end.
fn logging(folder: &Path) -> (std::process::Child, std::net::SocketAddr) {
    let arguments = ["serve", "--config", "desired.toml", "--listen", "127.0.0.1:0"];
    let mut server =
        tam(folder, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
    (server, address)
}

/// Whoever has read a message on its way can answer it as often as they like, and knows no key.
#[test]
fn the_server_outlives_the_reader_of_its_log() {
    let (_pki, folder) = scene();
    let (mut server, address) = logging(folder.path());
    drop(server.stderr.take());
    let statuses = [(); 3].map(|()| connect(address).status);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(statuses, [200; 3]);
}

#[test]
fn unsigned_and_repeated_answers_cause_one_line_a_second() {
    const REPEATED: usize = 200;
    type Message = fn(std::net::SocketAddr, &mut common::Device) -> Vec<u8>;
    let rows: [(&str, Message); 4] = [
        ("a refusal by another key within a session", |address, device| {
            device.faults.no_dsi = true;
            let create = post(address, &device.process(&connect(address).body)).body;
            let question = post(address, &device.process(&create)).body;
            device.faults.sign_with = Some(new_key());
            device.faults.refuse = vec![("GetDeviceState", "ERR_TAM_NOT_TRUSTED")];
            device.process(&question)
        }),
        ("a refusal outside of a session", |address, device| {
            device.faults.sign_with = Some(new_key());
            device.faults.refuse = vec![("GetDeviceState", "ERR_TAM_NOT_TRUSTED")];
            device.process(&connect(address).body)
        }),
        ("an answer of a device that came before", |address, device| {
            let answer = device.process(&connect(address).body);
            assert_eq!(post(address, &answer).status, 200);
            answer
        }),
        ("the outcome of a step by another key", |address, device| {
            let create = post(address, &device.process(&connect(address).body)).body;
            device.faults.sign_with = Some(new_key());
            device.process(&create)
        }),
    ];
    for (what, message) in rows {
        let (pki, folder) = scene();
        let mut text = std::fs::read_to_string(folder.path().join("desired.toml")).unwrap();
        text += "[[sd]]\nname = 'sd'\nspid = 'sp'\ncertificates = ['sp.der']\n";
        std::fs::write(folder.path().join("desired.toml"), text).unwrap();
        let (mut server, address) = logging(folder.path());
        let message = message(address, &mut pki.device());
        let start = std::time::Instant::now();
        for _ in 0..REPEATED {
            assert_ne!(post(address, &message).status, 500, "{what}");
        }
        let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
        server.kill().unwrap();
        let log = String::from_utf8(server.wait_with_output().unwrap().stderr).unwrap();
        // Those of the device before, one of the address at once, and twice as many as are allotted,
        // because what was left out is counted.
        let lines = log.lines().count();
        assert!(lines <= 8 + 2 * seconds, "{what}: {lines} lines in {seconds} s: {log}");
    }
}
