//! Watches how much memory a program and its children have in use.
//!
//! A limit of address space would be simpler, but programs with a garbage collector reserve far more
//! than they use. So the memory in use is looked at, a few times each second; on Linux only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::group::Group;
use flywheel_base::task::TaskSet;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// Processes that are looked at; more of them means that there is no telling.
const PROCESSES_MAX: usize = 10_000;

/// Looks at a program's memory until it is dropped.
#[derive(Debug, Default)]
pub(super) struct MemoryWatch {
    passed: Arc<AtomicBool>,
    task: Option<TaskSet>,
}

impl MemoryWatch {
    /// Ends the group as soon as it uses more than `limit` bytes.
    pub(super) fn start(group: Option<Group>, limit: u64) -> Self {
        let mut watch = Self::default();
        let (Some(group), true) = (group, cfg!(target_os = "linux")) else { return watch };
        let passed = Arc::clone(&watch.passed);
        let mut task = TaskSet::default();
        task.start(async move {
            let mut clock = tokio::time::interval(EVERY);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                clock.tick().await;
                if in_use(group.0) <= limit {
                    continue;
                }
                passed.store(true, Ordering::SeqCst);
                group.kill();
                return Ok(());
            }
        });
        watch.task = Some(task);
        watch
    }

    /// Looks no more.
    pub(super) fn stop(&mut self) {
        self.task = None;
    }

    /// Whether the limit was passed.
    pub(super) fn passed(&self) -> bool {
        self.passed.load(Ordering::SeqCst)
    }
}

/// The bytes that a process and its descendants have in use; those that ended count nothing.
fn in_use(leader: i32) -> u64 {
    let mut todo = vec![leader];
    let (mut bytes, mut seen) = (0_u64, 0);
    while let Some(process) = todo.pop() {
        seen += 1;
        if seen > PROCESSES_MAX {
            return u64::MAX;
        }
        bytes = bytes.saturating_add(resident(process));
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { continue };
        for thread in threads.flatten() {
            let Ok(children) = std::fs::read_to_string(thread.path().join("children")) else {
                continue;
            };
            todo.extend(children.split_whitespace().filter_map(|id| id.parse::<i32>().ok()));
        }
    }
    bytes
}

fn resident(process: i32) -> u64 {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{process}/status")) else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_in_use() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(resident(own) > 1 << 20);
        assert!(in_use(own) >= resident(own) / 2);
    }
}
