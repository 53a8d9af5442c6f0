//! The command line: global options, the list of commands, exit codes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgAction, Command};
use flywheel_base::{Clock, Error, Result, SystemClock, env};
use flywheel_connect::telemetry::Telemetry;
use flywheel_project::Choices;
use flywheel_runtime::{Access, Workspace};

use crate::command::COMMANDS;
use crate::dbt_words;
use crate::output::{Format, Output};

/// How a command ended, if no error stopped it (DESIGN §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// As asked.
    Done,
    /// Done, but data says no: a test or a model failed.
    Failed,
    /// A contract or guardrail forbids it.
    Blocked,
}

/// What every command gets.
pub(crate) struct App {
    /// The folder the user named or stands in.
    pub(crate) start: PathBuf,
    /// Where results go.
    pub(crate) output: Output,
    /// What is said about variables and a dbt project's target.
    pub(crate) choices: Choices,
    /// Whether traces and metrics go to a collector.
    pub(crate) telemetry: bool,
}

impl App {
    /// The project's folder.
    pub(crate) fn dir(&self) -> Result<PathBuf> {
        Workspace::find(&self.start)
    }

    /// Opens the project with the machine's clock.
    pub(crate) async fn open(&self, access: Access) -> Result<Workspace> {
        self.open_with(access, Arc::new(SystemClock)).await
    }

    /// Opens the project with another clock.
    pub(crate) async fn open_with(
        &self,
        access: Access,
        clock: Arc<dyn Clock>,
    ) -> Result<Workspace> {
        let dir = self.dir()?;
        self.open_dir(&dir, access, clock).await
    }

    /// Opens the project in `dir`.
    pub(crate) async fn open_dir(
        &self,
        dir: &Path,
        access: Access,
        clock: Arc<dyn Clock>,
    ) -> Result<Workspace> {
        let workspace = Workspace::open_with(dir, access, clock, &self.choices).await?;
        for notice in workspace.notices() {
            self.output.message(&notice);
        }
        Ok(workspace)
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let output = Output::default();
    match run(std::env::args_os()) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Failed) => ExitCode::from(1),
        Ok(Exit::Blocked) => ExitCode::from(3),
        Err(error) => {
            output.message(&error.report());
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<Exit> {
    let matches = match cli().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => match dbt_words::told(&error) {
            Some(error) => return Err(error),
            // Clap prints its own help and errors, and ends with 0 for help and 2 for mistakes.
            None => error.exit(),
        },
    };
    log_to_stderr(matches.get_count("verbose"));
    let format = matches.get_one::<Format>("output").copied().unwrap_or_default();
    let here = std::env::current_dir().map_err(|e| Error::io("find", Path::new("."), e))?;
    let start =
        matches.get_one::<PathBuf>("project").map_or_else(|| here.clone(), |dir| here.join(dir));
    let vars = matches.get_one::<String>("vars").map(|text| Choices::vars(text)).transpose()?;
    let target = matches.get_one::<String>("target").cloned();
    let choices = Choices { vars: vars.unwrap_or_default(), target };
    let Some((name, matches)) = matches.subcommand() else {
        return Err(Error::internal("clap let a missing command pass"));
    };
    let command = COMMANDS
        .iter()
        .find(|command| command.name == name)
        .ok_or_else(|| Error::internal(format!("command \"{name}\" is not in the list")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(THREAD_STACK_BYTES)
        .build()
        .map_err(|e| Error::internal("no async runtime").caused_by(e))?;
    let output = Output::new(format);
    let version = env!("CARGO_PKG_VERSION");
    let telemetry = Telemetry::start(version, runtime.handle()).unwrap_or_else(|error| {
        output.message(&format!("no telemetry: {}", error.report()));
        Telemetry::default()
    });
    let app = App { start, output, choices, telemetry: telemetry.is_on() };
    let done = runtime.block_on((command.run)(matches.clone(), app));
    if let Err(error) = telemetry.end() {
        output.message(&error.report());
    }
    // What somebody stopped waiting for, such as a receiver that does not answer, does not hold up the end. What it leaves
    // behind is what a kill would.
    runtime.shutdown_timeout(LEFT_TIME);
    done
}

/// How long threads that nobody waits for may go on once a command has ended.
const LEFT_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// Deeply nested SQL is planned recursively.
const THREAD_STACK_BYTES: usize = 8 << 20;

/// The whole command line.
pub(crate) fn cli() -> Command {
    let project = Arg::new("project")
        .short('C')
        .long("project")
        .value_name("DIR")
        .value_parser(clap::value_parser!(PathBuf))
        .global(true)
        .help("The project's folder; the one you stand in, or one above it, if absent");
    let output = Arg::new("output")
        .long("output")
        .value_name("FORMAT")
        .value_parser(clap::value_parser!(Format))
        .global(true)
        .help("How results are printed; a table for people if absent");
    let verbose = Arg::new("verbose")
        .short('v')
        .long("verbose")
        .action(ArgAction::Count)
        .global(true)
        .help("Shows what happens inside; twice for more (or set FLYWHEEL_LOG)");
    let vars = Arg::new("vars")
        .long("vars")
        .value_name("YAML")
        .global(true)
        .help("Variables that win over the project's: '{since: 2024-01-01}'");
    let target = Arg::new("target")
        .long("target")
        .value_name("NAME")
        .global(true)
        .help("The output of a dbt project's profile; the one the profile names if absent");
    let mut cli = Command::new("flywheel")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Turns data into decisions and proves what they changed")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args([project, output, verbose, vars, target]);
    for command in COMMANDS {
        cli = cli.subcommand((command.augment)(Command::new(command.name)).about(command.about));
    }
    cli
}

/// Libraries whose finer words are addresses, headers and answers of requests, in which keys stand.
const QUIET: &str = "hyper=info,h2=info,reqwest=info,opentelemetry=info";

/// Whether each line of the log is one JSON object, as programs that collect logs read it.
fn logs_json(format: Option<&str>) -> bool {
    format.is_some_and(|format| format.trim().eq_ignore_ascii_case("json"))
}

fn log_to_stderr(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let level = match verbose {
        0 => "error",
        1 => "flywheel=info,warn",
        _ => "flywheel=debug,info",
    };
    let filter = env::optional("FLYWHEEL_LOG").unwrap_or_else(|| level.to_owned());
    let fine = ["debug", "trace"].iter().any(|level| filter.to_lowercase().contains(level));
    let filter = if fine { format!("{filter},{QUIET}") } else { filter };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second call, as in tests, finds the first one's subscriber and that is fine.
    let begun = match logs_json(env::optional("FLYWHEEL_LOG_FORMAT").as_deref()) {
        true => lines.json().flatten_event(true).try_init(),
        false => lines.try_init(),
    };
    if begun.is_err() {
        tracing::debug!("logging was set up before");
    }
}
