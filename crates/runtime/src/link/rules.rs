//! What a file declares, as reconciliation takes it.

use std::collections::BTreeMap;

use flywheel_project::resource::link::{
    AlikeMeasure, Deletes, FieldRule, Link, LinkLimits, MatchBy, Matching,
};
use flywheel_reconcile::deletes::{DeleteLimits, DeletePolicy};
use flywheel_reconcile::matching::{Contradiction, Exact, MatchRules, Measure, Part, Scored};
use flywheel_reconcile::three_way::{MergeRules, Rule};

/// The name under which the ids of both sides are compared.
pub(crate) const SAME_ID: &str = "id";

/// The rule of each field.
pub(super) fn merge_rules(link: &Link) -> MergeRules {
    let of_fields = link.fields.iter();
    let fields = of_fields
        .filter_map(|field| Some((field.name.clone(), rule(field.rule.as_ref()?))))
        .collect::<BTreeMap<_, _>>();
    MergeRules { fields, default: rule(&link.rule) }
}

fn rule(declared: &FieldRule) -> Rule {
    match declared {
        FieldRule::Left => Rule::Left,
        FieldRule::Right => Rule::Right,
        FieldRule::PreferLeftUnlessBlank => Rule::PreferLeftUnlessBlank,
        FieldRule::PreferRightUnlessBlank => Rule::PreferRightUnlessBlank,
        FieldRule::Latest { skew } => Rule::Latest { skew_us: skew.micros },
        FieldRule::Max => Rule::Max,
        FieldRule::Min => Rule::Min,
        FieldRule::Union { separator } => Rule::Union { separator: separator.clone() },
        FieldRule::MostRestrictive { order } => Rule::MostRestrictive { order: order.clone() },
        FieldRule::Expression { sql } => Rule::Expression { sql: sql.clone() },
        FieldRule::Manual => Rule::Manual,
    }
}

/// How records are matched.
pub(crate) fn match_rules(declared: &Matching) -> MatchRules {
    let exact = declared.exact.iter().map(|by| match by {
        MatchBy::Id => Exact::ExternalId { system: SAME_ID.to_owned() },
        MatchBy::Email(field) => Exact::Email { field: field.clone() },
        MatchBy::Phone(field) => Exact::Phone { field: field.clone() },
        MatchBy::Fields(fields) => Exact::Composite { fields: fields.clone() },
    });
    let scored = declared.alike.as_ref().map(|alike| Scored {
        parts: alike
            .parts
            .iter()
            .map(|part| Part {
                field: part.field.clone(),
                measure: measure(part.measure),
                weight: part.weight,
                at_least: part.at_least.value(),
            })
            .collect(),
        auto: alike.link.value(),
        review: alike.review.value(),
    });
    let contradiction = declared.unless.as_ref().map(|unless| Contradiction {
        field: unless.field.clone(),
        measure: measure(unless.measure),
        below: unless.below.value(),
    });
    MatchRules {
        exact: exact.collect(),
        contradiction,
        scored,
        calling_code: declared.calling_code.clone().unwrap_or_default(),
    }
}

fn measure(declared: AlikeMeasure) -> Measure {
    match declared {
        AlikeMeasure::Name => Measure::Name,
        AlikeMeasure::Company => Measure::Company,
        AlikeMeasure::Domain => Measure::Domain,
        AlikeMeasure::Email => Measure::Email,
        AlikeMeasure::Phone => Measure::Phone,
        AlikeMeasure::Text => Measure::Text,
    }
}

/// What a deletion means.
pub(super) fn delete_policy(declared: &Deletes) -> DeletePolicy {
    match declared {
        Deletes::Ignore => DeletePolicy::Ignore,
        Deletes::Archive { set } => DeletePolicy::Archive { set: set.clone() },
        Deletes::Propagate => DeletePolicy::Propagate,
    }
}

/// How much a run may change.
pub(super) fn limits(declared: &LinkLimits) -> DeleteLimits {
    DeleteLimits {
        max_deletes: declared.max_deletes,
        max_change_ratio: declared.max_change_ratio.value(),
    }
}
