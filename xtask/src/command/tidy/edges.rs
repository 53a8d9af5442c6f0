//! Crates import only from lower floors, and heavy libraries have one crate that names them.
//!
//! The floors are the table marked `floors` in ARCHITECTURE.md: floor, crate, the external crates it
//! alone may name, and the floor-mates its tests may use.

use std::collections::BTreeMap;

use super::Findings;
use super::tree::{Package, Tree};
use crate::marked;

/// The paper that holds the table.
const PAPER: &str = "ARCHITECTURE.md";

/// What all packages but the binary are prefixed with.
const PREFIX: &str = "flywheel-";

/// What the table says of one crate.
struct Row {
    floor: u32,
    alone: Vec<String>,
    test_mates: Vec<String>,
}

/// Checks every edge between the workspace's packages.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    let Some(rows) = tree.text(PAPER).and_then(|text| marked::rows(text, "floors")) else {
        findings.problem(format!("{PAPER} has no table between the marks tidy:floors"));
        return;
    };
    let table: BTreeMap<String, Row> =
        rows.iter().filter_map(|cells| row(cells, findings)).collect();
    for package in tree.packages.iter().filter(|package| package.name != "xtask") {
        check_package(package, &table, findings);
    }
    for name in table.keys() {
        if !tree.packages.iter().any(|package| short(&package.name) == name) {
            findings.problem(format!("{PAPER} lists the crate \"{name}\", which does not exist"));
        }
    }
}

fn row(cells: &[String], findings: &mut Findings) -> Option<(String, Row)> {
    let [floor, name, alone, mates, ..] = cells else {
        findings
            .problem(format!("{PAPER}: the row {cells:?} of the floors has fewer than 4 cells"));
        return None;
    };
    let names = marked::words(name);
    let (Ok(floor), [name]) = (floor.parse(), names.as_slice()) else {
        findings.problem(format!("{PAPER}: the row {cells:?} needs a number and one crate"));
        return None;
    };
    let owned = |cell: &str| marked::words(cell).into_iter().map(str::to_owned).collect();
    Some(((*name).to_owned(), Row { floor, alone: owned(alone), test_mates: owned(mates) }))
}

fn check_package(package: &Package, table: &BTreeMap<String, Row>, findings: &mut Findings) {
    let name = short(&package.name);
    let Some(row) = table.get(name) else {
        findings.problem(format!("{PAPER} does not say on which floor the crate \"{name}\" lives"));
        return;
    };
    for dependency in &package.dependencies {
        let other = short(&dependency.name);
        if let Some(lower) = table.get(other) {
            let excused = dependency.dev && row.test_mates.iter().any(|mate| mate == other);
            if lower.floor >= row.floor && !excused {
                findings.problem(format!(
                    "\"{name}\" on floor {} imports \"{other}\" on floor {}; imports point down",
                    row.floor, lower.floor
                ));
            }
        }
        let keeper = table.iter().find(|(_, row)| row.alone.contains(&dependency.name));
        if let Some((keeper, _)) = keeper.filter(|_| !row.alone.contains(&dependency.name)) {
            findings.problem(format!(
                "\"{name}\" names {}, which only \"{keeper}\" may",
                dependency.name
            ));
        }
    }
}

fn short(package: &str) -> &str {
    package.strip_prefix(PREFIX).unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::super::tree::{Dependency, tree_of};
    use super::*;

    const FLOORS: &str = "<!-- tidy:floors -->\n| floor | crate | alone | mates |\n|--|--|--|--|\n\
        | 0 | `base` | | |\n| 1 | `algo` | `faer` | |\n| 1 | `project` | | `algo` |\n<!-- /tidy:floors -->";

    fn check_edges(packages: &[(&str, &[(&str, bool)])]) -> Vec<String> {
        let mut tree = tree_of(&[(PAPER, FLOORS)]);
        for (name, dependencies) in packages {
            let dependencies = dependencies
                .iter()
                .map(|(name, dev)| Dependency { name: (*name).to_owned(), dev: *dev });
            tree.packages.push(Package {
                name: (*name).to_owned(),
                dependencies: dependencies.collect(),
                targets: Vec::new(),
            });
        }
        problems(check, &tree)
    }

    #[test]
    fn imports_that_point_down_are_fine() {
        let found = check_edges(&[
            ("flywheel-base", &[]),
            ("flywheel-algo", &[("flywheel-base", false), ("faer", false)]),
            ("flywheel-project", &[("flywheel-base", false), ("flywheel-algo", true)]),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn upward_sideways_unlisted_and_foreign_imports_are_refused() {
        let found = check_edges(&[
            ("flywheel-base", &[("flywheel-algo", false)]),
            ("flywheel-algo", &[("flywheel-project", true)]),
            ("flywheel-project", &[("flywheel-algo", false), ("faer", false)]),
            ("flywheel-attic", &[]),
        ]);
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found.iter().any(|p| p.contains("\"base\" on floor 0 imports \"algo\"")));
        assert!(found.iter().any(|p| p.contains("\"project\" names faer")));
        assert!(found.iter().any(|p| p.contains("\"attic\" lives")));
    }

    #[test]
    fn a_crate_that_was_removed_has_to_leave_the_table() {
        let found = check_edges(&[("flywheel-base", &[]), ("flywheel-algo", &[])]);
        assert_eq!(found, ["ARCHITECTURE.md lists the crate \"project\", which does not exist"]);
    }
}
