//! The cases of `tests-data/lineage`: what leads to each column of a query, written by hand.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use flywheel_warehouse::{Catalog, TableName};

use super::shop::Shop;
use crate::lineage::traced_edges;

/// A case: its name with its file, the query, and the edges as `column: kind table.column`.
struct Case {
    name: String,
    sql: String,
    edges: BTreeSet<String>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data/lineage");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        for part in text.split("== ").skip(1) {
            let (name, rest) = part.split_once('\n').unwrap();
            let (sql, expected) = rest.split_once("\n--\n").unwrap();
            cases.push(Case {
                name: format!("{stem}: {name}"),
                sql: sql.trim().to_owned(),
                edges: expected_edges(expected),
            });
        }
    }
    cases
}

fn expected_edges(text: &str) -> BTreeSet<String> {
    let lines: Vec<(&str, Vec<&str>)> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let (column, edges) = line.split_once(':').unwrap();
            let edges = edges.split(',').map(str::trim).filter(|edge| !edge.is_empty());
            (column.trim(), edges.collect())
        })
        .collect();
    let mut all = BTreeSet::new();
    for (column, edges) in &lines {
        for edge in edges {
            let columns = lines.iter().map(|(column, _)| *column).filter(|column| *column != "*");
            match *column {
                "*" => all.extend(columns.map(|column| format!("{column}: {edge}"))),
                column => {
                    all.insert(format!("{column}: {edge}"));
                }
            }
        }
    }
    all
}

fn schemas() -> Catalog {
    let text = DataType::Utf8;
    let place = Fields::from(vec![
        Field::new("city", text.clone(), true),
        Field::new("zip", text.clone(), true),
    ]);
    let list = DataType::List(Arc::new(Field::new("item", text.clone(), true)));
    let tables: [(&str, Vec<(&str, DataType)>); 3] = [
        (
            "orders",
            vec![
                ("id", DataType::Int64),
                ("customer", DataType::Int64),
                ("status", text.clone()),
                ("price", DataType::Float64),
                ("quantity", DataType::Int64),
                ("day", DataType::Date32),
                ("note", text.clone()),
                ("tags", list),
                ("place", DataType::Struct(place)),
            ],
        ),
        (
            "customers",
            vec![
                ("id", DataType::Int64),
                ("name", text.clone()),
                ("country", text.clone()),
                ("mail", text.clone()),
                ("since", DataType::Date32),
            ],
        ),
        (
            "items",
            vec![
                ("order_id", DataType::Int64),
                ("sku", text),
                ("price", DataType::Float64),
                ("quantity", DataType::Int64),
            ],
        ),
    ];
    let mut catalog = Catalog::new();
    for (name, columns) in tables {
        let fields = columns.into_iter().map(|(name, kind)| Field::new(name, kind, true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        catalog.memory(&TableName::new("raw", name), schema, Vec::new());
    }
    catalog
}

#[tokio::test]
async fn every_case_written_by_hand_is_traced_exactly() {
    let shop = Shop::new(&[]).await;
    let session = shop.lake.session(schemas()).unwrap();
    let (mut right, mut too_many, mut missing) = (0, 0, 0);
    let mut differences = String::new();
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    for case in &cases {
        let found: BTreeSet<String> = match session.query(&case.sql).await {
            Ok(query) => traced_edges(&query)
                .unwrap()
                .into_iter()
                .map(|(column, kind, from)| {
                    let table = from.table.strip_prefix("raw.").unwrap_or(&from.table);
                    format!("{column}: {} {table}.{}", kind.word(), from.column)
                })
                .collect(),
            Err(error) => panic!("{}: {}", case.name, error.report()),
        };
        right += found.intersection(&case.edges).count();
        let more: Vec<&String> = found.difference(&case.edges).collect();
        let less: Vec<&String> = case.edges.difference(&found).collect();
        too_many += more.len();
        missing += less.len();
        if !more.is_empty() || !less.is_empty() {
            differences.push_str(&format!("{}\n  more: {more:?}\n  less: {less:?}\n", case.name));
        }
    }
    let precision = right as f64 / (right + too_many).max(1) as f64;
    let recall = right as f64 / (right + missing).max(1) as f64;
    println!("{} cases, {right} edges: precision {precision:.4}, recall {recall:.4}", cases.len());
    assert!(differences.is_empty(), "precision {precision:.4}, recall {recall:.4}\n{differences}");
}
