//! What is looked for: names in English and Chinese, and how values look.

use std::collections::BTreeSet;

use super::values;

/// The mask that hides and still joins.
const HMAC: &str = "hmac(key=${secret:pii})";

/// Whether a value looks like one of a kind.
type Looks = fn(&str) -> bool;

/// One kind of personal data.
pub(super) struct Kind {
    pub(super) tag: &'static str,
    /// Names that speak for it; several words must follow each other.
    pub(super) names: &'static [&'static str],
    /// Names that speak against it.
    pub(super) against: &'static [&'static str],
    /// Whether a value looks right in a column of that name.
    pub(super) looks: Looks,
    /// Whether a value looks right without the name, and the share that must.
    pub(super) alone: Option<(Looks, f64)>,
    /// Whether its values are numbers, among which a series is none.
    pub(super) numbers: bool,
    /// The confidence in the name and few of the values.
    pub(super) named: f64,
    pub(super) mask: &'static str,
    pub(super) clean: fn(&BTreeSet<&str>) -> Option<String>,
}

fn no_clean(_: &BTreeSet<&str>) -> Option<String> {
    None
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        tag: "email",
        names: &["email", "e mail", "mail address", "邮箱", "电子邮件", "邮件地址"],
        against: &["email id", "email count", "邮箱数"],
        looks: values::is_email,
        alone: Some((values::is_email, 0.5)),
        numbers: false,
        named: 0.8,
        mask: HMAC,
        clean: |_| Some("email".to_owned()),
    },
    Kind {
        tag: "national_id",
        names: &[
            "national id",
            "id card",
            "id card number",
            "identity number",
            "citizen id",
            "id number",
            "ssn",
            "social security number",
            "身份证",
            "身份证号",
            "证件号",
            "公民身份号码",
        ],
        against: &[],
        looks: values::is_national_id,
        alone: Some((values::is_national_id_alone, 0.5)),
        numbers: false,
        named: 0.8,
        mask: HMAC,
        clean: no_clean,
    },
    Kind {
        tag: "iban",
        names: &["iban", "bank account", "account iban"],
        against: &[],
        looks: values::is_iban,
        alone: Some((values::is_iban, 0.5)),
        numbers: false,
        named: 0.8,
        mask: "partial(4)",
        clean: no_clean,
    },
    Kind {
        tag: "card",
        names: &[
            "card number",
            "card no",
            "credit card",
            "debit card",
            "bank card",
            "pan",
            "信用卡",
            "银行卡",
            "银行卡号",
            "卡号",
        ],
        against: &["id card", "gift card", "member card", "会员卡", "imei"],
        looks: values::is_card,
        alone: Some((values::is_card, 0.9)),
        numbers: true,
        named: 0.8,
        mask: "partial(4)",
        clean: no_clean,
    },
    Kind {
        tag: "phone",
        names: &[
            "phone",
            "telephone",
            "tel",
            "mobile",
            "cell",
            "cellphone",
            "fax",
            "msisdn",
            "whatsapp",
            "手机",
            "电话",
            "手机号",
            "联系方式",
            "传真",
            "座机",
        ],
        against: &[
            "model",
            "brand",
            "os",
            "type",
            "count",
            "order",
            "sku",
            "qty",
            "quantity",
            "amount",
            "price",
            "invoice",
            "tracking",
            "serial",
            "product",
            "item",
            "batch",
            "timestamp",
            "cell type",
            "型号",
            "品牌",
            "订单",
            "运单",
            "数量",
            "金额",
            "编号",
            "单号",
        ],
        looks: values::is_phone,
        alone: Some((values::is_phone_alone, 0.8)),
        numbers: true,
        named: 0.7,
        mask: HMAC,
        clean: |sample| Some(values::phone_clean(sample)),
    },
    Kind {
        tag: "ip",
        names: &[
            "ip",
            "ip address",
            "ip addr",
            "client ip",
            "remote addr",
            "ipv4",
            "ipv6",
            "ip地址",
        ],
        against: &["version", "版本"],
        looks: values::is_ip,
        alone: Some((values::is_ip_alone, 0.9)),
        numbers: false,
        named: 0.8,
        mask: HMAC,
        clean: no_clean,
    },
    Kind {
        tag: "birth_date",
        names: &[
            "birth date",
            "birthdate",
            "date of birth",
            "dob",
            "birthday",
            "birth day",
            "born",
            "出生日期",
            "生日",
            "出生年月",
            "出生",
        ],
        against: &["place", "city", "country", "出生地"],
        looks: values::is_birth_date,
        alone: None,
        numbers: false,
        named: 0.7,
        mask: "round(year)",
        clean: |_| Some("date".to_owned()),
    },
    Kind {
        tag: "passport",
        names: &["passport", "passport number", "passport no", "护照", "护照号"],
        against: &["country", "expiry", "expires"],
        looks: values::is_passport,
        alone: None,
        numbers: false,
        named: 0.7,
        mask: "redact",
        clean: no_clean,
    },
    Kind {
        tag: "person_name",
        names: &[
            "first name",
            "last name",
            "full name",
            "given name",
            "family name",
            "middle name",
            "maiden name",
            "surname",
            "forename",
            "firstname",
            "lastname",
            "fullname",
            "contact name",
            "customer name",
            "patient name",
            "employee name",
            "person name",
            "cardholder",
            "recipient",
            "consignee",
            "姓名",
            "名字",
            "联系人",
            "收货人",
            "收件人",
            "客户姓名",
            "持卡人",
            "患者姓名",
        ],
        against: &[
            "id", "count", "email", "phone", "address", "电话", "地址", "邮箱", "手机", "编号",
        ],
        looks: values::is_person_name,
        alone: None,
        numbers: false,
        named: 0.6,
        mask: "redact",
        clean: |_| Some("name".to_owned()),
    },
    Kind {
        tag: "address",
        names: &[
            "address",
            "addr",
            "street",
            "address line",
            "street address",
            "home address",
            "postal address",
            "shipping address",
            "billing address",
            "地址",
            "住址",
            "收货地址",
            "家庭住址",
            "街道",
        ],
        against: &[
            "email", "mail", "ip", "mac", "web", "url", "wallet", "memory", "id", "type", "邮件",
            "邮箱", "count",
        ],
        looks: values::is_address,
        alone: None,
        numbers: false,
        named: 0.6,
        mask: "redact",
        clean: |_| Some("address".to_owned()),
    },
];

