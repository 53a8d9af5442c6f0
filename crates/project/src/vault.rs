//! The vault: the secrets that `${secret:NAME}` stands for, sealed in a file of the project.
//!
//! ```text
//! .flywheel/secrets.json   by name: when it was set, the id of its key, a nonce, the sealed value
//!          secrets.key     a key a line, the first one seals; or the file that FLYWHEEL_SECRETS_KEY_FILE names
//!          secrets.lock    held by whoever changes one of them
//! ```
//! Invariants: a value is never on disk as it is; an entry opens under its own name, moment and key alone; a key is on
//! disk before anything that it seals, and gone only after everything is sealed by another one. A kill leaves each
//! file as it was or as it is to be.

mod seal;
mod uses;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use flywheel_base::{Error, ErrorKind, Result, Secret, Timestamp, env};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use seal::{Entry, Key};
pub use uses::{SecretUse, uses};

/// The variable that names the file with the key, if it is not `.flywheel/secrets.key`.
pub const KEY_FILE_VARIABLE: &str = "FLYWHEEL_SECRETS_KEY_FILE";

/// The largest value.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// The longest name.
const NAME_BYTES_MAX: usize = 100;
/// The largest file of sealed secrets.
const VAULT_BYTES_MAX: u64 = 16 << 20;
/// The largest file of keys.
const KEYS_BYTES_MAX: u64 = 16 << 10;
/// How often both files are read, if the keys change meanwhile.
const READS_MAX: usize = 3;
/// The layout of the file.
const VERSION: u32 = 1;
/// The permissions of everybody but the owner.
const OTHERS: u32 = 0o077;
/// What stands above the keys.
const KEYS_HEAD: &str =
    "# Opens the secrets of this project. Keep it, and keep it apart from backups.\n";

/// A stored secret, as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredSecret {
    /// What it is called in `${secret:NAME}`.
    pub name: String,
    /// When its value was set, in UTC.
    pub set_at: String,
}

/// The secrets of a project.
#[derive(Clone, Debug)]
pub struct Vault {
    /// The project's `.flywheel`.
    folder: PathBuf,
    /// Where the key is.
    key_file: PathBuf,
    /// Whether the key lies where we put it, not where somebody said.
    own_key: bool,
}

/// The file of sealed secrets.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    secrets: BTreeMap<String, Entry>,
}

