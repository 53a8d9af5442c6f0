//! What `users` promises.

use super::*;
use crate::recommend::interactions::Interaction;

/// The ratings of the data-flywheel article: users 1–3 on items 101–104.
fn ratings() -> Interactions {
    let cells = [
        (0, 0, 5.0),
        (0, 1, 4.0),
        (0, 2, 3.0),
        (1, 0, 4.0),
        (1, 3, 5.0),
        (2, 1, 2.0),
        (2, 2, 3.0),
        (2, 3, 4.0),
    ];
    let event = |(user, item, weight)| Interaction { user, item, weight, at: None };
    Interactions::new(3, 4, cells.map(event)).unwrap()
}

fn new_items(model: &UserNeighbours, history: &UserHistory) -> Vec<(u32, f64)> {
    let mut scores = model.score(history);
    scores.retain(|scored| !history.owns(scored.item));
    scores.iter().map(|scored| (scored.item, scored.score)).collect()
}

#[test]
fn compat_gives_the_lists_of_the_article() {
    let model = UserNeighbours::fit(&ratings(), &Options::compat(2)).unwrap();
    let lists: Vec<_> = (0..3).map(|u| new_items(&model, &ratings().history(u, None))).collect();
    assert_eq!(lists, [vec![(3, 4.5)], vec![(1, 3.0), (2, 3.0)], vec![(0, 4.5)]]);
}

#[test]
fn an_unknown_user_is_an_empty_answer_not_an_error() {
    // Trap: the article's function raises KeyError for a new user.
    let model = UserNeighbours::fit(&ratings(), &Options::default()).unwrap();
    assert!(model.score(&UserHistory::empty(None)).is_empty());
    let mut stranger = UserHistory::empty(None);
    stranger.push(0, 5.0, None);
    assert!(!new_items(&model, &stranger).is_empty());
}

#[test]
fn a_missing_rating_does_not_drag_a_prediction_down() {
    // Trap: item 1 was rated 2 and 4 by the neighbours who know it; with missing as 0, one more
    // neighbour who does not know it lowers the article's mean.
    let mut events: Vec<Interaction> = Vec::new();
    for (user, row) in
        [[5.0, 4.0, 3.0], [5.0, 4.0, 3.0], [5.0, 0.0, 3.0], [5.0, 0.0, 3.0]].iter().enumerate()
    {
        for (item, weight) in row.iter().enumerate() {
            events.push(Interaction {
                user: user as u32,
                item: item as u32,
                weight: *weight,
                at: None,
            });
        }
    }
    let data = Interactions::new(4, 3, events).unwrap();
    let mut history = UserHistory::empty(None);
    history.push(0, 5.0, None);
    let predicted = |options: &Options| {
        let scores = UserNeighbours::fit(&data, options).unwrap().score(&history);
        scores.iter().find(|scored| scored.item == 1).unwrap().score
    };
    assert_eq!(predicted(&Options::compat(4)), 2.0);
    assert!((predicted(&Options { damping: 0.0, ..Options::default() }) - 4.0).abs() < 1e-9);
}

#[test]
fn permuting_users_changes_no_prediction() {
    let rows = |order: [u32; 3]| {
        let data = ratings();
        let mut events = Vec::new();
        for (user, user_moved) in order.iter().enumerate() {
            for cell in data.cells(user) {
                let user = *user_moved;
                events.push(Interaction { user, item: cell.item, weight: cell.weight, at: None });
            }
        }
        Interactions::new(3, 4, events).unwrap()
    };
    for options in [Options::default(), Options::compat(2)] {
        let plain = UserNeighbours::fit(&rows([0, 1, 2]), &options).unwrap();
        let turned = UserNeighbours::fit(&rows([2, 0, 1]), &options).unwrap();
        for user in 0..3 {
            let history = ratings().history(user, None);
            for (a, b) in plain.score(&history).iter().zip(turned.score(&history)) {
                assert!(a.item == b.item && (a.score - b.score).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn a_stored_model_predicts_the_same() {
    let model = UserNeighbours::fit(&ratings(), &Options::default()).unwrap();
    let again = crate::recommend::load(&model.to_bytes().unwrap()).unwrap();
    let history = ratings().history(1, None);
    assert_eq!(again.score(&history), model.score(&history));
}
