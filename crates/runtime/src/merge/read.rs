//! The rows of the sources, in one form, and those that cannot be taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, UInt64Array,
};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use flywheel_base::{Error, Result, Timestamp, suggest};
use flywheel_connect::{
    ColumnType, Keep, MappedColumn, Mapping, MappingConfig, Origin, Page, Position,
};
use flywheel_project::resource::merge::{KeepRule, MergeField, MergeSource};
use flywheel_reconcile::record::{is_blank, same};
use flywheel_warehouse::{Session, TableName, conform, union};
use futures::StreamExt;
use serde_json::Value;

use super::Merging;
use super::stand::merged_keys;
use crate::link::{json_values, moments, texts};

/// What is known of the lake as it is now.
pub(super) struct Lake {
    session: Session,
    /// The names of all tables.
    tables: Vec<String>,
    /// What the tables take that were read whole, in bytes, and what they may take.
    held: AtomicU64,
    most: u64,
}

/// The rows of all sources.
pub(super) struct Sources {
    /// The fields, in the order they are declared.
    pub(super) schema: SchemaRef,
    /// The sources, in the order they are declared.
    pub(super) all: Vec<Source>,
}

/// The rows of one source that can be taken, by key, and those that cannot.
pub(super) struct Source {
    pub(super) name: String,
    /// Rows that were read.
    pub(super) rows: u64,
    /// The fields of each row.
    pub(super) batch: RecordBatch,
    /// The key of each row, each once.
    pub(super) keys: Vec<String>,
    /// When each row was changed last.
    pub(super) changed_at: Vec<Option<Timestamp>>,
    pub(super) aside: Vec<RowAside>,
}

/// A row that was set aside.
pub(super) struct RowAside {
    pub(super) key: Option<String>,
    pub(super) why: String,
}

impl Lake {
    /// Whether there is a table.
    pub(super) fn has(&self, table: &str) -> bool {
        self.tables.iter().any(|known| known == table)
    }

    /// All rows of a table that is merged, led or compared with.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such table, [`flywheel_base::ErrorKind::Exhausted`] if all that
    /// were read take more memory than the merge may; those of the lake.
    pub(super) async fn rows(&self, table: &str) -> Result<RecordBatch> {
        if !self.has(table) {
            let known: Vec<&str> = self.tables.iter().map(String::as_str).collect();
            return Err(Error::not_found(format!("no table \"{table}\" in the lake")).hint(
                format!(
                    "{} A table is there once its sync has landed it, or its model was built.",
                    suggest::hint(table, known)
                ),
            ));
        }
        let query = Box::pin(self.session.query(&all_of(table)?)).await?;
        let mut found = Box::pin(query.stream()).await?;
        let schema = plain(&RecordBatch::new_empty(query.schema()))?.schema();
        let mut batches = Vec::new();
        while let Some(batch) = found.next().await {
            let batch = plain(&batch?)?;
            self.holds(&batch)?;
            batches.push(batch);
        }
        concat_batches(&schema, &batches).map_err(broken)
    }

    /// Counts rows that are held until the run ends.
    fn holds(&self, batch: &RecordBatch) -> Result<()> {
        let bytes = size_of(batch);
        let held = self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if held <= self.most {
            return Ok(());
        }
        let most = match self.most >> 20 {
            0 => format!("{} KiB", self.most >> 10),
            mebibytes => format!("{mebibytes} MiB"),
        };
        Err(Error::exhausted(format!(
            "the rows that the merge has to hold in memory, up to this table, take more than {most}"
        ))
        .hint(
            "Let a model leave out the columns and rows that are not merged, and name it as the table; or raise `memory` in the \
             merge's file, if the machine has several times as much.",
        ))
    }

    /// The rows of a query, in one batch.
    ///
    /// # Errors
    /// Those of the lake.
    pub(super) async fn select(&self, sql: &str) -> Result<RecordBatch> {
        // Boxed, so that callers' futures stay small.
        let query = Box::pin(self.session.query(sql)).await?;
        let batches = Box::pin(query.collect()).await?;
        plain(&concat_batches(&query.schema(), &batches).map_err(broken)?)
    }
}

