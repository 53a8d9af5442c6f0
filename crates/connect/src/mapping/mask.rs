//! Masks: what lands instead of a value that must not be seen.
//!
//! A mask is a pure function of one value and a key. The same value gives the same result for ever
//! and in every table, as long as the key stays, so that `hmac` and `tokenize` keep joins.

pub mod date_shift;
pub mod email_domain;
pub mod hmac;
pub mod null;
pub mod partial;
pub mod redact;
pub mod round;
pub mod tokenize;

mod keyed;

#[cfg(test)]
mod cases;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use flywheel_base::{Error, Result, suggest};

use super::form::{Arguments, Form, Parameter, Resolve, unresolved};

/// The shortest key of a mask; a shorter one can be found by trying.
pub const KEY_BYTES_MIN: usize = 16;

/// What stands for a masked value of a row that was set aside, where its mask cannot be applied.
pub(crate) const MASKED: &str = "[masked]";

/// Every mask, in the order the docs list them. A new one adds its module and one line.
pub const MASKS: &[MaskEntry] = &[
    mask::<hmac::Hmac>("hmac"),
    mask::<tokenize::Tokenize>("tokenize"),
    mask::<partial::Partial>("partial"),
    mask::<redact::Redact>("redact"),
    mask::<null::Null>("null"),
    mask::<round::Round>("round"),
    mask::<date_shift::DateShift>("date_shift"),
    mask::<email_domain::EmailDomain>("email_domain"),
];

/// Hides values.
pub(crate) trait Mask: fmt::Debug + Send + Sync {
    /// What stands for one text; `None` for no value.
    fn text(&self, value: &str) -> Option<String>;

    /// What stands for a column; `units` are the texts of the column [`Mask::unit`] names.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the mask is not for columns of this type.
    fn column(&self, column: &ArrayRef, _units: Option<&StringArray>) -> Result<ArrayRef> {
        let texts = texts(column)?;
        let mut masked = StringBuilder::with_capacity(texts.len(), texts.len() * 16);
        for value in texts.as_string::<i32>() {
            masked.append_option(value.and_then(|value| self.text(value)));
        }
        Ok(Arc::new(masked.finish()))
    }

    /// The column of the source whose rows are masked alike.
    fn unit(&self) -> Option<&str> {
        None
    }

    /// Whether the mask reads every value as text, whatever its type.
    fn reads_text(&self) -> bool {
        true
    }

    /// Whether a masked column has the type it had; text otherwise.
    fn keeps_type(&self) -> bool {
        false
    }
}

/// A kind of mask; the constants are its reference page.
pub(crate) trait MaskKind: Mask + Sized + 'static {
    /// What it does, in a sentence.
    const ABOUT: &'static str;
    /// What it takes.
    const PARAMETERS: &'static [Parameter];
    /// Whether different values stay different, so that a masked column can still be a key.
    const DISTINCT: bool;

    /// Builds one from its arguments.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] naming the argument.
    fn build(arguments: &Arguments) -> Result<Self>;
}

/// One kind of mask: its name, what it does, what it takes, and how one is built.
#[derive(Clone, Copy, Debug)]
pub struct MaskEntry {
    /// The name in `mask`.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// What it takes.
    pub parameters: &'static [Parameter],
    /// Whether different values stay different, so that a masked column can still be a key.
    pub distinct: bool,
    build: fn(&Arguments) -> Result<Box<dyn Mask>>,
}

const fn mask<M: MaskKind>(name: &'static str) -> MaskEntry {
    MaskEntry {
        name,
        about: M::ABOUT,
        parameters: M::PARAMETERS,
        distinct: M::DISTINCT,
        build: |arguments| Ok(Box::new(M::build(arguments)?)),
    }
}

/// Proves that a `mask` can be built once its references are resolved; tells whether a masked column
/// can still be a key.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming the mask or the argument, with a hint.
pub fn check_mask(text: &str) -> Result<bool> {
    let (entry, arguments) = read(text, &unresolved)?;
    (entry.build)(&arguments)?;
    Ok(entry.distinct)
}

