//! A Salesforce org and a HubSpot account, through the binary and their web APIs: their records kept alike, and
//! the org's brought into the lake.

mod actions;
mod hubspot;
mod salesforce;
pub(crate) mod server;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use flywheel_base::Timestamp;
use serde_json::json;

use crate::house::{House, text};

use self::hubspot::HubSpot;
use self::salesforce::Salesforce;

const COMPANIES: &str = "link: companies
left: {connection: salesforce, options: {object: Account}, target: {object: Account}, id: Id, create_by: Flywheel_Key__c, changed_at: SystemModstamp}
right: {connection: hubspot, options: {object: companies}, target: {object: companies}, id: hs_object_id, create_by: flywheel_key, changed_at: updatedAt}
fields:
  - {name: name, left: Name}
  - {name: city, left: BillingCity}
match: {exact: [{fields: [name]}]}
rule: manual
";

const PEOPLE: &str = "link: people
left: {connection: salesforce, options: {object: Contact}, target: {object: Contact}, id: Id, create_by: Flywheel_Key__c, changed_at: SystemModstamp}
right: {connection: hubspot, options: {object: contacts}, target: {object: contacts}, id: hs_object_id, create_by: email, changed_at: updatedAt}
fields:
  - {name: email, left: Email, clean: email}
  - {name: name, left: LastName, right: lastname, rule: {latest: {skew: 2m}}}
  - {name: consent, left: Consent__c, rule: {most-restrictive: {order: [\"no\", \"yes\"]}}}
  - {name: company, left: AccountId, right: company_id, refers_to: companies}
match: {exact: [{email: email}]}
rule: prefer-left-unless-blank
";

/// The time of both systems; every change is ten minutes after the one before.
#[derive(Clone)]
struct Clock(Arc<AtomicI64>);

impl Clock {
    fn tick(&self) -> Timestamp {
        let step = 600_000_000;
        Timestamp::from_micros(self.0.fetch_add(step, Ordering::SeqCst) + step)
    }
}

/// A project between two systems.
struct Crms {
    house: House,
    salesforce: Arc<Mutex<Salesforce>>,
    hubspot: Arc<Mutex<HubSpot>>,
}

impl Crms {
    fn new(more: &str) -> Self {
        let start = Timestamp::parse("2024-05-01").unwrap();
        let clock = Clock(Arc::new(AtomicI64::new(start.micros())));
        let salesforce = Arc::new(Mutex::new(Salesforce::new(&clock)));
        let hubspot = Arc::new(Mutex::new(HubSpot::new(&clock)));
        let org = server::serve(&salesforce, Salesforce::answer);
        let account = server::serve(&hubspot, HubSpot::answer);
        let house = House::new();
        house.write("secret", "hush");
        house.write(
            "connections/salesforce.yaml",
            format!(
                "connection: salesforce\ntype: salesforce\noptions:\n  instance_url: {org}\n  auth: {{type: oauth2, token_url: '{org}/services/oauth2/token', client_id: flywheel, client_secret: '${{file:secret}}'}}\n  allow_private: true\n"
            ),
        );
        house.write(
            "connections/hubspot.yaml",
            format!(
                "connection: hubspot\ntype: hubspot\noptions: {{base_url: '{account}', token: '${{file:secret}}', allow_private: true}}\n"
            ),
        );
        house.write("links/people.yaml", format!("{PEOPLE}{more}"));
        house.write("links/companies.yaml", COMPANIES);
        Self { house, salesforce, hubspot }
    }

    fn left(&self) -> MutexGuard<'_, Salesforce> {
        self.salesforce.lock().unwrap()
    }

    fn right(&self) -> MutexGuard<'_, HubSpot> {
        self.hubspot.lock().unwrap()
    }

    /// People and their companies' names, as each system has them.
    fn people(&self) -> (Vec<String>, Vec<String>) {
        let left = self.left();
        let accounts = left.living("Account");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("∅").to_owned();
        let company = |id: &serde_json::Value| {
            let found = accounts.iter().find(|one| one["Id"] == *id);
            found.map_or_else(|| "∅".to_owned(), |one| text(&one["Name"]))
        };
        let person = |one: &&serde_json::Map<String, serde_json::Value>| {
            let (mail, name) = (text(&one["Email"]).to_lowercase(), text(&one["LastName"]));
            format!("{mail}|{name}|{}|{}", text(&one["Consent__c"]), company(&one["AccountId"]))
        };
        let mut of_left: Vec<String> = left.living("Contact").iter().map(person).collect();
        let right = self.right();
        let companies = right.living("companies");
        let mut of_right = Vec::new();
        for (_, one) in right.living("contacts") {
            let own = |name: &str| one.properties.get(name).map_or("∅", String::as_str);
            let id = own("company_id").parse::<u64>().ok();
            let company = companies.iter().find(|(known, _)| Some(*known) == id);
            let company = company.map_or("∅", |(_, one)| one.properties["name"].as_str());
            let (mail, name, consent) = (own("email"), own("lastname"), own("consent"));
            of_right.push(format!("{mail}|{name}|{consent}|{company}"));
        }
        of_left.sort();
        of_right.sort();
        (of_left, of_right)
    }

    fn writes(&self) -> (usize, usize) {
        (self.left().writes, self.right().writes)
    }

    /// Both hold the same, and a further run writes nothing anywhere.
    fn settled(&self) -> Vec<String> {
        let (left, right) = self.people();
        assert_eq!(left, right);
        let before = self.writes();
        self.house.ok(&["link", "run"]);
        assert_eq!(self.writes(), before, "an echo was written");
        assert_eq!(self.people().0, left);
        left
    }
}

/// Two systems that know some of the same companies and people.
fn met(more: &str) -> Crms {
    met_with(more, 5)
}

fn met_with(more: &str, customers: usize) -> Crms {
    let crms = Crms::new(more);
    {
        let mut left = crms.left();
        let acme = left.add("Account", &json!({ "Name": "Acme", "BillingCity": "Berlin" }));
        let bolt = left.add("Account", &json!({ "Name": "Bolt" }));
        for (email, name, consent, account) in [
            ("Ann@Acme.cn", "Ann", "yes", &acme),
            ("bob@bolt.cn", "Bob", "yes", &bolt),
            ("cy@bolt.cn", "Cy", "no", &bolt),
            ("dot@acme.cn", "Dot", "yes", &acme),
        ] {
            let contact = json!({ "Email": email, "LastName": name, "Consent__c": consent, "AccountId": account });
            left.add("Contact", &contact);
        }
    }
    {
        let mut right = crms.right();
        let acme = right.add("companies", &[("name", "Acme"), ("city", "Berlin")]).to_string();
        let zen = right.add("companies", &[("name", "Zen")]).to_string();
        right.add(
            "contacts",
            &[
                ("email", "ann@acme.cn"),
                ("lastname", "Anne"),
                ("consent", "no"),
                ("company_id", &acme),
            ],
        );
        for n in 0..customers {
            let (email, name) = (format!("z{n}@zen.cn"), format!("Z{n}"));
            right.add(
                "contacts",
                &[("email", &email), ("lastname", &name), ("consent", "yes"), ("company_id", &zen)],
            );
        }
    }
    crms
}

#[test]
fn two_web_crms_meet_become_alike_and_stay_alike() {
    let crms = met_with("", 25);
    let plan = crms.house.ok(&["link", "plan"]);
    assert!(plan.contains("people") && plan.contains("companies"), "{plan}");
    assert_eq!(crms.writes(), (0, 0), "a plan writes nothing");
    // Companies come before the people that refer to them; the ids of new ones are known a run later.
    crms.house.ok(&["link", "run"]);
    let first = crms.right().written.clone();
    let people = first.iter().position(|one| one.starts_with("contacts")).unwrap();
    assert!(first[..people].iter().any(|one| one.starts_with("companies")), "{first:?}");
    assert!(first[people..].iter().all(|one| one.starts_with("contacts")), "{first:?}");
    assert_eq!(crms.right().living("companies").len(), 3);
    assert_eq!(crms.left().living("Account").len(), 3);
    crms.house.ok(&["link", "run"]);
    let all = crms.settled();
    assert_eq!(all.len(), 29);
    // The later name, the consent that allows less, and each company where its people are.
    assert_eq!(all[0], "ann@acme.cn|Anne|no|Acme");
    assert_eq!(all[1], "bob@bolt.cn|Bob|yes|Bolt");
    assert_eq!(all[4], "z0@zen.cn|Z0|yes|Zen");

    // Edits on both sides, of other records, of other fields of one record, and of the same field.
    let bob = crms.left().contact("bob@bolt.cn");
    let cy = crms.left().contact("cy@bolt.cn");
    crms.left().change("Contact", &bob, &json!({ "LastName": "Robert" }));
    crms.left().change("Contact", &cy, &json!({ "LastName": "Cyrus" }));
    let cy = crms.right().contact("cy@bolt.cn");
    let dot = crms.right().contact("dot@acme.cn");
    crms.right().change("contacts", cy, &[("lastname", "Cyril")]);
    crms.right().change("contacts", dot, &[("consent", ""), ("lastname", "Dorothy")]);
    crms.house.ok(&["link", "run"]);
    let all = crms.settled();
    for expected in ["bob@bolt.cn|Robert|yes|Bolt", "cy@bolt.cn|Cyril|no|Bolt"] {
        assert!(all.contains(&expected.to_owned()), "{all:?}");
    }
    assert!(all.contains(&"dot@acme.cn|Dorothy|∅|Acme".to_owned()), "{all:?}");
    // Somebody moves to another company.
    let bolt = crms.right().records["companies"]
        .iter()
        .find(|(_, one)| one.properties["name"] == "Bolt")
        .map(|(id, _)| id.to_string())
        .unwrap();
    let z0 = crms.right().contact("z0@zen.cn");
    crms.right().change("contacts", z0, &[("company_id", &bolt)]);
    crms.house.ok(&["link", "run"]);
    assert!(crms.settled().contains(&"z0@zen.cn|Z0|yes|Bolt".to_owned()));
    // All of that while the systems turned requests away and tokens ended.
    assert!(crms.left().turned_away > 5 && crms.right().turned_away > 5);
}

#[test]
fn a_conflict_between_web_crms_waits_for_a_person() {
    let crms = met("");
    for _ in 0..2 {
        crms.house.ok(&["link", "run"]);
    }
    let acme = crms.left().living("Account")[0]["Id"].as_str().unwrap().to_owned();
    crms.left().change("Account", &acme, &json!({ "BillingCity": "Bonn" }));
    crms.right().change("companies", 501, &[("city", "Bern")]);
    crms.house.ok(&["link", "run"]);
    assert_eq!(crms.right().records["companies"][&501].properties["city"], "Bern");
    let id = crms.house.cell("select id from system.link_questions where open");
    let shown = crms.house.ok(&["link", "questions", "companies"]);
    assert!(shown.contains("Bonn") && shown.contains("Bern"), "{shown}");
    crms.house.ok(&["link", "answer", "companies", &id, "left"]);
    crms.house.ok(&["link", "run"]);
    assert_eq!(crms.right().records["companies"][&501].properties["city"], "Bonn");
    assert_eq!(crms.left().records["Account"][&acme]["BillingCity"], json!("Bonn"));
    crms.settled();
    let before = "select before from system.link_audit where rule = 'answer' and side = 'right'";
    assert!(crms.house.cell(before).contains("Bern"));
}

#[test]
fn a_record_that_a_web_crm_refuses_costs_no_other_and_is_tried_again() {
    let crms = met("");
    let bad =
        json!({ "Email": "eve.refused-by-hubspot@x.cn", "LastName": "Eve", "Consent__c": "yes" });
    let bad = crms.left().add("Contact", &bad);
    let worse = [("email", "fay.refused-by-salesforce@x.cn"), ("lastname", "Fay")];
    let worse = crms.right().add("contacts", &worse);
    for _ in 0..2 {
        let output = crms.house.run(&["link", "run"]);
        assert_eq!(output.status.code(), Some(1), "a refused record is told");
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(told.contains("will not take"), "{told}");
    }
    let (left, right) = crms.people();
    assert_eq!((left.len(), right.len()), (10, 10), "all others are there");
    crms.left().change("Contact", &bad, &json!({ "Email": "eve@x.cn" }));
    crms.right().change("contacts", worse, &[("email", "fay@x.cn")]);
    crms.house.ok(&["link", "run"]);
    crms.house.ok(&["link", "run"]);
    assert_eq!(crms.settled().len(), 11);
}

#[test]
fn a_lost_answer_of_a_web_crm_makes_no_record_twice() {
    let crms = met("");
    crms.right().lose = 2;
    crms.house.ok(&["link", "run"]);
    crms.house.ok(&["link", "run"]);
    assert_eq!(crms.right().lose, 0);
    assert_eq!(crms.settled().len(), 9);
    assert_eq!(crms.right().living("companies").len(), 3);
    // Answers are lost for so long that the run gives up; the next one finds out what took place.
    for n in 0..4 {
        let contact = json!({ "Email": format!("new{n}@x.cn"), "LastName": format!("N{n}") });
        crms.left().add("Contact", &contact);
    }
    crms.right().lose = 100;
    crms.right().busy = false;
    let slow = "connections/hubspot.yaml";
    let patient = crms.house.read(slow);
    crms.house.write(slow, patient.replace("allow_private", "retries: 0, allow_private"));
    assert_eq!(crms.house.run(&["link", "run"]).status.code(), Some(1));
    assert_eq!(crms.right().living("contacts").len(), 13, "they are there all the same");
    crms.right().lose = 0;
    crms.house.write(slow, patient);
    crms.house.ok(&["link", "run"]);
    assert_eq!(crms.settled().len(), 13);
}

#[test]
fn deletions_reach_the_other_web_crm_up_to_a_limit() {
    let crms = met("deletes: propagate\nlimits: {max_deletes: 2, max_change_ratio: 50%}\n");
    for _ in 0..2 {
        crms.house.ok(&["link", "run"]);
    }
    assert_eq!(crms.settled().len(), 9);
    let bob = crms.left().contact("bob@bolt.cn");
    crms.left().delete("Contact", &bob);
    let z1 = crms.right().contact("z1@zen.cn");
    crms.right().records.get_mut("contacts").unwrap().get_mut(&z1).unwrap().archived = true;
    crms.house.ok(&["link", "run"]);
    assert_eq!(crms.settled().len(), 7);
    // Somebody empties a system: nothing is deleted in the other one, and nothing else is written.
    for email in ["ann@acme.cn", "z0@zen.cn", "z2@zen.cn"] {
        let id = crms.right().contact(email);
        crms.right().records.get_mut("contacts").unwrap().get_mut(&id).unwrap().archived = true;
    }
    let cy = crms.left().contact("cy@bolt.cn");
    crms.left().change("Contact", &cy, &json!({ "LastName": "Cyrus" }));
    let before = crms.writes();
    let complaint = crms.house.fails(3, &["link", "run", "people"]);
    assert!(complaint.contains("token"), "{complaint}");
    assert_eq!(crms.writes(), before);
    let plan = crms.house.ok(&["link", "plan", "people", "--output", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let token = plan[0]["approval"].as_str().unwrap();
    crms.house.ok(&["link", "run", "people", "--approve", token]);
    let all = crms.settled();
    assert_eq!(all.len(), 4);
    assert!(all.contains(&"cy@bolt.cn|Cyrus|no|Bolt".to_owned()), "{all:?}");
}

const SYNC: &str = "sync: org
connection: salesforce
streams:
  - {stream: accounts, to: raw.accounts, read: full, write: replace, options: {object: Account, bulk: always}}
  - {stream: contacts, to: raw.contacts, read: cdc, write: mirror, key: [Id], options: {object: Contact}}
";

#[test]
fn an_org_comes_into_the_lake_by_a_query_job_and_by_its_change_events() {
    let crms = met("");
    crms.house.write("syncs/org.yaml", SYNC);
    let there = || {
        let left = crms.left();
        let of = |one: &&serde_json::Map<String, serde_json::Value>| {
            let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            format!("{},{},{}", text("Id"), text("LastName"), text("Consent__c"))
        };
        left.living("Contact").iter().map(of).collect::<Vec<_>>()
    };
    let contacts = || {
        crms.house.sql(r#"select "Id", "LastName", "Consent__c" from raw.contacts order by "Id""#)
    };
    crms.house.ok(&["sync", "org"]);
    assert_eq!(crms.house.sql(r#"select "Name" from raw.accounts order by 1"#), ["Acme", "Bolt"]);
    assert!(crms.left().jobs.is_empty(), "a job whose rows are stored is deleted");
    assert_eq!(contacts(), there());
    // An edit of one field leaves the others; what is new comes, and what is deleted goes.
    let bob = crms.left().contact("bob@bolt.cn");
    let cy = crms.left().contact("cy@bolt.cn");
    crms.left().change("Contact", &bob, &json!({ "LastName": "Robert" }));
    crms.left().delete("Contact", &cy);
    crms.left().add("Contact", &json!({ "Email": "eve@x.cn", "LastName": "Eve" }));
    crms.house.ok(&["sync", "org"]);
    assert_eq!(contacts(), there());
    assert!(contacts().contains(&format!("{bob},Robert,yes")), "{:?}", contacts());
    crms.house.ok(&["sync", "org"]);
    assert_eq!(contacts(), there());
    // More changes at once than events tell of: it is said, and read anew when somebody asks for it.
    crms.left().change("Contact", &bob, &json!({ "LastName": "Rob" }));
    crms.left().tell("GAP_OVERFLOW", &["000000000000000AAA"]);
    let complaint = crms.house.fails(3, &["sync", "org"]);
    assert!(complaint.contains("lost") && complaint.contains("--restart"), "{complaint}");
    crms.left().forget_events();
    crms.house.ok(&["sync", "org", "--restart"]);
    assert_eq!(contacts(), there());
}