/// The words of a name, in lower case: `customerPhone_No2` as customer, phone, no, 2. Chinese stays one
/// word, in which names are looked for anywhere.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let letters: Vec<char> = name.chars().collect();
    for (place, c) in letters.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|before| letters.get(before)).copied();
        let after = letters.get(place + 1).copied();
        let lower = |c: Option<char>| c.is_some_and(char::is_lowercase);
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        // customerPhone, IDNumber
        let hump = c.is_uppercase()
            && (lower(before) || (lower(after) && before.is_some_and(char::is_uppercase)));
        let count = digit(Some(*c)) != digit(before) && before.is_some();
        let script = before.is_some_and(|before| before.is_ascii() != c.is_ascii());
        if (hump || count || script || !c.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Whether the words of `phrase` follow each other in `words`.
pub(super) fn has(words: &[String], phrase: &str) -> bool {
    if !phrase.is_ascii() {
        return words.concat().contains(phrase);
    }
    let wanted: Vec<&str> = phrase.split(' ').collect();
    let same = |window: &[String]| window.iter().map(String::as_str).eq(wanted.iter().copied());
    words.windows(wanted.len()).any(same)
        // phonenumber, emailaddress: one word that starts or ends with it.
        || (wanted.len() == 1
            && phrase.len() >= 5
            && words.iter().any(|word| word.starts_with(phrase) || word.ends_with(phrase)))
}
