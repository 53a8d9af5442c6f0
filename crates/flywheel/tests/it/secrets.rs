//! Secrets of connections appear nowhere: not in what is printed at the highest level, not in errors
//! of systems that repeat what they were sent, not in what is kept.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use crate::house::{House, binary, text};

/// How many connections of each kind there are.
const EACH: usize = 10;

/// A secret as nobody would write it by chance.
fn canary(number: usize) -> String {
    format!("c4nary{number:03}-Zq7wXv")
}

/// A server that refuses everything and repeats the whole request in its answer.
fn parrot() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = vec![0; 16 << 10];
            let length = stream.read(&mut request).unwrap_or_default();
            let body = format!("{{\"error\": {:?}}}", text(&request[..length]));
            let answer = format!(
                "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            // A client that has gone is of no interest.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    port
}

/// The connections, each with a secret of its own from the environment.
fn connections(house: &House) -> Vec<String> {
    let port = parrot();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut names = Vec::new();
    for number in 0..EACH * 5 {
        let secret = format!("${{env:CANARY_{number}}}");
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
                let auth = match turn % 5 {
                    0 => format!("{{type: basic, username: u, password: '{secret}'}}"),
                    1 => format!("{{type: bearer, token: '{secret}'}}"),
                    2 => format!("{{type: header, name: X-Key, value: '{secret}'}}"),
                    3 => format!("{{type: query, name: key, value: '{secret}'}}"),
                    _ => format!(
                        "{{type: oauth2, token_url: 'http://127.0.0.1:{port}/token', client_id: c, client_secret: '{secret}'}}"
                    ),
                };
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
            _ => (
                "singer",
                format!("{{command: [sh, tap.sh], config: {{token: '{secret}'}}, timeout: 20s}}"),
                "{stream: t}",
            ),
        };
        let name = format!("k{kind}n{turn}");
        house.write(
            &format!("connections/{name}.yaml"),
            format!("connection: {name}\ntype: {connector}\noptions: {options}\n"),
        );
        house.write(
            &format!("syncs/{name}.yaml"),
            format!("sync: {name}\nconnection: {name}\nstreams:\n  - {{stream: {name}, options: {stream}}}\n"),
        );
        names.push(name);
    }
    // A tap that says everything it was told.
    house.write(
        "tap.sh",
        "for file in \"$@\"; do [ -f \"$file\" ] && cat \"$file\" >&2 && cat \"$file\"; done; exit 1\n",
    );
    names
}

/// The secrets that are somewhere in `content`.
fn found(content: &str) -> Vec<String> {
    (0..EACH * 5).map(canary).filter(|secret| content.contains(secret)).collect()
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
    let house = House::new();
    let names = connections(&house);
    let run = |arguments: &[&str]| {
        let mut command = binary();
        command.arg("-C").arg(house.dir()).args(arguments).env("FLYWHEEL_LOG", "trace");
        for number in 0..EACH * 5 {
            command.env(format!("CANARY_{number}"), canary(number));
        }
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
