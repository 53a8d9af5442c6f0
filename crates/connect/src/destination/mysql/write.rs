//! An open write into one table.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray as _, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind, Result, suggest, task};

use super::Named;
use super::encode::{Cells, Fit};
use super::refuse;
use super::state::Stage;
use super::table::{self, Table};
use crate::column::Misfit;
use crate::destination::{
    Checkpoint, NewTargetColumns, Refused, WriteMode, WriteRequest, Writer, Written, cannot_widen,
};
use crate::source::mysql::{Connection, Outcome, Server, is_deadlock, quoted};

/// How large a statement is made.
const STATEMENT_BYTES: usize = 1 << 20;

/// How many values a statement takes out of the table it writes: the server opens the table once for each, in a time
/// that grows with their square.
const STATEMENT_KEPT: usize = 200;

/// What a packet holds beside the statement.
const PACKET_REST: usize = 1 << 10;

/// How often rows are written again after another transaction was preferred.
const DEADLOCKS_MAX: usize = 5;

/// Rows that are kept to write them again if they must be; with more, the read has to be repeated.
const PENDING_BYTES_MAX: usize = 256 << 20;

/// A write into one table.
pub(super) struct MySqlWriter {
    server: Server,
    named: Named,
    mode: WriteMode,
    key: Vec<String>,
    deleted: Option<String>,
    new_columns: NewTargetColumns,
    /// Gone after a failure: nothing since the last commit is there then.
    connection: Option<Connection>,
    /// The table that rows go into, of a replacement the staging table.
    table: Table,
    stage: Stage,
    /// The newest number that is committed or staged.
    sequence: Option<i64>,
    /// Whether there is a replacement to swap in.
    staged: Option<Checkpoint>,
    plan: Option<Arc<Plan>>,
    /// The rows since the last commit; none if they became too many to keep.
    pending: Option<Vec<RecordBatch>>,
    pending_bytes: usize,
    in_transaction: bool,
    written: Written,
}

impl Named {
    /// Whether a replacement is staged.
    pub(super) async fn is_staged(&self, connection: &mut Connection) -> Result<bool> {
        table::exists(connection, &self.database, &table::staging(&self.table)?).await
    }
}

/// The columns that rows of `schema` have in the table.
fn stored(schema: &Schema, deleted: Option<&str>) -> Schema {
    let fields = schema.fields().iter().filter(|field| Some(field.name().as_str()) != deleted);
    Schema::new(fields.cloned().collect::<Vec<_>>())
}

impl MySqlWriter {
    /// Makes the table ready.
    pub(super) async fn open(server: Server, named: Named, request: &WriteRequest) -> Result<Self> {
        let mode = request.mode;
        let keyed = matches!(mode, WriteMode::Merge | WriteMode::Mirror);
        if keyed && request.key.is_empty() {
            return Err(Error::invalid(format!(
                "a {mode} into table \"{}\" needs a key",
                named.table
            ))
            .hint("Set the stream's `primary_key`."));
        }
        let deleted = request.deleted.clone().filter(|_| mode == WriteMode::Mirror);
        let schema = stored(&request.schema, deleted.as_deref());
        check_names(&schema)?;
        let mut connection = server.connect().await?;
        named.state.ensure(&mut connection).await?;
        let mut progress = named.state.progress(&mut connection).await?;
        if let Some(staged) = &progress.staged
            && !named.is_staged(&mut connection).await?
        {
            named.state.promote(&mut connection, staged).await?;
            progress.committed = progress.staged.take();
        }
        let committed = progress.committed.as_ref().map(|checkpoint| checkpoint.sequence);
        let (stage, staged) = match mode {
            WriteMode::Replace => (Stage::Staged, progress.staged),
            _ => (Stage::Committed, None),
        };
        let sequence = staged.as_ref().map(|staged| staged.sequence).max(committed);
        let key = if keyed { request.key.clone() } else { Vec::new() };
        let mut table = match mode {
            WriteMode::Replace => {
                let made = request.made_key(&schema);
                staging_table(&mut connection, &named, (&schema, made), staged.is_some()).await?
            }
            _ => match Table::find(&mut connection, &named.database, &named.table).await? {
                Some(table) => table,
                None => {
                    let (database, name) = (&named.database, &named.table);
                    Table::create(&mut connection, database, name, &schema, &key).await?
                }
            },
        };
        table.adapt(&mut connection, &schema, request.new_columns).await?;
        table.check(&schema, mode, &key)?;
        Ok(Self {
            server,
            named,
            mode,
            key,
            deleted,
            new_columns: request.new_columns,
            connection: Some(connection),
            table,
            stage,
            sequence,
            staged,
            plan: None,
            pending: Some(Vec::new()),
            pending_bytes: 0,
            in_transaction: false,
            written: Written::default(),
        })
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        let name = self.server.name();
        self.connection.as_mut().ok_or_else(|| {
            Error::unavailable(format!("the write to {name} failed before and cannot go on"))
                .hint("Open it again: it goes on after the last commit.")
        })
    }

