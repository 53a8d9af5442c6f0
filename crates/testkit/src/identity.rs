//! An identity provider on the loopback: OpenID Connect's code flow with keys of its own, and a person who is always signed
//! in there. What it says can be bent, to try what is not believed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The client that is registered there.
pub const CLIENT_ID: &str = "flywheel";
/// Its secret.
pub const CLIENT_SECRET: &str = "canary-client-secret";

/// A running provider; it ends with the test process.
#[derive(Debug)]
pub struct IdentityProvider {
    /// Its issuer.
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    url: String,
    keys: Vec<Key>,
    /// What the next tokens say beside what they have to; null leaves a claim out.
    claims: Map<String, Value>,
    bend: Bend,
    down: bool,
    public: bool,
    codes: BTreeMap<String, Granted>,
    number: usize,
    requests: BTreeMap<String, usize>,
}

/// What is wrong with tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bend {
    /// Nothing.
    #[default]
    Nothing,
    /// They say that they are not signed, and are not.
    Unsigned,
    /// They are signed by HMAC with what the public key is published as.
    PublicKeyAsSecret,
    /// They are signed by a key that is not published, under the name of one that is.
    Forged,
    /// They name a key that is not published.
    UnknownKey,
    /// They name no key.
    NoKey,
    /// What they say was changed after they were signed.
    Changed,
}

#[derive(Debug)]
struct Granted {
    nonce: String,
    challenge: String,
    redirect: String,
}

/// A key that signs.
#[derive(Debug)]
struct Key {
    id: String,
    algorithm: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Key {
    fn new(number: usize, algorithm: &str) -> Self {
        let failed = |what: &str| -> ! { panic!("no key can be made for {algorithm}: {what}") };
        let random = SystemRandom::new();
        let pair = match algorithm {
            "ES256" => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                let Ok(made) = made else { failed("generate") };
                match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref()) {
                    Ok(pair) => Pair::Ec(pair),
                    Err(_) => failed("read"),
                }
            }
            "EdDSA" => {
                let Ok(made) = Ed25519KeyPair::generate_pkcs8(&random) else { failed("generate") };
                match Ed25519KeyPair::from_pkcs8(made.as_ref()) {
                    Ok(pair) => Pair::Ed(pair),
                    Err(_) => failed("read"),
                }
            }
            _ => match RsaKeyPair::generate(KeySize::Rsa2048) {
                Ok(pair) => Pair::Rsa(pair),
                Err(_) => failed("generate"),
            },
        };
        Self { id: format!("key-{number}"), algorithm: algorithm.to_owned(), pair }
    }

    fn public(&self) -> Value {
        let mut key = json!({"kid": self.id, "use": "sig", "alg": self.algorithm});
        let more = match &self.pair {
            Pair::Rsa(pair) => {
                // A sequence of two numbers (RFC 8017, A.1.1); those of 2048 bits have fixed places.
                let der = pair.public_key().as_ref();
                let part = |from: usize, to: usize| encoded(der.get(from..to).unwrap_or_default());
                json!({"kty": "RSA", "n": part(9, 265), "e": part(267, 270)})
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let half = |from: usize| encoded(point.get(from..from + 32).unwrap_or_default());
                json!({"kty": "EC", "crv": "P-256", "x": half(1), "y": half(33)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref())})
            }
        };
        if let (Value::Object(key), Value::Object(more)) = (&mut key, more) {
            key.extend(more);
        }
        key
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let how =
                    if self.algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                match pair.sign(how, &random, message, &mut signature) {
                    Ok(()) => signature,
                    Err(_) => panic!("{} does not sign", self.id),
                }
            }
            Pair::Ec(pair) => match pair.sign(&random, message) {
                Ok(signature) => signature.as_ref().to_vec(),
                Err(_) => panic!("{} does not sign", self.id),
            },
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

impl IdentityProvider {
    /// Starts one that signs by `algorithm`: RS256, PS256, ES256 or EdDSA.
    ///
    /// # Panics
    /// If no port can be had.
    #[must_use]
    pub fn start(algorithm: &str) -> Self {
        let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { panic!("no port is free") };
        let Ok(address) = listener.local_addr() else { panic!("no port is free") };
        let url = format!("http://{address}");
        let state = State {
            url: url.clone(),
            keys: vec![Key::new(1, algorithm)],
            claims: Map::new(),
            bend: Bend::Nothing,
            down: false,
            public: false,
            codes: BTreeMap::new(),
            number: 1,
            requests: BTreeMap::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&serving);
                // Who leaves before the answer is no concern of a provider.
                thread::spawn(move || drop(answer(&state, stream)));
            }
        });
        Self { url, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next tokens say this, over what they have to say; null leaves a claim out.
    pub fn says(&self, claims: &Value) {
        self.state().claims = claims.as_object().cloned().unwrap_or_default();
    }

    /// Lets something be wrong with the next tokens.
    pub fn bends(&self, bend: Bend) {
        self.state().bend = bend;
    }

    /// Answers nothing but errors, or does so no longer.
    pub fn is_down(&self, down: bool) {
        self.state().down = down;
    }

    /// Lets the client have no secret.
    pub fn is_public(&self) {
        self.state().public = true;
    }

    /// Takes its keys back and signs by a new one.
    pub fn rotate(&self) {
        let mut state = self.state();
        state.number += 1;
        let algorithm = state.keys.first().map_or("RS256", |key| key.algorithm.as_str()).to_owned();
        state.keys = vec![Key::new(state.number, &algorithm)];
    }

    /// How often a path was asked for.
    #[must_use]
    pub fn asked(&self, path: &str) -> usize {
        self.state().requests.get(path).copied().unwrap_or_default()
    }

    /// Does what a browser does with the address it is sent to; where it is sent back to.
    ///
    /// # Errors
    /// What the provider says if it sends nobody back.
    pub fn visit(&self, address: &str) -> Result<String, String> {
        let path = address.strip_prefix(&self.url).ok_or("the address is of another server")?;
        let server = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(server).map_err(|error| error.to_string())?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
        let location = text.lines().find_map(|line| line.strip_prefix("location: "));
        location.map(str::to_owned).ok_or(text)
    }
}

