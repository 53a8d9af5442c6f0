//! What a policy may spend at a moment.
//!
//! Money is counted in whole millionths, so that a sum is the same in whatever order it is added up, and a decision that
//! is made again finds the same left.

use flywheel_base::calendar::Timing;
use flywheel_base::{Error, Result, Timestamp, suggest};
use flywheel_project::resource::policy::{Budget, BudgetPeriod, Cost, Pacing, Policy};
use flywheel_project::resource::quantity::Duration;

use super::number_of;
use crate::context::Context;
use crate::decide::{TREATMENT, Unit};
use crate::outcome::literal;

/// Millionths in one.
const ONE: f64 = 1_000_000.0;
/// The most that is counted, so that no sum of a period overflows: nine billion.
const MOST: f64 = 9e9;

/// What is left to spend, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purse {
    left: i64,
}

impl Purse {
    /// What the policy may still spend; none if it has no budget.
    ///
    /// # Errors
    /// Those of the lake, and [`flywheel_base::ErrorKind::Invalid`] if the budget's zone or ends cannot be read.
    pub(crate) async fn open(
        ctx: &Context<'_>,
        name: &str,
        policy: &Policy,
    ) -> Result<Option<Self>> {
        let Some(budget) = &policy.budget else { return Ok(None) };
        let what = format!("policy \"{name}\": budget");
        let allowed = allowed(budget, policy.every, ctx.now).map_err(|e| e.context(&what))?;
        let table = ctx.frame_of_sql(&what, "select * from system.decisions limit 0").await?;
        // Before the first decision under a budget nobody spent anything.
        if !table.has("cost") {
            return Ok(Some(Self { left: allowed.amount }));
        }
        let since = allowed
            .since
            .map_or_else(String::new, |since| format!(" and decided_at >= {}", literal(since)));
        let sql = format!(
            "select coalesce(sum(cast(round(cost * {ONE}) as bigint)), 0) as spent from system.decisions
             where policy = '{name}' and arm = '{TREATMENT}' and decided_at <= {}{since}",
            literal(ctx.now)
        );
        let spent = ctx.frame_of_sql(&what, &sql).await?.integers("spent")?;
        let spent = spent.first().copied().flatten().unwrap_or_default();
        Ok(Some(Self { left: allowed.amount.saturating_sub(spent) }))
    }

    /// Whether so much can still be spent.
    pub(crate) fn covers(self, cost: f64) -> bool {
        millionths(cost) <= self.left
    }

    /// Takes off what is spent.
    pub(crate) fn pay(&mut self, cost: f64) {
        self.left = self.left.saturating_sub(millionths(cost));
    }
}

/// What treating a unit costs.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the unit has no cost, or one below 0, or the audience no such column.
pub(crate) fn cost_of(name: &str, budget: &Budget, unit: &Unit) -> Result<f64> {
    let (cost, column) = match &budget.cost {
        Cost::Number(cost) => (Some(*cost), "budget.cost"),
        Cost::Column(column) if !unit.columns.contains_key(column) => {
            let known = unit.columns.keys().map(String::as_str);
            return Err(Error::invalid(format!(
                "policy \"{name}\": budget: the audience has no column \"{column}\""
            ))
            .hint(suggest::hint(column, known)));
        }
        Cost::Column(column) => (number_of(unit, column), column.as_str()),
    };
    cost.filter(|cost| (0.0..=MOST).contains(cost)).ok_or_else(|| {
        let has = match cost {
            Some(cost) if cost < 0.0 => "a cost below 0",
            Some(cost) if cost > MOST => "a cost above nine billion",
            _ => "no cost",
        };
        Error::invalid(format!(
            "policy \"{name}\": the unit \"{}\" has {has} in \"{column}\"",
            unit.id
        ))
        .hint("Give each unit of the audience a number of 0 or more, such as `coalesce(cost, 0)`.")
    })
}

fn millionths(amount: f64) -> i64 {
    (amount.clamp(0.0, MOST) * ONE).round() as i64
}

/// What may be spent up to a moment, and since when that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowed {
    amount: i64,
    since: Option<Timestamp>,
}

/// What a budget allows up to `now`, of a policy that decides every so often.
fn allowed(budget: &Budget, every: Option<Duration>, now: Timestamp) -> Result<Allowed> {
    let amount = millionths(budget.amount);
    let (since, until) = period(budget, now)?;
    if since.is_some_and(|since| now < since) || until.is_some_and(|until| now >= until) {
        return Ok(Allowed { amount: 0, since });
    }
    let (Pacing::Even, Some(since), Some(until)) = (budget.pacing, since, until) else {
        return Ok(Allowed { amount, since });
    };
    let every = every.unwrap_or_else(|| Duration::days(1)).micros.max(0);
    let length = i128::from(until.micros()) - i128::from(since.micros());
    let passed = i128::from(now.micros()) - i128::from(since.micros()) + i128::from(every);
    let part = i128::from(amount) * passed.clamp(0, length) / length.max(1);
    Ok(Allowed { amount: i64::try_from(part).unwrap_or(amount), since: Some(since) })
}

