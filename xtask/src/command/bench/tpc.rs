//! The queries of TPC-H or TPC-DS over lake tables within a limit of memory, beside DuckDB on the same files.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::goal::{at_least, at_most, equal, mebibytes, succeeds};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::process::Cost;
use crate::shop::Shop;
use crate::tally::Tally;
use crate::{Result, figures, process, python};

/// Makes tables and queries, asks DuckDB and compares.
const PEER: &str = include_str!("tpc/peer.py");
/// What the log says of a query whose hash joins were refused memory.
const RETRIED: &str = "retried with sort-merge joins";

/// A set of queries, and what is expected of them.
pub(super) struct Suite {
    /// Its name, and that of DuckDB's extension.
    pub(super) name: &'static str,
    /// How many queries it has.
    pub(super) queries: usize,
    /// How many answers must be the same, or differ by a decision of ours that is named.
    pub(super) answers_min: usize,
    /// How much more processor time than DuckDB all queries together may take, the start of the program taken off.
    pub(super) cpu_ratio_max: f64,
    /// What queries may hold, as a project says it.
    pub(super) memory: &'static str,
    /// What the process of a query may hold, in MiB.
    pub(super) peak_max_mib: f64,
    /// In how many pieces tables are made, so that making them does not take more memory than asking.
    pub(super) parts: u32,
}

/// What became of one query.
struct Asked {
    cost: Cost,
    /// Whether its hash joins were refused memory and it was run again.
    retried: bool,
}

/// Makes the tables, lands them, asks both.
pub(super) fn run(context: &Context, suite: &Suite, scale: u32) -> Result<Tally> {
    let name = suite.name;
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch(name)?;
    let python = python::with_packages(context, "tpc", python::TPC_PEERS)?;
    let script = folder.join("peer.py");
    fs::write(&script, PEER)?;
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    let mut make = Command::new(&python);
    make.arg(&script).args(["make", name]).arg(&data);
    process::run(make.args([scale, suite.parts].map(|number| number.to_string())))?;
    let mut tally = Tally::default();
    let shop = Shop::new(&flywheel, &folder)?;
    land(&shop, suite, &data, &mut tally)?;
    let asked = ours(&shop, suite, &data)?;
    let start = ask(&shop, "select 1", &data.join("start"))?.cost.cpu_s;
    let mut compare = Command::new(&python);
    compare.arg(&script).arg("compare").arg(&data).arg(shop.path(".flywheel/lake/public"));
    let text = process::output(compare.arg(suite.memory))?;
    let theirs: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    told(suite, scale, &asked, &theirs, start, &mut tally);
    // Queries and answers stay to be looked at; tables of a large scale would fill the disk.
    fs::remove_dir_all(shop.path(".flywheel/lake"))?;
    Ok(tally)
}

