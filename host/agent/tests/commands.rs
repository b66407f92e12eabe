//! The subcommands against a scripted TEE: what they print, and what they say when they fail.

mod support;

use std::fs;
use std::sync::{Arc, Mutex};

use clap::Parser;
use otrp_agent::cli::{self, Arguments, clock_note, exit_code};
use otrp_agent::tee::{Tee, TeeError};
use support::{ScriptedTee, Server, answer, message, nothing_more};

const UUID: &str = "7265664a-f108-4bd7-af1c-86d044babbac";
/// A certificate by its outermost structure, and its octets; what it says does not matter to the
/// agent. From: printf '\\x30\\x0a\\x30\\x03\\x02\\x01\\x01\\x30\\x00\\x03\\x01\\x00' | base64
const PEM: &str =
    "text\n-----BEGIN CERTIFICATE-----\nMAowAwIBATAAAwEA\n-----END CERTIFICATE-----\n";
const DER: [u8; 12] = [0x30, 0x0a, 0x30, 0x03, 0x02, 0x01, 0x01, 0x30, 0x00, 0x03, 0x01, 0x00];

/// Runs a command line; gives its output or its failure, and what the TEE was asked.
fn run(arguments: &[&str], tee: ScriptedTee) -> (Result<String, String>, Vec<Vec<u8>>) {
    let asked = Arc::clone(&tee.asked);
    let mut tee = Some(tee);
    let mut output = Vec::new();
    let result = Arguments::try_parse_from([&["otrp-agent"], arguments].concat())
        .unwrap()
        .run(&mut || Ok(Box::new(tee.take().unwrap()) as Box<dyn Tee>), &mut output)
        .map(|()| String::from_utf8(output).unwrap())
        .map_err(|error| format!("{error:#}"));
    let asked = Mutex::lock(&asked).unwrap().clone();
    (result, asked)
}

fn reply(bytes: &'static [u8]) -> ScriptedTee {
    ScriptedTee::new(vec![Ok(bytes)])
}

#[test]
fn what_the_tee_says_is_printed() {
    let (output, asked) = run(&["status"], reply(br#"{"name":"optee"}"#));
    assert_eq!(
        (output.unwrap().as_str(), asked),
        ("{\"name\":\"optee\"}\n", vec![b"status".to_vec()])
    );
    let (output, asked) = run(&["ta-info", "sp", "ta"], reply(b"{}"));
    assert_eq!((output.unwrap().as_str(), asked), ("{}\n", vec![b"sp ta".to_vec()]));
    let told = ["ta-info", "sp", "ta", "--sd", "domain", "--tam", "https://tam.example"];
    let (_, asked) = run(&told, reply(b"{}"));
    assert_eq!(asked, [b"sp ta https://tam.example domain"]);
}

#[test]
fn a_certification_request_is_printed_as_pem() {
    let (output, _) = run(&["csr"], reply(&[0xa5; 50]));
    // From: printf '\xa5%.0s' $(seq 50) | base64 -w 64
    let expected = "-----BEGIN CERTIFICATE REQUEST-----\n\
        paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWl\n\
        paU=\n\
        -----END CERTIFICATE REQUEST-----\n";
    assert_eq!(output.unwrap(), expected);
    // A body of just one line has no empty line after it: 48 octets are 64 characters.
    let (output, _) = run(&["csr"], reply(&[0xa5; 48]));
    assert_eq!(output.unwrap().lines().count(), 3);
}

#[test]
fn a_certification_request_is_written_to_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("device.csr");
    let path = file.to_str().unwrap();
    let (printed, _) = run(&["csr"], reply(&[0xa5; 50]));
    let (output, asked) = run(&["csr", "--out", path], reply(&[0xa5; 50]));
    assert_eq!(output.unwrap(), format!("{path}: have it certified\n"));
    assert_eq!(asked, [b"csr"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), printed.unwrap());
    let (output, _) = run(&["csr", "--out", "/nonexistent/device.csr"], reply(&[0xa5; 50]));
    assert!(output.unwrap_err().starts_with("cannot write /nonexistent/device.csr: No such file"));
    // A TEE that makes none leaves no file.
    fs::remove_file(&file).unwrap();
    let failing = ScriptedTee::new(vec![Err(TeeError::Damaged)]);
    assert!(run(&["csr", "--out", path], failing).0.unwrap_err().contains("damaged"));
    assert!(!file.exists());
}

#[test]
fn certificates_reach_the_tee_as_der() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("chain");
    let path = file.to_str().unwrap();
    for (content, expected) in [
        (PEM.as_bytes().to_vec(), DER.to_vec()),
        (PEM.repeat(2).into_bytes(), [DER, DER].concat()),
        ([DER, DER].concat(), [DER, DER].concat()),
    ] {
        fs::write(&file, content).unwrap();
        let (output, asked) = run(&["import-cert", path], ScriptedTee::default());
        let said = "the TEE has taken its certificates\n";
        assert_eq!((output.unwrap().as_str(), asked), (said, vec![expected]));
    }
    for (content, reason) in [
        ("", "it holds nothing in PEM or DER, and a certificate is wanted"),
        ("text", "it holds nothing in PEM or DER, and a certificate is wanted"),
        ("-----BEGIN CERTIFICATE-----\nMAMCAQE=\n", "the block CERTIFICATE (line 1) has no end"),
    ] {
        fs::write(&file, content).unwrap();
        let (output, asked) = run(&["import-cert", path], ScriptedTee::default());
        assert_eq!(output.unwrap_err(), format!("{path}: {reason}"));
        assert!(asked.is_empty());
    }
    let (output, _) = run(&["import-cert", "/nonexistent"], ScriptedTee::default());
    assert!(output.unwrap_err().starts_with("cannot read /nonexistent: No such file"));
}

