//! Parity with onnxruntime, and files that are damaged or strange.

use serde_json::Value;

use super::*;

/// The bytes of a file that `tests/parity/make_onnx.py` made.
macro_rules! model {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/parity/onnx/", $name, ".onnx")).as_slice()
    };
}

/// Rows as columns, and what onnxruntime answered for them.
struct Expected {
    columns: Vec<Cells>,
    scores: Vec<f64>,
}

enum Cells {
    Numbers(Vec<f64>),
    Texts(Vec<String>),
}

fn expected(name: &str) -> Expected {
    let all: Value =
        serde_json::from_str(include_str!("../../../../tests/parity/onnx.json")).unwrap();
    let one = &all[name];
    let column = |cells: &Value| {
        let cells = cells.as_array().unwrap();
        if cells.iter().any(Value::is_string) {
            return Cells::Texts(
                cells.iter().map(|cell| cell.as_str().unwrap().to_owned()).collect(),
            );
        }
        Cells::Numbers(cells.iter().map(|cell| cell.as_f64().unwrap_or(f64::NAN)).collect())
    };
    Expected {
        columns: one["columns"].as_array().unwrap().iter().map(column).collect(),
        scores: one["scores"]
            .as_array()
            .unwrap()
            .iter()
            .map(|score| score.as_f64().unwrap())
            .collect(),
    }
}

fn columns(cells: &[Cells]) -> Vec<Column<'_>> {
    let columns = cells.iter().map(|cells| match cells {
        Cells::Numbers(values) => Column::Numbers(values),
        Cells::Texts(values) => Column::Texts(values),
    });
    columns.collect()
}

/// The model of a file whose one input reads all columns, or each of whose inputs reads one.
fn ready(bytes: &[u8], width: usize) -> Model {
    let file = File::read(bytes, &Wanted::default()).unwrap();
    let widths = match file.inputs().len() {
        1 => vec![width],
        count => vec![1; count],
    };
    file.model(&widths, &Wanted::default()).unwrap()
}

fn refused(bytes: &[u8], wanted: &Wanted) -> String {
    File::read(bytes, wanted).unwrap_err().report()
}

