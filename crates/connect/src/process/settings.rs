//! The settings that every connection to a program has.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flywheel_base::{Error, Result, Secret, quantity};
use serde_json::Value;

use super::{Mask, Program, located};

/// How long a program may be silent unless the connection says otherwise.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How much memory a program and its children may take unless the connection says otherwise.
const MEMORY_BYTES_MAX: u64 = 2 << 30;

/// The longest line unless the connection says otherwise.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// The shortest limit of a line that makes sense.
const LINE_BYTES_MIN: u64 = 1 << 10;

/// What a program may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long it may be silent.
    pub(crate) timeout: Duration,
    /// How much memory it and its children may have in use.
    pub(crate) memory_bytes_max: u64,
    /// How long a line of its output may be.
    pub(crate) line_bytes_max: usize,
}

/// A connection's settings as they are written.
#[derive(Clone, Debug)]
pub(crate) struct ProgramSettings<'a> {
    pub(crate) command: &'a [String],
    pub(crate) config: &'a Value,
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) timeout: Option<&'a str>,
    pub(crate) memory: Option<&'a str>,
    pub(crate) line_bytes_max: Option<&'a str>,
}

impl ProgramSettings<'_> {
    /// The program these settings describe, run in the project's folder.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a setting is impossible.
    pub(crate) fn program(&self, base_dir: &Path) -> Result<Program> {
        let Some((first, arguments)) = self.command.split_first() else {
            return Err(Error::invalid("the command is empty")
                .hint("Write the program and its arguments: `command: [tap-example]`."));
        };
        let dir = std::path::absolute(base_dir)
            .map_err(|error| Error::io("find the folder", base_dir, error))?;
        let name = Path::new(first).file_name().unwrap_or_default().to_string_lossy();
        let own = self.env.iter().map(|(name, value)| (name.clone(), Secret::new(value)));
        Ok(Program {
            name: name.into_owned(),
            path: located(first, &dir),
            arguments: arguments.to_vec(),
            dir,
            env: own.collect(),
            limits: self.limits()?,
            mask: Arc::new(Mask::new(self.config, self.env.values())),
        })
    }

    fn limits(&self) -> Result<Limits> {
        let timeout = match self.timeout {
            Some(text) => {
                Duration::from_micros(u64::try_from(quantity::duration_us(text)?).unwrap_or(0))
            }
            None => TIMEOUT,
        };
        if timeout.is_zero() {
            return Err(Error::invalid("a `timeout` of 0 leaves no time to answer"));
        }
        if self.memory.is_some() && !cfg!(target_os = "linux") {
            return Err(Error::invalid("`memory` is watched on Linux only")
                .hint("Leave it out here, and limit the program by other means."));
        }
        let memory_bytes_max = self.memory.map(quantity::size_bytes).transpose()?;
        let line_bytes_max = self.line_bytes_max.map(quantity::size_bytes).transpose()?;
        let line_bytes_max =
            line_bytes_max.unwrap_or(LINE_BYTES_MAX).clamp(LINE_BYTES_MIN, 1 << 30);
        Ok(Limits {
            timeout,
            memory_bytes_max: memory_bytes_max.unwrap_or(MEMORY_BYTES_MAX),
            line_bytes_max: usize::try_from(line_bytes_max).unwrap_or(usize::MAX),
        })
    }
}
