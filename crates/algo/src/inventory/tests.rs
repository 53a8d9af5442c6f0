//! Stock claims: service reached, packs kept, reasons given, and better than the naive policy.

use flywheel_base::Rng;

use super::demand::{LeadTime, LeadTimeDemand, Source};
use super::reorder::{
    Situation, economic_order_quantity, level_of_costs, newsvendor_level, normal_safety_stock,
    propose,
};
use crate::forecast::interval::Basis;
use crate::forecast::seeds::SALES;
use crate::forecast::{Forecast, Options, fit};
use crate::stats::normal;

/// Normal demand of this mean and deviation, independent of its past errors.
fn normal_forecast(mean: f64, deviation: f64, horizon: usize) -> Forecast {
    let levels = vec![0.05, 0.25, 0.5, 0.75, 0.95];
    let row: Vec<f64> = levels.iter().map(|p| mean + deviation * normal::quantile(*p)).collect();
    let mut rng = Rng::new(2);
    let path = |_| (0..horizon).map(|_| deviation * rng.normal()).collect();
    Forecast {
        mean: vec![mean; horizon],
        quantiles: vec![row; horizon],
        levels,
        basis: Basis::PastErrors,
        errors: (0..2000).map(path).collect(),
        clip_at_zero: true,
    }
}

#[test]
fn drawn_lead_times_have_the_moments_of_theory() {
    let mut forecast = normal_forecast(100.0, 10.0, 12);
    let lead = LeadTime { periods: 4.0, deviation: 0.0 };
    let made = LeadTimeDemand::simulate(&forecast, lead, 1).unwrap();
    assert_eq!(made.source, Source::ErrorPaths);
    assert!((made.mean() - 400.0).abs() < 2.0);
    let safety = normal_safety_stock(100.0, 10.0, lead, 0.95).unwrap();
    assert!((made.quantile(0.95) - made.mean() - safety).abs() < 3.0);
    let uncertain = LeadTime { periods: 4.0, deviation: 1.0 };
    let wide = LeadTimeDemand::simulate(&forecast, uncertain, 1).unwrap();
    let theory = normal_safety_stock(100.0, 10.0, uncertain, 0.95).unwrap();
    assert!((wide.quantile(0.95) - wide.mean() - theory).abs() < 0.05 * theory);
    forecast.errors.clear();
    let copula = LeadTimeDemand::simulate(&forecast, lead, 1).unwrap();
    assert_eq!(copula.source, Source::Quantiles);
    assert!((copula.mean() - 400.0).abs() < 2.0);
    assert!(copula.quantile(0.95) > made.quantile(0.95), "dependence asks for more stock");
    forecast.quantiles.clear();
    let poisson = LeadTimeDemand::simulate(&forecast, lead, 1).unwrap();
    assert_eq!(poisson.source, Source::Poisson);
    assert!((poisson.quantile(0.5) - 400.0).abs() < 5.0 && poisson.share_above(400.0) > 0.4);
    assert!(poisson.expected_shortage(400.0) > 5.0 && poisson.expected_shortage(1e6) == 0.0);
    assert!(
        LeadTimeDemand::simulate(&forecast, LeadTime { periods: 13.0, deviation: 0.0 }, 1).is_err()
    );
}

/// An item that sells 0.6 pieces a day sells 9 in the 15 days that an order covers, and in 19 of 20 such times at most 14.
#[test]
fn the_stock_of_rare_demand_is_near_that_of_its_distribution() {
    let levels = [0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95];
    let situation = Situation { lead_time_days: 14.0, review_days: 1.0, ..Situation::default() };
    let options = |paths_max| Options {
        season: 7,
        horizon: 22,
        origins_max: 10,
        paths_max,
        path_length: 15,
        clip_at_zero: true,
        ..Options::default()
    };
    let (mut by_paths, mut by_quantiles) = (0.0, 0.0);
    for item in 0..30 {
        let mut rng = Rng::new(item);
        let past: Vec<f64> = (0..300).map(|_| rng.poisson(0.6) as f64).collect();
        let made = |paths_max| {
            let ahead = fit("ses", &past, &options(paths_max)).unwrap();
            let ahead = ahead.forecast(15, &levels).unwrap();
            (propose(&situation, &ahead).unwrap(), ahead.mean.iter().sum::<f64>())
        };
        let (paths, _) = made(16);
        assert_eq!(paths.source, Source::ErrorPaths);
        by_paths += paths.reorder_point / 30.0;
        let (quantiles, expected) = made(0);
        assert_eq!(quantiles.source, Source::Quantiles);
        assert!((quantiles.expected_demand - expected).abs() < 1e-6, "{quantiles:?}, {expected}");
        by_quantiles += quantiles.reorder_point / 30.0;
    }
    assert!((12.5..17.5).contains(&by_paths), "{by_paths}");
    assert!((12.5..23.5).contains(&by_quantiles), "{by_quantiles}");
}

