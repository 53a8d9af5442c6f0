//! The bugs of other programs that move data, each as a test of the whole program that fails if it had that bug, too.
//!
//! The numbers are those of the lessons in `docs/concepts/lessons.md`, which also names the tests of the floors below.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flywheel_testkit::wait_for;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::changes::{Shop, round};
use crate::house::{House, text};
use crate::link_crms::server::{Answer, Asked, serve};

/// The shop's database, with a schema for copies of its tables in the connection `copies`, after `sql`.
fn shop(sql: &str, sync: &str) -> Shop {
    let shop = Shop::new();
    shop.run("create schema copies");
    shop.run(sql);
    let connection = shop.house.read("connections/shop.yaml");
    let connection = connection.replacen("connection: shop", "connection: copies", 1);
    shop.house.write("connections/copies.yaml", connection).write("syncs/shop.yaml", sync);
    shop
}

/// The sync that a shop begins with: the log of both tables, into the lake.
fn followed() -> Shop {
    let shop = Shop::new();
    shop.house.ok(&["sync"]);
    assert_eq!(shop.difference(), None);
    shop
}

/// How many rows the syncs of a stream have read so far.
fn rows_read(house: &House, stream: &str) -> u64 {
    let sql = format!(
        "select coalesce(sum(rows_in), 0) from system.tasks where kind = 'sync' and name like '%{stream}%'"
    );
    house.cell(&sql).parse().unwrap()
}

/// A web API and what has become of it.
#[derive(Default)]
struct Api {
    /// Whether it takes nothing at all.
    down: bool,
    /// The id of the contact that it does not take.
    refuses: String,
    /// How many answers are lost on their way.
    lost: usize,
    asked: Vec<String>,
    contacts: BTreeMap<String, Value>,
    /// Each as often as it came.
    events: Vec<Value>,
    /// Requests that it has had.
    keys: BTreeSet<String>,
}

impl Api {
    fn answer(&mut self, asked: &Asked) -> Answer {
        self.asked.push(format!("{} {}", asked.method, asked.path));
        if self.down {
            return Answer::json(503, &json!({"message": "down for maintenance"}));
        }
        if asked.path == "/events" {
            if self.keys.insert(asked.idempotency_key.clone()) {
                self.events.extend(asked.json().as_array().unwrap().iter().cloned());
            }
        } else {
            let id = asked.path.rsplit('/').next().unwrap().to_owned();
            if id == self.refuses {
                return Answer::json(422, &json!({"message": "the mail is not one"}));
            }
            self.contacts.insert(id, asked.json());
        }
        let answer = Answer::json(200, &json!({"ok": true}));
        if self.lost > 0 {
            self.lost -= 1;
            return answer.lost();
        }
        answer
    }
}

/// A project that writes the contacts of a file of SQLite into a web API.
struct Outlet {
    house: House,
    database: Connection,
    api: Arc<Mutex<Api>>,
}

impl Outlet {
    /// `stream` is what follows the name and the source of the one stream.
    fn new(stream: &str) -> Self {
        let (house, api) = (House::new(), Arc::<Mutex<Api>>::default());
        let url = serve(&api, Api::answer);
        let database = Connection::open(house.path("old.db")).unwrap();
        let contacts = "create table contacts (id integer primary key, mail text);
                        insert into contacts values (1, 'ann@x.org'), (2, 'bob'), (3, 'cy@x.org')";
        database.execute_batch(contacts).unwrap();
        house
            .write("connections/old.yaml", "connection: old\ntype: sqlite\noptions: {path: old.db}\n")
            .write(
                "connections/crm.yaml",
                format!(
                    "connection: crm\ntype: rest\noptions: {{base_url: '{url}', allow_private: true, retries: 1}}\n"
                ),
            )
            .write(
                "syncs/out.yaml",
                format!(
                    "sync: out\nconnection: old\ndestination: crm\nstreams:\n  - {{stream: contacts, options: {{table: contacts}}, {stream}}}\n"
                ),
            );
        Self { house, database, api }
    }

    fn api(&self) -> MutexGuard<'_, Api> {
        self.api.lock().unwrap()
    }

    /// What the API is asked while the sync runs and ends well.
    fn asked(&self) -> Vec<String> {
        self.api().asked.clear();
        self.house.ok(&["sync", "out"]);
        self.api().asked.clone()
    }
}

