//! The choice of a method, and what it promises of sums and intervals.

use flywheel_base::Rng;

use super::super::super::{Fitted, Options, fit};
use super::*;

const DAYS: usize = 140;
const HELD: usize = 28;

fn options() -> Options {
    Options { season: 7, horizon: 14, origins_max: HELD, clip_at_zero: true, ..Options::default() }
}

fn tree(labels: &[&str]) -> Hierarchy {
    let series: Vec<(String, Vec<String>)> = labels
        .iter()
        .enumerate()
        .map(|(at, label)| (at.to_string(), vec![(*label).to_owned()]))
        .collect();
    Hierarchy::new(&["category".to_owned()], &series).unwrap()
}

/// Values of every node: those of groups are the sums of their series, aligned at the end.
fn nodes(hierarchy: &Hierarchy, series: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let of = |node: usize| {
        let members = hierarchy.members(node);
        let longest = members.iter().map(|at| series[*at].len()).max().unwrap();
        let mut sums = vec![0.0; longest];
        for at in members {
            let begin = longest - series[at].len();
            for (sum, value) in sums[begin..].iter_mut().zip(&series[at]) {
                *sum += value;
            }
        }
        sums
    };
    (0..hierarchy.nodes.len()).map(of).collect()
}

fn fitted(values: &[Vec<f64>], method: &str) -> Vec<Fitted> {
    let fits = |values: &Vec<f64>| {
        let method = if values.len() < 14 { "mean" } else { method };
        fit(method, values, &options()).unwrap()
    };
    values.iter().map(fits).collect()
}

fn past(values: &[Vec<f64>], fits: &[Fitted]) -> Past {
    Past::of(&values.iter().map(Vec::as_slice).zip(fits).collect::<Vec<_>>())
}

/// Weekly waves with noise of its own for each series.
fn noisy(seed: u64, count: usize, noise: f64) -> Vec<Vec<f64>> {
    let mut rng = Rng::new(seed);
    let value =
        |rng: &mut Rng, day: usize| (20.0 + 8.0 * (day % 7) as f64 + noise * rng.normal()).max(0.0);
    (0..count).map(|_| (0..DAYS).map(|day| value(&mut rng, day)).collect()).collect()
}

#[test]
fn what_is_chosen_erred_least_and_says_how_far_each_level_was_off() {
    let hierarchy = tree(&["a", "a", "a", "b", "b", "b"]);
    let values = nodes(&hierarchy, &noisy(5, 6, 12.0));
    let fits = fitted(&values, "ses");
    let past = past(&values, &fits);
    assert_eq!(past.len(), HELD);
    let chosen = choose(&hierarchy, &past, None).unwrap();
    assert_eq!(chosen.scores.len(), Method::ALL.len());
    let least = chosen.score().unwrap().mean().unwrap();
    for score in &chosen.scores {
        assert!(least <= score.mean().unwrap() * (1.0 + 1e-9), "{:?}", score.method);
        let levels: Vec<&str> = score.levels.iter().map(|level| level.level.as_str()).collect();
        assert_eq!(levels, ["total", "category", "series"]);
        assert_eq!(score.levels[2].count, 6 * score.levels[0].count);
    }
    assert!(chosen.reason.contains(chosen.method.name()), "{}", chosen.reason);
    // A method of the file is judged alone, and its scores are the same.
    let named = choose(&hierarchy, &past, Some(Method::Mint)).unwrap();
    assert_eq!(named.method, Method::Mint);
    assert_eq!(named.score(), chosen.scores.iter().find(|one| one.method == Method::Mint));
}

#[test]
fn bottom_up_errs_on_series_as_they_do_by_themselves() {
    let hierarchy = tree(&["a", "a", "b"]);
    let values = nodes(&hierarchy, &noisy(7, 3, 6.0));
    let fits = fitted(&values, "ses");
    let past = past(&values, &fits);
    let chosen = choose(&hierarchy, &past, Some(Method::BottomUp)).unwrap();
    let series = &chosen.score().unwrap().levels[2];
    assert!((series.wape.unwrap() - series.own.unwrap()).abs() < 1e-12);
}

#[test]
fn weights_know_nothing_of_what_they_are_judged_on() {
    let hierarchy = tree(&["a", "a", "b", "b"]);
    let values = nodes(&hierarchy, &noisy(9, 4, 9.0));
    let fits = fitted(&values, "ses");
    let mut past = past(&values, &fits);
    let before = past.known(HELD / 2);
    // Another future: the errors known at the first judged forecast stay the same.
    for paths in &mut past.errors {
        for (origin, path) in paths.iter_mut().enumerate() {
            for (step, error) in path.iter_mut().enumerate() {
                if origin + step >= HELD / 2 {
                    *error *= 3.0;
                }
            }
        }
    }
    assert_eq!(before, past.known(HELD / 2));
}

