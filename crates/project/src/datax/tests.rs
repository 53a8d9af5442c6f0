//! Jobs as they are in use, and what becomes of each; what is made is read by our own loader.

use std::fs;

use flywheel_base::ErrorKind;
use schemars::json_schema;
use serde_json::json;

use super::*;
use crate::{ConnectorSchemas, Connectors, Project};

const CANARY: &str = "canary-password-17";

/// The settings of the connectors that the import writes for, as they are checked.
fn connectors() -> Connectors {
    let text = || json!({ "type": "string" });
    let database = |more: Json| {
        let mut stream = json!({ "table": text(), "query": text(), "where": text(),
                                 "parallel": { "type": "integer" } });
        stream.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ConnectorSchemas {
            connection: json_schema!({
                "type": "object", "additionalProperties": false,
                "properties": { "host": text(), "port": { "type": "integer" }, "database": text(),
                                "user": text(), "password": text() }
            }),
            stream: Some(json_schema!({
                "type": "object", "additionalProperties": false, "properties": stream
            })),
            cdc: true,
            target: Some((
                json_schema!({ "type": "object", "additionalProperties": false,
                               "properties": { "table": text() }, "required": ["table"] }),
                ["append", "replace", "merge", "mirror"].map(str::to_owned).to_vec(),
            )),
            upserts: false,
        }
    };
    let csv = ConnectorSchemas {
        connection: json_schema!({
            "type": "object", "additionalProperties": false, "properties": { "folder": text() }
        }),
        stream: Some(json_schema!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "path": text(), "delimiter": text(), "header": { "type": "boolean" },
                "skip_lines": { "type": "integer" }, "encoding": text(),
                "null_values": { "type": "array", "items": text() }, "timestamp_format": text()
            }
        })),
        cdc: false,
        target: Some((
            json_schema!({
                "type": "object", "additionalProperties": false, "required": ["path"],
                "properties": { "path": text(), "delimiter": text(), "compression": text() }
            }),
            vec!["append".to_owned(), "replace".to_owned()],
        )),
        upserts: false,
    };
    let mut connectors = Connectors::default();
    connectors.connections.insert("mysql".to_owned(), database(json!({})));
    connectors.connections.insert("postgres".to_owned(), database(json!({})));
    connectors.connections.insert("csv".to_owned(), csv);
    connectors
}

/// Imports a job and loads what was made; there must be nothing to report.
fn check(job: &Json, options: &Options) -> (Imported, Project) {
    let imported = import(&job.to_string(), options).unwrap_or_else(|e| panic!("{}", e.report()));
    let folder = tempfile::tempdir().unwrap();
    crate::init("blank", folder.path(), "shop").unwrap();
    for made in &imported.files {
        assert!(!made.text.contains(CANARY), "{}", made.text);
        let path = folder.path().join(&made.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &made.text).unwrap();
    }
    for note in &imported.notes {
        assert!(!note.message.contains(CANARY) && note.at.starts_with("$.job"), "{note:?}");
    }
    let project = Project::load(folder.path(), &connectors()).unwrap_or_else(|diagnostics| {
        let files: Vec<&str> = imported.files.iter().map(|made| made.text.as_str()).collect();
        panic!("{diagnostics:?}\n{}", files.join("\n---\n"))
    });
    assert!(project.warnings.is_empty(), "{:?}", project.warnings);
    (imported, project)
}

fn notes(imported: &Imported) -> Vec<&str> {
    imported.notes.iter().map(|note| note.at.as_str()).collect()
}

fn mysql_reader(more: &Json) -> Json {
    let mut parameter = json!({
        "username": "reader", "password": CANARY,
        "column": ["id", "name", "created_at"],
        "connection": [{ "table": ["customers"],
                         "jdbcUrl": ["jdbc:mysql://db1.example.com:3307/shop?useUnicode=true"] }]
    });
    parameter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "name": "mysqlreader", "parameter": parameter })
}

fn postgres_writer(more: &Json) -> Json {
    let mut parameter = json!({
        "username": "writer", "password": CANARY,
        "column": ["id", "full_name", "created_at"],
        "connection": [{ "table": ["crm.customers"], "jdbcUrl": "jdbc:postgresql://pg:5432/dwh" }]
    });
    parameter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "name": "postgresqlwriter", "parameter": parameter })
}

fn job(reader: &Json, writer: &Json, setting: &Json) -> Json {
    json!({ "job": { "setting": setting, "content": [{ "reader": reader, "writer": writer }] } })
}

