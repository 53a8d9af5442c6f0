//! A program of somebody else, held at arm's length: what every connector that starts one shares.
//!
//! ```text
//! start ─► its output, line by line, while its input is written, if it has one ─► its end
//!    └── watched: silence, memory, stderr
//! ```
//! The program is the leader of a group of its own, and the whole group ends with [`Running`]: at
//! the end of a read, when a read is dropped, and when a limit is passed. It sees few variables of
//! the environment. What it was given as configuration never appears in an error.

mod group;
mod input;
mod mask;
mod memory;
mod output;
mod parts;
mod settings;
mod stderr;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use flywheel_base::{Error, ErrorKind, Result, Secret, env};
use tempfile::TempDir;
use tokio::io::BufReader;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use self::group::Group;
use self::memory::MemoryWatch;
use self::output::Begun;
use self::stderr::Stderr;

pub(crate) use self::mask::Mask;
pub(crate) use self::output::Line;
pub(crate) use self::parts::Part;
pub(crate) use self::settings::{Limits, ProgramSettings};

/// The variables of our environment that a program sees. Others may hold secrets that are not its own.
const INHERITED: [&str; 21] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "JAVA_HOME",
    "VIRTUAL_ENV",
];

/// How much of a program's output is read at once.
const OUTPUT_BUFFER_BYTES: usize = 256 << 10;

/// The longest answer to a question.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A program that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<String>,
    dir: PathBuf,
    env: Vec<(String, Secret)>,
    limits: Limits,
    mask: Arc<Mask>,
}

/// Files that only the program and we can read; they are gone with the program.
#[derive(Debug)]
pub(crate) struct PrivateFiles(TempDir);

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    program: Program,
    child: Child,
    group: Option<Group>,
    /// Open only if the program is fed, and until its input ends.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Whether its output is not to be read while it is fed, because it is closed or no text.
    silent: bool,
    /// What is read already of the next line.
    begun: Begun,
    stderr: Stderr,
    memory: MemoryWatch,
    ended: bool,
    _files: PrivateFiles,
}

impl PrivateFiles {
    /// Makes the folder for them.
    ///
    /// # Errors
    /// The kind of the I/O error.
    pub(crate) fn new() -> Result<Self> {
        let made = tempfile::Builder::new().prefix("flywheel-").tempdir();
        made.map(Self).map_err(|error| Error::io("make a folder in", &std::env::temp_dir(), error))
    }

    /// Writes one and says where it is.
    ///
    /// # Errors
    /// The kind of the I/O error.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<OsString> {
        use std::io::Write as _;
        let path = self.0.path().join(name);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| Error::io("write", &path, error))?;
        Ok(path.into_os_string())
    }
}

impl Program {
    /// What people call it: the file's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What hides the configuration in texts.
    pub(crate) fn mask(&self) -> &Mask {
        &self.mask
    }

    /// Starts it with more arguments after its own, and without input.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such program, [`ErrorKind::Denied`] if it may not be run.
    pub(crate) fn start(&self, arguments: Vec<OsString>, files: PrivateFiles) -> Result<Running> {
        self.spawn(arguments, files, Stdio::null())
    }

