//! The `email` action: a message to people, by the company's mail server.
//!
//! A mail server knows no idempotency key: after a crash between sending and recording, a message may be there twice. Both
//! have the same `Message-ID`, made of the key, by which many mailboxes show them once.

mod message;
mod part_way;
mod smtp;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use flywheel_base::{Clock, Error, Result, Secret, SystemClock, quantity};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use self::message::{Address, Message};
use self::part_way::PartWay;
use self::smtp::{Login, Sent, Server};
use super::{Action, ActionConfig, ActionContext, Attachment, Delivery, Outcome, Report};
use crate::http::secret;

/// How long one message may take, unless the action says otherwise; and the longest that it may say.
const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// The most receivers of a message.
const RECEIVERS_MAX: usize = 100;
/// The largest file that goes with a message: with what base64 adds, more than mail servers take by default.
const ATTACHMENT_BYTES_MAX: usize = 15 << 20;

/// Sends messages by a mail server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailAction {
    /// The mail server's host, such as `smtp.example.com`.
    pub host: String,
    /// Its port: 587 if absent, 465 with `security: tls`, 25 with `security: none`.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is kept secret.
    #[serde(default)]
    pub security: Security,
    /// A PEM file of the authorities that sign the server's certificate; those of the system if absent.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Who logs in; without it nobody does.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password, or the code that the mail service gives to programs: take it from a secret, `${env:SMTP_PASSWORD}`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
    /// Whom messages come from: `ops@example.com`, or `Flywheel <ops@example.com>`.
    pub from: String,
    /// Whom they go to. An address that the server refuses keeps nobody else from the message; the receipt names it. One that
    /// it puts off is tried again alone, unless the action's guarantee is `at-most-once`.
    #[schemars(length(min = 1, max = 100))]
    pub to: Vec<String>,
    /// What stands before each subject, such as `[shop] `.
    #[serde(default)]
    pub prefix: Option<String>,
    /// How long one message may take, `30s` if not given.
    #[serde(default)]
    pub timeout: Option<String>,
    /// Whether the server may be one of the own network.
    #[serde(default)]
    pub allow_private: bool,
}

/// How the connection to a mail server is kept secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// It begins in the open and goes on in secret, or not at all.
    #[default]
    Starttls,
    /// It is secret from the first byte.
    Tls,
    /// Everybody between can read it; a password is not sent over it.
    None,
}

impl ActionConfig for EmailAction {
    const ABOUT: &'static str = "sends e-mail by a mail server";

    fn build(self, context: &ActionContext) -> Result<Box<dyn Action>> {
        let from = Address::parse(&self.from)?;
        let to = self.to.iter().map(|text| Address::parse(text)).collect::<Result<Vec<_>>>()?;
        if to.is_empty() || to.len() > RECEIVERS_MAX {
            return Err(Error::invalid(format!(
                "`to` names {} receivers, and a message has 1 to {RECEIVERS_MAX}",
                to.len()
            ))
            .hint("Name a list of the mail server instead of many people."));
        }
        let login = match (self.user, self.password) {
            (Some(user), Some(password)) => Some(Login { user, password }),
            (None, None) => None,
            _ => {
                return Err(Error::invalid("`user` and `password` belong together")
                    .hint("Give both, or neither for a server that asks for none."));
            }
        };
        if login.is_some() && self.security == Security::None {
            return Err(Error::invalid(
                "a password is not sent over a connection that is not secret",
            )
            .hint("Choose `security: starttls` or `tls`, or remove `user` and `password`."));
        }
        let timeout = match &self.timeout {
            None => TIMEOUT,
            Some(text) => Duration::from_micros(quantity::duration_us(text)?.unsigned_abs()),
        };
        let port = self.port.unwrap_or(match self.security {
            Security::Starttls => 587,
            Security::Tls => 465,
            Security::None => 25,
        });
        let ca_file = self.ca_file.map(|file| context.base_dir.join(file));
        let server = Server {
            port,
            security: self.security,
            tls: smtp::tls(self.security, &self.host, ca_file.as_deref())?,
            host: self.host,
            login,
            allow_private: self.allow_private,
        };
        Ok(Box::new(Email {
            server,
            from,
            to,
            prefix: self.prefix.unwrap_or_default(),
            timeout: timeout.min(TIMEOUT_MAX),
            project: context.base_dir.clone(),
            once: context.once,
        }))
    }
}

struct Email {
    server: Server,
    from: Address,
    to: Vec<Address>,
    prefix: String,
    timeout: Duration,
    /// The project's folder.
    project: PathBuf,
    /// Whether no message is sent twice, not even to those who have not got it.
    once: bool,
}

#[async_trait]
impl Action for Email {
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for delivery in batch {
            outcomes.push(self.send(delivery, None, None).await);
        }
        outcomes
    }

    fn under_way(&self) -> usize {
        1
    }

    async fn report(&self, report: &Report) -> Outcome {
        let attachment = report.attachment.as_ref();
        let large = attachment.filter(|file| file.bytes.len() > ATTACHMENT_BYTES_MAX);
        if let Some(file) = large {
            return Outcome::Rejected {
                reason: format!(
                    "the workbook has {} bytes, and a message carries {ATTACHMENT_BYTES_MAX}; give tiles a \
                     smaller `limit`, or write `attach: none`",
                    file.bytes.len()
                ),
            };
        }
        self.send(&report.delivery, Some(&report.html), attachment).await
    }
}

impl Email {
    async fn send(
        &self,
        delivery: &Delivery,
        html: Option<&str>,
        attachment: Option<&Attachment>,
    ) -> Outcome {
        let (subject, text) = words(&delivery.payload);
        let message = Message {
            key: &delivery.key,
            from: &self.from,
            to: &self.to,
            subject: &format!("{}{subject}", self.prefix),
            text: &text,
            html,
            attachment,
            at: SystemClock.now(),
        };
        let mut known = match PartWay::of(&self.project, &self.server.place(), &delivery.key) {
            Ok(known) => known,
            Err(error) => return Outcome::Unreached { reason: error.to_string() },
        };
        let to: Vec<Address> =
            self.to.iter().filter(|to| !known.has(&to.mailbox)).cloned().collect();
        if to.is_empty() {
            known.forget();
            return Outcome::Delivered { receipt: "everybody has got it before".to_owned() };
        }
        match self.server.send(&self.from, &to, &message.to_bytes(), self.timeout).await {
            Sent::Ended(outcome) => {
                if matches!(outcome, Outcome::Delivered { .. }) {
                    known.forget();
                }
                outcome
            }
            Sent::InPart { receipt, .. } if self.once => Outcome::Delivered { receipt },
            Sent::InPart { got, receipt, reason } => match known.keep(got) {
                Ok(()) => Outcome::Retry { reason, after: None },
                // The next attempt would be for everybody.
                Err(error) => {
                    tracing::error!(%error, "who was put off does not get a message, because nobody would know who has got it");
                    Outcome::Delivered { receipt }
                }
            },
        }
    }
}

/// The subject and the text of a payload: its title and text if it has them, else the payload itself.
fn words(payload: &Value) -> (String, String) {
    let part = |key: &str| payload.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let whole = || serde_json::to_string_pretty(payload).unwrap_or_else(|_| payload.to_string());
    let title = part("title").or_else(|| part("action")).unwrap_or("Flywheel").to_owned();
    (title, part("text").map_or_else(whole, str::to_owned))
}

#[cfg(test)]
mod tests;
