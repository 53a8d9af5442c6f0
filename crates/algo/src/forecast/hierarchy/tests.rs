//! Against hierarchicalforecast, and what must hold of any answer.

use serde_json::Value;

use super::*;

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../../tests/parity/hierarchy.json")).unwrap()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn series(paths: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
    paths.iter().map(|(name, path)| ((*name).to_owned(), labels(path))).collect()
}

/// A total, two categories and five items, as in the parity file.
fn shop() -> Hierarchy {
    let paths =
        series(&[("1", &["a"]), ("2", &["a"]), ("3", &["b"]), ("4", &["b"]), ("5", &["b"])]);
    Hierarchy::new(&["category".to_owned()], &paths).unwrap()
}

fn steps(forecast: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let step = |step: usize| forecast.iter().map(|row| row[step]).collect();
    (0..forecast[0].len()).map(step).collect()
}

fn coherent(hierarchy: &Hierarchy, values: &[f64]) {
    let size = values.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
    for gap in hierarchy.gaps(values) {
        assert!(gap.abs() <= 1e-9 * size, "{gap} of {size}");
    }
}

#[test]
fn every_method_says_what_the_package_says() {
    let (file, hierarchy) = (parity(), shop());
    let groups: Vec<Vec<usize>> = serde_json::from_value(file["groups"].clone()).unwrap();
    assert_eq!(hierarchy.groups, groups);
    let (errors, actual) = (rows(&file["residuals"]), rows(&file["actual"]));
    let forecast = steps(&rows(&file["forecast"]));
    let shrinkage = file["shrinkage"].as_f64().unwrap();
    assert!((Shrunk::of(&errors).shrinkage - shrinkage).abs() < 1e-9);
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), Method::ALL.len());
    for (method, case) in Method::ALL.into_iter().zip(cases) {
        assert_eq!(case["method"], method.name());
        let reconciler = hierarchy.reconciler(method, &errors, &actual).unwrap();
        for (step, wanted) in forecast.iter().zip(steps(&rows(&case["mean"]))) {
            for (ours, theirs) in reconciler.apply(step, false).iter().zip(wanted) {
                assert!((ours - theirs).abs() < 1e-6, "{}: {ours} {theirs}", method.name());
            }
        }
    }
}

#[test]
fn whatever_is_given_adds_up_and_what_adds_up_stays() {
    let paths = series(&[
        ("1", &["a", "a1"]),
        ("2", &["a", "a2"]),
        ("3", &["b", "b1"]),
        ("4", &["b", "b1"]),
        ("5", &["c", "c1"]),
        ("6", &["a", "a2"]),
    ]);
    let levels = ["region".to_owned(), "shop".to_owned()];
    let hierarchy = Hierarchy::new(&levels, &paths).unwrap();
    let mut rng = flywheel_base::Rng::new(11);
    let count = hierarchy.nodes.len();
    let mut draw =
        |length: usize| -> Vec<f64> { (0..length).map(|_| 40.0 * (rng.uniform() - 0.3)).collect() };
    let errors: Vec<Vec<f64>> = (0..count).map(|_| draw(9)).collect();
    let actual = errors.clone();
    for round in 0..50 {
        let base = draw(count);
        let adding_up = hierarchy.sums(&draw(6));
        for method in Method::ALL {
            let reconciler = hierarchy.reconciler(method, &errors, &actual).unwrap();
            let free = reconciler.apply(&base, false);
            coherent(&hierarchy, &free);
            let held = reconciler.apply(&base, true);
            coherent(&hierarchy, &held);
            assert!(held.iter().all(|value| *value >= 0.0), "{round} {}", method.name());
            if method != Method::TopDownAverage {
                let same = reconciler.apply(&adding_up, false);
                for (a, b) in same.iter().zip(&adding_up) {
                    assert!((a - b).abs() < 1e-8, "{}: {a} {b}", method.name());
                }
            }
        }
    }
}

#[test]
fn series_of_zeros_and_a_single_series_are_reconciled() {
    let hierarchy = shop();
    let zeros = vec![vec![0.0; 4]; 8];
    for method in Method::ALL {
        let reconciler = hierarchy.reconciler(method, &zeros, &zeros).unwrap();
        let made = reconciler.apply(&[0.0; 8], true);
        assert_eq!(made, [0.0; 8], "{}", method.name());
        let made = reconciler.apply(&[10.0, 4.0, 6.0, 2.0, 2.0, 2.0, 2.0, 2.0], true);
        coherent(&hierarchy, &made);
        assert!(made.iter().all(|value| value.is_finite()));
    }
    let alone = Hierarchy::new(&[], &series(&[("only", &[])])).unwrap();
    let two = vec![vec![1.0, -1.0]; 2];
    for method in Method::ALL {
        let made = alone.reconciler(method, &two, &two).unwrap().apply(&[3.0, 5.0], true);
        assert!(made[0] == made[1] && made[0] >= 3.0 - 1e-9 && made[0] <= 5.0 + 1e-9);
    }
}

#[test]
fn a_group_in_two_groups_is_refused_with_both() {
    let paths = series(&[("1", &["a", "x"]), ("2", &["b", "x"])]);
    let error = Hierarchy::new(&["region".to_owned(), "shop".to_owned()], &paths).unwrap_err();
    assert!(error.message().contains("shop \"x\" lies in two values of region: \"a\" and \"b\""));
    let error = Hierarchy::new(&["region".to_owned()], &[]).unwrap_err();
    assert!(error.message().contains("no series"));
    let error = Hierarchy::new(&["region".to_owned()], &series(&[("1", &[])])).unwrap_err();
    assert!(error.message().contains("0 labels"));
}

#[test]
fn methods_that_need_a_past_say_so() {
    let hierarchy = shop();
    for (method, rows) in [
        (Method::Mint, vec![vec![1.0]; 8]),
        (Method::Mint, vec![vec![1.0, 2.0]; 7]),
        (Method::WlsVariance, Vec::new()),
        (Method::WlsVariance, vec![vec![f64::NAN]; 8]),
        (Method::TopDownAverage, Vec::new()),
    ] {
        assert!(hierarchy.reconciler(method, &rows, &rows).is_err(), "{}", method.name());
    }
}
