//! Models that users bring as ONNX files: scored, asked in SQL, judged, and refused.

use crate::house::House;

const TEXTS: &[u8] = include_bytes!("../../../../tests/parity/onnx/texts.onnx");
const LOGISTIC: &[u8] = include_bytes!("../../../../tests/parity/onnx/logistic.onnx");
const PARITY: &str = include_str!("../../../../tests/parity/onnx.json");

const CHURN: &str = "learner: churn\nonnx:\n  model: models/churn.onnx\n  rows: select customer as unit_id, plan, months, charge from {{ ref('contracts') }}\n  truth: select plan, months, charge, at, ended as target from {{ ref('contracts') }} where ended is not null; -- known\n";

/// 300 contracts: the ten rows whose scores onnxruntime told, each thirty times; of one in fifty the months are not known.
fn contracts(learner: &str) -> (House, Vec<f64>) {
    let parity: serde_json::Value = serde_json::from_str(PARITY).unwrap();
    let column = |at: usize| parity["texts"]["columns"][at].as_array().unwrap();
    let (plans, months, charges) = (column(0), column(1), column(2));
    let mut rows = String::from("customer,plan,months,charge,at,ended\n");
    for row in 0..300 {
        let at = row % 10;
        let months = if row % 50 == 7 { String::new() } else { months[at].to_string() };
        let ended = if row < 200 { (row % 3 % 2).to_string() } else { String::new() };
        let plan = plans[at].as_str().unwrap();
        rows.push_str(&format!(
            "c{row:03},{plan},{months},{},2024-05-01 10:00:00,{ended}\n",
            charges[at]
        ));
    }
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write(
            "syncs/files.yaml",
            "sync: files\nconnection: files\nstreams:\n  - {stream: contracts, options: {path: contracts.csv}}\n",
        )
        .write("data/contracts.csv", rows)
        .write(
            "models/contracts.sql",
            "select customer, plan, try_cast(months as double) as months, cast(charge as double) as charge,\n  cast(at as timestamp) as at, try_cast(ended as double) as ended\nfrom {{ source('raw', 'contracts') }}\n",
        )
        .write("models/churn.onnx", TEXTS)
        .write("learners/churn.yaml", learner);
    let scores = parity["texts"]["scores"].as_array().unwrap();
    (house, scores.iter().map(|score| score.as_f64().unwrap()).collect())
}

#[test]
fn a_brought_model_scores_rows_answers_sql_and_is_judged() {
    let (house, expected) = contracts(CHURN);
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house.ok(&["learn", "churn"]);
    assert_eq!(house.cell("select count(*), count(score) from learn.churn"), "300,294");
    for (row, expected) in expected.iter().enumerate() {
        let found =
            house.cell(&format!("select score from learn.churn where unit_id = 'c{row:03}'"));
        match row {
            7 => assert_eq!(found, "", "what the model cannot score has none"),
            _ => assert!((found.parse::<f64>().unwrap() - expected).abs() < 1e-5, "{row}: {found}"),
        }
    }
    let same = "select count(*), bool_and(predict('churn', c.*) is not distinct from l.score)
                from learn.churn l join main.contracts c on c.customer = l.unit_id";
    assert_eq!(house.cell(same), "300,true", "bit for bit");
    let other = "select count(*) from main.contracts
                 where predict('churn', *, plan => 'yearly') <> predict('churn', *) and plan = 'monthly'";
    assert_ne!(house.cell(other), "0", "what if");
    let judged =
        "select count(*), min(count), bool_and(value between 0 and 2) from system.evaluations
                  where learner = 'churn' and measure like '%known outcomes'";
    assert_eq!(house.cell(judged), "4,196,true");
    let above = house.ok(&["lineage", "learn.churn.score", "--upstream"]);
    assert!(above.contains("main.contracts.plan"), "{above}");
    // The same file again is the same artifact; another file is another model, though the refit is not due yet.
    let digests = "select count(distinct digest) from system.artifacts where learner = 'churn'";
    house.ok(&["learn", "churn"]);
    assert_eq!(house.cell(digests), "1");
    house.write("models/churn.onnx", LOGISTIC);
    let refused = house.fails(2, &["learn", "churn"]);
    assert!(refused.contains("models/churn.onnx") && refused.contains("column"), "{refused}");
    assert_eq!(house.cell(same), "300,true", "the last one that could be read goes on to answer");
}

#[test]
fn files_that_are_no_models_of_the_project_are_refused_with_their_place() {
    let (house, _) = contracts(CHURN);
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house.write("models/churn.onnx", &TEXTS[..TEXTS.len() / 2]);
    let refused = house.fails(2, &["learn", "churn"]);
    for part in ["learner \"churn\"", "models/churn.onnx", "no whole ONNX model"] {
        assert!(refused.contains(part), "{refused}");
    }
    for (path, what) in [
        ("../churn.onnx", "a part that starts with a dot"),
        ("/etc/passwd", "has an empty part"),
        ("models/chrun.onnx", "no file here"),
    ] {
        house.write("learners/churn.yaml", CHURN.replace("models/churn.onnx", path));
        let refused = house.fails(2, &["check"]);
        assert!(
            refused.contains("learners/churn.yaml:3:10") && refused.contains(what),
            "{refused}"
        );
    }
}
