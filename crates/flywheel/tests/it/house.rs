//! A project in a temporary folder, and the binary to work on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A project folder that goes away with the test.
pub(crate) struct House {
    folder: tempfile::TempDir,
}

impl House {
    /// An empty project named `shop`.
    pub(crate) fn new() -> Self {
        let house = Self { folder: tempfile::tempdir().unwrap() };
        house.write("flywheel.yaml", "name: shop\n");
        house
    }

    /// A project made by `flywheel init`.
    pub(crate) fn from_template(template: &str) -> Self {
        let house = Self { folder: tempfile::tempdir().unwrap() };
        let target = house.path("p");
        let made = binary()
            .args(["init", "--template", template, "--name", "shop"])
            .arg(&target)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        house
    }

    /// The folder itself, or the project that `init` made below it.
    pub(crate) fn dir(&self) -> PathBuf {
        let made = self.folder.path().join("p");
        if made.is_dir() { made } else { self.folder.path().to_owned() }
    }

    /// A path below the temporary folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.dir().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Reads a file of the project.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir().join(name)).unwrap()
    }

    /// Runs the binary on the project.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        binary().arg("-C").arg(self.dir()).args(arguments).output().unwrap()
    }

    /// Runs the binary and expects that it ends well; gives what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "flywheel {arguments:?} ended with {:?}\n{}\n{}",
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs the binary and expects this exit code; gives what it complained about.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let complaint = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(code),
            "flywheel {arguments:?}\n{}\n{complaint}",
            text(&output.stdout)
        );
        assert!(!complaint.contains("panicked"), "{complaint}");
        complaint
    }

    /// Starts the binary, does something, and kills it `after` its start; tells whether it ran still.
    pub(crate) fn killed(
        &self,
        arguments: &[&str],
        after: Duration,
        meanwhile: impl FnOnce(),
    ) -> bool {
        let mut command = binary();
        command.arg("-C").arg(self.dir()).args(arguments);
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        meanwhile();
        // Parking may end early.
        while let Some(rest) = after.checked_sub(begun.elapsed()).filter(|rest| !rest.is_zero()) {
            std::thread::park_timeout(rest);
        }
        let runs = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        runs
    }

    /// The answer of a query as CSV lines, without the header.
    pub(crate) fn sql(&self, query: &str) -> Vec<String> {
        let answer = self.ok(&["sql", query, "--output", "csv"]);
        answer.lines().skip(1).map(str::to_owned).collect()
    }

    /// The answer of a query with one cell.
    pub(crate) fn cell(&self, query: &str) -> String {
        let lines = self.sql(query);
        assert_eq!(lines.len(), 1, "{query}: {lines:?}");
        lines[0].clone()
    }
}

/// The binary under test.
pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_flywheel"))
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The real data, if this machine has it; a test that needs it says loudly that it does not run.
pub(crate) fn real_data(folder: &str) -> Option<PathBuf> {
    let root = flywheel_base::env::optional("FLYWHEEL_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let found = root.join(folder);
    if found.is_dir() {
        return Some(found);
    }
    eprintln!(
        "NOT RUN: {} is absent; set FLYWHEEL_DATA to the folder of the real data",
        found.display()
    );
    None
}
