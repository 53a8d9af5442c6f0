//! What goes where, what is refused, and that nothing leaks.

use std::collections::BTreeMap;

use flywheel_base::{Rng, digest};
use serde_json::{Value, json};

use super::*;
use crate::record::{Record, canonical, is_blank, value};

/// A table with its rows.
type Rows = (&'static str, Vec<Record>);

/// The predicate of these tests.
type Predicate = fn(&Record) -> Side;

fn records(rows: &[Value]) -> Vec<Record> {
    rows.iter().map(|row| row.as_object().unwrap().clone().into_iter().collect()).collect()
}

fn key_of(value: &Value) -> Option<Digest> {
    (!is_blank(value)).then(|| digest::hash128(canonical(value).as_bytes()))
}

fn crm() -> Vec<Rows> {
    let rows = |rows: Value| records(rows.as_array().unwrap());
    vec![
        (
            "deals",
            rows(json!([
                {"id": "d1", "account": "a1", "product": "p1", "contact": "c2"},
                {"id": "d2", "account": "a2", "product": "p1"},
                {"id": "d3", "account": null, "product": "p3"},
            ])),
        ),
        ("contacts", rows(json!([{"id": "c1", "account": "a1"}, {"id": "c2", "account": "a2"}]))),
        (
            "accounts",
            rows(json!([
                {"id": "a1", "region": "east"},
                {"id": "a2", "region": "west", "parent": "a1"},
            ])),
        ),
        (
            "products",
            rows(json!([
                {"id": "p1", "family": "f1"},
                {"id": "p2", "family": "f9"},
                {"id": "p3"},
            ])),
        ),
        ("families", rows(json!([{"id": "f1"}]))),
    ]
}

fn reference(field: &str, parent: usize, required: bool, crossing: Crossing) -> Reference {
    Reference { field: field.into(), parent, required, crossing }
}

fn tables() -> Vec<SplitTable> {
    let table =
        |name: &str, placement, references| SplitTable { name: name.into(), placement, references };
    let with = Placement::With { reference: 0, otherwise: Some(Side::Right) };
    let shared = Placement::Shared(Sharing::WhereNeeded { otherwise: Side::Left });
    let (refuse, clear) = (Crossing::Refuse, Crossing::Clear);
    vec![
        table(
            "deals",
            with.clone(),
            vec![
                reference("account", 2, false, refuse),
                reference("product", 3, true, refuse),
                reference("contact", 1, false, clear),
            ],
        ),
        table("contacts", with, vec![reference("account", 2, true, refuse)]),
        table("accounts", Placement::Divided, vec![reference("parent", 2, false, clear)]),
        table("products", shared.clone(), vec![reference("family", 4, false, refuse)]),
        table("families", shared, vec![]),
    ]
}

fn east_is_left(row: &Record) -> Side {
    if value(row, "region") == "east" { Side::Left } else { Side::Right }
}

fn scanned<'a>(rules: &'a SplitRules, rows: &[Rows], predicate: Option<Predicate>) -> Scan<'a> {
    let mut scan = Scan::new(rules);
    for (at, (table, (_, rows))) in rules.tables.iter().zip(rows).enumerate() {
        for row in rows {
            let side = predicate.filter(|_| table.placement == Placement::Divided);
            let references = table.references.iter().map(|r| key_of(value(row, &r.field)));
            let key = key_of(value(row, "id")).unwrap();
            scan.add(at, key, side.map(|predicate| predicate(row)), references).unwrap();
        }
        scan.settle(at);
    }
    scan
}

/// Does what a driver does: copies every row to its homes and empties the references that lead out.
fn copied(placed: &Placed<'_>, rows: &[Rows]) -> Pair<Vec<Rows>> {
    let part = |side: Side| -> Vec<Rows> {
        let rules = placed.scan.rules();
        let tables = rules.tables.iter().zip(rows).enumerate();
        tables
            .map(|(at, (rule, (name, rows)))| {
                let mut kept = Vec::new();
                for row in rows {
                    let home = placed.home(at, key_of(value(row, "id")).unwrap()).unwrap();
                    if !home.of(side) {
                        continue;
                    }
                    let mut row = row.clone();
                    for (number, reference) in rule.references.iter().enumerate() {
                        let Some(to) = key_of(value(&row, &reference.field)) else { continue };
                        if placed.lead(at, number, to, side) == Lead::Elsewhere {
                            row.insert(reference.field.clone(), Value::Null);
                        }
                    }
                    kept.push(row);
                }
                (*name, kept)
            })
            .collect()
    };
    Pair { left: part(Side::Left), right: part(Side::Right) }
}

