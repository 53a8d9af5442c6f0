//! The published numbers our algorithms start from: expected, ours, difference, and the mistakes that a test guards.
//!
//! Our example calculates all anchors but one; the star schema is landed and asked by the program itself.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::figure::{Goal, judge, least, parse};
use super::goal;
use crate::binary::Flywheel;
use crate::command::tidy;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// Every anchor that the example prints, with the share of its rows that must be within their tolerance.
const ANCHORS: &[Goal] = &[
    least("anchor: TF-IDF vocabulary", 1.0),
    least("anchor: TF-IDF similarity", 1.0),
    least("anchor: TF-IDF recommendations", 1.0),
    least("anchor: user similarities", 1.0),
    least("anchor: recommendations to users", 1.0),
    least("anchor: k-means raw", 1.0),
    least("anchor: k-means standardised", 1.0),
    least("anchor: Holt", 1.0),
    least("anchor: Holt, other initialisations", 1.0),
    least("anchor: Holt backtest", 1.0),
    least("anchor: NMF matrix", 1.0),
    least("anchor: NMF recommendations to user 0", 1.0),
    least("anchor: SGD stream", 1.0),
];

/// The anchor that takes a warehouse.
const STAR: &str = "anchor: star schema";

/// What the article's code does wrong, and the test that fails if we do it too; `cargo xtask test` runs them.
const TRAPS: &[(&str, &str)] = &[
    (
        "running the load twice fails or doubles rows",
        "a_star_schema_from_sqlite_answers_the_article_and_landing_twice_changes_nothing",
    ),
    (
        "a list is made of similarities that are all 0",
        "a_similarity_of_0_is_no_evidence_and_popularity_takes_over",
    ),
    (
        "whoever stands first is taken for the item itself",
        "the_item_itself_is_never_its_own_neighbour_even_with_a_twin_before_it",
    ),
    ("a rating that is missing counts as 0", "a_missing_rating_does_not_drag_a_prediction_down"),
    ("an unknown user ends the program", "an_unknown_user_is_an_empty_answer_not_an_error"),
    (
        "the column of the largest numbers decides the clusters",
        "spend_does_not_outvote_the_other_columns",
    ),
    ("clusters have no names", "stages_are_named_and_rules_are_checked"),
    ("one method is taken without a comparison", "auto_reports_what_it_chose_and_against_what"),
    (
        "a forecast of sales is sold as a plan of stock",
        "the_seeds_sales_become_an_order_with_a_service_level",
    ),
    ("zeros are learned as ratings", "zeros_as_ratings_leave_nothing_new_and_the_list_says_so"),
    ("what was rated already is recommended", "no_list_holds_what_the_user_rated"),
    ("learning from a stream runs away", "a_million_events_of_the_seeds_stream_stay_right"),
    (
        "an event may be lost at the end",
        "what_was_acknowledged_is_there_once_after_the_server_is_killed",
    ),
    ("every column is read as a number", "identifiers_survive_exactly"),
    (
        "no outcome is joined to a decision",
        "outcomes_are_joined_late_ones_too_and_lift_is_measured_against_the_holdout",
    ),
    (
        "what a third is a third of is left open",
        "giving_up_a_third_of_300_000_saves_90_000_once_it_is_gone",
    ),
];

/// The article's warehouse, as its own code makes it.
const WAREHOUSE: &str = r#"
import sqlite3, sys
made = sqlite3.connect(sys.argv[1])
made.executescript("""
CREATE TABLE fact_sales (sale_id INTEGER PRIMARY KEY, product_id INTEGER, customer_id INTEGER, sales_amount REAL, sale_date TEXT);
CREATE TABLE dim_product (product_id INTEGER PRIMARY KEY, product_name TEXT, category TEXT);
CREATE TABLE dim_customer (customer_id INTEGER PRIMARY KEY, customer_name TEXT, region TEXT);
INSERT INTO dim_product VALUES (1, 'Laptop', 'Electronics');
INSERT INTO dim_customer VALUES (1, 'Alice', 'North America');
INSERT INTO fact_sales VALUES (1, 1, 1, 1200, '2023-09-01');
""")
made.close()
"#;

