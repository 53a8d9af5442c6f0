//! How one success is shared among the touches before it.
//!
//! A touch counts if it lies before the success, or at the very moment of it, and less than a window back. Touches of one
//! moment are alike, in whatever order they stand: what the moment gets is shared equally among them.

use flywheel_project::resource::policy::Attribution;

/// The shares of the descriptive methods: each sums to 1 over the touches of one success.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shares {
    /// All to the last moment.
    pub(crate) last_touch: f64,
    /// All to the first moment.
    pub(crate) first_touch: f64,
    /// As much to each touch.
    pub(crate) linear: f64,
    /// Half as much for each half life that a touch lies further back.
    pub(crate) time_decay: f64,
    /// A share for the first and the last moment each, the rest equally among the moments between.
    pub(crate) position: f64,
}

/// Whether a touch counts for a success of the moment `at`, all in microseconds.
pub(crate) fn counts(touch: i64, at: i64, window: i64) -> bool {
    touch <= at && at < touch.saturating_add(window)
}

/// The shares of touches at these moments, in microseconds and rising, in their order.
pub(crate) fn shares(touches: &[i64], settings: &Attribution) -> Vec<Shares> {
    let (Some(first), Some(last)) = (touches.first(), touches.last()) else { return Vec::new() };
    let mut moments = touches.to_vec();
    moments.dedup();
    let at_once = |moment: i64| touches.iter().filter(|touch| **touch == moment).count() as f64;
    let ends = settings.ends.value().clamp(0.0, 0.5);
    let of_moment = |moment: i64| match moments.len() {
        1 => 1.0,
        2 => 0.5,
        _ if moment == *first || moment == *last => ends,
        count => (1.0 - 2.0 * ends) / (count - 2) as f64,
    };
    let half_life = settings.half_life.micros.max(1) as f64;
    // Counted from the last touch, so that the largest weight is 1, however long ago all of them were.
    let weight = |touch: i64| (-((last - touch) as f64) / half_life).exp2();
    let weights: f64 = touches.iter().map(|touch| weight(*touch)).sum();
    let of_touch = |touch: &i64| Shares {
        last_touch: if touch == last { 1.0 / at_once(*touch) } else { 0.0 },
        first_touch: if touch == first { 1.0 / at_once(*touch) } else { 0.0 },
        linear: 1.0 / touches.len() as f64,
        time_decay: weight(*touch) / weights,
        position: of_moment(*touch) / at_once(*touch),
    };
    touches.iter().map(of_touch).collect()
}

#[cfg(test)]
mod tests {
    use flywheel_base::Rng;
    use serde_json::json;

    use super::*;

    /// The moment of `2d` or `0`, in microseconds.
    fn days(text: &str) -> i64 {
        let days: f64 = text.trim_end_matches('d').parse().unwrap();
        (days * 86_400_000_000.0) as i64
    }

    #[test]
    fn credits_are_those_that_were_worked_out_by_hand() {
        let cases = include_str!("../../tests-data/attribution/cases.txt");
        let (mut checked, mut settings) = (0, None);
        for (number, line) in cases.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let Some((key, values)) = line.split_once(':') else { continue };
            let values: Vec<&str> = values.split_whitespace().collect();
            let at = format!("line {}: {line}", number + 1);
            if key == "case" {
                let [window, half_life, ends, success, touches @ ..] = values.as_slice() else {
                    panic!("{at}")
                };
                let made: Attribution =
                    serde_json::from_value(json!({"half_life": half_life, "ends": ends})).unwrap();
                let counted = touches.iter().map(|touch| days(touch));
                let counted: Vec<i64> =
                    counted.filter(|touch| counts(*touch, days(success), days(window))).collect();
                settings = Some(shares(&counted, &made));
                continue;
            }
            let found = settings.as_ref().unwrap_or_else(|| panic!("{at}"));
            let found: Vec<f64> = found
                .iter()
                .map(|one| match key {
                    "last" => one.last_touch,
                    "first" => one.first_touch,
                    "linear" => one.linear,
                    "decay" => one.time_decay,
                    "position" => one.position,
                    _ => panic!("{at}"),
                })
                .collect();
            let fraction = |text: &&str| match text.split_once('/') {
                Some((above, below)) => {
                    above.parse::<f64>().unwrap() / below.parse::<f64>().unwrap()
                }
                None => text.parse().unwrap(),
            };
            let wanted: Vec<f64> = values.iter().map(fraction).collect();
            assert_eq!(found.len(), wanted.len(), "{at}: {found:?}");
            let near = found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near, "{at}: {found:?}");
            checked += 1;
        }
        assert!(checked >= 30, "{checked}");
    }

    #[test]
    fn whatever_the_touches_each_method_gives_away_one_success() {
        let mut rng = Rng::new(7);
        for round in 0..2_000 {
            let count = 1 + rng.below(30);
            let spread = [1, 5, 1_000_000, 400 * 86_400_000_000][round % 4];
            let mut touches: Vec<i64> = (0..count).map(|_| rng.below(spread) as i64).collect();
            touches.sort_unstable();
            let half_life = ["1us", "1h", "7d", "3650d"][rng.below(4)];
            let settings: Attribution = serde_json::from_value(
                json!({"half_life": half_life, "ends": rng.uniform() / 2.0}),
            )
            .unwrap();
            let found = shares(&touches, &settings);
            let pick: [fn(&Shares) -> f64; 5] = [
                |one| one.last_touch,
                |one| one.first_touch,
                |one| one.linear,
                |one| one.time_decay,
                |one| one.position,
            ];
            for (method, pick) in pick.iter().enumerate() {
                let total: f64 = found.iter().map(pick).sum();
                assert!((total - 1.0).abs() < 1e-9, "seed 7, round {round}, {method}: {total}");
                assert!(found.iter().map(pick).all(|share| (0.0..=1.0).contains(&share)));
            }
            // Touches of one moment are alike.
            for (a, b) in touches.windows(2).zip(found.windows(2)) {
                assert!(a[0] != a[1] || b[0] == b[1], "seed 7, round {round}");
            }
        }
    }
}
