//! Serves a recommender in process: time of an answer with filters, time until feedback counts, memory at scale.
//!
//! ```text
//! cargo run --release -p flywheel-algo --example recommend_serving answers|memory
//! ```
//! Customers and items are synthetic, popularity falls as in a shop, and everybody has a taste. Prints `what, figure,
//! CPU seconds`, tab-separated. Answers are measured one at a time on one thread, as a request handler gives them. The time
//! of a request is the shortest of three runs, so that what else the machine does meanwhile is not taken for ours; what
//! was waited for the first of them is printed beside it.

#[path = "common/cpu.rs"]
mod cpu;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Instant;

use cpu::cpu_s;
use flywheel_algo::recommend::Recommender;
use flywheel_algo::recommend::filter::{Attribute, Filter, Texts};
use flywheel_algo::recommend::history::UserHistory;
use flywheel_algo::recommend::ials::{Ials, Options};
use flywheel_algo::recommend::interactions::{Interaction, Interactions};
use flywheel_algo::recommend::popularity::{self, Popularity};
use flywheel_algo::recommend::rules::{Limit, Rules, Similar};
use flywheel_algo::recommend::serve::{Cap, List, Request, found, serve};
use flywheel_base::{Error, Result, Rng};

/// How many answers are measured, and how long each is.
const ANSWERS: usize = 5_000;
const LENGTH: usize = 50;
/// How often each request is answered; the quickest counts.
const RUNS: usize = 3;
/// Items never to be listed, of each request, and the most of one group in a list.
const EXCLUDED: usize = 30;
const OF_A_GROUP: usize = 5;
const GROUPS: usize = 400;
/// Tastes that customers and items have.
const TASTES: usize = 40;
/// Sweeps of a fit; memory does not depend on them.
const SWEEPS: usize = 3;

/// How large a shop is.
#[derive(Clone, Copy)]
struct Size {
    users: usize,
    items: usize,
    events: usize,
}

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("answers") => answers(),
        Some("memory") => memory(),
        _ => Err(Error::invalid("say what to measure").hint("Write `answers` or `memory`.")),
    }
}

/// Events of a shop: who, what; half of them by taste, half by popularity.
fn shop(size: Size) -> Result<Interactions> {
    let mut rng = Rng::new(11);
    let events = (0..size.events).map(move |_| {
        let user = rng.below(size.users);
        // The k-th best of n items has a share of about 1/√k.
        let rank = (rng.uniform().powi(2) * size.items as f64) as usize;
        let item = if rng.chance(0.5) { rank - rank % TASTES + user % TASTES } else { rank };
        let item = item.min(size.items - 1) as u32;
        Interaction { user: user as u32, item, weight: 1.0, at: None }
    });
    Interactions::new(size.users, size.items, events)
}

/// The filters of the requests.
struct Filters {
    available: Vec<bool>,
    groups: Vec<u32>,
    excluded: Vec<u32>,
}

impl Filters {
    /// A tenth of the items cannot be had.
    fn new(items: usize) -> Self {
        let mut rng = Rng::new(12);
        Self {
            available: (0..items).map(|_| !rng.chance(0.1)).collect(),
            groups: (0..items).map(|item| (item % GROUPS) as u32).collect(),
            excluded: (0..EXCLUDED).map(|_| rng.below(items) as u32).collect(),
        }
    }

    fn answer(&self, model: &Ials, popular: &Popularity, history: &UserHistory) -> List {
        let request = Request {
            available: Some(&self.available),
            excluded: &self.excluded,
            cap: Some(Cap { groups: &self.groups, most: OF_A_GROUP }),
            ..Request::new(LENGTH)
        };
        let models: [&dyn Recommender; 2] = [model, popular];
        serve(&models, history, &request)
    }

