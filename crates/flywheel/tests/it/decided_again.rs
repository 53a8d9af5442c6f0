//! Decisions that are made again long after: from the log, the policy as it was and the artifacts, bit for bit.

use serde_json::Value;

use crate::house::House;

/// A shop whose offers are drawn by a bandit and whose shelf is filled by a recommender, for 550 customers.
fn shop() -> House {
    let house = House::new();
    let mut purchases = String::from("order_id,user_id,item_id,at\n");
    for user in 0..550 {
        for step in 0..4 {
            let item = (user * 7 + step * 3) % 23;
            purchases.push_str(&format!(
                "{user}-{step},u{user:03},i{item},2024-04-{:02} 10:00:00\n",
                1 + (user + step) % 28
            ));
        }
    }
    house.write("data/purchases.csv", purchases);
    house.write("connections/shop.yaml", "connection: shop\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: shop\nstreams:\n  - {stream: purchases, options: {path: purchases.csv}, read: full, write: replace}\n",
    );
    house.write("learners/next.yaml", "learner: next\nrecommend:\n  interactions: select user_id, item_id, at from {{ source('raw', 'purchases') }}\n  algorithm: item-knn\n");
    house.write("learners/best.yaml", "learner: best\nbandit:\n  policy: offer\n  actions: [letter, call]\n  context: [{column: bought, centre: 4, scale: 2}]\n  explore: 20%\n");
    house.write("policies/offer.yaml", policy("offer", "bandit: {learner: best}", "10%"));
    house.write(
        "policies/shelf.yaml",
        policy("shelf", "recommend: {learner: next, slots: 3, explore: 30%}", "10%"),
    );
    house
}

fn policy(name: &str, choose: &str, holdout: &str) -> String {
    format!(
        "policy: {name}\naudience: select user_id as unit_id, count(*) / 3.0 as bought from {{{{ source('raw', 'purchases') }}}} group by user_id\nchoose: {{{choose}}}\nholdout: {holdout}\noutcome:\n  events: select order_id as event_id, user_id as unit_id, at from {{{{ source('raw', 'purchases') }}}}\n  window: 1d\n"
    )
}

fn verified(house: &House, policy: &str) -> Value {
    serde_json::from_str(&house.ok(&["policy", "verify", policy, "--output", "json"])).unwrap()
}

#[test]
fn a_thousand_decisions_of_a_bandit_and_a_recommender_are_the_same_after_all_has_changed() {
    let house = shop();
    house.ok(&["turn", "--replay", "2024-05-01..2024-05-02"]);
    // Others buy other things, artifacts and lists are new, and the files are no longer what they were.
    let more = house.read("data/purchases.csv").replace(",i1,", ",i22,")
        + "x,u001,i5,2024-05-02 12:00:00\ny,u002,i6,2024-05-02 12:00:00\n";
    house.write("data/purchases.csv", more);
    house.write(
        "policies/offer.yaml",
        policy("offer", "bandit: {learner: best, candidates: [{name: call}]}", "30%"),
    );
    house.write(
        "policies/shelf.yaml",
        policy("shelf", "recommend: {learner: next, slots: 1}", "30%"),
    );
    house.ok(&["turn", "--replay", "2024-05-03..2024-05-04"]);
    assert_eq!(house.cell("select count(distinct policy_version) from system.decisions"), "4");
    assert_eq!(house.cell("select count(distinct artifact) > 2 from system.decisions"), "true");
    for policy in ["offer", "shelf"] {
        let found = verified(&house, policy);
        assert_eq!(found["different_count"], 0, "{found}");
        assert_eq!((&found["same"], &found["unknown"]), (&2_200.into(), &0.into()), "{found}");
    }

    // Without its artifact a bandit's decision cannot be made again, and nothing else is claimed.
    let gone = house.cell("select max(artifact) from system.decisions where policy = 'offer' and artifact is not null");
    std::fs::remove_file(house.path(&format!(".flywheel/artifacts/{gone}"))).unwrap();
    let found = verified(&house, "offer");
    assert!(found["unknown"].as_u64().unwrap() >= 550, "{found}");
    assert!(found["reasons"].to_string().contains("is gone"), "{found}");
    assert_eq!(found["different_count"], 0, "{found}");
}
