//! What goes where, what is refused, and that nothing leaks.

use flywheel_base::Rng;
use serde_json::json;

use super::*;

fn table(name: &str, rows: Vec<Value>) -> Table {
    let record = |row: Value| row.as_object().unwrap().clone().into_iter().collect();
    Table { name: name.into(), key: "id".into(), rows: rows.into_iter().map(record).collect() }
}

fn relation(child: &str, field: &str, parent: &str, required: bool) -> Relation {
    Relation { child: child.into(), field: field.into(), parent: parent.into(), required }
}

fn crm() -> (Vec<Table>, Vec<Relation>, SplitRules) {
    let tables = vec![
        table(
            "deals",
            vec![
                json!({"id": "d1", "account": "a1", "product": "p1", "contact": "c2"}),
                json!({"id": "d2", "account": "a2", "product": "p1"}),
                json!({"id": "d3", "account": null, "product": "p3"}),
            ],
        ),
        table(
            "contacts",
            vec![json!({"id": "c1", "account": "a1"}), json!({"id": "c2", "account": "a2"})],
        ),
        table(
            "accounts",
            vec![
                json!({"id": "a1", "region": "east"}),
                json!({"id": "a2", "region": "west", "parent": "a1"}),
            ],
        ),
        table(
            "products",
            vec![
                json!({"id": "p1", "family": "f1"}),
                json!({"id": "p2", "family": "f9"}),
                json!({"id": "p3"}),
            ],
        ),
        table("families", vec![json!({"id": "f1"})]),
    ];
    let relations = vec![
        relation("deals", "account", "accounts", false),
        relation("deals", "product", "products", true),
        relation("deals", "contact", "contacts", false),
        relation("contacts", "account", "accounts", true),
        relation("accounts", "parent", "accounts", false),
        relation("products", "family", "families", false),
    ];
    let with = |field: &str| Placement::With { field: field.into(), otherwise: Side::Right };
    let shared = Placement::Shared(Sharing::WhereNeeded { otherwise: Side::Left });
    let rules = SplitRules {
        tables: [
            ("accounts".to_owned(), Placement::Divided),
            ("contacts".to_owned(), with("account")),
            ("deals".to_owned(), with("account")),
            ("products".to_owned(), shared.clone()),
            ("families".to_owned(), shared),
        ]
        .into(),
        crossings: [
            ("deals.contact".to_owned(), Crossing::Clear),
            ("accounts.parent".to_owned(), Crossing::Clear),
        ]
        .into(),
    };
    (tables, relations, rules)
}

fn east_is_left(_: &str, row: &Record) -> Result<Side> {
    Ok(if value(row, "region") == "east" { Side::Left } else { Side::Right })
}

fn ids(parts: &Parts, side: Side, name: &str) -> Vec<String> {
    let table = parts.tables.of(side).iter().find(|table| table.name == name).unwrap();
    table.rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn children_follow_and_shared_rows_are_copied_where_needed() {
    let (tables, relations, rules) = crm();
    let parts = split(&tables, &relations, &rules, &east_is_left).unwrap();
    assert_eq!(ids(&parts, Side::Left, "deals"), ["d1"]);
    assert_eq!(ids(&parts, Side::Right, "deals"), ["d2", "d3"], "d3 belongs to nobody");
    assert_eq!(ids(&parts, Side::Left, "products"), ["p1", "p2"], "nobody needs p2");
    assert_eq!(ids(&parts, Side::Right, "products"), ["p1", "p3"]);
    assert_eq!(ids(&parts, Side::Right, "families"), ["f1"], "needed by a product that is needed");
    let cleared: Vec<(&str, &str)> =
        parts.cleared.iter().map(|c| (c.key.as_str(), c.field.as_str())).collect();
    assert_eq!(cleared, [("\"d1\"", "contact"), ("\"a2\"", "parent")]);
    assert_eq!(parts.dangling, 1);
    let proof = prove(&tables, &relations, &rules, &parts).unwrap();
    assert_eq!(
        (proof.rows_in, proof.rows_left, proof.rows_right, proof.rows_copied),
        (11, 6, 7, 2)
    );
}

#[test]
fn shared_rows_can_be_given_to_one_part_or_to_both() {
    let (tables, relations, mut rules) = crm();
    rules.tables.insert("products".into(), Placement::Shared(Sharing::Both));
    rules.tables.insert("families".into(), Placement::Shared(Sharing::Only { side: Side::Left }));
    let error = split(&tables, &relations, &rules, &east_is_left).unwrap_err();
    assert!(error.message().contains("\"products.family\" of the right part"), "{error}");
    rules.crossings.insert("products.family".into(), Crossing::Clear);
    let parts = split(&tables, &relations, &rules, &east_is_left).unwrap();
    assert_eq!(ids(&parts, Side::Right, "products"), ["p1", "p2", "p3"]);
    assert!(ids(&parts, Side::Right, "families").is_empty());
    prove(&tables, &relations, &rules, &parts).unwrap();
}

#[test]
fn a_crossing_that_may_not_be_cleared_stops_the_split() {
    let (tables, relations, mut rules) = crm();
    rules.crossings.remove("deals.contact");
    let error = split(&tables, &relations, &rules, &east_is_left).unwrap_err();
    assert_eq!(error.kind().exit_code(), 3);
    assert!(error.message().contains("\"deals.contact\""), "{error}");
    assert!(!error.message().contains("c2"), "no values of rows in messages");
}

/// Makes rules wrong.
type Spoil<'a> = dyn Fn(&mut Vec<Table>, &mut Vec<Relation>, &mut SplitRules) + 'a;

#[test]
fn rules_that_do_not_fit_are_refused_with_the_fix() {
    let refused = |spoil: &Spoil<'_>| {
        let (mut tables, mut relations, mut rules) = crm();
        spoil(&mut tables, &mut relations, &mut rules);
        let error = split(&tables, &relations, &rules, &east_is_left).unwrap_err();
        assert!(error.hint_text().is_some(), "{error}");
        error.report()
    };
    let with = |field: &str| Placement::With { field: field.into(), otherwise: Side::Left };
    assert!(refused(&|_, _, r| drop(r.tables.remove("deals"))).contains("does not place"));
    let typo = refused(&|_, _, r| drop(r.tables.insert("deal".into(), Placement::Divided)));
    assert!(typo.contains("\"deals\"?"), "{typo}");
    let typo = refused(&|_, _, r| drop(r.tables.insert("deals".into(), with("acount"))));
    assert!(typo.contains("\"account\"?"), "{typo}");
    assert!(
        refused(&|_, _, r| drop(r.tables.insert("deals".into(), with("product"))))
            .contains("shared")
    );
    let circle = refused(&|_, _, r| drop(r.tables.insert("accounts".into(), with("parent"))));
    assert!(circle.contains("go with each other"), "{circle}");
    let typo = refused(&|_, _, r| {
        r.crossings.insert("deals.conact".into(), Crossing::Clear);
    });
    assert!(typo.contains("\"deals.contact\"?"), "{typo}");
    assert!(refused(&|t, _, _| t[0].rows[1] = t[0].rows[0].clone()).contains("earlier row"));
    assert!(refused(&|t, _, _| drop(t[0].rows[1].remove("id"))).contains("has no key"));
    assert!(refused(&|_, r, _| r[0].parent = "acounts".into()).contains("\"accounts\"?"));
}

