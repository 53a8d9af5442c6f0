//! Rows of the log: values as the server would send them, texts as UTF-8.

use std::collections::BTreeMap;
use std::sync::Arc;

use encoding_rs::Encoding;
use flywheel_base::{Error, Result};
use mysql_async::Value as SqlValue;
use mysql_async::binlog::events::{OptionalMetadataField, TableMapEvent};
use mysql_async::binlog::row::BinlogRow;
use mysql_async::binlog::value::BinlogValue;
use mysql_async::consts::{ColumnFlags, ColumnType as SqlType};

use crate::source::mysql::value::{Wire, printed};

/// The number of the character set that means "bytes".
const BINARY_CHARSET: u16 = 63;

/// A year that is none, as the log writes it.
const YEAR_NONE: &str = "1900";

/// Bits of a 64-bit number in front of those of a `MEDIUMINT`.
const MEDIUM_SHIFT: u32 = 40;

/// A row of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRow {
    /// The names of its columns.
    pub columns: Arc<[String]>,
    /// Their values.
    pub values: Vec<LogValue>,
    /// Whether the log left out some of the row's columns.
    pub partial: bool,
}

impl LogRow {
    /// The value of a column, if the row has it.
    #[must_use]
    pub fn value(&self, column: &str) -> Option<&LogValue> {
        let place = self.columns.iter().position(|name| name == column)?;
        self.values.get(place)
    }
}

/// A value of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum LogValue {
    /// No value.
    Null,
    /// A whole number.
    Int(i64),
    /// A whole number that has no sign.
    UInt(u64),
    /// A floating-point number.
    Float(f64),
    /// Text, decimals, dates, times and JSON as the server prints them; a `TIMESTAMP` in UTC.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// The columns of a table as an event names them.
pub(super) struct Kinds<'a> {
    map: &'a TableMapEvent<'a>,
    charsets: &'a BTreeMap<u16, String>,
    names: Arc<[String]>,
    /// The words of each `ENUM` and `SET` column in its character set, by the column's name.
    labels: BTreeMap<String, Vec<Vec<u8>>>,
}

impl<'a> Kinds<'a> {
    /// Reads the names that come with the event.
    pub(super) fn of(
        map: &'a TableMapEvent<'a>,
        charsets: &'a BTreeMap<u16, String>,
    ) -> Result<Self> {
        let mut names = Vec::new();
        let (mut enums, mut sets) = (Vec::new(), Vec::new());
        let unreadable = |error| {
            Error::corrupt("the description of a table in the log cannot be read").caused_by(error)
        };
        for field in map.iter_optional_meta() {
            match field.map_err(unreadable)? {
                OptionalMetadataField::ColumnName(found) => {
                    for name in found.iter_names() {
                        names.push(name.map_err(unreadable)?.name().into_owned());
                    }
                }
                OptionalMetadataField::EnumStrValue(found) => {
                    for words in found.iter_values() {
                        let words = words.map_err(unreadable)?;
                        enums.push(words.values().iter().map(|w| w.value_raw().to_vec()).collect());
                    }
                }
                OptionalMetadataField::SetStrValue(found) => {
                    for words in found.iter_values() {
                        let words = words.map_err(unreadable)?;
                        sets.push(words.values().iter().map(|w| w.value_raw().to_vec()).collect());
                    }
                }
                _ => {}
            }
        }
        if names.is_empty() {
            return Err(Error::invalid("the log does not name the columns").hint(
                "Set `binlog_row_metadata = FULL` on the server; older changes need a new load.",
            ));
        }
        let (mut enums, mut sets) = (enums.into_iter(), sets.into_iter());
        let mut labels = BTreeMap::new();
        for (place, name) in names.iter().enumerate() {
            let words: Option<Vec<Vec<u8>>> = match map.get_column_type(place) {
                Ok(Some(SqlType::MYSQL_TYPE_ENUM)) => enums.next(),
                Ok(Some(SqlType::MYSQL_TYPE_SET)) => sets.next(),
                _ => None,
            };
            if let Some(words) = words {
                labels.insert(name.clone(), words);
            }
        }
        Ok(Self { map, charsets, names: names.into(), labels })
    }

    /// Turns a row into ours.
    pub(super) fn row(&self, mut row: BinlogRow) -> Result<LogRow> {
        let columns = row.columns();
        let mut values = Vec::with_capacity(columns.len());
        for (place, column) in columns.iter().enumerate() {
            let value =
                row.take(place).map_or(BinlogValue::Value(SqlValue::NULL), BinlogValue::into_owned);
            let value = SqlValue::try_from(value).map_err(|error| {
                Error::invalid(format!(
                    "column \"{}\" is logged as a part of JSON",
                    column.name_str()
                ))
                .caused_by(error)
                .hint("Empty the server's `binlog_row_value_options`.")
            })?;
            values.push(self.value(column, value)?);
        }
        let partial = columns.len() < self.names.len();
        let columns = if columns.len() == self.names.len() {
            Arc::clone(&self.names)
        } else {
            columns.iter().map(|column| column.name_str().into_owned()).collect()
        };
        Ok(LogRow { columns, values, partial })
    }

