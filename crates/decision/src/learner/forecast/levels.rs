//! Groups of series and the total above them: each is forecast by itself, and all are made to add up.
//!
//! What is added up is what the series' own forecasts say up to the furthest day that anything looks at, so policies that
//! buy by a series buy by the forecast that adds up. The past errors of each series are then those of forecasts that add up
//! too, but from origins a day apart: there are no whole paths of a longer past, as adding up needs the same origins of all.

use std::collections::BTreeSet;

use flywheel_algo::forecast::hierarchy::choice::{self, Chosen, Past};
use flywheel_algo::forecast::hierarchy::{Hierarchy, Method};
use flywheel_algo::forecast::{Fitted as Series, Options};
use flywheel_base::{Error, Result, Timestamp};
use flywheel_project::resource::learner::{Forecast, Reconciliation};
use flywheel_warehouse::WriteMode;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{ARTIFACT, Measure, write_scores};
use super::adapted::{self, Adapted, Published};
use super::{AHEAD_DAYS_MIN, Compared, History, Kept, Made, Question, Stored, fit_one};
use crate::context::{Context, location};
use crate::frame::Frame;
use crate::table::Column;
use crate::table::ColumnType::{Day, Moment, Number, Text};

/// Columns of `learn.<name>_levels`.
pub(in crate::learner) const COLUMNS: &[Column] = &[
    ("level", Text, "the column that groups the series, or total"),
    ("label", Text, "the group on its level"),
    ("day", Day, "the day ahead"),
    ("mean", Number, "the expected value: the sum of the means of its series"),
    ("lower", Number, "lower end of the interval; none if the history is too short to say"),
    ("upper", Number, "upper end of the interval"),
    ("own_mean", Number, "what its own past alone lets expect, before all were made to add up"),
    ("method", Text, "the method of its own forecast"),
    ("reconciliation", Text, "how forecasts were made to add up"),
    ("made_at", Moment, "the logical moment of the forecast"),
    ARTIFACT,
];

/// With a hierarchy so many past moments are forecast again: half of them say how far each forecast is off, and the methods
/// are judged on the others.
pub(super) const ORIGINS: usize = 28;

/// The group of series that have none.
const UNKNOWN: &str = "unknown";

#[derive(Serialize)]
struct Row {
    level: String,
    label: String,
    day: String,
    mean: f64,
    lower: Option<f64>,
    upper: Option<f64>,
    own_mean: f64,
    method: String,
    reconciliation: &'static str,
    made_at: Timestamp,
    artifact: String,
}

/// What is stored of the groups.
#[derive(Serialize, Deserialize)]
pub(crate) struct Levels {
    groups: Vec<Group>,
    chosen: Chosen,
    /// What the groups' intervals are asked for by the truths that came, unless the file says that nothing adapts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adapted: Option<Adapted>,
}

/// What is known of the groups of the last fit.
pub(super) struct Last<'a> {
    /// The groups, unless other named days are looked at since.
    pub(super) levels: Option<&'a Levels>,
    /// What was published of them.
    pub(super) published: Option<&'a Published<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Group {
    level: String,
    label: String,
    series: Series,
    /// When its methods were last compared.
    compared: Option<Compared>,
    /// The named days that move it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    days: BTreeSet<String>,
}

/// A group among all of them.
fn id_of(level: &str, label: &str) -> String {
    format!("{level}/{label}")
}

/// The table of a learner's groups.
pub(in crate::learner) fn table_of(name: &str) -> String {
    format!("{name}_levels")
}

/// The groups of each row, the coarsest first; a row without one belongs to those without.
pub(super) fn labels(frame: &Frame<'_>, settings: &Forecast) -> Result<Vec<Vec<String>>> {
    let mut labels = vec![Vec::with_capacity(settings.hierarchy.len()); frame.rows()];
    for level in settings.hierarchy.iter().rev() {
        for (above, label) in labels.iter_mut().zip(frame.text(level)?) {
            let label = match (label, above.last()) {
                (Some(label), _) if !label.trim().is_empty() => label,
                (_, Some(coarser)) => format!("{coarser}/{UNKNOWN}"),
                (_, None) => UNKNOWN.to_owned(),
            };
            above.push(label);
        }
    }
    Ok(labels)
}

