//! `uplift`: for whom a treatment changes the outcome, learned from units that chance treated or left alone.

use flywheel_algo::uplift::assignment;
use flywheel_algo::uplift::qini::{effect_at, qini};
use flywheel_algo::uplift::{self, Experiment};
use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_project::resource::learner::{Uplift, UpliftMethod};
use flywheel_warehouse::WriteMode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ARTIFACT, Fitted, LearnerEntry, Measure, write_scores};
use crate::context::Context;
use crate::frame::Frame;
use crate::table::ColumnType::{Moment, Number, Text};

/// Its entry.
pub(super) const ENTRY: LearnerEntry = LearnerEntry {
    name: "uplift",
    about: "By how much a treatment changes each unit's chance, learned from units that chance treated or left alone.",
    columns: &[
        ("unit_id", Text, "whom the score is about"),
        ("uplift", Number, "the chance if treated less the chance if left alone"),
        ("scored_at", Moment, "the logical moment"),
        ARTIFACT,
    ],
};

/// Columns of the experiment that are no features.
const NOT_FEATURES: [&str; 3] = ["unit_id", "treated", "happened"];

/// The pull of standardised weights towards 0, in units.
const PENALTY: f64 = 1.0;

/// One unit in so many is held back to judge the fit.
const HELD_ONE_IN: u64 = 3;

/// The share of units, the best ranked, whose effect is told.
const BEST: f64 = 0.3;

/// The confidence of that effect; only its middle is told.
const CONFIDENCE: f64 = 0.95;

/// How well features may rank who was treated before it is told that chance did not choose them; chance ranks at .5.
const CHOSEN: f64 = 0.55;

/// The confidence with which they rank them better than that.
const CHOSEN_CONFIDENCE: f64 = 0.999;

/// Units of an arm below which a ranking is told to be luck.
const ARM_MIN: usize = 100;

/// An arm with fewer than one unit in so many is told to be small beside the other one.
const UNEVEN: usize = 10;

#[derive(Serialize)]
struct Row {
    unit_id: String,
    uplift: f64,
    scored_at: Timestamp,
    artifact: String,
}

/// What is stored of a fit.
#[derive(Serialize, Deserialize)]
struct Stored {
    features: Vec<String>,
    model: uplift::Uplift,
}

/// The units of an experiment, row by row.
#[derive(Default)]
struct Units {
    features: Vec<f64>,
    treated: Vec<bool>,
    happened: Vec<bool>,
}

impl Units {
    fn push(&mut self, row: &[f64], treated: bool, happened: bool) {
        self.features.extend_from_slice(row);
        self.treated.push(treated);
        self.happened.push(happened);
    }

    fn experiment(&self) -> Experiment<'_> {
        let Self { features, treated, happened } = self;
        Experiment { features, treated, happened }
    }

    /// Whether there is somebody in both arms.
    fn has_both(&self) -> bool {
        self.treated.contains(&true) && self.treated.contains(&false)
    }
}

