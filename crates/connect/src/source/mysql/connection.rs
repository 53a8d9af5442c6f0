//! A connection to the server: settings, session, time limits, and what its errors mean.

use std::fmt;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result, Secret, quantity};
use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{
    Conn, DriverError, IoError, Opts, OptsBuilder, Params, ServerError, SslOpts, TlsError,
};
use reqwest::Url;

use super::{MySql, Tls};
use crate::connections::{Admitted, Connections};

/// The port of a server unless the connection says otherwise.
const PORT: u16 = 3306;

/// How long a connection is waited for unless the connection says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long rows or the end of a statement are waited for unless the connection says otherwise.
const READ_TIMEOUT: Duration = Duration::from_secs(600);

/// How often an idle connection is probed unless the connection says otherwise.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 8;

/// What every session has. The server waits as long for a slow reader as for an idle one.
const SESSION: [&str; 2] =
    ["SET NAMES utf8mb4", "SET SESSION time_zone = '+00:00', net_write_timeout = 3600"];

/// The session of a reader: values come as they are, zero dates included.
const READ_SESSION: &str = "SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION'";

/// The session of a writer: a value that does not fit is an error, and 0 is the number 0.
const WRITE_SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,\
    NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO', \
    foreign_key_checks = 1, unique_checks = 1";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Reading rows.
    Read,
    /// Writing rows.
    Write,
}

/// A server and how to reach it.
#[derive(Clone)]
pub(crate) struct Server {
    opts: Opts,
    name: String,
    database: Option<String>,
    connect_timeout: Duration,
    read_timeout: Duration,
    connections: Connections,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `name` as an SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The parts of a connection's `url`.
#[derive(Default)]
struct Address {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<Secret>,
    database: Option<String>,
}

impl Address {
    fn parse(url: &Secret) -> Result<Self> {
        let wrong = |what: &str| {
            Error::invalid(format!("the connection's `url` {what}"))
                .hint("Write mysql://user:password@host:3306/database; special characters as %40.")
        };
        let url =
            Url::parse(url.expose()).map_err(|error| wrong("is not a URL").caused_by(error))?;
        if !matches!(url.scheme(), "mysql" | "mariadb") {
            return Err(wrong("does not begin with mysql://"));
        }
        if url.query().is_some() {
            return Err(wrong("has options behind a question mark; they are keys of their own"));
        }
        let text = |text: &str| -> Result<Option<String>> {
            let bytes = percent_decoded(text).ok_or_else(|| wrong("has a % without two digits"))?;
            let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8"))?;
            Ok(Some(text).filter(|text| !text.is_empty()))
        };
        Ok(Self {
            host: url.host_str().map(str::to_owned).filter(|host| !host.is_empty()),
            port: url.port(),
            user: text(url.username())?,
            password: text(url.password().unwrap_or_default())?.map(Secret::new),
            database: text(url.path().trim_start_matches('/'))?,
        })
    }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(bytes)
}

impl Server {
    /// Makes sense of the settings; does no I/O.
    pub(crate) fn new(settings: &MySql, base_dir: &Path, purpose: Purpose) -> Result<Self> {
        let address = settings.url.as_ref().map(Address::parse).transpose()?.unwrap_or_default();
        let host = settings.host.clone().or(address.host).unwrap_or_else(|| "127.0.0.1".into());
        let port = settings.port.or(address.port).unwrap_or(PORT);
        let user = settings.user.clone().or(address.user).ok_or_else(|| {
            Error::invalid("the connection has no user").hint("Set `user`, or name one in `url`.")
        })?;
        let password = settings.password.clone().or(address.password);
        let database = settings.database.clone().or(address.database);
        let time = |text: &Option<String>, default: Duration| match text {
            None => Ok(default),
            Some(text) => {
                quantity::duration_us(text).map(|us| Duration::from_micros(us.unsigned_abs()))
            }
        };
        let mut session: Vec<&str> = SESSION.to_vec();
        session.push(match purpose {
            Purpose::Read => READ_SESSION,
            Purpose::Write => WRITE_SESSION,
        });
        let local = host == "localhost" || host == "::1" || host.starts_with("127.");
        let tls = settings.tls.unwrap_or(if local { Tls::Disable } else { Tls::Verify });
        let name = format!("{host}:{port}");
        let opts = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(user))
            .pass(password.as_ref().map(Secret::expose))
            .db_name(database.clone())
            .ssl_opts(encryption(tls, settings.tls_ca.as_ref().map(|path| base_dir.join(path))))
            .tcp_keepalive(Some(time(&settings.keepalive, KEEPALIVE)?))
            .stmt_cache_size(STATEMENTS_MAX)
            .client_found_rows(purpose == Purpose::Write)
            // A socket file would go around the host, port and TLS that the connection names.
            .prefer_socket(false)
            .init(session);
        Ok(Self {
            opts: opts.into(),
            name,
            database,
            connect_timeout: time(&settings.connect_timeout, CONNECT_TIMEOUT)?,
            read_timeout: time(&settings.read_timeout, READ_TIMEOUT)?,
            connections: Connections::default(),
        })
    }

