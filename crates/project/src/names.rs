//! What may be a name: it becomes a table, a schema, a folder or a key.

use flywheel_base::digest;

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
/// began with no letter. Letters of other scripts go; a digest of the whole name stands for them, so that two names stay two.
pub(crate) fn plain(name: &str, prefix: &str, chars: usize) -> String {
    let mut plain = String::new();
    for letter in name.chars() {
        match letter {
            letter if letter.is_ascii_alphanumeric() => plain.push(letter.to_ascii_lowercase()),
            _ if plain.ends_with('_') => {}
            _ => plain.push('_'),
        }
    }
    let lost = name.chars().any(|letter| !letter.is_ascii() && letter.is_alphanumeric());
    let room = if lost { chars.saturating_sub(digest::NAME_DIGITS + 1) } else { chars };
    let plain: String = plain.trim_matches('_').chars().take(room).collect();
    let plain = match plain.starts_with(|c: char| c.is_ascii_lowercase()) {
        true => plain,
        false => format!("{prefix}{plain}"),
    };
    if lost { digest::named(&plain, name) } else { plain }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{plain, problem};

    #[test]
    fn names_in_other_scripts_stay_apart() {
        assert_eq!(plain("Shop Orders (EU)", "c_", 40), "shop_orders_eu");
        assert_eq!(plain("2024", "c_", 40), "c_2024");
        assert_eq!(plain("--", "c_", 40), "c_");
        let long = "订".repeat(50) + &"x".repeat(50);
        let names = ["订单契约", "访问契约", "订单数2", "访问数2", "order 订单", &long];
        let found: BTreeSet<String> = names.iter().map(|name| plain(name, "c_", 40)).collect();
        assert_eq!(found.len(), names.len(), "{found:?}");
        assert!(found.iter().all(|name| problem(name).is_none() && name.len() <= 42), "{found:?}");
        let order = plain("order 订单", "c_", 40);
        assert!(order.starts_with("order_") && order.len() == 12, "{order}");
    }
}
