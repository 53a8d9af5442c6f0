//! The tags of a template, as text: what has to be known of macro files before they are put together.

use std::collections::BTreeSet;

/// One `{% … %}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    /// Where it starts, in bytes.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
    /// Its first word: `macro`, `set`.
    pub(crate) word: &'a str,
    /// What follows the word.
    pub(crate) rest: &'a str,
    /// Where that starts.
    pub(crate) rest_at: usize,
}

impl<'a> Tag<'a> {
    /// The name a tag declares: `euros` of `macro euros(column)`.
    pub(crate) fn name(&self) -> &'a str {
        let end = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
        &self.rest[..end]
    }
}

/// Every `{% … %}` outside of comments, expressions and raw text.
pub(crate) fn tags(text: &str) -> Vec<Tag<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut raw = false;
    while let Some(next) = text[at..].find('{').map(|found| at + found) {
        let rest = &text[next..];
        let end = match rest.as_bytes().get(1) {
            Some(b'#') if !raw => rest.find("#}").map(|end| end + 2),
            Some(b'{') if !raw => closing(rest, "}}"),
            Some(b'%') => closing(rest, "%}"),
            _ => Some(1),
        };
        let Some(end) = end else { break };
        if rest.starts_with("{%") {
            let tag = tag(text, next, next + end);
            match tag.word {
                "raw" => raw = true,
                "endraw" => raw = false,
                _ if !raw => found.push(tag),
                _ => {}
            }
        }
        at = next + end;
    }
    found
}

fn tag(text: &str, start: usize, end: usize) -> Tag<'_> {
    let from = start + 2;
    let to = end.saturating_sub(2).max(from);
    let inner = text.get(from..to).unwrap_or_default();
    let trimmed = inner.trim_start_matches(['-', '+']).trim_start();
    let at = from + (inner.len() - trimmed.len());
    let body = trimmed.trim_end_matches(['-', '+']).trim_end();
    let length = body.find(|c: char| !is_word(c)).unwrap_or(body.len());
    let (word, after) = body.split_at(length);
    let rest = after.trim_start();
    Tag { start, end, word, rest, rest_at: at + length + (after.len() - rest.len()) }
}

/// How long the tag at the start of `text` is; quotes may hold its end.
fn closing(text: &str, end: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices().skip(2) {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if text[at..].starts_with(end) => return Some(at + end.len()),
            None => {}
        }
    }
    // An apostrophe in free text is not a quote; the engine says what is wrong with the rest.
    text.find(end).map(|at| at + end.len())
}

/// Where a text's tags and expressions lie, with their braces.
pub(crate) fn expressions(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].find('{').map(|found| at + found) {
        let rest = &text[next..];
        let (end, counts) = match rest.as_bytes().get(1) {
            Some(b'#') => (rest.find("#}").map(|end| end + 2), false),
            Some(b'{') => (closing(rest, "}}"), true),
            Some(b'%') => (closing(rest, "%}"), true),
            _ => (Some(1), false),
        };
        let Some(end) = end else { break };
        if counts {
            found.push((next, next + end));
        }
        at = next + end;
    }
    found
}

/// Every word inside of a text's tags and expressions.
pub(crate) fn words(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let inside = &rest[at..];
        let end = if inside.starts_with("{{") { "}}" } else { "%}" };
        let length = closing(inside, end).unwrap_or(inside.len());
        let words = inside[..length].split(|c: char| !is_word(c));
        found.extend(words.filter(|w| w.starts_with(|c: char| c.is_alphabetic() || c == '_')));
        rest = &inside[length..];
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_outside_of_comments_quotes_and_raw_text() {
        let text = "{# {% macro no() %} #}{%- macro  euros(a, b='%}') -%}{{ '{% if %}' }}{%endmacro%}\
            {% raw %}{% macro raw() %}{% endraw %}{% set x = [] %}";
        let found: Vec<(&str, &str)> =
            tags(text).iter().map(|tag| (tag.word, tag.name())).collect();
        assert_eq!(found, [("macro", "euros"), ("endmacro", ""), ("set", "x")]);
        let set = *tags(text).last().unwrap();
        assert_eq!(&text[set.rest_at..set.rest_at + set.rest.len()], "x = []");
    }

    #[test]
    fn half_a_tag_is_no_tag() {
        for text in ["{%", "{% macro", "{", "{{ 'x", "{# x", "ä{%ö"] {
            assert!(tags(text).is_empty(), "{text}");
        }
    }
}
