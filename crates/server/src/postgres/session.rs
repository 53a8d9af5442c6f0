//! A client's session: its settings, its transaction, what it prepared, and the messages in which it asks.
//!
//! A transaction is a bracket around reads: it has a state that clients are told, and no effect on what is read. An error in it
//! refuses what follows until its end, as clients expect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use flywheel_runtime::access::Reading;
use flywheel_runtime::edit;
use flywheel_warehouse::Parameters;
use flywheel_warehouse::postgres::{Command, Fetch, Form, Kind, constant, data_rows, split};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant as At, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Place;
use super::frame::{MESSAGE_BYTES_MAX, Message, Stop, Wire, broken, put_text};
use super::refusal::Refusal;
use super::running::{Asking, Column, Piece, Running};
use super::settings::{Settings, TOLD};
use crate::app::App;
use crate::auth::{self, Caller, Proof};
use crate::quota;

/// The longest statement.
const SQL_BYTES_MAX: usize = 256 << 10;
/// Rows of one answer at most.
const ROWS_MAX: usize = 10_000_000;
/// Rows that are written before it is looked whether they are sent.
const ROWS_AT_ONCE: usize = 256;
/// Statements of one script at most.
const SCRIPT_MAX: usize = 1_000;
/// What a client may have prepared at once.
const PREPARED_MAX: usize = 256;
/// Portals that may be open at once, and cursors.
const PORTALS_MAX: usize = 100;
/// Of these, how many may run at once. Each holds a thread, of which all sessions together must leave some to others.
const RUNNING_MAX: usize = 4;
/// Bytes of statements that a client may have prepared at once, and of values that its portals may hold.
const HELD_BYTES_MAX: usize = 8 << 20;
/// How long an answer is kept that nobody reads on.
const UNREAD_TIME: Duration = Duration::from_secs(120);
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
    /// Whether it was closed because nobody read it.
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

/// How an answer in rows ended.
enum Answer {
    Whole(usize),
    /// There may be more than was asked for.
    Part(usize),
}

