//! The `quotas:` of `flywheel.yaml`: roles that there are, and limits with which a query can run.

use flywheel_base::suggest;

use super::Check;
use crate::diagnostic::Diagnostic;
use crate::resource::rule::Role;
use crate::yaml::Step;

/// With less no query sorts or groups.
const MEMORY_MIN_BYTES: u64 = 8 << 20;

impl Check<'_> {
    pub(super) fn quotas(&mut self) {
        let loaded = self.loaded;
        let Some(read) = &loaded.project else { return };
        let quotas = &read.value.quotas;
        let mut mistakes = Vec::new();
        for role in quotas.roles.keys().filter(|role| Role::of(role).is_none()) {
            let path = [Step::Key("quotas"), Step::Key("roles"), Step::Key(role)];
            let message = format!("quotas name the unknown role \"{role}\"");
            let hint = suggest::hint(role, Role::ALL.iter().map(|role| role.word()));
            mistakes.push(Diagnostic::error(read.node.find(&path).span, message).hint(hint));
        }
        for (kind, entries) in [("roles", &quotas.roles), ("users", &quotas.users)] {
            for (name, quota) in entries {
                let span = |key| {
                    let path =
                        [Step::Key("quotas"), Step::Key(kind), Step::Key(name), Step::Key(key)];
                    read.node.find(&path).span
                };
                if quota.memory.is_some_and(|memory| memory.bytes < MEMORY_MIN_BYTES) {
                    let message =
                        format!("the quota of \"{name}\" leaves a query too little memory");
                    let hint = "Write 8MiB or more; beyond it queries go on through the disk.";
                    mistakes.push(Diagnostic::error(span("memory"), message).hint(hint));
                }
                if quota.time.is_some_and(|time| time.micros < 1_000) {
                    let message = format!("the quota of \"{name}\" leaves a query no time");
                    let hint = "Write a length of time, such as 30s.";
                    mistakes.push(Diagnostic::error(span("time"), message).hint(hint));
                }
            }
        }
        for mistake in mistakes {
            self.push(&read.file, mistake);
        }
    }
}
