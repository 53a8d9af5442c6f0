//! The servers that tests start: they are programs of the system, installed here if they are missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, process};

/// A server of Debian's, or what one runs on, and where to look for it.
struct Server {
    package: &'static str,
    is_there: fn() -> bool,
}

/// Every server that a test starts.
const SERVERS: &[Server] = &[
    Server { package: "postgresql", is_there: || any_below("/usr/lib/postgresql", "bin/initdb") },
    Server { package: "mariadb-server", is_there: || Path::new("/usr/sbin/mariadbd").exists() },
    Server { package: "openjdk-17-jre-headless", is_there: || Path::new("/usr/bin/java").exists() },
    // Only to fetch Kafka.
    Server {
        package: "maven",
        is_there: || kafka_folder().exists() || Path::new("/usr/bin/mvn").exists(),
    },
];

/// The version of Apache Kafka; the same as in `crates/testkit/src/kafka.rs`.
const KAFKA: &str = "4.4.0";

/// What Maven shall fetch: Kafka, and a logger that writes to the terminal.
const KAFKA_PROJECT: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>flywheel</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>KAFKA</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-api</artifactId><version>2.0.17</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>2.0.17</version>
    </dependency>
  </dependencies>
</project>
"#;

/// Installs what is missing, or says exactly what to install.
pub(crate) fn ensure() -> Result<()> {
    packages()?;
    kafka()
}

fn packages() -> Result<()> {
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

/// Fetches Kafka's jars unless they are there; the folder appears whole or not at all.
fn kafka() -> Result<()> {
    let folder = kafka_folder();
    if folder.exists() {
        return Ok(());
    }
    println!("fetching Apache Kafka {KAFKA} for the tests");
    let partial = folder.with_file_name(format!("{KAFKA}.partial-{}", std::process::id()));
    fs::create_dir_all(&partial)?;
    let project = partial.join("pom.xml");
    fs::write(&project, KAFKA_PROJECT.replace("KAFKA", KAFKA))?;
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "--file"]).arg(&project);
    maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", partial.display()));
    if let Err(error) = process::run(&mut maven) {
        fs::remove_dir_all(&partial)?;
        return Err(format!(
            "{error}\nhint: the tests start a real broker; put the jars of org.apache.kafka:kafka_2.13:{KAFKA} \
             and org.slf4j:slf4j-simple:2.0.17 with all they need into {}, or set FLYWHEEL_KAFKA to \
             the folder that has them",
            folder.display()
        )
        .into());
    }
    match fs::rename(&partial, &folder) {
        // Somebody else was faster.
        Err(_) if folder.exists() => Ok(fs::remove_dir_all(&partial)?),
        renamed => Ok(renamed?),
    }
}

/// The folder of Kafka's jars.
fn kafka_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("FLYWHEEL_KAFKA") {
        return folder.into();
    }
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    home.join(".cache/flywheel-kafka").join(KAFKA)
}

/// Whether a folder has a folder that holds the file.
fn any_below(folder: &str, file: &str) -> bool {
    let Ok(versions) = fs::read_dir(folder) else { return false };
    versions.filter_map(std::result::Result::ok).any(|version| version.path().join(file).exists())
}
