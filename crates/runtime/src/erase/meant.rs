//! Whether a text is about a person.

use std::collections::BTreeSet;

use serde_json::Value;

/// A shorter key stands in texts that are about somebody or something else, such as an amount.
pub(super) const LONG_BYTES_MIN: usize = 8;

/// What separates the cells of a row that was kept as it was read.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];

/// The key of a person, and the names under which it is kept.
#[derive(Clone)]
pub(super) struct Meant {
    key: String,
    /// Columns and fields that hold keys.
    names: BTreeSet<String>,
}

impl Meant {
    pub(super) fn new(key: &str, names: BTreeSet<String>) -> Self {
        Self { key: key.to_owned(), names }
    }

    /// The key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether the key tells the person wherever it stands.
    pub(super) fn is_long(&self) -> bool {
        self.key.len() >= LONG_BYTES_MIN
    }

    /// Whether the text is about the person: it has the key as a word of its own, or, where the key is short, as the value
    /// of a field that holds keys.
    pub(super) fn in_text(&self, text: &str) -> bool {
        if self.is_long() {
            return has_word(text, &self.key);
        }
        match serde_json::from_str::<Value>(text) {
            Ok(value) => self.in_value(&value),
            Err(_) => false,
        }
    }

    /// As [`Meant::in_text`], of a row of a table that holds keys: a cell that is the key counts, too.
    pub(super) fn in_row(&self, raw: &str) -> bool {
        self.in_text(raw) || cells(raw).any(|cell| cell == self.key)
    }

    /// As [`Meant::in_text`], of bytes.
    pub(super) fn in_bytes(&self, bytes: &[u8]) -> bool {
        // What is no UTF-8 is replaced, and the key is UTF-8.
        bytes == self.key.as_bytes() || self.in_text(&String::from_utf8_lossy(bytes))
    }

    fn in_value(&self, value: &Value) -> bool {
        match value {
            Value::Object(fields) => fields.iter().any(|(name, value)| {
                (self.names.contains(name) && said(value).as_deref() == Some(self.key.as_str()))
                    || self.in_value(value)
            }),
            Value::Array(items) => items.iter().any(|item| self.in_value(item)),
            _ => false,
        }
    }
}

/// The cells of a row as it was read, without what quotes them.
pub(super) fn cells(raw: &str) -> impl Iterator<Item = &str> {
    let cells =
        raw.split(|letter: char| SEPARATORS.contains(&letter) || matches!(letter, '\n' | '\r'));
    cells.map(|cell| cell.trim().trim_matches('"').trim())
}

/// The values of the fields `names` in a JSON text; none if it is none.
pub(super) fn fields(raw: &str, names: &BTreeSet<String>) -> Vec<String> {
    match serde_json::from_str::<Value>(raw) {
        Ok(Value::Object(fields)) => {
            let held = fields.iter().filter(|(name, _)| names.contains(*name));
            held.filter_map(|(_, value)| said(value)).collect()
        }
        _ => Vec::new(),
    }
}

/// A value as text, as SQL would say it.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether `word` stands in `text` and is no part of a longer one: `ann@example.org` is not in `joann@example.org`, nor in
/// `j.ann@example.org`. What is no address may be a part of another id, which is then about the same person.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    if word.is_empty() {
        return false;
    }
    let address = word.contains('@');
    text.match_indices(word).any(|(at, _)| {
        let mut before = text.get(..at).unwrap_or_default().chars().rev();
        let (last, one_before) = (before.next(), before.next());
        // In JSON a line break is a letter behind a stroke.
        let escape = one_before == Some('\\') && last.is_some_and(|last| "bfnrt".contains(last));
        let last = last.filter(|_| !escape);
        let mut after = text.get(at + word.len()..).unwrap_or_default().chars();
        let (next, second) = (after.next(), after.next());
        // A full stop ends a sentence, unless the word goes on behind it.
        let joined = address && next.is_some_and(joins) && second.is_some_and(is_inner);
        let led = last.is_some_and(|last| is_inner(last) || (address && joins(last)));
        !led && !joined && !next.is_some_and(is_inner)
    })
}

/// Letters and digits of keys. Those of other scripts stand around keys without a space.
fn is_inner(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// What joins the parts of one key.
fn joins(letter: char) -> bool {
    matches!(letter, '.' | '-' | '@' | '+')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(key: &str) -> Meant {
        Meant::new(key, BTreeSet::from(["customer_id".to_owned()]))
    }

    #[test]
    fn a_long_key_is_a_word_of_its_own_wherever_it_stands() {
        let ann = meant("ann@example.org");
        for text in [
            "ann@example.org",
            "x,ann@example.org,1",
            "{\"to\":\"ann@example.org\"}",
            "客户ann@example.org的",
            "by ann@example.org.",
            "{\"text\":\"Dear\\nann@example.org\"}",
        ] {
            assert!(ann.in_text(text), "{text}");
        }
        for text in
            ["joann@example.org", "j.ann@example.org", "ann@example.org.uk", "ann@example.orga", ""]
        {
            assert!(!ann.in_text(text), "{text}");
        }
        let number = meant("0123456789abcdef");
        assert!(
            number.in_bytes(b"\xff 0123456789abcdef") && number.in_text("order-0123456789abcdef-7")
        );
        assert!(!number.in_text("00123456789abcdef"));
    }

    #[test]
    fn a_short_key_counts_only_where_keys_are_kept() {
        let one = meant("17");
        assert!(one.in_text("{\"customer_id\":17,\"amount\":3}"));
        assert!(one.in_text("{\"rows\":[{\"customer_id\":\"17\"}]}"));
        assert!(!one.in_text("{\"customer_id\":3,\"amount\":17}"));
        assert!(!one.in_text("17,3") && one.in_row("3,\"17\",x") && !one.in_row("3,170"));
        assert!(one.in_bytes(b"17") && !one.in_bytes(b"17 apples"));
    }

    #[test]
    fn fields_are_read_of_objects_alone() {
        let names = BTreeSet::from(["id".to_owned()]);
        assert_eq!(fields("{\"id\": 5, \"x\": 7}", &names), ["5"]);
        assert!(fields("5", &names).is_empty());
        assert_eq!(cells("a, \"b\" ;c").collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
