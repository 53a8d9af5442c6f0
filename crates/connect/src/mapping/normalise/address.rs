//! `address`, `address(en)`: postal addresses with one spelling.

use std::borrow::Cow;

use flywheel_base::{Result, suggest};

use super::text::{capitalised, is_all_caps, is_cjk, kept, plain, single_spaced};
use super::{Normal, Normalise, NormaliserKind};
use crate::column::Misfit;
use crate::mapping::form::{Arguments, Parameter};

/// The languages whose abbreviations are known.
const LANGUAGES: [&str; 5] = ["en", "de", "fr", "es", "zh"];

/// Words that follow the name of a street: short form, long form.
const ENGLISH: &[(&str, &str)] = &[
    ("st", "Street"),
    ("str", "Street"),
    ("rd", "Road"),
    ("ave", "Avenue"),
    ("av", "Avenue"),
    ("blvd", "Boulevard"),
    ("dr", "Drive"),
    ("ln", "Lane"),
    ("ct", "Court"),
    ("pl", "Place"),
    ("sq", "Square"),
    ("hwy", "Highway"),
    ("pkwy", "Parkway"),
    ("ter", "Terrace"),
    ("cres", "Crescent"),
    ("cl", "Close"),
];

/// Words that come before a number or stand alone.
const ENGLISH_UNITS: &[(&str, &str)] = &[
    ("apt", "Apartment"),
    ("ste", "Suite"),
    ("fl", "Floor"),
    ("bldg", "Building"),
    ("rm", "Room"),
    ("dept", "Department"),
];

/// Words before the name of a street.
const FRENCH: &[(&str, &str)] = &[
    ("av", "Avenue"),
    ("ave", "Avenue"),
    ("bd", "Boulevard"),
    ("boul", "Boulevard"),
    ("pl", "Place"),
    ("imp", "Impasse"),
    ("chem", "Chemin"),
    ("ch", "Chemin"),
    ("rte", "Route"),
    ("fg", "Faubourg"),
    ("all", "Allée"),
];

/// Words before the name of a street.
const SPANISH: &[(&str, &str)] = &[
    ("c/", "Calle"),
    ("cl", "Calle"),
    ("av", "Avenida"),
    ("avd", "Avenida"),
    ("avda", "Avenida"),
    ("pza", "Plaza"),
    ("pl", "Plaza"),
    ("pso", "Paseo"),
    ("ctra", "Carretera"),
    ("urb", "Urbanización"),
];

/// Gives addresses one spelling.
#[derive(Debug)]
pub(crate) struct Address {
    language: Option<&'static str>,
}

impl NormaliserKind for Address {
    const ABOUT: &'static str = "Gives addresses one spelling: single spaces, half-width digits and \
                                 letters, no shouting, no spaces between Chinese letters. With a \
                                 language (en, de, fr, es, zh) common abbreviations are written out.";
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::text("language", "The language of abbreviations: en, de, fr, es or zh.")];

    fn build(arguments: &Arguments) -> Result<Self> {
        let Some(given) = arguments.text("language") else { return Ok(Self { language: None }) };
        match LANGUAGES.iter().find(|known| **known == given) {
            Some(language) => Ok(Self { language: Some(language) }),
            None => Err(arguments.wrong("language", given, suggest::hint(given, LANGUAGES))),
        }
    }
}

impl Normalise for Address {
    fn normalise<'a>(&self, original: &'a str) -> Normal<'a> {
        let plain = plain(original);
        let tidy = single_spaced(&plain);
        if tidy.is_empty() {
            return Ok(None);
        }
        if !tidy.chars().any(char::is_alphanumeric) {
            return Err(Misfit::new("address-letters", "neither a letter nor a digit"));
        }
        // A sign that becomes a Chinese letter counts as one when spaces are taken out.
        let signs = if self.language == Some("zh") { chinese(&tidy) } else { tidy.into_owned() };
        let mut address = commas(&joined(&signs));
        if is_all_caps(&address) && address.chars().filter(|c| c.is_uppercase()).count() > 3 {
            address = address.split(' ').map(quiet).collect::<Vec<_>>().join(" ");
        }
        address = match self.language {
            Some("en") => english(&address),
            Some("de") => german(&address),
            Some("fr") => before_names(&address, FRENCH),
            Some("es") => before_names(&address, SPANISH),
            _ => address,
        };
        let address = super::text::plain(&address).into_owned();
        Ok(Some(kept(original, Cow::Owned(address))))
    }
}

