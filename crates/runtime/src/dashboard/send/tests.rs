//! How deliveries are called, and what becomes of errors.

use flywheel_project::resource::schedule::Language;

use super::*;

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
    let (sending, sent) = (sending(), BTreeSet::new());
    let errand = |schedule, task, moment| Errand {
        schedule,
        task,
        moment: Timestamp::from_micros(moment),
        zone: None,
        boards: &[],
        sending: &sending,
        sent: &sent,
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
