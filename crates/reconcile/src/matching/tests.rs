//! What is joined, what is asked, and that a merge can be undone.

mod generated;
mod maven;

use flywheel_base::Rng;
use serde_json::{Value, json};

use super::*;

fn key(text: &str) -> Key {
    let (system, id) = text.split_once('/').unwrap();
    Key { system: system.into(), id: id.into() }
}

#[expect(clippy::needless_pass_by_value, reason = "every call writes a literal")]
fn entry(name: &str, fields: Value) -> Entry {
    Entry {
        key: key(name),
        fields: fields.as_object().unwrap().clone().into_iter().collect(),
        external: BTreeMap::new(),
        changed_at: None,
    }
}

fn with_id(mut entry: Entry, system: &str, id: &str) -> Entry {
    entry.external.insert(system.into(), id.into());
    entry
}

fn at(mut entry: Entry, second: i64) -> Entry {
    entry.changed_at = Some(Timestamp::from_micros(second * 1_000_000));
    entry
}

fn people() -> MatchRules {
    let part = |field: &str, measure, weight, at_least| Part {
        field: field.into(),
        measure,
        weight,
        at_least,
    };
    MatchRules {
        exact: vec![
            Exact::ExternalId { system: "erp".into() },
            Exact::Email { field: "email".into() },
            Exact::Phone { field: "phone".into() },
        ],
        contradiction: Some(Contradiction {
            field: "name".into(),
            measure: Measure::Name,
            below: 0.6,
        }),
        scored: Some(Scored {
            parts: vec![
                part("name", Measure::Name, 3.0, 0.7),
                part("company", Measure::Company, 2.0, 0.0),
                part("email", Measure::Domain, 1.0, 0.0),
                part("phone", Measure::Phone, 1.0, 0.0),
            ],
            auto: 0.9,
            review: 0.75,
        }),
        calling_code: "1".into(),
    }
}

fn clusters(matched: &Matched) -> Vec<String> {
    let text = |key: &Key| format!("{}/{}", key.system, key.id);
    let line = |cluster: &Cluster| cluster.members.iter().map(text).collect::<Vec<_>>().join(" ");
    matched.clusters.iter().map(line).collect()
}

#[test]
fn exact_rules_come_first_and_say_why() {
    let entries = [
        with_id(entry("a/1", json!({"name": "Ann Lee"})), "erp", "7"),
        with_id(entry("b/1", json!({"name": "A. Lee-Smith"})), "erp", " 7 "),
        entry("a/2", json!({"name": "Bo Chen", "email": "Bo@x.com"})),
        entry("b/2", json!({"name": "Bo Chen", "email": "bo@X.com"})),
        entry("a/3", json!({"name": "Cy Dow", "phone": "(415) 555-2671"})),
        entry("b/3", json!({"name": "Cyrus Dow", "phone": "+1 415 555 2671"})),
        entry("a/4", json!({"name": "Di Eng", "email": "info@x.com"})),
        entry("b/4", json!({"name": "Ed Fox", "email": "info@x.com"})),
    ];
    let matched = find(&entries, &people()).unwrap();
    assert_eq!(clusters(&matched), ["a/1 b/1", "a/2 b/2", "a/3 b/3"]);
    assert_eq!(matched.clusters[0].why, ["1 and 1: the same id in erp"]);
    let composite = MatchRules {
        exact: vec![Exact::Composite { fields: vec!["name".into(), "born".into()] }],
        ..MatchRules::default()
    };
    let entries = [
        entry("a/1", json!({"name": "Ann  LEE", "born": 1990})),
        entry("b/1", json!({"name": "ann lee", "born": "1990"})),
        entry("b/2", json!({"name": "ann lee", "born": null})),
    ];
    assert_eq!(clusters(&find(&entries, &composite).unwrap()), ["a/1 b/1"]);
}

#[test]
fn two_people_who_share_a_telephone_go_to_a_person() {
    let entries = [
        entry("a/1", json!({"name": "Ann Lee", "phone": "415 555 2671"})),
        entry("a/2", json!({"name": "Robert Quist", "phone": "415 555 2671"})),
    ];
    let matched = find(&entries, &people()).unwrap();
    assert!(matched.clusters.is_empty());
    assert!(matched.review[0].why.contains("the same phone, but name is alike by only"));
}

