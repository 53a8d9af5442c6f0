//! Values in the form in which they are compared. Never written anywhere; cleaning is another matter.

use super::words::{
    FREE_DOMAINS, LEGAL_FORMS, LEGAL_FORMS_ZH, NICKNAMES, ROLES, TITLES, TITLES_ZH,
};

/// The fewest digits of a number that identifies a telephone, country included.
const PHONE_DIGITS_MIN: usize = 8;

/// The most digits of a telephone number (E.164).
const PHONE_DIGITS_MAX: usize = 15;

/// What stands before an extension.
const EXTENSIONS: &[&str] = &["ext", "x", "#", "转", "分机", ";"];

/// Full-width letters, digits and signs as the plain ones, letters without accents and in lower case.
pub(crate) fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let c = match c {
            '\u{3000}' | '\u{a0}' => ' ',
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
            _ => c,
        };
        for c in c.to_lowercase() {
            match plain(c) {
                Some(letters) => out.push_str(letters),
                None => out.push(c),
            }
        }
    }
    out
}

/// A lower-case letter without its accent.
fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        'à' | 'á' | 'â' | 'ã' | 'å' | 'ā' | 'ă' | 'ą' => "a",
        'ä' | 'æ' => "ae",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' | 'ě' => "e",
        'ğ' => "g",
        'ì' | 'í' | 'î' | 'ï' | 'ī' | 'ı' => "i",
        'ł' | 'ľ' => "l",
        'ñ' | 'ń' | 'ň' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ō' | 'ő' => "o",
        'ö' | 'ø' | 'œ' => "oe",
        'ř' => "r",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'ß' => "ss",
        'ť' | 'ţ' | 'ț' => "t",
        'ù' | 'ú' | 'û' | 'ū' | 'ů' | 'ű' => "u",
        'ü' => "ue",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        _ => return None,
    })
}

/// Whether a letter is Chinese (or Japanese kanji).
pub(crate) fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// An e-mail address as it identifies a person; `None` if it is none or that of a desk.
pub(crate) fn email(text: &str) -> Option<String> {
    let (local, domain) = address(text)?;
    if ROLES.contains(&local.as_str()) {
        return None;
    }
    if domain == "gmail.com" || domain == "googlemail.com" {
        let name = local.split('+').next().unwrap_or_default().replace('.', "");
        return Some(format!("{name}@gmail.com"));
    }
    Some(format!("{local}@{domain}"))
}

/// The domain of an e-mail or web address, if it belongs to a company.
pub(crate) fn domain(text: &str) -> Option<String> {
    let domain = match address(text) {
        Some((_, domain)) => domain,
        None => {
            let text = folded(text.trim());
            let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
            let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
            host.strip_prefix("www.").unwrap_or(host).to_owned()
        }
    };
    let known = is_domain(&domain) && !FREE_DOMAINS.contains(&domain.as_str());
    known.then_some(domain)
}

fn address(text: &str) -> Option<(String, String)> {
    let text = folded(text.trim());
    let text = match (text.rfind('<'), text.rfind('>')) {
        (Some(open), Some(close)) if open < close => text.get(open + 1..close)?.to_owned(),
        _ => text,
    };
    let text = text.strip_prefix("mailto:").unwrap_or(&text);
    let (local, domain) = text.split_once('@')?;
    let fits = !local.is_empty()
        && !local.contains(|c: char| c.is_whitespace() || c == ',')
        && is_domain(domain);
    fits.then(|| (local.to_owned(), domain.to_owned()))
}

fn is_domain(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    labels.len() > 1
        && labels.iter().all(|label| {
            !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        })
}

/// A telephone number as E.164, `+8613800138000`; `home` is the calling code of numbers without one.
pub(crate) fn phone(text: &str, home: &str) -> Option<String> {
    let mut text = folded(text.trim()).replace("(0)", "");
    for mark in EXTENSIONS {
        if let Some((number, _)) = text.split_once(mark) {
            text = number.to_owned();
        }
    }
    if text.chars().any(char::is_alphabetic) {
        return None;
    }
    let is_foreign = text.trim_start_matches(['(', ' ']).starts_with('+');
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let international = if is_foreign {
        digits
    } else if let Some(rest) = digits.strip_prefix("00") {
        rest.to_owned()
    } else if home.is_empty() {
        return None;
    } else if digits.len() > 11 && digits.starts_with(home) {
        digits
    } else {
        format!("{home}{}", without_trunk(&digits, home))
    };
    let fits = (PHONE_DIGITS_MIN..=PHONE_DIGITS_MAX).contains(&international.len())
        && !international.starts_with('0');
    fits.then(|| format!("+{international}"))
}

/// A national number without the digit that is dialled only within the country.
fn without_trunk<'a>(digits: &'a str, home: &str) -> &'a str {
    let trunk = match home {
        "1" if digits.len() == 11 => "1",
        "7" if digits.len() == 11 => "8",
        // in Italy the 0 is part of the number
        "1" | "7" | "39" => return digits,
        _ => "0",
    };
    digits.strip_prefix(trunk).unwrap_or(digits)
}

