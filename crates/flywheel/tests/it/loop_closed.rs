//! Decide, act, outcome: each decision before its action, each action once, each outcome joined.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::house::{House, text};
use crate::serve::Served;

/// A shop of 400 customers, two policies' worth of settings left to the test.
pub(crate) fn shop(action: &str, policy: &str) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: customers\n    options: {path: 'customers.csv'}\n    read: full\n    write: replace\n  - stream: orders\n    options: {path: 'orders-*.csv', dated: 'orders-%Y-%m-%d.csv'}\n    read: incremental\n    write: append\n    columns: [{name: order_id, type: text}, {name: customer_id, type: text}, {name: at, type: timestamp}, {name: revenue, type: float64}]\n",
    );
    let customers: String = (0..400).map(|id| format!("c{id:03}\n")).collect();
    house.write("data/customers.csv", format!("customer_id\n{customers}"));
    house.write("data/orders-2024-05-01.csv", "order_id,customer_id,at,revenue\n");
    house.write("actions/send.yaml", format!("action: send\n{action}"));
    house.write(
        "policies/offer.yaml",
        format!(
            "policy: offer\naudience: select customer_id as unit_id from {{{{ source('raw', 'customers') }}}}\nchoose: {{candidates: [{{name: discount-10}}, {{name: reminder}}]}}\naction: send\npayload: {{text: hello, customer: $unit_id}}\noutcome:\n  events: select order_id as event_id, customer_id as unit_id, at, revenue as value from {{{{ source('raw', 'orders') }}}}\n  window: 3d\n{policy}"
        ),
    );
    house
}

const FILE: &str = "type: file\noptions: {path: 'out/{policy}/{turn}.jsonl'}\n";

#[test]
fn decisions_carry_their_propensity_and_the_holdout_gets_nothing() {
    let house = shop(FILE, "holdout: 25%\nevery: 7d\n");
    house.ok(&["turn", "--replay", "2024-05-01..2024-05-02"]);
    let rows = house.sql(
        "select arm, action, round(propensity, 4), count(*) > 60, count(payload) > 0 from system.decisions group by 1, 2, 3 order by 1, 2",
    );
    assert_eq!(
        rows,
        [
            "holdout,none,0.25,true,false",
            "treatment,discount-10,0.375,true,true",
            "treatment,reminder,0.375,true,true"
        ]
    );
    let sent = house.read("out/offer/00001.jsonl").lines().count().to_string();
    assert_eq!(house.cell("select count(*) from system.decisions where arm = 'treatment'"), sent);
    assert_eq!(
        house.cell(
            "select count(distinct decision_id) from system.actions where status = 'delivered'"
        ),
        sent
    );
    assert_eq!(
        house.cell("select count(*) from system.decisions"),
        "400",
        "not due again within 7 days"
    );
}

#[test]
fn policies_share_contacts_and_a_holdout_and_who_is_left_out_is_logged() {
    let house = shop(FILE, "holdout: 25%\nevery: 7d\ncaps: {per_turn: 100}\n");
    let offer = house.read("policies/offer.yaml");
    let second = offer.replace("policy: offer", "policy: second");
    let asked = "consent: {sql: \"select 'c' || lpad(cast(value as varchar), 3, '0') as unit_id from generate_series(0, 349)\"}\n";
    house.write("policies/second.yaml", second.replace("caps: {per_turn: 100}\n", asked));
    let file = house.read("flywheel.yaml");
    house.write(
        "flywheel.yaml",
        format!("{file}contact: {{per_unit: 1, every: 7d}}\nholdout: {{share: 20%, salt: all}}\n"),
    );
    house.ok(&["turn", "--replay", "2024-05-01"]);
    // The second one sees in the same turn what the first one has decided.
    let twice = "select count(*) from (select unit_id from system.decisions group by 1 having count(*) > 1)";
    assert_eq!(house.cell(twice), "0");
    assert_eq!(house.cell("select count(*) from system.decisions where policy = 'offer'"), "100");
    let settled = "select (select count(*) from system.decisions where policy = 'second')
                        + (select sum(units) from system.suppressed where policy = 'second')";
    assert_eq!(house.cell(settled), "400");
    let left = "select policy, reason, units from system.suppressed where reason <> 'contact' order by 1, 2";
    assert_eq!(house.sql(left), ["offer,per_turn,300", "second,consent,50"]);
    let never = "select count(*) > 30, count(payload), count(distinct propensity) from system.decisions where arm = 'global_holdout'";
    assert_eq!(house.sql(never), ["true,0,1"]);
    let sent = house.cell("select count(*) from system.decisions where arm = 'treatment'");
    let delivered = "select count(*) from system.actions where status = 'delivered'";
    assert_eq!(house.cell(delivered), sent);
    for policy in ["offer", "second"] {
        house.ok(&["policy", "verify", policy]);
    }
}

#[test]
fn a_budget_and_a_stock_hold_and_what_they_leave_out_is_logged() {
    let limits = "holdout: 20%\nevery: 1d\nbudget: {amount: 50, cost: 1, pacing: asap}\nstock: select 'discount-10' as candidate, 30 as available\n";
    let house = shop(FILE, limits);
    house.ok(&["turn", "--replay", "2024-05-01..2024-05-02"]);
    let given = "select turn, count(*), sum(cost) from system.decisions where arm = 'treatment' group by turn order by turn";
    assert_eq!(house.sql(given), ["1,50,50.0", "2,50,50.0"]);
    let discounts = "select count(*) from system.decisions where action = 'discount-10'";
    assert_eq!(house.cell(discounts), "30");
    // Once it is used up, the other one is chosen for sure; both are logged with the probability that they had.
    let chances = "select distinct action, propensity, candidates from system.decisions where arm = 'treatment' order by 1, 2";
    assert_eq!(house.sql(chances), ["discount-10,0.4,2", "reminder,0.4,2", "reminder,0.8,1"]);
    let left = "select s.turn, s.reason, s.units + d.n from system.suppressed s join (select turn, count(*) as n from system.decisions group by turn) d on d.turn = s.turn order by s.turn";
    assert_eq!(house.sql(left), ["1,budget,400", "2,budget,400"]);
    let delivered = "select count(*) from system.actions where status = 'delivered'";
    assert_eq!(house.cell(delivered), "100");
    house.ok(&["policy", "verify", "offer"]);
    let file = house.read("policies/offer.yaml");
    for (from, to, said) in [
        ("cost: 1", "cost: -1", "budget: cost is no cost"),
        ("pacing: asap", "per: campaign", "cannot be paced evenly"),
        ("pacing: asap", "until: 2024-06-01", "until is of a campaign alone"),
        ("pacing: asap", "zone: Nowhere", "there is no time zone \"Nowhere\""),
        (
            "choose: {candidates: [",
            "choose: {experiment: {variants: [",
            "an experiment cannot offer another variant",
        ),
    ] {
        let wrong = file.replace(from, to).replace(
            "variants: [{name: discount-10}, {name: reminder}]}",
            "variants: [{name: discount-10}, {name: reminder}]}}",
        );
        house.write("policies/offer.yaml", wrong);
        let text = house.fails(2, &["check"]);
        assert!(text.contains(said) && text.contains("policies/offer.yaml:"), "{text}");
    }
}

