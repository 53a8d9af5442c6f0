//! Five million rows from PostgreSQL into the lake and into PostgreSQL, beside dlt and Sling.
//!
//! All of them copy the same table of one throwaway server in one run; DuckDB then reads what the
//! files hold and asks for the same sums.

use std::path::Path;
use std::process::Command;

use flywheel_testkit::Postgres;

use super::goal::{Yardstick, at_most, at_most_beside, mebibytes, per_million, write_files};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::process::Cost;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// Rows of the table, and of the longer one that shows that memory does not grow with it.
const ROWS: u64 = 5_000_000;
const ROWS_LONG: u64 = 20_000_000;

/// Processor seconds for a million rows: into the lake, and into PostgreSQL with a mapping.
const LAKE_CPU_MAX: f64 = 0.8;
const POSTGRES_CPU_MAX: f64 = 1.0;

/// What dlt with connectorx took where those goals were set.
const DLT_CPU: f64 = 2.32;

/// The most memory a copy into the lake may hold, in MiB, and how much more for the longer table.
const PEAK_MAX_MIB: f64 = 160.0;
const PEAK_GROWTH_MAX: f64 = 1.1;

/// Where the project finds the server's password.
const PASSWORD_VARIABLE: &str = "BENCH_PASSWORD";

/// The sums that every copy must have; `{}` is where the rows are.
const SUMS: &str = "select count(*), sum(id), sum(customer_id), sum(qty), cast(sum(amount) as numeric(20, 2)), count(*) filter (where priority), \
     max(created_at), min(ship_date), sum(length(note)), count(distinct status) from {}";

/// Copies the table in every way and checks costs and sums.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch("pg-copy")?;
    let server = Postgres::start_with(&["shared_buffers=1GB", "max_wal_size=4GB"]);
    let database = server.database();
    println!("seeding {ROWS} rows");
    seed(&server, &database, "orders_src", ROWS);
    let expected = server.psql(&database, &sums("orders_src"));
    let mut tally = Tally::default();
    let mut rows = vec![headings()];
    // Whether the others are right is told, and is no check of ours.
    let mut said = Vec::new();
    let mut check = |name: &str, holds: bool| tally.record(name, holds);

    let project = folder.join("shop");
    write_project(&project, &server, &database)?;
    let lake = copy(&flywheel, &project, "lake")?;
    rows.push(row("flywheel, into the lake", ROWS, &lake));
    let python = python::with_packages(context, "pg-copy", python::COPY_PEERS)?;
    let script = context.root.join("tests/parity/peer_pg_copy.py");
    let read = |kind: &str, path: &Path| -> Result<String> {
        let mut command = Command::new(&python);
        process::output(command.arg(&script).args(["sums", kind]).arg(path).arg(SUMS))
    };
    let ours = read("delta", &project.join(".flywheel/lake/raw/orders"))?;
    check("pg-copy: the lake has the sums of the table", same(&ours, &expected));

    let back = copy(&flywheel, &project, "back")?;
    rows.push(row(
        "flywheel, PostgreSQL to PostgreSQL, one column renamed, one cleaned",
        ROWS,
        &back,
    ));
    let copied = sums("orders_copy").replace("sum(length(note))", "sum(length(comment))");
    check(
        "pg-copy: the copy has the sums of the table",
        same(&server.psql(&database, &copied), &expected),
    );

    // A password that needs no escaping in an address, which the others decode in ways of their own.
    server.psql(&database, "create role bench login superuser password 'bench'");
    let address = format!("bench:bench@127.0.0.1:{}/{database}", server.port());
    let dlt_url = format!("postgresql+psycopg2://{address}");
    let mut dlt = DLT_CPU;
    for backend in ["connectorx", "pyarrow"] {
        let at = folder.join(format!("dlt-{backend}"));
        let mut command = Command::new(&python);
        command.arg(&script).args(["dlt", backend, &dlt_url]).arg(&at);
        let cost = process::measure(&mut command)?;
        rows.push(row(&format!("dlt, {backend}, into Delta"), ROWS, &cost));
        if backend == "connectorx" && cost.success {
            dlt = per_million(&cost, ROWS);
        }
        let theirs = read("delta", &at.join("shop/orders_src")).unwrap_or_default();
        said.push(agreement(&format!("dlt, {backend}"), &theirs, &expected));
    }
    // Into Parquet it would first fetch another program.
    let csv = folder.join("sling.csv");
    let sling = python.with_file_name("sling");
    let mut command = Command::new(&sling);
    command
        .env("BENCH_PG", format!("postgres://{address}?sslmode=disable"))
        .env("SLING_DISABLE_TELEMETRY", "TRUE")
        .args([
            "run",
            "--src-conn",
            "BENCH_PG",
            "--src-stream",
            "public.orders_src",
            "--tgt-object",
        ])
        .arg(format!("file://{}", csv.display()));
    let cost = process::measure(&mut command)?;
    rows.push(row("Sling, into CSV", ROWS, &cost));
    let theirs = read("csv", &csv).unwrap_or_default();
    said.push(agreement("Sling", &theirs, &expected));

    println!("seeding {ROWS_LONG} rows");
    seed(&server, &database, "orders_long", ROWS_LONG);
    let long = copy(&flywheel, &project, "long")?;
    rows.push(row("flywheel, into the lake", ROWS_LONG, &long));

    println!("\n{}{}\n", figures::table(&rows), said.join("\n"));
    let yardstick = Yardstick { peer: "dlt with connectorx", there: DLT_CPU, here: dlt };
    for (what, cost, most) in [("lake", &lake, LAKE_CPU_MAX), ("copy", &back, POSTGRES_CPU_MAX)] {
        let what = format!("pg-copy: {what}: CPU-s for a million rows");
        at_most_beside(&mut tally, &what, per_million(cost, ROWS), most, yardstick);
    }
    at_most(&mut tally, "pg-copy: MiB at the peak", mebibytes(&lake), PEAK_MAX_MIB);
    let most = (mebibytes(&lake) * PEAK_GROWTH_MAX).round();
    at_most(&mut tally, "pg-copy: MiB at the peak of 20 M rows", mebibytes(&long), most);
    for (name, cost) in [("lake", &lake), ("back", &back), ("long", &long)] {
        tally.record(&format!("pg-copy: sync {name} succeeds"), cost.success);
    }
    Ok(tally)
}

