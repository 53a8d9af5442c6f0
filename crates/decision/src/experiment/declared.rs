//! Metrics that an experiment declares: ratios and quantiles of events within the window after its decisions.
//!
//! Units stay what varies. A ratio is compared by the delta method over units, with what the pre-period explains taken
//! out of each unit's part of it; a quantile by the outer interval of order statistics. Both get the interval that the
//! outcome has, which stays valid however often one looks.

use std::collections::BTreeMap;

use flywheel_algo::stats::clustered::{self, Clustered};
use flywheel_algo::stats::cuped;
use flywheel_algo::stats::ratio::{self, Part};
use flywheel_algo::stats::sequence;
use flywheel_base::Result;
use flywheel_project::resource::policy::{Better, DeclaredMetric, Experiment, Measure, PerValue};

use super::{Compared, Counting, Line, Seen, Unit, standing_of};

/// What one unit has of a declared metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Figure {
    /// Two sums, the one divided by the other.
    Ratio { numerator: f64, denominator: f64 },
    /// The value of each event.
    Each(Vec<f64>),
    /// The sum of all events.
    Sum(f64),
}

impl Figure {
    /// That of a unit without events.
    pub(super) fn none(measure: &Measure) -> Self {
        match measure {
            Measure::Ratio(_) => Self::Ratio { numerator: 0.0, denominator: 0.0 },
            Measure::Quantile(of) if of.per == PerValue::Event => Self::Each(Vec::new()),
            Measure::Quantile(_) => Self::Sum(0.0),
        }
    }
}

/// Which part of a metric a query is for.
#[derive(Clone, Copy)]
enum For {
    Numerator,
    Denominator,
    Values,
}

/// The queries of a metric.
pub(super) fn queries(metric: &DeclaredMetric) -> Vec<&str> {
    match &metric.measure {
        Measure::Ratio(of) => vec![of.numerator.as_str(), of.denominator.as_str()],
        Measure::Quantile(of) => vec![of.events.as_str()],
    }
}

/// Adds up what the declared metrics count, for each unit; what cannot be read of one is noted.
///
/// # Errors
/// What is not about one metric.
pub(super) async fn count(counting: &Counting<'_, '_>, seen: &mut Seen) -> Result<()> {
    for (at, metric) in counting.experiment.metrics.iter().enumerate() {
        let queries = match &metric.measure {
            Measure::Ratio(of) => {
                vec![(For::Numerator, &of.numerator), (For::Denominator, &of.denominator)]
            }
            Measure::Quantile(of) => vec![(For::Values, &of.events)],
        };
        for (part, sql) in queries {
            let of = format!("metric \"{}\"", metric.name);
            let add = |unit: &mut Unit, value: Option<f64>| match (unit.declared.get_mut(at), part)
            {
                (Some(Figure::Ratio { numerator, .. }), For::Numerator) => {
                    *numerator += value.unwrap_or(1.0);
                }
                (Some(Figure::Ratio { denominator, .. }), For::Denominator) => {
                    *denominator += value.unwrap_or(1.0);
                }
                (Some(Figure::Each(values)), For::Values) => values.extend(value),
                (Some(Figure::Sum(sum)), For::Values) => *sum += value.unwrap_or(1.0),
                _ => {}
            };
            if let Err(error) = counting.each(&of, sql, &mut seen.units, add).await {
                seen.unread.keep(error)?;
                seen.unread.metrics.insert(at);
                break;
            }
        }
    }
    Ok(())
}

/// How two variants stand by a declared metric.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a unit's denominator is negative or a number overflows.
pub(super) fn compare(
    experiment: &Experiment,
    (metric, at): (&DeclaredMetric, usize),
    units: &BTreeMap<String, Unit>,
    (variant, control): (usize, usize),
    options: &sequence::Options,
    broken: bool,
) -> Result<Line> {
    let of = |wanted: usize| units.values().filter(move |unit| unit.variant == wanted);
    let line = match &metric.measure {
        Measure::Ratio(_) => {
            let parts =
                |wanted: usize| -> Vec<Part> { of(wanted).filter_map(|u| part(u, at)).collect() };
            let (a, b) = (parts(variant), parts(control));
            let (side, held) = (ratio::arm(&a)?, ratio::arm(&b)?);
            let spread = side.shows_spread() && held.shows_spread();
            let pairs = match spread && experiment.pre_period.is_some() {
                true => ratio::pairs(&a)?.zip(ratio::pairs(&b)?),
                false => None,
            };
            let (interval, variance_saved) = match pairs {
                Some((a, b)) => cuped::always_valid(&a, &b, options)?
                    .map_or((None, None), |(interval, saved)| (Some(interval), Some(saved))),
                None => (sequence::careful_difference(&side, &held, options)?, None),
            };
            let compared = Compared { interval, variance_saved, standing: "open" };
            Line { rate: side.rate(), control_rate: held.rate(), compared, p_value: None }
        }
        Measure::Quantile(quantile) => {
            let values = |wanted: usize| {
                let each: Vec<Vec<f64>> = of(wanted).filter_map(|unit| values(unit, at)).collect();
                Clustered::new(each.iter().map(Vec::as_slice))
            };
            let (side, held) = (values(variant)?, values(control)?);
            let share = quantile.share.value();
            let interval = clustered::difference(&side, &held, share, options)?;
            let compared = Compared { interval, variance_saved: None, standing: "open" };
            let (rate, control_rate) = (side.quantile(share)?, held.quantile(share)?);
            Line { rate, control_rate, compared, p_value: None }
        }
    };
    let standing = match standing_of(line.compared.interval, broken) {
        "better" if metric.better == Better::Lower => "worse",
        "worse" if metric.better == Better::Lower => "better",
        other => other,
    };
    Ok(Line { compared: Compared { standing, ..line.compared }, ..line })
}

