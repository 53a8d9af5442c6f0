//! Words that say nothing about who somebody is, and names that stand for each other.

/// Addresses of a desk, not of a person.
pub(super) const ROLES: &[&str] = &[
    "admin",
    "billing",
    "contact",
    "enquiries",
    "hello",
    "hr",
    "info",
    "invoice",
    "kontakt",
    "mail",
    "marketing",
    "noreply",
    "no-reply",
    "office",
    "sales",
    "support",
];

/// Domains whose addresses say nothing about the company.
pub(super) const FREE_DOMAINS: &[&str] = &[
    "126.com",
    "139.com",
    "163.com",
    "aliyun.com",
    "aol.com",
    "foxmail.com",
    "gmail.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hotmail.com",
    "icloud.com",
    "live.com",
    "mail.ru",
    "msn.com",
    "outlook.com",
    "qq.com",
    "sina.com",
    "web.de",
    "yahoo.com",
];

/// What stands before or after a name.
pub(super) const TITLES: &[&str] = &[
    "mr", "mrs", "ms", "miss", "dr", "prof", "sir", "jr", "sr", "ii", "iii", "phd", "mba", "herr",
    "frau", "dipl",
];

/// The same in Chinese.
pub(super) const TITLES_ZH: &[&str] = &["先生", "女士", "小姐", "经理", "总监"];

/// Short forms of given names; a line holds names that stand for each other.
pub(super) const NICKNAMES: &[&[&str]] = &[
    &["alexander", "alexandra", "alex", "sasha"],
    &["andrew", "andy", "drew"],
    &["anthony", "tony"],
    &["benjamin", "ben"],
    &["charles", "charlie", "chuck"],
    &["christopher", "chris"],
    &["daniel", "dan", "danny"],
    &["david", "dave"],
    &["edward", "ed", "eddie", "ted"],
    &["elizabeth", "liz", "beth", "betty", "lisa"],
    &["james", "jim", "jimmy", "jamie"],
    &["jennifer", "jen", "jenny"],
    &["john", "jack", "johnny"],
    &["joseph", "joe"],
    &["katherine", "catherine", "kate", "kathy", "katie"],
    &["margaret", "maggie", "peggy", "meg"],
    &["matthew", "matt"],
    &["michael", "mike", "mick"],
    &["nicholas", "nick"],
    &["patricia", "pat", "patty"],
    &["richard", "rick", "dick", "rich"],
    &["robert", "rob", "bob", "bobby"],
    &["thomas", "tom", "tommy"],
    &["william", "will", "bill", "billy"],
];

/// Legal forms and other words that many companies have.
pub(super) const LEGAL_FORMS: &[&str] = &[
    "ab",
    "ag",
    "as",
    "aps",
    "asa",
    "bv",
    "co",
    "company",
    "corp",
    "corporation",
    "gmbh",
    "group",
    "holding",
    "holdings",
    "inc",
    "incorporated",
    "intl",
    "kg",
    "kk",
    "limited",
    "llc",
    "llp",
    "lp",
    "ltd",
    "nv",
    "oy",
    "oyj",
    "plc",
    "pte",
    "pty",
    "sa",
    "sarl",
    "the",
];

/// The same in Chinese, the longest first.
pub(super) const LEGAL_FORMS_ZH: &[&str] = &[
    "股份有限公司",
    "有限责任公司",
    "集团有限公司",
    "有限公司",
    "分公司",
    "集团",
    "公司",
    "(中国)",
];