#[test]
fn forecasts_ahead_add_up_and_so_do_their_past_errors() {
    let hierarchy = tree(&["a", "a", "b", "b", "b"]);
    let mut series = noisy(11, 5, 10.0);
    series[1] = vec![0.0; DAYS];
    series[3] = vec![4.0];
    series[4].truncate(20);
    let values = nodes(&hierarchy, &series);
    let fits = fitted(&values, "ses");
    let past = past(&values, &fits);
    for method in Method::ALL {
        let means: Vec<Vec<f64>> =
            fits.iter().map(|fit| fit.forecast(9, &[]).unwrap().mean).collect();
        let made = add_up(&hierarchy, &past, method, &means).unwrap();
        let moved: Vec<Fitted> = fits
            .iter()
            .cloned()
            .zip(made.shift.into_iter().zip(made.errors))
            .map(|(fit, (shift, errors))| fit.with_adding_up(shift, errors))
            .collect();
        // As it is stored and read back, and beyond the steps that were moved.
        let bytes = serde_json::to_vec(&moved).unwrap();
        let moved: Vec<Fitted> = serde_json::from_slice(&bytes).unwrap();
        let ahead: Vec<_> =
            moved.iter().map(|fit| fit.forecast(9, &[0.05, 0.95]).unwrap()).collect();
        for step in 0..9 {
            let said: Vec<f64> = ahead.iter().map(|one| one.mean[step]).collect();
            let sums = hierarchy.sums(&said[3..]);
            for (said, sum) in said.iter().zip(sums) {
                assert!(
                    (said - sum).abs() < 1e-9 && *said >= 0.0,
                    "{}: {said} {sum}",
                    method.name()
                );
            }
        }
        for one in ahead.iter().filter(|one| !one.quantiles.is_empty()) {
            for (mean, ends) in one.mean.iter().zip(&one.quantiles) {
                assert!(ends[0] <= ends[1] && ends[0] >= 0.0 && mean.is_finite());
            }
        }
        assert!(moved[0].forecast(12, &[]).unwrap().mean[11].is_finite());
        // A series of one day has no past forecast of its own to make an interval of.
        assert!(moved[6].past_errors().is_empty());
    }
}

#[test]
fn errors_that_add_up_give_the_interval_of_a_group() {
    let hierarchy = tree(&["a", "a", "a", "a"]);
    // What one series gains its neighbour loses: together they are calm.
    let mut rng = Rng::new(3);
    let mut series = vec![Vec::new(); 4];
    for _ in 0..DAYS {
        let (x, y) = (8.0 * rng.normal(), 8.0 * rng.normal());
        for (row, value) in series.iter_mut().zip([40.0 + x, 40.0 - x, 40.0 + y, 40.0 - y]) {
            row.push(value);
        }
    }
    let values = nodes(&hierarchy, &series);
    let fits = fitted(&values, "mean");
    let past = past(&values, &fits);
    let means: Vec<Vec<f64>> = fits.iter().map(|fit| fit.forecast(7, &[]).unwrap().mean).collect();
    let made = add_up(&hierarchy, &past, Method::Mint, &means).unwrap();
    let size = |node: usize| {
        let all: Vec<f64> = made.errors[node].iter().flatten().map(|error| error.abs()).collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    assert!(size(0) < 0.05 * size(2), "{} {}", size(0), size(2));
}

#[test]
fn too_short_a_past_adds_the_series_up_and_says_so() {
    let hierarchy = tree(&["a"]);
    let values = nodes(&hierarchy, &[vec![5.0]]);
    let fits = fitted(&values, "mean");
    let past = past(&values, &fits);
    assert!(past.is_empty());
    for wanted in [None, Some(Method::Mint), Some(Method::WlsVariance)] {
        let chosen = choose(&hierarchy, &past, wanted).unwrap();
        assert_eq!(chosen.method, Method::BottomUp);
        assert!(chosen.reason.contains("too few"), "{}", chosen.reason);
        let made = add_up(&hierarchy, &past, chosen.method, &vec![vec![5.0; 3]; 3]).unwrap();
        assert_eq!(made.shift, vec![vec![0.0; 3]; 3]);
    }
    let chosen = choose(&hierarchy, &past, Some(Method::Ols)).unwrap();
    assert_eq!((chosen.method, chosen.score()), (Method::Ols, None));
}

#[test]
fn nothing_but_zeros_stays_zero() {
    let hierarchy = tree(&["a", "b"]);
    let values = nodes(&hierarchy, &[vec![0.0; 60], vec![0.0; 60]]);
    let fits = fitted(&values, "mean");
    let past = past(&values, &fits);
    let chosen = choose(&hierarchy, &past, None).unwrap();
    assert_eq!(chosen.method, Method::BottomUp);
    assert!(chosen.reason.contains("nothing came"), "{}", chosen.reason);
    for method in Method::ALL {
        let made = add_up(&hierarchy, &past, method, &vec![vec![0.0; 5]; 5]).unwrap();
        assert_eq!(made.shift, vec![vec![0.0; 5]; 5], "{}", method.name());
    }
}
