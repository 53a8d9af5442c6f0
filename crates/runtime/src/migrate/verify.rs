//! Whether the target of a migration holds what the source holds, row by row.
//!
//! All rows of both sides are read once and summed up; only if the sums differ, the rows of the buckets
//! that differ are read again to find out which. Values are compared as what the mapping makes of the
//! source's, so that two systems that store a value differently and mean the same are equal.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::row::{RowConverter, Rows, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result, digest, task};
use flywheel_connect::source::{ReadRequest, Source, SourceEntry, StreamInfo};
use flywheel_connect::{ColumnType, FILE_COLUMN, LINE_COLUMN, Page};
use flywheel_project::resource::sync::{Read, Stream, Write};
use flywheel_reconcile::document::canonical;
use flywheel_reconcile::sums::{Buckets, Difference, RowDigest, Side, Sums, Suspects};
use flywheel_state::TaskOutcome;
use futures::StreamExt;
use futures::future::try_join;
use futures::stream::BoxStream;
use serde::Serialize;
use serde_json::json;

use super::Moving;
use super::plan::same;
use crate::Workspace;
use crate::mapping::mapping;
use crate::recorder::Observer;
use crate::run::start;
use crate::task::sync::{read_request, resolved};

/// The types of connections that write documents anew when they store them.
const WITH_DOCUMENTS: [&str; 2] = ["postgres", "mysql"];

/// Digits a decimal has while it is compared.
const DECIMAL_DIGITS: u8 = 38;

/// How one stream's two sides compare.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The stream.
    pub stream: String,
    /// Rows of the source, without those that cannot be read.
    pub rows_source: u64,
    /// Rows of the target.
    pub rows_target: u64,
    /// Rows of the source that cannot be read or mapped.
    pub rows_rejected: u64,
    /// Rows of the target that cannot be read.
    pub rows_rejected_target: u64,
    /// The columns that were compared.
    pub columns: Vec<String>,
    /// Those that were not, with the reason.
    pub skipped: Vec<String>,
    /// The sum of the digests of the source's rows, as far as they are compared.
    pub checksum_source: String,
    /// That of the target's rows.
    pub checksum_target: String,
    /// What differs: the left side is the source.
    pub difference: Difference,
    /// Whether rows that only the target has are no difference, as the stream only adds and merges.
    pub extra_allowed: bool,
}

impl Verified {
    /// Whether the target holds what the source holds. A row that cannot be read is not known to be there.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        let Difference { missing, extra, changed, .. } = self.difference;
        let read =
            self.rows_rejected == 0 && (self.rows_rejected_target == 0 || self.extra_allowed);
        read && missing == 0 && changed == 0 && (extra == 0 || self.extra_allowed)
    }
}

/// Compares all streams of the migration by the sync `name`, without the columns of `skip`.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a stream has no column that can be compared;
/// [`flywheel_base::ErrorKind::Exhausted`] if both sides have next to nothing in common; those of the systems.
pub async fn verify(
    workspace: &Workspace,
    name: &str,
    skip: &[String],
    observer: &dyn Observer,
) -> Result<Vec<Verified>> {
    let moving = Moving::named(workspace, name)?;
    let recorder = start(workspace, observer, "migrate")?;
    let (mut all, mut failed) = (Vec::new(), None);
    let listed = listed(&moving).await;
    for stream in &moving.sync.streams {
        let timer = recorder.started("verify", &format!("{name}.{}", stream.stream));
        let result = Box::pin(one(&moving, stream, &listed, skip)).await;
        let settled = recorder.settled(timer, result, |one| {
            let status = if one.is_equal() { "succeeded" } else { "warned" };
            let outcome = TaskOutcome {
                rows_in: Some(one.rows_source),
                rows_out: Some(one.rows_target),
                rows_rejected: Some(one.rows_rejected),
                detail: json!({
                    "missing": one.difference.missing, "extra": one.difference.extra,
                    "changed": one.difference.changed,
                }),
                ..TaskOutcome::default()
            };
            (status.to_owned(), outcome)
        });
        match settled {
            Ok(one) => all.push(one),
            Err(error) => {
                failed = failed.or(Some(error.context(format!("stream \"{}\"", stream.stream))));
            }
        }
    }
    recorder.finish(failed.as_ref())?;
    failed.map_or(Ok(all), Err)
}

