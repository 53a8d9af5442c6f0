//! Secrets appear nowhere: not in what is printed or logged at the highest level, not in errors of systems that
//! repeat what they were sent, not in answers of the server, not in what is kept; nor in base64 or percent-encoded.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use flywheel_base::{Secret, Timestamp};
use flywheel_project::vault::Vault;
use flywheel_runtime::system;
use flywheel_testkit::shows;
use serde_json::{Value, json};

use crate::house::{House, binary, text};
use crate::served::{Process, ask, raw};

/// How many connections of each kind there are, and how many kinds.
const EACH: usize = 5;
const KINDS: usize = 10;
/// How many connections with a secret of its own each.
const CONNECTIONS: usize = EACH * KINDS;

// What a server has besides.
const MAIL: usize = CONNECTIONS;
const WEBHOOK_KEY: usize = CONNECTIONS + 1;
const WEBHOOK_HEADER: usize = CONNECTIONS + 2;
const ROBOT_ADDRESS: usize = CONNECTIONS + 3;
const ROBOT_KEY: usize = CONNECTIONS + 4;
const SIGN_IN: usize = CONNECTIONS + 5;
const HOOK: usize = CONNECTIONS + 6;
const MASK_KEY: usize = CONNECTIONS + 7;
const RULE_KEY: usize = CONNECTIONS + 8;
const FILE: usize = CONNECTIONS + 9;
const COLLECTOR: usize = CONNECTIONS + 10;
const PASSWORD: usize = CONNECTIONS + 11;
const WRONG_PASSWORD: usize = CONNECTIONS + 12;
const NEW_PASSWORD: usize = CONNECTIONS + 13;
/// What an administrator hands to the server.
const HANDED_IN: usize = CONNECTIONS + 14;
/// All of them.
const ALL: usize = CONNECTIONS + 15;

/// How long something may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// How every canary begins, which nobody would write by chance.
const CANARY: &str = "c4nary";

/// A secret as nobody would write it by chance; what it ends with is another text in an address.
fn canary(number: usize) -> String {
    format!("{CANARY}{number:03}-Zq7+wXv")
}

/// Whether a secret is in the project's store; the others are in the environment.
fn stored(number: usize) -> bool {
    number % 2 == 1 || [HOOK, RULE_KEY].contains(&number)
}

/// The reference by which a secret is taken from the store or from the environment.
fn reference(number: usize) -> String {
    if stored(number) {
        return format!("${{secret:canary.{number}}}");
    }
    format!("${{env:CANARY_{number}}}")
}

/// Puts every secret that is not stored into a command's environment.
fn plant(command: &mut Command) {
    for number in (0..ALL).filter(|number| !stored(*number)) {
        command.env(format!("CANARY_{number}"), canary(number));
    }
}

/// Puts the others into the store.
fn store(house: &House) {
    let vault = Vault::of(&house.dir());
    for number in (0..ALL).filter(|number| stored(*number)) {
        let (name, value) = (format!("canary.{number}"), Secret::new(canary(number)));
        vault.set(&name, &value, Timestamp::default()).unwrap();
    }
}

/// A server that refuses everything and repeats the whole request in its answer.
struct Parrot {
    port: u16,
    heard: Arc<Mutex<String>>,
}

fn parrot() -> Parrot {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::<Mutex<String>>::default();
    let hears = Arc::clone(&heard);
    thread::spawn(move || {
        // Each in a thread of its own: a client may open a connection and say nothing.
        for stream in listener.incoming().map_while(Result::ok) {
            let hears = Arc::clone(&hears);
            thread::spawn(move || repeat(stream, &hears));
        }
    });
    Parrot { port, heard }
}

/// Notes a request and refuses it with an answer that says all of it.
fn repeat(mut stream: TcpStream, hears: &Mutex<String>) {
    let mut request = vec![0; 16 << 10];
    let length = stream.read(&mut request).unwrap_or_default();
    let said = text(&request[..length]);
    hears.lock().unwrap().push_str(&said);
    let body = format!("{{\"error\": {said:?}}}");
    let answer = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // A client that has gone is of no interest.
    drop(stream.write_all(answer.as_bytes()));
}

