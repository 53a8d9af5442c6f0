//! Incremental tables: what is added, and what a failed or interrupted build leaves behind.

use std::collections::BTreeSet;

use flywheel_base::Rng;
use flywheel_warehouse::{RowStream, Write, WriteMode};

use super::shop::{Shop, error_of};
use crate::{BuildOptions, ModelStatus, TestScope};

const APPEND: &str = "{{ config(materialized='incremental') }}
select id, customer, amount from {{ source('raw', 'orders') }}
{% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}";

const MERGE: &str = "{{ config(materialized='incremental', unique_key='id') }}
select id, max(amount) as amount, max(day) as day from {{ source('raw', 'orders') }}
{% if is_incremental() %} where day >= (select max(day) from {{ this }}) {% endif %}
group by id";

const NOT_NULL: &str = "
models:
  - name: facts
    columns:
      - name: id
        tests: [unique]
      - name: amount
        tests: [not_null]
";

const FULL: BuildOptions<'static> = BuildOptions {
    select: &[],
    exclude: &[],
    known: None,
    full_refresh: true,
    run_tests: true,
    without: const { &BTreeSet::new() },
    defer: None,
    interval: None,
    on_event: &|_| {},
};

async fn appending() -> Shop {
    let shop =
        Shop::new(&[("models/mart/facts.sql", APPEND), ("models/mart/facts.yml", NOT_NULL)]).await;
    shop.land("raw.orders", "id, customer, amount", "(1, 'a', 10), (2, 'b', 5)").await;
    shop
}

const FACTS: &str = "select id, amount from mart.facts order by id, amount";

#[tokio::test]
async fn an_increment_adds_only_what_is_new() {
    let shop = appending().await;
    assert_eq!(shop.build().await.model("mart.facts").unwrap().rows, Some(2));
    shop.land("raw.orders", "id, customer, amount", "(3, 'c', 7)").await;
    let report = shop.build().await;
    let facts = report.model("mart.facts").unwrap();
    assert_eq!((facts.status, facts.rows), (ModelStatus::Built, Some(1)));
    assert!(facts.tests.iter().any(|test| test.scope == TestScope::NewRows), "{facts:?}");
    assert_eq!(shop.read(FACTS).await, ["1 10", "2 5", "3 7"]);
    assert_eq!(shop.head_of("mart.facts").await, 1);

    shop.land("raw.orders", "id, customer, amount", "(0, 'z', 1)").await;
    let nothing = shop.build().await;
    assert_eq!(nothing.model("mart.facts").unwrap().rows, Some(0));
    assert_eq!(shop.head_of("mart.facts").await, 1, "no row, no commit");
    shop.build_with(FULL).await;
    assert_eq!(shop.read(FACTS).await, ["0 1", "1 10", "2 5", "3 7"]);
}

#[tokio::test]
async fn a_merge_updates_rows_by_key_and_refuses_two_rows_of_one_key() {
    let mut shop = Shop::new(&[("models/mart/facts.sql", MERGE)]).await;
    shop.land("raw.orders", "id, amount, day", "(1, 10, 1), (2, 5, 1)").await;
    shop.build().await;
    shop.land("raw.orders", "id, amount, day", "(2, 9, 2), (3, 1, 2)").await;
    shop.build().await;
    assert_eq!(shop.read(FACTS).await, ["1 10", "2 9", "3 1"]);

    shop.edit("models/mart/facts.sql", &MERGE.replace("group by id", "group by id, amount"));
    let report = shop.build().await;
    let text = error_of(&report, "mart.facts");
    assert!(text.contains("unique_key (id)"), "{text}");
    assert_eq!(
        shop.read(FACTS).await,
        ["1 10", "2 9", "3 1"],
        "readers keep the last good version"
    );

    let no_key = "{{ config(materialized='incremental', unique_key='id') }}
        select id, amount, day from {{ source('raw', 'orders') }}
        {% if is_incremental() %} where day > (select max(day) from {{ this }}) {% else %} where day < 2 {% endif %}";
    shop.edit("models/mart/facts.sql", no_key);
    assert!(shop.build().await.passed());
    shop.land("raw.orders", "id, amount, day", "(7, 1, 3), (7, 2, 3)").await;
    let text = error_of(&shop.build().await, "mart.facts");
    assert!(text.contains("have the key id = 7 twice"), "{text}");
}

