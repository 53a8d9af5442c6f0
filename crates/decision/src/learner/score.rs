//! `score`: a probability or a number for each row, learned row by row, or from all examples at once.

pub(crate) mod serve;
pub(crate) mod whole;

use std::collections::BTreeMap;

use flywheel_algo::online::ftrl::{self, Ftrl};
use flywheel_algo::online::hashing::Hashing;
use flywheel_algo::online::linear::{self, Linear};
use flywheel_algo::online::logistic::{self, Logistic};
use flywheel_algo::online::scaler::Scaler;
use flywheel_algo::score::quality::auc;
use flywheel_base::{Error, Result, Timestamp, statement, suggest};
use flywheel_project::resource::learner::{Hashed, Predict, Score, ScoreAlgorithm};
use flywheel_warehouse::WriteMode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ARTIFACT, Fitted, LearnerEntry, Measure, last_fit, write_scores};
use crate::context::Context;
use crate::frame::Frame;
use crate::outcome::literal;
use crate::table::ColumnType::{Moment, Number, Text};

/// Its entry.
pub(crate) const ENTRY: LearnerEntry = LearnerEntry {
    name: "score",
    about: "A probability or a number for each unit, learned online or from all examples at once.",
    columns: &[
        ("unit_id", Text, "whom the score is about"),
        ("score", Number, "the probability or the number"),
        (
            "reason",
            Text,
            "what moved the score most, each with its value and by how much: for a probability in log-odds; none if learned online",
        ),
        ("scored_at", Moment, "the logical moment"),
        ARTIFACT,
    ],
};

/// Examples below which it is told that scores say little.
const EXAMPLES_FEW: u64 = 100;

/// Columns of the examples that are no features.
const NOT_FEATURES: [&str; 3] = ["row_id", "unit_id", "at"];

#[derive(Serialize)]
struct Row {
    unit_id: String,
    score: f64,
    reason: Option<String>,
    scored_at: Timestamp,
    artifact: String,
}

/// What is stored of a fit.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    features: Vec<String>,
    through: Option<i64>,
    model: Model,
    positives: u64,
    examples: u64,
    /// What is told of examples that were foretold better than fits foretell, as of the last fit with enough of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    too_good: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Model {
    Probability(Logistic),
    Number(Linear),
    Hashed(Box<HashedModel>),
}

/// A probability learned from texts and numbers by their places in a table.
#[derive(Clone, Serialize, Deserialize)]
struct HashedModel {
    hashing: Hashing,
    /// Numbers by feature; those of text features are never asked for.
    scaler: Scaler,
    ftrl: Ftrl,
}

impl HashedModel {
    fn new(features: usize, hashed: Hashed) -> Result<Self> {
        let Hashed { bits, lasso, ridge } = hashed;
        let hashing = Hashing::new(bits)?;
        let options = ftrl::Options { lasso, ridge, ..ftrl::Options::default() };
        Ok(Self {
            hashing,
            scaler: Scaler::new(features, None)?,
            ftrl: Ftrl::new(hashing.places(), options)?,
        })
    }

    /// The places of a row's features; what is missing has none.
    fn places(&self, names: &[String], row: &[Cell]) -> Vec<(u32, f64)> {
        let place = |(at, (name, cell)): (usize, (&String, &Cell))| match cell {
            Cell::Text(text) => Some(self.hashing.text(name, text)),
            Cell::Number(number) => {
                // A lone number far away from all others must not move the weights of all that comes with it.
                let scaled = self.scaler.scaled(at, *number).clamp(-SCALED_MAX, SCALED_MAX);
                Some(self.hashing.number(name, scaled))
            }
            Cell::Missing => None,
        };
        names.iter().zip(row).enumerate().filter_map(place).collect()
    }

