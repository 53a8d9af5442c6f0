//! What no model can be made of.

use flywheel_base::Timestamp;

use super::super::{Fit, History, Model, Spend, choose, customers, opportunities};
use super::history;
use crate::segment::rfm::Purchase;

fn refused(model: Model, histories: &[History], words: &str) {
    let error = Fit::new(model, histories, None).unwrap_err();
    assert!(error.message().contains(words), "{error}");
    assert!(error.hint_text().is_some(), "{error} has a hint");
}

#[test]
fn too_little_to_learn_from_is_said() {
    for model in [Model::BgNbd, Model::MbgNbd, Model::ParetoNbd, Model::BgBb] {
        refused(model, &[], "needs 10 customers, found 0");
        refused(model, &[history(2.0, 3.0, 9.0)], "needs 10 customers, found 1");
        let silent = vec![history(0.0, 0.0, 9.0); 50];
        refused(model, &silent, "who bought on a second day, found 0");
    }
    let error = Spend::fit(&[0.0; 50], &[0.0; 50], None).unwrap_err();
    assert!(error.message().contains("a second day, found 0"), "{error}");
}

#[test]
fn histories_that_contradict_themselves_are_named() {
    let with = |wrong: History| {
        let mut made = vec![history(2.0, 3.0, 9.0); 20];
        made[7] = wrong;
        made
    };
    for (wrong, words) in [
        (history(f64::NAN, 3.0, 9.0), "frequency is NaN at position 7"),
        (history(2.0, 3.0, f64::INFINITY), "age is inf at position 7"),
        (history(-1.0, 3.0, 9.0), "position 7 has a negative number"),
        (history(1.5, 3.0, 9.0), "position 7 has a frequency that is no count"),
        (history(2.0, 9.5, 9.0), "position 7 bought last after the moment"),
        (history(0.0, 3.0, 9.0), "position 7 has a recency without"),
        (history(3.0, 0.0, 9.0), "position 7 has a recency without"),
    ] {
        refused(Model::BgNbd, &with(wrong), words);
        let fit = Fit::of(Model::BgNbd, &[0.5, 8.0, 0.7, 9.0]).unwrap();
        assert!(fit.alive(&wrong).is_err() && fit.expected(&wrong, 1.0).is_err());
    }
    refused(Model::BgBb, &with(history(2.0, 2.5, 9.0)), "position 7 bought at 2 opportunities");
    refused(Model::BgBb, &with(history(4.0, 3.0, 9.0)), "position 7 bought at 4 opportunities");
    let data = vec![history(2.0, 3.0, 9.0); 20];
    let weights =
        |wrong: f64| Fit::new(Model::BgNbd, &data, Some(&[vec![1.0; 19], vec![wrong]].concat()));
    for wrong in [0.0, -1.0, f64::NAN] {
        assert!(weights(wrong).unwrap_err().message().contains("at position 19"));
    }
    assert!(Fit::new(Model::BgNbd, &data, Some(&[1.0])).is_err());
}

#[test]
fn spends_and_horizons_are_checked() {
    let spend = |wrong: f64| Spend::fit(&[2.0; 20], &[vec![5.0; 19], vec![wrong]].concat(), None);
    for wrong in [-3.0, f64::NAN] {
        assert!(spend(wrong).unwrap_err().message().contains("at position 19"), "{wrong}");
    }
    assert!(Spend::fit(&[2.0; 20], &[1.0; 3], None).is_err());
    let free = Spend::fit(&[2.0; 20], &[0.0; 20], None).unwrap_err();
    assert!(free.message().contains("found 0"), "{free}");
    let fit = Fit::of(Model::BgNbd, &[0.5, 8.0, 0.7, 9.0]).unwrap();
    for horizon in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12] {
        let error = fit.expected(&history(2.0, 3.0, 9.0), horizon).unwrap_err();
        assert!(error.message().contains("horizon"), "{error}");
    }
    let donors = Fit::of(Model::BgBb, &[1.0, 1.0, 1.0, 1.0]).unwrap();
    assert!(donors.expected(&history(2.0, 3.0, 9.0), 1.5).is_err());
    assert!(fit.interval(&history(2.0, 3.0, 9.0), 1.0, 1.0).is_err());
    assert!(Fit::of(Model::BgNbd, &[0.5, 8.0, -1.0, 9.0]).is_err());
    assert!(Fit::of(Model::BgNbd, &[0.5]).is_err());
}

/// Everybody alike, nobody ever leaves: the likelihood has no top, and nobody is told an error that is none.
#[test]
fn parameters_that_the_data_do_not_hold_have_no_errors() {
    let steady = vec![history(10.0, 50.0, 50.0); 40];
    for model in Model::CONTINUOUS {
        let fit = Fit::new(model, &steady, None).unwrap();
        assert!(!fit.converged, "{}", model.name());
        assert!(fit.parameters.iter().all(|p| p.error.is_none()));
        assert!(fit.interval(&steady[0], 10.0, 0.9).unwrap().is_none());
        let expected = fit.expected(&steady[0], 10.0).unwrap();
        assert!((expected - 2.0).abs() < 0.3, "{}: {expected} at one in five", model.name());
    }
}

