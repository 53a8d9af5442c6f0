//! Mistakes of ours that stop a request or a piece of work: the stack goes to the log, what happened to `system.errors`, and
//! whoever asked is told under which id.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

use flywheel_base::digest;
use flywheel_state::Fault;

use crate::app::App;

/// The longest text of a fault, in characters.
const TEXT_MAX: usize = 2_000;
/// What is said of a fault of which nothing else is known.
const UNKNOWN: &str = "it stopped unexpectedly";

thread_local! {
    /// What the last panic of this thread said, and where.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes from now on what each panic of the process says, and where.
pub(crate) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let said = said.unwrap_or(UNKNOWN);
    let place =
        info.location().map_or_else(String::new, |at| format!("{}:{}: ", at.file(), at.line()));
    let stack = Backtrace::force_capture();
    tracing::error!(place, said, %stack, "a mistake of the program stopped what it did");
    let text: String = format!("{place}{said}").chars().take(TEXT_MAX).collect();
    // A thread that ends has nobody to tell it to.
    if LAST.try_with(|last| last.replace(Some(text))).is_err() {
        tracing::debug!("a thread that ends has stopped unexpectedly");
    }
}

/// What the last panic of this thread said, once.
pub(crate) fn taken() -> String {
    let last = LAST.try_with(RefCell::take).ok().flatten();
    last.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// The id of a fault of a piece of work.
pub(crate) fn id_of_work(app: &App, work: &str) -> String {
    digest::short(&[&app.started_at.micros().to_le_bytes(), work.as_bytes()])
}

/// Keeps a fault. What cannot be kept is in the log.
pub(crate) fn keep(app: &App, id: &str, kind: &str, name: &str, error: &str) {
    tracing::error!(id, kind, name, error, "a fault");
    let fault = Fault {
        id: id.to_owned(),
        at: app.machine_now(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        error: error.chars().take(TEXT_MAX).collect(),
    };
    if let Err(error) = app.workspace().store.record_fault(&fault) {
        tracing::error!(id, error = %error.report(), "a fault is not kept");
    }
}
