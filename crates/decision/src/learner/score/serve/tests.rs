//! What `predict` gives beside what the learner wrote itself, and artifacts that are none.

use arrow::array::{RecordBatch, StringArray};
use arrow::compute::cast;
use flywheel_base::{ErrorKind, Rng};
use flywheel_project::resource::learner::Score;
use serde_json::{Value, json};

use super::*;
use crate::frame::Frame;
use crate::learner::score::{features, learn_rows, matrix, new_model};

const ROWS: usize = 400;

fn settings(more: Value) -> Score {
    let mut file = json!({"examples": "select 1", "target": "ended"});
    let Value::Object(more) = more else { panic!("settings have names") };
    for (key, value) in more {
        file[key] = value;
    }
    serde_json::from_value(file).unwrap()
}

/// Contracts with missing values, texts nobody has seen and numbers that are infinite.
fn contracts(seed: u64, texts: bool) -> RecordBatch {
    let mut rng = Rng::stream(seed, "contracts");
    let mut months = Vec::new();
    let mut charge = Vec::new();
    let mut plan = Vec::new();
    let mut ended = Vec::new();
    for row in 0..ROWS {
        let long = rng.below(60);
        months.push((row % 17 != 3).then_some(long as f64));
        charge.push(if row % 29 == 1 { f64::INFINITY } else { 20.0 + rng.uniform() * 80.0 });
        let name = ["monthly", "yearly", "two years"][rng.below(3)];
        plan.push(
            (row % 13 != 5)
                .then(|| if row % 97 == 2 { format!("plan {row}") } else { name.to_owned() }),
        );
        ended.push(f64::from(u8::from(rng.uniform() < if long < 12 { 0.7 } else { 0.1 })));
    }
    let ids: Vec<String> = (0..ROWS).map(|row| format!("c{row}")).collect();
    let at = arrow::array::TimestampMicrosecondArray::from_iter_values(0..ROWS as i64);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("row_id", Arc::new(StringArray::from(ids.clone()))),
        ("unit_id", Arc::new(StringArray::from(ids))),
        ("at", Arc::new(at)),
        ("months", Arc::new(Float64Array::from(months))),
        ("charge", Arc::new(Float64Array::from(charge))),
    ];
    if texts {
        columns.push(("plan", Arc::new(StringArray::from(plan))));
    }
    columns.push(("ended", Arc::new(Float64Array::from(ended))));
    RecordBatch::try_from_iter(columns).unwrap()
}

/// What a scorer read from bytes gives the rows, in batches of `step`.
fn asked(bytes: &[u8], rows: &RecordBatch, step: usize) -> Vec<u64> {
    let scorer = scorer(bytes).unwrap();
    let mut bits = Vec::new();
    for from in (0..rows.num_rows()).step_by(step) {
        let part = rows.slice(from, step.min(rows.num_rows() - from));
        let column = |feature: &Feature| Arc::clone(part.column_by_name(&feature.name).unwrap());
        let columns: Vec<ArrayRef> = scorer.features().iter().map(column).collect();
        let scores = scorer.score(&columns, part.num_rows()).unwrap();
        bits.extend(scores.iter().map(|score| score.unwrap().to_bits()));
    }
    bits
}

/// The artifact of a fit to all examples, and the scores that the fit writes.
fn whole(more: Value) -> (Vec<u8>, Vec<u64>) {
    let settings = settings(more);
    let frame = |seed| Frame::new("test", vec![contracts(seed, true)]);
    let (bytes, rows) = super::super::whole::fitted_for_tests(&frame(1), &settings, &frame(2));
    (bytes, rows.into_iter().map(f64::to_bits).collect())
}

