//! Projects of dbt's: what is read of them, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::graph::Known;
use crate::model::{IncrementalStrategy, OnSchemaChange, SnapshotStrategy, TestKind};
use crate::resource::project_file::Materialized;
use crate::resource::properties::Severity;
use crate::resource::semantic::Aggregate;
use crate::{Choices, Columns, Connectors, Diagnostics, Model, NodeKind, Project, RenderContext};

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
    assert_eq!(names.len(), 7, "{names:?}");
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
    let fresh = project.sources["raw.orders"].freshness.as_ref().unwrap();
    assert_eq!(fresh.warn_after.unwrap().seconds(), 86_400);
    assert_eq!(fresh.loaded_at_field.as_deref(), Some("at"));
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
    check("{{ statement('a') }}", none, "statement() has no query");
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
fn keys_of_an_older_release_of_dbt_utils_stay_the_same() {
    let key = ("models/m.sql", "select {{ dbt_utils.generate_surrogate_key(['a']) }} as k");
    let of = |project: &str| {
        let project = loaded(&[("dbt_project.yml", project), key]);
        sql_of(&project, "m", &Columns::new())
    };
    let plain = of("name: shop\n");
    assert!(plain.contains("'_dbt_utils_surrogate_key_null_'"), "{plain}");
    let older = of("name: shop\nvars: {surrogate_key_treat_nulls_as_empty_strings: true}\n");
    assert_eq!(older, "select md5(cast(coalesce(cast(a as varchar), '') as varchar)) as k");
    let report = refused(&[
        PROJECT,
        ("models/m.sql", "select {{ dbt_utils.surrogate_key('a', 'b') }} as k"),
    ]);
    assert!(report.contains("generate_surrogate_key()"), "{report}");
}

#[test]
fn a_project_is_read_that_dbt_only_warns_of() {
    let project = loaded(&[
        (
            "dbt_project.yml",
            "name: shop\nsource-paths: [transform]\ndata-paths: [data]\nanalysis-paths: [analysis]\n",
        ),
        ("data/codes.csv", "code\n1\n"),
        ("transform/a.sql", "select code from {{ ref('codes') }}"),
        ("transform/a.yml", "models: [{name: a, columns: [{name: code, data-tests: [unique]}]}]\n"),
        ("analysis/what_if.sql", "select 1"),
    ]);
    assert!(project.models.contains_key("a") && project.models.contains_key("codes"));
    let report = project.warnings.render();
    for expected in [
        "\"source-paths\" has been called \"model-paths\"",
        "\"data-paths\" has been called \"seed-paths\"",
        "nothing reads \"data-tests\" of a column",
        "Did you mean \"data_tests\"?",
    ] {
        assert!(report.contains(expected), "{expected} in\n{report}");
    }
    assert!(!report.contains("nothing reads this folder"), "the project names it: {report}");
    let both = [
        ("dbt_project.yml", "name: shop\nsource-paths: [old]\nmodel-paths: [new]\n"),
        ("old/a.sql", "select 1 as x"),
        ("new/b.sql", "select 1 as x"),
    ];
    let models: Vec<String> = loaded(&both).models.keys().cloned().collect();
    assert_eq!(models, ["b"], "the name of today wins");
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let project = loaded(&[
        ("dbt_project.yml", "name: shop\nmodel-path: [m]\nmodels: {shop: {+odd_setting: 1}}\n"),
        (
            "packages.yml",
            "packages: [{package: dbt-labs/dbt_utils, version: 1.3.0}, {package: a/far_away, version: 1.0.0}]\n",
        ),
        ("models/a.sql", "{{ config(sql_header='set x', meta={}) }} select 1 as x"),
        ("models/b.py", "def model(dbt, session): pass"),
        ("models/empty.yml", "# nothing yet\n"),
        (
            "models/a.yml",
            "version: '2'\nmodels:\n  - name: a\n    description: \"{{ doc('gone') }}\"\n    owner_team: bakers\nexposures: [{name: board, depends_on: [ref('a')]}]\n",
        ),
    ]);
    let report = project.warnings.render();
    for expected in [
        "Did you mean \"model-paths\"?",
        "\"sql_header\" has no effect",
        "nothing reads the setting \"odd_setting\"",
        "the package a/far_away is not there",
        "models in Python are not built",
        "no docs block is named \"gone\"",
        "nothing reads \"owner_team\" of a model",
    ] {
        assert!(report.contains(expected), "{expected} in\n{report}");
    }
    assert!(
        !report.contains("the package dbt-labs/dbt_utils"),
        "what is built in is there\n{report}"
    );
    let selected = project.graph.select(&["+exposure:board".to_owned()], &[]).unwrap();
    assert!(selected.contains(&crate::NodeId::new(NodeKind::Model, "a")));
}

