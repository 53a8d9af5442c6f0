//! A whole database goes through every kind of system and comes back as it was, and by jobs of DataX as by our own.

use std::fmt::Write as _;
use std::path::Path;

use flywheel_testkit::{MariaDb, Postgres};
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::json;

use crate::house::{House, binary, real_data, text};
use crate::servers::{maria, postgres};

/// One table of the database: its name, its columns with their types, its rows.
struct Table {
    name: String,
    columns: Vec<(String, String)>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// The type that a file of cells is told for a column, where cells alone do not say it.
    fn declared(kind: &str) -> &'static str {
        match kind {
            "INTEGER" => "int64",
            "DATETIME" => "timestamp",
            kind if kind.starts_with("NUMERIC") => "decimal(10,2)",
            _ => "text",
        }
    }
}

/// Every table of a database, rows in the order of all their columns.
fn tables(path: &Path) -> Vec<Table> {
    let database = Connection::open(path).unwrap();
    let list = "select name from sqlite_master where type = 'table' and name not like '\\_%' escape '\\' and name not like 'sqlite%' order by name";
    let mut names = database.prepare(list).unwrap();
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let table = |name: String| {
        let mut info = database.prepare("select name, type from pragma_table_info(?1)").unwrap();
        let columns = info.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let columns: Vec<(String, String)> = columns.map(Result::unwrap).collect();
        Table { rows: rows(&database, &name, &columns), name, columns }
    };
    names.into_iter().map(table).collect()
}

/// The rows of a table; moments as seconds, however they are written.
fn rows(database: &Connection, name: &str, columns: &[(String, String)]) -> Vec<Vec<Value>> {
    let shown = |(column, _): &(String, String)| match column.ends_with("Date") {
        true => format!("unixepoch(\"{column}\")"),
        false => format!("\"{column}\""),
    };
    let list: Vec<String> = columns.iter().map(shown).collect();
    let order: Vec<String> = (1..=columns.len()).map(|n| n.to_string()).collect();
    let sql = format!("select {} from \"{name}\" order by {}", list.join(", "), order.join(", "));
    let mut rows = database.prepare(&sql).unwrap();
    let rows = rows.query_map([], |row| (0..columns.len()).map(|at| row.get(at)).collect());
    rows.unwrap().map(Result::unwrap).collect()
}

/// A sync of every table; `options` and `target` say where a table lies at either end.
fn sync(
    house: &House,
    name: &str,
    ends: (&str, &str),
    tables: &[Table],
    stream: impl Fn(&Table) -> String,
) {
    let (from, to) = ends;
    let mut text = format!("sync: {name}\nconnection: {from}\ndestination: {to}\nstreams:\n");
    for table in tables {
        writeln!(
            text,
            "  - {{stream: {}, read: full, write: replace, {}}}",
            table.name,
            stream(table)
        )
        .unwrap();
    }
    house.write(&format!("syncs/{name}.yaml"), text);
}