/// Lesson 1. In DataX (#852) all tasks of a process counted bad rows in one place, so that one task's rows failed another; in
/// chunjun (#1718) each thread counted for itself, so that a limit of ten let ten through in every thread.
#[test]
fn a_budget_of_bad_rows_counts_over_all_files_of_a_stream_in_a_run_and_for_no_other_stream() {
    let house = House::new();
    let stream = |name: &str| {
        format!(
            "  - {{stream: {name}, options: {{path: '{name}*.csv'}}, read: incremental, write: append, columns: [{{name: id, type: int64}}]}}\n"
        )
    };
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write(
            "syncs/in.yaml",
            format!(
                "sync: in\nconnection: files\nlimits: {{parallelism: 2}}\nerrors: {{max_bad_rows: 10}}\nstreams:\n{}{}",
                stream("events"),
                stream("visits")
            ),
        );
    let file = |name: &str, bad: usize| {
        let mut rows = "id\n".to_owned();
        for row in 0..20 {
            writeln!(rows, "{}", if row < bad { format!("no {row}") } else { row.to_string() })
                .unwrap();
        }
        house.write(&format!("data/{name}.csv"), rows);
    };
    // No file of the events is beyond the limit; all of them are. The visits are within it by themselves.
    (1..=4).for_each(|at| file(&format!("events{at}"), 3));
    (1..=2).for_each(|at| file(&format!("visits{at}"), 4));
    let complaint = house.fails(3, &["sync"]);
    assert!(complaint.contains("max_bad_rows") && complaint.contains("events"), "{complaint}");
    assert!(!complaint.contains("visits1.csv"), "{complaint}");
    let landed = "select name from system.tables where name like 'raw.%'";
    assert_eq!(house.sql(landed), ["raw.visits"]);
    assert_eq!(house.cell("select count(*) from raw.visits"), "32");

    // Nine are enough for nobody; and the next run begins to count anew.
    file("events4", 0);
    house.ok(&["sync"]);
    assert_eq!(house.cell("select count(*) from raw.events"), "71");
    (5..=6).for_each(|at| file(&format!("events{at}"), 5));
    file("visits3", 10);
    house.ok(&["sync"]);
    let counts =
        "select (select count(*) from raw.events) as a, (select count(*) from raw.visits) as b";
    assert_eq!(house.cell(counts), "101,42");
    assert_eq!(house.cell("select count(*) from system.quarantine"), "37");
}

/// Lesson 1, where several connections read one table at once.
#[test]
fn a_budget_of_bad_rows_counts_over_all_workers_that_read_a_table() {
    let sync = |most: usize| {
        format!(
            "sync: shop\nconnection: shop\nerrors: {{max_bad_rows: {most}}}\nstreams:\n  - {{stream: spans, options: {{table: spans, chunk_rows: 500, parallel: 3}}, read: full, write: replace}}\n"
        )
    };
    let shop = shop(
        "create table spans (id bigint primary key, at timestamptz);
         insert into spans select n, case when n % 250 = 7 then 'infinity' else '2024-05-01T12:00:00Z'::timestamptz end from generate_series(1, 3000) n;
         analyze spans",
        &sync(11),
    );
    // Twelve of them, of which no worker has eleven.
    let complaint = shop.house.fails(3, &["sync"]);
    assert!(complaint.contains("max_bad_rows"), "{complaint}");
    let landed = "select count(*) from system.tables where name = 'raw.spans'";
    assert_eq!(shop.house.cell(landed), "0", "nothing of it is published");
    shop.house.write("syncs/shop.yaml", sync(12));
    shop.house.ok(&["sync"]);
    assert_eq!(shop.house.cell("select count(*) from raw.spans"), "2988");
    assert_eq!(shop.house.cell("select count(*) from system.quarantine"), "12");
}

/// Lesson 2. Multiwoven (#910) noted a row's fingerprint before the target had answered: a refused row counted as sent, and
/// was never sent again.
#[test]
fn a_row_that_the_target_refused_does_not_count_as_sent() {
    let outlet = Outlet::new(
        "read: full, write: merge, key: [id], target: {path: '/contacts/{id}', method: PUT}",
    );
    outlet.api().down = true;
    let run = outlet.house.run(&["sync", "out"]);
    assert!(!run.status.success(), "nobody took a row: {}", text(&run.stdout));
    assert!(outlet.api().contacts.is_empty());

    // What was sent in vain is sent again; a row that alone is refused costs no other.
    outlet.api().down = false;
    outlet.api().refuses = "2".to_owned();
    let all = ["PUT /contacts/1", "PUT /contacts/2", "PUT /contacts/3"];
    assert_eq!(outlet.asked(), all);
    let ids = |outlet: &Outlet| outlet.api().contacts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&outlet), ["1", "3"]);
    assert_eq!(outlet.asked(), [all[1]], "it was not taken, and the others were");

    outlet.api().refuses = String::new();
    assert_eq!(outlet.asked(), [all[1]]);
    assert_eq!(ids(&outlet), ["1", "2", "3"]);
    assert_eq!(outlet.asked(), [""; 0], "all of them are there");
    outlet.database.execute_batch("update contacts set mail = 'new@x.org' where id = 3").unwrap();
    assert_eq!(outlet.asked(), [all[2]]);
    assert_eq!(outlet.api().contacts["3"]["mail"], "new@x.org");
}

