//! Learners of one shop through the binary: what adds up, what follows a visit, what is near, when and how much.

use flywheel_base::{Clock, Rng, SystemClock, Timestamp};
use serde_json::Value;

use crate::house::{House, text};

const CUSTOMERS: usize = 90;
const DAYS: i64 = 120;
const FILES: &[(&str, &str)] = &[
    ("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n"),
    (
        "syncs/files.yaml",
        "sync: files\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}}\n  - {stream: items, options: {path: items.csv}}\n",
    ),
    (
        "models/orders.sql",
        "select o.customer, o.item, i.category, i.department, cast(o.pieces as double) as pieces, cast(o.at as timestamp) as at\nfrom {{ source('raw', 'orders') }} o left join {{ source('raw', 'items') }} i on i.item = o.item\n",
    ),
    (
        "learners/demand.yaml",
        "learner: demand\nforecast:\n  series: select item as series_id, category, department, date_trunc('day', at) as day, sum(pieces) as value from {{ ref('orders') }} group by 1, 2, 3, 4 -- by day\n  method: seasonal-naive\n  horizon_days: 7\n  hierarchy: [category, department]\n",
    ),
    (
        "learners/visits.yaml",
        "learner: visits\nrecommend:\n  interactions: select customer as user_id, item as item_id, at from {{ ref('orders') }}\n  algorithm: sessions\n  sessions: {gap_minutes: 60}\n  repeats: true\n  top: 5\n",
    ),
    (
        "learners/near.yaml",
        "learner: near\nrecommend:\n  interactions: select customer as user_id, item as item_id, at from {{ ref('orders') }}\n  items: select item as item_id, place as embedding from {{ source('raw', 'items') }}\n  algorithm: embeddings\n  top: 5\n",
    ),
    (
        "learners/pairs.yaml",
        "learner: pairs\nrecommend:\n  interactions: select customer as user_id, item as item_id, at from {{ ref('orders') }}\n  algorithm: bpr\n  bpr: {factors: 8, epochs: 20}\n  repeats: true\n  top: 5\n",
    ),
    (
        "learners/hour.yaml",
        "learner: hour\nhours:\n  events: select customer as unit_id, at from {{ ref('orders') }}\n  window_hours: 2\n",
    ),
    (
        "learners/worth.yaml",
        "learner: worth\nvalue:\n  events: select customer as unit_id, at, pieces as value from {{ ref('orders') }}\n  model: bg-bb\n  opportunity: 7d\n  horizon: 28d\n",
    ),
];

/// Twelve items in four categories and two departments; nobody has had the last one. Customers come every few days at an hour
/// of their own and take two items of one category; every sixth stopped half-way.
fn shop() -> House {
    let today = SystemClock.now().day();
    let mut items = String::from("item,category,department,place\n");
    for item in 0..12 {
        let (category, department) = (item / 3, item / 6);
        // The first of three has no category of its own.
        let label = if item == 0 { String::new() } else { format!("k{category}") };
        items.push_str(&format!("i{item:02},{label},d{department},\"[{category}, {item}.5]\"\n"));
    }
    let mut rng = Rng::new(12);
    let mut orders = String::from("customer,item,pieces,at\n");
    for customer in 0..CUSTOMERS {
        let end = if customer % 6 == 0 { DAYS / 2 } else { DAYS };
        let mut day = rng.below(7) as i64;
        while day < end {
            let date = Timestamp::from_day(today - DAYS + day).date();
            let first = 3 * rng.below(4);
            for step in 0..2 {
                let item = (first + step).min(10);
                let hour = 6 + customer % 12;
                orders.push_str(&format!(
                    "c{customer:02},i{item:02},{},{date} {hour:02}:{:02}:00\n",
                    1 + rng.below(3),
                    10 + 5 * step
                ));
            }
            day += 3 + rng.below(4) as i64;
        }
    }
    let house = House::new();
    for (path, text) in FILES {
        house.write(path, *text);
    }
    house.write("data/items.csv", items).write("data/orders.csv", orders);
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house.ok(&["learn"]);
    house
}

