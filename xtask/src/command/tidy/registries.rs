//! One file and one line: each entry of a list has its file, each file its entry and a test.
//!
//! The lists are the table marked `registries` in ARCHITECTURE.md: what is new, its folder, the name
//! of the list, and the files of the folder that several entries share.

use super::Findings;
use super::tree::Tree;
use crate::marked;

/// The paper that holds the table.
const PAPER: &str = "ARCHITECTURE.md";

/// One row of the table.
struct Registry<'a> {
    folder: &'a str,
    list: &'a str,
    shared: Vec<&'a str>,
}

/// Checks every list of the table.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    let Some(rows) = tree.text(PAPER).and_then(|text| marked::rows(text, "registries")) else {
        findings.problem(format!("{PAPER} has no table between the marks tidy:registries"));
        return;
    };
    for cells in &rows {
        let words: Vec<Vec<&str>> = cells.iter().map(|cell| marked::words(cell)).collect();
        match words.as_slice() {
            [_, folder, list, shared] if folder.len() == 1 && list.len() == 1 => {
                let (folder, list) = (folder.concat(), list.concat());
                let folder = folder.trim_end_matches('/');
                check_list(
                    &Registry { folder, list: &list, shared: shared.clone() },
                    tree,
                    findings,
                );
            }
            _ => findings.problem(format!(
                "{PAPER}: the row {cells:?} needs a folder and a list in backticks"
            )),
        }
    }
}

fn check_list(registry: &Registry<'_>, tree: &Tree, findings: &mut Findings) {
    let Registry { folder, list, .. } = registry;
    let parent = format!("{folder}.rs");
    let Some(entries) = tree.text(&parent).and_then(|text| entries(text, list)) else {
        if tree.files.iter().any(|file| file.path == parent) {
            findings.problem(format!("{parent} has no `const {list}: &[…] = &[…]`"));
        } else {
            findings.notice(format!("{parent} with its list {list} does not exist yet"));
        }
        return;
    };
    let files = modules(folder, tree);
    for entry in &entries {
        if !files.iter().any(|file| mentions(entry, &format!("{file}::"))) {
            let shown = entry.split_whitespace().collect::<Vec<_>>().join(" ");
            findings.problem(format!("{list}: the entry `{shown}` names no file of {folder}/"));
        }
    }
    for file in files {
        let shared = registry.shared.contains(&file) || is_test_module(&parent, file, tree);
        let listed = entries.iter().any(|entry| mentions(entry, &format!("{file}::")));
        if !listed && !shared {
            findings.problem(format!(
                "{folder}/{file}.rs has no entry in {list}; add its line, or name it in {PAPER} as shared"
            ));
        }
        if listed && !is_tested(folder, file, tree) {
            findings.problem(format!("{folder}/{file}.rs is in {list}, but no test names it"));
        }
    }
}

/// The entries of a list, split at the commas outside of brackets.
fn entries(text: &str, list: &str) -> Option<Vec<String>> {
    let text: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let (_, after) = text.split_once(&format!("const {list}:"))?;
    let (_, body) = after.split_once('=')?;
    let (_, body) = body.split_once('[')?;
    let mut entries = vec![String::new()];
    let mut depth = 0_i32;
    let mut before = ' ';
    for c in body.chars() {
        match c {
            '[' | '(' | '{' | '<' => depth += 1,
            ']' if depth == 0 => break,
            '>' if before == '=' || before == '-' => {}
            ']' | ')' | '}' | '>' => depth -= 1,
            _ => {}
        }
        before = c;
        if c == ',' && depth == 0 {
            entries.push(String::new());
        } else if let Some(entry) = entries.last_mut() {
            entry.push(c);
        }
    }
    entries.retain(|entry| !entry.trim().is_empty());
    Some(entries)
}

/// The modules that are files directly in the folder.
fn modules<'a>(folder: &str, tree: &'a Tree) -> Vec<&'a str> {
    let inside =
        tree.sources().filter_map(|file| file.path.strip_prefix(folder)?.strip_prefix('/'));
    inside.filter_map(|rest| rest.strip_suffix(".rs")).filter(|name| !name.contains('/')).collect()
}

