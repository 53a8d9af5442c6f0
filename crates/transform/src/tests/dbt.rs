//! Projects of dbt's: the same nodes and rows as dbt makes, seeds, snapshots, ephemeral models.

use std::path::Path;

use flywheel_base::Timestamp;
use flywheel_warehouse::WriteMode;

use super::shop::{Shop, error_of};
use crate::{ModelStatus, TestStatus};

pub(super) const PROJECT: (&str, &str) = ("dbt_project.yml", "name: shop\n");

/// The folder with the example project, and with what dbt makes of it.
pub(super) fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dbt")
}

pub(super) fn files_below(folder: &Path, inside: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{inside}{}", entry.file_name().into_string().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => files_below(&entry.path(), &format!("{name}/"), found),
            false => found.push((name, std::fs::read_to_string(entry.path()).unwrap())),
        }
    }
}

#[tokio::test]
async fn the_library_gives_the_rows_that_dbt_gives() {
    let mut files = Vec::new();
    files_below(&examples().join("library"), "", &mut files);
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let shop = Shop::of_dbt(&files).await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.models.len(), 8);
    let tests = report.models.iter().map(|model| model.tests.len()).sum::<usize>();
    assert_eq!(tests, 20, "each of dbt's tests ran");
    for (model, money) in [
        ("members", Some(6)),
        ("loans", Some(4)),
        ("stg_fees", Some(3)),
        ("stg_loans", None),
        ("raw_members", None),
        ("raw_fees", None),
    ] {
        let expected = examples().join(format!("expected/{model}.txt"));
        let expected = std::fs::read_to_string(expected).unwrap();
        let rows = shop.rows(&format!("select * from main.{model} order by 1")).await;
        assert_eq!(rows.len(), expected.lines().count(), "{model}");
        for (row, expected) in rows.iter().zip(expected.lines()) {
            let expected: Vec<&str> = expected.split('|').collect();
            assert_eq!(row.len(), expected.len(), "{model}");
            for (at, (value, expected)) in row.iter().zip(expected).enumerate() {
                match (money.is_some_and(|from| at >= from), expected) {
                    (true, expected) if !expected.is_empty() => {
                        let (value, expected): (f64, f64) =
                            (value.parse().unwrap(), expected.parse().unwrap());
                        assert!((value - expected).abs() < 0.005, "{model} {row:?}");
                    }
                    (_, expected) => assert_eq!(value, expected, "{model} {row:?}"),
                }
            }
        }
    }
    let again = shop.build().await;
    assert!(again.models.iter().all(|model| model.status == ModelStatus::Unchanged), "{again:#?}");
}

#[tokio::test]
async fn a_seed_is_built_when_its_file_changes_and_a_bad_value_is_named() {
    let mut shop = Shop::of_dbt(&[
        PROJECT,
        ("seeds/codes.csv", "code,n\n007,1\n12,2\n"),
        ("models/a.sql", "select code, n from {{ ref('codes') }}"),
    ])
    .await;
    assert!(shop.build().await.passed());
    assert_eq!(shop.read("select code, n from main.a order by n").await, ["007 1", "12 2"]);
    assert!(shop.built().await.is_empty(), "nothing changed");
    shop.edit("seeds/codes.csv", "code,n\n008,2\n");
    assert_eq!(shop.built().await, ["main.codes"], "a view need not be built again");
    shop.edit("seeds/codes.csv", "code,n\n1,2\n");
    assert_eq!(shop.built().await, ["main.a", "main.codes"], "a number is another type");
    assert_eq!(shop.read("select code + n from main.a").await, ["3"]);
    let project = "name: shop\nseeds: {shop: {codes: {+column_types: {n: date}}}}\n";
    shop.edit("dbt_project.yml", project);
    let text = error_of(&shop.build().await, "main.codes");
    assert!(text.contains("seeds/codes.csv") && text.contains('2'), "{text}");
    assert_eq!(shop.read("select code + n from main.a").await, ["3"], "readers keep the good one");
}

