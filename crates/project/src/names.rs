//! What may be a name: it becomes a table, a schema, a folder or a key.

/// The longest name; PostgreSQL's limit, so that tables can be offered over its protocol.
const NAME_MAX: usize = 63;

/// Schemas that only the platform writes.
pub(crate) const RESERVED_SCHEMAS: &[&str] = &["raw", "learn", "system"];

/// How a bad name is mended.
pub(crate) const HINT: &str =
    "Start with a letter and use lower-case letters, digits and underscores, at most 63.";

/// What is wrong with `name`, as the end of a sentence.
pub(crate) fn problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty");
    }
    if name.len() > NAME_MAX {
        return Some("is longer than 63 characters");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Some("does not start with a lower-case letter");
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.chars().all(allowed) {
        return Some("has other characters than lower-case letters, digits and underscores");
    }
    None
}

/// A name of ours for one of another tool: lower case with underscores, of at most `chars`, and with `prefix` before it if it
/// began with no letter.
pub(crate) fn plain(name: &str, prefix: &str, chars: usize) -> String {
    let mut plain = String::new();
    for letter in name.chars() {
        match letter {
            letter if letter.is_ascii_alphanumeric() => plain.push(letter.to_ascii_lowercase()),
            _ if plain.ends_with('_') => {}
            _ => plain.push('_'),
        }
    }
    let plain: String = plain.trim_matches('_').chars().take(chars).collect();
    match plain.starts_with(|c: char| c.is_ascii_lowercase()) {
        true => plain,
        false => format!("{prefix}{plain}"),
    }
}
