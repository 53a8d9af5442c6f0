//! Templates that ask the database while they are built, and statements around builds that write.

use super::dbt::PROJECT;
use super::shop::{Shop, error_of};
use crate::{ModelStatus, TestStatus};

const PIVOT: &str = "{{ config(materialized='table') }}
{%- set kinds = dbt_utils.get_column_values(ref('kinds'), 'kind') %}
-- depends_on: {{ ref('kinds') }}
select o.id, {{ dbt_utils.pivot('o.kind', kinds, then_value='o.n') }}
from {{ source('raw', 'orders') }} o group by o.id";

/// A shop with a pivot over the kinds of its orders.
async fn pivot() -> Shop {
    let shop = Shop::of_dbt(&[
        PROJECT,
        (
            "models/kinds.sql",
            "{{ config(materialized='table') }} select kind, count(*) as times from {{ source('raw', 'customers') }} group by kind",
        ),
        ("models/wide.sql", PIVOT),
    ])
    .await;
    shop.land("raw.customers", "kind", "('a'), ('b')").await;
    shop.land("raw.orders", "id, kind, n", "(1, 'a', 5), (1, 'b', 7)").await;
    shop
}

#[tokio::test]
async fn a_pivot_has_the_columns_that_there_are_and_is_built_again_when_they_are_others() {
    let shop = pivot().await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(shop.read("select id, a, b from main.wide").await, ["1 5 7"]);
    assert!(shop.built().await.is_empty(), "nothing changed");

    // The table that is asked has another version, and answers the same.
    shop.land("raw.customers", "kind", "('a')").await;
    assert_eq!(shop.built().await, ["main.kinds"]);

    shop.land("raw.customers", "kind", "('c')").await;
    assert_eq!(shop.built().await, ["main.kinds", "main.wide"]);
    assert_eq!(shop.read("select id, a, b, c from main.wide").await, ["1 5 7 0"]);
    assert!(shop.built().await.is_empty(), "the answer is the same again");
}

#[tokio::test]
async fn a_plan_asks_as_a_build_does() {
    let shop = pivot().await;
    assert!(shop.build().await.passed());
    let plan = crate::changes(shop.world(), crate::BuildOptions::default()).await.unwrap();
    assert!(plan.models.is_empty(), "{:?}", plan.models);
    let lineage = crate::column_graph(shop.world()).await.unwrap();
    let notes: Vec<&String> = lineage.notes.iter().filter(|note| note.contains("wide")).collect();
    assert!(notes.is_empty(), "it is traced as it was built: {notes:?}");
}

#[tokio::test]
async fn answers_are_tables_of_rows_and_columns() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "select 1 as n, 'x' as t, date '2024-02-29' as d union all select 2, null, null"),
        (
            "models/b.sql",
            "-- depends_on: {{ ref('a') }}
            {% call statement('all', fetch_result=True) -%} select n, t, d from {{ ref('a') }} order by n; {%- endcall -%}
            {%- set rows = load_result('all')['data'] -%}
            {%- set table = load_result('all').table -%}
            {%- if execute -%}
            select {{ rows[0][0] + 1 }} as first, {{ rows | length }} as many, {{ table.columns['n'].values() | sum }} as total,
            '{{ table.column_names | join('-') }}' as names, '{{ rows[0]['T'] }}' as text, '{{ table.rows[0].d.strftime('%d.%m.%Y') }}' as day,
            {{ rows[1].t is none }} as nothing, '{% for row in table %}{{ row.n }}{% endfor %}' as each_one
            {%- else -%} select 0 as first {%- endif -%}",
        ),
        (
            "models/c.sql",
            "-- depends_on: {{ ref('a') }}
            {% set found = dbt_utils.get_query_results_as_dict('select n from ' ~ ref('a')) -%}
            select {{ dbt_utils.get_single_value('select max(n) from ' ~ ref('a'), default=0) or 0 }} as most,
            {{ (found['n'] or []) | length }} as many",
        ),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(
        shop.read("select first, many, total, names, text, day, nothing, each_one from main.b")
            .await,
        ["2 2 3 n-t-d x 29.02.2024 true 12"]
    );
    assert_eq!(shop.read("select most, many from main.c").await, ["2 2"]);
}

