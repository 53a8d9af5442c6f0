//! Papers that people read to the end: their length has a cap, and their links lead somewhere.

use super::Findings;
use super::tree::{File, Tree};

/// The most lines of a paper.
const CAPS: &[(&str, usize)] =
    &[("README.md", 180), ("STYLE.md", 120), ("AGENTS.md", 40), ("ARCHITECTURE.md", 250)];

/// The most lines of a record in `docs/decisions/`.
const DECISION_CAP: usize = 60;

/// Checks the papers at the root and in `docs/`.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    for (name, _) in CAPS {
        if tree.text(name).is_none() {
            findings.problem(format!("{name} is missing"));
        }
    }
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        let cap = CAPS.iter().find(|(name, _)| *name == file.path).map(|(_, cap)| *cap);
        let cap = cap.or_else(|| file.path.starts_with("docs/decisions/").then_some(DECISION_CAP));
        let lines = file.text.lines().count();
        if let Some(cap) = cap.filter(|cap| lines > *cap) {
            findings.problem(format!(
                "{} has {lines} lines; at most {cap} are read to the end",
                file.path
            ));
        }
        for link in links(&file.text).filter(|link| !leads_somewhere(file, link, tree)) {
            findings.problem(format!("{}: the link \"{link}\" leads nowhere", file.path));
        }
    }
}

/// Targets of Markdown links that are paths.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with(['#', '<']))
}

fn leads_somewhere(file: &File, link: &str, tree: &Tree) -> bool {
    let path = link.split('#').next().unwrap_or_default();
    let mut parts: Vec<&str> = file.path.split('/').collect();
    parts.pop();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    let target = parts.join("/");
    let folder = format!("{target}/");
    tree.files.iter().any(|file| file.path == target || file.path.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::super::tree::tree_of;
    use super::*;

    fn tree_with(path: &str, text: &str) -> Vec<String> {
        let mut files: Vec<(&str, &str)> =
            CAPS.iter().map(|(name, _)| (*name, "# Title\n")).collect();
        files.retain(|(name, _)| *name != path);
        files.push((path, text));
        problems(check, &tree_of(&files))
    }

    #[test]
    fn a_paper_over_its_cap_is_refused() {
        assert_eq!(tree_with("README.md", &"line\n".repeat(180)), Vec::<String>::new());
        assert_eq!(tree_with("README.md", &"line\n".repeat(181)).len(), 1);
        assert_eq!(tree_with("docs/decisions/0001-x.md", &"line\n".repeat(61)).len(), 1);
    }

    #[test]
    fn a_missing_paper_is_refused() {
        assert_eq!(problems(check, &tree_of(&[])).len(), CAPS.len());
    }

    #[test]
    fn links_are_followed_from_the_folder_of_the_paper() {
        let good = "[a](../../README.md) [b](../decisions) [c](https://example.com) [d](#here)";
        assert_eq!(tree_with("docs/decisions/0001-x.md", good), Vec::<String>::new());
        assert_eq!(tree_with("docs/decisions/0001-x.md", "[gone](0000-gone.md)").len(), 1);
    }
}
