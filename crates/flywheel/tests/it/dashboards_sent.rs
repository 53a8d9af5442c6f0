//! Dashboards that schedules send: what arrives, once, and what is said where it does not.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::house::House;

/// A mail server that takes every message, or none, or takes it and does not say so.
struct Mail {
    port: u16,
    got: Arc<Mutex<Vec<String>>>,
    refuses: Arc<AtomicBool>,
    unclear: Arc<AtomicBool>,
}

impl Mail {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::<Mutex<Vec<String>>>::default();
        let (refuses, unclear) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let mail = Self {
            port,
            got: Arc::clone(&got),
            refuses: Arc::clone(&refuses),
            unclear: Arc::clone(&unclear),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Who leaves in the middle of a talk has said nothing.
                drop(stream.and_then(|stream| talk(stream, &got, (&refuses, &unclear))));
            }
        });
        mail
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
}

fn talk(
    mut stream: TcpStream,
    got: &Mutex<Vec<String>>,
    (refuses, unclear): (&AtomicBool, &AtomicBool),
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    stream.write_all(b"220 fake\r\n")?;
    while let Some(line) = lines.next() {
        let line = line?;
        let answer = match line.get(..4).unwrap_or(&line) {
            "MAIL" if refuses.load(Ordering::SeqCst) => "550 not from you",
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let mut message = String::new();
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    message.push_str(&line);
                    message.push('\n');
                }
                got.lock().unwrap().push(message);
                if unclear.load(Ordering::SeqCst) { "451 perhaps" } else { "250 queued" }
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
    }
    Ok(())
}

/// The bytes of the part of a message whose head has `mark`.
fn part(message: &str, mark: &str) -> Vec<u8> {
    let (_, rest) = message.split_once(mark).unwrap();
    let (_, body) = rest.split_once("\n\n").unwrap();
    let body = body.split("\n--").next().unwrap();
    decoded(&body.replace('\n', ""))
}

/// Bytes from base64.
fn decoded(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let place = |byte: u8| digits.iter().position(|digit| *digit == byte).unwrap() as u32;
    let mut out = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits =
            four.iter().fold(0, |bits, byte| (bits << 6) | place(*byte)) << (6 * (4 - four.len()));
        out.extend(bits.to_be_bytes().iter().skip(1).take(four.len() - 1));
    }
    out
}

/// A shop with orders of two countries, a dashboard, and two ways out of it.
fn shop(mail: &Mail) -> House {
    let house = House::new();
    house.write(
        "models/mart/orders.sql",
        "{{ config(materialized='table') }}\nselect * from (values (1, 'France', 10.0), (2, 'it''s', 5.0), (3, 'France', 2345.5)) as t (order_id, country, amount)\n",
    );
    house.write(
        "metrics/orders.yaml",
        "semantic: orders\ntable: ref('orders')\nentities: {order: {type: primary, key: order_id}}\ndimensions: {country: {}}\n\
         measures: {revenue: {aggregate: sum, expression: amount}}\nmetrics: {revenue: {measure: revenue, label: {en: Turnover, zh: 成交额}}}\n",
    );
    house.write(
        "dashboards/sales.yaml",
        "dashboard: sales\ntitle: {en: Sales, zh: 销售}\ntiles:\n  - {tile: revenue, metrics: [revenue]}\n  - {tile: lands, metrics: revenue, by: country}\n",
    );
    house.write(
        "actions/mail.yaml",
        format!(
            "action: mail\ntype: email\noptions: {{host: 127.0.0.1, port: {}, security: none, allow_private: true, from: ops@example.com, to: [ada@example.org]}}\n",
            mail.port
        ),
    );
    house.write(
        "actions/lines.yaml",
        "action: lines\ntype: file\noptions: {path: 'out/{policy}.jsonl'}\n",
    );
    house.write(
        "schedules/weekly.yaml",
        "schedule: weekly\nrun: dashboard\nselect: [sales]\nsend: {actions: [mail, lines], language: zh}\n",
    );
    house.ok(&["build"]);
    house
}

