//! Normalisers: one form for each value of a kind, or the reason why a value has none.
//!
//! A normaliser is a pure function of one text. Its result is normal already: cleaning twice is
//! cleaning once. It never guesses: a value with two readings is set aside with a reason.

pub mod address;
pub mod country;
pub mod currency;
pub mod date;
pub mod email;
pub mod lower;
pub mod name;
pub mod null_if;
pub mod number;
pub mod phone;
pub mod trim;
pub mod upper;

mod text;

#[cfg(test)]
mod cases;

use std::borrow::Cow;
use std::fmt;

use flywheel_base::{Error, Result, suggest};

use super::form::{Arguments, Form, Parameter, unresolved};
use crate::column::Misfit;

/// Every normaliser, in the order the docs list them. A new one adds its module and one line.
pub const NORMALISERS: &[NormaliserEntry] = &[
    normaliser::<trim::Trim>("trim"),
    normaliser::<lower::Lower>("lower"),
    normaliser::<upper::Upper>("upper"),
    normaliser::<null_if::NullIf>("null_if"),
    normaliser::<phone::Phone>("phone"),
    normaliser::<email::Email>("email"),
    normaliser::<name::Name>("name"),
    normaliser::<address::Address>("address"),
    normaliser::<country::Country>("country"),
    normaliser::<date::Date>("date"),
    normaliser::<currency::Currency>("currency"),
    normaliser::<number::Number>("number"),
];

/// The argument every normaliser takes: what becomes of a value it cannot read.
const BAD: Parameter = Parameter::named(
    "bad",
    "What becomes of a value that cannot be read: reject (the row is set aside), null or keep.",
);

/// What a normaliser makes of a text: a value, no value, or the reason why it has none.
pub(crate) type Normal<'a> = Result<Option<Cow<'a, str>>, Misfit>;

/// Gives texts of one kind one form.
pub(crate) trait Normalise: fmt::Debug + Send + Sync {
    /// The normal form of `text`, borrowed if it has that form already.
    fn normalise<'a>(&self, text: &'a str) -> Normal<'a>;
}

/// A kind of normaliser; the constants are its reference page.
pub(crate) trait NormaliserKind: Normalise + Sized + 'static {
    /// What it does, in a sentence.
    const ABOUT: &'static str;
    /// What it takes.
    const PARAMETERS: &'static [Parameter];

    /// Builds one from its arguments.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] naming the argument.
    fn build(arguments: &Arguments) -> Result<Self>;
}

/// One kind of normaliser: its name, what it does, what it takes, and how one is built.
#[derive(Clone, Copy, Debug)]
pub struct NormaliserEntry {
    /// The name in `clean`.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// What it takes, besides `bad`.
    pub parameters: &'static [Parameter],
    build: fn(&Arguments) -> Result<Box<dyn Normalise>>,
}

const fn normaliser<N: NormaliserKind>(name: &'static str) -> NormaliserEntry {
    NormaliserEntry {
        name,
        about: N::ABOUT,
        parameters: N::PARAMETERS,
        build: |arguments| Ok(Box::new(N::build(arguments)?)),
    }
}

/// Proves that an entry of `clean` can be built.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming the normaliser or the argument, with a hint.
pub fn check_clean(text: &str) -> Result<()> {
    Step::parse(text).map(drop)
}

/// What becomes of a value that a normaliser cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    Reject,
    Null,
    Keep,
}

/// One entry of `clean`.
#[derive(Debug)]
pub(crate) struct Step {
    normaliser: Box<dyn Normalise>,
    bad: Bad,
}

impl Step {
    /// Reads the short text form.
    ///
    /// # Errors
    /// As [`check_clean`].
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let form = Form::parse(text, "clean")?;
        let entry = NORMALISERS.iter().find(|entry| entry.name == form.name).ok_or_else(|| {
            Error::invalid(format!("there is no normaliser \"{}\"", form.name))
                .hint(suggest::hint(form.name, NORMALISERS.iter().map(|entry| entry.name)))
        })?;
        let parameters: Vec<Parameter> = entry.parameters.iter().copied().chain([BAD]).collect();
        let arguments = form.arguments(&parameters, &unresolved)?;
        let bad = match arguments.text(BAD.name) {
            None | Some("reject") => Bad::Reject,
            Some("null") => Bad::Null,
            Some("keep") => Bad::Keep,
            Some(other) => {
                let hint = suggest::hint(other, ["reject", "null", "keep"]);
                return Err(arguments.wrong(BAD.name, other, hint));
            }
        };
        Ok(Self { normaliser: (entry.build)(&arguments)?, bad })
    }

    /// Cleans one text.
    pub(crate) fn clean<'a>(&self, text: &'a str) -> Normal<'a> {
        match (self.normaliser.normalise(text), self.bad) {
            (Err(_), Bad::Null) => Ok(None),
            (Err(_), Bad::Keep) => Ok(Some(Cow::Borrowed(text))),
            (outcome, _) => outcome,
        }
    }
}

/// Cleans one text by one step after the other.
pub(crate) fn clean_all<'a>(steps: &[Step], text: &'a str) -> Normal<'a> {
    let mut value = Cow::Borrowed(text);
    for step in steps {
        value = match value {
            Cow::Borrowed(text) => match step.clean(text)? {
                Some(next) => next,
                None => return Ok(None),
            },
            Cow::Owned(text) => match step.clean(&text)?.map(Cow::into_owned) {
                Some(next) => Cow::Owned(next),
                None => return Ok(None),
            },
        };
    }
    Ok(Some(value))
}
