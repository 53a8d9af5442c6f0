//! Tries many challengers whose worth is known, by the same evidence and guards as a policy's canary.
//!
//! ```text
//! cargo run --release -p flywheel-algo --example promotions
//! ```
//! A champion has decided for three days when a challenger comes. Each day the log is judged (`verdict`); a challenger
//! that passes is tried on a growing share of units (`advise`). Decisions count a day later, when their window has
//! closed. Prints `what, figure, CPU seconds`, tab-separated. What is left out here and not in the product: the lake,
//! the learning of challengers meanwhile, and the doubly robust estimate, which would make the gate quicker.

#[path = "common/cpu.rs"]
mod cpu;

use std::io::Write as _;

use cpu::cpu_s;
use flywheel_algo::canary::{Advice, Options, Stage, advise, units_planned};
use flywheel_algo::offpolicy::Row;
use flywheel_algo::offpolicy::verdict::{Rules, verdict};
use flywheel_algo::stats::lift::Arm;
use flywheel_base::{Error, Result, Rng};
use rayon::prelude::*;

/// Challengers of each kind, decisions a day, days of the log before a challenger comes.
const TRIALS: u64 = 1_000;
const A_DAY: usize = 20_000;
const LOGGED_DAYS: usize = 3;
/// Within so many days a better one should decide.
const DAYS: usize = 7;
/// What each offer earns a decision, and how often the champion makes it.
const REWARDS: [f64; 3] = [0.08, 0.10, 0.12];
const CHAMPION: [f64; 3] = [0.30, 0.40, 0.30];

/// What became of a challenger.
#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    promoted: bool,
    started: bool,
    taken_back: bool,
    /// The share of a day's units that it decided for, in all.
    exposed: f64,
}

/// A challenger: its probabilities, and how its rewards come out beside what the log promises.
#[derive(Clone, Copy)]
struct Challenger {
    chances: [f64; 3],
    /// What is left of its rewards once it decides itself: 1 if it does as the log says.
    kept: f64,
    /// Whether it is tried without evidence.
    forced: bool,
}

fn main() -> Result<()> {
    let value = |chances: [f64; 3]| -> f64 {
        chances.iter().zip(REWARDS).map(|(chance, reward)| chance * reward).sum()
    };
    // A challenger that moves `x` of its decisions from the best offer to the worst, or the other way.
    let moved = |x: f64| [CHAMPION[0] - x, CHAMPION[1], CHAMPION[2] + x];
    let worth = |gain: f64| {
        let x = gain * value(CHAMPION) / (REWARDS[2] - REWARDS[0]);
        Challenger { chances: moved(x), kept: 1.0, forced: false }
    };
    let kinds = [
        ("worse by 5 %", worth(-0.05)),
        ("equal", worth(0.0)),
        ("better by 5 %", worth(0.05)),
        ("better by 10 %", worth(0.1)),
        // Looks better in the log and is not: its rewards break once it decides.
        ("broken by 5 %", Challenger { kept: 0.95 / 1.1, ..worth(0.1) }),
        ("ruined on purpose", Challenger { kept: 0.2, forced: true, ..worth(0.0) }),
    ];
    for (name, challenger) in kinds {
        let before = cpu_s()?;
        let trials = (0..TRIALS)
            .into_par_iter()
            .map(|seed| trial(&challenger, &mut Rng::stream(seed, name)))
            .collect::<Result<Vec<_>>>()?;
        let seconds = cpu_s()? - before;
        let share = |pick: fn(&Trial) -> bool| {
            trials.iter().filter(|trial| pick(trial)).count() as f64 / TRIALS as f64
        };
        for (what, share) in [
            ("tried".to_owned(), share(|trial| trial.started)),
            (format!("promoted in {DAYS} days"), share(|trial| trial.promoted)),
            (format!("taken back in {DAYS} days"), share(|trial| trial.taken_back)),
        ] {
            print(&format!("{name}: {what}"), share, seconds)?;
            let (low, high) = wilson(share, TRIALS as f64);
            note(&format!("{name}: {what}: {low:.4} to {high:.4} over {TRIALS} trials"))?;
        }
        let mut exposed: Vec<f64> = trials.iter().map(|trial| trial.exposed).collect();
        exposed.sort_by(f64::total_cmp);
        let worst = exposed.get(exposed.len() * 99 / 100).copied().unwrap_or_default();
        let mean = exposed.iter().sum::<f64>() / exposed.len() as f64;
        print(&format!("{name}: traffic-days exposed, mean"), mean, seconds)?;
        print(&format!("{name}: traffic-days exposed, 99 %"), worst, seconds)?;
    }
    Ok(())
}

