//! What a reader sees of the log of a real server.

mod ddl;
mod failures;
mod shapes;
mod workload;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use flywheel_testkit::Postgres as TestServer;
use futures::StreamExt;
use serde_json::{Value as Json, json};

use super::*;
use crate::page::Position;
use crate::source::contract::now;
use crate::source::replica::{Target, catch_up, drain, go_on, rows, whole};
use crate::source::{ReadRequest, Source, SourceContext, SourceEntry};

/// A server of its own: a transaction that another test leaves open would hold up new slots.
fn server() -> &'static TestServer {
    static SERVER: OnceLock<TestServer> = OnceLock::new();
    SERVER
        .get_or_init(|| TestServer::start_with(&["max_replication_slots=60", "max_wal_senders=60"]))
}

/// A database of one test.
struct Database {
    name: String,
}

impl Database {
    fn new(sql: &str) -> Self {
        let database = Self { name: server().database() };
        database.run(sql);
        database
    }

    fn run(&self, sql: &str) -> String {
        server().psql(&self.name, sql)
    }

    fn connection(&self) -> Json {
        crate::postgres::testing::connection(server().port(), &self.name)
    }

    fn source(&self) -> Box<dyn Source> {
        source(self.connection())
    }

    /// A request for whole tables; readers of the server have the database in their names.
    fn request(&self, tables: &[&str]) -> ChangesRequest {
        let stream = |table: &&str| ReadRequest::full(json!({ "table": table }), now());
        let name = self.name.clone();
        ChangesRequest { name, streams: tables.iter().map(stream).collect(), follow: false }
    }

    fn slot(&self, what: &str) -> String {
        self.run(&format!(
            "SELECT {what} FROM pg_replication_slots WHERE slot_name = 'flywheel_{}'",
            self.name
        ))
    }
}

fn source(connection: Json) -> Box<dyn Source> {
    let ctx = SourceContext { base_dir: ".".into(), now: now(), connections: Default::default() };
    SourceEntry::named("postgres").unwrap().build(connection, &ctx).unwrap()
}

fn lsn(position: &Position) -> Lsn {
    Stored::of(position).unwrap().lsn
}

#[tokio::test]
async fn pages_follow_each_other_from_any_position() {
    let database = Database::new(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t SELECT n, 'first' FROM generate_series(1, 50) n; ANALYZE t;",
    );
    let source = database.source();
    let mut request = database.request(&["t"]);
    request.streams[0].page_rows = 7;
    request.streams[0].stream = json!({ "table": "t", "chunk_rows": 20 });
    let mut pages: Vec<ChangesPage> = drain(&*source, &request).await.unwrap();
    assert!(pages.len() > 5);
    let last = pages.last().unwrap().page.position.clone();
    assert!(last.0.get("snapshot").is_none(), "{}", last.0);
    database.run(
        "INSERT INTO t SELECT n, 'second' FROM generate_series(51, 60) n;
         UPDATE t SET v = 'changed' WHERE id % 3 = 0; DELETE FROM t WHERE id % 5 = 0;
         UPDATE t SET id = id + 100 WHERE id < 5; INSERT INTO t VALUES (5, 'again')",
    );
    request.streams[0].from = Some(last);
    pages.extend(drain(&*source, &request).await.unwrap());
    let expected = whole(&*source, "t").await;
    let mut cut = Target::default();
    for page in &pages {
        cut.apply(page);
        if !cut.held.is_empty() {
            continue;
        }
        let mut resumed = cut.clone();
        request.streams[0].from.clone_from(&resumed.position);
        for page in drain(&*source, &request).await.unwrap() {
            resumed.apply(&page);
        }
        assert_eq!(resumed.rows, expected, "from {:?}", cut.position);
    }
    assert_eq!(cut.rows, expected);
    database.source().forget(&request.name).await.unwrap();
    assert_eq!(database.slot("count(*)"), "0");
    assert_eq!(database.run("SELECT count(*) FROM pg_publication"), "0");
    database.source().forget(&request.name).await.unwrap();
}

