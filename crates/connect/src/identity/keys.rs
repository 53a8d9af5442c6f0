//! The keys by which a provider signs, kept and asked for anew.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::{Endpoint, is_fresh};
use crate::http::Call;

/// How long keys are kept: one that the provider takes back is believed that long at most.
const LIFE_US: i64 = 3_600_000_000;

/// How soon keys are asked for again because a token names one that is not among them.
const SEARCH_EVERY_US: i64 = 60_000_000;

/// The keys of one provider that are looked at.
const KEYS_MAX: usize = 100;

/// Bytes of a number on the curve P-256, of which a point has two.
const P256_BYTES: usize = 32;

/// A way of signing that is believed: by a pair of keys, of which the provider alone has the private one. A token that is
/// not signed at all, or with a secret that we have as well, proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub(super) const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// The word in tokens and keys.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A public key as providers list it (RFC 7517).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PublicKey {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl PublicKey {
    /// Whether it is one for signatures of this kind.
    fn signs(&self, algorithm: Algorithm) -> bool {
        let meant = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let declared = self.alg.as_deref().is_none_or(|declared| declared == algorithm.word());
        let kind = (self.kty.as_str(), self.crv.as_deref());
        let fits = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => kind.0 == "RSA",
            Algorithm::Es256 => kind == ("EC", Some("P-256")),
            Algorithm::EdDsa => kind == ("OKP", Some("Ed25519")),
        };
        meant && declared && fits
    }

    /// Whether `signature` is that of the key's owner under `message`; an RSA key of less than 2048 bits has none.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let bytes = |text: &Option<String>| {
            URL_SAFE_NO_PAD.decode(text.as_deref().unwrap_or_default()).ok()
        };
        let rsa = |how: &'static RsaParameters| {
            let (Some(n), Some(e)) = (bytes(&self.n), bytes(&self.e)) else { return false };
            RsaPublicKeyComponents { n, e }.verify(how, message, signature).is_ok()
        };
        match algorithm {
            Algorithm::Rs256 => rsa(&RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Ps256 => rsa(&RSA_PSS_2048_8192_SHA256),
            Algorithm::Es256 => {
                let (Some(x), Some(y)) = (bytes(&self.x), bytes(&self.y)) else { return false };
                if x.len() != P256_BYTES || y.len() != P256_BYTES {
                    return false;
                }
                // SEC 1, 2.3.3: a point that is written whole begins with a 4.
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signature)
                    .is_ok()
            }
            Algorithm::EdDsa => {
                let Some(x) = bytes(&self.x) else { return false };
                UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok()
            }
        }
    }
}

/// Keys of a provider.
#[derive(Debug, Default)]
pub(super) struct Keys(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    keys: Arc<[PublicKey]>,
    fetched_at: Option<Timestamp>,
    /// When keys were last asked for because one was missing.
    searched_at: Option<Timestamp>,
}

/// What `jwks_uri` answers; a key of a kind that is not known is passed over.
#[derive(Deserialize)]
struct Listed {
    keys: Vec<Value>,
}

impl Keys {
    /// The key that a token names. A provider changes its keys whenever it likes, so one that is missing is looked for,
    /// but not for every token of somebody who makes names up.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if there is no such key, [`ErrorKind::Unavailable`] if the provider gives no answer.
    pub(super) async fn find(
        &self,
        endpoint: &Endpoint,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<PublicKey> {
        if let Some(keys) = self.fresh(now) {
            if let Some(key) = choose(&keys, kid, algorithm) {
                return Ok(key);
            }
            if !self.may_search(now) {
                return Err(unknown());
            }
        }
        let keys = fetched(endpoint).await?;
        let found = choose(&keys, kid, algorithm);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.keys, kept.fetched_at) = (keys, Some(now));
        found.ok_or_else(unknown)
    }

    fn fresh(&self, now: Timestamp) -> Option<Arc<[PublicKey]>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.fetched_at.filter(|at| is_fresh(*at, now, LIFE_US)).map(|_| Arc::clone(&kept.keys))
    }

    fn may_search(&self, now: Timestamp) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = kept.searched_at.is_some_and(|at| is_fresh(at, now, SEARCH_EVERY_US));
        if !waits {
            kept.searched_at = Some(now);
        }
        !waits
    }
}

async fn fetched(endpoint: &Endpoint) -> Result<Arc<[PublicKey]>> {
    let answer = endpoint.client.send(&Call::get(endpoint.url.as_str())).await?;
    let listed: Listed = serde_json::from_str(answer.json()?).map_err(|error| {
        Error::invalid(format!("what {} says are no keys", endpoint.url)).caused_by(error)
    })?;
    let keys = listed.keys.into_iter().take(KEYS_MAX);
    Ok(keys.filter_map(|key| serde_json::from_value(key).ok()).collect())
}

/// The key of that name that can have signed so; where the token names none, the only one that can.
fn choose(keys: &[PublicKey], kid: Option<&str>, algorithm: Algorithm) -> Option<PublicKey> {
    let mut fitting = keys.iter().filter(|key| key.signs(algorithm));
    match kid {
        Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)).cloned(),
        None => match (fitting.next(), fitting.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        },
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Denied, "the ID token is signed by a key that the provider does not have")
        .hint("Sign in again in a minute, when the provider's keys are read anew.")
}
