//! An open connection whose every wait has an end.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use flywheel_base::task::TaskSet;
use flywheel_base::{Error, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Connection, CopyInSink, CopyOutStream, NoTls, Row, Statement};

use super::tls::MakeRustls;
use super::{Server, Tls, fail};
use crate::connections::Admitted;

/// What every session is set to, so that texts have one form whatever the server's settings are. A
/// database without an encoding would refuse to send a text that is not UTF-8, and with it all others.
const SETTINGS: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; \
    SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex'; \
    SET standard_conforming_strings = on; SET client_min_messages = warning; \
    SET xmloption = content; \
    SELECT set_config('client_encoding', 'SQL_ASCII', false) \
    WHERE current_setting('server_encoding') = 'SQL_ASCII';";

/// How long a lock of somebody else is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection; dropping it closes it, and the server rolls back what is open.
pub(crate) struct Session {
    client: Client,
    server: Server,
    /// Moves the bytes.
    _tasks: TaskSet,
    /// Given back after the connection.
    _admitted: Admitted,
}

impl Server {
    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Session> {
        let admitted = self.connections.one().await?;
        self.open(admitted).await
    }

    /// Opens one connection more, if one is allowed.
    pub(crate) async fn connect_another(&self) -> Result<Option<Session>> {
        match self.connections.another() {
            Some(admitted) => self.open(admitted).await.map(Some),
            None => Ok(None),
        }
    }

    async fn open(&self, admitted: Admitted) -> Result<Session> {
        let mut tasks = TaskSet::default();
        let client = if self.tls == Tls::Disable {
            let (client, connection) = self.opened(self.config.connect(NoTls)).await?;
            drive(&mut tasks, connection);
            client
        } else {
            let tls = MakeRustls::new(self.tls, self.ca_file.as_deref())?;
            let (client, connection) = self.opened(self.config.connect(tls)).await?;
            drive(&mut tasks, connection);
            client
        };
        let session = Session { client, server: self.clone(), _tasks: tasks, _admitted: admitted };
        let statement = self.statement_timeout.map_or(0, |timeout| timeout.as_millis());
        let lock = LOCK_TIMEOUT.as_millis();
        let sql =
            format!("{SETTINGS} SET statement_timeout = {statement}; SET lock_timeout = {lock};");
        session.execute(&sql).await?;
        Ok(session)
    }

    /// The driver's own limit covers the connection only, not what a mute server answers after it.
    pub(super) async fn opened<T>(
        &self,
        opening: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        let limit = self.config.get_connect_timeout().copied().unwrap_or(super::CONNECT_TIMEOUT);
        match tokio::time::timeout(limit * 2, opening).await {
            Ok(opened) => opened.map_err(|error| fail(self, error)),
            Err(_) => Err(Error::unavailable(format!("{} does not answer", self.name))
                .hint("Check `host` and `port`; raise `connect_timeout` if it is only slow.")),
        }
    }
}

fn drive<S, T>(tasks: &mut TaskSet, connection: Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Its error also reaches whoever waits for an answer.
    tasks.start(async move {
        connection
            .await
            .map_err(|error| Error::unavailable("a database connection ended").caused_by(error))
    });
}

impl Session {
    /// The server.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Waits for `answer`, as long as the server may be silent.
    pub(crate) async fn answer<T>(&self, answer: impl Future<Output = T>) -> Result<T> {
        let limit = self.server.silence;
        tokio::time::timeout(limit, answer).await.map_err(|_| {
            Error::unavailable(format!(
                "{} was silent for {} s during a statement",
                self.server.name,
                limit.as_secs_f64()
            ))
            .hint("The connection may be dead; raise `silence_timeout` if the server is only slow.")
        })
    }

    /// As [`Session::answer`], with the driver's error kept for whoever has to look at it.
    async fn checked<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        self.answer(answer).await?.map_err(|error| fail(&self.server, error))
    }

    /// Runs statements that give no rows.
    pub(crate) async fn execute(&self, sql: &str) -> Result<()> {
        self.checked(self.client.batch_execute(sql)).await
    }

    /// Runs statements; the inner error is the server's answer.
    pub(crate) async fn attempt(&self, sql: &str) -> Result<Result<(), tokio_postgres::Error>> {
        self.answer(self.client.batch_execute(sql)).await
    }

    /// The rows of a query.
    pub(crate) async fn rows(
        &self,
        sql: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        self.checked(self.client.query(sql, arguments)).await
    }

    /// The rows of a query; the inner error is the server's answer.
    pub(crate) async fn attempt_rows(
        &self,
        sql: &str,
    ) -> Result<Result<Vec<Row>, tokio_postgres::Error>> {
        self.answer(self.client.query(sql, &[])).await
    }

    /// Runs a statement and counts its rows; the inner error is the server's answer.
    pub(crate) async fn attempt_counted(
        &self,
        sql: &str,
    ) -> Result<Result<u64, tokio_postgres::Error>> {
        self.answer(self.client.execute(sql, &[])).await
    }

    /// Runs a statement with arguments and counts its rows.
    pub(crate) async fn counted(
        &self,
        sql: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<u64> {
        self.checked(self.client.execute(sql, arguments)).await
    }

    /// The only row of a query.
    pub(crate) async fn row(&self, sql: &str, arguments: &[&(dyn ToSql + Sync)]) -> Result<Row> {
        self.checked(self.client.query_one(sql, arguments)).await
    }

    /// A statement's description.
    pub(crate) async fn prepare(
        &self,
        sql: &str,
    ) -> Result<Result<Statement, tokio_postgres::Error>> {
        self.answer(self.client.prepare(sql)).await
    }

    /// Starts a `COPY … TO STDOUT`.
    pub(crate) async fn copy_out(&self, sql: &str) -> Result<CopyOutStream> {
        self.checked(self.client.copy_out(sql)).await
    }

    /// Starts a `COPY … FROM STDIN`; the inner error is the server's answer.
    pub(crate) async fn copy_in(
        &self,
        sql: &str,
    ) -> Result<Result<CopyInSink<Bytes>, tokio_postgres::Error>> {
        self.answer(self.client.copy_in(sql)).await
    }
}

/// The value of a column of a row of ours.
pub(crate) fn field<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    at: usize,
) -> Result<T> {
    row.try_get(at).map_err(|error| {
        Error::internal("a catalog of PostgreSQL has an unexpected column").caused_by(error)
    })
}
