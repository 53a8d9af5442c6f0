//! Bad rows: they alone are refused, with column, code and a reason that shows no value.

use std::collections::BTreeMap;

use super::*;

fn summary(refused: &[Refused]) -> Vec<(usize, Option<&str>, &str)> {
    refused.iter().map(|row| (row.row, row.column.as_deref(), row.code.as_str())).collect()
}

#[tokio::test]
async fn each_kind_of_bad_row_is_refused_alone() {
    let database = TestDatabase::new(
        "CREATE TABLE customers (id int PRIMARY KEY); INSERT INTO customers VALUES (1);
         CREATE TYPE mood AS ENUM ('good', 'bad');
         CREATE TABLE t (id int PRIMARY KEY, small int2, short varchar(3), must text NOT NULL,
             price numeric(5,2), qty int CONSTRAINT positive CHECK (qty > 0),
             customer int REFERENCES customers DEFERRABLE INITIALLY DEFERRED, mood mood,
             day date, doc jsonb);
         INSERT INTO t (id, must) VALUES (4, 'there');",
    );
    let count = 14;
    let columns = |change: &dyn Fn(usize) -> Option<(&'static str, &'static str)>| {
        let text = |name: &str, usual: &str| {
            let values: Vec<String> = (0..count)
                .map(|row| match change(row) {
                    Some((changed, value)) if changed == name => value.to_owned(),
                    _ => usual.to_owned(),
                })
                .collect();
            texts(values.iter().map(|v| (v != "null").then_some(v.as_str())))
        };
        let int = |name: &str, usual: i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter((0..count).map(|row| match change(row) {
                Some((changed, value)) if changed == name => value.parse().ok(),
                _ => Some(usual),
            })))
        };
        let id: ArrayRef =
            Arc::new(Int64Array::from_iter((0..count).map(|row| match change(row) {
                Some(("id", value)) => value.parse().ok(),
                _ => Some(100 + row as i64),
            })));
        let price: ArrayRef =
            Arc::new(Float64Array::from_iter((0..count).map(|row| match change(row) {
                Some(("price", value)) => value.parse().ok(),
                _ => Some(9.5),
            })));
        batch(&[
            ("id", id),
            ("small", int("small", 1)),
            ("short", text("short", "abc")),
            ("must", text("must", "x")),
            ("price", price),
            ("qty", int("qty", 1)),
            ("customer", int("customer", 1)),
            ("mood", text("mood", "good")),
            ("day", text("day", "2024-05-01")),
            ("doc", text("doc", "{}")),
        ])
    };
    let bad: BTreeMap<usize, (&str, &str)> = BTreeMap::from([
        (1, ("small", "40000")),
        (2, ("short", "canary")),
        (3, ("must", "null")),
        (4, ("price", "123456")),
        (5, ("qty", "-77")),
        (6, ("customer", "4711")),
        (7, ("mood", "canary")),
        (8, ("id", "4")),
        (9, ("day", "2024-02-30")),
        (10, ("must", "nul\0nul")),
        (11, ("doc", "{canary")),
        (12, ("id", "100")),
    ]);
    let rows = columns(&|row| bad.get(&row).copied());
    for (mode, taken) in [(WriteMode::Append, true), (WriteMode::Merge, false)] {
        database.run("DELETE FROM t WHERE id <> 4");
        let mut job = Job::new(&database, "t", mode, &rows);
        job.request.app = format!("test/{mode}");
        let (refused, written) = job.run(&rows, 1).await;
        let mut expected = vec![
            (1, Some("small"), "out-of-range"),
            (2, Some("short"), "too-long"),
            (3, Some("must"), "null-value"),
            (4, Some("price"), "out-of-range"),
            (5, Some("qty"), "check-violation"),
            (6, Some("customer"), "foreign-key-violation"),
            (7, Some("mood"), "type-mismatch"),
            (9, Some("day"), "out-of-range"),
            (10, Some("must"), "invalid-text"),
            (11, Some("doc"), "type-mismatch"),
        ];
        if taken {
            // Keys that are there already are no fault of a merge.
            expected.push((8, Some("id"), "unique-violation"));
            expected.push((12, Some("id"), "unique-violation"));
            expected.sort_unstable();
        }
        assert_eq!(summary(&refused), expected, "{mode}");
        for row in &refused {
            for value in ["canary", "4711", "77", "40000", "123456"] {
                assert!(!row.reason.contains(value), "{mode}: {row:?}");
            }
        }
        // In a merge the row 12 takes the place of the row 0, and 8 of the one that was there.
        let kept = if taken { "100\n113\n4" } else { "4\n100\n113" };
        let order = if taken { "ORDER BY id::text" } else { "ORDER BY id" };
        assert_eq!(database.run(&format!("SELECT id FROM t {order}")), kept, "{mode}");
        assert!(written.rows_written >= 2, "{mode}");
    }
}

#[tokio::test]
async fn among_many_rows_only_the_bad_ones_are_left_out() {
    let database =
        TestDatabase::new("CREATE TABLE t (id bigint, v text CHECK (v NOT LIKE '%7 7%'))");
    let values: Vec<String> =
        (0..3000).map(|row| format!("value{}", if row % 601 == 7 { "7 7" } else { "" })).collect();
    let rows = batch(&[("id", ints(0..3000)), ("v", texts(values.iter().map(|v| Some(&**v))))]);
    let job = Job::new(&database, "t", WriteMode::Append, &rows);
    let (refused, written) = job.run(&rows, 1).await;
    let bad: Vec<usize> = refused.iter().map(|row| row.row).collect();
    assert_eq!(bad, [7, 608, 1209, 1810, 2411]);
    assert_eq!(written.rows_written, 2995);
    let sum: i64 = (0..3000).sum::<i64>() - (7 + 608 + 1209 + 1810 + 2411);
    assert_eq!(database.run("SELECT count(*), sum(id) FROM t"), format!("2995|{sum}"));
}

#[tokio::test]
async fn a_row_that_a_trigger_refuses_is_refused() {
    let database = TestDatabase::new(
        "CREATE TABLE t (id int);
         CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.id = 2 THEN RAISE EXCEPTION 'not %', NEW.id; END IF; RETURN NEW; END $$;
         CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no();",
    );
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let rows = batch(&[("id", ids)]);
    let (refused, _) = Job::new(&database, "t", WriteMode::Append, &rows).run(&rows, 1).await;
    assert_eq!(summary(&refused), [(1, None, "raised")]);
    assert_eq!(database.run("SELECT id FROM t ORDER BY id"), "1\n3");
}