/// No space between Chinese letters, nor between one and a digit.
fn joined(address: &str) -> String {
    let letters: Vec<char> = address.chars().collect();
    let mut joined = String::with_capacity(address.len());
    for (place, c) in letters.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|before| letters.get(before));
        let after = letters.get(place + 1);
        let cjk = |c: Option<&char>| c.is_some_and(|c| is_cjk(*c));
        let word = |c: Option<&char>| c.is_some_and(|c| is_cjk(*c) || c.is_ascii_digit());
        let within = (cjk(before) && word(after)) || (word(before) && cjk(after));
        if !(*c == ' ' && within) {
            joined.push(*c);
        }
    }
    joined
}

/// One space after a comma and none before; no comma at the end.
fn commas(address: &str) -> String {
    let parts = address.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(", ")
}

/// A shouted word in a quiet voice; words with digits and short state codes stay.
fn quiet(word: &str) -> String {
    let bare = word.trim_end_matches([',', '.']);
    let code = bare.chars().count() <= 2 && word == bare;
    if code || word.chars().any(|c| c.is_ascii_digit()) {
        return word.to_owned();
    }
    word.split_inclusive(['-', '\'', '(', '/']).map(capitalised).collect()
}

/// Writes out what follows the name of a street, and the words for parts of a house. `St` before a
/// name is a saint and stays.
fn english(address: &str) -> String {
    let segments = address.split(", ").map(|segment| {
        let words: Vec<&str> = segment.split(' ').collect();
        let spelled = words.iter().enumerate().map(|(place, word)| {
            let key = word.trim_end_matches('.').to_lowercase();
            let find = |table: &[(&str, &'static str)]| {
                table.iter().find(|(short, _)| *short == key).map(|(_, long)| *long)
            };
            let next = words.get(place + 1).map(|next| next.trim_end_matches('.').to_lowercase());
            let ends = next.as_deref().is_none_or(|next| {
                next.chars().any(|c| c.is_ascii_digit())
                    || matches!(next, "n" | "s" | "e" | "w" | "ne" | "nw" | "se" | "sw" | "#")
                    || ENGLISH_UNITS
                        .iter()
                        .any(|(short, long)| *short == next || long.to_lowercase() == next)
            });
            let named = place > 0
                && words.get(place - 1).is_some_and(|word| word.chars().any(char::is_alphabetic));
            let long = if named && ends { find(ENGLISH) } else { None };
            long.or_else(|| find(ENGLISH_UNITS)).map_or_else(|| (*word).to_owned(), str::to_owned)
        });
        spelled.collect::<Vec<_>>().join(" ")
    });
    segments.collect::<Vec<_>>().join(", ")
}

/// Hauptstr. and Berliner Str. as Hauptstraße and Berliner Straße, pl. as platz.
fn german(address: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', '.']);
        let comma = if word.ends_with(',') { "," } else { "" };
        let lower = bare.to_lowercase();
        for (short, long, capital) in
            [("strasse", "straße", "Straße"), ("str", "straße", "Straße"), ("pl", "platz", "Platz")]
        {
            let marked = short == "strasse" || word.trim_end_matches(',').ends_with('.');
            if lower == short && (marked || short == "str") {
                return format!("{capital}{comma}");
            }
            let end = bare.len().checked_sub(short.len()).filter(|_| lower.ends_with(short));
            if let Some(stem) = end.and_then(|end| bare.get(..end))
                && marked
                && stem.chars().count() > 2
            {
                return format!("{stem}{long}{comma}");
            }
        }
        word.to_owned()
    };
    address.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Writes out words before the name of a street, if a name follows.
fn before_names(address: &str, table: &[(&str, &str)]) -> String {
    let words: Vec<&str> = address.split(' ').collect();
    let spelled = words.iter().enumerate().map(|(place, word)| {
        let key = word.trim_end_matches('.').to_lowercase();
        let follows =
            words.get(place + 1).is_some_and(|next| next.chars().any(char::is_alphabetic));
        let long = table.iter().find(|(short, _)| *short == key).map(|(_, long)| *long);
        long.filter(|_| follows).map_or_else(|| (*word).to_owned(), str::to_owned)
    });
    spelled.collect::<Vec<_>>().join(" ")
}

/// 3#楼 as 3号楼, 3F as 3层, a sign for a dash between numbers.
fn chinese(address: &str) -> String {
    let letters: Vec<char> = address.chars().collect();
    let at = |place: Option<usize>| place.and_then(|place| letters.get(place)).copied();
    let mut spelled = String::with_capacity(address.len());
    for (place, c) in letters.iter().enumerate() {
        let digit_before = at(place.checked_sub(1)).is_some_and(|c| c.is_ascii_digit());
        match c {
            '#' if digit_before && at(Some(place + 1)) == Some('号') => {}
            '#' if digit_before => spelled.push('号'),
            '—' | '–' | '‐' | '−' if digit_before => spelled.push('-'),
            _ => spelled.push(*c),
        }
    }
    spelled
}