#[tokio::test]
async fn a_seed_whose_file_is_gone_stays_for_those_who_read_it_as_a_source() {
    let model = |n: &str| {
        format!(
            "{{{{ config(materialized='table') }}}} select code, {n} as n from {{{{ source('till', 'codes') }}}}"
        )
    };
    let mut shop = Shop::of_dbt(&[
        ("dbt_project.yml", "name: shop\nseeds: {shop: {+schema: till}}\n"),
        ("seeds/codes.csv", "code,n\n007,1\n"),
        ("seeds/spare.csv", "n\n1\n"),
        ("models/s.yml", "sources: [{name: till, schema: main_till, tables: [{name: codes}]}]"),
        ("models/a.sql", &model("n")),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    shop.remove("seeds/codes.csv");
    shop.remove("seeds/spare.csv");
    shop.edit("models/a.sql", &model("n + 1"));
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.removed, ["main_till.spare"], "nobody reads it");
    assert_eq!(shop.read("select code, n from main.a").await, ["007 2"]);
    assert_eq!(shop.read("select n from main_till.codes").await, ["1"]);
    shop.edit("seeds/codes.csv", "code,n\n008,5\n");
    assert!(shop.build().await.passed());
    assert_eq!(shop.read("select code, n from main.a").await, ["008 6"]);
}

#[tokio::test]
async fn an_ephemeral_model_is_part_of_what_reads_it_and_has_tests() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        ("models/base.sql", "{{ config(materialized='table') }} select 1 as id union all select 2"),
        ("models/mid.sql", "{{ config(materialized='ephemeral') }} select id * 10 as id from {{ ref('base') }}; -- ten times"),
        ("models/low.sql", "{{ config(materialized='ephemeral') }} select id + 1 as id from {{ ref('mid') }}"),
        ("models/top.sql", "select m.id, l.id as low from {{ ref('mid') }} m join {{ ref('low') }} l on l.id = m.id + 1"),
        ("models/t.yml", "models: [{name: mid, columns: [{name: id, tests: [unique]}]}]"),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.model("main.mid").unwrap().tests.len(), 1);
    assert_eq!(shop.read("select id, low from main.top order by id").await, ["10 11", "20 21"]);
    assert_eq!(report.published, ["main.base", "main.top"], "nobody sees an ephemeral model");
    assert!(shop.build_selected("top").await.passed(), "it need not be selected");
}

#[tokio::test]
async fn the_moment_of_a_run_is_told_and_makes_no_other_query() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        ("models/tag.sql", "{{ config(materialized='ephemeral') }} select '{{ run_started_at.date() }}' as day"),
        ("models/whole.sql", "{{ config(materialized='table') }} select o.id, t.day from {{ source('raw', 'orders') }} o cross join {{ ref('tag') }} t"),
        (
            "models/grows.sql",
            "{{ config(materialized='incremental') }} select id, '{{ modules[\"datetime\"].datetime.now().strftime(\"%d.%m.%Y\") }}' as day from {{ source('raw', 'orders') }}{% if is_incremental() %} where id not in (select id from {{ this }}){% endif %}",
        ),
    ])
    .await;
    let (whole, grows) = (
        "select id, day from main.whole order by id",
        "select id, day from main.grows order by id",
    );
    shop.land("raw.orders", "id", "(1)").await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(shop.read(whole).await, ["1 2024-05-01"]);
    assert!(shop.built().await.is_empty(), "no time went by");
    shop.clock.move_to(Timestamp::parse("2024-05-02T10:00:00Z").unwrap());
    shop.land("raw.orders", "id", "(2)").await;
    assert_eq!(shop.built().await, ["main.grows", "main.whole"]);
    assert_eq!(shop.read(whole).await, ["1 2024-05-02", "2 2024-05-02"]);
    // Another query would have made the table anew, with one day in all of its rows.
    assert_eq!(shop.read(grows).await, ["1 01.05.2024", "2 02.05.2024"]);
}

