//! The door for clients of PostgreSQL, opened by such clients: `psql`, and a driver that asks in the longer way.

mod copy;
mod sessions;
mod tools;
mod values;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flywheel_testkit::{Postgres, wait_for};
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use crate::house::{House, text};
use crate::served::{Process, ask};

const PASSWORD: &str = "correct horse battery";

const ORDERS: &str = "\
id,country,name,amount,day
1,France,Ada,10.50,2024-02-29
2,Germany,Bo,20.25,2024-03-01
3,France,Cy,30.00,2024-03-02
";

const MODEL: &str = "{{ config(materialized='table') }} select cast(id as bigint) as id, country, name, \
                     cast(amount as decimal(10, 2)) as amount, cast(day as date) as day \
                     from {{ source('raw', 'orders') }}";

const RULE: &str = "\
rule: orders
tables: [raw.orders, marts.orders]
ask: Ada
readers:
  - roles: [owner]
  - everybody: true
    rows: country = 'France'
    masks: {name: partial(first=1)}
";

/// A shop that lets clients in, and its owner.
struct Shop {
    house: House,
    server: Process,
    port: u16,
    owner: String,
}

impl Shop {
    fn new() -> Self {
        Self::with("name: shop\n")
    }

    /// With this as the project's file.
    fn with(project: &str) -> Self {
        let house = House::new();
        house
            .write("flywheel.yaml", project)
            .write("data/orders.csv", ORDERS)
            .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
            .write(
                "syncs/shop.yaml",
                "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}}\n",
            )
            .write("models/marts/orders.sql", MODEL)
            .write("access/orders.yaml", RULE);
        house.ok(&["sync"]);
        house.ok(&["build"]);
        let (server, port) = serve(&house, &[]);
        let owner = server.owner();
        Self { house, server, port, owner }
    }

    fn send(&self, who: &str, method: &str, path: &str, body: &Value) -> (u16, String, Value) {
        ask(&self.server.address, who, method, path, &body.to_string()).unwrap()
    }

    /// Makes an analyst with the usual password; the headers of their session.
    fn analyst(&self, name: &str) -> String {
        let made = json!({"name": name, "role": "analyst"});
        let (status, _, made) = self.send(&self.owner, "POST", "/v1/users", &made);
        assert_eq!(status, 201, "{made}");
        let token = made["setup_link"].as_str().unwrap().split("token=").nth(1).unwrap();
        let body = json!({"token": token, "name": name, "password": PASSWORD});
        let (status, cookie, answer) = self.send("", "POST", "/v1/setup", &body);
        assert_eq!(status, 201, "{answer}");
        format!("Cookie: {cookie}\r\nx-csrf-token: {}\r\n", answer["csrf"].as_str().unwrap())
    }