impl Merging<'_> {
    /// The lake as readers see it now.
    pub(super) async fn lake(&self) -> Result<Lake> {
        let catalog = self.workspace.plain_catalog().await?;
        let tables = catalog.names().map(ToString::to_string).collect();
        let session = self.workspace.lake.session(catalog)?;
        Ok(Lake { session, tables, held: AtomicU64::new(0), most: self.declared.memory.bytes })
    }

    /// Reads every source.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if a table is not there, [`flywheel_base::ErrorKind::Invalid`] if a column
    /// is not or its types do not fit together, [`flywheel_base::ErrorKind::Exhausted`] if they take too much memory,
    /// [`flywheel_base::ErrorKind::Blocked`] if another merge whose keys are followed has not run.
    pub(super) async fn read(&self, lake: &Lake) -> Result<Sources> {
        let mut followed = BTreeMap::new();
        for other in self.declared.others() {
            followed.insert(other.to_owned(), merged_keys(self.workspace, lake, other).await?);
        }
        let mut all = Vec::new();
        for declared in &self.declared.sources {
            let raw = lake.rows(&declared.table).await;
            let about = |error: Error| {
                error.context(format!("source \"{}\", {}", declared.name, declared.table))
            };
            let raw = raw.map_err(about)?;
            all.push(self.source(declared, &raw, &followed).map_err(about)?);
        }
        let schema = self.schema(&all)?;
        for source in &mut all {
            source.batch = conform(&schema, &source.batch)?;
        }
        Ok(Sources { schema, all })
    }

    /// The fields with types that hold the values of all sources.
    fn schema(&self, all: &[Source]) -> Result<SchemaRef> {
        let mut together: SchemaRef = Arc::new(Schema::empty());
        for source in all {
            together = union(&together, &source.batch.schema()).map_err(|error| {
                error.context(format!("source \"{}\"", source.name)).hint(
                    "Declare the type of the field, as in {name: phone, type: text}, so that all sources have it.",
                )
            })?;
        }
        let field = |declared: &MergeField| -> Result<Field> {
            let found = together.field_with_name(&declared.name);
            let found = found.map_err(|_| {
                Error::internal(format!("field \"{}\" is in no source", declared.name))
            })?;
            Ok(found.clone().with_nullable(true))
        };
        let fields = self.declared.fields.iter().map(field).collect::<Result<Vec<Field>>>()?;
        Ok(Arc::new(Schema::new(fields)))
    }

    fn source(
        &self,
        declared: &MergeSource,
        raw: &RecordBatch,
        followed: &BTreeMap<String, Keys>,
    ) -> Result<Source> {
        let rows = raw.num_rows();
        let keys = keys(raw, &declared.key)?;
        let changed = match &declared.changed_at {
            Some(column) => moments(raw, column)?,
            None => vec![None; rows],
        };
        let (mapped, mut wrong) = self.mapped(declared, raw)?;
        // The rows that the mapping left, which keep their order.
        let left: Vec<usize> = (0..rows).filter(|row| !wrong.contains_key(row)).collect();
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for field in &self.declared.fields {
            if field.column_of(&declared.name).is_none() {
                continue;
            }
            let Some(column) = mapped.column_by_name(&field.name) else {
                return Err(Error::internal(format!("field \"{}\" was not mapped", field.name)));
            };
            let mut mistakes = Vec::new();
            let column = match field.refers_to.as_ref().and_then(|other| followed.get(other)) {
                Some(keys) => followed_to(&declared.name, column, keys)?,
                None => typed(field, column, &mut mistakes)?,
            };
            self.judge_values(field, &column, &mut mistakes)?;
            for (row, why) in mistakes {
                if let Some(row) = left.get(row) {
                    wrong.entry(*row).or_insert(why);
                }
            }
            fields.push(Field::new(&field.name, column.data_type().clone(), true));
            columns.push(column);
        }
        for (row, key) in keys.iter().enumerate() {
            if key.is_none() {
                wrong.insert(row, format!("no value in \"{}\"", declared.key));
            }
        }
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for key in keys.iter().flatten() {
            *times.entry(key.as_str()).or_default() += 1;
        }
        for (row, key) in keys.iter().enumerate() {
            // Which of them is right is not known, so none is taken.
            if key.as_deref().and_then(|key| times.get(key)).is_some_and(|times| *times > 1) {
                wrong.entry(row).or_insert_with(|| {
                    format!("its \"{}\" is that of other rows, too", declared.key)
                });
            }
        }
        let mut taken: Vec<(&str, usize, usize)> = left
            .iter()
            .enumerate()
            .filter(|(_, row)| !wrong.contains_key(*row))
            .filter_map(|(place, row)| Some((keys.get(*row)?.as_deref()?, place, *row)))
            .collect();
        taken.sort_unstable();
        let options = RecordBatchOptions::new().with_row_count(Some(left.len()));
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options).map_err(broken)?;
        let places: UInt64Array = taken.iter().map(|(_, place, _)| Some(*place as u64)).collect();
        Ok(Source {
            name: declared.name.clone(),
            rows: rows as u64,
            batch: take_record_batch(&batch, &places).map_err(broken)?,
            keys: taken.iter().map(|(key, _, _)| (*key).to_owned()).collect(),
            changed_at: taken
                .iter()
                .map(|(_, _, row)| changed.get(*row).copied().flatten())
                .collect(),
            aside: wrong
                .into_iter()
                .map(|(row, why)| RowAside { key: keys.get(row).cloned().flatten(), why })
                .collect(),
        })
    }

    /// The fields of the rows, cleaned, and why rows are not among them, by row.
    fn mapped(
        &self,
        declared: &MergeSource,
        raw: &RecordBatch,
    ) -> Result<(RecordBatch, BTreeMap<usize, String>)> {
        let mut columns = Vec::new();
        for field in &self.declared.fields {
            let Some(from) = field.column_of(&declared.name) else { continue };
            require_column(raw, from)
                .map_err(|error| error.context(format!("field \"{}\"", field.name)))?;
            columns.push(MappedColumn {
                name: field.name.clone(),
                from: Some(from.to_owned()),
                clean: field.clean.clone(),
                ..MappedColumn::default()
            });
        }
        let config = MappingConfig {
            source: "lake".to_owned(),
            columns,
            keep: Keep::Mapped,
            ..MappingConfig::default()
        };
        let mapping = Mapping::new(&config, &|text| self.workspace.project.resolve_secret(text))?;
        let page = mapping.apply(Page {
            batch: raw.clone(),
            // Lines are rows, so that what is rejected is known by its row.
            origin: vec![Origin { row: 0, file: declared.table.clone(), line: 1 }],
            rejected: Vec::new(),
            notices: Vec::new(),
            position: Position(Value::Null),
        })?;
        let mut wrong = BTreeMap::new();
        for rejected in page.rejected {
            let line = rejected.line.and_then(|line| usize::try_from(line).ok());
            let Some(row) = line.and_then(|line| line.checked_sub(1)) else {
                return Err(Error::internal("a row was rejected and nothing says which"));
            };
            let column = rejected.column.unwrap_or_default();
            wrong.insert(row, format!("{column}: {}", rejected.reason));
        }
        Ok((page.batch, wrong))
    }

    /// Refuses values that the rule of a field cannot compare.
    fn judge_values(
        &self,
        field: &MergeField,
        column: &ArrayRef,
        mistakes: &mut Vec<(usize, String)>,
    ) -> Result<()> {
        let keep = field.keep.as_ref().unwrap_or(&self.declared.keep);
        let KeepRule::MostRestrictive { order } = keep else { return Ok(()) };
        for (row, value) in json_values(column)?.iter().enumerate() {
            if !is_blank(value) && !order.iter().any(|known| same(known, value)) {
                mistakes.push((row, format!("{}: none of the values of its order", field.name)));
            }
        }
        Ok(())
    }
}

