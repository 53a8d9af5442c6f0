//! The 22 queries of TPC-H over lake tables, beside DuckDB on the same Delta tables.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::goal::{at_most, equal, holds, mebibytes, succeeds};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::shop::Shop;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// The tables; queries name them without a schema.
const TABLES: [&str; 8] =
    ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];
const QUERIES: usize = 22;

/// How much more processor time than DuckDB all queries together may take, the start of the program taken off.
const CPU_RATIO_MAX: f64 = 1.5;
/// What one query may hold.
const PEAK_MAX_MIB: f64 = 2_560.0;

/// Makes the tables as Parquet files and writes down the queries, by DuckDB's own generator.
const MAKE: &str = "
import duckdb, duckdb_extension_tpch as tpch, glob, os, sys
folder, scale = sys.argv[1], sys.argv[2]
c = duckdb.connect()
c.execute('set threads = 2')
c.execute('set enable_progress_bar = false')
c.load_extension(glob.glob(os.path.dirname(tpch.__file__) + '/**/*.duckdb_extension', recursive=True)[0])
c.execute(f'call dbgen(sf = {scale})')
for (table,) in c.execute('show tables').fetchall():
    c.execute(f\"copy {table} to '{folder}/{table}.parquet' (format parquet)\")
for number, query in c.execute('select query_nr, query from tpch_queries()').fetchall():
    open(f'{folder}/{number}.sql', 'w').write(query.strip().rstrip(';'))
";

/// Runs the queries on the lake's own files and compares the answers, each value as text or as a number of two
/// decimals; prints a JSON object a query.
const PEER: &str = "
import csv, duckdb, duckdb_extension_delta as delta, glob, json, math, os, sys, time
folder, lake = sys.argv[1], sys.argv[2]
c = duckdb.connect()
c.execute('set threads = 2')
c.execute('set enable_progress_bar = false')
c.load_extension(glob.glob(os.path.dirname(delta.__file__) + '/**/*.duckdb_extension', recursive=True)[0])
for table in sys.argv[3:]:
    c.execute(f\"create view {table} as select * from delta_scan('{lake}/{table}')\")
def plain(value):
    if value is None or value == '':
        return ''
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value).strip()
def same(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=0.005)
    return a == b
for number in range(1, 23):
    query = open(f'{folder}/{number}.sql').read()
    cpu = wall = None
    for _ in range(2):
        before, began = time.process_time(), time.time()
        theirs = c.execute(query).fetchall()
        spent, took = time.process_time() - before, time.time() - began
        cpu, wall = min(cpu or spent, spent), min(wall or took, took)
    with open(f'{folder}/{number}.csv', newline='') as file:
        ours = list(csv.reader(file))[1:]
    theirs = [[plain(value) for value in row] for row in theirs]
    ours = [[plain(value) for value in row] for row in ours]
    wrong = [(a, b) for a, b in zip(ours, theirs) if len(a) != len(b) or not all(map(same, a, b))]
    told = '' if len(ours) == len(theirs) and not wrong else f'{len(ours)} rows and {len(theirs)}; first difference {wrong[:1]}'
    print(json.dumps({'query': number, 'cpu_s': cpu, 'wall_s': wall, 'rows': len(theirs), 'wrong': told}), flush=True)
";

/// Makes the tables, lands them, asks both.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let scale = std::env::var_os("TPCH_SCALE")
        .map_or_else(|| "1".to_owned(), |scale| scale.to_string_lossy().into_owned());
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch("tpch")?;
    let python = python::with_packages(context, "tpch", python::TPCH_PEERS)?;
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    process::run(Command::new(&python).args(["-c", MAKE]).arg(&data).arg(&scale))?;
    let mut tally = Tally::default();
    let shop = Shop::new(&flywheel, &folder)?;
    land(&shop, &mut tally)?;
    let costs = ours(&shop, &data, &mut tally)?;
    let start = cheapest(&shop, "select 1", &data.join("start.csv"))?.cpu_s;
    let theirs = theirs(&python, &data, &shop.path(".flywheel/lake/public"))?;
    let mut rows = vec![
        ["query", "rows", "ours cpu-s", "ours s", "ours MiB", "DuckDB cpu-s", "DuckDB s", "ratio"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let (mut sum, mut peer_sum, mut right) = (0.0, 0.0, 0);
    for (cost, peer) in costs.iter().zip(&theirs) {
        let number = |key: &str| peer.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let (cpu, wrong) = (number("cpu_s"), peer.get("wrong").and_then(Value::as_str));
        right += usize::from(wrong == Some(""));
        if wrong != Some("") {
            println!("tpch: query {}: {}", number("query"), wrong.unwrap_or("no answer"));
        }
        sum += cost.cpu_s;
        peer_sum += cpu;
        rows.push(vec![
            number("query").to_string(),
            number("rows").to_string(),
            format!("{:.2}", cost.cpu_s),
            format!("{:.2}", cost.wall_s),
            format!("{:.0}", mebibytes(cost)),
            format!("{cpu:.2}"),
            format!("{:.2}", number("wall_s")),
            format!("{:.2}", cost.cpu_s / cpu),
        ]);
    }
    println!("{}", figures::table(&rows));
    let starts = start * QUERIES as f64;
    println!(
        "tpch: scale {scale}: ours {sum:.2} cpu-s, of which {starts:.2} for {QUERIES} starts of the program; DuckDB {peer_sum:.2}"
    );
    equal(&mut tally, "tpch: answers equal to DuckDB's", &right.to_string(), &QUERIES.to_string());
    at_most(
        &mut tally,
        "tpch: processor time beside DuckDB",
        (sum - starts) / peer_sum,
        CPU_RATIO_MAX,
    );
    let peak = costs.iter().map(mebibytes).fold(0.0, f64::max);
    at_most(&mut tally, "tpch: peak MiB of a query", peak, PEAK_MAX_MIB);
    Ok(tally)
}

fn land(shop: &Shop<'_>, tally: &mut Tally) -> Result<()> {
    shop.write(
        "connections/files.yaml",
        "connection: files\ntype: parquet\noptions: {folder: data}\n",
    )?;
    let streams = TABLES.iter().map(|table| {
        format!("  - {{stream: {table}, options: {{path: {table}.parquet}}, to: public.{table}, read: full, write: replace}}\n")
    });
    let text = format!("sync: tpch\nconnection: files\nstreams:\n{}", streams.collect::<String>());
    shop.write("syncs/tpch.yaml", text)?;
    let cost = shop.measure(&["sync", "tpch"])?;
    succeeds(tally, "tpch: landing", &cost);
    Ok(())
}

/// Asks each query.
fn ours(shop: &Shop<'_>, data: &Path, tally: &mut Tally) -> Result<Vec<process::Cost>> {
    let mut costs = Vec::with_capacity(QUERIES);
    for number in 1..=QUERIES {
        let query = fs::read_to_string(data.join(format!("{number}.sql")))?;
        let cost = cheapest(shop, &query, &data.join(format!("{number}.csv")))?;
        if !cost.success {
            holds(tally, &format!("tpch: query {number} runs"), false);
        }
        costs.push(cost);
    }
    Ok(costs)
}

/// Asks a query twice and keeps the cheaper run; the answer goes to a file.
fn cheapest(shop: &Shop<'_>, query: &str, answer: &Path) -> Result<process::Cost> {
    let once = || {
        let mut command = shop.plain(&["sql", query, "--output", "csv"]);
        process::measure(command.stdout(File::create(answer)?))
    };
    let (first, second) = (once()?, once()?);
    Ok(if second.success && second.cpu_s < first.cpu_s { second } else { first })
}

fn theirs(python: &Path, data: &Path, lake: &Path) -> Result<Vec<Value>> {
    let mut command = Command::new(python);
    command.args(["-c", PEER]).arg(data).arg(lake).args(TABLES);
    let text = process::output(&mut command)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}