/// Lesson 3. In supabase/etl (#429) a slot kept the log of a busy server until the disk was full, because the tables that it
/// was read for did not change; Debezium asks its users for a table of heartbeats.
#[test]
fn a_slot_moves_on_while_its_own_tables_are_idle() {
    let shop = followed();
    let version = "select sum(version) from system.tables where name like 'raw.%'";
    let before = shop.house.cell(version);
    shop.run("create table elsewhere (n bigint, filler text)");
    for _ in 0..3 {
        let busy =
            "insert into elsewhere select n, repeat('x', 200) from generate_series(1, 5000) n";
        shop.run(busy);
        let end = shop.run("select pg_current_wal_lsn()");
        shop.house.ok(&["sync"]);
        let kept = format!(
            "select confirmed_flush_lsn >= '{end}' from pg_replication_slots where database = current_database()"
        );
        assert_eq!(shop.run(&kept), "t", "the log before {end} is kept for nobody");
    }
    assert_eq!(shop.house.cell(version), before, "and nothing was written for it");
    shop.run(&round(1));
    shop.house.ok(&["sync"]);
    assert_eq!(shop.difference(), None, "the next change is not missed");
}

/// Lesson 4. A slot was lost and made anew, and the reader went on at the later of both places: what lay between was missing
/// without a word (supabase/etl #935, Debezium DBZ-5739).
#[test]
fn a_slot_that_was_made_anew_is_refused_until_everything_is_read_again() {
    let shop = followed();
    let slot = "select slot_name from pg_replication_slots where database = current_database()";
    let slot = shop.run(slot);
    shop.run(&format!("select pg_drop_replication_slot('{slot}')"));
    // Nobody will ever hear of these.
    shop.run(&round(1));
    shop.run(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
    shop.run("insert into customers values (900001, 'after the new slot', null)");
    for _ in 0..2 {
        let said = shop.house.fails(3, &["sync"]);
        assert!(said.contains("made anew") && said.contains("--restart"), "{said}");
        let late = "select count(*) from raw.customers where id = 900001";
        assert_eq!(shop.house.cell(late), "0", "it did not go on behind a gap");
    }
    shop.house.ok(&["sync", "shop", "--restart"]);
    assert_eq!(shop.difference(), None);
    shop.run(&round(2));
    shop.house.ok(&["sync"]);
    assert_eq!(shop.difference(), None, "and the log is read on");
}

/// Lesson 5. PostgreSQL leaves a large value out of its log if an update did not touch it; PeerDB, Debezium (by a placeholder)
/// and XTDB (#5789) have overwritten the target's value with what stood for it.
#[test]
fn a_large_value_that_an_update_leaves_out_is_not_overwritten() {
    let shop = shop(
        "create table papers (id bigint primary key, n int, body text);
         alter table papers alter body set storage external;
         insert into papers select n, 0, repeat(md5(n::text), 4000) from generate_series(1, 20) n",
        "sync: shop\nconnection: shop\ndestination: [lake, copies]\nstreams:\n  - {stream: papers, options: {table: papers}, read: cdc, write: mirror, key: [id], target: {table: copies.papers}}\n",
    );
    let of = "id, n, length(body) as length, right(body, 32) as ends";
    let check = |when: &str| {
        let there = shop.run(&format!("select {of} from papers order by id"));
        assert_eq!(
            shop.run(&format!("select {of} from copies.papers order by id")),
            there,
            "{when}"
        );
        let here = shop.house.sql(&format!("select {of} from raw.papers order by id"));
        let there: Vec<String> = there.lines().map(|row| row.replace('|', ",")).collect();
        assert_eq!(here, there, "{when}");
    };
    shop.house.ok(&["sync"]);
    check("after the whole read");
    shop.run("update papers set n = 1 where id <= 10");
    shop.house.ok(&["sync"]);
    check("after updates that left the body alone");
    // Of a row that is new to the target, of one whose key changes, and of one that changes twice.
    shop.run(
        "insert into papers select 30, 0, repeat(md5('30'), 4000);
         update papers set n = 2 where id in (30, 11);
         update papers set id = 40 where id = 12;
         update papers set body = repeat(md5('new'), 5000) where id = 13;
         update papers set n = 3 where id = 13",
    );
    shop.house.ok(&["sync"]);
    check("after every kind of update");
    assert_eq!(shop.house.cell("select min(length(body)) from raw.papers"), "128000");
}

/// Lesson 6. dlt (#4030) remembered every row that had the last value of the cursor: after an import in one moment its state
/// grew by each row of it.
#[test]
fn a_state_does_not_grow_with_the_rows_that_share_a_cursor_value() {
    const ROWS: i64 = 20_000;
    let shop = shop(
        &format!(
            "create table visits (id bigint primary key, at timestamptz);
             insert into visits select n, '2024-05-01T12:00:00Z' from generate_series(1, {ROWS}) n"
        ),
        "sync: shop\nconnection: shop\ndestination: out\nstreams:\n  - {stream: visits, options: {table: visits}, read: incremental, cursor: at, write: append, target: {table: visits}}\n",
    );
    shop.house
        .write("connections/out.yaml", "connection: out\ntype: sqlite\noptions: {path: out.db}\n");
    let state = |expected: i64| {
        shop.house.ok(&["sync"]);
        let out = Connection::open(shop.house.path("out.db")).unwrap();
        let number = |sql: &str| out.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("select count(*) from visits"), expected);
        assert_eq!(number("select count(distinct id) from visits"), expected);
        number("select max(length(position)) from _flywheel_sync_state")
    };
    let first = state(ROWS);
    assert!(first < 500, "{first} bytes");
    assert_eq!(state(ROWS), first, "nothing is new");
    let more = "insert into visits select n, '2024-05-01T12:00:00Z' from generate_series(100001, 100500) n";
    shop.run(more);
    let second = state(ROWS + 500);
    assert!(second < first + 10, "{second} bytes after {first}");
}

