//! Credit for what somebody bought: shared among the actions before it, and what they caused against the holdout.

use serde_json::Value;

use crate::house::House;

/// A shop of 200 customers with two policies that decide on the same days.
fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: customers\n    options: {path: 'customers.csv'}\n    read: full\n    write: replace\n  - stream: orders\n    options: {path: 'orders-*.csv', dated: 'orders-%Y-%m-%d.csv'}\n    read: incremental\n    write: append\n    columns: [{name: order_id, type: text}, {name: customer_id, type: text}, {name: at, type: timestamp}, {name: revenue, type: float64}]\n",
    );
    let customers: String = (0..200).map(|id| format!("c{id:03}\n")).collect();
    house.write("data/customers.csv", format!("customer_id\n{customers}"));
    house.write("data/orders-2024-05-01.csv", "order_id,customer_id,at,revenue\n");
    house.write(
        "actions/mail.yaml",
        "action: mail\ntype: file\noptions: {path: 'out/{policy}/{turn}.jsonl'}\n",
    );
    house.write(
        "policies/offer.yaml",
        offer("[incremental, last-touch, first-touch, linear, time-decay, position]"),
    );
    house.write(
        "policies/news.yaml",
        "policy: news\naudience: select customer_id as unit_id from {{ source('raw', 'customers') }}\nchoose: {candidates: [{name: letter}]}\nevery: 3d\naction: mail\n",
    );
    house
}

fn offer(methods: &str) -> String {
    format!(
        "policy: offer\naudience: select customer_id as unit_id from {{{{ source('raw', 'customers') }}}}\nchoose: {{candidates: [{{name: discount}}]}}\nevery: 2d\nholdout: 40%\naction: mail\noutcome:\n  events: select order_id as event_id, customer_id as unit_id, at, revenue as value from {{{{ source('raw', 'orders') }}}}\n  window: 5d\n  attribution: {{methods: {methods}, among: [offer, news], half_life: 1d}}\n"
    )
}

const HEAD: &str = "order_id,customer_id,at,revenue\n";

/// The shares of one order, by policy and day of the action.
fn shares(house: &House, order: &str) -> Vec<String> {
    house.sql(&format!(
        "select touched_policy, cast(cast(touched_at as date) as varchar) as day, round(last_touch, 4), round(first_touch, 4), round(linear, 4), round(time_decay, 4), round(position, 4)
         from system.credits where event_id = '{order}' order by touched_at, touched_policy"
    ))
}

#[test]
fn what_waits_for_a_person_has_touched_nobody() {
    let house = shop();
    let news = house.read("policies/news.yaml");
    house.write("policies/news.yaml", format!("{news}approve: {{by: anyone}}\n"));
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let treated = house.sql(
        "select unit_id from system.decisions where policy = 'offer' and arm = 'treatment' order by unit_id",
    );
    let order = format!("o1,{},2024-05-02 12:00:00,10\n", treated[0]);
    house.write("data/orders-2024-05-02.csv", format!("{HEAD}{order}"));
    house.ok(&["turn", "--replay", "2024-05-02"]);
    assert_eq!(shares(&house, "o1"), ["offer,2024-05-01,1.0,1.0,1.0,1.0,1.0"]);
    let waiting = house.cell("select count(*) from system.approvals where status = 'waiting'");
    let told = format!(", {waiting} to be approved (`flywheel approvals list`)");
    let status = house.ok(&["status"]);
    assert!(waiting != "0" && status.contains(&told), "{status}");
}

#[test]
fn each_order_is_credited_once_to_the_actions_before_it_late_and_doubled_ones_too() {
    let house = shop();
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let arm = |arm: &str| {
        house.sql(&format!(
            "select unit_id from system.decisions where policy = 'offer' and arm = '{arm}' order by unit_id"
        ))
    };
    let (treated, held) = (arm("treatment"), arm("holdout"));
    house.ok(&["turn", "--replay", "2024-05-02..2024-05-03"]);
    // Turns are at the ends of days: offers on the 1st and the 3rd, a letter on the 1st. The order is there twice.
    let first = format!("o1,{},2024-05-04 12:00:00,10\n", treated[0]);
    let other = format!("o2,{},2024-05-04 12:00:00,30\n", held[0]);
    let nobody = "o3,nobody,2024-05-04 12:00:00,30\n";
    house.write("data/orders-2024-05-04.csv", format!("{HEAD}{first}{first}{other}{nobody}"));
    house.ok(&["turn", "--replay", "2024-05-04"]);
    // Both of the 1st are of one moment: 1 part each by decay, 4 for the one of two half lives later.
    assert_eq!(
        shares(&house, "o1"),
        [
            "news,2024-05-01,0.0,0.5,0.3333,0.1667,0.25",
            "offer,2024-05-01,0.0,0.5,0.3333,0.1667,0.25",
            "offer,2024-05-03,1.0,0.0,0.3333,0.6667,0.5",
        ]
    );
    assert_eq!(
        shares(&house, "o2"),
        ["news,2024-05-01,1.0,1.0,1.0,1.0,1.0"],
        "the holdout got the letter alone"
    );
    assert_eq!(shares(&house, "o3"), Vec::<String>::new());

    // The first again, and one that is told late: credited to what was before it, not to what is before today.
    let late = format!("o4,{},2024-05-02 12:00:00,5\n", treated[1]);
    house.write("data/orders-2024-05-06.csv", format!("{HEAD}{first}{late}"));
    house.ok(&["turn", "--replay", "2024-05-05..2024-05-06"]);
    assert_eq!(
        shares(&house, "o4"),
        ["news,2024-05-01,0.5,0.5,0.5,0.5,0.5", "offer,2024-05-01,0.5,0.5,0.5,0.5,0.5",]
    );
    assert_eq!(house.cell("select count(*) from system.credits"), "6");

    // Sums are those of the credits, by turns of a few days as well as anew after a change of the file.
    let summed = |house: &House| {
        house.sql(
            "select method, round(sum(outcomes), 9), round(sum(value), 9) from system.attribution where descriptive group by method order by method",
        )
    };
    let wanted = [
        "first-touch,3.0,45.0",
        "last-touch,3.0,45.0",
        "linear,3.0,45.0",
        "position,3.0,45.0",
        "time-decay,3.0,45.0",
    ];
    assert_eq!(summed(&house), wanted);
    let by_day = "select method, touched_policy, action, channel, day, touches, outcomes, value from system.attribution where descriptive order by 1, 2, 3, 4, 5";
    let before = house.sql(by_day);
    house.ok(&["turn", "--replay", "2024-05-07"]);
    assert_eq!(house.sql(by_day), before, "a turn without news changes nothing");
    house.write(
        "policies/offer.yaml",
        offer("[last-touch, first-touch, linear, time-decay, position]"),
    );
    house.ok(&["turn", "--replay", "2024-05-08"]);
    assert_eq!(house.sql(by_day), before, "as if summed up from the beginning");
    assert_eq!(house.cell("select count(*) from system.attribution where not descriptive"), "0");
}

