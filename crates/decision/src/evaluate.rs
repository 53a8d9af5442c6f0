//! Judging answers by what really happened after they were given.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use flywheel_base::{Result, Timestamp, statement};
use flywheel_project::resource::learner::{Forecast, LearnerKind, Recommend};
use flywheel_state::Artifact;
use flywheel_warehouse::Checkpoint;
use serde_json::{Value, json};

use crate::context::{Context, location};
use crate::learner::forecast::last_whole_day;
use crate::learner::last_fit;
use crate::learner::recommend::had::Had;
use crate::learner::recommend::{EVERYBODY, shown};
use crate::outcome::literal;
use crate::table::{EvaluationRow, SystemTable};

/// How deep a list is judged.
const DEPTH: usize = 10;

/// The most users that a query names.
const NAMED: usize = 2_000;

/// What was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The learner.
    pub learner: String,
    /// How many measures were recorded.
    pub measures: usize,
}

struct Measure {
    name: String,
    artifact: String,
    value: f64,
    baseline: Option<f64>,
    count: usize,
}

/// Judges the last answers of the learner `name` by what happened since it was last judged.
///
/// # Errors
/// Those of the learner's SQL and of the lake.
pub async fn judge(ctx: &Context<'_>, name: &str) -> Result<Judged> {
    let none = Judged { learner: name.to_owned(), measures: 0 };
    let Some(learner) = ctx.project.learners.get(name) else { return Ok(none) };
    let Some(artifact) = last_fit(ctx, name)? else { return Ok(none) };
    let app = format!("reality/{name}");
    let last = ctx.checkpoint(&location("system/evaluations")?, &app).await?;
    if last.as_ref().is_some_and(|last| last.sequence >= ctx.now.micros()) {
        return Ok(none);
    }
    let through = last.and_then(|last| last.position.get("through").and_then(Value::as_i64));
    let since =
        Timestamp::from_micros(through.unwrap_or_default().max(artifact.fitted_at.micros()));
    let measures = match learner.kind()? {
        LearnerKind::Recommend(settings) => lists(ctx, name, settings, since, &artifact).await?,
        LearnerKind::Forecast(settings) => forecasts(ctx, name, settings, since).await?,
        LearnerKind::Segment(_)
        | LearnerKind::Score(_)
        | LearnerKind::Value(_)
        | LearnerKind::Uplift(_)
        | LearnerKind::Lookalike(_)
        | LearnerKind::Hours(_)
        | LearnerKind::Onnx(_)
        | LearnerKind::Bandit(_) => Vec::new(),
    };
    let rows: Vec<EvaluationRow> =
        measures.into_iter().map(|measure| row(ctx, name, measure)).collect();
    if !rows.is_empty() {
        let position = json!({"through": ctx.now.micros()});
        let checkpoint = Checkpoint { sequence: ctx.now.micros(), position };
        SystemTable::named("evaluations")?.append(ctx.lake, &rows, Some((app, checkpoint))).await?;
    }
    Ok(Judged { measures: rows.len(), ..none })
}

fn row(ctx: &Context<'_>, name: &str, measure: Measure) -> EvaluationRow {
    EvaluationRow {
        turn: ctx.turn,
        at: ctx.now,
        learner: name.to_owned(),
        artifact: measure.artifact,
        against: "reality".to_owned(),
        measure: measure.name,
        value: Some(measure.value).filter(|value| value.is_finite()),
        baseline: measure.baseline.filter(|value| value.is_finite()),
        count: i64::try_from(measure.count).unwrap_or(i64::MAX),
    }
}

/// What users took after `after`, up to `now`, and whether it was after `since`. The lake reads the newest rows for it and
/// passes the others over.
fn taken(sql: &str, after: Timestamp, since: Timestamp, now: Timestamp) -> String {
    let (after, since, now) = (literal(after), literal(since), literal(now));
    format!(
        "select distinct user_id, item_id, at > {since} as fresh from (\n{sql}\n) as interactions
         where at > {after} and at <= {now}"
    )
}

