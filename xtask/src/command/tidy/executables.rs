//! Test executables that link DataFusion are few: each costs about 8 seconds and 280 MB.

use super::Findings;
use super::tree::{Package, Tree};

/// The most test executables that may link DataFusion.
const LINKED_MAX: usize = 7;

/// What makes a package heavy.
const HEAVY: &[&str] = &["datafusion", "deltalake"];

/// Counts what `cargo test` links against DataFusion.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    let heavy = tree.packages.iter().filter(|package| links(package, tree));
    let counted: Vec<(&str, usize)> =
        heavy.map(|package| (package.name.as_str(), executables(package))).collect();
    let total: usize = counted.iter().map(|(_, count)| count).sum();
    if total > LINKED_MAX {
        let list: Vec<String> =
            counted.iter().map(|(name, count)| format!("{name} {count}")).collect();
        findings.problem(format!(
            "{total} test executables link DataFusion, at most {LINKED_MAX} may ({}); join integration tests in one target, or set test = false",
            list.join(", ")
        ));
    }
}

/// Whether a package or something in the workspace below it names a heavy crate.
fn links(package: &Package, tree: &Tree) -> bool {
    let below = |name: &str| tree.packages.iter().find(|other| other.name == name);
    HEAVY.iter().any(|heavy| package.names(heavy))
        || package
            .dependencies
            .iter()
            .filter_map(|line| below(&line.name))
            .any(|other| links(other, tree))
}

/// What `cargo test` links for a package: test harnesses, and examples, which it always builds.
fn executables(package: &Package) -> usize {
    package.targets.iter().filter(|target| target.test || target.kind == "example").count()
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::super::tree::{Dependency, Target};
    use super::*;

    fn package(name: &str, below: &str, tests: usize) -> Package {
        let target = || Target { kind: "test".to_owned(), test: true, root: String::new() };
        Package {
            name: name.to_owned(),
            dependencies: vec![Dependency { name: below.to_owned(), dev: false }],
            targets: (0..tests).map(|_| target()).collect(),
        }
    }

    #[test]
    fn an_eighth_executable_is_refused_and_light_ones_do_not_count() {
        let mut tree = Tree::default();
        tree.packages.push(package("warehouse", "datafusion", 3));
        tree.packages.push(package("runtime", "warehouse", 4));
        tree.packages.push(package("algo", "faer", 20));
        assert_eq!(problems(check, &tree), Vec::<String>::new());
        tree.packages.push(package("flywheel", "runtime", 1));
        let found = problems(check, &tree);
        assert!(found.first().is_some_and(|p| p.starts_with("8 test executables")), "{found:?}");
    }
}