#[test]
fn the_proof_notices_a_leak_a_loss_and_a_crossing() {
    let (tables, relations, rules) = crm();
    let good = split(&tables, &relations, &rules, &east_is_left).unwrap();
    let broken = |spoil: &dyn Fn(&mut Parts)| {
        let mut parts = good.clone();
        spoil(&mut parts);
        prove(&tables, &relations, &rules, &parts).unwrap_err().message().to_owned()
    };
    assert!(broken(&|p| p.tables.left[0].rows.clear()).contains("in neither part"));
    let leak = |p: &mut Parts| {
        let row = p.tables.right[2].rows[0].clone();
        p.tables.left[2].rows.push(row);
    };
    assert!(broken(&leak).contains("in both parts"));
    let moved = |p: &mut Parts| {
        let row = p.tables.right[1].rows.remove(0);
        p.tables.left[1].rows.push(row);
    };
    assert!(broken(&moved).contains("other part"));
    let uncleared =
        |p: &mut Parts| drop(p.tables.left[0].rows[0].insert("contact".into(), json!("c2")));
    assert!(broken(&uncleared).contains("other part"));
}

#[test]
fn no_byte_of_the_other_part_is_in_a_part() {
    let mut rng = Rng::new(31);
    for case in 0..2_000 {
        let (_, relations, rules) = crm();
        // every owned row carries the colour of the root account it hangs on
        let accounts: Vec<Value> = (0..1 + rng.below(6))
            .map(|n| {
                let region = ["east", "west"][rng.below(2)];
                let parent = format!("a{}", rng.below(8));
                json!({"id": format!("a{n}"), "region": region, "parent": parent, "text": format!("canary-{region}")})
            })
            .collect();
        let owner = |rng: &mut Rng| {
            let at = rng.below(accounts.len() + 1);
            match accounts.get(at) {
                Some(account) => (account["id"].clone(), account["text"].clone()),
                None => (Value::Null, json!("canary-west")),
            }
        };
        let mut owned = |prefix: &str, count: usize| -> Vec<Value> {
            (0..count)
                .map(|n| {
                    let (account, text) = owner(&mut rng);
                    json!({
                        "id": format!("{prefix}{n}"), "account": account, "text": text,
                        "product": format!("p{}", rng.below(5)), "contact": format!("c{}", rng.below(9)),
                    })
                })
                .collect()
        };
        let (deals, contacts) = (owned("d", case % 13), owned("c", case % 7));
        let products: Vec<Value> = (0..5)
            .map(|n| json!({"id": format!("p{n}"), "family": format!("f{}", n % 3)}))
            .collect();
        let families = (0..3).map(|n| json!({"id": format!("f{n}")})).collect();
        let tables = vec![
            table("deals", deals),
            table("contacts", contacts),
            table("accounts", accounts.clone()),
            table("products", products),
            table("families", families),
        ];
        let parts = split(&tables, &relations, &rules, &east_is_left).unwrap();
        prove(&tables, &relations, &rules, &parts).unwrap();
        for (side, foreign) in [(Side::Left, "canary-west"), (Side::Right, "canary-east")] {
            for table in parts.tables.of(side) {
                let text = serde_json::to_string(&table.rows).unwrap();
                assert!(!text.contains(foreign), "case {case}: {} leaks", table.name);
            }
        }
    }
}
