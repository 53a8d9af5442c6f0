//! dbt's node selection: `orders`, `+orders`, `orders+`, `2+orders`, `@orders`, `tag:daily`, `path:models/marts`,
//! `sync:shop`, `stg_*`; a space is a union, a comma an intersection.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result, suggest};

use super::{Graph, NodeId, NodeKind};

/// What a criterion looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Name,
    Kind(NodeKind),
    Tag,
    Path,
}

impl Graph {
    /// The nodes that any of `select` names (all nodes if it is empty), without those that any of
    /// `exclude` names.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`], with the nearest name, if a selector names nothing.
    pub fn select(&self, select: &[String], exclude: &[String]) -> Result<BTreeSet<NodeId>> {
        let mut chosen = BTreeSet::new();
        if select.iter().all(|text| text.trim().is_empty()) {
            chosen.extend(self.nodes.keys().cloned());
        }
        for union in select.iter().flat_map(|text| text.split_whitespace()) {
            chosen.extend(self.intersection(union)?);
        }
        for union in exclude.iter().flat_map(|text| text.split_whitespace()) {
            for id in self.intersection(union)? {
                chosen.remove(&id);
            }
        }
        Ok(chosen)
    }

    fn intersection(&self, text: &str) -> Result<BTreeSet<NodeId>> {
        let mut all: Option<BTreeSet<NodeId>> = None;
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let found = self.criterion(part)?;
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

    fn criterion(&self, text: &str) -> Result<BTreeSet<NodeId>> {
        // `@orders`: what depends on it, and everything that those need to be built.
        let (whole, inner) = match text.strip_prefix('@') {
            Some(inner) => (true, inner),
            None => (false, text),
        };
        let (above, inner, below) = match whole {
            true => (usize::MAX, inner, usize::MAX),
            false => arms(inner),
        };
        let (method, wanted) = method(inner)?;
        let named: Vec<&NodeId> =
            self.nodes.keys().filter(|id| self.matches(id, method, wanted)).collect();
        if named.is_empty() {
            return Err(self.nothing(text, method, wanted));
        }
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

    fn matches(&self, id: &NodeId, method: Method, wanted: &str) -> bool {
        let info = self.info(id);
        match method {
            Method::Name => glob(wanted, &id.name),
            Method::Kind(kind) => id.kind == kind && glob(wanted, &id.name),
            Method::Tag => info.is_some_and(|info| info.tags.iter().any(|tag| glob(wanted, tag))),
            Method::Path => {
                info.and_then(|info| info.file.as_deref()).is_some_and(|file| below(wanted, file))
            }
        }
    }

    fn nothing(&self, text: &str, method: Method, wanted: &str) -> Error {
        let mut known: BTreeSet<&str> = BTreeSet::new();
        for (id, info) in self.nodes() {
            match method {
                Method::Name => known.extend([id.name.as_str()]),
                Method::Kind(kind) if id.kind == kind => known.extend([id.name.as_str()]),
                Method::Kind(_) => {}
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
    let Some((word, wanted)) = text.split_once(':') else { return Ok((Method::Name, text)) };
    let kind = NodeKind::ALL.into_iter().find(|kind| kind.word() == word);
    let method = match (word, kind) {
        ("tag", _) => Method::Tag,
        ("path", _) => Method::Path,
        (_, Some(kind)) => Method::Kind(kind),
        _ => {
            let known = ["tag", "path"].into_iter().chain(NodeKind::ALL.map(NodeKind::word));
            return Err(Error::invalid(format!("the selector method \"{word}\" is unknown"))
                .hint(suggest::hint(word, known)));
        }
    };
    Ok((method, wanted))
}

/// Whether `file` is `folder`, lies below it or matches it with `*`.
fn below(folder: &str, file: &str) -> bool {
    let folder = folder.strip_prefix("./").unwrap_or(folder).trim_end_matches('/');
    glob(folder, file) || file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Matches with `*` for any number of characters.
fn glob(pattern: &str, text: &str) -> bool {
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
