//! `policies/*.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Duration, Share};

/// Who gets which action when, and how the effect is measured.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The policy's name.
    pub policy: String,
    /// What the policy is for.
    #[serde(default)]
    pub description: Option<String>,
    /// How often it decides; `1d` if absent. A turn that comes a twentieth of it too soon, at most five minutes, is on
    /// time.
    #[serde(default)]
    pub every: Option<Duration>,
    /// SQL with a column `unit_id`: one row per unit that a decision is made for; other columns can be used
    /// in the payload and are logged as features.
    pub audience: String,
    /// How the action is chosen.
    pub choose: Choose,
    /// The share of units that never get the action, so that its effect can be measured.
    #[serde(default)]
    pub holdout: Share,
    /// Limits on what leaves.
    #[serde(default)]
    pub caps: Caps,
    /// What may be spent, and how fast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What there is to give: SQL with columns `candidate` and `available`, and optionally `as_of` and `expires_at`
    /// (timestamps). A candidate (the name of an action, or the id of an item) is offered while units of it are left and
    /// before it expires; what the query does not list is not limited. `available` is what was left at `as_of`, and what
    /// this policy has given since then is taken off; without `as_of` everything that it ever gave is. Candidates go to
    /// the units with the best scores first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock: Option<String>,
    /// Hours in which nothing is delivered: decisions are made, and their deliveries wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// How it is known who has agreed. Who has not is not decided for, and who does not any more when a delivery is due
    /// does not get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
    /// What leaves only after a person has approved it; without it everything leaves by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
    /// When the policy stops by itself.
    #[serde(default)]
    pub guardrails: Guardrails,
    /// Where decisions go: the name of an action; none means that decisions are only logged.
    #[serde(default)]
    pub action: Option<String>,
    /// What is sent: keys to columns of the audience (`$email`), also inside of lists and objects, or fixed values. A fixed
    /// text that begins with `$` is written with two: `$$5 voucher`.
    #[serde(default)]
    pub payload: BTreeMap<String, serde_json::Value>,
    /// What counts as success.
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// A switch that stops new decisions and deliveries.
    #[serde(default)]
    pub paused: bool,
}

/// How the action is chosen; exactly one key.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// One of the listed candidates, at random with the given shares.
    Candidates(Vec<Candidate>),
    /// The best items of a recommender.
    Recommend(ChooseItems),
    /// A purchase proposal from a forecast and the stock.
    Reorder(Reorder),
    /// What a bandit thinks best for each unit, drawn with probabilities that are logged.
    Bandit(ChooseBandit),
    /// One of several variants, the same one for a unit each time, to find out which is better.
    Experiment(Experiment),
}

impl Choose {
    /// The names of actions that can be told apart in decisions; none if each decision has its own items.
    #[must_use]
    pub fn names_actions(&self) -> bool {
        matches!(self, Self::Candidates(_) | Self::Bandit(_) | Self::Experiment(_))
    }
}

/// An action a unit may get.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The action's name as it is logged, such as `discount-10`.
    pub name: String,
    /// How often it is chosen, relative to the other candidates.
    #[serde(default = "weight_default")]
    #[schemars(range(min = 0))]
    pub weight: f64,
    /// Values added to the payload when this one is chosen.
    #[serde(default)]
    pub payload: BTreeMap<String, serde_json::Value>,
}

/// The best items of a recommender.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChooseItems {
    /// The learner, of kind `recommend`.
    pub learner: String,
    /// How many items are sent.
    #[serde(default = "slots_default")]
    #[schemars(range(min = 1, max = 1000))]
    pub slots: usize,
    /// The share of decisions in which one slot is given to a random item, with its propensity logged.
    #[serde(default)]
    pub explore: Share,
}

/// What a bandit thinks best for each unit.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChooseBandit {
    /// The learner, of kind `bandit`. `flywheel policy promote` puts another one in its place, until this line is
    /// changed.
    pub learner: String,
    /// Which of the learner's actions may be chosen, and what each adds to the payload; all of them if absent.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1000))]
    pub candidates: Option<Vec<BanditCandidate>>,
    /// How another learner gets to decide: judged at every turn by logged decisions, tried on a small share of units
    /// that grows, promoted or taken back by evidence. Without it only `flywheel policy promote` changes who decides.
    #[serde(default)]
    pub canary: Option<Canary>,
}

