//! Against scikit-learn, on groups with a known truth, and what bad units come to.

use flywheel_base::{ErrorKind, Rng};
use serde_json::Value;

use super::*;

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("u{at}")).collect()
}

/// 3,000 units of two features, of whom 600 belong to two small groups that lie apart, and half of those are seeds.
fn town(seed: u64) -> (Vec<f64>, Vec<bool>, Vec<bool>) {
    let mut rng = Rng::stream(seed, "town");
    let (mut features, mut seeds, mut belongs) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..3_000 {
        let belonging = at % 5 == 0;
        let centre = if rng.chance(0.5) { 2.0 } else { -2.0 };
        let (x, y) = match belonging {
            true => (centre + 0.4 * rng.normal(), centre + 0.4 * rng.normal()),
            false => (1.8 * rng.normal(), 1.8 * rng.normal()),
        };
        features.extend([if at % 50 == 7 { f64::NAN } else { x }, 100.0 * y]);
        belongs.push(belonging);
        seeds.push(belonging && rng.chance(0.5));
    }
    (features, seeds, belongs)
}

#[test]
fn distances_to_the_nearest_seeds_are_scikit_learns() {
    let parity: Value =
        serde_json::from_str(include_str!("../../../../tests/parity/lookalike.json")).unwrap();
    let numbers = |key: &str| -> Vec<f64> {
        parity[key].as_array().unwrap().iter().map(|cell| cell.as_f64().unwrap()).collect()
    };
    let (features, targets) = (numbers("features"), numbers("seeds"));
    let fit = Nearest::fit(&Examples { features: &features, width: 4, targets: &targets });
    for (row, theirs) in features.chunks_exact(4).zip(numbers("distances")) {
        let ours = fit.score(row).recip() - 1.0;
        assert!((ours - theirs).abs() < 1e-9, "{ours} is not {theirs}");
    }
    for (row, theirs) in features.chunks_exact(4).zip(numbers("to_mean")) {
        let ours = fit.mean().score(row).recip() - 1.0;
        assert!((ours - theirs).abs() < 1e-9, "{ours} is not {theirs}");
    }
}

#[test]
fn held_back_seeds_tell_what_a_list_is_worth_and_which_method_makes_it() {
    let (features, seeds, belongs) = town(1);
    let ids = ids(seeds.len());
    let units = Units { ids: &ids, features: &features, width: 2, seeds: &seeds };
    let made = rank(&units, None).unwrap();
    // Two groups on both sides of the mean: no weight for a column tells them, and the mean seed lies among strangers.
    assert_ne!(made.method, Method::Logistic);
    let judged = made.judged.clone().unwrap();
    assert!(judged.auc.low > 0.7, "{judged:?}");
    let [five, ten, twenty] = judged.tops[..] else { panic!("{judged:?}") };
    assert!(five.recall.low > 2.0 * five.share, "better than chance: {five:?}");
    assert!(ten.recall.low > ten.by_distance, "better than the mean seed: {ten:?}");
    assert!(
        five.recall.estimate <= ten.recall.estimate
            && ten.recall.estimate <= twenty.recall.estimate
    );
    // What the held-back seeds say is true of the members whom nobody named.
    let others: Vec<usize> = (0..seeds.len()).filter(|row| !seeds[*row]).collect();
    let mut order = others.clone();
    order.sort_by(|a, b| made.scores[*b].total_cmp(&made.scores[*a]));
    let most = others.len() / 10;
    let hidden = others.iter().filter(|row| belongs[**row]).count() as f64;
    let reached = order[..most].iter().filter(|row| belongs[**row]).count() as f64 / hidden;
    assert!((reached - ten.recall.estimate).abs() < 0.1, "{reached} beside {ten:?}");
}

#[test]
fn chance_alone_is_told_as_chance() {
    let mut rng = Rng::new(4);
    let count = 2_000;
    let features: Vec<f64> = (0..count * 3).map(|_| rng.normal()).collect();
    let seeds: Vec<bool> = (0..count).map(|_| rng.chance(0.2)).collect();
    let ids = ids(count);
    let units = Units { ids: &ids, features: &features, width: 3, seeds: &seeds };
    for method in Method::ALL {
        let judged = rank(&units, Some(method)).unwrap().judged.unwrap();
        assert!(judged.auc.low < 0.5 && judged.auc.high > 0.45, "{method:?}: {judged:?}");
        let ten = judged.tops[1];
        assert!(ten.recall.low < 0.1 && ten.recall.high > 0.07, "{method:?}: {ten:?}");
    }
}

#[test]
fn the_order_of_units_changes_nothing() {
    let (features, seeds, _) = town(2);
    let ids = ids(seeds.len());
    let units = Units { ids: &ids, features: &features, width: 2, seeds: &seeds };
    let one = rank(&units, Some(Method::Nearest)).unwrap();
    let back: Vec<usize> = (0..ids.len()).rev().collect();
    let turned = Units {
        ids: &back.iter().map(|at| ids[*at].clone()).collect::<Vec<_>>(),
        features: &back.iter().flat_map(|at| units.row(*at).to_vec()).collect::<Vec<_>>(),
        width: 2,
        seeds: &back.iter().map(|at| seeds[*at]).collect::<Vec<_>>(),
    };
    let other = rank(&turned, Some(Method::Nearest)).unwrap();
    for (at, score) in back.iter().zip(&other.scores) {
        assert!((one.scores[*at] - score).abs() < 1e-12);
    }
}

#[test]
fn units_that_tell_nothing_are_ranked_alike_and_bad_ones_refused() {
    let ids = ids(40);
    let seeds: Vec<bool> = (0..40).map(|at| at < 20).collect();
    let flat = vec![3.0; 40];
    let units = Units { ids: &ids, features: &flat, width: 1, seeds: &seeds };
    for method in Method::ALL {
        let made = rank(&units, Some(method)).unwrap();
        assert!(made.scores.iter().all(|score| score.is_finite()), "{method:?}");
    }
    let unknown = vec![f64::NAN; 40];
    rank(&Units { features: &unknown, ..units }, None).unwrap();
    let refused = |units: Units<'_>, word: &str| {
        let error = rank(&units, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.report().contains(word), "{}", error.report());
    };
    let mut infinite = flat.clone();
    infinite[7] = f64::INFINITY;
    refused(Units { features: &infinite, ..units }, "unit \"u7\": feature 0 is infinite");
    refused(Units { seeds: &[true; 40], ..units }, "40 of 40 units are seeds");
    refused(Units { seeds: &[false; 40], ..units }, "0 of 40 units are seeds");
    refused(Units { width: 2, ..units }, "are no 40 units");
}
