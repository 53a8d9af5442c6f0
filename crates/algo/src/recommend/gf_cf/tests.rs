//! What GF-CF promises: answers from the crowd of a history, what each filter adds, and refusals by name.

use flywheel_base::{ErrorKind, Rng};

use super::super::interactions::Interaction;
use super::super::sparse::best;
use super::*;

/// Two crowds with thirty items each; everybody takes eight of their own crowd's.
fn crowds() -> Interactions {
    let mut rng = Rng::new(11);
    let mut events = Vec::new();
    for user in 0..80_u32 {
        for _ in 0..8 {
            let item = 30 * (user % 2) + rng.below(30) as u32;
            events.push(Interaction { user, item, weight: 1.0, at: None });
        }
    }
    Interactions::new(80, 61, events).unwrap()
}

fn history(items: &[u32]) -> UserHistory {
    let mut history = UserHistory::empty(None);
    items.iter().for_each(|item| history.push(*item, 1.0, None));
    history
}

#[test]
fn a_history_is_answered_with_the_items_of_its_crowd_and_a_reason() {
    let model = GfCf::fit(&crowds(), &Options { factors: 2, ..Options::default() }).unwrap();
    let person = history(&[1, 2, 5]);
    let list = best(model.score(&person), 10);
    assert!(list.len() == 10 && list.iter().all(|scored| scored.item < 30), "{list:?}");
    assert!(model.because(&person, list[0].item).is_some_and(|item| [1, 2, 5].contains(&item)));
    assert!(model.score(&history(&[60])).is_empty(), "an item nobody has is no evidence");
}

#[test]
fn the_low_pass_filter_adds_what_the_linear_one_cannot_tell() {
    let weight = |low_pass| {
        let options = Options { low_pass, factors: 2, ..Options::default() };
        GfCf::fit(&crowds(), &options).unwrap().weight(0, 1)
    };
    // (VVᵀ)ᵢⱼ of two crowds is positive within a crowd, so more of it is more weight.
    assert!(weight(1.0) > weight(0.3) && weight(0.3) > weight(0.0));
}

#[test]
fn a_smaller_beta_lets_the_popular_come_forward() {
    // Item 0 goes with item 1, which six people have, and as often with item 2, which nobody else has.
    let pairs = [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)];
    let event = |(user, item)| Interaction { user, item, weight: 1.0, at: None };
    let data = Interactions::new(7, 3, pairs.map(event)).unwrap();
    let ratio = |beta| {
        let options = Options { beta, low_pass: 0.0, ..Options::default() };
        let model = GfCf::fit(&data, &options).unwrap();
        f64::from(model.weight(0, 2) / model.weight(0, 1))
    };
    for beta in [0.0, 0.3, 0.5, 1.0] {
        assert!((ratio(beta) - 6.0_f64.powf(beta)).abs() < 1e-5, "{beta}");
    }
}

#[test]
fn other_seeds_and_more_sweeps_find_the_same_directions() {
    let weights = |seed, sweeps| {
        let options = Options { seed, sweeps, factors: 8, ..Options::default() };
        let model = GfCf::fit(&crowds(), &options).unwrap();
        (0..60).map(|item| f64::from(model.weight(3, item))).collect::<Vec<_>>()
    };
    let first = weights(0, 30);
    for other in [weights(1, 30), weights(2, 60)] {
        assert!(first.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-4), "{first:?} {other:?}");
    }
}

#[test]
fn only_the_strongest_weights_are_kept() {
    let kept = |kept_per_item| {
        GfCf::fit(&crowds(), &Options { kept_per_item, ..Options::default() }).unwrap()
    };
    let (all, few) = (kept(61), kept(5));
    let row = |model: &GfCf| (0..61).filter(|item| model.weight(4, *item) != 0.0).count();
    assert!(row(&all) > 5 && row(&few) == 5);
    let strongest = (0..61).map(|item| all.weight(4, item).abs()).fold(0.0, f32::max);
    assert!((0..61).any(|item| few.weight(4, item).abs() == strongest));
}

#[test]
fn senseless_options_are_refused_by_name() {
    for (options, word) in [
        (Options { factors: 0, ..Options::default() }, "factors"),
        (Options { factors: FACTORS_MAX + 1, ..Options::default() }, "factors"),
        (Options { sweeps: 0, ..Options::default() }, "sweeps"),
        (Options { beta: f64::NAN, ..Options::default() }, "beta"),
        (Options { beta: 1.1, ..Options::default() }, "beta"),
        (Options { low_pass: f64::NAN, ..Options::default() }, "low_pass"),
        (Options { low_pass: -1.0, ..Options::default() }, "low_pass"),
        (Options { kept_per_item: 0, ..Options::default() }, "kept_per_item"),
    ] {
        let error = GfCf::fit(&crowds(), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(word) && error.hint_text().is_some(), "{error}");
    }
}

#[test]
fn a_catalogue_that_takes_too_much_memory_is_refused_before_any_is_taken() {
    let data = Interactions::new(1, 300_000, []).unwrap();
    let error = GfCf::fit(&data, &Options { factors: 1024, ..Options::default() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("666")));
    let data = Interactions::new(1, 400_001, []).unwrap();
    assert_eq!(GfCf::fit(&data, &Options::default()).unwrap_err().kind(), ErrorKind::Exhausted);
}
