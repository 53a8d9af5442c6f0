//! The server, asked without a socket: who may do what, and what wrong requests are told.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use flywheel_base::Clock;
use flywheel_runtime::{Access as Open, Workspace};
use flywheel_server::{Access, Options, Permission, Role, Server, WheelClock};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::house::House;

const PASSWORD: &str = "correct horse battery";

/// A served project.
struct Served {
    house: House,
    server: Server,
    router: Router,
}

/// What a request is sent with.
#[derive(Clone, Default)]
struct As {
    cookie: Option<String>,
    csrf: Option<String>,
    token: Option<String>,
}

struct Answer {
    status: StatusCode,
    cookie: Option<String>,
    headers: axum::http::HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        let said = String::from_utf8_lossy(&self.bytes);
        serde_json::from_str(&said).unwrap_or_else(|_| json!({"no JSON": said}))
    }
}

impl Served {
    async fn new(house: House) -> Self {
        let clock = Arc::new(WheelClock::real());
        let shared: Arc<dyn Clock> = Arc::<WheelClock>::clone(&clock);
        let workspace = Workspace::open(&house.dir(), Open::Write, shared).await.unwrap();
        let server = Server::new(workspace, clock, Options::default()).unwrap();
        let router = server.router();
        Self { house, server, router }
    }

    async fn raw(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let headers = response.headers().clone();
        let cookie = headers
            .get(header::SET_COOKIE)
            .map(|line| line.to_str().unwrap().split(';').next().unwrap().to_owned());
        let stream =
            headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let bytes = if stream {
            Vec::new()
        } else {
            to_bytes(response.into_body(), 64 << 20).await.unwrap().to_vec()
        };
        Answer { status, cookie, headers, bytes }
    }

    async fn send(&self, who: &As, method: &str, path: &str, body: impl Into<Body>) -> Answer {
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
        self.raw(request.body(body.into()).unwrap()).await
    }

    async fn post(&self, who: &As, path: &str, body: &Value) -> Answer {
        self.send(who, "POST", path, body.to_string()).await
    }

    async fn get(&self, who: &As, path: &str) -> Answer {
        self.send(who, "GET", path, Body::empty()).await
    }

    /// Chooses a password with a set-up link.
    async fn accept(&self, link: &str, name: &str) -> As {
        let token = link.split("token=").nth(1).unwrap();
        let body = json!({"token": token, "name": name, "password": PASSWORD});
        session(&self.post(&As::default(), "/v1/setup", &body).await)
    }

    async fn owner(&self) -> As {
        let link = self.server.setup_link().await.unwrap().unwrap();
        self.accept(&link, "ada").await
    }

    /// Makes a user of a role.
    async fn user(&self, owner: &As, role: Role) -> As {
        let name = format!("{}-user", role.word());
        let made = self.post(owner, "/v1/users", &json!({"name": name, "role": role.word()})).await;
        assert_eq!(made.status, StatusCode::CREATED);
        self.accept(made.json()["setup_link"].as_str().unwrap(), &name).await
    }

