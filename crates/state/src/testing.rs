//! Tests of the store on PostgreSQL: one server for all of them, a schema for each path that a test opens.
//!
//! A test is written for a file. [`also_on_postgres!`] runs it once more with every [`crate::Store::open`] of its thread
//! opening a schema instead, the same one for the same path.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use flywheel_base::{Error, digest};
use flywheel_testkit::Postgres;
use tokio_postgres::{Config, NoTls};

use crate::engine::{Dial, Dialed, Dialing, Shared};

static SERVER: OnceLock<(Postgres, String)> = OnceLock::new();

thread_local! {
    static ON_POSTGRES: Cell<bool> = const { Cell::new(false) };
}

/// Runs tests of the module once more, on PostgreSQL.
macro_rules! also_on_postgres {
    ($($name:ident),* $(,)?) => {
        mod on_postgres {
            $(
                #[test]
                fn $name() {
                    crate::testing::on_postgres(super::$name);
                }
            )*
        }
    };
}
pub(crate) use also_on_postgres;

/// Runs a test on PostgreSQL.
pub(crate) fn on_postgres(test: impl FnOnce()) {
    ON_POSTGRES.set(true);
    test();
    ON_POSTGRES.set(false);
}

/// The schema in the place of a file; none if the test is about files.
pub(crate) fn shared(path: &Path) -> Option<Shared> {
    ON_POSTGRES.get().then(|| schema_of(path, server().0.port()))
}

/// The server of this test binary, and a database in it.
pub(crate) fn server() -> &'static (Postgres, String) {
    SERVER.get_or_init(|| {
        let server = Postgres::start_with(&["max_connections=200"]);
        let database = server.database();
        (server, database)
    })
}

/// The schema of a path, reached by a port.
pub(crate) fn schema_of(path: &Path, port: u16) -> Shared {
    let name = format!("t{}", digest::short(&[path.as_os_str().as_encoded_bytes()]));
    Shared::new(Arc::new(Plain { port }), &name).unwrap()
}

/// Runs SQL beside the store; gives what psql prints.
pub(crate) fn psql(sql: &str) -> String {
    let (server, database) = server();
    server.psql(database, sql)
}

/// Connects without TLS.
#[derive(Debug)]
struct Plain {
    port: u16,
}

impl Dial for Plain {
    fn name(&self) -> String {
        format!("a database on 127.0.0.1:{}", self.port)
    }

    fn dial(&self) -> Dialing {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user("postgres").password(Postgres::PASSWORD);
        config.dbname(&server().1);
        Box::pin(async move {
            let (client, connection) = config.connect(NoTls).await.map_err(|error| {
                Error::unavailable("the test server cannot be reached").caused_by(error)
            })?;
            Ok(Dialed { client, driver: Box::pin(async move { drop(connection.await) }) })
        })
    }
}

/// What a proxy does once it has seen the word it waits for in what the client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The word does not reach the server, and the connection ends.
    CutBefore,
    /// The word reaches the server; the answer does not reach the client, and the connection ends.
    CutAfter,
}

/// A proxy in front of the server that breaks one connection.
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
                let server = TcpStream::connect(("127.0.0.1", server().0.port())).unwrap();
                let cut = Arc::new(AtomicBool::new(false));
                let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let stop = Arc::clone(&cut);
                std::thread::spawn(move || pump(from, to, &stop));
                let arm = Arc::clone(&arm);
                std::thread::spawn(move || watch(client, server, word, fault, &arm, &cut));
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
    to.shutdown(Shutdown::Both).unwrap_or_default();
}

/// Moves bytes from the client to the server and looks for the word.
fn watch(
    mut client: TcpStream,
    mut server: TcpStream,
    word: &str,
    fault: Fault,
    armed: &AtomicBool,
    cut: &AtomicBool,
) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let found = bytes[..count].windows(word.len()).any(|part| part == word.as_bytes());
        if found && armed.swap(false, Ordering::SeqCst) {
            cut.store(true, Ordering::SeqCst);
            if fault == Fault::CutAfter {
                server.write_all(&bytes[..count]).unwrap();
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
