//! Scores learned from all examples at once: boosted trees and logistic regression, judged by the newest examples.

use std::sync::Arc;

use flywheel_algo::score::encode::{Encoder, Values};
use flywheel_algo::score::logistic::Logistic;
use flywheel_algo::score::quality::auc;
use flywheel_algo::score::trees::{self, Examples, Loss, Options, Trees};
use flywheel_algo::stats::Interval;
use flywheel_algo::stats::calibration::{calibration_error, log_loss, reliability};
use flywheel_base::{Error, Result, task};
use flywheel_project::resource::learner::{Predict, Score, ScoreAlgorithm};
use flywheel_warehouse::WriteMode;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ENTRY, Row, examples, features, few, targets};
use crate::context::Context;
use crate::frame::Frame;
use crate::learner::{Fitted, Measure, write_scores};

/// Trees at most; how many there are is found on the examples.
const ROUNDS_MAX: usize = 1_000;
/// Parts of the examples, each foretold by trees over the others, to find how many trees do best.
const FOLDS: usize = 5;
/// Examples below which none are held back, and trees not counted.
pub(super) const JUDGED_MIN: usize = 50;
/// One example of so many, the newest ones, is held back to judge the fit.
pub(super) const HELD_ONE_OF: usize = 5;
/// The pull on the weights of logistic regression, on standardised columns.
const PENALTY: f64 = 1.0;
/// Bins of probabilities by which their truth is judged.
const BINS: usize = 10;
/// Columns that a reason names.
const REASONS: usize = 2;
/// Columns whose importance is told.
const IMPORTANT: usize = 12;
/// A fit that ranks what was held back at least so well is told to be too good.
const TOO_GOOD: f64 = 0.98;
/// Examples of each outcome among those held back, below which a perfect ranking may be luck.
const TOO_GOOD_MIN: usize = 10;
/// A column that ranks all examples at least so well by itself is named beside it.
const TELLING: f64 = 0.95;
/// Such columns that are named.
const TELLING_MAX: usize = 3;

/// What is stored of a fit.
#[derive(Serialize, Deserialize)]
pub(super) struct Whole {
    pub(super) encoder: Encoder,
    model: Model,
}

impl Whole {
    /// Refuses a model that cannot have been learned, or not on these columns.
    pub(super) fn check(&self) -> Result<()> {
        self.encoder.check()?;
        let width = match &self.model {
            Model::BoostedTrees(trees) => trees.check().map(|()| trees.width()),
            Model::Logistic(fit) => fit.check().map(|()| fit.width()),
        }?;
        if width == self.encoder.width() {
            return Ok(());
        }
        Err(Error::corrupt(format!("a model of {width} columns is given {}", self.encoder.width())))
    }

    /// What is predicted of each of `rows` rows.
    pub(super) fn scores(&self, columns: &[(String, Values)], rows: usize) -> Result<Vec<f64>> {
        let features = self.encoder.rows(columns)?;
        let found: Vec<f64> = features
            .chunks_exact(self.encoder.width().max(1))
            .map(|row| self.model.predict(row))
            .collect::<Result<_>>()?;
        if found.len() == rows {
            return Ok(found);
        }
        Err(Error::internal(format!("{rows} rows have {} scores", found.len())))
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Model {
    BoostedTrees(Trees),
    Logistic(Logistic),
}

impl Model {
    fn name(&self) -> &'static str {
        match self {
            Self::BoostedTrees(_) => "boosted-trees",
            Self::Logistic(_) => "logistic",
        }
    }

    fn predict(&self, row: &[f64]) -> Result<f64> {
        match self {
            Self::BoostedTrees(trees) => trees.predict(row),
            Self::Logistic(fit) => fit.predict(row),
        }
    }

    fn contributions(&self, row: &[f64]) -> Result<Vec<f64>> {
        match self {
            Self::BoostedTrees(trees) => trees.contributions(row),
            Self::Logistic(fit) => fit.contributions(row),
        }
    }
}

/// Examples, encoded.
struct Table {
    width: usize,
    features: Vec<f64>,
    targets: Vec<f64>,
}

impl Table {
    fn until(&self, row: usize) -> Examples<'_> {
        let (features, targets) = (self.features.get(..row * self.width), self.targets.get(..row));
        Examples {
            features: features.unwrap_or_default(),
            width: self.width,
            targets: targets.unwrap_or_default(),
        }
    }

