//! What a mail server is told, and what its answers lead to.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flywheel_testkit::Postgres;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::action::ActionEntry;

fn build_in(folder: &std::path::Path, settings: Value) -> Result<Box<dyn Action>> {
    build_once(folder, settings, false)
}

fn build_once(folder: &std::path::Path, settings: Value, once: bool) -> Result<Box<dyn Action>> {
    let context = ActionContext { base_dir: folder.to_owned(), once, ..Default::default() };
    ActionEntry::named("email").unwrap().build(settings, &context)
}

fn build(settings: Value) -> Result<Box<dyn Action>> {
    build_in(std::path::Path::new(""), settings)
}

fn delivery() -> Delivery {
    Delivery {
        key: "k-1".to_owned(),
        payload: json!({"title": "nightly failed", "text": "第一行\n.\n\"zwei\""}),
        group: "alerts".to_owned(),
    }
}

/// A mail server for one connection, and what it does that others do not.
#[derive(Default)]
struct Fake {
    /// What is answered to a command that begins so, instead of what a server answers that takes everything.
    answers: Vec<(&'static str, &'static str)>,
    /// Secret from the first byte.
    tls: bool,
    /// Goes silent at a command that begins so, and closes the connection.
    gone_at: Option<&'static str>,
    /// Never answers.
    silent: bool,
}

impl Fake {
    fn answer(&self, command: &str, secret: bool) -> String {
        if let Some((_, answer)) = self.answers.iter().find(|(start, _)| command.starts_with(start))
        {
            return format!("{answer}\r\n");
        }
        let word = command.split([' ', ':']).next().unwrap_or_default();
        match word {
            "EHLO" if secret => "250-fake\r\n250-SIZE 1000000\r\n250 AUTH LOGIN PLAIN\r\n",
            "EHLO" => "250-fake\r\n250 STARTTLS\r\n",
            "STARTTLS" => "220 go on\r\n",
            "AUTH" => "235 welcome\r\n",
            "DATA" => "354 go on\r\n",
            "." => "250 queued as 4711\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        }
        .to_owned()
    }

    /// Talks until the connection ends or is to become secret; what it was told.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        secret: bool,
        told: &mut Vec<String>,
    ) -> Option<S> {
        let mut stream = BufReader::new(stream);
        let mut in_message = false;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']).to_owned();
            told.push(line.clone());
            if in_message && line != "." {
                continue;
            }
            if self.gone_at.is_some_and(|at| line.starts_with(at)) {
                return None;
            }
            let answer = self.answer(&line, secret);
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            in_message = answer.starts_with("354");
            if line == "STARTTLS" && answer.starts_with("220") {
                return Some(stream.into_inner());
            }
        }
    }

    async fn serve(&self, listener: &TcpListener, acceptor: TlsAcceptor) -> Vec<String> {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut told = Vec::new();
        if self.silent {
            // Until the other side has had enough.
            let mut rest = String::new();
            drop(BufReader::new(stream).read_line(&mut rest).await);
            return told;
        }
        let greeting = b"220 fake ESMTP\r\n";
        if self.tls {
            let Ok(mut stream) = acceptor.accept(stream).await else { return told };
            stream.write_all(greeting).await.unwrap();
            stream.flush().await.unwrap();
            self.talk(stream, true, &mut told).await;
            return told;
        }
        stream.write_all(greeting).await.unwrap();
        if let Some(stream) = self.talk(stream, false, &mut told).await {
            told.push("-- secret --".to_owned());
            let Ok(stream) = acceptor.accept(stream).await else { return told };
            self.talk(stream, true, &mut told).await;
        }
        told
    }
}

/// Sends one message to a mail server; what it was told, and the outcome.
async fn sent(fake: Fake, more: Value) -> (Vec<String>, Outcome) {
    sent_again(&[fake], more, false).await.pop().unwrap()
}

