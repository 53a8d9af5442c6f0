//! `flywheel demo`: the whole wheel on a simulated shop, in about a minute.

mod like;
mod loopback;
mod story;
mod visitors;
mod website;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_project::init::init;
use flywheel_runtime::replay::end_of_day;
use flywheel_runtime::turn::{TurnReport, turn};
use flywheel_runtime::{Access, Workspace};
use flywheel_server::{LISTEN_DEFAULT, Options, Rhythm, WheelClock, bind};
use flywheel_simulator::{DayFiles, Delivery, Settings, World};
use serde_json::Value;
use tokio::net::TcpListener;

use self::visitors::{Evening, Evenings, VISITS, Visitors};
use super::Runs;
use super::serve::Company;
use super::status::{interval, percent, points};
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;
use crate::report;

/// The file that tells a folder made by `flywheel demo` from anybody's own.
const MARKER: &str = ".flywheel-demo";

/// Options of `flywheel demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The seed of the simulated shop; the same seed gives the same report, byte for byte
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many days to turn the wheel
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
    /// The folder to make; one made by an earlier demo is made anew
    #[arg(long, default_value = "demo")]
    dir: PathBuf,
    /// Ends after the last turn; a program without web pages does, unless one of the options below is given
    #[arg(long)]
    no_serve: bool,
    /// Trades as the orders in the CSV files of this folder, in the columns of Online Retail: how often customers order and how much, prices, what is popular, when it is busy, and what is cancelled; none of their rows, customers or products is used
    #[arg(long, value_name = "FOLDER")]
    like: Option<PathBuf>,
    /// Serves the project after the last turn while the shop goes on, also without web pages
    #[arg(long, conflicts_with = "no_serve")]
    serve: bool,
    /// The address to serve at, 127.0.0.1:8700 if absent; another port if it is taken
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_serve")]
    listen: Option<SocketAddr>,
    /// While it is served, how often a day of the shop goes by, 5s if absent
    #[arg(long, value_name = "DURATION", conflicts_with = "no_serve")]
    pace: Option<String>,
}

/// How often a day of the shop goes by while it is served.
const PACE: &str = "5s";

impl Runs for Demo {
    const ABOUT: &'static str = "Makes a simulated shop, turns the wheel for a month, and serves its pages while the shop goes on";

    async fn run(self, app: App) -> Result<Exit> {
        let asked = self.serve || self.listen.is_some() || self.pace.is_some();
        let every = self.pace.unwrap_or_else(|| PACE.to_owned());
        let pace = super::serve::between("--pace", &every)?;
        let dir = app.start.join(&self.dir);
        let fitted = match &self.like {
            Some(folder) => Some(like::fit(&app.start.join(folder))?),
            None => None,
        };
        prepare(&dir)?;
        let trade = fitted.as_ref().map(|fitted| fitted.trade.clone()).unwrap_or_default();
        let settings = Settings { days: self.days, trade, ..Settings::default() };
        let mut world = World::new(self.seed, settings)?;
        app.output.message(&format!(
            "A shop of {} customers, all simulated (seed {}), in {}",
            Settings::default().customers,
            self.seed,
            dir.display()
        ));
        if let Some((fitted, folder)) = fitted.as_ref().zip(self.like.as_ref()) {
            app.output.message(&like::tell(fitted, folder));
        }
        for day in world.history() {
            write_day(&dir, &day)?;
        }
        let clock = Arc::new(WheelClock::standing(start_of(&world)?));
        let workspace = app.open_dir(&dir, Access::Write, Arc::<WheelClock>::clone(&clock)).await?;
        let mut story = story::Story::new(self.seed, self.days);
        let mut table = Grid::new(&[
            "#turn",
            "date",
            "#landed",
            "#bad",
            "#decided",
            "#sent",
            "#outcomes",
            "policy",
            "#lift",
            "95 % interval",
            "learned",
        ]);
        let progress = Progress::new(app.output, "demo");
        let mut deliveries = Vec::new();
        for day in 0..i64::from(self.days) {
            let date = world.next_date();
            write_day(&dir, &world.day(date, &deliveries)?)?;
            clock.hold(end_of_day(day_number(date)?));
            let report = turn(&workspace, &progress).await?;
            deliveries = delivered(&dir, report.turn)?;
            show(&app, &mut table, &report, day)?;
            story.add(&report);
        }
        drop(progress);
        if !app.output.for_people() {
            app.output.grid(&table)?;
        }
        let page = report::render(&story.tell(&workspace, &world).await?);
        let path = dir.join("report.html");
        std::fs::write(&path, page).map_err(|e| Error::io("write", &path, e))?;
        finish(&app, &workspace, &world, &path).await?;
        if self.no_serve || !(asked || flywheel_server::has_pages()) {
            return Ok(Exit::Done);
        }
        let wanted = match self.listen {
            Some(address) => address,
            None => LISTEN_DEFAULT
                .parse()
                .map_err(|e| Error::internal("the usual address is none").caused_by(e))?,
        };
        let listener = listen(&app, wanted).await?;
        let listening = listener
            .local_addr()
            .map_err(|e| Error::internal("the server has no address").caused_by(e))?;
        // Not before: the days until here are the same whether they are served or not.
        let served = Box::pin(website::declare(&dir, &workspace)).await?;
        drop(workspace);
        app.output.message(&format!(
            "\nThe shop goes on: a day every {every}, with customers who are all simulated. Once there is an owner, some of \
             them visit its website each day, through the API."
        ));
        let (evenings, visitors) = Visitors::of(listening, pace, app.output);
        let company: Company = Box::new(move |guests| Box::pin(visitors.come(guests)));
        let shop = Shop { dir, world, deliveries, evenings };
        let options = Options {
            every: Some(pace),
            rhythm: Some(Box::new(shop)),
            demo: true,
            telemetry: app.telemetry,
            ..Options::default()
        };
        super::serve::serve(&app, served, clock, options, listener, Some(company)).await
    }
}