#[test]
fn every_table_comes_back_from_two_servers_the_lake_and_workbooks_as_it_was() {
    let Some(data) = real_data("chinook") else { return };
    let house = House::new();
    std::fs::copy(data.join("Chinook_Sqlite.sqlite"), house.path("old.db")).unwrap();
    let wanted = tables(&house.path("old.db"));
    assert_eq!(wanted.iter().map(|table| table.rows.len()).sum::<usize>(), 15_607);

    let (first, second) = (postgres().database(), maria().database());
    house.write("password", Postgres::PASSWORD).write("password2", MariaDb::PASSWORD);
    let server = |kind: &str, port: u16, database: &str, user: &str, password: &str| {
        format!(
            "type: {kind}\noptions: {{host: 127.0.0.1, port: {port}, database: {database}, user: {user}, password: '${{file:{password}}}'}}\n"
        )
    };
    for (name, text) in [
        ("old", "type: sqlite\noptions: {path: old.db}\n".to_owned()),
        ("first", server("postgres", postgres().port(), &first, "postgres", "password")),
        ("second", server("mysql", maria().port(), &second, MariaDb::USER, "password2")),
        ("books", "type: excel\noptions: {folder: books}\n".to_owned()),
        ("new", "type: sqlite\noptions: {path: new.db}\n".to_owned()),
    ] {
        house.write(&format!("connections/{name}.yaml"), format!("connection: {name}\n{text}"));
    }
    let table = |table: &Table| {
        format!("options: {{table: {}}}, target: {{table: {}}}", table.name, table.name)
    };
    sync(&house, "one", ("old", "first"), &wanted, table);
    sync(&house, "two", ("first", "second"), &wanted, table);
    sync(&house, "three", ("second", "lake"), &wanted, |table| {
        format!("options: {{table: {}}}, to: raw.{}", table.name, table.name.to_lowercase())
    });
    sync(&house, "four", ("lake", "books"), &wanted, |table| {
        let landed = table.name.to_lowercase();
        format!("options: {{table: raw.{landed}}}, target: {{path: {}.xlsx}}", table.name)
    });
    sync(&house, "five", ("books", "new"), &wanted, |table| {
        let columns = table.columns.iter();
        let columns: Vec<String> = columns
            .map(|(name, kind)| format!("{{name: {name}, type: '{}'}}", Table::declared(kind)))
            .collect();
        format!(
            "options: {{path: {0}.xlsx}}, columns: [{1}], target: {{table: {0}}}",
            table.name,
            columns.join(", ")
        )
    });
    for name in ["one", "two", "three", "four", "five"] {
        house.ok(&["sync", name]);
    }

    assert_eq!(house.cell("select count(*) from system.quarantine"), "0");
    let found = tables(&house.path("new.db"));
    assert_eq!(found.len(), wanted.len());
    for (wanted, found) in wanted.iter().zip(&found) {
        assert_eq!(found.name, wanted.name);
        let names = |table: &Table| -> Vec<String> {
            table.columns.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(found), names(wanted), "{}", wanted.name);
        for (wanted, row) in wanted.rows.iter().zip(&found.rows) {
            assert_eq!(row, wanted, "{}", found.name);
        }
        assert_eq!(found.rows.len(), wanted.rows.len(), "{}", wanted.name);
    }
}

/// A server as one side of a job of DataX.
struct Side {
    /// What its plugins are named for.
    kind: &'static str,
    /// How its connection is called by the import.
    connection: String,
    url: String,
    user: &'static str,
    password: &'static str,
    /// What it puts around names.
    mark: char,
}

impl Side {
    fn postgres(database: &str) -> Self {
        Self {
            kind: "postgresql",
            connection: format!("postgres_{database}"),
            url: format!("jdbc:postgresql://127.0.0.1:{}/{database}", postgres().port()),
            user: "postgres",
            password: Postgres::PASSWORD,
            mark: '"',
        }
    }

    fn maria(database: &str) -> Self {
        Self {
            kind: "mysql",
            connection: format!("mysql_{database}"),
            url: format!("jdbc:mysql://127.0.0.1:{}/{database}?useUnicode=true", maria().port()),
            user: MariaDb::USER,
            password: MariaDb::PASSWORD,
            mark: '`',
        }
    }

    fn quoted(&self, name: &str) -> String {
        format!("{0}{name}{0}", self.mark)
    }

    fn columns(&self, table: &Table) -> Vec<String> {
        table.columns.iter().map(|(name, _)| self.quoted(name)).collect()
    }

    /// The plugin that reads or writes a table, as DataX has it.
    fn plugin(&self, part: &str, table: &Table) -> serde_json::Value {
        let name = self.quoted(&table.name);
        let mut parameter = json!({
            "username": self.user, "password": self.password, "column": self.columns(table),
            "connection": [{ "table": [name], "jdbcUrl": self.url }]
        });
        if part == "writer" {
            parameter["preSql"] = json!([format!("truncate table {name}")]);
            parameter["writeMode"] = json!("insert");
        }
        json!({ "name": format!("{}{part}", self.kind), "parameter": parameter })
    }

    /// The variable that its password is taken from.
    fn variable(&self) -> String {
        format!("{}_PASSWORD", self.connection.to_uppercase())
    }
}

