//! Published queries: what is published answers at once, to whom it is meant for, and to nobody else.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{Answer, As, Served};
use crate::house::{House, text};

const TOP: &str = "/v1/queries/top";
const ROWS: &str = "/v1/queries/top/rows";
const SQL: &str = "select customer_id, email, spent from {{ ref('customers') }}\nwhere country = $country and spent >= $least\norder by spent desc, customer_id\n";

/// Customers whose addresses only the owner sees.
fn shop() -> House {
    let house = House::new();
    house.write(
        "models/mart/customers.sql",
        "{{ config(materialized='table') }}\nselect * from (values (1, 'ann@shop.example', 'DE', 30.5), (2, 'bob@shop.example', 'DE', 5.0), (3, 'cyd@shop.example', 'FR', 50.0)) as t (customer_id, email, country, spent)\n",
    );
    house.write(
        "access/customers.yaml",
        "rule: customers\ntables: [mart.customers]\nask: ada\nreaders:\n  - roles: [owner, admin]\n  - {everybody: true, masks: {email: {constant: hidden}}}\n",
    );
    house.ok(&["build"]);
    house
}

fn top() -> Value {
    json!({
        "description": "Customers of a country.", "sql": SQL, "timeout_ms": 20_000,
        "parameters": [
            {"name": "country", "type": "text", "description": "ISO code"},
            {"name": "least", "type": "decimal(12,2)", "default": 0},
        ],
    })
}

