//! Parity with scipy, statsmodels and scikit-learn, and the properties of each interval.

mod experiments;

use flywheel_base::Rng;
use serde_json::Value;

use super::lift::{Arm, lift};
use super::{Interval, calibration, normal, proportion, sequence, srm, student};

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../tests/parity/stats.json")).unwrap()
}

fn row(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(row).collect()
}

fn close(ours: f64, theirs: f64, relative: f64) {
    let miss = (ours - theirs).abs();
    assert!(miss <= relative * theirs.abs().max(1e-290), "{ours} is not {theirs}");
}

#[test]
fn distributions_agree_with_scipy() {
    let parity = parity();
    rows(&parity["normal_cdf"]).iter().for_each(|r| close(normal::cdf(r[0]), r[1], 1e-12));
    rows(&parity["normal_quantile"])
        .iter()
        .for_each(|r| assert!((normal::quantile(r[0]) - r[1]).abs() < 1e-11, "{r:?}"));
    rows(&parity["student_cdf"]).iter().for_each(|r| close(student::cdf(r[0], r[1]), r[2], 1e-10));
    rows(&parity["student_quantile"])
        .iter()
        .for_each(|r| close(student::quantile(r[0], r[1]), r[2], 1e-9));
    assert!(normal::quantile(1.5).is_nan() && normal::quantile(0.0).is_infinite());
}

#[test]
fn intervals_of_shares_agree_with_statsmodels() {
    let parity = parity();
    for r in rows(&parity["wilson"]) {
        let ours = proportion::wilson(r[0] as u64, r[1] as u64, r[2]).unwrap();
        assert!((ours.low - r[3]).abs() < 1e-12 && (ours.high - r[4]).abs() < 1e-12, "{r:?}");
    }
    for r in rows(&parity["newcombe"]) {
        let pair = |i: usize| (r[i] as u64, r[i + 1] as u64);
        let ours = proportion::newcombe(pair(0), pair(2), 0.95).unwrap();
        assert!((ours.low - r[4]).abs() < 1e-12 && (ours.high - r[5]).abs() < 1e-12, "{r:?}");
    }
    assert!(proportion::wilson(1, 0, 0.95).is_err() && proportion::wilson(3, 2, 0.95).is_err());
}

#[test]
fn lift_agrees_with_a_welch_test_and_merges() {
    for case in parity()["lift"].as_array().unwrap() {
        let (a, b) = (row(&case["a"]), row(&case["b"]));
        let mut arm = Arm::per_unit(&a[..2]).unwrap();
        arm.merge(&Arm::per_unit(&a[2..]).unwrap());
        let made = lift(&arm, &Arm::per_unit(&b).unwrap(), 0.95).unwrap();
        let absolute = made.absolute.unwrap();
        assert!((absolute.low - case["low"].as_f64().unwrap()).abs() < 1e-9);
        assert!((absolute.high - case["high"].as_f64().unwrap()).abs() < 1e-9);
        assert!((made.p_value.unwrap() - case["p"].as_f64().unwrap()).abs() < 1e-9);
    }
}

/// An arm from the sums that GrowthBook's fixtures give.
fn sums(sum: f64, squares: f64, units: u64) -> Arm {
    let n = units as f64;
    let variance = (squares - sum * sum / n) / (n - 1.0);
    Arm::from_moments(units, sum / n, variance.sqrt()).unwrap()
}

#[test]
fn lift_and_sequence_agree_with_growthbooks_fixtures() {
    let five = |interval: Interval, low: f64, high: f64| {
        assert!((interval.low - low).abs() < 1e-5, "{interval:?}");
        assert!((interval.high - high).abs() < 1e-5, "{interval:?}");
    };
    let treatment = sums(2422.7, 134_698.29, 3461);
    let holdout = sums(1396.87, 52_377.976_7, 3407);
    let made = lift(&treatment, &holdout, 0.95).unwrap();
    five(made.relative.unwrap(), -0.03526, 1.44989);
    five(made.absolute.unwrap(), 0.04538, 0.53462);
    assert!((made.p_value.unwrap() - 0.02016).abs() < 1e-5);
    let smaller = sums(1396.87, 52_377.976_7, 3000);
    let relative = lift(&treatment, &smaller, 0.95).unwrap().relative.unwrap();
    let variance = |arm: &Arm| arm.rate_variance().unwrap();
    let (a, b) = (treatment.rate().unwrap(), smaller.rate().unwrap());
    let error = ((variance(&treatment) + (a / b).powi(2) * variance(&smaller)) / (b * b)).sqrt();
    let options = sequence::Options { confidence: 0.95, tuned_for_units: 1000.0 };
    let margin = sequence::margin(error, 6461.0, &options).unwrap();
    five(Interval::around(relative.estimate, margin), -0.55844, 1.56516);
}

