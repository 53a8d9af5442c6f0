//! A client's session: its settings, its transaction, what it prepared, and the messages in which it asks.
//!
//! ```text
//! serve ─► simple (a script)      ─┐
//!       └► extended (step by step) ┴► command (what is asked) ─► rows (what is sent)
//! ```
//! A transaction is a bracket around reads: it has a state that clients are told, and no effect on what is read. An error in it
//! refuses what follows until its end, as clients expect. Answers that are read in parts end with the bracket they were opened
//! in, or when nobody reads them on: each holds a place among the statements of its user.

mod command;
mod extended;
mod rows;
mod simple;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BufMut;
use flywheel_base::ErrorKind;
use flywheel_runtime::edit;
use flywheel_warehouse::Parameters;
use flywheel_warehouse::postgres::{Command, Form, Kind};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant as At, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::frame::{MESSAGE_BYTES_MAX, Message, Stop, Wire, broken, put_text};
use super::place::Place;
use super::refusal::Refusal;
use super::running::{Asking, Lasts, Running};
use super::settings::{Settings, TOLD};
use crate::app::App;
use crate::auth::{self, Caller, Proof};
use crate::quota;

/// The longest statement.
const SQL_BYTES_MAX: usize = 256 << 10;
/// Portals and cursors that may run at once. Each holds a thread, of which all sessions together must leave some to others.
const RUNNING_MAX: usize = 4;
/// How long an answer is kept that nobody reads on.
const UNREAD_TIME: Duration = Duration::from_secs(120);
/// How long an answer may be open that is read on again and again: it holds a place among the statements of its user.
const OPEN_TIME: Duration = Duration::from_secs(3_600);
/// How long a session may do nothing.
const IDLE_TIME: Duration = Duration::from_secs(8 * 3_600);
/// How often it is looked what is kept too long.
const LOOK: Duration = Duration::from_secs(15);
/// How long a statement that was described counts as asked, so that it is counted once when it is asked then.
const COUNTED_TIME: Duration = Duration::from_secs(60);
/// Characters of a statement that the audit log keeps.
const NOTED_CHARACTERS: usize = 2_000;

/// A statement that a client prepared.
#[derive(Clone)]
struct Prepared {
    sql: Arc<str>,
    command: Command,
    /// The types of its values, as far as the client says; 0 where it does not.
    given: Vec<u32>,
    /// All of them, once they were asked for.
    types: Option<Vec<u32>>,
    /// The types of its columns, once they were told.
    told: Option<Vec<Kind>>,
    /// When it was counted for being described, if it was not asked since.
    counted: Option<Instant>,
}

/// A statement with its values.
struct Portal {
    prepared: Prepared,
    values: Parameters,
    /// How long its values were when they came.
    bytes: usize,
    /// The forms of its columns: none for texts, one for all, or one for each.
    forms: Vec<Form>,
    running: Option<Running>,
    /// Whether its answer ended before it was read to its end.
    dropped: bool,
    /// Whether its command was done; only rows come in parts.
    done: bool,
}

/// Where a session's transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    Failed,
}

impl Portal {
    fn new(prepared: Prepared, values: Parameters) -> Self {
        Self {
            prepared,
            values,
            bytes: 0,
            forms: Vec::new(),
            running: None,
            dropped: false,
            done: false,
        }
    }

    /// Ends its answer, if it has one.
    fn end(&mut self) {
        if self.running.take().is_some() {
            self.dropped = true;
        }
    }
}

pub(super) struct Session {
    app: Arc<App>,
    place: Place,
    proof: Proof,
    user: Arc<str>,
    database: Arc<str>,
    settings: Settings,
    transaction: Transaction,
    /// Marks in the transaction that it may go back to.
    marks: usize,
    /// Whether several statements came at once, which are a bracket of their own.
    together: bool,
    prepared: BTreeMap<String, Prepared>,
    portals: BTreeMap<String, Portal>,
    cursors: BTreeMap<String, Running>,
    /// What stops the statement under way.
    cancel: CancellationToken,
    deadline: At,
}

impl Session {
    pub(super) fn new(
        app: Arc<App>,
        place: Place,
        proof: Proof,
        parameters: &BTreeMap<String, String>,
    ) -> Self {
        let user = parameters.get("user").map_or("", String::as_str);
        let database = parameters.get("database").filter(|name| !name.is_empty());
        let database = database.map_or(user, String::as_str);
        let mut settings = Settings::new(user);
        let own = |name: &str| matches!(name, "user" | "database" | "options" | "replication");
        let said = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let said = said.filter(|(name, _)| !own(name) && !name.starts_with("_pq_."));
        let more = parameters.get("options").map_or("", String::as_str);
        for (name, value) in said.chain(options(more)) {
            // What cannot be set at connecting stays as it usually is; a client reads what it got.
            if settings.set(&name.to_lowercase(), Some(value)).is_err() {
                tracing::debug!(name, "a client's setting is not taken");
            }
        }
        let cancel = place.fresh();
        Self {
            app,
            place,
            proof,
            user: user.into(),
            database: database.into(),
            settings,
            transaction: Transaction::None,
            marks: 0,
            together: false,
            prepared: BTreeMap::new(),
            portals: BTreeMap::new(),
            cursors: BTreeMap::new(),
            cancel,
            deadline: At::now(),
        }
    }

