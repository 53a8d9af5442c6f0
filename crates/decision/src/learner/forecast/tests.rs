//! What is forecast of a series, by which method, and how far its past errors reach.

use super::*;

#[test]
fn every_method_of_a_file_is_a_forecaster() {
    for method in ForecastMethod::ALL {
        let name = forecaster(method);
        assert!(name == AUTO || find(name).is_ok(), "{name}");
    }
}

#[test]
fn a_day_that_is_not_over_is_no_value_of_a_series() {
    let check = |at, expected: &str| {
        let day = last_whole_day(Timestamp::parse(at).unwrap());
        assert_eq!(Timestamp::from_day(day).date(), expected, "{at}");
    };
    check("2024-05-02 00:00:00", "2024-05-01");
    check("2024-05-02 12:00:00", "2024-05-01");
    check("2024-05-02 23:59:58", "2024-05-01");
    // The moment of a turn that is replayed.
    check("2024-05-02 23:59:59", "2024-05-02");
    assert_eq!(last_whole_day(Timestamp::from_micros(-1)), -1);
}

#[test]
fn a_zero_is_inside_an_interval_that_begins_there() {
    let check = |came, inside| assert_eq!(holds(&[0.0, 1.0, 2.0], came), inside, "{came}");
    check(0.0, true);
    check(2.0, true);
    check(2.1, false);
    check(-0.1, false);
    assert!(!holds(&[], 0.0) && !holds(&[1.0], 1.0));
}

#[test]
fn items_that_sell_on_few_days_are_not_forecast_to_sell_nothing() {
    let settings: Forecast = serde_json::from_value(json!({"series": "select 1"})).unwrap();
    let marks = Marks::default();
    let asked =
        Question { settings: &settings, marks: &marks, through: 200, age_days: AGE_DAYS_MIN };
    let items: Vec<History> = (0..12)
        .map(|item| {
            let id = format!("i{item}");
            let mut rng = flywheel_base::Rng::stream(item, "sales");
            let mut values: Vec<f64> = (0..196).map(|_| rng.poisson(0.5) as f64).collect();
            values.extend([0.0; 4]);
            History { id, values, labels: Vec::new() }
        })
        .collect();
    let (stored, _) = fit_all(&items, &asked, None, &[]).unwrap();
    let mut sum = 0.0;
    for (id, series) in &stored.series {
        let ahead = series.forecast(28, &[]).unwrap().mean.iter().sum::<f64>() / 28.0;
        assert!((0.05..1.2).contains(&ahead), "{id}: {ahead} by {}", series.algorithm);
        sum += ahead / 12.0;
    }
    assert!((0.28..0.65).contains(&sum), "{sum}");
}

#[test]
fn a_steady_series_whose_last_days_were_alike_keeps_the_blend() {
    let settings: Forecast = serde_json::from_value(json!({"series": "select 1"})).unwrap();
    let policy = json!({"learner": "d", "lead_time_days": 30, "review_days": 7});
    let policies: [(String, Reorder); 1] =
        [("buy".to_owned(), serde_json::from_value(policy).unwrap())];
    // Neither a short horizon nor what late orders cover changes what a method is judged on.
    let short = Forecast { horizon_days: 1, ..settings.clone() };
    for item in 0..5 {
        let mut rng = flywheel_base::Rng::stream(item, "steady");
        let mut values: Vec<f64> = (0..176).map(|_| rng.poisson(6.0) as f64).collect();
        values.extend([6.0; 4]);
        for settings in [&settings, &short] {
            let options = options_for(settings, &policies, 30);
            assert_eq!(chosen(AUTO, &values, &options, settings).unwrap(), "blend", "{item}");
        }
    }
    assert_eq!(chosen("tsb", &[1.0], &options(&settings), &settings).unwrap(), "tsb");
}

