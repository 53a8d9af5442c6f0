//! Learning: learners that are due are fitted and scored.

use flywheel_base::Result;
use flywheel_decision::learner::{self, Learned};
use flywheel_project::{NodeId, NodeKind};
use flywheel_state::TaskOutcome;

use crate::{Workspace, catalogue, recorder::Recorder};

/// Whether learners are fitted although they are not due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Only those whose interval has passed.
    Due,
    /// All that are named.
    Now,
}

/// Fits and scores the learners `names`.
///
/// # Errors
/// The first learner's error; those before it are done.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
    names: &[String],
    when: When,
) -> Result<Vec<Learned>> {
    let now = workspace.now();
    let mut all = Vec::new();
    for name in names {
        let context = workspace.context(turn, now).await?;
        if when == When::Due && !learner::due(&context, name)? {
            continue;
        }
        let timer = recorder.started("learn", name);
        let result = learner::learn(&context, name).await;
        all.push(recorder.settled(timer, result, |learned| {
            let outcome = TaskOutcome {
                rows_in: Some(learned.rows_in),
                rows_out: Some(learned.rows_out),
                detail: learned.detail.clone(),
                ..TaskOutcome::default()
            };
            ("succeeded".to_owned(), outcome)
        })?);
        let graph = &workspace.project.graph;
        let id = NodeId::new(NodeKind::Learner, name.as_str());
        let tables: Vec<String> =
            graph.upstream(&id).map(|id| catalogue::shown(&workspace.project, id)).collect();
        catalogue::note_reads(workspace, &tables, name, "learn");
    }
    Ok(all)
}