    fn rows_from(&self, row: usize) -> impl Iterator<Item = &[f64]> {
        self.features.chunks_exact(self.width.max(1)).skip(row)
    }
}

/// Fits all examples anew and scores every unit.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Score,
) -> Result<(Fitted, String, u64)> {
    let what = format!("learner \"{name}\": examples");
    let sql = ctx.render(&settings.examples).map_err(|e| e.context(&what))?;
    let frame = examples(ctx, &what, &sql, None).await?;
    // What cannot be read of a column names the query already.
    let named = |e: Error| if e.message().starts_with(&what) { e } else { e.context(&what) };
    let (encoder, table) = table(&frame, settings).map_err(named)?;
    let (predict, algorithms) = (settings.predict, algorithms(settings)?);
    let best = task::compute(move || best(&table, encoder, predict, &algorithms)).await?;
    let whole = Arc::new(best.whole);
    let mut detail = json!({
        "algorithm": whole.model.name(), "examples": best.examples, "rounds": best.rounds,
        "auc": best.auc.map(|found| json!({"estimate": found.estimate, "low": found.low, "high": found.high})),
        "features": whole.encoder.columns().map(|(name, _)| name).collect::<Vec<_>>(),
        "importance": importance(&whole.model, &whole.encoder),
    });
    let notices = few(best.examples as u64).into_iter().chain(twice(&frame)?).chain(best.too_good);
    let notices: Vec<String> = notices.collect();
    if let Some(detail) = detail.as_object_mut().filter(|_| !notices.is_empty()) {
        detail.insert("notices".to_owned(), json!(notices));
    }
    let bytes = serde_json::to_vec(&*whole)
        .map_err(|e| Error::internal("a score is no JSON").caused_by(e))?;
    let artifact = ctx.artifacts.put(&bytes)?;
    let rows = scored(ctx, name, settings, whole, &artifact).await?;
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    let measures = best.measures;
    Ok((Fitted { bytes, rows_in: frame.rows() as u64, detail, measures }, artifact, count))
}

/// The model that did best on what was held back, fitted to all examples.
struct Best {
    whole: Whole,
    rounds: Option<usize>,
    examples: usize,
    measures: Vec<Measure>,
    /// How well what was held back is ranked.
    auc: Option<Interval>,
    /// What is told of a fit that is better than fits are.
    too_good: Option<String>,
}

fn best(
    table: &Table,
    encoder: Encoder,
    predict: Predict,
    algorithms: &[ScoreAlgorithm],
) -> Result<Best> {
    let loss = loss_of(predict);
    let held_from = match table.targets.len() {
        count if count >= JUDGED_MIN => count - count / HELD_ONE_OF,
        count => count,
    };
    let mut tried = Vec::new();
    for algorithm in algorithms {
        let (model, rounds) = fit(&table.until(held_from), loss, *algorithm, None)?;
        let held = table.rows_from(held_from).map(|row| model.predict(row));
        let held = held.collect::<Result<Vec<f64>>>()?;
        let lost = wrong(predict, &held, table.targets.get(held_from..).unwrap_or_default())?;
        tried.push((lost, *algorithm, rounds, held));
    }
    // Of equal ones the first, which is the simpler.
    let least = tried.into_iter().reduce(|a, b| if b.0 < a.0 { b } else { a });
    let Some((_, algorithm, rounds, held)) = least else {
        return Err(Error::internal("a score has no algorithm"));
    };
    let (model, rounds) = fit(&table.until(table.targets.len()), loss, algorithm, rounds)?;
    let (measures, auc) = judged(predict, table, held_from, &held)?;
    let too_good = match auc {
        Some(found) if is_too_good(&found, table.targets.get(held_from..).unwrap_or_default()) => {
            // That a value is missing tells as well as one: a day of leaving, which only those have who left.
            let value = |row: &[f64], column: usize| {
                row.get(column).copied().filter(|v| v.is_finite()).unwrap_or(f64::MIN)
            };
            let column =
                |at: usize| -> Vec<f64> { table.rows_from(0).map(|row| value(row, at)).collect() };
            let which = "the examples held back are foretold almost without error";
            Some(leaking(which, &encoder.names(), &column, &table.targets, &found)?)
        }
        _ => None,
    };
    let whole = Whole { encoder, model };
    Ok(Best { whole, rounds, examples: table.targets.len(), measures, auc, too_good })
}

