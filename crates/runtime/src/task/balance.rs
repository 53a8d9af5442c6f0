//! Whether the rows of a sync add up: each one that was read is written, set aside, filtered, replaced
//! by a later one with its key, only told that a row is gone, or was there already.

use std::cmp::Ordering;

use flywheel_base::Error;

use super::sync::Landed;

/// Rows whose end is known.
fn accounted(landed: &Landed) -> u64 {
    landed.rows_out
        + landed.rows_rejected
        + landed.rows_filtered
        + landed.rows_superseded
        + landed.rows_marked
        + landed.rows_unchanged
}

/// `balanced`, `lost` or `more`; none where the rows are not counted one by one.
pub(crate) fn verdict(landed: &Landed) -> Option<&'static str> {
    landed.counted.then(|| match accounted(landed).cmp(&landed.rows_in) {
        Ordering::Equal => "balanced",
        Ordering::Less => "lost",
        Ordering::Greater => "more",
    })
}

/// How the task ended.
pub(crate) fn status(landed: &Landed) -> &'static str {
    if lost(landed).is_some() { "failed" } else { "succeeded" }
}

/// What a person should know of rows that do not add up.
pub(crate) fn notice(landed: &Landed) -> Option<String> {
    verdict(landed).filter(|verdict| *verdict != "balanced").map(|_| sum(landed))
}

/// The error of rows that were read and that are nowhere. Another system may have left them out by a rule of its
/// own, such as a trigger; then it is only told. What lands in the lake has a version.
pub(crate) fn lost(landed: &Landed) -> Option<Error> {
    (verdict(landed) == Some("lost") && landed.version.is_some()).then(|| {
        let rows = landed.rows_in.saturating_sub(accounted(landed));
        let table = &landed.table;
        Error::internal(format!("{rows} rows for {table} were read and are lost: {}", sum(landed)))
            .hint(format!(
                "Compare {table} with its source, read it whole again with `flywheel sync NAME --restart`, and report this with the row of `system.tasks`."
            ))
    })
}

/// The sum in words.
fn sum(landed: &Landed) -> String {
    format!(
        "the rows do not add up: {} read, but {} written + {} set aside + {} filtered + {} superseded + {} marks of deletion + {} unchanged = {}",
        landed.rows_in,
        landed.rows_out,
        landed.rows_rejected,
        landed.rows_filtered,
        landed.rows_superseded,
        landed.rows_marked,
        landed.rows_unchanged,
        accounted(landed),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::sync::outcome;

    #[test]
    fn every_row_that_was_read_has_an_end() {
        let landed = Landed {
            table: "raw.orders".to_owned(),
            rows_in: 21,
            rows_out: 1,
            rows_rejected: 2,
            rows_filtered: 3,
            rows_superseded: 4,
            rows_marked: 5,
            rows_unchanged: 6,
            counted: true,
            ..Landed::default()
        };
        assert_eq!((verdict(&landed), status(&landed)), (Some("balanced"), "succeeded"));
        assert!(notice(&landed).is_none() && lost(&landed).is_none());
        assert_eq!(outcome(&landed).detail["balance"], "balanced");
    }

    #[test]
    fn a_row_that_is_nowhere_fails_its_task_and_one_too_many_is_told() {
        let landed = Landed {
            table: "raw.orders".to_owned(),
            rows_in: 10,
            rows_out: 8,
            rows_filtered: 1,
            version: Some(3),
            counted: true,
            ..Landed::default()
        };
        assert_eq!((verdict(&landed), status(&landed)), (Some("lost"), "failed"));
        let error = lost(&landed).unwrap();
        assert!(error.message().contains("1 rows for raw.orders"), "{error:?}");
        assert!(outcome(&landed).error.is_some());
        assert_eq!(outcome(&landed).detail["balance"], "lost");

        let more = Landed { rows_out: 10, ..landed.clone() };
        assert_eq!((verdict(&more), status(&more)), (Some("more"), "succeeded"));
        assert!(lost(&more).is_none() && notice(&more).unwrap().contains("= 11"));
        // A trigger of another system may have left it out.
        let outside = Landed { version: None, ..landed.clone() };
        assert_eq!((verdict(&outside), status(&outside)), (Some("lost"), "succeeded"));
        assert!(lost(&outside).is_none() && notice(&outside).is_some());
        // Where rows are not counted one by one nothing is claimed.
        let unknown = Landed { counted: false, ..landed };
        assert!(verdict(&unknown).is_none() && notice(&unknown).is_none());
    }
}
