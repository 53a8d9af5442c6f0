//! Forecasts of groups add up with those of their series, whichever way they are made to.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::learner::forecast::marks::Marks;
use crate::learner::forecast::{fit_all, options};

const THROUGH: i64 = 20_000;
const AHEAD: usize = 14;

fn settings(reconciliation: &str) -> Forecast {
    serde_json::from_value(json!({
        "series": "select 1", "method": "seasonal-naive", "horizon_days": AHEAD,
        "hierarchy": ["category", "department"], "reconciliation": reconciliation,
    }))
    .unwrap()
}

/// Sales of nine products in three categories and two departments; the last two began later.
fn histories(days: usize) -> Vec<History> {
    let history = |item: usize| {
        let days = if item < 7 { days } else { days.div_ceil(3) };
        let mut rng = flywheel_base::Rng::stream(item as u64, "sales");
        let usual = |day: usize| 3.0 + 4.0 * item as f64 + 2.0 * (day % 7) as f64;
        let values = (0..days).map(|day| rng.poisson(usual(day)) as f64).collect();
        let category = format!("c{}", item % 3);
        let department = if item % 3 == 2 { "d1" } else { "d0" };
        History { id: format!("i{item}"), values, labels: vec![department.to_owned(), category] }
    };
    (0..9).map(history).collect()
}

fn fitted(
    settings: &Forecast,
    histories: &[History],
    before: Option<&Stored>,
) -> (Stored, Vec<Measure>) {
    let marks = Marks::of(&[], &std::collections::BTreeMap::new(), THROUGH, THROUGH + 200).unwrap();
    let asked = Question { settings, marks: &marks, through: THROUGH, age_days: 7 };
    fit_all(histories, &asked, before, &[]).unwrap()
}

fn means(series: &Series, horizon: usize) -> Vec<f64> {
    series.forecast(horizon, &[]).unwrap().mean
}

/// Fails unless every group's mean is the sum of its series' on every day that anything looks at.
fn assert_adds_up(stored: &Stored, histories: &[History], way: &str) {
    let levels = stored.levels.as_ref().unwrap();
    assert_eq!(levels.groups.len(), 1 + 2 + 3, "{way}");
    for group in &levels.groups {
        let belongs =
            |history: &&History| group.level == "total" || history.labels.contains(&group.label);
        let mut sums = vec![0.0; AHEAD_DAYS_MIN];
        for history in histories.iter().filter(belongs) {
            let means = means(&stored.series[&history.id], AHEAD_DAYS_MIN);
            sums.iter_mut().zip(means).for_each(|(sum, mean)| *sum += mean);
        }
        for (said, sum) in means(&group.series, AHEAD_DAYS_MIN).iter().zip(sums) {
            assert!((said - sum).abs() < 1e-6 * (1.0 + sum), "{way}: {} {said} {sum}", group.label);
        }
    }
}

#[test]
fn groups_and_total_are_the_sums_of_their_series_by_every_method() {
    let histories = histories(90);
    for way in [
        "auto",
        "bottom-up",
        "top-down",
        "top-down-average",
        "ols",
        "wls-structure",
        "wls-variance",
        "mint",
    ] {
        let (stored, measures) = fitted(&settings(way), &histories, None);
        assert_adds_up(&stored, &histories, way);
        let chosen = &stored.levels.as_ref().unwrap().chosen;
        assert!(way == "auto" || chosen.method.name() == way, "{way}: {}", chosen.reason);
        let judged = measures.iter().find(|one| one.name == "wape_of_levels").unwrap();
        assert!(judged.value.is_some() && judged.baseline.is_some() && judged.count > 0, "{way}");
    }
}

#[test]
fn what_is_stored_is_what_is_shown_and_its_own_forecast_stands_beside_it() {
    let (mut settings, histories) = (settings("ols"), histories(90));
    // Of seasonal naive the forecasts add up already; the level of a sum is not the sum of levels.
    settings.method = flywheel_project::resource::learner::ForecastMethod::Simple;
    let (stored, _) = fitted(&settings, &histories, None);
    let again: Stored = serde_json::from_slice(&serde_json::to_vec(&stored).unwrap()).unwrap();
    assert_adds_up(&again, &histories, "read back");
    let rows =
        rows(again.levels.as_ref().unwrap(), THROUGH, &settings, (Timestamp::default(), "a"));
    let rows = rows.unwrap();
    assert_eq!(rows.len(), 6 * AHEAD);
    let total: Vec<&Row> = rows.iter().filter(|row| row.level == "total").collect();
    let values = together_of_all(&histories);
    let own = flywheel_algo::forecast::fit("ses", &values, &options(&settings)).unwrap();
    for (row, own) in total.iter().zip(means(&own, AHEAD)) {
        assert!((row.own_mean - own).abs() < 1e-6, "{} {own}", row.own_mean);
        assert!(row.lower.unwrap() < row.mean && row.mean < row.upper.unwrap());
    }
    assert!(total.iter().any(|row| (row.mean - row.own_mean).abs() > 1e-3));
}

fn together_of_all(histories: &[History]) -> Vec<f64> {
    let names = ["department".to_owned(), "category".to_owned()];
    let series: Vec<_> = histories.iter().map(|one| (one.id.clone(), one.labels.clone())).collect();
    together(&Hierarchy::new(&names, &series).unwrap(), 0, histories).values
}

