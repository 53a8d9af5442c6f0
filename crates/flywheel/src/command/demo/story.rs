//! What a report tells: read from the lake after the last turn.
//!
//! Nothing here depends on the machine: no durations, no paths, no run ids, so that the same seed gives
//! the same page.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use flywheel_decision::table::ExperimentRow;
use flywheel_project::graph::Known;
use flywheel_project::resource::policy::Choose;
use flywheel_runtime::status::{Rows, status};
use flywheel_runtime::turn::TurnReport;
use flywheel_runtime::{Workspace, run};
use flywheel_simulator::World;

use crate::report::{
    Compared, DayValue, ForecastDay, ForecastSeries, LiftPoint, Lineage, LineageStep, PolicyReport,
    PolicyTruth, Proposal, QuarantinedRow, Recommended, RecommendedItem, ReportData, StageCounts,
    StageMove, TestResult, Totals, TruthReport, Turn,
};

/// How many series, customers, proposals and bad rows are shown.
const SERIES_SHOWN: usize = 3;
const CUSTOMERS_SHOWN: usize = 4;
const PROPOSALS_SHOWN: usize = 12;
const BAD_ROWS_SHOWN: usize = 12;
/// How many past days a forecast is shown with.
const PAST_DAYS: usize = 42;

/// Gathers turns while they happen, and the rest at the end.
pub(super) struct Story {
    seed: u64,
    days: u32,
    turns: Vec<Turn>,
}

impl Story {
    /// Begins.
    pub(super) fn new(seed: u64, days: u32) -> Self {
        Self { seed, days, turns: Vec::new() }
    }

    /// Takes note of a turn.
    pub(super) fn add(&mut self, report: &TurnReport) {
        self.turns.push(Turn {
            turn: report.turn.unsigned_abs(),
            date: report.at.date(),
            rows_landed: report.rows_landed,
            rows_quarantined: report.rows_rejected,
            test_failures: u64::from(report.blocked.is_some()),
            fits: report.learned.len() as u64,
            decisions: report.decided.iter().map(|d| d.decisions as u64).sum(),
            held_out: report.decided.iter().map(|d| d.held_out as u64).sum(),
            actions: report.acted.delivered as u64,
            outcomes: report.outcomes as u64,
        });
    }

    /// Tells everything.
    pub(super) async fn tell(self, workspace: &Workspace, world: &World) -> Result<ReportData> {
        let project = &workspace.project;
        let tests = tests(workspace).await?;
        Ok(ReportData {
            project: project.file.name.clone(),
            simulated_seed: Some(self.seed),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: format!("flywheel demo --seed {} --days {}", self.seed, self.days),
            headline_policy: Some("next_offer".to_owned()),
            totals: totals(workspace, tests.len()).await?,
            policies: policies(workspace).await?,
            stages: stages(workspace).await?,
            moves: moves(workspace).await?,
            forecasts: forecasts(workspace).await?,
            recommendations: recommendations(workspace).await?,
            proposals: proposals(workspace).await?,
            tests,
            quarantine: quarantine(workspace).await?,
            lineage: lineage(workspace).await?,
            truth: Some(truth(world)),
            turns: self.turns,
        })
    }
}

fn unsigned(value: Option<i64>) -> u64 {
    value.unwrap_or_default().unsigned_abs()
}

async fn count(workspace: &Workspace, sql: &str) -> Result<u64> {
    Ok(unsigned(Rows::query(workspace, sql).await?.integer(0, 0)?))
}

async fn totals(workspace: &Workspace, tests: usize) -> Result<Totals> {
    let wheel = status(workspace).await?;
    let sum = |pick: fn(&flywheel_runtime::status::PolicyStatus) -> i64| {
        unsigned(Some(wheel.policies.iter().map(pick).sum()))
    };
    Ok(Totals {
        files: count(
            workspace,
            "select count(distinct cast(invoiced_at as date)) from raw.order_lines",
        )
        .await?,
        rows_landed: wheel.landed.iter().filter_map(|table| table.rows).sum(),
        rows_quarantined: count(workspace, "select count(*) from system.quarantine").await?,
        models: workspace.project.models.len() as u64,
        tests: tests as u64,
        fits: workspace.store.artifacts()?.len() as u64,
        decisions: sum(|p| p.decisions),
        held_out: sum(|p| p.held_out),
        actions: sum(|p| p.actions),
        outcomes: sum(|p| p.outcomes),
    })
}

