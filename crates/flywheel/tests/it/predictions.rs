//! Learners asked in SQL: by people, by models, and by policies.

use crate::house::House;

/// 900 contracts, of which a third is still open: what is known of each, and who left.
fn phones(churn: &str) -> House {
    let mut rng = flywheel_base::Rng::new(21);
    let mut rows = String::from("customer,at,plan,months,charge,ended\n");
    for row in 0..900 {
        let plan = ["monthly", "yearly", "two years"][rng.below(3)];
        let months = rng.below(60);
        let chance = if plan == "monthly" && months < 20 { 0.9 } else { 0.05 };
        let ended =
            if row % 3 == 0 { String::new() } else { u8::from(rng.chance(chance)).to_string() };
        let months = if row % 31 == 4 { String::new() } else { months.to_string() };
        let at = format!("2024-05-{:02} 10:00:00", 1 + row / 60);
        rows.push_str(&format!(
            "c{row:03},{at},{plan},{months},{}.25,{ended}\n",
            10 + rng.below(70)
        ));
    }
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write(
            "syncs/files.yaml",
            "sync: files\nconnection: files\nstreams:\n  - {stream: contracts, options: {path: contracts.csv}}\n",
        )
        .write("data/contracts.csv", rows)
        .write(
            "models/contracts.sql",
            "select customer, cast(at as timestamp) as at, plan, cast(months as double) as months,\n  cast(charge as double) as charge, ended\nfrom {{ source('raw', 'contracts') }}\n",
        )
        .write(
            "models/expected.sql",
            "{{ config(materialized='table') }}\n-- What is to be lost, by plan.\nselect plan, sum(charge * predict('churn', *)) as lost, avg(predict('churn', c.*, charge => c.charge + 10)) as dearer\nfrom {{ ref('contracts') }} c\nwhere ended is null\ngroup by plan\n",
        )
        .write("learners/churn.yaml", churn);
    house
}

const CHURN: &str = "learner: churn\nscore:\n  target: ended\n  algorithm: boosted-trees\n  examples: select customer as row_id, at, plan, months, charge, ended from {{ ref('contracts') }} where ended is not null; -- known\n  score: select customer as unit_id, plan, months, charge from {{ ref('contracts') }} where ended is null\n";

#[test]
fn a_prediction_is_what_the_learner_wrote_and_a_model_that_asks_follows_each_fit() {
    let house = phones(CHURN);
    house.ok(&["sync"]);
    // The learner needs what a model shows, and another model the learner: the first build comes before the first fit.
    house.ok(&["build"]);
    assert_eq!(house.cell("select count(*) || ' ' || count(lost) from main.expected"), "3 0");
    let refused = house.fails(2, &["sql", "select predict('churn', *) from main.contracts"]);
    assert!(refused.contains("\"churn\" was not fitted yet"), "{refused}");
    house.ok(&["learn"]);
    let same =
        "select count(*), bool_and(predict('churn', c.*) = l.score), count(distinct l.score) > 20
                from learn.churn l join main.contracts c on c.customer = l.unit_id";
    assert_eq!(house.cell(same), "300,true,true", "bit for bit");
    house.ok(&["build"]);
    let lost = "select bool_and(abs(e.lost - w.lost) < 1e-9) || ' ' || count(*) from main.expected e join (
                  select c.plan, sum(c.charge * l.score) as lost
                  from learn.churn l join main.contracts c on c.customer = l.unit_id group by c.plan) w on w.plan = e.plan";
    assert_eq!(house.cell(lost), "true 3", "built again, because the learner was fitted");
    let version = |house: &House| {
        house.cell("select version from system.tables where name = 'main.expected'")
    };
    let before = version(&house);
    house.ok(&["build"]);
    assert_eq!(version(&house), before, "nothing changed since");
    let above = house.ok(&["lineage", "main.expected.lost", "--upstream"]);
    for part in ["learn.churn.score", "main.contracts.months", "main.contracts.charge"] {
        assert!(above.contains(part), "{above}");
    }
}

#[test]
fn a_model_that_asks_a_learner_of_itself_is_a_circle_and_an_unknown_learner_has_its_place() {
    let house = phones(CHURN);
    house.write(
        "models/contracts.sql",
        "select customer, at, plan, months, charge, ended, predict('churn', *) as risk from {{ source('raw', 'contracts') }}\n",
    );
    let refused = house.fails(2, &["check"]);
    assert!(refused.contains("a cycle of references"), "{refused}");
    assert!(refused.contains("churn") && refused.contains("contracts"), "{refused}");
    let house = phones(CHURN);
    house.write(
        "models/other.sql",
        "select customer,\n  predict('chrun', *) as risk\nfrom {{ ref('contracts') }}\n",
    );
    let refused = house.fails(2, &["check"]);
    assert!(refused.contains("models/other.sql:2:12"), "{refused}");
    assert!(refused.contains("no learner is called \"chrun\""), "{refused}");
    assert!(refused.contains("Did you mean \"churn\"?"), "{refused}");
}

#[test]
fn an_artifact_that_was_changed_is_refused_by_name() {
    let house = phones(CHURN);
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house.ok(&["learn"]);
    let digest = house.cell("select digest from system.artifacts where learner = 'churn'");
    let path = house.path(&format!(".flywheel/artifacts/{digest}"));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let refused = house.fails(1, &["sql", "select predict('churn', *) from main.contracts"]);
    assert!(refused.contains("is not what was stored") && refused.contains("churn"), "{refused}");
}

