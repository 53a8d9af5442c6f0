//! The server as a process: its socket, its end, and what it holds when it is killed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::house::{House, binary};

const PASSWORD: &str = "correct horse battery";

/// How many changes are waited for at most until something is so.
const LOOKS_MAX: usize = 200;

/// A server under way; killed with the test.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: String,
    /// What it printed: its address, or the set-up link.
    line: String,
}

impl Process {
    pub(crate) fn start(house: &House) -> Self {
        let dir = house.dir();
        let dir = dir.to_string_lossy();
        Self::start_with(&["-C", &dir, "serve", "--listen", "127.0.0.1:0"])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let mut command = binary();
        command.args(arguments);
        Self::spawned(command)
    }

    /// Serves the project with what `set` says of its environment.
    pub(crate) fn start_as(dir: &Path, set: impl FnOnce(&mut Command)) -> Self {
        let mut command = binary();
        command.arg("-C").arg(dir).args(["serve", "--listen", "127.0.0.1:0"]);
        set(&mut command);
        Self::spawned(command)
    }

    /// As [`Process::start_as`], with what it logs in a file.
    pub(crate) fn start_logged(dir: &Path, log: &Path, set: impl FnOnce(&mut Command)) -> Self {
        let mut command = binary();
        command.arg("-C").arg(dir).args(["serve", "--listen", "127.0.0.1:0"]);
        set(&mut command);
        Self::logging(command, Stdio::from(std::fs::File::create(log).unwrap()))
    }

    fn spawned(command: Command) -> Self {
        Self::logging(command, Stdio::null())
    }

