//! The `chat` action: a text to a group of 飞书 (Feishu), 钉钉 (DingTalk) or 企业微信 (WeCom) by its robot.
//!
//! These robots know no idempotency key: after a crash between sending and recording, a text may be there twice. They
//! answer with 200 whatever happened; what did is in the answer's body.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flywheel_base::{Clock, Error, Result, Secret, SystemClock, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Url};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use super::webhook::{checked_url, client, failed, said};
use super::{Action, ActionConfig, ActionContext, Delivery, Outcome, Report};
use crate::http::{secret, without};

/// A shorter part of an address is no key, but a word that answers may hold.
const KEY_BYTES_MIN: usize = 12;

/// How long a robot that has had too many messages is left alone.
const TOO_MANY_WAIT: Duration = Duration::from_secs(60);

/// Posts texts into a group of a company's chat.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatAction {
    /// Whose robot it is.
    pub form: Form,
    /// The robot's address, as its settings show it: it holds a key, so take it from a secret, `${env:OPS_ROBOT}`.
    #[serde(deserialize_with = "crate::http::needed_secret")]
    #[schemars(with = "String")]
    pub url: Secret,
    /// The secret of a robot of 飞书 or 钉钉 that wants messages to be signed (加签).
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub secret: Option<Secret>,
    /// What stands before each text, such as a keyword that the robot wants to see.
    #[serde(default)]
    pub prefix: Option<String>,
    /// How long an answer is waited for, `10s` if not given.
    #[serde(default)]
    pub timeout: Option<String>,
    /// Whether the address may be one of the own network.
    #[serde(default)]
    pub allow_private: bool,
}

/// Whose robot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// 飞书, also Lark.
    Feishu,
    /// 钉钉.
    Dingtalk,
    /// 企业微信.
    Wecom,
}

impl Form {
    /// The longest text the robot takes, in bytes.
    fn text_bytes_max(self) -> usize {
        match self {
            Self::Wecom => 2_048,
            Self::Feishu | Self::Dingtalk => 18_000,
        }
    }

    /// Where the answer says what happened.
    fn code_key(self) -> &'static str {
        match self {
            Self::Feishu => "code",
            Self::Dingtalk | Self::Wecom => "errcode",
        }
    }

    /// Codes of a robot that is busy or has had too many messages.
    fn later(self, code: i64) -> bool {
        match self {
            Self::Feishu => matches!(code, 9_499 | 11_232),
            Self::Dingtalk => matches!(code, -1 | 130_101 | 660_026),
            Self::Wecom => matches!(code, -1 | 45_009),
        }
    }
}

impl ActionConfig for ChatAction {
    const ABOUT: &'static str = "posts texts into a group of 飞书, 钉钉 or 企业微信";

    fn build(self, _: &ActionContext) -> Result<Box<dyn Action>> {
        let url = checked_url(self.url.expose(), self.allow_private)?;
        if self.form == Form::Wecom && self.secret.is_some() {
            return Err(Error::invalid("robots of wecom do not sign messages")
                .hint("Remove `secret`: the key in the address is all there is."));
        }
        let client = client(self.timeout.as_deref(), HeaderMap::new(), self.allow_private)?;
        Ok(Box::new(Chat {
            client,
            keys: keys_of(&url, self.secret.as_ref()),
            url,
            form: self.form,
            secret: self.secret,
            prefix: self.prefix.unwrap_or_default(),
        }))
    }
}

struct Chat {
    client: Client,
    /// What no answer may say again.
    keys: Vec<Secret>,
    url: Url,
    form: Form,
    secret: Option<Secret>,
    prefix: String,
}

#[async_trait]
impl Action for Chat {
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        // One after another: a robot takes some 20 messages a minute.
        for delivery in batch {
            outcomes.push(self.send(delivery, SystemClock.now()).await);
        }
        outcomes
    }

    fn under_way(&self) -> usize {
        1
    }

    async fn report(&self, report: &Report) -> Outcome {
        let mut payload = report.delivery.payload.clone();
        if let Value::Object(payload) = &mut payload {
            payload.insert("text".to_owned(), json!(report.brief));
        }
        let text = whole_lines(self.words(&payload), self.form.text_bytes_max());
        self.post(&text, SystemClock.now()).await
    }
}

impl Chat {
    async fn send(&self, delivery: &Delivery, now: Timestamp) -> Outcome {
        let text = shortened(self.words(&delivery.payload), self.form.text_bytes_max());
        self.post(&text, now).await
    }

