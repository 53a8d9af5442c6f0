//! Limits of what a policy may give: what it may spend, and what there is.
//!
//! Both are looked at while units are decided for, one after the other, and what is decided in treatment is taken off at
//! once. Whether a unit is left out never depends on its own arm: the budget asks for the cost of the unit whatever was
//! drawn, and a choice is drawn among what is left before the arm is looked at, with the probabilities of just these
//! candidates. So the arms of a policy stay alike, and each logged propensity is that of the draw that was made.

pub(crate) mod purse;
pub(crate) mod shelf;

use flywheel_base::{Error, Result, statement};
use flywheel_project::resource::policy::{Cost, Policy};
use serde_json::Value;

use self::purse::{Purse, cost_of};
use self::shelf::Shelf;
use crate::context::Context;
use crate::decide::{TREATMENT, Unit};
use crate::frame::Frame;
use crate::table::DecisionRow;

/// What may still be given at a moment.
pub(crate) struct Limits {
    purse: Option<Purse>,
    shelf: Option<Shelf>,
}

impl Limits {
    /// What is left of budget and stock; `made` are decisions that no table has yet.
    ///
    /// # Errors
    /// Those of the stock's SQL and of the lake.
    pub(crate) async fn open(
        ctx: &Context<'_>,
        name: &str,
        policy: &Policy,
        made: &[DecisionRow],
    ) -> Result<Self> {
        let mut limits = Self {
            purse: Purse::open(ctx, name, policy).await?,
            shelf: Shelf::load(ctx, name, policy).await?,
        };
        for row in made.iter().filter(|row| row.policy == name) {
            limits.give(row);
        }
        Ok(limits)
    }

    /// What there is, if it is limited.
    pub(crate) fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_ref()
    }

    /// Whether the budget covers a unit, whichever arm it is in.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the unit has no cost.
    pub(crate) fn affords(&self, name: &str, policy: &Policy, unit: &Unit) -> Result<bool> {
        let (Some(purse), Some(budget)) = (&self.purse, &policy.budget) else { return Ok(true) };
        Ok(purse.covers(cost_of(name, budget, unit)?))
    }

    /// Takes off what a decision gives; one of a holdout gives nothing.
    pub(crate) fn give(&mut self, row: &DecisionRow) {
        if row.arm != TREATMENT {
            return;
        }
        if let (Some(purse), Some(cost)) = (&mut self.purse, row.cost) {
            purse.pay(cost);
        }
        if let Some(shelf) = &mut self.shelf {
            shelf.take(row);
        }
    }
}

/// What is told to whoever asks for one unit that the budget does not cover.
pub(crate) fn spent(name: &str, unit: &str) -> Error {
    Error::blocked(format!(
        "the budget of policy \"{name}\" does not cover the unit \"{unit}\" at this moment"
    ))
    .hint("See `budget` in the policy's file.")
}

/// What is told to whoever asks for one unit for which nothing is left.
pub(crate) fn used_up(name: &str, unit: &str) -> Error {
    Error::blocked(format!(
        "policy \"{name}\" has nothing left for the unit \"{unit}\": all of it is used up or expired"
    ))
    .hint("See `stock` in the policy's file.")
}

/// Whether what limits ask for can be read: a column of the audience, and a query that is planned.
pub(crate) async fn check(
    ctx: &Context<'_>,
    name: &str,
    policy: &Policy,
    audience: &Frame<'_>,
) -> Result<()> {
    if let Some(Cost::Column(column)) = policy.budget.as_ref().map(|budget| &budget.cost) {
        audience.numbers(column)?;
    }
    let Some(stock) = &policy.stock else { return Ok(()) };
    let what = format!("policy \"{name}\": stock");
    let sql = ctx.render(stock).map_err(|e| e.context(&what))?;
    let sql = statement::one(&what, &sql)?;
    let sql = format!("select * from (\n{sql}\n) as stock limit 0");
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    frame.text("candidate")?;
    frame.numbers("available").map(drop)
}

/// The number that a unit has in a column; none if there is none.
fn number_of(unit: &Unit, column: &str) -> Option<f64> {
    let number = match unit.columns.get(column)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}
