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

/// What a template of a dbt project gives in a run that began at `moment`.
fn of_dbt(template: &str, moment: Option<&str>) -> Result<String> {
    let globals = DbtGlobals { project: "shop".to_owned(), target: Map::new() };
    let macros = Arc::new(Macros::of(Some(globals)));
    let vars = vars();
    let context = RenderContext {
        vars: &vars,
        incremental: false,
        this: "marts.orders".to_owned(),
        resolve_ref: &|name| Ok(format!("staging.{name}")),
        resolve_source: &|source, table| Ok(format!("{source}.{table}")),
    };
    let rendered = match moment {
        Some(moment) => {
            let moment = Timestamp::parse(moment).unwrap();
            let given = RunContext { moment: Some(moment), ..RunContext::default() };
            render_given(template, &context, &given, &macros)
        }
        None => render(template, &context, &macros),
    };
    rendered.map_err(|fault| fault.into_error("the SQL template"))
}

#[test]
fn templates_of_dbt_know_the_moment_of_the_run_and_pythons_datetime() {
    for (template, expected) in [
        ("'{{ run_started_at }}'", "'2024-05-01 09:03:07.000120+00:00'"),
        (
            "{{ run_started_at.strftime('%Y-%m-%d %H:%M:%S.%f %z %Z %j%%') }}",
            "2024-05-01 09:03:07.000120 +0000 UTC 122%",
        ),
        ("{{ run_started_at.isoformat() }}", "2024-05-01T09:03:07.000120+00:00"),
        (
            "{{ run_started_at.date() }} {{ run_started_at.year }} {{ run_started_at.hour }}",
            "2024-05-01 2024 9",
        ),
        ("{{ run_started_at.weekday() }} {{ run_started_at.isoweekday() }}", "2 3"),
        ("{{ modules.datetime.datetime.now() }}", "2024-05-01 09:03:07.000120"),
        ("{{ modules.datetime.datetime.utcnow().strftime('%H%z') }}", "09"),
        ("{{ modules.datetime.date.today() }}", "2024-05-01"),
        ("{{ modules.datetime.date.today().isoformat() }}", "2024-05-01"),
        ("{{ modules.datetime.datetime(2024, 2, 29, 8).isoformat() }}", "2024-02-29T08:00:00"),
        ("{{ modules.datetime.datetime(2024, 2, 29, 8, 1, 2, 30) }}", "2024-02-29 08:01:02.000030"),
        ("{{ modules.datetime.date(2024, 2, 29) }}", "2024-02-29"),
        ("{{ modules.datetime.datetime.strptime('29/02/2024', '%d/%m/%Y').date() }}", "2024-02-29"),
        ("{{ modules.datetime.date.fromisoformat('2024-02-29').month }}", "2"),
        (
            "{{ modules.datetime.datetime.fromisoformat('2024-02-29T08:00:00+00:00') }}",
            "2024-02-29 08:00:00+00:00",
        ),
        (
            "{{ modules.datetime.datetime.fromisoformat('2024-02-29T08:00:00') }}",
            "2024-02-29 08:00:00",
        ),
        ("{{ modules.datetime.date.today() > modules.datetime.date(2024, 2, 29) }}", "true"),
        (
            "{{ run_started_at.astimezone(modules.pytz.timezone('Europe/Berlin')) }}",
            "2024-05-01 11:03:07.000120+02:00",
        ),
        (
            "{{ run_started_at.astimezone(modules.pytz.timezone('America/New_York')).strftime('%H:%M %z %Z') }}",
            "05:03 -0400 EDT",
        ),
        (
            "{{ run_started_at.astimezone(modules.pytz.timezone('Pacific/Apia')).date() }}",
            "2024-05-01",
        ),
        (
            "{{ run_started_at.astimezone(modules.pytz.timezone('Asia/Tokyo')) > modules.datetime.datetime(2024, 5, 1, 10) }}",
            "false",
        ),
        ("{{ modules.datetime.datetime.now(modules.pytz.timezone('Asia/Tokyo')).hour }}", "18"),
        (
            "{{ modules.pytz.timezone('Europe/Berlin').localize(modules.datetime.datetime(2024, 1, 2, 3)).isoformat() }}",
            "2024-01-02T03:00:00+01:00",
        ),
        (
            "{{ modules.pytz.timezone('Europe/Berlin').localize(modules.datetime.datetime(2024, 10, 27, 2, 30)).astimezone(modules.pytz.utc) }}",
            "2024-10-27 01:30:00+00:00",
        ),
        (
            "{{ modules.pytz.timezone('Europe/Berlin') }} {{ modules.pytz.UTC.zone }}",
            "Europe/Berlin UTC",
        ),
        (
            "{{ (run_started_at - modules.datetime.timedelta(days=1, hours=10)).strftime('%Y-%m-%d %H:%M%z') }}",
            "2024-04-29 23:03+0000",
        ),
        ("{{ modules.datetime.date.today() + modules.datetime.timedelta(1) }}", "2024-05-02"),
        ("{{ modules.datetime.date.today() - modules.datetime.timedelta(hours=1) }}", "2024-04-30"),
        (
            "{% set then = modules.datetime.datetime(2024, 2, 28, 23) + modules.datetime.timedelta(hours=1) - modules.datetime.timedelta(minutes=1) %}{{ then }}",
            "2024-02-28 23:59:00",
        ),
        (
            "{{ modules.datetime.timedelta(days=1, seconds=5) - modules.datetime.timedelta(milliseconds=1) }}",
            "1 day, 0:00:04.999000",
        ),
        ("{{ modules.datetime.timedelta(minutes=-1) }}", "-1 day, 23:59:00"),
        ("{{ modules.datetime.timedelta(weeks=1, hours=2).seconds }}", "7200"),
        ("{% if flags.FULL_REFRESH %}a{% else %}b{% endif %}", "b"),
    ] {
        let found = of_dbt(template, Some("2024-05-01T09:03:07.00012Z"));
        assert_eq!(found.unwrap(), expected, "{template}");
    }
    for (template, said) in [
        ("{{ run_started_at.strftime('%Q') }}", "does not know the format"),
        ("{{ modules.datetime.date(2024, 2, 30) }}", "is no date"),
        (
            "{{ modules.datetime.datetime.fromisoformat('2024-02-29T08:00:00+08:00') }}",
            "is in another time zone",
        ),
        ("{{ modules.datetime.datetime.strptime('soon', '%Y') }}", "is not written as"),
        ("{{ modules.pytz.timezone('Europe/Berln') }}", "there is no time zone \"Europe/Berln\""),
        ("{{ run_started_at.astimezone('UTC') }}", "UTC is no time zone"),
        (
            "{{ modules.pytz.timezone('Europe/Berlin').localize(modules.datetime.datetime(2024, 3, 31, 2, 30)) }}",
            "no clock of Europe/Berlin shows 2024-03-31 02:30:00",
        ),
        ("{{ modules.pytz.utc.localize(run_started_at) }}", "takes a datetime without zone"),
        ("{{ 5 - modules.datetime.timedelta(days=1) }}", "and 5 is none"),
        (
            "{{ run_started_at - modules.datetime.timedelta(weeks=999999) }}",
            "is not between 1 and 9999",
        ),
        ("{{ modules.datetime.timedelta(months=1) }}", "months"),
        (
            "{{ modules.datetime.datetime(10000, 1, 1).astimezone(modules.pytz.utc) }}",
            "is not between 1 and 9999",
        ),
    ] {
        let error = of_dbt(template, Some("2024-05-01")).unwrap_err();
        assert!(error.message().contains(said), "{template}: {error}");
    }
    // Nothing is known of a run where none is under way.
    for template in ["{{ run_started_at }}", "{{ modules.datetime.datetime.now() }}"] {
        let error = of_dbt(template, None).unwrap_err();
        assert_eq!(error.hint_text(), Some("Let SQL ask for the time: now() or current_date."));
    }
}

