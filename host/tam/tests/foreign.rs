//! What strangers send is shown as text and nothing else, and fills no log.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::harness::{Server, connect, converge, post};
use common::{Device, Pki};
use serde_json::{Value, json};

/// Ends a line, turns the direction, moves the cursor, and looks like another line.
const EVIL: &str = "7\n  bank/vault/wallet version 9\r\n2026-01-01T00:00:00Z 127.0.0.1:1 device \
                    AAAAAAAA: as desired\u{1b}[2K\u{9b}2K\u{7}\u{7f}\u{202e}\u{2066}\u{2028}\u{feff}";

/// The same in what a name may be long.
const EVIL_NAME: &str =
    "7\n  x/y/z version 9\r\n2026 127.0.0.1:1 d: as desired\u{1b}[2K\u{7f}\u{202e}\u{2028}";

fn is_clean(text: &str) -> bool {
    let forbidden =
        |char: char| char.is_control() || "\u{202e}\u{2066}\u{2028}\u{feff}".contains(char);
    !text.chars().any(|char| char != '\n' && forbidden(char))
}

fn tam(server: &Server, arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_otrp-tam"))
        .current_dir(server.folder.path())
        .args(arguments)
        .output()
        .unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A device whose every text is the evil one.
fn evil_device(pki: &Pki) -> Device {
    let mut device = pki.device();
    device.faults.plaintext = Some(Box::new(|value: &mut Value| {
        if let Some(dsi) = value.get_mut("dsi") {
            dsi["tee"]["name"] = json!(EVIL);
            dsi["tee"]["ver"] = json!(EVIL);
            let sd = json!([{ "name": EVIL_NAME, "spid": EVIL_NAME, "talist": [{ "taid": EVIL_NAME }] }]);
            dsi["tee"]["sdlist"] = json!({ "cnt": "1", "sd": sd });
        }
    }));
    device
}

/// Has the device refuse the deletion that follows, with the evil text as the reason.
fn refuse(address: SocketAddr, device: &mut Device) {
    let delete = post(address, &device.process(&connect(address).body));
    assert_eq!(delete.status, 200);
    let opened = device.open(&delete.body);
    assert_eq!(opened.name, "DeleteTA");
    let mut tbs = json!({ "ver": "1.0", "status": "fail", "rid": opened.tbs["rid"],
                          "tid": opened.tbs["tid"] });
    tbs["reason"] = json!({ "error-code": EVIL, "error-message": EVIL });
    let tbs = json!({ "DeleteTATBSResponse": tbs });
    let answer = json!({ "DeleteTAResponse": common::sign(&tbs, None, &device.tee.key) });
    assert_eq!(post(address, answer.to_string().as_bytes()).status, 200);
}

#[test]
fn a_device_writes_no_line_of_the_list_of_devices() {
    let server = Server::start("");
    let mut device = evil_device(&server.pki);
    refuse(server.address, &mut device);
    assert_eq!(server.records()[0].failures.len(), 1);
    let (list, errors) = tam(&server, &["devices"]);
    assert_eq!(errors, "");
    assert!(is_clean(&list), "{}", list.escape_debug());
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[0].starts_with(&format!("{} \"7\\n  bank", device.device_id())), "{list}");
    assert!(lines[2].starts_with("  failed: DeleteTA \"7\\n"), "{list}");
    assert!(list.len() < 3000, "{}", list.len());
    // As JSON it is the same text, in other letters.
    let (list, _) = tam(&server, &["devices", "--json"]);
    assert!(is_clean(&list), "{}", list.escape_debug());
    let devices: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(devices[0]["tee_version"], EVIL);
}

