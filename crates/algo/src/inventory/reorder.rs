//! Reorder points, order quantities and the proposal a buyer approves.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::demand::{LeadTime, LeadTimeDemand, Source};
use crate::forecast::Forecast;
use crate::stats::{finite, normal};

/// Everything a proposal is made from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Situation {
    /// Units on the shelf.
    pub stock_on_hand: f64,
    /// Units ordered and not yet delivered.
    pub on_order: f64,
    /// Units promised to customers and not yet taken off the stock.
    pub reserved: f64,
    /// Days until an order arrives.
    pub lead_time_days: f64,
    /// The standard deviation of those days.
    pub lead_time_deviation_days: f64,
    /// Days between two looks at the stock; the order must last until the delivery after the next look.
    pub review_days: f64,
    /// Days in one period of the forecast (1 for daily, 7 for weekly).
    pub period_days: f64,
    /// The probability of no stock-out in a cycle; inside (0, 1).
    pub service_level: f64,
    /// The share of demand that shall be served from the shelf, inside (0, 1); it takes the place of `service_level`.
    pub fill_rate: Option<f64>,
    /// Orders are multiples of this many units.
    pub pack_size: f64,
    /// The least an order may be; 0 for no least.
    pub order_min: f64,
    /// The most an order may be; `None` for no limit.
    pub order_max: Option<f64>,
    /// The cost of one order; with `holding_cost_per_unit_year` it makes orders economic in size.
    pub order_cost: Option<f64>,
    /// The cost of holding one unit for a year.
    pub holding_cost_per_unit_year: Option<f64>,
    /// The random seed of the lead-time simulation.
    pub seed: u64,
}

impl Default for Situation {
    fn default() -> Self {
        Self {
            stock_on_hand: 0.0,
            on_order: 0.0,
            reserved: 0.0,
            lead_time_days: 7.0,
            lead_time_deviation_days: 0.0,
            review_days: 1.0,
            period_days: 1.0,
            service_level: 0.95,
            fill_rate: None,
            pack_size: 1.0,
            order_min: 0.0,
            order_max: None,
            order_cost: None,
            holding_cost_per_unit_year: None,
            seed: 0,
        }
    }
}

/// What to order, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Order when the stock position is at or below this.
    pub reorder_point: f64,
    /// Order up to this position.
    pub order_up_to: f64,
    /// The part of the reorder point that only guards against bad luck.
    pub safety_stock: f64,
    /// The expected demand until an order placed at the next look has arrived.
    pub expected_demand: f64,
    /// The coefficient of variation of that demand.
    pub variation: f64,
    /// On hand plus on order less reserved.
    pub stock_position: f64,
    /// Units to order now, a multiple of the pack size; 0 for nothing.
    pub order_quantity: f64,
    /// The probability of a stock-out before the next order can arrive, if nothing is ordered now.
    pub stockout_risk: f64,
    /// What the demand distribution was made from.
    pub source: Source,
    /// The sentence a buyer reads before approving.
    pub reason: String,
}

/// How often the range of levels is halved: to a billionth of the largest demand drawn.
const HALVINGS: usize = 30;

/// Days in the year of the holding cost.
const YEAR_DAYS: f64 = 365.0;

/// Service levels that costs may ask for: beyond them the draws of demand say nothing.
const LEVEL_MIN: f64 = 0.001;
const LEVEL_MAX: f64 = 0.9995;

/// Proposes an order for one item.
///
/// # Shape
/// The forecast's periods are `period_days` long and start now; they must cover lead time and review,
/// with three deviations of the lead time.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a number is not finite or out of range, or the forecast is too short.
/// # Cost
/// One simulation of the lead-time demand, about 1 ms.
/// # Source
/// Silver, Pyke & Thomas 2017, ch. 6–7: (R, s, S) with s the service-level quantile of demand over
/// review and lead time, S − s the economic order quantity. With a fill rate, s is the level of an (R, S) policy whose
/// expected shortage of a cycle is the share of its demand that may be missed (Silver, Pyke & Thomas 2017, ch. 7.5;
/// the shortage that was there before the cycle's delivery is taken off).
pub fn propose(situation: &Situation, forecast: &Forecast) -> Result<Proposal> {
    check(situation)?;
    let demand = demand_of(situation, forecast, situation.lead_time_days + situation.review_days)?;
    let reorder_point = match situation.fill_rate {
        None => demand.quantile(situation.service_level),
        Some(rate) => {
            let before = demand_of(situation, forecast, situation.lead_time_days)?;
            fill_rate_level(&demand, &before, rate)
        }
    };
    made(situation, forecast, &demand, reorder_point, &aim(situation))
}

