//! Against scikit-learn, and what bad tables come to.

use flywheel_base::{ErrorKind, Rng};
use serde_json::Value;

use super::encode::{Encoder, Values};
use super::logistic::Logistic;
use super::quality::auc;
use super::trees::{Examples, Loss, Options, Trees, rounds};
use crate::stats::calibration::log_loss;

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../tests/parity/trees.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|cell| cell.as_f64().unwrap_or(f64::NAN)).collect()
}

fn table(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().flat_map(numbers).collect()
}

#[test]
fn trees_logistic_regression_and_measures_agree_with_scikit_learn() {
    let parity = parity();
    let (features, happened) = (table(&parity["features"]), numbers(&parity["happened"]));
    let options =
        Options { rounds: 20, learning_rate: 0.1, leaves_max: 6, leaf_rows_min: 20, ridge: 1.0 };
    for (loss, targets, theirs) in [
        (Loss::Logistic, &happened, numbers(&parity["chances"])),
        (Loss::Squared, &numbers(&parity["number"]), numbers(&parity["numbers"])),
    ] {
        let trees =
            Trees::fit(&Examples { features: &features, width: 4, targets }, loss, &options)
                .unwrap();
        for (row, theirs) in features.chunks_exact(4).zip(theirs) {
            let ours = trees.predict(row).unwrap();
            // Their derivatives have 32 bits.
            assert!((ours - theirs).abs() < 2e-5, "{loss:?} of {row:?}: {ours} is not {theirs}");
        }
    }
    let whole = table(&parity["whole"]);
    let fit =
        Logistic::fit(&Examples { features: &whole, width: 4, targets: &happened }, 1.0).unwrap();
    for (row, theirs) in whole.chunks_exact(4).zip(numbers(&parity["logistic"])) {
        assert!((fit.predict(row).unwrap() - theirs).abs() < 1e-6);
    }
    let chances = numbers(&parity["chances"]);
    let tied: Vec<f64> =
        chances.iter().map(|chance| (chance * 10.0).round_ties_even() / 10.0).collect();
    let ours = auc(&tied, &happened, 0.95).unwrap().unwrap();
    assert!((ours.estimate - parity["auc"].as_f64().unwrap()).abs() < 1e-12);
    assert!(ours.low < ours.estimate && ours.estimate < ours.high);
    let came_true: Vec<bool> = happened.iter().map(|target| *target > 0.5).collect();
    let lost = log_loss(&chances, &came_true).unwrap();
    assert!((lost - parity["log_loss"].as_f64().unwrap()).abs() < 1e-12);
}

#[test]
fn weighted_rows_agree_with_scikit_learn_and_weights_that_are_none_are_refused() {
    let parity = parity();
    let (features, whole) = (table(&parity["features"]), table(&parity["whole"]));
    let happened = numbers(&parity["happened"]);
    let weights = numbers(&parity["weighted"]["weights"]);
    let options =
        Options { rounds: 20, learning_rate: 0.1, leaves_max: 6, leaf_rows_min: 20, ridge: 1.0 };
    let examples = Examples { features: &features, width: 4, targets: &happened };
    let trees = Trees::fit_weighted(&examples, &weights, Loss::Logistic, &options).unwrap();
    for (row, theirs) in features.chunks_exact(4).zip(numbers(&parity["weighted"]["chances"])) {
        let ours = trees.predict(row).unwrap();
        assert!((ours - theirs).abs() < 2e-5, "{row:?}: {ours} is not {theirs}");
    }
    let complete = Examples { features: &whole, ..examples };
    let fit = Logistic::fit_weighted(&complete, &weights, 1.0).unwrap();
    for (row, theirs) in whole.chunks_exact(4).zip(numbers(&parity["weighted"]["logistic"])) {
        assert!((fit.predict(row).unwrap() - theirs).abs() < 1e-6);
    }
    let ones = vec![1.0; happened.len()];
    assert_eq!(
        Logistic::fit_weighted(&complete, &ones, 1.0).unwrap(),
        Logistic::fit(&complete, 1.0).unwrap()
    );
    let mut negative = ones.clone();
    negative[7] = -1.0;
    for wrong in [&ones[1..], &negative] {
        let error = Logistic::fit_weighted(&complete, wrong, 1.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(Trees::fit_weighted(&examples, wrong, Loss::Logistic, &options).is_err());
    }
}

/// Rows whose odds follow a threshold of the first column, and a second column of noise with holes.
fn world(count: usize) -> (Vec<f64>, Vec<f64>) {
    let mut rng = Rng::stream(3, "trees");
    let (mut features, mut targets) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (x, noise) = (rng.uniform(), rng.normal());
        features.extend([x, if rng.chance(0.2) { f64::NAN } else { noise }]);
        targets.push(f64::from(u8::from(rng.chance(if x > 0.7 { 0.8 } else { 0.1 }))));
    }
    (features, targets)
}

