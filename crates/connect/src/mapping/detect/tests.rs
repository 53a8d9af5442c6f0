//! What is found, and what looks like it and is not.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde_json::json;

use super::*;
use crate::source::{SourceContext, SourceEntry};

fn tag(name: &str, values: &[&str]) -> Option<&'static str> {
    detect(name, values).map(|found| found.tag)
}

const MOBILES: &[&str] =
    &["13800138000", "15912345678", "18698765432", "17712349876", "13312340099", "19900001234"];
const CHINESE_IDS: &[&str] = &["11010519491231002X", "440524198001010013", "11010119900307803X"];
const CARDS: &[&str] = &[
    "4111111111111111",
    "5500005555555559",
    "378282246310005",
    "6011111111111117",
    "4012888888881881",
];

#[test]
fn names_and_values_together_are_sure() {
    for (name, values, expected) in [
        ("email", &["li@example.com", "wang@example.cn"][..], "email"),
        ("customerEmail", &["li@example.com"], "email"),
        ("电子邮箱", &["li@example.com"], "email"),
        ("phone_number", &["212-555-0123", "(415) 555-2671"], "phone"),
        ("手机号", MOBILES, "phone"),
        ("联系电话", &["010-62345678", "13800138000"], "phone"),
        ("身份证号", CHINESE_IDS, "national_id"),
        ("ssn", &["123-45-6789", "212-09-9999"], "national_id"),
        ("iban", &["DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19"], "iban"),
        ("card_number", CARDS, "card"),
        ("银行卡号", &["6222021234567890128", "4111111111111111"], "card"),
        ("client_ip", &["203.0.113.7", "10.0.0.1"], "ip"),
        ("date_of_birth", &["1990-05-01", "01/02/1985"], "birth_date"),
        ("出生日期", &["1990年5月1日"], "birth_date"),
        ("passport_no", &["E12345678", "G87654321"], "passport"),
        ("护照号", &["E12345678"], "passport"),
        ("first_name", &["Li", "Anne-Marie"], "person_name"),
        ("LastName", &["O'Brien"], "person_name"),
        ("姓名", &["张三", "欧阳娜娜"], "person_name"),
        ("收货人", &["张三"], "person_name"),
        ("street_address", &["12 Main St", "500 5th Ave"], "address"),
        ("收货地址", &["北京市朝阳区建国路88号"], "address"),
    ] {
        let found = detect(name, values).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(found.tag, expected, "{name}");
        assert!(found.confidence > 0.75 && found.confidence < 1.0, "{name}: {found:?}");
        assert!(crate::mapping::check_mask(found.mask).is_ok(), "{found:?}");
        if let Some(clean) = &found.clean {
            assert!(crate::mapping::check_clean(clean).is_ok(), "{found:?}");
        }
    }
}

#[test]
fn values_speak_for_themselves_where_a_checksum_or_a_form_does() {
    let emails: Vec<String> = (0..9).map(|n| format!("user{n}@example.com")).collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    let phones =
        ["+8613800138000", "+12125550123", "+442079460958", "+33142685300", "+819012345678"];
    let ips = ["203.0.113.7", "198.51.100.23", "192.168.44.10", "172.16.200.90", "8.8.244.99"];
    let ibans = [
        "DE89370400440532013000",
        "GB29NWBK60161331926819",
        "FR1420041010050500013M02606",
        "NL91ABNA0417164300",
        "CH9300762011623852957",
    ];
    let ids: Vec<&str> = [CHINESE_IDS, &["310101198001010018", "510102199206151234"]].concat();
    for (values, expected) in [
        (emails.as_slice(), "email"),
        (&phones, "phone"),
        (MOBILES, "phone"),
        (&ips, "ip"),
        (&ibans, "iban"),
        (CARDS, "card"),
        (&ids, "national_id"),
    ] {
        assert_eq!(tag("x1", values), Some(expected));
    }
}

