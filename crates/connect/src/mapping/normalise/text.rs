//! What normalisers share about text: Unicode forms, white space, writing systems.

use std::borrow::Cow;

use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};

/// The text in NFKC, where full-width letters, digits and signs are plain ones, without characters
/// that cannot be seen.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|byte| byte < b' ' && !byte.is_ascii_whitespace()) {
        return Cow::Borrowed(text);
    }
    let visible: Cow<'_, str> = if text.chars().any(hidden) {
        Cow::Owned(text.chars().filter(|c| !hidden(*c)).collect())
    } else {
        Cow::Borrowed(text)
    };
    let normal = ComposingNormalizer::new_nfkc().normalize(&visible).into_owned();
    if normal == text { Cow::Borrowed(text) } else { Cow::Owned(normal) }
}

/// Letters without their marks, in lower case: `É` as `e`.
pub(super) fn folded(text: &str) -> String {
    let text = plain(text).to_lowercase();
    if text.is_ascii() {
        return text;
    }
    let bare: String = DecomposingNormalizer::new_nfkd()
        .normalize(&text)
        .chars()
        .filter(|c| !is_mark(*c))
        .collect();
    ComposingNormalizer::new_nfkc().normalize(&bare).into_owned()
}

/// `text` if it is `normal`, so that nothing is copied.
pub(super) fn kept<'a>(text: &'a str, normal: Cow<'_, str>) -> Cow<'a, str> {
    if normal == text { Cow::Borrowed(text) } else { Cow::Owned(normal.into_owned()) }
}

/// Words with one space between them and none around.
pub(super) fn single_spaced(text: &str) -> Cow<'_, str> {
    let trimmed = trimmed(text);
    let mut before = ' ';
    let tidy = trimmed.chars().all(|c| {
        let fine = !c.is_whitespace() || (c == ' ' && before != ' ');
        before = c;
        fine
    });
    if tidy {
        return Cow::Borrowed(trimmed);
    }
    Cow::Owned(trimmed.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The text without white space and invisible characters around it.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || hidden(c))
}

/// Characters that are there but not seen: controls, zero-width and direction marks.
pub(super) fn hidden(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{00AD}')
}

/// Accents and other marks that join the letter before them.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{0300}'..='\u{036F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{3099}'..='\u{309C}' | '\u{FE20}'..='\u{FE2F}')
}

/// Chinese, Japanese and Korean letters.
pub(super) fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// A word with a capital first letter and the rest in lower case.
pub(super) fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters.flat_map(char::to_lowercase)).collect()
}

/// Whether the text shouts: it has letters of both kinds of case, none of them in lower case.
pub(super) fn is_all_caps(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)
}