/// What `users` had taken by `since`.
fn had<'u>(sql: &str, since: Timestamp, users: impl Iterator<Item = &'u str>) -> String {
    let (since, named) = (literal(since), named(users));
    format!(
        "select distinct user_id, item_id from (\n{sql}\n) as interactions where at <= {since}{named}"
    )
}

/// A condition on the user. So many as a query holds are looked for by name, which spares what is known of everybody else; of
/// more than these everybody's is read.
fn named<'u>(users: impl Iterator<Item = &'u str>) -> String {
    let users: BTreeSet<&str> = users.collect();
    if users.len() > NAMED {
        return String::new();
    }
    let quoted = users.into_iter().map(|user| format!("'{}'", user.replace('\'', "''")));
    format!(" and cast(user_id as varchar) in ({})", quoted.collect::<Vec<_>>().join(", "))
}

/// The share of users who took something since `since` whose list held one of their items, beside the list for everybody.
///
/// Where lists are without items that were had before, these are what was known at the fit, which is stored beside it, and
/// what was taken since then; of a fit without such a store all history is read.
async fn lists(
    ctx: &Context<'_>,
    name: &str,
    settings: &Recommend,
    since: Timestamp,
    artifact: &Artifact,
) -> Result<Vec<Measure>> {
    let what = format!("learner \"{name}\": interactions");
    let sql = ctx.render(&settings.interactions).map_err(|e| e.context(&what))?;
    let sql = statement::one(&what, &sql)?;
    let known = match settings.repeats {
        true => None,
        false => Had::load(&ctx.artifacts, artifact)?,
    };
    let after = if known.is_some() { artifact.fitted_at.min(since) } else { since };
    let after = shown(settings, after)?;
    let (since, now) = (shown(settings, since)?, shown(settings, ctx.now)?);
    let frame = ctx.frame_of_sql(&what, &taken(sql, after, since, now)).await?;
    let (users, items) = (frame.texts("user_id")?, frame.texts("item_id")?);
    let fresh = frame.flags("fresh")?;
    let rows = || users.iter().zip(items.iter()).zip(&fresh);
    let mut happened: HashMap<&str, HashSet<&str>> = HashMap::new();
    for ((user, item), _) in rows().filter(|(_, fresh)| **fresh == Some(true)) {
        happened.entry(user).or_default().insert(item);
    }
    if happened.is_empty() {
        return Ok(Vec::new());
    }
    // Of a list without items that were had before, only what could be in it is asked for.
    if let Some(known) = known {
        for ((user, item), _) in rows().filter(|(_, fresh)| **fresh == Some(false)) {
            if let Some(items) = happened.get_mut(user) {
                items.remove(item);
            }
        }
        for (user, items) in &mut happened {
            items.retain(|item| !known.holds(user, item));
        }
    } else if !settings.repeats {
        let sql = had(sql, since, happened.keys().copied());
        let frame = ctx.frame_of_sql(&what, &sql).await?;
        let (users, items) = (frame.texts("user_id")?, frame.texts("item_id")?);
        for (user, item) in users.iter().zip(items.iter()) {
            if let Some(items) = happened.get_mut(user) {
                items.remove(item);
            }
        }
    }
    happened.retain(|_, items| !items.is_empty());
    if happened.is_empty() {
        return Ok(Vec::new());
    }
    let listing = format!("learn.{name}");
    let of_users = named(happened.keys().copied().chain([EVERYBODY]));
    let ranked = format!("select user_id, item_id from {listing} where rank <= {DEPTH}{of_users}");
    let frame = ctx.frame_of_sql(&listing, &ranked).await?;
    let (users, items) = (frame.texts("user_id")?, frame.texts("item_id")?);
    let mut listed: HashMap<&str, HashSet<&str>> = HashMap::new();
    let wanted = |user: &str| user == EVERYBODY || happened.contains_key(user);
    for (user, item) in users.iter().zip(items.iter()).filter(|(user, _)| wanted(user)) {
        listed.entry(user).or_default().insert(item);
    }
    let everybody = listed.get(EVERYBODY);
    let hit = |list: Option<&HashSet<&str>>, items: &HashSet<&str>| {
        list.is_some_and(|list| !list.is_disjoint(items))
    };
    let users = happened.len();
    let own =
        happened.iter().filter(|(user, items)| hit(listed.get(*user).or(everybody), items)).count();
    let popular = happened.values().filter(|items| hit(everybody, items)).count();
    Ok(vec![Measure {
        name: format!("hit rate@{DEPTH}"),
        artifact: artifact.digest.clone(),
        value: own as f64 / users as f64,
        baseline: Some(popular as f64 / users as f64),
        count: users,
    }])
}

