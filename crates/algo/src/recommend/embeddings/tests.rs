//! Who stands where. The cosine is small enough to be checked by hand, and by scikit-learn's definition of it: the inner
//! product of two vectors over the product of their lengths.

use flywheel_base::ErrorKind;

use super::super::interactions::Interactions;
use super::super::sparse::best;
use super::*;

const DAY: i64 = 86_400_000_000;

fn model(vectors: &[Vec<f32>], options: &Options) -> Result<Embeddings> {
    let nothing = Interactions::new(0, vectors.len(), []).unwrap();
    Embeddings::fit(&Training { vectors: Some(vectors), ..Training::new(&nothing) }, options)
}

/// Item 4 is as long as it is far; 5 has none.
fn shelf() -> Vec<Vec<f32>> {
    vec![vec![1.0, 0.0], vec![3.0, 1.0], vec![0.0, 2.0], vec![-1.0, 0.2], vec![50.0, 50.0], vec![]]
}

#[test]
fn the_nearest_direction_comes_first_however_long_it_is() {
    let model = model(&shelf(), &Options::default()).unwrap();
    let mut history = UserHistory::empty(None);
    history.push(0, 1.0, None);
    let found = best(model.score(&history), 9);
    let expected =
        [(0, 1.0), (1, 3.0 / 10_f64.sqrt()), (4, 0.5_f64.sqrt()), (3, -1.0 / 1.04_f64.sqrt())];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (scored, (item, score)) in found.iter().zip(expected) {
        assert!(scored.item == item && (scored.score - score).abs() < 1e-6, "{scored:?}");
    }
    assert_eq!((model.because(&history, 1), model.because(&history, 3)), (Some(0), None));
    history.push(2, 1.0, None);
    assert_eq!(best(model.score(&history), 1)[0].item, 4, "between the two that are owned");
}

#[test]
fn what_is_long_ago_counts_for_less() {
    let near = |half_life_days| {
        let model = model(&shelf(), &Options { half_life_days }).unwrap();
        let mut history = UserHistory::empty(Some(100 * DAY));
        history.push(2, 1.0, Some(0));
        history.push(0, 1.0, Some(100 * DAY));
        model.score(&history).iter().find(|scored| scored.item == 0).unwrap().score
    };
    assert!((near(None) - 0.5_f64.sqrt()).abs() < 1e-6);
    // 2^-2 is left of the older one.
    assert!((near(Some(50.0)) - 1.0 / (1.0_f64 + 0.0625).sqrt()).abs() < 1e-6);
}

#[test]
fn an_item_without_an_embedding_is_no_evidence() {
    let model = model(&shelf(), &Options::default()).unwrap();
    let mut history = UserHistory::empty(None);
    assert!(model.score(&history).is_empty());
    history.push(5, 1.0, None);
    history.push(77, 1.0, None);
    assert!(model.score(&history).is_empty());
    assert_eq!(model.because(&history, 1), None);
}

#[test]
fn vectors_that_do_not_fit_are_refused_with_the_item() {
    let refused = |vectors: &[Vec<f32>], options: &Options, word: &str| {
        let error = model(vectors, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(word) && error.hint_text().is_some(), "{error}");
    };
    let plain = Options::default();
    refused(&[vec![], vec![]], &plain, "no item has an embedding");
    refused(&[vec![1.0, 2.0], vec![1.0]], &plain, "item 1 has 1 numbers");
    refused(&[vec![1.0], vec![f32::NAN]], &plain, "item 1 holds no number");
    refused(&[vec![1.0]], &Options { half_life_days: Some(0.0) }, "half_life_days");
    // A vector of zeros points nowhere, which is no mistake.
    assert_eq!(model(&[vec![1.0], vec![0.0]], &plain).unwrap().item(1), [0.0]);
}
