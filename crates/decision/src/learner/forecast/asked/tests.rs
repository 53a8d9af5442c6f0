//! What is asked of a calibrated order, and what it achieves.

use flywheel_base::Rng;

use super::*;
use crate::learner::forecast::fit_all;

const WANTED: f64 = 0.95;
const DAYS: usize = 200;
const WEEK: usize = 7;

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
    let history = |item| History { id: format!("i{item}"), values: demand(item, growth, DAYS) };
    (0..items).map(history).collect()
}

fn stored(histories: &[History]) -> Stored {
    let fitted =
        |history: &History| (history.id.clone(), fit("ses", &history.values, &options()).unwrap());
    let series = histories.iter().map(fitted).collect();
    Stored { through: 0, series, compared: BTreeMap::new(), asked: BTreeMap::new() }
}

/// The share of demand that is served from the shelf in the ten weeks that follow, by item, when orders are placed every
/// week for a level of this rate, by what is known then.
fn served(growth: f64, items: u64, rate: f64) -> f64 {
    const WEEKS: usize = 12;
    let situation =
        Situation { lead_time_days: WEEK as f64, review_days: WEEK as f64, ..Situation::default() };
    let of_item = |item: u64| {
        let all = demand(item, growth, DAYS + WEEKS * WEEK);
        let (mut shelf, mut coming, mut waiting) = (None, 0.0, 0.0_f64);
        let (mut asked, mut given) = (0.0, 0.0);
        for week in 0..WEEKS {
            let (known, rest) = all.split_at(DAYS + week * WEEK);
            let ahead = fit("ses", known, &options()).unwrap().forecast(15, &LEVELS).unwrap();
            let level = Ladder::new(&situation, &ahead).unwrap().level(rate).ceil();
            // What was ordered a week ago arrives.
            let mut there = shelf.unwrap_or(level) + coming;
            coming = (level - (there - waiting)).max(0.0);
            for day in &rest[..WEEK] {
                let late = waiting.min(there);
                (there, waiting) = (there - late, waiting - late);
                let now = day.min(there);
                (there, waiting) = (there - now, waiting + day - now);
                if week >= 2 {
                    (asked, given) = (asked + day, given + now);
                }
            }
            shelf = Some(there);
        }
        given / asked
    };
    (0..items).map(of_item).sum::<f64>() / items as f64
}

#[test]
fn what_is_reached_is_nearer_to_what_is_wanted_than_by_asking_for_it() {
    for growth in [0.02, -0.003] {
        let histories = histories(growth, 40);
        let found = of(&histories, &stored(&histories), &options(), &settings(WANTED));
        let asked = found.unwrap().unwrap();
        assert_eq!((asked.items, asked.looks), (40, LOOKS));
        let plain = served(growth, 40, WANTED);
        let calibrated = served(growth, 40, asked.rate);
        assert!(
            (calibrated - WANTED).abs() < (plain - WANTED).abs(),
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
    let (stored, _) = fit_all(&histories(0.0, 6), &learner, None, 0, &policies).unwrap();
    let again: Stored = serde_json::from_slice(&serde_json::to_vec(&stored).unwrap()).unwrap();
    let asked = &again.asked["buy"];
    assert!(asked.fits(&settings(WANTED)) && !asked.fits(&settings(0.9)));
    assert!(!asked.fits(&Reorder { lead_time_days: 8, ..settings(WANTED) }));
}

#[test]
fn without_evidence_there_is_no_rate() {
    let few = histories(0.0, 4);
    assert_eq!(of(&few, &stored(&few), &options(), &settings(WANTED)).unwrap(), None);
    let mut young = histories(0.0, 9);
    young.iter_mut().for_each(|history| drop(history.values.drain(..80)));
    assert_eq!(of(&young, &stored(&young), &options(), &settings(WANTED)).unwrap(), None);
    let quiet: Vec<History> =
        (0..9).map(|item| History { id: format!("{item}"), values: vec![0.0; DAYS] }).collect();
    assert_eq!(of(&quiet, &stored(&quiet), &options(), &settings(WANTED)).unwrap(), None);
}
