//! `trim`: no white space and no invisible characters around a text.

use std::borrow::Cow;

use flywheel_base::Result;

use super::{Normal, Normalise, NormaliserKind, text};
use crate::mapping::form::{Arguments, Parameter};

/// Takes white space away from both ends.
#[derive(Debug)]
pub(crate) struct Trim;

impl NormaliserKind for Trim {
    const ABOUT: &'static str =
        "Takes white space and invisible characters away from both ends; what is between stays.";
    const PARAMETERS: &'static [Parameter] = &[];

    fn build(_: &Arguments) -> Result<Self> {
        Ok(Self)
    }
}

impl Normalise for Trim {
    fn normalise<'a>(&self, text: &'a str) -> Normal<'a> {
        Ok(Some(Cow::Borrowed(text::trimmed(text))))
    }
}
