//! A purchase proposal per item, from a forecast and the stock.

use std::collections::BTreeMap;

use flywheel_algo::inventory::pool::Times;
use flywheel_algo::inventory::reorder::{Situation, propose, propose_at};
use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_project::resource::policy::Reorder;
use serde_json::{Value, json};

use super::{Choice, digest_of};
use crate::context::Context;
use crate::decide::Unit;
use crate::learner::forecast::{self, Asked, Stored, last_whole_day};
use crate::learner::last_fit;

/// Quantile levels a lead time is simulated from where past errors are too few.
const LEVELS: [f64; 9] = [0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95];

/// The forecasts of all items and the declared settings.
pub(crate) struct Proposals {
    name: String,
    settings: Reorder,
    forecasts: Option<Stored>,
    artifact: Option<String>,
    /// The fill rate to ask for, if the policy is calibrated and there was evidence at the fit.
    asked: Option<Asked>,
    /// Whole days between the fit and now: the forecast's first days have passed.
    age_days: usize,
}

impl Proposals {
    /// Reads the learner's newest artifact; before the first fit nothing is proposed.
    pub(crate) fn load(ctx: &Context<'_>, policy: &str, settings: &Reorder) -> Result<Self> {
        let artifact = last_fit(ctx, &settings.learner)?.map(|artifact| artifact.digest);
        Self::of(ctx, policy, settings, artifact, ctx.now)
    }

    /// As [`Proposals::load`], of an artifact of the learner and for a moment.
    pub(crate) fn of(
        ctx: &Context<'_>,
        policy: &str,
        settings: &Reorder,
        artifact: Option<String>,
        at: Timestamp,
    ) -> Result<Self> {
        let forecasts =
            artifact.as_ref().map(|artifact| forecast::load(ctx, artifact)).transpose()?;
        let age = forecasts.as_ref().map_or(0, |stored| last_whole_day(at) - stored.through);
        let asked = forecasts.as_ref().and_then(|stored| stored.asked.get(policy));
        let asked = asked
            .filter(|asked| (settings.calibrated || settings.pooled) && asked.fits(settings))
            .cloned();
        Ok(Self {
            name: policy.to_owned(),
            settings: settings.clone(),
            asked,
            forecasts,
            artifact,
            age_days: usize::try_from(age).unwrap_or_default(),
        })
    }

    /// Proposes an order for one item; none if nothing is to be ordered or nothing is known of its demand.
    pub(crate) fn choose(&self, unit: &Unit) -> Result<Option<Choice>> {
        let Some(series) = self.forecasts.as_ref().and_then(|stored| stored.series.get(&unit.id))
        else {
            return Ok(None);
        };
        let situation = self.situation(unit)?;
        let cover = situation.lead_time_days
            + 3.0 * situation.lead_time_deviation_days
            + situation.review_days;
        let horizon = self.age_days + (cover.ceil() as usize).max(1);
        let mut ahead = series.forecast(horizon, &LEVELS)?;
        ahead.mean.drain(..self.age_days);
        if !ahead.quantiles.is_empty() {
            ahead.quantiles.drain(..self.age_days);
        }
        ahead.errors.iter_mut().for_each(|path| drop(path.drain(..self.age_days.min(path.len()))));
        // Past demands that were forecast again lie as far apart as orders of the file's own lead time need; those of
        // longer ones would overlap, and tell too little.
        let declared = self.settings.lead_time_days + self.settings.review_days;
        if situation.lead_time_days.ceil() as usize + self.settings.review_days > declared {
            ahead.errors.clear();
        }
        let pooled = self.asked.as_ref().and_then(|asked| {
            let belief = asked.beliefs.get(&unit.id)?;
            let lead = situation.lead_time_days.ceil() as usize;
            let times = Times { lead, review: self.settings.review_days };
            Some(belief.ladder(times).level(asked.rate))
        });
        let proposal = match pooled {
            Some(level) => propose_at(&situation, &ahead, level),
            None => propose(&situation, &ahead),
        };
        let proposal = proposal
            .map_err(|e| e.context(format!("policy \"{}\": item \"{}\"", self.name, unit.id)))?;
        if proposal.order_quantity <= 0.0 {
            return Ok(None);
        }
        let reason = match (&self.asked, self.settings.fill_rate) {
            (Some(asked), Some(wanted)) if pooled.is_some() => format!(
                "{}; so many, because at the last {} looks at {} items it would have served the {:.1} % of demand that are wanted on average",
                proposal.reason,
                asked.looks,
                asked.items,
                100.0 * wanted.value()
            ),
            (Some(asked), Some(wanted)) => format!(
                "{}; asked for, because at the last {} looks at {} items it would have served the {:.1} % that are wanted",
                proposal.reason,
                asked.looks,
                asked.items,
                100.0 * wanted.value()
            ),
            _ => proposal.reason,
        };
        let cost = self.unit_cost(unit)? * proposal.order_quantity;
        let values = BTreeMap::from([
            ("order_quantity".to_owned(), json!(proposal.order_quantity)),
            ("reorder_point".to_owned(), json!(proposal.reorder_point)),
            ("order_up_to".to_owned(), json!(proposal.order_up_to)),
            ("safety_stock".to_owned(), json!(proposal.safety_stock)),
            ("expected_demand".to_owned(), json!(proposal.expected_demand)),
            ("stockout_risk".to_owned(), json!(proposal.stockout_risk)),
            ("cost".to_owned(), json!(cost)),
            ("reason".to_owned(), json!(reason)),
        ]);
        Ok(Some(Choice {
            action: "order".to_owned(),
            propensity: 1.0,
            items: Some(json!([values])),
            candidates: 1,
            candidates_digest: digest_of(std::iter::once(unit.id.as_str())),
            artifact: self.artifact.clone(),
            values,
            cost,
            ..Choice::default()
        }))
    }

