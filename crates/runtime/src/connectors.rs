//! The schemas of all connectors, as the project's parser needs them.

use std::collections::BTreeMap;

use flywheel_base::Result;
use flywheel_connect::action::ACTIONS;
use flywheel_connect::destination::DESTINATIONS;
use flywheel_connect::source::SOURCES;
use flywheel_connect::{check_clean, check_mask, is_private_place};
use flywheel_project::resource::query::QueryParameter;
use flywheel_project::{ColumnForms, ConnectorSchemas, Connectors, QueryForms, QueryReads};
use flywheel_transform::published_value;
use flywheel_warehouse::Reads;

/// Collects the schemas of every source, destination and action.
#[must_use]
pub fn schemas() -> Connectors {
    let mut connections = BTreeMap::new();
    for entry in SOURCES {
        let schemas = ConnectorSchemas {
            connection: (entry.connection_schema)(),
            stream: Some((entry.stream_schema)()),
            cdc: entry.cdc,
            target: None,
            upserts: false,
        };
        connections.insert(entry.name.to_owned(), schemas);
    }
    for entry in DESTINATIONS {
        let modes = entry.modes.iter().map(ToString::to_string).collect();
        let target = Some(((entry.target_schema)(), modes));
        let schemas =
            connections.entry(entry.name.to_owned()).or_insert_with(|| ConnectorSchemas {
                connection: (entry.connection_schema)(),
                stream: None,
                cdc: false,
                target: None,
                upserts: false,
            });
        schemas.target = target;
        schemas.upserts = entry.upserts;
    }
    let actions = ACTIONS.iter().map(|entry| (entry.name.to_owned(), (entry.schema)()));
    let forms = Some(ColumnForms {
        clean: check_clean,
        mask: check_mask,
        sql: flywheel_warehouse::check_expression,
    });
    let queries = Some(QueryForms { reads, value });
    let private = Some(is_private_place as fn(&str) -> bool);
    Connectors { connections, actions: actions.collect(), forms, queries, private }
}

/// Whether a text is a value of a parameter.
fn value(parameter: &QueryParameter, text: &str) -> Result<()> {
    published_value(parameter, Some(text)).map(drop)
}

/// What a published query reads.
fn reads(sql: &str) -> Result<QueryReads> {
    let Reads { parameters, tables } = flywheel_warehouse::reads(sql)?;
    Ok(QueryReads { parameters, tables })
}
