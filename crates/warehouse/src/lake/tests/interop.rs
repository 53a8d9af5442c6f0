//! Tables other Delta programs wrote, and other programs reading ours.

use std::fs;

use deltalake::DeltaTable;
use deltalake::protocol::SaveMode;
use flywheel_base::ErrorKind;
use serde_json::{Value, json};

use super::{append, merge};
use crate::testing::{TestLake, at, batch, pairs, rows_of};

async fn open(t: &TestLake, table: &str) -> DeltaTable {
    let path = t.file(table);
    fs::create_dir_all(&path).unwrap();
    DeltaTable::try_from_url(url::Url::from_directory_path(path).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_partitioned_table_of_another_program_is_read_with_its_partitions_and_not_written() {
    let t = TestLake::new().await;
    let rows = batch(&[
        ("id", vec![Some("1"), Some("2"), Some("3")]),
        ("city", vec![Some("Ulm am See"), Some("北京"), None]),
    ]);
    let table = open(&t, "raw/x").await;
    table
        .write(vec![rows])
        .with_save_mode(SaveMode::Append)
        .with_partition_columns(["city"])
        .await
        .unwrap();
    assert_eq!(
        t.sql("select id, city from raw.x order by id").await,
        ["1|Ulm am See", "2|北京", "3|"]
    );
    assert_eq!(t.sql("select id from raw.x where city = '北京'").await, ["2"]);
    assert_eq!(t.sql("select id from raw.x where city is null").await, ["3"]);
    assert_eq!(t.sql("select count(*), max(city) from raw.x").await, ["3|北京"]);
    let plan = t.sql("explain select id from raw.x where city = '北京'").await.join("\n");
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
    let error = t.lake.write(&at("raw/x"), append(pairs(&[(1, "a")]))).await.unwrap_err();
    assert!(error.message().contains("partitioned") && error.kind() == ErrorKind::Invalid);
}

#[tokio::test]
async fn another_program_reads_what_we_merged_compacted_and_checkpointed() {
    let t = TestLake::new().await;
    t.lake.write(&at("raw/x"), append(pairs(&[(1, "a"), (2, "b")]))).await.unwrap();
    t.lake.write(&at("raw/x"), merge(pairs(&[(2, "B"), (3, "c")]))).await.unwrap();
    t.lake
        .maintain(
            &at("raw/x"),
            crate::Maintain { checkpoint_bytes_min: Some(0), ..Default::default() },
        )
        .await
        .unwrap();
    t.lake.write(&at("raw/x"), append(pairs(&[(4, "d")]))).await.unwrap();
    let table = open(&t, "raw/x").await;
    assert_eq!(table.version(), Some(2));
    let history: Vec<_> = futures::TryStreamExt::try_collect(table.history(None)).await.unwrap();
    let operations: Vec<_> = history.iter().filter_map(|info| info.operation.clone()).collect();
    assert_eq!(operations, ["WRITE", "MERGE", "WRITE"]);
    let rows = vec![batch(&[("id", vec![Some("5")]), ("v", vec![Some("e")])])];
    table.write(rows).with_save_mode(SaveMode::Append).await.unwrap();
    assert_eq!(t.sql("select * from raw.x order by id").await, ["1|a", "2|B", "3|c", "4|d", "5|e"]);
    let after = t.lake.write(&at("raw/x"), merge(pairs(&[(5, "E")]))).await.unwrap();
    assert_eq!((after.version, after.rows_updated), (4, 1));
    assert_eq!(t.lake.history(&at("raw/x")).await.unwrap()[3].operation, "write");
}

#[tokio::test]
async fn a_table_with_column_mapping_is_read_through_its_mapping_and_not_written() {
    let t = TestLake::new().await;
    t.lake.write(&at("raw/x"), append(pairs(&[(1, "a"), (2, "b")]))).await.unwrap();
    let log = t.file("raw/x/_delta_log");
    let first = fs::read_to_string(log.join("00000000000000000000.json")).unwrap();
    let old: Value = first
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line.get("metaData").is_some())
        .unwrap();
    let field = |name: &str, physical: &str, kind: &str, id: u32| {
        json!({"name": name, "type": kind, "nullable": true, "metadata":
            {"delta.columnMapping.id": id, "delta.columnMapping.physicalName": physical}})
    };
    let fields = [field("number", "id", "long", 1), field("the text", "v", "string", 2)];
    let mut metadata = old["metaData"].clone();
    metadata["schemaString"] = json!({"type": "struct", "fields": fields}).to_string().into();
    metadata["configuration"] =
        json!({"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "2"});
    let protocol = json!({"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}});
    let commit = format!("{protocol}\n{}\n", json!({ "metaData": metadata }));
    fs::write(log.join("00000000000000000001.json"), commit).unwrap();
    let sql = "select number, \"the text\" from raw.x order by 1";
    assert_eq!(t.sql(sql).await, ["1|a", "2|b"]);
    assert_eq!(rows_of(&t.other().await, sql).await, ["1|a", "2|b"]);
    let error = t.lake.write(&at("raw/x"), append(pairs(&[(1, "a")]))).await.unwrap_err();
    assert!(error.message().contains("can only be read"), "{error:?}");
}
