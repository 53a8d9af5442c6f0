//! A backlog of 1.3 million changes from the logs of PostgreSQL and MariaDB into the committed lake,
//! how long a single change takes, and what changes cost that fall everywhere in a large table.

use std::fs;
use std::path::Path;

use flywheel_testkit::{MariaDb, Postgres};

use super::goal::{at_least, at_most, at_most_beside, mebibytes, per_million, write_files};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::process::Cost;
use crate::tally::Tally;
use crate::{Result, process};

mod debezium;
mod lag;
mod scattered;

/// Rows of the table before the backlog.
const ROWS: u64 = 300_000;
/// Rows of the table that is read whole from MariaDB, so many that a start weighs little.
const MARIA_ROWS: u64 = 2_000_000;
/// Changes of the backlog, 1,000 in each transaction: 7 of 13 inserted, 4 updated, 2 deleted.
const EVENTS: u64 = 1_300_000;

const EVENTS_PER_S_MIN: f64 = 100_000.0;
const CPU_MAX: f64 = 4.0;
const MARIA_FULL_CPU_MAX: f64 = 1.2;
const MARIA_ROWS_PER_S_MIN: f64 = 80_000.0;

/// Where the project finds a server's password.
const PASSWORD_VARIABLE: &str = "BENCH_PASSWORD";

/// What both sides must agree in.
const SUMS: &str =
    "select count(*), sum(id), sum(customer_id), sum(amount), sum(length(note)) from ";

/// Follows both logs and checks sums and costs.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch("pg-cdc")?;
    let mut tally = Tally::default();
    postgres(context, &flywheel, &folder, &mut tally)?;
    maria(&flywheel, &folder.join("maria"), &mut tally)?;
    Ok(tally)
}

fn postgres(
    context: &Context,
    flywheel: &Flywheel,
    folder: &Path,
    tally: &mut Tally,
) -> Result<()> {
    let project = &folder.join("postgres");
    let server = Postgres::start_with(&["shared_buffers=1GB", "max_wal_size=8GB"]);
    let database = server.database();
    server.psql(
        &database,
        &format!(
            "create table orders (id bigint primary key, customer_id bigint, amount numeric(12,2), status text, at timestamptz, note text);
             insert into orders select g, g % 5000, (g % 1000) / 100.0, 'new', timestamptz '2024-01-01' + g * interval '1 second', 'note number ' || g from generate_series(1, {ROWS}) g"
        ),
    );
    let connection = format!(
        "connection: db\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: postgres, password: '${{env:{PASSWORD_VARIABLE}}}'}}\n",
        server.port()
    );
    project_files(project, &connection)?;
    let sync = || sync(flywheel, project, Postgres::PASSWORD);
    let first = sync()?;
    println!("PostgreSQL: {ROWS} rows read whole: {first}");
    debezium::begin(&server, &database);
    server.psql(
        &database,
        "do $$ begin for i in 0..1299 loop
           if i % 13 < 7 then insert into orders select 1000000 + i * 1000 + g, g, 1.25, 'new', '2024-06-01', 'note number ' || g from generate_series(1, 1000) g;
           elsif i % 13 < 11 then update orders set amount = amount + 1, status = 'paid' where id between (i * 229 % 299) * 1000 + 1 and (i * 229 % 299) * 1000 + 1000;
           else delete from orders where id between 1000000 + (i - 9) * 1000 + 1 and 1000000 + (i - 9) * 1000 + 1000; end if;
           commit; end loop; end $$",
    );
    let cost = sync()?;
    println!("PostgreSQL: {EVENTS} changes: {cost}");
    let there = server.psql(&database, &format!("{SUMS} orders"));
    let equal = same(&there, &here(flywheel, project)?);
    tally.record("pg-cdc: PostgreSQL: the lake has the sums of the table", equal && cost.success);
    goals(tally, "PostgreSQL", &cost, EVENTS_PER_S_MIN);
    let debezium = debezium::measure(context, folder, &server, &database, &cost)?;
    let what = "PostgreSQL: CPU-s for a million changes";
    at_most_beside(tally, what, per_million(&cost, EVENTS), CPU_MAX, debezium);
    scattered::run(flywheel, &folder.join("scattered"), &server, tally)?;
    lag::run(flywheel, &folder.join("lag"), &server, tally)
}