#[tokio::test]
async fn hooks_and_tests_are_told_the_moment_of_the_run() {
    let shop = Shop::of_dbt(&[
        (
            "dbt_project.yml",
            "name: shop\non-run-start: [\"select cast('{{ run_started_at.date() }}' as date)\"]\n",
        ),
        (
            "models/a.sql",
            "{{ config(materialized='table', pre_hook=\"select cast('{{ run_started_at.date() }}' as date)\") }} select 1 as id",
        ),
        (
            "tests/not_late.sql",
            "select 1 as late from {{ ref('a') }} where date '{{ run_started_at.date() }}' > date '2024-05-01'",
        ),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.model("main.a").unwrap().tests.len(), 1);
    // The rows are the same, and the test asks another question.
    shop.clock.move_to(Timestamp::parse("2024-05-02T10:00:00Z").unwrap());
    let report = shop.build().await;
    assert_eq!(report.model("main.a").unwrap().tests[0].status, TestStatus::Failed);
}

#[tokio::test]
async fn a_view_tells_the_moment_of_the_newest_build_and_its_readers_follow() {
    let grows = "{{ config(materialized='incremental') }} select o.id, t.day from {{ source('raw', 'orders') }} o cross join {{ ref('above') }} t{% if is_incremental() %} where o.id not in (select id from {{ this }}){% endif %}";
    let mut shop = Shop::of_dbt(&[
        PROJECT,
        ("models/today.sql", "select '{{ run_started_at.date() }}' as day"),
        ("models/above.sql", "select day from {{ ref('today') }}"),
        (
            "models/whole.sql",
            "{{ config(materialized='table') }} select day from {{ ref('above') }}",
        ),
        ("models/grows.sql", grows),
        ("models/still.sql", "{{ config(materialized='table') }} select 1 as one"),
    ])
    .await;
    shop.land("raw.orders", "id", "(1)").await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(shop.read("select day from main.today").await, ["2024-05-01"]);
    assert!(shop.built().await.is_empty(), "the text is the same");

    shop.clock.move_to(Timestamp::parse("2024-05-02T10:00:00Z").unwrap());
    shop.land("raw.orders", "id", "(2)").await;
    let plan = crate::changes(shop.world(), crate::BuildOptions::default()).await.unwrap();
    let names: Vec<&str> = plan.models.iter().map(|model| model.name.as_str()).collect();
    assert!(names.contains(&"main.today") && names.contains(&"main.whole"), "{names:?}");
    assert!(!names.contains(&"main.still"), "{names:?}");
    assert_eq!(shop.built().await, ["main.grows", "main.today", "main.whole"]);
    assert_eq!(shop.read("select day from main.today").await, ["2024-05-02"]);
    assert_eq!(shop.read("select day from main.whole").await, ["2024-05-02"]);
    let rows = "select id, day from main.grows order by id";
    assert_eq!(shop.read(rows).await, ["1 2024-05-01", "2 2024-05-02"]);

    // A comment makes no other query of what reads the view, so the rows of the day before stay.
    shop.edit("models/grows.sql", &format!("-- more\n{grows}"));
    shop.clock.move_to(Timestamp::parse("2024-05-03T10:00:00Z").unwrap());
    shop.land("raw.orders", "id", "(3)").await;
    assert!(shop.build().await.passed());
    assert_eq!(shop.read(rows).await, ["1 2024-05-01", "2 2024-05-02", "3 2024-05-03"]);
}

const BY_TIME: &str = "{% snapshot s %}{{ config(target_schema='history', unique_key='id', strategy='timestamp', \
    updated_at='at', hard_deletes='invalidate') }} select id, v, at from {{ source('raw', 'orders') }}{% endsnapshot %}";

const STATES: &str =
    "select id, v, dbt_valid_to is null as open from history.s order by id, dbt_valid_from, open";

async fn present(shop: &Shop, values: &str) {
    let query =
        format!("SELECT id, v, CAST(at AS timestamp) AS at FROM (VALUES {values}) AS t(id, v, at)");
    shop.write("raw.orders", WriteMode::Replace, &query).await;
}

#[tokio::test]
async fn a_snapshot_by_time_keeps_every_state() {
    let mut shop = Shop::of_dbt(&[PROJECT, ("snapshots/s.sql", BY_TIME)]).await;
    present(&shop, "(1, 'a', '2024-01-01'), (2, 'b', '2024-01-01')").await;
    assert!(shop.build().await.passed());
    assert_eq!(shop.read(STATES).await, ["1 a true", "2 b true"]);
    // A new value without a new time is no change; a vanished row ends.
    present(&shop, "(1, 'z', '2024-01-01'), (3, 'c', '2024-01-02')").await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(shop.read(STATES).await, ["1 a true", "2 b false", "3 c true"]);
    present(&shop, "(1, 'y', '2024-01-03'), (2, 'back', '2024-01-04'), (3, 'c', '2024-01-02')")
        .await;
    assert!(shop.build().await.passed());
    let states = ["1 a false", "1 y true", "2 b false", "2 back true", "3 c true"];
    assert_eq!(shop.read(STATES).await, states);
    let until = "select dbt_valid_to from history.s where v = 'a'";
    assert!(shop.read(until).await[0].starts_with("2024-01-03"), "closed when the next began");

    // Neither a full refresh nor another query drops the past.
    let full = crate::BuildOptions { full_refresh: true, ..crate::BuildOptions::default() };
    assert!(shop.build_with(full).await.passed());
    assert_eq!(shop.read(STATES).await, states);
    shop.edit(
        "snapshots/s.sql",
        &BY_TIME.replace("select id, v, at", "select id, v, at, 1 as more"),
    );
    assert!(shop.build().await.passed());
    assert_eq!(shop.read(STATES).await, states);

    present(&shop, "(1, 'y', '2024-01-03'), (1, 'x', '2024-01-03')").await;
    let text = error_of(&shop.build().await, "history.s");
    assert!(text.contains("same unique_key (id)"), "{text}");
    assert_eq!(shop.read(STATES).await, states);
}

#[tokio::test]
async fn a_snapshot_by_value_sees_changed_columns_and_marks_deleted_rows() {
    let by_value = BY_TIME.replace("{% endsnapshot %}", "; -- all of them{% endsnapshot %}");
    let by_value = by_value.replace("strategy='timestamp'", "strategy='check'").replace(
        "updated_at='at', hard_deletes='invalidate'",
        "check_cols=['v'], hard_deletes='new_record'",
    );
    let shop = Shop::of_dbt(&[PROJECT, ("snapshots/s.sql", &by_value)]).await;
    present(&shop, "(1, 'a', '2024-01-01'), (2, 'b', '2024-01-01')").await;
    assert!(shop.build().await.passed());
    present(&shop, "(1, null, '2024-01-01')").await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    let states =
        "select id, v, dbt_is_deleted from history.s where dbt_valid_to is null order by id";
    assert_eq!(shop.read(states).await, ["1  False", "2 b True"]);
    present(&shop, "(1, null, '2024-01-02'), (2, 'b', '2024-01-02')").await;
    assert!(shop.build().await.passed());
    assert_eq!(shop.read(states).await, ["1  False", "2 b False"]);
    assert_eq!(shop.read("select count(*) from history.s").await, ["5"]);
}

#[tokio::test]
async fn delete_and_insert_takes_several_rows_of_one_key() {
    let facts = "{{ config(materialized='incremental', unique_key='id') }} select id, v from {{ source('raw', 'orders') }}\
        {% if is_incremental() %} where batch > 1{% endif %}";
    let shop = Shop::of_dbt(&[PROJECT, ("models/facts.sql", facts)]).await;
    shop.land("raw.orders", "id, v, batch", "(1, 'a', 1), (1, 'b', 1), (2, 'c', 1)").await;
    assert!(shop.build().await.passed());
    shop.land("raw.orders", "id, v, batch", "(1, 'x', 2), (1, 'y', 2), (3, 'z', 2)").await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    let rows = "select id, v from main.facts order by id, v";
    assert_eq!(shop.read(rows).await, ["1 x", "1 y", "2 c", "3 z"]);
}

#[tokio::test]
async fn microbatch_replaces_the_last_batches() {
    let facts = "{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='at', batch_size='day', \
        begin='2024-01-01', lookback=1) }} select id, at from {{ source('raw', 'orders') }}";
    let shop = Shop::of_dbt(&[PROJECT, ("models/facts.sql", facts)]).await;
    let land = |values: &'static str| {
        let query =
            format!("SELECT id, CAST(at AS timestamp) AS at FROM (VALUES {values}) AS t(id, at)");
        let shop = &shop;
        async move { shop.write("raw.orders", WriteMode::Replace, &query).await }
    };
    land("(1, '2024-04-01'), (2, '2024-04-30 10:00:00'), (3, '2024-05-01 00:00:00')").await;
    assert!(shop.build().await.passed());
    // It is 2024-05-01: rows of that day and of the day before are replaced, older ones stay.
    land("(9, '2024-04-01'), (4, '2024-04-30'), (5, '2024-05-01 09:00:00')").await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(shop.read("select id from main.facts order by id").await, ["1", "4", "5"]);
}

