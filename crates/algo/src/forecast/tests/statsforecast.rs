//! Parity with statsforecast, and what the fast searches may differ in: a better likelihood.

use flywheel_base::Rng;
use serde_json::Value;

use super::{number, numbers};
use crate::forecast::ets::{Ets, Form, Noise, Seasonal, Trend};
use crate::forecast::mstl::split;
use crate::forecast::theta::{Line, Optimised};
use crate::forecast::{Model, Options, fit};

/// How much worse a deviance (−2 log likelihood) may be than theirs.
const DEVIANCE_WORSE_MAX: f64 = 0.5;

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../../tests/parity/forecast_ets.json")).unwrap()
}

/// The largest difference over the largest value of theirs.
fn distance(ours: &[f64], theirs: &[f64]) -> f64 {
    let size = theirs.iter().map(|v| v.abs()).fold(1e-9, f64::max);
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / size).fold(0.0, f64::max)
}

fn near(ours: &[f64], theirs: &[f64], share: f64, of: &Value) {
    assert!(distance(ours, theirs) <= share, "{ours:?} is not {theirs:?} of {of}");
}

fn form(name: &str, season: usize) -> Form {
    let noise = if name.starts_with('A') { Noise::Additive } else { Noise::Multiplicative };
    let trend = match &name[1..name.len() - 1] {
        "N" => Trend::None,
        "A" => Trend::Additive,
        _ => Trend::Damped,
    };
    let (season, period) = match &name[name.len() - 1..] {
        "N" => (Seasonal::None, 1),
        "A" => (Seasonal::Additive, season),
        _ => (Seasonal::Multiplicative, season),
    };
    Form { noise, trend, season, period }
}

/// Form by form: the likelihood is theirs or better, and where it is theirs, so are the forecasts. Ours
/// may be worse in a tenth of the cases, where the search ended in another valley.
#[test]
fn ets_finds_the_likelihood_of_statsforecast_or_a_better_one() {
    let parity = parity();
    let (mut cases, mut same, mut alike, mut bound, mut worse) = (0, 0, 0, 0, 0);
    let (mut chosen, mut choices) = (0, 0);
    for case in parity["ets"].as_array().unwrap() {
        let values = numbers(&parity["series"][case["series"].as_str().unwrap()]);
        let season = case["season"].as_u64().unwrap() as usize;
        let name = case["form"].as_str().unwrap();
        if name == "ZZZ" {
            let made = Ets::fit(&values, season).unwrap();
            choices += 1;
            chosen += usize::from(made.aicc <= number(&case["aicc"]) + 1.0);
            continue;
        }
        let made = Ets::fit_form(&values, form(name, season)).unwrap();
        cases += 1;
        // Our trend may move half as much as theirs, which costs likelihood where it wants to.
        if made.constants.beta > 0.099 / made.form.period as f64 {
            bound += 1;
            continue;
        }
        let more = made.deviance - number(&case["deviance"]);
        worse += usize::from(more > DEVIANCE_WORSE_MAX);
        if more.abs() <= 0.1 {
            same += 1;
            let theirs = numbers(&case["forecast"]);
            alike += usize::from(distance(&made.mean(8), &theirs) < 0.03);
        }
    }
    let counts = format!(
        "{cases} cases: {same} the same, {alike} of them alike, {bound} bound, {worse} worse; \
         {chosen} of {choices} choices as good"
    );
    assert!(worse * 10 <= cases && same * 3 >= cases && alike * 10 >= same * 9, "{counts}");
    assert!(bound * 5 <= cases && chosen * 10 >= choices * 8, "{counts}");
}

/// Where both end in the same valley, so do errors and forecasts; theirs is sometimes another one.
#[test]
fn theta_finds_the_errors_of_statsforecast_or_smaller_ones() {
    let parity = parity();
    let (mut cases, mut same, mut alike, mut worse) = (0, 0, 0, 0);
    for case in parity["theta"].as_array().unwrap() {
        let values = numbers(&parity["series"][case["series"].as_str().unwrap()]);
        let season = case["season"].as_u64().unwrap() as usize;
        let line = if case["kind"] == "DOTM" { Line::Growing } else { Line::Whole };
        let made = Optimised::fit(&values, season, line).unwrap();
        let share = made.mean_square / number(&case["mean_square"]);
        cases += 1;
        worse += usize::from(share > 1.01);
        if (share - 1.0).abs() <= 0.001 {
            same += 1;
            alike += usize::from(distance(&made.mean(8), &numbers(&case["forecast"])) < 0.01);
        }
    }
    let counts = format!("{cases} cases: {same} the same, {alike} of them alike, {worse} worse");
    assert!(worse * 5 <= cases && same * 2 >= cases && alike * 10 >= same * 9, "{counts}");
}

#[test]
fn intermittent_demand_is_that_of_statsforecast() {
    for case in parity()["demand"].as_array().unwrap() {
        let values = numbers(&case["values"]);
        for name in ["croston", "sba", "adida", "imapa"] {
            let ours = fit(name, &values, &Options::default()).unwrap().forecast(1, &[]).unwrap();
            near(&ours.mean, &[number(&case[name])], 2e-3, &Value::from(name));
        }
    }
}

