//! A schema of a PostgreSQL as the database of the store.
//!
//! ```text
//! closed ──dial──▶ open ──BEGIN, count the change──▶ in a transaction ──COMMIT──▶ open
//!    ▲              │                                   │ an error: ROLLBACK
//!    └── lost ◄─────┴───────────────────────────────────┘
//! ```
//! Every write counts itself in the one row of `flywheel_layout` before anything else, so writers wait for each other as
//! they do for a file of SQLite: each sees all that was committed before it. That row also has the number of whoever holds
//! the project's lock; a holder that was replaced writes nothing any more.
//!
//! A connection that breaks before `COMMIT` leaves nothing, and the next call opens another one. If it breaks while
//! `COMMIT` is answered, the server is asked what became of that transaction: it is done, or it is not, and the caller is
//! told which. Only where the server cannot be asked either, the caller learns that it is not known; the methods of the
//! store are such that saying it again does no harm, or is refused.
//!
//! The driver is asynchronous and the store is not: its work is done by a thread of its own, and whoever asks waits.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};
use std::time::Duration;

use flywheel_base::task::TaskSet;
use flywheel_base::{ErrorKind, digest};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::{ToSql as PostgresToSql, Type};
use tokio_postgres::{Client, Row, SimpleQueryMessage, Statement};

use super::dialect::{self, Column};
use super::{Error, Kind, Result, Value};
use crate::lock::in_use;
use crate::schema;

/// How long a statement waits for another writer before it gives up, in milliseconds.
const LOCK_TIMEOUT_MS: u64 = crate::BUSY_TIMEOUT_MS;

/// How long the server works on one statement at most, in milliseconds.
const STATEMENT_TIMEOUT_MS: u64 = 60_000;

/// How long the server may be silent before the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(75);

/// How long writing one table anew may take, in milliseconds: it goes by the rows there are.
const SCRUB_TIMEOUT_MS: u64 = 3_600_000;

/// How long the server may be silent meanwhile.
const SCRUB_SILENCE: Duration = Duration::from_millis(SCRUB_TIMEOUT_MS + 15_000);

/// How long opening a connection may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the server keeps a transaction of which it hears nothing, in milliseconds; others wait for it.
const IDLE_TIMEOUT_MS: u64 = 120_000;

/// How many prepared statements a connection keeps; when there are more, all are prepared anew.
const PREPARED_MAX: usize = 512;

/// How often the server is asked what became of a commit that was not answered.
const ASKED_MAX: u32 = 20;

/// How long to wait before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// How often a project that is held is asked for before its holder counts as alive.
const HOLD_TRIES: u32 = 5;

/// How long to wait before it is asked for again.
const HOLD_AGAIN: Duration = Duration::from_millis(100);

/// The longest name of a schema, in bytes; PostgreSQL cuts longer ones off.
const NAME_BYTES_MAX: usize = 55;

/// A connection that was opened, and what moves its bytes.
pub struct Dialed {
    /// The connection.
    pub client: Client,
    /// Has to run as long as the connection is used; ends with it.
    pub driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for Dialed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialed")
    }
}

/// What [`Dial::dial`] promises.
pub type Dialing = Pin<Box<dyn Future<Output = flywheel_base::Result<Dialed>> + Send>>;

/// Opens connections to one PostgreSQL; how they are encrypted and who logs in is its own. A store calls it when it has no
/// connection, and again when that broke; it may be called from several threads at once.
pub trait Dial: fmt::Debug + Send + Sync {
    /// The database and where it is, for messages.
    fn name(&self) -> String;

    /// Opens a connection, on the runtime that polls the future.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if nobody answers, [`ErrorKind::Denied`] if the login is refused.
    fn dial(&self) -> Dialing;
}

/// Where metadata is kept that is not in a file: a schema of a PostgreSQL.
#[derive(Clone, Debug)]
pub struct Shared {
    dial: Arc<dyn Dial>,
    schema: String,
}