pub(super) struct Session {
    app: Arc<App>,
    place: Place,
    proof: Proof,
    user: Arc<str>,
    database: Arc<str>,
    settings: Settings,
    transaction: Transaction,
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
        loop {
            if let Some(message) = wire.arrived(MESSAGE_BYTES_MAX)? {
                return Ok(message);
            }
            tokio::select! {
                () = self.app.stop.cancelled() => {
                    return Err(Refusal::fatal("57P01", "the server is stopping").into());
                }
                filled = timeout(LOOK, wire.fill()) => match filled {
                    Ok(filled) => filled?,
                    Err(_) => {
                        self.drop_unread();
                        if since.elapsed() > IDLE_TIME {
                            let message = "the connection was not used for 8 hours";
                            return Err(Refusal::fatal("57P05", message).into());
                        }
                    }
                },
            }
        }
    }

    /// Ends what nobody reads on, with the memory it holds.
    fn drop_unread(&mut self) {
        let unread = |running: &Running| running.read_at.elapsed() > UNREAD_TIME;
        for portal in self.portals.values_mut() {
            if portal.running.as_ref().is_some_and(unread) {
                portal.running = None;
                portal.dropped = true;
            }
        }
        self.cursors.retain(|_, running| !unread(running));
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
        }
        wire.refuse(b'E', why);
    }

    /// What is open outside of a transaction ends with the statements it was opened by.
    fn synced(&mut self) {
        if self.transaction == Transaction::None {
            self.portals.clear();
        }
    }

    /// Begins something that may be stopped and takes its time.
    fn begin(&mut self) {
        self.cancel = self.place.fresh();
        self.deadline = At::now() + self.settings.time();
    }

    /// Answers a script of statements, one after the other up to the first that fails.
    async fn script<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        mut message: Message,
    ) -> Result<(), Stop> {
        let sql = message.body.text()?;
        self.portals.remove("");
        let statements = split(&sql);
        if statements.is_empty() {
            wire.put(b'I', |_| {});
            return Ok(());
        }
        if statements.len() > SCRIPT_MAX {
            let refusal =
                Refusal::new("54000", format!("a script has more than {SCRIPT_MAX} statements"));
            self.failed(wire, &refusal);
            return Ok(());
        }
        for statement in statements {
            self.begin();
            match Box::pin(self.whole(wire, statement)).await {
                Ok(()) => wire.send_much().await?,
                Err(Stop::Refused(refusal)) if !refusal.fatal => {
                    self.failed(wire, &refusal);
                    break;
                }
                Err(stop) => return Err(stop),
            }
        }
        self.synced();
        Ok(())
    }

    /// Answers one statement of a script.
    async fn whole<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        sql: &str,
    ) -> Result<(), Stop> {
        let prepared = self.prepare(sql, Vec::new())?;
        let mut portal = Portal {
            prepared,
            values: Parameters::new(),
            bytes: 0,
            forms: Vec::new(),
            running: None,
            dropped: false,
            done: false,
        };
        if let Some(columns) = self.columns(&mut portal).await? {
            describe(wire, &columns, &[]);
        }
        self.execute(wire, &mut portal, None).await
    }

    /// Takes a statement, without planning it.
    fn prepare(&self, sql: &str, given: Vec<u32>) -> Result<Prepared, Refusal> {
        if sql.len() > SQL_BYTES_MAX {
            let message = format!("the statement is longer than {SQL_BYTES_MAX} bytes");
            return Err(Refusal::new("54000", message));
        }
        let command =
            Command::of(sql).map_err(|error| Refusal { code: "42601", ..Refusal::from(error) })?;
        let query = match &command {
            Command::Query => Some(sql),
            Command::Declare { query, .. } => Some(query.as_str()),
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

    /// The columns of what a portal answers; none if it answers without rows. A query is planned for it.
    async fn columns(&mut self, portal: &mut Portal) -> Result<Option<Vec<Column>>, Refusal> {
        match &portal.prepared.command {
            Command::Query if self.transaction == Transaction::Failed => Err(failed_before()),
            Command::Query => {
                if portal.running.is_none() && !portal.dropped {
                    let sql = Arc::clone(&portal.prepared.sql);
                    let counted = portal.prepared.counted.take();
                    portal.running = Some(self.start(sql, portal.values.clone(), counted).await?);
                }
                Ok(portal.running.as_ref().map(|running| running.columns.clone()))
            }
            Command::Show(name) if name == "all" => {
                Ok(Some(["name", "setting", "description"].map(Column::text).to_vec()))
            }
            Command::Show(name) => Ok(Some(vec![Column::text(name)])),
            Command::Fetch(fetch) => Ok(Some(self.cursor(fetch)?.columns.clone())),
            _ => Ok(None),
        }
    }

    fn cursor(&mut self, fetch: &Fetch) -> Result<&mut Running, Refusal> {
        let missing = || {
            Refusal::new("34000", format!("cursor \"{}\" does not exist", fetch.name))
                .hint("A cursor that nobody reads for two minutes is closed.")
        };
        self.cursors.get_mut(&fetch.name).ok_or_else(missing)
    }

    /// Does what a portal asks for; `most` rows at most.
    async fn execute<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        portal: &mut Portal,
        most: Option<usize>,
    ) -> Result<(), Stop> {
        let command = portal.prepared.command.clone();
        let ends = matches!(command, Command::End(_) | Command::Mark("ROLLBACK") | Command::Empty);
        if self.transaction == Transaction::Failed && !ends {
            return Err(failed_before().into());
        }
        // Who may no longer read is gone at the next statement, whatever it is.
        let caller = self.caller().await?;
        let reading = caller.reading(&self.app.workspace().project);
        match command {
            Command::Query => return Box::pin(self.rows(wire, portal, most, &reading)).await,
            Command::Fetch(fetch) => {
                return Box::pin(self.fetch(wire, portal, &fetch, &reading)).await;
            }
            Command::Empty => wire.put(b'I', |_| {}),
            Command::Begin => {
                self.transaction = Transaction::Open;
                wire.complete("BEGIN");
            }
            Command::End(well) => {
                let well = well && self.transaction != Transaction::Failed;
                if self.transaction != Transaction::None {
                    self.cursors.retain(|_, cursor| cursor.held);
                }
                self.transaction = Transaction::None;
                wire.complete(if well { "COMMIT" } else { "ROLLBACK" });
            }
            Command::Mark(word) => {
                if word == "ROLLBACK" && self.transaction == Transaction::Failed {
                    self.transaction = Transaction::Open;
                }
                wire.complete(word);
            }
            Command::Set { name, value } => {
                self.set(wire, &name, value.as_deref())?;
                wire.complete("SET");
            }
            Command::Show(name) => self.show(wire, &name)?,
            Command::Discard => {
                self.settings.reset();
                self.prepared.clear();
                self.portals.clear();
                self.cursors.clear();
                for (name, key) in TOLD {
                    self.tell_setting(wire, name, key);
                }
                wire.complete(if portal.prepared.sql.trim_start().starts_with(['r', 'R']) {
                    "RESET"
                } else {
                    "DISCARD ALL"
                });
            }
            Command::Deallocate(name) => {
                match name {
                    Some(name) => drop(self.prepared.remove(&name)),
                    None => self.prepared.clear(),
                }
                wire.complete("DEALLOCATE");
            }
            Command::Declare { name, query, hold } => {
                if self.cursors.contains_key(&name) {
                    let message = format!("cursor \"{name}\" already exists");
                    return Err(Refusal::new("42P03", message).into());
                }
                let values = portal.values.clone();
                let mut running = Box::pin(self.start(query.as_str().into(), values, None)).await?;
                self.let_run(&mut running, &query).await?;
                running.held = hold;
                self.cursors.insert(name, running);
                wire.complete("DECLARE CURSOR");
            }
            Command::Close(name) => {
                match name {
                    Some(name) => drop(self.cursors.remove(&name)),
                    None => self.cursors.clear(),
                }
                wire.complete("CLOSE CURSOR");
            }
            Command::Ignored(word) => wire.complete(word),
        }
        portal.done = true;
        Ok(())
    }

    fn set<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), Refusal> {
        if let Some(notice) = self.settings.set(name, value)? {
            wire.refuse(b'N', &notice);
        }
        if let Some((told, key)) = TOLD.iter().find(|(_, key)| *key == name) {
            self.tell_setting(wire, told, key);
        }
        Ok(())
    }

    fn show<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
        name: &str,
    ) -> Result<(), Refusal> {
        // A text is the same in both forms.
        if name == "all" {
            for (name, value) in self.settings.all() {
                text_row(wire, &[name, value, ""]);
            }
        } else {
            let value = self.settings.value(name).ok_or_else(|| {
                let message = format!("unrecognized configuration parameter \"{name}\"");
                Refusal::new("42704", message)
            })?;
            text_row(wire, &[value]);
        }
        wire.complete("SHOW");
        Ok(())
    }

    /// Lets a planned statement run, once it is noted.
    async fn let_run(&self, running: &mut Running, sql: &str) -> Result<(), Refusal> {
        if running.waits() && running.reads {
            let caller = self.caller().await?;
            self.note(&caller, sql, "begun").await?;
        }
        running.go();
        Ok(())
    }

    /// Sends rows of a portal.
    async fn rows<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        portal: &mut Portal,
        most: Option<usize>,
        reading: &Reading,
    ) -> Result<(), Stop> {
        if portal.dropped {
            return Err(Refusal::new(
                "55000",
                "the answer was dropped, since nobody read it on for two minutes",
            )
            .hint("Ask again.")
            .into());
        }
        if portal.done {
            wire.complete("SELECT 0");
            return Ok(());
        }
        self.columns(portal).await?;
        let Some(mut running) = portal.running.take() else {
            return Err(Refusal::new("XX000", "a statement has no plan").into());
        };
        if running.reading != *reading {
            return Err(changed().into());
        }
        let kinds: Vec<Kind> = running.columns.iter().map(|column| column.kind).collect();
        if portal.prepared.told.as_ref().is_some_and(|told| *told != kinds) {
            return Err(Refusal::new("0A000", "cached plan must not change result type")
                .hint("Prepare the statement again.")
                .into());
        }
        let forms = spread(&portal.forms, running.columns.len())?;
        let sql = Arc::clone(&portal.prepared.sql);
        self.let_run(&mut running, &sql).await?;
        match self.send_rows(wire, &mut running, &forms, most).await? {
            Answer::Whole(count) => {
                portal.done = true;
                let word = sql.trim_start().get(..7).unwrap_or_default();
                if word.eq_ignore_ascii_case("explain") {
                    wire.complete("EXPLAIN");
                } else {
                    wire.complete(&format!("SELECT {count}"));
                }
            }
            Answer::Part(_) => {
                portal.running = Some(running);
                wire.put(b's', |_| {});
            }
        }
        Ok(())
    }

    /// Sends rows of a cursor.
    async fn fetch<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        portal: &mut Portal,
        fetch: &Fetch,
        reading: &Reading,
    ) -> Result<(), Stop> {
        self.cursor(fetch)?;
        let Some(mut running) = self.cursors.remove(&fetch.name) else { return Ok(()) };
        if running.reading != *reading {
            return Err(changed().into());
        }
        let forms = spread(&portal.forms, running.columns.len())?;
        let most = fetch.count.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let count = match self.send_rows(wire, &mut running, &forms, most).await? {
            Answer::Whole(count) | Answer::Part(count) => count,
        };
        // A cursor stays open behind its last row.
        self.cursors.insert(fetch.name.clone(), running);
        portal.done = true;
        wire.complete(&format!("FETCH {count}"));
        Ok(())
    }

    /// Sends what is found, as it is found and as fast as it is taken; `most` rows at most.
    async fn send_rows<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        wire: &mut Wire<S>,
        running: &mut Running,
        forms: &[Form],
        most: Option<usize>,
    ) -> Result<Answer, Stop> {
        let mut sent = 0;
        loop {
            running.read_at = Instant::now();
            let room = most.unwrap_or(usize::MAX).saturating_sub(sent);
            if room == 0 {
                return Ok(Answer::Part(sent));
            }
            if running.rest.is_none() {
                running.rest = self.more(wire, running).await?;
            }
            let Some(batch) = running.rest.take() else { return Ok(Answer::Whole(sent)) };
            let count = batch.num_rows().min(ROWS_AT_ONCE).min(room);
            let whole = wire.out.len();
            if let Err(error) = data_rows(&batch.slice(0, count), forms, &mut wire.out) {
                // What was begun is no message.
                wire.out.truncate(whole);
                return Err(Refusal::from(error).into());
            }
            if count < batch.num_rows() {
                running.rest = Some(batch.slice(count, batch.num_rows() - count));
            }
            sent += count;
            running.sent += count;
            if running.sent > ROWS_MAX {
                return Err(Refusal::new(
                    "54000",
                    format!("an answer has more than {ROWS_MAX} rows"),
                )
                .hint("Ask for fewer, such as with LIMIT, or sum them up.")
                .into());
            }
            wire.send_much().await?;
        }
    }

    /// The next rows that are found; none at the end.
    async fn more<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
        running: &mut Running,
    ) -> Result<Option<arrow::array::RecordBatch>, Stop> {
        if running.ended {
            return Ok(None);
        }
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(Refusal::cancelled().into()),
                // Also while there is always more to send.
                () = sleep_until(self.deadline) => {
                    let time = self.settings.time().as_millis();
                    return Err(Refusal::too_long(time).into());
                }
                piece = running.pieces.recv() => match piece {
                    Some(Piece::Rows(batch)) => return Ok(Some(batch)),
                    Some(Piece::End) => {
                        running.ended = true;
                        return Ok(None);
                    }
                    Some(Piece::Failed(error)) => {
                        running.ended = true;
                        return Err(Refusal::from(error).into());
                    }
                    None => {
                        return Err(Refusal::new("XX000", "the statement stopped unexpectedly").into());
                    }
                },
                // Who leaves wants no rows any more.
                filled = wire.fill(), if wire.has_room() => filled?,
            }
        }
    }

    /// One step of the longer way of asking: prepare, bind, describe, execute, close.
    async fn step<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        mut message: Message,
    ) -> Result<(), Stop> {
        self.begin();
        let body = &mut message.body;
        match message.kind {
            b'P' => {
                let (name, sql) = (body.text()?, body.text()?);
                let given: Result<Vec<u32>, Stop> =
                    (0..body.count()?).map(|_| Ok(body.long()?.cast_unsigned())).collect();
                let statements = split(&sql);
                if statements.len() > 1 {
                    let message = "cannot insert multiple commands into a prepared statement";
                    return Err(Refusal::new("42601", message).into());
                }
                let sql = statements.first().copied().unwrap_or_default();
                let prepared = self.prepare(sql, given?)?;
                if !name.is_empty() && self.prepared.contains_key(&name) {
                    let message = format!("prepared statement \"{name}\" already exists");
                    return Err(Refusal::new("42P05", message).into());
                }
                let held: usize = self.prepared.values().map(|one| one.sql.len()).sum();
                if held + sql.len() > HELD_BYTES_MAX {
                    let message =
                        format!("prepared statements hold more than {HELD_BYTES_MAX} bytes");
                    return Err(Refusal::new("53400", message).hint("Deallocate some.").into());
                }
                if !name.is_empty() && self.prepared.len() >= PREPARED_MAX {
                    let message = format!("more than {PREPARED_MAX} statements are prepared");
                    return Err(Refusal::new("53400", message).hint("Deallocate some.").into());
                }
                self.prepared.insert(name, prepared);
                wire.put(b'1', |_| {});
            }
            b'B' => {
                let (name, statement) = (body.text()?, body.text()?);
                let forms = read_forms(body)?;
                let count = body.count()?;
                let mut values = Vec::with_capacity(count.min(1_000));
                for _ in 0..count {
                    values.push(body.value()?);
                }
                let columns = read_forms(body)?;
                Box::pin(self.bind(&name, &statement, &forms, &values, columns)).await?;
                wire.put(b'2', |_| {});
            }
            b'D' => {
                let (what, name) = (body.byte()?, body.text()?);
                match what {
                    b'S' => Box::pin(self.describe_statement(wire, &name)).await?,
                    b'P' => {
                        let mut portal = self.portal(&name)?;
                        let columns = Box::pin(self.columns(&mut portal)).await;
                        let forms = portal.forms.clone();
                        self.portals.insert(name, portal);
                        match columns? {
                            Some(columns) => {
                                describe(wire, &columns, &spread(&forms, columns.len())?);
                            }
                            None => wire.put(b'n', |_| {}),
                        }
                    }
                    _ => return Err(broken("what is described")),
                }
            }
            b'E' => {
                let (name, most) = (body.text()?, body.long()?);
                let most = usize::try_from(most).ok().filter(|most| *most > 0);
                let mut portal = self.portal(&name)?;
                let done = Box::pin(self.execute(wire, &mut portal, most)).await;
                // `DISCARD ALL` has closed this one, too.
                if portal.prepared.command != Command::Discard {
                    self.portals.insert(name, portal);
                }
                done?;
            }
            b'C' => {
                let (what, name) = (body.byte()?, body.text()?);
                match what {
                    b'S' => drop(self.prepared.remove(&name)),
                    b'P' => drop(self.portals.remove(&name)),
                    _ => return Err(broken("what is closed")),
                }
                wire.put(b'3', |_| {});
            }
            _ => return Err(broken("its kind is not known")),
        }
        Ok(())
    }

    /// Takes a portal out, to be put back.
    fn portal(&mut self, name: &str) -> Result<Portal, Refusal> {
        let missing = || Refusal::new("34000", format!("portal \"{name}\" does not exist"));
        self.portals.remove(name).ok_or_else(missing)
    }

    fn statement(&self, name: &str) -> Result<&Prepared, Refusal> {
        let missing =
            || Refusal::new("26000", format!("prepared statement \"{name}\" does not exist"));
        self.prepared.get(name).ok_or_else(missing)
    }

    /// The types of all values of a prepared statement.
    async fn types(&mut self, name: &str) -> Result<Vec<u32>, Refusal> {
        let Prepared { sql, command, given, types, .. } = self.statement(name)?;
        if let Some(types) = types {
            return Ok(types.clone());
        }
        let sql = match command {
            Command::Query => Arc::clone(sql),
            Command::Declare { query, .. } => query.as_str().into(),
            _ => return Ok(given.clone()),
        };
        let mut types = given.clone();
        if sql.contains('$') {
            let caller = self.caller().await?;
            self.check_places(&caller)?;
            let found = self.within(self.asking(&caller).parameters(sql)).await?;
            for (place, kind) in found {
                let number = place
                    .parse::<usize>()
                    .ok()
                    .filter(|number| (1..=usize::from(u16::MAX)).contains(number));
                let Some(number) = number else {
                    let message = format!("${place} is no parameter");
                    return Err(Refusal::new("42P02", message).hint("Write $1, $2 and so on."));
                };
                if types.len() < number {
                    types.resize(number, 0);
                }
                if let Some(told) = types.get_mut(number - 1)
                    && *told == 0
                {
                    *told = kind.as_ref().map_or(Kind::Text, Kind::of).oid();
                }
            }
        }
        for told in types.iter_mut().filter(|told| **told == 0) {
            *told = Kind::Text.oid();
        }
        if let Some(prepared) = self.prepared.get_mut(name) {
            prepared.types = Some(types.clone());
        }
        Ok(types)
    }

    async fn bind(
        &mut self,
        name: &str,
        statement: &str,
        forms: &[Form],
        values: &[Option<bytes::Bytes>],
        columns: Vec<Form>,
    ) -> Result<(), Stop> {
        // It is replaced, and must not be waited for.
        if name.is_empty() {
            self.portals.remove("");
        }
        let failed = self.transaction == Transaction::Failed;
        let types = match failed {
            true => self.statement(statement)?.given.clone(),
            false => self.types(statement).await?,
        };
        let prepared = self.statement(statement)?.clone();
        if values.len() != types.len() && !failed {
            let message = format!(
                "bind message supplies {} parameters, but the prepared statement requires {}",
                values.len(),
                types.len()
            );
            return Err(Refusal::new("08P01", message).into());
        }
        let forms = spread(forms, values.len())?;
        let mut bound = Parameters::new();
        for (at, ((value, oid), form)) in values.iter().zip(&types).zip(forms).enumerate() {
            let value = constant(*oid, form, value.as_deref())
                .map_err(|error| Refusal::from(error.context(format!("${}", at + 1))))?;
            bound.insert((at + 1).to_string(), value);
        }
        if !name.is_empty() && self.portals.contains_key(name) {
            let message = format!("portal \"{name}\" already exists");
            return Err(Refusal::new("42P03", message).into());
        }
        if !name.is_empty() && self.portals.len() >= PORTALS_MAX {
            let message = format!("more than {PORTALS_MAX} portals are open");
            return Err(Refusal::new("53400", message).hint("Close some.").into());
        }
        let bytes: usize = values.iter().flatten().map(bytes::Bytes::len).sum();
        let held: usize = self.portals.values().map(|portal| portal.bytes).sum();
        if held + bytes > HELD_BYTES_MAX {
            let message = format!("portals hold more than {HELD_BYTES_MAX} bytes of values");
            return Err(Refusal::new("53400", message).hint("Close some.").into());
        }
        let portal = Portal {
            prepared,
            values: bound,
            bytes,
            forms: columns,
            running: None,
            dropped: false,
            done: false,
        };
        self.portals.insert(name.to_owned(), portal);
        // What was counted for being described is counted for one answer.
        if let Some(prepared) = self.prepared.get_mut(statement) {
            prepared.counted = None;
        }
        Ok(())
    }

    async fn describe_statement<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        name: &str,
    ) -> Result<(), Stop> {
        if self.statement(name)?.command == Command::Query
            && self.transaction == Transaction::Failed
        {
            return Err(failed_before().into());
        }
        let types = self.types(name).await?;
        let mut values = Parameters::new();
        for (at, oid) in types.iter().enumerate() {
            values.insert(
                (at + 1).to_string(),
                constant(*oid, Form::Text, None).map_err(Refusal::from)?,
            );
        }
        let mut portal = Portal {
            prepared: self.statement(name)?.clone(),
            values,
            bytes: 0,
            forms: Vec::new(),
            running: None,
            dropped: false,
            done: false,
        };
        // It is counted for being described again, and then for what is asked next.
        portal.prepared.counted = None;
        let columns = self.columns(&mut portal).await?;
        let reads = portal.running.is_some();
        let count = i16::try_from(types.len()).map_err(|_| broken("it has too many values"))?;
        wire.put(b't', |out| {
            out.put_i16(count);
            types.iter().for_each(|oid| out.put_u32(*oid));
        });
        match columns {
            Some(columns) => {
                if let Some(prepared) = self.prepared.get_mut(name) {
                    prepared.counted = reads.then(Instant::now);
                    prepared.told = Some(columns.iter().map(|column| column.kind).collect());
                }
                describe(wire, &columns, &[]);
            }
            None => wire.put(b'n', |_| {}),
        }
        Ok(())
    }
}