#[test]
fn a_table_moves_under_the_names_of_the_target() {
    let reader = mysql_reader(&json!({ "splitPk": "id", "where": "created_at >= '2024-01-01'" }));
    let writer = postgres_writer(&json!({
        "preSql": ["truncate table crm.customers", "set role etl"], "postSql": ["analyze"],
        "batchSize": 2048
    }));
    let setting = json!({ "speed": { "channel": 4, "byte": 1_048_576, "record": -1 },
                          "errorLimit": { "record": 10, "percentage": 0.02 } });
    let (imported, project) = check(&job(&reader, &writer, &setting), &Options::default());
    let sync = &project.syncs["customers"];
    assert_eq!(sync.connection, "mysql_shop");
    assert_eq!(sync.destination.names(), ["postgres_dwh"]);
    let stream = &sync.streams[0];
    let options =
        json!({ "table": "customers", "where": "created_at >= '2024-01-01'", "parallel": 4 });
    assert_eq!(json!(stream.options), options);
    assert_eq!(json!(stream.target), json!({ "table": "crm.customers" }));
    assert_eq!(stream.write.word(), "replace");
    let columns: Vec<(&str, &str)> =
        stream.columns.iter().map(|column| (column.source_name(), column.name.as_str())).collect();
    let expected = [("id", "id"), ("name", "full_name"), ("created_at", "created_at")];
    assert_eq!(columns, expected);
    assert_eq!(sync.limits.bytes_per_second.map(|size| size.bytes), Some(1_048_576));
    assert_eq!(sync.limits.rows_per_second, None, "-1 is none");
    assert_eq!(sync.errors.max_bad_rows, Some(10));
    assert_eq!(sync.errors.max_bad_ratio.map(crate::resource::quantity::Share::value), Some(0.02));
    let options = &project.connections["mysql_shop"].options;
    assert_eq!(
        json!(options),
        json!({ "host": "db1.example.com", "port": 3307, "database": "shop", "user": "reader",
                "password": "${env:MYSQL_SHOP_PASSWORD}" })
    );
    assert_eq!(
        notes(&imported),
        [
            "$.job.content[0].reader.parameter.connection[0].jdbcUrl[0]",
            "$.job.content[0].reader.parameter.password",
            "$.job.content[0].writer.parameter.batchSize",
            "$.job.content[0].writer.parameter.password",
            "$.job.content[0].writer.parameter.postSql[0]",
            "$.job.content[0].writer.parameter.preSql[0]",
            "$.job.content[0].writer.parameter.preSql[1]",
        ]
    );
}

#[test]
fn what_a_repeated_run_does_follows_from_the_job_or_is_asked() {
    let stream = |reader: &Json, writer: &Json, options: &Options| {
        let (_, project) = check(&job(reader, writer, &json!({})), options);
        let stream = &project.syncs["customers"].streams[0];
        (stream.write.word(), stream.key.clone())
    };
    let plain = mysql_reader(&json!({}));
    let split = mysql_reader(&json!({ "splitPk": "id" }));
    let none = Options::default();
    let key = Options { key: vec!["full_name".to_owned()], ..Options::default() };
    let replace = Options { replace: true, ..Options::default() };
    let upsert = postgres_writer(&json!({ "writeMode": "update (id)" }));
    let insert = postgres_writer(&json!({ "writeMode": "insert" }));
    assert_eq!(stream(&split, &insert, &none), ("merge", vec!["id".to_owned()]));
    assert_eq!(stream(&plain, &upsert, &none), ("merge", vec!["id".to_owned()]));
    assert_eq!(stream(&plain, &insert, &key), ("merge", vec!["full_name".to_owned()]));
    assert_eq!(stream(&plain, &insert, &replace), ("replace", Vec::new()));
    let open = import(&job(&plain, &insert, &json!({})).to_string(), &none).unwrap_err();
    assert_eq!(open.kind(), ErrorKind::Invalid);
    assert!(open.hint_text().unwrap().contains("--key"), "{}", open.report());
    let part = postgres_writer(&json!({ "preSql": ["delete from crm.customers where day = 1"] }));
    assert!(import(&job(&plain, &part, &json!({})).to_string(), &none).is_err());
}