/// Fits the experiment, judges the fit on units held back, and scores every unit.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Uplift,
) -> Result<(Fitted, String, u64)> {
    let what = format!("learner \"{name}\": experiment");
    let frame = ctx.frame(&what, &settings.experiment).await?;
    let features = features(&frame)?;
    let (rows, mut notices) = matrix(&frame, &features, "`experiment`")?;
    let (treated, happened) = (flags(&frame, "treated")?, flags(&frame, "happened")?);
    both_happened(&happened)?;
    let ids = frame.ids("unit_id")?;
    // A sum must not depend on the order in which the engine gives rows.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| ids[*a].cmp(&ids[*b]));
    let twice = order.windows(2).find(|pair| ids[pair[0]] == ids[pair[1]]);
    if let Some([first, _]) = twice {
        return Err(Error::invalid(format!("unit \"{}\" is in the experiment twice", ids[*first]))
            .hint("Give one row a unit: whether it was treated, and whether it happened since."));
    }
    let (mut all, mut known, mut held) = (Units::default(), Units::default(), Units::default());
    for at in order {
        let (row, treated, happened) = (&rows[at], treated[at], happened[at]);
        all.push(row, treated, happened);
        let hash = digest::hash64(&[b"uplift", ids[at].as_bytes()]);
        let part = if hash.is_multiple_of(HELD_ONE_IN) { &mut held } else { &mut known };
        part.push(row, treated, happened);
    }
    let kind = kind(settings.method);
    let measures = judged(kind, &known, &held, features.len())?;
    let model = uplift::Uplift::fit(kind, &all.experiment(), PENALTY)?;
    let stored = Stored { features, model };
    let bytes = serde_json::to_vec(&stored)
        .map_err(|e| Error::internal("an uplift is no JSON").caused_by(e))?;
    let artifact = ctx.artifacts.put(&bytes)?;
    let (rows, of_scores) = score(ctx, name, settings, &stored, &artifact).await?;
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    let with = all.treated.iter().filter(|treated| **treated).count();
    let without = all.treated.len() - with;
    notices.extend(of_scores);
    notices.extend(match few(with, without) {
        Some(few) => vec![few],
        None => uneven(with, without).into_iter().chain(chosen(&known, &held)?).collect(),
    });
    let mut detail = json!({
        "features": stored.features,
        "method": kind.name(),
        "treated": with,
        "left alone": without,
    });
    if let Some(detail) = detail.as_object_mut().filter(|_| !notices.is_empty()) {
        detail.insert("notices".to_owned(), json!(notices));
    }
    Ok((Fitted { bytes, rows_in: frame.rows() as u64, detail, measures }, artifact, count))
}

fn kind(method: UpliftMethod) -> uplift::Kind {
    match method {
        UpliftMethod::S => uplift::Kind::S,
        UpliftMethod::T => uplift::Kind::T,
        UpliftMethod::X => uplift::Kind::X,
    }
}

/// How good a ranking is on units that did not go into it; nothing if a part lacks an arm.
fn judged(kind: uplift::Kind, known: &Units, held: &Units, width: usize) -> Result<Vec<Measure>> {
    if !(known.has_both() && held.has_both()) {
        return Ok(Vec::new());
    }
    let model = uplift::Uplift::fit(kind, &known.experiment(), PENALTY)?;
    let scores = held
        .features
        .chunks_exact(width)
        .map(|row| model.predict(row))
        .collect::<Result<Vec<f64>>>()?;
    let all = qini(&scores, &held.treated, &held.happened)?;
    let best = effect_at(&scores, &held.treated, &held.happened, BEST, CONFIDENCE)?;
    let count = scores.len();
    Ok(vec![
        Measure { name: "qini", value: Some(all.area), baseline: Some(0.0), count },
        Measure {
            name: "effect on the best 30 %",
            value: best.map(|effect| effect.estimate),
            baseline: Some(all.effect),
            count,
        },
    ])
}

fn features(frame: &Frame<'_>) -> Result<Vec<String>> {
    if frame.rows() == 0 {
        return Err(Error::invalid("the experiment has no row")
            .hint("Learn once units were treated and left alone; check the filter of the query."));
    }
    let all = frame.names();
    let features: Vec<String> =
        all.into_iter().filter(|name| !NOT_FEATURES.contains(&name.as_str())).collect();
    if features.is_empty() {
        return Err(Error::invalid(
            "the experiment has no feature beside unit_id, treated and happened",
        )
        .hint("Select at least one numeric column that was known before the treatment."));
    }
    Ok(features)
}

/// The features of every row, and what is to be told of them; a missing value is 0, as is one that is not finite, which
/// is told, and a text that is no number is refused.
fn matrix(
    frame: &Frame<'_>,
    features: &[String],
    query: &str,
) -> Result<(Vec<Vec<f64>>, Vec<String>)> {
    let columns = features.iter().map(|name| frame.numbers(name)).collect::<Result<Vec<_>>>()?;
    let mut notices = Vec::new();
    for (name, column) in features.iter().zip(&columns) {
        let count = column.iter().flatten().filter(|number| !number.is_finite()).count();
        if count > 0 {
            notices.push(format!(
                "\"{name}\" is not a number or infinite in {count} of {} rows of {query}, which count as 0 like null",
                column.len()
            ));
        }
    }
    let number = |column: &Vec<Option<f64>>, row: usize| {
        column.get(row).copied().flatten().filter(|number| number.is_finite()).unwrap_or(0.0)
    };
    let row = |row| columns.iter().map(|column| number(column, row)).collect();
    Ok(((0..frame.rows()).map(row).collect(), notices))
}