/// An item that sold six pieces a day and none for five weeks is not bought for what it once sold.
#[test]
fn an_item_that_has_stopped_selling_is_no_longer_bought() {
    let situation = Situation {
        lead_time_days: 14.0,
        review_days: 7.0,
        fill_rate: Some(0.95),
        ..Situation::default()
    };
    let options = |paths_max| Options {
        season: 7,
        horizon: 28,
        origins_max: 10,
        paths_max,
        path_length: 21,
        clip_at_zero: true,
        ..Options::default()
    };
    let mut rng = Rng::new(31);
    let mut past: Vec<f64> = (0..220).map(|_| 1.0 + rng.poisson(5.0) as f64).collect();
    let proposed = |past: &[f64], method: &str, paths_max| {
        let ahead = fit(method, past, &options(paths_max)).unwrap();
        propose(&situation, &ahead.forecast(21, &[0.05, 0.5, 0.95]).unwrap()).unwrap()
    };
    let before = proposed(&past, "imapa", 16);
    assert_eq!(before.source, Source::ErrorPaths);
    assert!((80.0..170.0).contains(&before.expected_demand), "{before:?}");
    past.extend([0.0; 35]);
    let faded = proposed(&past, "imapa", 16);
    assert!(faded.expected_demand < 8.0 && faded.order_quantity < 15.0, "{faded:?}");
    // Nothing is expected: by whole paths, and by quantiles.
    for paths_max in [16, 0] {
        let none = proposed(&past, "naive", paths_max);
        assert_eq!((none.order_quantity, none.stockout_risk), (0.0, 0.0), "{none:?}");
    }
}

#[test]
fn a_proposal_keeps_packs_limits_and_says_why() {
    let forecast = normal_forecast(10.0, 2.0, 20);
    let base = Situation { stock_on_hand: 30.0, on_order: 10.0, ..Situation::default() };
    let made = propose(&base, &forecast).unwrap();
    assert_eq!(made.stock_position, 40.0);
    assert!((made.reorder_point - (80.0 + 1.645 * 2.0 * 8_f64.sqrt())).abs() < 1.0, "{made:?}");
    assert!((made.order_quantity - (made.reorder_point - 40.0).ceil()).abs() < 1e-9);
    assert!(made.stockout_risk > 0.99 && made.reason.contains("order 5"), "{}", made.reason);
    let packs = propose(&Situation { pack_size: 12.0, ..base }, &forecast).unwrap();
    assert_eq!(packs.order_quantity, 60.0);
    let capped =
        propose(&Situation { pack_size: 12.0, order_max: Some(40.0), ..base }, &forecast).unwrap();
    assert_eq!(capped.order_quantity, 36.0);
    assert!(capped.reason.contains("cut"));
    let full = propose(&Situation { stock_on_hand: 200.0, ..base }, &forecast).unwrap();
    assert_eq!(full.order_quantity, 0.0);
    assert!(full.reason.contains("nothing"), "{}", full.reason);
    let economic =
        Situation { order_cost: Some(50.0), holding_cost_per_unit_year: Some(2.0), ..base };
    let lot = economic_order_quantity(3650.0, 50.0, 2.0).unwrap();
    let made = propose(&economic, &forecast).unwrap();
    assert!((made.order_up_to - made.reorder_point - lot).abs() < 1e-9);
    assert_eq!(made, propose(&economic, &forecast).unwrap(), "the same input, the same order");
}

#[test]
fn a_dearer_shortage_asks_for_more_stock_and_a_longer_cycle_for_less() {
    let forecast = normal_forecast(10.0, 4.0, 20);
    let base = Situation {
        lead_time_days: 4.0,
        review_days: 7.0,
        holding_cost_per_unit_year: Some(2.0),
        ..Situation::default()
    };
    // A unit that is left is held until the next look, a week.
    let left = 2.0 * 7.0 / 365.0;
    let level = level_of_costs(&base, &forecast, 0.5).unwrap();
    assert!((level - newsvendor_level(0.5, left).unwrap()).abs() < 1e-12, "{level}");
    assert!(level_of_costs(&base, &forecast, 1.0).unwrap() > level);
    // With a lot that lasts longer than a week it is held for that long.
    let lot = Situation { order_cost: Some(50.0), ..base };
    let lasts = economic_order_quantity(3650.0, 50.0, 2.0).unwrap() / 10.0;
    let held = level_of_costs(&lot, &forecast, 0.5).unwrap();
    let expected = newsvendor_level(0.5, 2.0 * lasts / 365.0).unwrap();
    assert!(lasts > 7.0 && (held - expected).abs() < 1e-9 && held < level, "{held} {expected}");
    let without = Situation { holding_cost_per_unit_year: None, ..base };
    assert!(level_of_costs(&without, &forecast, 0.5).is_err());
    assert!(level_of_costs(&base, &forecast, 1e12).unwrap() < 1.0);
    let made = propose(&Situation { service_level: level, ..base }, &forecast).unwrap();
    assert!(made.variation > 0.0 && made.variation < 0.5, "{made:?}");
}

