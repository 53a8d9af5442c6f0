//! "Did you mean": the nearest known name.

/// The candidate nearest to `word`, if it is near enough to be a likely slip
/// (edit distance with transpositions ≤ a third of the length, at least 1).
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let limit = (lower.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The sentence `Did you mean "x"?`, or the list of what there is when nothing is near.
#[must_use]
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("Did you mean \"{near}\"?");
    }
    let known: Vec<&str> = candidates.into_iter().collect();
    if known.is_empty() {
        return "There is none yet.".to_owned();
    }
    let shown = known.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = if known.len() > LISTED_MAX { ", …" } else { "" };
    format!("Known: {shown}{more}.")
}

/// How many names a hint lists at most.
const LISTED_MAX: usize = 12;

/// Edit distance with adjacent transpositions (optimal string alignment).
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["unique_key", "materialized", "tags"];
        assert_eq!(nearest("uniqe_key", known), Some("unique_key"));
        assert_eq!(nearest("tgas", known), Some("tags"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(hint("colour", known), "Known: unique_key, materialized, tags.");
    }
}
