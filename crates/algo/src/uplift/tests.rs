//! Parity with scikit-learn and numpy, a world whose effects are known, and bad input.

use flywheel_base::{ErrorKind, Rng};
use serde_json::Value;

use super::assignment::foretold;
use super::qini::{effect_at, qini};
use super::{Experiment, Kind, Uplift};

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../tests/parity/uplift.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn flags(value: &Value) -> Vec<bool> {
    value.as_array().unwrap().iter().map(|v| v.as_bool().unwrap()).collect()
}

#[test]
fn learners_agree_with_scikit_learn_and_qini_with_numpy() {
    let parity = parity();
    let (x, treated, happened) =
        (numbers(&parity["x"]), flags(&parity["treated"]), flags(&parity["happened"]));
    let experiment = Experiment { features: &x, treated: &treated, happened: &happened };
    for (kind, name) in [(Kind::S, "s"), (Kind::T, "t"), (Kind::X, "crossed")] {
        let learner = Uplift::fit(kind, &experiment, 1.0).unwrap();
        let again: Uplift =
            serde_json::from_str(&serde_json::to_string(&learner).unwrap()).unwrap();
        assert_eq!(again, learner);
        for (row, theirs) in x.chunks_exact(3).zip(numbers(&parity[name])) {
            let ours = learner.predict(row).unwrap();
            assert!((ours - theirs).abs() < 1e-5, "{name}: {ours} is not {theirs}");
        }
    }
    let made = qini(&numbers(&parity["t"]), &treated, &happened).unwrap();
    let theirs = |name: &str| parity["qini"][name].as_f64().unwrap();
    assert!((made.area - theirs("area")).abs() < 1e-12, "{made:?}");
    assert!(
        (made.effect - theirs("effect")).abs() < 1e-12
            && (made.curve[2] - theirs("thirty")).abs() < 1e-12
    );
    assert_eq!(made.curve.last(), Some(&made.effect));
}

/// Units of two kinds: the treatment helps the first by .3 and harms the second by .1; a second feature is noise.
fn world(units: usize, seed: u64) -> (Vec<f64>, Vec<bool>, Vec<bool>) {
    let mut rng = Rng::new(seed);
    let (mut features, mut treated, mut happened) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..units {
        let kind = rng.chance(0.5);
        let arm = rng.chance(0.3);
        let effect = if kind { 0.3 } else { -0.1 };
        features.extend([f64::from(u8::from(kind)), rng.normal()]);
        treated.push(arm);
        happened.push(rng.chance(0.3 + if arm { effect } else { 0.0 }));
    }
    (features, treated, happened)
}

#[test]
fn whom_a_treatment_helps_is_found_on_units_not_seen() {
    let (features, treated, happened) = world(20_000, 1);
    let (asked, asked_treated, asked_happened) = world(20_000, 2);
    for kind in Kind::ALL {
        let experiment = Experiment { features: &features, treated: &treated, happened: &happened };
        let learner = Uplift::fit(kind, &experiment, 1.0).unwrap();
        let helped = learner.predict(&[1.0, 0.0]).unwrap();
        let harmed = learner.predict(&[0.0, 0.0]).unwrap();
        assert!(
            (helped - 0.3).abs() < 0.04 && (harmed + 0.1).abs() < 0.04,
            "{kind:?} {helped} {harmed}"
        );
        let scores: Vec<f64> =
            asked.chunks_exact(2).map(|row| learner.predict(row).unwrap()).collect();
        let made = qini(&scores, &asked_treated, &asked_happened).unwrap();
        assert!(made.area > 0.04 && (made.effect - 0.1).abs() < 0.03, "{made:?}");
        let best = effect_at(&scores, &asked_treated, &asked_happened, 0.4, 0.95).unwrap().unwrap();
        assert!(best.contains(0.3) && best.low > 0.2, "{best:?}");
    }
    let equal = qini(&vec![1.0; asked_treated.len()], &asked_treated, &asked_happened).unwrap();
    assert!(equal.area.abs() < 1e-12, "a score that tells nothing apart is worth nothing");
}

#[test]
fn what_cannot_be_fitted_or_judged_is_refused() {
    let fit = |features: &[f64], treated: &[bool], happened: &[bool]| {
        Uplift::fit(Kind::T, &Experiment { features, treated, happened }, 1.0)
    };
    let invalid = |error: flywheel_base::Error, says: &str| {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(says), "{error}");
    };
    invalid(fit(&[], &[], &[]).unwrap_err(), "0 units");
    invalid(fit(&[1.0, 2.0, 3.0], &[true, false], &[true, false]).unwrap_err(), "3 numbers");
    invalid(fit(&[1.0, f64::NAN], &[true, false], &[true, false]).unwrap_err(), "position 1");
    invalid(
        fit(&[1.0, 2.0], &[true, true], &[true, false]).unwrap_err(),
        "2 treated units and 0 others",
    );
    let same = fit(&[7.0; 6], &[true, false, true, false, true, false], &[true; 6]).unwrap();
    assert!(
        same.predict(&[7.0]).unwrap().abs() < 1e-6,
        "constant features and outcomes say nothing"
    );
    invalid(same.predict(&[1.0, 2.0]).unwrap_err(), "2 features where");
    invalid(same.predict(&[f64::INFINITY]).unwrap_err(), "position 0");
    invalid(qini(&[0.1], &[true, false], &[true, false]).unwrap_err(), "1 scores");
    invalid(qini(&[0.1, f64::NAN], &[true, false], &[true, false]).unwrap_err(), "position 1");
    invalid(
        effect_at(&[0.1, 0.2], &[true, false], &[true, false], 0.0, 0.95).unwrap_err(),
        "share of 0",
    );
    assert!(effect_at(&[0.1, 0.2], &[true, false], &[true, false], 0.5, 0.95).unwrap().is_none());
}

#[test]
fn features_foretell_who_was_treated_only_where_somebody_chose() {
    let (features, by_chance, happened) = world(3_000, 5);
    let chosen: Vec<bool> = features.chunks_exact(2).map(|row| row[1] > 0.3).collect();
    let found = |treated: &[bool]| {
        let (known, judged) = (0..1_500, 1_500..3_000);
        let [known, judged] = [known, judged].map(|units| Experiment {
            features: &features[2 * units.start..2 * units.end],
            treated: &treated[units.clone()],
            happened: &happened[units],
        });
        foretold(&known, &judged, 1.0, 0.999).unwrap().unwrap()
    };
    let chance = found(&by_chance);
    assert!(chance.contains(0.5), "{chance:?}");
    let choice = found(&chosen);
    assert!(choice.low > 0.99, "{choice:?}");
    let narrow =
        Experiment { features: &features[..10], treated: &chosen[..10], happened: &happened[..10] };
    let wide = Experiment { features: &features, treated: &chosen, happened: &happened };
    let error = foretold(&wide, &narrow, 1.0, 0.999).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
