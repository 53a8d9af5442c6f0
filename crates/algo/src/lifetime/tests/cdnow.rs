//! The published numbers of the field's own data set; its rows are not in this repository.

use std::path::PathBuf;

use flywheel_base::Timestamp;

use super::super::{Fit, History, Model, Spend, choose, customers};
use super::{all_close, close, history, parameters};
use crate::segment::rfm::Purchase;

/// The day of 1997-01-01, of which all dates in the file are within two years.
const DAY_FIRST: i64 = 9862;

fn text(name: &str) -> Option<String> {
    let folder = flywheel_base::env::optional("FLYWHEEL_DATA")?;
    std::fs::read_to_string(PathBuf::from(folder).join("cdnow").join(name)).ok()
}

/// Says loudly that a test had no data.
fn absent(name: &str) {
    eprintln!("SKIPPED: cdnow/{name} is not in FLYWHEEL_DATA; published numbers were not checked");
}

fn day(date: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| date[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(4..6), number(6..8));
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    DAY_FIRST + 365 * (year - 1997) + before[(month - 1) as usize] + day - 1
}

fn purchases() -> Option<Vec<Purchase>> {
    let text = text("CDNOW_sample.txt")?;
    let made = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Purchase {
            customer: words[1].to_owned(),
            at: Timestamp::from_day(day(words[2])),
            value: words[4].parse().unwrap(),
        }
    });
    Some(made.collect())
}

fn summary() -> Option<Vec<History>> {
    let text = text("cdnow_customers_summary.csv")?;
    let number = |word: &str| word.trim().parse::<f64>().unwrap();
    let made = text.lines().skip(1).filter(|line| !line.trim().is_empty()).map(|line| {
        let words: Vec<&str> = line.split(',').collect();
        history(number(words[1]), number(words[2]), number(words[3]))
    });
    Some(made.collect())
}

#[test]
fn parameters_of_cdnow_are_the_published_ones() {
    let Some(data) = summary() else { return absent("cdnow_customers_summary.csv") };
    assert_eq!(data.len(), 2357);
    for (model, published) in [
        (Model::BgNbd, [0.2426, 4.4135, 0.7929, 2.4258]),
        (Model::ParetoNbd, [0.5533, 10.5775, 0.6062, 11.6687]),
        (Model::MbgNbd, [0.525, 6.183, 0.891, 1.614]),
    ] {
        let fit = Fit::new(model, &data, None).unwrap();
        assert!(fit.converged && fit.parameters.iter().all(|p| p.error.is_some()));
        all_close(model.name(), &parameters(&fit), &published, 0.005);
    }
    let fit = Fit::new(Model::BgNbd, &data, None).unwrap();
    close("BG/NBD", fit.log_likelihood.unwrap(), -9582.4, 1e-5);
    let asked = history(2.0, 30.43, 38.86);
    assert!((fit.expected(&asked, 39.0).unwrap() - 1.226).abs() < 1e-3);
    for (horizon, published) in [
        (1.0 / 7.0, 0.0078),
        (1.0, 0.0532),
        (3.0, 0.1506),
        (31.857, 1.0405),
        (32.0, 1.0437),
        (78.0, 1.8576),
    ] {
        let ours = fit.expected_of_new(horizon).unwrap();
        assert!((ours - published).abs() < 5e-4, "{horizon}: {ours} for {published}");
    }
}

#[test]
fn spend_of_cdnow_is_the_published_one() {
    let Some(events) = purchases() else { return absent("CDNOW_sample.txt") };
    let known = customers(&events, Timestamp::from_day(day("19970930"))).unwrap();
    let frequency: Vec<f64> = known.iter().map(|c| c.history.frequency).collect();
    let spend: Vec<f64> = known.iter().map(|c| c.spend).collect();
    let fit = Spend::fit(&frequency, &spend, None).unwrap();
    assert_eq!(fit.customers, 946.0);
    let ours = super::super::values(&fit.parameters);
    all_close("p, q, v", &ours, &[6.2488, 3.7446, 15.4477], 0.005);
    let published = [24.65, 18.91, 35.17, 35.17, 35.17, 71.46, 18.91, 35.17, 27.28, 35.17];
    for (customer, published) in known.iter().zip(published) {
        let ours = fit.expected(customer.history.frequency, customer.spend).unwrap();
        assert!((ours - published).abs() < 0.02, "{}: {ours} for {published}", customer.customer);
    }
}

#[test]
fn held_back_purchases_of_cdnow_are_foretold_as_well_as_published() {
    let Some(events) = purchases() else { return absent("CDNOW_sample.txt") };
    let end = Timestamp::from_day(day("19980630"));
    let (choice, known) = choose(&events, end, 273, &Model::CONTINUOUS).unwrap();
    assert_eq!((choice.judged, choice.actual, known.len()), (2357, 1882.0, 2357));
    let error = choice.trials.iter().filter_map(|t| t.error).fold(f64::INFINITY, f64::min);
    assert!(error <= 0.755, "{:?}", choice.trials);
    assert!(choice.naive_error.unwrap() > 1.0, "guessing everybody's own rate is far off");
    let chosen = choice.trials.iter().find(|t| t.model == choice.fit.model).unwrap();
    assert_eq!(chosen.error, Some(error), "{}", choice.reason);
    assert!(choice.reason.contains("the least of all"), "{}", choice.reason);
}
