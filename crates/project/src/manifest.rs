//! dbt's `manifest.json`, as far as others need it, and comparing a project with an earlier one: what
//! `state:modified` and `result:error` select, and the selectors of `selectors.yml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flywheel_base::{Error, Result, suggest};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use crate::diagnostic::Diagnostics;
use crate::file::SourceFile;
use crate::graph::{Known, NodeId, NodeKind};
use crate::model::Model;
use crate::project::Project;
use crate::resource::project_file::Materialized;
use crate::yaml;

/// The file with the selectors that have names.
const SELECTORS_FILE: &str = "selectors.yml";

/// The largest file of an earlier build.
const STATE_BYTES_MAX: u64 = 512 << 20;

/// How deep selectors may be made of selectors.
const DEPTH_MAX: usize = 16;

/// In what a model differs from what it was.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a selector of its own: state:modified.body"
)]
struct Differences {
    new: bool,
    body: bool,
    configs: bool,
    relation: bool,
    macros: bool,
}

impl Differences {
    fn any(self) -> bool {
        self.new || self.body || self.configs || self.relation || self.macros
    }
}

impl Project {
    /// The project in the words of dbt's `manifest.json`: its nodes, sources, exposures and macros.
    #[must_use]
    pub fn manifest(&self) -> Json {
        let package = self.package();
        let mut nodes = Map::new();
        for model in self.models.values() {
            nodes.insert(self.unique_id(model), self.node_of(model));
        }
        for test in self.model_tests() {
            let id = format!("test.{package}.{}", test.name);
            let attached = match test.target.kind {
                NodeKind::Model => self.models.get(&test.target.name).map(|m| self.unique_id(m)),
                _ => None,
            };
            let node = json!({
                "name": test.name, "resource_type": "test", "package_name": package, "unique_id": id,
                "original_file_path": test.file, "attached_node": attached, "column_name": test.column,
                "depends_on": {"nodes": attached.iter().collect::<Vec<_>>(), "macros": []},
            });
            nodes.insert(id, node);
        }
        for test in self.singular_tests.values() {
            let id = format!("test.{package}.{}", test.name);
            let reads = test.refs.iter().filter_map(|name| self.models.get(name));
            let reads: Vec<String> = reads.map(|model| self.unique_id(model)).collect();
            let node = json!({
                "name": test.name, "resource_type": "test", "package_name": package, "unique_id": id,
                "original_file_path": test.path, "raw_code": test.sql, "checksum": checksum(&test.sql),
                "depends_on": {"nodes": reads, "macros": []},
            });
            nodes.insert(id, node);
        }
        let sources = self.sources.values().filter(|source| source.declared_in.is_some());
        let sources = sources.map(|source| {
            let id = format!("source.{package}.{}.{}", source.schema, source.table);
            let node = json!({
                "name": source.table, "resource_type": "source", "package_name": package,
                "unique_id": id, "schema": source.schema, "identifier": source.table,
                "relation_name": source.relation(),
            });
            (id, node)
        });
        let sources: Map<String, Json> = sources.collect();
        let macros = self.macros.sources();
        let macros = macros.into_iter().map(|(name, path, text)| {
            let id = format!("macro.{package}.{name}");
            let node = json!({
                "name": name, "resource_type": "macro", "package_name": package, "unique_id": id,
                "original_file_path": path, "macro_sql": text,
            });
            (id, node)
        });
        let macros: Map<String, Json> = macros.collect();
        json!({
            "metadata": {
                "dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json",
                "project_name": package, "adapter_type": "flywheel",
            },
            "nodes": nodes, "sources": sources, "macros": macros,
        })
    }

    /// dbt's identifier of a model, seed or snapshot; the version of a model is a part of its own.
    #[must_use]
    pub fn unique_id(&self, model: &Model) -> String {
        let (kind, package) = (resource_type(model), self.package());
        match self.macros.name_and_version(&model.name) {
            Some((name, version)) => format!("{kind}.{package}.{name}.v{version}"),
            None => format!("{kind}.{package}.{}", model.name),
        }
    }

    fn package(&self) -> &str {
        self.dbt.as_ref().map_or(self.file.name.as_str(), |dbt| dbt.name.as_str())
    }

