//! Whole folders: what a user reads when something is wrong, and what others get when nothing is.
//!
//! Each file in `tests-data/` holds the files of a folder and, last, the expected report. Run with
//! `UPDATE=1` to write the reports anew, then read them.

mod fuzz;
mod keys;

use std::fs;
use std::path::Path;

use schemars::json_schema;

use super::*;
use crate::model::IncrementalStrategy;
use crate::published::places;
use crate::resource::learner::{Recommend, RecommendAlgorithm, ValueModel};
use crate::resource::project_file::Materialized;
use crate::resource::properties::Severity;
use crate::resource::quantity::Duration;
use crate::resource::sync::Keep;

/// The line before each file in a case.
const MARK: &str = "=== ";

/// The name of the expected report.
const EXPECTED: &str = "expected";

fn connectors() -> Connectors {
    let csv = ConnectorSchemas {
        connection: json_schema!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "The folder of the files."},
                "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                "password": {"type": "string"}
            },
            "required": ["path"],
            "additionalProperties": false
        }),
        stream: Some(json_schema!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "delimiter": {"type": "string"},
                "encoding": {"enum": ["utf-8", "gb18030", "latin-1"]}
            },
            "additionalProperties": false
        })),
        cdc: false,
        target: None,
        upserts: false,
    };
    let database = ConnectorSchemas { cdc: true, ..csv.clone() };
    let crm = ConnectorSchemas {
        connection: json_schema!({
            "type": "object",
            "properties": {"url": {"type": "string"}},
            "additionalProperties": false
        }),
        stream: None,
        cdc: false,
        target: Some((
            json_schema!({
                "type": "object",
                "properties": {"object": {"type": "string"}},
                "required": ["object"],
                "additionalProperties": false
            }),
            vec!["merge".to_owned(), "mirror".to_owned()],
        )),
        upserts: true,
    };
    let people = ConnectorSchemas {
        stream: Some(json_schema!({
            "type": "object",
            "properties": {"object": {"type": "string"}},
            "required": ["object"],
            "additionalProperties": false
        })),
        ..crm.clone()
    };
    let file = json_schema!({
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
        "additionalProperties": false
    });
    let hook = json_schema!({
        "type": "object",
        "properties": {"url": {"type": "string"}, "allow_private": {"type": "boolean"}},
        "required": ["url"],
        "additionalProperties": false
    });
    let records = json_schema!({
        "type": "object",
        "properties": {
            "connection": {"type": "string"},
            "target": {"type": "object"},
            "key": {"type": "string"},
            "fields": {"type": "object"}
        },
        "required": ["connection", "target", "fields"],
        "additionalProperties": false
    });
    Connectors {
        connections: BTreeMap::from([
            ("csv".to_owned(), csv),
            ("crm".to_owned(), crm),
            ("database".to_owned(), database),
            ("people".to_owned(), people),
        ]),
        actions: BTreeMap::from([
            ("crm".to_owned(), records),
            ("file".to_owned(), file),
            ("hook".to_owned(), hook),
        ]),
        forms: Some(ColumnForms { clean: known_clean, mask: known_mask, sql: known_sql }),
        queries: Some(QueryForms { reads: known_reads, value: known_value }),
        private: Some(known_private),
    }
}

fn known_private(text: &str) -> bool {
    text.contains("127.0.0.1")
}

/// Stands for the checks of the connectors: a name, perhaps with arguments.
fn known_clean(text: &str) -> Result<()> {
    known_form(text, &["trim", "phone", "date"]).map(drop)
}

fn known_mask(text: &str) -> Result<bool> {
    let name = known_form(text, &["hmac", "redact"])?;
    if name == "hmac" && !text.contains("${") {
        return Err(Error::invalid("hmac: the key is not a reference").hint("Write ${env:NAME}."));
    }
    Ok(name == "hmac")
}

fn known_sql(text: &str) -> Result<()> {
    match text.matches('(').count() == text.matches(')').count() {
        true => Ok(()),
        false => Err(Error::invalid("the SQL has an open bracket").hint("Close it.")),
    }
}

