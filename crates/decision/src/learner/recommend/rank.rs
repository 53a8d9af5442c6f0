//! `rank:` of a recommender: what a policy showed, as exposures to learn an order from.
//!
//! Of each decision one place counts: the last slot, which exploration draws from the rest of the list. What stood there
//! had a known chance, and always the same place. The facts of its items are those of the recommender that decided, and
//! of what the user had done until then, so that nothing is learned from what only came of it.

use std::collections::BTreeMap;

use flywheel_algo::recommend::Recommender;
use flywheel_algo::recommend::history::UserHistory;
use flywheel_algo::recommend::interactions::Vocabulary;
use flywheel_algo::recommend::rank::{
    Algorithm, Exposure, Ranker, columns, facts, learn as learn_order,
};
use flywheel_algo::recommend::serve::{OwnedItems, Request, ranking};
use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_project::resource::learner::{Rank, RankAlgorithm};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Data, Restored, restored};
use crate::artifact::Artifacts;
use crate::context::Context;
use crate::decide::TREATMENT;
use crate::learner::Measure;
use crate::log;
use crate::outcome::{literal, measured};

/// Decisions that are read at most, the newest ones.
const DECISIONS_MAX: usize = 100_000;

/// Numbers that are held of their items at most; older decisions are left out beyond it.
const FACTS_MAX: usize = 20_000_000;

/// An item as a decision has logged it.
#[derive(Deserialize)]
struct Shown {
    item_id: String,
    propensity: f64,
}

/// One decision whose last slot was filled by a draw.
struct Drawn {
    unit: String,
    at: i64,
    /// All candidates, best first.
    ids: Vec<String>,
    /// How many of them were shown before the last slot.
    before: usize,
    /// Which of those from the last slot on was shown there.
    shown: usize,
    /// The probability of each of those.
    chances: Vec<f64>,
    /// Whether the decision had an outcome.
    answered: bool,
    artifact: String,
}

/// The decisions of a policy whose window has closed, the oldest first.
pub(super) struct Log {
    drawn: Vec<Drawn>,
    /// Decisions without a draw: of before there was exploration, or with lists that are not longer than their slots.
    undrawn: usize,
    window_us: i64,
}

/// A ranker or why there is none, with what is told of it.
pub(super) struct Order {
    pub(super) ranker: Option<Ranker>,
    pub(super) measures: Vec<Measure>,
    pub(super) detail: Value,
}

/// Reads the decisions of the policy that a ranker learns from.
pub(super) async fn read(ctx: &Context<'_>, rank: &Rank) -> Result<Log> {
    let policy = &rank.from;
    let (_, outcome) = log::policy(ctx, policy)?;
    let mut log = Log { drawn: Vec::new(), undrawn: 0, window_us: outcome.window.micros };
    let closed = log::closed_until(ctx, (policy.as_str(), outcome), 0).await?;
    let Some(until) = closed else { return Ok(log) };
    let what = format!("policy \"{policy}\": what it showed");
    // A lake of before candidates were logged has no such column until the next decision.
    let table = ctx.frame_of_sql(&what, "select * from system.decisions limit 0").await?;
    if !table.has("candidate_ids") {
        return Ok(log);
    }
    let sql = format!(
        "select d.unit_id, d.decided_at, d.items, d.candidate_ids, d.artifact,
                coalesce(o.outcomes, 0) as outcomes
         from system.decisions d
         left join (select decision_id, count(*) as outcomes from system.outcomes
                    where policy = '{policy}' and {} group by decision_id) o
           on o.decision_id = d.decision_id
         where d.policy = '{policy}' and d.arm = '{TREATMENT}' and d.decided_at <= {}
           and d.items is not null and d.candidate_ids is not null and d.artifact is not null
         order by d.decided_at desc, d.decision_id limit {DECISIONS_MAX}",
        measured(),
        literal(Timestamp::from_micros(until))
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let rows = frame
        .ids("unit_id")?
        .into_iter()
        .zip(frame.moments("decided_at")?)
        .zip(frame.ids("items")?)
        .zip(frame.ids("candidate_ids")?)
        .zip(frame.ids("artifact")?)
        .zip(frame.integers("outcomes")?);
    for (((((unit, at), items), ids), artifact), outcomes) in rows {
        let items: Vec<Shown> = parsed(&what, &items)?;
        let ids: Vec<String> = parsed(&what, &ids)?;
        let Some((shown, chances)) = draw(&items, &ids) else {
            log.undrawn += 1;
            continue;
        };
        let before = items.len().saturating_sub(1);
        let answered = outcomes.unwrap_or_default() > 0;
        log.drawn.push(Drawn { unit, at, ids, before, shown, chances, answered, artifact });
    }
    log.drawn.reverse();
    Ok(log)
}

fn parsed<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::corrupt(format!("{what}: a logged value is no list of items")).caused_by(error)
    })
}