async fn policies(workspace: &Workspace) -> Result<Vec<PolicyReport>> {
    let wheel = status(workspace).await?;
    let dates = turn_dates(workspace)?;
    let standing = Box::pin(flywheel_runtime::policy::experiments(workspace, None)).await?.rows;
    let compared = |row: &ExperimentRow| Compared {
        metric: row.metric.clone(),
        share: !matches!(row.kind.as_deref(), Some("value" | "ratio" | "quantile"))
            && row.metric != "value-before",
        variant: row.variant.clone(),
        control: row.control.clone(),
        rate: row.rate,
        control_rate: row.control_rate,
        difference: row.difference,
        lower: row.lower,
        upper: row.upper,
        standing: row.standing.clone(),
    };
    let mut all = Vec::new();
    for (name, policy) in &workspace.project.policies {
        let found = wheel.policies.iter().find(|status| status.policy == *name);
        let lifts = found.map(|status| status.turns.as_slice()).unwrap_or_default();
        let point = |turn: &flywheel_runtime::status::PolicyTurn| LiftPoint {
            turn: turn.turn.unsigned_abs(),
            date: dates.get(&turn.turn).cloned().unwrap_or_default(),
            measured: turn.measured.unsigned_abs(),
            treated_rate: turn.treated_rate,
            holdout_rate: turn.holdout_rate,
            lift: turn.lift,
            lower: turn.lower,
            upper: turn.upper,
            artifact: turn.artifact.clone(),
        };
        all.push(PolicyReport {
            policy: name.clone(),
            description: policy.description.clone().unwrap_or_default(),
            description_zh: description_zh(name),
            holdout: policy.holdout.value(),
            window_days: policy
                .outcome
                .as_ref()
                .map_or(0, |outcome| outcome.window.in_days().round() as u64),
            paused: found.and_then(|status| status.paused.clone()),
            lifts: lifts.iter().map(point).collect(),
            compared: standing.iter().filter(|row| row.policy == *name).map(compared).collect(),
        });
    }
    Ok(all)
}

/// The retail template's descriptions in Chinese.
fn description_zh(policy: &str) -> Option<String> {
    let text = match policy {
        "next_offer" => "每位客户最可能想要的三件商品，每周最多一次。",
        "winback" => "召回沉默时间超过自身购买节奏的客户。",
        "reorder" => "采购单，让商品在下次到货前不断货。",
        _ => return None,
    };
    Some(text.to_owned())
}

fn turn_dates(workspace: &Workspace) -> Result<BTreeMap<i64, String>> {
    Ok(workspace
        .store
        .turns()?
        .into_iter()
        .map(|turn| (turn.turn, turn.logical_at.date()))
        .collect())
}

/// Stage counts per day, from the moves: each customer's last move up to that day.
async fn stages(workspace: &Workspace) -> Result<Vec<StageCounts>> {
    let sql =
        "select cast(cast(moved_at as date) as varchar) as day, from_stage, to_stage, count(*)
               from learn.lifecycle_moves group by 1, 2, 3 order by 1, 2, 3";
    let rows = Rows::query(workspace, sql).await?;
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let mut days: Vec<StageCounts> = Vec::new();
    for row in 0..rows.len() {
        let day = rows.text(row, 0)?.unwrap_or_default();
        let moved = rows.integer(row, 3)?.unwrap_or_default();
        if let Some(from) = rows.text(row, 1)? {
            *counts.entry(from).or_default() -= moved;
        }
        *counts.entry(rows.text(row, 2)?.unwrap_or_default()).or_default() += moved;
        if days.last().is_none_or(|last| last.date != day) {
            days.push(StageCounts { date: day, counts: BTreeMap::new() });
        }
        if let Some(last) = days.last_mut() {
            last.counts = counts
                .iter()
                .map(|(stage, n)| (stage.clone(), unsigned(Some((*n).max(0)))))
                .collect();
        }
    }
    Ok(days)
}

