//! dbt's node selection: `orders`, `+orders`, `orders+`, `2+orders`, `@orders`, `tag:daily`, `path:models/marts`,
//! `source:shop`, `config.materialized:table`, `sync:shop`, `stg_*`; a space is a union, a comma an
//! intersection. What a selector means that looks at more than the project, such as `state:modified`, is
//! [`Known`].

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, suggest};

use super::{Graph, NodeId, NodeKind};

/// What selectors mean that look at more than the project: by the text without its plus signs.
pub type Known = BTreeMap<String, BTreeSet<NodeId>>;

/// What a criterion looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Method {
    Name,
    Kind(NodeKind),
    Source,
    Tag,
    Path,
    File,
    ResourceType,
    Package,
    Config(String),
}

/// The methods that are no kind of node.
const METHODS: &[&str] = &[
    "tag",
    "path",
    "file",
    "fqn",
    "source",
    "config.materialized",
    "resource_type",
    "package",
    "state",
    "result",
    "selector",
];

/// How names of files end that are selected without `file:`.
const FILES: &[&str] = &[".sql", ".csv", ".py"];

impl Graph {
    /// The nodes that any of `select` names (all nodes if it is empty), without those that any of
    /// `exclude` names.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`], with the nearest name, if a selector names nothing.
    pub fn select(&self, select: &[String], exclude: &[String]) -> Result<BTreeSet<NodeId>> {
        self.select_with(select, exclude, &Known::new())
    }

    /// As [`Graph::select`], with selectors that look at more than the project.
    ///
    /// # Errors
    /// As [`Graph::select`].
    pub fn select_with(
        &self,
        select: &[String],
        exclude: &[String],
        known: &Known,
    ) -> Result<BTreeSet<NodeId>> {
        let mut chosen = BTreeSet::new();
        if select.iter().all(|text| text.trim().is_empty()) {
            chosen.extend(self.nodes.keys().cloned());
        }
        for union in select.iter().flat_map(|text| text.split_whitespace()) {
            chosen.extend(self.intersection(union, known)?);
        }
        for union in exclude.iter().flat_map(|text| text.split_whitespace()) {
            for id in self.intersection(union, known)? {
                chosen.remove(&id);
            }
        }
        Ok(chosen)
    }

    fn intersection(&self, text: &str, known: &Known) -> Result<BTreeSet<NodeId>> {
        let mut all: Option<BTreeSet<NodeId>> = None;
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let found = self.criterion(part, known)?;
            all = Some(match all {
                Some(before) => before.intersection(&found).cloned().collect(),
                None => found,
            });
        }
        all.ok_or_else(|| {
            Error::invalid(format!("the selector \"{text}\" is empty"))
                .hint("Name a node, as in `orders`.")
        })
    }

    fn criterion(&self, text: &str, known: &Known) -> Result<BTreeSet<NodeId>> {
        // `@orders`: what depends on it, and everything that those need to be built.
        let (whole, inner) = match text.strip_prefix('@') {
            Some(inner) => (true, inner),
            None => (false, text),
        };
        let (above, inner, below) = match whole {
            true => (usize::MAX, inner, usize::MAX),
            false => arms(inner),
        };
        let named: Vec<&NodeId> = match known.get(inner) {
            // Nothing is a good answer: nothing changed.
            Some(found) => self.nodes.keys().filter(|id| found.contains(id)).collect(),
            None => {
                let (method, wanted) = method(inner)?;
                let matches = |id: &&NodeId| self.matches(id, &method, wanted);
                let named: Vec<&NodeId> = self.nodes.keys().filter(matches).collect();
                if named.is_empty() {
                    return Err(self.nothing(text, &method, wanted));
                }
                named
            }
        };
        let mut chosen = BTreeSet::new();
        for id in named {
            chosen.extend(self.reach(id, |links| &links.upstream, above));
            chosen.extend(self.reach(id, |links| &links.downstream, below));
            chosen.insert(id.clone());
        }
        if whole {
            let needed: Vec<NodeId> = chosen.iter().flat_map(|id| self.ancestors(id)).collect();
            chosen.extend(needed);
        }
        Ok(chosen)
    }

    fn matches(&self, id: &NodeId, method: &Method, wanted: &str) -> bool {
        let info = self.info(id);
        let file = info.and_then(|info| info.file.as_deref());
        match method {
            Method::Name => {
                glob(wanted, &id.name)
                    || (id.kind == NodeKind::Model
                        && (folds_to(wanted, &id.name)
                            || file.is_some_and(|file| lies_in(wanted, file, &id.name))))
            }
            Method::Kind(kind) => id.kind == *kind && glob(wanted, &id.name),
            Method::Source => {
                let named = info.and_then(|info| info.source.as_deref());
                let table = id.name.split_once('.').map_or("", |(_, table)| table);
                let (source, rest) = wanted.split_once('.').unwrap_or((wanted, "*"));
                let by_name = named.is_some_and(|named| glob(source, named) && glob(rest, table));
                id.kind == NodeKind::Source && (by_name || glob(wanted, &id.name))
            }
            Method::File => file.is_some_and(|file| {
                let name = file.rsplit('/').next().unwrap_or(file);
                glob(wanted, name)
                    || name.rsplit_once('.').is_some_and(|(stem, _)| glob(wanted, stem))
            }),
            Method::ResourceType => {
                use crate::resource::project_file::Materialized;
                let stored = info.and_then(|info| info.config.as_ref()).map(|c| c.materialized);
                match wanted {
                    "model" => {
                        id.kind == NodeKind::Model
                            && !matches!(stored, Some(Materialized::Seed | Materialized::Snapshot))
                    }
                    "seed" => stored == Some(Materialized::Seed),
                    "snapshot" => stored == Some(Materialized::Snapshot),
                    "semantic_model" => id.kind == NodeKind::Semantic,
                    word => id.kind.word() == word,
                }
            }
            Method::Package => file.is_some(),
            Method::Config(path) => {
                let config = info.and_then(|info| info.config.as_ref());
                let value = config.and_then(|config| serde_json::to_value(config).ok());
                let found = value.and_then(|value| value.get(path).cloned());
                let text = |value: &serde_json::Value| {
                    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
                };
                match found {
                    Some(serde_json::Value::Array(all)) => {
                        all.iter().any(|one| glob(wanted, &text(one)))
                    }
                    Some(value) => glob(wanted, &text(&value)),
                    None => false,
                }
            }
            Method::Tag => info.is_some_and(|info| info.tags.iter().any(|tag| glob(wanted, tag))),
            Method::Path => {
                info.and_then(|info| info.file.as_deref()).is_some_and(|file| below(wanted, file))
            }
        }
    }

    fn nothing(&self, text: &str, method: &Method, wanted: &str) -> Error {
        let mut known: BTreeSet<&str> = BTreeSet::new();
        for (id, info) in self.nodes() {
            match method {
                Method::Name => known.extend([id.name.as_str()]),
                Method::Kind(kind) if id.kind == *kind => known.extend([id.name.as_str()]),
                Method::Kind(_) | Method::Package | Method::Config(_) => {}
                Method::ResourceType => {
                    known.extend(["model", "seed", "snapshot", "source", "exposure"]);
                }
                Method::Source => known.extend(info.source.as_deref()),
                Method::File => {
                    let name = info.file.as_deref().and_then(|file| file.rsplit('/').next());
                    known.extend(name);
                }
                Method::Tag => known.extend(info.tags.iter().map(String::as_str)),
                Method::Path => known.extend(info.file.as_deref()),
            }
        }
        Error::invalid(format!("the selector \"{text}\" names nothing"))
            .hint(suggest::hint(wanted, known.iter().copied()))
    }
}

