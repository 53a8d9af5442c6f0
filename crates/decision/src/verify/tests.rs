//! A thousand decisions of each way to choose come out the same, and whatever is changed in one is told.

use flywheel_project::resource::learner::Bandit;

use super::*;

/// A policy that chooses in this way, with a holdout and a payload.
fn policy(choose: &Value) -> Policy {
    serde_json::from_value(json!({
        "policy": "p", "audience": "select 1", "choose": choose, "holdout": "20%", "action": "send",
        "payload": {"to": "$age", "fixed": 1},
    }))
    .unwrap()
}

fn unit(n: usize) -> Unit {
    // Numbers that are not short in decimals must come back bit for bit, too.
    let columns = json!({"age": 1.0 / (3.0 + n as f64), "name": format!("n {n}")});
    Unit { id: format!("u{n}"), columns: columns.as_object().unwrap().clone() }
}

/// The rows of a thousand units of a policy, and what they followed from.
fn decided(policy: Policy, way: Chooser, ids: Option<&[&str]>) -> (Sources, Vec<DecisionRow>) {
    decided_under(None, policy, way, ids)
}

/// The same, with units that no policy treats.
fn decided_under(
    global: Option<&GlobalHoldout>,
    policy: Policy,
    way: Chooser,
    ids: Option<&[&str]>,
) -> (Sources, Vec<DecisionRow>) {
    let version = flywheel_base::digest::short(&[&policy_text(&policy).unwrap()]);
    let at = Timestamp::parse("2024-05-01 10:00").unwrap();
    let mut rows = Vec::new();
    for n in 0..1_000 {
        let unit = unit(n);
        let seed = seed_of("p", at, &unit.id);
        let rng = &mut Rng::new(seed);
        let choice = match &way {
            Chooser::Candidates(candidates) => candidates.choose(rng).unwrap(),
            Chooser::Experiment(assignment) => assignment.choose(&unit).unwrap(),
            Chooser::Bandit(draws) => draws.choose(&unit, rng).unwrap(),
            Chooser::Items(settings) => {
                let mut ids: Vec<String> = ids.unwrap().iter().map(|id| (*id).to_owned()).collect();
                ids.rotate_left(n % 5);
                let known = ids.iter().zip(1..).map(|(id, rank)| {
                    (id.clone(), (1.0 / f64::from(rank), format!("because of {id}")))
                });
                choose_again(settings, &ids, &known.collect(), Some("a".into()), rng).unwrap()
            }
            Chooser::Orders(_) => panic!("orders have their own artifact"),
        };
        let draw = Draw { name: "p", policy: &policy, version: &version, at, turn: 1, global };
        rows.push(draw.row(&unit, choice, seed, format!("{n:016x}")).unwrap());
    }
    let mut sources = Sources::default();
    sources.policies.insert(("p".into(), version), Some(Arc::new(policy)));
    let key = sources.key(&rows[0]);
    sources.ways.insert(key, Ok(way));
    (sources, rows)
}

fn items() -> (Sources, Vec<DecisionRow>) {
    let choose = json!({"recommend": {"learner": "l", "slots": 2, "explore": "40%"}});
    let policy = policy(&choose);
    let Choose::Recommend(settings) = policy.choose.clone() else { panic!() };
    decided(policy, Chooser::Items(settings), Some(&["a", "b", "c", "d", "e"]))
}

fn bandit() -> (Sources, Vec<DecisionRow>) {
    let settings: Bandit = serde_json::from_value(json!({
        "policy": "p", "actions": ["a", "b", "c"], "context": [{"column": "age"}], "explore": 0.3,
    }))
    .unwrap();
    let mut stored = Stored::fresh(&settings).unwrap();
    for step in 0..300 {
        let x = f64::from(step % 20) / 10.0 - 1.0;
        stored.learn(&[x], (step % 3) as usize, f64::from(u8::from(step % 7 == 0))).unwrap();
    }
    let candidates: Vec<BanditCandidate> =
        serde_json::from_value(json!([{"name": "b"}, {"name": "a", "payload": {"x": 2}}])).unwrap();
    let draws = Draws::new("p", stored, Some("a".into()), candidates.clone()).unwrap();
    let choose = json!({"bandit": {"learner": "l", "candidates": candidates}});
    decided(policy(&choose), Chooser::Bandit(Box::new(draws)), None)
}

fn weights() -> (Sources, Vec<DecisionRow>) {
    let list = json!([{"name": "a", "weight": 3}, {"name": "b", "payload": {"x": 2}}]);
    let policy = policy(&json!({"candidates": list}));
    let Choose::Candidates(list) = policy.choose.clone() else { panic!() };
    decided(policy, Chooser::Candidates(Candidates::new("p", &list).unwrap()), None)
}

fn variants() -> (Sources, Vec<DecisionRow>) {
    let list = json!([{"name": "a"}, {"name": "b", "weight": 2}]);
    let policy = policy(&json!({"experiment": {"variants": list}}));
    let Choose::Experiment(settings) = policy.choose.clone() else { panic!() };
    decided(policy, Chooser::Experiment(Assignment::new("p", &settings).unwrap()), None)
}

