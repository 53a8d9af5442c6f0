//! Random trees of joins over tables of many sizes.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use flywheel_base::Rng;

use super::check;
use crate::testing::{TestLake, at, catalog_of, stream};
use crate::{Write, WriteMode};

/// The rows of the tables `j.t0`, `j.t1`, ….
const SIZES: [usize; 6] = [1, 4, 12, 30, 60, 90];
/// How many queries are asked.
const QUERIES: usize = 400;
/// Texts by which tables are joined.
const WORDS: [&str; 5] = ["a", "b", "a text that is longer than a view", "", "ä"];

async fn tables(rng: &mut Rng) -> TestLake {
    let t = TestLake::new().await;
    for (at_table, rows) in SIZES.into_iter().enumerate() {
        let mut numbers = |values: usize| {
            let value = |_| (!rng.chance(0.1)).then(|| rng.below(values) as i64);
            Arc::new((0..rows).map(value).collect::<Int64Array>()) as ArrayRef
        };
        let (few, some, many) = (numbers(6), numbers(20), numbers(200));
        let word = |_| (!rng.chance(0.1)).then(|| WORDS[rng.below(WORDS.len())]);
        let columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("id", Arc::new((0..rows as i64).collect::<Int64Array>()), true),
            ("few", few, true),
            ("some", some, true),
            ("many", many, true),
            ("word", Arc::new((0..rows).map(word).collect::<StringArray>()), true),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let half = rows / 2;
        for part in [batch.slice(0, half), batch.slice(half, rows - half)] {
            if part.num_rows() > 0 {
                let write = Write::new(WriteMode::Append, stream(part), "seed");
                t.lake.write(&at(&format!("j/t{at_table}")), write).await.unwrap();
            }
        }
    }
    t
}

/// A condition that ties the table `x{at}` to one before it.
fn tie(rng: &mut Rng, at: usize) -> String {
    let other = rng.below(at);
    match rng.below(9) {
        0..=2 => format!("x{at}.id = x{other}.{}", ["few", "some", "id"][rng.below(3)]),
        3 | 4 => format!("x{other}.id = x{at}.{}", ["many", "some", "id"][rng.below(3)]),
        5 => format!("x{at}.some = x{other}.some and x{at}.few = x{other}.few"),
        6 => format!("x{at}.word = x{other}.word and x{at}.some = x{other}.some"),
        7 => format!("x{at}.many = x{other}.id + 1 and x{at}.few = x{other}.few"),
        _ => format!("x{at}.some = x{other}.id and x{at}.many > x{other}.few"),
    }
}

fn alone(rng: &mut Rng, at: usize) -> String {
    match rng.below(6) {
        0 => format!("x{at}.few < {}", rng.below(6)),
        1 => format!("x{at}.word <> 'b'"),
        2 => format!("x{at}.some is not null"),
        3 => format!("x{at}.many between 10 and {}", 10 + rng.below(190)),
        4 => format!("x{at}.id in (0, 1, 2, {})", rng.below(60)),
        _ => format!("x{at}.few in (select few from j.t2 where some < 15)"),
    }
}

/// A query over three to six tables, whose answer tells of every joined row.
fn query(rng: &mut Rng) -> String {
    let count = 3 + rng.below(4);
    let table = |rng: &mut Rng| format!("j.t{}", rng.below(SIZES.len()));
    let commas = rng.chance(0.4);
    let (mut from, mut conditions) = (format!("{} x0", table(rng)), Vec::new());
    for at in 1..count {
        let (table, tie) = (table(rng), tie(rng, at));
        // What joins otherwise stands between what may be moved.
        let way = match rng.below(12) {
            0 => "left join",
            1 => "right join",
            2 => "full join",
            _ => "join",
        };
        match (commas && way == "join", way == "join" && rng.chance(0.1)) {
            (true, _) => {
                write!(from, " cross join {table} x{at}").unwrap();
                conditions.push(tie);
            }
            (false, true) => {
                let inner = format!("(select * from {table} where id % 2 = 0) x{at}");
                write!(from, " join {inner} on {tie}").unwrap();
            }
            _ => write!(from, " {way} {table} x{at} on {tie}").unwrap(),
        }
        if rng.chance(0.3) {
            conditions.push(alone(rng, at));
        }
        if at > 1 && rng.chance(0.2) {
            conditions.push(format!("(x{at}.few = x0.few or x1.id < x{at}.id)"));
        }
    }
    let filter = match conditions.is_empty() {
        true => String::new(),
        false => format!(" where {}", conditions.join(" and ")),
    };
    let sums: Vec<String> = (0..count)
        .map(|at| format!("sum(x{at}.id * {}), count(x{at}.few), max(x{at}.word)", at + 3))
        .collect();
    let pairs = format!("sum(coalesce(x0.id, 7) * coalesce(x{}.id, 11))", count - 1);
    let group = rng.below(count);
    match rng.chance(0.5) {
        true => format!("select count(*), {pairs}, {} from {from}{filter}", sums.join(", ")),
        false => format!(
            "select x{group}.word, count(*), {pairs}, {} from {from}{filter} group by 1",
            sums.join(", ")
        ),
    }
}

#[tokio::test]
async fn random_joins_answer_over_views_as_over_plain_texts() {
    let mut rng = Rng::stream(11, "joins");
    let t = tables(&mut rng).await;
    let session = t.lake.session(catalog_of(&t.lake).await).unwrap();
    let mut viewed = 0;
    for _ in 0..QUERIES {
        viewed += usize::from(check(&session, &query(&mut rng)).await);
    }
    assert!(viewed * 2 > QUERIES, "only {viewed} of {QUERIES} had views");
}