    /// A token, and its id.
    fn token(&self, who: &str, scope: &str) -> (String, String) {
        let body = json!({"name": scope, "scopes": [scope]});
        let (status, _, made) = self.send(who, "POST", "/v1/tokens", &body);
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("token"), text("id"))
    }

    async fn client(&self, user: &str, password: &str) -> Result<Client, Error> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user(user).password(password).dbname("shop");
        let (client, connection) = config.connect(NoTls).await?;
        // Its end is told by the client's own calls.
        #[expect(clippy::disallowed_methods, reason = "it ends with its client or with the test")]
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    fn psql(&self, user: &str, commands: &[&str]) -> (bool, String) {
        let mut psql = Postgres::client();
        psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-d", "shop"]);
        psql.args(["-U", user, "-p", &self.port.to_string()]).env("PGPASSWORD", PASSWORD);
        for command in commands {
            psql.args(["-c", command]);
        }
        let output = psql.output().unwrap();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    fn statements(&self) -> u64 {
        let head = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        let asked = format!("{head}{}\r\n", self.owner);
        let said = crate::served::raw(&self.server.address, asked.as_bytes());
        let line =
            said.lines().find(|line| line.starts_with("flywheel_postgres_statements_total "));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// Serves a project to clients of PostgreSQL, with more arguments; the port they come to.
fn serve(house: &House, arguments: &[&str]) -> (Process, u16) {
    let log = house.path("log");
    let server = Process::start_logged(&house.dir(), &log, |command| {
        command.args(["--postgres", "127.0.0.1:0"]).args(arguments);
    });
    let said = std::fs::read_to_string(&log).unwrap();
    let address = said.split("postgresql://").nth(1).unwrap().split('/').next().unwrap();
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    (server, port)
}

fn code(error: &Error) -> &str {
    error.code().map_or("", SqlState::code)
}

/// The cells of a simple query's rows.
fn cells(messages: &[SimpleQueryMessage]) -> Vec<Vec<Option<String>>> {
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_gets_typed_rows_for_typed_values() {
    let shop = Shop::new();
    let (token, _) = shop.token(&shop.owner, "query");
    let mut client = shop.client("ada", &token).await.unwrap();

    let row = client
        .query_one(
            "select $1::bigint + 1 as n, $2::text || '!' as t, $3::double precision as d, $4::boolean as b, \
             cast(2 as smallint) as small, cast(1.5 as real) as single, decode('00ff', 'hex') as bytes, \
             timestamp '2000-01-01T00:00:01' as moment, cast(null as int) as none",
            &[&41_i64, &"两", &0.25_f64, &true],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>("n"), 42);
    assert_eq!(row.get::<_, &str>("t"), "两!");
    assert_eq!(row.get::<_, f64>("d").to_bits(), 0.25_f64.to_bits());
    assert!(row.get::<_, bool>("b"));
    assert_eq!(row.get::<_, i16>("small"), 2);
    assert_eq!(row.get::<_, f32>("single").to_bits(), 1.5_f32.to_bits());
    assert_eq!(row.get::<_, Vec<u8>>("bytes"), [0, 255]);
    let moment = UNIX_EPOCH + Duration::from_secs(946_684_801);
    assert_eq!(row.get::<_, SystemTime>("moment"), moment);
    assert_eq!(row.get::<_, Option<i32>>("none"), None);

    // The types of values follow from what they are compared with, and from where rows are counted.
    let found = client
        .query(
            "select name from marts.orders where country = $1 and id <> $2 order by id limit $3",
            &[&"France", &7_i64, &1_i64],
        )
        .await
        .unwrap();
    assert_eq!(found.iter().map(|row| row.get::<_, &str>(0)).collect::<Vec<_>>(), ["Ada"]);

    let said = client
        .simple_query("select amount, day, make_array(1, 2), true, 'Infinity'::double from marts.orders where id = 1")
        .await
        .unwrap();
    let expected =
        ["10.50", "2024-02-29", "[1,2]", "t", "Infinity"].map(|one| Some(one.to_owned()));
    assert_eq!(cells(&said), [expected]);

    // Rows in parts, as a driver with a fetch size reads them.
    let parts = client.transaction().await.unwrap();
    let statement = parts.prepare("select id from marts.orders order by id").await.unwrap();
    let portal = parts.bind(&statement, &[]).await.unwrap();
    let mut counts = Vec::new();
    for _ in 0..3 {
        counts.push(parts.query_portal(&portal, 2).await.unwrap().len());
    }
    assert_eq!(counts, [2, 1, 0]);
    parts.batch_execute("declare c cursor for select id from marts.orders").await.unwrap();
    let all = parts.simple_query("fetch 2 from c; fetch all from c; close c").await.unwrap();
    assert_eq!(cells(&all).len(), 3);
    parts.commit().await.unwrap();

    // An error in a transaction refuses what follows, and leaves the connection as good as before.
    client.batch_execute("begin").await.unwrap();
    let unknown = client.batch_execute("select * from absent").await.unwrap_err();
    assert_eq!(code(&unknown), "42P01");
    assert_eq!(code(&client.batch_execute("select 1").await.unwrap_err()), "25P02");
    client.batch_execute("rollback").await.unwrap();
    let wrong = client.query("select id from marts.orders where id = $1", &[&"x"]).await;
    assert!(wrong.is_err());
    assert_eq!(client.query_one("select 1::int", &[]).await.unwrap().get::<_, i32>(0), 1);

    // A statement that is described and then asked is one; asked again, it is another.
    let before = shop.statements();
    let statement = client.prepare("select 1").await.unwrap();
    client.query(&statement, &[]).await.unwrap();
    assert_eq!(shop.statements() - before, 1);
    client.query(&statement, &[]).await.unwrap();
    assert_eq!(shop.statements() - before, 2);
    // Usual settings do not forget what was prepared.
    client.batch_execute("reset all").await.unwrap();
    client.query(&statement, &[]).await.unwrap();
}

#[test]
fn connections_that_do_not_log_in_are_few() {
    let shop = Shop::new();
    let open = || {
        let stream = TcpStream::connect(("127.0.0.1", shop.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream
    };
    let mut idle: Vec<TcpStream> = (0..16).map(|_| open()).collect();
    assert!(wait_for(|| {
        let (mut stream, mut answer) = (open(), Vec::new());
        drop(stream.read_to_end(&mut answer));
        idle.push(stream);
        text(&answer).contains("C53300")
    }));
    drop(idle);
    assert!(wait_for(|| shop.psql("ada", &["select 1"]).0));
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_finds_its_way_and_every_tool_is_told_what_it_asks() {
    let shop = Shop::new();
    let (ok, said) =
        shop.psql("ada", &["\\dt", "\\d marts.orders", "\\dn", "\\l", "\\du", "\\d+ marts.orders"]);
    assert!(ok, "{said}");
    for part in [
        "marts|orders|table|flywheel",
        "id|bigint|",
        "amount|numeric(10,2)|",
        "day|date|",
        "raw|flywheel",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (ok, said) = shop.psql(
        "ada",
        &[
            "select current_database(), current_user, current_schema()",
            "show transaction_isolation",
            "set application_name = 'tests'; show application_name",
            "begin; select count(*) from marts.orders; commit",
            "select 'marts.orders'::regclass = (select oid from pg_class where relname = 'orders' and relkind = 'r' \
             and relnamespace = (select oid from pg_namespace where nspname = 'marts'))",
            "select count(*) from (select 1 where version() like 'PostgreSQL 16%') v",
            "\\echo :SERVER_VERSION_NUM",
        ],
    );
    assert!(ok, "{said}");
    let lines: Vec<&str> =
        said.lines().filter(|line| !matches!(*line, "SET" | "BEGIN" | "COMMIT")).collect();
    assert_eq!(lines, ["shop|ada|public", "read committed", "tests", "3", "t", "1", "160009"]);

    // What JDBC, SQLAlchemy and the like ask for tables, columns and keys.
    let client = shop.client("ada", PASSWORD).await.unwrap();
    let tables = "SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, CASE n.nspname ~ '^pg_' OR \
        n.nspname = 'information_schema' WHEN true THEN 'SYSTEM' WHEN false THEN CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'v' \
        THEN 'VIEW' ELSE NULL END ELSE NULL END AS TABLE_TYPE, d.description AS REMARKS FROM pg_catalog.pg_namespace n, \
        pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 and d.classoid = \
        'pg_class'::regclass) WHERE c.relnamespace = n.oid AND n.nspname LIKE 'marts' AND (false OR ( c.relkind = 'r' AND \
        n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' )) ORDER BY TABLE_TYPE,TABLE_SCHEM,TABLE_NAME";
    let found = client.query(tables, &[]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].get::<_, &str>("table_name"), "orders");
    assert_eq!(found[0].get::<_, &str>("table_type"), "TABLE");
    let columns = "SELECT * FROM (SELECT n.nspname,c.relname,a.attname,a.atttypid,a.attnotnull OR (t.typtype = 'd' AND \
        t.typnotnull) AS attnotnull,a.atttypmod,a.attlen,t.typtypmod,row_number() OVER (PARTITION BY a.attrelid ORDER BY \
        a.attnum) AS attnum, nullif(a.attidentity, '') as attidentity,pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS \
        adsrc,dsc.description,t.typbasetype,t.typtype FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON \
        (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON (a.attrelid=c.oid) JOIN pg_catalog.pg_type t ON \
        (a.atttypid = t.oid) LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid=def.adrelid AND a.attnum = def.adnum) LEFT \
        JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid) WHERE c.relkind in \
        ('r','p','v','f','m') and a.attnum > 0 AND NOT a.attisdropped AND n.nspname LIKE 'marts' AND c.relname LIKE \
        'orders') c WHERE true ORDER BY nspname,c.relname,attnum";
    let found = client.query(columns, &[]).await.unwrap();
    let names: Vec<&str> = found.iter().map(|row| row.get("attname")).collect();
    assert_eq!(names, ["id", "country", "name", "amount", "day"]);
    let keys = "SELECT result.TABLE_NAME, result.COLUMN_NAME FROM (SELECT ct.relname AS TABLE_NAME, a.attname AS COLUMN_NAME, \
        (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_attribute \
        a ON (ct.oid = a.attrelid) JOIN pg_catalog.pg_index i ON ( a.attrelid = i.indrelid) WHERE i.indisprimary) result";
    assert!(client.query(keys, &[]).await.unwrap().is_empty());
    let standard = "select column_name, data_type, numeric_scale from information_schema.columns \
        where table_schema = $1 and columns.table_name = $2 order by ordinal_position";
    let found = client.query(standard, &[&"marts", &"orders"]).await.unwrap();
    assert_eq!(found[3].get::<_, &str>("data_type"), "numeric");
    assert_eq!(found[3].get::<_, Option<i32>>("numeric_scale"), Some(2));
    let tree = "SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON \
        d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass ORDER BY nspname";
    let found = client.query(tree, &[]).await.unwrap();
    assert_eq!(found[0].columns()[1].name(), "oid");
    assert!(found.iter().any(|row| row.get::<_, &str>("nspname") == "marts"));
    client.batch_execute("discard all").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_hold_and_nothing_is_changed() {
    let shop = Shop::new();
    let session = shop.analyst("kim");
    let (token, _) = shop.token(&session, "query");
    let client = shop.client("kim", &token).await.unwrap();
    let seen = client.simple_query("select id, name from marts.orders order by id").await.unwrap();
    let row = |cells: [&str; 2]| cells.map(|cell| Some(cell.to_owned())).to_vec();
    assert_eq!(cells(&seen), [row(["1", "A**"]), row(["3", "C*"])]);
    let hidden = "select count(*) from marts.orders where country = $1";
    assert_eq!(client.query_one(hidden, &[&"Germany"]).await.unwrap().get::<_, i64>(0), 0);
    // Neither the plan nor an error tells of what is hidden.
    let plan = client.simple_query("explain select name from marts.orders").await.unwrap();
    assert!(!format!("{:?}", cells(&plan)).contains("France"), "{plan:?}");
    assert!(client.simple_query("select * from system.audit").await.is_err());

    let owner = shop.client("ada", PASSWORD).await.unwrap();
    for sql in [
        "delete from marts.orders",
        "insert into marts.orders values (9)",
        "drop table marts.orders",
        "create table a as select 1",
        "declare c cursor for delete from marts.orders",
    ] {
        let refused = owner.batch_execute(sql).await.unwrap_err();
        assert_eq!(code(&refused), "25006", "{sql}: {refused}");
        let prepared = owner.prepare(sql).await.unwrap_err();
        assert_eq!(code(&prepared), "25006", "{sql}: {prepared}");
    }
    let copied = owner.batch_execute("copy marts.orders to '/tmp/stolen.csv'").await.unwrap_err();
    assert!(matches!(code(&copied), "25006" | "42501" | "42601"), "{copied}");
    let count = owner.query_one("select count(*) from marts.orders", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 3);
    assert_eq!(code(&owner.batch_execute("set role kim").await.unwrap_err()), "42501");

    let (_, _, audit) = shop.send(&shop.owner, "GET", "/v1/audit", &json!(null));
    let noted = audit["items"].as_array().unwrap().iter().any(|row| {
        row["what"] == "POSTGRES query"
            && row["who"] == "kim/query"
            && row["detail"]["more"].as_str().is_some_and(|sql| sql.contains("from marts.orders"))
    });
    assert!(noted, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_not_let_in_and_does_not_stay() {
    let shop = Shop::new();
    let session = shop.analyst("kim");
    let (token, id) = shop.token(&session, "query");
    let (narrow, _) = shop.token(&session, "view");
    for (user, password, expected) in [
        ("kim", "wrong password", "28P01"),
        ("nobody", PASSWORD, "28P01"),
        // A token is its owner's alone, and for what it was made for.
        ("ada", token.as_str(), "28P01"),
        ("kim", "fwt_00000000000000000000000000000000", "28P01"),
        ("kim", narrow.as_str(), "42501"),
    ] {
        let refused = shop.client(user, password).await.unwrap_err();
        assert_eq!(code(&refused), expected, "{user}: {refused}");
    }
    let client = shop.client("kim", &token).await.unwrap();
    client.batch_execute("select count(*) from marts.orders").await.unwrap();
    let (status, _, answer) =
        shop.send(&session, "DELETE", &format!("/v1/tokens/{id}"), &json!(null));
    assert_eq!(status, 204, "{answer}");
    let over = client.batch_execute("select count(*) from marts.orders").await.unwrap_err();
    assert_eq!(code(&over), "28000", "{over}");
    assert!(client.batch_execute("select 1").await.is_err());

    let by_password = shop.client("kim", PASSWORD).await.unwrap();
    by_password.batch_execute("select 1").await.unwrap();
    let change = json!({"disabled": true});
    let (status, _, answer) = shop.send(&shop.owner, "PATCH", "/v1/users/kim", &change);
    assert_eq!(status, 200, "{answer}");
    assert!(by_password.batch_execute("select 1").await.is_err());

    // Beyond this machine a password would be sent in clear.
    let complaint =
        shop.house.fails(2, &["serve", "--listen", "127.0.0.1:0", "--postgres", "0.0.0.0:0"]);
    assert!(complaint.contains("in clear"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_stopped_by_its_client_and_by_its_time() {
    const ENDLESS: &str = "select count(*) from generate_series(1, 1000000) a cross join generate_series(1, 1000000) b \
                           where (a.value * b.value) % 7 = 9";
    let shop = Shop::new();
    let client = shop.client("ada", PASSWORD).await.unwrap();
    let stop = client.cancel_token();
    let before = shop.statements();
    #[expect(clippy::disallowed_methods, reason = "it is awaited below")]
    let running = tokio::spawn(async move { (client.batch_execute(ENDLESS).await, client) });
    assert!(wait_for(|| shop.statements() > before));
    stop.cancel_query(NoTls).await.unwrap();
    let (ended, client) = running.await.unwrap();
    assert_eq!(code(&ended.unwrap_err()), "57014");

    client.batch_execute("set statement_timeout = '200ms'").await.unwrap();
    let ended = client.batch_execute(ENDLESS).await.unwrap_err();
    assert_eq!(code(&ended), "57014", "{ended}");
    client.batch_execute("reset statement_timeout").await.unwrap();
    client.batch_execute("select 1").await.unwrap();
}

#[test]
fn bytes_that_are_no_messages_end_their_own_connection_alone() {
    let shop = Shop::new();
    let startup = |parameters: &[u8]| {
        let mut bytes = u32::try_from(parameters.len() + 8).unwrap().to_be_bytes().to_vec();
        bytes.extend(196_608_u32.to_be_bytes());
        bytes.extend(parameters);
        bytes
    };
    let cases: [Vec<u8>; 7] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 64],
        vec![0, 0, 0, 8, 0, 9, 0, 0],
        startup(b"user\0"),
        startup(b"database\0shop\0\0"),
        [startup(b"user\0ada\0\0"), b"Q\0\0\0\x0dselect 1\0".to_vec()].concat(),
        [startup(b"user\0ada\0\0"), b"p\x7f\xff\xff\xff".to_vec()].concat(),
    ];
    for bytes in cases {
        let mut stream = TcpStream::connect(("127.0.0.1", shop.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // The server may have closed before all was sent.
        drop(stream.write_all(&bytes));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let let_in = b"R\0\0\0\x08\0\0\0\0";
        assert!(!answer.windows(let_in.len()).any(|bytes| bytes == let_in), "{answer:?}");
    }
    let (ok, said) = shop.psql("ada", &["select 1"]);
    assert!(ok, "{said}");
}

#[test]
fn what_is_not_granted_is_not_there_for_clients() {
    let shop = Shop::new();
    shop.analyst("kim");
    let grant = "grant: analysts\nask: ada\nto: {roles: [analyst]}\nread: {tables: [marts.*]}\n";
    let path = "/v1/files/grant/analysts";
    let (status, _, answer) = shop.send(&shop.owner, "PUT", path, &json!({"text": grant}));
    assert_eq!(status, 201, "{answer}");
    let (done, seen) = shop.psql("kim", &["select count(*) from marts.orders"]);
    assert!(done && seen.trim() == "2", "{seen}");
    // In the words of what is not there, and in no list of tables.
    let first = |said: &str| said.lines().next().unwrap_or_default().to_owned();
    let (done, hidden) = shop.psql("kim", &["select * from raw.orders"]);
    let (_, missing) = shop.psql("kim", &["select * from raw.nothing"]);
    assert!(!done, "{hidden}");
    assert_eq!(first(&hidden).replace("raw.orders", "raw.nothing"), first(&missing));
    let listed = "select table_schema || '.' || table_name from information_schema.tables \
                  where table_schema in ('raw', 'marts', 'system')";
    let relations = "select n.nspname || '.' || c.relname from pg_catalog.pg_class c \
                     join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
                     where n.nspname in ('raw', 'marts', 'system')";
    for sql in [listed, relations] {
        let (done, told) = shop.psql("kim", &[sql]);
        assert!(done && told.trim() == "marts.orders", "{sql}: {told}");
    }
}