/// Which of the items from the last slot on was shown there, and the probability of each; none if it was no draw.
fn draw(items: &[Shown], ids: &[String]) -> Option<(usize, Vec<f64>)> {
    let last = items.last()?;
    let rest = ids.len().checked_sub(items.len()).filter(|rest| *rest > 0)?;
    let shown = ids.iter().skip(items.len() - 1).position(|id| *id == last.item_id)?;
    let explore = if shown == 0 { 1.0 - last.propensity } else { last.propensity * rest as f64 };
    if !(explore > 0.0 && explore < 1.0) {
        return None;
    }
    let mut chances = vec![explore / rest as f64; rest + 1];
    if let Some(first) = chances.first_mut() {
        *first = 1.0 - explore;
    }
    Some((shown, chances))
}

/// Decisions that say nothing, by the reason.
#[derive(Default)]
struct LeftOut {
    /// The recommender that decided is not on disk any more, or cannot be read.
    without_artifact: usize,
    /// It was another algorithm.
    other_algorithm: usize,
    /// A candidate is not known to it.
    unknown_items: usize,
    /// They are older than what is held at once.
    older: usize,
}

/// Learns an order, or says why the algorithm's own stays.
pub(super) fn learn(
    rank: &Rank,
    log: &Log,
    artifacts: &Artifacts,
    data: &Data,
    models: &[Box<dyn Recommender>],
) -> Result<Order> {
    let model = models.first().ok_or_else(|| Error::internal("no recommender to rank for"))?;
    let columns = columns(model.as_ref(), &rank.features);
    let (exposures, left_out) = exposures(log, artifacts, data, model.algorithm(), columns.len())?;
    let algorithm = match rank.algorithm {
        RankAlgorithm::Auto => Algorithm::Auto,
        RankAlgorithm::BoostedTrees => Algorithm::BoostedTrees,
        RankAlgorithm::Logistic => Algorithm::Logistic,
    };
    let learned = learn_order(&exposures, &columns, algorithm)
        .map_err(|error| error.context(format!("ranking by policy \"{}\"", rank.from)))?;
    let mut measures = Vec::new();
    if let Some(judged) = &learned.judged {
        measures.push(Measure {
            name: "answers a place, ranked, beside the algorithm's order",
            value: Some(judged.ranked),
            baseline: Some(judged.sources),
            count: judged.exposures,
        });
        measures.push(Measure {
            name: "gain of ranking, lower end",
            value: Some(judged.gain.low),
            baseline: Some(0.0),
            count: judged.exposures,
        });
    }
    for refusal in &learned.refusals {
        let (value, baseline) = refusal.figures();
        measures.push(Measure { name: refusal.words(), value, baseline, count: exposures.len() });
    }
    let why: Vec<String> = learned.refusals.iter().map(ToString::to_string).collect();
    let detail = json!({
        "from": rank.from,
        "used": learned.ranker.is_some(),
        "algorithm": learned.ranker.as_ref().map(Ranker::algorithm),
        "why_not": why,
        "exposures": exposures.len(),
        "answers": exposures.iter().filter(|one| one.answered).count(),
        "judged": learned.judged,
        "reads": columns,
        "left_out": {
            "no_draw": log.undrawn, "without_artifact": left_out.without_artifact,
            "other_algorithm": left_out.other_algorithm, "unknown_items": left_out.unknown_items,
            "older": left_out.older,
        },
    });
    Ok(Order { ranker: learned.ranker, measures, detail })
}

/// The exposures, the oldest first, and what was left out.
fn exposures(
    log: &Log,
    artifacts: &Artifacts,
    data: &Data,
    algorithm: &str,
    width: usize,
) -> Result<(Vec<Exposure>, LeftOut)> {
    let mut left_out = LeftOut::default();
    let (mut numbers, mut from) = (0_usize, log.drawn.len());
    for drawn in log.drawn.iter().rev() {
        numbers = numbers.saturating_add(drawn.ids.len().saturating_mul(width));
        if numbers > FACTS_MAX {
            break;
        }
        from -= 1;
    }
    left_out.older = from;
    let kept = log.drawn.get(from..).unwrap_or_default();
    let mut of_artifact: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut units: BTreeMap<&str, u32> = BTreeMap::new();
    for (place, drawn) in kept.iter().enumerate() {
        of_artifact.entry(&drawn.artifact).or_default().push(place);
        let next = u32::try_from(units.len()).unwrap_or(u32::MAX);
        units.entry(&drawn.unit).or_insert(next);
    }
    let mut made: BTreeMap<usize, Exposure> = BTreeMap::new();
    // One recommender at a time is in memory, as each is as large as the one that is fitted.
    for (digest, places) in of_artifact {
        let fitted = match artifacts.get(digest).and_then(|bytes| restored(&bytes)) {
            Ok(fitted) => fitted,
            // An old file that is gone, damaged or of an earlier version must not end all learning to come.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                tracing::warn!(artifact = digest, %error, "decisions of an artifact are left out");
                left_out.without_artifact += places.len();
                continue;
            }
            Err(error) => return Err(error),
        };
        if fitted.models.first().is_none_or(|model| model.algorithm() != algorithm) {
            left_out.other_algorithm += places.len();
            continue;
        }
        let found: Vec<Option<Exposure>> = places
            .par_iter()
            .map(|place| {
                let drawn = kept.get(*place)?;
                let unit = units.get(drawn.unit.as_str()).copied()?;
                exposure(drawn, unit, &fitted, data, log.window_us)
            })
            .collect();
        for (place, exposure) in places.into_iter().zip(found) {
            match exposure {
                Some(exposure) => drop(made.insert(place, exposure)),
                None => left_out.unknown_items += 1,
            }
        }
    }
    Ok((made.into_values().collect(), left_out))
}