    /// What was predicted before, then learns.
    fn learn(&mut self, names: &[String], row: &[Cell], happened: bool) -> Result<f64> {
        let numbers: Vec<f64> = row
            .iter()
            .enumerate()
            .map(|(at, cell)| match cell {
                Cell::Number(number) => *number,
                // The mean moves nothing.
                Cell::Text(_) | Cell::Missing => self.scaler.mean()[at],
            })
            .collect();
        self.scaler.learn(&numbers)?;
        let event = self.places(names, row);
        self.ftrl.learn_sparse(&event, happened)
    }

    fn predict(&self, names: &[String], row: &[Cell]) -> Result<f64> {
        self.ftrl.predict_sparse(&self.places(names, row))
    }
}

/// How many deviations from its mean a hashed number counts at most.
const SCALED_MAX: f64 = 10.0;

/// One feature of a row.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Number(f64),
    Text(String),
    Missing,
}

impl Cell {
    /// A number; one that is not known, or not finite, is missing where features are `hashed` and 0 otherwise.
    fn of(number: Option<f64>, hashed: bool) -> Self {
        match number.filter(|number| number.is_finite()) {
            Some(number) => Self::Number(number),
            None if hashed => Self::Missing,
            None => Self::Number(0.0),
        }
    }
}

/// Running error of predictions made before each example was learned, beside the base rate's.
#[derive(Default)]
struct Progress {
    squared: f64,
    baseline: f64,
    seen: usize,
    sum: f64,
}

impl Progress {
    fn add(&mut self, predicted: f64, target: f64, known: usize) {
        if known > 0 {
            let mean = self.sum / known as f64;
            self.squared += (predicted - target).powi(2);
            self.baseline += (mean - target).powi(2);
            self.seen += 1;
        }
        self.sum += target;
    }
}

/// Learns the examples since the last fit and scores every unit.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Score,
) -> Result<(Fitted, String, u64)> {
    if settings.algorithm != ScoreAlgorithm::Online {
        return whole::learn(ctx, name, settings).await;
    }
    let what = format!("learner \"{name}\": examples");
    let before = last(ctx, name)?;
    let fits = before.as_ref().is_some_and(|stored| stored.fits(settings));
    let through = before.as_ref().filter(|_| fits).and_then(|stored| stored.through);
    let sql = ctx.render(&settings.examples).map_err(|e| e.context(&what))?;
    let mut frame = examples(ctx, &what, &sql, through).await?;
    let features = features(&frame, settings)?;
    let anew = before.as_ref().is_some_and(|stored| !fits || stored.features != features);
    if anew {
        tracing::info!(learner = name, "other columns or settings; learning anew");
        frame = examples(ctx, &what, &sql, None).await?;
    }
    let mut stored = match before {
        Some(stored) if !anew => stored,
        _ => Stored {
            model: new_model(settings, features.len())?,
            features,
            through: None,
            positives: 0,
            examples: 0,
            too_good: None,
        },
    };
    let progress = learn_rows(&frame, settings, &mut stored)?;
    let bytes = serde_json::to_vec(&stored)
        .map_err(|e| Error::internal("a score is no JSON").caused_by(e))?;
    let artifact = ctx.artifacts.put(&bytes)?;
    let rows = score(ctx, name, settings, &stored, &artifact).await?;
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    let mean = |sum: f64| (progress.seen > 0).then(|| sum / progress.seen as f64);
    let measures = vec![Measure {
        name: if settings.predict == Predict::Probability {
            "brier, before learning"
        } else {
            "mean squared error, before learning"
        },
        value: mean(progress.squared),
        baseline: mean(progress.baseline),
        count: progress.seen,
    }];
    let mut detail = json!({"features": stored.features, "examples": stored.examples});
    let notices = stored.notices(settings);
    if let Some(detail) = detail.as_object_mut() {
        if anew {
            detail.insert("learned_anew".to_owned(), json!(true));
        }
        if !notices.is_empty() {
            detail.insert("notices".to_owned(), json!(notices));
        }
    }
    Ok((Fitted { bytes, rows_in: frame.rows() as u64, detail, measures }, artifact, count))
}