/// Proposes an order for one item whose reorder point was chosen for a pool of items.
///
/// # Shape
/// As [`propose`]; `reorder_point` in units. The situation's service is not asked for.
/// # Errors
/// As [`propose`], and if the reorder point is not finite.
/// # Cost
/// As [`propose`].
pub fn propose_at(
    situation: &Situation,
    forecast: &Forecast,
    reorder_point: f64,
) -> Result<Proposal> {
    check(situation)?;
    finite::all_finite("reorder point", &[reorder_point])?;
    let days = situation.lead_time_days + situation.review_days;
    let demand = demand_of(situation, forecast, days)?;
    let aim = format!("of all items' units, those worth holding over {days:.0} days here are");
    made(situation, forecast, &demand, reorder_point, &aim)
}

fn made(
    situation: &Situation,
    forecast: &Forecast,
    demand: &LeadTimeDemand,
    reorder_point: f64,
    aim: &str,
) -> Result<Proposal> {
    let position = situation.stock_on_hand + situation.on_order - situation.reserved;
    let lot = lot(situation, forecast)?;
    let order_up_to = reorder_point + lot;
    let wanted = if position <= reorder_point { order_up_to - position } else { 0.0 };
    let order_quantity = packed(wanted, situation);
    let mut proposal = Proposal {
        reorder_point,
        order_up_to,
        safety_stock: (reorder_point - demand.mean()).max(0.0),
        expected_demand: demand.mean(),
        variation: demand.variation(),
        stock_position: position,
        order_quantity,
        stockout_risk: demand.share_above(position),
        source: demand.source,
        reason: String::new(),
    };
    proposal.reason = reason(&proposal, aim, wanted);
    Ok(proposal)
}

/// The reorder point of each of these fill rates, from the same draws of demand.
///
/// # Errors
/// As [`propose`], and if a rate is not inside (0, 1).
pub(super) fn fill_rate_levels(
    situation: &Situation,
    forecast: &Forecast,
    rates: impl Iterator<Item = f64>,
) -> Result<Vec<f64>> {
    check(situation)?;
    let demand = demand_of(situation, forecast, situation.lead_time_days + situation.review_days)?;
    let before = demand_of(situation, forecast, situation.lead_time_days)?;
    rates
        .map(|rate| {
            finite::open_unit("fill rate", rate)?;
            Ok(fill_rate_level(&demand, &before, rate))
        })
        .collect()
}

/// The demand of so many days from now, as uncertain as the lead time is.
fn demand_of(situation: &Situation, forecast: &Forecast, days: f64) -> Result<LeadTimeDemand> {
    let lead = LeadTime {
        periods: days / situation.period_days,
        deviation: situation.lead_time_deviation_days / situation.period_days,
    };
    LeadTimeDemand::simulate(forecast, lead, situation.seed)
}

/// The least level whose expected new shortage in a cycle is at most `1 − rate` of the demand of a cycle: `demand`
/// runs until the next delivery can arrive, `before` until this one does.
fn fill_rate_level(demand: &LeadTimeDemand, before: &LeadTimeDemand, rate: f64) -> f64 {
    let allowed = (1.0 - rate) * (demand.mean() - before.mean()).max(0.0);
    let missed = |level: f64| demand.expected_shortage(level) - before.expected_shortage(level);
    let (mut low, mut high) = (0.0, demand.quantile(1.0));
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if missed(middle) > allowed { low = middle } else { high = middle }
    }
    high
}

