//! Rows found again by the canonical texts of their keys.

use flywheel_base::{Error, Result};

use super::{Dialect, Kind, SEPARATOR, TableText};

impl TableText {
    /// The condition in a database's words that a row has one of these keys, which are canonical texts
    /// as a comparison gives them.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the key has columns other than exact numbers, dates and
    /// text; [`flywheel_base::ErrorKind::Internal`] if a text is none of this key.
    pub fn has_key(&self, dialect: Dialect, keys: &[String]) -> Result<String> {
        let one = |text: &String| {
            let values = row_values(text);
            if values.len() != self.key.len() {
                return Err(Error::internal(format!("the key {text} has {} parts", values.len())));
            }
            let parts = self.key.iter().zip(values).map(|((column, kind), value)| {
                let literal = literal(dialect, *kind, &value).ok_or_else(|| {
                    Error::invalid(format!("rows cannot be named by the key column \"{column}\""))
                        .hint("Keys of whole numbers, decimals, dates and text can.")
                })?;
                Ok(format!("{} = {literal}", dialect.name(column)))
            });
            Ok(format!("({})", parts.collect::<Result<Vec<_>>>()?.join(" and ")))
        };
        Ok(keys.iter().map(one).collect::<Result<Vec<_>>>()?.join(" or "))
    }
}

/// The values of a row's canonical text: the reverse of [`super::row_text`], as text.
fn row_values(text: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            SEPARATOR => {
                values.push(String::new());
                continue;
            }
            '\\' => chars.next().unwrap_or('\\'),
            c => c,
        };
        if let Some(value) = values.last_mut() {
            value.push(plain);
        }
    }
    values
}

fn literal(dialect: Dialect, kind: Kind, value: &str) -> Option<String> {
    match kind {
        Kind::Integer => value.parse::<i128>().ok().map(|number| number.to_string()),
        Kind::Numeric { scale } => {
            let unsigned = value.strip_prefix('-').unwrap_or(value);
            let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
            let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            // It is compared digit by digit: there, a number with a point would be a float.
            (!whole.is_empty() && digits(whole) && digits(fraction)).then(|| match dialect {
                Dialect::Datafusion => format!("cast('{value}' as decimal(38, {scale}))"),
                _ => value.to_owned(),
            })
        }
        // Only PostgreSQL has such a date: elsewhere no row has this key.
        Kind::Date if dialect != Dialect::Postgres && value.ends_with("infinity") => {
            Some("null".to_owned())
        }
        Kind::Date => Some(format!("date {}", dialect.text(value))),
        Kind::Text => Some(dialect.text(value)),
        _ => None,
    }
}
