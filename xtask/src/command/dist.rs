//! `cargo xtask dist`: the archive that is given away: the program, how to install it, licences, checksums.
//!
//! The same sources make the same archive, byte for byte, where the compiler makes the same program: names are
//! sorted, and every file has the time of the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// `cargo xtask dist`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "dist",
    arguments: "",
    about: "make the archive of the program with licences and checksums, and judge its size",
    run: |context, arguments| {
        super::no_arguments(arguments)?;
        Ok(dist(context)?.close())
    },
};

/// What the program may weigh, in megabytes.
const MEGABYTES_MAX: f64 = 150.0;

/// Files of the source that are in the archive: from where, and to where.
const TAKEN: &[(&str, &str)] = &[
    ("LICENSE", "LICENSE"),
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("docs/guides/operate.md", "operate.md"),
    ("packaging/systemd/flywheel@.service", "systemd/flywheel@.service"),
    ("packaging/systemd/flywheel-backup@.service", "systemd/flywheel-backup@.service"),
    ("packaging/systemd/flywheel-backup@.timer", "systemd/flywheel-backup@.timer"),
];

/// How a file that holds the terms of a crate begins, in lower case.
const TERMS: &[&str] = &["license", "licence", "copying", "notice", "unlicense", "copyright"];

fn dist(context: &Context) -> Result<Tally> {
    let program = program(context)?;
    let version = version_of(&program)?;
    let target = host()?;
    let name = format!("flywheel-{version}-{target}");
    let folder = context.scratch("dist")?;
    let staged = folder.join(&name);
    fs::create_dir_all(staged.join("systemd"))?;
    fs::copy(&program, staged.join("flywheel"))?;
    for (from, to) in TAKEN {
        fs::copy(context.root.join(from), staged.join(to))?;
    }
    let commit = process::output(git(context).args(["rev-parse", "HEAD"]))?;
    let time = process::output(git(context).args(["log", "-1", "--format=%ct"]))?;
    fs::write(staged.join("VERSION"), format!("{version}\n{target}\n{}\n", commit.trim()))?;
    let crates = crates(context)?;
    let (terms, silent) = terms(&crates)?;
    fs::write(staged.join("LICENCES-OF-CRATES.txt"), terms)?;
    let sums = sums(&staged)?;
    fs::write(staged.join("SHA256SUMS"), sums)?;
    let archive = folder.join(format!("{name}.tar.gz"));
    process::run(
        Command::new("tar")
            .current_dir(&folder)
            .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=u+rw,go=rX"])
            .arg(format!("--mtime=@{}", time.trim()))
            .args(["--use-compress-program=gzip -9n", "-cf"])
            .arg(&archive)
            .arg(&name),
    )?;
    let sum = process::output(
        Command::new("sha256sum").current_dir(&folder).arg(format!("{name}.tar.gz")),
    )?;
    fs::write(folder.join(format!("{name}.tar.gz.sha256")), &sum)?;
    let megabytes = |path: &Path| Ok::<_, std::io::Error>(fs::metadata(path)?.len() as f64 / 1e6);
    let size = megabytes(&program)?;
    println!("{}: {:.1} MB packed", archive.display(), megabytes(&archive)?);
    println!("the program: {size:.1} MB, at most {MEGABYTES_MAX}; {} crates in it", crates.len());
    let mut tally = Tally::default();
    tally.record("dist: the size of the program", size <= MEGABYTES_MAX);
    for name in &silent {
        println!("{name} states no licence and has no terms");
    }
    tally.record("dist: the licence of every crate", silent.is_empty());
    Ok(tally)
}

/// The program, built for size, unless another one shall be packed.
fn program(context: &Context) -> Result<PathBuf> {
    if let Some(path) = &context.binary {
        println!("packing {}", path.display());
        return Ok(path.clone());
    }
    if std::env::var_os("FLYWHEEL_WITHOUT_UI").is_some() {
        return Err("FLYWHEEL_WITHOUT_UI is set: a program without pages is not given away".into());
    }
    let build = ["build", "--locked", "--profile", "dist", "--package", "flywheel"];
    process::run(context.cargo().args(build))?;
    Ok(context.target.join("dist/flywheel"))
}

/// `flywheel 0.1.0` without the name.
fn version_of(program: &Path) -> Result<String> {
    let said = process::output(Command::new(program).arg("--version"))?;
    let version = said.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    Ok(version)
}

/// The platform of this machine, in Rust's words.
fn host() -> Result<String> {
    let said = process::output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc names no host")?.to_owned())
}

fn git(context: &Context) -> Command {
    let mut command = Command::new("git");
    command.current_dir(&context.root);
    command
}

/// A crate in the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    licence: String,
    source: String,
    folder: PathBuf,
}