async fn moves(workspace: &Workspace) -> Result<Vec<StageMove>> {
    let sql = "select from_stage, to_stage, count(*) from learn.lifecycle_moves
               where from_stage is not null group by 1, 2 order by 3 desc, 1, 2";
    let rows = Rows::query(workspace, sql).await?;
    (0..rows.len())
        .map(|row| {
            Ok(StageMove {
                from: rows.text(row, 0)?.unwrap_or_default(),
                to: rows.text(row, 1)?.unwrap_or_default(),
                customers: unsigned(rows.integer(row, 2)?),
            })
        })
        .collect()
}

async fn forecasts(workspace: &Workspace) -> Result<Vec<ForecastSeries>> {
    let sql = format!(
        "select d.series_id, max(p.name), max(p.name_zh), max(d.method), sum(d.mean) as total
         from learn.demand d left join mart.products p on p.product_id = d.series_id
         group by d.series_id order by total desc, d.series_id limit {SERIES_SHOWN}"
    );
    let rows = Rows::query(workspace, &sql).await?;
    let interval =
        workspace.project.learners.get("demand").and_then(|learner| learner.forecast.as_ref());
    let interval = interval.map_or(0.9, |forecast| forecast.interval.value());
    let mut all = Vec::new();
    for row in 0..rows.len() {
        let id = rows.text(row, 0)?.unwrap_or_default();
        all.push(ForecastSeries {
            name: rows.text(row, 1)?.unwrap_or_else(|| id.clone()),
            name_zh: rows.text(row, 2)?,
            method: rows.text(row, 3)?.unwrap_or_default(),
            interval,
            actual: actual(workspace, &id).await?,
            ahead: ahead(workspace, &id).await?,
            id,
        });
    }
    Ok(all)
}

async fn actual(workspace: &Workspace, id: &str) -> Result<Vec<DayValue>> {
    let sql = format!(
        "with days as (select distinct day from mart.product_daily order by day desc limit {PAST_DAYS})
         select cast(days.day as varchar) as date, coalesce(cast(p.pieces as double), 0.0) as pieces
         from days left join mart.product_daily p on p.day = days.day and p.product_id = '{}' order by days.day",
        id.replace('\'', "''")
    );
    let rows = Rows::query(workspace, &sql).await?;
    (0..rows.len())
        .map(|row| {
            Ok(DayValue {
                date: rows.text(row, 0)?.unwrap_or_default(),
                value: rows.number(row, 1)?.unwrap_or_default(),
            })
        })
        .collect()
}

async fn ahead(workspace: &Workspace, id: &str) -> Result<Vec<ForecastDay>> {
    let sql = format!(
        "select cast(day as varchar) as date, mean, lower, upper from learn.demand where series_id = '{}' order by day",
        id.replace('\'', "''")
    );
    let rows = Rows::query(workspace, &sql).await?;
    (0..rows.len())
        .map(|row| {
            Ok(ForecastDay {
                date: rows.text(row, 0)?.unwrap_or_default(),
                mean: rows.number(row, 1)?.unwrap_or_default(),
                lower: rows.number(row, 2)?,
                upper: rows.number(row, 3)?,
            })
        })
        .collect()
}

/// Customers with a good number of purchases, one per stage where possible.
async fn recommendations(workspace: &Workspace) -> Result<Vec<Recommended>> {
    let sql = format!(
        "with known as (
           select l.unit_id, l.stage, l.frequency,
                  row_number() over (partition by l.stage order by l.frequency desc, l.unit_id) as place
           from learn.lifecycle l where l.unit_id in (select distinct user_id from learn.next_products))
         select k.unit_id, c.name, k.stage from known k left join mart.customers c on c.customer_id = k.unit_id
         where k.place = 1 order by k.frequency desc, k.unit_id limit {CUSTOMERS_SHOWN}"
    );
    let rows = Rows::query(workspace, &sql).await?;
    let mut all = Vec::new();
    for row in 0..rows.len() {
        let customer = rows.text(row, 0)?.unwrap_or_default();
        all.push(Recommended {
            name: rows.text(row, 1)?,
            stage: rows.text(row, 2)?,
            bought: bought(workspace, &customer).await?,
            items: items(workspace, &customer).await?,
            customer,
        });
    }
    Ok(all)
}

