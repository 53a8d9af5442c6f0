//! Whether intervals come back to what they promise.

use flywheel_base::Rng;

use super::super::{AGE_DAYS_MIN, Marks, Question, Stored, fit_all};
use super::*;

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn settings(more: Value) -> Forecast {
    let mut file =
        json!({"series": "select 1", "method": "simple", "horizon_days": 7, "interval": "80%"});
    for (key, value) in more.as_object().unwrap() {
        file[key] = value.clone();
    }
    serde_json::from_value(file).unwrap()
}

/// A calm series that grows much wilder at once, which past errors do not know of.
fn values(item: u64, days: usize) -> Vec<f64> {
    let mut rng = Rng::stream(item, "wilder");
    let value = |day: usize| {
        let wild = if day < 90 { 2.0 } else { 12.0 };
        100.0 + wild * rng.normal()
    };
    (0..days).map(value).collect()
}

/// Fits day by day, each fit from the one before; the share of truths that each day's intervals held.
fn lived(settings: &Forecast, items: u64, days: std::ops::Range<usize>) -> (Stored, Vec<f64>) {
    let marks = Marks::default();
    let mut before: Option<Stored> = None;
    let mut held = Vec::new();
    for day in days {
        let histories: Vec<History> = (0..items)
            .map(|item| History {
                id: format!("i{item}"),
                values: values(item, day),
                labels: Vec::new(),
            })
            .collect();
        let through = i64::try_from(day).unwrap() - 1;
        let asked = Question { settings, marks: &marks, through, age_days: AGE_DAYS_MIN };
        if let Some(before) = &before {
            let missed: Vec<bool> = histories
                .iter()
                .filter_map(|history| {
                    let published = before.published();
                    missed(&published, history, 1, (through, settings)).unwrap().days[0]
                })
                .collect();
            let inside = missed.iter().filter(|miss| !**miss).count();
            held.push(inside as f64 / missed.len() as f64);
        }
        let (stored, _) = fit_all(&histories, &asked, before.as_ref(), &[]).unwrap();
        // As a later run reads it.
        let bytes = serde_json::to_vec(&stored).unwrap();
        before = Some(serde_json::from_slice(&bytes).unwrap());
    }
    (before.unwrap(), held)
}

#[test]
fn intervals_of_a_series_that_grew_wilder_hold_as_much_as_asked_for_sooner() {
    let mean = |held: &[f64]| held.iter().sum::<f64>() / held.len() as f64;
    let adapting = settings(json!({"interval_gamma": 0.1}));
    let (stored, held) = lived(&adapting, 4, 80..160);
    let adapted = stored.adapted.as_ref().unwrap();
    assert_eq!(adapted.series["i0"].seen(), 79);
    let measure = adapted.measure("coverage").unwrap();
    assert_eq!((measure.count, measure.baseline), (4 * 79, Some(0.8)));
    assert!((mean(&held[20..]) - 0.8).abs() < 0.1, "{held:?}");
    // What is told is what was published.
    let told = 1.0 - held.iter().sum::<f64>() / held.len() as f64;
    assert!((1.0 - measure.value.unwrap() - told).abs() < 1e-9);
}

#[test]
fn states_are_the_same_to_the_bit_when_a_fit_is_done_again_and_begin_pooled() {
    let adapting = settings(json!({}));
    let (first, _) = lived(&adapting, 3, 80..90);
    let (again, _) = lived(&adapting, 3, 80..90);
    let adapted = first.adapted.as_ref().unwrap();
    assert_eq!(Some(adapted), again.adapted.as_ref());
    assert_eq!(adapted.pooled.seen(), 3 * 9);
    // Nine truths are too few for a level of one's own.
    assert_eq!(adapted.asked("i0"), adapted.pooled.asked());
    assert_eq!(adapted.asked("never seen"), adapted.pooled.asked());
    assert_eq!(adapted.detail(&adapting)["series_with_own_level"], 0);
    let (longer, _) = lived(&adapting, 1, 80..120);
    let own = longer.adapted.unwrap();
    assert_eq!((own.pooled.seen(), own.series["i0"].seen()), (OWN_MIN, 39));
    assert_eq!(own.detail(&adapting)["series_with_own_level"], 1);
}

#[test]
fn nothing_adapts_where_the_file_says_so_and_another_share_begins_anew() {
    let still = settings(json!({"interval_gamma": 0}));
    let (stored, _) = lived(&still, 1, 80..84);
    assert!(stored.adapted.is_none());
    let plain = ahead(&stored.series["i0"], 3, asked(None, &still, "i0")).unwrap();
    let tail = (1.0 - still.interval.value()) / 2.0;
    let forecast = stored.series["i0"].forecast(3, &[tail, 1.0 - tail]).unwrap();
    for (step, (mean, lower, upper)) in plain.into_iter().enumerate() {
        assert_eq!((mean, (lower, upper)), (forecast.mean[step], ends(&forecast, step, mean)));
    }
    let (stored, _) = lived(&settings(json!({})), 1, 80..84);
    let wider = settings(json!({"interval": "95%"}));
    let history = History { id: "i0".to_owned(), values: values(0, 83), labels: Vec::new() };
    let published = stored.published();
    let anew = Adapted::learn(Some(&published), &[history], 82, &wider).unwrap().unwrap();
    assert_eq!((anew.inside, anew.series.len()), (0.95, 0), "no day came since");
}
