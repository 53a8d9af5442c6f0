//! `segment`: groups of like customers, and the named stage of each one's life.

use std::collections::{BTreeMap, HashMap};

use flywheel_algo::segment::kmeans::{self, Clusters};
use flywheel_algo::segment::lifecycle::{Rules, Stage, Standing, stages};
use flywheel_algo::segment::rfm::{Customer, Purchase, customers};
use flywheel_base::{Error, Result, Timestamp};
use flywheel_project::resource::learner::Segment;
use flywheel_warehouse::WriteMode;
use serde::Serialize;
use serde_json::json;

use super::{ARTIFACT, Fitted, LearnerEntry, has_column, last_fit, write_scores};
use crate::context::Context;
use crate::frame::{Frame, Texts};
use crate::table::Column;
use crate::table::ColumnType::{Integer, Moment, Number, Text};

/// Its entry.
pub(super) const ENTRY: LearnerEntry = LearnerEntry {
    name: "segment",
    about: "Clusters of like customers and the named stage of each one's life; moves are in learn.<name>_moves.",
    columns: &[
        ("unit_id", Text, "the customer"),
        ("stage", Text, "prospect, new, active, champion, at-risk or churned"),
        (
            "cluster",
            Integer,
            "the cluster, the same number for the same kind of customer in every fit",
        ),
        ("recency_days", Number, "days since the last purchase"),
        ("frequency", Integer, "purchases"),
        ("monetary", Number, "value of all purchases"),
        ("rhythm_days", Number, "days between two purchases of this customer"),
        ("reason", Text, "why this stage"),
        ("as_of", Moment, "the logical moment"),
        ARTIFACT,
    ],
};

/// Columns of `learn.<name>_moves`.
pub(super) const MOVES: &[Column] = &[
    ("unit_id", Text, "the customer"),
    ("from_stage", Text, "the stage before; none for a customer seen for the first time"),
    ("to_stage", Text, "the stage after"),
    ("moved_at", Moment, "the logical moment of the fit that saw it"),
    ("turn", Integer, "the turn that saw it"),
];

#[derive(Serialize)]
struct Row {
    unit_id: String,
    stage: String,
    cluster: Option<i64>,
    recency_days: Option<f64>,
    frequency: i64,
    monetary: f64,
    rhythm_days: f64,
    reason: String,
    as_of: Timestamp,
    artifact: String,
}

#[derive(Serialize)]
struct Move {
    unit_id: String,
    from_stage: Option<String>,
    to_stage: String,
    moved_at: Timestamp,
    turn: i64,
}

/// The table of a learner's moves.
pub(super) fn moves_of(name: &str) -> String {
    format!("{name}_moves")
}

/// Fits clusters and stages, and notes who moved since the last fit.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Segment,
) -> Result<(Fitted, String, u64)> {
    let before = format!("learner \"{name}\": last stages");
    // Another kind of learner may have had the name: then nobody is at a stage.
    let staged = has_column(ctx, name, "stage").await?;
    let stages_before = format!("select unit_id, stage from learn.{name}");
    let stages_before = staged.then(|| ctx.begin(&before, stages_before));
    let what = events_of(name);
    let frame = ctx.frame(&what, &settings.events).await?;
    let units = frame.texts("unit_id")?;
    let purchases = purchases_of(&frame, &units)?;
    let prospects = prospects(ctx, name, settings).await?;
    let customers = customers(&purchases, ctx.now)?;
    let rules = Rules {
        new_days: settings.new_for.map_or_else(|| Rules::default().new_days, |d| d.in_days()),
        ..Rules::default()
    };
    let standings = stages(&customers, &prospects, &rules)?;
    let clusters = clusters(ctx, name, settings, &customers)?;
    let bytes = serde_json::to_vec(
        &json!({"rules": rules, "centres": clusters.as_ref().map(|c| &c.centres)}),
    )
    .map_err(|e| Error::internal("clusters are no JSON").caused_by(e))?;
    let artifact = ctx.artifacts.put(&bytes)?;
    let labels = clusters.as_ref().map(|c| c.labels.as_slice()).unwrap_or_default();
    let rows = rows(&customers, labels, &standings, ctx.now, &artifact);
    let stages_before = match stages_before {
        Some(pending) => pending.frame().await?,
        None => Frame::new(&before, Vec::new()),
    };
    let moves = moves(ctx, &stages_before, &standings)?;
    write_scores(ctx, &moves_of(name), MOVES, WriteMode::Append, &moves).await?;
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    let mut stages: BTreeMap<&str, usize> = BTreeMap::new();
    standings.iter().for_each(|standing| *stages.entry(standing.stage.name()).or_default() += 1);
    let mut detail = json!({
        "stages": stages, "moves": moves.len(), "centres": clusters.as_ref().map(|c| &c.centres),
        "inertia": clusters.as_ref().map(|c| c.inertia),
    });
    if let Some((detail, notice)) = detail.as_object_mut().zip(all_lost(&customers, &standings)) {
        detail.insert("notices".to_owned(), json!([notice]));
    }
    Ok((
        Fitted { bytes, rows_in: purchases.len() as u64, detail, measures: Vec::new() },
        artifact,
        count,
    ))
}

