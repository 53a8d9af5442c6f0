//! Parity with statsmodels, and claims about forecasts that a planner relies on.

use flywheel_base::{ErrorKind, Rng};
use serde_json::Value;

use super::auto::{Moments, PREFERENCE};
use super::backtest::{accuracy, holdout, pinball};
use super::croston::Tsb;
use super::interval::Basis;
use super::seeds::{SALES, seeds};
use super::series::{Gap, regular};
use super::smoothing::{Initialization, Shape, Smoothing};
use super::{AUTO, FORECASTERS, Fitted, Model, Options, choose, find, fit};

mod statsforecast;

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../tests/parity/forecast.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn the_seed_numbers_come_out() {
    for row in seeds() {
        assert!(row.passed, "{row:?}");
    }
}

/// Our squared error is never larger than statsmodels'; where it is the same, so are the forecasts.
#[test]
fn smoothing_agrees_with_statsmodels() {
    let parity = parity();
    let mut same = 0;
    let cases = parity["smoothing"].as_array().unwrap();
    for case in cases {
        let values = numbers(&parity["series"][case["series"].as_str().unwrap()]);
        let shape = Shape {
            trend: case["trend"].as_bool().unwrap(),
            damped: case["damped"].as_bool().unwrap(),
            season: case["season"].as_u64().unwrap() as usize,
        };
        let start: Initialization = serde_json::from_value(case["initialization"].clone()).unwrap();
        let made = Smoothing::fit(&values, shape, start).unwrap();
        let theirs = number(&case["sse"]);
        assert!(made.squares <= theirs * (1.0 + 1e-5), "{} > {case}", made.squares);
        if made.squares < theirs * (1.0 - 1e-5) {
            continue;
        }
        same += 1;
        for (a, b) in made.mean(6).iter().zip(numbers(&case["forecast"])) {
            assert!((a - b).abs() < 2e-3 * b.abs(), "{:?} is not {case}", made.mean(6));
        }
    }
    assert!(same * 2 > cases.len(), "{same} of {} have the same minimum", cases.len());
}

#[test]
fn theta_and_tsb_agree_with_their_references() {
    let parity = parity();
    for case in parity["theta"].as_array().unwrap() {
        let values = numbers(&parity["series"][case["series"].as_str().unwrap()]);
        let season = case["season"].as_u64().unwrap() as usize;
        let made = fit("theta", &values, &Options { season, ..Options::default() }).unwrap();
        let ours = made.forecast(6, &[]).unwrap().mean;
        for (a, b) in ours.iter().zip(numbers(&case["forecast"])) {
            assert!((a - b).abs() < 0.01 * b.abs(), "{ours:?} is not {case}");
        }
    }
    let values = numbers(&parity["tsb"]["values"]);
    for row in parity["tsb"]["results"].as_array().unwrap() {
        let row = numbers(row);
        let made = Tsb::smooth(&values, row[0], row[1]);
        assert!((made.mean(1)[0] - row[2]).abs() < 1e-12);
    }
}

/// The growth of the deviation with the horizon, for the constants statsmodels' state-space model found.
#[test]
fn the_models_own_deviation_grows_as_in_statsmodels() {
    for case in parity()["intervals"].as_array().unwrap() {
        let constant = |name: &str| case["params"].get(name).map_or(0.0, number);
        let damped = case["damped"].as_bool().unwrap();
        let shape = Shape { trend: case["trend"].as_bool().unwrap(), damped, season: 1 };
        let mut made = Smoothing::fit(&SALES, shape, Initialization::Estimated).unwrap();
        made.constants.alpha = constant("smoothing_level");
        made.constants.beta = constant("smoothing_trend");
        made.constants.phi = if damped { constant("damping_trend") } else { 1.0 };
        let spread = made.spread(6).unwrap().deviation;
        for (a, b) in spread.iter().zip(numbers(&case["ratio"])) {
            assert!((a / spread[0] - b).abs() < 1e-6, "{spread:?} is not {case}");
        }
    }
}

