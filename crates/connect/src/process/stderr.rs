//! What a program says on stderr: always read, so that it never has to wait, and the end of it kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flywheel_base::task::TaskSet;
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;

use super::Mask;

/// How much is kept.
const KEPT_BYTES: usize = 64 << 10;

/// How many lines of it are shown.
const SHOWN_LINES: usize = 12;

/// How many characters of each are shown.
const SHOWN_CHARS: usize = 500;

/// How long the last words are waited for, once the program is gone.
const SETTLE: Duration = Duration::from_secs(2);

/// The end of what a program said.
#[derive(Debug)]
pub(super) struct Stderr {
    shared: Arc<Shared>,
    task: TaskSet,
}

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Vec<u8>>,
    words: AtomicU64,
}

impl Stderr {
    /// Starts to read it.
    pub(super) fn drain(mut from: ChildStderr) -> Self {
        let shared = Arc::new(Shared::default());
        let mut task = TaskSet::default();
        let keep = Arc::clone(&shared);
        task.start(async move {
            let mut buffer = vec![0; 16 << 10];
            loop {
                let count = match from.read(&mut buffer).await {
                    // A pipe that breaks is at its end, too.
                    Ok(0) | Err(_) => return Ok(()),
                    Ok(count) => count,
                };
                keep.words.fetch_add(1, Ordering::SeqCst);
                let mut kept = keep.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
                let surplus = kept.len().saturating_sub(KEPT_BYTES);
                kept.drain(..surplus);
            }
        });
        Self { shared, task }
    }

    /// A number that grows whenever the program says something.
    pub(super) fn words(&self) -> u64 {
        self.shared.words.load(Ordering::SeqCst)
    }

    /// The last lines, without secrets, after the program's end.
    pub(super) async fn settle(&mut self, mask: &Mask) -> String {
        // A stray child may hold the pipe open; what is there by then has to do.
        if let Ok(Err(error)) = tokio::time::timeout(SETTLE, self.task.join()).await {
            tracing::warn!(error = %error, "the last words of a program were not read");
        }
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = mask.apply(&String::from_utf8_lossy(&kept));
        if kept.len() >= KEPT_BYTES {
            text = mask.cut_begin(text);
        }
        // A program that was stopped may have been in the middle of a word.
        if !text.ends_with('\n') {
            text = mask.cut_end(text);
        }
        last_lines(&text)
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let shown = lines.len().saturating_sub(SHOWN_LINES);
    let cut = |line: &&str| match line.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => (*line).to_owned(),
    };
    lines.get(shown..).unwrap_or_default().iter().map(cut).collect::<Vec<_>>().join("\n")
}
