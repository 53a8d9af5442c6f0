//! Every metric in every engine's SQL, and what rules mean.

use flywheel_base::Result;
use serde_json::{Value as Json, json};

use super::{Dialect, Figure, Place, Rule, breach, check_names, compile, scan};
use crate::resource::quality::{Quality, QualityCheck};

const ENGINES: [Dialect; 4] = [Dialect::Lake, Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite];

fn check(value: Json) -> QualityCheck {
    serde_json::from_value(value).unwrap()
}

fn sql(value: Json, dialect: Dialect) -> Result<String> {
    let other = |to: &str| Ok(dialect.table(to));
    let codes = |_: &str| Ok(vec![json!("it's"), json!(7)]);
    let table = dialect.table("s.t");
    let place = Place {
        dialect,
        table: &table,
        now: Some(90_000_000_000),
        other: &other,
        hidden: &[],
        codes: &codes,
    };
    let compiled = compile(&check(value), &place)?;
    Ok(match &compiled.figure {
        figure @ (Figure::Rows(_) | Figure::Expression(_)) => scan(&compiled.from, &[figure]),
        Figure::Pair(query) | Figure::Value(query) => query.clone(),
    })
}

#[test]
fn every_metric_is_written_in_the_sql_of_every_engine() {
    let cases = [
        json!({"metric": "nullValues", "column": "a"}),
        json!({"metric": "missingValues", "column": "a"}),
        json!({"metric": "missingValues", "column": "a", "arguments": {"missingValues": ["N/A", -1]}}),
        json!({"metric": "invalidValues", "column": "a", "arguments": {"validValues": [1, 2]}}),
        json!({"metric": "invalidValues", "column": "a", "arguments": {"dictionary": "d"}}),
        json!({"metric": "invalidValues", "column": "a", "arguments": {"minLength": 2, "maxLength": 3}}),
        json!({"metric": "duplicateValues", "column": "a"}),
        json!({"metric": "duplicateValues", "arguments": {"properties": ["a", "b"]}, "where": "c > 0 -- x"}),
        json!({"metric": "rowCount"}),
        json!({"metric": "unmatchedValues", "column": "a", "arguments": {"to": "u", "field": "id"}}),
        json!({"metric": "lateValues", "column": "a", "arguments": {"after": "b", "maxDelay": "2h"}}),
        json!({"metric": "lateValues", "column": "a", "arguments": {"maxDelay": "1d"}}),
        json!({"metric": "freshness", "column": "a"}),
        json!({"metric": "distinctValues", "column": "a"}),
        json!({"metric": "sum", "column": "a"}),
        json!({"metric": "average", "column": "a"}),
        json!({"query": "SELECT max({property}) FROM {object};", "column": "a"}),
    ];
    let mut text = String::new();
    for case in cases {
        text.push_str(&format!("-- {case}\n"));
        for dialect in ENGINES {
            let sql = sql(case.clone(), dialect).unwrap();
            text.push_str(&format!("{}: {}\n", dialect.word(), sql.replace('\n', " ")));
        }
    }
    let expected = include_str!("tests/statements.txt");
    assert!(
        text == expected,
        "the statements have changed; read them, then replace the file:\n{text}"
    );
}

#[test]
fn a_query_may_end_with_a_comment() {
    for dialect in ENGINES {
        let case = json!({"query": "SELECT count(*) FROM {object}; -- all rows"});
        let expected = format!("SELECT count(*) FROM {}", dialect.table("s.t"));
        assert_eq!(sql(case, dialect).unwrap(), expected);
    }
}

#[test]
fn sqlite_says_that_it_has_no_patterns_and_the_others_match() {
    let case =
        json!({"metric": "invalidValues", "column": "a", "arguments": {"pattern": "^\\d'$"}});
    let error = sql(case.clone(), Dialect::Sqlite).unwrap_err();
    assert!(error.hint_text().unwrap().contains("landed table"), "{error}");
    let found = |dialect| sql(case.clone(), dialect).unwrap();
    assert!(
        found(Dialect::Lake).contains(r"NOT regexp_like(CAST(")
            && found(Dialect::Lake).contains(r"'^\d''$'")
    );
    assert!(found(Dialect::Postgres).contains(r"!~ '^\d''$'"));
    assert!(found(Dialect::Mysql).contains(r"NOT REGEXP '^\\d''$'"), "{}", found(Dialect::Mysql));
}

#[test]
fn a_rule_is_the_same_in_words_and_in_sql_and_never_two() {
    let of = |value: Json| Rule::of(&check(value));
    let held = [
        (json!({"mustBe": 5}), 5.0, 4.0),
        (json!({"mustBe": true}), 1.0, 0.0),
        (json!({"mustNotBe": 5}), 4.0, 5.0),
        (json!({"mustBeGreaterThan": 5}), 5.1, 5.0),
        (json!({"mustBeGreaterOrEqualTo": 5}), 5.0, 4.9),
        (json!({"mustBeLessThan": 5}), 4.9, 5.0),
        (json!({"mustBeLessOrEqualTo": 5}), 5.0, 5.1),
        (json!({"mustBeBetween": [1, 5]}), 5.0, 5.1),
        (json!({"mustNotBeBetween": [1, 5]}), 5.1, 5.0),
    ];
    for (operator, good, bad) in held {
        let rule = of(operator.clone()).unwrap().unwrap();
        assert!(rule.holds(good) && !rule.holds(bad), "{operator}");
    }
    assert_eq!(of(json!({"metric": "rowCount"})).unwrap(), None);
    for wrong in [
        json!({"mustBe": 1, "mustBeLessThan": 3}),
        json!({"mustBe": "paid"}),
        json!({"mustBeBetween": [5, 1]}),
    ] {
        assert!(of(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn a_breach_is_rows_where_each_is_one_and_the_figure_where_it_counts() {
    let of = |value: Json| {
        let other = |to: &str| Ok(to.to_owned());
        let codes = |_: &str| Ok(Vec::new());
        let place = Place {
            dialect: Dialect::Lake,
            table: "t",
            now: None,
            other: &other,
            hidden: &[],
            codes: &codes,
        };
        breach(&check(value), &place).unwrap()
    };
    let rows = of(json!({"metric": "nullValues", "column": "a", "mustBe": 0})).unwrap();
    assert_eq!(rows, "SELECT * FROM t WHERE (\"a\" IS NULL)");
    let share =
        of(json!({"metric": "nullValues", "column": "a", "unit": "percent", "mustBeLessThan": 1}));
    let share = share.unwrap();
    assert!(
        share.contains("WHEN count(*) = 0 THEN 0.0") && share.contains("IS NULL OR NOT"),
        "{share}"
    );
    // What the clock or the past decides is not a matter of a build.
    assert_eq!(of(json!({"metric": "freshness", "column": "a", "mustBeLessThan": 1})), None);
    assert_eq!(of(json!({"metric": "rowCount", "monitor": {}})), None);
}

#[test]
fn checks_are_named_by_metric_and_column_and_stay_apart() {
    let quality: Quality = serde_json::from_value(json!({"quality": "q", "checks": [
        {"metric": "nullValues", "column": "a"}, {"metric": "nullValues", "column": "a"},
        {"metric": "duplicateValues", "arguments": {"properties": ["a", "b"]}},
        {"query": "select 1"}, {"name": "Mine", "query": "select 1"},
    ]}))
    .unwrap();
    let names = check_names(&quality);
    assert_eq!(
        names,
        ["null_values_a", "null_values_a_2", "duplicate_values_a_b", "query", "Mine"]
    );
}