/// A challenger's trial. Units are divided by chance, and both learners decide at the same time; the challenger's share
/// is raised while nothing speaks against it, it is promoted when it is shown to be better, and taken back when it is
/// shown to be worse, by intervals that stay valid however often one looks.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Learners of kind `bandit` that are judged at every turn while no trial runs; the first one whose logged evidence
    /// suffices is tried. None: trials are started with `flywheel policy promote` alone.
    #[serde(default)]
    pub challengers: Vec<String>,
    /// The shares of units that it decides for, one after the other. A trial begins with the first one that gives it
    /// `min_units` of the units that are decided for at a turn, with a probability of about 95 %.
    #[serde(default = "shares_default")]
    #[schemars(length(min = 1, max = 20))]
    pub shares: Vec<Share>,
    /// Units of the challenger whose window has closed before its share is raised.
    #[serde(default = "canary_units_default")]
    pub min_units: u64,
    /// The gain in reward a decision that the lower end of the interval must exceed, to be tried and to be promoted.
    #[serde(default)]
    pub gain_min: f64,
    /// A trial that has shown neither after this time is ended.
    #[serde(default = "patience_default")]
    pub patience: Duration,
}

/// An action that a bandit may choose.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BanditCandidate {
    /// The action's name, one of the learner's `actions`.
    pub name: String,
    /// Values added to the payload when this one is chosen.
    #[serde(default)]
    pub payload: BTreeMap<String, serde_json::Value>,
}

/// Variants that are compared with each other. A unit always gets the same one: which follows from `salt` and the
/// unit alone.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The variants, each with the share of units it gets (`weight`). A changed share or name begins the comparison
    /// anew.
    #[schemars(length(min = 2, max = 50))]
    pub variants: Vec<Candidate>,
    /// The variant that the others are compared with; the first if absent.
    #[serde(default)]
    pub control: Option<String>,
    /// What the assignment is drawn from, besides the unit; the policy's name if absent. Another salt assigns anew.
    #[serde(default)]
    pub salt: Option<String>,
    /// SQL with columns `unit_id` and `value`: a number of each unit from before the experiment that goes along with
    /// its success, such as last month's orders. What it explains is taken out of the comparison (CUPED).
    #[serde(default)]
    pub pre_period: Option<String>,
    /// The smallest difference in the share of decisions with an outcome that would matter: `0.01` is one point. It is
    /// what `flywheel experiment plan` counts units for.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub smallest_effect: Option<f64>,
    /// What no variant may harm; a breach pauses the policy.
    #[serde(default)]
    pub guardrails: Vec<MetricGuardrail>,
    /// What is compared besides the outcome: ratios and quantiles. The intervals of the outcome and of all of these hold
    /// together, so each more of them makes all of them wider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub metrics: Vec<DeclaredMetric>,
    /// SQL with columns `unit_id` and `person`: units that are the same one, because a visitor signed in or records were
    /// linked. They are measured as one unit; whoever got more than one variant like this is one of those that
    /// `multiple_exposure` is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<String>,
    /// What becomes of units that got more than one variant.
    #[serde(default, skip_serializing_if = "MultipleExposure::is_default")]
    pub multiple_exposure: MultipleExposure,
}

impl Experiment {
    /// Every query besides those of guardrails, with what it is called.
    #[must_use]
    pub fn queries(&self) -> Vec<(String, &String)> {
        let mut queries: Vec<(String, &String)> = Vec::new();
        queries.extend(self.pre_period.iter().map(|sql| ("pre_period".to_owned(), sql)));
        queries.extend(self.identities.iter().map(|sql| ("identities".to_owned(), sql)));
        for metric in &self.metrics {
            let name = &metric.name;
            match &metric.measure {
                Measure::Ratio(ratio) => {
                    queries.push((format!("metric.{name}.numerator"), &ratio.numerator));
                    queries.push((format!("metric.{name}.denominator"), &ratio.denominator));
                }
                Measure::Quantile(quantile) => {
                    queries.push((format!("metric.{name}"), &quantile.events));
                }
            }
        }
        queries
    }

