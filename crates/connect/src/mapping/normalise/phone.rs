//! `phone(CN)`: phone numbers in E.164, `+8613800138000`.
//!
//! The regions' rules are libphonenumber's data in `phone.tsv`; reading them takes a page of code,
//! where a crate that does takes fifteen more crates. A number is accepted only if it is one of a
//! kind its region has handed out; an extension has no place in E.164 and sets the row aside.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use flywheel_base::{Error, Result, suggest};
use regex::{Regex, RegexBuilder};

use super::{Normal, Normalise, NormaliserKind, text};
use crate::column::Misfit;
use crate::mapping::form::{Arguments, Parameter};

/// The longest number E.164 allows, without the plus.
const DIGITS_MAX: usize = 15;

/// The shortest text after which a slash starts a second number.
const SECOND_NUMBER_DIGITS_MIN: usize = 7;

static REGIONS: LazyLock<BTreeMap<&'static str, Region>> = LazyLock::new(|| {
    let lines = include_str!("phone.tsv").lines().filter(|line| !line.starts_with('#'));
    let mut regions = BTreeMap::new();
    for (place, line) in lines.enumerate() {
        if let Some((name, region)) = Region::read(place, line) {
            regions.entry(name).or_insert(region);
        }
    }
    regions
});

/// How the numbers of a region are built.
#[derive(Debug)]
struct Region {
    /// Its place among the regions; the first of a calling code is the main one.
    place: usize,
    calling: &'static str,
    international: &'static str,
    national: &'static str,
    replacement: &'static str,
    lengths: Vec<usize>,
    general: &'static str,
    kinds: &'static str,
    compiled: OnceLock<Option<Patterns>>,
}

/// A region's patterns, compiled when the first number of it comes.
#[derive(Debug)]
struct Patterns {
    international: Option<Regex>,
    national: Option<Regex>,
    general: Regex,
    kinds: Regex,
}

impl Region {
    fn read(place: usize, line: &'static str) -> Option<(&'static str, Self)> {
        let mut cells = line.split('\t');
        let mut next = || cells.next();
        let (name, calling) = (next()?, next()?);
        let (international, national, replacement) = (next()?, next()?, next()?);
        let lengths = next()?.split(',').filter_map(|length| length.parse().ok()).collect();
        let (general, kinds) = (next()?, next()?);
        // Numbers without a region, such as satellite phones, are known by their calling code.
        let name = if name == "001" { calling } else { name };
        let compiled = OnceLock::new();
        let region = Self {
            place,
            calling,
            international,
            national,
            replacement,
            lengths,
            general,
            kinds,
            compiled,
        };
        Some((name, region))
    }

    fn patterns(&self) -> Option<&Patterns> {
        let whole = |pattern: &str| pattern_of(&format!("^(?:{pattern})$"));
        let start = |pattern: &str| {
            (!pattern.is_empty()).then(|| pattern_of(&format!("^(?:{pattern})"))).flatten()
        };
        let compile = || {
            Some(Patterns {
                international: start(self.international),
                national: start(self.national),
                general: whole(self.general)?,
                kinds: whole(self.kinds)?,
            })
        };
        self.compiled.get_or_init(compile).as_ref()
    }

    /// Whether the region has handed out numbers like this one, without trunk prefix.
    fn has(&self, national: &str) -> bool {
        self.lengths.contains(&national.len())
            && self.patterns().is_some_and(|patterns| patterns.kinds.is_match(national))
    }

    /// The number without the prefix that is dialled within the region only.
    fn without_trunk<'d>(&self, digits: &'d str) -> Cow<'d, str> {
        let Some(patterns) = self.patterns() else { return Cow::Borrowed(digits) };
        let Some(found) = patterns.national.as_ref().and_then(|national| national.captures(digits))
        else {
            return Cow::Borrowed(digits);
        };
        let end = found.get(0).map_or(0, |whole| whole.end());
        let rest = digits.get(end..).unwrap_or_default();
        let last = found.iter().skip(1).last().flatten();
        let stripped = if self.replacement.is_empty() || last.is_none() {
            Cow::Borrowed(rest)
        } else {
            let mut expanded = String::new();
            found.expand(self.replacement, &mut expanded);
            expanded.push_str(rest);
            Cow::Owned(expanded)
        };
        let whole = |number: &str| patterns.general.is_match(number);
        if whole(digits) && !whole(&stripped) { Cow::Borrowed(digits) } else { stripped }
    }
}

fn pattern_of(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).unicode(false).build().ok()
}

