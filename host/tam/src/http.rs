//! OTrP over HTTP: the TAM's side of `draft-ietf-teep-otrp-over-http-02`.
//!
//! Every path is the TAM's, since a TAM URI is any URI. TLS is terminated by a reverse proxy; messages
//! are protected end to end. `GET /health` answers 200 without any check.
//!
//! No client can block the server for others or delay its end. The head of a request, its body and
//! the reading of an answer have time limits, the number of connections is limited, and at its end
//! the server waits a few seconds for open ones. One address has at most a quarter of the
//! connections; its next one closes its oldest one whose request is incomplete. So blocking others
//! takes several addresses, and each succeeds only for the time limit of a head. The address is
//! that of the connection. Forwarded addresses are not trusted, so behind a proxy there is one
//! address, and the proxy has to limit clients.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use otrp_wire::MEDIA_TYPE;
use otrp_wire::limits::REPLY_LIMIT;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::log::{self, Source};
use crate::tam::{Rejection, Tam};

/// Maximum length of a body: this project's longest answer, with a margin for other TEEs.
pub const BODY_LIMIT: usize = 4 * REPLY_LIMIT;
/// GET for this path answers that the server is running.
pub const HEALTH_PATH: &str = "/health";
/// Pause after a failed attempt to accept a connection, for example for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often lines that the log left out are counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// The fraction of all connections that one address may have: one in this many.
const ADDRESS_PART: usize = 4;
/// How often the log may say that devices have to wait.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// Descriptors reserved for the database, files and the standard streams.
const OTHER_DESCRIPTORS: usize = 24;

/// Limits for clients: times and the number of connections.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Time for the head of a request.
    pub head: Duration,
    /// Time for the body of a request.
    pub body: Duration,
    /// Time for the client to read a piece of the answer.
    pub write: Duration,
    /// Time for requests in progress when the server ends.
    pub end: Duration,
    /// Connections at a time, at most a quarter of them from one address; further ones wait.
    pub connections: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            end: Duration::from_secs(3),
            connections: connections_for(descriptors()),
        }
    }
}

/// Number of connections that leaves descriptors for everything else. Answering a request opens one or
/// two files.
fn connections_for(descriptors: usize) -> usize {
    (descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2).clamp(4, 1024)
}

/// Maximum number of descriptors of this process, from /proc.
fn descriptors() -> usize {
    const USUAL: usize = 1024;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next())
        .and_then(|soft| soft.parse().ok())
        .unwrap_or(USUAL)
}

/// Serves until `shutdown` is ready, and then for at most [`Patience::end`].
///
/// # Errors
/// None at present: whatever can fail is retried.
pub async fn serve(
    tam: Arc<Tam>,
    listener: TcpListener,
    patience: Patience,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let slots = Arc::new(Semaphore::new(patience.connections));
    let addresses = Arc::new(Addresses::new((patience.connections / ADDRESS_PART).max(1)));
    let (end, ended) = watch::channel(());
    let mut connections = JoinSet::new();
    let counting = tokio::spawn(async {
        loop {
            sleep(COUNT_EVERY).await;
            log::count_left_out();
        }
    });
    let mut accepting = Accepting { listener, said: None };
    loop {
        let next = accepting.next(&slots, patience.connections);
        let (stream, peer, slot) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        let Some(place) = addresses.enter(peer) else {
            let line = "closed: its address has reached its limit of requests in progress";
            log::about_client(&peer.to_string(), line);
            continue;
        };
        let (tam, mut ended) = (tam.clone(), ended.clone());
        connections.spawn(async move {
            let _slot = slot;
            serve_connection(tam, stream, peer, &place, patience, &mut ended).await;
        });
        while connections.try_join_next().is_some() {}
    }
    drop(accepting);
    drop(end);
    counting.abort();
    let drained = timeout(patience.end, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        log::about_server(&format!("{} connections are cut off", connections.len()));
        connections.shutdown().await;
    }
    Ok(())
}

/// The listener, and when the log last had a line about it.
struct Accepting {
    listener: TcpListener,
    said: Option<Instant>,
}