    /// The name of the variant that the others are compared with.
    #[must_use]
    pub fn control(&self) -> Option<&str> {
        let first = || self.variants.first().map(|first| first.name.as_str());
        self.control.as_deref().or_else(first)
    }
}

/// A metric that a variant must not harm.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricGuardrail {
    /// The metric's name as it is shown.
    pub name: String,
    /// SQL with the columns of `outcome.events`: events within the outcome's window after a decision are added up,
    /// each as 1 without a value.
    pub events: String,
    /// Which way is better.
    #[serde(default)]
    pub better: Better,
    /// The harm that is put up with, as a share of the control's mean.
    #[serde(default)]
    pub harm_max: Share,
}

/// A metric that variants are compared by.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredMetric {
    /// The metric's name as it is shown.
    pub name: String,
    /// Which way is better.
    #[serde(default)]
    pub better: Better,
    /// How it is made of events.
    pub measure: Measure,
}

/// How a metric is made of events within the outcome's window after a decision; exactly one key.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// One sum divided by another: revenue an order, clicks a visit.
    Ratio(RatioOf),
    /// What a share of values does not exceed: the waiting time of nine orders in ten.
    Quantile(QuantileOf),
}

/// One sum divided by another, each over all units of a variant.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RatioOf {
    /// SQL with the columns of `outcome.events`: what is divided. An event without a value counts as 1.
    pub numerator: String,
    /// SQL with the columns of `outcome.events`: what it is divided by. The sum of a unit must not be negative.
    pub denominator: String,
}

/// What a share of values does not exceed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuantileOf {
    /// SQL with the columns of `outcome.events`, with a `value`.
    pub events: String,
    /// The share: `50%` is the median, `90%` what one in ten exceeds.
    pub share: Share,
    /// Whether each event has a value of its own or each unit the sum of its events.
    #[serde(default)]
    pub per: PerValue,
}

/// What has a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PerValue {
    /// Each event; events without a value are left out. Units stay what varies.
    #[default]
    Event,
    /// Each unit: the sum of its events, 0 without any.
    Unit,
}

/// What becomes of units that got more than one variant of an experiment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MultipleExposure {
    /// They are counted and left out of the comparison.
    #[default]
    LeaveOut,
    /// They are counted, and compared by the variant that they got first in the present split.
    Keep,
}

impl MultipleExposure {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// More is better: revenue.
    #[default]
    Higher,
    /// Less is better: returns, complaints.
    Lower,
}

/// A purchase proposal from a forecast and the stock; the audience has one row per item with the columns
/// `unit_id`, `on_hand`, `on_order`, and optionally `lead_time_days`, `pack_size`, `order_min`, `order_max` and
/// `unit_cost`, which `budget` needs. Each proposal has a `class` of two letters, of what the item is worth and how steady
/// it is. A: the items that together make 80 % of the value of all expected demand, B: up to 95 %, C: the rest, by
/// `unit_cost`; a column `abc` of the audience takes its place, and `-` says that it is not known. X: demand over the days
/// that the order covers varies by less than half of its mean, Y: by less than the mean, Z: by more.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    /// The learner, of kind `forecast`, whose series are the items.
    pub learner: String,
    /// The share of lead times in which the stock shall last.
    #[serde(default = "service_default")]
    pub service_level: Share,
    /// The share of demand that shall be served from the shelf; it takes the place of `service_level`. Choose it where
    /// a unit that is missing is what hurts, and `service_level` where any stock-out is.
    #[serde(default)]
    pub fill_rate: Option<Share>,
    /// Asks for the fill rate that would have reached `fill_rate` at the last 13 looks, by what was known at each, of up
    /// to 100 items: more where demand grows or forecasts miss the worst days, less where demand fades. It is found at
    /// each fit of the learner, and kept with its artifact. With less than 5 items, or a past that is too short,
    /// `fill_rate` itself is asked for.
    #[serde(default)]
    pub calibrated: bool,
    /// Serves `fill_rate` of demand on average over all items instead of by each: what an item will be asked for is
    /// learned from the pasts of all, and a unit is held wherever one more saves the most demand for its place. The rate
    /// is found by the last 13 looks, as with `calibrated`. For many items that are asked for seldom or in heaps, such as
    /// spare parts, where it serves as much for less. Each item is held for its own cost: what a unit costs does not
    /// count. With less than 5 items, or pasts that are too short, each is ordered for by itself.
    #[serde(default)]
    pub pooled: bool,
    /// Days from order to arrival, where the audience has no `lead_time_days`.
    #[serde(default = "lead_default")]
    #[schemars(range(min = 0, max = 3650))]
    pub lead_time_days: usize,
    /// Days between two looks at the stock.
    #[serde(default = "review_default")]
    #[schemars(range(min = 1, max = 3650))]
    pub review_days: usize,
    /// The most that one turn may spend; proposals beyond it wait. An item that is to be ordered needs a `unit_cost`.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub budget: Option<f64>,
    /// What being wrong costs. With `shortage` and `holding` the service level follows from them, in the place of
    /// `service_level`; with `order` and `holding` an order brings the lot of the least yearly cost beyond the reorder
    /// point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<Costs>,
}

