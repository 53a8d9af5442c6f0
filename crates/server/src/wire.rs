//! HTTP/1.1 on a socket: heads are parsed by `httparse`, everything else is here, because hyper's server half
//! cannot be had without compiling everything below the query engine again (docs/decisions/0008).
//!
//! Strict where it matters: a message whose length two readers could understand differently is refused, every
//! wait has an end, every buffer a limit, and a client that has gone away cancels its request.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST, TRANSFER_ENCODING};
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
};
use axum::response::IntoResponse;
use bytes::{Buf, Bytes, BytesMut};
use flywheel_base::{Clock, Error, SystemClock};
use futures::{FutureExt, stream};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::problem::Problem;

/// How long a connection may wait for its next request.
const IDLE: Duration = Duration::from_secs(75);
/// How long a request may take to say what it wants.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long the next piece of a body may take, either way.
const PIECE_TIME: Duration = Duration::from_secs(30);
/// How long what is left of a body is read after its answer.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// How much of it is read.
const LINGER_BYTES: usize = 256 << 10;
/// The longest head.
const HEAD_BYTES: usize = 32 << 10;
/// The most lines of a head.
const HEADERS: usize = 100;
/// The longest line that announces a piece of a body.
const CHUNK_LINE_BYTES: usize = 256;
/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// The address a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Why a connection ends; nothing of it is anybody's mistake of ours.
enum End {
    /// The other side is gone, or too slow, or we stop.
    Gone,
    /// What came is not HTTP, and this is said before it ends.
    Refused(StatusCode, &'static str),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<tokio::time::error::Elapsed> for End {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Gone
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

/// Serves one connection until it ends, or until `stop` and the request under way is answered.
pub(crate) async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    stop: CancellationToken,
) {
    // Answers are written whole; waiting to make packets larger only delays them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (read, write) = stream.into_split();
    let mut connection = Connection { read, write, buffer: BytesMut::new() };
    loop {
        match connection.exchange(peer, &router, &stop).await {
            Ok(true) if !stop.is_cancelled() => {}
            Ok(_) | Err(End::Gone) => return,
            Err(End::Refused(status, detail)) => {
                let problem = Problem::from(Error::invalid(detail)).with_status(status);
                let response = crate::answer::finished(problem.into_response(), "-");
                // It is told if it still listens.
                if connection.respond(response, &Method::GET, Version::HTTP_11, false).await.is_ok()
                {
                    connection.linger().await;
                }
                return;
            }
        }
    }
}

struct Connection {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    buffer: BytesMut,
}

impl Connection {
    /// Reads one request and answers it; whether another may follow.
    async fn exchange(
        &mut self,
        peer: SocketAddr,
        router: &Router,
        stop: &CancellationToken,
    ) -> Result<bool, End> {
        if self.buffer.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return Err(End::Gone),
                read = timeout(IDLE, fill(&mut self.read, &mut self.buffer)) => if read?? == 0 { return Err(End::Gone) },
            }
        }
        let (mut request, framing) = timeout(HEAD_TIME, self.head()).await??;
        request.extensions_mut().insert(Peer(peer));
        let (method, version) = (request.method().clone(), request.version());
        let keep = keeps(request.headers(), version);
        let body_expected = framing != Framing::Length(0);
        if body_expected
            && request
                .headers()
                .get(EXPECT)
                .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        {
            self.write.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(1);
        if body_expected {
            let pieces = stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|piece| (piece, receiver))
            });
            *request.body_mut() = Body::from_stream(pieces);
        }
        let mut router = router.clone();
        let mut handler = std::pin::pin!(AssertUnwindSafe(router.call(request)).catch_unwind());
        let mut read_whole = !body_expected;
        let answered = if body_expected {
            let mut pump = std::pin::pin!(pump(&mut self.read, &mut self.buffer, framing, sender));
            tokio::select! {
                biased;
                answered = &mut handler => Some(answered),
                whole = &mut pump => {
                    read_whole = whole?;
                    None
                }
            }
        } else {
            None
        };
        let answered = match answered {
            Some(answered) => answered,
            // The handler works on what it has read; if the client leaves meanwhile, nobody wants the answer.
            None if read_whole => tokio::select! {
                biased;
                answered = &mut handler => answered,
                () = gone(&mut self.read, &mut self.buffer) => return Err(End::Gone),
            },
            // The handler has let go of the body without reading all of it.
            None => handler.await,
        };
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => {
                tracing::error!("a request stopped unexpectedly");
                let problem = Problem::from(Error::internal("the request stopped unexpectedly"));
                crate::answer::finished(problem.into_response(), "-")
            }
        };
        let keep = keep && read_whole && !stop.is_cancelled();
        self.respond(response, &method, version, keep).await?;
        if !read_whole {
            self.linger().await;
        }
        Ok(keep)
    }

    /// Reads a head; the body is put into the request by the caller.
    async fn head(&mut self) -> Result<(Request<Body>, Framing), End> {
        loop {
            let mut lines = [httparse::EMPTY_HEADER; HEADERS];
            let mut head = httparse::Request::new(&mut lines);
            match head.parse(&self.buffer) {
                Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES => {
                    let made = request_of(&head)?;
                    self.buffer.advance(length);
                    return Ok(made);
                }
                Ok(_) if self.buffer.len() > HEAD_BYTES => {
                    return Err(End::Refused(
                        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                        "the request's head is longer than 32 KiB",
                    ));
                }
                Ok(_) => {}
                Err(httparse::Error::TooManyHeaders) => {
                    return Err(End::Refused(
                        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                        "the request has more than 100 header lines",
                    ));
                }
                Err(_) => {
                    return Err(End::Refused(
                        StatusCode::BAD_REQUEST,
                        "this is no HTTP/1.1 request",
                    ));
                }
            }
            if fill(&mut self.read, &mut self.buffer).await? == 0 {
                return Err(End::Gone);
            }
        }
    }

    /// Writes a response; with `keep`, so that another request may follow.
    async fn respond(
        &mut self,
        response: Response<Body>,
        method: &Method,
        version: Version,
        keep: bool,
    ) -> Result<(), End> {
        use axum::body::HttpBody as _;
        let (mut parts, mut body) = response.into_parts();
        let bare = parts.status.is_informational()
            || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let exact = body.size_hint().exact();
        parts.headers.remove(TRANSFER_ENCODING);
        let chunked = match exact {
            _ if bare => {
                parts.headers.remove(CONTENT_LENGTH);
                false
            }
            Some(length) => {
                // What HEAD answers says how long the body would be.
                if method != Method::HEAD || !parts.headers.contains_key(CONTENT_LENGTH) {
                    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                }
                false
            }
            None => {
                parts.headers.remove(CONTENT_LENGTH);
                version == Version::HTTP_11
            }
        };
        // To a client of HTTP/1.0 the end of the connection is the end of a body of unknown length.
        let keep = keep && (bare || chunked || exact.is_some());
        if chunked {
            parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let connection = if keep { "keep-alive" } else { "close" };
        parts.headers.insert(CONNECTION, HeaderValue::from_static(connection));
        let now = SystemClock.now().datetime().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(now) = HeaderValue::from_str(&now) {
            parts.headers.insert(DATE, now);
        }
        let mut out = BytesMut::with_capacity(1_024);
        let reason = parts.status.canonical_reason().unwrap_or_default();
        out.extend_from_slice(
            format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).as_bytes(),
        );
        for (name, value) in &parts.headers {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        let mut held = out;
        if !bare && method != Method::HEAD {
            while let Some(frame) = body.frame().await {
                // A body that breaks off must not look whole: the connection ends without its last chunk.
                let Ok(frame) = frame else { return Err(End::Gone) };
                let Ok(piece) = frame.into_data() else { continue };
                if piece.is_empty() {
                    continue;
                }
                if chunked {
                    held.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                }
                held.extend_from_slice(&piece);
                if chunked {
                    held.extend_from_slice(b"\r\n");
                }
                timeout(PIECE_TIME, self.write.write_all(&held)).await??;
                held.clear();
            }
            if chunked {
                held.extend_from_slice(b"0\r\n\r\n");
            }
        }
        timeout(PIECE_TIME, self.write.write_all(&held)).await??;
        timeout(PIECE_TIME, self.write.flush()).await??;
        Ok(())
    }

    /// Reads a little of what still comes, so that the client gets the answer before the connection is reset.
    async fn linger(&mut self) {
        let read = async {
            self.write.shutdown().await?;
            let mut left = LINGER_BYTES;
            while left > 0 {
                self.buffer.clear();
                match fill(&mut self.read, &mut self.buffer).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            std::io::Result::Ok(())
        };
        // However it ends, the connection is over.
        drop(timeout(LINGER_TIME, read).await);
    }
}

async fn fill(read: &mut OwnedReadHalf, buffer: &mut BytesMut) -> std::io::Result<usize> {
    buffer.reserve(READ_BYTES);
    read.read_buf(buffer).await
}

/// Waits until the client has gone away; what it sends ahead is kept up to a limit.
async fn gone(read: &mut OwnedReadHalf, buffer: &mut BytesMut) {
    while buffer.len() < READ_BYTES {
        match fill(read, buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    std::future::pending::<()>().await;
}

/// Makes a request of a parsed head, and says how long its body is.
fn request_of(head: &httparse::Request<'_, '_>) -> Result<(Request<Body>, Framing), End> {
    let bad = |detail| End::Refused(StatusCode::BAD_REQUEST, detail);
    let version = if head.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let method = head.method.unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| bad("the method is no word"))?;
    let mut request = Request::builder()
        .method(method)
        .uri(head.path.unwrap_or_default())
        .version(version)
        .body(Body::empty())
        .map_err(|_| bad("the address is no address"))?;
    for line in head.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes())
            .map_err(|_| bad("a header line has no name"))?;
        let value = HeaderValue::from_bytes(line.value)
            .map_err(|_| bad("a header line has characters that are not allowed"))?;
        request.headers_mut().append(name, value);
    }
    let framing = framing(request.headers(), version)?;
    if version == Version::HTTP_11 && request.headers().get_all(HOST).iter().count() != 1 {
        return Err(bad("the request needs one Host line"));
    }
    Ok((request, framing))
}