/// What the source and the target hold, as far as their types keep documents.
struct Listed {
    here: Vec<StreamInfo>,
    there: Vec<StreamInfo>,
}

/// Lists both systems. What cannot be listed is told by the read.
async fn listed(moving: &Moving<'_>) -> Listed {
    async fn list(found: Result<(&SourceEntry, Box<dyn Source>)>) -> Vec<StreamInfo> {
        match found {
            Ok((entry, source)) if WITH_DOCUMENTS.contains(&entry.name) => {
                source.discover().await.unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }
    Listed {
        here: list(moving.workspace.source_of(moving.sync)).await,
        there: list(moving.workspace.source(moving.to)).await,
    }
}

/// The columns of the target that hold JSON, on either side or as declared.
fn documents(
    stream: &Stream,
    here: Option<&StreamInfo>,
    there: Option<&StreamInfo>,
) -> Vec<String> {
    let json = |info: Option<&StreamInfo>| -> Vec<String> {
        let columns = info.map(|info| info.columns.as_slice()).unwrap_or_default();
        let json = columns.iter().filter(|column| column.kind == ColumnType::Json);
        json.map(|column| column.name.clone()).collect()
    };
    let of_source = json(here).into_iter().flat_map(|name| {
        let mapped = stream.columns.iter().filter(|c| c.value.is_none() && c.source_name() == name);
        let mut names: Vec<String> = mapped.map(|column| column.name.clone()).collect();
        if names.is_empty() {
            names.push(name);
        }
        names
    });
    let declared = stream.columns.iter().filter(|c| c.column_type.as_deref() == Some("json"));
    of_source.chain(declared.map(|column| column.name.clone())).chain(json(there)).collect()
}

async fn one(
    moving: &Moving<'_>,
    stream: &Stream,
    listed: &Listed,
    skip: &[String],
) -> Result<Verified> {
    let whole = Stream { read: Read::Full, ..stream.clone() };
    let mapping = mapping(moving.workspace, moving.sync, &whole)?;
    let now = moving.workspace.now();
    let (_, source) = moving.workspace.source_of(moving.sync)?;
    let (entry, target) = moving.workspace.source(moving.to)?;
    let mut there = moving.target_now(entry, stream)?;
    let options = resolved(moving.workspace, stream, &stream.options)?;
    let documents = documents(
        stream,
        listed.here.iter().find(|info| same(&info.stream, &options)),
        listed.there.iter().find(|info| same(&info.stream, &there)),
    );
    // What is there counts, also where the source's stream would not let it in.
    if let Some(settings) = there.as_object_mut().filter(|_| entry.name == "postgres") {
        settings.insert("allow_nan".to_owned(), true.into());
    }
    let sides = [
        Reading {
            side: "source",
            source,
            request: read_request(moving.workspace, &whole, &mapping, None)?,
            through: Some(Box::new(move |page| mapping.apply(page))),
        },
        Reading {
            side: "target",
            source: target,
            request: ReadRequest::full(there, now),
            through: None,
        },
    ];
    let [left, right] = &sides;
    let asked = Asked {
        name: &stream.stream,
        key: &stream.key,
        skip,
        documents: &documents,
        extra_allowed: matches!(stream.write, Write::Append | Write::Merge),
    };
    compare(left, right, &asked).await
}

/// What is compared.
pub(crate) struct Asked<'a> {
    /// The stream's or table's name.
    pub(crate) name: &'a str,
    /// The columns of the key; without one, a row is its own.
    pub(crate) key: &'a [String],
    /// Columns that are not compared.
    pub(crate) skip: &'a [String],
    /// Columns of texts that hold JSON: what they mean is compared, not how it is written.
    pub(crate) documents: &'a [String],
    /// Whether rows that only the target has are no difference.
    pub(crate) extra_allowed: bool,
}

/// Compares what two sides hold, value by value; the left one is right by definition.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if there is no column that can be compared;
/// [`flywheel_base::ErrorKind::Exhausted`] if both sides have next to nothing in common; those of the systems.
pub(crate) async fn compare(
    left: &Reading<'_>,
    right: &Reading<'_>,
    asked: &Asked<'_>,
) -> Result<Verified> {
    let (of_left, of_right) = try_join(left.columns(), right.columns()).await?;
    let columns = Columns::choose(asked.key, asked.skip, of_left.as_ref(), of_right.as_ref())?;
    let columns = Arc::new(Columns { documents: asked.documents.to_vec(), ..columns });
    let (left_sums, right_sums) = try_join(left.sums(&columns), right.sums(&columns)).await?;
    let difference = match left_sums.sums.differing(&right_sums.sums) {
        None => Difference::default(),
        Some(buckets) => find(left, right, &columns, buckets).await?,
    };
    Ok(Verified {
        stream: asked.name.to_owned(),
        rows_source: left_sums.sums.rows(),
        rows_target: right_sums.sums.rows(),
        rows_rejected: left_sums.rejected,
        rows_rejected_target: right_sums.rejected,
        columns: columns.fields.fields().iter().map(|field| field.name().clone()).collect(),
        skipped: columns.skipped.clone(),
        checksum_source: format!("{:032x}", left_sums.sums.checksum()),
        checksum_target: format!("{:032x}", right_sums.sums.checksum()),
        difference,
        extra_allowed: asked.extra_allowed,
    })
}

/// Reads both sides again and finds the keys.
async fn find(
    left: &Reading<'_>,
    right: &Reading<'_>,
    columns: &Arc<Columns>,
    buckets: Buckets,
) -> Result<Difference> {
    let names = columns.fields.fields().iter().map(|field| field.name().clone()).collect();
    let mut suspects = Suspects::new(buckets, names);
    for (side, reading) in [(Side::Left, left), (Side::Right, right)] {
        let mut pages = reading.pages();
        while let Some(page) = pages.next().await {
            let page = page?;
            if page.batch.num_columns() == 0 {
                continue;
            }
            let (columns, place) = (Arc::clone(columns), reading.side);
            suspects = task::compute(move || {
                let rows = columns.rows(place, &page.batch)?;
                let digests = columns.digests(&rows)?;
                if !digests.iter().any(|digest| suspects.wants(*digest)) {
                    return Ok(suspects);
                }
                let values = columns.alone(&rows)?;
                let names = columns.key_of(&rows);
                let format = FormatOptions::default().with_null("NULL");
                let shown = names
                    .iter()
                    .map(|array| ArrayFormatter::try_new(array.as_ref(), &format))
                    .collect::<std::result::Result<Vec<_>, _>>()
                    .map_err(unreadable)?;
                for (row, digest) in digests.into_iter().enumerate() {
                    let key = || {
                        let values = shown.iter().map(|shown| shown.value(row).to_string());
                        values.collect::<Vec<_>>().join(", ")
                    };
                    let cells = || -> Vec<u64> {
                        let of = |column: &Rows| digest::hash64(&[column.row(row).as_ref()]);
                        values.iter().map(of).collect()
                    };
                    suspects.add(side, digest, key, cells)?;
                }
                Ok(suspects)
            })
            .await?;
        }
    }
    Ok(suspects.difference())
}

/// What becomes of a page before its rows are compared.
pub(crate) type Through<'a> = Box<dyn Fn(Page) -> Result<Page> + Send + Sync + 'a>;

/// One side, to be read as often as needed.
pub(crate) struct Reading<'a> {
    /// How it is called in messages.
    pub(crate) side: &'static str,
    /// What is read.
    pub(crate) source: Box<dyn Source>,
    /// How it is read.
    pub(crate) request: ReadRequest,
    /// What becomes of its pages.
    pub(crate) through: Option<Through<'a>>,
}