#[test]
fn a_success_that_is_moved_beyond_two_windows_is_credited_once() {
    let house = shop();
    let policy = offer("[last-touch, linear]").replace(
        "at, revenue as value from {{ source('raw', 'orders') }}",
        "max(at) as at, max(revenue) as value from {{ source('raw', 'orders') }} group by 1, 2",
    );
    house.write("policies/offer.yaml", policy);
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let treated = house.cell(
        "select min(unit_id) from system.decisions where policy = 'offer' and arm = 'treatment'",
    );
    let order = |day: &str| {
        let line = format!("{HEAD}o1,{treated},{day} 12:00:00,10\n");
        house.write(&format!("data/orders-{day}.csv"), line);
    };
    let credited = || {
        house.sql(
            "select count(distinct turn), round(sum(linear), 6), round(sum(last_touch), 6) from system.credits where event_id = 'o1'",
        )
    };
    order("2024-05-04");
    house.ok(&["turn", "--replay", "2024-05-02..2024-05-04"]);
    assert_eq!(credited(), ["1,1.0,1.0"]);
    // Twelve days later than it was said to be, with a window of five.
    order("2024-05-16");
    house.ok(&["turn", "--replay", "2024-05-05..2024-05-16"]);
    assert_eq!(credited(), ["1,1.0,1.0"]);
    assert_eq!(house.cell("select count(*) from system.outcomes where event_id = 'o1'"), "1");
}

#[test]
fn what_is_incremental_is_lift_times_the_decisions_in_treatment() {
    let house = shop();
    house.ok(&["turn", "--replay", "2024-05-01"]);
    let units = house
        .sql("select unit_id, arm from system.decisions where policy = 'offer' order by unit_id");
    // Every second one of treatment buys, and every tenth of the holdout.
    let (mut orders, mut counts) = (HEAD.to_owned(), [0, 0]);
    for line in units {
        let (unit, arm) = line.split_once(',').unwrap();
        let (place, every) = if arm == "treatment" { (0, 2) } else { (1, 10) };
        if counts[place] % every == 0 {
            orders.push_str(&format!("o{unit},{unit},2024-05-02 12:00:00,20\n"));
        }
        counts[place] += 1;
    }
    house.write("data/orders-2024-05-02.csv", orders);
    house.ok(&["turn", "--replay", "2024-05-02..2024-05-12"]);
    let rows: Vec<Value> = serde_json::from_str(&house.ok(&[
        "sql",
        "select sum(touches) as touches, sum(outcomes) as outcomes, sum(lower) as lower, sum(upper) as upper, sum(value) as value, count(distinct day) as days, max(channel) as channel
         from system.attribution where method = 'incremental'",
        "--output",
        "json",
    ]))
    .unwrap();
    let lift: Vec<Value> = serde_json::from_str(&house.ok(&[
        "sql",
        "select lift, lower, upper, value_lift, (select count(*) from system.decisions where policy = 'offer' and arm = 'treatment' and decided_at <= timestamp '2024-05-07T23:59:59Z') as treated
         from system.lift where policy = 'offer' order by turn desc limit 1",
        "--output",
        "json",
    ]))
    .unwrap();
    let number = |row: &Value, column: &str| row[column].as_f64().unwrap();
    let (found, lift) = (&rows[0], &lift[0]);
    let treated = number(lift, "treated");
    assert!(treated > 200.0, "several days: {treated}");
    assert_eq!((number(found, "touches"), number(found, "days")), (treated, 4.0));
    assert_eq!(found["channel"], "mail");
    for (of, each) in
        [("outcomes", "lift"), ("lower", "lower"), ("upper", "upper"), ("value", "value_lift")]
    {
        let (sum, wanted) = (number(found, of), number(lift, each) * treated);
        assert!((sum - wanted).abs() < 1e-6 * wanted.abs().max(1.0), "{of}: {sum} {wanted}");
    }
    let bought = number(found, "outcomes");
    assert!(bought > 25.0 && bought < 65.0, "about 0.4 of the first decisions' units: {bought}");
}

#[test]
fn a_wrong_attribution_is_told_before_anything_runs() {
    let house = shop();
    house.write(
        "policies/offer.yaml",
        offer("[linear, linear]").replace("news]", "newz], ends: 60%"),
    );
    let told = house.fails(2, &["check"]);
    for words in ["\"linear\" is listed twice", "unknown policy \"newz\"", "more than 50% each"] {
        assert!(told.contains(words), "{words}: {told}");
    }
}