    /// How rows of that schema are written, after the table was given the columns it lacks.
    async fn plan(&mut self, schema: &SchemaRef) -> Result<Arc<Plan>> {
        if let Some(plan) = self.plan.as_ref().filter(|plan| plan.schema == *schema) {
            return Ok(Arc::clone(plan));
        }
        let wanted = stored(schema, self.deleted.as_deref());
        check_names(&wanted)?;
        let lacks = wanted.fields().iter().any(|field| self.table.column(field.name()).is_none());
        if lacks && self.new_columns != NewTargetColumns::Ignore {
            let again = self.in_transaction;
            self.roll_back().await?;
            let (mut table, new_columns) = (self.table.clone(), self.new_columns);
            table.adapt(self.connection()?, &wanted, new_columns).await?;
            self.table = table;
            self.plan = None;
            if again {
                self.write_again().await?;
            }
        }
        self.table.check(&wanted, self.mode, &self.key)?;
        let made = Plan::new(&self.table, schema, self.mode, &self.key, self.deleted.as_deref())?;
        let made = Arc::new(made);
        self.plan = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Gives columns of the table the types that the rows have from here on.
    async fn retype(&mut self, columns: &[String], schema: &SchemaRef) -> Result<()> {
        let mut table = self.table.clone();
        let Some(sql) = table.retyped(self.connection()?, columns, schema).await? else {
            return Ok(());
        };
        match self.new_columns {
            NewTargetColumns::Ignore => return Ok(()),
            NewTargetColumns::Fail => return Err(cannot_widen(&table.name, columns, &sql)),
            NewTargetColumns::Add => {}
        }
        let again = self.in_transaction;
        self.roll_back().await?;
        let altered = table.alter(self.connection()?, &sql).await;
        altered.map_err(|error| match error.kind() {
            ErrorKind::Unavailable => error,
            _ => cannot_widen(&table.name, columns, &sql).caused_by(error),
        })?;
        self.table = table;
        self.plan = None;
        if again {
            self.write_again().await?;
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<()> {
        if !self.in_transaction {
            self.connection()?.run("START TRANSACTION").await?;
            self.in_transaction = true;
        }
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<()> {
        if self.in_transaction {
            self.in_transaction = false;
            self.written = Written::default();
            self.connection()?.run("ROLLBACK").await?;
        }
        Ok(())
    }

    /// Writes the rows since the last commit once more, after a rollback.
    async fn write_again(&mut self) -> Result<()> {
        let Some(batches) = self.pending.clone() else {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the rows for table \"{}\" have to be read again", self.named.table),
            )
            .hint("Commit more often: too many rows were written since the last commit."));
        };
        for _ in 0..DEADLOCKS_MAX {
            if self.insert_all(&batches).await? {
                return Ok(());
            }
            self.in_transaction = false;
            self.written = Written::default();
        }
        Err(self.locked_out())
    }

    /// Writes batches that were written before; false if the server ended the transaction in favour of another.
    async fn insert_all(&mut self, batches: &[RecordBatch]) -> Result<bool> {
        for batch in batches {
            let mut known = self.plan.clone().filter(|plan| plan.schema == batch.schema());
            if known.is_none() {
                let (mode, key) = (self.mode, &self.key);
                let deleted = self.deleted.as_deref();
                let plan = Plan::new(&self.table, &batch.schema(), mode, key, deleted)?;
                known = Some(Arc::new(plan));
            }
            let Some(plan) = known else { continue };
            match self.insert(&plan, batch).await? {
                None => return Ok(false),
                // What was taken before is taken again; other transactions may have come between.
                Some(refused) if refused.is_empty() => {}
                Some(_) => {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("another transaction changed table \"{}\"", self.named.table),
                    ));
                }
            }
        }
        Ok(true)
    }

    /// Writes rows into the open transaction; none if the server ended it in favour of another.
    async fn insert(
        &mut self,
        plan: &Arc<Plan>,
        batch: &RecordBatch,
    ) -> Result<Option<Vec<Refused>>> {
        self.begin().await?;
        let packet_max = self.connection()?.packet_max.saturating_sub(PACKET_REST);
        let (shared, rows) = (Arc::clone(plan), batch.clone());
        let encoded = task::compute(move || shared.encode(&rows, packet_max)).await?;
        let Encoded { sql, entries, mut refused } = encoded;
        let limit = STATEMENT_BYTES.min(packet_max);
        for chunk in chunks(&entries, limit, plan.rows_max()) {
            let mut open: Vec<Range<usize>> = vec![chunk];
            while let Some(range) = open.pop() {
                let Some(part) = entries.get(range.clone()).filter(|part| !part.is_empty()) else {
                    continue;
                };
                let statement = plan.statement(part, &sql);
                match self.connection()?.execute(&statement).await? {
                    Outcome::Done { affected, duplicates } => {
                        self.count(part, affected, duplicates);
                    }
                    Outcome::Deadlock => return Ok(None),
                    Outcome::Error(error) => {
                        let Some(misfit) = refuse::refusal(&error) else {
                            return Err(self.server.fail(error.into()));
                        };
                        match part {
                            [only] => refused.push(plan.refused(only, misfit, &error)),
                            _ => {
                                let middle = range.start + part.len() / 2;
                                open.push(middle..range.end);
                                open.push(range.start..middle);
                            }
                        }
                    }
                }
            }
        }
        refused.sort_by_key(|refused| refused.row);
        Ok(Some(refused))
    }

    fn count(&mut self, part: &[Entry], affected: u64, duplicates: Option<u64>) {
        if part.first().is_some_and(|entry| entry.deleted) {
            // Those that were marked; one that is not there is gone as well.
            self.written.rows_deleted += part.len() as u64;
            return;
        }
        self.written.rows_written += part.len() as u64;
        if !self.key.is_empty() {
            // Of a single row the server tells 2 if it took the place of another.
            self.written.rows_updated += duplicates.unwrap_or_else(|| u64::from(affected == 2));
        }
    }

    async fn write_batch(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        for _ in 0..DEADLOCKS_MAX {
            let plan = self.plan(&batch.schema()).await?;
            let Some(refused) = self.insert(&plan, batch).await? else {
                tracing::warn!(table = %self.named.table, "deadlock, writing again");
                self.in_transaction = false;
                self.written = Written::default();
                self.write_again().await?;
                continue;
            };
            self.keep(batch, &refused)?;
            return Ok(refused);
        }
        Err(self.locked_out())
    }

    /// Keeps the rows that were taken, to write them again if they must be.
    fn keep(&mut self, batch: &RecordBatch, refused: &[Refused]) -> Result<()> {
        let Some(pending) = &mut self.pending else { return Ok(()) };
        let mut kept = batch.clone();
        if !refused.is_empty() {
            let mut mask = vec![true; batch.num_rows()];
            for row in refused.iter().map(|refused| refused.row) {
                if let Some(keep) = mask.get_mut(row) {
                    *keep = false;
                }
            }
            kept = filter_record_batch(batch, &BooleanArray::from(mask)).map_err(|error| {
                Error::internal("refused rows cannot be taken out of a batch").caused_by(error)
            })?;
        }
        self.pending_bytes += kept.get_array_memory_size();
        pending.push(kept);
        if self.pending_bytes > PENDING_BYTES_MAX {
            self.pending = None;
        }
        Ok(())
    }

    async fn commit_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        if self.sequence.is_some_and(|sequence| checkpoint.sequence <= sequence) {
            self.roll_back().await?;
            self.forget();
            return Ok(Written { skipped: true, ..Written::default() });
        }
        for _ in 0..DEADLOCKS_MAX {
            self.begin().await?;
            match self.commit_once(checkpoint).await {
                Ok(()) => {
                    self.in_transaction = false;
                    return Ok(self.committed(checkpoint));
                }
                Err(error) if is_deadlock(&error) => {
                    tracing::warn!(table = %self.named.table, "deadlock, committing again");
                    self.in_transaction = false;
                    self.written = Written::default();
                    self.write_again().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(self.locked_out())
    }

    /// Stores the checkpoint with the rows of the open transaction and ends it.
    async fn commit_once(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let stage = self.stage;
        let known = match stage {
            Stage::Committed => self.sequence,
            Stage::Staged => self.staged.as_ref().map(|staged| staged.sequence),
        };
        let state = self.named.state.clone();
        let connection = self.connection()?;
        let found = state.locked(connection, stage, known.is_some()).await?;
        let stored = match found == known {
            true => state.store(connection, stage, checkpoint, known.is_some()).await?,
            false => false,
        };
        if !stored {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("another writer committed into table \"{}\"", self.named.table),
            )
            .hint("Let one run at a time write a stream."));
        }
        connection.run("COMMIT").await
    }

    /// What the commit of `checkpoint` wrote.
    fn committed(&mut self, checkpoint: &Checkpoint) -> Written {
        self.sequence = Some(checkpoint.sequence);
        let written = std::mem::take(&mut self.written);
        self.forget();
        if self.stage == Stage::Staged {
            self.staged = Some(checkpoint.clone());
            // Rows that are staged count when they are swapped in.
            return Written::default();
        }
        written
    }

    fn locked_out(&self) -> Error {
        let table = &self.named.table;
        Error::new(
            ErrorKind::Conflict,
            format!("other transactions keep locking rows of table \"{table}\""),
        )
        .hint("It is tried again later; let fewer programs write the table at once.")
    }

    fn forget(&mut self) {
        self.pending = Some(Vec::new());
        self.pending_bytes = 0;
        self.written = Written::default();
    }

    /// Swaps the staged table in. The state row tells of it afterwards; until then the missing
    /// staging table does.
    async fn swap(&mut self) -> Result<u64> {
        let staged = self.staged.clone();
        let (database, name) = (self.named.database.clone(), self.named.table.clone());
        let state = self.named.state.clone();
        let connection = self.connection()?;
        let staging = table::full_name(&database, &table::staging(&name)?);
        let target = table::full_name(&database, &name);
        let old = table::full_name(&database, &table::replaced(&name));
        let Some(staged) = staged else {
            connection.run(&format!("DROP TABLE IF EXISTS {staging}")).await?;
            return Ok(0);
        };
        let count: Option<u64> =
            connection.first(&format!("SELECT count(*) FROM {staging}"), ()).await?;
        connection.run(&format!("DROP TABLE IF EXISTS {old}")).await?;
        if table::exists(connection, &database, &name).await? {
            table::check_swap(connection, &database, &name).await?;
            connection
                .run(&format!("RENAME TABLE {target} TO {old}, {staging} TO {target}"))
                .await?;
        } else {
            connection.run(&format!("RENAME TABLE {staging} TO {target}")).await?;
        }
        let mut promoted = state.promote(connection, &staged).await;
        for _ in 1..DEADLOCKS_MAX {
            if !promoted.as_ref().is_err_and(is_deadlock) {
                break;
            }
            promoted = state.promote(connection, &staged).await;
        }
        promoted?;
        connection.run(&format!("DROP TABLE IF EXISTS {old}")).await?;
        Ok(count.unwrap_or_default())
    }

    /// Ends the connection after a failure, which takes back what was not committed.
    fn failed(&mut self, error: Error) -> Error {
        self.connection = None;
        self.in_transaction = false;
        error
    }
}