/// How far forecasts of the days that have passed since were off, beside the value one season ago.
async fn forecasts(
    ctx: &Context<'_>,
    name: &str,
    settings: &Forecast,
    since: Timestamp,
) -> Result<Vec<Measure>> {
    let (from, to) = (last_whole_day(since) + 1, last_whole_day(ctx.now));
    if to < from {
        return Ok(Vec::new());
    }
    let what = format!("learn.{name}");
    let date = |day: i64| format!("date '{}'", Timestamp::from_day(day).date());
    let sql = format!(
        "select series_id, day, mean, lower, upper, artifact from learn.{name} where day between {} and {}",
        date(from),
        date(to)
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let artifact = frame.text("artifact")?.into_iter().flatten().next();
    let Some(artifact) = artifact else { return Ok(Vec::new()) };
    let season = i64::try_from(settings.season_days.max(1)).unwrap_or(1);
    let actual = actual(ctx, name, settings, from - season, to).await?;
    let at = |series: &str, day: i64| {
        actual.get(series).and_then(|days| days.get(&day)).copied().unwrap_or(0.0)
    };
    let (ids, days, means) =
        (frame.ids("series_id")?, frame.moments("day")?, frame.numbers("mean")?);
    let ends = frame.numbers("lower")?.into_iter().zip(frame.numbers("upper")?);
    let (mut off, mut naive, mut total, mut inside, mut with_interval) =
        (0.0, 0.0, 0.0, 0_usize, 0_usize);
    let count = ids.len();
    for (((id, day), mean), (lower, upper)) in ids.iter().zip(days).zip(means).zip(ends) {
        let day = Timestamp::from_micros(day).day();
        let value = at(id, day);
        off += (mean.unwrap_or_default() - value).abs();
        naive += (at(id, day - season) - value).abs();
        total += value;
        if let (Some(lower), Some(upper)) = (lower, upper) {
            with_interval += 1;
            inside += usize::from((lower..=upper).contains(&value));
        }
    }
    let mut measures = Vec::new();
    if total > 0.0 {
        let baseline = Some(naive / total);
        measures.push(Measure {
            name: "wape".into(),
            artifact: artifact.clone(),
            value: off / total,
            baseline,
            count,
        });
    }
    if with_interval > 0 {
        let value = inside as f64 / with_interval as f64;
        let baseline = Some(settings.interval.value());
        measures.push(Measure {
            name: "coverage".into(),
            artifact,
            value,
            baseline,
            count: with_interval,
        });
    }
    Ok(measures)
}

/// Real values of every series, by day since the epoch.
async fn actual(
    ctx: &Context<'_>,
    name: &str,
    settings: &Forecast,
    from: i64,
    to: i64,
) -> Result<BTreeMap<String, BTreeMap<i64, f64>>> {
    let what = format!("learner \"{name}\": series");
    let sql = ctx.render(&settings.series).map_err(|e| e.context(&what))?;
    let sql = statement::one(&what, &sql)?;
    let date = |day: i64| format!("date '{}'", Timestamp::from_day(day).date());
    let sql = format!(
        "select series_id, day, value from (\n{sql}\n) as series where day between {} and {}",
        date(from),
        date(to)
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let mut actual: BTreeMap<String, BTreeMap<i64, f64>> = BTreeMap::new();
    for ((id, day), value) in
        frame.ids("series_id")?.into_iter().zip(frame.moments("day")?).zip(frame.numbers("value")?)
    {
        *actual.entry(id).or_default().entry(Timestamp::from_micros(day).day()).or_default() +=
            value.unwrap_or_default();
    }
    Ok(actual)
}