/// Splits `2+name+` into steps above, the name and steps below.
fn arms(text: &str) -> (usize, &str, usize) {
    let mut inner = text;
    let mut above = 0;
    let mut below = 0;
    if let Some((steps, rest)) = inner.split_once('+')
        && let Some(steps) = steps_of(steps)
        && !rest.is_empty()
    {
        (above, inner) = (steps, rest);
    }
    if let Some((rest, steps)) = inner.rsplit_once('+')
        && let Some(steps) = steps_of(steps)
    {
        (inner, below) = (rest, steps);
    }
    (above, inner, below)
}

/// No number means all the way.
fn steps_of(text: &str) -> Option<usize> {
    if text.is_empty() { Some(usize::MAX) } else { text.parse().ok() }
}

fn method(text: &str) -> Result<(Method, &str)> {
    let Some((word, wanted)) = text.split_once(':') else {
        // As in dbt, what looks like a path or a file is one.
        let is_file = || FILES.iter().any(|end| text.ends_with(end));
        let method = match text.contains('/') {
            true => Method::Path,
            false if is_file() => Method::File,
            false => Method::Name,
        };
        return Ok((method, text));
    };
    let kind = NodeKind::ALL.into_iter().find(|kind| kind.word() == word);
    let method = match (word, kind) {
        ("tag", _) => Method::Tag,
        ("path", _) => Method::Path,
        ("file", _) => Method::File,
        ("fqn", _) => Method::Name,
        ("source", _) => Method::Source,
        ("resource_type", _) => Method::ResourceType,
        ("package", _) => Method::Package,
        ("semantic_model", _) => Method::Kind(NodeKind::Semantic),
        ("state" | "result", _) => {
            return Err(Error::invalid(format!("the selector \"{text}\" compares with nothing"))
                .hint("Add --state with the folder of an earlier build's manifest.json."));
        }
        (word, _) if word.starts_with("config.") => {
            Method::Config(word.trim_start_matches("config.").to_owned())
        }
        (_, Some(kind)) => Method::Kind(kind),
        _ => {
            let known = METHODS.iter().copied().chain(NodeKind::ALL.map(NodeKind::word));
            return Err(Error::invalid(format!("the selector method \"{word}\" is unknown"))
                .hint(suggest::hint(word, known)));
        }
    };
    Ok((method, wanted))
}

/// Whether a model lies in the folders that `wanted` names with dots, as in dbt's `staging.shop`, with the
/// project's name before them or not, and perhaps its own name behind them.
fn lies_in(wanted: &str, file: &str, name: &str) -> bool {
    let folders: Vec<&str> = file.split('/').skip(1).filter(|part| !part.contains('.')).collect();
    let mut full: Vec<&str> = folders;
    full.push(name);
    let parts: Vec<&str> = wanted.split('.').filter(|part| *part != "*").collect();
    let starts = |parts: &[&str]| {
        !parts.is_empty()
            && parts.len() <= full.len()
            && parts
                .iter()
                .zip(&full)
                .all(|(part, own)| glob(part, own) || (*own == name && folds_to(part, own)))
    };
    let deep = parts.len() > 1 || full.len() > 1;
    deep && (starts(&parts) || parts.get(1..).is_some_and(starts))
}

/// Whether `pattern` is a model's name as its file in a dbt project has it, with capitals: the model's has none.
fn folds_to(pattern: &str, name: &str) -> bool {
    glob(&pattern.to_ascii_lowercase(), name)
}

/// Whether `file` is `folder`, lies below it or matches it with `*`.
fn below(folder: &str, file: &str) -> bool {
    let folder = folder.strip_prefix("./").unwrap_or(folder).trim_end_matches('/');
    glob(folder, file) || file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether `text` matches `pattern`, in which a `*` stands for any number of characters.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
