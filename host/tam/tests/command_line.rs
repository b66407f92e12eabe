//! The program: single messages made and opened, the server and the list of devices beside it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::client::converge;
use common::{Pki, Profile, issue, new_key, new_rsa_key, write_image};
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
    write_image(folder.path(), "v1.ta", 1);
    (pki, folder)
}

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
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("Error: "), "{incomplete}");
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
    let all: Value = serde_json::from_slice(&run(folder, "devices --json").stdout).unwrap();
    assert_eq!(all[0]["tee"], "mock");
    // A message for a device that the database knows.
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
}

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
    assert!(String::from_utf8_lossy(&output.stderr).contains("no such --alg"));
    // An attestation key from a file is of the type that it is.
    let aik = new_rsa_key(2048);
    std::fs::write(folder.join("aik.pem"), aik.public_key_to_pem().unwrap()).unwrap();
    device.attestation_keys.insert("sp".into(), aik);
    let install = "--dsi dsi.json --aik aik.pem install-ta --spid sp --sd sd --ta ta --file v1.ta";
    let opened = device.open(&message(folder, install));
    let image = device.open_application(&opened).0;
    assert_eq!(image, Some(std::fs::read(folder.join("v1.ta")).unwrap()));
}

#[test]
fn the_example_of_the_help_is_a_configuration() {
    let (_, folder) = scene();
    let folder = folder.path();
    let help = String::from_utf8(run(folder, "serve --help").stdout).unwrap();
    let (_, example) = help.split_once("desired.toml:\n").unwrap();
    let (example, _) = example.split_once("\nThen:").unwrap();
    // The files of the scene in place of those of `otrp-keys init` and of a build.
    let example = example
        .replace("dev/tam.", "tam.")
        .replace("dev/tee-root.pem", "tee-root.der")
        .replace("dev/sp-ec.der", "sp.der")
        .replace("app.ta", "v1.ta");
    std::fs::write(folder.join("example.toml"), example).unwrap();
    otrp_tam::desired::Configuration::read(&folder.join("example.toml")).unwrap();
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
