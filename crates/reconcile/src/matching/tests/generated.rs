//! Two CRMs with planted duplicates: how many are found, and how many are wrong.

use flywheel_base::Rng;
use serde_json::{Value, json};

use super::super::*;
use super::people;

const FIRST: [&str; 40] = [
    "James",
    "Robert",
    "John",
    "Michael",
    "David",
    "William",
    "Richard",
    "Joseph",
    "Thomas",
    "Charles",
    "Mary",
    "Patricia",
    "Jennifer",
    "Elizabeth",
    "Margaret",
    "Katherine",
    "Susan",
    "Laura",
    "Nora",
    "Alice",
    "Ahmed",
    "Fatima",
    "Jürgen",
    "Søren",
    "Chloé",
    "Diego",
    "Ivana",
    "Hiroshi",
    "Priya",
    "Olga",
    "Daniel",
    "Matthew",
    "Anthony",
    "Nicholas",
    "Andrew",
    "Emma",
    "Grace",
    "Oscar",
    "Felix",
    "Victor",
];
const SHORT: [(&str, &str); 10] = [
    ("Robert", "Bob"),
    ("William", "Bill"),
    ("Richard", "Rick"),
    ("Joseph", "Joe"),
    ("Thomas", "Tom"),
    ("Elizabeth", "Liz"),
    ("Katherine", "Kate"),
    ("Michael", "Mike"),
    ("Daniel", "Dan"),
    ("Margaret", "Peggy"),
];
const LAST: [&str; 40] = [
    "Smith",
    "Johnson",
    "Williams",
    "Brown",
    "Jones",
    "Garcia",
    "Miller",
    "Davis",
    "Rodriguez",
    "Martinez",
    "Hernandez",
    "Lopez",
    "Gonzalez",
    "Wilson",
    "Anderson",
    "Müller",
    "Schröder",
    "Kowalski",
    "Novák",
    "Nguyen",
    "Tanaka",
    "Yamamoto",
    "Singh",
    "Patel",
    "Khan",
    "Ivanov",
    "Petrova",
    "Rossi",
    "Bianchi",
    "Dubois",
    "Lefèvre",
    "Andersson",
    "Nielsen",
    "O'Brien",
    "Murphy",
    "Campbell",
    "Stewart",
    "Okafor",
    "Mensah",
    "Haddad",
];
const SURNAME_ZH: [&str; 12] =
    ["王", "李", "张", "刘", "陈", "杨", "黄", "赵", "周", "吴", "徐", "孙"];
const GIVEN_ZH: [&str; 16] = [
    "伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "涛", "明", "超",
];
const FIRM: [&str; 24] = [
    "Acme", "Globex", "Initech", "Umbra", "Stark", "Wayne", "Cyber", "Soylent", "Tyrell",
    "Vandelay", "Hooli", "Pied", "Aviato", "Massive", "Virtu", "Oscorp", "Zenith", "Apex",
    "Vertex", "Summit", "Harbor", "Cedar", "Maple", "Granite",
];
const TRADE: [&str; 12] = [
    "Trading",
    "Foods",
    "Systems",
    "Logistics",
    "Energy",
    "Media",
    "Labs",
    "Motors",
    "Textiles",
    "Pharma",
    "Robotics",
    "Finance",
];
const CITY_ZH: [&str; 8] = ["北京", "上海", "深圳", "广州", "杭州", "成都", "南京", "武汉"];
const FIRM_ZH: [&str; 16] = [
    "星辰", "大地", "华盛", "金鼎", "蓝海", "天成", "恒通", "瑞丰", "东方", "长城", "宏图", "锦绣",
    "朝阳", "中科", "联创", "百川",
];
const TRADE_ZH: [&str; 6] = ["科技", "贸易", "食品", "物流", "能源", "医药"];

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.below(of.len())]
}

/// A person as she is, before two systems write her down.
fn person(rng: &mut Rng, number: usize) -> Value {
    if rng.chance(0.3) {
        let given: String = (0..1 + rng.below(2)).map(|_| pick(rng, &GIVEN_ZH)).collect();
        let company = format!(
            "{}{}{}有限公司",
            pick(rng, &CITY_ZH),
            pick(rng, &FIRM_ZH),
            pick(rng, &TRADE_ZH)
        );
        return json!({
            "name": format!("{}{given}", pick(rng, &SURNAME_ZH)),
            "company": company,
            "email": format!("user{number}@{}.cn", number % 997),
            "phone": format!("+86 13{:09}", (number * 7_919) % 1_000_000_000),
        });
    }
    let (first, last) = (pick(rng, &FIRST), pick(rng, &LAST));
    let (firm, trade) = (pick(rng, &FIRM), pick(rng, &TRADE));
    json!({
        "name": format!("{first} {last}"),
        "company": format!("{firm} {trade} Inc"),
        "email": format!("{}.{number}@{}{}.com", first.to_lowercase(), firm.to_lowercase(), trade.to_lowercase()),
        "phone": format!("+1 {:03} 555 {:04}", 200 + number % 700, (number * 31) % 10_000),
    })
}

fn typo(rng: &mut Rng, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    if letters.len() < 5 {
        return text.to_owned();
    }
    let at = 1 + rng.below(letters.len() - 2);
    match rng.below(3) {
        0 => letters.swap(at, at + 1),
        1 => drop(letters.remove(at)),
        _ => letters.insert(at, letters[at]),
    }
    letters.into_iter().collect()
}