fn answer(state: &Mutex<State>, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or_default(),
            "authorization" => value.trim().clone_into(&mut authorization),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    *state.requests.entry(path.to_owned()).or_default() += 1;
    let form = fields(&String::from_utf8_lossy(&body));
    let (status, head, body) = match path {
        _ if state.down => (503, String::new(), json!({"error": "temporarily_unavailable"})),
        "/.well-known/openid-configuration" => (200, String::new(), described(&state)),
        "/keys" => {
            let keys: Vec<Value> = state.keys.iter().map(Key::public).collect();
            (200, String::new(), json!({ "keys": keys }))
        }
        "/authorize" => match state.authorize(&fields(query)) {
            Ok(location) => (302, format!("location: {location}\r\n"), json!({})),
            Err(problem) => (400, String::new(), json!({"error": problem})),
        },
        "/token" => match state.token(&form, &authorization) {
            Ok(tokens) => (200, String::new(), tokens),
            Err(problem) => {
                (400, String::new(), json!({"error": problem, "error_description": CLIENT_SECRET}))
            }
        },
        _ => (404, String::new(), json!({"error": "not_found"})),
    };
    drop(state);
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\n{head}content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    reader.into_inner().write_all(head.as_bytes())
}

fn described(state: &State) -> Value {
    let url = &state.url;
    json!({
        "issuer": url, "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"), "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": state.keys.iter().map(|key| &key.algorithm).collect::<Vec<_>>(),
    })
}

impl State {
    fn authorize(&mut self, asked: &BTreeMap<String, String>) -> Result<String, String> {
        let given =
            |name: &str| asked.get(name).cloned().ok_or_else(|| format!("{name} is missing"));
        let right = given("client_id")? == CLIENT_ID
            && given("response_type")? == "code"
            && given("code_challenge_method")? == "S256"
            && given("scope")?.split(' ').any(|scope| scope == "openid");
        if !right {
            return Err("invalid_request".to_owned());
        }
        self.number += 1;
        let code = format!("code-{}", self.number);
        let redirect = given("redirect_uri")?;
        let granted = Granted {
            nonce: given("nonce")?,
            challenge: given("code_challenge")?,
            redirect: redirect.clone(),
        };
        self.codes.insert(code.clone(), granted);
        Ok(format!("{redirect}?code={code}&state={}", given("state")?))
    }

    fn token(
        &mut self,
        form: &BTreeMap<String, String>,
        authorization: &str,
    ) -> Result<Value, String> {
        let given = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let expected = format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")));
        let known = match self.public {
            true => given("client_id") == CLIENT_ID && authorization.is_empty(),
            false => authorization == expected,
        };
        if !known {
            return Err("invalid_client".to_owned());
        }
        // A code is good for one use.
        let Some(granted) = self.codes.remove(given("code")) else {
            return Err("invalid_grant".to_owned());
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(given("code_verifier").as_bytes()));
        if challenge != granted.challenge || given("redirect_uri") != granted.redirect {
            return Err("invalid_grant".to_owned());
        }
        self.number += 1;
        let access = format!("access-{}", self.number);
        Ok(json!({
            "access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": self.id_token(&granted.nonce),
        }))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "who reads its tokens goes by the machine's time"
    )]
    fn id_token(&self, nonce: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map(|now| now.as_secs()).unwrap_or_default();
        let mut claims = json!({
            "iss": self.url, "sub": "u-1", "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": nonce,
            "preferred_username": "lin", "groups": ["data-team"],
        });
        if let Value::Object(all) = &mut claims {
            for (claim, value) in &self.claims {
                match value {
                    Value::Null => all.shift_remove(claim),
                    value => all.insert(claim.clone(), value.clone()),
                };
            }
        }
        let Some(key) = self.keys.first() else { return String::new() };
        let (algorithm, kid) = match self.bend {
            Bend::Unsigned => ("none", Some(key.id.as_str())),
            Bend::PublicKeyAsSecret => ("HS256", Some(key.id.as_str())),
            Bend::UnknownKey => (key.algorithm.as_str(), Some("key-of-nobody")),
            Bend::NoKey => (key.algorithm.as_str(), None),
            _ => (key.algorithm.as_str(), Some(key.id.as_str())),
        };
        let head = json!({"typ": "JWT", "alg": algorithm, "kid": kid});
        let message = format!(
            "{}.{}",
            encoded(head.to_string().as_bytes()),
            encoded(claims.to_string().as_bytes())
        );
        let signature = match self.bend {
            Bend::Unsigned => Vec::new(),
            Bend::PublicKeyAsSecret => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, key.public().to_string().as_bytes());
                hmac::sign(&secret, message.as_bytes()).as_ref().to_vec()
            }
            Bend::Forged => Key::new(99, &key.algorithm).sign(message.as_bytes()),
            _ => key.sign(message.as_bytes()),
        };
        if self.bend == Bend::Changed {
            claims["groups"] = json!(["owners"]);
            let claims = encoded(claims.to_string().as_bytes());
            let head = message.split('.').next().unwrap_or_default();
            return format!("{head}.{claims}.{}", encoded(&signature));
        }
        format!("{message}.{}", encoded(&signature))
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The fields of a form.
fn fields(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or_default());
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