/// What being wrong costs, each a number or the name of a column of the audience.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// What it costs to hold one unit for a year: capital, space, decay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding: Option<Cost>,
    /// What one unit costs that is asked for and missing: the lost margin, or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortage: Option<Cost>,
    /// What one order costs, however large it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Cost>,
}

/// A cost: a number for all items, or the name of a column of the audience with the number of each.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Cost {
    /// The same for all items.
    Number(f64),
    /// The column with each item's.
    Column(String),
}

/// What leaves only after a person has approved it. It waits in the outbox with the status `waiting`, and ends as
/// `discarded` if it is rejected or nobody approves it in time.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// Only what is above this waits; without it everything does. What has no number waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// What is compared with `above`: `cost` or `order_quantity` of a purchase proposal, or a column of the audience, or
    /// else a key of the payload; `cost` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Whether each decision is compared by itself, or the sum of all that a turn would send.
    #[serde(default)]
    pub per: Per,
    /// Who may approve: with `other`, nobody who wrote the policy, let it go on or changed who decides for it last, or
    /// edited the delivery.
    #[serde(default)]
    pub by: Approver,
    /// What nobody has approved so long after its decision ends; without it, it waits until somebody decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
}

/// What is compared with a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Each decision.
    #[default]
    Line,
    /// The sum of what a turn sends; beyond the bound all of it waits.
    Turn,
}

/// Who may approve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approver {
    /// Somebody else than who had a hand in it: four eyes.
    #[default]
    Other,
    /// Anybody who may operate.
    Anyone,
}

/// Limits on what leaves.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// At most one decision per unit in this time, less the twentieth by which a turn may come too soon.
    #[serde(default)]
    pub per_unit_every: Option<Duration>,
    /// At most this many decisions per turn, those of the holdout included.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub per_turn: Option<usize>,
}

/// What a policy may spend on the units that it treats. Whoever is beyond it is left out before it is known in which arm
/// the unit is, and may be decided for later.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// How much.
    #[schemars(range(min = 0))]
    pub amount: f64,
    /// In which time.
    #[serde(default)]
    pub per: BudgetPeriod,
    /// What treating one unit costs: a number, or the name of a column of the audience with each unit's. It never depends
    /// on what is chosen.
    pub cost: Cost,
    /// How fast it may be spent.
    #[serde(default)]
    pub pacing: Pacing,
    /// Whose days and weeks: a time zone such as `Asia/Shanghai`; UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// When a campaign begins: a date or a time such as `2026-11-01`, in UTC; everything that the policy ever spent counts
    /// if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When a campaign is over: from this moment on nothing is decided any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// The time in which a budget may be spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BudgetPeriod {
    /// Each day.
    #[default]
    Day,
    /// Each week, from Monday on.
    Week,
    /// Once, from `from` until `until`.
    Campaign,
}

/// How fast a budget may be spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pacing {
    /// At each moment no more than the share of the time that has passed by the next one, by `every` of the policy.
    #[default]
    Even,
    /// As soon as there is somebody to spend it on.
    Asap,
}

/// Hours of each day in which deliveries wait. They leave when the outbox is emptied after the end.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    /// When they begin, such as `"21:00"`.
    pub from: String,
    /// When they end, such as `"08:00"`; before `from`, it is that of the next day.
    pub to: String,
    /// On whose clocks: a time zone such as `Asia/Shanghai`, or `$column` for a column of the audience that holds each
    /// unit's. A unit whose column names no time zone is not decided for.
    pub zone: String,
    /// A delivery that has not left so long after its decision, for whatever reason, is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Duration>,
}

