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
    let finder = Finder::new(&catalogue, &[]);
    for line in QUERIES.lines().filter(|line| !line.starts_with('#')) {
        let (query, wanted) = line.split_once('|').unwrap();
        let watch = Instant::now();
        let found = finder.find(query, PLACES);
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
        "catalogue search: MRR {rank:.3} over {} questions, the slowest {slowest:.1} ms",
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

#[test]
fn a_thousand_assets_with_twenty_columns_each_are_searched_whole() {
    let columns = |n: usize| {
        let column = |at: usize| AssetColumn {
            name: format!("column_{at}_of_{n}"),
            description: Some(format!("第{at}列 of table {n}")),
            ..AssetColumn::default()
        };
        (0..20).map(column).collect()
    };
    let asset = |n: usize| Asset {
        kind: "model".to_owned(),
        name: format!("mart.table_{n}"),
        is_table: true,
        description: Some(format!("Table number {n} of the shop 第{n}张表 about area {}", n % 40)),
        columns: columns(n),
        ..Asset::default()
    };
    let catalogue = Catalogue { assets: (0..1_000).map(asset).collect(), ..Catalogue::default() };
    let watch = Instant::now();
    let finder = Finder::new(&catalogue, &[]);
    let indexed = watch.elapsed().as_secs_f64() * 1_000.0;
    let watch = Instant::now();
    let queries = ["table 997", "第12列", "mart.table_500", "area 7 shop", "tabel numbr"];
    let found: Vec<Found> = queries.iter().map(|query| finder.find(query, PLACES)).collect();
    let each = watch.elapsed().as_secs_f64() * 1_000.0 / queries.len() as f64;
    println!("21,000 assets and columns: index {indexed:.1} ms, a query {each:.1} ms");
    assert_eq!(found[0].searched, 21_000);
    assert_eq!(found[0].places[0].name, "mart.table_997");
    assert_eq!(found[2].places[0].name, "mart.table_500");
    assert!(found.iter().all(|found| !found.places.is_empty()));
}
