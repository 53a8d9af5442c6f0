//! `partial(4)`: stars, except for a few characters at an end.

use flywheel_base::Result;

use super::{Mask, MaskKind};
use crate::mapping::form::{Arguments, Parameter};

/// The most characters that may be kept at one end.
const KEPT_MAX: i64 = 64;

/// Hides all but a few characters.
#[derive(Debug)]
pub(crate) struct Partial {
    first: usize,
    last: usize,
}

impl MaskKind for Partial {
    const ABOUT: &'static str = "Keeps the last n characters, or the first, and puts a * for each of the \
                                 others; of a short value at least half is hidden.";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::text("last", "How many characters at the end are kept."),
        Parameter::text("first", "How many characters at the start are kept."),
    ];
    const DISTINCT: bool = false;

    fn build(arguments: &Arguments) -> Result<Self> {
        let (last, first) =
            (arguments.number("last", 0..=KEPT_MAX)?, arguments.number("first", 0..=KEPT_MAX)?);
        if last.is_none() && first.is_none() {
            let hint = "Write partial(4) for the last four, partial(first=3) for the first three.";
            return Err(arguments.absent("last", hint));
        }
        let count = |given: Option<i64>| given.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        Ok(Self { first: count(first), last: count(last) })
    }
}

impl Mask for Partial {
    fn text(&self, value: &str) -> Option<String> {
        let count = value.chars().count();
        let mut shown = count / 2;
        let last = self.last.min(shown);
        shown -= last;
        let first = self.first.min(shown);
        let masked = value
            .chars()
            .enumerate()
            .map(|(place, c)| if place < first || place >= count - last { c } else { '*' });
        Some(masked.collect())
    }
}
