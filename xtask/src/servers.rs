//! The servers that tests start: they are programs of the system, installed here if they are missing.

use std::path::Path;
use std::process::Command;

use crate::{Result, process};

/// A server of Debian's, and where to look for it.
struct Server {
    package: &'static str,
    is_there: fn() -> bool,
}

/// Every server that a test starts.
const SERVERS: &[Server] = &[
    Server { package: "postgresql", is_there: || any_below("/usr/lib/postgresql", "bin/initdb") },
    Server { package: "mariadb-server", is_there: || Path::new("/usr/sbin/mariadbd").exists() },
];

/// Installs what is missing, or says exactly what to install.
pub(crate) fn ensure() -> Result<()> {
    let missing: Vec<&str> =
        SERVERS.iter().filter(|server| !(server.is_there)()).map(|server| server.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    println!("installing {} for the tests", missing.join(", "));
    let mut update = Command::new("apt-get");
    update.args(["update", "--quiet"]);
    let mut command = Command::new("apt-get");
    command.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(&missing);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    let installed = process::run(&mut update).and_then(|()| process::run(&mut command));
    installed.map_err(|error| {
        format!("{error}\nhint: the tests start real servers; as root run: {install}").into()
    })
}

/// Whether a folder has a folder that holds the file.
fn any_below(folder: &str, file: &str) -> bool {
    let Ok(versions) = std::fs::read_dir(folder) else { return false };
    versions.filter_map(std::result::Result::ok).any(|version| version.path().join(file).exists())
}