/// The order quantity of the least yearly ordering and holding cost.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a number is not finite, demand or order cost is negative or
/// the holding cost is not positive.
/// # Source
/// Harris 1913: √(2 · demand · order cost / holding cost).
pub fn economic_order_quantity(
    demand_per_year: f64,
    order_cost: f64,
    holding_cost_per_unit_year: f64,
) -> Result<f64> {
    finite::all_finite("order cost", &[demand_per_year, order_cost, holding_cost_per_unit_year])?;
    if demand_per_year < 0.0 || order_cost < 0.0 || holding_cost_per_unit_year <= 0.0 {
        return Err(Error::invalid("an economic order quantity of negative or free quantities")
            .hint("Give demand and order cost of 0 or more and a holding cost above 0."));
    }
    Ok((2.0 * demand_per_year * order_cost / holding_cost_per_unit_year).sqrt())
}

/// The share of demand outcomes that one order for a single season should cover.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a cost is not finite or positive.
/// # Source
/// The newsvendor's critical ratio c_u / (c_u + c_o) (Arrow, Harris & Marschak 1951); order
/// [`LeadTimeDemand::quantile`] of it.
pub fn newsvendor_level(cost_of_one_short: f64, cost_of_one_left: f64) -> Result<f64> {
    finite::all_finite("newsvendor cost", &[cost_of_one_short, cost_of_one_left])?;
    if cost_of_one_short <= 0.0 || cost_of_one_left <= 0.0 {
        return Err(Error::invalid(format!(
            "a unit short costs {cost_of_one_short} and a unit left costs {cost_of_one_left}"
        ))
        .hint("Give both costs above 0: lost margin, and purchase price less salvage."));
    }
    Ok(cost_of_one_short / (cost_of_one_short + cost_of_one_left))
}

/// The service level at which one unit more costs as much to hold until the next order as it saves when it is asked for,
/// for a situation with the yearly cost of holding a unit. A unit is held for one cycle: the days between two looks, or
/// those that an economic lot lasts if they are more.
///
/// # Errors
/// As [`propose`] and [`newsvendor_level`]; [`flywheel_base::ErrorKind::Invalid`] if the situation has no cost of holding.
/// # Source
/// [`newsvendor_level`] with the cost of one left being that of holding it for a cycle; Silver, Pyke & Thomas 2017,
/// ch. 7.
pub fn level_of_costs(
    situation: &Situation,
    forecast: &Forecast,
    cost_of_one_short: f64,
) -> Result<f64> {
    check(situation)?;
    let holding = situation.holding_cost_per_unit_year.ok_or_else(|| {
        Error::invalid("a service level of costs without the cost of holding a unit")
            .hint("Give the cost of holding one unit for a year.")
    })?;
    let per_day = mean_of(forecast) / situation.period_days;
    let lasts = if per_day > 0.0 { lot(situation, forecast)? / per_day } else { 0.0 };
    let cycle_days =
        lasts.clamp(situation.review_days.max(1.0), YEAR_DAYS.max(situation.review_days));
    let level = newsvendor_level(cost_of_one_short, holding * cycle_days / YEAR_DAYS)?;
    Ok(level.clamp(LEVEL_MIN, LEVEL_MAX))
}

/// The textbook safety stock for normal, independent demand: what to fall back on without a forecast.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a number is not finite, a deviation or the lead time is
/// negative, or the service level is not inside (0, 1).
/// # Source
/// z · √(L·σ_d² + d²·σ_L²), Silver, Pyke & Thomas 2017, eq. 6.31.
pub fn normal_safety_stock(
    demand_mean: f64,
    demand_deviation: f64,
    lead: LeadTime,
    service_level: f64,
) -> Result<f64> {
    finite::open_unit("service level", service_level)?;
    let given = [demand_mean, demand_deviation, lead.periods, lead.deviation];
    finite::all_finite("safety stock input", &given)?;
    if demand_deviation < 0.0 || lead.periods < 0.0 || lead.deviation < 0.0 {
        return Err(Error::invalid("a deviation or lead time below 0")
            .hint("Give deviations and the lead time as 0 or more."));
    }
    let variance = lead.periods * demand_deviation.powi(2) + (demand_mean * lead.deviation).powi(2);
    Ok((normal::quantile(service_level) * variance.sqrt()).max(0.0))
}

