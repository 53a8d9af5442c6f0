//! Simulates the stock of the 500 best-selling items of Online Retail and of 2,509 car parts, day by day.
//!
//! ```text
//! FLYWHEEL_DATA=FOLDER cargo run --release -p flywheel-algo --example inventory [FORECASTER…]
//! ```
//! Each policy looks at the stock every period, knows only what was sold until then, and orders up to a level; what it
//! orders arrives a lead time later; demand that cannot be served waits. Prints `what, figure, CPU seconds`,
//! tab-separated. Cost is what stock costs to hold, a quarter of its price a year, and the margin of what was not
//! served from the shelf, 40 % of its price. The policy to beat is the textbook's: mean and deviation of past demand, a
//! normal distribution, and the level whose normal loss leaves 5 % of demand unserved. Forecasters are those that a
//! person would choose beforehand: smoothing for the weeks of a shop, the one that is best on parts for parts. Ours is
//! shown twice: asked for 95 % (`as asked`), and asked at each look for the rate that would have served 95 % at the last
//! 13 looks, by what was known at each of them. `pooled` learns demand from the pasts of all items, shares the service
//! between them, and is asked in the same way.

#[path = "common/cpu.rs"]
mod cpu;
#[path = "common/retail.rs"]
mod retail;

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::Path;

use cpu::cpu_s;
use flywheel_algo::forecast::{Options, fit};
use flywheel_algo::inventory::calibrate::{self, Ladder, Look, rate_to_ask};
use flywheel_algo::inventory::pool::{Times, beliefs};
use flywheel_algo::inventory::reorder::Situation;
use flywheel_algo::stats::normal;
use flywheel_base::{Error, Result};
use rayon::prelude::*;

/// The service that is asked for.
const FILL_RATE: f64 = 0.95;
/// What a unit costs to hold for a year, and what one that is not served costs, as shares of its price.
const HELD_A_YEAR: f64 = 0.25;
const UNSERVED: f64 = 0.40;

/// The policy that learns demand from all items and shares the service between them.
const POOLED: &str = "pooled";

/// Looks by which the rate to ask for is found, after those that fill the pipeline.
const CALIBRATED_ON: usize = 13;

/// How the stock of a set of items is kept.
#[derive(Clone, Copy)]
struct Setting {
    name: &'static str,
    /// The forecaster, unless the command line names others.
    forecaster: &'static str,
    /// Periods in a year.
    a_year: f64,
    /// Steps of the simulation in a period: days in a week.
    steps: usize,
    /// Periods between two looks, until an order arrives, before the first judged one, judged.
    review: usize,
    lead: usize,
    warm: usize,
    judged: usize,
    season: usize,
    origins: usize,
    /// Periods of the past that the textbook's mean and deviation are taken from.
    memory: usize,
}

const SHOP: Setting = Setting {
    name: "online retail",
    forecaster: "ses",
    a_year: 52.0,
    steps: 7,
    review: 1,
    lead: 1,
    warm: 2,
    judged: 13,
    season: 1,
    origins: 40,
    memory: 26,
};
const PARTS: Setting = Setting {
    name: "carparts",
    forecaster: "fading",
    a_year: 12.0,
    steps: 1,
    review: 1,
    lead: 1,
    warm: 2,
    judged: 12,
    season: 1,
    origins: 40,
    memory: 36,
};

/// One item: what was asked for in each step, and what a unit is worth.
struct Item {
    demand: Vec<f64>,
    price: f64,
}

impl Item {
    /// What was asked for in each period.
    fn periods(&self, setting: &Setting) -> Vec<f64> {
        self.demand.chunks_exact(setting.steps).map(|part| part.iter().sum()).collect()
    }
}

/// What became of one item.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    asked: f64,
    served: f64,
    cost: f64,
}

/// A way to choose the position to order up to: for an item, when so many periods are known.
type Level<'a> = dyn Fn(usize, usize) -> f64 + Sync + 'a;

