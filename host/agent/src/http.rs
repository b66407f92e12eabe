//! The HTTP client of OTrP over HTTP: one POST, one bounded answer, no redirects.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use otrp_wire::limits::MESSAGE_LIMIT;
use rustls_pki_types::CertificateDer;
use ureq::http::{HeaderMap, StatusCode, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::time::{TOLERANCE, from_http, now, utc};

/// The media type of OTrP messages in JSON.
pub const MEDIA_TYPE: &str = "application/otrp+json";

/// Time to connect, name resolution and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time that a TAM may take to prepare a message; it may be encrypting megabytes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the longest message on a slow line.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);

/// A TAM at its URL.
pub struct Tam {
    agent: ureq::Agent,
    uri: Uri,
    /// The URL without a password, for people to read.
    shown: String,
    longest_answer: usize,
    /// When the TAM first answered, by its clock and by this system's.
    clocks: Cell<Option<(u64, u64)>>,
}

impl fmt::Debug for Tam {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tam").field("url", &self.shown).finish_non_exhaustive()
    }
}

/// How to reach a TAM.
#[derive(Debug)]
pub struct Settings {
    /// The certificates to trust for HTTPS instead of the public ones.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// The longest answer to accept, in bytes.
    pub longest_answer: usize,
    /// The time within which the TAM has to answer.
    pub answer_timeout: Duration,
}

/// Why a request to a TAM failed.
#[derive(Debug, thiserror::Error)]
pub enum TamError {
    /// The URL is not a valid URL for a TAM.
    #[error("'{url}' is not a TAM's URL: {why}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody answers there.
    #[error("no TAM can be reached at {url}: {reason}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The other side has no certificate to trust, or does not speak TLS.
    #[error("no trusted HTTPS connection to {url}: {reason}")]
    Tls {
        /// The URL.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The TAM stopped answering.
    #[error("the TAM at {0} did not answer in time")]
    Timeout(String),
    /// The connection broke, the answer was not HTTP, or the host has no address.
    #[error("no answer from the TAM at {url}: {reason}")]
    Broken {
        /// The URL.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The TAM redirects the agent.
    #[error(
        "the TAM at {url} redirects to {location} ({status}); redirects are not followed, so give the right URL"
    )]
    Redirect {
        /// The URL.
        url: String,
        /// The answer's status.
        status: StatusCode,
        /// The target.
        location: String,
    },
    /// The TAM refuses or fails.
    #[error("the TAM at {url} answers with the HTTP error {status}")]
    Status {
        /// The URL.
        url: String,
        /// The answer's status.
        status: StatusCode,
    },
    /// The answer is not declared to be an OTrP message.
    #[error("the TAM at {url} answers with {found} instead of {MEDIA_TYPE}")]
    ContentType {
        /// The URL.
        url: String,
        /// What it declares.
        found: String,
    },
    /// The answer is longer than a message may be.
    #[error("the TAM at {url} sends more than {limit} bytes in one message")]
    TooLong {
        /// The URL.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
}

impl TamError {
    /// Whether nobody answered.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout(_) | Self::Broken { .. } => true,
            Self::Status { status, .. } => {
                [StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT].contains(status)
            }
            _ => false,
        }
    }

    /// Whether the TAM asked to try later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Status { status, .. }
            if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(status))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { roots: None, longest_answer: MESSAGE_LIMIT, answer_timeout: ANSWER_TIMEOUT }
    }
}

