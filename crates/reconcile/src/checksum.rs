//! A text for each row that every database makes alike, and a sum over the digests of such texts.
//!
//! `count + Σ hash32(md5(row))` is one cheap query on each side and does not depend on the order of the
//! rows. The canonical text of a row joins its values by `|`:
//!
//! | kind | text |
//! |---|---|
//! | null | `\N` |
//! | integer | decimal digits |
//! | numeric | at the declared scale, halves away from zero |
//! | timestamp | seconds since 1970 in UTC with six decimals; `infinity` or `-infinity` |
//! | date | `2024-05-01`; null where month or day is 0; `infinity` or `-infinity` |
//! | bool | `t` or `f` |
//! | text | as it is, `\` as `\\` and `|` as `\|` |
//! | bytes | hex digits, lower case |
//! | float | rounded to the declared digits; better left out |

mod key;
mod sql;

#[cfg(test)]
mod tests;

use std::fmt::Write;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

pub use sql::{Dialect, SQLITE_HASH_FUNCTION, TableText};

/// What is between two values of a row.
pub const SEPARATOR: char = '|';

/// How null is written.
pub const NULL_TEXT: &str = "\\N";

/// How many rows a sum of 32-bit digests can hold without passing 63 bits.
pub const SUM_ROWS_MAX: u64 = 1 << 31;

/// What a column holds, which decides its canonical text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kind {
    /// Whole numbers.
    Integer,
    /// Exact decimal numbers.
    Numeric {
        /// Digits after the point.
        scale: u8,
    },
    /// Moments; those without a zone count as UTC.
    Timestamp,
    /// Calendar dates.
    Date,
    /// Truth values.
    Bool,
    /// Text; UUIDs and enums, too.
    Text,
    /// Arrays and composite values: on PostgreSQL the JSON that a read makes of them, elsewhere its text.
    Nested,
    /// Bytes.
    Bytes,
    /// Binary floating-point numbers.
    Float {
        /// Digits after the point that are compared.
        digits: u8,
    },
}

/// A value of a row, as a reader hands it over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// A whole number.
    Integer(i128),
    /// `unscaled / 10^scale`.
    Decimal {
        /// The digits without the point.
        unscaled: i128,
        /// Digits after the point.
        scale: u8,
    },
    /// Microseconds since 1970 in UTC.
    Timestamp(i64),
    /// Days since 1970.
    Date(i32),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A binary floating-point number.
    Float(f64),
}

/// Appends the canonical text of a value to `out`, without separator. A cell of another kind than its
/// column is written by its own kind, which then shows as a difference.
pub fn write_cell(out: &mut String, kind: Kind, cell: Cell<'_>) {
    match (kind, cell) {
        (_, Cell::Null) => out.push_str(NULL_TEXT),
        (Kind::Numeric { scale }, Cell::Integer(whole)) => decimal(out, whole, 0, scale),
        (Kind::Numeric { scale: wanted }, Cell::Decimal { unscaled, scale }) => {
            decimal(out, unscaled, scale, wanted);
        }
        (_, Cell::Integer(whole)) => append(out, format_args!("{whole}")),
        (_, Cell::Decimal { unscaled, scale }) => decimal(out, unscaled, scale, scale),
        (_, Cell::Timestamp(micros)) => {
            let sign = if micros < 0 { "-" } else { "" };
            let (seconds, rest) =
                (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
            append(out, format_args!("{sign}{seconds}.{rest:06}"));
        }
        (_, Cell::Date(day)) => {
            out.push_str(&flywheel_base::Timestamp::from_day(i64::from(day)).date());
        }
        (_, Cell::Bool(is)) => out.push(if is { 't' } else { 'f' }),
        (_, Cell::Text(text)) => {
            for c in text.chars() {
                if c == '\\' || c == SEPARATOR {
                    out.push('\\');
                }
                out.push(c);
            }
        }
        (_, Cell::Bytes(bytes)) => {
            for byte in bytes {
                append(out, format_args!("{byte:02x}"));
            }
        }
        (Kind::Float { digits }, Cell::Float(real)) => float(out, real, digits),
        (_, Cell::Float(real)) => append(out, format_args!("{real}")),
    }
}

/// The canonical text of a row.
#[must_use]
pub fn row_text(cells: &[(Kind, Cell<'_>)]) -> String {
    let mut text = String::new();
    for (index, (kind, cell)) in cells.iter().enumerate() {
        if index > 0 {
            text.push(SEPARATOR);
        }
        write_cell(&mut text, *kind, *cell);
    }
    text
}

/// The first 32 bits of the MD5 digest of a text: what each database has or can be given.
#[must_use]
pub fn hash32(text: &str) -> u32 {
    let digest: [u8; 16] = Md5::digest(text.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

/// The checksum of a set of rows; does not depend on their order, and two sets add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// How many rows.
    pub rows: u64,
    /// Σ of their [`hash32`].
    pub sum: u64,
}

impl Checksum {
    /// Takes in a row by its text.
    pub fn add_row(&mut self, text: &str) {
        self.add(Self { rows: 1, sum: u64::from(hash32(text)) });
    }

    /// Takes in the rows of another set.
    pub fn add(&mut self, other: Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    // writing to a String does not fail
    let _written = out.write_fmt(text);
}

/// Writes `unscaled / 10^scale` with `wanted` digits after the point, halves away from zero.
fn decimal(out: &mut String, unscaled: i128, scale: u8, wanted: u8) {
    let negative = unscaled < 0;
    let mut digits = unscaled.unsigned_abs().to_string();
    let (scale, wanted) = (usize::from(scale), usize::from(wanted));
    if scale < wanted {
        digits.extend(std::iter::repeat_n('0', wanted - scale));
    } else if scale > wanted {
        let drop = scale - wanted;
        let padded = format!("{digits:0>width$}", width = drop + 1);
        let (kept, dropped) = padded.split_at(padded.len() - drop);
        let up = u128::from(dropped.as_bytes().first().is_some_and(|digit| *digit >= b'5'));
        digits = kept.parse::<u128>().unwrap_or_default().saturating_add(up).to_string();
    }
    let padded = format!("{digits:0>width$}", width = wanted + 1);
    let (whole, rest) = padded.split_at(padded.len() - wanted);
    if negative && padded.bytes().any(|digit| digit != b'0') {
        out.push('-');
    }
    out.push_str(whole);
    if wanted > 0 {
        out.push('.');
        out.push_str(rest);
    }
}

fn float(out: &mut String, real: f64, digits: u8) {
    let text = format!("{real:.width$}", width = usize::from(digits));
    let is_zero = text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    out.push_str(if is_zero { text.trim_start_matches('-') } else { &text });
}