/// An old export in which everybody left alike, long ago: how much people differ in leaving is not held.
#[test]
fn who_left_long_ago_is_lost_and_has_no_errors() {
    let gone: Vec<History> =
        (0..60).map(|who| history(10.0, 90.0 + f64::from(who % 20), 10_000.0)).collect();
    let fit = Fit::new(Model::ParetoNbd, &gone, None).unwrap();
    assert!(!fit.converged && fit.parameters.iter().all(|p| p.error.is_none()), "{fit:?}");
    assert!(fit.alive(&gone[0]).unwrap() < 1e-6);
    assert!(fit.expected(&gone[0], 90.0).unwrap() < 1e-4);
}

fn bought(customer: &str, day: i64, value: f64) -> Purchase {
    Purchase { customer: customer.to_owned(), at: Timestamp::from_day(day), value }
}

#[test]
fn days_are_counted_once_and_returns_and_the_future_not_at_all() {
    let events = [
        bought("a", 0, 10.0),
        bought("a", 10, 20.0),
        bought("a", 10, 5.0),
        bought("a", 12, -7.0),
        bought("a", 99, 1.0),
        bought("b", 3, -1.0),
        bought("b", 4, 2.0),
        bought("b", 4, -2.0),
    ];
    let made = customers(&events, Timestamp::from_day(20)).unwrap();
    assert_eq!(made.len(), 1, "whoever only returns goods is no customer");
    assert_eq!((made[0].history, made[0].spend), (history(1.0, 10.0, 20.0), 25.0));
    assert_eq!(made[0].spend_of_all, 17.5);
    let broken = [bought("a", 0, 1.0), bought("b", 0, f64::NAN)];
    let error = customers(&broken, Timestamp::from_day(1)).unwrap_err();
    assert!(error.message().contains("position 1"), "{error}");
    assert!(choose(&events, Timestamp::from_day(20), 0, &Model::CONTINUOUS).is_err());
    assert!(choose(&events, Timestamp::from_day(20), 5, &[]).is_err());
    assert!(choose(&events, Timestamp::from_day(20), 5, &[Model::BgNbd, Model::BgBb]).is_err());
    for days in [0.5, f64::NAN, f64::INFINITY] {
        assert!(opportunities(&events, Timestamp::from_day(20), days).is_err());
    }
    let few = choose(&events, Timestamp::from_day(20), 5, &Model::CONTINUOUS).unwrap_err();
    assert!(few.message().contains("needs 10 customers, found 1"), "{few}");
}

/// A shop that is younger than the holdout has nothing to be judged on, and says so.
#[test]
fn without_history_to_hold_back_the_likelihood_chooses() {
    let events: Vec<Purchase> = (0..40_i64)
        .flat_map(|who| {
            let name = format!("c{who:02}");
            let days = (0..=who % 4).map(move |k| (name.clone(), 2 * k + who % 3));
            days.map(|(name, day)| bought(&name, day, 5.0))
        })
        .collect();
    let (choice, known) = choose(&events, Timestamp::from_day(20), 30, &Model::CONTINUOUS).unwrap();
    assert!(choice.trials.is_empty() && choice.judged == 0 && choice.naive_error.is_none());
    assert!(choice.reason.contains("too little history"), "{}", choice.reason);
    assert_eq!(known.len(), 40);
}

/// Old data judged by a clock of today: a model that expects nothing would be right about everybody.
#[test]
fn where_nobody_bought_in_the_holdout_the_likelihood_chooses() {
    let events: Vec<Purchase> = (0..40_i64)
        .flat_map(|who| {
            let name = format!("c{who:02}");
            let days = (0..=who % 4).map(move |k| (name.clone(), 2 * k + who % 3));
            days.map(|(name, day)| bought(&name, day, 5.0))
        })
        .collect();
    let long_after = Timestamp::from_day(120);
    let chosen = |models: &[Model]| choose(&events, long_after, 90, models).unwrap().0;
    let choice = chosen(&Model::CONTINUOUS);
    assert!(choice.trials.is_empty() && choice.judged == 0 && choice.naive_error.is_none());
    assert_eq!(choice.actual, 0.0);
    let said = "has the greatest likelihood; there is no purchase since 1970-01-09";
    assert!(choice.reason.contains(said), "{}", choice.reason);
    let one = chosen(&[Model::BgNbd]);
    assert!(one.reason.starts_with("bg-nbd is the only one asked for; there is"), "{}", one.reason);
    assert!(one.trials.is_empty() && one.judged == 0);
    // Somebody new does not tell how customers go on.
    let more: Vec<Purchase> = events.iter().cloned().chain([bought("new", 110, 5.0)]).collect();
    let choice = choose(&more, long_after, 90, &Model::CONTINUOUS).unwrap().0;
    let said = "no customer bought again in the last 90 days";
    assert!(choice.reason.contains(said), "{}", choice.reason);
}
