//! `actions/*.yaml`.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::quantity::Duration;

/// The connector that writes records by a connection.
pub const CRM: &str = "crm";

/// A way for decisions to leave.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// The action's name.
    pub action: String,
    /// The connector: `file`, `webhook`, `kafka`, `chat`, `email` or `crm`.
    #[serde(rename = "type")]
    pub connector: String,
    /// What the action does.
    #[serde(default)]
    pub description: Option<String>,
    /// The connector's own settings. Secrets only by reference: `${env:NAME}`, `${file:path}`.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// How often a delivery is tried, the first time included, before it goes to the dead letters.
    #[serde(default = "attempts_default")]
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// The wait before the second attempt, `30s` if absent; it doubles with each further one, up to an hour, and is
    /// shortened by up to a half by chance. What a receiver asks for by `Retry-After` is waited for, too.
    #[serde(default = "backoff_default")]
    pub backoff: Duration,
    /// What is promised where it is not known whether a delivery arrived.
    #[serde(default)]
    pub guarantee: Guarantee,
}

impl Action {
    /// The connection that its records are written by, if it writes some.
    #[must_use]
    pub fn connection(&self) -> Option<&str> {
        let named = self.options.get("connection").filter(|_| self.connector == CRM);
        named.and_then(Value::as_str)
    }

    /// The fields of the records that it writes, each with the members of the payload that fill it; none if it writes no
    /// records.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a field has a place that is not closed.
    pub fn fields(&self) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let mut fields = BTreeMap::new();
        let declared = self.options.get("fields").filter(|_| self.connector == CRM);
        let Some(Value::Object(declared)) = declared else { return Ok(fields) };
        for (field, value) in declared {
            let mut places = BTreeSet::new();
            find_places(value, &mut places)
                .map_err(|error| error.context(format!("field \"{field}\"")))?;
            fields.insert(field.clone(), places);
        }
        // What a record is tied to is named beside its fields.
        let ties = self.options.get("associate").and_then(Value::as_object);
        for (object, id) in ties.into_iter().flatten() {
            let mut places = BTreeSet::new();
            find_places(id, &mut places)
                .map_err(|error| error.context(format!("associate \"{object}\"")))?;
            fields.insert(format!("associate.{object}"), places);
        }
        Ok(fields)
    }
}

/// Collects the places in the texts of a value, at any depth.
fn find_places(value: &Value, places: &mut BTreeSet<String>) -> Result<()> {
    match value {
        Value::String(text) => find_in_text(text, places),
        Value::Array(values) => values.iter().try_for_each(|one| find_places(one, places)),
        Value::Object(members) => members.values().try_for_each(|one| find_places(one, places)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// Collects `{name}`, but no doubled braces, references such as `${env:NAME}`, nor what stands for the whole payload.
fn find_in_text(text: &str, places: &mut BTreeSet<String>) -> Result<()> {
    let mut chars = text.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        if matches!(c, '{' | '}') && chars.peek() == Some(&c) {
            chars.next();
        } else if c == '{' {
            let mut name = String::new();
            loop {
                match chars.next() {
                    Some('}') => break,
                    Some(c) => name.push(c),
                    None => {
                        return Err(Error::invalid(format!("the place {{{name} is not closed"))
                            .hint("Write {name}; a brace of its own is written twice, {{."));
                    }
                }
            }
            if before != '$' && !name.starts_with('$') {
                places.insert(name);
            }
        }
        before = c;
    }
    Ok(())
}

/// What is promised where it is not known whether a delivery arrived: the receiver hung up, answered with a failure of
/// its own, or this program was killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// It is sent again with the same idempotency key until it is acknowledged: a receiver that honours keys acts
    /// exactly once.
    #[default]
    AtLeastOnce,
    /// It is never sent a second time: for receivers without keys. What is not acknowledged goes to the dead letters
    /// with the reason, for a person to look at. Only a delivery that cannot have reached the receiver, because there
    /// was no connection, is tried again.
    AtMostOnce,
}

fn attempts_default() -> u32 {
    8
}

fn backoff_default() -> Duration {
    Duration { micros: 30_000_000 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fills_the_fields_of_a_record_is_found_at_any_depth() {
        let action = |fields: Value| -> Action {
            let options = json!({ "connection": "org", "target": {}, "fields": fields });
            serde_json::from_value(json!({ "action": "call", "type": "crm", "options": options }))
                .unwrap()
        };
        let fields = action(json!({
            "Subject": "Call {name} about {offer}", "Who": { "Ext__c": "{id}" }, "Fixed": 7,
            "Braces": "{{no}} ${env:NO} {$row}"
        }));
        assert_eq!(fields.connection(), Some("org"));
        let found = fields.fields().unwrap();
        let of = |field: &str| found[field].iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!([of("Subject"), of("Who")], ["name offer", "id"]);
        assert_eq!([of("Fixed"), of("Braces")], ["", ""]);
        let open = action(json!({ "Subject": "Call {name" })).fields().unwrap_err();
        assert!(open.report().contains("Subject") && open.report().contains("{name"));
    }
}
