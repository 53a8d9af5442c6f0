//! A contract to files of a project.

use std::collections::BTreeSet;

use flywheel_base::Result;
use serde_json::{Map, Value as Json, json};

use super::check::{self, Read};
use super::{ENDING, FOLDER, mistakes, plain, whole};
use crate::datax::{Imported, Made, Note, document};
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::file::SourceFile;
use crate::resource::quality::{Metric, QualityCheck};
use crate::yaml::{self, Node};

/// Where the tables of a contract are.
#[derive(Clone, Debug)]
pub struct Options {
    /// The lake's schema of tables that no model makes.
    pub schema: String,
    /// The project's models: an object of that name is one.
    pub models: BTreeSet<String>,
    /// Landed tables that property files describe already, `schema.table`.
    pub described: BTreeSet<String>,
}

/// Turns a contract, read from `path`, into files.
///
/// # Errors
/// Every mistake with its place in the contract.
pub fn import(path: &str, contract: &str, options: &Options) -> Result<Imported> {
    let file = SourceFile::new(path, contract);
    let mut out = Diagnostics::default();
    let Some(node) = yaml::parse(&file, &mut out) else { return Err(mistakes(&out)) };
    head(&file, &node, &mut out);
    if out.has_errors() {
        return Err(mistakes(&out));
    }
    let text = |key: &str| node.get(key).and_then(Node::text);
    let name = plain(text("name").or_else(|| text("id")).unwrap_or("contract"));
    let mut files =
        vec![Made { path: format!("{FOLDER}/{name}{ENDING}"), text: contract.to_owned() }];
    let mut notes = Vec::new();
    let (mut tables, mut names) = (Vec::new(), BTreeSet::new());
    for (at, object) in node.get("schema").map(Node::items).unwrap_or_default().iter().enumerate() {
        let Some(title) = object.get("name").and_then(Node::text) else {
            let message = format!("schema[{at}] has no name");
            let hint = "Each object of `schema` has one.";
            out.push(&file, Diagnostic::error(object.span, message).hint(hint));
            continue;
        };
        let table = plain(title);
        if !names.insert(table.clone()) {
            let message = format!("two objects are called \"{table}\"");
            let hint = "Names may differ by more than capitals and signs.";
            out.push(&file, Diagnostic::error(object.span, message).hint(hint));
            continue;
        }
        let reference = |table: &str| match options.models.contains(table) {
            true => format!("ref('{table}')"),
            false => format!("source('{}', '{table}')", options.schema),
        };
        let mut promises = promises(&object.to_json(), &node.to_json());
        for (_, check) in promises.checks.iter_mut().filter(|(place, _)| place.is_none()) {
            let to = check.arguments.to.as_deref().map(reference);
            check.arguments.to = to;
        }
        for (place, reason) in promises.wrong {
            let message = format!("{place}: {reason}");
            out.push(&file, Diagnostic::error(find(object, &place), message));
        }
        let at = format!("schema[{at}]");
        notes.extend(promises.kept.into_iter().map(|(place, reason)| Note {
            at: format!("{at}.{place}"),
            message: format!("is kept in the contract and not run: {reason}"),
        }));
        notes.extend(promises.whole.into_iter().map(|place| Note {
            at: format!("{at}.{place}"),
            message: "is run for the whole table: rowCount is about no column".to_owned(),
        }));
        let is_model = options.models.contains(&table);
        if !promises.checks.is_empty() {
            files.push(quality(&name, &table, &reference(&table), object, &promises.checks));
        }
        let relation = format!("{}.{table}", options.schema);
        if !is_model && !options.described.contains(&relation) {
            tables.push(described(&table, object));
        }
    }
    if out.has_errors() {
        return Err(mistakes(&out));
    }
    if !tables.is_empty() {
        let sources = json!([{"name": options.schema, "tables": tables}]);
        files.push(Made {
            path: format!("models/contracts/{name}.yml"),
            text: document(&[("sources".to_owned(), sources)]),
        });
    }
    Ok(Imported { files, notes })
}

/// What the standard wants of every contract.
fn head(file: &SourceFile, node: &Node, out: &mut Diagnostics) {
    let span = |key: &str| node.get(key).map_or(Span::FILE, |node| node.span);
    for key in ["version", "apiVersion", "kind", "id", "status"] {
        if node.get(key).is_none() {
            let message = format!("a data contract has no `{key}`");
            let hint = "The Open Data Contract Standard 3.1.0 wants version, apiVersion, kind, id and status.";
            out.push(file, Diagnostic::error(Span::FILE, message).hint(hint));
        }
    }
    let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
    if node.get("kind").is_some() && text("kind") != "DataContract" {
        let message = format!("kind \"{}\" is no data contract", text("kind"));
        let hint = "Contracts have `kind: DataContract`.";
        out.push(file, Diagnostic::error(span("kind"), message).hint(hint));
    }
    if node.get("apiVersion").is_some() && !text("apiVersion").starts_with("v3.") {
        let message = format!("apiVersion \"{}\" is not read", text("apiVersion"));
        let hint = "Contracts of v3.0 and v3.1 are; bring older ones up to v3.1.0 first.";
        out.push(file, Diagnostic::error(span("apiVersion"), message).hint(hint));
    }
}

