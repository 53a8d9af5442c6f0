//! Columns that SQL makes, and rows that a condition leaves out. The engine here knows the few
//! expressions that are asked; that of the lake is tested above this floor.

use arrow::array::{BooleanArray, Int64Array};

use super::*;

/// Halves whole numbers and refuses odd ones, as an engine refuses a cast.
#[derive(Debug)]
struct Halver;

impl Evaluate for Halver {
    fn evaluate(&self, sql: &str, rows: &RecordBatch) -> Result<ArrayRef> {
        let (what, name) = sql.split_once(' ').unwrap();
        let column =
            rows.column_by_name(name).ok_or_else(|| Error::invalid(format!("no column {name}")))?;
        let numbers: Vec<Option<i64>> = match column.data_type() {
            DataType::Int64 => {
                column.as_primitive::<arrow::datatypes::Int64Type>().iter().collect()
            }
            _ => column
                .as_string::<i32>()
                .iter()
                .map(|text| text.and_then(|text| text.parse().ok()))
                .collect(),
        };
        match what {
            "half" => {
                if let Some(odd) = numbers.iter().flatten().find(|number| *number % 2 != 0) {
                    return Err(Error::invalid(format!("{odd} is odd")));
                }
                let halves = numbers.iter().map(|number| number.map(|number| number / 2));
                Ok(Arc::new(halves.collect::<Int64Array>()))
            }
            _ => {
                let large = numbers.iter().map(|number| number.map(|number| number >= 4));
                Ok(Arc::new(large.collect::<BooleanArray>()))
            }
        }
    }
}

fn made(name: &str, sql: &str) -> MappedColumn {
    MappedColumn { value: Some(sql.to_owned()), ..column(name) }
}

fn numbers() -> Page {
    page(vec![
        ("n", text(&[Some("8"), Some("4"), Some("3"), Some("12"), None])),
        ("secret", text(&[Some("a"), Some("b"), Some("c"), Some("d"), Some("e")])),
    ])
}

fn with_engine(config: &MappingConfig) -> Mapping {
    mapping(config).with_engine(Arc::new(Halver))
}

#[test]
fn a_row_without_a_value_is_set_aside_alone_and_columns_build_on_each_other() {
    let columns = vec![made("half", "half n"), made("quarter", "half half")];
    let mapped = with_engine(&config(columns)).apply(numbers()).unwrap();
    assert_eq!(names(&mapped), ["n", "secret", "half", "quarter"]);
    assert_eq!(
        rows(&mapped),
        [
            ["8", "a", "4", "2"],
            ["4", "b", "2", "1"],
            ["12", "d", "6", "3"],
            ["null", "e", "null", "null"]
        ]
    );
    let aside = &mapped.rejected[0];
    assert_eq!((mapped.rejected.len(), aside.column.as_deref()), (1, Some("half")));
    assert_eq!((aside.file.as_str(), aside.line, &*aside.code), ("a.csv", Some(4), "no-value"));
    assert!(aside.reason.contains("3 is odd"), "{}", aside.reason);
}

#[test]
fn an_expression_sees_what_does_not_land_and_its_mask_hides_what_it_makes() {
    let mut half = made("half", "half n");
    half.mask = Some("redact".to_owned());
    half.kind = Some(ColumnType::Text);
    let config = MappingConfig { drop: vec!["n".to_owned()], ..config(vec![half]) };
    let mapped = with_engine(&config).apply(numbers()).unwrap();
    assert_eq!(names(&mapped), ["secret", "half"]);
    assert!(rows(&mapped).iter().flatten().all(|cell| !["4", "2", "6"].contains(&cell.as_str())));
    // The engine's words quote the value, which must not be seen.
    assert!(!mapped.rejected[0].reason.contains('3'), "{}", mapped.rejected[0].reason);
    assert!(!mapped.rejected[0].raw.contains('3'), "{}", mapped.rejected[0].raw);
}

#[test]
fn rows_that_do_not_meet_the_condition_do_not_land_and_are_counted() {
    let config = MappingConfig { condition: Some("large n".to_owned()), ..config(Vec::new()) };
    let mapping = with_engine(&config);
    let mapped = mapping.apply(numbers()).unwrap();
    assert_eq!(rows(&mapped), [["8", "a"], ["4", "b"], ["12", "d"]]);
    let traced: Vec<_> = (0..3).map(|row| mapped.trace(row).unwrap()).collect();
    assert_eq!(traced, [("a.csv", 2), ("a.csv", 3), ("b.csv", 10)]);
    assert_eq!((mapping.filtered(), mapped.rejected.len()), (2, 0));
    mapping.apply(numbers()).unwrap();
    assert_eq!(mapping.filtered(), 4);
}

#[test]
fn a_row_that_is_not_wanted_is_not_set_aside_for_a_value_that_does_not_fit() {
    let config = MappingConfig {
        condition: Some("large n".to_owned()),
        ..config(vec![made("half", "half n")])
    };
    let mapping = with_engine(&config);
    let mapped = mapping.apply(numbers()).unwrap();
    assert_eq!(rows(&mapped), [["8", "a", "4"], ["4", "b", "2"], ["12", "d", "6"]]);
    assert_eq!((mapping.filtered(), mapped.rejected.len()), (2, 0));
}

#[test]
fn a_changed_row_that_meets_the_condition_no_more_is_marked_and_a_removed_one_is_not_judged() {
    let config = MappingConfig {
        condition: Some("large n".to_owned()),
        marks: Some("_deleted".to_owned()),
        ..config(vec![MappedColumn { not_null: true, ..made("half", "half n") }])
    };
    let marks = BooleanArray::from(vec![false, false, true, false, true]);
    let mut page = numbers();
    page.batch = RecordBatch::try_from_iter_with_nullable([
        ("n", text(&[Some("8"), Some("2"), Some("3"), Some("12"), None]), true),
        ("_deleted", Arc::new(marks) as ArrayRef, true),
    ])
    .unwrap();
    let mapping = with_engine(&config);
    let mapped = mapping.apply(page).unwrap();
    assert_eq!(
        rows(&mapped),
        [
            ["8", "false", "4"],
            ["2", "true", "1"],
            ["3", "true", "null"],
            ["12", "false", "6"],
            ["null", "true", "null"]
        ]
    );
    assert_eq!((mapping.filtered(), mapped.rejected.len()), (0, 0));
}

#[test]
fn mistakes_are_told_apart_from_bad_rows() {
    let refused = |config: MappingConfig, part: &str| {
        let error = with_engine(&config).apply(numbers()).unwrap_err();
        let told = error.report();
        assert!(told.contains(part), "{told}");
    };
    refused(config(vec![made("x", "half nothing")]), "column \"x\": no column nothing");
    refused(config(vec![made("n", "half n")]), "two columns would be named \"n\"");
    let condition = Some("half n".to_owned());
    let page_of_even = MappingConfig { condition, ..config(Vec::new()) };
    refused(page_of_even, "is no condition: it gives Int64");
    let mut both = made("x", "half n");
    both.from = Some("n".to_owned());
    let error = Mapping::new(&config(vec![both]), &resolve).unwrap_err();
    assert!(error.report().contains("made by SQL and comes from the source"), "{}", error.report());
}