/// Whether examples that a fit had not learned are ranked better than fits rank, and there are enough of them to say so.
pub(super) fn is_too_good(found: &Interval, targets: &[f64]) -> bool {
    let came = targets.iter().filter(|target| **target > 0.5).count();
    found.low >= TOO_GOOD && came.min(targets.len() - came) >= TOO_GOOD_MIN
}

/// What is told of a fit that hardly errs on what it had not learned, with the columns that tell the target by themselves:
/// `column` gives the values of one of `names`, one for each of `targets`.
pub(super) fn leaking(
    which: &str,
    names: &[String],
    column: &dyn Fn(usize) -> Vec<f64>,
    targets: &[f64],
    found: &Interval,
) -> Result<String> {
    let alone = |at: usize| -> Result<f64> {
        let ranked = auc(&column(at), targets, 0.95)?.map_or(0.5, |found| found.estimate);
        Ok(ranked.max(1.0 - ranked))
    };
    let mut telling = Vec::new();
    for (column, name) in names.iter().enumerate() {
        let ranked = alone(column)?;
        if ranked >= TELLING {
            telling.push((ranked, name));
        }
    }
    telling.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    telling.truncate(TELLING_MAX);
    let named: Vec<String> = telling.iter().map(|(_, name)| format!("\"{name}\"")).collect();
    let why = if named.is_empty() {
        "look for a column".to_owned()
    } else {
        format!("{} alone tells nearly all of it; look whether it is", named.join(" or "))
    };
    Ok(format!(
        "{which} (AUC {:.3}): {why} filled in after the outcome, and leave it out",
        found.estimate
    ))
}

/// What is told of examples that are there more than once: those held back are then among those that were learned.
fn twice(frame: &Frame<'_>) -> Result<Option<String>> {
    let (ids, moments) = (frame.text("row_id")?, frame.moments("at")?);
    // They come in the order of their moments and ids.
    let rows: Vec<(Option<String>, i64)> = ids.into_iter().zip(moments).collect();
    let pairs = rows.iter().zip(rows.iter().skip(1));
    let count = pairs.filter(|(row, next)| row.0.is_some() && row == next).count();
    Ok((count > 0).then(|| {
        format!(
            "{count} of {} examples have the `row_id` and moment of another one: each counts, and as some are held back \
             and their like learned from, the fit looks better than it is",
            rows.len()
        )
    }))
}

fn loss_of(predict: Predict) -> Loss {
    match predict {
        Predict::Probability => Loss::Logistic,
        Predict::Number => Loss::Squared,
    }
}

/// What is tried, the simpler first.
fn algorithms(settings: &Score) -> Result<Vec<ScoreAlgorithm>> {
    use ScoreAlgorithm::{Auto, BoostedTrees, Logistic, Online};
    if settings.hashed.is_some() {
        return Err(Error::invalid("hashed features are learned by `algorithm: online` only")
            .hint("Remove `hashed`: texts are features of the other algorithms as they are."));
    }
    match (settings.algorithm, settings.predict) {
        (Auto, Predict::Probability) => Ok(vec![Logistic, BoostedTrees]),
        (Auto | BoostedTrees, _) => Ok(vec![BoostedTrees]),
        (Logistic, Predict::Probability) => Ok(vec![Logistic]),
        (Logistic, Predict::Number) => {
            Err(Error::invalid("logistic regression learns probabilities only")
                .hint("Write algorithm: boosted-trees, or predict: probability."))
        }
        (Online, _) => Err(Error::internal("an online score is fitted to all examples")),
    }
}