#[test]
fn the_same_trees_grow_on_any_number_of_processors_and_know_what_matters() {
    let (features, targets) = world(5_000);
    let examples = Examples { features: &features, width: 2, targets: &targets };
    let fit = || Trees::fit(&examples, Loss::Logistic, &Options::default()).unwrap();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let trees = fit();
    assert_eq!(one.install(fit), trees);
    assert!(trees.importance()[0] > 0.9, "{:?}", trees.importance());
    let high = trees.predict(&[0.9, f64::NAN]).unwrap();
    let low = trees.predict(&[0.2, 0.0]).unwrap();
    assert!((high - 0.8).abs() < 0.1 && (low - 0.1).abs() < 0.05, "{high} {low}");
    let moved = trees.contributions(&[0.9, 0.0]).unwrap();
    assert!(moved[0] > 1.0 && moved[1].abs() < 0.3, "{moved:?}");
    let found = rounds(&examples, Loss::Logistic, &Options::default(), 5).unwrap();
    assert!((20..200).contains(&found), "{found} trees, before they learn the noise by heart");
    let text = serde_json::to_string(&trees).unwrap();
    let read: Trees = serde_json::from_str(&text).unwrap();
    read.check().unwrap();
    assert_eq!(read, trees);
}

#[test]
fn a_missing_value_goes_where_rows_without_it_did_better() {
    // It happened exactly where the value is missing.
    let features: Vec<f64> =
        (0..200).map(|at| if at % 4 == 0 { f64::NAN } else { f64::from(at) }).collect();
    let targets: Vec<f64> = (0..200).map(|at| f64::from(u8::from(at % 4 == 0))).collect();
    let examples = Examples { features: &features, width: 1, targets: &targets };
    let trees = Trees::fit(&examples, Loss::Logistic, &Options::default()).unwrap();
    assert!(trees.predict(&[f64::NAN]).unwrap() > 0.95);
    assert!(trees.predict(&[50.0]).unwrap() < 0.05);
    assert!(trees.predict(&[1e300]).unwrap() < 0.05);
}

#[test]
fn tables_without_a_pattern_give_the_base_rate() {
    let options = Options::default();
    for (features, targets) in [
        (vec![1.0; 100], (0..100).map(|at| f64::from(u8::from(at < 30))).collect::<Vec<_>>()),
        (vec![f64::NAN; 10], vec![1.0; 10]),
        (vec![5.0], vec![0.0]),
    ] {
        let examples = Examples { features: &features, width: 1, targets: &targets };
        let rate = targets.iter().sum::<f64>() / targets.len() as f64;
        let trees = Trees::fit(&examples, Loss::Logistic, &options).unwrap();
        assert!((trees.predict(&[1.0]).unwrap() - rate).abs() < 0.01);
        let weights = Logistic::fit(&examples, 1.0).unwrap();
        assert!((weights.predict(&[1.0]).unwrap() - rate).abs() < 0.05, "{rate}");
        assert_eq!(trees.importance(), [0.0]);
    }
}

#[test]
fn what_cannot_be_learned_is_refused_by_row() {
    let says = |features: &[f64], width: usize, targets: &[f64], options: &Options, word: &str| {
        let examples = Examples { features, width, targets };
        let error = Trees::fit(&examples, Loss::Logistic, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(word) && error.hint_text().is_some(), "{error:?}");
    };
    let usual = Options::default();
    says(&[], 0, &[], &usual, "0 rows");
    says(&[1.0, 2.0, 3.0], 2, &[0.0, 1.0], &usual, "3 values");
    says(&[1.0, f64::INFINITY], 1, &[0.0, 1.0], &usual, "row 1, column 0");
    says(&[1.0, 2.0], 1, &[0.0, 0.5], &usual, "row 1");
    says(&[1.0, 2.0], 1, &[0.0, f64::NAN], &usual, "target");
    says(&[1.0], 1, &[0.0], &Options { leaves_max: 1, ..usual }, "leaves_max");
    says(&[1.0], 1, &[0.0], &Options { learning_rate: 0.0, ..usual }, "learning_rate");
    says(&[1.0], 1, &[0.0], &Options { ridge: f64::NAN, ..usual }, "ridge");
    let examples = Examples { features: &[1.0], width: 1, targets: &[0.0] };
    assert!(rounds(&examples, Loss::Logistic, &usual, 5).is_err());
    assert!(Logistic::fit(&examples, 0.0).is_err());
    let trees = Trees::fit(&examples, Loss::Logistic, &usual).unwrap();
    assert!(trees.predict(&[1.0, 2.0]).is_err());
    for poisoned in [
        r#"{"loss":"logistic","width":1,"base":0.0,"gains":[0.0],"trees":[{"nodes":[]}]}"#,
        r#"{"loss":"logistic","width":1,"base":0.0,"gains":[0.0],"trees":[{"nodes":[{"value":0.0,"split":{"column":0,"threshold":1.0,"missing_left":true,"left":0,"right":0}}]}]}"#,
        r#"{"loss":"logistic","width":1,"base":0.0,"gains":[0.0],"trees":[{"nodes":[{"value":0.0,"split":{"column":7,"threshold":1.0,"missing_left":true,"left":1,"right":1}},{"value":0.0}]}]}"#,
    ] {
        let read: Trees = serde_json::from_str(poisoned).unwrap();
        assert_eq!(read.check().unwrap_err().kind(), ErrorKind::Corrupt, "{poisoned}");
    }
}

