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
    check("day >= date '2024-01-31'", "(\"day\" >= DATE '2024-01-31')");
    check(
        "at >= TIMESTAMP '2024-01-31 12:00'",
        "(\"at\" >= CAST('2024-01-31 12:00' AS TIMESTAMP(6)))",
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
