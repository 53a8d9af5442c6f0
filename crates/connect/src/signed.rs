//! Calls of other systems that are signed with a secret both sides know: whether one is what the sender sent.
//!
//! Pure: the moment and everything of the call are arguments. Signatures are compared in constant time, over the bytes of
//! the body as they came.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flywheel_base::{Secret, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Signatures of one header that are looked at: a sender has a few while it changes its secret.
const SIGNATURES_MAX: usize = 16;

/// How a call is signed, always by HMAC-SHA256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Of the body, in hexadecimal digits, with or without `sha256=` before it.
    Hex,
    /// Of the body, in base64.
    Base64,
    /// `t=SECONDS,v1=HEX`, of the seconds, a full stop and the body.
    Stripe,
    /// In base64, of method, address, body and the moment in milliseconds.
    Hubspot,
}

/// A call that came in.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The header with the signature.
    pub signature: &'a str,
    /// The header with the moment, in schemes that have one.
    pub moment: &'a str,
    /// The address that was called, as the sender knows it, in schemes that sign it.
    pub address: &'a str,
    /// The body as it came.
    pub body: &'a [u8],
}

/// Why a call is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not signed with this secret, or something of it was changed.
    Unsigned,
    /// It is signed, and too old, or of a time to come.
    Stale,
}

/// Whether a call is signed with `secret`, and made no more than `tolerance_us` from `now` where the signature says when.
///
/// # Errors
/// Why it is not taken. That it is too old is told of calls alone that are signed.
pub fn verify(
    scheme: Scheme,
    secret: &Secret,
    call: Call<'_>,
    (now, tolerance_us): (Timestamp, i64),
) -> Result<(), Refused> {
    // A secret that is empty is known to everybody.
    if secret.expose().is_empty() {
        return Err(Refused::Unsigned);
    }
    match scheme {
        Scheme::Hex => {
            let digits = call.signature.trim();
            let digits = digits.strip_prefix("sha256=").unwrap_or(digits);
            fits(secret, &[call.body], unhex(digits))
        }
        Scheme::Base64 => fits(secret, &[call.body], STANDARD.decode(call.signature.trim()).ok()),
        Scheme::Stripe => {
            let parts = || call.signature.split(',').filter_map(|part| part.trim().split_once('='));
            let mut moments = parts().filter(|(name, _)| *name == "t").map(|(_, value)| value);
            let (Some(moment), None) = (moments.next(), moments.next()) else {
                return Err(Refused::Unsigned);
            };
            let signatures = parts().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX);
            let text = [moment.as_bytes(), b".", call.body];
            let signed = signatures
                .fold(false, |signed, (_, hex)| fits(secret, &text, unhex(hex)).is_ok() || signed);
            match signed {
                true => fresh(moment, 1_000_000, (now, tolerance_us)),
                false => Err(Refused::Unsigned),
            }
        }
        Scheme::Hubspot => {
            let text: [&[u8]; 4] =
                [b"POST", call.address.as_bytes(), call.body, call.moment.as_bytes()];
            fits(secret, &text, STANDARD.decode(call.signature.trim()).ok())?;
            fresh(call.moment, 1_000, (now, tolerance_us))
        }
    }
}

/// Whether the parts one after the other have this signature.
fn fits(secret: &Secret, parts: &[&[u8]], given: Option<Vec<u8>>) -> Result<(), Refused> {
    let given = given.ok_or(Refused::Unsigned)?;
    // HMAC takes keys of every length, so there always is one.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .map_err(|_| Refused::Unsigned)?;
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(&given).map_err(|_| Refused::Unsigned)
}

/// Whether a moment, in units of `unit_us` since 1970, is near enough.
fn fresh(moment: &str, unit_us: i64, (now, tolerance_us): (Timestamp, i64)) -> Result<(), Refused> {
    let made = moment.parse::<i64>().ok().and_then(|count| count.checked_mul(unit_us));
    let made = made.ok_or(Refused::Stale)?;
    let apart = now.micros().abs_diff(made);
    match u64::try_from(tolerance_us).is_ok_and(|most| apart <= most) {
        true => Ok(()),
        false => Err(Refused::Stale),
    }
}