/// How long the body is; refused if two readers could understand it differently.
fn framing(headers: &HeaderMap, version: Version) -> Result<Framing, End> {
    let bad = |detail| End::Refused(StatusCode::BAD_REQUEST, detail);
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(bad("the request has more than one Content-Length"));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if length.is_some() || codings.next().is_some() || version == Version::HTTP_10 {
            return Err(bad("the length of the request's body is ambiguous"));
        }
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(End::Refused(
                StatusCode::NOT_IMPLEMENTED,
                "only the transfer encoding \"chunked\" is known",
            ));
        }
        return Ok(Framing::Chunked);
    }
    let Some(length) = length else { return Ok(Framing::Length(0)) };
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|text| text.parse().ok());
    length.map(Framing::Length).ok_or_else(|| bad("Content-Length is no number of bytes"))
}

/// Whether the client wants to send another request.
fn keeps(headers: &HeaderMap, version: Version) -> bool {
    let says = |word: &str| {
        headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    };
    if version == Version::HTTP_10 { says("keep-alive") } else { !says("close") }
}

/// Hands the body over piece by piece; true if all of it was read, false if nobody wants the rest.
async fn pump(
    read: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    framing: Framing,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
) -> Result<bool, End> {
    let outcome = match framing {
        Framing::Length(length) => pieces(read, buffer, length, &sender).await,
        Framing::Chunked => chunks(read, buffer, &sender).await,
    };
    if outcome.is_err() {
        // The handler must not take a body that broke off for a whole one.
        let broken = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        if sender.send(Err(broken)).await.is_err() {
            return Ok(false);
        }
    }
    outcome
}

