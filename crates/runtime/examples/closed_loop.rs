//! Turns the whole wheel in a world whose law is known, and says how well it decided.
//!
//! ```text
//! cargo run --release -p flywheel-runtime --example closed_loop loop|promotion|guard [SEEDS]
//! ```
//! Everything is the product's own: files are synced, bandits fitted, decisions logged, outcomes joined, challengers
//! judged, tried, promoted and taken back, all by `turn` on a virtual clock. What is left out is the command line.
//! Prints `what, figure, CPU seconds`, tab-separated. Seeds are worlds of their own and run beside each other, one a
//! processor; what is printed does not depend on how many there are, but for the seconds.
//!
//! - `loop`: 30 days after 6 days of learning, another offer suits every segment from day 15 on. What the policy earned
//!   by its logged probabilities, beside a policy held at the artifact of day 0, an even choice, and the best offer for
//!   each customer. The even challenger that the file names must never be tried, and who asks for it at the end is refused
//!   with every reason.
//! - `promotion`: a champion that knows no context, and a challenger that does, named in the file and left alone.
//! - `guard`: a challenger made worse on purpose is tried by hand without evidence, and `system.canaries` must say why it
//!   was taken back.

#[path = "../../algo/examples/common/cpu.rs"]
mod cpu;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use cpu::cpu_s;
use flywheel_base::{Error, ErrorKind, FixedClock, Result, Timestamp};
use flywheel_decision::challenge::Challenge;
use flywheel_runtime::access::Reading;
use flywheel_runtime::replay::end_of_day;
use flywheel_runtime::status::Rows;
use flywheel_runtime::turn::turn;
use flywheel_runtime::{Access, Silent, Workspace, policy};
use flywheel_simulator::offers::{Customer, OFFERS, Offers, SEGMENTS};
use flywheel_state::Move;

/// The first day, before which nothing is known.
const START: &str = "2024-03-01";
/// Days of learning before day 0, days that count, the day of the drift.
const WARM_DAYS: i64 = 6;
const DAYS: i64 = 30;
const DRIFT_DAY: i64 = 15;

/// What a policy earned and what it might have, in expected rewards of its treated decisions.
#[derive(Clone, Copy, Debug, Default)]
struct Earned {
    decisions: f64,
    own: f64,
    even: f64,
    best: f64,
}

/// One world with its project.
struct House {
    _folder: tempfile::TempDir,
    workspace: Workspace,
    clock: Arc<FixedClock>,
    world: Offers,
    by_id: BTreeMap<String, Customer>,
    /// Answers by the day they come on.
    answers: BTreeMap<i64, String>,
    /// The day number of day 0.
    zero: i64,
    dir: std::path::PathBuf,
}

const HEAD: &str = "event_id,decision_id,customer_id,at\n";

impl House {
    async fn new(
        seed: u64,
        customers: usize,
        policies: &[(&str, String)],
        learners: &[(&str, &str)],
    ) -> Result<Self> {
        let folder =
            tempfile::tempdir().map_err(|e| Error::internal("no temporary folder").caused_by(e))?;
        let dir = folder.path().to_owned();
        let world = Offers::new(seed, customers, DRIFT_DAY);
        let first = Timestamp::parse(START)?.day();
        write(&dir, "flywheel.yaml", "name: loop\n")?;
        write(
            &dir,
            "connections/files.yaml",
            "connection: files\ntype: csv\noptions: {folder: data}\n",
        )?;
        write(
            &dir,
            "syncs/shop.yaml",
            "sync: shop\nconnection: files\nstreams:\n  - {stream: customers, options: {path: customers.csv}, read: incremental, write: append}\n  - stream: answers\n    options: {path: 'answers-*.csv', dated: 'answers-%Y-%m-%d.csv'}\n    read: incremental\n    write: append\n    columns: [{name: event_id, type: text}, {name: decision_id, type: text}, {name: customer_id, type: text}, {name: at, type: timestamp}]\n",
        )?;
        let mut rows = String::from("customer_id,segment,lively\n");
        for customer in world.customers() {
            let segment = SEGMENTS.get(customer.segment).copied().unwrap_or_default();
            line(&mut rows, format_args!("{},{segment},{}", customer.id, customer.lively))?;
        }
        write(&dir, "data/customers.csv", &rows)?;
        write(&dir, &format!("data/answers-{}.csv", Timestamp::from_day(first).date()), HEAD)?;
        for (name, settings) in learners {
            write(
                &dir,
                &format!("learners/{name}.yaml"),
                &format!(
                    "learner: {name}\nbandit:\n  policy: offer\n  actions: [{}]\n{settings}",
                    OFFERS.join(", ")
                ),
            )?;
        }
        for (name, settings) in policies {
            write(
                &dir,
                &format!("policies/{name}.yaml"),
                &format!(
                    "policy: {name}\naudience: select customer_id as unit_id, segment, cast(lively as double) as lively from {{{{ source('raw', 'customers') }}}}\n{settings}"
                ),
            )?;
        }
        let clock = Arc::new(FixedClock::new(end_of_day(first)));
        let workspace =
            Workspace::open(&dir, Access::Write, Arc::<FixedClock>::clone(&clock)).await?;
        let by_id = world.customers().iter().map(|one| (one.id.clone(), one.clone())).collect();
        Ok(Self {
            _folder: folder,
            workspace,
            clock,
            world,
            by_id,
            answers: BTreeMap::new(),
            zero: first + WARM_DAYS,
            dir,
        })
    }