/// What an object of a contract promises.
#[derive(Default)]
pub(super) struct Promises {
    /// Checks with the place they come from: none for what the schema itself promises.
    pub(super) checks: Vec<(Option<Place>, QualityCheck)>,
    /// What is not run, with its place and why.
    kept: Vec<(String, String)>,
    /// Places of checks that stand beside a property and are about the table.
    whole: Vec<String>,
    /// What is wrong, with its place.
    wrong: Vec<(String, String)>,
}

/// An item of a list of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The property; none for the object's own.
    pub(super) property: Option<usize>,
    /// The item.
    pub(super) item: usize,
}

/// Everything that the object of a contract promises, each check with a name of its own.
pub(super) fn promises(object: &Json, contract: &Json) -> Promises {
    let mut found = Promises::default();
    let list = |value: &Json, key: &str| -> Vec<Json> {
        value.get(key).and_then(Json::as_array).cloned().unwrap_or_default()
    };
    let title = object.get("name").and_then(Json::as_str).unwrap_or_default();
    let mut derived: Vec<QualityCheck> = Vec::new();
    let mut add = |value: Json| derived.extend(serde_json::from_value::<QualityCheck>(value));
    let mut keys: Vec<(i64, String)> = Vec::new();
    for (at, item) in list(object, "quality").iter().enumerate() {
        let place = Place { property: None, item: at };
        take(&mut found, item, None, place, &format!("quality[{at}]"));
    }
    for (number, property) in list(object, "properties").iter().enumerate() {
        let text = |key: &str| property.get(key).and_then(Json::as_str);
        let is = |key: &str| property.get(key).and_then(Json::as_bool) == Some(true);
        let Some(column) = text("physicalName").or_else(|| text("name")) else {
            found.wrong.push((format!("properties[{number}]"), "it has no name".to_owned()));
            continue;
        };
        if is("primaryKey") {
            let place = property.get("primaryKeyPosition").and_then(Json::as_i64);
            keys.push((place.unwrap_or(number as i64), column.to_owned()));
        }
        if is("required") || is("primaryKey") {
            add(json!({"name": format!("required_{column}"), "column": column,
                "metric": "nullValues", "mustBe": 0, "dimension": "completeness"}));
        }
        if is("unique") {
            add(json!({"name": format!("unique_{column}"), "column": column,
                "metric": "duplicateValues", "mustBe": 0, "dimension": "uniqueness"}));
        }
        let options = property.get("logicalTypeOptions");
        let mut form = Map::new();
        for key in ["minLength", "maxLength", "pattern"] {
            if let Some(value) = options.and_then(|options| options.get(key)) {
                form.insert(key.to_owned(), value.clone());
            }
        }
        if !form.is_empty() && text("logicalType").is_none_or(|kind| kind == "string") {
            add(json!({"name": format!("form_{column}"), "column": column,
                "metric": "invalidValues", "mustBe": 0, "dimension": "conformity", "arguments": form}));
        }
        for relationship in list(property, "relationships") {
            let to = relationship.get("to").and_then(Json::as_str);
            let Some((other, field)) = to.and_then(|to| column_of(contract, to)) else { continue };
            add(json!({"name": format!("references_{column}"), "column": column,
                "metric": "unmatchedValues", "mustBe": 0, "dimension": "consistency",
                "arguments": {"to": other, "field": field}}));
        }
        for (at, item) in list(property, "quality").iter().enumerate() {
            let place = Place { property: Some(number), item: at };
            let path = format!("properties[{number}].quality[{at}]");
            take(&mut found, item, Some(column), place, &path);
        }
    }
    keys.sort();
    if !keys.is_empty() {
        let columns: Vec<String> = keys.into_iter().map(|(_, column)| column).collect();
        add(json!({"name": "primary_key", "metric": "duplicateValues", "mustBe": 0,
            "dimension": "uniqueness", "arguments": {"properties": columns}}));
    }
    for property in list(contract, "slaProperties") {
        derived.extend(age(&property, title));
    }
    found.checks.extend(derived.into_iter().map(|check| (None, check)));
    name(&mut found.checks);
    found
}

/// The object and column that `object.property` means, if the contract has them.
fn column_of(contract: &Json, reference: &str) -> Option<(String, String)> {
    let (object, property) = reference.split_once('.')?;
    let named = |list: &Json, name: &str| {
        let is = |one: &&Json| one.get("name").and_then(Json::as_str) == Some(name);
        list.as_array()?.iter().find(is).cloned()
    };
    let object = named(contract.get("schema")?, object)?;
    let property = named(object.get("properties")?, property)?;
    let text = |value: &Json, key: &str| value.get(key).and_then(Json::as_str).map(str::to_owned);
    let column = text(&property, "physicalName").or_else(|| text(&property, "name"))?;
    Some((plain(&text(&object, "name")?), column))
}

