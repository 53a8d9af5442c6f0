//! What is asked of a calibrated order, and what it achieves.

use flywheel_base::Rng;

use super::*;
use crate::learner::forecast::marks::Marks;
use crate::learner::forecast::{Question, fit_all};

const WANTED: f64 = 0.95;
const DAYS: usize = 200;
const WEEK: usize = 7;
const WEEKS: usize = 12;

fn settings(fill_rate: f64) -> Reorder {
    serde_json::from_value(serde_json::json!({
        "learner": "demand", "fill_rate": fill_rate, "calibrated": true,
        "lead_time_days": WEEK, "review_days": WEEK,
    }))
    .unwrap()
}

fn options() -> Options {
    Options { season: 7, horizon: 15, origins_max: 10, clip_at_zero: true, ..Options::default() }
}

/// Demand of so many days, which grows by a share of its first level a day.
fn demand(item: u64, growth: f64, days: usize) -> Vec<f64> {
    let mut rng = Rng::stream(item, "demand");
    let base = 2.0 + (item % 9) as f64;
    (0..days).map(|day| rng.poisson(base * (1.0 + growth * day as f64)) as f64).collect()
}

fn histories(growth: f64, items: u64) -> Vec<History> {
    let history = |item| History {
        id: format!("i{item}"),
        values: demand(item, growth, DAYS),
        labels: Vec::new(),
    };
    (0..items).map(history).collect()
}

fn stored(histories: &[History]) -> Stored {
    let fitted =
        |history: &History| (history.id.clone(), fit("ses", &history.values, &options()).unwrap());
    let series = histories.iter().map(fitted).collect();
    Stored {
        through: 0,
        series,
        compared: BTreeMap::new(),
        calendar: Vec::new(),
        days: BTreeMap::new(),
        asked: BTreeMap::new(),
        levels: None,
        adapted: None,
    }
}

/// The share of demand that is served in the ten weeks that follow, by item, when orders are placed every week for the
/// level of this rate by a ladder that is made from what is known then.
fn served(growth: f64, items: u64, rate: f64, ladder: impl Fn(&[f64]) -> Ladder) -> f64 {
    let looks = |item: u64| -> Vec<Look> {
        let all = demand(item, growth, DAYS + WEEKS * WEEK);
        let look = |week: usize| {
            let (known, rest) = all.split_at(DAYS + week * WEEK);
            Look { ladder: ladder(known), came: rest[..WEEK].to_vec() }
        };
        (0..WEEKS).map(look).collect()
    };
    let items: Vec<Vec<Look>> = (0..items).map(looks).collect();
    let tries = calibrate::Options {
        fill_rate: WANTED,
        lead_steps: WEEK,
        looks_uncounted: 2,
        pack_size: 1.0,
    };
    calibrate::served(&items, rate, &tries).unwrap()
}

/// The ladder of an item by its own forecast.
fn alone(known: &[f64]) -> Ladder {
    let situation =
        Situation { lead_time_days: WEEK as f64, review_days: WEEK as f64, ..Situation::default() };
    let ahead = fit("ses", known, &options()).unwrap().forecast(15, &LEVELS).unwrap();
    Ladder::new(&situation, &ahead).unwrap()
}

#[test]
fn what_is_reached_is_nearer_to_what_is_wanted_than_by_asking_for_it() {
    for growth in [0.02, -0.003] {
        let histories = histories(growth, 40);
        let found = of(&histories, &stored(&histories), &options(), &settings(WANTED));
        let asked = found.unwrap().unwrap();
        assert_eq!((asked.items, asked.looks), (40, LOOKS));
        let plain = served(growth, 40, WANTED, alone);
        let calibrated = served(growth, 40, asked.rate, alone);
        // Where asking for it comes within a point already, nothing has to become better.
        assert!(
            (calibrated - WANTED).abs() < (plain - WANTED).abs().max(0.01),
            "growth {growth}: {plain:.4} by asking for {WANTED}, {calibrated:.4} by asking for {:.4}",
            asked.rate
        );
    }
}

#[test]
fn the_rate_is_kept_with_the_fit_and_given_up_when_the_policy_changes() {
    let policies = vec![("buy".to_owned(), settings(WANTED))];
    let learner = serde_json::from_value(serde_json::json!({
        "series": "select 1", "method": "simple", "horizon_days": 15,
    }))
    .unwrap();
    let asked = Question { settings: &learner, marks: &Marks::default(), through: 0, age_days: 7 };
    let (stored, _) = fit_all(&histories(0.0, 6), &asked, None, &policies).unwrap();
    let again: Stored = serde_json::from_slice(&serde_json::to_vec(&stored).unwrap()).unwrap();
    let asked = &again.asked["buy"];
    assert!(asked.fits(&settings(WANTED)) && !asked.fits(&settings(0.9)));
    assert!(!asked.fits(&Reorder { lead_time_days: 8, ..settings(WANTED) }));
}

