//! Words that files may still say otherwise than the documentation: they are read, and a warning names the one word.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::file::SourceFile;
use crate::yaml::{Node, Value};

/// A word, where it stands, and the one that means the same.
struct Renamed {
    /// The kind of file.
    kind: &'static str,
    section: &'static str,
    key: &'static str,
    old: &'static str,
    new: &'static str,
}

/// Names by which algorithms keep their artifacts and name themselves in tables.
const RENAMED: &[Renamed] = &[
    of_learner("forecast", "method", "ses", "simple"),
    of_learner("recommend", "algorithm", "item-neighbours", "item-knn"),
    of_learner("recommend", "algorithm", "user-neighbours", "user-knn"),
];

const fn of_learner(
    section: &'static str,
    key: &'static str,
    old: &'static str,
    new: &'static str,
) -> Renamed {
    Renamed { kind: "learner", section, key, old, new }
}

/// Puts the words of the documentation in the place of others.
pub(super) fn rename(kind: &str, file: &SourceFile, node: &mut Node, out: &mut Diagnostics) {
    for Renamed { section, key, old, new, .. } in RENAMED.iter().filter(|one| one.kind == kind) {
        let found = entry(node, section).and_then(|section| entry(section, key));
        let Some(found) = found.filter(|found| found.text() == Some(*old)) else { continue };
        let message = format!("{section}.{key}: \"{old}\" is called \"{new}\" now");
        let hint =
            format!("Write {key}: {new}; the other word means the same and will go one day.");
        out.push(file, Diagnostic::warning(found.span, message).hint(hint));
        found.value = Value::Text((*new).to_owned());
    }
}

fn entry<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|(key, _)| key.name == name).map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    #[test]
    fn other_words_are_read_with_a_warning_and_those_of_the_documentation_without() {
        let check = |kind: &str, text: &str, expected: &str, said: &[&str]| {
            let file = SourceFile::new("learners/x.yaml", text);
            let mut out = Diagnostics::default();
            let mut node = parse(&file, &mut out).unwrap();
            rename(kind, &file, &mut node, &mut out);
            assert_eq!(node.to_json().to_string(), expected, "{text}");
            let shown = out.to_string();
            assert_eq!(shown.matches("warning:").count(), usize::from(!said.is_empty()), "{shown}");
            for said in said {
                assert!(shown.contains(said), "{shown}");
            }
        };
        check(
            "learner",
            "forecast:\n  method: ses\n",
            r#"{"forecast":{"method":"simple"}}"#,
            &["learners/x.yaml:2:11", "Write method: simple"],
        );
        for (old, new) in [("item-neighbours", "item-knn"), ("user-neighbours", "user-knn")] {
            let text = format!("recommend: {{algorithm: {old}}}\n");
            let expected = format!(r#"{{"recommend":{{"algorithm":"{new}"}}}}"#);
            check("learner", &text, &expected, &[format!("is called \"{new}\" now").as_str()]);
        }
        check(
            "learner",
            "forecast: {method: simple}\n",
            r#"{"forecast":{"method":"simple"}}"#,
            &[],
        );
        check("learner", "forecast: ses\n", r#"{"forecast":"ses"}"#, &[]);
        check("policy", "forecast: {method: ses}\n", r#"{"forecast":{"method":"ses"}}"#, &[]);
    }
}
