//! Rows without a value in the cursor of an incremental read. A first read has them, before all others; from then on no
//! comparison finds those that are added or changed, so each read begins with all of them again, or says that it does not.

/// How many of them a read has again at most.
pub(crate) const AGAIN_ROWS_MAX: u64 = 100_000;

/// What becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Whether the read begins with them.
    pub(crate) again: bool,
    /// What it is, for counting.
    pub(crate) code: &'static str,
    /// What a person should know.
    pub(crate) message: String,
}

impl Missing {
    /// What becomes of `count` rows without a value in the column `cursor`, of which `read` are known to have been read;
    /// none if there is nothing to do or to say. Rows that are only ever appended are never read twice.
    pub(crate) fn of(count: u64, read: Option<u64>, cursor: &str, appends: bool) -> Option<Self> {
        if count == 0 || (appends && read.is_some_and(|read| count <= read)) {
            return None;
        }
        let rows = match count {
            1 => "1 row has".to_owned(),
            count => format!("{count} rows have"),
        };
        let known = format!("{rows} no value in the cursor \"{cursor}\"");
        Some(if appends {
            let before =
                read.map_or_else(String::new, |read| format!(" ({read} were read at first)"));
            let message = format!(
                "{known}{before}: those that came later are not read, because rows that are appended would be there \
                 twice; fill the column in the source, or write with `merge` and a `key`"
            );
            Self { again: false, code: "rows-without-cursor", message }
        } else if count > AGAIN_ROWS_MAX {
            let message = format!(
                "{known}, more than the {AGAIN_ROWS_MAX} that are read again in each run: those that were added or \
                 changed are not read; fill the column in the source, choose another `cursor`, or let `flywheel \
                 reconcile` find them"
            );
            Self { again: false, code: "rows-without-cursor", message }
        } else {
            let message =
                format!("{known}: read again, because nothing tells which of them are new");
            Self { again: true, code: "rows-without-cursor-again", message }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_cursor_are_read_again_where_that_doubles_none() {
        assert_eq!(Missing::of(0, None, "at", false), None);
        // What the first read had is there.
        assert_eq!(Missing::of(2, Some(2), "at", true), None);
        for (count, read, appends, again) in [
            (1, Some(1), false, true),
            (AGAIN_ROWS_MAX, None, false, true),
            (AGAIN_ROWS_MAX + 1, None, false, false),
            (3, Some(2), true, false),
            (1, None, true, false),
        ] {
            let missing = Missing::of(count, read, "at", appends).unwrap();
            assert_eq!(missing.again, again, "{count} {appends}");
            assert!(missing.message.contains("cursor \"at\""), "{}", missing.message);
            assert_eq!(missing.message.contains("are not read"), !again, "{}", missing.message);
        }
    }
}