#[test]
fn rows_of_one_unit_are_not_independent() {
    // 50 units with 20 equal sessions each: the interval must be that of 50 units, not of 1,000 rows.
    let mut rng = Rng::new(3);
    let units: Vec<f64> = (0..50).map(|_| rng.normal()).collect();
    let pairs: Vec<(f64, f64)> = units.iter().map(|u| (u * 20.0, 20.0)).collect();
    let clustered = Arm::per_size(&pairs).unwrap().rate_variance().unwrap();
    let plain = Arm::per_unit(&units).unwrap().rate_variance().unwrap();
    assert!((clustered - plain).abs() < 1e-12);
}

#[test]
fn a_ratio_interval_covers_the_truth_as_often_as_it_says() {
    let mut rng = Rng::new(11);
    let mut arm = |rate: f64| {
        let mut arm = Arm::default();
        for _ in 0..80 {
            let sessions = 1 + rng.poisson(3.0);
            let own = rate + 0.2 * rng.normal();
            arm.add(own * sessions as f64 + rng.normal(), sessions as f64).unwrap();
        }
        arm
    };
    let covered = (0..1000)
        .filter(|_| {
            let (treated, left) = (arm(1.3), arm(1.0));
            lift(&treated, &left, 0.95).unwrap().absolute.unwrap().contains(0.3)
        })
        .count();
    assert!((930..=970).contains(&covered), "{covered} of 1000");
}

#[test]
fn too_few_units_give_none_and_a_reason() {
    let one = Arm::per_unit(&[1.0]).unwrap();
    let many = Arm::per_unit(&[1.0, 2.0, 3.0]).unwrap();
    for (a, b) in [(one, many), (many, one), (Arm::default(), many), (many, Arm::default())] {
        let made = lift(&a, &b, 0.95).unwrap();
        assert_eq!((made.absolute, made.relative, made.p_value), (None, None, None));
        assert!(made.notes.iter().any(|note| note.contains("units")));
        assert!(sequence::difference(&a, &b, &sequence::Options::default()).unwrap().is_none());
    }
    let zero = Arm::per_unit(&[0.0, 0.0]).unwrap();
    let made = lift(&many, &zero, 0.95).unwrap();
    assert!(made.absolute.is_some() && made.relative.is_none());
    assert!(Arm::per_unit(&[0.0, f64::NAN]).unwrap_err().message().contains("position 1"));
}

#[test]
fn peeking_a_hundred_times_stays_within_the_error_rate() {
    let options = sequence::Options { confidence: 0.95, tuned_for_units: 500.0 };
    let mut rng = Rng::new(5);
    let trials = 500;
    let wrong = (0..trials)
        .filter(|_| {
            let (mut a, mut b) = (Arm::default(), Arm::default());
            (0..100).any(|look| {
                for _ in 0..10 {
                    a.add(rng.normal(), 1.0).unwrap();
                    b.add(rng.normal(), 1.0).unwrap();
                }
                let interval = sequence::difference(&a, &b, &options).unwrap().unwrap();
                look > 0 && !interval.contains(0.0)
            })
        })
        .count();
    assert!(wrong as f64 / f64::from(trials) <= 0.05, "{wrong} of {trials}");
}

#[test]
fn mismatch_agrees_with_scipy_and_rings_only_when_broken() {
    for case in parity()["srm"].as_array().unwrap() {
        let units: Vec<u64> = row(&case["units"]).iter().map(|u| *u as u64).collect();
        let made = srm::mismatch(&units, &row(&case["shares"])).unwrap();
        close(made.statistic, case["statistic"].as_f64().unwrap(), 1e-10);
        close(made.p_value, case["p"].as_f64().unwrap(), 1e-10);
    }
    assert!(srm::mismatch(&[5000, 5400], &[1.0, 1.0]).unwrap().alarm);
    assert!(srm::mismatch(&[1, 2], &[1.0]).is_err());
    assert!(srm::mismatch(&[1, 2], &[1.0, 0.0]).is_err());
}

#[test]
fn calibration_agrees_with_scikit_learn() {
    let case = &parity()["calibration"];
    let scores = row(&case["score"]);
    let came_true: Vec<bool> =
        case["came_true"].as_array().unwrap().iter().map(|v| v.as_bool().unwrap()).collect();
    close(calibration::brier(&scores, &came_true).unwrap(), case["brier"].as_f64().unwrap(), 1e-12);
    let loss = calibration::log_loss(&scores, &came_true).unwrap();
    close(loss, case["log_loss"].as_f64().unwrap(), 1e-9);
    let map = calibration::Isotonic::fit(&scores, &came_true).unwrap();
    for (x, y) in row(&case["grid"]).iter().zip(row(&case["isotonic"])) {
        assert!((map.predict(*x) - y).abs() < 1e-12, "at {x}: {} is not {y}", map.predict(*x));
    }
    let bins = calibration::reliability(&scores, &came_true, 10).unwrap();
    assert_eq!(bins.iter().map(|bin| bin.count).sum::<usize>(), scores.len());
    assert!(calibration::calibration_error(&bins) > 0.0);
}
