//! A scripted TAM on the loopback interface and a scripted TEE.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use otrp_agent::message::TaName;
use otrp_agent::tee::{Presence, Tee, TeeError};

/// One request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A server that gives one scripted answer a connection, and the last one for ever.
pub struct Server {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    pub fn new(answers: Vec<Vec<u8>>) -> Self {
        Self::with_transport(answers, |stream| Some(Box::new(stream)))
    }

    pub fn with_transport<T>(answers: Vec<Vec<u8>>, wrap: T) -> Self
    where
        T: Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&received);
        thread::spawn(move || {
            let mut answers = VecDeque::from(answers);
            for stream in listener.incoming() {
                let Some(mut stream) = wrap(stream.unwrap()) else { continue };
                let Some(request) = read_request(&mut *stream) else { continue };
                log.lock().unwrap().push(request);
                let answer = match answers.len() {
                    0 => continue,
                    1 => answers[0].clone(),
                    _ => answers.pop_front().unwrap(),
                };
                // A client that has heard enough may be gone.
                let _ = stream.write_all(&answer).and_then(|()| stream.flush());
            }
        });
        Self { address, received }
    }

    pub fn url(&self) -> String {
        format!("http://{}/otrp", self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn read_request(stream: &mut dyn Stream) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).ok()?;
        head.push(octet[0]);
    }
    let mut request = Received { head: String::from_utf8(head).unwrap(), body: Vec::new() };
    let length = request.header("Content-Length").map_or(0, |length| length.parse().unwrap());
    request.body = vec![0; length];
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// An answer with a message in it.
pub fn message(body: &[u8]) -> Vec<u8> {
    answer("200 OK", &["Content-Type: application/otrp+json"], body)
}

/// The answer of a TAM that has nothing more.
pub fn nothing_more() -> Vec<u8> {
    b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec()
}

pub fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// A TEE that gives scripted replies and remembers what it was asked.
#[derive(Default)]
pub struct ScriptedTee {
    pub replies: VecDeque<Result<Vec<u8>, TeeError>>,
    pub asked: Arc<Mutex<Vec<Vec<u8>>>>,
    pub applications: Vec<&'static str>,
    /// What becomes of a session with any other.
    pub unloadable: Option<u32>,
    /// What `prepare` says, and how often it was called.
    pub preparation: Option<TeeError>,
    pub prepared: Arc<Mutex<usize>>,
}

impl ScriptedTee {
    pub fn new(replies: Vec<Result<&[u8], TeeError>>) -> Self {
        let replies = replies.into_iter().map(|reply| reply.map(<[u8]>::to_vec)).collect();
        Self { replies, ..Self::default() }
    }

    fn reply(&mut self, asked: &[u8]) -> Result<Vec<u8>, TeeError> {
        self.asked.lock().unwrap().push(asked.to_vec());
        self.replies.pop_front().unwrap_or(Ok(b"{}".to_vec()))
    }
}

impl Tee for ScriptedTee {
    fn process(&mut self, request: &[u8]) -> Result<Vec<u8>, TeeError> {
        self.reply(request)
    }

    fn ta_information(&mut self, name: TaName<'_>) -> Result<Vec<u8>, TeeError> {
        let TaName { spid, taid, tamid, sdname } = name;
        let told = [Some(spid), Some(taid), tamid, sdname].into_iter().flatten();
        self.reply(told.collect::<Vec<_>>().join(" ").as_bytes())
    }

    fn certification_request(&mut self) -> Result<Vec<u8>, TeeError> {
        self.reply(b"csr")
    }

    fn import_certificates(&mut self, chain: &[u8]) -> Result<(), TeeError> {
        self.reply(chain).map(drop)
    }

    fn prepare(&mut self) -> Result<(), TeeError> {
        *self.prepared.lock().unwrap() += 1;
        self.preparation.map_or(Ok(()), Err)
    }

    fn status(&mut self) -> Result<Vec<u8>, TeeError> {
        self.reply(b"status")
    }

    fn application(&mut self, uuid: &str) -> Result<Presence, TeeError> {
        Ok(match self.unloadable {
            _ if self.applications.contains(&uuid) => Presence::Opens,
            Some(code) => Presence::Unloadable(code),
            None => Presence::Absent,
        })
    }
}