/// The purchases of a learner's events, by customer and moment.
pub(super) async fn purchases(
    ctx: &Context<'_>,
    name: &str,
    events: &str,
) -> Result<Vec<Purchase>> {
    let what = events_of(name);
    let frame = ctx.frame(&what, events).await?;
    let units = frame.texts("unit_id")?;
    let owned = |purchase: Purchase<&str>| Purchase {
        customer: purchase.customer.to_owned(),
        at: purchase.at,
        value: purchase.value,
    };
    Ok(purchases_of(&frame, &units)?.into_iter().map(owned).collect())
}

/// What the query for a learner's events is called in messages.
fn events_of(name: &str) -> String {
    format!("learner \"{name}\": events")
}

/// The purchases in a frame whose units are `units`.
fn purchases_of<'u>(frame: &Frame<'_>, units: &'u Texts) -> Result<Vec<Purchase<&'u str>>> {
    let rows = units.iter().zip(frame.moments("at")?).zip(frame.numbers("value")?);
    let mut by_customer: HashMap<&str, Vec<(i64, f64)>> = HashMap::new();
    for ((customer, at), value) in rows {
        by_customer.entry(customer).or_default().push((at, value.unwrap_or(0.0)));
    }
    let mut by_customer: Vec<_> = by_customer.into_iter().collect();
    by_customer.sort_unstable_by_key(|(customer, _)| *customer);
    let mut purchases = Vec::with_capacity(frame.rows());
    for (customer, mut bought) in by_customer {
        // Sums of numbers with fraction depend on their order, and a query without one gives any.
        bought.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.total_cmp(&b.1)));
        purchases.extend(bought.into_iter().map(|(at, value)| Purchase {
            customer,
            at: Timestamp::from_micros(at),
            value,
        }));
    }
    Ok(purchases)
}

async fn prospects(ctx: &Context<'_>, name: &str, settings: &Segment) -> Result<Vec<String>> {
    let Some(sql) = &settings.units else { return Ok(Vec::new()) };
    let what = format!("learner \"{name}\": units");
    ctx.frame(&what, sql).await?.ids("unit_id")
}

/// Clusters on recency, frequency and money, numbered like those of the last fit.
fn clusters(
    ctx: &Context<'_>,
    name: &str,
    settings: &Segment,
    customers: &[Customer],
) -> Result<Option<Clusters>> {
    // Counts and money are skewed: logarithms keep the few largest customers from being all the clusters.
    let columns: Vec<f64> = customers
        .iter()
        .flat_map(|c| {
            [c.recency_days.ln_1p(), (c.frequency as f64).ln_1p(), c.monetary.max(0.0).ln_1p()]
        })
        .collect();
    let mut distinct: Vec<[u64; 3]> = columns
        .chunks_exact(3)
        .map(|row| [row[0].to_bits(), row[1].to_bits(), row[2].to_bits()])
        .collect();
    distinct.sort_unstable();
    distinct.dedup();
    if settings.clusters == 0 || distinct.len() < settings.clusters {
        return Ok(None);
    }
    let options = kmeans::Options { clusters: settings.clusters, ..kmeans::Options::default() };
    let last = last_fit(ctx, name)?;
    let before = last.and_then(|last| {
        serde_json::from_value::<Vec<Vec<f64>>>(last.detail.get("centres")?.clone()).ok()
    });
    let Some(before) = before.filter(|before| before.len() == settings.clusters) else {
        return Ok(Some(kmeans::fit(&columns, 3, &options)?));
    };
    let mut clusters = kmeans::refit(&columns, 3, &before, &options)?;
    clusters.match_labels(&before)?;
    Ok(Some(clusters))
}