/// The same person as the other system has written her down; `contact` is how often it has her e-mail
/// address.
fn written_again(rng: &mut Rng, person: &Value, contact: f64) -> Value {
    let text = |field: &str| person[field].as_str().unwrap().to_owned();
    let mut name = text("name");
    let is_zh = !name.contains(' ');
    if !is_zh {
        for (long, short) in SHORT {
            if name.starts_with(long) && rng.chance(0.4) {
                name = name.replacen(long, short, 1);
            }
        }
        if rng.chance(0.25) {
            name = typo(rng, &name);
        }
        if rng.chance(0.2) {
            let (first, last) = name.split_once(' ').unwrap_or((&name, ""));
            name = format!("{last}, {first}");
        }
    } else if rng.chance(0.2) {
        name.push_str("先生");
    }
    let mut company = text("company");
    match rng.below(5) {
        0 if is_zh => company = company.replace("有限公司", "股份有限公司"),
        1 if is_zh => company = company.replace("有限公司", ""),
        0 => company = company.replace(" Inc", ", Incorporated"),
        1 => company = company.replace(" Inc", "").to_uppercase(),
        2 if !is_zh => company = typo(rng, &company),
        _ => {}
    }
    let email = if rng.chance(contact) { json!(text("email").to_uppercase()) } else { Value::Null };
    let phone = match rng.below(2) {
        _ if !rng.chance(contact) => Value::Null,
        0 => json!(text("phone").replace(' ', "-")),
        _ => json!(text("phone").replace('+', "00")),
    };
    json!({"name": name, "company": company, "email": email, "phone": phone})
}

/// Correct, found and possible pairs.
struct Quality {
    joined: usize,
    right: usize,
    planted: usize,
    asked_right: usize,
    pairs_scored: usize,
    entries: usize,
}

impl Quality {
    fn precision(&self) -> f64 {
        self.right as f64 / self.joined.max(1) as f64
    }

    fn recall(&self) -> f64 {
        self.right as f64 / self.planted.max(1) as f64
    }

    fn recall_with_review(&self) -> f64 {
        (self.right + self.asked_right) as f64 / self.planted.max(1) as f64
    }
}

/// Matches `count` people of whom two in five are in both systems. Keys hold the truth.
fn quality(seed: u64, count: usize, contact: f64) -> Quality {
    let mut rng = Rng::new(seed);
    let mut entries = Vec::new();
    let mut planted = 0;
    for number in 0..count {
        let person = person(&mut rng, number);
        let twice = rng.chance(0.4);
        planted += usize::from(twice);
        let again = twice.then(|| written_again(&mut rng, &person, contact));
        for (system, fields) in [("left", Some(person)), ("right", again)] {
            let Some(fields) = fields else { continue };
            entries.push(Entry {
                key: Key { system: system.into(), id: number.to_string() },
                fields: fields.as_object().unwrap().clone().into_iter().collect(),
                external: BTreeMap::new(),
                changed_at: None,
            });
        }
    }
    rng.shuffle(&mut entries);
    let matched = find(&entries, &people()).unwrap();
    let (mut joined, mut right) = (0, 0);
    for cluster in &matched.clusters {
        for (at, a) in cluster.members.iter().enumerate() {
            for b in cluster.members.iter().skip(at + 1) {
                joined += 1;
                right += usize::from(a.id == b.id);
            }
        }
    }
    let asked_right = matched.review.iter().filter(|review| review.a.id == review.b.id).count();
    Quality {
        joined,
        right,
        planted,
        asked_right,
        pairs_scored: matched.pairs_scored,
        entries: entries.len(),
    }
}

#[test]
fn planted_duplicates_are_found_and_strangers_left_apart() {
    for (seed, contact) in [(1, 0.5), (2, 0.15), (3, 0.0)] {
        let found = quality(seed, 1_500, contact);
        println!(
            "{} records, {} planted duplicates, contact data of {:.0} %: precision {:.4}, recall \
             {:.4}, with review {:.4}; {} pairs scored",
            found.entries,
            found.planted,
            contact * 100.0,
            found.precision(),
            found.recall(),
            found.recall_with_review(),
            found.pairs_scored
        );
        assert!(found.precision() >= 0.98, "{}", found.precision());
        assert!(found.recall() >= 0.9, "{}", found.recall());
        assert!(found.recall_with_review() >= 0.93, "{}", found.recall_with_review());
    }
}

#[test]
fn the_work_grows_with_the_records_and_not_with_their_square() {
    let (small, large) = (quality(3, 800, 0.5), quality(3, 2_400, 0.5));
    let per_record = |found: &Quality| found.pairs_scored as f64 / found.entries as f64;
    println!(
        "pairs scored per record: {:.1} of {}, {:.1} of {}",
        per_record(&small),
        small.entries,
        per_record(&large),
        large.entries
    );
    assert!(per_record(&large) < per_record(&small) * 1.7);
    assert!(large.pairs_scored < large.entries * large.entries / 20);
}

#[test]
fn the_result_does_not_depend_on_anything_but_the_entries() {
    let mut rng = Rng::new(8);
    let entries: Vec<Entry> = (0..200)
        .map(|number| {
            let fields = person(&mut rng, number % 120);
            super::entry(&format!("s/{number}"), fields)
        })
        .collect();
    assert_eq!(find(&entries, &people()).unwrap(), find(&entries, &people()).unwrap());
}