    fn node_of(&self, model: &Model) -> Json {
        let package = self.package();
        let id = self.unique_id(model);
        let of_models = model.refs.iter().filter_map(|name| self.models.get(name));
        let mut reads: Vec<String> = of_models.map(|read| self.unique_id(read)).collect();
        reads.extend(model.sources.iter().map(|(source, table)| {
            format!("source.{package}.{}", self.source_relation(source, table))
        }));
        let text = self.body(model);
        json!({
            "name": model.name, "resource_type": resource_type(model), "package_name": package,
            "unique_id": id, "original_file_path": model.path, "alias": model.table(),
            "schema": model.schema, "relation_name": model.relation(), "raw_code": model.sql_template,
            "checksum": checksum(&text), "config": config(model), "tags": model.config.tags,
            "description": model.description, "depends_on": {"nodes": reads, "macros": []},
        })
    }

    /// The text by which a model is known: of a seed, its file.
    fn body(&self, model: &Model) -> String {
        let file = model.seed.as_ref().map(|seed| std::fs::read_to_string(&seed.file));
        file.and_then(std::result::Result::ok).unwrap_or_else(|| model.sql_template.clone())
    }

    /// What selectors mean that compare with an earlier build or are named in `selectors.yml`. `state` is
    /// a folder with that build's `manifest.json`, and with its `run_results.json` for `result:`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if the folder has no manifest;
    /// [`flywheel_base::ErrorKind::Invalid`] if a file cannot be read as what it should be.
    pub fn known(&self, state: Option<&Path>) -> Result<Known> {
        let mut known = Known::new();
        if let Some(folder) = state {
            let before = manifest_in(folder)?;
            self.compare(&before, &mut known);
            if let Some(results) = read_json(folder, "run_results.json")? {
                self.results(&results, &before, &mut known);
            }
        }
        self.named_selectors(&mut known)?;
        Ok(known)
    }

    /// What the models of this project are called in SQL where an earlier build made them, by their names
    /// here, for `--defer`. `state` is a folder with that build's `manifest.json`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if the folder has no manifest;
    /// [`flywheel_base::ErrorKind::Invalid`] if it cannot be read as one.
    pub fn built_elsewhere(&self, state: &Path) -> Result<BTreeMap<String, String>> {
        let before = manifest_in(state)?;
        let nodes = before.get("nodes");
        let relation = |model: &Model| {
            let node = nodes?.get(self.unique_id(model))?;
            let text = |key: &str| node.get(key).and_then(Json::as_str);
            let name = text("alias").or_else(|| text("name"))?;
            Some((model.relation(), format!("{}.{name}", text("schema")?)))
        };
        Ok(self.models.values().filter_map(relation).collect())
    }

    fn compare(&self, before: &Json, known: &mut Known) {
        let mut sets: BTreeMap<&str, BTreeSet<NodeId>> = BTreeMap::new();
        for word in [
            "state:modified",
            "state:modified.body",
            "state:modified.configs",
            "state:modified.relation",
            "state:modified.macros",
            "state:new",
            "state:old",
            "state:unmodified",
        ] {
            sets.entry(word).or_default();
        }
        let changed_macros = self.changed_macros(before);
        for model in self.models.values() {
            let id = NodeId::new(NodeKind::Model, &model.name);
            let node = before.pointer("/nodes").and_then(|nodes| nodes.get(self.unique_id(model)));
            let found = self.differences(model, node, &changed_macros);
            let words = [
                ("state:modified", found.any()),
                ("state:modified.body", found.new || found.body),
                ("state:modified.configs", found.new || found.configs),
                ("state:modified.relation", found.new || found.relation),
                ("state:modified.macros", found.new || found.macros),
                ("state:new", found.new),
                ("state:old", !found.new),
                ("state:unmodified", !found.any()),
            ];
            for (word, _) in words.into_iter().filter(|(_, holds)| *holds) {
                sets.entry(word).or_default().insert(id.clone());
            }
        }
        known.extend(sets.into_iter().map(|(word, set)| (word.to_owned(), set)));
    }

    fn differences(
        &self,
        model: &Model,
        before: Option<&Json>,
        changed_macros: &[String],
    ) -> Differences {
        let Some(before) = before else {
            return Differences { new: true, ..Differences::default() };
        };
        let text = |key: &str| before.get(key).and_then(Json::as_str).map(str::to_owned);
        let now = config(model);
        // Settings that the other side does not know are no difference.
        let configs = now.as_object().into_iter().flatten().any(|(key, value)| {
            let old = before.get("config").and_then(|config| config.get(key));
            old.is_some_and(|old| !same_setting(old, value))
        });
        let checksum_before = before.pointer("/checksum/checksum").and_then(Json::as_str);
        let relation = text("schema").is_some_and(|schema| schema != model.schema)
            || text("alias").is_some_and(|alias| alias != model.table());
        let mentions = |name: &String| self.macros.mentions_macro(&model.sql_template, name);
        Differences {
            new: false,
            body: checksum_before != Some(sha256(&self.body(model)).as_str()),
            configs,
            relation,
            macros: changed_macros.iter().any(mentions),
        }
    }

