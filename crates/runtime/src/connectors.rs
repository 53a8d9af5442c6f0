//! The schemas of all connectors, as the project's parser needs them.

use flywheel_connect::action::ACTIONS;
use flywheel_connect::source::SOURCES;
use flywheel_project::{ConnectorSchemas, Connectors};

/// Collects the schemas of every source and action.
#[must_use]
pub fn schemas() -> Connectors {
    let connections = SOURCES.iter().map(|entry| {
        let schemas = ConnectorSchemas {
            connection: (entry.connection_schema)(),
            stream: (entry.stream_schema)(),
        };
        (entry.name.to_owned(), schemas)
    });
    let actions = ACTIONS.iter().map(|entry| (entry.name.to_owned(), (entry.schema)()));
    Connectors { connections: connections.collect(), actions: actions.collect() }
}
