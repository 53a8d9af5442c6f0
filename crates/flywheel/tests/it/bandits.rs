//! Bandits, challengers and experiments: what they learn, how honest their log is, and what proves a promotion.

use std::collections::BTreeMap;
use std::time::Duration;

use flywheel_base::{Rng, Timestamp};
use serde_json::{Value, json};

use crate::house::{House, binary};
use crate::serve::Served;

/// The chance of an order the day after each action, for customers of segment `a` and `b`.
const TRUTH: [(&str, f64, f64); 3] =
    [("reminder", 0.6, 0.1), ("discount", 0.1, 0.6), ("silence", 0.1, 0.1)];

/// What an even choice earns a decision.
const EVEN: f64 = (0.7 + 0.7 + 0.2) / 6.0;

const CONTEXT: &str =
    "context: [{column: segment, values: [a]}, {column: age, centre: 40, scale: 20}]";

const ORDERS_HEAD: &str = "order_id,customer_id,at,revenue\n";

/// A shop of so many customers, with the learners and the policy that a test is about.
fn shop(customers: usize, learners: &[(&str, &str)], policy: &str) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: customers\n    options: {path: 'customers.csv'}\n    read: full\n    write: replace\n  - stream: orders\n    options: {path: 'orders-*.csv', dated: 'orders-%Y-%m-%d.csv'}\n    read: incremental\n    write: append\n    columns: [{name: order_id, type: text}, {name: customer_id, type: text}, {name: at, type: timestamp}, {name: revenue, type: float64}]\n",
    );
    let lines: String = (0..customers)
        .map(|id| format!("c{id:04},{},{}\n", segment(&format!("c{id:04}")), 20 + id % 41))
        .collect();
    house.write("data/customers.csv", format!("customer_id,segment,age\n{lines}"));
    house.write("data/orders-2024-05-01.csv", ORDERS_HEAD);
    house.write(
        "actions/send.yaml",
        "action: send\ntype: file\noptions: {path: 'out/{policy}/{turn}.jsonl'}\n",
    );
    for (name, bandit) in learners {
        house.write(
            &format!("learners/{name}.yaml"),
            format!("learner: {name}\nbandit:\n  policy: offer\n  actions: [reminder, discount, silence]\n{bandit}"),
        );
    }
    house.write(
        "policies/offer.yaml",
        format!(
            "policy: offer\naudience: select customer_id as unit_id, segment, age from {{{{ source('raw', 'customers') }}}}\naction: send\noutcome:\n  events: select order_id as event_id, customer_id as unit_id, at, revenue as value from {{{{ source('raw', 'orders') }}}}\n  window: 1d\nholdout: 10%\n{policy}"
        ),
    );
    house
}

/// The segment of a customer: every other one is in `a`.
fn segment(customer: &str) -> &'static str {
    if customer.ends_with(['0', '2', '4', '6', '8']) { "a" } else { "b" }
}

fn day(number: i64) -> String {
    Timestamp::parse("2024-05-01").unwrap().plus_micros(number * 86_400_000_000).date()
}

/// Rows of a query as JSON objects.
fn objects(house: &House, query: &str) -> Vec<BTreeMap<String, Value>> {
    serde_json::from_str(&house.ok(&["sql", query, "--output", "json"])).unwrap()
}

/// Turns the wheel for so many days in a world that answers each action by the known law.
fn live(house: &House, from: i64, days: i64, rng: &mut Rng) {
    for number in from..from + days {
        house.ok(&["turn", "--replay", &day(number)]);
        let decided = format!(
            "select unit_id, action from system.decisions where cast(decided_at as date) = date '{}' order by unit_id",
            day(number)
        );
        let mut orders = String::from(ORDERS_HEAD);
        for line in house.sql(&decided) {
            let (unit, action) = line.split_once(',').unwrap();
            let law = TRUTH.iter().find(|(name, _, _)| *name == action);
            let (_, of_a, of_b) = law.unwrap_or(&("none", 0.1, 0.1));
            if rng.chance(if segment(unit) == "a" { *of_a } else { *of_b }) {
                let next = day(number + 1);
                orders.push_str(&format!("o{number}{unit},{unit},{next} 12:00:00,20\n"));
            }
        }
        house.write(&format!("data/orders-{}.csv", day(number + 1)), orders);
    }
}

/// What treated decisions of these days earned, by outcomes.
fn earned(house: &House, from: i64, to: i64) -> f64 {
    let query = format!(
        "select avg(case when o.decision_id is null then 0.0 else 1.0 end) from system.decisions d
         left join (select distinct decision_id from system.outcomes) o on o.decision_id = d.decision_id
         where d.arm = 'treatment' and cast(d.decided_at as date) between date '{}' and date '{}'",
        day(from),
        day(to)
    );
    house.cell(&query).parse().unwrap()
}