#[tokio::test]
async fn what_a_failed_build_wrote_is_neither_read_nor_built_upon() {
    let mut shop = appending().await;
    shop.build().await;
    shop.land("raw.orders", "id, customer, amount", "(3, 'c', cast(null as bigint))").await;
    for _ in 0..2 {
        let report = shop.build().await;
        assert_eq!(report.blocked, ["mart.facts"]);
        assert_eq!(report.model("mart.facts").unwrap().status, ModelStatus::Failed);
        assert_eq!(shop.read(FACTS).await, ["1 10", "2 5"]);
    }
    assert!(
        shop.head_of("mart.facts").await > 0,
        "the bad rows are there, but nobody refers to them"
    );

    let mended = APPEND.replace("{% endif %}", "and amount is not null {% endif %}");
    shop.edit("models/mart/facts.sql", &mended);
    shop.land("raw.orders", "id, customer, amount", "(4, 'd', 4)").await;
    assert!(shop.build().await.passed());
    assert_eq!(shop.read(FACTS).await, ["1 10", "2 5", "4 4"]);
    shop.land("raw.orders", "id, customer, amount", "(5, 'e', 5)").await;
    assert!(shop.build().await.passed());
    assert_eq!(shop.read(FACTS).await, ["1 10", "2 5", "4 4", "5 5"]);
}

#[tokio::test]
async fn a_build_that_was_cut_off_after_its_write_is_done_again_without_doubling() {
    let shop = appending().await;
    shop.build().await;
    shop.land("raw.orders", "id, customer, amount", "(3, 'c', 7)").await;
    // What a crash between write and publication leaves: the increment, of which nobody knows.
    let location = shop.location_of("mart.facts");
    let session = shop.lake.session(crate::catalog(shop.world()).await.unwrap()).unwrap();
    let query =
        session.query("select id, customer, amount from raw.orders where id = 3").await.unwrap();
    let rows: RowStream = query.stream().await.unwrap();
    let cut_off = Write::new(WriteMode::Append, rows, "build");
    Box::pin(shop.lake.write(&location, cut_off)).await.unwrap();

    assert_eq!(shop.read(FACTS).await, ["1 10", "2 5"]);
    assert!(shop.build().await.passed());
    assert_eq!(shop.read(FACTS).await, ["1 10", "2 5", "3 7"]);
}

#[tokio::test]
async fn a_build_that_was_recorded_but_not_published_is_published_by_the_next() {
    let shop = appending().await;
    shop.build().await;
    let published = shop.store.publications().unwrap();
    shop.land("raw.orders", "id, customer, amount", "(3, 'c', 7)").await;
    shop.build().await;
    shop.store.publish(&published, &[]).unwrap();
    assert_eq!(shop.read(FACTS).await, ["1 10", "2 5"]);
    let report = shop.build().await;
    assert_eq!(report.published, ["mart.facts"]);
    assert_eq!(report.model("mart.facts").unwrap().status, ModelStatus::Unchanged);
    assert_eq!(shop.read(FACTS).await, ["1 10", "2 5", "3 7"]);
}

#[tokio::test]
async fn compaction_is_followed_and_not_undone() {
    let shop = appending().await;
    for day in 3..8 {
        shop.build().await;
        shop.land("raw.orders", "id, customer, amount", &format!("({day}, 'c', 7)")).await;
    }
    shop.build().await;
    let location = shop.location_of("mart.facts");
    let options = flywheel_warehouse::Maintain {
        small_files_min: 2,
        ..flywheel_warehouse::Maintain::default()
    };
    shop.lake.maintain(&location, options).await.unwrap();
    let head = shop.head_of("mart.facts").await;
    shop.build().await;
    let seen = shop.store.publications().unwrap();
    let seen = seen.iter().find(|seen| seen.name == "mart.facts").unwrap();
    assert_eq!(seen.version, Some(head));
    shop.land("raw.orders", "id, customer, amount", "(9, 'c', 7)").await;
    shop.build().await;
    assert_eq!(shop.head_of("mart.facts").await, head + 1, "one append, no restore");
    assert_eq!(shop.read("select count(*) from mart.facts").await, ["8"]);
}

