//! What a query may take.

use std::sync::{Mutex, PoisonError};

use arrow::array::{ArrayRef, Int64Array, StringArray};

use super::*;
use crate::testing::{TestLake, at, catalog_of, text_of};
use crate::{Session, Write, WriteMode};

const ROWS: i64 = 400_000;

/// 400,000 texts of 64 letters.
async fn big() -> TestLake {
    let t = TestLake::with_memory(256 << 20).await;
    let batch = |from: i64| {
        let ids: ArrayRef = Arc::new((from..from + 8_000).collect::<Int64Array>());
        let texts = (from..from + 8_000).map(|n| Some(format!("{:0>64}", n * 7_919 % ROWS)));
        let texts: ArrayRef = Arc::new(texts.collect::<StringArray>());
        RecordBatch::try_from_iter([("id", ids), ("v", texts)]).unwrap()
    };
    let batches: Vec<RecordBatch> = (0..ROWS / 8_000).map(|n| batch(n * 8_000)).collect();
    let rows = RowStream::from_batches(batches[0].schema(), batches);
    t.lake.write(&at("raw/big"), Write::new(WriteMode::Replace, rows, "build")).await.unwrap();
    t
}

type Told = Arc<Mutex<Vec<QuotaExceeded>>>;

/// A session of a reader with an allowance that `set` makes, and what is told of it.
async fn session(t: &TestLake, set: impl FnOnce(&mut Allowance)) -> (Session, Told) {
    let told = Told::default();
    let heard = Arc::clone(&told);
    let mut allowance = Allowance {
        whose: "anna".to_owned(),
        memory_bytes: None,
        time: None,
        rows: None,
        places: None,
        told: Arc::new(move |one: &QuotaExceeded| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(one.clone());
        }),
    };
    set(&mut allowance);
    let mut catalog = catalog_of(&t.lake).await;
    catalog.within(Arc::new(allowance));
    (t.lake.session(catalog).unwrap(), told)
}

fn told(told: &Told) -> Vec<(QuotaKind, u64)> {
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    told.iter().map(|one| (one.kind, one.most)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_beyond_its_memory_ends_alone_and_one_that_can_spill_goes_on() {
    let t = big().await;
    let (small, heard) = session(&t, |one| one.memory_bytes = Some(8 << 20)).await;
    let all = "select array_length(array_agg(v)) from raw.big";
    let error = small.query(all).await.unwrap().collect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
    assert!(error.message().contains("8 MiB of memory, the quota of anna"), "{error:?}");
    assert_eq!(told(&heard), [(QuotaKind::Memory, 8 << 20)]);
    // Others have what the lake gives.
    let whole = t.lake.session(catalog_of(&t.lake).await).unwrap();
    let rows = whole.query(all).await.unwrap().collect().await.unwrap();
    assert_eq!(text_of(&rows), ["400000"]);
    // What it had is free again, and the session goes on.
    let rows = small.query("select count(*) from raw.big").await.unwrap().collect().await.unwrap();
    assert_eq!(text_of(&rows), ["400000"]);

    let (enough, heard) = session(&t, |one| one.memory_bytes = Some(32 << 20)).await;
    let sorted =
        "select max(n) from (select row_number() over (order by v desc) as n from raw.big)";
    let rows = enough.query(sorted).await.unwrap().collect().await.unwrap();
    assert_eq!((text_of(&rows), told(&heard)), (vec!["400000".to_owned()], Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_beyond_its_time_ends_alone_wherever_its_rows_are_read() {
    let t = big().await;
    let (session, heard) = session(&t, |one| one.time = Some(Duration::from_millis(100))).await;
    let sql = "select count(*) from raw.big a join raw.big b on a.v > b.v";
    let query = session.query(sql).await.unwrap();
    for error in [query.collect().await.unwrap_err(), query.stream().await.err().unwrap()] {
        assert!(error.message().contains("longer than 100 ms, the quota of anna"), "{error:?}");
        assert!(error.hint_text().is_some());
    }
    assert_eq!(told(&heard), [(QuotaKind::Time, 100), (QuotaKind::Time, 100)]);
    assert!(session.query("select 1").await.unwrap().collect().await.is_ok());
}

#[tokio::test]
async fn an_answer_may_have_as_many_rows_as_the_quota_says_and_not_one_more() {
    let t = big().await;
    let (session, heard) = session(&t, |one| one.rows = Some(10_000)).await;
    let count = async |sql: &str| {
        let query = session.query(sql).await.unwrap();
        query.collect().await.map(|rows| rows.iter().map(RecordBatch::num_rows).sum::<usize>())
    };
    assert_eq!(count("select * from raw.big limit 10000").await.unwrap(), 10_000);
    assert_eq!(
        count("select sum(id) from raw.big").await.unwrap(),
        1,
        "rows that are read are no answer"
    );
    let error = count("select * from raw.big limit 10001").await.unwrap_err();
    assert!(error.message().contains("more than 10000 rows, the quota of anna"), "{error:?}");
    assert_eq!(told(&heard), [(QuotaKind::Rows, 10_000)]);
    // Who takes no more than that learns that there are more, and is not refused.
    let query = session.query("select id from raw.big").await.unwrap();
    let mut rows = query.stream().await.unwrap();
    let mut taken = 0;
    while taken <= 10_000 {
        taken += rows.next().await.unwrap().unwrap().num_rows();
    }
    assert_eq!((taken, told(&heard).len()), (10_001, 1));
    assert!(rows.next().await.unwrap().is_err());
    assert!(rows.next().await.is_none(), "nothing comes after the end");
    // What a statement keeps is no answer.
    let kept = session.edit("create table raw.kept as select id from raw.big").unwrap();
    kept.run().await.unwrap();
    assert_eq!(told(&heard).len(), 2);
}

#[tokio::test]
async fn a_query_without_a_place_waits_until_another_of_its_reader_ends() {
    let t = big().await;
    let free = Arc::new(Semaphore::new(1));
    let (session, heard) = session(&t, |one| {
        one.places = Some(Places { most: 1, free: Arc::clone(&free) });
    })
    .await;
    let query = session.query("select id from raw.big").await.unwrap();
    let held = query.stream().await.unwrap();
    assert_eq!(free.available_permits(), 0, "an answer that is read still has its place");
    let mut waiting = Box::pin(query.collect());
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(held);
    assert!(waiting.await.is_ok());
    assert_eq!((free.available_permits(), told(&heard)), (1, Vec::new()));
}
