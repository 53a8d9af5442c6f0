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
    let reference: Value =
        serde_json::from_str(&process::output(&mut flywheel.call(&["reference"]))?)?;
    page::all(&reference)
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
