//! OTrP over HTTP against a scripted TAM: the conversation, and every way it can fail.

mod support;

use std::net::TcpListener;
use std::time::Duration;

use otrp_agent::exchange::{
    EXCHANGE_LIMIT, Exchange, REFUSED_LIMIT, SessionError, UNANSWERED_LIMIT, run,
};
use otrp_agent::http::{Settings, Tam, TamError};
use otrp_agent::message::Outcome;
use otrp_agent::tee::TeeError;
use support::{ScriptedTee, Server, answer, message, nothing_more};

const LIMIT: usize = 1000;
// {"GetDeviceTEEStateTBSResponse":{"status":"pass"}}
const STATE: &[u8] = br#"{"GetDeviceTEEStateResponse":{"payload":"eyJHZXREZXZpY2VURUVTdGF0ZVRCU1Jlc3BvbnNlIjp7InN0YXR1cyI6InBhc3MifX0","signature":"x"}}"#;
// {"InstallTATBSResponse":{"status":"fail","reason":{"error-code":"ERR_TA_INVALID"}}}
const REFUSAL: &[u8] = br#"{"InstallTAResponse":{"payload":"eyJJbnN0YWxsVEFUQlNSZXNwb25zZSI6eyJzdGF0dXMiOiJmYWlsIiwicmVhc29uIjp7ImVycm9yLWNvZGUiOiJFUlJfVEFfSU5WQUxJRCJ9fX0"}}"#;

fn settings() -> Settings {
    Settings {
        longest_answer: LIMIT,
        answer_timeout: Duration::from_millis(500),
        ..Settings::default()
    }
}

fn session(server: &Server, tee: &mut ScriptedTee) -> (Result<(), SessionError>, Vec<Exchange>) {
    let tam = Tam::new(&server.url(), settings()).unwrap();
    let mut exchanges = Vec::new();
    let result = run(&tam, tee, &mut |exchange| exchanges.push(exchange.clone()));
    (result, exchanges)
}

fn first_post(server: &Server) -> Result<Option<Vec<u8>>, TamError> {
    Tam::new(&server.url(), settings()).unwrap().post(None)
}

