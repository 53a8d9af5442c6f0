//! One write into one target, from its opening to its end; blocking.

use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{ArrayRef, BooleanArray, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flywheel_base::{Error, Result, suggest};

use super::manifest::{Listed, Manifest};
use super::place::Place;
use super::store::{Sealed, Sink, remove_file};
use super::{Encoder, OutputFormat};
use crate::blocking;
use crate::column::{common, wider};
use crate::destination::parquet::{Pack, check_types, encoder as parquet_encoder};
use crate::destination::{Checkpoint, NewTargetColumns, Refused, WriteMode, WriteRequest, Written};
use crate::files::plain_type;

/// A write that is open.
pub(super) struct Session<F> {
    format: Arc<F>,
    place: Place,
    mode: WriteMode,
    new_columns: NewTargetColumns,
    /// The columns as far as they are known without rows.
    schema: SchemaRef,
    manifest: Manifest,
    /// The columns of the target with those that were added since the last commit.
    columns: Vec<(String, String)>,
    open: Option<OpenPart>,
    sealed: Vec<(Sealed, u64)>,
}

struct OpenPart {
    encoder: Box<dyn Encoder>,
    schema: SchemaRef,
    rows: u64,
}

impl<F: OutputFormat> Session<F> {
    /// Opens a target: completes what a crash left half done, removes what it left uncommitted.
    pub(super) fn open(format: Arc<F>, mut place: Place, request: &WriteRequest) -> Result<Self> {
        place.create()?;
        let mut manifest = Manifest::load(&place, &request.app)?;
        manifest.publish(&place)?;
        manifest.enter(&place)?;
        manifest.sweep(&place)?;
        let schema = plain_schema(&request.schema);
        let session = Self {
            format,
            place,
            mode: request.mode,
            new_columns: request.new_columns,
            columns: manifest.columns.clone(),
            schema,
            manifest,
            open: None,
            sealed: Vec::new(),
        };
        let empty = RecordBatch::new_empty(Arc::clone(&session.schema));
        let admitted = session.admit(&empty)?;
        session.check(&admitted.schema())?;
        Ok(session)
    }

    /// Takes rows.
    fn write_rows(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        let batch = self.admit(batch)?;
        if !self.columns_known(&batch) {
            self.check(&batch.schema())?;
        }
        for field in batch.schema().fields() {
            if !self.columns.iter().any(|(name, _)| name == field.name()) {
                self.columns.push((field.name().clone(), field.data_type().to_string()));
            }
        }
        let refused = self.format.refuse(&batch)?;
        let batch = without(batch, &refused)?;
        let mut rest = batch;
        while rest.num_rows() > 0 {
            let room = self.room(&rest)?;
            let count = rest.num_rows().min(usize::try_from(room).unwrap_or(usize::MAX));
            let now = rest.slice(0, count);
            rest = rest.slice(count, rest.num_rows() - count);
            self.add(&now)?;
        }
        Ok(refused)
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        if self.mode == WriteMode::Replace {
            check_types(schema)?;
        }
        self.format.check(schema)
    }

    fn columns_known(&self, batch: &RecordBatch) -> bool {
        let known = |name: &str| self.columns.iter().any(|(column, _)| column == name);
        batch.schema().fields().iter().all(|field| known(field.name()))
    }

    /// The columns of a batch that go into the target, without field metadata.
    fn admit(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = plain_schema(&batch.schema());
        let mut places = Vec::with_capacity(schema.fields().len());
        for (place, field) in schema.fields().iter().enumerate() {
            let known = self.columns.iter().find(|(name, _)| name == field.name());
            match known {
                Some((name, kind)) => {
                    let found = field.data_type().to_string();
                    if *kind != found && self.mode == WriteMode::Append {
                        return Err(Error::invalid(format!(
                            "the column \"{name}\" of {} has type {kind}, but the rows have {found}",
                            self.place.whole()
                        ))
                        .hint(format!(
                            "Declare the column's type in the sync as what {} has, cast it to that, or \
                             write into another path.",
                            self.place.whole()
                        )));
                    }
                    places.push(place);
                }
                None if self.columns.is_empty() => places.push(place),
                None => match self.new_columns {
                    NewTargetColumns::Add => places.push(place),
                    NewTargetColumns::Ignore => {}
                    NewTargetColumns::Fail => {
                        let names = self.columns.iter().map(|(name, _)| name.as_str());
                        let names: Vec<&str> = names.collect();
                        return Err(Error::invalid(format!(
                            "{} has no column \"{}\"",
                            self.place.whole(),
                            field.name()
                        ))
                        .hint(format!(
                            "{} Leave the column out, or let `new_columns` add it.",
                            suggest::hint(field.name(), names)
                        )));
                    }
                },
            }
        }
        let wrong = |error| Error::internal("columns do not form a batch").caused_by(error);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &options)
            .and_then(|batch| batch.project(&places))
            .map_err(wrong)
    }

    /// How many rows the open part takes; closes it if it takes none of these.
    fn room(&mut self, batch: &RecordBatch) -> Result<u64> {
        let Some(rows_max) = F::ROWS_MAX else {
            self.close_other(batch)?;
            return Ok(u64::MAX);
        };
        if self.mode == WriteMode::Replace {
            let staged: u64 = self.manifest.parts.iter().map(|part| part.rows).sum();
            let sealed: u64 = self.sealed.iter().map(|(_, rows)| rows).sum();
            let open = self.open.as_ref().map_or(0, |open| open.rows);
            if staged + sealed + open + batch.num_rows() as u64 > rows_max {
                return Err(Error::exhausted(format!(
                    "{} cannot hold more than {rows_max} rows",
                    self.place.whole()
                ))
                .hint("Write with mode append, which starts another file, or as csv or parquet."));
            }
        }
        self.close_other(batch)?;
        match &self.open {
            Some(open) if self.mode == WriteMode::Append && open.rows >= rows_max => {
                self.close()?;
                Ok(rows_max)
            }
            Some(open) if self.mode == WriteMode::Append => Ok(rows_max - open.rows),
            _ => Ok(rows_max),
        }
    }

    /// Closes a part whose columns are not those of the batch.
    fn close_other(&mut self, batch: &RecordBatch) -> Result<()> {
        match &self.open {
            Some(open) if open.schema != batch.schema() => self.close(),
            _ => Ok(()),
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let schema = batch.schema();
                let sink = self.new_part()?;
                let encoder = match self.mode {
                    // Staged rows can have other columns later, so that the file is made at the end.
                    WriteMode::Replace => parquet_encoder(sink, &schema, Pack::Snappy)?,
                    _ => self.format.start(sink, &schema)?,
                };
                OpenPart { encoder, schema, rows: 0 }
            }
        };
        open.encoder.write(batch)?;
        open.rows += batch.num_rows() as u64;
        self.open = Some(open);
        Ok(())
    }

    fn new_part(&mut self) -> Result<Sink> {
        self.manifest.parts_made += 1;
        Sink::create(&self.place.part(&format!("{:06}.part", self.manifest.parts_made)))
    }

    fn close(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            let sealed = open.encoder.finish()?.seal()?;
            self.sealed.push((sealed, open.rows));
        }
        Ok(())
    }

    /// Commits what was written since the last commit.
    fn commit_rows(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        if self.manifest.has(checkpoint) {
            self.open = None;
            for (sealed, _) in std::mem::take(&mut self.sealed) {
                remove_file(&sealed.path)?;
            }
            self.columns.clone_from(&self.manifest.columns);
            return Ok(Written { skipped: true, ..Written::default() });
        }
        self.close()?;
        let sealed = std::mem::take(&mut self.sealed);
        let rows = sealed.iter().map(|(_, rows)| rows).sum();
        let sequence = checkpoint.sequence;
        if self.mode == WriteMode::Replace {
            for (sealed, rows) in &sealed {
                let part = self.place.keep(sealed)?;
                let listed = Listed::new(String::new(), part, sequence, *rows, sealed);
                self.manifest.parts.push(listed);
            }
            self.manifest.staged = Some(checkpoint.clone());
            self.manifest.save(&self.place)?;
            // The rows count when they are visible.
            return Ok(Written::default());
        }
        for (number, (sealed, rows)) in sealed.iter().enumerate() {
            let name = self.place.appended(sequence, number);
            if self.place.has(&name)? {
                return Err(Error::blocked(format!("the file {name} is there already"))
                    .hint("It is not of this stream: move it away, or write into another path."));
            }
            let part = self.place.keep(sealed)?;
            self.manifest.files.push(Listed::new(name, part, sequence, *rows, sealed));
        }
        self.manifest.committed = Some(checkpoint.clone());
        self.manifest.columns.clone_from(&self.columns);
        self.manifest.obsolete.clear();
        self.manifest.save(&self.place)?;
        self.manifest.publish(&self.place)?;
        Ok(Written { rows_written: rows, ..Written::default() })
    }

    /// Ends the write; a replacement is swapped in.
    fn finish_write(&mut self) -> Result<Written> {
        let Some(staged) = self.manifest.staged.clone() else { return Ok(Written::default()) };
        if self.mode != WriteMode::Replace {
            return Ok(Written::default());
        }
        let parts = std::mem::take(&mut self.manifest.parts);
        let mut files = Vec::new();
        let mut schema = Schema::empty();
        for part in &parts {
            let reader = self.staged(part)?;
            schema = merged(&schema, reader.schema());
            files.push(reader);
        }
        if parts.is_empty() {
            schema = self.schema.as_ref().clone();
        }
        let schema = Arc::new(schema);
        self.format.check(&schema)?;
        let sink = self.new_part()?;
        let mut encoder = self.format.start(sink, &schema)?;
        let mut rows = 0;
        for (part, reader) in parts.iter().zip(files) {
            let damaged = |error: ArrowError| {
                Error::corrupt(format!("the staged rows {} are damaged", part.part))
                    .caused_by(error)
            };
            let batches = reader.build().map_err(|error| damaged(error.into()))?;
            for batch in batches {
                let batch = aligned(&batch.map_err(damaged)?, &schema)?;
                rows += batch.num_rows() as u64;
                encoder.write(&batch)?;
            }
        }
        let sealed = encoder.finish()?.seal()?;
        let whole = self.place.whole();
        let part = self.place.keep(&sealed)?;
        let earlier = std::mem::take(&mut self.manifest.files);
        self.manifest.obsolete =
            earlier.into_iter().map(|file| file.name).filter(|name| *name != whole).collect();
        self.manifest.files = vec![Listed::new(whole, part, staged.sequence, rows, &sealed)];
        self.manifest.files_earlier = 0;
        let columns = schema.fields().iter();
        self.manifest.columns =
            columns.map(|field| (field.name().clone(), field.data_type().to_string())).collect();
        self.manifest.committed = Some(staged);
        self.manifest.staged = None;
        self.manifest.save(&self.place)?;
        self.manifest.publish(&self.place)?;
        for part in &parts {
            self.place.remove_part(&part.part)?;
        }
        Ok(Written { rows_written: rows, ..Written::default() })
    }

    fn staged(&self, part: &Listed) -> Result<ParquetRecordBatchReaderBuilder<File>> {
        let file = self.place.open_part(&part.part)?;
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| {
            Error::corrupt(format!("the staged rows {} are damaged", part.part))
                .caused_by(error)
                .hint("Remove that file's folder and run `flywheel sync NAME --restart`; the old file is untouched.")
        })
    }
}

