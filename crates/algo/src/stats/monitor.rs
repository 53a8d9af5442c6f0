//! Is a figure what its own past lets one expect? Medians, so that old anomalies do not hide new ones.
//!
//! The interval is `median ± k · scale`. The scale is the median distance of each earlier figure from
//! the median of the *others*, so that it already holds the uncertainty of a median of so few figures;
//! `k` is a quantile of Student's distribution whose degrees of freedom were fitted by simulation, since
//! the scale of a median is itself known badly when there are few figures. The stated rate of false alarms
//! holds for figures that are independent and about normal around their level.

use flywheel_base::{Error, Result};

use super::{Interval, finite, student};

/// Makes the median distance an estimate of a normal distribution's standard deviation.
const MAD_TO_DEVIATION: f64 = 1.482_602_218_505_602;
/// The same for the mean distance, which is used where more than half of the figures are equal.
const MEAN_DISTANCE_TO_DEVIATION: f64 = 1.253_314_137_315_5;
/// Degrees of freedom for each figure, without and with a season; from simulation (see the tests).
const FREEDOM_ROBUST: f64 = 0.45;
const FREEDOM_SEASONAL: f64 = 0.42;
/// Fewer figures than this say nothing.
pub const HISTORY_MIN: usize = 7;
/// Fewer figures of one season than this say nothing.
pub const SEASON_MIN: usize = 3;
/// The rates of false alarms that can be asked for.
pub const FALSE_ALARMS: std::ops::RangeInclusive<f64> = 0.001..=0.2;

/// An earlier figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// The figure.
    pub value: f64,
    /// Its season, such as the day of the week; the same for all if there are no seasons.
    pub season: u8,
}

/// Which way a figure may not go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Neither way.
    #[default]
    Both,
    /// Up.
    Up,
    /// Down.
    Down,
}

/// What is expected, or what it takes to say so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expected {
    /// The figure is an anomaly outside of this; an open end is infinite.
    Between(Interval),
    /// There are `have` earlier figures, or that many of the season, and it takes `need`.
    TooLittle {
        /// How many there are.
        have: usize,
        /// How many it takes.
        need: usize,
    },
}

/// What is expected of the next figure of `season`, if a share `false_alarms` of ordinary figures may be
/// called an anomaly.
///
/// # Shape
/// `past` in any order. If all seasons in it are equal it is judged as a whole, else by its season.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a figure is not finite or `false_alarms` lies outside of
/// [`FALSE_ALARMS`].
/// # Cost
/// `n² log n` for `n` figures of one season.
/// # Source
/// Rousseeuw & Croux 1993 for the scale; degrees of freedom from 40,000 simulated series for each length.
pub fn expect(past: &[Past], season: u8, false_alarms: f64, side: Side) -> Result<Expected> {
    let values: Vec<f64> = past.iter().map(|one| one.value).collect();
    finite::all_finite("figure", &values)?;
    if !FALSE_ALARMS.contains(&false_alarms) {
        return Err(Error::invalid(format!("a rate of false alarms of {false_alarms}"))
            .hint("Give one between 0.1% and 20%."));
    }
    if past.len() < HISTORY_MIN {
        return Ok(Expected::TooLittle { have: past.len(), need: HISTORY_MIN });
    }
    let seasonal = past.windows(2).any(|pair| pair[0].season != pair[1].season);
    let mut groups: [Vec<f64>; 256] = std::array::from_fn(|_| Vec::new());
    for one in past {
        groups[usize::from(one.season)].push(one.value);
    }
    let own = &groups[usize::from(season)];
    let need = if seasonal { SEASON_MIN } else { HISTORY_MIN };
    if own.len() < need {
        return Ok(Expected::TooLittle { have: own.len(), need });
    }
    let mut distances = Vec::with_capacity(past.len());
    for group in groups.iter().filter(|group| group.len() >= 2) {
        for (at, value) in group.iter().enumerate() {
            let mut others: Vec<f64> = group.clone();
            others.swap_remove(at);
            distances.push((value - median(&mut others)).abs());
        }
    }
    let mean = distances.iter().sum::<f64>() / distances.len() as f64;
    let typical = median(&mut distances) * MAD_TO_DEVIATION;
    let scale = if typical > 0.0 { typical } else { mean * MEAN_DISTANCE_TO_DEVIATION };
    let level = median(&mut own.clone());
    let freedom = past.len() as f64 * if seasonal { FREEDOM_SEASONAL } else { FREEDOM_ROBUST };
    let tail = if side == Side::Both { false_alarms / 2.0 } else { false_alarms };
    let margin = student::quantile(1.0 - tail, freedom) * scale;
    let mut interval = Interval::around(level, margin);
    match side {
        Side::Both => {}
        Side::Up => interval.low = f64::NEG_INFINITY,
        Side::Down => interval.high = f64::INFINITY,
    }
    Ok(Expected::Between(interval))
}