/// 1,500 customers, of whom those of small towns who order often like gardens; half of those are known to.
fn gardeners(lookalike: &str) -> House {
    let mut rng = flywheel_base::Rng::new(33);
    let mut rows = String::from("customer,town,orders,spent,gardens,known\n");
    for row in 0..1_500 {
        let town = ["village", "town", "city"][rng.below(3)];
        let orders = rng.below(30);
        let gardens = town == "village" && orders > 14 && rng.chance(0.9);
        let known = gardens && rng.chance(0.5);
        let spent = orders * 10 + rng.below(200);
        rows.push_str(&format!("c{row:04},{town},{orders},{spent},{gardens},{known}\n"));
    }
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write(
            "syncs/files.yaml",
            "sync: files\nconnection: files\nstreams:\n  - {stream: customers, options: {path: customers.csv}}\n",
        )
        .write("data/customers.csv", rows)
        .write("learners/gardens.yaml", format!("learner: gardens\nlookalike:\n{lookalike}"))
        .write(
            "actions/send.yaml",
            "action: send\ntype: file\noptions: {path: 'out/{policy}.jsonl'}\n",
        )
        .write(
            "policies/spring.yaml",
            "policy: spring\naudience: select unit_id from {{ ref('gardens') }} where share <= 0.05\nchoose: {candidates: [{name: letter}]}\naction: send\npayload: {to: $unit_id}\n",
        );
    house.ok(&["sync"]);
    house
}

const SEEDS: &str =
    "  seeds: select customer as unit_id from {{ source('raw', 'customers') }} where known\n";
const UNITS: &str = "  units: select customer as unit_id, town, orders, spent from {{ source('raw', 'customers') }}\n";

#[test]
fn an_audience_like_another_one_is_found_judged_and_decided_for() {
    let house = gardeners(&format!("{SEEDS}{UNITS}"));
    house.ok(&["learn"]);
    let listed = "select count(*) || ' ' || min(rank) || ' ' || max(rank) || ' ' || max(share) || ' ' || bool_or(known)
                  from learn.gardens l join raw.customers c on c.customer = l.unit_id";
    let others = house.cell("select count(*) from raw.customers where not known");
    assert_eq!(house.cell(listed), format!("{others} 1 {others} 1.0 false"));
    let hidden = "select avg(case when l.share <= 0.1 then 1.0 else 0.0 end) > 0.7
                  from learn.gardens l join raw.customers c on c.customer = l.unit_id where c.gardens";
    assert_eq!(house.cell(hidden), "true", "who was not named is found");
    let judged = "select value > 2.5 * baseline, count > 20 from system.evaluations where measure = 'held-back seeds in the best 10 %'";
    assert_eq!(house.cell(judged), "true,true");
    let beside = "select value >= baseline from system.evaluations where measure = 'held-back seeds in the best 10 %, beside the mean seed'";
    assert_eq!(house.cell(beside), "true");
    let detail = house.cell("select detail from system.artifacts where learner = 'gardens'");
    assert!(detail.contains("\"low\"") && detail.contains("\"algorithm\""), "{detail}");
    let reason = house.cell("select reason from learn.gardens where rank = 1");
    assert!(reason.contains("orders = ") || reason.contains("town = village"), "{reason}");
    house.ok(&["turn"]);
    let decided = "select count(*) > 40, count(*) = (select count(*) from learn.gardens where share <= 0.05) from system.decisions where policy = 'spring'";
    assert_eq!(house.cell(decided), "true,true");
    let before = house.cell("select string_agg(unit_id, ',' order by rank) from learn.gardens");
    house.ok(&["learn", "gardens"]);
    let after = house.cell("select string_agg(unit_id, ',' order by rank) from learn.gardens");
    assert_eq!(after, before, "the same units, the same list");
}

#[test]
fn seeds_and_units_that_make_no_audience_are_refused() {
    let few = SEEDS.replace("where known", "where orders = 29 and known");
    let nobody = SEEDS.replace("customer as", "'x' || customer as");
    let all = SEEDS.replace(" where known", "");
    let bare = UNITS.replace(", town, orders, spent", "");
    let twice = UNITS.replace("customer as unit_id", "'same' as unit_id");
    let list = UNITS.replace("spent from", "make_array(orders) as spent from");
    for (lookalike, word) in [
        (format!("{few}{UNITS}"), "10 are needed"),
        (format!("{nobody}{UNITS}"), "0 of"),
        (format!("{all}{UNITS}"), "every unit is a seed"),
        (format!("{SEEDS}{bare}"), "no feature beside unit_id"),
        (format!("{SEEDS}{twice}"), "unit \"same\" is there twice"),
        (format!("{SEEDS}{list}"), "column \"spent\" has an unexpected type"),
        (format!("{SEEDS}{UNITS}  algorithm: forest\n"), "boosted-trees"),
        (SEEDS.to_owned(), "units"),
    ] {
        let house = gardeners(&format!("{SEEDS}{UNITS}"));
        house.write("learners/gardens.yaml", format!("learner: gardens\nlookalike:\n{lookalike}"));
        let refused = house.fails(2, &["learn", "gardens"]);
        assert!(refused.contains(word), "{lookalike}: {refused}");
    }
}
