//! How good a packing is, that no quota is exceeded, and what is refused.

use flywheel_base::Rng;

use super::*;

fn chunks(costs: &[u64]) -> Vec<Chunk> {
    let chunk = |(n, cost): (usize, &u64)| Chunk {
        id: format!("c{n:03}"),
        cost: *cost,
        calls: BTreeMap::new(),
    };
    costs.iter().enumerate().map(chunk).collect()
}

/// The best makespan, by trying everything.
fn best(costs: &[u64], loads: &mut Vec<u64>) -> u64 {
    let Some((first, rest)) = costs.split_first() else {
        return loads.iter().copied().max().unwrap_or(0);
    };
    let mut found = u64::MAX;
    for worker in 0..loads.len() {
        loads[worker] += first;
        found = found.min(best(rest, loads));
        loads[worker] -= first;
        if loads[worker] == 0 {
            break;
        }
    }
    found
}

#[test]
fn the_longest_go_first() {
    let packing = pack(&chunks(&[1, 2, 3, 7]), 2).unwrap();
    assert_eq!((packing.makespan, packing.lower_bound), (7, 7));
    assert_eq!(packing.workers[0].chunks, ["c003"]);
    assert_eq!(packing.workers[1].chunks, ["c002", "c001", "c000"]);
}

#[test]
fn a_packing_costs_at_most_four_thirds_of_the_lower_bound() {
    let mut rng = Rng::new(4);
    for case in 0..10_000 {
        let workers = 1 + rng.below(12);
        let most = [3, 10, 1_000, 1_000_000][rng.below(4)];
        let costs: Vec<u64> = match rng.below(3) {
            0 => (0..rng.below(60)).map(|_| rng.below(most) as u64).collect(),
            // what is worst for this rule: two of each size, and one chunk more
            1 => {
                (workers..2 * workers).flat_map(|n| [n as u64; 2]).chain([workers as u64]).collect()
            }
            _ => (0..2 * workers)
                .map(|n| 1_000 + u64::from(n == 0) * rng.below(1_100) as u64)
                .collect(),
        };
        let packing = pack(&chunks(&costs), workers).unwrap();
        let total: u64 = packing.workers.iter().map(|worker| worker.cost).sum();
        assert_eq!(total, costs.iter().sum::<u64>(), "case {case}");
        assert!(
            packing.makespan * 3 <= packing.lower_bound * 4,
            "case {case}: {} over {} for {workers} workers and {costs:?}",
            packing.makespan,
            packing.lower_bound
        );
    }
}

#[test]
fn the_lower_bound_is_never_above_the_best_packing() {
    let mut rng = Rng::new(5);
    for case in 0..2_000 {
        let workers = 1 + rng.below(4);
        let costs: Vec<u64> = (0..rng.below(9)).map(|_| 1 + rng.below(12) as u64).collect();
        let packing = pack(&chunks(&costs), workers).unwrap();
        let best = best(&costs, &mut vec![0; workers]);
        assert!(packing.lower_bound <= best, "case {case}: {costs:?} on {workers}");
        assert!(packing.makespan >= best);
    }
}

fn quota(per_window: u64, used: u64, share: f64) -> BTreeMap<String, Quota> {
    [("daily".to_owned(), Quota { per_window, used, share })].into()
}

fn calling(calls: &[u64]) -> Vec<Chunk> {
    let mut made = chunks(calls);
    for (chunk, calls) in made.iter_mut().zip(calls) {
        chunk.calls.insert("daily".into(), *calls);
    }
    made
}

#[test]
fn a_quota_is_never_exceeded_and_the_rest_waits_for_the_next_window() {
    let plan = schedule(&calling(&[30, 20, 20, 10]), 2, &quota(100, 60, 0.5)).unwrap();
    let taken: Vec<u64> = plan.windows.iter().map(|window| window.calls["daily"]).collect();
    assert_eq!(taken, [40, 40], "{:?}", plan.words);
    assert!(plan.words[0].contains("40 of the 40 calls of daily"), "{:?}", plan.words);
    assert!(plan.words[1].contains("in window 1 after this one"));
    let mut rng = Rng::new(6);
    for _ in 0..500 {
        let calls: Vec<u64> = (0..rng.below(40)).map(|_| rng.below(30) as u64).collect();
        let quotas = quota(100, rng.below(120) as u64, 0.3);
        let plan = schedule(&calling(&calls), 3, &quotas).unwrap();
        let planned: usize =
            plan.windows.iter().flat_map(|w| &w.packing.workers).map(|w| w.chunks.len()).sum();
        assert_eq!(planned, calls.len());
        for window in &plan.windows {
            assert!(window.calls["daily"] <= quotas["daily"].left(window.number));
        }
    }
}

#[test]
fn impossible_plans_are_refused_with_the_fix() {
    let refused = |chunks: &[Chunk], workers, quotas| {
        let error = schedule(chunks, workers, &quotas).unwrap_err();
        assert!(error.hint_text().is_some(), "{error}");
        error.message().to_owned()
    };
    assert!(refused(&calling(&[40]), 1, quota(100, 0, 0.3)).contains("40 calls, but 30"));
    assert!(refused(&calling(&[1]), 1, BTreeMap::new()).contains("unknown quota \"daily\""));
    assert!(refused(&calling(&[1]), 0, quota(100, 0, 0.3)).contains("0 workers"));
    assert!(refused(&calling(&[1]), 1, quota(100, 0, 3.0)).contains("share of 3"));
    let twice = [chunks(&[1]), chunks(&[2])].concat();
    assert!(refused(&twice, 1, BTreeMap::new()).contains("two chunks"));
}