/// A port at which nobody listens.
fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A connection and a sync that reads a stream of it into a table of the same name.
fn declare(house: &House, name: &str, connector: &str, options: &str, stream: &str) {
    house.write(
        &format!("connections/{name}.yaml"),
        format!("connection: {name}\ntype: {connector}\noptions: {options}\n"),
    );
    house.write(
        &format!("syncs/{name}.yaml"),
        format!("sync: {name}\nconnection: {name}\nstreams:\n  - {{stream: {name}, options: {stream}}}\n"),
    );
}

/// The connections, each with a secret of its own from the environment.
fn connections(house: &House, port: u16) -> Vec<String> {
    store(house);
    let closed = closed();
    let mut names = Vec::new();
    for number in 0..CONNECTIONS {
        let secret = reference(number);
        let (kind, turn) = (number / EACH, number % EACH);
        let (connector, options, stream) = match kind {
            0 if turn % 2 == 0 => (
                "postgres",
                format!(
                    "{{host: 127.0.0.1, port: {closed}, database: d, user: u, password: '{secret}'}}"
                ),
                "{table: t}",
            ),
            0 => (
                "postgres",
                format!("{{url: 'postgres://u:{secret}@127.0.0.1:{closed}/d'}}"),
                "{table: t}",
            ),
            1 if turn % 2 == 0 => (
                "mysql",
                format!(
                    "{{host: 127.0.0.1, port: {closed}, database: d, user: u, password: '{secret}'}}"
                ),
                "{table: t}",
            ),
            1 => (
                "mysql",
                format!("{{url: 'mysql://u:{secret}@127.0.0.1:{closed}/d'}}"),
                "{table: t}",
            ),
            2 => {
                let auth = auth(turn, port, &secret);
                (
                    "rest",
                    format!(
                        "{{base_url: 'http://127.0.0.1:{port}', allow_private: true, retries: 0, auth: {auth}}}"
                    ),
                    "{path: /rows}",
                )
            }
            3 => (
                "csv",
                format!(
                    "{{root: 's3://bucket/a', endpoint: 'http://127.0.0.1:{port}', allow_http: true, access_key: '{secret}', secret_key: '{secret}', session_token: '{secret}', timeout: 2s}}"
                ),
                "{path: '*.csv'}",
            ),
            4 => (
                "kafka",
                format!(
                    "{{brokers: ['127.0.0.1:{closed}'], sasl: {{user: u, password: '{secret}'}}, timeout: 1s}}"
                ),
                "{topic: t}",
            ),
            5 => (
                "hubspot",
                format!(
                    "{{token: '{secret}', base_url: 'http://127.0.0.1:{port}', allow_private: true, retries: 0}}"
                ),
                "{object: contacts}",
            ),
            6 => {
                let auth = auth(turn, port, &secret);
                (
                    "salesforce",
                    format!(
                        "{{instance_url: 'http://127.0.0.1:{port}', allow_private: true, retries: 0, auth: {auth}}}"
                    ),
                    "{object: Contact}",
                )
            }
            7 if cfg!(feature = "odbc") => (
                "odbc",
                format!(
                    "{{connection_string: 'Driver={{Nowhere}};Server=s', user: u, password: '{secret}'}}"
                ),
                "{table: t}",
            ),
            // What a program's environment has is as secret as its configuration.
            7 => (
                "singer",
                format!("{{command: [sh, tap.sh], env: {{TOKEN: '{secret}'}}, timeout: 20s}}"),
                "{stream: t}",
            ),
            kind => (
                if kind == 8 { "airbyte" } else { "singer" },
                format!("{{command: [sh, tap.sh], config: {{token: '{secret}'}}, timeout: 20s}}"),
                "{stream: t}",
            ),
        };
        let name = format!("k{kind}n{turn}");
        declare(house, &name, connector, &options, stream);
        names.push(name);
    }
    // A tap that says everything it was told.
    house.write(
        "tap.sh",
        "echo \"$TOKEN\" >&2; for file in \"$@\"; do [ -f \"$file\" ] && cat \"$file\" >&2 && cat \"$file\"; done; exit 1\n",
    );
    names
}

