//! One link through echoes and crashes, and two systems in memory that have to end equal.

use std::collections::VecDeque;

use flywheel_base::{Error, Result, Rng};
use serde_json::{Value, json};

use super::*;
use crate::record::canonical;
use crate::three_way::{Answers, Clash, Expressions, Merger, NoExpressions};

fn record(value: &Value) -> Record {
    value.as_object().unwrap().clone().into_iter().collect()
}

fn seen(version: u64, value: &Value) -> Observed {
    Observed { record: record(value), version, ..Observed::default() }
}

#[expect(clippy::needless_pass_by_value, reason = "every call writes a literal")]
fn both(left: (u64, Value), right: (u64, Value)) -> Input<'static> {
    Input::Read(Pair { left: Some(seen(left.0, &left.1)), right: Some(seen(right.0, &right.1)) })
}

#[expect(clippy::needless_pass_by_value, reason = "every call writes a literal")]
fn event(side: Side, version: u64, tag: Option<&str>, fields: Value) -> ChangeEvent {
    ChangeEvent { side, version, tag: tag.map(str::to_owned), fields: Some(record(&fields)) }
}

/// Runs `test` with a merger whose default rule is `rule`.
fn with(rule: Rule, test: impl FnOnce(&Merger<'_>)) {
    let rules = MergeRules { default: rule, ..MergeRules::default() };
    test(&Merger { rules: &rules, answers: &Answers::new(), expressions: &NoExpressions });
}

fn writes(effects: &[Effect]) -> Vec<&Write> {
    effects.iter().filter_map(|e| if let Effect::Write(w) = e { Some(w) } else { None }).collect()
}

#[test]
fn our_write_coming_back_does_nothing_with_and_without_a_tag() {
    with(Rule::Manual, |merger| {
        let mut link = Link::new("r1");
        let effects = link.step(both((1, json!({"f": "a"})), (1, json!({}))), merger);
        assert_eq!(effects[0], Effect::Store, "the intent is durable before the write leaves");
        let tag = writes(&effects)[0].tag.clone();
        let done = link.step(Input::Acked { side: Side::Right }, merger);
        assert!(matches!(done[..], [Effect::Audit { .. }, Effect::Store]), "{done:?}");
        for (tag, verdict) in
            [(Some(tag.as_str()), Verdict::EchoByTag), (None, Verdict::EchoByShadow)]
        {
            let echo = event(Side::Right, 2, tag, json!({"f": "a"}));
            assert_eq!(link.classify(&echo, merger.rules), verdict);
            assert_eq!(link.step(Input::Event(&echo), merger), []);
        }
        let hidden = event(Side::Right, 3, Some(&tag), json!({"f": "a", "g": "typed by a person"}));
        assert_eq!(link.classify(&hidden, merger.rules), Verdict::News, "our tag, not our value");
        let gap = ChangeEvent { fields: None, ..echo_of(&hidden) };
        assert_eq!(link.classify(&gap, merger.rules), Verdict::News);
        let old = event(Side::Right, 1, None, json!({"f": "z"}));
        assert_eq!(link.classify(&old, merger.rules), Verdict::Stale);
    });
}

fn echo_of(event: &ChangeEvent) -> ChangeEvent {
    ChangeEvent { tag: None, ..event.clone() }
}

#[test]
fn a_crash_between_the_two_writes_finishes_the_plan_and_does_not_decide_again() {
    struct Glue;
    impl Expressions for Glue {
        fn evaluate(&self, _: &str, clash: &Clash<'_>) -> Result<Value> {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            Ok(json!(format!("{}+{}", text(clash.left), text(clash.right))))
        }
    }
    let rules = MergeRules {
        default: Rule::Expression { sql: "left || '+' || right".into() },
        ..MergeRules::default()
    };
    let merger = Merger { rules: &rules, answers: &Answers::new(), expressions: &Glue };
    let mut link = Link::new("r1");
    let effects = link.step(both((1, json!({"f": "l"})), (1, json!({"f": "r"}))), &merger);
    assert_eq!(writes(&effects).len(), 2);
    assert_eq!(link.step(Input::Restarted, &merger), [Effect::ReadBoth]);
    let effects = link.step(both((2, json!({"f": "l+r"})), (1, json!({"f": "r"}))), &merger);
    let again = writes(&effects);
    assert_eq!(again.len(), 1, "the left write had been made");
    assert_eq!((again[0].side, &again[0].fields["f"]), (Side::Right, &json!("l+r")));
    let audits = effects.iter().filter(|e| matches!(e, Effect::Audit { .. })).count();
    assert_eq!(audits, 1, "the write that was found made is in the audit");
    link.step(Input::Acked { side: Side::Right }, &merger);
    assert!(link.is_resting());
    assert_eq!(link.shadow.value("f"), &json!("l+r"));
}

#[test]
fn a_record_that_moved_under_a_write_is_read_and_merged_again() {
    with(Rule::Manual, |merger| {
        let mut link = Link::new("r1");
        link.step(both((1, json!({"f": "a"})), (1, json!({}))), merger);
        let effects = link.step(Input::Moved { side: Side::Right }, merger);
        assert_eq!(effects, [Effect::Store, Effect::ReadBoth]);
        let effects = link.step(both((1, json!({"f": "a"})), (2, json!({"g": "b"}))), merger);
        let two = writes(&effects);
        assert_eq!(two[0].fields, record(&json!({"g": "b"})));
        assert_eq!((&two[1].fields, two[1].expected), (&record(&json!({"f": "a"})), 2));
    });
}

#[test]
fn news_during_a_write_is_read_afterwards_even_after_a_crash() {
    with(Rule::Manual, |merger| {
        let mut link = Link::new("r1");
        link.step(both((1, json!({"f": "a"})), (1, json!({}))), merger);
        let edit = event(Side::Left, 2, None, json!({"f": "b"}));
        assert_eq!(link.step(Input::Event(&edit), merger), [Effect::Store]);
        let mut stored: Link =
            serde_json::from_str(&serde_json::to_string(&link).unwrap()).unwrap();
        let effects = link.step(Input::Acked { side: Side::Right }, merger);
        assert_eq!(effects.last(), Some(&Effect::ReadBoth));
        assert_eq!(stored.step(Input::Restarted, merger), [Effect::ReadBoth]);
        assert_eq!(link.step(Input::Restarted, merger), [Effect::ReadBoth], "acked, then crashed");
        link.step(both((2, json!({"f": "b"})), (2, json!({"f": "a"}))), merger);
        link.step(Input::Acked { side: Side::Right }, merger);
        assert_eq!(link.step(Input::Restarted, merger), [], "read once");
    });
}

#[test]
fn a_rejected_write_is_set_aside_and_tried_again_at_the_next_read() {
    with(Rule::Manual, |merger| {
        let mut link = Link::new("r1");
        link.step(both((1, json!({"f": "a"})), (1, json!({}))), merger);
        let rejected = Input::Rejected { side: Side::Right, reason: "too long".into() };
        let effects = link.step(rejected, merger);
        assert!(matches!(&effects[0], Effect::SetAside { reason, .. } if reason == "too long"));
        assert!(link.is_resting() && link.shadow.fields.is_empty());
        let effects = link.step(both((1, json!({"f": "a"})), (1, json!({}))), merger);
        assert_eq!(writes(&effects).len(), 1, "never skipped");
    });
}

#[test]
fn a_new_record_is_created_and_a_deleted_one_is_reported_not_recreated() {
    with(Rule::Manual, |merger| {
        let mut link = Link::new("r1");
        let new = Pair { left: Some(seen(1, &json!({"f": "a"}))), right: None };
        let effects = link.step(Input::Read(new), merger);
        assert!(writes(&effects)[0].create);
        link.step(Input::Acked { side: Side::Right }, merger);
        link.step(both((1, json!({"f": "a"})), (1, json!({"f": "a"}))), merger);
        let gone = Pair { left: Some(seen(2, &json!({"f": "edited"}))), right: None };
        let effects = link.step(Input::Read(gone), merger);
        assert_eq!(effects[0], Effect::Gone { side: Side::Right, edited_on_other: true });
        assert!(writes(&effects).is_empty());
        let none = Input::Read(Pair::default());
        assert_eq!(link.step(none, merger), [Effect::Closed, Effect::Store]);
    });
}

#[test]
fn our_own_write_does_not_make_a_waiting_edit_look_newer() {
    with(Rule::Latest { skew_us: 10 }, |merger| {
        let at = |version, value: Value, micros| {
            let at = Some(Timestamp::from_micros(micros));
            Some(Observed { changed_at: at, ..seen(version, &value) })
        };
        let mut link = Link::new("r1");
        let start = Pair {
            left: at(1, json!({"f": "l"}), 100),
            right: at(1, json!({"f": "r", "g": "new"}), 105),
        };
        let effects = link.step(Input::Read(start), merger);
        assert!(matches!(effects[0], Effect::Ask(_)));
        link.step(Input::Acked { side: Side::Left }, merger);
        let later = Pair {
            left: at(2, json!({"f": "l", "g": "new"}), 9_000),
            right: at(1, json!({"f": "r", "g": "new"}), 105),
        };
        let effects = link.step(Input::Read(later), merger);
        assert!(matches!(effects[..], [Effect::Ask(_), Effect::Store]), "{effects:?}");
    });
}

/// A system in memory: versions, modification times by its own clock, change events.
struct Fake {
    side: Side,
    record: Record,
    version: u64,
    changed_at: i64,
    skew: i64,
    keeps_tags: bool,
    checks_versions: bool,
    sends_fields: bool,
    echo_writes: usize,
    last_edit: BTreeMap<String, Value>,
}

impl Fake {
    fn change(&mut self, fields: &Record, tag: Option<&str>, now: i64) -> ChangeEvent {
        self.record.extend(fields.clone());
        self.version += 1;
        self.changed_at = now + self.skew;
        ChangeEvent {
            side: self.side,
            version: self.version,
            tag: tag.filter(|_| self.keeps_tags).map(str::to_owned),
            fields: self.sends_fields.then(|| fields.clone()),
        }
    }

    fn observed(&self) -> Observed {
        // what is blank is left out, as real systems do
        let mut record = self.record.clone();
        record.retain(|_, value| !crate::record::is_blank(value));
        let changed_at = Some(Timestamp::from_micros(self.changed_at));
        Observed { record, version: self.version, changed_at, ..Observed::default() }
    }
}

/// Both systems, the driver, and what may be lost in a crash.
struct World {
    rng: Rng,
    now: i64,
    fakes: Pair<Fake>,
    events: Vec<ChangeEvent>,
    link: Link,
    stored: Link,
    effects: VecDeque<Effect>,
    /// How many effects were asked for and carried out.
    queued: usize,
    performed: usize,
    /// Events that are not acknowledged yet, and the effect after which they are; none if all that
    /// follows has to be done first.
    handled: Vec<(ChangeEvent, Option<usize>)>,
    rules: MergeRules,
    answers: Answers,
    asked: BTreeMap<String, Conflict>,
    crashes: usize,
}

const FIELDS: [&str; 7] = ["phone", "stage", "tags", "consent", "title", "size", "note"];

struct Longer;

impl Expressions for Longer {
    fn evaluate(&self, _: &str, clash: &Clash<'_>) -> Result<Value> {
        let (left, right) = (canonical(clash.left), canonical(clash.right));
        if left == "null" && right == "null" {
            return Err(Error::invalid("nothing to glue"));
        }
        Ok(json!(format!("{left}&{right}")))
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rules = [
            ("phone", Rule::PreferLeftUnlessBlank),
            ("stage", Rule::Latest { skew_us: 3 }),
            ("tags", Rule::Union { separator: None }),
            (
                "consent",
                Rule::MostRestrictive { order: vec![json!(false), json!(null), json!(true)] },
            ),
            ("title", Rule::Manual),
            ("size", Rule::Max),
            ("note", Rule::Expression { sql: "left || right".into() }),
        ];
        let rules = MergeRules {
            fields: rules.map(|(field, rule)| (field.to_owned(), rule)).into(),
            ..MergeRules::default()
        };
        let mut fake = |side| Fake {
            side,
            record: Record::new(),
            version: 1,
            changed_at: 0,
            skew: rng.below(5) as i64 - 2,
            keeps_tags: rng.chance(0.5),
            checks_versions: rng.chance(0.5),
            sends_fields: rng.chance(0.8),
            echo_writes: 0,
            last_edit: BTreeMap::new(),
        };
        Self {
            fakes: Pair { left: fake(Side::Left), right: fake(Side::Right) },
            now: 0,
            events: Vec::new(),
            link: Link::new(format!("r{seed}")),
            stored: Link::new(format!("r{seed}")),
            effects: VecDeque::new(),
            queued: 0,
            performed: 0,
            handled: Vec::new(),
            rules,
            answers: Answers::new(),
            asked: BTreeMap::new(),
            crashes: 0,
            rng,
        }
    }

    fn step(&mut self, input: Input<'_>) -> Vec<Effect> {
        let merger = Merger { rules: &self.rules, answers: &self.answers, expressions: &Longer };
        let effects = self.link.step(input, &merger);
        self.queued += effects.len();
        self.effects.extend(effects.clone());
        effects
    }

    fn edit(&mut self) {
        let side = Side::BOTH[self.rng.below(2)];
        let mut fields = Record::new();
        for _ in 0..=self.rng.below(2) {
            let field = FIELDS[self.rng.below(FIELDS.len())];
            let tag = |n: usize| json!(["a", "b", "c", "d"][n]);
            let new = match field {
                "tags" => {
                    let members = 0..self.rng.below(3);
                    Value::Array(members.map(|_| tag(self.rng.below(4))).collect())
                }
                "consent" => [json!(true), json!(false), json!(null)][self.rng.below(3)].clone(),
                "size" => json!(self.rng.below(50)),
                _ if self.rng.chance(0.1) => json!(""),
                _ => json!(format!("{}{}", side.name(), self.rng.below(1_000))),
            };
            fields.insert(field.to_owned(), new);
        }
        let fake = self.fakes.of_mut(side);
        fake.last_edit.extend(fields.clone());
        let event = fake.change(&fields, None, self.now);
        self.events.push(event);
    }

    fn deliver(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let at = self.rng.below(self.events.len());
        let event = self.events.swap_remove(at);
        if self.rng.chance(0.2) {
            self.events.push(event.clone());
        }
        let effects = self.step(Input::Event(&event));
        match effects[..] {
            [] => {}
            [Effect::Store] => self.handled.push((event, Some(self.queued))),
            _ => self.handled.push((event, None)),
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::ReadBoth => {
                let read = Pair {
                    left: Some(self.fakes.left.observed()),
                    right: Some(self.fakes.right.observed()),
                };
                self.step(Input::Read(read));
            }
            Effect::Store => self.stored = self.link.clone(),
            Effect::Write(write) => {
                let fake = self.fakes.of_mut(write.side);
                if fake.checks_versions && fake.version != write.expected {
                    self.step(Input::Moved { side: write.side });
                    return;
                }
                let changes = |(field, new): (&String, &Value)| {
                    !self.rules.rule(field).same(value(&fake.record, field), new)
                };
                if !write.fields.iter().any(changes) {
                    fake.echo_writes += 1;
                }
                let event = fake.change(&write.fields, Some(&write.tag), self.now);
                self.events.push(event);
                if self.rng.chance(0.05) {
                    return self.crash();
                }
                self.step(Input::Acked { side: write.side });
            }
            Effect::Ask(conflict) => {
                self.asked.insert(conflict.id.clone(), conflict);
            }
            Effect::Audit { .. } => {}
            other => panic!("{other:?} in a world without deletes"),
        }
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.effects.clear();
        self.performed = self.queued;
        self.link = self.stored.clone();
        self.events.extend(self.handled.drain(..).map(|(event, _)| event));
        self.step(Input::Restarted);
    }

    /// Carries out one effect, or takes one event: always if there is no effect, else sometimes.
    fn advance(&mut self) {
        if self.effects.is_empty() {
            self.handled.clear();
        } else if !self.rng.chance(0.1)
            && let Some(effect) = self.effects.pop_front()
        {
            self.performed += 1;
            self.perform(effect);
            let performed = self.performed;
            self.handled.retain(|(_, after)| after.is_none_or(|after| after > performed));
            return;
        }
        self.deliver();
    }

    fn writes(&self) -> u64 {
        self.fakes.left.version + self.fakes.right.version
    }

    /// Lets everything arrive, and answers what is asked.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.effects.is_empty() || !self.events.is_empty() {
                self.advance();
                continue;
            }
            let open = std::mem::take(&mut self.asked);
            let open: Vec<Conflict> =
                open.into_values().filter(|c| !self.answers.contains_key(&c.id)).collect();
            if open.is_empty() {
                return;
            }
            for conflict in open {
                self.answers.insert(conflict.id, conflict.right);
            }
            let version = self.fakes.left.version + 1_000;
            self.events.push(ChangeEvent { side: Side::Left, version, tag: None, fields: None });
        }
        panic!("the two systems answer each other for ever");
    }
}