/// The examples whose target is known, in order of time, and how columns are read.
fn table(frame: &Frame<'_>, settings: &Score) -> Result<(Encoder, Table)> {
    let names = features(frame, settings)?;
    let targets = targets(frame, settings)?;
    if targets.iter().all(Option::is_none) {
        return Err(Error::invalid("no row has a target")
            .hint("Select rows whose outcome is known; the others are what `score` is for."));
    }
    both_classes(settings, &targets)?;
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let text = frame.is_text(&name);
        let values = values(frame, &name, text)?;
        columns.push((name, only(values, targets.iter().map(Option::is_some))));
    }
    let targets = targets.into_iter().flatten().collect();
    let encoder = Encoder::fit(&columns)?;
    let table = Table { width: encoder.width(), features: encoder.rows(&columns)?, targets };
    if table.width == 0 {
        return Err(Error::invalid(
            "no feature of the examples has a value that occurs five times",
        )
        .hint("Add numbers, or texts that many rows share."));
    }
    Ok((encoder, table))
}

/// Refuses a probability of what always or never happened: all scores would be the same.
fn both_classes(settings: &Score, targets: &[Option<f64>]) -> Result<()> {
    if settings.predict != Predict::Probability {
        return Ok(());
    }
    let mut known = targets.iter().flatten();
    let Some(first) = known.next() else { return Ok(()) };
    if known.any(|target| (*target > 0.5) != (*first > 0.5)) {
        return Ok(());
    }
    let name = &settings.target;
    Err(Error::invalid(format!(
        "the target \"{name}\" is {first} in all of {} examples",
        targets.iter().flatten().count()
    ))
    .hint(format!(
        "A probability is learned from rows of both kinds; select those of the other kind as well, or check how `{name}` is made."
    )))
}

/// A column as it is learned.
pub(crate) fn values(frame: &Frame<'_>, name: &str, text: bool) -> Result<Values> {
    if text {
        return Ok(Values::Texts(frame.text(name)?));
    }
    Ok(numbers(frame.numbers(name)?.into_iter()))
}

/// Numbers as they are learned: what is infinite is as little known as what is missing.
pub(super) fn numbers(numbers: impl Iterator<Item = Option<f64>>) -> Values {
    let number = |number: Option<f64>| number.filter(|n| n.is_finite()).unwrap_or(f64::NAN);
    Values::Numbers(numbers.map(number).collect())
}

fn only(values: Values, keep: impl Iterator<Item = bool>) -> Values {
    match values {
        Values::Numbers(values) => {
            let kept = values.into_iter().zip(keep).filter(|(_, keep)| *keep);
            Values::Numbers(kept.map(|(value, _)| value).collect())
        }
        Values::Texts(values) => {
            let kept = values.into_iter().zip(keep).filter(|(_, keep)| *keep);
            Values::Texts(kept.map(|(value, _)| value).collect())
        }
    }
}

/// Fits a model; how many trees it has is found if it is not given, and returned.
fn fit(
    examples: &Examples<'_>,
    loss: Loss,
    algorithm: ScoreAlgorithm,
    rounds: Option<usize>,
) -> Result<(Model, Option<usize>)> {
    if algorithm == ScoreAlgorithm::Logistic {
        return Ok((Model::Logistic(Logistic::fit(examples, PENALTY)?), None));
    }
    let most = Options { rounds: ROUNDS_MAX, ..Options::default() };
    let rounds = match rounds {
        Some(rounds) => rounds,
        None if examples.targets.len() < JUDGED_MIN => Options::default().rounds,
        None => trees::rounds(examples, loss, &most, FOLDS)?,
    };
    let trees = Trees::fit(examples, loss, &Options { rounds, ..most })?;
    Ok((Model::BoostedTrees(trees), Some(rounds)))
}

/// The mean loss of predictions; 0 without rows, so that the first model is taken.
fn wrong(predict: Predict, predicted: &[f64], targets: &[f64]) -> Result<f64> {
    if targets.is_empty() {
        return Ok(0.0);
    }
    match predict {
        Predict::Probability => log_loss(predicted, &came_true(targets)),
        Predict::Number => {
            let squares = predicted.iter().zip(targets).map(|(p, target)| (p - target).powi(2));
            Ok(squares.sum::<f64>() / targets.len() as f64)
        }
    }
}

fn came_true(targets: &[f64]) -> Vec<bool> {
    targets.iter().map(|target| *target > 0.5).collect()
}

