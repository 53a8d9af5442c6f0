//! Parity with numpy, honesty on a world whose truth is known, and refusals with their reasons.

use flywheel_base::{ErrorKind, Rng};
use serde_json::Value;

use super::verdict::{Refusal, Rules, verdict};
use super::{Modelled, Options, Row, estimate};
use crate::stats::Interval;

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../tests/parity/offpolicy.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn estimates_agree_with_numpy() {
    let parity = parity();
    let column = |name: &str| numbers(&parity["rows"][name]);
    let (reward, propensity, challenger) =
        (column("reward"), column("propensity"), column("challenger"));
    let (chosen, model) = (column("model_chosen"), column("model_challenger"));
    let logged = column("model_logged");
    let rows_with = |beside: bool| -> Vec<Row> {
        let row = |at: usize| Row {
            reward: reward[at],
            propensity: propensity[at],
            challenger: challenger[at],
            model: Some(Modelled {
                chosen: chosen[at],
                challenger: model[at],
                logged: beside.then_some(logged[at]),
            }),
        };
        (0..reward.len()).map(row).collect()
    };
    let (rows, beside) = (rows_with(false), rows_with(true));
    for case in parity["cases"].as_array().unwrap() {
        let options = Options { weight_max: case["weight_max"].as_f64(), ..Options::default() };
        let made = estimate(&rows, &options).unwrap();
        let same = |ours: Interval, name: &str| {
            let theirs = numbers(&case[name]);
            for (a, b) in [ours.estimate, ours.low, ours.high].iter().zip(&theirs) {
                assert!((a - b).abs() < 1e-12, "{name}: {ours:?} is not {theirs:?}");
            }
        };
        same(made.ips.value, "ips");
        same(made.ips.gain, "ips_gain");
        same(made.snips.unwrap().value, "snips");
        same(made.snips.unwrap().gain, "snips_gain");
        same(made.dr.unwrap().value, "dr");
        same(made.dr.unwrap().gain, "dr_gain");
        let made_beside = estimate(&beside, &options).unwrap().dr.unwrap();
        same(made_beside.value, "dr");
        same(made_beside.gain, "dr_gain_beside");
        assert!((made.effective - case["effective"].as_f64().unwrap()).abs() < 1e-9);
        assert!((made.bound - case["bound"].as_f64().unwrap()).abs() < 1e-12);
        assert_eq!(made.cut as u64, case["cut"].as_u64().unwrap());
        assert_eq!(made.best().0, "dr");
    }
}

/// A world of 4 actions whose reward chances depend on a context in 0..3.
const TRUTH: [[f64; 4]; 3] = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.1, 0.2], [0.2, 0.6, 0.3, 0.1]];

/// How the logging policy and a challenger choose in each context.
const LOGGING: [[f64; 4]; 3] = [[0.4, 0.3, 0.2, 0.1], [0.25; 4], [0.1, 0.2, 0.3, 0.4]];
const BETTER: [[f64; 4]; 3] = [[0.1, 0.1, 0.2, 0.6], [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]];

fn value(policy: &[[f64; 4]; 3]) -> f64 {
    let chances = policy.iter().flatten().zip(TRUTH.iter().flatten());
    chances.map(|(chance, reward)| chance * reward).sum::<f64>() / 3.0
}

fn log(rng: &mut Rng, challenger: &[[f64; 4]; 3], count: usize) -> Vec<Row> {
    (0..count)
        .map(|_| {
            let context = rng.below(3);
            let action = rng.weighted(&LOGGING[context]).unwrap();
            let reward = f64::from(u8::from(rng.chance(TRUTH[context][action])));
            // A model that is wrong by a tenth everywhere.
            let wrong = TRUTH[context].map(|truth| truth + 0.1);
            Row {
                reward,
                propensity: LOGGING[context][action],
                challenger: challenger[context][action],
                model: Some(
                    Modelled::new(action, &wrong, &challenger[context])
                        .unwrap()
                        .beside(&wrong, &LOGGING[context]),
                ),
            }
        })
        .collect()
}

#[test]
fn estimates_are_unbiased_and_intervals_cover_as_often_as_they_say() {
    let mut rng = Rng::new(14);
    let truth = value(&BETTER);
    let trials = 1000;
    let mut covered = [0; 3];
    let mut sums = [0.0; 3];
    let mut bounded = 0;
    for _ in 0..trials {
        let made = estimate(&log(&mut rng, &BETTER, 1000), &Options::default()).unwrap();
        for (at, found) in [made.ips, made.snips.unwrap(), made.dr.unwrap()].iter().enumerate() {
            covered[at] += u32::from(found.value.contains(truth));
            sums[at] += found.value.estimate / f64::from(trials);
        }
        bounded += u32::from(made.bound <= truth);
    }
    for (sum, covered) in sums.iter().zip(covered) {
        assert!((sum / truth - 1.0).abs() < 0.01, "bias of {sum} against {truth}");
        assert!((930..=970).contains(&covered), "{covered} of {trials}");
    }
    assert!(bounded >= 975, "the bound holds in {bounded}");
}

