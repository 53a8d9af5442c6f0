//! What a session says, and parity with numpy: `tests/parity/sessions.json`, made by `make_sessions.py`.

use flywheel_base::ErrorKind;

use super::super::interactions::Interaction;
use super::super::sparse::best;
use super::*;

const MINUTE: i64 = 60_000_000;

#[derive(Deserialize)]
struct Case {
    order: Order,
    users: usize,
    items: usize,
    /// User, item, minute.
    events: Vec<(u32, u32, i64)>,
    weights: Vec<Vec<f64>>,
    scores: Vec<Vec<f64>>,
}

fn data(users: usize, items: usize, events: &[(u32, u32, i64)]) -> Interactions {
    let event = |(user, item, minute): &(u32, u32, i64)| Interaction {
        user: *user,
        item: *item,
        weight: 1.0,
        at: Some(minute * MINUTE),
    };
    Interactions::new(users, items, events.iter().map(event)).unwrap()
}

#[test]
fn weights_and_scores_are_those_of_the_formulas() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/sessions.json");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in cases {
        let data = data(case.users, case.items, &case.events);
        let model =
            Sessions::fit(&data, &Options { order: case.order, ..Options::default() }).unwrap();
        for (from, row) in case.weights.iter().enumerate() {
            for (to, weight) in row.iter().enumerate() {
                let ours = f64::from(model.weight(from as u32, to as u32));
                assert!(
                    (ours - weight).abs() < 1e-6,
                    "{:?} {from} {to}: {ours} {weight}",
                    case.order
                );
            }
        }
        for (user, row) in case.scores.iter().enumerate() {
            let mut dense = vec![0.0; case.items];
            for scored in model.score(&data.history(user, None)) {
                dense[scored.item as usize] = scored.score;
            }
            for (ours, theirs) in dense.iter().zip(row) {
                assert!((ours - theirs).abs() < 1e-6, "{:?} {user}: {ours} {theirs}", case.order);
            }
        }
    }
}

#[test]
fn only_the_session_somebody_is_in_counts_and_its_last_item_most() {
    // 0 goes with 1, 2 with 3; at another time 4 with 5.
    let events: Vec<(u32, u32, i64)> = (0..9)
        .flat_map(|user| {
            let (first, at) = ([0, 2, 4][user as usize % 3], i64::from(user) * 1000);
            [(user, first, at), (user, first + 1, at + 1)]
        })
        .collect();
    let model = Sessions::fit(&data(9, 6, &events), &Options::default()).unwrap();
    let mut history = UserHistory::empty(None);
    history.push(4, 1.0, Some(0));
    history.push(0, 1.0, Some(500 * MINUTE));
    history.push(2, 1.0, Some(505 * MINUTE));
    let found = best(model.score(&history), 9);
    let items: Vec<u32> = found.iter().map(|scored| scored.item).collect();
    assert_eq!(items, [3, 1], "5 belongs to a session that is over");
    assert!((found[0].score - 1.0).abs() < 1e-6 && (found[1].score - 0.5).abs() < 1e-6);
    assert_eq!((model.because(&history, 3), model.because(&history, 5)), (Some(2), None));
}

#[test]
fn what_comes_before_says_nothing_of_what_came_before_it() {
    let events = [(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 0, 0), (1, 1, 0)];
    let options = Options { order: Order::Next, ..Options::default() };
    let model = Sessions::fit(&data(2, 3, &events), &options).unwrap();
    // Twice together, once one step apart and once at the same moment.
    assert_eq!((model.weight(0, 1), model.weight(1, 0)), (0.5, 0.0));
    assert_eq!((model.weight(0, 2), model.weight(1, 2)), (0.25, 0.5));
}

#[test]
fn an_endless_session_is_cut_and_events_without_times_are_one() {
    let long: Vec<(u32, u32, i64)> = (0..300).map(|item| (0, item, i64::from(item))).collect();
    let model = Sessions::fit(&data(1, 300, &long), &Options::default()).unwrap();
    assert_eq!((model.weight(0, 299), model.weight(100, 299)), (0.0, 1.0));
    let event = |item| Interaction { user: 0, item, weight: 1.0, at: None };
    let untimed = Interactions::new(1, 3, [event(0), event(1)]).unwrap();
    let model = Sessions::fit(&untimed, &Options::default()).unwrap();
    let mut history = UserHistory::empty(None);
    history.push(0, 1.0, None);
    assert_eq!(best(model.score(&history), 3).first().map(|scored| scored.item), Some(1));
}

#[test]
fn a_gap_that_is_none_is_refused() {
    for gap_minutes in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = Options { gap_minutes, ..Options::default() };
        let error = Sessions::fit(&data(1, 1, &[]), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("gap_minutes") && error.hint_text().is_some());
    }
}
