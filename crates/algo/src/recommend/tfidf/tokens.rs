//! From text to words, with and without spaces.

use super::Options;
use super::stop_words::ENGLISH;

/// The words of `text`: lower case, runs of at least two letters, digits or underscores, without
/// stop words; if asked for, also each pair of neighbouring CJK characters and each one alone.
#[must_use]
pub fn tokens(text: &str, options: &Options) -> Vec<String> {
    let lower = text.to_lowercase();
    let mut found = Vec::new();
    for run in lower.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
        let mut characters = run.chars();
        let first = characters.next();
        // A single CJK character is a word, as in "茶 杯", where a single letter is none.
        let alone = options.cjk_bigrams && first.is_some_and(is_cjk);
        let long = alone || characters.next().is_some();
        let stopped = options.stop_words && ENGLISH.binary_search(&run).is_ok();
        if long && !stopped {
            found.push(run.to_owned());
        }
        if options.cjk_bigrams {
            add_bigrams(run, &mut found);
        }
    }
    found
}

/// Adds each pair of neighbouring CJK characters of `run`; a run of two is a word already.
fn add_bigrams(run: &str, found: &mut Vec<String>) {
    let whole = run.chars().count() == 2;
    let mut last: Option<char> = None;
    for c in run.chars() {
        let here = is_cjk(c).then_some(c);
        if let (Some(a), Some(b), false) = (last, here, whole) {
            found.push([a, b].iter().collect());
        }
        last = here;
    }
}

/// Whether a script without spaces uses `c`: Han, kana or Hangul.
fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7af}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}')
}
