//! Who sees what of a small project: entries, attributes, several rules, what is made of what.

use std::fs;
use std::sync::Arc;

use flywheel_base::{FixedClock, Timestamp};
use flywheel_state::{Made as Statement, MadeKind};
use tempfile::TempDir;

use super::said::Said;
use super::*;
use crate::Access;

const FILES: &[(&str, &str)] = &[
    (
        "flywheel.yaml",
        "name: t\ngroups:\n  north: {users: [anna, ben], provider_groups: [Sales North], attributes: {region: north, level: 3}}\n  \
         all: {users: [ben], attributes: {region: [north, south]}}\nsign_in: {name: Acme, issuer: \"https://id.example.com\", \
         client_id: f, address: \"https://f.example.com\", roles: {default: viewer}}\n",
    ),
    ("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n"),
    (
        "syncs/s.yaml",
        "sync: s\nconnection: files\nstreams:\n  - {stream: people, options: {path: p.csv}}\n  \
         - {stream: orders, options: {path: o.csv}}\n",
    ),
    ("models/m/seen.sql", "select * from {{ source('raw', 'people') }}"),
    ("models/m/stored.sql", "{{ config(materialized='table') }} select * from {{ ref('seen') }}"),
    (
        "models/m/sums.sql",
        "{{ config(materialized='table') }} select count(*) as n from {{ ref('stored') }}",
    ),
    ("models/m/above.sql", "{{ config(materialized='table') }} select * from {{ ref('sums') }}"),
    (
        "models/m/tagged.sql",
        "{{ config(materialized='table', tags=['pii']) }} select * from {{ ref('stored') }}",
    ),
    (
        "models/m/other.sql",
        "{{ config(materialized='table') }} select * from {{ source('raw', 'orders') }}",
    ),
    (
        "access/people.yaml",
        "rule: people\ntables: [raw.people]\ntags: [pii]\ncleared: [m.sums]\nask: p@x.example\nreaders:\n  \
         - roles: [owner]\n  - groups: [north]\n    rows: region in ($region)\n    masks: {email: redact, name: null}\n    \
         hide: [pay]\n",
    ),
    (
        "access/mail.yaml",
        "rule: mail\ntables: [\"raw.p*\"]\nask: m@x.example\nreaders:\n  - users: [ben]\n  - everybody: true\n    \
         rows: level <= $level\n    masks: {email: null, name: null, pay: redact}\n",
    ),
];

async fn workspace() -> (TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let clock = Arc::new(FixedClock::new(Timestamp::parse("2024-01-01").unwrap()));
    let workspace = Workspace::open(folder.path(), Access::Write, clock).await.unwrap();
    (folder, workspace)
}

/// The tables there would be once everything has landed and is built.
fn catalog() -> Catalog {
    let mut catalog = Catalog::new();
    let tables =
        ["raw.people", "raw.orders", "m.stored", "m.sums", "m.above", "m.tagged", "m.other"];
    for table in tables.into_iter().chain(["system.profiles", "system.quarantine", "system.runs"]) {
        let name = TableName::parse(table).unwrap();
        catalog.memory(&name, Arc::new(arrow::datatypes::Schema::empty()), Vec::new());
    }
    catalog.view(&TableName::parse("m.seen").unwrap(), "select * from raw.people");
    catalog
}

fn sights(workspace: &Workspace, reading: &Reading) -> BTreeMap<String, Sight> {
    let found = reading.sights(workspace, &catalog()).unwrap();
    found.into_iter().map(|(name, sight)| (name.to_string(), sight)).collect()
}

