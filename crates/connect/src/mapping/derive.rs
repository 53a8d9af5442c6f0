//! Columns made by SQL, and the condition that says which rows land.
//!
//! An expression sees a row as it lands, cleaned and typed and not yet masked, and beside it those
//! columns of the source that do not land. Columns are made in the order in which they are declared,
//! so that one can build on those above it. A row for which an expression has no value is set aside by
//! itself: the page is halved until it is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::{DataType, Field, Schema};
use flywheel_base::{Error, Result};

use super::apply::{Misfits, internal};
use super::{Computed, Mapping};
use crate::column::{ColumnType, Misfit};

/// What a misfit of the condition is said to be about.
const CONDITION: &str = "where";

/// Evaluates SQL over rows. This floor has no engine of its own.
pub trait Evaluate: Debug + Send + Sync {
    /// The value of the expression `sql` for every one of `rows`, whose columns it can name.
    ///
    /// # Errors
    /// If it is no expression over these columns, or has no value for one of the rows.
    fn evaluate(&self, sql: &str, rows: &RecordBatch) -> Result<ArrayRef>;
}

/// Rows as expressions see them.
struct Sight {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Sight {
    /// What lands, and what else the source has.
    fn new(page: &RecordBatch, landing: &[(Field, ArrayRef)]) -> Self {
        let mut sight = Self { fields: Vec::new(), arrays: Vec::new() };
        let names: BTreeSet<&str> =
            landing.iter().map(|(field, _)| field.name().as_str()).collect();
        for (field, array) in landing {
            sight.add(field.clone(), Arc::clone(array));
        }
        for (field, array) in page.schema_ref().fields().iter().zip(page.columns()) {
            if !names.contains(field.name().as_str()) {
                sight.add(field.as_ref().clone(), Arc::clone(array));
            }
        }
        sight
    }

    /// Adds a column; one of that name that does not land is seen no more.
    fn add(&mut self, field: Field, array: ArrayRef) {
        let field = field.with_nullable(true).with_data_type(array.data_type().clone());
        let known = self.fields.iter().position(|known| known.name() == field.name());
        let places = known.and_then(|at| self.fields.get_mut(at).zip(self.arrays.get_mut(at)));
        if let Some((known, values)) = places {
            (*known, *values) = (field, array);
            return;
        }
        self.fields.push(field);
        self.arrays.push(array);
    }

    fn rows(&self) -> Result<RecordBatch> {
        let schema = Arc::new(Schema::new(self.fields.clone()));
        RecordBatch::try_new(schema, self.arrays.clone()).map_err(internal)
    }
}

/// What SQL makes of a page.
#[derive(Default)]
pub(super) struct Derived {
    /// The columns that are made, in the order of [`Mapping::computed`].
    pub(super) columns: Vec<ArrayRef>,
    /// Whether each row meets the condition, null where that is unknown; none if there is no condition.
    pub(super) met: Option<BooleanArray>,
}

impl Mapping {
    /// Makes the columns that are declared with SQL, and judges the rows. Rows for which there is no
    /// value are added to `misfits`, except those that are `gone`.
    pub(super) fn derive(
        &self,
        page: &RecordBatch,
        landing: &[(Field, ArrayRef)],
        gone: Option<&BooleanArray>,
        misfits: &mut Misfits,
    ) -> Result<Derived> {
        let mut derived = Derived::default();
        if self.computed.is_empty() && self.condition.is_none() {
            return Ok(derived);
        }
        let engine = self
            .engine
            .as_deref()
            .ok_or_else(|| Error::internal("a mapping with SQL was given no engine"))?;
        let mut sight = Sight::new(page, landing);
        for computed in &self.computed {
            let rows = sight.rows()?;
            let about =
                |error: Error| error.context(format!("column \"{}\"", computed.mapped.name));
            let asked = Asked { engine, sql: &computed.sql, rows: &rows, gone };
            let array = asked.array(&computed.mapped.name, self.hides(), misfits).map_err(about)?;
            let array = self.fitted(computed, &array, gone, misfits).map_err(about)?;
            sight.add(
                Field::new(&computed.mapped.name, array.data_type().clone(), true),
                Arc::clone(&array),
            );
            derived.columns.push(array);
        }
        let Some(condition) = &self.condition else { return Ok(derived) };
        let rows = sight.rows()?;
        let asked = Asked { engine, sql: condition, rows: &rows, gone };
        let about = |error: Error| error.context("where");
        derived.met = Some(asked.condition(self.hides(), misfits).map_err(about)?);
        Ok(derived)
    }

