//! What each rule decides, and that any merge converges.

use flywheel_base::Rng;
use serde_json::json;

use super::*;
use crate::record::same;

fn observed(record: &Value, at_s: i64) -> Observed {
    Observed {
        record: record.as_object().unwrap().clone().into_iter().collect(),
        version: 1,
        changed_at: Some(Timestamp::from_micros(at_s * 1_000_000)),
        ..Observed::default()
    }
}

fn agreed(record: &Value) -> Shadow {
    let mut shadow = Shadow::default();
    for (field, value) in record.as_object().unwrap() {
        shadow.agree(field, value);
    }
    shadow
}

/// Merges one field `f` that has these three values.
fn clash(rule: Rule, base: &Value, left: (&Value, i64), right: (&Value, i64)) -> Merged {
    let rules = MergeRules { default: rule, ..MergeRules::default() };
    let merger = Merger { rules: &rules, answers: &Answers::new(), expressions: &NoExpressions };
    let one = |value: &Value| json!({ "f": value });
    merger.merge(
        "r1",
        &agreed(&one(base)),
        &observed(&one(left.0), left.1),
        &observed(&one(right.0), right.1),
    )
}

/// The value both sides end with, or the reason why a person is asked.
fn end(merged: &Merged, left: &Value, right: &Value) -> Result<Value, String> {
    if let Some(conflict) = merged.conflicts.first() {
        assert!(merged.writes.left.is_empty() && merged.writes.right.is_empty());
        return Err(conflict.reason.clone());
    }
    let after = merged.writes.left.get("f").unwrap_or(left).clone();
    assert_eq!(&after, merged.writes.right.get("f").unwrap_or(right), "the sides differ");
    assert!(same(merged.shadow.value("f"), &after));
    Ok(after)
}

#[expect(clippy::needless_pass_by_value, reason = "every call writes a literal")]
fn check(rule: Rule, base: Value, left: Value, right: Value, expected: Result<Value, &str>) {
    let label = format!("{rule:?} {base} {left} {right}");
    let merged = clash(rule, &base, (&left, 100), (&right, 200));
    match (end(&merged, &left, &right), expected) {
        (Ok(value), Ok(wanted)) => assert_eq!(value, wanted, "{label}"),
        (Err(reason), Err(part)) => assert!(reason.contains(part), "{label}: {reason}"),
        (found, wanted) => panic!("{label}: {found:?} instead of {wanted:?}"),
    }
}

#[test]
fn one_changed_side_is_copied_whatever_the_rule() {
    for rule in [Rule::Left, Rule::Right, Rule::Manual, Rule::Max] {
        check(rule.clone(), json!("a"), json!("b"), json!("a"), Ok(json!("b")));
        check(rule.clone(), json!("a"), json!("a"), json!("b"), Ok(json!("b")));
        check(rule, json!("a"), json!(""), json!("a"), Ok(json!("")));
    }
}

#[test]
fn the_same_change_on_both_sides_writes_nothing() {
    let merged = clash(Rule::Manual, &json!(1), (&json!(2), 1), (&json!(2.0), 2));
    assert_eq!(merged.writes, Pair::default());
    assert!(merged.conflicts.is_empty() && merged.audit.is_empty());
    assert_eq!(merged.shadow.fields["f"].version, 2);
}

#[test]
fn each_rule_decides_as_declared() {
    let (a, b, blank) = (|| json!("a"), || json!("b"), || json!(""));
    check(Rule::Left, json!("x"), a(), b(), Ok(a()));
    check(Rule::Right, json!("x"), a(), b(), Ok(b()));
    check(Rule::PreferLeftUnlessBlank, json!("x"), blank(), b(), Ok(b()));
    check(Rule::PreferLeftUnlessBlank, json!("x"), a(), b(), Ok(a()));
    check(Rule::PreferRightUnlessBlank, json!("x"), a(), blank(), Ok(a()));
    check(Rule::Latest { skew_us: 5_000_000 }, json!("x"), a(), b(), Ok(b()));
    check(Rule::Latest { skew_us: 100_000_000 }, json!("x"), a(), b(), Err("within 100 s"));
    check(Rule::Max, json!(1), json!(9), json!(10), Ok(json!(10)));
    check(Rule::Min, json!(1), json!(9), json!(10), Ok(json!(9)));
    check(Rule::Min, json!(1), json!(null), json!(10), Ok(json!(10)));
    check(Rule::Max, json!(1), json!("9"), json!(10), Err("different kinds"));
    check(Rule::Manual, json!("x"), a(), b(), Err("both sides"));
    let sets = Rule::Union { separator: None };
    check(
        sets.clone(),
        json!(["x", "y"]),
        json!(["y", "l"]),
        json!(["x", "y", "r"]),
        Ok(json!(["l", "r", "y"])),
    );
    check(sets.clone(), json!(null), json!(["a"]), json!(["b"]), Ok(json!(["a", "b"])));
    check(sets, json!(null), json!("a"), json!(["b"]), Err("neither a list"));
    let picklist = Rule::Union { separator: Some(";".into()) };
    check(picklist, json!("x;y"), json!("y; x;l"), json!("y"), Ok(json!("l;y")));
    let consent = Rule::MostRestrictive { order: vec![json!("no"), json!("ask"), json!("yes")] };
    check(consent.clone(), json!(null), json!("yes"), json!("no"), Ok(json!("no")));
    check(consent.clone(), json!("no"), json!("yes"), json!("ask"), Ok(json!("ask")));
    check(consent, json!(null), json!("yes"), json!("maybe"), Err("declared order"));
    let sql = Rule::Expression { sql: "left".into() };
    check(sql, json!("x"), a(), b(), Err("not available"));
}

