//! Projects of dbt's: what is read of them, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::model::{IncrementalStrategy, OnSchemaChange, SnapshotStrategy, TestKind};
use crate::resource::project_file::Materialized;
use crate::resource::properties::Severity;
use crate::{Columns, Connectors, Diagnostics, Model, NodeKind, Project, RenderContext};

const PROJECT: (&str, &str) = ("dbt_project.yml", "name: shop\nprofile: shop\n");

fn write(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn load(files: &[(&str, &str)]) -> Result<Project, Diagnostics> {
    Project::load(write(files).path(), &Connectors::default())
}

fn loaded(files: &[(&str, &str)]) -> Project {
    load(files).unwrap_or_else(|mistakes| panic!("{}", mistakes.render()))
}

fn refused(files: &[(&str, &str)]) -> String {
    match load(files) {
        Ok(project) => panic!("it loads: {}", project.warnings.render()),
        Err(mistakes) => mistakes.render(),
    }
}

fn sql_of(project: &Project, model: &str, columns: &Columns) -> String {
    let model: &Model = &project.models[model];
    let context = RenderContext {
        vars: &project.file.vars,
        incremental: false,
        this: model.relation(),
        resolve_ref: &|name| project.ref_relation(name),
        resolve_source: &|source, table| Ok(project.source_relation(source, table)),
    };
    let sql = model.render_with(&context, columns).unwrap();
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_library_has_the_nodes_that_dbt_counts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dbt/library");
    let project = Project::load(&folder, &Connectors::default())
        .unwrap_or_else(|mistakes| panic!("{}", mistakes.render()));
    let of = |wanted: Materialized| {
        let models = project.models.values().filter(move |m| m.config.materialized == wanted);
        models.map(Model::relation).collect::<Vec<_>>()
    };
    assert_eq!(of(Materialized::Seed), ["main.raw_fees", "main.raw_loans", "main.raw_members"]);
    assert_eq!(of(Materialized::View), ["main.stg_fees", "main.stg_loans", "main.stg_members"]);
    assert_eq!(of(Materialized::Table), ["main.loans", "main.members"]);
    let tests = project.model_tests().count() + project.singular_tests.len();
    assert_eq!(project.models.len() + tests, 28, "as many as dbt build reports");
    assert_eq!(project.models["stg_loans"].config.tags, ["staging"]);
    let fees = sql_of(&project, "stg_fees", &Columns::new());
    assert!(fees.contains("round(cast(amount_cents as double) / 100, 2) as amount"), "{fees}");
    let loans = sql_of(&project, "loans", &Columns::new());
    assert!(loans.contains("fees_by_loan.reservation_amount, 0) as reservation_amount"), "{loans}");
    let warn: Vec<&str> = project
        .model_tests()
        .filter(|test| test.severity == Severity::Warn)
        .map(|test| test.name.as_str())
        .collect();
    assert_eq!(warn, ["not_null_members_first_name"]);
}

#[test]
fn folders_tags_and_schemas_are_configured_as_in_dbt() {
    let project = loaded(&[
        (
            "dbt_project.yml",
            "name: shop\nprofile: shop\nmodels:\n  +materialized: view\n  shop:\n    +tags: a\n    mart:\n      \
             +materialized: table\n      +schema: mart\n      +tags: [b]\n      big: {+enabled: \"{{ var('big') }}\"}\n\
             vars:\n  big: false\n  shop: {since: 2024}\n",
        ),
        (
            "profiles.yml",
            "shop:\n  target: prod\n  outputs:\n    prod: {type: duckdb, schema: core, password: x}\n",
        ),
        (
            "models/one.sql",
            "select '{{ target.name }}' as t, {{ var('since') }} as s, {{ target.password is defined }} as p",
        ),
        (
            "models/mart/two.sql",
            "{{ config(tags='c', meta={'x': 1}) }} select * from {{ ref('one') }}",
        ),
        ("models/mart/big/three.sql", "select 1 as a"),
        (
            "models/mart/four.sql",
            "{{ config(materialized='incremental', unique_key='a', schema='raw2') }} select 1 as a",
        ),
    ]);
    assert_eq!(project.models["one"].relation(), "core.one");
    assert_eq!(project.models["two"].relation(), "core_mart.two");
    assert_eq!(project.models["two"].config.tags, ["a", "b", "c"]);
    assert_eq!(project.models["two"].config.materialized, Materialized::Table);
    assert!(!project.models["three"].config.enabled, "a template in the file is rendered");
    let four = &project.models["four"];
    assert_eq!(four.relation(), "core_raw2.four");
    assert_eq!(four.config.incremental_strategy, IncrementalStrategy::DeleteInsert);
    assert_eq!(four.config.on_schema_change, OnSchemaChange::Ignore);
    let sql = sql_of(&project, "one", &Columns::new());
    assert_eq!(sql, "select 'prod' as t, 2024 as s, false as p", "a password is not shown");
}

#[test]
fn a_projects_own_generate_schema_name_decides() {
    let project = loaded(&[
        PROJECT,
        (
            "macros/schema.sql",
            "{% macro generate_schema_name(custom_schema_name, node) %}{% if node.name == 'b' %}{{ return('special') }}\
             {% endif %}{{ custom_schema_name or target.schema }}{% endmacro %}",
        ),
        ("models/a.sql", "{{ config(schema='mart') }} select 1 as x"),
        ("models/b.sql", "select 1 as x"),
    ]);
    assert_eq!(project.models["a"].relation(), "mart.a");
    assert_eq!(project.models["b"].relation(), "special.b");
}

#[test]
fn macros_return_values_dispatch_and_change_lists() {
    let project = loaded(&[
        PROJECT,
        (
            "macros/all.sql",
            "{% macro names() %}{% set found = [] %}{% for n in ['x', 'y'] %}{% do found.append(n.upper()) %}{% endfor %}\
             {{ return(found) }}{% endmacro %}\n\
             {% macro kind() %}{{ return(adapter.dispatch('kind')()) }}{% endmacro %}\n\
             {% macro default__kind() %}plain{% endmacro %}{% macro duckdb__kind() %}duck{% endmacro %}\n\
             {% materialization odd, default %} {{ nothing() }} {% endmaterialization %}",
        ),
        (
            "dbt_packages/tools/macros/t.sql",
            "{% macro twice(x) %}{{ x }} + {{ helper(x) }}{% endmacro %}{% macro helper(x) %}{{ x }}{% endmacro %}",
        ),
        (
            "models/a.sql",
            "{% set parts = {'k': 1} %}{% do parts.update({'l': 2}) %}select {% for n in names() %}'{{ n }}' as {{ n }}, {% endfor %}\
             '{{ kind() }}' as kind, {{ tools.twice('1') }} as two, {{ parts.items() | length }} as n, \
             {{ dbt_utils.generate_surrogate_key(['a', 'b']) }} as k, '{{ this.schema }}.{{ this.identifier }}' as me",
        ),
    ]);
    assert_eq!(
        sql_of(&project, "a", &Columns::new()),
        "select 'X' as X, 'Y' as Y, 'duck' as kind, 1 + 1 as two, 2 as n, \
         md5(cast(coalesce(cast(a as varchar), '_dbt_utils_surrogate_key_null_') || '-' || \
         coalesce(cast(b as varchar), '_dbt_utils_surrogate_key_null_') as varchar)) as k, 'main.a' as me"
    );
}

#[test]
fn dbt_utils_asks_for_columns_of_what_was_built() {
    let project = loaded(&[
        PROJECT,
        ("models/a.sql", "select 1 as x, 2 as y, 3 as z"),
        (
            "models/b.sql",
            "select {{ dbt_utils.star(ref('a'), except=['Y'], relation_alias='a') }} from {{ ref('a') }} a",
        ),
        (
            "models/c.sql",
            "select {{ dbt_utils.pivot('k', ['p', 'q']) }} from {{ ref('a') }} {{ dbt_utils.group_by(2) }}",
        ),
        ("models/d.sql", "{{ dbt_utils.date_spine('day', \"'2024-01-01'\", \"'2024-01-03'\") }}"),
    ]);
    assert!(project.models["b"].asks_for_columns());
    assert!(!project.models["a"].asks_for_columns(), "most models need no look at others");
    let column = |name: &str| (name.to_owned(), "bigint".to_owned());
    let columns =
        BTreeMap::from([("main.a".to_owned(), vec![column("x"), column("y"), column("z")])]);
    assert_eq!(sql_of(&project, "b", &columns), "select a.\"x\", a.\"z\" from main.a a");
    let pivot = sql_of(&project, "c", &Columns::new());
    assert!(pivot.contains("sum(case when k = 'q' then 1 else 0 end) as \"q\""), "{pivot}");
    assert!(pivot.ends_with("group by 1, 2"), "{pivot}");
    assert!(sql_of(&project, "d", &Columns::new()).contains("interval '1 day')) as date_day"));
}

#[test]
fn tests_of_every_shape_are_read() {
    let project = loaded(&[
        PROJECT,
        ("models/a.sql", "select 1 as x"),
        ("models/b.sql", "select 1 as y"),
        (
            "macros/even.sql",
            "{% test even(model, column_name, by=2) %}select * from {{ model }} where {{ column_name }} % {{ by }} <> 0{% endtest %}",
        ),
        (
            "models/all.yml",
            "version: 2\nmodels:\n  - name: a\n    docs: {show: false}\n    config: {meta: {owner: me}}\n    data_tests:\n      \
             - dbt_utils.unique_combination_of_columns:\n          arguments: {combination_of_columns: [x, y]}\n          \
             config: {severity: WARN, warn_if: '>5', where: 'x > 0'}\n    columns:\n      - name: x\n        data_type: int\n        \
             data_tests:\n          - even\n          - even: {by: 3, name: thirds}\n          - unique: {config: {error_if: '>10'}}\n          \
             - name: my_own\n            test_name: not_null\n          - relationships: {arguments: {to: ref('b'), field: y}}\n          \
             - dbt_utils.cardinality_equality: {to: ref('b'), field: y}\n          - not_null: {config: {enabled: false}}\n\
             sources:\n  - name: shop\n    schema: raw\n    loader: csv\n    freshness: {warn_after: {count: 1, period: day}}\n    \
             loaded_at_field: at\n    tables:\n      - name: orders\nexposures: [{name: board}]\nmetrics: []\n",
        ),
    ]);
    let names: Vec<&str> = project.model_tests().map(|test| test.name.as_str()).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    assert!(names.contains(&"thirds") && names.contains(&"my_own"), "{names:?}");
    let custom = |test: &str| {
        let mut found = project.model_tests().filter_map(|t| match &t.kind {
            TestKind::Custom(custom) if custom.test == test => Some((t, custom)),
            _ => None,
        });
        found.next().unwrap()
    };
    let (unique, call) = custom("dbt_utils.unique_combination_of_columns");
    assert_eq!(unique.severity, Severity::Warn);
    assert!(unique.threshold.warn_if.is_some());
    let context = RenderContext {
        vars: &BTreeMap::new(),
        incremental: false,
        this: String::new(),
        resolve_ref: &|name| project.ref_relation(name),
        resolve_source: &|source, table| Ok(project.source_relation(source, table)),
    };
    let sql = call.render(&context).unwrap();
    assert!(
        sql.contains("from (select * from main.a where x > 0\n) tested\ngroup by x, y"),
        "{sql}"
    );
    assert!(custom("dbt_utils.cardinality_equality").1.refs.contains("b"));
    let (fresh, call) = custom("freshness");
    assert_eq!((fresh.severity, fresh.target.kind), (Severity::Warn, NodeKind::Source));
    assert!(call.render(&context).unwrap().contains("from raw.orders"));
}

#[test]
fn seeds_and_snapshots_are_nodes() {
    let project = loaded(&[
        (
            "dbt_project.yml",
            "name: shop\nseeds:\n  shop:\n    +schema: raw\n    codes: {+column_types: {code: varchar}, +delimiter: ';'}\n",
        ),
        ("seeds/codes.csv", "code;label\n1;a\n"),
        (
            "seeds/props.yml",
            "seeds:\n  - name: codes\n    columns: [{name: code, tests: [unique]}]\n",
        ),
        ("models/a.sql", "select * from {{ ref('codes') }}"),
        (
            "snapshots/s.sql",
            "{% snapshot codes_history %}\n{{ config(target_schema='history', unique_key='code', strategy='check', check_cols='all') }}\n\
             select * from {{ ref('a') }}\n{% endsnapshot %}",
        ),
        (
            "snapshots/y.yml",
            "snapshots:\n  - name: later\n    relation: ref('a')\n    config: {unique_key: code, strategy: timestamp, updated_at: at, hard_deletes: invalidate}\n",
        ),
    ]);
    let codes = &project.models["codes"];
    assert_eq!(codes.relation(), "main_raw.codes");
    let seed = codes.seed.as_ref().unwrap();
    assert_eq!((seed.delimiter, seed.column_types["code"].as_str()), (';', "varchar"));
    assert_eq!(codes.tests.len(), 1);
    let history = &project.models["codes_history"];
    assert_eq!(history.relation(), "history.codes_history");
    assert_eq!(history.snapshot.as_ref().unwrap().strategy, SnapshotStrategy::Check);
    assert_eq!(sql_of(&project, "codes_history", &Columns::new()), "select * from main.a");
    assert_eq!(sql_of(&project, "later", &Columns::new()), "select * from main.a");
    assert!(project.models["later"].refs.contains("a"));
}

#[test]
fn templates_cannot_run_for_ever_or_reach_out() {
    let check = |model: &str, macros: &str, expected: &str| {
        let report = refused(&[PROJECT, ("models/a.sql", model), ("macros/m.sql", macros)]);
        assert!(report.contains(expected), "{expected} in\n{report}");
    };
    let none = "{% macro unused() %}{% endmacro %}";
    check(
        "{{ again(1) }}",
        "{% macro again(n) %}{{ again(n + 1) }}{% endmacro %}",
        "recursion limit",
    );
    check(
        "{{ a() }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}",
        "recursion limit",
    );
    check(
        "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
        none,
        "too many steps",
    );
    check(
        "{% set l = [] %}{% for i in range(20000) %}{% do l.append(i) %}{% endfor %}",
        none,
        "more than 10000 values",
    );
    check(
        "{% set l = [1, 2] %}{% for i in range(30) %}{% do l.append(l) %}{% endfor %}{{ l }}",
        none,
        "more than 10000 values",
    );
    check("{{ env_var('HOME') }}", none, "environment variable \"HOME\" is not for templates");
    check("{{ env_var('DBT_ENV_SECRET_KEY') }}", none, "is not for templates");
    check("{{ env_var('DBT_SURELY_NOT_SET') }}", none, "is not set");
    check("{{ run_query('select 1') }}", none, "asks the database");
    check("{% include '/etc/passwd' %}", none, "non-existing template");
    check("{{ dbt_utils.stra(ref('a')) }}", none, "Did you mean \"star\"?");
    check("{{ exceptions.raise_compiler_error('not so') }}", none, "not so");
    check("{{ adapter.drop_relation(this) }}", none, "adapter.drop_relation() is not available");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let check = |files: &[(&str, &str)], expected: &[&str]| {
        let report = refused(files);
        for expected in expected {
            assert!(report.contains(expected), "{expected} in\n{report}");
        }
    };
    check(&[("dbt_project.yml", "profile: x\n")], &["dbt_project.yml has no name"]);
    check(
        &[("dbt_project.yml", "name: shop\nmodel-paths: ['../other', '/etc']\n")],
        &["--> dbt_project.yml:2:15", "has to name folders of the project"],
    );
    check(
        &[
            ("dbt_project.yml", "name: shop\nmodels: {shop: {+materialised: view}}\n"),
            ("models/a.sql", "select 1"),
        ],
        &["unknown key \"materialised\"", "Did you mean \"materialized\"?", "dbt_project.yml:2"],
    );
    check(
        &[PROJECT, ("profiles.yml", "shop: {target: prod, outputs: {dev: {type: duckdb}}}\n")],
        &["profile \"shop\" has no output \"prod\""],
    );
    check(
        &[
            PROJECT,
            (
                "snapshots/s.sql",
                "{% snapshot s %}{{ config(unique_key='id') }} select 1 as id{% endsnapshot %}",
            ),
        ],
        &["snapshot \"s\" has no strategy"],
    );
    check(
        &[PROJECT, ("snapshots/s.sql", "{% snapshot s %} select 1 as id")],
        &["a snapshot has no end"],
    );
    check(
        &[
            PROJECT,
            ("models/a.sql", "select 1 as x"),
            (
                "models/a.yml",
                "models:\n  - name: a\n    columns:\n      - name: x\n        tests:\n          - dbt_utils.accepted_rang: {min_value: 0}\n          - unique: {config: {error_if: many}}\n",
            ),
        ],
        &[
            "no test is named \"dbt_utils.accepted_rang\"",
            "dbt_utils.accepted_range",
            "models/a.yml:6",
            "\"many\" is not a comparison",
        ],
    );
    check(
        &[
            PROJECT,
            (
                "models/a.sql",
                "{{ config(materialized='incremental', incremental_strategy='microbatch') }} select 1 as x",
            ),
        ],
        &["batches without event_time"],
    );
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let project = loaded(&[
        ("dbt_project.yml", "name: shop\non-run-end: ['grant x']\nmodel-path: [m]\n"),
        (
            "models/a.sql",
            "{{ config(post_hook='vacuum', contract={'enforced': true}, meta={}) }} select 1 as x",
        ),
        (
            "models/a.yml",
            "models:\n  - name: a\n    columns:\n      - name: x\n        data_tests:\n          - unique: {config: {fail_calc: max(x), store_failures: true}}\nunit_tests:\n  - {name: one_is_one, model: a, given: [], expect: {rows: []}}\n",
        ),
    ]);
    let report = project.warnings.render();
    for expected in [
        "on-run-end is not run",
        "Did you mean \"model-paths\"?",
        "\"post_hook\" has no effect",
        "\"contract\" has no effect",
        "\"fail_calc\" of a test has no effect",
        "\"store_failures\" of a test has no effect",
        "the unit test \"one_is_one\" is not run",
    ] {
        assert!(report.contains(expected), "{expected} in\n{report}");
    }
}