async fn bought(workspace: &Workspace, customer: &str) -> Result<Vec<String>> {
    let sql = format!(
        "select p.name, max(s.invoiced_at) as last from mart.sales s join mart.products p on p.product_id = s.product_id
         where s.customer_id = '{}' group by p.name order by last desc, p.name limit 5",
        customer.replace('\'', "''")
    );
    let rows = Rows::query(workspace, &sql).await?;
    (0..rows.len()).map(|row| Ok(rows.text(row, 0)?.unwrap_or_default())).collect()
}

async fn items(workspace: &Workspace, customer: &str) -> Result<Vec<RecommendedItem>> {
    let sql = format!(
        "select r.item_id, p.name, p.name_zh, r.score, r.reason from learn.next_products r
         left join mart.products p on p.product_id = r.item_id where r.user_id = '{}' order by r.rank limit 5",
        customer.replace('\'', "''")
    );
    let rows = Rows::query(workspace, &sql).await?;
    (0..rows.len())
        .map(|row| {
            let item = rows.text(row, 0)?.unwrap_or_default();
            let reason = rows.text(row, 4)?.unwrap_or_default();
            Ok(RecommendedItem {
                name: rows.text(row, 1)?.unwrap_or_else(|| item.clone()),
                name_zh: rows.text(row, 2)?,
                score: rows.number(row, 3)?.unwrap_or_default(),
                reason_zh: reason_zh(&reason),
                reason,
                item,
            })
        })
        .collect()
}

/// A recommendation's reason in Chinese.
fn reason_zh(reason: &str) -> Option<String> {
    match reason {
        "popular now" => Some("近期热销".to_owned()),
        "bought before and due again" => Some("以前买过，该再买了".to_owned()),
        other => other.strip_prefix("because of ").map(|item| format!("因为买过 {item}")),
    }
}

async fn proposals(workspace: &Workspace) -> Result<Vec<Proposal>> {
    let reorder = workspace
        .project
        .policies
        .iter()
        .find(|(_, policy)| matches!(policy.choose, Choose::Reorder(_)));
    let Some((name, _)) = reorder else { return Ok(Vec::new()) };
    let sql = format!(
        "select cast(cast(d.decided_at as date) as varchar) as date, d.unit_id, p.name, d.features, d.items
         from system.decisions d left join mart.products p on p.product_id = d.unit_id
         where d.policy = '{name}' order by d.decided_at desc, d.unit_id limit {PROPOSALS_SHOWN}"
    );
    let rows = Rows::query(workspace, &sql).await?;
    let mut all = Vec::new();
    for row in 0..rows.len() {
        let json = |column| -> Result<serde_json::Value> {
            rows.text(row, column)?.map_or(Ok(serde_json::Value::Null), |text| {
                serde_json::from_str(&text).map_err(|e| {
                    Error::corrupt("system.decisions: a stored value is no JSON").caused_by(e)
                })
            })
        };
        let (features, items) = (json(3)?, json(4)?);
        let order = items.get(0).cloned().unwrap_or_default();
        let number = |from: &serde_json::Value, name: &str| {
            from.get(name).and_then(serde_json::Value::as_f64)
        };
        let product = rows.text(row, 1)?.unwrap_or_default();
        all.push(Proposal {
            date: rows.text(row, 0)?.unwrap_or_default(),
            name: rows.text(row, 2)?.unwrap_or_else(|| product.clone()),
            product,
            on_hand: number(&features, "on_hand").unwrap_or_default(),
            on_order: number(&features, "on_order").unwrap_or_default(),
            expected_demand: number(&order, "expected_demand").unwrap_or_default(),
            stockout_risk: number(&order, "stockout_risk"),
            quantity: number(&order, "order_quantity").unwrap_or_default(),
            cost: number(&order, "cost").unwrap_or_default(),
            reason_zh: None,
            reason: order
                .get("reason")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        });
    }
    Ok(all)
}

