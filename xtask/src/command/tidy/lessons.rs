//! Each test that the paper of lessons names is there: a promise whose test was renamed or removed is kept by nobody.

use std::collections::BTreeSet;

use super::Findings;
use super::tree::Tree;
use crate::marked;

/// The paper, whose table has the tests in its last column.
const PAPER: &str = "docs/concepts/lessons.md";

/// Checks the table of the paper.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    let Some(rows) = tree.text(PAPER).and_then(|text| marked::rows(text, "lessons")) else {
        findings.problem(format!("{PAPER} has no table between the marks tidy:lessons"));
        return;
    };
    let known: BTreeSet<&str> = tree.sources().flat_map(|file| tests(&file.text)).collect();
    for cells in &rows {
        let names = cells.last().map(|cell| marked::words(cell)).unwrap_or_default();
        if names.is_empty() {
            let lesson = cells.first().map(String::as_str).unwrap_or_default();
            findings.problem(format!("{PAPER}: \"{lesson}\" names no test that shows it"));
        }
        for name in names.into_iter().filter(|name| !known.contains(name)) {
            findings.problem(format!(
                "{PAPER} names the test `{name}`, which is nowhere; name the one that shows it now"
            ));
        }
    }
}

/// The names of the tests of a file: functions with an attribute of a test above them.
pub(super) fn tests(text: &str) -> Vec<&str> {
    let mut marked = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((before, after)) = line.split_once("fn ")
            && matches!(before, "" | "async ")
        {
            found.extend(after.split('(').next().filter(|_| marked));
            marked = false;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::super::tree::tree_of;
    use super::*;

    fn check_with(table: &str, source: &str) -> Vec<String> {
        let paper = format!(
            "# Lessons\n<!-- tidy:lessons -->\n| mistake | here | test |\n|--|--|--|\n{table}\n<!-- /tidy:lessons -->\n"
        );
        problems(check, &tree_of(&[(PAPER, &paper), ("crates/a/src/a.rs", source)]))
    }

    const SOURCE: &str = "//! A.\n#[test]\nfn rows_stay() {}\n#[tokio::test(flavor = \"multi_thread\")]\n\
        #[expect(clippy::x)]\nasync fn none_is_doubled() {}\nfn no_test() {}\n";

    #[test]
    fn tests_that_are_there_are_fine() {
        let table = "| a | b | `rows_stay`, `none_is_doubled`, for both |";
        assert_eq!(check_with(table, SOURCE), Vec::<String>::new());
    }

    #[test]
    fn a_test_that_is_nowhere_or_no_test_is_refused() {
        let found = check_with("| a | b | `rows_stayed`, `no_test` |\n| c | d | none |", SOURCE);
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found.concat().contains("`rows_stayed`"));
        assert!(found.concat().contains("\"c\" names no test"));
        assert_eq!(problems(check, &tree_of(&[(PAPER, "# No table\n")])).len(), 1);
    }
}