    /// The host and port, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The database of the connection.
    pub(crate) fn database(&self) -> Result<&str> {
        self.database.as_deref().ok_or_else(|| {
            Error::invalid("the connection names no database")
                .hint("Set the connection's `database`, or that of the stream.")
        })
    }

    /// The server, with a cap on the connections to it.
    pub(crate) fn capped(self, connections: Connections) -> Self {
        Self { connections, ..self }
    }

    /// Refuses what takes more connections at once than are allowed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] that says for what they are.
    pub(crate) fn require_connections(&self, needed: usize, what: &str) -> Result<()> {
        self.connections.require(needed, what)
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let admitted = self.connections.one().await?;
        self.open(admitted).await
    }

    /// Opens one connection more, if one is allowed.
    pub(crate) async fn connect_another(&self) -> Result<Option<Connection>> {
        match self.connections.another() {
            Some(admitted) => self.open(admitted).await.map(Some),
            None => Ok(None),
        }
    }

    async fn open(&self, admitted: Admitted) -> Result<Connection> {
        // Two providers are linked, and rustls would not choose; a choice made before stays.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let opened = tokio::time::timeout(self.connect_timeout, Conn::new(self.opts.clone())).await;
        let late = || {
            Error::unavailable(format!("the server {} does not answer", self.name))
                .hint("Check host, port and firewall, or raise `connect_timeout`.")
        };
        let conn = opened.map_err(|_| late())?.map_err(|error| self.fail(error))?;
        let mut connection = Connection {
            conn: Some(conn),
            server: self.clone(),
            mariadb: false,
            packet_max: 0,
            admitted,
        };
        let row: Option<(String, usize)> =
            connection.first("SELECT VERSION(), @@max_allowed_packet", ()).await?;
        if let Some((version, packet_max)) = row {
            connection.mariadb = version.contains("MariaDB");
            connection.packet_max = packet_max;
        }
        Ok(connection)
    }