#[test]
fn the_tee_prepares_for_what_may_come() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("chain");
    fs::write(&file, PEM).unwrap();
    let server = || Server::new(vec![message(br#"{"InstallTARequest":{}}"#), nothing_more()]);
    let url = || server().url();
    let rows: [(Vec<String>, usize); 5] = [
        (vec!["csr".into()], 1),
        (vec!["import-cert".into(), file.to_str().unwrap().into()], 1),
        (vec!["request".into(), url()], 1),
        (vec!["status".into()], 0),
        (vec!["ta-info".into(), "sp".into(), "ta".into()], 0),
    ];
    for (arguments, times) in rows {
        // It is not what was asked for, so that its failure is none of the command.
        for preparation in [None, Some(TeeError::Full)] {
            let tee = ScriptedTee { preparation, ..ScriptedTee::default() };
            let prepared = Arc::clone(&tee.prepared);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run(&arguments, tee).0.unwrap();
            assert_eq!(*prepared.lock().unwrap(), times, "{arguments:?}");
        }
    }
}

#[test]
fn failures_of_the_tee_are_one_sentence() {
    for (failure, expected) in [
        (TeeError::NoDevice, "/dev/tee0"),
        (TeeError::NoBroker, "does not contain the OTrP broker"),
        (TeeError::Ambiguous, "select the TAM with --tam"),
        (TeeError::Busy, "busy"),
        (TeeError::Refused, "refuses"),
        (TeeError::NotFound, "no such trusted application"),
        (TeeError::Damaged, "damaged"),
        (TeeError::Other(0xffff_0000), "0xffff0000"),
    ] {
        let mut output = Vec::new();
        let error = Arguments::try_parse_from(["otrp-agent", "status"])
            .unwrap()
            .run(&mut || Err(failure), &mut output)
            .expect_err("a TEE that cannot be opened")
            .to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        assert!(output.is_empty());
    }
}

#[test]
fn one_message_is_processed_from_input_to_output() {
    let process = |input: &[u8], reply: Result<&[u8], TeeError>| {
        let mut output = Vec::new();
        let mut tee = Some(ScriptedTee::new(vec![reply]));
        let mut open = || Ok(Box::new(tee.take().unwrap()) as Box<dyn Tee>);
        let result = cli::process(&mut &*input, &mut open, &mut output);
        (result.map_err(|error| error.to_string()), String::from_utf8(output).unwrap())
    };
    let (result, output) = process(b"{}", Ok(br#"{"CreateSDResponse":{}}"#));
    assert_eq!((result, output.as_str()), (Ok(()), "{\"CreateSDResponse\":{}}\n"));
    let (result, output) = process(b"{}", Ok(br#"{"GetDeviceTEEStateResponse":{}}"#));
    let expected = "{\"GetDeviceStateResponse\":[{\"GetDeviceTEEStateResponse\":{}}]}\n";
    assert_eq!((result, output.as_str()), (Ok(()), expected));

    let error = |code| {
        format!(
            "{{\"OTrPBrokerError\":{{\"ver\":\"1.0\",\"rid\":\"\",\"tid\":\"\",\"errcode\":\"{code}\"}}}}\n"
        )
    };
    let (result, output) = process(b"nonsense", Err(TeeError::NotOtrp));
    assert!(result.unwrap_err().contains("is not an OTrP request"));
    assert_eq!(output, error("ERR_AGENT_TEE_UNKNOWN"));
    let (result, output) = process(b"{}", Err(TeeError::Busy));
    assert!(result.is_err());
    assert_eq!(output, error("ERR_AGENT_TEE_BUSY"));

    // The TEE that cannot even be opened is answered for as well.
    let mut output = Vec::new();
    cli::process(&mut b"{}".as_slice(), &mut || Err(TeeError::NoDevice), &mut output).unwrap_err();
    assert_eq!(output, error("ERR_AGENT_TEE_UNKNOWN").as_bytes());

    // A refusal is an answer, and a failure all the same.
    // {"XTBSResponse":{"status":"fail","reason":{"error-code":"ERR_TA_INVALID"}}}
    let refusal: &[u8] = br#"{"XResponse":{"payload":"eyJYVEJTUmVzcG9uc2UiOnsic3RhdHVzIjoiZmFpbCIsInJlYXNvbiI6eyJlcnJvci1jb2RlIjoiRVJSX1RBX0lOVkFMSUQifX19"}}"#;
    let (result, output) = process(br#"{"InstallTARequest":{}}"#, Ok(refusal));
    assert_eq!(result.unwrap_err(), "the TEE refuses InstallTA: ERR_TA_INVALID");
    assert_eq!(output.trim_end().as_bytes(), refusal);

    // A message over the TEE's limit is for the TEE to refuse; one without end is not read on.
    let longest = 2 * otrp_wire::limits::MESSAGE_LIMIT;
    let (result, _) = process(&vec![b' '; longest], Err(TeeError::TooLong));
    assert_eq!(result.unwrap_err(), "the message is longer than the TEE accepts");
    let (result, output) = process(&vec![b' '; longest + 1], Ok(b"{}"));
    assert!(result.unwrap_err().contains("standard input is longer than"));
    assert_eq!(output, "");
}

#[test]
fn a_request_prints_a_line_a_message_and_can_insist_on_an_application() {
    let server = || Server::new(vec![message(br#"{"InstallTARequest":{}}"#), nothing_more()]);
    let tee = || ScriptedTee { applications: vec![UUID], ..ScriptedTee::default() };
    let (output, _) = run(&["request", &server().url()], tee());
    let output = output.unwrap();
    assert_eq!(output.lines().count(), 1, "{output}");
    assert!(output.starts_with("InstallTA  "), "{output}");
    assert!(run(&["request", &server().url(), "--ta", UUID], tee()).0.is_ok());
    let (missing, _) = run(&["request", &server().url(), "--ta", UUID], ScriptedTee::default());
    assert!(missing.unwrap_err().contains("is not in the TEE"));
    // {"InstallTATBSResponse":{"status":"pass"}}
    let pass: &[u8] = br#"{"InstallTAResponse":{"payload":"eyJJbnN0YWxsVEFUQlNSZXNwb25zZSI6eyJzdGF0dXMiOiJwYXNzIn19"}}"#;
    let (other, _) =
        run(&["request", &server().url(), "--ta", UUID], ScriptedTee::new(vec![Ok(pass)]));
    assert!(other.unwrap_err().contains("needs a library that is not there"));
    for (code, name) in [
        (0xffff_0005, "TEE_ERROR_BAD_FORMAT"),
        (0xffff_000f, "TEE_ERROR_SECURITY"),
        (0xffff_0100, "result 0xffff0100"),
    ] {
        let tee = ScriptedTee { unloadable: Some(code), ..ScriptedTee::default() };
        let (broken, _) = run(&["request", &server().url(), "--ta", UUID], tee);
        let broken = broken.unwrap_err();
        assert!(broken.contains("cannot be loaded") && broken.contains(name), "{broken}");
    }
    // What is no UUID is refused before anybody is asked.
    for command in ["request", "unrequest"] {
        for name in ["nope", "", "7265664af1084bd7af1c86d044babbac"] {
            let arguments = ["otrp-agent", command, "http://x/", "--ta", name];
            let error = Arguments::try_parse_from(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("not a UUID like"), "{error}");
        }
    }
    let (missing, _) = run(&["request", "http://x/", "--ca-file", "/nonexistent"], tee());
    assert!(missing.unwrap_err().starts_with("cannot read /nonexistent"));
}

#[test]
fn an_application_that_is_not_needed_is_deleted_or_reported() {
    let server = || Server::new(vec![message(br#"{"DeleteTARequest":{}}"#), nothing_more()]);
    let (output, _) = run(&["unrequest", &server().url(), "--ta", UUID], ScriptedTee::default());
    assert!(output.unwrap().starts_with("DeleteTA  "));
    let tee = ScriptedTee { applications: vec![UUID], ..ScriptedTee::default() };
    let (kept, _) = run(&["unrequest", &server().url(), "--ta", UUID], tee);
    assert!(kept.unwrap_err().contains("is still in the TEE"));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = Arguments::try_parse_from(["otrp-agent", "status"])
        .unwrap()
        .run(&mut || Ok(Box::new(reply(b"{}")) as Box<dyn Tee>), &mut full)
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot write the output: No space left"), "{error}");
}

#[test]
fn exit_codes_tell_refused_from_unreachable_and_busy() {
    let outcome = |arguments: &[&str], tee: ScriptedTee| {
        let mut tee = Some(tee);
        let result = Arguments::try_parse_from([&["otrp-agent"], arguments].concat())
            .unwrap()
            .run(&mut || Ok(Box::new(tee.take().unwrap()) as Box<dyn Tee>), &mut Vec::new());
        result.map_or_else(|error| exit_code(&error), |()| 0)
    };
    let refusal: &[u8] = br#"{"InstallTAResponse":{"payload":"eyJJbnN0YWxsVEFUQlNSZXNwb25zZSI6eyJzdGF0dXMiOiJmYWlsIiwicmVhc29uIjp7ImVycm9yLWNvZGUiOiJFUlJfVEFfSU5WQUxJRCJ9fX0"}}"#;
    let server = || Server::new(vec![message(br#"{"InstallTARequest":{}}"#), nothing_more()]);
    let request = |reply| outcome(&["request", &server().url()], ScriptedTee::new(vec![reply]));
    assert_eq!(request(Ok(b"{}".as_slice())), 0);
    assert_eq!(request(Ok(refusal)), 1);
    assert_eq!(request(Err(TeeError::Crashed)), 1);
    assert_eq!(request(Err(TeeError::Busy)), 75);
    assert_eq!(request(Err(TeeError::OutOfMemory)), 75);
    for (status, code) in [
        ("400 Bad Request", 1),
        ("429 Too Many Requests", 75),
        ("500 Internal Server Error", 1),
        ("502 Bad Gateway", 69),
        ("503 Service Unavailable", 75),
        ("504 Gateway Timeout", 69),
    ] {
        let server = Server::new(vec![answer(status, &[], b"")]);
        assert_eq!(outcome(&["request", &server.url()], ScriptedTee::default()), code, "{status}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(outcome(&["request", &format!("http://{free}/")], ScriptedTee::default()), 69);
    assert_eq!(outcome(&["request", "http://tam.invalid/"], ScriptedTee::default()), 69);
    assert_eq!(outcome(&["request", "nonsense"], ScriptedTee::default()), 1);
    assert_eq!(outcome(&["status"], ScriptedTee::new(vec![Err(TeeError::Busy)])), 75);
    let help = Arguments::try_parse_from(["otrp-agent", "--help"]).unwrap_err().to_string();
    for code in ["0   done", "1   refused", "2   usage", "69  the TAM", "75  try again"] {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn the_time_of_the_tee_is_shown() {
    // From: date -u -d @1795554635 +%Y-%m-%dT%H:%M:%SZ
    let now = 1_795_554_635;
    let status = |time: u64| format!("{{\"name\":\"optee\",\"time\":{time}}}");
    let note = |time: u64| clock_note(status(time).as_bytes(), now).unwrap();
    assert_eq!(note(now), "the TEE's time is 2026-11-24T21:10:35Z");
    assert!(!note(now + 300).contains("apart") && !note(now - 300).contains("apart"));
    for time in [now + 301, now - 301, 0] {
        let note = note(time);
        assert!(
            note.contains("the system's 2026-11-24T21:10:35Z") && note.contains("apart"),
            "{note}"
        );
    }
    // Older brokers do not say it.
    for other in [&b"{}"[..], b"status", br#"{"time":"noon"}"#, br#"{"time":-1}"#] {
        assert_eq!(clock_note(other, now), None);
    }
}

/// Every example of every help text, with the files and the TAM that it names.
#[test]
fn the_examples_of_all_help_texts_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("device.chain.pem"), PEM).unwrap();
    let help = |command: &str| {
        Arguments::try_parse_from(["otrp-agent", command, "--help"]).unwrap_err().to_string()
    };
    let commands = ["status", "csr", "import-cert", "request", "unrequest", "process", "ta-info"];
    let list = Arguments::try_parse_from(["otrp-agent", "--help"]).unwrap_err().to_string();
    for command in commands {
        assert!(list.contains(&format!("\n  {command} ")), "{list}");
        let help = help(command);
        let (_, examples) = help.split_once("\nExample").expect(command);
        let examples =
            examples.lines().map(str::trim).filter(|line| line.starts_with("otrp-agent "));
        let mut count = 0;
        for example in examples {
            count += 1;
            // What the shell does with its input and output.
            let words = example.split(['<', '>']).next().unwrap().split_whitespace().skip(1);
            let server = Server::new(vec![message(br#"{"InstallTARequest":{}}"#), nothing_more()]);
            let words: Vec<String> = words
                .map(|word| match word {
                    "https://tam.example.com/otrp" => server.url(),
                    file if file.starts_with("device.") => path(file),
                    word => word.to_owned(),
                })
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let applications = if command == "request" { vec![UUID] } else { Vec::new() };
            if command == "process" {
                let mut open = || Ok(Box::new(reply(b"{}")) as Box<dyn Tee>);
                cli::process(&mut b"{}".as_slice(), &mut open, &mut Vec::new()).unwrap();
                continue;
            }
            let (output, _) = run(&words, ScriptedTee { applications, ..ScriptedTee::default() });
            output.unwrap_or_else(|error| panic!("{example}: {error}"));
        }
        assert!(count > 0, "{command} has no example");
    }
    let listed = list.lines().filter(|line| {
        line.starts_with("  ")
            && line.chars().nth(2).is_some_and(|first| first.is_ascii_lowercase())
    });
    assert_eq!(listed.count(), commands.len() + 1, "all, and help: {list}");
}