/// How it is known who has agreed; exactly one key.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// A column of the audience: who has true or 1 in it has agreed. Who left the audience between decision and delivery
    /// has not.
    Column(String),
    /// SQL with a column `unit_id`: everybody who has agreed to this purpose and channel.
    Sql(String),
}

/// When the policy stops by itself.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guardrails {
    /// The policy is paused when the interval of its lift lies wholly below 0; a promotion since which it does is
    /// taken back instead.
    #[serde(default = "yes")]
    pub pause_when_harmful: bool,
    /// The guardrail looks only once this many units of each arm have been decided for.
    #[serde(default = "min_units_default")]
    pub min_units: u64,
}

impl Default for Guardrails {
    fn default() -> Self {
        Self { pause_when_harmful: yes(), min_units: min_units_default() }
    }
}

/// What counts as success.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// SQL with columns `event_id`, `unit_id`, `at` (timestamp), and optionally `value` and `decision_id`:
    /// one row per success, whoever it came from. What programs hand in by `POST /v1/outcomes` for decisions of the policy
    /// counts beside it; without the query only that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<String>,
    /// How long after the decision an event still counts.
    #[serde(default = "window_default")]
    pub window: Duration,
    /// How successes are credited to the actions before them, in `system.attribution`; without it they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
}

/// How successes are credited to the actions before them. `incremental` alone says what the actions caused; all other
/// methods describe what came before what, and credit also what would have happened anyway.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attribution {
    /// The methods, each of which is reckoned by itself.
    #[serde(default = "methods_default")]
    #[schemars(length(min = 1))]
    pub methods: Vec<CreditMethod>,
    /// Policies whose actions share the credit of this policy's successes, itself included if it is listed; this one
    /// alone if absent. What is `incremental` is of this policy alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub among: Vec<String>,
    /// The time by which an action lies further back for `time-decay` to count it half.
    #[serde(default = "window_default")]
    pub half_life: Duration,
    /// The share that `position` gives to the first and to the last moment each; at most 50%.
    #[serde(default = "ends_default")]
    pub ends: Share,
}

/// How the credit of a success is shared.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum CreditMethod {
    /// What the policy caused: lift against the holdout times the decisions in treatment, with an interval, spread over
    /// them evenly.
    Incremental,
    /// All to the last action before it; descriptive.
    LastTouch,
    /// All to the first action within the window; descriptive.
    FirstTouch,
    /// As much to each action within the window; descriptive.
    Linear,
    /// More to later actions, by `half_life`; descriptive.
    TimeDecay,
    /// `ends` to the first and the last each, the rest to those between; descriptive.
    Position,
}

impl CreditMethod {
    /// Its name in files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::LastTouch => "last-touch",
            Self::FirstTouch => "first-touch",
            Self::Linear => "linear",
            Self::TimeDecay => "time-decay",
            Self::Position => "position",
        }
    }
}

/// The column that a text of a payload stands for: `email` of `$email`; none if it is a fixed text, such as `$$5`.
#[must_use]
pub fn column_of(text: &str) -> Option<&str> {
    text.strip_prefix('$').filter(|rest| !rest.starts_with('$'))
}

fn weight_default() -> f64 {
    1.0
}
fn slots_default() -> usize {
    3
}
fn service_default() -> Share {
    Share::new(0.95).unwrap_or_default()
}
fn lead_default() -> usize {
    7
}
fn review_default() -> usize {
    1
}
fn yes() -> bool {
    true
}
fn min_units_default() -> u64 {
    200
}
fn shares_default() -> Vec<Share> {
    [0.01, 0.05, 0.10, 0.25, 0.50].map(Share::of).to_vec()
}
fn canary_units_default() -> u64 {
    100
}
fn patience_default() -> Duration {
    Duration::days(30)
}
fn window_default() -> Duration {
    Duration::days(7)
}
fn methods_default() -> Vec<CreditMethod> {
    vec![CreditMethod::Incremental]
}
fn ends_default() -> Share {
    Share::of(0.4)
}