#[tokio::test]
async fn tables_and_columns_that_are_there_are_found() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        ("models/part_one.sql", "select 1 as id, 'x' as name"),
        ("models/part_two.sql", "select 2 as id, 0.5 as share"),
        ("models/part_old.sql", "select 3 as id"),
        (
            "models/whole.sql",
            "-- depends_on: {{ ref('part_one') }} {{ ref('part_two') }} {{ ref('part_old') }}
            {{ dbt_utils.union_relations(dbt_utils.get_relations_by_prefix('main', 'part_', exclude='%_old'), source_column_name=none) }}",
        ),
        (
            "models/there.sql",
            "{{ config(materialized='table') }}
            {%- set one = adapter.get_relation(database=target.database, schema='main', identifier='part_one') -%}
            {%- set own = load_relation(this) -%}
            select {{ one is not none }} as one, {{ own is not none }} as own, {{ dbt_utils.star(ref('part_one'), prefix='p_') }}
            from {{ ref('part_one') }}",
        ),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(shop.read("select id, name, share from main.whole order by id").await.len(), 2);
    // A table that is built whole is not there while it is, so that it stays the same query.
    assert_eq!(
        shop.read("select one, own, p_id, p_name from main.there").await,
        ["true false 1 x"]
    );
    assert!(shop.built().await.is_empty(), "it is there now, and the query is the same");
}

#[tokio::test]
async fn what_may_not_be_asked_is_refused_at_its_place() {
    let mut shop = Shop::of_dbt(&[PROJECT, ("models/a.sql", "select 1 as n")]).await;
    assert!(shop.build().await.passed());
    for (path, text) in [
        (
            "models/undeclared.sql",
            "select 1 as x\n{%- if execute and run_query('select n from main.a') %}{% endif %}",
        ),
        ("models/writes.sql", "select 1 as x\n{% do run_query('drop table main.a') %}"),
        (
            "models/wrong.sql",
            "-- {{ ref('a') }}\nselect 1 as x\n  {% do run_query('select nn from ' ~ ref('a')) %}",
        ),
        (
            "models/many.sql",
            "{% if execute %}{% for i in range(100) %}{% do run_query('select ' ~ i) %}{% endfor %}{% endif %}select 1 as x",
        ),
        (
            "models/big.sql",
            "{% do run_query('select unnest(range(0, 20000)) as n') %}select 1 as x",
        ),
    ] {
        shop.edit(path, text);
    }
    let report = shop.build().await;
    let check = |model: &str, expected: &[&str]| {
        let text = error_of(&report, model);
        for expected in expected {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    };
    check(
        "main.undeclared",
        &["models/undeclared.sql:2", "without declaring it", "{{ ref('a') }}"],
    );
    check("main.writes", &["models/writes.sql:2"]);
    check("main.wrong", &["models/wrong.sql:3"]);
    check("main.many", &["more than 64 questions"]);
    check("main.big", &["more than 10000 rows"]);
    assert_eq!(report.model("main.a").unwrap().status, ModelStatus::Unchanged);
}

#[tokio::test]
async fn an_increment_asks_its_own_table() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        (
            "models/grows.sql",
            "{{ config(materialized='incremental') }}
            select id from {{ source('raw', 'orders') }}
            {%- if is_incremental() %} where id > {{ run_query('select max(id) from ' ~ this).columns[0].values()[0] }}{% endif %}",
        ),
    ])
    .await;
    shop.land("raw.orders", "id", "(1), (2)").await;
    assert!(shop.build().await.passed());
    shop.land("raw.orders", "id", "(0), (3)").await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.model("main.grows").unwrap().rows, Some(1), "{report:#?}");
    assert_eq!(shop.read("select id from main.grows order by id").await, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_test_asks_when_it_is_run() {
    let mut shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "select 1 as n"),
        (
            "tests/few.sql",
            "select n from {{ ref('a') }}{% if execute %} where n < {{ run_query('select max(n) from ' ~ ref('a')).columns[0][0] }}{% endif %}",
        ),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    shop.edit("models/a.sql", "select 1 as n union all select 2");
    let report = shop.build().await;
    let test = &report.model("main.a").unwrap().tests[0];
    assert_eq!((test.status, test.failures), (TestStatus::Failed, 1), "{report:#?}");
}

