//! `tokenize(key=…)`: another value of the same form.
//!
//! Digits become digits, letters become letters of the same case, everything between stays, by FF1 of
//! NIST SP 800-38G under AES-256. The standard asks for at least a million possible values; one that
//! is shorter, or has letters beyond A to Z, becomes `tok_` and 32 hexadecimal digits of a digest. FF1
//! can be reversed by whoever has the key, and only by them: this is a pseudonym, not an erasure.

use aes::Aes256;
use flywheel_base::{Error, Result};
use fpe::ff1::{FF1, FlexibleNumeralString};
use std::fmt;

use super::keyed::{Keyed, hex};
use super::{Mask, MaskKind};
use crate::mapping::form::{Arguments, KEY, Parameter};

/// The fewest possible values of a form, by the standard.
const FORM_VALUES_MIN: u128 = 1_000_000;
/// The longest value that is given another of its form; a digest stands for longer ones.
const FORM_CHARS_MAX: usize = 256;
/// How often a value of a mixed form is encrypted until it is of that form again. One time in two or
/// more it is, so that this is never reached.
const WALKS_MAX: usize = 1_000;

/// Puts values of the same form in the place of values.
pub(crate) struct Tokenize {
    digits: FF1<Aes256>,
    letters: FF1<Aes256>,
    bits: FF1<Aes256>,
    short: Keyed,
}

impl fmt::Debug for Tokenize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokenize(…)")
    }
}

impl MaskKind for Tokenize {
    const ABOUT: &'static str = "Puts another value of the same form in the place of a value: digits for \
                                 digits, letters for letters (FF1, AES-256). Equal values stay equal; \
                                 who has the key can reverse it. Short values and those with letters \
                                 beyond A to Z become tok_ and a digest.";
    const PARAMETERS: &'static [Parameter] = &[KEY];
    const DISTINCT: bool = true;

    fn build(arguments: &Arguments) -> Result<Self> {
        let key = arguments.key()?;
        let cipher = Keyed::derived(key, "tokenize ff1")?.digest(&[]);
        let ff1 = |radix: u32| {
            FF1::<Aes256>::new(&cipher, radix).map_err(|error| {
                Error::internal("the radix of a mask").caused_by(error.to_string())
            })
        };
        let short = Keyed::derived(key, "tokenize digest")?;
        Ok(Self { digits: ff1(10)?, letters: ff1(26)?, bits: ff1(2)?, short })
    }
}

impl Mask for Tokenize {
    fn text(&self, value: &str) -> Option<String> {
        Some(self.same_form(value).unwrap_or_else(|| {
            let digest = self.short.digest(&[value.as_bytes()]);
            format!("tok_{}", hex(digest.get(..16).unwrap_or_default()))
        }))
    }
}

/// What a character may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Digit,
    Lower,
    Upper,
}

impl Class {
    fn of(c: char) -> Option<Self> {
        match c {
            '0'..='9' => Some(Self::Digit),
            'a'..='z' => Some(Self::Lower),
            'A'..='Z' => Some(Self::Upper),
            _ => None,
        }
    }

    fn radix(self) -> u16 {
        if self == Self::Digit { 10 } else { 26 }
    }

    fn start(self) -> u8 {
        match self {
            Self::Digit => b'0',
            Self::Lower => b'a',
            Self::Upper => b'A',
        }
    }

    fn value(self, c: char) -> u16 {
        u8::try_from(c).map_or(0, |byte| u16::from(byte.saturating_sub(self.start())))
    }

    fn char(self, value: u16) -> char {
        u8::try_from(value).map_or('?', |value| char::from(self.start().saturating_add(value)))
    }
}

impl Tokenize {
    /// Another value of the form of `value`; `None` if the form has too few values.
    fn same_form(&self, value: &str) -> Option<String> {
        if value.len() > FORM_CHARS_MAX
            || value.chars().any(|c| !c.is_ascii() && c.is_alphanumeric())
        {
            return None;
        }
        let classes: Vec<Class> = value.chars().filter_map(Class::of).collect();
        let numerals: Vec<u16> =
            value.chars().filter_map(|c| Class::of(c).map(|class| class.value(c))).collect();
        let mut room: u128 = 1;
        for class in &classes {
            room = room.saturating_mul(u128::from(class.radix()));
        }
        if room < FORM_VALUES_MIN {
            return None;
        }
        let digits = classes.iter().all(|class| *class == Class::Digit);
        let letters = classes.iter().all(|class| *class != Class::Digit);
        let hidden = if digits {
            encrypt(&self.digits, numerals)?
        } else if letters {
            encrypt(&self.letters, numerals)?
        } else {
            self.mixed(&classes, &numerals)?
        };
        let mut hidden = classes.iter().zip(hidden).map(|(class, value)| class.char(value));
        let same = value.chars().map(|c| match Class::of(c) {
            Some(_) => hidden.next(),
            None => Some(c),
        });
        same.collect()
    }

