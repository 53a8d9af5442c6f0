//! A project's promises as a contract.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, suggest};
use serde_json::{Map, Value as Json, json};

use super::import::{Place, promises};
use super::{ENDING, FOLDER, VERSION, check, mistakes, plain};
use crate::diagnostic::Diagnostics;
use crate::file::SourceFile;
use crate::graph::NodeKind;
use crate::model::{ModelTest, TestKind};
use crate::project::Project;
use crate::quality::check_names;
use crate::resource::properties::{ColumnProperties, Severity};
use crate::resource::quality::{Quality, QualityCheck};
use crate::yaml;

/// The contract `name`: one of `contracts/` with the checks as they are declared now, or one made of what
/// the project says about a model, a landed table or the table of a quality file.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if nothing has that name; every mistake in the contract's file.
pub fn export(project: &Project, name: &str) -> Result<Json> {
    let contracts = contracts(project)?;
    if let Some(path) = contracts.get(name).or_else(|| contracts.get(&plain(name))) {
        let file = SourceFile::read(&project.dir, path)
            .map_err(|diagnostic| Error::invalid(diagnostic.message))?;
        let mut out = Diagnostics::default();
        let Some(node) = yaml::parse(&file, &mut out).filter(|_| !out.has_errors()) else {
            return Err(mistakes(&out));
        };
        let stem = path.trim_start_matches(FOLDER).trim_start_matches('/');
        return Ok(renewed(project, node.to_json(), stem.trim_end_matches(ENDING)));
    }
    let quality = project.qualities.get(name).and_then(|_| project.quality_tables.get(name));
    let relation = |table: &str| project.sources.contains_key(table).then(|| table.to_owned());
    let found = match quality {
        Some(node) => Some((node.kind, node.name.clone())),
        None if project.models.contains_key(name) => Some((NodeKind::Model, name.to_owned())),
        None => relation(name).map(|table| (NodeKind::Source, table)),
    };
    let Some((kind, table)) = found else {
        let models = project.models.keys().chain(project.sources.keys());
        let known: Vec<&str> = models
            .chain(project.qualities.keys())
            .chain(contracts.keys())
            .map(String::as_str)
            .collect();
        return Err(Error::not_found(format!("nothing to be exported is called \"{name}\""))
            .hint(suggest::hint(name, known)));
    };
    Ok(made(project, kind, &table))
}

/// The contracts of the project by name, with their paths.
///
/// # Errors
/// Those of the file system, if the folder cannot be read.
pub fn contracts(project: &Project) -> Result<BTreeMap<String, String>> {
    let folder = project.dir.join(FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Error::io("read the contracts", &folder, error)),
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("read the contracts", &folder, error))?;
        if let Some(file) = entry.file_name().to_str()
            && let Some(stem) = file.strip_suffix(ENDING)
        {
            found.insert(stem.to_owned(), format!("{FOLDER}/{file}"));
        }
    }
    Ok(found)
}

/// The contract with the checks that its quality files have now.
fn renewed(project: &Project, mut contract: Json, stem: &str) -> Json {
    let whole = contract.clone();
    let objects = contract.get_mut("schema").and_then(Json::as_array_mut);
    for object in objects.into_iter().flatten() {
        let title = object.get("name").and_then(Json::as_str).unwrap_or_default();
        let name = format!("{stem}_{}", plain(title));
        if let Some(quality) = project.qualities.get(&name) {
            renew(object, &whole, quality);
        }
    }
    contract
}

/// Replaces what was changed, removes what is gone and adds what is new; everything else stays as it is.
fn renew(object: &mut Json, contract: &Json, quality: &Quality) {
    let names = check_names(quality);
    let mut now: BTreeMap<&str, &QualityCheck> =
        names.iter().map(String::as_str).zip(&quality.checks).collect();
    let mut gone: Vec<Place> = Vec::new();
    for (place, before) in promises(object, contract).checks {
        let name = before.name.clone().unwrap_or_default();
        let current = now.remove(name.as_str());
        // What the schema itself promises is said there.
        let Some(place) = place else { continue };
        let Some(current) = current else {
            gone.push(place);
            continue;
        };
        let same = serde_json::to_value(current).ok() == serde_json::to_value(&before).ok();
        if !same
            && let Some(slot) = list(object, place.property).and_then(|l| l.get_mut(place.item))
        {
            *slot = check::write(current, &name, place.property.is_some());
        }
    }
    gone.sort_by_key(|place| std::cmp::Reverse((place.property, place.item)));
    for place in gone {
        if let Some(list) = list(object, place.property)
            && place.item < list.len()
        {
            list.remove(place.item);
        }
    }
    for (check, name) in quality.checks.iter().zip(&names) {
        if now.contains_key(name.as_str()) {
            add(object, check, name);
        }
    }
}

