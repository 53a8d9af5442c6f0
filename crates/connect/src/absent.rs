//! Systems that people look for and that have no connector of their own, with what reaches them instead.

/// A system without a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// The name it is looked for by; no connector has it.
    pub name: &'static str,
    /// What reaches it, in a few words.
    pub instead: &'static str,
}

const BY_ODBC: &str = "`odbc` with the system's driver, without a log of changes";
const BY_DRIVER: &str = "`adbc` to read, `odbc` to read and write, with the system's driver";
const BY_PROGRAM: &str = "a connector of `singer` or `airbyte`, or a `program` of your own";

/// All of them, by name.
pub const ABSENT: &[Absent] = &[
    Absent { name: "bigquery", instead: BY_DRIVER },
    Absent { name: "clickhouse", instead: BY_ODBC },
    Absent { name: "db2", instead: BY_ODBC },
    Absent { name: "duckdb", instead: BY_DRIVER },
    Absent { name: "elasticsearch", instead: BY_PROGRAM },
    Absent { name: "kinesis", instead: BY_PROGRAM },
    Absent { name: "mongodb", instead: BY_PROGRAM },
    Absent { name: "mqtt", instead: BY_PROGRAM },
    Absent { name: "oracle", instead: BY_ODBC },
    Absent { name: "pulsar", instead: BY_PROGRAM },
    Absent { name: "rabbitmq", instead: BY_PROGRAM },
    Absent { name: "sftp", instead: BY_PROGRAM },
    Absent { name: "snowflake", instead: BY_DRIVER },
    Absent { name: "sqlserver", instead: BY_ODBC },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::DESTINATIONS;
    use crate::source::SOURCES;

    #[test]
    fn what_is_absent_has_no_connector_and_what_is_named_instead_is_one() {
        let names: Vec<&str> = SOURCES
            .iter()
            .map(|entry| entry.name)
            .chain(DESTINATIONS.iter().map(|entry| entry.name))
            .collect();
        assert!(ABSENT.is_sorted_by_key(|absent| absent.name));
        for absent in ABSENT {
            assert!(!names.contains(&absent.name), "{} is there", absent.name);
            let instead: Vec<&str> = absent.instead.split('`').skip(1).step_by(2).collect();
            assert!(!instead.is_empty(), "{}", absent.name);
            assert!(instead.iter().all(|name| names.contains(name)), "{instead:?}");
        }
    }
}
