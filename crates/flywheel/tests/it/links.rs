//! Records kept alike on two systems, through the binary.

use rusqlite::Connection;

use serde_json::json;

use crate::house::House;
use crate::schedules::Owner;
use crate::served::Process;

/// Two systems that know some of the same people, each by numbers of its own.
fn two_crms(link: &str) -> House {
    let house = House::new();
    for (name, table) in [
        (
            "sales",
            "create table contacts (Id integer primary key, Email text unique, Name text, Phone text, Consent text, At text, Note text)",
        ),
        (
            "support",
            "create table people (id integer primary key, email text unique, full_name text, phone text, consent text, at text, note text)",
        ),
    ] {
        let database = Connection::open(house.path(&format!("{name}.db"))).unwrap();
        database.execute_batch(table).unwrap();
        house.write(
            &format!("connections/{name}.yaml"),
            format!("connection: {name}\ntype: sqlite\noptions: {{path: {name}.db}}\n"),
        );
    }
    house.write("links/people.yaml", format!("{PEOPLE}{link}"));
    house
}

const PEOPLE: &str = "link: people
left: {connection: sales, options: {table: contacts}, target: {table: contacts}, id: Id, create_by: Email, changed_at: At}
right: {connection: support, options: {table: people}, target: {table: people}, id: id, create_by: email, changed_at: at}
fields:
  - {name: email, left: Email}
  - {name: name, left: Name, right: full_name, rule: {latest: {skew: 1m}}}
  - {name: phone, left: Phone, type: text, clean: phone(CN)}
  - {name: note, left: Note, rule: {expression: {sql: \"coalesce(left, '') || ' / ' || coalesce(right, '')\"}}}
  - {name: consent, left: Consent, rule: {most-restrictive: {order: [\"no\", \"yes\"]}}}
match: {exact: [{email: email}]}
";

fn run(house: &House, database: &str, sql: &str) {
    let database = Connection::open(house.path(&format!("{database}.db"))).unwrap();
    database.execute_batch(sql).unwrap();
}

fn rows(house: &House, database: &str, sql: &str) -> Vec<String> {
    let database = Connection::open(house.path(&format!("{database}.db"))).unwrap();
    let mut statement = database.prepare(sql).unwrap();
    let width = statement.column_count();
    let cell = |row: &rusqlite::Row<'_>, at| match row.get_unwrap::<_, rusqlite::types::Value>(at) {
        rusqlite::types::Value::Null => "∅".to_owned(),
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Real(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        rusqlite::types::Value::Blob(_) => "blob".to_owned(),
    };
    let row = |row: &rusqlite::Row<'_>| {
        Ok((0..width).map(|at| cell(row, at)).collect::<Vec<_>>().join("|"))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// What both must have; telephones are the same in several forms and are looked at where they matter.
const LEFT: &str = "select Email, Name, Consent from contacts order by Email";
const RIGHT: &str = "select email, full_name, consent from people order by email";

/// Both systems hold the same, and a further run has nothing to do.
fn settled(house: &House) -> Vec<String> {
    let left = rows(house, "sales", LEFT);
    assert_eq!(left, rows(house, "support", RIGHT));
    let written = house.cell("select count(*) from system.link_audit");
    house.ok(&["link", "run"]);
    assert_eq!(
        house.cell("select count(*) from system.link_audit"),
        written,
        "an echo was written"
    );
    left
}

fn meet(house: &House) {
    run(
        house,
        "sales",
        "insert into contacts (Id, Email, Name, Phone, Consent, At) values
        (1, 'ann@x.cn', 'Ann', '138 0013 8000', 'yes', '2024-01-01T00:00:00Z'),
        (2, 'bob@x.cn', 'Bob', null, 'yes', '2024-01-01T00:00:00Z'),
        (3, 'cy@x.cn', 'Cy', null, null, '2024-01-01T00:00:00Z')",
    );
    run(
        house,
        "support",
        "insert into people (id, email, full_name, phone, consent, at) values
        (70, 'ANN@x.cn', 'Ann', '+8613800138000', 'no', '2024-01-01T00:00:00Z'),
        (71, 'bob@x.cn', 'Robert', '010-6552 9988', 'yes', '2024-03-01T00:00:00Z'),
        (72, 'di@x.cn', 'Di', null, 'yes', '2024-01-01T00:00:00Z')",
    );
}

#[test]
fn two_crms_meet_become_alike_and_stay_alike() {
    let house = two_crms("");
    meet(&house);
    let plan = house.ok(&["link", "plan"]);
    assert!(plan.contains("people"), "{plan}");
    assert_eq!(
        rows(&house, "sales", "select count(*) from contacts"),
        ["3"],
        "a plan writes nothing"
    );
    assert_eq!(house.cell("select count(*) from system.link_audit"), "0");

    house.ok(&["link", "run"]);
    let left = rows(&house, "sales", LEFT);
    assert_eq!(left.len(), 4);
    // The later name, the only telephone in one form, the consent that allows less, Di created.
    assert_eq!(left[1], "bob@x.cn|Robert|yes");
    assert!(left.contains(&"di@x.cn|Di|yes".to_owned()), "{left:?}");
    assert_eq!(rows(&house, "sales", "select Phone from contacts where Id = 2"), ["+861065529988"]);
    assert_eq!(rows(&house, "sales", "select Consent from contacts where Id = 1"), ["no"]);
    assert_eq!(
        rows(&house, "support", "select full_name from people where email = 'cy@x.cn'"),
        ["Cy"]
    );
    // The addresses of Ann differ in case and were never agreed: a person decides.
    let question = house.sql("select kind, record, detail from system.link_questions where open");
    assert_eq!(question.len(), 1, "{question:?}");
    let id = house.cell("select id from system.link_questions where open");
    house.ok(&["link", "answer", "people", &id, "left"]);
    house.ok(&["link", "run"]);
    assert_eq!(house.cell("select count(*) from system.link_questions where open"), "0");
    settled(&house);

    // Edits in both directions, of the same record too.
    run(
        &house,
        "sales",
        "update contacts set Phone = '138 0000 0001', At = '2024-04-01T00:00:00Z' where Id = 1",
    );
    run(
        &house,
        "support",
        "update people set full_name = 'Anne', at = '2024-04-01T00:00:00Z' where id = 70",
    );
    house.ok(&["link", "run"]);
    assert_eq!(
        rows(&house, "support", "select full_name, phone from people where id = 70"),
        ["Anne|+8613800000001"]
    );
    assert_eq!(rows(&house, "sales", "select Name from contacts where Id = 1"), ["Anne"]);
    let before = house.cell("select before from system.link_audit where field = 'name' and side = 'left' order by at desc, tag desc limit 1");
    assert!(before.contains("Ann") || before.contains("Bob"), "{before}");
    assert_eq!(rows(&house, "sales", "select count(*) from contacts"), ["4"]);
}

#[test]
fn a_conflict_waits_for_a_person_and_the_answer_is_written_to_both() {
    let house = two_crms("rule: manual\n");
    run(
        &house,
        "sales",
        "insert into contacts (Id, Email, Name, Phone, Consent, At) values (1, 'ann@x.cn', 'Ann', '138 0013 8000', 'yes', '2024-01-01T00:00:00Z')",
    );
    house.ok(&["link", "run"]);
    settled(&house);
    run(&house, "sales", "update contacts set Phone = '138 0013 8001'");
    run(&house, "support", "update people set phone = '138 0013 8002'");
    house.ok(&["link", "run"]);
    assert_ne!(
        rows(&house, "sales", "select Phone from contacts"),
        rows(&house, "support", "select phone from people"),
        "nobody said which"
    );
    let shown = house.ok(&["link", "questions", "people"]);
    assert!(shown.contains("phone") && shown.contains("+8613800138001"), "{shown}");
    let id = house.cell("select id from system.link_questions where open");
    let complaint = house.fails(2, &["link", "answer", "people", "nonsense", "left"]);
    assert!(complaint.contains("nonsense"), "{complaint}");
    let complaint = house.fails(2, &["link", "answer", "people", &id, "same"]);
    assert!(complaint.contains("is about a value"), "{complaint}");
    house.ok(&["link", "answer", "people", &id, "+8613800138003"]);
    house.ok(&["link", "run"]);
    let agreed = settled(&house);
    assert_eq!(agreed, ["ann@x.cn|Ann|yes"]);
    for (database, sql) in
        [("sales", "select Phone from contacts"), ("support", "select phone from people")]
    {
        assert_eq!(rows(&house, database, sql), ["+8613800138003"]);
    }
    assert_eq!(house.cell("select rule from system.link_audit order by at desc limit 1"), "answer");
}

#[test]
fn a_side_that_cannot_find_a_record_again_is_told_by_the_plan_and_no_side_is_written() {
    let house = two_crms("");
    run(
        &house,
        "support",
        "drop table people; create table people (id integer primary key, email text, full_name text, phone text, consent text, at text, note text)",
    );
    meet(&house);
    let planned = house.run(&["link", "plan"]);
    let said = String::from_utf8_lossy(&planned.stderr).into_owned();
    assert!(planned.status.success() && said.contains("a run would stop: right side"), "{said}");
    assert!(said.contains("is not unique by \"email\""), "{said}");
    let complaint = house.fails(2, &["link", "run"]);
    assert!(complaint.contains("CREATE UNIQUE INDEX"), "{complaint}");
    assert_eq!(rows(&house, "sales", "select count(*) from contacts"), ["3"]);
    run(&house, "support", "create unique index people_key on people (email)");
    house.ok(&["link", "run"]);
    assert_eq!(rows(&house, "sales", "select count(*) from contacts"), ["4"]);
}

#[test]
fn too_many_deletions_stop_the_run_until_exactly_they_are_approved() {
    let house = two_crms("deletes: propagate\nlimits: {max_deletes: 5}\n");
    let people: Vec<String> = (0..40)
        .map(|n| format!("({n}, 'p{n:02}@x.cn', 'P{n}', null, 'yes', '2024-01-01T00:00:00Z')"))
        .collect();
    run(
        &house,
        "sales",
        &format!(
            "insert into contacts (Id, Email, Name, Phone, Consent, At) values {}",
            people.join(",")
        ),
    );
    house.ok(&["link", "run"]);
    assert_eq!(rows(&house, "support", "select count(*) from people"), ["40"]);
    settled(&house);
    run(&house, "sales", "delete from contacts where Id < 3");
    house.ok(&["link", "run"]);
    assert_eq!(rows(&house, "support", "select count(*) from people"), ["37"]);
    // Somebody empties the table: nothing is deleted, nothing else is written.
    run(&house, "sales", "delete from contacts where Id < 30");
    run(&house, "support", "update people set full_name = 'Zoe' where email = 'p39@x.cn'");
    let complaint = house.fails(3, &["link", "run"]);
    assert!(complaint.contains("27") && complaint.contains("token"), "{complaint}");
    assert_eq!(rows(&house, "support", "select count(*) from people"), ["37"]);
    assert_eq!(
        rows(&house, "sales", "select Name from contacts where Email = 'p39@x.cn'"),
        ["P39"]
    );
    let plan = house.ok(&["link", "plan", "--output", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let token = plan[0]["approval"].as_str().unwrap();
    house.fails(3, &["link", "run", "--approve", "another"]);
    house.ok(&["link", "run", "--approve", token]);
    assert_eq!(rows(&house, "support", "select count(*) from people"), ["10"]);
    settled(&house);
    // Changed there, deleted here: a person is asked.
    run(&house, "support", "update people set full_name = 'Yul' where email = 'p38@x.cn'");
    run(&house, "sales", "delete from contacts where Email = 'p38@x.cn'");
    house.ok(&["link", "run"]);
    assert_eq!(house.cell("select kind from system.link_questions where open"), "delete");
    let id = house.cell("select id from system.link_questions where open");
    house.ok(&["link", "answer", "people", &id, "keep"]);
    house.ok(&["link", "run"]);
    assert_eq!(
        rows(&house, "support", "select count(*) from people where email = 'p38@x.cn'"),
        ["1"]
    );
    assert_eq!(
        rows(&house, "sales", "select count(*) from contacts where Email = 'p38@x.cn'"),
        ["0"]
    );
}

#[test]
fn what_may_be_a_duplicate_is_asked_and_not_created() {
    let house = two_crms("");
    meet(&house);
    house.ok(&["link", "run"]);
    let people = rows(&house, "support", "select count(*) from people");
    // A second record of Bob's in the sales system, with the address written another way.
    run(
        &house,
        "sales",
        "insert into contacts (Id, Email, Name, Phone, Consent, At) values (9, 'Bob@X.cn', 'Bob B.', null, 'yes', '2024-05-01T00:00:00Z')",
    );
    house.ok(&["link", "run"]);
    assert_eq!(rows(&house, "support", "select count(*) from people"), people);
    let kind = "select kind from system.link_questions where open and kind = 'match'";
    assert_eq!(house.sql(kind), ["match"]);
}

#[test]
fn people_who_share_an_address_are_paired_by_name_or_asked_about() {
    let house = two_crms("");
    let rules = "match: {exact: [{email: email}]";
    let unless = format!("{rules}, unless: {{field: name, measure: name, below: 60%}}");
    house.write("links/people.yaml", PEOPLE.replace(rules, &unless));
    run(
        &house,
        "sales",
        "insert into contacts (Id, Email, Name, At) values
        (1, 'lee@x.cn', 'Ann Lee', '2024-01-01T00:00:00Z'),
        (2, 'Lee@x.cn', 'Robert Quist', '2024-01-01T00:00:00Z')",
    );
    run(
        &house,
        "support",
        "insert into people (id, email, full_name, at) values
        (70, 'LEE@x.cn', 'Robert Quist', '2024-01-01T00:00:00Z'),
        (71, 'lee@X.cn', 'Ann Lee', '2024-01-01T00:00:00Z'),
        (72, 'lee@x.CN', 'Zoe Marsh', '2024-01-01T00:00:00Z')",
    );
    house.ok(&["link", "run"]);
    assert_eq!(rows(&house, "sales", "select count(*) from contacts"), ["2"]);
    assert_eq!(rows(&house, "support", "select count(*) from people"), ["3"]);
    let asked =
        "select replace(record, ',', '') from system.link_questions where open and kind = 'match'";
    assert_eq!(house.sql(asked), ["left 1 right 72"]);
}

#[test]
fn a_refused_record_costs_no_other_and_is_tried_again() {
    let house = two_crms("");
    run(
        &house,
        "support",
        "create trigger short before insert on people when length(new.full_name) > 5
        begin select raise(abort, 'the name is too long'); end",
    );
    run(&house, "sales", "insert into contacts (Id, Email, Name, Phone, Consent, At) values (1, 'a@x.cn', 'Ann', null, 'yes', '2024-01-01T00:00:00Z'),
        (2, 'b@x.cn', 'Bartholomew', null, 'yes', '2024-01-01T00:00:00Z'), (3, 'c@x.cn', 'Cy', null, 'yes', '2024-01-01T00:00:00Z')");
    let run_again = || house.run(&["link", "run"]);
    assert!(!run_again().status.success(), "a refused record is told");
    assert_eq!(
        rows(&house, "support", "select email from people order by 1"),
        ["a@x.cn", "c@x.cn"]
    );
    run(&house, "support", "drop trigger short");
    assert!(run_again().status.success());
    assert_eq!(settled(&house).len(), 3);
}

#[test]
fn a_record_that_cannot_be_read_is_not_taken_for_a_deleted_one() {
    let house = two_crms("deletes: propagate\n");
    meet(&house);
    house.ok(&["link", "run"]);
    run(&house, "sales", "update contacts set Phone = 'no number at all' where Id = 2");
    let complaint = house.fails(3, &["link", "run"]);
    assert!(
        complaint.contains("cannot be read") && complaint.contains("Nothing was written"),
        "{complaint}"
    );
    assert_eq!(rows(&house, "support", "select count(*) from people"), ["4"]);
}

#[test]
fn a_run_is_taken_back_where_its_values_still_stand() {
    let house = two_crms("");
    meet(&house);
    house.ok(&["link", "run"]);
    let id = house.cell("select id from system.link_questions where open");
    house.ok(&["link", "answer", "people", &id, "left"]);
    house.ok(&["link", "run"]);
    run(
        &house,
        "sales",
        "update contacts set Name = 'Wrong', At = '2025-01-01T00:00:00Z' where Id in (1, 2)",
    );
    house.ok(&["link", "run"]);
    assert_eq!(
        rows(&house, "support", "select count(*) from people where full_name = 'Wrong'"),
        ["2"]
    );
    run(&house, "support", "update people set full_name = 'Bobby' where id = 71");
    let last = house.cell("select run_id from system.link_audit where after = '\"Wrong\"' limit 1");
    house.fails(1, &["link", "revert", "people", "--run", &last]);
    assert_eq!(
        rows(&house, "support", "select full_name from people where id in (70, 71) order by id"),
        ["Ann", "Bobby"]
    );
    assert_eq!(house.cell("select count(*) from system.link_audit where rule = 'revert'"), "1");
}

#[test]
fn references_are_translated_between_the_ids_of_two_systems() {
    let house = two_crms("");
    run(
        &house,
        "sales",
        "create table accounts (Id integer primary key, Name text unique); alter table contacts add AccountId integer",
    );
    run(
        &house,
        "support",
        "create table companies (id integer primary key, name text unique); alter table people add company_id integer",
    );
    house.write(
        "links/companies.yaml",
        "link: companies\nleft: {connection: sales, options: {table: accounts}, target: {table: accounts}, id: Id, create_by: Name}\nright: {connection: support, options: {table: companies}, target: {table: companies}, id: id, create_by: name}\nfields: [{name: name, left: Name}]\nmatch: {exact: [{fields: [name]}]}\n",
    );
    let people = PEOPLE.replace(
        "match:",
        "  - {name: company, left: AccountId, right: company_id, refers_to: companies}\nmatch:",
    );
    house.write("links/people.yaml", people);
    run(&house, "support", "insert into companies values (500, 'Other')");
    run(&house, "sales", "insert into accounts values (1, 'Acme'), (2, 'Bolt'); insert into contacts (Id, Email, Name, Phone, Consent, At, AccountId) values
        (1, 'a@x.cn', 'Ann', null, 'yes', '2024-01-01T00:00:00Z', 2), (2, 'b@x.cn', 'Bob', null, 'yes', '2024-01-01T00:00:00Z', 1)");
    // The companies are created first; their new ids are known once their system shows them.
    for _ in 0..3 {
        house.ok(&["link", "run"]);
    }
    let named =
        "select p.email, c.name from people p join companies c on c.id = p.company_id order by 1";
    assert_eq!(rows(&house, "support", named), ["a@x.cn|Bolt", "b@x.cn|Acme"]);
    run(&house, "support", "update people set company_id = 500 where email = 'a@x.cn'");
    house.ok(&["link", "run"]);
    let named =
        "select Email, a.Name from contacts p join accounts a on a.Id = p.AccountId order by 1";
    assert_eq!(rows(&house, "sales", named), ["a@x.cn|Other", "b@x.cn|Acme"]);
}

#[test]
fn a_system_that_takes_no_writes_costs_nothing_but_time() {
    let house = two_crms("");
    meet(&house);
    house.ok(&["link", "run"]);
    run(
        &house,
        "sales",
        "insert into contacts (Id, Email, Name, Phone, Consent, At) values (20, 'eve@x.cn', 'Eve', null, 'yes', '2024-06-01T00:00:00Z'); update contacts set Name = 'Cyrus', At = '2024-06-01T00:00:00Z' where Id = 3",
    );
    run(
        &house,
        "support",
        "update people set full_name = 'Diana', at = '2024-06-01T00:00:00Z' where id = 72",
    );
    {
        let held = Connection::open(house.path("support.db")).unwrap();
        held.execute_batch("begin immediate").unwrap();
        let output = house.run(&["link", "run"]);
        assert_eq!(output.status.code(), Some(1));
    }
    // The other side has its change already; the plan of this one is completed, each record once.
    assert_eq!(
        rows(&house, "sales", "select Name from contacts where Email = 'di@x.cn'"),
        ["Diana"]
    );
    house.ok(&["link", "run"]);
    let id = house.cell("select id from system.link_questions where open");
    house.ok(&["link", "answer", "people", &id, "left"]);
    house.ok(&["link", "run"]);
    let all = settled(&house);
    assert!(
        all.contains(&"eve@x.cn|Eve|yes".to_owned()) && all.contains(&"cy@x.cn|Cyrus|∅".to_owned()),
        "{all:?}"
    );
    let twice = "select count(*) from (select link, tag, side, field from system.link_audit group by 1, 2, 3, 4 having count(*) > 1)";
    assert_eq!(house.cell(twice), "0");
}

#[test]
fn an_expression_decides_what_both_changed() {
    let house = two_crms("");
    meet(&house);
    run(&house, "sales", "update contacts set Note = 'called' where Id = 2");
    house.ok(&["link", "run"]);
    let notes = |database: &str, sql: &str| rows(&house, database, sql);
    assert_eq!(notes("support", "select note from people where id = 71"), ["called"]);
    run(&house, "sales", "update contacts set Note = 'called twice' where Id = 2");
    run(&house, "support", "update people set note = 'angry' where id = 71");
    house.ok(&["link", "run"]);
    assert_eq!(notes("support", "select note from people where id = 71"), ["called twice / angry"]);
    assert_eq!(notes("sales", "select Note from contacts where Id = 2"), ["called twice / angry"]);
    assert_eq!(
        house.sql("select distinct rule from system.link_audit where after like '%twice / angry%'"),
        ["expression"]
    );
}

#[test]
fn a_server_runs_a_link_by_its_schedule_and_people_answer_there() {
    let house = two_crms("");
    meet(&house);
    house.write("schedules/alike.yaml", "schedule: alike\nrun: link\nselect: [people]\n");
    house.write(
        "schedules/steps.yaml",
        "schedule: steps\ntasks:\n  - {task: people, run: link, select: [people]}\n  - {task: told, after: [people]}\n",
    );
    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    let planned = owner.done("/v1/links/people/run", &json!({"plan": true}));
    assert_eq!((&planned["kind"], &planned["status"]), (&json!("link plan"), &json!("succeeded")));
    let shown = owner.get("/v1/links/people");
    let created = &shown["plan"]["detail"]["created"];
    assert_eq!(created, &json!({"left": 1, "right": 1}), "{shown}");
    assert_eq!(rows(&house, "sales", "select count(*) from contacts"), ["3"]);

    owner.until(&owner.run("alike"), "succeeded");
    let cy = "select full_name from people where email = 'cy@x.cn'";
    assert_eq!(rows(&house, "support", cy), ["Cy"]);
    let listed = owner.get("/v1/links");
    let link = &listed["items"][0];
    assert_eq!((&link["left"], &link["right"]), (&json!("sales"), &json!("support")), "{listed}");
    assert_eq!((&link["questions"], &link["answered"]), (&json!(1), &json!(0)), "{listed}");
    assert_eq!(link["last"]["status"], "succeeded", "{listed}");

    // Both sides' values are shown, and one of them is chosen.
    let asked = owner.get("/v1/links/people/questions");
    let question = &asked["items"][0];
    assert_eq!(
        (&question["kind"], &question["detail"]["field"]),
        (&json!("conflict"), &json!("email"))
    );
    assert_eq!(question["detail"]["left"], "ann@x.cn", "{asked}");
    assert_eq!(question["detail"]["right"], "ANN@x.cn", "{asked}");
    let say = |body: serde_json::Value| owner.ask("POST", "/v1/links/people/answer", &body);
    let id = &question["id"];
    assert_eq!(say(json!({"id": "nonsense", "answer": "left"})).0, 404);
    assert_eq!(say(json!({"id": id, "answer": "same"})).0, 400);
    assert_eq!(say(json!({"id": id})).0, 400);
    let (status, answer) = say(json!({"id": id, "answer": "left"}));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(owner.get("/v1/links/people")["answered"], 1);
    owner.until(&owner.run("steps"), "succeeded");
    assert_eq!(owner.get("/v1/links/people/questions")["items"], json!([]));
    assert_eq!(owner.get("/v1/links")["items"][0]["questions"], 0);
    let ran = owner.done("/v1/links/people/run", &json!({}));
    assert_eq!(ran["status"], "succeeded", "{ran}");
    drop(owner);
    drop(server);
    settled(&house);
}