#[test]
fn templates_of_dbt_know_pythons_regular_expressions() {
    for (template, expected) in [
        ("{{ modules.re.sub('[^a-z0-9]+', '_', 'net-sales (eur)') }}", "net_sales_eur_"),
        (r"{{ modules.re.sub('(\w+)@(\w+)', '\\2 $1 \g<1>', 'ada@shop') }}", "shop $1 ada"),
        ("{{ modules.re.sub('A', 'b', 'aA', flags=modules.re.IGNORECASE) }}", "bb"),
        ("{% if modules.re.match('b', 'ab') %}yes{% else %}no{% endif %}", "no"),
        ("{% if modules.re.search('b', 'ab') %}yes{% else %}no{% endif %}", "yes"),
        ("{% if modules.re.fullmatch('a|ab', 'ab') %}yes{% endif %}", "yes"),
        (r"{{ modules.re.match('(\d+)-(x)?', '42-').group(1) }}", "42"),
        (r"{{ modules.re.search('(?P<n>\d+)', 'no 42').groups() | join(',') }}", "42"),
        (r"{{ modules.re.search('(?P<n>\d+)', 'no 42').group('n') }}", "42"),
        ("{{ modules.re.search('o', 'no 42').group() }}", "o"),
        ("{{ modules.re.sub('a', 'b', 'aaa', 2) }}", "bba"),
        ("{{ modules.re.sub('A', 'b', 'aaa', count=1, flags=modules.re.I) }}", "baa"),
        ("{{ modules.re.sub('a', 'b', 'aaa', 0) }}", "bbb"),
        (r"{{ modules.re.findall('\d', 'a1b2') | join(',') }}", "1,2"),
        (r"{{ modules.re.split('\s*,\s*', 'a , b,c') | join('|') }}", "a|b|c"),
    ] {
        assert_eq!(of_dbt(template, None).unwrap(), expected, "{template}");
    }
    for template in [
        "{{ modules.re.match('(', 'x') }}",
        "{{ modules.re.match('(?=x)', 'x') }}",
        "{{ modules.re.match('(?P<a>x)', 'x').group('b') }}",
        "{{ modules.re.match('x', 'x', count=1) }}",
        "{{ modules.re.match('x{1000}{1000}{1000}', 'x') }}",
        "{{ modules.re.sub('', 'x' * 10000, 'y' * 10000) }}",
    ] {
        let error = of_dbt(template, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{template}: {error}");
    }
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

/// What a template of a dbt project gives if `asking` answers.
fn asked(template: &str, asking: Asking<'_>) -> Result<String> {
    let globals = DbtGlobals { project: "shop".to_owned(), target: Map::new() };
    let mut macros = Macros::of(Some(globals));
    macros.add_built_in();
    let macros = Arc::new(macros);
    let vars = vars();
    let context = RenderContext {
        vars: &vars,
        incremental: false,
        this: "marts.orders".to_owned(),
        resolve_ref: &|name| Ok(format!("staging.{name}")),
        resolve_source: &|source, table| Ok(format!("{source}.{table}")),
    };
    let run = RunContext { asking, ..RunContext::default() };
    render_given(template, &context, &run, &macros)
        .map_err(|fault| fault.into_error("the SQL template"))
}

#[test]
fn what_a_template_asks_is_named_first_and_answered_in_its_order() {
    let seen = std::cell::RefCell::new(Vec::new());
    let ask = |question: &Question| -> Result<Option<Arc<Rows>>> {
        seen.borrow_mut().push(format!("{question:?}"));
        let rows = vec![vec![Cell::Text("a".into())], vec![Cell::Text("it's".into())]];
        Ok(Some(Arc::new(Rows { columns: vec!["value".into()], rows })))
    };
    let template = "{%- set kinds = dbt_utils.get_column_values(ref('one'), 'kind') -%}
        {%- set more = run_query('select x from ' ~ source('raw', 'two')) -%}
        {{ dbt_utils.pivot('kind', kinds) }}{{ more.rows | length }}{{ more[1].VALUE }}";
    let sql = asked(template, Asking::By(&ask)).unwrap();
    assert!(sql.contains("when kind = 'it''s' then 1") && sql.ends_with("2it's"), "{sql}");
    assert_eq!(
        seen.into_inner(),
        [
            "Query(\"select kind as value from staging.one group by kind order by count(*) desc, kind\")",
            "Query(\"select x from raw.two\")"
        ]
    );
}

#[test]
fn who_does_not_know_an_answer_is_told_nothing_wrong() {
    let template = "{% if execute %}{{ run_query('select 1')[0][0] }}{% else %}nothing{% endif %}";
    assert_eq!(asked(template, Asking::Away).unwrap(), "nothing");
    let error = asked(template, Asking::Closed).unwrap_err();
    assert!(error.message().contains("run_query() asks the database"), "{error:?}");
    let refuse = |_: &Question| -> Result<Option<Arc<Rows>>> {
        Err(Error::not_found("no such table").hint("Look again."))
    };
    let error = asked(template, Asking::By(&refuse)).unwrap_err();
    assert_eq!((error.kind(), error.hint_text()), (ErrorKind::NotFound, Some("Look again.")));
    assert!(error.message().contains(":1:") && error.message().contains("no such table"));
    let nobody = |_: &Question| -> Result<Option<Arc<Rows>>> { Ok(None) };
    assert!(asked(template, Asking::By(&nobody)).is_err(), "it is rendered again once it is known");
}
