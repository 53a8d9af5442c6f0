//! Streams: logistic regression event by event, and alarms of drift.

use std::path::Path;

use flywheel_algo::online::drift::adwin::Adwin;
use flywheel_algo::online::ftrl::{self, Ftrl};
use flywheel_algo::online::logistic::{self, Logistic};
use flywheel_base::{Error, Result, Rng};

use crate::{print, rate, timed};

/// Events and features, as the measurement of river and VW had them.
const EVENTS: usize = 20_000;
const FEATURES: usize = 20;

/// Rounds of the timing, each with a learner of its own.
const ROUNDS: usize = 50;

/// The deviation of the log-odds; here river gets about 92.0 % right, as in the measurement.
const STRENGTH: f64 = 7.2;

/// The stream for drift: a share that rises from one value to another.
const BEFORE: f64 = 0.2;
const AFTER: f64 = 0.35;
const CHANGE_AT: usize = 20_000;
const STILL: usize = 1_000_000;
const DELTA: f64 = 0.002;

/// Streams whose median delay is printed.
const STREAMS: usize = 51;

pub(crate) fn run(kept: &Path) -> Result<()> {
    let (rows, happened) = events();
    write(kept, &rows, &happened)?;
    let ftrl = || {
        let mut learner = Ftrl::new(FEATURES, ftrl::Options::default())?;
        learn(&rows, &happened, |row, happened| learner.learn(row, happened))
    };
    let adagrad = || {
        let options = logistic::Options { half_life_events: None, ..logistic::Options::default() };
        let mut learner = Logistic::new(FEATURES, options)?;
        learn(&rows, &happened, |row, happened| learner.learn(row, happened))
    };
    timed("ftrl accuracy", ftrl)?;
    timed("adagrad accuracy", adagrad)?;
    let repeat = |once: &dyn Fn() -> Result<f64>| (0..ROUNDS).map(|_| once()).sum::<Result<f64>>();
    rate("ftrl events a second", ROUNDS * EVENTS, || repeat(&ftrl))?;
    rate("adagrad events a second", ROUNDS * EVENTS, || repeat(&adagrad))?;
    drift()
}

/// Predicts, then learns, each event; gives the share that was predicted right.
fn learn(
    rows: &[f64],
    happened: &[bool],
    mut learner: impl FnMut(&[f64], bool) -> Result<f64>,
) -> Result<f64> {
    let mut right = 0;
    for (row, happened) in rows.chunks_exact(FEATURES).zip(happened) {
        right += usize::from((learner(row, *happened)? > 0.5) == *happened);
    }
    Ok(right as f64 / happened.len() as f64)
}

fn events() -> (Vec<f64>, Vec<bool>) {
    let mut rng = Rng::stream(5, "events");
    let weights: Vec<f64> = (0..FEATURES).map(|_| rng.normal()).collect();
    let length = weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt();
    let mut rows = Vec::with_capacity(EVENTS * FEATURES);
    let mut happened = Vec::with_capacity(EVENTS);
    for _ in 0..EVENTS {
        let row: Vec<f64> = (0..FEATURES).map(|_| f64::from(rng.normal() as f32)).collect();
        let odds: f64 =
            row.iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>() * STRENGTH / length;
        happened.push(rng.chance(1.0 / (1.0 + (-odds).exp())));
        rows.extend(row);
    }
    (rows, happened)
}

/// Each event as 20 numbers of 32 bits and 1 or 0.
fn write(path: &Path, rows: &[f64], happened: &[bool]) -> Result<()> {
    let mut bytes = Vec::with_capacity(4 * (rows.len() + happened.len()));
    for (row, happened) in rows.chunks_exact(FEATURES).zip(happened) {
        let label = f64::from(u8::from(*happened));
        let cells = row.iter().chain(std::iter::once(&label));
        bytes.extend(cells.flat_map(|value| (*value as f32).to_le_bytes()));
    }
    std::fs::write(path, bytes).map_err(|error| Error::io("write", path, error))
}

fn drift() -> Result<()> {
    let mut delays = Vec::new();
    for seed in 0..STREAMS as u64 {
        let mut rng = Rng::new(1000 + seed);
        let mut detector = Adwin::new(DELTA)?;
        for _ in 0..CHANGE_AT {
            detector.push(f64::from(u8::from(rng.chance(BEFORE))))?;
        }
        let mut delay = 0_usize;
        loop {
            delay += 1;
            if detector.push(f64::from(u8::from(rng.chance(AFTER))))? || delay > CHANGE_AT {
                break;
            }
        }
        delays.push(delay);
    }
    print("adwin delay, first stream", delays.first().copied().unwrap_or_default() as f64, 0.0)?;
    delays.sort_unstable();
    print("adwin delay, median", delays.get(STREAMS / 2).copied().unwrap_or_default() as f64, 0.0)?;
    print("adwin delay, worst", delays.last().copied().unwrap_or_default() as f64, 0.0)?;
    let mut rng = Rng::new(7);
    let still: Vec<f64> = (0..STILL).map(|_| f64::from(u8::from(rng.chance(BEFORE)))).collect();
    timed("adwin false alarms in a million", || alarms(&still))?;
    rate("adwin values a second", 10 * STILL, || {
        (0..10).map(|_| alarms(&still)).sum::<Result<f64>>()
    })
}

fn alarms(values: &[f64]) -> Result<f64> {
    let mut detector = Adwin::new(DELTA)?;
    for value in values {
        detector.push(*value)?;
    }
    Ok(detector.alarms() as f64)
}
