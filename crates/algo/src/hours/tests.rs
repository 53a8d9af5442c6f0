//! Whose hour is whose, and parity with scipy: `tests/parity/hours.json`, made by `make_hours.py`.

use flywheel_base::{ErrorKind, Rng};

use super::*;

#[derive(Deserialize)]
struct Case {
    counts: Vec<Vec<u32>>,
    shares: Vec<f64>,
    /// Pull and log-likelihood.
    likelihoods: Vec<(f64, f64)>,
    pull: f64,
    posterior: Vec<Vec<f64>>,
    best: Vec<usize>,
}

const NEVER_FADING: Options = Options { hours: DAY_HOURS, window: 3, half_life_days: None };

fn events(counts: &[Vec<u32>]) -> Vec<Event<String>> {
    let event = |unit: usize, hour| Event { unit: format!("u{unit:03}"), hour, age_days: 5.0 };
    let of_unit = |(unit, hours): (usize, &Vec<u32>)| -> Vec<Event<String>> {
        let each = hours.iter().enumerate();
        each.flat_map(|(hour, count)| (0..*count).map(move |_| event(unit, hour))).collect()
    };
    counts.iter().enumerate().flat_map(of_unit).collect()
}

#[test]
fn likelihood_pull_and_posterior_are_scipys() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/hours.json");
    let case: Case = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let hours = Hours::fit(&events(&case.counts), &NEVER_FADING).unwrap();
    for (ours, theirs) in hours.shares.iter().zip(&case.shares) {
        assert!((ours - theirs).abs() < 1e-12, "{ours} {theirs}");
    }
    for (pull, theirs) in case.likelihoods {
        let ours = hours.likelihood(pull);
        assert!((ours - theirs).abs() < 1e-6 * theirs.abs(), "{pull}: {ours} {theirs}");
    }
    assert!((hours.pull / case.pull - 1.0).abs() < 1e-4, "{} {}", hours.pull, case.pull);
    for (unit, (posterior, best)) in case.posterior.iter().zip(&case.best).enumerate() {
        let unit = format!("u{unit:03}");
        for (ours, theirs) in hours.shares_of(&unit).iter().zip(posterior) {
            assert!((ours - theirs).abs() < 1e-5, "{unit}: {ours} {theirs}");
        }
        assert_eq!(hours.best(&unit).hour, *best, "{unit}");
    }
}

/// Units that are there around an hour of their own for so much of their events, else at any hour.
fn people(units: usize, each: usize, loyal: f64, seed: u64) -> Vec<Event<String>> {
    let mut rng = Rng::new(seed);
    let mut made = Vec::new();
    for unit in 0..units {
        let own = (5 * unit) % DAY_HOURS;
        for _ in 0..each {
            let hour = if rng.chance(loyal) { own + rng.below(3) } else { rng.below(DAY_HOURS) };
            made.push(Event { unit: format!("p{unit:03}"), hour: hour % DAY_HOURS, age_days: 0.0 });
        }
    }
    made
}

#[test]
fn who_has_an_hour_of_their_own_is_told_it_and_judged_by_it() {
    let hours = Hours::fit(&people(120, 30, 0.7, 1), &NEVER_FADING).unwrap();
    let right = (0..120).filter(|unit| hours.best(&format!("p{unit:03}")).hour == (5 * unit) % 24);
    assert!(right.count() > 105);
    let judged = hours.judge(&people(120, 20, 0.7, 2)).unwrap();
    assert_eq!(judged.units, 120);
    assert!(judged.own > 0.6 && judged.everybody < 0.3, "{judged:?}");
    assert_eq!(hours.judge::<String>(&[]), None);
}

#[test]
fn where_nobody_differs_everybody_gets_the_same_hour() {
    let mut rng = Rng::new(4);
    let alike: Vec<Event<String>> = (0..600)
        .map(|n| Event {
            unit: format!("p{:02}", n % 60),
            hour: if rng.chance(0.5) { 19 + rng.below(3) } else { rng.below(24) },
            age_days: 0.0,
        })
        .collect();
    let hours = Hours::fit(&alike, &NEVER_FADING).unwrap();
    assert_eq!(hours.everybody(), 19);
    let same = hours.units().filter(|unit| hours.best(unit).hour == 19).count();
    assert!(same > 55, "{same} at a pull of {}", hours.pull);
    let stranger = hours.best("nobody");
    assert_eq!((stranger.hour, stranger.events), (19, 0.0));
    assert_eq!(stranger.share, stranger.everybody);
}

#[test]
fn old_events_fade_and_the_night_has_no_end_at_midnight() {
    let event = |hour, age_days| Event { unit: "a", hour, age_days };
    let mut events: Vec<Event<&str>> = (0..40).map(|_| event(9, 360.0)).collect();
    events.extend((0..12).map(|n| event([23, 0, 1][n % 3], 1.0)));
    let fading =
        Hours::fit(&events, &Options { half_life_days: Some(60.0), ..NEVER_FADING }).unwrap();
    assert_eq!(fading.best("a").hour, 23);
    let lasting = Hours::fit(&events, &NEVER_FADING).unwrap();
    assert!((7..=9).contains(&lasting.best("a").hour));
}

#[test]
fn nothing_is_known_of_nobody_and_what_makes_no_sense_is_refused() {
    let none = Hours::fit::<String>(&[], &Options::default()).unwrap();
    assert_eq!((none.everybody(), none.units().count()), (0, 0));
    let refused = |events: &[Event<&str>], options: Options, word: &str| {
        let error = Hours::fit(events, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(word), "{error}");
    };
    refused(&[Event { unit: "a", hour: 24, age_days: 0.0 }], NEVER_FADING, "hour 24");
    refused(&[Event { unit: "a", hour: 1, age_days: f64::NAN }], NEVER_FADING, "age");
    refused(&[], Options { hours: 12, ..NEVER_FADING }, "12 hours");
    refused(&[], Options { window: 0, ..NEVER_FADING }, "window");
    refused(&[], Options { window: 25, ..NEVER_FADING }, "window");
    refused(&[], Options { half_life_days: Some(-1.0), ..NEVER_FADING }, "half-life");
}
