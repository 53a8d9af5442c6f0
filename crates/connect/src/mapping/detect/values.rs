//! How values of personal data look, with their checksums.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;

use chrono::NaiveDate;

use crate::mapping::normalise::{Step, clean_all};

/// The regions whose numbers are recognised without country code.
const PHONE_REGIONS: [&str; 8] = ["CN", "US", "GB", "DE", "FR", "JP", "KR", "IN"];
/// Codes of the Chinese provinces.
const PROVINCES: [u32; 35] = [
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52,
    53, 54, 61, 62, 63, 64, 65, 71, 81, 82, 83,
];
/// Numbers closer together than this, on average, are a series.
const SERIES_STEP_MAX: u128 = 1_000;

static EMAIL: LazyLock<Vec<Step>> = LazyLock::new(|| steps("email"));
static DATE: LazyLock<Vec<Step>> = LazyLock::new(|| steps("date(dmy)"));
static PHONE: LazyLock<Vec<Step>> = LazyLock::new(|| steps("phone"));
static PHONES: LazyLock<Vec<(&'static str, Vec<Step>)>> = LazyLock::new(|| {
    PHONE_REGIONS.iter().map(|region| (*region, steps(&format!("phone({region})")))).collect()
});

fn steps(text: &str) -> Vec<Step> {
    Step::parse(text).into_iter().collect()
}

fn fits(steps: &[Step], value: &str) -> bool {
    !steps.is_empty() && matches!(clean_all(steps, value), Ok(Some(_)))
}

pub(super) fn is_email(value: &str) -> bool {
    value.contains('@') && fits(&EMAIL, value)
}

pub(super) fn is_phone(value: &str) -> bool {
    fits(&PHONE, value) || PHONES.iter().any(|(_, steps)| fits(steps, value))
}

/// A number that is one without being called so: with its country code, with punctuation, or a Chinese
/// mobile number.
pub(super) fn is_phone_alone(value: &str) -> bool {
    if value.starts_with('+') {
        return fits(&PHONE, value);
    }
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    if digits < 10 {
        return false;
    }
    let in_region =
        |region: &str| PHONES.iter().any(|(known, steps)| *known == region && fits(steps, value));
    if digits == value.len() {
        let mobile = digits == 11 && value.starts_with('1') && !value.starts_with("10");
        return mobile && in_region("CN");
    }
    let trunk = value.starts_with('0') || value.starts_with("(0");
    let american = in_region("US") && value.len() >= 12;
    american || (trunk && PHONES.iter().any(|(_, steps)| fits(steps, value))) || in_region("CN")
}

/// The normaliser that reads most of the numbers.
pub(super) fn phone_clean(sample: &BTreeSet<&str>) -> String {
    let count = |steps: &[Step]| sample.iter().filter(|value| fits(steps, value)).count();
    let mut best = ("phone".to_owned(), count(&PHONE));
    for (region, steps) in PHONES.iter() {
        let fitting = count(steps);
        if fitting > best.1 {
            best = (format!("phone({region})"), fitting);
        }
    }
    best.0
}

/// A Chinese number of 18 or 15 places, or an American one.
pub(super) fn is_national_id(value: &str) -> bool {
    is_chinese_id(value) || is_old_chinese_id(value) || is_american_id(value)
}

pub(super) fn is_national_id_alone(value: &str) -> bool {
    is_chinese_id(value) || is_american_id(value)
}

/// GB 11643: province, birth date, and a check digit of ISO 7064 MOD 11-2.
pub(super) fn is_chinese_id(value: &str) -> bool {
    let value = value.as_bytes();
    let (Some(digits), 18) = (value.get(..17), value.len()) else { return false };
    if !digits.iter().all(u8::is_ascii_digit) || !province(digits) {
        return false;
    }
    let number = |from: usize, to: usize| number(digits, from, to);
    let year = i32::try_from(number(6, 10)).unwrap_or_default();
    if !(1900..2100).contains(&year)
        || NaiveDate::from_ymd_opt(year, number(10, 12), number(12, 14)).is_none()
    {
        return false;
    }
    let mut sum = 0_u32;
    for digit in digits {
        sum = (sum + u32::from(digit - b'0')) * 2 % 11;
    }
    let check = (12 - sum) % 11;
    match value.last() {
        Some(b'X' | b'x') => check == 10,
        Some(last @ b'0'..=b'9') => u32::from(last - b'0') == check,
        _ => false,
    }
}

fn is_old_chinese_id(value: &str) -> bool {
    let digits = value.as_bytes();
    if digits.len() != 15 || !digits.iter().all(u8::is_ascii_digit) || !province(digits) {
        return false;
    }
    let year = i32::try_from(1900 + number(digits, 6, 8)).unwrap_or_default();
    NaiveDate::from_ymd_opt(year, number(digits, 8, 10), number(digits, 10, 12)).is_some()
}

