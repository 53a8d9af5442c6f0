//! What rules make of a ranking, beside numpy.

use std::path::Path;

use serde::Deserialize;

use super::super::interactions::Interaction;
use super::*;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    vectors: Vec<Vec<f32>>,
    groups: Vec<u32>,
    boosts: Vec<f64>,
    diversity: f64,
    most: Option<usize>,
    count: usize,
    chosen: Vec<u32>,
}

/// Items ranked by their index.
fn ranked(count: u32) -> Vec<Listed> {
    let listed = |item| Listed {
        item,
        score: f64::from(count - item),
        source: "fixed".to_owned(),
        because: None,
    };
    (0..count).map(listed).collect()
}

fn items(placed: &[Placed]) -> Vec<u32> {
    placed.iter().map(|one| one.listed.item).collect()
}

fn limit(most: usize, groups: &[u32]) -> Limit {
    Limit { attribute: "category".to_owned(), most, groups: groups.to_vec() }
}

fn boost(by: f64, items: &[bool]) -> Boost {
    Boost { called: "brand:acme".to_owned(), by, items: items.to_vec() }
}

#[test]
fn variety_caps_and_boosts_agree_with_numpy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/rules.json");
    let reference: Reference =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(reference.cases.len() >= 7);
    for (number, case) in reference.cases.iter().enumerate() {
        let count = case.vectors.len();
        let nobody = Interactions::new(0, count, []).unwrap();
        let training = Training { vectors: Some(&case.vectors), ..Training::new(&nobody) };
        let raised: Vec<bool> = case.boosts.iter().map(|by| *by > 1.0).collect();
        let rules = Rules {
            diversity: case.diversity,
            similar: Some(Similar::embeddings(&training).unwrap()),
            limits: case.most.map(|most| limit(most, &case.groups)).into_iter().collect(),
            boosts: vec![boost(1.7, &raised)],
            ..Rules::default()
        };
        rules.check().unwrap();
        let placed = rules.apply(ranked(count as u32), case.count, |_| true);
        assert_eq!(items(&placed), case.chosen, "case {number}");
    }
}

#[test]
fn every_rule_says_what_it_did() {
    let groups = [0, 0, 0, 1, NO_GROUP, NO_GROUP];
    let rules = Rules {
        limits: vec![limit(1, &groups)],
        pinned: vec![9, 5, 5],
        boosts: vec![boost(4.0, &[false, false, false, false, true])],
        ..Rules::default()
    };
    let placed = rules.apply(ranked(6), 4, |item| item != 9);
    // 5 is pinned; 4 counts for more than all others; 0 comes next, and 3 as 1 and 2 are of the category of 0.
    assert_eq!(items(&placed), [5, 4, 0, 3]);
    assert_eq!(placed[0].said, [Said::Pinned]);
    assert_eq!(placed[1].said, [Said::Boosted { by: 4.0, called: "brand:acme".to_owned() }]);
    assert!(placed[2].said.is_empty());
    let full = Said::Limited { attribute: "category".to_owned(), most: 1 };
    assert_eq!(placed[3].said, [full]);
    let varied = Rules {
        diversity: 0.6,
        similar: Some(Similar::Group(groups.to_vec())),
        ..Rules::default()
    };
    let placed = varied.apply(ranked(6), 3, |_| true);
    assert_eq!(items(&placed), [0, 3, 4]);
    assert_eq!(placed[1].said, [Said::Varied { from: 4 }]);
}

#[test]
fn a_pin_is_listed_though_nothing_ranks_it_but_not_against_what_may_be_listed() {
    let rules = Rules { pinned: vec![7, 8], ..Rules::default() };
    let placed = rules.apply(ranked(2), 3, |item| item != 8);
    assert_eq!(items(&placed), [7, 0, 1]);
    assert_eq!(placed[0].listed.source, PINNED);
    assert_eq!(items(&rules.apply(ranked(2), 1, |_| true)), [7]);
}

#[test]
fn without_rules_a_list_stays_as_it_is_and_senseless_rules_are_refused() {
    let none = Rules::default();
    assert!(none.is_empty() && none.pool(10) == 10);
    assert_eq!(items(&none.apply(ranked(5), 3, |_| true)), [0, 1, 2]);
    assert!(none.apply(Vec::new(), 3, |_| true).is_empty());
    // Variety without a likeness is none.
    assert!(Rules { diversity: 0.5, ..Rules::default() }.is_empty());
    for wrong in [
        Rules { diversity: 1.1, ..Rules::default() },
        Rules { diversity: f64::NAN, ..Rules::default() },
        Rules { boosts: vec![boost(-1.0, &[])], ..Rules::default() },
    ] {
        assert!(wrong.check().unwrap_err().hint_text().is_some());
    }
}

#[test]
fn a_likeness_survives_writing_and_refuses_what_is_none() {
    let texts = ["red lamp", "red lamp large", "blue mug"].map(str::to_owned);
    let content = Similar::content(&texts).unwrap();
    assert!(content.of(0, 1) > 0.5 && content.of(0, 2) == 0.0);
    let event = |(user, item)| Interaction { user, item, weight: 1.0, at: None };
    let shop =
        Interactions::new(3, 3, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)].map(event)).unwrap();
    let together = Similar::together(&shop).unwrap();
    assert!((together.of(0, 1) - 1.0).abs() < 1e-6 && together.of(0, 2) == 0.0);
    for one in [&content, &together] {
        let again = Similar::from_bytes(&one.to_bytes().unwrap().unwrap()).unwrap();
        assert_eq!((again.of(0, 1), again.of(1, 2)), (one.of(0, 1), one.of(1, 2)));
    }
    assert_eq!(Similar::Group(vec![0]).to_bytes().unwrap(), None);
    let other = super::super::fit("popularity", &Training::new(&shop), &serde_json::Value::Null);
    assert!(Similar::from_bytes(&other.unwrap().to_bytes().unwrap()).is_err());
}