/// The crates of others that are linked into the program.
fn crates(context: &Context) -> Result<BTreeSet<Crate>> {
    let tree =
        ["tree", "--locked", "--package", "flywheel", "--edges", "normal", "--prefix", "none"];
    let listing = process::output(context.cargo().args(tree).args(["--format", "{p}"]))?;
    let linked: BTreeSet<(&str, &str)> = listing.lines().filter_map(name_and_version).collect();
    let metadata = ["metadata", "--locked", "--format-version", "1"];
    let metadata: Value = serde_json::from_str(&process::output(context.cargo().args(metadata))?)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata has no packages")?;
    let mut found = BTreeSet::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let (name, version) = (text("name"), text("version"));
        // Ours have no source and are under the archive's own licence.
        if package["source"].is_null() || !linked.contains(&(name.as_str(), version.as_str())) {
            continue;
        }
        let manifest = PathBuf::from(text("manifest_path"));
        let folder = manifest.parent().unwrap_or(&manifest).to_owned();
        let source = [text("repository"), text("homepage")].into_iter().find(|url| !url.is_empty());
        let licence = match text("license") {
            licence if licence.is_empty() => text("license_file"),
            licence => licence,
        };
        found.insert(Crate { name, version, licence, source: source.unwrap_or_default(), folder });
    }
    Ok(found)
}

/// `serde v1.0.1 (proc-macro)` as name and version.
fn name_and_version(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once(" v")?;
    Some((name, rest.split(' ').next()?))
}

/// A list of all crates, and below it each text of terms once with the crates it is of; and who has neither.
fn terms(crates: &BTreeSet<Crate>) -> Result<(String, Vec<String>)> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut silent = Vec::new();
    let mut text = "Flywheel contains these crates, under these licences:\n\n".to_owned();
    for one in crates {
        let called = format!("{} {}", one.name, one.version);
        text.push_str(&format!("{called}\t{}\t{}\n", one.licence, one.source));
        let mut has_terms = false;
        let mut files: Vec<PathBuf> = fs::read_dir(&one.folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()?;
        files.sort();
        for file in files.into_iter().filter(|file| file.is_file() && holds_terms(file)) {
            let terms = String::from_utf8_lossy(&fs::read(&file)?).replace('\r', "");
            texts.entry(terms.trim().to_owned()).or_default().push(called.clone());
            has_terms = true;
        }
        if one.licence.is_empty() && !has_terms {
            silent.push(called);
        }
    }
    for (terms, crates) in texts {
        let crates = crates.join(", ");
        text.push_str(&format!("\n{}\n{crates}\n{}\n\n{terms}\n", "=".repeat(80), "-".repeat(80)));
    }
    Ok((text, silent))
}

fn holds_terms(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    TERMS.iter().any(|start| name.starts_with(start)) && !name.ends_with(".rs")
}

/// The lines of `SHA256SUMS`, by name.
fn sums(folder: &Path) -> Result<String> {
    let mut names: Vec<String> =
        vec!["flywheel".into(), "VERSION".into(), "LICENCES-OF-CRATES.txt".into()];
    names.extend(TAKEN.iter().map(|(_, to)| (*to).to_owned()));
    names.sort();
    process::output(Command::new("sha256sum").current_dir(folder).args(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_tree_become_names_and_versions() {
        assert_eq!(name_and_version("serde v1.0.228"), Some(("serde", "1.0.228")));
        assert_eq!(
            name_and_version("a-b v0.1.0-rc.1 (proc-macro) (*)"),
            Some(("a-b", "0.1.0-rc.1"))
        );
        assert_eq!(name_and_version(""), None);
    }

    #[test]
    fn the_same_terms_are_shown_once_and_a_crate_without_any_is_told() {
        let folder = std::env::temp_dir().join(format!("flywheel-terms-{}", std::process::id()));
        let mut crates = BTreeSet::new();
        for (name, licence) in [("a", "MIT"), ("b", "MIT"), ("c", "")] {
            let at = folder.join(name);
            fs::create_dir_all(&at).unwrap();
            if name != "c" {
                fs::write(at.join("LICENSE-MIT"), "Permission is granted\r\n").unwrap();
            }
            crates.insert(Crate {
                name: name.to_owned(),
                version: "1.0.0".to_owned(),
                licence: licence.to_owned(),
                source: String::new(),
                folder: at,
            });
        }
        let (text, silent) = terms(&crates).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(text.matches("Permission is granted").count(), 1, "{text}");
        assert!(text.contains("\na 1.0.0, b 1.0.0\n"), "{text}");
        assert_eq!(silent, ["c 1.0.0"]);
    }

    #[test]
    fn what_the_archive_takes_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (from, _) in TAKEN {
            assert!(root.join(from).is_file(), "{from}");
        }
    }
}
