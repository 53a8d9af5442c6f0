//! Events of other tools, right and wrong.

use super::*;

fn reader() -> Reader {
    let ours = [("flywheel://shop", "raw.orders")];
    Reader {
        ours: ours
            .map(|(namespace, name)| Dataset {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
            .into(),
        events: 0,
        jobs: BTreeSet::new(),
        sets: BTreeSet::new(),
        edges: BTreeMap::new(),
    }
}

fn read(text: &str) -> (Reader, Vec<String>) {
    let (mut reader, mut mistakes) = (reader(), Vec::new());
    reader.text("events.jsonl", text, &mut mistakes);
    (reader, mistakes)
}

fn lines(reader: &Reader) -> Vec<String> {
    let end = |namespace: &Option<String>, name: &Option<String>, field: &Option<String>| {
        let field = field.as_ref().map(|field| format!(".{field}")).unwrap_or_default();
        match (namespace, name) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}{field}"),
            _ => "-".to_owned(),
        }
    };
    let mut lines: Vec<String> = reader
        .edges
        .values()
        .map(|edge| {
            let from = end(&edge.from_namespace, &edge.from_name, &edge.from_field);
            let to = end(&edge.to_namespace, &edge.to_name, &edge.to_field);
            format!("{}: {from} {} {to}", edge.job, edge.kind)
        })
        .collect();
    lines.sort();
    lines
}

const HEAD: &str = r#""eventTime":"2024-05-01T00:00:00Z","producer":"urn:spark","job":{"namespace":"spark","name":"load"}"#;

#[test]
fn columns_are_taken_where_they_are_told_and_data_sets_elsewhere() {
    let event = format!(
        r#"{{{HEAD},"eventType":"COMPLETE","inputs":[{{"namespace":"pg","name":"crm.people"}},{{"namespace":"pg","name":"crm.notes"}}],
        "outputs":[{{"namespace":"s3","name":"out","facets":{{"columnLineage":{{"fields":{{"mail":{{"inputFields":[
          {{"namespace":"pg","name":"crm.people","field":"mail","transformations":[{{"type":"DIRECT","subtype":"IDENTITY"}}]}},
          {{"namespace":"pg","name":"crm.people","field":"kind","transformations":[{{"type":"INDIRECT","subtype":"FILTER"}}]}}]}}}}}}}}}}]}}"#
    );
    let (reader, mistakes) = read(&format!("\n{event}\n{event}\n"));
    assert!(mistakes.is_empty(), "{mistakes:?}");
    assert_eq!((reader.events, reader.jobs.len(), reader.sets.len()), (2, 1, 3));
    assert_eq!(
        lines(&reader),
        [
            "load: pg/crm.notes transform s3/out",
            "load: pg/crm.people.kind filter s3/out.mail",
            "load: pg/crm.people.mail identity s3/out.mail",
        ]
    );
}

#[test]
fn a_data_set_with_a_name_of_ours_is_ours_and_a_failed_run_tells_nothing() {
    let set = r#"{"namespace":"hive","name":"x","facets":{"symlinks":{"identifiers":[{"namespace":"flywheel://shop","name":"raw.orders","type":"TABLE"}]}}}"#;
    let (reader, _) = read(&format!(r#"[{{{HEAD},"outputs":[{set}]}}]"#));
    assert_eq!(lines(&reader), ["load: - transform flywheel://shop/raw.orders"]);
    let (reader, _) = read(&format!(r#"{{{HEAD},"eventType":"FAIL","outputs":[{set}]}}"#));
    assert_eq!((reader.events, reader.edges.len()), (1, 0));
}

#[test]
fn a_mistake_is_told_with_its_file_and_line() {
    let good = format!("{{{HEAD}}}");
    let cases = [
        (
            format!("{good}\n{{\"eventTime\":\"2024-05-01T00:00:00Z\",\"producer\":\"x\"}}"),
            "events.jsonl:2: job.namespace is missing",
        ),
        (format!("{good}\n{good}\n{{oops"), "events.jsonl:3: it is no JSON"),
        (r#"{"eventTime":"soon"}"#.to_owned(), "events.jsonl:1: eventTime is no moment"),
        (format!(r#"[{good}, 7]"#), "events.jsonl:1: event 2: an event is an object"),
        (format!(r#"{{{HEAD},"inputs":{{}}}}"#), "events.jsonl:1: inputs is no list"),
        (
            format!(r#"{{{HEAD},"outputs":[{{"name":"x"}}]}}"#),
            "events.jsonl:1: the namespace of a data set is missing",
        ),
    ];
    for (text, expected) in cases {
        let (_, mistakes) = read(&text);
        assert_eq!(mistakes.len(), 1, "{text}");
        assert!(mistakes[0].starts_with(expected), "{} is not {expected}", mistakes[0]);
    }
}
