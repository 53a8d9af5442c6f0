//! What expressions become, and what is said about bad ones.

use super::*;

fn sql(text: &str) -> String {
    match Expression::parse(text) {
        Ok(expression) => expression.sql(&mut |name| Ok(format!("\"{}\"", name.text()))).unwrap(),
        Err(mistake) => format!("! {} at {}", mistake.message, mistake.at),
    }
}

#[test]
fn conditions_keep_their_precedence() {
    let check = |text: &str, expected: &str| assert_eq!(sql(text), expected, "{text}");
    check("a = 1 or b = 2 and not c = 3", "((\"a\" = 1) OR ((\"b\" = 2) AND (NOT (\"c\" = 3))))");
    check("a + b * 2 - -c", "((\"a\" + (\"b\" * 2)) - (- \"c\"))");
    check("渠道 in ('app', '小程序')", "(\"渠道\" IN ('app', '小程序'))");
    check("customer.region not between 1 and 2", "(\"customer.region\" NOT BETWEEN 1 AND 2)");
    check("x is not null AND y LIKE 'a%'", "((\"x\" IS NOT NULL) AND (\"y\" LIKE 'a%'))");
    check("case when a > 0 then 1 else 0 end", "CASE WHEN (\"a\" > 0) THEN 1 ELSE 0 END");
    check(
        "cast(a as float) / b",
        "(CAST(CAST(\"a\" AS DOUBLE) AS DOUBLE) / NULLIF(CAST(\"b\" AS DOUBLE), 0))",
    );
    check("CAST(a + 1 AS decimal(12, 2))", "CAST((\"a\" + 1) AS DOUBLE)");
    check("day >= date '2024-01-31'", "(\"day\" >= DATE '2024-01-31')");
    check(
        "at >= TIMESTAMP '2024-01-31 12:00'",
        "(\"at\" >= CAST('2024-01-31 12:00:00' AS TIMESTAMP(6)))",
    );
    check("at < timestamp '2024-01-31'", "(\"at\" < CAST('2024-01-31' AS TIMESTAMP(6)))");
    check(
        "at < timestamp '2024-01-31T12:00:30Z'",
        "(\"at\" < CAST('2024-01-31T12:00:30Z' AS TIMESTAMP(6)))",
    );
}

#[test]
fn division_by_zero_is_null() {
    assert_eq!(
        sql("(a - b) / b"),
        "(CAST((\"a\" - \"b\") AS DOUBLE) / NULLIF(CAST(\"b\" AS DOUBLE), 0))"
    );
}

#[test]
fn texts_cannot_leave_their_quotes() {
    assert_eq!(sql("a = 'o''brien; drop table x --'"), "(\"a\" = 'o''brien; drop table x --')");
}

#[test]
fn mistakes_have_a_place() {
    let check =
        |text: &str, expected: &str| assert_eq!(sql(text), format!("! {expected}"), "{text}");
    check("", "something is missing at the end at 0");
    check("a = ", "something is missing at the end at 4");
    check("a = 'x", "a text has no end at 4");
    check("a = \"x\"", "\"\"\" has no meaning here at 4");
    check("a b", "the expression ends before this at 2");
    check("a in ()", "the list is empty at 7");
    check("(a = 1", "\")\" is missing at 6");
    check("a; drop table b", "\";\" has no meaning here at 1");
    check("a -- b", "comments have no place here at 2");
    check("read_csv('x')", "there is no function \"read_csv\" at 0");
    check("nullif(a)", "nullif does not take 1 arguments at 8");
    check("a not b", "not stands before nothing at 6");
    check("day >= date '2024-02-30'", "\"2024-02-30\" is no date at 12");
    check("day >= date '2024-01-31 12:00'", "\"2024-01-31 12:00\" is no date at 12");
    check("at < timestamp 'noon'", "\"noon\" is no timestamp at 15");
    check("at < timestamp '2024-01-31 12'", "\"2024-01-31 12\" is no timestamp at 15");
    check("at < timestamp '2024-1-5'", "\"2024-1-5\" is no timestamp at 15");
    check("cast(a as int)", "this is no type for cast at 10");
    check("1.2.3 = a", "\"1.2.3\" is no number at 0");
    check("select 1 from x", "the expression ends before this at 7");
    check(&"(".repeat(100), "the expression nests too deeply at 64");
    check(&"a".repeat(10_001), "the expression is longer than 10000 bytes at 0");
}

#[test]
fn aliases_of_values_become_the_values() {
    let mut expression =
        Expression::parse("a = '手机' or a in ('手机', 'x') or lower(a) = '手机'").unwrap();
    expression.resolve_values(&|_, text| (text == "手机").then(|| "app".to_owned()));
    let text = expression.sql(&mut |name| Ok(name.text())).unwrap();
    assert_eq!(text, "(((a = 'app') OR (a IN ('app', 'x'))) OR (lower(a) = '手机'))");
}

#[test]
fn names_of_truth_values_and_of_numbers_fit_the_columns_that_hold_them() {
    let values = |_: &Name, text: &str| {
        let known = [("Yes", "true"), ("Gold", "10"), ("Silver", "9"), ("Code", "007")];
        known.iter().find(|(name, _)| *name == text).map(|(_, value)| (*value).to_owned())
    };
    for (text, expected) in [
        ("vip = 'Yes'", "(CAST(vip AS VARCHAR) = 'true')"),
        ("'Yes' <> vip", "('true' <> CAST(vip AS VARCHAR))"),
        ("vip in ('Yes', false)", "(CAST(vip AS VARCHAR) IN ('true', 'false'))"),
        ("vip = true", "(vip = TRUE)"),
        ("tier = 'Gold'", "(tier = '10')"),
        ("tier between 'Silver' and 'Gold'", "(tier BETWEEN 9 AND 10)"),
        ("tier < 'Gold'", "(tier < 10)"),
        ("tier >= 'Code'", "(tier >= '007')"),
    ] {
        let mut expression = Expression::parse(text).unwrap();
        expression.resolve_values(&values);
        assert_eq!(expression.sql(&mut |name| Ok(name.text())).unwrap(), expected, "{text}");
    }
}