impl Shared {
    /// The schema `schema` behind `dial`; does no I/O.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no schema can have that name.
    pub fn new(dial: Arc<dyn Dial>, schema: &str) -> flywheel_base::Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let starts = schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let theirs =
            schema.starts_with("pg_") || ["information_schema", "public"].contains(&schema);
        if !starts || !schema.chars().all(fits) || schema.len() > NAME_BYTES_MAX || theirs {
            return Err(flywheel_base::Error::invalid(format!(
                "\"{schema}\" cannot name the schema of a project's metadata"
            ))
            .hint(format!(
                "Use lower-case letters, digits and `_`, at most {NAME_BYTES_MAX} of them, such as flywheel_shop; \
                 not `public`, and nothing that begins with pg_."
            )));
        }
        Ok(Self { dial, schema: schema.to_owned() })
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        format!("the schema \"{}\" of {}", self.schema, self.dial.name())
    }

    /// The name of the schema.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// A number that stands for something of this schema among the locks of the database.
    pub(crate) fn lock_number(&self, what: &str) -> i64 {
        digest::hash64(&[b"flywheel".as_slice(), what.as_bytes(), self.schema.as_bytes()])
            .cast_signed()
    }
}

/// Who counts as the writer: the number of the holder of the project's lock.
pub(crate) type Epoch = i64;

/// An open connection.
struct Live {
    client: Client,
    prepared: Mutex<HashMap<Prepared, Statement>>,
    /// Moves the bytes.
    _tasks: Mutex<TaskSet>,
}

/// A statement as a module writes it, and the kinds of its parameters.
type Prepared = (String, Vec<Kind>);

/// A value that is kept until the server has it.
type Bound = Box<dyn PostgresToSql + Sync + Send>;

/// A connection that is opened again when it broke.
pub(crate) struct Session {
    shared: Shared,
    live: RefCell<Option<Arc<Live>>>,
    /// Whether a transaction is open, and so no other connection will do.
    in_transaction: Cell<bool>,
    /// Whether a statement of the transaction failed: the server then keeps nothing of it.
    failed: Cell<bool>,
    tables: RefCell<HashMap<String, Vec<Column>>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.shared.place())
    }
}

/// A transaction; dropping it takes back what it did.
pub(crate) struct Transaction<'s> {
    session: &'s Session,
    number: i64,
}

/// The thread that speaks to servers, for all stores of the process.
static RUNTIME: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("flywheel-metadata")
        .enable_all()
        .build()
});

/// Lets the thread do `work`, and waits for it.
fn wait<T: Send + 'static>(
    limit: Duration,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let runtime = RUNTIME.as_ref().map_err(|error| {
        Error::ours(
            flywheel_base::Error::exhausted("no thread can be started for the metadata")
                .hint(error.to_string()),
        )
    })?;
    let (give, take) = mpsc::sync_channel(1);
    let task = runtime.spawn(async move {
        let done = tokio::time::timeout(limit, work).await;
        // Whoever waits does so until here.
        drop(give.send(done));
    });
    let done = take.recv();
    drop(task);
    match done {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Error::Lost(
            flywheel_base::Error::unavailable(format!(
                "the database was silent for {} s",
                limit.as_secs()
            ))
            .hint("See whether the server runs and the network lets it answer; the next call connects anew."),
        )),
        Err(_) => {
            Err(Error::ours(flywheel_base::Error::internal("the thread of the metadata stopped")))
        }
    }
}

/// Lets time pass.
fn pause(time: Duration) -> Result<()> {
    wait(SILENCE, async move {
        tokio::time::sleep(time).await;
        Ok(())
    })
}