#[test]
fn ten_thousand_interleavings_converge_with_at_most_one_echo_write() {
    let (mut edits, mut crashes, mut versions, mut echo_writes) = (0, 0, 0, 0);
    for seed in 0..10_000 {
        let mut world = World::new(seed);
        for _ in 0..(10 + world.rng.below(30)) {
            world.now += world.rng.below(4) as i64;
            match world.rng.below(10) {
                0..=2 => {
                    edits += 1;
                    world.edit();
                }
                3 if world.rng.chance(0.3) => world.crash(),
                _ => world.advance(),
            }
        }
        world.settle();
        crashes += world.crashes;
        let (left, right) = (&world.fakes.left, &world.fakes.right);
        for field in FIELDS {
            let (l, r) = (value(&left.record, field), value(&right.record, field));
            let rule = world.rules.rule(field);
            assert!(rule.same(l, r), "seed {seed}: {field} is {l} and {r}");
            assert!(rule.same(l, world.link.shadow.value(field)), "seed {seed}: {field} shadow");
            // what only one side edited is what that side typed last
            let edits = (left.last_edit.get(field), right.last_edit.get(field));
            let ((Some(one), None) | (None, Some(one))) = edits else { continue };
            assert!(rule.same(l, one), "seed {seed}: the edit {one} of {field} became {l}");
        }
        let echoes = left.echo_writes + right.echo_writes;
        assert!(echoes <= 1, "seed {seed}: {echoes} writes that changed nothing");
        assert!(world.link.is_resting());
        versions += world.writes();
        echo_writes += echoes;

        // everything delivered once more, without its tags, changes nothing
        let before = world.writes();
        for side in Side::BOTH {
            let all = world.fakes.of(side).record.clone();
            let version = world.fakes.of(side).version;
            for version in [version - 1, version] {
                let fields = Some(all.clone());
                world.events.push(ChangeEvent { side, version, tag: None, fields });
            }
        }
        world.settle();
        assert_eq!(world.writes(), before, "seed {seed}: an echo was answered by a write");
    }
    println!(
        "10,000 records: {edits} edits, {crashes} crashes, {versions} versions, {echo_writes} writes \
         that changed nothing"
    );
    assert!(crashes > 2_000 && edits > 20_000, "the test tests too little");
}