#[test]
fn rows_are_scored_as_the_learner_scores_them_bit_for_bit() {
    for algorithm in ["logistic", "boosted-trees"] {
        let (bytes, written) = whole(json!({"algorithm": algorithm}));
        for step in [1, 7, ROWS] {
            assert_eq!(asked(&bytes, &contracts(2, true), step), written, "{algorithm}, {step}");
        }
    }
    for (more, texts) in
        [(json!({}), false), (json!({"predict": "number"}), false), (json!({"hashed": {}}), true)]
    {
        let settings = settings(more.clone());
        let frame = |seed| Frame::new("test", vec![contracts(seed, texts)]);
        let names = features(&frame(1), &settings).unwrap();
        let model = new_model(&settings, names.len()).unwrap();
        let mut stored = Stored {
            features: names,
            through: None,
            model,
            positives: 0,
            examples: 0,
            too_good: None,
        };
        learn_rows(&frame(1), &settings, &mut stored).unwrap();
        let cells = matrix(&frame(2), &stored.features, settings.hashed.is_some()).unwrap();
        let written: Vec<u64> =
            cells.iter().map(|row| stored.score(row).unwrap().to_bits()).collect();
        let bytes = serde_json::to_vec(&stored).unwrap();
        assert_eq!(asked(&bytes, &contracts(2, texts), 64), written, "{more}");
    }
}

#[test]
fn a_column_of_nulls_is_missing_in_every_row() {
    let (bytes, _) = whole(json!({"algorithm": "boosted-trees"}));
    let scorer = scorer(&bytes).unwrap();
    let columns: Vec<ArrayRef> = scorer
        .features()
        .iter()
        .map(|feature| {
            let kind =
                if feature.kind == FeatureKind::Text { DataType::Utf8 } else { DataType::Float64 };
            let nothing: ArrayRef = Arc::new(arrow::array::NullArray::new(3));
            cast(&nothing, &kind).unwrap()
        })
        .collect();
    let scores = scorer.score(&columns, 3).unwrap();
    assert!(scores.iter().all(|score| score.is_some_and(f64::is_finite)), "{scores:?}");
    assert_eq!(
        scorer.score(&columns.iter().map(|c| c.slice(0, 0)).collect::<Vec<_>>(), 0).unwrap().len(),
        0
    );
}

#[test]
fn an_artifact_that_cannot_have_been_learned_is_refused() {
    let refused = |bytes: &[u8], what: &str| {
        let error = scorer(bytes).err().unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert!(error.report().contains("Fit the learner again"), "{what}: {}", error.report());
    };
    refused(b"", "nothing");
    refused(b"{}", "an empty object");
    refused(&[0xff; 64], "no text");
    let poisoned = |bytes: &[u8], path: &str, value: Value| {
        let mut file: Value = serde_json::from_slice(bytes).unwrap();
        assert!(file.pointer(path).is_some(), "no {path} in {file:.300}");
        *file.pointer_mut(path).unwrap() = value;
        serde_json::to_vec(&file).unwrap()
    };
    let (trees, _) = whole(json!({"algorithm": "boosted-trees"}));
    refused(&trees[..trees.len() / 2], "half of the trees");
    for (path, value) in [
        ("/model/boosted-trees/trees/0/nodes/0/split/left", json!(0)),
        ("/model/boosted-trees/trees/0/nodes/0/split/right", json!(100_000)),
        ("/model/boosted-trees/trees/0/nodes/0/split/column", json!(99)),
        ("/model/boosted-trees/trees/0/nodes", json!([])),
        ("/model/boosted-trees/width", json!(1)),
        ("/encoder/columns", json!([])),
    ] {
        refused(&poisoned(&trees, path, value), path);
    }
    let (logistic, _) = whole(json!({"algorithm": "logistic"}));
    refused(&poisoned(&logistic, "/model/logistic/means", json!([1.0])), "too few means");
    refused(&poisoned(&logistic, "/encoder/columns/0/0", json!("plan")), "two columns of one name");
    let stored = |more: Value| {
        let settings = settings(more);
        let model = new_model(&settings, 2).unwrap();
        let features = vec!["months".to_owned(), "charge".to_owned()];
        let all =
            Stored { features, through: None, model, positives: 0, examples: 1, too_good: None };
        serde_json::to_vec(&all).unwrap()
    };
    for (more, path) in [
        (json!({}), "/model/probability/weights"),
        (json!({}), "/model/probability/scaler/mean"),
        (json!({"predict": "number"}), "/model/number/covariance"),
        (json!({"hashed": {}}), "/model/hashed/ftrl/roots"),
        (json!({"hashed": {}}), "/model/hashed/scaler/variance"),
        (json!({}), "/features"),
    ] {
        refused(&poisoned(&stored(more), path, json!([])), path);
    }
    refused(
        &poisoned(&stored(json!({"hashed": {}})), "/model/hashed/hashing/bits", json!(63)),
        "63 bits",
    );
}
