//! Fifty labelled questions over a made-up catalogue.

use std::time::Instant;

use flywheel_algo::search::mean_reciprocal_rank;

use super::*;
use crate::catalogue::AssetColumn;

const ASSETS: &str = include_str!("../../../../../tests/search/assets.txt");
const QUERIES: &str = include_str!("../../../../../tests/search/queries.txt");

/// How many places count.
const PLACES: usize = 20;

fn catalogue() -> Catalogue {
    let lines = ASSETS.lines().filter(|line| !line.starts_with('#'));
    let asset = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        let [kind, name, labels, owner, certification, users, description, columns] =
            cells.as_slice()
        else {
            panic!("{line}")
        };
        let list = |text: &str| {
            text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let columns =
            list(columns).into_iter().map(|name| AssetColumn { name, ..AssetColumn::default() });
        Asset {
            kind: (*kind).to_owned(),
            name: (*name).to_owned(),
            is_table: matches!(*kind, "source" | "model" | "learner"),
            labels: list(labels),
            owner: Some((*owner).to_owned()),
            certification: (*certification).to_owned(),
            readers: users.parse().unwrap(),
            description: Some((*description).to_owned()),
            columns: columns.collect(),
            ..Asset::default()
        }
    };
    Catalogue { assets: lines.map(asset).collect(), ..Catalogue::default() }
}

#[test]
fn fifty_questions_in_two_languages_find_their_assets_near_the_top() {
    let catalogue = catalogue();
    let mut places = Vec::new();
    let mut missed = Vec::new();
    let mut slowest = 0.0_f64;
    for line in QUERIES.lines().filter(|line| !line.starts_with('#')) {
        let (query, wanted) = line.split_once('|').unwrap();
        let watch = Instant::now();
        let found = search(&catalogue, query, &[], PLACES);
        slowest = slowest.max(watch.elapsed().as_secs_f64() * 1_000.0);
        let place = found.places.iter().position(|place| place.name == wanted);
        if place != Some(0) {
            let first = found.places.first().map(|place| place.name.clone());
            missed.push(format!("{query}: {wanted} at {place:?}, first {first:?}"));
        }
        places.push(place);
    }
    assert_eq!(places.len(), 50);
    let rank = mean_reciprocal_rank(&places);
    println!(
        "catalogue search: MRR {rank:.3} over {} questions, the slowest {slowest:.1} ms with its index",
        places.len()
    );
    println!("not first:\n{}", missed.join("\n"));
    assert!(rank >= 0.8, "MRR {rank:.3}\n{}", missed.join("\n"));
}

#[test]
fn a_certified_asset_comes_before_a_draft_and_a_deprecated_one_last() {
    let catalogue = catalogue();
    let found = search(&catalogue, "sales table", &["model".to_owned()], PLACES);
    let place = |name: &str| found.places.iter().position(|place| place.name == name).unwrap();
    assert!(place("mart.sales") < place("mart.sales_old"));
}

#[test]
fn columns_are_found_and_kinds_are_kept_apart() {
    let catalogue = catalogue();
    let columns = search(&catalogue, "lead time", &["column".to_owned()], PLACES);
    assert_eq!(columns.places[0].name, "raw.suppliers.lead_time_days");
    assert!(columns.places.iter().all(|place| place.kind == "column"));
    let exact = search(&catalogue, "raw.orders.status", &[], PLACES);
    assert_eq!(exact.places[0].name, "raw.orders.status");
    assert_eq!(search(&catalogue, "revenue", &["sheet".to_owned()], PLACES).searched, 0);
}
