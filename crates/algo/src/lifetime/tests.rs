//! Parity with lifetimes, scipy and mpmath, and what whoever spends money on customers may rely on.

mod cdnow;
mod derivatives;
mod refusals;

use flywheel_base::Rng;
use serde_json::Value;

use super::integral::{AREA, Range};
use super::special::{ln_beta, ln_gamma_slopes};
use super::{Customer, Fit, History, Model, Spend};
use crate::stats::special::ln_gamma;

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../tests/parity/lifetime.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn histories(value: &Value) -> Vec<History> {
    let made = rows(value).into_iter().map(|row| history(row[0], row[1], row[2]));
    made.collect()
}

fn history(frequency: f64, recency: f64, age: f64) -> History {
    History { frequency, recency, age }
}

fn close(what: &str, ours: f64, theirs: f64, relative: f64) {
    let off = (ours - theirs).abs() / theirs.abs().max(1e-9);
    assert!(off <= relative, "{what}: ours {ours}, theirs {theirs}, off by {off:.2e}");
}

fn all_close(what: &str, ours: &[f64], theirs: &[f64], relative: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        close(&format!("{what} {at}"), *ours, *theirs, relative);
    }
}

fn parameters(fit: &Fit) -> Vec<f64> {
    super::values(&fit.parameters)
}

/// The logarithm of `2F1(a, b; a + 1; z) · (1 − z)^(b − 1)`, which is an integral over all moments times `a`.
fn ln_reduced_hypergeometric(a: f64, b: f64, z: f64) -> f64 {
    let endless: f64 = 700.0;
    let further = ((1.0 - z) * endless.exp_m1()).ln_1p();
    let range = Range::new([b, a + 1.0 - b], [1.0 - z, 1.0], [endless, further]);
    let sums = range.sums::<AREA>();
    sums.height + (a * sums.values[0]).ln()
}

#[test]
fn special_functions_agree_with_scipy_and_mpmath() {
    let parity = parity();
    for row in rows(&parity["hyper"]) {
        let power = (1.0 - row[1]) * (-row[2]).ln_1p();
        let ours = power + ln_reduced_hypergeometric(row[0], row[1], row[2]);
        assert!((ours - row[3]).abs() <= 1e-12 * row[3].abs().max(1.0), "{row:?}: {ours}");
    }
    for row in rows(&parity["ln_beta"]) {
        let off = (ln_beta(row[0], row[1]) - row[2]).abs();
        assert!(off <= 1e-10 * row[2].abs().max(1.0), "{row:?} {off}");
    }
    for row in rows(&parity["ln_gamma"]) {
        assert!((ln_gamma(row[0]) - row[1]).abs() <= 1e-12 * row[1].abs().max(1.0), "{row:?}");
    }
}

#[test]
fn the_models_agree_with_lifetimes() {
    let parity = parity();
    let data = histories(&parity["rows"]);
    let points = histories(&parity["points"]);
    for model in Model::CONTINUOUS {
        let theirs = &parity["models"][model.name()];
        let name = model.name();
        let expected = numbers(&theirs["parameters"]);
        // The same parameters give the same answers …
        let of = Fit::of(model, &expected).unwrap();
        let alive: Vec<f64> = points.iter().map(|h| of.alive(h).unwrap()).collect();
        all_close(&format!("{name} alive"), &alive, &numbers(&theirs["alive"]), 1e-7);
        for (horizon, theirs) in numbers(&parity["horizons"]).iter().zip(rows(&theirs["expected"]))
        {
            let ours: Vec<f64> = points.iter().map(|h| of.expected(h, *horizon).unwrap()).collect();
            all_close(&format!("{name} in {horizon}"), &ours, &theirs, 1e-7);
        }
        // … and the same customers the same parameters.
        let fit = Fit::new(model, &data, None).unwrap();
        assert!(fit.converged, "{name}");
        all_close(&format!("{name} parameters"), &parameters(&fit), &expected, 1e-3);
        if let Some(errors) = theirs.get("errors") {
            let ours: Vec<f64> = fit.parameters.iter().map(|p| p.error.unwrap()).collect();
            all_close(&format!("{name} errors"), &ours, &numbers(errors), 5e-3);
        }
        if let Some(likelihood) = theirs.get("log_likelihood") {
            let (ours, theirs) = (fit.log_likelihood.unwrap(), likelihood.as_f64().unwrap());
            close(name, ours, theirs, 1e-8);
            assert!(ours >= theirs - 1e-6, "{name}: a better top than theirs or the same");
        }
    }
}