#[test]
fn learners_of_a_shop_say_what_a_user_can_check() {
    let house = shop();
    // Forecasts of groups are the sums of those of their items, on every day.
    let adds_up = "select count(*) || ' ' || bool_and(abs(g.mean - s.mean) < 1e-6) from learn.demand_levels g join (
        select 'total' as level, 'total' as label, day, sum(mean) as mean from learn.demand group by day
        union all select 'department', i.department, f.day, sum(f.mean) from learn.demand f
          join (select distinct item, department from main.orders) i on i.item = f.series_id group by 2, 3
        union all select 'category', coalesce(nullif(i.category, ''), 'd0/unknown'), f.day, sum(f.mean) from learn.demand f
          join (select distinct item, category from main.orders) i on i.item = f.series_id group by 2, 3
      ) s on s.level = g.level and s.label = g.label and s.day = g.day";
    assert_eq!(house.cell(adds_up), format!("{} true", 7 * (1 + 2 + 5)));
    let why = house.cell("select detail from system.artifacts where learner = 'demand'");
    assert!(why.contains("adding_up") && why.contains("erred least"), "{why}");
    let judged = "select count(*) from system.evaluations where learner = 'demand' and measure = 'wape_of_levels' and value > 0";
    assert_eq!(house.cell(judged), "1");

    // What was in a session with the last item comes first, and says why.
    let followed =
        "select avg(case when substr(l.reason, 1, 11) = 'because of ' then 1.0 else 0 end) > 0.9
        from learn.visits l where l.rank = 1 and l.user_id <> '*'";
    assert_eq!(house.cell(followed), "true");
    // Nobody has had the last item, and it lies near to those of its category.
    let near =
        "select count(*) > 0 from learn.near where item_id = 'i11' and source = 'embeddings'";
    assert_eq!(house.cell(near), "true");
    let pairs = "select count(distinct user_id) || ' ' || bool_and(score is not null) from learn.pairs where user_id <> '*'";
    assert_eq!(house.cell(pairs), format!("{CUSTOMERS} true"));

    // Each customer's hour lies in the window of two hours.
    let hours = "select count(*) || ' ' || sum(case when 6 + cast(substr(unit_id, 2) as int) % 12 - hour in (0, 1) then 1 else 0 end)
        from learn.hour where unit_id <> '*'";
    assert_eq!(house.cell(hours), format!("{CUSTOMERS} {CUSTOMERS}"));
    assert_eq!(house.cell("select count(*) from learn.hour where unit_id = '*'"), "1");

    // Who stopped half-way is worth less than everybody else, and nobody buys more often than there are chances.
    let worth = "select max(expected_purchases) <= 4 and
          max(alive) filter (where cast(substr(unit_id, 2) as int) % 6 = 0) <
          min(alive) filter (where cast(substr(unit_id, 2) as int) % 6 <> 0)
        from learn.worth";
    assert_eq!(house.cell(worth), "true");

    // Without a hierarchy nothing is said of groups any more.
    let demand = FILES.iter().find(|(path, _)| *path == "learners/demand.yaml").unwrap().1;
    house
        .write("learners/demand.yaml", demand.replace("  hierarchy: [category, department]\n", ""));
    house.ok(&["learn", "demand"]);
    assert_eq!(house.cell("select count(*) from learn.demand_levels"), "0");
}