#[tokio::test]
async fn readers_are_found_by_name_and_have_what_their_groups_say() {
    let (_folder, workspace) = workspace().await;
    let ben = Reader::named(&workspace, "ben/analyst").unwrap();
    assert_eq!(ben.groups.iter().map(String::as_str).collect::<Vec<_>>(), ["all", "north"]);
    assert_eq!(ben.attributes["region"], [json!("north"), json!("south")], "each value once");
    assert_eq!(ben.values()["level"], [json!(3)]);
    assert_eq!(ben.values()["user"], [json!("ben")]);
    assert_eq!(Reader::named(&workspace, "analyst").unwrap().values()["user"], Vec::<Value>::new());
    // Who comes from an identity provider is in the groups that name one of its own.
    let came = |groups: &[&str]| {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        Reader::new(&workspace.project, Some("lin"), Some("analyst"), &groups)
    };
    let lin = came(&["Sales North", "else"]);
    assert_eq!(lin.groups.iter().map(String::as_str).collect::<Vec<_>>(), ["north"]);
    assert_eq!(lin.attributes["region"], [json!("north")]);
    assert!(came(&["north", "sales north"]).groups.is_empty(), "the provider's own words count");
    for (text, hint) in [("anne", "anna"), ("anna/analist", "analyst"), ("analyts", "analyst")] {
        let error = Reader::named(&workspace, text).unwrap_err();
        assert!(error.hint_text().unwrap().contains(hint), "{text}: {error:?}");
    }
}

#[tokio::test]
async fn all_rules_of_a_table_hold_and_the_first_entry_of_each_decides() {
    let (_folder, workspace) = workspace().await;
    let as_of = |text: &str| Reading::As(Reader::named(&workspace, text).unwrap());
    assert!(sights(&workspace, &Reading::Owner).is_empty());
    // Ben sees all by one rule, and what the other shows.
    let ben = sights(&workspace, &as_of("ben"));
    let Seen::Part { rows, masks, hidden } = &ben["raw.people"].seen else { panic!("{ben:?}") };
    assert_eq!((rows.len(), masks.len(), hidden.len()), (1, 2, 1));
    assert_eq!(ben["raw.people"].rule, "rule \"people\"");
    let anna = sights(&workspace, &as_of("anna"));
    let sight = &anna["raw.people"];
    let Seen::Part { rows, masks, hidden } = &sight.seen else { panic!("{sight:?}") };
    assert_eq!(rows.len(), 2, "both conditions");
    assert!(
        matches!(masks["email"], ColumnMask::Null),
        "two masks that differ hide all: {masks:?}"
    );
    assert!(!masks.contains_key("pay") && hidden.contains("pay"), "hidden goes before masked");
    assert_eq!(sight.rule, "rules \"mail\" and \"people\"");
    assert_eq!(sight.ask, "Ask m@x.example and p@x.example.");
    // Whom no entry of one of them names sees nothing.
    let eve = sights(&workspace, &as_of("viewer"));
    assert!(matches!(eve["raw.people"].seen, Seen::Nothing));
    // Who looks through other eyes sees no more than with their own.
    let viewed = Reading::Viewed {
        reader: Reader::named(&workspace, "ben/owner").unwrap(),
        by: Reader::named(&workspace, "anna").unwrap(),
    };
    let viewed = sights(&workspace, &viewed);
    let Seen::Part { rows, hidden, .. } = &viewed["raw.people"].seen else { panic!("{viewed:?}") };
    assert_eq!((rows.len(), hidden.len()), (2, 1));
    assert_eq!(viewed["raw.people"].reader, "ben");
}

