//! Signing in with an identity provider, from the button to the session, and who is not let in.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use flywheel_testkit::{Bend, CLIENT_SECRET, IdentityProvider};
use serde_json::{Value, json};

use super::{Answer, As, PASSWORD, Served};
use crate::house::House;

const ADDRESS: &str = "http://127.0.0.1:8700";
const CALLBACK: &str = "/v1/sign-in/callback";

/// A project whose people sign in with `provider`, and more of its `sign_in`.
fn house(provider: &IdentityProvider, more: &str) -> House {
    let house = House::new();
    house.write("client.secret", CLIENT_SECRET);
    declare(&house, &provider.url, more);
    house
}

fn declare(house: &House, issuer: &str, more: &str) {
    let file = format!(
        "name: shop\ngroups:\n  north: {{provider_groups: [sales-north], attributes: {{region: north}}}}\n\
         sign_in:\n  name: Acme\n  issuer: {issuer}\n  client_id: flywheel\n  \
         client_secret: ${{file:client.secret}}\n  address: {ADDRESS}\n  \
         roles: {{from: groups, map: {{data-team: engineer, it: owner}}}}\n{more}"
    );
    house.write("flywheel.yaml", file);
}

/// A browser on its way: the address it was sent to, and its cookie.
struct Way {
    address: String,
    cookie: String,
}

impl Served {
    async fn begin(&self, path: &str) -> Result<Way, Box<Answer>> {
        let answer = self.get(&As::default(), path).await;
        match answer.cookie.clone() {
            Some(cookie) if location(&answer).starts_with("http") => {
                Ok(Way { address: location(&answer), cookie })
            }
            _ => Err(Box::new(answer)),
        }
    }

    /// Comes back to `path` with `cookie`.
    async fn back(&self, path: &str, cookie: &str) -> Answer {
        let request = Request::builder().uri(path).header(header::COOKIE, cookie);
        self.raw(request.body(Body::empty()).unwrap()).await
    }

    /// The whole way; what the server says in the end.
    async fn sign_in(&self, provider: &IdentityProvider) -> Answer {
        let way = match self.begin("/v1/sign-in").await {
            Ok(way) => way,
            Err(answer) => return *answer,
        };
        let back = provider.visit(&way.address).unwrap();
        self.back(back.strip_prefix(ADDRESS).unwrap(), &way.cookie).await
    }

    /// Signs in and gets a session.
    async fn signed_in(&self, provider: &IdentityProvider) -> As {
        let answer = self.sign_in(provider).await;
        assert_eq!((answer.status, location(&answer).as_str()), (StatusCode::SEE_OTHER, "/"));
        let cookie = answer.cookie.clone();
        assert!(cookie.as_deref().is_some_and(|cookie| cookie.starts_with("flywheel_session=")));
        let begun = As { cookie, ..As::default() };
        let csrf = self.get(&begun, "/v1/session").await.json()["csrf"].clone();
        As { csrf: csrf.as_str().map(str::to_owned), ..begun }
    }

    /// The newest entries of the audit log about signing in.
    async fn noted(&self, owner: &As) -> Vec<Value> {
        let items = self.get(owner, "/v1/audit").await.json()["items"].clone();
        let items = items.as_array().cloned().unwrap_or_default();
        items.into_iter().filter(|one| one["what"].as_str().unwrap().starts_with("login")).collect()
    }
}

