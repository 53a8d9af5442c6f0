//! Where a customer stands: prospect, new, active, at-risk, churned or champion.
//!
//! Thresholds are multiples of the customer's own purchase rhythm, so that someone who buys every week
//! and someone who buys every winter are both judged fairly. The first rule that holds decides:
//!
//! | stage | rule |
//! |---|---|
//! | prospect | never bought |
//! | churned | silent for more than `churned_rhythms` of the own rhythm |
//! | at-risk | silent for more than `at_risk_rhythms` of the own rhythm |
//! | champion | ≥ `champion_purchases`, and value within the top `champion_share` of customers |
//! | new | first purchase at most `new_days` ago, and fewer than `champion_purchases` |
//! | active | otherwise |
//!
//! The own rhythm is the median gap between buying days, shrunk towards the rhythm of all customers while
//! there are few gaps, and never below `rhythm_days_min`.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::rfm::Customer;
use crate::stats::finite;

/// A named stage of a customer's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Known but never bought.
    Prospect,
    /// Bought for the first time not long ago.
    New,
    /// Buys in the own rhythm.
    Active,
    /// Among the best customers and buying in the own rhythm.
    Champion,
    /// Later than the own rhythm lets expect.
    AtRisk,
    /// Silent for so long that a return is unlikely.
    Churned,
}

impl Stage {
    /// All stages in the order a life passes through them.
    pub const ALL: [Self; 6] =
        [Self::Prospect, Self::New, Self::Active, Self::Champion, Self::AtRisk, Self::Churned];

    /// The name in tables and files, kebab-case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prospect => "prospect",
            Self::New => "new",
            Self::Active => "active",
            Self::Champion => "champion",
            Self::AtRisk => "at-risk",
            Self::Churned => "churned",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The thresholds of the rule table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Days after the first purchase during which a customer is new.
    pub new_days: f64,
    /// Own rhythms of silence after which a customer is at risk.
    pub at_risk_rhythms: f64,
    /// Own rhythms of silence after which a customer has churned.
    pub churned_rhythms: f64,
    /// Purchases a champion has at least.
    pub champion_purchases: u64,
    /// The share of customers by value who can be champions.
    pub champion_share: f64,
    /// The rhythm assumed when no customer has bought on two days.
    pub rhythm_days_default: f64,
    /// The shortest rhythm that is believed.
    pub rhythm_days_min: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            new_days: 30.0,
            at_risk_rhythms: 2.0,
            churned_rhythms: 4.0,
            champion_purchases: 5,
            champion_share: 0.2,
            rhythm_days_default: 60.0,
            rhythm_days_min: 7.0,
        }
    }
}

/// One customer's stage and what it was decided from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Who.
    pub customer: String,
    /// The stage.
    pub stage: Stage,
    /// The rhythm it was judged by, in days.
    pub rhythm_days: f64,
    /// The rule that decided, as a sentence for people.
    pub reason: String,
}

/// How many gaps the rhythm of all customers weighs against a customer's own.
const PRIOR_GAPS: f64 = 1.0;

/// Names the stage of every customer, and of `prospects`, who are known but never bought.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a rule is not finite or out of range.
/// # Cost
/// O(n log n) in the customers.
pub fn stages(
    customers: &[Customer],
    prospects: &[String],
    rules: &Rules,
) -> Result<Vec<Standing>> {
    check(rules)?;
    let shared = shared_rhythm(customers, rules);
    let champion_from = champion_value(customers, rules);
    let mut made: Vec<Standing> = customers
        .iter()
        .map(|customer| {
            let rhythm = own_rhythm(customer, shared, rules);
            let (stage, reason) = stage(customer, rhythm, champion_from, rules);
            Standing { customer: customer.customer.clone(), stage, rhythm_days: rhythm, reason }
        })
        .collect();
    let bought: HashSet<&str> = customers.iter().map(|c| c.customer.as_str()).collect();
    for prospect in prospects.iter().filter(|name| !bought.contains(name.as_str())) {
        made.push(Standing {
            customer: prospect.clone(),
            stage: Stage::Prospect,
            rhythm_days: shared,
            reason: "never bought".to_owned(),
        });
    }
    made.sort_by(|a, b| a.customer.cmp(&b.customer));
    made.dedup_by(|a, b| a.customer == b.customer);
    Ok(made)
}

