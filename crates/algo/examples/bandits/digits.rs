//! Digits as a bandit: 64 pixels are the context, ten actions the digits, and only the chosen one is judged.

use std::path::Path;

use flywheel_algo::bandit::{Algorithm, Bandit, Options};
use flywheel_base::{Error, Result, Rng};

use crate::{cells, number, rate, timed};

/// Passes over the images, in an order of its own each.
const PASSES: usize = 5;

/// Seeds of the order of images and of the draws; the mean over them is printed.
const SEEDS: [u64; 3] = [0, 1, 2];

const ACTIONS: usize = 10;
const PIXELS: usize = 64;

/// How bright a pixel can be.
const BRIGHT: f64 = 16.0;

/// Decisions of the measurement with dense contexts.
const DENSE: usize = 100_000;

pub(crate) fn run(path: &Path) -> Result<()> {
    let images = read(path)?;
    let contestants = [
        (Algorithm::LinUcb { width: 0.1 }, 0.0, "lin-ucb .1"),
        (Algorithm::LinUcb { width: 0.3 }, 0.0, "lin-ucb .3"),
        (Algorithm::LinUcb { width: 0.3 }, 0.01, "lin-ucb .3, explore .01"),
        (Algorithm::LinThompson { width: 0.1 }, 0.0, "lin-thompson .1"),
        (Algorithm::LinThompson { width: 0.3 }, 0.0, "lin-thompson .3"),
        (Algorithm::LogisticThompson { width: 0.3 }, 0.0, "logistic-thompson .3"),
        (Algorithm::SquareCb { sharpness: 30.0 }, 0.0, "square-cb 30"),
        (Algorithm::EpsilonGreedy, 0.01, "epsilon-greedy .01"),
    ];
    for (algorithm, explore, name) in contestants {
        timed(&format!("digits {name}"), || {
            let mut sum = 0.0;
            for seed in SEEDS {
                sum += play(&images, Options { explore, ..Options::new(algorithm) }, seed)?;
            }
            Ok(sum / SEEDS.len() as f64)
        })?;
    }
    let options = Options::new(Algorithm::LinUcb { width: 0.3 });
    let count = PASSES * images.len();
    rate("lin-ucb decisions a second, digits", count, || play(&images, options, 0))?;
    let (rows, rewards) = dense();
    rate("lin-ucb decisions a second, dense", DENSE, || {
        let mut bandit = Bandit::new(ACTIONS, PIXELS, options)?;
        let candidates: Vec<usize> = (0..ACTIONS).collect();
        let mut earned = 0.0;
        for (at, row) in rows.chunks_exact(PIXELS).enumerate() {
            let choice = bandit.choose(row, &candidates, 0.5)?;
            let reward = rewards.get(at * ACTIONS + choice.action).copied().unwrap_or_default();
            bandit.learn(row, choice.action, reward)?;
            earned += reward;
        }
        Ok(earned / DENSE as f64)
    })
}

/// Plays all passes; gives the mean reward.
fn play(images: &[(Vec<f64>, usize)], options: Options, seed: u64) -> Result<f64> {
    let mut rng = Rng::stream(seed, "digits");
    let mut bandit = Bandit::new(ACTIONS, PIXELS, options)?;
    let candidates: Vec<usize> = (0..ACTIONS).collect();
    let mut order: Vec<&(Vec<f64>, usize)> = images.iter().collect();
    let (mut earned, mut count) = (0.0, 0.0);
    for _ in 0..PASSES {
        rng.shuffle(&mut order);
        for (pixels, digit) in &order {
            let choice = bandit.choose(pixels, &candidates, rng.uniform())?;
            let reward = f64::from(u8::from(choice.action == *digit));
            bandit.learn(pixels, choice.action, reward)?;
            earned += reward;
            count += 1.0;
        }
    }
    Ok(earned / count)
}

fn read(path: &Path) -> Result<Vec<(Vec<f64>, usize)>> {
    let mut images = Vec::new();
    for row in cells(path)? {
        let pixels: Result<Vec<f64>> =
            (0..PIXELS).map(|at| Ok(number(path, &row, at)? / BRIGHT)).collect();
        images.push((pixels?, number(path, &row, PIXELS)? as usize));
    }
    if images.is_empty() {
        return Err(Error::invalid(format!("{} has no image", path.display()))
            .hint("Write it by `peer_bandits.py digits FOLDER`."));
    }
    Ok(images)
}

/// Contexts in which no number is 0, and the reward of every action in each.
fn dense() -> (Vec<f64>, Vec<f64>) {
    let mut rng = Rng::stream(1, "dense");
    let truth: Vec<f64> = (0..ACTIONS * PIXELS).map(|_| 0.1 * rng.normal()).collect();
    let rows: Vec<f64> = (0..DENSE * PIXELS).map(|_| rng.normal()).collect();
    let mut rewards = Vec::with_capacity(DENSE * ACTIONS);
    for row in rows.chunks_exact(PIXELS) {
        for weights in truth.chunks_exact(PIXELS) {
            let expected: f64 = row.iter().zip(weights).map(|(x, w)| x * w).sum();
            rewards.push(expected + 0.1 * rng.normal());
        }
    }
    (rows, rewards)
}
