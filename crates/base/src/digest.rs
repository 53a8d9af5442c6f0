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
    let digest = digest(parts);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    format!("{:016x}", u64::from_be_bytes(first))
}

/// How many hex digits keep names apart that lost their letters.
pub const NAME_DIGITS: usize = 6;

/// `start` and a few digits of the digest of `whole`: a name of ours for one whose letters ours cannot
/// have, so that two such names stay two. It has [`NAME_DIGITS`] characters and an underscore more than
/// `start`.
#[must_use]
pub fn named(start: &str, whole: &str) -> String {
    let digits: String = short(&[whole.as_bytes()]).chars().take(NAME_DIGITS).collect();
    format!("{}_{digits}", start.trim_end_matches('_'))
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

/// What is hashed as one piece: a hasher that takes pieces is two kilobytes large and is moved, which costs more than to
/// hash an id.
const SHORT: usize = 512;

fn digest(parts: &[&[u8]]) -> blake3::Hash {
    let mut short = [0; SHORT];
    let mut at = 0;
    for part in parts {
        let length = (part.len() as u64).to_le_bytes();
        for piece in [&length[..], part] {
            let Some(place) = short.get_mut(at..at + piece.len()) else { return in_pieces(parts) };
            place.copy_from_slice(piece);
            at += piece.len();
        }
    }
    short.get(..at).map_or_else(|| in_pieces(parts), blake3::hash)
}

fn in_pieces(parts: &[&[u8]]) -> blake3::Hash {
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
        assert_eq!(short(&[b"a"]), hex(&[b"a"])[..16]);
    }

    #[test]
    fn names_that_lost_their_letters_stay_apart() {
        let (one, other) = (named("order_", "order 订单"), named("order_", "order 订货"));
        assert_ne!(one, other);
        assert!(one.starts_with("order_") && one.len() == "order_".len() + NAME_DIGITS, "{one}");
    }

    #[test]
    fn parts_of_any_length_have_the_digest_of_their_pieces() {
        let long = [7; SHORT + 8];
        for length in [0, 1, SHORT - 17, SHORT - 16, SHORT - 15, SHORT, SHORT + 8] {
            let parts = [&long[..length], b""];
            assert_eq!(digest(&parts), in_pieces(&parts), "{length}");
        }
        assert_eq!(digest(&[]), in_pieces(&[]));
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