#[test]
fn a_learner_of_a_shop_that_cannot_be_learned_says_which_row_is_wrong() {
    let house = shop();
    let refused = |path: &str, from: &str, to: &str| {
        let text = FILES.iter().find(|(known, _)| *known == path).unwrap().1;
        assert!(text.contains(from), "{path}");
        house.write(path, text.replace(from, to));
        let learner = path.trim_start_matches("learners/").trim_end_matches(".yaml");
        let said = house.fails(2, &["learn", learner]);
        house.write(path, text);
        said
    };
    let said = refused(
        "learners/near.yaml",
        "place as embedding",
        "case when item = 'i04' then '[1]' else place end as embedding",
    );
    assert!(said.contains("embedding of item \"i04\" has 1 numbers"), "{said}");
    let said = refused("learners/near.yaml", "place as embedding", "item as embedding");
    assert!(said.contains("no list of numbers in row 1"), "{said}");
    let said = refused("learners/near.yaml", ", place as embedding", "");
    assert!(said.contains("no item has an embedding") && said.contains("hint"), "{said}");
    let said = refused(
        "learners/demand.yaml",
        "hierarchy: [category, department]",
        "hierarchy: [categorie]",
    );
    assert!(said.contains("no column \"categorie\"") && said.contains("category"), "{said}");
    let said = refused(
        "learners/demand.yaml",
        "item as series_id, category, department",
        "item as series_id, 'k' as category, department",
    );
    assert!(said.contains("category \"k\" lies in two values of department"), "{said}");
}

#[test]
fn a_learner_that_cannot_be_fitted_holds_up_neither_the_others_nor_the_turn() {
    let house = House::new();
    let from = "from {{ source('raw', 'orders') }}";
    let learners = [
        (
            "worth",
            "value:\n  events: select customer as unit_id, cast(at as timestamp) as at, 1.0 as value",
        ),
        ("hour", "hours:\n  events: select customer as unit_id, cast(at as timestamp) as at"),
        (
            "next",
            "recommend:\n  algorithm: item-knn\n  interactions: select customer as user_id, item as item_id, 'soon' as at",
        ),
    ];
    for (name, settings) in learners {
        let text = format!("learner: {name}\n{settings} {from}\n");
        house.write(&format!("learners/{name}.yaml"), text);
    }
    for (name, choose) in
        [("greet", "candidates: [{name: hello}]"), ("shelf", "recommend: {learner: next}")]
    {
        let audience = format!("audience: select distinct customer as unit_id {from}");
        let text = format!("policy: {name}\n{audience}\nchoose: {{{choose}}}\n");
        house.write(&format!("policies/{name}.yaml"), text);
    }
    house.write("connections/files.yaml", FILES[0].1);
    house.write(
        "syncs/files.yaml",
        "sync: files\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}}\n",
    );
    let today = SystemClock.now().day();
    let mut orders = String::from("customer,item,at\n");
    for order in 0..40 {
        let date = Timestamp::from_day(today - 12 + order / 4).date();
        let (customer, item) = (order % 4, (order % 4 + order / 4 % 2) % 3);
        orders.push_str(&format!("c{customer},i{item},{date} 10:00:00\n"));
    }
    house.write("data/orders.csv", orders);

    let said = house.fails(3, &["turn"]);
    assert!(said.contains("learner \"worth\": "), "{said}");
    assert!(said.contains("needs 10 customers, found 4"), "{said}");
    assert!(said.contains("\"soon\" in row 1, which is no date or time"), "{said}");
    assert!(!said.contains("learner \"next\": learner"), "{said}");
    let notice = "policy \"shelf\" decides for nobody: its learner \"next\" was never fitted";
    assert!(said.contains(notice), "{said}");
    let decided = "select policy || ' ' || count(*) from system.decisions group by policy";
    assert_eq!(house.sql(decided), ["greet 4"]);
    let tasks = "select name || ' ' || status from system.tasks where kind = 'learn' order by name";
    assert_eq!(house.sql(tasks), ["hour succeeded", "next failed", "worth failed"]);
    let status = house.ok(&["status"]);
    assert!(status.contains("turn 1 for") && !status.contains("cut off"), "{status}");
    assert!(status.contains("FAILED: learner \"worth\": "), "{status}");

    // The next turn is another one, and tries those that are missing.
    let next = learners[2].1.replace("'soon' as at", "cast(at as timestamp) as at");
    house.write("learners/next.yaml", format!("learner: next\n{next} {from}\n"));
    let said = house.fails(3, &["turn"]);
    assert!(said.contains("learner \"worth\"") && !said.contains("learner \"next\""), "{said}");
    let fitted = "select learner from system.artifacts order by learner";
    assert_eq!(house.sql(fitted), ["hour", "next"]);
    let status = house.ok(&["status"]);
    assert!(status.contains("turn 2 for") && !status.contains("learner \"next\""), "{status}");

    let learned = house.run(&["learn", "worth", "hour"]);
    let (shown, said) = (text(&learned.stdout), text(&learned.stderr));
    assert_eq!(learned.status.code(), Some(2), "the code of the first error: {said}");
    assert!(shown.contains("hour") && said.contains("needs 10 customers"), "{shown}\n{said}");
}

