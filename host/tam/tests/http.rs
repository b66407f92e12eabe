//! What the server answers to every kind of request, over the loopback.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::harness::{HttpAnswer, Server, connect, connection_from, post, send, serve_until};
use common::{MEDIA_TYPE, new_key, sign};
use otrp_tam::http::{BODY_LIMIT, Patience};
use serde_json::{Value, json};

fn assert_hardened(answer: &HttpAnswer) {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{}", answer.status);
    }
}

#[test]
fn a_device_that_connects_is_asked_for_its_state() {
    let server = Server::start("");
    let answer = connect(server.address);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(MEDIA_TYPE));
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    assert_hardened(&answer);
    let message: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(message["GetDeviceStateRequest"]["payload"].is_string());
}

#[test]
fn each_kind_of_request_has_its_status() {
    let server = Server::start("");
    let long = vec![b' '; BODY_LIMIT + 1];
    let chunked = [format!("{:x}\r\n", long.len()).as_bytes(), &long, b"\r\n0\r\n\r\n"].concat();
    let otrp = format!("Content-Type: {MEDIA_TYPE}");
    let with_length = |head: &str, body: &[u8]| format!("{head}\r\nContent-Length: {}", body.len());
    let rows: Vec<(u16, String, &[u8])> = vec![
        (405, "GET /tam HTTP/1.1".into(), b""),
        (405, "HEAD /tam HTTP/1.1".into(), b""),
        (405, with_length(&format!("PUT /tam HTTP/1.1\r\n{otrp}"), b"{}"), b"{}"),
        (405, "OPTIONS /tam HTTP/1.1".into(), b""),
        (415, with_length("POST /tam HTTP/1.1", b"{}"), b"{}"),
        (415, with_length("POST / HTTP/1.1\r\nContent-Type: application/json", b"{}"), b"{}"),
        (415, with_length("POST / HTTP/1.1\r\nContent-Type: application/otrp", b"{}"), b"{}"),
        (413, with_length(&format!("POST / HTTP/1.1\r\n{otrp}"), &long), &long),
        (413, format!("POST / HTTP/1.1\r\n{otrp}\r\nTransfer-Encoding: chunked"), &chunked),
        (400, with_length(&format!("POST / HTTP/1.1\r\n{otrp}"), b"{}"), b"{}"),
        (400, with_length(&format!("POST / HTTP/1.1\r\n{otrp}; charset=utf-8"), b"[]"), b"[]"),
        (400, with_length("POST / HTTP/1.1\r\nContent-Type: Application/OTRP+JSON", b"x"), b"x"),
        (405, "HEAD /health HTTP/1.1".into(), b""),
        (405, "GET /health/ HTTP/1.1".into(), b""),
        (200, "GET /health HTTP/1.1".into(), b""),
        (200, "POST /health HTTP/1.1\r\nContent-Length: 0".into(), b""),
        (200, "POST /any/path?x=y HTTP/1.1\r\nContent-Length: 0".into(), b""),
        (200, "POST / HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 0".into(), b""),
    ];
    for (status, head, body) in rows {
        let answer = send(server.address, &head, body);
        assert_eq!(answer.status, status, "{head}");
        assert_hardened(&answer);
        assert_eq!(answer.body.is_empty(), status != 200, "{head}");
        assert_eq!(answer.header("allow"), (status == 405).then_some("POST"), "{head}");
    }
}

