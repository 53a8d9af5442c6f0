//! `number`: numbers as people write them, with signs between thousands, of currencies and in parentheses.

use std::borrow::Cow;

use flywheel_base::{Result, suggest};

use super::{Normal, Normalise, NormaliserKind, text};
use crate::column::Misfit;
use crate::mapping::form::{Arguments, Parameter};

/// Signs of currencies, before or behind a number.
const MONEY: [char; 7] = ['$', '¥', '€', '£', '₩', '₹', '元'];

/// The signs of a negative number.
const MINUS: [char; 2] = ['-', '−'];

/// The most digits of an exponent.
const EXPONENT_DIGITS_MAX: usize = 3;

/// What stands before decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decimals {
    /// Whatever the number itself leaves no doubt about.
    Clear,
    Point,
    Comma,
}

/// Makes plain numbers.
#[derive(Debug)]
pub(crate) struct Number {
    decimals: Decimals,
}

impl NormaliserKind for Number {
    const ABOUT: &'static str = "Makes plain numbers (-1234.50) of those with signs between thousands (1,234.50; \
                                 1.234,50; 1 234,50), of a currency, in parentheses or with a minus behind. \
                                 1,234 has two readings and is set aside unless it is said what stands before \
                                 decimals: number(point) or number(comma). So are percentages.";
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::text("decimals", "What stands before decimals: point or comma.")];

    fn build(arguments: &Arguments) -> Result<Self> {
        let decimals = match arguments.text("decimals") {
            None => Decimals::Clear,
            Some("point") => Decimals::Point,
            Some("comma") => Decimals::Comma,
            Some(other) => {
                let hint = suggest::hint(other, ["point", "comma"]);
                return Err(arguments.wrong("decimals", other, hint));
            }
        };
        Ok(Self { decimals })
    }
}

impl Normalise for Number {
    fn normalise<'a>(&self, original: &'a str) -> Normal<'a> {
        let plain: String = original.chars().filter_map(half_width).collect();
        let (negative, unsigned) = signed(plain.trim());
        if unsigned.is_empty() && plain.trim().is_empty() {
            return Ok(None);
        }
        let number = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) if is_scientific(mantissa, exponent) => unsigned.to_owned(),
            _ => self.plain(unsigned)?,
        };
        let sign = if negative { "-" } else { "" };
        Ok(Some(text::kept(original, Cow::Owned(format!("{sign}{number}")))))
    }
}

impl Number {
    /// A number without sign as digits and a point.
    fn plain(&self, number: &str) -> Result<String, Misfit> {
        let (decimal, between) = self.signs(number)?;
        let (whole, fraction) =
            decimal.and_then(|sign| number.split_once(sign)).unwrap_or((number, ""));
        let separator = whole.chars().find(|c| !c.is_ascii_digit());
        let whole = match separator {
            None => whole.to_owned(),
            Some(sign) if Some(sign) == between || matches!(sign, ' ' | '\'' | '’') => {
                if !is_grouped(whole, sign) {
                    return Err(none(number));
                }
                whole.replace(sign, "")
            }
            Some(_) => return Err(none(number)),
        };
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(fraction) {
            return Err(none(number));
        }
        let whole = if whole.is_empty() { "0".to_owned() } else { whole };
        if fraction.is_empty() {
            return Ok(whole);
        }
        let written = format!("{whole}.{fraction}");
        // A plain number is no other one if it is cleaned again.
        let doubtful = self.decimals == Decimals::Comma && is_grouped(&written, '.');
        Ok(if doubtful { format!("{written}0") } else { written })
    }

    /// The sign before decimals and the one between thousands, as far as the number has them.
    fn signs(&self, number: &str) -> Result<(Option<char>, Option<char>), Misfit> {
        let count = |sign: char| number.chars().filter(|c| *c == sign).count();
        let (points, commas) = (count('.'), count(','));
        Ok(match self.decimals {
            Decimals::Point => (Some('.'), Some(',')),
            Decimals::Comma if commas == 0 && points == 1 && !is_grouped(number, '.') => {
                (Some('.'), None)
            }
            Decimals::Comma => (Some(','), Some('.')),
            Decimals::Clear => match (points, commas) {
                (0, 0) => (None, None),
                (1, 0) | (0, 1) => {
                    let sign = if points == 1 { '.' } else { ',' };
                    if is_grouped(number, sign) {
                        return Err(Misfit::new(
                            "number-ambiguous",
                            "two readings; say what stands before decimals, as in number(point) or \
                             number(comma)",
                        ));
                    }
                    (Some(sign), None)
                }
                (_, 0) => (None, Some('.')),
                (0, _) => (None, Some(',')),
                _ => match number.rfind('.') > number.rfind(',') {
                    true => (Some('.'), Some(',')),
                    false => (Some(','), Some('.')),
                },
            },
        })
    }
}

/// A letter of full width in its usual width, white space as a space; none for what cannot be seen.
fn half_width(c: char) -> Option<char> {
    match c {
        '￥' => Some('¥'),
        '￡' => Some('£'),
        '￦' => Some('₩'),
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0),
        _ if c.is_whitespace() => Some(' '),
        _ if text::hidden(c) => None,
        _ => Some(c),
    }
}

/// Whether a number is negative, and what is left of it without its sign and that of a currency.
fn signed(number: &str) -> (bool, &str) {
    let (mut rest, mut sign, mut money) = (number, None, false);
    loop {
        rest = rest.trim();
        let inner = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let found = match sign {
            Some(_) => None,
            None => inner
                .or_else(|| rest.strip_prefix(MINUS))
                .or_else(|| rest.strip_suffix(MINUS))
                .map(|next| (true, next))
                .or_else(|| rest.strip_prefix('+').map(|next| (false, next))),
        };
        if let Some((negative, next)) = found {
            (sign, rest) = (Some(negative), next);
            continue;
        }
        let amount = rest.strip_prefix(MONEY).or_else(|| rest.strip_suffix(MONEY));
        match amount.filter(|_| !money) {
            Some(next) => (money, rest) = (true, next),
            None => return (sign.unwrap_or_default(), rest),
        }
    }
}

/// Whether it is a number with an exponent, as programs write it.
fn is_scientific(mantissa: &str, exponent: &str) -> bool {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let power = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let powers = 1..=EXPONENT_DIGITS_MAX;
    !whole.is_empty()
        && [whole, fraction, power].into_iter().all(is_digits)
        && powers.contains(&power.len())
}

/// Whether digits stand in groups of three, with `sign` between them.
fn is_grouped(number: &str, sign: char) -> bool {
    let mut groups = number.split(sign);
    let first = groups.next().unwrap_or_default();
    let leads = (1..=3).contains(&first.len()) && is_digits(first) && !first.starts_with('0');
    let mut rest = groups.peekable();
    leads && rest.peek().is_some() && rest.all(|group| group.len() == 3 && is_digits(group))
}

fn is_digits(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

fn none(number: &str) -> Misfit {
    match number.ends_with('%') {
        true => Misfit::new("number-percent", "a percentage, which is no plain number"),
        false => Misfit::new("number-form", "not a number, or not in groups of three digits"),
    }
}