#[test]
fn people_who_share_a_telephone_find_their_own_counterparts() {
    let shared = |name, fields: Value| {
        let mut one = entry(name, fields);
        one.fields.insert("phone".into(), "415 555 2671".into());
        one
    };
    let entries = [
        shared("a/1", json!({"name": "Ann Lee"})),
        shared("a/2", json!({"name": "Robert Quist"})),
        shared("b/1", json!({"name": "Robert Quist"})),
        shared("b/2", json!({"name": "Ann Lee"})),
        shared("b/3", json!({})),
    ];
    let matched = find(&entries, &people()).unwrap();
    assert_eq!(clusters(&matched), ["a/1 b/2", "a/2 b/1"]);
    let unclear: Vec<&Key> = matched
        .review
        .iter()
        .filter(|review| review.why.contains("fits more than one"))
        .map(|review| &review.a)
        .collect();
    assert_eq!(unclear, [&key("a/1"), &key("a/2")]);
}

#[test]
fn two_different_ids_of_one_system_are_never_joined_even_through_a_chain() {
    let person =
        |name| entry(name, json!({"name": "Ann Lee", "email": "ann@x.com", "company": "X"}));
    let entries =
        [with_id(person("a/1"), "erp", "7"), person("b/1"), with_id(person("c/1"), "erp", "8")];
    let matched = find(&entries, &people()).unwrap();
    assert_eq!(clusters(&matched), ["a/1 b/1"]);
    assert!(matched.review.iter().any(|r| r.why.contains("two different ids of erp")));
}

#[test]
fn a_chain_whose_ends_are_not_alike_is_not_joined() {
    let entries = [
        entry("a/1", json!({"name": "John Smith", "company": "Acme"})),
        entry("a/2", json!({"name": "J. Smith", "company": "Acme"})),
        entry("a/3", json!({"name": "Jane Smith", "company": "Acme"})),
    ];
    let matched = find(&entries, &people()).unwrap();
    assert_eq!(clusters(&matched), ["a/1 a/2"]);
    assert_eq!((&matched.review[0].a, &matched.review[0].b), (&key("a/2"), &key("a/3")));
    assert!(matched.review[0].why.contains("not alike"), "{matched:?}");
}

#[test]
fn likely_pairs_are_joined_unlikely_ones_left_and_the_rest_asked() {
    let entries = [
        entry("a/1", json!({"name": "Katherine Johnson", "company": "Orbit Labs Inc"})),
        entry("b/1", json!({"name": "Johnson, Kathy", "company": "Orbit Labs"})),
        entry("a/2", json!({"name": "Tom Reed", "company": "Blue River Foods"})),
        entry("b/2", json!({"name": "Thomas Reed", "company": "Blue River Logistics"})),
        entry("a/3", json!({"name": "Mary Poole", "company": "Orbit Labs"})),
        entry("a/4", json!({"name": "王小明", "company": "北京星辰科技有限公司"})),
        entry("b/4", json!({"name": "王小明", "company": "北京星辰科技股份有限公司"})),
        entry("b/5", json!({"name": "王大明", "company": "北京星辰科技有限公司"})),
    ];
    let matched = find(&entries, &people()).unwrap();
    assert_eq!(clusters(&matched), ["a/1 b/1", "a/4 b/4"], "{:?}", matched.review);
    assert_eq!((matched.review.len(), &matched.review[0].b), (1, &key("b/2")));
}

#[test]
fn rules_that_cannot_match_are_refused_with_the_fix() {
    let spoiled = |spoil: &dyn Fn(&mut MatchRules)| {
        let mut rules = people();
        spoil(&mut rules);
        let error = find(&[], &rules).unwrap_err();
        assert!(error.hint_text().is_some(), "{error}");
        error.message().to_owned()
    };
    assert!(spoiled(&|rules| *rules = MatchRules::default()).contains("no rules"));
    assert!(spoiled(&|rules| rules.calling_code = "+86".into()).contains("+86"));
    assert!(spoiled(&|rules| rules.scored.as_mut().unwrap().auto = 0.5).contains("auto 0.5"));
    assert!(spoiled(&|r| r.scored.as_mut().unwrap().parts[0].weight = 0.0).contains("\"name\""));
    assert!(spoiled(&|rules| rules.scored.as_mut().unwrap().parts.clear()).contains("no parts"));
    assert!(
        spoiled(&|r| r.exact = vec![Exact::Composite { fields: vec![] }]).contains("composite")
    );
    let twice = [entry("a/1", json!({})), entry("a/1", json!({}))];
    assert!(find(&twice, &people()).unwrap_err().message().contains("\"1\" of \"a\""));
}

