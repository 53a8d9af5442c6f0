//! `null`: the column stays, its values go.

use arrow::array::{ArrayRef, StringArray, new_null_array};
use flywheel_base::Result;

use super::{Mask, MaskKind};
use crate::mapping::form::{Arguments, Parameter};

/// Takes every value away.
#[derive(Debug)]
pub(crate) struct Null;

impl MaskKind for Null {
    const ABOUT: &'static str = "Takes every value away; the column and its type stay.";
    const PARAMETERS: &'static [Parameter] = &[];
    const DISTINCT: bool = false;

    fn build(_: &Arguments) -> Result<Self> {
        Ok(Self)
    }
}

impl Mask for Null {
    fn text(&self, _: &str) -> Option<String> {
        None
    }

    fn column(&self, column: &ArrayRef, _: Option<&StringArray>) -> Result<ArrayRef> {
        Ok(new_null_array(column.data_type(), column.len()))
    }

    fn reads_text(&self) -> bool {
        false
    }

    fn keeps_type(&self) -> bool {
        true
    }
}