#[test]
fn scores_are_those_of_onnxruntime() {
    for (name, bytes) in [
        ("logistic", model!("logistic")),
        ("logistic-maps", model!("logistic-maps")),
        ("three-classes", model!("three-classes")),
        ("boosted-trees", model!("boosted-trees")),
        ("boosted-trees-three", model!("boosted-trees-three")),
        ("forest", model!("forest")),
        ("boosted-amount", model!("boosted-amount")),
        ("linear", model!("linear")),
        ("network", model!("network")),
        ("filled", model!("filled")),
        ("texts", model!("texts")),
        ("one-row", model!("one-row")),
    ] {
        let Expected { columns: cells, scores } = expected(name);
        let model = ready(bytes, cells.len());
        let found = model.scores(&columns(&cells), scores.len()).unwrap();
        for (found, wanted) in found.iter().zip(&scores) {
            assert!((found - wanted).abs() < 1e-5, "{name}: {found} for {wanted}");
        }
        assert_eq!(found.len(), scores.len(), "{name}");
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others_in_any_place() {
    for (name, bytes) in [
        ("network", model!("network")),
        ("boosted-trees", model!("boosted-trees")),
        ("logistic", model!("logistic")),
    ] {
        let Expected { columns: cells, .. } = expected(name);
        let model = ready(bytes, cells.len());
        // 150 rows are three blocks, the last one not full.
        let many: Vec<Vec<f64>> = cells
            .iter()
            .map(|cells| match cells {
                Cells::Numbers(values) => (0..150).map(|row| values[row % values.len()]).collect(),
                Cells::Texts(_) => unreachable!("numbers only"),
            })
            .collect();
        let all: Vec<Column<'_>> = many.iter().map(|values| Column::Numbers(values)).collect();
        let all = model.scores(&all, 150).unwrap();
        for row in [0, 3, 63, 64, 149] {
            let one: Vec<Column<'_>> =
                many.iter().map(|values| Column::Numbers(&values[row..=row])).collect();
            let one = model.scores(&one, 1).unwrap();
            assert_eq!(one[0].to_bits(), all[row].to_bits(), "{name}, row {row}");
        }
        assert!(
            model
                .scores(&many.iter().map(|_| Column::Numbers(&[])).collect::<Vec<_>>(), 0)
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn a_class_is_found_by_its_label_or_place() {
    let Expected { columns: cells, scores } = expected("logistic-maps");
    let of = |class: &str| {
        let wanted = Wanted { output: None, class: Some(class.to_owned()) };
        let file = File::read(model!("logistic-maps"), &wanted).unwrap();
        assert_eq!(file.output().labels, ["leaves", "stays"]);
        let model = file.model(&[3], &wanted)?;
        model.scores(&columns(&cells), scores.len())
    };
    let (leaves, stays) = (of("leaves").unwrap(), of("stays").unwrap());
    for (leaves, stays) in leaves.iter().zip(&stays) {
        assert!((leaves + stays - 1.0).abs() < 1e-6);
    }
    assert!((stays[0] - scores[0]).abs() < 1e-5, "the last class is the score");
    let error = of("stay").unwrap_err().report();
    assert!(
        error.contains("no class \"stay\"") && error.contains("Did you mean \"stays\"?"),
        "{error}"
    );
    let wanted = Wanted { output: None, class: Some("2".to_owned()) };
    let file = File::read(model!("network"), &wanted).unwrap();
    let error = file.model(&[3], &wanted).unwrap_err().report();
    assert!(error.contains("give the place of the wanted number, 0 to 1"), "{error}");
}

#[test]
fn what_is_no_finite_number_is_nan() {
    let model = ready(model!("logarithm"), 1);
    let scores = model.scores(&[Column::Numbers(&[1.0, 0.0, -1.0, f64::NAN])], 4).unwrap();
    assert!(scores[0].abs() < 1e-6);
    assert!(scores[1..].iter().all(|score| score.is_nan()), "{scores:?}");
}

#[test]
fn bad_files_are_refused_with_what_to_do() {
    let whole = model!("boosted-trees");
    let zeros = vec![0; SIZE_MAX + 1];
    for (bytes, what, hint) in [
        (&whole[..whole.len() / 2], "no whole ONNX model", "export or copy it again"),
        (&b""[..], "is empty", "Export"),
        (&b"PK\x03\x04rest"[..], "a zip archive", "torch.onnx.export"),
        (&b"\x80\x05\x95rest"[..], "a pickle", "skl2onnx"),
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..],
            "pointer of Git LFS",
            "git lfs pull",
        ),
        (&b"id,plan\n1,a\n"[..], "no whole ONNX model", "another kind of file"),
        (&zeros[..], "a model may have 64", "smaller model"),
        (model!("bad-weights-elsewhere"), "weights of \"w\" are in another file", "onnx.save"),
        (model!("bad-huge-weights"), "tensor \"w\"", "damaged"),
        (model!("bad-short-weights"), "has 8 bytes, and not 12", "damaged"),
        (model!("bad-huge-input"), "takes 1000000000000 columns", "damaged"),
        (model!("bad-picture"), "has 4 dimensions", "takes a table"),
        (
            model!("bad-unknown-operators"),
            "not run here: NonZero, com.example.Tokenize",
            "bring-a-model.md",
        ),
        (model!("bad-two-outputs"), "which output of the model is the score", "\"y\", \"z\""),
    ] {
        let report = refused(bytes, &Wanted::default());
        assert!(report.contains(what) && report.contains(hint), "{report}");
    }
}

#[test]
fn every_cut_of_a_file_is_an_error_or_a_model_and_no_panic() {
    for whole in [model!("texts"), model!("network")] {
        for end in 0..whole.len() {
            if let Ok(file) = File::read(&whole[..end], &Wanted::default()) {
                let widths = vec![1; file.inputs().len()];
                drop(file.model(&widths, &Wanted::default()));
            }
        }
    }
}

#[test]
fn changed_bytes_are_an_error_or_a_model_and_no_panic() {
    let mut rng = flywheel_base::Rng::new(5);
    for whole in [model!("texts"), model!("logistic"), model!("filled")] {
        for _ in 0..300 {
            let mut bytes = whole.to_vec();
            let at = rng.below(bytes.len());
            bytes[at] = u8::try_from(rng.below(256)).unwrap();
            let Ok(file) = File::read(&bytes, &Wanted::default()) else { continue };
            let widths: Vec<usize> =
                file.inputs().iter().map(|one| one.width.unwrap_or(3)).collect();
            let texts: Vec<bool> = file.inputs().iter().map(|one| one.kind == Kind::Text).collect();
            let Ok(model) = file.model(&widths, &Wanted::default()) else { continue };
            let words = [String::from("monthly")];
            let cells = widths.iter().zip(texts).flat_map(|(width, text)| {
                let cell = if text { Column::Texts(&words) } else { Column::Numbers(&[1.0]) };
                std::iter::repeat_n(cell, *width)
            });
            drop(model.scores(&cells.collect::<Vec<_>>(), 1));
        }
    }
}

#[test]
fn trees_that_lead_nowhere_or_round_are_refused() {
    for (bytes, what) in
        [(model!("bad-round-trees"), "no tree"), (model!("bad-far-trees"), "leads to none")]
    {
        let file = File::read(bytes, &Wanted::default()).unwrap();
        let report = file.model(&[3], &Wanted::default()).unwrap_err().report();
        assert!(report.contains("cannot be prepared") && report.contains(what), "{report}");
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused_by_name() {
    let read = |bytes| File::read(bytes, &Wanted::default()).unwrap();
    let error = read(model!("logistic")).model(&[2], &Wanted::default()).unwrap_err().report();
    assert!(error.contains("input \"X\" takes 3 columns and is given 2"), "{error}");
    let error = read(model!("texts")).model(&[1], &Wanted::default()).unwrap_err().report();
    assert!(error.contains("3 inputs (plan, months, charge), and 1 are given"), "{error}");
    // The file leaves the width open, and its weights do not.
    let error =
        read(model!("bad-wrong-width")).model(&[5], &Wanted::default()).unwrap_err().report();
    assert!(error.contains("cannot be prepared"), "{error}");
    let model = ready(model!("texts"), 1);
    let ones = [1.0];
    let error = model.scores(&[Column::Numbers(&ones); 3], 1).unwrap_err().report();
    assert!(error.contains("input \"plan\" takes texts and is given numbers"), "{error}");
    let wanted = Wanted { output: Some("label".to_owned()), class: None };
    let error = File::read(model!("boosted-trees"), &wanted).unwrap_err().report();
    assert!(error.contains("the label of a classifier of trees"), "{error}");
    let wanted = Wanted { output: Some("probabilties".to_owned()), class: None };
    let error = File::read(model!("boosted-trees"), &wanted).unwrap_err().report();
    assert!(error.contains("Did you mean \"probabilities\"?"), "{error}");
}
