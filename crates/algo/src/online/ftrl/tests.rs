//! Parity with the paper's algorithm, hashing, sparsity and bad input.

use flywheel_base::{ErrorKind, Rng};
use serde_json::Value;

use super::super::hashing::Hashing;
use super::{Ftrl, Options};
use crate::stats::calibration::log_loss;

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../../tests/parity/ftrl.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn events(parity: &Value) -> Vec<(Vec<f64>, bool)> {
    let rows = parity["x"].as_array().unwrap().iter().map(numbers);
    rows.zip(parity["y"].as_array().unwrap().iter().map(|y| y.as_bool().unwrap())).collect()
}

#[test]
fn every_prediction_is_the_papers_and_no_worse_than_rivers() {
    let parity = parity();
    let events = events(&parity);
    for case in parity["pulled"].as_array().unwrap() {
        let option = |name: &str| case[name].as_f64().unwrap();
        let options = Options {
            rate: option("rate"),
            start: option("start"),
            lasso: option("lasso"),
            ridge: option("ridge"),
        };
        let (mut dense, mut sparse) =
            (Ftrl::new(4, options).unwrap(), Ftrl::new(4, options).unwrap());
        for ((features, happened), theirs) in events.iter().zip(numbers(&case["said"])) {
            let said = dense.learn(features, *happened).unwrap();
            assert!((said - theirs).abs() < 1e-12, "{said} is not {theirs}");
            let pairs: Vec<(u32, f64)> = (0..).zip(features.iter().copied()).collect();
            assert_eq!(sparse.learn_sparse(&pairs, *happened).unwrap(), said);
        }
        let mut ours = dense.weights().to_vec();
        ours.push(dense.intercept());
        for (a, b) in ours.iter().zip(numbers(&case["weights"])) {
            assert!((a - b).abs() < 1e-12, "{ours:?}");
        }
        assert_eq!(option("lasso") > 0.0, dense.weights().contains(&0.0), "{:?}", dense.weights());
    }
    let river = &parity["river"];
    let options = Options { rate: river["rate"].as_f64().unwrap(), ..Options::default() };
    let mut learner = Ftrl::new(4, options).unwrap();
    let said: Vec<f64> = events
        .iter()
        .map(|(features, happened)| learner.learn(features, *happened).unwrap())
        .collect();
    let happened: Vec<bool> = events.iter().map(|(_, happened)| *happened).collect();
    assert!(log_loss(&said, &happened).unwrap() < river["log_loss"].as_f64().unwrap());
}

/// Without pulls the proximal steps are AdaGrad's: the weight moves by rate · g / (start + root).
#[test]
fn without_pulls_the_steps_are_those_of_adagrad() {
    let options = Options { rate: 0.4, start: 1e-9, lasso: 0.0, ridge: 0.0 };
    let mut learner = Ftrl::new(1, options).unwrap();
    let (mut weight, mut intercept, mut square, mut square_intercept) =
        (0.0, 0.0, 0.0_f64, 0.0_f64);
    let mut rng = Rng::new(5);
    for _ in 0..500 {
        let (x, y) = (rng.normal(), rng.chance(0.4));
        let said = learner.learn(&[x], y).unwrap();
        let expected = 1.0 / (1.0 + f64::exp(-(weight * x + intercept)));
        assert!((said - expected).abs() < 1e-6, "{said} {expected}");
        let slope = expected - f64::from(u8::from(y));
        square += (slope * x).powi(2);
        square_intercept += slope.powi(2);
        weight -= 0.4 * slope * x / square.sqrt();
        intercept -= 0.4 * slope / square_intercept.sqrt();
    }
}

#[test]
fn hashed_names_are_learnt_and_a_restart_goes_on_bit_for_bit() {
    let hashing = Hashing::new(16).unwrap();
    let mut learner =
        Ftrl::new(hashing.places(), Options { lasso: 0.5, ..Options::default() }).unwrap();
    let mut rng = Rng::new(8);
    let mut event = || {
        let city = rng.below(500);
        let age = rng.normal();
        let odds = if city.is_multiple_of(7) { 2.0 } else { -1.5 } + age;
        let happened = rng.chance(1.0 / (1.0 + f64::exp(-odds)));
        let pairs = [hashing.text("city", &city.to_string()), hashing.number("age", age)];
        (pairs, happened, (odds > 0.0) == happened)
    };
    let (mut right, mut best) = (0, 0);
    for number in 0..40_000 {
        let (pairs, happened, oracle) = event();
        let said = learner.learn_sparse(&pairs, happened).unwrap();
        if number >= 30_000 {
            right += i32::from((said > 0.5) == happened);
            best += i32::from(oracle);
        }
    }
    assert!(best - right < 160, "{right} of {best}");
    let mut restored: Ftrl =
        serde_json::from_str(&serde_json::to_string(&learner).unwrap()).unwrap();
    for _ in 0..100 {
        let (pairs, happened, _) = event();
        let said = learner.learn_sparse(&pairs, happened).unwrap();
        assert_eq!(restored.learn_sparse(&pairs, happened).unwrap(), said);
    }
    assert_eq!(restored, learner);
}

#[test]
fn places_never_change_and_spread_evenly() {
    let hashing = Hashing::new(10).unwrap();
    assert_eq!(hashing.text("city", "Köln"), hashing.text("city", "Köln"));
    assert_ne!(hashing.text("city", "a").0, hashing.text("town", "a").0);
    assert_ne!(hashing.text("ab", "c").0, hashing.text("a", "bc").0);
    let (place, value) = hashing.number("age", 2.5);
    assert_eq!((hashing.number("age", -2.5), value.abs()), ((place, -value), 2.5));
    let mut counts = vec![0; hashing.places()];
    let mut signs = 0.0;
    for number in 0..100_000 {
        let (place, sign) = hashing.text("id", &number.to_string());
        counts[place as usize] += 1;
        signs += sign;
    }
    assert!(counts.iter().all(|count| (50..150).contains(count)), "about 98 each");
    assert!(signs.abs() < 1500.0, "{signs}");
    assert!(Hashing::new(0).is_err() && Hashing::new(25).is_err());
}

#[test]
fn what_cannot_be_learnt_is_refused_and_changes_nothing() {
    let mut learner = Ftrl::new(2, Options::default()).unwrap();
    assert_eq!(learner.predict(&[1.0, 2.0]).unwrap_err().kind(), ErrorKind::NotFound);
    learner.learn(&[1.0, 2.0], true).unwrap();
    assert!(learner.predict(&[1.0, 2.0]).unwrap() > 0.5);
    let before = learner.clone();
    let error = learner.learn(&[1.0, f64::NAN], true).unwrap_err();
    assert!(error.message().contains("position 1"), "{error}");
    assert!(learner.learn(&[1.0], true).is_err() && learner.learn(&[1e9, 0.0], true).is_err());
    let error = learner.learn_sparse(&[(0, 1.0), (2, 1.0)], true).unwrap_err();
    assert!(error.message().contains("place 2 at position 1"), "{error}");
    assert!(learner.learn_sparse(&[(0, f64::INFINITY)], true).is_err());
    assert_eq!(learner, before);
    for options in [
        Options { rate: 0.0, ..Options::default() },
        Options { lasso: -1.0, ..Options::default() },
        Options { start: f64::NAN, ..Options::default() },
    ] {
        assert_eq!(Ftrl::new(2, options).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(Ftrl::new(0, Options::default()).is_err());
}