#[test]
fn days_of_which_none_is_looked_at_are_named() {
    let day = |text: &str| Timestamp::parse(text).unwrap().day();
    let through = day("2026-03-01");
    let check = |days: &[&str]| {
        let days: Vec<i64> = days.iter().copied().map(day).collect();
        out_of_reach(&days, through, HISTORY_DAYS_MAX)
    };
    let old = check(&["2011-03-02", "2011-09-30"]).unwrap();
    assert!(old.contains("from 2024-03-02 to 2026-03-01"), "{old}");
    assert!(old.contains("newest day read 2011-09-30"), "{old}");
    let ahead = check(&["2027-01-02"]).unwrap();
    assert!(ahead.contains("oldest day read is 2027-01-02"), "{ahead}");
    assert_eq!(check(&["2011-03-02", "2024-03-02"]), None);
    assert_eq!(check(&["2026-03-01", "2027-01-02"]), None);
    assert_eq!(check(&[]), None);
}

#[test]
fn data_that_ended_long_ago_are_said_to_count_as_nothing_since() {
    let day = |text: &str| Timestamp::parse(text).unwrap().day();
    let through = day("2026-03-01");
    let told = silent(&[day("2025-06-01"), day("2026-01-20")], through).unwrap();
    assert!(told.contains("no series has a row since 2026-01-20:"), "{told}");
    assert!(told.contains("each of the 40 days after it counts as 0"), "{told}");
    assert_eq!(silent(&[day("2026-02-16"), day("2026-01-20")], through), None);
    // A row of a day to come says nothing of what was.
    assert!(silent(&[day("2026-01-20"), day("2027-01-01")], through).is_some());
    assert_eq!(silent(&[], through), None);
}

#[test]
fn series_that_are_often_below_zero_are_named() {
    let series =
        |id: &str, values: Vec<f64>| History { id: id.to_owned(), values, labels: Vec::new() };
    let days = |below: usize| -> Vec<f64> {
        (0..100).map(|day| if day < below { -5.0 } else { 7.0 }).collect()
    };
    let shop = [series("a", days(0)), series("b", days(9))];
    assert_eq!(below_zero(&shop), None, "returns of some days");
    let books = [series("a", days(0)), series("margin", days(10)), series("net", days(100))];
    let told = below_zero(&books).unwrap();
    assert!(told.starts_with("2 of 3 series, such as \"margin\", are below 0"), "{told}");
    assert_eq!(below_zero(&[series("empty", Vec::new())]), None);
}

#[test]
fn the_mean_lies_in_its_interval() {
    let ahead = |quantiles: Vec<Vec<f64>>| Ahead {
        mean: vec![9.99],
        levels: vec![0.05, 0.95],
        quantiles,
        basis: flywheel_algo::forecast::interval::Basis::PastErrors,
        errors: Vec::new(),
        clip_at_zero: true,
    };
    let check = |low, high, expected: (f64, f64)| {
        let (lower, upper) = ends(&ahead(vec![vec![low, high]]), 0, 9.99);
        assert_eq!((lower, upper), (Some(expected.0), Some(expected.1)), "{low} {high}");
    };
    check(5.0, 12.0, (5.0, 12.0));
    check(9.990_000_01, 12.0, (9.99, 12.0));
    check(5.0, 9.98, (5.0, 9.99));
    assert_eq!(ends(&ahead(Vec::new()), 0, 9.99), (None, None));
}

#[test]
fn a_fit_is_overdue_once_orders_are_made_by_one_older_than_fits_should_be() {
    let through = Timestamp::parse("2026-01-20").unwrap().day();
    let at = |text: &str, refit: Option<&str>| {
        let refit = refit.map(|text| serde_json::from_value(json!(text)).unwrap());
        overdue(through, Timestamp::parse(text).unwrap(), refit)
    };
    assert_eq!(at("2026-01-28 12:00:00", None), None);
    assert_eq!(at("2026-01-29 12:00:00", None), Some(8));
    assert_eq!(at("2026-01-29 12:00:00", Some("9d")), None);
    assert_eq!(at("2026-03-01 12:00:00", Some("9d")), Some(39));
    assert_eq!(at("2026-01-10 12:00:00", None), None, "of a moment before the fit");
}