#[test]
fn look_alikes_are_left_alone() {
    let series = |start: u64, step: u64| -> Vec<String> {
        (0..50).map(|n| (start + n * step).to_string()).collect()
    };
    let cases: Vec<(&str, Vec<String>)> = vec![
        // Numbers that are given out one after the other.
        ("order_no", series(13_800_138_000, 1)),
        ("id", series(13_800_138_000, 7)),
        ("order_id", series(4_111_111_111_111_111, 1)),
        ("订单编号", MOBILES.iter().map(|one| (*one).to_owned()).collect()),
        ("tracking_no", MOBILES.iter().map(|one| (*one).to_owned()).collect()),
        // Amounts, quantities, codes.
        ("quantity", series(1, 3)),
        ("amount_cents", series(1_234_567_890, 98_765)),
        (
            "sku",
            vec!["123-456-7890".to_owned(), "999-111-0000".to_owned(), "100-200-3000".to_owned()],
        ),
        (
            "ean",
            ["4006381333931", "5901234123457", "4012345678901", "9780201379624", "5012345678900"]
                .map(str::to_owned)
                .to_vec(),
        ),
        ("epoch", series(1_714_521_600, 86_400)),
        ("created_at", vec!["2024-05-01".to_owned(), "2024-05-02".to_owned()]),
        (
            "version",
            ["1.2.3.4", "10.0.19041.1", "3.11.0.0", "2.0.0.1", "1.0.0.0"]
                .map(str::to_owned)
                .to_vec(),
        ),
        (
            "build",
            ["1.2.3.4", "10.0.1.1", "3.11.0.0", "2.0.0.1", "1.0.0.0"].map(str::to_owned).to_vec(),
        ),
        ("uuid", vec!["123e4567-e89b-12d3-a456-426614174000".to_owned()]),
        // Names that hold a word of a kind.
        ("phone_model", vec!["iPhone 15".to_owned(), "Pixel 8".to_owned()]),
        ("手机型号", vec!["小米14".to_owned()]),
        ("email_count", series(0, 1)),
        ("email_opt_in", vec!["true".to_owned(), "false".to_owned()]),
        ("product_name", vec!["Tea".to_owned()]),
        ("file_name", vec!["a.csv".to_owned()]),
        ("ip_count", series(0, 2)),
        ("mac_address", vec!["00:1b:44:11:3a:b7".to_owned()]),
        ("web_address", vec!["https://example.com".to_owned()]),
        ("address_id", series(7, 1)),
        ("birth_city", vec!["Paris".to_owned()]),
        ("passport_country", vec!["CN".to_owned()]),
        ("description", vec!["shipped to a friend".to_owned()]),
        ("telemetry", vec!["0.5".to_owned()]),
    ];
    for (name, values) in &cases {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        assert_eq!(detect(name, &values), None, "{name}");
    }
}

#[test]
fn random_numbers_are_hardly_ever_taken_for_cards_or_identities() {
    let mut rng = flywheel_base::Rng::new(3);
    let mut found = 0;
    for _ in 0..200 {
        let digits = 8 + rng.below(12);
        let values: Vec<String> = (0..40)
            .map(|_| (0..digits).map(|_| char::from(b'0' + rng.below(10) as u8)).collect())
            .collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        found += usize::from(detect("x", &values).is_some());
    }
    assert_eq!(found, 0);
}

#[test]
fn checksums_are_those_of_the_standards() {
    for id in CHINESE_IDS {
        assert!(values::is_chinese_id(id), "{id}");
        let wrong = format!("{}{}", &id[..17], if id.ends_with('X') { '1' } else { 'X' });
        assert!(!values::is_chinese_id(&wrong), "{wrong}");
    }
    for card in CARDS {
        assert!(values::is_card(card), "{card}");
    }
    assert!(!values::is_card("4111111111111112"));
    assert!(!values::is_iban("DE89370400440532013001"));
    assert!(!values::is_chinese_id("11010519491331002X"), "no month 13");
}

#[test]
fn a_name_alone_is_half_sure_and_values_can_refute_it() {
    let found = detect("email", &[]).unwrap();
    assert!((found.confidence - 0.5).abs() < 1e-9);
    assert_eq!(tag("email", &["1", "2", "3"]), None);
    assert_eq!(tag("fax", &["", " "]), Some("phone"));
    assert_eq!(tag("email", &["a@example.com", "none", "b@example.com"]), Some("email"));
}

#[test]
fn a_batch_is_looked_at_column_by_column_and_no_value_is_repeated() {
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("mobile", Arc::new(Int64Array::from(vec![13_800_138_000, 15_912_345_678]))),
        ("mail_address", Arc::new(StringArray::from(vec![Some("li@example.com"), None]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let found = detect_columns(&batch);
    let tags: Vec<_> = found.iter().map(|one| (one.column.as_str(), one.tag)).collect();
    assert_eq!(tags, [("mobile", "phone"), ("mail_address", "email")]);
    assert_eq!(found[0].clean.as_deref(), Some("phone(CN)"));
    assert!(!format!("{found:?}").contains("13800138000"));
}

#[tokio::test]
async fn a_discovered_stream_is_looked_at_by_its_first_rows() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("contacts.csv", "id,contact,fax\n1,li@example.com,\n2,wang@example.com,\n");
    write("empty.csv", "id,email\n");
    let now = Timestamp::parse("2024-06-01").unwrap();
    let context =
        SourceContext { base_dir: folder.path().to_owned(), now, connections: Default::default() };
    let source = SourceEntry::named("csv").unwrap().build(json!({}), &context).unwrap();
    let mut found = Vec::new();
    for stream in source.discover().await.unwrap() {
        for one in detect_stream(source.as_ref(), &stream, now).await.unwrap() {
            found.push(format!("{}.{}: {}", stream.name, one.column, one.tag));
        }
    }
    found.sort();
    assert_eq!(found, ["contacts.csv.fax: phone", "empty.csv.email: email"]);
}
