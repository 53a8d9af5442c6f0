//! Why the log of one table is not followed further, while the other tables of its reader go on.
//!
//! ```text
//! an error of one table ──► the log does not tell what it lacks ──► stops: kept with its position, until it is read whole again
//!                      └──► somebody can mend it                ──► waits: its position stays, and the next read tries again
//! ```

use flywheel_base::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// What becomes of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Only a whole read mends it; until then nothing of its log is for it.
    Stops,
    /// It goes on from its position once somebody has mended what is wrong.
    Waits,
}

impl Fate {
    /// What becomes of a table by an error; `known` says whether it was read whole. None if the error is not one of a single
    /// table, so that nothing can be read on.
    pub(crate) fn of(error: &Error, known: bool) -> Option<Self> {
        match error.kind() {
            ErrorKind::Blocked | ErrorKind::NotFound if known => Some(Self::Stops),
            ErrorKind::Blocked | ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::Denied => {
                Some(Self::Waits)
            }
            _ => None,
        }
    }
}

/// Why a table has stopped, as it is kept with its position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stop {
    why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Stop {
    /// Takes down why a table stops at `place` of its log.
    pub(crate) fn at(place: &str, error: &Error) -> Self {
        Self {
            why: format!("{} (its log is followed up to {place})", error.message()),
            hint: error.hint_text().map(str::to_owned),
        }
    }

    /// What is said by the read that stops.
    pub(crate) fn first(&self, error: Error) -> Error {
        self.hinted(Error::new(error.kind(), self.why.clone())).caused_by(error)
    }

    /// What is said by every later one.
    pub(crate) fn error(&self) -> Error {
        self.hinted(Error::blocked(self.why.clone()))
    }

    fn hinted(&self, error: Error) -> Error {
        match &self.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_whole_read_mends_stops_a_table_and_what_concerns_all_is_no_matter_of_one() {
        for (kind, known, expected) in [
            (ErrorKind::Blocked, true, Some(Fate::Stops)),
            (ErrorKind::NotFound, true, Some(Fate::Stops)),
            (ErrorKind::NotFound, false, Some(Fate::Waits)),
            (ErrorKind::Invalid, true, Some(Fate::Waits)),
            (ErrorKind::Denied, true, Some(Fate::Waits)),
            (ErrorKind::Unavailable, true, None),
            (ErrorKind::Corrupt, true, None),
        ] {
            assert_eq!(Fate::of(&Error::new(kind, "a"), known), expected, "{kind:?} {known}");
        }
    }

    #[test]
    fn every_later_read_says_what_the_first_one_said() {
        let error = Error::not_found("there is no table \"t\"").hint("Make it.");
        let stop = Stop::at("0/16B3748", &error);
        let first = stop.first(error);
        assert_eq!(first.kind(), ErrorKind::NotFound);
        assert!(first.message().contains("0/16B3748"), "{first:?}");
        let kept: Stop = serde_json::from_value(serde_json::to_value(&stop).unwrap()).unwrap();
        let later = kept.error();
        assert_eq!(later.kind(), ErrorKind::Blocked);
        assert_eq!((later.message(), later.hint_text()), (first.message(), first.hint_text()));
    }
}
