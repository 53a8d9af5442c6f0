//! A mapping at work on one page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray,
    StringBuilder,
};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Schema};
use flywheel_base::{Error, Result};

use super::derive::is_gone;
use super::normalise::{Normal, clean_all};
use super::{Keep, Mapped, Mapping, mask, no_column};
use crate::column::{ColumnBuilder, ColumnType, Misfit, Parsing};
use crate::page::{FILE_COLUMN, LINE_COLUMN, Notice, Page, surviving};

/// The rows that do not fit, with the first column that does not.
pub(super) type Misfits = BTreeMap<usize, (String, Misfit)>;

/// One column of the result.
struct Output<'a> {
    name: &'a str,
    /// Its place in the page.
    place: usize,
    /// How it is made; none for a column that lands as it is.
    mapped: Option<&'a Mapped>,
}

impl Mapping {
    /// Makes the rows that land of the rows that were read. A row with a value that has no normal form
    /// moves to [`Page::rejected`]; the others keep their order, their place and their origin. The
    /// position stays. What is hidden in rows is hidden in everything that was rejected.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if two columns would have one name, or a mask is not for
    /// the type of its column.
    pub fn apply(&self, page: Page) -> Result<Page> {
        let mut page = page;
        self.apply_to_rejected(&mut page.rejected);
        if page.batch.num_columns() == 0 || self.is_identity() {
            return Ok(page);
        }
        let schema = page.batch.schema();
        self.check_named(&schema)?;
        let outputs = self.outputs(&schema)?;
        let mut misfits = Misfits::new();
        let mut arrays = Vec::with_capacity(outputs.len());
        for output in &outputs {
            let array = column_at(&page.batch, output.place)?;
            arrays.push(match output.mapped {
                Some(mapped) => clean_column(array, mapped, &mut misfits)
                    .map_err(|error| error.context(format!("column \"{}\"", mapped.name)))?,
                None => Arc::clone(array),
            });
        }
        let mut columns: Vec<(Field, ArrayRef)> = outputs
            .iter()
            .zip(arrays)
            .map(|(output, array)| {
                (schema.field(output.place).clone().with_name(output.name), array)
            })
            .collect();
        let gone = self.gone(&columns);
        let derived = self.derive(&page.batch, &columns, gone.as_ref(), &mut misfits)?;
        let mut mapped: Vec<Option<&Mapped>> = outputs.iter().map(|output| output.mapped).collect();
        for (computed, array) in self.computed.iter().zip(derived.columns) {
            columns.push((Field::new(&computed.mapped.name, DataType::Null, true), array));
            mapped.push(Some(&computed.mapped));
        }
        let left = self.left_out(derived.met.as_ref(), gone.as_ref(), &mut misfits, &mut columns);
        let kept = (!misfits.is_empty() || left.is_some()).then(|| {
            let lands = |row| left.as_ref().is_none_or(|left| !left.contains(&row));
            let rows = (0..page.batch.num_rows())
                .map(|row| Some(!misfits.contains_key(&row) && lands(row)));
            rows.collect::<BooleanArray>()
        });
        for (row, (column, misfit)) in misfits {
            let rejected = self.rejected(&page, row, column, misfit)?;
            page.rejected.push(rejected);
        }
        let mut fields = Vec::with_capacity(columns.len());
        let mut arrays = Vec::with_capacity(columns.len());
        for ((field, mut array), mapped) in columns.into_iter().zip(mapped) {
            if let Some(kept) = &kept {
                array = filter(&array, kept).map_err(internal)?;
            }
            if let Some(mapped) = mapped
                && let Some(mask) = &mapped.mask
            {
                let units = mask.unit().map(|unit| units(&page.batch, unit, kept.as_ref()));
                let units = units.transpose()?;
                warn_if_empty(mapped, &array, &mut page.notices);
                array = mask
                    .column(&array, units.as_ref())
                    .map_err(|error| error.context(format!("column \"{}\"", mapped.name)))?;
            }
            fields.push(field.with_data_type(array.data_type().clone()).with_nullable(true));
            arrays.push(array);
        }
        let rows = kept.as_ref().map_or_else(|| page.batch.num_rows(), BooleanArray::true_count);
        if let Some(kept) = &kept {
            page.origin = surviving(&page.origin, kept);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        page.batch =
            RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
                .map_err(internal)?;
        Ok(page)
    }

    /// Which rows are marked as no longer there.
    fn gone(&self, columns: &[(Field, ArrayRef)]) -> Option<BooleanArray> {
        let marks = self.marks.as_deref()?;
        let (_, array) = columns.iter().find(|(field, _)| field.name() == marks)?;
        array.as_boolean_opt().cloned()
    }

    /// The rows that do not meet the condition and therefore do not land, whether or not they fit. Where
    /// rows are marked as no longer there, they are marked: the target may have them from before.
    fn left_out(
        &self,
        met: Option<&BooleanArray>,
        gone: Option<&BooleanArray>,
        misfits: &mut Misfits,
        columns: &mut [(Field, ArrayRef)],
    ) -> Option<BTreeSet<usize>> {
        let met = met?;
        let mut left = BTreeSet::new();
        for row in (0..met.len()).filter(|row| !is_gone(gone, *row)) {
            let known = met.is_valid(row);
            // Of a row with a value that does not fit it may be unknown only because of that value.
            if (known && met.value(row)) || (!known && misfits.contains_key(&row)) {
                continue;
            }
            misfits.remove(&row);
            left.insert(row);
        }
        let Some(gone) = gone else {
            self.filtered.fetch_add(left.len() as u64, Ordering::Relaxed);
            return (!left.is_empty()).then_some(left);
        };
        let marks: BooleanArray = (0..gone.len())
            .map(|row| Some(is_gone(Some(gone), row) || left.contains(&row)))
            .collect();
        let place = columns.iter_mut().find(|(field, _)| Some(field.name()) == self.marks.as_ref());
        if let Some((_, array)) = place {
            *array = Arc::new(marks);
        }
        None
    }

    /// Refuses columns without names where one that is mapped is not there: it may be one of those, and would
    /// land as it is, or under the name of another.
    fn check_named(&self, schema: &Schema) -> Result<()> {
        let lacks = |column: &&Mapped| {
            let chosen = self.keep == Keep::Mapped && !column.name.starts_with('_');
            let told = chosen || column.mask.is_some() || column.name != column.from;
            told && schema.column_with_name(&column.from).is_none()
        };
        let Some(column) = self.columns.iter().find(lacks) else { return Ok(()) };
        let numbered = schema.fields().iter().find(|field| {
            let place = field.name().strip_prefix("column_");
            place
                .is_some_and(|place| !place.is_empty() && place.bytes().all(|b| b.is_ascii_digit()))
        });
        let Some(numbered) = numbered else { return Ok(()) };
        Err(Error::invalid(format!(
            "the source has no column \"{}\", but columns without names, such as \"{}\"",
            column.from,
            numbered.name()
        ))
        .hint(
            "Where a file has no header, declared columns with a `type` name those of the file in their \
             order: give each one its `type`, or its place, as in `from: column_1`.",
        ))
    }

    /// What becomes of each column of a page.
    fn outputs<'a>(&'a self, schema: &'a Schema) -> Result<Vec<Output<'a>>> {
        let mut outputs = Vec::with_capacity(schema.fields().len());
        for (place, field) in schema.fields().iter().enumerate() {
            let name = field.name().as_str();
            let before = outputs.len();
            outputs.extend(self.of(name).map(|mapped| Output {
                name: &mapped.name,
                place,
                mapped: Some(mapped),
            }));
            if outputs.len() == before && self.lands(name) {
                outputs.push(Output { name, place, mapped: None });
            }
        }
        let mut names = BTreeSet::new();
        let made = self.computed.iter().map(|computed| computed.mapped.name.as_str());
        match outputs.iter().map(|output| output.name).chain(made).find(|name| !names.insert(*name))
        {
            Some(twice) => {
                Err(Error::invalid(format!("two columns would be named \"{twice}\" in the table"))
                    .hint("Give one of them another `name` under `columns`, or drop it."))
            }
            None => Ok(outputs),
        }
    }

    /// Whether a column that is not mapped lands.
    pub(super) fn lands(&self, name: &str) -> bool {
        let lineage = name == FILE_COLUMN || name == LINE_COLUMN;
        !self.drop.contains(name) && (self.keep == Keep::All || lineage)
    }
}

/// Cleans a column and gives it its type. What needs no work is not copied.
fn clean_column(array: &ArrayRef, mapped: &Mapped, misfits: &mut Misfits) -> Result<ArrayRef> {
    let mut cleaned = Arc::clone(array);
    if !mapped.clean.is_empty() {
        let texts = mask::texts(array)?;
        cleaned = clean_texts(&texts, mapped, misfits)?;
    }
    if let Some(kind) = mapped.kind.filter(|_| mapped.typed_here)
        && kind != ColumnType::Text
        && *cleaned.data_type() == DataType::Utf8
    {
        cleaned = typed(cleaned.as_string::<i32>(), kind, mapped, misfits)?;
    }
    if mapped.not_null
        && let Some(nulls) = cleaned.logical_nulls()
    {
        for row in (0..cleaned.len()).filter(|row| nulls.is_null(*row)) {
            misfits.entry(row).or_insert_with(|| {
                let misfit = Misfit::new("null-value", "no value in a column that is required");
                (mapped.from.clone(), misfit)
            });
        }
    }
    Ok(cleaned)
}

fn clean_texts(texts: &ArrayRef, mapped: &Mapped, misfits: &mut Misfits) -> Result<ArrayRef> {
    let values = texts.as_string::<i32>();
    let mut changed: Option<StringBuilder> = None;
    for (row, value) in values.iter().enumerate() {
        let normal = value.map_or(Ok(None), |value| clean_all(&mapped.clean, value));
        let same = match (&normal, value) {
            (Ok(Some(normal)), Some(value)) => normal == value,
            (Ok(None), None) => true,
            _ => false,
        };
        if same && changed.is_none() {
            continue;
        }
        let builder = changed.get_or_insert_with(|| started(values, row));
        push(builder, normal, row, mapped, misfits);
    }
    Ok(changed.map_or_else(|| Arc::clone(texts), |mut builder| Arc::new(builder.finish())))
}

fn push(
    builder: &mut StringBuilder,
    normal: Normal<'_>,
    row: usize,
    mapped: &Mapped,
    misfits: &mut Misfits,
) {
    match normal {
        Ok(normal) => builder.append_option(normal),
        Err(misfit) => {
            misfits.entry(row).or_insert_with(|| (mapped.from.clone(), misfit));
            builder.append_null();
        }
    }
}

/// A builder with the first rows, which needed no work.
fn started(values: &StringArray, rows: usize) -> StringBuilder {
    let bytes = values.value_data().len();
    let mut builder = StringBuilder::with_capacity(values.len(), bytes);
    for value in values.iter().take(rows) {
        builder.append_option(value);
    }
    builder
}

/// Gives texts the type a source would have given them.
fn typed(
    texts: &StringArray,
    kind: ColumnType,
    mapped: &Mapped,
    misfits: &mut Misfits,
) -> Result<ArrayRef> {
    let parsing = Parsing::default();
    let mut builder = ColumnBuilder::new(kind, texts.len());
    for (row, text) in texts.iter().enumerate() {
        let pushed = match text {
            Some(text) => builder.push_text(text, &parsing),
            None => {
                builder.push_null();
                Ok(())
            }
        };
        if let Err(misfit) = pushed {
            misfits.entry(row).or_insert_with(|| (mapped.from.clone(), misfit));
            builder.truncate(row);
            builder.push_null();
        }
    }
    builder.finish(0)
}

/// Says once that a masked column has no values: its name may be wrong, and the right one be seen.
fn warn_if_empty(mapped: &Mapped, array: &ArrayRef, notices: &mut Vec<Notice>) {
    if array.is_empty() || array.logical_null_count() < array.len() || !mapped.first_warning() {
        return;
    }
    notices.push(Notice {
        code: "masked-column-empty".to_owned(),
        file: mapped.from.clone(),
        message: format!(
            "the masked column \"{}\" has no value at all; is it called otherwise in the source?",
            mapped.from
        ),
    });
}

/// The texts of the column whose rows are masked alike.
fn units(batch: &RecordBatch, unit: &str, kept: Option<&BooleanArray>) -> Result<StringArray> {
    let column = batch.column_by_name(unit).ok_or_else(|| {
        let schema = batch.schema_ref();
        let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        no_column(unit, &known)
    })?;
    let texts = mask::texts(column)?;
    let texts = match kept {
        Some(kept) => filter(&texts, kept).map_err(internal)?,
        None => texts,
    };
    Ok(texts.as_string::<i32>().clone())
}

fn column_at(batch: &RecordBatch, place: usize) -> Result<&ArrayRef> {
    batch
        .columns()
        .get(place)
        .ok_or_else(|| Error::internal("a page has fewer columns than its schema"))
}

pub(super) fn internal(error: arrow::error::ArrowError) -> Error {
    Error::internal("a mapped page does not form a batch").caused_by(error)
}