    /// Whether a list keeps every filter.
    fn kept(&self, list: &List, history: &UserHistory) -> bool {
        let mut of_group = vec![0; GROUPS];
        list.items.iter().all(|listed| {
            let at = listed.item as usize;
            let group = self.groups.get(at).and_then(|group| of_group.get_mut(*group as usize));
            let within = group.is_some_and(|count| {
                *count += 1;
                *count <= OF_A_GROUP
            });
            within
                && self.available.get(at) == Some(&true)
                && !self.excluded.contains(&listed.item)
                && !history.owns(listed.item)
        })
    }
}

/// What a caller filters by and a project's rules: a typed filter whose items are worked out once, a limit per group, variety.
struct Listing {
    passing: Vec<bool>,
    rules: Rules,
}

impl Listing {
    fn new(filters: &Filters) -> Result<Self> {
        let count = filters.available.len();
        let group = |group: &u32| Some(format!("g{group}"));
        let attributes = BTreeMap::from([
            ("group".to_owned(), Attribute::Texts(Texts::new(filters.groups.iter().map(group)))),
            (
                "price".to_owned(),
                Attribute::Numbers((0..count).map(|item| (item % 100) as f64).collect()),
            ),
        ]);
        let began = Instant::now();
        let passing = Filter::parse("price<80,group!=g7|g9")?.passes(&attributes, count)?;
        print("41k items filter worked out, ms", began.elapsed().as_secs_f64() * 1_000.0, 0.0)?;
        let passing = passing.iter().zip(&filters.available).map(|(passes, have)| *passes && *have);
        let limit = Limit {
            attribute: "group".to_owned(),
            most: OF_A_GROUP,
            groups: filters.groups.clone(),
        };
        let rules = Rules {
            diversity: 0.3,
            similar: Some(Similar::Group(filters.groups.clone())),
            limits: vec![limit],
            ..Rules::default()
        };
        Ok(Self { passing: passing.collect(), rules })
    }

    /// The list as it is shown, and how many of it do not pass.
    fn answer(&self, models: &[&dyn Recommender], history: &UserHistory) -> (usize, usize) {
        let passes = |item: u32| self.passing.get(item as usize).copied().unwrap_or(false);
        let mut pool = self.rules.pool(LENGTH);
        let placed = loop {
            let request = Request { available: Some(&self.passing), ..Request::new(pool) };
            let (list, places) = found(models, history, &request);
            let whole = list.items.len() < pool;
            let mut placed = self.rules.apply(list.items, LENGTH, passes);
            if whole || placed.len() >= LENGTH {
                places.explain(models, history, placed.iter_mut().map(|one| &mut one.listed));
                break placed;
            }
            pool *= 4;
        };
        (placed.len(), placed.iter().filter(|one| !passes(one.listed.item)).count())
    }
}

/// Answers with a filter of a caller's and with rules.
fn listed(data: &Interactions, models: [&dyn Recommender; 2], filters: &Filters) -> Result<()> {
    let listing = Listing::new(filters)?;
    let mut rng = Rng::new(15);
    let (mut times, mut wrong) = (Vec::new(), 0);
    let before = cpu_s()?;
    for _ in 0..ANSWERS / 5 {
        let history = data.history(rng.below(data.user_count()), None);
        let mut quickest = f64::INFINITY;
        for _ in 0..RUNS {
            let began = Instant::now();
            let (length, broken) = listing.answer(&models, &history);
            quickest = quickest.min(began.elapsed().as_secs_f64() * 1_000.0);
            wrong += usize::from(length < LENGTH || broken > 0);
        }
        times.push(quickest);
    }
    let seconds = cpu_s()? - before;
    print("41k items answers with rules that are short or do not pass", wrong as f64, seconds)?;
    print("41k items answer with filter and rules p99, ms", quantile(&mut times, 0.99), seconds)
}

fn fitted(data: &Interactions) -> Result<(Ials, Popularity)> {
    let options = Options { factors: 64, sweeps: SWEEPS, ..Options::default() };
    Ok((Ials::fit(data, &options)?, Popularity::fit(data, None, &popularity::Options::default())?))
}

