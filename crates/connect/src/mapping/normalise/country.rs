//! `country`: ISO 3166 alpha-2 from codes, numbers and names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use flywheel_base::{Result, suggest};

use super::{Normal, Normalise, NormaliserKind, text};
use crate::column::Misfit;
use crate::mapping::form::{Arguments, Parameter};

/// Names of more than one country.
const AMBIGUOUS: &[&str] = &[
    "congo",
    "korea",
    "virgin islands",
    "saint martin",
    "st martin",
    "刚果",
    "朝韩",
    "维尔京群岛",
];

/// What the argument `form` may be.
const FORMS: [&str; 2] = ["alpha2", "alpha3"];

/// Codes of all countries by what may be written for them.
static COUNTRIES: LazyLock<BTreeMap<String, Codes>> = LazyLock::new(|| {
    let mut countries = BTreeMap::new();
    for line in include_str!("country.tsv").lines().filter(|line| !line.starts_with('#')) {
        let mut cells = line.split('\t');
        let (Some(alpha2), Some(alpha3), Some(number), Some(names)) =
            (cells.next(), cells.next(), cells.next(), cells.next())
        else {
            continue;
        };
        let codes = Codes { alpha2, alpha3 };
        let written = [alpha2, alpha3, number].into_iter().chain(names.split(';'));
        for key in written.map(key).filter(|key| !AMBIGUOUS.contains(&key.as_str())) {
            countries.entry(key).or_insert(codes);
        }
    }
    countries
});

#[derive(Clone, Copy, Debug)]
struct Codes {
    alpha2: &'static str,
    alpha3: &'static str,
}

/// Makes codes of countries.
#[derive(Debug)]
pub(crate) struct Country {
    alpha3: bool,
}

impl NormaliserKind for Country {
    const ABOUT: &'static str = "Makes ISO 3166 codes (CN) of alpha-3 and numeric codes and of names in \
                                 English, Chinese, German, French, Spanish and Japanese. A name of \
                                 two countries, such as Korea, is set aside.";
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::text("form", "alpha2 (CN, the default) or alpha3 (CHN).")];

    fn build(arguments: &Arguments) -> Result<Self> {
        match arguments.text("form") {
            None | Some("alpha2") => Ok(Self { alpha3: false }),
            Some("alpha3") => Ok(Self { alpha3: true }),
            Some(other) => Err(arguments.wrong("form", other, suggest::hint(other, FORMS))),
        }
    }
}

impl Normalise for Country {
    fn normalise<'a>(&self, original: &'a str) -> Normal<'a> {
        let mut key = key(original);
        if key.is_empty() {
            return match original.chars().any(char::is_alphanumeric) {
                true => Err(Misfit::new("country-unknown", "no country is called like this")),
                false if text::trimmed(original).is_empty() => Ok(None),
                false => Err(Misfit::new("country-unknown", "no letter in a country")),
            };
        }
        if key.len() < 3 && key.bytes().all(|byte| byte.is_ascii_digit()) {
            key = format!("{key:0>3}");
        }
        if AMBIGUOUS.contains(&key.as_str()) {
            let reason = "more than one country has this name; write its code or its full name";
            return Err(Misfit::new("country-ambiguous", reason));
        }
        match COUNTRIES.get(&key) {
            Some(codes) => {
                let code = if self.alpha3 { codes.alpha3 } else { codes.alpha2 };
                Ok(Some(text::kept(original, Cow::Borrowed(code))))
            }
            None => Err(Misfit::new("country-unknown", "no country is called like this")),
        }
    }
}

/// A name as it is compared: letters and digits in lower case, without marks and articles.
fn key(name: &str) -> String {
    let folded = text::folded(name).replace('&', " and ");
    let kept: String = folded
        .chars()
        .filter(|c| !matches!(c, '\'' | '’' | '.' | '`'))
        .map(|c| if c.is_alphanumeric() { c } else { ' ' })
        .collect();
    let words = kept.split_whitespace().filter(|word| *word != "the");
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_the_table_means_two_countries() {
        let mut owners: BTreeMap<String, &str> = BTreeMap::new();
        let mut countries = 0;
        for line in include_str!("country.tsv").lines().filter(|line| !line.starts_with('#')) {
            let cells: Vec<&str> = line.split('\t').collect();
            countries += 1;
            for name in cells[..3].iter().copied().chain(cells[3].split(';')) {
                let owner = owners.entry(key(name)).or_insert(cells[0]);
                assert_eq!(*owner, cells[0], "{name}");
            }
        }
        assert_eq!(countries, 249);
    }
}
