//! `lookalike`: an audience made from one that is known, by likeness to its units.

use std::collections::HashMap;

use flywheel_algo::lookalike::{Alike, Fit, Judged, Method, SEEDS_MIN, Units, rank};
use flywheel_algo::score::encode::{Encoder, Values};
use flywheel_base::{Error, Result, Timestamp, task};
use flywheel_project::resource::learner::{Lookalike, LookalikeAlgorithm};
use flywheel_warehouse::WriteMode;
use serde::Serialize;
use serde_json::{Value, json};

use super::score::whole::{reason, values};
use super::{ARTIFACT, Fitted, LearnerEntry, Measure, write_scores};
use crate::context::Context;
use crate::frame::Frame;
use crate::table::ColumnType::{Integer, Moment, Number, Text};

/// Its entry.
pub(super) const ENTRY: LearnerEntry = LearnerEntry {
    name: "lookalike",
    about: "Who of everybody else is most like some seeds; seeds themselves are not listed.",
    columns: &[
        ("unit_id", Text, "a unit that is no seed"),
        ("rank", Integer, "the place in the list, from 1"),
        (
            "share",
            Number,
            "which share of all that are listed is not less alike: 0.05 for the last of the best 5 %",
        ),
        ("score", Number, "the larger the more alike; no probability"),
        (
            "reason",
            Text,
            "what moved the score most, each with its value and by how much; none if likeness is a distance",
        ),
        ("scored_at", Moment, "the logical moment"),
        ARTIFACT,
    ],
};

#[derive(Serialize)]
struct Row {
    unit_id: String,
    rank: i64,
    share: f64,
    score: f64,
    reason: Option<String>,
    scored_at: Timestamp,
    artifact: String,
}

/// What is stored of a fit.
#[derive(Serialize)]
struct Stored<'a> {
    encoder: &'a Encoder,
    fits: &'a [Fit],
}

/// Everybody, in the order of their ids.
struct Everybody {
    ids: Vec<String>,
    columns: Vec<(String, Values)>,
    encoder: Encoder,
    seeds: Vec<bool>,
    /// Seeds that the query for units does not know.
    strangers: usize,
}

/// Ranks everybody else by likeness to the seeds, and judges the ranking by seeds that were held back.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Lookalike,
) -> Result<(Fitted, String, u64)> {
    let everybody = read(ctx, name, settings).await?;
    let method = match settings.algorithm {
        LookalikeAlgorithm::Auto => None,
        LookalikeAlgorithm::Logistic => Some(Method::Logistic),
        LookalikeAlgorithm::Nearest => Some(Method::Nearest),
        LookalikeAlgorithm::BoostedTrees => Some(Method::BoostedTrees),
    };
    let (everybody, alike) = task::compute(move || {
        let features = everybody.encoder.rows(&everybody.columns)?;
        let units = Units {
            ids: &everybody.ids,
            features: &features,
            width: everybody.encoder.width(),
            seeds: &everybody.seeds,
        };
        let alike = rank(&units, method)?;
        Ok((everybody, alike))
    })
    .await?;
    let stored = Stored { encoder: &everybody.encoder, fits: &alike.fits };
    let bytes = serde_json::to_vec(&stored)
        .map_err(|e| Error::internal("a likeness is no JSON").caused_by(e))?;
    let artifact = ctx.artifacts.put(&bytes)?;
    let rows = rows(&everybody, &alike, ctx.now, &artifact);
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    let seeds = everybody.seeds.iter().filter(|seed| **seed).count();
    let detail = json!({
        "algorithm": alike.method.name(),
        "features": everybody.columns.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "seeds": seeds,
        "seeds not among the units": everybody.strangers,
        "held back": alike.judged.as_ref().map(told),
    });
    let measures = alike.judged.as_ref().map(measures).unwrap_or_default();
    Ok((Fitted { bytes, rows_in: everybody.ids.len() as u64, detail, measures }, artifact, count))
}