#[test]
fn a_policy_that_cannot_decide_holds_up_neither_the_others_nor_the_turn() {
    let house = shop();
    let everybody = "audience: select distinct customer as unit_id from {{ ref('orders') }}\n";
    house.write(
        "actions/send.yaml",
        "action: send\ntype: file\noptions: {path: 'out/{policy}/{turn}.jsonl'}\n",
    );
    for name in ["alone", "welcome"] {
        house.write(
            &format!("policies/{name}.yaml"),
            format!(
                "policy: {name}\n{everybody}choose: {{candidates: [{{name: hello}}]}}\naction: send\npayload: {{text: hello}}\nholdout: 20%\noutcome:\n  events: select item as event_id, customer as unit_id, at from {{{{ ref('orders') }}}} where pieces < 0\n  window: 3d\n"
            ),
        );
    }
    house.write(
        "policies/restock.yaml",
        "policy: restock\naudience: select item as unit_id, on_hand, 0 as on_order from {{ source('raw', 'stock') }}\nchoose: {reorder: {learner: demand, lead_time_days: 2, review_days: 1}}\n",
    );
    house.write(
        "syncs/stock.yaml",
        "sync: stock\nconnection: files\nstreams:\n  - {stream: stock, options: {path: stock.csv}, read: full, write: replace}\n",
    );
    let stock = |of_third: &str| format!("item,on_hand\ni01,0\ni03,1\ni04,{of_third}\n");
    house.write("data/stock.csv", stock(""));

    let said = house.fails(3, &["turn"]);
    let why = "policies/restock.yaml: policy \"restock\": item \"i04\" has no number in column \"on_hand\"";
    assert!(said.contains(why), "{said}");
    let decided =
        "select policy || ' ' || count(*) from system.decisions group by policy order by policy";
    let both = [format!("alone {CUSTOMERS}"), format!("welcome {CUSTOMERS}")];
    assert_eq!(house.sql(decided), both, "those before and after it, and nothing of its own");
    let sent = "select policy || ' ' || (count(*) > 50) from system.actions where status = 'delivered' group by policy order by policy";
    assert_eq!(house.sql(sent), ["alone true", "welcome true"]);
    let measured = "select policy from system.lift where turn = 1 order by policy";
    assert_eq!(house.sql(measured), ["alone", "welcome"]);
    let tasks =
        "select name || ' ' || status from system.tasks where kind = 'decide' order by name";
    assert_eq!(house.sql(tasks), ["alone succeeded", "restock failed", "welcome succeeded"]);
    let status = house.ok(&["status"]);
    assert!(status.contains("turn 1 for") && !status.contains("cut off"), "{status}");
    assert!(status.contains(&format!("FAILED: {why}")), "{status}");
    let status: Value = serde_json::from_str(&house.ok(&["status", "--output", "json"])).unwrap();
    let failed = |at: usize| status["policies"][at]["failed"].as_str();
    assert!(failed(0).is_none() && failed(1).unwrap().starts_with(why), "{status}");

    // The next turn is another one. It asks this policy again, and the others are not due.
    house.write("data/stock.csv", stock("2"));
    house.ok(&["turn"]);
    let [alone, welcome] = both;
    assert_eq!(house.sql(decided), [alone, "restock 3".to_owned(), welcome]);
    let turns = "select distinct policy || ' ' || turn from system.decisions order by 1";
    assert_eq!(house.sql(turns), ["alone 1", "restock 2", "welcome 1"]);
    assert!(!house.ok(&["status"]).contains("FAILED"));

    // An item that the forecast does not know is not one of which there is enough.
    house.write("data/stock.csv", "item,on_hand\ni01,0\ni03,900\nI-04,0\n");
    house.ok(&["sync", "stock"]);
    let seen = house.ok(&["policy", "preview", "restock"]);
    assert!(seen.contains("1 of 3 units have no forecast by the learner \"demand\""), "{seen}");
    let again = house.read("policies/restock.yaml").replace("policy: restock", "policy: again");
    house.write("policies/again.yaml", again);
    let turned = house.run(&["turn"]);
    let told = "policy \"again\" orders nothing for 1 units, of which its learner has no forecast";
    assert!(text(&turned.stderr).contains(told), "{}", text(&turned.stderr));
    assert!(house.ok(&["status"]).contains("1 units have no forecast"));
}