/// The words of a person's name, without titles. A Chinese name is one word.
pub(crate) fn name_words(text: &str) -> Vec<String> {
    let mut text = folded(text);
    for title in TITLES_ZH {
        text = text.replace(title, " ");
    }
    if text.chars().any(is_han) {
        let joined: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
        return if joined.is_empty() { Vec::new() } else { vec![joined] };
    }
    words(&text).filter(|word| !TITLES.contains(word)).map(str::to_owned).collect()
}

/// Whether two given names stand for each other.
pub(crate) fn are_nicknames(a: &str, b: &str) -> bool {
    NICKNAMES.iter().any(|names| names.contains(&a) && names.contains(&b))
}

/// The words of a company's name without its legal form; of Chinese text the pairs of neighbouring
/// letters. In their order, each once.
pub(crate) fn company_words(text: &str) -> Vec<String> {
    let mut text = folded(text).replace('&', " and ").replace(['\'', '’'], "");
    for form in LEGAL_FORMS_ZH {
        text = text.replace(form, " ");
    }
    // A.G. and S.p.A. are written with points
    let text = text.replace('.', "");
    let mut found: Vec<String> = Vec::new();
    let mut add = |word: String| {
        if !found.contains(&word) {
            found.push(word);
        }
    };
    for word in words(&text) {
        if !word.chars().any(is_han) {
            if word != "and" && !LEGAL_FORMS.contains(&word) {
                add(word.to_owned());
            }
            continue;
        }
        let letters: Vec<char> = word.chars().collect();
        if letters.len() == 1 {
            add(word.to_owned());
        }
        letters.windows(2).for_each(|pair| add(pair.iter().collect()));
    }
    if found.is_empty() {
        // a company that is called nothing but "Group" or "The Company"
        found.extend(words(&text).map(str::to_owned));
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_person_are_one() {
        for (text, expected) in [
            (" Ann.Lee@Example.COM ", Some("ann.lee@example.com")),
            ("Ann Lee <ann.lee@example.com>", Some("ann.lee@example.com")),
            ("mailto:ann@example.com", Some("ann@example.com")),
            ("a.n.n+news@googlemail.com", Some("ann@gmail.com")),
            ("ａｎｎ＠ｅｘａｍｐｌｅ．ｃｏｍ", Some("ann@example.com")),
            ("info@example.com", None),
            ("ann@localhost", None),
            ("ann example.com", None),
            ("", None),
            ("@example.com", None),
            ("a b@example.com", None),
        ] {
            assert_eq!(email(text).as_deref(), expected, "{text}");
        }
        assert_eq!(domain("ann@acme.co.uk").as_deref(), Some("acme.co.uk"));
        assert_eq!(domain("https://www.Acme.com/about?x").as_deref(), Some("acme.com"));
        assert_eq!(domain("ann@qq.com"), None);
        assert_eq!(domain("not a domain"), None);
    }

    #[test]
    fn numbers_of_one_telephone_are_one() {
        for (text, home, expected) in [
            ("138 0013 8000", "86", Some("+8613800138000")),
            ("+86 138-0013-8000", "1", Some("+8613800138000")),
            ("１３８００１３８０００", "86", Some("+8613800138000")),
            ("8613800138000", "86", Some("+8613800138000")),
            ("010-6552 9988 转 8001", "86", Some("+861065529988")),
            ("(415) 555-2671", "1", Some("+14155552671")),
            ("1-415-555-2671 ext. 12", "1", Some("+14155552671")),
            ("0044 (0)20 7946 0958", "49", Some("+442079460958")),
            ("020 7946 0958", "44", Some("+442079460958")),
            ("06 6982 1234", "39", Some("+390669821234")),
            ("8 (495) 123-45-67", "7", Some("+74951234567")),
            ("020 7946 0958", "", None),
            ("1-800-FLOWERS", "1", None),
            ("12345", "1", None),
            ("+0123456789", "1", None),
            ("1234567890123456", "1", None),
            ("", "1", None),
        ] {
            assert_eq!(phone(text, home).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn names_lose_titles_and_accents_and_companies_their_legal_form() {
        assert_eq!(name_words("Dr. Jürgen  Groß-Müller"), ["juergen", "gross", "mueller"]);
        assert_eq!(name_words("王小明先生"), ["王小明"]);
        assert!(name_words("...").is_empty());
        let company = company_words;
        assert_eq!(company("Acme Corp., Inc."), ["acme"]);
        assert_eq!(company("Müller & Söhne GmbH"), ["mueller", "soehne"]);
        assert_eq!(company("深圳华为技术有限公司"), company("深圳华为技术股份有限公司"));
        assert_eq!(company("华为（中国）有限公司"), ["华为"]);
        assert_eq!(company("The Group"), ["the", "group"]);
        assert!(are_nicknames("bill", "william") && !are_nicknames("bill", "robert"));
    }
}