/// Whether a test names the module: its own, one below it, one beside it, its parent's, or one of `tests/`.
fn is_tested(folder: &str, module: &str, tree: &Tree) -> bool {
    let own = format!("{folder}/{module}.rs");
    let below = format!("{folder}/{module}/");
    let parent = format!("{folder}.rs");
    let has_tests = |text: &str| text.contains("#[cfg(test)]") || text.contains("#[test]");
    tree.files.iter().any(|file| {
        let path = file.path.as_str();
        if path == own || path.starts_with(&below) {
            return has_tests(&file.text);
        }
        if path == parent {
            // The list itself names the module, so only what follows the tests' heading counts.
            let tests = file.text.split_once("#[cfg(test)]\nmod tests {");
            return tests.is_some_and(|(_, tests)| mentions(tests, module));
        }
        let beside =
            path.strip_prefix(&format!("{folder}/")).and_then(|rest| rest.strip_suffix(".rs"));
        let test_file = beside.is_some_and(|name| is_test_module(&parent, name, tree))
            || path.ends_with("/tests.rs")
            || path.contains("/tests/")
            || path.starts_with("tests/");
        test_file && mentions(&file.text, module)
    })
}

/// Whether the parent declares the module for tests only.
fn is_test_module(parent: &str, module: &str, tree: &Tree) -> bool {
    let declared = ["", "pub(crate) "].map(|who| format!("#[cfg(test)]\n{who}mod {module};"));
    tree.text(parent).is_some_and(|text| declared.iter().any(|line| text.contains(line)))
}

/// Whether the text holds the word and not only as a part of a longer name.
fn mentions(text: &str, word: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        let before = text.get(..start).unwrap_or_default();
        let after = text.get(start + word.len()..).unwrap_or_default();
        !before.ends_with(letter) && (word.ends_with(':') || !after.starts_with(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::super::tree::tree_of;
    use super::*;

    const TABLE: &str = "<!-- tidy:registries -->\n| new | folder | list | shared |\n|--|--|--|--|\n\
        | source | `c/source/` | `SOURCES` | `dialect` |\n<!-- /tidy:registries -->";

    fn check_list(list: &str, files: &[&str]) -> Vec<String> {
        let mut all = vec![(PAPER, TABLE), ("c/source.rs", list)];
        all.extend(files.iter().map(|path| (*path, "//! A source.\n#[cfg(test)]\nmod tests {}\n")));
        problems(check, &tree_of(&all))
    }

    const LIST: &str = "pub const SOURCES: &[Entry] = &[\n    // the usual\n    source::<csv::Csv>(\"csv\"),\n    \
        Entry { name: \"excel\", make: || excel::new(1, 2) },\n];\nconst NEXT: u8 = 1;";

    #[test]
    fn entries_files_and_shared_files_that_agree_are_fine() {
        let found = check_list(
            LIST,
            &[
                "c/source/csv.rs",
                "c/source/excel.rs",
                "c/source/dialect.rs",
                "c/source/csv/header.rs",
            ],
        );
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_file_without_a_line_is_refused() {
        let found =
            check_list(LIST, &["c/source/csv.rs", "c/source/excel.rs", "c/source/orphan.rs"]);
        assert_eq!(found.len(), 1);
        assert!(found.concat().contains("orphan.rs has no entry in SOURCES"));
    }

    #[test]
    fn a_line_without_a_file_is_refused() {
        let found = check_list(LIST, &["c/source/csv.rs"]);
        assert_eq!(found.len(), 1);
        assert!(found.concat().contains("excel"));
    }

    #[test]
    fn an_entry_that_no_test_names_is_refused() {
        let untested = ("c/source/csv.rs", "//! CSV.\n");
        let list = "#[cfg(test)]\nmod contract;\n\
            pub const SOURCES: &[Entry] = &[source::<csv::Csv>(\"csv\")];";
        let files = [(PAPER, TABLE), ("c/source.rs", list), untested];
        assert_eq!(problems(check, &tree_of(&files)).len(), 1);
        let with_contract =
            [files.as_slice(), &[("c/source/contract.rs", "//! All.\ncheck(csv);")]].concat();
        assert_eq!(problems(check, &tree_of(&with_contract)), Vec::<String>::new());
    }

    #[test]
    fn a_list_that_is_not_there_yet_is_only_noted() {
        let mut findings = Findings::default();
        check(&tree_of(&[(PAPER, TABLE)]), &mut findings);
        assert!(findings.problems.is_empty() && findings.notices.len() == 1);
        assert_eq!(check_list("//! No list.\n", &[]).len(), 1);
    }
}
