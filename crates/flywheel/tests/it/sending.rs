//! What leaves without a turn, and the switch that keeps everything from leaving.

use flywheel_testkit::wait_for;
use serde_json::{Value, json};

use crate::house::House;
use crate::loop_closed::{receiver, shop};
use crate::schedules::login;
use crate::served::{Process, ask};

/// A served project, asked as its owner.
struct Desk {
    server: Process,
    session: String,
}

impl Desk {
    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let answer = ask(&self.server.address, &self.session, "POST", path, &body).unwrap();
        (answer.0, answer.2)
    }

    fn get(&self, path: &str) -> Value {
        let (status, _, answer) =
            ask(&self.server.address, &self.session, "GET", path, "").unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    fn decide(&self, unit: &str) -> (u16, Value) {
        self.post("/v1/decide", &json!({"policy": "offer", "unit": unit, "request_id": unit}))
    }

    /// How many deliveries stand so.
    fn count(&self, status: &str) -> u64 {
        self.get("/v1/actions/counts")[status].as_u64().unwrap()
    }
}

/// A shop whose policy leaves nobody out, and whose action is tried again after a second.
fn house(url: &str) -> House {
    let action = format!(
        "type: webhook\nbackoff: 1s\noptions: {{url: '{url}', allow_private: true, parallel: 1}}\n"
    );
    let house = shop(&action, "holdout: 0%\n");
    house.write("schedules/leave.yaml", "schedule: leave\nrun: act\nretry: {attempts: 1}\n");
    house.ok(&["sync"]);
    house
}

#[test]
fn what_is_decided_by_the_api_leaves_without_a_turn_and_a_halt_keeps_everything_back() {
    let (url, seen) = receiver(vec![503, 200]);
    let house = house(&url);
    let server = Process::start(&house);
    let desk = Desk { session: server.owner(), server };
    let (status, first) = desk.decide("c001");
    assert_eq!(status, 200, "{first}");
    assert!(wait_for(|| desk.count("delivered") == 1), "{:?}", seen.lock().unwrap());
    let sent = seen.lock().unwrap().clone();
    assert_eq!(sent.iter().map(|(_, status)| *status).collect::<Vec<_>>(), [503, 200]);
    assert!(!sent[0].0.is_empty() && sent[0].0 == sent[1].0, "one key: {sent:?}");
    let shown = "select status, attempts from system.actions";
    assert!(wait_for(|| house.sql(shown) == ["delivered,2"]), "{:?}", house.sql(shown));
    assert_eq!(desk.get("/v1/turns")["items"], json!([]));

    let (status, halted) = desk.post("/v1/halt", &json!({"reason": "wrong prices"}));
    assert_eq!((status, &halted["new"]), (200, &json!(true)), "{halted}");
    let (status, refused) = desk.decide("c002");
    assert_eq!(status, 409, "{refused}");
    assert!(refused.to_string().contains("wrong prices"), "{refused}");
    let known = desk.decide("c001").1;
    assert_eq!(known["decision_id"], first["decision_id"], "what was decided stays so");
    let status = desk.get("/v1/status");
    assert_eq!(status["attention"][0]["kind"], "halted", "{status}");
    assert_eq!(status["halted"]["by"], "ada", "{status}");
    assert!(house.ok(&["status"]).contains("ALL POLICIES ARE STOPPED"));
    // A command line needs no lock for it.
    house.ok(&["policy", "resume", "--all"]);
    assert_eq!(desk.get("/v1/halt")["halted"], Value::Null);
    let (status, second) = desk.decide("c002");
    assert_eq!(status, 200, "{second}");
    assert!(wait_for(|| desk.count("delivered") == 2), "{:?}", seen.lock().unwrap());
    let audit = desk.get("/v1/audit")["items"].to_string();
    assert!(audit.contains("policy.resume") && audit.contains("command line"), "{audit}");
    desk.server.kill();

    // Where deliveries belong to turns, they leave with one, with a schedule or by hand.
    house.write("flywheel.yaml", "name: shop\ndeliver: in-turns\n");
    let server = Process::start(&house);
    let desk = Desk { session: login(&server), server };
    let (status, third) = desk.decide("c003");
    assert_eq!(status, 200, "{third}");
    assert_eq!(desk.count("pending"), 1);
    house.ok(&["policy", "pause", "--all", "--reason", "look first"]);
    let run = |ends: &str| {
        let (status, asked) = desk.post("/v1/schedules/leave/run", &json!({}));
        assert_eq!(status, 202, "{asked}");
        let path = format!("/v1/schedule-runs/{}", asked["run"]["id"].as_str().unwrap());
        assert!(wait_for(|| desk.get(&path)["status"] == ends), "{}", desk.get(&path));
    };
    run("blocked");
    assert_eq!((desk.count("pending"), seen.lock().unwrap().len()), (1, 3));
    house.ok(&["policy", "resume", "--all"]);
    run("succeeded");
    assert_eq!((desk.count("pending"), seen.lock().unwrap().len()), (0, 4));
    let (status, fourth) = desk.decide("c004");
    assert_eq!(status, 200, "{fourth}");
    desk.server.kill();

    // A halt survives a kill, and mistakes in files keep nobody from it.
    house.write("models/marts/broken.yml", "models: [");
    house.ok(&["policy", "pause", "--all", "--reason", "look again"]);
    std::fs::remove_file(house.path("models/marts/broken.yml")).unwrap();
    house.fails(3, &["act"]);
    assert!(house.ok(&["turn"]).contains("ALL POLICIES ARE STOPPED: look again"));
    assert_eq!(seen.lock().unwrap().len(), 4);
    assert_eq!(house.cell("select count(*) from system.decisions"), "4");
    house.ok(&["policy", "resume", "--all"]);
    house.ok(&["act"]);
    let keys: Vec<String> = seen.lock().unwrap().iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(keys.len(), 5, "{keys:?}");
    let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
    assert_eq!(distinct.len(), 4, "only what failed was sent twice: {keys:?}");
    assert!(house.ok(&["audit", "verify"]).contains("as they were written"));
}
