//! The server, asked without a socket: who may do what, and what wrong requests are told.

mod access;
mod approvals;
mod embeds;
mod extensions;
mod files;
mod grants;
mod listing;
mod outcomes;
mod page_keys;
mod pieces;
mod plan;
mod policies;
mod queries;
mod quotas;
mod receive;
mod secrets;
mod sign_in;

use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use flywheel_base::Clock;
use flywheel_project::resource::rule::Role;
use flywheel_runtime::{Access as Open, Workspace};
use flywheel_server::{Access, Allows as _, Options, Permission, Server, WheelClock};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::house::House;

const PASSWORD: &str = "correct horse battery";

/// A served project.
pub(crate) struct Served {
    house: House,
    server: Server,
    router: Router,
    clock: Arc<WheelClock>,
}

/// What a request is sent with.
#[derive(Clone, Default)]
pub(crate) struct As {
    cookie: Option<String>,
    csrf: Option<String>,
    token: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    cookie: Option<String>,
    headers: axum::http::HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let said = String::from_utf8_lossy(&self.bytes);
        serde_json::from_str(&said).unwrap_or_else(|_| json!({"no JSON": said}))
    }
}

impl Served {
    pub(crate) async fn new(house: House) -> Self {
        Self::with(house, Options::default()).await
    }

