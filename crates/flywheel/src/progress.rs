//! A run as it happens: a spinner on a terminal, lines with `--verbose`, nothing otherwise.

use std::sync::Arc;
use std::time::Duration;

use flywheel_runtime::backup::Watch;
use flywheel_runtime::{Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// Draws what a run does.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    output: Output,
    prefix: String,
}

impl Progress {
    /// Draws on stderr if a person is there.
    pub(crate) fn new(output: Output, prefix: &str) -> Self {
        let bar = output.interactive().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.set_prefix(prefix.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, output, prefix: prefix.to_owned() }
    }
}

/// Draws how many bytes of all are done, if a person is there.
pub(crate) fn bytes_bar(output: Output, doing: &'static str) -> Watch {
    if !output.interactive() {
        return Arc::new(|_, _| {});
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(
        "{prefix} {wide_bar} {binary_bytes} of {binary_total_bytes} {eta}",
    ) {
        bar.set_style(style);
    }
    bar.set_prefix(doing);
    Arc::new(move |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    })
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event) {
        match event {
            Event::Began { run_id, kind } => tracing::info!(run_id, kind, "run began"),
            Event::Started { kind, name } => {
                tracing::info!(kind, name, "task started");
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("{kind} {name}"));
                }
            }
            Event::Ended(task) => {
                let ms = task.duration_ms.unwrap_or_default();
                tracing::info!(
                    kind = task.kind,
                    name = task.name,
                    status = task.status,
                    ms,
                    "task ended"
                );
            }
            Event::Notice(text) => {
                let line = format!("{}: {text}", self.prefix);
                match &self.bar {
                    Some(bar) => bar.suspend(|| self.output.message(&line)),
                    None => self.output.message(&line),
                }
            }
        }
    }
}