    fn logging(mut command: Command, log: Stdio) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.map(Result::unwrap).find(|line| line.starts_with("http")).unwrap();
        let (_, address) = line.split_once("://").unwrap();
        let address = address.split('/').next().unwrap().to_owned();
        Self { child, address, line }
    }

    /// Makes the owner; the headers that the owner's requests have.
    pub(crate) fn owner(&self) -> String {
        let token = self.line.split("token=").nth(1).unwrap();
        let body = json!({"token": token, "name": "ada", "password": PASSWORD}).to_string();
        let (status, cookie, answer) = ask(&self.address, "", "POST", "/v1/setup", &body).unwrap();
        assert_eq!(status, 201, "{answer}");
        format!("Cookie: {cookie}\r\nx-csrf-token: {}\r\n", answer["csrf"].as_str().unwrap())
    }

    /// Waits until something that was asked for has ended, by listening to what happens.
    fn wait_for(&self, session: &str, count: usize) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let request = format!("GET /v1/live HTTP/1.1\r\nHost: x\r\n{session}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let changes = BufReader::new(stream).lines().map(Result::unwrap);
        let ended = changes.filter(|line| line.contains("event: changed")).take(count).count();
        assert_eq!(ended, count);
    }

    /// Waits until something is so, looking again whenever something has happened.
    fn until<T>(&self, session: &str, mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..LOOKS_MAX {
            if let Some(found) = look() {
                return found;
            }
            self.wait_for(session, 1);
        }
        let last = look();
        assert!(last.is_some(), "it was not so after {LOOKS_MAX} changes");
        last.unwrap()
    }

    pub(crate) fn kill(mut self) {
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
pub(crate) fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as any.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a JSON request; status, cookie and body, or nothing if the server is gone.
pub(crate) fn ask(
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
fn whoever_may_start_the_server_gets_a_lost_owner_in_again() {
    let house = House::new();
    let server = Process::start(&house);
    let session = server.owner();
    server.kill();

    let serve = ["serve", "--listen", "127.0.0.1:0", "--owner-link"];
    let mut of_nobody = serve.to_vec();
    of_nobody.push("eve");
    let complaint = house.fails(2, &of_nobody);
    assert!(complaint.contains("\"eve\" is no owner"), "{complaint}");
    let dir = house.dir();
    let dir = dir.to_string_lossy();
    let mut of_ada = vec!["-C", &*dir];
    of_ada.extend(serve);
    of_ada.push("ada");
    let server = Process::start_with(&of_ada);
    let token = server.line.split("token=").nth(1).unwrap();
    let send = |path: &str, body: Value| {
        ask(&server.address, "", "POST", path, &body.to_string()).unwrap().0
    };
    assert_eq!(
        send("/v1/setup", json!({"token": token, "name": "eve", "password": PASSWORD})),
        403
    );
    let new = "another horse battery";
    assert_eq!(send("/v1/setup", json!({"token": token, "name": "ada", "password": new})), 201);
    assert_eq!(send("/v1/login", json!({"name": "ada", "password": PASSWORD})), 401);
    assert_eq!(send("/v1/login", json!({"name": "ada", "password": new})), 200);
    assert_eq!(ask(&server.address, &session, "GET", "/v1/me", "").unwrap().0, 401, "old sessions");
    let log = house.ok(&["audit", "list", "--output", "json"]);
    assert!(log.contains("serve --owner-link"), "{log}");
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
    let session = server.owner();
    let body = json!({"name": "shop", "scopes": ["ingest"]}).to_string();
    let (_, _, answer) = ask(&server.address, &session, "POST", "/v1/tokens", &body).unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", answer["token"].as_str().unwrap());

    // Another command that would change the project is told where to go; one that reads works.
    let complaint = house.fails(1, &["sync"]);
    assert!(complaint.contains(&server.address), "{complaint}");
    house.ok(&["status"]);

    let address = server.address.clone();
    let taken = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (address, bearer) = (address.clone(), bearer.clone());
            let taken = Arc::clone(&taken);
            std::thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for n in 0..100_000 {
                    let id = format!("{sender}-{n}");
                    let body = json!({"id": id}).to_string();
                    match ask(&address, &bearer, "POST", "/v1/events", &body) {
                        Some((200, ..)) => {
                            acknowledged.push(id);
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                        _ => break,
                    }
                }
                acknowledged
            })
        })
        .collect();
    // Some of them are under way when the power goes.
    while taken.load(Ordering::Relaxed) < 200 {
        assert!(!senders.iter().all(|sender| sender.is_finished()), "no event is acknowledged");
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
fn tries_behind_a_proxy_count_for_whom_the_proxy_names() {
    let house = House::new();
    house.write("flywheel.yaml", "name: shop\nproxies: [127.0.0.1]\n");
    let server = Process::start(&house);
    server.owner();
    let login = |from: &str, name: &str, password: &str| {
        // The first address is what the client itself has written.
        let headers = format!("X-Forwarded-For: 198.51.100.{}, {from}\r\n", name.len());
        let body = json!({"name": name, "password": password}).to_string();
        ask(&server.address, &headers, "POST", "/v1/login", &body).unwrap().0
    };
    for at in 0..10 {
        let name = "x".repeat(at + 1);
        assert_eq!(login("203.0.113.7", &name, "wrong wrong wrong"), 401);
    }
    assert_eq!(login("203.0.113.7", "ada", PASSWORD), 429);
    assert_eq!(login("203.0.113.8", "ada", PASSWORD), 200);
}

#[test]
fn a_session_behind_a_proxy_with_tls_is_sent_over_tls_alone() {
    let cookie = |server: &Process, headers: &str| {
        let body = json!({"name": "ada", "password": PASSWORD}).to_string();
        let head = "POST /v1/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        let length = body.len();
        let request = format!("{head}{headers}Content-Length: {length}\r\n\r\n{body}");
        let answer = raw(&server.address, request.as_bytes());
        let line = answer.lines().find(|line| line.starts_with("set-cookie: "));
        line.unwrap_or(&answer).to_owned()
    };
    let https = "X-Forwarded-Proto: https\r\n";
    for (project, secure) in [("name: shop\nproxies: [127.0.0.1]\n", true), ("name: shop\n", false)]
    {
        let house = House::new();
        house.write("flywheel.yaml", project);
        let server = Process::start(&house);
        server.owner();
        let told = cookie(&server, https);
        assert!(told.contains("HttpOnly"), "{told}");
        assert_eq!(told.contains("; Secure"), secure, "{told}");
        let plain = cookie(&server, "X-Forwarded-Proto: http\r\n");
        assert!(plain.contains("HttpOnly") && !plain.contains("Secure"), "{plain}");
    }
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

#[test]
fn connections_are_secret_with_a_certificate_and_a_key_of_another_is_refused() {
    let house = House::new();
    let make = |name: &str| {
        let folder = house.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        flywheel_testkit::Postgres::certificate(&folder)
    };
    let (ours, other) = (make("ours"), make("other"));
    let (certificate, key) = (ours.certificate.to_string_lossy(), ours.key.to_string_lossy());
    let strange = other.key.to_string_lossy();
    let complaint =
        house.fails(2, &["serve", "--tls-certificate", &certificate, "--tls-key", &strange]);
    assert!(complaint.contains("does not belong to the certificate"), "{complaint}");
    let complaint =
        house.fails(2, &["serve", "--tls-certificate", &certificate, "--tls-key", &certificate]);
    assert!(complaint.contains("a private key in no form we know"), "{complaint}");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--tls-certificate", &certificate];
    let dir = house.dir();
    let dir = dir.to_string_lossy();
    let server =
        Process::start_with(&[&["-C", &dir], &arguments[..], &["--tls-key", &key]].concat());
    assert!(server.line.starts_with("https://"), "{}", server.line);
    // Without TLS there is no answer.
    assert_eq!(
        raw(&server.address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").find("200 OK"),
        None
    );
    let mut client = Command::new("openssl");
    client.args(["s_client", "-quiet", "-verify_return_error", "-connect", &server.address]);
    client.args(["-CAfile", &certificate]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.stderr(Stdio::null()).spawn().unwrap();
    let mut question = client.stdin.take().unwrap();
    question.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let answer = client.wait_with_output().unwrap();
    let answer = String::from_utf8_lossy(&answer.stdout);
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok\n"), "{answer}");
    drop(question);
}

#[cfg(unix)]
#[test]
fn a_server_that_is_asked_to_stop_ends_well_and_a_port_that_is_taken_is_told() {
    let house = House::new();
    let mut server = Process::start(&house);
    let other = House::new();
    let complaint = other.fails(1, &["serve", "--listen", &server.address]);
    assert!(complaint.contains("listens at") && complaint.contains("--listen"), "{complaint}");
    let asked = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status();
    assert!(asked.unwrap().success());
    assert!(server.child.wait().unwrap().success());
    house.ok(&["build"]);
}

#[test]
fn pages_that_are_worked_on_are_for_this_machine_and_must_have_been_built() {
    let house = House::new();
    let folder = house.path("pages");
    let dev = folder.to_string_lossy();
    let complaint = house.fails(2, &["serve", "--dev", &dev]);
    assert!(complaint.contains("pages has no index.html"), "{complaint}");
    assert!(complaint.contains("npm run build"), "{complaint}");
    let complaint = house.fails(2, &["serve", "--dev", &dev, "--listen", "0.0.0.0:0"]);
    assert!(complaint.contains("--dev is for this machine only"), "{complaint}");
}

#[test]
fn the_demo_goes_on_while_it_is_served() {
    let house = House::new();
    let dir = house.path("demo");
    let arguments = ["demo", "--days", "4", "--pace", "1s", "--listen", "127.0.0.1:0", "--dir"];
    let dir = dir.to_string_lossy();
    let server = Process::start_with(&[&arguments[..], &[dir.as_ref()]].concat());
    let session = server.owner();
    let answer = server.until(&session, || {
        let (_, _, answer) = ask(&server.address, &session, "GET", "/v1/status", "").unwrap();
        (answer["turn"]["turn"].as_i64().unwrap() >= 6).then_some(answer)
    });
    assert_eq!(answer["simulated"], true);
    let stages: Vec<&str> = answer["ring"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    let expected = ["connect", "land", "model", "measure", "learn", "decide", "act", "outcome"];
    assert_eq!(stages, expected);
    // Each page of the wheel has something to show.
    for path in [
        "turns",
        "runs",
        "work",
        "assets",
        "syncs",
        "connections",
        "models",
        "metrics",
        "learners",
        "policies",
        "actions",
    ] {
        let (status, _, answer) =
            ask(&server.address, &session, "GET", &format!("/v1/{path}"), "").unwrap();
        assert_eq!(status, 200, "{path}");
        assert!(!answer["items"].as_array().unwrap().is_empty(), "{path} is empty");
    }
    let (_, _, runs) = ask(&server.address, &session, "GET", "/v1/runs?limit=2", "").unwrap();
    let run = runs["items"][1]["run_id"].as_str().unwrap();
    let (_, _, run) =
        ask(&server.address, &session, "GET", &format!("/v1/runs/{run}"), "").unwrap();
    assert!(
        !run["tasks"].as_array().unwrap().is_empty() && !run["log"].as_array().unwrap().is_empty(),
        "{run}"
    );
    let (_, _, policies) = ask(&server.address, &session, "GET", "/v1/policies", "").unwrap();
    let measured = policies["items"].as_array().unwrap().iter();
    let longest = measured.map(|policy| policy["turns"].as_array().map_or(0, Vec::len)).max();
    assert!(longest >= Some(4), "{policies}");
}

#[test]
fn simulated_customers_of_a_served_demo_visit_its_website_through_the_api() {
    let house = House::new();
    let dir = house.path("demo");
    let arguments = ["demo", "--days", "4", "--pace", "3s", "--listen", "127.0.0.1:0", "--dir"];
    let dir = dir.to_string_lossy();
    let server = Process::start_with(&[&arguments[..], &[dir.as_ref()]].concat());
    let session = server.owner();
    let sql = |sql: &str| {
        let body = json!({ "sql": sql }).to_string();
        let (status, _, answer) = ask(&server.address, &session, "POST", "/v1/sql", &body).unwrap();
        assert_eq!(status, 200, "{sql}: {answer}");
        answer["rows"].as_array().unwrap().clone()
    };
    let number = |query: &str| sql(query)[0][0].as_i64().unwrap();
    // What was shown and what came of it is counted by the turn of the next day.
    server.until(&session, || {
        let seen = number("select count(*) from system.exposures where status = 'taken'");
        (seen > 0).then_some(())
    });
    server.until(&session, || {
        let told = number("select count(*) from system.outcomes where policy = 'website_offer'");
        (told > 0).then_some(())
    });
    let whose = "select distinct policy from system.exposures where status = 'taken'";
    assert_eq!(sql(whose), [json!(["website_offer"])]);
    let held_out = "select count(*) from system.exposures e
                    join system.decisions d on d.decision_id = e.decision_id where d.arm <> 'treatment'";
    assert_eq!(number(held_out), 0, "who is held out is shown nothing");
    // Their events are landed, and each says what it is.
    let sources = "select distinct source from raw.visits";
    assert_eq!(sql(sources), [json!(["simulated"])]);
    assert!(number("select count(*) from raw.visits where event = 'view'") > 0);
    assert_eq!(number("select count(*) from raw.visits where event_id not like 'simulated-%'"), 0);
    assert!(number("select count(*) from system.events where topic = 'visits'") > 0);
    // They are a user who may do nothing else, and everybody sees who.
    let (_, _, users) = ask(&server.address, &session, "GET", "/v1/users", "").unwrap();
    let users = users["items"].as_array().unwrap();
    let who = users.iter().find(|user| user["name"] == "simulated-customers").unwrap();
    assert_eq!((&who["role"], &who["has_password"]), (&json!("agent"), &json!(false)));
    let (_, _, tokens) = ask(&server.address, &session, "GET", "/v1/tokens", "").unwrap();
    let token = tokens["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["owner"] == "simulated-customers" && token["revoked"] == false);
    assert_eq!(token.unwrap()["scopes"], json!(["ingest", "decide"]));
}
