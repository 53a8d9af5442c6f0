//! `system.savings`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;
use crate::catalogue::ledger;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "savings",
    about: "One row per asset that is given up, or could be. Key: asset, status, why.",
    columns: &[
        ("asset", Text, "the asset, kind:name"),
        (
            "status",
            Text,
            "saved: it is gone; agreed: it is given up and still there; possible: it could be given up",
        ),
        ("why", Text, "unused, duplicate or over-frequent; given-up for what was decided"),
        ("evidence", Text, "what says so, or the words of who decided"),
        ("amount_per_year", Number, "what that saves in a year"),
        ("currency", Text, "in which currency"),
        ("decided_at", Moment, "when it was given up"),
    ],
};

/// Its rows.
pub(super) async fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let ledger = ledger(workspace).await?;
    let mut rows: Vec<Value> = Vec::new();
    for one in &ledger.retired {
        rows.push(json!({
            "asset": one.asset, "status": if one.gone { "saved" } else { "agreed" }, "why": "given-up",
            "evidence": one.reason, "amount_per_year": one.cost_per_year, "currency": ledger.currency,
            "decided_at": one.decided_at,
        }));
    }
    for one in &ledger.findings {
        rows.push(json!({
            "asset": one.asset, "status": "possible", "why": one.why.word(), "evidence": one.evidence,
            "amount_per_year": one.saving_per_year, "currency": ledger.currency,
        }));
    }
    Ok(rows)
}
