//! Content addresses and stable assignment.

/// The hex form of the 256-bit BLAKE3 digest of `parts`, each preceded by its length so that
/// `["ab", "c"]` and `["a", "bc"]` differ.
#[must_use]
pub fn hex(parts: &[&[u8]]) -> String {
    digest(parts).to_hex().to_string()
}

/// The first 16 hex digits of [`hex`]: a short id for names, where 2^32 objects make a clash likely,
/// not a few thousand.
#[must_use]
pub fn short(parts: &[&[u8]]) -> String {
    let mut full = hex(parts);
    full.truncate(16);
    full
}

/// 64 bits of the digest.
#[must_use]
pub fn hash64(parts: &[&[u8]]) -> u64 {
    let digest = digest(parts);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// 128 bits of the digest of `bytes`: enough to tell rows apart.
#[must_use]
pub fn hash128(bytes: &[u8]) -> u128 {
    let digest = blake3::hash(bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&digest.as_bytes()[..16]);
    u128::from_le_bytes(first)
}

/// A number in `[0, 1)` that depends only on `salt` and `unit`: the basis of stable assignment to a
/// holdout or a variant.
#[must_use]
pub fn unit_interval(salt: &str, unit: &str) -> f64 {
    (hash64(&[salt.as_bytes(), unit.as_bytes()]) >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

fn digest(parts: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_not_confused_by_concatenation() {
        assert_ne!(hex(&[b"ab", b"c"]), hex(&[b"a", b"bc"]));
        assert_eq!(short(&[b"a"]).len(), 16);
    }

    #[test]
    fn assignment_is_even_and_independent_of_other_salts() {
        let share =
            |salt: &str| (0..20_000).filter(|u| unit_interval(salt, &u.to_string()) < 0.2).count();
        assert!((3_800..4_200).contains(&share("a")));
        let both = (0..20_000)
            .filter(|u| {
                unit_interval("a", &u.to_string()) < 0.2 && unit_interval("b", &u.to_string()) < 0.2
            })
            .count();
        assert!((700..900).contains(&both), "{both}");
    }
}