#[test]
fn whole_paths_reach_orders_that_are_made_as_late_as_the_next_fit() {
    let settings: Forecast =
        serde_json::from_value(json!({"series": "select 1", "horizon_days": 14})).unwrap();
    let refit = |text: &str| age_days(Some(serde_json::from_value(json!(text)).unwrap()));
    assert_eq!((age_days(None), refit("1d"), refit("9d"), refit("217h")), (7, 7, 9, 10));
    assert_eq!(refit("400d"), AGE_DAYS_MAX);
    let mut rng = flywheel_base::Rng::new(9);
    let values: Vec<f64> = (0..400).map(|_| rng.poisson(3.0) as f64).collect();
    for (lead, review) in [(1, 1), (7, 7), (30, 7)] {
        let policy = json!({"learner": "d", "lead_time_days": lead, "review_days": review});
        let policies: [(String, Reorder); 1] =
            [("buy".to_owned(), serde_json::from_value(policy).unwrap())];
        for age in [refit("1d"), refit("30d"), refit("90d")] {
            let options = options_for(&settings, &policies, age);
            let made = fit("ses", &values, &options).unwrap();
            for late in [0, age] {
                let ahead = made.forecast(late + lead + review, &[]).unwrap();
                let paths = ahead.errors.len();
                assert!(paths > 12, "{paths} for {lead} + {review} days, {late} days late");
            }
        }
    }
    let policy = json!({"learner": "d", "lead_time_days": 8, "review_days": 7});
    let policies: [(String, Reorder); 1] =
        [("buy".to_owned(), serde_json::from_value(policy).unwrap())];
    let weekly = options_for(&settings, &policies, 7);
    assert_eq!((weekly.horizon, weekly.paths_max), (22, PATHS), "no more than it takes");
}

/// Sales of so many days that repeat by the week and a little by five days.
fn steady(days: i64) -> Vec<f64> {
    (0..days).map(|day| (50 + 10 * (day % 7) + day % 5) as f64).collect()
}

#[test]
fn a_method_is_chosen_again_once_the_series_has_grown_by_half_or_it_errs_far_more() {
    let settings: Forecast = serde_json::from_value(json!({"series": "select 1"})).unwrap();
    let marks = Marks::default();
    let fitted = |values: Vec<f64>, through: i64, before: Option<&Stored>| {
        let asked = Question { settings: &settings, marks: &marks, through, age_days: 7 };
        let histories = [History { id: "i1".to_owned(), values, labels: Vec::new() }];
        fit_all(&histories, &asked, before, &[]).unwrap().0
    };
    let day = |stored: &Stored| stored.compared["i1"].day;

    let young = fitted(steady(20), 100, None);
    assert_eq!((day(&young), young.compared["i1"].days), (100, Some(20)));
    assert!(young.compared["i1"].outgrown(30) && !young.compared["i1"].outgrown(29));
    assert_eq!(day(&fitted(steady(30), 110, Some(&young))), 110, "grown by half");

    let old = fitted(steady(200), 200, None);
    assert_eq!(day(&fitted(steady(206), 206, Some(&old))), 200, "nothing has changed");
    assert_eq!(day(&fitted(steady(228), 228, Some(&old))), 228, "four weeks later");
    let mut other = steady(206);
    other.iter_mut().skip(200).for_each(|value| *value *= 8.0);
    let again = fitted(other.clone(), 206, Some(&old));
    assert_eq!(day(&again), 206, "it errs far more");
    assert_eq!(day(&fitted(other, 206, Some(&again))), 206);

    // What an older release wrote is kept for its four weeks.
    let mut written = serde_json::to_value(&old).unwrap();
    written["compared"]["i1"] = json!(200);
    let written: Stored = serde_json::from_value(written).unwrap();
    assert_eq!(written.compared["i1"], Compared { day: 200, days: None, error: None });
    assert_eq!(day(&fitted(steady(206), 206, Some(&written))), 200);
}