/// Listens at the address, or at another port if this one is taken: a demo is no reason to stop something else.
async fn listen(app: &App, wanted: SocketAddr) -> Result<TcpListener> {
    match bind(wanted).await {
        Err(error) if error.kind() == ErrorKind::Conflict => {
            app.output.message(&format!("{}; another port is taken", error.message()));
            bind(SocketAddr::new(wanted.ip(), 0)).await
        }
        bound => bound,
    }
}

/// The simulated shop while the project is served: a day goes by before each turn.
struct Shop {
    dir: PathBuf,
    world: World,
    deliveries: Vec<Delivery>,
    /// Where it says who visits the website until the next day is over.
    evenings: Evenings,
}

impl Rhythm for Shop {
    fn before(&mut self) -> Result<Timestamp> {
        let date = self.world.next_date();
        write_day(&self.dir, &self.world.day(date, &self.deliveries)?)?;
        Ok(end_of_day(day_number(date)?))
    }

    fn after(&mut self, report: &TurnReport) -> Result<()> {
        self.deliveries = delivered(&self.dir, report.turn)?;
        let evening = Evening { at: report.at, visits: self.world.web_visits(VISITS) };
        // Where nobody listens any more nobody comes.
        self.evenings.send_replace(Some(Arc::new(evening)));
        Ok(())
    }
}

/// Makes the project; a folder that is not an earlier demo's is left alone.
fn prepare(dir: &Path) -> Result<()> {
    if dir.join(MARKER).is_file() {
        std::fs::remove_dir_all(dir).map_err(|e| Error::io("remove the earlier demo", dir, e))?;
    }
    init("retail", dir, "demo_shop").map_err(|e| {
        e.hint(
            "Name another folder with --dir; only a folder made by an earlier demo is made anew.",
        )
    })?;
    let marker = dir.join(MARKER);
    std::fs::write(
        &marker,
        "Made by `flywheel demo`, which removes this folder when it is run again.\n",
    )
    .map_err(|e| Error::io("write", &marker, e))?;
    let file = dir.join("flywheel.yaml");
    let text = std::fs::read_to_string(&file).map_err(|e| Error::io("read", &file, e))?;
    let text = format!("{text}\n# The customers of this project do not exist.\nsimulated: true\n");
    std::fs::write(&file, text).map_err(|e| Error::io("write", &file, e))
}

/// Writes what the shop's systems export on one evening.
fn write_day(dir: &Path, day: &DayFiles) -> Result<()> {
    for file in &day.files {
        let path = dir.join("data").join(&file.path);
        let folder = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        std::fs::write(&path, &file.bytes).map_err(|e| Error::io("write", &path, e))?;
    }
    Ok(())
}

fn day_number(date: chrono::NaiveDate) -> Result<i64> {
    Timestamp::parse(&date.to_string()).map(Timestamp::day)
}

fn start_of(world: &World) -> Result<Timestamp> {
    Ok(end_of_day(day_number(world.next_date())?))
}

/// What left through the file actions in one turn, as the outside world reads it.
fn delivered(dir: &Path, turn: i64) -> Result<Vec<Delivery>> {
    let out = dir.join("out");
    let mut folders = match std::fs::read_dir(&out) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<Vec<PathBuf>>>()
            .map_err(|e| Error::io("list", &out, e))?,
        // Nothing has left yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("list", &out, error)),
    };
    folders.sort();
    let mut deliveries = Vec::new();
    for folder in folders {
        let policy =
            folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let path = folder.join(format!("{turn:05}.jsonl"));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        for line in text.lines() {
            deliveries.push(delivery(&policy, line).map_err(|e| e.context(path.display()))?);
        }
    }
    Ok(deliveries)
}