/// The table a replacement is staged in: the one of an earlier run that is not finished, or a new one
/// like the target.
async fn staging_table(
    connection: &mut Connection,
    named: &Named,
    (schema, key): (&Schema, &[String]),
    resumed: bool,
) -> Result<Table> {
    let (database, name) = (&named.database, table::staging(&named.table)?);
    let target = Table::find(connection, database, &named.table).await?;
    if target.is_some() {
        table::check_swap(connection, database, &named.table).await?;
    }
    if resumed && let Some(table) = Table::find(connection, database, &name).await? {
        return Ok(table);
    }
    connection.run(&format!("DROP TABLE IF EXISTS {}", table::full_name(database, &name))).await?;
    match target {
        Some(_) => Table::create_like(connection, database, &name, &named.table).await,
        None => Table::create(connection, database, &name, schema, key).await,
    }
}

/// MySQL knows no difference between `Name` and `name`.
fn check_names(schema: &Schema) -> Result<()> {
    let mut known: Vec<String> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let lower = field.name().to_lowercase();
        if known.contains(&lower) {
            return Err(Error::invalid(format!(
                "two columns differ from \"{}\" only in upper and lower case",
                field.name()
            ))
            .hint("MySQL takes them for one: rename one in the mapping."));
        }
        known.push(lower);
    }
    Ok(())
}