/// One side's sums.
#[derive(Default)]
struct Summed {
    sums: Sums,
    rejected: u64,
}

impl Reading<'_> {
    fn pages(&self) -> BoxStream<'_, Result<Page>> {
        let pages = self.source.read(&self.request);
        pages
            .map(|page| match &self.through {
                Some(through) => through(page?),
                None => page,
            })
            .boxed()
    }

    /// The columns of the first page that has any.
    async fn columns(&self) -> Result<Option<SchemaRef>> {
        let mut pages = self.pages();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| error.context(self.side))?;
            if page.batch.num_columns() > 0 {
                return Ok(Some(page.batch.schema()));
            }
        }
        Ok(None)
    }

    async fn sums(&self, columns: &Arc<Columns>) -> Result<Summed> {
        let mut summed = Summed::default();
        let mut pages = self.pages();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| error.context(self.side))?;
            summed.rejected += page.rejected.len() as u64;
            if page.batch.num_rows() == 0 || page.batch.num_columns() == 0 {
                continue;
            }
            let (columns, side) = (Arc::clone(columns), self.side);
            summed = task::compute(move || {
                let rows = columns.rows(side, &page.batch)?;
                for digest in columns.digests(&rows)? {
                    summed.sums.add(digest);
                }
                Ok(summed)
            })
            .await?;
        }
        Ok(summed)
    }
}