/// What became of each delivery so far.
fn deliveries(house: &House) -> Vec<String> {
    house.sql("select name, status, count(*) from system.tasks where kind = 'send' group by 1, 2 order by 1, 2")
}

#[test]
fn a_dashboard_is_sent_with_its_figures_and_its_workbook_once_for_each_moment() {
    let mail = Mail::start();
    let house = shop(&mail);
    // Who refuses it is named, and everybody else gets it.
    mail.refuses.store(true, Ordering::SeqCst);
    let complaint = house.fails(1, &["schedule", "run", "weekly"]);
    let named = "dashboard \"sales\" was refused by action \"mail\": 550 not from you";
    assert!(complaint.contains(named) && complaint.contains("schedule rerun"), "{complaint}");
    assert_eq!(deliveries(&house), ["sales to lines,succeeded,1", "sales to mail,failed,1"]);

    // Run again for its moment, it goes to those who have not got it.
    mail.refuses.store(false, Ordering::SeqCst);
    let id = house.cell("select id from system.schedule_runs");
    house.ok(&["schedule", "rerun", &id]);
    assert_eq!(
        deliveries(&house),
        ["sales to lines,succeeded,1", "sales to mail,failed,1", "sales to mail,succeeded,1"]
    );
    assert_eq!(house.read("out/sales.weekly.jsonl").lines().count(), 1);
    house.fails(1, &["schedule", "rerun", &id]);
    let got = mail.got();
    assert_eq!(got.len(), 1, "once for each moment");

    let message = &got[0];
    let text = String::from_utf8(part(message, "Content-Type: text/plain")).unwrap();
    assert!(text.starts_with("成交额: 2,360.5\r\n"), "{text}");
    assert!(text.contains("\r\n  country | 成交额\r\n  France | 2,355.5\r\n  it's | 5"), "{text}");
    let html = String::from_utf8(part(message, "Content-Type: text/html")).unwrap();
    assert!(html.contains("it&#39;s</td>"), "{html}");
    assert!(message.contains("filename*0*=utf-8''%E9%94%80%E5%94%AE"), "{message}");

    // The workbook has the figures that a query has.
    let book = part(message, "Content-Disposition: attachment");
    assert!(book.starts_with(b"PK"));
    house.write("data/got.xlsx", &book);
    house.write(
        "connections/books.yaml",
        "connection: books\ntype: excel\noptions: {folder: data}\n",
    );
    house.write(
        "syncs/got.yaml",
        "sync: got\nconnection: books\nstreams:\n  - {stream: lands, options: {path: got.xlsx, sheet: 成交额（按 country）}, read: full, write: replace}\n",
    );
    house.ok(&["sync", "got"]);
    let cents = |column: &str| format!("cast(round(cast({column} as double) * 100) as bigint)");
    let sent = format!("select country, {} from raw.lands order by 1", cents("revenue"));
    let asked =
        format!("select country, {} from mart.orders group by 1 order by 1", cents("sum(amount)"));
    assert_eq!(house.sql(&sent), house.sql(&asked));

    // Programs get the rows.
    let line: Value = serde_json::from_str(house.read("out/sales.weekly.jsonl").trim()).unwrap();
    let tiles = &line["payload"]["tiles"];
    assert_eq!(tiles[0]["rows"][0][0].as_f64(), Some(2360.5));
    assert_eq!(tiles[1]["row_count"], 2);
    assert_eq!(line["payload"]["link"], Value::Null, "no address is made up");

    // The next moment is another message.
    house.ok(&["schedule", "run", "weekly"]);
    assert_eq!(mail.got().len(), 2);
}