    /// Digits and letters together: their number in binary, encrypted until it is one of the form.
    fn mixed(&self, classes: &[Class], numerals: &[u16]) -> Option<Vec<u16>> {
        let radices: Vec<u16> = classes.iter().map(|class| class.radix()).collect();
        let largest: Vec<u16> = radices.iter().map(|radix| radix - 1).collect();
        let length = to_bits(&largest, &radices).len();
        let mut bits = to_bits(numerals, &radices);
        let pad = length.checked_sub(bits.len())?;
        bits.splice(0..0, std::iter::repeat_n(0, pad));
        for _ in 0..WALKS_MAX {
            bits = encrypt(&self.bits, bits)?;
            if let Some(numerals) = from_bits(&bits, &radices) {
                return Some(numerals);
            }
        }
        None
    }
}

fn encrypt(cipher: &FF1<Aes256>, numerals: Vec<u16>) -> Option<Vec<u16>> {
    cipher.encrypt(&[], &FlexibleNumeralString::from(numerals)).ok().map(Vec::from)
}

/// The number that numerals of these radices write, in bits, the highest first.
fn to_bits(numerals: &[u16], radices: &[u16]) -> Vec<u16> {
    let mut left = numerals.to_vec();
    let mut bits = Vec::new();
    while left.iter().any(|numeral| *numeral > 0) {
        let mut carry = 0;
        for (numeral, radix) in left.iter_mut().zip(radices) {
            let value = carry * radix + *numeral;
            *numeral = value / 2;
            carry = value % 2;
        }
        bits.push(carry);
    }
    bits.reverse();
    bits
}

/// The numerals that write a number; `None` if it is too large for them.
fn from_bits(bits: &[u16], radices: &[u16]) -> Option<Vec<u16>> {
    let mut numerals = vec![0_u16; radices.len()];
    for bit in bits {
        let mut carry = *bit;
        for (numeral, radix) in numerals.iter_mut().zip(radices).rev() {
            let value = *numeral * 2 + carry;
            *numeral = value % radix;
            carry = value / radix;
        }
        if carry > 0 {
            return None;
        }
    }
    Some(numerals)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flywheel_base::{Rng, Secret};

    use super::*;

    fn tokens() -> Tokenize {
        let resolve = |_: &str| Ok(Secret::new("correct horse battery staple"));
        let form = crate::mapping::form::Form::parse("tokenize(key=${env:K})", "mask").unwrap();
        Tokenize::build(&form.arguments(Tokenize::PARAMETERS, &resolve).unwrap()).unwrap()
    }

    #[test]
    fn mixed_numbers_survive_their_bits() {
        let radices = [26, 10, 10, 26, 10];
        let mut rng = Rng::new(5);
        for _ in 0..500 {
            let numerals: Vec<u16> =
                radices.iter().map(|radix| rng.below(usize::from(*radix)) as u16).collect();
            assert_eq!(from_bits(&to_bits(&numerals, &radices), &radices), Some(numerals));
        }
        assert_eq!(from_bits(&[1, 0, 1, 0], &[10]), None, "ten has two digits");
    }

    #[test]
    fn the_form_stays_and_no_two_values_meet() {
        let tokens = tokens();
        for value in ["13800138000", "AB-1234", "li.wei@example.com", "6222-0212 3456", "000000"] {
            let token = tokens.text(value).unwrap();
            let form = |text: &str| text.chars().map(|c| Class::of(c).ok_or(c)).collect::<Vec<_>>();
            assert_eq!(form(&token), form(value), "{token}");
            assert_ne!(token, value);
            assert_eq!(tokens.text(value).unwrap(), token);
        }
        let all: BTreeSet<String> =
            (0..2_000).map(|n| tokens.text(&format!("A{n:05}")).unwrap()).collect();
        assert_eq!(all.len(), 2_000);
    }

    #[test]
    fn a_value_that_could_be_found_by_trying_becomes_a_digest() {
        let tokens = tokens();
        for value in ["", "7", "99999", "张三", "Zoë 123456789", &"9".repeat(300)] {
            let token = tokens.text(value).unwrap();
            assert!(token.starts_with("tok_") && token.len() == 36, "{value}: {token}");
        }
    }

    #[test]
    fn whoever_has_the_key_can_reverse_a_token() {
        let tokens = tokens();
        let token = tokens.text("13800138000").unwrap();
        let numerals: Vec<u16> = token.bytes().map(|byte| u16::from(byte - b'0')).collect();
        let back = tokens.digits.decrypt(&[], &FlexibleNumeralString::from(numerals)).unwrap();
        assert_eq!(Vec::from(back), [1, 3, 8, 0, 0, 1, 3, 8, 0, 0, 0]);
    }
}
