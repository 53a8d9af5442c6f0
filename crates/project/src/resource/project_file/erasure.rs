//! `erasure:` of `flywheel.yaml`: which columns say whose a row is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a person is found who asks to be erased, and kept out afterwards: `flywheel erase`. What is made of these columns is
/// found by the lineage of columns and need not be named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// Tables with rows of persons, mostly landed ones, each with the columns that hold the key of a person, such as a
    /// customer's number or an e-mail address: `raw.orders: [customer_id]`. A row goes if one of them holds the key. Keys
    /// are compared as text, and as they land: after cleaning and masking.
    pub keys: BTreeMap<String, Vec<String>>,
}
