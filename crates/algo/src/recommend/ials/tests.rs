//! What iALS promises: histories folded in with reasons, a loss that falls, and refusals by name.

use flywheel_base::{ErrorKind, Rng};

use super::super::interactions::Interaction;
use super::super::sparse::best;
use super::*;

/// Two crowds with thirty items each; everybody takes ten of their own crowd's; nobody has item 60.
fn crowds() -> Interactions {
    let mut rng = Rng::new(12);
    let mut events = Vec::new();
    for user in 0..90_u32 {
        for _ in 0..10 {
            let item = 30 * (user % 2) + rng.below(30) as u32;
            let weight = 1.0 + rng.below(4) as f64;
            events.push(Interaction { user, item, weight, at: None });
        }
    }
    Interactions::new(90, 61, events).unwrap()
}

fn small() -> Options {
    Options { factors: 8, ..Options::default() }
}

fn history(items: &[u32]) -> UserHistory {
    let mut history = UserHistory::empty(None);
    items.iter().for_each(|item| history.push(*item, 1.0, None));
    history
}

#[test]
fn a_history_is_folded_in_and_the_next_event_changes_the_answer() {
    let model = Ials::fit(&crowds(), &small()).unwrap();
    assert!(model.score(&history(&[])).is_empty() && model.score(&history(&[60])).is_empty());
    let first = |items: &[u32]| best(model.score(&history(items)), 5);
    assert!(first(&[1, 2]).iter().all(|scored| scored.item < 30));
    assert!(first(&[31, 42]).iter().all(|scored| (30..60).contains(&scored.item)));
    assert_ne!(first(&[1, 2]), first(&[1, 2, 9]));
    assert!(model.score(&history(&[1])).iter().all(|scored| scored.item != 60));
}

#[test]
fn the_parts_of_the_history_add_up_to_the_score_and_the_largest_is_the_reason() {
    let model = Ials::fit(&crowds(), &small()).unwrap();
    let person = history(&[1, 2, 40]);
    let person_numbers = model.fold_in(&person);
    let mut turned = vec![0.0; 8];
    model.row(&person).descend(model.item(7), &mut turned, 200, 1e-7);
    let parts: Vec<f32> = [1, 2, 40].map(|owned| 10.0 * dot(model.item(owned), &turned)).to_vec();
    let score = dot(model.item(7), &person_numbers);
    assert!((parts.iter().sum::<f32>() - score).abs() < 1e-3, "{parts:?} {score}");
    let largest = if parts[0] >= parts[1] { 1 } else { 2 };
    assert_eq!(model.because(&person, 7), Some(largest));
    assert_eq!((model.because(&person, 900), model.because(&history(&[7]), 7)), (None, None));
}

#[test]
fn the_loss_falls_with_every_sweep() {
    let data = crowds();
    let loss = |sweeps| {
        let options = Options { sweeps, value: Value::Weight, ..small() };
        let model = Ials::fit(&data, &options).unwrap();
        let mut sum = f64::from(model.items.iter().map(|number| number * number).sum::<f32>());
        for user in 0..data.user_count() {
            let person = model.fold_in(&data.history(user, None));
            sum += f64::from(dot(&person, &person));
            let owned: Vec<(u32, f64)> =
                data.cells(user).map(|cell| (cell.item, 10.0 * cell.weight)).collect();
            for item in 0..61 {
                let predicted = f64::from(dot(model.item(item), &person));
                sum += match owned.iter().find(|(own, _)| *own == item) {
                    Some((_, confidence)) => confidence * (1.0 - predicted).powi(2),
                    None => predicted.powi(2),
                };
            }
        }
        sum
    };
    let losses: Vec<f64> = [1, 2, 4, 8, 16].map(loss).to_vec();
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
}

#[test]
fn a_penalty_by_frequency_spares_rows_with_little() {
    let options = Options { penalty_exponent: 1.0, penalty: 2.0, ..small() };
    let mean = options.mass(10, 60);
    assert!((options.penalty_of(mean, mean) - 2.0).abs() < 1e-6);
    assert!(options.penalty_of(options.mass(2, 60), mean) < 1.5);
    assert!(options.penalty_of(options.mass(50, 60), mean) > 6.0);
    let flat = Options { penalty_exponent: 0.0, ..options };
    assert!((flat.penalty_of(options.mass(50, 60), mean) - 2.0).abs() < 1e-6);
    assert_ne!(
        Ials::fit(&crowds(), &options).unwrap().items,
        Ials::fit(&crowds(), &flat).unwrap().items
    );
}

#[test]
fn a_single_user_with_a_single_item_is_enough() {
    let one = Interaction { user: 0, item: 0, weight: 1.0, at: None };
    let model = Ials::fit(&Interactions::new(1, 1, [one]).unwrap(), &small()).unwrap();
    let scores = model.score(&history(&[0]));
    assert!(scores.len() == 1 && scores[0].score > 0.0 && scores[0].score < 1.0);
}

#[test]
fn senseless_options_are_refused_by_name() {
    for (options, word) in [
        (Options { factors: 0, ..small() }, "factors"),
        (Options { factors: FACTORS_MAX + 1, ..small() }, "factors"),
        (Options { sweeps: 0, ..small() }, "sweeps"),
        (Options { steps: 0, ..small() }, "steps"),
        (Options { confidence: 0.0, ..small() }, "confidence"),
        (Options { penalty: f64::INFINITY, ..small() }, "penalty"),
        (Options { penalty: 0.0, ..small() }, "penalty"),
        (Options { penalty_exponent: -1.0, ..small() }, "penalty_exponent"),
        (Options { penalty_exponent: f64::NAN, ..small() }, "penalty_exponent"),
    ] {
        let error = Ials::fit(&crowds(), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(word) && error.hint_text().is_some(), "{error}");
    }
}

#[test]
fn amounts_that_single_precision_cannot_hold_are_an_error_not_a_wrong_list() {
    let huge = Interaction { user: 0, item: 0, weight: 1e300, at: None };
    let data = Interactions::new(1, 1, [huge]).unwrap();
    let error = Ials::fit(&data, &Options { value: Value::Weight, ..small() }).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.hint_text().is_some(), "{error}");
}

#[test]
fn factors_that_take_too_much_memory_are_refused_before_any_is_taken() {
    let one = Interaction { user: 0, item: 0, weight: 1.0, at: None };
    let data = Interactions::new(1, 1_000_000, [one]).unwrap();
    let error = Ials::fit(&data, &Options { factors: 512, ..small() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("400")));
}