#[test]
fn donors_at_opportunities_agree_with_lifetimes() {
    let parity = parity();
    let donors = &parity["donors"];
    let of = Fit::of(Model::BgBb, &numbers(&donors["parameters"])).unwrap();
    let points = histories(&donors["points"]);
    let alive: Vec<f64> = points.iter().map(|h| of.alive(h).unwrap()).collect();
    all_close("alive", &alive, &numbers(&donors["alive"]), 1e-7);
    for (horizon, theirs) in [1.0, 5.0].into_iter().zip(rows(&donors["expected"])) {
        let ours: Vec<f64> = points.iter().map(|h| of.expected(h, horizon).unwrap()).collect();
        all_close("expected", &ours, &theirs, 1e-7);
    }
    let drawn = &parity["drawn"];
    let weights: Vec<f64> = rows(&drawn["rows"]).iter().map(|row| row[3]).collect();
    let fit = Fit::new(Model::BgBb, &histories(&drawn["rows"]), Some(&weights)).unwrap();
    assert!(fit.converged);
    all_close("parameters", &parameters(&fit), &numbers(&drawn["parameters"]), 1e-3);
}

#[test]
fn spend_agrees_with_lifetimes() {
    let parity = parity();
    let money = &parity["money"];
    let frequency: Vec<f64> = rows(&parity["rows"]).iter().map(|row| row[0]).collect();
    let spend = numbers(&money["spend"]);
    let fit = Spend::fit(&frequency, &spend, None).unwrap();
    assert!(fit.converged);
    let parameters = super::values(&fit.parameters);
    all_close("parameters", &parameters, &numbers(&money["parameters"]), 1e-3);
    let errors: Vec<f64> = fit.parameters.iter().map(|p| p.error.unwrap()).collect();
    all_close("errors", &errors, &numbers(&money["errors"]), 5e-3);
    for (at, theirs) in numbers(&money["expected"]).iter().enumerate() {
        close("expected", fit.expected(frequency[at], spend[at]).unwrap(), *theirs, 1e-3);
    }
}

#[test]
fn slopes_of_the_gamma_function_are_the_known_ones() {
    let (euler, square) = (0.577_215_664_901_532_9, std::f64::consts::PI.powi(2) / 6.0);
    let (mut first, mut second) = (-euler, square);
    for n in 1..40 {
        let n = f64::from(n);
        let ours = ln_gamma_slopes(n);
        assert!((ours.0 - first).abs() < 1e-14 * first.abs().max(1.0), "{n}: {ours:?}");
        assert!((ours.1 - second).abs() < 1e-14 * second.max(1.0), "{n}: {ours:?}");
        (first, second) = (first + 1.0 / n, second - 1.0 / (n * n));
    }
    let (first, second) = ln_gamma_slopes(0.5);
    close("at a half", first, -euler - 4.0_f64.ln(), 1e-14);
    close("at a half", second, 3.0 * square, 1e-14);
}

/// The closed forms divide zero by zero at a = 1 and s = 1, and overflow for frequent buyers.
#[test]
fn nothing_breaks_where_the_closed_forms_do() {
    let often = history(5_000.0, 360.0, 364.0);
    let seldom = history(2.0, 30.0, 38.0);
    for (model, third) in [(Model::BgNbd, 2), (Model::MbgNbd, 2), (Model::ParetoNbd, 2)] {
        let at = |value: f64| {
            let mut parameters = [0.5, 8.0, 0.0, 2.5];
            parameters[third] = value;
            Fit::of(model, &parameters).unwrap()
        };
        for history in [often, seldom] {
            let beside = (at(1.0 - 1e-7), at(1.0), at(1.0 + 1e-7));
            let low = beside.0.expected(&history, 52.0).unwrap();
            let high = beside.2.expected(&history, 52.0).unwrap();
            let middle = beside.1.expected(&history, 52.0).unwrap();
            close(model.name(), middle, f64::midpoint(low, high), 1e-6);
            let alive = beside.1.alive(&history).unwrap();
            assert!(alive > 0.0 && alive <= 1.0 && middle > 0.0, "{} {alive}", model.name());
        }
        // Almost nobody ever leaves: purchases go on at the mean rate of the posterior.
        let still = Fit::of(model, &[0.5, 8.0, 1e-7, 1e4]).unwrap();
        let expected = still.expected(&seldom, 10.0).unwrap();
        close(model.name(), expected, 2.5 / 46.0 * 10.0, 1e-4);
    }
}