/// Why nothing is done in a transaction after its first error.
fn failed_before() -> Refusal {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    Refusal::new("25P02", message).hint("Send ROLLBACK.")
}

/// Why an answer that was begun does not go on for a reader who sees something else by now.
fn changed() -> Refusal {
    Refusal::new("55000", "what this user may see has changed since the statement was planned")
        .hint("Ask again.")
}

/// The settings in what a client says as if on a command line: `-c statement_timeout=5s`.
fn options(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_whitespace()
        .filter_map(|word| word.trim_start_matches("-c").trim_start_matches("--").split_once('='))
}

/// Reads codes of forms.
fn read_forms(body: &mut super::frame::Body) -> Result<Vec<Form>, Stop> {
    let count = body.count()?;
    let form = |body: &mut super::frame::Body| {
        let code = body.short()?;
        Form::of(code).ok_or_else(|| broken("a form is not known"))
    };
    (0..count).map(|_| form(body)).collect()
}

/// A form for each of so many: none says texts, and one is for all.
fn spread(forms: &[Form], count: usize) -> Result<Vec<Form>, Refusal> {
    match forms {
        [] => Ok(vec![Form::Text; count]),
        [one] => Ok(vec![*one; count]),
        forms if forms.len() == count => Ok(forms.to_vec()),
        forms => {
            let message = format!("{} forms are given for {count} values", forms.len());
            Err(Refusal::new("08P01", message))
        }
    }
}

/// Tells the columns of an answer.
fn describe<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    columns: &[Column],
    forms: &[Form],
) {
    wire.put(b'T', |out| {
        out.put_i16(i16::try_from(columns.len()).unwrap_or(i16::MAX));
        for (at, column) in columns.iter().enumerate() {
            put_text(out, &column.name);
            // Which table and column it is of is not told.
            out.put_i32(0);
            out.put_i16(0);
            out.put_u32(column.kind.oid());
            out.put_i16(column.kind.size());
            out.put_i32(column.modifier);
            out.put_i16(forms.get(at).copied().unwrap_or_default().code());
        }
    });
}

/// A row of texts.
fn text_row<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>, cells: &[&str]) {
    wire.put(b'D', |out: &mut BytesMut| {
        out.put_i16(i16::try_from(cells.len()).unwrap_or(i16::MAX));
        for cell in cells {
            out.put_i32(i32::try_from(cell.len()).unwrap_or(i32::MAX));
            out.put_slice(cell.as_bytes());
        }
    });
}
