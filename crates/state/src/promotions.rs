//! Which learner decides for a policy, and how that came to be.

use flywheel_base::{Result, Timestamp};
use serde_json::Value;

use crate::Store;
use crate::engine::{self, Row, params};
use crate::runs::json;

/// One change of who decides for a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Promotion {
    /// The policy.
    pub policy: String,
    /// Its number among those of the policy, from 1.
    pub number: i64,
    /// When, by the logical clock.
    pub at: Timestamp,
    /// The learner that the policy's file named then; the promotion holds as long as it does.
    pub declared: String,
    /// The learner that decides from then on.
    pub learner: String,
    /// The artifact it is held at; none if it goes on learning.
    pub artifact: Option<String>,
    /// The number of the promotion that this takes back; none if it is a promotion itself.
    pub undoes: Option<i64>,
    /// Why, for the record.
    pub reason: String,
    /// What the change rests on, as JSON.
    pub evidence: Value,
}

impl Store {
    /// Records who decides from now on, and gives the change its number.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_promotion(&self, promotion: &Promotion) -> Result<i64> {
        self.write("record a promotion", |db| {
            let number: i64 = db.query_row(
                "SELECT coalesce(max(number), 0) + 1 FROM promotions WHERE policy = ?",
                [&promotion.policy],
                |row| row.get(0),
            )?;
            db.execute(
                "INSERT INTO promotions (policy, number, at, declared, learner, artifact, undoes, reason, evidence) VALUES (?,?,?,?,?,?,?,?,?)",
                params![
                    promotion.policy,
                    number,
                    promotion.at.micros(),
                    promotion.declared,
                    promotion.learner,
                    promotion.artifact,
                    promotion.undoes,
                    promotion.reason,
                    promotion.evidence.to_string()
                ],
            )?;
            Ok(number)
        })
    }

    /// All changes of who decides for `policy`, oldest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn promotions_of(&self, policy: &str) -> Result<Vec<Promotion>> {
        self.promotions_where("WHERE policy = ? ORDER BY number", &[policy])
    }

    /// All changes of all policies, oldest first within each.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn promotions(&self) -> Result<Vec<Promotion>> {
        self.promotions_where("ORDER BY policy, number", &[])
    }

    fn promotions_where(&self, clause: &str, bound: &[&str]) -> Result<Vec<Promotion>> {
        self.read("list promotions", |db| {
            db.prepare_cached(&format!(
                "SELECT policy, number, at, declared, learner, artifact, undoes, reason, evidence FROM promotions {clause}"
            ))?
            .query_map(bound, promotion)?
            .collect()
        })
    }
}

fn promotion(row: &Row<'_>) -> engine::Result<Promotion> {
    Ok(Promotion {
        policy: row.get(0)?,
        number: row.get(1)?,
        at: Timestamp::from_micros(row.get(2)?),
        declared: row.get(3)?,
        learner: row.get(4)?,
        artifact: row.get(5)?,
        undoes: row.get(6)?,
        reason: row.get(7)?,
        evidence: json(row, 8)?,
    })
}