/// Where customers buy often and leave seldom, or the other way round: values by mpmath, with 40 digits.
#[test]
fn clocks_that_are_far_apart_are_as_exact_as_others() {
    for (parameters, seen, alive) in [
        ([0.5, 1e-4, 0.7, 2e5], history(0.0, 0.0, 38.0), 0.999_734_494_640_329_2),
        ([3.5, 2e7, 0.7, 1e-7], history(0.0, 0.0, 38.0), 9.866_169_981_332_96e-7),
        ([0.5, 1e-6, 900.0, 2e9], history(1.0, 2.0, 38.0), 0.999_885_137_370_146_6),
        ([0.5, 2e5, 0.7, 1e-4], history(2.0, 30.0, 38.0), 0.847_486_992_822_552_2),
        ([0.63, 95.0, 1.2e6, 3.33e8], history(3.0, 200.0, 230.0), 0.879_619_246_736_913),
        ([0.63, 95.0, 1.2e6, 3.33e8], history(3.0, 200.0, 200.5), 0.998_194_286_957_116_4),
    ] {
        let fit = Fit::of(Model::ParetoNbd, &parameters).unwrap();
        close(&format!("{parameters:?}"), fit.alive(&seen).unwrap(), alive, 1e-9);
    }
}

/// Either clock may be the lesser one; where they are equal, the two ways to integrate meet.
#[test]
fn clocks_may_change_places() {
    let seen = history(4.0, 20.0, 90.0);
    let alive = |alpha: f64, beta: f64| {
        Fit::of(Model::ParetoNbd, &[0.8, alpha, 1.3, beta]).unwrap().alive(&seen).unwrap()
    };
    let (under, over) = (alive(30.0, 29.999), alive(30.0, 30.001));
    close("equal", alive(30.0, 30.0), f64::midpoint(under, over), 1e-10);
}

#[test]
fn longer_silence_and_shorter_horizons_lower_what_is_expected() {
    for model in Model::CONTINUOUS {
        let fit = Fit::of(model, &[0.5, 8.0, 0.7, 9.0]).unwrap();
        let silence = |age: f64| fit.alive(&history(6.0, 30.0, age)).unwrap();
        assert!((silence(30.0), 0.8) > (silence(40.0), 0.0) && silence(40.0) > silence(90.0));
        let until = |horizon: f64| fit.expected(&history(6.0, 30.0, 40.0), horizon).unwrap();
        assert!(until(1.0) < until(2.0) && until(2.0) < 2.0 * until(1.0), "{}", model.name());
        assert!(fit.expected_of_new(52.0).unwrap() > fit.expected_of_new(13.0).unwrap());
    }
}

#[test]
fn equal_rows_and_weights_and_order_and_threads_give_the_same_bits() {
    let data = histories(&parity()["rows"]);
    let mut reversed = data.clone();
    reversed.reverse();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for model in Model::CONTINUOUS {
        let whole = Fit::new(model, &data, None).unwrap();
        assert_eq!(Fit::new(model, &reversed, None).unwrap(), whole);
        assert_eq!(one.install(|| Fit::new(model, &data, None).unwrap()), whole);
    }
    let whole = Fit::new(Model::BgNbd, &data, None).unwrap();
    let twice = [data.clone(), data.clone()].concat();
    let weighted = Fit::new(Model::BgNbd, &data, Some(&vec![2.0; data.len()])).unwrap();
    let doubled = Fit::new(Model::BgNbd, &twice, None).unwrap();
    all_close("weights", &parameters(&weighted), &parameters(&doubled), 1e-9);
    let ratio = whole.parameters[0].error.unwrap() / weighted.parameters[0].error.unwrap();
    close("twice the customers, √2 the precision", ratio, 2.0_f64.sqrt(), 1e-3);
}

