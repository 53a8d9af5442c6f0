//! Questions to metrics beside the same questions written by hand in SQL: the same answers, and what the way costs.

use std::fs::File;
use std::path::Path;

use super::goal::{at_most, holds, succeeds};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::shop::Shop;
use crate::tally::Tally;
use crate::{Result, figures, process};

/// How many orders and visits there are, and customers.
const FACTS: u64 = 5_000_000;
const CUSTOMERS: u64 = 200_000;
/// How often each question is asked, in turn; the median counts.
const ROUNDS: usize = 5;
/// How much more processor time than by hand a question may take, the start of the program included.
const CPU_RATIO_MAX: f64 = 1.15;

/// What the facts and customers are, in metrics.
const METRICS: [(&str, &str); 3] = [
    (
        "metrics/orders.yaml",
        "semantic: orders\ntable: source('raw', 'orders')\ntime: ordered_at\n\
         entities:\n  order: {type: primary, key: order_id}\n  customer: {type: foreign, key: customer_id}\n\
         dimensions:\n  ordered_at: {type: time}\n  channel: {}\n\
         measures:\n  amount: {aggregate: sum}\n  orders: {aggregate: count}\n  buyers: {aggregate: count_distinct, expression: customer_id}\n\
         metrics:\n  revenue: {measure: amount}\n  orders: {measure: orders}\n  buyers: {measure: buyers}\n",
    ),
    (
        "metrics/customers.yaml",
        "semantic: customers\ntable: source('raw', 'customers')\n\
         entities:\n  customer: {type: primary, key: customer_id}\ndimensions:\n  region: {}\n",
    ),
    (
        "metrics/visits.yaml",
        "semantic: visits\ntable: source('raw', 'visits')\ntime: visited_at\n\
         entities:\n  visit: {type: primary, key: visit_id}\n  customer: {type: foreign, key: customer_id}\n\
         dimensions:\n  visited_at: {type: time}\nmeasures:\n  visits: {aggregate: count}\n\
         metrics:\n  visits: {measure: visits}\n  orders_per_visit: {ratio: {of: orders, per: visits}}\n",
    ),
];

/// Questions, each with the SQL that a person would write for it.
const QUESTIONS: [(&[&str], &str); 4] = [
    (
        &["revenue,orders", "--by", "time:month"],
        "select cast(date_trunc('month', ordered_at) as date) as month, sum(amount) as revenue, count(*) as orders \
         from raw.orders group by 1 order by 1",
    ),
    (
        &["revenue", "--by", "customer.region"],
        "select c.region, sum(o.amount) as revenue from raw.orders o left join raw.customers c on o.customer_id = c.customer_id \
         group by 1 order by 1",
    ),
    (
        &["buyers", "--by", "channel", "--where", "channel <> 'shop'"],
        "select channel, count(distinct customer_id) as buyers from raw.orders where channel <> 'shop' group by 1 order by 1",
    ),
    (
        &["orders_per_visit", "--by", "customer.region"],
        "with o as (select c.region, count(*) as n from raw.orders o left join raw.customers c on o.customer_id = c.customer_id group by 1), \
         v as (select c.region, count(*) as n from raw.visits v left join raw.customers c on v.customer_id = c.customer_id group by 1) \
         select v.region, cast(o.n as double) / v.n as orders_per_visit from o full join v on o.region = v.region order by 1",
    ),
];

/// Makes the tables, asks both ways and compares.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch("metric-query")?;
    let shop = Shop::new(&flywheel, &folder)?;
    let mut tally = Tally::default();
    let numbers = |to: u64| format!("(select value as n from generate_series(0, {}))", to - 1);
    for (table, query) in [
        (
            "raw.orders",
            format!(
                "select n as order_id, n * 7919 % {CUSTOMERS} as customer_id, to_timestamp_seconds(1672531200 + (n % 730) * 86400) as ordered_at, \
                 case n % 4 when 0 then 'app' when 1 then 'web' when 2 then 'shop' else 'phone' end as channel, \
                 cast(n % 90000 as decimal(12, 2)) / 100 as amount from {}",
                numbers(FACTS)
            ),
        ),
        (
            "raw.visits",
            format!(
                "select n as visit_id, n * 104729 % {CUSTOMERS} as customer_id, to_timestamp_seconds(1672531200 + (n % 730) * 86400) as visited_at \
                 from {}",
                numbers(FACTS)
            ),
        ),
        (
            "raw.customers",
            format!(
                "select n as customer_id, 'region ' || (n % 12) as region from {}",
                numbers(CUSTOMERS)
            ),
        ),
    ] {
        let cost = shop.measure(&["sql", &format!("create table {table} as {query}")])?;
        succeeds(&mut tally, &format!("metric-query: {table} is made"), &cost);
    }
    for (path, text) in METRICS {
        shop.write(path, text)?;
    }
    let mut worst = 0.0_f64;
    for (question, sql) in QUESTIONS {
        let way = [&["metric", "query"][..], question].concat();
        let (by_metric, by_hand) = (folder.join("metric.csv"), folder.join("hand.csv"));
        let (mut ours, mut hand) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(cpu_s(&shop, &way, &by_metric, &mut tally)?);
            hand.push(cpu_s(&shop, &["sql", sql], &by_hand, &mut tally)?);
        }
        let what = question.join(" ");
        let same = same(&std::fs::read_to_string(&by_metric)?, &std::fs::read_to_string(&by_hand)?);
        holds(&mut tally, &format!("metric-query: {what}: the same answer"), same);
        let median = |all: &[f64]| figures::median(all).unwrap_or(f64::MAX);
        let (ours, hand) = (median(&ours), median(&hand));
        println!("metric-query: {what}: {ours:.3} CPU-s, {hand:.3} by hand: {:.2}x", ours / hand);
        worst = worst.max(ours / hand);
    }
    at_most(
        &mut tally,
        "metric-query: the most processor time beside hand-written SQL",
        worst,
        CPU_RATIO_MAX,
    );
    Ok(tally)
}

/// The processor time of a call whose answer goes to `file`.
fn cpu_s(shop: &Shop<'_>, arguments: &[&str], file: &Path, tally: &mut Tally) -> Result<f64> {
    let mut command = shop.plain(arguments);
    command.args(["--output", "csv"]).stdout(File::create(file)?);
    let cost = process::measure(&mut command)?;
    succeeds(tally, &format!("metric-query: {}", arguments.join(" ")), &cost);
    Ok(cost.cpu_s)
}

/// Whether two answers have the same rows, in any order; figures may differ in their last digits.
fn same(a: &str, b: &str) -> bool {
    let rows = |text: &str| {
        let mut rows: Vec<Vec<String>> =
            text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect();
        rows.sort();
        rows
    };
    let close = |a: &String, b: &String| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
        _ => a == b,
    };
    let (a, b) = (rows(a), rows(b));
    let equal = |(a, b): (&Vec<String>, &Vec<String>)| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b))
    };
    !a.is_empty() && a.len() == b.len() && a.iter().zip(&b).all(equal)
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn an_answer_is_the_same_in_any_order_and_up_to_the_last_digits() {
        assert!(same("m,n\na,0.1\nb,2\n", "x,y\nb,2.0\na,0.10000000000000001\n"));
        assert!(!same("m,n\na,1\n", "m,n\na,1.001\n"));
        assert!(!same("m\n", "m\n"), "no answer is no agreement");
    }
}
