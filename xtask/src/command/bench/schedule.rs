//! What the scheduler costs: a run of a thousand tasks, tasks that do something, and tasks side by side.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use super::goal::{at_least, at_most, equal, write_files};
use crate::binary::Flywheel;
use crate::client::Server;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// Tasks that only wait for others, in so many layers.
const TASKS: usize = 1_000;
const LAYERS: usize = 20;
/// Tasks that land a table each.
const LANDING: usize = 200;
/// Syncs that take their time, side by side and one after the other.
const SLOW: usize = 8;
/// Rows that a slow sync reads, and how many a second.
const ROWS: usize = 400;
const ROWS_PER_S: usize = 200;
/// What a task may cost, in milliseconds.
const OVERHEAD_MS: f64 = 5.0;
/// How long a run may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(200);

/// Measures each.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let project = context.scratch("schedule")?;
    shop(&project)?;
    let server = Server::start(&flywheel, &project)?;
    let mut tally = Tally::default();
    let mut done = |name: &str, tasks: usize| -> Result<f64> {
        let (took_ms, succeeded) = asked(&flywheel, &project, name)?;
        let what = format!("schedule: {name}: tasks that succeeded");
        equal(&mut tally, &what, &succeeded, &tasks.to_string());
        Ok(took_ms)
    };
    let waiting_ms = done("waiting", TASKS)?;
    let landing_ms = done("landing", LANDING)?;
    let landed_ms: f64 = flywheel
        .value(
            &project,
            "select sum(t.duration_ms) from system.tasks t join system.schedule_runs s on s.run_id = t.run_id
             where s.schedule = 'landing' and t.kind = 'sync'",
        )?
        .parse()?;
    let together_ms = done("together", SLOW)?;
    let in_turn_ms = done("in_turn", SLOW)?;
    drop(server);
    let each = waiting_ms / TASKS as f64;
    at_most(&mut tally, &format!("schedule: a task of {TASKS}, ms"), each, OVERHEAD_MS);
    println!(
        "schedule: {LANDING} tables landed one after the other: {landing_ms:.0} ms, of which the syncs themselves {landed_ms:.0} ms"
    );
    let beside = (landing_ms - landed_ms) / LANDING as f64;
    at_most(
        &mut tally,
        "schedule: a task that lands a table, beside its sync, ms",
        beside,
        OVERHEAD_MS,
    );
    println!(
        "schedule: {SLOW} slow syncs: {in_turn_ms:.0} ms one after the other, {together_ms:.0} ms side by side"
    );
    at_least(&mut tally, "schedule: four workers are faster, times", in_turn_ms / together_ms, 3.0);
    Ok(tally)
}

/// Asks the server for a run and waits until it has ended; how long it took in milliseconds, and how many of its tasks
/// succeeded.
fn asked(flywheel: &Flywheel, project: &Path, name: &str) -> Result<(f64, String)> {
    process::run(
        flywheel
            .on(project, &["schedule", "run", name])
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    let of = |what: &str| {
        format!(
            "select {what} from system.runs r join system.schedule_runs s on s.run_id = r.run_id where s.schedule = '{name}'"
        )
    };
    let since = Instant::now();
    let ended = of("count(*)") + " and s.ended_at is not null";
    while flywheel.value(project, &ended)? == "0" {
        if since.elapsed() > PATIENCE {
            return Err(format!("the run of {name} does not end").into());
        }
        thread::sleep(LOOK);
    }
    let took = of("(cast(r.ended_at as bigint) - cast(r.started_at as bigint)) / 1000.0");
    let took_ms = flywheel.value(project, &took)?.parse()?;
    let succeeded = format!(
        "select count(*) from system.tasks t join system.schedule_runs s on s.run_id = t.run_id
         where s.schedule = '{name}' and t.kind = 'task' and t.status = 'succeeded'"
    );
    Ok((took_ms, flywheel.value(project, &succeeded)?))
}

fn shop(project: &Path) -> Result<()> {
    let each = TASKS / LAYERS;
    let mut waiting = String::from("schedule: waiting\ntasks:\n");
    for place in 0..TASKS {
        let (layer, within) = (place / each, place % each);
        let before = |offset: usize| (layer - 1) * each + (within + offset) % each;
        let after = match layer {
            0 => String::new(),
            _ => format!(", after: [t{}, t{}]", before(0), before(1)),
        };
        writeln!(waiting, "  - {{task: t{place}{after}}}")?;
    }
    let mut landing = String::from("schedule: landing\ntasks:\n");
    let mut files = Vec::new();
    for place in 0..LANDING {
        let after = if place == 0 { String::new() } else { format!(", after: [t{}]", place - 1) };
        writeln!(landing, "  - {{task: t{place}, run: sync, select: [small{place}]{after}}}")?;
        let name = format!("small{place}");
        files.push((format!("syncs/{name}.yaml"), sync(&name, "small.csv", "")));
    }
    let (mut together, mut in_turn) =
        (String::from("schedule: together\ntasks:\n"), String::from("schedule: in_turn\ntasks:\n"));
    for place in 0..SLOW {
        let limits = format!("limits: {{rows_per_second: {ROWS_PER_S}}}\n");
        let name = format!("slow{place}");
        files.push((format!("syncs/{name}.yaml"), sync(&name, "rows.csv", &limits)));
        writeln!(together, "  - {{task: {name}, run: sync, select: [{name}]}}")?;
        let after =
            if place == 0 { String::new() } else { format!(", after: [slow{}]", place - 1) };
        writeln!(in_turn, "  - {{task: {name}, run: sync, select: [{name}]{after}}}")?;
    }
    let rows: String = (0..ROWS).map(|row| format!("{row}\n")).collect();
    files.extend([
        ("flywheel.yaml".to_owned(), "name: scheduled\nworkers: 4\n".to_owned()),
        (
            "connections/files.yaml".to_owned(),
            "connection: files\ntype: csv\noptions: {folder: data}\n".to_owned(),
        ),
        ("data/small.csv".to_owned(), "id\n1\n".to_owned()),
        ("data/rows.csv".to_owned(), format!("id\n{rows}")),
        ("schedules/waiting.yaml".to_owned(), waiting),
        ("schedules/landing.yaml".to_owned(), landing),
        ("schedules/together.yaml".to_owned(), together),
        ("schedules/in_turn.yaml".to_owned(), in_turn),
    ]);
    let files: Vec<(&str, String)> =
        files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    write_files(project, &files)
}

/// A sync of one table of its own.
fn sync(name: &str, path: &str, limits: &str) -> String {
    format!(
        "sync: {name}\nconnection: files\n{limits}streams:\n  - {{stream: {name}, options: {{path: {path}}}, read: full, write: replace}}\n"
    )
}