/// Trap 7: with a free start Holt is a straight line that ignores May's drop. `auto` has to show that
/// a line beats the naive forecasts on months it has not seen, and prints the comparison.
#[test]
fn auto_reports_what_it_chose_and_against_what() {
    let made = fit(AUTO, &SALES, &Options { horizon: 3, ..Options::default() }).unwrap();
    let choice = made.choice.clone().unwrap();
    let mae = |name: &str| choice.scores.iter().find(|score| score.name == name).unwrap().mae;
    let own = mae(&made.algorithm);
    assert!(own < mae("naive") && own * (1.0 - PREFERENCE) <= mae("holt"), "{choice:?}");
    assert!(choice.reason.contains("naive"), "{}", choice.reason);
    let walk: Vec<f64> = {
        let mut rng = Rng::new(1);
        (0..80)
            .scan(100.0, |at, _| {
                *at += rng.normal();
                Some(*at)
            })
            .collect()
    };
    let made = fit(AUTO, &walk, &Options::default()).unwrap();
    assert_ne!(made.algorithm, "mean", "{:?}", made.choice);
    let season: Vec<f64> = (0..72).map(|t| 50.0 + 20.0 * f64::from(t % 12)).collect();
    let made = fit(AUTO, &season, &Options { season: 12, ..Options::default() }).unwrap();
    let next = made.forecast(12, &[]).unwrap().mean;
    assert!(
        next.iter().enumerate().all(|(t, v)| (v - 50.0 - 20.0 * t as f64).abs() < 1.0),
        "{next:?}"
    );
}

/// The last days had no demand: the last value is right there by chance, and would be wrong from then on.
#[test]
fn demand_with_many_zeros_goes_on_after_quiet_days() {
    let options = Options {
        season: 7,
        horizon: 28,
        origins_max: 3,
        clip_at_zero: true,
        ..Options::default()
    };
    let mut rng = Rng::new(8);
    let mut total = 0.0;
    for _ in 0..10 {
        let mut values: Vec<f64> = (0..150).map(|_| rng.poisson(0.4) as f64).collect();
        values.extend([0.0; 5]);
        let made = fit(AUTO, &values, &options).unwrap();
        let choice = made.choice.clone().unwrap();
        assert!(choice.scores.iter().all(|score| !score.name.ends_with("naive")), "{choice:?}");
        assert_eq!(choice.scores[0].origins, 3, "{choice:?}");
        total += made.forecast(28, &[]).unwrap().mean.iter().sum::<f64>() / 10.0;
    }
    assert!((0.5..1.4).contains(&(total / (28.0 * 0.4))), "{total}");
    // A shop that is open on two days of seven: a season is worth it.
    let weekly = |day: i32| if day % 7 < 2 { 20.0 } else { 0.0 };
    let values: Vec<f64> = (0..154).map(|day| rng.poisson(weekly(day)) as f64).collect();
    let made = fit(AUTO, &values, &options).unwrap();
    let week = made.forecast(7, &[]).unwrap().mean;
    assert!(week[0] > 12.0 && week[1] > 12.0, "{}: {week:?}", made.algorithm);
    assert!(week[2..].iter().all(|mean| *mean < 4.0), "{}: {week:?}", made.algorithm);
}

#[test]
fn choosing_alone_takes_what_a_fit_takes() {
    let mut rng = Rng::new(11);
    let few = Options { season: 7, horizon: 14, origins_max: 3, ..Options::default() };
    for (mean, days) in [(0.3, 120), (6.0, 120), (40.0, 30), (2.0, 5), (9.0, 2)] {
        let values: Vec<f64> = (0..days).map(|_| rng.poisson(mean) as f64).collect();
        for options in [few.clone(), Options { paths_max: 4, path_length: 9, ..few.clone() }] {
            let made = fit(AUTO, &values, &options).unwrap();
            let alone = choose(&values, &options, Moments::Last).unwrap();
            assert_eq!(alone, made.algorithm, "{mean} {days}");
            let alone = fit(&made.algorithm, &values, &options).unwrap();
            assert_eq!(made.past_errors(), alone.past_errors(), "{} {mean} {days}", made.algorithm);
        }
    }
    for moments in [Moments::Last, Moments::Whole] {
        assert!(choose(&[], &few, moments).is_err());
        assert!(choose(&[f64::NAN], &few, moments).is_err());
    }
}