#[test]
fn what_may_be_sent_once_is_not_sent_again_when_nobody_knows_whether_it_arrived() {
    let mail = Mail::start();
    let house = shop(&mail);
    let action = house.read("actions/mail.yaml");
    house.write("actions/mail.yaml", format!("{action}guarantee: at-most-once\n"));
    mail.unclear.store(true, Ordering::SeqCst);
    let complaint = house.fails(1, &["schedule", "run", "weekly"]);
    let unknown = "whether it arrived is not known";
    assert!(complaint.contains(unknown) && complaint.contains("451 perhaps"), "{complaint}");
    assert_eq!(deliveries(&house), ["sales to lines,succeeded,1", "sales to mail,failed,1"]);

    mail.unclear.store(false, Ordering::SeqCst);
    let id = house.cell("select id from system.schedule_runs");
    let complaint = house.fails(1, &["schedule", "rerun", &id]);
    assert!(complaint.contains(unknown), "{complaint}");
    assert!(complaint.contains("schedule run weekly"), "{complaint}");
    assert_eq!(mail.got().len(), 1, "nobody gets it twice");

    // A person who has asked sends it anew.
    house.ok(&["schedule", "run", "weekly"]);
    assert_eq!(mail.got().len(), 2);
    assert_eq!(
        deliveries(&house),
        ["sales to lines,succeeded,2", "sales to mail,failed,1", "sales to mail,succeeded,1"]
    );
}

#[test]
fn a_tile_that_fails_is_named_and_a_task_sends_after_what_it_waits_for() {
    let mail = Mail::start();
    let house = shop(&mail);
    house.write(
        "dashboards/odd.yaml",
        "dashboard: odd\ntiles:\n  - {tile: revenue, metrics: [revenue]}\n  - {tile: broken, sql: \"select cast(country as int) as n from {{ ref('orders') }}\"}\n",
    );
    house.write(
        "schedules/steps.yaml",
        "schedule: steps\ntasks:\n  - {task: make, run: build}\n  - {task: tell, run: dashboard, select: [odd, sales], send: {actions: [mail, lines]}, after: [make]}\n",
    );
    let complaint = house.fails(3, &["schedule", "run", "steps"]);
    assert!(complaint.contains("dashboard \"odd\", tile \"broken\""), "{complaint}");
    assert_eq!(
        deliveries(&house),
        [
            "tell: odd to lines,succeeded,1",
            "tell: odd to mail,succeeded,1",
            "tell: sales to lines,succeeded,1",
            "tell: sales to mail,succeeded,1",
        ]
    );
    let texts: Vec<String> = mail
        .got()
        .iter()
        .map(|message| String::from_utf8(part(message, "Content-Type: text/plain")).unwrap())
        .collect();
    assert!(
        texts[0].contains("Turnover: 2,360.5")
            && texts[0].ends_with("broken: could not be answered"),
        "{texts:?}"
    );
    assert!(!texts[1].contains("could not"), "{texts:?}");
    // Nothing is left to send, and nobody gets it twice.
    let id = house.cell("select id from system.schedule_runs");
    house.ok(&["schedule", "rerun", &id]);
    assert_eq!(mail.got().len(), 2);
}

#[test]
fn what_carries_no_dashboard_is_refused_before_anything_runs() {
    let house = shop(&Mail::start());
    house.write(
        "actions/stream.yaml",
        "action: stream\ntype: kafka\noptions: {brokers: 'localhost:9092', topic: out}\n",
    );
    house.write(
        "schedules/wrong.yaml",
        "schedule: wrong\nrun: dashboard\nselect: [sale]\nsend: {actions: [stream, mial]}\n",
    );
    let complaint = house.fails(2, &["check"]);
    for said in [
        "unknown dashboard \"sale\"",
        "Did you mean \"sales\"?",
        "of type \"kafka\", which carries no dashboard",
        "email, chat, webhook or file",
        "unknown action \"mial\"",
        "Did you mean \"mail\"?",
    ] {
        assert!(complaint.contains(said), "{said}: {complaint}");
    }
}
