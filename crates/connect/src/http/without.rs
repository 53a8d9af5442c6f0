//! Takes what is secret out of what another program says, however it is written there.
//!
//! A server that repeats a request shows `user:password` in base64, a key of the address percent-encoded and a field of a
//! body as JSON writes it: each of them is the secret to whoever reads it.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What stands in the place of a secret.
const HIDDEN: &str = "…";

/// The longest piece that stays: removing it would make every text unreadable.
const PLAIN_BYTES_MAX: usize = 2;

/// How many bytes base64 takes at once.
const GROUP: usize = 3;

/// The least letters of base64 that tell a secret from a word.
const LETTERS_MIN: usize = 4;

/// `text` with every given piece replaced: as it is, as JSON writes it, percent-encoded in part or whole, and the base64 of
/// anything that has the piece in it. Pieces of one or two bytes stay.
pub(crate) fn without<'a>(text: String, pieces: impl Iterator<Item = &'a str>) -> String {
    let mut text = text;
    let mut pieces: Vec<&str> = pieces.filter(|piece| piece.len() > PLAIN_BYTES_MAX).collect();
    // A piece that holds another one goes first.
    pieces.sort_unstable_by_key(|piece| std::cmp::Reverse(piece.len()));
    for piece in pieces {
        let escaped = serde_json::Value::from(piece).to_string();
        // Without the two marks around it, and none that the piece itself begins or ends with. It goes first, as the piece may
        // be the end of it.
        let escaped = escaped.get(1..escaped.len() - 1).unwrap_or_default();
        if escaped != piece {
            text = removed(text, |text| written(text, escaped));
        }
        text = removed(text, |text| written(text, piece));
        for letters in letters(piece) {
            text = removed(text, |text| written(text, &letters).map(|found| widened(text, &found)));
        }
    }
    text
}

/// `text` with each place that `find` names replaced.
fn removed(text: String, find: impl Fn(&str) -> Option<Range<usize>>) -> String {
    let Some(mut found) = find(&text) else { return text };
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text.as_str());
    loop {
        let (before, after) = (rest.get(..found.start), rest.get(found.end..));
        kept.push_str(before.unwrap_or_default());
        kept.push_str(HIDDEN);
        rest = after.unwrap_or_default();
        match find(rest) {
            Some(next) => found = next,
            None => break,
        }
    }
    kept.push_str(rest);
    kept
}

/// Where `piece` is first written in `text`, each byte of it as it is or percent-encoded.
fn written(text: &str, piece: &str) -> Option<Range<usize>> {
    if !text.contains('%') {
        return text.find(piece).map(|at| at..at + piece.len());
    }
    let bytes = text.as_bytes();
    let ends = |start: usize| {
        let mut at = start;
        for wanted in piece.bytes() {
            at += match bytes.get(at)? {
                byte if *byte == wanted => 1,
                b'%' if encoded(bytes, at) == Some(wanted) => 3,
                b'+' if wanted == b' ' => 1,
                _ => return None,
            };
        }
        Some(start..at)
    };
    (0..bytes.len()).filter(|at| text.is_char_boundary(*at)).find_map(ends)
}

/// The byte that `%41` at `at` stands for.
fn encoded(bytes: &[u8], at: usize) -> Option<u8> {
    let two = bytes.get(at + 1..at + 3).filter(|two| two.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()
}

/// What the base64 of anything that has `piece` in it has in it, for each place within a group at which the piece begins.
fn letters(piece: &str) -> Vec<String> {
    let mut forms: Vec<String> = Vec::new();
    for before in 0..GROUP {
        let bytes = [&vec![0_u8; before][..], piece.as_bytes()].concat();
        // A letter holds six bits; those that also hold bits of something else can be any.
        let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let letters: String = engine.encode(&bytes).chars().take(end).skip(first).collect();
            if letters.len() >= LETTERS_MIN && !forms.contains(&letters) {
                forms.push(letters);
            }
        }
    }
    forms
}

/// `found` with all letters of base64 around it: those at its ends hold bits of the piece.
fn widened(text: &str, found: &Range<usize>) -> Range<usize> {
    let letter =
        |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_' | '=' | '%');
    let before = text.get(..found.start).unwrap_or_default().chars().rev().take_while(letter);
    let after = text.get(found.end..).unwrap_or_default().chars().take_while(letter);
    found.start - before.count()..found.end + after.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of `text`, of which `secret` must not be told.
    fn told(text: &str, secret: &str) -> String {
        without(text.to_owned(), std::iter::once(secret))
    }

    #[test]
    fn a_secret_goes_however_it_is_written() {
        let secret = "p?ss \"w~>ö+7";
        let whole = format!("user:{secret}");
        for before in ["", "u", "us", "user:"] {
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let basic = engine.encode(format!("{before}{secret}@"));
                assert_eq!(
                    told(&format!("got \"Basic {basic}\" back"), secret),
                    "got \"Basic …\" back"
                );
                let encoded = basic.replace('+', "%2B").replace('/', "%2f");
                assert_eq!(told(&format!("a=%25&b={encoded}&c"), secret), "a=%25&…&c", "{encoded}");
            }
        }
        let all: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let form = "p%3Fss+%22w~%3E%C3%B6%2B7".to_owned();
        for written in [secret.to_owned(), all, form, "p?ss \\\"w~>ö+7".to_owned()] {
            let text = format!("100 % of key={written}&n=2 and {written}");
            assert_eq!(told(&text, secret), "100 % of key=…&n=2 and …", "{written}");
        }
        assert_eq!(told(&whole, secret), "user:…");
        for (secret, written) in [("passw\"", "passw\\\""), ("\"passw", "\\\"passw")] {
            assert_eq!(told(&format!("{{\"key\":\"{written}\"}}"), secret), "{\"key\":\"…\"}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in ["", "%", "100 % of 50 %", "no such user: pass", "%E4%BD%A0 你好 %", "a%2"] {
            assert_eq!(told(text, "p?ssw~>ö+7"), text);
            assert_eq!(told(text, "%"), text, "short pieces stay");
        }
        // The longest goes first, so nothing of it is left.
        let two = ["hunter", "hunter22"];
        assert_eq!(without("hunter22 hunter".to_owned(), two.into_iter()), "… …");
    }
}