/// Builds a mask from its short text form.
///
/// # Errors
/// As [`check_mask`], and those of `resolve`.
pub(crate) fn parse(text: &str, resolve: Resolve<'_>) -> Result<Box<dyn Mask>> {
    let (entry, arguments) = read(text, resolve)?;
    (entry.build)(&arguments)
}

fn read(text: &str, resolve: Resolve<'_>) -> Result<(&'static MaskEntry, Arguments)> {
    let form = Form::parse(text, "mask")?;
    let entry = MASKS.iter().find(|entry| entry.name == form.name).ok_or_else(|| {
        Error::invalid(format!("there is no mask \"{}\"", form.name))
            .hint(suggest::hint(form.name, MASKS.iter().map(|entry| entry.name)))
    })?;
    let arguments = form.arguments(entry.parameters, resolve)?;
    Ok((entry, arguments))
}

/// A mask in the place of a column's values where their type has to stay: for readers, after they landed.
#[derive(Debug)]
pub struct TypedMask {
    mask: Box<dyn Mask>,
    /// The mask's name.
    name: String,
    /// Whether what it makes of a value is a digest in hexadecimal, which also gives whole numbers.
    digests: bool,
}

impl TypedMask {
    /// Builds one from the short text form of a mask.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] naming the mask or the argument, also for a mask that needs
    /// another column; those of `resolve`.
    pub fn parse(text: &str, resolve: Resolve<'_>) -> Result<Self> {
        let (entry, arguments) = read(text, resolve)?;
        let mask = (entry.build)(&arguments)?;
        if mask.unit().is_some() {
            return Err(Error::invalid(format!("the mask {} is only for syncs", entry.name)).hint(
                "Use round(month), or an SQL expression: {sql: \"date_trunc('month', x)\"}.",
            ));
        }
        let digests = entry.name == "hmac";
        Ok(Self { mask, name: entry.name.to_owned(), digests })
    }

    /// What stands for the values of a column; of the same type.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the mask is not for columns of this type.
    pub fn column(&self, column: &ArrayRef) -> Result<ArrayRef> {
        let kind = column.data_type();
        if matches!(kind, DataType::Null) {
            return Ok(Arc::clone(column));
        }
        let text = matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let numbers = self.digests && matches!(kind, DataType::Int64 | DataType::UInt64);
        if !text && !numbers && !self.mask.keeps_type() {
            let name = &self.name;
            return Err(Error::invalid(format!("{name} makes text, and the values are {kind}"))
                .hint("Use round for numbers and dates, \"null\", {constant: …} or {sql: …}."));
        }
        let masked = self.mask.column(column, None)?;
        let masked: ArrayRef = match numbers {
            true => Arc::new(numbers_of(masked.as_string::<i32>())),
            false => masked,
        };
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(&masked, kind, &options)
            .map_err(|_| Error::invalid(format!("{} does not keep the type {kind}", self.name)))
    }
}

/// The first 60 bits of digests: two values in a million million have the same.
fn numbers_of(digests: &StringArray) -> Int64Array {
    const DIGITS: usize = 15;
    let number = |digest: &str| i64::from_str_radix(digest.get(..DIGITS)?, 16).ok();
    digests.iter().map(|digest| digest.and_then(number)).collect()
}

/// A column's values as text.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if values of its type have no text.
pub(crate) fn texts(column: &ArrayRef) -> Result<ArrayRef> {
    let kind = column.data_type();
    if *kind == DataType::Utf8 {
        return Ok(Arc::clone(column));
    }
    let nothing = || {
        Error::invalid(format!("values of type {kind} have no text"))
            .hint("Use mask: redact or mask: null, or leave the column out with drop.")
    };
    if kind.is_nested() || matches!(kind, DataType::Binary | DataType::LargeBinary) {
        return Err(nothing());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, &DataType::Utf8, &options).map_err(|error| nothing().caused_by(error))
}

/// A column of dates as days, of moments as microseconds; any other column as it is.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a moment does not fit microseconds.
fn in_usual_units(column: &ArrayRef) -> Result<ArrayRef> {
    let usual = match column.data_type() {
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        _ => return Ok(Arc::clone(column)),
    };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, &usual, &options).map_err(|error| {
        Error::invalid("a moment lies beyond what microseconds can count").caused_by(error)
    })
}