#[tokio::test]
async fn unique_tests_of_an_appended_table_see_old_rows_too() {
    let mut shop = appending().await;
    shop.edit(
        "models/mart/facts.sql",
        &APPEND.replace("id > (select max(id)", "id >= (select max(id)"),
    );
    assert!(shop.build().await.passed());
    shop.land("raw.orders", "id, customer, amount", "(3, 'c', 7)").await;
    let report = shop.build().await;
    let tests = &report.model("mart.facts").unwrap().tests;
    let unique = tests.iter().find(|test| test.name.starts_with("unique")).unwrap();
    assert_eq!(unique.failures, 1, "order 2 came twice");
    assert_eq!(unique.sample.rows, [["2", "2"]]);
    assert_eq!(shop.read(FACTS).await, ["1 10", "2 5"]);
}

#[tokio::test]
async fn increments_with_other_columns_do_what_on_schema_change_says() {
    let check = async |setting: &str, branch: &str, expected: Result<&[&str], &str>| {
        let sql = format!(
            "{{{{ config(materialized='incremental'{setting}) }}}}
             select id, {{% if is_incremental() %}} {branch} {{% else %}} amount {{% endif %}}
             from {{{{ source('raw', 'orders') }}}}
             {{% if is_incremental() %}} where id > (select max(id) from {{{{ this }}}}) {{% endif %}}"
        );
        let shop = Shop::new(&[("models/mart/facts.sql", &sql)]).await;
        shop.land("raw.orders", "id, amount", "(1, 10)").await;
        shop.build().await;
        shop.land("raw.orders", "id, amount", "(2, 20)").await;
        let report = shop.build().await;
        match expected {
            Ok(rows) => assert_eq!(shop.read("select * from mart.facts order by id").await, rows),
            Err(part) => {
                let text = error_of(&report, "mart.facts");
                assert!(text.contains(part), "{text}");
            }
        }
    };
    let other = "amount * 2 as twice";
    check("", other, Err("its increment adds twice and lacks amount")).await;
    check(", on_schema_change='ignore'", "amount, 1 as more", Ok(&["1 10", "2 20"])).await;
    check(", on_schema_change='append_new_columns'", other, Ok(&["1 10 ", "2  40"])).await;
    check(", on_schema_change='sync_all_columns'", other, Ok(&["1 ", "2 40"])).await;
}

#[tokio::test]
async fn any_sequence_of_increments_equals_a_full_build() {
    for seed in 0..6 {
        let mut random = Rng::new(seed);
        let shop = Shop::new(&[
            ("models/mart/facts.sql", MERGE),
            ("models/mart/rows.sql", APPEND_BY_DAY),
            ("models/mart/total.sql", TOTAL),
        ])
        .await;
        for day in 1..7 {
            let rows: Vec<String> = (0..1 + random.below(4))
                .map(|_| format!("({}, {}, {day})", random.below(5), day * 10 + random.below(3)))
                .collect();
            shop.land("raw.orders", "id, amount, day", &rows.join(", ")).await;
            if random.below(3) > 0 {
                assert!(shop.build().await.passed());
            }
        }
        shop.build().await;
        let all =
            "select 'f', id, amount, day from mart.facts union all select 'r', * from mart.rows
                   union all select 't', total, 0, 0 from mart.total order by 1, 2, 3, 4";
        let increments = shop.read(all).await;
        shop.build_with(FULL).await;
        assert_eq!(shop.read(all).await, increments, "seed {seed}");
    }
}

const APPEND_BY_DAY: &str = "{{ config(materialized='incremental') }}
select id, amount, day from {{ source('raw', 'orders') }}
{% if is_incremental() %} where day > (select coalesce(max(day), 0) from {{ this }}) {% endif %}";

const TOTAL: &str =
    "{{ config(materialized='table') }} select sum(amount) as total from {{ ref('rows') }}";