    async fn with(house: House, options: Options) -> Self {
        let clock = Arc::new(WheelClock::real());
        let shared: Arc<dyn Clock> = Arc::<WheelClock>::clone(&clock);
        let workspace = Workspace::open(&house.dir(), Open::Write, shared).await.unwrap();
        let server = Server::new(workspace, Arc::clone(&clock), options).unwrap();
        let router = server.router();
        Self { house, server, router, clock }
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

    pub(crate) async fn post(&self, who: &As, path: &str, body: &Value) -> Answer {
        self.send(who, "POST", path, body.to_string()).await
    }

    pub(crate) async fn get(&self, who: &As, path: &str) -> Answer {
        self.send(who, "GET", path, Body::empty()).await
    }

    /// Chooses a password with a set-up link.
    async fn accept(&self, link: &str, name: &str) -> As {
        let token = link.split("token=").nth(1).unwrap();
        let body = json!({"token": token, "name": name, "password": PASSWORD});
        session(&self.post(&As::default(), "/v1/setup", &body).await)
    }

    pub(crate) async fn owner(&self) -> As {
        let link = self.server.setup_link().await.unwrap().unwrap();
        self.accept(&link, "ada").await
    }

    /// Makes a user of a role.
    pub(crate) async fn user(&self, owner: &As, role: Role) -> As {
        let name = format!("{}-user", role.word());
        let made = self.post(owner, "/v1/users", &json!({"name": name, "role": role.word()})).await;
        assert_eq!(made.status, StatusCode::CREATED);
        self.accept(made.json()["setup_link"].as_str().unwrap(), &name).await
    }

    pub(crate) async fn token(&self, who: &As, scopes: &[&str]) -> As {
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

/// Does all of it at once.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut open: Vec<_> = futures.into_iter().map(|one| Some(Box::pin(one))).collect();
    let mut done: Vec<Option<F::Output>> = open.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, done) in open.iter_mut().zip(&mut done) {
            if let Some(future) = one
                && let Poll::Ready(output) = future.as_mut().poll(context)
            {
                (*one, *done) = (None, Some(output));
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
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
                // Whoever asks: it is the ticket that opens it, and there is none.
                (Access::Ticket, _) => {
                    assert!(!refused && answer.status == StatusCode::FORBIDDEN, "{said}");
                }
                (_, None) => assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{said}"),
                (Access::SignedIn, _) => {
                    assert!(!refused && answer.status != StatusCode::UNAUTHORIZED, "{said}");
                }
                (Access::Board, _) if may(Permission::View) => {
                    assert!(!refused && answer.status != StatusCode::UNAUTHORIZED, "{said}");
                }
                (Access::Published, _) if may(Permission::Call) => {
                    assert!(!refused && answer.status != StatusCode::UNAUTHORIZED, "{said}");
                }
                (Access::Needs(permission), _) if may(permission) => {
                    assert!(!refused && answer.status != StatusCode::UNAUTHORIZED, "{said}");
                }
                (Access::Board | Access::Published | Access::Needs(_), _) => {
                    assert!(refused, "{said}");
                }
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
    // Also where nobody is logged in: a page that logs a visitor in as somebody else would learn what is done then.
    let login = json!({"name": "ada", "password": PASSWORD}).to_string();
    let from = |header: &'static str, value: &'static str| {
        let request =
            Request::builder().method("POST").uri("/v1/login").header("host", "fw.example");
        request.header(header, value).body(Body::from(login.clone())).unwrap()
    };
    for (header, value, expected) in [
        ("sec-fetch-site", "cross-site", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "same-site", StatusCode::FORBIDDEN),
        ("origin", "https://evil.example", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "same-origin", StatusCode::OK),
        ("origin", "http://fw.example", StatusCode::OK),
        ("x-program", "1", StatusCode::OK),
    ] {
        assert_eq!(served.raw(from(header, value)).await.status, expected, "{header}: {value}");
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

    // Those who guess all at once get no more tries than those who guess one by one, give or take what is being hashed.
    let eve = json!({"name": "eve", "password": "wrong wrong wrong"});
    let all = (0..60).map(|_| served.post(&nobody, "/v1/login", &eve));
    let all = futures::future::join_all(all).await;
    let tried = all.iter().filter(|one| one.status == StatusCode::UNAUTHORIZED).count();
    assert!((10..=12).contains(&tried), "{tried} of {}", all.len());

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
    // A token that leaks sees and takes back itself, and no other one.
    let other = served.token(&viewer, &["view"]).await;
    let ids = |answer: &Value| -> Vec<String> {
        let items = answer["items"].as_array().unwrap().iter();
        items.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let own = ids(&served.get(&other, "/v1/tokens").await.json());
    let all = ids(&served.get(&viewer, "/v1/tokens").await.json());
    assert_eq!((own.len(), all.len()), (1, 2));
    let foreign = all.iter().find(|id| **id != own[0]).unwrap();
    let taken = |id: &str| format!("/v1/tokens/{id}");
    let answer = served.send(&other, "DELETE", &taken(foreign), "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer = served.send(&other, "DELETE", &taken(&own[0]), "").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(served.get(&other, "/v1/status").await.status, StatusCode::UNAUTHORIZED);
    served.send(&viewer, "DELETE", &taken(foreign), "").await;
    assert_eq!(served.get(&token, "/v1/status").await.status, StatusCode::UNAUTHORIZED);
    served.send(&owner, "PATCH", "/v1/users/viewer-user", r#"{"disabled":true}"#).await;
    assert_eq!(served.get(&viewer, "/v1/status").await.status, StatusCode::UNAUTHORIZED);
    // What was done to users and tokens is in the log, and nothing by which to get in.
    let audit = served.get(&owner, "/v1/audit?limit=1000").await.json();
    let rows = audit["items"].as_array().unwrap();
    let newest = |what: &str| -> Value {
        rows.iter().find(|row| row["what"] == what).unwrap()["detail"]["more"].clone()
    };
    assert_eq!(newest("POST /v1/users"), json!({"user": "viewer-user", "role": "viewer"}));
    assert_eq!(
        newest("PATCH /v1/users/{user}"),
        json!({"user": "viewer-user", "before": {"role": "viewer", "disabled": false},
               "after": {"role": "viewer", "disabled": true}})
    );
    let made = newest("POST /v1/tokens");
    assert_eq!((&made["token"], &made["scopes"]), (&json!(own[0]), &json!(["view"])));
    assert!(made["expires_at"].is_string() && made["name"] == "t", "{made}");
    let gone = newest("DELETE /v1/tokens/{token}");
    assert_eq!((&gone["token"], &gone["owner"]), (&json!(foreign), &json!("viewer-user")));
    assert!(!audit.to_string().contains(token.token.as_deref().unwrap()));
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
    let id = json!({"name": "id", "type": "integer", "arrow_type": "Int64"});
    assert_eq!(table["columns"][0], id);
    // Beyond 2^53 a number would not arrive as it left.
    assert_eq!(table["rows"][0], json!(["9007199254740993", "00123", "2024-05-01"]));
    let body = json!({"sql": "select id from raw.orders", "limit": 1});
    let cut = served.post(&owner, "/v1/sql", &body).await.json();
    assert_eq!((&cut["row_count"], &cut["truncated"]), (&json!(1), &json!(true)));
    let csv =
        served.post(&owner, "/v1/sql/csv", &sql("select zip from raw.orders order by zip")).await;
    assert_eq!(String::from_utf8_lossy(&csv.bytes), "zip\n00123\n04109\n");
    // What has no value is told from an empty text, and within what has parts.
    let parts = sql("select null as x, [1, null, 2] as l, {'a': 1, 'b': null} as s, '' as e");
    let rows = served.post(&owner, "/v1/sql", &parts).await.json()["rows"].clone();
    assert_eq!(rows, json!([[null, [1, null, 2], {"a": 1, "b": null}, ""]]));
    let csv = served.post(&owner, "/v1/sql/csv", &parts).await;
    assert_eq!(
        String::from_utf8_lossy(&csv.bytes),
        "x,l,s,e\n,\"[1,null,2]\",\"{\"\"a\"\":1,\"\"b\"\":null}\",\"\"\n"
    );
    let none = served.post(&owner, "/v1/sql/csv", &sql("select 1 as a, 2 as b limit 0")).await;
    assert_eq!(String::from_utf8_lossy(&none.bytes), "a,b\n");
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
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("timeout"))
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
        .body(Body::from("\u{feff}{\"n\":1}\n\nnot json\n{\"n\":2}"))
        .unwrap();
    let answer = served.raw(lines).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["index"]), (&json!(2), &json!(1)));
    let packed = Request::post("/v1/events")
        .header(header::AUTHORIZATION, format!("Bearer {}", agent.token.clone().unwrap()))
        .header(header::CONTENT_ENCODING, "gzip")
        .body(Body::from(vec![0x1f_u8, 0x8b, 8]))
        .unwrap();
    let packed = served.raw(packed).await;
    assert_eq!(packed.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{}", packed.json());
    assert!(packed.json()["hint"].as_str().unwrap().contains("unpacked"), "{}", packed.json());
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
    // Whoever may read rows sees at once what has come.
    let seen = "select topic, \"offset\", event from system.events where topic <> 'events'";
    let seen = served.post(&owner, "/v1/sql", &json!({"sql": seen})).await.json();
    assert_eq!(seen["rows"].as_array().map(Vec::len), Some(3), "{seen}");
    assert_eq!(seen["rows"][0], json!(["clicks", 0, "{\"n\":1}"]));
    let figures = String::from_utf8(served.get(&owner, "/metrics").await.bytes).unwrap();
    for figure in ["flywheel_events_total{result=", "flywheel_alerts{status=\"dead\"} 0"] {
        assert!(figures.contains(figure), "{figure}: {figures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_sent_again_under_their_key_are_kept_once() {
    let served = Served::new(House::new()).await;
    let owner = served.owner().await;
    let agent = served.token(&owner, &["ingest"]).await;
    let bearer = format!("Bearer {}", agent.token.clone().unwrap());
    let send = |key: &'static str, body: &'static str| {
        let request = Request::post("/v1/events")
            .header(header::AUTHORIZATION, bearer.clone())
            .header("Idempotency-Key", key)
            .body(Body::from(body))
            .unwrap();
        served.raw(request)
    };
    let first = send("a", "[{\"n\":1},{\"n\":2}]").await.json();
    let again = send("a", "[{\"n\":1},{\"n\":2}]").await.json();
    assert_eq!((&first["repeated"], &again["repeated"]), (&json!(false), &json!(true)));
    assert_eq!(first["first_offset"], again["first_offset"]);
    assert_eq!(send("b", "{\"n\":1}").await.json()["first_offset"], json!(2));
    let other = send("a", "{\"n\":3}").await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST, "{}", other.json());
    assert!(other.json()["hint"].as_str().unwrap().contains("new key"));
    assert_eq!(send("", "{\"n\":3}").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(send("c", "{\"n\":3}").await.json()["first_offset"], json!(3));
    // Somebody else's key of the same name is another one.
    let else_ = served.user(&owner, Role::Agent).await;
    let theirs = Request::post("/v1/events")
        .header(header::COOKIE, else_.cookie.clone().unwrap())
        .header("x-csrf-token", else_.csrf.clone().unwrap())
        .header("Idempotency-Key", "a")
        .body(Body::from("{\"n\":9}"))
        .unwrap();
    assert_eq!(served.raw(theirs).await.json()["first_offset"], json!(4));
}

/// A shop whose recommender `next` is fitted and takes account of the topic `bought`.
fn shop_that_recommends() -> House {
    let house = House::new();
    let mut purchases = String::from("user_id,item_id,at\n");
    for user in 0..12 {
        for item in 0..4 {
            let item = (user + item) % 8;
            purchases.push_str(&format!("u{user},i{item},2024-05-0{} 10:00:00\n", 1 + item));
        }
    }
    house.write("data/purchases.csv", &purchases);
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("syncs/shop.yaml", "sync: shop\nconnection: files\nstreams:\n  - {stream: purchases, options: {path: purchases.csv}, read: full, write: replace}\n");
    house.write("learners/next.yaml", "learner: next\nrecommend:\n  interactions: select user_id, item_id, at from {{ source('raw', 'purchases') }}\n  algorithm: item-knn\n  feedback: {topic: bought, user: who, item: what}\n");
    house.ok(&["sync"]);
    house.ok(&["learn"]);
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_just_did_counts_in_the_next_recommendation_also_after_a_restart() {
    let served = Served::new(shop_that_recommends()).await;
    let owner = served.owner().await;
    let path = "/v1/recommend?learner=next&unit=u1&k=3";
    let before = served.get(&owner, path).await.json();
    assert_eq!(before["since_fit"], json!(0), "{before}");
    let top = before["items"][0]["item"].clone();
    // Events of others, of unknown items and of no act change nothing for u1.
    for event in
        [json!({"who": "u2", "what": top}), json!({"who": "u1"}), json!({"what": top, "who": null})]
    {
        served.post(&owner, "/v1/events?topic=bought", &event).await;
    }
    assert_eq!(served.get(&owner, path).await.json(), before);
    served.post(&owner, "/v1/events?topic=bought", &json!({"who": "u1", "what": top})).await;
    let after = served.get(&owner, path).await.json();
    assert_eq!(after["since_fit"], json!(1));
    let listed = |answer: &Value| -> Vec<Value> {
        answer["items"].as_array().unwrap().iter().map(|one| one["item"].clone()).collect()
    };
    assert!(!listed(&after).is_empty() && !listed(&after).contains(&top), "{after}");
    // Somebody of whom nothing was known has a list of the own once something is.
    let stranger = "/v1/recommend?learner=next&unit=new&k=3";
    assert_eq!(served.get(&owner, stranger).await.json()["known"], json!(false));
    for count in
        ["k=0", "k=-1", "n=0&k=3", "n=-9223372036854775808", "k=1e3", "k=99999999999999999999"]
    {
        let refused =
            served.get(&owner, &format!("/v1/recommend?learner=next&unit=u1&{count}")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{count}: {}", refused.json());
        assert!(refused.json()["hint"].is_string(), "{count}: {}", refused.json());
    }
    let most = served.get(&owner, "/v1/recommend?learner=next&unit=u1&k=9223372036854775807").await;
    assert_eq!(most.status, StatusCode::OK, "{}", most.json());
    served.post(&owner, "/v1/events?topic=bought", &json!({"who": "new", "what": "i1"})).await;
    let known = served.get(&owner, stranger).await.json();
    assert_eq!((&known["known"], &known["since_fit"]), (&json!(true), &json!(1)));
    assert!(known["items"][0]["reason"].as_str().unwrap().contains("i1"), "{known}");

    let Served { house, server, router, .. } = served;
    drop((server, router));
    let served = Served::new(house).await;
    assert_eq!(served.get(&owner, path).await.json(), after);
    assert_eq!(served.get(&owner, stranger).await.json(), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_just_did_counts_in_the_next_decision_on_request() {
    let house = shop_that_recommends();
    house.write(
        "policies/shelf.yaml",
        "policy: shelf\naudience: select distinct user_id as unit_id from {{ source('raw', 'purchases') }}\n\
         choose: {recommend: {learner: next, slots: 2}}\nholdout: 0%\n",
    );
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let decided = async |unit: &str, key: &str| {
        let asked = json!({"policy": "shelf", "unit": unit, "request_id": key});
        let answer = served.post(&owner, "/v1/decide", &asked).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        answer.json()
    };
    let ids = |list: &Value, key: &str| -> Vec<Value> {
        list.as_array().unwrap().iter().map(|one| one[key].clone()).collect()
    };
    let (before, other) = (decided("u1", "first").await, decided("u2", "first").await);
    let top = before["items"][0]["item_id"].clone();
    served.post(&owner, "/v1/events?topic=bought", &json!({"who": "u1", "what": top})).await;
    let after = decided("u1", "second").await;
    assert_ne!(ids(&after["items"], "item_id"), ids(&before["items"], "item_id"));
    assert!(!ids(&after["items"], "item_id").contains(&top), "{after}");
    let shown = served.get(&owner, "/v1/recommend?learner=next&unit=u1&k=2").await.json();
    assert_eq!(ids(&after["items"], "item_id"), ids(&shown["items"], "item"));
    assert_eq!((&after["artifact"], &shown["since_fit"]), (&shown["artifact"], &json!(1)));
    // What was decided stays so, and what one did counts for nobody else.
    assert_eq!(decided("u1", "first").await, before);
    assert_eq!(decided("u2", "second").await["items"], other["items"]);
    // The list was nowhere but in the answer, and the decision is made again from what was logged.
    for one in [&before, &after] {
        let path = format!("/v1/decisions/{}/replay", one["decision_id"].as_str().unwrap());
        let again = served.get(&owner, &path).await.json();
        assert_eq!(
            (&again["replay"], &again["policy"]),
            (&json!("equal"), &json!("shelf")),
            "{again}"
        );
        assert_eq!(again["differs"], json!([]));
    }
    let missing = served.get(&owner, "/v1/decisions/00ff00ff00ff00ff/replay").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND, "{}", missing.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_is_answered_again_and_sent_once_however_late_it_is_asked_for() {
    let house = House::new();
    house
        .write("data/units.csv", "unit_id\nu1\nu2\n")
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write("syncs/units.yaml", "sync: units\nconnection: files\nstreams:\n  - {stream: units, options: {path: units.csv}, read: full, write: replace}\n")
        .write("actions/offers.yaml", "action: offers\ntype: file\noptions: {path: out/offers.jsonl}\n")
        .write(
            "policies/offer.yaml",
            "policy: offer\nevery: 300d\naudience: select unit_id from {{ source('raw', 'units') }}\n\
             choose: {candidates: [{name: a}]}\nholdout: 0%\naction: offers\n",
        );
    house.ok(&["sync"]);
    let asked = |key: &str| json!({"policy": "offer", "unit": "u1", "request_id": key});
    let served = Served::new(house).await;
    served.clock.hold(flywheel_base::Timestamp::parse("2024-05-01").unwrap());
    let owner = served.owner().await;
    let first = served.post(&owner, "/v1/decide", &asked("k")).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.json());
    // A policy that is paused decides nothing new; what it decided stays so.
    served.post(&owner, "/v1/policies/offer/pause", &json!({})).await;
    assert_eq!(served.post(&owner, "/v1/decide", &asked("k")).await.json(), first.json());
    let blocked = served.post(&owner, "/v1/decide", &asked("other")).await;
    assert_eq!(blocked.status, StatusCode::CONFLICT, "{}", blocked.json());
    served.post(&owner, "/v1/policies/offer/resume", &json!({})).await;
    let Served { house, server, router, .. } = served;
    drop((server, router));

    // It is delivered, and after a month the outbox does not know any more that it was.
    house.ok(&["turn", "--replay", "2024-05-02"]);
    house.ok(&["turn", "--replay", "2024-06-20"]);
    let served = Served::new(house).await;
    served.clock.hold(flywheel_base::Timestamp::parse("2024-06-21").unwrap());
    let again = served.post(&owner, "/v1/decide", &asked("k")).await;
    assert_eq!(again.json(), first.json());
    let waiting = served.get(&owner, "/v1/actions?status=pending").await.json();
    assert_eq!(waiting["items"], json!([]), "it would leave again");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_are_asked_together_are_answered_one_by_one() {
    let house = House::new();
    let rows: String = (0..40).map(|n| format!("u{n}\n")).collect();
    house.write("data/units.csv", format!("unit_id\n{rows}twice\ntwice\n"));
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("syncs/units.yaml", "sync: units\nconnection: files\nstreams:\n  - {stream: units, options: {path: units.csv}, read: full, write: replace}\n");
    house.write(
        "actions/offers.yaml",
        "action: offers\ntype: file\noptions: {path: out/offers.jsonl}\n",
    );
    let policy = |name: &str, more: &str| {
        format!(
            "policy: {name}\nevery: 30d\naudience: select unit_id from {{{{ source('raw', 'units') }}}}\nchoose: {{candidates: [{{name: a}}, {{name: b}}]}}\nholdout: 0%\n{more}"
        )
    };
    house.write("policies/offer.yaml", policy("offer", "action: offers\n"));
    house.write("policies/seldom.yaml", policy("seldom", "caps: {per_unit_every: 30d}\n"));
    house.ok(&["sync"]);
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let ask = |policy: &str, unit: &str, key: &str| {
        let asked = json!({"policy": policy, "unit": unit, "request_id": key});
        let (served, owner) = (&served, &owner);
        async move { served.post(owner, "/v1/decide", &asked).await }
    };
    let mut asked = Vec::new();
    for n in 0..40 {
        asked.push(ask("offer", &format!("u{n}"), "k"));
        // The same question at the same time is the same decision.
        asked.push(ask("offer", &format!("u{n}"), "k"));
    }
    let wrong =
        vec![ask("offer", "nobody", "k"), ask("offer", "twice", "k"), ask("unknown", "u1", "k")];
    let capped =
        vec![ask("seldom", "u1", "k1"), ask("seldom", "u1", "k2"), ask("seldom", "u1", "k3")];
    let (good, wrong, capped) = tokio::join!(all(asked), all(wrong), all(capped));
    let mut ids: Vec<String> = Vec::new();
    for pair in good.chunks(2) {
        assert_eq!(pair[0].status, StatusCode::OK, "{}", pair[0].json());
        assert_eq!(pair[0].json(), pair[1].json());
        ids.push(pair[0].json()["decision_id"].as_str().unwrap().to_owned());
    }
    let statuses: Vec<u16> = wrong.iter().map(|one| one.status.as_u16()).collect();
    assert_eq!(statuses, [404, 400, 404]);
    let allowed = capped.iter().filter(|one| one.status == StatusCode::OK).count();
    assert_eq!(allowed, 1, "one unit was decided for more often than its cap allows");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
    let count = |sql: &'static str| {
        let (served, owner) = (&served, &owner);
        async move { served.post(owner, "/v1/sql", &json!({"sql": sql})).await }
    };
    let logged = count(
        "select count(*), count(distinct decision_id) from system.decisions where policy = 'offer'",
    )
    .await;
    assert_eq!(logged.json()["rows"], json!([[40, 40]]));
    let queued = count("select count(*), count(distinct key) from system.outbox").await;
    assert_eq!(queued.json()["rows"], json!([[40, 40]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_openlineage_become_a_part_of_the_graph() {
    let served = Served::new(House::new()).await;
    let owner = served.owner().await;
    let agent = served.token(&owner, &["ingest"]).await;
    let event = |job: &str, from: &str, to: &str| {
        json!({
            "eventType": "COMPLETE", "eventTime": "2024-05-01T00:00:00Z", "producer": "https://airflow.example",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": "6f1f2a0e-0000-8000-a000-000000000000"},
            "job": {"namespace": "airflow", "name": job},
            "inputs": [{"namespace": "s3://in", "name": from}],
            "outputs": [{"namespace": "s3://out", "name": to, "facets": {"columnLineage": {
                "_producer": "x", "_schemaURL": "x",
                "fields": {"total": {"inputFields": [{"namespace": "s3://in", "name": from, "field": "amount"}]}},
            }}}],
        })
    };
    let taken = served.post(&agent, "/v1/lineage", &event("load", "orders", "sums")).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{}", taken.json());
    assert_eq!((&taken.json()["jobs"], &taken.json()["new_edges"]), (&json!(1), &json!(1)));
    let again = served.post(&agent, "/api/v1/lineage", &event("load", "orders", "sums")).await;
    assert_eq!(again.json()["new_edges"], json!(0), "an event that comes twice is one");
    let both = json!([event("load", "orders", "sums"), event("more", "rows", "more")]);
    assert_eq!(served.post(&agent, "/v1/lineage", &both).await.json()["new_edges"], json!(1));
    let asked = "/v1/column-lineage?of=foreign:s3://in/orders.amount&direction=downstream";
    let graph = served.get(&owner, asked).await.json();
    assert!(graph.to_string().contains("s3://out/sums"), "{graph}");
    let named = json!([event("a", "b", "c"), {"eventType": "START"}]);
    for (body, status, words) in [
        ("{".to_owned(), 400, "no JSON"),
        (String::new(), 400, "empty"),
        (named.to_string(), 400, "line:1: event 2: eventTime is missing"),
        ("{\"eventTime\": \"soon\", \"producer\": \"x\"}".to_owned(), 400, "no moment"),
        (" ".repeat(17 << 20), 413, "larger"),
    ] {
        let answer = served.send(&agent, "POST", "/v1/lineage", body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.json());
        let said = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(said.contains(words), "{said}");
    }
    // What was refused left nothing.
    let rows = json!({"sql": "select count(*) from system.foreign_lineage"});
    assert_eq!(served.post(&owner, "/v1/sql", &rows).await.json()["rows"], json!([[2]]));
    let viewer = served.token(&owner, &["view"]).await;
    let denied = served.post(&viewer, "/v1/lineage", &event("a", "b", "c")).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
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
async fn the_same_question_asked_many_times_at_once_is_one_decision() {
    let house = House::from_template("crm");
    house.ok(&["sync"]);
    house.ok(&["build"]);
    let unit = house.cell("select opportunity_id from marts.open_opportunities order by 1 limit 1");
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let asked = json!({"policy": "stale_deals", "unit": unit, "request_id": "r-1"});
    let all = (0..12).map(|_| served.post(&owner, "/v1/decide", &asked));
    let all = futures::future::join_all(all).await;
    assert!(all.iter().all(|one| one.status == StatusCode::OK), "{}", all[0].json());
    assert!(all.iter().all(|one| one.json() == all[0].json()));
    let logged = json!({"sql": "select count(*) from system.decisions"});
    let logged = served.post(&owner, "/v1/sql", &logged).await.json();
    assert_eq!(logged["rows"], json!([[1]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_before_the_answer_is_in_the_audit_log_all_the_same() {
    let served = Served::new(House::from_template("crm")).await;
    let owner = served.owner().await;
    let mut request = Request::builder().method("POST").uri("/v1/policies/stale_deals/pause");
    request = request.header(header::COOKIE, owner.cookie.as_ref().unwrap());
    request = request.header("x-csrf-token", owner.csrf.as_ref().unwrap());
    // The body never ends, so the request is under way until it is dropped.
    let endless = Body::from_stream(futures::stream::pending::<std::io::Result<Vec<u8>>>());
    let asking = served.router.clone().oneshot(request.body(endless).unwrap());
    let listed = async {
        // Whoever may ask was looked up, and the gate was passed, once others are answered.
        for _ in 0..20 {
            served.get(&owner, "/v1/me").await;
        }
    };
    tokio::select! {
        biased;
        _ = asking => panic!("it was answered"),
        () = listed => {}
    }
    let mut noted = Value::Null;
    for _ in 0..1_000 {
        let trail = served.get(&owner, "/v1/audit?limit=20").await.json();
        let mut items = trail["items"].as_array().unwrap().iter();
        if let Some(left) = items.find(|one| one["object"] == "/v1/policies/stale_deals/pause") {
            noted = left["detail"]["more"].clone();
            break;
        }
    }
    assert_eq!(noted, "the caller left before the answer");
    assert!(served.house.ok(&["audit", "verify"]).contains("as they were written"));
}

/// A world that stops its turn unexpectedly the first time.
struct Unsteady {
    steps: i64,
}

impl flywheel_server::Rhythm for Unsteady {
    fn before(&mut self) -> flywheel_base::Result<flywheel_base::Timestamp> {
        self.steps += 1;
        assert!(self.steps > 1, "a mistake of ours");
        Ok(flywheel_base::Timestamp::from_day(20_000 + self.steps))
    }

    fn after(&mut self, _: &flywheel_runtime::turn::TurnReport) -> flywheel_base::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_stops_unexpectedly_is_told_and_the_next_one_is_done() {
    let house = House::new();
    let clock = Arc::new(WheelClock::standing(flywheel_base::Timestamp::from_day(20_000)));
    let shared: Arc<dyn Clock> = Arc::<WheelClock>::clone(&clock);
    let workspace = Workspace::open(&house.dir(), Open::Write, shared).await.unwrap();
    let rhythm: Option<Box<dyn flywheel_server::Rhythm>> = Some(Box::new(Unsteady { steps: 0 }));
    let server = Server::new(workspace, clock, Options { rhythm, ..Options::default() }).unwrap();
    let (router, stopper) = (server.router(), server.stopper());
    let link = server.setup_link().await.unwrap().unwrap();
    let listener = flywheel_server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(server.serve(listener));
    let ask = async |method: &str, path: &str, who: &As, body: Value| {
        let mut request = Request::builder().method(method).uri(path);
        if let (Some(cookie), Some(csrf)) = (&who.cookie, &who.csrf) {
            request = request.header(header::COOKIE, cookie).header("x-csrf-token", csrf);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let cookie = response.headers().get(header::SET_COOKIE);
        let cookie =
            cookie.map(|line| line.to_str().unwrap().split(';').next().unwrap().to_owned());
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (cookie, serde_json::from_slice::<Value>(&bytes).unwrap_or_default())
    };
    let token = link.split("token=").nth(1).unwrap();
    let setup = json!({"token": token, "name": "ada", "password": PASSWORD});
    let (cookie, answer) = ask("POST", "/v1/setup", &As::default(), setup).await;
    let csrf = answer["csrf"].as_str().map(str::to_owned);
    let owner = As { cookie, csrf, token: None };
    let mut ends = Vec::new();
    for _ in 0..2 {
        let (_, work) = ask("POST", "/v1/turns", &owner, json!({})).await;
        let path = format!("/v1/work/{}", work["work"].as_str().unwrap());
        loop {
            let (_, work) = ask("GET", &path, &owner, json!({})).await;
            if work["ended_at"].is_string() {
                ends.push((work["status"].clone(), work["error"].clone()));
                break;
            }
        }
    }
    assert_eq!(ends[0].0, json!("failed"));
    let said = ends[0].1.as_str().unwrap();
    assert!(said.starts_with("the work stopped unexpectedly, fault "), "{said}");
    assert_eq!(ends[1], (json!("succeeded"), Value::Null));
    stopper.cancel();
    serving.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_would_overflow_a_stack_is_refused() {
    let served = Served::new(House::new()).await;
    let owner = served.owner().await;
    for sql in [
        format!("select 1{}", " union all select 1".repeat(12_000)),
        format!("select 1{}", "+1".repeat(100_000)),
        format!("select 1 where true{}", " and true".repeat(25_000)),
    ] {
        let answer = served.post(&owner, "/v1/sql", &json!({"sql": sql})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.json()["hint"].is_string(), "{}", answer.json());
    }
    let long = format!("select 1 in (0{}) as x", ", 1".repeat(20_000));
    let answer = served.post(&owner, "/v1/sql", &json!({"sql": long})).await;
    assert_eq!(answer.json()["rows"], json!([[true]]), "{}", answer.json());
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
async fn pages_that_are_worked_on_are_read_from_their_folder_at_each_request() {
    let pages = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = pages.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("dist/index.html", "<!doctype html>one");
    write("dist/assets/app-1.js", "1");
    write("dist/.vite/manifest.json", "{}");
    write("secret.txt", "s");
    let folder = Some(pages.path().join("dist"));
    let options = Options { pages: folder, ..Options::default() };
    let served = Served::with(House::new(), options).await;
    let nobody = As::default();
    for path in ["/", "/index.html", "/policies/next_offer"] {
        let page = served.get(&nobody, path).await;
        assert_eq!(
            (page.status, page.bytes.as_slice()),
            (StatusCode::OK, &b"<!doctype html>one"[..])
        );
        assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
        let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("script-src 'self'"), "{policy}");
    }
    write("dist/index.html", "<!doctype html>two");
    for path in ["/metrics", "/catalogue/raw.customers"] {
        let browser = Request::get(path).header(header::ACCEPT, "text/html,*/*;q=0.8");
        let opened = served.raw(browser.body(Body::empty()).unwrap()).await;
        assert_eq!(opened.bytes, b"<!doctype html>two", "{path}");
    }
    let part = served.get(&nobody, "/assets/app-1.js").await;
    assert_eq!((part.status, part.bytes.as_slice()), (StatusCode::OK, &b"1"[..]));
    assert!(part.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/javascript"));
    // Nothing else of the machine is read, and what is missing is told.
    for path in
        ["/../secret.txt", "/assets/../../secret.txt", "/.vite/manifest.json", "/assets/app-0.js"]
    {
        assert_eq!(served.get(&nobody, path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(served.get(&nobody, "/v1/nothing").await.status, StatusCode::NOT_FOUND);
    std::fs::remove_file(pages.path().join("dist/index.html")).unwrap();
    let gone = served.get(&nobody, "/").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    assert!(gone.json()["hint"].as_str().unwrap().contains("vite build"), "{}", gone.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_of_the_api_has_every_route_with_its_permission() {
    let served = Served::new(House::new()).await;
    let described = served.get(&As::default(), "/v1/openapi.json").await.json();
    assert_eq!(described["openapi"], "3.1.0");
    for route in served.server.routes() {
        let path = route.path.replace("{*", "{");
        let operation = &described["paths"][path][route.method.to_lowercase()];
        assert!(operation["summary"].is_string(), "{} {}", route.method, route.path);
        if let Access::Needs(permission) = route.access {
            assert_eq!(operation["x-permission"], permission.word());
        }
    }
}

/// A project with orders of two countries, a metric and a dashboard.
fn with_dashboard(readers: &str) -> House {
    let house = House::new();
    house.write(
        "models/mart/orders.sql",
        "{{ config(materialized='table') }}\nselect * from (values (1, 'France', timestamp '2025-03-01T10:00:00', 10.0), (2, 'it''s', timestamp '2025-03-02T10:00:00', 5.0)) as t (order_id, country, ordered_at, amount)\n",
    );
    house.write(
        "metrics/orders.yaml",
        "semantic: orders\ntable: ref('orders')\ntime: ordered_at\nentities: {order: {type: primary, key: order_id}}\ndimensions: {ordered_at: {type: time}, country: {label: {zh: 国家}, values: {France: {label: {en: The Hexagon, zh: 法国}, aliases: [FR]}}}}\n\
         measures: {revenue: {aggregate: sum, expression: amount}}\nmetrics: {revenue: {measure: revenue}}\n",
    );
    house.write(
        "dashboards/sales.yaml",
        format!(
            "# Sales.\ndashboard: sales # its name\nreaders: {readers}\nfilters: {{time: {{days: 28}}, dimensions: [country]}}\ntiles:\n  # Without tax.\n  - {{tile: revenue, metrics: [revenue]}} # net\n  - {{tile: lands, metrics: revenue, by: country}}\n\
             \x20 - tile: query\n    sql: select count(*) as n from {{{{ ref('orders') }}}} where {{{{ var('filters') }}}}\n    filters: {{time: ordered_at, country: country}}\n"
        ),
    );
    house.ok(&["build"]);
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_are_narrowed_together_and_by_nothing_that_is_not_there() {
    let served = Served::new(with_dashboard("query")).await;
    let owner = served.owner().await;
    let only = |value: &str| format!("only=%7B%22country%22:%5B%22{value}%22%5D%7D");
    let cell = async |tile: &str, asked: &str| {
        let path = format!("/v1/dashboards/sales/tiles/{tile}?{asked}");
        let answer = served.get(&owner, &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.json());
        answer.json()["table"]["rows"][0][0].clone()
    };
    assert_eq!(cell("revenue", "whole=true").await, json!(15.0));
    assert_eq!(cell("revenue", &format!("whole=true&{}", only("France"))).await, json!(10.0));
    assert_eq!(cell("revenue", &format!("whole=true&{}", only("FR"))).await, json!(10.0));
    assert_eq!(cell("query", &format!("whole=true&{}", only("it's"))).await, json!(1));
    assert_eq!(cell("query", "from=2025-03-02&to=2025-03-03").await, json!(1));
    // A name of a value narrows queries, too, and looking as somebody else is no parameter of the route.
    assert_eq!(cell("query", &format!("whole=true&{}", only("FR"))).await, json!(1));
    assert_eq!(cell("revenue", "whole=true&as=analyst").await, json!(15.0));
    assert_eq!(
        cell("revenue", &format!("as=analyst&whole=true&{}", only("FR"))).await,
        json!(10.0)
    );
    assert_eq!(cell("revenue", "from=2025-03-01&to=2025-03-02").await, json!(10.0));
    for path in [
        "/v1/dashboards/sales/workbook?whole=true&as=analyst",
        "/v1/column-lineage?of=mart.orders.amount&as=analyst",
    ] {
        assert_eq!(served.get(&owner, path).await.status, StatusCode::OK, "{path}");
    }
    // Who may not query sees no figures here, nor does who looks as they do.
    let opened = served.get(&owner, "/v1/dashboards/sales?as=viewer").await.json();
    assert_eq!(opened["may"], json!({"rows": false, "edit": false}), "{opened}");
    let refused = served.get(&owner, "/v1/dashboards/sales/tiles/revenue?as=viewer").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.json());
    let why = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(why.ends_with("which the role viewer does not have"), "{why}");
    let book = served.get(&owner, "/v1/dashboards/sales/workbook?whole=true").await;
    let kind = book.headers["content-type"].to_str().unwrap();
    assert!(kind.ends_with("spreadsheetml.sheet") && book.bytes.starts_with(b"PK"), "{kind}");
    let values = served.get(&owner, "/v1/dashboards/sales/values/country").await.json();
    assert_eq!(values["items"], json!(["France", "it's"]));
    for (path, code) in [
        ("tiles/nothing", "not-found"),
        ("tiles/revenue?only=%7B%22city%22:%5B%22x%22%5D%7D", "not-found"),
        ("tiles/revenue?only=nonsense", "invalid"),
        ("tiles/revenue?from=soon", "invalid"),
        ("tiles/revenue?from=2025-03-02&to=2025-03-01", "invalid"),
        ("tiles/revenue?since=2025", "invalid"),
        ("values/city", "not-found"),
    ] {
        let refused = served.get(&owner, &format!("/v1/dashboards/sales/{path}")).await.json();
        assert_eq!(refused["code"], code, "{path}: {refused}");
        assert!(refused["hint"].is_string(), "{path}: {refused}");
    }
    let opened = served.get(&owner, "/v1/dashboards/sales").await.json();
    let draft =
        json!({"dashboard": opened["dashboard"], "tile": "lands", "chosen": {"whole": true}});
    let preview = served.post(&owner, "/v1/dashboard-preview", &draft).await.json();
    assert_eq!(preview["table"]["rows"][0], json!(["France", 10.0]), "{preview}");
    let france = json!({"France": {"en": "The Hexagon", "zh": "法国"}});
    assert_eq!(preview["labels"], json!({"country": france}), "rows keep the value: {preview}");
    assert_eq!(opened["metrics"][0]["value_labels"], json!({"country": france}));
    let asked = json!({"metrics": ["revenue"], "by": ["国家"], "where": ["country = '法国'"]});
    let answer = served.post(&owner, "/v1/metrics/query", &asked).await.json();
    assert_eq!(answer["rows"], json!([["France", 10.0]]), "{answer}");
    assert_eq!(answer["labels"], json!({"country": france}), "{answer}");
    let mut writes = draft.clone();
    writes["dashboard"]["tiles"][2]["sql"] =
        json!("delete from mart.orders where {{ var('filters') }}");
    writes["tile"] = json!("query");
    let refused = served.post(&owner, "/v1/dashboard-preview", &writes).await.json();
    assert_eq!(refused["code"], "invalid", "tiles only read: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workbook_has_the_names_of_values_beside_them_in_the_readers_language() {
    let served = Served::new(with_dashboard("query")).await;
    let owner = served.owner().await;
    let path = "/v1/dashboards/sales/workbook?whole=true&only=%7B%22country%22:%5B%22France%22,%22it's%22%5D%7D";
    for (language, label, sheets, about) in [
        ("zh-CN", "法国", ["revenue（按 国家）", "关于"], "法国 (France), it's"),
        ("en", "The Hexagon", ["revenue by country", "About"], "The Hexagon (France), it's"),
    ] {
        let cookie = owner.cookie.as_ref().unwrap();
        let request = Request::builder().uri(path).header(header::COOKIE, cookie);
        let request = request.header(header::ACCEPT_LANGUAGE, language);
        let book = served.raw(request.body(Body::empty()).unwrap()).await;
        // Our own source of workbooks reads it.
        let reader = House::new();
        reader.write("data/book.xlsx", &book.bytes);
        reader.write(
            "connections/book.yaml",
            "connection: book\ntype: excel\noptions: {folder: data}\n",
        );
        let stream = |name: &str, sheet: &str| {
            format!(
                "  - {{stream: {name}, options: {{path: book.xlsx, sheet: '{sheet}'}}, read: full, write: replace}}\n"
            )
        };
        let streams = stream("lands", sheets[0]) + &stream("about", sheets[1]);
        reader
            .write("syncs/book.yaml", format!("sync: book\nconnection: book\nstreams:\n{streams}"));
        reader.ok(&["sync"]);
        assert_eq!(
            reader.sql("select country, country_label from raw.lands order by country"),
            [format!("France,{label}"), "it's,it's".to_owned()]
        );
        let columns = reader.ok(&["sql", "select * from raw.about", "--output", "csv"]);
        assert!(columns.contains(about), "{columns}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_dashboards_are_found_by_their_names_in_every_language() {
    let house = with_dashboard("query");
    let metrics = house.read("metrics/orders.yaml").replace(
        "revenue: {measure: revenue}",
        "revenue: {measure: revenue, label: {en: Sales, zh: 成交额}, synonyms: [营业额]}",
    );
    house.write("metrics/orders.yaml", metrics);
    let board = house
        .read("dashboards/sales.yaml")
        .replace("readers:", "title: {en: The shop, zh: 店铺总览}\nreaders:");
    house.write("dashboards/sales.yaml", board);
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let labels = [json!(["Sales", "成交额"]), json!(["The shop", "店铺总览"])];
    // 成交, 营业额 and 店铺.
    for (words, name, labels) in [
        ("%E6%88%90%E4%BA%A4", "metric:revenue", &labels[0]),
        ("%E8%90%A5%E4%B8%9A%E9%A2%9D", "metric:revenue", &labels[0]),
        ("%E5%BA%97%E9%93%BA", "dashboard:sales", &labels[1]),
    ] {
        let found = served.get(&owner, &format!("/v1/assets?q={words}")).await.json();
        let first = &found["items"][0];
        assert_eq!((&first["name"], &first["labels"]), (&json!(name), labels), "{found}");
    }
    let listed = served.get(&owner, "/v1/search?kind=metric").await.json();
    assert_eq!(listed["items"][0]["labels"], json!(["Sales", "成交额", "营业额"]), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_is_written_whole_checked_and_never_over_anothers_change() {
    let served = Served::new(with_dashboard("query")).await;
    let owner = served.owner().await;
    let opened = served.get(&owner, "/v1/dashboards/sales").await.json();
    assert_eq!(
        (opened["comments"].as_u64(), opened["may"]["edit"].as_bool()),
        (Some(0), Some(true))
    );
    let mut board = opened["dashboard"].clone();
    board["title"] = json!({"en": "Sales", "zh": "销售"});
    let change = json!({"dashboard": board, "version": opened["version"]});
    let path = "/v1/dashboards/sales";
    let kept = served.send(&owner, "PATCH", path, change.to_string()).await;
    assert_eq!(kept.status, StatusCode::OK, "{}", kept.json());
    let text = served.house.read("dashboards/sales.yaml");
    assert!(text.starts_with("# Sales.\ndashboard: sales  # its name\n"), "{text}");
    assert!(text.contains("  # Without tax.\n  - tile: revenue  # net\n"), "{text}");
    served.house.ok(&["check"]);
    let again = served.send(&owner, "PATCH", path, change.to_string()).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "the version is an old one: {}", again.json());
    assert_eq!(served.house.read("dashboards/sales.yaml"), text);

    let mut wrong = change.clone();
    wrong["version"] = kept.json()["version"].clone();
    wrong["dashboard"]["tiles"][0]["metrics"] = json!(["revenu"]);
    let refused = served.send(&owner, "PATCH", path, wrong.to_string()).await.json();
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains("dashboards/sales.yaml:") && detail.contains("Did you mean \"revenue\"?"),
        "{refused}"
    );
    // A file of somebody else that cannot be read: the project goes on with what it had.
    served.house.write("metrics/broken.yaml", "semantic: broken\nnothing: of this\n");
    wrong["dashboard"]["tiles"][0]["metrics"] = json!(["revenue"]);
    let refused = served.send(&owner, "PATCH", path, wrong.to_string()).await.json();
    assert!(refused["detail"].as_str().unwrap().contains("not kept"), "{refused}");
    std::fs::remove_file(served.house.path("metrics/broken.yaml")).unwrap();
    assert_eq!(served.house.read("dashboards/sales.yaml"), text, "what was there is put back");

    let new = |name: &str| {
        json!({"dashboard": {"dashboard": name, "tiles": [{"tile": "a", "metrics": "revenue"}]}})
            .to_string()
    };
    assert_eq!(
        served.send(&owner, "POST", "/v1/dashboards", new("more")).await.status,
        StatusCode::CREATED
    );
    assert_eq!(
        served.send(&owner, "POST", "/v1/dashboards", new("more")).await.status,
        StatusCode::CONFLICT
    );
    for name in ["../up", "a b", ""] {
        let refused = served.send(&owner, "POST", "/v1/dashboards", new(name)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{name}");
    }
    let gone =
        served.send(&owner, "DELETE", "/v1/dashboards/more?version=old", Body::empty()).await;
    assert_eq!(gone.status, StatusCode::CONFLICT);
    let version = served.get(&owner, "/v1/dashboards/more").await.json()["version"].clone();
    let path = format!("/v1/dashboards/more?version={}", version.as_str().unwrap());
    assert_eq!(
        served.send(&owner, "DELETE", &path, Body::empty()).await.status,
        StatusCode::NO_CONTENT
    );
    assert!(!served.house.path("dashboards/more.yaml").exists());
    let audit = served.get(&owner, "/v1/audit").await.json();
    let noted = audit["items"].as_array().unwrap().iter().find(|row| {
        row["what"] == "PATCH /v1/dashboards/{dashboard}" && row["detail"]["status"] == 200
    });
    assert_eq!(noted.unwrap()["detail"]["more"]["file"], "dashboards/sales.yaml");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_shows_one_dashboard_and_nothing_else() {
    let served = Served::new(with_dashboard("query")).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let viewer = served.user(&owner, Role::Viewer).await;
    let tile = "/v1/dashboards/sales/tiles/revenue?whole=true";
    let refused = served.get(&viewer, tile).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.json()["hint"].as_str().unwrap().contains("readers: view"));
    let open = served.get(&viewer, "/v1/dashboards/sales").await.json();
    assert_eq!(open["may"], json!({"rows": false, "edit": false}));

    let asked = json!({"name": "board", "days": 7}).to_string();
    let links = "/v1/dashboards/sales/links";
    assert_eq!(
        served.send(&viewer, "POST", links, asked.clone()).await.status,
        StatusCode::FORBIDDEN
    );
    let made = served.send(&analyst, "POST", links, asked).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let made = made.json();
    let token = made["link"].as_str().unwrap().split('#').nth(1).unwrap().to_owned();
    let guest = As { token: Some(token), ..As::default() };
    let shown = served.get(&guest, tile).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.json());
    assert_eq!(shown.json()["table"]["rows"][0][0], json!(15.0));
    let opened = served.get(&guest, "/v1/dashboards/sales").await.json();
    let said = opened.to_string() + &shown.json().to_string();
    assert!(!said.to_lowercase().contains("select "), "a guest sees no query: {said}");
    served
        .house
        .write("dashboards/other.yaml", "dashboard: other\ntiles: [{tile: a, metrics: revenue}]\n");
    assert!(served.send(&owner, "POST", "/v1/project/reload", "{}").await.status.is_success());
    for route in served.server.routes().to_vec() {
        let path = path_of(route.path).replace("/dashboards/not-there", "/dashboards/other");
        let answer = served.send(&guest, route.method, &path, "{}").await;
        let open = route.access == Access::Public;
        assert!(
            open || answer.status == StatusCode::FORBIDDEN,
            "{} {path}: {}",
            route.method,
            answer.status
        );
    }
    assert_eq!(served.get(&viewer, "/v1/tokens").await.json()["items"], json!([]));
    let listed = served.get(&analyst, links).await.json();
    assert_eq!(listed["items"][0]["scopes"], json!(["dashboard:sales"]));
    let path = format!("/v1/tokens/{}", made["id"].as_str().unwrap());
    assert!(served.send(&analyst, "DELETE", &path, Body::empty()).await.status.is_success());
    assert_eq!(served.get(&guest, tile).await.status, StatusCode::UNAUTHORIZED);
    let page = served.get(&As::default(), "/embed/sales").await;
    assert!(!page.headers.contains_key("x-frame-options"), "it may stand in another page");
    assert!(served.get(&As::default(), "/").await.headers.contains_key("x-frame-options"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_and_its_schedule_say_to_whom_it_is_sent() {
    let house = with_dashboard("query");
    house.write("actions/ops.yaml", "action: ops\ntype: file\noptions: {path: out.jsonl}\n");
    house.write(
        "schedules/weekly.yaml",
        "schedule: weekly\nrun: dashboard\nselect: [sales]\nsend: {actions: [ops]}\nwhen: {cron: '0 8 * * mon'}\n",
    );
    house.write(
        "schedules/steps.yaml",
        "schedule: steps\ntasks:\n  - {task: one, run: dashboard, select: [sales], send: {actions: [ops]}}\n  - {task: two, run: dashboard, select: [sales], send: {actions: [ops], language: zh}, after: [one]}\n",
    );
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let opened = served.get(&owner, "/v1/dashboards/sales").await.json();
    let sent = json!([
        {"schedule": "steps", "when": "when asked", "actions": ["ops"]},
        {"schedule": "weekly", "when": "0 8 * * mon UTC", "actions": ["ops"]},
    ]);
    assert_eq!(opened["sent"], sent, "each action once");
    let schedule = served.get(&owner, "/v1/schedules/weekly").await.json();
    let sends =
        json!([{"dashboard": "sales", "actions": ["ops"], "attach": "workbook", "role": null}]);
    assert_eq!(schedule["sends"], sends);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_that_is_open_to_viewers_shows_them_its_figures() {
    let served = Served::new(with_dashboard("view")).await;
    let owner = served.owner().await;
    let viewer = served.user(&owner, Role::Viewer).await;
    let shown = served.get(&viewer, "/v1/dashboards/sales/tiles/revenue?whole=true").await;
    assert_eq!(shown.json()["table"]["rows"][0][0], json!(15.0), "{}", shown.json());
    let asked = json!({"metrics": ["revenue"]});
    assert_eq!(
        served.post(&viewer, "/v1/metrics/query", &asked).await.status,
        StatusCode::FORBIDDEN
    );
}
