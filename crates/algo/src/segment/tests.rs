//! Parity with scikit-learn, and what a marketer may rely on.

use std::collections::BTreeMap;

use flywheel_base::{Rng, Timestamp};
use serde_json::Value;

use super::kmeans::{self, Options, Scaling};
use super::lifecycle::{Rules, Stage, Standing, stages, transitions};
use super::rfm::{Purchase, customers, scores};
use super::seeds::{COLUMNS, CUSTOMERS, seeds};

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn the_seed_numbers_come_out() {
    for row in seeds() {
        assert!(row.passed, "{row:?}");
    }
}

#[test]
fn clusters_agree_with_scikit_learn() {
    let parity: Value =
        serde_json::from_str(include_str!("../../../../tests/parity/segment.json")).unwrap();
    for case in parity["kmeans"].as_array().unwrap() {
        let scaled = case["scaled"].as_bool().unwrap();
        let options = Options {
            clusters: case["clusters"].as_u64().unwrap() as usize,
            restarts: 40,
            scaling: if scaled { Scaling::Standardised } else { Scaling::Raw },
            ..Options::default()
        };
        let columns = case["columns"].as_u64().unwrap() as usize;
        let made = kmeans::fit(&numbers(&case["rows"]), columns, &options).unwrap();
        let inertia = case["inertia"].as_f64().unwrap();
        let name = &case["name"];
        assert!(made.inertia <= inertia * (1.0 + 1e-9), "{name}: {} > {inertia}", made.inertia);
        let mut names = BTreeMap::new();
        for (ours, theirs) in made.labels.iter().zip(numbers(&case["labels"])) {
            assert_eq!(*names.entry(theirs as u64).or_insert(*ours), *ours, "{name}");
        }
    }
}

/// Trap 6: unscaled, the spend in euros alone decides; and clusters have no name by themselves.
#[test]
fn spend_does_not_outvote_the_other_columns() {
    let in_cents: Vec<f64> = CUSTOMERS
        .iter()
        .enumerate()
        .map(|(at, value)| if at % COLUMNS == 1 { value * 100.0 } else { *value })
        .collect();
    let euros = kmeans::fit(&CUSTOMERS, COLUMNS, &Options::default()).unwrap();
    let cents = kmeans::fit(&in_cents, COLUMNS, &Options::default()).unwrap();
    assert_eq!(euros.labels, cents.labels, "a change of unit changes no segment");
    let raw = Options { scaling: Scaling::Raw, ..Options::default() };
    assert_ne!(kmeans::fit(&CUSTOMERS, COLUMNS, &raw).unwrap().labels, euros.labels);
}

#[test]
fn labels_do_not_depend_on_seed_threads_or_row_order() {
    let mut rng = Rng::new(9);
    let mut rows: Vec<[f64; 2]> = Vec::new();
    for centre in [0.0, 10.0, 20.0] {
        rows.extend((0..4000).map(|_| [centre + rng.normal(), rng.normal()]));
    }
    let flat = |rows: &[[f64; 2]]| rows.concat();
    let first = kmeans::fit(&flat(&rows), 2, &Options::default()).unwrap();
    let other = Options { seed: 77, ..Options::default() };
    assert_eq!(first.labels, kmeans::fit(&flat(&rows), 2, &other).unwrap().labels);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let alone = one.install(|| kmeans::fit(&flat(&rows), 2, &Options::default()).unwrap());
    assert_eq!(first, alone, "bit for bit");
    rows.reverse();
    let mut reversed = kmeans::fit(&flat(&rows), 2, &Options::default()).unwrap().labels;
    reversed.reverse();
    assert_eq!(first.labels, reversed);
    assert!(first.centres.windows(2).all(|pair| pair[0][0] < pair[1][0]) && first.converged);
    assert_eq!(first.assign(&[19.0, 0.0, 0.4, 0.1]).unwrap(), [2, 0]);
}