impl Live {
    fn open(shared: &Shared) -> Result<Self> {
        let (dial, settings) = (Arc::clone(&shared.dial), settings(&shared.schema));
        wait(DIAL_TIMEOUT, async move {
            let Dialed { client, driver } = dial.dial().await?;
            let mut tasks = TaskSet::default();
            tasks.start(async move {
                driver.await;
                Ok(())
            });
            client.batch_execute(&settings).await?;
            Ok(Self { client, prepared: Mutex::default(), _tasks: Mutex::new(tasks) })
        })
    }

    fn known(&self, key: &Prepared) -> Option<Statement> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep(&self, key: Prepared, statement: Statement) {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if prepared.len() >= PREPARED_MAX {
            prepared.clear();
        }
        prepared.insert(key, statement);
    }
}

/// What every connection is set to: whatever the server's settings are, a commit is durable when it is answered, each
/// statement of a writer sees what was committed before it, and no wait is endless. The server notices within a minute or two
/// that a machine is gone, and gives back what it held.
fn settings(schema: &str) -> String {
    format!(
        "SET application_name = 'flywheel {schema}'; SET search_path = \"{schema}\";
         SET synchronous_commit = on; SET standard_conforming_strings = on;
         SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off;
         SET client_min_messages = warning; SET lock_timeout = {LOCK_TIMEOUT_MS};
         SET statement_timeout = {STATEMENT_TIMEOUT_MS};
         SET idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS};
         SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
         SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout';"
    )
}

impl Session {
    /// A connection that is opened when it is first needed.
    pub(crate) fn new(shared: &Shared) -> Self {
        Self {
            shared: shared.clone(),
            live: RefCell::new(None),
            in_transaction: Cell::new(false),
            failed: Cell::new(false),
            tables: RefCell::default(),
        }
    }