impl Vault {
    /// The secrets of the project in `dir`, with the key that the environment names, if it does.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        match env::optional(KEY_FILE_VARIABLE) {
            Some(file) => Self::with_key(dir, &dir.join(file)),
            None => {
                let folder = dir.join(".flywheel");
                Self { key_file: folder.join("secrets.key"), folder, own_key: true }
            }
        }
    }

    /// The secrets of the project in `dir`, with the key in `key_file`.
    #[must_use]
    pub fn with_key(dir: &Path, key_file: &Path) -> Self {
        Self { folder: dir.join(".flywheel"), key_file: key_file.to_owned(), own_key: false }
    }

    /// The file with the key, which opens everything.
    #[must_use]
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// The names of the stored secrets, sorted; no key is needed.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the file is not as it was written.
    pub fn list(&self) -> Result<Vec<StoredSecret>> {
        let secrets = self.kept()?.secrets.into_iter();
        Ok(secrets.map(|(name, entry)| StoredSecret { name, set_at: entry.set_at }).collect())
    }

    /// The value of a secret.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such secret or no key, [`ErrorKind::Denied`] if others can read the key or
    /// it is another one, [`ErrorKind::Corrupt`] if what is stored is not what was sealed under this name.
    pub fn reveal(&self, name: &str) -> Result<Secret> {
        let about = |error: Error| error.context(format!("secret \"{name}\""));
        let mut last = None;
        // Between two files that are read the key may have been changed.
        for _ in 0..READS_MAX {
            let kept = self.kept().map_err(about)?;
            let Some(entry) = kept.secrets.get(name) else { return Err(missing(name)) };
            let keys = self.keys().map_err(about)?;
            if keys.iter().any(|key| key.id() == entry.key) {
                return self.open(name, entry, &keys);
            }
            last = Some(self.other_key(name, entry, keys.is_empty()));
        }
        Err(last.unwrap_or_else(|| Error::internal("a secret is read at least once")))
    }

    /// Seals a value under a name; true if there was another one. The first one makes the key.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name or value that cannot be stored, [`ErrorKind::Denied`] if another secret is
    /// sealed by a key that is not there: what one key opens should all be opened by it.
    pub fn set(&self, name: &str, value: &Secret, now: Timestamp) -> Result<bool> {
        check_name(name)?;
        let length = value.expose().len();
        if length == 0 || length > VALUE_BYTES_MAX {
            let what = if length == 0 { "is empty" } else { "is larger than 64 KiB" };
            return Err(Error::invalid(format!("the value of the secret \"{name}\" {what}"))
                .hint("Give the value on stdin: `flywheel secret set NAME < file`."));
        }
        let _lock = self.lock()?;
        let mut kept = self.kept()?;
        let mut keys = self.keys()?;
        for (other, entry) in kept.secrets.iter().filter(|(other, _)| *other != name) {
            if !keys.iter().any(|key| key.id() == entry.key) {
                return Err(self.other_key(other, entry, keys.is_empty()));
            }
        }
        if keys.is_empty() {
            keys.push(Key::random()?);
            self.write_keys(&keys)?;
        }
        let key = keys.first().ok_or_else(|| Error::internal("there is no key"))?;
        let entry = key.seal(name, value, &now.to_string())?;
        let before = kept.secrets.insert(name.to_owned(), entry);
        self.write_kept(&kept)?;
        Ok(before.is_some())
    }

    /// Removes a secret; false if there is none of this name. No key is needed.
    ///
    /// # Errors
    /// As [`Vault::list`], and what writing may fail with.
    pub fn remove(&self, name: &str) -> Result<bool> {
        // Who asks for nothing changes no file.
        if !self.kept()?.secrets.contains_key(name) {
            return Ok(false);
        }
        let _lock = self.lock()?;
        let mut kept = self.kept()?;
        let removed = kept.secrets.remove(name).is_some();
        if removed {
            self.write_kept(&kept)?;
        }
        Ok(removed)
    }

    /// Seals every secret by a new key and forgets the old one; says how many there are.
    ///
    /// # Errors
    /// As [`Vault::reveal`] for the first secret that cannot be opened; then nothing is changed.
    pub fn rotate(&self) -> Result<usize> {
        let _lock = self.lock()?;
        let mut kept = self.kept()?;
        let mut keys = self.keys()?;
        let mut values = Vec::new();
        for (name, entry) in &kept.secrets {
            values.push((name.clone(), entry.set_at.clone(), self.open(name, entry, &keys)?));
        }
        // Whatever a kill leaves, each entry has its key: both are there until all is sealed anew.
        keys.insert(0, Key::random()?);
        self.write_keys(&keys)?;
        keys.truncate(1);
        let new = keys.first().ok_or_else(|| Error::internal("there is no key"))?;
        for (name, set_at, value) in &values {
            kept.secrets.insert(name.clone(), new.seal(name, value, set_at)?);
        }
        self.write_kept(&kept)?;
        self.write_keys(&keys)?;
        Ok(values.len())
    }

    fn open(&self, name: &str, entry: &Entry, keys: &[Key]) -> Result<Secret> {
        let Some(key) = keys.iter().find(|key| key.id() == entry.key) else {
            return Err(self.other_key(name, entry, keys.is_empty()));
        };
        key.open(name, entry).ok_or_else(|| {
            let file = self.file();
            Error::corrupt(format!(
                "the secret \"{name}\" in {} is not as it was sealed under this name",
                file.display()
            ))
            .hint(format!(
                "Somebody or something changed the file: store the secret again with `flywheel secret set {name}`, or bring \
                 the file back from a backup."
            ))
        })
    }

    /// The error of a secret whose key is not there.
    fn other_key(&self, name: &str, entry: &Entry, no_key: bool) -> Error {
        let file = self.key_file.display();
        if no_key {
            return Error::not_found(format!(
                "the secret \"{name}\" cannot be opened: there is no key file {file}"
            ))
            .hint(format!(
                "Put the key file back, or say where it is with {KEY_FILE_VARIABLE}; backups do not hold it. If it is lost, \
                 `flywheel secret remove NAME --force` each secret and set it again."
            ));
        }
        Error::new(
            ErrorKind::Denied,
            format!(
                "the secret \"{name}\" cannot be opened: it was sealed by the key {}, and {file} holds another one",
                seal::shown_id(&entry.key)
            ),
        )
        .hint(format!(
            "Put the key file back that belongs to this project, or say where it is with {KEY_FILE_VARIABLE}. If it is lost, \
             `flywheel secret remove NAME --force` each secret and set it again."
        ))
    }

    fn file(&self) -> PathBuf {
        self.folder.join("secrets.json")
    }

    /// Keeps others from changing a file until what is returned is dropped.
    fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.folder)
            .map_err(|error| Error::io("create", &self.folder, error))?;
        let path = self.folder.join("secrets.lock");
        let failed = |error| Error::io("lock", &path, error);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn kept(&self) -> Result<Kept> {
        let file = self.file();
        let Some(text) = read(&file, VAULT_BYTES_MAX)? else {
            return Ok(Kept { version: VERSION, secrets: BTreeMap::new() });
        };
        // The parser's own words may quote what is there; the place is enough.
        let kept: Kept = serde_json::from_str(&text).map_err(|error| {
            Error::corrupt(format!(
                "the stored secrets in {} are not as they were written (line {}, column {})",
                file.display(),
                error.line(),
                error.column()
            ))
            .hint("Bring the file back from a backup, or remove it and store each secret again with `flywheel secret set NAME`.")
        })?;
        if kept.version != VERSION {
            return Err(Error::invalid(format!(
                "the stored secrets in {} have the layout {}, this program knows {VERSION}",
                file.display(),
                kept.version
            ))
            .hint("Use the program that wrote the file, or a newer one."));
        }
        Ok(kept)
    }

    fn write_kept(&self, kept: &Kept) -> Result<()> {
        let file = self.file();
        let mut text = serde_json::to_string_pretty(kept)
            .map_err(|error| Error::internal("stored secrets are no JSON").caused_by(error))?;
        text.push('\n');
        if text.len() as u64 > VAULT_BYTES_MAX {
            return Err(Error::exhausted(format!("the stored secrets in {} would be larger than 16 MiB", file.display()))
                .hint("Remove what nothing uses: `flywheel secret list` shows it. Keep files out of here: ${file:path} names them."));
        }
        write(&file, &self.folder.join(".secrets.json.part"), text.as_bytes())
    }

    /// The keys, the one that seals first; none if there is no file.
    fn keys(&self) -> Result<Vec<Key>> {
        let path = &self.key_file;
        let Some(text) = read(path, KEYS_BYTES_MAX)? else { return Ok(Vec::new()) };
        if self.own_key {
            let meta = fs::metadata(path).map_err(|error| Error::io("read", path, error))?;
            if meta.permissions().mode() & OTHERS != 0 {
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!("the key file {} can be read or written by others", path.display()),
                )
                .hint(format!(
                    "chmod 600 {}; if others are on this machine, `flywheel secret rotate-key` then.",
                    path.display()
                )));
            }
        }
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            keys.push(Key::parse(line).ok_or_else(|| {
                Error::invalid(format!("line {} of the key file {} is no key", index + 1, path.display()))
                    .hint("A key is 64 hexadecimal digits in lower case, `openssl rand -hex 32`; put the file back as it was.")
            })?);
        }
        if keys.is_empty() {
            return Err(Error::invalid(format!("the key file {} holds no key", path.display()))
                .hint("Put the file back as it was; if nothing is stored yet, remove it."));
        }
        Ok(keys)
    }

    fn write_keys(&self, keys: &[Key]) -> Result<()> {
        let mut text = Zeroizing::new(String::with_capacity(
            KEYS_HEAD.len() + keys.len() * (seal::KEY_DIGITS + 1),
        ));
        text.push_str(KEYS_HEAD);
        for key in keys {
            text.push_str(&key.digits());
            text.push('\n');
        }
        // Where a link leads, the file behind it is replaced.
        let path = fs::canonicalize(&self.key_file).unwrap_or_else(|_| self.key_file.clone());
        // Its name ends like that of a key, so that no backup takes what a kill leaves.
        write(&path, &path.with_file_name(".secrets.part.key"), text.as_bytes())
    }
}