#[tokio::test]
async fn tests_that_are_macros_find_rows_and_thresholds_decide() {
    let yml = |threshold: &str| {
        format!(
            "models: [{{name: a, columns: [{{name: n, tests: [{{dbt_utils.accepted_range: {{min_value: 2, config: {{{threshold}}}}}}}]}}]}}]"
        )
    };
    let mut shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "select * from (values (1), (1), (3)) as t(n)"),
        ("models/a.yml", &yml("error_if: '>2', warn_if: '>=2'")),
    ])
    .await;
    let outcome = |report: &crate::BuildReport| {
        let test = &report.model("main.a").unwrap().tests[0];
        (test.status, test.failures, test.sample.rows.len())
    };
    assert_eq!(outcome(&shop.build().await), (TestStatus::Warned, 2, 2));
    shop.edit("models/a.yml", &yml("error_if: '>1'"));
    let report = shop.build().await;
    assert_eq!((outcome(&report).0, report.passed()), (TestStatus::Failed, false));
    shop.edit("models/a.yml", &yml("error_if: '>2', warn_if: '>2'"));
    assert_eq!(outcome(&shop.build().await).0, TestStatus::Passed);
    shop.edit("models/a.yml", &yml("where: 'n > 1'"));
    assert_eq!(outcome(&shop.build().await), (TestStatus::Passed, 0, 0));
}

