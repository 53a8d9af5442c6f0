//! Values on their way in and out, by the types and in the forms that clients use.

use std::error::Error;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::{Shop, cells, code};

/// A value as it goes over the wire, of whatever type.
#[derive(Debug)]
struct Raw(Format, Vec<u8>);

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.1);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        self.0
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Format::Binary, raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A type, a value as a text, its binary form, and the one it has in an answer where that is another.
type Case = (&'static str, &'static str, Vec<u8>, Option<Vec<u8>>);

/// Days from 2000 to 29 February 2024.
const DAY: i32 = 8_825;
/// Microseconds of half past noon, and a little.
const TIME: i64 = 45_296_500_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_each_type_comes_back_as_it_was() {
    let shop = Shop::new();
    let (token, _) = shop.token(&shop.owner, "query");
    let client = shop.client("ada", &token).await.unwrap();
    let moment = i64::from(DAY) * 86_400_000_000 + TIME;
    let span = [&3_723_500_000_i64.to_be_bytes()[..], &[0, 0, 0, 3, 0, 0, 0, 14][..]].concat();
    let number = [3_u16, 1, 0x4000, 3, 1, 2_345, 6_780];
    let number: Vec<u8> = number.into_iter().flat_map(u16::to_be_bytes).collect();
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let uuid_bytes: Vec<u8> = vec![
        0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a,
        0x11,
    ];
    let cases: Vec<Case> = vec![
        ("bool", "t", vec![1], None),
        ("int2", "-2", (-2_i16).to_be_bytes().to_vec(), None),
        ("int4", "7", 7_i32.to_be_bytes().to_vec(), None),
        ("int8", "-7", (-7_i64).to_be_bytes().to_vec(), None),
        ("float4", "1.5", 1.5_f32.to_be_bytes().to_vec(), None),
        ("float8", "0.1", 0.1_f64.to_be_bytes().to_vec(), None),
        ("text", "两'\\", "两'\\".as_bytes().to_vec(), None),
        ("bytea", "\\x00ff", vec![0, 255], None),
        ("bytea", "\\x", Vec::new(), None),
        ("date", "2024-02-29", DAY.to_be_bytes().to_vec(), None),
        ("time", "12:34:56.5", TIME.to_be_bytes().to_vec(), None),
        ("timestamp", "2024-02-29 12:34:56.5", moment.to_be_bytes().to_vec(), None),
        ("timestamptz", "2024-02-29 14:34:56.5+02:00", moment.to_be_bytes().to_vec(), None),
        ("interval", "1 year 2 mons 3 days 01:02:03.5", span, None),
        ("numeric(10,3)", "-12345.678", number, None),
        ("uuid", uuid, uuid_bytes, Some(uuid.as_bytes().to_vec())),
        ("json", "{\"a\": [1]}", b"{\"a\": [1]}".to_vec(), None),
        ("jsonb", "{\"a\": 1}", b"\x01{\"a\": 1}".to_vec(), Some(b"{\"a\": 1}".to_vec())),
    ];
    for (kind, text, binary, answer) in cases {
        let expected = answer.unwrap_or_else(|| binary.clone());
        let sql = format!("select $1::{kind} as v");
        for value in [Raw(Format::Text, text.as_bytes().to_vec()), Raw(Format::Binary, binary)] {
            let row = client.query_one(sql.as_str(), &[&value]).await;
            let row = row.unwrap_or_else(|error| panic!("{kind} {value:?}: {error:?}"));
            let Raw(_, sent) = row.get("v");
            assert_eq!(sent, expected, "{kind} {value:?}");
        }
        let missing = client.query_one(sql.as_str(), &[&None::<Raw>]).await.unwrap();
        assert!(missing.get::<_, Option<Raw>>("v").is_none(), "{kind}");
    }
    let wrong = Raw(Format::Text, b"soon".to_vec());
    for kind in ["int4", "date", "interval", "uuid", "timestamptz"] {
        let sql = format!("select $1::{kind}");
        let refused = client.query(sql.as_str(), &[&wrong]).await.unwrap_err();
        assert_eq!(code(&refused), "22P02", "{kind}: {refused:?}");
    }

    let said = client
        .simple_query(
            "select date '2024-02-29', timestamp '2024-02-29 12:34:56.5', '\\x00ff'::bytea, interval '1 day 2 hours', \
             cast(10.5 as decimal(10, 2)), cast('12:34:56.5' as time)",
        )
        .await
        .unwrap();
    let texts =
        ["2024-02-29", "2024-02-29 12:34:56.5", "\\x00ff", "1 day 02:00:00", "10.50", "12:34:56.5"];
    assert_eq!(cells(&said), [texts.map(|text| Some(text.to_owned())).to_vec()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_compared_with() {
    let shop = Shop::new();
    let (token, _) = shop.token(&shop.owner, "query");
    let client = shop.client("ada", &token).await.unwrap();
    let (numbers, none) = (vec![1_i64, 3], Vec::<i64>::new());
    let (small, texts) = (vec![Some(1_i32), None], vec!["France"]);
    let raw = Raw(Format::Text, b"{1,3,NULL}".to_vec());
    let day = Raw(Format::Text, b"{2024-03-01}".to_vec());
    let lists: [(&str, &(dyn ToSql + Sync), &[i64]); 9] = [
        ("id = any($1)", &numbers, &[1, 3]),
        ("id = any($1::bigint[])", &numbers, &[1, 3]),
        ("id <> all($1)", &numbers, &[2]),
        ("id = any($1)", &none, &[]),
        ("id <> all($1)", &none, &[1, 2, 3]),
        ("id = any($1::int[])", &small, &[1]),
        ("country = any($1)", &texts, &[1, 3]),
        ("id = some($1)", &raw, &[1, 3]),
        ("day = any($1)", &day, &[2]),
    ];
    for (condition, list, expected) in lists {
        let sql = format!("select id from marts.orders where {condition} order by id");
        let rows = client.query(sql.as_str(), &[list]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{condition}: {error:?}"));
        let found: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, expected, "{condition}");
    }
    // As psycopg and JDBC do, which say the type themselves.
    let sql = "select id from marts.orders where id = any($1) order by id";
    let rows = client.query_typed(sql, &[(&raw, Type::INT4_ARRAY)]).await.unwrap();
    assert_eq!(rows.len(), 2);
    // And as psycopg2 does, which writes them down.
    for list in ["array[1, 3]", "'{1,3}'::int[]"] {
        let sql = format!("select id from marts.orders where id = any({list})");
        assert_eq!(cells(&client.simple_query(&sql).await.unwrap()).len(), 2, "{list}");
    }
    let row = client.query_one("select $1::text[] as v", &[&vec![Some("a\"b"), None]]).await;
    let Raw(_, sent) = row.unwrap().get("v");
    assert_eq!(String::from_utf8(sent).unwrap(), "[\"a\\\"b\",null]");
    let nested = Raw(Format::Text, b"{{1},{2}}".to_vec());
    let refused = client.query(sql, &[&nested]).await.unwrap_err();
    assert_eq!(code(&refused), "22P02", "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_the_catalogue_are_oids_and_names_are_looked_up() {
    let shop = Shop::new();
    let client = shop.client("ada", super::PASSWORD).await.unwrap();
    let typed = "select oid, typarray from pg_type where typname = $1";
    let row = client.query_one(typed, &[&"int4"]).await.unwrap();
    assert_eq!((row.get::<_, u32>("oid"), row.get::<_, u32>("typarray")), (23, 1_007));
    assert_eq!(*row.columns()[0].type_(), Type::OID);
    let row = client.query_one("select typname from pg_type where oid = $1", &[&1_007_u32]).await;
    assert_eq!(row.unwrap().get::<_, &str>(0), "_int4");
    let named = "select relname from pg_class where oid = $1::regclass";
    let row = client.query_one(named, &[&"marts.orders"]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "orders");
    let absent = client.query(named, &[&"absent"]).await.unwrap_err();
    assert_eq!(code(&absent), "42P01");
    // What is answered without being planned has its places for values, too.
    let none = client.query("select indexrelid from pg_index where indrelid = $1", &[&"1"]).await;
    assert!(none.unwrap().is_empty());
}
