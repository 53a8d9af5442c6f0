//! Names and values inside SQL. `COPY` takes no parameters, so values have to be written out.

/// `name` as an SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as an SQL string. Sessions have `standard_conforming_strings` on.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `text` as a value of an SQL type.
pub(crate) fn typed(text: &str, sql_type: &str) -> String {
    format!("{}::{sql_type}", literal(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cannot_end_a_name_or_a_value() {
        assert_eq!(quoted("a\"; DROP TABLE t"), "\"a\"\"; DROP TABLE t\"");
        assert_eq!(typed("o'clock \\", "text"), "'o''clock \\'::text");
    }
}