fn rows(
    customers: &[Customer],
    labels: &[usize],
    standings: &[Standing],
    at: Timestamp,
    artifact: &str,
) -> Vec<Row> {
    let known: HashMap<&str, (usize, &Customer)> = customers
        .iter()
        .enumerate()
        .map(|(index, customer)| (customer.customer.as_str(), (index, customer)))
        .collect();
    let row = |standing: &Standing| {
        let customer = known.get(standing.customer.as_str());
        let cluster = customer
            .and_then(|(index, _)| labels.get(*index))
            .and_then(|label| i64::try_from(*label).ok());
        Row {
            unit_id: standing.customer.clone(),
            stage: standing.stage.name().to_owned(),
            cluster,
            recency_days: customer.map(|(_, c)| c.recency_days),
            frequency: customer.map_or(0, |(_, c)| i64::try_from(c.frequency).unwrap_or(i64::MAX)),
            monetary: customer.map_or(0.0, |(_, c)| c.monetary),
            rhythm_days: standing.rhythm_days,
            reason: standing.reason.clone(),
            as_of: at,
            artifact: artifact.to_owned(),
        }
    };
    standings.iter().map(row).collect()
}

/// What is told where everybody who ever bought is churned: the events end long before the fit, and stages tell nobody apart.
fn all_lost(customers: &[Customer], standings: &[Standing]) -> Option<String> {
    let newest = customers.iter().map(|customer| customer.recency_days).reduce(f64::min)?;
    let lost = |standing: &Standing| matches!(standing.stage, Stage::Churned | Stage::Prospect);
    standings.iter().all(lost).then(|| {
        format!("everybody who ever bought is churned: the newest purchase is {newest:.0} days old")
    })
}

/// Who is at another stage than after the last fit.
fn moves(ctx: &Context<'_>, before: &Frame<'_>, standings: &[Standing]) -> Result<Vec<Move>> {
    let (units, stages) = (before.texts("unit_id")?, before.texts("stage")?);
    let before: HashMap<&str, &str> = units.iter().zip(stages.iter()).collect();
    let moved = standings
        .iter()
        .filter(|s| before.get(s.customer.as_str()).is_none_or(|stage| *stage != s.stage.name()));
    Ok(moved
        .map(|standing| Move {
            unit_id: standing.customer.clone(),
            from_stage: before.get(standing.customer.as_str()).map(|stage| (*stage).to_owned()),
            to_stage: standing.stage.name().to_owned(),
            moved_at: ctx.now,
            turn: ctx.turn,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_end_long_before_the_fit_are_told() {
        let buy = |customer: &str, day| Purchase {
            customer: customer.to_owned(),
            at: Timestamp::from_day(day),
            value: 9.0,
        };
        let purchases = [buy("a", 1), buy("a", 15), buy("a", 29), buy("b", 8), buy("b", 28)];
        let told = |day| {
            let customers = customers(&purchases, Timestamp::from_day(day)).unwrap();
            let prospects = ["new".to_owned()];
            all_lost(&customers, &stages(&customers, &prospects, &Rules::default()).unwrap())
        };
        assert_eq!(told(30), None);
        let lost = told(1_029).unwrap();
        assert!(lost.ends_with("the newest purchase is 1000 days old"), "{lost}");
        assert_eq!(all_lost(&[], &[]), None, "nobody has bought yet");
    }
}