    /// Turns the wheel on a day and lets customers answer; returns what each policy earned by its probabilities.
    async fn live(&mut self, day: i64) -> Result<BTreeMap<String, Earned>> {
        let at = end_of_day(self.zero + day);
        self.clock.move_to(at);
        let report = turn(&self.workspace, &Silent).await?;
        let sql = format!(
            "select policy, decision_id, unit_id, action, chances from system.decisions where turn = {} and arm = 'treatment' order by policy, unit_id",
            report.turn
        );
        let rows = Rows::query(&self.workspace, &sql).await?;
        let mut earned: BTreeMap<String, Earned> = BTreeMap::new();
        for row in 0..rows.len() {
            let cell = |column| Ok::<_, Error>(rows.text(row, column)?.unwrap_or_default());
            let (name, decision, unit, action) = (cell(0)?, cell(1)?, cell(2)?, cell(3)?);
            let Some(customer) = self.by_id.get(&unit) else { continue };
            let chances: BTreeMap<String, f64> = serde_json::from_str(&cell(4)?)
                .map_err(|e| Error::corrupt("chances are no JSON").caused_by(e))?;
            let sum = earned.entry(name).or_default();
            let truth = |offer: &str| self.world.chance(customer, offer, day);
            sum.decisions += 1.0;
            sum.own += chances.iter().map(|(offer, chance)| chance * truth(offer)).sum::<f64>();
            sum.even += OFFERS.iter().map(|offer| truth(offer)).sum::<f64>() / OFFERS.len() as f64;
            sum.best += self.world.best(customer, day);
            let Some(answer) = self.world.answer(customer, &action, day, &decision) else {
                continue;
            };
            let moment = at.plus_micros(answer.after_s * 1_000_000);
            let text = self.answers.entry(moment.day()).or_default();
            let at = moment.datetime().format("%Y-%m-%d %H:%M:%S");
            line(text, format_args!("e{decision},{decision},{unit},{at}"))?;
        }
        let next = self.zero + day + 1;
        let rows = self.answers.remove(&next).unwrap_or_default();
        write(
            &self.dir,
            &format!("data/answers-{}.csv", Timestamp::from_day(next).date()),
            &format!("{HEAD}{rows}"),
        )?;
        Ok(earned)
    }

    /// Lets a challenger decide, or be tried, without evidence.
    async fn promote(&self, of: &str, against: String) -> Result<()> {
        let challenge = Challenge { policy: of.to_owned(), against, since: None, gain_min: 0.0 };
        policy::promote(&self.workspace, &challenge, Some("the bench says so")).await.map(drop)
    }

