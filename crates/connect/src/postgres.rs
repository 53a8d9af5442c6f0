//! PostgreSQL: what its source and its destination share. The settings of a connection, sessions,
//! errors that say what to do, and the binary form of numbers.

mod catalog;
mod fail;
mod numeric;
mod opened;
mod replication;
mod session;
mod sql;
mod tls;
mod wire;

pub(crate) use tls::roots;

#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flywheel_base::{Error, Result, Secret, quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

pub(crate) use catalog::{PgType, types};
pub(crate) use fail::{fail, is_data_error};
pub(crate) use numeric::{NotDecimal, decimal, numeric_text, write_decimal};
pub use opened::{PostgresDriver, PostgresServer};
pub(crate) use replication::{Log, LogPart, LogRequest};
pub(crate) use session::{Session, field};
pub(crate) use sql::{literal, quoted, typed};

use crate::connections::Connections;

/// How long opening a connection may take unless the connection says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may be silent during a statement unless the connection says otherwise.
const SILENCE: Duration = Duration::from_secs(600);

/// When an idle connection is first asked whether the other side is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// How long until it is asked again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How often it is asked before the connection counts as dead.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent data may stay without an answer of the other side's kernel.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// Microseconds from 1970 to 2000, where PostgreSQL counts from.
pub(crate) const EPOCH_US: i64 = 946_684_800_000_000;

/// Days from 1970 to 2000.
pub(crate) const EPOCH_DAYS: i32 = 10_957;

/// The table, in the schema of a target, that keeps how far each sync has come.
pub(crate) const STATE_TABLE: &str = "_flywheel_sync_state";

/// What the name of a table that is being replaced gets while its new rows are collected.
pub(crate) const STAGING_SUFFIX: &str = "__flywheel_staging";

/// A PostgreSQL database.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// The whole address, `postgres://user@host:5432/database`; instead of `host`, `port` and
    /// `database`. Take it from a secret if it holds a password.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub url: Option<Secret>,
    /// The server's name or address, or the folder of its socket.
    #[serde(default)]
    pub host: Option<String>,
    /// The port, 5432 if not given.
    #[serde(default)]
    pub port: Option<u16>,
    /// The database.
    #[serde(default)]
    pub database: Option<String>,
    /// The user.
    #[serde(default)]
    pub user: Option<String>,
    /// The password, by reference: `${env:PG_PASSWORD}`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
    /// Whether the connection is encrypted. If not given, `verify-full`, and `disable` on the own
    /// machine.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// The certificate authorities in PEM that the server's certificate is checked with, relative to
    /// the project; those of the system if not given.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long opening a connection may take, `10s` if not given.
    #[serde(default)]
    pub connect_timeout: Option<String>,
    /// How long the server works on one statement at most, without limit if not given.
    #[serde(default)]
    pub statement_timeout: Option<String>,
    /// How long the server may be silent during a statement before the connection counts as lost,
    /// `10m` if not given.
    #[serde(default)]
    pub silence_timeout: Option<String>,
}

/// Whether and how a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// It is not encrypted.
    Disable,
    /// It is encrypted; the certificate is checked only if `ca_file` is given, the name never.
    Require,
    /// It is encrypted, and the certificate has to be valid for the server's name.
    VerifyFull,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

/// A server that can be connected to.
#[derive(Clone)]
pub(crate) struct Server {
    config: Config,
    tls: Tls,
    ca_file: Option<PathBuf>,
    statement_timeout: Option<Duration>,
    silence: Duration,
    name: String,
    user: String,
    connections: Connections,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({} as {})", self.name, self.user)
    }
}

impl Postgres {
    /// Checks the settings; does no I/O.
    pub(crate) fn server(&self, base_dir: &Path) -> Result<Server> {
        let mut config = self.address()?;
        if let Some(user) = &self.user {
            config.user(user);
        }
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        let Some(user) = config.get_user().map(str::to_owned) else {
            return Err(Error::invalid("the postgres connection has no `user`")
                .hint("Set `user`, and `password` by reference: ${env:PG_PASSWORD}."));
        };
        if config.get_dbname().is_none() {
            return Err(Error::invalid("the postgres connection has no `database`")
                .hint("Set `database`, or end `url` with /DATABASE."));
        }
        let tls = self.tls.unwrap_or_else(|| default_tls(&config));
        config
            .ssl_mode(if tls == Tls::Disable { SslMode::Disable } else { SslMode::Require })
            .application_name("flywheel")
            .connect_timeout(duration(self.connect_timeout.as_deref())?.unwrap_or(CONNECT_TIMEOUT))
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(UNACKNOWLEDGED_MAX);
        if self.ca_file.is_some() && tls == Tls::Disable {
            return Err(Error::invalid("the postgres connection has a `ca_file` but no TLS")
                .hint("Set `tls: verify-full`, or leave out `ca_file`."));
        }
        let name = format!(
            "database \"{}\" on {}",
            config.get_dbname().unwrap_or_default(),
            place(&config)
        );
        Ok(Server {
            config,
            tls,
            ca_file: self.ca_file.as_ref().map(|file| base_dir.join(file)),
            statement_timeout: duration(self.statement_timeout.as_deref())?,
            silence: duration(self.silence_timeout.as_deref())?.unwrap_or(SILENCE),
            name,
            user,
            connections: Connections::default(),
        })
    }

