//! Tests of rendering: what templates give, and what they cannot do.

use flywheel_base::ErrorKind;
use serde_json::json;

use super::*;

fn vars() -> BTreeMap<String, Json> {
    BTreeMap::from([
        ("since".to_owned(), json!("2024-01-01")),
        ("limit".to_owned(), json!(5)),
        ("regions".to_owned(), json!(["north", "south"])),
        ("nothing".to_owned(), Json::Null),
    ])
}

fn rendered(template: &str, incremental: bool) -> Result<String> {
    render_sql(
        template,
        &RenderContext {
            vars: &vars(),
            incremental,
            this: "marts.orders".to_owned(),
            resolve_ref: &|name| match name {
                "gone" => Err(Error::not_found("ref('gone') is gone").hint("Bring it back.")),
                name => Ok(format!("staging.{name}")),
            },
            resolve_source: &|source, table| Ok(format!("{source}.{table}")),
        },
    )
}

#[test]
fn the_words_of_dbt_render() {
    let check = |template: &str, expected: &str| {
        assert_eq!(rendered(template, false).unwrap(), expected, "{template}");
    };
    check("from {{ ref('a') }} join {{ source(\"raw\", 'b') }}", "from staging.a join raw.b");
    check("'{{ var('since') }}' {{ var('limit') + 1 }} {{ var('x', 7) }}", "'2024-01-01' 6 7");
    check(
        "{% for r in var('regions') %}'{{ r }}'{{ ',' if not loop.last }}{% endfor %}",
        "'north','south'",
    );
    check("{{ var('nothing') }} {{ true }}", "null true");
    check("{{ config(materialized='table') }}select 1\n", "select 1");
    check("{{ this }} {% if is_incremental() %}yes{% else %}no{% endif %}", "marts.orders no");
    check("a {# {{ ref('x') }} #}b", "a b");
    check("{% macro cents(c) %}{{ c }} / 100{% endmacro %}{{ cents('x') }}", "x / 100");
    assert_eq!(rendered("{% if is_incremental() %}yes{% endif %}", true).unwrap(), "yes");
}

#[test]
fn references_of_both_branches_are_found_once_and_sorted() {
    let template = "{{ ref('b') }}{{ ref('b') }}{{ source('raw', 'z') }}\
        {% if is_incremental() %}{{ ref('a') }}{% else %}{{ ref('c') }}{% endif %}";
    let found = references(template, &vars()).unwrap();
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["ref('a')", "ref('b')", "ref('c')", "source('raw', 'z')"]);
}

#[test]
fn a_resolver_may_lead_to_further_references() {
    let template = "{% if ref('a') == 'staging.a' %}{{ ref('b') }}{% endif %}";
    assert_eq!(rendered(template, false).unwrap(), "staging.b");
}

#[test]
fn errors_name_line_column_and_keep_the_resolvers_kind_and_hint() {
    let error = rendered("select *\nfrom {{ ref('gone') }}", false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.message(), "the SQL template:2:9: ref('gone') is gone");
    assert_eq!(error.hint_text(), Some("Bring it back."));
    let error = rendered("数据 {{ nope }}", false).unwrap_err();
    assert_eq!(error.message(), "the SQL template:1:7: \"nope\" is not defined");
    let error = rendered("select {{ run_started_at }}", false).unwrap_err();
    assert_eq!(error.hint_text(), Some("Let SQL ask for the time: now() or current_date."));
}

#[test]
fn the_sandbox_has_no_files_no_environment_and_no_end_without_end() {
    for template in [
        "{% include 'x' %}",
        "{% extends '/etc/passwd' %}",
        "{% import 'x' as y %}",
        "{{ env_var('HOME') }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(9999) %}{{ 'x' * 99999 }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 999999999999 }}",
        "{{ 1 / 0 }}",
        "{{ 9223372036854775807 * 9223372036854775807 * 9223372036854775807 }}",
    ] {
        let outcome = rendered(template, false);
        assert!(outcome.is_err_and(|error| error.kind() == ErrorKind::Invalid), "{template}");
    }
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(rendered(&nested, false).is_err());
}