/// Runs one sync of the project and measures it.
fn copy(flywheel: &Flywheel, project: &Path, sync: &str) -> Result<Cost> {
    let mut command = flywheel.on(project, &["sync", sync, "--output", "json"]);
    process::measure(command.env(PASSWORD_VARIABLE, Postgres::PASSWORD))
}

/// The table of research: ten columns of the usual types.
fn seed(server: &Postgres, database: &str, table: &str, rows: u64) {
    server.psql(
        database,
        &format!(
            "create table {table} as select g::bigint id, (g::bigint * 7919 % 200000)::bigint customer_id,
                (g % 5000)::int product_id, (1 + g % 9)::int qty,
                round(((g::bigint * 31) % 100000) / 100.0, 2)::numeric(12,2) amount,
                (array['new','paid','shipped','returned'])[1 + g % 4]::varchar(16) status,
                timestamptz '2024-01-01' + (g || ' seconds')::interval created_at,
                date '2024-01-01' + (g % 700)::int ship_date,
                'customer comment number ' || g || ' lorem ipsum' note, (g % 3 = 0) priority
             from generate_series(1, {rows}) g;
             alter table {table} add primary key (id)"
        ),
    );
    // Not within the transaction of several statements.
    server.psql(database, &format!("vacuum analyze {table}"));
}

fn sums(table: &str) -> String {
    format!("set timezone to 'UTC'; {}", SUMS.replace("{}", table))
}

/// What is said of another program's copy.
fn agreement(name: &str, theirs: &str, expected: &str) -> String {
    match same(theirs, expected) {
        true => format!("{name}: the sums are those of the table"),
        false => {
            format!("{name}: the sums differ: {} instead of {}", theirs.trim(), expected.trim())
        }
    }
}

/// Whether two answers name the same values; the ways of writing a moment differ.
fn same(a: &str, b: &str) -> bool {
    let plain = |text: &str| {
        let last =
            text.trim().lines().last().unwrap_or_default().replace("+00:00", "").replace("+00", "");
        last.replace([' ', '\t'], "|").replace("T", "|")
    };
    !a.trim().is_empty() && plain(a) == plain(b)
}

fn write_project(project: &Path, server: &Postgres, database: &str) -> Result<()> {
    for (name, text) in [
        ("flywheel.yaml", "name: pg_copy\n".to_owned()),
        (
            "connections/pg.yaml",
            format!(
                "connection: pg\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: postgres, password: '${{env:{PASSWORD_VARIABLE}}}'}}\n",
                server.port()
            ),
        ),
        ("syncs/lake.yaml", sync("lake", "orders", "orders_src", "")),
        ("syncs/long.yaml", sync("long", "long", "orders_long", "")),
        (
            "syncs/back.yaml",
            sync("back", "orders", "orders_src", "destination: pg\n").replace(
                "write: replace",
                "write: replace\n    target: {table: orders_copy}\n    columns: [{name: comment, from: note, type: text, clean: trim}]",
            ),
        ),
    ] {
        write_files(project, &[(name, text)])?;
    }
    Ok(())
}

fn sync(name: &str, stream: &str, table: &str, destination: &str) -> String {
    format!(
        "sync: {name}\nconnection: pg\n{destination}streams:\n  - stream: {stream}\n    options: {{table: {table}}}\n    read: full\n    write: replace\n"
    )
}

fn headings() -> Vec<String> {
    ["copy", "M rows", "CPU-s/M", "wall s", "M rows/s", "peak MiB"].map(str::to_owned).to_vec()
}

fn row(name: &str, rows: u64, cost: &Cost) -> Vec<String> {
    let millions = rows as f64 / 1e6;
    let failed = if cost.success { "" } else { " (failed)" };
    vec![
        format!("{name}{failed}"),
        format!("{millions:.0}"),
        format!("{:.2}", per_million(cost, rows)),
        format!("{:.1}", cost.wall_s),
        format!("{:.2}", millions / cost.wall_s),
        format!("{:.0}", mebibytes(cost)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_the_same_however_a_moment_is_written() {
        assert!(same("5|2.50|2024-01-01 00:00:05+00", "5\t2.50\t2024-01-01T00:00:05+00:00\n"));
        assert!(!same("5|2.50", "5|2.51"));
        assert!(!same("", ""));
    }
}