#[test]
fn all_policies_together_are_measured_against_whom_none_treats() {
    let house = shop(FILE, "holdout: 10%\nevery: 1d\n");
    let second = house.read("policies/offer.yaml").replace("policy: offer", "policy: second");
    house.write("policies/second.yaml", second);
    let file = house.read("flywheel.yaml");
    house.write("flywheel.yaml", format!("{file}holdout: {{share: 30%, salt: all}}\n"));
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let treated = "select distinct unit_id from system.decisions where arm = 'treatment'";
    let mut orders = String::from("order_id,customer_id,at,revenue\n");
    for unit in house.sql(&format!("{treated} order by unit_id")) {
        orders.push_str(&format!("o{unit},{unit},2024-05-02 10:00:00,10\n"));
    }
    house.write("data/orders-2024-05-02.csv", orders);
    house.ok(&["turn", "--replay", "2024-05-02..2024-05-05"]);
    // One window of each unit is over; both policies count the same orders, and each order once.
    let all = "select measured, treated_units + holdout_units, holdout_units > 80, lift > 0.8, lower > 0.5, split_p > 0.001 from system.lift where policy = '*' order by turn desc limit 1";
    assert_eq!(house.sql(all), ["400,400,true,true,true,true"]);
    assert!(house.ok(&["status"]).contains("all policies together"));
    let status: Value = serde_json::from_str(&house.ok(&["status", "--output", "json"])).unwrap();
    assert_eq!(status["together"].as_array().unwrap().len(), 5, "{}", status["together"]);
    house.write("flywheel.yaml", file);
    assert!(!house.ok(&["status"]).contains("all policies together"));
}