#[test]
fn matched_labels_follow_the_customers_who_drift() {
    let mut made = kmeans::fit(&[0.0, 0.1, 5.0, 5.1, 9.0, 9.2], 1, &Options::default()).unwrap();
    let renamed = made.match_labels(&[vec![8.5], vec![0.3], vec![4.0]]).unwrap();
    assert_eq!((renamed, made.labels.clone()), (vec![1, 2, 0], vec![1, 1, 2, 2, 0, 0]));
    assert!(made.match_labels(&[vec![1.0]]).is_err());
}

#[test]
fn a_refit_finds_what_a_whole_search_finds_wherever_it_starts() {
    let mut rng = Rng::new(4);
    let mut rows: Vec<f64> = Vec::new();
    for centre in [0.0, 8.0, 16.0, 24.0, 32.0] {
        rows.extend((0..800).flat_map(|_| [centre + rng.normal(), rng.normal()]));
    }
    let options = Options { clusters: 5, ..Options::default() };
    let whole = kmeans::fit(&rows, 2, &options).unwrap();
    let drifted: Vec<f64> = rows.iter().map(|value| value + 0.3).collect();
    let again = kmeans::refit(&drifted, 2, &whole.centres, &options).unwrap();
    assert_eq!(again.labels, whole.labels);
    // Centres that all lie at one end, and one that no row is near.
    let foreign =
        vec![vec![0.0, 0.0], vec![0.1, 0.0], vec![0.2, 0.1], vec![1.0, 1.0], vec![1e6, 0.0]];
    let found = kmeans::refit(&rows, 2, &foreign, &options).unwrap();
    assert!((found.inertia / whole.inertia - 1.0).abs() < 1e-9, "{}", found.inertia);
    assert!(kmeans::refit(&rows, 2, &foreign[..4], &options).is_err());
    assert!(kmeans::refit(&rows, 2, &vec![vec![1.0]; 5], &options).is_err());
    assert!(kmeans::refit(&rows, 2, &vec![vec![f64::NAN, 0.0]; 5], &options).is_err());
}

#[test]
fn bounds_change_nothing_against_plain_search() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let rows: Vec<f64> = (0..600).map(|_| rng.normal()).collect();
        let options = Options { clusters: 7, restarts: 1, seed, ..Options::default() };
        let made = kmeans::fit(&rows, 3, &options).unwrap();
        assert_eq!(made.labels, made.assign(&rows).unwrap(), "every row is with its nearest");
        assert!(made.converged);
    }
}

#[test]
fn unusable_rows_are_refused_by_name() {
    let options = Options::default();
    let error = kmeans::fit(&[1.0, 2.0, 3.0, f64::NAN], 2, &options).unwrap_err();
    assert!(error.message().contains("column 1 of row 1"), "{error}");
    let error = kmeans::fit(&[1.0, 1.0, 1.0], 1, &options).unwrap_err();
    assert!(error.message().contains("1 distinct rows"), "{error}");
    assert!(kmeans::fit(&[1.0, 2.0, 3.0], 2, &options).is_err());
    assert!(kmeans::fit(&[], 1, &options).is_err());
}

fn purchase(customer: &str, day: i64, value: f64) -> Purchase {
    Purchase { customer: customer.to_owned(), at: Timestamp::from_day(day), value }
}

#[test]
fn purchases_after_the_moment_do_not_leak() {
    let events = [
        purchase("a", 0, 10.0),
        purchase("a", 10, 20.0),
        purchase("a", 10, -5.0),
        purchase("a", 99, 1.0),
    ];
    let made = customers(&events, Timestamp::from_day(20)).unwrap();
    assert_eq!((made[0].recency_days, made[0].frequency, made[0].monetary), (10.0, 2, 25.0));
    assert_eq!((made[0].age_days, made[0].rhythm_days), (20.0, Some(10.0)));
    assert!(customers(&events, Timestamp::from_day(-1)).unwrap().is_empty());
    let broken = [purchase("a", 0, 1.0), purchase("b", 0, f64::INFINITY)];
    let error = customers(&broken, Timestamp::from_day(1)).unwrap_err();
    assert!(error.message().contains("position 1"), "{error}");
}

