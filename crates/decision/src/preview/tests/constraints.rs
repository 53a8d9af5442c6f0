//! Consent, quiet hours, the contacts of all policies and the units that no policy treats: who is left out, what waits, and
//! what is stopped.

use flywheel_state::OutboxStatus;

use super::*;

const PLAIN: &str = "choose: {candidates: [{name: a}]}\n";

impl Desk {
    /// Writes files, and reads the project again.
    fn change<const N: usize>(&mut self, files: [(&str, String); N]) {
        for (path, text) in files {
            write(self.dir.path(), path, &text);
        }
        self.project = Project::load(self.dir.path(), &Connectors::default())
            .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    }

    /// How many units were left out, as the log has it.
    async fn suppressed(&self, now: Timestamp) -> Vec<(String, Option<i64>)> {
        let sql = "select reason, units from system.suppressed order by at, policy, reason";
        let frame = self.ctx(now).await.frame_of_sql("suppressed", sql).await.unwrap();
        frame.ids("reason").unwrap().into_iter().zip(frame.integers("units").unwrap()).collect()
    }
}

/// A file of a policy with this audience that says `more`.
fn policy(name: &str, audience: &str, more: &str) -> String {
    format!("policy: {name}\nevery: 1d\naudience: >-\n  {audience}\n{OUTCOME}{more}")
}