async fn tests(workspace: &Workspace) -> Result<Vec<TestResult>> {
    let outcomes = run::test(workspace, &[], &[], &Known::new()).await?;
    let result = |test: flywheel_runtime::TestOutcome| TestResult {
        subject: test.subject.unwrap_or_else(|| "tests/".to_owned()),
        test: test.name,
        status: test.status.name().to_owned(),
        failures: test.failures,
    };
    Ok(outcomes.into_iter().map(result).collect())
}

async fn quarantine(workspace: &Workspace) -> Result<Vec<QuarantinedRow>> {
    let sql = format!(
        "select file, line, \"column\", reason, raw from system.quarantine order by file desc, line limit {BAD_ROWS_SHOWN}"
    );
    let rows = Rows::query(workspace, &sql).await?;
    (0..rows.len())
        .map(|row| {
            Ok(QuarantinedRow {
                file: rows.text(row, 0)?.unwrap_or_default(),
                line: rows.integer(row, 1)?.map(i64::unsigned_abs),
                column: rows.text(row, 2)?,
                reason: rows.text(row, 3)?.unwrap_or_default(),
                raw: rows.text(row, 4)?.unwrap_or_default(),
            })
        })
        .collect()
}

/// The way of the last day's revenue back to the files.
async fn lineage(workspace: &Workspace) -> Result<Option<Lineage>> {
    let newest = "select cast(day as varchar) as date, cast(revenue as varchar) as value from mart.daily_sales order by day desc limit 1";
    let rows = Rows::query(workspace, newest).await?;
    let Some((day, value)) = rows.text(0, 0)?.zip(rows.text(0, 1)?) else { return Ok(None) };
    let mut steps = vec![LineageStep {
        kind: "metric".to_owned(),
        node: format!("mart.daily_sales.revenue · {day}"),
        detail: value.clone(),
        sql: Some(format!("select revenue from mart.daily_sales where day = date '{day}'")),
    }];
    let graph = run::table_lineage(workspace, "mart.daily_sales")?;
    for step in run::column_lineage(workspace, "daily_sales", "revenue").await? {
        let node =
            graph.nodes.iter().find(|node| node.table.as_deref() == Some(step.node.as_str()));
        let upstream: Vec<String> = step
            .upstream
            .iter()
            .map(|origin| format!("{}.{}", origin.from.table, origin.from.column))
            .collect();
        let made_of = if upstream.is_empty() {
            String::new()
        } else {
            format!(" ← {}", upstream.join(", "))
        };
        steps.push(LineageStep {
            kind: step.kind.word().to_owned(),
            node: format!("{}.{}", step.node, step.column),
            detail: format!("{}{made_of}", step.expression.clone().unwrap_or_default()),
            sql: node.and_then(|node| node.sql.clone()),
        });
    }
    steps.push(LineageStep {
        kind: "file".to_owned(),
        node: format!("data/orders/{day}.csv"),
        detail: "connections/orders.yaml → syncs/orders.yaml".to_owned(),
        sql: None,
    });
    Ok(Some(Lineage {
        title: format!("Revenue of {day}"),
        title_zh: format!("{day} 的销售额"),
        value,
        steps,
    }))
}

fn truth(world: &World) -> TruthReport {
    let truth = world.truth();
    TruthReport {
        fill_rate: truth.stock.fill_rate(),
        lost_revenue: truth.stock.lost_revenue,
        lost_orders: truth.stock.lost_orders,
        empty_shelf_days: truth.stock.empty_shelf_days,
        spoiled_rows: truth.days.iter().map(|day| day.bad_rows).sum(),
        policies: truth
            .policies
            .into_iter()
            .map(|policy| PolicyTruth {
                policy: policy.policy,
                messages: policy.messages,
                lift: policy.lift,
                lift_random: policy.lift_random,
                lift_oracle: policy.lift_oracle,
            })
            .collect(),
    }
}