/// Counts the moves between two moments: `(from, to)` with the number of customers.
///
/// Who is missing before counts as coming from nothing (`None`), who is missing after as leaving to nothing.
#[must_use]
pub fn transitions(
    before: &[Standing],
    after: &[Standing],
) -> BTreeMap<(Option<Stage>, Option<Stage>), usize> {
    let mut pairs: BTreeMap<&str, (Option<Stage>, Option<Stage>)> = BTreeMap::new();
    for standing in before {
        pairs.entry(&standing.customer).or_default().0 = Some(standing.stage);
    }
    for standing in after {
        pairs.entry(&standing.customer).or_default().1 = Some(standing.stage);
    }
    let mut counts = BTreeMap::new();
    for pair in pairs.into_values() {
        *counts.entry(pair).or_insert(0) += 1;
    }
    counts
}

fn stage(customer: &Customer, rhythm: f64, champion_from: f64, rules: &Rules) -> (Stage, String) {
    let silent = customer.recency_days / rhythm;
    let bought = customer.frequency;
    if silent > rules.churned_rhythms {
        return (Stage::Churned, format!("silent for {silent:.1} of the own rhythm"));
    }
    if silent > rules.at_risk_rhythms {
        return (Stage::AtRisk, format!("silent for {silent:.1} of the own rhythm"));
    }
    if bought >= rules.champion_purchases && customer.monetary >= champion_from {
        return (Stage::Champion, format!("{bought} purchases and among the most valuable"));
    }
    if customer.age_days <= rules.new_days && bought < rules.champion_purchases {
        return (Stage::New, format!("first purchase {:.0} days ago", customer.age_days));
    }
    (Stage::Active, format!("last purchase {silent:.1} of the own rhythm ago"))
}

/// The median rhythm of the customers who have one.
fn shared_rhythm(customers: &[Customer], rules: &Rules) -> f64 {
    let mut known: Vec<f64> = customers.iter().filter_map(|c| c.rhythm_days).collect();
    known.sort_by(f64::total_cmp);
    let middle = known.get(known.len() / 2).copied();
    middle.unwrap_or(rules.rhythm_days_default).max(rules.rhythm_days_min)
}

fn own_rhythm(customer: &Customer, shared: f64, rules: &Rules) -> f64 {
    let Some(own) = customer.rhythm_days else { return shared };
    let gaps = customer.frequency.saturating_sub(1) as f64;
    let shrunk = (gaps * own + PRIOR_GAPS * shared) / (gaps + PRIOR_GAPS);
    shrunk.max(rules.rhythm_days_min)
}

/// The value from which a customer is among the top share.
fn champion_value(customers: &[Customer], rules: &Rules) -> f64 {
    let mut values: Vec<f64> = customers.iter().map(|customer| customer.monetary).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    let places = (rules.champion_share * values.len() as f64).ceil() as usize;
    match places.checked_sub(1).and_then(|last| values.get(last)) {
        Some(value) => *value,
        None => f64::INFINITY,
    }
}

fn check(rules: &Rules) -> Result<()> {
    let numbers = [
        rules.new_days,
        rules.at_risk_rhythms,
        rules.churned_rhythms,
        rules.champion_share,
        rules.rhythm_days_default,
        rules.rhythm_days_min,
    ];
    finite::all_finite("lifecycle rule", &numbers)?;
    let positive = rules.at_risk_rhythms > 0.0
        && rules.rhythm_days_default > 0.0
        && rules.rhythm_days_min > 0.0
        && rules.new_days >= 0.0;
    if !positive || rules.churned_rhythms < rules.at_risk_rhythms {
        return Err(Error::invalid("lifecycle rules contradict each other").hint(
            "Keep every threshold above 0 and churned_rhythms at or above at_risk_rhythms.",
        ));
    }
    if !(0.0..=1.0).contains(&rules.champion_share) {
        return Err(Error::invalid(format!("champion_share is {}", rules.champion_share))
            .hint("Give a share between 0 and 1, for example 0.2."));
    }
    Ok(())
}
