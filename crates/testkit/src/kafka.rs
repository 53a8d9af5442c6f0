//! A throwaway Apache Kafka: one node that is broker and controller (KRaft).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::process::{Program, Watched, folder, free_port, run, wait_for};

/// The version whose jars `cargo xtask test` fetches; the same as in `xtask/src/servers.rs`.
const VERSION: &str = "4.4.0";

/// The Java runtime, where Debian puts it.
const JAVA: &str = "/usr/bin/java";

/// What to do if something is missing.
const INSTALL: &str = "cargo xtask test --fast (it fetches the jars; Debian's packages \
    openjdk-17-jre-headless and maven have to be there)";

/// The account the broker runs under.
const USER: &str = "root";

/// What the broker logs when it takes requests.
const READY: &str = "Kafka Server started";

/// How often ports that somebody else took first are replaced.
const PORT_TRIES: usize = 5;

/// The cluster's name for itself.
const CLUSTER: &str = "5L6g3nShT-eMCtK--X86sw";

/// A small Java that starts quickly.
const JVM: [&str; 7] = [
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Djava.awt.headless=true",
];

/// Settings of every broker: everything there once, and no waiting for company.
const SETTINGS: [(&str, &str); 22] = [
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    (
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT",
    ),
    ("sasl.enabled.mechanisms", "PLAIN"),
    ("auto.create.topics.enable", "false"),
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("log.cleaner.dedupe.buffer.size", "4194304"),
    ("log.index.size.max.bytes", "1048576"),
    ("num.network.threads", "2"),
    ("num.io.threads", "2"),
    ("background.threads", "2"),
    ("num.recovery.threads.per.data.dir", "1"),
    ("transaction.max.timeout.ms", "900000"),
];

/// A running broker. Its first listener asks for no login, its second one for that of
/// [`Kafka::USER`].
#[derive(Debug)]
pub struct Kafka {
    folder: TempDir,
    jars: PathBuf,
    ports: [u16; 3],
    server: Option<Watched>,
    failure: String,
    topics: AtomicU32,
}

impl Kafka {
    /// The user of the listener that asks for a login.
    pub const USER: &'static str = "tester";

    /// The password of that user.
    pub const PASSWORD: &'static str = "a password of the test broker";

    /// Starts a broker; takes 3 to 10 s.
    ///
    /// # Panics
    /// If Java or Kafka's jars are missing, with what installs them; if the broker does not start.
    #[must_use]
    pub fn start() -> Self {
        let jars = jars();
        if !Path::new(JAVA).exists() || !jars.exists() {
            panic!("Apache Kafka is not in {}: {INSTALL}", jars.display());
        }
        let mut kafka = Self {
            folder: folder(USER),
            jars,
            ports: [0; 3],
            server: None,
            failure: String::new(),
            topics: AtomicU32::new(0),
        };
        kafka.configure();
        let mut format = Command::new(JAVA);
        format.args(kafka.java("kafka.tools.StorageTool"));
        format.args(["format", "--cluster-id", CLUSTER, "--config"]).arg(kafka.settings());
        run(&mut format);
        for _ in 0..PORT_TRIES {
            if kafka.launch() {
                return kafka;
            }
            kafka.configure();
        }
        panic!("Apache Kafka does not start:\n{}", kafka.failure);
    }

    /// The address of the listener that asks for no login.
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// The address of the listener that asks for a login.
    #[must_use]
    pub fn login_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.ports[2])
    }

    /// A name that no other topic of this broker has; the topic is not made.
    #[must_use]
    pub fn topic(&self) -> String {
        format!("test{}", self.topics.fetch_add(1, Ordering::SeqCst))
    }

    /// Kills the broker at once, as a crash would; open connections break.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// Starts a stopped broker again, on the same ports with the same data.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.stop();
        if !self.launch() {
            panic!("Apache Kafka does not start again:\n{}", self.failure);
        }
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    /// The arguments of Java that run one of Kafka's programs.
    fn java(&self, class: &str) -> Vec<OsString> {
        let mut args: Vec<OsString> = JVM.iter().map(OsString::from).collect();
        args.extend(["-cp".into(), self.jars.join("*").into(), class.into()]);
        args
    }

    /// Chooses ports and writes the settings.
    fn configure(&mut self) {
        self.ports = [free_port(), free_port(), free_port()];
        let [plain, controller, login] = self.ports;
        let mut text = String::new();
        for (key, value) in SETTINGS {
            text.push_str(&format!("{key}={value}\n"));
        }
        let written = write!(
            text,
            "controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},LOGIN://127.0.0.1:{login}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{plain},LOGIN://127.0.0.1:{login}\n\
             listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{}=\"{}\";\n\
             log.dirs={}\n",
            Self::USER,
            Self::PASSWORD,
            self.folder.path().join("data").display(),
        );
        written.unwrap_or_else(|error| panic!("cannot write the settings: {error}"));
        let path = self.settings();
        std::fs::write(&path, text)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }

    /// Starts the process and waits until it answers; tells whether it does.
    fn launch(&mut self) -> bool {
        let folder = self.folder.path();
        let mut args = self.java("kafka.Kafka");
        args.push(self.settings().into());
        let program = Program { path: JAVA.into(), args, user: USER, signal: "KILL" };
        let log = folder.join("log");
        drop(std::fs::remove_file(&log));
        let server = Watched::start(folder, &log, &program);
        wait_for(|| {
            let said = server.log();
            said.contains(READY) || said.contains("Exception") || said.contains("Exiting")
        });
        let listens = TcpStream::connect(("127.0.0.1", self.ports[0])).is_ok();
        let ready = listens && server.log().contains(READY);
        if ready {
            self.server = Some(server);
        } else {
            self.failure = server.log();
            server.stop();
        }
        ready
    }
}

/// The folder of Kafka's jars: `$FLYWHEEL_KAFKA`, or the one `cargo xtask test` fetches them into.
fn jars() -> PathBuf {
    if let Some(folder) = std::env::var_os("FLYWHEEL_KAFKA") {
        return folder.into();
    }
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    home.join(".cache/flywheel-kafka").join(VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_answers_dies_and_starts_again_on_its_ports() {
        let mut kafka = Kafka::start();
        let address = kafka.brokers();
        assert!(TcpStream::connect(&address).is_ok());
        kafka.stop();
        assert!(TcpStream::connect(&address).is_err());
        kafka.restart();
        assert_eq!(kafka.brokers(), address);
        assert!(TcpStream::connect(kafka.login_brokers()).is_ok());
        let folder = kafka.folder.path().to_owned();
        drop(kafka);
        assert!(TcpStream::connect(&address).is_err());
        assert!(!folder.exists());
    }
}