    /// The project's macros whose text is another one, or that are new.
    fn changed_macros(&self, before: &Json) -> Vec<String> {
        let package = self.package();
        let old = |name: &str| {
            let id = format!("macro.{package}.{name}");
            let node = before.get("macros").and_then(|macros| macros.get(id));
            node.and_then(|node| node.get("macro_sql")).and_then(Json::as_str).map(str::to_owned)
        };
        let macros = self.macros.sources().into_iter();
        let changed =
            macros.filter(|(name, _, text)| old(name).is_none_or(|old| old.trim() != text.trim()));
        changed.map(|(name, ..)| name).collect()
    }

    fn results(&self, results: &Json, before: &Json, known: &mut Known) {
        for word in ["error", "fail", "warn", "success", "pass", "skipped"] {
            known.insert(format!("result:{word}"), BTreeSet::new());
        }
        let models = self.models.values();
        let named: BTreeMap<String, &str> =
            models.map(|model| (self.unique_id(model), model.name.as_str())).collect();
        for result in results.get("results").and_then(Json::as_array).into_iter().flatten() {
            let text = |key: &str| result.get(key).and_then(Json::as_str);
            let (Some(id), Some(status)) = (text("unique_id"), text("status")) else { continue };
            // A test stands for what it tests.
            let node = before.pointer("/nodes").and_then(|nodes| nodes.get(id));
            let tested = node.and_then(|node| node.get("attached_node")).and_then(Json::as_str);
            let depends = node.and_then(|node| node.pointer("/depends_on/nodes"));
            let read = depends.and_then(Json::as_array).and_then(|all| all.last()?.as_str());
            let id = match id.starts_with("test.") || id.starts_with("unit_test.") {
                true => tested.or(read).unwrap_or(id),
                false => id,
            };
            let last = id.rsplit('.').next().unwrap_or(id);
            let name = named.get(id).copied().unwrap_or(last);
            if self.models.contains_key(name) {
                let set = known.entry(format!("result:{status}")).or_default();
                set.insert(NodeId::new(NodeKind::Model, name));
            }
        }
    }

    fn named_selectors(&self, known: &mut Known) -> Result<()> {
        if !self.dir.join(SELECTORS_FILE).is_file() {
            return Ok(());
        }
        let text = std::fs::read_to_string(self.dir.join(SELECTORS_FILE))
            .map_err(|error| Error::io("read", &self.dir.join(SELECTORS_FILE), error))?;
        let mut out = Diagnostics::default();
        let file = SourceFile::new(SELECTORS_FILE, &text);
        let read = yaml::parse(&file, &mut out).map(|node| node.to_json()).unwrap_or_default();
        if out.has_errors() {
            return Err(out.into());
        }
        let list = read.get("selectors").and_then(Json::as_array).cloned().unwrap_or_default();
        let mut definitions: BTreeMap<String, Json> = BTreeMap::new();
        for entry in list {
            let name = entry.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
            definitions.insert(name, entry.get("definition").cloned().unwrap_or_default());
        }
        for (name, definition) in &definitions {
            let needs = definition.to_string();
            // One that compares is only there if there is something to compare with.
            let compares = needs.contains("state") || needs.contains("result");
            if compares && !known.contains_key("state:modified") {
                continue;
            }
            let found = self.defined(definition, &definitions, known, 0).map_err(|error| {
                error.context(format!("selector \"{name}\" of {SELECTORS_FILE}"))
            })?;
            known.insert(format!("selector:{name}"), found);
        }
        Ok(())
    }

