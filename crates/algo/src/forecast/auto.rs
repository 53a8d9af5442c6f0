//! Chooses an algorithm by what it would have said in the past, never by how well it fits.
//!
//! A free initial state lets Holt's method fit any history with a straight line; only a forecast of
//! values it has not seen tells whether that line is worth anything. The naive forecasts take part,
//! and a richer model has to beat them.
//!
//! Demand with many zeros is another matter: where the last few days had none, the last value is
//! right by chance, and the median of what comes is 0. There only methods that expect a mean take
//! part, they are compared over weeks, and by squared errors. Where only the last weeks have many zeros, those take part
//! that forget what came before.

use flywheel_base::Result;
use serde::{Deserialize, Serialize};

use super::backtest::{errors, errors_from, origins, whole_origins, wide_origins};
use super::{FORECASTERS, Forecaster, Options, blend, naive};

/// Forecast errors that a choice needs; below, the simplest sensible algorithm is taken.
const ERRORS_MIN: usize = 6;

/// The share of zeros from which demand counts as intermittent.
const INTERMITTENT_FROM: f64 = 0.4;

/// The last periods that are looked at alone: demand that used to come in every period may have become rare.
const LATELY: usize = 28;

/// With [`Moments::Whole`] a horizon is at most this part of the series, so that each of three windows is forecast from
/// at least as much as it holds.
const WINDOW_PARTS: usize = 4;

/// How much better (relative) a candidate must be than a simpler one.
const MARGIN: f64 = 1e-9;

/// How much better (relative) than the blend a single algorithm must have been to be taken instead. Past
/// errors of one series are few and overlap: on the M3 competition a choice from a tenth on costs 0.8
/// points of sMAPE on yearly and 0.4 on quarterly series.
pub(super) const PREFERENCE: f64 = 0.5;

/// The candidate for intermittent demand that knows of a season; it also knows of a trend, which such demand seldom has.
const SEASONAL: &str = "ets";

/// At which past moments algorithms are compared; `origins_max` says at how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moments {
    /// The last ones, a period apart: of the errors most are of the first steps, and of few periods.
    Last,
    /// Those from which a whole horizon has come since, each half a horizon after the one before. Where the horizon is
    /// more than a quarter of the series, a quarter stands for it.
    Whole,
}

/// How often nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zeros {
    Few,
    /// In [`INTERMITTENT_FROM`] of all periods.
    Many,
    /// Only of late: in as many of the last [`LATELY`] periods, and in fewer of all.
    Lately,
}

impl Zeros {
    fn of(values: &[f64]) -> Self {
        let many = |values: &[f64]| {
            let zeros = values.iter().filter(|value| **value == 0.0).count();
            zeros as f64 >= INTERMITTENT_FROM * values.len() as f64 && zeros > 0
        };
        let last = values.get(values.len().saturating_sub(LATELY)..).unwrap_or_default();
        match (many(values), many(last)) {
            (true, _) => Self::Many,
            (false, true) => Self::Lately,
            (false, false) => Self::Few,
        }
    }
}

/// How candidates are compared.
#[derive(Clone, Copy, Debug)]
struct Judging {
    zeros: Zeros,
    moments: Moments,
}

impl Judging {
    fn intermittent(self) -> bool {
        self.zeros != Zeros::Few
    }

    /// The options that the past is forecast again with.
    fn options(self, length: usize, options: &Options) -> Options {
        if self.intermittent() || self.moments == Moments::Last || options.origins_max == 0 {
            return options.clone();
        }
        let horizon = options.horizon.min(length / WINDOW_PARTS).max(1);
        let origins_max = options.origins_max.max(ERRORS_MIN.div_ceil(horizon));
        Options { horizon, origins_max, ..options.clone() }
    }

    /// The past moments at which candidates are compared.
    fn origins(self, length: usize, train_min: usize, options: &Options) -> Vec<usize> {
        match self.moments {
            _ if self.intermittent() => wide_origins(length, train_min, options),
            Moments::Last => origins(length, train_min, options),
            Moments::Whole => whole_origins(length, train_min, options),
        }
    }
}

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