    /// The error that tells the caller what to do about it.
    pub(crate) fn fail(&self, error: mysql_async::Error) -> Error {
        use mysql_async::Error as Found;
        let name = &self.name;
        match error {
            Found::Server(error) => self.fail_server(error),
            Found::Io(IoError::Tls(error)) => {
                let refused = matches!(error, TlsError::InvalidDnsName(_) | TlsError::Tls(_));
                let kind = if refused { ErrorKind::Denied } else { ErrorKind::Invalid };
                Error::new(kind, format!("no trusted TLS connection to {name}")).caused_by(error).hint(
                    "Name the server's certificate authority in `tls_ca`, or believe any server with `tls: require`.",
                )
            }
            Found::Io(IoError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                Error::new(ErrorKind::Denied, format!("no trusted TLS connection to {name}")).caused_by(error).hint(
                    "Name the server's certificate authority in `tls_ca`, or believe any server with `tls: require`.",
                )
            }
            Found::Io(error) => {
                Error::unavailable(format!("the connection to {name} broke or cannot be made"))
                    .caused_by(error)
                    .hint("Check that the server runs, and the connection's host and port.")
            }
            Found::Driver(DriverError::NoClientSslFlagFromServer) => {
                Error::invalid(format!("the server {name} offers no TLS"))
                    .hint("Give it a certificate, or set `tls: disable` if the network is private.")
            }
            Found::Driver(error @ DriverError::ConnectionClosed) => {
                Error::unavailable(format!("the server {name} closed the connection"))
                    .caused_by(error)
            }
            Found::Driver(error @ DriverError::PacketTooLarge) => {
                Error::exhausted(format!("a packet is larger than the server {name} allows"))
                    .caused_by(error)
                    .hint("Raise the server's `max_allowed_packet`.")
            }
            // The other driver errors can hold whole rows and packets.
            Found::Driver(DriverError::UnknownAuthPlugin { name: plugin }) => {
                Error::new(ErrorKind::Denied, format!("the server {name} asks for the unknown login method {plugin}"))
                    .hint("Give the user another method: ALTER USER … IDENTIFIED BY ….")
            }
            Found::Driver(DriverError::CleartextPluginDisabled | DriverError::MysqlOldPasswordDisabled) => {
                Error::new(ErrorKind::Denied, format!("the server {name} asks for an unsafe login method"))
                    .hint("Give the user another method: ALTER USER … IDENTIFIED BY ….")
            }
            Found::Driver(_) => {
                Error::unavailable(format!("the server {name} sent something unexpected"))
                    .hint("Check that the port is one of MySQL or MariaDB.")
            }
            Found::Url(error) => Error::invalid("the connection is not well-formed").caused_by(error),
            Found::Other(error) => Error::internal("the MySQL driver failed").caused_by(error),
        }
    }

    fn fail_server(&self, error: ServerError) -> Error {
        let name = &self.name;
        let (code, hint) = (error.code, server_hint(error.code));
        let said = match code {
            1045 | 1130 | 1698 => format!("the server {name} refuses the login"),
            1044 | 1049 => format!("the database is not accessible on {name}"),
            _ => format!("the server {name} refuses a statement"),
        };
        let made = Error::new(server_kind(code), format!("{said} (error {code})"));
        let made = made.caused_by(safe_message(error));
        if hint.is_empty() { made } else { made.hint(hint) }
    }
}

fn encryption(tls: Tls, authority: Option<PathBuf>) -> Option<SslOpts> {
    match tls {
        Tls::Disable => None,
        Tls::Require => Some(
            SslOpts::default()
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        ),
        Tls::Verify => Some(
            SslOpts::default()
                .with_root_certs(authority.into_iter().map(|path| path.into()).collect()),
        ),
    }
}

/// What the caller can do about an error number of the server.
fn server_kind(code: u16) -> ErrorKind {
    match code {
        1044 | 1045 | 1130 | 1142 | 1143 | 1227 | 1290 | 1370 | 1410 | 1698 | 1792 | 1820
        | 1836 => ErrorKind::Denied,
        1049 | 1054 | 1146 => ErrorKind::NotFound,
        1205 | 1213 | 1412 => ErrorKind::Conflict,
        1040 | 1053 | 1080 | 1158..=1161 | 1203 | 1226 | 1317 | 1927 | 3169 | 4031 => {
            ErrorKind::Unavailable
        }
        1021 | 1037 | 1038 | 1041 | 1114 | 1153 | 1969 | 3024 => ErrorKind::Exhausted,
        126 | 127 | 1034 | 1035 | 1194 | 1195 => ErrorKind::Corrupt,
        _ => ErrorKind::Invalid,
    }
}