    /// Gives a column that was made its declared type and looks for values that are required.
    fn fitted(
        &self,
        computed: &Computed,
        array: &ArrayRef,
        gone: Option<&BooleanArray>,
        misfits: &mut Misfits,
    ) -> Result<ArrayRef> {
        let name = &computed.mapped.name;
        let mut fitted = Arc::clone(array);
        let wanted = computed.mapped.kind.map(ColumnType::arrow).or_else(|| landing_type(array));
        if let Some(wanted) = wanted.filter(|wanted| wanted != array.data_type()) {
            let options = CastOptions { safe: true, ..CastOptions::default() };
            fitted = cast_with_options(array, &wanted, &options).map_err(|error| {
                Error::invalid(format!("{} cannot become {wanted}", array.data_type()))
                    .hint("Change `type`, or cast in the expression.")
                    .caused_by(error)
            })?;
            for row in (0..array.len()).filter(|row| array.is_valid(*row) && fitted.is_null(*row)) {
                misfits.entry(row).or_insert_with(|| {
                    let reason = format!("the value that is made does not fit the type {wanted}");
                    (name.clone(), Misfit::new("type-mismatch", reason))
                });
            }
        }
        if computed.mapped.not_null {
            for row in (0..fitted.len()).filter(|row| fitted.is_null(*row) && !is_gone(gone, *row))
            {
                misfits.entry(row).or_insert_with(|| {
                    let misfit = Misfit::new("null-value", "no value in a column that is required");
                    (name.clone(), misfit)
                });
            }
        }
        Ok(fitted)
    }
}

/// Whether each of `rows` meets the SQL condition `sql`: null where that is unknown, or where the condition
/// has no value for the row; the numbers of those rows come with the reason.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if it is no condition over these columns.
pub fn judge(
    engine: &dyn Evaluate,
    sql: &str,
    rows: &RecordBatch,
) -> Result<(BooleanArray, BTreeMap<usize, String>)> {
    let mut misfits = Misfits::new();
    let met = Asked { engine, sql, rows, gone: None }.condition(false, &mut misfits)?;
    Ok((met, misfits.into_iter().map(|(row, (_, misfit))| (row, misfit.reason)).collect()))
}

/// The type that a made value without declared type lands with, where it differs from the engine's own.
fn landing_type(array: &ArrayRef) -> Option<DataType> {
    match array.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..) | DataType::Null => {
            Some(DataType::Utf8)
        }
        DataType::BinaryView | DataType::LargeBinary => Some(DataType::Binary),
        _ => None,
    }
}

/// Whether a row is one that is no longer there.
pub(super) fn is_gone(gone: Option<&BooleanArray>, row: usize) -> bool {
    gone.is_some_and(|gone| gone.is_valid(row) && gone.value(row))
}

/// An expression over rows.
struct Asked<'a> {
    engine: &'a dyn Evaluate,
    sql: &'a str,
    rows: &'a RecordBatch,
    gone: Option<&'a BooleanArray>,
}

impl Asked<'_> {
    /// Whether each row meets the condition.
    fn condition(&self, hides: bool, misfits: &mut Misfits) -> Result<BooleanArray> {
        let met = self.array(CONDITION, hides, misfits)?;
        let DataType::Boolean = met.data_type() else {
            return Err(Error::invalid(format!(
                "\"{}\" is no condition: it gives {}",
                self.sql,
                met.data_type()
            ))
            .hint("Compare something, for instance `amount > 0`."));
        };
        Ok(met.as_boolean().clone())
    }

    /// One value for each row; those that have none are misfits, and null here.
    fn array(&self, column: &str, hides: bool, misfits: &mut Misfits) -> Result<ArrayRef> {
        let error = match self.engine.evaluate(self.sql, self.rows) {
            Ok(array) => return Ok(array),
            Err(error) => error,
        };
        // Without rows only an expression that is wrong in itself fails.
        let of_none = self.engine.evaluate(self.sql, &self.rows.slice(0, 0)).map_err(|_| {
            error.hint(
                "Names with capitals stand in double quotes; a column is called as it lands, or as \
                 in the source if it does not land.",
            )
        })?;
        let mut parts = Vec::new();
        self.halves(0..self.rows.num_rows(), of_none.data_type(), &mut parts, &mut |row, error| {
            if is_gone(self.gone, row) {
                return;
            }
            // The engine's words may quote the value.
            let why = if hides { String::new() } else { format!(": {}", error.message()) };
            let reason = format!("the expression has no value for this row{why}");
            misfits
                .entry(row)
                .or_insert_with(|| (column.to_owned(), Misfit::new("no-value", reason)));
        });
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        concat(&parts).map_err(internal)
    }

    /// Evaluates a range, or its halves if it fails, down to the rows that fail.
    fn halves(
        &self,
        range: Range<usize>,
        kind: &DataType,
        parts: &mut Vec<ArrayRef>,
        failed: &mut dyn FnMut(usize, Error),
    ) {
        match self.engine.evaluate(self.sql, &self.rows.slice(range.start, range.len())) {
            Ok(part) => parts.push(part),
            Err(error) if range.len() == 1 => {
                failed(range.start, error);
                parts.push(new_null_array(kind, 1));
            }
            Err(_) => {
                let middle = range.start + range.len() / 2;
                self.halves(range.start..middle, kind, parts, failed);
                self.halves(middle..range.end, kind, parts, failed);
            }
        }
    }
}