/// One decision as an exposure; none if the recommender does not know one of its candidates.
fn exposure(
    drawn: &Drawn,
    unit: u32,
    fitted: &Restored,
    data: &Data,
    window_us: i64,
) -> Option<Exposure> {
    let Restored { items, models, .. } = fitted;
    let models: Vec<&dyn Recommender> = models.iter().map(AsRef::as_ref).collect();
    let history = until(drawn, items, data);
    let candidates: Vec<u32> =
        drawn.ids.iter().map(|id| items.index(id)).collect::<Option<Vec<_>>>()?;
    let mut wanted = vec![false; items.len()];
    for item in &candidates {
        *wanted.get_mut(*item as usize)? = true;
    }
    let request = Request {
        owned: OwnedItems::Include,
        available: Some(&wanted),
        ..Request::new(candidates.len())
    };
    // What the sources themselves make of them: the logged order may be that of an earlier ranker.
    let mut order: Vec<u32> =
        ranking(&models, &history, &request).into_iter().map(|one| one.item).collect();
    let without: Vec<u32> =
        candidates.iter().copied().filter(|item| !order.contains(item)).collect();
    order.extend(without);
    let unknown = vec![f64::NAN; data.facts.first().map_or(0, Vec::len)];
    let of_item = |item: u32| {
        let known = items.id(item).and_then(|id| data.items.index(id));
        known.and_then(|item| data.facts.get(item as usize)).unwrap_or(&unknown).clone()
    };
    let all = facts(&models, &history, &order, of_item);
    let width = all.len() / order.len().max(1);
    let pool = candidates.get(drawn.before..)?;
    let places: Vec<usize> =
        pool.iter().map(|item| order.iter().position(|one| one == item)).collect::<Option<_>>()?;
    let rows = places.iter().filter_map(|place| all.get(place * width..(place + 1) * width));
    let (first, _) = places.iter().enumerate().min_by_key(|(_, place)| **place)?;
    Some(Exposure {
        unit,
        facts: rows.flatten().copied().collect(),
        chances: drawn.chances.clone(),
        first,
        shown: drawn.shown,
        answered: drawn.answered && took(drawn, data, window_us),
    })
}

/// What the unit of a decision had done before it, in the names of the recommender that decided.
fn until(drawn: &Drawn, items: &Vocabulary, data: &Data) -> UserHistory {
    let mut history = UserHistory::empty(Some(drawn.at));
    let user = data.users.index(&drawn.unit).map(|user| user as usize);
    for cell in user.into_iter().flat_map(|user| data.interactions.cells(user)) {
        let Some(item) = data.items.id(cell.item).and_then(|id| items.index(id)) else { continue };
        let weight = cell.weight / cell.times.len().max(1) as f64;
        for at in cell.times.iter().filter(|at| **at < drawn.at) {
            history.push(item, weight, Some(*at));
        }
    }
    history
}

/// Whether the item of the last slot had its part in the outcome. Where it was shown alone, it had; beside others it had
/// if the user took it within the window.
fn took(drawn: &Drawn, data: &Data, window_us: i64) -> bool {
    if drawn.before == 0 {
        return true;
    }
    let id = drawn.ids.get(drawn.before.saturating_add(drawn.shown));
    let item = id.and_then(|id| data.items.index(id));
    let user = data.users.index(&drawn.unit).map(|user| user as usize);
    let Some((user, item)) = user.zip(item) else { return false };
    let within = |at: &i64| *at > drawn.at && *at <= drawn.at.saturating_add(window_us);
    data.interactions.cells(user).any(|cell| cell.item == item && cell.times.iter().any(within))
}

#[cfg(test)]
mod tests;