/// The levels of each item when so many periods are known; none where nobody looks.
type Ladders = Vec<Vec<Option<Ladder>>>;

fn main() -> Result<()> {
    let root = flywheel_base::env::optional("FLYWHEEL_DATA").ok_or_else(|| {
        Error::invalid("FLYWHEEL_DATA is not set")
            .hint("Set it to the folder that holds online_retail and m3/carparts.csv.")
    })?;
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (setting, items) in
        [(SHOP, shop(&Path::new(&root).join("online_retail"))?), (PARTS, parts(Path::new(&root))?)]
    {
        print(&format!("# {}: {} items", setting.name, items.len()))?;
        let periods: Vec<Vec<f64>> = items.iter().map(|item| item.periods(&setting)).collect();
        let textbook = |item: usize, known: usize| normal_level(&periods[item][..known], &setting);
        let least = judge(&setting, &items, "textbook", &textbook, None, 0.0)?;
        let names: Vec<&str> = match wanted.as_slice() {
            [] => vec![setting.forecaster, POOLED],
            all => all.iter().map(String::as_str).collect(),
        };
        for name in names {
            let before = cpu_s()?;
            let ladders = match name {
                POOLED => pooled(&periods, &setting)?,
                name => ladders(name, &periods, &setting)?,
            };
            let rates = rates(&periods, &ladders, &setting)?;
            let seconds = cpu_s()? - before;
            let at = |rate: f64, item: usize, known: usize| {
                ladders[item][known].as_ref().map_or(0.0, |ladder| ladder.level(rate).ceil())
            };
            if name != POOLED {
                let asked = |item: usize, known: usize| at(FILL_RATE, item, known);
                let name = format!("{name} as asked");
                judge(&setting, &items, &name, &asked, Some(least), seconds)?;
            }
            let calibrated = |item: usize, known: usize| at(rates[known], item, known);
            judge(&setting, &items, name, &calibrated, Some(least), seconds)?;
            let shown: Vec<String> =
                rates[setting.first(&periods)..].iter().map(|rate| format!("{rate:.3}")).collect();
            print(&format!("# {} {name}: asked for {}", setting.name, shown.join(" ")))?;
        }
    }
    Ok(())
}

impl Setting {
    /// How many periods are known when the simulation begins.
    fn first(&self, periods: &[Vec<f64>]) -> usize {
        periods.first().map_or(0, Vec::len) - self.judged - self.warm
    }

    /// How many periods before a look the past begins by which its rate is found.
    fn tried(&self) -> usize {
        CALIBRATED_ON + self.warm
    }
}

/// The levels of the product's own proposals, at every look that is simulated or tried.
fn ladders(name: &str, periods: &[Vec<f64>], setting: &Setting) -> Result<Ladders> {
    let cover = setting.review + setting.lead;
    let options = Options {
        season: setting.season,
        horizon: cover,
        origins_max: setting.origins,
        clip_at_zero: true,
        ..Options::default()
    };
    let levels = [0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95];
    let situation = Situation {
        lead_time_days: setting.lead as f64,
        review_days: setting.review as f64,
        ..Situation::default()
    };
    let from = setting.first(periods) - setting.tried();
    let of_item = |past: &Vec<f64>| {
        let at = |known: usize| {
            // Nothing can be known of an item that nobody has asked for.
            if known < from || past[..known].iter().all(|value| *value == 0.0) {
                return Ok(None);
            }
            let ahead = fit(name, &past[..known], &options)?.forecast(cover, &levels)?;
            Ladder::new(&situation, &ahead).map(Some)
        };
        (0..=past.len()).map(at).collect()
    };
    periods.par_iter().map(of_item).collect()
}

