//! Macro files and templates as the engine reads them: unique names, dbt's `{% test %}`, and lists
//! that can grow.

use std::borrow::Cow;

use crate::template::blocks::{self, Tag};

/// Methods that change a list or map, which the engine's own cannot.
const CHANGING: &[&str] = &[".append(", ".extend(", ".update(", ".insert(", ".pop(", ".remove("];

/// A macro file.
pub(super) struct Rewritten {
    /// Its text, as many lines as before.
    pub(super) text: String,
    /// The macros it declares; a generic test `x` is the macro `test_x`.
    pub(super) macros: Vec<String>,
    /// The names it sets outside of macros.
    pub(super) sets: Vec<String>,
}

/// The name under which a macro is declared, unlike every other.
pub(super) fn unique(package: &str, name: &str) -> String {
    format!("__{package}__{name}")
}

/// Gives macros their unique names and makes macros of generic tests.
pub(super) fn rewrite(package: &str, text: &str) -> Rewritten {
    let mut made = Rewritten { text: String::new(), macros: Vec::new(), sets: Vec::new() };
    let mut at = 0;
    // Inside of a macro, `set` is the macro's own; a materialization is not a macro at all.
    let mut depth = 0_usize;
    let mut skipped: Option<usize> = None;
    for tag in blocks::tags(text) {
        if let Some(start) = skipped {
            if tag.word == "endmaterialization" {
                made.text.extend(text[start..tag.end].chars().filter(|c| *c == '\n'));
                at = tag.end;
                skipped = None;
            }
            continue;
        }
        match tag.word {
            "macro" | "test" | "data_test" => {
                let name = match tag.word {
                    "macro" => tag.name().to_owned(),
                    _ => format!("test_{}", tag.name()),
                };
                let word_at = text[tag.start..].find(tag.word).map_or(tag.start, |w| tag.start + w);
                made.text.push_str(&text[at..word_at]);
                made.text.push_str("macro ");
                made.text.push_str(&unique(package, &name));
                at = tag.rest_at + tag.name().len();
                made.macros.push(name);
                depth += 1;
            }
            "endmacro" | "endtest" | "enddata_test" => {
                let word_at = text[tag.start..].find(tag.word).map_or(tag.start, |w| tag.start + w);
                made.text.push_str(&text[at..word_at]);
                made.text.push_str("endmacro");
                at = word_at + tag.word.len();
                depth = depth.saturating_sub(1);
            }
            "materialization" => {
                made.text.push_str(&text[at..tag.start]);
                skipped = Some(tag.start);
            }
            "set" if depth == 0 => made.sets.push(tag.name().to_owned()),
            _ => {}
        }
    }
    let rest = skipped.map_or(at, |_| text.len());
    made.text.push_str(&text[rest..]);
    made.text = mutable_lists(&made.text).into_owned();
    made
}

/// Lets lists and maps that a template changes be such that can be changed.
pub(crate) fn mutable_lists(text: &str) -> Cow<'_, str> {
    if !CHANGING.iter().any(|method| text.contains(method)) {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for tag in blocks::tags(text) {
        let Some((from, to)) = literal(&tag) else { continue };
        made.push_str(&text[at..from]);
        made.push_str("__grows(");
        made.push_str(&text[from..to]);
        made.push(')');
        at = to;
    }
    made.push_str(&text[at..]);
    Cow::Owned(made)
}

/// Where the list or map lies that a `set` starts with.
fn literal(tag: &Tag<'_>) -> Option<(usize, usize)> {
    if tag.word != "set" {
        return None;
    }
    let (name, value) = tag.rest.split_once('=')?;
    let trimmed = value.trim_start();
    let starts = trimmed.starts_with('[') || trimmed.starts_with('{');
    if !starts || name.contains(['(', '"', '\'']) {
        return None;
    }
    let from = tag.rest_at + name.len() + 1 + (value.len() - trimmed.len());
    Some((from, from + trimmed.trim_end().len()))
}