fn bakery(vars: &str) -> Project {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dbt/bakery");
    let choices = Choices { vars: Choices::vars(vars).unwrap(), target: None };
    Project::load_with(&folder, &Connectors::default(), &choices)
        .unwrap_or_else(|mistakes| panic!("{}", mistakes.render()))
}

#[test]
fn the_bakery_is_read_whole() {
    let project = bakery("{load_source_data: true}");
    assert!(project.warnings.is_empty(), "{}", project.warnings.render());
    let seed = &project.models["raw_orders"];
    assert_eq!((seed.relation().as_str(), seed.config.enabled), ("raw.raw_orders", true));
    assert!(!bakery("{}").models["raw_orders"].config.enabled);
    let units: usize = project.models.values().map(|model| model.unit_tests.len()).sum();
    assert_eq!(units, 5);
    assert_eq!(project.ref_relation("guests_v2").unwrap(), "main.guests_v2");
    assert!(project.models["guest_history"].refs.contains("guests_v2"), "the latest version");
    let one = project.models["guests_v1"].columns.iter().map(|column| column.name.as_str());
    assert_eq!(one.collect::<Vec<_>>(), ["guest_id", "guest_name"]);
    assert!(project.models["guests_v2"].config.contract);
    let orders = sql_of(&project, "stg_orders", &Columns::new());
    assert!(orders.contains("(subtotal / 100)::numeric(16, 2) as subtotal"), "{orders}");
    let days = sql_of(&project, "bakery_days", &Columns::new());
    assert!(days.contains("cast('2024-07-01' as timestamp)"), "{days}");
    let described = project.models["stg_orders"].columns.iter().find(|c| c.name == "order_total");
    let text = described.unwrap().description.as_deref();
    assert_eq!(text, Some("What the guest pays, *tax included*."));
    let source = &project.sources["raw.raw_orders"];
    assert_eq!(source.freshness.as_ref().unwrap().warn_after.unwrap().seconds(), 43_200);
    assert!(project.sources["raw.raw_bakeries"].freshness.is_none(), "null takes it back");
    let kept = bakery("{load_source_data: true, keep_failures: true}");
    let unique = kept.model_tests().find(|test| test.name == "unique_stg_guests_guest_id").unwrap();
    let table = unique.failures.table.as_deref();
    assert_eq!(table, Some("main_dbt_test__audit.unique_stg_guests_guest_id"));
}

#[test]
fn semantic_models_become_semantic_views() {
    let project = bakery("{load_source_data: true}");
    let view = &project.semantics["item"];
    assert_eq!((view.table.as_str(), view.time.as_deref()), ("ref('items')", Some("ordered_at")));
    let all = project.semantics();
    let filter = |name: &str| all.named(name).unwrap().metric.filter.clone();
    assert_eq!(filter("drink_revenue").as_deref(), Some("is_drink = true"));
    assert_eq!(filter("large_orders").as_deref(), Some("order_total_dim >= 10"));
    let growth = all.named("revenue_growth_mom").unwrap().metric.derived.clone().unwrap();
    assert_eq!(growth, "(revenue - revenue__1_month_before) * 100 / revenue__1_month_before");
    assert!(all.named("cumulative_revenue").unwrap().metric.cumulative.is_some());
    let tests = project.models["items"].tests.len() + project.models["orders"].tests.len();
    assert_eq!(tests, 2 + 4, "a semantic model adds no test, as in dbt");
}