#[test]
fn each_field_keeps_the_value_its_rule_says() {
    let members = [
        at(
            entry(
                "crm/1",
                json!({"name": "A. Lee", "phone": "1", "score": 5, "note": null, "tier": "b"}),
            ),
            10,
        ),
        at(
            entry(
                "erp/9",
                json!({"name": "Ann Lee", "phone": "2", "score": 9, "note": "", "city": "Rome", "tier": "c"}),
            ),
            5,
        ),
    ];
    let rules = |default, fields: &[(&str, Keep)]| Survivorship {
        default,
        fields: fields.iter().map(|(field, keep)| ((*field).to_owned(), keep.clone())).collect(),
        sources: vec!["erp".into(), "crm".into()],
    };
    let merged = merge(
        &members,
        &rules(
            Keep::MostRecent,
            &[
                ("name", Keep::Longest),
                ("phone", Keep::SourcePriority),
                ("score", Keep::Max),
                ("tier", Keep::Min),
            ],
        ),
    )
    .unwrap();
    assert_eq!(
        serde_json::to_value(&merged.golden).unwrap(),
        json!({"name": "Ann Lee", "phone": "2", "score": 9, "note": null, "city": "Rome", "tier": "b"})
    );
    assert_eq!(merged.survivor, key("erp/9"));
    assert_eq!(merged.origins["tier"], key("crm/1"));
    assert!(!merged.origins.contains_key("note"));
    assert_eq!(merged.redirects(), [(key("crm/1"), key("erp/9"))]);
    let complete = merge(&members, &rules(Keep::MostComplete, &[])).unwrap();
    assert_eq!(complete.golden["phone"], json!("2"), "erp has more fields");
    let recent = merge(&members, &rules(Keep::MostRecent, &[])).unwrap();
    assert_eq!(recent.golden["phone"], json!("1"));
    for bad in [&members[..1], &[members[0].clone(), members[0].clone()]] {
        assert!(merge(bad, &Survivorship::default()).unwrap_err().hint_text().is_some());
    }
}

#[test]
fn a_merge_is_undone_and_later_edits_go_where_the_field_came_from() {
    let members = [
        at(entry("crm/1", json!({"phone": "1", "city": ""})), 10),
        at(entry("erp/9", json!({"phone": "2", "city": "Rome"})), 5),
    ];
    let merged = merge(&members, &Survivorship::default()).unwrap();
    let text = serde_json::to_string(&merged).unwrap();
    let merged: MergeRecord = serde_json::from_str(&text).unwrap();
    assert_eq!(merged.unmerge(&merged.golden).members, members);
    let mut now = merged.golden.clone();
    now.insert("city".into(), json!("Milan"));
    now.insert("new".into(), json!(true));
    let undone = merged.unmerge(&now);
    assert_eq!(undone.carried, [("city".into(), key("erp/9")), ("new".into(), key("erp/9"))]);
    assert_eq!(undone.members[1].fields["city"], json!("Milan"));
    let (taken, rest) =
        merged.without(&key("crm/1"), &merged.golden, &Survivorship::default()).unwrap();
    assert_eq!((taken, rest), (members[0].clone(), None));
    assert!(merged.without(&key("x/1"), &now, &Survivorship::default()).is_err());
}