/// Refuses an experiment in which it happened to everybody or to nobody: there is no chance to change.
fn both_happened(happened: &[bool]) -> Result<()> {
    let always = match (happened.contains(&true), happened.contains(&false)) {
        (true, true) => return Ok(()),
        (always, _) => always,
    };
    Err(Error::invalid(format!(
        "\"happened\" is {} for all of {} units of the experiment",
        u8::from(always),
        happened.len()
    ))
    .hint("Uplift needs units with and without the outcome: wait for more outcomes, or check how `happened` is made."))
}

/// What is told of an experiment with so many treated units and others, if it is small.
fn few(with: usize, without: usize) -> Option<String> {
    (with.min(without) < ARM_MIN).then(|| {
        format!(
            "the experiment has {with} treated units and {without} others; with fewer than {ARM_MIN} of each the ranking \
             is most likely luck"
        )
    })
}

/// What is told of an experiment whose one arm is far smaller than the other: the smaller one says how much it tells.
fn uneven(with: usize, without: usize) -> Option<String> {
    let all = with + without;
    (with.min(without) * UNEVEN < all).then(|| {
        format!(
            "the experiment has {with} treated units and {without} others, and tells no more than one with {} of each: a larger \
             holdout, or more treated units, would tell more",
            2 * with * without / all
        )
    })
}

/// What is told of an experiment whose features foretell who was treated, on units that were held back.
fn chosen(known: &Units, held: &Units) -> Result<Option<String>> {
    if !(known.has_both() && held.has_both()) {
        return Ok(None);
    }
    let (known, held) = (known.experiment(), held.experiment());
    let found = assignment::foretold(&known, &held, PENALTY, CHOSEN_CONFIDENCE)?;
    Ok(found.filter(|found| found.low > CHOSEN).map(|found| {
        format!(
            "the features foretell who was treated (AUC {:.2}, where chance chooses 0.50): unless the experiment treated kinds \
             of units in different shares, somebody chose them, or a feature is from after the treatment, and the uplift is not \
             to be believed",
            found.estimate
        )
    }))
}

/// A column that says yes or no of every unit.
fn flags(frame: &Frame<'_>, column: &str) -> Result<Vec<bool>> {
    let flags = frame.flags(column)?;
    if !frame.is_text(column) {
        // Any number but 0 would pass for true.
        let numbers = frame.numbers(column)?;
        let mut others = numbers.into_iter().flatten().filter(|n| *n != 0.0 && *n != 1.0);
        if let Some(first) = others.next() {
            let count = 1 + others.count();
            return Err(Error::invalid(format!(
                "\"{column}\" is {first}, neither 0 nor 1, in {count} of {} units of the experiment",
                frame.rows()
            ))
            .hint(format!(
                "Ask what is true or false in `experiment`, such as `{column} > 0 as {column}`; leave units out that got something else."
            )));
        }
    }
    flags.into_iter().collect::<Option<Vec<bool>>>().ok_or_else(|| {
        Error::invalid(format!("the experiment has a unit whose \"{column}\" is missing")).hint(
            "Write 0 or 1, true or false for every unit; coalesce(…, 0) for those without event.",
        )
    })
}

