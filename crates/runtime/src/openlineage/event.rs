//! Events and facets as JSON.

use flywheel_base::{Timestamp, digest};
use serde_json::{Map, Value, json};

/// Who made the events.
pub(super) const PRODUCER: &str = concat!("urn:flywheel:", env!("CARGO_PKG_VERSION"));

/// Where the published schemas are.
const SPEC: &str = "https://openlineage.io/spec";

/// The facets that are used: the key, the name of the schema, its version.
const FACETS: &[(&str, &str, &str)] = &[
    ("parent", "ParentRunFacet", "1-2-0"),
    ("errorMessage", "ErrorMessageRunFacet", "1-0-1"),
    ("processing_engine", "ProcessingEngineRunFacet", "1-1-1"),
    ("nominalTime", "NominalTimeRunFacet", "1-0-1"),
    ("jobType", "JobTypeJobFacet", "2-0-4"),
    ("sql", "SQLJobFacet", "1-1-0"),
    ("documentation", "DocumentationJobFacet", "1-1-0"),
    ("schema", "SchemaDatasetFacet", "1-2-0"),
    ("columnLineage", "ColumnLineageDatasetFacet", "1-2-0"),
    ("version", "DatasetVersionDatasetFacet", "1-0-1"),
    ("symlinks", "SymlinksDatasetFacet", "1-0-1"),
    ("outputStatistics", "OutputStatisticsOutputDatasetFacet", "1-0-2"),
    ("dataQualityAssertions", "DataQualityAssertionsDatasetFacet", "1-1-0"),
];

/// What a run has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Start,
    Complete,
    Fail,
    Abort,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Complete => "COMPLETE",
            Self::Fail => "FAIL",
            Self::Abort => "ABORT",
        }
    }
}

/// What an event is about.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    /// The run's id, a UUID.
    pub(super) run: String,
    /// The run's facets.
    pub(super) run_facets: Map<String, Value>,
    /// The job's namespace.
    pub(super) namespace: String,
    /// The job's name.
    pub(super) job: String,
    /// The job's facets.
    pub(super) job_facets: Map<String, Value>,
    /// What is read.
    pub(super) inputs: Vec<Value>,
    /// What is written.
    pub(super) outputs: Vec<Value>,
}

impl About {
    /// The event.
    pub(super) fn event(&self, phase: Phase, at: Timestamp) -> Value {
        json!({
            "eventType": phase.word(),
            "eventTime": at.to_string(),
            "run": {"runId": self.run, "facets": self.run_facets},
            "job": {"namespace": self.namespace, "name": self.job, "facets": self.job_facets},
            "inputs": self.inputs,
            "outputs": self.outputs,
            "producer": PRODUCER,
            "schemaURL": format!("{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"),
        })
    }

    /// The same with the error that ended it.
    pub(super) fn failed(&self, error: Option<&str>) -> Self {
        let mut failed = self.clone();
        let message = error.unwrap_or("it failed");
        add(
            &mut failed.run_facets,
            "errorMessage",
            json!({"message": message, "programmingLanguage": "SQL"}),
        );
        failed
    }
}

/// Adds a facet under its key.
pub(super) fn add(facets: &mut Map<String, Value>, key: &str, body: Value) {
    let Some((_, schema, version)) = FACETS.iter().find(|(known, _, _)| *known == key) else {
        debug_assert!(false, "the facet {key} is not in the list");
        return;
    };
    let mut facet = Map::new();
    facet.insert("_producer".to_owned(), PRODUCER.into());
    let url = format!("{SPEC}/facets/{version}/{schema}.json#/$defs/{schema}");
    facet.insert("_schemaURL".to_owned(), url.into());
    if let Value::Object(body) = body {
        facet.extend(body);
    }
    facets.insert(key.to_owned(), Value::Object(facet));
}

/// Adds a facet to what stands in an event under `place`: `facets`, `inputFacets` or `outputFacets` of a data set.
pub(super) fn add_to(object: &mut Value, place: &str, key: &str, body: Value) {
    let Value::Object(object) = object else { return };
    let facets = object.entry(place).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(facets) = facets {
        add(facets, key, body);
    }
}

