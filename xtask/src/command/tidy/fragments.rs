//! Changelog fragments: `changelog.d/<slug>.<type>.md`.

use super::Findings;
use super::tree::Tree;

/// What a change may be to a user.
const TYPES: &[&str] = &["breaking", "security", "feature", "enhancement", "fix"];

/// Checks every fragment's name and that it says something.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    for file in &tree.files {
        let Some(name) = file.path.strip_prefix("changelog.d/").filter(|name| *name != "README.md")
        else {
            continue;
        };
        if !well_named(name) {
            findings.problem(format!(
                "changelog.d/{name} is not named <slug>.<type>.md, with a type of {}",
                TYPES.join(", ")
            ));
        }
        if file.text.trim().is_empty() {
            findings.problem(format!("changelog.d/{name} says nothing"));
        }
    }
}

fn well_named(name: &str) -> bool {
    let mut parts = name.split('.');
    let (Some(slug), Some(kind), Some("md"), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !slug.is_empty() && slug.chars().all(plain) && TYPES.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::super::tree::tree_of;
    use super::*;

    #[test]
    fn a_fragment_needs_a_slug_a_known_type_and_words() {
        let found = problems(
            check,
            &tree_of(&[
                ("changelog.d/README.md", ""),
                ("changelog.d/excel-sheets.feature.md", "Excel sheets are read."),
                ("changelog.d/Excel.feature.md", "x"),
                ("changelog.d/excel.nice.md", "x"),
                ("changelog.d/empty.fix.md", " \n"),
            ]),
        );
        assert_eq!(found.len(), 3, "{found:#?}");
    }
}
