//! What changed between two table versions.

use super::*;
use crate::testing::text_of;
use crate::{Location, Maintain};

async fn changed(t: &TestLake, at: &Location, old: Option<i64>, new: i64) -> Vec<String> {
    let key = ["id".to_owned()];
    let rows = t.lake.changes(old.map(|old| (at, old)), (at, new), &key).await.unwrap();
    text_of(&rows.collect().await.unwrap())
}

#[tokio::test]
async fn only_changed_rows_and_gone_keys_are_told() {
    let t = TestLake::new().await;
    let orders = at("raw/orders");
    t.lake.write(&orders, append(pairs(&[(1, "a"), (2, "b"), (3, "c")]))).await.unwrap();
    assert_eq!(changed(&t, &orders, None, 0).await, ["1|a|false", "2|b|false", "3|c|false"]);
    t.lake.write(&orders, merge(pairs(&[(2, "B"), (3, "c"), (4, "d")]))).await.unwrap();
    assert_eq!(changed(&t, &orders, Some(0), 1).await, ["2|B|false", "4|d|false"]);
    t.lake.write(&orders, replace(pairs(&[(4, "d"), (1, "a"), (5, "e")]))).await.unwrap();
    assert_eq!(changed(&t, &orders, Some(1), 2).await, ["5|e|false", "2||true", "3||true"]);
    assert!(changed(&t, &orders, Some(2), 2).await.is_empty());
    assert_eq!(changed(&t, &orders, Some(0), 2).await.len(), 4, "versions in between do not count");
}

#[tokio::test]
async fn a_compaction_changes_nothing() {
    let t = TestLake::new().await;
    let orders = at("raw/orders");
    for id in 0..4 {
        t.lake.write(&orders, append(pairs(&[(id, "a")]))).await.unwrap();
    }
    let options = Maintain { small_files_min: 2, ..Maintain::default() };
    let version = t.lake.maintain(&orders, options).await.unwrap().version;
    assert_eq!(version, 4);
    assert!(changed(&t, &orders, Some(3), version).await.is_empty());
}

#[tokio::test]
async fn a_key_that_is_missing_null_or_not_unique_is_named() {
    let t = TestLake::new().await;
    let orders = at("raw/orders");
    t.lake.write(&orders, append(pairs(&[(1, "a"), (1, "b")]))).await.unwrap();
    t.lake.write(&orders, replace(pairs(&[(2, "a")]))).await.unwrap();
    let key = |name: &str| [name.to_owned()];
    let error = t.lake.changes(Some((&orders, 0)), (&orders, 1), &key("id")).await.unwrap_err();
    assert!(error.message().contains("not unique"), "{error}");
    let error = t.lake.changes(Some((&orders, 0)), (&orders, 1), &key("di")).await.unwrap_err();
    assert_eq!(error.hint_text(), Some("Did you mean \"id\"?"));
}
