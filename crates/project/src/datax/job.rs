//! A job as JSON, in which everything that is read is marked, so that the rest can be told.

use std::cell::RefCell;
use std::collections::BTreeSet;

use flywheel_base::{Error, Result, suggest};
use serde_json::Value as Json;

use super::Note;

/// The deepest job that is looked through.
const DEPTH_MAX: usize = 32;

/// A job, and what of it was read.
pub(super) struct Job {
    value: Json,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The places that were read, with all below them.
    used: BTreeSet<String>,
    notes: BTreeSet<Note>,
}

/// A place in a job.
#[derive(Clone)]
pub(super) struct At<'a> {
    job: &'a Job,
    value: &'a Json,
    path: String,
}

impl Job {
    /// Reads the text of a job.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim_start_matches('\u{feff}');
        // The parser's own message can quote the text, and a password is in it.
        let value: Json = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Error::invalid(format!("the job is not JSON at line {line}, column {column}"))
                .hint("Give the file that `datax.py` runs; comments are not allowed in it.")
        })?;
        Ok(Self { value, seen: RefCell::default() })
    }

    /// The whole job.
    pub(super) fn root(&self) -> At<'_> {
        At { job: self, value: &self.value, path: "$".to_owned() }
    }

    /// All notes, with one for everything that was not read.
    pub(super) fn notes(&self) -> Vec<Note> {
        let mut found = self.seen.borrow().notes.clone();
        let seen = self.seen.borrow();
        let mut open = vec![("$".to_owned(), &self.value, 0)];
        while let Some((path, value, depth)) = open.pop() {
            if seen.used.contains(&path) || seen.notes.iter().any(|note| note.at == path) {
                continue;
            }
            match value {
                Json::Object(entries) if !entries.is_empty() && depth < DEPTH_MAX => {
                    for (key, value) in entries {
                        open.push((format!("{path}.{key}"), value, depth + 1));
                    }
                }
                Json::Array(items) if !items.is_empty() && depth < DEPTH_MAX => {
                    for (index, value) in items.iter().enumerate() {
                        open.push((format!("{path}[{index}]"), value, depth + 1));
                    }
                }
                Json::Object(_) | Json::Array(_) | Json::Null => {}
                _ => {
                    let message = "was not carried over".to_owned();
                    found.insert(Note { at: path, message });
                }
            }
        }
        found.into_iter().collect()
    }
}

impl<'a> At<'a> {
    /// A key of an object, unless it is absent or null.
    pub(super) fn key(&self, name: &str) -> Option<At<'a>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(At { job: self.job, value, path: format!("{}.{name}", self.path) })
    }

    /// A key that has to be there.
    pub(super) fn need(&self, name: &str) -> Result<At<'a>> {
        self.key(name).ok_or_else(|| {
            let known = self.value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
            let known: Vec<&str> = known.collect();
            let hint = if known.is_empty() {
                format!("A job of DataX has \"{name}\" here.")
            } else {
                suggest::hint(name, known)
            };
            self.wrong(&format!("has no \"{name}\""), &hint)
        })
    }

    /// The items of a list; a single value counts as one.
    pub(super) fn list(&self) -> Result<Vec<At<'a>>> {
        Ok(match self.value {
            Json::Array(items) => {
                let items = items.iter().enumerate();
                items
                    .map(|(index, value)| At {
                        job: self.job,
                        value,
                        path: format!("{}[{index}]", self.path),
                    })
                    .collect()
            }
            _ => vec![self.clone()],
        })
    }

    /// A text; a number or truth value is written as one.
    pub(super) fn text(&self) -> Result<String> {
        self.mark();
        match self.value {
            Json::String(text) => Ok(text.clone()),
            Json::Number(number) => Ok(number.to_string()),
            Json::Bool(truth) => Ok(truth.to_string()),
            _ => Err(self.wrong("is not a text", "Write one text here.")),
        }
    }

    /// A whole number, also if it is written as a text.
    pub(super) fn whole(&self) -> Result<u64> {
        self.text()?
            .trim()
            .parse()
            .map_err(|_| self.wrong("is not a whole number", "Write a number from 0 on."))
    }

    /// A number.
    pub(super) fn real(&self) -> Result<f64> {
        self.text()?
            .trim()
            .parse()
            .map_err(|_| self.wrong("is not a number", "Write a number such as 0.02."))
    }

    /// A truth value, also if it is written as a text.
    pub(super) fn truth(&self) -> Result<bool> {
        match self.text()?.trim().to_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong("is neither true nor false", "Write true or false.")),
        }
    }

    /// The value itself, which counts as read with all in it.
    pub(super) fn json(&self) -> &'a Json {
        self.mark();
        self.value
    }

    /// Says what became of this place.
    pub(super) fn note(&self, message: &str) {
        let note = Note { at: self.path.clone(), message: message.to_owned() };
        self.job.seen.borrow_mut().notes.insert(note);
    }

    /// The error of this place; the value is not repeated, it may be a secret.
    pub(super) fn wrong(&self, what: &str, hint: &str) -> Error {
        Error::invalid(format!("{} {what}", self.path)).hint(hint)
    }

    fn mark(&self) {
        self.job.seen.borrow_mut().used.insert(self.path.clone());
    }
}