fn server_hint(code: u16) -> &'static str {
    match code {
        1045 | 1698 => {
            "Check the connection's user and password, and from where the user may log in."
        }
        1130 => "Let the user log in from this machine: CREATE USER 'name'@'host'.",
        1044 | 1142 | 1143 | 1227 | 1370 => {
            "Let the administrator GRANT that privilege to the user."
        }
        1049 => "Check the connection's `database`.",
        1064 => "Try the statement in the `mysql` shell.",
        1040 | 1203 | 1226 => {
            "It is tried again later; let fewer clients connect, or raise the limit."
        }
        1205 | 1213 => "Another transaction held the rows; it is tried again.",
        1412 => "The table was altered during the read; it is tried again.",
        1290 | 1836 | 1792 => "The server is read-only: connect to the primary.",
        1114 | 1021 => "Free space on the server's disk.",
        1153 => "Raise the server's `max_allowed_packet`.",
        1969 | 3024 => "Raise the server's limit for the time of a statement.",
        126 | 127 | 1034 | 1035 | 1194 | 1195 => {
            "Repair the table: REPAIR TABLE, or restore a backup."
        }
        _ => "",
    }
}

/// What the server says, without the values of rows that some of its messages quote.
fn safe_message(error: ServerError) -> ServerError {
    let quotes = matches!(error.code, 1062 | 1265 | 1292 | 1366 | 1367 | 1411 | 1586 | 1690)
        || error.state.starts_with("22")
        || error.state.starts_with("23");
    if !quotes {
        return error;
    }
    let message = "the message is left out because it can quote row values".to_owned();
    ServerError { message, ..error }
}

/// What became of a statement that writes rows.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was carried out.
    Done {
        /// The rows the server counts.
        affected: u64,
        /// The rows that took the place of others, if the server tells.
        duplicates: Option<u64>,
    },
    /// The server ended the transaction in favour of another.
    Deadlock,
    /// The server refuses it; the transaction is as before.
    Error(ServerError),
}

/// The error number of a deadlock.
const DEADLOCK: u16 = 1213;

/// The number that the server gave an error, if it is one of the server.
pub(crate) fn server_code(error: &Error) -> Option<u16> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<ServerError>().map(|error| error.code)
}

/// Whether the server ended the transaction in favour of another: its rows can be written again.
pub(crate) fn is_deadlock(error: &Error) -> bool {
    server_code(error) == Some(DEADLOCK)
}

/// An open connection whose statements end in time.
pub(crate) struct Connection {
    conn: Option<Conn>,
    server: Server,
    /// Whether it is MariaDB.
    pub(crate) mariadb: bool,
    /// The largest packet the server takes.
    pub(crate) packet_max: usize,
    /// Given back after the connection.
    admitted: Admitted,
}

impl Connection {
    /// Waits for the server's answer as long as the connection's `read_timeout` says.
    pub(crate) async fn answered<T>(
        server: &Server,
        answer: impl Future<Output = mysql_async::Result<T>>,
    ) -> Result<T> {
        let mut answer = pin!(answer);
        // Most rows have arrived with the one before them: to look at the clock for each would cost a good part of its time.
        if let Poll::Ready(ready) =
            poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await
        {
            return ready.map_err(|error| server.fail(error));
        }
        match tokio::time::timeout(server.read_timeout, answer).await {
            Ok(answer) => answer.map_err(|error| server.fail(error)),
            Err(_) => Err(Error::unavailable(format!("the server {} fell silent", server.name))
                .hint("Raise `read_timeout` if its statements take longer.")),
        }
    }

    /// The driver's connection.
    pub(crate) fn conn(&mut self) -> Result<&mut Conn> {
        let gone = || Error::unavailable(format!("the connection to {} is gone", self.server.name));
        self.conn.as_mut().ok_or_else(gone)
    }

    /// Gives the driver's connection away.
    pub(crate) fn into_conn(mut self) -> Result<(Conn, Admitted)> {
        let gone = || Error::unavailable(format!("the connection to {} is gone", self.server.name));
        let conn = self.conn.take().ok_or_else(gone)?;
        Ok((conn, self.admitted))
    }