/// The examples after the moment `through` up to now; a query without the columns by which they are ordered is refused.
async fn examples<'w>(
    ctx: &Context<'_>,
    what: &'w str,
    sql: &str,
    through: Option<i64>,
) -> Result<Frame<'w>> {
    let sql = statement::one(what, sql)?;
    let error = match ctx.frame_of_sql(what, &since(sql, through, ctx.now)).await {
        Ok(frame) => return Ok(frame),
        Err(error) => error,
    };
    // What is wrong with the query itself says so again; the first error is the one of its rows.
    let none = format!("select * from (\n{sql}\n) as examples limit 0");
    match ctx.frame_of_sql(what, &none).await {
        Ok(columns) => Err(without_order(what, &columns.names()).unwrap_or(error)),
        Err(_) => Err(error),
    }
}

/// The error of examples that lack a column by which they are ordered.
fn without_order(what: &str, names: &[String]) -> Option<Error> {
    let (column, meaning) = [
        ("at", "the moment at which the target became known: rows are learned in its order, those after now not yet"),
        ("row_id", "an id of its own for each row: rows of one moment are learned in its order"),
    ]
    .into_iter()
    .find(|(column, _)| !names.iter().any(|name| name == column))?;
    let select = if column == "at" { "signed_on as at" } else { "order_id as row_id" };
    Some(
        Error::invalid(format!("{what}: the column \"{column}\" is missing, which is {meaning}"))
            .hint(format!("Select it in `examples`, such as `select {select}, …`.")),
    )
}

/// What is told of a fit to so few examples that it knows little. Without any there are no scores to believe.
fn few(examples: u64) -> Option<String> {
    (1..EXAMPLES_FEW).contains(&examples).then(|| {
        format!("{examples} examples were learned so far; with fewer than {EXAMPLES_FEW} scores say little")
    })
}

/// The examples after the moment `through` up to `now`, in the order in which they are learned.
fn since(sql: &str, through: Option<i64>, now: Timestamp) -> String {
    let condition = through.map_or_else(
        || "true".to_owned(),
        |at| format!("at > {}", literal(Timestamp::from_micros(at))),
    );
    let now = literal(now);
    format!(
        "select * from (\n{sql}\n) as examples where {condition} and at <= {now} order by at, row_id"
    )
}

fn last(ctx: &Context<'_>, name: &str) -> Result<Option<Stored>> {
    let Some(last) = last_fit(ctx, name)? else { return Ok(None) };
    let bytes = ctx.artifacts.get(&last.digest)?;
    if serde_json::from_slice::<whole::Whole>(&bytes).is_ok() {
        // It was learned from all examples at once; learning row by row begins anew.
        return Ok(None);
    }
    let stored = serve::restored(&bytes);
    stored.map(Some).map_err(|e| e.context(format!("artifact {}", last.digest)))
}

fn features(frame: &Frame<'_>, settings: &Score) -> Result<Vec<String>> {
    let names = frame.names();
    if !names.contains(&settings.target) {
        return Err(Error::invalid(format!(
            "the examples have no column \"{}\", which is the target",
            settings.target
        ))
        .hint(suggest::hint(&settings.target, names.iter().map(String::as_str))));
    }
    let features: Vec<String> = names
        .into_iter()
        .filter(|n| !NOT_FEATURES.contains(&n.as_str()) && *n != settings.target)
        .collect();
    if features.is_empty() {
        return Err(Error::invalid(
            "the examples have no feature beside row_id, at and the target",
        )
        .hint("Select at least one numeric column to learn from."));
    }
    Ok(features)
}

