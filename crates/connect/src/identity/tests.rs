//! Whom a provider can vouch for, and what of it is not believed.

use flywheel_base::{Clock, SystemClock};
use flywheel_testkit::{Bend, CLIENT_ID, CLIENT_SECRET, IdentityProvider};
use serde_json::json;

use super::*;

fn now() -> Timestamp {
    SystemClock.now()
}

fn provider(fake: &IdentityProvider) -> Provider {
    Provider::new(ProviderSettings {
        issuer: fake.url.clone(),
        client_id: CLIENT_ID.to_owned(),
        scopes: vec!["profile".to_owned(), "openid".to_owned()],
    })
    .unwrap()
}

fn request() -> SignInRequest {
    SignInRequest {
        redirect: "https://fw.example/v1/sign-in/callback".to_owned(),
        state: "s".repeat(64),
        nonce: "n".repeat(64),
        verifier: "v".repeat(64),
    }
}

/// Goes to the provider and comes back with a code.
async fn code(provider: &Provider, fake: &IdentityProvider, request: &SignInRequest) -> String {
    code_at(provider, fake, request, now()).await
}

async fn code_at(
    provider: &Provider,
    fake: &IdentityProvider,
    request: &SignInRequest,
    at: Timestamp,
) -> String {
    let address = provider.address(request, at).await.unwrap();
    let back = fake.visit(&address).unwrap();
    assert!(back.starts_with(&request.redirect) && back.contains(&request.state), "{back}");
    back.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned()
}

async fn signed_in(provider: &Provider, fake: &IdentityProvider, at: Timestamp) -> Result<Person> {
    let (request, secret) = (request(), Secret::new(CLIENT_SECRET));
    let code = code_at(provider, fake, &request, at).await;
    provider.person((&code, None), &request, Some(&secret), at).await
}

#[tokio::test]
async fn somebody_signs_in_whatever_the_provider_signs_by() {
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let fake = IdentityProvider::start(algorithm);
        let provider = provider(&fake);
        for bend in [Bend::Nothing, Bend::NoKey] {
            fake.bends(bend);
            let person = signed_in(&provider, &fake, now()).await.unwrap();
            assert_eq!(
                (person.issuer.as_str(), person.subject.as_str()),
                (fake.url.as_str(), "u-1")
            );
            assert_eq!(person.text("preferred_username").unwrap().as_deref(), Some("lin"));
        }
        // What a provider says about itself and its keys is asked for once.
        let asked = ["/.well-known/openid-configuration", "/keys"].map(|path| fake.asked(path));
        assert_eq!(asked, [1, 1], "{algorithm}");
    }
}

/// What is wrong with a token, by the claims that are otherwise, and what is said of it.
const CLAIMS: &str = include_str!("claims.txt");

#[tokio::test]
async fn a_token_that_says_something_else_is_not_believed() {
    let fake = IdentityProvider::start("ES256");
    let provider = provider(&fake);
    let second = now().micros() / 1_000_000;
    let mut tried = 0;
    for line in CLAIMS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (claims, expected) = line.split_once(" => ").unwrap();
        let mut claims = claims.replace("ISSUER", &fake.url);
        for (word, seconds) in
            [("NOW", 0), ("SOON", 30), ("LATER", 3_600), ("JUST", -30), ("BEFORE", -3_600)]
        {
            claims = claims.replace(word, &(second + seconds).to_string());
        }
        fake.says(&serde_json::from_str(&claims).unwrap());
        match signed_in(&provider, &fake, now()).await {
            Ok(_) => assert_eq!(expected, "ok", "{line}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Denied, "{line}: {error}");
                assert!(error.message().contains(expected), "{line}: {error}");
            }
        }
        tried += 1;
    }
    assert!(tried >= 25, "{tried} cases");
}

#[tokio::test]
async fn a_token_that_is_not_signed_by_the_provider_is_not_believed() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let fake = IdentityProvider::start(algorithm);
        let provider = provider(&fake);
        for (bend, expected) in [
            (Bend::Unsigned, "proves nothing"),
            (Bend::PublicKeyAsSecret, "proves nothing"),
            (Bend::Forged, "not the provider's"),
            (Bend::Changed, "not the provider's"),
            (Bend::UnknownKey, "a key that the provider does not have"),
        ] {
            fake.bends(bend.clone());
            let error = signed_in(&provider, &fake, now()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{bend:?}");
            assert!(error.message().contains(expected), "{bend:?}: {error}");
        }
    }
}

