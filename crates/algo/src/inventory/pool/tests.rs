//! What a pool promises: worth is told apart, levels rise, and the shop is served for less.

use flywheel_base::{ErrorKind, Rng};

use super::*;

const TIMES: Times = Times { lead: 1, review: 1 };

/// Items that are asked for in heaps, each at its own rate; a third of them ends some time.
fn pasts(items: u64, periods: usize) -> Vec<Vec<f64>> {
    (0..items)
        .map(|item| {
            let mut rng = Rng::stream(item, "pool");
            let chance = 0.05 + 0.4 * rng.uniform();
            let end = if item % 3 == 0 { rng.below(2 * periods) } else { 2 * periods };
            (0..periods)
                .map(|period| {
                    let asked = period < end && rng.uniform() < chance;
                    if asked { 1.0 + rng.poisson(1.0) as f64 } else { 0.0 }
                })
                .collect()
        })
        .collect()
}

fn slices(pasts: &[Vec<f64>]) -> Vec<&[f64]> {
    pasts.iter().map(Vec::as_slice).collect()
}

#[test]
fn items_that_ended_are_told_from_those_that_go_on() {
    let mut pasts = pasts(300, 48);
    pasts[0] = [vec![2.0; 24], vec![0.0; 24]].concat();
    pasts[1] = [0.0, 0.0, 0.0, 2.0].repeat(12);
    let beliefs = beliefs(&slices(&pasts), TIMES).unwrap().unwrap();
    let mean = |item: usize| beliefs[item].mean;
    assert!(mean(0) < 0.25 && (0.25..0.9).contains(&mean(1)), "{} {}", mean(0), mean(1));
    let expected: f64 = beliefs.iter().map(|belief| belief.mean).sum();
    let lately: f64 = pasts.iter().flat_map(|past| &past[36..]).sum::<f64>() / 12.0;
    assert!((expected / lately - 1.0).abs() < 0.2, "{expected} of {lately}");
    assert!(beliefs.iter().all(|belief| belief.spread >= SPREAD_MIN));
}

#[test]
fn the_same_pasts_give_the_same_bits_with_any_number_of_threads() {
    let pasts = pasts(300, 48);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| beliefs(&slices(&pasts), TIMES).unwrap().unwrap())
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn a_level_rises_with_the_rate_and_with_demand_and_is_whole_units() {
    let level = |mean, rate| Belief { mean, spread: 1.5 }.ladder(TIMES).level(rate);
    for mean in [0.0, 0.02, 0.4, 3.0, 40.0, 2500.0, 250_000.0] {
        let levels = [0.1, 0.5, 0.8, 0.9, 0.95, 0.98, 0.998].map(|rate| level(mean, rate));
        assert!(levels.is_sorted() && levels.iter().all(|level| level.fract() == 0.0));
        assert!(levels[6] >= mean && levels[6] < 2.0 * mean + 12.0 * (2.0 * mean).sqrt() + 9.0);
    }
    let by_demand = [0.02, 0.1, 0.4, 3.0, 40.0, 2500.0].map(|mean| level(mean, 0.95));
    assert!(by_demand.is_sorted() && by_demand[0] == 0.0, "{by_demand:?}");
}

#[test]
fn a_ladder_stops_where_one_unit_more_saves_too_little() {
    // By hand: a Poisson of 1 a period nearly, and a unit's weight of 1 + (1 − e⁻¹²)/12.
    let belief = Belief { mean: 1.0, spread: SPREAD_MIN };
    let (mut one, mut two) = (Tail::new(1.0, SPREAD_MIN), Tail::new(2.0, SPREAD_MIN));
    let weight = 1.0 + (1.0 - (-12.0_f64).exp()) / 12.0;
    let worth = |stock: f64, one: &mut Tail, two: &mut Tail| {
        let (this, next) = (one.above(stock), two.above(stock));
        let saved = weight * (next - this);
        (1.0 - next) / (saved + 1.0 - next)
    };
    for stock in 0..6 {
        let from = worth(f64::from(stock), &mut one, &mut two);
        let level = |rate| belief.ladder(TIMES).level(rate);
        assert!(level(from + 1e-9) > f64::from(stock) && level(from - 1e-9) <= f64::from(stock));
    }
}

#[test]
fn too_little_teaches_nothing_and_what_cannot_be_is_refused() {
    assert_eq!(beliefs(&[], TIMES).unwrap(), None);
    assert_eq!(beliefs(&slices(&pasts(5, 48)), TIMES).unwrap(), None);
    assert_eq!(beliefs(&slices(&vec![vec![0.0; 48]; 300]), TIMES).unwrap(), None);
    let mut wrong = pasts(300, 48);
    wrong[7][3] = -1.0;
    let error = beliefs(&slices(&wrong), TIMES).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("item 7"), "{error}");
    wrong[7][3] = f64::NAN;
    assert!(beliefs(&slices(&wrong), TIMES).unwrap_err().message().contains("item 7"));
}