/// The merged keys of another merge, by source and key there.
pub(super) type Keys = BTreeMap<(String, String), String>;

/// The keys of a column, each as one text whatever type its table has it in; none where there is no key.
///
/// # Errors
/// As [`texts`].
pub(super) fn keys(batch: &RecordBatch, name: &str) -> Result<Vec<Option<String>>> {
    let found = texts(batch, name)?;
    Ok(match batch.column_by_name(name).is_some_and(|column| is_fractional(column.data_type())) {
        true => found.into_iter().map(|key| key.map(|key| whole(&key).to_owned())).collect(),
        false => found,
    })
}

/// Whether values of a type are written with what comes after the point.
fn is_fractional(kind: &DataType) -> bool {
    kind.is_floating() || kind.is_decimal()
}

/// A number as text, a whole one without what comes after the point: systems keep the same keys as 42, 42.0 and 42.00.
fn whole(text: &str) -> &str {
    match text.split_once('.') {
        Some(("-0", zeros)) if zeros.bytes().all(|digit| digit == b'0') => "0",
        Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    }
}

/// The key of a record that no other one is part of.
pub(super) fn own_key(source: &str, key: &str) -> String {
    format!("{source}:{key}")
}

/// Keys of a source in the words of the merge that they refer to.
fn followed_to(source: &str, column: &ArrayRef, keys: &Keys) -> Result<ArrayRef> {
    let (followed, _, _) = led(source, column, Some(keys))?;
    Ok(followed)
}

/// References of a source led to merged keys, or to keys with their source before them, and how many lead to another key
/// now and how many to nothing.
pub(super) fn led(
    source: &str,
    column: &ArrayRef,
    keys: Option<&Keys>,
) -> Result<(ArrayRef, u64, u64)> {
    let texts = cast(column, &DataType::Utf8).map_err(broken)?;
    let fractional = is_fractional(column.data_type());
    let (mut repointed, mut dangling) = (0, 0);
    let mut lead = |value: &str| {
        let value = if fractional { whole(value) } else { value };
        let own = own_key(source, value);
        let Some(keys) = keys else { return own };
        match keys.get(&(source.to_owned(), value.to_owned())) {
            Some(key) => {
                repointed += u64::from(*key != own);
                key.clone()
            }
            None => {
                dangling += 1;
                own
            }
        }
    };
    let values = texts.as_string::<i32>().iter();
    let led: StringArray =
        values.map(|value| value.filter(|text| !text.is_empty()).map(&mut lead)).collect();
    Ok((Arc::new(led), repointed, dangling))
}