#[test]
fn a_replay_over_rows_that_landed_at_once_recommends_what_was_not_yet_bought() {
    let house = House::new();
    house.write("connections/files.yaml", FILES[0].1);
    house.write(
        "syncs/files.yaml",
        "sync: files\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}}\n",
    );
    house.write(
        "learners/next.yaml",
        "learner: next\nrefit: 1d\nrecommend:\n  interactions: select customer as user_id, item as item_id, cast(at as timestamp) as at from {{ source('raw', 'orders') }}\n  algorithm: popularity\n  top: 20\n",
    );
    // Each of twelve customers takes an item on each of ten days that they did not have before.
    let mut orders = String::from("customer,item,at\n");
    for day in 0..10 {
        for customer in 0..12 {
            let item = (customer + day) % 20;
            orders
                .push_str(&format!("c{customer:02},i{item:02},2024-03-{:02} 10:00:00\n", day + 1));
        }
    }
    house.write("data/orders.csv", orders);

    // On the sixth day there are seventeen items, six of which each customer has.
    house.ok(&["turn", "--replay", "2024-03-06..2024-03-06"]);
    let listed = "select min(items) || ' ' || max(items) from (select user_id, count(*) as items from learn.next where user_id <> '*' group by user_id)";
    assert_eq!(house.cell(listed), "11 11");
    let unknown = "select count(*) from learn.next where item_id > 'i16'";
    assert_eq!(house.cell(unknown), "0", "items of later days");
    let left_out =
        "select detail like '%\"later\":48%' from system.artifacts where learner = 'next'";
    assert_eq!(house.cell(left_out), "true");

    // All of them take something new on the next day, and most of it was in their lists.
    house.ok(&["turn", "--replay", "2024-03-07..2024-03-07"]);
    let judged = "select (value > 0.7) || ' ' || count from system.evaluations where learner = 'next' and measure = 'hit rate@10'";
    assert_eq!(house.cell(judged), "true 12");
}

#[test]
fn local_times_ahead_of_utc_count_where_their_zone_is_named() {
    let house = House::new();
    house.write("connections/files.yaml", FILES[0].1);
    house.write(
        "syncs/files.yaml",
        "sync: files\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}}\n",
    );
    for (name, zone) in [("plain", ""), ("zoned", "  time_zone: Asia/Shanghai\n")] {
        house.write(
            &format!("learners/{name}.yaml"),
            format!(
                "learner: {name}\nrecommend:\n  interactions: select customer as user_id, item as item_id, cast(at as timestamp) as at from {{{{ source('raw', 'orders') }}}}\n  algorithm: popularity\n{zone}"
            ),
        );
    }
    // Five in the morning in Shanghai: at nine in the evening in UTC, of the day before.
    let mut orders = String::from("customer,item,at\n");
    for customer in 0..12 {
        orders.push_str(&format!("c{customer:02},i{},2024-03-02 05:00:00\n", customer % 4));
    }
    house.write("data/orders.csv", orders);
    let turned = house.run(&["turn", "--replay", "2024-03-01..2024-03-01"]);
    let said = text(&turned.stderr);
    assert!(said.contains("learner \"plain\": 12 interactions do not count yet"), "{said}");
    assert!(!said.contains("learner \"zoned\": 12 interactions"), "{said}");
    assert_eq!(house.cell("select count(*) > 0 from learn.zoned where user_id = 'c01'"), "true");
    assert_eq!(house.cell("select count(*) from learn.plain where user_id = 'c01'"), "0");
    let wrong = house.read("learners/zoned.yaml").replace("Shanghai", "Shangai");
    house.write("learners/zoned.yaml", wrong);
    let said = house.fails(2, &["check"]);
    assert!(said.contains("learners/zoned.yaml:5") && said.contains("Asia/Shanghai"), "{said}");
}