/// The last three days are near the last value by chance once in ten times; whole windows are not.
#[test]
fn whole_windows_leave_the_blend_for_no_chance() {
    let mut rng = Rng::new(17);
    let options = Options {
        season: 7,
        horizon: 28,
        origins_max: 3,
        clip_at_zero: true,
        ..Options::default()
    };
    for _ in 0..15 {
        let mut values: Vec<f64> = (0..177).map(|_| rng.poisson(6.0) as f64).collect();
        // As the last value says.
        values.extend([6.0; 4]);
        assert_eq!(choose(&values, &options, Moments::Last).unwrap(), "naive");
        assert_eq!(choose(&values, &options, Moments::Whole).unwrap(), "blend");
    }
    // What is clearly better is still taken: a week that is the same every time is known by its last one.
    let week = [3.0, 90.0, 7.0, 55.0, 21.0, 160.0, 2.0];
    let values: Vec<f64> =
        (0..180).map(|day| week[day % 7] * if day < 60 { 0.3 } else { 1.0 }).collect();
    let taken = choose(&values, &options, Moments::Whole).unwrap();
    let ahead = fit(taken, &values, &options).unwrap().forecast(7, &[]).unwrap().mean;
    let off: f64 = (0..7).map(|step| (ahead[step] - week[(180 + step) % 7]).abs()).sum();
    assert!(off < 20.0, "{taken}: {ahead:?}");
}

/// Demand that came every day until four weeks ago comes on one day of five since.
#[test]
fn demand_that_has_become_rare_is_neither_nothing_nor_what_it_was() {
    let options = Options {
        season: 7,
        horizon: 28,
        origins_max: 3,
        clip_at_zero: true,
        ..Options::default()
    };
    let mut rng = Rng::new(23);
    let mut daily = 0.0;
    for _ in 0..20 {
        let mut values: Vec<f64> = (0..151).map(|_| rng.poisson(6.0) as f64).collect();
        values.extend((0..25).map(|_| if rng.chance(0.2) { rng.poisson(8.0) as f64 } else { 0.0 }));
        values.extend([8.0, 0.0, 0.0, 0.0]);
        let taken = choose(&values, &options, Moments::Whole).unwrap();
        let ahead = fit(taken, &values, &options).unwrap().forecast(28, &[]).unwrap();
        let mean = ahead.mean.iter().sum::<f64>() / 28.0;
        assert!((0.1..4.5).contains(&mean), "{taken}: {mean}");
        daily += mean / 20.0;
    }
    assert!((0.7..3.0).contains(&daily), "{daily}");
}

#[test]
fn errors_of_better_times_are_scaled_to_todays_demand() {
    let mut rng = Rng::new(5);
    let mut values: Vec<f64> = (0..160).map(|_| rng.poisson(6.0) as f64).collect();
    let options = Options {
        horizon: 21,
        origins_max: 10,
        paths_max: 16,
        path_length: 21,
        clip_at_zero: true,
        ..Options::default()
    };
    let ahead = |values: &[f64]| {
        let made = fit("imapa", values, &options).unwrap();
        let ahead = made.forecast(21, &[]).unwrap();
        let whole: Vec<Vec<f64>> =
            made.past_errors().iter().filter(|path| path.len() == 21).cloned().collect();
        (ahead, whole)
    };
    let (lively, whole) = ahead(&values);
    assert_eq!(lively.errors, whole, "as they were");
    values.extend([0.0; 35]);
    let (dead, whole) = ahead(&values);
    assert_eq!(dead.errors.len(), whole.len());
    let expected: f64 = dead.mean.iter().sum();
    for path in &dead.errors {
        let demand: f64 = path.iter().zip(&dead.mean).map(|(error, mean)| error + mean).sum();
        assert!((0.0..expected + 10.0).contains(&(demand + 1e-9)), "{demand} of {expected}");
    }
}

