//! Tiles of dashboards in pages of others: what a link shows, as whom, where, and how often.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{Answer, As, Served, with_dashboard};

const LINKS: &str = "/v1/dashboards/sales/links";
const REVENUE: &str = "/v1/dashboards/sales/tiles/revenue";
const LANDS: &str = "/v1/dashboards/sales/tiles/lands";

/// Makes a link; its token, its public id and its address.
async fn link(served: &Served, who: &As, asked: &Value) -> (As, String, String) {
    let made = served.post(who, LINKS, asked).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let made = made.json();
    let address = made["link"].as_str().unwrap().to_owned();
    let token = address.split('#').nth(1).unwrap().to_owned();
    let id = made["id"].as_str().unwrap().to_owned();
    (As { token: Some(token), ..As::default() }, id, address)
}

/// Asks as the page behind a link does, which says by which link it was opened.
async fn of_page(served: &Served, who: &As, id: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {}", who.token.as_ref().unwrap());
    let request = Request::builder().uri(path).header("authorization", bearer);
    served.raw(request.header("x-flywheel-link", id).body(Body::empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_tile_shows_that_tile_as_it_is_declared() {
    let served = Served::new(with_dashboard("query")).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let (guest, _, _) = link(&served, &analyst, &json!({"name": "site", "tile": "revenue"})).await;
    let opened = served.get(&guest, "/v1/dashboards/sales").await.json();
    let tiles = opened["dashboard"]["tiles"].as_array().unwrap();
    assert_eq!(
        (tiles.len(), &tiles[0]["tile"], &opened["only"]),
        (1, &json!("revenue"), &json!("revenue"))
    );
    assert_eq!(opened["dashboard"]["filters"]["dimensions"], json!([]));
    assert_eq!(opened["metrics"][0]["dimension_labels"]["country"]["zh"], json!("国家"));
    assert_eq!(opened["metrics"][0]["value_labels"], json!({}), "it has nothing to choose from");
    assert_eq!(served.get(&guest, REVENUE).await.status, StatusCode::OK);
    for path in [
        LANDS,
        "/v1/dashboards/sales/tiles/nothing",
        "/v1/dashboards/sales/tiles/revenue?whole=true",
        "/v1/dashboards/sales/tiles/revenue?only=%7B%22country%22:%5B%22France%22%5D%7D",
        "/v1/dashboards/sales/values/country",
        "/v1/dashboards/sales/workbook",
        "/v1/dashboards",
    ] {
        let refused = served.get(&guest, path).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}: {}", refused.json());
    }
    for (asked, said) in [
        (json!({"name": "x", "tile": "revenu"}), "Did you mean \"revenue\"?"),
        (json!({"name": "x", "role": "agent"}), "readers: view"),
        (json!({"name": "x", "role": "boss"}), "line 1"),
        (json!({"name": "x", "sites": ["shop.example"]}), "https://shop.example"),
        (json!({"name": "x", "sites": ["https://shop.example/path"]}), "https://shop.example"),
        (
            json!({"name": "x", "sites": ["https://a.example; script-src *"]}),
            "https://shop.example",
        ),
        (json!({"name": "x", "sites": ["http://shop.example"]}), "https://shop.example"),
        (json!({"name": "x", "sites": ["https://*"]}), "https://shop.example"),
        (json!({"name": "x", "sites": ["https://a.example:443"]}), "https://shop.example"),
        (json!({"name": "x", "sites": vec!["https://a.example"; 21]}), "at most 20"),
    ] {
        let refused = served.post(&analyst, LINKS, &asked).await;
        let status = refused.status.as_u16();
        assert!(status == 400 || status == 404, "{asked}: {}", refused.json());
        let hint = refused.json()["hint"].as_str().unwrap().to_owned();
        assert!(hint.to_lowercase().contains(&said.to_lowercase()), "{asked}: {hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_for_some_sites_works_in_their_pages_only() {
    let served = Served::new(with_dashboard("query")).await;
    let owner = served.owner().await;
    let sites = ["https://intranet.example", "https://shop.example:8443", "http://localhost:3000"];
    let asked = json!({"name": "site", "tile": "revenue", "sites": sites});
    let (guest, id, address) = link(&served, &owner, &asked).await;
    assert!(address.starts_with(&format!("/embed/sales?link={id}#fwt_")), "{address}");
    let nobody = As::default();
    let policy = async |path: &str| {
        let page = served.get(&nobody, path).await;
        assert!(!page.headers.contains_key("x-frame-options"));
        let policy = page.headers["content-security-policy"].to_str().unwrap().to_owned();
        let ancestors = policy.split("; ").find(|one| one.starts_with("frame-ancestors"));
        ancestors.unwrap().to_owned()
    };
    let all = sites.join(" ");
    assert_eq!(policy(&format!("/embed/sales?link={id}")).await, format!("frame-ancestors {all}"));
    assert_eq!(
        policy(&format!("/embed/sales?from=x&link={id}")).await,
        format!("frame-ancestors {all}")
    );
    // The address of no link may stand anywhere, and shows nothing of one that is for some sites.
    assert_eq!(policy("/embed/sales").await, "frame-ancestors *");
    assert_eq!(policy("/embed/sales?link=t-unknown").await, "frame-ancestors 'none'");
    assert_eq!(served.get(&guest, REVENUE).await.status, StatusCode::FORBIDDEN);
    assert_eq!(of_page(&served, &guest, "t-other", REVENUE).await.status, StatusCode::FORBIDDEN);
    let shown = of_page(&served, &guest, &id, REVENUE).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.json());
    let (_, open, _) = link(&served, &owner, &json!({"name": "open", "tile": "revenue"})).await;
    assert_eq!(policy(&format!("/embed/sales?link={open}")).await, "frame-ancestors *");

    let gone = served.send(&owner, "DELETE", &format!("/v1/tokens/{id}"), "").await;
    assert!(gone.status.is_success());
    assert_eq!(policy(&format!("/embed/sales?link={id}")).await, "frame-ancestors 'none'");
    let refused = of_page(&served, &guest, &id, REVENUE).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    // Who made it, for what, who took it back and that it was used is in the log.
    let audit = served.get(&owner, "/v1/audit").await.json();
    let rows = audit["items"].as_array().unwrap();
    let of = |what: &str| rows.iter().filter(|row| row["what"] == what).collect::<Vec<_>>();
    let made = of("POST /v1/dashboards/{dashboard}/links");
    assert_eq!(made[1]["detail"]["more"]["scopes"][0], "dashboard:sales");
    assert_eq!(made[1]["detail"]["more"]["scopes"][2], "site:https://intranet.example");
    assert_eq!(of("DELETE /v1/tokens/{token}").len(), 1);
    let opened = of("link opened");
    assert_eq!((opened.len(), &opened[0]["who"]), (1, &json!("ada/site")));
    assert_eq!(opened[0]["detail"]["link"], json!(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_reads_as_its_role_and_never_more_than_its_maker() {
    let house = with_dashboard("query");
    house.write(
        "access/orders.yaml",
        "rule: orders\ntables: [mart.orders]\nask: ada\nreaders:\n  - roles: [owner, admin]\n  - {roles: [analyst], rows: \"country = 'France'\"}\n  - {roles: [engineer], rows: \"amount < 7\"}\n  - {everybody: true, nothing: true}\n",
    );
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let whole = format!("{REVENUE}?whole=true");
    let sum = async |who: &As| {
        let answer = served.get(who, &whole).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        answer.json()["table"]["rows"][0][0].clone()
    };
    let (as_owner, _, _) = link(&served, &owner, &json!({"name": "all"})).await;
    assert_eq!(sum(&as_owner).await, json!(15.0));
    let (as_analyst, _, _) =
        link(&served, &owner, &json!({"name": "less", "role": "analyst"})).await;
    assert_eq!(sum(&as_analyst).await, json!(10.0));
    // What the analyst sees the engineer does not, and the other way round: nothing is left.
    let (both, _, _) = link(&served, &engineer, &json!({"name": "both", "role": "analyst"})).await;
    assert_eq!(sum(&both).await, json!(null));
    // When its maker may no longer query, it shows nothing.
    let change = json!({"role": "viewer"}).to_string();
    assert!(
        served.send(&owner, "PATCH", "/v1/users/engineer-user", change).await.status.is_success()
    );
    assert_eq!(served.get(&both, &whole).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_asks_without_end_is_told_to_wait_and_others_go_on() {
    let served = Served::new(with_dashboard("query")).await;
    let owner = served.owner().await;
    let (guest, _, _) = link(&served, &owner, &json!({"name": "busy"})).await;
    let (other, _, _) = link(&served, &owner, &json!({"name": "calm"})).await;
    let mut answered = 0;
    let braked = loop {
        let answer = served.get(&guest, "/v1/dashboards/sales").await;
        if answer.status != StatusCode::OK || answered > 1_300 {
            break answer;
        }
        answered += 1;
    };
    // A minute may begin anew while they are asked.
    assert!((600..=1_200).contains(&answered), "{answered}");
    assert_eq!(braked.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(braked.json()["code"], "rate-limited");
    let wait: u64 = braked.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    assert_eq!(served.get(&other, "/v1/dashboards/sales").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_end_with_their_dashboard_and_show_no_later_one_of_its_name() {
    let served = Served::new(with_dashboard("query")).await;
    let owner = served.owner().await;
    let file = served.house.read("dashboards/sales.yaml");
    let board = "/v1/dashboards/sales";
    let mut guests = Vec::new();
    for door in [board, "/v1/files/dashboard/sales"] {
        let (guest, id, _) = link(&served, &owner, &json!({"name": "site"})).await;
        assert_eq!(served.get(&guest, board).await.status, StatusCode::OK);
        let version = served.get(&owner, door).await.json()["version"].clone();
        let path = format!("{door}?version={}", version.as_str().unwrap());
        let gone = served.send(&owner, "DELETE", &path, Body::empty()).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{door}");
        served.house.write("dashboards/sales.yaml", &file);
        let again = served.post(&owner, "/v1/project/reload", &json!({})).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.json());
        assert_eq!(served.get(&guest, board).await.status, StatusCode::UNAUTHORIZED, "{door}");
        guests.push(json!([id]));
    }
    let audit = served.get(&owner, "/v1/audit").await.json();
    let of = |what: &str| {
        let rows = audit["items"].as_array().unwrap();
        rows.iter().find(|row| row["what"] == what).unwrap()["detail"]["more"]["revoked"].clone()
    };
    let noted = ["DELETE /v1/dashboards/{dashboard}", "DELETE /v1/files/{kind}/{name}"].map(of);
    assert_eq!(noted.as_slice(), guests, "the log says which links were taken back");
}
