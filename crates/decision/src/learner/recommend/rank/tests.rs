//! A log as a policy writes it, and what a ranker learns of it.

use flywheel_algo::recommend::Training;
use flywheel_algo::recommend::interactions::{Interaction, Interactions};
use flywheel_base::Rng;

use super::super::{Asked, models, stored};
use super::*;

const DAY: i64 = 86_400_000_000;

fn shown(id: &str, propensity: f64) -> Shown {
    Shown { item_id: id.to_owned(), propensity }
}

fn names(count: usize, letter: &str) -> Vec<String> {
    (0..count).map(|at| format!("{letter}{at:04}")).collect()
}

/// Twelve items, the first ones popular, and the cheaper the higher their number.
fn shop(users: usize) -> Data {
    let mut events = Vec::new();
    for user in 0..users as u32 {
        for item in 0..12_u32 {
            if user % (item + 1) == 0 {
                events.push(Interaction { user, item, weight: 1.0, at: Some(i64::from(user)) });
            }
        }
    }
    let item_names = names(12, "i");
    let items = Vocabulary::new(item_names.iter().map(String::as_str)).unwrap();
    let settings = serde_json::from_value(
        json!({"interactions": "select 1", "algorithm": "popularity", "repeats": true}),
    );
    Data {
        users: Vocabulary::new(names(users, "u").iter().map(String::as_str)).unwrap(),
        listing: super::super::Listing::new(&settings.unwrap(), &items, &BTreeMap::new()).unwrap(),
        items,
        rows: events.len(),
        later: 0,
        ahead: None,
        interactions: Interactions::new(users, 12, events).unwrap(),
        texts: None,
        vectors: None,
        names: item_names,
        facts: (0..12).map(|item| vec![12.0 - f64::from(item)]).collect(),
    }
}

fn popularity(data: &Data) -> Vec<Box<dyn Recommender>> {
    let asked = Asked { algorithm: "popularity", options: Value::Null };
    models(&asked, &Training::new(&data.interactions)).unwrap()
}

/// Decisions of a policy with one slot, which showed popular items and drew three times of ten.
fn log(data: &Data, artifact: &str, chance: impl Fn(usize) -> f64) -> Log {
    let mut rng = Rng::new(4);
    let ids: Vec<String> =
        ["i0000", "i0001", "i0002", "i0003", "i0004", "i0005"].map(str::to_owned).to_vec();
    let drawn = (0..6_000).map(|at| {
        let (_, chances) = draw(&[shown("i0000", 0.7)], &ids).unwrap();
        let shown = if rng.chance(0.3) { 1 + rng.below(5) } else { 0 };
        Drawn {
            unit: format!("u{:04}", at % data.users.len()),
            at: DAY + at as i64,
            ids: ids.clone(),
            before: 0,
            shown,
            chances,
            answered: rng.chance(chance(shown)),
            artifact: artifact.to_owned(),
        }
    });
    Log { drawn: drawn.collect(), undrawn: 0, window_us: DAY }
}

fn rank() -> Rank {
    Rank {
        from: "offers".to_owned(),
        algorithm: RankAlgorithm::Auto,
        features: vec!["price".to_owned()],
    }
}

#[test]
fn chances_follow_from_what_was_logged() {
    let ids = names(5, "i");
    let (place, chances) = draw(&[shown("i0000", 1.0), shown("i0003", 0.1)], &ids).unwrap();
    assert_eq!(place, 2);
    assert!((chances[0] - 0.7).abs() < 1e-12 && (chances[1] - 0.1).abs() < 1e-12);
    assert_eq!(chances.len(), 4);
    let (place, chances) = draw(&[shown("i0000", 0.7)], &ids).unwrap();
    assert!(place == 0 && (chances[1] - 0.075).abs() < 1e-12);
    for (items, why) in [
        (vec![shown("i0000", 1.0)], "nothing was drawn"),
        (vec![shown("other", 0.1)], "it is no candidate"),
        (vec![], "nothing was shown"),
        (ids.iter().map(|id| shown(id, 1.0)).collect(), "there was nothing else"),
    ] {
        assert!(draw(&items, &ids).is_none(), "{why}");
    }
}

