//! What a user is shown under rules, filters and stock.

use flywheel_algo::recommend::interactions::{Interaction, Interactions};
use flywheel_algo::recommend::popularity::{Options, Popularity};
use serde_json::{Value, json};

use super::*;

const DAY: i64 = 86_400_000_000;

/// Eight items, the first had by most; shoes and hats in turn, the last without any of it; prices fall.
fn catalogue() -> BTreeMap<String, CatalogueItem> {
    let item = |at: usize| {
        let kind = if at.is_multiple_of(2) { "shoes" } else { "hats" };
        let known = vec![
            Known::Text((at < 7).then(|| kind.to_owned())),
            Known::Number(if at < 7 { 80.0 - 10.0 * at as f64 } else { f64::NAN }),
        ];
        let one = CatalogueItem {
            text: None,
            vector: Vec::new(),
            name: None,
            available: at != 1,
            facts: Vec::new(),
            known,
        };
        (format!("i{at}"), one)
    };
    (0..8).map(item).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn settings(more: Value) -> Recommend {
    let mut file = json!({
        "interactions": "select 1", "items": "select 1", "attributes": ["category", "price"], "top": 8
    });
    for (key, value) in more.as_object().unwrap() {
        file[key] = value.clone();
    }
    serde_json::from_value(file).unwrap()
}

struct Shop {
    items: Vocabulary,
    popular: Popularity,
    data: Interactions,
}

/// Item 7 is one that nobody has had.
fn shop() -> Shop {
    let names: Vec<String> = (0..8).map(|item| format!("i{item}")).collect();
    let items = Vocabulary::new(names.iter().map(String::as_str)).unwrap();
    let mut events = Vec::new();
    for item in 0..7_u32 {
        for user in 0..(8 - item) {
            events.push(Interaction { user, item, weight: 1.0, at: Some(i64::from(item) * DAY) });
        }
    }
    let data = Interactions::new(9, 8, events).unwrap();
    let popular = Popularity::fit(&data, None, &Options::default()).unwrap();
    Shop { items, popular, data }
}

/// The list of a user, each item with its reason; user 8 is one of whom nothing is known.
fn list(more: Value, user: usize, wanted: &Wanted<'_>) -> (Vec<String>, Vec<String>) {
    let shop = shop();
    let settings = settings(more);
    let mut listing = Listing::new(&settings, &shop.items, &catalogue()).unwrap();
    listing.learn_likeness(&settings, &Training::new(&shop.data)).unwrap();
    let sources = Sources { models: vec![&shop.popular], ranker: None, facts: &[] };
    let now = Timestamp::from_micros(10 * DAY);
    let history = shop.data.history(user, Some(now.micros()));
    let shown = listing.list(&sources, &history, now, wanted).unwrap();
    let ids = shown.items.iter().map(|one| format!("i{}", one.listed.item)).collect();
    let reasons = shown.items.iter().map(|one| reason(one, |_| "a name")).collect();
    (ids, reasons)
}

#[test]
fn rules_make_the_list_and_say_so() {
    let check = |more: Value, expected: &[&str]| {
        let (ids, reasons) = list(more.clone(), 8, &Wanted::top(4));
        assert_eq!(ids, expected, "{more}: {reasons:?}");
        reasons
    };
    // What is not available is not there, whatever else is asked for.
    check(json!({}), &["i0", "i2", "i3", "i4"]);
    let reasons = check(json!({"rules": {"at_most": {"category": 2}}}), &["i0", "i2", "i3", "i5"]);
    assert_eq!(reasons[3], "popular now; moved up, as a list has at most 2 of one category");
    let reasons = check(json!({"rules": {"pin": ["i6", "i1"]}}), &["i6", "i0", "i2", "i3"]);
    assert_eq!(reasons[0], "popular now; pinned by rule");
    let boost = json!({"rules": {"boost": [{"items": "price<30", "by": 10}]}});
    let reasons = check(boost, &["i6", "i0", "i2", "i3"]);
    assert_eq!(reasons[0], "popular now; counts 10 times by rule (price<30)");
    check(json!({"rules": {"only": "category:hats"}}), &["i3", "i5"]);
    check(json!({"rules": {"exclude": ["i0", "unknown"]}}), &["i2", "i3", "i4", "i5"]);
    let varied = json!({"rules": {"diversity": 0.6, "similar_by": "category"}});
    let reasons = check(varied, &["i0", "i3", "i2", "i4"]);
    assert!(reasons[1].contains("for variety"), "{reasons:?}");
    let together = json!({"rules": {"diversity": 0.5, "similar_by": "co-occurrence"}});
    assert_eq!(list(together, 8, &Wanted::top(4)).0.len(), 4);
}

#[test]
fn a_likeness_of_another_kind_is_not_used_and_variety_waits() {
    let shop = shop();
    let file = |by: &str| settings(json!({"rules": {"diversity": 0.5, "similar_by": by}}));
    let kept = |by: &str| {
        let mut listing = Listing::new(&file(by), &shop.items, &catalogue()).unwrap();
        listing.alike(&file(by), Some(Similar::together(&shop.data).unwrap()));
        !listing.varies_later()
    };
    assert!(kept("co-occurrence") && !kept("embedding") && !kept("content"));
    assert!(kept("category"), "a column needs no fit");
}

#[test]
fn new_items_that_a_limit_passes_over_do_not_end_a_list_short() {
    // A hundred of one kind that nobody had, and one of another behind them.
    let ids: Vec<String> = (0..101).map(|item| format!("i{item:03}")).collect();
    let items = Vocabulary::new(ids.iter().map(String::as_str)).unwrap();
    let item = |at: usize| {
        let kind = if at < 100 { "shoes" } else { "hats" };
        CatalogueItem {
            text: None,
            vector: Vec::new(),
            name: None,
            available: true,
            facts: Vec::new(),
            known: vec![Known::Text(Some(kind.to_owned()))],
        }
    };
    let catalogue = ids.iter().enumerate().map(|(at, id)| (id.clone(), item(at))).collect();
    let file = settings(
        json!({"attributes": ["category"], "rules": {"at_most": {"category": 1}}, "top": 2}),
    );
    let listing = Listing::new(&file, &items, &catalogue).unwrap();
    let bought = vec![Interaction { user: 0, item: 0, weight: 1.0, at: Some(DAY) }];
    let data = Interactions::new(2, 101, bought).unwrap();
    let popular = Popularity::fit(&data, None, &Options::default()).unwrap();
    let sources = Sources { models: vec![&popular], ranker: None, facts: &[] };
    let now = Timestamp::from_micros(10 * DAY);
    let wanted = Wanted { filled_up: true, ..Wanted::top(2) };
    let history = data.history(1, Some(now.micros()));
    let shown = listing.list(&sources, &history, now, &wanted).unwrap();
    let of: Vec<u32> = shown.items.iter().map(|one| one.listed.item).collect();
    assert_eq!(of, [0, 100]);
}

#[test]
fn what_was_had_lately_is_left_out_where_other_things_may_come_again() {
    let again = json!({"repeats": true, "rules": {"bought_within": "7d"}});
    // User 1 had the items 0 to 6, those from 3 on within seven days.
    assert_eq!(list(again, 1, &Wanted::top(8)).0, ["i0", "i2"]);
    assert_eq!(list(json!({"repeats": true}), 1, &Wanted::top(3)).0, ["i0", "i2", "i3"]);
}

#[test]
fn a_question_narrows_the_list_and_what_nobody_had_fills_it_up_and_says_so() {
    let shop = shop();
    let listing = Listing::new(&settings(json!({})), &shop.items, &catalogue()).unwrap();
    let passing = listing.passing("price<60").unwrap();
    let wanted = Wanted { passing: Some(&passing), ..Wanted::top(3) };
    assert_eq!(list(json!({}), 8, &wanted).0, ["i3", "i4", "i5"]);
    let stock = in_stock(&shop.items, &["i4", "i7"].map(str::to_owned).into_iter().collect());
    let wanted = Wanted { stock: Some(&stock), ..Wanted::top(3) };
    assert_eq!(list(json!({}), 8, &wanted).0, ["i4"]);
    let (ids, reasons) = list(json!({}), 8, &Wanted { filled_up: true, ..wanted });
    assert_eq!((ids[1].as_str(), reasons[1].as_str()), ("i7", "new: nobody has had it yet"));
    let wanted = Wanted { excluded: &[0, 2], ..Wanted::top(2) };
    assert_eq!(list(json!({}), 8, &wanted).0, ["i3", "i4"]);
    // A pin is no way around what may be listed.
    let pinned = json!({"rules": {"pin": ["i0", "i3"]}});
    assert_eq!(list(pinned, 8, &wanted).0, ["i3", "i4"]);
}

#[test]
fn callers_filter_by_what_the_learner_opens_and_by_nothing_else() {
    let shop = shop();
    let narrow = settings(json!({"attributes": ["category"], "rules": {"only": "price>0"}}));
    let listing = Listing::new(&narrow, &shop.items, &catalogue()).unwrap();
    assert_eq!(listing.passing("category:hats").unwrap().iter().filter(|one| **one).count(), 3);
    let error = listing.passing("price<10").unwrap_err();
    assert!(error.message().contains("no attribute \"price\""), "{}", error.message());
    assert!(error.hint_text().unwrap().contains("category"));
    let none = settings(json!({"attributes": []}));
    let listing = Listing::new(&none, &shop.items, &catalogue()).unwrap();
    let error = listing.passing("category:hats").unwrap_err();
    assert!(error.hint_text().unwrap().contains("attributes:"));
    let wrong = settings(json!({"rules": {"only": "price<cheap"}}));
    let error = Listing::new(&wrong, &shop.items, &catalogue()).unwrap_err();
    assert!(error.message().starts_with("rules: only: "), "{}", error.message());
}
