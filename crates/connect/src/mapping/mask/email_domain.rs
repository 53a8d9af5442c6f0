//! `email_domain`: where the mailbox is, not whose it is.

use flywheel_base::Result;

use super::{Mask, MaskKind};
use crate::mapping::form::{Arguments, Parameter};

/// Keeps the domain of addresses.
#[derive(Debug)]
pub(crate) struct EmailDomain;

impl MaskKind for EmailDomain {
    const ABOUT: &'static str = "Keeps what follows the @ of an e-mail address, in lower case; a value \
                                 that is no address becomes no value.";
    const PARAMETERS: &'static [Parameter] = &[];
    const DISTINCT: bool = false;

    fn build(_: &Arguments) -> Result<Self> {
        Ok(Self)
    }
}

impl Mask for EmailDomain {
    fn text(&self, value: &str) -> Option<String> {
        let (local, domain) = value.trim().split_once('@')?;
        let label = |label: &str| {
            !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        };
        let whole = domain.contains('.') && domain.split('.').all(label);
        (whole && !local.is_empty()).then(|| domain.to_lowercase())
    }
}