fn location(answer: &Answer) -> String {
    let location = answer.headers.get(header::LOCATION);
    location.map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// Why the page says that somebody is not let in.
fn reason(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.json());
    let session = answer.cookie.as_deref().is_some_and(|one| one.starts_with("flywheel_session"));
    assert!(!session, "a session is begun");
    let to = location(answer);
    assert!(to.starts_with("/?sign_in="), "sent to {to}");
    to.replace("/?sign_in=", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_with_the_provider_and_has_the_role_of_their_group() {
    let provider = IdentityProvider::start("RS256");
    let served = Served::new(house(&provider, "")).await;
    let owner = served.owner().await;
    let offered = served.get(&As::default(), "/v1/session").await.json()["sign_in"].clone();
    let expected =
        json!({"name": "Acme", "address": format!("{ADDRESS}/v1/sign-in"), "local": "yes"});
    assert_eq!(offered, expected);

    let lin = served.signed_in(&provider).await;
    let me = served.get(&lin, "/v1/me").await.json();
    assert_eq!((&me["name"], &me["role"]), (&json!("lin"), &json!("engineer")));
    // The session is one like others: changes need the proof of our own page, and it ends.
    let foreign = As { csrf: None, ..lin.clone() };
    assert_eq!(served.post(&foreign, "/v1/logout", &json!({})).await.status, StatusCode::FORBIDDEN);
    assert_eq!(served.post(&lin, "/v1/logout", &json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(served.get(&lin, "/v1/me").await.status, StatusCode::UNAUTHORIZED);

    // The role is decided anew each time, by keys that the provider has changed meanwhile.
    provider.rotate();
    provider.says(&json!({"groups": ["it", "sales-north"], "preferred_username": "renamed"}));
    let lin = served.signed_in(&provider).await;
    let me = served.get(&lin, "/v1/me").await.json();
    assert_eq!((&me["name"], &me["role"]), (&json!("lin"), &json!("owner")));
    let users = served.get(&owner, "/v1/users").await.json();
    let shown = users["items"].as_array().unwrap().iter().find(|one| one["name"] == "lin").unwrap();
    assert_eq!(shown["identities"], json!([{"issuer": provider.url, "subject": "u-1"}]));
    assert_eq!(shown["has_password"], json!(false));

    let noted = served.noted(&owner).await;
    let last = &noted[0];
    assert_eq!((&last["who"], &last["what"]), (&json!("lin"), &json!("login")));
    assert_eq!(last["detail"]["subject"], "u-1");
    let all = json!(noted).to_string();
    assert!(!all.contains("canary") && !all.contains("code-"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_come_back_to_and_never_another_server() {
    let provider = IdentityProvider::start("ES256");
    let served = Served::new(house(&provider, "")).await;
    served.owner().await;
    let way = served.begin("/v1/sign-in?return_to=%2Fruns%3Fa%3Db").await.ok().unwrap();
    let back = provider.visit(&way.address).unwrap();
    let answer = served.back(back.strip_prefix(ADDRESS).unwrap(), &way.cookie).await;
    assert_eq!(location(&answer), "/runs?a=b");
    for evil in [
        "https://evil.example",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "%5C%5Cevil.example",
        "%2F%09%2Fevil.example",
        "%2F%0A%2Fevil.example",
        "javascript:alert(1)",
        "evil.example",
        "%2Fx%0D%0Aset-cookie:a=b",
        "",
    ] {
        let answer = served.begin(&format!("/v1/sign-in?return_to={evil}")).await.err().unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{evil}");
        assert!(answer.cookie.is_none(), "{evil}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_is_gone_once_by_the_browser_that_began_it() {
    let provider = IdentityProvider::start("ES256");
    let served = Served::new(house(&provider, "")).await;
    served.owner().await;
    let way = served.begin("/v1/sign-in").await.ok().unwrap();
    let back = provider.visit(&way.address).unwrap();
    let back = back.strip_prefix(ADDRESS).unwrap();
    let other = served.begin("/v1/sign-in").await.ok().unwrap();
    let state = back.split("state=").nth(1).unwrap();
    // Another browser, one with no cookie, and a made-up state end nothing.
    for (path, cookie) in [
        (back.to_owned(), other.cookie.as_str()),
        (back.to_owned(), ""),
        (back.replace(state, &"0".repeat(64)), way.cookie.as_str()),
        (back.split("&state").next().unwrap().to_owned(), way.cookie.as_str()),
        (CALLBACK.to_owned(), way.cookie.as_str()),
    ] {
        assert_eq!(reason(&served.back(&path, cookie).await), "expired", "{path}");
    }
    assert_eq!(provider.asked("/token"), 0);
    let answer = served.back(back, &way.cookie).await;
    assert_eq!(location(&answer), "/");
    // The same again, and the old code with a new state.
    assert_eq!(reason(&served.back(back, &way.cookie).await), "expired");
    assert_eq!(provider.asked("/token"), 1);
    let address = provider.visit(&other.address).unwrap();
    let fresh = address.split("state=").nth(1).unwrap();
    let replayed = back.replace(state, fresh);
    assert_eq!(reason(&served.back(&replayed, &other.cookie).await), "failed");
    // Who changes their mind at the provider is told so.
    let way = served.begin("/v1/sign-in").await.ok().unwrap();
    let state = way.address.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let refused = format!("{CALLBACK}?error=access_denied&state={state}");
    assert_eq!(reason(&served.back(&refused, &way.cookie).await), "provider");
    // A provider that is another than the browser was sent to.
    let way = served.begin("/v1/sign-in").await.ok().unwrap();
    let back = provider.visit(&way.address).unwrap();
    let mixed = format!("{}&iss=https%3A%2F%2Fevil.example", back.strip_prefix(ADDRESS).unwrap());
    assert_eq!(reason(&served.back(&mixed, &way.cookie).await), "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_believed_or_has_no_role_is_not_let_in_and_is_noted() {
    let provider = IdentityProvider::start("RS256");
    let served = Served::new(house(&provider, "")).await;
    let owner = served.owner().await;
    let none = json!({});
    let cases = [
        (Bend::Nothing, json!({"iss": "https://evil.example"}), "failed", "(iss)"),
        (Bend::Nothing, json!({"aud": "another"}), "failed", "(aud)"),
        (Bend::Nothing, json!({"nonce": "of another"}), "failed", "(nonce)"),
        (Bend::Nothing, json!({"exp": 1_000_000_000}), "failed", "(exp)"),
        (Bend::Unsigned, none.clone(), "failed", "proves nothing"),
        (Bend::PublicKeyAsSecret, none.clone(), "failed", "proves nothing"),
        (Bend::Forged, none.clone(), "failed", "not the provider's"),
        (Bend::Changed, none.clone(), "failed", "not the provider's"),
        (Bend::UnknownKey, none.clone(), "failed", "does not have"),
        (Bend::Nothing, json!({"groups": ["sales"]}), "no-role", ""),
        (Bend::Nothing, json!({"groups": null}), "no-role", ""),
        (Bend::Nothing, json!({"groups": {"a": 1}}), "failed", "neither a text"),
        (Bend::Nothing, json!({"preferred_username": "ada"}), "name-taken", ""),
        (Bend::Nothing, json!({"preferred_username": "Ada"}), "name-taken", ""),
        (Bend::Nothing, json!({"preferred_username": "schedule"}), "bad-name", ""),
        (Bend::Nothing, json!({"preferred_username": "a b"}), "bad-name", ""),
        (Bend::Nothing, json!({"preferred_username": null}), "bad-name", ""),
    ];
    for (bend, claims, expected, said) in cases {
        provider.bends(bend.clone());
        provider.says(&claims);
        assert_eq!(reason(&served.sign_in(&provider).await), expected, "{bend:?} {claims}");
        let noted = served.noted(&owner).await[0].clone();
        assert_eq!(noted["what"], "login refused", "{bend:?} {claims}");
        assert_eq!(noted["detail"]["reason"], expected, "{noted}");
        assert!(noted["detail"].to_string().contains(said), "{noted}");
    }
    let users = served.get(&owner, "/v1/users").await.json();
    assert_eq!(users["items"].as_array().unwrap().len(), 1, "nobody was made: {users}");

    // An admin says that they are the same: the provider's role holds from then on.
    provider.bends(Bend::Nothing);
    provider.says(&json!({"preferred_username": "wang"}));
    served.post(&owner, "/v1/users", &json!({"name": "wang", "role": "viewer"})).await;
    assert_eq!(reason(&served.sign_in(&provider).await), "name-taken");
    let linked = served.post(&owner, "/v1/users/wang/identity", &json!({"subject": "u-1"})).await;
    assert_eq!(linked.status, StatusCode::NO_CONTENT);
    let again = served.post(&owner, "/v1/users/ada/identity", &json!({"subject": "u-1"})).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let wang = served.signed_in(&provider).await;
    assert_eq!(served.get(&wang, "/v1/me").await.json()["role"], "engineer");

    // Who loses all groups loses the session, too.
    provider.says(&json!({"preferred_username": "wang", "groups": []}));
    assert_eq!(reason(&served.sign_in(&provider).await), "no-role");
    assert_eq!(served.get(&wang, "/v1/me").await.status, StatusCode::UNAUTHORIZED);

    // Who is disabled stays so.
    provider.says(&json!({"groups": ["it"]}));
    served.send(&owner, "PATCH", "/v1/users/wang", r#"{"disabled": true}"#).await;
    assert_eq!(reason(&served.sign_in(&provider).await), "disabled");
    assert!(served.house.ok(&["audit", "verify"]).contains("as they were written"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_stops_neither_the_server_nor_passwords() {
    let provider = IdentityProvider::start("ES256");
    provider.is_down(true);
    let served = Served::new(house(&provider, "")).await;
    served.owner().await;
    let answer = served.begin("/v1/sign-in").await.err().unwrap();
    assert_eq!(reason(&answer), "unavailable");
    let login = json!({"name": "ada", "password": PASSWORD});
    assert_eq!(served.post(&As::default(), "/v1/login", &login).await.status, StatusCode::OK);
    provider.is_down(false);
    served.signed_in(&provider).await;
    // A secret that is not there is a fault of the server, told to whoever runs it and to nobody else.
    std::fs::remove_file(served.house.path("client.secret")).unwrap();
    assert_eq!(reason(&served.sign_in(&provider).await), "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_owner_only_passwords_are_for_owners() {
    let provider = IdentityProvider::start("EdDSA");
    let served = Served::new(house(&provider, "  local: owner-only\n")).await;
    let owner = served.owner().await;
    let made = served.post(&owner, "/v1/users", &json!({"name": "eve", "role": "admin"})).await;
    let link = made.json()["setup_link"].as_str().unwrap().to_owned();
    let token = link.split("token=").nth(1).unwrap();
    let body = json!({"token": token, "name": "eve", "password": PASSWORD});
    let refused = served.post(&As::default(), "/v1/setup", &body).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.json()["hint"].as_str().unwrap().contains("Acme"), "{}", refused.json());
    let login = json!({"name": "ada", "password": PASSWORD});
    assert_eq!(served.post(&As::default(), "/v1/login", &login).await.status, StatusCode::OK);
    served.signed_in(&provider).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider_nothing_of_it_is_there() {
    let served = Served::new(House::new()).await;
    for path in ["/v1/sign-in", CALLBACK] {
        let answer = served.get(&As::default(), path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(served.get(&As::default(), "/v1/session").await.json()["sign_in"], Value::Null);
}
