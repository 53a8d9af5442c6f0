//! Lists of a recommender: rules in tables, SQL, HTTP and decisions alike, filters of callers, and a choice that is stored.

use axum::http::StatusCode;
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{As, Served};
use crate::house::House;

const LEARNER: &str = "learner: next\nrecommend:\n  \
    interactions: select user_id, item_id, at from {{ source('raw', 'purchases') }}\n  \
    items: select item_id, category, cast(price as double) as price from {{ source('raw', 'items') }}\n  \
    available: select item_id from {{ source('raw', 'stock') }} where cast(on_hand as int) > 0\n  \
    attributes: [category, price]\n  algorithm: popularity\n  top: 6\n";

/// Ten items in two categories, the first ones had by most and the last by nobody; the first of all is sold out.
fn shop(rules: &str) -> House {
    let house = House::new();
    let (mut purchases, mut items, mut stock) = (
        String::from("user_id,item_id,at\n"),
        String::from("item_id,category,price\n"),
        String::from("item_id,on_hand\n"),
    );
    for item in 0..10_usize {
        let category = if item < 6 { "shoes" } else { "hats" };
        items.push_str(&format!("i{item},{category},{}\n", 100 - 10 * item));
        stock.push_str(&format!("i{item},{}\n", usize::from(item > 0)));
        for user in 0..9 - item {
            purchases.push_str(&format!(
                "u{user},i{item},2024-05-0{} 10:00:00\n",
                1 + (user + item) % 5
            ));
        }
    }
    house
        .write("data/purchases.csv", &purchases)
        .write("data/items.csv", &items)
        .write("data/stock.csv", &stock)
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write("syncs/shop.yaml", "sync: shop\nconnection: files\nstreams:\n  - {stream: purchases, options: {path: purchases.csv}, read: full, write: replace}\n  - {stream: items, options: {path: items.csv}, read: full, write: replace}\n  - {stream: stock, options: {path: stock.csv}, read: full, write: replace}\n")
        .write("learners/next.yaml", format!("{LEARNER}{rules}"))
        .write(
            "policies/shelf.yaml",
            "policy: shelf\naudience: select 'stranger' as unit_id\nchoose: {recommend: {learner: next, slots: 3}}\nholdout: 0%\n",
        );
    house.ok(&["sync"]);
    house.ok(&["learn"]);
    house
}

fn ids(list: &Value, key: &str) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items.map(|one| one[key].as_str().unwrap().to_owned()).collect()
}

