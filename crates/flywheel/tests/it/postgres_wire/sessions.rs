//! Sessions: how many there are, who can listen to them, and what they hold.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flywheel_testkit::Postgres;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::{Shop, cells, code, serve};
use crate::house::text;

/// More rows than are made before a client reads them.
const MANY: &str = "select value from generate_series(1, 1000000)";
/// Less than a statement waits for a place among those of its user.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_sessions_and_leaves_some_to_others() {
    let shop = Shop::new();
    let (token, _) = shop.token(&shop.owner, "query");
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(shop.client("ada", &token).await.unwrap());
    }
    let refused = shop.client("ada", &token).await.unwrap_err();
    assert_eq!(code(&refused), "53300");
    let said = refused.as_db_error().unwrap().message().to_owned();
    assert!(said.contains("has 32 connections already"), "{said}");
    for client in &open {
        client.batch_execute("select 1").await.unwrap();
    }
    let session = shop.analyst("kim");
    let (other, _) = shop.token(&session, "query");
    shop.client("kim", &other).await.unwrap().batch_execute("select 1").await.unwrap();
    // Who leaves makes room.
    open.pop();
    let again = async {
        while let Err(error) = shop.client("ada", &token).await {
            assert_eq!(code(&error), "53300");
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, again).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_parts_gives_its_place_back_when_its_bracket_ends() {
    let shop = Shop::with("name: shop\nquotas: {roles: {analyst: {queries: 1}}}\n");
    let session = shop.analyst("kim");
    let (token, _) = shop.token(&session, "query");
    let reader = shop.client("kim", &token).await.unwrap();
    let other = shop.client("kim", &token).await.unwrap();
    let opened = format!("declare c cursor for {MANY}; fetch 1 from c");
    let free = async |what: &str| {
        let asked = timeout(SOON, other.batch_execute("select 1")).await;
        asked.unwrap_or_else(|_| panic!("{what}: the place is still held")).unwrap();
    };

    // A script is a bracket of its own.
    reader.batch_execute(&opened).await.unwrap();
    free("a script").await;
    let gone = reader.batch_execute("fetch 1 from c").await.unwrap_err();
    assert_eq!(code(&gone), "34000");

    for (ends, well) in [("commit", true), ("rollback", true), ("select * from absent", false)] {
        reader.batch_execute(&format!("begin; {opened}")).await.unwrap();
        assert_eq!(reader.batch_execute(ends).await.is_ok(), well, "{ends}");
        free(ends).await;
        reader.batch_execute("rollback").await.unwrap();
    }

    // So do rows that a driver fetches in parts.
    let mut reader = reader;
    let parts = reader.transaction().await.unwrap();
    let statement = parts.prepare(MANY).await.unwrap();
    let portal = parts.bind(&statement, &[]).await.unwrap();
    assert_eq!(parts.query_portal(&portal, 2).await.unwrap().len(), 2);
    let refused = parts.batch_execute("select 1").await.unwrap_err();
    assert_eq!(code(&refused), "53400");
    free("an error while rows are fetched").await;
    parts.rollback().await.unwrap();

    // What is to outlive its transaction says so, and does if that ends well.
    let alone = reader.batch_execute(&format!("declare c cursor for {MANY}")).await.unwrap_err();
    assert_eq!(code(&alone), "25P01");
    let held = "declare h cursor with hold for select 1 as n union all select 2";
    reader.batch_execute(&format!("begin; {held}; commit")).await.unwrap();
    assert_eq!(cells(&reader.simple_query("fetch all from h").await.unwrap()).len(), 2);
    reader.batch_execute(&format!("close h; begin; {held}; rollback")).await.unwrap();
    assert_eq!(code(&reader.batch_execute("fetch all from h").await.unwrap_err()), "34000");

    leaves_when_idle(&reader, &opened).await;
    free("a client that fell silent").await;
    assert!(reader.batch_execute("select 1").await.is_err());
}

/// Opens an answer in a transaction and falls silent, for longer than the session may.
async fn leaves_when_idle(reader: &Client, opened: &str) {
    let wrong = "set idle_in_transaction_session_timeout = 'soon'";
    assert_eq!(code(&reader.batch_execute(wrong).await.unwrap_err()), "22023");
    reader.batch_execute("set idle_in_transaction_session_timeout = '300ms'").await.unwrap();
    reader.batch_execute(&format!("begin; {opened}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_encrypted_with_a_certificate_and_told_apart_without() {
    let shop = Shop::new();
    let (token, _) = shop.token(&shop.owner, "query");
    let psql = |port: u16, mode: &str, root: &str| {
        let mut psql = Postgres::client();
        psql.args(["-X", "-A", "-t", "-d", "shop", "-U", "ada", "-p", &port.to_string()]);
        psql.args(["-h", "localhost", "-c", "\\conninfo", "-c", "select 1 + 1"]);
        psql.env("PGPASSWORD", &token).env("PGSSLMODE", mode).env("PGSSLROOTCERT", root);
        // No certificate or service of whoever runs the tests.
        psql.env("HOME", shop.house.path("nobody"));
        let output = psql.output().unwrap();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    // Who insists on encryption is told that there is none; who does not is let in on this machine.
    let (ok, said) = psql(shop.port, "require", "");
    assert!(!ok && said.contains("server does not support SSL"), "{said}");
    let (ok, said) = psql(shop.port, "prefer", "");
    assert!(ok && said.lines().any(|line| line == "2") && !said.contains("TLSv1"), "{said}");

    let make = |name: &str| {
        let folder = shop.house.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        Postgres::certificate(&folder)
    };
    let (ours, other) = (make("ours"), make("other"));
    let (certificate, key) = (ours.certificate.to_string_lossy(), ours.key.to_string_lossy());
    let strange = other.certificate.to_string_lossy();
    // Users and tokens are in the project: the server that takes over knows them.
    shop.server.kill();
    let arguments = ["--tls-certificate", &*certificate, "--tls-key", &*key];
    let (server, port) = serve(&shop.house, &arguments);
    for (mode, root) in [("require", ""), ("verify-full", &*certificate)] {
        let (ok, said) = psql(port, mode, root);
        assert!(ok && said.contains("TLSv1"), "{mode}: {said}");
    }
    let (ok, said) = psql(port, "verify-ca", &strange);
    assert!(!ok && said.contains("certificate verify failed"), "{said}");
    // On this machine nobody listens.
    let (ok, said) = psql(port, "disable", "");
    assert!(ok, "{said}");
    drop(server);
}

/// A message of a client: its kind, its length and what it says.
fn message(kind: &[u8], said: &[u8]) -> Vec<u8> {
    let length = u32::try_from(said.len() + 4).unwrap();
    [kind, length.to_be_bytes().as_slice(), said].concat()
}

#[test]
fn a_cursor_tells_its_columns_by_its_name() {
    let shop = Shop::new();
    let (token, _) = shop.token(&shop.owner, "query");
    let mut stream = TcpStream::connect(("127.0.0.1", shop.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let version = 196_608_u32.to_be_bytes();
    let startup = [version.as_slice(), b"user\0ada\0database\0shop\0\0".as_slice()].concat();
    // As psycopg does for a cursor that has a name.
    let sent = [
        message(b"", &startup),
        message(b"p", format!("{token}\0").as_bytes()),
        message(b"Q", b"begin\0"),
        message(b"Q", b"declare c cursor for select id, amount from marts.orders\0"),
        message(b"D", b"Pc\0"),
        message(b"S", b""),
        message(b"X", b""),
    ];
    stream.write_all(&sent.concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let told = String::from_utf8_lossy(&answer);
    assert!(told.contains("DECLARE CURSOR") && told.contains("amount\0"), "{told}");
    assert!(!told.contains("34000"), "{told}");
}
