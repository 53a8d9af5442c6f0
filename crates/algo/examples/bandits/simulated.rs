//! Worlds whose truth is known: off-policy estimates, experiments without effect, sound splits.

use flywheel_algo::bandit::{Algorithm, Bandit, Options};
use flywheel_algo::offpolicy::{self, Modelled, Row, estimate};
use flywheel_algo::stats::lift::Arm;
use flywheel_algo::stats::{sequence, srm};
use flywheel_base::{Result, Rng};

use crate::{print, timed};

const ACTIONS: usize = 5;
const FEATURES: usize = 3;

/// Logs that are judged, and decisions in each.
const LOGS: usize = 1000;
const DECISIONS: usize = 2000;

/// Rewards from which the challenger has learnt.
const LEARNT: usize = 3000;

/// Experiments, looks at each, and units an arm between two looks.
const EXPERIMENTS: usize = 2000;
const LOOKS: usize = 100;
const UNITS: usize = 20;

/// Splits and units in each.
const SPLITS: usize = 100_000;
const SPLIT_UNITS: usize = 1000;

pub(crate) fn run() -> Result<()> {
    off_policy()?;
    timed("a/a with 100 peeks, share wrong", peeks)?;
    timed("sound splits, share alarmed", splits)
}

/// The chance of a reward.
fn truth(context: &[f64], action: usize) -> f64 {
    let slope = [0.5, -0.5, 0.3, 0.0, -0.2][action];
    let feature = context.get(action % FEATURES).copied().unwrap_or_default();
    1.0 / (1.0 + (2.0 - slope * 3.0 * feature).exp())
}

/// A bandit that explores decides; one that learns by Thompson sampling is the challenger.
fn off_policy() -> Result<()> {
    let mut rng = Rng::stream(3, "off-policy");
    let all: Vec<usize> = (0..ACTIONS).collect();
    let logging_options =
        Options { explore: 0.2, ..Options::new(Algorithm::SquareCb { sharpness: 1.0 }) };
    let mut logging = Bandit::new(ACTIONS, FEATURES, logging_options)?;
    let mut challenger =
        Bandit::new(ACTIONS, FEATURES, Options::new(Algorithm::LinThompson { width: 1.0 }))?;
    let context = |rng: &mut Rng| [rng.normal(), rng.normal(), rng.normal()];
    for number in 0..LEARNT {
        let x = context(&mut rng);
        let action = rng.below(ACTIONS);
        let reward = f64::from(u8::from(rng.chance(truth(&x, action))));
        challenger.learn(&x, action, reward)?;
        if number < LEARNT / 10 {
            logging.learn(&x, action, reward)?;
        }
    }
    let (mut sums, mut covered) = ([0.0; 3], [0.0; 3]);
    let mut logs = Vec::with_capacity(LOGS);
    let mut worth = 0.0;
    for _ in 0..LOGS {
        let mut rows = Vec::with_capacity(DECISIONS);
        for _ in 0..DECISIONS {
            let x = context(&mut rng);
            let choice = logging.choose(&x, &all, rng.uniform())?;
            let chances = challenger.chances(&x, &all)?;
            let expected = challenger.expected(&x, &all)?;
            worth += chances.iter().enumerate().map(|(at, p)| p * truth(&x, at)).sum::<f64>();
            rows.push(Row {
                reward: f64::from(u8::from(rng.chance(truth(&x, choice.action)))),
                propensity: choice.propensity,
                challenger: chances.get(choice.action).copied().unwrap_or_default(),
                model: Some(Modelled::new(choice.action, &expected, &chances)?),
            });
        }
        logs.push(estimate(&rows, &offpolicy::Options::default())?);
    }
    let worth = worth / (LOGS * DECISIONS) as f64;
    for log in &logs {
        let found = [Some(log.ips), log.snips, log.dr];
        for (at, found) in found.into_iter().enumerate() {
            let Some(found) = found else { continue };
            sums[at] += found.value.estimate / LOGS as f64;
            covered[at] += f64::from(u8::from(found.value.contains(worth))) / LOGS as f64;
        }
    }
    for (at, name) in ["ips", "snips", "dr"].iter().enumerate() {
        print(
            &format!("off-policy {name} bias, percent"),
            100.0 * (sums[at] / worth - 1.0).abs(),
            0.0,
        )?;
        print(&format!("off-policy {name} coverage"), covered[at], 0.0)?;
    }
    Ok(())
}

/// The share of experiments without effect in which some look shows one.
fn peeks() -> Result<f64> {
    let mut rng = Rng::stream(9, "peeks");
    let options = sequence::Options { confidence: 0.95, tuned_for_units: 1000.0 };
    let mut wrong = 0_usize;
    for _ in 0..EXPERIMENTS {
        let (mut a, mut b) = (Arm::default(), Arm::default());
        let mut found = false;
        for _ in 0..LOOKS {
            for _ in 0..UNITS {
                a.add(rng.exponential(0.1), 1.0)?;
                b.add(rng.exponential(0.1), 1.0)?;
            }
            let interval = sequence::difference(&a, &b, &options)?;
            found |= interval.is_some_and(|interval| !interval.contains(0.0));
        }
        wrong += usize::from(found);
    }
    Ok(wrong as f64 / EXPERIMENTS as f64)
}

/// The share of sound splits that are called broken.
fn splits() -> Result<f64> {
    let mut rng = Rng::stream(9, "splits");
    let mut alarms = 0_usize;
    for _ in 0..SPLITS {
        let treated = (0..SPLIT_UNITS).filter(|_| rng.next_u64() >> 63 == 0).count();
        let units = [treated as u64, (SPLIT_UNITS - treated) as u64];
        alarms += usize::from(srm::mismatch(&units, &[0.5, 0.5])?.alarm);
    }
    Ok(alarms as f64 / SPLITS as f64)
}