/// What a metric is, for readers of its rows.
pub(super) fn kind(metric: &DeclaredMetric) -> &'static str {
    match metric.measure {
        Measure::Ratio(_) => "ratio",
        Measure::Quantile(_) => "quantile",
    }
}

fn part(unit: &Unit, at: usize) -> Option<Part> {
    match unit.declared.get(at)? {
        Figure::Ratio { numerator, denominator } => {
            Some(Part { numerator: *numerator, denominator: *denominator, covariate: unit.before })
        }
        Figure::Each(_) | Figure::Sum(_) => None,
    }
}

fn values(unit: &Unit, at: usize) -> Option<Vec<f64>> {
    match unit.declared.get(at)? {
        Figure::Each(values) => Some(values.clone()),
        Figure::Sum(sum) => Some(vec![*sum]),
        Figure::Ratio { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::options;
    use super::*;

    fn experiment(measure: &serde_json::Value, better: &str) -> Experiment {
        serde_json::from_value(json!({
            "variants": [{"name": "a"}, {"name": "b"}],
            "metrics": [{"name": "m", "better": better, "measure": measure}],
        }))
        .unwrap()
    }

    fn line(experiment: &Experiment, count: usize, figure: impl Fn(usize) -> Figure) -> Line {
        let mut units = BTreeMap::new();
        for n in 0..count {
            let declared = vec![figure(n)];
            let unit = Unit { variant: n % 2, decisions: 1.0, declared, ..Unit::default() };
            units.insert(format!("{n:05}"), unit);
        }
        let metric = (&experiment.metrics[0], 0);
        compare(experiment, metric, &units, (1, 0), &options(1), false).unwrap()
    }

    #[test]
    fn a_ratio_is_one_of_sums_and_less_can_be_better() {
        let ratio = json!({"ratio": {"numerator": "select 1", "denominator": "select 1"}});
        // Two visits in `a` and four in `b`; a unit of `b` clicks once more.
        let figure = |n: usize| Figure::Ratio {
            numerator: (n % 2) as f64 * 3.0 + (n / 2 % 3) as f64,
            denominator: if n % 2 == 1 { 4.0 } else { 2.0 },
        };
        let found = line(&experiment(&ratio, "higher"), 3_000, figure);
        assert!((found.rate.unwrap() - 1.0).abs() < 1e-9, "{:?}", found.rate);
        assert!((found.control_rate.unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(found.compared.standing, "better");
        let found = line(&experiment(&ratio, "lower"), 3_000, figure);
        assert_eq!(found.compared.standing, "worse");
        // Nobody visited: there is no ratio, and nothing is said.
        let empty = |_| Figure::Ratio { numerator: 0.0, denominator: 0.0 };
        let found = line(&experiment(&ratio, "higher"), 100, empty);
        assert_eq!((found.rate, found.compared.standing), (None, "open"));
    }

    #[test]
    fn a_quantile_is_of_events_or_of_units() {
        let quantile =
            |per: &str| json!({"quantile": {"events": "select 1", "share": "50%", "per": per}});
        let wait = |n: usize| (n % 2) as f64 * 40.0 + (n * 7 % 101) as f64;
        let found = line(&experiment(&quantile("event"), "lower"), 2_000, |n| {
            Figure::Each(vec![wait(n), wait(n + 2), wait(n + 4)])
        });
        assert_eq!(found.compared.standing, "worse");
        let difference = found.compared.interval.unwrap().estimate;
        assert!((difference - 40.0).abs() < 6.0, "{difference}");
        let found = line(&experiment(&quantile("unit"), "lower"), 2_000, |n| Figure::Sum(wait(n)));
        assert_eq!(found.compared.standing, "worse");
        let none = line(&experiment(&quantile("event"), "lower"), 4, |_| Figure::Each(Vec::new()));
        assert_eq!((none.rate, none.compared.standing), (None, "open"));
        let few = line(&experiment(&quantile("unit"), "lower"), 6, |n| Figure::Sum(n as f64));
        assert_eq!(few.compared.standing, "open");
    }
}