    fn value(&self, column: &mysql_async::Column, value: SqlValue) -> Result<LogValue> {
        use SqlType as Type;
        let kind = column.column_type();
        Ok(match value {
            SqlValue::NULL => LogValue::Null,
            SqlValue::Float(value) => LogValue::Float(f64::from(value)),
            SqlValue::Double(value) => LogValue::Float(value),
            SqlValue::UInt(value) => LogValue::UInt(value),
            SqlValue::Int(number) if kind == Type::MYSQL_TYPE_ENUM => {
                let number = usize::try_from(number).map_err(|_| unreadable(column))?;
                LogValue::Text(self.word(column, number)?)
            }
            SqlValue::Int(number) if kind == Type::MYSQL_TYPE_TIMESTAMP => {
                LogValue::Text(moment(number, 0))
            }
            SqlValue::Int(number) if column.flags().contains(ColumnFlags::UNSIGNED_FLAG) => {
                LogValue::UInt(u64::try_from(number).map_err(|_| unreadable(column))?)
            }
            // The three bytes come without their sign.
            SqlValue::Int(number) if kind == Type::MYSQL_TYPE_INT24 => {
                LogValue::Int((number << MEDIUM_SHIFT) >> MEDIUM_SHIFT)
            }
            SqlValue::Int(number) => LogValue::Int(number),
            date @ SqlValue::Date(..) => {
                let wire = match kind {
                    Type::MYSQL_TYPE_DATE | Type::MYSQL_TYPE_NEWDATE => Wire::Date,
                    _ => Wire::Moment { digits: self.digits(column) },
                };
                LogValue::Text(printed(&date, wire))
            }
            time @ SqlValue::Time(..) => {
                LogValue::Text(printed(&time, Wire::Time { digits: self.digits(column) }))
            }
            SqlValue::Bytes(bytes) => return self.bytes(column, bytes),
        })
    }

    fn bytes(&self, column: &mysql_async::Column, mut bytes: Vec<u8>) -> Result<LogValue> {
        use SqlType as Type;
        let plain = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(match column.column_type() {
            Type::MYSQL_TYPE_YEAR => {
                let year = plain(bytes);
                let year = if year == YEAR_NONE { Ok(0) } else { year.parse::<i64>() };
                LogValue::Int(year.map_err(|_| unreadable(column))?)
            }
            Type::MYSQL_TYPE_TIMESTAMP | Type::MYSQL_TYPE_TIMESTAMP2 => {
                let found = seconds_and_micros(&plain(bytes));
                let (seconds, micros) = found.ok_or_else(|| unreadable(column))?;
                LogValue::Text(moment_with(seconds, micros, self.digits(column)))
            }
            Type::MYSQL_TYPE_BIT => {
                let number = bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
                LogValue::UInt(number)
            }
            Type::MYSQL_TYPE_SET => {
                let bits = bytes.iter().rev().fold(0, |n: u64, byte| (n << 8) | u64::from(*byte));
                let chosen = (0..64).filter(|bit| bits & (1 << bit) != 0);
                let words = chosen.map(|bit| self.word(column, bit + 1));
                LogValue::Text(words.collect::<Result<Vec<String>>>()?.join(","))
            }
            Type::MYSQL_TYPE_NEWDECIMAL | Type::MYSQL_TYPE_DECIMAL | Type::MYSQL_TYPE_JSON => {
                LogValue::Text(plain(bytes))
            }
            Type::MYSQL_TYPE_GEOMETRY | Type::MYSQL_TYPE_VECTOR => LogValue::Bytes(bytes),
            kind if column.character_set() == BINARY_CHARSET => {
                if kind == Type::MYSQL_TYPE_STRING {
                    // The log leaves out the zeros that fill a BINARY up.
                    bytes.resize(self.width(column).max(bytes.len()), 0);
                }
                LogValue::Bytes(bytes)
            }
            _ => LogValue::Text(self.text(column, bytes)?),
        })
    }

    fn place(&self, column: &mysql_async::Column) -> Option<usize> {
        let name = column.name_str();
        self.names.iter().position(|known| *known == name)
    }

    fn metadata(&self, column: &mysql_async::Column) -> &[u8] {
        self.place(column).and_then(|place| self.map.get_column_metadata(place)).unwrap_or_default()
    }

    /// Digits behind the second.
    fn digits(&self, column: &mysql_async::Column) -> u8 {
        self.metadata(column).first().copied().unwrap_or(0)
    }

    /// The bytes of a BINARY; two bits of the length hide in its type.
    fn width(&self, column: &mysql_async::Column) -> usize {
        match self.metadata(column) {
            [high, low, ..] => usize::from(*low) | ((usize::from(high & 0x30) ^ 0x30) << 4),
            _ => 0,
        }
    }

