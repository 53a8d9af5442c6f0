//! Planning: how many units it takes to find an effect.

use std::collections::BTreeSet;

use flywheel_algo::stats::power::Design;
use flywheel_algo::stats::{normal, sequence};
use flywheel_base::{Error, Result, statement};
use flywheel_project::resource::policy::{Experiment, Policy};
use serde::Serialize;

use super::{ERROR, comparisons, find, options};
use crate::context::Context;
use crate::outcome::literal;

/// What it takes to find an effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The policy.
    pub policy: String,
    /// Units of the audience now.
    pub audience: usize,
    /// The share of them with an outcome in the last window.
    pub rate: f64,
    /// The difference of this share that would matter.
    pub effect: Option<f64>,
    /// The probability with which it shall be found.
    pub power: f64,
    /// Units that all variants together need for one look at the end; none without an effect.
    pub units: Option<u64>,
    /// About how many it takes if every turn looks, with the intervals that stay valid.
    pub units_always_valid: Option<u64>,
    /// The smallest difference that one decision for each unit of the audience finds, with one look.
    pub smallest_effect: f64,
}

/// How many units an experiment needs, from what its audience did in the last window.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if `name` is no experiment; [`flywheel_base::ErrorKind::Invalid`] if the
/// audience is empty, nobody or everybody of it had an outcome, or a number is out of range.
pub async fn plan(ctx: &Context<'_>, name: &str, effect: Option<f64>, power: f64) -> Result<Plan> {
    let (policy, experiment, outcome) = find(ctx, name)?;
    let what = format!("policy \"{name}\": audience");
    let audience = ctx.frame(&what, &policy.audience).await?.ids("unit_id")?;
    let what = format!("policy \"{name}\": outcome events");
    let Some(events) = &outcome.events else {
        return Err(Error::invalid(format!("policy \"{name}\" has no outcome.events"))
            .hint("Nothing says how often its audience has success without a decision; add a query of such events to plan."));
    };
    let events = ctx.render(events).map_err(|e| e.context(&what))?;
    let events = statement::one(&what, &events)?;
    let since = ctx.now.plus_micros(outcome.window.micros.saturating_neg());
    let sql = format!(
        "select distinct unit_id from (\n{events}\n) as events where at > {} and at <= {}",
        literal(since),
        literal(ctx.now)
    );
    let hit = ctx.frame_of_sql(&what, &sql).await?.ids("unit_id")?;
    let hit: BTreeSet<String> = hit.into_iter().collect();
    let hits = audience.iter().filter(|unit| hit.contains(*unit)).count();
    if audience.is_empty() || hits == 0 || hits == audience.len() {
        return Err(Error::invalid(format!(
            "{hits} of the {} units of policy \"{name}\" had an outcome in the last window",
            audience.len()
        ))
        .hint(
            "Nothing can be planned from this: check audience and events, or run a turn first.",
        ));
    }
    let rate = hits as f64 / audience.len() as f64;
    let columns = format!("select * from (\n{events}\n) as events limit 0");
    let with_value = ctx.frame_of_sql(&what, &columns).await?.has("value");
    sized(name, policy, (experiment, with_value), audience.len(), rate, effect, power)
}

fn sized(
    name: &str,
    policy: &Policy,
    (experiment, with_value): (&Experiment, bool),
    audience: usize,
    rate: f64,
    effect: Option<f64>,
    power: f64,
) -> Result<Plan> {
    let variants = &experiment.variants;
    let total: f64 = variants.iter().map(|variant| variant.weight).sum();
    let control = variants
        .iter()
        .find(|variant| Some(variant.name.as_str()) == experiment.control())
        .map_or(0.0, |variant| variant.weight);
    let smallest = variants
        .iter()
        .filter(|variant| Some(variant.name.as_str()) != experiment.control())
        .map(|variant| variant.weight)
        .filter(|weight| *weight > 0.0)
        .fold(f64::INFINITY, f64::min);
    let treated = 1.0 - policy.holdout.value();
    if !(total.is_finite() && smallest.is_finite() && control > 0.0 && treated > 0.0) {
        return Err(Error::invalid(format!(
            "experiment \"{name}\" has no two variants to compare"
        ))
        .hint(
            "Give the control and another variant a weight above 0, and hold out less than all.",
        ));
    }
    let together = comparisons(experiment, with_value);
    let error = ERROR / together.max(1) as f64;
    let design = |with: f64| {
        Ok::<_, Error>(Design {
            ratio: control / smallest,
            error,
            ..Design::of_shares(with, rate)?
        })
    };
    if let Some(effect) = effect.filter(|effect| !(*effect > 0.0 && *effect < 1.0)) {
        return Err(Error::invalid(format!("the effect is {effect}"))
            .hint("Give a difference of shares between 0 and 1: 0.01 is one point."));
    }
    let effect = effect.or(experiment.smallest_effect).filter(|effect| *effect > 0.0);
    let needed = match effect {
        None => None,
        Some(effect) => {
            let with = rate + effect;
            // Above all, what is looked for is a loss of the same size.
            let with = if with < 1.0 { with } else { rate - effect };
            let units = design(with)
                .and_then(|design| design.treated_units(effect, power))
                .map_err(|error| error.context(format!("experiment \"{name}\"")))?;
            Some(units as f64 * total / smallest)
        }
    };
    let always = |units: f64| -> Result<u64> {
        let z = normal::quantile(1.0 - error / 2.0);
        let wider = sequence::margin(1.0, units, &options(together))? / z;
        Ok((units * wider * wider / treated).ceil() as u64)
    };
    let at_hand = audience as f64 * treated * smallest / total;
    Ok(Plan {
        policy: name.to_owned(),
        audience,
        rate,
        effect,
        power,
        units: needed.map(|units| (units / treated).ceil() as u64),
        units_always_valid: needed.map(always).transpose()?,
        smallest_effect: design(rate)?.smallest_effect(at_hand, power)?,
    })
}

#[cfg(test)]
mod tests {
    use flywheel_project::resource::policy::Choose;
    use serde_json::json;

    use super::*;

    fn policy() -> Policy {
        serde_json::from_value(json!({
            "policy": "p", "audience": "select 1", "holdout": 0.2,
            "choose": {"experiment": {"variants": [{"name": "a"}, {"name": "b"}, {"name": "c", "weight": 2}]}},
        }))
        .unwrap()
    }

    fn experiment(policy: &Policy) -> &Experiment {
        match &policy.choose {
            Choose::Experiment(experiment) => experiment,
            _ => panic!("no experiment"),
        }
    }

    #[test]
    fn a_plan_asks_for_more_units_for_smaller_effects_and_for_looking_often() {
        let policy = policy();
        let of = |effect, with_value| {
            let tried = (experiment(&policy), with_value);
            sized("p", &policy, tried, 10_000, 0.1, Some(effect), 0.8).unwrap()
        };
        let plan = |effect| of(effect, false);
        let (large, small) = (plan(0.04), plan(0.02));
        assert!(small.units > large.units.map(|units| 3 * units), "{small:?} {large:?}");
        assert!(small.units_always_valid > small.units, "{small:?}");
        // The audience finds its own smallest effect with the asked power, give or take the deviation.
        let at_hand = plan(small.smallest_effect).units.unwrap();
        assert!((9_000..12_500).contains(&at_hand), "{at_hand}");
        // The value of the outcome is compared, too, and shares the error.
        assert!(of(0.02, true).units > small.units);
    }
}
