//! Randomness of the operating system, for what nobody may guess.

use crate::{Error, Result};

/// Random bytes that nobody can guess, for salts and keys.
///
/// # Errors
/// [`crate::ErrorKind::Unavailable`] if the operating system has none.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom02::getrandom(&mut bytes).map_err(|error| {
        Error::unavailable("the operating system gives no random numbers").caused_by(error)
    })?;
    Ok(bytes)
}

/// A text of 256 random bits that nobody can guess: `prefix` and 64 hexadecimal digits.
///
/// # Errors
/// As [`bytes`].
pub fn token(prefix: &str) -> Result<String> {
    let random = bytes::<32>()?;
    let mut text = String::with_capacity(prefix.len() + 64);
    text.push_str(prefix);
    for byte in random {
        text.push_str(&format!("{byte:02x}"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_differ() {
        let (one, two) = (token("fwt_").unwrap(), token("fwt_").unwrap());
        assert_eq!(one.len(), 68);
        assert!(one.starts_with("fwt_") && one != two);
    }
}
