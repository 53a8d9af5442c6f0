//! `onnx`: a model that the user brings as a file. It is not fitted here, only scored, judged and kept.
//!
//! Its artifact is the file with how its inputs are read, so that what was scored once can be scored again after the file
//! has changed. Rows are scored as they stream by: memory is that of some batches, however many rows there are.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::array::{TimestampMicrosecondArray, new_empty_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};
use flywheel_algo::onnx::{Column, File, Input, Kind, Model, SIZE_MAX, Wanted};
use flywheel_algo::score::quality::auc;
use flywheel_algo::stats::calibration::{calibration_error, log_loss, reliability};
use flywheel_algo::stats::normal;
use flywheel_base::{Error, ErrorKind, Result, digest, statement, suggest, task};
use flywheel_project::resource::learner::{Onnx, Predict};
use flywheel_warehouse::{Checkpoint, Feature, FeatureKind, RowStream, Scorer, Write, WriteMode};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ARTIFACT, Fitted, LearnerEntry, Measure};
use crate::context::{Context, location};
use crate::frame::Frame;
use crate::outcome::literal;
use crate::table::ColumnType::{Moment, Number, Text};
use crate::table::SystemTable;

/// Its entry.
pub(crate) const ENTRY: LearnerEntry = LearnerEntry {
    name: "onnx",
    about: "What a model of your own, brought as an ONNX file, says of each unit.",
    columns: &[
        ("unit_id", Text, "whom the score is about"),
        (
            "score",
            Number,
            "the probability or the number; none where the model answers no finite number, mostly because something is missing",
        ),
        ("scored_at", Moment, "the logical moment"),
        ARTIFACT,
    ],
};

/// The form of artifacts.
const FORM: &str = "onnx-1";
/// Bins of probabilities by which their truth is judged.
const BINS: usize = 10;
/// How sure intervals are.
const CONFIDENCE: f64 = 0.95;
/// Columns of rows and truth that the model does not read.
const NOT_FEATURES: [&str; 4] = ["unit_id", "row_id", "at", "target"];

/// The first line of an artifact; the file follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    form: String,
    output: Option<String>,
    class: Option<String>,
    /// The columns that each input reads, in the order of the inputs.
    inputs: Vec<Vec<String>>,
}

/// A model and the columns that it reads.
#[derive(Debug)]
struct Brought {
    model: Model,
    features: Vec<Feature>,
}

impl Stored {
    fn wanted(&self) -> Wanted {
        Wanted { output: self.output.clone(), class: self.class.clone() }
    }

    fn brought(&self, file: File) -> Result<Brought> {
        let widths: Vec<usize> = self.inputs.iter().map(Vec::len).collect();
        let kinds: Vec<Kind> = file.inputs().iter().map(|input| input.kind).collect();
        let model = file.model(&widths, &self.wanted())?;
        let mut features = Vec::new();
        for (columns, kind) in self.inputs.iter().zip(kinds) {
            let kind = match kind {
                Kind::Text => FeatureKind::Text,
                Kind::Number | Kind::Integer | Kind::Flag => FeatureKind::Number,
            };
            features.extend(columns.iter().map(|name| Feature { name: name.clone(), kind }));
        }
        if let Some(twice) = twice(&features) {
            return Err(Error::invalid(format!("column \"{twice}\" is read twice"))
                .hint("Select it under two names, and give each input one of them."));
        }
        Ok(Brought { model, features })
    }

    fn bytes(&self, file: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)
            .map_err(|e| Error::internal("how a model is read is no JSON").caused_by(e))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(file);
        Ok(bytes)
    }
}

fn twice(features: &[Feature]) -> Option<&str> {
    let twice =
        |(at, one): (usize, &Feature)| features.iter().take(at).any(|other| other.name == one.name);
    let found = features.iter().enumerate().find(|(at, one)| twice((*at, one)));
    found.map(|(_, one)| one.name.as_str())
}

