//! The answers with fewer groups are those with all of them, and groups are left out only where that is right.

use super::*;
use crate::testing::{TestLake, at, pairs};
use crate::{Write, WriteMode};

const PARTS: i64 = 2_000;
const LINES: i64 = 120_000;
const NUMBERS: [&str; 7] = ["0", "1", "2", "3", "4", "5", "6"];

/// Parts of which one in a hundred is red, and sixty lines of each.
async fn shop() -> TestLake {
    let t = TestLake::new().await;
    let colour = |id: i64| if id % 100 == 7 { "red" } else { "blue" };
    let parts: Vec<(i64, &str)> = (0..PARTS).map(|id| (id, colour(id))).collect();
    let lines: Vec<(i64, &str)> = (0..LINES).map(|line| (line % PARTS, number(line))).collect();
    let names: Vec<(i64, &str)> = (0..7).zip(NUMBERS).collect();
    for (table, rows) in [("j/parts", parts), ("j/lines", lines), ("j/names", names)] {
        let write = Write::new(WriteMode::Append, pairs(&rows), "sync");
        t.lake.write(&at(table), write).await.unwrap();
    }
    t
}

fn number(line: i64) -> &'static str {
    NUMBERS[usize::try_from(line * line / 11 % 7).unwrap()]
}

async fn is_cut(t: &TestLake, sql: &str) -> bool {
    t.sql(&format!("explain {sql}")).await.join("\n").contains(ASKED)
}

#[tokio::test]
async fn only_the_groups_are_made_that_the_condition_leaves() {
    let t = shop().await;
    let sql = "select count(*) as n, sum(l.id) as s from j.lines l join j.parts p on p.id = l.id where p.v = 'red' \
               and cast(l.v as bigint) < (select 0.5 * avg(cast(x.v as bigint)) from j.lines x where x.id = p.id)";
    assert!(is_cut(&t, sql).await);
    let (mut count, mut sum) = (0, 0);
    for part in (0..PARTS).filter(|part| part % 100 == 7) {
        let of_part: Vec<i64> =
            (0..LINES / PARTS).map(|line| number(line * PARTS + part).parse().unwrap()).collect();
        let mean = of_part.iter().sum::<i64>() as f64 / of_part.len() as f64;
        let low = of_part.iter().filter(|value| (**value as f64) < 0.5 * mean).count() as i64;
        count += low;
        sum += low * part;
    }
    assert!(count > 0);
    assert_eq!(t.sql(sql).await, [format!("{count}|{sum}")]);
}

#[tokio::test]
async fn every_kind_of_join_has_the_answer_that_it_has_over_all_groups() {
    let t = shop().await;
    let groups = "(select id, count(*) as n, min(v) as low from j.lines group by id)";
    // A limit that nothing reaches keeps all groups.
    let whole = groups.replace("from j.lines", "from (select * from j.lines limit 1000000)");
    for (select, join, cut) in [
        ("p.id, g.n, g.low", "j.parts p join {} g on g.id = p.id", true),
        ("p.id, g.n, g.low", "{} g join j.parts p on g.id = p.id", true),
        ("p.id, g.n, g.low", "j.parts p left join {} g on g.id = p.id and g.n > 60", true),
        ("p.id, g.n, g.low", "{} g right join j.parts p on g.id = p.id and g.n > 60", true),
        ("p.id", "j.parts p left semi join {} g on g.id = p.id", true),
        ("p.id", "j.parts p left anti join {} g on g.id = p.id", true),
        // All groups are in the answer.
        (
            "g.id, g.n, p.v",
            "{} g left join (select * from j.parts where v = 'red') p on g.id = p.id",
            false,
        ),
    ] {
        let of = |groups: &str| {
            let from = join.replace("{}", groups);
            let red = if cut { "where p.v = 'red'" } else { "" };
            format!("select {select} from {from} {red} order by 1 limit 50")
        };
        assert_eq!(is_cut(&t, &of(groups)).await, cut, "{join}");
        assert!(!is_cut(&t, &of(&whole)).await, "{join}");
        assert_eq!(t.sql(&of(groups)).await, t.sql(&of(&whole)).await, "{join}");
    }
}

#[tokio::test]
async fn the_key_is_followed_through_names_joins_and_texts() {
    let t = shop().await;
    // Through an alias, a renamed column, another join and an equality.
    let sql = "select b.part, b.n from (select l.id as line, n.id from j.lines l join j.names n on l.v = n.v) a \
               join (select id as part, count(*) as n from j.lines group by id) b on b.part = a.line \
               join j.parts p on p.id = a.line where p.v = 'red' and a.id = 3 group by 1, 2 order by 1 limit 3";
    let rows = t.sql(sql).await;
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row.ends_with("|60")), "{rows:?}");
    let texts = "select n.v, g.n from j.names n join (select v, count(*) as n from j.lines group by v) g on g.v = n.v \
                 where n.id = 3";
    assert!(is_cut(&t, texts).await);
    let threes = (0..LINES).filter(|line| number(*line) == "3").count();
    assert_eq!(t.sql(texts).await, [format!("3|{threes}")]);
}

#[tokio::test]
async fn nothing_is_asked_twice_that_is_drawn_by_chance_large_or_not_filtered() {
    let t = shop().await;
    let grouped = "(select id, count(*) as n from j.lines group by id)";
    for from in [
        format!("j.parts p join {grouped} g on g.id = p.id"),
        format!("(select * from j.parts where random() < 2) p join {grouped} g on g.id = p.id"),
        format!("(select * from j.lines where v = '3') p join {grouped} g on g.id = p.id"),
        "(select * from j.names where v = '3') p join (select id, count(*) as n from j.parts group by id) g on g.id = p.id"
            .to_owned(),
        format!("(select * from j.parts where v = 'red' limit 3) p join {grouped} g on g.id = p.id"),
        "(select * from j.parts where v = 'red') p join (select id, v, count(*) as n from j.lines group by rollup (id, v)) g on g.id = p.id"
            .to_owned(),
    ] {
        assert!(!is_cut(&t, &format!("select p.id, g.n from {from}")).await, "{from}");
    }
}
