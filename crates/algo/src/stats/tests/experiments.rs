//! Statistics of experiments beside statsmodels and scipy, and their error rates on simulated ones.

use flywheel_base::{ErrorKind, Rng};
use serde_json::Value;

use super::{row, rows};
use crate::stats::cuped::{self, Pairs};
use crate::stats::guardrail::{Better, Guardrail, Standing, watch};
use crate::stats::lift::{Arm, lift};
use crate::stats::multiple::{benjamini_hochberg, holm};
use crate::stats::power::Design;
use crate::stats::quantile::{Sorted, difference};
use crate::stats::{sequence, srm};

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../../tests/parity/experiments.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// An arm of outcomes and covariates, added in two parts that are merged.
fn pairs(value: &Value) -> Pairs {
    let columns = rows(value);
    let (mut all, mut rest) = (Pairs::default(), Pairs::default());
    for (at, (outcome, covariate)) in columns[0].iter().zip(&columns[1]).enumerate() {
        if at.is_multiple_of(3) { &mut rest } else { &mut all }.add(*outcome, *covariate).unwrap();
    }
    all.merge(&rest);
    all
}

#[test]
fn cuped_agrees_with_a_welch_test_on_adjusted_outcomes() {
    for (number_of, case) in parity()["cuped"].as_array().unwrap().iter().enumerate() {
        let made =
            cuped::adjusted(&pairs(&case["treatment"]), &pairs(&case["holdout"]), 0.95).unwrap();
        let found = made.lift.absolute.unwrap();
        for (ours, name) in [
            (made.slope, "slope"),
            (found.estimate, "estimate"),
            (found.low, "low"),
            (found.high, "high"),
            (made.lift.p_value.unwrap(), "p"),
        ] {
            assert!(
                (ours - number(&case[name])).abs() < 1e-9,
                "{name}: {ours} is not {}",
                case[name]
            );
        }
        let least = [0.7, 0.0, 0.9][number_of];
        assert!((least..=1.0).contains(&made.variance_saved), "{}", made.variance_saved);
    }
}

