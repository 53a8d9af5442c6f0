//! A purchase proposal per item, from a forecast and the stock.

use std::collections::BTreeMap;

use flywheel_algo::inventory::abc;
use flywheel_algo::inventory::pool::Times;
use flywheel_algo::inventory::reorder::{Situation, level_of_costs, propose, propose_at};
use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_project::resource::policy::{Cost, Reorder};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::{Choice, digest_of};
use crate::context::Context;
use crate::decide::Unit;
use crate::frame::Frame;
use crate::learner::forecast::{self, Asked, Stored, last_whole_day};
use crate::learner::last_fit;

/// Quantile levels a lead time is simulated from where past errors are too few.
const LEVELS: [f64; 9] = [0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95];

/// The column of the audience with each item's class by value. What it holds is logged with the features, so that a
/// decision can be made again without all other items.
const ABC: &str = "abc";
/// The class of an item whose value is not known.
const NO_CLASS: &str = "-";
/// Over so many days ahead the value of demand is reckoned.
const VALUE_DAYS: usize = 28;

/// What speaks against orders by the learner's last fit.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// Units of the audience without a forecast, so that nothing is ordered.
    pub(crate) without_forecast: usize,
    /// The last day that was fitted and how many ago it is, if it is longer ago than fits should be.
    pub(crate) overdue: Option<(Timestamp, usize)>,
}

/// What speaks against orders for these units; nothing before the learner's first fit.
pub(crate) fn doubts(
    ctx: &Context<'_>,
    settings: &Reorder,
    units: &[Option<String>],
) -> Result<Doubts> {
    let Some(fit) = last_fit(ctx, &settings.learner)? else { return Ok(Doubts::default()) };
    let stored = forecast::load(ctx, &fit.digest)?;
    let refit = ctx.project.learners.get(&settings.learner).and_then(|learner| learner.refit);
    let days = forecast::overdue(stored.through, ctx.now, refit);
    Ok(Doubts {
        without_forecast: unknown(&stored, units),
        overdue: days.map(|days| (Timestamp::from_day(stored.through), days)),
    })
}

/// How many units there is no series of.
fn unknown(stored: &Stored, units: &[Option<String>]) -> usize {
    let unknown = |unit: &&String| !stored.series.contains_key(unit.as_str());
    units.iter().flatten().filter(unknown).count()
}

/// The class by value of each item of an audience, as far as its forecast and cost are known.
pub(crate) struct Classes(BTreeMap<String, char>);

impl Classes {
    /// Ranks all items of the audience, those that are not decided for now included.
    ///
    /// # Cost
    /// One mean forecast an item.
    pub(crate) fn of(ctx: &Context<'_>, settings: &Reorder, audience: &Frame<'_>) -> Result<Self> {
        let none = Self(BTreeMap::new());
        if audience.has(ABC) || !audience.has("unit_cost") {
            return Ok(none);
        }
        let Some(fit) = last_fit(ctx, &settings.learner)? else { return Ok(none) };
        let stored = forecast::load(ctx, &fit.digest)?;
        let costs = audience.numbers_if_any("unit_cost")?;
        let items: Vec<(String, Option<f64>)> =
            audience.ids("unit_id")?.into_iter().zip(costs).collect();
        let values = items
            .into_par_iter()
            .filter_map(|(item, cost)| {
                let cost = cost.filter(|cost| cost.is_finite() && *cost >= 0.0)?;
                let series = stored.series.get(&item)?;
                let ahead = series.forecast(VALUE_DAYS, &[]);
                let worth = |mean: &[f64]| cost * mean.iter().map(|day| day.max(0.0)).sum::<f64>();
                Some(ahead.map(|ahead| (item, worth(&ahead.mean))))
            })
            .collect::<Result<BTreeMap<String, f64>>>()?;
        abc::by_value(&values).map(Self)
    }