static CALLING_CODES: LazyLock<BTreeMap<&'static str, Vec<&'static Region>>> =
    LazyLock::new(|| {
        let mut codes: BTreeMap<&str, Vec<&Region>> = BTreeMap::new();
        for region in REGIONS.values() {
            codes.entry(region.calling).or_default().push(region);
        }
        for regions in codes.values_mut() {
            regions.sort_by_key(|region| region.place);
        }
        codes
    });

/// The regions of a calling code, the main one first.
fn regions_of(calling: &str) -> &'static [&'static Region] {
    CALLING_CODES.get(calling).map_or(&[], Vec::as_slice)
}

/// Puts phone numbers into E.164.
#[derive(Debug)]
pub(crate) struct Phone {
    region: Option<&'static Region>,
    name: String,
}

impl NormaliserKind for Phone {
    const ABOUT: &'static str = "Puts phone numbers into E.164 (+8613800138000). A number without \
                                 country code belongs to the region given; extensions, letters and \
                                 numbers that no region has handed out are set aside.";
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::text("region", "The region of numbers without country code: CN, US, GB, …")];

    fn build(arguments: &Arguments) -> Result<Self> {
        let Some(name) = arguments.text("region") else {
            return Ok(Self { region: None, name: String::new() });
        };
        let name = name.to_ascii_uppercase();
        let region = REGIONS.get(name.as_str()).ok_or_else(|| {
            let near = match name.as_str() {
                "UK" => "Did you mean \"GB\"?".to_owned(),
                _ => suggest::hint(&name, ["CN", "US", "GB", "DE", "FR", "JP", "KR", "IN", "HK"]),
            };
            Error::invalid(format!("phone: there is no region \"{name}\""))
                .hint(format!("Write its ISO code, as in phone(CN). {near}"))
        })?;
        Ok(Self { region: Some(region), name })
    }
}

impl Normalise for Phone {
    fn normalise<'a>(&self, original: &'a str) -> Normal<'a> {
        let plain = text::plain(original);
        let trimmed = text::trimmed(&plain);
        if trimmed.is_empty() {
            return Ok(None);
        }
        let number = self.e164(&Dialled::read(trimmed)?)?;
        Ok(Some(text::kept(original, Cow::Owned(number))))
    }
}

impl Phone {
    fn e164(&self, dialled: &Dialled) -> Result<String, Misfit> {
        let digits = dialled.digits.as_str();
        if dialled.plus {
            return international(digits);
        }
        let Some(region) = self.region else {
            return match digits.strip_prefix("00") {
                Some(rest) => international(rest),
                None => Err(misfit(
                    "phone-country",
                    "no country code; name the region of such numbers, as in phone(CN)",
                )),
            };
        };
        let prefix = region.patterns().and_then(|patterns| patterns.international.as_ref());
        let outside = prefix.and_then(|prefix| prefix.find(digits));
        if let Some(rest) = outside.and_then(|found| digits.get(found.end()..))
            && let Ok(number) = international(rest)
        {
            return Ok(number);
        }
        let national = region.without_trunk(digits);
        if regions_of(region.calling).iter().any(|one| one.has(&national)) {
            return Ok(format!("+{}{national}", region.calling));
        }
        if let Some(rest) = digits.strip_prefix(region.calling)
            && let Ok(number) = within(region.calling, rest)
        {
            return Ok(number);
        }
        // Of a number that is nothing but a prefix, all digits are told.
        let told = if national.is_empty() { digits } else { &*national };
        Err(self.refused(region, told))
    }

    /// Why a number is none of the region.
    fn refused(&self, region: &Region, national: &str) -> Misfit {
        let count = national.len();
        let (least, most) = (region.lengths.first(), region.lengths.last());
        let (least, most) = (least.copied().unwrap_or(1), most.copied().unwrap_or(DIGITS_MAX));
        let name = &self.name;
        if region.lengths.contains(&count) {
            return misfit("phone-unassigned", format!("no phone number of {name} is like this"));
        }
        let reason = match least == most {
            true => format!("a number of {name} has {least} digits, this one {count}"),
            false => format!("a number of {name} has {least} to {most} digits, this one {count}"),
        };
        misfit("phone-length", reason)
    }
}

/// A number with its country code, without plus.
fn international(digits: &str) -> Result<String, Misfit> {
    if digits.len() > DIGITS_MAX + 2 {
        return Err(misfit("phone-length", format!("more than {DIGITS_MAX} digits")));
    }
    let calling = (1..=3).filter_map(|length| digits.split_at_checked(length));
    for (calling, rest) in calling {
        if !regions_of(calling).is_empty() {
            return within(calling, rest);
        }
    }
    Err(misfit("phone-country", "no country has this calling code"))
}

