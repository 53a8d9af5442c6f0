//! Hides what a program was told in what it says.

use std::fmt;

use serde_json::Value;

/// What stands in the place of a hidden text.
const HIDDEN: &str = "***";

/// Texts of this length or shorter are no secrets; hiding them would make every text unreadable.
const PLAIN_CHARS_MAX: usize = 3;

/// The texts that must not be seen.
pub(crate) struct Mask(Vec<String>);

impl Mask {
    /// Hides every text in `config`, and these.
    pub(crate) fn new<'a>(config: &Value, more: impl Iterator<Item = &'a String>) -> Self {
        let mut found = Vec::new();
        texts(config, &mut found);
        more.for_each(|text| take(text, &mut found));
        // A text that holds another one goes first.
        found.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        found.dedup();
        Self(found)
    }

    /// The text without them.
    pub(crate) fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for hidden in &self.0 {
            if text.contains(hidden.as_str()) {
                text = text.replace(hidden.as_str(), HIDDEN);
            }
        }
        text
    }

    /// The masked text without the rest of a hidden text at its begin, where it was cut off.
    pub(crate) fn cut_begin(&self, text: String) -> String {
        let cuts = self.0.iter().flat_map(|hidden| {
            hidden.char_indices().skip(1).filter_map(|(at, _)| hidden.get(at..))
        });
        match cuts.filter(long).filter_map(|tail| text.strip_prefix(tail)).min_by_key(|r| r.len()) {
            Some(rest) => format!("{HIDDEN}{rest}"),
            None => text,
        }
    }

    /// The masked text without the begin of a hidden text at its end, where it was cut off.
    pub(crate) fn cut_end(&self, text: String) -> String {
        let cuts = self.0.iter().flat_map(|hidden| {
            hidden.char_indices().skip(1).filter_map(|(at, _)| hidden.get(..at))
        });
        match cuts.filter(long).filter_map(|head| text.strip_suffix(head)).min_by_key(|r| r.len()) {
            Some(rest) => format!("{rest}{HIDDEN}"),
            None => text,
        }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} texts)", self.0.len())
    }
}

fn long(part: &&str) -> bool {
    part.chars().count() > PLAIN_CHARS_MAX
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => take(text, found),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text, its lines, and both as they are written within JSON.
fn take(text: &str, found: &mut Vec<String>) {
    for part in std::iter::once(text).chain(text.lines()) {
        let part = part.trim();
        if !long(&part) {
            continue;
        }
        found.push(part.to_owned());
        let quoted = Value::String(part.to_owned()).to_string();
        let escaped = quoted.get(1..quoted.len() - 1).unwrap_or_default();
        if escaped != part {
            found.push(escaped.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mask() -> Mask {
        let config = json!({ "key": "hunter2hunter2", "url": "postgres://me:hunter2hunter2@h",
            "pem": "BEGIN\nabcdef\nEND!", "list": [{ "quoted": "say \"sesame\"" }], "n": 5, "on": "yes" });
        Mask::new(&config, [&"variable".to_owned()].into_iter())
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(mask().apply(text), expected);
    }

    #[test]
    fn every_text_of_the_configuration_is_hidden_in_whole_and_in_part() {
        check("login failed for hunter2hunter2 at h", "login failed for *** at h");
        check("postgres://me:hunter2hunter2@h is away", "*** is away");
        check("cannot read key abcdef", "cannot read key ***");
        check(r#"bad config {"quoted":"say \"sesame\""}"#, r#"bad config {"quoted":"***"}"#);
        check("VARIABLE is variable", "VARIABLE is ***");
        check("yes, 5 rows", "yes, 5 rows");
    }

    #[test]
    fn a_secret_cut_off_at_an_end_is_hidden() {
        let begin = |text: &str| mask().cut_begin(text.to_owned());
        let end = |text: &str| mask().cut_end(text.to_owned());
        assert_eq!(begin("er2hunter2 was refused"), "*** was refused");
        assert_eq!(end("refused: hunter2hun"), "refused: ***");
        assert_eq!(begin("er2 was refused"), "er2 was refused");
    }
}
