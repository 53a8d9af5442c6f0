//! The action seam: how a decision leaves the platform, and the list of ways.
//!
//! Who calls it: the outbox, which leases deliveries, hands them over and stores each outcome. What
//! holds after a crash: a delivery without a stored outcome is handed over again with the same key,
//! so every action makes a second delivery of a key harmless, or passes the key on so that the
//! receiver can. An action declared `guarantee: at-most-once` is not handed a delivery twice, unless it said that the
//! receiver saw nothing of it.

pub mod chat;
pub mod crm;
pub mod email;
pub mod file;
pub mod kafka;
pub mod webhook;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use flywheel_base::{Error, Result, suggest};
use schemars::{JsonSchema, Schema, schema_for};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::settings;

/// Every action, in the order the docs list them. A new action adds its module and one line.
pub const ACTIONS: &[ActionEntry] = &[
    action::<file::FileAction>("file"),
    action::<webhook::WebhookAction>("webhook"),
    action::<chat::ChatAction>("chat"),
    action::<email::EmailAction>("email"),
    action::<kafka::KafkaAction>("kafka"),
    action::<crm::CrmAction>("crm"),
];

/// One kind of action: its name, what it is for, its settings, and how one is built.
#[derive(Clone, Copy, Debug)]
pub struct ActionEntry {
    /// The `type` of an action.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// The JSON Schema of its settings.
    pub schema: fn() -> Schema,
    build: fn(Value, &ActionContext) -> Result<Box<dyn Action>>,
    written: Option<fn(Value, &Delivery) -> Result<Value>>,
}

impl ActionEntry {
    /// Builds the action from its settings; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the settings are not of this action's schema.
    pub fn build(&self, settings: Value, ctx: &ActionContext) -> Result<Box<dyn Action>> {
        (self.build)(settings, ctx).map_err(|error| error.context(format!("{} action", self.name)))
    }

    /// What the action would write for a delivery, if that is more than its payload; the settings may have references to
    /// secrets. Sends nothing.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the settings are not of this action's schema, or the payload does not fit.
    pub fn written(&self, settings: Value, delivery: &Delivery) -> Result<Option<Value>> {
        self.written.map(|written| written(settings, delivery)).transpose()
    }

    /// The entry of that name.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no action of that name.
    pub fn named(name: &str) -> Result<&'static Self> {
        ACTIONS.iter().find(|entry| entry.name == name).ok_or_else(|| {
            Error::not_found(format!("there is no action type \"{name}\""))
                .hint(suggest::hint(name, ACTIONS.iter().map(|entry| entry.name)))
        })
    }
}

/// The settings of an action; the doc comments are its reference page, the schema the editor's help.
pub trait ActionConfig: DeserializeOwned + JsonSchema {
    /// What it does, in a sentence.
    const ABOUT: &'static str;
    /// Whether [`ActionConfig::written`] says more than the payload.
    const WRITES: bool = false;

    /// Builds the action; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a setting is impossible.
    fn build(self, ctx: &ActionContext) -> Result<Box<dyn Action>>;

    /// What would be written for a delivery: its payload, unless the action makes something else of it.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the payload does not fit.
    fn written(&self, delivery: &Delivery) -> Result<Value> {
        Ok(delivery.payload.clone())
    }
}

const fn action<C: ActionConfig>(name: &'static str) -> ActionEntry {
    ActionEntry {
        name,
        about: C::ABOUT,
        schema: || schema_for!(C),
        build: |value, ctx| settings::<C>("action", value)?.build(ctx),
        written: if C::WRITES {
            Some(|value, delivery| settings::<C>("action", value)?.written(delivery))
        } else {
            None
        },
    }
}

/// What an action knows of the project.
#[derive(Clone, Debug, Default)]
pub struct ActionContext {
    /// The project's folder; relative paths start here.
    pub base_dir: PathBuf,
    /// The connection that the action's settings name, if they do and it is declared.
    pub connection: Option<NamedConnection>,
    /// Whether no delivery is handed over twice: its guarantee is `at-most-once`.
    pub once: bool,
}

/// A connection as its file declares it, with its secrets.
#[derive(Clone)]
pub struct NamedConnection {
    /// Its name.
    pub name: String,
    /// Its type.
    pub connector: String,
    /// Its settings.
    pub settings: Value,
}

impl fmt::Debug for NamedConnection {
    /// Without the settings, which hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection \"{}\" of type \"{}\"", self.name, self.connector)
    }
}

/// A way for decisions to leave.
#[async_trait]
pub trait Action: Send + Sync {
    /// Delivers a batch and says of each delivery, in the same order, what became of it.
    ///
    /// Dropping the future leaves each delivery either done or not done; delivering again is harmless.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome>;

    /// How many deliveries one request carries at most.
    fn together(&self) -> usize {
        1
    }

    /// As [`Action::deliver`], of deliveries that leave in one request each; those of `requests` that were sent before
    /// are given again as they were, so that a receiver can tell the repetition.
    async fn deliver_together(&self, requests: &[Vec<Delivery>]) -> Vec<Outcome> {
        let all: Vec<Delivery> = requests.concat();
        self.deliver(&all).await
    }

    /// How many deliveries are under way at the same time: so many may be cut off by a crash.
    fn under_way(&self) -> usize {
        usize::MAX
    }

    /// Delivers a report to people, in the form that suits the receiver; its payload unless the action says otherwise.
    ///
    /// Called once for each report; one whose outcome was not stored is handed over again with the same key.
    async fn report(&self, report: &Report) -> Outcome {
        let outcomes = self.deliver(std::slice::from_ref(&report.delivery)).await;
        outcomes.into_iter().next().unwrap_or_else(|| Outcome::Retry {
            reason: "the action did not say what became of it".to_owned(),
            after: None,
        })
    }
}

/// Figures on their way to people.
#[derive(Clone, Debug)]
pub struct Report {
    /// The key, and a payload with `title`, `text` and whatever programs want to read.
    pub delivery: Delivery,
    /// The text in few lines, for receivers that have little room.
    pub brief: String,
    /// The text as HTML.
    pub html: String,
    /// A file that goes with it.
    pub attachment: Option<Attachment>,
}

/// A file that goes with a report.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// What the file is called, in whatever letters.
    pub name: String,
    /// Its media type.
    pub kind: &'static str,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// One decision on its way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The key under which it is done at most once.
    pub key: String,
    /// What is delivered.
    pub payload: Value,
    /// What belongs together, `<policy>/<turn>`.
    pub group: String,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, now or by an earlier attempt.
    Delivered {
        /// What the receiver said about it, for the audit.
        receipt: String,
    },
    /// The receiver cannot have seen anything of it: doing it later is harmless even without a key.
    Unreached {
        /// Why not.
        reason: String,
    },
    /// The receiver asks to wait, and has done nothing of it: doing it later is harmless even without a key.
    Waits {
        /// Why not now.
        reason: String,
        /// How long at least.
        after: Duration,
        /// Whether the receiver was asked; if not, this counts as no attempt.
        tried: bool,
    },
    /// It may be done later; whether the receiver has done it already is not known.
    Retry {
        /// Why not now.
        reason: String,
        /// How long the receiver asks to wait, if it does.
        after: Option<Duration>,
    },
    /// It will never be done as it is.
    Rejected {
        /// Why.
        reason: String,
    },
}
