//! A throwaway PostgreSQL.

use std::ffi::OsString;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::process::{Program, Watched, as_user, folder, free_port, own, run, wait_for};

/// Where Debian keeps its versions of PostgreSQL.
const VERSIONS: &str = "/usr/lib/postgresql";

/// What to do if there is none.
const INSTALL: &str = "apt-get install -y --no-install-recommends postgresql";

/// The account PostgreSQL runs under and its first user.
const USER: &str = "postgres";

/// How often a port that somebody else took first is replaced.
const PORT_TRIES: usize = 5;

/// A running PostgreSQL with `wal_level=logical`. Over TCP a password is asked for, over the socket
/// in its folder none is.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    server: Option<Watched>,
    failure: String,
    databases: AtomicU32,
}

/// A certificate and its key, for a server that offers TLS.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate in PEM, which is its own authority.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

impl Postgres {
    /// The password of the user `postgres`.
    pub const PASSWORD: &'static str = "a password of the test server";

    /// Starts a server with Debian's newest PostgreSQL; takes about 1.3 s.
    ///
    /// # Panics
    /// If PostgreSQL is not installed, with the line that installs it; if it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more settings, `max_connections=5`.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        let bin = newest().unwrap_or_else(|| panic!("PostgreSQL is not installed: {INSTALL}"));
        let folder = folder(USER);
        let password = folder.path().join("password");
        std::fs::write(&password, Self::PASSWORD)
            .unwrap_or_else(|error| panic!("cannot write the password file: {error}"));
        own(&password, USER);
        let data = folder.path().join("data");
        let mut initdb = command(&bin.join("initdb"));
        initdb.args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C.UTF-8"]);
        initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256", "--username", USER]);
        initdb.arg("--pwfile").arg(&password).arg("--pgdata").arg(&data);
        run(&mut initdb);
        let options = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut postgres = Self {
            bin,
            folder,
            port: 0,
            options,
            server: None,
            failure: String::new(),
            databases: AtomicU32::new(0),
        };
        for _ in 0..PORT_TRIES {
            postgres.port = free_port();
            if postgres.launch() {
                return postgres;
            }
        }
        panic!("PostgreSQL does not start:\n{}", postgres.failure);
    }

    /// Makes a certificate for `localhost` and 127.0.0.1 in `folder`.
    ///
    /// # Panics
    /// If OpenSSL's command is missing.
    #[must_use]
    pub fn certificate(folder: &Path) -> Certificate {
        let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl.args(["-nodes", "-days", "3650", "-subj", "/CN=localhost"]);
        openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        run(&mut openssl);
        own(&key, USER);
        Certificate { certificate, key }
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a new, empty database and tells its name.
    #[must_use]
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs SQL by `psql` as the user `postgres`; what it prints is the rows, fields parted by `|`,
    /// `∅` where there is no value.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-P", "null=∅"]);
        psql.args(["-U", USER, "-d", database, "-p", &self.port.to_string(), "-h"]);
        psql.arg(self.folder.path()).args(["-c", sql]).env("PGTZ", "UTC");
        run(&mut psql).trim_end().to_owned()
    }

    /// The client `psql`, without arguments, for other servers that speak PostgreSQL's protocol.
    ///
    /// # Panics
    /// If PostgreSQL is not installed, with the line that installs it.
    #[must_use]
    pub fn client() -> Command {
        let bin = newest().unwrap_or_else(|| panic!("PostgreSQL is not installed: {INSTALL}"));
        Command::new(bin.join("psql"))
    }

    /// Stops the server at once, as a crash would; open connections break.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// Starts a stopped server again, on the same port with the same data.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.stop();
        if !self.launch() {
            panic!("PostgreSQL does not start again:\n{}", self.failure);
        }
    }

    /// Starts the process and waits until it answers; tells whether it does.
    fn launch(&mut self) -> bool {
        let folder = self.folder.path();
        let port = self.port;
        let mut args: Vec<OsString> = vec!["-D".into(), folder.join("data").into()];
        for setting in [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", folder.display()),
            "wal_level=logical".to_owned(),
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
            "max_connections=60".to_owned(),
            "shared_buffers=64MB".to_owned(),
            "timezone=Asia/Kolkata".to_owned(),
        ] {
            args.extend(["-c".into(), setting.into()]);
        }
        for setting in &self.options {
            args.extend(["-c".into(), setting.into()]);
        }
        let path = self.bin.join("postgres");
        let program = Program { path, args, user: USER, signal: "QUIT" };
        let log = folder.join("log");
        let server = Watched::start(folder, &log, &program);
        let ready = wait_for(|| {
            // A refused port or a lost race for it shows in the log long before the time is over.
            let listens = TcpStream::connect(("127.0.0.1", port)).is_ok();
            (listens && self.answers()) || server.log().contains("could not")
        });
        let ready = ready && self.answers();
        if ready {
            self.server = Some(server);
        } else {
            self.failure = server.log();
            server.stop();
        }
        ready
    }

    fn answers(&self) -> bool {
        let mut ready = Command::new(self.bin.join("pg_isready"));
        ready.args(["-q", "-p", &self.port.to_string(), "-h"]).arg(self.folder.path());
        ready.status().is_ok_and(|status| status.success())
    }
}

/// The newest version's folder of programs.
fn newest() -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).ok()?.flatten();
    let numbered = versions.filter_map(|entry| {
        let version = entry.file_name().to_str()?.parse::<u32>().ok()?;
        Some((version, entry.path().join("bin")))
    });
    let usable = numbered.filter(|(_, bin)| bin.join("postgres").exists());
    usable.max_by_key(|(version, _)| *version).map(|(_, bin)| bin)
}

/// A command that runs as PostgreSQL's account.
fn command(program: &Path) -> Command {
    let mut words = as_user(USER).into_iter();
    match words.next() {
        None => Command::new(program),
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program);
            command
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_stops_and_starts_again_with_its_data() {
        let mut server = Postgres::start();
        let database = server.database();
        server.psql(&database, "CREATE TABLE t AS SELECT 7 AS n, NULL AS none");
        assert_eq!(server.psql(&database, "SELECT * FROM t"), "7|∅");
        assert_eq!(server.psql(&database, "SHOW wal_level"), "logical");
        server.stop();
        assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
        server.restart();
        assert_eq!(server.psql(&database, "SELECT n FROM t"), "7");
        let (folder, port) = (server.folder.path().to_owned(), server.port());
        drop(server);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(!folder.exists());
    }
}
