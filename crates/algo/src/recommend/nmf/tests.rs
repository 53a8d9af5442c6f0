//! What `nmf` promises.

use super::*;
use crate::recommend::interactions::Interaction;
use crate::recommend::serve::{OwnedItems, Request, Shortfall, serve};

/// The ratings of the data-flywheel article; 0 is a missing rating.
const RATINGS: [[f64; 4]; 5] = [
    [5.0, 3.0, 0.0, 1.0],
    [4.0, 0.0, 0.0, 1.0],
    [1.0, 1.0, 0.0, 5.0],
    [1.0, 0.0, 0.0, 4.0],
    [0.0, 1.0, 5.0, 4.0],
];

fn ratings() -> Interactions {
    let events = RATINGS.iter().enumerate().flat_map(|(user, row)| {
        row.iter().enumerate().map(move |(item, weight)| Interaction {
            user: user as u32,
            item: item as u32,
            weight: *weight,
            at: None,
        })
    });
    Interactions::new(5, 4, events).unwrap()
}

#[test]
fn every_seed_reaches_the_published_optimum() {
    for seed in 0..50 {
        let options = Options { seed, ..Options::compat(2) };
        let (_, fitted) = Nmf::fit(&ratings(), &options).unwrap();
        assert!((fitted.error - 4.276_529_830).abs() < 1e-6, "seed {seed}: {}", fitted.error);
    }
}

#[test]
fn a_user_folded_in_gets_the_row_of_the_training() {
    let (model, fitted) = Nmf::fit(&ratings(), &Options::compat(2)).unwrap();
    for user in 0..5 {
        let trained = &fitted.users[user * 2..user * 2 + 2];
        for scored in model.score(&ratings().history(user, None)) {
            assert!((scored.score - model.predict(trained, scored.item)).abs() < 1e-4);
        }
    }
}

#[test]
fn zeros_as_ratings_leave_nothing_new_and_the_list_says_so() {
    // Trap: with 0 as a true rating the article predicts 0.0 for the only item user 0 lacks, and
    // its "recommendation" is the two items the user rated already.
    let (model, _) = Nmf::fit(&ratings(), &Options::compat(2)).unwrap();
    let history = ratings().history(0, None);
    let owned = Request { owned: OwnedItems::Include, ..Request::new(2) };
    let list = serve(&[&model], &history, &owned);
    assert_eq!(list.items.iter().map(|l| l.item).collect::<Vec<_>>(), [0, 1]);
    assert!((list.items[0].score - 5.255_837_5).abs() < 1e-3);
    let list = serve(&[&model], &history, &Request::new(2));
    assert_eq!((list.items.len(), list.shortfall), (0, Some(Shortfall::Filtered)));
}

#[test]
fn no_list_holds_what_the_user_rated() {
    // Trap: the article cannot exclude rated items; 7 of its 10 picks are rated already, and so is
    // every first pick.
    let (textbook, _) = Nmf::fit(&ratings(), &Options::compat(2)).unwrap();
    let ours = Nmf::fit(&ratings(), &Options { rank: 2, ..Options::default() }).unwrap().0;
    let mut rated = 0;
    for user in 0..5 {
        let history = ratings().history(user, None);
        let all = Request { owned: OwnedItems::Include, ..Request::new(2) };
        let picks = serve(&[&textbook], &history, &all).items;
        assert!(history.owns(picks[0].item));
        rated += picks.iter().filter(|pick| history.owns(pick.item)).count();
        let new = serve(&[&ours], &history, &Request::new(2)).items;
        assert!(!new.is_empty() && new.iter().all(|pick| !history.owns(pick.item)));
    }
    assert_eq!(rated, 7);
}

#[test]
fn with_missing_left_out_the_lacking_item_gets_a_sane_prediction() {
    let options = Options { rank: 2, ..Options::default() };
    let (model, fitted) = Nmf::fit(&ratings(), &options).unwrap();
    assert!(fitted.error < 0.5, "{}", fitted.error);
    let list = serve(&[&model], &ratings().history(0, None), &Request::new(2));
    assert_eq!(list.items.iter().map(|l| l.item).collect::<Vec<_>>(), [2]);
    assert!((0.5..=6.0).contains(&list.items[0].score), "{}", list.items[0].score);
    let unbound = Options { penalty: 0.0, ..options };
    assert!(Nmf::fit(&ratings(), &unbound).unwrap_err().hint_text().is_some());
}

#[test]
fn a_stored_model_predicts_the_same() {
    let (model, _) = Nmf::fit(&ratings(), &Options::default()).unwrap();
    let again = crate::recommend::load(&model.to_bytes().unwrap()).unwrap();
    let history = ratings().history(4, None);
    assert_eq!(again.score(&history), model.score(&history));
    assert!(model.score(&UserHistory::empty(None)).is_empty());
}
