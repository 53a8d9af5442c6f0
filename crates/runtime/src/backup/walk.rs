//! What of a project's folder a backup takes, and what it leaves out and why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result};
use flywheel_project::vault::Vault;

use super::PROJECT;
use super::copy::Wanted;
use super::manifest::LeftOut;

/// Folders that are made again, or that have their own ways to be kept.
const FOLDERS_LEFT: &[(&str, &str)] = &[
    (".git", "push it to another repository"),
    (".hg", "push it to another repository"),
    (".venv", "made again by its tool"),
    ("node_modules", "made again by its tool"),
    ("__pycache__", "made again by its tool"),
];

/// What a file system of its own keeps at its root, for nobody but the administrator.
pub(super) const FILE_SYSTEM: &str = "lost+found";

/// The folder of what is ours; its files are taken also where it is a link.
const OURS: &str = ".flywheel";

/// Files and folders of `.flywheel` that belong to a process or are copied in their own way.
const OURS_LEFT: &[&str] = &[
    "lock",
    "spill",
    "meta.db",
    "meta.db-wal",
    "meta.db-shm",
    "meta.db-journal",
    "meta.db.unfinished",
    "moved-meta.db",
    "audit.head",
    "secrets.lock",
];

/// Names of files whose content is a secret.
const SECRET_NAMES: &[&str] = &[".env", ".pgpass", ".netrc", "credentials.json"];
/// Endings of such names.
const SECRET_ENDINGS: &[&str] = &["key", "p12", "pfx", "jks"];
/// What the text of a private key begins with, at some place of its first line.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";
/// Files above this size hold rows, not settings.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<Wanted>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Found {
    fn leave(&mut self, path: &str, why: &str) {
        self.left_out.push(LeftOut { path: path.to_owned(), why: why.to_owned() });
    }
}

/// Lists the files of the project in `dir`, without the lake and without secrets.
pub(super) fn walk(dir: &Path, lake: &Path) -> Result<Found> {
    let lake = fs::canonicalize(lake).unwrap_or_else(|_| lake.to_owned());
    let mut found = Found::default();
    let mut listed = Vec::new();
    let mut waiting = vec![(dir.to_owned(), String::new())];
    while let Some((folder, prefix)) = waiting.pop() {
        let failed = |error| Error::io("list", &folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                let shown = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
                found.leave(&shown, "its name is not UTF-8");
                continue;
            };
            let below = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(failed)?;
            // The lake is copied table by table, also where a link leads to it.
            if !kind.is_file() && fs::canonicalize(&path).is_ok_and(|real| real == lake) {
                continue;
            }
            if below == FILE_SYSTEM {
                continue;
            }
            if kind.is_dir() || below == OURS {
                if let Some((_, why)) = FOLDERS_LEFT.iter().find(|(left, _)| *left == name) {
                    found.leave(&below, why);
                } else if below != ".flywheel/spill" {
                    waiting.push((path, format!("{below}/")));
                }
                continue;
            }
            if prefix == ".flywheel/" && OURS_LEFT.contains(&name.as_str()) {
                continue;
            }
            if kind.is_symlink() {
                match fs::read_link(&path).ok().and_then(|to| to.to_str().map(str::to_owned)) {
                    Some(link) => listed.push((below, path, 0, Some(link))),
                    None => found.leave(&below, "what it points at is not UTF-8"),
                }
            } else if kind.is_file() {
                let bytes = entry.metadata().map_err(failed)?.len();
                listed.push((below, path, bytes, None));
            } else {
                found.leave(&below, "it is no file");
            }
        }
    }
    listed.sort();
    let secret = secret_files(dir, &listed);
    for (below, from, bytes, link) in listed {
        if link.is_none() && secret.contains(&below) {
            found.leave(&below, "it holds a secret");
            continue;
        }
        let fixed = below.starts_with(".flywheel/artifacts/");
        let path = format!("{PROJECT}/{below}");
        found.files.push(Wanted { from, path, bytes, digest: None, fixed, link });
    }
    Ok(found)
}

/// The files that a declaration names as a secret, or whose name or text says that they are one.
fn secret_files(dir: &Path, listed: &[(String, PathBuf, u64, Option<String>)]) -> BTreeSet<String> {
    let mut secret = BTreeSet::new();
    // What opens the sealed secrets, which are in the backup, is not beside them, wherever it is and whatever it is called.
    secret.extend(below_of(dir, Vault::of(dir).key_file()));
    for (below, path, bytes, _) in listed {
        let name = below.rsplit('/').next().unwrap_or(below);
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if SECRET_NAMES.contains(&name)
            || name.starts_with(".env.")
            || SECRET_ENDINGS.contains(&ending)
        {
            secret.insert(below.clone());
            continue;
        }
        let yaml = matches!(ending, "yaml" | "yml");
        if *bytes > TEXT_BYTES_MAX || !(yaml || ending == "pem") || below.starts_with(".flywheel/")
        {
            continue;
        }
        let Ok(text) = fs::read_to_string(path) else { continue };
        if ending == "pem" && text.contains(PRIVATE_KEY)
            || name == "profiles.yml" && flywheel_project::holds_secret(&text)
        {
            secret.insert(below.clone());
        }
        for named in flywheel_project::named_files(&text).into_iter().filter(|_| yaml) {
            secret.extend(below_of(dir, &dir.join(named)));
        }
    }
    secret
}

/// The path of a file below the project's folder, if it is there: written as `./keys/x` or through a link, it is still
/// the same file.
fn below_of(dir: &Path, file: &Path) -> Option<String> {
    let (real, dir) = (fs::canonicalize(file).ok()?, fs::canonicalize(dir).ok()?);
    real.strip_prefix(dir).ok().and_then(Path::to_str).map(str::to_owned)
}