/// Reads the bytes of an artifact.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if they are no model that was scored before.
pub(crate) fn scorer(bytes: &[u8]) -> Result<Arc<dyn Scorer>> {
    let broken = |error: Error| {
        Error::corrupt("the artifact of an ONNX model is not as it was written")
            .hint("Store it again: `flywheel learn`.")
            .caused_by(error)
    };
    let read = || {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (head, file) = bytes.split_at(end.unwrap_or(bytes.len()));
        let stored: Stored = serde_json::from_slice(head)
            .map_err(|e| Error::corrupt("its first line cannot be read").caused_by(e))?;
        if stored.form != FORM {
            return Err(Error::corrupt(format!("its form is \"{}\", not \"{FORM}\"", stored.form)));
        }
        let file = File::read(file.get(1..).unwrap_or_default(), &stored.wanted())?;
        stored.brought(file)
    };
    Ok(Arc::new(read().map_err(broken)?))
}

impl Brought {
    /// The scores of rows; `NaN` where there is none.
    fn scores(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<f64>> {
        let owned: Vec<Cells> = columns.iter().map(cells).collect();
        let columns: Vec<Column<'_>> = owned
            .iter()
            .map(|cells| match cells {
                Cells::Numbers(values) => Column::Numbers(values),
                Cells::Texts(values) => Column::Texts(values),
            })
            .collect();
        self.model.scores(&columns, rows)
    }
}

enum Cells {
    Numbers(Vec<f64>),
    Texts(Vec<String>),
}

fn cells(column: &ArrayRef) -> Cells {
    if *column.data_type() == DataType::Utf8 {
        let texts = column.as_string::<i32>().iter();
        return Cells::Texts(texts.map(|text| text.unwrap_or_default().to_owned()).collect());
    }
    let numbers = column.as_primitive::<Float64Type>().iter();
    Cells::Numbers(numbers.map(|number| number.unwrap_or(f64::NAN)).collect())
}

impl Scorer for Brought {
    fn features(&self) -> &[Feature] {
        &self.features
    }

    fn score(&self, columns: &[ArrayRef], rows: usize) -> Result<Float64Array> {
        Ok(known(self.scores(columns, rows)?))
    }
}

/// Scores, missing where there is none.
fn known(scores: Vec<f64>) -> Float64Array {
    scores.into_iter().map(|score| score.is_finite().then_some(score)).collect()
}

/// What the project asks for now: the file and how it is read.
pub(super) fn declared(ctx: &Context<'_>, settings: &Onnx) -> Result<String> {
    digest_of(settings, &file(ctx, settings)?)
}

fn digest_of(settings: &Onnx, bytes: &[u8]) -> Result<String> {
    let asked = serde_json::to_vec(settings)
        .map_err(|e| Error::internal("a learner is no JSON").caused_by(e))?;
    Ok(digest::hex(&[&asked, bytes]))
}

/// The bytes of the model's file, which lies in the project's folder.
fn file(ctx: &Context<'_>, settings: &Onnx) -> Result<Vec<u8>> {
    let path = ctx.project.dir.join(&settings.model);
    let unreadable = |e| Error::io("read", &path, e);
    let folder = ctx.project.dir.canonicalize().map_err(unreadable)?;
    let real = path.canonicalize().map_err(unreadable)?;
    if !real.starts_with(&folder) {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("{} leads out of the project's folder", settings.model),
        )
        .hint("Copy the file into the project: a link could show what the project may not read."));
    }
    let mut bytes = Vec::new();
    // One byte more than a model may have, so that a larger one is known for one and never read whole.
    let most = SIZE_MAX as u64 + 1;
    let opened = std::fs::File::open(&real).map_err(unreadable)?;
    opened.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Keeps the model, scores every row, and judges it by what is known to have come true.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Onnx,
) -> Result<(Fitted, String, u64)> {
    let what = format!("learner \"{name}\": rows");
    let sql = ctx.render(&settings.rows).map_err(|e| e.context(&what))?;
    let query = ctx.session.query(&sql).await.map_err(|e| e.context(&what))?;
    let columns: Vec<String> =
        query.schema().fields().iter().map(|field| field.name().clone()).collect();
    let bytes = file(ctx, settings)?;
    let named = |error: Error| error.context(&settings.model);
    let (stored, brought, about) = {
        let (settings, bytes) = (settings.clone(), bytes.clone());
        task::compute(move || prepare(&settings, &bytes, &columns)).await.map_err(named)?
    };
    let brought = Arc::new(brought);
    let artifact_bytes = stored.bytes(&bytes)?;
    let artifact = ctx.artifacts.put(&artifact_bytes)?;
    let (measures, truth) = match &settings.truth {
        Some(truth) => judged(ctx, name, settings, truth, &brought).await.map_err(named)?,
        None => (Vec::new(), Value::Null),
    };
    let (rows, without) =
        scored(ctx, name, &what, &query, &brought, &artifact).await.map_err(named)?;
    let detail = json!({
        "declared": digest_of(settings, &bytes)?,
        "model": settings.model,
        "size": bytes.len(),
        "features": brought.features.iter().map(|feature| &feature.name).collect::<Vec<_>>(),
        "output": about.output, "classes": about.classes, "operators": about.operators,
        "rows without a score": without,
        "truth": truth,
    });
    Ok((Fitted { bytes: artifact_bytes, rows_in: rows, detail, measures }, artifact, rows))
}