#[test]
fn open_shows_no_text_of_a_device_as_it_is() {
    let server = Server::start("");
    let mut device = evil_device(&server.pki);
    let answer = device.process(&connect(server.address).body);
    std::fs::write(server.path("answer.json"), answer).unwrap();
    let (opened, _) = tam(&server, &["open", "answer.json", "--config", "desired.toml"]);
    assert!(is_clean(&opened), "{}", opened.escape_debug());
    let opened: Value = serde_json::from_str(&opened).unwrap();
    assert_eq!(opened["dsi"]["tee"]["ver"], EVIL);
    // Names of members end up in the errors of the reader.
    let odd = json!({ "CreateSDResponse": { EVIL: 1 } });
    let agent =
        json!({ "OTrPBrokerError": { "ver": "1.0", "rid": EVIL, "tid": EVIL, "errcode": EVIL } });
    let information = json!({ "TAInformation": { EVIL: 1 } });
    for message in [odd, agent, information] {
        std::fs::write(server.path("answer.json"), message.to_string()).unwrap();
        let (out, errors) = tam(
            &server,
            &["open", "answer.json", "--config", "desired.toml", "--state", "tam.redb"],
        );
        assert!(is_clean(&out) && is_clean(&errors), "{out}{errors}");
        assert!(errors.lines().count() <= 1, "{errors}");
    }
}

/// The program with its log.
struct Program {
    process: Child,
    address: SocketAddr,
}

impl Program {
    fn start(server: &Server) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_otrp-tam"))
            .current_dir(server.folder.path())
            .args(["serve", "--config", "desired.toml", "--listen", "127.0.0.1:0"])
            .args(["--state", "own.redb"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
        Self { process, address }
    }

    /// Ends the program; its log.
    fn log(mut self) -> String {
        self.process.kill().unwrap();
        String::from_utf8(self.process.wait_with_output().unwrap().stderr).unwrap()
    }
}

#[test]
fn no_text_begins_a_line_of_the_log() {
    let server = Server::start("");
    let program = Program::start(&server);
    let mut device = evil_device(&server.pki);
    refuse(program.address, &mut device);
    for message in [
        json!({ "OTrPBrokerError": { "ver": "1.0", "rid": "", "tid": EVIL, "errcode": EVIL } }),
        json!({ "CreateSDResponse": { EVIL: 1 } }),
        json!({ EVIL: 1 }),
    ] {
        std::thread::sleep(Duration::from_millis(1100));
        post(program.address, message.to_string().as_bytes());
    }
    std::thread::sleep(Duration::from_millis(1500));
    let log = program.log();
    assert!(is_clean(&log), "{}", log.escape_debug());
    assert!(log.lines().count() >= 5, "{log}");
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{line}");
        assert!(rest.starts_with("127.0.0.1:") && !rest.starts_with("127.0.0.1:1 "), "{line}");
        // What looks like a line of the log is in quotation marks.
        assert!(!line.contains(": as desired") || line.contains('"'), "{line}");
        assert!(line.len() < 2500, "{}", line.len());
    }
}

#[test]
fn clients_cause_one_line_a_second_and_devices_are_still_logged() {
    let server = Server::start("[[sd]]\nname = 'sd'\nspid = 'sp'\ncertificates = ['sp.der']\n");
    let program = Program::start(&server);
    let start = Instant::now();
    let mut posts = 0;
    while start.elapsed() < Duration::from_secs(3) {
        post(program.address, b"{}");
        connect(program.address);
        posts += 2;
    }
    let mut device = server.pki.device();
    converge(program.address, &mut device);
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    std::thread::sleep(Duration::from_millis(2200));
    let log = program.log();
    assert!(log.contains("GetDeviceState pass; next CreateSD sp/sd"), "{log}");
    assert!(log.contains("CreateSD sp/sd pass; as desired"), "{log}");
    // The last part of the time, and the lines after it.
    let lines = log.lines().filter(|line| !line.contains("pass; ")).count();
    assert!(lines <= seconds + 4, "{posts} requests: {log}");
    // None is lost without being counted.
    let mut counted = 0;
    for line in log.lines().filter(|line| !line.contains("pass; ")) {
        let number = |text: &str, word: &str| -> usize {
            let (before, _) = text.split_once(word).unwrap();
            before.rsplit([' ', '(']).next().unwrap().parse().unwrap()
        };
        counted += match line {
            _ if line.contains("(the last of ") => number(line, " lines that were left out)"),
            _ if line.contains(" were left out before)") => 1 + number(line, " lines of this"),
            _ => 1,
        };
    }
    assert_eq!(counted, posts + 1, "{log}");
}
