//! What tidy looks at: the files that git knows or would add, and the packages.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::context::Context;
use crate::{Result, process};

/// The workspace as tidy sees it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Files that git tracks or would add, by path.
    pub(super) files: Vec<File>,
    /// The workspace's packages, by name.
    pub(super) packages: Vec<Package>,
}

/// One file.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Its path below the workspace's root, with `/`.
    pub(super) path: String,
    /// Its size in bytes.
    pub(super) bytes: u64,
    /// Its text; empty if it is not UTF-8.
    pub(super) text: String,
}

/// One package.
#[derive(Debug, Default)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// What it depends on.
    pub(super) dependencies: Vec<Dependency>,
    /// What is built from it.
    pub(super) targets: Vec<Target>,
}

/// One line of a package's dependencies.
#[derive(Debug, Default)]
pub(super) struct Dependency {
    /// The package it names.
    pub(super) name: String,
    /// Whether only tests, examples and benches need it.
    pub(super) dev: bool,
}

/// Something that is built.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// `lib`, `bin`, `test`, `example`, `bench` or `custom-build`.
    pub(super) kind: String,
    /// Whether `cargo test` makes a test executable of it.
    pub(super) test: bool,
    /// The file it begins with, below the workspace's root; empty if it lies elsewhere.
    pub(super) root: String,
}

impl Tree {
    /// Reads the workspace.
    pub(super) fn read(context: &Context) -> Result<Self> {
        let listing = process::output(Command::new("git").current_dir(&context.root).args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ]))?;
        let mut files = Vec::new();
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            let full = context.root.join(path);
            // A path that git knows but the work folder no longer has is about to be removed.
            let Ok(bytes) = fs::read(full) else { continue };
            files.push(File {
                path: path.to_owned(),
                bytes: bytes.len() as u64,
                text: String::from_utf8(bytes).unwrap_or_default(),
            });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        let metadata =
            process::output(context.cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
        Ok(Self { files, packages: packages(&serde_json::from_str(&metadata)?) })
    }

    /// The text of a file, if there is one.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }

    /// Rust source files.
    pub(super) fn sources(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
}

impl Package {
    /// Whether the package itself depends on the crate.
    pub(super) fn names(&self, dependency: &str) -> bool {
        self.dependencies.iter().any(|line| line.name == dependency)
    }
}

fn packages(metadata: &Value) -> Vec<Package> {
    let root = text(metadata, "workspace_root");
    let packages = list(metadata, "packages").iter();
    let mut packages: Vec<Package> = packages.map(|value| package(value, &root)).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

fn package(value: &Value, workspace: &str) -> Package {
    let dependency =
        |line: &Value| Dependency { name: text(line, "name"), dev: text(line, "kind") == "dev" };
    let target = |value: &Value| {
        let kind = list(value, "kind").first().and_then(Value::as_str).unwrap_or_default();
        Target {
            kind: kind.to_owned(),
            test: value.get("test").and_then(Value::as_bool).unwrap_or(false),
            root: below(&text(value, "src_path"), workspace),
        }
    };
    Package {
        name: text(value, "name"),
        dependencies: list(value, "dependencies").iter().map(dependency).collect(),
        targets: list(value, "targets").iter().map(target).collect(),
    }
}

/// A path below the workspace's root, with `/`; empty if it lies elsewhere.
fn below(path: &str, workspace: &str) -> String {
    let rest = path.strip_prefix(workspace).filter(|_| !workspace.is_empty());
    rest.unwrap_or_default().replace('\\', "/").trim_start_matches('/').to_owned()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A tree of texts, for the tests of checks.
#[cfg(test)]
pub(super) fn tree_of(files: &[(&str, &str)]) -> Tree {
    let files = files.iter().map(|(path, text)| File {
        path: (*path).to_owned(),
        bytes: text.len() as u64,
        text: (*text).to_owned(),
    });
    Tree { files: files.collect(), packages: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_cargo_metadata() {
        let metadata = serde_json::json!({"workspace_root": "/house", "packages": [{
            "name": "b",
            "dependencies": [{"name": "a", "kind": null}, {"name": "t", "kind": "dev"}],
            "targets": [
                {"kind": ["lib"], "test": true, "src_path": "/house/crates/b/src/lib.rs"},
                {"kind": ["example"], "test": false},
            ],
        }, {"name": "a"}]});
        let packages = packages(&metadata);
        assert_eq!(packages.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let b = packages.last().unwrap();
        assert!(b.names("a") && b.dependencies.iter().any(|d| d.name == "t" && d.dev));
        assert!(b.targets.iter().any(|t| t.kind == "lib" && t.test));
        assert_eq!(b.targets.first().map(|t| t.root.as_str()), Some("crates/b/src/lib.rs"));
    }
}