/// The period that a moment lies in, half open.
fn period(budget: &Budget, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
    let begins = match budget.per {
        BudgetPeriod::Day => "0 0 * * *",
        BudgetPeriod::Week => "0 0 * * 1",
        BudgetPeriod::Campaign => {
            let moment = |text: &Option<String>| text.as_deref().map(Timestamp::parse).transpose();
            return Ok((moment(&budget.from)?, moment(&budget.until)?));
        }
    };
    let timing = Timing::cron(begins, budget.zone.as_deref().unwrap_or("UTC"))?;
    Ok((timing.last(now), timing.next(now)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn budget(more: &Value) -> Budget {
        let mut all = json!({"amount": 240, "cost": 1.5});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn check(more: &Value, every: &str, now: &str, amount: f64, since: Option<&str>) {
        let every: Duration = serde_json::from_value(json!(every)).unwrap();
        let moment = |text: &str| Timestamp::parse(text).unwrap();
        let found = allowed(&budget(more), Some(every), moment(now)).unwrap();
        let expected = Allowed { amount: millionths(amount), since: since.map(moment) };
        assert_eq!(found, expected, "{more} at {now}");
    }

    #[test]
    fn a_day_is_paced_by_what_has_passed_when_the_policy_is_asked_next() {
        let start = Some("2024-05-01");
        check(&json!({}), "1h", "2024-05-01 00:00", 10.0, start);
        check(&json!({}), "1h", "2024-05-01 11:00", 120.0, start);
        check(&json!({}), "1h", "2024-05-01 23:30", 240.0, start);
        check(&json!({}), "1d", "2024-05-01 00:00", 240.0, start);
        check(&json!({"pacing": "asap"}), "1h", "2024-05-01 00:00", 240.0, start);
        // Midnight in Shanghai is 16:00 in UTC.
        let zone = json!({"zone": "Asia/Shanghai"});
        check(&zone, "1h", "2024-05-01 16:00", 10.0, Some("2024-05-01 16:00"));
        check(&zone, "1h", "2024-05-01 15:00", 240.0, Some("2024-04-30 16:00"));
    }

    #[test]
    fn a_week_begins_on_monday_and_a_campaign_when_it_says() {
        let week = json!({"per": "week"});
        check(&week, "1d", "2024-05-01", 102.857_142, Some("2024-04-29"));
        let campaign = json!({"per": "campaign", "from": "2024-05-01", "until": "2024-05-11"});
        check(&campaign, "1d", "2024-05-01", 24.0, Some("2024-05-01"));
        check(&campaign, "1d", "2024-05-10", 240.0, Some("2024-05-01"));
        check(&campaign, "1d", "2024-04-30", 0.0, Some("2024-05-01"));
        check(&campaign, "1d", "2024-05-11", 0.0, Some("2024-05-01"));
        let once = json!({"per": "campaign", "pacing": "asap"});
        check(&once, "1d", "2024-05-11", 240.0, None);
    }

    #[test]
    fn a_unit_without_a_cost_is_named_and_cents_add_up() {
        let unit = |cost: &Value| Unit {
            id: "u1".into(),
            columns: json!({"cost": cost}).as_object().unwrap().clone(),
        };
        let error = cost_of("p", &budget(&json!({"cost": "csot"})), &unit(&json!(1))).unwrap_err();
        let report = error.report();
        assert!(
            report.contains("no column \"csot\"") && report.contains("mean \"cost\""),
            "{report}"
        );
        let by_column = budget(&json!({"cost": "cost"}));
        assert_eq!(cost_of("p", &by_column, &unit(&json!(2.5))).unwrap(), 2.5);
        assert_eq!(cost_of("p", &by_column, &unit(&json!("0.1"))).unwrap(), 0.1);
        for (wrong, has) in [
            (json!(null), "no cost"),
            (json!(-1), "a cost below 0"),
            (json!("much"), "no cost"),
            (json!(1e12), "a cost above nine billion"),
        ] {
            let error = cost_of("p", &by_column, &unit(&wrong)).unwrap_err();
            let told = format!("\"u1\" has {has} in \"cost\"");
            assert!(error.message().contains(&told), "{error:?}");
        }
        let mut purse = Purse { left: millionths(0.3) };
        for _ in 0..3 {
            assert!(purse.covers(0.1));
            purse.pay(0.1);
        }
        assert!(!purse.covers(0.1) && purse.covers(0.0));
    }
}