#[test]
fn a_set_in_another_order_is_no_change() {
    let rule = Rule::Union { separator: None };
    let merged = clash(rule, &json!(["a", "b"]), (&json!(["b", "a"]), 1), (&json!(["a", "b"]), 1));
    assert_eq!(merged.writes, Pair::default());
}

#[test]
fn a_field_that_is_never_synchronised_is_left_alone() {
    let merged = clash(Rule::Never, &json!(1), (&json!(2), 1), (&json!(3), 2));
    assert_eq!((merged.writes, merged.conflicts.len()), (Pair::default(), 0));
    assert_eq!(merged.shadow.value("f"), &json!(1));
}

#[test]
fn latest_uses_the_time_of_the_field_where_the_system_tells() {
    let rules = MergeRules { default: Rule::Latest { skew_us: 0 }, ..MergeRules::default() };
    let merger = Merger { rules: &rules, answers: &Answers::new(), expressions: &NoExpressions };
    let mut left = observed(&json!({"f": "l"}), 900);
    left.field_changed_at.insert("f".into(), Timestamp::from_micros(1));
    let right = observed(&json!({"f": "r"}), 500);
    let merged = merger.merge("r1", &Shadow::default(), &left, &right);
    assert_eq!(merged.writes.left["f"], json!("r"));
    left.field_changed_at.clear();
    left.changed_at = None;
    assert_eq!(merger.merge("r1", &Shadow::default(), &left, &right).conflicts.len(), 1);
}

#[test]
fn an_answer_holds_for_the_values_it_was_given_for() {
    let rules = MergeRules::default();
    let (left, right) = (observed(&json!({"f": "l"}), 1), observed(&json!({"f": "r"}), 1));
    let none = Answers::new();
    let ask = |answers: &Answers, right: &Observed| {
        Merger { rules: &rules, answers, expressions: &NoExpressions }.merge(
            "r1",
            &Shadow::default(),
            &left,
            right,
        )
    };
    let first = ask(&none, &right);
    assert_eq!(first.conflicts, ask(&none, &right).conflicts, "asked once, whenever it is asked");
    let answers = Answers::from([(first.conflicts[0].id.clone(), json!("both"))]);
    let answered = ask(&answers, &right);
    assert_eq!(answered.writes.left["f"], json!("both"));
    assert_eq!(answered.audit[0].rule, "answer");
    assert_eq!(ask(&answers, &observed(&json!({"f": "other"}), 1)).conflicts.len(), 1);
}

#[test]
fn rules_that_cannot_decide_are_refused_with_field_and_fix() {
    for (rule, part) in [
        (Rule::Latest { skew_us: -1 }, "less than 0"),
        (Rule::Union { separator: Some(" ".into()) }, "separator"),
        (Rule::MostRestrictive { order: vec![json!(true)] }, "fewer than two"),
        (Rule::MostRestrictive { order: vec![json!(1), json!(1.0)] }, "twice"),
        (Rule::Expression { sql: " ".into() }, "empty"),
    ] {
        let rules = MergeRules { fields: [("tags".into(), rule)].into(), ..MergeRules::default() };
        let error = rules.check().unwrap_err();
        assert!(error.message().contains("\"tags\"") && error.message().contains(part), "{error}");
        assert!(error.hint_text().is_some());
    }
    let written =
        json!({"fields": {"f": {"latest": {"skew_us": 5}}, "g": "prefer-left-unless-blank"}});
    let rules: MergeRules = serde_json::from_value(written).unwrap();
    assert!(rules.check().is_ok() && *rules.rule("h") == Rule::Manual);
    assert!(serde_json::from_value::<MergeRules>(json!({"fields": {"f": "lefty"}})).is_err());
}