/// A number of one calling code.
fn within(calling: &str, rest: &str) -> Result<String, Misfit> {
    let regions = regions_of(calling);
    if regions.iter().any(|region| region.has(rest)) {
        return Ok(format!("+{calling}{rest}"));
    }
    // +44 020 …: the prefix for calls within the country is often left in.
    let national = regions.first().map(|region| region.without_trunk(rest)).unwrap_or_default();
    if regions.iter().any(|region| region.has(&national)) {
        return Ok(format!("+{calling}{national}"));
    }
    if regions.iter().any(|region| region.lengths.contains(&rest.len())) {
        return Err(misfit(
            "phone-unassigned",
            format!("no phone number of +{calling} is like this"),
        ));
    }
    let count = rest.len();
    Err(misfit(
        "phone-length",
        format!("no phone number of +{calling} has {count} digits after it"),
    ))
}

/// What was written, without punctuation.
struct Dialled {
    plus: bool,
    digits: String,
}

impl Dialled {
    fn read(written: &str) -> Result<Self, Misfit> {
        let lower = written.to_lowercase();
        let labels = ["tel:", "tel.", "tel", "phone:", "mobile:", "电话:", "手机:", "电话", "手机"];
        let labelled = labels.iter().find_map(|label| lower.strip_prefix(label));
        let number = labelled.unwrap_or(&lower).trim_start();
        let (number, extension) = match number.split_once(";ext=") {
            Some((number, _)) => (number, true),
            None => (number, false),
        };
        let marks = ["ext", "x", "#", "转", "分机", "内线", "доб", "poste", "durchwahl"];
        let digits_before = |at: usize| count_digits(number.get(..at).unwrap_or_default());
        let marked = |mark: &str| number.find(mark).is_some_and(|at| digits_before(at) >= 3);
        if extension || marks.iter().any(|mark| marked(mark)) {
            return Err(misfit(
                "phone-extension",
                "an extension, which E.164 has no place for; bring it in a column of its own",
            ));
        }
        several(number)?;
        if number.chars().any(char::is_alphabetic) {
            return Err(misfit("phone-letters", "letters in a phone number"));
        }
        Self::digits(number)
    }

    fn digits(number: &str) -> Result<Self, Misfit> {
        let (plus, rest) = match number.trim_start_matches(['(', ' ']).strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        // +44 (0)20: the zero is for calls within the country.
        let rest = if plus { rest.replacen("(0)", "", 1) } else { rest.to_owned() };
        let allowed = |c: char| {
            c.is_ascii_digit()
                || c.is_whitespace()
                || matches!(
                    c,
                    '-' | '.' | '(' | ')' | '/' | '[' | ']' | '·' | '‐'..='―' | '−' | '~'
                )
        };
        if !rest.chars().all(allowed) {
            return Err(misfit("phone-characters", "signs that no phone number has"));
        }
        let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
        if digits.is_empty() {
            return Err(misfit("phone-length", "no digits"));
        }
        Ok(Self { plus, digits })
    }
}

/// Refuses a text with more than one number: which of them is meant is not ours to guess.
fn several(number: &str) -> Result<(), Misfit> {
    let parts = number.split([';', ',', '、', '/', '|', '\n']);
    let numbers = parts.filter(|part| count_digits(part) >= SECOND_NUMBER_DIGITS_MIN).count();
    let pluses = number.matches('+').count();
    if numbers > 1 || pluses > 1 || number.contains(" or ") || number.contains('或') {
        return Err(misfit("phone-several", "more than one phone number"));
    }
    Ok(())
}

fn count_digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

fn misfit(code: &'static str, reason: impl Into<String>) -> Misfit {
    Misfit::new(code, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_every_region_can_be_run() {
        assert!(REGIONS.len() > 240);
        for (name, region) in REGIONS.iter() {
            let patterns = region.patterns().unwrap_or_else(|| panic!("{name}"));
            assert_eq!(patterns.national.is_none(), region.national.is_empty(), "{name}");
            assert!(patterns.international.is_some() || region.international.is_empty(), "{name}");
            assert!(!region.lengths.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_wrong_region_is_named_with_its_fix() {
        for (text, hint) in [("phone(UK)", "GB"), ("phone(China)", "ISO code")] {
            let error = crate::mapping::check_clean(text).unwrap_err();
            assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
        }
    }
}