    /// The text of a payload with what stands before each.
    fn words(&self, payload: &Value) -> String {
        format!("{}{}", self.prefix, text_of(payload))
    }

    async fn post(&self, text: &str, now: Timestamp) -> Outcome {
        let (url, body) = self.request(text, now);
        let sent = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string())
            .send()
            .await;
        match sent {
            Ok(response) => self.answered(response).await,
            // The address holds the key.
            Err(error) => failed(&error.without_url()),
        }
    }

    /// The address and the body of a message, signed if there is a secret.
    fn request(&self, text: &str, now: Timestamp) -> (Url, Value) {
        let mut url = self.url.clone();
        let mut body = match self.form {
            Form::Feishu => json!({"msg_type": "text", "content": {"text": text}}),
            Form::Dingtalk | Form::Wecom => json!({"msgtype": "text", "text": {"content": text}}),
        };
        if let Some(secret) = &self.secret {
            match self.form {
                Form::Feishu => {
                    let seconds = (now.micros() / 1_000_000).to_string();
                    body["sign"] = json!(feishu_signature(secret, &seconds));
                    body["timestamp"] = json!(seconds);
                }
                Form::Dingtalk => {
                    let millis = (now.micros() / 1_000).to_string();
                    let sign = dingtalk_signature(secret, &millis);
                    url.query_pairs_mut()
                        .append_pair("timestamp", &millis)
                        .append_pair("sign", &sign);
                }
                Form::Wecom => {}
            }
        }
        (url, body)
    }

    async fn answered(&self, response: reqwest::Response) -> Outcome {
        let status = response.status();
        let said = without(said(response).await, self.keys.iter().map(Secret::expose));
        if !status.is_success() {
            let reason = format!("{status} {said}").trim().to_owned();
            return if status.is_server_error() || status.as_u16() == 429 {
                Outcome::Retry { reason, after: None }
            } else {
                Outcome::Rejected { reason }
            };
        }
        let answer: Value = serde_json::from_str(&said).unwrap_or(Value::Null);
        match answer.get(self.form.code_key()).and_then(Value::as_i64) {
            Some(0) => Outcome::Delivered { receipt: status.to_string() },
            Some(code) if self.form.later(code) => {
                Outcome::Retry { reason: said, after: Some(TOO_MANY_WAIT) }
            }
            Some(_) => Outcome::Rejected { reason: said },
            None => Outcome::Rejected {
                reason: format!("the answer is not that of such a robot: {said}"),
            },
        }
    }
}

/// What opens the robot's address: the values in it, what stands at its end, and what messages are signed with. Robots that refuse
/// a message say some of it again, and what they say is kept.
fn keys_of(url: &Url, secret: Option<&Secret>) -> Vec<Secret> {
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let last = url.path_segments().and_then(|mut parts| parts.next_back()).map(str::to_owned);
    let secret = secret.map(|secret| secret.expose().to_owned());
    let keys = values.chain(last).chain(secret);
    keys.filter(|key| key.len() >= KEY_BYTES_MIN).map(Secret::new).collect()
}

/// The text of a payload: its title and text if it has them, else the payload itself.
fn text_of(payload: &Value) -> String {
    let part = |key: &str| payload.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (part("title"), part("text")) {
        (Some(title), Some(text)) => format!("{title}\n{text}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => payload.to_string(),
    }
}

/// A text of at most `most` bytes.
fn shortened(mut text: String, most: usize) -> String {
    const CUT: &str = "…";
    if text.len() > most {
        let mut end = most - CUT.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(CUT);
    }
    text
}

/// A text of at most `most` bytes that ends with a whole line: half a figure would be another one.
fn whole_lines(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let cut = shortened(text, most);
    match cut.rsplit_once('\n') {
        Some((whole, _)) => format!("{whole}\n…"),
        None => cut,
    }
}

/// 飞书 signs nothing with a key made of the time and the secret.
fn feishu_signature(secret: &Secret, seconds: &str) -> String {
    signature(&format!("{seconds}\n{}", secret.expose()), "")
}

/// 钉钉 signs the time and the secret with the secret.
fn dingtalk_signature(secret: &Secret, millis: &str) -> String {
    signature(secret.expose(), &format!("{millis}\n{}", secret.expose()))
}

fn signature(key: &str, message: &str) -> String {
    // HMAC takes keys of every length; the other arm is never reached.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return String::new() };
    mac.update(message.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests;