/// As [`Chosen`], with the errors at the origins where all were compared if those are the last ones.
type Compared = (&'static Forecaster, Option<Vec<Vec<f64>>>, Choice);

/// Chooses among [`FORECASTERS`]; gives the winner, its past errors and the report.
pub(super) fn choose(values: &[f64], options: &Options) -> Result<Chosen> {
    let (forecaster, paths, choice) = compare(values, options, Moments::Last)?;
    // All candidates were judged from where the longest-sighted one can start; the winner itself may
    // be able to look back further, which makes better intervals.
    let own = origins(values.len(), (forecaster.length_min)(options), options);
    let enough = |paths: &Vec<Vec<f64>>| options.paths_max == 0 && own.len() <= paths.len();
    let paths = match paths.filter(enough) {
        Some(paths) => paths,
        None => errors(forecaster, values, options)?,
    };
    Ok((forecaster, paths, choice))
}

/// Compares the candidates; gives the winner and the report.
pub(super) fn compare(values: &[f64], options: &Options, moments: Moments) -> Result<Compared> {
    let judging = Judging { zeros: Zeros::of(values), moments };
    let intermittent = judging.intermittent();
    let options = &judging.options(values.len(), options);
    let fitting = candidates(values, options, judging);
    let longest = fitting.iter().map(|f| (f.length_min)(options)).max().unwrap_or(1);
    let judged_from = judging.origins(values.len(), longest, options);
    let seen: usize = judged_from.iter().map(|at| (values.len() - at).min(options.horizon)).sum();
    if seen < ERRORS_MIN {
        return Ok(fall_back(values, &fitting));
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
        return Ok(fall_back(values, &fitting));
    };
    let last = !intermittent && moments == Moments::Last;
    let paths = last.then(|| all_paths.swap_remove(winner));
    let reason = reason(&scores, winner, intermittent, quiet);
    Ok((fitting[winner], paths, Choice { scores, reason }))
}

/// The algorithms that can judge at least [`ERRORS_MIN`] errors, or else those that can fit at all.
fn candidates(values: &[f64], options: &Options, judging: Judging) -> Vec<&'static Forecaster> {
    let intermittent = judging.intermittent();
    let suits = |forecaster: &&'static Forecaster| match forecaster.name {
        // What smooths little by little, or not at all, still expects what came before demand became rare, and the past
        // in which it would have been wrong is too short to tell.
        "mean" | "ses" | "sba" | "tsb" if judging.zeros == Zeros::Lately => false,
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
        let from = judging.origins(values.len(), needed, options);
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

/// Takes simple smoothing or, below three values, the last value; where demand has become rare, what forgets.
fn fall_back(values: &[f64], fitting: &[&'static Forecaster]) -> Compared {
    let wanted = if values.len() < 3 { "naive" } else { "ses" };
    let taken = fitting.iter().find(|forecaster| forecaster.name == wanted);
    let taken = taken.or_else(|| fitting.first());
    let forecaster = taken.copied().unwrap_or(&FORECASTERS[0]);
    let reason = format!(
        "{} values are too few to compare algorithms on the past, so {} was taken",
        values.len(),
        forecaster.name
    );
    (forecaster, None, Choice { scores: Vec::new(), reason })
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

/// Why the winner is taken, with how far its error lies from the least where it is not the one of the least error.
fn reason(scores: &[Score], winner: usize, intermittent: bool, quiet: bool) -> String {
    let measure = |score: &Score| if intermittent { score.rmse } else { score.mae };
    let word = if intermittent { "RMSE" } else { "MAE" };
    let yardstick = |score: &&Score| match intermittent {
        true => score.name == "mean",
        false => score.name.ends_with("naive"),
    };
    let by_error = |a: &&Score, b: &&Score| measure(a).total_cmp(&measure(b));
    let rival = scores.iter().filter(yardstick).min_by(by_error);
    let best = &scores[winner];
    // What is as good but for rounding is the least.
    let better = |score: &&Score| measure(score) < measure(best) * (1.0 - MARGIN);
    let least = scores.iter().min_by(by_error).filter(better);
    let against = match rival.filter(|rival| least.is_none_or(|least| least.name != rival.name)) {
        Some(rival) if rival.name != best.name => {
            format!(" against {:.4} of {}", measure(rival), rival.name)
        }
        _ => String::new(),
    };
    let (name, origins, value) = (&best.name, best.origins, measure(best));
    let Some(least) = least else {
        return format!(
            "{name} has the least {word} over {origins} past origins: {value:.4}{against}"
        );
    };
    let why = match (intermittent, quiet) {
        (true, true) => {
            "is preferred for demand on few days, as none came in the days it was judged on"
        }
        (true, false) => "is preferred for demand on few days",
        (false, _) => "is preferred as a mean of two",
    };
    let apart = if measure(least) > 0.0 {
        format!("{:.2} times that of {}", value / measure(least), least.name)
    } else {
        format!("against {:.4} of {}", measure(least), least.name)
    };
    format!("{name} {why}; its {word} over {origins} past origins is {value:.4}{against}, {apart}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(all: &[(&str, f64)]) -> Vec<Score> {
        let score = |(name, error): &(&str, f64)| Score {
            name: (*name).to_owned(),
            mae: *error,
            rmse: *error,
            origins: 3,
        };
        all.iter().map(score).collect()
    }

    #[test]
    fn zeros_are_counted_over_all_and_over_the_last_weeks() {
        let closed_on_sundays: Vec<f64> =
            (0..180).map(|day| f64::from(u8::from(day % 7 != 0))).collect();
        let with_end = |zeros: usize| {
            let mut values = closed_on_sundays.clone();
            values.extend(vec![0.0; zeros]);
            Zeros::of(&values)
        };
        assert_eq!((with_end(0), with_end(4)), (Zeros::Few, Zeros::Few));
        assert_eq!((with_end(12), with_end(40)), (Zeros::Lately, Zeros::Lately));
        assert_eq!(with_end(120), Zeros::Many);
        assert_eq!((Zeros::of(&[]), Zeros::of(&[0.0, 1.0])), (Zeros::Few, Zeros::Many));
    }

    #[test]
    fn whole_windows_lie_half_of_one_apart_and_shrink_with_the_series() {
        let judging = Judging { zeros: Zeros::Few, moments: Moments::Whole };
        let options = Options { horizon: 28, origins_max: 3, ..Options::default() };
        let check = |length: usize, horizon: usize, expected: &[usize]| {
            let made = judging.options(length, &options);
            assert_eq!(made.horizon, horizon, "{length}");
            assert_eq!(judging.origins(length, 1, &made), expected, "{length}");
        };
        check(200, 28, &[144, 158, 172]);
        check(60, 15, &[29, 37, 45]);
        check(14, 3, &[7, 9, 11]);
        let rare = Judging { zeros: Zeros::Many, ..judging };
        assert_eq!(rare.options(60, &options).horizon, 28);
        assert_eq!(rare.origins(200, 1, &options), [116, 144, 172]);
    }

    #[test]
    fn a_reason_tells_what_was_preferred_and_how_far_off_it_was() {
        let check = |all: &[(&str, f64)], intermittent: bool, quiet: bool, expected: &str| {
            let scores = scores(all);
            let winner = winner(&scores, intermittent, quiet).unwrap();
            assert_eq!(reason(&scores, winner, intermittent, quiet), expected);
        };
        let rare = [("mean", 1.6), ("tsb", 1.4), ("ets", 1.0)];
        check(
            &rare,
            true,
            false,
            "tsb is preferred for demand on few days; its RMSE over 3 past origins is 1.4000 against 1.6000 of mean, \
             1.40 times that of ets",
        );
        check(
            &[("mean", 0.5), ("ets", 0.0)],
            true,
            true,
            "mean is preferred for demand on few days, as none came in the days it was judged on; its RMSE over 3 past \
             origins is 0.5000, against 0.0000 of ets",
        );
        let clear = [("mean", 3.0), ("ets", 1.0)];
        check(
            &clear,
            true,
            false,
            "ets has the least RMSE over 3 past origins: 1.0000 against 3.0000 of mean",
        );
        check(
            &[("naive", 1.0), ("theta", 1.5), ("blend", 1.25)],
            false,
            false,
            "blend is preferred as a mean of two; its MAE over 3 past origins is 1.2500, 1.25 times that of naive",
        );
        let plain = [("naive", 2.0), ("blend", 1.0)];
        check(
            &plain,
            false,
            false,
            "blend has the least MAE over 3 past origins: 1.0000 against 2.0000 of naive",
        );
    }
}