impl Tam {
    /// Prepares to talk to the TAM at `url`; nothing is sent yet.
    ///
    /// # Errors
    /// `Url` if it is not a valid HTTP or HTTPS URL.
    pub fn new(url: &str, settings: Settings) -> Result<Self, TamError> {
        let shown = without_password(url);
        let refused = |why| Err(TamError::Url { url: shown.clone(), why });
        if url.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return refused("there is a space in it; in a path it is %20");
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return refused("it must begin with http:// or https://");
        }
        let Ok(uri) = url.parse::<Uri>() else {
            return refused("after http:// or https:// it must name a host, and may have a path");
        };
        if uri.host().is_none_or(str::is_empty) {
            return refused("it names no host");
        }
        let roots = match settings.roots {
            None => RootCerts::WebPki,
            Some(roots) => RootCerts::Specific(Arc::new(
                roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect(),
            )),
        };
        let agent = ureq::Agent::config_builder()
            // Redirects and errors come back as answers, each to get its own sentence.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            // The URL alone decides who is asked, not the environment.
            .proxy(None)
            .accept(MEDIA_TYPE)
            .user_agent(concat!("otrp-agent/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_send_body(Some(BODY_TIMEOUT))
            .timeout_recv_response(Some(settings.answer_timeout))
            .timeout_recv_body(Some(BODY_TIMEOUT))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .into();
        let clocks = Cell::default();
        Ok(Self { agent, uri, shown, longest_answer: settings.longest_answer, clocks })
    }

    /// Posts a message, or an empty body to start a session; `None` if the TAM has no message.
    ///
    /// # Errors
    /// Any answer except a message or an empty one, and any failure of the connection.
    pub fn post(&self, message: Option<&[u8]>) -> Result<Option<Vec<u8>>, TamError> {
        let request = self.agent.post(&self.uri);
        let answer = match message {
            None => request.send_empty(),
            Some(message) => request.header(header::CONTENT_TYPE, MEDIA_TYPE).send(message),
        };
        let (parts, mut body) = answer.map_err(|error| self.failure(error))?.into_parts();
        self.note_clock(&parts.headers);
        self.check_status(parts.status, &parts.headers)?;
        // One byte over the limit tells a message of just the limit from a longer one.
        let limit = u64::try_from(self.longest_answer).unwrap_or(u64::MAX).saturating_add(1);
        let message = match body.with_config().limit(limit).read_to_vec() {
            Ok(message) if message.len() <= self.longest_answer => message,
            Ok(_) | Err(ureq::Error::BodyExceedsLimit(_)) => return Err(self.too_long()),
            Err(error) => return Err(self.failure(error)),
        };
        if message.is_empty() {
            return Ok(None);
        }
        self.check_content_type(&parts.headers)?;
        Ok(Some(message))
    }

    /// A warning if the TAM's clock and this system's differ by more than TEEs tolerate.
    #[must_use]
    pub fn clock_warning(&self) -> Option<String> {
        let (theirs, ours) = self.clocks.get()?;
        let difference = theirs.abs_diff(ours);
        (difference > TOLERANCE).then(|| {
            let [theirs, ours] = [theirs, ours].map(|time| utc(time).unwrap_or("unknown".into()));
            format!(
                "this system's clock says {ours} and the TAM's {theirs}, {difference} s apart: certificates and OCSP responses may be refused until it is set"
            )
        })
    }

    fn note_clock(&self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|date| from_http(date.to_str().ok()?));
        if self.clocks.get().is_none() {
            self.clocks.set(date.map(|theirs| (theirs, now())));
        }
    }

    fn check_status(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), TamError> {
        let url = self.shown.clone();
        if status.is_success() {
            Ok(())
        } else if status.is_redirection() {
            let location = shown(headers, header::LOCATION);
            let location = location.map_or("nowhere".to_owned(), |url| without_password(&url));
            Err(TamError::Redirect { url, status, location })
        } else {
            Err(TamError::Status { url, status })
        }
    }

    fn check_content_type(&self, headers: &HeaderMap) -> Result<(), TamError> {
        let found = shown(headers, header::CONTENT_TYPE).unwrap_or("no Content-Type".to_owned());
        let essence = found.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(MEDIA_TYPE) {
            return Ok(());
        }
        Err(TamError::ContentType { url: self.shown.clone(), found })
    }

    fn too_long(&self) -> TamError {
        TamError::TooLong { url: self.shown.clone(), limit: self.longest_answer }
    }

    fn failure(&self, error: ureq::Error) -> TamError {
        let url = self.shown.clone();
        match error {
            ureq::Error::HostNotFound => {
                TamError::Unreachable { url, reason: "there is no such host".to_owned() }
            }
            ureq::Error::ConnectionFailed => {
                TamError::Unreachable { url, reason: "the connection failed".to_owned() }
            }
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                TamError::Unreachable { url, reason: "the connection timed out".to_owned() }
            }
            ureq::Error::Timeout(_) => TamError::Timeout(url),
            ureq::Error::Rustls(reason) => TamError::Tls { url, reason: self.clean(&reason) },
            ureq::Error::Io(reason) => self.input_output(&reason),
            other => TamError::Broken { url, reason: self.clean(&other) },
        }
    }

    /// A reason without the URL's password.
    fn clean(&self, reason: &dyn fmt::Display) -> String {
        reason.to_string().replace(&self.uri.to_string(), &self.shown)
    }

    fn input_output(&self, error: &io::Error) -> TamError {
        let url = self.shown.clone();
        let reason = self.clean(error);
        match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => TamError::Unreachable { url, reason },
            // This is how ureq hands on what rustls has against a certificate.
            io::ErrorKind::InvalidData => TamError::Tls { url, reason },
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => TamError::Timeout(url),
            _ => TamError::Broken { url, reason },
        }
    }
}

/// A URL without the user name and password that it may contain.
fn without_password(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    // A password with a slash in it ends the host too early, and is none of a port's digits.
    let odd =
        scheme.is_empty() || !port.chars().all(|digit| digit.is_ascii_digit() || digit == ']');
    let hidden = match authority.rfind('@') {
        None if odd => rest.rfind('@'),
        found => found,
    };
    match hidden {
        Some(place) => format!("{scheme}...{}", rest.split_at(place).1),
        None => url.to_owned(),
    }
}

/// A header's value, safe to print.
fn shown(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let value = headers.get(name)?.as_bytes();
    Some(String::from_utf8_lossy(value).escape_debug().to_string())
}