#[tokio::test]
async fn what_was_stored_from_hidden_rows_is_refused_until_a_rule_settles_it() {
    let (_folder, workspace) = workspace().await;
    let anna = Reading::As(Reader::named(&workspace, "anna").unwrap());
    let seen = sights(&workspace, &anna);
    let because = seen["m.stored"].because.as_deref().unwrap();
    assert!(because.starts_with("it is made of raw.people"), "{because}");
    assert!(seen["m.stored"].ask.contains("name or clear m.stored"), "{:?}", seen["m.stored"]);
    // One of the two rules clears it, and what the other hides is in it as well.
    for cleared in ["m.sums", "m.above"] {
        assert_eq!(seen[cleared].rule, "rules \"mail\" and \"people\"");
        assert!(seen[cleared].because.is_some(), "{:?}", seen[cleared]);
    }
    let ben = Reading::As(Reader::named(&workspace, "ben").unwrap());
    let of_ben = sights(&workspace, &ben);
    for open in ["m.sums", "m.above"] {
        assert!(!of_ben.contains_key(open), "only one rule hides something: {open}");
    }
    for open in ["m.seen", "m.other", "raw.orders"] {
        assert!(!seen.contains_key(open), "{open}: {:?}", seen.get(open));
    }
    assert!(seen["m.tagged"].because.is_none(), "its own rule decides");
    assert!(seen.contains_key("system.profiles") && seen.contains_key("system.quarantine"));
    let limits = anna.limits(&workspace, &catalog()).unwrap();
    let hidden: Vec<&str> = limits.hidden.iter().map(String::as_str).collect();
    assert!(hidden.contains(&"m.seen"), "a view over hidden rows: {hidden:?}");
    assert!(!hidden.contains(&"m.other") && limits.uncounted.contains("m.stored"));
    let owner = Reading::As(Reader::named(&workspace, "ben/owner").unwrap());
    assert!(sights(&workspace, &owner).is_empty());
    let listed = listed(&workspace).await.unwrap();
    let people = listed.iter().find(|rule| rule.rule == "people").unwrap();
    assert_eq!((people.file.as_str(), people.line), ("access/people.yaml", 1));
}

#[tokio::test]
async fn what_statements_made_is_judged_by_what_it_was_made_of() {
    let (_folder, workspace) = workspace().await;
    let mut catalog = catalog();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut made = |name: &str, sql: Option<&str>, reads: &[&str]| {
        let kind = if sql.is_some() { MadeKind::View } else { MadeKind::Table };
        let one = Statement {
            name: name.to_owned(),
            kind,
            sql: sql.map(str::to_owned),
            reads: names(reads),
            made_by: "ann".to_owned(),
            made_at: workspace.now(),
        };
        workspace.store.make(&one).unwrap();
        let name = TableName::parse(name).unwrap();
        match sql {
            Some(sql) => catalog.view(&name, sql),
            None => catalog.memory(&name, Arc::new(arrow::datatypes::Schema::empty()), Vec::new()),
        };
    };
    made("s.copy", None, &["raw.people"]);
    made("s.by_view", None, &["m.seen"]);
    made("s.by_model", None, &["m.stored"]);
    // A rule holds for its names, whether something has them or not.
    made("s.of_gone", None, &["raw.pets"]);
    made("s.told", None, &["system.quarantine"]);
    made("s.free", None, &["raw.orders"]);
    made("s.look", Some("select * from people"), &["raw.people"]);
    made("s.plain", Some("select id as people from raw.orders"), &["raw.orders"]);
    let anna = Reading::As(Reader::named(&workspace, "anna").unwrap());
    let limits = anna.limits(&workspace, &catalog).unwrap();
    let because = |name: &str| {
        let sight = limits.sights.get(&TableName::parse(name).unwrap())?;
        sight.because.clone()
    };
    for (table, of) in [
        ("s.copy", "raw.people"),
        ("s.by_view", "raw.people"),
        ("s.by_model", "raw.people"),
        ("s.of_gone", "raw.pets"),
        ("s.told", "system.quarantine"),
    ] {
        let told = because(table).unwrap_or_default();
        assert!(told.starts_with(&format!("it is made of {of}")), "{table}: {told}");
    }
    for open in ["s.free", "s.look", "s.plain", "m.other"] {
        assert_eq!(because(open), None, "{open}");
    }
    assert!(limits.hidden.contains("s.look") && !limits.hidden.contains("s.plain"));

    let may = |reading: &Reading, name: &str| {
        let name = TableName::parse(name).unwrap();
        reading.allow_change(&workspace, &catalog, &name).map_err(|error| error.kind())
    };
    for name in ["raw.people", "s.copy", "m.tagged", "raw.pets", "raw.pictures"] {
        assert_eq!(may(&anna, name), Err(ErrorKind::Denied), "{name}");
        assert_eq!(may(&Reading::Owner, name), Ok(()), "{name}");
    }
    for name in ["s.free", "s.new", "s.look"] {
        assert_eq!(may(&anna, name), Ok(()), "{name}");
    }

    // What is kept of a new table goes as far as no rule settles it on the way.
    let kept = |of: &str| lineage(&workspace, &catalog, &names(&[of])).unwrap();
    assert!(kept("m.stored").contains("raw.people"));
    assert!(kept("m.sums").contains("raw.people"), "one of two rules clears it");
    assert!(!kept("m.tagged").contains("raw.people"), "a rule is about it");
    // A model's table goes on to be made of what was under a name when it was built.
    workspace.store.keep_made_before("raw.orders", &names(&["raw.people"])).unwrap();
    let seen = anna.sights(&workspace, &catalog).unwrap();
    assert!(seen.contains_key(&TableName::new("m", "other")), "{seen:?}");
    assert!(!seen.contains_key(&TableName::new("raw", "orders")), "it is itself what it is now");
}

