//! The built `flywheel`, and what the checks ask it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::context::Context;
use crate::{Result, process};

/// The built `flywheel`.
pub(crate) struct Flywheel {
    path: PathBuf,
}

impl Flywheel {
    /// Builds it as a user does, with `cargo build --release`, unless another one shall be checked.
    pub(crate) fn build(context: &Context) -> Result<Self> {
        if let Some(path) = &context.binary {
            println!("checking {}", path.display());
            return Ok(Self { path: path.clone() });
        }
        process::run(context.cargo().args(["build", "--release", "--package", "flywheel"]))?;
        Ok(Self { path: context.target.join("release/flywheel") })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A call without a project.
    pub(crate) fn call(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// A call on a project.
    pub(crate) fn on(&self, project: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("-C").arg(project).args(arguments).stdin(Stdio::null());
        command
    }

    /// The rows of a query, each a JSON object; both a JSON array and JSON lines are read.
    pub(crate) fn sql(&self, project: &Path, query: &str) -> Result<Vec<Value>> {
        let text = process::output(&mut self.on(project, &["sql", query, "--output", "json"]))?;
        rows(&text).map_err(|error| format!("`flywheel sql \"{query}\"`: {error}").into())
    }

    /// The single value of a query with one row and one column, as text.
    pub(crate) fn value(&self, project: &Path, query: &str) -> Result<String> {
        let text = process::output(&mut self.on(project, &["sql", query, "--output", "csv"]))?;
        match text.lines().collect::<Vec<_>>().as_slice() {
            [_, value] => Ok(value.trim_matches('"').to_owned()),
            other => {
                Err(format!("`flywheel sql \"{query}\"` gave {} lines instead of 2", other.len())
                    .into())
            }
        }
    }

    /// Makes a demo project in `folder`, which must not exist.
    pub(crate) fn demo(&self, folder: &Path, seed: u64, days: u64) -> Command {
        let (seed, days) = (seed.to_string(), days.to_string());
        let mut command =
            self.call(&["demo", "--seed", &seed, "--days", &days, "--no-serve", "--dir"]);
        command.arg(folder);
        command
    }
}

fn rows(text: &str) -> Result<Vec<Value>> {
    if text.trim_start().starts_with('[') {
        return Ok(serde_json::from_str(text)?);
    }
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_and_json_lines_are_the_same_rows() {
        let array = rows("[{\"n\":1},{\"n\":2}]").unwrap();
        assert_eq!(array, rows("{\"n\":1}\n{\"n\":2}\n").unwrap());
        assert!(rows("error: no such table").is_err());
    }
}
