//! The file of a ledger: lines of JSON, each whole on disk before what follows from it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, ErrorKind, Result, Timestamp, digest, task};
use serde::{Deserialize, Serialize};

use crate::destination::{Checkpoint, DestinationContext, Progress, WriteRequest};
use crate::output::try_lock;

/// The form of the file.
const VERSION: u32 = 1;

/// Rows whose fingerprints are kept.
const ROWS_MAX: usize = 20_000_000;

/// A file below this size is not written anew.
const COMPACT_BYTES_MIN: u64 = 4 << 20;

/// About how many bytes a fingerprint takes in a file that was written anew.
const ROW_BYTES: u64 = 56;

/// Rows in one line of a file that is written anew.
const LINE_ROWS: usize = 1_000;

/// A row: the digest of its key and its fingerprint, as hex digits in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "(String, String)", try_from = "(String, String)")]
pub(crate) struct Mark {
    pub(crate) key: u128,
    pub(crate) fingerprint: u64,
}

impl From<Mark> for (String, String) {
    fn from(mark: Mark) -> Self {
        (format!("{:032x}", mark.key), format!("{:016x}", mark.fingerprint))
    }
}

impl TryFrom<(String, String)> for Mark {
    type Error = std::num::ParseIntError;

    fn try_from((key, fingerprint): (String, String)) -> Result<Self, Self::Error> {
        Ok(Self {
            key: u128::from_str_radix(&key, 16)?,
            fingerprint: u64::from_str_radix(&fingerprint, 16)?,
        })
    }
}

/// How the rows of a request are remembered once they are acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Keep {
    /// Their fingerprints are current from then on.
    Current,
    /// The rows are gone.
    Removed,
    /// Until the next checkpoint; they have no key.
    UntilCheckpoint,
    /// Not at all.
    Nothing,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// The first line: whose ledger it is and since when.
    Ledger { version: u32, app: String, since: Timestamp },
    /// A request is about to leave.
    Sent { request: u64, keep: Keep, rows: Vec<Mark> },
    /// It was answered; the rows at these places were refused.
    Answered { request: u64, refused: Vec<usize> },
    /// Everything before is true together with this checkpoint.
    Committed(Checkpoint),
    /// Current fingerprints, in a file that was written anew.
    Current(Vec<Mark>),
    /// Where requests are counted on, in a file that was written anew.
    Next(u64),
}

/// A request without an answer.
#[derive(Clone, Debug)]
struct Doubt {
    keep: Keep,
    rows: Vec<Mark>,
}

#[derive(Debug, Default)]
struct State {
    since: Timestamp,
    next: u64,
    current: BTreeMap<u128, u64>,
    until_checkpoint: BTreeMap<u128, u64>,
    doubts: BTreeMap<u64, Doubt>,
    committed: Option<Checkpoint>,
}

/// The open ledger of one application.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    app: String,
    file: File,
    bytes: u64,
    state: State,
    /// Holds other processes off.
    _lock: File,
}

/// How far an application has come with a connection.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if the ledger is damaged.
pub(crate) async fn handed_over(
    ctx: &DestinationContext,
    request: &WriteRequest,
) -> Result<Progress> {
    let path = ledger_path(&ctx.state_dir(), &noted(ctx, request));
    task::compute(move || progress(&path)).await
}

/// Opens the ledger of what an application hands over to a connection.
///
/// # Errors
/// Those of [`Ledger::open`].
pub(crate) async fn open_ledger(
    ctx: &DestinationContext,
    request: &WriteRequest,
) -> Result<Ledger> {
    let (app, now) = (noted(ctx, request), request.now);
    let path = ledger_path(&ctx.state_dir(), &app);
    task::compute(move || Ledger::open(&path, &app, now)).await
}

/// Whose ledger it is: one stream can go to several connections, and each is as far as it has come.
fn noted(ctx: &DestinationContext, request: &WriteRequest) -> String {
    format!("{} > {}", request.app, ctx.connection)
}

/// The file of a ledger.
pub(super) fn ledger_path(state_dir: &Path, app: &str) -> PathBuf {
    let readable: String = app
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' })
        .take(60)
        .collect();
    let id = digest::short(&[app.as_bytes()]);
    state_dir.join("ledger").join(format!("{readable}-{id}.jsonl"))
}

