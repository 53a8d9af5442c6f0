//! `groups` of `flywheel.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Users of the server that rules treat alike, and what is true of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Who they are.
    #[serde(default)]
    pub description: Option<String>,
    /// Its members, by their names in the server.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups of the identity provider of `sign_in` whose people are members, too, from their next sign-in on.
    #[serde(default)]
    pub provider_groups: Vec<String>,
    /// What is true of each member: `region: north`, or several values in a list. A rule takes it as
    /// `$region`. A user in several groups has the values of all of them.
    #[serde(default)]
    pub attributes: BTreeMap<String, Attribute>,
}

/// A value of an attribute, or several.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Attribute {
    /// Several.
    Many(Vec<AttributeValue>),
    /// One.
    One(AttributeValue),
}

/// A text, a number, or true or false.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AttributeValue {
    /// True or false.
    Flag(bool),
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
}

impl Attribute {
    /// Its values.
    pub fn values(&self) -> impl Iterator<Item = Value> {
        let (many, one) = match self {
            Self::Many(many) => (many.as_slice(), None),
            Self::One(one) => ([].as_slice(), Some(one)),
        };
        many.iter().chain(one).map(|value| match value {
            AttributeValue::Flag(flag) => Value::Bool(*flag),
            AttributeValue::Number(number) => Value::Number(number.clone()),
            AttributeValue::Text(text) => Value::String(text.clone()),
        })
    }
}
