//! Whether an ID token can be believed: its signature, and what OpenID Connect (core 1.0, 3.1.3.7) asks of its claims.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256, Sha512};

use super::keys::{Algorithm, PublicKey};

/// By how much clocks may differ.
const SKEW_S: i64 = 60;

/// The longest subject that OpenID Connect allows.
const SUBJECT_BYTES_MAX: usize = 255;

/// What a token has to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// The access token that came with it.
    pub(super) access_token: Option<&'a str>,
    pub(super) now: Timestamp,
}

/// The head of a token.
#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// What a reader has to understand beyond the standard.
    #[serde(default)]
    crit: Option<Value>,
}

/// How a token says it is signed, and by which key. Nothing of it is believed before [`verified`].
///
/// # Errors
/// [`ErrorKind::Denied`] if it is no token, or signed in a way that proves nothing.
pub(super) fn signed_how(token: &str) -> Result<(Algorithm, Option<String>)> {
    let head = token.split('.').next().and_then(|head| URL_SAFE_NO_PAD.decode(head).ok());
    let head: Option<Head> = head.and_then(|head| serde_json::from_slice(&head).ok());
    let Some(head) = head.filter(|_| token.split('.').count() == 3) else {
        return Err(denied("is no signed token"));
    };
    if head.crit.is_some() {
        return Err(denied("asks for something that is not known here (crit)"));
    }
    match Algorithm::ALL.into_iter().find(|algorithm| algorithm.word() == head.alg) {
        Some(algorithm) => Ok((algorithm, head.kid)),
        None => {
            let known = Algorithm::ALL.map(Algorithm::word).join(", ");
            Err(denied("is signed in a way that proves nothing")
                .hint(format!("Let the provider sign ID tokens of this client by one of {known}.")))
        }
    }
}

/// The claims of a token that can be believed.
///
/// # Errors
/// [`ErrorKind::Denied`] with what it is not believed for.
pub(super) fn verified(
    token: &str,
    key: &PublicKey,
    algorithm: Algorithm,
    expected: &Expected<'_>,
) -> Result<Map<String, Value>> {
    let forged = || denied("has a signature that is not the provider's");
    let (message, signature) = token.rsplit_once('.').ok_or_else(forged)?;
    let decoded = URL_SAFE_NO_PAD.decode(signature).map_err(|_| forged())?;
    if !key.verifies(algorithm, message.as_bytes(), &decoded) {
        return Err(forged());
    }
    let payload = message.split('.').nth(1).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let claims: Option<Map<String, Value>> =
        payload.and_then(|payload| serde_json::from_slice(&payload).ok());
    let claims = claims.ok_or_else(|| denied("holds no claims"))?;
    check(&claims, algorithm, expected)?;
    Ok(claims)
}

fn check(claims: &Map<String, Value>, algorithm: Algorithm, expected: &Expected<'_>) -> Result<()> {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
    let seconds = |claim: &str| {
        let value = claims.get(claim)?;
        value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
    };
    let now = expected.now.micros().div_euclid(1_000_000);
    if text("iss") != Some(expected.issuer) {
        return Err(denied("is of another issuer (iss)"));
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client_id) {
        return Err(denied("is meant for somebody else (aud)"));
    }
    let party = claims.get("azp");
    let ours = party.and_then(Value::as_str) == Some(expected.client_id);
    if (party.is_some() || audience.len() > 1) && !ours {
        return Err(denied("was given out to somebody else (azp)"));
    }
    match seconds("exp") {
        Some(exp) if exp.saturating_add(SKEW_S) > now => {}
        Some(_) => return Err(denied("has expired (exp)").hint(CLOCKS)),
        None => return Err(denied("has no end (exp)")),
    }
    match seconds("iat") {
        Some(iat) if iat <= now.saturating_add(SKEW_S) => {}
        Some(_) => return Err(denied("is of the future (iat)").hint(CLOCKS)),
        None => return Err(denied("says not when it was made (iat)")),
    }
    if claims.contains_key("nbf")
        && seconds("nbf").is_none_or(|nbf| nbf > now.saturating_add(SKEW_S))
    {
        return Err(denied("holds only later (nbf)").hint(CLOCKS));
    }
    if text("nonce") != Some(expected.nonce) {
        return Err(denied("answers another sign-in (nonce)"));
    }
    if let Some(hash) = claims.get("at_hash") {
        let ours = expected.access_token.map(|token| half_hash(algorithm, token));
        if ours.is_none() || hash.as_str() != ours.as_deref() {
            return Err(denied("came with an access token of another (at_hash)"));
        }
    }
    match text("sub") {
        Some(subject) if !subject.is_empty() && subject.len() <= SUBJECT_BYTES_MAX => Ok(()),
        _ => Err(denied("names nobody (sub)")),
    }
}

/// What somebody can do whose clocks differ.
const CLOCKS: &str = "Compare the clocks of this server and of the provider.";

fn denied(problem: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("the provider's ID token {problem}"))
}

/// The left half of a token's digest, as `at_hash` has it.
fn half_hash(algorithm: Algorithm, token: &str) -> String {
    let digest = match algorithm {
        Algorithm::EdDsa => Sha512::digest(token.as_bytes()).to_vec(),
        _ => Sha256::digest(token.as_bytes()).to_vec(),
    };
    URL_SAFE_NO_PAD.encode(digest.get(..digest.len() / 2).unwrap_or_default())
}

/// What is shown of a verifier before it is used (RFC 7636, S256).
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        // OpenID Connect core 1.0, A.3 and A.6.
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(half_hash(Algorithm::Rs256, token), "77QmUPtjPfzWtF2AnpK9RQ");
    }
}
