//! A message as it goes over the wire: RFC 5322 with MIME, all of it ASCII in lines of at most 78 characters.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flywheel_base::{Error, Result, Timestamp, digest};

use crate::action::Attachment;

/// Bytes of UTF-8 in one encoded word: 39 make 52 characters of base64, with its frame 64, and 73 after `Subject: `.
const WORD_BYTES: usize = 39;
/// Characters in a line of base64.
const LINE: usize = 76;
/// The longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 200;
/// The longest text, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// The longest name of a file, in characters.
const NAME_CHARS_MAX: usize = 80;
/// The longest ending of it that says what it is, in characters with the dot.
const ENDING_CHARS_MAX: usize = 10;
/// Bytes of a file's name in one part of it: each may become three characters of at most 75.
const NAME_PART_BYTES: usize = 18;
/// The longest address that mail servers take.
const ADDRESS_BYTES_MAX: usize = 254;

/// Somebody's address, with the name that is shown for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    name: Option<String>,
    /// `local@domain`.
    pub(super) mailbox: String,
}

impl Address {
    /// Reads `ops@example.com` or `Name <ops@example.com>`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for what could not be sent to, or would end a command early.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (name, mailbox) = match text.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
            Some((name, mailbox)) => (name.trim().trim_matches('"').trim(), mailbox.trim()),
            None => ("", text),
        };
        let good = mailbox.len() <= ADDRESS_BYTES_MAX
            && mailbox
                .split_once('@')
                .is_some_and(|(local, domain)| !local.is_empty() && is_domain(domain))
            && mailbox
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"<>()[],;:\\\"".contains(&byte))
            && !name.chars().any(char::is_control);
        if !good {
            return Err(Error::invalid(format!("\"{text}\" is no e-mail address")).hint(
                "Write name@example.com, or Name <name@example.com>; letters outside ASCII belong into the name.",
            ));
        }
        let name = (!name.is_empty()).then(|| name.to_owned());
        Ok(Self { name, mailbox: mailbox.to_owned() })
    }

    fn header(&self) -> String {
        match &self.name {
            Some(name) => format!("{} <{}>", encoded(name), self.mailbox),
            None => self.mailbox.clone(),
        }
    }

    fn domain(&self) -> &str {
        self.mailbox.rsplit('@').next().unwrap_or_default()
    }
}

fn is_domain(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// A message.
pub(super) struct Message<'a> {
    pub(super) key: &'a str,
    pub(super) from: &'a Address,
    pub(super) to: &'a [Address],
    pub(super) subject: &'a str,
    pub(super) text: &'a str,
    /// The same text as HTML.
    pub(super) html: Option<&'a str>,
    /// A file that goes with it.
    pub(super) attachment: Option<&'a Attachment>,
    pub(super) at: Timestamp,
}

impl Message<'_> {
    /// Its bytes, without the dot that ends it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let to: Vec<String> = self.to.iter().map(Address::header).collect();
        let subject: String = self.subject.chars().take(SUBJECT_CHARS_MAX).collect();
        // The same key is the same message, whenever it is sent; a key may have any characters.
        let id = digest::short(&[self.key.as_bytes()]);
        let mut text = String::new();
        for (name, value) in [
            ("From", self.from.header()),
            ("To", to.join(",\r\n ")),
            ("Subject", encoded(&subject)),
            ("Date", self.at.datetime().to_rfc2822()),
            ("Message-ID", format!("<{id}@{}>", self.from.domain())),
            ("MIME-Version", "1.0".to_owned()),
            // Nobody answers a program that is on holiday, too.
            ("Auto-Submitted", "auto-generated".to_owned()),
        ] {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&self.body(&id));
        text.into_bytes()
    }

    /// What it says: as a text, beside it as HTML, and a file after both. No line of base64 can begin as a border does.
    fn body(&self, id: &str) -> String {
        let mut said = words("plain", self.text);
        if let Some(html) = self.html {
            said = among("alternative", &format!("=_{id}_words"), &[said, words("html", html)]);
        }
        match self.attachment {
            Some(file) => among("mixed", &format!("=_{id}_parts"), &[said, attached(file)]),
            None => said,
        }
    }
}

/// A part of text.
fn words(kind: &str, text: &str) -> String {
    let text = shortened(text).replace("\r\n", "\n").replace('\n', "\r\n");
    format!(
        "Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
        lines(text.as_bytes())
    )
}

