//! Parity with scikit-learn, numpy, scipy and implicit: `tests/parity/recommend.json`, made by `make_recommend.py`.

use std::path::Path;

use serde::Deserialize;

use super::super::ease::{self, Ease};
use super::super::neighbours::items::{self, ItemNeighbours, Weighting};
use super::super::neighbours::users::{self, UserNeighbours};
use super::super::neighbours::{Missing, Value};
use super::super::nmf::{self, Nmf};
use super::super::tfidf::{self, Tfidf};
use super::*;

mod linear;

#[derive(Deserialize)]
struct Reference {
    tfidf: Vec<TextCase>,
    users: Vec<UserCase>,
    nmf: Vec<FactorCase>,
    ease: Vec<EaseCase>,
    gf_cf: Vec<LinearCase>,
    rp3beta: Vec<LinearCase>,
    bm25: Vec<LinearCase>,
    ials: Vec<linear::HalfSweep>,
}

/// Item × item weights, what they make of every user, and the options behind them.
#[derive(Deserialize)]
struct LinearCase {
    cells: Vec<(u32, u32, f64)>,
    users: usize,
    items: usize,
    weights: Vec<Vec<f64>>,
    scores: Vec<Vec<f64>>,
    #[serde(flatten)]
    parameters: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct TextCase {
    texts: Vec<String>,
    stop_words: bool,
    terms: Vec<String>,
    rarity: Vec<f64>,
    similarity: Vec<Vec<f64>>,
    compat: Option<Vec<Vec<u32>>>,
}

#[derive(Deserialize)]
struct UserCase {
    cells: Vec<(u32, u32, f64)>,
    users: usize,
    items: usize,
    count: usize,
    similarity: Vec<Vec<f64>>,
    item_similarity: Vec<Vec<f64>>,
    new: Vec<Vec<(u32, f64)>>,
}

#[derive(Deserialize)]
struct FactorCase {
    cells: Vec<(u32, u32, f64)>,
    users: usize,
    items: usize,
    rank: usize,
    error: f64,
    predicted: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct EaseCase {
    cells: Vec<(u32, u32, f64)>,
    users: usize,
    items: usize,
    penalty: f64,
    coefficients: Vec<Vec<f64>>,
    scores: Vec<Vec<f64>>,
}

fn reference() -> Reference {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/recommend.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn matrix(cells: &[(u32, u32, f64)], users: usize, items: usize) -> Interactions {
    let event = |(user, item, weight): &(u32, u32, f64)| Interaction {
        user: *user,
        item: *item,
        weight: *weight,
        at: None,
    };
    Interactions::new(users, items, cells.iter().map(event)).unwrap()
}

fn near(ours: f64, theirs: f64, tolerance: f64) {
    assert!((ours - theirs).abs() <= tolerance, "ours {ours}, reference {theirs}");
}

#[test]
fn tfidf_agrees_with_scikit_learn() {
    for case in reference().tfidf {
        let options = tfidf::Options { stop_words: case.stop_words, ..tfidf::Options::default() };
        let model = Tfidf::fit(&case.texts, &options).unwrap();
        assert_eq!(model.terms(), case.terms);
        model.rarity().iter().zip(&case.rarity).for_each(|(a, b)| near(*a, *b, 1e-9));
        for (item, row) in case.similarity.iter().enumerate() {
            let ours = model.similarities(item as u32);
            ours.iter().zip(row).for_each(|(a, b)| near(*a, *b, 1e-9));
        }
        for (item, list) in case.compat.iter().flatten().enumerate() {
            let ours: Vec<u32> =
                model.neighbours_compat(item as u32, 2).iter().map(|s| s.item).collect();
            assert_eq!(&ours, list);
        }
    }
}

#[test]
fn cosines_and_textbook_predictions_agree_with_scikit_learn() {
    for case in reference().users {
        let data = matrix(&case.cells, case.users, case.items);
        let model = UserNeighbours::fit(&data, &users::Options::compat(case.count)).unwrap();
        let options = items::Options {
            weighting: Weighting::Cosine,
            value: Value::Weight,
            missing: Missing::Zero,
            ..items::Options::default()
        };
        let item_model = ItemNeighbours::fit(&data, &options).unwrap();
        for user in 0..case.users {
            let history = data.history(user, None);
            for (other, similarity) in model.similarities(&history) {
                near(similarity, case.similarity[user][other as usize], 1e-9);
            }
            compare_lists(&model, &history, &case.new[user]);
        }
        for (item, row) in case.item_similarity.iter().enumerate() {
            for (other, theirs) in row.iter().enumerate().filter(|(other, _)| *other != item) {
                near(f64::from(item_model.similarity(item as u32, other as u32)), *theirs, 1e-6);
            }
        }
    }
}

fn compare_lists(model: &UserNeighbours, history: &UserHistory, theirs: &[(u32, f64)]) {
    let mut ours = model.score(history);
    ours.retain(|scored| !history.owns(scored.item));
    let ours: Vec<(u32, f64)> = ours.iter().map(|s| (s.item, s.score)).collect();
    assert_eq!(ours.len(), theirs.len(), "{ours:?} {theirs:?}");
    for ((item, score), (other, expected)) in ours.iter().zip(theirs) {
        assert_eq!(item, other);
        near(*score, *expected, 1e-9);
    }
}

#[test]
fn nmf_reaches_the_optimum_of_scikit_learn() {
    for case in reference().nmf {
        let data = matrix(&case.cells, case.users, case.items);
        let fits: Vec<_> = (0..20)
            .map(|seed| {
                let options = nmf::Options { seed, ..nmf::Options::compat(case.rank) };
                Nmf::fit(&data, &options).unwrap()
            })
            .collect();
        let (model, fitted) = fits.iter().min_by(|a, b| a.1.error.total_cmp(&b.1.error)).unwrap();
        near(fitted.error, case.error, 1e-6);
        for (user, row) in case.predicted.iter().enumerate() {
            let factor = &fitted.users[user * case.rank..(user + 1) * case.rank];
            for (item, theirs) in row.iter().enumerate() {
                near(model.predict(factor, item as u32), *theirs, 1e-3);
            }
        }
    }
}

#[test]
fn ease_agrees_with_numpy() {
    for case in reference().ease {
        let data = matrix(&case.cells, case.users, case.items);
        let options = ease::Options { penalty: case.penalty, ..ease::Options::default() };
        let model = Ease::fit(&data, &options).unwrap();
        for (owned, row) in case.coefficients.iter().enumerate() {
            for (item, theirs) in row.iter().enumerate() {
                near(f64::from(model.coefficient(owned as u32, item as u32)), *theirs, 1e-4);
            }
        }
        for (user, row) in case.scores.iter().enumerate() {
            for scored in model.score(&data.history(user, None)) {
                near(scored.score, row[scored.item as usize], 1e-4);
            }
        }
    }
}
