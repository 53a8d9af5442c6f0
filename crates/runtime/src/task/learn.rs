//! Learning: learners that are due are fitted and scored.

use flywheel_base::{Error, ErrorKind, Result};
use flywheel_decision::learner::{self, Learned};
use flywheel_project::{NodeId, NodeKind};
use flywheel_state::TaskOutcome;
use serde_json::Value;

use crate::{Workspace, catalogue, recorder::Recorder};

/// Whether learners are fitted although they are not due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Only those whose interval has passed.
    Due,
    /// All that are named.
    Now,
}

/// What came of learners: one that cannot be fitted keeps no other one from it.
#[derive(Debug, Default)]
pub struct Fits {
    /// Those that were fitted.
    pub learned: Vec<Learned>,
    /// Why others could not be, in the order of the names: what they learned before stays, and they are due still.
    pub errors: Vec<Error>,
}

impl Fits {
    /// What was fitted, if nothing went wrong.
    ///
    /// # Errors
    /// The first of the errors.
    pub fn all(self) -> Result<Vec<Learned>> {
        self.errors.into_iter().next().map_or(Ok(self.learned), Err)
    }
}

/// Whether an error is about the learner it comes from: its file or its rows. After any other the run ends, so that it
/// is taken up where it was.
pub(super) fn is_its_own(error: &Error) -> bool {
    use ErrorKind::{Blocked, Denied, Invalid, NotFound};
    matches!(error.kind(), Invalid | NotFound | Denied | Blocked)
}

/// Fits and scores the learners `names`.
///
/// # Errors
/// What is not about one learner, such as a disk that is full.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
    names: &[String],
    when: When,
) -> Result<Fits> {
    let now = workspace.now();
    let mut all = Fits::default();
    for name in names {
        let context = workspace.context(turn, now).await?;
        let due = match when {
            When::Due => learner::due(&context, name),
            When::Now => Ok(true),
        };
        if when == When::Now
            && let Some(pin) = learner::held(&context, name)?
        {
            recorder.notice(format!(
                "learner \"{name}\" is pinned, so that it is not fitted: {}. Let it go with `flywheel learn unpin {name}`.",
                pin.reason
            ));
            continue;
        }
        if matches!(due, Ok(false)) {
            continue;
        }
        let timer = recorder.started("learn", name);
        let result = match due {
            Ok(_) => learner::learn(&context, name).await,
            Err(error) => Err(error),
        };
        let result = recorder.settled(timer, result, |learned| {
            let outcome = TaskOutcome {
                rows_in: Some(learned.rows_in),
                rows_out: Some(learned.rows_out),
                detail: learned.detail.clone(),
                ..TaskOutcome::default()
            };
            ("succeeded".to_owned(), outcome)
        });
        match result {
            Ok(learned) => {
                for text in notices(&learned) {
                    recorder.notice(text);
                }
                all.learned.push(learned);
            }
            Err(error) if is_its_own(&error) => {
                all.errors.push(error);
                continue;
            }
            Err(error) => return Err(error),
        }
        let graph = &workspace.project.graph;
        let id = NodeId::new(NodeKind::Learner, name.as_str());
        let tables: Vec<String> =
            graph.upstream(&id).map(|id| catalogue::shown(&workspace.project, id)).collect();
        catalogue::note_reads(workspace, &tables, name, "learn");
    }
    Ok(all)
}

/// What should be known of a fit, which may be worth little for a reason that is no error.
fn notices(learned: &Learned) -> Vec<String> {
    let texts = learned.detail.get("notices").and_then(Value::as_array);
    let texts = texts.into_iter().flatten().filter_map(Value::as_str);
    texts.map(|text| format!("learner \"{}\": {text}", learned.learner)).collect()
}
