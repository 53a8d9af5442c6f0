//! Statistics of experiments beside statsmodels and scipy, and their error rates on simulated ones.

use flywheel_base::{ErrorKind, Rng};
use serde_json::Value;

use super::{row, rows};
use crate::stats::clustered::{self, Clustered};
use crate::stats::cuped::{self, Pairs};
use crate::stats::guardrail::{Better, Guardrail, Standing, watch};
use crate::stats::lift::{Arm, lift};
use crate::stats::multiple::{benjamini_hochberg, holm};
use crate::stats::power::Design;
use crate::stats::quantile::{Sorted, difference};
use crate::stats::ratio::{self, Part};
use crate::stats::{Interval, sequence, srm};

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

fn parts(value: &Value) -> Vec<Part> {
    let columns = rows(value);
    let columns = columns[0].iter().zip(&columns[1]).zip(&columns[2]);
    columns
        .map(|((numerator, denominator), covariate)| Part {
            numerator: *numerator,
            denominator: *denominator,
            covariate: *covariate,
        })
        .collect()
}

fn five(ours: Interval, theirs: &Value) {
    let theirs = row(theirs);
    for (ours, theirs) in [ours.estimate, ours.low, ours.high].into_iter().zip(theirs) {
        assert!((ours - theirs).abs() < 5e-6, "{ours} is not {theirs}");
    }
}

#[test]
fn a_difference_of_ratios_agrees_with_numpy_with_and_without_a_covariate() {
    let options = sequence::Options::default();
    for case in parity()["ratios"].as_array().unwrap() {
        let (a, b) = (parts(&case["treatment"]), parts(&case["holdout"]));
        let (plain_a, plain_b) = (ratio::arm(&a).unwrap(), ratio::arm(&b).unwrap());
        for (arm, rate) in [&plain_a, &plain_b].into_iter().zip(row(&case["rates"])) {
            assert!((arm.rate().unwrap() - rate).abs() < 1e-10);
        }
        let plain = sequence::difference(&plain_a, &plain_b, &options).unwrap().unwrap();
        five(plain, &case["plain"]);
        let (a, b) = (ratio::pairs(&a).unwrap().unwrap(), ratio::pairs(&b).unwrap().unwrap());
        let (adjusted, saved) = cuped::always_valid(&a, &b, &options).unwrap().unwrap();
        five(adjusted, &case["adjusted"]);
        assert!((saved - number(&case["saved"])).abs() < 5e-6);
        assert!(adjusted.high - adjusted.low < plain.high - plain.low);
    }
    let part = |numerator, denominator| Part { numerator, denominator, covariate: 0.0 };
    assert!(ratio::pairs(&[]).unwrap().is_none());
    assert!(ratio::pairs(&[part(1.0, 0.0), part(2.0, 0.0)]).unwrap().is_none(), "nothing divides");
    assert!(ratio::arm(&[part(1.0, -1.0)]).unwrap_err().message().contains("denominator"));
    assert!(ratio::arm(&[part(f64::NAN, 1.0)]).is_err());
}

fn values_of(value: &Value) -> Clustered {
    let units: Vec<Vec<f64>> = rows(value);
    Clustered::new(units.iter().map(Vec::as_slice)).unwrap()
}