#[test]
fn stl_and_mstl_are_those_of_statsmodels_and_statsforecast() {
    let parity = parity();
    let case = &parity["stl"];
    let values = numbers(&parity["series"][case["series"].as_str().unwrap()]);
    let made = split(&values, 12, 11).unwrap();
    near(&made.season, &numbers(&case["season"]), 1e-8, case);
    near(&made.trend, &numbers(&case["trend"]), 1e-8, case);
    let case = &parity["mstl"];
    let values = numbers(&case["values"]);
    let (parts, _) = crate::forecast::mstl::decompose(&values, &[7, 30]).unwrap();
    near(&parts[0], &numbers(&case["weekly"]), 1e-8, &case["seasons"]);
    near(&parts[1], &numbers(&case["monthly"]), 1e-8, &case["seasons"]);
    let options = Options { season: 7, longer_seasons: vec![30], ..Options::default() };
    let made = fit("mstl", &values, &options).unwrap().forecast(30, &[]).unwrap();
    near(&made.mean, &numbers(&case["forecast"]), 0.02, &case["seasons"]);
    assert!(split(&values[..13], 7, 11).unwrap_err().message().contains("13 values"));
}

/// The deviation that the model states is that of paths drawn from it.
#[test]
fn the_stated_deviation_is_that_of_simulated_futures() {
    let parity = parity();
    for (series, season, name) in [
        ("growing-months", 12, "MAM"),
        ("walk", 1, "AAdN"),
        ("months", 12, "MAA"),
        ("walk", 1, "MNN"),
    ] {
        let values = numbers(&parity["series"][series]);
        let made = Ets::fit_form(&values, form(name, season)).unwrap();
        let stated = made.spread(12).unwrap();
        let noise = (made.squares / stated.freedom).sqrt();
        let mut rng = Rng::new(4);
        let mut squares = [0.0; 12];
        let mean = made.mean(12);
        for _ in 0..4000 {
            let path = made.drawn(12, || noise * rng.normal());
            for (at, value) in path.iter().enumerate() {
                squares[at] += (value - mean[at]).powi(2) / 4000.0;
            }
        }
        for (at, square) in squares.iter().enumerate() {
            let ratio = square.sqrt() / stated.deviation[at];
            assert!((0.93..1.07).contains(&ratio), "{series} {name} step {at}: {ratio}");
        }
    }
}

#[test]
fn forms_follow_from_the_values() {
    assert_eq!(Form::admitted(true, 12).len(), 15);
    assert_eq!(Form::admitted(false, 12).len(), 6, "nothing multiplicative below 0");
    assert_eq!(Form::admitted(true, 1).len(), 6);
    let values: Vec<f64> = (0..30).map(|t| f64::from(t % 7) - 3.0).collect();
    let error = Ets::fit_form(&values, form("MNN", 1)).unwrap_err();
    assert!(error.message().contains("ETS(M,N,N)"), "{error}");
    let error = Ets::fit_form(&values[..10], form("AAdA", 7)).unwrap_err();
    assert!(error.message().contains("too short"), "{error}");
    assert!(Ets::fit(&[1.0, 2.0, f64::INFINITY, 1.0, 2.0], 1).is_err());
    assert!(Ets::fit(&values[..4], 1).unwrap_err().message().contains("4 values"));
    assert!(Optimised::fit(&values[..6], 1, Line::Growing).is_err());
    let error = fit("ets", &[1.0, 2e100, 3.0, 4.0, 5.0], &Options::default()).unwrap_err();
    assert!(error.message().contains("position 1"), "{error}");
}

#[test]
fn a_new_value_is_fitted_about_as_well_from_where_the_last_search_ended() {
    let parity = parity();
    for (series, season) in [("growing-months", 12), ("months", 12), ("walk", 1), ("quarters", 4)] {
        let values = numbers(&parity["series"][series]);
        let before = Ets::fit(&values[..values.len() - 1], season).unwrap();
        let options = Options { season, ..Options::default() };
        let moved = before.refit(&values, &options).unwrap().unwrap();
        let whole = Ets::fit_form(&values, before.form).unwrap();
        near(&moved.mean(6), &whole.mean(6), 0.01, &Value::from(series));
    }
}

#[test]
fn the_blend_is_the_mean_and_fading_the_smaller_one() {
    let values = numbers(&parity()["series"]["quarters"]);
    let options = Options { season: 4, ..Options::default() };
    let said = |name: &str| fit(name, &values, &options).unwrap().forecast(4, &[]).unwrap().mean;
    let (dynamic, ets, blend) = (said("theta-dynamic"), said("ets"), said("blend"));
    for at in 0..4 {
        assert!((blend[at] - f64::midpoint(dynamic[at], ets[at])).abs() < 1e-9);
    }
    let fading = said("fading")[0];
    assert!((fading - said("imapa")[0].min(said("tsb")[0])).abs() < 1e-12);
    assert!(said("theta-optimised")[0] > 0.0);
}

/// What is given up against demand that does not fade is little.
#[test]
fn fading_hardly_underestimates_demand_that_stays() {
    let mut rng = Rng::new(9);
    let (mut sum, mut count) = (0.0, 0.0);
    for _ in 0..300 {
        let values: Vec<f64> = (0..60)
            .map(|_| if rng.uniform() < 0.3 { 1.0 + rng.poisson(2.0) as f64 } else { 0.0 })
            .collect();
        sum +=
            fit("fading", &values, &Options::default()).unwrap().forecast(1, &[]).unwrap().mean[0];
        count += 1.0;
    }
    let share = sum / count / 0.9;
    assert!((0.85..1.02).contains(&share), "{share}");
}
