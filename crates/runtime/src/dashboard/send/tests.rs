//! How deliveries are called, what becomes of errors, and what is not sent again.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use flywheel_base::FixedClock;
use flywheel_project::resource::schedule::Language;

use super::*;
use crate::recorder::Silent;
use crate::{Access, run};

fn sending() -> Sending {
    Sending {
        actions: vec!["mail".to_owned(), "ops".to_owned()],
        attach: Attach::Workbook,
        language: Language::En,
        role: None,
    }
}

#[test]
fn a_delivery_has_one_key_for_each_schedule_task_moment_dashboard_and_action() {
    let (sending, none) = (sending(), BTreeSet::new());
    let errand = |schedule, task, moment| Errand {
        schedule,
        task,
        moment: Timestamp::from_micros(moment),
        zone: None,
        boards: &[],
        sending: &sending,
        sent: &none,
        unsure: &none,
    };
    let keys = [
        errand("weekly", None, 1).key("sales", "mail"),
        errand("weekly", None, 1).key("sales", "ops"),
        errand("weekly", None, 1).key("stock", "mail"),
        errand("weekly", None, 2).key("sales", "mail"),
        errand("weekly", Some("tell"), 1).key("sales", "mail"),
        errand("daily", None, 1).key("sales", "mail"),
    ];
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    assert_eq!(keys[0], errand("weekly", None, 1).key("sales", "mail"));
    assert_eq!(errand("weekly", Some("tell"), 1).named("sales", "mail"), "tell: sales to mail");
    // Two tasks of one moment may read rows as different roles: neither writes over the other's workbook.
    let group = |task| errand("weekly", task, 1).group("sales", "2025-03-31T070000");
    assert_eq!(group(None), "sales.weekly/2025-03-31T070000");
    assert_eq!(group(Some("viewers")), "sales.weekly.viewers/2025-03-31T070000");
    assert_ne!(group(Some("viewers")), group(Some("owners")));
}

#[test]
fn what_may_be_mended_by_trying_again_decides_and_everything_is_named() {
    let unreached = || {
        settled(Outcome::Unreached { reason: "no connection".to_owned() }, "sales", "mail")
            .unwrap_err()
    };
    let refused =
        || settled(Outcome::Rejected { reason: "550 no".to_owned() }, "sales", "ops").unwrap_err();
    let tile = || {
        let error =
            Error::invalid("dashboard \"sales\", tile \"lands\": no such column").hint("Look.");
        left_out(&error)
    };
    assert!(joined(Vec::new()).is_none());
    assert_eq!(joined(vec![tile()]).unwrap().kind(), ErrorKind::Blocked);
    assert_eq!(joined(vec![tile(), refused()]).unwrap().kind(), ErrorKind::Invalid);
    let all = joined(vec![tile(), refused(), unreached()]).unwrap();
    assert_eq!(all.kind(), ErrorKind::Unavailable);
    for part in
        ["tile \"lands\"", "action \"ops\": 550 no", "action \"mail\": no connection", "Look."]
    {
        assert!(all.message().contains(part), "{}", all.message());
    }
    let receipt = Outcome::Delivered { receipt: "250 ok".to_owned() };
    assert_eq!(settled(receipt, "sales", "mail").unwrap(), "250 ok");
}

/// A project with a dashboard, and an action with this guarantee.
async fn shop(dir: &Path, guarantee: &str) -> Workspace {
    let action = format!(
        "action: lines\ntype: file\nguarantee: {guarantee}\noptions: {{path: 'out/{{policy}}.jsonl'}}\n"
    );
    for (path, text) in [
        ("flywheel.yaml", "name: t\n"),
        ("actions/lines.yaml", action.as_str()),
        (
            "dashboards/sales.yaml",
            "dashboard: sales\ntiles:\n  - {tile: one, sql: select 1 as n}\n",
        ),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let clock = Arc::new(FixedClock::new(Timestamp::parse("2025-03-31T12:00:00Z").unwrap()));
    Workspace::open(dir, Access::Write, clock).await.unwrap()
}

#[tokio::test]
async fn what_may_be_sent_once_and_may_have_arrived_is_not_sent_again() {
    let none = BTreeSet::new();
    let before = BTreeSet::from(["sales to lines".to_owned()]);
    let boards = ["sales".to_owned()];
    let sending = Sending { actions: vec!["lines".to_owned()], ..sending() };
    for (guarantee, unsure, leaves) in [
        ("at-most-once", &none, true),
        ("at-most-once", &before, false),
        ("at-least-once", &before, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let workspace = shop(dir.path(), guarantee).await;
        let recorder = run::start(&workspace, &Silent, "dashboard").unwrap();
        let errand = Errand {
            schedule: "weekly",
            task: None,
            moment: workspace.now(),
            zone: None,
            boards: &boards,
            sending: &sending,
            sent: &none,
            unsure,
        };
        let sent = Box::pin(send(&workspace, &recorder, &errand)).await;
        assert_eq!(dir.path().join("out/sales.weekly.jsonl").exists(), leaves, "{sent:?}");
        let (_, tasks) = workspace.store.run(recorder.run_id()).unwrap().unwrap();
        let known: Vec<(&str, bool)> =
            tasks.iter().map(|task| (task.status.as_str(), is_unsure(task))).collect();
        if leaves {
            assert_eq!(sent.unwrap(), json!({"sent": 1}));
            assert_eq!(known, [("succeeded", false)], "what was marked is there once");
        } else {
            let error = sent.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "trying again does not help");
            for said in ["\"sales\"", "\"lines\"", "at-most-once"] {
                assert!(error.message().contains(said), "{error:?}");
            }
            assert!(error.hint_text().unwrap().contains("schedule run weekly"), "{error:?}");
            assert!(known.is_empty(), "{known:?}");
        }
    }
}

#[tokio::test]
async fn a_delivery_that_is_cut_off_while_it_leaves_is_known_to_have_left() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = shop(dir.path(), "at-most-once").await;
    let recorder = run::start(&workspace, &Silent, "dashboard").unwrap();
    let before = recorder.started(SEND, "sales to mail");
    recorder.ended(before, "failed", TaskOutcome::default());
    let mut timer = recorder.started(SEND, "sales to lines");
    recorder.mark(&mut timer).unwrap();
    let kept = || {
        let (_, tasks) = workspace.store.run(recorder.run_id()).unwrap().unwrap();
        let kept = |task: &Task| (task.name.clone(), task.status.clone(), is_unsure(task));
        tasks.iter().map(kept).collect::<Vec<_>>()
    };
    let of = |action: &str, status: &str, unsure: bool| {
        (format!("sales to {action}"), status.to_owned(), unsure)
    };
    assert_eq!(kept(), [of("mail", "failed", false), of("lines", "running", true)]);
    workspace.store.interrupt_runs().unwrap();
    assert_eq!(kept(), [of("mail", "failed", false), of("lines", "interrupted", true)]);
    // One whose end is known is not in doubt, unless its end says so.
    recorder.ended(timer, "failed", TaskOutcome::default());
    recorder.keep().unwrap();
    assert_eq!(kept(), [of("mail", "failed", false), of("lines", "failed", false)]);
    let timer = recorder.started(SEND, "sales to lines");
    let outcome = TaskOutcome { detail: json!({UNSURE: true}), ..TaskOutcome::default() };
    recorder.ended(timer, "failed", outcome);
    recorder.keep().unwrap();
    assert_eq!(kept().pop(), Some(of("lines", "failed", true)));
}