/// What is told of a model.
struct About {
    output: String,
    classes: Vec<String>,
    operators: Vec<String>,
}

fn prepare(settings: &Onnx, bytes: &[u8], columns: &[String]) -> Result<(Stored, Brought, About)> {
    let class = settings.class.as_ref().map(ToString::to_string);
    let wanted = Wanted { output: settings.output.clone(), class: class.clone() };
    let file = File::read(bytes, &wanted)?;
    let inputs = inputs(settings, file.inputs(), columns)?;
    let output = file.output().clone();
    let about =
        About { output: output.name, classes: output.labels, operators: file.operators().to_vec() };
    let stored = Stored { form: FORM.to_owned(), output: settings.output.clone(), class, inputs };
    let brought = stored.brought(file)?;
    Ok((stored, brought, about))
}

/// The columns that each input reads.
fn inputs(settings: &Onnx, inputs: &[Input], columns: &[String]) -> Result<Vec<Vec<String>>> {
    let known = || inputs.iter().map(|input| input.name.as_str());
    if let Some(stranger) = settings.inputs.keys().find(|name| !known().any(|one| one == *name)) {
        return Err(Error::invalid(format!(
            "the model has no input \"{stranger}\" that the score needs"
        ))
        .hint(suggest::hint(stranger, known())));
    }
    let own = |input: &Input| -> Result<Vec<String>> {
        if let Some(columns) = settings.inputs.get(&input.name) {
            return Ok(columns.clone());
        }
        if inputs.len() == 1 && (input.width != Some(1) || !columns.contains(&input.name)) {
            let features = columns.iter().filter(|name| !NOT_FEATURES.contains(&name.as_str()));
            return Ok(features.cloned().collect());
        }
        Ok(vec![input.name.clone()])
    };
    let read = inputs.iter().map(own).collect::<Result<Vec<_>>>()?;
    for (input, names) in inputs.iter().zip(&read) {
        if let Some(missing) = names.iter().find(|name| !columns.contains(name)) {
            return Err(Error::invalid(format!(
                "input \"{}\" reads column \"{missing}\", which the query `rows` does not have",
                input.name
            ))
            .hint(format!(
                "{} Or say under `inputs` which columns it reads.",
                suggest::hint(missing, columns.iter().map(String::as_str))
            )));
        }
    }
    Ok(read)
}

/// The columns of a batch as the model reads them.
fn read(batch: &RecordBatch, features: &[Feature]) -> Result<Vec<ArrayRef>> {
    let column = |feature: &Feature| {
        let name = &feature.name;
        let Some(column) = batch.column_by_name(name) else {
            let schema = batch.schema();
            let names = schema.fields().iter().map(|field| field.name().as_str());
            return Err(Error::invalid(format!("the query has no column \"{name}\""))
                .hint(suggest::hint(name, names.collect::<Vec<_>>())));
        };
        let text =
            matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let wanted = match (feature.kind, text) {
            (FeatureKind::Text, _) => DataType::Utf8,
            // A text that looks like a number is a mistake that a cast would hide, and one that does not would be none.
            (_, true) => {
                return Err(Error::invalid(format!(
                    "column \"{name}\" holds texts, and the model reads numbers"
                ))
                .hint(format!("Cast it in the query: `cast({name} as double) as {name}`.")));
            }
            (_, false) => DataType::Float64,
        };
        cast(column, &wanted).map_err(|e| {
            Error::invalid(format!("column \"{name}\" has a type that no model reads")).caused_by(e)
        })
    };
    features.iter().map(column).collect()
}