#[test]
fn equal_customers_get_equal_scores() {
    let events: Vec<Purchase> = (0..10)
        .map(|at| purchase(&format!("c{at}"), if at < 5 { 0 } else { 8 }, f64::from(at) + 1.0))
        .collect();
    let made = scores(&customers(&events, Timestamp::from_day(10)).unwrap(), 5).unwrap();
    assert!(made[..5].iter().all(|s| s.recency == 1) && made[5..].iter().all(|s| s.recency == 3));
    assert!(made.iter().all(|s| s.frequency == 1), "nobody differs in frequency");
    assert_eq!(made.iter().map(|s| s.monetary).collect::<Vec<_>>(), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    assert!(scores(&[], 1).is_err() && scores(&[], 5).unwrap().is_empty());
}

fn every(customer: &str, from: i64, to: i64, step: usize, value: f64) -> Vec<Purchase> {
    (from..=to).step_by(step).map(|day| purchase(customer, day, value)).collect()
}

fn named(standings: &[Standing]) -> BTreeMap<&str, Stage> {
    standings.iter().map(|s| (s.customer.as_str(), s.stage)).collect()
}

#[test]
fn each_customer_is_judged_by_the_own_rhythm() {
    let mut events = every("weekly", 0, 336, 7, 100.0);
    events.extend(every("monthly", 0, 330, 30, 10.0));
    events.extend(every("quarterly", 20, 290, 90, 10.0));
    events.push(purchase("fresh", 335, 5.0));
    let at = |day| {
        let known = customers(&events, Timestamp::from_day(day)).unwrap();
        stages(&known, &["curious".to_owned(), "weekly".to_owned()], &Rules::default()).unwrap()
    };
    let (then, later) = (at(340), at(375));
    let (before, after) = (named(&then), named(&later));
    assert_eq!(before["weekly"], Stage::Champion);
    assert_eq!(before["monthly"], Stage::Active);
    assert_eq!(before["quarterly"], Stage::Active);
    assert_eq!((before["fresh"], before["curious"]), (Stage::New, Stage::Prospect));
    // 39 days of silence: far too long for the weekly customer, nothing for the quarterly one.
    assert_eq!(after["weekly"], Stage::Churned);
    assert_eq!(after["monthly"], Stage::Active);
    assert_eq!(after["quarterly"], Stage::Active);
    let moves = transitions(&then, &later);
    assert_eq!(moves[&(Some(Stage::Champion), Some(Stage::Churned))], 1);
    assert_eq!(moves[&(Some(Stage::Active), Some(Stage::Active))], 2);
    assert_eq!(moves.values().sum::<usize>(), 5, "everyone is counted once");
}

#[test]
fn stages_are_named_and_rules_are_checked() {
    let names: Vec<&str> = Stage::ALL.iter().map(|stage| stage.name()).collect();
    assert_eq!(names, ["prospect", "new", "active", "champion", "at-risk", "churned"]);
    assert_eq!(serde_json::to_value(Stage::AtRisk).unwrap(), "at-risk");
    let wrong = Rules { churned_rhythms: 1.0, ..Rules::default() };
    assert!(stages(&[], &[], &wrong).is_err());
}

#[test]
fn sums_do_not_remember_rows_that_left() {
    // The middle centre has no row at first and takes the outlier from the first one, whose sum it had swallowed.
    let rows = [1.0, 2.0, 3.0, 11.0, 12.0, 13.0, 1e18];
    let options = Options { clusters: 3, restarts: 0, scaling: Scaling::Raw, ..Options::default() };
    let made = kmeans::refit(&rows, 1, &[vec![2.0], vec![12.0], vec![12.0]], &options).unwrap();
    assert!(made.converged);
    assert_eq!(made.centres, [[2.0], [12.0], [1e18]]);
    assert_eq!(made.labels, [0, 0, 0, 1, 1, 1, 2]);
    assert_eq!(made.inertia, 4.0);
}