/// A schema without metadata, every column optional.
fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    Arc::new(Schema::new(
        fields
            .map(|field| Field::new(field.name(), plain_type(field.data_type()), true))
            .collect::<Vec<_>>(),
    ))
}

/// The columns of one schema, then those that only the other has; numbers with types that hold both.
fn merged(schema: &Schema, other: &Schema) -> Schema {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    for field in plain_schema(other).fields() {
        let Some(known) = fields.iter_mut().find(|known| known.name() == field.name()) else {
            fields.push(Arc::clone(field));
            continue;
        };
        let (held, given) = (known.data_type(), field.data_type());
        if let Some(wide) = wider(held, given).filter(|_| held != given) {
            *known = Arc::new(Field::new(field.name(), wide, true));
        }
    }
    Schema::new(fields)
}

impl<F: OutputFormat> blocking::Session for Session<F> {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        self.write_rows(batch)
    }

    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        self.commit_rows(checkpoint)
    }

    fn finish(&mut self) -> Result<Written> {
        self.finish_write()
    }
}

/// A batch with all columns of a schema, and its types where they are wider; what it lacks has no value.
fn aligned(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let changed = |error: ArrowError| {
        Error::invalid("a column changed its type within one replacement")
            .caused_by(error)
            .hint("Declare the column's type in the sync, then start the stream anew.")
    };
    let column = |field: &FieldRef| -> Result<ArrayRef> {
        let wanted = field.data_type();
        let Some(column) = batch.column_by_name(field.name()) else {
            return Ok(new_null_array(wanted, batch.num_rows()));
        };
        let narrower = column.data_type() != wanted
            && common(column.data_type(), wanted).is_some_and(|wide| wide == *wanted);
        if narrower { cast(column, wanted).map_err(changed) } else { Ok(Arc::clone(column)) }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(changed)
}

/// The rows that are not refused.
fn without(batch: RecordBatch, refused: &[Refused]) -> Result<RecordBatch> {
    if refused.is_empty() {
        return Ok(batch);
    }
    let mut keep = vec![true; batch.num_rows()];
    for row in refused {
        if let Some(keep) = keep.get_mut(row.row) {
            *keep = false;
        }
    }
    filter_record_batch(&batch, &BooleanArray::from(keep))
        .map_err(|error| Error::internal("rows cannot be filtered").caused_by(error))
}
