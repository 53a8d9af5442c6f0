//! Simulated series with effects that are known, and with none.

use flywheel_base::Rng;

use super::*;

const YEAR: usize = 365;

/// Four years of days: a sale on day 315 of each year, and a festival of seven days whose date moves.
fn marks(days: usize) -> Vec<Option<Mark>> {
    let mut marks = vec![None; days];
    let mut put = |at: usize, day: &str, place: Place| {
        if let Some(slot) = marks.get_mut(at) {
            *slot = Some(Mark { day: day.to_owned(), place });
        }
    };
    for year in 0..days.div_ceil(YEAR) {
        let begin = year * YEAR;
        put(begin + 314, "sale", Place::Before(1));
        put(begin + 315, "sale", Place::On(0));
        put(begin + 316, "sale", Place::After(1));
        let festival = begin + 30 + (year * 11) % 20;
        (0..7_u32).for_each(|day| put(festival + day as usize, "festival", Place::On(day)));
    }
    marks
}

/// A weekly pattern around `level` with noise of a tenth, times the effects.
fn simulated(seed: u64, level: f64, sale: f64, festival: f64, marks: &[Option<Mark>]) -> Vec<f64> {
    let week = [0.8, 0.9, 1.0, 1.0, 1.1, 1.3, 0.9];
    let mut rng = Rng::new(seed);
    let value = |(at, mark): (usize, &Option<Mark>)| {
        let effect = match mark.as_ref().map(|mark| (mark.day.as_str(), mark.place)) {
            Some(("sale", Place::On(_))) => sale,
            Some(("festival", _)) => festival,
            _ => 1.0,
        };
        (level * week[at % 7] * effect * (1.0 + 0.1 * rng.normal())).max(0.0)
    };
    marks.iter().enumerate().map(value).collect()
}

fn options() -> Options {
    Options { season: 7, horizon: 14, clip_at_zero: true, ..Options::default() }
}

fn sale() -> Mark {
    Mark { day: "sale".to_owned(), place: Place::On(0) }
}

#[test]
fn effects_that_are_there_are_found() {
    let marks = marks(4 * YEAR);
    for seed in 1..=20 {
        let values = simulated(seed, 100.0, 3.0, 0.4, &marks);
        let effects = Effects::learn(&values, &marks, 7).unwrap();
        let found = effects.of(&sale());
        assert!((2.4..=3.6).contains(&found), "seed {seed}: {found}");
        for day in 0..7 {
            let mark = Mark { day: "festival".to_owned(), place: Place::On(day) };
            let found = effects.of(&mark);
            assert!((0.28..=0.52).contains(&found), "seed {seed}: {found}");
        }
        let judged = judge("ses", &values, &marks, &options()).unwrap();
        assert!(judged.iter().all(Judged::helps) && judged.len() == 2, "seed {seed}: {judged:?}");
    }
}

#[test]
fn where_no_day_does_anything_hardly_one_is_kept_and_none_does_harm() {
    let marks = marks(4 * YEAR);
    let (mut kept, mut worst) = (0, 1.0_f64);
    for seed in 100..140 {
        let values = simulated(seed, 100.0, 1.0, 1.0, &marks);
        let (known, came) = values.split_at(3 * YEAR + 20);
        let judged = judge("ses", known, &marks, &options()).unwrap();
        let names = judged.iter().filter(|one| one.helps()).map(|one| one.day.clone()).collect();
        let effects = Effects::learn(known, &marks, 7).unwrap().only(&names);
        kept += names.len();
        let moved = effects.moved(&marks[known.len()..known.len() + 40]);
        let plain = fit("ses", known, &options()).unwrap().forecast(40, &[]).unwrap().mean;
        let error = |of: &dyn Fn(usize) -> f64| -> f64 {
            came.iter().take(40).enumerate().map(|(step, came)| (came - of(step)).abs()).sum()
        };
        let ratio = error(&|step| moved.of(step, plain[step])) / error(&|step| plain[step]);
        worst = worst.max(ratio);
    }
    assert!(kept <= 20, "{kept} of 80 named days were kept");
    assert!(worst < 1.15, "{worst}");
}

#[test]
fn demand_with_many_zeros_gets_added_effects_and_negative_values_too() {
    let marks = marks(4 * YEAR);
    for below in [0.0, -5.0] {
        let values: Vec<f64> = marks
            .iter()
            .enumerate()
            .map(|(at, mark)| {
                let plain = if at % 3 == 0 { 2.0 } else { below };
                if *mark == Some(sale()) { plain + 40.0 } else { plain }
            })
            .collect();
        let effects = Effects::learn(&values, &marks, 3).unwrap();
        assert!(!effects.multiplied);
        assert!((effects.of(&sale()) - 40.0).abs() < 1e-9, "{}", effects.of(&sale()));
        let removed = effects.removed(&values, &marks, 3);
        assert!(removed.iter().all(|value| *value <= 2.0 + 1e-9));
    }
}

#[test]
fn a_shop_that_closes_is_forecast_closed_and_its_level_stays() {
    let marks = marks(4 * YEAR);
    let values = simulated(5, 100.0, 1.0, 0.0, &marks);
    let effects = Effects::learn(&values, &marks, 7).unwrap();
    let closed = Mark { day: "festival".to_owned(), place: Place::On(3) };
    assert!(effects.of(&closed) < 0.05);
    let removed = effects.removed(&values, &marks, 7);
    let least = removed.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least > 40.0, "{least}");
}

#[test]
fn short_empty_and_constant_series_have_no_effects() {
    let marks = marks(400);
    for values in [Vec::new(), vec![3.0], vec![0.0; 400], vec![7.0; 400]] {
        let effects = Effects::learn(&values, &marks, 7).unwrap();
        assert!(effects.is_empty(), "{effects:?}");
        assert_eq!(effects.removed(&values, &marks, 7), values);
        assert!(judge("naive", &values, &marks, &options()).unwrap().is_empty());
    }
    assert!(Effects::learn(&[1.0, 2.0], &marks[..1], 7).is_err());
    assert!(Effects::learn(&[1.0, f64::NAN], &marks, 7).is_err());
}

#[test]
fn a_run_longer_than_any_before_goes_on_as_the_longest_ended() {
    let marks = marks(4 * YEAR);
    let values = simulated(9, 100.0, 1.0, 0.5, &marks);
    let effects = Effects::learn(&values, &marks, 7).unwrap();
    let at = |place| effects.of(&Mark { day: "festival".to_owned(), place });
    assert_eq!(at(Place::On(8)), at(Place::On(6)));
    assert_eq!(at(Place::After(1)), 1.0);
}