/// How much more than the reorder point an order brings: the economic lot, or at least one pack.
fn lot(situation: &Situation, forecast: &Forecast) -> Result<f64> {
    let (Some(order_cost), Some(holding)) =
        (situation.order_cost, situation.holding_cost_per_unit_year)
    else {
        return Ok(0.0);
    };
    let per_year = mean_of(forecast) * YEAR_DAYS / situation.period_days;
    economic_order_quantity(per_year, order_cost, holding)
}

/// The mean demand of a period.
fn mean_of(forecast: &Forecast) -> f64 {
    (forecast.mean.iter().sum::<f64>() / forecast.mean.len().max(1) as f64).max(0.0)
}

/// Rounds up to packs, at least the least order, at most what is allowed (rounded down to packs).
fn packed(wanted: f64, situation: &Situation) -> f64 {
    if wanted <= 0.0 {
        return 0.0;
    }
    let pack = situation.pack_size;
    let up = (wanted.max(situation.order_min) / pack - 1e-9).ceil() * pack;
    match situation.order_max {
        Some(most) if up > most => (most / pack + 1e-9).floor() * pack,
        _ => up,
    }
}

/// What the reorder point is to reach, in words that its number follows.
fn aim(situation: &Situation) -> String {
    let days = situation.lead_time_days + situation.review_days;
    match situation.fill_rate {
        None => {
            let level = 100.0 * situation.service_level;
            format!("{level:.1} % of the time demand over {days:.0} days stays within")
        }
        Some(rate) => {
            format!("{:.1} % of demand is served over {days:.0} days from", 100.0 * rate)
        }
    }
}

fn reason(made: &Proposal, aim: &str, wanted: f64) -> String {
    let basis = match made.source {
        Source::ErrorPaths => "past forecast errors",
        Source::Quantiles => "forecast quantiles",
        Source::Poisson => "Poisson demand, as the history is too short for a spread",
    };
    let start = format!(
        "{aim} {:.1} (from {basis}); the position is {:.1}",
        made.reorder_point, made.stock_position
    );
    if made.order_quantity > 0.0 {
        let risk = 100.0 * made.stockout_risk;
        let short =
            if made.order_quantity + 1e-9 < wanted { ", cut to the largest order" } else { "" };
        return format!(
            "{start}, so order {:.0} (without it {risk:.0} % risk of a stock-out){short}",
            made.order_quantity
        );
    }
    if wanted > 0.0 {
        return format!("{start}, an order is due but the largest allowed is below one pack");
    }
    format!("{start}, so nothing is ordered")
}

fn check(situation: &Situation) -> Result<()> {
    finite::open_unit("service level", situation.service_level)?;
    if let Some(rate) = situation.fill_rate {
        finite::open_unit("fill rate", rate)?;
    }
    let zero_or_more = [
        ("stock on hand", situation.stock_on_hand),
        ("units on order", situation.on_order),
        ("reserved units", situation.reserved),
        ("lead time in days", situation.lead_time_days),
        ("lead time deviation in days", situation.lead_time_deviation_days),
        ("review in days", situation.review_days),
        ("least order", situation.order_min),
        ("largest order", situation.order_max.unwrap_or(0.0)),
    ];
    // A negative stock on hand is real (sold before booked), the rest cannot be.
    for (name, value) in zero_or_more {
        if !value.is_finite() || (value < 0.0 && name != "stock on hand") {
            return Err(Error::invalid(format!("{name} is {value}"))
                .hint("Give a finite number of 0 or more."));
        }
    }
    for (name, value) in
        [("pack size", situation.pack_size), ("days per period", situation.period_days)]
    {
        if !(value.is_finite() && value > 0.0) {
            return Err(
                Error::invalid(format!("{name} is {value}")).hint("Give a finite number above 0.")
            );
        }
    }
    Ok(())
}
