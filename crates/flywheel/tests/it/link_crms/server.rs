//! A small HTTP server for fakes of web APIs, on the loopback interface until the test ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// A request.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) authorization: String,
    /// By which a server knows a request that it has had.
    pub(crate) idempotency_key: String,
    pub(crate) text: String,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// What is answered.
pub(crate) struct Answer {
    status: u16,
    head: String,
    body: String,
    lost: bool,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Self { status, head: String::new(), body, lost: false }
    }

    pub(crate) fn text(body: &str) -> Self {
        Self { status: 200, head: String::new(), body: body.to_owned(), lost: false }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// The same, lost on its way.
    pub(crate) fn lost(self) -> Self {
        Self { lost: true, ..self }
    }
}

/// Serves `state`; gives the address.
pub(crate) fn serve<S: Send + 'static>(
    state: &Arc<Mutex<S>>,
    answer: fn(&mut S, &Asked) -> Answer,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            // Who leaves before the answer is no concern of a server.
            thread::spawn(move || drop(talk(stream, &state, answer)));
        }
    });
    url
}

fn talk<S>(
    stream: TcpStream,
    state: &Mutex<S>,
    answer: fn(&mut S, &Asked) -> Answer,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let (mut length, mut authorization, mut idempotency_key) = (0, String::new(), String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => value.trim().clone_into(&mut authorization),
            "idempotency-key" => value.trim().clone_into(&mut idempotency_key),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let asked = Asked {
        method,
        path: path.to_owned(),
        query: query.map(|(name, value)| (decoded(name), decoded(value))).collect(),
        authorization,
        idempotency_key,
        text: String::from_utf8_lossy(&body).into_owned(),
    };
    let answer = answer(&mut state.lock().unwrap(), &asked);
    if answer.lost {
        return Ok(());
    }
    let head = format!(
        "HTTP/1.1 {} X\r\n{}content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        answer.status,
        answer.head,
        answer.body.len()
    );
    let mut stream = reader.into_inner();
    stream.write_all(head.as_bytes())?;
    stream.write_all(answer.body.as_bytes())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let two = [rest.next().unwrap(), rest.next().unwrap()];
                let two = std::str::from_utf8(&two).unwrap();
                bytes.push(u8::from_str_radix(two, 16).unwrap());
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