#[test]
fn a_past_too_short_to_judge_by_is_added_up_and_says_so() {
    let histories = histories(2);
    for way in ["auto", "mint"] {
        let (stored, measures) = fitted(&settings(way), &histories, None);
        assert_adds_up(&stored, &histories, way);
        let chosen = &stored.levels.as_ref().unwrap().chosen;
        assert_eq!(chosen.method, Method::BottomUp);
        assert!(chosen.reason.contains("too few"), "{}", chosen.reason);
        assert!(measures.iter().all(|one| one.name != "wape_of_levels"));
    }
    let (none, _) = fitted(&settings("auto"), &[], None);
    assert!(none.levels.is_none());
}

#[test]
fn a_group_keeps_its_method_between_comparisons() {
    let mut auto = settings("auto");
    auto.method = flywheel_project::resource::learner::ForecastMethod::Auto;
    let histories = histories(90);
    let (first, _) = fitted(&auto, &histories, None);
    let (second, _) = fitted(&auto, &histories, Some(&first));
    let groups = |stored: &Stored| -> Vec<(String, Option<Compared>)> {
        let levels = stored.levels.as_ref().unwrap();
        levels.groups.iter().map(|one| (one.series.algorithm.clone(), one.compared)).collect()
    };
    assert_eq!(groups(&first), groups(&second));
    let on = |compared: &Option<Compared>| compared.map(|compared| compared.day);
    assert!(groups(&first).iter().all(|(_, compared)| on(compared) == Some(THROUGH)));
    assert!(second.levels.as_ref().unwrap().groups.iter().all(|one| one.series.choice.is_none()));
}

#[test]
fn a_series_without_a_group_belongs_to_those_without() {
    let schema = Schema::new(vec![
        Field::new("category", DataType::Utf8, true),
        Field::new("department", DataType::Utf8, true),
    ]);
    let column = |values: [Option<&str>; 3]| Arc::new(StringArray::from(values.to_vec())) as _;
    let columns =
        vec![column([Some("tea"), None, Some(" ")]), column([Some("food"), Some("food"), None])];
    let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    let frame = Frame::new("learner \"demand\": series", vec![batch]);
    let found = labels(&frame, &settings("auto")).unwrap();
    assert_eq!(found, [["food", "tea"], ["food", "food/unknown"], ["unknown", "unknown/unknown"]]);
}

/// Four items in two categories whose sales grow much wilder at once, which past errors do not know of.
fn wilder(days: usize) -> Vec<History> {
    let history = |item: u64| {
        let mut rng = flywheel_base::Rng::stream(item, "wilder");
        let value = |day: usize| {
            let wild = if day < 90 { 2.0 } else { 12.0 };
            200.0 + wild * rng.normal()
        };
        let values = (0..days).map(value).collect();
        let labels = vec!["d".to_owned(), format!("c{}", item % 2)];
        History { id: format!("i{item}"), values, labels }
    };
    (0..4).map(history).collect()
}

#[test]
fn intervals_of_groups_come_back_to_what_they_promise() {
    let mut settings = settings("bottom-up");
    settings.method = flywheel_project::resource::learner::ForecastMethod::Simple;
    settings.interval_gamma = 0.1;
    settings.interval = flywheel_project::resource::quantity::Share::new(0.8).unwrap();
    let marks = Marks::default();
    let (mut before, mut held): (Option<Stored>, Vec<Vec<bool>>) = (None, Vec::new());
    let mut measure = None;
    for days in 85..185 {
        let histories = wilder(days);
        let through = i64::try_from(days).unwrap() - 1;
        if let Some(before) = &before {
            let levels = before.levels.as_ref().unwrap();
            let published =
                rows(levels, before.through, &settings, (Timestamp::default(), "a")).unwrap();
            let day = Timestamp::from_day(through).date();
            let inside = published.iter().filter(|row| row.day == day).map(|row| {
                let of = |one: &&History| row.level == "total" || one.labels.contains(&row.label);
                let came: f64 = histories.iter().filter(of).map(|one| one.values[days - 1]).sum();
                (row.lower.unwrap()..=row.upper.unwrap()).contains(&came)
            });
            held.push(inside.collect());
        }
        let asked = Question { settings: &settings, marks: &marks, through, age_days: 7 };
        let (stored, measures) = fit_all(&histories, &asked, before.as_ref(), &[]).unwrap();
        let name = "coverage of groups, all truths so far";
        measure = measures.into_iter().find(|one| one.name == name);
        // As a later run reads it.
        let bytes = serde_json::to_vec(&stored).unwrap();
        before = Some(serde_json::from_slice(&bytes).unwrap());
    }
    // The total, the department and two categories, and 99 days that were published before they came.
    assert!(held.len() == 99 && held.iter().all(|day| day.len() == 4));
    let share = |days: &[Vec<bool>]| {
        let all: Vec<&bool> = days.iter().flatten().collect();
        all.iter().filter(|inside| ***inside).count() as f64 / all.len() as f64
    };
    let measure = measure.unwrap();
    assert_eq!((measure.count, measure.baseline), (4 * 99, Some(0.8)));
    assert!((measure.value.unwrap() - share(&held)).abs() < 1e-9, "what is told was published");
    assert!((share(&held[29..]) - 0.8).abs() < 0.15, "{}", share(&held[29..]));
    let stored = before.unwrap();
    let adapted = stored.levels.as_ref().unwrap().adapted.as_ref().unwrap();
    // Each group has a level of its own by now, and the items have theirs beside it.
    let detail = adapted.detail(&settings);
    assert_eq!(detail["series_with_own_level"], 4);
    assert_ne!(Some(adapted), stored.adapted.as_ref());
    settings.interval_gamma = 0.0;
    let asked = Question { settings: &settings, marks: &marks, through: 185, age_days: 7 };
    let (still, _) = fit_all(&wilder(186), &asked, Some(&stored), &[]).unwrap();
    assert!(still.levels.as_ref().unwrap().adapted.is_none());
}