/// What is compared, and as what.
struct Columns {
    fields: SchemaRef,
    /// The places of the key's columns.
    key: Vec<usize>,
    skipped: Vec<String>,
    /// The names of those that hold JSON.
    documents: Vec<String>,
}

impl Columns {
    fn choose(
        key: &[String],
        skip: &[String],
        source: Option<&SchemaRef>,
        target: Option<&SchemaRef>,
    ) -> Result<Self> {
        let (mut fields, mut skipped) = (Vec::new(), Vec::new());
        if let Some(wanted) = source.or(target) {
            for field in wanted.fields() {
                let name = field.name();
                if [FILE_COLUMN, LINE_COLUMN].contains(&name.as_str()) {
                    continue;
                }
                let there = target.is_none_or(|t| t.field_with_name(name).is_ok());
                match common(field.data_type()) {
                    _ if skip.contains(name) => skipped.push(format!("{name} (as asked)")),
                    _ if !there => skipped.push(format!("{name} (not in the target)")),
                    None => skipped.push(format!("{name} ({})", field.data_type())),
                    Some(data_type) => fields.push(Field::new(name, data_type, true)),
                }
            }
            if fields.is_empty() {
                return Err(Error::invalid("both sides have no column that can be compared")
                    .hint("Check the stream's `target` and its mapping."));
            }
        }
        let place = |name: &String| {
            fields.iter().position(|field| field.name() == name).ok_or_else(|| {
                Error::invalid(format!("the key column \"{name}\" cannot be compared"))
                    .hint("It has to be in both sides, and not be skipped.")
            })
        };
        let key = match source.is_some() || target.is_some() {
            // Without a key the row is its own.
            true if key.is_empty() => (0..fields.len()).collect(),
            true => key.iter().map(place).collect::<Result<_>>()?,
            false => Vec::new(),
        };
        Ok(Self { fields: Arc::new(Schema::new(fields)), key, skipped, documents: Vec::new() })
    }

    /// The compared columns of a batch, as what they are compared as.
    fn rows(&self, side: &str, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let one = |field: &Arc<Field>| {
            let name = field.name();
            let Some(column) = batch.column_by_name(name) else {
                return Err(Error::invalid(format!(
                    "the {side} has no column \"{name}\" any more"
                )));
            };
            let values =
                cast(column, field.data_type()).map_err(|error| unlike(side, field, error))?;
            if values.null_count() > column.null_count() {
                return Err(Error::invalid(format!(
                    "column \"{name}\" of the {side} has values that are no {}",
                    field.data_type()
                ))
                .hint(format!(
                    "Leave it out with `--skip {name}`, or declare its type in the sync."
                )));
            }
            let texts = values.as_string_opt::<i32>();
            if let Some(texts) = texts.filter(|_| self.documents.contains(name)) {
                let documents = texts.iter().map(|text| text.map(canonical));
                return Ok(Arc::new(documents.collect::<arrow::array::StringArray>()) as ArrayRef);
            }
            Ok(values)
        };
        self.fields.fields().iter().map(one).collect()
    }

    fn key_of(&self, rows: &[ArrayRef]) -> Vec<ArrayRef> {
        self.key.iter().filter_map(|at| rows.get(*at)).map(Arc::clone).collect()
    }