fn delivery(policy: &str, line: &str) -> Result<Delivery> {
    let line: Value = serde_json::from_str(line)
        .map_err(|e| Error::corrupt("a delivery is no JSON").caused_by(e))?;
    let payload = line.get("payload").cloned().unwrap_or_default();
    let text =
        |name: &str| payload.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Delivery {
        policy: policy.to_owned(),
        decision_id: text("decision_id"),
        unit_id: text("unit_id"),
        payload,
    })
}

/// Shows a turn as it happens: a line per policy that has a lift, one line otherwise.
fn show(app: &App, table: &mut Grid, report: &TurnReport, day: i64) -> Result<()> {
    let decisions: usize = report.decided.iter().map(|decided| decided.decisions).sum();
    let head = vec![
        report.turn.to_string(),
        report.at.date(),
        report.rows_landed.to_string(),
        report.rows_rejected.to_string(),
        decisions.to_string(),
        report.acted.delivered.to_string(),
        report.outcomes.to_string(),
    ];
    let mut rows: Vec<Vec<String>> = report
        .lift
        .iter()
        .filter(|row| row.lift.is_some())
        .map(|row| vec![row.policy.clone(), points(row.lift), interval(row.lower, row.upper)])
        .collect();
    if rows.is_empty() {
        rows.push(vec!["–".into(), "–".into(), "windows still open".into()]);
    }
    for (index, row) in rows.into_iter().enumerate() {
        let first = if index == 0 { head.clone() } else { vec![String::new(); head.len()] };
        let learned = if index == 0 { report.learned.join(", ") } else { String::new() };
        let cells = [first, row, vec![learned]].concat();
        if app.output.format == Format::Table {
            app.output.line(&line(&cells, day == 0 && index == 0))?;
        }
        table.row(cells);
    }
    Ok(())
}

/// Widths of the columns of a turn's line.
const WIDTHS: [usize; 10] = [4, 10, 6, 4, 7, 5, 8, 11, 8, 18];

/// One turn in fixed columns, so that lines can be read while they come.
fn line(cells: &[String], with_header: bool) -> String {
    let names = [
        "turn",
        "date",
        "landed",
        "bad",
        "decided",
        "sent",
        "outcomes",
        "policy",
        "lift",
        "95 % interval",
        "learned",
    ];
    let format = |cells: &[String]| {
        let mut text = String::new();
        for (index, cell) in cells.iter().enumerate() {
            let width = WIDTHS.get(index).copied().unwrap_or_default();
            let left = matches!(index, 1 | 7 | 9 | 10);
            let cell = if left { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            text.push_str(&cell);
            text.push_str("  ");
        }
        text.trim_end().to_owned()
    };
    let body = format(cells);
    if !with_header {
        return body;
    }
    format!("{}\n{body}", format(&names.map(str::to_owned)))
}

async fn finish(app: &App, workspace: &Workspace, world: &World, page: &Path) -> Result<()> {
    if !app.output.for_people() {
        return Ok(());
    }
    let status = flywheel_runtime::status::status(workspace).await?;
    app.output.line(
        "\nWhat the policies changed, against the customers they left alone (simulated customers):",
    )?;
    let mut grid = Grid::new(&[
        "policy",
        "#decisions",
        "#treated",
        "#holdout",
        "#lift",
        "95 % interval",
        "verdict",
        "#true lift",
    ]);
    for policy in &status.policies {
        let Some(last) = policy.turns.last() else { continue };
        let verdict = match last.lower.zip(last.upper) {
            Some((lower, _)) if lower > 0.0 => "works",
            Some((_, upper)) if upper < 0.0 => "does harm",
            Some(_) => "not shown yet",
            None => "not enough yet",
        };
        grid.row(vec![
            policy.policy.clone(),
            policy.decisions.to_string(),
            percent(last.treated_rate),
            percent(last.holdout_rate),
            points(last.lift),
            interval(last.lower, last.upper),
            verdict.to_owned(),
            points(world.expected_lift(&policy.policy)),
        ]);
    }
    app.output.grid(&grid)?;
    let dir = workspace.dir().display();
    app.output.line(&format!("\nreport:  {}", page.display()))?;
    app.output.line(&format!("look in: flywheel -C {dir} status"))?;
    app.output.line(&format!("         flywheel -C {dir} sql \"select * from mart.daily_sales order by day desc limit 7\""))
}