/// Stands for the engine's parser: it knows one misspelled word, and tables by what stands before them.
fn known_reads(sql: &str) -> Result<QueryReads> {
    if let Some(at) = sql.find("form ") {
        let before = &sql[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().len() + 1;
        let cause = format!(
            "sql parser error: Expected: end of statement, found: form at Line: {line}, Column: {column}"
        );
        return Err(Error::invalid("the SQL cannot be parsed")
            .caused_by(cause)
            .hint("Look at the place that the message names."));
    }
    let words: Vec<&str> = sql.split_whitespace().collect();
    let tables = words
        .windows(2)
        .filter(|pair| pair[0] == "from")
        .map(|pair| pair[1].trim_end_matches(')').to_owned());
    let parameters = places(sql).into_iter().map(|(name, _)| name);
    Ok(QueryReads { parameters: parameters.collect(), tables: tables.collect() })
}

fn known_value(parameter: &QueryParameter, text: &str) -> Result<()> {
    if parameter.column_type == "int64" && text.parse::<i64>().is_err() {
        return Err(Error::invalid("the text is no int64").hint("Write one such as 42."));
    }
    Ok(())
}

fn known_form<'a>(text: &'a str, known: &[&'static str]) -> Result<&'a str> {
    let name = text.split('(').next().unwrap_or_default();
    if known.contains(&name) {
        return Ok(name);
    }
    Err(Error::invalid(format!("there is no \"{name}\""))
        .hint(suggest::hint(name, known.iter().copied())))
}

/// Splits a case into files; escapes stand for bytes an editor would not keep.
fn split(case: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in case.lines() {
        match (line.strip_prefix(MARK), files.last_mut()) {
            (Some(name), _) => files.push((name.trim().to_owned(), String::new())),
            (None, Some((_, text))) => {
                text.push_str(&line.replace("\\t", "\t"));
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    files
}

fn write(dir: &Path, files: &[(String, String)]) {
    for (name, text) in files.iter().filter(|(name, _)| name != EXPECTED) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn report(dir: &Path) -> String {
    let outcome = Project::load(dir, &connectors());
    let diagnostics = match &outcome {
        Ok(project) => &project.warnings,
        Err(diagnostics) => diagnostics,
    };
    if diagnostics.is_empty() { "clean".to_owned() } else { diagnostics.render() }
}

#[test]
fn every_mistake_is_reported_with_place_and_hint() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data");
    let update = flywheel_base::env::optional("UPDATE").is_some();
    let mut cases: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() > 5);
    let mut wrong = Vec::new();
    for path in cases {
        let case = fs::read_to_string(&path).unwrap();
        let files = split(&case);
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &files);
        let found = report(dir.path());
        let expected = files.iter().find(|(name, _)| name == EXPECTED);
        if expected.is_none_or(|(_, text)| text.trim_end() != found.trim_end()) {
            if update {
                let end = case.find("=== expected").unwrap_or(case.len());
                fs::write(&path, format!("{}=== expected\n{found}\n", &case[..end])).unwrap();
            } else {
                wrong.push(format!("{}:\n{found}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

fn loaded(case: &str) -> Project {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &split(case));
    Project::load(dir.path(), &connectors()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn a_published_query_reads_tables_by_ref_and_by_name() {
    let project = loaded(
        "=== flywheel.yaml\nname: t\n=== models/marts/orders.sql\nselect 1 as a\n=== models/marts/lands.sql\nselect 1 as a\n\
         === queries/q.yaml\nquery: q\nsql: select a from {{ ref('orders') }} where a in (select a from marts.lands) and a = $n\n\
         parameters: [{name: n, type: int64, default: 7}]\n",
    );
    let query = &project.queries["q"];
    assert_eq!((query.file.as_str(), query.line), ("queries/q.yaml", 1));
    assert_eq!((query.rows_max(), query.timeout_ms()), (1_000, 30_000));
    assert_eq!(query.parameters[0].default_text().as_deref(), Some("7"));
    let id = NodeId::new(NodeKind::Query, "q");
    let read: Vec<String> = project.graph.upstream(&id).map(ToString::to_string).collect();
    assert_eq!(read, ["model \"lands\"", "model \"orders\""]);
}

#[test]
fn what_a_grant_names_and_its_holders_do_not_see_is_warned_of() {
    let case = |reads: &str| {
        format!(
            "=== flywheel.yaml\nname: t\ngroups: {{sales: {{users: [ann]}}}}\n=== models/marts/orders.sql\nselect 1 as id\n\
             === metrics/orders.yaml\nsemantic: orders\ntable: ref('orders')\nentities: {{order: {{type: primary, key: id}}}}\n\
             measures: {{orders: {{aggregate: count}}}}\nmetrics: {{orders: {{measure: orders}}}}\n\
             === dashboards/board.yaml\ndashboard: board\ntiles: [{{tile: orders, metrics: [orders]}}]\n\
             === grants/finance.yaml\ngrant: finance\nask: ada\nto: {{users: [bo]}}\nread: {{tables: [marts.orders], metrics: [orders]}}\n\
             === grants/sales.yaml\ngrant: sales\nask: ada\nto: {{groups: [sales]}}\nread: {reads}\n"
        )
    };
    let warned = |reads: &str| {
        let project = loaded(&case(reads));
        project.warnings.iter().cloned().collect::<Vec<_>>()
    };
    let lacking = warned("{dashboards: [board]}");
    let [one] = lacking.as_slice() else { panic!("{lacking:?}") };
    assert_eq!((one.file.as_str(), one.severity), ("grants/sales.yaml", crate::Severity::Warning));
    assert!(one.message.contains("dashboard \"board\", which is not seen by the group sales"));
    // What hides it is named, not what lies between.
    assert_eq!(one.hint.as_deref(), Some("Grant these as well: metrics orders."));
    let lacking = warned("{dashboards: [board], metrics: [orders]}");
    let hints: Vec<_> = lacking.iter().map(|one| one.hint.as_deref()).collect();
    let tables = Some("Grant these as well: tables marts.orders.");
    assert_eq!(hints, [tables, tables], "the dashboard and the metric: {lacking:?}");
    for whole in
        ["{dashboards: [board], metrics: [orders], tables: [marts.*]}", "{dashboards: ['*']}"]
    {
        assert!(warned(whole).is_empty(), "{whole}: {:?}", warned(whole));
    }
}

#[test]
fn an_address_of_the_own_network_that_is_not_called_is_warned_of() {
    let warned = |options: &str| {
        let project = loaded(&format!(
            "=== flywheel.yaml\nname: t\n=== actions/hook.yaml\naction: hook\ntype: hook\noptions: {options}\n"
        ));
        project.warnings.iter().map(|one| one.message.clone()).collect::<Vec<_>>()
    };
    let told = warned("{url: 'http://127.0.0.1:9/x'}");
    assert!(matches!(told.as_slice(), [one] if one.contains("`url`")), "{told:?}");
    for fine in [
        "{url: 'http://127.0.0.1:9/x', allow_private: true}",
        "{url: 'https://hooks.example.com/127'}",
        "{url: '${env:HOOK_AT_127.0.0.1}'}",
    ] {
        assert!(warned(fine).is_empty(), "{fine}: {:?}", warned(fine));
    }
}

#[test]
fn a_draft_is_checked_as_if_what_is_hidden_was_not_declared() {
    let dir = tempfile::tempdir().unwrap();
    let case = "=== flywheel.yaml\nname: t\n=== models/marts/orders.sql\nselect 1 as id\n=== models/hr/salaries.sql\nselect 1 as id\n\
                === models/sources.yml\nversion: 2\nsources:\n  - name: vault\n    tables: [{name: pay}]\n  - name: shop\n    \
                tables: [{name: carts}, {name: pay}]\n";
    write(dir.path(), &split(case));
    let (connectors, choices) = (connectors(), Choices::default());
    let project = Project::load(dir.path(), &connectors).unwrap();
    let checked = |reads: &str, rest: &str| {
        let text = format!("query: q\nsql: select id from {{{{ {reads} }}}}\n{rest}");
        let draft = Draft::of_query(&project, "q", &text).unwrap();
        let hides = |id: &NodeId| {
            ["salaries", "vault.pay", "shop.pay"].contains(&id.name.as_str())
                || id.kind == NodeKind::Query
        };
        Project::mistakes_of_draft(dir.path(), &connectors, &choices, &draft, &hides)
    };
    let told = |name: &str| checked(&format!("ref('{name}')"), "");
    assert!(!told("orders").has_errors(), "{}", told("orders"));
    let (hidden, missing) = (told("salaries"), told("nowheres"));
    assert!(hidden.has_errors() && hidden.iter().all(|one| one.hint.is_none()), "{hidden}");
    assert_eq!(hidden.render().replace("salaries", "nowheres"), missing.render());

    // A schema of which nothing is seen is none, and of one that is seen no table is told apart, also beside a mistake.
    let source = |source: &str, table: &str, rest: &str| {
        checked(&format!("source('{source}', '{table}')"), rest).render()
    };
    let hidden = source("vault", "pay", "");
    assert!(hidden.contains("names an unknown source"), "{hidden}");
    assert_eq!(hidden.replace("vault", "voids"), source("voids", "pay", ""));
    assert_eq!(source("shop", "pay", ""), "");
    let wrong = "titel: x\n";
    let hidden = source("shop", "pay", wrong);
    assert!(hidden.contains("titel"), "{hidden}");
    assert_eq!(hidden, source("shop", "nil", wrong));
}

#[test]
fn a_clean_project_holds_what_the_files_say() {
    let project = loaded(include_str!("../../tests-data/clean.txt"));
    let orders = &project.models["stg_orders"];
    assert_eq!(orders.relation(), "staging.stg_orders");
    assert_eq!(orders.config.materialized, Materialized::Incremental, "config() wins");
    assert_eq!(orders.config.incremental_strategy, IncrementalStrategy::Merge);
    assert_eq!(orders.config.unique_key, ["order_id"]);
    assert_eq!(orders.config.tags, ["daily", "hourly"], "tags add up");
    let customers = &project.models["customers"];
    assert_eq!(customers.description.as_deref(), Some("One row per customer."));
    let names: Vec<&str> = project.model_tests().map(|test| test.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "unique_customers_customer_id",
            "not_null_customers_customer_id",
            "accepted_values_customers_kind__new__old",
            "relationships_customers_kind__kind__ref_raw_customers_",
            "source_not_null_raw_orders_order_id",
        ]
    );
    let landed = project.sources["raw.orders"].landed_by.as_ref().unwrap();
    assert_eq!((landed.sync.as_str(), landed.stream.as_str()), ("shop", "orders"));
    assert_eq!(project.learners["stages"].kind().unwrap().name(), "segment");
    let worth = project.learners["worth"].value.value.as_ref().unwrap();
    assert_eq!((worth.horizon, worth.model), (Duration::days(182), ValueModel::ParetoNbd));
    assert_eq!(worth.holdout, None, "as long as the horizon");
    let next = project.learners["next_items"].value.recommend.as_ref().unwrap();
    let options = serde_json::json!({"factors": 128, "confidence": 40.0, "value": "occasions"});
    assert_eq!((next.algorithm.name(), next.options().unwrap()), ("ials", options));
    let plain = Recommend { algorithm: RecommendAlgorithm::Ease, ..next.clone() };
    assert!(plain.options().unwrap().is_null(), "what is for another algorithm is not handed on");
    assert_eq!(
        (project.actions["outbox"].file.as_str(), project.actions["outbox"].line),
        ("actions/outbox.yaml", 1)
    );
    let order: Vec<&str> = project.graph.order().iter().map(|id| id.name.as_str()).collect();
    assert_eq!(
        order,
        [
            "files",
            "shop",
            "raw.customers",
            "raw.orders",
            "stg_orders",
            "customers",
            "euros",
            "next_items",
            "stages",
            "worth",
            "welcome",
            "outbox"
        ]
    );
    assert_eq!(project.singular_tests["no_negative_amounts"].severity, Severity::Warn);
}

#[test]
fn columns_say_how_they_are_cleaned_and_hidden() {
    let project = loaded(include_str!("../../tests-data/mapping_clean.txt"));
    let stream = &project.syncs["crm"].streams[0];
    assert_eq!(stream.keep, Keep::Declared);
    let [id, phone, email, since] = stream.columns.as_slice() else { panic!("{stream:?}") };
    assert_eq!((id.clean.len(), id.mask.as_deref()), (0, Some("hmac(key=${env:PII_KEY})")));
    assert_eq!(
        (phone.source_name(), phone.clean.as_slice()),
        ("tel", &["phone(CN)".to_owned()][..])
    );
    assert_eq!(email.column_type, None);
    assert_eq!(since.clean, ["trim", "date(dmy)"]);
    assert_eq!(project.syncs["crm"].streams[1].drop, ["note"]);
}

#[test]
fn a_model_renders_with_the_projects_own_names() {
    let project = loaded(include_str!("../../tests-data/clean.txt"));
    let model = &project.models["stg_orders"];
    let sql = |incremental| {
        model
            .render(&RenderContext {
                vars: &project.file.vars,
                incremental,
                this: model.relation(),
                resolve_ref: &|name| project.ref_relation(name),
                resolve_source: &|source, table| Ok(project.source_relation(source, table)),
            })
            .unwrap()
    };
    assert_eq!(sql(false), "\nselect * from raw.orders\nwhere day >= '2024-01-01'\n");
    assert!(sql(true).contains("(select max(day) from staging.stg_orders)"));
    let euros = &project.models["euros"];
    assert!(euros.refs.contains("stg_orders"), "a macro's references are the model's");
    let context = RenderContext {
        vars: &project.file.vars,
        incremental: false,
        this: euros.relation(),
        resolve_ref: &|name| project.ref_relation(name),
        resolve_source: &|source, table| Ok(project.source_relation(source, table)),
    };
    let expected = "select round(amount / 100, 2) as amount from staging.stg_orders";
    assert_eq!(euros.render(&context).unwrap(), expected);
    assert_eq!(project.render_sql("{{ euros('x') }}", &context).unwrap(), "round(x / 100, 2)");
    assert_eq!(project.references("{{ all_orders() }}").unwrap().len(), 1);
}

#[test]
fn strange_files_are_mistakes_too() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("connections/folder.yaml")).unwrap();
    fs::create_dir_all(at("models")).unwrap();
    fs::write(at("flywheel.yaml"), "name: shop\n").unwrap();
    fs::write(at("connections/latin.yaml"), b"connection: a\ntype: caf\xe9\n").unwrap();
    fs::write(at("connections/huge.yaml"), " ".repeat(2 << 20)).unwrap();
    fs::write(at("connections/.hidden.yaml"), "not: read").unwrap();
    fs::write(at("connections/notes.txt"), "not read").unwrap();
    fs::write(at("models/sp ace.sql"), "select 1").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(b"connections/\xff.yaml");
        fs::write(dir.path().join(name), "connection: b").unwrap();
        std::os::unix::fs::symlink(dir.path(), at("models/loop")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("connections/dangling.yaml")).unwrap();
    }
    let report = report(dir.path());
    for expected in [
        "the file is not UTF-8 text (line 2, column 10)",
        "the file is larger than 1 MiB",
        "the file cannot be read",
        "the file's name is not UTF-8",
        "model \"sp ace\" is not a good name",
    ] {
        assert!(report.contains(expected), "{expected} in\n{report}");
    }
    assert_eq!(report.matches("error:").count(), 5, "{report}");
}

#[test]
fn the_project_is_found_from_a_folder_inside_it() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("models/marts");
    fs::create_dir_all(&inside).unwrap();
    assert!(Project::find(&inside).unwrap_err().hint_text().is_some());
    fs::write(dir.path().join("flywheel.yaml"), "name: x").unwrap();
    assert_eq!(Project::find(&inside).unwrap(), dir.path());
}

#[test]
fn mistakes_travel_as_one_error_and_as_json() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("flywheel.yaml"), "nmae: 数据\n").unwrap();
    let mistakes = Project::load(dir.path(), &connectors()).unwrap_err();
    let json = serde_json::to_value(&mistakes).unwrap();
    assert_eq!(json[1]["hint"], "Did you mean \"name\"?");
    assert_eq!(
        (json[1]["line"].as_u64(), json[1]["file"].as_str()),
        (Some(1), Some("flywheel.yaml"))
    );
    let error = Error::from(mistakes);
    assert_eq!(error.kind().exit_code(), 2);
    assert!(error.message().starts_with("the project has 2 errors\n\n"), "{error}");
}

#[test]
fn every_schema_is_closed_and_described() {
    for (name, schema) in schemas() {
        let schema = schema.as_value();
        assert_eq!(schema["additionalProperties"], false, "{name}");
        for (key, property) in schema["properties"].as_object().unwrap() {
            assert!(property.get("description").is_some(), "{name}.{key} is not described");
        }
    }
}