fn maria(flywheel: &Flywheel, project: &Path, tally: &mut Tally) -> Result<()> {
    let server = MariaDb::start_with(&["--innodb-buffer-pool-size=512M"]);
    let database = server.database();
    let seed = format!(
        "create table orders (id bigint primary key, customer_id bigint, amount decimal(12,2), status varchar(16), at datetime, note varchar(100)) engine=innodb;
         insert into orders select seq, seq % 5000, (seq % 1000) / 100.0, 'new', '2024-01-01' + interval seq second, concat('note number ', seq) from seq_1_to_{ROWS}"
    );
    server.sql(&database, &seed);
    let connection = format!(
        "connection: db\ntype: mysql\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: {}, password: '${{env:{PASSWORD_VARIABLE}}}'}}\n",
        server.port(),
        MariaDb::USER
    );
    project_files(project, &connection)?;
    let sync = || sync(flywheel, project, MariaDb::PASSWORD);
    whole(flywheel, project, &server, &database, tally)?;
    let first = sync()?;
    println!("MariaDB: {ROWS} rows before the changes: {first}");
    server.sql(
        &database,
        "set session binlog_format = 'ROW';
         delimiter //
         begin not atomic
           declare i int default 0;
           while i < 1300 do
             if i % 13 < 7 then insert into orders select 1000000 + i * 1000 + seq, seq, 1.25, 'new', '2024-06-01', concat('note number ', seq) from seq_1_to_1000;
             elseif i % 13 < 11 then update orders set amount = amount + 1, status = 'paid' where id between (i * 229 % 299) * 1000 + 1 and (i * 229 % 299) * 1000 + 1000;
             else delete from orders where id between 1000000 + (i - 9) * 1000 + 1 and 1000000 + (i - 9) * 1000 + 1000; end if;
             commit;
             set i = i + 1;
           end while;
         end //",
    );
    // Killed on its way, it goes on from the transactions that are in the lake.
    let mut child = flywheel
        .on(project, &["sync"])
        .env(PASSWORD_VARIABLE, MariaDb::PASSWORD)
        .stdout(std::process::Stdio::null())
        .spawn()?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    child.kill()?;
    child.wait()?;
    let before: u64 = here(flywheel, project)?.split(',').next().unwrap_or_default().parse()?;
    println!("MariaDB: killed after 2 s, with {before} rows in the lake");
    let cost = sync()?;
    println!("MariaDB: the rest of {EVENTS} changes: {cost}");
    let there = server.sql(&database, &format!("{SUMS} orders"));
    let equal = same(&there, &here(flywheel, project)?);
    tally.record("pg-cdc: MariaDB: the lake has the sums of the table", equal && cost.success);
    // The rest is at least what the lake had not seen; counted as all of it, 2 s go on top.
    let whole = Cost { wall_s: cost.wall_s + 2.0, ..cost };
    goals(tally, "MariaDB", &whole, MARIA_ROWS_PER_S_MIN);
    Ok(())
}

/// A table that is read whole by a sync of its own.
fn whole(
    flywheel: &Flywheel,
    project: &Path,
    server: &MariaDb,
    database: &str,
    tally: &mut Tally,
) -> Result<()> {
    server.sql(
        database,
        &format!(
            "create table many like orders;
             insert into many select seq, seq % 5000, (seq % 1000) / 100.0, 'new', '2024-01-01' + interval seq second, concat('note number ', seq) from seq_1_to_{MARIA_ROWS}"
        ),
    );
    let text = "sync: whole\nconnection: db\nstreams:\n  - {stream: many, options: {table: many}, read: full, write: replace}\n";
    write_files(project, &[("syncs/whole.yaml", text.to_owned())])?;
    let mut command = flywheel.on(project, &["sync", "whole", "--output", "csv"]);
    let cost = process::measure(command.env(PASSWORD_VARIABLE, MariaDb::PASSWORD))?;
    println!("MariaDB: {MARIA_ROWS} rows read whole: {cost}");
    let query = format!("{SUMS} raw.many");
    let here = process::output(&mut flywheel.on(project, &["sql", &query, "--output", "csv"]))?;
    let there = server.sql(database, &format!("{SUMS} many"));
    let equal = same(&there, here.lines().last().unwrap_or_default());
    tally.record("pg-cdc: MariaDB: the lake has the rows read whole", equal && cost.success);
    let cpu = per_million(&cost, MARIA_ROWS);
    at_most(tally, "MariaDB: CPU-s for a million rows read whole", cpu, MARIA_FULL_CPU_MAX);
    fs::remove_file(project.join("syncs/whole.yaml"))?;
    Ok(())
}

fn goals(tally: &mut Tally, server: &str, cost: &Cost, least: f64) {
    let rate = EVENTS as f64 / cost.wall_s;
    at_least(tally, &format!("{server}: changes in a second"), rate, least);
    println!("{server}: peak {:.0} MiB", mebibytes(cost));
}

fn project_files(project: &Path, connection: &str) -> Result<()> {
    let name = format!("name: cdc_{}\n", std::process::id());
    write_files(
        project,
        &[
            ("flywheel.yaml", name),
            ("connections/db.yaml", connection.to_owned()),
            (
                "syncs/shop.yaml",
                "sync: shop\nconnection: db\nstreams:\n  - {stream: orders, options: {table: orders}, read: cdc, write: mirror, key: [id]}\n".to_owned(),
            ),
        ],
    )
}

fn sync(flywheel: &Flywheel, project: &Path, password: &str) -> Result<Cost> {
    let mut command = flywheel.on(project, &["sync", "--output", "csv"]);
    process::measure(command.env(PASSWORD_VARIABLE, password))
}

fn here(flywheel: &Flywheel, project: &Path) -> Result<String> {
    let query = format!("{SUMS} raw.orders");
    let text = process::output(&mut flywheel.on(project, &["sql", &query, "--output", "csv"]))?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// Whether two answers name the same values, however their fields are parted.
fn same(there: &str, here: &str) -> bool {
    let plain = |text: &str| text.trim().replace(['|', '\t'], ",");
    let equal = plain(there) == plain(here);
    if !equal {
        println!("the source says {}, the lake {}", plain(there), plain(here));
    }
    equal
}