fn moment(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[tokio::test]
async fn what_is_decided_in_quiet_hours_leaves_after_them_or_expires() {
    let quiet = "quiet_hours: {from: \"21:00\", to: \"08:00\", zone: Asia/Shanghai, expires: 2d}\n";
    let more = format!("{PLAIN}{SENDS}{quiet}");
    // 22:00 in Shanghai, and 08:00 of the next day.
    let (night, morning) = (moment("2024-05-01 14:00"), moment("2024-05-02 00:00"));
    let desk = Desk::new(UNITS, &more).await;
    let seen = desk.preview(night).await.unwrap();
    assert!(seen.notes.iter().any(|note| note.contains("wait for the end")), "{:?}", seen.notes);
    let made = Box::pin(decide(&desk.ctx(night).await, "offer")).await.unwrap();
    assert!(made.queued > 0 && made.queued == seen.delivery.leaves, "{made:?}");
    let waiting = desk.store.outbox(None, None, 1_000).unwrap();
    assert!(waiting.iter().all(|entry| entry.due_at == morning), "{:?}", waiting.first());
    assert_eq!(Box::pin(act(&desk.ctx(night).await)).await.unwrap().delivered, 0);
    let acted = Box::pin(act(&desk.ctx(morning).await)).await.unwrap();
    assert_eq!((acted.delivered, acted.withheld.len()), (made.queued, 0));

    // What is due by day and gets its turn at night waits, too.
    let desk = Desk::new(UNITS, &more).await;
    let day = moment("2024-05-01 12:00");
    let made = Box::pin(decide(&desk.ctx(day).await, "offer")).await.unwrap();
    let acted = Box::pin(act(&desk.ctx(night).await)).await.unwrap();
    assert_eq!((acted.delivered, acted.quiet.get("offer")), (0, Some(&made.queued)));
    // Nobody came for two days.
    let acted = Box::pin(act(&desk.ctx(moment("2024-05-03 12:00")).await)).await.unwrap();
    assert_eq!((acted.delivered, acted.dead), (0, 0));
    assert_eq!(acted.withheld.get("offer"), Some(&made.queued));
    let ended = desk.store.outbox(Some(OutboxStatus::Discarded), None, 1_000).unwrap();
    assert_eq!(ended.len(), made.queued);
    let why = ended[0].error.as_deref().unwrap();
    assert!(why.contains("expires"), "{why}");
}

#[tokio::test]
async fn each_unit_has_the_quiet_hours_of_its_own_zone() {
    let zones = "select 'u' || value as unit_id, value as age, case value % 3 when 0 then \
                 'Asia/Shanghai' when 1 then 'Europe/Berlin' else 'nowhere' end as tz from \
                 generate_series(1, 300)";
    let quiet = "quiet_hours: {from: \"21:00\", to: \"08:00\", zone: $tz}\n";
    let desk = Desk::new(zones, &format!("{PLAIN}{SENDS}{quiet}")).await;
    let night = moment("2024-05-01 14:00");
    let seen = desk.preview(night).await.unwrap();
    assert_eq!(seen.left_out, [LeftOut { reason: "quiet_hours", units: 100 }]);
    let made = Box::pin(decide(&desk.ctx(night).await, "offer")).await.unwrap();
    // It is 16:00 in Berlin.
    let acted = Box::pin(act(&desk.ctx(night).await)).await.unwrap();
    assert!(acted.delivered > 0 && acted.delivered < made.queued, "{acted:?}");
    // It is 08:00 in Shanghai.
    let later = Box::pin(act(&desk.ctx(moment("2024-05-02 00:00")).await)).await.unwrap();
    assert_eq!(later.delivered, made.queued - acted.delivered);
}

#[tokio::test]
async fn who_has_not_agreed_is_not_decided_for_and_who_does_not_any_more_gets_nothing() {
    let column = |most: u32| {
        let audience = format!(
            "select 'u' || value as unit_id, value as age, value <= {most} as agreed from \
             generate_series(1, 300)"
        );
        (audience, format!("{PLAIN}{SENDS}consent: {{column: agreed}}\n"))
    };
    let query = |most: u32| {
        let sql = format!("select 'u' || value as unit_id from generate_series(1, {most})");
        (UNITS.to_owned(), format!("{PLAIN}{SENDS}consent: {{sql: \"{sql}\"}}\n"))
    };
    for (before, after) in [(column(250), column(200)), (query(250), query(200))] {
        let mut desk = Desk::new(&before.0, &before.1).await;
        let seen = desk.preview(at(1)).await.unwrap();
        assert_eq!(seen.left_out, [LeftOut { reason: "consent", units: 50 }]);
        let made = Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap();
        assert_eq!((made.decisions, made.queued), (250, seen.delivery.leaves));
        let again = Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap();
        assert_eq!(again.decisions, 250);
        assert_eq!(desk.suppressed(at(1)).await, [("consent".to_owned(), Some(50))]);

        desk.change([("policies/offer.yaml", policy("offer", &after.0, &after.1))]);
        let agreed = |row: &DecisionRow| row.unit_id[1..].parse::<u32>().unwrap() <= 200;
        let rows = desk.rows(at(1)).await;
        let left = rows.iter().filter(|row| row.payload.is_some() && agreed(row)).count();
        let acted = Box::pin(act(&desk.ctx(at(1)).await)).await.unwrap();
        assert_eq!(acted.delivered, left);
        assert_eq!(acted.withheld.get("offer"), Some(&(made.queued - left)));
        let acted = Box::pin(act(&desk.ctx(at(2)).await)).await.unwrap();
        assert_eq!((acted.delivered, acted.withheld.len()), (0, 0), "it ends once");
    }
}

#[tokio::test]
async fn a_consent_that_cannot_be_read_lets_nobody_through() {
    let units =
        "select 'u' || value as unit_id, value as age, 1 as fine from generate_series(1, 300)";
    let consent = |column: &str| format!("{PLAIN}{SENDS}consent: {{column: {column}}}\n");
    let desk = Desk::new(units, &consent("agreed")).await;
    let error = desk.preview(at(1)).await.unwrap_err();
    assert!(error.message().contains("no column \"agreed\""), "{error}");

    let mut desk = Desk::new(units, &consent("fine")).await;
    let made = Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap();
    desk.change([("policies/offer.yaml", policy("offer", units, &consent("agreed")))]);
    let acted = Box::pin(act(&desk.ctx(at(1)).await)).await.unwrap();
    assert_eq!((acted.delivered, acted.not_looked_up.len()), (0, 1), "{acted:?}");
    desk.change([("policies/offer.yaml", policy("offer", units, &consent("fine")))]);
    assert_eq!(Box::pin(act(&desk.ctx(at(1)).await)).await.unwrap().delivered, made.queued);
}

/// Of codes such as 1 for agreed and 2 for withdrawn only 1 is a yes, and what they mean is not guessed.
#[tokio::test]
async fn codes_of_consent_other_than_0_and_1_are_refused() {
    let units = "select 'u' || value as unit_id, value as age, value % 3 as code, value % 3 = 1 as \
                 agreed, cast(value % 2 as double) as number from generate_series(1, 300)";
    let consent = |column: &str| format!("{PLAIN}{SENDS}consent: {{column: {column}}}\n");
    let mut desk = Desk::new(units, &consent("code")).await;
    for error in [
        desk.preview(at(1)).await.unwrap_err(),
        Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap_err(),
    ] {
        let told = error.report();
        assert!(told.contains("\"code\" is neither 0 nor 1 in 100 of 300 rows"), "{told}");
        assert!(told.contains("`code = 1 as code`"), "{told}");
    }
    for (column, agreed) in [("agreed", 100), ("number", 150)] {
        desk.change([("policies/offer.yaml", policy("offer", units, &consent(column)))]);
        assert_eq!(desk.preview(at(1)).await.unwrap().decisions, agreed, "{column}");
    }
    // Who was decided for while the column said yes or no gets nothing while it says more.
    Box::pin(decide(&desk.ctx(at(1)).await, "offer")).await.unwrap();
    desk.change([("policies/offer.yaml", policy("offer", units, &consent("code")))]);
    let acted = Box::pin(act(&desk.ctx(at(1)).await)).await.unwrap();
    assert_eq!((acted.delivered, acted.not_looked_up.len()), (0, 1), "{acted:?}");
}

#[tokio::test]
async fn policies_share_the_contacts_of_a_unit_in_the_order_in_which_they_decide() {
    let some = format!("{PLAIN}{SENDS}caps: {{per_turn: 100}}\n");
    let mut desk = Desk::new(UNITS, &some).await;
    desk.change([
        (
            "flywheel.yaml",
            "name: shop\ncontact: {per_unit: 1, every: 7d, actions: [send]}\n".to_owned(),
        ),
        ("policies/second.yaml", policy("second", UNITS, &format!("{PLAIN}{SENDS}"))),
        ("policies/logs.yaml", policy("logs", UNITS, PLAIN)),
    ]);
    let decisions = async |desk: &Desk, name: &str, now: Timestamp| {
        Box::pin(decide(&desk.ctx(now).await, name)).await.unwrap().decisions
    };
    assert_eq!(decisions(&desk, "offer", at(1)).await, 100);
    // Those of the holdout count as well: whether a unit is asked again does not depend on its arm.
    assert_eq!(decisions(&desk, "second", at(1)).await, 200);
    assert_eq!(decisions(&desk, "logs", at(1)).await, 300, "nothing of it leaves");
    let seen = desk.preview(at(2)).await.unwrap();
    assert_eq!(seen.left_out, [LeftOut { reason: "contact", units: 300 }]);
    assert!(seen.notes.iter().any(|note| note.contains("contact")), "{:?}", seen.notes);
    assert_eq!(desk.preview(at(8)).await.unwrap().decisions, 100);
}

#[tokio::test]
async fn no_policy_treats_the_global_holdout_and_no_lift_measures_it() {
    let more = format!("{PLAIN}{SENDS}");
    let mut desk = Desk::new(UNITS, &more).await;
    desk.change([
        ("flywheel.yaml", "name: shop\nholdout: {share: 30%, salt: one}\n".to_owned()),
        ("policies/second.yaml", policy("second", UNITS, &more)),
    ]);
    let seen = desk.preview(at(1)).await.unwrap();
    assert_eq!(seen.decisions, 300);
    assert!((60..120).contains(&seen.globally_held), "{}", seen.globally_held);
    assert_eq!(seen.treated + seen.held_out + seen.globally_held, 300);
    assert_eq!(seen.treated, seen.delivery.leaves);
    let ctx = desk.ctx(at(1)).await;
    for name in ["offer", "second"] {
        let made = Box::pin(decide(&ctx, name)).await.unwrap();
        assert_eq!(made.decisions, 300, "they are decided for like everyone");
    }
    let ctx = desk.ctx(at(5)).await;
    let mut never = Vec::new();
    for name in ["offer", "second"] {
        let rows = decisions_where(&ctx, name, "arm = 'global_holdout'").await.unwrap();
        assert!(rows.iter().all(|row| row.payload.is_none() && row.action == "none"));
        never.push(rows.into_iter().map(|row| row.unit_id).collect::<Vec<_>>());
    }
    assert_eq!(never[0], never[1], "one and the same units");
    assert_eq!(never[0].len(), seen.globally_held);
    let policy = &desk.project.policies["offer"];
    let found = Box::pin(crate::lift::sums_of(&ctx, "offer", policy)).await.unwrap();
    let measured: i64 = found.apart().iter().map(|sum| sum.decisions).sum();
    assert_eq!(measured, 300 - i64::try_from(seen.globally_held).unwrap());
}
