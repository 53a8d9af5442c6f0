//! Changes of the table itself, as `tests-data/ddl/postgres.txt` has them.

use super::*;
use crate::source::replica::ddl::{cases, failure, play};
use crate::source::replica::workload::{self, Dialect};

/// What the workload begins with.
const SEEDS: [u64; 3] = [1, 2, 3];

const CASES: &str = include_str!("../../../../../tests-data/ddl/postgres.txt");

#[tokio::test]
async fn every_change_of_a_table_has_its_outcome() {
    let cases = cases(CASES);
    assert!(cases.len() >= 14, "{}", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        for late in [false, true] {
            let database = Database::new(&case.table);
            let run = |sql: &str| {
                if !sql.is_empty() {
                    database.run(sql);
                }
            };
            let source = database.source();
            let played = play(case, late, &*source, database.request(&["t"]), run);
            failed.extend(failure(case, late, played).await);
            source.forget(&database.name).await.unwrap();
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn random_changes_of_rows_and_columns_end_equal_to_the_table() {
    for seed in SEEDS {
        let database = Database::new("SELECT 1");
        let make = |sql: &str| {
            database.run(sql);
            (database.source(), database.request(&["t"]))
        };
        workload::check(seed, Dialect::Postgres, make, |sql| drop(database.run(sql))).await;
        database.source().forget(&database.name).await.unwrap();
    }
}
