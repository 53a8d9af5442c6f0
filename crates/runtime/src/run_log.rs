//! The log of each run: a file of JSON lines in `.flywheel/logs`, written as the run goes on.
//!
//! Each attempt at something is a run of its own, and so has a log of its own. A line that a crash cut off is left out
//! when the log is read. Logs are kept for 30 days, and for less if they take more than 512 MiB; what happened to the
//! rows is in `system.runs` and `system.tasks` for good.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flywheel_base::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::recorder::Event;

/// How long logs are kept.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// How much room they may take together.
const BYTES_MAX: u64 = 512 << 20;
/// The largest log of one run; what comes later is left out, and said to be.
const RUN_BYTES_MAX: u64 = 16 << 20;
/// How often old logs are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(86_400);
/// The file whose age says when old logs were last looked for.
const SWEPT: &str = ".swept";

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, by the machine's clock, in RFC 3339.
    pub at: String,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// What happened.
    pub text: String,
}

/// What a log says about an event: level and text.
#[must_use]
pub fn said(event: &Event) -> (&'static str, String) {
    match event {
        Event::Began { run_id, kind } => ("info", format!("{kind} began as run {run_id}")),
        Event::Started { kind, name } => ("info", format!("{kind} {name} started")),
        Event::Ended(task) => {
            let outcome = &task.outcome;
            let ms = task.duration_ms.unwrap_or_default();
            let rows = outcome.rows_out.map_or_else(String::new, |rows| format!(", {rows} rows"));
            let (level, why) = match &outcome.error {
                Some(error) => ("error", format!(": {error}")),
                None => ("info", String::new()),
            };
            let text =
                format!("{} {} {} in {ms:.0} ms{rows}{why}", task.kind, task.name, task.status);
            (level, text)
        }
        Event::Notice(text) => ("warn", text.clone()),
    }
}

/// A log that is being written. A log that cannot be written does not stop the work.
pub(crate) struct RunLog {
    file: Option<File>,
    bytes: u64,
}

impl RunLog {
    /// Begins the log of the run `run_id` in the folder of what is ours, and removes old ones once a day.
    pub(crate) fn begin(ours: &Path, run_id: &str, now: Timestamp) -> Self {
        let folder = folder(ours);
        let opened = fs::create_dir_all(&folder)
            .and_then(|()| OpenOptions::new().create(true).append(true).open(path(ours, run_id)));
        let file = match opened {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::warn!(run_id, %error, "the log of a run is not kept");
                None
            }
        };
        if let Err(error) = sweep_if_due(&folder, system_time(now)) {
            tracing::warn!(%error, "old logs are not removed");
        }
        Self { file, bytes: 0 }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, at: Timestamp, level: &str, text: &str) {
        let Some(file) = &mut self.file else { return };
        let full = self.bytes > RUN_BYTES_MAX;
        let text = if full { "the log is too long: the rest is left out" } else { text };
        let line = LogLine { at: at.to_string(), level: level.to_owned(), text: text.to_owned() };
        let written =
            serde_json::to_vec(&line).map_err(std::io::Error::other).and_then(|mut bytes| {
                bytes.push(b'\n');
                self.bytes += bytes.len() as u64;
                file.write_all(&bytes)
            });
        if let Err(error) = written {
            tracing::warn!(%error, "the log of a run breaks off");
            self.file = None;
        } else if full {
            self.file = None;
        }
    }
}

fn folder(ours: &Path) -> PathBuf {
    ours.join("logs")
}

fn path(ours: &Path, run_id: &str) -> PathBuf {
    folder(ours).join(format!("{run_id}.jsonl"))
}

/// The lines of a run's log, those after the first `after`; none if it has no log, or no more.
///
/// # Errors
/// Those of the file system.
pub fn read(ours: &Path, run_id: &str, after: usize) -> Result<Vec<LogLine>> {
    // A run's id is no path.
    if run_id.is_empty() || !run_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(Vec::new());
    }
    let path = path(ours, run_id);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let lines =
        bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    Ok(lines.skip(after).collect())
}

fn sweep_if_due(folder: &Path, now: SystemTime) -> std::io::Result<()> {
    let mark = folder.join(SWEPT);
    let swept = mark.metadata().and_then(|about| about.modified());
    // A clock that went back is as good as a day.
    if swept.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age < SWEEP_EVERY)) {
        return Ok(());
    }
    sweep(folder, now)?;
    fs::write(mark, "")
}

fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.micros()).unwrap_or_default())
}

/// Removes logs that are too old, and the oldest ones while all take too much room.
fn sweep(folder: &Path, now: SystemTime) -> std::io::Result<()> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_file() && entry.path().extension().is_some_and(|end| end == "jsonl") {
            logs.push((about.modified()?, about.len(), entry.path()));
        }
    }
    logs.sort();
    let mut room: u64 = logs.iter().map(|(_, bytes, _)| bytes).sum();
    for (at, bytes, path) in logs {
        let old = now.duration_since(at).is_ok_and(|age| age > KEPT);
        if !old && room <= BYTES_MAX {
            break;
        }
        fs::remove_file(path)?;
        room -= bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_can_be_read_while_it_is_written_and_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RunLog::begin(dir.path(), "r1", Timestamp::parse("2024-05-01").unwrap());
        let at = Timestamp::parse("2024-05-01").unwrap();
        log.line(at, "info", "one");
        log.line(at, "error", "zwei\n三 \"x\"");
        let lines = read(dir.path(), "r1", 0).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[1].level.as_str(), lines[1].text.as_str()), ("error", "zwei\n三 \"x\""));
        assert_eq!(read(dir.path(), "r1", 1).unwrap(), &lines[1..]);
        let mut file = OpenOptions::new().append(true).open(path(dir.path(), "r1")).unwrap();
        file.write_all(b"{\"at\":\"2024").unwrap();
        assert_eq!(read(dir.path(), "r1", 0).unwrap(), lines);
        for id in ["r2", "", "../meta", "a/b"] {
            assert!(read(dir.path(), id, 0).unwrap().is_empty(), "{id}");
        }
    }

    #[test]
    fn a_log_that_grows_without_end_is_cut_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RunLog::begin(dir.path(), "r1", Timestamp::default());
        let long = "x".repeat(1 << 20);
        for _ in 0..40 {
            log.line(Timestamp::default(), "info", &long);
        }
        let size = path(dir.path(), "r1").metadata().unwrap().len();
        assert!(size < RUN_BYTES_MAX + (2 << 20), "{size}");
        assert!(read(dir.path(), "r1", 0).unwrap().last().unwrap().text.contains("left out"));
    }

    #[test]
    fn old_logs_go_and_young_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        fs::create_dir_all(&folder).unwrap();
        let now = system_time(Timestamp::parse("2024-05-01").unwrap());
        for (name, days) in [("old", 31), ("young", 29), ("new", 0)] {
            let file = File::create(folder.join(format!("{name}.jsonl"))).unwrap();
            file.set_modified(now - Duration::from_secs(days * 86_400)).unwrap();
        }
        fs::write(folder.join("notes.txt"), "mine").unwrap();
        sweep(&folder, now).unwrap();
        let mut left: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["new.jsonl", "notes.txt", "young.jsonl"]);
    }
}