    /// Whether somebody who asks for a challenger without evidence is told every reason against it, and nothing changes, with
    /// what was told; none if there is evidence for it.
    async fn refused(&self, of: &str, against: &str) -> Result<Option<(bool, String)>> {
        let challenge = Challenge {
            policy: of.to_owned(),
            against: against.to_owned(),
            since: None,
            gain_min: 0.0,
        };
        let verdict = Box::pin(policy::judge(&self.workspace, &challenge)).await?.verdict;
        if verdict.promotes() {
            return Ok(None);
        }
        let store = &self.workspace.store;
        let before = (store.promotions()?.len(), store.canaries()?.len());
        let said = match Box::pin(policy::promote(&self.workspace, &challenge, None)).await {
            Ok(_) => "it was not refused".to_owned(),
            Err(error) if error.kind() == ErrorKind::Blocked => error.message().to_owned(),
            Err(error) => return Err(error),
        };
        let after = (store.promotions()?.len(), store.canaries()?.len());
        let told = verdict.refusals.iter().all(|why| said.contains(&why.to_string()));
        Ok(Some((told && before == after, said)))
    }

    async fn number(&self, sql: &str) -> Result<f64> {
        let session = self.workspace.session_for(sql, &Reading::Owner).await?;
        let batches = session.query(sql).await?.collect().await?;
        let first = batches.iter().find(|batch| batch.num_rows() > 0);
        let column = first.and_then(|batch| batch.column(0).as_primitive_opt::<Float64Type>());
        Ok(column.map_or(0.0, |column| column.value(0)))
    }
}

fn context(more: &str) -> String {
    format!(
        "  context: [{{column: segment, values: [new, regular, loyal]}}, {{column: lively, centre: 0.5, scale: 0.3}}]\n  explore: 4%\n{more}"
    )
}

fn offer(choose: &str, window: &str) -> String {
    format!(
        "choose: {{bandit: {choose}}}\nholdout: 5%\noutcome:\n  events: select event_id, decision_id, customer_id as unit_id, at from {{{{ source('raw', 'answers') }}}}\n  window: {window}\n"
    )
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next().unwrap_or_default();
    let mut seeds =
        |usual: u64| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(usual);
    match part.as_str() {
        "loop" => closed_loop(seeds(20)),
        "promotion" => promotion(seeds(3)),
        "guard" => guard(seeds(3)),
        _ => Err(Error::invalid("say what to turn").hint("Write `loop`, `promotion` or `guard`.")),
    }
}

/// Runs every seed, one a processor at a time, and returns what each said in their order.
fn each<T: Send, F: Future<Output = Result<T>>>(
    seeds: u64,
    run: impl Fn(u64) -> F + Sync,
) -> Result<Vec<T>> {
    let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(0);
    let lane = || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|e| Error::internal("no runtime").caused_by(e))?;
        let mut made = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return Ok(made);
            }
            made.push((seed, runtime.block_on(run(seed))?));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let mut all = Vec::new();
        for ended in lanes {
            let ended: Result<Vec<(u64, T)>> =
                ended.join().map_err(|_| Error::internal("a seed panicked"))?;
            all.extend(ended?);
        }
        Ok::<_, Error>(all)
    })?;
    all.sort_by_key(|(seed, _)| *seed);
    Ok(all.into_iter().map(|(_, made)| made).collect())
}

/// The closed loop against a policy that stays as it was on day 0.
fn closed_loop(seeds: u64) -> Result<()> {
    let before = cpu_s()?;
    let (mut over_frozen, mut of_best, mut over_even, mut tried) = (vec![], vec![], vec![], 0.0);
    let mut refused = Vec::new();
    for (seed, (own, frozen, worse, told)) in each(seeds, lived)?.into_iter().enumerate() {
        tried += worse;
        if let Some((told, said)) = told {
            refused.push(told);
            note(&format!("seed {seed}: {said}"))?;
        }
        let rate = |sum: &Earned| sum.own / sum.decisions;
        over_frozen.push(100.0 * (rate(&own) / rate(&frozen) - 1.0));
        of_best.push(100.0 * own.own / own.best);
        over_even.push(100.0 * (own.own / own.even - 1.0));
        note(&format!(
            "seed {seed}: {:.4} a decision, frozen {:.4}, best {:.4}, even {:.4}",
            rate(&own),
            rate(&frozen),
            own.best / own.decisions,
            own.even / own.decisions
        ))?;
    }
    let seconds = cpu_s()? - before;
    interval("loop: gain over the frozen policy, percent", &over_frozen, seconds)?;
    interval("loop: share of the oracle, percent", &of_best, seconds)?;
    interval("loop: gain over an even choice, percent", &over_even, seconds)?;
    print("loop: trials of a challenger that is worse", tried, seconds)?;
    note(&format!("asked for the even choice without evidence in {} worlds", refused.len()))?;
    print("loop: refusals that say every reason, percent", percent(&refused), seconds)
}