/// The levels of a pool, at every look that is simulated or tried: each from what was known then.
fn pooled(periods: &[Vec<f64>], setting: &Setting) -> Result<Ladders> {
    let times = Times { lead: setting.lead, review: setting.review };
    let from = setting.first(periods) - setting.tried();
    let length = periods.first().map_or(0, Vec::len);
    let mut made: Ladders = vec![vec![None; length + 1]; periods.len()];
    for known in from..=length {
        let pasts: Vec<&[f64]> = periods.iter().map(|past| &past[..known]).collect();
        let beliefs = beliefs(&pasts, times)?
            .ok_or_else(|| Error::invalid(format!("{known} periods teach nothing")))?;
        let ladders: Vec<Ladder> = beliefs.par_iter().map(|belief| belief.ladder(times)).collect();
        for (item, ladder) in ladders.into_iter().enumerate() {
            made[item][known] = Some(ladder);
        }
    }
    Ok(made)
}

/// The rate to ask for when so many periods are known.
fn rates(periods: &[Vec<f64>], ladders: &Ladders, setting: &Setting) -> Result<Vec<f64>> {
    let options = calibrate::Options {
        fill_rate: FILL_RATE,
        lead_steps: setting.lead,
        looks_uncounted: setting.warm,
        pack_size: 1.0,
    };
    let first = setting.first(periods);
    let at = |known: usize| {
        if known < first {
            return Ok(FILL_RATE);
        }
        let looks = |(past, ladders): (&Vec<f64>, &Vec<Option<Ladder>>)| {
            let tried = known - setting.tried()..known;
            tried
                .map(|at| Some(Look { ladder: ladders[at].clone()?, came: vec![past[at]] }))
                .collect()
        };
        let items: Vec<Vec<Look>> = periods.iter().zip(ladders).filter_map(looks).collect();
        Ok(rate_to_ask(&items, &options)?.unwrap_or(FILL_RATE))
    };
    (0..=first + setting.judged + setting.warm).map(at).collect()
}

/// The level of the textbook: normal demand, independent between periods (Silver, Pyke & Thomas 2017, ch. 7).
fn normal_level(past: &[f64], setting: &Setting) -> f64 {
    let known = &past[past.len().saturating_sub(setting.memory)..];
    let count = known.len() as f64;
    let mean = known.iter().sum::<f64>() / count;
    let square = known.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let cover = (setting.review + setting.lead) as f64;
    let deviation = (square * cover).sqrt();
    if deviation == 0.0 {
        return (mean * cover).ceil();
    }
    let allowed = (1.0 - FILL_RATE) * mean * setting.review as f64 / deviation;
    // The normal loss falls in its argument.
    let loss = |z: f64| normal::density(z) - z * (1.0 - normal::cdf(z));
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if loss(middle) > allowed { low = middle } else { high = middle }
    }
    (mean * cover + high * deviation).ceil()
}

/// Keeps every item by a policy and prints what came of it; returns the cost.
fn judge(
    setting: &Setting,
    items: &[Item],
    name: &str,
    level: &Level<'_>,
    textbook: Option<f64>,
    seconds: f64,
) -> Result<f64> {
    let kept: Vec<Kept> = items
        .par_iter()
        .enumerate()
        .map(|(place, item)| keep(item, setting, &|known| level(place, known)))
        .collect();
    let asked: Vec<&Kept> = kept.iter().filter(|kept| kept.asked > 0.0).collect();
    let by_item =
        asked.iter().map(|kept| kept.served / kept.asked).sum::<f64>() / asked.len() as f64;
    let sum = |pick: fn(&Kept) -> f64| kept.iter().map(pick).sum::<f64>();
    let all = sum(|kept| kept.served) / sum(|kept| kept.asked);
    let cost = sum(|kept| kept.cost);
    let of = setting.name;
    print(&format!(
        "{of} {name} fill rate by item, percent\t{:.3}\t{seconds:.2}",
        100.0 * by_item
    ))?;
    print(&format!(
        "{of} {name} fill rate of all units, percent\t{:.3}\t{seconds:.2}",
        100.0 * all
    ))?;
    print(&format!("{of} {name} cost\t{cost:.1}\t{seconds:.2}"))?;
    if let Some(textbook) = textbook {
        let less = 100.0 * (1.0 - cost / textbook);
        print(&format!("{of} {name} cost below the textbook, percent\t{less:.3}\t{seconds:.2}"))?;
    }
    Ok(cost)
}