#[test]
fn the_newer_notation_of_metrics_is_read_and_what_cannot_be_said_is_a_warning() {
    let project = loaded(&[
        PROJECT,
        ("models/orders.sql", "select 1 as order_id, 2 as amount, now() as at, 'x' as region"),
        (
            "models/orders.yml",
            "models:\n  - name: orders\n    semantic_model: {enabled: true, name: sales}\n    agg_time_dimension: at\n    columns:\n      \
             - {name: order_id, entity: {type: primary, name: order}}\n      - {name: at, granularity: day, dimension: {type: time}}\n      \
             - {name: region, dimension: {type: categorical}}\n    metrics:\n      - {name: income, type: simple, agg: sum, expr: amount}\n      \
             - {name: orders_made, type: simple, agg: count_distinct, expr: order_id, filter: \"{{ Dimension('order__region') }} = 'north'\"}\n      \
             - {name: each, type: ratio, numerator: income, denominator: orders_made}\n      \
             - {name: spread, type: simple, agg: percentile, expr: amount}\n      \
             - {name: high, type: simple, agg: percentile, percentile: 0.9, percentile_type: continuous, expr: amount}\n      \
             - {name: shown, type: simple, agg: percentile, percentile: 0.9, percentile_type: discrete, expr: amount}\n      \
             - {name: lost, type: ratio, numerator: income, denominator: nothing}\n",
        ),
    ]);
    let all = project.semantics();
    let names: Vec<&str> = all.metrics().map(|metric| metric.name).collect();
    assert_eq!(names, ["each", "high", "income", "orders_made"]);
    let high = all.named("high").unwrap();
    let measure = &high.view.measures[high.metric.measure.as_ref().unwrap()];
    assert_eq!((measure.aggregate, measure.p), (Aggregate::Quantile, Some(0.9)));
    let filter = all.named("orders_made").unwrap().metric.filter.as_deref();
    assert_eq!(filter, Some("region = 'north'"));
    let report = project.warnings.render();
    assert!(report.contains("metric \"spread\" is left out"), "{report}");
    assert!(report.contains("metric \"shown\" is left out"), "{report}");
    assert!(report.contains("metric \"lost\" is left out"), "{report}");
}