async fn score(
    ctx: &Context<'_>,
    name: &str,
    settings: &Uplift,
    stored: &Stored,
    artifact: &str,
) -> Result<(Vec<Row>, Vec<String>)> {
    let Some(sql) = &settings.score else { return Ok((Vec::new(), Vec::new())) };
    let what = format!("learner \"{name}\": score");
    let frame = ctx.frame(&what, sql).await?;
    let (rows, notices) = matrix(&frame, &stored.features, "`score`")?;
    let one = |(unit_id, row): (String, Vec<f64>)| {
        let uplift = stored.model.predict(&row)?;
        Ok(Row { unit_id, uplift, scored_at: ctx.now, artifact: artifact.to_owned() })
    };
    let rows = frame.unit_ids()?.into_iter().zip(rows).map(one).collect::<Result<Vec<Row>>>()?;
    Ok((rows, notices))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    };

    use super::*;

    fn frame(column: ArrayRef) -> Frame<'static> {
        let batch = RecordBatch::try_from_iter_with_nullable([("treated", column, true)]).unwrap();
        Frame::new("learner \"l\": experiment", vec![batch])
    }

    #[test]
    fn an_arm_is_0_or_1_and_nothing_else() {
        let read = |column: ArrayRef| flags(&frame(column), "treated");
        assert_eq!(read(Arc::new(Int64Array::from(vec![0, 1]))).unwrap(), [false, true]);
        assert_eq!(read(Arc::new(BooleanArray::from(vec![true, false]))).unwrap(), [true, false]);
        assert_eq!(read(Arc::new(StringArray::from(vec!["1", "0"]))).unwrap(), [true, false]);
        let error = read(Arc::new(Int64Array::from(vec![0, 2, 1, 3]))).unwrap_err().report();
        assert!(error.contains("\"treated\" is 2, neither 0 nor 1, in 2 of 4 units"), "{error}");
        let error = read(Arc::new(StringArray::from(vec!["1", "2"]))).unwrap_err().report();
        assert!(error.contains("\"2\" in row 2, which is neither true nor false"), "{error}");
        let error = read(Arc::new(Int64Array::from(vec![Some(1), None]))).unwrap_err().report();
        assert!(error.contains("whose \"treated\" is missing"), "{error}");
    }

    #[test]
    fn a_text_is_no_feature_and_a_missing_number_is_0() {
        let read =
            |column: ArrayRef| matrix(&frame(column), &["treated".to_owned()], "`experiment`");
        let error = read(Arc::new(StringArray::from(vec!["3", "Ulm"]))).unwrap_err().report();
        assert!(error.contains("\"Ulm\" in row 2, which is no number"), "{error}");
        let (known, notices) = read(Arc::new(Int64Array::from(vec![Some(3), None]))).unwrap();
        assert_eq!(known, [[3.0], [0.0]]);
        assert!(notices.is_empty(), "{notices:?}");
        let odd = vec![Some(f64::NAN), Some(2.0), Some(f64::NEG_INFINITY), None];
        let (known, notices) = read(Arc::new(Float64Array::from(odd))).unwrap();
        assert_eq!(known, [[0.0], [2.0], [0.0], [0.0]]);
        let told = "\"treated\" is not a number or infinite in 2 of 4 rows of `experiment`";
        assert!(notices.len() == 1 && notices[0].starts_with(told), "{notices:?}");
    }

    #[test]
    fn an_experiment_without_both_outcomes_is_refused_and_a_small_one_told_of() {
        assert!(both_happened(&[true, false]).is_ok());
        for (happened, said) in
            [([true; 3], "is 1 for all of 3"), ([false; 3], "is 0 for all of 3")]
        {
            let error = both_happened(&happened).unwrap_err().report();
            assert!(error.contains("\"happened\"") && error.contains(said), "{error}");
        }
        assert_eq!(few(100, 100), None);
        let told = few(12, 400).unwrap();
        assert!(told.contains("12 treated units and 400 others"), "{told}");
        assert_eq!(uneven(200, 1_800), None);
        for (with, without) in [(100, 1_900), (1_900, 100)] {
            let told = uneven(with, without).unwrap();
            assert!(told.contains("no more than one with 190 of each"), "{told}");
        }
    }

    #[test]
    fn an_experiment_in_which_somebody_chose_whom_to_treat_is_told_of() {
        let units = |chosen: bool| {
            let mut units = Units::default();
            for at in 0..2_000_u32 {
                let (feature, other) = (f64::from(at * 37 % 101), f64::from(at * 53 % 97));
                let treated = if chosen { feature > 40.0 } else { at * 7_919 % 1_000 < 500 };
                units.push(&[feature, other], treated, at.is_multiple_of(5));
            }
            units
        };
        assert_eq!(chosen(&units(false), &units(false)).unwrap(), None);
        let told = chosen(&units(true), &units(true)).unwrap().unwrap();
        assert!(told.contains("AUC 1.00") && told.contains("somebody chose them"), "{told}");
        assert_eq!(chosen(&Units::default(), &units(true)).unwrap(), None, "nothing was held back");
    }
}