fn province(digits: &[u8]) -> bool {
    PROVINCES.contains(&number(digits, 0, 2))
}

fn number(digits: &[u8], from: usize, to: usize) -> u32 {
    let digits = digits.get(from..to).unwrap_or_default();
    digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit.wrapping_sub(b'0')))
}

/// Three, two and four digits with hyphens, in the ranges that are given out.
fn is_american_id(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let [area, group, serial] = parts.as_slice() else { return false };
    let digits = parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        && (area.len(), group.len(), serial.len()) == (3, 2, 4)
        && !area.starts_with('9')
        && !matches!(*area, "000" | "666")
        && *group != "00"
        && *serial != "0000"
}

/// ISO 13616: country, two check digits, and the whole is 1 modulo 97.
pub(super) fn is_iban(value: &str) -> bool {
    let plain: String = value.chars().filter(|c| *c != ' ').collect();
    let bytes = plain.as_bytes();
    let shape = (15..=34).contains(&bytes.len())
        && bytes.iter().all(u8::is_ascii_alphanumeric)
        && bytes.iter().take(2).all(u8::is_ascii_uppercase)
        && bytes.iter().skip(2).take(2).all(u8::is_ascii_digit);
    if !shape {
        return false;
    }
    let moved = bytes.iter().skip(4).chain(bytes.iter().take(4));
    let rest = moved.fold(0_u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    rest == 1
}

/// A number of a card scheme, with its length and its Luhn digit.
pub(super) fn is_card(value: &str) -> bool {
    if !value.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ' || byte == b'-') {
        return false;
    }
    let digits: Vec<u8> = value.bytes().filter(u8::is_ascii_digit).collect();
    let (two, four) = (number(&digits, 0, 2), number(&digits, 0, 4));
    let scheme = match digits.len() {
        13 => digits.first() == Some(&b'4'),
        14 => matches!(two, 30 | 36 | 38 | 39),
        15 => matches!(two, 34 | 37),
        16 => {
            digits.first() == Some(&b'4')
                || matches!(two, 51..=55 | 62 | 65 | 35)
                || matches!(four, 2221..=2720 | 6011)
        }
        17..=19 => two == 62 || (digits.len() == 19 && digits.first() == Some(&b'4')),
        _ => false,
    };
    scheme && luhn(&digits)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit.wrapping_sub(b'0'));
            let value = if place % 2 == 1 { digit * 2 } else { digit };
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

pub(super) fn is_ip(value: &str) -> bool {
    value.parse::<IpAddr>().is_ok()
}

/// An address, and not the number of a version: 10.2.0.4 could be either.
pub(super) fn is_ip_alone(value: &str) -> bool {
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            address.octets().iter().filter(|octet| **octet > 31).count() >= 2
        }
        Ok(IpAddr::V6(_)) => value.matches(':').count() >= 3,
        Err(_) => false,
    }
}

pub(super) fn is_birth_date(value: &str) -> bool {
    fits(&DATE, value)
}

/// One or two letters and six to eight digits, or nine places.
pub(super) fn is_passport(value: &str) -> bool {
    let letters = value.bytes().take_while(u8::is_ascii_uppercase).count();
    let digits = value.bytes().skip(letters).filter(u8::is_ascii_digit).count();
    let whole = letters + digits == value.len();
    whole
        && match letters {
            0 => digits == 9,
            1 | 2 => (6..=8).contains(&digits),
            _ => false,
        }
}

/// A few words of letters.
pub(super) fn is_person_name(value: &str) -> bool {
    let letters = value.chars().filter(|c| c.is_alphabetic()).count();
    let others = |c: char| !c.is_alphabetic() && !" .-'’·,".contains(c);
    letters > 0 && value.chars().count() <= 60 && !value.chars().any(others)
}

/// Several words, or Chinese with a word for a place.
pub(super) fn is_address(value: &str) -> bool {
    let places = ['省', '市', '区', '县', '路', '街', '号', '村', '镇', '巷', '弄', '室', '道'];
    let letters = value.chars().filter(|c| c.is_alphabetic()).count();
    let words = value.split_whitespace().count();
    letters >= 3
        && !value.contains('@')
        && (value.chars().any(|c| places.contains(&c)) || words >= 2)
}

/// Whether the values are numbers that stand close together, as numbers that are given out do.
pub(super) fn is_series(sample: &BTreeSet<&str>) -> bool {
    let numbers: BTreeSet<u128> = sample.iter().filter_map(|value| value.parse().ok()).collect();
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return false };
    numbers.len() * 2 > sample.len() && (last - first) / (numbers.len() as u128) < SERIES_STEP_MAX
}
