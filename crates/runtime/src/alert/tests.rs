//! Alerts of a small project, from their files to what leaves.

use std::fs;
use std::sync::Arc;

use flywheel_base::{ErrorKind, FixedClock, Timestamp};
use flywheel_state::PolicyState;
use tempfile::TempDir;

use super::*;
use crate::{Access, schedule};

const FILES: &[(&str, &str)] = &[
    ("flywheel.yaml", "name: t\n"),
    ("actions/ops.yaml", "action: ops\ntype: file\noptions: {path: 'out/{policy}.jsonl'}\n"),
    ("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n"),
    (
        "syncs/s.yaml",
        "sync: s\nconnection: files\nstreams:\n  - {stream: orders, options: {path: o.csv}}\n",
    ),
    (
        "alerts/rows.yaml",
        "alert: rows\ndescription: Ask Li.\nwhen:\n  query: select 1 as a\nsend: [ops]\n",
    ),
    ("alerts/late.yaml", "alert: late\nwhen: {lag: all, longer_than: 2h}\nsend: [ops]\n"),
    (
        "alerts/old.yaml",
        "alert: old\nwhen: {freshness: raw.orders, longer_than: 1d}\nsend: [ops]\n",
    ),
    ("alerts/broken.yaml", "alert: broken\nwhen: {query: select no_such_column}\nsend: [ops]\n"),
    ("alerts/quiet.yaml", "alert: quiet\nwhen: {query: select 1 where false}\nsend: [ops]\n"),
    (
        "policies/news.yaml",
        "policy: news\naudience: select id as unit_id from {{ source('raw', 'orders') }}\nchoose: {candidates: [{name: letter}]}\nevery: 3d\naction: ops\n",
    ),
    ("alerts/stopped.yaml", "alert: stopped\nwhen: {policies: all}\nsend: [ops]\n"),
    ("alerts/off.yaml", "alert: off\nwhen: {query: select 1}\nsend: [ops]\npaused: true\n"),
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

#[tokio::test]
async fn what_is_wrong_is_told_once_by_the_actions_of_its_alert() {
    let (folder, workspace) = workspace().await;
    assert_eq!(look_at_all(&workspace).await.unwrap(), 4);
    assert_eq!(look_at_all(&workspace).await.unwrap(), 0, "each fault rings once");
    assert_eq!(schedule::tell(&workspace).await.unwrap(), 4);
    assert_eq!(schedule::tell(&workspace).await.unwrap(), 0);
    let left = fs::read_to_string(folder.path().join("out/alerts.jsonl")).unwrap();
    assert_eq!(left.lines().count(), 4, "{left}");
    for text in
        ["rows: the query has rows", "Ask Li.", "sync s.orders is late", "raw.orders is old"]
    {
        assert!(left.contains(text), "{text} in {left}");
    }
    let all = standing(&workspace).unwrap();
    let open: Vec<(&str, &str)> = all
        .iter()
        .flat_map(|one| one.open.iter().map(|open| (one.alert.as_str(), open.subject.as_str())))
        .collect();
    assert_eq!(
        open,
        [
            ("broken", ITSELF),
            ("late", "sync s.orders is late"),
            ("old", "table raw.orders is old"),
            ("rows", "the query has rows"),
        ]
    );
}

#[tokio::test]
async fn a_policy_that_paused_itself_is_told_of_and_one_that_a_person_paused_is_not() {
    let (_folder, workspace) = workspace().await;
    let alert = named(&workspace.project, "stopped").unwrap();
    for (paused, reason, told) in [
        (true, "guardrail: lift -2.00 points", true),
        (true, "paused by ada", false),
        (false, "guardrail: lift -2.00 points", false),
    ] {
        let state = PolicyState { paused, reason: Some(reason.to_owned()), last_decided_at: None };
        workspace.store.record_policy("news", &state, workspace.now()).unwrap();
        let found = check(&workspace, alert).await.unwrap();
        let subjects: Vec<&str> = found.iter().map(|one| one.subject.as_str()).collect();
        let expected: &[&str] = if told { &["policy news is paused"] } else { &[] };
        assert_eq!(subjects, expected, "{reason}");
    }
}

#[tokio::test]
async fn what_a_file_said_that_is_gone_is_forgotten() {
    let (folder, workspace) = workspace().await;
    look_at_all(&workspace).await.unwrap();
    fs::remove_file(folder.path().join("alerts/rows.yaml")).unwrap();
    let workspace = workspace.reloaded().await.unwrap();
    assert_eq!(look_at_all(&workspace).await.unwrap(), 0);
    assert!(workspace.store.watched().unwrap().iter().all(|state| state.alert != "rows"));
    assert_eq!(named(&workspace.project, "rows").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn an_alert_tells_as_its_file_says() {
    let text = r#"{"alert": "a", "when": {"policies": "all"}, "send": ["ops"], "repeat": "1d", "mute": "1h", "recovered": false}"#;
    let plan = plan(&serde_json::from_str::<Alert>(text).unwrap());
    assert_eq!(plan.repeat_us, Some(86_400_000_000));
    assert_eq!(plan.mute_us, Some(3_600_000_000));
    assert!(!plan.recovered);
}
