//! Connections for what is no connector and keeps something in a PostgreSQL, with the settings of one.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use flywheel_base::{Error, Result};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{Client, Connection, NoTls};

use super::tls::MakeRustls;
use super::{Postgres, Server, Tls};

/// What moves the bytes of a connection: it has to run as long as the connection is used, and ends with it.
pub type PostgresDriver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A PostgreSQL that can be connected to.
#[derive(Clone, Debug)]
pub struct PostgresServer(Server);

impl PostgresServer {
    /// Checks the settings of a connection, whose references are resolved; does no I/O. Files are relative to `base_dir`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if they name no database, or contradict each other.
    pub fn new(settings: Map<String, Value>, base_dir: &Path) -> Result<Self> {
        let settings: Postgres = serde_json::from_value(Value::Object(settings)).map_err(|_| {
            // The cause could repeat a secret.
            Error::invalid("the settings of the postgres connection cannot be read")
                .hint("`flywheel check` says which one is wrong.")
        })?;
        settings.server(base_dir).map(Self)
    }

    /// The database and where it is, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Opens a connection, on the runtime that polls the future.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Unavailable`] if nobody answers, [`flywheel_base::ErrorKind::Denied`] if the login is
    /// refused or the certificate is not believed.
    pub async fn open(&self) -> Result<(Client, PostgresDriver)> {
        let server = &self.0;
        if server.tls == Tls::Disable {
            let (client, connection) = server.opened(server.config.connect(NoTls)).await?;
            return Ok((client, driver(connection)));
        }
        let tls = MakeRustls::new(server.tls, server.ca_file.as_deref())?;
        let (client, connection) = server.opened(server.config.connect(tls)).await?;
        Ok((client, driver(connection)))
    }
}

fn driver<S, T>(connection: Connection<S, T>) -> PostgresDriver
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Its error also reaches whoever waits for an answer.
    Box::pin(async move { drop(connection.await) })
}