/// The target of every row, where it is known: for a probability 0 or 1.
fn targets(frame: &Frame<'_>, settings: &Score) -> Result<Vec<Option<f64>>> {
    let name = &settings.target;
    let mut targets = frame.numbers_if_any(name)?;
    for target in &mut targets {
        *target = target.filter(|target| target.is_finite());
    }
    if targets.iter().all(Option::is_none) && frame.is_text(name) {
        let texts = frame.text(name)?;
        let count = texts.iter().flatten().filter(|text| !text.trim().is_empty()).count();
        if count > 0 {
            return Err(Error::invalid(format!(
                "the target \"{name}\" is a text that is no number in all of {count} rows"
            ))
            .hint(format!(
                "Make a number of it in `examples`, such as `case {name} when 'yes' then 1 when 'no' then 0 end as {name}`."
            )));
        }
    }
    let neither = |target: &f64| *target != 0.0 && *target != 1.0;
    let mut others = targets.iter().flatten().copied().filter(neither);
    if settings.predict == Predict::Probability
        && let Some(first) = others.next()
    {
        let count = 1 + others.count();
        return Err(Error::invalid(format!(
            "the target \"{name}\" of a probability is {first}, neither 0 nor 1, in {count} of {} rows",
            frame.rows()
        ))
        .hint(format!(
            "Write `predict: number`, or ask what is true or false in `examples`, such as `cast({name} > 10 as int) as {name}`."
        )));
    }
    Ok(targets)
}

fn new_model(settings: &Score, features: usize) -> Result<Model> {
    Ok(match (settings.predict, settings.hashed) {
        (Predict::Probability, Some(hashed)) => {
            Model::Hashed(Box::new(HashedModel::new(features, hashed)?))
        }
        (Predict::Number, Some(_)) => {
            return Err(Error::invalid("hashed features are learned for probabilities only")
                .hint("Remove `hashed`, or write predict: probability for a target of 0 and 1."));
        }
        (Predict::Probability, None) => {
            Model::Probability(Logistic::new(features, logistic::Options::default())?)
        }
        (Predict::Number, None) => {
            Model::Number(Linear::new(features, linear::Options::default())?)
        }
    })
}

impl Stored {
    /// What is predicted of a row.
    fn score(&self, row: &[Cell]) -> Result<f64> {
        match &self.model {
            Model::Probability(model) => model.predict(&numbers(row)),
            Model::Number(model) => model.predict(&numbers(row)),
            Model::Hashed(model) => model.predict(&self.features, row),
        }
    }

    /// What should be known before anybody believes the scores. Row by row, the other class may be yet to come, so that one
    /// alone is no error.
    fn notices(&self, settings: &Score) -> Vec<String> {
        let alone = match settings.predict {
            Predict::Probability if self.positives == 0 => Some(0),
            Predict::Probability if self.positives == self.examples => Some(1),
            _ => None,
        };
        let alone = alone.filter(|_| self.examples > 0).map(|class| {
            format!(
                "the target \"{}\" was {class} in all of {} examples so far, so nothing is known of the other",
                settings.target, self.examples
            )
        });
        few(self.examples).into_iter().chain(alone).chain(self.too_good.clone()).collect()
    }

    /// Notes whether the newest examples were foretold better than fits foretell, before they were learned: of each its row,
    /// what was foretold and what came. With too few of them what was noted before stands.
    fn judge(&mut self, rows: &[Vec<Cell>], foretold: &[(usize, f64, f64)]) -> Result<()> {
        let count = foretold.len();
        if count < whole::JUDGED_MIN {
            return Ok(());
        }
        let newest = foretold.get(count - count / whole::HELD_ONE_OF..).unwrap_or_default();
        let scores: Vec<f64> = newest.iter().map(|(_, score, _)| *score).collect();
        let came: Vec<f64> = newest.iter().map(|(_, _, target)| *target).collect();
        self.too_good = match auc(&scores, &came, 0.95)? {
            Some(found) if whole::is_too_good(&found, &came) => {
                let targets: Vec<f64> = foretold.iter().map(|(_, _, target)| *target).collect();
                let column = |at: usize| telling(rows, foretold, at);
                let which =
                    "the newest examples are foretold almost without error before they are learned";
                Some(whole::leaking(which, &self.features, &column, &targets, &found)?)
            }
            _ => None,
        };
        Ok(())
    }

