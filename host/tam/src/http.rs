//! OTrP over HTTP: the TAM's side of `draft-ietf-teep-otrp-over-http-02`.
//!
//! Any path is the TAM's, since a TAM URI is any URI. TLS is for the reverse proxy in front, which
//! also keeps slow and greedy clients away; messages protect themselves end to end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use otrp_wire::MEDIA_TYPE;
use otrp_wire::limits::REPLY_LIMIT;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::tam::{Rejection, Tam, log};

/// Longest body: a TEE's longest answer, with room for TEEs that are wordier than ours.
pub const BODY_LIMIT: usize = 4 * REPLY_LIMIT;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until `shutdown` is ready.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    tam: Arc<Tam>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router =
        Router::new().fallback(answer).layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(tam);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn answer(State(tam): State<Arc<Tam>>, request: Request) -> Response {
    let (status, message) = match respond(tam, request).await {
        Ok(Some(message)) => (StatusCode::OK, Some(message)),
        Ok(None) => (StatusCode::NO_CONTENT, None),
        Err(status) => (status, None),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if let Some(message) = message {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        *response.body_mut() = Body::from(message);
    }
    response
}

/// The next message; `None` if there is nothing more to say; or the status that says why not.
async fn respond(tam: Arc<Tam>, request: Request) -> Result<Option<Vec<u8>>, StatusCode> {
    if request.method() != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let is_otrp = is_otrp(request.headers());
    let body = timeout(BODY_TIMEOUT, Bytes::from_request(request, &()))
        .await
        .map_err(|_| StatusCode::REQUEST_TIMEOUT)?
        .map_err(|rejection| rejection.status())?;
    if !body.is_empty() && !is_otrp {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    // Files, a database and public key operations: not for the threads that move bytes.
    let processed = tokio::task::spawn_blocking(move || {
        if body.is_empty() { Ok(Some(tam.connect()?)) } else { tam.process(&body) }
    });
    match processed.await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(rejection)) => {
            log(&format!("refused: {rejection}"));
            Err(match rejection {
                Rejection::Refused(_) => StatusCode::BAD_REQUEST,
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
