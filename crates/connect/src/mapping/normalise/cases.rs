//! Every normaliser against its cases in `tests-data/normalise`, and against text of any kind.
//!
//! A case is a line `input => outcome` below the short form it is for; a text in double quotes is JSON,
//! so that white space can be written. `null` is no value, `!code` a misfit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flywheel_base::Rng;

use super::*;

/// How many cases a normaliser has at least.
const CASES_MIN: usize = 15;
/// How many those have whose values come in many forms.
const CASES_OF_MANY_FORMS_MIN: usize = 40;

fn case_file(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests-data/normalise");
    std::fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap()
}

fn written(text: &str) -> String {
    match text.starts_with('"') && text.len() > 1 {
        true => serde_json::from_str(text).unwrap(),
        false => text.to_owned(),
    }
}

fn shown(normal: Normal<'_>) -> String {
    match normal {
        Ok(Some(value)) => value.into_owned(),
        Ok(None) => "null".to_owned(),
        Err(misfit) => format!("!{}", misfit.code),
    }
}

#[test]
fn every_case_of_every_normaliser_comes_out_as_written() {
    let mut wrong = Vec::new();
    for entry in NORMALISERS {
        let (mut step, mut count) = (None, 0);
        for line in case_file(entry.name).lines().filter(|line| !line.starts_with("# ")) {
            if let Some(form) = line.strip_prefix("== ") {
                step = Some((form.to_owned(), Step::parse(form).unwrap()));
                continue;
            }
            let (input, expected) = line.split_once("=>").unwrap_or_else(|| panic!("{line}"));
            let (input, expected) = (
                input.strip_suffix(' ').unwrap_or(input),
                expected.strip_prefix(' ').unwrap_or(expected),
            );
            let input = written(input);
            let (form, step) = step.as_ref().unwrap();
            count += 1;
            let found = shown(step.clean(&input));
            if found != written(expected) {
                wrong.push(format!("{form}: {input:?} => {found}, expected {expected}"));
            }
            if let Ok(Some(once)) = step.clean(&input) {
                let twice = shown(step.clean(&once));
                if twice != once {
                    wrong.push(format!("{form}: {input:?} => {once} => {twice}"));
                }
            }
        }
        let many = ["phone", "email", "date", "country"].contains(&entry.name);
        let least = if many { CASES_OF_MANY_FORMS_MIN } else { CASES_MIN };
        assert!(count >= least, "{} has {count} cases", entry.name);
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn phone_numbers_of_all_regions_agree_with_libphonenumber() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/phone.json");
    let cases: Vec<(String, String, Option<String>)> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() > 2_000);
    let steps: BTreeMap<&str, Step> = cases
        .iter()
        .map(|(region, _, _)| (region.as_str(), Step::parse(&format!("phone({region})")).unwrap()))
        .collect();
    let mut wrong = Vec::new();
    for (region, written, expected) in &cases {
        let found = shown(steps[region.as_str()].clean(written));
        let same = match expected {
            Some(expected) => found == *expected,
            None => found.starts_with('!'),
        };
        if !same {
            wrong.push(format!("{region} {written}: {found}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Forms of every normaliser with the arguments that change what is read.
const FORMS: &[&str] = &[
    "trim",
    "lower",
    "upper",
    "null_if",
    "null_if(a, \"\")",
    "phone",
    "phone(CN)",
    "phone(US)",
    "phone(DE)",
    "phone(AR)",
    "email",
    "email(gmail)",
    "email(local=keep)",
    "name",
    "address",
    "address(en)",
    "address(de)",
    "address(fr)",
    "address(es)",
    "address(zh)",
    "country",
    "country(alpha3)",
    "date",
    "date(dmy)",
    "date(mdy)",
    "date(ymd)",
    "date(excel)",
    "currency",
    "currency(CNY, USD)",
    "date(dmy, bad=null)",
    "number",
    "number(point)",
    "number(comma)",
];

/// Text of any kind: pieces of cases, letters of many scripts, and what breaks parsers.
fn any_text(rng: &mut Rng, pieces: &[String]) -> String {
    const LETTERS: &[char] = &[
        '0',
        '1',
        '2',
        '9',
        '０',
        '９',
        'a',
        'Z',
        'Ａ',
        'İ',
        'ß',
        'ẞ',
        'Σ',
        'ﬁ',
        'ŉ',
        'é',
        '\u{301}',
        '\u{327}',
        '中',
        '国',
        '年',
        '月',
        '日',
        '十',
        '号',
        '路',
        '한',
        '\u{1100}',
        '\u{1161}',
        'が',
        '\u{3099}',
        '+',
        '-',
        '.',
        '/',
        '@',
        '(',
        ')',
        '#',
        ',',
        ';',
        ' ',
        '\t',
        '\n',
        '\u{a0}',
        '\u{3000}',
        '\u{200b}',
        '\u{202e}',
        '\u{feff}',
        '\0',
        '\u{7f}',
        '\'',
        '"',
        '<',
        '>',
        '=',
        '$',
        '¥',
        '€',
        '😀',
        '\u{10ffff}',
        '\u{1f1e8}',
        '٣',
        '½',
        '㎏',
        '㍿',
        '℡',
        '﷽',
        '。',
        '＠',
        '．',
        'ſ',
        'K',
        'Ω',
        '\u{0345}',
        '\u{1e9b}',
        'Ǆ',
        'ΐ',
    ];
    let mut text = String::new();
    for _ in 0..rng.below(8) {
        if rng.chance(0.4)
            && let Some(piece) = pieces.get(rng.below(pieces.len()))
        {
            let letters: Vec<char> = piece.chars().collect();
            let from = rng.below(letters.len() + 1);
            let to = from + rng.below(letters.len() - from + 1);
            text.extend(&letters[from..to]);
        } else {
            text.extend((0..rng.below(5)).map(|_| LETTERS[rng.below(LETTERS.len())]));
        }
    }
    text
}

#[test]
fn cleaning_twice_is_cleaning_once_and_nothing_panics() {
    let pieces: Vec<String> = NORMALISERS
        .iter()
        .flat_map(|entry| {
            let file = case_file(entry.name);
            let inputs = file.lines().filter_map(|line| line.split_once(" => "));
            inputs.map(|(input, _)| input.to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let seed = 20_240_501;
    let mut rng = Rng::new(seed);
    let steps: Vec<(&str, Step)> =
        FORMS.iter().map(|form| (*form, Step::parse(form).unwrap())).collect();
    let mut wrong = Vec::new();
    for _ in 0..3_000 {
        let text = any_text(&mut rng, &pieces);
        for (form, step) in &steps {
            if let Ok(Some(once)) = step.clean(&text) {
                let twice = step.clean(&once);
                if twice != Ok(Some(once.clone())) {
                    wrong.push(format!("{form}: {text:?} => {once:?} => {twice:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "seed {seed}, {}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_reason_never_repeats_the_value() {
    let canaries =
        ["canary7134", "+86 7134canary", "71347134713471347134", "7134canary@x", "99/71/7134"];
    for form in FORMS {
        let step = Step::parse(form).unwrap();
        for canary in canaries {
            if let Err(misfit) = step.clean(canary) {
                assert!(!misfit.reason.contains("7134"), "{form}: {}", misfit.reason);
                assert!(!misfit.reason.contains("canary"), "{form}: {}", misfit.reason);
            }
        }
    }
}

#[test]
fn a_short_number_is_told_with_the_digits_that_it_has() {
    let Err(misfit) = Step::parse("phone(CN)").unwrap().clean("12345") else {
        panic!("it is none")
    };
    assert!(misfit.reason.contains("this one 5"), "{}", misfit.reason);
}

#[test]
fn a_wrong_form_is_named_with_its_fix() {
    for (form, message, hint) in [
        ("phon(CN)", "no normaliser \"phon\"", "\"phone\""),
        ("trim(1)", "more arguments", "bad: What becomes"),
        ("date(dym)", "cannot be \"dym\"", "\"dmy\""),
        ("date(dmy, mdy)", "cannot be \"mdy\"", "one order"),
        ("date(pivot=x)", "cannot be \"x\"", "0 to 99"),
        ("email(gmial)", "cannot be \"gmial\"", "\"gmail\""),
        ("phone(CN, bad=drop)", "cannot be \"drop\"", "reject, null, keep"),
        ("address(eng)", "cannot be \"eng\"", "\"en\""),
        ("currency(RMB)", "cannot be \"RMB\"", "Did you mean"),
        ("phone(CN", "does not end", "parentheses"),
        ("phone(${env:R})", "cannot be a reference", "region"),
    ] {
        let error = check_clean(form).unwrap_err();
        assert!(error.message().contains(message), "{form}: {error}");
        assert!(error.hint_text().unwrap_or_default().contains(hint), "{form}: {error:?}");
    }
}

#[test]
fn steps_follow_each_other_and_null_ends_them() {
    let steps = |forms: &[&str]| -> Vec<Step> {
        forms.iter().map(|form| Step::parse(form).unwrap()).collect()
    };
    let usual = steps(&["null_if", "trim", "phone(CN)"]);
    assert_eq!(shown(clean_all(&usual, " 138 0013 8000 ")), "+8613800138000");
    assert_eq!(shown(clean_all(&usual, "无")), "null");
    assert_eq!(shown(clean_all(&usual, "12")), "!phone-length");
    let unchanged = clean_all(&usual, "+8613800138000");
    assert!(matches!(unchanged, Ok(Some(Cow::Borrowed(_)))), "nothing is copied: {unchanged:?}");
}
