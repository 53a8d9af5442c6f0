//! What a report is made of: plain values, read from the lake by the caller.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything a report shows. Dates are texts, `2025-03-03`; rates and lifts are shares, `0.07`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportData {
    /// The project's name.
    pub project: String,
    /// The seed, if the customers are simulated; the report then says so on every screen.
    pub simulated_seed: Option<u64>,
    /// The version of the program.
    pub version: String,
    /// The command that makes this report again.
    pub command: String,
    /// The policy the headline is about; the first with a lift if absent.
    pub headline_policy: Option<String>,
    /// What the stations of the ring counted over all turns.
    pub totals: Totals,
    /// One row per turn, oldest first.
    pub turns: Vec<Turn>,
    /// One entry per policy.
    pub policies: Vec<PolicyReport>,
    /// How many customers were at which stage, oldest first.
    pub stages: Vec<StageCounts>,
    /// How many customers moved from one stage to another over all turns.
    pub moves: Vec<StageMove>,
    /// A few forecast series.
    pub forecasts: Vec<ForecastSeries>,
    /// A few customers and what is recommended to them.
    pub recommendations: Vec<Recommended>,
    /// The newest purchase proposals.
    pub proposals: Vec<Proposal>,
    /// The latest results of the tests.
    pub tests: Vec<TestResult>,
    /// A few rows that were set aside.
    pub quarantine: Vec<QuarantinedRow>,
    /// Where one number comes from.
    pub lineage: Option<Lineage>,
    /// What the simulator knows and a real shop never does.
    pub truth: Option<TruthReport>,
}

/// What the stations of the ring counted over all turns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Files read.
    pub files: u64,
    /// Rows landed.
    pub rows_landed: u64,
    /// Rows set aside.
    pub rows_quarantined: u64,
    /// Models in the project.
    pub models: u64,
    /// Tests in the project.
    pub tests: u64,
    /// Artifacts fitted.
    pub fits: u64,
    /// Decisions made.
    pub decisions: u64,
    /// Decisions held out.
    pub held_out: u64,
    /// Actions delivered.
    pub actions: u64,
    /// Outcomes joined to a decision.
    pub outcomes: u64,
}

/// One turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Its number.
    pub turn: u64,
    /// Its date.
    pub date: String,
    /// Rows landed.
    pub rows_landed: u64,
    /// Rows set aside.
    pub rows_quarantined: u64,
    /// Tests that failed or warned.
    pub test_failures: u64,
    /// Learners that were fitted.
    pub fits: u64,
    /// Decisions made.
    pub decisions: u64,
    /// Of these, held out.
    pub held_out: u64,
    /// Actions delivered.
    pub actions: u64,
    /// Outcomes joined.
    pub outcomes: u64,
}

/// One policy and what it changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Its name.
    pub policy: String,
    /// What it is for.
    pub description: String,
    /// The same in Chinese, if known.
    pub description_zh: Option<String>,
    /// The share of units held out.
    pub holdout: f64,
    /// How many days after a decision an outcome counts.
    pub window_days: u64,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// What it changed, as known at each turn, oldest first.
    pub lifts: Vec<LiftPoint>,
    /// How the variants of an experiment stand beside the control; empty for other policies.
    #[serde(default)]
    pub compared: Vec<Compared>,
}

/// How a variant of an experiment stands beside the control by one metric; `system.experiments`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The metric.
    pub metric: String,
    /// Whether it is a share, so that it is shown in per cent.
    pub share: bool,
    /// The variant.
    pub variant: String,
    /// The variant it is compared with.
    pub control: String,
    /// The metric of the variant.
    pub rate: Option<f64>,
    /// That of the control.
    pub control_rate: Option<f64>,
    /// The difference.
    pub difference: Option<f64>,
    /// Lower end of its interval.
    pub lower: Option<f64>,
    /// Upper end of its interval.
    pub upper: Option<f64>,
    /// What is known of it, such as `better`.
    pub standing: String,
}

/// What a policy changed so far, as known at one turn; `system.lift`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiftPoint {
    /// The turn.
    pub turn: u64,
    /// Its date.
    pub date: String,
    /// Decisions so far whose window has closed.
    pub measured: u64,
    /// Share of them with an outcome, treatment.
    pub treated_rate: Option<f64>,
    /// Share of them with an outcome, holdout.
    pub holdout_rate: Option<f64>,
    /// The difference.
    pub lift: Option<f64>,
    /// Lower end of its 95 % interval.
    pub lower: Option<f64>,
    /// Upper end of its 95 % interval.
    pub upper: Option<f64>,
    /// The artifact that scored this turn's decisions.
    pub artifact: Option<String>,
}