    /// The word of an `ENUM` or `SET`, counted from 1; number 0 is the empty word.
    fn word(&self, column: &mysql_async::Column, number: usize) -> Result<String> {
        let Some(at) = number.checked_sub(1) else { return Ok(String::new()) };
        let words = self.labels.get(column.name_str().as_ref());
        let Some(word) = words.and_then(|words| words.get(at)) else {
            return Err(unreadable(column).hint(
                "The log does not have the words of the column: set `binlog_row_metadata = FULL` on the \
                 server, and read the table whole again.",
            ));
        };
        if column.character_set() == BINARY_CHARSET {
            return Ok(String::from_utf8_lossy(word).into_owned());
        }
        self.text(column, word.clone()).or_else(|error| match std::str::from_utf8(word) {
            // Character sets that are not known here have these letters in common.
            Ok(text) if text.is_ascii() && !text.contains('\0') => Ok(text.to_owned()),
            _ => Err(error),
        })
    }

    fn text(&self, column: &mysql_async::Column, bytes: Vec<u8>) -> Result<String> {
        let charset = column.character_set();
        let name = self.charsets.get(&charset).map_or("", String::as_str);
        let encoding: Option<&'static Encoding> = match name {
            "utf8" | "utf8mb3" | "utf8mb4" | "ascii" | "" => None,
            "latin1" => Some(encoding_rs::WINDOWS_1252),
            "latin2" => Some(encoding_rs::ISO_8859_2),
            "latin5" => Some(encoding_rs::WINDOWS_1254),
            "latin7" => Some(encoding_rs::ISO_8859_13),
            "greek" => Some(encoding_rs::ISO_8859_7),
            "hebrew" => Some(encoding_rs::ISO_8859_8),
            "cp1250" => Some(encoding_rs::WINDOWS_1250),
            "cp1251" => Some(encoding_rs::WINDOWS_1251),
            "cp1256" => Some(encoding_rs::WINDOWS_1256),
            "cp1257" => Some(encoding_rs::WINDOWS_1257),
            "cp866" => Some(encoding_rs::IBM866),
            "koi8r" => Some(encoding_rs::KOI8_R),
            "koi8u" => Some(encoding_rs::KOI8_U),
            "tis620" => Some(encoding_rs::WINDOWS_874),
            "gb2312" | "gbk" => Some(encoding_rs::GBK),
            "gb18030" => Some(encoding_rs::GB18030),
            "big5" => Some(encoding_rs::BIG5),
            "sjis" | "cp932" => Some(encoding_rs::SHIFT_JIS),
            "ujis" | "eucjpms" => Some(encoding_rs::EUC_JP),
            "euckr" => Some(encoding_rs::EUC_KR),
            "ucs2" | "utf16" => Some(encoding_rs::UTF_16BE),
            "utf16le" => Some(encoding_rs::UTF_16LE),
            other => {
                return Err(Error::invalid(format!(
                    "column \"{}\" has the character set {other}, which is not read from the log",
                    column.name_str()
                ))
                .hint("Convert the column to utf8mb4."));
            }
        };
        let invalid = || {
            Error::invalid(format!(
                "a text of column \"{}\" is not valid {name}",
                column.name_str()
            ))
        };
        match encoding {
            None => String::from_utf8(bytes).map_err(|_| invalid()),
            Some(encoding) => encoding
                .decode_without_bom_handling_and_without_replacement(&bytes)
                .map(std::borrow::Cow::into_owned)
                .ok_or_else(invalid),
        }
    }
}

/// The error of a value that is none of its type, so that no other one stands in its place.
fn unreadable(column: &mysql_async::Column) -> Error {
    Error::corrupt(format!(
        "a value of column \"{}\" cannot be read from the log",
        column.name_str()
    ))
    .hint("Read the table whole again; if that comes again, please report the column's type.")
}

/// The seconds and microseconds of a `TIMESTAMP`, which comes as `1714557600.000123`.
fn seconds_and_micros(text: &str) -> Option<(i64, i64)> {
    let (seconds, micros) = text.split_once('.').unwrap_or((text, "0"));
    Some((seconds.parse().ok()?, micros.parse().ok()?))
}

fn moment(seconds: i64, micros: i64) -> String {
    moment_with(seconds, micros, 0)
}

/// A `TIMESTAMP` as the server prints it in UTC; second 0 is the date that is none.
fn moment_with(seconds: i64, micros: i64, digits: u8) -> String {
    let at = chrono::DateTime::from_timestamp(seconds, 0).filter(|_| seconds != 0 || micros != 0);
    let mut text = at.map_or_else(
        || "0000-00-00 00:00:00".to_owned(),
        |at| at.format("%Y-%m-%d %H:%M:%S").to_string(),
    );
    if digits > 0 {
        let fraction = format!("{micros:06}");
        text.push('.');
        text.push_str(fraction.get(..usize::from(digits)).unwrap_or(&fraction));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_that_is_none_is_not_the_first_second() {
        assert_eq!(seconds_and_micros("1714557600.000123"), Some((1_714_557_600, 123)));
        assert_eq!(seconds_and_micros("0"), Some((0, 0)));
        for text in ["", "x", "1.x", "1.2.3", "2024-05-01"] {
            assert_eq!(seconds_and_micros(text), None, "{text}");
        }
    }
}
