//! OTrP over HTTP: the TAM's side of `draft-ietf-teep-otrp-over-http-02`.
//!
//! Any path is the TAM's, since a TAM URI is any URI. TLS is for the reverse proxy in front;
//! messages protect themselves end to end. `GET /health` answers 200 without looking at anything.
//!
//! No client keeps the server from others or from its end: the head of a request, its body and the
//! reading of an answer have their time, connections have a number, and the end of the server
//! leaves each of them a few seconds. Whoever opens connections without end can still take all of
//! them for the time of a head each: that is the proxy's to prevent.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::log;
use crate::tam::{Rejection, Tam};

/// Longest body: a TEE's longest answer, with room for TEEs that are wordier than ours.
pub const BODY_LIMIT: usize = 4 * REPLY_LIMIT;
/// Who asks for this with GET is told that the server runs.
pub const HEALTH_PATH: &str = "/health";
/// How long to wait when no connection can be accepted, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
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
    /// Most connections at a time; further ones wait.
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
    let (end, ended) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut accepting = Accepting { listener, said: None };
    loop {
        let next = accepting.next(&slots, patience.connections);
        let (stream, peer, slot) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        let (tam, mut ended) = (tam.clone(), ended.clone());
        connections.spawn(async move {
            let _slot = slot;
            serve_connection(tam, stream, peer, patience, &mut ended).await;
        });
        while connections.try_join_next().is_some() {}
    }
    drop(accepting);
    drop(end);
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

async fn serve_connection(
    tam: Arc<Tam>,
    stream: TcpStream,
    peer: SocketAddr,
    patience: Patience,
    ended: &mut watch::Receiver<()>,
) {
    let peer: Arc<str> = peer.to_string().into();
    let service = service_fn(|request| {
        let (tam, peer) = (tam.clone(), peer.clone());
        async move { Ok::<_, Infallible>(answer(tam, request, peer, patience.body).await) }
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
    body_timeout: Duration,
) -> Response<Full<Bytes>> {
    let healthy = request.uri().path() == HEALTH_PATH && request.method() == Method::GET;
    let (status, content) = if healthy {
        (StatusCode::OK, Some(("text/plain", b"ok\n".to_vec())))
    } else {
        match respond(tam, request, peer, body_timeout).await {
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
    let processed = tokio::task::spawn_blocking(move || {
        if body.is_empty() {
            Ok(Some(tam.connect(&of_peer)?))
        } else {
            tam.process(&body, &of_peer)
        }
    });
    match processed.await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(rejection)) => {
            log::of_peer(&peer, &format!("refused: {rejection}"));
            Err(match rejection {
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