#[test]
fn texts_become_columns_of_their_own_and_unknown_ones_none() {
    let text = |values: &[&str]| {
        let cell = |value: &&str| (!value.is_empty()).then(|| (*value).to_owned());
        Values::Texts(values.iter().map(cell).collect())
    };
    let plans = [
        "year", "month", "", "month", "month", "month", "month", "year", "year", "year", "year",
        "rare",
    ];
    let numbers: Vec<f64> = (0..12).map(f64::from).collect();
    let columns =
        [("plan".to_owned(), text(&plans)), ("tenure".to_owned(), Values::Numbers(numbers))];
    let encoder = Encoder::fit(&columns).unwrap();
    assert_eq!(encoder.names(), ["plan = month", "plan = year", "tenure"]);
    assert_eq!(encoder.column_of(), [0, 0, 1]);
    let rows = encoder.rows(&columns).unwrap();
    let expected = [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 2.0]];
    assert_eq!(rows[..9], expected.concat());
    assert_eq!(rows[33..], [0.0, 0.0, 11.0]);
    let other = [
        ("plan".to_owned(), text(&["week"])),
        ("tenure".to_owned(), Values::Numbers(vec![f64::NAN])),
    ];
    let rows = encoder.rows(&other).unwrap();
    assert!(rows[0] == 0.0 && rows[1] == 0.0 && rows[2].is_nan());
    assert!(encoder.rows(&other[..1]).is_err());
    let uneven = [("a".to_owned(), text(&["x"])), ("b".to_owned(), Values::Numbers(Vec::new()))];
    assert!(Encoder::fit(&uneven).unwrap_err().message().contains("\"b\""));
}

#[test]
fn measures_of_nothing_are_none_and_of_perfection_perfect() {
    assert_eq!(auc(&[], &[], 0.95).unwrap(), None);
    assert_eq!(auc(&[0.1, 0.2], &[1.0, 1.0], 0.95).unwrap(), None);
    assert_eq!(auc(&[0.9, 0.1], &[1.0, 0.0], 0.95).unwrap().unwrap().estimate, 1.0);
    assert!(auc(&[0.5], &[1.0, 0.0], 0.95).is_err());
    let mut rng = Rng::new(9);
    // Intervals hold the truth of 2/3 about as often as they say: scores uniform on [0, 1] and its square root.
    let (mut held, trials) = (0, 400);
    for _ in 0..trials {
        let (mut scores, mut targets) = (Vec::new(), Vec::new());
        for at in 0..200 {
            let yes = at % 2 == 0;
            let score = if yes { rng.uniform().sqrt() } else { rng.uniform() };
            scores.push(score);
            targets.push(f64::from(u8::from(yes)));
        }
        let found = auc(&scores, &targets, 0.95).unwrap().unwrap();
        held += u32::from(found.contains(2.0 / 3.0));
    }
    assert!((370..=392).contains(&held), "{held} of {trials}");
}

#[test]
fn trees_see_what_matters_only_together() {
    let mut rng = Rng::new(10);
    let (mut features, mut targets) = (Vec::new(), Vec::new());
    let mut ideal = Vec::new();
    for _ in 0..6_000 {
        let (plan, months) = (rng.below(3), rng.below(60) as f64);
        let early = plan == 0 && months < 20.0;
        let chance = if early { 0.9 } else { 0.03 };
        targets.push(f64::from(u8::from(rng.chance(chance))));
        features.extend([0, 1, 2].map(|one| f64::from(u8::from(plan == one))));
        features.push(months);
        ideal.push(chance);
    }
    let (learned, held) = (2_400, 2_400..6_000);
    let examples =
        Examples { features: &features[..4 * learned], width: 4, targets: &targets[..learned] };
    let most = Options { rounds: 1_000, ..Options::default() };
    let count = rounds(&examples, Loss::Logistic, &most, 5).unwrap();
    let trees = Trees::fit(&examples, Loss::Logistic, &Options { rounds: count, ..most }).unwrap();
    let plain = Logistic::fit(&examples, 1.0).unwrap();
    let rows = || features.chunks_exact(4).skip(learned);
    let of =
        |scores: Vec<f64>| auc(&scores, &targets[held.clone()], 0.95).unwrap().unwrap().estimate;
    let best = of(ideal[held.clone()].to_vec());
    let ours = of(rows().map(|row| trees.predict(row).unwrap()).collect());
    let theirs = of(rows().map(|row| plain.predict(row).unwrap()).collect());
    assert!(ours > best - 0.02, "{count} trees reach {ours} of {best}, a line {theirs}");
}