#[test]
fn outcomes_are_joined_late_ones_too_and_lift_is_measured_against_the_holdout() {
    let house = shop(FILE, "holdout: 50%\nevery: 30d\n");
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let treated =
        house.sql("select unit_id from system.decisions where arm = 'treatment' order by unit_id");
    let held =
        house.sql("select unit_id from system.decisions where arm = 'holdout' order by unit_id");
    let order = |n: usize, unit: &str, at: &str| format!("o{n}{unit},{unit},{at},10\n");
    let mut second = String::from("order_id,customer_id,at,revenue\n");
    treated
        .iter()
        .step_by(2)
        .for_each(|unit| second.push_str(&order(1, unit, "2024-05-02 10:00:00")));
    held.iter()
        .step_by(10)
        .for_each(|unit| second.push_str(&order(1, unit, "2024-05-02 11:00:00")));
    second.push_str(&order(2, &held[1], "2024-05-09 10:00:00"));
    house.write("data/orders-2024-05-02.csv", second);
    // Seen only after the window has closed, but it happened inside.
    house.write(
        "data/orders-2024-05-06.csv",
        format!(
            "order_id,customer_id,at,revenue\n{}",
            order(3, &treated[1], "2024-05-03 09:00:00")
        ),
    );
    house.ok(&["turn", "--replay", "2024-05-02..2024-05-07"]);
    let expected = treated.len().div_ceil(2) + held.len().div_ceil(10) + 1;
    assert_eq!(house.cell("select count(*) from system.outcomes"), expected.to_string());
    assert_eq!(house.cell("select count(*) from system.outcomes where late"), "1");
    let last = house.sql("select lift > 0.3 and lift < 0.5, lower > 0, measured from system.lift order by turn desc limit 1");
    assert_eq!(last, ["true,true,400"]);
    assert!(house.ok(&["status"]).contains("offer: 400 decisions"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_split_is_told_where_the_lift_is_and_beside_who_cannot_decide() {
    let rules = "holdout: 50%\nevery: 30d\n";
    let fair = shop(FILE, rules);
    fair.ok(&["turn", "--replay", "2024-05-01..2024-05-05"]);
    let status = fair.ok(&["status"]);
    assert!(status.contains("offer: 400 decisions") && !status.contains("SPLIT"), "{status}");

    // Of those who are held out only a few come into the audience.
    let arm = |arm: &str| {
        fair.sql(&format!(
            "select unit_id from system.decisions where arm = '{arm}' order by unit_id"
        ))
    };
    let units = [arm("treatment"), arm("holdout").into_iter().take(20).collect()].concat();
    let house = shop(FILE, rules);
    house.write("data/customers.csv", format!("customer_id\n{}\n", units.join("\n")));
    let output = house.run(&["turn", "--replay", "2024-05-01..2024-05-05", "--output", "json"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let advice = "policy \"offer\": the split into treatment and holdout is broken";
    assert!(said.contains(advice) && said.contains("not to be believed"), "{said}");
    let turns: Value = serde_json::from_slice(&output.stdout).unwrap();
    let last = &turns.as_array().unwrap().last().unwrap()["lift"][0];
    assert_eq!(last["split_broken"], true, "{turns}");
    let status = house.ok(&["status"]);
    assert!(status.contains(&format!("SPLIT BROKEN: {advice}")), "{status}");
    let status: Value = serde_json::from_str(&house.ok(&["status", "--output", "json"])).unwrap();
    let policy = &status["policies"][0];
    assert!(policy["split_broken"].as_str().unwrap().starts_with(advice), "{status}");
    let last = policy["turns"].as_array().unwrap().last().unwrap();
    assert!(last["split_p"].as_f64().unwrap() < 0.001, "{status}");
    let task =
        "select distinct status from system.tasks where kind = 'lift' order by 1 desc limit 1";
    assert_eq!(house.cell(task), "warned");

    // The first page names both, each with the way to its policy.
    house.write(
        "policies/odd.yaml",
        "policy: odd\naudience: select customer_id as unit_id, cast(customer_id as int) as n from {{ source('raw', 'customers') }}\nchoose: {candidates: [{name: reminder}]}\nholdout: 0%\n",
    );
    assert!(!house.run(&["turn", "--replay", "2024-05-06"]).status.success());
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let status = served.get(&owner, "/v1/status").await.json();
    let one_of = |list: &str, key: &str, word: &str| {
        let all = status[list].as_array().unwrap();
        all.iter().find(|one| one[key] == word).cloned().unwrap_or_default()
    };
    let decide = one_of("ring", "stage", "decide");
    assert_eq!(decide["health"], "failed", "{status}");
    assert_eq!(decide["note"], "could not decide when asked last: odd", "{status}");
    for (kind, target) in [("failed-policy", "/policies/odd"), ("broken-split", "/policies/offer")]
    {
        assert_eq!(one_of("attention", "kind", kind)["target"], target, "{status}");
    }
    let policy = served.get(&owner, "/v1/policies/offer").await.json();
    assert!(policy["split_broken"].as_str().unwrap().starts_with(advice), "{policy}");
}

#[test]
fn lift_is_the_same_when_old_decisions_are_summed_up_and_when_their_window_changes() {
    let house = shop(FILE, "holdout: 50%\nevery: 1d\n");
    order_for_weeks(&house);
    house.ok(&["turn", "--replay", "2024-05-01..2024-05-20"]);
    let summed = house.cell("select sum(decisions) >= 4096 from system.lift_sums");
    assert_eq!(summed, "true", "old decisions are not read again");
    let same_as_from_all_rows = |window: &str| {
        house.cell(&format!(
            "with counted as (
               select d.arm, count(*) as n, count(o.decision_id) as hits, sum(coalesce(o.value, 0)) as value
               from system.decisions d
               left join (select decision_id, sum(value) as value from system.outcomes group by 1) o
                 on o.decision_id = d.decision_id
               where d.decided_at <= (select max(at) from system.lift) - interval '{window}'
               group by d.arm),
             arms as (
               select sum(n) as n,
                      sum(case arm when 'treatment' then cast(hits as double) / n else 0 end) as treated,
                      sum(case arm when 'holdout' then cast(hits as double) / n else 0 end) as held,
                      sum(case arm when 'treatment' then value / n else -value / n end) as worth
               from counted)
             select l.measured = a.n and abs(l.treated_rate - a.treated) < 1e-12
                    and abs(l.holdout_rate - a.held) < 1e-12 and abs(l.value_lift - a.worth) < 1e-9
             from arms a, (select * from system.lift order by turn desc limit 1) l"
        ))
    };
    assert_eq!(same_as_from_all_rows("3 days"), "true");
    let wider = house.read("policies/offer.yaml").replace("window: 3d", "window: 5d");
    house.write("policies/offer.yaml", wider);
    house.ok(&["turn", "--replay", "2024-05-21..2024-05-24"]);
    assert_eq!(same_as_from_all_rows("5 days"), "true", "sums of another window are of no use");
    let fewer = house.read("policies/offer.yaml").replace("5d", "1d").replace("50%", "20%");
    house.write("policies/offer.yaml", &fewer);
    house.ok(&["turn", "--replay", "2024-05-25..2024-05-27"]);
    let measured = || {
        house.sql(
            "select measured, treated_units + holdout_units, holdout_units < 120
             from system.lift order by turn desc limit 1",
        )
    };
    assert_eq!(measured(), ["800,400,true"], "decisions under the present share alone");
    assert_eq!(house.cell("select distinct holdout from system.lift_sums"), "0.5");
    house.write("policies/offer.yaml", fewer.replace("20%", "50%"));
    house.ok(&["turn", "--replay", "2024-05-28"]);
    assert_eq!(
        measured(),
        ["9600,400,false"],
        "with the share of before all that was measured then"
    );
}

/// On each of 24 days every seventh customer orders.
fn order_for_weeks(house: &House) {
    for day in 1..=24 {
        let orders: String = (0..400)
            .filter(|unit| (unit + day) % 7 == 0)
            .map(|unit| {
                format!("o{day}-{unit},c{unit:03},2024-05-{day:02} 13:00:00,{}\n", unit % 5)
            })
            .collect();
        house.write(
            &format!("data/orders-2024-05-{day:02}.csv"),
            format!("order_id,customer_id,at,revenue\n{orders}"),
        );
    }
}

#[test]
fn an_experiment_is_the_same_when_old_decisions_are_summed_up_and_when_it_was_none_before() {
    let house = shop(FILE, "holdout: 50%\nevery: 1d\n");
    order_for_weeks(&house);
    let plain = house.read("policies/offer.yaml");
    let tried = plain.replace("choose: {candidates", "choose: {experiment: {variants");
    let tried = tried.replace("{name: reminder}]}", "{name: reminder}]}}");
    house.write("policies/offer.yaml", &tried);
    house.ok(&["turn", "--replay", "2024-05-01..2024-05-20"]);
    let summed = "select sum(decisions) > 1000, count(distinct variant) from system.lift_sums where arm = 'treatment'";
    assert_eq!(house.sql(summed), ["true,2"], "old decisions are not read again");
    let same_as_from_all_rows = || {
        house.sql(
            "with counted as (
               select d.action, d.unit_id, count(*) as n, count(o.decision_id) as hits
               from system.decisions d
               left join (select distinct decision_id from system.outcomes) o on o.decision_id = d.decision_id
               where d.arm = 'treatment'
                 and d.candidates_digest = (select max(split) from system.experiments where turn = (select max(turn) from system.experiments))
                 and d.decided_at <= (select max(at) from system.experiments) - interval '3 days'
               group by 1, 2),
             rates as (select action, count(*) as units, sum(cast(hits as double)) / sum(n) as rate from counted group by 1)
             select e.units = v.units and e.control_units = c.units,
                    abs(e.rate - v.rate) < 1e-12 and abs(e.control_rate - c.rate) < 1e-12
             from system.experiments e
             join rates v on v.action = e.variant
             join rates c on c.action = e.control
             where e.metric = 'outcome' and e.turn = (select max(turn) from system.experiments)",
        )
    };
    assert_eq!(same_as_from_all_rows(), ["true,true"]);
    house.write("policies/offer.yaml", &plain);
    house.ok(&["turn", "--replay", "2024-05-21..2024-05-22"]);
    house.write("policies/offer.yaml", &tried);
    house.ok(&["turn", "--replay", "2024-05-23..2024-05-24"]);
    assert_eq!(same_as_from_all_rows(), ["true,true"], "sums without variants are of no use");
    // Nobody orders after the 24th: what is measured under another holdout knows of no order before.
    house.write("policies/offer.yaml", tried.replace("holdout: 50%", "holdout: 20%"));
    house.ok(&["turn", "--replay", "2024-05-25..2024-05-28"]);
    assert_eq!(
        house.sql(
            "select rate, control_rate, units + control_units > 280 from system.experiments
             where metric = 'outcome' and turn = (select max(turn) from system.experiments)"
        ),
        ["0.0,0.0,true"],
        "decisions under the present share of the holdout alone"
    );
}

#[test]
fn a_policy_that_does_harm_is_paused_by_its_guardrail() {
    let house = shop(FILE, "holdout: 50%\nevery: 30d\nguardrails: {min_units: 100}\n");
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let mut orders = String::from("order_id,customer_id,at,revenue\n");
    for unit in house.sql("select unit_id from system.decisions where arm = 'holdout'") {
        orders.push_str(&format!("o{unit},{unit},2024-05-02 10:00:00,10\n"));
    }
    house.write("data/orders-2024-05-02.csv", orders);
    house.ok(&["turn", "--replay", "2024-05-02..2024-05-05"]);
    assert!(house.ok(&["status"]).contains("PAUSED: guardrail"));
    house.ok(&["policy", "resume", "offer"]);
    assert!(!house.ok(&["status"]).contains("PAUSED"));
    assert!(house.fails(2, &["policy", "pause", "ofer"]).contains("offer"));
}

/// The idempotency key of each request and the status it got.
pub(crate) type Requests = Arc<Mutex<Vec<(String, u16)>>>;

/// Answers each request with the next status of `statuses`, the last one for ever; collects keys.
pub(crate) fn receiver(statuses: Vec<u16>) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut statuses = statuses.into_iter();
        let mut status = 200;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            status = statuses.next().unwrap_or(status);
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let head = loop {
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
                let so_far = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = so_far.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|l| {
                    l.to_lowercase()
                        .strip_prefix("content-length:")
                        .map(|n| n.trim().parse::<usize>().unwrap())
                });
                if body.len() >= length.unwrap_or(0) {
                    break head.to_owned();
                }
            };
            let key = head
                .lines()
                .find(|l| l.to_lowercase().starts_with("idempotency-key"))
                .unwrap_or_default()
                .to_owned();
            log.lock().unwrap().push((key, status));
            write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
        }
    });
    (address, seen)
}