/// What a model of rewards and chance say of the same choices is no gain.
#[test]
fn a_challenger_that_chooses_alike_gains_exactly_nothing() {
    let mut rng = Rng::new(15);
    for _ in 0..20 {
        let made = estimate(&log(&mut rng, &LOGGING, 500), &Options::default()).unwrap();
        let gain = made.dr.unwrap().gain;
        assert!(gain.estimate.abs() < 1e-12 && gain.high - gain.low < 1e-12, "{gain:?}");
    }
}

#[test]
fn a_better_policy_is_promoted_and_others_are_not() {
    let mut rng = Rng::new(20);
    let rules = Rules::default();
    let trials = 100;
    let mut count = |challenger: &[[f64; 4]; 3], rows: usize| {
        (0..trials)
            .filter(|_| verdict(&log(&mut rng, challenger, rows), &rules).unwrap().promotes())
            .count()
    };
    assert!(value(&BETTER) > value(&LOGGING) + 0.1);
    assert!(count(&BETTER, 3000) >= 98, "missed promotions");
    let even = [[0.25; 4]; 3];
    let worse = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.5, 0.3, 0.1], [0.1, 0.1, 0.1, 0.7]];
    assert!(value(&worse) < value(&LOGGING));
    assert_eq!(count(&worse, 3000), 0, "false promotions");
    assert!(value(&even) > value(&LOGGING));
    assert_eq!(count(&BETTER, 500), 0, "too few decisions");
}

#[test]
fn refusals_name_every_reason() {
    let mut rng = Rng::new(2);
    let few = verdict(&log(&mut rng, &BETTER, 200), &Rules::default()).unwrap();
    let text = few.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    assert!(
        text.contains("200 decisions have propensity and outcome, 1000 are asked for"),
        "{text}"
    );
    // The challenger plays an action that the log never tried: its weights average far below 1.
    let rows: Vec<Row> = (0..2000)
        .map(|number| Row {
            reward: f64::from(number % 2),
            propensity: 0.5,
            challenger: 0.2,
            model: None,
        })
        .collect();
    let unsupported = verdict(&rows, &Rules::default()).unwrap();
    assert!(unsupported.refusals.iter().any(|refusal| matches!(refusal, Refusal::NoSupport { weight, .. } if (weight - 0.4).abs() < 1e-9)));
    let lone: Vec<Row> = (0..5000)
        .map(|number| Row {
            reward: 1.0,
            propensity: if number < 50 { 0.001 } else { 1.0 },
            challenger: if number < 50 { 0.2 } else { 0.0 },
            model: None,
        })
        .collect();
    let judged = verdict(&lone, &Rules { cut_max: 0.0, ..Rules::default() }).unwrap();
    let text = judged.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    assert!(text.contains("amount to 50 of the challenger's own"), "{text}");
    assert!(text.contains("1.00 % of the weights are cut"), "{text}");
    let rare = Row { reward: 0.0, propensity: 0.5, challenger: 0.5, model: None };
    let text = format!("{:?}", verdict(&[rare; 2000], &Rules::default()).unwrap().refusals);
    assert!(text.contains("FewRewarded { rewarded: 0, least: 30 }"), "{text}");
    assert!(!judged.promotes());
}

#[test]
fn what_cannot_be_judged_is_refused_by_row() {
    let good = Row { reward: 1.0, propensity: 0.5, challenger: 0.5, model: None };
    let says = |row: Row, says: &str| {
        let error = estimate(&[good, row], &Options::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(says), "{error}");
    };
    says(Row { propensity: 0.0, ..good }, "propensity is 0 at position 1");
    says(Row { propensity: f64::NAN, ..good }, "propensity is NaN at position 1");
    says(Row { challenger: 1.5, ..good }, "probability is 1.5 at position 1");
    says(Row { reward: -1.0, ..good }, "reward is -1 at position 1");
    says(Row { reward: f64::INFINITY, ..good }, "reward is inf at position 1");
    says(
        Row { model: Some(Modelled { chosen: f64::NAN, challenger: 0.0, logged: None }), ..good },
        "decision 1",
    );
    assert!(estimate(&[], &Options::default()).unwrap_err().message().contains("no decision"));
    assert!(estimate(&[good], &Options { weight_max: Some(0.5), ..Options::default() }).is_err());
    assert!(estimate(&[good], &Options { rewards: (1.0, 0.0), ..Options::default() }).is_err());
    let one = estimate(&[good], &Options::default()).unwrap();
    assert_eq!(
        (one.ips.value.estimate, one.ips.value.low, one.bound),
        (1.0, f64::NEG_INFINITY, 0.0)
    );
    assert!(verdict(&[good], &Rules { cut_max: 2.0, ..Rules::default() }).is_err());
    let nothing = Row { challenger: 0.0, ..good };
    assert!(!verdict(&[nothing; 2000], &Rules::default()).unwrap().promotes());
    assert!(Modelled::new(0, &[0.5, 0.5], &[0.5, 0.4]).is_err());
    assert!(Modelled::new(2, &[0.5, 0.5], &[0.5, 0.5]).is_err());
}