#[tokio::test]
async fn a_large_transaction_comes_in_pages_that_only_the_last_one_ends() {
    let database = Database::new("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let source = database.source();
    let mut request = database.request(&["t"]);
    request.streams[0].page_rows = 100;
    let mut targets = [Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    database.run(
        "INSERT INTO t VALUES (0, 'small');
         INSERT INTO t SELECT n, 'x' FROM generate_series(1, 1000) n;
         INSERT INTO t VALUES (1001, 'small')",
    );
    // psql runs several statements as one transaction.
    let pages = drain(&*source, &request).await.unwrap();
    assert!(pages.iter().all(|page| page.page.batch.num_rows() <= 100));
    // An empty page may follow that only has a newer position.
    let filled: Vec<&ChangesPage> =
        pages.iter().filter(|page| page.page.batch.num_rows() > 0).collect();
    let ends: Vec<bool> = filled.iter().map(|page| !page.page.position.0.is_null()).collect();
    assert_eq!(ends.iter().filter(|end| **end).count(), 1, "{ends:?}");
    assert_eq!((ends.len(), ends.last()), (11, Some(&true)));
    assert!(filled.iter().all(|page| page.committed_at.is_some()));
    pages.iter().for_each(|page| targets[0].apply(page));
    assert_eq!(targets[0].rows.len(), 1002);

    // Small ones share a page.
    request.streams[0].from.clone_from(&targets[0].position);
    for id in 2000..2020 {
        database.run(&format!("INSERT INTO t VALUES ({id}, 'one')"));
    }
    let pages = drain(&*source, &request).await.unwrap();
    assert_eq!(pages[0].page.batch.num_rows(), 20);
    // Unless each is to tell when it was committed.
    request.streams[0].by_transaction = true;
    let pages = drain(&*source, &request).await.unwrap();
    let filled: Vec<&ChangesPage> =
        pages.iter().filter(|page| page.page.batch.num_rows() > 0).collect();
    assert_eq!(filled.len(), 20);
    assert!(filled.windows(2).all(|pair| pair[0].committed_at < pair[1].committed_at));
    assert!(filled.iter().all(|page| !page.page.position.0.is_null()));
}

#[tokio::test]
async fn positions_and_the_slot_advance_while_the_tables_do_not_change() {
    let database = Database::new(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE busy (id int);
         INSERT INTO t VALUES (1)",
    );
    let source = database.source();
    let mut request = database.request(&["t"]);
    let mut targets = [Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    let before = lsn(targets[0].position.as_ref().unwrap());
    database.run("INSERT INTO busy SELECT * FROM generate_series(1, 1000)");
    let end: Lsn = database.run("SELECT pg_current_wal_lsn()").try_into().unwrap();
    let pages = drain(&*source, &request).await.unwrap();
    let [page] = pages.as_slice() else { panic!("{pages:?}") };
    assert_eq!((page.page.batch.num_rows(), page.committed_at), (0, None));
    let position = page.page.position.clone();
    assert!(lsn(&position) >= end && end > before);
    request.streams[0].from = Some(position.clone());
    source.acknowledge(&request).await.unwrap();
    assert_eq!(database.slot("confirmed_flush_lsn"), lsn(&position).to_string());
    source.acknowledge(&request).await.unwrap();
    request.streams[0].from = None;
    source.acknowledge(&request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_followed_hands_over_soon_and_hears_what_is_stored() {
    let database = Database::new("CREATE TABLE t (id int PRIMARY KEY)");
    let source = database.source();
    let mut request = database.request(&["t"]);
    let mut targets = [Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    let following = ChangesRequest { follow: true, ..request.clone() };
    let mut pages = source.changes(&following);
    for id in 1..4 {
        database.run(&format!("INSERT INTO t VALUES ({id})"));
        let page = pages.next().await.unwrap().unwrap();
        targets[0].apply(&page);
        assert_eq!(targets[0].rows.len(), id);
        request.streams[0].from.clone_from(&targets[0].position);
        source.acknowledge(&request).await.unwrap();
        let wanted = lsn(targets[0].position.as_ref().unwrap()).to_string();
        while database.slot("confirmed_flush_lsn") != wanted {}
    }
    let second = drain(&*database.source(), &request).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Conflict, "{second:?}");
    drop(pages);
    catch_up(&*source, &mut request, &mut targets).await;
    source.acknowledge(&request).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_comes_later_is_read_whole_and_misses_no_open_transaction() {
    let database = Database::new(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);
         INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)",
    );
    let source = database.source();
    let mut request = database.request(&["t"]);
    let mut targets = vec![Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    let settings: crate::postgres::Postgres =
        serde_json::from_value(database.connection()).unwrap();
    let other = settings.server(".".as_ref()).unwrap().connect().await.unwrap();
    other.execute("BEGIN; INSERT INTO u VALUES (2)").await.unwrap();
    request.streams.push(ReadRequest::full(json!({ "table": "u" }), now()));
    targets.push(Target::default());
    let ends = async {
        let sql = "SELECT count(*) FROM pg_publication_tables";
        while database.run(sql) != "2" {
            tokio::task::yield_now().await;
        }
        other.execute("INSERT INTO u VALUES (3); COMMIT; INSERT INTO t VALUES (4)").await.unwrap();
    };
    let (pages, ()) = tokio::join!(drain(&*source, &request), ends);
    pages.unwrap().iter().for_each(|page| targets[page.stream].apply(page));
    assert_eq!(targets[0].rows, whole(&*source, "t").await);
    assert_eq!(targets[1].rows, whole(&*source, "u").await);
}