/// Scores the rows of a query into `learn.<name>`; how many there were, and how many have no score.
async fn scored(
    ctx: &Context<'_>,
    name: &str,
    what: &str,
    query: &flywheel_warehouse::Query,
    brought: &Arc<Brought>,
    artifact: &str,
) -> Result<(u64, u64)> {
    let table = SystemTable { name: "learn", about: "", columns: ENTRY.columns };
    let schema = table.schema();
    let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let batches = query.stream().await.map_err(|e| e.context(what))?;
    let (what, artifact, now) = (what.to_owned(), artifact.to_owned(), ctx.now.micros());
    let made = {
        let (brought, counts, schema) =
            (Arc::clone(brought), Arc::clone(&counts), Arc::clone(&schema));
        batches.and_then(move |batch| {
            let (brought, counts, schema) =
                (Arc::clone(&brought), Arc::clone(&counts), Arc::clone(&schema));
            let (what, artifact) = (what.clone(), artifact.clone());
            task::compute(move || {
                let rows = batch.num_rows();
                let units = Frame::new(&what, vec![batch.clone()]).ids("unit_id")?;
                let columns = read(&batch, &brought.features).map_err(|e| e.context(&what))?;
                let scores = known(brought.scores(&columns, rows)?);
                counts.0.fetch_add(rows as u64, Ordering::Relaxed);
                counts.1.fetch_add(scores.null_count() as u64, Ordering::Relaxed);
                batch_of(&schema, units, scores, now, &artifact)
            })
        })
    };
    let last = {
        let counts = Arc::clone(&counts);
        let empty: Vec<ArrayRef> =
            schema.fields().iter().map(|field| new_empty_array(field.data_type())).collect();
        let schema = Arc::clone(&schema);
        stream::once(async move {
            let (rows, without) =
                (counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed));
            if rows > 0 && rows == without {
                return Err(Error::invalid(format!("the model answers no finite number for any of {rows} rows"))
                    .hint("Compare the columns, their order and their units with those that the model was fitted with, and fill what is missing, such as `coalesce(months, 0)`."));
            }
            RecordBatch::try_new(schema, empty)
                .map_err(|e| Error::internal("no scores are no batch").caused_by(e))
        })
    };
    let rows = RowStream::new(schema, made.chain(last));
    let checkpoint = Checkpoint { sequence: ctx.now.micros(), position: json!({}) };
    let write = Write::new(WriteMode::Replace, rows, format!("score {name}"))
        .checkpoint(format!("learn/{name}"), checkpoint)
        .add_columns();
    ctx.lake.write(&location(&format!("learn/{name}"))?, write).await?;
    Ok((counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed)))
}

fn batch_of(
    schema: &Arc<Schema>,
    units: Vec<String>,
    scores: Float64Array,
    now: i64,
    artifact: &str,
) -> Result<RecordBatch> {
    let rows = units.len();
    let moments = TimestampMicrosecondArray::from_value(now, rows).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(units)),
        Arc::new(scores),
        Arc::new(moments),
        Arc::new(StringArray::from(vec![artifact; rows])),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|e| Error::internal("scores do not fit their table").caused_by(e))
}