    /// Whether the turn's budget covers the order.
    pub(crate) fn affords(&self, choice: &Choice, spent: &mut f64) -> bool {
        if self.settings.budget.is_some_and(|budget| *spent + choice.cost > budget) {
            return false;
        }
        *spent += choice.cost;
        true
    }

    fn situation(&self, unit: &Unit) -> Result<Situation> {
        let needed = |column: &str| -> Result<f64> {
            self.number(unit, column)?.ok_or_else(|| {
                Error::invalid(self.without_number(unit, column))
                    .hint("The audience of a reorder policy needs unit_id, on_hand and on_order.")
            })
        };
        Ok(Situation {
            stock_on_hand: needed("on_hand")?,
            on_order: needed("on_order")?,
            lead_time_days: self
                .number(unit, "lead_time_days")?
                .unwrap_or(self.settings.lead_time_days as f64),
            review_days: self.settings.review_days as f64,
            period_days: 1.0,
            service_level: self.settings.service_level.value(),
            fill_rate: match &self.asked {
                // An item that was not there at the fit, in a pool's stead.
                Some(asked) if self.settings.pooled => Some(asked.wanted()),
                Some(asked) => Some(asked.rate),
                None => self.settings.fill_rate.map(|rate| rate.value()),
            },
            pack_size: self.number(unit, "pack_size")?.unwrap_or(1.0),
            seed: digest::hash64(&[b"reorder", unit.id.as_bytes()]),
            ..Situation::default()
        })
    }

    /// What one unit of the item costs. A budget counts nothing whose cost is not known.
    fn unit_cost(&self, unit: &Unit) -> Result<f64> {
        let cost = self.number(unit, "unit_cost")?;
        if self.settings.budget.is_some() && cost.is_none_or(|cost| cost < 0.0) {
            return Err(Error::invalid(format!(
                "policy \"{}\": item \"{}\" has no cost of 0 or more in column \"unit_cost\", which `budget` needs",
                self.name, unit.id
            ))
            .hint("Add its cost, or leave it out of the audience: `where unit_cost >= 0`."));
        }
        Ok(cost.unwrap_or(0.0))
    }

    /// The number in a column of the audience, if there is any value.
    fn number(&self, unit: &Unit, column: &str) -> Result<Option<f64>> {
        let number: Option<f64> = match unit.columns.get(column) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(Value::Number(number)) => number.as_f64(),
            Some(_) => None,
        };
        match number.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::invalid(self.without_number(unit, column)).hint(format!(
                "Make a number of it in the audience, such as `cast({column} as double)`, or null where there is none."
            ))),
        }
    }

    fn without_number(&self, unit: &Unit, column: &str) -> String {
        format!(
            "policy \"{}\": item \"{}\" has no number in column \"{column}\"",
            self.name, unit.id
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposals(settings: &Value) -> Proposals {
        Proposals {
            name: "restock".to_owned(),
            settings: serde_json::from_value(settings.clone()).unwrap(),
            forecasts: None,
            artifact: None,
            asked: None,
            age_days: 0,
        }
    }

    fn item(columns: &Value) -> Unit {
        Unit { id: "i1".to_owned(), columns: columns.as_object().unwrap().clone() }
    }

    #[test]
    fn a_budget_needs_the_cost_of_each_item() {
        let limited = proposals(&json!({"learner": "demand", "budget": 300.0}));
        let free = proposals(&json!({"learner": "demand"}));
        for cost in [json!(5), json!(" 5 ")] {
            let item = item(&json!({"unit_cost": cost}));
            assert_eq!(limited.unit_cost(&item).unwrap(), 5.0);
        }
        for columns in [json!({}), json!({"unit_cost": null}), json!({"unit_cost": ""})] {
            let item = item(&columns);
            let said = limited.unit_cost(&item).unwrap_err().report();
            assert!(said.contains("item \"i1\"") && said.contains("budget"), "{said}");
            assert_eq!(free.unit_cost(&item).unwrap(), 0.0);
        }
        assert!(limited.unit_cost(&item(&json!({"unit_cost": -1}))).is_err());
    }

    #[test]
    fn a_value_that_is_no_number_is_refused_by_item_and_column() {
        let proposals = proposals(&json!({"learner": "demand", "lead_time_days": 9}));
        let situation = |lead: Value| {
            proposals
                .situation(&item(&json!({"on_hand": 1, "on_order": 0, "lead_time_days": lead})))
        };
        let days = situation(Value::Null).unwrap().lead_time_days;
        assert_eq!(days, 9.0, "as declared");
        for lead in [json!("about 7"), json!("inf"), json!(true)] {
            let said = situation(lead).unwrap_err().report();
            assert!(said.contains("item \"i1\"") && said.contains("lead_time_days"), "{said}");
        }
        assert!(proposals.unit_cost(&item(&json!({"unit_cost": "n/a"}))).is_err());
    }
}