/// Imports one job of DataX that copies every table, into a project of its own, and runs what was made of it.
fn moved_by_datax(tables: &[Table], from: &Side, to: &Side) {
    let contents: Vec<serde_json::Value> = tables
        .iter()
        .map(|table| json!({ "reader": from.plugin("reader", table), "writer": to.plugin("writer", table) }))
        .collect();
    let job = json!({ "job": {
        "setting": { "speed": { "channel": 1 }, "errorLimit": { "record": 0 } },
        "content": contents
    } });
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("job.json");
    std::fs::write(&path, job.to_string()).unwrap();
    let house = House::new();
    let made = house.ok(&["import", "datax", path.to_str().unwrap()]);
    assert_eq!(made.lines().filter(|line| line.starts_with("syncs/")).count(), tables.len());
    for side in [from, to] {
        let connection = house.read(&format!("connections/{}.yaml", side.connection));
        assert!(!connection.contains(side.password), "{connection}");
    }
    let run = |arguments: &[&str]| {
        let mut command = binary();
        command.arg("-C").arg(house.dir()).args(arguments);
        command.env(from.variable(), from.password).env(to.variable(), to.password);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    };
    run(&["sync"]);
    let aside = run(&["sql", "select count(*) from system.quarantine", "--output", "csv"]);
    assert_eq!(aside.lines().nth(1), Some("0"), "{aside}");
}

/// Both databases of a server hold the same rows in every table, and all that there are.
fn assert_same(tables: &[Table], server: &Side, databases: [&str; 2]) {
    let ask = |database: &str, sql: &str| match server.kind {
        "mysql" => maria().sql(database, sql),
        _ => postgres().psql(database, sql),
    };
    for table in tables {
        let order: Vec<String> = (1..=table.columns.len()).map(|n| n.to_string()).collect();
        let (name, columns) = (server.quoted(&table.name), server.columns(table).join(", "));
        let rows = format!("select {columns} from {name} order by {}", order.join(", "));
        let [by_hand, by_datax] = databases.map(|database| ask(database, &rows));
        assert!(by_hand == by_datax, "{} {} differs", server.kind, table.name);
        let count = ask(databases[1], &format!("select count(*) from {name}"));
        assert_eq!(count, table.rows.len().to_string(), "{} {}", server.kind, table.name);
    }
}

#[test]
fn a_job_of_datax_moves_the_rows_that_a_sync_by_hand_moves() {
    let Some(data) = real_data("chinook") else { return };
    let house = House::new();
    std::fs::copy(data.join("Chinook_Sqlite.sqlite"), house.path("old.db")).unwrap();
    let wanted = tables(&house.path("old.db"));
    assert_eq!(wanted.iter().map(|table| table.rows.len()).sum::<usize>(), 15_607);
    let [first, by_hand_pg, by_datax_pg] = [(); 3].map(|()| postgres().database());
    let [by_hand, by_datax] = [(); 2].map(|()| maria().database());
    house.write("password", Postgres::PASSWORD).write("password2", MariaDb::PASSWORD);
    house.write("connections/old.yaml", "connection: old\ntype: sqlite\noptions: {path: old.db}\n");
    for (name, kind, port, database, user, password) in [
        ("first", "postgres", postgres().port(), &first, "postgres", "password"),
        ("second", "mysql", maria().port(), &by_hand, MariaDb::USER, "password2"),
        ("third", "postgres", postgres().port(), &by_hand_pg, "postgres", "password"),
    ] {
        house.write(
            &format!("connections/{name}.yaml"),
            format!(
                "connection: {name}\ntype: {kind}\noptions: {{host: 127.0.0.1, port: {port}, database: {database}, user: {user}, password: '${{file:{password}}}'}}\n"
            ),
        );
    }
    let table = |table: &Table| {
        format!("options: {{table: {}}}, target: {{table: {}}}", table.name, table.name)
    };
    for (name, ends) in
        [("one", ("old", "first")), ("two", ("first", "second")), ("three", ("second", "third"))]
    {
        sync(&house, name, ends, &wanted, table);
        house.ok(&["sync", name]);
    }

    moved_by_datax(&wanted, &Side::postgres(&first), &Side::maria(&by_datax));
    assert_same(&wanted, &Side::maria(&by_datax), [&by_hand, &by_datax]);
    moved_by_datax(&wanted, &Side::maria(&by_datax), &Side::postgres(&by_datax_pg));
    assert_same(&wanted, &Side::postgres(&by_datax_pg), [&by_hand_pg, &by_datax_pg]);
}