    /// Whether there is a connection that has not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.live.borrow().as_ref().is_some_and(|live| !live.client.is_closed())
    }

    fn live(&self) -> Result<Arc<Live>> {
        if let Some(live) = self.live.borrow().as_ref().filter(|live| !live.client.is_closed()) {
            return Ok(Arc::clone(live));
        }
        if self.in_transaction.get() {
            return Err(lost());
        }
        let live = Arc::new(Live::open(&self.shared)?);
        *self.live.borrow_mut() = Some(Arc::clone(&live));
        Ok(live)
    }

    /// Lets the next call connect anew.
    fn forget(&self) {
        *self.live.borrow_mut() = None;
    }

    /// Notes what an answer means for the connection.
    fn seen<T>(&self, answer: Result<T>) -> Result<T> {
        answer.inspect_err(|error| {
            self.failed.set(true);
            // A statement that may still be answered would confuse the next one.
            if error.is_lost() {
                self.forget();
            }
        })
    }

    /// Runs a statement and counts the rows it changed.
    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize> {
        let (live, statement, bound) = self.bind(sql, values)?;
        let answer = wait(SILENCE, async move {
            Ok(live.client.execute(&statement, &references(&bound)).await?)
        });
        Ok(usize::try_from(self.seen(answer)?).unwrap_or(usize::MAX))
    }

    /// The rows of a query.
    pub(crate) fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        let (live, statement, bound) = self.bind(sql, values)?;
        let answer =
            wait(
                SILENCE,
                async move { Ok(live.client.query(&statement, &references(&bound)).await?) },
            );
        self.seen(answer)
    }

    fn bind(&self, sql: &str, values: &[Value<'_>]) -> Result<(Arc<Live>, Statement, Vec<Bound>)> {
        let key: Prepared = (sql.to_owned(), values.iter().map(Value::kind).collect());
        let live = self.live()?;
        let statement =
            match live.known(&key) {
                Some(statement) => statement,
                None => {
                    let text = dialect::statement(sql, |table| self.columns(table))?;
                    let types: Vec<Type> = key.1.iter().copied().map(type_of).collect();
                    let asked = Arc::clone(&live);
                    let answer = wait(SILENCE, async move {
                        Ok(asked.client.prepare_typed(&text, &types).await?)
                    });
                    let statement = self.seen(answer)?;
                    live.keep(key, statement.clone());
                    statement
                }
            };
        Ok((live, statement, values.iter().map(bound).collect()))
    }

    /// Runs statements without parameters, in PostgreSQL's words, and gives their rows as texts.
    pub(crate) fn simple(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.simple_within(SILENCE, sql)
    }

    /// As [`Session::simple`], with another time that the server may be silent.
    fn simple_within(&self, silence: Duration, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let (live, sql) = (self.live()?, sql.to_owned());
        let answer = wait(silence, async move { Ok(live.client.simple_query(&sql).await?) });
        let mut rows = Vec::new();
        for message in self.seen(answer)? {
            if let SimpleQueryMessage::Row(row) = message {
                let mut texts = Vec::with_capacity(row.len());
                for at in 0..row.len() {
                    texts.push(row.try_get(at)?.map(str::to_owned));
                }
                rows.push(texts);
            }
        }
        Ok(rows)
    }

    /// The columns of a table, in their order.
    fn columns(&self, table: &str) -> Result<Vec<Column>> {
        if let Some(columns) = self.tables.borrow().get(table) {
            return Ok(columns.clone());
        }
        let rows = self.simple(&format!(
            "SELECT a.attname, coalesce(a.attnum = ANY (i.indkey), false)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
             WHERE n.nspname = {} AND c.relname = {} ORDER BY a.attnum",
            literal(&self.shared.schema),
            literal(table)
        ))?;
        let column = |row: Vec<Option<String>>| {
            let mut row = row.into_iter().flatten();
            let name = row.next().unwrap_or_default();
            Column { name, key: row.next().as_deref() == Some("t") }
        };
        let columns: Vec<Column> = rows.into_iter().map(column).collect();
        self.tables.borrow_mut().insert(table.to_owned(), columns.clone());
        Ok(columns)
    }

    /// Opens the connection, and says which layout the schema has; none if it has none yet.
    pub(crate) fn layout(&self) -> Result<Option<i64>> {
        let found = self.simple(&format!(
            "SELECT to_regclass({}) IS NOT NULL",
            literal(&format!("{}.flywheel_layout", self.shared.schema))
        ))?;
        if first(&found).as_deref() != Some("t") {
            return Ok(None);
        }
        self.number("SELECT version FROM flywheel_layout").map(Some)
    }

    /// Brings the schema to the newest layout; makes it if it is not there. Several may do so at once.
    pub(crate) fn migrate(&self) -> Result<()> {
        let schema = &self.shared.schema;
        let done = self.try_migrate(schema);
        self.tables.borrow_mut().clear();
        self.in_transaction.set(false);
        if done.is_err() && self.is_open() && self.simple("ROLLBACK").is_err() {
            self.forget();
        }
        done
    }

    fn try_migrate(&self, schema: &str) -> Result<()> {
        self.simple(&format!(
            "BEGIN; SELECT pg_advisory_xact_lock({})",
            self.shared.lock_number("layout")
        ))?;
        self.in_transaction.set(true);
        // Who may not make schemas may use one that is there.
        let there = self
            .simple(&format!("SELECT 1 FROM pg_namespace WHERE nspname = {}", literal(schema)))?;
        if there.is_empty() {
            self.simple(&format!("CREATE SCHEMA \"{schema}\""))?;
        }
        self.simple(
            "CREATE TABLE IF NOT EXISTS flywheel_layout (
               only_row BIGINT PRIMARY KEY CHECK (only_row = 0), version BIGINT NOT NULL, changes BIGINT NOT NULL,
               epoch BIGINT NOT NULL, holder TEXT NOT NULL);
             INSERT INTO flywheel_layout VALUES (0, 0, 0, 0, '') ON CONFLICT DO NOTHING",
        )?;
        let version = self.number("SELECT version FROM flywheel_layout FOR UPDATE")?;
        let version = usize::try_from(version).unwrap_or(usize::MAX);
        // A process on another machine may work with the layout there is.
        if (1..schema::MIGRATIONS.len()).contains(&version) && !self.alone()? {
            let rows = self.simple("SELECT holder FROM flywheel_layout")?;
            let holder = first(&rows).unwrap_or_default();
            return Err(Error::ours(in_use(&format!("process {holder}"))));
        }
        for (at, migration) in schema::MIGRATIONS.iter().enumerate().skip(version) {
            self.simple(&dialect::migration(migration))?;
            if at == 0 {
                // SQLite numbers rows as they come.
                self.simple(
                    "ALTER TABLE runs ADD COLUMN rowid BIGINT GENERATED BY DEFAULT AS IDENTITY",
                )?;
            }
        }
        self.simple(&format!(
            "UPDATE flywheel_layout SET version = greatest(version, {}), changes = changes + 1; COMMIT",
            schema::known_version()
        ))?;
        Ok(())
    }

    /// Begins a transaction that waits for other writers, and refuses a writer that lost the project to another one.
    pub(crate) fn begin(&self, epoch: Option<Epoch>) -> Result<Transaction<'_>> {
        const BEGIN: &str = "BEGIN; UPDATE flywheel_layout SET changes = changes + 1 RETURNING txid_current(), epoch";
        let begun = match self.simple(BEGIN) {
            // It ended while nobody looked, and nothing was done yet.
            Err(error) if error.is_lost() && !self.is_open() => self.simple(BEGIN),
            other => other,
        };
        self.failed.set(false);
        self.in_transaction.set(true);
        let mut transaction = Transaction { session: self, number: 0 };
        let rows = begun?;
        let mut cells = rows.into_iter().flatten().flatten();
        let mut number = || cells.next().and_then(|text| text.parse::<i64>().ok());
        let (Some(id), Some(holder)) = (number(), number()) else {
            return Err(Error::ours(
                flywheel_base::Error::corrupt(format!(
                    "{} has lost its layout",
                    self.shared.place()
                ))
                .hint("Restore it from a backup; rows of the lake are not affected."),
            ));
        };
        transaction.number = id;
        if epoch.is_some_and(|ours| ours != holder) {
            return Err(Error::ours(taken_over(&self.shared)));
        }
        Ok(transaction)
    }

    /// Begins a transaction that only reads, all as it is now; it ends when what is returned is dropped.
    pub(crate) fn snapshot(&self) -> Result<Transaction<'_>> {
        self.simple("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        self.failed.set(false);
        self.in_transaction.set(true);
        Ok(Transaction { session: self, number: 0 })
    }

    /// Lets numbers that are given to rows go on after those that there are.
    pub(crate) fn numbers_go_on(&self) -> Result<()> {
        let numbered = self.simple(
            "SELECT table_name, column_name FROM information_schema.columns
             WHERE table_schema = current_schema() AND is_identity = 'YES'",
        )?;
        for row in numbered {
            let [Some(table), Some(column)] = row.as_slice() else { continue };
            self.simple(&format!(
                "SELECT setval(pg_get_serial_sequence({}, {}), greatest(coalesce(max({column}), 0), 0) + 1, false)
                 FROM {table}",
                literal(table),
                literal(column)
            ))?;
        }
        Ok(())
    }

    /// Writes every table anew, so that what was deleted or changed before is in no page of it.
    pub(crate) fn scrub(&self) -> Result<()> {
        let tables =
            self.simple("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")?;
        // A large table takes longer to be written anew than any other statement may.
        self.simple(&format!("SET statement_timeout = {SCRUB_TIMEOUT_MS}"))?;
        let mut tables = tables.into_iter().flatten().flatten();
        let scrubbed = tables.try_for_each(|table| {
            let sql = format!("VACUUM (FULL) {table}");
            self.simple_within(SCRUB_SILENCE, &sql).map(drop)
        });
        // A connection that was lost meanwhile is opened with the usual limits.
        let limited = self.simple(&format!("SET statement_timeout = {STATEMENT_TIMEOUT_MS}"));
        scrubbed?;
        limited.map(drop)
    }

    /// A number that changes with every write of anybody.
    pub(crate) fn changes(&self) -> Result<i64> {
        self.only("SELECT changes FROM flywheel_layout")
    }

    /// The number that was given to a row last, by this connection.
    pub(crate) fn last_number(&self) -> Result<i64> {
        self.only("SELECT lastval()")
    }

    fn only(&self, sql: &str) -> Result<i64> {
        let rows = self.query(sql, &[])?;
        let row = rows.first().ok_or(Error::NoRow)?;
        Ok(row.try_get(0_usize)?)
    }

    fn number(&self, sql: &str) -> Result<i64> {
        let rows = self.simple(sql)?;
        first(&rows).and_then(|text| text.parse().ok()).ok_or(Error::NoRow)
    }

    /// What became of a transaction whose commit was not answered.
    fn outcome(&self, number: i64) -> Result<bool> {
        let mut left = ASKED_MAX;
        while left > 0 {
            left = match self.simple(&format!("SELECT txid_status({number})")) {
                Ok(rows) => match first(&rows).as_deref() {
                    Some("committed") => return Ok(true),
                    Some("aborted") => return Ok(false),
                    _ => left - 1,
                },
                Err(error) if error.is_lost() => left - 1,
                // Nobody answers, which may have taken long already.
                Err(error) if error.is_unavailable() => left.saturating_sub(ASKED_MAX / 4),
                Err(error) => return Err(error),
            };
            pause(ASK_AGAIN)?;
        }
        Err(Error::ours(
            flywheel_base::Error::unavailable(
                "the connection broke during a commit, and whether it took effect is not known",
            )
            .hint("Look at what there is once the server answers again, and do it again if it is not there."),
        ))
    }

    /// Tries to take the project for this connection; the number of its time as the holder, or who holds it.
    pub(crate) fn hold(&self, holder: &str) -> Result<std::result::Result<Epoch, String>> {
        let mut tries = HOLD_TRIES;
        while !self.lock_project()? {
            tries -= 1;
            if tries == 0 {
                let rows = self.simple("SELECT holder FROM flywheel_layout")?;
                return Ok(Err(first(&rows).unwrap_or_default()));
            }
            // A process that has just ended may still hold it for a moment.
            pause(HOLD_AGAIN)?;
        }
        let epoch = self.number(&format!(
            "UPDATE flywheel_layout SET epoch = epoch + 1, holder = {} RETURNING epoch",
            literal(holder)
        ))?;
        Ok(Ok(epoch))
    }

    /// Takes the project again that this process held as `epoch`, after the connection broke; whether nobody held it since.
    pub(crate) fn hold_again(&self, epoch: Epoch) -> Result<bool> {
        let locked = self.lock_project()?;
        if self.number("SELECT epoch FROM flywheel_layout")? != epoch {
            // Somebody had it since: it is free for the next one.
            self.let_go()?;
            return Ok(false);
        }
        if !locked {
            // The next call tries again.
            self.forget();
            return Err(Error::Lost(
                flywheel_base::Error::unavailable(
                    "the server has not yet noticed that the connection which held the project is gone",
                )
                .hint("It does within a minute or two; do it again then."),
            ));
        }
        Ok(true)
    }

    /// Keeps everybody from taking the project until the transaction ends; whether nobody has it.
    fn alone(&self) -> Result<bool> {
        let key = self.shared.lock_number("project");
        let mut tries = HOLD_TRIES;
        loop {
            let answer = self.simple(&format!("SELECT pg_try_advisory_xact_lock({key})"))?;
            if first(&answer).as_deref() == Some("t") {
                return Ok(true);
            }
            tries -= 1;
            if tries == 0 {
                return Ok(false);
            }
            // A process that has just ended may still hold it for a moment.
            pause(HOLD_AGAIN)?;
        }
    }

    fn lock_project(&self) -> Result<bool> {
        let key = self.shared.lock_number("project");
        let answer = self.simple(&format!("SELECT pg_try_advisory_lock({key})"))?;
        Ok(first(&answer).as_deref() == Some("t"))
    }

    /// Gives the project back at once, and not only when the server notices that the connection is gone.
    pub(crate) fn let_go(&self) -> Result<()> {
        if !self.is_open() {
            return Ok(());
        }
        let key = self.shared.lock_number("project");
        self.simple(&format!("SELECT pg_advisory_unlock({key})")).map(drop)
    }

    /// Says who holds the project, for whoever is refused.
    pub(crate) fn held_by(&self, epoch: Epoch, holder: &str) -> Result<()> {
        self.simple(&format!(
            "UPDATE flywheel_layout SET holder = {} WHERE epoch = {epoch}",
            literal(holder)
        ))
        .map(drop)
    }

    /// Gives the schema another name, so that nobody takes it for the project's.
    pub(crate) fn rename(&self, to: &str) -> Result<()> {
        self.simple(&format!("ALTER SCHEMA \"{}\" RENAME TO \"{to}\"", self.shared.schema))
            .map(drop)
    }
}