    /// Starts it with an input, which [`Running::feed`] writes.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub(crate) fn start_fed(
        &self,
        arguments: Vec<OsString>,
        files: PrivateFiles,
    ) -> Result<Running> {
        self.spawn(arguments, files, Stdio::piped())
    }

    fn spawn(
        &self,
        arguments: Vec<OsString>,
        files: PrivateFiles,
        stdin: Stdio,
    ) -> Result<Running> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).args(arguments).current_dir(&self.dir);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).process_group(0).env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((name, env::optional(name)?))));
        command.envs(self.env.iter().map(|(name, value)| (name, value.expose())));
        let mut child = command.spawn().map_err(|error| self.unstarted(error))?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        let group = leader.map(Group);
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::internal("a program was started without its output"));
        };
        Ok(Running {
            memory: MemoryWatch::start(group, self.limits.memory_bytes_max),
            stderr: Stderr::drain(stderr),
            stdin: child.stdin.take(),
            stdout: BufReader::with_capacity(OUTPUT_BUFFER_BYTES, stdout),
            silent: false,
            begun: Begun::default(),
            program: self.clone(),
            child,
            group,
            ended: false,
            _files: files,
        })
    }

    /// Runs it to its end and hands over what it wrote.
    ///
    /// # Errors
    /// As [`Program::start`] and [`Running::finish`]; [`ErrorKind::Exhausted`] if the answer is too long.
    pub(crate) async fn ask(
        &self,
        arguments: Vec<OsString>,
        files: PrivateFiles,
    ) -> Result<String> {
        let mut running = self.start(arguments, files)?;
        let (mut answer, mut line) = (Vec::new(), Vec::new());
        while let Some(kind) = running.line(&mut line).await? {
            if kind == Line::TooLong || answer.len() + line.len() > ANSWER_BYTES_MAX {
                return Err(Error::exhausted(format!("the answer of {} is too long", self.name)));
            }
            answer.extend_from_slice(&line);
            answer.push(b'\n');
        }
        running.finish().await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn unstarted(&self, error: std::io::Error) -> Error {
        let (name, shown) = (&self.name, self.path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound if !self.dir.is_dir() => {
                Error::io("run a program in", &self.dir, error)
            }
            std::io::ErrorKind::NotFound => {
                Error::not_found(format!("there is no program \"{shown}\"")).hint(format!(
                    "Install {name}, or write its whole path as the first item of `command`. A script needs its interpreter, too."
                ))
            }
            _ => Error::io("run", &self.path, error)
                .hint("Check that the file is a program and may be executed: chmod +x."),
        }
    }
}

impl Running {
    /// Waits for its end and proves that it ended well.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if it failed or does not end, [`ErrorKind::Invalid`] if it does not
    /// know its arguments, [`ErrorKind::Exhausted`] if it took too much memory.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let limit = self.program.limits.timeout;
        let Ok(waited) = tokio::time::timeout(limit, self.child.wait()).await else {
            return Err(self.silence("does not end after its last output").await);
        };
        let status = waited.map_err(|error| {
            Error::internal(format!("the end of {} was not seen", self.program.name))
                .caused_by(error)
        })?;
        self.stop();
        self.ended = true;
        let said = self.stderr.settle(&self.program.mask).await;
        if self.memory.passed() {
            let limit = self.program.limits.memory_bytes_max >> 20;
            return Err(Error::exhausted(format!(
                "{} was stopped: it took more than {limit} MiB of memory",
                self.program.name
            ))
            .hint("Raise `memory` of the connection, or let the program read less at once."));
        }
        self.judge(status, &said)
    }

    fn judge(&self, status: ExitStatus, said: &str) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        // By custom of shells and of argument parsers: not used rightly, not executable, not there.
        let kind = match status.code() {
            Some(2 | 126 | 127) => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        };
        let how = match status.code() {
            Some(code) => format!("ended with exit code {code}"),
            None => format!("was ended ({status})"),
        };
        Err(self.failure(kind, &how, said))
    }

    /// The error of a program that stopped being of use, with what it said last.
    fn failure(&self, kind: ErrorKind, how: &str, said: &str) -> Error {
        let name = &self.program.name;
        match said.lines().last() {
            None => Error::new(kind, format!("{name} {how}, without a word on stderr")),
            Some(last) if last.len() == said.len() => {
                Error::new(kind, format!("{name} {how}: {last}"))
            }
            Some(last) => Error::new(kind, format!("{name} {how}: {last}"))
                .caused_by(format!("its last words:\n{said}")),
        }
    }

    /// Ends a program that is silent, and says so.
    async fn silence(&mut self, how: &str) -> Error {
        self.stop();
        self.ended = true;
        let said = self.stderr.settle(&self.program.mask).await;
        let seconds = self.program.limits.timeout.as_secs_f64();
        let how = format!("was stopped: it {how} for {seconds} s");
        self.failure(ErrorKind::Unavailable, &how, &said)
            .hint("Raise `timeout` of the connection if the program needs longer to answer.")
    }

    /// Ends the program and all that it started.
    fn stop(&mut self) {
        self.memory.stop();
        let Some(group) = self.group.take() else { return };
        group.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The file a command names: one with a slash is relative to the project, others are searched for.
fn located(command: &str, dir: &Path) -> PathBuf {
    if command.contains('/') { dir.join(command) } else { PathBuf::from(command) }
}