#[test]
fn deep_nesting_and_odd_bytes_are_refused() {
    let server = Server::start("");
    let deep = "[".repeat(100_000);
    let rows = [
        deep.clone().into_bytes(),
        format!(r#"{{"GetDeviceStateResponse":{deep}"#).into_bytes(),
        format!(r#"{{"CreateSDResponse":{{"payload":{deep}"#).into_bytes(),
        format!(r#"{{"CreateSDResponse":{}}}"#, "9".repeat(10_000)).into_bytes(),
        b"{\"\xff\":1}".to_vec(),
        b"{\"CreateSDResponse\":{\"payload\":\"a\nb\"}}".to_vec(),
        b"\0".to_vec(),
    ];
    for body in rows {
        assert_eq!(post(server.address, &body).status, 400);
    }
    assert_eq!(connect(server.address).status, 200);
}

#[test]
fn unexpected_answers_are_refused_and_unsigned_refusals_end_the_exchange() {
    let server = Server::start("");
    let refusal = |rid: &Value, tid: &Value| {
        let tbs = json!({ "GetDeviceTEEStateTBSResponse": {
            "ver": "1.0", "status": "fail", "rid": rid, "tid": tid,
            "reason": { "error-code": "ERR_TAM_NOT_TRUSTED", "error-message": "line\nbreak" },
            "supportedsigalgs": ["RS256"] } });
        let answer = sign(&tbs, None, &new_key());
        json!({ "GetDeviceStateResponse": [{ "GetDeviceTEEStateResponse": answer }] })
            .to_string()
            .into_bytes()
    };
    let request = connect(server.address).body;
    let request: Value = serde_json::from_slice(&request).unwrap();
    let payload = request["GetDeviceStateRequest"]["payload"].as_str().unwrap();
    let payload: Value = serde_json::from_slice(&common::from_url(payload)).unwrap();
    let tbs = &payload["GetDeviceStateTBSRequest"];
    let post = |body: &[u8]| post(server.address, body).status;
    assert_eq!(post(&refusal(&tbs["rid"], &tbs["tid"])), 204);
    // Nobody signed that for sure, so it must not have ended the wait for the right answer.
    assert_eq!(post(&refusal(&tbs["rid"], &tbs["tid"])), 204);
    assert_eq!(post(&refusal(&"".into(), &"".into())), 204);
    assert_eq!(post(&refusal(&"other".into(), &tbs["tid"])), 400);
    assert_eq!(post(&refusal(&tbs["rid"], &"other".into())), 400);
    assert_eq!(
        post(br#"{"OTrPBrokerError":{"ver":"1.0","rid":"","tid":"","errcode":"ERR_AGENT_TEE_BUSY"}}"#),
        204
    );
}

#[test]
fn a_wrong_configuration_is_the_tams_fault() {
    let server = Server::start("");
    // A device would refuse it, and could not say why.
    std::fs::rename(server.path("tam.ocsp"), server.path("gone")).unwrap();
    let answer = connect(server.address);
    assert_eq!(answer.status, 500);
    assert_hardened(&answer);
    std::fs::rename(server.path("gone"), server.path("tam.ocsp")).unwrap();
    assert_eq!(connect(server.address).status, 200);
    // What was right stays in use until what comes after it is right too.
    server.configure("[[sd]]\nname = 'sd'\n");
    assert_eq!(connect(server.address).status, 200);
}

/// Requests that are never completed: nothing, half a head, half a body; and a whole one.
const HALVES: [&[u8]; 4] = [
    b"",
    b"POST / HT",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/otrp+json\r\nContent-Length: 100\r\n\r\n{",
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
];

fn begin(address: SocketAddr, half: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(half).unwrap();
    stream
}

const SHORT: Patience = Patience {
    head: Duration::from_millis(300),
    body: Duration::from_millis(300),
    write: Duration::from_millis(300),
    end: Duration::from_millis(300),
    connections: 8,
};

#[test]
fn clients_that_stall_are_cut_off() {
    let server = Server::start("");
    let config = server.path("desired.toml");
    let (address, _) =
        serve_until(&config, &server.path("own.redb"), SHORT, std::future::pending());
    for half in HALVES {
        let mut stream = begin(address, half);
        let start = Instant::now();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", String::from_utf8_lossy(half));
    }
    // More of them than there is room for: those who come later wait, and are served.
    let stalled: Vec<_> = (0..20).map(|at| begin(address, HALVES[at % HALVES.len()])).collect();
    assert_eq!(connect(address).status, 200);
    drop(stalled);
}

#[test]
fn the_server_ends_whatever_clients_do() {
    let server = Server::start("");
    let config = server.path("desired.toml");
    let patience =
        Patience { head: Duration::from_secs(60), body: Duration::from_secs(60), ..SHORT };
    for half in HALVES {
        let (end, ended) = tokio::sync::oneshot::channel();
        let (address, serving) = serve_until(&config, &server.path("own.redb"), patience, async {
            let _: Result<(), _> = ended.await;
        });
        let stalled = begin(address, half);
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        end.send(()).unwrap();
        serving.join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", String::from_utf8_lossy(half));
        drop(stalled);
    }
}

#[test]
fn one_address_does_not_hold_all_connections() {
    let server = Server::start("");
    let config = server.path("desired.toml");
    let patience =
        Patience { head: Duration::from_secs(60), body: Duration::from_secs(60), ..SHORT };
    let (address, _) =
        serve_until(&config, &server.path("own.redb"), patience, std::future::pending());
    // Five times as many as the server takes, and none of them continues.
    let stalled: Vec<_> = (0..40)
        .map(|at| {
            let mut stream = connection_from([127, 0, 0, 2], address);
            // It may have been ended already.
            let _ = stream.write_all(HALVES[at % 3]);
            stream
        })
        .collect();
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(connect(address).status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // The address itself is served too: the oldest one that stalls ends for it.
    let mut stream = connection_from([127, 0, 0, 2], address);
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(stalled);
}
