//! Learners that get worse, and learners that are taken back: what is told, fitted again, held and let go.

use flywheel_base::{Rng, Timestamp};

use crate::house::House;

/// The first day of the replay.
const START: &str = "2024-05-01";
/// From this day on everything sells twice as often.
const TWICE: i64 = 20;

fn day(number: i64) -> String {
    Timestamp::parse(START).unwrap().plus_micros(number * 86_400_000_000).date()
}

fn files(house: &House, stream: &str, columns: &[&str]) {
    let columns: Vec<String> = columns
        .iter()
        .map(|name| {
            let kind = match *name {
                "pieces" => "float64",
                "at" => "timestamp",
                _ => "text",
            };
            format!("{{name: {name}, type: {kind}}}")
        })
        .collect();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        format!(
            "sync: shop\nconnection: files\nstreams:\n  - stream: {stream}\n    options: {{path: '{stream}-*.csv', dated: '{stream}-%Y-%m-%d.csv'}}\n    read: incremental\n    write: append\n    columns: [{}]\n",
            columns.join(", ")
        ),
    );
}

#[test]
fn a_drift_rings_once_and_retrains_the_learner_whose_file_says_so() {
    let house = House::new();
    files(&house, "sales", &["item", "day", "pieces"]);
    let mut rng = Rng::new(7);
    let mut sold = |from: i64, to: i64, factor: f64| {
        let mut lines = String::from("item,day,pieces\n");
        for number in from..to {
            for item in 0..8 {
                let usual = 100.0 + 10.0 * f64::from(item);
                let pieces = factor * usual * (0.92 + 0.16 * rng.uniform());
                lines.push_str(&format!("i{item},{},{pieces:.1}\n", day(number)));
            }
        }
        lines
    };
    house.write(&format!("data/sales-{}.csv", day(-1)), sold(-42, 0, 1.0));
    for number in 0..29 {
        let factor = if number < TWICE { 1.0 } else { 2.0 };
        house.write(&format!("data/sales-{}.csv", day(number)), sold(number, number + 1, factor));
    }
    for (name, more) in [("demand", "on_drift: retrain\n"), ("calm", "")] {
        house.write(
            &format!("learners/{name}.yaml"),
            format!(
                "learner: {name}\nrefit: 300d\n{more}forecast:\n  series: select item as series_id, cast(day as date) as day, pieces as value from {{{{ source('raw', 'sales') }}}}\n  method: seasonal-naive\n  horizon_days: 60\n"
            ),
        );
    }
    house.ok(&["turn", "--replay", &format!("{}..{}", day(0), day(TWICE))]);
    assert_eq!(house.cell("select count(*) from system.drift"), "0");
    let told = house.run(&["turn", "--replay", &format!("{}..{}", day(TWICE + 1), day(TWICE + 8))]);
    assert!(told.status.success());

    let first = "select learner, min(at) as at from system.drift group by learner";
    let found = format!(
        "select learner, answer, d.before < d.after or measure = 'coverage' from system.drift d join ({first}) f using (learner, at) group by 1, 2, 3 order by 1"
    );
    assert_eq!(house.sql(&found), ["calm,told,true", "demand,retrain,true"]);
    let late = format!(
        "select count(*) from ({first}) f where cast(at as date) between date '{}' and date '{}'",
        day(TWICE + 1),
        day(TWICE + 7)
    );
    assert_eq!(house.cell(&late), "2");
    // It is fitted in the turn that found it, though it is not due for months.
    let fits = format!(
        "select a.learner, count(*) from system.artifacts a join ({first}) f on f.learner = a.learner and f.at = a.fitted_at group by 1"
    );
    assert_eq!(house.sql(&fits), ["demand,1"]);
    assert_eq!(house.cell("select count(*) from system.artifacts where learner = 'calm'"), "1");
    // What was told is not told again by the same readings.
    assert_eq!(
        house.cell("select count(*) from system.drift where learner = 'calm' and measure = 'wape'"),
        "1"
    );
    let status = house.ok(&["status"]);
    assert!(status.contains("WORSE: learner \"calm\" got worse"), "{status}");
    house.write(
        "learners/calm.yaml",
        "learner: calm\non_drift: retrain\nhours:\n  events: select item as unit_id, cast(day as timestamp) as at from {{ source('raw', 'sales') }}\n",
    );
    let complaint = house.fails(2, &["check"]);
    assert!(complaint.contains("on_drift") && complaint.contains("calm.yaml"), "{complaint}");
}