#[tokio::test]
async fn dbt_utils_and_dbts_own_macros_run_on_our_sql() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "select * from (values (1, 'p', 5), (1, 'q', 7), (2, 'p', 1)) as t(id, kind, n)"),
        ("models/star.sql", "select {{ dbt_utils.star(ref('a'), except=['n']) }} from {{ ref('a') }} order by 1, 2"),
        ("models/pivot.sql", "select id, {{ dbt_utils.pivot('kind', ['p', 'q'], then_value='n') }} from {{ ref('a') }} {{ dbt_utils.group_by(1) }}"),
        ("models/days.sql", "{{ dbt_utils.date_spine('day', \"cast('2024-01-30' as date)\", \"cast('2024-02-02' as date)\") }}"),
        ("models/key.sql", "select {{ dbt_utils.generate_surrogate_key(['id', 'kind']) }} as k from {{ ref('a') }} where n = 5"),
        ("models/one.sql", "{{ dbt_utils.deduplicate(ref('a'), partition_by='id', order_by='n desc') }}"),
        ("models/both.sql", "{{ dbt_utils.union_relations([ref('a'), ref('key')]) }}"),
        (
            "models/dates.sql",
            "select {{ dbt.datediff(\"'2024-01-31'\", \"'2024-03-01'\", 'month') }} as m, {{ datediff(\"'2023-12-31'\", \"'2024-01-01'\", 'day') }} as d, \
             {{ dbt.dateadd('day', 2, \"cast('2024-02-28' as date)\") }} as a, {{ dbt.last_day(\"cast('2024-02-03' as date)\", 'month') }} as l, \
             {{ dbt.safe_cast(\"'x'\", 'int') }} as x, {{ dbt.concat([\"'a'\", \"'b'\"]) }} as c",
        ),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(shop.read("select * from main.star").await, ["1 p", "1 q", "2 p"]);
    assert_eq!(shop.read("select * from main.pivot order by id").await, ["1 5 7", "2 1 0"]);
    assert_eq!(
        shop.read("select count(*), min(date_day) from main.days").await,
        ["3 2024-01-30T00:00:00"]
    );
    // The digest of "1-p", as dbt computes it.
    let key = shop.read("select k, md5('1-p') = k from main.key").await;
    assert!(key[0].ends_with("true"), "{key:?}");
    assert_eq!(shop.read("select id, n from main.one order by id").await, ["1 7", "2 1"]);
    assert_eq!(shop.read("select count(*), count(k), count(id) from main.both").await, ["4 1 3"]);
    assert_eq!(
        shop.read("select m, d, l, x is null, c from main.dates").await,
        ["2 1 2024-02-29 true ab"]
    );
}