/// How rows of one schema are written.
struct Plan {
    schema: SchemaRef,
    /// The columns that are written: place in the batch, name, and what the table keeps.
    columns: Vec<(usize, String, Fit)>,
    /// The places of the key's columns among those.
    key: Vec<usize>,
    /// The place of the column that marks deleted rows.
    deleted: Option<usize>,
    /// The columns that the rows do not have and a new row needs.
    lacking: Vec<String>,
    /// What stands before and behind a row's key to keep the value of each of those, where a row of that
    /// key is there: the server looks at what a new row needs before it finds the key.
    kept: Vec<(String, &'static str)>,
    insert: String,
    finish: String,
    delete: String,
    /// Whether the order of rows is kept even between equal keys that differ in their bytes.
    ordered: bool,
}

/// A row as a literal.
#[derive(Clone, Debug)]
struct Entry {
    row: usize,
    sql: Range<usize>,
    deleted: bool,
}

/// A batch as literals.
struct Encoded {
    sql: String,
    entries: Vec<Entry>,
    refused: Vec<Refused>,
}

impl Plan {
    fn new(
        table: &Table,
        schema: &SchemaRef,
        mode: WriteMode,
        key: &[String],
        deleted: Option<&str>,
    ) -> Result<Self> {
        let place = |name: &str| {
            schema.index_of(name).map_err(|_| {
                let known: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                Error::invalid(format!(
                    "the rows for table \"{}\" have no column \"{name}\"",
                    table.name
                ))
                .hint(suggest::hint(name, known))
            })
        };
        let deleted = deleted.map(place).transpose()?;
        let mut columns = Vec::new();
        for (place, field) in schema.fields().iter().enumerate() {
            let known = table.column(field.name()).filter(|_| Some(place) != deleted);
            // What the server computes takes no value.
            if let Some(column) = known.filter(|column| !column.generated) {
                columns.push((place, column.name.clone(), column.fit));
            }
        }
        let mut key_places = Vec::with_capacity(key.len());
        for name in key {
            let wanted = place(name)?;
            key_places.extend(columns.iter().position(|(place, ..)| *place == wanted));
        }
        let target = table.full_name();
        let names: Vec<String> = columns.iter().map(|(_, name, _)| quoted(name)).collect();
        let keys: Vec<&str> =
            key_places.iter().filter_map(|at| names.get(*at).map(String::as_str)).collect();
        let mut finish = String::new();
        if matches!(mode, WriteMode::Merge | WriteMode::Mirror) {
            let mut sets = Vec::new();
            if let Some(first) = keys.first() {
                // ON DUPLICATE KEY means any unique index: without the guard, a row that collides in
                // another one would overwrite a row of another key. NULL in a key is an error.
                let same: Vec<String> =
                    keys.iter().map(|key| format!("{key} = VALUES({key})")).collect();
                sets.push(if table.collides_beside(key) {
                    format!("{first} = IF({}, {first}, NULL)", same.join(" AND "))
                } else {
                    format!("{first} = {first}")
                });
            }
            let others = names.iter().enumerate().filter(|(at, _)| !key_places.contains(at));
            sets.extend(others.map(|(_, name)| format!("{name} = VALUES({name})")));
            finish = format!(" ON DUPLICATE KEY UPDATE {}", sets.join(", "));
        }
        let folds = table.folds(key);
        let list = if keys.len() == 1 { keys.join("") } else { format!("({})", keys.join(", ")) };
        let written = |name: &String| columns.iter().any(|(_, known, _)| known == name);
        let lacking: Vec<String> = table
            .columns
            .iter()
            .filter(|column| column.needed && !written(&column.name))
            .map(|column| column.name.clone())
            .collect();
        let mut kept = Vec::new();
        let mut inserted = names.clone();
        for name in lacking.iter().filter(|_| !finish.is_empty() && !keys.is_empty()) {
            // The server does not read the table it writes, but what was taken out of it before.
            let (name, open) = (quoted(name), if keys.len() == 1 { "" } else { "(" });
            let start = format!(
                ",(SELECT o.{name} FROM (SELECT {name} FROM {target} WHERE {list} = {open}"
            );
            kept.push((
                start,
                if open.is_empty() { " LIMIT 1) AS o)" } else { ") LIMIT 1) AS o)" },
            ));
            inserted.push(name);
        }
        Ok(Self {
            schema: Arc::clone(schema),
            lacking,
            kept,
            insert: format!("INSERT INTO {target} ({}) VALUES ", inserted.join(", ")),
            finish,
            delete: format!("DELETE FROM {target} WHERE {list} IN ("),
            columns,
            key: key_places,
            deleted,
            ordered: folds,
        })
    }

