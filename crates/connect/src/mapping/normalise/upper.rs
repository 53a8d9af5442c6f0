//! `upper`: capital letters only.

use std::borrow::Cow;

use flywheel_base::Result;

use super::{Normal, Normalise, NormaliserKind, text};
use crate::mapping::form::{Arguments, Parameter};

/// Writes every letter in upper case.
#[derive(Debug)]
pub(crate) struct Upper;

impl NormaliserKind for Upper {
    const ABOUT: &'static str = "Writes every letter in upper case.";
    const PARAMETERS: &'static [Parameter] = &[];

    fn build(_: &Arguments) -> Result<Self> {
        Ok(Self)
    }
}

impl Normalise for Upper {
    fn normalise<'a>(&self, text: &'a str) -> Normal<'a> {
        Ok(Some(text::kept(text, Cow::Owned(text.to_uppercase()))))
    }
}
