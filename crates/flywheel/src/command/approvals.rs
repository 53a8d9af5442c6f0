//! `flywheel approvals`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_runtime::halt::COMMAND_LINE;
use flywheel_runtime::{Access, Workspace, approval};
use flywheel_state::{Approval, ApprovalStatus, NewQuantity, SeenApproval};
use serde_json::{Value, json};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// How many deliveries are listed.
const LISTED_MAX: u32 = 10_000;

/// Options of `flywheel approvals`.
#[derive(Debug, Args)]
pub(crate) struct Approvals {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows what waits for approval
    List {
        /// Only deliveries of this policy
        #[arg(long)]
        policy: Option<String>,
        /// Shows also what was approved, rejected or not decided about in time
        #[arg(long)]
        all: bool,
    },
    /// Lets deliveries leave at the next turn, all of them or none
    Approve {
        /// The deliveries' keys
        #[arg(required = true)]
        keys: Vec<String>,
        /// Your name, for the record; it may be nobody's who had a hand in them
        #[arg(long, value_name = "NAME")]
        by: String,
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Ends deliveries for good, all of them or none
    Reject {
        /// The deliveries' keys
        #[arg(required = true)]
        keys: Vec<String>,
        /// Your name, for the record
        #[arg(long, value_name = "NAME")]
        by: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
    /// Orders another quantity than was proposed; the first one is kept
    Edit {
        /// The delivery's key
        key: String,
        /// Units to order
        #[arg(long)]
        quantity: f64,
        /// Your name, for the record; you cannot approve it then
        #[arg(long, value_name = "NAME")]
        by: String,
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
    },
}

impl Runs for Approvals {
    const ABOUT: &'static str =
        "Lists, approves, edits and rejects deliveries that wait for a person";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::List { policy, all } => {
                let workspace = app.open(Access::Read).await?;
                let status = (!all).then_some(ApprovalStatus::Waiting);
                let found = workspace.store.approvals(status, policy.as_deref(), LISTED_MAX)?;
                listed(&app, &found)?;
            }
            Verb::Approve { keys, by, reason } => {
                let workspace = app.open(Access::Write).await?;
                let done = approval::approve(&workspace, &seen(keys), &by, reason.as_deref())?;
                note(&workspace, "approval.approve", &done, &by)?;
                app.output.message(&format!("{} deliveries leave at the next turn", done.len()));
            }
            Verb::Reject { keys, by, reason } => {
                let workspace = app.open(Access::Write).await?;
                let done = approval::reject(&workspace, &seen(keys), &by, &reason)?;
                note(&workspace, "approval.reject", &done, &by)?;
                app.output.message(&format!("{} deliveries are rejected", done.len()));
            }
            Verb::Edit { key, quantity, by, reason } => {
                let workspace = app.open(Access::Write).await?;
                let one = SeenApproval { key, revision: None };
                let new = NewQuantity { quantity, reason: reason.as_deref() };
                let edited = approval::edit(&workspace, &one, &by, new)?;
                note(&workspace, "approval.edit", std::slice::from_ref(&edited), &by)?;
                app.output.message(&format!(
                    "{} orders {quantity} and waits for somebody else's approval",
                    edited.key
                ));
            }
        }
        Ok(Exit::Done)
    }
}

/// Notes in the audit log what was decided about the deliveries of each policy, and whose name was given; reasons are kept
/// with the approvals.
fn note(workspace: &Workspace, what: &str, done: &[Approval], by: &str) -> Result<()> {
    let mut of_policy: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in done {
        of_policy.entry(&one.policy).or_default().push(&one.key);
    }
    for (policy, keys) in of_policy {
        let detail = json!({"by": by, "keys": keys});
        workspace.store.audit(workspace.machine.now(), COMMAND_LINE, what, policy, &detail)?;
    }
    Ok(())
}

fn seen(keys: Vec<String>) -> Vec<SeenApproval> {
    keys.into_iter().map(|key| SeenApproval { key, revision: None }).collect()
}

fn listed(app: &App, found: &[Approval]) -> Result<()> {
    if app.output.format == Format::Json {
        let rows: Vec<Value> = found.iter().map(row).collect();
        return app.output.json(&rows);
    }
    let mut grid = Grid::new(&[
        "key",
        "policy",
        "#turn",
        "unit",
        "of",
        "#amount",
        "#quantity",
        "status",
        "until",
        "by",
        "reason",
    ]);
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value}"));
    for one in found {
        grid.row(vec![
            one.key.clone(),
            one.policy.clone(),
            one.turn.to_string(),
            one.unit.clone(),
            one.of.clone().unwrap_or_default(),
            number(one.amount),
            number(one.line.as_ref().map(|line| line.quantity)),
            one.status.word().to_owned(),
            one.expires_at.map_or_else(String::new, |at| at.to_string()),
            one.decided_by.clone().unwrap_or_default(),
            one.reason.clone().unwrap_or_default(),
        ]);
    }
    app.output.grid(&grid)
}

fn row(one: &Approval) -> Value {
    json!({
        "key": one.key, "policy": one.policy, "turn": one.turn, "unit": one.unit, "of": one.of, "amount": one.amount,
        "by_other": one.by_other, "status": one.status.word(), "asked_at": one.asked_at.to_string(),
        "expires_at": one.expires_at.map(|at| at.to_string()), "decided_by": one.decided_by,
        "decided_at": one.decided_at.map(|at| at.to_string()), "reason": one.reason,
        "line": one.line, "edits": one.edits, "payload": one.payload, "original": one.original,
    })
}