/// A UUID that follows from `parts` alone, so that an event that is sent again is of the same run.
pub(super) fn uuid(parts: &[&str]) -> String {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    let hex = digest::hex(&parts);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    // Version 8, of which the content is ours to choose, and the variant of RFC 9562.
    format!("{}-{}-8{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the published schemas of the facets demand: key, required members, other members.
    const RULES: &[(&str, &[&str], &[&str])] = &[
        ("parent", &["run", "job"], &["root"]),
        ("errorMessage", &["message", "programmingLanguage"], &["stackTrace"]),
        ("processing_engine", &["version"], &["name", "openlineageAdapterVersion"]),
        ("nominalTime", &["nominalStartTime"], &["nominalEndTime"]),
        ("jobType", &["processingType", "integration"], &["jobType", "emissionPattern"]),
        ("sql", &["query"], &["dialect"]),
        ("documentation", &["description"], &["contentType"]),
        ("schema", &[], &["fields"]),
        ("columnLineage", &["fields"], &["dataset"]),
        ("version", &["datasetVersion"], &[]),
        ("symlinks", &[], &["identifiers"]),
        ("outputStatistics", &[], &["rowCount", "size", "fileCount"]),
        ("dataQualityAssertions", &["assertions"], &[]),
    ];

    fn text<'a>(value: &'a Value, key: &str) -> &'a str {
        value[key].as_str().unwrap_or_else(|| panic!("{key} is no text in {value}"))
    }

    fn members(value: &Value, required: &[&str], others: &[&str]) {
        let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
        for key in required {
            assert!(object.contains_key(*key), "{key} is missing in {value}");
        }
        for key in object.keys().filter(|key| !key.starts_with('_')) {
            let known = required.contains(&key.as_str()) || others.contains(&key.as_str());
            assert!(known, "{key} is unknown in {value}");
        }
    }

    fn facets(facets: &Value) {
        for (key, facet) in facets.as_object().into_iter().flatten() {
            let rule = RULES.iter().find(|(known, _, _)| known == key);
            let (_, required, others) = rule.unwrap_or_else(|| panic!("unknown facet {key}"));
            members(facet, required, others);
            assert!(text(facet, "_producer").starts_with("urn:"));
            assert!(text(facet, "_schemaURL").starts_with("https://openlineage.io/spec/facets/"));
        }
        for field in facets["schema"]["fields"].as_array().into_iter().flatten() {
            members(field, &["name"], &["type", "description", "ordinal_position", "fields"]);
        }
        for field in facets["columnLineage"]["fields"].as_object().into_iter().flatten() {
            members(field.1, &["inputFields"], &[]);
            for input in field.1["inputFields"].as_array().unwrap() {
                members(input, &["namespace", "name", "field"], &["transformations"]);
                for step in input["transformations"].as_array().unwrap() {
                    members(step, &["type"], &["subtype", "description", "masking"]);
                    assert!(["DIRECT", "INDIRECT"].contains(&text(step, "type")));
                }
            }
        }
        for one in facets["dataQualityAssertions"]["assertions"].as_array().into_iter().flatten() {
            let others = [
                "column",
                "severity",
                "name",
                "description",
                "expected",
                "actual",
                "content",
                "contentType",
                "params",
            ];
            members(one, &["assertion", "success"], &others);
            assert!(one["success"].is_boolean());
        }
    }

    /// Checks an event against what OpenLineage 2-0-2 demands.
    pub(in crate::openlineage) fn check(event: &Value) {
        let others = ["eventType", "inputs", "outputs"];
        members(event, &["run", "job", "eventTime", "producer", "schemaURL"], &others);
        let phases = ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"];
        assert!(phases.contains(&text(event, "eventType")), "{event}");
        Timestamp::parse(text(event, "eventTime")).unwrap();
        members(&event["run"], &["runId"], &["facets"]);
        let id = text(&event["run"], "runId");
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert!(id.chars().all(|c| c == '-' || c.is_ascii_hexdigit()), "{id}");
        facets(&event["run"]["facets"]);
        members(&event["job"], &["namespace", "name"], &["facets"]);
        facets(&event["job"]["facets"]);
        for (place, more) in [("inputs", "inputFacets"), ("outputs", "outputFacets")] {
            for set in event[place].as_array().unwrap() {
                members(set, &["namespace", "name"], &["facets", more]);
                facets(&set["facets"]);
                facets(&set[more]);
            }
        }
    }

    #[test]
    fn an_event_is_as_the_specification_says() {
        let about = About {
            run: uuid(&["run", "1"]),
            namespace: "shop".to_owned(),
            job: "model.mart.orders".to_owned(),
            inputs: vec![json!({"namespace": "flywheel://shop", "name": "raw.orders"})],
            ..About::default()
        };
        let at = Timestamp::parse("2024-05-01T12:00:00Z").unwrap();
        check(&about.event(Phase::Start, at));
        let failed = about.failed(Some("no such column")).event(Phase::Fail, at);
        check(&failed);
        assert_eq!(failed["run"]["facets"]["errorMessage"]["message"], "no such column");
        assert_eq!(failed["eventTime"], "2024-05-01T12:00:00Z");
        assert_eq!(uuid(&["run", "1"]), about.run);
        assert_ne!(uuid(&["run", "2"]), about.run);
    }
}
