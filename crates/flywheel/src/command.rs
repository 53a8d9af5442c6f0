//! The commands, one file each. A new one is a file and a line in [`COMMANDS`].

mod act;
mod alert;
mod apply;
mod approvals;
mod audit;
mod backup;
mod build;
mod call;
mod catalogue;
mod check;
mod compare;
mod connectors;
mod databases;
mod demo;
mod discover;
mod environment;
mod erase;
mod experiment;
mod export;
mod grants;
mod import;
mod init;
mod lag;
mod learn;
mod lineage;
mod link;
mod merge;
mod metadata;
mod metric;
mod migrate;
mod model;
mod plan;
mod policy;
mod profile;
mod quality;
mod quarantine;
mod reconcile;
mod reference;
mod restore;
mod savings;
mod schedule;
mod schema;
mod search;
mod secret;
mod serve;
mod source;
mod split;
mod sql;
mod status;
mod sync;
mod test;
mod topic;
mod turn;
mod vacuum;

use std::future::Future;
use std::pin::Pin;

use clap::{ArgMatches, Args, Command};
use flywheel_base::{Error, Result};

use crate::app::{App, Exit};

/// A command under way.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<Exit>>>>;

/// One command.
pub(crate) struct CommandEntry {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// What it does, in a line.
    pub(crate) about: &'static str,
    /// Adds its options.
    pub(crate) augment: fn(Command) -> Command,
    /// Runs it.
    pub(crate) run: fn(ArgMatches, App) -> Running,
}

/// Every command, in the order of the help.
pub(crate) const COMMANDS: &[CommandEntry] = &[
    command::<demo::Demo>("demo"),
    command::<init::Init>("init"),
    command::<import::Import>("import"),
    command::<export::Export>("export"),
    command::<check::Check>("check"),
    command::<connectors::Connectors>("connectors"),
    command::<discover::Discover>("discover"),
    command::<sync::Sync>("sync"),
    command::<lag::Lag>("lag"),
    command::<reconcile::Reconcile>("reconcile"),
    command::<compare::Compare>("compare"),
    command::<migrate::Migrate>("migrate"),
    command::<split::Split>("split"),
    command::<merge::Merge>("merge"),
    command::<link::Link>("link"),
    command::<quarantine::Quarantine>("quarantine"),
    command::<topic::Topic>("topic"),
    command::<plan::Plan>("plan"),
    command::<apply::Apply>("apply"),
    command::<build::Build>("build"),
    command::<environment::Environment>("environment"),
    command::<test::Test>("test"),
    command::<source::Source>("source"),
    command::<quality::Quality>("quality"),
    command::<sql::Sql>("sql"),
    command::<call::Call>("call"),
    command::<lineage::Lineage>("lineage"),
    command::<catalogue::Catalogue>("catalogue"),
    command::<search::Search>("search"),
    command::<profile::Profile>("profile"),
    command::<savings::Savings>("savings"),
    command::<model::Model>("model"),
    command::<metric::Metric>("metric"),
    command::<learn::Learn>("learn"),
    command::<policy::Policy>("policy"),
    command::<approvals::Approvals>("approvals"),
    command::<experiment::Experiment>("experiment"),
    command::<act::Act>("act"),
    command::<turn::Turn>("turn"),
    command::<status::Status>("status"),
    command::<databases::Databases>("databases"),
    command::<metadata::Metadata>("metadata"),
    command::<serve::Serve>("serve"),
    command::<schedule::Schedule>("schedule"),
    command::<alert::Alert>("alert"),
    command::<grants::Grants>("grants"),
    command::<secret::Secret>("secret"),
    command::<audit::Audit>("audit"),
    command::<vacuum::Vacuum>("vacuum"),
    command::<erase::Erase>("erase"),
    command::<backup::Backup>("backup"),
    command::<restore::Restore>("restore"),
    command::<schema::Schema>("schema"),
    command::<reference::Reference>("reference"),
];

/// What a command is: its options, and what it does with them.
pub(crate) trait Runs: Args + Sized + 'static {
    /// What it does, in a line.
    const ABOUT: &'static str;

    /// Does it.
    fn run(self, app: App) -> impl Future<Output = Result<Exit>>;
}

const fn command<C: Runs>(name: &'static str) -> CommandEntry {
    CommandEntry { name, about: C::ABOUT, augment: C::augment_args, run: start::<C> }
}

fn start<C: Runs>(matches: ArgMatches, app: App) -> Running {
    Box::pin(async move {
        let command = C::from_arg_matches(&matches)
            .map_err(|e| Error::internal("clap and the command disagree").caused_by(e))?;
        command.run(app).await
    })
}
