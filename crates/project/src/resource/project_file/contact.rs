//! `contact:` and `holdout:` of `flywheel.yaml`: what holds for all policies together.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::quantity::{Duration, Share};

/// How often a unit may be addressed by all policies together. Policies decide one after the other, in the order of their
/// names: where the limit leaves room for one decision more, it is that of the first one that asks. Decisions of every arm
/// count, those of a holdout too, so that both arms of a policy are left out alike and its lift stays right.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// At most so many decisions per unit that lead to one of the actions.
    pub per_unit: NonZeroU32,
    /// Within this time, less the twentieth by which a turn may come too soon, at most five minutes.
    pub every: Duration,
    /// The actions that count and that are limited; all if absent.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub actions: Option<Vec<String>>,
}

impl Contact {
    /// Whether decisions that lead to this action count.
    #[must_use]
    pub fn covers(&self, action: &str) -> bool {
        self.actions.as_ref().is_none_or(|actions| actions.iter().any(|one| one == action))
    }
}

/// Units that no policy ever treats, so that it can be asked what all policies together bring. Who they are follows from
/// `salt` and the unit alone; their decisions are logged in the arm `global_holdout`, and are in neither arm of a policy's
/// lift.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlobalHoldout {
    /// The share of units; a greater one takes more units into it and gives none back.
    pub share: Share,
    /// What it is drawn from, besides the unit. Another salt draws it anew.
    #[serde(default)]
    pub salt: Option<String>,
}
