//! Other people's programs and queues, as somebody uses them: by the binary and files.

use crate::house::{House, text};

/// A Singer target: notes each record and gives the last state back when its input ends.
const TARGET: &str = r#"state=
while IFS= read -r line; do
  case $line in
    *'"RECORD"'*) printf '%s\n' "$line" >> got.txt ;;
    *'"STATE"'*) state=${line#*'"value":'}; state=${state%\}} ;;
  esac
done
if [ -e broken ]; then echo 'the disk is full' >&2; exit 3; fi
if [ -n "$state" ]; then printf '%s\n' "$state"; fi
"#;

/// A project that hands rows of CSV files to the target.
fn handing_over(limits: &str) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "connections/target.yaml",
        "connection: target\ntype: singer\noptions: {command: [sh, target.sh]}\n",
    );
    house.write(
        "syncs/out.yaml",
        format!(
            "sync: out\nconnection: files\ndestination: target\n{limits}streams:\n  - {{stream: events, options: {{path: '*.csv'}}, read: incremental, write: append}}\n"
        ),
    );
    house.write("target.sh", TARGET);
    house.write("data/1.csv", "id\n1\n2\n3\n");
    house
}

/// The ids the target was given, in order.
fn given(house: &House) -> Vec<u64> {
    let record = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["record"]["id"].as_u64().unwrap()
    };
    house.read("got.txt").lines().map(record).collect()
}

#[test]
fn rows_go_on_to_a_program_once_it_has_acknowledged_those_before() {
    let house = handing_over("limits: {rows_per_second: 1000}\n");
    house.ok(&["sync", "out"]);
    house.ok(&["sync", "out"]);
    assert_eq!(given(&house), [1, 2, 3], "what is acknowledged is not handed over again");
    house.write("data/2.csv", "id\n4\n");
    house.write("broken", "");
    let message = house.fails(1, &["sync", "out"]);
    assert!(message.contains("the disk is full"), "{message}");
    std::fs::remove_file(house.path("broken")).unwrap();
    house.ok(&["sync", "out"]);
    house.ok(&["sync", "out"]);
    assert_eq!(given(&house), [1, 2, 3, 4, 4], "what is not acknowledged is handed over again");
}

#[test]
fn a_limit_that_lets_nothing_through_is_a_mistake_in_the_file() {
    let house = handing_over("limits: {rows_per_second: 0}\n");
    let message = house.fails(2, &["check"]);
    assert!(
        message.contains("syncs/out.yaml:4") && message.contains("rows_per_second"),
        "{message}"
    );
}

#[test]
fn topics_of_a_journal_are_made_changed_and_removed() {
    let house = House::new();
    house.write("connections/queue.yaml", "connection: queue\ntype: journal\noptions: {path: q}\n");
    let of_queue =
        |arguments: &[&'static str]| [&["topic", "--connection", "queue"], arguments].concat();
    let ok = |arguments: &[&'static str]| house.ok(&of_queue(arguments));
    let refused = |arguments: &[&'static str]| house.fails(2, &of_queue(arguments));
    ok(&["create", "events"]);
    assert!(ok(&["list", "--output", "csv"]).contains("events,1"));
    ok(&["alter", "events", "--config", "retention.ms=86400000"]);
    let all: serde_json::Value =
        serde_json::from_str(&ok(&["describe", "events", "--output", "json"])).unwrap();
    assert_eq!(all["config"]["retention.ms"]["value"], "86400000");
    assert!(refused(&["alter", "events", "--partitions", "3"]).contains("one partition"));
    assert!(refused(&["create", "../events"]).contains("cannot be the name of a topic"));
    ok(&["delete", "events"]);
    assert!(refused(&["delete", "events"]).contains("no topic \"events\""));
}

/// A Singer tap of 2,500 rows that goes on behind its state, notes each state it is given, and breaks down in the middle.
const TAP: &str = r#"from=0 discover=
while [ $# -gt 0 ]; do
  case "$1" in
    --discover) discover=yes ;;
    --state) from=$(tr -dc 0-9 < "$2"); shift ;;
    *) shift ;;
  esac
  shift
done
if [ $discover ]; then cat streams.json; exit; fi
echo $from >> states.txt
printf '{"type":"SCHEMA","stream":"t","schema":{"properties":{"n":{"type":"integer"}}},"key_properties":["n"]}\n'
i=$from
while [ $i -lt 2500 ]; do
  i=$((i + 1))
  printf '{"type":"RECORD","stream":"t","record":{"n":%s}}\n' $i
  if [ $((i % 100)) = 0 ]; then printf '{"type":"STATE","value":{"at":%s}}\n' $i; fi
  if [ -e broken ] && [ $i = 1750 ]; then echo 'the line is down' >&2; exit 3; fi
done
"#;

#[test]
fn a_read_that_was_cut_off_goes_on_behind_what_it_had_brought() {
    let house = House::new();
    house.write(
        "connections/tap.yaml",
        "connection: tap\ntype: singer\noptions: {command: [sh, tap.sh]}\n",
    );
    house.write("tap.sh", TAP);
    house.write(
        "streams.json",
        r#"{"streams": [{"tap_stream_id": "t", "stream": "t", "schema": {"properties": {"n": {"type": "integer"}}},
            "metadata": [{"breadcrumb": [], "metadata": {"table-key-properties": ["n"], "valid-replication-keys": ["n"]}}]}]}"#,
    );
    // A page is what comes in a second.
    house.write(
        "syncs/in.yaml",
        "sync: in\nconnection: tap\ncheckpoint_every: 0s\nlimits: {rows_per_second: 1000}\nstreams:\n  - {stream: t, options: {stream: t}, to: raw.t, read: incremental, cursor: n, write: append}\n",
    );
    house.write("broken", "");
    let message = house.fails(1, &["sync", "in"]);
    assert!(message.contains("the line is down"), "{message}");
    std::fs::remove_file(house.path("broken")).unwrap();
    let again = house.run(&["sync", "in"]);
    let said = text(&again.stdout) + &text(&again.stderr);
    assert!(again.status.success() && said.contains("went on behind"), "{said}");
    let states = house.read("states.txt");
    let last: u64 = states.lines().last().unwrap().parse().unwrap();
    assert!((1..=1750).contains(&last), "it began anew: {states}");
    assert_eq!(
        house.cell("select count(*) || ' ' || count(distinct n) || ' ' || sum(n) from raw.t"),
        "2500 2500 3126250"
    );
    let task = "select rows_in || ' ' || rows_out from system.tasks where kind = 'sync' and status = 'succeeded'";
    assert_eq!(house.cell(task), "2500 2500");
    // The next one has nothing to go on with.
    house.ok(&["sync", "in"]);
    assert_eq!(house.cell("select count(*) from raw.t"), "2500");
}
