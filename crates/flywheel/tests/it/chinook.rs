//! A whole database goes through every kind of system and comes back as it was.

use std::fmt::Write as _;
use std::path::Path;

use flywheel_testkit::{MariaDb, Postgres};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::house::{House, real_data};
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