/// Lesson 7. A tap of Singer's SDK (#1064) stopped at a record that it could not read, and with it went the places of all
/// streams that had been read well.
#[test]
fn a_record_that_cannot_be_read_costs_no_stream_its_place() {
    let shop = followed();
    shop.run(
        "insert into customers values (900001, 'before', null);
         insert into orders values (900001, 1, 1, 'infinity'), (900002, 1, 2.5, '2024-06-01T00:00:00Z');
         insert into customers values (900002, 'behind', null)",
    );
    let before = (rows_read(&shop.house, "customers"), rows_read(&shop.house, "orders"));
    let check = |when: &str| {
        shop.house.ok(&["sync"]);
        let ids = |table: &str| {
            shop.house.sql(&format!("select id from raw.{table} where id > 900000 order by id"))
        };
        assert_eq!(ids("customers"), ["900001", "900002"]);
        assert_eq!(ids("orders"), ["900002"]);
        let aside = "select count(*), min(code) from system.quarantine where status = 'open'";
        assert_eq!(shop.house.sql(aside), ["1,out-of-range"], "{when}");
        let now = (rows_read(&shop.house, "customers"), rows_read(&shop.house, "orders"));
        (now.0 - before.0, now.1 - before.1)
    };
    let read = check("once");
    assert!(read.0 <= 2 && read.1 <= 2, "only what is new is read: {read:?}");
    assert_eq!(check("again"), read, "neither stream is read again from an older place");
}

/// Lesson 8. SeaTunnel (#10574) lost the rows of a commit that it was killed in.
#[test]
fn a_kill_around_a_commit_neither_loses_nor_doubles_a_row() {
    let shop = shop(
        "create table visits (id bigint primary key, note text)",
        "sync: shop\nconnection: shop\ndestination: copies\nstreams:\n  - {stream: visits, options: {table: visits}, read: incremental, cursor: id, write: append, target: {table: copies.visits}}\n",
    );
    for n in 0..8_u32 {
        shop.run(&format!(
            "insert into visits select {n} * 10000 + s, 'visit ' || s from generate_series(1, 4000) s"
        ));
        // Each is cut off a little later, from before the first row to after the commit.
        shop.house.killed(&["sync"], Duration::from_millis(u64::from(n) * 60), || {});
    }
    shop.house.ok(&["sync"]);
    let all = "count(*), count(distinct id), sum(id), sum(length(note))";
    let expected = shop.run(&format!("select {all} from visits"));
    assert!(expected.starts_with("32000|32000|"), "{expected}");
    assert_eq!(shop.run(&format!("select {all} from copies.visits")), expected);
}