/// The middle of `values`, or the mean of the two in the middle; NaN of nothing.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(*value, values[middle - 1]),
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::Rng;

    use super::*;

    /// Clean series for each case, as many as the promise is tested with.
    const SERIES: usize = 2_000;

    fn interval(past: &[Past], season: u8, rate: f64) -> Interval {
        match expect(past, season, rate, Side::Both).unwrap() {
            Expected::Between(interval) => interval,
            other => panic!("{other:?}"),
        }
    }

    /// A week with a busy end and noise of 5 % of the level; `past` days and the one after them.
    fn week(rng: &mut Rng, days: usize, seasonal: bool) -> (Vec<Past>, f64, u8) {
        let effect = [0.0, 0.0, 10.0, 20.0, 40.0, 160.0, 140.0];
        let mut all: Vec<Past> = (0..=days)
            .map(|day| {
                let season = if seasonal { (day % 7) as u8 } else { 0 };
                let level = 1_000.0 + if seasonal { effect[day % 7] } else { 0.0 };
                Past { value: level + 50.0 * rng.normal(), season }
            })
            .collect();
        let last = all.pop().unwrap();
        (all, last.value, last.season)
    }

    #[test]
    fn clean_series_raise_about_as_many_false_alarms_as_are_stated() {
        for seasonal in [false, true] {
            for days in [14, 28, 56] {
                if seasonal && days < 28 {
                    continue;
                }
                for rate in [0.01, 0.05, 0.1] {
                    let mut rng = Rng::stream(7, &format!("{seasonal} {days} {rate}"));
                    let alarms = (0..SERIES)
                        .filter(|_| {
                            let (past, value, season) = week(&mut rng, days, seasonal);
                            !interval(&past, season, rate).contains(value)
                        })
                        .count();
                    let seen = alarms as f64 / SERIES as f64;
                    println!(
                        "seasonal {seasonal}, {days} days, stated {rate}: {alarms} alarms of {SERIES}, {seen:.4}"
                    );
                    // Four standard errors of a share, and what the fitted degrees of freedom miss by.
                    let slack = 4.0 * (rate * (1.0 - rate) / SERIES as f64).sqrt() + 0.15 * rate;
                    assert!((seen - rate).abs() < slack, "stated {rate}, seen {seen}");
                }
            }
        }
    }

    #[test]
    fn planted_anomalies_are_found_and_one_in_the_past_hides_none() {
        let mut recall = Vec::new();
        for planted in [5.0, 6.0, 8.0] {
            let mut rng = Rng::stream(11, &format!("{planted}"));
            let found = (0..SERIES)
                .filter(|round| {
                    let (mut past, value, season) = week(&mut rng, 56, true);
                    // An outage last month, which a mean and a deviation would have swallowed.
                    past[20].value = 0.0;
                    past[30].value = 5_000.0;
                    let sign = if round % 2 == 0 { 1.0 } else { -1.0 };
                    !interval(&past, season, 0.01).contains(value + sign * planted * 50.0)
                })
                .count();
            recall.push(found as f64 / SERIES as f64);
            println!("an anomaly of {planted} deviations: recall {:.4}", recall[recall.len() - 1]);
        }
        assert!(recall[0] > 0.9 && recall[1] > 0.98 && recall[2] > 0.999, "{recall:?}");
    }

    #[test]
    fn too_little_history_is_said_and_a_season_counts_its_own() {
        let past = |days: usize, seasons: usize| -> Vec<Past> {
            (0..days).map(|day| Past { value: day as f64, season: (day % seasons) as u8 }).collect()
        };
        let of = |past: &[Past], season| expect(past, season, 0.01, Side::Both).unwrap();
        assert_eq!(of(&past(6, 1), 0), Expected::TooLittle { have: 6, need: HISTORY_MIN });
        assert!(matches!(of(&past(7, 1), 0), Expected::Between(_)));
        assert_eq!(of(&past(14, 7), 3), Expected::TooLittle { have: 2, need: SEASON_MIN });
        assert!(matches!(of(&past(21, 7), 3), Expected::Between(_)));
    }

    #[test]
    fn a_constant_past_expects_the_same_and_sides_are_open() {
        let past = [Past { value: 5.0, season: 0 }; 20];
        let same = interval(&past, 0, 0.01);
        assert_eq!((same.low, same.high), (5.0, 5.0));
        let mut nearly = past.to_vec();
        nearly[0].value = 9.0;
        let wide = interval(&nearly, 0, 0.01);
        assert!(wide.low < 5.0 && wide.high > 5.0, "{wide:?}");
        let up = expect(&nearly, 0, 0.01, Side::Up).unwrap();
        assert!(
            matches!(up, Expected::Between(i) if i.low == f64::NEG_INFINITY && i.high < wide.high)
        );
        let error = expect(&past, 0, 0.5, Side::Both).unwrap_err();
        assert!(error.hint_text().unwrap().contains("20%"));
        let broken = [Past { value: f64::NAN, season: 0 }; 9];
        assert!(expect(&broken, 0, 0.01, Side::Both).is_err());
    }
}
