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