#[tokio::test]
async fn what_runs_said_is_for_who_sees_every_row() {
    let (_folder, mut workspace) = workspace().await;
    let as_of = |text: &str| Reading::As(Reader::named(&workspace, text).unwrap());
    let (anna, ben, all) = (as_of("anna"), as_of("ben"), as_of("ben/owner"));
    let looks = Reading::Viewed {
        reader: Reader::named(&workspace, "ben/owner").unwrap(),
        by: Reader::named(&workspace, "anna").unwrap(),
    };
    for (reading, said) in [
        (&Reading::Owner, Said::Whole),
        (&all, Said::Whole),
        (&anna, Said::Withheld),
        (&ben, Said::Withheld),
        (&looks, Said::Withheld),
    ] {
        assert_eq!(reading.said(&workspace.project), said, "{reading:?}");
        let seen = sights(&workspace, reading).remove("system.runs");
        match seen.map(|sight| sight.seen) {
            None => assert_eq!(said, Said::Whole, "{reading:?}"),
            Some(Seen::Part { rows, masks, hidden }) => {
                assert_eq!(said, Said::Withheld, "{reading:?}");
                assert!(rows.is_empty() && hidden.is_empty(), "every run is seen");
                assert_eq!(masks.keys().collect::<Vec<_>>(), ["error"]);
            }
            Some(Seen::Nothing) => panic!("{reading:?}"),
        }
    }
    // Every rule that hides something has to clear it.
    let clear = |workspace: &mut Workspace, rule: &str| {
        let rule = workspace.project.rules.get_mut(rule).unwrap();
        rule.value.cleared.push("system.run_logs".to_owned());
    };
    clear(&mut workspace, "people");
    assert_eq!(anna.said(&workspace.project), Said::Withheld);
    assert!(sights(&workspace, &anna).contains_key("system.runs"));
    clear(&mut workspace, "mail");
    assert_eq!(anna.said(&workspace.project), Said::Whole);
    assert!(!sights(&workspace, &anna).contains_key("system.runs"));
}

