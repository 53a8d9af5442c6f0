//! How healthy an asset is: one number from 0 to 100 by a formula that anyone can run.
//!
//! Each part lies between 0 and 1; a part that means nothing for a kind of asset is left out, and the others count more.

use super::Asset;

/// What each part counts.
const TESTS: f64 = 0.25;
const FRESHNESS: f64 = 0.20;
const DOCUMENTATION: f64 = 0.20;
const OWNERSHIP: f64 = 0.15;
const USAGE: f64 = 0.10;
const CONTRACT: f64 = 0.10;

/// Readers and consumers from which an asset counts as fully used.
const USERS_FULL: f64 = 3.0;

/// The formula: a query over `system.assets` that gives every asset's score.
pub const FORMULA: &str = "select kind, name, 100 * (
    0.25 * coalesce(tests_part, 0) + 0.20 * coalesce(freshness_part, 0) + 0.20 * documentation_part
    + 0.15 * ownership_part + 0.10 * coalesce(usage_part, 0) + 0.10 * coalesce(contract_part, 0)
  ) / (
    case when tests_part is null then 0 else 0.25 end + case when freshness_part is null then 0 else 0.20 end + 0.20
    + 0.15 + case when usage_part is null then 0 else 0.10 end + case when contract_part is null then 0 else 0.10 end
  ) as health
from (
  select kind, name,
    case when kind not in ('source', 'model', 'table') then null when tests = 0 then 0.0
      when tests_status = 'passed' then 1.0 when tests_status = 'failed' then 0.0 else 0.5 end as tests_part,
    case when age_s is null or fresh_limit_s is null then null when age_s <= fresh_limit_s then 1.0
      when age_s <= 2 * fresh_limit_s then 0.5 else 0.0 end as freshness_part,
    (case when description is null then 0.0 else 1.0 end + described_columns) / (1.0 + columns) as documentation_part,
    case when owner is null then 0.0 else 1.0 end as ownership_part,
    case when is_table or kind = 'metric' then least(1.0, (readers + consumers) / 3.0) end as usage_part,
    case when kind not in ('source', 'model') then null when contract then 1.0 else 0.0 end as contract_part
  from system.assets
) as parts";

/// The formula for one asset.
#[must_use]
pub fn sql(asset: &Asset) -> String {
    let quoted = |text: &str| text.replace('\'', "''");
    format!("{FORMULA} where kind = '{}' and name = '{}'", quoted(&asset.kind), quoted(&asset.name))
}

/// The score.
pub(super) fn score(asset: &Asset) -> f64 {
    let kind = asset.kind.as_str();
    let share = |yes: bool| if yes { 1.0 } else { 0.0 };
    let tests =
        matches!(kind, "source" | "model" | "table").then(|| match asset.tests_status.as_deref() {
            _ if asset.tests == 0 => 0.0,
            Some("passed") => 1.0,
            Some("failed") => 0.0,
            _ => 0.5,
        });
    let freshness = asset.age_s.zip(asset.fresh_limit_s).map(|(age, limit)| match age {
        age if age <= limit => 1.0,
        age if age <= 2 * limit => 0.5,
        _ => 0.0,
    });
    let described = share(asset.description.is_some()) + asset.described_columns() as f64;
    let documentation = Some(described / (1.0 + asset.columns.len() as f64));
    let ownership = Some(share(asset.owner.is_some()));
    let users = asset.readers as f64 + asset.downstream.len() as f64;
    let usage = (asset.is_table || kind == "metric").then(|| (users / USERS_FULL).min(1.0));
    let contract = matches!(kind, "source" | "model").then(|| share(asset.contract));
    let parts = [
        (TESTS, tests),
        (FRESHNESS, freshness),
        (DOCUMENTATION, documentation),
        (OWNERSHIP, ownership),
        (USAGE, usage),
        (CONTRACT, contract),
    ];
    let (mut sum, mut weights) = (0.0, 0.0);
    for (weight, part) in parts {
        if let Some(part) = part {
            sum += weight * part;
            weights += weight;
        }
    }
    100.0 * sum / weights
}