/// What the fit is worth on the examples that were held back, and how sure that is.
fn judged(
    predict: Predict,
    table: &Table,
    held_from: usize,
    held: &[f64],
) -> Result<(Vec<Measure>, Option<Interval>)> {
    let (before, targets) = table.targets.split_at(held_from);
    let count = targets.len();
    let mean = before.iter().sum::<f64>() / before.len().max(1) as f64;
    let flat = vec![mean; count];
    let measure = |name, value, baseline| Measure { name, value, baseline, count };
    let any = |value: f64| (count > 0).then_some(value);
    let (value, baseline) = (wrong(predict, held, targets)?, wrong(predict, &flat, targets)?);
    if predict == Predict::Number {
        let name = "mean squared error, held back";
        return Ok((vec![measure(name, any(value), any(baseline))], None));
    }
    let ranked = auc(held, targets, 0.95)?;
    let off = match count {
        0 => None,
        _ => Some(calibration_error(&reliability(held, &came_true(targets), BINS)?)),
    };
    let measures = vec![
        measure("auc, held back", ranked.as_ref().map(|found| found.estimate), ranked.map(|_| 0.5)),
        measure("log loss, held back", any(value), any(baseline)),
        measure("calibration error, held back", off, None),
    ];
    Ok((measures, ranked))
}

/// The columns by which trees split best, each with its share.
fn importance(model: &Model, encoder: &Encoder) -> Value {
    let Model::BoostedTrees(trees) = model else { return Value::Null };
    let mut shares: Vec<(String, f64)> =
        encoder.names().into_iter().zip(trees.importance()).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    shares.truncate(IMPORTANT);
    let share = |(name, share): &(String, f64)| json!({"feature": name, "share": share});
    shares.iter().filter(|(_, share)| *share > 0.0).map(share).collect()
}

async fn scored(
    ctx: &Context<'_>,
    name: &str,
    settings: &Score,
    whole: Arc<Whole>,
    artifact: &str,
) -> Result<Vec<Row>> {
    let Some(sql) = &settings.score else { return Ok(Vec::new()) };
    let what = format!("learner \"{name}\": score");
    let frame = ctx.frame(&what, sql).await?;
    if frame.rows() == 0 {
        return Ok(Vec::new());
    }
    let columns = whole
        .encoder
        .columns()
        .map(|(name, text)| Ok((name.to_owned(), values(&frame, name, text)?)));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let units = frame.unit_ids()?;
    let (scored_at, artifact) = (ctx.now, artifact.to_owned());
    task::compute(move || {
        let features = whole.encoder.rows(&columns)?;
        let column_of = whole.encoder.column_of();
        let rows = features.par_chunks_exact(whole.encoder.width().max(1));
        let row = |(at, (unit_id, row)): (usize, (String, &[f64]))| {
            Ok(Row {
                unit_id,
                score: whole.model.predict(row)?,
                reason: reason(&whole.model.contributions(row)?, &column_of, &columns, at),
                scored_at,
                artifact: artifact.clone(),
            })
        };
        units.into_par_iter().zip(rows).enumerate().map(row).collect()
    })
    .await
}

