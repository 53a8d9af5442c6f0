//! Finds secrets in what a program shows, however they are written there.
//!
//! A header of HTTP holds `user:password` in base64, an address holds a key percent-encoded: who reads a log reads both.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How many bytes base64 takes at once.
const GROUP: usize = 3;

/// Whether `content` shows `secret`: as it is, percent-encoded, or in base64 of either alphabet, alone or within something longer,
/// or by one in the other. A secret of less than three letters is found only as it is.
#[must_use]
pub fn shows(content: &str, secret: &str) -> bool {
    let forms = forms(secret);
    let found = |text: &str| forms.iter().any(|form| text.contains(form.as_str()));
    found(content) || found(&percent_decoded(content))
}

/// A secret as it is, and what its base64 has in it wherever the secret begins within a group of three bytes.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    if secret.len() < GROUP {
        return forms;
    }
    for before in 0..GROUP {
        let bytes = [&vec![0_u8; before][..], secret.as_bytes()].concat();
        // A letter holds six bits; those that also hold bits of something else can be any.
        let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let letters: String = engine.encode(&bytes).chars().take(end).skip(first).collect();
            if !forms.contains(&letters) {
                forms.push(letters);
            }
        }
    }
    forms
}

/// The words of a text that hold something percent-encoded, decoded.
fn percent_decoded(text: &str) -> String {
    let end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>');
    let words = text.split(end).filter(|word| word.contains('%'));
    words.map(decoded).collect::<Vec<_>>().join(" ")
}

fn decoded(word: &str) -> String {
    let bytes = word.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let two = bytes.get(at + 1..at + 3).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let digits = two.and_then(|two| std::str::from_utf8(two).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value.filter(|_| *byte == b'%') {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    /// Letters whose base64 has the two letters in which the alphabets differ, at each place within a group.
    const SECRET: &str = "c4n?ary~~>>??ÿ+Zq7wXv";

    #[test]
    fn a_secret_is_found_as_it_is_and_what_is_none_is_not() {
        assert!(shows(&format!("password={SECRET}\n"), SECRET));
        for other in ["", "password=…", "%", "%zz%2", "c4n?ary", "YzRu", "100 % of them"] {
            assert!(!shows(other, SECRET), "{other}");
        }
        assert!(shows("Authorization: Basic dTpodW50ZXIy", "hunter2"));
        assert!(!shows("Authorization: Basic dTpodW50ZXIz", "hunter2"));
    }

    #[test]
    fn base64_is_found_wherever_it_begins_in_both_alphabets_padded_or_not() {
        let mut alphabets_differ = false;
        for before in ["", "u", "us", "user:", "user:p:"] {
            for after in ["", "\n", "}}", "@host"] {
                let whole = format!("{before}{SECRET}{after}");
                let written = [
                    STANDARD.encode(&whole),
                    STANDARD_NO_PAD.encode(&whole),
                    URL_SAFE.encode(&whole),
                    URL_SAFE_NO_PAD.encode(&whole),
                ];
                alphabets_differ |= written[1] != written[3];
                for text in written {
                    assert!(
                        shows(&format!("got \"Basic {text}\" back"), SECRET),
                        "{whole}: {text}"
                    );
                    assert!(!shows(&text, "another-secret"), "{text}");
                }
            }
        }
        assert!(alphabets_differ, "the secret tells the alphabets apart");
    }

    #[test]
    fn percent_encoding_is_found_whatever_of_it_is_encoded_also_around_base64() {
        let all: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let needed: String = SECRET
            .bytes()
            .map(|byte| match byte.is_ascii_alphanumeric() {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02x}"),
            })
            .collect();
        let inside = STANDARD.encode(format!("u:{SECRET}"));
        let around = inside.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D");
        assert_ne!(inside, around);
        for text in [all, needed, around] {
            assert!(shows(&format!("GET /rows?page=1&key={text}&n=2 HTTP/1.1"), SECRET), "{text}");
            assert!(!shows(&text, "another-secret"), "{text}");
        }
    }
}