/// How far an application's writes have come.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if the file is not a ledger.
pub(super) fn progress(path: &Path) -> Result<Progress> {
    let committed = read(path)?.and_then(|(state, _)| state.committed);
    Ok(Progress { committed, staged: None })
}

impl Ledger {
    /// Opens the ledger of `app`, or starts one.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if another process has it open, [`ErrorKind::Corrupt`] if the file is
    /// not a ledger, and errors of the file system.
    pub(crate) fn open(path: &Path, app: &str, now: Timestamp) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .map_err(|error| Error::io("create the folder", folder, error))?;
        }
        let lock_path = path.with_extension("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| Error::io("open", &lock_path, error))?;
        try_lock(&lock).map_err(|error| {
            Error::new(ErrorKind::Conflict, format!("another process writes for \"{app}\""))
                .caused_by(error)
                .hint("Wait until it ends; only one write at a time goes into one target.")
        })?;
        let found = read(path)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| Error::io("open", path, error))?;
        let mut ledger = Self {
            path: path.to_owned(),
            app: app.to_owned(),
            file,
            bytes: 0,
            state: State::default(),
            _lock: lock,
        };
        match found {
            Some((state, whole)) => {
                ledger.state = state;
                // What a crash left of a line would spoil the next one.
                ledger.file.set_len(whole).map_err(|error| Error::io("shorten", path, error))?;
                ledger.bytes = whole;
            }
            None => {
                ledger.state.since = now;
                ledger.file.set_len(0).map_err(|error| Error::io("shorten", path, error))?;
                ledger.append(&ledger.first_line())?;
                ledger.sync()?;
                sync_folder(path)?;
            }
        }
        Ok(ledger)
    }

    fn first_line(&self) -> Line {
        Line::Ledger { version: VERSION, app: self.app.clone(), since: self.state.since }
    }

    /// The last checkpoint.
    pub(crate) fn committed(&self) -> Option<&Checkpoint> {
        self.state.committed.as_ref()
    }

    /// The fingerprint the target has of a row, as far as is known.
    pub(crate) fn current(&self, key: u128) -> Option<u64> {
        self.state.current.get(&key).or_else(|| self.state.until_checkpoint.get(&key)).copied()
    }

    /// The rows of requests without answer, each with the last request it was in.
    pub(crate) fn doubts(&self) -> BTreeMap<Mark, u64> {
        let doubts = self.state.doubts.iter();
        doubts
            .flat_map(|(request, doubt)| doubt.rows.iter().map(|mark| (*mark, *request)))
            .collect()
    }

    /// The number under which rows are sent: that of a request without answer if they are the same,
    /// otherwise a new one. It is on disk when this returns.
    pub(crate) fn send(&mut self, keep: Keep, rows: Vec<Mark>) -> Result<u64> {
        let same = |(_, doubt): &(&u64, &Doubt)| doubt.rows == rows && doubt.keep == keep;
        if let Some((request, _)) = self.state.doubts.iter().rev().find(same) {
            return Ok(*request);
        }
        let request = self.state.next;
        self.put(Line::Sent { request, keep, rows })?;
        self.sync()?;
        Ok(request)
    }

    /// The idempotency key of a request: another one for every request of every ledger.
    pub(crate) fn idempotency_key(&self, request: u64) -> String {
        let since = self.state.since.micros().to_le_bytes();
        digest::hex(&[self.app.as_bytes(), &since, &request.to_le_bytes()])
            .chars()
            .take(32)
            .collect()
    }

    /// Takes note of an answer. It is on disk with the next request or checkpoint: lost in a crash,
    /// the request counts as not answered.
    pub(crate) fn answered(&mut self, request: u64, refused: Vec<usize>) -> Result<()> {
        self.put(Line::Answered { request, refused })?;
        if self.state.current.len() > ROWS_MAX {
            return Err(Error::exhausted(format!(
                "the ledger of \"{}\" holds more than {ROWS_MAX} rows",
                self.app
            ))
            .hint("Set the target's `unchanged: send`, so that no fingerprints are kept."));
        }
        Ok(())
    }

    /// Makes everything so far true together with `checkpoint`.
    pub(crate) fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.put(Line::Committed(checkpoint.clone()))?;
        self.sync()?;
        let needed = self.state.current.len() as u64 * ROW_BYTES;
        if self.bytes > COMPACT_BYTES_MIN && self.bytes > needed * 4 {
            self.compact()?;
        }
        Ok(())
    }

    fn put(&mut self, line: Line) -> Result<()> {
        self.append(&line)?;
        apply(&mut self.state, line);
        Ok(())
    }

    fn append(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line).map_err(|error| {
            Error::internal("a line of a ledger cannot be written").caused_by(error)
        })?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|error| Error::io("write", &self.path, error))?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io("write", &self.path, error))
    }

    /// Writes the file anew with what is still needed, and swaps it in.
    fn compact(&mut self) -> Result<()> {
        let new_path = self.path.with_extension("new");
        let file =
            File::create(&new_path).map_err(|error| Error::io("create", &new_path, error))?;
        let old = std::mem::replace(&mut self.file, file);
        self.bytes = 0;
        let written = self.write_state().and_then(|()| {
            fs::rename(&new_path, &self.path)
                .map_err(|error| Error::io("rename", &new_path, error))?;
            sync_folder(&self.path)
        });
        if written.is_err() {
            self.file = old;
        }
        written
    }

    fn write_state(&mut self) -> Result<()> {
        self.append(&self.first_line())?;
        self.append(&Line::Next(self.state.next))?;
        let marks: Vec<Mark> = self
            .state
            .current
            .iter()
            .map(|(key, fingerprint)| Mark { key: *key, fingerprint: *fingerprint })
            .collect();
        for part in marks.chunks(LINE_ROWS) {
            self.append(&Line::Current(part.to_vec()))?;
        }
        for (request, doubt) in self.state.doubts.clone() {
            self.append(&Line::Sent { request, keep: doubt.keep, rows: doubt.rows })?;
        }
        if let Some(checkpoint) = self.state.committed.clone() {
            self.append(&Line::Committed(checkpoint))?;
        }
        self.sync()
    }
}

