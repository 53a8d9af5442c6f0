//! Parity with numpy and scipy, honest propensities, drift, restarts and bad input.

use flywheel_base::{ErrorKind, Rng};
use serde_json::Value;

use super::chances::{largest_beta, largest_normal};
use super::{Algorithm, Bandit, Options};

const ALL: [Algorithm; 6] = [
    Algorithm::EpsilonGreedy,
    Algorithm::BetaThompson,
    Algorithm::LinUcb { width: 0.5 },
    Algorithm::LinThompson { width: 0.5 },
    Algorithm::LogisticThompson { width: 1.0 },
    Algorithm::SquareCb { sharpness: 10.0 },
];

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../tests/parity/bandit.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// A bandit of 3 actions for an algorithm, with as much context as it takes.
fn made(algorithm: Algorithm) -> Bandit {
    let features = if algorithm == Algorithm::BetaThompson { 0 } else { 2 };
    let explore = if algorithm == Algorithm::EpsilonGreedy { 0.1 } else { 0.0 };
    Bandit::new(3, features, Options { explore, ..Options::new(algorithm) }).unwrap()
}

/// Lets a bandit decide and learn in a world where action 1 is best if the first feature is positive, else 2.
fn live(bandit: &mut Bandit, rng: &mut Rng, decisions: usize) -> f64 {
    let mut earned = 0.0;
    for _ in 0..decisions {
        let x = [rng.normal(), rng.normal()];
        let context = &x[..bandit.features()];
        let choice = bandit.choose(context, &[0, 1, 2], rng.uniform()).unwrap();
        let best = if x[0] > 0.0 { 1 } else { 2 };
        let chance = if choice.action == best { 0.8 } else { 0.3 };
        let reward = f64::from(u8::from(rng.chance(chance)));
        bandit.learn(context, choice.action, reward).unwrap();
        earned += reward;
    }
    earned / decisions as f64
}

#[test]
fn lin_ucb_follows_numpy_step_by_step() {
    let case = &parity()["lin_ucb"];
    let width = case["width"].as_f64().unwrap();
    let ridge = case["ridge"].as_f64().unwrap();
    let options = Options { ridge, ..Options::new(Algorithm::LinUcb { width }) };
    let mut bandit = Bandit::new(4, 6, options).unwrap();
    for (number, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        let context = numbers(&step["context"]);
        let action = usize::try_from(step["action"].as_u64().unwrap()).unwrap();
        let expected = bandit.expected(&context, &[0, 1, 2, 3]).unwrap();
        for (ours, theirs) in expected.iter().zip(numbers(&step["mean"])) {
            assert!((ours - theirs).abs() < 1e-9, "step {number}: {ours} is not {theirs}");
        }
        let chances = bandit.chances(&context, &[0, 1, 2, 3]).unwrap();
        assert!(chances[action] > 0.0, "step {number}: {chances:?} instead of {action}");
        bandit.learn(&context, action, step["reward"].as_f64().unwrap()).unwrap();
    }
}

#[test]
fn chances_to_be_the_largest_agree_with_scipy() {
    let parity = parity();
    for (name, ours) in
        [("normal", largest_normal as fn(&[(f64, f64)]) -> Vec<f64>), ("beta", largest_beta)]
    {
        for case in parity[name].as_array().unwrap() {
            let values: Vec<(f64, f64)> = case["values"]
                .as_array()
                .unwrap()
                .iter()
                .map(numbers)
                .map(|v| (v[0], v[1]))
                .collect();
            for (ours, theirs) in ours(&values).iter().zip(numbers(&case["largest"])) {
                assert!((ours - theirs).abs() < 4e-3, "{name} {values:?}: {ours} is not {theirs}");
            }
        }
    }
}

#[test]
fn every_algorithm_learns_and_its_propensities_are_the_frequencies() {
    for algorithm in ALL {
        let mut rng = Rng::new(6);
        let mut bandit = made(algorithm);
        live(&mut bandit, &mut rng, 1500);
        let late = live(&mut bandit, &mut rng, 1500);
        let least = if bandit.features() == 0 { 0.5 } else { 0.68 };
        assert!(late > least, "{}: {late}", algorithm.name());
        let context = [0.05, -0.4];
        let context = &context[..bandit.features()];
        let chances = bandit.chances(context, &[2, 0, 1]).unwrap();
        assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{chances:?}");
        let mut seen = [0.0; 3];
        for _ in 0..20_000 {
            let choice = bandit.choose(context, &[2, 0, 1], rng.uniform()).unwrap();
            let position = [1, 2, 0][choice.action];
            assert_eq!(choice.propensity, chances[position]);
            seen[position] += 1.0 / 20_000.0;
        }
        for (frequency, chance) in seen.iter().zip(&chances) {
            assert!(
                (frequency - chance).abs() < 0.012,
                "{}: {seen:?} {chances:?}",
                algorithm.name()
            );
        }
    }
}

