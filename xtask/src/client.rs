//! A server of ours as a process, and a client that keeps its connection open.
//!
//! The client is plain: one request, then its answer, no library. It costs the two cores it shares with the server
//! as little as a client can.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;
use crate::binary::Flywheel;
use crate::process::shown;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long a server may take until it is ready once it has said its address.
const READY_TIME: Duration = Duration::from_secs(60);
/// How long is waited between two looks at whether it is.
const LOOK: Duration = Duration::from_millis(2);
/// The largest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
const PASSWORD: &str = "correct horse battery";

/// A server under way; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    /// The token of its set-up link, if it has no user yet.
    setup: Option<String>,
    /// Seconds from its start until it was ready.
    pub(crate) ready_s: f64,
}

impl Server {
    /// Starts to serve a project and waits until it is ready.
    pub(crate) fn start(flywheel: &Flywheel, project: &Path) -> Result<Self> {
        Self::start_of(flywheel.on(project, &["serve", "--listen", "127.0.0.1:0"]))
    }

    /// Starts a command that comes to serve, whatever it does before, and waits until it is ready.
    pub(crate) fn start_of(mut command: Command) -> Result<Self> {
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().ok_or("the server has no output")?;
        let lines = BufReader::new(stdout).lines().map_while(std::io::Result::ok);
        let Some(line) = { lines }.find(|line| line.starts_with("http")) else {
            child.kill()?;
            let status = child.wait()?;
            return Err(format!("`{}` did not say its address: {status}", shown(&command)).into());
        };
        let said = Instant::now();
        let address = line.split("://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.ok_or("`flywheel serve` said no address")?.to_owned();
        let setup = line.split("token=").nth(1).map(str::to_owned);
        let mut server = Self { child, address, setup, ready_s: 0.0 };
        let ready = request(&server.address, "GET", "/readyz", "", "");
        while said.elapsed() < READY_TIME {
            let asked = Client::connect(&server.address).and_then(|mut one| one.ask(&ready));
            if matches!(asked, Ok((200, _))) {
                server.ready_s = started.elapsed().as_secs_f64();
                return Ok(server);
            }
            std::thread::sleep(LOOK);
        }
        Err("the server did not become ready".into())
    }

    /// Makes the owner, and a token of hers that may do these things; the header that carries it.
    pub(crate) fn token(&self, scopes: &[&str]) -> Result<String> {
        let setup = self.setup.as_deref().ok_or("the server has users already")?;
        let mut client = Client::connect(&self.address)?;
        let body = json!({"token": setup, "name": "ada", "password": PASSWORD}).to_string();
        let request_of = |path: &str, headers: &str, body: &str| {
            request(&self.address, "POST", path, headers, body)
        };
        let (status, answer) = client.ask(&request_of("/v1/setup", "", &body))?;
        let answer = parsed("/v1/setup", status, &answer)?;
        let csrf = answer.get("csrf").and_then(Value::as_str).unwrap_or_default();
        let headers = format!("Cookie: {}\r\nx-csrf-token: {csrf}\r\n", client.cookie);
        let body = json!({"name": "load", "scopes": scopes}).to_string();
        let (status, answer) = client.ask(&request_of("/v1/tokens", &headers, &body))?;
        let answer = parsed("/v1/tokens", status, &answer)?;
        let token = answer.get("token").and_then(Value::as_str).ok_or("no token was made")?;
        Ok(format!("Authorization: Bearer {token}\r\n"))
    }

    /// Memory that it holds now, in MiB.
    pub(crate) fn memory_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The JSON of an answer that has to be a good one.
pub(crate) fn parsed(what: &str, status: u16, body: &[u8]) -> Result<Value> {
    if !(200..300).contains(&status) {
        return Err(format!("{what} answers {status}: {}", String::from_utf8_lossy(body)).into());
    }
    Ok(serde_json::from_slice(body)?)
}

/// A request as it goes over the wire; `headers` are whole lines.
pub(crate) fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A connection that is kept open.
pub(crate) struct Client {
    stream: TcpStream,
    /// What has arrived and is not read yet.
    held: Vec<u8>,
    /// The last cookie that was set.
    cookie: String,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.set_write_timeout(Some(ANSWER_TIME))?;
        Ok(Self { stream, held: Vec::new(), cookie: String::new() })
    }

    /// Sends a request and waits for the status and the body of its answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        self.stream.write_all(request)?;
        let head = loop {
            if let Some(at) = self.held.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.held.len() > HEAD_BYTES_MAX {
                return Err("the head of an answer is too long".into());
            }
            self.more()?;
        };
        let text = String::from_utf8_lossy(self.held.get(..head).unwrap_or_default()).into_owned();
        let status = text.split(' ').nth(1).ok_or("an answer without status")?.parse()?;
        let mut length = 0;
        for line in text.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>()?;
            } else if name.eq_ignore_ascii_case("set-cookie") {
                self.cookie = value.split(';').next().unwrap_or_default().to_owned();
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err("an answer in pieces is not understood here".into());
            }
        }
        while self.held.len() < head + length {
            self.more()?;
        }
        let rest = self.held.split_off(head + length);
        let mut answer = std::mem::replace(&mut self.held, rest);
        Ok((status, answer.split_off(head)))
    }

    fn more(&mut self) -> Result<()> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece)? {
            0 => Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
            count => {
                self.held.extend_from_slice(piece.get(..count).unwrap_or_default());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn answers_are_told_apart_however_they_arrive() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let hello = request(&address, "GET", "/", "", "");
        let mut seen = vec![0; 2 * hello.len()];
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for piece in [
                "HTTP/1.1 200 OK\r\ncontent-le",
                "ngth: 2\r\nset-cookie: a=b; Path=/\r\n\r\no",
                "kHTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            ] {
                stream.write_all(piece.as_bytes()).unwrap();
                stream.flush().unwrap();
            }
            // Closed with something unread, it would take its answers back.
            stream.read_exact(&mut seen).unwrap();
        });
        let mut client = Client::connect(&address).unwrap();
        assert_eq!(client.ask(&hello).unwrap(), (200, b"ok".to_vec()));
        assert_eq!(client.cookie, "a=b");
        assert_eq!(client.ask(&hello).unwrap(), (503, Vec::new()));
        server.join().unwrap();
        assert!(client.ask(&hello).is_err());
        assert!(parsed("x", 503, b"busy").unwrap_err().to_string().contains("busy"));
    }
}