/// What the policy and the frozen one earned in one world, and how often a challenger was tried that was worse on the
/// day on which its trial began: for some days after a drift the even choice is truly the better one. Also whether its
/// refusal at the end says why.
async fn lived(seed: u64) -> Result<(Earned, Earned, f64, Option<(bool, String)>)> {
    let nimble = context("  half_life_rewards: 1500\n");
    let still = context("");
    let learners = [
        ("nimble", &*nimble),
        ("still", &*still),
        ("even", "  algorithm: epsilon-greedy\n  explore: 100%\n"),
    ];
    let policies = [
        ("offer", offer("{learner: nimble, canary: {challengers: [even]}}", "2d")),
        ("frozen", offer("{learner: still}", "2d")),
    ];
    let mut house = House::new(seed, 1_000, &policies, &learners).await?;
    let (mut worse, mut begun) = (0.0, 0);
    let mut count = |house: &House, earned: &BTreeMap<String, Earned>| {
        let all = house.workspace.store.canaries()?;
        let all = all.iter().filter(|one| one.kind == Move::Started).count();
        let better = earned.get("offer").is_some_and(|sum| sum.even > sum.own);
        if !better {
            worse += (all - begun) as f64;
        }
        begun = all;
        Ok::<_, Error>(())
    };
    for day in -WARM_DAYS..0 {
        let earned = house.live(day).await?;
        count(&house, &earned)?;
    }
    let newest = house.workspace.store.newest_artifact("still")?;
    let artifact =
        newest.ok_or_else(|| Error::internal("nothing was learned before day 0"))?.digest;
    house.promote("frozen", format!("still@{artifact}")).await?;
    let (mut own, mut frozen) = (Earned::default(), Earned::default());
    for day in 0..DAYS {
        let earned = house.live(day).await?;
        count(&house, &earned)?;
        for (name, sum) in [("offer", &mut own), ("frozen", &mut frozen)] {
            let one = earned.get(name).copied().unwrap_or_default();
            sum.decisions += one.decisions;
            sum.own += one.own;
            sum.even += one.even;
            sum.best += one.best;
        }
    }
    let told = Box::pin(house.refused("offer", "learner:even")).await?;
    Ok((own, frozen, worse, told))
}

/// A challenger that knows more than the champion, found and promoted by turns alone.
fn promotion(seeds: u64) -> Result<()> {
    let before = cpu_s()?;
    let mut days = Vec::new();
    for (seed, (promoted, moves)) in each(seeds, promoted)?.into_iter().enumerate() {
        days.extend(promoted.map(|turns| turns as f64));
        tell(seed, &moves)?;
    }
    let seconds = cpu_s()? - before;
    print(
        "promotion: better challengers promoted by turns alone, percent",
        100.0 * days.len() as f64 / seeds as f64,
        seconds,
    )?;
    print(
        "promotion: turns from the first one to the promotion, most",
        days.iter().copied().fold(0.0, f64::max),
        seconds,
    )
}

/// After how many turns the better challenger was promoted in one world, and what happened to it.
async fn promoted(seed: u64) -> Result<(Option<i64>, Vec<Moved>)> {
    let nimble = context("");
    let learners =
        [("counts", "  algorithm: beta-thompson\n  explore: 20%\n"), ("nimble", &*nimble)];
    let policies = [(
        "offer",
        offer("{learner: counts, canary: {challengers: [nimble], min_units: 50}}", "1d"),
    )];
    let mut house = House::new(seed, 10_000, &policies, &learners).await?;
    for day in -WARM_DAYS..5 {
        house.live(day).await?;
        if !house.workspace.store.promotions()?.is_empty() {
            return Ok((Some(day + 1 + WARM_DAYS), moves(&house)?));
        }
    }
    Ok((None, moves(&house)?))
}