#[test]
fn whole_paths_begin_half_of_one_apart() {
    let mut rng = Rng::new(3);
    let values: Vec<f64> = (0..300).map(|_| rng.poisson(4.0) as f64).collect();
    let plain = Options { horizon: 22, origins_max: 10, ..Options::default() };
    let paths = Options { paths_max: 16, path_length: 15, ..plain.clone() };
    let reaching = |values: &[f64], options: &Options| {
        let made = fit("ses", values, options).unwrap();
        let lengths: Vec<usize> = made.past_errors().iter().map(Vec::len).collect();
        (lengths.len(), made.forecast(15, &[]).unwrap().errors.len(), lengths)
    };
    let (count, whole, _) = reaching(&values, &plain);
    assert_eq!((count, whole), (10, 0));
    let (count, whole, lengths) = reaching(&values, &paths);
    assert_eq!((count, whole), (26, 16));
    assert_eq!(lengths[14..], [22, 15, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let (_, whole, _) = reaching(&values[..60], &paths);
    assert_eq!(whole, 4, "each knows at least as much as it foretells");
    assert_eq!(reaching(&values[..12], &paths).1, 0);
}

#[test]
fn short_constant_and_zero_series_work_or_say_why_not() {
    let one = fit(AUTO, &[7.0], &Options::default()).unwrap();
    let said = one.forecast(3, &[0.1, 0.9]).unwrap();
    assert_eq!((said.mean, said.basis), (vec![7.0; 3], Basis::Unknown));
    assert!(said.quantiles.is_empty(), "one value says nothing of the spread");
    for values in [vec![5.0; 20], vec![0.0; 20], vec![0.0], vec![1.0, 2.0], vec![0.0, 0.0, 3.0]] {
        for forecaster in FORECASTERS {
            let options = Options { season: 4, ..Options::default() };
            match fit(forecaster.name, &values, &options) {
                Ok(made) => {
                    let said = made.forecast(30, &[0.05, 0.5, 0.95]).unwrap();
                    assert!(
                        said.mean.iter().all(|v| v.is_finite()),
                        "{} {values:?}",
                        forecaster.name
                    );
                    assert!(said.quantiles.iter().flatten().all(|v| v.is_finite()));
                }
                Err(error) => assert!(error.message().contains("too short"), "{error}"),
            }
        }
        let made = fit(AUTO, &values, &Options::default()).unwrap();
        let last = values.last().unwrap();
        if values.iter().all(|v| v == last) {
            let said = made.forecast(2, &[0.9]).unwrap();
            assert!((said.mean[1] - last).abs() < 1e-9, "{said:?}");
        }
    }
}

#[test]
fn what_is_not_a_number_is_refused_where_it_stands() {
    let error = fit("ses", &[1.0, f64::NAN], &Options::default()).unwrap_err();
    assert!(error.message().contains("position 1"), "{error}");
    assert!(fit("ses", &[], &Options::default()).unwrap_err().message().contains("empty"));
    let error = fit("hold", &SALES, &Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("holt"), "{error:?}");
    let made = fit("ses", &SALES, &Options::default()).unwrap();
    assert!(made.forecast(0, &[]).is_err() && made.forecast(1, &[1.0]).is_err());
    assert!(
        Smoothing::fit(
            &[1.0],
            Shape { trend: true, ..Shape::default() },
            Initialization::Estimated
        )
        .is_err()
    );
}

#[test]
fn gaps_are_filled_only_as_told() {
    let values = [None, Some(1.0), None, Some(3.0), None];
    assert!(regular(&values, Gap::Refuse).unwrap_err().message().contains("position 0"));
    assert_eq!(regular(&values, Gap::Zero).unwrap(), [0.0, 1.0, 0.0, 3.0, 0.0]);
    assert_eq!(regular(&values, Gap::Interpolate).unwrap(), [1.0, 1.0, 2.0, 3.0, 3.0]);
    assert!(regular(&[None, None], Gap::Interpolate).is_err());
    assert!(regular(&[Some(f64::INFINITY)], Gap::Zero).is_err());
}

#[test]
fn a_stored_forecast_says_the_same_after_reading() {
    let mut rng = Rng::new(6);
    let values: Vec<f64> = (0..60).map(|t| 40.0 + 5.0 * f64::from(t % 4) + rng.normal()).collect();
    let options = Options { season: 4, clip_at_zero: true, ..Options::default() };
    for forecaster in FORECASTERS {
        let made = fit(forecaster.name, &values, &options).unwrap();
        let text = serde_json::to_string(&made).unwrap();
        let read: Fitted = serde_json::from_str(&text).unwrap();
        let levels = [0.9, 0.1, 0.5];
        assert_eq!(made.forecast(8, &levels).unwrap(), read.forecast(8, &levels).unwrap());
        assert_eq!(find(forecaster.name).unwrap().name, made.algorithm);
    }
}

#[test]
fn quantiles_rise_with_the_level_and_stay_above_zero_if_asked() {
    let mut rng = Rng::new(2);
    for seed in 0..20 {
        let values: Vec<f64> = (0..10 + 4 * seed).map(|_| rng.poisson(1.5) as f64).collect();
        let options = Options { clip_at_zero: true, ..Options::default() };
        let made = fit(AUTO, &values, &options).unwrap();
        let said = made.forecast(20, &[0.01, 0.1, 0.5, 0.9, 0.99]).unwrap();
        for row in &said.quantiles {
            assert!(row.windows(2).all(|pair| pair[0] <= pair[1]) && row[0] >= 0.0, "{row:?}");
        }
        assert!(said.mean.iter().all(|v| *v >= 0.0));
    }
}

/// 80 % intervals of random walks must hold about 80 % of what comes.
#[test]
fn intervals_cover_what_they_say() {
    let mut rng = Rng::new(21);
    let (mut inside, mut all) = (0, 0);
    for _ in 0..150 {
        let mut at = 100.0;
        let walk: Vec<f64> = (0..70)
            .map(|_| {
                at += rng.normal();
                at + 0.5 * rng.normal()
            })
            .collect();
        let (known, later) = walk.split_at(64);
        let options = Options { horizon: 6, origins_max: 40, ..Options::default() };
        let said = fit("ses", known, &options).unwrap().forecast(6, &[0.1, 0.9]).unwrap();
        assert_eq!(said.basis, Basis::PastErrors);
        for (row, actual) in said.quantiles.iter().zip(later) {
            inside += usize::from(row[0] <= *actual && *actual <= row[1]);
            all += 1;
        }
    }
    let share = inside as f64 / f64::from(all);
    assert!((0.74..=0.86).contains(&share), "{share}");
}

#[test]
fn measures_are_those_of_the_definitions() {
    let made = accuracy(&[10.0, 20.0], &[12.0, 16.0], &[1.0, 3.0, 2.0, 5.0], 1).unwrap();
    assert!((made.mae - 3.0).abs() < 1e-12 && (made.rmse - 10_f64.sqrt()).abs() < 1e-12);
    assert!((made.mape.unwrap() - 100.0 * (2.0 / 12.0 + 4.0 / 16.0) / 2.0).abs() < 1e-12);
    assert!((made.smape - 100.0 * (4.0 / 22.0 + 8.0 / 36.0) / 2.0).abs() < 1e-12);
    assert!((made.mase.unwrap() - 1.5).abs() < 1e-12);
    assert!((made.rmsse.unwrap() - (10.0_f64 / (14.0 / 3.0)).sqrt()).abs() < 1e-12);
    assert_eq!(accuracy(&[1.0], &[0.0], &[2.0, 2.0], 1).unwrap().mape, None);
    assert_eq!(accuracy(&[1.0], &[0.0], &[2.0, 2.0], 1).unwrap().mase, None);
    assert!((pinball(&[10.0, 10.0], &[12.0, 6.0], 0.9).unwrap() - 1.1).abs() < 1e-12);
    assert!(accuracy(&[1.0], &[], &[], 1).is_err());
    let made = holdout("holt", &SALES, 3, &[0.1, 0.9], &Options::default()).unwrap();
    assert_eq!((made.forecast.len(), made.calibration.len()), (3, 2));
    assert!(holdout("naive", &SALES, 12, &[], &Options::default()).is_err());
}

#[test]
fn an_item_that_stopped_selling_fades() {
    let mut values: Vec<f64> = (0..30).map(|t| f64::from(u8::from(t % 3 == 0)) * 6.0).collect();
    let selling = fit("tsb", &values, &Options::default()).unwrap().forecast(1, &[]).unwrap();
    assert!((selling.mean[0] - 2.0).abs() < 0.8, "{selling:?}");
    values.extend(vec![0.0; 40]);
    let stopped = fit("tsb", &values, &Options::default()).unwrap().forecast(1, &[]).unwrap();
    assert!(stopped.mean[0] < 0.5, "{stopped:?}");
}