#[tokio::test]
async fn new_keys_are_found_and_not_asked_for_at_every_made_up_name() {
    let fake = IdentityProvider::start("ES256");
    let provider = provider(&fake);
    let start = now();
    let later = |seconds: i64| start.plus_micros(seconds * 1_000_000);
    signed_in(&provider, &fake, start).await.unwrap();
    fake.rotate();
    signed_in(&provider, &fake, later(1)).await.unwrap();
    assert_eq!(fake.asked("/keys"), 2);
    // The next minute nothing more is looked for.
    fake.bends(Bend::UnknownKey);
    for second in 2..6 {
        signed_in(&provider, &fake, later(second)).await.unwrap_err();
    }
    assert_eq!(fake.asked("/keys"), 2);
    fake.bends(Bend::Nothing);
    fake.rotate();
    signed_in(&provider, &fake, later(7)).await.unwrap_err();
    signed_in(&provider, &fake, later(70)).await.unwrap();
    assert_eq!(fake.asked("/keys"), 3);
}

#[tokio::test]
async fn a_code_is_good_for_who_asked_once_and_from_the_right_provider() {
    let fake = IdentityProvider::start("ES256");
    let provider = provider(&fake);
    let (ours, secret) = (request(), Secret::new(CLIENT_SECRET));
    let issuer = fake.url.clone();
    let good = code(&provider, &fake, &ours).await;
    provider.person((&good, Some(&issuer)), &ours, Some(&secret), now()).await.unwrap();
    let again = provider.person((&good, None), &ours, Some(&secret), now()).await.unwrap_err();
    assert!(again.message().contains("invalid_grant"), "{again}");

    let other = SignInRequest { verifier: "w".repeat(64), ..request() };
    let stolen = code(&provider, &fake, &ours).await;
    let error = provider.person((&stolen, None), &other, Some(&secret), now()).await.unwrap_err();
    assert!(error.message().contains("invalid_grant"), "{error}");

    let mixed = code(&provider, &fake, &ours).await;
    let from = Some("https://evil.example");
    let error = provider.person((&mixed, from), &ours, Some(&secret), now()).await.unwrap_err();
    assert!(error.message().contains("another provider"), "{error}");

    // The provider repeats the secret when it refuses; we do not.
    let wrong = Secret::new("wrong");
    let refused = code(&provider, &fake, &ours).await;
    let error = provider.person((&refused, None), &ours, Some(&wrong), now()).await.unwrap_err();
    assert!(error.report().contains("sign_in.client_secret"), "{}", error.report());
    assert!(!error.report().contains("canary"), "{}", error.report());

    fake.is_public();
    let public = code(&provider, &fake, &ours).await;
    provider.person((&public, None), &ours, None, now()).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_down_or_another_is_told_apart() {
    let fake = IdentityProvider::start("ES256");
    fake.is_down(true);
    let down = provider(&fake);
    let error = down.address(&request(), now()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    fake.is_down(false);
    down.address(&request(), now()).await.unwrap();

    let settings = ProviderSettings { issuer: format!("{}/", fake.url), ..down.settings().clone() };
    let error = Provider::new(settings).unwrap().address(&request(), now()).await.unwrap_err();
    assert!(error.report().contains("letter by letter"), "{}", error.report());

    for issuer in ["http://id.example.com", "ftp://127.0.0.1", "https://u:p@id.example.com", "x"] {
        let settings = ProviderSettings { issuer: issuer.to_owned(), ..down.settings().clone() };
        assert_eq!(Provider::new(settings).unwrap_err().kind(), ErrorKind::Invalid, "{issuer}");
    }
}

#[test]
fn claims_are_read_as_they_are_and_never_guessed() {
    let person = |claims: Value| Person {
        issuer: String::new(),
        subject: String::new(),
        claims: claims.as_object().cloned().unwrap_or_default(),
    };
    let texts = |claims: Value, claim: &str| person(claims).texts(claim);
    assert_eq!(texts(json!({"groups": ["a", "b"]}), "groups").unwrap(), ["a", "b"]);
    assert_eq!(texts(json!({"groups": "a,b"}), "groups").unwrap(), ["a,b"]);
    assert_eq!(
        texts(json!({"realm_access": {"roles": ["a"]}}), "realm_access.roles").unwrap(),
        ["a"]
    );
    assert_eq!(texts(json!({"https://x.example/g": ["a"]}), "https://x.example/g").unwrap(), ["a"]);
    assert!(texts(json!({"groups": null}), "groups").unwrap().is_empty());
    assert!(texts(json!({}), "realm_access.roles").unwrap().is_empty());
    for wrong in [json!({"groups": [1]}), json!({"groups": {"a": true}}), json!({"groups": 1})] {
        assert!(texts(wrong, "groups").unwrap_err().message().contains("neither a text"));
    }
    let left_out = json!({"_claim_names": {"groups": "src1"}});
    assert!(texts(left_out, "groups").unwrap_err().message().contains("too much"));
    let many: Vec<String> = (0..=TEXTS_MAX).map(|number| number.to_string()).collect();
    assert!(texts(json!({ "groups": many }), "groups").is_err());
    assert!(person(json!({"email": ["a", "b"]})).text("email").is_err());
}
