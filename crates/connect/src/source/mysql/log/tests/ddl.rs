//! Changes of the table itself, as `tests-data/ddl/mariadb.txt` has them.

use super::*;
use crate::source::replica::ddl::{cases, failure, play};
use crate::source::replica::workload::{self, Dialect};

/// What the workload begins with.
const SEEDS: [u64; 3] = [1, 2, 3];

const CASES: &str = include_str!("../../../../../tests-data/ddl/mariadb.txt");

#[tokio::test]
async fn every_change_of_a_table_has_its_outcome() {
    let cases = cases(CASES);
    assert!(cases.len() >= 14, "{}", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        for late in [false, true] {
            let name = database(&case.table);
            let run = |sql: &str| {
                if !sql.is_empty() {
                    server().sql(&name, sql);
                }
            };
            let source = source(&name);
            let played = play(case, late, &*source, request(&name, &["t"]), run);
            failed.extend(failure(case, late, played).await);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn random_changes_of_rows_and_columns_end_equal_to_the_table() {
    for seed in SEEDS {
        let name = database("SELECT 1");
        let make = |sql: &str| {
            server().sql(&name, sql);
            (source(&name), request(&name, &["t"]))
        };
        workload::check(seed, Dialect::MariaDb, make, |sql| drop(server().sql(&name, sql))).await;
    }
}

#[tokio::test]
async fn what_became_of_columns_is_known_to_later_reads() {
    for (first, second) in [
        ("DROP COLUMN a", "ADD COLUMN IF NOT EXISTS a TEXT"),
        ("RENAME COLUMN a TO b", "ADD COLUMN a TEXT"),
        ("DROP COLUMN a", "CHANGE n a INT"),
    ] {
        println!("{first}, then {second}");
        let name = database(
            "CREATE TABLE t (id INT PRIMARY KEY, a TEXT, n INT); INSERT INTO t VALUES (1, 'a', 1)",
        );
        let (source, mut request) = (source(&name), request(&name, &["t"]));
        let mut target = [Target::default()];
        catch_up(&*source, &mut request, &mut target).await;
        server().sql(&name, &format!("ALTER TABLE t {first}"));
        catch_up(&*source, &mut request, &mut target).await;
        server().sql(&name, &format!("ALTER TABLE t {second}; INSERT INTO t (id) VALUES (2)"));
        let error = drain(&*source, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Blocked);
        assert!(error.message().contains("another column under the name \"a\""), "{error:?}");
    }
}