/// Keeps the stock of one item; it begins with what the policy would have on the shelf.
fn keep(item: &Item, setting: &Setting, level: &dyn Fn(usize) -> f64) -> Kept {
    let Setting { steps, .. } = *setting;
    let start = item.demand.len() - (setting.judged + setting.warm) * steps;
    let mut shelf = level(start / steps);
    let mut coming: VecDeque<f64> = vec![0.0; setting.lead * steps + 1].into();
    let (mut waiting, mut kept) = (0.0_f64, Kept::default());
    for (step, demand) in item.demand[start..].iter().enumerate() {
        if step > 0 && step % (setting.review * steps) == 0 {
            let wanted = level((start + step) / steps);
            let position = shelf + coming.iter().sum::<f64>() - waiting;
            if let Some(last) = coming.back_mut() {
                *last += (wanted - position).max(0.0);
            }
        }
        // What was ordered a lead time ago arrives before the demand of the step.
        shelf += coming.pop_front().unwrap_or_default();
        coming.push_back(0.0);
        let late = waiting.min(shelf);
        shelf -= late;
        waiting -= late;
        let served = demand.min(shelf);
        shelf -= served;
        waiting += demand - served;
        if step >= setting.warm * steps {
            kept.asked += demand;
            kept.served += served;
            let held = shelf * HELD_A_YEAR / (setting.a_year * steps as f64);
            kept.cost += item.price * (held + UNSERVED * (demand - served));
        }
    }
    kept
}

/// Demand a day of the 500 items that sold most before the test, and the median price of a unit until then.
fn shop(folder: &Path) -> Result<Vec<Item>> {
    let days = retail::days(folder)?;
    let last = days.keys().next_back().copied().unwrap_or_default();
    let weeks = days.keys().next().map_or(0, |first| (last - first + 1) / 7) as usize;
    let mut items: BTreeMap<String, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    let length = weeks * SHOP.steps;
    let train = length - (SHOP.judged + SHOP.warm) * SHOP.steps;
    for (day, of_day) in &days {
        let Some(at) = length.checked_sub(1 + (last - day) as usize) else { continue };
        for (code, lines) in of_day {
            let (demand, prices) =
                items.entry(code.clone()).or_insert_with(|| (vec![0.0; length], Vec::new()));
            for (quantity, price) in retail::asked(lines) {
                demand[at] += quantity;
                if at < train {
                    prices.push(price);
                }
            }
        }
    }
    let mut all: Vec<(f64, Item)> = items
        .into_values()
        .filter(|(_, prices)| !prices.is_empty())
        .map(|(demand, mut prices)| {
            prices.sort_by(f64::total_cmp);
            let sold = demand[..train].iter().sum();
            (sold, Item { demand, price: prices[prices.len() / 2] })
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.truncate(500);
    Ok(all.into_iter().map(|(_, item)| item).collect())
}

/// Monthly sales of the parts whose every month is known; all cost the same.
fn parts(root: &Path) -> Result<Vec<Item>> {
    let path = root.join("m3/carparts.csv");
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
    let mut lines = text.lines();
    let count = lines.next().map_or(0, |head| head.split(',').count());
    let mut made: Vec<Option<Vec<f64>>> = vec![Some(Vec::new()); count];
    for line in lines {
        for (part, cell) in made.iter_mut().zip(line.split(',')) {
            match (part.as_mut(), cell.trim().parse()) {
                (Some(values), Ok(value)) => values.push(value),
                _ => *part = None,
            }
        }
    }
    let known = made.into_iter().flatten();
    let sold = |part: &Vec<f64>| {
        let before = &part[..part.len() - PARTS.judged - PARTS.warm];
        before.iter().any(|value| *value != 0.0)
    };
    Ok(known.filter(sold).map(|demand| Item { demand, price: 1.0 }).collect())
}

fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}