#[test]
fn any_merge_comes_apart_into_what_it_was_made_of() {
    let keeps = [
        Keep::MostRecent,
        Keep::MostComplete,
        Keep::SourcePriority,
        Keep::Longest,
        Keep::Max,
        Keep::Min,
    ];
    let mut rng = Rng::new(12);
    for case in 0..3_000 {
        let values =
            [json!(null), json!(""), json!("a"), json!("bb"), json!(3), json!(7.5), json!([1])];
        let members: Vec<Entry> = (0..2 + rng.below(4))
            .map(|n| {
                let mut fields = serde_json::Map::new();
                for field in ["f", "g", "h"] {
                    if rng.chance(0.8) {
                        fields.insert(field.into(), values[rng.below(values.len())].clone());
                    }
                }
                let system = ["crm", "erp", "web"][rng.below(3)];
                let made = entry(&format!("{system}/{n}"), Value::Object(fields));
                if rng.chance(0.8) { at(made, rng.below(5) as i64) } else { made }
            })
            .collect();
        let fields = ["f", "g", "h"].map(|field| (field.to_owned(), keeps[rng.below(6)].clone()));
        let rules = Survivorship {
            fields: fields.into(),
            sources: vec!["web".into(), "crm".into()],
            ..Survivorship::default()
        };
        let merged = merge(&members, &rules).unwrap();
        let mut shuffled = members.clone();
        rng.shuffle(&mut shuffled);
        assert_eq!(merge(&shuffled, &rules).unwrap(), merged, "case {case}: the order matters");
        let mut sorted = members.clone();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(merged.unmerge(&merged.golden).members, sorted, "case {case}");
        for (field, origin) in &merged.origins {
            let from = members.iter().find(|entry| entry.key == *origin).unwrap();
            assert_eq!(value(&from.fields, field), value(&merged.golden, field));
        }
        for field in ["f", "g", "h"] {
            let some = members.iter().any(|m| !crate::record::is_blank(value(&m.fields, field)));
            assert_eq!(some, merged.origins.contains_key(field), "case {case}: a value was lost");
        }
    }
}

#[test]
fn what_a_person_said_goes_before_every_rule_and_is_not_asked_again() {
    let mail = |name: &str| entry(name, json!({"email": "ann@x.cn", "name": "Ann Lee"}));
    let entries = [mail("crm/1"), mail("erp/9"), entry("web/3", json!({"name": "Zoe Wu"}))];
    let rules = people();
    let free = find(&entries, &rules).unwrap();
    assert_eq!(free.clusters.len(), 1);
    assert_eq!(free.joined.len(), 1);

    let apart = Decided {
        different: BTreeSet::from([(key("erp/9"), key("crm/1"))]),
        same: BTreeSet::from([(key("web/3"), key("erp/9")), (key("gone/1"), key("erp/9"))]),
    };
    let found = find_with(&entries, &rules, &apart).unwrap();
    assert_eq!(found.clusters.len(), 1, "{found:?}");
    assert_eq!(found.clusters[0].members, [key("erp/9"), key("web/3")]);
    assert_eq!(found.joined[0].why, SAID);
    let asked =
        found.review.iter().any(|review| (&review.a, &review.b) == (&key("crm/1"), &key("erp/9")));
    assert!(!asked, "{:?}", found.review);
}

#[test]
fn values_of_several_records_are_made_into_one_as_declared() {
    struct First;
    impl Combine for First {
        fn combine(&self, sql: &str, values: &BTreeMap<String, Value>) -> Result<Value> {
            assert_eq!(sql, "coalesce(erp, crm, web)");
            assert_eq!(values.keys().collect::<Vec<_>>(), ["crm", "erp", "web"]);
            Ok(values["erp"].clone())
        }
    }
    let members = [
        entry("crm/1", json!({"tags": "a; b", "consent": "yes", "note": "x", "city": ""})),
        entry("erp/9", json!({"tags": "b;c", "consent": "no", "note": "y", "city": "Rome"})),
    ];
    let keeps = [
        ("tags", Keep::Union { separator: ";".into() }),
        ("consent", Keep::MostRestrictive { order: vec![json!("no"), json!("yes")] }),
        ("note", Keep::Expression { sql: "coalesce(erp, crm, web)".into() }),
        ("city", Keep::Prefer { source: "crm".into() }),
    ];
    let rules = Survivorship {
        fields: keeps.into_iter().map(|(field, keep)| (field.to_owned(), keep)).collect(),
        sources: vec!["crm".into(), "erp".into(), "web".into()],
        ..Survivorship::default()
    };
    let merged = merge_with(&members, &rules, &First).unwrap();
    assert_eq!(
        serde_json::to_value(&merged.golden).unwrap(),
        json!({"city": "Rome", "consent": "no", "note": "y", "tags": "a;b;c"})
    );
    assert_eq!(merged.origins["consent"], key("erp/9"));
    assert!(!merged.origins.contains_key("tags"), "it came from none of them alone");
    assert!(merge(&members, &rules).is_err(), "nothing evaluates the expression");

    let mut strange = members.to_vec();
    strange[0].fields.insert("consent".into(), json!("maybe"));
    let error = merge_with(&strange, &rules, &First).unwrap_err();
    assert!(error.message().contains("consent") && !error.message().contains("maybe"), "{error:?}");
}
