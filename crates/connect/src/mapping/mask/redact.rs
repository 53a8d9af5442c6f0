//! `redact`: the same text for every value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use flywheel_base::Result;

use super::{Mask, MaskKind};
use crate::mapping::form::{Arguments, Parameter};

/// What stands for a value unless another text is given.
const TEXT: &str = "***";

/// Puts the same text in the place of every value.
#[derive(Debug)]
pub(crate) struct Redact(String);

impl MaskKind for Redact {
    const ABOUT: &'static str =
        "Puts *** in the place of every value; a missing value stays missing.";
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::text("text", "What stands for a value; *** if not given.")];
    const DISTINCT: bool = false;

    fn build(arguments: &Arguments) -> Result<Self> {
        Ok(Self(arguments.text("text").unwrap_or(TEXT).to_owned()))
    }
}

impl Mask for Redact {
    fn text(&self, _: &str) -> Option<String> {
        Some(self.0.clone())
    }

    fn column(&self, column: &ArrayRef, _: Option<&StringArray>) -> Result<ArrayRef> {
        let nulls = column.logical_nulls();
        let mut masked = StringBuilder::new();
        for row in 0..column.len() {
            let given = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            masked.append_option(given.then_some(self.0.as_str()));
        }
        Ok(Arc::new(masked.finish()))
    }

    fn reads_text(&self) -> bool {
        false
    }
}