#[tokio::test]
async fn the_audit_log_is_a_table_for_those_who_may_read_it_alone() {
    let (_folder, workspace) = workspace().await;
    let now = Timestamp::parse("2024-01-01").unwrap();
    workspace.store.audit(now, "ada", "policy.pause", "welcome", &json!({})).unwrap();
    let sql = "select who, what from \"system\" . audit";
    let role = |word: &str| Reader::new(&workspace.project, None, Some(word), &[]);
    let token = Reader { audits: false, ..role("admin") };
    let viewed = Reading::Viewed { reader: role("admin"), by: role("analyst") };
    for (reading, sees) in [
        (Reading::Owner, true),
        (Reading::As(role("owner")), true),
        (Reading::As(role("admin")), true),
        (Reading::As(token), false),
        (Reading::As(role("engineer")), false),
        (Reading::As(Reader::default()), false),
        (viewed, false),
    ] {
        let session = workspace.session_for(sql, &reading).await.unwrap();
        match session.query(sql).await {
            Ok(query) => {
                assert!(sees, "{reading:?}");
                let rows: usize =
                    query.collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum();
                assert_eq!(rows, 1);
            }
            Err(error) => assert!(!sees, "{reading:?}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn how_databases_do_is_a_table_for_those_who_may_operate_alone() {
    let (_folder, workspace) = workspace().await;
    crate::databases::check(&workspace).await.unwrap();
    let sql = "select name from system.databases where own and reachable order by name";
    let role = |word: &str| Reader::new(&workspace.project, None, Some(word), &[]);
    let token = Reader { operates: false, ..role("engineer") };
    for (reading, sees) in [
        (Reading::Owner, true),
        (Reading::As(role("engineer")), true),
        (Reading::As(role("operator")), true),
        (Reading::As(token), false),
        (Reading::As(role("analyst")), false),
        (Reading::Viewed { reader: role("owner"), by: role("analyst") }, false),
    ] {
        let session = workspace.session_for(sql, &reading).await.unwrap();
        match session.query(sql).await {
            Ok(query) => {
                assert!(sees, "{reading:?}");
                let rows: usize =
                    query.collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum();
                assert!(rows >= 3, "metadata, lake and journal at least: {rows}");
            }
            Err(error) => assert!(!sees, "{reading:?}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_granted_is_not_in_the_catalogue_of_who_reads() {
    let (folder, _) = workspace().await;
    let path = folder.path().join("grants");
    fs::create_dir_all(&path).unwrap();
    fs::write(
        path.join("open.yaml"),
        "grant: open\nask: ada\nto: {roles: [analyst], users: [ben]}\nread: {tables: [\"m.*\", system.runs]}\nchange: {tables: [m.other]}\n",
    )
    .unwrap();
    let clock = Arc::new(FixedClock::new(Timestamp::parse("2024-01-01").unwrap()));
    let workspace = Workspace::open(folder.path(), Access::Write, clock).await.unwrap();
    let role = |word: &str| Reader::new(&workspace.project, None, Some(word), &[]);
    let names = |reading: &Reading| -> Vec<String> {
        let mut catalog = catalog();
        reading.limit(&workspace, &mut catalog).unwrap();
        catalog.names().map(ToString::to_string).collect()
    };
    let whole = names(&Reading::Owner);
    assert_eq!(names(&Reading::As(role("owner"))), whole);
    let seen = names(&Reading::As(role("analyst")));
    assert!(seen.contains(&"m.stored".to_owned()) && seen.contains(&"system.runs".to_owned()));
    assert!(seen.iter().all(|name| name.starts_with("m.") || name == "system.runs"), "{seen:?}");
    assert!(names(&Reading::As(role("engineer"))).is_empty());
    // Whoever looks as somebody else sees what both see.
    let looks = Reading::Viewed { reader: role("owner"), by: role("engineer") };
    assert!(names(&looks).is_empty());
    assert!(looks.granted(&workspace.project).is_some());
    let given = Reader { given: BTreeSet::from(["open".to_owned()]), ..role("engineer") };
    assert_eq!(names(&Reading::As(given)), seen);

    let ben = Reading::As(Reader::named(&workspace, "ben/analyst").unwrap());
    let may = |name: &str| {
        let name = TableName::parse(name).unwrap();
        ben.allow_change(&workspace, &catalog(), &name).map_err(|error| error.kind())
    };
    assert_eq!(may("m.other"), Ok(()));
    for name in ["m.sums", "raw.orders", "raw.nothing", "m.new"] {
        assert_eq!(may(name), Err(ErrorKind::Denied), "{name}");
    }
    // Logs may quote rows of what is closed.
    assert_eq!(Reading::As(role("engineer")).said(&workspace.project), Said::Withheld);
    assert!(!ben.sees_everything(&workspace.project));
}