impl Accepting {
    /// The next connection, once there is a slot for it.
    async fn next(
        &mut self,
        slots: &Arc<Semaphore>,
        limit: usize,
    ) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        loop {
            if slots.available_permits() == 0 {
                self.say(&format!("{limit} connections are open, which is the limit; others wait"));
            }
            // The semaphore is never closed.
            let Ok(slot) = slots.clone().acquire_owned().await else { continue };
            match self.listener.accept().await {
                Ok((stream, peer)) => return (stream, peer, slot),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.say(&format!("no connection can be accepted: {error}"));
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Logs a line, at most one in [`SAY_AGAIN`].
    fn say(&mut self, line: &str) {
        if self.said.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            log::about_server(line);
            self.said = Some(Instant::now());
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

/// The open connections, by source.
struct Addresses {
    share: usize,
    open: Mutex<HashMap<Source, Vec<Arc<Open>>>>,
}

/// An open connection.
#[derive(Default)]
struct Open {
    /// Whether its request is complete and being answered.
    in_work: AtomicBool,
    /// Tells the connection to end.
    leave: Notify,
}

/// The place of a connection among those of its address, until this value is dropped.
struct Place {
    addresses: Arc<Addresses>,
    source: Source,
    open: Arc<Open>,
}

impl Addresses {
    fn new(share: usize) -> Self {
        Self { share, open: Mutex::default() }
    }

    /// A place for a connection. If its address has reached its share, the oldest connection whose
    /// request is not being answered is ended; `None` if there is none.
    fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let source = Source::of_address(peer.ip());
        let mut all = self.open();
        let open = all.entry(source.clone()).or_default();
        if open.len() >= self.share {
            let idle = open.iter().position(|it| !it.in_work.load(Ordering::Relaxed))?;
            open.remove(idle).leave.notify_one();
        }
        let place = Arc::<Open>::default();
        open.push(place.clone());
        drop(all);
        Some(Place { addresses: self.clone(), source, open: place })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Source, Vec<Arc<Open>>>> {
        // The table is consistent between any two of its operations.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.addresses.open();
        if let Some(open) = all.get_mut(&self.source) {
            open.retain(|it| !Arc::ptr_eq(it, &self.open));
            if open.is_empty() {
                all.remove(&self.source);
            }
        }
    }
}

async fn serve_connection(
    tam: Arc<Tam>,
    stream: TcpStream,
    peer: SocketAddr,
    place: &Place,
    patience: Patience,
    ended: &mut watch::Receiver<()>,
) {
    let peer: Arc<str> = peer.to_string().into();
    let service = service_fn(|request| {
        let (tam, peer, open) = (tam.clone(), peer.clone(), place.open.clone());
        async move { Ok::<_, Infallible>(answer(tam, request, peer, &open, patience.body).await) }
    });
    let stream = TokioIo::new(Impatient::new(stream, patience.write));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // One request per connection: idle connections would block others.
            .keep_alive(false)
            .header_read_timeout(patience.head)
            .serve_connection(stream, service)
    );
    // A client may end its connection at any time. What was processed is logged elsewhere.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = place.open.leave.notified() => {}
        _ = ended.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn answer(
    tam: Arc<Tam>,
    request: Request<Incoming>,
    peer: Arc<str>,
    open: &Open,
    body_timeout: Duration,
) -> Response<Full<Bytes>> {
    let healthy = request.uri().path() == HEALTH_PATH && request.method() == Method::GET;
    let (status, content) = if healthy {
        (StatusCode::OK, Some(("text/plain", b"ok\n".to_vec())))
    } else {
        match respond(tam, request, peer, open, body_timeout).await {
            Ok(Some(message)) => (StatusCode::OK, Some((MEDIA_TYPE, message))),
            Ok(None) => (StatusCode::NO_CONTENT, None),
            Err(status) => (status, None),
        }
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if let Some((media_type, content)) = content {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        *response.body_mut() = Full::from(content);
    }
    response
}

/// The next message, or `None` if the session is over.
///
/// # Errors
/// The status of the refusal.
async fn respond(
    tam: Arc<Tam>,
    request: Request<Incoming>,
    peer: Arc<str>,
    open: &Open,
    body_timeout: Duration,
) -> Result<Option<Vec<u8>>, StatusCode> {
    if request.method() != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let is_otrp = is_otrp(request.headers());
    let body = timeout(body_timeout, Limited::new(request.into_body(), BODY_LIMIT).collect())
        .await
        .map_err(|_| StatusCode::REQUEST_TIMEOUT)?
        .map_err(|error| match error.is::<LengthLimitError>() {
            true => StatusCode::PAYLOAD_TOO_LARGE,
            false => StatusCode::BAD_REQUEST,
        })?
        .to_bytes();
    if !body.is_empty() && !is_otrp {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    // Files, a database and public key operations block, so they run on a thread of their own.
    let of_peer = peer.clone();
    open.in_work.store(true, Ordering::Relaxed);
    let processed = tokio::task::spawn_blocking(move || {
        if body.is_empty() {
            Ok(Some(tam.connect(&of_peer)?))
        } else {
            tam.process(&body, &of_peer)
        }
    });
    let processed = processed.await;
    open.in_work.store(false, Ordering::Relaxed);
    match processed {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(rejection)) => {
            log::about_client(&peer, &format!("refused: {rejection}"));
            Err(match rejection {
                Rejection::NotAdmitted(_) => StatusCode::FORBIDDEN,
                Rejection::Refused(_) => StatusCode::BAD_REQUEST,
                Rejection::Busy => StatusCode::SERVICE_UNAVAILABLE,
                Rejection::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            })
        }
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Whether the body is declared to be OTrP. Parameters of the media type are ignored.
fn is_otrp(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(MEDIA_TYPE))
}

/// A connection that fails if the client does not read what is written for some time. Reading has its
/// own limits: those for a complete head and body.
struct Impatient {
    stream: TcpStream,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    const fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    /// Passes on the result of writing, or a timeout.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        // 64 is what stopped the service once, with 120 idle connections.
        for (descriptors, connections) in [(0, 4), (64, 20), (1024, 500), (1 << 20, 1024)] {
            assert_eq!(connections_for(descriptors), connections);
            assert!(descriptors < 64 || connections * 2 + OTHER_DESCRIPTORS <= descriptors);
        }
        assert!(descriptors() > 0);
    }
}