const AUDITED: &str = "name: shop
on-run-start: \"create table if not exists audit.runs (model varchar, n bigint)\"
on-run-end:
  - \"{% for res in results if res.node.resource_type == 'model' %}insert into audit.runs values ('end {{ res.node.name }} {{ res.status }}', {{ res.adapter_response.rows_affected or 0 }}); {% endfor %}\"
models:
  +post-hook: \"insert into audit.runs select '{{ this.identifier }}', count(*) from {{ this }}\"
";

#[tokio::test]
async fn hooks_write_tables_of_the_project() {
    let shop = Shop::of_dbt(&[
        ("dbt_project.yml", AUDITED),
        ("models/a.sql", "{{ config(materialized='table', pre_hook=\"delete from audit.runs where model = 'a'\") }} select id from {{ source('raw', 'orders') }}"),
    ])
    .await;
    shop.land("raw.orders", "id", "(1), (2)").await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    let rows = "select model, n from audit.runs order by 1, 2";
    assert_eq!(shop.read(rows).await, ["a 2", "end a success 2"]);
    let notes = &report.model("main.a").unwrap().notes;
    assert!(
        notes[1].contains("wrote audit.runs: 1 rows inserted, 0 updated, 0 deleted"),
        "{notes:?}"
    );
    // Rules about what it was made of hold for it.
    let made = shop.store.made().unwrap();
    let made = made.iter().find(|made| made.name == "audit.runs").unwrap();
    assert!(made.reads.contains("main.a") && made.reads.contains("raw.orders"), "{made:?}");

    // A model that is as it was runs no hooks; the statements around the build are run each time.
    shop.build().await;
    assert_eq!(shop.read(rows).await, ["a 2", "end a success 0", "end a success 2"]);
}

#[tokio::test]
async fn statements_at_the_end_know_the_schemas_that_were_built() {
    let shop = Shop::of_dbt(&[
        (
            "dbt_project.yml",
            "name: shop
on-run-start: \"create table if not exists audit.seen (line varchar)\"
on-run-end:
  - \"{% for schema in schemas %}grant select on all tables in schema {{ schema }} to role reporter; {% endfor %}\"
  - \"{% for database, schema in database_schemas %}insert into audit.seen values ('{{ schema }} of {{ database }}'); {% endfor %}\"
",
        ),
        ("seeds/codes.csv", "code\n1\n"),
        ("models/a.sql", "{{ config(schema='marts') }} select code from {{ ref('codes') }}"),
        ("models/b.sql", "{{ config(schema='marts') }} select code from {{ ref('codes') }}"),
        ("models/c.sql", "{{ config(schema='broken', materialized='table') }} select cast('x' as int) as n from {{ ref('a') }}"),
    ])
    .await;
    let report = shop.build().await;
    let granted = report.notes.iter().filter(|note| note.contains("is not run")).count();
    assert_eq!(granted, 2, "{:?}", report.notes);
    let seen = shop.read("select line from audit.seen order by 1").await;
    assert_eq!(seen, ["main of flywheel", "main_marts of flywheel"]);
}

#[tokio::test]
async fn a_hook_that_fails_fails_its_model_and_nothing_of_it_is_published() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "{{ config(materialized='table') }} select 1 as id"),
        ("models/late.sql", "{{ config(materialized='table', post_hook='insert into audit.nowhere values (1)') }} select 1 as id"),
        ("models/other.sql", "{{ config(materialized='table', pre_hook='delete from main.a') }} select 1 as id from {{ ref('a') }}"),
        ("models/above.sql", "select * from {{ ref('late') }}"),
    ])
    .await;
    let report = shop.build().await;
    assert_eq!(report.published, ["main.a"], "{report:#?}");
    let text = error_of(&report, "main.late");
    assert!(text.contains("the post-hook") && text.contains("nowhere"), "{text}");
    let text = error_of(&report, "main.other");
    assert!(
        text.contains("the pre-hook") && text.contains("is built by the model \"a\""),
        "{text}"
    );
    assert_eq!(report.model("main.above").unwrap().status, ModelStatus::Skipped);
    assert_eq!(shop.read("select id from main.a").await, ["1"]);
}