fn answers() -> Result<()> {
    let size = Size { users: 60_000, items: 41_000, events: 1_200_000 };
    let data = shop(size)?;
    let before = cpu_s()?;
    let (model, popular) = fitted(&data)?;
    print("41k items fit, events", size.events as f64, cpu_s()? - before)?;
    let filters = Filters::new(size.items);
    let mut rng = Rng::new(13);
    let (mut times, mut feedback, mut wrong, mut unchanged) = (Vec::new(), Vec::new(), 0, 0);
    let mut waited = Vec::new();
    let before = cpu_s()?;
    for _ in 0..ANSWERS {
        let mut history = data.history(rng.below(size.users), None);
        let (list, first, quickest) = timed(|| filters.answer(&model, &popular, &history));
        waited.push(first);
        times.push(quickest);
        wrong += usize::from(list.items.len() < LENGTH || !filters.kept(&list, &history));
        // The person takes the third item of the list; the next answer must know that.
        let Some(taken) = list.items.get(2).map(|listed| listed.item) else { continue };
        let started = Instant::now();
        history.push(taken, 1.0, None);
        let next = filters.answer(&model, &popular, &history);
        feedback.push(started.elapsed().as_secs_f64() * 1_000.0);
        let gone = next.items.iter().all(|listed| listed.item != taken);
        unchanged += usize::from(!gone || next.items == list.items);
    }
    let seconds = cpu_s()? - before;
    print("41k items answers that break a filter or are short", wrong as f64, seconds)?;
    print("41k items answer median, ms", quantile(&mut times, 0.5), seconds)?;
    print("41k items answer p99, ms", quantile(&mut times, 0.99), seconds)?;
    print("41k items answer p99 with what others do, ms", quantile(&mut waited, 0.99), seconds)?;
    print("feedback that changed nothing", f64::from(unchanged as u32), seconds)?;
    print("feedback to changed answer p99, ms", quantile(&mut feedback, 0.99), seconds)?;
    listed(&data, [&model, &popular], &filters)
}

fn memory() -> Result<()> {
    let size = Size { users: 1_500_000, items: 150_000, events: 10_000_000 };
    let before = cpu_s()?;
    let data = shop(size)?;
    print("ten million events read, GiB so far", peak_gib()?, cpu_s()? - before)?;
    let before = cpu_s()?;
    let (model, popular) = fitted(&data)?;
    print("ten million events fit, GiB so far", peak_gib()?, cpu_s()? - before)?;
    let filters = Filters::new(size.items);
    let mut rng = Rng::new(14);
    let mut times = Vec::new();
    let before = cpu_s()?;
    for _ in 0..ANSWERS / 5 {
        let history = data.history(rng.below(size.users), None);
        let (list, _, quickest) = timed(|| filters.answer(&model, &popular, &history));
        times.push(quickest);
        if !filters.kept(&list, &history) {
            return Err(Error::internal("an answer breaks a filter"));
        }
    }
    let seconds = cpu_s()? - before;
    print("150k items answer p99, ms", quantile(&mut times, 0.99), seconds)?;
    print("ten million events peak, GiB", peak_gib()?, seconds)
}

/// An answer with the milliseconds that it took the first time and the least of [`RUNS`] times.
fn timed(answer: impl Fn() -> List) -> (List, f64, f64) {
    let once = || {
        let started = Instant::now();
        let list = answer();
        (list, started.elapsed().as_secs_f64() * 1_000.0)
    };
    let (list, first) = once();
    let quickest = (1..RUNS).map(|_| once().1).fold(first, f64::min);
    (list, first, quickest)
}

/// The value that a share of the others does not exceed.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (share * values.len().saturating_sub(1) as f64).ceil() as usize;
    values.get(place).copied().unwrap_or(f64::NAN)
}

/// The most memory this process ever held.
fn peak_gib() -> Result<f64> {
    let path = std::path::Path::new("/proc/self/status");
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    let kibibytes: f64 =
        kibibytes.ok_or_else(|| Error::internal("the system does not tell the peak memory"))?;
    Ok(kibibytes / 1_048_576.0)
}

fn print(what: &str, figure: f64, seconds: f64) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{what}\t{figure:.4}\t{seconds:.2}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}
