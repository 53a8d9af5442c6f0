//! A connection: HTTP/1.1 as hyper speaks it, with or without TLS, and the limits that keep a slow or hostile
//! client from holding one of our places.
//!
//! hyper drops a request whose client has left, refuses a message whose length is ambiguous, and closes in order
//! when the server stops. What is added here is an end to every wait, and the checks that belong to a server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{HOST, TRANSFER_ENCODING};
use axum::http::{Request, Response, StatusCode, Version};
use axum::response::IntoResponse;
use flywheel_base::Error;
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutBody;
use tower_service::Service as _;

use crate::problem::Problem;

/// How long a connection may take to say what it wants, and to make itself secret.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long the next piece of a body may take, either way.
const PIECE_TIME: Duration = Duration::from_secs(30);
/// The longest head.
const HEAD_BYTES: usize = 32 << 10;
/// The most lines of a head.
const HEADERS: usize = 100;

/// The address a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves one connection until it ends, or until `stop` and the request under way is answered.
pub(crate) async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
) {
    // Answers are written whole; waiting to make packets larger only delays them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(tls) = tls else { return exchange(stream, peer, router, stop).await };
    // Whoever does not get through this has been told by TLS itself.
    if let Ok(Ok(stream)) = timeout(HEAD_TIME, tls.accept(stream)).await {
        exchange(stream, peer, router, stop).await;
    }
}

async fn exchange<S>(stream: S, peer: SocketAddr, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(PIECE_TIME));
    let service = service_fn(move |request| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(request, peer, router).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Clients leave, are slow or speak something else: nobody's mistake of ours.
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// Answers a request; one that cannot be answered as it came is refused here.
async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    mut router: Router,
) -> Response<Body> {
    if let Some(problem) = refused(&request) {
        return crate::answer::finished(problem.into_response(), "-");
    }
    let mut request = request.map(|body| Body::new(TimeoutBody::new(PIECE_TIME, body)));
    request.extensions_mut().insert(Peer(peer));
    match AssertUnwindSafe(router.call(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            tracing::error!("a request stopped unexpectedly");
            let problem = Problem::from(Error::internal("the request stopped unexpectedly"));
            crate::answer::finished(problem.into_response(), "-")
        }
    }
}

/// Why a request is not taken at all.
fn refused(request: &Request<Incoming>) -> Option<Problem> {
    let headers = request.headers();
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Some(Problem::invalid("the request needs one Host line"));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        let detail = "only the transfer encoding \"chunked\" is known";
        return Some(Problem::new(StatusCode::NOT_IMPLEMENTED, "invalid", detail));
    }
    None
}