#[test]
fn expressions_shards_and_queries_become_one_query_with_the_targets_names() {
    let replace = Options { replace: true, ..Options::default() };
    let query = |reader: &Json, writer: &Json| {
        let (imported, project) = check(&job(reader, writer, &json!({})), &replace);
        let stream = &project.syncs["customers"].streams[0];
        assert!(stream.columns.is_empty());
        (stream.options["query"].as_str().unwrap().to_owned(), imported)
    };
    let reader =
        mysql_reader(&json!({ "column": ["id", "'web'", "now()"], "where": "id > ${last}" }));
    let (text, imported) = query(&reader, &postgres_writer(&json!({})));
    assert_eq!(
        text,
        "SELECT `id` AS `id`, 'web' AS `full_name`, now() AS `created_at` FROM customers WHERE id > \
         ${env:last}"
    );
    assert!(notes(&imported).contains(&"$.job.content[0].reader.parameter.where"));
    // The target's name takes the place of the one that an expression gives itself.
    for (given, expression) in [
        ("n as 名称", "n"),
        ("upper(n)AS `名 称`", "upper(n)"),
        ("cast(n as char)", "cast(n as char)"),
        ("case when n is null then 0 end", "case when n is null then 0 end"),
    ] {
        let reader = mysql_reader(&json!({ "column": ["id", given, "now()"] }));
        let (text, _) = query(&reader, &postgres_writer(&json!({})));
        assert!(text.contains(&format!(", {expression} AS `full_name`, ")), "{text}");
    }
    let reader = mysql_reader(&json!({ "connection": [{
        "table": ["c_0", "c_1"], "jdbcUrl": ["jdbc:mysql://h/shop"] }] }));
    let (text, _) = query(&reader, &postgres_writer(&json!({})));
    assert!(text.contains("FROM c_0 UNION ALL SELECT `id` AS `id`"), "{text}");
    let reader = json!({ "name": "postgresqlreader", "parameter": {
        "username": "u", "password": CANARY, "connection": [{
            "querySql": ["select a, b, c from t where x = 1;"],
            "jdbcUrl": ["jdbc:postgresql://pg/dwh"] }] } });
    let (text, _) = query(&reader, &postgres_writer(&json!({})));
    assert_eq!(
        text,
        "WITH datax (\"id\", \"full_name\", \"created_at\") AS (select a, b, c from t where x = 1) \
         SELECT \"id\", \"full_name\", \"created_at\" FROM datax"
    );
    // A star on one side only is matched by its order, too.
    let (text, _) = query(&mysql_reader(&json!({ "column": ["*"] })), &postgres_writer(&json!({})));
    assert!(text.starts_with("WITH datax (`id`, `full_name`"), "{text}");
}

#[test]
fn files_are_read_by_the_number_of_their_fields() {
    let reader = json!({ "name": "txtfilereader", "parameter": {
        "path": ["/data/in/orders_*.csv"], "encoding": "GBK", "fieldDelimiter": "\t",
        "skipHeader": "true", "nullFormat": "\\N", "compress": "gzip",
        "column": [{ "index": 0, "type": "long" }, { "type": "string", "value": "web" },
                   { "index": 3, "type": "date", "format": "dd.MM.yyyy HH:mm" }] } });
    let writer = json!({ "name": "mysqlwriter", "parameter": {
        "username": "w", "password": CANARY, "writeMode": "replace",
        "column": ["id", "channel", "ordered_at"],
        "connection": [{ "table": ["orders"], "jdbcUrl": "jdbc:mysql://h:3306/shop" }] } });
    let (imported, project) = check(&job(&reader, &writer, &json!({})), &Options::default());
    let stream = &project.syncs["orders"].streams[0];
    assert_eq!(
        (stream.write.word(), stream.options["path"].as_str()),
        ("append", Some("orders_*.csv"))
    );
    assert_eq!(stream.options["timestamp_format"], json!("%d.%m.%Y %H:%M"));
    assert_eq!(stream.options["delimiter"], json!("tab"));
    let columns: Vec<_> = stream
        .columns
        .iter()
        .map(|column| (column.source_name(), column.name.as_str(), column.column_type.as_deref()))
        .collect();
    let expected =
        [("column_1", "id", Some("int64")), ("column_4", "ordered_at", Some("timestamp"))];
    assert_eq!(columns, expected);
    assert!(notes(&imported).contains(&"$.job.content[0].reader.parameter.column[1]"));
    assert_eq!(json!(project.connections["csv_in"].options), json!({ "folder": "/data/in" }));
}