    /// What a definition of a selector selects.
    fn defined(
        &self,
        definition: &Json,
        all: &BTreeMap<String, Json>,
        known: &Known,
        depth: usize,
    ) -> Result<BTreeSet<NodeId>> {
        if depth > DEPTH_MAX {
            return Err(Error::invalid("selectors are made of each other in a circle")
                .hint("Let one of them name nodes instead."));
        }
        let inner = |part: &Json| self.defined(part, all, known, depth + 1);
        let entry = match definition {
            Json::String(text) => {
                return self.graph.select_with(std::slice::from_ref(text), &[], known);
            }
            Json::Object(entry) => entry,
            _ => {
                return Err(Error::invalid("a definition is neither a text nor a mapping")
                    .hint("Write `tag:daily`, or `{method: tag, value: daily}`."));
            }
        };
        for (word, union) in [("union", true), ("intersection", false)] {
            let Some(parts) = entry.get(word).and_then(Json::as_array) else { continue };
            let mut found: Option<BTreeSet<NodeId>> = None;
            let mut without = BTreeSet::new();
            for part in parts {
                if let Some(excluded) = part.get("exclude").and_then(Json::as_array)
                    && part.get("method").is_none()
                {
                    for part in excluded {
                        without.extend(inner(part)?);
                    }
                    continue;
                }
                let set = inner(part)?;
                found = Some(match (found, union) {
                    (None, _) => set,
                    (Some(before), true) => before.union(&set).cloned().collect(),
                    (Some(before), false) => before.intersection(&set).cloned().collect(),
                });
            }
            let found = found.unwrap_or_default();
            return Ok(found.difference(&without).cloned().collect());
        }
        let text = |key: &str| match entry.get(key) {
            Some(Json::String(text)) => Some(text.clone()),
            Some(Json::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let (method, value) = match (text("method"), text("value")) {
            (Some(method), Some(value)) => (method, value),
            // `tag: daily`
            _ => match entry.iter().next() {
                Some((method, Json::String(value))) => (method.clone(), value.clone()),
                _ => {
                    return Err(Error::invalid("a definition has no method and value")
                        .hint("Write `{method: tag, value: daily}`."));
                }
            },
        };
        let mut found = if method == "selector" {
            let Some(other) = all.get(&value) else {
                return Err(Error::not_found(format!("there is no selector \"{value}\""))
                    .hint(suggest::hint(&value, all.keys().map(String::as_str))));
            };
            inner(other)?
        } else {
            let flag = |key: &str| entry.get(key) == Some(&Json::Bool(true));
            let depth_of = |key: &str| text(&format!("{key}_depth")).unwrap_or_default();
            let above =
                if flag("parents") { format!("{}+", depth_of("parents")) } else { String::new() };
            let below =
                if flag("children") { format!("+{}", depth_of("children")) } else { String::new() };
            let at = if flag("childrens_parents") { "@" } else { "" };
            let method = if method == "fqn" { String::new() } else { format!("{method}:") };
            let text = format!("{at}{above}{method}{value}{below}");
            self.graph.select_with(&[text], &[], known)?
        };
        for part in entry.get("exclude").and_then(Json::as_array).into_iter().flatten() {
            for id in inner(part)? {
                found.remove(&id);
            }
        }
        Ok(found)
    }
}

fn resource_type(model: &Model) -> &'static str {
    match model.config.materialized {
        Materialized::Seed => "seed",
        Materialized::Snapshot => "snapshot",
        _ => "model",
    }
}

/// The settings that make a model another one.
fn config(model: &Model) -> Json {
    let config = &model.config;
    let key = match config.unique_key.as_slice() {
        [] => Json::Null,
        [one] => json!(one),
        many => json!(many),
    };
    json!({
        "materialized": config.materialized.word(), "enabled": config.enabled, "tags": config.tags,
        "unique_key": key, "alias": config.alias, "contract": {"enforced": config.contract},
    })
}

/// Whether two settings mean the same: dbt writes `contract` with more in it, and one key as a text.
fn same_setting(old: &Json, new: &Json) -> bool {
    match (old, new) {
        (Json::Object(old), Json::Object(new)) => {
            new.iter().all(|(key, value)| old.get(key).is_none_or(|old| old == value))
        }
        (Json::Array(old), Json::Array(new)) => {
            let set = |list: &[Json]| list.iter().map(Json::to_string).collect::<BTreeSet<_>>();
            set(old) == set(new)
        }
        _ => old == new,
    }
}

fn checksum(text: &str) -> Json {
    json!({"name": "sha256", "checksum": sha256(text)})
}

/// dbt's checksum of a file: of its text without white space around it.
fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text.trim().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The manifest of an earlier build.
fn manifest_in(folder: &Path) -> Result<Json> {
    read_json(folder, "manifest.json")?.ok_or_else(|| {
        Error::not_found(format!("{} has no manifest.json", folder.display()))
            .hint("Name the folder in which an earlier build left it, such as target/.")
    })
}

fn read_json(folder: &Path, name: &str) -> Result<Option<Json>> {
    let path = folder.join(name);
    let Ok(about) = path.metadata() else { return Ok(None) };
    if about.len() > STATE_BYTES_MAX {
        return Err(Error::invalid(format!("{} is larger than 512 MiB", path.display()))
            .hint("Name the folder of a build's own files."));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::invalid(format!("{} is not JSON: {error}", path.display()))
            .hint("Let a build write it again.")
    })
}
