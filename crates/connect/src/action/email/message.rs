//! A message as it goes over the wire: RFC 5322 with MIME, all of it ASCII in lines of at most 78 characters.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flywheel_base::{Error, Result, Timestamp, digest};

/// Bytes of UTF-8 in one encoded word: 39 make 52 characters of base64, with its frame 64, and 73 after `Subject: `.
const WORD_BYTES: usize = 39;
/// Characters in a line of base64.
const LINE: usize = 76;
/// The longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 200;
/// The longest text, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;
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
            ("Content-Type", "text/plain; charset=utf-8".to_owned()),
            ("Content-Transfer-Encoding", "base64".to_owned()),
            // Nobody answers a program that is on holiday, too.
            ("Auto-Submitted", "auto-generated".to_owned()),
        ] {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let body = shortened(self.text).replace("\r\n", "\n").replace('\n', "\r\n");
        let body = STANDARD.encode(body);
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE));
            text.push_str(line);
            text.push_str("\r\n");
            rest = after;
        }
        text.into_bytes()
    }
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
        let message = Message { key: "k-1", from: &from, to: &to, subject, text, at };
        String::from_utf8(message.to_bytes()).unwrap()
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