/// The error of a secret that is not there.
fn missing(name: &str) -> Error {
    Error::not_found(format!("no secret named \"{name}\" is stored")).hint(format!(
        "Store it with `flywheel secret set {name}`, or use ${{env:NAME}} or ${{file:path}}."
    ))
}

/// Checks what a secret is to be called.
///
/// # Errors
/// [`ErrorKind::Invalid`]; the message does not repeat it, since it may be the value in the wrong place.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let starts =
        name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if starts && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::invalid("this cannot be the name of a secret").hint(
        "Use letters, digits, _ - and . and begin with a letter, digit or _; at most 100 characters. The value goes to stdin.",
    ))
}

/// The text of a file, or none if there is no such file.
fn read(path: &Path, most: u64) -> Result<Option<Zeroizing<String>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let mut text = Zeroizing::new(String::new());
    file.take(most + 1)
        .read_to_string(&mut text)
        .map_err(|error| Error::io("read", path, error))?;
    if text.len() as u64 > most {
        return Err(Error::exhausted(format!(
            "{} is larger than {} KiB",
            path.display(),
            most >> 10
        ))
        .hint("This is no file of ours; put the right one back."));
    }
    Ok(Some(text))
}

/// Writes a file that only its owner may read; it has its name when it is whole and on disk.
fn write(path: &Path, part: &Path, content: &[u8]) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(part).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    drop(file);
    fs::rename(part, path).map_err(failed)?;
    match path.parent() {
        Some(folder) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
