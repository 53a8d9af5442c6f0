//! `email`: addresses that compare equal if they reach the same mailbox.

use std::borrow::Cow;

use flywheel_base::{Result, suggest};

use super::{Normal, Normalise, NormaliserKind, text};
use crate::column::Misfit;
use crate::mapping::form::{Arguments, Parameter};

/// The longest address, in bytes (RFC 5321).
const ADDRESS_BYTES_MAX: usize = 254;
/// The longest part before the @.
const LOCAL_BYTES_MAX: usize = 64;
/// The longest domain.
const DOMAIN_BYTES_MAX: usize = 253;
/// The longest part of a domain.
const LABEL_BYTES_MAX: usize = 63;
/// The option that also folds what only Gmail takes for equal.
const GMAIL: &str = "gmail";
/// What the argument `local` may be.
const LOCAL: [&str; 2] = ["lower", "keep"];

/// Gives e-mail addresses one form.
#[derive(Debug)]
pub(crate) struct Email {
    gmail: bool,
    keep_local_case: bool,
}

impl NormaliserKind for Email {
    const ABOUT: &'static str = "Checks e-mail addresses and gives them one form: lower case, no \
                                 name around, the domain in ASCII (punycode). email(gmail) also \
                                 removes dots and +tags that Gmail ignores.";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::text("provider", "gmail: removes what Gmail ignores in its own addresses."),
        Parameter::text("local", "lower or keep: what happens to capitals before the @."),
    ];

    fn build(arguments: &Arguments) -> Result<Self> {
        let gmail = match arguments.text("provider") {
            None => false,
            Some(GMAIL) => true,
            Some(other) => {
                return Err(arguments.wrong("provider", other, suggest::hint(other, [GMAIL])));
            }
        };
        let keep_local_case = match arguments.text("local") {
            None | Some("lower") => false,
            Some("keep") => true,
            Some(other) => {
                return Err(arguments.wrong("local", other, suggest::hint(other, LOCAL)));
            }
        };
        Ok(Self { gmail, keep_local_case })
    }
}

impl Normalise for Email {
    fn normalise<'a>(&self, original: &'a str) -> Normal<'a> {
        let plain = text::plain(original);
        let trimmed = text::trimmed(&plain);
        if trimmed.is_empty() {
            return Ok(None);
        }
        let address = bare(trimmed);
        if address.contains([',', ';']) || address.matches('@').count() > 1 {
            return Err(misfit("email-several", "more than one address, or signs none can have"));
        }
        let Some((local, domain)) = address.split_once('@') else {
            return Err(misfit("email-form", "no @"));
        };
        let local = self.local(local)?;
        let domain = ascii_domain(domain)?;
        let (local, domain) = if self.gmail { gmail(local, domain)? } else { (local, domain) };
        if local.len() + 1 + domain.len() > ADDRESS_BYTES_MAX {
            return Err(misfit("email-length", "an address has at most 254 bytes"));
        }
        Ok(Some(text::kept(original, Cow::Owned(format!("{local}@{domain}")))))
    }
}

impl Email {
    fn local(&self, local: &str) -> Result<String, Misfit> {
        let local = match self.keep_local_case {
            true => local.to_owned(),
            // Lower case can leave the normal form; it is made again.
            false => text::plain(&local.to_lowercase()).into_owned(),
        };
        if local.starts_with('"') {
            return Err(misfit("email-local", "a quoted part before the @"));
        }
        if local.is_empty() || local.len() > LOCAL_BYTES_MAX {
            return Err(misfit("email-length", "the part before the @ has 1 to 64 bytes"));
        }
        if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
            return Err(misfit("email-local", "a dot too many before the @"));
        }
        let allowed = |c: char| {
            c.is_ascii_alphanumeric()
                || "!#$%&'*+/=?^_`{|}~-.".contains(c)
                || (!c.is_ascii() && c.is_alphanumeric())
        };
        match local.chars().all(allowed) {
            true => Ok(local),
            false => Err(misfit("email-local", "a sign before the @ that no address has")),
        }
    }
}

/// The address without `mailto:` and without the name before `<…>`.
fn bare(text: &str) -> &str {
    let start = text.get(..7).filter(|start| start.eq_ignore_ascii_case("mailto:"));
    let text = start.map_or(text, |start| text.get(start.len()..).unwrap_or_default()).trim();
    match text.strip_suffix('>').and_then(|inner| inner.rsplit_once('<')) {
        Some((name, address)) if !name.contains(['@', '<', '>']) => address.trim(),
        _ => text,
    }
}

/// A domain as it is asked for in DNS.
fn ascii_domain(domain: &str) -> Result<String, Misfit> {
    let wrong = |reason: &str| Err(misfit("email-domain", reason));
    if domain.starts_with('[') {
        return wrong("a number in the place of the domain");
    }
    let Ok(ascii) = idna::domain_to_ascii_strict(domain) else {
        return wrong("no domain can be called like this");
    };
    if ascii.is_empty() || ascii.len() > DOMAIN_BYTES_MAX {
        return wrong("a domain has 1 to 253 bytes");
    }
    let labels: Vec<&str> = ascii.split('.').collect();
    let fine = |label: &&str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !labels.iter().all(fine) {
        return wrong("no domain can be called like this");
    }
    let top = labels.last().copied().unwrap_or_default();
    if labels.len() < 2 {
        return wrong("the domain lacks its end, as in .com");
    }
    if top.len() < 2
        || !top.bytes().all(|byte| byte.is_ascii_alphabetic()) && !top.starts_with("xn--")
    {
        return wrong("the end of the domain is none");
    }
    Ok(ascii)
}

/// Gmail's own addresses without what it ignores.
fn gmail(local: String, domain: String) -> Result<(String, String), Misfit> {
    if domain != "gmail.com" && domain != "googlemail.com" {
        return Ok((local, domain));
    }
    let base = local.split('+').next().unwrap_or_default().replace('.', "");
    if base.is_empty() {
        return Err(misfit("email-local", "nothing but a tag before the @"));
    }
    Ok((base, "gmail.com".to_owned()))
}

fn misfit(code: &'static str, reason: &str) -> Misfit {
    Misfit::new(code, reason)
}