/// Prints the tables and passes if every row is within its tolerance and every trap has its test.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let example = ["--release", "--package", "flywheel-algo", "--example", "seeds"];
    process::run(context.cargo().arg("build").args(example))?;
    let mut program = Command::new(context.target.join("release/examples/seeds"));
    let mut text = String::new();
    let passed = process::lines(program.current_dir(&context.root), |line| {
        if !line.starts_with("anchor: ") {
            println!("{line}");
        }
        text.push_str(line);
        text.push('\n');
    })?;
    let mut tally = Tally::default();
    tally.record("seeds: every number is within its tolerance", passed);
    let mut anchors = judge(ANCHORS, &parse(&text));
    goal::holds(&mut anchors, STAR, star_schema(context)?);
    println!("seeds: {} of {} anchors", anchors.passed, anchors.checks.len());
    tally.add(anchors);
    println!();
    let known = tidy::test_names(context)?;
    for (trap, test) in TRAPS {
        println!("trap: {trap}: {test}");
    }
    let gone = gone(&known);
    if !gone.is_empty() {
        println!("no such test: {}", gone.join(", "));
    }
    let guarded = TRAPS.len() - gone.len();
    goal::at_least(&mut tally, "seeds: traps with a test", guarded as f64, TRAPS.len() as f64);
    Ok(tally)
}

/// The tests of traps that are not there.
fn gone(known: &BTreeSet<String>) -> Vec<&'static str> {
    TRAPS.iter().map(|(_, test)| *test).filter(|test| !known.contains(*test)).collect()
}

/// Whether three tables of SQLite, landed and joined, give the article's row and revenue, once and after landing them again.
fn star_schema(context: &Context) -> Result<bool> {
    let flywheel = Flywheel::build(context)?;
    let project = context.scratch("star")?;
    process::run(
        Command::new("python3").args(["-c", WAREHOUSE]).arg(project.join("warehouse.db")),
    )?;
    let stream = |(table, key): (&str, &str)| {
        format!(
            "  - {{stream: {table}, options: {{table: {table}}}, read: full, write: merge, key: [{key}]}}\n"
        )
    };
    let streams: String =
        [("fact_sales", "sale_id"), ("dim_product", "product_id"), ("dim_customer", "customer_id")]
            .map(stream)
            .concat();
    let revenue = "select c.region, p.category, sum(f.sales_amount) as revenue from {{ source('raw', 'fact_sales') }} f \
                   join {{ source('raw', 'dim_product') }} p on p.product_id = f.product_id \
                   join {{ source('raw', 'dim_customer') }} c on c.customer_id = f.customer_id group by 1, 2";
    let connection = "connection: shop\ntype: sqlite\noptions: {path: warehouse.db}\n";
    goal::write_files(
        &project,
        &[
            ("flywheel.yaml", "name: star\n".to_owned()),
            ("connections/shop.yaml", connection.to_owned()),
            ("syncs/shop.yaml", format!("sync: shop\nconnection: shop\nstreams:\n{streams}")),
            ("models/mart/revenue.sql", revenue.to_owned()),
        ],
    )?;
    let counted = |condition: &str| {
        flywheel.value(&project, &format!("select count(*) as n from {condition}"))
    };
    let mut right = true;
    for _ in 0..2 {
        process::run(flywheel.on(&project, &["sync"]).stdout(Stdio::null()))?;
        process::run(flywheel.on(&project, &["build"]).stdout(Stdio::null()))?;
        for (all, the_row) in [
            (
                "raw.fact_sales",
                "sale_id = 1 and product_id = 1 and customer_id = 1 and sales_amount = 1200 \
                 and cast(sale_date as varchar) = '2023-09-01'",
            ),
            (
                "mart.revenue",
                "region = 'North America' and category = 'Electronics' and revenue = 1200",
            ),
        ] {
            let found = [counted(all)?, counted(&format!("{all} where {the_row}"))?];
            if found != ["1", "1"] {
                println!("{all} has {} rows, {} of them the article's", found[0], found[1]);
                right = false;
            }
        }
    }
    Ok(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_with_a_row_that_is_off_or_without_rows_is_not_reproduced() {
        let text: String =
            ANCHORS.iter().map(|anchor| format!("{}\t1.0000\t0\n", anchor.name)).collect();
        assert_eq!(judge(ANCHORS, &parse(&text)).passed, 13);
        let off = text.replacen("1.0000", "0.5000", 1);
        let fewer: String = off.lines().skip(2).map(|line| format!("{line}\n")).collect();
        assert_eq!(
            (judge(ANCHORS, &parse(&off)).failed, judge(ANCHORS, &parse(&fewer)).failed),
            (1, 2)
        );
    }

    #[test]
    fn a_trap_whose_test_was_renamed_is_told() {
        let mut known: BTreeSet<String> =
            TRAPS.iter().map(|(_, test)| (*test).to_owned()).collect();
        assert_eq!(known.len(), TRAPS.len());
        assert!(gone(&known).is_empty());
        known.remove("no_list_holds_what_the_user_rated");
        assert_eq!(gone(&known), ["no_list_holds_what_the_user_rated"]);
    }
}