#[test]
fn a_series_too_short_for_its_method_gets_the_mean() {
    let settings = Forecast {
        series: String::new(),
        horizon_days: 14,
        season_days: 30,
        longer_seasons_days: Vec::new(),
        method: ForecastMethod::Mstl,
        interval: flywheel_project::resource::quantity::Share::new(0.9).unwrap(),
        interval_gamma: 0.01,
        min_history_days: 14,
        calendar: Vec::new(),
        hierarchy: Vec::new(),
        reconciliation: None,
    };
    assert_eq!(method(&settings, 59).unwrap(), TOO_SHORT);
    assert_eq!(method(&settings, 60).unwrap(), "mstl");
    let auto = Forecast { method: ForecastMethod::Auto, ..settings };
    assert_eq!((method(&auto, 13).unwrap(), method(&auto, 14).unwrap()), (TOO_SHORT, AUTO));
}

/// Sales of `days` days up to `through`, three times as much on 11 November if it is a day of sales.
fn sales(id: &str, through: i64, days: i64, sale: bool) -> History {
    let mut rng = flywheel_base::Rng::stream(3, id);
    let value = |day: i64| {
        let is_sale = sale && Timestamp::from_day(day).date().ends_with("-11-11");
        let usual = 50.0 + 10.0 * (day.rem_euclid(7)) as f64;
        (usual * if is_sale { 3.0 } else { 1.0 } * (1.0 + 0.1 * rng.normal())).max(0.0)
    };
    let values = (through - days + 1..=through).map(value).collect();
    History { id: id.to_owned(), values, labels: Vec::new() }
}

#[test]
fn a_day_of_sales_is_forecast_where_it_was_one_and_nowhere_else() {
    let settings: Forecast = serde_json::from_value(json!({
        "series": "select 1", "method": "seasonal-naive", "horizon_days": 21, "calendar": ["own", "cn"],
    }))
    .unwrap();
    let own = serde_json::from_value(json!({"double-eleven": {"on": ["11-11"]}})).unwrap();
    let through = Timestamp::parse("2025-11-01").unwrap().day();
    let days = HISTORY_DAYS_WITH_CALENDAR;
    let marks = Marks::of(&settings.calendar, &own, through - days + 1, through + 120).unwrap();
    let asked = Question { settings: &settings, marks: &marks, through, age_days: 7 };
    let histories = [
        sales("tea", through, days, true),
        sales("salt", through, days, false),
        sales("new", through, 20, true),
        sales("one", through, 1, true),
        History { id: "zeros".to_owned(), values: vec![0.0; 900], labels: Vec::new() },
    ];
    let (stored, measures) = fit_all(&histories, &asked, None, &[]).unwrap();
    assert!(stored.days["tea"].contains("double-eleven"), "{:?}", stored.days);
    for other in ["new", "one", "zeros"] {
        assert_eq!(stored.days.get(other), None, "{other} never saw a day of sales");
    }
    let salt = stored.series["salt"].forecast(21, &[]).unwrap().mean;
    let ratio = salt[9] / f64::midpoint(salt[2], salt[16]);
    assert!((0.85..=1.15).contains(&ratio), "{ratio}");
    let ahead = stored.series["tea"].forecast(21, &[0.05, 0.95]).unwrap();
    let usual = f64::midpoint(ahead.mean[2], ahead.mean[16]);
    let ratio = ahead.mean[9] / usual;
    assert!((2.4..=3.6).contains(&ratio), "{ratio}");
    let wide = |step: usize| ahead.quantiles[step][1] - ahead.quantiles[step][0];
    assert!(wide(9) > 2.0 * wide(2), "{} {}", wide(9), wide(2));
    let zeros = stored.series["zeros"].forecast(21, &[]).unwrap().mean;
    assert!(zeros.iter().all(|mean| *mean == 0.0));
    let judged = measures.iter().find(|one| one.name == "wape_on_named_days").unwrap();
    assert!(judged.value < judged.baseline && judged.count > 0, "{:?}", judged.value);
    // What was kept is kept by the bytes that are stored, and the same again.
    let again: Stored = serde_json::from_slice(&serde_json::to_vec(&stored).unwrap()).unwrap();
    assert_eq!(again.series["tea"].forecast(21, &[0.05, 0.95]).unwrap(), ahead);
}