#[test]
fn a_policy_that_is_not_calibrated_has_no_rate_and_still_whole_paths_to_order_by() {
    let plain = Reorder { calibrated: false, ..settings(WANTED) };
    let policies = vec![("buy".to_owned(), plain)];
    let learner = serde_json::from_value(serde_json::json!({
        "series": "select 1", "method": "simple", "horizon_days": 10,
    }))
    .unwrap();
    let asked = Question { settings: &learner, marks: &Marks::default(), through: 0, age_days: 7 };
    let paths = |policies: &[(String, Reorder)]| {
        let (stored, _) = fit_all(&histories(0.0, 6), &asked, None, policies).unwrap();
        assert!(stored.asked.is_empty());
        stored.series["i1"].forecast(2 * WEEK, &[]).unwrap().errors.len()
    };
    assert_eq!((paths(&[]), paths(&policies)), (0, 16));
}

#[test]
fn without_evidence_there_is_no_rate() {
    let few = histories(0.0, 4);
    assert_eq!(of(&few, &stored(&few), &options(), &settings(WANTED)).unwrap(), None);
    let mut young = histories(0.0, 9);
    young.iter_mut().for_each(|history| drop(history.values.drain(..80)));
    assert_eq!(of(&young, &stored(&young), &options(), &settings(WANTED)).unwrap(), None);
    let quiet: Vec<History> = (0..9)
        .map(|item| History { id: format!("{item}"), values: vec![0.0; DAYS], labels: Vec::new() })
        .collect();
    assert_eq!(of(&quiet, &stored(&quiet), &options(), &settings(WANTED)).unwrap(), None);
}

#[test]
fn a_pool_is_asked_for_the_rate_that_serves_what_is_wanted_on_average() {
    const KNOWN: usize = 320;
    let settings = Reorder { pooled: true, calibrated: false, ..settings(WANTED) };
    // 200 days teach a pool of two weeks nothing at the first of its looks.
    let short = histories(0.0, 60);
    assert_eq!(of(&short, &stored(&short), &options(), &settings).unwrap(), None);
    let long = |item| History {
        id: format!("i{item}"),
        values: demand(item, 0.0, KNOWN),
        labels: Vec::new(),
    };
    let histories: Vec<History> = (0..60).map(long).collect();
    let found = of(&histories, &stored(&histories), &options(), &settings);
    let asked = found.unwrap().unwrap();
    assert_eq!((asked.items, asked.beliefs.len()), (60, 60));
    assert!(asked.fits(&settings) && !asked.fits(&Reorder { pooled: false, ..settings }));
    for (id, belief) in &asked.beliefs {
        let item: u64 = id[1..].parse().unwrap();
        let truth = 2.0 + (item % 9) as f64;
        assert!((belief.mean / truth - 1.0).abs() < 0.25, "{id}: {} of {truth}", belief.mean);
    }
    let times = Times { lead: WEEK, review: WEEK };
    let mut demands = Vec::new();
    for item in 0..60 {
        let ladder = asked.beliefs[&format!("i{item}")].ladder(times);
        let all = demand(item, 0.0, KNOWN + WEEKS * WEEK);
        let look = |week: &[f64]| Look { ladder: ladder.clone(), came: week.to_vec() };
        demands.push(all[KNOWN..].chunks_exact(WEEK).map(look).collect::<Vec<_>>());
    }
    let tries = calibrate::Options {
        fill_rate: WANTED,
        lead_steps: WEEK,
        looks_uncounted: 2,
        pack_size: 1.0,
    };
    let reached = calibrate::served(&demands, asked.rate, &tries).unwrap();
    assert!((reached - WANTED).abs() < 0.02, "{reached}");
}

#[test]
fn a_ladder_of_whole_paths_alone_is_that_of_all_past_errors() {
    let situation = Situation {
        lead_time_days: WEEK as f64,
        review_days: WEEK as f64,
        seed: 5,
        ..Situation::default()
    };
    let options = Options { paths_max: PATHS, path_length: 2 * WEEK, ..options() };
    let all = Options { horizon: 2 * WEEK + 7, ..options };
    for (item, days) in [(1, DAYS), (2, DAYS), (3, 60)] {
        let values = demand(item, 0.0, days);
        for method in ["ses", "ets", "tsb"] {
            let whole = fit(method, &values, &all).unwrap().forecast(2 * WEEK, &LEVELS).unwrap();
            let lean = ahead(method, &values, 2 * WEEK, &all).unwrap();
            assert_eq!((&lean.mean, &lean.errors), (&whole.mean, &whole.errors), "{method} {days}");
            let ladder = |ahead| Ladder::new(&situation, ahead).unwrap();
            assert_eq!(ladder(&lean), ladder(&whole), "{method} of {days} days");
        }
    }
}