/// How many customers were at which stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageCounts {
    /// The date.
    pub date: String,
    /// Customers by stage.
    pub counts: BTreeMap<String, u64>,
}

/// How many customers moved from one stage to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageMove {
    /// The stage before.
    pub from: String,
    /// The stage after.
    pub to: String,
    /// How many.
    pub customers: u64,
}

/// A series, its past and its forecast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ForecastSeries {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its name in Chinese, if known.
    pub name_zh: Option<String>,
    /// The method that was used.
    pub method: String,
    /// How much of the future the interval covers.
    pub interval: f64,
    /// What happened, day by day.
    pub actual: Vec<DayValue>,
    /// What is expected, day by day.
    pub ahead: Vec<ForecastDay>,
}

/// A value of a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DayValue {
    /// The date.
    pub date: String,
    /// The value.
    pub value: f64,
}

/// What is expected of a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ForecastDay {
    /// The date.
    pub date: String,
    /// The expected value.
    pub mean: f64,
    /// Lower end of the interval, if the history is long enough for one.
    pub lower: Option<f64>,
    /// Upper end of the interval.
    pub upper: Option<f64>,
}

/// A customer and what is recommended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recommended {
    /// The customer.
    pub customer: String,
    /// The name, if known.
    pub name: Option<String>,
    /// The stage, if known.
    pub stage: Option<String>,
    /// Some of what the customer bought lately.
    pub bought: Vec<String>,
    /// What is recommended, best first.
    pub items: Vec<RecommendedItem>,
}

/// A recommended item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecommendedItem {
    /// Its id.
    pub item: String,
    /// Its name.
    pub name: String,
    /// Its name in Chinese, if known.
    pub name_zh: Option<String>,
    /// Its score; the larger the better.
    pub score: f64,
    /// Why it stands there.
    pub reason: String,
    /// The same in Chinese, if known.
    pub reason_zh: Option<String>,
}

/// A purchase proposal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The date.
    pub date: String,
    /// The product.
    pub product: String,
    /// Its name.
    pub name: String,
    /// Pieces on the shelf.
    pub on_hand: f64,
    /// Pieces on their way.
    pub on_order: f64,
    /// Pieces expected to be wanted until the delivery after next.
    pub expected_demand: f64,
    /// The probability of an empty shelf without the order.
    pub stockout_risk: Option<f64>,
    /// Pieces to be ordered.
    pub quantity: f64,
    /// What they cost.
    pub cost: f64,
    /// Why.
    pub reason: String,
    /// The same in Chinese, if known.
    pub reason_zh: Option<String>,
}

/// A test and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// What is tested: the model or the file.
    pub subject: String,
    /// What is claimed: `customer_id is not null`.
    pub test: String,
    /// `passed`, `warned` or `failed`.
    pub status: String,
    /// How many rows contradict it.
    pub failures: u64,
}

/// A row that was set aside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuarantinedRow {
    /// The file it stands in.
    pub file: String,
    /// The line.
    pub line: Option<u64>,
    /// The column that does not fit, if it is one.
    pub column: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// The row as it was.
    pub raw: String,
}

/// Where one number comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// What the number is.
    pub title: String,
    /// The same in Chinese.
    pub title_zh: String,
    /// The number.
    pub value: String,
    /// The steps from the number back to the files.
    pub steps: Vec<LineageStep>,
}

/// One step of a lineage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineageStep {
    /// What kind of node it is: `metric`, `model`, `source`, `file`.
    pub kind: String,
    /// Its name.
    pub node: String,
    /// What is known of it: rows, version, fingerprint.
    pub detail: String,
    /// The SQL that makes it, if any.
    pub sql: Option<String>,
}

/// What the simulator knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TruthReport {
    /// The true effect of each policy.
    pub policies: Vec<PolicyTruth>,
    /// The share of wanted pieces that were sold.
    pub fill_rate: f64,
    /// What empty shelves cost.
    pub lost_revenue: f64,
    /// Orders lost because nothing wanted was there.
    pub lost_orders: u64,
    /// Product-days that ended with an empty shelf.
    pub empty_shelf_days: u64,
    /// Rows the simulator spoiled on purpose, in all files.
    pub spoiled_rows: u64,
}

/// The true effect of one policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyTruth {
    /// The policy.
    pub policy: String,
    /// Messages that arrived.
    pub messages: u64,
    /// The true lift.
    pub lift: f64,
    /// The lift if products had been picked at random.
    pub lift_random: Option<f64>,
    /// The lift if the best products had been picked.
    pub lift_oracle: Option<f64>,
}