/// Sends one message again and again, each time as a process does that has just begun, to a mail server that is another one
/// each time; what each was told, and the outcome.
async fn sent_again(fakes: &[Fake], more: Value, once: bool) -> Vec<(Vec<String>, Outcome)> {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Postgres::certificate(folder.path());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = vec![CertificateDer::from_pem_file(&certificate.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = json!({
        "host": "127.0.0.1", "port": listener.local_addr().unwrap().port(), "allow_private": true,
        "from": "Flywheel <ops@example.com>", "to": ["ada@example.org", "grace@example.org"],
        "ca_file": "server.pem",
    });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let batch = [delivery()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut all = Vec::new();
    for fake in fakes {
        let action = build_once(folder.path(), settings.clone(), once).unwrap();
        let serving = fake.serve(&listener, acceptor.clone());
        let (told, outcomes) = tokio::join!(serving, action.deliver(&batch));
        all.push((told, outcomes.into_iter().next().unwrap()));
    }
    all
}

fn login() -> Value {
    json!({"user": "ops", "password": "p4ss-w0rd"})
}

#[tokio::test]
async fn a_message_goes_to_all_after_the_connection_is_secret() {
    let (told, outcome) = sent(Fake::default(), login()).await;
    assert_eq!(outcome, Outcome::Delivered { receipt: "250 queued as 4711".to_owned() });
    let commands: Vec<&str> = told.iter().map(String::as_str).collect();
    let proof = format!("AUTH PLAIN {}", STANDARD.encode("\0ops\0p4ss-w0rd"));
    assert_eq!(
        commands[..8],
        [
            "EHLO [127.0.0.1]",
            "STARTTLS",
            "-- secret --",
            "EHLO [127.0.0.1]",
            proof.as_str(),
            "MAIL FROM:<ops@example.com>",
            "RCPT TO:<ada@example.org>",
            "RCPT TO:<grace@example.org>",
        ]
    );
    assert!(commands.contains(&"Subject: nightly failed"), "{commands:?}");
    assert!(commands.iter().any(|line| line.starts_with("Message-ID: <")));
    let body = commands.iter().skip_while(|line| !line.is_empty()).skip(1);
    let body: String = body.take_while(|line| **line != ".").copied().collect();
    let body = String::from_utf8(STANDARD.decode(body).unwrap()).unwrap();
    assert_eq!(body, "第一行\r\n.\r\n\"zwei\"");
}

#[tokio::test]
async fn a_connection_can_be_secret_from_the_first_byte() {
    let fake = Fake { tls: true, ..Fake::default() };
    let (told, outcome) = sent(fake, json!({"security": "tls", "prefix": "[shop] "})).await;
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
    assert!(told.iter().any(|line| line == "Subject: =?utf-8?B?W3Nob3BdIG5pZ2h0bHkgZmFpbGVk?="));
    assert!(!told.iter().any(|line| line.starts_with("AUTH")), "nobody logs in");
}

#[tokio::test]
async fn or_not_secret_at_all_if_it_is_asked_for() {
    let (told, outcome) = sent(Fake::default(), json!({"security": "none"})).await;
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
    assert!(!told.iter().any(|line| line == "STARTTLS"));
}

#[tokio::test]
async fn a_server_that_only_knows_the_older_way_to_log_in_is_told_that_way() {
    let fake = Fake {
        answers: vec![
            ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
            ("b3Bz", "334 UGFzc3dvcmQ6"),
            ("cDRzcy13MHJk", "235 welcome"),
            ("EHLO", "250-fake\r\n250-STARTTLS\r\n250 AUTH=LOGIN"),
        ],
        ..Fake::default()
    };
    let (_, outcome) = sent(fake, login()).await;
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
}

#[tokio::test]
async fn nothing_is_said_over_a_connection_that_cannot_be_made_secret() {
    let fake = Fake { answers: vec![("EHLO", "250 fake")], ..Fake::default() };
    let (told, outcome) = sent(fake, login()).await;
    let Outcome::Rejected { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("STARTTLS") && reason.contains("security: tls"), "{reason}");
    assert_eq!(told, ["EHLO [127.0.0.1]"]);
}

#[tokio::test]
async fn a_certificate_of_nobody_we_trust_is_no_server_of_ours() {
    let (told, outcome) = sent(Fake::default(), json!({"ca_file": null})).await;
    let Outcome::Unreached { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("certificate"), "{reason}");
    assert!(!told.iter().any(|line| line.starts_with("MAIL")));
}

#[tokio::test]
async fn what_a_server_says_decides_whether_it_is_tried_again() {
    for (command, answer, again) in [
        ("RCPT", "550 no such user", false),
        ("RCPT", "450 busy", true),
        ("MAIL", "452 no room", true),
        ("AUTH", "535 bad p4ss-w0rd", false),
        ("DATA", "554 no", false),
        (".", "451 later", true),
        ("EHLO", "421 too many", true),
    ] {
        let fake = Fake { answers: vec![(command, answer)], ..Fake::default() };
        let (_, outcome) = sent(fake, login()).await;
        let (reason, found) = match &outcome {
            Outcome::Rejected { reason } => (reason, false),
            Outcome::Retry { reason, .. } => (reason, true),
            other => panic!("{command} {answer}: {other:?}"),
        };
        assert_eq!(found, again, "{command} {answer}");
        assert!(reason.starts_with(&answer[..3]), "{reason}");
        assert!(!reason.contains("p4ss-w0rd"), "{reason}");
    }
}

#[tokio::test]
async fn an_address_that_is_refused_keeps_nobody_else_from_the_message() {
    let fake = Fake { answers: vec![("RCPT TO:<ada", "550 no such user")], ..Fake::default() };
    let (told, outcome) = sent(fake, json!({})).await;
    let receipt = "250 queued as 4711; refused: 550 no such user (ada@example.org)".to_owned();
    assert_eq!(outcome, Outcome::Delivered { receipt });
    assert!(told.iter().any(|line| line == "DATA"), "{told:?}");
    // Nobody gets it: it is tried again if one may be taken later.
    let answers = vec![("RCPT TO:<ada", "550 no such user"), ("RCPT TO:<grace", "450 busy")];
    let (told, outcome) = sent(Fake { answers, ..Fake::default() }, json!({})).await;
    let reason = "450 busy (grace@example.org); 550 no such user (ada@example.org)".to_owned();
    assert_eq!(outcome, Outcome::Retry { reason, after: None });
    assert!(!told.iter().any(|line| line == "DATA"), "{told:?}");
}

#[tokio::test]
async fn an_address_that_is_put_off_gets_the_message_later_and_alone() {
    let later =
        || Fake { answers: vec![("RCPT TO:<ada", "450 come back later")], ..Fake::default() };
    let gone = Fake { answers: vec![("RCPT TO:<ada", "550 no such user")], ..Fake::default() };
    let fakes = [later(), later(), gone, Fake::default(), Fake::default()];
    let all = sent_again(&fakes, json!({}), false).await;
    let receivers = |told: &[String]| -> Vec<String> {
        let named = told.iter().filter(|line| line.starts_with("RCPT"));
        named.map(|line| line.replace("RCPT TO:", "")).collect()
    };
    let [(first, waits), (second, waits_still), (third, refused), (fourth, done), (fifth, _)] =
        all.as_slice()
    else {
        panic!("{all:?}")
    };
    assert!(first.iter().any(|line| line == "DATA"), "whoever is taken gets it now: {first:?}");
    for waits in [waits, waits_still] {
        let Outcome::Retry { reason, .. } = waits else { panic!("{waits:?}") };
        assert!(reason.starts_with("450 come back later (ada@example.org)"), "{reason}");
    }
    assert!(matches!(refused, Outcome::Rejected { .. }), "{refused:?}");
    for told in [second, third, fourth] {
        assert_eq!(receivers(told), ["<ada@example.org>"], "also after it was given up");
    }
    assert_eq!(*done, Outcome::Delivered { receipt: "250 queued as 4711".to_owned() });
    assert_eq!(receivers(fifth).len(), 2, "a message that has ended is not known any more");
    // What may be sent once is sent once.
    let (told, outcome) = sent_again(&[later()], json!({}), true).await.pop().unwrap();
    assert_eq!(receivers(&told).len(), 2);
    let receipt = "250 queued as 4711; refused: 450 come back later (ada@example.org)".to_owned();
    assert_eq!(outcome, Outcome::Delivered { receipt });
}

#[tokio::test]
async fn a_server_that_goes_away_has_taken_nothing_until_the_message_has_ended() {
    for (at, reached) in [("EHLO", false), ("MAIL", false), ("DATA", false), (".", true)] {
        let (_, outcome) = sent(Fake { gone_at: Some(at), ..Fake::default() }, json!({})).await;
        let found = match outcome {
            Outcome::Unreached { .. } => false,
            Outcome::Retry { .. } => true,
            other => panic!("{at}: {other:?}"),
        };
        assert_eq!(found, reached, "{at}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for_longer_than_is_said() {
    let (_, outcome) =
        sent(Fake { silent: true, ..Fake::default() }, json!({"timeout": "50ms"})).await;
    let Outcome::Unreached { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("no answer"), "{reason}");
}

#[tokio::test]
async fn a_server_of_the_own_network_is_called_only_if_it_may_be() {
    let action = build(json!({
        "host": "127.0.0.1", "port": 9, "security": "none", "from": "a@example.com", "to": ["b@example.com"],
    }))
    .unwrap();
    let outcome = action.deliver(&[delivery()]).await.remove(0);
    let Outcome::Rejected { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("allow_private"), "{reason}");
}

#[test]
fn settings_that_cannot_work_are_refused_before_anything_is_sent() {
    let with = |more: Value| {
        let mut settings =
            json!({"host": "smtp.example.com", "from": "a@example.com", "to": ["b@example.com"]});
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        build(settings).err().map(|error| error.report()).unwrap_or_default()
    };
    assert!(with(json!({"user": "ops"})).contains("belong together"));
    let open = json!({"user": "ops", "password": "x", "security": "none"});
    assert!(with(open).contains("not secret"));
    assert!(with(json!({"to": []})).contains("0 receivers"));
    assert!(
        with(json!({"to": ["b@example.com\r\nRCPT TO:<c@example.com>"]}))
            .contains("no e-mail address")
    );
    assert!(with(json!({"host": "smtp example"})).contains("no host"));
    assert!(with(json!({"hots": "x"})).contains("hots"));
}
