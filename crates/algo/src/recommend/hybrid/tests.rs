//! What `hybrid` promises.

use super::*;
use crate::recommend::evaluate::{Depth, Split, evaluate};
use crate::recommend::interactions::{Interaction, Interactions};
use crate::recommend::serve::{OwnedItems, Request, serve};
use crate::recommend::{Training, fit};
use flywheel_base::Rng;
use serde_json::json;

const DAY: i64 = 86_400_000_000;
const USERS: u32 = 300;

/// A shop with two tastes, personal habits and a changing fashion, over 150 days.
fn shop(timed: bool) -> Interactions {
    let mut rng = Rng::new(11);
    let mut events = Vec::new();
    for user in 0..USERS {
        let taste = 30 * (user % 2);
        let habit = taste + 20 + user / 2 % 5;
        for visit in 0..10 {
            let day = 15 * visit + rng.below(15) as i64;
            let fashion = taste + 25 + (day / 30) as u32;
            for item in [habit, fashion, taste + rng.below(20) as u32, rng.below(60) as u32] {
                if rng.chance(0.6) {
                    let at = timed.then_some(day * DAY + i64::from(user));
                    events.push(Interaction { user, item, weight: 1.0, at });
                }
            }
        }
    }
    Interactions::new(USERS as usize, 60, events).unwrap()
}

#[test]
fn it_beats_each_of_its_sources_on_a_later_period() {
    let split = Split::new(&shop(true), 120 * DAY).unwrap();
    let training = Training { now: Some(split.at), ..Training::new(&split.train) };
    let judge = |name: &str, options: serde_json::Value| {
        let model = fit(name, &training, &options).unwrap();
        evaluate(&[&*model], &split, Depth::default()).unwrap()
    };
    let hybrid = judge("hybrid", json!({}));
    for (name, options) in [
        ("popularity", json!({})),
        ("popularity", json!({"window_days": 30})),
        ("repeat", json!({})),
        ("item-neighbours", json!({})),
        ("ease", json!({})),
    ] {
        let source = judge(name, options);
        assert!(hybrid.all.ndcg > source.all.ndcg, "{name} all {source:?} {hybrid:?}");
        assert!(hybrid.new.ndcg >= source.new.ndcg, "{name} new {source:?} {hybrid:?}");
    }
}

#[test]
fn weights_are_learned_only_where_there_is_a_past_to_learn_from() {
    let data = shop(true);
    let model = Hybrid::fit(&Training::new(&data), &Options::default()).unwrap();
    assert!(model.learned());
    assert_eq!(model.weights().count(), FEATURES.len());
    let short = data.between(0, 40 * DAY);
    assert!(!Hybrid::fit(&Training::new(&short), &Options::default()).unwrap().learned());
    let untimed = shop(false);
    let model = Hybrid::fit(&Training::new(&untimed), &Options::default()).unwrap();
    assert!(!model.learned());
    let list = serve(&[&model], &untimed.history(0, None), &Request::new(10));
    let taste = list.items.iter().filter(|listed| listed.item < 30).count();
    assert!(
        list.items[0].item < 30 && taste > 5,
        "a user of the first taste sees {:?}",
        list.items
    );
}

#[test]
fn one_model_serves_new_items_repeats_and_cold_users_with_reasons() {
    let data = shop(true);
    let model = Hybrid::fit(&Training::new(&data), &Options::default()).unwrap();
    let history = data.history(4, None);
    let new = serve(&[&model], &history, &Request::new(5));
    assert!(new.items.iter().all(|listed| !history.owns(listed.item)));
    let reasoned = new.items.iter().filter(|l| l.because.is_some_and(|owned| history.owns(owned)));
    assert!(reasoned.count() > 0);
    let again = Request { owned: OwnedItems::Only, ..Request::new(3) };
    let again = serve(&[&model], &history, &again);
    assert!(again.items.iter().all(|l| l.source == "repeat" && l.because == Some(l.item)));
    let cold = serve(&[&model], &UserHistory::empty(None), &Request::new(5));
    assert_eq!(cold.items.len(), 5);
    assert!(cold.items.iter().all(|l| l.source == "popularity" && l.because.is_none()));
}

#[test]
fn a_cold_user_sees_what_is_wanted_most_whatever_demand_says_beside_a_history() {
    let data = shop(true);
    let mut model = Hybrid::fit(&Training::new(&data), &Options::default()).unwrap();
    let nobody = UserHistory::empty(None);
    let history = data.history(4, None);
    for demand in [[-1.0, -2.0, -3.0], [0.0, -1.0, 0.0], [-0.3, 2.0, -0.9]] {
        model.weights[DEMAND].copy_from_slice(&demand);
        let scores = model.score(&nobody);
        let best = scores.iter().max_by(|a, b| a.score.total_cmp(&b.score)).unwrap();
        let wanted = |item: u32| model.evidence(&nobody, &[item])[0][DEMAND].to_vec();
        let most = wanted(best.item);
        for other in &scores {
            let more = wanted(other.item).iter().zip(&most).take(2).all(|(a, b)| a > b);
            assert!(!more, "{} before {} by {demand:?}", best.item, other.item);
        }
        let rows = model.evidence(&history, &[7]);
        let known: f64 = rows[0].iter().zip(&model.weights).map(|(f, w)| f * w).sum();
        let said = model.score(&history).iter().find(|scored| scored.item == 7).unwrap().score;
        assert_eq!(known, said, "who has a history is scored as before");
    }
}

#[test]
fn a_click_changes_the_next_answer() {
    let data = shop(true);
    let model = Hybrid::fit(&Training::new(&data), &Options::default()).unwrap();
    let mut history = UserHistory::empty(Some(150 * DAY));
    let before = serve(&[&model], &history, &Request::new(10));
    for item in [31, 33, 35] {
        history.push(item, 1.0, Some(150 * DAY));
    }
    let after = serve(&[&model], &history, &Request::new(10));
    let second_taste = |list: &crate::recommend::serve::List| {
        list.items.iter().filter(|listed| listed.item >= 30).count()
    };
    assert!(second_taste(&after) > second_taste(&before));
}

#[test]
fn a_catalogue_too_large_for_ease_uses_neighbours_alone() {
    let options = Options { ease_items_max: 10, ..Options::default() };
    let data = shop(true);
    let model = Hybrid::fit(&Training::new(&data), &options).unwrap();
    let list = serve(&[&model], &data.history(4, None), &Request::new(10));
    assert!(list.items.iter().any(|listed| listed.source == "item-neighbours"));
    assert!(list.items.iter().all(|listed| listed.source != "ease"));
    assert_eq!(model.weights().next(), Some(("ease", 0.0)));
    assert!(Hybrid::fit(&Training::new(&data), &Options { window_days: 0.0, ..options }).is_err());
}