    async fn token(&self, who: &As, scopes: &[&str]) -> As {
        let made = self.post(who, "/v1/tokens", &json!({"name": "t", "scopes": scopes})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
        As { token: Some(made.json()["token"].as_str().unwrap().to_owned()), ..As::default() }
    }
}

fn session(answer: &Answer) -> As {
    assert!(answer.status.is_success(), "{}", answer.json());
    let csrf = answer.json()["csrf"].as_str().unwrap().to_owned();
    As { cookie: answer.cookie.clone(), csrf: Some(csrf), token: None }
}

/// A path with something in its places that is not there.
fn path_of(path: &str) -> String {
    let part =
        |part: &str| if part.starts_with('{') { "not-there".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_who_may_and_nobody_else() {
    let served = Served::new(House::from_template("crm")).await;
    let owner = served.owner().await;
    let mut callers = vec![(None, None, As::default())];
    for role in Role::ALL {
        let who = served.user(&owner, role).await;
        for permission in role.permissions() {
            let token = served.token(&who, &[permission.word()]).await;
            callers.push((Some(role), Some(*permission), token));
        }
        callers.push((Some(role), None, who));
    }
    let mut routes = served.server.routes().to_vec();
    assert!(routes.len() > 60, "only {} routes", routes.len());
    // Logging out ends the session that the others need.
    routes.sort_by_key(|route| route.path == "/v1/logout");
    let mut asked = 0;
    for route in &routes {
        for (role, scope, who) in &callers {
            let answer = served.send(who, route.method, &path_of(route.path), "{}").await;
            let said = format!(
                "{} {} as {role:?} {scope:?}: {} {}",
                route.method,
                route.path,
                answer.status,
                String::from_utf8_lossy(&answer.bytes)
            );
            let may = |permission: Permission| {
                role.is_some_and(|role| role.may(permission))
                    && scope.is_none_or(|scope| scope == permission)
            };
            let refused =
                answer.status == StatusCode::FORBIDDEN && said.contains("takes the permission");
            assert!(answer.status.as_u16() < 500, "{said}");
            match (route.access, role) {
                (Access::Public, _) => assert!(!refused, "{said}"),
                (_, None) => assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{said}"),
                (Access::SignedIn, _) => {
                    assert!(!refused && answer.status != StatusCode::UNAUTHORIZED, "{said}");
                }
                (Access::Needs(permission), _) if may(permission) => {
                    assert!(!refused && answer.status != StatusCode::UNAUTHORIZED, "{said}");
                }
                (Access::Needs(_), _) => assert!(refused, "{said}"),
            }
            asked += 1;
        }
    }
    assert_eq!(asked, routes.len() * callers.len());
    // All that was refused to change something is no entry; all that was allowed to is one, and the chain holds.
    assert!(served.house.ok(&["audit", "verify"]).contains("as they were written"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_changes_nothing() {
    let served = Served::new(House::from_template("crm")).await;
    let owner = served.owner().await;
    let foreign = As { csrf: None, ..owner.clone() };
    let guessed = As { csrf: Some("0".repeat(64)), ..owner.clone() };
    for who in [foreign, guessed] {
        let answer = served.post(&who, "/v1/policies/stale_deals/pause", &json!({})).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::FORBIDDEN, &json!("csrf"))
        );
    }
    let answer =
        served.post(&owner, "/v1/policies/stale_deals/pause", &json!({"reason": "look"})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let policies = served.get(&owner, "/v1/policies").await.json();
    assert_eq!(policies["items"][0]["paused"], "look");
    let answer = served.get(&owner, "/v1/session").await;
    for header in
        ["content-security-policy", "x-content-type-options", "x-frame-options", "x-request-id"]
    {
        assert!(answer.headers.contains_key(header), "{header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_work_once_passwords_are_guessed_slowly_and_an_owner_stays() {
    let served = Served::new(House::new()).await;
    let link = served.server.setup_link().await.unwrap().unwrap();
    let token = link.split("token=").nth(1).unwrap().to_owned();
    let setup =
        |name: &str, password: &str| json!({"token": token, "name": name, "password": password});
    let nobody = As::default();
    let short = served.post(&nobody, "/v1/setup", &setup("ada", "short")).await;
    assert_eq!(short.status, StatusCode::BAD_REQUEST);
    let owner = session(&served.post(&nobody, "/v1/setup", &setup("ada", PASSWORD)).await);
    let again = served.post(&nobody, "/v1/setup", &setup("eve", PASSWORD)).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert!(served.server.setup_link().await.unwrap().is_none());

    let login = |password: &str| json!({"name": "ada", "password": password});
    session(&served.post(&nobody, "/v1/login", &login(PASSWORD)).await);
    for _ in 0..10 {
        let wrong = served.post(&nobody, "/v1/login", &login("wrong wrong wrong")).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    }
    let braked = served.post(&nobody, "/v1/login", &login(PASSWORD)).await;
    assert_eq!(
        (braked.status, &braked.json()["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("rate-limited"))
    );

    for (method, path, body) in [
        ("DELETE", "/v1/users/ada", json!({})),
        ("PATCH", "/v1/users/ada", json!({"role": "viewer"})),
        ("PATCH", "/v1/users/ada", json!({"disabled": true})),
    ] {
        let answer = served.send(&owner, method, path, body.to_string()).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::CONFLICT, &json!("blocked")),
            "{method}"
        );
    }
    let admin = served.user(&owner, Role::Admin).await;
    let touched = served.send(&admin, "DELETE", "/v1/users/ada", "").await;
    assert_eq!(touched.status, StatusCode::FORBIDDEN);
    let viewer = served.user(&owner, Role::Viewer).await;
    let more = served.post(&viewer, "/v1/tokens", &json!({"name": "t", "scopes": ["query"]})).await;
    assert_eq!(more.status, StatusCode::FORBIDDEN);
    let token = served.token(&viewer, &["view"]).await;
    assert_eq!(served.get(&token, "/v1/status").await.status, StatusCode::OK);
    let id = served.get(&viewer, "/v1/tokens").await.json()["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    served.send(&viewer, "DELETE", &format!("/v1/tokens/{id}"), "").await;
    assert_eq!(served.get(&token, "/v1/status").await.status, StatusCode::UNAUTHORIZED);
    served.send(&owner, "PATCH", "/v1/users/viewer-user", r#"{"disabled":true}"#).await;
    assert_eq!(served.get(&viewer, "/v1/status").await.status, StatusCode::UNAUTHORIZED);
    served.send(&owner, "POST", "/v1/logout", "").await;
    assert_eq!(served.get(&owner, "/v1/me").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_holds_no_secret() {
    let house = House::new();
    house.write("secret.txt", "canary-4711");
    house.write(
        "connections/api.yaml",
        "connection: shop_db\ntype: postgres\noptions: {host: db, user: ann, database: shop, password: '${file:secret.txt}'}\n",
    );
    house.write(
        "connections/copy.yaml",
        "connection: copy_db\ntype: postgres\noptions: {url: '${file:secret.txt}'}\n",
    );
    house.ok(&["check"]);
    let served = Served::new(house).await;
    let owner = served.owner().await;
    for route in served.server.routes().to_vec() {
        if route.method != "GET" || route.path == "/v1/live" {
            continue;
        }
        let path =
            route.path.replace("{asset}", "connection:shop_db").replace("{connection}", "shop_db");
        let answer = served.get(&owner, &path_of(&path)).await;
        let said = String::from_utf8_lossy(&answer.bytes);
        assert!(!said.contains("canary-") && !said.contains("secret.txt"), "{path}: {said}");
    }
    let connections = served.get(&owner, "/v1/connections").await.json();
    assert_eq!(connections["items"][0]["settings"]["url"], "(secret)");
    assert_eq!(connections["items"][1]["settings"]["password"], "(secret)");
    assert_eq!(connections["items"][1]["settings"]["host"], "db");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_have_types_limits_and_clear_errors() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("syncs/shop.yaml", "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}, read: full, write: replace}\n");
    house.write(
        "data/orders.csv",
        "id,zip,day\n9007199254740993,00123,2024-05-01\n2,04109,2024-05-02\n",
    );
    house.ok(&["sync"]);
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let sql = |sql: &str| json!({"sql": sql});
    let asked = sql("select id, zip, day from raw.orders order by zip");
    let answer = served.post(&owner, "/v1/sql", &asked).await;
    let table = answer.json();
    assert_eq!(table["columns"][0], json!({"name": "id", "type": "integer"}));
    // Beyond 2^53 a number would not arrive as it left.
    assert_eq!(table["rows"][0], json!(["9007199254740993", "00123", "2024-05-01"]));
    let body = json!({"sql": "select id from raw.orders", "limit": 1});
    let cut = served.post(&owner, "/v1/sql", &body).await.json();
    assert_eq!((&cut["row_count"], &cut["truncated"]), (&json!(1), &json!(true)));
    let csv =
        served.post(&owner, "/v1/sql/csv", &sql("select zip from raw.orders order by zip")).await;
    assert_eq!(String::from_utf8_lossy(&csv.bytes), "zip\n00123\n04109\n");
    for (wrong, status, code) in [
        ("select nope from raw.orders", 400, "invalid"),
        ("select * from raw.nope", 404, "not-found"),
        ("delete from raw.orders", 400, "invalid"),
        ("drop table raw.orders", 403, "denied"),
        ("select 1; select 2", 400, "invalid"),
        ("", 400, "invalid"),
        ("select '\u{0}", 400, "invalid"),
    ] {
        let answer = served.post(&owner, "/v1/sql", &sql(wrong)).await;
        let problem = answer.json();
        assert!(answer.status.as_u16() < 500, "{wrong}: {problem}");
        if answer.status.as_u16() != status || problem["code"] != code {
            assert!(matches!(answer.status.as_u16(), 400 | 403 | 404), "{wrong}: {problem}");
        }
        assert_eq!(problem["status"], json!(answer.status.as_u16()));
    }
    let slow = json!({"sql": "select count(*) from generate_series(1, 1000000000000) as t where value % 7 = 3", "timeout_ms": 200});
    let answer = served.post(&owner, "/v1/sql", &slow).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::GATEWAY_TIMEOUT, &json!("timeout"))
    );
    assert_eq!(
        served.post(&owner, "/v1/sql", &sql("select count(*) from raw.orders")).await.json()["rows"],
        json!([[2]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_models_says_how_their_tests_ended() {
    let house = House::new();
    house.write("models/goods.sql", "select 1 as id union all select 2 as id");
    house.write("models/doubles.sql", "select 1 as id union all select 1 as id");
    house.write(
        "models/tests.yml",
        "version: 2\nmodels:\n\
         - {name: goods, columns: [{name: id, data_tests: [unique, not_null]}]}\n\
         - {name: doubles, columns: [{name: id, data_tests: [unique, not_null]}]}\n",
    );
    house.fails(1, &["build"]);
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let listed = served.get(&owner, "/v1/models").await.json();
    let tests = |name: &str| {
        let mut items = listed["items"].as_array().unwrap().iter();
        items.find(|model| model["model"] == name).unwrap()["tests"].clone()
    };
    assert_eq!(tests("goods"), json!({"declared": 2, "passed": 2, "failed": 0}));
    assert_eq!(tests("doubles"), json!({"declared": 2, "passed": 1, "failed": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_found_described_and_given_up_and_promises_told() {
    let house = House::new();
    house.write(
        "flywheel.yaml",
        "name: shop\ncatalogue:\n  assets:\n    raw.orders: {owner: sales, tags: [gold], masked: [zip]}\n",
    );
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("syncs/shop.yaml", "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}, read: full, write: replace}\n");
    house.write("data/orders.csv", "id,zip\n1,00123\n2,04109\n");
    house.ok(&["sync"]);
    house.write(
        "quality/orders.yaml",
        "quality: orders\ntable: \"source('raw', 'orders')\"\nowner: sales\nchecks:\n  - {metric: rowCount, mustBeGreaterThan: 100, severity: warn}\n",
    );
    house.ok(&["quality", "run"]);
    house.write("contracts/shop.odcs.yaml", "kind: DataContract\napiVersion: v3.1.0\nid: c-1\nname: Shop\nversion: 1.2.0\nstatus: active\ndescription: {purpose: What is sold}\nschema: [{name: orders}]\n");
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let found = served.get(&owner, "/v1/search?q=zip").await.json();
    assert_eq!(found["items"][0]["name"], json!("raw.orders"), "{found}");
    assert_eq!(found["items"][0]["columns"], json!(["zip"]));
    let of_sales = served.get(&owner, "/v1/search?owner=sales").await.json();
    assert_eq!((&of_sales["total"], &of_sales["items"][0]["tags"][0]), (&json!(1), &json!("gold")));
    let nobody = served.get(&owner, "/v1/search?owner=-&tag=gold").await.json();
    assert_eq!(nobody["total"], json!(0), "{nobody}");
    // What was chosen of a facet does not hide its other words.
    assert!(of_sales["facets"]["owner"].as_array().unwrap().len() > 1, "{of_sales}");
    let asset = served.get(&owner, "/v1/assets/raw.orders").await.json();
    assert_eq!((&asset["known"]["owner"], &asset["held"]), (&json!("sales"), &Value::Null));
    assert!(asset["health_sql"].as_str().unwrap().contains("system.assets"));
    let path = "/v1/assets/raw.orders/profile";
    assert_eq!(served.get(&owner, path).await.json()["profiled"], Value::Null);
    assert_eq!(served.post(&owner, path, &json!({})).await.status, StatusCode::OK);
    let profile = served.get(&owner, path).await.json();
    let columns = &profile["profiled"]["profile"]["columns"];
    assert_eq!((&columns[0]["min"], &columns[1]["masked"]), (&json!("1"), &json!(true)));
    assert!(!profile.to_string().contains("00123"), "{profile}");
    let quality = served.get(&owner, "/v1/quality").await.json();
    assert_eq!(quality["items"][0]["last"]["verdict"], json!("warned"), "{quality}");
    assert_eq!(quality["contracts"][0]["tables"], json!(["orders"]));
    let one = served.get(&owner, "/v1/quality/orders").await.json();
    assert_eq!(one["items"][0]["value"].as_f64(), Some(2.0), "{one}");
    let unknown = served.get(&owner, "/v1/quality/order").await;
    assert!(unknown.json()["hint"].as_str().unwrap().contains("orders"));
    let vague = json!({"asset": "quality:orders", "reason": " "});
    let refused = served.post(&owner, "/v1/savings/retire", &vague).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let clear = json!({"asset": "quality:orders", "reason": "nobody asks"});
    let retired = served.post(&owner, "/v1/savings/retire", &clear).await.json();
    let ledger = served.get(&owner, "/v1/savings").await.json();
    assert_eq!(ledger["retired"][0]["asset"], retired["asset"], "{ledger}");
    let kept = json!({"asset": retired["asset"]});
    assert_eq!(served.post(&owner, "/v1/savings/keep", &kept).await.status, StatusCode::OK);
    assert_eq!(served.get(&owner, "/v1/savings").await.json()["retired"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_is_drafted_and_kept_once() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("data/orders.csv", "id,zip\n1,00123\n");
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let path = "/v1/connections/files/draft";
    let wish = |save: bool| json!({"sync": "till", "read": "full", "save": save});
    let draft = served.post(&owner, path, &wish(false)).await.json();
    assert!(draft["yaml"].as_str().unwrap().contains("connection: files"), "{draft}");
    assert!(!served.house.path("syncs/till.yaml").exists());
    let kept = served.post(&owner, path, &wish(true)).await.json();
    assert_eq!((&kept["file"], &kept["saved"]), (&json!("syncs/till.yaml"), &json!(true)));
    assert_eq!(Some(served.house.read("syncs/till.yaml").as_str()), kept["yaml"].as_str());
    let syncs = served.get(&owner, "/v1/syncs").await.json();
    assert_eq!(syncs["items"][0]["name"], json!("till"), "it can be run at once");
    let lag = served.get(&owner, "/v1/syncs/till/lag").await;
    assert_eq!(lag.status, StatusCode::OK, "{}", lag.json());
    for wrong in [
        wish(true),
        json!({"sync": "../till"}),
        json!({"sync": "a", "read": "some"}),
        json!({"sync": "a", "every": "soon"}),
        json!({"sync": "a", "tables": ["nothing"]}),
        json!({"sync": "a", "destination": "nowhere"}),
    ] {
        let refused = served.post(&owner, path, &wrong).await;
        assert!(matches!(refused.status.as_u16(), 400 | 404), "{wrong}: {}", refused.json());
        assert!(refused.json()["hint"].is_string(), "{wrong}: {}", refused.json());
    }
    assert_eq!(served.get(&owner, "/v1/syncs").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_taken_one_by_one_and_wrong_ones_named() {
    let served = Served::new(House::new()).await;
    let owner = served.owner().await;
    let agent = served.token(&owner, &["ingest"]).await;
    let one = served.post(&agent, "/v1/events", &json!({"n": 1})).await.json();
    assert_eq!((&one["accepted"], &one["first_offset"]), (&json!(1), &json!(0)));
    let some = served.post(&agent, "/v1/events", &json!([{"n": 2}, 3, {"n": 4}])).await.json();
    assert_eq!(
        (&some["accepted"], &some["first_offset"], &some["rejected"][0]["index"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let lines = Request::post("/v1/events?topic=clicks")
        .header(header::AUTHORIZATION, format!("Bearer {}", agent.token.clone().unwrap()))
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(Body::from("{\"n\":1}\n\nnot json\n{\"n\":2}"))
        .unwrap();
    let answer = served.raw(lines).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["index"]), (&json!(2), &json!(1)));
    for (path, body, status) in [
        ("/v1/events", "[1,2]".to_owned(), 400),
        ("/v1/events", "{".to_owned(), 400),
        ("/v1/events", String::new(), 400),
        ("/v1/events?topic=..%2Fup", "{}".to_owned(), 400),
        ("/v1/events", format!("{{\"text\":\"{}\"}}", "x".repeat(300 << 10)), 400),
        ("/v1/events", " ".repeat(17 << 20), 413),
        ("/v1/outcomes", "{\"event\":\"purchase\"}".to_owned(), 400),
    ] {
        let answer = served.send(&agent, "POST", path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.json());
    }
    let outcome = served
        .post(
            &agent,
            "/v1/outcomes",
            &json!({"decision_id": "d", "event": "purchase", "value": 12.5}),
        )
        .await;
    assert_eq!(outcome.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_logged_before_it_is_answered_and_the_same_when_asked_again() {
    let house = House::from_template("crm");
    house.ok(&["sync"]);
    house.ok(&["build"]);
    let unit = house
        .sql("select opportunity_id from marts.open_opportunities where days_open >= 60 order by days_open desc limit 1");
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let asked = json!({"policy": "stale_deals", "unit": unit[0], "request_id": "r-1"});
    let first = served.post(&owner, "/v1/decide", &asked).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.json());
    let again = served.post(&owner, "/v1/decide", &asked).await;
    assert_eq!(first.json(), again.json());
    let decision = first.json();
    assert!(decision["propensity"].as_f64().unwrap() > 0.0);
    let logged = json!({"sql": "select decision_id, unit_id from system.decisions"});
    let logged = served.post(&owner, "/v1/sql", &logged).await.json();
    assert_eq!(logged["rows"], json!([[decision["decision_id"], unit[0]]]));
    // The cap of one task a month holds here as in a turn.
    let capped =
        served.post(&owner, "/v1/decide", &json!({"policy": "stale_deals", "unit": unit[0]})).await;
    assert_eq!((capped.status, &capped.json()["code"]), (StatusCode::CONFLICT, &json!("blocked")));
    let stranger = served
        .post(&owner, "/v1/decide", &json!({"policy": "stale_deals", "unit": "it's nobody"}))
        .await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND);
    let misspelt =
        served.post(&owner, "/v1/decide", &json!({"policy": "stale_deal", "unit": "x"})).await;
    assert!(misspelt.json()["hint"].as_str().unwrap().contains("stale_deals"));
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_requests_are_told_what_is_wrong() {
    let served = Served::new(House::from_template("crm")).await;
    let owner = served.owner().await;
    let long = "x".repeat(5_000);
    let strange = [
        "%00",
        "..%2F..%2Fetc%2Fpasswd",
        "%27%3B%20drop%20table%20x",
        "%E6%95%B0%E6%8D%AE",
        "%FF",
        "a.b.c.d",
        "%22",
        long.as_str(),
    ];
    for route in served.server.routes().to_vec() {
        for part in strange {
            let path =
                route.path.split('/').map(|one| if one.starts_with('{') { part } else { one });
            let path =
                format!("{}?limit={part}&q={part}&cursor=%00", path.collect::<Vec<_>>().join("/"));
            if route.path == "/v1/logout" {
                continue;
            }
            let bodies: &[&str] = if route.method == "GET" {
                &[""]
            } else {
                &["", "[]", "{\"nope\":1}", "{\"a\":", "null", "\u{feff}{}"]
            };
            for body in bodies {
                let answer = served.send(&owner, route.method, &path, (*body).to_owned()).await;
                let said = String::from_utf8_lossy(&answer.bytes).into_owned();
                assert!(answer.status.as_u16() < 500, "{} {path} {body}: {said}", route.method);
                if answer.status.is_client_error() {
                    let problem = answer.json();
                    assert!(
                        problem["detail"].is_string() && problem["code"].is_string(),
                        "{path}: {said}"
                    );
                }
            }
        }
    }
    let missing = served.get(&As::default(), "/assets/none-1234.js").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    let unknown = served.get(&owner, "/v1/nothing").await;
    assert_eq!(
        (unknown.status, &unknown.json()["code"]),
        (StatusCode::NOT_FOUND, &json!("not-found"))
    );
    let method = served.send(&owner, "DELETE", "/v1/status", "").await;
    assert_eq!(method.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_pages_answer_them_and_their_parts_are_kept_by_browsers() {
    if !flywheel_server::has_pages() {
        println!("this program was built without web pages");
        return;
    }
    let served = Served::new(House::new()).await;
    let header = |answer: &Answer, name: &str| {
        answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let nobody = As::default();
    let page = served.get(&nobody, "/").await;
    assert_eq!(
        (page.status, header(&page, "cache-control").as_str()),
        (StatusCode::OK, "no-cache")
    );
    assert!(header(&page, "content-security-policy").contains("script-src 'self'"));
    let same = served.get(&nobody, "/policies/next_offer").await;
    assert_eq!((same.status, &same.bytes), (StatusCode::OK, &page.bytes));
    // A browser that opens this address again gets the page of metrics, and a program the server's own figures.
    // The same holds for tables, whose names look like those of files.
    for path in ["/metrics", "/catalogue/raw.customers"] {
        let browser = Request::get(path).header(header::ACCEPT, "text/html,*/*;q=0.8");
        let opened = served.raw(browser.body(Body::empty()).unwrap()).await;
        assert_eq!((opened.status, &opened.bytes), (StatusCode::OK, &page.bytes), "{path}");
        assert_ne!(served.get(&nobody, path).await.bytes, page.bytes, "{path}");
    }
    let text = String::from_utf8(page.bytes).unwrap();
    assert!(!text.contains("<script>"), "the policy forbids what stands in the page: {text}");
    let parts: Vec<&str> = text.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(parts.len() >= 2, "{text}");
    for part in parts {
        let answer = served.get(&nobody, part).await;
        assert_eq!(answer.status, StatusCode::OK, "{part}");
        assert!(header(&answer, "cache-control").contains("immutable"), "{part}");
    }
    assert_eq!(served.get(&nobody, "/.vite/manifest.json").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_of_the_api_has_every_route_with_its_permission() {
    let served = Served::new(House::new()).await;
    let described = served.get(&As::default(), "/v1/openapi.json").await.json();
    assert_eq!(described["openapi"], "3.1.0");
    for route in served.server.routes() {
        let operation = &described["paths"][route.path][route.method.to_lowercase()];
        assert!(operation["summary"].is_string(), "{} {}", route.method, route.path);
        if let Access::Needs(permission) = route.access {
            assert_eq!(operation["x-permission"], permission.word());
        }
    }
}
