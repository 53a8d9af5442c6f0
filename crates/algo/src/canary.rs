//! A challenger on trial: whether its share of units is raised, it is promoted or taken back.
//!
//! ```text
//! start ─► 1 % ─► 5 % ─► 10 % ─► 25 % ─► 50 % ─► promoted   raised while nothing speaks against it,
//!            └──────┴───────┴───────┴───────┴──► taken back   promoted only when it is shown to be better
//! ```
//! Both arms decide at the same time, for units that are divided by chance, so they are compared within each stage and
//! stages are added up. Intervals stay valid however often one looks.

use std::fmt;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::stats::lift::Arm;
use crate::stats::sequence::{self, margin};
use crate::stats::{Interval, finite};

/// Units of the challenger that a stage must have before harm is looked for: below that a normal interval promises
/// too much.
const HARM_UNITS_MIN: u64 = 30;

/// How many standard errors the estimate may lie below 0 for the share to be raised.
const LEAN: f64 = 1.0;

/// The effective units at which the intervals that show harm are tightest: a first stage is decided by about so many.
const TUNED_FOR_UNITS: f64 = 1000.0;

/// What a trial asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The shares of units that the challenger decides for, rising, inside (0, 1).
    pub shares: Vec<f64>,
    /// Units of the challenger, in a stage, before its share is raised or it is promoted.
    pub units_min: u64,
    /// The probability that an interval covers the truth at all looks together.
    pub confidence: f64,
    /// The gain a decision that the lower end of the interval must exceed for a promotion.
    pub gain_min: f64,
    /// The effective units at which the interval of a promotion is tightest, fixed before the trial: see
    /// [`units_planned`].
    pub units_planned: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shares: vec![0.01, 0.05, 0.10, 0.25, 0.50],
            units_min: 100,
            confidence: 0.95,
            gain_min: 0.0,
            units_planned: TUNED_FOR_UNITS,
        }
    }
}

/// Standard deviations by which the units that a first share draws shall exceed those asked for on average: the draw
/// then falls short in one trial of twenty.
const DRAW_SAFETY: f64 = 1.645;

/// The place of the share that a trial begins with: the first by which `audience` units, those decided for at one
/// moment, give the challenger `units_min` with a probability of about 95 %; the last share if none does, the first if no
/// audience is known.
///
/// A smaller share would wait for units that never come where the same ones are decided for again and again. Units are
/// drawn one by one, so a share that gives as many as are asked for on average falls short in every other trial. Which
/// share a trial begins with is fixed before its first reward is seen, so the intervals keep their promise.
/// # Source
/// The normal limit of the binomial distribution, with half a unit for its steps.
#[must_use]
pub fn first_share(shares: &[f64], audience: f64, units_min: u64) -> usize {
    if audience.is_nan() || audience <= 0.0 {
        return 0;
    }
    let enough = |share: &f64| {
        let drawn = share * audience;
        drawn - DRAW_SAFETY * (drawn * (1.0 - share)).max(0.0).sqrt() >= units_min as f64 - 0.5
    };
    shares.iter().position(enough).unwrap_or_else(|| shares.len().saturating_sub(1))
}

/// How many effective units the stages of a trial have when each has lasted one moment of `audience` units: about so
/// many are there when a promotion is first possible.
#[must_use]
pub fn units_planned(shares: &[f64], audience: f64) -> f64 {
    let planned = audience * shares.iter().map(|share| 4.0 * share * (1.0 - share)).sum::<f64>();
    planned.max(TUNED_FOR_UNITS)
}

/// What one stage has shown: rewards by unit, over its decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stage {
    /// Units that the challenger decided for.
    pub challenger: Arm,
    /// Units that the champion decided for at the same moments.
    pub champion: Arm,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "advice", rename_all = "kebab-case")]
