//! Answers do not depend on the order of joins, and the order changes only where far fewer rows are made.

use crate::testing::{TestLake, at, pairs};
use crate::{Write, WriteMode};

const SALES: i64 = 12_000;
const STOCK: i64 = 9_000;
const ITEMS: i64 = 60;

/// Sales and stock of items, many of each; one item in sixty is red.
async fn shop() -> TestLake {
    let t = TestLake::new().await;
    let word = |n: i64| ["low", "mid", "top"][usize::try_from(n * n % 7 % 3).unwrap()];
    let sales: Vec<(i64, &str)> = (0..SALES).map(|n| (n * 7 % ITEMS, word(n))).collect();
    let stock: Vec<(i64, &str)> = (0..STOCK).map(|n| (n * 11 % ITEMS, word(n + 1))).collect();
    let items: Vec<(i64, &str)> =
        (0..ITEMS).map(|id| (id, if id == 17 { "red" } else { "blue" })).collect();
    let words: Vec<(i64, &str)> = vec![(0, "low"), (1, "mid"), (2, "top")];
    for (table, rows) in
        [("j/sales", sales), ("j/stock", stock), ("j/items", items), ("j/words", words)]
    {
        let write = Write::new(WriteMode::Append, pairs(&rows), "sync");
        t.lake.write(&at(table), write).await.unwrap();
    }
    t
}

/// The tables in the order in which the plan of a query reads them.
async fn order(t: &TestLake, sql: &str) -> Vec<String> {
    let plan = t.sql(&format!("explain {sql}")).await.join("\n");
    let scans = plan.split("TableScan: ").skip(1);
    scans.map(|scan| scan.split_whitespace().next().unwrap_or_default().to_owned()).collect()
}

/// The same query over tables of which nothing is known, whose joins stay as they are written.
fn as_written(sql: &str) -> String {
    sql.replacen("j.sales ", "(select * from j.sales limit 1000000) ", 1)
}

#[tokio::test]
async fn tables_that_leave_few_rows_are_joined_before_those_that_multiply_them() {
    let t = shop().await;
    let few_first = "j.items j.sales j.stock";
    for (from, expected) in [
        (
            "j.sales a join j.stock b on a.id = b.id join j.items c on c.id = a.id where c.v = 'red'",
            few_first,
        ),
        (
            "j.sales a, j.stock b, j.items c where a.id = b.id and c.id = a.id and c.v = 'red'",
            few_first,
        ),
        (
            "j.stock b join (j.sales a join j.stock x on a.id = x.id and a.v = 'none') on a.id = b.id join j.items c on c.id = b.id \
             where c.v = 'red'",
            "j.stock j.items j.stock j.sales",
        ),
    ] {
        let sql = format!("select count(*) as n, min(a.v) as low from {from}");
        assert_eq!(order(&t, &sql).await.join(" "), expected, "{from}");
        assert_eq!(t.sql(&sql).await, t.sql(&as_written(&sql)).await, "{from}");
    }
    let whole = "select a.id, b.id as of_b, c.id as of_c from j.sales a join j.stock b on a.id = b.id \
                 join j.items c on c.id = a.id where c.v = 'red'";
    assert_eq!(order(&t, whole).await[2], "j.stock", "the last is what multiplies");
    let rows = t.sql(whole).await;
    assert_eq!(rows.len() as i64, (SALES / ITEMS) * (STOCK / ITEMS));
    assert!(rows.iter().all(|row| row == "17|17|17"));
}

#[tokio::test]
async fn columns_keep_their_places_and_conditions_of_several_tables_hold() {
    let t = shop().await;
    for sql in [
        "select * from j.sales a join j.stock b on a.id = b.id join j.items c on c.id = a.id where c.v = 'red' \
         and a.v < b.v order by 1, 2, 3, 4 limit 20",
        "select c.v, a.v, w.id, count(*) as n from j.sales a join j.stock b on a.id = b.id and a.v <> b.v \
         join j.words w on w.v = b.v and w.v >= a.v join j.items c on c.id = b.id and c.id + 0 = a.id \
         where c.v = 'red' group by 1, 2, 3 order by 1, 2, 3",
        "select a.v, count(b.id) as n from j.sales a join j.stock b on a.id = b.id join j.items c on c.id = a.id \
         left join j.words w on w.v = b.v and w.id > 0 where c.v = 'red' and (w.id is null or w.id + c.id > a.id) group by 1 order by 1",
        "select i.id, n from (select count(*) as n from j.sales a join j.stock b on a.id = b.id join j.items c on c.id = a.id \
         where c.v = 'red' having count(*) > 1) x join j.words w on w.id < x.n join j.items i on i.id = w.id order by 1",
    ] {
        let (ours, written) = (t.sql(sql).await, t.sql(&as_written(sql)).await);
        assert!(!ours.is_empty(), "{sql}");
        assert_eq!(ours, written, "{sql}");
        assert_ne!(order(&t, sql).await, order(&t, &as_written(sql)).await, "{sql}");
    }
}

#[tokio::test]
async fn an_order_stays_that_is_nearly_as_good_or_of_which_too_little_is_known() {
    let t = shop().await;
    for (from, tables) in [
        // Each item once: no order makes many rows.
        ("j.sales a join j.items c on c.id = a.id join j.words w on w.v = a.v", 3),
        // What is drawn by chance is drawn for each row of the join it stands at.
        (
            "j.sales a join j.stock b on a.id = b.id and a.id + b.id + random() >= 0 join j.items c on c.id = a.id where c.v = 'red'",
            3,
        ),
        // Without an equality every row meets every other.
        ("j.sales a join j.stock b on a.id = b.id join j.words w on w.id < a.id", 3),
        // Nothing is known of how many rows a limit over others leaves.
        (
            "(select * from j.sales limit 1000000) a join j.stock b on a.id = b.id join j.items c on c.id = a.id where c.v = 'red'",
            3,
        ),
    ] {
        let order = order(&t, &format!("select count(*) as n from {from}")).await;
        assert_eq!(order.len(), tables, "{from}: {order:?}");
        assert!(order[0].ends_with("sales"), "{from}: {order:?}");
    }
}
