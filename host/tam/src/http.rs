//! OTrP over HTTP: the TAM's side of `draft-ietf-teep-otrp-over-http-02`.
//!
//! Any path is the TAM's, since a TAM URI is any URI. TLS is for the reverse proxy in front;
//! messages protect themselves end to end. `GET /health` answers 200 without looking at anything.
//!
//! No client keeps the server from others or from its end: the head of a request, its body and the
//! reading of an answer have their time, connections have a number, and the end of the server
//! leaves each of them a few seconds. One address has a quarter of the connections at most, and its
//! next one then ends the oldest whose request is not complete. So it takes several addresses to
//! keep others out, for the time of a head each. An address is that of the connection: what a proxy
//! says of who is behind it is not believed, so behind a proxy there is one address, and limits for
//! clients are the proxy's to set.

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

/// Longest body: a TEE's longest answer, with room for TEEs that are wordier than ours.
pub const BODY_LIMIT: usize = 4 * REPLY_LIMIT;
/// Who asks for this with GET is told that the server runs.
pub const HEALTH_PATH: &str = "/health";
/// How long to wait when no connection can be accepted, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is counted what the log left out.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How much of all connections one address may have: one part of so many.
const ADDRESS_PART: usize = 4;
/// How often the log says that devices are kept waiting.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// Descriptors that are not for connections: the database, files, the standard streams.
const OTHER_DESCRIPTORS: usize = 24;

/// How much time and room clients have.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the head of a request, also of the next one on a connection.
    pub head: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// For the client to take a piece of the answer.
    pub write: Duration,
    /// For what is in progress when the server ends.
    pub end: Duration,
    /// Most connections at a time, a quarter of them from one address; further ones wait.
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

/// How many connections leave descriptors for everything else. A request that is being answered
/// opens a file or two.
fn connections_for(descriptors: usize) -> usize {
    (descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2).clamp(4, 1024)
}

/// How many descriptors this process may have, as Linux says it.
fn descriptors() -> usize {
    const USUAL: usize = 1024;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next())
        .and_then(|soft| soft.parse().ok())
        .unwrap_or(USUAL)
}

/// Serves until `shutdown` is ready, and then for [`Patience::end`] at most.
///
/// # Errors
/// None so far: what can fail is tried again.
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
            let line = "closed: its address has as many requests in work as one may have";
            log::of_stranger(&peer.to_string(), line);
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
        log::of_server(&format!("{} connections are cut off", connections.len()));
        connections.shutdown().await;
    }
    Ok(())
}

/// The listener, and when something was last said of it in the log.
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
                self.say(&format!(
                    "{limit} connections are open, as many as this server takes; others wait"
                ));
            }
            // It is never closed.
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

    /// One line a minute says that devices are kept waiting.
    fn say(&mut self, line: &str) {
        if self.said.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            log::of_server(line);
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

/// The connections that are open, by where they come from.
struct Addresses {
    share: usize,
    open: Mutex<HashMap<Source, Vec<Arc<Open>>>>,
}

/// An open connection.
#[derive(Default)]
struct Open {
    /// Whether its request is complete and not answered yet.
    in_work: AtomicBool,
    /// That it is to end.
    leave: Notify,
}

/// The place of a connection among those of its address, which it leaves with this value.
struct Place {
    addresses: Arc<Addresses>,
    source: Source,
    open: Arc<Open>,
}

impl Addresses {
    fn new(share: usize) -> Self {
        Self { share, open: Mutex::default() }
    }

    /// A place for a connection. If its address has as many as it may have, the oldest whose request
    /// is not in work ends for it; `None` if there is none.
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
            // One request a connection: who only keeps one open would keep others out.
            .keep_alive(false)
            .header_read_timeout(patience.head)
            .serve_connection(stream, service)
    );
    // How a connection ends is the client's affair: what was processed has its own line.
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

/// The next message; `None` if there is nothing more to say; or the status that says why not.
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
    // Files, a database and public key operations: not for the threads that move bytes.
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
            log::of_stranger(&peer, &format!("refused: {rejection}"));
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

/// Whether the body is said to be OTrP; a parameter of the media type would mean nothing.
fn is_otrp(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(MEDIA_TYPE))
}

/// A connection that fails when the client takes nothing of what is written for some time. Reading
/// has its time elsewhere: a head and a body are to be complete.
struct Impatient {
    stream: TcpStream,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    const fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    /// Passes on what came of writing, as long as there is patience.
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