/// What a line changes.
fn apply(state: &mut State, line: Line) {
    match line {
        Line::Ledger { since, .. } => state.since = since,
        Line::Next(next) => state.next = next,
        Line::Sent { request, keep, rows } => {
            state.next = state.next.max(request + 1);
            state.doubts.insert(request, Doubt { keep, rows });
        }
        Line::Answered { request, refused } => {
            let Some(doubt) = state.doubts.remove(&request) else { return };
            let taken = doubt.rows.iter().enumerate().filter(|(at, _)| !refused.contains(at));
            for (_, mark) in taken {
                match doubt.keep {
                    Keep::Current => state.current.insert(mark.key, mark.fingerprint),
                    Keep::Removed => state.current.remove(&mark.key),
                    Keep::UntilCheckpoint => {
                        state.until_checkpoint.insert(mark.key, mark.fingerprint)
                    }
                    Keep::Nothing => None,
                };
            }
        }
        Line::Committed(checkpoint) => {
            state.committed = Some(checkpoint);
            state.until_checkpoint.clear();
            // Every row before the checkpoint had its answer, whatever an earlier process saw.
            state.doubts.clear();
        }
        Line::Current(marks) => {
            state.current.extend(marks.into_iter().map(|mark| (mark.key, mark.fingerprint)));
        }
    }
}

/// The state of a file and the length of its whole lines; nothing if there is no file or only the
/// beginning of its first line.
fn read(path: &Path) -> Result<Option<(State, u64)>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
    if whole == 0 {
        return Ok(None);
    }
    let mut state = State::default();
    let lines = bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        let line: Line = serde_json::from_slice(line).map_err(|error| {
            let number = number + 1;
            Error::corrupt(format!("line {number} of the ledger {} is damaged", path.display()))
                .caused_by(error)
                .hint("Restore the file. Without it every row is sent again, which is harmless where rows have a key.")
        })?;
        if let Line::Ledger { version, .. } = &line
            && *version != VERSION
        {
            return Err(Error::invalid(format!(
                "the ledger {} has version {version}, and this program reads {VERSION}",
                path.display()
            ))
            .hint("It was written by a newer program: use that one."));
        }
        apply(&mut state, line);
    }
    Ok(Some((state, whole as u64)))
}

/// Makes the names in a file's folder durable.
fn sync_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("write the folder", folder, error))
}