/// Forecasts the groups and the total, and makes them and the series of `stored` add up.
pub(super) fn add_up(
    histories: &[History],
    asked: &Question<'_>,
    last: &Last<'_>,
    options: &Options,
    stored: &mut Stored,
) -> Result<Vec<Measure>> {
    let settings = asked.settings;
    if settings.hierarchy.is_empty() || histories.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = settings.hierarchy.iter().rev().cloned().collect();
    let series: Vec<(String, Vec<String>)> =
        histories.iter().map(|history| (history.id.clone(), history.labels.clone())).collect();
    let hierarchy = Hierarchy::new(&names, &series)?;
    let groups: Vec<History> = (0..hierarchy.group_count())
        .zip(&hierarchy.nodes)
        .map(|(at, node)| History {
            id: id_of(&node.level, &node.label),
            ..together(&hierarchy, at, histories)
        })
        .collect();
    let adapted = Adapted::learn(last.published, &groups, asked.through, settings)?;
    let made = groups
        .par_iter()
        .zip(&hierarchy.nodes)
        .map(|(history, node)| {
            let kept =
                last.levels.and_then(|last| last.kept(&node.level, &node.label, asked.through));
            fit_one(history, asked, kept, options)
                .map_err(|e| e.context(format!("{} \"{}\"", node.level, node.label)))
        })
        .collect::<Result<Vec<Made>>>()?;
    let missing = |id: &str| Error::internal(format!("series \"{id}\" was not fitted"));
    let mut own: Vec<&Series> = made.iter().map(|made| &made.series).collect();
    for history in histories {
        own.push(stored.series.get(&history.id).ok_or_else(|| missing(&history.id))?);
    }
    let horizon = settings.horizon_days.max(AHEAD_DAYS_MIN);
    let means = own
        .par_iter()
        .map(|series| Ok(series.forecast(horizon, &[])?.mean))
        .collect::<Result<Vec<Vec<f64>>>>()?;
    let values = groups.iter().chain(histories).map(|history| history.values.as_slice());
    let past = Past::of(&values.zip(own.iter().copied()).collect::<Vec<_>>());
    let chosen = choice::choose(&hierarchy, &past, wanted(settings))?;
    let added = choice::add_up(&hierarchy, &past, chosen.method, &means)?;
    let mut added = added.shift.into_iter().zip(added.errors);
    let groups = made.into_iter().zip(&hierarchy.nodes).zip(added.by_ref());
    let groups = groups.map(|((made, node), (shift, errors))| Group {
        level: node.level.clone(),
        label: node.label.clone(),
        series: made.series.with_adding_up(shift, errors),
        compared: made.compared,
        days: made.days,
    });
    let groups = groups.collect();
    for (history, (shift, errors)) in histories.iter().zip(added) {
        let series = stored.series.remove(&history.id).ok_or_else(|| missing(&history.id))?;
        stored.series.insert(history.id.clone(), series.with_adding_up(shift, errors));
    }
    let judged = chosen.score().map(|score| Measure {
        name: "wape_of_levels",
        value: score.mean(),
        baseline: score.own(),
        count: score.levels.iter().map(|level| level.count).sum(),
    });
    let held = |adapted: &Adapted| adapted.measure("coverage of groups, all truths so far");
    let held = adapted.as_ref().and_then(held);
    stored.levels = Some(Levels { groups, chosen, adapted });
    Ok(judged.into_iter().chain(held).collect())
}

