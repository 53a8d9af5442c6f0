//! One check in the contract's words and in ours.

use flywheel_base::{Error, Result};
use serde_json::{Map, Value as Json, json};

use crate::resource::quality::QualityCheck;

/// The engine of checks that the standard has no word for.
const ENGINE: &str = "flywheel";

/// The keys that mean the same in both.
const SHARED: [&str; 16] = [
    "description",
    "metric",
    "query",
    "unit",
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
    "dimension",
    "businessImpact",
    "tags",
    "arguments",
];

/// Arguments that the standard knows.
const ARGUMENTS: [&str; 4] = ["missingValues", "validValues", "pattern", "properties"];

/// Words for a severity at which readers are kept from the rows.
const BLOCKING: [&str; 6] = ["error", "critical", "blocker", "high", "severe", "fatal"];

/// What became of an item of `quality`.
pub(super) enum Read {
    /// A check that runs.
    Check(Box<QualityCheck>),
    /// Something for people or other tools; the reason is for a note.
    Kept(String),
}

/// Reads an item of `quality` of an object, or of its property `column`.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if it contradicts the standard.
pub(super) fn read(item: &Json, column: Option<&str>) -> Result<Read> {
    let object = item.as_object().ok_or_else(|| Error::invalid("it is no mapping"))?;
    let text = |key: &str| object.get(key).and_then(Json::as_str);
    let kind = text("type").unwrap_or("library");
    let mut made = Map::new();
    match kind {
        "text" => return Ok(Read::Kept("a text for people".to_owned())),
        "custom" if text("engine") == Some(ENGINE) => {
            let implementation = match object.get("implementation") {
                Some(Json::Object(implementation)) => implementation.clone(),
                _ => return Err(Error::invalid("`implementation` is no mapping")),
            };
            made = implementation;
        }
        "custom" => {
            let engine = text("engine").unwrap_or("another tool");
            return Ok(Read::Kept(format!("a check of {engine}")));
        }
        "library" | "sql" => {
            for key in SHARED {
                if let Some(value) = object.get(key) {
                    made.insert(key.to_owned(), value.clone());
                }
            }
            if let (None, Some(rule)) = (made.get("metric"), text("rule")) {
                made.insert("metric".to_owned(), rule.into());
            }
            let wanted = if kind == "sql" { "query" } else { "metric" };
            if !made.contains_key(wanted) {
                return Err(Error::invalid(format!("`{wanted}` is missing"))
                    .hint(format!("A check of type {kind} has one.")));
            }
        }
        other => {
            return Err(Error::invalid(format!("\"{other}\" is no type of check"))
                .hint("It is text, library, sql or custom."));
        }
    }
    if let Some(name) = text("name") {
        made.insert("name".to_owned(), name.into());
    }
    if let Some(column) = column {
        made.entry("column").or_insert_with(|| column.into());
    }
    if let Some(severity) = text("severity") {
        let blocks = BLOCKING.contains(&severity.to_lowercase().as_str());
        made.insert("severity".to_owned(), if blocks { "error" } else { "warn" }.into());
    }
    if let Some(unit) = made.get("unit").and_then(Json::as_str) {
        match unit {
            "rows" => {
                made.remove("unit");
            }
            "percent" => {}
            // The unit of a number from SQL is a matter of its own.
            _ if made.contains_key("query") => {
                made.remove("unit");
            }
            other => return Ok(Read::Kept(format!("its unit \"{other}\" is not known here"))),
        }
    }
    let metric = made.get("metric").and_then(Json::as_str).map(str::to_owned);
    match serde_json::from_value(Json::Object(made)) {
        Ok(check) => Ok(Read::Check(Box::new(check))),
        Err(error) => Ok(Read::Kept(match metric {
            Some(metric) => format!("{metric} is not known here: {error}"),
            None => format!("it is not known here: {error}"),
        })),
    }
}

/// Writes a check in the contract's words; `with_column` says whether it stands beside the property.
pub(super) fn write(check: &QualityCheck, name: &str, beside: bool) -> Json {
    let all = match serde_json::to_value(check).map(super::whole) {
        Ok(Json::Object(all)) => all,
        _ => Map::new(),
    };
    let arguments = all.get("arguments").and_then(Json::as_object);
    let plain = arguments.is_none_or(|all| all.keys().all(|key| ARGUMENTS.contains(&key.as_str())));
    let standard = check.metric.is_none_or(crate::resource::quality::Metric::is_standard)
        && plain
        && check.condition.is_none()
        && check.monitor.is_none()
        && (check.column.is_none() || beside);
    let mut item = Map::new();
    item.insert("name".to_owned(), name.into());
    if let Some(severity) = all.get("severity") {
        item.insert("severity".to_owned(), severity.clone());
    }
    if !standard {
        let mut own = all;
        own.remove("name");
        own.remove("severity");
        for key in ["description", "dimension", "businessImpact", "tags"] {
            if let Some(value) = own.get(key) {
                item.insert(key.to_owned(), value.clone());
            }
        }
        item.insert("type".to_owned(), "custom".into());
        item.insert("engine".to_owned(), ENGINE.into());
        item.insert("implementation".to_owned(), Json::Object(own));
        return Json::Object(item);
    }
    item.insert("type".to_owned(), json!(if check.query.is_some() { "sql" } else { "library" }));
    for key in SHARED {
        if let Some(value) = all.get(key) {
            item.insert(key.to_owned(), value.clone());
        }
    }
    Json::Object(item)
}