/// Lesson 8. Airbyte (#12336) had rows twice after it had tried again.
#[test]
fn a_request_whose_answer_was_lost_is_tried_again_and_doubles_no_row() {
    let outlet = Outlet::new(
        "read: incremental, cursor: id, write: append, target: {path: /events, batch: 2, idempotency_header: Idempotency-Key}",
    );
    outlet.api().lost = 1;
    let asked = outlet.asked();
    assert_eq!(asked, ["POST /events"; 3], "two batches, of which the first is sent once more");
    let ids = |outlet: &Outlet| {
        let mut ids: Vec<String> =
            outlet.api().events.iter().map(|event| event["id"].to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&outlet), ["1", "2", "3"]);
    // Also if all tries are in vain, and another run sends it once more.
    outlet.database.execute_batch("insert into contacts values (4, 'dot@x.org')").unwrap();
    outlet.api().lost = 2;
    assert!(!outlet.house.run(&["sync", "out"]).status.success());
    assert_eq!(ids(&outlet), ["1", "2", "3", "4"], "it was taken, and nobody knows");
    outlet.asked();
    assert_eq!(ids(&outlet), ["1", "2", "3", "4"]);
    assert_eq!(outlet.asked(), [""; 0]);
}

/// Lesson 9. With ingestr a column that was added had the whole table read again; elsewhere it stopped the pipeline.
#[test]
fn a_new_column_neither_stops_the_log_nor_has_the_table_read_again() {
    let shop = followed();
    let before = rows_read(&shop.house, "customers");
    shop.run(
        "alter table customers add column city text;
         update customers set city = 'Ulm' where id = 1;
         insert into customers (id, name, city) values (900001, 'late', 'Bonn')",
    );
    shop.house.ok(&["sync"]);
    assert_eq!(shop.difference(), None);
    let cities = "select id, city from raw.customers where city is not null order by id";
    assert_eq!(shop.house.sql(cities), ["1,Ulm", "900001,Bonn"]);
    let read = rows_read(&shop.house, "customers") - before;
    assert!(read <= 2, "two rows changed, and {read} were read");
}

/// Lesson 10. A copy of 200 million rows that broke off at 50 million began again at the first one (DataX #775, TIS #78).
#[test]
fn a_long_copy_that_breaks_off_goes_on_where_it_was() {
    const ROWS: u64 = 300_000;
    let shop = shop(
        "create table visits (id bigint primary key, note text); insert into visits values (0, 'first')",
        "sync: shop\nconnection: shop\ndestination: copies\nlimits: {rows_per_second: 100000}\nstreams:\n  - {stream: visits, options: {table: visits}, read: full, write: replace, target: {table: copies.visits}}\n",
    );
    shop.house.ok(&["sync"]);
    shop.run(&format!(
        "insert into visits select n, 'visit ' || n from generate_series(1, {ROWS}) n; analyze visits"
    ));
    // As soon as something of it is kept by the target.
    let staged = "select count(*) from copies._flywheel_sync_state where staged and sequence is not null and position is not null";
    let runs = shop.house.killed(&["sync"], Duration::ZERO, || {
        assert!(wait_for(|| shop.run(staged) != "0"), "nothing is kept on the way");
    });
    assert!(runs, "it ended before it could be killed");
    assert_eq!(shop.run("select count(*) from copies.visits"), "1", "a reader sees the old rows");

    let before = rows_read(&shop.house, "visits");
    shop.house.ok(&["sync"]);
    let read = rows_read(&shop.house, "visits") - before;
    // The target keeps every 50,000 rows at least, whatever they are.
    assert!(read <= ROWS + 1 - 50_000, "{read} of {ROWS} rows were read again");
    let all = "count(*), count(distinct id), sum(id), sum(length(note))";
    let expected = shop.run(&format!("select {all} from visits"));
    assert_eq!(shop.run(&format!("select {all} from copies.visits")), expected);
}