/// Bytes from hexadecimal digits.
fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE_US: i64 = 300_000_000;
    const ADDRESS: &str = "https://flywheel.example/v1/topics/crm/webhook";

    fn asked(
        scheme: Scheme,
        secret: &str,
        (signature, moment, body): (&str, &str, &str),
        now_s: i64,
    ) -> Result<(), Refused> {
        let call = Call { signature, moment, address: ADDRESS, body: body.as_bytes() };
        let now = Timestamp::from_micros(now_s * 1_000_000);
        verify(scheme, &Secret::new(secret), call, (now, TOLERANCE_US))
    }

    #[test]
    fn the_body_signed_in_hexadecimal_digits_is_taken_and_no_other() {
        // The vector of GitHub's manual.
        let secret = "It's a Secret to Everybody";
        let digits = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let prefixed = format!("sha256={digits}");
        let take =
            |signature: &str, body: &str| asked(Scheme::Hex, secret, (signature, "", body), 0);
        assert_eq!(take(&prefixed, "Hello, World!"), Ok(()));
        assert_eq!(take(digits, "Hello, World!"), Ok(()));
        for (signature, body) in [
            (prefixed.as_str(), "Hello, World! "),
            (&digits[..62], "Hello, World!"),
            (&digits[..63], "Hello, World!"),
            ("sha256=", "Hello, World!"),
            ("", "Hello, World!"),
            ("sha256=é", "Hello, World!"),
        ] {
            assert_eq!(take(signature, body), Err(Refused::Unsigned), "{signature} {body}");
        }
        let other = asked(Scheme::Hex, "another", (&prefixed, "", "Hello, World!"), 0);
        assert_eq!(other, Err(Refused::Unsigned));
        let empty = asked(Scheme::Hex, "", (&prefixed, "", "Hello, World!"), 0);
        assert_eq!(empty, Err(Refused::Unsigned), "an empty secret signs nothing");
    }

    #[test]
    fn the_body_signed_in_base64_is_taken_and_no_other() {
        let signature = "qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I=";
        let body = r#"{"id":820982911946154508}"#;
        let take =
            |signature: &str, body: &str| asked(Scheme::Base64, "hush", (signature, "", body), 0);
        assert_eq!(take(signature, body), Ok(()));
        assert_eq!(take(signature, "{}"), Err(Refused::Unsigned));
        assert_eq!(take("not base64!", body), Err(Refused::Unsigned));
    }

    #[test]
    fn a_call_signed_as_stripe_does_is_taken_while_it_is_new() {
        let digits = "3812d5e25b0f750dc1d966108d2112d72797465bc01bff51e65595420d351089";
        let header = format!("t=1714566600,v1={digits},v0=00");
        let while_changing = format!("t=1714566600,v1={},v1={digits}", "0".repeat(64));
        let body = r#"{"id":"evt_1"}"#;
        let take = |header: &str, now_s: i64| {
            asked(Scheme::Stripe, "whsec_test", (header, "", body), now_s)
        };
        for now_s in [1_714_566_600, 1_714_566_900, 1_714_566_300] {
            assert_eq!(take(&header, now_s), Ok(()), "{now_s}");
        }
        assert_eq!(take(&while_changing, 1_714_566_600), Ok(()));
        assert_eq!(take(&header, 1_714_566_901), Err(Refused::Stale));
        assert_eq!(take(&header, 1_714_566_299), Err(Refused::Stale));
        // A moment that was changed is not signed, and so is one of two.
        let later = header.replace("t=1714566600", "t=1714566999");
        let both = format!("t=1714566999,{header}");
        for wrong in [later.as_str(), &both, &digits[..10], "", "t=1714566600"] {
            assert_eq!(take(wrong, 1_714_566_999), Err(Refused::Unsigned), "{wrong}");
        }
    }

    #[test]
    fn a_call_signed_as_hubspot_does_is_taken_while_it_is_new() {
        let signature = "EvplIv61PZu6+cKmXR0VwMgl/lmJ3ArDqyf+3Dsxzig=";
        let (moment, body) = ("1714566600000", r#"[{"eventId":1}]"#);
        let take = |moment: &str, body: &str, now_s: i64| {
            asked(Scheme::Hubspot, "crm-secret", (signature, moment, body), now_s)
        };
        assert_eq!(take(moment, body, 1_714_566_900), Ok(()));
        assert_eq!(take(moment, body, 1_714_566_901), Err(Refused::Stale));
        assert_eq!(take("1714566900000", body, 1_714_566_900), Err(Refused::Unsigned));
        assert_eq!(take(moment, "[]", 1_714_566_600), Err(Refused::Unsigned));
    }
}
