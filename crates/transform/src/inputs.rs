//! What a build depended on, kept in one text of the metadata: the basis of building only what changed.

use std::fmt;

use flywheel_base::digest;

/// Changes when the meaning of these digests does, so that everything is looked at again once.
const FORMAT: &str = "1";

/// What the last passed build of a model depended on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// Of the rendered SQL, the configuration and the columns of everything read: as long as it is
    /// the same, the fingerprint is the same and nothing needs to be planned.
    pub(crate) source: String,
    /// Of the versions of everything read.
    pub(crate) data: String,
    /// Of the tests' definitions.
    pub(crate) tests: String,
    /// Of the versions of what the tests read besides the model.
    pub(crate) reads: String,
    /// Whether the query depends on the time at which it runs.
    pub(crate) timed: bool,
}

impl Inputs {
    /// Reads the text; nothing if another program version wrote it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [FORMAT, source, data, tests, reads, timed] = parts.as_slice() else { return None };
        Some(Self {
            source: (*source).to_owned(),
            data: (*data).to_owned(),
            tests: (*tests).to_owned(),
            reads: (*reads).to_owned(),
            timed: *timed == "timed",
        })
    }
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, data, tests, reads, timed } = self;
        let timed = if *timed { "timed" } else { "still" };
        write!(f, "{FORMAT}-{source}-{data}-{tests}-{reads}-{timed}")
    }
}

/// A digest of texts in their order.
pub(crate) fn of<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<T> = texts.into_iter().collect();
    let parts: Vec<&[u8]> = texts.iter().map(|text| text.as_ref().as_bytes()).collect();
    digest::short(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_others_wrote_is_not() {
        let inputs =
            Inputs { source: of(["a"]), data: of(["b"]), timed: true, ..Inputs::default() };
        assert_eq!(Inputs::parse(&inputs.to_string()), Some(inputs));
        for other in ["", "1-a-b", "0-a-b-c-d-still"] {
            assert_eq!(Inputs::parse(other), None);
        }
    }
}