#[test]
fn an_adjusted_difference_that_is_looked_at_often_rarely_finds_what_is_not_there() {
    let (runs, looks) = (300, 40);
    let mut found = [0, 0];
    for run in 0..runs {
        let mut rng = Rng::new(run);
        let mut arms = [Pairs::default(), Pairs::default()];
        let (mut ever, mut ever_once) = (false, false);
        for _ in 0..looks {
            for unit in 0..50 {
                let before = rng.normal();
                arms[unit % 2].add(2.0 * before + rng.normal(), before).unwrap();
            }
            let options = sequence::Options { tuned_for_units: 1000.0, ..Default::default() };
            let (always, saved) =
                cuped::always_valid(&arms[0], &arms[1], &options).unwrap().unwrap();
            let once = cuped::adjusted(&arms[0], &arms[1], 0.95).unwrap();
            assert_eq!(saved, once.variance_saved);
            let once = once.lift.absolute.unwrap();
            assert!((always.estimate - once.estimate).abs() < 1e-12);
            ever |= !always.contains(0.0);
            ever_once |= !once.contains(0.0);
        }
        found[0] += usize::from(ever);
        found[1] += usize::from(ever_once);
    }
    assert!(found[0] * 20 <= 300, "always valid: {} of {runs}", found[0]);
    assert!(found[1] > 60, "for one look: {} of {runs}", found[1]);
    assert!(
        cuped::always_valid(&Pairs::default(), &Pairs::default(), &Default::default())
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_covariate_that_never_varies_leaves_the_plain_lift() {
    let (mut a, mut b) = (Pairs::default(), Pairs::default());
    let (mut plain_a, mut plain_b) = (Arm::default(), Arm::default());
    let mut rng = Rng::new(1);
    for _ in 0..40 {
        let (x, y) = (rng.normal(), rng.normal());
        a.add(x, 7.0).unwrap();
        b.add(y, 7.0).unwrap();
        plain_a.add(x, 1.0).unwrap();
        plain_b.add(y, 1.0).unwrap();
    }
    let made = cuped::adjusted(&a, &b, 0.95).unwrap();
    let plain = lift(&plain_a, &plain_b, 0.95).unwrap();
    assert_eq!((made.slope, made.variance_saved), (0.0, 0.0));
    assert!((made.lift.p_value.unwrap() - plain.p_value.unwrap()).abs() < 1e-12);
    let none = cuped::adjusted(&a, &Pairs::default(), 0.95).unwrap();
    assert!(none.lift.absolute.is_none() && !none.lift.notes.is_empty());
    assert!(a.add(f64::NAN, 1.0).is_err() && cuped::adjusted(&a, &b, 1.0).is_err());
}

#[test]
fn a_ratio_of_sums_agrees_with_numpys_delta_method() {
    let case = &parity()["ratio"];
    let units: Vec<(f64, f64)> =
        row(&case["outcome"]).into_iter().zip(row(&case["size"])).collect();
    let arm = Arm::per_size(&units).unwrap();
    assert!((arm.rate().unwrap() - number(&case["rate"])).abs() < 1e-12);
    assert!((arm.rate_variance().unwrap() - number(&case["variance"])).abs() < 1e-12);
}

#[test]
fn quantiles_and_their_ranks_agree_with_numpy_and_scipy() {
    for case in parity()["quantiles"].as_array().unwrap() {
        let sorted = Sorted::new(row(&case["values"])).unwrap();
        let (share, confidence) = (number(&case["share"]), number(&case["confidence"]));
        assert!((sorted.quantile(share).unwrap() - number(&case["quantile"])).abs() < 1e-12);
        let ours = sorted.interval(share, confidence).unwrap().map(|i| vec![i.low, i.high]);
        let theirs = (!case["ends"].is_null()).then(|| row(&case["ends"]));
        assert_eq!(ours, theirs, "{share} of {}", row(&case["values"]).len());
    }
    assert!(Sorted::new(vec![]).is_err());
    assert!(Sorted::new(vec![1.0, f64::NAN]).unwrap_err().message().contains("position 1"));
    assert!(Sorted::new(vec![1.0]).unwrap().interval(0.5, 0.95).unwrap().is_none());
    assert!(Sorted::new(vec![1.0]).unwrap().quantile(1.0).is_err());
}

#[test]
fn a_difference_of_quantiles_covers_the_truth_as_often_as_it_says() {
    let mut rng = Rng::new(7);
    let mut arm =
        |scale: f64| Sorted::new((0..400).map(|_| scale * rng.exponential(1.0)).collect()).unwrap();
    let truth = 0.5 * 10.0_f64.ln();
    let covered = (0..1000)
        .filter(|_| difference(&arm(1.5), &arm(1.0), 0.9, 0.95).unwrap().unwrap().contains(truth))
        .count();
    assert!((930..=980).contains(&covered), "{covered} of 1000");
}

#[test]
fn power_and_units_agree_with_statsmodels() {
    let parity = parity();
    let design = |case: &Value| Design {
        ratio: number(&case["ratio"]),
        error: number(&case["error"]),
        ..Design::of_means(1.0)
    };
    for case in parity["power"].as_array().unwrap() {
        let ours = design(case).power(number(&case["effect"]), number(&case["units"])).unwrap();
        assert!((ours - number(&case["power"])).abs() < 1e-9, "{ours} is not {}", case["power"]);
    }
    for case in parity["need"].as_array().unwrap() {
        let (effect, power) = (number(&case["effect"]), number(&case["power"]));
        let ours = design(case).treated_units(effect, power).unwrap();
        let theirs = number(&case["units"]);
        assert_eq!(ours, theirs.ceil() as u64, "{theirs}");
        let smallest = design(case).smallest_effect(theirs, power).unwrap();
        assert!((smallest - effect).abs() < 1e-6, "{smallest} is not {effect}");
    }
    let shares = Design::of_shares(0.11, 0.10).unwrap();
    assert!((14_000..15_500).contains(&shares.treated_units(0.01, 0.8).unwrap()));
    let hopeless = shares.treated_units(0.0, 0.8).unwrap_err();
    assert!(hopeless.message().contains("no number of units"));
    assert!(shares.power(0.01, 0.0).is_err() && shares.treated_units(0.01, 0.01).is_err());
    assert!(
        Design::of_means(0.0).power(0.1, 10.0).is_err() && Design::of_shares(0.0, 0.1).is_err()
    );
}

#[test]
fn adjusted_p_values_agree_with_statsmodels() {
    let case = &parity()["multiple"];
    let p = row(&case["p"]);
    let same = |ours: &[f64], theirs: &Value| {
        ours.iter().zip(row(theirs)).for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{ours:?}"));
    };
    same(&holm(&p).unwrap(), &case["holm"]);
    same(&benjamini_hochberg(&p).unwrap(), &case["benjamini_hochberg"]);
    assert_eq!(holm(&[]).unwrap(), Vec::<f64>::new());
    assert!(holm(&[0.5, 1.5]).unwrap_err().message().contains("position 1"));
    assert_eq!(benjamini_hochberg(&[f64::NAN]).unwrap_err().kind(), ErrorKind::Invalid);
}

/// Show 7: 2,000 experiments without an effect, looked at 100 times each, with skewed outcomes.
#[test]
fn two_thousand_skewed_experiments_without_effect_stay_within_the_error() {
    let options = sequence::Options { confidence: 0.95, tuned_for_units: 1000.0 };
    let mut rng = Rng::new(2000);
    let wrong = (0..2000)
        .filter(|_| {
            let (mut a, mut b) = (Arm::default(), Arm::default());
            (0..100).any(|_| {
                for _ in 0..20 {
                    a.add(rng.exponential(0.1), 1.0).unwrap();
                    b.add(rng.exponential(0.1), 1.0).unwrap();
                }
                !sequence::difference(&a, &b, &options).unwrap().unwrap().contains(0.0)
            })
        })
        .count();
    assert!(wrong <= 100, "{wrong} of 2000");
}

#[test]
fn a_sound_split_alarms_about_once_in_a_thousand() {
    let mut rng = Rng::new(77);
    let alarms = (0..20_000)
        .filter(|_| {
            let treated = (0..500).filter(|_| rng.chance(0.8)).count() as u64;
            srm::mismatch(&[treated, 500 - treated], &[0.8, 0.2]).unwrap().alarm
        })
        .count();
    assert!((10..=40).contains(&alarms), "{alarms} of 20,000");
}

#[test]
fn a_guardrail_is_breached_by_harm_safe_without_and_open_before() {
    let run = |better: Better, harm: f64| {
        let guardrail =
            Guardrail { better, harm_max: 0.05, sequence: sequence::Options::default() };
        let mut rng = Rng::new(6);
        let (mut treatment, mut holdout) = (Arm::default(), Arm::default());
        let mut standings = vec![watch(&treatment, &holdout, &guardrail).unwrap().standing];
        for _ in 0..20_000 {
            treatment.add(10.0 + harm + rng.normal(), 1.0).unwrap();
            holdout.add(10.0 + rng.normal(), 1.0).unwrap();
            standings.push(watch(&treatment, &holdout, &guardrail).unwrap().standing);
        }
        standings.dedup();
        standings
    };
    use Standing::{Breached, Open, Safe};
    // Units that are all alike do not say how much units vary; those of the other arm do.
    let calls = Guardrail { better: Better::Lower, harm_max: 0.05, sequence: Default::default() };
    let arm = |units: u64, calling: u64| {
        let calls: Vec<f64> = (0..units).map(|n| f64::from(u8::from(n < calling))).collect();
        Arm::per_unit(&calls).unwrap()
    };
    for (units, calling, expected) in [(3, 3, Open), (500, 500, Open), (500, 100, Breached)] {
        let found = watch(&arm(units, calling), &arm(units, 0), &calls).unwrap();
        assert_eq!(found.standing, expected, "{calling} of {units}");
        assert_eq!(found.difference.is_some(), calling < units);
    }
    assert!(!Arm::per_size(&[(0.3, 3.0), (0.7, 7.0), (0.1, 1.0)]).unwrap().shows_spread());
    assert_eq!(run(Better::Higher, -1.0), [Open, Breached]);
    assert_eq!(run(Better::Higher, 0.0), [Open, Safe]);
    assert_eq!(run(Better::Higher, 2.0), [Open, Safe]);
    assert_eq!(run(Better::Lower, 1.0), [Open, Breached]);
    assert_eq!(run(Better::Lower, -1.0), [Open, Safe]);
    let bad =
        Guardrail { better: Better::Lower, harm_max: -0.1, sequence: sequence::Options::default() };
    assert!(watch(&Arm::default(), &Arm::default(), &bad).is_err());
}