    /// Turns a batch into literals, the last row of each key only.
    fn encode(&self, batch: &RecordBatch, packet_max: usize) -> Result<Encoded> {
        let mut cells = Vec::with_capacity(self.columns.len());
        for (place, name, _) in &self.columns {
            cells.push(Cells::of(name, batch.column(*place))?);
        }
        let marks = self.deleted.map(|place| batch.column(place));
        let marks = match marks {
            Some(marks) => Some(marks.as_boolean_opt().ok_or_else(|| {
                Error::invalid("the column that marks deleted rows is not a boolean")
                    .hint("Turn it into true and false in the mapping.")
            })?),
            None => None,
        };
        let mut encoded = Encoded { sql: String::new(), entries: Vec::new(), refused: Vec::new() };
        let mut newest: HashMap<String, usize> = HashMap::new();
        let mut key = String::new();
        let rest = self.insert.len() + self.finish.len() + self.delete.len();
        for row in 0..batch.num_rows() {
            let deleted = marks
                .is_some_and(|marks| !arrow::array::Array::is_null(marks, row) && marks.value(row));
            let start = encoded.sql.len();
            let taken = self.row(&cells, row, deleted, &mut encoded.sql, &mut key);
            let size = encoded.sql.len() - start;
            let misfit = match taken {
                Ok(()) if size + rest <= packet_max => {
                    if !self.key.is_empty() {
                        let before = newest.insert(key.clone(), encoded.entries.len());
                        if let Some(entry) = before.and_then(|at| encoded.entries.get_mut(at)) {
                            // An empty literal is left out below.
                            entry.sql.end = entry.sql.start;
                        }
                    }
                    let sql = start..encoded.sql.len();
                    encoded.entries.push(Entry { row, sql, deleted });
                    continue;
                }
                Ok(()) => {
                    let reason = "the row is larger than the server's `max_allowed_packet`";
                    (None, Misfit::new("too-long", reason))
                }
                Err(misfit) => misfit,
            };
            encoded.sql.truncate(start);
            let (place, Misfit { code, reason }) = misfit;
            let column = place.and_then(|at| self.columns.get(at)).map(|(_, name, _)| name.clone());
            encoded.refused.push(Refused { row, column, code: code.to_owned(), reason });
        }
        encoded.entries.retain(|entry| !entry.sql.is_empty());
        if !self.ordered {
            // One statement for all deletions; keys are told apart by their bytes here.
            encoded.entries.sort_by_key(|entry| !entry.deleted);
        }
        Ok(encoded)
    }

