//! Chooses an algorithm by what it would have said in the past, never by how well it fits.
//!
//! A free initial state lets Holt's method fit any history with a straight line; only a forecast of
//! values it has not seen tells whether that line is worth anything. The naive forecasts take part,
//! and a richer model has to beat them.
//!
//! Demand with many zeros is another matter: where the last few days had none, the last value is
//! right by chance, and the median of what comes is 0. There only methods that expect a mean take
//! part, they are compared over weeks, and by squared errors.

use flywheel_base::Result;
use serde::{Deserialize, Serialize};

use super::backtest::{errors, errors_from, origins, wide_origins};
use super::{FORECASTERS, Forecaster, Options, blend, naive};

/// Forecast errors that a choice needs; below, the simplest sensible algorithm is taken.
const ERRORS_MIN: usize = 6;

/// The share of zeros from which demand counts as intermittent.
const INTERMITTENT_FROM: f64 = 0.4;

/// How much better (relative) a candidate must be than a simpler one.
const MARGIN: f64 = 1e-9;

/// How much better (relative) than the blend a single algorithm must have been to be taken instead. Past
/// errors of one series are few and overlap: on the M3 competition a choice from a tenth on costs 0.8
/// points of sMAPE on yearly and 0.4 on quarterly series.
pub(super) const PREFERENCE: f64 = 0.5;

/// The candidate for intermittent demand that knows of a season; it also knows of a trend, which such demand seldom has.
const SEASONAL: &str = "ets";

/// What a choice was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Every candidate, in the order of [`FORECASTERS`].
    pub scores: Vec<Score>,
    /// Why the winner won, as a sentence for people.
    pub reason: String,
}

/// One candidate's errors over the same past moments as all others'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The algorithm.
    pub name: String,
    /// Mean absolute error, each origin weighing the same.
    pub mae: f64,
    /// Root mean squared error, each origin weighing the same.
    pub rmse: f64,
    /// How many origins it was judged at.
    pub origins: usize,
}

type Chosen = (&'static Forecaster, Vec<Vec<f64>>, Choice);

/// Chooses among [`FORECASTERS`]; gives the winner, its past errors and the report.
pub(super) fn choose(values: &[f64], options: &Options) -> Result<Chosen> {
    let zeros = values.iter().filter(|value| **value == 0.0).count();
    let intermittent = zeros as f64 >= INTERMITTENT_FROM * values.len() as f64 && zeros > 0;
    let fitting = candidates(values, options, intermittent);
    let longest = fitting.iter().map(|f| (f.length_min)(options)).max().unwrap_or(1);
    let judged_from = judged_origins(values.len(), longest, options, intermittent);
    let seen: usize = judged_from.iter().map(|at| (values.len() - at).min(options.horizon)).sum();
    if seen < ERRORS_MIN {
        return fall_back(values, options, &fitting);
    }
    let mut all_paths: Vec<Vec<Vec<f64>>> = Vec::new();
    let mut scores: Vec<Score> = Vec::new();
    for forecaster in &fitting {
        let paths = errors_from(forecaster, values, &judged_from, options)?;
        scores.push(score(forecaster.name, &paths));
        all_paths.push(paths);
    }
    let judged = judged_from.first().and_then(|first| values.get(*first..)).unwrap_or_default();
    let quiet = judged.iter().all(|value| *value == 0.0);
    let Some(winner) = winner(&scores, intermittent, quiet) else {
        return fall_back(values, options, &fitting);
    };
    let paths = all_paths.swap_remove(winner);
    let reason = reason(&scores, winner, intermittent);
    // All candidates were judged from where the longest-sighted one can start; the winner itself may
    // be able to look back further, which makes better intervals.
    let own = origins(values.len(), (fitting[winner].length_min)(options), options);
    let others = intermittent || options.paths_max > 0 || own.len() > paths.len();
    let paths = if others { errors(fitting[winner], values, options)? } else { paths };
    Ok((fitting[winner], paths, Choice { scores, reason }))
}

/// The past moments at which candidates are compared.
fn judged_origins(
    length: usize,
    train_min: usize,
    options: &Options,
    intermittent: bool,
) -> Vec<usize> {
    match intermittent {
        true => wide_origins(length, train_min, options),
        false => origins(length, train_min, options),
    }
}

/// The algorithms that can judge at least [`ERRORS_MIN`] errors, or else those that can fit at all.
fn candidates(values: &[f64], options: &Options, intermittent: bool) -> Vec<&'static Forecaster> {
    let suits = |forecaster: &&'static Forecaster| match forecaster.name {
        "mean" | "ses" => true,
        "sba" | "tsb" | "adida" | "imapa" | "fading" => intermittent,
        // Demand on some days of the week only.
        SEASONAL if intermittent => naive::seasonal(options),
        _ if intermittent => false,
        "seasonal-naive" => naive::seasonal(options),
        "mstl" => naive::seasonal(options) && !options.longer_seasons.is_empty(),
        // Forms of "ets", which fits them faster.
        "holt-winters" | "holt-winters-damped" => false,
        // Worse than the others wherever it was measured.
        "croston" => false,
        _ => true,
    };
    let judgeable = |forecaster: &&'static Forecaster| {
        let needed = (forecaster.length_min)(options);
        let from = judged_origins(values.len(), needed, options, intermittent);
        let seen: usize = from.iter().map(|at| (values.len() - at).min(options.horizon)).sum();
        values.len() >= needed && seen >= ERRORS_MIN
    };
    let suited = || FORECASTERS.iter().filter(suits);
    let judged: Vec<_> = suited().filter(judgeable).collect();
    if !judged.is_empty() {
        return judged;
    }
    suited().filter(|forecaster| values.len() >= (forecaster.length_min)(options)).collect()
}

