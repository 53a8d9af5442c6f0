//! The server as a process: its socket, its end, and what it holds when it is killed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::house::{House, binary};

const PASSWORD: &str = "correct horse battery";

/// A server under way; killed with the test.
struct Process {
    child: Child,
    address: String,
    /// What it printed: its address, or the set-up link.
    line: String,
}

impl Process {
    fn start(house: &House) -> Self {
        let mut child = binary()
            .arg("-C")
            .arg(house.dir())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line = line.trim().to_owned();
        let address = line.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        Self { child, address, line }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends bytes and reads until the server closes.
fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as any.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a JSON request; status, cookie and body, or nothing if the server is gone.
fn ask(
    address: &str,
    headers: &str,
    method: &str,
    path: &str,
    body: &str,
) -> Option<(u16, String, Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.and_then(|line| line.split(';').next()).unwrap_or_default().to_owned();
    Some((status, cookie, serde_json::from_str(body).unwrap_or(Value::Null)))
}

#[test]
fn what_was_acknowledged_is_there_once_after_the_server_is_killed() {
    let house = House::new();
    house.write(
        "connections/events.yaml",
        "connection: events\ntype: journal\noptions: {path: .flywheel/journal}\n",
    );
    house.write("syncs/events.yaml", "sync: events\nconnection: events\nstreams:\n  - {stream: events, options: {topic: events}, read: incremental, write: append}\n");
    let server = Process::start(&house);
    let token = server.line.split("token=").nth(1).unwrap();
    let body = json!({"token": token, "name": "ada", "password": PASSWORD}).to_string();
    let (status, cookie, answer) = ask(&server.address, "", "POST", "/v1/setup", &body).unwrap();
    assert_eq!(status, 201, "{answer}");
    let session =
        format!("Cookie: {cookie}\r\nx-csrf-token: {}\r\n", answer["csrf"].as_str().unwrap());
    let body = json!({"name": "shop", "scopes": ["ingest"]}).to_string();
    let (_, _, answer) = ask(&server.address, &session, "POST", "/v1/tokens", &body).unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", answer["token"].as_str().unwrap());

    // Another command that would change the project is told where to go; one that reads works.
    let complaint = house.fails(1, &["sync"]);
    assert!(complaint.contains(&server.address), "{complaint}");
    house.ok(&["status"]);

    let address = server.address.clone();
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (address, bearer) = (address.clone(), bearer.clone());
            std::thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for n in 0..100_000 {
                    let id = format!("{sender}-{n}");
                    let body = json!({"id": id}).to_string();
                    match ask(&address, &bearer, "POST", "/v1/events", &body) {
                        Some((200, ..)) => acknowledged.push(id),
                        _ => break,
                    }
                }
                acknowledged
            })
        })
        .collect();
    // Some of them are under way when the power goes.
    let busy = |house: &House| {
        std::fs::read_dir(house.dir().join(".flywheel/journal/events")).is_ok_and(|files| {
            files
                .flatten()
                .filter_map(|file| file.metadata().ok())
                .map(|file| file.len())
                .sum::<u64>()
                > 20_000
        })
    };
    while !busy(&house) {
        std::thread::yield_now();
    }
    server.kill();
    let acknowledged: BTreeSet<String> =
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
    assert!(!acknowledged.is_empty());

    house.ok(&["sync"]);
    let landed = house.sql("select id from raw.events");
    let distinct: BTreeSet<String> = landed.iter().cloned().collect();
    assert_eq!(landed.len(), distinct.len(), "an event has landed twice");
    assert!(
        acknowledged.is_subset(&distinct),
        "{} acknowledged, {} landed",
        acknowledged.len(),
        distinct.len()
    );

    // The user is still there, and so is the token.
    let server = Process::start(&house);
    assert!(!server.line.contains("setup"), "{}", server.line);
    let body = json!({"name": "ada", "password": PASSWORD}).to_string();
    let (status, ..) = ask(&server.address, "", "POST", "/v1/login", &body).unwrap();
    assert_eq!(status, 200);
    let (status, _, answer) =
        ask(&server.address, &bearer, "POST", "/v1/events", "{\"id\":\"after\"}").unwrap();
    assert_eq!(status, 200, "{answer}");
    drop(server);
    assert!(house.ok(&["audit", "verify"]).contains("as they were written"));
}

#[test]
fn messages_that_two_readers_could_understand_differently_are_refused() {
    let house = House::new();
    let server = Process::start(&house);
    let status = |bytes: &[u8]| {
        let answer = raw(&server.address, bytes);
        let mut words = answer.split(' ');
        words.nth(1).unwrap_or_default().to_owned()
    };
    let long = format!("GET /livez HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(60_000));
    let many = format!("GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(200));
    for (request, expected) in [
        ("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"),
        ("GET /livez HTTP/1.0\r\n\r\n", "200"),
        ("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"),
        (
            "POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            "400",
        ),
        (
            "POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}", "400"),
        ("POST /v1/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"),
        (
            "POST /v1/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
            "400",
        ),
        (
            "POST /v1/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            "400",
        ),
        ("\u{16}\u{3}\u{1} not http\r\n\r\n", "400"),
        (long.as_str(), "431"),
        (many.as_str(), "431"),
    ] {
        assert_eq!(
            status(request.as_bytes()),
            expected,
            "{}",
            request.get(..60).unwrap_or(request)
        );
    }
    // Two requests at once are answered in their order; HEAD has no body.
    let both = raw(
        &server.address,
        b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(both.matches("HTTP/1.1 200 OK").count(), 2, "{both}");
    assert_eq!(both.matches("ok\n").count(), 1, "{both}");
}

#[cfg(unix)]
#[test]
fn a_server_that_is_asked_to_stop_ends_well_and_a_port_that_is_taken_is_told() {
    let house = House::new();
    let mut server = Process::start(&house);
    let other = House::new();
    let complaint = other.fails(1, &["serve", "--listen", &server.address]);
    assert!(complaint.contains("listens at") && complaint.contains("--listen"), "{complaint}");
    let asked =
        std::process::Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status();
    assert!(asked.unwrap().success());
    assert!(server.child.wait().unwrap().success());
    house.ok(&["build"]);
}
