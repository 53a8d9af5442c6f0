//! `COPY … TO STDOUT`, as `\copy`, data frames and loaders use it.

use futures::TryStreamExt;
use serde_json::json;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::Type;

use super::{Shop, code};

/// All of a stream, as a text.
async fn copied(client: &Client, sql: &str) -> String {
    let stream = client.copy_out(sql).await.map_err(|error| format!("{sql}: {error:?}")).unwrap();
    let parts: Vec<_> = stream.try_collect().await.unwrap();
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
    String::from_utf8(bytes).unwrap()
}

async fn rows(client: &Client, sql: &str, kinds: &[Type]) -> Vec<BinaryCopyOutRow> {
    let stream = client.copy_out(sql).await.map_err(|error| format!("{sql}: {error:?}")).unwrap();
    BinaryCopyOutStream::new(stream, kinds).try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_copied_to_clients_in_each_form() {
    let shop = Shop::new();
    let (token, _) = shop.token(&shop.owner, "query");
    let client = shop.client("ada", &token).await.unwrap();
    let query = "select id, name, case when id = 2 then null else amount end as amount from marts.orders order by id";
    assert_eq!(
        copied(&client, &format!("copy ({query}) to stdout")).await,
        "1\tAda\t10.50\n2\tBo\t\\N\n3\tCy\t30.00\n"
    );
    assert_eq!(
        copied(&client, &format!("COPY ({query}) TO STDOUT WITH (FORMAT csv, HEADER)")).await,
        "id,name,amount\n1,Ada,10.50\n2,Bo,\n3,Cy,30.00\n"
    );
    let table =
        copied(&client, "copy marts.orders (country, id) to stdout csv delimiter ';'").await;
    let mut lines: Vec<&str> = table.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["France;1", "France;3", "Germany;2"]);
    let kinds = [Type::INT8, Type::TEXT, Type::BOOL];
    let sql =
        "copy (select id, name, id = 2 as two from marts.orders order by id) to stdout with binary";
    let found = rows(&client, sql, &kinds).await;
    let found: Vec<(i64, &str, bool)> =
        found.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(found, [(1, "Ada", false), (2, "Bo", true), (3, "Cy", false)]);
    let none = "copy (select id from marts.orders where id > 99) to stdout (format binary)";
    assert!(rows(&client, none, &[Type::INT8]).await.is_empty());
    let many = "copy (select value from generate_series(1, 100000)) to stdout";
    assert_eq!(copied(&client, many).await.lines().count(), 100_000);
    assert_eq!(client.query_one("select 1::int", &[]).await.unwrap().get::<_, i32>(0), 1);

    let file = shop.house.path("orders.csv");
    let command = format!(
        "\\copy (select id, country from marts.orders where id < 3 order by id) to '{}' csv header",
        file.display()
    );
    let (ok, said) = shop.psql("ada", &[&command]);
    assert!(ok && said.contains("COPY 2"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "id,country\n1,France\n2,Germany\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_shows_no_more_than_a_query_and_writes_nothing() {
    let shop = Shop::new();
    let session = shop.analyst("kim");
    let (token, _) = shop.token(&session, "query");
    let kim = shop.client("kim", &token).await.unwrap();
    let seen = "copy (select id, name from marts.orders order by id) to stdout";
    assert_eq!(copied(&kim, seen).await, "1\tA**\n3\tC*\n");
    let whole = copied(&kim, "copy marts.orders to stdout").await;
    assert!(!whole.contains("Germany") && !whole.contains("Ada"), "{whole}");

    let owner = shop.client("ada", super::PASSWORD).await.unwrap();
    let file = shop.house.path("stolen.csv");
    for (sql, expected) in [
        ("copy marts.orders from stdin".to_owned(), "25006"),
        ("COPY marts.orders (id) FROM '/etc/passwd' WITH (FORMAT csv)".to_owned(), "25006"),
        ("copy (delete from marts.orders) to stdout".to_owned(), "25006"),
        (format!("copy marts.orders to '{}'", file.display()), "42501"),
        ("copy (select 1) to program 'sh'".to_owned(), "42501"),
        ("copy (select 1) to stdout (format xml)".to_owned(), "42601"),
        ("copy absent to stdout".to_owned(), "42P01"),
        ("copy (select 1 as a) to stdout csv force quote b".to_owned(), "42703"),
    ] {
        let refused = owner.batch_execute(&sql).await.unwrap_err();
        assert_eq!(code(&refused), expected, "{sql}: {refused:?}");
    }
    assert!(!file.exists());
    let count = owner.query_one("select count(*) from marts.orders", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 3);

    let (_, _, audit) = shop.send(&shop.owner, "GET", "/v1/audit", &json!(null));
    let noted = audit["items"].as_array().unwrap().iter().any(|row| {
        row["what"] == "POSTGRES query"
            && row["who"] == "kim/query"
            && row["detail"]["more"] == seen
    });
    assert!(noted, "{audit}");
}
