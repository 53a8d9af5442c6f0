//! Every mask: what it makes of values, which columns it is for, and that it shows nothing.

use std::sync::Arc;

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::util::display::array_value_to_string;
use flywheel_base::{Rng, Secret};

use super::*;

const KEY: &str = "correct horse battery staple";

fn build(form: &str) -> Box<dyn Mask> {
    parse(form, &|_| Ok(Secret::new(KEY))).unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn masked(form: &str, column: ArrayRef) -> Vec<String> {
    let mask = build(form);
    let units = StringArray::from_iter((0..column.len()).map(|row| Some((row % 2).to_string())));
    let masked = mask.column(&column, Some(&units)).unwrap();
    (0..masked.len())
        .map(|row| match masked.is_null(row) {
            true => "null".to_owned(),
            false => array_value_to_string(&masked, row).unwrap(),
        })
        .collect()
}

fn texts_of(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Forms of every mask.
const FORMS: &[&str] = &[
    "hmac(key=${env:K})",
    "tokenize(key=${env:K})",
    "partial(4)",
    "partial(first=3, last=2)",
    "redact",
    "redact(text=hidden)",
    "null",
    "round(-3)",
    "round(month)",
    "date_shift(key=${env:K}, by=id)",
    "email_domain",
];

#[test]
fn hmac_is_the_digest_that_other_systems_compute() {
    // printf 13800138000 | openssl dgst -sha256 -hmac 'correct horse battery staple'
    let expected = "35809c3aefedc50f48a7a099e0c4ce858e0feb4ebd1f29d0643c34590bae6bcb";
    let column = texts_of(&[Some("13800138000"), None, Some("13800138000")]);
    assert_eq!(masked("hmac(key=${env:K})", column), [expected, "null", expected]);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![13_800_138_000]));
    assert_eq!(masked("hmac(key=${env:K})", numbers), [expected], "a number joins its text");
}

#[test]
fn partial_keeps_an_end_and_hides_at_least_half() {
    let column =
        || texts_of(&[Some("13800138000"), Some("12345"), Some("7"), Some("张三丰"), None]);
    assert_eq!(masked("partial(4)", column()), ["*******8000", "***45", "*", "**丰", "null"]);
    assert_eq!(masked("partial(first=3)", column()), ["138********", "12***", "*", "张**", "null"]);
    assert_eq!(
        masked("partial(first=3, last=4)", column()),
        ["1******8000", "***45", "*", "**丰", "null"]
    );
}

#[test]
fn redact_null_and_email_domain_keep_what_they_say() {
    let column = || texts_of(&[Some("Li.Wei@Example.com"), None, Some("no address")]);
    assert_eq!(masked("redact", column()), ["***", "null", "***"]);
    assert_eq!(masked("redact(text=hidden)", column()), ["hidden", "null", "hidden"]);
    assert_eq!(masked("null", column()), ["null", "null", "null"]);
    assert_eq!(masked("email_domain", column()), ["example.com", "null", "null"]);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    assert_eq!(build("null").column(&numbers, None).unwrap().data_type(), &DataType::Int64);
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"\xff"]));
    assert_eq!(masked("redact", bytes), ["***"]);
}

#[test]
fn round_rounds_numbers_and_cuts_dates() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1_499, 1_500, -1_500, i64::MAX, 0]));
    let max = "9223372036854775000";
    assert_eq!(masked("round(-3)", Arc::clone(&numbers)), ["1000", "2000", "-2000", max, "0"]);
    assert_eq!(masked("round(2)", numbers)[0], "1499");
    let doubles: ArrayRef = Arc::new(Float64Array::from(vec![1.255, -0.5, 1e300, f64::INFINITY]));
    assert_eq!(masked("round(1)", doubles)[..2], ["1.3", "-0.5"]);
    let decimals =
        Decimal128Array::from(vec![12_345, 99_999]).with_precision_and_scale(5, 2).unwrap();
    assert_eq!(
        masked("round(0)", Arc::new(decimals)),
        ["123.00", "999.00"],
        "it stays a decimal(5,2)"
    );
    let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(19_844), None, Some(-1)])); // 2024-05-01
    assert_eq!(masked("round(year)", Arc::clone(&days)), ["2024-01-01", "null", "1969-01-01"]);
    assert_eq!(masked("round(quarter)", Arc::clone(&days))[0], "2024-04-01");
    assert_eq!(masked("round(week)", days)[0], "2024-04-29");
    let moments: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from(vec![1_714_555_815_000_000]).with_timezone("UTC"));
    assert_eq!(masked("round(hour)", Arc::clone(&moments)), ["2024-05-01T09:00:00Z"]);
    assert_eq!(masked("round(month)", moments), ["2024-05-01T00:00:00Z"]);
}