#[test]
fn quantiles_of_clustered_values_agree_with_numpy_and_with_a_bootstrap_over_units() {
    let options = sequence::Options::default();
    for case in parity()["clustered"].as_array().unwrap() {
        let share = number(&case["share"]);
        let arms = [values_of(&case["treatment"]), values_of(&case["holdout"])];
        for (at, arm) in arms.iter().enumerate() {
            let quantile = arm.quantile(share).unwrap().unwrap();
            assert!((quantile - row(&case["quantiles"])[at]).abs() < 5e-6);
            let (ours, theirs) = (arm.error(share).unwrap(), case["errors"][at].as_f64());
            assert_eq!(ours.is_some(), theirs.is_some());
            if let Some((ours, theirs)) = ours.zip(theirs) {
                assert!((ours - theirs).abs() < 5e-6, "{ours} is not {theirs}");
                let drawn = number(&case["bootstrap"][at]);
                assert!((0.8..1.25).contains(&(ours / drawn)), "{ours} is not near {drawn}");
            }
        }
        let found = clustered::difference(&arms[0], &arms[1], share, &options).unwrap();
        match found {
            Some(found) => five(found, &case["difference"]),
            None => assert!(case["difference"].is_null()),
        }
    }
    let alike = Clustered::new([&[2.0_f64, 2.0][..], &[2.0, 2.0], &[2.0]]).unwrap();
    assert_eq!((alike.units(), alike.quantile(0.5).unwrap()), (3, Some(2.0)));
    assert_eq!(alike.error(0.5).unwrap(), None, "values that are all alike tell no error");
    assert_eq!(Clustered::new([&[] as &[f64]]).unwrap().quantile(0.5).unwrap(), None);
    assert!(Clustered::new([&[f64::NAN][..]]).is_err() && alike.quantile(1.0).is_err());
}

#[test]
fn declared_metrics_without_an_effect_stay_within_the_error_at_all_looks() {
    let options = sequence::Options { confidence: 0.95, tuned_for_units: 400.0 };
    let mut rng = Rng::new(41);
    let runs = 200;
    let (mut ratios, mut quantiles) = (0, 0);
    for _ in 0..runs {
        let mut arms: [Vec<Vec<f64>>; 2] = [Vec::new(), Vec::new()];
        let (mut ratio_found, mut quantile_found) = (false, false);
        for _ in 0..8 {
            for unit in 0..100 {
                // A unit's values go together, which is what a count of values would overlook.
                let own = rng.normal();
                let values = (0..1 + rng.below(5)).map(|_| (own + 0.5 * rng.normal()).exp());
                arms[unit % 2].push(values.collect());
            }
            let parts = |arm: &[Vec<f64>]| -> Vec<Part> {
                let part = |values: &Vec<f64>| Part {
                    numerator: values.iter().sum(),
                    denominator: values.len() as f64,
                    covariate: 0.0,
                };
                arm.iter().map(part).collect()
            };
            let (a, b) = (parts(&arms[0]), parts(&arms[1]));
            let (a, b) = (ratio::arm(&a).unwrap(), ratio::arm(&b).unwrap());
            let found = sequence::difference(&a, &b, &options).unwrap().unwrap();
            ratio_found |= !found.contains(0.0);
            let values = |arm: &[Vec<f64>]| Clustered::new(arm.iter().map(Vec::as_slice)).unwrap();
            let (a, b) = (values(&arms[0]), values(&arms[1]));
            let found = clustered::difference(&a, &b, 0.9, &options).unwrap();
            quantile_found |= found.is_some_and(|found| !found.contains(0.0));
        }
        ratios += usize::from(ratio_found);
        quantiles += usize::from(quantile_found);
    }
    assert!(ratios <= runs / 20, "ratios: {ratios} of {runs}");
    assert!(quantiles <= runs / 20, "quantiles: {quantiles} of {runs}");
}

#[test]
fn a_p_value_is_below_the_error_where_the_interval_leaves_out_nothing() {
    let options = sequence::Options { confidence: 0.999, tuned_for_units: 1000.0 };
    for (units, error) in [(40.0, 0.2), (1_000.0, 0.03), (90_000.0, 0.004)] {
        let margin = sequence::margin(error, units, &options).unwrap();
        let p = |estimate: f64| {
            sequence::p_value(&Interval::around(estimate, margin), units, &options).unwrap()
        };
        assert!((p(margin) / 0.001 - 1.0).abs() < 1e-9 && (p(-margin) - p(margin)).abs() < 1e-15);
        assert!(p(0.99 * margin) > 0.001 && p(1.01 * margin) < 0.001);
        assert_eq!(p(0.0), 1.0);
    }
    assert!(sequence::p_value(&Interval::around(0.1, 0.0), 10.0, &options).is_err());
}