    /// The values of each column for itself.
    fn alone(&self, rows: &[ArrayRef]) -> Result<Vec<Rows>> {
        let one = |column: &ArrayRef| {
            let field = SortField::new(column.data_type().clone());
            let converter = RowConverter::new(vec![field]).map_err(unreadable)?;
            converter.convert_columns(std::slice::from_ref(column)).map_err(unreadable)
        };
        rows.iter().map(one).collect()
    }

    fn digests(&self, rows: &[ArrayRef]) -> Result<Vec<RowDigest>> {
        let of = |columns: &[ArrayRef]| {
            let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
            let converter = RowConverter::new(fields.collect()).map_err(unreadable)?;
            let rows = converter.convert_columns(columns).map_err(unreadable)?;
            Ok::<_, Error>(rows.iter().map(|row| digest::hash128(row.as_ref())).collect::<Vec<_>>())
        };
        let (keys, values) = (of(&self.key_of(rows))?, of(rows)?);
        Ok(keys.into_iter().zip(values).map(|(key, row)| RowDigest { key, row }).collect())
    }
}

fn unlike(side: &str, field: &Field, error: arrow::error::ArrowError) -> Error {
    Error::invalid(format!(
        "column \"{}\" of the {side} cannot be compared as {}",
        field.name(),
        field.data_type()
    ))
    .hint(format!("Leave it out with `--skip {}`.", field.name()))
    .caused_by(error)
}

fn unreadable(error: arrow::error::ArrowError) -> Error {
    Error::internal("rows cannot be compared").caused_by(error)
}

/// What values of a type are compared as, whatever width another system gives them; none for nested
/// ones, which systems write in ways of their own.
pub(crate) fn common(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean => DataType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(DECIMAL_DIGITS, 0),
        DataType::Float32 => DataType::Float32,
        DataType::Float64 => DataType::Float64,
        DataType::Decimal128(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal32(_, scale) => DataType::Decimal128(DECIMAL_DIGITS, *scale),
        DataType::Decimal256(digits, scale) => DataType::Decimal256(*digits, *scale),
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, values) => common(values)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn equal(left: &RecordBatch, right: &RecordBatch) -> Result<bool> {
        let columns =
            Columns::choose(&["id".to_owned()], &[], Some(&left.schema()), Some(&right.schema()))?;
        let digests = |batch| columns.digests(&columns.rows("source", batch)?);
        Ok(digests(left)? == digests(right)?)
    }

    #[test]
    fn what_two_systems_store_differently_and_mean_alike_is_equal() {
        let left = batch(vec![
            ("id", Arc::new(Int32Array::from(vec![1, 2]))),
            (
                "sum",
                Arc::new(
                    Decimal128Array::from(vec![150, 2_000])
                        .with_precision_and_scale(12, 2)
                        .unwrap(),
                ),
            ),
            (
                "at",
                Arc::new(TimestampMicrosecondArray::from(vec![0, 1_500_000]).with_timezone("UTC")),
            ),
        ]);
        let right = batch(vec![
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![0, 1_500_000]))),
            ("sum", Arc::new(StringArray::from(vec!["1.5", "20"]))),
            ("id", Arc::new(Int64Array::from(vec![1, 2]))),
            ("more", Arc::new(Int64Array::from(vec![1, 2]))),
        ]);
        assert!(equal(&left, &right).unwrap());
    }

    #[test]
    fn a_missing_value_is_not_an_empty_text() {
        let one = |note: Option<&str>| {
            batch(vec![
                ("id", Arc::new(Int32Array::from(vec![1]))),
                ("note", Arc::new(StringArray::from(vec![note]))),
            ])
        };
        assert!(!equal(&one(None), &one(Some(""))).unwrap());
        assert!(equal(&one(None), &one(None)).unwrap());
    }

    #[test]
    fn a_value_of_another_type_is_named_instead_of_compared_as_missing() {
        let left = batch(vec![("id", Arc::new(Int32Array::from(vec![1])))]);
        let right = batch(vec![("id", Arc::new(StringArray::from(vec!["x"])))]);
        let error = equal(&left, &right).unwrap_err();
        assert!(error.to_string().contains("\"id\""), "{error}");
    }
}
