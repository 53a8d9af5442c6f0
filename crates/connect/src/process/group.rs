//! The group of processes that a program and all that it starts belong to.

use std::process::{Command, Stdio};

/// A group of processes, named after the one that leads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group(pub(super) i32);

impl Group {
    /// Ends all processes of the group at once; those that are gone already are none of its business.
    ///
    /// The shell's own `kill` does it: the standard library ends single processes only.
    pub(super) fn kill(self) {
        let done = Command::new("/bin/sh")
            .args(["-c", "kill -s KILL -- \"-$1\"", "sh", &self.0.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if let Err(error) = done {
            tracing::warn!(group = self.0, %error, "processes of a program were not stopped");
        }
    }
}
