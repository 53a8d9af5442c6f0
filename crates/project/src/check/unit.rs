//! Unit tests: the model is there, and every input is something that can be read.

use std::collections::BTreeSet;
use std::path::Path;

use flywheel_base::{Error, Result};

use super::Check;
use super::sync::at;
use crate::diagnostic::Diagnostic;
use crate::file::SourceFile;
use crate::graph::NodeKind;
use crate::model::{self, Given, UnitTest, unit_rows};
use crate::template::{self, Reference};
use crate::yaml::{Node, Value};

/// The largest fixture.
const FIXTURE_BYTES_MAX: u64 = 4 << 20;

impl Check<'_> {
    pub(super) fn unit_tests(&mut self) {
        let loaded = self.loaded;
        let mut names = BTreeSet::new();
        for (file, extra) in &loaded.extras {
            for node in &extra.unit_tests {
                let off = |key: &str| node.get(key).is_some_and(|v| v.value == Value::Bool(false));
                let config = node.get("config").and_then(|config| config.get("enabled"));
                if off("enabled") || config.is_some_and(|v| v.value == Value::Bool(false)) {
                    continue;
                }
                let Some(test) = self.unit_test(file, node) else { continue };
                if !names.insert((test.model.clone(), test.name.clone())) {
                    let message = format!("unit test \"{}\" is declared twice", test.name);
                    let hint = "Rename one of them.";
                    self.push(file, Diagnostic::error(at(node, "name"), message).hint(hint));
                    continue;
                }
                let described = self.checked.described.entry(test.model.clone()).or_default();
                described.unit_tests.push(test);
            }
        }
    }

    fn unit_test(&mut self, file: &SourceFile, node: &Node) -> Option<UnitTest> {
        let text = |key: &str| node.get(key).and_then(Node::text);
        let (Some(name), Some(model)) = (text("name"), text("model")) else {
            let message = "a unit test needs a name and a model";
            let hint = "Write `- {name: …, model: …, given: […], expect: {rows: […]}}`.";
            self.push(file, Diagnostic::error(node.span, message).hint(hint));
            return None;
        };
        let folded = self.loaded.folded(model);
        let model = self.loaded.macros.version_of(&folded, None).unwrap_or(&folded);
        if !self.declared(NodeKind::Model, model) {
            let message = format!("unit test \"{name}\" tests the unknown model \"{model}\"");
            let hint = self.near(&[NodeKind::Model], model);
            self.push(file, Diagnostic::error(at(node, "model"), message).hint(hint));
            return None;
        }
        let dir = self.loaded.dir.clone();
        let folders = self.loaded.layout.tests.clone();
        let fixture = |name: &str, extension: &str| read_fixture(&dir, &folders, name, extension);
        let mut test = match model::unit_test(node, (&file.path, name, model), &fixture) {
            Ok(test) => test,
            Err(error) => {
                self.refuse_unit(file, node, name, &error);
                return None;
            }
        };
        for given in node.get("given").map(Node::items).unwrap_or_default() {
            let Some(input) = given.get("input").and_then(Node::text) else {
                let error = Error::invalid("an entry of `given` has no input")
                    .hint("Write `- input: ref('orders')` with `rows:` below.");
                self.refuse_unit(file, given, name, &error);
                return None;
            };
            let input = self.unit_input(file, given, input)?;
            match unit_rows(given, &fixture) {
                Ok(rows) => test.given.push(Given { input, rows }),
                Err(error) => {
                    self.refuse_unit(file, given, name, &error);
                    return None;
                }
            }
        }
        Some(test)
    }

    /// What an input means: none for `this`.
    fn unit_input(
        &mut self,
        file: &SourceFile,
        node: &Node,
        input: &str,
    ) -> Option<Option<Reference>> {
        if input.trim() == "this" {
            return Some(None);
        }
        let span = at(node, "input");
        self.test_target(file, input, span)?;
        let bare = input.trim().trim_start_matches("{{").trim_end_matches("}}");
        let found =
            template::scan(&format!("{{{{ {bare} }}}}"), &self.loaded.vars, &self.loaded.macros);
        found.ok()?.references.into_iter().next().map(Some)
    }

    fn refuse_unit(&mut self, file: &SourceFile, node: &Node, name: &str, error: &Error) {
        let message = format!("unit test \"{name}\": {}", error.message());
        let diagnostic = Diagnostic::error(node.span, message);
        let hint = error.hint_text().map(str::to_owned);
        self.push(file, Diagnostic { hint, ..diagnostic });
    }
}

/// The text of `fixtures/NAME.csv` in one of the folders of tests.
fn read_fixture(dir: &Path, folders: &[String], name: &str, extension: &str) -> Result<String> {
    let file = match name.strip_suffix(&format!(".{extension}")) {
        Some(_) => name.to_owned(),
        None => format!("{name}.{extension}"),
    };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !file.chars().all(plain) || file.starts_with('.') {
        return Err(Error::invalid(format!("\"{name}\" is not the name of a fixture"))
            .hint("Write the file's name without its folder."));
    }
    for folder in folders {
        let path = dir.join(folder).join("fixtures").join(&file);
        let Ok(about) = path.metadata() else { continue };
        if about.len() > FIXTURE_BYTES_MAX {
            return Err(Error::invalid(format!("the fixture {file} is larger than 4 MiB"))
                .hint("A unit test needs a few rows; keep those that show the point."));
        }
        return std::fs::read_to_string(&path)
            .map_err(|error| Error::io("read the fixture", &path, error));
    }
    let shown: Vec<String> = folders.iter().map(|f| format!("{f}/fixtures/{file}")).collect();
    Err(Error::invalid(format!("there is no fixture {file}"))
        .hint(format!("Put it at {}.", shown.join(" or "))))
}