#[test]
fn a_table_is_written_as_a_file() {
    let writer = json!({ "name": "txtfilewriter", "parameter": {
        "path": "/data/out", "fileName": "customers", "writeMode": "truncate",
        "fieldDelimiter": ";", "compress": "gzip", "dateFormat": "yyyy-MM-dd",
        "header": ["id", "name", "since"] } });
    let (_, project) =
        check(&job(&mysql_reader(&json!({})), &writer, &json!({})), &Options::default());
    let sync = &project.syncs["customers"];
    assert_eq!(sync.destination.names(), ["csv_out"]);
    let target = json!({ "path": "customers.csv", "delimiter": ";", "compression": "gzip" });
    assert_eq!(json!(sync.streams[0].target), target);
    assert_eq!(sync.streams[0].columns[2].name, "since");
}

#[test]
fn the_same_server_is_one_connection_and_every_content_a_sync() {
    let writer = postgres_writer(&json!({ "preSql": ["truncate crm.customers"] }));
    let content = json!({ "reader": mysql_reader(&json!({})), "writer": writer });
    let whole = json!({ "job": { "content": [content.clone(), content], "setting": {} } });
    let (imported, project) = check(&whole, &Options::default());
    assert_eq!(imported.files.len(), 4);
    assert!(project.syncs.contains_key("customers") && project.syncs.contains_key("customers_2"));
}

#[test]
fn what_cannot_be_imported_says_where_and_what_instead() {
    let reader = |name: &str| json!({ "name": name, "parameter": {} });
    let good = mysql_reader(&json!({}));
    let writer = postgres_writer(&json!({}));
    let with_url =
        |url: &str| mysql_reader(&json!({ "connection": [{ "table": ["t"], "jdbcUrl": [url] }] }));
    let cases = [
        (job(&reader("oraclereader"), &writer, &json!({})), "reader.name", "Export"),
        (job(&reader("sqlserverreader"), &writer, &json!({})), "reader.name", "Export"),
        (job(&reader("streamreader"), &writer, &json!({})), "reader.name", "Read a file"),
        (job(&reader("hdfsreader"), &writer, &json!({})), "reader.name", "Parquet"),
        (job(&reader("mysqlreeder"), &writer, &json!({})), "reader.name", "mysqlreader"),
        (job(&good, &reader("hdfswriter"), &json!({})), "writer.name", "Parquet"),
        (job(&good, &reader("mysqlwriter"), &json!({})), "writer.parameter", "connection"),
        (job(&with_url("jdbc:oracle:thin:@h"), &writer, &json!({})), "jdbcUrl[0]", "jdbc:mysql"),
        (job(&with_url("jdbc:mysql://h:x/db"), &writer, &json!({})), "jdbcUrl[0]", "port"),
        (job(&with_url("jdbc:mysql://h"), &writer, &json!({})), "jdbcUrl[0]", "database"),
        (job(&mysql_reader(&json!({ "column": ["id"] })), &writer, &json!({})), "column", "order"),
        (job(&mysql_reader(&json!({ "column": [] })), &writer, &json!({})), "column", "Name"),
        (
            job(
                &good,
                &postgres_writer(&json!({ "preSql": ["truncate crm.customers"] })),
                &json!({ "errorLimit": { "percentage": 2 } }),
            ),
            "percentage",
            "0.02",
        ),
        (json!({ "job": { "content": [] } }), "content", "reader"),
        (json!({ "jobs": {} }), "$", "jobs"),
        (json!([1]), "$", "job"),
    ];
    for (job, place, word) in cases {
        let error = import(&job.to_string(), &Options::default()).unwrap_err();
        let report = error.report();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{report}");
        assert!(error.message().contains(place), "{place}: {report}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains(word)), "{word}: {report}");
        assert!(!report.contains(CANARY), "{report}");
    }
    let broken = format!("{{\"job\": {{\"password\": \"{CANARY}\" oops");
    let error = import(&broken, &Options::default()).unwrap_err();
    assert!(error.message().contains("line 1") && !error.report().contains(CANARY));
}

#[test]
fn keys_that_nobody_reads_are_told() {
    let reader = mysql_reader(&json!({ "mandatoryEncoding": "utf8", "fetchSize": 100 }));
    let writer = postgres_writer(&json!({ "preSql": ["truncate crm.customers"] }));
    let (imported, _) = check(&job(&reader, &writer, &json!({})), &Options::default());
    for key in ["mandatoryEncoding", "fetchSize"] {
        let place = format!("$.job.content[0].reader.parameter.{key}");
        let note = imported.notes.iter().find(|note| note.at == place).unwrap();
        assert_eq!(note.message, "was not carried over");
    }
}