/// What the model is worth by rows whose outcome is known by now, and how sure that is.
async fn judged(
    ctx: &Context<'_>,
    name: &str,
    settings: &Onnx,
    truth: &str,
    brought: &Arc<Brought>,
) -> Result<(Vec<Measure>, Value)> {
    let what = format!("learner \"{name}\": truth");
    let sql = ctx.render(truth).map_err(|e| e.context(&what))?;
    let sql = statement::one(&what, &sql)?;
    let sql = format!("select * from (\n{sql}\n) as truth where at <= {}", literal(ctx.now));
    let query = ctx.session.query(&sql).await.map_err(|e| e.context(&what))?;
    let (mut scores, mut targets) = (Vec::new(), Vec::new());
    let mut batches = query.stream().await.map_err(|e| e.context(&what))?;
    while let Some(batch) = batches.try_next().await.map_err(|e| e.context(&what))? {
        let known = Frame::new(&what, vec![batch.clone()]).numbers_if_any("target")?;
        let columns = read(&batch, &brought.features).map_err(|e| e.context(&what))?;
        let (brought, rows) = (Arc::clone(brought), batch.num_rows());
        let found = task::compute(move || brought.scores(&columns, rows)).await?;
        for (score, target) in found.into_iter().zip(known) {
            if let Some(target) = target.filter(|target| target.is_finite() && score.is_finite()) {
                scores.push(score);
                targets.push(target);
            }
        }
    }
    measured(settings.predict, &scores, &targets).map_err(|e| e.context(&what))
}

fn measured(predict: Predict, scores: &[f64], targets: &[f64]) -> Result<(Vec<Measure>, Value)> {
    let count = targets.len();
    if count == 0 {
        return Ok((Vec::new(), Value::Null));
    }
    let mean = targets.iter().sum::<f64>() / count as f64;
    let measure = |name, value, baseline| Measure { name, value, baseline, count };
    let square = |(score, target): (&f64, &f64)| (score - target).powi(2);
    let errors: Vec<f64> = scores.iter().zip(targets).map(square).collect();
    let flat: Vec<f64> = targets.iter().map(|target| (mean - target).powi(2)).collect();
    let (error, low, high) = around(&errors);
    let (baseline, ..) = around(&flat);
    if predict == Predict::Number {
        let (error, low, high) = (error.sqrt(), low.max(0.0).sqrt(), high.sqrt());
        let said =
            json!({"root mean squared error": {"estimate": error, "low": low, "high": high}});
        let name = "root mean squared error, known outcomes";
        return Ok((vec![measure(name, Some(error), Some(baseline.sqrt()))], said));
    }
    if let Some(score) = scores.iter().find(|score| !(0.0..=1.0).contains(*score)) {
        return Err(Error::invalid(format!("the score {score} is no probability"))
            .hint("Name the output with probabilities under `output`, or write predict: number."));
    }
    if targets.iter().any(|target| *target != 0.0 && *target != 1.0) {
        return Err(Error::invalid("a target is neither 0 nor 1")
            .hint("Write predict: number, or select 1 where it happened and 0 where it did not."));
    }
    let happened: Vec<bool> = targets.iter().map(|target| *target > 0.5).collect();
    let ranked = auc(scores, targets, CONFIDENCE)?;
    let (lost, flat) = (log_loss(scores, &happened)?, log_loss(&vec![mean; count], &happened)?);
    let off = calibration_error(&reliability(scores, &happened, BINS)?);
    let said = json!({
        "auc": ranked.as_ref().map(|found| json!({"estimate": found.estimate, "low": found.low, "high": found.high})),
        "brier": {"estimate": error, "low": low.max(0.0), "high": high},
    });
    let measures = vec![
        measure(
            "auc, known outcomes",
            ranked.as_ref().map(|found| found.estimate),
            ranked.map(|_| 0.5),
        ),
        measure("brier, known outcomes", Some(error), Some(baseline)),
        measure("log loss, known outcomes", Some(lost), Some(flat)),
        measure("calibration error, known outcomes", Some(off), None),
    ];
    Ok((measures, said))
}

/// The mean of losses, and the normal interval around it.
fn around(losses: &[f64]) -> (f64, f64, f64) {
    let count = losses.len() as f64;
    let mean = losses.iter().sum::<f64>() / count;
    let squares: f64 = losses.iter().map(|loss| (loss - mean).powi(2)).sum();
    let error =
        if losses.len() > 1 { (squares / (count - 1.0) / count).sqrt() } else { f64::INFINITY };
    let half = normal::quantile(f64::midpoint(1.0, CONFIDENCE)) * error;
    (mean, mean - half, mean + half)
}

#[cfg(test)]
mod tests;
