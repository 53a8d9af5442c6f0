//! Requests to the server of this process, as a program on this machine sends them: one to a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result, Secret};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// What a token may not do, as the answer's status says.
const REFUSED: [u16; 2] = [401, 403];

/// What is asked with.
pub(super) struct Door {
    address: SocketAddr,
    token: Secret,
}

/// What came back.
pub(super) struct Answer {
    /// The status of HTTP.
    pub(super) status: u16,
    /// The body; null if it is none.
    pub(super) body: Value,
}

impl Answer {
    /// The body of an answer that says yes.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if the token is not taken, else [`ErrorKind::Unavailable`], each with what the server said.
    pub(super) fn taken(self, what: &str) -> Result<Value> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let kind = match REFUSED.contains(&self.status) {
            true => ErrorKind::Denied,
            false => ErrorKind::Unavailable,
        };
        let said = self.body.get("detail").and_then(Value::as_str).unwrap_or("nothing more");
        Err(Error::new(kind, format!("{what} was answered with {}: {said}", self.status)))
    }
}

impl Door {
    /// A door of the server that listens at `listening`.
    pub(super) fn new(listening: SocketAddr, token: Secret) -> Self {
        Self { address: reachable(listening), token }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if there is no answer of HTTP in time.
    pub(super) async fn get(&self, path: &str) -> Result<Answer> {
        self.exchange("GET", path, "").await
    }

    /// Hands something in.
    ///
    /// # Errors
    /// As [`Door::get`].
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.exchange("POST", path, &body.to_string()).await
    }

    async fn exchange(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.token.expose(),
            body.len()
        );
        let talk = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
            Ok::<Vec<u8>, std::io::Error>(answer)
        };
        let failed = || Error::unavailable(format!("{method} {path} got no answer"));
        let answer = tokio::time::timeout(PATIENCE, talk).await.map_err(|_| failed())?;
        read(&answer.map_err(|error| failed().caused_by(error))?).ok_or_else(failed)
    }
}

/// Where a server is reached that listens at `listening`: one that listens everywhere also listens at this machine.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

/// Reads an answer; none if it is not HTTP or was cut off.
fn read(bytes: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| length != body.len()) {
        return None;
    }
    Some(Answer { status, body: serde_json::from_str(body).unwrap_or_default() })
}