#[test]
fn a_write_is_taken_back_unless_the_field_was_changed_since() {
    let row = |field: &str, before: Value, after: Value| AuditRow {
        record: "r1".into(),
        side: Side::Left,
        field: field.into(),
        before,
        after,
        rule: "copy".into(),
    };
    let audit = [
        row("a", json!(1), json!(2)),
        row("b", json!("x"), json!("y")),
        row("a", json!(2), json!(3)),
    ];
    let now = Record::from([("a".into(), json!(3)), ("b".into(), json!("edited"))]);
    let reverted = revert(&audit, Side::Left, &now);
    assert_eq!(reverted.writes, Record::from([("a".into(), json!(1))]));
    assert_eq!(reverted.changed_since, ["b"]);
    assert!(revert(&audit, Side::Right, &now).writes.is_empty());
}

const RULES: [fn() -> Rule; 11] = [
    || Rule::Left,
    || Rule::Right,
    || Rule::PreferLeftUnlessBlank,
    || Rule::PreferRightUnlessBlank,
    || Rule::Latest { skew_us: 2_000_000 },
    || Rule::Max,
    || Rule::Min,
    || Rule::Union { separator: Some(";".into()) },
    || Rule::MostRestrictive { order: vec![json!("a"), json!("b"), json!("a;b")] },
    || Rule::Manual,
    || Rule::Never,
];

/// The rule that does for swapped sides what `rule` does.
fn mirrored(rule: &Rule) -> Rule {
    match rule {
        Rule::Left => Rule::Right,
        Rule::Right => Rule::Left,
        Rule::PreferLeftUnlessBlank => Rule::PreferRightUnlessBlank,
        Rule::PreferRightUnlessBlank => Rule::PreferLeftUnlessBlank,
        other => other.clone(),
    }
}

fn random_record(rng: &mut Rng) -> Value {
    let values = [json!(null), json!(""), json!("a"), json!("b"), json!("a;b"), json!("b;a")];
    let mut record = serde_json::Map::new();
    for field in ["f0", "f1", "f2", "f3"] {
        if rng.chance(0.9) {
            record.insert(field.into(), values[rng.below(values.len())].clone());
        }
    }
    Value::Object(record)
}

#[test]
fn any_merge_converges_at_once_and_does_not_depend_on_which_side_is_left() {
    let mut rng = Rng::new(20_261_126);
    for case in 0..10_000 {
        let mut rules = MergeRules::default();
        let mut swapped = MergeRules::default();
        for field in ["f0", "f1", "f2", "f3"] {
            let rule = RULES[rng.below(RULES.len())]();
            swapped.fields.insert(field.into(), mirrored(&rule));
            rules.fields.insert(field.into(), rule);
        }
        let shadow = agreed(&random_record(&mut rng));
        let left = observed(&random_record(&mut rng), rng.below(10) as i64);
        let right = observed(&random_record(&mut rng), rng.below(10) as i64);
        let answers = Answers::new();
        let merger = Merger { rules: &rules, answers: &answers, expressions: &NoExpressions };
        let merged = merger.merge("r", &shadow, &left, &right);

        let apply = |side: &Observed, writes: &Record| {
            let mut after = side.clone();
            after.record.extend(writes.clone());
            after
        };
        let (left_after, right_after) =
            (apply(&left, &merged.writes.left), apply(&right, &merged.writes.right));
        let asked: BTreeSet<&str> = merged.conflicts.iter().map(|c| c.field.as_str()).collect();
        for (field, rule) in &rules.fields {
            if *rule == Rule::Never || asked.contains(field.as_str()) {
                assert_eq!(value(&left.record, field), value(&left_after.record, field));
                continue;
            }
            let (l, r) = (value(&left_after.record, field), value(&right_after.record, field));
            assert!(rule.same(l, r) && rule.same(l, merged.shadow.value(field)), "case {case}");
        }
        let writes = merged.writes.left.len() + merged.writes.right.len();
        assert_eq!(writes, merged.audit.len());
        let again = merger.merge("r", &merged.shadow, &left_after, &right_after);
        assert_eq!(again.writes, Pair::default(), "case {case}: a second merge still writes");
        assert_eq!(again.conflicts, merged.conflicts);

        let other = Merger { rules: &swapped, answers: &answers, expressions: &NoExpressions };
        let mirror = other.merge("r", &shadow, &right, &left);
        assert_eq!(
            (&mirror.writes.left, &mirror.writes.right),
            (&merged.writes.right, &merged.writes.left),
            "case {case}"
        );
    }
}
