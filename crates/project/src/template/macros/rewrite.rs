//! Macro files and templates as the engine reads them: unique names, dbt's `{% test %}`, and lists
//! that can grow.

use std::borrow::Cow;

use crate::template::blocks::{self, Tag};

/// Methods that change a list or map, which the engine's own cannot.
const CHANGING: &[&str] = &[".append(", ".extend(", ".update(", ".insert(", ".pop(", ".remove("];

/// How a span of time is written.
const SPAN: &str = "modules.datetime.timedelta(";

/// Operators that are words, after which no operator between two values comes.
const OPERATORS: &[&str] = &["if", "elif", "else", "in", "is", "and", "or", "not", "do"];

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
    made.text = {
        let text = mutable_lists(&made.text);
        moved_moments(&text).into_owned()
    };
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

/// Lets spans of time be added to and subtracted from what stands before them, which the engine's operators cannot:
///
/// ```text
/// now - modules.datetime.timedelta(days=1)     ─►     now |__earlier( modules.datetime.timedelta(days=1))
/// ```
/// A filter binds closer than an operator, and takes a moment or a span alone: what this takes apart in another way than
/// Python does is refused.
pub(crate) fn moved_moments(text: &str) -> Cow<'_, str> {
    // What is raw is no expression, and stays as it is.
    if !text.contains(SPAN) || text.contains("endraw") {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for (from, to) in blocks::expressions(text) {
        for shift in shifts(&text[from..to]) {
            let [operator, span, end] = [shift.operator, shift.span, shift.end].map(|at| from + at);
            made.push_str(&text[at..operator]);
            made.push_str(shift.filter);
            made.push_str(&text[operator + 1..span]);
            made.push_str(&text[span..end]);
            made.push(')');
            at = end;
        }
    }
    made.push_str(&text[at..]);
    Cow::Owned(made)
}

/// A span of time behind an operator.
struct Shift {
    /// Where the operator is.
    operator: usize,
    /// What comes in its place.
    filter: &'static str,
    /// Where the span begins.
    span: usize,
    /// Where it ends.
    end: usize,
}

/// The spans of an expression that are added to something or subtracted from it.
fn shifts(expression: &str) -> Vec<Shift> {
    let mut found: Vec<Shift> = Vec::new();
    for at in unquoted(expression) {
        let behind = found.last().is_none_or(|last| last.end <= at);
        if behind && expression[at..].starts_with(SPAN) {
            found.extend(shift(expression, at));
        }
    }
    found
}

fn shift(expression: &str, span: usize) -> Option<Shift> {
    let before = expression[..span].trim_end();
    let (operand, filter) = match before.strip_suffix('+') {
        Some(operand) => (operand, "|__later("),
        None => (before.strip_suffix('-')?, "|__earlier("),
    };
    let operator = operand.len();
    let operand = operand.trim_end();
    let word = operand.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    let ends = operand.ends_with([')', ']', '}', '\'', '"'])
        || (!word.is_empty() && !OPERATORS.contains(&word));
    let end = span + call(&expression[span..])?;
    let after = expression[end..].trim_start();
    let next = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    let closes = after.starts_with([')', ']', '}', ',', ':', '+', '-', '<', '>', '=', '!'])
        || after.starts_with("%}")
        // `is` binds closer than `-`.
        || (next != "is" && OPERATORS.contains(&next));
    (ends && closes).then_some(Shift { operator, filter, span, end })
}

/// How long the call is that a text begins with.
fn call(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for at in unquoted(text) {
        match text.as_bytes().get(at)? {
            b'(' => depth += 1,
            b')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Where the signs of an expression lie that are in no text.
fn unquoted(expression: &str) -> impl Iterator<Item = usize> {
    let mut quote = None;
    let mut hidden = false;
    expression.char_indices().filter_map(move |(at, sign)| match quote {
        Some(_) if hidden => {
            hidden = false;
            None
        }
        Some(open) => {
            hidden = sign == '\\';
            if sign == open {
                quote = None;
            }
            None
        }
        None if sign == '\'' || sign == '"' => {
            quote = Some(sign);
            None
        }
        None => Some(at),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_behind_an_operator_become_filters() {
        const T: &str = "modules.datetime.timedelta(days=1)";
        for (text, expected) in [
            ("{{ now - T }}", "{{ now |__earlier( T) }}"),
            ("{{ (f(x)+\nT).date() }}", "{{ (f(x)|__later(\nT)).date() }}"),
            ("{% set x = now - T + T -%}", "{% set x = now |__earlier( T) |__later( T) -%}"),
            (
                "{{ a if b else now - T if c else d }}",
                "{{ a if b else now |__earlier( T) if c else d }}",
            ),
        ] {
            assert_eq!(moved_moments(&text.replace('T', T)), expected.replace('T', T), "{text}");
        }
        for text in [
            "now - T",
            "{# {{ now - T }} #}",
            "{{ 'now - T' }}",
            "{{- T }}",
            "{{ a if b else -T }}",
            "{{ now - T * 2 }}",
            "{{ now - T.days }}",
            "{{ now - T is defined }}",
            "{{ T + now }}",
            "{% raw %}{{ now - T }}{% endraw %}",
        ] {
            let text = text.replace('T', T);
            assert_eq!(moved_moments(&text), text);
        }
    }
}
