//! Data contracts of the Open Data Contract Standard 3.1.0, in and out.
//!
//! ```text
//! contract.yaml ─ import ─► contracts/NAME.odcs.yaml   the document itself, word for word
//!                        ─► quality/NAME_OBJECT.yaml   its checks, and what its schema promises
//!                        ─► models/contracts/NAME.yml  what tables and columns mean
//! project       ─ export ─► the document, with the checks as the quality files have them now
//! ```
//! What a project has no place for (servers, prices, roles, support) stays in the document, so that a
//! contract that was imported and not changed is exported as it came. Checks the standard has no word for
//! are `custom` ones of the engine `flywheel`, which an import reads again.
//!
//! # Source
//! <https://github.com/bitol-io/open-data-contract-standard>, `schema/odcs-json-schema-v3.1.0.json`.

mod check;
mod export;
mod import;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value as Json};

pub use export::{contracts, export};
pub use import::{Options, import};

use crate::datax::document;
use crate::names;

/// The version that is written.
pub const VERSION: &str = "v3.1.0";

/// The folder of contracts.
pub const FOLDER: &str = "contracts";

/// How a contract's file ends.
pub const ENDING: &str = ".odcs.yaml";

/// A contract as YAML.
#[must_use]
pub fn text(contract: &Json) -> String {
    const FIRST: [&str; 8] =
        ["kind", "apiVersion", "id", "name", "version", "status", "description", "schema"];
    let empty = Map::new();
    let entries = contract.as_object().unwrap_or(&empty);
    let place = |key: &str| FIRST.iter().position(|known| *known == key).unwrap_or(FIRST.len());
    let mut entries: Vec<(String, Json)> =
        entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    entries.sort_by_key(|(key, _)| place(key));
    document(&entries)
}

/// A value with whole numbers written as such: `100`, not `100.0`.
fn whole(value: Json) -> Json {
    match value {
        Json::Number(number) => match number.as_f64() {
            Some(real) if !number.is_i64() && real.fract() == 0.0 && real.abs() < 1e15 => {
                Json::from(real as i64)
            }
            _ => Json::Number(number),
        },
        Json::Array(items) => Json::Array(items.into_iter().map(whole).collect()),
        Json::Object(entries) => {
            Json::Object(entries.into_iter().map(|(key, value)| (key, whole(value))).collect())
        }
        other => other,
    }
}

/// The error of a contract with mistakes.
fn mistakes(out: &crate::diagnostic::Diagnostics) -> flywheel_base::Error {
    flywheel_base::Error::invalid(format!("the contract has {}\n\n{out}\n", out.summary()))
        .hint("Mend the contract; nothing was written.")
}

/// A name of ours for one of theirs: lower case, with underscores.
fn plain(name: &str) -> String {
    names::plain(name, "c_", 40)
}