/// Lesson 11. Sling (#644) counted the rows of the target after a load and gave up, because the target showed them a little
/// later.
#[test]
fn a_target_that_does_not_show_its_rows_at_once_ends_no_run() {
    // What is written is taken away at once by another program, and comes to stand elsewhere.
    let shop = shop(
        "create table visits (id bigint primary key, note text);
         insert into visits select n, 'visit ' || n from generate_series(1, 1000) n;
         create table copies.visits (id bigint, note text);
         create table copies.taken (id bigint, note text);
         create function copies.take() returns trigger language plpgsql as $$ begin
           with gone as (delete from copies.visits returning *) insert into copies.taken select * from gone;
           return null;
         end $$;
         create trigger take after insert on copies.visits for each statement execute function copies.take()",
        "sync: shop\nconnection: shop\ndestination: copies\nstreams:\n  - {stream: visits, options: {table: visits}, read: incremental, cursor: id, write: append, target: {table: copies.visits}}\n",
    );
    for rows in [1_000, 1_500] {
        shop.house.ok(&["sync"]);
        assert_eq!(shop.run("select count(*) from copies.visits"), "0", "it shows none of them");
        let taken = "select count(*), count(distinct id) from copies.taken";
        assert_eq!(shop.run(taken), format!("{rows}|{rows}"), "each is there once");
        let told = "select status, balance, rows_in = rows_out from system.tasks where kind = 'sync' order by started_at desc limit 1";
        assert_eq!(shop.house.sql(told), ["succeeded,balanced,true"]);
        shop.run("insert into visits select n, 'late' from generate_series(5001, 5500) n on conflict do nothing");
    }
}

/// A command that runs without network; none if this system does not let a test take it away.
fn offline(program: &str) -> Option<Command> {
    let apart = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--", program]);
        command
    };
    let able = apart("true").output().is_ok_and(|output| output.status.success());
    if !able {
        eprintln!("NOT RUN: `unshare --user --net` is not possible here");
    }
    able.then(|| apart(program))
}

/// Lesson 12. Other programs fetch drivers, connectors or a whole database when they first run (Sling its DuckDB, ingestr its
/// Python packages), which fails behind a firewall.
#[test]
fn nothing_is_downloaded_at_run_time() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    let land = "sync: a_land\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}, read: full, write: replace}\n";
    house.write("syncs/a_land.yaml", land);
    house.write("data/orders.csv", "id,amount\n1,2.5\n2,4\n");
    house.write(
        "models/mart/doubled.sql",
        "select id, amount * 2 as amount from {{ source('raw', 'orders') }}",
    );
    let kinds = [("parquet", "parquet"), ("avro", "avro"), ("excel", "xlsx"), ("jsonl", "jsonl")];
    for (kind, ending) in kinds {
        let connection = format!("connection: {kind}\ntype: {kind}\noptions: {{folder: out}}\n");
        house.write(&format!("connections/{kind}.yaml"), connection);
        let out = format!(
            "sync: b_{kind}\nconnection: lake\ndestination: {kind}\nstreams:\n  - {{stream: doubled, options: {{table: mart.doubled}}, read: full, write: replace, target: {{path: doubled.{ending}}}}}\n"
        );
        house.write(&format!("syncs/b_{kind}.yaml"), out);
        let back = format!(
            "sync: c_{kind}\nconnection: {kind}\nstreams:\n  - {{stream: back, options: {{path: doubled.{ending}}}, read: full, write: replace, to: raw.back_{kind}}}\n"
        );
        house.write(&format!("syncs/c_{kind}.yaml"), back);
    }
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = offline("env")?;
        command.arg("-i").arg(format!("HOME={}", home.path().display()));
        command.arg(env!("CARGO_BIN_EXE_flywheel")).arg("-C").arg(house.dir()).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}\n{}", text(&output.stderr));
        Some(text(&output.stdout))
    };
    let mut names = vec!["a_land".to_owned()];
    names.extend(kinds.iter().flat_map(|(kind, _)| [format!("b_{kind}"), format!("c_{kind}")]));
    for name in &names {
        if run(&["sync", name]).is_none() {
            return;
        }
        if name == "a_land" {
            run(&["build"]);
        }
    }
    for (kind, _) in kinds {
        let sql = format!("select count(*), sum(id), sum(amount) from raw.back_{kind}");
        let answer = run(&["sql", &sql, "--output", "csv"]).unwrap();
        assert!(answer.ends_with("\n2,3,13.0\n") || answer.ends_with("\n2,3,13\n"), "{answer}");
    }
    let left = std::fs::read_dir(home.path()).unwrap().count();
    assert_eq!(left, 0, "something was put into the home folder");
}
