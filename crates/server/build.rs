//! Puts the web pages into the program: builds them if their sources are newer, compresses each file, and lists
//! them for `src/ui.rs`.
//!
//! A release with sources of pages but without the pages does not compile, so that no program is shipped that only
//! pretends to have them. `FLYWHEEL_WITHOUT_UI=1` makes one that says that it has none.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is in the folder of the pages but no source of them.
const NOT_SOURCES: [&str; 4] = ["dist", "node_modules", "test-results", "e2e"];

/// What npm is called.
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

/// Beside the installed packages: the lock file they were installed by.
const INSTALLED_BY: &str = "node_modules/.flywheel-package-lock.json";

fn main() -> Result<()> {
    println!("cargo::rerun-if-env-changed=FLYWHEEL_WITHOUT_UI");
    let workspace = PathBuf::from(env("CARGO_MANIFEST_DIR")?).join("../..");
    let root = workspace.join("ui");
    let out = PathBuf::from(env("OUT_DIR")?);
    let package = root.join("package.json");
    // A file that is not there would count as changed every time; pages arrive with a change of the workspace.
    let watched = if package.is_file() { package.clone() } else { workspace.join("Cargo.toml") };
    println!("cargo::rerun-if-changed={}", watched.display());
    println!("cargo::rerun-if-changed=build.rs");
    let without = std::env::var_os("FLYWHEEL_WITHOUT_UI").is_some_and(|value| value == "1");
    let mut files = Vec::new();
    if package.is_file() && !without {
        let newest = newest(&root, true)?;
        let dist = root.join("dist");
        let built = fs::metadata(dist.join("index.html")).and_then(|found| found.modified());
        if built.is_err() || built.is_ok_and(|built| built < newest) {
            build(&root)?;
        }
        list(&dist, &dist, &mut files)?;
        files.sort();
        println!("cargo::rerun-if-changed={}", dist.join("index.html").display());
    }
    let mut text = String::from("&[\n");
    for file in &files {
        let path = root.join("dist").join(file);
        let bytes = fs::read(&path)?;
        let packed = pack(&bytes)?;
        // What does not become smaller, such as pictures, stays as it is.
        let gzip = packed.len() < bytes.len();
        let kept = out.join("ui").join(file);
        if let Some(folder) = kept.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&kept, if gzip { packed } else { bytes })?;
        writeln!(
            text,
            "    Asset {{ path: {file:?}, gzip: {gzip}, bytes: include_bytes!({kept:?}) }},"
        )?;
    }
    text.push(']');
    fs::write(out.join("assets.rs"), text)?;
    Ok(())
}

fn env(name: &str) -> Result<String> {
    let value = std::env::var_os(name).ok_or_else(|| format!("{name} is not set"))?;
    value.into_string().map_err(|value| format!("{name}: {value:?} is no text").into())
}

/// The moment the newest source was changed; tells cargo to look at each.
fn newest(folder: &Path, top: bool) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || (top && NOT_SOURCES.contains(&name.as_ref())) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            newest = newest.max(self::newest(&entry.path(), false)?);
        } else {
            println!("cargo::rerun-if-changed={}", entry.path().display());
            newest = newest.max(entry.metadata()?.modified()?);
        }
    }
    Ok(newest)
}

/// Builds the pages, after installing their packages if the lock file is not the one that the installed ones are of.
fn build(root: &Path) -> Result<()> {
    let release = std::env::var_os("PROFILE").is_some_and(|profile| profile == "release");
    let Err(why) = install(root).and_then(|()| npm(root, &["run", "build"])) else { return Ok(()) };
    let help = "the web pages in ui/ are not built, and building them failed. Install Node.js 20 or newer, \
                or set FLYWHEEL_WITHOUT_UI=1 for a program without pages";
    if release {
        return Err(format!("{help}.\n{why}").into());
    }
    println!("cargo::warning={help}");
    Ok(())
}

fn install(root: &Path) -> Result<()> {
    let (lock, mark) = (fs::read(root.join("package-lock.json"))?, root.join(INSTALLED_BY));
    if fs::read(&mark).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    npm(root, &["ci", "--prefer-offline", "--no-audit", "--no-fund"])?;
    Ok(fs::write(mark, lock)?)
}

fn npm(root: &Path, arguments: &[&str]) -> Result<()> {
    match Command::new(NPM).args(arguments).current_dir(root).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "`npm {}` in ui/ failed:\n{}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
        Err(error) => Err(format!("npm cannot be started: {error}").into()),
    }
}

/// The files below `folder`, from `top`.
fn list(top: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        // The list of parts is for the check of their size.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            list(top, &path, files)?;
        } else if path.extension().is_none_or(|extension| extension != "map") {
            let relative = path.strip_prefix(top)?;
            files.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

fn pack(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