/// A part that is a file.
fn attached(file: &Attachment) -> String {
    format!(
        "Content-Type: {}\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment;{}\r\n\r\n{}",
        file.kind,
        file_name(&file.name),
        lines(&file.bytes)
    )
}

/// Parts between borders.
fn among(kind: &str, border: &str, parts: &[String]) -> String {
    let parts = parts.iter().map(|part| format!("--{border}\r\n{part}\r\n"));
    format!(
        "Content-Type: multipart/{kind}; boundary=\"{border}\"\r\n\r\n{}--{border}--\r\n",
        parts.collect::<String>()
    )
}

/// Bytes as lines of base64.
fn lines(bytes: &[u8]) -> String {
    let body = STANDARD.encode(bytes);
    let mut out = String::with_capacity(body.len() + body.len() / LINE * 2 + 2);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        out.push_str(line);
        out.push_str("\r\n");
        rest = after;
    }
    out
}

/// The name of a file as a parameter: in whatever letters and in short lines (RFC 2231).
fn file_name(name: &str) -> String {
    // What separates folders would be one somewhere, and some systems take no file with one of the others.
    let sign =
        |char: char| if char.is_control() || "/\\:\"<>|?*".contains(char) { ' ' } else { char };
    // What the file is stays to be seen however long its name is.
    let ending = name.rsplit_once('.').map_or(0, |(_, ending)| ending.chars().count() + 1);
    let ending = if ending > ENDING_CHARS_MAX { 0 } else { ending };
    let count = name.chars().count();
    let kept = NAME_CHARS_MAX.saturating_sub(ending);
    let signs = name.chars().map(sign).enumerate();
    let signs = signs.filter(|(at, _)| *at < kept || *at + ending >= count);
    let name: String = signs.map(|(_, char)| char).collect();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" -_.()".contains(&byte);
    if name.bytes().all(plain) && name.len() <= LINE - 20 {
        return format!("\r\n filename=\"{name}\"");
    }
    let mut out = String::new();
    for (number, part) in name.as_bytes().chunks(NAME_PART_BYTES).enumerate() {
        let start = if number == 0 { "utf-8''" } else { "" };
        let written = part.iter().map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-_.".contains(byte) => {
                char::from(*byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        });
        let between = if number == 0 { "" } else { ";" };
        let written: String = written.collect();
        out.push_str(&format!("{between}\r\n filename*{number}*={start}{written}"));
    }
    out
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A text as a header may have it: as it is if it is plain and short, else in encoded words (RFC 2047).
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" !#$%&'*+-/^_`{|}~".contains(&byte);
    if text.len() <= WORD_BYTES && text.bytes().all(plain) {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for char in text.chars() {
        // Line ends would begin another header.
        let char = if char.is_control() { ' ' } else { char };
        if word.len() + char.len_utf8() > WORD_BYTES {
            words.push(std::mem::take(&mut word));
        }
        word.push(char);
    }
    words.push(word);
    let words = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &str, text: &str) -> String {
        let from = Address::parse("飞轮 <ops@example.com>").unwrap();
        let to =
            ["ada@example.org", "Grace <grace@example.org>"].map(|to| Address::parse(to).unwrap());
        let at = Timestamp::parse("2024-05-01 02:30").unwrap();
        let (html, attachment) = (None, None);
        let message =
            Message { key: "k-1", from: &from, to: &to, subject, text, html, attachment, at };
        String::from_utf8(message.to_bytes()).unwrap()
    }

    #[test]
    fn a_report_has_its_text_its_html_and_its_file_in_that_order() {
        let from = Address::parse("ops@example.com").unwrap();
        let to = [Address::parse("ada@example.org").unwrap()];
        let bytes: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        let file = Attachment {
            name: "一周销售报表与门店对比.xlsx".to_owned(),
            kind: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            bytes: bytes.clone(),
        };
        let message = Message {
            key: "k-1",
            from: &from,
            to: &to,
            subject: "销售",
            text: "成交额 12",
            html: Some("<p>成交额 &lt;12&gt;</p>"),
            attachment: Some(&file),
            at: Timestamp::parse("2024-05-01 02:30").unwrap(),
        };
        let message = String::from_utf8(message.to_bytes()).unwrap();
        assert!(message.is_ascii());
        let lines = message.split("\r\n");
        assert!(lines.clone().all(|line| line.len() <= 90 && !line.contains('\n')), "{message}");
        let parts: Vec<&str> = message.split("\r\n\r\n").collect();
        assert!(parts[0].contains("Content-Type: multipart/mixed; boundary=\"=_"), "{message}");
        assert!(parts[1].contains("Content-Type: multipart/alternative;"), "{message}");
        assert!(parts[2].contains("Content-Type: text/plain; charset=utf-8"), "{message}");
        let body = |part: &str| {
            let body: String = part.split("\r\n").take_while(|l| !l.starts_with("--")).collect();
            STANDARD.decode(body).unwrap()
        };
        assert_eq!(body(parts[3]), "成交额 12".as_bytes());
        assert!(parts[4].contains("Content-Type: text/html; charset=utf-8"), "{message}");
        assert_eq!(body(parts[5]), "<p>成交额 &lt;12&gt;</p>".as_bytes());
        let head = parts.iter().find(|part| part.contains("Content-Disposition")).unwrap();
        let name: String = head
            .split("filename*")
            .skip(1)
            .map(|part| {
                let (_, value) = part.split_once('=').unwrap();
                value.trim_end_matches(';').trim().trim_end_matches(';').to_owned()
            })
            .collect();
        assert!(name.starts_with("utf-8''%E4%B8%80%E5%91%A8"), "{name}");
        assert!(name.ends_with(".xlsx"), "{name}");
        assert_eq!(body(parts[parts.len() - 2]), bytes);
        assert!(message.ends_with("_parts--\r\n"), "{message}");
    }

    #[test]
    fn the_name_of_a_file_cannot_end_its_header() {
        assert_eq!(file_name("sales 2025-03-31.xlsx"), "\r\n filename=\"sales 2025-03-31.xlsx\"");
        let evil = file_name("a\"\r\nBcc: eve@example.com/../b.xlsx");
        assert!(!evil.contains("\r\nBcc") && !evil.contains('/'), "{evil}");
        let odd = file_name("a<b>c|d?e*f.xlsx");
        assert_eq!(odd, "\r\n filename=\"a b c d e f.xlsx\"");
        let long = file_name(&format!("{}.xlsx", "sales of all shops ".repeat(10)));
        assert!(
            long.starts_with("\r\n filename*0*=utf-8''sales%20of") && long.ends_with(".xlsx"),
            "{long}"
        );
        assert!(file_name(&format!("{}.xlsx", "销".repeat(200))).ends_with(".xlsx"));
        assert!(file_name(&"销".repeat(200)).split("\r\n").all(|line| line.len() <= 78));
    }

    #[test]
    fn a_message_is_ascii_in_short_lines_whatever_it_says() {
        let long = "这是一个很长的主题".repeat(30);
        for (subject, text) in [
            ("nightly failed", "why"),
            ("a\r\nBcc: eve@example.com", "line\n.\nQUIT\n"),
            (long.as_str(), long.as_str()),
            ("", ""),
        ] {
            let message = message(subject, text);
            assert!(message.is_ascii());
            assert!(message.split("\r\n").all(|line| line.len() <= 78), "{message}");
            assert!(message.split("\r\n").all(|line| !line.contains(['\r', '\n'])), "{message}");
            assert!(!message.contains("\r\nBcc"), "{message}");
            assert!(message.split("\r\n").all(|line| !line.starts_with('.')), "{message}");
        }
    }

    #[test]
    fn the_text_is_there_as_it_was() {
        let message = message("nightly failed", "The run failed.\n为什么？");
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Subject: nightly failed\r\n"), "{head}");
        assert!(head.contains("Date: Wed, 1 May 2024 02:30:00 +0000\r\n"), "{head}");
        assert!(head.contains("To: ada@example.org,\r\n Grace <grace@example.org>\r\n"), "{head}");
        let body = STANDARD.decode(body.replace("\r\n", "")).unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), "The run failed.\r\n为什么？");
    }

    #[test]
    fn a_message_that_is_sent_again_has_the_same_id() {
        let id = |text: &str| {
            text.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned()
        };
        assert_eq!(id(&message("a", "b")), id(&message("c", "d")));
        assert!(id(&message("a", "b")).ends_with("@example.com>"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "ops",
            "ops@",
            "@example.com",
            "a b@example.com",
            "a@b@c",
            "a@exa mple.com",
            "a@example.com>\r\nRCPT TO:<b@example.com",
            "a@.com",
            "a@b..com",
            "ops@例子.中国",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        let named = Address::parse("\"Ops, night\" <ops+night@mail.example.com>").unwrap();
        assert_eq!(named.mailbox, "ops+night@mail.example.com");
        assert!(named.header().starts_with("=?utf-8?B?"), "a comma would make two of it");
    }
}