    /// Whether the file still asks for the model that was learned.
    fn fits(&self, settings: &Score) -> bool {
        match &self.model {
            Model::Probability(_) => {
                settings.predict == Predict::Probability && settings.hashed.is_none()
            }
            Model::Number(_) => settings.predict == Predict::Number && settings.hashed.is_none(),
            Model::Hashed(model) => settings.hashed.is_some_and(|hashed| {
                settings.predict == Predict::Probability
                    && 1 << hashed.bits.min(31) == model.hashing.places()
            }),
        }
    }
}

/// The features of every row. Where they are not `hashed`, all are numbers and a missing one is 0; a text that is no number
/// is refused.
fn matrix(frame: &Frame<'_>, features: &[String], hashed: bool) -> Result<Vec<Vec<Cell>>> {
    let column = |name: &String| -> Result<Vec<Cell>> {
        if hashed && frame.is_text(name) {
            let cell = |text: Option<String>| text.map_or(Cell::Missing, Cell::Text);
            return Ok(frame.text(name)?.into_iter().map(cell).collect());
        }
        let numbers = frame.numbers(name).map_err(|error| match frame.is_text(name) {
            true => error.hint(format!(
                "`algorithm: auto` learns from texts, and so does `hashed: {{}}` where a probability is predicted; for a number, write `cast(replace({name}, ',', '') as double) as {name}`."
            )),
            false => error,
        })?;
        Ok(numbers.into_iter().map(|number| Cell::of(number, hashed)).collect())
    };
    let mut columns =
        features.iter().map(|name| column(name).map(Vec::into_iter)).collect::<Result<Vec<_>>>()?;
    let row = |_| columns.iter_mut().filter_map(Iterator::next).collect();
    Ok((0..frame.rows()).map(row).collect())
}

/// The numbers of a row that has no text.
fn numbers(row: &[Cell]) -> Vec<f64> {
    let number = |cell: &Cell| match cell {
        Cell::Number(number) => *number,
        Cell::Text(_) | Cell::Missing => 0.0,
    };
    row.iter().map(number).collect()
}

/// Texts of a column beyond which it is not asked whether it tells the target by itself: each example may have its own.
const TEXTS_MAX: usize = 20;

/// A column by which examples are ranked: numbers as they are, and texts by how often the target came with them.
fn telling(rows: &[Vec<Cell>], foretold: &[(usize, f64, f64)], at: usize) -> Vec<f64> {
    let cell = move |row: usize| rows.get(row).and_then(|row| row.get(at));
    let cells = || foretold.iter().map(move |(row, _, _)| cell(*row));
    let mut texts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (cell, (_, _, target)) in cells().zip(foretold) {
        if let Some(Cell::Text(text)) = cell {
            let (came, count) = texts.entry(text.as_str()).or_default();
            *came += target;
            *count += 1.0;
        }
    }
    let many = texts.len() > TEXTS_MAX;
    let number = |cell: Option<&Cell>| match cell {
        Some(Cell::Number(number)) => *number,
        Some(Cell::Text(text)) if !many => {
            texts.get(text.as_str()).map_or(0.0, |(came, count)| came / count)
        }
        Some(Cell::Text(_)) => 0.0,
        // That a value is missing tells as well as one.
        Some(Cell::Missing) | None => f64::MIN,
    };
    cells().map(number).collect()
}

fn learn_rows(frame: &Frame<'_>, settings: &Score, stored: &mut Stored) -> Result<Progress> {
    let rows = matrix(frame, &stored.features, settings.hashed.is_some())?;
    let (targets, moments) = (targets(frame, settings)?, frame.moments("at")?);
    let mut progress = Progress::default();
    let mut foretold = Vec::new();
    for (index, ((row, target), at)) in rows.iter().zip(targets).zip(moments).enumerate() {
        let Some(target) = target else { continue };
        let predicted = match &mut stored.model {
            Model::Probability(model) => model.learn(&numbers(row), target > 0.5)?,
            Model::Number(model) => {
                let row = numbers(row);
                let predicted = if model.events() > 0 { model.predict(&row)? } else { target };
                model.learn(&row, target)?;
                predicted
            }
            Model::Hashed(model) => model.learn(&stored.features, row, target > 0.5)?,
        };
        progress.add(predicted, target, index);
        foretold.push((index, predicted, target));
        stored.examples += 1;
        stored.positives += u64::from(target > 0.5);
        stored.through = Some(at.max(stored.through.unwrap_or(i64::MIN)));
    }
    if settings.predict == Predict::Probability {
        stored.judge(&rows, &foretold)?;
    }
    Ok(progress)
}