#[test]
fn thirty_days_of_a_bandit_earn_more_than_an_even_choice_and_its_log_is_honest() {
    let house = shop(
        120,
        &[("best", &format!("  {CONTEXT}\n  algorithm: lin-thompson\n  explore: 6%\n"))],
        "choose: {bandit: {learner: best, candidates: [{name: silence}, {name: reminder}, {name: discount, payload: {percent: 10}}]}}\npayload: {hoped: $expected_reward}\n",
    );
    live(&house, 0, 30, &mut Rng::new(8));
    house.ok(&["turn", "--replay", &day(30)]);
    let late = earned(&house, 15, 29);
    assert!(late > 1.6 * EVEN, "{late} beside {EVEN}");

    let rows = objects(
        &house,
        "select unit_id, arm, action, propensity, chances, payload from system.decisions",
    );
    let mut surprise: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for row in &rows {
        let chances = row["chances"].as_str().unwrap();
        let chances: BTreeMap<String, f64> = serde_json::from_str(chances).unwrap();
        assert!((chances.values().sum::<f64>() - 1.0).abs() < 1e-9, "{chances:?}");
        assert!(chances.values().all(|chance| *chance >= 0.02 - 1e-12), "the floor: {chances:?}");
        if row["arm"] == "holdout" {
            assert_eq!((&row["propensity"], &row["payload"]), (&0.1.into(), &Value::Null));
            continue;
        }
        let (action, chance) = (row["action"].as_str().unwrap(), row["propensity"].as_f64());
        assert!((chance.unwrap() - 0.9 * chances[action]).abs() < 1e-12, "{row:?}");
        let sent = row["payload"].as_str().unwrap();
        assert_eq!(sent.contains("\"percent\":10"), action == "discount", "{sent}");
        assert!(sent.contains("\"hoped\""), "{sent}");
        for (name, chance) in chances {
            let (away, variance) = surprise.entry(name.clone()).or_default();
            *away += f64::from(u8::from(name == action)) - chance;
            *variance += chance * (1.0 - chance);
        }
    }
    for (name, (away, variance)) in surprise {
        assert!(away.abs() < 4.0 * variance.sqrt(), "{name} is not drawn as logged: {away}");
    }

    // Every decision whose window has closed is learned, and none twice.
    let closed = house.cell(&format!(
        "select count(*) from system.decisions where arm = 'treatment' and cast(decided_at as date) <= date '{}'",
        day(29)
    ));
    assert_eq!(house.cell("select sum(decisions) from learn.best"), closed);
    assert_eq!(house.cell("select sum(decisions) from learn.best where reward is null"), "");
    let beats = "select count(*) from system.evaluations where learner = 'best' and measure like 'reward%' and value > baseline";
    assert!(house.cell(beats).parse::<usize>().unwrap() > 15);

    // Each decision follows again from its features, seed and artifact.
    let again = house.ok(&["policy", "verify", "offer", "--output", "json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(
        (again["same"].as_u64(), &again["different"]),
        (Some(rows.len() as u64), &Vec::<Value>::new().into())
    );
    let one = house.cell("select decision_id from system.decisions order by decision_id limit 1");
    assert!(
        house
            .ok(&["policy", "verify", "offer", "--decision", &one, "--output", "csv"])
            .contains("1,0,0")
    );
    house.fails(2, &["policy", "verify", "offer", "--decision", "abc"]);

    // The even choice is known: its value is estimated with the right interval, and it is not promoted.
    let judged =
        house.ok(&["policy", "evaluate", "offer", "--against", "even", "--output", "json"]);
    let judged: Value = serde_json::from_str(&judged).unwrap();
    let value = &judged["verdict"]["estimates"]["dr"]["value"];
    let (low, high) = (value["low"].as_f64().unwrap(), value["high"].as_f64().unwrap());
    assert!(low < EVEN && EVEN < high && high - low < 0.2, "{value} should hold {EVEN}");
    assert!(!judged["verdict"]["refusals"].as_array().unwrap().is_empty());
    assert_eq!(judged["without_context"], 0);
    assert!(judged["first"].as_str().unwrap().starts_with("2024-05-01"), "{judged}");
    let bound = judged["verdict"]["estimates"]["bound"].as_f64().unwrap();
    assert!((0.0..EVEN).contains(&bound), "{bound}");
}

#[test]
fn a_better_challenger_is_promoted_by_evidence_and_taken_back_by_one_command() {
    let house = shop(
        240,
        &[
            ("counts", "  algorithm: beta-thompson\n  explore: 60%\n"),
            ("best", &format!("  {CONTEXT}\n")),
            ("worse", "  algorithm: epsilon-greedy\n  explore: 100%\n"),
        ],
        "choose: {bandit: {learner: counts}}\n",
    );
    let mut rng = Rng::new(3);
    live(&house, 0, 3, &mut rng);
    let early = house.fails(3, &["policy", "promote", "offer", "best"]);
    assert!(early.contains("1000 are asked for") && early.contains("--despite"), "{early}");
    live(&house, 3, 12, &mut rng);

    let refused = house.fails(3, &["policy", "promote", "offer", "worse"]);
    assert!(refused.contains("gain a decision"), "{refused}");
    let shown = house.ok(&["policy", "evaluate", "offer", "--against", "best"]);
    assert!(shown.contains("best by dr") && shown.contains("suffices for a promotion"), "{shown}");
    house.fails(2, &["policy", "promote", "offer", "even"]);
    house.fails(2, &["policy", "promote", "offer", "counts"]);
    let unknown = house.fails(2, &["policy", "evaluate", "offer", "--against", "bst"]);
    assert!(unknown.contains("best"), "{unknown}");
    let none = house.fails(2, &["policy", "rollback", "offer"]);
    assert!(none.contains("no promotion"), "{none}");

    house.ok(&["policy", "promote", "offer", "best"]);
    let status = house.ok(&["status"]);
    assert!(status.contains("decided by learner \"best\", promotion 1"), "{status}");
    let who = |number: i64| {
        house.cell(&format!(
            "select distinct a.learner from system.decisions d join system.artifacts a on a.digest = d.artifact
             where cast(d.decided_at as date) = date '{}'",
            day(number)
        ))
    };
    live(&house, 15, 2, &mut rng);
    assert_eq!((who(14), who(15)), ("counts".to_owned(), "best".to_owned()));
    // Held at an artifact, it decides by that one while it learns on.
    let old = house.cell("select digest from system.artifacts where learner = 'counts' order by fitted_at desc limit 1 offset 1");
    let held = format!("counts@{}", &old[..16]);
    house.ok(&["policy", "promote", "offer", &held, "--despite", "a trial"]);
    live(&house, 17, 1, &mut rng);
    let artifact = format!(
        "select distinct artifact from system.decisions where cast(decided_at as date) = date '{}'",
        day(17)
    );
    assert_eq!(house.cell(&artifact), old);
    house.ok(&["policy", "rollback", "offer", "--reason", "the trial is over"]);
    live(&house, 18, 1, &mut rng);
    assert_eq!(who(18), "best");
    house.ok(&["policy", "rollback", "offer"]);
    live(&house, 19, 1, &mut rng);
    assert_eq!(who(19), "counts");
    assert_eq!(
        house.sql(
            "select number, learner, undoes, reason from system.promotions where undoes is not null"
        ),
        ["3,best,2,the trial is over", "4,counts,1,taken back by hand"]
    );
    assert_eq!(
        house.cell("select reason from system.promotions where number = 2"),
        "despite the evidence: a trial"
    );
}

#[test]
fn a_promotion_that_does_harm_is_taken_back_by_itself() {
    let house = shop(
        400,
        &[("first", "  explore: 100%\n"), ("second", "  explore: 50%\n")],
        "choose: {bandit: {learner: first}}\nguardrails: {min_units: 100}\n",
    );
    let policy = house.read("policies/offer.yaml").replace("holdout: 10%", "holdout: 50%");
    house.write("policies/offer.yaml", policy);
    house.ok(&["turn", "--replay", &format!("{}..{}", day(0), day(1))]);
    house.ok(&["policy", "promote", "offer", "second", "--despite", "a wish"]);
    house.ok(&["turn", "--replay", &day(2)]);
    // From then on only those who are left alone buy.
    let mut orders = String::from(ORDERS_HEAD);
    let held =
        "select distinct unit_id from system.decisions where arm = 'holdout' order by unit_id";
    for unit in house.sql(held) {
        orders.push_str(&format!("o{unit},{unit},{} 10:00:00,5\n", day(3)));
    }
    house.write(&format!("data/orders-{}.csv", day(3)), orders);
    house.ok(&["turn", "--replay", &day(3)]);
    let last = "select learner, undoes, reason from system.promotions order by number desc limit 1";
    assert!(house.cell(last).starts_with("first,1,\"guardrail: lift -"), "{}", house.cell(last));
    assert!(!house.ok(&["status"]).contains("PAUSED"));
    // What another learner in the file has ended does not come back with the old one.
    house.ok(&["policy", "promote", "offer", "second", "--despite", "a wish"]);
    let policy = house.read("policies/offer.yaml");
    house.write("policies/offer.yaml", policy.replace("learner: first", "learner: second"));
    house.ok(&["turn", "--replay", &day(4)]);
    house.write("policies/offer.yaml", policy);
    house.ok(&["turn", "--replay", &day(5)]);
    let ended = "select learner, undoes, reason from system.promotions where number = 4";
    assert_eq!(house.cell(ended), "second,3,its policy's file names another learner");
    assert!(!house.ok(&["status"]).contains("promotion 3"));
}

#[test]
fn a_challenger_that_earns_more_is_tried_on_a_growing_share_and_promoted_by_turns_alone() {
    let house = shop(
        400,
        &[
            ("counts", "  algorithm: beta-thompson\n  explore: 60%\n"),
            ("best", &format!("  {CONTEXT}\n")),
            ("worse", "  algorithm: epsilon-greedy\n  explore: 100%\n"),
        ],
        "choose: {bandit: {learner: counts, canary: {challengers: [worse, best], shares: [10%, 50%], min_units: 25}}}\n",
    );
    let mut rng = Rng::new(5);
    live(&house, 0, 14, &mut rng);
    let moves = house
        .sql("select number, canary, move, learner, share from system.canaries order by number");
    assert_eq!(
        moves,
        ["1,1,started,best,0.1", "2,1,raised,best,0.5", "3,1,promoted,best,1.0"],
        "the worse one is never tried"
    );
    let promotion = house.cell("select reason from system.promotions");
    assert!(promotion.contains("canary 1: it is shown to be better, gain +0."), "{promotion}");
    let late = format!(
        "select count(*) from system.decisions d join system.artifacts a on a.digest = d.artifact
         where a.learner <> 'best' and cast(d.decided_at as date) = date '{}'",
        day(13)
    );
    assert_eq!(house.cell(&late), "0", "it decides for everybody");

    // While it was tried it had its share of units, and those that it had first it kept.
    let share =
        "select round(avg(case when canary = 1 then 1.0 else 0.0 end), 1) from system.decisions
                 where decided_at >= (select at from system.canaries where number = 2)
                   and decided_at < (select at from system.canaries where number = 3)";
    assert_eq!(house.cell(share), "0.5");
    let lost = "select count(*) from (select unit_id from system.decisions where canary = 1
                  and decided_at < (select at from system.canaries where number = 2)) f
                where unit_id not in (select unit_id from system.decisions where canary = 1
                  and decided_at >= (select at from system.canaries where number = 2))";
    assert_eq!(house.cell(lost), "0");
    // A challenger's decisions are proved like all others, by the artifact that made them.
    let again = house.ok(&["policy", "verify", "offer", "--output", "json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["different"], Value::Array(Vec::new()));

    // Nothing moves twice, and what harm is done by hand is ended by the next turns.
    house.ok(&["policy", "promote", "offer", "worse", "--despite", "a wish"]);
    let twice = house.fails(2, &["policy", "promote", "offer", "counts", "--despite", "another"]);
    assert!(twice.contains("tries learner \"worse\" already"), "{twice}");
    let status = house.ok(&["status"]);
    assert!(status.contains("learner \"worse\" on trial for 10 % of units, canary 4"), "{status}");
    live(&house, 14, 6, &mut rng);
    let end = house.cell("select move || ' ' || reason from system.canaries where canary = 4 order by number desc limit 1");
    assert!(end.contains("rolled-back it is shown to be worse, gain -0."), "{end}");
    assert_eq!(house.cell("select count(*) from system.promotions"), "1");
    house.ok(&["policy", "promote", "offer", "worse", "--despite", "once more"]);
    house.ok(&["policy", "rollback", "offer", "--reason", "enough"]);
    let end = "select move || ' ' || reason from system.canaries order by number desc limit 1";
    assert_eq!(house.cell(end), "rolled-back enough");
}

#[test]
fn a_small_audience_is_tried_on_a_share_that_gives_units_enough() {
    let house = shop(
        400,
        &[("first", "  explore: 100%\n"), ("second", "  explore: 50%\n")],
        "choose: {bandit: {learner: first, canary: {}}}\n",
    );
    house.ok(&["turn", "--replay", &format!("{}..{}", day(0), day(1))]);
    house.ok(&["policy", "promote", "offer", "second", "--despite", "a wish"]);
    // 360 are decided for at a turn: 25 % of them are 90, and a stage asks for 100.
    assert_eq!(house.cell("select share from system.canaries"), "0.5");
    house.ok(&["turn", "--replay", &day(2)]);
    let share =
        "select round(avg(case when canary = 1 then 1.0 else 0.0 end), 1) from system.decisions
                 where decided_at > (select at from system.canaries) and arm = 'treatment'";
    assert!(["0.4", "0.5", "0.6"].contains(&&*house.cell(share)), "{}", house.cell(share));
}

#[test]
fn a_canary_that_cannot_be_is_refused_with_its_place() {
    let canary = |canary: &str| {
        shop(
            4,
            &[("first", ""), ("second", "")],
            &format!("choose: {{bandit: {{learner: first, canary: {{{canary}}}}}}}\n"),
        )
    };
    for (wrong, said) in [
        ("challengers: [first]", "\"first\" decides already"),
        ("challengers: [secnd]", "Did you mean \"second\"?"),
        ("shares: [50%, 10%]", "must lie between 0% and 100% and rise"),
        ("shares: [100%]", "must lie between 0% and 100% and rise"),
        ("share: [10%]", "shares"),
    ] {
        let text = canary(wrong).fails(2, &["check"]);
        assert!(text.contains(said) && text.contains("policies/offer.yaml:"), "{text}");
    }
    canary("challengers: [second], shares: [10%, 50%]").ok(&["check"]);
}

#[test]
fn a_late_order_is_learned_if_decisions_settle_and_a_changed_file_learns_anew() {
    let house = shop(
        40,
        &[("prompt", "  explore: 100%\n"), ("patient", "  explore: 100%\n  settle: 2d\n")],
        "choose: {bandit: {learner: prompt}}\nevery: 30d\n",
    );
    house.ok(&["turn", "--replay", &day(0)]);
    // One order in time, one that arrives three days late, both of the day after the decision.
    let treated =
        house.sql("select unit_id from system.decisions where arm = 'treatment' order by unit_id");
    let order = |id: &str, unit: &str| format!("{ORDERS_HEAD}{id},{unit},{} 10:00:00,5\n", day(1));
    house.write(&format!("data/orders-{}.csv", day(1)), order("in-time", &treated[0]));
    house.ok(&["turn", "--replay", &day(1)]);
    let learned = |learner: &str| {
        house.cell(&format!("select sum(decisions), round(sum(coalesce(reward * decisions, 0))) from learn.{learner}"))
    };
    let all = treated.len();
    assert_eq!(learned("prompt"), format!("{all},1.0"));
    assert_eq!(learned("patient"), "0,0.0", "not before it has settled");
    house.write(&format!("data/orders-{}.csv", day(2)), order("late", &treated[1]));
    house.ok(&["turn", "--replay", &format!("{}..{}", day(2), day(4))]);
    assert_eq!(house.cell("select count(*) from system.outcomes"), "2");
    assert_eq!(learned("prompt"), format!("{all},1.0"), "what was learned stays");
    assert_eq!(learned("patient"), format!("{all},2.0"));
    let file = house.read("learners/prompt.yaml").replace("100%", "90%");
    house.write("learners/prompt.yaml", file);
    house.ok(&["turn", "--replay", &day(5)]);
    assert_eq!(learned("prompt"), format!("{all},2.0"), "anew from the log, late orders too");
}

#[test]
fn outcomes_that_cannot_be_read_hold_up_their_policy_alone_and_are_made_up_for() {
    let made = || {
        let house = shop(
            40,
            &[("best", "  explore: 100%\n")],
            "choose: {bandit: {learner: best}}\nevery: 1d\n",
        );
        let offer = house.read("policies/offer.yaml");
        let credited = "  window: 1d\n  attribution: {methods: [last-touch]}\n";
        let offer = offer.replace("  window: 1d\n", credited);
        house.write("policies/offer.yaml", &offer);
        let other = offer.replace("policy: offer", "policy: other");
        let plain = "choose: {candidates: [{name: hello}]}";
        let other = other.replace("choose: {bandit: {learner: best}}", plain);
        house.write("policies/other.yaml", other);
        for number in 1..8_i64 {
            let mut orders = String::from(ORDERS_HEAD);
            for id in (0..40).filter(|id| id % 3 == number % 3) {
                orders.push_str(&format!("o{number}-{id},c{id:04},{} 12:00:00,20\n", day(number)));
            }
            house.write(&format!("data/orders-{}.csv", day(number)), orders);
        }
        house
    };
    let (whole, broken) = (made(), made());
    whole.ok(&["turn", "--replay", &format!("{}..{}", day(0), day(6))]);
    broken.ok(&["turn", "--replay", &format!("{}..{}", day(0), day(2))]);
    let measured = |house: &House, turn: i64| {
        house.sql(&format!(
            "select policy || ' ' || measured from system.lift where turn = {turn} order by policy"
        ))
    };
    let learned =
        "select sum(decisions), round(sum(coalesce(reward * decisions, 0))) from learn.best";
    let (known, stood) = (broken.cell(learned), measured(&broken, 3));

    let file = broken.read("policies/offer.yaml");
    let unit = file.replace("customer_id as unit_id, at,", "customer_id as unit, at,");
    assert_ne!(unit, file);
    broken.write("policies/offer.yaml", unit);
    let said = broken.fails(3, &["turn", "--replay", &day(3)]);
    let place = "policies/offer.yaml:1: policy \"offer\": outcome events: the query has no column";
    assert!(said.contains(place) && said.contains("no window of this policy closes"), "{said}");
    // It decides by what it knew, and nothing is learned or measured of it; the other one goes on.
    let decided = "select count(*) from system.decisions where policy = 'offer' and turn = 4";
    assert_eq!(broken.cell(decided), "40");
    assert_eq!(broken.cell(learned), known);
    let stands = measured(&broken, 4);
    assert_eq!(stands[0], stood[0]);
    assert_ne!(stands[1], stood[1]);
    let joined = "select distinct policy from system.outcomes where turn = 4";
    assert_eq!(broken.sql(joined), ["other"]);
    let since = format!("OUTCOMES NOT READ since {}", day(2));
    let status = broken.ok(&["status"]);
    assert!(status.contains(&since) && !status.contains("cut off"), "{status}");
    let status: Value = serde_json::from_str(&broken.ok(&["status", "--output", "json"])).unwrap();
    let unread = |at: usize| status["policies"][at]["unread"].as_str();
    assert!(unread(0).unwrap().contains("outcome events") && unread(1).is_none(), "{status}");

    // The next day something else is wrong; the clock of its outcomes still stands where it stood.
    broken.write("policies/offer.yaml", file.replace("revenue as value", "revenu as value"));
    assert!(broken.fails(3, &["turn", "--replay", &day(4)]).contains("revenu"));
    assert!(broken.ok(&["status"]).contains(&since));
    assert_eq!(broken.cell(learned), known);

    broken.write("policies/offer.yaml", &file);
    broken.ok(&["turn", "--replay", &format!("{}..{}", day(5), day(6))]);
    let all =
        "select o.policy, o.event_id, o.unit_id, o.value, o.attribution, cast(d.decided_at as date)
               from system.outcomes o join system.decisions d on d.decision_id = o.decision_id
               order by o.policy, o.event_id";
    assert_eq!(broken.sql(all), whole.sql(all), "as if it had been read on time");
    let credits = "select policy, event_id, unit_id, last_touch, cast(touched_at as date) from system.credits order by policy, event_id";
    assert_eq!(broken.sql(credits), whole.sql(credits));
    assert!(broken.sql(credits).iter().any(|credit| credit.starts_with("offer,o4-")));
    assert_eq!(measured(&broken, 7), measured(&whole, 7));
    let closed = format!(
        "select count(*), round(cast(count(o.decision_id) as double)) from system.decisions d
         left join (select distinct decision_id from system.outcomes) o on o.decision_id = d.decision_id
         where d.policy = 'offer' and d.arm = 'treatment' and cast(d.decided_at as date) <= date '{}'",
        day(5)
    );
    assert_eq!(broken.cell(learned), broken.cell(&closed));
    assert!(!broken.ok(&["status"]).contains("NOT READ"));
}

#[test]
fn a_trial_stays_as_it_is_while_outcomes_cannot_be_read() {
    let house = shop(
        400,
        &[("first", "  explore: 100%\n"), ("second", "  explore: 50%\n")],
        "choose: {bandit: {learner: first, canary: {patience: 2d}}}\n",
    );
    house.ok(&["turn", "--replay", &format!("{}..{}", day(0), day(1))]);
    house.ok(&["policy", "promote", "offer", "second", "--despite", "a wish"]);
    house.ok(&["turn", "--replay", &day(2)]);
    let file = house.read("policies/offer.yaml");
    house.write("policies/offer.yaml", file.replace("revenue as value", "revenu as value"));
    for number in 3..7 {
        house.fails(3, &["turn", "--replay", &day(number)]);
    }
    let moves = "select count(*) from system.canaries";
    assert_eq!(house.cell(moves), "1", "its patience is over, and nothing is known");
    let tried = "select count(*) > 0 from system.decisions where canary = 1 and turn = 7";
    assert_eq!(house.cell(tried), "true");
    house.write("policies/offer.yaml", file);
    house.ok(&["turn", "--replay", &day(7)]);
    assert_eq!(house.cell(moves), "2");
}

/// How often a replay is killed before it may end.
const KILLS: u64 = 12;

#[test]
fn a_bandit_that_is_killed_anywhere_learns_each_decision_once() {
    let world = |house: &House| {
        let mut rng = Rng::new(21);
        for number in 1..8 {
            let mut orders = String::from(ORDERS_HEAD);
            for customer in 0..60 {
                if rng.chance(0.3) {
                    orders.push_str(&format!(
                        "o{number}-{customer},c{customer:04},{} 09:00:00,{}\n",
                        day(number),
                        rng.below(40)
                    ));
                }
            }
            house.write(&format!("data/orders-{}.csv", day(number)), orders);
        }
    };
    let made = || {
        let house = shop(
            60,
            &[(
                "best",
                &format!(
                    "  {CONTEXT}\n  reward: value\n  value_max: 40\n  half_life_rewards: 200\n"
                ),
            )],
            "choose: {bandit: {learner: best}}\n",
        );
        world(&house);
        house
    };
    let (peace, killed) = (made(), made());
    let span = format!("{}..{}", day(0), day(7));
    peace.ok(&["turn", "--replay", &span]);
    let mut rng = Rng::new(2);
    let mut kills = 0;
    loop {
        let mut child = binary()
            .arg("-C")
            .arg(killed.dir())
            .args(["turn", "--replay", &span])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        if kills == KILLS {
            assert!(child.wait().unwrap().success(), "after {kills} kills");
            break;
        }
        std::thread::park_timeout(Duration::from_millis(20 + rng.below(400) as u64));
        if child.try_wait().unwrap().is_some_and(|status| status.success()) {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    for query in [
        "select * from learn.best order by action",
        "select decision_id, action, propensity, chances, artifact from system.decisions order by decision_id",
        "select distinct learner, fitted_at, digest from system.artifacts order by fitted_at",
        "select at, measure, value, baseline from system.evaluations order by at, measure",
    ] {
        assert_eq!(killed.sql(query), peace.sql(query), "after {kills} kills: {query}");
    }
}

#[test]
fn an_experiment_finds_the_better_variant_and_stops_one_that_does_harm() {
    let house = shop(
        600,
        &[],
        "every: 2d\nchoose:\n  experiment:\n    variants: [{name: plain}, {name: bold, payload: {style: bold}}]\n    smallest_effect: 0.1\n    pre_period: select customer_id as unit_id, age as value from {{ source('raw', 'customers') }}\n    guardrails:\n      - name: returns\n        better: lower\n        harm_max: 10%\n        events: select order_id as event_id, customer_id as unit_id, at from {{ source('raw', 'orders') }} where revenue < 0\n",
    );
    house.ok(&["turn", "--replay", &day(0)]);
    let first = house.sql(
        "select unit_id, action from system.decisions where arm = 'treatment' order by unit_id",
    );
    let mut rng = Rng::new(4);
    let mut orders = String::from(ORDERS_HEAD);
    for (number, line) in first.iter().enumerate() {
        let (unit, variant) = line.split_once(',').unwrap();
        let (buys, returns) = if variant == "bold" { (0.45, 0.3) } else { (0.15, 0.02) };
        if rng.chance(buys) {
            orders.push_str(&format!("o{number},{unit},{} 10:00:00,5\n", day(1)));
        }
        if rng.chance(returns) {
            orders.push_str(&format!("r{number},{unit},{} 11:00:00,-5\n", day(1)));
        }
    }
    house.write(&format!("data/orders-{}.csv", day(1)), orders);
    house.ok(&["turn", "--replay", &day(1)]);
    let rows = house.sql(
        "select metric, variant, control, standing, split_p > 0.001, lower > 0, variance_saved is not null from system.experiments where turn = 2 and metric <> 'value' and kind <> 'before' order by metric",
    );
    assert_eq!(
        rows,
        ["outcome,bold,plain,better,true,true,true", "returns,bold,plain,breached,true,true,false"]
    );
    let status = house.ok(&["status"]);
    assert!(status.contains("PAUSED: guardrail \"returns\""), "{status}");
    let shown = house.ok(&["experiment", "show", "offer"]);
    assert!(shown.contains("breached") && shown.contains("better"), "{shown}");

    let plan: Value =
        serde_json::from_str(&house.ok(&["experiment", "plan", "offer", "--output", "json"]))
            .unwrap();
    let (units, often) =
        (plan["units"].as_u64().unwrap(), plan["units_always_valid"].as_u64().unwrap());
    assert!((300..2_000).contains(&units) && often > units, "{plan}");
    assert_eq!(plan["audience"], 600);
    house.fails(2, &["experiment", "plan", "offer", "--effect", "0"]);
    let wrong = house.fails(2, &["experiment", "plan", "ofer"]);
    assert!(wrong.contains("offer"), "{wrong}");

    // A unit keeps its variant; another salt assigns anew and begins the comparison anew.
    house.ok(&["policy", "resume", "offer"]);
    house.ok(&["turn", "--replay", &day(2)]);
    let again = format!(
        "select unit_id, action from system.decisions where arm = 'treatment' and cast(decided_at as date) = date '{}' order by unit_id",
        day(2)
    );
    assert_eq!(house.sql(&again), first);
    let file = house
        .read("policies/offer.yaml")
        .replace("    smallest_effect", "    salt: two\n    smallest_effect");
    house.write("policies/offer.yaml", file);
    let standing = house.ok(&["experiment", "show", "offer", "--output", "json"]);
    let standing: Value = serde_json::from_str(&standing).unwrap();
    assert!(
        standing.as_array().unwrap().iter().all(|row| row["units"].is_null() || row["units"] == 0),
        "{standing}"
    );
}

#[test]
fn guardrails_are_watched_although_outcome_and_others_cannot_be_read() {
    let house = shop(
        600,
        &[],
        "every: 2d\nchoose:\n  experiment:\n    variants: [{name: plain}, {name: bold}]\n    guardrails:\n      - name: calls\n        better: lower\n        harm_max: 10%\n        events: select order_id as event_id, customer_id as unit_id, att as at from {{ source('raw', 'orders') }}\n      - name: returns\n        better: lower\n        harm_max: 10%\n        events: select order_id as event_id, customer_id as unit_id, at from {{ source('raw', 'orders') }} where revenue < 0\n",
    );
    house.ok(&["turn", "--replay", &day(0)]);
    let first =
        "select unit_id, action from system.decisions where arm = 'treatment' order by unit_id";
    let mut rng = Rng::new(4);
    let mut orders = String::from(ORDERS_HEAD);
    for (number, line) in house.sql(first).iter().enumerate() {
        let (unit, variant) = line.split_once(',').unwrap();
        if rng.chance(0.4) {
            orders.push_str(&format!("o{number},{unit},{} 10:00:00,5\n", day(1)));
        }
        if rng.chance(if variant == "bold" { 0.4 } else { 0.02 }) {
            orders.push_str(&format!("r{number},{unit},{} 11:00:00,-5\n", day(1)));
        }
    }
    house.write(&format!("data/orders-{}.csv", day(1)), orders);
    let file = house.read("policies/offer.yaml");
    house.write("policies/offer.yaml", file.replace("revenue as value", "revenu as value"));
    let said = house.fails(3, &["turn", "--replay", &day(1)]);
    assert!(said.contains("guardrail \"calls\": unknown column \"att\""), "{said}");
    assert!(said.contains("policy \"offer\": outcome events"), "{said}");
    let rows = "select metric, standing, rate is null from system.experiments where turn = 2 order by metric";
    assert_eq!(
        house.sql(rows),
        ["calls,unmeasured,true", "outcome,unmeasured,true", "returns,breached,false"]
    );
    let status = house.ok(&["status"]);
    assert!(status.contains("PAUSED: guardrail \"returns\""), "{status}");

    house.write("policies/offer.yaml", file);
    house.fails(3, &["turn", "--replay", &day(2)]);
    let outcome = "select standing <> 'unmeasured', rate > 0.3 from system.experiments where turn = 3 and metric = 'outcome'";
    assert_eq!(house.sql(outcome), ["true,true"]);
    let late = "select count(*) > 100, min(cast(late as int)) from system.outcomes";
    assert_eq!(house.cell(late), "true,1");
}

#[test]
fn an_experiment_that_is_not_what_it_began_as_says_so_and_since_when() {
    let house = shop(
        100,
        &[],
        "every: 1d\nchoose: {experiment: {variants: [{name: plain}, {name: bold}]}}\n",
    );
    house.ok(&["turn", "--replay", &format!("{}..{}", day(0), day(1))]);
    let changed =
        "select distinct changed, cast(changed_at as date) from system.experiments where turn = ";
    assert_eq!(house.sql(&format!("{changed}2")), [","]);
    let file = house.read("policies/offer.yaml");
    let young = file.replace("'customers') }}\naction", "'customers') }} where age < 50\naction");
    assert_ne!(young, file);
    house.write("policies/offer.yaml", &young);
    house.ok(&["turn", "--replay", &format!("{}..{}", day(2), day(3))]);
    assert_eq!(house.cell(&format!("{changed}4")), format!("audience,{}", day(2)));
    let shown = house.run(&["experiment", "show", "offer"]);
    let shown =
        String::from_utf8(shown.stdout).unwrap() + &String::from_utf8(shown.stderr).unwrap();
    let told = format!("experiment \"offer\" is not what it began as: since {}", day(2));
    assert!(shown.contains(&told) && shown.contains("mixes two populations"), "{shown}");

    // Another salt begins a new one, of one population.
    let salted = "variants: [{name: plain}, {name: bold}], salt: two";
    house.write(
        "policies/offer.yaml",
        young.replace("variants: [{name: plain}, {name: bold}]", salted),
    );
    house.ok(&["turn", "--replay", &format!("{}..{}", day(4), day(5))]);
    assert_eq!(house.sql(&format!("{changed}6")), [","]);
}

/// An experiment with a ratio and a quantile of orders, and what else it says.
fn measured(more: &str) -> String {
    let orders = "select order_id as event_id, customer_id as unit_id, at";
    let from = "from {{ source('raw', 'orders') }}";
    format!(
        "every: 2d\nchoose:\n  experiment:\n    variants: [{{name: plain}}, {{name: bold}}]\n{more}    metrics:\n      - name: order-value\n        measure:\n          ratio:\n            numerator: {orders}, revenue as value {from}\n            denominator: {orders} {from}\n      - name: order-median\n        measure:\n          quantile:\n            events: {orders}, revenue as value {from}\n            share: 50%\n"
    )
}

#[test]
fn declared_metrics_are_compared_and_who_got_two_variants_is_told_and_left_out() {
    let house = shop(600, &[], &measured(""));
    house.ok(&["turn", "--replay", &day(0)]);
    let mut rng = Rng::new(12);
    let (mut orders, mut later) = (String::from(ORDERS_HEAD), String::from(ORDERS_HEAD));
    let assigned = "select unit_id, action from system.decisions where arm = 'treatment'";
    for (number, line) in house.sql(&format!("{assigned} order by unit_id")).iter().enumerate() {
        let (unit, variant) = line.split_once(',').unwrap();
        let (buys, worth) = if variant == "bold" { (0.9, 20.0) } else { (0.6, 10.0) };
        if rng.chance(buys) {
            for part in 0..2 {
                let revenue = worth + 5.0 * rng.uniform();
                orders.push_str(&format!(
                    "o{number}-{part},{unit},{} 1{part}:00:00,{revenue:.2}\n",
                    day(1)
                ));
            }
            later.push_str(&format!("l{number},{unit},{} 10:00:00,5\n", day(2)));
        }
    }
    house.write(&format!("data/orders-{}.csv", day(1)), orders);
    house.ok(&["turn", "--replay", &day(1)]);
    let rows = house.sql(
        "select metric, kind, standing, rate > 20, control_rate < 15 from system.experiments where turn = 2 and kind in ('ratio', 'quantile') order by metric",
    );
    assert_eq!(
        rows,
        ["order-median,quantile,better,true,true", "order-value,ratio,better,true,true"]
    );
    let before = "select distinct standing, several from system.experiments where turn = 2 and kind = 'before'";
    assert_eq!(house.sql(before), ["open,0"], "nobody ordered before the first decision");

    // Other shares: one unit in four goes over to the other variant, the others keep theirs. Turns are at the ends of days.
    house.write(&format!("data/orders-{}.csv", day(2)), later);
    let file = house.read("policies/offer.yaml");
    let shifted = file.replace("{name: bold}", "{name: bold, weight: 3}");
    house.write("policies/offer.yaml", &shifted);
    house.ok(&["turn", "--replay", &day(2)]);
    house.ok(&["turn", "--replay", &day(3)]);
    let left = "select several > 90, units + control_units < 450, units + control_units + several > 500, split_p > 0.001 from system.experiments where turn = 4 and metric = 'outcome'";
    assert_eq!(house.sql(left), ["true,true,true,true"]);
    // What is left had the same variant before, whose effect is none of the time before the experiment.
    let unbiased =
        "select standing from system.experiments where turn = 4 and metric = 'outcome-before'";
    assert_eq!(house.sql(unbiased), ["open"]);
    let warned = "select status from system.tasks where kind = 'experiment' order by started_at desc limit 1";
    assert_eq!(house.sql(warned), ["warned"]);
    let kept = shifted.replace("    metrics:", "    multiple_exposure: keep\n    metrics:");
    house.write("policies/offer.yaml", kept);
    let shown = house.ok(&["experiment", "show", "offer", "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let of = |metric: &str| {
        let mut rows = shown.as_array().unwrap().iter();
        rows.find(|row| row["metric"] == metric).unwrap().clone()
    };
    let outcome = of("outcome");
    let all = outcome["units"].as_i64().unwrap() + outcome["control_units"].as_i64().unwrap();
    assert!(all > 500 && outcome["several"].as_i64().unwrap() > 90, "{outcome}");
    assert_eq!(of("outcome-before")["standing"], "open", "{shown}");

    // Another salt is another draw: whoever had another variant before it is left out by nothing.
    house.write(
        "policies/offer.yaml",
        shifted.replace("    metrics:", "    salt: two\n    metrics:"),
    );
    house.ok(&["turn", "--replay", &day(4)]);
    house.ok(&["turn", "--replay", &day(5)]);
    let anew = "select several, units + control_units > 500 from system.experiments where turn = 6 and metric = 'outcome'";
    assert_eq!(house.sql(anew), ["0,true"]);
}

#[test]
fn units_of_one_person_are_measured_as_one() {
    // Every tenth customer is the one before, too.
    let person = "    identities: \"select customer_id as unit_id, substr(customer_id, 1, 4) || '0' as person from {{ source('raw', 'customers') }} where customer_id like '%1'\"\n";
    let house = shop(600, &[], &measured(person));
    house.ok(&["turn", "--replay", &day(0)]);
    house.write(&format!("data/orders-{}.csv", day(1)), ORDERS_HEAD);
    house.ok(&["turn", "--replay", &day(1)]);
    let persons = house.cell("select count(distinct case when unit_id like '%1' then substr(unit_id, 1, 4) || '0' else unit_id end) from system.decisions where arm = 'treatment'");
    let rows = format!(
        "select several > 5 and several < 55, several + units + control_units = {persons} from system.experiments where turn = 2 and metric = 'outcome'"
    );
    assert_eq!(house.sql(&rows), ["true,true"]);
}

#[test]
fn metrics_that_cannot_be_are_refused_with_their_place() {
    let check = |from: &str, to: &str| {
        let house = shop(4, &[], &measured(""));
        let file = house.read("policies/offer.yaml");
        assert!(file.contains(from), "{file}");
        house.write("policies/offer.yaml", file.replace(from, to));
        house.fails(2, &["check"])
    };
    for (from, to, said) in [
        ("name: order-median", "name: order-value", "the name of another metric"),
        ("name: order-median", "name: outcome", "cannot be called \"outcome\""),
        ("share: 50%", "share: 100%", "asks for no quantile"),
        ("          quantile:", "          median:", "median"),
    ] {
        let text = check(from, to);
        assert!(text.contains(said) && text.contains("policies/offer.yaml:"), "{text}");
    }
    shop(4, &[], &measured("")).ok(&["check"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_moment_of_an_experiment_is_text_in_the_api_as_all_moments_are() {
    let house = shop(
        40,
        &[],
        "every: 2d\nchoose:\n  experiment:\n    variants: [{name: plain}, {name: bold}]\n",
    );
    house.ok(&["turn", "--replay", &day(0)]);
    let order = format!("o1,c0001,{} 10:00:00,5\n", day(1));
    house.write(&format!("data/orders-{}.csv", day(1)), format!("{ORDERS_HEAD}{order}"));
    house.ok(&["turn", "--replay", &day(1)]);
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let shown = served.get(&owner, "/v1/experiments").await.json();
    let rows = shown["items"].as_array().unwrap();
    let moment = |row: &Value| {
        let at = row["at"].as_str().map(Timestamp::parse);
        at.is_some_and(|at| at.is_ok_and(|at| at.date().starts_with("2024-05-")))
    };
    assert!(!rows.is_empty() && rows.iter().all(moment), "{shown}");
    assert!(rows.iter().all(|row| row["standing"].is_string()), "{shown}");
    assert!(rows.iter().all(|row| row["concluded"].is_null()), "{shown}");
    let none = served.post(&owner, "/v1/policies/offer/reopen", &json!({})).await;
    assert!(
        none.json()["detail"].as_str().unwrap().contains("is not concluded"),
        "{}",
        none.json()
    );
    let keep = json!({"keep": "bold", "reason": "we like it"});
    let made = served.post(&owner, "/v1/policies/offer/conclude", &keep).await;
    assert!(made.status.is_success(), "{}", made.json());
    assert_eq!(made.json()["concluded"], "bold");
    assert!(!made.json()["doubts"].as_array().unwrap().is_empty(), "{}", made.json());
    let shown = served.get(&owner, "/v1/experiments").await.json();
    let rows = shown["items"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["concluded"] == "bold"), "{shown}");
    let policy = served.get(&owner, "/v1/policies/offer").await.json();
    let kept = &policy["promotions"][0];
    assert_eq!(kept["reason"], "kept by ada: we like it");
    assert_eq!(kept["evidence"]["by"], "ada");
    let again = served.post(&owner, "/v1/policies/offer/reopen", &json!({})).await;
    assert_eq!(again.json()["was"], "bold", "{}", again.json());
}

#[test]
fn a_concluded_experiment_gives_everybody_the_kept_variant_until_it_is_opened_again() {
    let house = shop(
        200,
        &[],
        "every: 2d\nchoose:\n  experiment:\n    variants: [{name: plain}, {name: bold}]\n",
    );
    let decided = |at: &str, of: &str| {
        let date = format!("cast(decided_at as date) = date '{at}'");
        house.sql(&format!(
            "select unit_id, {of} from system.decisions where {date} order by unit_id"
        ))
    };
    house.ok(&["turn", "--replay", &day(0)]);
    let wrong = house.fails(2, &["policy", "conclude", "offer", "--keep", "blod"]);
    assert!(wrong.contains("no variant \"blod\"") && wrong.contains("bold"), "{wrong}");
    house.fails(2, &["policy", "conclude", "offer", "--reopen"]);
    house.ok(&["policy", "conclude", "offer", "--keep", "bold", "--reason", "enough"]);
    let twice = house.fails(2, &["policy", "conclude", "offer", "--keep", "bold"]);
    assert!(twice.contains("kept already") && twice.contains("--reopen"), "{twice}");
    let status = house.ok(&["status"]);
    assert!(status.contains("variant \"bold\" for everybody, promotion 1"), "{status}");
    house.ok(&["turn", "--replay", &day(2)]);
    assert_eq!(decided(&day(2), "arm"), decided(&day(0), "arm"), "the holdout stays");
    let kept = house.sql(&format!(
        "select distinct action from system.decisions where arm = 'treatment' and cast(decided_at as date) = date '{}'",
        day(2)
    ));
    assert_eq!(kept, ["bold"]);
    house.ok(&["policy", "verify", "offer"]);
    house.ok(&["policy", "conclude", "offer", "--reopen"]);
    house.ok(&["turn", "--replay", &day(4)]);
    assert_eq!(decided(&day(4), "action"), decided(&day(0), "action"), "each unit has its own");
    assert_eq!(
        house.sql("select number, coalesce(learner, 'none'), coalesce(undoes, 0) from system.promotions order by number"),
        ["1,bold,0", "2,none,1"]
    );
    // Another split in the file is another experiment, of which nothing is concluded.
    house.ok(&["policy", "conclude", "offer", "--keep", "plain"]);
    let file = house.read("policies/offer.yaml");
    house.write(
        "policies/offer.yaml",
        file.replace("    variants:", "    salt: two\n    variants:"),
    );
    assert!(!house.ok(&["status"]).contains("for everybody"));
    house.ok(&["turn", "--replay", &day(6)]);
    let ended = house.sql("select undoes, reason from system.promotions where number = 4");
    assert_eq!(ended, ["3,its policy's file declares another experiment"]);
}