#[test]
fn a_webhook_gets_each_action_once_and_what_it_refuses_becomes_a_dead_letter() {
    let (url, seen) = receiver(vec![503, 503, 404]);
    let house = shop(
        &format!("type: webhook\nattempts: 3\noptions: {{url: '{url}', allow_private: true}}\n"),
        "every: 30d\ncaps: {per_turn: 5}\n",
    );
    house.ok(&["turn", "--replay", "2024-05-01"]);
    house.ok(&["turn", "--replay", "2024-05-02..2024-05-03"]);
    let by_status = house.sql("select status, count(*) from system.actions group by 1 order by 1");
    let keys: Vec<String> = seen.lock().unwrap().iter().map(|(key, _)| key.clone()).collect();
    assert!(keys.iter().all(|key| !key.is_empty()), "every request carries its key");
    let dead: usize = by_status
        .iter()
        .filter(|l| l.starts_with("dead"))
        .map(|l| l[5..].parse::<usize>().unwrap())
        .sum();
    assert_eq!(
        dead, 5,
        "a receiver that says 404 from the third request on takes none: {by_status:?}"
    );
    assert!(house.ok(&["status"]).contains("5 dead"));
    let told = house.cell(
        "select count(*) from system.tasks where kind = 'act' and status = 'warned'
           and strpos(error, 'of policy \"offer\"') > 0 and strpos(error, 'policy retry') > 0
           and strpos(detail, '\"dead\":') > 0",
    );
    assert_ne!(told, "0", "a turn says why it warned");
    house.ok(&["policy", "retry", "offer"]);
    assert!(house.ok(&["status"]).contains("5 pending"));
}

#[test]
fn a_batch_is_sent_again_under_its_key_beside_what_is_new() {
    let (url, seen) = receiver(vec![503, 200]);
    let house = shop(
        &format!("type: webhook\noptions: {{url: '{url}', allow_private: true, batch: 10}}\n"),
        "every: 1d\ncaps: {per_turn: 3}\n",
    );
    house.ok(&["turn", "--replay", "2024-05-01..2024-05-02"]);
    let keys: Vec<String> = seen.lock().unwrap().iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert_eq!(keys.iter().filter(|key| **key == keys[0]).count(), 2, "{keys:?}");
    let sent = "select count(*) from system.actions where status = 'delivered'";
    assert_eq!(house.cell(sent), "6");
}

#[test]
fn what_is_delivered_after_it_was_given_up_is_shown_as_delivered_once() {
    let (url, seen) = receiver(vec![404, 404, 404, 200]);
    let house = shop(
        &format!("type: webhook\noptions: {{url: '{url}', allow_private: true, parallel: 1}}\n"),
        "every: 30d\ncaps: {per_turn: 3}\n",
    );
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let shown = "select status, count(*), count(distinct key) from system.actions group by 1";
    assert_eq!(house.sql(shown), ["dead,3,3"]);
    house.ok(&["policy", "retry", "offer"]);
    house.ok(&["turn", "--replay", "2024-05-02"]);
    assert_eq!(seen.lock().unwrap().len(), 6);
    assert_eq!(house.sql(shown), ["delivered,3,3"]);
}

#[test]
fn an_action_that_cannot_be_built_holds_up_no_other_one() {
    let house = shop(FILE, "every: 30d\ncaps: {per_turn: 3}\n");
    let other = house.read("policies/offer.yaml");
    let other =
        other.replace("policy: offer", "policy: another").replace("action: send", "action: broken");
    house.write("policies/another.yaml", other);
    house.write(
        "actions/broken.yaml",
        "action: broken\ntype: webhook\noptions: {url: 'https://example.com', secret: '${env:FLYWHEEL_NOT_SET_ANYWHERE}'}\n",
    );
    let said = house.fails(3, &["turn", "--replay", "2024-05-01"]);
    assert!(said.contains("FLYWHEEL_NOT_SET_ANYWHERE"), "{said}");
    assert!(said.contains("action \"broken\""), "{said}");
    let sent = "select policy, count(*) from system.actions where status = 'delivered' group by 1";
    assert_eq!(house.sql(sent), ["offer,3"]);
    // The turn is complete, and so is the next one.
    house.fails(3, &["turn", "--replay", "2024-05-02"]);
    assert!(house.ok(&["status"]).contains("3 pending"));
}

