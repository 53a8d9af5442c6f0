//! How columns find inputs, what artifacts keep, and what known outcomes say.

use super::*;

const LOGISTIC: &[u8] = include_bytes!("../../../../../tests/parity/onnx/logistic.onnx");
const TEXTS: &[u8] = include_bytes!("../../../../../tests/parity/onnx/texts.onnx");

fn settings(more: &Value) -> Onnx {
    let mut settings = json!({"model": "m.onnx", "rows": "select 1"});
    let object = settings.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

fn prepared(bytes: &[u8], more: &Value, columns: &[&str]) -> Result<(Stored, Brought, About)> {
    let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    prepare(&settings(more), bytes, &columns)
}

fn features(brought: &Brought) -> Vec<&str> {
    brought.features.iter().map(|feature| feature.name.as_str()).collect()
}

#[test]
fn a_lone_input_reads_all_columns_in_order_and_several_read_their_own() {
    let (_, one, _) = prepared(LOGISTIC, &json!({}), &["b", "unit_id", "a", "c"]).unwrap();
    assert_eq!(features(&one), ["b", "a", "c"]);
    let (_, listed, _) = prepared(
        LOGISTIC,
        &json!({"inputs": {"X": ["a", "b", "c"]}}),
        &["b", "unit_id", "a", "c", "d"],
    )
    .unwrap();
    assert_eq!(features(&listed), ["a", "b", "c"]);
    let (_, own, about) =
        prepared(TEXTS, &json!({}), &["unit_id", "charge", "more", "plan", "months"]).unwrap();
    assert_eq!(features(&own), ["plan", "months", "charge"]);
    assert_eq!(own.features[0].kind, FeatureKind::Text);
    assert_eq!(
        (about.output.as_str(), about.classes.as_slice()),
        ("probabilities", &["0".to_owned(), "1".to_owned()][..])
    );
}

#[test]
fn columns_that_do_not_fit_the_inputs_are_told_with_the_fix() {
    for (bytes, more, columns, what, hint) in [
        (LOGISTIC, json!({}), &["unit_id", "a"][..], "takes 3 columns and is given 1", "inputs"),
        (
            LOGISTIC,
            json!({"inputs": {"x": ["a"]}}),
            &["unit_id", "a"],
            "no input \"x\"",
            "Did you mean \"X\"?",
        ),
        (
            LOGISTIC,
            json!({"inputs": {"X": ["a", "b", "a"]}}),
            &["unit_id", "a", "b"],
            "column \"a\" is read twice",
            "two names",
        ),
        (
            TEXTS,
            json!({}),
            &["unit_id", "plan", "month", "charge"],
            "input \"months\" reads column \"months\"",
            "Did you mean \"month\"?",
        ),
    ] {
        let report = prepared(bytes, &more, columns).err().unwrap().report();
        assert!(report.contains(what) && report.contains(hint), "{report}");
    }
}

#[test]
fn an_artifact_scores_as_the_file_did_and_a_changed_one_is_refused() {
    let (stored, brought, _) = prepared(TEXTS, &json!({}), &["plan", "months", "charge"]).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("monthly"), None])),
        Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0)])),
        Arc::new(Float64Array::from(vec![Some(0.5), None])),
    ];
    let bytes = stored.bytes(TEXTS).unwrap();
    let again = scorer(&bytes).unwrap();
    let scores = again.score(&columns, 2).unwrap();
    assert_eq!(scores, known(brought.scores(&columns, 2).unwrap()));
    assert!(scores.value(0) > 0.0 && scores.value(0) < 1.0);
    assert!(scores.is_null(1), "a missing number has no score in this model");
    let mut others =
        vec![bytes[..bytes.len() - 40].to_vec(), TEXTS.to_vec(), Vec::new(), b"{}\n".to_vec()];
    let text = String::from_utf8_lossy(&bytes[..20]).replace("onnx-1", "onnx-9");
    others.push([text.as_bytes(), &bytes[20..]].concat());
    for bytes in others {
        let error = scorer(&bytes).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.report());
        assert!(error.report().contains("flywheel learn"), "{}", error.report());
    }
}

#[test]
fn known_outcomes_judge_probabilities_and_numbers_with_intervals() {
    let scores = [0.9, 0.8, 0.3, 0.2, 0.6];
    let targets = [1.0, 1.0, 0.0, 0.0, 0.0];
    let (measures, said) = measured(Predict::Probability, &scores, &targets).unwrap();
    let value = |name: &str| {
        measures
            .iter()
            .find(|measure| measure.name.starts_with(name))
            .and_then(|one| one.value)
            .unwrap()
    };
    assert!((value("auc") - 1.0).abs() < 1e-12);
    // (.01 + .04 + .09 + .04 + .36) / 5
    assert!((value("brier") - 0.108).abs() < 1e-12);
    assert!(
        said["brier"]["low"].as_f64().unwrap() < 0.108
            && said["brier"]["high"].as_f64().unwrap() > 0.108
    );
    let (measures, said) = measured(Predict::Number, &[1.0, 2.0], &[1.0, 4.0]).unwrap();
    assert!((measures[0].value.unwrap() - 2.0_f64.sqrt()).abs() < 1e-12);
    assert!((measures[0].baseline.unwrap() - 1.5).abs() < 1e-12);
    assert!(said["root mean squared error"]["high"].as_f64().unwrap() > 2.0_f64.sqrt());
    let (nothing, said) = measured(Predict::Number, &[], &[]).unwrap();
    assert!(nothing.is_empty() && said.is_null());
    let report = measured(Predict::Probability, &[1.2], &[1.0]).err().unwrap().report();
    assert!(
        report.contains("1.2 is no probability") && report.contains("predict: number"),
        "{report}"
    );
    let report = measured(Predict::Probability, &[0.2], &[3.0]).err().unwrap().report();
    assert!(report.contains("neither 0 nor 1"), "{report}");
}
