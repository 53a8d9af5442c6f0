//! `currency`: ISO 4217 codes from codes, signs and names.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use flywheel_base::{Result, suggest};

use super::{Normal, Normalise, NormaliserKind, text};
use crate::column::Misfit;
use crate::mapping::form::{Arguments, Parameter};

/// Signs and names of several currencies, and which.
const AMBIGUOUS: &[(&str, &[&str])] = &[
    ("¥", &["CNY", "JPY"]),
    ("$", &["USD", "AUD", "CAD", "HKD", "NZD", "SGD", "TWD", "MXN", "CLP", "COP", "ARS"]),
    ("kr", &["SEK", "NOK", "DKK", "ISK"]),
    ("kr.", &["SEK", "NOK", "DKK", "ISK"]),
    ("dollar", &["USD", "AUD", "CAD", "HKD", "NZD", "SGD", "TWD"]),
    ("dollars", &["USD", "AUD", "CAD", "HKD", "NZD", "SGD", "TWD"]),
    ("peso", &["MXN", "CLP", "COP", "ARS", "PHP", "UYU", "DOP"]),
    ("pound", &["GBP", "EGP", "LBP", "SDG", "SSP"]),
    ("pounds", &["GBP", "EGP", "LBP", "SDG", "SSP"]),
    ("krone", &["NOK", "DKK"]),
    ("krona", &["SEK", "ISK"]),
    ("franc", &["CHF", "XAF", "XOF", "XPF"]),
    ("rs", &["INR", "PKR", "LKR", "NPR", "MUR"]),
    ("₨", &["INR", "PKR", "LKR", "NPR", "MUR"]),
    ("克朗", &["SEK", "NOK", "DKK", "CZK", "ISK"]),
];

/// Currencies that are no more, and what took their place.
const FORMER: &[(&str, &str)] = &[
    ("DEM", "EUR"),
    ("FRF", "EUR"),
    ("ITL", "EUR"),
    ("ESP", "EUR"),
    ("NLG", "EUR"),
    ("ATS", "EUR"),
    ("BEF", "EUR"),
    ("PTE", "EUR"),
    ("GRD", "EUR"),
    ("FIM", "EUR"),
    ("IEP", "EUR"),
    ("HRK", "EUR"),
    ("RUR", "RUB"),
    ("TRL", "TRY"),
    ("ROL", "RON"),
    ("VEF", "VES"),
];

static CODES: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    let mut codes = BTreeMap::new();
    for line in include_str!("currency.tsv").lines().filter(|line| !line.starts_with('#')) {
        let mut cells = line.split('\t');
        let (Some(code), Some(number), Some(names)) = (cells.next(), cells.next(), cells.next())
        else {
            continue;
        };
        let written = [code, number].into_iter().chain(names.split(';'));
        for key in written.map(key).filter(|key| !key.is_empty() && ambiguous(key).is_none()) {
            codes.entry(key).or_insert(code);
        }
    }
    codes
});

/// Makes codes of currencies.
#[derive(Debug)]
pub(crate) struct Currency {
    preferred: BTreeSet<&'static str>,
}

impl NormaliserKind for Currency {
    const ABOUT: &'static str = "Makes ISO 4217 codes (CNY) of codes, numeric codes, signs and names in \
                                 English and Chinese. A sign of several currencies, such as ¥ or $, \
                                 is set aside unless the one meant is given: currency(CNY, USD).";
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::texts("preferred", "What a sign of several currencies means here: CNY, USD.")];

    fn build(arguments: &Arguments) -> Result<Self> {
        let one = |given: &&str| {
            let upper = given.to_ascii_uppercase();
            let known = CODES.values().copied();
            known.clone().find(|code| *code == upper).ok_or_else(|| {
                let known: BTreeSet<&str> = known.collect();
                arguments.wrong("preferred", given, suggest::hint(&upper, known))
            })
        };
        let preferred = arguments.texts("preferred").iter().map(one).collect::<Result<_>>()?;
        Ok(Self { preferred })
    }
}

impl Normalise for Currency {
    fn normalise<'a>(&self, original: &'a str) -> Normal<'a> {
        let mut key = key(original);
        if key.is_empty() {
            return Ok(None);
        }
        if key.len() < 3 && key.bytes().all(|byte| byte.is_ascii_digit()) {
            key = format!("{key:0>3}");
        }
        if let Some(meanings) = ambiguous(&key) {
            let mut wanted = meanings.iter().filter(|code| self.preferred.contains(**code));
            return match (wanted.next(), wanted.next()) {
                (Some(code), None) => Ok(Some(text::kept(original, Cow::Borrowed(code)))),
                _ => {
                    let reason = format!(
                        "a sign of {}; name the one meant, as in currency({})",
                        meanings.join(", "),
                        meanings.first().copied().unwrap_or_default()
                    );
                    Err(Misfit::new("currency-ambiguous", reason))
                }
            };
        }
        if let Some(code) = CODES.get(&key) {
            return Ok(Some(text::kept(original, Cow::Borrowed(code))));
        }
        let upper = key.to_uppercase();
        Err(match FORMER.iter().find(|(former, _)| *former == upper) {
            Some((former, now)) => {
                Misfit::new("currency-former", format!("{former} is no more, {now} took its place"))
            }
            None => Misfit::new("currency-unknown", "no currency is called like this"),
        })
    }
}

/// The currencies a sign may stand for, if several.
fn ambiguous(key: &str) -> Option<&'static [&'static str]> {
    AMBIGUOUS.iter().find(|(sign, _)| *sign == key).map(|(_, meanings)| *meanings)
}

/// A sign or name as it is compared.
fn key(name: &str) -> String {
    let plain = text::plain(name).to_lowercase();
    text::single_spaced(&plain).into_owned()
}