#[test]
fn a_restart_goes_on_bit_for_bit() {
    for algorithm in ALL {
        for half_life_rewards in [None, Some(50.0)] {
            let fresh = made(algorithm);
            let options = Options { half_life_rewards, ..*fresh.options() };
            let mut bandit = Bandit::new(3, fresh.features(), options).unwrap();
            live(&mut bandit, &mut Rng::new(1), 2100);
            let bytes = bandit.to_bytes().unwrap();
            let mut restored = Bandit::from_bytes(&bytes).unwrap();
            assert_eq!(restored, bandit);
            live(&mut bandit, &mut Rng::new(2), 1300);
            live(&mut restored, &mut Rng::new(2), 1300);
            assert_eq!(restored.to_bytes().unwrap(), bandit.to_bytes().unwrap());
        }
    }
}

#[test]
fn a_damaged_state_is_refused() {
    let mut bandit = made(Algorithm::LinUcb { width: 1.0 });
    live(&mut bandit, &mut Rng::new(3), 20);
    let bytes = bandit.to_bytes().unwrap();
    for place in 0..bytes.len() {
        assert_eq!(Bandit::from_bytes(&bytes[..place]).unwrap_err().kind(), ErrorKind::Corrupt);
        let mut altered = bytes.clone();
        altered[place] ^= 4;
        assert_eq!(Bandit::from_bytes(&altered).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let foreign = crate::recommend::codec::Writer::new("ease").finish();
    assert!(Bandit::from_bytes(&foreign).unwrap_err().message().contains("bandit state"));
}

#[test]
fn merged_bandits_know_what_one_would_have_learnt() {
    for algorithm in [
        Algorithm::BetaThompson,
        Algorithm::LinThompson { width: 1.0 },
        Algorithm::LinUcb { width: 1.0 },
    ] {
        let (mut whole, mut a, mut b) = (made(algorithm), made(algorithm), made(algorithm));
        let mut rng = Rng::new(12);
        for number in 0..400 {
            let x = [rng.normal(), rng.normal()];
            let context = &x[..whole.features()];
            let (action, reward) = (rng.below(3), rng.uniform());
            whole.learn(context, action, reward).unwrap();
            if number % 3 == 0 { &mut a } else { &mut b }.learn(context, action, reward).unwrap();
        }
        a.merge(&b).unwrap();
        assert_eq!(a.rewards(), whole.rewards());
        let context = [0.3, -0.7];
        let context = &context[..whole.features()];
        let (ours, theirs) =
            (a.chances(context, &[0, 1, 2]).unwrap(), whole.chances(context, &[0, 1, 2]).unwrap());
        for (x, y) in ours.iter().zip(&theirs) {
            assert!((x - y).abs() < 1e-9, "{ours:?} {theirs:?}");
        }
    }
    let mut logistic = made(Algorithm::LogisticThompson { width: 1.0 });
    let other = logistic.clone();
    assert!(logistic.merge(&other).unwrap_err().message().contains("order of rewards"));
    assert!(logistic.merge(&made(Algorithm::LinUcb { width: 1.0 })).is_err());
}

#[test]
fn forgetting_follows_a_world_that_changed() {
    let run = |half_life_rewards: Option<f64>| {
        let options =
            Options { half_life_rewards, ..Options::new(Algorithm::LinThompson { width: 0.3 }) };
        let mut bandit = Bandit::new(2, 1, options).unwrap();
        let mut rng = Rng::new(5);
        let mut late = 0.0;
        for number in 0..6000 {
            let x = [rng.normal()];
            let choice = bandit.choose(&x, &[0, 1], rng.uniform()).unwrap();
            let best = usize::from((x[0] > 0.0) == (number < 4000));
            let reward = f64::from(u8::from(choice.action == best)) + 0.2 * rng.normal();
            bandit.learn(&x, choice.action, reward).unwrap();
            late += if number >= 5000 { reward / 1000.0 } else { 0.0 };
        }
        late
    };
    let (following, keeping) = (run(Some(300.0)), run(None));
    assert!(following > 0.85 && following > keeping + 0.1, "{following} {keeping}");
}

#[test]
fn an_action_that_was_never_tried_keeps_the_prior_after_long_forgetting() {
    let options =
        Options { half_life_rewards: Some(10.0), ..Options::new(Algorithm::LinUcb { width: 1.0 }) };
    let mut bandit = Bandit::new(2, 1, options).unwrap();
    for _ in 0..50 {
        bandit.learn(&[0.5], 1, 0.9).unwrap();
    }
    for _ in 0..100_000 {
        bandit.learn(&[0.5], 0, 0.5).unwrap();
    }
    // The old praise is forgotten but the doubt is not: the deviation is the prior's, no more.
    assert_eq!(bandit.chances(&[0.5], &[0, 1]).unwrap(), [0.0, 1.0]);
    bandit.learn(&[0.5], 1, 0.0).unwrap();
    assert!(
        bandit.expected(&[0.5], &[1]).unwrap()[0].abs() < 0.05,
        "one reward outweighs what is forgotten"
    );
}

#[test]
fn new_actions_join_and_only_candidates_are_chosen() {
    let mut bandit = made(Algorithm::LinThompson { width: 1.0 });
    live(&mut bandit, &mut Rng::new(4), 300);
    let added = bandit.add_action().unwrap();
    assert_eq!((added, bandit.actions()), (3, 4));
    assert!(
        bandit.chances(&[1.0, 0.0], &[0, 1, 2, 3]).unwrap()[3] > 0.1,
        "what is unknown is tried"
    );
    let mut rng = Rng::new(9);
    for _ in 0..100 {
        let choice = bandit.choose(&[1.0, 0.0], &[3, 0], rng.uniform()).unwrap();
        assert!([0, 3].contains(&choice.action));
    }
    let certain = bandit.choose(&[1.0, 0.0], &[2], 0.99).unwrap();
    assert_eq!((certain.action, certain.propensity), (2, 1.0));
}

#[test]
fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let mut bandit = made(Algorithm::LogisticThompson { width: 1.0 });
    bandit.learn(&[1.0, 2.0], 0, 1.0).unwrap();
    let before = bandit.clone();
    let refused = |error: flywheel_base::Error, says: &str| {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(says), "{error}");
    };
    refused(bandit.learn(&[1.0, f64::NAN], 0, 1.0).unwrap_err(), "position 1");
    refused(bandit.learn(&[1.0, 1e9], 0, 1.0).unwrap_err(), "position 1");
    refused(bandit.learn(&[1.0], 0, 1.0).unwrap_err(), "1 features where");
    refused(bandit.learn(&[1.0, 2.0], 7, 1.0).unwrap_err(), "action 7");
    refused(bandit.learn(&[1.0, 2.0], 0, -0.5).unwrap_err(), "-0.5");
    refused(bandit.learn(&[1.0, 2.0], 0, f64::NAN).unwrap_err(), "NaN");
    refused(bandit.choose(&[1.0, 2.0], &[], 0.5).unwrap_err(), "no action");
    refused(bandit.choose(&[1.0, 2.0], &[1, 1], 0.5).unwrap_err(), "twice");
    refused(bandit.choose(&[1.0, 2.0], &[0], 1.0).unwrap_err(), "draw");
    assert_eq!(bandit, before);
    let new = |options: Options| Bandit::new(2, 0, options).unwrap_err();
    refused(new(Options::new(Algorithm::EpsilonGreedy)), "explore");
    refused(new(Options::new(Algorithm::LinUcb { width: f64::NAN })), "width");
    refused(new(Options { ridge: 0.0, ..Options::new(Algorithm::BetaThompson) }), "ridge");
    let options = Options::new(Algorithm::BetaThompson);
    refused(new(Options { half_life_rewards: Some(0.5), ..options }), "half_life_rewards");
    refused(Bandit::new(2, 1, options).unwrap_err(), "beta-thompson");
    refused(Bandit::new(0, 0, options).unwrap_err(), "0 actions");
    refused(
        Bandit::new(900, 512, Options::new(Algorithm::LinUcb { width: 1.0 })).unwrap_err(),
        "900 actions",
    );
}