pub enum Advice {
    /// The stage has too few units.
    TooFew {
        /// Units of the challenger.
        units: u64,
        /// How many are asked for.
        least: u64,
    },
    /// It does not look better, and harm is not shown either.
    Leans,
    /// It has the largest share, and is not shown to be better yet.
    NotShown,
    /// Raise the share.
    Raise {
        /// The next one.
        share: f64,
    },
    /// Let it decide for everybody: it is shown to be better.
    Promote,
    /// Take it back: it is shown to be worse.
    TakeBack,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { units, least } => {
                write!(f, "{units} units of this stage have a closed window, {least} are asked for")
            }
            Self::Leans => f.write_str("it does not look better"),
            Self::NotShown => f.write_str("it is not shown to be better"),
            Self::Raise { share } => {
                write!(f, "nothing speaks against a share of {:.0} %", 100.0 * share)
            }
            Self::Promote => f.write_str("it is shown to be better"),
            Self::TakeBack => f.write_str("it is shown to be worse"),
        }
    }
}

/// The advice with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// What to do.
    pub advice: Advice,
    /// The challenger's gain a decision over all stages; none while a stage has fewer than two units in an arm. Its
    /// interval is the one by which it is promoted or, when it is taken back, the one that shows the harm.
    pub gain: Option<Interval>,
    /// The same in the present stage.
    pub gain_of_stage: Option<Interval>,
    /// Units of the challenger in the present stage.
    pub units: u64,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |f: &mut fmt::Formatter<'_>, what: &str, gain: &Interval| {
            write!(
                f,
                ", {what} {:+.5} a decision ({:+.5} to {:+.5})",
                gain.estimate, gain.low, gain.high
            )
        };
        write!(f, "{}", self.advice)?;
        if let Some(gain) = &self.gain {
            words(f, "gain", gain)?;
        }
        match &self.gain_of_stage {
            Some(gain) if self.gain.is_none_or(|all| all != *gain) => {
                words(f, "in this stage", gain)
            }
            _ => Ok(()),
        }
    }
}

/// Says what to do with a challenger whose stages have shown this; the last stage is the present one, with
/// `shares[stages.len() - 1]`.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if shares do not rise inside (0, 1), there is no stage or more than there are
/// shares, or another option is out of range.
/// # Source
/// Asymptotic confidence sequences (Waudby-Smith et al. 2021) on the difference of two arms that run at the same time;
/// stages are weighted by their effective units, which are known before their rewards are. Harm and gain are looked for by
/// two sequences, each tightest where it is needed: harm in the first stage, gain at the end of the last.
pub fn advise(stages: &[Stage], options: &Options) -> Result<Standing> {
    check(stages, options)?;
    let Some(present) = stages.last() else {
        return Err(Error::internal("a canary without a stage"));
    };
    let (mut total, mut sum, mut square) = (0.0, 0.0, 0.0);
    let mut known = true;
    for stage in stages {
        match compared(stage) {
            Some((gap, variance, units)) => {
                total += units;
                sum += units * gap;
                square += units * units * variance;
            }
            // A stage that was passed had units, so this is the present one.
            None => known = false,
        }
    }
    let interval = |gap: f64, variance: f64, units: f64, tuned_for_units: f64| {
        let sequence = sequence::Options { confidence: options.confidence, tuned_for_units };
        margin(variance.sqrt(), units, &sequence).map(|margin| Interval::around(gap, margin))
    };
    let all = (total > 0.0).then(|| (sum / total, square / (total * total)));
    let of_all =
        |tuned: f64| all.map(|(gap, variance)| interval(gap, variance, total, tuned)).transpose();
    let (gain, harm) = (of_all(options.units_planned)?, of_all(TUNED_FOR_UNITS)?);
    let gain_of_stage = compared(present)
        .map(|(gap, variance, units)| interval(gap, variance, units, TUNED_FOR_UNITS))
        .transpose()?;
    let units = present.challenger.units();
    let harmful = [harm, gain_of_stage].iter().flatten().any(|gain| gain.high < 0.0);
    let next = options.shares.get(stages.len());
    let advice = if known && units >= HARM_UNITS_MIN && harmful {
        Advice::TakeBack
    } else if units < options.units_min || !known {
        Advice::TooFew { units, least: options.units_min.max(2) }
    } else {
        let leans = all.is_none_or(|(gap, variance)| gap < -LEAN * variance.sqrt());
        match next {
            Some(_) if leans => Advice::Leans,
            Some(share) => Advice::Raise { share: *share },
            None if gain.is_some_and(|gain| gain.low > options.gain_min) => Advice::Promote,
            None => Advice::NotShown,
        }
    };
    let gain = if advice == Advice::TakeBack { harm } else { gain };
    Ok(Standing { advice, gain, gain_of_stage, units })
}

