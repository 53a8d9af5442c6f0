//! What a row looks like as a message.

use arrow::compute::{cast, concat_batches};

use super::*;
use crate::destination::contract::case::{all_types, plain};
use crate::kafka::testing::topic_with;

#[tokio::test]
async fn every_type_reads_back_as_it_was() {
    let topic = topic(1).await;
    let (batch, declared) = all_types();
    let mut request = request(&topic, WriteMode::Append, &batch);
    request.target = json!({ "topic": topic, "json_columns": ["json"] });
    let (refused, _) = run(&request, &batch, 1).await;
    assert_eq!(refused, []);
    let pages = read_back(&topic, &declared).await;
    let rejected: Vec<_> = pages.iter().flat_map(|page| &page.rejected).collect();
    assert!(rejected.is_empty(), "{rejected:?}");
    let batches = pages.iter().map(|page| &page.batch);
    let found_rows = concat_batches(&pages[0].batch.schema(), batches).unwrap();
    for (field, expected) in batch.schema().fields().iter().zip(batch.columns()) {
        let found = found_rows.column_by_name(field.name()).unwrap();
        let kind = plain(field.data_type());
        let wide = |array| cast(array, &kind).unwrap();
        assert_eq!(&wide(found), &wide(expected), "{}", field.name());
    }
}

#[tokio::test]
async fn changed_and_deleted_rows_are_messages_under_their_key() {
    let topic = topic_with(1, &[("cleanup.policy", "compact")]).await;
    let batch = |rows_of: &[(i64, &str)]| {
        let rows = rows(rows_of);
        let gone: Vec<bool> = rows_of.iter().map(|row| row.1 == "-").collect();
        let gone: ArrayRef = Arc::new(BooleanArray::from(gone));
        let columns = rows.columns().iter().cloned().chain([gone]);
        let names = ["id", "value", "gone"].into_iter();
        RecordBatch::try_from_iter_with_nullable(names.zip(columns).map(|(n, c)| (n, c, true)))
            .unwrap()
    };
    let first = batch(&[(1, "a"), (2, "b")]);
    let request = request(&topic, WriteMode::Mirror, &first);
    run(&request, &first, 1).await;
    let (_, written) = run(&request, &batch(&[(2, "-"), (1, "c")]), 2).await;
    assert_eq!((written.rows_written, written.rows_deleted), (1, 1));
    assert_eq!(
        seen(&topic).await,
        [
            "1 {\"id\":1,\"value\":\"a\"}",
            "2 {\"id\":2,\"value\":\"b\"}",
            "2 ∅",
            "1 {\"id\":1,\"value\":\"c\"}"
        ]
    );
}

#[tokio::test]
async fn keys_are_texts_of_one_column_and_objects_of_several() {
    let topic = topic(1).await;
    let batch = rows(&[(1, "a \"b\"")]);
    for (sequence, key) in [(1, vec!["value"]), (2, vec!["id", "value"]), (3, vec![])] {
        let key: Vec<String> = key.into_iter().map(str::to_owned).collect();
        let request = WriteRequest { key, ..request(&topic, WriteMode::Append, &batch) };
        run(&request, &batch, sequence).await;
    }
    let value = "{\"id\":1,\"value\":\"a \\\"b\\\"\"}";
    assert_eq!(
        seen(&topic).await,
        [format!("a \"b\" {value}"), format!("{value} {value}"), format!("∅ {value}")]
    );
}

#[tokio::test]
async fn a_column_that_comes_later_is_in_the_messages_from_then_on() {
    let topic = topic(1).await;
    let narrow = rows(&[(1, "a")]);
    let request = request(&topic, WriteMode::Append, &narrow);
    let mut writer = writer(&request).await;
    writer.write(&narrow).await.unwrap();
    let extra: ArrayRef = Arc::new(StringArray::from(vec!["e"]));
    let wide = rows(&[(2, "b")]);
    let columns = wide.columns().iter().cloned().chain([extra]);
    let names = ["id", "value", "extra"].into_iter();
    let wide =
        RecordBatch::try_from_iter_with_nullable(names.zip(columns).map(|(n, c)| (n, c, true)));
    writer.write(&wide.unwrap()).await.unwrap();
    writer.commit(&checkpoint(1)).await.unwrap();
    let found = seen(&topic).await;
    assert_eq!(found[1], "2 {\"id\":2,\"value\":\"b\",\"extra\":\"e\"}");
}
