//! `name`: names of people and firms with one spelling.

use std::borrow::Cow;

use flywheel_base::Result;

use super::text::{capitalised, is_all_caps, is_cjk, kept, plain, single_spaced};
use super::{Normal, Normalise, NormaliserKind};
use crate::column::Misfit;
use crate::mapping::form::{Arguments, Parameter};

/// Words within a name that stay small.
const PARTICLES: &[&str] = &[
    "van", "der", "den", "de", "del", "della", "di", "da", "das", "do", "dos", "du", "la", "le",
    "von", "vom", "zu", "zum", "zur", "ter", "ten", "bin", "binti", "ibn", "al", "el", "y", "e",
];

/// Numbers of kings and grandsons.
const NUMERALS: &[&str] = &["II", "III", "IV", "VI", "VII", "VIII", "IX"];

/// Gives names one spelling.
#[derive(Debug)]
pub(crate) struct Name;

impl NormaliserKind for Name {
    const ABOUT: &'static str = "Gives names one spelling: single spaces, plain letters, and JAN VAN \
                                 DER BERG as Jan van der Berg. Chinese, Japanese and Korean letters \
                                 stay as they are; a text without any letter is set aside.";
    const PARAMETERS: &'static [Parameter] = &[];

    fn build(_: &Arguments) -> Result<Self> {
        Ok(Self)
    }
}

impl Normalise for Name {
    fn normalise<'a>(&self, original: &'a str) -> Normal<'a> {
        let plain = plain(original);
        let tidy = single_spaced(&plain);
        if tidy.is_empty() {
            return Ok(None);
        }
        if !tidy.chars().any(char::is_alphabetic) {
            return Err(Misfit::new("name-letters", "no letter in a name"));
        }
        if tidy.contains('@') {
            return Err(Misfit::new("name-form", "an address in the place of a name"));
        }
        let spelled = match is_all_caps(&tidy) {
            true => Cow::Owned(titled(&tidy)),
            false => tidy,
        };
        Ok(Some(kept(original, spelled)))
    }
}

/// A name in capitals as it is spelled in a sentence.
fn titled(name: &str) -> String {
    let words = name.split(' ').enumerate().map(|(place, word)| {
        let lower = word.to_lowercase();
        if place > 0 && PARTICLES.contains(&lower.as_str()) {
            return lower;
        }
        if NUMERALS.contains(&word) {
            return word.to_owned();
        }
        parts(word)
    });
    let titled = words.collect::<Vec<_>>().join(" ");
    plain(&titled).into_owned()
}

/// A word whose parts between hyphens, apostrophes and dots each have a capital.
fn parts(word: &str) -> String {
    let mut spelled = String::with_capacity(word.len());
    for part in word.split_inclusive(['-', '\'', '’', '.', '(', '/']) {
        let possessive = part == "S" && spelled.ends_with(['\'', '’']);
        if part.chars().any(is_cjk) {
            spelled.push_str(part);
        } else if possessive {
            spelled.push('s');
        } else if let Some(rest) = part.strip_prefix("MC").filter(|rest| rest.chars().count() > 2) {
            spelled.push_str("Mc");
            spelled.push_str(&capitalised(rest));
        } else {
            spelled.push_str(&capitalised(part));
        }
    }
    spelled
}