/// A column with the declared type; a value that does not fit is a mistake of its row.
fn typed(
    field: &MergeField,
    column: &ArrayRef,
    mistakes: &mut Vec<(usize, String)>,
) -> Result<ArrayRef> {
    let Some(declared) = &field.column_type else { return Ok(Arc::clone(column)) };
    let kind: ColumnType = declared
        .parse()
        .map_err(|error: Error| error.context(format!("field \"{}\"", field.name)))?;
    let made = cast(column, &kind.arrow()).map_err(|error| {
        Error::invalid(format!(
            "field \"{}\" is {} there and cannot be made {declared}",
            field.name,
            column.data_type()
        ))
        .caused_by(error)
        .hint("Declare another type, or make the column in a model.")
    })?;
    if made.null_count() == column.null_count() {
        return Ok(made);
    }
    let text = cast(column, &DataType::Utf8).map_err(broken)?;
    let text = text.as_string::<i32>();
    for row in (0..made.len()).filter(|row| made.is_null(*row) && text.is_valid(*row)) {
        // A blank text is no value.
        if !text.value(row).trim().is_empty() {
            mistakes.push((row, format!("{}: not of type {declared}", field.name)));
        }
    }
    Ok(made)
}

/// Refuses a column that is not there.
pub(super) fn require_column(batch: &RecordBatch, name: &str) -> Result<()> {
    let schema = batch.schema();
    if schema.column_with_name(name).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    Err(Error::invalid(format!("the rows have no column \"{name}\""))
        .hint(suggest::hint(name, known)))
}

/// A batch whose texts and bytes are of one kind, and every column of which may be empty.
fn plain(batch: &RecordBatch) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let wanted = match column.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => Some(DataType::Utf8),
            DataType::BinaryView | DataType::LargeBinary => Some(DataType::Binary),
            DataType::Dictionary(_, value) => Some(value.as_ref().clone()),
            _ => None,
        };
        let column = match wanted {
            Some(wanted) => cast(column, &wanted).map_err(broken)?,
            None => Arc::clone(column),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(broken)
}

/// What the rows of a batch take, in bytes, whatever lies beside them in the same memory.
fn size_of(batch: &RecordBatch) -> u64 {
    if batch.num_rows() == 0 {
        return 0;
    }
    let size = |column: &ArrayRef| {
        let slice = column.to_data().get_slice_memory_size();
        slice.unwrap_or_else(|_| column.get_array_memory_size()) as u64
    };
    batch.columns().iter().map(size).sum()
}

/// A query for all of a table.
pub(super) fn all_of(table: &str) -> Result<String> {
    Ok(format!("select * from {}", quoted(table)?))
}

/// A table's name in SQL, whatever letters it has.
pub(super) fn quoted(table: &str) -> Result<String> {
    let name = TableName::parse(table)?;
    let quote = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
    Ok(format!("{}.{}", quote(&name.schema), quote(&name.name)))
}

pub(super) fn broken(error: ArrowError) -> Error {
    Error::internal("rows of a merge cannot be put together").caused_by(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array, Int64Array};

    use super::*;

    #[test]
    fn keys_of_different_types_are_the_same_text() {
        let keys = |column: ArrayRef| {
            let batch = RecordBatch::try_from_iter([("id", column)]).unwrap();
            keys(&batch, "id").unwrap().into_iter().flatten().collect::<Vec<_>>()
        };
        let decimals = Decimal128Array::from(vec![4200, 4250]);
        let decimals = decimals.with_precision_and_scale(10, 2).unwrap();
        assert_eq!(keys(Arc::new(Int64Array::from(vec![42]))), ["42"]);
        assert_eq!(keys(Arc::new(Float64Array::from(vec![42.0, -0.0, 42.5]))), ["42", "0", "42.5"]);
        assert_eq!(keys(Arc::new(decimals)), ["42", "42.50"]);
        // A text is what somebody wrote.
        assert_eq!(keys(Arc::new(StringArray::from(vec!["42.0"]))), ["42.0"]);

        let known = Keys::from([(("north".to_owned(), "42".to_owned()), "north:7".to_owned())]);
        let references: ArrayRef = Arc::new(Float64Array::from(vec![42.0]));
        let (led, repointed, dangling) = led("north", &references, Some(&known)).unwrap();
        assert_eq!((led.as_string::<i32>().value(0), repointed, dangling), ("north:7", 1, 0));
    }
}