#[test]
fn deliveries_whose_action_or_policy_is_gone_do_not_leave_and_hold_up_nothing() {
    let (url, seen) = receiver(vec![503, 503, 503, 503, 200]);
    let send =
        format!("type: webhook\noptions: {{url: '{url}', allow_private: true, parallel: 1}}\n");
    let house = shop(&send, "every: 30d\ncaps: {per_turn: 2}\n");
    let offer = house.read("policies/offer.yaml");
    let other = offer.replace("policy: offer", "policy: another");
    house.write("policies/another.yaml", other.replace("action: send", "action: mail"));
    house.write("actions/mail.yaml", format!("action: mail\n{send}"));
    house.ok(&["turn", "--replay", "2024-05-01"]);
    assert_eq!(seen.lock().unwrap().len(), 4);
    // One policy is gone; the other one has another action, and its old one is gone.
    std::fs::remove_file(house.path("policies/another.yaml")).unwrap();
    std::fs::remove_file(house.path("actions/mail.yaml")).unwrap();
    std::fs::remove_file(house.path("actions/send.yaml")).unwrap();
    house.write("actions/file.yaml", format!("action: file\n{FILE}"));
    house.write("policies/offer.yaml", offer.replace("action: send", "action: file"));
    let output = house.run(&["turn", "--replay", "2024-05-02"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("2 of action \"send\""), "{said}");
    assert!(said.contains("2 of policy \"another\""), "{said}");
    assert_eq!(seen.lock().unwrap().len(), 4, "nothing left");
    assert_eq!(
        house.sql("select policy, status, error from system.outbox where status = 'dead'"),
        [r#"another,dead,"not sent: its policy ""another"" is gone""#; 2]
    );
    // Both come back.
    house.write("actions/send.yaml", format!("action: send\n{send}"));
    house.write("policies/another.yaml", other);
    house.write("actions/mail.yaml", format!("action: mail\n{send}"));
    house.ok(&["policy", "retry", "another"]);
    house.ok(&["turn", "--replay", "2024-05-03"]);
    let sent = "select policy, count(*) from system.actions where status = 'delivered' group by 1";
    let mut sent = house.sql(sent);
    sent.sort();
    assert_eq!(sent, ["another,2", "offer,2"]);
}

/// A shop with two deliveries that wait for a deleted action and two of a deleted policy, and what the receiver was sent.
fn with_deliveries_that_cannot_leave() -> (House, String, Requests) {
    let (url, seen) = receiver(vec![503]);
    let send =
        format!("type: webhook\noptions: {{url: '{url}', allow_private: true, parallel: 1}}\n");
    let house = shop(&send, "every: 30d\ncaps: {per_turn: 2}\n");
    let offer = house.read("policies/offer.yaml");
    house.write("policies/another.yaml", offer.replace("policy: offer", "policy: another"));
    house.ok(&["turn", "--replay", "2024-05-01"]);
    std::fs::remove_file(house.path("policies/another.yaml")).unwrap();
    std::fs::remove_file(house.path("actions/send.yaml")).unwrap();
    house.write("actions/file.yaml", format!("action: file\n{FILE}"));
    house.write("policies/offer.yaml", offer.replace("action: send", "action: file"));
    house.ok(&["turn", "--replay", "2024-05-02"]);
    (house, send, seen)
}

#[test]
fn deliveries_that_cannot_leave_are_discarded_for_a_reason_and_stay_so() {
    let (house, send, seen) = with_deliveries_that_cannot_leave();
    assert!(house.ok(&["status"]).contains("2 pending, 2 dead\n"));
    house.fails(2, &["policy", "discard", "offer"]);
    let said = house.fails(2, &["policy", "discard", "offer", "--reason", " "]);
    assert!(said.contains("no reason is given"), "{said}");
    let said = house.fails(2, &["policy", "discard", "ofer", "--reason", "closed"]);
    assert!(said.contains("offer"), "{said}");
    let wrong = ["policy", "discard", "offer", "--action", "sent", "--reason", "closed"];
    assert!(house.fails(2, &wrong).contains("send"));
    let wrong = ["policy", "discard", "offer", "--action", "zzzzzzzz", "--reason", "closed"];
    assert!(house.fails(2, &wrong).contains("Known: file, send."), "each once");

    house.ok(&["policy", "discard", "offer", "--action", "file", "--reason", "none of these"]);
    assert!(house.ok(&["status"]).contains("2 pending, 2 dead\n"), "by another action");
    house.ok(&["policy", "discard", "offer", "--action", "send", "--reason", "the post is closed"]);
    house.ok(&["policy", "discard", "another", "--reason", "so is the shop"]);
    assert!(house.ok(&["status"]).contains("0 pending, 0 dead, 4 discarded"));
    let why = "select policy, status, starts_with(error, 'discarded: the post is closed'),
                 starts_with(error, 'discarded: so is the shop; before that: not sent: its policy')
               from system.";
    let mut shown = house.sql(&format!("{why}outbox"));
    shown.sort();
    let wanted = [["another,discarded,false,true"; 2], ["offer,discarded,true,false"; 2]].concat();
    assert_eq!(shown, wanted);

    // Everything comes back; they do not.
    house.write("actions/send.yaml", format!("action: send\n{send}"));
    let offer = house.read("policies/offer.yaml");
    house.write("policies/another.yaml", offer.replace("policy: offer", "policy: another"));
    house.ok(&["policy", "retry", "offer"]);
    house.ok(&["policy", "retry", "another"]);
    house.ok(&["turn", "--replay", "2024-05-03"]);
    assert_eq!(seen.lock().unwrap().len(), 4, "no request but the first ones");
    let mut shown = house.sql(&format!("{why}actions"));
    shown.sort();
    assert_eq!(shown, wanted);
    assert_eq!(house.cell("select count(*) from system.outbox"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_discarded_over_http_by_who_may_retry_them() {
    let (house, _, _) = with_deliveries_that_cannot_leave();
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let path = "/v1/policies/offer/discard";
    let refused = served.post(&owner, path, &json!({"reason": " "})).await.json();
    assert!(refused.to_string().contains("no reason is given"), "{refused}");
    let done = served.post(&owner, path, &json!({"reason": "the post is closed"})).await.json();
    assert_eq!(done, json!({"discarded": 2, "kept": 0}));
    let shown = served.get(&owner, "/v1/actions?status=discarded").await.json();
    let items = shown["items"].as_array().unwrap();
    let said = |item: &Value| {
        item["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("discarded: the post is closed (by "))
    };
    assert!(items.len() == 2 && items.iter().all(said), "{shown}");
    // The file of the other policy is gone, its deliveries are not.
    let path = "/v1/policies/another/discard";
    let done = served.post(&owner, path, &json!({"reason": "so is the shop"})).await.json();
    assert_eq!(done["discarded"], 2);
    let audit = served.get(&owner, "/v1/audit").await.json();
    let noted = |row: &&Value| {
        row["what"] == "POST /v1/policies/{policy}/discard"
            && row.to_string().contains("the post is closed")
    };
    assert_eq!(audit["items"].as_array().unwrap().iter().filter(noted).count(), 1, "{audit}");
}

#[test]
fn nothing_is_missed_between_turns_that_lie_further_apart_than_the_window() {
    let house = shop(FILE, "holdout: 50%\nevery: 1d\n");
    let policy = house.read("policies/offer.yaml").replace("window: 3d", "window: 6h");
    house.write("policies/offer.yaml", policy);
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let units = house.sql(
        "select unit_id, decided_at + interval '1 hour' from system.decisions order by unit_id limit 20",
    );
    let orders: String = units
        .iter()
        .enumerate()
        .map(|(n, line)| {
            let (unit, at) = line.split_once(',').unwrap();
            format!("o{n},{unit},{at},10\n")
        })
        .collect();
    house.write("data/orders-2024-05-02.csv", format!("order_id,customer_id,at,revenue\n{orders}"));
    // A day with a turn, and a week without a server.
    house.ok(&["turn", "--replay", "2024-05-02"]);
    assert_eq!(house.cell("select count(*) from system.outcomes"), "20");
    let at = house.cell("select max(decided_at) + interval '2 hours' from system.decisions");
    house.write(
        "data/orders-2024-05-03.csv",
        format!("order_id,customer_id,at,revenue\nlate,c399,{at},10\n"),
    );
    house.ok(&["turn", "--replay", "2024-05-09"]);
    assert_eq!(house.cell("select count(*) from system.outcomes"), "21");
    house.ok(&["turn", "--replay", "2024-05-10"]);
    assert_eq!(house.cell("select count(*) from system.outcomes"), "21", "and none twice");
}

#[test]
fn an_event_whose_time_is_corrected_counts_once_as_it_was_first_seen() {
    let house = shop(FILE, "every: 1d\n");
    let policy = house.read("policies/offer.yaml").replace(
        "at, revenue as value from {{ source('raw', 'orders') }}",
        "max(at) as at, max(revenue) as value from {{ source('raw', 'orders') }} group by 1, 2",
    );
    house.write("policies/offer.yaml", policy);
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let order = |day: &str| {
        let line = format!("order_id,customer_id,at,revenue\no1,c001,{day} 10:00:00,5\n");
        house.write(&format!("data/orders-{day}.csv"), line);
        house.ok(&["turn", "--replay", day]);
    };
    order("2024-05-02");
    let joined = "select event_id, cast(occurred_at as date) from system.outcomes";
    assert_eq!(house.sql(joined), ["o1,2024-05-02"]);
    // It falls now into the window of a decision that was made in between.
    order("2024-05-03");
    house.ok(&["turn", "--replay", "2024-05-04"]);
    assert_eq!(house.sql(joined), ["o1,2024-05-02"]);
}

#[test]
fn an_event_after_the_window_of_the_decision_it_names_does_not_count_for_treatment_alone() {
    let house = shop(FILE, "holdout: 50%\nevery: 30d\n");
    let policy = house
        .read("policies/offer.yaml")
        .replace("select order_id as event_id,", "select order_id as event_id, decision_id,");
    house.write("policies/offer.yaml", policy);
    let sync = house
        .read("syncs/shop.yaml")
        .replace("{name: revenue,", "{name: decision_id, type: text}, {name: revenue,");
    house.write("syncs/shop.yaml", sync);
    let head = "order_id,customer_id,at,decision_id,revenue\n";
    house.write("data/orders-2024-05-01.csv", head);
    house.ok(&["turn", "--replay", "2024-05-01"]);
    // Everybody buys four days later; only who was treated has something that names the decision.
    let units = house.sql("select unit_id, arm, decision_id from system.decisions order by 1");
    let orders: String = units
        .iter()
        .map(|line| {
            let parts: Vec<&str> = line.split(',').collect();
            let decision = if parts[1] == "treatment" { parts[2] } else { "" };
            format!("o{0},{0},2024-05-05 23:59:59,{decision},5\n", parts[0])
        })
        .collect();
    house.write("data/orders-2024-05-05.csv", format!("{head}{orders}"));
    house.ok(&["turn", "--replay", "2024-05-02..2024-05-06"]);
    let joined = "select attribution, count(*) > 100 from system.outcomes group by 1";
    assert_eq!(house.sql(joined), ["after-window,true"]);
    let lift = house.cell("select lift from system.lift order by turn desc limit 1");
    assert_eq!(lift, "0.0");
}

#[test]
fn an_event_that_names_no_decision_is_joined_by_unit_and_window() {
    let house = shop(FILE, "every: 30d\n");
    let policy = house
        .read("policies/offer.yaml")
        .replace("select order_id as event_id,", "select order_id as event_id, decision_id,");
    house.write("policies/offer.yaml", policy);
    let sync = house
        .read("syncs/shop.yaml")
        .replace("{name: revenue,", "{name: decision_id, type: text}, {name: revenue,");
    house.write("syncs/shop.yaml", sync);
    let head = "order_id,customer_id,at,decision_id,revenue\n";
    house.write("data/orders-2024-05-01.csv", head);
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let first = house.cell("select decision_id from system.decisions where unit_id = 'c001'");
    let orders = format!(
        "{head}o1,c001,2024-05-02 10:00:00,{first},5\no2,c002,2024-05-02 10:00:00,,5\no3,c003,2024-05-02 10:00:00,unknown,5\n"
    );
    house.write("data/orders-2024-05-02.csv", orders);
    house.ok(&["turn", "--replay", "2024-05-02"]);
    assert_eq!(
        house.sql("select d.unit_id, o.attribution from system.outcomes o join system.decisions d on d.decision_id = o.decision_id order by 1"),
        ["c001,decision-id", "c002,window"]
    );
}

#[test]
fn what_may_be_sent_once_is_not_sent_again_and_waits_for_a_person() {
    let (url, seen) = receiver(vec![500, 200]);
    let house = shop(
        &format!(
            "type: webhook\nguarantee: at-most-once\noptions: {{url: '{url}', allow_private: true, parallel: 1}}\n"
        ),
        "every: 30d\ncaps: {per_turn: 5}\n",
    );
    house.ok(&["turn", "--replay", "2024-05-01..2024-05-04"]);
    assert_eq!(seen.lock().unwrap().len(), 5, "one request each");
    assert_eq!(
        house.sql("select status, attempts, count(*) from system.actions group by 1, 2 order by 1"),
        ["dead,1,1", "delivered,1,4"]
    );
    let error = house.cell("select error from system.outbox where status = 'dead'");
    assert!(error.contains("sent once: 500") && error.contains("not sent again"), "{error}");
    house.ok(&["policy", "retry", "offer"]);
    assert!(house.ok(&["status"]).contains("1 pending"), "a person said so");
}

#[test]
fn customers_are_valued_by_what_they_bought() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/files.yaml",
        "sync: files\nconnection: files\nstreams:\n  - {stream: buys, options: {path: buys.csv}}\n",
    );
    // Forty customers with rhythms of 3 to 12 days; every fourth has been silent for 200 days.
    let today = flywheel_base::Clock::now(&flywheel_base::SystemClock);
    let mut lines = "who,at,amount\n".to_owned();
    for who in 0..40_i64 {
        let first = if who % 4 == 0 { 200 } else { 1 };
        for ago in (first + who % 3..=400).step_by(3 + (who % 10) as usize) {
            let at = today.plus_micros(-ago * 86_400_000_000);
            lines.push_str(&format!("c{who:02},{at},{}\n", 10 + who % 7));
        }
    }
    house.write("data/buys.csv", lines);
    house.write(
        "models/buys.sql",
        "select who, cast(at as timestamp) as at, amount from {{ source('raw', 'buys') }}",
    );
    house.write(
        "learners/worth.yaml",
        "learner: worth\nvalue:\n  horizon: 60d\n  events: select who as unit_id, at, amount as value from {{ ref('buys') }}\n",
    );
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house.ok(&["learn"]);
    assert_eq!(house.cell("select count(*) from learn.worth"), "40");
    let wrong = "select count(*) from learn.worth where alive < 0 or alive > 1 or lower > expected_value or expected_value > upper";
    assert_eq!(house.cell(wrong), "0");
    let silent = "select bool_and(w.expected_value < b.expected_value) from learn.worth w cross join learn.worth b where w.unit_id = 'c20' and b.unit_id in ('c10', 'c30')";
    assert_eq!(house.cell(silent), "true");
    let measured = "select count(*) from system.evaluations where learner = 'worth' and measure = 'mae' and value is not null";
    assert_eq!(house.cell(measured), "1");
}

/// A project that lands the rows of one file, with learners over them.
fn learned(rows: &str, learners: &[(&str, &str)]) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/files.yaml",
        "sync: files\nconnection: files\nstreams:\n  - {stream: rows, options: {path: rows.csv}}\n",
    );
    house.write("data/rows.csv", rows);
    for (name, settings) in learners {
        house.write(&format!("learners/{name}.yaml"), format!("learner: {name}\n{settings}"));
    }
    house.ok(&["sync"]);
    house
}

const ROWS: &str = "from {{ source('raw', 'rows') }}";

#[test]
fn those_whom_a_letter_changes_are_told_from_those_who_buy_anyway() {
    // The young buy more often if they get a letter, the old buy anyway.
    let mut rng = flywheel_base::Rng::new(9);
    let mut rows = "who,letter,young,bought\n".to_owned();
    for who in 0..4_000 {
        let (letter, young) = (rng.chance(0.5), rng.chance(0.5));
        let bought = rng.chance(if !young || letter { 0.5 } else { 0.2 });
        let number = |flag: bool| u8::from(flag);
        let (letter, young) = (number(letter), number(young));
        rows.push_str(&format!("c{who:04},{letter},{young},{}\n", number(bought)));
    }
    let learner = |method: &str, from: &str| {
        format!(
            "uplift:\n  method: {method}\n  experiment: select who as unit_id, letter as treated, bought as happened, young {from}\n  score: select who as unit_id, young {ROWS}\n"
        )
    };
    let (s, t, x) = (learner("s", ROWS), learner("t", ROWS), learner("x", ROWS));
    let alone = learner("t", &format!("{ROWS} where letter = 1"));
    let house = learned(&rows, &[("by_s", &s), ("by_t", &t), ("by_x", &x)]);
    house.ok(&["learn"]);
    for name in ["by_s", "by_t", "by_x"] {
        let told = house.cell(&format!(
            "select count(*) || ' ' || bool_and(case when young = 1 then uplift > 0.2 else abs(uplift) < 0.1 end)
             from learn.{name} l join raw.rows r on r.who = l.unit_id"
        ));
        assert_eq!(told, "4000 true", "{name}");
        let better = format!(
            "select bool_and(value > baseline) from system.evaluations where learner = '{name}'"
        );
        assert_eq!(house.cell(&better), "true", "on units held back");
    }
    house.write("learners/by_t.yaml", format!("learner: by_t\n{alone}"));
    let refused = house.fails(2, &["learn", "by_t"]);
    assert!(refused.contains("learner \"by_t\"") && refused.contains("0 others"), "{refused}");
    let few = learner("t", &format!("{ROWS} where who < 'c0020'"));
    let odd = few.replace("as happened, young", "as happened, cast('NaN' as double) as young");
    house.write("learners/by_t.yaml", format!("learner: by_t\n{odd}"));
    let told = text(&house.run(&["learn", "by_t"]).stderr);
    assert!(told.contains("with fewer than 100 of each"), "{told}");
    assert!(told.contains("\"young\" is not a number or infinite in 20 of 20 rows"), "{told}");
}

#[test]
fn a_learner_of_another_kind_begins_anew_under_the_old_name() {
    let today = flywheel_base::Clock::now(&flywheel_base::SystemClock);
    let mut rows = "row,who,at,amount,back\n".to_owned();
    for row in 0..400_i64 {
        let at = today.plus_micros(-(row / 10 + 1) * 86_400_000_000);
        rows.push_str(&format!("r{row},c{:02},{at},{},{}\n", row % 20, row % 7, row % 2));
    }
    let events = format!(
        "  events: select who as unit_id, cast(at as timestamp) as at, cast(amount as double) as value {ROWS}\n"
    );
    let hours = format!("hours:\n{events}");
    let segment = format!("segment:\n{events}");
    let forecast = format!(
        "forecast:\n  series: select who as series_id, cast(cast(at as timestamp) as date) as day, cast(amount as double) as value {ROWS}\n"
    );
    let score = format!(
        "score:\n  target: back\n  examples: select row as row_id, cast(at as timestamp) as at, cast(amount as double) as amount, back {ROWS}\n  score: select row as unit_id, cast(amount as double) as amount {ROWS}\n"
    );
    let house = learned(&rows, &[("kc", &hours)]);
    for (settings, column) in [
        (&hours, "share"),
        (&forecast, "mean"),
        (&score, "score"),
        (&segment, "stage"),
        (&forecast, "mean"),
    ] {
        house.write("learners/kc.yaml", format!("learner: kc\n{settings}"));
        // Judges, learns and scores: none of it may take what the former kind left for its own.
        house.ok(&["turn"]);
        assert_eq!(house.cell(&format!("select count({column}) > 0 from learn.kc")), "true");
        house.ok(&["learn", "kc"]);
    }
    let moved = house.cell("select count(*), count(from_stage) from learn.kc_moves");
    assert_eq!(moved, "20,0");
}

#[test]
fn a_score_learns_what_places_of_many_names_are_worth() {
    let mut rng = flywheel_base::Rng::new(8);
    let mut rows = "row,at,town,age,clicked\n".to_owned();
    for row in 0..6_000 {
        let town = rng.below(300);
        let clicked = u8::from(rng.chance(if town.is_multiple_of(3) { 0.8 } else { 0.1 }));
        let town = if row % 50 == 7 { String::new() } else { format!("town {town}") };
        let at = format!("2024-05-{:02} 10:00:00", 1 + row / 300);
        rows.push_str(&format!("r{row},{at},{town},{},{clicked}\n", 20 + rng.below(60)));
    }
    let learner = |more: &str| {
        format!(
            "score:\n  target: clicked\n{more}  examples: select row as row_id, cast(at as timestamp) as at, town, cast(age as double) as age, clicked {ROWS}\n  score: select town as unit_id, town, 40.0 as age {ROWS} where town like 'town%' group by town\n"
        )
    };
    let house = learned(&rows, &[("clicks", &learner("  hashed: {bits: 14}\n"))]);
    house.ok(&["learn"]);
    let right = "select avg(case when (score > 0.4) = (cast(substr(unit_id, 6) as int) % 3 = 0) then 1.0 else 0.0 end) > 0.9, count(*) from learn.clicks";
    assert_eq!(house.cell(right), "true,300");
    let better =
        "select bool_and(value < 0.85 * baseline) from system.evaluations where learner = 'clicks'";
    assert_eq!(house.cell(better), "true");
    // What was learned in a table of one size cannot go on in another: it begins anew.
    house.write(
        "learners/clicks.yaml",
        format!("learner: clicks\n{}", learner("  hashed: {bits: 15}\n")),
    );
    house.ok(&["learn", "clicks"]);
    let newest = "select detail from system.artifacts where learner = 'clicks' order by fitted_at desc limit 1";
    let anew = house.cell(newest);
    assert!(anew.contains("learned_anew") && anew.contains("6000"), "{anew}");
    assert_eq!(house.cell(right), "true,300");
    // Nor can what knew fewer columns.
    let wider = learner("  hashed: {bits: 15}\n").replace(" as age", " as age, 1.0 as one");
    house.write("learners/clicks.yaml", format!("learner: clicks\n{wider}"));
    house.ok(&["learn", "clicks"]);
    let anew = house.cell(newest);
    assert!(anew.contains("learned_anew") && anew.contains("6000"), "{anew}");
    house.ok(&["learn", "clicks"]);
    let after = house.cell(newest);
    assert!(!after.contains("learned_anew") && after.contains("6000"), "{after}");
    let ages = learner("").replace("target: clicked", "target: age").replace("town, cast", "cast");
    house.write("learners/clicks.yaml", format!("learner: clicks\n{ages}"));
    let refused = house.fails(2, &["learn", "clicks"]);
    assert!(refused.contains("learner \"clicks\": the target \"age\""), "{refused}");
    assert!(refused.contains("neither 0 nor 1"), "{refused}");
    let both = learner("  predict: number\n  hashed: {}\n").replace("clicks", "amount");
    house.write("learners/amount.yaml", format!("learner: amount\n{both}"));
    let refused = house.fails(2, &["learn", "amount"]);
    assert!(refused.contains("for probabilities only"), "{refused}");
}

#[test]
fn who_leaves_is_learned_from_all_examples_and_judged_by_the_newest() {
    let mut rng = flywheel_base::Rng::new(10);
    let mut rows = String::from("row,at,plan,months,left\n");
    for row in 0..3_000 {
        let plan = ["monthly", "yearly", "two-years"][rng.below(3)];
        let months = rng.below(60);
        // Who pays by the month leaves early or not at all: it takes both columns to see it.
        let chance = if plan == "monthly" && months < 20 { 0.9 } else { 0.03 };
        let left = u8::from(rng.chance(chance));
        let left = if row % 97 == 5 { String::new() } else { left.to_string() };
        let at = format!("2024-05-{:02} 10:00:00", 1 + row / 120);
        rows.push_str(&format!("r{row},{at},{plan},{months},{left}\n"));
    }
    let learner = |more: &str| {
        format!(
            "score:\n  target: left\n{more}  examples: select row as row_id, cast(at as timestamp) as at, plan, cast(months as double) as months, left {ROWS}\n  score: select row as unit_id, plan, cast(months as double) as months {ROWS}\n"
        )
    };
    let auto = learner("  algorithm: auto\n");
    let house = learned(&rows, &[("churn", &auto), ("plain", &learner("  algorithm: logistic\n"))]);
    house.ok(&["learn"]);
    let detail = house.cell("select detail from system.artifacts where learner = 'churn'");
    assert!(detail.contains("boosted-trees"), "{detail}");
    let measured = |learner: &str, measure: &str| -> f64 {
        let sql = format!(
            "select value from system.evaluations where learner = '{learner}' and measure = '{measure}, held back'"
        );
        house.cell(&sql).parse().unwrap()
    };
    let (trees, plain) = (measured("churn", "log loss"), measured("plain", "log loss"));
    assert!(trees < 0.9 * plain, "{trees} beside {plain}");
    let ranked = measured("churn", "auc");
    assert!((0.75..0.98).contains(&ranked), "{ranked}");
    assert!(measured("churn", "calibration error") < 0.1);
    let right = "select avg(case when (c.score > 0.4) = (r.plan = 'monthly' and r.months < 20) then 1.0 else 0.0 end) > 0.98, count(*) from learn.churn c join raw.rows r on r.row = c.unit_id";
    assert_eq!(house.cell(right), "true,3000");
    let reason = "select c.reason from learn.churn c join raw.rows r on r.row = c.unit_id where r.plan = 'monthly' and r.months = 3 limit 1";
    let reason = house.cell(reason);
    assert!(reason.contains("plan = monthly (+") && reason.contains("months = 3 (+"), "{reason}");
    let before = house.cell("select sum(score) from learn.churn");
    house.ok(&["learn", "churn"]);
    assert_eq!(
        house.cell("select sum(score) from learn.churn"),
        before,
        "the same rows, the same trees"
    );
    for (settings, word) in [
        ("  algorithm: boosted-trees\n  hashed: {}\n", "online"),
        ("  algorithm: logistic\n  predict: number\n", "probabilities only"),
        ("  algorithm: boosted-tree\n", "boosted-trees"),
    ] {
        house.write("learners/churn.yaml", format!("learner: churn\n{}", learner(settings)));
        let refused = house.fails(2, &["learn", "churn"]);
        assert!(refused.contains(word), "{settings}: {refused}");
    }
}
