//! Child processes: run one, read one, measure one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How often a child's peak memory is looked at. The kernel keeps the high-water mark, so only what
/// is allocated in the last of these before the end can be missed.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// The kernel's clock ticks per second in `/proc/*/stat`, the same on every Linux platform of ours.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a child cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Whether it ended with exit code 0.
    pub(crate) success: bool,
    /// Time on the wall, in seconds.
    pub(crate) wall_s: f64,
    /// Processor time, user and system, in seconds.
    pub(crate) cpu_s: f64,
    /// The most memory it held, in bytes; 0 where the system does not say.
    pub(crate) peak_bytes: u64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mebibytes = self.peak_bytes as f64 / 1_048_576.0;
        write!(f, "wall {:.1} s, CPU {:.1} s, peak {mebibytes:.0} MiB", self.wall_s, self.cpu_s)
    }
}

/// Runs a command in the foreground and says whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(command.status().map_err(|error| not_started(command, &error))?.success())
}

/// Runs a command in the foreground and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    if succeeds(command)? {
        return Ok(());
    }
    Err(format!("{} failed", shown(command)).into())
}

/// Runs a command and returns what it printed; its messages go to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| not_started(command, &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        return Err(format!("{} failed: {said}", shown(command)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command, hands each line of its output to `each`, and says whether it succeeded.
pub(crate) fn lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| not_started(command, &error))?;
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            each(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    }
    Ok(child.wait()?.success())
}

/// Runs a command to its end and measures it.
pub(crate) fn measure(command: &mut Command) -> Result<Cost> {
    let cpu_before = children_cpu_s();
    let started = Instant::now();
    let mut child = command.spawn().map_err(|error| not_started(command, &error))?;
    let mut peak_bytes = 0;
    let status = loop {
        peak_bytes = peak_bytes.max(peak_memory(&child));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(SAMPLE_EVERY);
    };
    Ok(Cost {
        success: status.success(),
        wall_s: started.elapsed().as_secs_f64(),
        cpu_s: children_cpu_s() - cpu_before,
        peak_bytes,
    })
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ")
}

fn not_started(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start {}: {error}", command.get_program().to_string_lossy())
}

/// Processor time of all children that have ended, in seconds.
fn children_cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses and may hold spaces.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(13).take(2);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// The high-water mark of a child's memory, in bytes.
fn peak_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes =
        line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measured_child_reports_its_time_and_memory() {
        let code = "x = bytearray(64 << 20)\nfor i in range(3000000): pass";
        let cost = measure(Command::new("python3").args(["-c", code])).unwrap();
        assert!(cost.success);
        assert!(cost.wall_s > 0.0 && cost.cpu_s > 0.0, "{cost:?}");
        assert!(cost.peak_bytes > 64 << 20, "{cost:?}");
    }

    #[test]
    fn a_failing_child_is_an_error_that_shows_what_was_typed() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "sh -c exit 3 failed");
    }
}