/// One of the ways in which a connection shows who it is.
fn auth(turn: usize, port: u16, secret: &str) -> String {
    match turn % 5 {
        0 => format!("{{type: basic, username: u, password: '{secret}'}}"),
        1 => format!("{{type: bearer, token: '{secret}'}}"),
        2 => format!("{{type: header, name: X-Key, value: '{secret}'}}"),
        3 => format!("{{type: query, name: key, value: '{secret}'}}"),
        _ => format!(
            "{{type: oauth2, token_url: 'http://127.0.0.1:{port}/token', client_id: c, client_secret: '{secret}'}}"
        ),
    }
}

/// The secrets that are somewhere in `content`, however they are encoded.
fn found(content: &str) -> Vec<String> {
    // Hardly ever is there one; one look for how all of them begin is enough to know.
    if !shows(content, CANARY) {
        return Vec::new();
    }
    (0..ALL).map(canary).filter(|secret| shows(content, secret)).collect()
}

/// Every file below a folder, as text.
fn kept(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            kept(&path, all);
        } else {
            all.push_str(&text(&std::fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn fifty_secrets_are_neither_printed_nor_kept() {
    let (house, parrot) = (House::new(), parrot());
    let names = connections(&house, parrot.port);
    assert_eq!(names.len(), 50);
    let run = |arguments: &[&str]| {
        let mut command = binary();
        command.arg("-C").arg(house.dir()).args(arguments).env("FLYWHEEL_LOG", "trace");
        plant(&mut command);
        let output = command.output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        assert_eq!(found(&said), Vec::<String>::new(), "{arguments:?} prints secrets: {said}");
        (output.status.success(), said)
    };
    let (valid, said) = run(&["check"]);
    assert!(valid, "{said}");
    for name in &names {
        let (worked, said) = run(&["-vv", "sync", name]);
        assert!(!worked && said.contains("error"), "{name} has nobody to talk to: {said}");
        let (worked, _) = run(&["-vv", "discover", name]);
        assert!(!worked, "{name} has nobody to talk to");
    }
    run(&["status"]);
    for table in ["runs", "tasks", "quarantine", "tables"] {
        let (_, said) = run(&["sql", &format!("select * from system.{table}"), "--output", "json"]);
        assert!(table != "tasks" || said.contains("error"), "tasks tell of their errors: {said}");
    }
    let mut all = String::new();
    kept(&house.path(".flywheel"), &mut all);
    assert_eq!(found(&all), Vec::<String>::new(), "secrets are kept");
}

/// What a server has besides connections: actions, a schedule that others may start, masks, rules, a sign-in.
fn secrets_of_a_server(house: &House, port: u16) {
    let (mail_port, here) = (closed(), format!("http://127.0.0.1:{port}"));
    house
        .write(
            "flywheel.yaml",
            format!(
                "name: shop\nsign_in:\n  name: Acme\n  issuer: {here}\n  client_id: flywheel\n  client_secret: {}\n  \
                 address: http://127.0.0.1:8700\n  roles: {{from: groups, map: {{it: owner}}}}\n",
                reference(SIGN_IN)
            ),
        )
        .write(
            "actions/mail.yaml",
            format!(
                "action: mail\ntype: email\noptions: {{host: 127.0.0.1, port: {mail_port}, user: u, password: '{}', \
                 from: ops@shop.example, to: [ada@shop.example], allow_private: true, timeout: 5s}}\n",
                reference(MAIL)
            ),
        )
        .write(
            "actions/web.yaml",
            format!(
                "action: web\ntype: webhook\noptions: {{url: '{here}/hook', secret: '{}', headers: {{authorization: '{}'}}, \
                 allow_private: true}}\n",
                reference(WEBHOOK_KEY),
                reference(WEBHOOK_HEADER)
            ),
        )
        .write(
            "actions/robot.yaml",
            format!(
                "action: robot\ntype: chat\noptions: {{form: dingtalk, url: '{here}/robot?access_token={}', secret: '{}', \
                 allow_private: true}}\n",
                reference(ROBOT_ADDRESS),
                reference(ROBOT_KEY)
            ),
        )
        .write(
            "schedules/broken.yaml",
            format!(
                "schedule: broken\nrun: sync\nselect: [k2n1]\nwhen: {{webhook: '{}'}}\nretry: {{attempts: 1}}\n\
                 alert: {{actions: [mail, web, robot]}}\n",
                reference(HOOK)
            ),
        )
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write("data/orders.csv", "id,mail,name\n1,a@x.example,Ada\n")
        .write(
            "syncs/orders.yaml",
            format!(
                "sync: orders\nconnection: files\nstreams:\n  - stream: orders\n    options: {{path: orders.csv}}\n    \
                 read: full\n    write: replace\n    columns: [{{name: mail, mask: 'hmac(key={})'}}]\n",
                reference(MASK_KEY)
            ),
        )
        .write(
            "access/orders.yaml",
            format!(
                "rule: orders\ntables: [raw.orders]\nask: Ada\nreaders:\n  - {{roles: [owner], masks: {{name: 'hmac(key={})'}}}}\n",
                reference(RULE_KEY)
            ),
        )
        .write("kept/password", canary(FILE));
    declare(
        house,
        "of_file",
        "postgres",
        &format!(
            "{{host: 127.0.0.1, port: {mail_port}, database: d, user: u, password: '${{file:kept/password}}'}}"
        ),
        "{table: t}",
    );
}

/// A server under way, and its owner.
struct Asked {
    server: Process,
    session: String,
    /// Keys that the server has made, which it shows once.
    made: Vec<String>,
}

impl Asked {
    fn post(&self, session: &str, path: &str, body: &Value) -> (u16, String, Value) {
        ask(&self.server.address, session, "POST", path, &body.to_string()).unwrap()
    }

    /// The whole answer with its head.
    fn get(&self, path: &str) -> String {
        let session = &self.session;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{session}\r\n");
        raw(&self.server.address, request.as_bytes())
    }

    fn json(&self, path: &str) -> Value {
        ask(&self.server.address, &self.session, "GET", path, "").unwrap().2
    }

    /// The values of a key among the items of a list.
    fn names(&self, path: &str, key: &str) -> Vec<String> {
        let list = self.json(path);
        assert!(list["items"].is_array(), "{path}: {list}");
        let items = list["items"].as_array().into_iter().flatten();
        items.map(|item| item[key].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until something is so.
    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < PATIENCE, "{what} takes too long");
            thread::yield_now();
        }
    }

    /// Somebody chooses a password, mistypes it and changes it; the owner makes a token and uses it.
    fn people(&mut self) {
        let (status, _, invited) =
            self.post(&self.session, "/v1/users", &json!({"name": "bo", "role": "viewer"}));
        assert_eq!(status, 201, "{invited}");
        let link = invited["setup_link"].as_str().unwrap();
        let invitation = link.split("token=").nth(1).unwrap().to_owned();
        let chosen = json!({"token": invitation, "name": "bo", "password": canary(PASSWORD)});
        let (status, cookie, bo) = self.post("", "/v1/setup", &chosen);
        assert_eq!(status, 201, "{bo}");
        let wrong = json!({"name": "bo", "password": canary(WRONG_PASSWORD)});
        assert_eq!(self.post("", "/v1/login", &wrong).0, 401);
        let session =
            format!("Cookie: {cookie}\r\nx-csrf-token: {}\r\n", bo["csrf"].as_str().unwrap());
        let change = json!({"old": canary(PASSWORD), "new": canary(NEW_PASSWORD)});
        let (status, _, changed) = self.post(&session, "/v1/me/password", &change);
        assert!(status < 300, "{changed}");
        let (_, _, made) =
            self.post(&self.session, "/v1/tokens", &json!({"name": "t", "scopes": ["view"]}));
        let (path, handed_in) = ("/v1/secrets/handed_in", json!({"value": canary(HANDED_IN)}));
        let body = handed_in.to_string();
        let put = ask(&self.server.address, &self.session, "PUT", path, &body).unwrap();
        assert_eq!(put.0, 204, "{put:?}");
        let token = made["token"].as_str().unwrap().to_owned();
        let bearer = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(ask(&self.server.address, &bearer, "GET", "/v1/me", "").unwrap().0, 200);
        let cookie = cookie.split_once('=').unwrap().1.to_owned();
        self.made.extend([invitation, token, cookie]);
    }

    /// Uses every secret of connections and actions, in vain.
    fn work(&self, names: &[String]) {
        for name in names {
            let path = format!("/v1/connections/{name}/test");
            let (_, _, answer) = self.post(&self.session, &path, &json!({}));
            self.clean(&path, &answer.to_string());
            let (status, _, answer) =
                self.post(&self.session, &format!("/v1/syncs/{name}/run"), &json!({}));
            assert_eq!(status, 202, "{name}: {answer}");
        }
        let (status, ..) = self.post(&self.session, "/v1/syncs/orders/run", &json!({}));
        assert_eq!(status, 202);
        self.until("the syncs", || {
            let work = self.json("/v1/work");
            let work = work["items"].as_array().unwrap();
            work.len() > names.len() && work.iter().all(|one| one["ended_at"].is_string())
        });
        let (status, _, answer) = self.post(&self.session, "/v1/schedules/broken/run", &json!({}));
        assert_eq!(status, 202, "{answer}");
        let call = "X-Flywheel-Delivery: 1\r\nX-Flywheel-Signature: sha256=00\r\n";
        let (status, _, answer) = self.post(call, "/v1/hooks/broken", &json!({}));
        assert!((400..500).contains(&status), "{answer}");
        self.get("/v1/sign-in");
        let tried = json!({"sql": "select count(*) from system.alerts where attempts > 0"});
        self.until("the alerts", || {
            self.post(&self.session, "/v1/sql", &tried).2["rows"][0][0] == 3
        });
    }

    /// Nothing that is secret may be in there.
    fn clean(&self, what: &str, content: &str) {
        let mut secrets = found(content);
        secrets.extend(self.made.iter().filter(|made| shows(content, made)).cloned());
        assert_eq!(secrets, Vec::<String>::new(), "{what} shows secrets");
    }

    /// The paths that can be read, with everything there is in their places.
    fn paths(&self) -> Vec<String> {
        let mut runs = self.names("/v1/runs?limit=100", "run_id");
        runs.extend(self.names("/v1/schedule-runs", "id"));
        let places = [
            ("asset", self.names("/v1/assets", "name")),
            ("connection", self.names("/v1/connections", "name")),
            ("sync", self.names("/v1/syncs", "name")),
            ("schedule", self.names("/v1/schedules", "schedule")),
            ("user", self.names("/v1/users", "name")),
            ("work", self.names("/v1/work", "work")),
            ("run", runs),
            ("table", vec!["raw.orders".to_owned()]),
        ];
        let reference = self.json("/v1/openapi.json");
        let described = reference["paths"].as_object().unwrap().iter();
        // What happens as it happens has no end.
        let readable =
            described.filter(|(path, how)| how["get"].is_object() && *path != "/v1/live");
        let mut open: Vec<String> = readable.map(|(path, _)| path.clone()).collect();
        open.push("/v1/audit?limit=1000".to_owned());
        let mut paths = Vec::new();
        while let Some(path) = open.pop() {
            let Some((before, rest)) = path.split_once('{') else {
                paths.push(path);
                continue;
            };
            let (place, after) = rest.split_once('}').unwrap();
            match places.iter().find(|(name, _)| *name == place) {
                Some((_, values)) => {
                    open.extend(
                        values.iter().map(|value| format!("{before}{}{after}", escaped(value))),
                    );
                }
                None => open.push(format!("{before}not-there{after}")),
            }
        }
        paths
    }
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    name.bytes()
        .map(
            |byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect()
}

#[test]
fn what_a_running_server_shows_logs_and_keeps_holds_no_secret() {
    let (house, parrot) = (House::new(), parrot());
    let mut names = connections(&house, parrot.port);
    secrets_of_a_server(&house, parrot.port);
    names.push("of_file".to_owned());
    let log = house.path("server.log");
    let server = Process::start_logged(&house.dir(), &log, |command| {
        plant(command);
        command.env("FLYWHEEL_LOG", "trace");
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", parrot.port));
        command.env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-api-key={}", canary(COLLECTOR)));
        command.env("OTEL_BSP_SCHEDULE_DELAY", "50").env("OTEL_METRIC_EXPORT_INTERVAL", "200");
    });
    let session = server.owner();
    let mut asked = Asked { server, session, made: Vec::new() };
    asked.people();
    asked.work(&names);
    // They were in use: who was to get them has got them.
    for used in [WEBHOOK_HEADER, ROBOT_ADDRESS, COLLECTOR, 2 * EACH + 1, 5 * EACH] {
        let heard = || parrot.heard.lock().unwrap().contains(&canary(used));
        asked.until(&format!("the use of the secret {used}"), heard);
    }
    let paths = asked.paths();
    let mut answered = 0;
    for path in &paths {
        let answer = asked.get(path);
        answered += usize::from(answer.starts_with("HTTP/1.1 200"));
        asked.clean(path, &answer);
    }
    assert!(answered > 200, "only {answered} of {} paths have an answer", paths.len());
    for table in system::all() {
        let sql = format!("select * from system.{}", table.name);
        let (status, _, rows) = asked.post(&asked.session, "/v1/sql", &json!({"sql": sql}));
        assert_eq!(status, 200, "{sql}: {rows}");
        asked.clean(&sql, &rows.to_string());
    }
    asked.clean("/metrics", &asked.get("/metrics"));
    let Asked { server, made, .. } = asked;
    server.kill();
    let mut all = std::fs::read_to_string(&log).unwrap();
    assert!(all.contains("TRACE"), "the log is not whole");
    kept(&house.path(".flywheel"), &mut all);
    let leaks = found(&all);
    let where_from = |line: &&str| leaks.iter().any(|leak| shows(line, leak));
    let lines: Vec<&str> = all.lines().filter(where_from).collect();
    assert!(leaks.is_empty(), "secrets are logged or kept: {leaks:?} in {lines:#?}");
    assert!(!made.iter().any(|made| shows(&all, made)), "keys of people are logged or kept");
}

#[test]
fn every_planted_secret_is_found_in_whatever_form_it_is_shown() {
    for number in 0..ALL {
        let secret = canary(number);
        // Base64 of "user:" and the secret, as a header shows who asks: the user's length moves the letters.
        for user in ["", "u:", "ada:", "flywheel:"] {
            let header = base64(&format!("{user}{secret}"));
            let safe = header.replace('+', "-").replace('/', "_");
            for form in [&header, &safe, &header.replace('+', "%2B"), &format!("{header}==")] {
                let header = format!("authorization: Basic {form}\r\n");
                assert_eq!(found(&header), std::slice::from_ref(&secret));
            }
        }
        let address = format!("GET /rows?key={}&n=1", escaped(&secret));
        assert_eq!(found(&address), std::slice::from_ref(&secret));
        assert_eq!(found(&format!("{{\"error\":\"{secret}\"}}")), [secret]);
    }
    assert_eq!(found("nothing of a c4nar, nor 100 %, nor YzRuYX"), [""; 0]);
}

/// Base64 without padding, by the letters of its definition.
fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = text.bytes().map(|byte| format!("{byte:08b}")).collect();
    let starts = (0..bits.len()).step_by(6);
    let six = starts.map(|start| format!("{:0<6}", &bits[start..bits.len().min(start + 6)]));
    six.map(|six| char::from(LETTERS[usize::from_str_radix(&six, 2).unwrap()])).collect()
}

#[test]
fn a_variable_that_is_empty_is_not_said_to_be_unset() {
    let house = House::new();
    house.write(
        "connections/shop.yaml",
        "connection: shop\ntype: sqlite\noptions: {path: '${env:SHOP_FILE}'}\n",
    );
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: shop\nstreams:\n  - {stream: t, options: {table: t}, read: full, write: replace}\n",
    );
    for (value, expected) in
        [(None, "\"SHOP_FILE\" is not set"), (Some(""), "\"SHOP_FILE\" is empty")]
    {
        let mut command = binary();
        command.arg("-C").arg(house.dir()).arg("sync").env_remove("SHOP_FILE");
        command.envs(value.map(|value| ("SHOP_FILE", value)));
        let said = text(&command.output().unwrap().stderr);
        assert!(said.contains(expected), "{said}");
    }
}