impl Transaction<'_> {
    /// Makes it durable.
    pub(crate) fn commit(self) -> Result<()> {
        let session = self.session;
        if session.failed.get() {
            // The server would answer that all is well, and keep nothing.
            return Err(Error::ours(flywheel_base::Error::internal(
                "a statement failed and the transaction went on",
            )));
        }
        let answer = session.simple("COMMIT");
        session.in_transaction.set(false);
        match answer {
            Ok(_) => Ok(()),
            Err(error) if error.is_lost() => {
                session.forget();
                match session.outcome(self.number)? {
                    true => Ok(()),
                    false => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // After a commit there is none.
        if !self.session.in_transaction.replace(false) {
            return;
        }
        if !self.session.is_open() || self.session.simple("ROLLBACK").is_err() {
            self.session.forget();
        }
    }
}

/// The error of a holder that was replaced.
pub(crate) fn taken_over(shared: &Shared) -> flywheel_base::Error {
    flywheel_base::Error::new(
        ErrorKind::Conflict,
        format!("another flywheel has taken over the project in {}", shared.place()),
    )
    .hint("The connection that held the project broke, and another process began. End this one; nothing half-done is kept.")
}

fn lost() -> Error {
    Error::Lost(
        flywheel_base::Error::unavailable("the connection broke off")
            .hint("Nothing was changed; do it again."),
    )
}

fn first(rows: &[Vec<Option<String>>]) -> Option<String> {
    rows.first().and_then(|row| row.first()).cloned().flatten()
}

fn literal(text: &str) -> String {
    // No text of PostgreSQL holds a NUL.
    format!("'{}'", text.replace('\'', "''").replace('\0', ""))
}

fn type_of(kind: Kind) -> Type {
    match kind {
        Kind::Int => Type::INT8,
        Kind::Real => Type::FLOAT8,
        Kind::Text => Type::TEXT,
    }
}

fn bound(value: &Value<'_>) -> Bound {
    match value {
        Value::Null(Kind::Int) => Box::new(None::<i64>),
        Value::Null(Kind::Real) => Box::new(None::<f64>),
        Value::Null(Kind::Text) => Box::new(None::<String>),
        Value::Int(number) => Box::new(*number),
        Value::Real(number) => Box::new(*number),
        Value::Text(text) => Box::new((*text).to_owned()),
    }
}

fn references(bound: &[Bound]) -> Vec<&(dyn PostgresToSql + Sync)> {
    bound.iter().map(|one| &**one as &(dyn PostgresToSql + Sync)).collect()
}

#[cfg(test)]
mod tests;