    /// Answers until the client leaves or has to.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
    ) -> Result<(), Stop> {
        for (name, key) in TOLD {
            self.tell_setting(wire, name, key);
        }
        let (number, secret) = (self.place.number, self.place.secret);
        wire.put(b'K', |out| {
            out.put_i32(number);
            out.put_i32(secret);
        });
        self.ready(wire).await?;
        // After an error in the longer way of asking, all is left out up to the next Sync.
        let mut skipping = false;
        loop {
            let message = self.next(wire).await?;
            match message.kind {
                b'X' => return Ok(()),
                b'S' => {
                    skipping = false;
                    self.synced();
                    self.ready(wire).await?;
                }
                // What a copy would bring is nobody's.
                b'd' | b'c' | b'f' => {}
                _ if skipping => {}
                b'Q' => {
                    Box::pin(self.script(wire, message)).await?;
                    self.ready(wire).await?;
                }
                b'H' => wire.send().await?,
                b'F' => {
                    let message = "functions are called in statements here";
                    self.failed(wire, &Refusal::new("0A000", message));
                    self.ready(wire).await?;
                }
                b'P' | b'B' | b'D' | b'E' | b'C' => {
                    match Box::pin(self.step(wire, message)).await {
                        Ok(()) => wire.send_much().await?,
                        Err(Stop::Refused(refusal)) if !refusal.fatal => {
                            self.failed(wire, &refusal);
                            wire.send().await?;
                            skipping = true;
                        }
                        Err(stop) => return Err(stop),
                    }
                }
                _ => return Err(broken("its kind is not known")),
            }
        }
    }

    /// The next message.
    async fn next<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
    ) -> Result<Message, Stop> {
        let since = Instant::now();
        self.drop_unread();
        let patience = match self.transaction {
            Transaction::None => None,
            Transaction::Open | Transaction::Failed => self.settings.idle_in_transaction(),
        };
        loop {
            if let Some(message) = wire.arrived(MESSAGE_BYTES_MAX)? {
                return Ok(message);
            }
            let left = patience.map_or(LOOK, |time| time.saturating_sub(since.elapsed()));
            tokio::select! {
                () = self.app.stop.cancelled() => {
                    return Err(Refusal::fatal("57P01", "the server is stopping").into());
                }
                filled = timeout(left.min(LOOK), wire.fill()) => match filled {
                    Ok(filled) => filled?,
                    Err(_) => {
                        self.drop_unread();
                        if patience.is_some_and(|time| since.elapsed() >= time) {
                            let message = "terminating connection due to idle-in-transaction timeout";
                            return Err(Refusal::fatal("25P03", message).into());
                        }
                        if since.elapsed() > IDLE_TIME {
                            let message = "the connection was not used for 8 hours";
                            return Err(Refusal::fatal("57P05", message).into());
                        }
                    }
                },
            }
        }
    }

    /// Ends what nobody reads on, or is open for too long, with the memory and the place it holds.
    fn drop_unread(&mut self) {
        let over = |running: &Running| {
            running.read_at.elapsed() > UNREAD_TIME || running.planned_at.elapsed() > OPEN_TIME
        };
        for portal in self.portals.values_mut() {
            if portal.running.as_ref().is_some_and(over) {
                portal.end();
            }
        }
        self.cursors.retain(|_, running| !over(running));
    }

    /// Says that the next statement may come.
    async fn ready<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
    ) -> Result<(), Stop> {
        let state = match self.transaction {
            Transaction::None => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        };
        wire.put(b'Z', |out| out.put_u8(state));
        wire.send().await
    }

    fn tell_setting<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
        name: &str,
        key: &str,
    ) {
        let value = self.settings.value(key).unwrap_or_default();
        wire.put(b'S', |out| {
            put_text(out, name);
            put_text(out, value);
        });
    }

    /// Tells why something is not done, and refuses what follows in its transaction.
    fn failed<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<S>, why: &Refusal) {
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Failed;
            // Nobody can read on but from a mark that was set before.
            if self.marks == 0 {
                self.portals.values_mut().for_each(Portal::end);
                self.cursors.retain(|_, cursor| cursor.lasts == Lasts::Session);
            }
        }
        wire.refuse(b'E', why);
    }

    /// What is open outside of a transaction ends with the statements it was opened by.
    fn synced(&mut self) {
        if self.transaction == Transaction::None {
            self.portals.clear();
            self.cursors.retain(|_, cursor| cursor.lasts != Lasts::Transaction);
        }
    }

    /// Ends the transaction; whether well. What outlives it is kept from then on, whatever comes.
    fn end(&mut self, well: bool) {
        if self.transaction == Transaction::None {
            return;
        }
        self.portals.clear();
        self.cursors.retain(|_, cursor| match cursor.lasts {
            Lasts::Transaction => false,
            Lasts::IfItEndsWell => well,
            Lasts::Session => true,
        });
        self.cursors.values_mut().for_each(|cursor| cursor.lasts = Lasts::Session);
        self.transaction = Transaction::None;
        self.marks = 0;
    }

    /// Begins something that may be stopped and takes its time.
    fn begin(&mut self) {
        self.cancel = self.place.fresh();
        self.deadline = At::now() + self.settings.time();
    }

    /// Takes a statement, without planning it.
    fn prepare(&self, sql: &str, given: Vec<u32>) -> Result<Prepared, Refusal> {
        if sql.len() > SQL_BYTES_MAX {
            let message = format!("the statement is longer than {SQL_BYTES_MAX} bytes");
            return Err(Refusal::new("54000", message));
        }
        let command = Command::of(sql).map_err(|error| match error.kind() {
            ErrorKind::Denied => Refusal::from(error),
            _ => Refusal { code: "42601", ..Refusal::from(error) },
        })?;
        let query = match &command {
            Command::Query => Some(sql),
            Command::Declare { query, .. } => Some(query.as_str()),
            Command::Copy(copying) => Some(copying.query.as_str()),
            Command::CopyIn => return Err(Refusal::no_copy_in()),
            _ => None,
        };
        if query.is_some_and(edit::is_change) {
            return Err(Refusal::read_only());
        }
        Ok(Prepared { sql: sql.into(), command, given, types: None, told: None, counted: None })
    }

    /// Who asks now; whoever may not any more has to leave.
    async fn caller(&self) -> Result<Caller, Refusal> {
        let caller = auth::proved(&self.app, &self.proof).await;
        caller.map_err(|problem| Refusal::from(problem).and_leave())
    }

    fn asking(&self, caller: &Caller) -> Asking {
        Asking {
            reading: caller.reading(&self.app.workspace().project),
            app: Arc::clone(&self.app),
            settings: Arc::new(self.settings.all().clone()),
            user: Arc::clone(&self.user),
            database: Arc::clone(&self.database),
            process: self.place.number,
        }
    }

    /// Waits for `work` until it is done, stopped or takes too long.
    async fn within<T, E: Into<Refusal>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Refusal::cancelled()),
            done = work => done.map_err(Into::into),
            () = sleep_until(self.deadline) => {
                Err(Refusal::too_long(self.settings.time().as_millis()))
            }
        }
    }

    /// Refuses at once what would wait for answers that this session itself leaves open.
    fn check_places(&self, caller: &Caller) -> Result<(), Refusal> {
        let portals = self.portals.values().filter_map(|portal| portal.running.as_ref());
        let held = portals.chain(self.cursors.values()).filter(|one| one.holds()).count();
        quota::check_held(&self.app, caller, held).map_err(|error| {
            Refusal::from(error).hint(
                "Answers that are open in this session hold all places: read them to their end, or close them; \
                 an owner sets `quotas` in flywheel.yaml.",
            )
        })
    }

    /// Plans a statement that reads; `counted` says when it was counted already.
    async fn start(
        &mut self,
        sql: Arc<str>,
        values: Parameters,
        counted: Option<Instant>,
    ) -> Result<Running, Refusal> {
        let caller = self.caller().await?;
        let open = self.portals.values().filter(|portal| portal.running.is_some()).count();
        if open + self.cursors.len() >= RUNNING_MAX {
            let message = format!("more than {RUNNING_MAX} answers are open in this session");
            return Err(
                Refusal::new("53400", message).hint("Read them to their end, or close them.")
            );
        }
        self.check_places(&caller)?;
        if counted.is_none_or(|at| at.elapsed() > COUNTED_TIME) {
            if let Err(refused) = quota::count(&self.app, &caller) {
                let (problem, _) = *refused;
                return Err(problem.into());
            }
            self.app.stats.postgres_statements.fetch_add(1, Ordering::Relaxed);
        }
        let started = Box::pin(self.within(self.asking(&caller).start(Arc::clone(&sql), values)));
        match started.await {
            Ok(running) => Ok(running),
            Err(refusal) => {
                // What was refused is noted, too: somebody may have tried what they may not.
                self.note(&caller, &sql, refusal.code).await?;
                Err(refusal)
            }
        }
    }

    /// Notes a statement. What only asks the catalogue, or reads nothing, is not noted.
    async fn note(&self, caller: &Caller, sql: &str, status: &str) -> Result<(), Refusal> {
        let text: String = sql.chars().take(NOTED_CHARACTERS).collect();
        let application = self.settings.value("application_name");
        let detail = json!({"status": status, "more": text, "application": application});
        let (what, object) = ("POSTGRES query".to_owned(), format!("/postgres/{}", self.database));
        // What cannot be noted must not go unnoticed.
        Ok(self.app.audit(caller.who(), what, object, detail).await?)
    }
}

/// Why nothing is done in a transaction after its first error.
fn failed_before() -> Refusal {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    Refusal::new("25P02", message).hint("Send ROLLBACK.")
}

/// The settings in what a client says as if on a command line: `-c statement_timeout=5s`.
fn options(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_whitespace()
        .filter_map(|word| word.trim_start_matches("-c").trim_start_matches("--").split_once('='))
}