/// Lands every table of `data`, and removes the files it was made of.
fn land(shop: &Shop<'_>, suite: &Suite, data: &Path, tally: &mut Tally) -> Result<()> {
    let name = suite.name;
    shop.write("flywheel.yaml", format!("name: {name}\nmemory: {}\n", suite.memory))?;
    shop.write(
        "connections/files.yaml",
        "connection: files\ntype: parquet\noptions: {folder: data}\n",
    )?;
    let mut streams = String::new();
    let mut made = Vec::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_dir() {
            let table = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            streams.push_str(&format!(
                "  - {{stream: {table}, options: {{path: {table}/*.parquet}}, to: public.{table}, read: full, write: replace}}\n"
            ));
            made.push(path);
        }
    }
    shop.write(
        "syncs/tables.yaml",
        format!("sync: tables\nconnection: files\nstreams:\n{streams}"),
    )?;
    let cost = shop.measure(&["sync", "tables"])?;
    succeeds(tally, &format!("{name}: landing"), &cost);
    for folder in made {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Asks each query.
fn ours(shop: &Shop<'_>, suite: &Suite, data: &Path) -> Result<Vec<Asked>> {
    let mut asked = Vec::with_capacity(suite.queries);
    for number in 1..=suite.queries {
        let query = fs::read_to_string(data.join(format!("{number}.sql")))?;
        let one = ask(shop, &query, &data.join(number.to_string()))?;
        if !one.cost.success {
            let said = fs::read_to_string(data.join(format!("{number}.log")))?;
            println!("{}: query {number} fails: {}", suite.name, said.trim());
        }
        asked.push(one);
    }
    Ok(asked)
}

/// Asks a query twice and keeps the cheaper run; the answer goes to `file` with `.csv`, messages to `.log`.
fn ask(shop: &Shop<'_>, query: &str, file: &Path) -> Result<Asked> {
    let log = file.with_extension("log");
    let once = || {
        let mut command = shop.plain(&["sql", query, "--output", "csv"]);
        command.env("FLYWHEEL_LOG", "flywheel_warehouse=info").env("NO_COLOR", "1");
        command.stdout(File::create(file.with_extension("csv"))?).stderr(File::create(&log)?);
        process::measure(&mut command)
    };
    let (first, second) = (once()?, once()?);
    let retried = fs::read_to_string(&log)?.contains(RETRIED);
    let cheaper = second.success && second.cpu_s < first.cpu_s;
    Ok(Asked { cost: if cheaper { second } else { first }, retried })
}

/// Prints the figures beside the goals.
fn told(
    suite: &Suite,
    scale: u32,
    asked: &[Asked],
    theirs: &[Value],
    start: f64,
    tally: &mut Tally,
) {
    let name = suite.name;
    let heading = [
        "query",
        "rows",
        "ours cpu-s",
        "ours s",
        "ours MiB",
        "DuckDB cpu-s",
        "DuckDB s",
        "ratio",
        "answer",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let (mut sum, mut peer_sum, mut same, mut explained) = (0.0, 0.0, 0, 0);
    let mut peer_peak: f64 = 0.0;
    for (Asked { cost, retried }, peer) in asked.iter().zip(theirs) {
        let number = |key: &str| peer.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let text = |key: &str| peer.get(key).and_then(Value::as_str).unwrap_or_default();
        let (cpu, own) = (number("cpu_s"), (cost.cpu_s - start).max(0.0));
        match text("verdict") {
            _ if !cost.success => {}
            "equal" => same += 1,
            "explained" => explained += 1,
            _ => {}
        }
        if text("verdict") != "equal" && cost.success {
            println!("{name}: query {} {}: {}", number("query"), text("verdict"), text("told"));
        }
        sum += own;
        peer_sum += cpu;
        peer_peak = peer_peak.max(number("peak_bytes"));
        let verdict = if cost.success { text("verdict") } else { "fails" };
        let again = if *retried { ", by sort-merge joins" } else { "" };
        rows.push(vec![
            number("query").to_string(),
            number("rows").to_string(),
            format!("{own:.2}"),
            format!("{:.2}", cost.wall_s),
            format!("{:.0}", mebibytes(cost)),
            format!("{cpu:.2}"),
            format!("{:.2}", number("wall_s")),
            format!("{:.2}", own / cpu),
            format!("{verdict}{again}"),
        ]);
    }
    println!("{}", figures::table(&rows));
    println!(
        "{name}: scale {scale}, {} of memory: ours {sum:.2} cpu-s without {start:.2} for each start of the program, \
         DuckDB {peer_sum:.2} and at most {:.0} MiB; {same} answers equal, {explained} explained",
        suite.memory,
        peer_peak / 1_048_576.0
    );
    let ran = asked.iter().filter(|one| one.cost.success).count();
    equal(
        tally,
        &format!("{name}: queries that run"),
        &ran.to_string(),
        &suite.queries.to_string(),
    );
    let answered = f64::from(same + explained);
    at_least(
        tally,
        &format!("{name}: answers equal to DuckDB's, or explained"),
        answered,
        suite.answers_min as f64,
    );
    let ratio = sum / peer_sum;
    at_most(tally, &format!("{name}: processor time beside DuckDB"), ratio, suite.cpu_ratio_max);
    let peak = asked.iter().map(|one| mebibytes(&one.cost)).fold(0.0, f64::max);
    at_most(tally, &format!("{name}: peak MiB of a query"), peak, suite.peak_max_mib);
}