    /// Writes one row, of a deleted one only its key; `key` becomes the literals of the key.
    fn row(
        &self,
        cells: &[Cells],
        row: usize,
        deleted: bool,
        sql: &mut String,
        key: &mut String,
    ) -> Result<(), (Option<usize>, Misfit)> {
        key.clear();
        for (at, place) in self.key.iter().enumerate() {
            let Some((cells, (_, _, fit))) = cells.get(*place).zip(self.columns.get(*place)) else {
                continue;
            };
            if cells.is_null(row) {
                return Err((Some(*place), Misfit::new("null-value", "no value in a key column")));
            }
            if at > 0 {
                key.push(',');
            }
            cells.literal(row, *fit, key).map_err(|misfit| (Some(*place), misfit))?;
        }
        if deleted {
            let single = self.key.len() == 1;
            sql.push_str(if single { "" } else { "(" });
            sql.push_str(key);
            sql.push_str(if single { "" } else { ")" });
            return Ok(());
        }
        sql.push('(');
        for (place, (cells, (_, _, fit))) in cells.iter().zip(&self.columns).enumerate() {
            if place > 0 {
                sql.push(',');
            }
            cells.literal(row, *fit, sql).map_err(|misfit| (Some(place), misfit))?;
        }
        for (start, end) in &self.kept {
            sql.push_str(start);
            sql.push_str(key);
            sql.push_str(end);
        }
        sql.push(')');
        Ok(())
    }

