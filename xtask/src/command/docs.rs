//! `cargo xtask docs`: writes `docs/reference/` from what the binary says of itself.

mod page;
mod schema;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::binary::Flywheel;
use crate::context::Context;
use crate::{Result, process};

/// `cargo xtask docs`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "docs",
    arguments: "[--check]",
    about: "write docs/reference from the binary; --check: fail if a page is not up to date",
    run,
};

/// Where the pages are, below the root. Nothing but generated pages is there.
const FOLDER: &str = "docs/reference";
/// Where each SQL function has a file of logic tests, below the root.
const LOGIC_TESTS: &str = "tests/slt/functions";

fn run(context: &Context, arguments: &[String]) -> Result<bool> {
    match arguments {
        [] => write(context),
        [flag] if flag == "--check" => check(context),
        _ => Err("docs takes only --check".into()),
    }
}

/// Fails if a page is not what the binary says.
pub(crate) fn check(context: &Context) -> Result<bool> {
    let wanted = pages(context)?;
    let present = present(&context.root.join(FOLDER))?;
    let mut current = true;
    for name in wanted.keys().chain(present.keys().filter(|name| !wanted.contains_key(*name))) {
        if wanted.get(name) != present.get(name) {
            println!("{FOLDER}/{name} is not up to date; run `cargo xtask docs`");
            current = false;
        }
    }
    Ok(current)
}

fn write(context: &Context) -> Result<bool> {
    let folder = context.root.join(FOLDER);
    let wanted = pages(context)?;
    fs::create_dir_all(&folder)?;
    for name in present(&folder)?.keys().filter(|name| !wanted.contains_key(*name)) {
        fs::remove_file(folder.join(name))?;
    }
    for (name, text) in &wanted {
        fs::write(folder.join(name), text)?;
    }
    println!("wrote {} pages to {FOLDER}", wanted.len());
    Ok(true)
}

/// Every page by file name, as the binary wants it.
fn pages(context: &Context) -> Result<BTreeMap<String, String>> {
    let flywheel = Flywheel::build(context)?;
    let mut reference: Value =
        serde_json::from_str(&process::output(&mut flywheel.call(&["reference"]))?)?;
    let functions = reference.get_mut("functions").and_then(Value::as_array_mut);
    for function in functions.into_iter().flatten() {
        let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
        let file = context.root.join(LOGIC_TESTS).join(format!("{name}.slt"));
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let (query, rows) = first_query(&text)
            .ok_or_else(|| format!("{} has no query to show as an example", file.display()))?;
        let rows: String = rows.lines().map(|row| format!("\n-- {row}")).collect();
        function["example"] = format!("{query}{rows}").into();
    }
    page::all(&reference)
}

/// The first query of a file of logic tests and its rows: what the page of a function shows is what a test proves.
fn first_query(text: &str) -> Option<(&str, &str)> {
    let (_, block) = text.split_once("\nquery ")?;
    let (_, block) = block.split_once('\n')?;
    let (query, rows) = block.split_once("\n----\n")?;
    Some((query, rows.split("\n\n").next().unwrap_or_default().trim_end()))
}

/// Every page by file name, as it is.
fn present(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            pages.insert(name, fs::read_to_string(entry.path())?);
        }
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_the_first_query_of_a_file_with_its_rows() {
        let text = "# About it.\n\nstatement error no\nselect x\n\nquery I\nselect f(1),\n  f(2)\n----\n1 2\n3 4\n\nquery I\nselect 5\n----\n5\n";
        assert_eq!(first_query(text), Some(("select f(1),\n  f(2)", "1 2\n3 4")));
        assert_eq!(first_query("statement ok\nselect 1\n"), None);
    }
}
