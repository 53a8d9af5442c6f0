//! The linear recommenders beside scipy, numpy and implicit, and half a sweep of iALS beside implicit.

use serde_json::Value as Json;

use super::super::super::ials::{self, Ials};
use super::*;

/// Half a sweep of alternating least squares from given factors.
#[derive(Deserialize)]
pub(super) struct HalfSweep {
    cells: Vec<(u32, u32, f64)>,
    users: usize,
    items: usize,
    factors: usize,
    penalty: f64,
    confidence: f64,
    fixed: Vec<f32>,
    start: Vec<f32>,
    stepped: Vec<f32>,
    exact: Vec<f32>,
}

/// Fits with the case's options and compares weights of single items and scores of all users.
fn compare(name: &str, case: &LinearCase, more: &Json) {
    let data = matrix(&case.cells, case.users, case.items);
    let mut options = Json::Object(case.parameters.clone());
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    let model = fit(name, &Training::new(&data), &options).unwrap();
    for (owned, row) in case.weights.iter().enumerate() {
        let mut history = UserHistory::empty(None);
        history.push(owned as u32, 1.0, None);
        compare_dense(&model.score(&history), row);
    }
    for (user, row) in case.scores.iter().enumerate() {
        compare_dense(&model.score(&data.history(user, None)), row);
    }
}

fn compare_dense(ours: &[Scored], theirs: &[f64]) {
    let mut dense = vec![0.0; theirs.len()];
    ours.iter().for_each(|scored| dense[scored.item as usize] = scored.score);
    dense.iter().zip(theirs).for_each(|(a, b)| near(*a, *b, 1e-4 * b.abs().max(1.0)));
}

#[test]
fn gf_cf_agrees_with_the_full_svd_of_numpy() {
    for case in reference().gf_cf {
        compare("gf-cf", &case, &json!({"sweeps": 100}));
    }
}

#[test]
fn rp3beta_agrees_with_scipy() {
    for case in reference().rp3beta {
        compare("rp3beta", &case, &json!({}));
    }
}

#[test]
fn bm25_neighbours_agree_with_implicit() {
    for case in reference().bm25 {
        compare("item-neighbours", &case, &json!({"weighting": "bm25"}));
    }
}

#[test]
fn half_a_sweep_of_ials_agrees_with_implicit() {
    for case in reference().ials {
        let HalfSweep { factors, penalty, confidence, .. } = case;
        let options = ials::Options {
            value: Value::Weight,
            ..ials::Options::compat(factors, penalty, confidence)
        };
        let data = matrix(&case.cells, case.users, case.items);
        let stepped = ials::half_sweep(&data, &options, &case.start, &case.fixed);
        let model = Ials::new(options, 1.0, case.fixed);
        for (ours, theirs) in stepped.iter().zip(&case.stepped) {
            near(f64::from(*ours), f64::from(*theirs), 2e-4);
        }
        for (user, theirs) in case.exact.chunks(factors).enumerate() {
            let ours = model.fold_in(&data.history(user, None));
            ours.iter().zip(theirs).for_each(|(a, b)| near(f64::from(*a), f64::from(*b), 1e-3));
        }
    }
}