const STRANGER: &str = "select item_id, reason from recommend('next', 'stranger', 3) order by rank";

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_the_same_in_sql_http_and_decisions_and_say_what_they_did() {
    let house = shop(
        "  rules:\n    at_most: {category: 2}\n    pin: [i3]\n    boost: [{items: 'category:hats,price<40', by: 20}]\n",
    );
    // i3 is pinned, i7 is raised, and i0, which most have, is sold out.
    let rows = house.sql(STRANGER);
    assert_eq!(
        rows,
        [
            "i3,popular now; pinned by rule",
            "i7,\"popular now; counts 20 times by rule (category:hats,price<40)\"",
            "i8,\"popular now; counts 20 times by rule (category:hats,price<40)\"",
        ]
    );
    assert_eq!(house.cell("select count(*) from learn.next where user_id = '*'"), "4");
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let path = "/v1/recommend?learner=next&unit=stranger&n=3";
    let answer = served.get(&owner, path).await.json();
    assert_eq!(ids(&answer["items"], "item"), ["i3", "i7", "i8"], "{answer}");
    assert_eq!((&answer["known"], &answer["source"]), (&json!(false), &json!("popularity")));
    assert!(answer["items"][0]["reason"].as_str().unwrap().contains("pinned by rule"));
    let asked = json!({"policy": "shelf", "unit": "stranger", "request_id": "one"});
    let decided = served.post(&owner, "/v1/decide", &asked).await.json();
    assert_eq!(ids(&decided["items"], "item_id"), ["i3", "i7", "i8"], "{decided}");
    assert!(decided["items"].as_array().unwrap().iter().all(|one| one["propensity"] == json!(1.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_filter_by_attributes_and_a_bad_filter_says_what_to_write() {
    let served = Served::new(shop("")).await;
    let owner = served.owner().await;
    let ask = async |who: &As, more: &str| {
        served.get(who, &format!("/v1/recommend?learner=next&unit=stranger&{more}")).await
    };
    let listed = async |more: &str| {
        let answer = ask(&owner, more).await;
        assert_eq!(answer.status, StatusCode::OK, "{more}: {}", answer.json());
        ids(&answer.json()["items"], "item")
    };
    assert_eq!(listed("n=2").await, ["i1", "i2"]);
    assert_eq!(listed("n=2&filter=category:hats").await, ["i6", "i7"]);
    assert_eq!(listed("n=2&filter=category!%3Dhats,price%3C70&exclude=i4").await, ["i5"]);
    assert_eq!(
        listed("n=3&filter=category%20in%20(hats%7Cshoes),price%3E%3D80").await,
        ["i1", "i2"]
    );
    // What nobody has had yet fills the list up, and says so.
    let answer = ask(&owner, "n=9&filter=category:hats").await.json();
    assert_eq!(ids(&answer["items"], "item"), ["i6", "i7", "i8", "i9"], "{answer}");
    assert_eq!(
        (&answer["items"][3]["source"], &answer["shortfall"]),
        (&json!("new"), &json!("filtered"))
    );
    assert_eq!((&answer["known"], &answer["filter"]), (&json!(false), &json!("category:hats")));
    // What a user has is left out here too.
    let own = served.get(&owner, "/v1/recommend?learner=next&unit=u0&n=9&filter=price%3E0").await;
    assert_eq!(ids(&own.json()["items"], "item"), ["i9"], "{}", own.json());
    for (filter, said) in [
        ("colour:red", "no attribute"),
        ("price:cheap", "no number"),
        ("category%3C5", "a text"),
        ("category", "no condition"),
    ] {
        let answer = ask(&owner, &format!("filter={filter}")).await;
        let problem = answer.json();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{filter}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{filter}: {problem}");
        assert!(problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_see_all_items_is_told_nothing_of_them_by_filters() {
    let house = shop("");
    house.write(
        "access/items.yaml",
        "rule: items\ntables: [raw.items]\ncleared: [learn.next]\nask: the keepers of the catalogue\nreaders:\n  \
         - roles: [owner]\n  - {everybody: true, rows: \"category = 'shoes'\"}\n",
    );
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let path = "/v1/recommend?learner=next&unit=stranger";
    for (more, expected) in [("", StatusCode::OK), ("&filter=price%3C50", StatusCode::FORBIDDEN)] {
        let answer = served.get(&engineer, &format!("{path}{more}")).await;
        assert_eq!(answer.status, expected, "{more}: {}", answer.json());
        let answer = served.get(&owner, &format!("{path}{more}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{more}: {}", answer.json());
    }
}

#[test]
fn auto_chooses_by_the_past_and_keeps_what_it_chose_from() {
    let house = shop("");
    let text = LEARNER
        .replace("algorithm: popularity", "algorithm: auto\n  tune: {by: recall@20, users: 50}");
    house.write("learners/next.yaml", text);
    let told = house.ok(&["learn", "next"]);
    assert!(told.contains("item-neighbours") && told.contains("recall@20"), "{told}");
    let choice = house.sql("select detail from system.artifacts where learner = 'next' order by fitted_at desc limit 1");
    let detail = choice[0].trim_matches('"').replace("\"\"", "\"");
    let detail: Value = serde_json::from_str(&detail).unwrap();
    let tried = detail["choice"]["tried"].as_array().unwrap();
    assert!(tried.len() >= 8, "{detail}");
    assert!(detail["choice"]["reason"].as_str().unwrap().contains("recall@20"), "{detail}");
    let best = tried.iter().filter_map(|one| one["value"].as_f64()).fold(0.0, f64::max);
    let chosen = tried
        .iter()
        .find(|one| one["algorithm"] == detail["algorithm"] && one["options"] == detail["options"]);
    assert_eq!(chosen.unwrap()["value"].as_f64(), Some(best), "{detail}");
}

#[test]
fn rules_that_would_do_nothing_are_mistakes() {
    let house = House::new();
    house.write(
        "learners/next.yaml",
        "learner: next\nrecommend:\n  interactions: select 1\n  rules: {diversity: 0.3, bought_within: 30d, at_most: {category: 0}}\n  tune: {seed: 1}\n",
    );
    let complaint = house.run(&["check"]);
    let said = crate::house::text(&complaint.stdout) + &crate::house::text(&complaint.stderr);
    for expected in [
        "does not say what is alike",
        "has bought_within, but lists nothing that a user has already",
        "lists at most 0 items",
        "has rules about items, and no query for items",
        "has tune, but its algorithm is hybrid",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}
