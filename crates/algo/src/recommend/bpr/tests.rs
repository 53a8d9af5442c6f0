//! What pairs teach, and parity with numpy and implicit: `tests/parity/bpr.json`, made by `make_bpr.py`.

use flywheel_base::ErrorKind;
use serde::Deserialize;

use super::super::interactions::Interaction;
use super::super::sparse::best;
use super::*;

#[derive(Deserialize)]
struct Reference {
    factors: usize,
    learning_rate: f32,
    penalty: f32,
    users: Vec<Vec<f32>>,
    items: Vec<Vec<f32>>,
    triples: Vec<(usize, usize, usize)>,
    users_after: Vec<Vec<f32>>,
    items_after: Vec<Vec<f32>>,
    quality: Quality,
}

/// Cells of users with two tastes, those held back, and how well implicit's BPR ranks them.
#[derive(Deserialize)]
struct Quality {
    users: usize,
    items: usize,
    cells: Vec<(u32, u32)>,
    held: Vec<(u32, u32)>,
    implicit_auc: f64,
}

fn reference() -> Reference {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/bpr.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn data(users: usize, items: usize, cells: &[(u32, u32)]) -> Interactions {
    let event =
        |(user, item): &(u32, u32)| Interaction { user: *user, item: *item, weight: 1.0, at: None };
    Interactions::new(users, items, cells.iter().map(event)).unwrap()
}

#[test]
fn a_run_of_steps_ends_where_numpys_ends() {
    let reference = reference();
    let width = reference.factors + 1;
    let mut users: Vec<f32> = reference.users.concat();
    let mut items: Vec<f32> = reference.items.concat();
    for (user, had, other) in &reference.triples {
        let person = &mut users[user * width..][..width];
        let (had, other) = two_rows(&mut items, *had, *other, width);
        step(person, had, other, reference.learning_rate, reference.penalty);
    }
    let close = |ours: &[f32], theirs: Vec<f32>| {
        assert_eq!(ours.len(), theirs.len());
        for (a, b) in ours.iter().zip(theirs) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    };
    close(&users, reference.users_after.concat());
    close(&items, reference.items_after.concat());
}

#[test]
fn held_back_items_rank_as_high_as_by_implicit() {
    let quality = reference().quality;
    let training = data(quality.users, quality.items, &quality.cells);
    let model = Bpr::fit(&training, &Options { factors: 16, ..Options::default() }).unwrap();
    let (mut ahead, mut pairs) = (0.0, 0.0);
    for (user, item) in &quality.held {
        let history = training.history(*user as usize, None);
        let scores = model.score(&history);
        let of = |item: u32| scores.iter().find(|one| one.item == item).map(|one| one.score);
        let Some(wanted) = of(*item) else { continue };
        for other in 0..quality.items as u32 {
            if other != *item && !history.owns(other) && !quality.held.contains(&(*user, other)) {
                ahead += f64::from(u8::from(of(other).is_none_or(|score| score < wanted)));
                pairs += 1.0;
            }
        }
    }
    let auc = ahead / pairs;
    assert!(auc > quality.implicit_auc - 0.02, "{auc} beside {}", quality.implicit_auc);
}

#[test]
fn the_next_event_changes_the_next_answer_and_nothing_known_is_no_evidence() {
    // Two groups that share no item, and item 9 that nobody has.
    let cells: Vec<(u32, u32)> = (0..20)
        .flat_map(|user| (0..3).map(move |n| (user, 4 * (user % 2) + (user / 2 + n) % 4)))
        .collect();
    let model =
        Bpr::fit(&data(20, 10, &cells), &Options { factors: 8, ..Options::default() }).unwrap();
    let first = |owned: u32| {
        let mut history = UserHistory::empty(None);
        history.push(owned, 1.0, None);
        let scores = best(model.score(&history), 10);
        assert!(scores.iter().all(|scored| scored.item != 9));
        let found = scores.iter().find(|scored| scored.item != owned).unwrap().item;
        assert_eq!(model.because(&history, found), Some(owned));
        found
    };
    assert!((0..4).contains(&first(1)) && (4..8).contains(&first(5)));
    let mut unknown = UserHistory::empty(None);
    assert!(model.score(&unknown).is_empty());
    unknown.push(9, 1.0, None);
    unknown.push(99, 1.0, None);
    assert!(model.score(&unknown).is_empty());
}

#[test]
fn somebody_who_has_everything_teaches_nothing_and_senseless_options_are_refused() {
    let all: Vec<(u32, u32)> = (0..3).map(|item| (0, item)).collect();
    let model = Bpr::fit(&data(1, 3, &all), &Options::default()).unwrap();
    assert_eq!(model.item_count(), 3);
    let refused = |options: Options, word: &str| {
        let error = Bpr::fit(&data(1, 3, &all), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(word) && error.hint_text().is_some(), "{error}");
    };
    refused(Options { factors: 0, ..Options::default() }, "factors");
    refused(Options { factors: FACTORS_MAX + 1, ..Options::default() }, "factors");
    refused(Options { learning_rate: f64::NAN, ..Options::default() }, "learning_rate");
    refused(Options { penalty: -1.0, ..Options::default() }, "penalty");
    refused(Options { epochs: 0, ..Options::default() }, "epochs");
    let error = Bpr::fit(&data(2, 2, &[]), &Options::default()).unwrap_err();
    assert!(error.message().contains("no interaction"));
}