/// How old the newest row may be, if that is what a property of a service level says about the object.
fn age(property: &Json, object: &str) -> Option<QualityCheck> {
    let text = |key: &str| property.get(key).and_then(Json::as_str);
    if !["latency", "ly", "freshness"].contains(&text("property")?.to_lowercase().as_str()) {
        return None;
    }
    let (of, column) = text("element")?.rsplit_once('.')?;
    let seconds = match text("unit")? {
        "d" | "day" | "days" => 86_400.0,
        "h" | "hr" | "hour" | "hours" => 3_600.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "s" | "second" | "seconds" => 1.0,
        _ => return None,
    };
    let most = property.get("value").and_then(Json::as_f64)? * seconds;
    (of == object).then(|| {
        serde_json::from_value(json!({
            "name": format!("sla_{column}"), "column": column, "metric": "freshness",
            "mustBeLessOrEqualTo": most, "dimension": "timeliness",
        }))
        .ok()
    })?
}

fn take(found: &mut Promises, item: &Json, column: Option<&str>, place: Place, path: &str) {
    match check::read(item, column) {
        Ok(Read::Check(mut check)) => {
            // The number of rows is the table's, whichever property it stands beside.
            let whole = check.metric == Some(Metric::RowCount) && check.column.take().is_some();
            let operator = crate::quality::Rule::of(&check);
            match operator {
                Ok(None) if check.monitor.is_none() => found
                    .kept
                    .push((path.to_owned(), "it does not say what its figure must be".to_owned())),
                Ok(_) => {
                    found.whole.extend(whole.then(|| path.to_owned()));
                    found.checks.push((Some(place), *check));
                }
                Err(error) => found.wrong.push((path.to_owned(), error.message().to_owned())),
            }
        }
        Ok(Read::Kept(reason)) => found.kept.push((path.to_owned(), reason)),
        Err(error) => found.wrong.push((path.to_owned(), error.message().to_owned())),
    }
}

/// Gives every check a name that stays when others come and go.
fn name(checks: &mut [(Option<Place>, QualityCheck)]) {
    let file = crate::resource::quality::Quality {
        quality: String::new(),
        table: None,
        connection: None,
        stream: Map::new(),
        description: None,
        owner: None,
        hidden: Vec::new(),
        checks: checks.iter().map(|(_, check)| check.clone()).collect(),
    };
    let mut seen = BTreeSet::new();
    for ((_, check), base) in checks.iter_mut().zip(crate::quality::check_names(&file)) {
        let mut name = base.clone();
        let mut number = 2;
        while !seen.insert(name.clone()) {
            name = format!("{base}_{number}");
            number += 1;
        }
        check.name = Some(name);
    }
}

fn quality(
    contract: &str,
    table: &str,
    reference: &str,
    object: &Node,
    checks: &[(Option<Place>, QualityCheck)],
) -> Made {
    let checks: Vec<Json> = checks
        .iter()
        .filter_map(|(_, check)| serde_json::to_value(check).ok())
        .map(whole)
        .collect();
    let mut entries = vec![
        ("quality".to_owned(), json!(format!("{contract}_{table}"))),
        ("table".to_owned(), json!(reference)),
    ];
    if let Some(description) = object.get("description").and_then(Node::text) {
        entries.push(("description".to_owned(), json!(description.trim())));
    }
    entries.push(("checks".to_owned(), Json::Array(checks)));
    Made { path: format!("quality/{contract}_{table}.yaml"), text: document(&entries) }
}

/// What a table and its columns mean, in dbt's words.
fn described(table: &str, object: &Node) -> Json {
    let description =
        |node: &Node| node.get("description").and_then(Node::text).map(|text| json!(text.trim()));
    let mut made = Map::from_iter([("name".to_owned(), json!(table))]);
    made.extend(description(object).map(|text| ("description".to_owned(), text)));
    let mut columns = Vec::new();
    for property in object.get("properties").map(Node::items).unwrap_or_default() {
        let text = |key: &str| property.get(key).and_then(Node::text);
        let Some(name) = text("physicalName").or_else(|| text("name")) else { continue };
        let mut column = Map::from_iter([("name".to_owned(), json!(name))]);
        column.extend(description(property).map(|text| ("description".to_owned(), text)));
        columns.push(Json::Object(column));
    }
    if !columns.is_empty() {
        made.insert("columns".to_owned(), Json::Array(columns));
    }
    Json::Object(made)
}

/// The node at `properties[1].quality[0]`.
fn find(object: &Node, path: &str) -> Span {
    let mut node = object;
    for step in path.split('.') {
        let (key, index) = step.split_once('[').unwrap_or((step, ""));
        let Some(list) = node.get(key) else { break };
        let index = index.trim_end_matches(']').parse::<usize>();
        node = index.ok().and_then(|index| list.items().get(index)).unwrap_or(list);
    }
    node.span
}
