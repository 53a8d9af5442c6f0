//! What `world` promises.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn small() -> Settings {
    Settings { customers: 400, products: 80, history_days: 20, days: 10, ..Settings::default() }
}

fn text(day: &DayFiles, path: &str) -> String {
    let file = day.files.iter().find(|file| file.path.starts_with(path)).unwrap();
    String::from_utf8(file.bytes.clone()).unwrap()
}

/// Rows of an order file that a reader keeps: invoice, product, pieces, cents, customer.
fn sales(day: &DayFiles) -> Vec<(String, String, i64, f64, String)> {
    let rows = text(day, "orders/");
    let keep = |row: &str| {
        let f: Vec<&str> = row.split(',').collect();
        let customer = f.get(6)?.trim_end_matches(".0").to_owned();
        let when = f.get(4)?;
        (when.len() == 19).then_some(())?;
        Some((f[0].into(), f[1].into(), f[3].parse().ok()?, f[5].parse().ok()?, customer))
    };
    rows.lines().skip(1).filter_map(keep).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let run = |seed: u64| {
        let mut world = World::new(seed, small()).unwrap();
        let mut files = world.history();
        let message = Delivery {
            policy: "next_offer".into(),
            decision_id: "d1".into(),
            unit_id: "10005".into(),
            payload: serde_json::json!({"items": world.oracle("10005", 3)}),
        };
        for _ in 0..10 {
            files.push(world.day(world.next_date(), std::slice::from_ref(&message)).unwrap());
        }
        (files, world.truth())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
    assert_eq!(run(7).1.returned_deliveries, 9, "a decision acts once");
}

#[test]
fn a_message_to_one_customer_changes_nobody_elses_wishes() {
    let settings = Settings { customers: 300, ..small() };
    let run = |send: bool| {
        let mut world = World::new(3, settings.clone()).unwrap();
        world.history();
        for shelf in &mut world.shelves {
            shelf.on_hand = 1_000_000;
        }
        let message = Delivery {
            policy: "p".into(),
            decision_id: "d".into(),
            unit_id: "10001".into(),
            payload: serde_json::json!({"items": world.oracle("10001", 3)}),
        };
        let deliveries = if send { vec![message] } else { vec![] };
        let mut rows = sales(&world.day(world.next_date(), &deliveries).unwrap());
        rows.retain(|row| row.4 != "10001");
        let kept: Vec<_> = rows.into_iter().map(|row| (row.1, row.2, row.4)).collect();
        kept
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn the_shop_has_the_size_and_the_dirt_it_should_have() {
    let mut world = World::new(11, Settings::default()).unwrap();
    let days = world.history();
    let (mut rows, mut bad, mut guests, mut cancelled) = (0, 0, 0, 0);
    let mut codes = BTreeSet::new();
    for day in &days {
        rows += text(day, "orders/").lines().count() as u64 - 1;
        bad += day.bad_rows;
        for row in sales(day) {
            guests += u64::from(row.4.is_empty());
            cancelled += u64::from(row.0.starts_with('C'));
            codes.insert(row.1);
        }
    }
    let per_day = rows as f64 / days.len() as f64;
    assert!((300.0..800.0).contains(&per_day), "{per_day} rows a day");
    let share = |count: u64| count as f64 / rows as f64;
    assert!((0.004..0.01).contains(&share(bad)), "bad {}", share(bad));
    assert!((0.005..0.05).contains(&share(guests)), "guests {}", share(guests));
    assert!((0.001..0.02).contains(&share(cancelled)), "cancelled {}", share(cancelled));
    assert!(codes.len() > 170, "{} products were sold", codes.len());
    let files: Vec<&str> = days[0].files.iter().map(|file| file.path.as_str()).collect();
    let day = days[0].date;
    let (stock, orders) = (format!("catalog/stock/{day}.csv"), format!("orders/{day}.csv"));
    assert_eq!(files, ["catalog/customers.csv", "catalog/products.csv", &stock, &orders]);
}

#[test]
fn impossible_shops_days_and_payloads_are_refused() {
    let refused = |settings| World::new(1, settings).unwrap_err().hint_text().is_some();
    assert!(refused(Settings { customers: 0, ..small() }));
    assert!(refused(Settings { products: 3, ..small() }));
    assert!(refused(Settings { days: 0, history_days: 0, ..small() }));
    let mut world = World::new(1, small()).unwrap();
    assert!(world.day(world.settings.start, &[]).is_err(), "history first");
    world.history();
    assert!(world.day(world.settings.start.succ_opt().unwrap(), &[]).is_err());
    let broken = Delivery {
        policy: "p".into(),
        decision_id: "d".into(),
        unit_id: "20001".into(),
        payload: serde_json::json!({"quantity": "lots"}),
    };
    assert!(world.day(world.settings.start, &[broken]).is_err());
    let stranger = Delivery {
        policy: "p".into(),
        decision_id: "d".into(),
        unit_id: "1".into(),
        payload: serde_json::Value::Null,
    };
    world.day(world.settings.start, &[stranger]).unwrap();
    assert_eq!(world.truth().returned_deliveries, 1);
}

/// A stand-in for the project: recommends what sells in a customer's favourite category, never what
/// was bought, once a week, with a fifth of the customers held out, and reorders by a simple rule.
struct StandIn {
    bought: BTreeMap<String, BTreeMap<String, u32>>,
    sold: BTreeMap<String, u32>,
    last: BTreeMap<String, i64>,
    decided: Vec<(String, i64, bool)>,
    orders: BTreeMap<String, Vec<i64>>,
}

const PER_TURN: usize = 500;

impl StandIn {
    fn new() -> Self {
        Self {
            bought: BTreeMap::new(),
            sold: BTreeMap::new(),
            last: BTreeMap::new(),
            decided: Vec::new(),
            orders: BTreeMap::new(),
        }
    }

    fn learn(&mut self, files: &DayFiles, day: i64) {
        for (invoice, product, pieces, _, customer) in sales(files) {
            if customer.is_empty() || invoice.starts_with('C') {
                continue;
            }
            *self.sold.entry(product.clone()).or_default() += pieces as u32;
            *self.bought.entry(customer.clone()).or_default().entry(product).or_default() += 1;
            let orders = self.orders.entry(customer).or_default();
            if orders.last() != Some(&day) {
                orders.push(day);
            }
        }
    }

    fn decide(&mut self, day: i64) -> Vec<Delivery> {
        let mut made = Vec::new();
        let mut best: Vec<(&u32, &String)> = self.sold.iter().map(|(i, n)| (n, i)).collect();
        best.sort_unstable_by(|a, b| b.cmp(a));
        let mut ranked: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for (_, item) in best {
            ranked.entry(&item[..2]).or_default().push(item);
        }
        for (customer, items) in &self.bought {
            if made.len() >= PER_TURN || self.last.get(customer).is_some_and(|at| day - at < 7) {
                continue;
            }
            self.last.insert(customer.clone(), day);
            let treated = flywheel_base::digest::unit_interval("holdout", customer) >= 0.2;
            self.decided.push((customer.clone(), day, treated));
            if treated {
                let mut topics: BTreeMap<&str, u32> = BTreeMap::new();
                for (item, count) in items {
                    *topics.entry(&item[..2]).or_default() += count;
                }
                let mut liked: Vec<(u32, &str)> = topics.into_iter().map(|(t, n)| (n, t)).collect();
                liked.sort_unstable_by(|a, b| b.cmp(a));
                let shelf = liked.iter().filter_map(|(_, topic)| ranked.get(topic)).flatten();
                let new = shelf.filter(|item| !items.contains_key(**item));
                let items: Vec<String> = new.take(3).map(|item| (*item).clone()).collect();
                made.push(Delivery {
                    policy: "next_offer".into(),
                    decision_id: format!("{customer}/{day}"),
                    unit_id: customer.clone(),
                    payload: serde_json::json!({ "items": items }),
                });
            }
        }
        made
    }

    /// Rates of purchase within 7 days and their numbers, of decisions whose week is over:
    /// treated, held out.
    fn rates(&self, today: i64) -> [(f64, f64); 2] {
        let mut arms = [(0.0, 0.0); 2];
        for (customer, day, treated) in self.decided.iter().filter(|(_, day, _)| day + 7 <= today) {
            let orders = &self.orders[customer];
            let bought = orders.iter().any(|at| (day + 1..=day + 7).contains(at));
            let arm = &mut arms[usize::from(!*treated)];
            arm.0 += f64::from(u8::from(bought));
            arm.1 += 1.0;
        }
        arms.map(|(hits, count)| (hits / count, count))
    }
}

fn reorder(world: &World, day: i64) -> Vec<Delivery> {
    let expected = expected_pieces(&world.products, &world.settings);
    let rows = world.products.iter().zip(&world.shelves).zip(expected);
    rows.filter_map(|((product, shelf), pieces)| {
        let mut copy = shelf.clone();
        let before = copy.on_order();
        copy.house_order(product, pieces, day);
        let quantity = copy.on_order() - before;
        (quantity > 0).then(|| Delivery {
            policy: "reorder".into(),
            decision_id: format!("po/{}/{day}", product.code),
            unit_id: product.code.clone(),
            payload: serde_json::json!({ "quantity": quantity }),
        })
    })
    .collect()
}

/// Runs 30 turns and returns the rates of both arms and the truth.
fn loop_of(seed: u64) -> ([(f64, f64); 2], Truth) {
    let mut world = World::new(seed, Settings::default()).unwrap();
    let mut policy = StandIn::new();
    for (day, files) in world.history().iter().enumerate() {
        policy.learn(files, day as i64);
    }
    let mut deliveries = Vec::new();
    for _ in 0..30 {
        let day = world.today;
        let files = world.day(world.next_date(), &deliveries).unwrap();
        policy.learn(&files, day);
        deliveries = policy.decide(day);
        deliveries.extend(reorder(&world, day));
    }
    (policy.rates(world.today - 1), world.truth())
}

/// Two tests share the seeds, so that two cores do.
#[test]
fn the_lift_of_a_sensible_policy_is_found_within_30_days_for_even_seeds() {
    check_lift((0..20).step_by(2));
}

#[test]
fn the_lift_of_a_sensible_policy_is_found_within_30_days_for_odd_seeds() {
    check_lift((1..20).step_by(2));
}

fn check_lift(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let ([treated, held], truth) = loop_of(seed);
        let variance = |(rate, count): (f64, f64)| rate * (1.0 - rate) / count;
        let error = (variance(treated) + variance(held)).sqrt();
        let lift = treated.0 - held.0;
        let expected = &truth.policies[0];
        let seen = format!(
            "seed {seed}: {:.3} against {:.3} (n {}, {}), lift {lift:.3} ± {:.3}, truth {:.3} (random {:.3}, oracle {:.3}, match {:.2}), fill {:.3}",
            treated.0,
            held.0,
            treated.1,
            held.1,
            1.96 * error,
            expected.lift,
            expected.lift_random.unwrap(),
            expected.lift_oracle.unwrap(),
            expected.matched.unwrap(),
            truth.stock.fill_rate(),
        );
        assert!(lift / error > 4.0, "not clear enough: {seen}");
        assert!((lift - expected.lift).abs() < 4.0 * error, "not the truth: {seen}");
        assert!((0.09..0.16).contains(&held.0) && (0.15..0.24).contains(&treated.0), "{seen}");
        assert!(expected.lift_random.unwrap() < 0.3 * expected.lift, "{seen}");
        assert!(expected.lift_oracle.unwrap() > expected.lift, "{seen}");
        assert!(truth.stock.fill_rate() > 0.9, "{seen}");
    }
}

#[test]
fn without_purchase_orders_shelves_run_empty() {
    let mut world = World::new(5, Settings::default()).unwrap();
    world.history();
    for _ in 0..30 {
        world.day(world.next_date(), &[]).unwrap();
    }
    let stock = world.truth().stock;
    assert!(stock.fill_rate() < 0.7, "{}", stock.fill_rate());
    assert!(stock.lost_orders > 0 && stock.lost_revenue > 10_000.0 && stock.empty_shelf_days > 500);
}

#[test]
fn visits_are_the_same_for_a_seed_and_change_nothing_of_the_world() {
    let run = |visited: bool| {
        let mut world = World::new(7, small()).unwrap();
        assert!(world.web_visits(5).is_empty(), "nobody has bought yet");
        let mut files = world.history();
        let mut visits = Vec::new();
        for _ in 0..3 {
            files.push(world.day(world.next_date(), &[]).unwrap());
            if visited {
                visits.push(world.web_visits(12));
            }
        }
        (files, visits)
    };
    let ((files, visits), (again, same)) = (run(true), run(true));
    assert_eq!((&files, &visits), (&again, &same));
    assert_eq!(files, run(false).0, "orders and stock know nothing of visits");
    let catalogues = files.iter().flat_map(|day| &day.files);
    let catalogues = catalogues.filter(|file| file.path == "catalog/products.csv");
    let products: BTreeSet<String> = catalogues
        .flat_map(|file| {
            String::from_utf8(file.bytes.clone())
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter_map(|line| line.split_once(',').map(|(code, _)| code.to_owned()))
        .collect();
    let mut names = BTreeSet::new();
    for visit in visits.iter().flatten() {
        assert!(visit.visit_id.starts_with("simulated-"), "{}", visit.visit_id);
        assert!((1..=3).contains(&visit.viewed.len()));
        assert!(visit.viewed.iter().all(|product| products.contains(product)));
        assert!(names.insert(visit.visit_id.clone()), "{} came twice", visit.customer_id);
    }
    assert_eq!(names.len(), 36);
    assert_ne!(visits[0], visits[1]);
}
