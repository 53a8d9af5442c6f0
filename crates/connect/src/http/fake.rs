//! A small HTTP server on the loopback for tests, and a clock that waits by moving on.
//!
//! What it answers is a function of the request, so that every fake API is deterministic; it keeps
//! what it was asked. Its time is the client's, so that limits are checked without waiting.

pub(crate) mod hubspot;
pub(crate) mod salesforce;
pub(crate) mod shop;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use flywheel_base::task::TaskSet;
use flywheel_base::{Result, Timestamp};
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Pace;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The path and the query as they were sent.
    pub(crate) target: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// The body as it was sent.
    pub(crate) bytes: Vec<u8>,
}

impl Seen {
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The length that is told without a body, as an answer to HEAD.
    length: Option<usize>,
    /// How many bytes of the body are left out, or everything if there is no answer at all.
    missing: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.into().into_bytes(), length: None, missing: None }
    }

    /// An answer with bytes.
    pub(crate) fn bytes(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body, length: None, missing: None }
    }

    /// The same without the body, as an answer to HEAD.
    pub(crate) fn head_only(mut self) -> Self {
        self.length = Some(self.body.len());
        self.body.clear();
        self
    }

    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::new(200, body.to_string())
    }

    pub(crate) fn text(kind: &str, body: impl Into<String>) -> Self {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Self { headers, ..Self::new(200, body) }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// An answer that breaks off.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.missing = Some(bytes);
        self
    }

    /// No answer: the connection is closed.
    pub(crate) fn nothing() -> Self {
        Self::new(0, "")
    }
}

type Handler = Arc<Mutex<dyn FnMut(&Seen) -> Reply + Send>>;

/// A running server; it stops when it is dropped.
pub(crate) struct Fake {
    /// Where it is.
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _serving: TaskSet,
}

impl Fake {
    pub(crate) async fn start(handler: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), handler)
    }

    /// The same within a runtime, without waiting.
    pub(crate) fn start_now(handler: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::on(TcpListener::from_std(listener).unwrap(), handler)
    }

    fn on(listener: TcpListener, handler: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handler: Handler = Arc::new(Mutex::new(handler));
        let mut serving = TaskSet::default();
        let all = Arc::clone(&seen);
        serving.start(async move {
            let mut connections = TaskSet::default();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return Ok(()) };
                connections.start(serve(stream, Arc::clone(&handler), Arc::clone(&all)));
            }
        });
        Self { url, seen, _serving: serving }
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

async fn serve(mut stream: TcpStream, handler: Handler, seen: Arc<Mutex<Vec<Seen>>>) -> Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = receive(&mut stream, &mut buffer).await {
        let reply = {
            let mut handler = handler.lock().unwrap();
            (*handler)(&request)
        };
        seen.lock().unwrap().push(request);
        if reply.status == 0 {
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} Fake\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!(
            "content-length: {}\r\n\r\n",
            reply.length.unwrap_or(reply.body.len())
        ));
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&reply.body);
        bytes.truncate(bytes.len() - reply.missing.unwrap_or(0));
        if stream.write_all(&bytes).await.is_err() || reply.missing.is_some() {
            return Ok(());
        }
    }
    Ok(())
}

async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        if let Some((seen, length)) = parse(buffer) {
            buffer.drain(..length);
            return Some(seen);
        }
        let mut part = [0; 16 << 10];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(&part[..read]),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(Seen, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let body = bytes.get(end + 4..end + 4 + length)?;
    let url = Url::parse(&format!("http://fake{target}")).unwrap();
    let query = url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    let bytes = body.to_vec();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    let (path, target) = (url.path().to_owned(), target.to_owned());
    let method = method.to_owned();
    Some((Seen { method, path, target, query, headers, body, bytes }, end + 4 + length))
}

/// A clock that waits by moving on.
#[derive(Debug, Default)]
pub(crate) struct FakePace {
    now_us: AtomicI64,
    slept: Mutex<Vec<Duration>>,
}

impl FakePace {
    pub(crate) fn new() -> Arc<Self> {
        let pace = Self::default();
        pace.now_us.store(Timestamp::parse("2024-06-01").unwrap().micros(), Ordering::SeqCst);
        Arc::new(pace)
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.now_us.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }

    /// Every wait so far.
    pub(crate) fn slept(&self) -> Vec<Duration> {
        self.slept.lock().unwrap().clone()
    }
}

#[async_trait]
impl Pace for FakePace {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now_us.load(Ordering::SeqCst))
    }

    async fn sleep(&self, wait: Duration) {
        self.slept.lock().unwrap().push(wait);
        self.advance(wait);
        tokio::task::yield_now().await;
    }
}

/// Counts requests within a window as a server does, and how often there were too many.
#[derive(Debug)]
pub(crate) struct Meter {
    requests_max: usize,
    window: Duration,
    at_us: Vec<i64>,
    /// How often the limit was exceeded.
    pub(crate) exceeded: usize,
}

impl Meter {
    pub(crate) fn new(requests_max: usize, window: Duration) -> Self {
        Self { requests_max, window, at_us: Vec::new(), exceeded: 0 }
    }

    /// Whether one more request is within the limit.
    pub(crate) fn hit(&mut self, now: Timestamp) -> bool {
        let from = now.micros() - self.window.as_micros() as i64;
        self.at_us.retain(|at| *at > from);
        self.at_us.push(now.micros());
        let fits = self.at_us.len() <= self.requests_max;
        self.exceeded += usize::from(!fits);
        fits
    }
}