/// The sums of a node's series, day by day since the first of them began.
fn together(hierarchy: &Hierarchy, node: usize, histories: &[History]) -> History {
    let members = hierarchy.members(node);
    let members = || members.iter().filter_map(|at| histories.get(*at));
    let longest = members().map(|history| history.values.len()).max().unwrap_or_default();
    let mut values = vec![0.0; longest];
    for history in members() {
        let begin = longest - history.values.len();
        let of_node = values.iter_mut().skip(begin);
        of_node.zip(&history.values).for_each(|(sum, value)| *sum += value);
    }
    History { id: String::new(), values, labels: Vec::new() }
}

/// The method that a file asks for; `None` for the best.
fn wanted(settings: &Forecast) -> Option<Method> {
    match settings.reconciliation.unwrap_or_default() {
        Reconciliation::Auto => None,
        Reconciliation::BottomUp => Some(Method::BottomUp),
        Reconciliation::TopDown => Some(Method::TopDown),
        Reconciliation::TopDownAverage => Some(Method::TopDownAverage),
        Reconciliation::Ols => Some(Method::Ols),
        Reconciliation::WlsStructure => Some(Method::WlsStructure),
        Reconciliation::WlsVariance => Some(Method::WlsVariance),
        Reconciliation::Mint => Some(Method::Mint),
    }
}

impl Levels {
    /// The method a group keeps.
    fn kept(&self, level: &str, label: &str, through: i64) -> Option<Kept<'_>> {
        let group = self.groups.iter().find(|one| (&*one.level, &*one.label) == (level, label))?;
        Kept::of(&group.series, group.compared?, Some(&group.days), through)
    }

    /// What was published of the groups, by a fit up to a day.
    pub(super) fn published(&self, through: i64) -> Published<'_> {
        let of = |group: &Group| id_of(&group.level, &group.label);
        Published {
            series: self.groups.iter().map(|group| (of(group), &group.series)).collect(),
            adapted: self.adapted.as_ref(),
            through,
        }
    }

    /// What a fit tells of their intervals; none if those do not adapt.
    pub(super) fn intervals(&self, settings: &Forecast) -> Option<Value> {
        self.adapted.as_ref().map(|adapted| adapted.detail(settings))
    }

    /// What a fit tells of them.
    pub(super) fn detail(&self) -> Value {
        let levels = self.chosen.score().map(|score| &score.levels);
        json!({
            "method": self.chosen.method.name(), "reason": self.chosen.reason, "groups": self.groups.len(),
            "levels": levels,
        })
    }
}

/// Writes what is ahead of each group; what was there is taken away if the file groups no more.
pub(super) async fn write(
    ctx: &Context<'_>,
    name: &str,
    settings: &Forecast,
    stored: &Stored,
    artifact: &str,
) -> Result<()> {
    let table = table_of(name);
    let rows = match &stored.levels {
        Some(levels) => rows(levels, stored.through, settings, (ctx.now, artifact))?,
        None => Vec::new(),
    };
    let known = ctx.lake.head(&location(&format!("learn/{table}"))?).await?.is_some();
    if known || !settings.hierarchy.is_empty() {
        write_scores(ctx, &table, COLUMNS, WriteMode::Replace, &rows).await?;
    }
    Ok(())
}

fn rows(
    levels: &Levels,
    through: i64,
    settings: &Forecast,
    (now, artifact): (Timestamp, &str),
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for group in &levels.groups {
        let id = id_of(&group.level, &group.label);
        let asked = adapted::asked(levels.adapted.as_ref(), settings, &id);
        let ahead = adapted::ahead(&group.series, settings.horizon_days, asked)?;
        for (step, (mean, lower, upper)) in ahead.into_iter().enumerate() {
            let day = through + 1 + i64::try_from(step).unwrap_or_default();
            rows.push(Row {
                level: group.level.clone(),
                label: group.label.clone(),
                day: Timestamp::from_day(day).date(),
                mean,
                lower,
                upper,
                own_mean: mean - group.series.shift(step),
                method: group.series.algorithm.clone(),
                reconciliation: levels.chosen.method.name(),
                made_at: now,
                artifact: artifact.to_owned(),
            });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