/// A column, and what changes it.
type Change = (&'static str, fn(&mut DecisionRow));

/// The columns that are told of a row after something was changed in it.
fn told(sources: &Sources, row: &DecisionRow, change: fn(&mut DecisionRow)) -> Vec<&'static str> {
    let mut row = row.clone();
    change(&mut row);
    match again(sources, &row).unwrap() {
        Again::Differs(fields) => fields.iter().map(|field| field.column).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_thousand_decisions_of_each_way_to_choose_come_out_the_same() {
    for (sources, rows) in [items(), bandit(), weights(), variants()] {
        assert_eq!(rows.len(), 1_000);
        for row in &rows {
            let found = again(&sources, row).unwrap();
            assert!(matches!(found, Again::Same), "{row:?}: {found:?}");
        }
        let held = rows.iter().filter(|row| row.arm != TREATMENT).count();
        assert!((150..250).contains(&held), "{held}");
    }
}

#[test]
fn decisions_come_out_the_same_under_the_global_holdout_they_were_drawn_under() {
    let policy = policy(&json!({"candidates": [{"name": "a", "weight": 3}, {"name": "b"}]}));
    let Choose::Candidates(list) = policy.choose.clone() else { panic!() };
    let way = || Chooser::Candidates(Candidates::new("p", &list).unwrap());
    let global: GlobalHoldout =
        serde_json::from_value(json!({"share": "30%", "salt": "s"})).unwrap();
    let (sources, rows) = decided_under(Some(&global), policy.clone(), way(), None);
    let of = |arm: &str| rows.iter().filter(|row| row.arm == arm).collect::<Vec<_>>();
    let (treated, held, by_all) = (of(TREATMENT), of("holdout"), of("global_holdout"));
    assert!((240..360).contains(&by_all.len()), "{}", by_all.len());
    assert!((90..190).contains(&held.len()), "a share of the others: {}", held.len());
    for row in &by_all {
        assert_eq!((row.action.as_str(), &row.payload), ("none", &None));
        assert_eq!(row.propensity.to_bits(), 0.3_f64.to_bits());
    }
    // Nobody else's row is another one than without it.
    let (_, plain) = decided(policy, way(), None);
    for row in treated.iter().chain(&held) {
        let before = plain.iter().find(|one| one.unit_id == row.unit_id).unwrap();
        assert_eq!((&row.arm, &row.action), (&before.arm, &before.action));
        assert_eq!(row.propensity.to_bits(), before.propensity.to_bits());
    }
    for row in &rows {
        assert!(matches!(again(&sources, row).unwrap(), Again::Same), "{row:?}");
    }
    let told = told(&sources, by_all[0], |row| row.global_holdout = None);
    assert!(told.contains(&"arm"), "{told:?}");
}

#[test]
fn whatever_is_changed_in_a_decision_is_told() {
    let changes: [Change; 8] = [
        ("seed", |row| row.seed = "00000000000000ff".into()),
        ("seed", |row| row.unit_id = "somebody".into()),
        ("arm", |row| row.arm = "elsewhere".into()),
        ("action", |row| row.action = "z".into()),
        ("propensity", |row| row.propensity = f64::from_bits(row.propensity.to_bits() + 1)),
        ("features_digest", |row| row.features = "{\"age\":0.25}".into()),
        ("candidates", |row| row.candidates += 1),
        ("payload", |row| row.payload = None),
    ];
    for (sources, rows) in [items(), bandit(), weights(), variants()] {
        let row = rows.iter().find(|row| row.arm == TREATMENT).unwrap();
        for (column, change) in changes {
            let told = told(&sources, row, change);
            assert!(told.contains(&column), "{column}: {told:?}");
        }
    }
    let (sources, rows) = items();
    let row = rows.iter().find(|row| row.arm == TREATMENT).unwrap();
    let other = |row: &mut DecisionRow| {
        let items = row.items.take().unwrap_or_default();
        row.items = Some(items.replacen("\"item_id\":\"", "\"item_id\":\"x", 1));
    };
    assert!(told(&sources, row, other).contains(&"items"));
    let fewer = |row: &mut DecisionRow| row.candidate_ids = Some("[\"a\",\"q\"]".into());
    assert!(told(&sources, row, fewer).contains(&"candidates_digest"));
    let (sources, rows) = bandit();
    let more = |row: &mut DecisionRow| {
        row.chances = row.chances.take().map(|text| text.replacen("\"b\":0.", "\"b\":0.0", 1));
    };
    assert!(told(&sources, &rows[0], more).contains(&"chances"));
}

#[test]
fn what_a_row_of_before_does_not_hold_is_said_and_not_guessed() {
    let (sources, rows) = items();
    let row = rows.iter().find(|row| row.arm == TREATMENT).unwrap();
    let old = DecisionRow { candidate_ids: None, ..row.clone() };
    let Again::Cannot(reason) = again(&sources, &old).unwrap() else { panic!() };
    assert!(reason.contains("candidates were not logged"), "{reason}");
    // What was changed is told there, too.
    let changed = DecisionRow { seed: "1".into(), ..old };
    assert!(matches!(again(&sources, &changed).unwrap(), Again::Differs(_)));
}
