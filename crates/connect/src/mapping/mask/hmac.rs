//! `hmac(key=…)`: a digest that only the holder of the key can compute.

use flywheel_base::Result;

use super::keyed::{Keyed, hex};
use super::{Mask, MaskKind};
use crate::mapping::form::{Arguments, KEY, Parameter};

/// Puts HMAC-SHA-256 in the place of values.
#[derive(Debug)]
pub(crate) struct Hmac(Keyed);

impl MaskKind for Hmac {
    const ABOUT: &'static str = "Puts HMAC-SHA-256 of the value in its place, in hexadecimal: equal \
                                 values stay equal, so joins work, and nobody without the key can \
                                 compute or reverse it. The same as hmac(value, key, 'sha256') in SQL.";
    const PARAMETERS: &'static [Parameter] = &[KEY];
    const DISTINCT: bool = true;

    fn build(arguments: &Arguments) -> Result<Self> {
        Keyed::new(arguments.key()?).map(Self)
    }
}

impl Mask for Hmac {
    fn text(&self, value: &str) -> Option<String> {
        Some(hex(&self.0.digest(&[value.as_bytes()])))
    }
}
