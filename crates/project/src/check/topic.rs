//! Topics: their columns, their moment, and how calls of other systems are signed.

use std::collections::BTreeSet;

use super::Check;
use super::column::type_problem;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::load::Read;
use crate::resource::topic::{Algorithm, Topic, Webhook};
use crate::yaml::Step;

/// Topics whose messages mean something to us.
const OURS: [&str; 2] = ["outcomes", "exposures"];
/// The shortest and the longest age of a signed call, in microseconds.
const TOLERANCE_US: std::ops::RangeInclusive<i64> = 1_000_000..=86_400_000_000;

impl Check<'_> {
    pub(super) fn topics(&mut self) {
        let loaded = self.loaded;
        for read in loaded.topics.values() {
            let topic = &read.value.topic;
            if OURS.contains(&topic.as_str()) {
                let message =
                    format!("the topic \"{topic}\" takes {topic} alone, whose form is fixed");
                let hint = "Choose another name for a topic of your own.";
                self.topic_says(read, at(&read.node, "topic"), message, hint);
            }
            self.topic_columns(read);
            if let Some(webhook) = &read.value.webhook {
                self.topic_webhook(read, webhook);
            }
        }
    }

    fn topic_says(&mut self, read: &Read<Topic>, span: Span, message: String, hint: &str) {
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    fn topic_columns(&mut self, read: &Read<Topic>) {
        let mut seen = BTreeSet::new();
        for (index, column) in read.value.columns.iter().enumerate() {
            let node = read.node.find(&[Step::Key("columns"), Step::Item(index)]);
            let name = &column.name;
            if name.is_empty() || name.split('.').any(str::is_empty) {
                let message = format!("\"{name}\" names no field");
                let hint = "Write the field's name, or its path with points: customer.id.";
                self.topic_says(read, at(node, "name"), message, hint);
            }
            if !seen.insert(name.as_str()) {
                let message = format!("column \"{name}\" is declared twice");
                self.topic_says(read, at(node, "name"), message, "Remove one of them.");
            }
            if let Some(hint) = type_problem(&column.column_type) {
                let message =
                    format!("column \"{name}\" cannot have the type \"{}\"", column.column_type);
                self.topic_says(read, at(node, "type"), message, &hint);
            }
            if read.value.timestamp.as_ref() == Some(name) && column.column_type != "timestamp" {
                let message = format!("column \"{name}\" is the moment of events and no timestamp");
                let hint = "Give it the type timestamp, or name another field in `timestamp`.";
                self.topic_says(read, at(node, "type"), message, hint);
            }
        }
        if read.value.timestamp.as_deref().is_some_and(|name| name.split('.').any(str::is_empty)) {
            let message = "`timestamp` names no field".to_owned();
            let hint = "Write the name of the field with the moment of an event.";
            self.topic_says(read, at(&read.node, "timestamp"), message, hint);
        }
    }

    fn topic_webhook(&mut self, read: &Read<Topic>, webhook: &Webhook) {
        let topic = &read.value.topic;
        let node = read.node.find(&[Step::Key("webhook")]);
        let secret = node.find(&[Step::Key("secret")]);
        self.secrets(&read.file, Some(("secret", secret.span)), secret);
        let headers = [("header", Some(&webhook.header)), ("delivery", webhook.delivery.as_ref())];
        for (key, header) in headers {
            let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if let Some(header) = header
                && (header.is_empty() || !header.chars().all(letter))
            {
                let message = format!("\"{header}\" cannot be the name of a header");
                let hint = "Write it as the other system's manual has it: X-Hub-Signature-256.";
                self.topic_says(read, at(node, key), message, hint);
            }
        }
        let signed = match (webhook.signed(), webhook.of_header()) {
            (None, _) => {
                let message = format!("how calls of the topic \"{topic}\" are signed is not said");
                let hint = "Add `algorithm: hmac-sha256-hex` or `hmac-sha256-base64`, as the other system's manual says; \
                            it is known for X-Hub-Signature-256, Stripe-Signature, X-Shopify-Hmac-Sha256 and \
                            X-HubSpot-Signature-v3.";
                return self.topic_says(read, at(node, "header"), message, hint);
            }
            (Some(signed), Some(known)) if signed != known => {
                let message = format!("the header \"{}\" is signed another way", webhook.header);
                let hint = "Remove `algorithm`: it is known for this header.";
                return self.topic_says(read, at(node, "algorithm"), message, hint);
            }
            (Some(signed), _) => signed,
        };
        if let Some(tolerance) = webhook.tolerance {
            if !signed.dated() {
                let message = "this signature does not say when a call was made".to_owned();
                self.topic_says(read, at(node, "tolerance"), message, "Remove `tolerance`.");
            } else if !TOLERANCE_US.contains(&tolerance.micros) {
                let message =
                    "no call can be accepted at this `tolerance`, or one for ever".to_owned();
                let hint = "Set it between 1s and 1d; 5m is usual.";
                self.topic_says(read, at(node, "tolerance"), message, hint);
            }
        }
        match (&webhook.url, signed == Algorithm::HubspotV3) {
            (None, true) => {
                let message =
                    "the signature of HubSpot covers the address it calls, which is not said";
                let hint = format!(
                    "Add `url: https://YOUR-SERVER/v1/topics/{topic}/webhook`, as it is entered in HubSpot."
                );
                self.topic_says(read, at(node, "header"), message.to_owned(), &hint);
            }
            (Some(url), true) if !url.starts_with("https://") => {
                let message = "the address has no https:// at its beginning".to_owned();
                let hint = "Write it as it is entered in HubSpot.";
                self.topic_says(read, at(node, "url"), message, hint);
            }
            (Some(_), false) => {
                let message = "this signature does not cover the address".to_owned();
                self.topic_says(read, at(node, "url"), message, "Remove `url`.");
            }
            _ => {}
        }
    }
}
