//! What goes wrong, and what is said about it.

use flywheel_base::{Error, ErrorKind};
use flywheel_testkit::{Postgres, free_port};

use super::*;
use crate::postgres::testing::{Fault, Proxy, connection, server};

async fn failure(connection: Value, stream: Value) -> Error {
    let error = read_from(connection, &full(stream)).await.unwrap_err();
    assert!(error.hint_text().is_some(), "{error:?}");
    assert!(!error.report().contains("canary"), "{error:?}");
    error
}

fn with(mut connection: Value, key: &str, value: Value) -> Value {
    connection[key] = value;
    connection
}

#[tokio::test]
async fn wrong_credentials_and_addresses_are_told_apart() {
    let database = TestDatabase::new("CREATE TABLE t (a int)");
    let (good, stream) = (database.connection(), json!({ "table": "t" }));
    let error = failure(with(good.clone(), "password", json!("canary")), stream.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.message().contains("\"postgres\""), "{error:?}");
    let mut without = good.clone();
    without.as_object_mut().unwrap().remove("password");
    let error = failure(without, stream.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    let error = failure(with(good.clone(), "database", json!("nowhere")), stream.clone()).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("nowhere"), "{error:?}");
    let error = failure(with(good.clone(), "port", json!(free_port())), stream.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let url = format!(
        "postgres://postgres:{}@127.0.0.1:{}/{}",
        Postgres::PASSWORD.replace(' ', "%20"),
        server().port(),
        database.name
    );
    source(json!({ "url": url })).check().await.unwrap();
}

#[tokio::test]
async fn rights_tables_and_columns_that_are_missing_are_named() {
    let database = TestDatabase::new(
        "CREATE TABLE orders (id int PRIMARY KEY, amount int); CREATE SCHEMA s;
         CREATE TABLE s.customers (id int);
         DO $$ BEGIN CREATE ROLE reader LOGIN PASSWORD 'pw'; EXCEPTION WHEN duplicate_object THEN END $$;",
    );
    let good = database.connection();
    for (stream, hint) in [
        (json!({ "table": "order" }), "Did you mean \"orders\"?"),
        (json!({ "table": "s.customer" }), "Did you mean \"s.customers\"?"),
        (json!({ "table": "orders", "primary_key": ["id2"] }), "Did you mean \"id\"?"),
        (json!({ "query": "DROP TABLE orders" }), "one SELECT"),
        (json!({ "query": "SELECT 1", "table": "orders" }), "not both"),
        (json!({}), "not both"),
    ] {
        let error = failure(good.clone(), stream).await;
        assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
    }
    let error = read(&database, &incremental("orders", Some("amuont"))).await.unwrap_err();
    assert_eq!(error.hint_text(), Some("Did you mean \"amount\"?"));
    let columns = vec![crate::DeclaredColumn::new("amuont", crate::ColumnType::Text)];
    let request = ReadRequest { columns, ..full(json!({ "table": "orders" })) };
    let error = read(&database, &request).await.unwrap_err();
    assert_eq!(error.hint_text(), Some("Did you mean \"amount\"?"));
    let stream = json!({ "table": "orders", "where": "colour = 1" });
    let error = read(&database, &full(stream)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(error.message().contains("colour"), "{error:?}");

    let reader = with(with(good, "user", json!("reader")), "password", json!("pw"));
    let error = failure(reader.clone(), json!({ "table": "orders" })).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.message().contains("orders"), "{error:?}");
    assert!(source(reader).discover().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_statement_that_takes_too_long_ends() {
    let database = TestDatabase::new("CREATE TABLE t (a int)");
    let slow = with(database.connection(), "statement_timeout", json!("50ms"));
    let error = failure(slow, json!({ "query": "SELECT 1 FROM pg_sleep(60)" })).await;
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.hint_text().unwrap().contains("statement_timeout"), "{error:?}");
}

#[tokio::test]
async fn a_half_open_connection_ends_in_an_error() {
    let database = TestDatabase::new("CREATE TABLE t AS SELECT 1 AS a");
    let proxy = Proxy::new("COPY", Fault::Freeze);
    let half_open = with(connection(proxy.port, &database.name), "silence_timeout", json!("1s"));
    assert_eq!(
        read_from(half_open.clone(), &full(json!({ "table": "t" }))).await.unwrap().len(),
        1
    );
    proxy.arm();
    let error = failure(half_open, json!({ "table": "t" })).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("silent"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_cuts_the_connection_is_unavailable() {
    let database = TestDatabase::new("CREATE TABLE t AS SELECT 1 AS a");
    let proxy = Proxy::new("COPY", Fault::CutBefore);
    proxy.arm();
    let error = failure(connection(proxy.port, &database.name), json!({ "table": "t" })).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let stream = json!({ "query": "SELECT pg_terminate_backend(pg_backend_pid())" });
    let error = failure(database.connection(), stream).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn tls_is_required_checked_and_used() {
    let database = TestDatabase::new("CREATE TABLE t (a int)");
    let plain = with(database.connection(), "tls", json!("require"));
    let error = failure(plain, json!({ "table": "t" })).await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("does not offer TLS"), "{error:?}");

    let folder = tempfile::tempdir().unwrap();
    // Readable for the account of the server.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let made = Postgres::certificate(folder.path());
    let settings = [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", made.certificate.display()),
        format!("ssl_key_file={}", made.key.display()),
    ];
    let server = Postgres::start_with(&settings.each_ref().map(String::as_str));
    let database = server.database();
    let stream = json!({ "query": "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()" });
    let base = connection(server.port(), &database);
    for (tls, host, ca, encrypted) in [
        ("disable", "127.0.0.1", None, Some("false")),
        ("require", "127.0.0.1", None, Some("true")),
        ("require", "localhost", Some(&made.certificate), Some("true")),
        ("verify-full", "localhost", Some(&made.certificate), Some("true")),
        ("verify-full", "127.0.0.1", Some(&made.certificate), Some("true")),
        ("verify-full", "localhost", None, None),
    ] {
        let mut connection = with(with(base.clone(), "tls", json!(tls)), "host", json!(host));
        if let Some(ca) = ca {
            connection["ca_file"] = json!(ca);
        }
        let read = read_from(connection, &full(stream.clone())).await;
        match encrypted {
            Some(encrypted) => assert_eq!(cells(&read.unwrap()), [[encrypted]], "{tls} {host}"),
            None => {
                let error = read.unwrap_err();
                let untrusted = matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound);
                assert!(untrusted && error.hint_text().is_some(), "{error:?}");
            }
        }
    }
    // Another authority, and a file that is none.
    let other = tempfile::tempdir().unwrap();
    let stranger = Postgres::certificate(other.path());
    for (file, kind) in
        [(&stranger.certificate, ErrorKind::Denied), (&made.key, ErrorKind::Invalid)]
    {
        for tls in ["require", "verify-full"] {
            let connection = with(with(base.clone(), "tls", json!(tls)), "ca_file", json!(file));
            let connection = with(connection, "host", json!("localhost"));
            let error = failure(connection, stream.clone()).await;
            assert_eq!(error.kind(), kind, "{error:?}");
        }
    }
}