/// What dbt computes otherwise is not computed under its name in silence.
#[test]
fn metrics_that_mean_something_else_here_are_left_out_or_told() {
    let yml = "semantic_models:
  - name: visits
    model: ref('visits')
    defaults: {agg_time_dimension: at}
    entities:
      - {name: visit, type: primary, expr: visit_id}
      - {name: person, type: foreign, expr: person_id}
    dimensions:
      - {name: at, type: time, type_params: {time_granularity: day}}
      - {name: seen, type: time, type_params: {time_granularity: hour}}
      - {name: page, type: categorical}
    measures:
      - {name: visits, agg: count, expr: visit_id, create_metric: true}
      - {name: here, agg: sum, expr: 1, create_metric: true, non_additive_dimension: {name: at, window_choice: max}}
      - {name: there, agg: sum, expr: 1, create_metric: true, non_additive_dimension: {name: seen, window_choice: max}}
metrics:
  - {name: again, type: conversion, filter: \"{{ Dimension('visit__page') }} = 'start'\", type_params: {conversion_type_params: {entity: person, base_measure: visits, conversion_measure: visits, window: 7 days}}}
  - {name: again_there, type: conversion, type_params: {conversion_type_params: {entity: person, base_measure: visits, conversion_measure: visits, window: 7 days, constant_properties: [{base_property: page, conversion_property: page}]}}}
  - {name: so_far, type: cumulative, type_params: {measure: visits, cumulative_type_params: {period_agg: last}}}
  - {name: so_far_mean, type: cumulative, type_params: {measure: visits, cumulative_type_params: {period_agg: average}}}
  - {name: lately, type: simple, type_params: {measure: visits}, filter: \"{{ TimeDimension('visit__at', 'day') }} >= '2024-01-01'\"}
  - {name: by_month, type: simple, type_params: {measure: visits}, filter: \"{{ TimeDimension('visit__at', 'month') }} >= '2024-01-01'\"}
  - {name: by_hour, type: simple, type_params: {measure: visits}, filter: \"{{ TimeDimension('visit__seen', 'day') }} >= '2024-01-01'\"}
  - {name: each, type: derived, type_params: {expr: cast(visits as float) / here, metrics: [visits, here]}}
  - {name: switched_off, type: simple, config: {enabled: false}, type_params: {measure: visits}}
";
    let model = "select 1 as visit_id, 2 as person_id, now() as at, now() as seen, 'x' as page";
    let project = loaded(&[PROJECT, ("models/visits.sql", model), ("models/visits.yml", yml)]);
    let all = project.semantics();
    let names: Vec<&str> = all.metrics().map(|metric| metric.name).collect();
    assert_eq!(names, ["again", "each", "here", "lately", "so_far", "visits"]);
    let metric = |name: &str| all.named(name).unwrap().metric;
    assert_eq!(metric("again").filter.as_deref(), Some("page = 'start'"));
    assert_eq!(metric("lately").filter.as_deref(), Some("at >= '2024-01-01'"));
    let report = project.warnings.render();
    for said in [
        "measure \"there\" is left out: a moment of \"seen\" counts, and its rows are counted by \"at\"",
        "metric \"again\" counts rows of \"visits\" that were followed; dbt counts those of \"visits\"",
        "metric \"again_there\" is left out: what both sides must have in common cannot be asked",
        "metric \"so_far_mean\" is left out: its period_agg is \"average\"",
        "metric \"by_month\" is left out: its filter divides a time",
        "metric \"by_hour\" is left out: its filter divides a time",
    ] {
        assert!(report.contains(said), "{said} in\n{report}");
    }
}

#[test]
fn unit_tests_are_checked_where_they_are_written() {
    let check = |unit: &str, expected: &str| {
        let yml = format!("unit_tests:\n  - {unit}\n");
        let report = refused(&[PROJECT, ("models/a.sql", "select 1 as x"), ("models/a.yml", &yml)]);
        assert!(report.contains(expected), "{expected} in\n{report}");
        assert!(report.contains("models/a.yml:2"), "{report}");
    };
    check("{name: t, model: b, expect: {rows: []}}", "tests the unknown model \"b\"");
    check("{name: t, model: a}", "it expects nothing");
    check("{name: t, model: a, expect: {format: xml}}", "cannot have the format \"xml\"");
    check("{name: t, model: a, expect: {format: csv, fixture: gone}}", "no fixture gone.csv");
    check("{name: t, model: a, expect: {format: csv, fixture: ../x}}", "not the name of a fixture");
    check("{name: t, model: a, given: [{input: ref('b')}], expect: {rows: []}}", "names no model");
    check("{name: t, model: a, expect: {rows: [1]}}", "not a mapping");
}

#[test]
fn selectors_look_at_settings_sources_earlier_builds_and_selectors_yml() {
    let project = bakery("{load_source_data: true}");
    let state = tempfile::tempdir().unwrap();
    let manifest = project.manifest();
    fs::write(state.path().join("manifest.json"), manifest.to_string()).unwrap();
    let results = r#"{"results": [{"unique_id": "model.bakery.items", "status": "error"},
        {"unique_id": "test.bakery.unique_stg_guests_guest_id", "status": "fail"},
        {"unique_id": "model.bakery.guests.v2", "status": "skipped"}]}"#;
    assert_eq!(project.unique_id(&project.models["guests_v1"]), "model.bakery.guests.v1");
    fs::write(state.path().join("run_results.json"), results).unwrap();
    let known = project.known(Some(state.path())).unwrap();
    let select = |project: &Project, known: &Known, words: &[&str]| -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let found = project.graph.select_with(&words, &[], known).unwrap();
        let models = found.into_iter().filter(|id| id.kind == NodeKind::Model);
        models.map(|id| id.name).collect()
    };
    let one = |words: &[&str]| select(&project, &known, words);
    assert_eq!(one(&["state:modified"]), [""; 0], "nothing changed");
    assert_eq!(one(&["result:error"]), ["items"]);
    assert_eq!(one(&["result:fail"]), ["stg_guests"]);
    assert_eq!(one(&["result:skipped"]), ["guests_v2"], "a version is a part of the identifier");
    assert_eq!(one(&["config.materialized:incremental"]), ["guest_days"]);
    assert_eq!(one(&["resource_type:snapshot"]), ["guest_history"]);
    assert_eq!(one(&["source:till.raw_guests+,tag:staging"]), ["stg_guests"]);
    assert_eq!(one(&["staging,config.tags:staging"]).len(), 6);
    assert_eq!(one(&["bakery.marts.orders"]), ["orders"]);
    assert_eq!(one(&["selector:just_staging"]).len(), 6);
    let sales = one(&["selector:sales"]);
    assert!(sales.contains(&"orders".to_owned()) && !sales.contains(&"raw_orders".to_owned()));
    let nothing = project.graph.select(&["state:modified".to_owned()], &[]).unwrap_err();
    assert!(nothing.hint_text().unwrap().contains("--state"), "{nothing}");
    let gone = project.known(Some(&state.path().join("gone"))).unwrap_err();
    assert!(gone.message().contains("no manifest.json"), "{gone}");

    // A changed file, a changed macro, another alias: each is seen, and so is what is new.
    let changed = |edits: &[(&str, &str)]| {
        let before = loaded(&CHANGING);
        fs::write(state.path().join("manifest.json"), before.manifest().to_string()).unwrap();
        let mut files: Vec<(&str, &str)> = CHANGING
            .iter()
            .filter(|(path, _)| !edits.iter().any(|(p, _)| p == path))
            .copied()
            .collect();
        files.extend(edits);
        let after = loaded(&files);
        let known = after.known(Some(state.path())).unwrap();
        select(&after, &known, &["state:modified"])
    };
    assert_eq!(changed(&[]), [""; 0]);
    assert_eq!(changed(&[("models/a.sql", "select 2 as x")]), ["a"]);
    let half = "{% macro half(c) %}{{ c }} / 2.0{% endmacro %}";
    assert_eq!(changed(&[("macros/half.sql", half)]), ["b"]);
    let aliased = "{{ config(alias='other') }} select {{ half('x') }} as y from {{ ref('a') }}";
    assert_eq!(changed(&[("models/b.sql", aliased)]), ["b"]);
    assert_eq!(changed(&[("models/c.sql", "select 1 as z")]), ["c"]);
}

const CHANGING: [(&str, &str); 4] = [
    PROJECT,
    ("macros/half.sql", "{% macro half(c) %}{{ c }} / 2{% endmacro %}"),
    ("models/a.sql", "select 1 as x"),
    ("models/b.sql", "select {{ half('x') }} as y from {{ ref('a') }}"),
];

#[test]
fn what_describes_nothing_and_files_without_a_query_are_warnings() {
    let project = loaded(&[
        (
            "dbt_project.yml",
            "name: shop\nquery-comment: '{{ own_comment(node) }}'\nmodel-paths: [\n  'models'\n]\n",
        ),
        ("profiles.yml", "shop: {target: dev, outputs: {dev: {type: postgres, dbname: books}}}\n"),
        ("models/Orders.sql", "select '{{ target.dbname }} {{ target.database }}' as at"),
        ("models/later.sql", "  \n"),
        (
            "snapshots/Kept.sql",
            "{% snapshot Kept %}{{ config(unique_key='at', strategy='check', check_cols='all', on_schema_change='ignore') }}
             select at from {{ ref('Orders') }}{% endsnapshot %}",
        ),
        ("models/a.yml", "models:\n  - name: Orders\n    description: all\n  - name: gone\n"),
    ]);
    assert_eq!(project.models.keys().collect::<Vec<_>>(), ["kept", "orders"]);
    assert_eq!(project.models["orders"].description.as_deref(), Some("all"));
    assert_eq!(sql_of(&project, "orders", &Columns::new()), "select 'books books' as at");
    let report = project.warnings.render();
    for expected in [
        "no model is named \"gone\"",
        "the file is empty",
        "nothing reads the setting \"on_schema_change\" of a snapshot",
    ] {
        assert!(report.contains(expected), "{expected} in\n{report}");
    }
}

#[test]
fn the_newest_versions_file_may_have_the_name_of_all() {
    let project = loaded(&[
        PROJECT,
        ("models/Visits.sql", "select 2 as n"),
        ("models/visits_v1.sql", "select 1 as n"),
        (
            "models/visits.yml",
            "models:\n  - name: Visits\n    latest_version: 2\n    versions: [{v: 1}, {v: 2}]\n",
        ),
        (
            "models/reader.sql",
            "select * from {{ ref('Visits') }} union all select * from {{ ref('visits', v=1) }}",
        ),
    ]);
    let names: Vec<&str> = project.models.keys().map(String::as_str).collect();
    assert_eq!(names, ["reader", "visits_v1", "visits_v2"]);
    let reads: Vec<&str> = project.models["reader"].refs.iter().map(String::as_str).collect();
    assert_eq!(reads, ["visits_v1", "visits_v2"]);
    assert_eq!(project.models["visits_v2"].path, "models/Visits.sql");
}