/// Takes simple smoothing or, below three values, the last value.
fn fall_back(values: &[f64], options: &Options, fitting: &[&'static Forecaster]) -> Result<Chosen> {
    let wanted = if values.len() < 3 { "naive" } else { "ses" };
    let taken = fitting.iter().find(|forecaster| forecaster.name == wanted);
    let forecaster = taken.copied().unwrap_or(&FORECASTERS[0]);
    let paths = errors(forecaster, values, options)?;
    let reason = format!(
        "{} values are too few to compare algorithms on the past, so {} was taken",
        values.len(),
        forecaster.name
    );
    Ok((forecaster, paths, Choice { scores: Vec::new(), reason }))
}

/// The candidate of the least error; the simpler one of equals, and the blend if that is about as good. Of
/// intermittent demand one without a season if that is about as good, or if the judged periods are `quiet`: where
/// nothing came, a forecast looks the better the nearer it is to 0.
fn winner(scores: &[Score], intermittent: bool, quiet: bool) -> Option<usize> {
    let measure = |score: &Score| if intermittent { score.rmse } else { score.mae };
    let best_of = |takes_part: &dyn Fn(&Score) -> bool| {
        let mut best: Option<usize> = None;
        for (index, score) in scores.iter().enumerate().filter(|(_, score)| takes_part(score)) {
            let before = best.and_then(|at| scores.get(at)).map(measure);
            if before.is_none_or(|before| measure(score) < before * (1.0 - MARGIN)) {
                best = Some(index);
            }
        }
        best
    };
    let best = best_of(&|_| true);
    let least = best.and_then(|at| scores.get(at)).map(measure)?;
    let good = |at: &usize| {
        scores.get(*at).is_some_and(|score| measure(score) * (1.0 - PREFERENCE) <= least)
    };
    let preferred = if intermittent {
        best_of(&|score| score.name != SEASONAL).filter(|at| quiet || good(at))
    } else {
        let blend = scores.iter().position(|score| score.name == blend::BLEND.name);
        blend.filter(|at| least > 0.0 && good(at))
    };
    preferred.or(best)
}

fn score(name: &str, paths: &[Vec<f64>]) -> Score {
    let over = |loss: fn(f64) -> f64| {
        let of_path =
            |path: &Vec<f64>| path.iter().map(|e| loss(*e)).sum::<f64>() / path.len() as f64;
        paths.iter().map(of_path).sum::<f64>() / paths.len() as f64
    };
    let (mae, rmse) = (over(f64::abs), over(|error| error * error).sqrt());
    Score { name: name.to_owned(), mae, rmse, origins: paths.len() }
}

fn reason(scores: &[Score], winner: usize, intermittent: bool) -> String {
    let measure = |score: &Score| if intermittent { score.rmse } else { score.mae };
    let word = if intermittent { "RMSE" } else { "MAE" };
    let yardstick = |score: &&Score| match intermittent {
        true => score.name == "mean",
        false => score.name.ends_with("naive"),
    };
    let rivals = scores.iter().filter(yardstick);
    let rival = rivals.min_by(|a, b| measure(a).total_cmp(&measure(b)));
    let best = &scores[winner];
    let against = match rival {
        Some(rival) if rival.name != best.name => {
            format!(" against {:.4} of {}", measure(rival), rival.name)
        }
        _ => String::new(),
    };
    let (name, origins, value) = (&best.name, best.origins, measure(best));
    let least = scores.iter().all(|score| measure(best) <= measure(score));
    let has = match (least, intermittent) {
        (true, _) => "has the least",
        (false, true) => "suits demand with many zeros and has about the least",
        (false, false) => "is a mean of two and has nearly the least",
    };
    format!("{name} {has} {word} over {origins} past origins: {value:.4}{against}")
}