/// Trap 7: the seed calls a sales forecast "inventory"; stock, lead time and interval must decide.
#[test]
fn the_seeds_sales_become_an_order_with_a_service_level() {
    let options = Options { clip_at_zero: true, ..Options::default() };
    let forecast = fit("holt", &SALES, &options).unwrap().forecast(3, &[0.05, 0.5, 0.95]).unwrap();
    let month = Situation {
        stock_on_hand: 300.0,
        lead_time_days: 30.0,
        review_days: 30.0,
        period_days: 30.0,
        ..Situation::default()
    };
    let at = |service_level| propose(&Situation { service_level, ..month }, &forecast).unwrap();
    let (low, high) = (at(0.8), at(0.99));
    assert!(low.expected_demand > 850.0 && low.expected_demand < 950.0, "{low:?}");
    assert!(high.reorder_point > low.reorder_point && low.order_quantity > 500.0);
    let longer = Situation { lead_time_days: 60.0, ..month };
    assert!(propose(&longer, &forecast).unwrap().order_quantity > low.order_quantity);
}

#[test]
fn impossible_situations_are_refused_by_name() {
    let forecast = normal_forecast(10.0, 2.0, 20);
    let fails = |situation: Situation, word: &str| {
        let error = propose(&situation, &forecast).unwrap_err();
        assert!(error.message().contains(word), "{error}");
    };
    let base = Situation::default();
    fails(Situation { service_level: 1.0, ..base }, "service level");
    fails(Situation { pack_size: 0.0, ..base }, "pack size");
    fails(Situation { on_order: -1.0, ..base }, "on order");
    fails(Situation { stock_on_hand: f64::NAN, ..base }, "stock on hand");
    fails(Situation { lead_time_days: 40.0, ..base }, "does not cover");
    assert!((newsvendor_level(3.0, 1.0).unwrap() - 0.75).abs() < 1e-12);
    assert!(newsvendor_level(0.0, 1.0).is_err() && economic_order_quantity(1.0, 1.0, 0.0).is_err());
}

/// Runs a shop for a year: weekly season, a trend, orders each day. Gives the fill rate and mean stock.
fn year(policy: impl Fn(&[f64], f64, f64) -> f64) -> (f64, f64) {
    let mut rng = Rng::new(12);
    let mut demand = |day: usize| {
        let season = if day % 7 >= 5 { 2.5 } else { 0.6 };
        rng.poisson(20.0 * season * (1.0 + day as f64 / 400.0)) as f64
    };
    let mut history: Vec<f64> = (0..120).map(&mut demand).collect();
    let (mut stock, mut pipeline) = (250.0, [0.0; 5]);
    let (mut asked, mut sold, mut held) = (0.0, 0.0, 0.0);
    for day in 120..320 {
        stock += pipeline[0];
        pipeline.rotate_left(1);
        pipeline[4] = policy(&history, stock, pipeline[..4].iter().sum());
        let today = demand(day);
        let served = today.min(stock);
        stock -= served;
        (asked, sold, held) = (asked + today, sold + served, held + stock);
        history.push(today);
    }
    (sold / asked, held / 200.0)
}

#[test]
fn forecast_orders_beat_the_mean_plus_deviations_policy() {
    let naive = year(|history, stock, coming| {
        let recent = &history[history.len() - 60..];
        let mean = recent.iter().sum::<f64>() / 60.0;
        let variance = recent.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 59.0;
        let lead = LeadTime { periods: 6.0, deviation: 0.0 };
        let safety = normal_safety_stock(mean, variance.sqrt(), lead, 0.95).unwrap();
        (6.0 * mean + safety - stock - coming).max(0.0).ceil()
    });
    let ours = |service_level| {
        year(|history, stock, coming| {
            let options =
                Options { season: 7, horizon: 6, clip_at_zero: true, ..Options::default() };
            let window = &history[history.len() - 84..];
            let forecast =
                fit("theta", window, &options).unwrap().forecast(6, &[0.5, 0.95]).unwrap();
            let situation = Situation {
                stock_on_hand: stock,
                on_order: coming,
                lead_time_days: 5.0,
                service_level,
                ..Situation::default()
            };
            propose(&situation, &forecast).unwrap().order_quantity
        })
    };
    let (usual, careful) = (ours(0.95), ours(0.999));
    assert!(usual.0 >= 0.98 && usual.1 < 0.5 * naive.1, "{usual:?} against {naive:?}");
    assert!(careful.0 >= 0.995 && careful.1 < naive.1, "{careful:?} against {naive:?}");
}