#[test]
fn a_session_continues_until_the_tam_has_nothing_more() {
    let server = Server::new(vec![
        message(br#"{"GetDeviceStateRequest":{}}"#),
        message(br#" { "InstallTARequest" : {}}"#),
        nothing_more(),
    ]);
    let mut tee = ScriptedTee::new(vec![Ok(STATE), Ok(REFUSAL)]);
    let (result, exchanges) = session(&server, &mut tee);
    assert_eq!(result.unwrap_err().to_string(), "the TEE refuses InstallTA: ERR_TA_INVALID");

    assert_eq!(exchanges.len(), 2);
    assert_eq!(exchanges[0].name, "GetDeviceState");
    assert_eq!(exchanges[0].result, Ok(Outcome::Pass));
    assert_eq!(exchanges[1].name, "InstallTA");
    assert_eq!(exchanges[1].result, Ok(Outcome::Fail("ERR_TA_INVALID".to_owned())));
    let line = exchanges[1].to_string();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[..2], ["InstallTA", "ERR_TA_INVALID"]);
    assert!(line.ends_with(" ms"), "{line}");

    let asked = tee.asked.lock().unwrap();
    assert_eq!(asked[0], br#"{"GetDeviceStateRequest":{}}"#);
    assert_eq!(asked[1], br#" { "InstallTARequest" : {}}"#);

    let received = server.received();
    assert_eq!(received.len(), 3);
    for request in &received {
        assert!(request.head.starts_with("POST /otrp HTTP/1.1\r\n"), "{}", request.head);
        assert_eq!(request.header("Accept"), Some("application/otrp+json"));
        assert!(request.header("User-Agent").unwrap().starts_with("otrp-agent/"));
    }
    assert_eq!(received[0].header("Content-Length"), Some("0"));
    assert_eq!(received[0].header("Content-Type"), None);
    assert!(received[0].body.is_empty());
    assert_eq!(received[1].header("Content-Type"), Some("application/otrp+json"));
    let wrapped = [br#"{"GetDeviceStateResponse":["#, STATE, b"]}"].concat();
    assert_eq!(received[1].body, wrapped);
    assert_eq!(received[2].body, REFUSAL);
}

#[test]
fn an_empty_answer_of_any_success_ends_the_session() {
    let rows = [
        nothing_more(),
        answer("200 OK", &[], b""),
        answer("200 OK", &["Content-Type: text/html"], b""),
        answer("202 Accepted", &[], b""),
    ];
    for row in rows {
        assert_eq!(first_post(&Server::new(vec![row])).unwrap(), None);
    }
}

#[test]
fn the_media_type_is_compared_as_http_says() {
    for (header, accepted) in [
        ("Content-Type: application/otrp+json", true),
        ("content-type: Application/OTrP+JSON; charset=utf-8", true),
        ("Content-Type: application/json", false),
        ("Content-Type: application/otrp+jsonx", false),
        ("Content-Type: application/otrp", false),
        ("Content-Type: text/html; application/otrp+json", false),
        ("Content-Type:", false),
        ("X-Content-Type: application/otrp+json", false),
    ] {
        let server = Server::new(vec![answer("200 OK", &[header], b"{}")]);
        match first_post(&server) {
            Ok(Some(body)) => assert!(accepted && body == b"{}", "{header}"),
            Err(TamError::ContentType { .. }) => assert!(!accepted, "{header}"),
            other => panic!("{header}: {other:?}"),
        }
    }
}

#[test]
fn a_redirect_is_not_followed() {
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let elsewhere = Server::new(vec![message(b"{}")]);
        let location = format!("Location: {}", elsewhere.url());
        let server = Server::new(vec![answer(status, &[&location], b"")]);
        let error = first_post(&server).expect_err(status);
        assert!(matches!(error, TamError::Redirect { .. }), "{status}: {error:?}");
        assert!(error.to_string().contains(&elsewhere.url()), "{error}");
        assert_eq!(server.received().len(), 1, "{status}");
        assert!(elsewhere.received().is_empty(), "{status}");
    }
}

#[test]
fn errors_of_the_tam_are_reported_with_their_status() {
    for (status, code) in [
        ("400 Bad Request", "400"),
        ("404 Not Found", "404"),
        ("415 Unsupported Media Type", "415"),
        ("500 Internal Server Error", "500"),
        ("503 Service Unavailable", "503"),
    ] {
        // Neither a body nor its type makes an error a message.
        let server =
            Server::new(vec![answer(status, &["Content-Type: application/otrp+json"], b"{}")]);
        let error = first_post(&server).expect_err(status);
        assert!(matches!(error, TamError::Status { .. }), "{status}: {error:?}");
        assert!(error.to_string().contains(code), "{error}");
    }
}

#[test]
fn the_length_of_an_answer_is_bounded() {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/otrp+json\r\n";
    let with_length = |length: usize| message(&vec![b'x'; length]);
    let chunked = |length: usize| {
        let chunks = "1\r\nx\r\n".repeat(length);
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes()
    };
    let until_close = |length: usize| format!("{head}\r\n{}", "x".repeat(length)).into_bytes();
    for (name, row) in [
        ("Content-Length", &with_length as &dyn Fn(usize) -> Vec<u8>),
        ("chunked", &chunked),
        ("until close", &until_close),
    ] {
        let longest = first_post(&Server::new(vec![row(LIMIT)])).unwrap().unwrap();
        assert_eq!(longest.len(), LIMIT, "{name}");
        let error = first_post(&Server::new(vec![row(LIMIT + 1)])).expect_err(name);
        assert!(matches!(error, TamError::TooLong { limit: LIMIT, .. }), "{name}: {error:?}");
    }
    // An announcement alone is enough.
    let announced = format!("{head}Content-Length: 99999999999\r\n\r\n").into_bytes();
    assert!(first_post(&Server::new(vec![announced])).is_err());
}

#[test]
fn broken_connections_differ_from_silence() {
    let cut =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/otrp+json\r\nContent-Length: 10\r\n\r\n{}";
    for (name, bytes) in [
        ("closed at once", b"".as_slice()),
        ("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("cut in the headers", b"HTTP/1.1 200 OK\r\nContent-"),
        ("cut in the body", cut),
    ] {
        let error = first_post(&Server::new(vec![bytes.to_vec()])).expect_err(name);
        assert!(matches!(error, TamError::Broken { .. }), "{name}: {error:?}");
    }

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let error = Tam::new(&url, settings()).unwrap().post(None).expect_err("silence");
    assert!(matches!(error, TamError::Timeout(_)), "{error:?}");
}

#[test]
fn a_tam_that_is_down_is_reported() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("http://{free}/"), format!("https://{free}/")] {
        let error = Tam::new(&url, settings()).unwrap().post(None).expect_err(&url);
        assert!(matches!(error, TamError::Unreachable { .. }), "{url}: {error:?}");
        assert!(error.to_string().contains(&url), "{error}");
    }
    // RFC 6761 keeps this name from ever having an address.
    let error = Tam::new("http://tam.invalid/", settings()).unwrap().post(None).unwrap_err();
    assert!(error.to_string().contains("http://tam.invalid/"), "{error}");
}

#[test]
fn only_urls_of_http_are_taken() {
    for url in [
        "",
        "tam.example.org",
        "/otrp",
        "ftp://tam.example.org/",
        "file:///etc/passwd",
        "http://",
        "http://a b/",
    ] {
        assert!(matches!(Tam::new(url, settings()), Err(TamError::Url { .. })), "{url}");
    }
    for url in ["http://tam.example.org", "https://tam.example.org:8443/otrp", "http://[::1]:80/"] {
        assert!(Tam::new(url, settings()).is_ok(), "{url}");
    }
}

#[test]
fn a_tee_without_an_answer_is_reported_to_the_tam_and_the_user() {
    for (failure, code) in [
        (TeeError::Busy, "ERR_AGENT_TEE_BUSY"),
        (TeeError::OutOfMemory, "ERR_AGENT_TEE_BUSY"),
        (TeeError::Crashed, "ERR_AGENT_TEE_UNKNOWN"),
        (TeeError::TooLong, "ERR_AGENT_TEE_UNKNOWN"),
        (TeeError::Other(0xffff_0000), "ERR_AGENT_TEE_UNKNOWN"),
    ] {
        let server = Server::new(vec![
            message(br#"{"InstallTARequest":{}}"#),
            message(br#"{"GetDeviceStateRequest":{}}"#),
            nothing_more(),
        ]);
        let mut tee = ScriptedTee::new(vec![Err(failure), Ok(STATE)]);
        let (result, exchanges) = session(&server, &mut tee);
        // The failure was reported to the TAM, which continued, and to the user at the end.
        let expected = format!(
            r#"{{"OTrPBrokerError":{{"ver":"1.0","rid":"","tid":"","errcode":"{code}"}}}}"#
        );
        assert_eq!(server.received()[1].body, expected.as_bytes());
        assert_eq!(exchanges[0].result, Err(failure));
        assert!(exchanges[0].to_string().contains(code));
        assert_eq!(exchanges[1].result, Ok(Outcome::Pass));
        assert!(matches!(result, Err(SessionError::Tee(found)) if found == failure), "{failure:?}");
    }
}

#[test]
fn a_tam_that_fails_midway_ends_the_session() {
    let server = Server::new(vec![
        message(br#"{"GetDeviceStateRequest":{}}"#),
        answer("500 Internal Server Error", &[], b""),
    ]);
    let (result, exchanges) = session(&server, &mut ScriptedTee::new(vec![Ok(STATE)]));
    assert!(matches!(result, Err(SessionError::Tam(TamError::Status { .. }))), "{result:?}");
    assert_eq!(exchanges.len(), 1);
}

#[test]
fn a_refusal_that_is_repeated_successfully_is_no_failure() {
    // {"InstallTATBSResponse":{"status":"pass"}}
    let pass: &[u8] = br#"{"InstallTAResponse":{"payload":"eyJJbnN0YWxsVEFUQlNSZXNwb25zZSI6eyJzdGF0dXMiOiJwYXNzIn19"}}"#;
    // The same with fail and ERR_DEV_STATE_MISMATCH.
    let outdated: &[u8] = br#"{"InstallTAResponse":{"payload":"eyJJbnN0YWxsVEFUQlNSZXNwb25zZSI6eyJzdGF0dXMiOiJmYWlsIiwicmVhc29uIjp7ImVycm9yLWNvZGUiOiJFUlJfREVWX1NUQVRFX01JU01BVENIIn19fQ"}}"#;
    let install = || message(br#"{"InstallTARequest":{}}"#);
    for (replies, refused) in [
        (vec![Ok(outdated), Ok(pass)], false),
        // What passes then is another application.
        (vec![Ok(REFUSAL), Ok(pass)], true),
        (vec![Ok(pass), Ok(REFUSAL)], true),
        (vec![Ok(REFUSAL), Ok(REFUSAL)], true),
        (vec![Ok(pass), Ok(pass)], false),
    ] {
        let server = Server::new(vec![install(), install(), nothing_more()]);
        let (result, _) = session(&server, &mut ScriptedTee::new(replies.clone()));
        match result {
            Ok(()) => assert!(!refused, "{replies:?}"),
            Err(SessionError::Refused(refusal)) => {
                assert!(refused && refusal.name == "InstallTA", "{replies:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_tam_that_sends_no_messages_is_left() {
    let server = Server::new(vec![message(b"{\"\xff garbage")]);
    let mut tee = ScriptedTee::new(vec![Err(TeeError::NotOtrp); 10]);
    let (result, exchanges) = session(&server, &mut tee);
    assert!(matches!(result, Err(SessionError::Unanswerable(TeeError::NotOtrp))), "{result:?}");
    assert_eq!(exchanges.len(), UNANSWERED_LIMIT);
    // One answer in between, and the session may continue.
    let mut tee = ScriptedTee::new(
        [vec![Err(TeeError::NotOtrp); 2], vec![Ok(STATE)], vec![Err(TeeError::NotOtrp); 10]]
            .concat(),
    );
    assert_eq!(session(&server, &mut tee).1.len(), 3 + UNANSWERED_LIMIT);
}

#[test]
fn a_session_ends_if_the_tam_repeats_what_is_refused() {
    let server = Server::new(vec![message(br#"{"InstallTARequest":"garbage"}"#)]);
    let mut tee = ScriptedTee::new(vec![Ok(REFUSAL); 20]);
    let (result, exchanges) = session(&server, &mut tee);
    assert!(matches!(result, Err(SessionError::Refused(_))), "{result:?}");
    assert_eq!(exchanges.len(), REFUSED_LIMIT);
}

#[test]
fn passwords_in_a_url_are_not_shown() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let elsewhere = answer("302 Found", &["Location: https://user:secret@elsewhere/"], b"");
    let server = Server::new(vec![elsewhere]);
    for (url, shown) in [
        (format!("http://user:secret@{free}/otrp"), format!("http://...@{free}/otrp")),
        (format!("http://secret@{free}/otrp?x=y@z"), format!("http://...@{free}/otrp?x=y@z")),
        (format!("http://user:secret@{}/", server.address), "https://...@elsewhere/".to_owned()),
        ("http://user:sec/secret@host/".to_owned(), "http://...@host/".to_owned()),
        ("http://user:sec ret@host/".to_owned(), "http://...@host/".to_owned()),
        ("user:secret@host".to_owned(), "...@host".to_owned()),
        (format!("ftp://user:secret@{free}/"), format!("ftp://...@{free}/")),
        (format!("http://{free}/a@b"), format!("http://{free}/a@b")),
        ("http://[::1]:1/a@b".to_owned(), "http://[::1]:1/a@b".to_owned()),
    ] {
        let error = match Tam::new(&url, settings()) {
            Err(error) => error,
            Ok(tam) => {
                assert!(!format!("{tam:?}").contains("secret"), "{tam:?}");
                tam.post(None).expect_err(&url)
            }
        };
        let said = format!("{error} {error:?}");
        assert!(said.contains(&shown) && !said.contains("sec"), "{said}");
    }
}

#[test]
fn what_is_wrong_with_a_url_is_reported() {
    for (url, why) in [
        ("http://a b/", "a space"),
        ("tam.example.org", "begin with http:// or https://"),
        ("ftp://tam.example.org/", "begin with http:// or https://"),
        ("http://", "name"),
    ] {
        let error = Tam::new(url, settings()).expect_err(url).to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn clocks_that_differ_are_named() {
    let date = |seconds: u64| {
        let day = seconds / 86_400;
        let time = seconds % 86_400;
        // In days of a month that there is, whatever month it is: only the difference matters.
        let text = std::process::Command::new("date")
            .args(["-u", "-R", "-d", &format!("@{}", day * 86_400 + time)])
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        format!("Date: {}", String::from_utf8(text.stdout).unwrap().trim().replace("+0000", "GMT"))
    };
    let now = otrp_agent::time::now();
    for (clock, warned) in [(now, false), (now - 200, false), (now + 400, true), (0, true)] {
        let header = date(clock);
        let server = Server::new(vec![answer("200 OK", &[&header], b"")]);
        let tam = Tam::new(&server.url(), settings()).unwrap();
        tam.post(None).unwrap();
        assert_eq!(tam.clock_warning().is_some(), warned, "{header}: {:?}", tam.clock_warning());
    }
    let server = Server::new(vec![nothing_more()]);
    let tam = Tam::new(&server.url(), settings()).unwrap();
    tam.post(None).unwrap();
    assert_eq!(tam.clock_warning(), None);
}

#[test]
fn a_tam_that_never_stops_is_stopped() {
    let server = Server::new(vec![message(br#"{"GetDeviceStateRequest":{}}"#)]);
    let (result, exchanges) = session(&server, &mut ScriptedTee::default());
    assert!(matches!(result, Err(SessionError::Endless)), "{result:?}");
    assert_eq!(exchanges.len(), EXCHANGE_LIMIT);
}