#[test]
fn a_bad_fit_is_taken_back_and_decisions_use_the_former_artifact() {
    let house = House::new();
    files(&house, "orders", &["order_id", "customer_id", "item", "at"]);
    house.write(
        "learners/best.yaml",
        "learner: best\nrefit: 1d\nrecommend:\n  interactions: select customer_id as user_id, item as item_id, at from {{ source('raw', 'orders') }}\n  algorithm: popularity\n  repeats: true\n  top: 3\n",
    );
    house.write(
        "actions/send.yaml",
        "action: send\ntype: file\noptions: {path: 'out/{policy}/{turn}.jsonl'}\n",
    );
    house.write(
        "policies/shelf.yaml",
        "policy: shelf\naudience: select distinct customer_id as unit_id from {{ source('raw', 'orders') }}\naction: send\nchoose: {recommend: {learner: best, slots: 1}}\nholdout: 10%\n",
    );
    let turn = |number: i64| {
        let mut lines = String::from("order_id,customer_id,item,at\n");
        for customer in 0..12 {
            for item in 0..=(customer % 4) {
                lines.push_str(&format!(
                    "o{number}-{customer}-{item},c{customer:02},i{},{} 10:00:00\n",
                    (item + number) % 5,
                    day(number)
                ));
            }
        }
        house.write(&format!("data/orders-{}.csv", day(number)), lines);
        house.ok(&["turn", "--replay", &day(number)]);
    };
    let used = |number: i64| {
        house.cell(&format!(
            "select distinct artifact from system.decisions where cast(decided_at as date) = date '{}'",
            day(number)
        ))
    };
    let digest = |version: i64| {
        house.cell(&format!("select digest from system.artifacts where version = {version}"))
    };
    let standing =
        || house.sql("select version, champion, pinned from system.artifacts order by 1");
    let served = || house.cell("select distinct artifact from learn.best");

    let early = house.fails(2, &["learn", "pin", "best"]);
    assert!(early.contains("never fitted"), "{early}");
    turn(0);
    turn(1);
    assert_ne!(digest(1), digest(2));
    assert_eq!((used(1), served()), (digest(2), digest(2)));
    let back = house.run(&["learn", "rollback", "best", "--reason", "today's fit is bad"]);
    assert!(back.status.success());
    assert_eq!(standing(), ["1,true,true", "2,false,false"]);
    assert_eq!(served(), digest(1), "its rows are those of the former artifact again");

    // The wheel turns on: it is not fitted, and what it says is what the former artifact said.
    turn(2);
    assert_eq!((used(2), served()), (digest(1), digest(1)));
    house.ok(&["learn", "best"]);
    assert_eq!(standing(), ["1,true,true", "2,false,false"]);
    let status = house.ok(&["status"]);
    assert!(status.contains("PINNED") && status.contains("today's fit is bad"), "{status}");
    let none = house.fails(2, &["learn", "rollback", "best"]);
    assert!(none.contains("no artifact before"), "{none}");
    let missing = house.fails(2, &["learn", "pin", "best", "9"]);
    assert!(missing.contains("no version 9"), "{missing}");
    house.fails(2, &["learn", "pin", "bst"]);

    // Let go, it is fitted at the next turn; until then nothing changes.
    house.ok(&["learn", "unpin", "best"]);
    assert_eq!(standing(), ["1,true,false", "2,false,false"]);
    turn(3);
    assert_eq!(standing(), ["1,false,false", "2,false,false", "3,true,false"]);
    assert_eq!((used(3), served()), (digest(3), digest(3)));
    let again = house.fails(2, &["learn", "unpin", "best"]);
    assert!(again.contains("not pinned"), "{again}");

    // Any of them can be served, by its version or its digest.
    house.ok(&["learn", "pin", "best", &digest(2)[..16]]);
    assert_eq!(standing(), ["1,false,false", "2,true,true", "3,false,false"]);
    turn(4);
    assert_eq!((used(4), served()), (digest(2), digest(2)));
}
