//! Random changes of rows and columns while the log is read.

use flywheel_base::Rng;

use super::*;

/// What the workload knows of its table.
struct Table {
    rng: Rng,
    renames: usize,
    extra: Option<String>,
    steps: usize,
}

impl Table {
    fn text(&mut self) -> String {
        // Some texts are long enough to be stored outside of the row, and hard to compress.
        let long = self.rng.chance(0.3);
        let length = if long { 200 } else { 1 };
        (0..length).map(|_| format!("{:016x}", self.rng.next_u64())).collect()
    }

    /// A statement or two.
    fn change(&mut self) -> String {
        let id = self.rng.below(60);
        let text = self.text();
        match self.rng.below(10) {
            0..3 => format!(
                "INSERT INTO t (id, big, n) VALUES ({id}, '{text}', {}) \
                 ON CONFLICT (id) DO UPDATE SET n = t.n + 1",
                self.rng.below(1000)
            ),
            3..5 => format!("UPDATE t SET n = n + 1 WHERE id = {id}"),
            5 => format!("UPDATE t SET big = '{text}' WHERE id = {id}"),
            6 => format!("UPDATE t SET n = 0 WHERE id % 7 = {}", id % 7),
            7 => format!("DELETE FROM t WHERE id = {id}"),
            8 => format!(
                "UPDATE t SET id = {} WHERE id = {id} AND NOT EXISTS \
                 (SELECT FROM t WHERE id = {0})",
                self.rng.below(60)
            ),
            _ => match &self.extra {
                Some(name) => format!("UPDATE t SET {name} = {id} WHERE id < {id}"),
                None => "UPDATE t SET tags = tags || 1".to_owned(),
            },
        }
    }

    /// A change of the columns.
    fn alter(&mut self) -> String {
        self.steps += 1;
        match self.steps {
            1 => {
                self.extra = Some("extra0".to_owned());
                "ALTER TABLE t ADD COLUMN extra0 int".to_owned()
            }
            2 => {
                self.renames += 1;
                self.extra = Some("extra1".to_owned());
                "ALTER TABLE t RENAME COLUMN extra0 TO extra1; UPDATE t SET n = n".to_owned()
            }
            3 => "ALTER TABLE t ALTER COLUMN n TYPE bigint".to_owned(),
            4 => {
                self.extra = None;
                "ALTER TABLE t DROP COLUMN extra1".to_owned()
            }
            5 => "ALTER TABLE t ADD COLUMN late text DEFAULT 'x'; UPDATE t SET n = n".to_owned(),
            _ => "ALTER TABLE t ALTER COLUMN late TYPE varchar(9)".to_owned(),
        }
    }

    fn transaction(&mut self) -> String {
        let count = 1 + self.rng.below(6);
        let mut statements: Vec<String> = (0..count).map(|_| self.change()).collect();
        if self.rng.chance(0.15) && self.steps < 6 {
            let at = self.rng.below(statements.len());
            statements.insert(at, self.alter());
            // A statement may name a column that is gone by now.
            statements.truncate(at + 1);
        }
        let end = if self.rng.chance(0.1) { "ROLLBACK" } else { "COMMIT" };
        if statements.iter().any(|sql| sql.starts_with("ALTER")) {
            return format!("BEGIN; {}; COMMIT", statements.join("; "));
        }
        format!("BEGIN; {}; {end}", statements.join("; "))
    }
}

async fn check(seed: u64, identity: &str) {
    println!("seed {seed}, {identity}");
    let database = Database::new(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, big text, n int, tags int[] DEFAULT '{{1,2}}');
         ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
         ALTER TABLE t REPLICA IDENTITY {identity};
         INSERT INTO t (id, big, n) SELECT n, repeat(md5(n::text), 100), n
         FROM generate_series(1, 40) n; ANALYZE t",
    ));
    let source = database.source();
    let mut request = database.request(&["t"]);
    request.streams[0].page_rows = 9;
    let mut target = [Target::default()];
    let settings: crate::postgres::Postgres =
        serde_json::from_value(database.connection()).unwrap();
    let session = settings.server(".".as_ref()).unwrap().connect().await.unwrap();
    let rng = Rng::new(seed);
    let mut table = Table { rng, renames: 0, extra: None, steps: 0 };
    let work = async {
        for _ in 0..80 {
            let sql = table.transaction();
            // A change of the columns waits for the reader, and not for ever.
            while let Err(error) = session.execute(&sql).await {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
                session.execute("ROLLBACK").await.unwrap();
            }
        }
    };
    let read = async {
        for _ in 0..4 {
            catch_up(&*source, &mut request, &mut target).await;
            source.acknowledge(&request).await.unwrap();
        }
    };
    tokio::join!(work, read);
    catch_up(&*source, &mut request, &mut target).await;
    let expected = whole(&*source, "t").await;
    let columns: Vec<&String> = expected.values().next().unwrap().keys().collect();
    for row in target[0].rows.values_mut() {
        row.retain(|name, _| columns.contains(&name));
    }
    assert_eq!(target[0].rows.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, row) in &expected {
        assert_eq!(&target[0].rows[key], row, "seed {seed}, row {key}");
    }
}

#[tokio::test]
async fn whole_read_and_log_equal_the_table_after_random_changes() {
    for seed in [1, 2] {
        check(seed, "DEFAULT").await;
        check(seed + 10, "FULL").await;
    }
}
