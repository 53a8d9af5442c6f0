//! That the plan which is tried first, over views of texts, answers as the one over plain texts.

mod joins;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use datafusion::physical_plan::ExecutionPlan;
use flywheel_base::{ErrorKind, Rng};
use futures::TryStreamExt;

use super::{Query, texts};
use crate::session::tests::sight;
use crate::testing::{TestLake, at, catalog_of, text_of};
use crate::{RowStream, Session, Write, WriteMode};

/// How many random queries are asked of each kind.
const QUERIES: usize = 400;

/// The answer of a plan, in an order that does not depend on how its rows were found.
async fn answer(query: &Query, plan: Arc<dyn ExecutionPlan>) -> Result<Vec<String>, ErrorKind> {
    let rows = query.run(&query.state, &plan).map_err(|error| error.kind())?;
    let rows: Vec<RecordBatch> = rows.try_collect().await.map_err(|error| error.kind())?;
    for batch in &rows {
        assert_eq!(batch.schema(), query.schema());
    }
    let mut rows = text_of(&rows);
    rows.sort();
    Ok(rows)
}

/// Asserts that both plans answer alike, and says whether the first one has views.
async fn check(session: &Session, sql: &str) -> bool {
    // A query by chance may be none; what is written is asserted to have views or not.
    let Ok(query) = session.query(sql).await else { return false };
    let (quick, plain) = (query.quick().await, query.plain(&query.state).await);
    let (quick, plain) = match (quick, plain) {
        (Ok(quick), Ok(plain)) => (quick, plain),
        (Err(_), Err(_)) => return false,
        (quick, plain) => panic!("{sql}\n{quick:?}\n{plain:?}"),
    };
    let views = texts::has_views(quick.as_ref());
    assert_eq!(answer(&query, quick).await, answer(&query, plain).await, "{sql}");
    views
}

#[tokio::test]
async fn random_queries_answer_over_views_as_over_plain_texts() {
    let t = sight::people(700).await;
    let session = t.lake.session(sight::catalog(&t).await).unwrap();
    let mut viewed = 0;
    for at in 0..QUERIES {
        let (sql, _) = sight::generate::query(&mut Rng::stream(7, &format!("views {at}")));
        viewed += usize::from(check(&session, &sql).await);
    }
    assert!(viewed * 2 > QUERIES, "only {viewed} of {QUERIES} had views");
}

/// A lake with long and short texts, empty ones and none; each long one a few times.
async fn texts_lake(memory_bytes: u64) -> TestLake {
    let t = TestLake::with_memory(memory_bytes).await;
    let rows = 20_000_i64;
    let long = |n: i64| match n % 11 {
        0 => None,
        1 => Some(String::new()),
        2 => Some("short".to_owned()),
        _ => Some(format!("{:0>40} at the end", n * 7_919 % 5_003)),
    };
    let long: StringArray = (0..rows).map(long).collect();
    let state: StringArray =
        (0..rows).map(|n| Some(["paid", "open", "lost"][n as usize % 3])).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new((0..rows).collect::<Int64Array>())),
        ("v", Arc::new(long)),
        ("state", Arc::new(state)),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    );
    let batch = batch.unwrap();
    let stream = RowStream::from_batches(batch.schema(), vec![batch]);
    t.lake.write(&at("raw/texts"), Write::new(WriteMode::Replace, stream, "build")).await.unwrap();
    t
}

#[tokio::test]
async fn every_way_to_keep_texts_answers_over_views_as_over_plain_texts() {
    let t = texts_lake(256 << 20).await;
    let session = t.lake.session(catalog_of(&t.lake).await).unwrap();
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/texts.sql");
    let queries = std::fs::read_to_string(&folder).unwrap();
    for sql in queries.split(';').map(str::trim).filter(|sql| !sql.is_empty()) {
        let (plain, sql) = match sql.strip_prefix("-- plain\n") {
            Some(sql) => (true, sql),
            None => (false, sql),
        };
        assert_eq!(check(&session, sql).await, !plain, "whether there are views in {sql}");
    }
}

#[tokio::test]
async fn a_join_keeps_texts_of_its_own_and_a_sort_plain_ones() {
    let t = texts_lake(256 << 20).await;
    let session = t.lake.session(catalog_of(&t.lake).await).unwrap();
    let plan = async |sql: &str| session.query(sql).await.unwrap().quick().await.unwrap();
    fn below(plan: &Arc<dyn ExecutionPlan>, name: &str) -> Vec<Arc<dyn ExecutionPlan>> {
        let mut found: Vec<_> = plan.children().into_iter().flat_map(|c| below(c, name)).collect();
        if plan.name() == name {
            found.extend(plan.children().into_iter().map(Arc::clone));
        }
        found
    }
    let joined = plan("select a.v, b.v from raw.texts a join raw.texts b on a.id = b.id").await;
    let sides = below(&joined, "HashJoinExec");
    let [kept, probed] = sides.as_slice() else { panic!("{sides:?}") };
    assert_eq!((kept.name(), texts::has_views(probed.as_ref())), ("OwnedExec", true));
    // What is kept takes as much memory as is in it: 20,000 views and the long texts, not the pages of files.
    let context = session.query("select 1").await.unwrap().state.task_ctx();
    let mut batches = Vec::new();
    for partition in
        0..datafusion::physical_plan::ExecutionPlanProperties::output_partitioning(kept)
            .partition_count()
    {
        let rows = kept.execute(partition, Arc::clone(&context)).unwrap();
        batches.extend(rows.try_collect::<Vec<_>>().await.unwrap());
    }
    let (mut used, mut taken) = (0, 0);
    for batch in &batches {
        for column in batch.columns().iter().filter(|c| *c.data_type() == DataType::Utf8View) {
            let views = column.as_string_view();
            used += views.total_buffer_bytes_used();
            taken += views.data_buffers().iter().map(|buffer| buffer.capacity()).sum::<usize>();
        }
    }
    assert!(used > 500_000 && taken < used * 11 / 10, "{taken} bytes kept for {used}");
    for sql in [
        "select v from raw.texts order by v",
        "select v, row_number() over (partition by state order by v) from raw.texts",
        "select distinct on (state) state, v from raw.texts order by state, v",
        "select state, array_agg(v order by id) from raw.texts group by state",
        "select first_value(v order by id) from raw.texts",
    ] {
        let plan = plan(sql).await;
        for sort in below(&plan, "SortExec") {
            let views = sort.schema().fields().iter().any(|f| *f.data_type() == DataType::Utf8View);
            assert!(!views, "{sql} sorts views");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_beyond_the_memory_limit_are_spilled_or_refused() {
    // 20,000 rows have 600 kB of long texts; a plan over pages would count and keep many times that.
    let t = texts_lake(8 << 20).await;
    let session = t.lake.session(catalog_of(&t.lake).await).unwrap();
    for (sql, rows) in [
        (
            "select a.v, b.v from raw.texts a join raw.texts b on a.id = b.id order by a.v, a.id",
            20_000,
        ),
        ("select id, v, state from raw.texts order by v, id", 20_000),
        ("select v, count(*), min(state) from raw.texts group by v order by v", 5_006),
        ("select v, row_number() over (order by v, id) from raw.texts", 20_000),
    ] {
        let query = session.query(sql).await.unwrap();
        let batches = query.collect().await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "{sql}");
        assert_eq!(query.reserved(), 0, "{sql}");
    }
    let all = "select string_agg(a.v || b.v || a.id || b.id, ',') from raw.texts a cross join raw.texts b where a.id < 400";
    let error = session.query(all).await.unwrap().collect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
}