/// Hands over exactly `left` bytes.
async fn pieces(
    read: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    mut left: u64,
    sender: &mpsc::Sender<std::io::Result<Bytes>>,
) -> Result<bool, End> {
    while left > 0 {
        if buffer.is_empty() && timeout(PIECE_TIME, fill(read, buffer)).await?? == 0 {
            return Err(End::Gone);
        }
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        left -= take as u64;
        if sender.send(Ok(buffer.split_to(take).freeze())).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn chunks(
    read: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    sender: &mpsc::Sender<std::io::Result<Bytes>>,
) -> Result<bool, End> {
    let bad = |detail| End::Refused(StatusCode::BAD_REQUEST, detail);
    loop {
        let line = chunk_line(read, buffer).await?;
        let line: &[u8] = &line;
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).ok().map(str::trim).filter(|size| {
            (1..=15).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let size = size.and_then(|size| u64::from_str_radix(size, 16).ok());
        let Some(size) = size else { return Err(bad("a piece of the body has no length")) };
        if size == 0 {
            // Trailers are read and mean nothing here.
            for _ in 0..HEADERS {
                if chunk_line(read, buffer).await?.is_empty() {
                    return Ok(true);
                }
            }
            return Err(bad("the body ends with too many lines"));
        }
        if !pieces(read, buffer, size, sender).await? {
            return Ok(false);
        }
        if !chunk_line(read, buffer).await?.is_empty() {
            return Err(bad("a piece of the body is longer than it says"));
        }
    }
}

/// Takes a line without its end.
async fn chunk_line(read: &mut OwnedReadHalf, buffer: &mut BytesMut) -> Result<BytesMut, End> {
    loop {
        if let Some(end) = buffer.windows(2).position(|pair| pair == b"\r\n") {
            let line = buffer.split_to(end);
            buffer.advance(2);
            return Ok(line);
        }
        if buffer.len() > CHUNK_LINE_BYTES {
            return Err(End::Refused(StatusCode::BAD_REQUEST, "a line of the body is too long"));
        }
        if timeout(PIECE_TIME, fill(read, buffer)).await?? == 0 {
            return Err(End::Gone);
        }
    }
}