#[test]
fn date_shift_moves_a_units_dates_together_and_never_by_nothing() {
    let mask = build("date_shift(key=${env:K}, by=id, days=10)");
    let days: ArrayRef = Arc::new(Date32Array::from(vec![0; 400]));
    let units = StringArray::from_iter((0..400).map(|row| Some((row / 2).to_string())));
    let shifted = mask.column(&days, Some(&units)).unwrap();
    let shifted = shifted.as_primitive::<arrow::datatypes::Date32Type>().values().to_vec();
    assert!(shifted.chunks(2).all(|pair| pair[0] == pair[1]));
    let mut seen: Vec<i32> = shifted.clone();
    seen.sort_unstable();
    seen.dedup();
    let expected: Vec<i32> = (-10..=10).filter(|days| *days != 0).collect();
    assert_eq!(seen, expected, "every shift from -10 to 10 but 0");
    let moments: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5; 400]));
    let moved = mask.column(&moments, Some(&units)).unwrap();
    let moved = moved.as_primitive::<arrow::datatypes::TimestampMicrosecondType>().value(0);
    assert_eq!(moved, i64::from(shifted[0]) * 86_400_000_000 + 5, "the time of day stays");
    // There is no day after 9999-12-31.
    let last: ArrayRef = Arc::new(Date32Array::from(vec![2_932_896; 400]));
    let moved = mask.column(&last, Some(&units)).unwrap();
    assert!(shifted.iter().enumerate().all(|(row, days)| moved.is_null(row) == (*days > 0)));
}

#[test]
fn a_mask_that_is_not_for_a_column_says_what_to_do() {
    let text = texts_of(&[Some("x")]);
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"x"]));
    let truth: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    for (form, column, hint) in [
        ("round(2)", &text, "Declare"),
        ("round(month)", &truth, "Declare"),
        ("date_shift(key=${env:K}, by=id)", &text, "Declare"),
        ("hmac(key=${env:K})", &bytes, "redact"),
    ] {
        let units = StringArray::from(vec!["1"]);
        let error = build(form).column(column, Some(&units)).unwrap_err();
        assert!(error.hint_text().unwrap().contains(hint), "{form}: {error:?}");
    }
}

#[test]
fn a_wrong_form_is_named_with_its_fix() {
    for (form, message, hint) in [
        ("hmca", "no mask \"hmca\"", "\"hmac\""),
        ("hmac", "lacks its argument \"key\"", "key=${secret:name}"),
        ("hmac(key=in-the-clear)", "not a reference", "${env:NAME}"),
        ("partial", "lacks its argument", "partial(4)"),
        ("partial(x)", "cannot be \"x\"", "0 to 64"),
        ("round", "lacks its argument", "round(month)"),
        ("round(mouth)", "cannot be \"mouth\"", "\"month\""),
        ("round(99)", "cannot be \"99\"", "-18 to 18"),
        ("date_shift(${env:K})", "lacks its argument \"by\"", "customer_id"),
        ("date_shift(${env:K}, id, 0)", "cannot be \"0\"", "1 to 3660"),
        ("redact(a, b)", "more arguments", "text:"),
        ("null(1)", "more arguments", "without arguments"),
        ("tokenize(kye=${env:K})", "no argument \"kye\"", "\"key\""),
    ] {
        let error = check_mask(form).unwrap_err();
        assert!(error.message().contains(message), "{form}: {error}");
        assert!(error.hint_text().unwrap_or_default().contains(hint), "{form}: {error:?}");
    }
    for form in FORMS {
        let distinct = form.starts_with("hmac") || form.starts_with("tokenize");
        assert_eq!(check_mask(form).unwrap(), distinct, "{form}");
    }
}

#[test]
fn no_mask_shows_the_value_or_the_key() {
    let seed = 7;
    let mut rng = Rng::new(seed);
    let letters: Vec<char> = "0123456789abcXYZ张三é -@.".chars().collect();
    for form in FORMS {
        let mask = build(form);
        assert!(!format!("{mask:?}").contains(KEY), "{mask:?}");
        for _ in 0..2_000 {
            let length = 6 + rng.below(20);
            let canary: String = (0..length).map(|_| letters[rng.below(letters.len())]).collect();
            let shown = mask.text(&canary).unwrap_or_default();
            assert!(!shown.contains(&canary), "seed {seed}, {form}: {canary} => {shown}");
            assert_eq!(mask.text(&canary).unwrap_or_default(), shown, "{form} changes its mind");
        }
    }
}