#[test]
fn a_unit_of_time_or_money_changes_nothing_but_the_unit() {
    let weeks = histories(&parity()["rows"]);
    let days: Vec<History> =
        weeks.iter().map(|h| history(h.frequency, h.recency * 7.0, h.age * 7.0)).collect();
    for model in Model::CONTINUOUS {
        let (in_weeks, in_days) = (Fit::new(model, &weeks, None), Fit::new(model, &days, None));
        let (in_weeks, in_days) = (in_weeks.unwrap(), in_days.unwrap());
        close(model.name(), in_days.parameters[1].value, in_weeks.parameters[1].value * 7.0, 1e-5);
        let ours = in_days.expected(&days[0], 70.0).unwrap();
        close(model.name(), ours, in_weeks.expected(&weeks[0], 10.0).unwrap(), 1e-5);
    }
}

/// The 90 % interval of the expectation holds the truth in about 90 % of drawn worlds.
#[test]
fn intervals_hold_the_true_expectation_as_often_as_they_say() {
    let truth = Fit::of(Model::BgNbd, &[0.8, 6.0, 0.8, 2.5]).unwrap();
    let asked = history(4.0, 25.0, 30.0);
    let expected = truth.expected(&asked, 26.0).unwrap();
    let (mut held, worlds) = (0, 100);
    for world in 0..worlds {
        let mut rng = Rng::stream(world, "lifetimes");
        let drawn: Vec<History> = (0..600).map(|_| draw(&mut rng)).collect();
        let fit = Fit::new(Model::BgNbd, &drawn, None).unwrap();
        let interval = fit.interval(&asked, 26.0, 0.9).unwrap();
        held += usize::from(interval.is_some_and(|interval| interval.contains(expected)));
    }
    assert!((82..=97).contains(&held), "{held} of {worlds}");
}

/// A customer of BG/NBD with r 0.8, α 6, a 0.8, b 2.5, seen for 20 to 40 weeks.
fn draw(rng: &mut Rng) -> History {
    let age = 20.0 + 20.0 * rng.uniform();
    let rate = gamma(rng, 0.8) / 6.0;
    let (leave, stay) = (gamma(rng, 0.8), gamma(rng, 2.5));
    let chance = leave / (leave + stay);
    let (mut at, mut count, mut last) = (0.0, 0.0, 0.0);
    loop {
        at -= (1.0 - rng.uniform()).ln() / rate;
        if at > age {
            return history(count, last, age);
        }
        (count, last) = (count + 1.0, at);
        if rng.uniform() < chance {
            return history(count, last, age);
        }
    }
}

/// Marsaglia & Tsang 2000, with the boost for shapes below 1.
fn gamma(rng: &mut Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        return gamma(rng, shape + 1.0) * (1.0 - rng.uniform()).powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    loop {
        let z = rng.normal();
        let v = (1.0 + z / (9.0 * d).sqrt()).powi(3);
        if v > 0.0 && (1.0 - rng.uniform()).ln() < 0.5 * z * z + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[test]
fn a_value_is_purchases_times_spend_with_an_interval_around_it() {
    let data = histories(&parity()["rows"]);
    let frequency: Vec<f64> = data.iter().map(|h| h.frequency).collect();
    let money = numbers(&parity()["money"]["spend"]);
    let (fit, spend) = (
        Fit::new(Model::MbgNbd, &data, None).unwrap(),
        Spend::fit(&frequency, &money, None).unwrap(),
    );
    let customer = Customer {
        customer: "a".to_owned(),
        history: data[0],
        spend: money[0],
        spend_of_all: money[0],
    };
    let value = fit.value(&spend, &customer, 13.0, 0.95).unwrap();
    let total = value.value.unwrap();
    close("product", total, value.purchases * value.each.unwrap(), 1e-12);
    let interval = value.interval.unwrap();
    assert!(0.0 < interval.low && interval.low < total && total < interval.high);
    let narrow = fit.value(&spend, &customer, 13.0, 0.5).unwrap().interval.unwrap();
    assert!(interval.low < narrow.low && narrow.high < interval.high);
    let kept: Fit = serde_json::from_str(&serde_json::to_string(&fit).unwrap()).unwrap();
    assert_eq!(kept.expected(&data[0], 13.0).unwrap(), fit.expected(&data[0], 13.0).unwrap());
}