async fn score(
    ctx: &Context<'_>,
    name: &str,
    settings: &Score,
    stored: &Stored,
    artifact: &str,
) -> Result<Vec<Row>> {
    let Some(sql) = settings.score.as_ref().filter(|_| stored.examples > 0) else {
        return Ok(Vec::new());
    };
    let what = format!("learner \"{name}\": score");
    let frame = ctx.frame(&what, sql).await?;
    let mut rows = Vec::new();
    let features = matrix(&frame, &stored.features, settings.hashed.is_some())?;
    for (unit_id, row) in frame.unit_ids()?.into_iter().zip(features) {
        let score = stored.score(&row)?;
        let (scored_at, artifact) = (ctx.now, artifact.to_owned());
        rows.push(Row { unit_id, score, reason: None, scored_at, artifact });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    };

    use super::*;

    /// What is read of a column of targets.
    fn read(target: ArrayRef, predict: &str) -> Result<Vec<Option<f64>>> {
        let file = json!({"examples": "select 1", "target": "left", "predict": predict});
        let settings: Score = serde_json::from_value(file).unwrap();
        let batch = RecordBatch::try_from_iter([("left", target)]).unwrap();
        targets(&Frame::new("test", vec![batch]), &settings)
    }

    #[test]
    fn the_target_of_a_probability_is_0_or_1() {
        let numbers =
            |numbers: &[Option<f64>]| Arc::new(Float64Array::from(numbers.to_vec())) as ArrayRef;
        let known = numbers(&[Some(0.0), None, Some(1.0), Some(f64::NAN)]);
        assert_eq!(read(known, "probability").unwrap(), [Some(0.0), None, Some(1.0), None]);
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]));
        assert_eq!(read(flags, "probability").unwrap(), [Some(1.0), Some(0.0), None]);
        let amounts = || numbers(&[Some(0.0), Some(37.5), Some(2.0)]);
        let error = read(amounts(), "probability").unwrap_err().report();
        assert!(error.contains("is 37.5, neither 0 nor 1, in 2 of 3 rows"), "{error}");
        assert!(error.contains("predict: number"), "{error}");
        assert_eq!(read(amounts(), "number").unwrap().len(), 3);
    }

    #[test]
    fn examples_without_order_say_what_the_missing_column_is_for() {
        let said = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            without_order("learner \"churn\": examples", &names).map(|error| error.report())
        };
        let at = said(&["row_id", "age", "left"]).unwrap();
        assert!(at.contains("examples: the column \"at\" is missing, which is the moment"), "{at}");
        let id = said(&["at", "age", "left"]).unwrap();
        assert!(id.contains("the column \"row_id\" is missing"), "{id}");
        assert_eq!(said(&["row_id", "at", "left"]), None);
    }

    #[test]
    fn few_examples_and_a_class_alone_are_told_of() {
        let file = json!({"examples": "select 1", "target": "left", "predict": "probability"});
        let settings: Score = serde_json::from_value(file).unwrap();
        let told = |examples: u64, positives: u64| {
            let model = new_model(&settings, 1).unwrap();
            let features = vec!["age".to_owned()];
            let stored =
                Stored { features, through: None, model, positives, examples, too_good: None };
            stored.notices(&settings)
        };
        assert_eq!(told(100, 40), Vec::<String>::new());
        assert!(told(5, 2)[0].starts_with("5 examples were learned so far"));
        assert!(told(100, 0)[0].contains("\"left\" was 0 in all of 100 examples"));
        assert!(told(100, 100)[0].contains("\"left\" was 1 in all of 100 examples"));
        assert_eq!(told(0, 0), Vec::<String>::new(), "there are no scores either");
    }

    #[test]
    fn a_text_is_no_feature_unless_it_is_a_number_or_hashed() {
        let texts =
            |texts: &[Option<&str>]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
        let read = |column: ArrayRef, hashed: bool| {
            let batch = RecordBatch::try_from_iter_with_nullable([("town", column, true)]).unwrap();
            matrix(&Frame::new("test", vec![batch]), &["town".to_owned()], hashed)
        };
        let error = read(texts(&[None, Some("Ulm")]), false).unwrap_err().report();
        assert!(error.contains("\"town\" holds \"Ulm\" in row 2, which is no number"), "{error}");
        assert!(error.contains("algorithm: auto") && error.contains("`hashed: {}`"), "{error}");
        let known = read(texts(&[None, Some("Ulm")]), true).unwrap();
        assert_eq!(known, [[Cell::Missing], [Cell::Text("Ulm".into())]]);
        let numbers = read(texts(&[Some("2.5"), Some(""), None]), false).unwrap();
        assert_eq!(numbers, [[Cell::Number(2.5)], [Cell::Number(0.0)], [Cell::Number(0.0)]]);
    }

    #[test]
    fn a_target_of_words_is_refused_and_one_that_is_not_known_yet_is_not() {
        let texts =
            |texts: &[Option<&str>]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
        for predict in ["probability", "number"] {
            let error = read(texts(&[Some("yes"), None, Some("no")]), predict).unwrap_err();
            let error = error.report();
            assert!(error.contains("\"left\" is a text that is no number in all of 2"), "{error}");
            assert!(error.contains("when 'yes' then 1"), "{error}");
            assert_eq!(read(texts(&[None, Some("")]), predict).unwrap(), [None, None]);
            assert_eq!(read(texts(&[None, Some("1")]), predict).unwrap(), [None, Some(1.0)]);
        }
    }

    #[test]
    fn a_column_that_tells_the_target_is_named_where_rows_are_learned_one_by_one() {
        let told = |known: &dyn Fn(i64) -> f64, more: &str| {
            let column = |of: &dyn Fn(i64) -> f64| {
                Arc::new(Float64Array::from((0..600).map(of).collect::<Vec<_>>())) as ArrayRef
            };
            let moments: Vec<i64> = (0..600).collect();
            let target = |n: i64| f64::from(u8::from(n % 3 == 0));
            let batch = RecordBatch::try_from_iter([
                ("at", Arc::new(TimestampMicrosecondArray::from(moments)) as ArrayRef),
                ("left", column(&target)),
                ("noise", column(&|n| (n * 7 % 11) as f64)),
                ("ended", column(known)),
            ])
            .unwrap();
            let file = format!(
                "{{\"examples\": \"select 1\", \"target\": \"left\", \"algorithm\": \"online\"{more}}}"
            );
            let settings: Score = serde_json::from_str(&file).unwrap();
            let features = vec!["noise".to_owned(), "ended".to_owned()];
            let model = new_model(&settings, 2).unwrap();
            let mut stored = Stored {
                features,
                through: None,
                model,
                positives: 0,
                examples: 0,
                too_good: None,
            };
            learn_rows(&Frame::new("test", vec![batch]), &settings, &mut stored).unwrap();
            stored.notices(&settings)
        };
        for more in ["", ", \"hashed\": {}"] {
            let leak = told(&|n| if n % 3 == 0 { 9.0 } else { 1.0 }, more);
            assert!(leak.len() == 1 && leak[0].contains("\"ended\" alone tells"), "{leak:?}");
            assert!(leak[0].contains("before they are learned"), "{leak:?}");
            assert_eq!(told(&|n| (n % 5) as f64, more), Vec::<String>::new());
        }
    }
}