fn list(object: &mut Json, property: Option<usize>) -> Option<&mut Vec<Json>> {
    let holder = match property {
        Some(at) => object.get_mut("properties")?.as_array_mut()?.get_mut(at)?,
        None => object,
    };
    holder.get_mut("quality")?.as_array_mut()
}

/// Adds a check to its property, or to the object.
fn add(object: &mut Json, check: &QualityCheck, name: &str) {
    let properties = object.get("properties").and_then(Json::as_array);
    let at = check.column.as_ref().and_then(|column| {
        properties?.iter().position(|property| {
            let text = |key: &str| property.get(key).and_then(Json::as_str);
            text("physicalName").or_else(|| text("name")) == Some(column)
        })
    });
    let holder = match at {
        Some(at) => {
            let properties = object.get_mut("properties").and_then(Json::as_array_mut);
            properties.and_then(|properties| properties.get_mut(at))
        }
        None => Some(object),
    };
    if let Some(Json::Object(holder)) = holder {
        let list = holder.entry("quality").or_insert_with(|| json!([]));
        if let Json::Array(list) = list {
            list.push(check::write(check, name, at.is_some()));
        }
    }
}

/// A contract of one table, made of what the project says about it.
fn made(project: &Project, kind: NodeKind, name: &str) -> Json {
    let (relation, description, columns, tests) = match kind {
        NodeKind::Model => match project.models.get(name) {
            Some(model) => {
                (model.relation(), model.description.clone(), &model.columns[..], &model.tests[..])
            }
            None => (name.to_owned(), None, &[][..], &[][..]),
        },
        _ => match project.sources.get(name) {
            Some(source) => (
                source.relation(),
                source.description.clone(),
                &source.columns[..],
                &source.tests[..],
            ),
            None => (name.to_owned(), None, &[][..], &[][..]),
        },
    };
    let files: Vec<&Quality> = project
        .quality_tables
        .iter()
        .filter(|(_, node)| node.kind == kind && node.name == name)
        .filter_map(|(quality, _)| project.qualities.get(quality))
        .map(|located| &located.value)
        .collect();
    let mut object = Map::new();
    let title = relation.rsplit('.').next().unwrap_or(&relation).to_owned();
    object.insert("name".to_owned(), json!(title));
    object.insert("physicalName".to_owned(), json!(relation));
    object.insert("logicalType".to_owned(), json!("object"));
    if let Some(text) = description.filter(|text| !text.is_empty()) {
        object.insert("description".to_owned(), json!(text));
    }
    let properties = properties(columns, tests, &files);
    if !properties.is_empty() {
        object.insert("properties".to_owned(), Json::Array(properties));
    }
    let mut object = Json::Object(object);
    for quality in files {
        for (check, name) in quality.checks.iter().zip(check_names(quality)) {
            add(&mut object, check, &name);
        }
    }
    json!({
        "kind": "DataContract", "apiVersion": VERSION, "version": "1.0.0", "status": "active",
        "id": format!("{}-{}", plain(&project.file.name), plain(&title)).replace('_', "-"),
        "name": title, "schema": [object],
    })
}

/// The columns that are described or tested, in order, with what their tests promise.
fn properties(columns: &[ColumnProperties], tests: &[ModelTest], files: &[&Quality]) -> Vec<Json> {
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let tested = tests.iter().filter_map(|test| test.column.as_deref());
    let checked = files.iter().flat_map(|quality| &quality.checks);
    for name in tested.chain(checked.filter_map(|check| check.column.as_deref())) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let one = |name: &str| {
        let mut property = Map::from_iter([("name".to_owned(), json!(name))]);
        let described = columns.iter().find(|column| column.name == name);
        if let Some(text) = described.and_then(|column| column.description.as_ref()) {
            property.insert("description".to_owned(), json!(text));
        }
        let of_column = tests.iter().filter(|test| {
            test.column.as_deref() == Some(name)
                && test.severity == Severity::Error
                && test.condition.is_none()
        });
        let mut quality = Vec::new();
        for test in of_column {
            match &test.kind {
                TestKind::NotNull => {
                    property.insert("required".to_owned(), json!(true));
                }
                TestKind::Unique => {
                    property.insert("unique".to_owned(), json!(true));
                }
                TestKind::AcceptedValues { values } => quality.push(json!({
                    "name": test.name, "type": "library", "metric": "invalidValues", "mustBe": 0,
                    "arguments": {"validValues": values},
                })),
                TestKind::Relationships { .. } | TestKind::Custom(_) => {}
            }
        }
        if !quality.is_empty() {
            property.insert("quality".to_owned(), Json::Array(quality));
        }
        Json::Object(property)
    };
    names.into_iter().map(one).collect()
}
