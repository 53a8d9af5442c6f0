//! Extensions: who has which pages, what their tokens may, and what of their folder is given to whom.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{As, Served};
use crate::house::House;

const STOCK: &str = "extension: stock\ntitle: {en: Stock, zh: 库存}\nscopes: [view, query, operate]\n\
    pages:\n  - page: map\n    roles: [owner, analyst]\n  - {page: list, file: pages/list.html}\n\
    panels:\n  - {panel: note, on: asset, file: pages/list.html, height: 120}\n";

fn with_extension() -> House {
    let house = House::from_template("crm");
    house.write("extensions/stock/extension.yaml", STOCK);
    house.write("extensions/stock/index.html", "<!doctype html><script src=app.js></script>");
    house.write("extensions/stock/app.js", "1");
    house.write("extensions/stock/pages/list.html", "<!doctype html>");
    house
}

/// A token for the extension, and where its files are.
async fn open(served: &Served, who: &As) -> (As, String, Value) {
    let made = served.post(who, "/v1/extensions/stock/token", &json!({})).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.json());
    let made = made.json();
    let token = Some(made["token"].as_str().unwrap().to_owned());
    (As { token, ..As::default() }, made["files"].as_str().unwrap().to_owned(), made)
}

/// Asks as the frame of an extension does: from an origin that is none.
async fn framed(served: &Served, who: &As, method: &str, path: &str, body: &str) -> super::Answer {
    let mut request = Request::builder().method(method).uri(path).header("origin", "null");
    request = request.header("sec-fetch-site", "cross-site").header("host", "fw.example");
    if let Some(token) = &who.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if let Some(cookie) = &who.cookie {
        request = request.header("cookie", cookie);
    }
    served.raw(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_for_their_roles_and_for_who_has_all_scopes() {
    let served = Served::new(with_extension()).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let viewer = served.user(&owner, Role::Viewer).await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let shown = async |who: &As| {
        let all = served.get(who, "/v1/extensions").await.json();
        let names = |list: &str, key: &str| -> Vec<String> {
            let items = all["items"][0][list].as_array().cloned().unwrap_or_default();
            items.iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
        };
        (names("pages", "page"), names("panels", "panel"), all["items"][0]["granted"].clone())
    };
    assert_eq!(
        shown(&owner).await,
        (
            vec!["map".into(), "list".into()],
            vec!["note".into()],
            json!(["view", "query", "operate"])
        )
    );
    // An analyst may not operate: what is for those who may is not for them, and neither is that scope.
    assert_eq!(shown(&analyst).await, (vec!["map".into()], vec![], json!(["view", "query"])));
    assert_eq!(shown(&engineer).await.0, ["list"]);
    assert_eq!(served.get(&viewer, "/v1/extensions").await.json()["items"], json!([]));
    let refused = served.post(&viewer, "/v1/extensions/stock/token", &json!({})).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let hint = refused.json()["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("extensions/stock/extension.yaml"), "{hint}");
    let unknown = served.post(&owner, "/v1/extensions/stok/token", &json!({})).await.json();
    assert!(unknown["hint"].as_str().unwrap().contains("stock"), "{unknown}");
    // A token of a program opens none, and neither does that of an extension.
    let program = served.token(&owner, &["view"]).await;
    let refused = served.post(&program, "/v1/extensions/stock/token", &json!({})).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_may_what_its_file_says_and_its_reader_may_and_the_log_names_it() {
    let served = Served::new(with_extension()).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let (of_owner, _, _) = open(&served, &owner).await;
    let (of_analyst, _, made) = open(&served, &analyst).await;
    assert_eq!(made["scopes"], json!(["view", "query"]));

    let status = framed(&served, &of_analyst, "GET", "/v1/status", "").await;
    assert_eq!(status.status, StatusCode::OK);
    assert_eq!(status.headers["access-control-allow-origin"], "null");
    assert!(!status.headers.contains_key("access-control-allow-credentials"));
    let asked = json!({"sql": "select 1 as one"}).to_string();
    let rows = framed(&served, &of_analyst, "POST", "/v1/sql", &asked).await;
    assert_eq!(rows.json()["rows"], json!([[1]]), "{}", rows.json());
    let pause = "/v1/policies/stale_deals/pause";
    let refused = framed(&served, &of_analyst, "POST", pause, "{}").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("analyst-user/extension:stock"), "{detail}");
    let done = framed(&served, &of_owner, "POST", pause, r#"{"reason": "stock"}"#).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT, "{}", done.json());
    // An owner may do more than the extension asks for.
    for (method, path) in [("GET", "/v1/users"), ("GET", "/v1/audit"), ("POST", "/v1/events")] {
        let refused = framed(&served, &of_owner, method, path, "{}").await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
    // It is nobody's token: it makes, sees and takes back none, and changes no password.
    let program = served.token(&owner, &["view"]).await;
    let listed = framed(&served, &of_analyst, "GET", "/v1/tokens", "").await.json();
    assert_eq!(listed["items"], json!([]));
    let token = json!({"name": "t", "scopes": ["view"]}).to_string();
    for (path, body) in [
        ("/v1/tokens", token.as_str()),
        ("/v1/me/password", r#"{"old": "correct horse battery", "new": "another horse"}"#),
        ("/v1/extensions/stock/token", "{}"),
    ] {
        let refused = framed(&served, &of_owner, "POST", path, body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}: {}", refused.json());
    }
    assert_eq!(served.get(&program, "/v1/status").await.status, StatusCode::OK);

    let audit = served.get(&owner, "/v1/audit").await.json();
    let who: Vec<&str> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["what"] == "POST /v1/policies/{policy}/pause")
        .map(|row| row["who"].as_str().unwrap())
        .collect();
    assert_eq!(who, ["ada/extension:stock"]);
    let opened = audit["items"].as_array().unwrap().iter().filter(|row| {
        row["what"] == "POST /v1/extensions/{extension}/token" && row["who"] == "analyst-user"
    });
    assert_eq!(opened.count(), 1);

    // What its file no longer asks for is over at once, and so is all of it with the session.
    served
        .house
        .write("extensions/stock/extension.yaml", STOCK.replace("view, query, operate", "view"));
    let reloaded = served.send(&owner, "POST", "/v1/project/reload", "{}").await;
    assert!(reloaded.status.is_success());
    let refused = framed(&served, &of_analyst, "POST", "/v1/sql", &asked).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(framed(&served, &of_analyst, "GET", "/v1/status", "").await.status, StatusCode::OK);
    served.send(&analyst, "POST", "/v1/logout", "").await;
    let refused = framed(&served, &of_analyst, "GET", "/v1/status", "").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    // It reads the problem too, so that it can say what is wrong.
    assert_eq!(refused.headers["access-control-allow-origin"], "null");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_were_changed_open_nothing_and_no_other_page_reads_answers() {
    let served = Served::new(with_extension()).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let (of_analyst, files, _) = open(&served, &analyst).await;
    let token = of_analyst.token.clone().unwrap();
    let mut forged = vec![
        token.replace("view+query", "view+query+administer"),
        token.replace("~stock~", "~other~"),
        token.replacen("fwx_1", "fwx_9", 1),
        format!("{token}0"),
        token[..token.len() - 1].to_owned(),
        "fwx_".to_owned(),
        "fwx_~~~~".to_owned(),
        format!("fwx_{}", "9".repeat(4_000)),
        // A ticket to files is none to the API.
        format!("fwx_{}", files.split('/').nth(5).unwrap()),
    ];
    forged.retain(|one| *one != token);
    assert_eq!(forged.len(), 9);
    for one in &forged {
        let who = As { token: Some(one.clone()), ..As::default() };
        let refused = framed(&served, &who, "GET", "/v1/status", "").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{one}");
    }
    // Neither is a token a ticket, and neither opens what is not its own.
    let file =
        format!("/v1/extensions/stock/files/{}/index.html", token.trim_start_matches("fwx_"));
    assert_eq!(served.get(&As::default(), &file).await.status, StatusCode::FORBIDDEN);

    // A page without origin that has the session's cookie alone is refused, and learns nothing.
    let refused = framed(&served, &owner, "POST", "/v1/policies/stale_deals/pause", "{}").await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::FORBIDDEN, &json!("csrf")));
    let read = framed(&served, &owner, "GET", "/v1/status", "").await;
    assert!(!read.headers.contains_key("access-control-allow-origin"));
    // A token in front does not open what is public to a page of another site.
    let login = json!({"name": "ada", "password": super::PASSWORD}).to_string();
    let refused = framed(&served, &of_analyst, "POST", "/v1/login", &login).await;
    assert_eq!(refused.json()["code"], "csrf");

    let before = async |origin: &str, path: &str| {
        let request = Request::builder()
            .method("OPTIONS")
            .uri(path)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        served.raw(request.body(Body::empty()).unwrap()).await
    };
    let allowed = before("null", "/v1/sql").await;
    assert_eq!(allowed.status, StatusCode::NO_CONTENT);
    assert_eq!(allowed.headers["access-control-allow-origin"], "null");
    for (origin, path) in [("https://evil.example", "/v1/sql"), ("null", "/index.html")] {
        let refused = before(origin, path).await;
        assert!(!refused.headers.contains_key("access-control-allow-origin"), "{origin} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_given_for_a_ticket_and_nothing_outside_their_folder() {
    let house = with_extension();
    house.write("secret.txt", "canary-4711");
    house.write("extensions/other/extension.yaml", "extension: other\npages: [{page: a}]\n");
    house.write("extensions/other/index.html", "other");
    house.write("extensions/stock/large.json", vec![b'1'; (4 << 20) + 1]);
    house.write("extensions/stock/program.exe", "MZ");
    house.write("extensions/stock/.env.txt", "canary-4712");
    // A file that is too large is a mistake that is told, and a project with mistakes is not served; it may grow later.
    let complaint = house.fails(2, &["check"]);
    assert!(
        complaint.contains("extensions/stock/large.json")
            && complaint.contains("larger than 4 MiB"),
        "{complaint}"
    );
    std::fs::remove_file(house.dir().join("extensions/stock/large.json")).unwrap();
    let told = house.run(&["check"]);
    assert!(told.status.success());
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let (_, files, _) = open(&served, &owner).await;
    served.house.write("extensions/stock/large.json", vec![b'1'; (4 << 20) + 1]);
    #[cfg(unix)]
    {
        let dir = served.house.dir();
        let link = |to: &std::path::Path, from: &str| {
            std::os::unix::fs::symlink(to, dir.join("extensions/stock").join(from)).unwrap();
        };
        link(&dir.join("secret.txt"), "link.txt");
        link(&dir, "up");
    }
    let nobody = As::default();
    let page = served.get(&nobody, &format!("{files}index.html")).await;
    assert_eq!(page.status, StatusCode::OK);
    let header = |name: &str| page.headers[name].to_str().unwrap().to_owned();
    let policy = header("content-security-policy");
    assert!(policy.starts_with("sandbox allow-scripts;") && !policy.contains("allow-same-origin"));
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'self'"));
    assert!(!policy.contains("script-src 'self' 'unsafe"), "{policy}");
    assert!(!page.headers.contains_key("x-frame-options"));
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cross-origin-resource-policy"), "cross-origin");
    let script = served.get(&nobody, &format!("{files}app.js")).await;
    assert_eq!(script.headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(
        served.get(&nobody, &format!("{files}pages/list.html")).await.status,
        StatusCode::OK
    );
    for (path, status) in [
        ("gone.html", 404),
        ("pages", 415),
        ("pages/list.html/x.html", 404),
        ("program.exe", 415),
        ("extension.yaml", 415),
        ("large.json", 413),
        (".env.txt", 400),
        ("..%2f..%2fsecret.txt", 400),
        ("../../secret.txt", 400),
        ("pages/..%2f..%2f..%2fsecret.txt", 400),
        ("%2fetc%2fpasswd", 400),
        ("..%5c..%5csecret.txt", 400),
        ("x%00.html", 400),
        #[cfg(unix)]
        ("link.txt", 403),
        #[cfg(unix)]
        ("up/secret.txt", 403),
    ] {
        let answer = served.get(&nobody, &format!("{files}{path}")).await;
        let said = String::from_utf8_lossy(&answer.bytes);
        assert_eq!(answer.status.as_u16(), status, "{path}: {said}");
        assert!(!said.contains("canary-"), "{path}");
        assert!(answer.json()["detail"].is_string() && answer.json()["hint"].is_string(), "{said}");
    }
    // Not for another extension, not changed, and not after the session.
    for path in [
        files.replace("/stock/", "/other/"),
        files.replacen("files/1", "files/9", 1),
        "/v1/extensions/stock/files/x/".to_owned(),
    ] {
        let refused = served.get(&nobody, &format!("{path}index.html")).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
    }
    served.send(&owner, "POST", "/v1/logout", "").await;
    let refused = served.get(&nobody, &format!("{files}index.html")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let helper = served.get(&nobody, "/v1/extension.js").await;
    assert!(String::from_utf8_lossy(&helper.bytes).contains("window.flywheel"));
    assert_eq!(helper.headers["cross-origin-resource-policy"], "cross-origin");
}

#[test]
fn mistakes_of_an_extension_are_told_with_their_place() {
    let house = House::new();
    house.write(
        "extensions/stock/extension.yaml",
        "extension: stocks\nscopes: [view, administer]\npages:\n  - {page: a, file: ../x.html}\n",
    );
    house.write("extensions/bare/index.html", "x");
    house.write("extensions/loose.yaml", "extension: loose\n");
    house.write(
        "extensions/fine/extension.yaml",
        "extension: wrong\npages:\n  - {page: a, file: indx.html}\n  - {page: a, file: app.js}\n  - {page: b, file: ../x.html}\n",
    );
    house.write("extensions/fine/index.html", "x");
    house.write("extensions/fine/app.js", "x");
    house.write("extensions/fine/run.sh", "x");
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc/passwd", house.dir().join("extensions/fine/etc.txt")).unwrap();
    let complaint = house.fails(2, &["check"]);
    for said in [
        "extensions/stock/extension.yaml:2:",
        "administer",
        "the folder has no extension.yaml",
        "extensions/loose.yaml",
        "extension \"wrong\" lies in the folder \"fine\"",
        "page \"a\" begins with \"indx.html\", which is not there",
        "Did you mean \"index.html\"?",
        "page \"a\" is declared twice",
        "the file \"app.js\" of page \"a\" is no HTML",
        "the file \"../x.html\" of page \"b\" has a part that starts with a dot",
        "extensions/fine/run.sh",
        #[cfg(unix)]
        "an extension has no links",
    ] {
        assert!(complaint.contains(said), "{said}\n---\n{complaint}");
    }
}
