//! A throwaway MariaDB with a row-based binary log.

use std::ffi::OsString;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::process::{Program, Watched, folder, free_port, run, wait_for};

/// The server's program, where Debian puts it.
const SERVER: &str = "/usr/sbin/mariadbd";

/// What to do if it is not there.
const INSTALL: &str = "apt-get install -y --no-install-recommends mariadb-server";

/// The account MariaDB runs under.
const USER: &str = "mysql";

/// What the server logs when it takes connections.
const READY: &str = "ready for connections";

/// How often a port that somebody else took first is replaced.
const PORT_TRIES: usize = 5;

/// Settings of every server: a binary log that names columns, and little memory.
const SETTINGS: [&str; 13] = [
    "--no-defaults",
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--server-id=1",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-row-metadata=FULL",
    "--character-set-server=utf8mb4",
    "--default-time-zone=+05:30",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=2",
    "--performance-schema=OFF",
];

/// A running MariaDB. Its user `root` has no password; `tester` has [`MariaDb::PASSWORD`] and every
/// right but the administrator's.
#[derive(Debug)]
pub struct MariaDb {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    server: Option<Watched>,
    failure: String,
    databases: AtomicU32,
}

impl MariaDb {
    /// The user that tests log in as.
    pub const USER: &'static str = "tester";

    /// The password of that user.
    pub const PASSWORD: &'static str = "a password of the test server";

    /// Starts a server; takes about 1.5 s.
    ///
    /// # Panics
    /// If MariaDB is not installed, with the line that installs it; if it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more options of `mariadbd`, `--max-allowed-packet=1M`.
    ///
    /// # Panics
    /// As [`MariaDb::start`].
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        if !Path::new(SERVER).exists() {
            panic!("MariaDB is not installed: {INSTALL}");
        }
        let folder = folder(USER);
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--skip-test-db", "--skip-name-resolve"]);
        install.args(["--auth-root-authentication-method=normal", "--innodb-log-file-size=16M"]);
        install.arg(format!("--user={USER}"));
        install.arg(format!("--datadir={}", folder.path().join("data").display()));
        run(&mut install);
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut maria = Self {
            folder,
            port: 0,
            options,
            server: None,
            failure: String::new(),
            databases: AtomicU32::new(0),
        };
        for _ in 0..PORT_TRIES {
            maria.port = free_port();
            if maria.launch() {
                let (user, password) = (Self::USER, Self::PASSWORD);
                maria.sql(
                    "mysql",
                    &format!(
                        "CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{password}';
                         GRANT ALL PRIVILEGES ON *.* TO {user}@'127.0.0.1';"
                    ),
                );
                return maria;
            }
        }
        panic!("MariaDB does not start:\n{}", maria.failure);
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
        self.sql("mysql", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs SQL by the `mariadb` shell as `root`, in UTC; what it prints is the rows, fields parted
    /// by tabs, `NULL` where there is no value.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut shell = Command::new("mariadb");
        shell.args(["--no-defaults", "--user=root", "--skip-column-names", "--batch"]);
        shell.args(["--default-character-set=utf8mb4", "--binary-mode"]);
        shell.arg("--init-command=SET time_zone='+00:00'");
        shell.arg(format!("--socket={}", self.socket().display()));
        shell.arg(format!("--execute={sql}")).arg(database);
        run(&mut shell).trim_end_matches('\n').to_owned()
    }

    /// Kills the server at once, as a crash would; open connections break.
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
            panic!("MariaDB does not start again:\n{}", self.failure);
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Starts the process and waits until it answers; tells whether it does.
    fn launch(&mut self) -> bool {
        let folder = self.folder.path();
        let mut args: Vec<OsString> = SETTINGS.iter().map(OsString::from).collect();
        args.push(format!("--port={}", self.port).into());
        args.push(format!("--datadir={}", folder.join("data").display()).into());
        args.push(format!("--socket={}", self.socket().display()).into());
        args.push(format!("--pid-file={}", folder.join("data/pid").display()).into());
        args.push(format!("--tmpdir={}", folder.join("data").display()).into());
        args.extend(self.options.iter().map(OsString::from));
        let program = Program { path: SERVER.into(), args, user: USER, signal: "KILL" };
        drop(std::fs::remove_file(self.socket()));
        let log = folder.join("log");
        drop(std::fs::remove_file(&log));
        let server = Watched::start(folder, &log, &program);
        let port = self.port;
        wait_for(|| {
            let said = server.log();
            said.contains(READY) || said.contains("Aborting")
        });
        let ready = server.log().contains(READY) && TcpStream::connect(("127.0.0.1", port)).is_ok();
        if ready {
            self.server = Some(server);
        } else {
            self.failure = server.log();
            server.stop();
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_dies_and_starts_again_with_its_data() {
        let mut server = MariaDb::start();
        let database = server.database();
        server.sql(&database, "CREATE TABLE t AS SELECT 7 AS n, NULL AS none");
        assert_eq!(server.sql(&database, "SELECT * FROM t"), "7\tNULL");
        assert_eq!(server.sql(&database, "SELECT @@binlog_format"), "ROW");
        server.stop();
        assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
        server.restart();
        assert_eq!(server.sql(&database, "SELECT n FROM t"), "7");
        let (folder, port) = (server.folder.path().to_owned(), server.port());
        drop(server);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(!folder.exists());
    }
}
