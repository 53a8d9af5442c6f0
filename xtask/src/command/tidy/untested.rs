//! No test stands where `cargo test` never compiles it.
//!
//! A target with `test = false` is compiled without its tests, so they would be green whatever they say. Which files it
//! is made of follows from its `mod` lines; a file that a tested target is made of as well is tested.

use std::collections::BTreeSet;

use super::Findings;
use super::tree::{Package, Tree};

/// How a line begins that only counts in tests.
const MARKS: &[&str] =
    &["#[test]", "#[tokio::test", "#[cfg(test)]", "#[cfg(all(test", "#[cfg(any(test"];

/// Checks every file of a target without tests.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    for package in &tree.packages {
        let tested = files(tree, package, true);
        for path in files(tree, package, false).difference(&tested) {
            let lines = tree.text(path).unwrap_or_default().lines();
            let marked = lines
                .zip(1..)
                .find(|(line, _)| MARKS.iter().any(|mark| line.trim_start().starts_with(mark)));
            if let Some((_, line)) = marked {
                findings.problem(format!(
                    "{path}:{line}: the target has test = false, so this test never compiles; move what it tests to a crate below, or test it through an integration test"
                ));
            }
        }
    }
}

/// The files that targets of a package are made of: of those that have tests, or of those that have none.
fn files(tree: &Tree, package: &Package, tested: bool) -> BTreeSet<String> {
    let targets = package.targets.iter().filter(|target| target.test == tested);
    let mut open: Vec<(String, bool)> = targets.map(|target| (target.root.clone(), true)).collect();
    let mut found = BTreeSet::new();
    while let Some((path, is_root)) = open.pop() {
        let Some(text) = tree.text(&path) else { continue };
        if !found.insert(path.clone()) {
            continue;
        }
        let folder = match is_root {
            true => path.rsplit_once('/').map_or("", |(folder, _)| folder),
            false => path.trim_end_matches(".rs"),
        };
        let modules = text.lines().filter_map(module);
        open.extend(modules.map(|name| (format!("{folder}/{name}.rs"), false)));
    }
    found
}

/// The name of a module that a line takes from a file of its own.
fn module(line: &str) -> Option<&str> {
    let (visibility, name) = line.trim().strip_suffix(';')?.rsplit_once("mod ")?;
    let visible = visibility.is_empty() || visibility.starts_with("pub");
    (visible && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::super::tree::{Target, tree_of};
    use super::*;

    fn target(kind: &str, test: bool, root: &str) -> Target {
        Target { kind: kind.to_owned(), test, root: root.to_owned() }
    }

    #[test]
    fn tests_that_never_compile_are_refused_and_those_of_a_tested_target_are_not() {
        let test = "//! Tests.\n#[test]\nfn f() {}\n";
        let mut tree = tree_of(&[
            ("crates/a/src/lib.rs", "//! A.\npub(crate) mod part;\nmod shared;\n"),
            ("crates/a/src/part.rs", "//! P.\nmod inner;\n    #[cfg(test)]\nmod tests {\n}\n"),
            ("crates/a/src/part/inner.rs", "//! I.\n/// #[test]\nfn f() {}\n"),
            ("crates/a/src/shared.rs", test),
            ("crates/a/tests/it.rs", "//! It.\n#[tokio::test]\nasync fn f() {}\n"),
            ("crates/b/src/lib.rs", "//! B.\nmod part;\n"),
            ("crates/b/src/part.rs", test),
            ("crates/b/src/main.rs", "//! B.\nmod lone;\n"),
            ("crates/b/src/lone.rs", test),
        ]);
        tree.packages.push(Package {
            name: "a".to_owned(),
            targets: vec![
                target("lib", false, "crates/a/src/lib.rs"),
                target("test", true, "crates/a/tests/it.rs"),
            ],
            ..Package::default()
        });
        tree.packages.push(Package {
            name: "b".to_owned(),
            targets: vec![
                target("lib", true, "crates/b/src/lib.rs"),
                target("bin", false, "crates/b/src/main.rs"),
            ],
            ..Package::default()
        });
        let found = problems(check, &tree);
        let places: Vec<&str> = found.iter().filter_map(|found| found.split(": ").next()).collect();
        let expected =
            ["crates/a/src/part.rs:3", "crates/a/src/shared.rs:2", "crates/b/src/lone.rs:2"];
        assert_eq!(places, expected, "{found:#?}");
    }
}
