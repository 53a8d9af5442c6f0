//! What is known of a model's earlier builds.

use flywheel_state::{Build, Publication};

use crate::inputs::Inputs;

/// `tests` of a [`Build`] whose tests all passed.
pub(super) const PASSED: &str = "passed";
/// `tests` of a [`Build`] of which some test warned.
pub(super) const WARNED: &str = "warned";
/// `tests` of a [`Build`] that was published without tests.
pub(super) const UNTESTED: &str = "untested";

/// The last build that passed, and what readers see. Failed builds leave no trace here: what they
/// wrote is a version that nobody refers to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past<'a> {
    pub(super) build: Option<&'a Build>,
    pub(super) publication: Option<&'a Publication>,
}

impl Past<'_> {
    /// What the last passed build depended on.
    pub(super) fn inputs(&self) -> Option<Inputs> {
        self.build.and_then(|build| Inputs::parse(&build.inputs))
    }

    /// The version an increment starts from: the last one of this variant that passed.
    ///
    /// The build is recorded before readers move, so it is never older than the publication.
    pub(super) fn good_version(&self, fingerprint: &str, location: &str) -> Option<i64> {
        let same =
            |print: &str, place: Option<&str>| print == fingerprint && place == Some(location);
        let built = self
            .build
            .filter(|build| same(&build.fingerprint, build.location.as_deref()))
            .and_then(|build| build.version);
        built.or_else(|| {
            self.publication
                .filter(|seen| same(&seen.fingerprint, seen.location.as_deref()))
                .and_then(|seen| seen.version)
        })
    }
}