fn ids(parts: &Pair<Vec<Rows>>, side: Side, name: &str) -> Vec<String> {
    let (_, rows) = parts.of(side).iter().find(|(table, _)| *table == name).unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn proved(rules: &SplitRules, source: &Scan<'_>, parts: &Pair<Vec<Rows>>) -> Proof {
    proved_with(rules, source, parts, Others::Strange)
}

fn proved_with(
    rules: &SplitRules,
    source: &Scan<'_>,
    parts: &Pair<Vec<Rows>>,
    others: Others,
) -> Proof {
    let found =
        Pair { left: scanned(rules, &parts.left, None), right: scanned(rules, &parts.right, None) };
    prove(source, &found, others)
}

#[test]
fn children_follow_and_shared_rows_are_copied_where_needed() {
    let (rows, rules) = (crm(), SplitRules::new(tables()).unwrap());
    let scan = scanned(&rules, &rows, Some(east_is_left));
    let placed = place(&scan).unwrap();
    let parts = copied(&placed, &rows);
    assert_eq!(ids(&parts, Side::Left, "deals"), ["d1"]);
    assert_eq!(ids(&parts, Side::Right, "deals"), ["d2", "d3"], "d3 belongs to nobody");
    assert_eq!(ids(&parts, Side::Left, "products"), ["p1", "p2"], "nobody needs p2");
    assert_eq!(ids(&parts, Side::Right, "products"), ["p1", "p3"]);
    assert_eq!(ids(&parts, Side::Right, "families"), ["f1"], "needed by a product that is needed");
    assert_eq!(parts.left[0].1[0]["contact"], Value::Null);
    let [deals, _, accounts, products, families] = placed.counted() else { panic!("five tables") };
    assert_eq!((deals.rows, deals.parts, deals.ownerless), (3, Pair { left: 1, right: 2 }, 1));
    assert_eq!(deals.crossing[2], Pair { left: 1, right: 0 });
    assert_eq!(accounts.crossing[0], Pair { left: 0, right: 1 });
    assert_eq!((products.copied, products.dangling[0], families.copied), (1, 1, 1));
    let proof = proved(&rules, &scan, &parts);
    assert!(proof.holds(), "{proof:?}");
    assert_eq!((proof.rows_in, proof.rows, proof.rows_copied), (11, Pair { left: 6, right: 7 }, 2));
    assert_eq!((proof.cleared, proof.dangling), (2, 1));
}

#[test]
fn shared_rows_can_be_given_to_one_part_or_to_both() {
    let (rows, mut tables) = (crm(), tables());
    tables[3].placement = Placement::Shared(Sharing::Both);
    tables[4].placement = Placement::Shared(Sharing::Only { side: Side::Left });
    let rules = SplitRules::new(tables).unwrap();
    let scan = scanned(&rules, &rows, Some(east_is_left));
    let placed = place(&scan).unwrap();
    assert_eq!(placed.counted()[3].crossing[0], Pair { left: 0, right: 1 });
    let parts = copied(&placed, &rows);
    assert_eq!(ids(&parts, Side::Right, "products"), ["p1", "p2", "p3"]);
    assert!(ids(&parts, Side::Right, "families").is_empty());
    assert!(proved(&rules, &scan, &parts).holds());
}

#[test]
fn rows_without_an_owner_have_no_place_unless_one_is_declared() {
    let (rows, mut tables) = (crm(), tables());
    tables[0].placement = Placement::With { reference: 0, otherwise: None };
    let rules = SplitRules::new(tables).unwrap();
    let scan = scanned(&rules, &rows, Some(east_is_left));
    let placed = place(&scan).unwrap();
    assert_eq!((placed.counted()[0].homeless, placed.counted()[0].ownerless), (1, 0));
    let proof = proved(&rules, &scan, &copied(&placed, &rows));
    assert_eq!((proof.breaches, proof.told[0].kind), (1, BreachKind::Lost));
}

#[test]
fn rules_that_do_not_fit_are_refused_with_the_fix() {
    let refused = |spoil: &dyn Fn(&mut Vec<SplitTable>)| {
        let mut tables = tables();
        spoil(&mut tables);
        let error = SplitRules::new(tables).unwrap_err();
        assert!(error.hint_text().is_some(), "{error}");
        error.report()
    };
    let with = |reference| Placement::With { reference, otherwise: None };
    assert!(refused(&|t| t[0].placement = with(7)).contains("none of its references"));
    assert!(refused(&|t| t[0].placement = with(1)).contains("shared"));
    assert!(refused(&|t| t[2].placement = with(0)).contains("go with each other"));
    assert!(refused(&|t| t[0].references[0].parent = 9).contains("refers to no table"));
    assert!(refused(&|t| t[1].name = "deals".into()).contains("given twice"));
    assert!(refused(&|t| t[0].references[2].required = true).contains("cannot be emptied"));
    let rules = SplitRules::new(tables()).unwrap();
    assert!(rules.table("deal").unwrap_err().report().contains("\"deals\"?"));
}

#[test]
fn a_key_that_occurs_twice_is_told() {
    let rules = SplitRules::new(tables()).unwrap();
    let mut scan = Scan::new(&rules);
    for key in [5, 3, 9, 3] {
        scan.add(4, key, None, []).unwrap();
    }
    assert_eq!(scan.settle(4), Some(3));
    assert_eq!(scan.settle(3), None);
    assert_eq!(scan.table(4).unwrap().keys(), [3, 3, 5, 9]);
}

#[test]
fn the_proof_notices_a_leak_a_loss_and_a_crossing() {
    let (rows, rules) = (crm(), SplitRules::new(tables()).unwrap());
    let scan = scanned(&rules, &rows, Some(east_is_left));
    let good = copied(&place(&scan).unwrap(), &rows);
    let broken = |spoil: &dyn Fn(&mut Pair<Vec<Rows>>)| {
        let mut parts = good.clone();
        spoil(&mut parts);
        let proof = proved(&rules, &scan, &parts);
        let kinds: Vec<BreachKind> = proof.told.iter().map(|breach| breach.kind).collect();
        assert_eq!(kinds.len() as u64, proof.breaches);
        kinds
    };
    assert_eq!(broken(&|p| p.left[0].1.clear()), [BreachKind::Lost]);
    let leak = |p: &mut Pair<Vec<Rows>>| {
        let row = p.right[2].1[0].clone();
        p.left[2].1.push(row);
    };
    // The account that came over refers to its parent, which is here: only the row itself is wrong.
    assert_eq!(broken(&leak), [BreachKind::Leaked]);
    let moved = |p: &mut Pair<Vec<Rows>>| {
        let row = p.right[1].1.remove(0);
        p.left[1].1.push(row);
    };
    assert_eq!(broken(&moved), [BreachKind::Leaked, BreachKind::LeadsOut]);
    let kept = |p: &mut Pair<Vec<Rows>>| drop(p.left[0].1[0].insert("contact".into(), json!("c2")));
    assert_eq!(broken(&kept), [BreachKind::LeadsOut]);
    let strange = |p: &mut Pair<Vec<Rows>>| {
        p.right[4].1.extend(records(&[json!({"id": "f7"})]));
    };
    assert_eq!(broken(&strange), [BreachKind::Strange]);
    let twice = |p: &mut Pair<Vec<Rows>>| {
        let row = p.left[4].1[0].clone();
        p.left[4].1.push(row);
    };
    assert_eq!(broken(&twice), [BreachKind::Doubled]);
    let not_needed = |p: &mut Pair<Vec<Rows>>| {
        let row = p.left[3].1[1].clone();
        p.right[3].1.push(row);
    };
    assert_eq!(broken(&not_needed), [BreachKind::Leaked], "nobody on the right refers to p2");
}

#[test]
fn rows_that_were_in_a_part_before_may_stay_and_excuse_nothing() {
    let (rows, rules) = (crm(), SplitRules::new(tables()).unwrap());
    let scan = scanned(&rules, &rows, Some(east_is_left));
    let mut parts = copied(&place(&scan).unwrap(), &rows);
    let own = proved(&rules, &scan, &parts);
    // Somebody else's deal refers to a product that the split gave to the other part alone.
    let theirs = json!({"id": "d900", "account": "a900", "product": "p2", "contact": "c900"});
    parts.right[0].1.extend(records(&[theirs]));
    parts.right[4].1.extend(records(&[json!({"id": "f900"})]));
    let proof = proved_with(&rules, &scan, &parts, Others::Stay);
    assert!(proof.holds(), "{proof:?}");
    assert_eq!((proof.rows, proof.others), (own.rows, Pair { left: 0, right: 2 }));
    assert_eq!((proof.references, proof.dangling), (own.references, own.dangling));
    assert_eq!(proved(&rules, &scan, &parts).of_kind(BreachKind::Strange), 2);
    // A row of the source in the wrong part is a leak, whoever put it there or needs it.
    let product = parts.left[3].1[1].clone();
    parts.right[3].1.push(product);
    let account = parts.right[2].1[0].clone();
    parts.left[2].1.push(account);
    let proof = proved_with(&rules, &scan, &parts, Others::Stay);
    assert_eq!((proof.breaches, proof.of_kind(BreachKind::Leaked)), (2, 2), "{proof:?}");
}

#[test]
fn no_byte_of_the_other_part_is_in_a_part() {
    let mut rng = Rng::new(31);
    let rules = SplitRules::new(tables()).unwrap();
    for case in 0..2_000 {
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
        let families: Vec<Value> = (0..3).map(|n| json!({"id": format!("f{n}")})).collect();
        let rows: Vec<Rows> = vec![
            ("deals", records(&deals)),
            ("contacts", records(&contacts)),
            ("accounts", records(&accounts)),
            ("products", records(&products)),
            ("families", records(&families)),
        ];
        let scan = scanned(&rules, &rows, Some(east_is_left));
        let placed = place(&scan).unwrap();
        let parts = copied(&placed, &rows);
        let proof = proved(&rules, &scan, &parts);
        assert!(proof.holds(), "case {case}: {proof:?}");
        for (side, foreign) in [(Side::Left, "canary-west"), (Side::Right, "canary-east")] {
            for (name, rows) in parts.of(side) {
                let text = serde_json::to_string(rows).unwrap();
                assert!(!text.contains(foreign), "case {case}: {name} leaks");
            }
        }
        let counted: BTreeMap<&str, &Counted> =
            rows.iter().map(|(name, _)| *name).zip(placed.counted()).collect();
        for side in Side::BOTH {
            for (name, rows) in parts.of(side) {
                assert_eq!(*counted[name].parts.of(side), rows.len() as u64, "case {case}");
            }
        }
    }
}
