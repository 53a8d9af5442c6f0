//! Values as the log writes them, on their way into the columns that a full read has.

use crate::column::{ColumnBuilder, ColumnType, Misfit, Parsing, Scalar};
use crate::postgres::PgType;

/// What the text of a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    Whole,
    Float4,
    Float8,
    Number,
    Bytes,
    Json,
    /// A date or a moment.
    Time,
    /// An array or a composite value, which only the server can turn into JSON.
    Composed,
    Text,
}

impl Form {
    /// The form of the values of a type.
    pub(super) fn of(pg: &PgType) -> Self {
        if pg.category == "A" || pg.form == "c" {
            return Self::Composed;
        }
        if !pg.built_in || pg.form == "e" {
            return Self::Text;
        }
        match pg.name.as_str() {
            "bool" => Self::Bool,
            "int2" | "int4" | "int8" | "oid" => Self::Whole,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "numeric" => Self::Number,
            "bytea" => Self::Bytes,
            "json" | "jsonb" => Self::Json,
            "date" | "timestamp" | "timestamptz" => Self::Time,
            _ => Self::Text,
        }
    }

    /// The expression whose text is what [`Form::push`] takes; a composed value is JSON then.
    pub(super) fn expression(self, column: &str, pg: &PgType) -> String {
        match self {
            Self::Composed => format!("pg_catalog.to_json({column})::text"),
            // The cast of an address to text adds a mask that the address does not have.
            Self::Text if pg.is("inet") => format!("pg_catalog.inet_out({column})::text"),
            _ => format!("{column}::text"),
        }
    }

    /// Adds a value to a column.
    pub(super) fn push(
        self,
        builder: &mut ColumnBuilder,
        bytes: &[u8],
        parsing: &Parsing,
    ) -> Result<(), Misfit> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Misfit::new("invalid-utf8", "a text that is not valid UTF-8"))?;
        let kind = builder.kind();
        let wrong = || Misfit::new("type-mismatch", format!("not a value of type {kind}"));
        let scalar = match self {
            Self::Bool => Scalar::Bool(text.starts_with('t')),
            Self::Whole => Scalar::Int(text.parse().map_err(|_| wrong())?),
            // The value of a float is the nearest to its text, which is short.
            Self::Float4 => Scalar::Float(text.parse::<f32>().map_err(|_| wrong())?.into()),
            Self::Float8 => Scalar::Float(text.parse().map_err(|_| wrong())?),
            Self::Number if matches!(kind, ColumnType::Decimal { .. }) => Scalar::Text(text),
            Self::Number => Scalar::Number(text),
            Self::Bytes if matches!(kind, ColumnType::Text | ColumnType::Json) => {
                Scalar::Text(text)
            }
            Self::Bytes => {
                let bytes = unhex(text).ok_or_else(wrong)?;
                return builder.push(Scalar::Bytes(&bytes), parsing);
            }
            Self::Json | Self::Composed => Scalar::Json(text),
            Self::Time if kind != ColumnType::Text && text.ends_with("infinity") => {
                let reason = format!("{kind} cannot hold infinity");
                return Err(Misfit::new("out-of-range", reason));
            }
            Self::Time | Self::Text => Scalar::Text(text),
        };
        if matches!(kind, ColumnType::Text | ColumnType::Json) && self.shown_as_written() {
            return builder.push(Scalar::Text(text), parsing);
        }
        builder.push(scalar, parsing)
    }

    /// Whether a column of text has the server's text, and not ours, of such values.
    fn shown_as_written(self) -> bool {
        matches!(self, Self::Whole | Self::Float4 | Self::Float8 | Self::Number)
    }
}

/// The bytes of `\x0aff`.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if digits.len() % 2 != 0 {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::array_value_to_string;

    fn check(form: Form, kind: &str, text: &str, expected: Result<&str, &str>) {
        let mut builder = ColumnBuilder::new(kind.parse().unwrap(), 0);
        let pushed = form.push(&mut builder, text.as_bytes(), &Parsing::default());
        match expected {
            Ok(expected) => {
                pushed.unwrap();
                let array = builder.finish(0).unwrap();
                assert_eq!(array_value_to_string(&array, 0).unwrap(), expected, "{text}");
            }
            Err(code) => assert_eq!(pushed.unwrap_err().code, code, "{text}"),
        }
    }

    #[test]
    fn texts_of_the_log_become_the_values_of_a_full_read() {
        check(Form::Bool, "bool", "t", Ok("true"));
        check(Form::Bool, "text", "f", Ok("false"));
        check(Form::Whole, "int32", "-7", Ok("-7"));
        check(Form::Whole, "int32", "2147483648", Err("out-of-range"));
        check(Form::Whole, "text", "12", Ok("12"));
        check(Form::Float4, "float64", "0.1", Ok("0.10000000149011612"));
        check(Form::Float8, "float64", "NaN", Err("not-finite"));
        check(Form::Float8, "text", "1e+20", Ok("1e+20"));
        check(Form::Number, "decimal(5,2)", "1.50", Ok("1.50"));
        check(Form::Number, "decimal(5,2)", "1.5000", Ok("1.50"));
        check(Form::Number, "decimal(5,2)", "1.505", Err("out-of-range"));
        check(Form::Number, "decimal(5,2)", "NaN", Err("type-mismatch"));
        check(Form::Bytes, "binary", "\\x00ff", Ok("00ff"));
        check(Form::Bytes, "text", "\\x00ff", Ok("\\x00ff"));
        check(Form::Bytes, "binary", "\\x0", Err("type-mismatch"));
        check(Form::Time, "date", "2024-05-01", Ok("2024-05-01"));
        check(Form::Time, "date", "-infinity", Err("out-of-range"));
        check(Form::Time, "date", "0044-03-15 BC", Err("type-mismatch"));
        check(Form::Time, "timestamp", "2024-05-01 10:00:00.1+00", Ok("2024-05-01T10:00:00.100Z"));
        check(Form::Time, "timestamp", "0044-03-15 10:00:00+00 BC", Err("type-mismatch"));
        check(Form::Time, "timestamp", "12024-05-01 10:00:00+00", Err("type-mismatch"));
        check(Form::Time, "text", "infinity", Ok("infinity"));
        check(Form::Json, "json", "{\"a\": 1}", Ok("{\"a\": 1}"));
        check(Form::Text, "text", " x ", Ok(" x "));
    }
}