#[test]
fn the_order_that_people_answer_to_is_learned_stored_and_served() {
    let data = shop(3_000);
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::new(folder.path());
    let models = popularity(&data);
    let digest = artifacts.put(&stored(&data, &models, None).unwrap()).unwrap();
    let log = log(&data, &digest, |item| 0.05 + 0.07 * item as f64);
    let order = learn(&rank(), &log, &artifacts, &data, &models).unwrap();
    assert_eq!(order.detail["used"], true, "{}", order.detail);
    assert_eq!(order.detail["exposures"], 6_000);
    let ranker = order.ranker.unwrap();
    let again = restored(&stored(&data, &models, Some(&ranker)).unwrap()).unwrap();
    assert_eq!((again.models.len(), again.ranker.as_ref()), (1, Some(&ranker)));
    let settings: flywheel_project::resource::learner::Recommend = serde_json::from_value(json!({
        "interactions": "select 1", "algorithm": "popularity", "top": 6, "repeats": true,
        "rank": {"from": "offers", "features": ["price"]}
    }))
    .unwrap();
    let now = Timestamp::from_micros(2 * DAY);
    let served = |ranker: Option<&Ranker>| {
        let lists = super::super::lists(&data, &models, ranker, &settings, now).unwrap();
        lists.last().unwrap().iter().map(|one| one.listed.item).collect::<Vec<_>>()
    };
    assert_eq!(served(None), [0, 1, 2, 3, 4, 5]);
    assert_eq!(served(Some(&ranker))[0], 5, "the item that is answered to most comes first");
    let mut damaged = stored(&data, &models, Some(&ranker)).unwrap();
    let end = damaged.len() - 3;
    damaged[end] = b'?';
    assert_eq!(restored(&damaged).err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn the_likeness_of_items_is_stored_beside_models_and_ranker() {
    let mut data = shop(300);
    let settings: flywheel_project::resource::learner::Recommend = serde_json::from_value(json!({
        "interactions": "select 1", "rules": {"diversity": 0.3, "similar_by": "co-occurrence"}
    }))
    .unwrap();
    let mut listing = std::mem::take(&mut data.listing);
    listing.learn_likeness(&settings, &Training::new(&data.interactions)).unwrap();
    data.listing = listing;
    let models = popularity(&data);
    let bytes = stored(&data, &models, None).unwrap();
    let again = restored(&bytes).unwrap();
    assert_eq!((again.models.len(), again.ranker.is_none()), (1, true));
    assert!(again.similar.unwrap().of(0, 1) > 0.0);
    data.listing = super::super::Listing::default();
    let plain = stored(&data, &models, None).unwrap();
    assert!(plain.len() < bytes.len() && restored(&plain).unwrap().similar.is_none());
}

#[test]
fn without_a_signal_the_order_stays_and_the_measures_say_why() {
    let data = shop(3_000);
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::new(folder.path());
    let models = popularity(&data);
    let digest = artifacts.put(&stored(&data, &models, None).unwrap()).unwrap();
    let order = learn(&rank(), &log(&data, &digest, |_| 0.2), &artifacts, &data, &models).unwrap();
    assert!(order.ranker.is_none() && order.detail["used"] == false);
    assert!(order.measures.iter().any(|one| one.name == "not ranked: no gain shown"));
    let strange = artifacts.put(b"no recommender").unwrap();
    let order = learn(&rank(), &log(&data, &strange, |_| 0.2), &artifacts, &data, &models).unwrap();
    assert_eq!(order.detail["left_out"]["without_artifact"], 6_000);
    let gone = log(&data, "0000", |_| 0.2);
    let order = learn(&rank(), &gone, &artifacts, &data, &models).unwrap();
    assert_eq!(order.detail["left_out"]["without_artifact"], 6_000);
    assert_eq!(order.measures[0].name, "not ranked: too few places drawn");
}

#[test]
fn beside_others_an_item_is_answered_only_if_it_was_taken_within_the_window() {
    let mut data = shop(4);
    let event = |item, at| Interaction { user: 1, item, weight: 1.0, at: Some(at) };
    data.interactions =
        Interactions::new(4, 12, [event(3, 5 * DAY + 1), event(4, 9 * DAY)]).unwrap();
    let drawn = |shown: usize| Drawn {
        unit: "u0001".to_owned(),
        at: 5 * DAY,
        ids: names(8, "i"),
        before: 2,
        shown,
        chances: Vec::new(),
        answered: true,
        artifact: String::new(),
    };
    assert!(took(&drawn(1), &data, DAY), "i3 was taken the same day");
    assert!(!took(&drawn(2), &data, DAY), "i4 only later");
    assert!(!took(&drawn(3), &data, DAY), "i5 never");
    assert!(took(&Drawn { before: 0, ..drawn(3) }, &data, DAY), "alone, the outcome is its own");
    assert!(until(&drawn(1), &data.items, &data).is_empty(), "what came after is not known before");
}