    /// Adds to the columns of an item what its class is, unless the audience says so itself.
    pub(crate) fn add(&self, item: &str, columns: &mut Map<String, Value>) {
        let class = self.0.get(item).map_or_else(|| NO_CLASS.to_owned(), char::to_string);
        columns.entry(ABC).or_insert_with(|| json!(class));
    }
}

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

    /// For how many units of an audience there is no forecast, so that nothing is ordered; none before the first fit.
    pub(crate) fn without_forecast(&self, units: &[Option<String>]) -> usize {
        self.forecasts.as_ref().map_or(0, |stored| unknown(stored, units))
    }

    /// Proposes an order for one item; none if nothing is to be ordered or nothing is known of its demand.
    pub(crate) fn choose(&self, unit: &Unit) -> Result<Option<Choice>> {
        let Some(series) = self.forecasts.as_ref().and_then(|stored| stored.series.get(&unit.id))
        else {
            return Ok(None);
        };
        let mut situation = self.situation(unit)?;
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
        let named = |e: Error| e.context(format!("policy \"{}\": item \"{}\"", self.name, unit.id));
        let shortage = self.cost(unit, "shortage")?;
        if let Some(shortage) = shortage {
            situation.service_level =
                level_of_costs(&situation, &ahead, shortage).map_err(named)?;
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
        let proposal = proposal.map_err(named)?;
        if proposal.order_quantity <= 0.0 {
            return Ok(None);
        }
        let xyz = abc::by_variation(proposal.variation);
        let lot = proposal.order_up_to - proposal.reorder_point;
        let mut reason = match (&self.asked, self.settings.fill_rate) {
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
        if let (Some(shortage), Some(holding)) = (shortage, situation.holding_cost_per_unit_year) {
            reason.push_str(&format!(
                "; so sure, because a missing unit costs {shortage:.2} and one that is held for a year {holding:.2}"
            ));
        }
        if let Some(order) = situation.order_cost {
            reason.push_str(&format!(
                "; {lot:.1} beyond it, the lot of the least yearly cost, because an order costs {order:.2}"
            ));
        }
        let cost = self.unit_cost(unit)? * proposal.order_quantity;
        let mut values = BTreeMap::from([
            ("order_quantity".to_owned(), json!(proposal.order_quantity)),
            ("reorder_point".to_owned(), json!(proposal.reorder_point)),
            ("order_up_to".to_owned(), json!(proposal.order_up_to)),
            ("safety_stock".to_owned(), json!(proposal.safety_stock)),
            ("expected_demand".to_owned(), json!(proposal.expected_demand)),
            ("stockout_risk".to_owned(), json!(proposal.stockout_risk)),
            ("cost".to_owned(), json!(cost)),
            ("reason".to_owned(), json!(reason)),
        ]);
        let abc = unit.columns.get(ABC).map(|class| class.as_str().unwrap_or(NO_CLASS));
        let class = json!(format!("{}{xyz}", abc.unwrap_or(NO_CLASS)));
        // Decisions from before there were classes come out as they were.
        if abc.is_some() {
            values.insert("class".to_owned(), class.clone());
        }
        let items = json!([values]);
        values.insert("class".to_owned(), class);
        Ok(Some(Choice {
            action: "order".to_owned(),
            propensity: 1.0,
            items: Some(items),
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
            order_min: self.number(unit, "order_min")?.unwrap_or(0.0),
            order_max: self.number(unit, "order_max")?,
            order_cost: self.cost(unit, "order")?,
            holding_cost_per_unit_year: self.cost(unit, "holding")?,
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

    /// A declared cost of the item; none if the policy declares none.
    fn cost(&self, unit: &Unit, key: &str) -> Result<Option<f64>> {
        let costs = self.settings.costs.as_ref();
        let declared = costs.and_then(|costs| match key {
            "holding" => costs.holding.as_ref(),
            "shortage" => costs.shortage.as_ref(),
            _ => costs.order.as_ref(),
        });
        let column = match declared {
            None => return Ok(None),
            Some(Cost::Number(number)) => return Ok(Some(*number)),
            Some(Cost::Column(column)) => column,
        };
        let known = |cost: &f64| *cost > 0.0 || (*cost == 0.0 && key == "order");
        match self.number(unit, column)?.filter(known) {
            Some(cost) => Ok(Some(cost)),
            None => Err(Error::invalid(format!(
                "policy \"{}\": item \"{}\" has no cost in column \"{column}\", which `costs: {key}` names",
                self.name, unit.id
            ))
            .hint(format!(
                "Add its cost, or leave it out of the audience: `where {column} > 0`."
            ))),
        }
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
    fn a_cost_is_a_number_for_all_or_a_column_of_each() {
        let proposals = proposals(&json!({
            "learner": "demand", "costs": {"holding": 2, "shortage": "margin", "order": "freight"},
        }));
        let known = item(&json!({"margin": 3.5, "freight": "0"}));
        let cost = |key| proposals.cost(&known, key).unwrap();
        assert_eq!(["holding", "shortage", "order"].map(cost), [Some(2.0), Some(3.5), Some(0.0)]);
        for columns in
            [json!({}), json!({"margin": null}), json!({"margin": 0}), json!({"margin": -1})]
        {
            let said = proposals.cost(&item(&columns), "shortage").unwrap_err().report();
            assert!(said.contains("item \"i1\"") && said.contains("costs: shortage"), "{said}");
        }
        let limits =
            json!({"on_hand": 1, "on_order": 0, "freight": 9, "order_min": 20, "order_max": 40});
        let situation = proposals.situation(&item(&limits)).unwrap();
        let found = (situation.order_min, situation.order_max, situation.order_cost);
        assert_eq!(found, (20.0, Some(40.0), Some(9.0)));
    }

    #[test]
    fn a_class_of_the_audience_itself_stays() {
        let classes = Classes(BTreeMap::from([("i1".to_owned(), 'A')]));
        let class = |item: &str, columns: &Value| {
            let mut columns = columns.as_object().unwrap().clone();
            classes.add(item, &mut columns);
            columns["abc"].clone()
        };
        assert_eq!(class("i1", &json!({})), "A");
        assert_eq!(class("i2", &json!({})), "-");
        assert_eq!(class("i1", &json!({"abc": "core"})), "core");
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