async fn read(ctx: &Context<'_>, name: &str, settings: &Lookalike) -> Result<Everybody> {
    let (seeds_of, units_of) =
        (format!("learner \"{name}\": seeds"), format!("learner \"{name}\": units"));
    let frame = ctx.frame(&seeds_of, &settings.seeds).await?;
    let mut seeds: HashMap<String, bool> =
        frame.ids("unit_id")?.into_iter().map(|id| (id, false)).collect();
    let frame = ctx.frame(&units_of, &settings.units).await?;
    // Nothing may depend on the order in which the engine gives rows.
    let ids = frame.ids("unit_id")?;
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by(|a, b| ids[*a].cmp(&ids[*b]));
    let frame = frame.at(&order)?;
    let ids: Vec<String> = order.into_iter().map(|at| ids[at].clone()).collect();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid(format!("{units_of}: unit \"{}\" is there twice", pair[0]))
            .hint("Give one row a unit."));
    }
    let flags = ids.iter().map(|id| match seeds.get_mut(id) {
        Some(found) => {
            *found = true;
            true
        }
        None => false,
    });
    let flags: Vec<bool> = flags.collect();
    let known = seeds.values().filter(|found| **found).count();
    if known < SEEDS_MIN {
        return Err(Error::invalid(format!(
            "{seeds_of}: {} of {} seeds are among the units, and {SEEDS_MIN} are needed",
            known,
            seeds.len()
        ))
        .hint("Name more seeds by the ids that the query for units has, and do not leave them out there."));
    }
    if known == ids.len() {
        return Err(Error::invalid(format!("{units_of}: every unit is a seed"))
            .hint("Select everybody; those who are no seeds are ranked."));
    }
    let columns = columns(&frame).map_err(|e| e.context(&units_of))?;
    let encoder = Encoder::fit(&columns)?;
    if encoder.width() == 0 {
        return Err(Error::invalid(format!(
            "{units_of}: no feature has a value that occurs five times"
        ))
        .hint("Add numbers, or texts that many units share."));
    }
    let strangers = seeds.len() - known;
    Ok(Everybody { ids, columns, encoder, seeds: flags, strangers })
}

fn columns(frame: &Frame<'_>) -> Result<Vec<(String, Values)>> {
    let names = frame.names().into_iter().filter(|name| name != "unit_id");
    let column = |name: String| {
        let text = frame.is_text(&name);
        let values = values(frame, &name, text)?;
        Ok((name, values))
    };
    let columns = names.map(column).collect::<Result<Vec<_>>>()?;
    if columns.is_empty() {
        return Err(Error::invalid("there is no feature beside unit_id")
            .hint("Select at least one column by which units are like or unlike."));
    }
    Ok(columns)
}

fn rows(everybody: &Everybody, alike: &Alike, now: Timestamp, artifact: &str) -> Vec<Row> {
    let mut others: Vec<usize> =
        (0..everybody.ids.len()).filter(|row| !everybody.seeds[*row]).collect();
    others.sort_by(|a, b| alike.scores[*b].total_cmp(&alike.scores[*a]).then(a.cmp(b)));
    let column_of = everybody.encoder.column_of();
    let width = everybody.encoder.width();
    let count = others.len();
    let row = |(place, row): (usize, usize)| {
        let moved = alike.contributions.get(row * width..(row + 1) * width);
        Row {
            unit_id: everybody.ids[row].clone(),
            rank: i64::try_from(place).unwrap_or(i64::MAX).saturating_add(1),
            share: (place + 1) as f64 / count as f64,
            score: alike.scores[row],
            reason: moved.and_then(|moved| reason(moved, &column_of, &everybody.columns, row)),
            scored_at: now,
            artifact: artifact.to_owned(),
        }
    };
    others.into_iter().enumerate().map(row).collect()
}

/// What held-back seeds say, with intervals.
fn told(judged: &Judged) -> Value {
    let tops = judged.tops.iter().map(|top| {
        json!({
            "share": top.share, "recall": top.recall.estimate,
            "low": top.recall.low, "high": top.recall.high, "by distance to the mean seed": top.by_distance,
        })
    });
    json!({
        "seeds": judged.seeds, "others": judged.others,
        "auc": {"estimate": judged.auc.estimate, "low": judged.auc.low, "high": judged.auc.high},
        "tops": tops.collect::<Vec<_>>(),
    })
}

fn measures(judged: &Judged) -> Vec<Measure> {
    /// What the shares of the algorithm are called: beside chance, and beside the mean seed.
    const NAMES: [[&str; 2]; 3] = [
        [
            "held-back seeds in the best 5 %",
            "held-back seeds in the best 5 %, beside the mean seed",
        ],
        [
            "held-back seeds in the best 10 %",
            "held-back seeds in the best 10 %, beside the mean seed",
        ],
        [
            "held-back seeds in the best 20 %",
            "held-back seeds in the best 20 %, beside the mean seed",
        ],
    ];
    let count = judged.seeds;
    let measure = |name, value, baseline| Measure {
        name,
        value: Some(value),
        baseline: Some(baseline),
        count,
    };
    let mut all = vec![measure("auc, held-back seeds", judged.auc.estimate, 0.5)];
    for (top, [beside_chance, beside_mean]) in judged.tops.iter().zip(NAMES) {
        all.push(measure(beside_chance, top.recall.estimate, top.share));
        all.push(measure(beside_mean, top.recall.estimate, top.by_distance));
    }
    all
}