/// A bad challenger that is tried by hand.
fn guard(seeds: u64) -> Result<()> {
    let before = cpu_s()?;
    let (mut back, mut said, mut most) = (Vec::new(), Vec::new(), 0.0_f64);
    for (seed, guarded) in each(seeds, guarded)?.into_iter().enumerate() {
        back.push(guarded.taken_back);
        said.push(guarded.told);
        most = most.max(guarded.exposed);
        tell(seed, &guarded.moves)?;
    }
    let seconds = cpu_s()? - before;
    print("guard: bad challengers taken back by turns alone, percent", percent(&back), seconds)?;
    print("guard: worlds whose table says why each was, percent", percent(&said), seconds)?;
    print("guard: share of a day's traffic exposed, most, percent", most, seconds)
}

/// How it went with the bad challenger in one world.
struct Guarded {
    taken_back: bool,
    /// Whether `system.canaries` has reason and evidence of everything that was taken back.
    told: bool,
    /// The share of a day's units it decided for, in percent.
    exposed: f64,
    moves: Vec<Moved>,
}

async fn guarded(seed: u64) -> Result<Guarded> {
    let customers = 20_000;
    let nimble = context("");
    let learners =
        [("nimble", &*nimble), ("worse", "  algorithm: epsilon-greedy\n  explore: 100%\n")];
    let policies = [("offer", offer("{learner: nimble, canary: {}}", "1d"))];
    let mut house = House::new(seed, customers, &policies, &learners).await?;
    for day in -WARM_DAYS..-2 {
        house.live(day).await?;
    }
    house.promote("offer", "learner:worse".to_owned()).await?;
    for day in -2..3 {
        house.live(day).await?;
    }
    let all = house.workspace.store.canaries()?;
    let back = all.iter().filter(|one| one.kind == Move::RolledBack).count();
    let sql = "select cast(count(*) as double) from system.canaries where move = 'rolled-back' and length(reason) > 0 and evidence like '%\"advice\"%'";
    let told = house.number(sql).await?;
    let sql = "select cast(count(*) as double) from system.decisions where canary is not null";
    let units = house.number(sql).await?;
    Ok(Guarded {
        taken_back: back > 0,
        told: back > 0 && told == back as f64,
        exposed: 100.0 * units / customers as f64,
        moves: moves(&house)?,
    })
}

/// The share of those that hold; 0 of nothing.
fn percent(all: &[bool]) -> f64 {
    let held = all.iter().filter(|holds| **holds).count();
    100.0 * held as f64 / all.len().max(1) as f64
}

fn tell(seed: usize, moves: &[Moved]) -> Result<()> {
    for (at, made, share, reason) in moves {
        note(&format!("seed {seed}: {at} {made} {share}: {reason}"))?;
    }
    Ok(())
}

/// One step of a challenger on trial: its day, what it was, the share, why.
type Moved = (String, &'static str, f64, String);

/// What happened to challengers on trial.
fn moves(house: &House) -> Result<Vec<Moved>> {
    let all = house.workspace.store.canaries()?;
    Ok(all.into_iter().map(|one| (one.at.date(), one.kind.name(), one.share, one.reason)).collect())
}

/// Prints the mean over seeds with its 95 % interval; the goal is the mean's, the interval says how sure it is.
fn interval(what: &str, values: &[f64], seconds: f64) -> Result<()> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let square =
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    // Student's 97.5 % quantile of 19 degrees, which is a little wide for more seeds.
    let margin = 2.093 * (square / count).sqrt();
    note(&format!(
        "{what}: {mean:.2} ({:.2} to {:.2}) over {count} seeds",
        mean - margin,
        mean + margin
    ))?;
    print(what, mean, seconds)
}

fn note(text: &str) -> Result<()> {
    out(&format!("# {text}"))
}

fn print(what: &str, figure: f64, seconds: f64) -> Result<()> {
    out(&format!("{what}\t{figure:.4}\t{seconds:.2}"))
}

fn out(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
        .map_err(|e| Error::internal("cannot print").caused_by(e))
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) -> Result<()> {
    writeln!(text, "{line}").map_err(|e| Error::internal("cannot write a line").caused_by(e))
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    let folder = path.parent().unwrap_or(dir);
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    std::fs::write(&path, text).map_err(|e| Error::io("write", &path, e))
}