#[test]
fn an_experiment_that_cannot_be_measured_holds_up_neither_the_others_nor_the_turn() {
    let house = House::new();
    house.write("connections/files.yaml", FILES[0].1);
    house.write(
        "syncs/files.yaml",
        "sync: files\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}}\n",
    );
    let mut orders = String::from("id,customer,pieces,at\n");
    for customer in 0..60 {
        orders.push_str(&format!("o{customer},c{customer:02},1,2024-03-02 10:00:00\n"));
    }
    house.write("data/orders.csv", orders);
    let events = "select id as event_id, customer as unit_id, cast(at as timestamp) as at, cast(pieces as double) as value from {{ source('raw', 'orders') }}";
    let policy = |name: &str, choose: &str| {
        house.write(
            &format!("policies/{name}.yaml"),
            format!(
                "policy: {name}\nevery: 1d\naudience: select distinct customer as unit_id from {{{{ source('raw', 'orders') }}}}\nholdout: 20%\nchoose: {choose}\noutcome:\n  events: {events}\n  window: 1d\n"
            ),
        );
    };
    let variants = |numerator: &str| {
        format!(
            "\n  experiment:\n    variants: [{{name: plain}}, {{name: bold}}]\n    control: plain\n    metrics:\n      - name: pieces\n        measure:\n          ratio:\n            numerator: {numerator}\n            denominator: {events}"
        )
    };
    policy("mails", "{candidates: [{name: hello}]}");
    policy("title", &variants(&events.replace("pieces", "peices")));
    house.ok(&["turn", "--replay", "2024-03-01..2024-03-01"]);

    let told = "metric \"pieces\": unknown column \"peices\"";
    let seen = house.ok(&["policy", "preview", "title"]);
    assert!(seen.contains("What is compared cannot be read") && seen.contains(told), "{seen}");
    let said = house.fails(3, &["turn", "--replay", "2024-03-03..2024-03-03"]);
    let whole = format!("policies/title.yaml: experiment \"title\": {told}");
    assert!(said.contains(&whole), "{said}");
    let measured = "select policy from system.lift where turn = 2 and measured > 0 order by policy";
    assert_eq!(house.sql(measured), ["mails", "title"]);
    assert!(!house.ok(&["status"]).contains("cut off"));

    policy("title", &variants(events));
    house.ok(&["turn", "--replay", "2024-03-05..2024-03-05"]);
    let compared = "select turn || ' ' || (standing = 'unmeasured') from system.experiments where metric = 'pieces' and turn > 1 order by turn";
    assert_eq!(house.sql(compared), ["2 true", "3 false"]);

    // What is wrong with the outcomes of one policy holds up nothing else, and says where it is.
    let mails = house.read("policies/mails.yaml").replace("as unit_id, cast", "as unit, cast");
    house.write("policies/mails.yaml", mails);
    let said = house.fails(3, &["turn", "--replay", "2024-03-06..2024-03-06"]);
    let place = "policies/mails.yaml:1: policy \"mails\": outcome events: the query has no column";
    assert!(said.contains(place), "{said}");
    let measured = "select distinct policy from system.experiments where turn = 4";
    assert_eq!(house.sql(measured), ["title"]);
}
