//! What all test servers share: a process that cannot outlive the test, a free port, and waiting.
//!
//! ```text
//! test process ──pipe──► sh (watchdog) ──► server
//!                  └ closed by drop, exit or kill -9 of the test ⇒ the watchdog stops the server
//! ```
//! A death signal of the kernel would fire when the thread that started the server ends, which in a
//! test binary is long before the process does; the end of a pipe has no such flaw.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to answer.
const READY_MAX: Duration = Duration::from_secs(60);

/// How long to wait before asking again.
const POLL: Duration = Duration::from_millis(15);

/// Starts the server, stops it when the pipe on stdin ends, and removes its folder.
/// `$1` folder, `$2` signal, `$3` log, then the command.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
folder=$1; signal=$2; log=$3; shift 3
"$@" </dev/null >"$log" 2>&1 &
server=$!
while read -r word; do
  case $word in
    leave) rm=no ;;
  esac
done
# A server that has only just begun ignores the signal, as everything does that a shell puts into the background.
(while sleep 1; do kill -"$signal" "$server"; done) >/dev/null 2>&1 &
again=$!
kill -"$signal" "$server" 2>/dev/null
wait "$server" 2>/dev/null
kill -KILL "$again" 2>/dev/null
[ "$rm" = no ] || rm -rf "$folder"
"#;

/// A program to run as a server.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The user it runs as if the test runs as root, because servers refuse to run as root.
    pub user: &'static str,
    /// The signal that stops it at once, `QUIT`.
    pub signal: &'static str,
}

/// A server's process and its folder.
#[derive(Debug)]
pub struct Watched {
    child: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Watched {
    /// Starts `program` in `folder`, where its account may be, unlike perhaps where the tests run; its output goes to `log`.
    pub fn start(folder: &Path, log: &Path, program: &Program) -> Self {
        // What an earlier server in the folder wrote says nothing about this one; mostly there is none.
        std::fs::remove_file(log).unwrap_or_default();
        let mut child = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .args([folder.as_os_str(), program.signal.as_ref(), log.as_os_str()])
            .args(as_user(program.user))
            .arg(&program.path)
            .args(&program.args)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start sh: {error}"));
        let stdin = child.stdin.take();
        Self { child, stdin, log: log.to_owned() }
    }

    /// Stops the server and waits until it is gone; its folder stays.
    pub fn stop(mut self) {
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(b"leave\n").unwrap_or_else(|error| panic!("watchdog is gone: {error}"));
        }
    }

    /// The last lines the server wrote.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // The watchdog ends by itself; waiting only avoids a zombie.
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// A port nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0")
        .unwrap_or_else(|error| panic!("the loopback interface is not there: {error}"));
    listener.local_addr().map_or(0, |address| address.port())
}

/// Asks until `ready` answers yes; tells whether it did in time.
pub fn wait_for(mut ready: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < READY_MAX {
        if ready() {
            return true;
        }
        std::thread::park_timeout(POLL);
    }
    false
}

/// A temporary folder that `user` may write if the test runs as root.
pub(crate) fn folder(user: &str) -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("flywheel-test-")
        .tempdir()
        .unwrap_or_else(|error| panic!("no temporary folder: {error}"));
    own(folder.path(), user);
    folder
}

/// Gives a file or folder to `user` if the test runs as root.
pub(crate) fn own(path: &Path, user: &str) {
    if !is_root() {
        return;
    }
    let (uid, gid) = ids(user).unwrap_or_else(|| panic!("there is no user \"{user}\""));
    chown(path, Some(uid), Some(gid))
        .unwrap_or_else(|error| panic!("cannot give {} to {user}: {error}", path.display()));
    if path.is_dir() {
        let mode = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(path, mode)
            .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
    }
}

/// The words before a command that make it run as `user` if the test runs as root.
pub(crate) fn as_user(user: &str) -> Vec<OsString> {
    if !is_root() {
        return Vec::new();
    }
    ["setpriv", "--reuid", user, "--regid", user, "--init-groups"].map(OsString::from).to_vec()
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        panic!("{command:?} failed: {text}");
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.and_then(|line| line.split_whitespace().nth(1)) == Some("0")
}

fn ids(user: &str) -> Option<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