#[tokio::test]
async fn dbts_macros_for_dates_and_lists_take_expressions() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "select timestamp '2024-01-31 00:00:00' as d, 2 as n, cast(null as int) as none"),
        (
            "models/moved.sql",
            "select {{ dbt.dateadd('day', 'n', 'd') }} as days, {{ dateadd('quarter', 1, 'd') }} as quarter, \
             {{ dbt.dateadd('month', 'n + 1', 'd') }} as months, {{ dbt.dateadd('day', 'none', 'd') }} as never, \
             {{ dbt.datediff(\"'1999-12-31 23:59:59.999999'\", \"'2000-01-01 00:00:00'\", 'millisecond') }} as ms, \
             {{ dbt.date(2024, 2, 3) }} as made from {{ ref('a') }}",
        ),
        ("models/days.sql", "{{ dbt.date_spine('day', dbt.date(2024, 1, 30), dbt.date(2024, 2, 2)) }}"),
        ("models/numbers.sql", "{{ dbt.generate_series(3) }}"),
        (
            "models/lists.sql",
            "select {{ dbt.listagg('generated_number', \"'|'\", 'order by generated_number desc', 2) }} as two, \
             {{ get_powers_of_two(9) }} as power, \
             array_length({{ dbt.array_append(dbt.array_construct([1, 2]), 3) }}) as three from {{ ref('numbers') }}",
        ),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(
        shop.read("select days, quarter, months, never is null, ms, made from main.moved").await,
        ["2024-02-02T00:00:00 2024-04-30T00:00:00 2024-04-30T00:00:00 true 1 2024-02-03"]
    );
    assert_eq!(shop.read("select count(*) from main.days").await, ["3"]);
    assert_eq!(shop.read("select two, power, three from main.lists").await, ["3|2 4 3"]);
}

#[tokio::test]
async fn templates_ask_what_kind_a_column_is_and_which_database_they_are_for() {
    let shop = Shop::of_dbt(&[
        PROJECT,
        ("models/a.sql", "select 'x' as name, 1 as n, 1.5 as share, cast(2 as decimal(8, 2)) as price"),
        (
            "models/kinds.sql",
            "{% set kinds = [] -%}
             {%- for column in adapter.get_columns_in_relation(ref('a')) -%}
             {%- do kinds.append(column.name ~ ':' ~ ('text' if column.is_string() else 'number' if column.is_number() else 'other')) -%}
             {%- endfor -%}
             select '{{ kinds | join(' ') }}' as kinds, '{{ adapter.type() }}' as kind, \
             cast('1' as {{ api.Column.translate_type('integer') }}) as whole, \
             '{{ 'yes' if flags.WHICH in ['run', 'build'] else 'no' }}' as built",
        ),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(
        shop.read("select kinds, kind, whole, built from main.kinds").await,
        ["name:text n:number share:number price:number duckdb 1 yes"]
    );
}

/// Names of files in large letters are common where another database folds them, or does not tell them apart.
#[tokio::test]
async fn models_whose_files_have_capitals_are_built_in_lower_case() {
    let shop = Shop::of_dbt(&[
        ("dbt_project.yml", "name: shop\nmodels: {shop: {Marts: {+schema: Marts}}}\n"),
        ("seeds/Raw_Customers.csv", "id,name\n1,Ada\n"),
        ("models/Marts/Dim_Customers.sql", "select * from {{ ref('Raw_Customers') }}"),
        (
            "models/Marts/Dim_Customers.yml",
            "models:\n  - name: Dim_Customers\n    columns: [{name: id, tests: [unique, {relationships: {to: ref('Raw_Customers'), field: id}}]}]\n  - name: removed\n",
        ),
        ("models/later.sql", "\n"),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.models.iter().map(|model| model.tests.len()).sum::<usize>(), 2);
    assert_eq!(shop.read("select name from main_marts.Dim_Customers").await, ["Ada"]);
}

#[tokio::test]
async fn hooks_are_written_with_dbts_words_for_transactions() {
    let shop = Shop::of_dbt(&[
        (
            "dbt_project.yml",
            "name: shop\non-run-start: create table if not exists main.log (said varchar)\n",
        ),
        (
            "models/a.sql",
            "{{ config(pre_hook=before_begin(\"insert into main.log select 'before'\"), \
             post_hook=[after_commit(\"insert into main.log select 'after'\")]) }} select 1 as x",
        ),
    ])
    .await;
    let report = shop.build().await;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(shop.read("select said from main.log order by 1").await, ["after", "before"]);
}
