//! A server on the loopback, and an HTTP client that sends exactly what it is given.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use otrp_tam::http::{self, Patience};
use otrp_tam::listing::Listing;
use otrp_tam::record::DeviceRecord;
use otrp_tam::store::read_devices;
use otrp_tam::tam::Tam;

use super::MEDIA_TYPE;
use super::device::Device;
use super::fixture::{Holder, Pki};

pub struct HttpAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a head (request line and headers) and a body, and reads until the server closes.
pub fn send(address: SocketAddr, head: &str, body: &[u8]) -> HttpAnswer {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{head}\r\nHost: tam.test\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses a long body may close before it has read it.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        })
        .collect();
    HttpAnswer { status, headers, body: answer[end + 4..].to_vec() }
}

/// Posts a message as an agent does.
pub fn post(address: SocketAddr, body: &[u8]) -> HttpAnswer {
    let head = format!(
        "POST /tam HTTP/1.1\r\nAccept: {MEDIA_TYPE}\r\nContent-Type: {MEDIA_TYPE}\r\n\
         Content-Length: {}",
        body.len()
    );
    send(address, &head, body)
}

/// Connects as an agent does: with nothing.
pub fn connect(address: SocketAddr) -> HttpAnswer {
    let head = format!("POST /tam HTTP/1.1\r\nAccept: {MEDIA_TYPE}\r\nContent-Length: 0");
    send(address, &head, &[])
}

/// Plays the agent between a device and the TAM to the end.
pub fn converge(address: SocketAddr, device: &mut Device) -> Vec<String> {
    device.requests.clear();
    let mut answer = connect(address);
    while answer.status == 200 {
        assert!(device.requests.len() < 50, "no end: {:?}", device.requests);
        answer = post(address, &device.process(&answer.body));
    }
    assert_eq!(answer.status, 204);
    assert!(answer.body.is_empty());
    device.requests.clone()
}

/// The same until the device has carried out a request of this name, whose answer is lost.
pub fn lose_answer(address: SocketAddr, device: &mut Device, name: &str) {
    device.requests.clear();
    let mut answer = connect(address);
    loop {
        assert_eq!(answer.status, 200, "there was no {name}: {:?}", device.requests);
        let reply = device.process(&answer.body);
        if device.requests.last().is_some_and(|last| last == name) {
            return;
        }
        answer = post(address, &reply);
    }
}

/// A desired state with one security domain.
pub const DOMAIN: &str = "[[sd]]\nname = 'sd'\nspid = 'sp'\ncertificates = ['sp.der']\n";

/// The same with a TA in the domain.
pub fn with_ta(file: &str) -> String {
    format!("{DOMAIN}[[sd.ta]]\nid = 'ta'\nfile = '{file}'\n")
}

/// The key of that domain in [`Device::domains`].
pub fn key_of_domain() -> (String, String) {
    ("sp".into(), "sd".into())
}

pub struct Server {
    pub pki: Pki,
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
    pub tam_section: String,
}

impl Server {
    /// A server whose desired state is `domains` in TOML.
    pub fn start(domains: &str) -> Self {
        let pki = Pki::new();
        let folder = tempfile::tempdir().unwrap();
        let tam_section = pki.write(folder.path());
        let config = folder.path().join("desired.toml");
        std::fs::write(&config, format!("{tam_section}{domains}")).unwrap();
        for version in [1, 2] {
            pki.write_image(folder.path(), &format!("v{version}.ta"), version);
        }
        let address = serve(&config, &folder.path().join("tam.redb"));
        Self { pki, folder, address, tam_section }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn configure(&self, domains: &str) {
        let text = format!("{}{domains}", self.tam_section);
        std::fs::write(self.path("desired.toml"), text).unwrap();
    }

    /// Writes the files of the TAM's other identity.
    pub fn write_alternative(&self, other: &Holder) {
        let key = other.key.private_key_to_pem_pkcs8().unwrap();
        std::fs::write(self.path("other.key.pem"), key).unwrap();
        let root = &self.pki.tam_root.certificate;
        let chain = [other.certificate.to_pem().unwrap(), root.to_pem().unwrap()].concat();
        std::fs::write(self.path("other.chain.pem"), chain).unwrap();
        std::fs::write(self.path("other.ocsp"), self.pki.ocsp(other, false)).unwrap();
    }

    /// A configuration of a TAM with two keys.
    pub fn with_alternative(&self, domains: &str) -> String {
        self.write_alternative(&self.pki.rsa_tam());
        let files = "key = 'other.key.pem'\nchain = 'other.chain.pem'\nocsp = ['other.ocsp']\n";
        format!("{}[tam.alternative]\n{files}{domains}", self.tam_section)
    }

    pub fn records(&self) -> Vec<DeviceRecord> {
        read_devices(&self.path("tam.redb")).unwrap()
    }
}

/// Serves in the background until the test ends.
pub fn serve(config: &Path, state: &Path) -> SocketAddr {
    serve_until(config, state, Patience::default(), std::future::pending()).0
}

/// Serves in the background, with so much patience, until something happens; the thread ends with it.
pub fn serve_until(
    config: &Path,
    state: &Path,
    patience: Patience,
    end: impl Future<Output = ()> + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let tam = Arc::new(Tam::new(config, state).unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (listing, listed) = (Listing::open(tam.state_file()).unwrap(), tam.clone());
            tokio::spawn(listing.serve(move || listed.devices()));
            http::serve(tam, listener, patience, end).await.unwrap();
        });
    });
    (address, server)
}

/// A connection from one of the addresses of the loopback.
pub fn connection_from(source: [u8; 4], address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}
