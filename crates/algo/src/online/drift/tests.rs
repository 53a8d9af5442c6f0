//! Alarms beside river's, none on streams that stay the same, and restarts.

use flywheel_base::{ErrorKind, Rng};
use serde_json::Value;

use super::adwin::Adwin;
use super::page_hinkley::{Options, PageHinkley, Side};

fn parity() -> Value {
    serde_json::from_str(include_str!("../../../../../tests/parity/drift.json")).unwrap()
}

fn places(value: &Value) -> Vec<usize> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| usize::try_from(v.as_u64().unwrap()).unwrap())
        .collect()
}

fn level() -> Vec<f64> {
    parity()["level"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn rings(values: &[f64], mut push: impl FnMut(f64) -> bool) -> Vec<usize> {
    (0..values.len()).filter(|at| push(values[*at])).collect()
}

#[test]
fn adwin_rings_when_rivers_does() {
    let parity = parity();
    let bits: Vec<f64> =
        parity["bits"].as_str().unwrap().bytes().map(|bit| f64::from(bit - b'0')).collect();
    for (values, theirs) in [(bits, "adwin_bits"), (level(), "adwin_level")] {
        let mut detector = Adwin::new(0.002).unwrap();
        let ours = rings(&values, |value| detector.push(value).unwrap());
        let theirs = places(&parity[theirs]);
        assert_eq!(detector.alarms() as usize, ours.len());
        for at in &theirs {
            assert!(ours.iter().any(|our| our.abs_diff(*at) <= 64), "{ours:?} {theirs:?}");
        }
        let again = |our: &usize| theirs.iter().any(|at| our.abs_diff(*at) <= 256);
        assert!(ours.iter().all(again), "{ours:?} {theirs:?}");
    }
}

#[test]
fn page_hinkley_rings_exactly_when_rivers_does() {
    let (parity, values) = (parity(), level());
    for (side, name) in [(Side::Rise, "up"), (Side::Fall, "down"), (Side::Both, "both")] {
        let options = Options { threshold: 30.0, side, ..Options::default() };
        let mut detector = PageHinkley::new(options).unwrap();
        let ours = rings(&values, |value| detector.push(value).unwrap());
        assert_eq!(ours, places(&parity["page_hinkley_level"][name]), "{name}");
        assert_eq!(detector.alarms() as usize, ours.len());
    }
}

/// One that knows both shares and rings falsely once in a million values, CUSUM, needs about 163 values on average.
#[test]
fn a_rise_is_found_within_a_few_hundred_and_two_million_equal_values_ring_never() {
    for seed in [0, 1] {
        let mut rng = Rng::new(seed);
        let mut detector = Adwin::new(0.002).unwrap();
        for _ in 0..1_000_000 {
            assert!(!detector.push(f64::from(u8::from(rng.chance(0.2)))).unwrap(), "seed {seed}");
        }
        assert_eq!((detector.window(), detector.alarms()), (1_000_000, 0));
    }
    let mut delays: Vec<u32> = (0..201)
        .map(|seed| {
            let mut rng = Rng::new(100 + seed);
            let mut detector = Adwin::new(0.002).unwrap();
            for _ in 0..20_000 {
                detector.push(f64::from(u8::from(rng.chance(0.2)))).unwrap();
            }
            let found = (1..2000).find(|_| {
                let value = f64::from(u8::from(rng.chance(0.35)));
                detector.push(value).unwrap()
            });
            found.unwrap()
        })
        .collect();
    delays.sort_unstable();
    assert!(delays[100] <= 200, "{}", delays[100]);
}

#[test]
fn the_window_counts_and_averages_exactly_what_is_in_it() {
    let mut detector = Adwin::new(1e-9).unwrap();
    let mut rng = Rng::new(3);
    let mut sum = 0.0;
    assert_eq!(detector.mean(), None);
    for count in 1..=5000_u32 {
        let value = 1e6 + rng.normal();
        sum += value;
        detector.push(value).unwrap();
        assert_eq!(detector.window(), u64::from(count));
        assert!((detector.mean().unwrap() - sum / f64::from(count)).abs() < 1e-6);
    }
    let mut restored: Adwin =
        serde_json::from_str(&serde_json::to_string(&detector).unwrap()).unwrap();
    for _ in 0..1000 {
        let value = 1e6 + 5.0 + rng.normal();
        assert_eq!(detector.push(value).unwrap(), restored.push(value).unwrap());
    }
    assert_eq!(detector, restored);
    assert!(detector.alarms() > 0 && detector.window() < 1100, "{}", detector.window());
}

#[test]
fn values_that_are_no_numbers_are_refused_and_change_nothing() {
    let mut adwin = Adwin::new(0.002).unwrap();
    let mut page = PageHinkley::new(Options::default()).unwrap();
    adwin.push(1.0).unwrap();
    page.push(1.0).unwrap();
    let before = (adwin.clone(), page.clone());
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(adwin.push(value).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(page.push(value).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(adwin.push(1e200).is_err());
    assert_eq!((adwin, page), before);
    assert!(Adwin::new(0.0).is_err() && Adwin::new(1.0).is_err());
    assert!(PageHinkley::new(Options { threshold: 0.0, ..Options::default() }).is_err());
}
