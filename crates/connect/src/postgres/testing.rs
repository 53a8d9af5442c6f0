//! What the tests of source and destination share: one server, a database for each test, and a
//! proxy that breaks connections at the moment a test chooses.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use flywheel_testkit::Postgres;
use serde_json::{Value, json};

static SERVER: OnceLock<Postgres> = OnceLock::new();

/// The server of this test binary.
pub(crate) fn server() -> &'static Postgres {
    SERVER.get_or_init(Postgres::start)
}

/// A database of one test.
pub(crate) struct Database {
    pub(crate) name: String,
}

impl Database {
    /// Makes one and runs `sql` in it.
    pub(crate) fn new(sql: &str) -> Self {
        let database = Self { name: server().database() };
        database.run(sql);
        database
    }

    /// Runs SQL; gives what psql prints.
    pub(crate) fn run(&self, sql: &str) -> String {
        server().psql(&self.name, sql)
    }

    /// The settings of a connection to it.
    pub(crate) fn connection(&self) -> Value {
        connection(server().port(), &self.name)
    }
}

/// The settings of a connection to a database behind a port.
pub(crate) fn connection(port: u16, database: &str) -> Value {
    json!({
        "host": "127.0.0.1",
        "port": port,
        "database": database,
        "user": "postgres",
        "password": Postgres::PASSWORD,
    })
}

/// What a proxy does once it has seen the word it waits for in what the client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The word does not reach the server, and the connection ends.
    CutBefore,
    /// The word reaches the server; the answer does not reach the client, and the connection ends.
    CutAfter,
    /// Nothing moves any more in either direction, and the connection stays.
    Freeze,
}

/// A proxy in front of the server.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    armed: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts one that waits for `word`.
    pub(crate) fn new(word: &'static str, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicBool::new(false));
        let arm = Arc::clone(&armed);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server().port())).unwrap();
                let frozen = Arc::new(AtomicBool::new(false));
                let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let stop = Arc::clone(&frozen);
                std::thread::spawn(move || pump(from, to, &stop));
                let arm = Arc::clone(&arm);
                std::thread::spawn(move || watch(client, server, word, fault, &arm, &frozen));
            }
        });
        Self { port, armed }
    }

    /// The next time the word comes by, the fault happens.
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

/// Moves bytes from the server to the client, until told to stop.
fn pump(mut from: TcpStream, mut to: TcpStream, stop: &AtomicBool) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if stop.load(Ordering::SeqCst) {
            continue;
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    if !stop.load(Ordering::SeqCst) {
        to.shutdown(Shutdown::Both).unwrap_or_default();
    }
}

/// Moves bytes from the client to the server and looks for the word.
fn watch(
    mut client: TcpStream,
    mut server: TcpStream,
    word: &str,
    fault: Fault,
    armed: &AtomicBool,
    frozen: &AtomicBool,
) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let found = bytes[..count].windows(word.len()).any(|part| part == word.as_bytes());
        if found && armed.swap(false, Ordering::SeqCst) {
            frozen.store(true, Ordering::SeqCst);
            match fault {
                Fault::CutBefore => {}
                Fault::CutAfter => server.write_all(&bytes[..count]).unwrap(),
                Fault::Freeze => {
                    // Until the client gives up.
                    while let Ok(1..) = client.read(&mut bytes) {}
                }
            }
            break;
        }
        if server.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    client.shutdown(Shutdown::Both).unwrap_or_default();
    server.shutdown(Shutdown::Write).unwrap_or_default();
}
