//! Rust files: purpose first, honest names, no `mod.rs`.

use super::Findings;
use super::tree::Tree;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "types", "manager", "misc"];

/// Checks every Rust file.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    for file in tree.sources() {
        let (path, text) = (&file.path, &file.text);
        let stem = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if stem == "mod" {
            findings.problem(format!("{path}: a module with children is `name.rs` beside `name/`"));
        }
        if EMPTY_NAMES.contains(&stem) {
            findings.problem(format!("{path}: name the module for the thing, not \"{stem}\""));
        }
        if !text.lines().any(|line| line.starts_with("//!")) {
            findings.problem(format!("{path}: the file does not begin with its purpose (`//!`)"));
        }
        for name in text.lines().filter_map(inline_module).filter(|name| EMPTY_NAMES.contains(name))
        {
            findings.problem(format!("{path}: name the module for the thing, not \"{name}\""));
        }
    }
}

/// The name of a module that a line opens in place.
fn inline_module(line: &str) -> Option<&str> {
    let (visibility, name) = line.trim().strip_suffix('{')?.trim_end().rsplit_once("mod ")?;
    (visibility.is_empty() || visibility.starts_with("pub")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::super::tree::tree_of;
    use super::*;

    #[test]
    fn empty_names_mod_rs_and_silent_files_are_refused() {
        let found = problems(
            check,
            &tree_of(&[
                ("crates/a/src/lib.rs", "//! A.\nmod checkpoint;\n"),
                ("crates/a/src/utils.rs", "//! Odds and ends.\n"),
                ("crates/a/src/part/mod.rs", "//! A part.\n"),
                ("crates/a/src/silent.rs", "/// A function.\nfn f() {}\n"),
                ("crates/a/src/inline.rs", "//! Inline.\npub(crate) mod helpers {\n}\n"),
            ]),
        );
        assert_eq!(found.len(), 4, "{found:#?}");
    }
}
