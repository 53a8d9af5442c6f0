//! SQL that a reader made of its parts, and names in it.

use flywheel_base::statement;

/// How a database quotes names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// With backticks.
    MySql,
    /// With double quotes.
    Postgres,
}

impl Dialect {
    /// A query without the sign of its end and what only comments after it say.
    pub(super) fn bare(self, query: &str) -> &str {
        match self {
            Self::MySql => statement::bare_mysql(query),
            Self::Postgres => statement::bare(query),
        }
    }

    /// A name in quotes.
    pub(super) fn quoted(self, name: &str) -> String {
        match self {
            Self::MySql => format!("`{}`", name.replace('`', "``")),
            Self::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// The name that an entry of `column` is, if it is nothing more than that.
    pub(super) fn name(self, entry: &str) -> Option<String> {
        let entry = entry.trim();
        let mark = if self == Self::MySql { '`' } else { '"' };
        if let Some(inner) = entry.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark)) {
            return (!inner.is_empty() && !inner.contains(mark)).then(|| inner.to_owned());
        }
        let mut chars = entry.chars();
        let first = chars.next()?;
        let plain = (first.is_alphabetic() || first == '_')
            && chars.all(|char| char.is_alphanumeric() || matches!(char, '_' | '$'));
        let word = ["null", "true", "false", "current_timestamp", "current_date"];
        if !plain || word.contains(&entry.to_lowercase().as_str()) {
            return None;
        }
        // Names without quotes are lower-case for PostgreSQL.
        Some(if self == Self::Postgres { entry.to_lowercase() } else { entry.to_owned() })
    }
}

/// Turns `${name}` of DataX into a reference to a variable of the environment, and tells whether there
/// was one. Any other `${` stands for itself.
pub(super) fn variables(text: &str) -> (String, bool) {
    let mut out = String::new();
    let mut found = false;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        match after.split_once('}').map(|(name, more)| (name.trim(), more)) {
            Some((name, more)) if is_variable(name) => {
                out.push_str(&format!("${{env:{}}}", name.replace('.', "_")));
                found = true;
                rest = more;
            }
            _ => {
                out.push_str("$${");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    (out, found)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

/// Whether a statement empties the whole table.
pub(super) fn empties(statement: &str, table: &str) -> bool {
    let statement = statement::bare(statement);
    let plain = |name: &str| name.replace(['`', '"'], "").to_lowercase();
    let words: Vec<String> = statement.split_whitespace().map(plain).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let wanted = plain(table);
    let bare = wanted.rsplit('.').next().unwrap_or(&wanted);
    let is_table = |name: &str| name == wanted || name == bare || name == "@table";
    match words.as_slice() {
        ["truncate", "table", name]
        | ["truncate", name]
        | ["delete", "from", name]
        | ["delete", "from", name, "where", "1=1"] => is_table(name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_name_or_an_expression() {
        let name = |entry| Dialect::MySql.name(entry);
        assert_eq!(name("id").as_deref(), Some("id"));
        assert_eq!(name(" `order no` ").as_deref(), Some("order no"));
        assert_eq!(name("客户").as_deref(), Some("客户"));
        for entry in ["'x'", "2.3", "null", "now()", "a + 1", "t.id", "`a`, `b`", "*"] {
            assert_eq!(name(entry), None, "{entry}");
        }
        assert_eq!(Dialect::Postgres.name("UserId").as_deref(), Some("userid"));
        assert_eq!(Dialect::Postgres.name("\"UserId\"").as_deref(), Some("UserId"));
    }

    #[test]
    fn only_a_statement_that_empties_the_table_means_replace() {
        for statement in
            ["truncate table orders", "TRUNCATE `orders`; -- all", "delete from @table"]
        {
            assert!(empties(statement, "orders"), "{statement}");
        }
        for statement in
            ["delete from orders where day = '2024'", "truncate table other", "set names utf8"]
        {
            assert!(!empties(statement, "orders"), "{statement}");
        }
        assert!(empties("delete from public.orders", "public.orders"));
    }

    #[test]
    fn variables_become_references() {
        assert_eq!(variables("day = '${bizdate}'"), ("day = '${env:bizdate}'".to_owned(), true));
        assert_eq!(variables("a = '${'").0, "a = '$${'");
    }
}