    fn address(&self) -> Result<Config> {
        let parts = self.host.is_some() || self.port.is_some() || self.database.is_some();
        if let Some(url) = &self.url {
            if parts {
                return Err(Error::invalid(
                    "the postgres connection has a `url` and parts of one besides",
                )
                .hint("Set either `url`, or `host`, `port` and `database`."));
            }
            // The cause could repeat a part of the password.
            return url.expose().parse::<Config>().map_err(|_| {
                Error::invalid("the postgres connection's `url` is not the address of a database")
                    .hint("Write postgres://user@host:5432/database; percent-encode special characters.")
            });
        }
        let Some(host) = &self.host else {
            return Err(Error::invalid("the postgres connection has neither `host` nor `url`")
                .hint("Set `host`, `database` and `user`, or `url`."));
        };
        let mut config = Config::new();
        config.host(host).port(self.port.unwrap_or(5432));
        if let Some(database) = &self.database {
            config.dbname(database);
        }
        Ok(config)
    }
}

/// TLS is on unless the server is on the own machine.
fn default_tls(config: &Config) -> Tls {
    let local = |host: &Host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        Host::Unix(_) => true,
    };
    if config.get_hosts().iter().all(local) { Tls::Disable } else { Tls::VerifyFull }
}

/// Where the server is, for messages.
fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let hosts: Vec<String> = hosts.collect();
    match config.get_ports().first() {
        Some(port) => format!("{}:{port}", hosts.join(",")),
        None => hosts.join(","),
    }
}

fn duration(text: Option<&str>) -> Result<Option<Duration>> {
    let micros = text.map(quantity::duration_us).transpose()?;
    Ok(micros.map(|micros| Duration::from_micros(micros.unsigned_abs())))
}

impl Server {
    /// The server, with a cap on the connections to it.
    pub(crate) fn capped(self, connections: Connections) -> Self {
        Self { connections, ..self }
    }

    /// Refuses what takes more connections at once than are allowed.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] that says for what they are.
    pub(crate) fn require_connections(&self, needed: usize, what: &str) -> Result<()> {
        self.connections.require(needed, what)
    }

    /// The database and where it is, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn server(settings: serde_json::Value) -> Result<Server> {
        serde_json::from_value::<Postgres>(settings).unwrap().server(Path::new("."))
    }

    #[test]
    fn an_incomplete_or_contradictory_address_is_refused_with_a_hint() {
        for (settings, word) in [
            (json!({ "database": "d", "user": "u" }), "host"),
            (json!({ "host": "h", "user": "u" }), "database"),
            (json!({ "host": "h", "database": "d" }), "user"),
            (json!({ "host": "h", "url": "postgres://u@h/d" }), "url"),
            (json!({ "url": "mysql://u:canary@h/d" }), "url"),
            (json!({ "host": "localhost", "database": "d", "user": "u", "ca_file": "a" }), "TLS"),
            (json!({ "url": "postgres://u@h/d", "connect_timeout": "soon" }), "soon"),
        ] {
            let error = server(settings).unwrap_err();
            assert!(error.message().contains(word), "{error}");
            assert!(error.hint_text().is_some(), "{error}");
            assert!(!error.report().contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn only_the_own_machine_is_reached_without_tls_unless_asked() {
        let tls = |url: &str| server(json!({ "url": url })).unwrap().tls;
        assert_eq!(tls("postgres://u@localhost/d"), Tls::Disable);
        assert_eq!(tls("postgres://u@127.0.0.1/d"), Tls::Disable);
        assert_eq!(tls("postgres://u@db.example.com/d"), Tls::VerifyFull);
        let asked = json!({ "url": "postgres://u@db.example.com/d", "tls": "require" });
        assert_eq!(server(asked).unwrap().tls, Tls::Require);
    }

    #[test]
    fn neither_settings_nor_server_print_a_password() {
        let settings = json!({ "host": "h", "database": "d", "user": "u", "password": "canary" });
        let settings: Postgres = serde_json::from_value(settings).unwrap();
        let server = settings.server(Path::new(".")).unwrap();
        assert!(!format!("{settings:?} {server:?} {:?}", server.config).contains("canary"));
    }
}
