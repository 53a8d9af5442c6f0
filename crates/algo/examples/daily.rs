//! Forecasts the last four weeks of the 80 best-selling items of Online Retail, each evening the days that follow.
//!
//! ```text
//! FLYWHEEL_DATA=FOLDER cargo run --release -p flywheel-algo --example daily
//! ```
//! At each of 28 evenings every method says the next seven days, as far as the history reaches, from what was known then.
//! `auto` chooses as a learner does that is fitted that evening: by three whole windows of the past. Prints `what, figure, CPU
//! seconds`, tab-separated; the errors are WAPE, which is the sum of all absolute errors over the sum of what came. The
//! best fixed choice is known only afterwards, and is the same for all items and evenings.

#[path = "common/cpu.rs"]
mod cpu;
#[path = "common/retail.rs"]
mod retail;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use cpu::cpu_s;
use flywheel_algo::forecast::auto::Moments;
use flywheel_algo::forecast::{AUTO, FORECASTERS, Options, choose, fit};
use flywheel_base::{Error, Result};
use rayon::prelude::*;

/// The items that sold most before the evenings, how many evenings there are, and the days that are forecast at each.
const ITEMS: usize = 80;
const EVENINGS: usize = 28;
const AHEAD: usize = 7;

/// Days of a week, after which sales repeat.
const SEASON: usize = 7;

/// Days of the shortest history that takes part.
const HISTORY_MIN: usize = 100;

/// How a learner compares: on so many windows of at least so many days.
const WINDOWS: usize = 3;
const WINDOW_DAYS: usize = 14;

/// Absolute errors and what they are of.
#[derive(Clone, Debug)]
struct Sums {
    came: f64,
    auto: f64,
    /// By the place of the method in [`FORECASTERS`].
    each: Vec<f64>,
    /// How often `auto` took it.
    chosen: Vec<usize>,
}

impl Sums {
    fn none() -> Self {
        let count = FORECASTERS.len();
        Self { came: 0.0, auto: 0.0, each: vec![0.0; count], chosen: vec![0; count] }
    }

    fn with(mut self, other: &Self) -> Self {
        self.came += other.came;
        self.auto += other.auto;
        self.each.iter_mut().zip(&other.each).for_each(|(sum, one)| *sum += one);
        self.chosen.iter_mut().zip(&other.chosen).for_each(|(sum, one)| *sum += one);
        self
    }
}

fn main() -> Result<()> {
    let root = flywheel_base::env::optional("FLYWHEEL_DATA").ok_or_else(|| {
        Error::invalid("FLYWHEEL_DATA is not set")
            .hint("Set it to the folder that holds online_retail/*.csv.")
    })?;
    let items = best_sellers(&Path::new(&root).join("online_retail"))?;
    print("daily: items", items.len() as f64, 0.0)?;
    let before = cpu_s()?;
    let judged: Vec<Sums> = items.par_iter().map(|item| judge(item)).collect::<Result<_>>()?;
    let sums = judged.iter().fold(Sums::none(), Sums::with);
    let seconds = cpu_s()? - before;
    let wape = |errors: f64| 100.0 * errors / sums.came;
    for (forecaster, errors) in FORECASTERS.iter().zip(&sums.each) {
        print(&format!("daily {}: WAPE, percent", forecaster.name), wape(*errors), seconds)?;
    }
    print(&format!("daily {AUTO}: WAPE, percent"), wape(sums.auto), seconds)?;
    let taken = FORECASTERS.iter().zip(&sums.chosen).filter(|(_, count)| **count > 0);
    let taken: Vec<String> =
        taken.map(|(forecaster, count)| format!("{} {count}", forecaster.name)).collect();
    out(&format!("# {AUTO} took {} times", taken.join(", ")))?;
    let best = FORECASTERS.iter().zip(&sums.each).min_by(|a, b| a.1.total_cmp(b.1));
    let (best, least) = best.ok_or_else(|| Error::internal("there is no method"))?;
    out(&format!("# the best fixed choice is {}", best.name))?;
    print(
        &format!("daily {AUTO}: times the error of the best fixed choice"),
        sums.auto / least,
        seconds,
    )
}

/// One item at all evenings.
fn judge(values: &[f64]) -> Result<Sums> {
    let options = Options {
        season: SEASON,
        horizon: AHEAD,
        origins_max: 0,
        clip_at_zero: true,
        ..Options::default()
    };
    let judging = Options { horizon: WINDOW_DAYS, origins_max: WINDOWS, ..options.clone() };
    let mut sums = Sums::none();
    for evening in values.len() - EVENINGS..values.len() {
        let (known, rest) = values.split_at(evening);
        let came = &rest[..AHEAD.min(rest.len())];
        sums.came += came.iter().sum::<f64>();
        let chosen = choose(known, &judging, Moments::Whole)?;
        for (at, forecaster) in FORECASTERS.iter().enumerate() {
            let said = fit(forecaster.name, known, &options)?.forecast(came.len(), &[])?;
            let pairs = said.mean.iter().zip(came);
            let errors: f64 = pairs.map(|(said, came)| (came - said).abs()).sum();
            sums.each[at] += errors;
            if forecaster.name == chosen {
                sums.auto += errors;
                sums.chosen[at] += 1;
            }
        }
    }
    Ok(sums)
}

/// Demand a day, from the first one on, of the items that sold most before the evenings.
fn best_sellers(folder: &Path) -> Result<Vec<Vec<f64>>> {
    let days = retail::days(folder)?;
    let (first, last) = (days.keys().next(), days.keys().next_back());
    let (Some(first), Some(last)) = (first.copied(), last.copied()) else {
        return Err(Error::internal("a history without a day"));
    };
    let length = (last - first + 1) as usize;
    let mut items: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (day, of_day) in &days {
        for (code, lines) in of_day {
            let demand = items.entry(code).or_insert_with(|| vec![0.0; length]);
            let asked: f64 = retail::asked(lines).iter().map(|(quantity, _)| quantity).sum();
            demand[(day - first) as usize] += asked;
        }
    }
    let mut all: Vec<(f64, Vec<f64>)> = Vec::new();
    for demand in items.into_values() {
        let Some(begins) = demand.iter().position(|asked| *asked > 0.0) else { continue };
        if length - begins >= HISTORY_MIN + EVENINGS {
            let sold = demand[..length - EVENINGS].iter().sum();
            all.push((sold, demand[begins..].to_vec()));
        }
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.truncate(ITEMS);
    Ok(all.into_iter().map(|(_, demand)| demand).collect())
}

fn print(what: &str, figure: f64, seconds: f64) -> Result<()> {
    out(&format!("{what}\t{figure:.4}\t{seconds:.2}"))
}

fn out(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}