    /// How many rows a statement has at most.
    fn rows_max(&self) -> usize {
        STATEMENT_KEPT.checked_div(self.kept.len()).map_or(usize::MAX, |rows| rows.max(1))
    }

    /// The statement of rows that are all deleted or all not.
    fn statement(&self, part: &[Entry], sql: &str) -> String {
        let deleted = part.first().is_some_and(|entry| entry.deleted);
        let (start, end) =
            if deleted { (&self.delete, ")") } else { (&self.insert, self.finish.as_str()) };
        let bytes: usize = part.iter().map(|entry| entry.sql.len() + 1).sum();
        let mut statement = String::with_capacity(start.len() + bytes + end.len());
        statement.push_str(start);
        for (at, entry) in part.iter().enumerate() {
            if at > 0 {
                statement.push(',');
            }
            statement.push_str(sql.get(entry.sql.clone()).unwrap_or_default());
        }
        statement.push_str(end);
        statement
    }

    fn refused(&self, entry: &Entry, misfit: Misfit, error: &mysql_async::ServerError) -> Refused {
        let names: Vec<String> = self.columns.iter().map(|(_, name, _)| name.clone()).collect();
        let known: Vec<String> = names.iter().chain(&self.lacking).cloned().collect();
        let column = refuse::column(error, &known);
        let key_names = self.key.iter().filter_map(|at| names.get(*at));
        // The key has a value, so it is the guard that speaks.
        let guard = error.code == 1048
            && column.as_ref().is_some_and(|column| key_names.clone().any(|name| name == column));
        let (misfit, column) = if guard {
            let reason = "another row has the same value in a unique index beside the key";
            (Misfit::new("duplicate-key", reason), None)
        } else {
            (misfit, column)
        };
        let mut reason = misfit.reason;
        if let Some(column) = &column {
            write!(reason, " in column \"{column}\"").unwrap_or_default();
        }
        Refused { row: entry.row, column, code: misfit.code.to_owned(), reason }
    }
}

/// Runs of rows that one statement takes.
fn chunks(entries: &[Entry], bytes_max: usize, rows_max: usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, entry) in entries.iter().enumerate() {
        let other = entries.get(start).is_some_and(|first| first.deleted != entry.deleted);
        let full = at - start >= rows_max || bytes + entry.sql.len() > bytes_max;
        if at > start && (other || full) {
            chunks.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += entry.sql.len() + 1;
    }
    if start < entries.len() {
        chunks.push(start..entries.len());
    }
    chunks
}

#[async_trait]
impl Writer for MySqlWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        match self.write_batch(batch).await {
            Ok(refused) => Ok(refused),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn widen(&mut self, columns: &[String], schema: &SchemaRef) -> Result<()> {
        match self.retype(columns, schema).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        match self.commit_checkpoint(checkpoint).await {
            Ok(written) => Ok(written),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<Written> {
        if let Err(error) = self.roll_back().await {
            return Err(self.failed(error));
        }
        let mut written = Written::default();
        if self.mode == WriteMode::Replace {
            written.rows_written = match self.swap().await {
                Ok(rows) => rows,
                Err(error) => return Err(self.failed(error)),
            };
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
        Ok(written)
    }
}