/// The challenger's gain in a stage with its variance, and how many units of two equal arms say as much. The variance
/// of a small arm is at least that of the champion's units: a few units that all earned nothing do not prove that
/// nothing is ever earned.
fn compared(stage: &Stage) -> Option<(f64, f64, f64)> {
    let Stage { challenger, champion } = stage;
    let gap = challenger.rate()? - champion.rate()?;
    let (few, many) = (challenger.units() as f64, champion.units() as f64);
    let of_champion = champion.rate_variance()?;
    let own = challenger.rate_variance()?.max(of_champion * many / few);
    Some((gap, own + of_champion, 4.0 * few * many / (few + many)))
}

fn check(stages: &[Stage], options: &Options) -> Result<()> {
    let Options { shares, gain_min, confidence, .. } = options;
    finite::open_unit("confidence", *confidence)?;
    finite::all_finite("gain_min", &[*gain_min])?;
    if !(options.units_planned.is_finite() && options.units_planned > 0.0) {
        return Err(Error::invalid(format!("units_planned is {}", options.units_planned))
            .hint("Give about the effective units a promotion is expected at, for example 1000."));
    }
    let inside = shares.iter().all(|share| *share > 0.0 && *share < 1.0);
    let rising = shares.windows(2).all(|pair| pair[0] < pair[1]);
    if !(inside && rising) || shares.is_empty() {
        return Err(Error::invalid(format!("the shares of a canary are {shares:?}"))
            .hint("Give shares between 0 and 1 that rise, for example 1 %, 5 %, 25 %."));
    }
    if stages.is_empty() || stages.len() > shares.len() {
        return Err(Error::invalid(format!(
            "a canary of {} shares has {} stages",
            shares.len(),
            stages.len()
        ))
        .hint("Give the evidence of each stage that has begun."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flywheel_base::{ErrorKind, Rng};

    use super::*;

    fn arm(units: usize, chance: f64, rng: &mut Rng) -> Arm {
        let outcomes: Vec<f64> =
            (0..units).map(|_| f64::from(u8::from(rng.chance(chance)))).collect();
        Arm::per_unit(&outcomes).unwrap()
    }

    /// Tries a challenger for so many days; returns the last advice and how much of a day's traffic it had.
    fn trial(
        challenger: f64,
        champion: f64,
        a_day: usize,
        days: usize,
        seed: u64,
    ) -> (Advice, f64) {
        let shares = Options::default().shares;
        let units_planned = units_planned(&shares, a_day as f64);
        let options = Options { units_planned, ..Options::default() };
        let mut rng = Rng::new(seed);
        let mut stages = vec![Stage::default()];
        let mut exposed = 0.0;
        let mut last = Advice::NotShown;
        for _ in 0..days {
            let share = options.shares[stages.len() - 1];
            exposed += share;
            let few = (a_day as f64 * share) as usize;
            let stage = stages.last_mut().unwrap();
            stage.challenger.merge(&arm(few, challenger, &mut rng));
            stage.champion.merge(&arm(a_day - few, champion, &mut rng));
            last = advise(&stages, &options).unwrap().advice;
            match last {
                Advice::Raise { .. } => stages.push(Stage::default()),
                Advice::Promote | Advice::TakeBack => break,
                _ => {}
            }
        }
        (last, exposed)
    }

    #[test]
    fn a_better_challenger_climbs_to_a_promotion_and_a_bad_one_hardly_decides() {
        for seed in 0..20 {
            assert_eq!(trial(0.15, 0.10, 20_000, 10, seed).0, Advice::Promote, "{seed}");
            let (advice, exposed) = trial(0.01, 0.15, 20_000, 10, seed);
            assert_eq!(advice, Advice::TakeBack, "{seed}");
            assert!(exposed <= 0.02, "{seed}: {exposed}");
        }
    }

    #[test]
    fn one_that_is_no_better_is_hardly_ever_promoted_however_often_one_looks() {
        let promoted =
            (0..400).filter(|seed| trial(0.1, 0.1, 5_000, 60, *seed).0 == Advice::Promote).count();
        assert!(promoted <= 10, "{promoted} of 400");
    }

    #[test]
    fn a_gain_of_a_tenth_is_mostly_seen_within_a_week() {
        let promoted = (0..200)
            .filter(|seed| trial(0.11, 0.10, 20_000, 6, *seed).0 == Advice::Promote)
            .count();
        assert!(promoted >= 160, "{promoted} of 200");
    }

    #[test]
    fn a_small_audience_begins_with_a_share_that_gives_units_enough() {
        let shares = Options::default().shares;
        let first = |audience| first_share(&shares, audience, 100);
        // Of 10,000 units 1 % are 100 on average, and fewer in every other trial.
        assert_eq!([20_000.0, 12_500.0, 10_000.0, 5_000.0, 1_000.0].map(first), [0, 0, 1, 1, 3]);
        assert_eq!([300.0, 150.0, 1.0].map(first), [4, 4, 4]);
        // Nothing was decided yet.
        assert_eq!((first(0.0), first(f64::NAN), first_share(&[], 5.0, 1)), (0, 0, 0));
        assert!((units_planned(&shares, 20_000.0) - 46_792.0).abs() < 1e-6);
        assert!(units_planned(&shares, 10.0) >= 1000.0);
        for units_planned in [0.0, -1.0, f64::NAN] {
            let options = Options { units_planned, ..Options::default() };
            assert!(advise(&[Stage::default()], &options).is_err());
        }
    }

    #[test]
    fn the_first_share_draws_units_enough_in_nearly_every_trial() {
        let shares: Vec<f64> = (1..50).map(|percent| f64::from(percent) / 100.0).collect();
        let mut rng = Rng::new(3);
        for (audience, units_min) in [(1_000_usize, 100_u64), (400, 30), (5_000, 200), (260, 2)] {
            let share = shares[first_share(&shares, audience as f64, units_min)];
            let drawn = |rng: &mut Rng| (0..audience).filter(|_| rng.chance(share)).count() as u64;
            let enough = (0..1_000).filter(|_| drawn(&mut rng) >= units_min).count();
            assert!(enough >= 920, "{enough} of 1000 at {share} of {audience} for {units_min}");
        }
    }

    #[test]
    fn a_few_units_that_earned_nothing_prove_no_harm() {
        let mut rng = Rng::new(1);
        let stage = Stage {
            challenger: Arm::per_unit(&[0.0; 40]).unwrap(),
            champion: arm(4_000, 0.05, &mut rng),
        };
        let standing = advise(&[stage], &Options::default()).unwrap();
        assert_eq!(standing.advice, Advice::TooFew { units: 40, least: 100 }, "{standing}");
        let empty = advise(&[Stage::default()], &Options { units_min: 0, ..Options::default() });
        assert_eq!(empty.unwrap().advice, Advice::TooFew { units: 0, least: 2 });
    }

    #[test]
    fn impossible_shares_are_refused() {
        for shares in [vec![], vec![0.0], vec![1.0], vec![0.2, 0.1], vec![f64::NAN]] {
            let options = Options { shares, ..Options::default() };
            let error = advise(&[Stage::default()], &options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        assert!(advise(&[], &Options::default()).is_err());
        assert!(advise(&[Stage::default(); 6], &Options::default()).is_err());
    }
}