fn trial(challenger: &Challenger, rng: &mut Rng) -> Result<Trial> {
    let rules = Rules::default();
    let shares = Options::default().shares;
    let units_planned = units_planned(&shares, A_DAY as f64);
    let options = Options { units_planned, ..Options::default() };
    let mut log = Vec::new();
    for _ in 0..LOGGED_DAYS {
        decide(A_DAY, challenger, &mut log, rng);
    }
    let mut stages: Vec<Stage> = Vec::new();
    let mut made = Trial::default();
    for _ in 0..DAYS {
        // The turn: evidence of the days before, then the day's decisions.
        if stages.is_empty() {
            if challenger.forced || verdict(&log, &rules)?.promotes() {
                made.started = true;
                stages.push(Stage::default());
            }
        } else {
            match advise(&stages, &options)?.advice {
                Advice::Raise { .. } => stages.push(Stage::default()),
                Advice::Promote => {
                    made.promoted = true;
                    return Ok(made);
                }
                Advice::TakeBack => {
                    made.taken_back = true;
                    return Ok(made);
                }
                Advice::TooFew { .. } | Advice::Leans | Advice::NotShown => {}
            }
        }
        let share = match stages.len() {
            0 => 0.0,
            count => options.shares.get(count - 1).copied().unwrap_or_default(),
        };
        made.exposed += share;
        let tried = (A_DAY as f64 * share).round() as usize;
        let champion = decide(A_DAY - tried, challenger, &mut log, rng);
        if let Some(stage) = stages.last_mut() {
            stage.champion.merge(&champion);
            for _ in 0..tried {
                let reward = REWARDS[draw(&challenger.chances, rng)] * challenger.kept;
                stage.challenger.add(f64::from(u8::from(rng.chance(reward))), 1.0)?;
            }
        }
    }
    Ok(made)
}

/// The champion decides for so many units, as the log keeps it; returns what it earned.
fn decide(count: usize, challenger: &Challenger, log: &mut Vec<Row>, rng: &mut Rng) -> Arm {
    let mut rewards = Vec::with_capacity(count);
    for _ in 0..count {
        let offer = draw(&CHAMPION, rng);
        let reward = f64::from(u8::from(rng.chance(REWARDS[offer])));
        rewards.push(reward);
        log.push(Row {
            reward,
            propensity: CHAMPION[offer],
            challenger: challenger.chances[offer],
            model: None,
        });
    }
    // Rewards are 0 or 1.
    Arm::per_unit(&rewards).unwrap_or_default()
}

fn draw(chances: &[f64; 3], rng: &mut Rng) -> usize {
    let mut left = rng.uniform();
    for (offer, chance) in chances.iter().enumerate() {
        if left < *chance {
            return offer;
        }
        left -= chance;
    }
    chances.len() - 1
}

/// The 95 % interval of a share of so many trials (Wilson 1927).
fn wilson(share: f64, count: f64) -> (f64, f64) {
    let square = 1.959_964_f64.powi(2);
    let middle = (share + square / (2.0 * count)) / (1.0 + square / count);
    let half = (square * (share * (1.0 - share) / count + square / (4.0 * count * count))).sqrt()
        / (1.0 + square / count);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

fn note(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "# {text}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}

fn print(what: &str, figure: f64, seconds: f64) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{what}\t{figure:.5}\t{seconds:.2}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}
