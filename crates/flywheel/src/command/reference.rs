//! `flywheel reference`: everything the generated reference pages are made from.

use clap::Args;
use flywheel_base::Result;
use flywheel_connect::action::ACTIONS;
use flywheel_connect::source::SOURCES;
use flywheel_decision::learner::LEARNERS;
use flywheel_project::resource::RESOURCES;
use flywheel_runtime::system;
use flywheel_warehouse::FUNCTIONS;
use serde_json::{Value, json};

use super::{COMMANDS, Runs};
use crate::app::{App, Exit};

/// Options of `flywheel reference`.
#[derive(Debug, Args)]
pub(crate) struct Reference {}

impl Runs for Reference {
    const ABOUT: &'static str = "Prints what the reference pages are made from, as JSON";

    async fn run(self, app: App) -> Result<Exit> {
        let resources: Vec<Value> = RESOURCES
            .iter()
            .map(|r| json!({"name": r.name, "folder": r.folder, "about": r.about, "schema": (r.schema)()}))
            .collect();
        let sources: Vec<Value> = SOURCES
            .iter()
            .map(|s| {
                json!({"name": s.name, "about": s.about, "connection_schema": (s.connection_schema)(), "stream_schema": (s.stream_schema)()})
            })
            .collect();
        let actions: Vec<Value> = ACTIONS
            .iter()
            .map(|a| json!({"name": a.name, "about": a.about, "schema": (a.schema)()}))
            .collect();
        let learners: Vec<Value> = LEARNERS
            .iter()
            .map(|l| json!({"name": l.name, "about": l.about, "columns": columns(l.columns)}))
            .collect();
        let commands: Vec<Value> = COMMANDS
            .iter()
            .map(|c| {
                let mut command = (c.augment)(clap::Command::new(c.name)).about(c.about).term_width(100);
                json!({"name": c.name, "about": c.about, "help": command.render_long_help().to_string()})
            })
            .collect();
        let functions: Vec<Value> = FUNCTIONS
            .iter()
            .map(
                |f| json!({"name": f.usage.split('(').next(), "about": f.about, "syntax": f.usage}),
            )
            .collect();
        let tables: Vec<Value> = system::all()
            .map(|t| json!({"name": t.name, "about": t.about, "columns": columns(t.columns)}))
            .collect();
        app.output.json(&json!({
            "resources": resources, "sources": sources, "actions": actions, "learners": learners,
            "commands": commands, "functions": functions, "system_tables": tables,
        }))?;
        Ok(Exit::Done)
    }
}

fn columns(columns: &[flywheel_decision::table::Column]) -> Vec<Value> {
    columns
        .iter()
        .map(|(name, kind, about)| json!({"name": name, "type": kind.sql(), "about": about}))
        .collect()
}