/// The columns that moved a row most, with their values: `contract = monthly (+0.84), tenure = 3 (-0.31)`.
pub(crate) fn reason(
    moved: &[f64],
    column_of: &[usize],
    columns: &[(String, Values)],
    at: usize,
) -> Option<String> {
    let mut sums: Vec<(usize, f64)> = (0..columns.len()).map(|column| (column, 0.0)).collect();
    for (by, column) in moved.iter().zip(column_of) {
        if let Some((_, sum)) = sums.get_mut(*column) {
            *sum += by;
        }
    }
    sums.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
    let said = sums.iter().take(REASONS).filter(|(_, by)| by.abs() >= 0.005).map(|(column, by)| {
        let (name, values) = columns.get(*column)?;
        let value = match values {
            Values::Numbers(values) => {
                values.get(at).filter(|value| !value.is_nan()).map(f64::to_string)
            }
            Values::Texts(values) => values.get(at).cloned().flatten(),
        };
        Some(format!("{name} = {} ({by:+.2})", value.as_deref().unwrap_or("not known")))
    });
    let said: Vec<String> = said.flatten().collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// Fits `examples` and scores `rows`, as a fit does: the artifact's bytes and what it writes.
#[cfg(test)]
pub(super) fn fitted_for_tests(
    examples: &Frame<'_>,
    settings: &Score,
    rows: &Frame<'_>,
) -> (Vec<u8>, Vec<f64>) {
    let (encoder, table) = table(examples, settings).unwrap();
    let whole =
        best(&table, encoder, settings.predict, &algorithms(settings).unwrap()).unwrap().whole;
    let columns: Vec<(String, Values)> = (whole.encoder.columns())
        .map(|(name, text)| (name.to_owned(), values(rows, name, text).unwrap()))
        .collect();
    let features = whole.encoder.rows(&columns).unwrap();
    let scores =
        features.chunks_exact(whole.encoder.width()).map(|row| whole.model.predict(row).unwrap());
    (serde_json::to_vec(&whole).unwrap(), scores.collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    };

    use super::*;

    /// Examples whose target is a coin; if they leak, `left_on` and `refund` are there only where it came up.
    fn coins(leak: bool) -> Frame<'static> {
        let rows = 0..400_i64;
        let left = |row: i64| i64::from((row * 7_919) % 1_000 < 300);
        let left_on = |row: i64| match leak {
            true => (left(row) == 1).then_some(row as f64),
            false => Some((row % 11) as f64),
        };
        let refund = |row: i64| if leak { left(row) * (row + 1) } else { row % 17 };
        let ids = rows.clone().map(|row| format!("r{row:03}"));
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
        let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(rows.clone()));
        let months: ArrayRef =
            Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row % 13)));
        let left_on: ArrayRef = Arc::new(rows.clone().map(left_on).collect::<Float64Array>());
        let refund: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone().map(refund)));
        let left: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.map(left)));
        let columns = [
            ("row_id", ids, true),
            ("at", at, true),
            ("months", months, true),
            ("left_on", left_on, true),
            ("refund", refund, true),
            ("left", left, true),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        Frame::new("learner \"l\": examples", vec![batch])
    }

    #[test]
    fn a_column_that_tells_the_outcome_is_named() {
        let file = json!({"examples": "select 1", "target": "left", "algorithm": "boosted-trees"});
        let settings: Score = serde_json::from_value(file).unwrap();
        let told = |leaks| {
            let (encoder, table) = table(&coins(leaks), &settings).unwrap();
            best(&table, encoder, settings.predict, &[ScoreAlgorithm::BoostedTrees])
                .unwrap()
                .too_good
        };
        assert_eq!(told(false), None);
        let leak = told(true).unwrap();
        assert!(leak.contains("\"left_on\" or \"refund\" alone tells nearly all of it"), "{leak}");
    }

    #[test]
    fn examples_that_are_there_twice_are_told() {
        let frame = |ids: [Option<&str>; 4]| {
            let ids: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
            let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5, 5, 5, 9]));
            let batch =
                RecordBatch::try_from_iter_with_nullable([("row_id", ids, true), ("at", at, true)]);
            Frame::new("learner \"l\": examples", vec![batch.unwrap()])
        };
        let told = |ids| twice(&frame(ids)).unwrap();
        assert_eq!(
            told([None, None, Some("a"), Some("a")]),
            None,
            "of another moment it is another example"
        );
        let twice = told([Some("a"), Some("b"), Some("b"), Some("c")]).unwrap();
        assert!(twice.starts_with("1 of 4 examples have the `row_id`"), "{twice}");
    }

    #[test]
    fn a_probability_is_not_learned_from_one_class() {
        let settings = |predict: &str| -> Score {
            let file = json!({"examples": "select 1", "target": "left", "predict": predict});
            serde_json::from_value(file).unwrap()
        };
        let probability = settings("probability");
        assert!(both_classes(&probability, &[Some(0.0), None, Some(1.0)]).is_ok());
        for class in [0.0, 1.0] {
            let alone = [Some(class), None, Some(class)];
            let error = both_classes(&probability, &alone).unwrap_err().report();
            let said = format!("the target \"left\" is {class} in all of 2 examples");
            assert!(error.contains(&said), "{error}");
            assert!(both_classes(&settings("number"), &alone).is_ok());
        }
    }
}
