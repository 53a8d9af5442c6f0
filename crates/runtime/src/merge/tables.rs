//! The tables that a merge makes, and writing them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use flywheel_base::{Error, Result, digest};
use flywheel_decision::table::SystemTable;
use flywheel_project::resource::merge::{MergeChild, RECORDS};
use flywheel_state::{Made as MadeOf, MadeKind};
use flywheel_warehouse::{
    Checkpoint, Location, RowStream, TableName, TableState, Write, WriteMode, conform, union,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::find::Found;
use super::read::{Keys, Lake, Sources, all_of, broken, led, require_column};
use super::report::{ChildRows, TableWritten};
use super::stand::{
    CROSSWALK, HISTORY, HistoryRow, REVIEW, ReviewRow, Stands, is_of_form, merged_keys, rows,
};
use super::{Merging, Options};
use crate::access;
use crate::split::Content;
use crate::task::sync::location_of;

/// What a table was given, in the position that is kept with its commit.
const CONTENT: &str = "content";
/// The version that the commit makes, unless another one comes before it.
const VERSION: &str = "version";

/// What a run writes besides what it keeps of itself.
pub(super) struct Made {
    target: RecordBatch,
    /// The tables that refer to the records, by name.
    tables: Vec<(String, RecordBatch)>,
    pub(super) children: Vec<ChildRows>,
}

impl Merging<'_> {
    /// Makes the merged table and those that refer to it.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if what a rule makes does not fit its field, or a column is not there.
    pub(super) async fn make(&self, lake: &Lake, sources: &Sources, found: &Found) -> Result<Made> {
        let target = self.merged(sources, found)?;
        let own: Keys = found
            .groups
            .iter()
            .flat_map(|group| group.members.iter().map(move |member| (member, &group.key)))
            .filter_map(|(member, key)| {
                let of = &found.entries.get(*member)?.key;
                Some(((of.system.clone(), of.id.clone()), key.clone()))
            })
            .collect();
        let (mut tables, mut children) = (Vec::new(), Vec::new());
        for child in &self.declared.children {
            let (batch, told) = self
                .child(lake, child, &own)
                .await
                .map_err(|error| error.context(format!("\"{}\"", child.name)))?;
            tables.push((child.target.clone(), batch));
            children.push(told);
        }
        Ok(Made { target, tables, children })
    }

    /// The merged table: values come from the columns of the sources as they are, but for those that a rule makes.
    fn merged(&self, sources: &Sources, found: &Found) -> Result<RecordBatch> {
        let mut fields = vec![Field::new(&self.declared.key, DataType::Utf8, true)];
        let keys = found.groups.iter().map(|group| Some(group.key.as_str()));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(keys.collect::<StringArray>())];
        for field in sources.schema.fields() {
            columns.push(self.column(field, sources, found)?);
            fields.push(field.as_ref().clone());
        }
        let counts = found.groups.iter().map(|group| Some(group.members.len() as i64));
        columns.push(Arc::new(counts.collect::<Int64Array>()));
        fields.push(Field::new(RECORDS, DataType::Int64, true));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(broken)
    }

    fn column(&self, field: &Field, sources: &Sources, found: &Found) -> Result<ArrayRef> {
        let name = field.name();
        // What is in no source: nothing, and what rules made.
        let mut made = vec![Value::Null];
        let elsewhere = sources.all.len();
        let mut places = Vec::with_capacity(found.groups.len());
        for group in &found.groups {
            let number = match (&group.golden, group.members.as_slice()) {
                (Some(golden), _) => match golden.origins.get(name) {
                    Some(origin) => found.numbers.get(origin).copied(),
                    None => {
                        let value = golden.golden.get(name).filter(|value| !value.is_null());
                        places.push((elsewhere, value.map_or(0, |_| made.len())));
                        made.extend(value.cloned());
                        continue;
                    }
                },
                (None, [alone]) => Some(*alone),
                (None, _) => None,
            };
            let place = number.and_then(|number| found.places.get(number).copied());
            places.push(place.ok_or_else(|| {
                Error::internal(format!("the value of \"{name}\" of a record is nowhere"))
            })?);
        }
        let made = decoded(field, &made)?;
        let mut arrays: Vec<&dyn Array> = Vec::with_capacity(elsewhere + 1);
        for source in &sources.all {
            let column = source.batch.column_by_name(name);
            arrays.push(column.ok_or_else(|| Error::internal("a source lacks a field"))?.as_ref());
        }
        arrays.push(made.as_ref());
        interleave(&arrays, &places).map_err(broken)
    }

    /// The rows of all tables of a child, led to merged keys.
    async fn child(
        &self,
        lake: &Lake,
        child: &MergeChild,
        own: &Keys,
    ) -> Result<(RecordBatch, ChildRows)> {
        let mut others = BTreeMap::new();
        for to in child.references.values() {
            let is_ours = *to == self.declared.merge
                || self.declared.children.iter().any(|child| child.name == *to);
            if !is_ours && !others.contains_key(to) {
                others.insert(to.clone(), merged_keys(self.workspace, lake, to).await?);
            }
        }
        let mut told = ChildRows { table: child.target.clone(), ..ChildRows::default() };
        let mut batches = Vec::new();
        let mut schema: SchemaRef = Arc::new(Schema::empty());
        for table in &child.tables {
            let about = |error: Error| {
                error.context(format!("source \"{}\", {}", table.source, table.table))
            };
            let raw = lake.rows(&table.table).await.map_err(about)?;
            let renamed = renamed(&raw, &table.rename).map_err(about)?;
            let batch = self.led(child, &table.source, &renamed, own, &others, &mut told);
            let batch = batch.map_err(about)?;
            schema = union(&schema, &batch.schema()).map_err(|error| {
                about(error).hint("Rename one of the columns, or give both one type in a model.")
            })?;
            told.rows += batch.num_rows() as u64;
            batches.push(batch);
        }
        let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
        let batches = batches.iter().map(|batch| conform(&schema, batch));
        let batches = batches.collect::<Result<Vec<_>>>()?;
        Ok((concat_batches(&schema, &batches).map_err(broken)?, told))
    }

    /// A child's rows of one source, with its key and its references in the words of the merge.
    fn led(
        &self,
        child: &MergeChild,
        source: &str,
        batch: &RecordBatch,
        own: &Keys,
        others: &BTreeMap<String, Keys>,
        told: &mut ChildRows,
    ) -> Result<RecordBatch> {
        for column in child.key.iter().chain(child.references.keys()) {
            require_column(batch, column)?;
        }
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let name = field.name();
            let column = match child.references.get(name) {
                Some(to) => {
                    let keys = match *to == self.declared.merge {
                        true => Some(own),
                        false => others.get(to),
                    };
                    let (column, repointed, dangling) = led(source, column, keys)?;
                    told.repointed += repointed;
                    told.dangling += dangling;
                    column
                }
                None if child.key.as_ref() == Some(name) => led(source, column, None)?.0,
                None => Arc::clone(column),
            };
            fields.push(Field::new(name, column.data_type().clone(), true));
            columns.push(column);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(broken)
    }

    /// Writes what does not stand yet: the history first, the crosswalk after the tables it speaks of.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Blocked`] if a table holds rows that this merge did not write; those of the lake.
    pub(super) async fn write(
        &self,
        made: Made,
        sources: &Sources,
        found: &Found,
        before: &Stands,
        options: Options<'_>,
    ) -> Result<Vec<TableWritten>> {
        let declared = self.declared;
        if !options.overwrite {
            self.require_own().await?;
        }
        self.keep_origins(options.who).await?;
        if options.overwrite {
            self.replace_history().await?;
        }
        let events = self.events(found, before, options.who);
        self.append(&declared.history(), &HISTORY, &events).await?;
        let mut written = Vec::new();
        for (table, batch) in made.tables {
            written.push(self.swap(&table, batch).await?);
        }
        written.push(self.swap(&declared.target, made.target).await?);
        let crosswalk = CROSSWALK.batch(&self.crosswalk(sources, found, before))?;
        written.push(self.swap(&declared.crosswalk(), crosswalk).await?);
        let name = TableName::parse(&declared.review())?;
        let _alone = self.workspace.lake.alone(&[&name]).await;
        let now = self.reviewed().await?;
        let review = REVIEW.batch(&self.review(found, &before.review, now))?;
        written.push(self.swap(&declared.review(), review).await?);
        Ok(written)
    }

    /// The review as it is now.
    pub(super) async fn reviewed(&self) -> Result<Vec<ReviewRow>> {
        self.rows_of(&self.lake().await?, &self.declared.review(), "").await
    }

    /// Begins the history anew if something else wrote it in a form of its own, to which nothing can be added.
    async fn replace_history(&self) -> Result<()> {
        let table = self.declared.history();
        let head = self.head(&table).await?;
        let Some(head) = head.filter(|head| !head.checkpoints.contains_key(&self.app())) else {
            return Ok(());
        };
        let wanted = HISTORY.schema();
        let has_all =
            wanted.fields().iter().all(|one| head.schema.field_with_name(one.name()).is_ok());
        if has_all && head.schema.fields().len() == wanted.fields().len() {
            match rows::<HistoryRow>(&self.lake().await?, &table, " limit 1").await {
                Ok(_) => return Ok(()),
                Err(error) if is_of_form(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let name = TableName::parse(&table)?;
        let _alone = self.workspace.lake.alone(&[&name]).await;
        self.swap(&table, HISTORY.batch::<HistoryRow>(&[])?).await?;
        Ok(())
    }

    /// Refuses to replace rows that this merge did not write.
    async fn require_own(&self) -> Result<()> {
        for table in self.declared.written() {
            let Some(head) = self.head(&table).await? else { continue };
            let ours = head.checkpoints.contains_key(&self.app());
            if !ours && head.rows != Some(0) {
                return Err(Error::blocked(format!(
                    "table {table} holds rows that merge \"{}\" did not write",
                    self.name
                ))
                .hint("Nothing was written. If they may go, run again with --overwrite; else give the merge another target."));
            }
        }
        Ok(())
    }

    /// Keeps what the tables are made of, so that rules about the sources hold for them when nobody declares the merge any
    /// more, too. It is kept before any row is there.
    pub(super) async fn keep_origins(&self, who: &str) -> Result<()> {
        let (workspace, declared) = (self.workspace, self.declared);
        let mut reads: BTreeSet<String> = declared.read().map(str::to_owned).collect();
        for other in declared.others() {
            let other = workspace.project.merges.get(other);
            reads.extend(other.map(|other| other.crosswalk()));
        }
        let reads = access::lineage(workspace, &workspace.plain_catalog().await?, &reads)?;
        let known = workspace.store.made()?;
        for name in declared.written() {
            let before = known.iter().find(|made| made.name == name);
            if before.is_some_and(|before| reads.is_subset(&before.reads)) {
                continue;
            }
            let all = before.into_iter().flat_map(|before| before.reads.iter().cloned());
            workspace.store.make(&MadeOf {
                reads: all.chain(reads.iter().cloned()).collect(),
                name,
                kind: MadeKind::Table,
                sql: None,
                made_by: who.to_owned(),
                made_at: workspace.now(),
            })?;
        }
        Ok(())
    }

    /// The name under which the merge keeps what its tables hold.
    pub(super) fn app(&self) -> String {
        format!("merge/{}", self.name)
    }

    /// A table as it is now; none if there is none.
    pub(super) async fn head(&self, table: &str) -> Result<Option<TableState>> {
        self.workspace.lake.head(&location(table)?).await
    }

    /// Lets a table be these rows, in one commit; nothing is written if it is.
    pub(super) async fn swap(&self, table: &str, batch: RecordBatch) -> Result<TableWritten> {
        let rows = batch.num_rows() as u64;
        let content = content(&batch)?;
        let head = self.head(table).await?;
        let last = head.as_ref().and_then(|head| head.checkpoints.get(&self.app()));
        if let (Some(head), Some(last)) = (&head, last)
            && last.position.get(CONTENT).and_then(Value::as_str) == Some(content.as_str())
        {
            // Another version may be that of somebody who edited the table, or only of its upkeep.
            let ours = last.position.get(VERSION).and_then(Value::as_i64) == Some(head.version);
            if ours || Box::pin(self.holds(table, &content)).await? {
                return Ok(TableWritten { table: table.to_owned(), rows, stood: true });
            }
        }
        let version = head.as_ref().map_or(0, |head| head.version + 1);
        let position = json!({ CONTENT: content, VERSION: version });
        let sequence = last.map_or(0, |last| last.sequence) + 1;
        let stream = RowStream::from_batches(batch.schema(), vec![batch]);
        let write = Write::new(WriteMode::Replace, stream, format!("merge {}", self.name))
            .checkpoint(self.app(), Checkpoint { sequence, position })
            .add_columns();
        self.workspace.lake.write(&location(table)?, write).await?;
        Ok(TableWritten { table: table.to_owned(), rows, stood: false })
    }

    /// Whether the rows of a table are these, as it is now.
    async fn holds(&self, table: &str, expected: &str) -> Result<bool> {
        // Of itself as much is read as it has: what a run may hold is asked of what it reads.
        let batch = self.lake().await?.select(&all_of(table)?).await?;
        Ok(content(&batch)? == expected)
    }

    /// Adds rows to a table in one commit.
    pub(super) async fn append<R: Serialize>(
        &self,
        table: &str,
        shape: &SystemTable,
        rows: &[R],
    ) -> Result<()> {
        let name = TableName::parse(table)?;
        // Answers come while a run goes on: two commits of one number would be one.
        let _alone = self.workspace.lake.alone(&[&name]).await;
        let head = self.head(table).await?;
        if rows.is_empty() && head.is_some() {
            return Ok(());
        }
        let last = head.as_ref().and_then(|head| head.checkpoints.get(&self.app()));
        let sequence = last.map_or(0, |last| last.sequence) + 1;
        let stream = RowStream::from_batches(shape.schema(), vec![shape.batch(rows)?]);
        let checkpoint = Checkpoint { sequence, position: json!({ "events": sequence }) };
        let write = Write::new(WriteMode::Append, stream, format!("merge {}", self.name))
            .checkpoint(self.app(), checkpoint)
            .add_columns();
        self.workspace.lake.write(&location(table)?, write).await?;
        Ok(())
    }
}

/// Where a table lies.
pub(super) fn location(table: &str) -> Result<Location> {
    location_of(&TableName::parse(table)?)
}

/// What rows hold, in any order, with the names and types of their columns.
fn content(batch: &RecordBatch) -> Result<String> {
    let mut content = Content::default();
    content.add(batch)?;
    let schema = batch.schema();
    let fields = schema.fields().iter();
    let fields = fields.map(|field| format!("{} {}", field.name(), field.data_type()));
    let fields = fields.collect::<Vec<_>>().join("\n");
    Ok(digest::hex(&[fields.as_bytes(), &content.rows.to_le_bytes(), &content.sum.to_le_bytes()]))
}

/// Values as a column of a field.
fn decoded(field: &Field, values: &[Value]) -> Result<ArrayRef> {
    let name = field.name();
    let misfit = |error| {
        Error::invalid(format!(
            "what the rule of field \"{name}\" makes is no {}",
            field.data_type()
        ))
        .caused_by(error)
        .hint("Declare the field's type, or let its expression give what its type holds.")
    };
    let schema = Arc::new(Schema::new(vec![field.clone().with_nullable(true)]));
    let rows = values.iter().map(|value| Map::from_iter([(name.clone(), value.clone())]));
    let rows: Vec<Map<String, Value>> = rows.collect();
    let mut decoder = arrow::json::ReaderBuilder::new(schema)
        .with_batch_size(rows.len().max(1))
        .with_coerce_primitive(true)
        .build_decoder()
        .map_err(misfit)?;
    decoder.serialize(&rows).map_err(misfit)?;
    let batch = decoder.flush().map_err(misfit)?;
    batch
        .and_then(|batch| batch.columns().first().map(Arc::clone))
        .ok_or_else(|| Error::internal("values of a field are no column"))
}

/// A batch with new names of columns.
fn renamed(batch: &RecordBatch, names: &BTreeMap<String, String>) -> Result<RecordBatch> {
    for name in names.keys() {
        require_column(batch, name)?;
    }
    let schema = batch.schema();
    let new = |field: &Arc<Field>| {
        let name = names.get(field.name()).unwrap_or_else(|| field.name()).clone();
        field.as_ref().clone().with_name(name)
    };
    let fields: Vec<Field> = schema.fields().iter().map(new).collect();
    for (at, field) in fields.iter().enumerate() {
        if fields.iter().take(at).any(|other| other.name() == field.name()) {
            return Err(Error::invalid(format!("two columns would be named \"{}\"", field.name()))
                .hint("Give one of them another name under `rename`."));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), batch.columns().to_vec()).map_err(broken)
}