    /// Whether statements can still be sent.
    pub(crate) fn is_usable(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| !conn.is_disconnected())
    }

    /// Runs a statement without rows, as text.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<()> {
        let server = self.server.clone();
        Self::answered(&server, self.conn()?.query_drop(sql)).await
    }

    /// Runs a statement that writes rows, as text.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<Outcome> {
        let server = self.server.clone();
        let conn = self.conn()?;
        let late = tokio::time::timeout(server.read_timeout, conn.query_drop(sql)).await;
        match late.unwrap_or(Err(IoError::Io(std::io::ErrorKind::TimedOut.into()).into())) {
            Ok(()) => {
                let duplicates = conn
                    .info()
                    .split_whitespace()
                    .skip_while(|word| *word != "Duplicates:")
                    .nth(1)
                    .and_then(|number| number.parse().ok());
                Ok(Outcome::Done { affected: conn.affected_rows(), duplicates })
            }
            Err(mysql_async::Error::Server(error)) if error.code == DEADLOCK => {
                Ok(Outcome::Deadlock)
            }
            Err(mysql_async::Error::Server(error)) => Ok(Outcome::Error(error)),
            Err(error) => Err(server.fail(error)),
        }
    }

    /// The first row of a query.
    pub(crate) async fn first<T: FromRow + Send + 'static>(
        &mut self,
        sql: &str,
        arguments: impl Into<Params> + Send,
    ) -> Result<Option<T>> {
        let server = self.server.clone();
        Self::answered(&server, self.conn()?.exec_first(sql, arguments)).await
    }

    /// All rows of a query.
    pub(crate) async fn all<T: FromRow + Send + 'static>(
        &mut self,
        sql: &str,
        arguments: impl Into<Params> + Send,
    ) -> Result<Vec<T>> {
        let server = self.server.clone();
        Self::answered(&server, self.conn()?.exec(sql, arguments)).await
    }

    /// The columns a query would give.
    pub(crate) async fn columns(&mut self, sql: &str) -> Result<Vec<mysql_async::Column>> {
        let server = self.server.clone();
        let conn = self.conn()?;
        let statement = Self::answered(&server, conn.prep(sql)).await?;
        let columns = statement.columns().to_vec();
        // Kept, it would tell the same columns after the table was altered.
        Self::answered(&server, conn.close(statement)).await?;
        Ok(columns)
    }

    /// Says goodbye; whatever was open on the server is rolled back.
    pub(crate) async fn close(mut self) {
        if let Some(conn) = self.conn.take()
            && let Err(error) = conn.disconnect().await
        {
            tracing::debug!(server = %self.server.name, %error, "not closed cleanly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(settings: serde_json::Value) -> Result<Server> {
        let settings = serde_json::from_value(settings).unwrap();
        Server::new(&settings, Path::new("."), Purpose::Read)
    }

    #[test]
    fn a_url_gives_what_the_keys_do_not() {
        let url = "mysql://ann:p%40ss@db.example:3307/shop";
        let server = server(serde_json::json!({ "url": url, "port": 3308 })).unwrap();
        assert_eq!(server.name(), "db.example:3308");
        assert_eq!(server.database().unwrap(), "shop");
        assert_eq!((server.opts.user(), server.opts.pass()), (Some("ann"), Some("p@ss")));
        assert!(server.opts.ssl_opts().is_some_and(|tls| !tls.accept_invalid_certs()));
        assert!(!format!("{server:?}").contains("p@ss"));
    }

    #[test]
    fn a_wrong_url_is_explained_without_its_password() {
        for url in [
            "ann:s3cret@h",
            "postgres://ann:s3cret@h/x",
            "mysql://a:s3cret@h/x?tls=1",
            "mysql://a%:s3cret@h",
        ] {
            let error = server(serde_json::json!({ "url": url })).unwrap_err();
            assert!(error.hint_text().unwrap().contains("mysql://user"), "{error:?}");
            assert!(!error.report().contains("s3cret"), "{error:?}");
        }
        assert!(server(serde_json::json!({})).unwrap_err().hint_text().unwrap().contains("user"));
    }
}