/// Sends what may have an If-Match.
async fn change(
    served: &Served,
    who: &As,
    (method, path): (&str, &str),
    tag: Option<&str>,
    body: &Value,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(cookie) = &who.cookie {
        request = request.header(header::COOKIE, cookie);
    }
    if let Some(csrf) = &who.csrf {
        request = request.header("x-csrf-token", csrf);
    }
    if let Some(token) = &who.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if let Some(tag) = tag {
        request = request.header(header::IF_MATCH, tag);
    }
    served.raw(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn publish(served: &Served, who: &As, path: &str, body: &Value) -> String {
    let made = change(served, who, ("PUT", path), None, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    made.headers["etag"].to_str().unwrap().to_owned()
}

/// Makes a key, and its public id.
async fn key(served: &Served, who: &As, path: &str, asked: &Value) -> (As, String) {
    let made = served.post(who, &format!("{path}/keys"), asked).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let made = made.json();
    assert_eq!(made["url"], json!(format!("{path}/rows")));
    let token = Some(made["key"].as_str().unwrap().to_owned());
    (As { token, ..As::default() }, made["id"].as_str().unwrap().to_owned())
}

async fn rows(served: &Served, who: &As, asked: &str) -> Value {
    let answer = served.get(who, &format!("{ROWS}?{asked}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{asked}: {}", answer.json());
    answer.json()["rows"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_answers_with_rows_as_soon_as_it_is_published_and_only_whom_it_is_for() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    publish(&served, &owner, TOP, &top()).await;
    let (program, id) = key(&served, &owner, TOP, &json!({"label": "web-shop"})).await;
    let answer = served.get(&program, &format!("{ROWS}?country=DE")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    let answer = answer.json();
    let column = json!({"name": "customer_id", "type": "integer", "arrow_type": "Int64"});
    assert_eq!((&answer["query"], &answer["columns"][0]), (&json!("top"), &column));
    assert_eq!(
        answer["rows"],
        json!([[1, "ann@shop.example", 30.5], [2, "bob@shop.example", 5.0]])
    );
    assert_eq!(
        (&answer["limit"], &answer["offset"], &answer["more"]),
        (&json!(1_000), &json!(0), &json!(false))
    );
    let file = served.house.read("queries/top.yaml");
    assert!(file.contains("sql: |\n  select customer_id"), "{file}");

    // Whom it is not for.
    let nobody = As::default();
    let path = format!("{ROWS}?country=DE");
    assert_eq!(served.get(&nobody, &path).await.status, StatusCode::UNAUTHORIZED);
    publish(&served, &owner, "/v1/queries/other", &json!({"sql": "select 1 as one"})).await;
    let (foreign, _) = key(&served, &owner, "/v1/queries/other", &json!({})).await;
    assert_eq!(served.get(&foreign, &path).await.status, StatusCode::FORBIDDEN);
    let own = served.get(&foreign, "/v1/queries/other/rows").await;
    assert_eq!(own.json()["rows"], json!([[1]]));
    for path in ["/v1/queries", TOP, "/v1/status", "/v1/me", "/v1/tokens"] {
        assert_eq!(served.get(&program, path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let asked = json!({"sql": "select 1"});
    assert_eq!(served.post(&program, "/v1/sql", &asked).await.status, StatusCode::FORBIDDEN);
    let operator = served.user(&owner, Role::Operator).await;
    assert_eq!(served.get(&operator, &path).await.status, StatusCode::FORBIDDEN);
    let without = served.token(&owner, &["view", "query"]).await;
    assert_eq!(served.get(&without, &path).await.status, StatusCode::FORBIDDEN);

    // Rows are read as the caller, and by a key for a role as that role.
    let hidden = json!([[1, "hidden", 30.5]]);
    let viewer = served.user(&owner, Role::Viewer).await;
    assert_eq!(rows(&served, &viewer, "country=DE&least=10").await, hidden);
    let (less, _) = key(&served, &owner, TOP, &json!({"role": "viewer"})).await;
    assert_eq!(rows(&served, &less, "country=DE&least=10").await, hidden);
    assert_eq!(rows(&served, &owner, "country=DE&least=10&as=viewer").await, hidden);
    let caller = served.token(&owner, &["call"]).await;
    assert_eq!(rows(&served, &caller, "country=FR").await[0][1], "cyd@shop.example");
    let wrong = served.post(&owner, &format!("{TOP}/keys"), &json!({"role": "operator"})).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{}", wrong.json());

    // What was called is in the log with its parameters' names, and is counted.
    assert_eq!(rows(&served, &program, "country=Atlantis").await, json!([]));
    let audit = served.get(&owner, "/v1/audit?limit=1000").await.json();
    let all = audit["items"].as_array().unwrap();
    let newest = all.iter().find(|row| row["what"] == "GET /v1/queries/{query}/rows").unwrap();
    assert_eq!((&newest["who"], &newest["object"]), (&json!("ada/web-shop"), &json!(ROWS)));
    let more = &newest["detail"]["more"];
    assert_eq!((&more["query"], &more["parameters"]), (&json!("top"), &json!(["country"])));
    assert_eq!((&more["rows"], &more["token"]), (&json!(0), &json!(id)));
    assert!(!audit.to_string().contains("Atlantis"), "values are nobody else's business");
    let refused = served.get(&owner, ROWS).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let shown = served.get(&owner, TOP).await.json();
    let calls = &shown["calls"];
    assert_eq!((&calls["days"], &calls["failed"]), (&json!(7), &json!(1)), "{calls}");
    assert_eq!(calls["count"], 7, "{calls}");
    assert!(calls["last_at"].is_string() && shown["problem"].is_null(), "{shown}");
    let read = "select count(*) from system.reads where via = 'query' and asset = 'mart.customers'";
    assert_ne!(served.house.cell(read), "0");
    assert!(served.house.ok(&["audit", "verify"]).contains("as they were written"));

    // Taken back is over at once.
    let keys = served.get(&owner, &format!("{TOP}/keys")).await.json();
    assert_eq!(keys["items"].as_array().unwrap().len(), 2);
    assert!(!keys.to_string().contains(program.token.as_deref().unwrap()));
    let gone = served.send(&owner, "DELETE", &format!("/v1/tokens/{id}"), "").await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(served.get(&program, &path).await.status, StatusCode::UNAUTHORIZED);

    // Nothing is there after it is unpublished, and its keys open nothing.
    let tag = served.get(&owner, TOP).await.headers["etag"].to_str().unwrap().to_owned();
    let without = change(&served, &owner, ("DELETE", TOP), None, &Value::Null).await;
    assert_eq!(without.status, StatusCode::BAD_REQUEST, "{}", without.json());
    let gone = change(&served, &owner, ("DELETE", TOP), Some(&tag), &Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.json());
    assert_eq!(served.get(&owner, &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(served.get(&less, &path).await.status, StatusCode::UNAUTHORIZED);
    assert!(!served.house.dir().join("queries/top.yaml").exists());
    publish(&served, &owner, TOP, &top()).await;
    assert_eq!(served.get(&less, &path).await.status, StatusCode::UNAUTHORIZED);
    // Nor do those of one whose file went by other hands.
    let (left, _) = key(&served, &owner, TOP, &json!({})).await;
    std::fs::remove_file(served.house.dir().join("queries/top.yaml")).unwrap();
    assert!(served.send(&owner, "POST", "/v1/project/reload", "{}").await.status.is_success());
    publish(&served, &owner, TOP, &top()).await;
    assert_eq!(served.get(&left, &path).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_give_is_a_value_and_never_a_part_of_the_query() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    publish(&served, &owner, TOP, &top()).await;
    for evil in [
        "x%27%20or%20%271%27=%271",
        "x%5C%27%20or%201=1%20--%20",
        "%27%27%20or%20true%20--",
        "$least",
        "%7B%7B%20ref(%27customers%27)%20%7D%7D",
        "DE%27;%20drop%20table%20mart.customers;%20--",
    ] {
        assert_eq!(rows(&served, &owner, &format!("country={evil}")).await, json!([]), "{evil}");
    }
    assert_eq!(rows(&served, &owner, "country=FR").await[0][0], 3);
    for (asked, said) in [
        ("", "the parameter \"country\", which is text, is missing"),
        ("country=DE&least=much", "\"least\" is no decimal(12,2)"),
        ("country=DE&least=1.005", "\"least\" is no decimal(12,2)"),
        ("contry=DE", "\"contry\" is no parameter of the query \"top\""),
        ("country=DE&country=FR", "\"country\" is given twice"),
        ("country=DE&limit=many", "limit"),
        ("country=DE&format=xml", "format"),
    ] {
        let refused = served.get(&owner, &format!("{ROWS}?{asked}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{asked}: {}", refused.json());
        let refused = refused.json();
        assert!(refused["detail"].as_str().unwrap().contains(said), "{asked}: {refused}");
        assert!(!refused["hint"].as_str().unwrap_or_default().is_empty(), "{asked}: {refused}");
    }
    // An answer in pieces, and in other forms.
    let piece = async |asked: &str| {
        let answer = served.get(&owner, &format!("{ROWS}?country=DE&{asked}")).await.json();
        (answer["rows"][0][0].clone(), answer["more"].clone())
    };
    assert_eq!(piece("limit=1").await, (json!(1), json!(true)));
    assert_eq!(piece("limit=1&offset=1").await, (json!(2), json!(false)));
    assert_eq!(piece("offset=2").await, (json!(null), json!(false)));
    let csv = served.get(&owner, &format!("{ROWS}?country=FR&format=csv")).await;
    let csv = String::from_utf8(csv.bytes).unwrap();
    assert!(csv.starts_with("customer_id,email,spent\n3,cyd@shop.example,50"), "{csv}");
    let arrow = served.get(&owner, &format!("{ROWS}?country=FR&format=arrow")).await;
    assert_eq!(arrow.headers["content-type"], "application/vnd.apache.arrow.stream");
    assert!(!arrow.bytes.is_empty());
    // So does whoever tries one at the command line.
    let tried = served.house.ok(&["call", "top", "country=DE", "--limit", "1", "--output", "csv"]);
    assert!(tried.starts_with("customer_id,email,spent\n1,ann@shop.example,30.5"), "{tried}");
    assert!(served.house.fails(2, &["call", "top"]).contains("\"country\", which is text"));
    assert!(served.house.fails(2, &["call", "top", "DE"]).contains("country=DE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_query_that_works_is_published_and_nobody_writes_over_another() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let first = publish(&served, &owner, TOP, &top()).await;
    let put = async |who: &As, tag: Option<&str>, body: &Value| {
        change(&served, who, ("PUT", TOP), tag, body).await
    };
    assert_eq!(put(&owner, None, &top()).await.status, StatusCode::CONFLICT);
    assert_eq!(put(&owner, Some("\"0\""), &top()).await.status, StatusCode::CONFLICT);
    // What somebody wrote beside it stays.
    let text_before = served.house.read("queries/top.yaml");
    served.house.write("queries/top.yaml", format!("# Asked for by the web shop.\n{text_before}"));
    assert_eq!(put(&owner, Some(&first), &top()).await.status, StatusCode::CONFLICT);
    let tag = served.get(&owner, TOP).await.headers["etag"].to_str().unwrap().to_owned();
    let mut fewer = top();
    fewer["rows"] = json!(1);
    let changed = put(&owner, Some(&tag), &fewer).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.json());
    let file = served.house.read("queries/top.yaml");
    assert!(
        file.starts_with("# Asked for by the web shop.\n") && file.contains("rows: 1\n"),
        "{file}"
    );
    let answer = served.get(&owner, &format!("{ROWS}?country=DE&limit=10")).await.json();
    assert_eq!((&answer["limit"], &answer["more"]), (&json!(1), &json!(true)));

    let other = |sql: &str, parameters: Value| json!({"sql": sql, "parameters": parameters});
    let n = json!([{"name": "n", "type": "int64"}]);
    for (body, said) in [
        (other("select * from {{ ref('customer') }}", json!([])), "queries/wrong.yaml:2"),
        (other("select $n as n", json!([])), "the SQL takes $n, which is no parameter"),
        (other("select 1 as n", n.clone()), "parameter \"n\" is not used"),
        (other("select form where", json!([])), "the SQL cannot be parsed"),
        (other("delete from mart.customers", json!([])), "the SQL is not one query"),
        (other("select 1; select 2", json!([])), "the SQL is not one query"),
        (other("select age from mart.customers where 1 = $n", n), "unknown column \"age\""),
        (other("select 1 from mart.nothing", json!([])), "unknown table"),
        (json!({"sql": "select 1", "rows": 200_000}), "rows"),
        (json!({"sql": "select 1", "timeout_ms": 3_600_000}), "timeout"),
    ] {
        let refused = change(&served, &owner, ("PUT", "/v1/queries/wrong"), None, &body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}: {}", refused.json());
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(said), "{body}: {detail}");
        assert!(!served.house.dir().join("queries/wrong.yaml").exists(), "{body}");
    }
    let analyst = served.user(&owner, Role::Analyst).await;
    let path = "/v1/queries/named";
    publish(&served, &analyst, path, &json!({"sql": "select email from mart.customers"})).await;
    let author = served.token(&owner, &["author"]).await;
    let refused = change(&served, &author, ("PUT", "/v1/queries/more"), None, &top()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.json());
    let made = served.post(&author, &format!("{path}/keys"), &json!({})).await;
    assert_eq!(made.status, StatusCode::FORBIDDEN, "{}", made.json());
    let all = served.get(&analyst, "/v1/queries").await.json();
    let names: Vec<&Value> =
        all["queries"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, [&json!("named"), &json!("top")]);
    let lacks = &all["queries"][1]["parameters"];
    assert_eq!(
        (&lacks[0]["required"], &lacks[1]["required"], &lacks[1]["default"]),
        (&json!(true), &json!(false), &json!(0))
    );
}

#[test]
fn a_build_that_would_break_a_published_query_names_it() {
    let house = shop();
    house.write(
        "queries/top.yaml",
        "query: top\nsql: |\n  select email, spent from mart.customers\n  where country = $country\nparameters: [{name: country, type: text}]\n",
    );
    house.ok(&["check"]);
    assert_eq!(house.ok(&["call", "top", "country=FR", "--output", "csv"]).lines().count(), 2);
    house.write(
        "models/mart/customers.sql",
        "{{ config(materialized='table') }}\nselect * from (values (1, 'ann@shop.example', 'DE')) as t (customer_id, email, country)\n",
    );
    let built = house.run(&["build"]);
    let said = format!("{}{}", text(&built.stdout), text(&built.stderr));
    assert_eq!(built.status.code(), Some(3), "{said}");
    assert!(said.contains("query \"top\"") && said.contains("spent"), "{said}");
    assert_eq!(house.ok(&["call", "top", "country=FR", "--output", "csv"]).lines().count(), 2);
}
