//! SMTP as a client speaks it (RFC 5321, 3207, 4954): one connection for one message.
//!
//! ```text
//! greeting ─▶ EHLO ─▶ [STARTTLS ─▶ EHLO] ─▶ [AUTH] ─▶ MAIL ─▶ RCPT… ─▶ DATA ─▶ message ─▶ QUIT
//! ```
//! Until the end of the message was sent, the server has taken nothing; what goes wrong before may be tried again without
//! harm.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flywheel_base::{Error, Result, Secret};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::message::Address;
use super::{Outcome, Security};
use crate::http::{is_private, without};
use crate::postgres::roots;

/// The longest line of an answer, and the most lines of one.
const LINE_BYTES_MAX: u64 = 4 << 10;
const LINES_MAX: usize = 200;
/// What of an answer is repeated.
const SAID_CHARS_MAX: usize = 300;
/// How we call ourselves; servers ask for a name and have to make do without one.
const OUR_NAME: &str = "[127.0.0.1]";

/// Who logs in.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// A mail server and how it is spoken to.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) tls: Option<Tls>,
    pub(super) login: Option<Login>,
    pub(super) allow_private: bool,
}

/// What makes a connection secret.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// Reads the certificates that are trusted; nothing for a connection that is not secret.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] for a host that cannot be in a certificate, else those of the certificates.
pub(super) fn tls(security: Security, host: &str, ca_file: Option<&Path>) -> Result<Option<Tls>> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        Error::invalid(format!("\"{host}\" is no host")).caused_by(error).hint(
            "Write the name of the mail server, such as smtp.example.com, and its port as `port`.",
        )
    })?;
    if security == Security::None {
        return Ok(None);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("TLS cannot be set up").caused_by(error))?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    Ok(Some(Tls { connector: TlsConnector::from(Arc::new(config)), name }))
}

/// Why a message was not taken.
enum Failure {
    /// The connection broke, or what came over it was no SMTP.
    Broken(String),
    /// The server said no: a code and what it said.
    Refused(u16, String),
    /// It does not do what our settings ask for.
    Unfit(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

type Spoken<T> = std::result::Result<T, Failure>;

/// A message that was taken.
struct Taken {
    receipt: String,
    /// For whom.
    mailboxes: Vec<String>,
    /// What was said of those who may get it later, such as by a server that lets a stranger wait at first.
    put_off: Option<(u16, String)>,
}

/// What became of a message.
pub(super) enum Sent {
    /// The same for all that it was sent to, but for those who never get it.
    Ended(Outcome),
    /// Some have got it, and others may later.
    InPart {
        /// The mailboxes that it was taken for.
        got: Vec<String>,
        /// What the server said, with those who have not got it.
        receipt: String,
        /// Why the others have not.
        reason: String,
    },
}

impl Server {
    /// Where it is, for messages.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Sends one message within `time`.
    pub(super) async fn send(
        &self,
        from: &Address,
        to: &[Address],
        message: &[u8],
        time: Duration,
    ) -> Sent {
        // Whether the end of the message was sent: from then on nobody knows whether it was taken.
        let mut given = false;
        let spoken = self.speak(from, to, message, &mut given);
        let failure = match tokio::time::timeout(time, spoken).await {
            Ok(Ok(Taken { receipt, put_off: None, .. })) => {
                return Sent::Ended(Outcome::Delivered { receipt: self.clean(receipt) });
            }
            Ok(Ok(Taken { receipt, mailboxes, put_off: Some((code, said)) })) => {
                let (receipt, reason) = (self.clean(receipt), self.clean(format!("{code} {said}")));
                return Sent::InPart { got: mailboxes, receipt, reason };
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Broken(format!("no answer within {} s", time.as_secs())),
        };
        Sent::Ended(match failure {
            Failure::Refused(code, said) if code >= 500 => {
                Outcome::Rejected { reason: self.clean(format!("{code} {said}")) }
            }
            Failure::Refused(code, said) => {
                Outcome::Retry { reason: self.clean(format!("{code} {said}")), after: None }
            }
            Failure::Unfit(reason) => Outcome::Rejected { reason },
            Failure::Broken(reason) => {
                let reason = format!("{}: {reason}", self.place());
                match given {
                    true => Outcome::Retry { reason, after: None },
                    false => Outcome::Unreached { reason },
                }
            }
        })
    }

    /// What a server said, without what must not be repeated.
    fn clean(&self, said: String) -> String {
        let secrets = self.login.iter().map(|login| login.password.expose());
        without(said, secrets)
    }

    async fn speak(
        &self,
        from: &Address,
        to: &[Address],
        message: &[u8],
        given: &mut bool,
    ) -> Spoken<Taken> {
        let stream = TcpStream::connect(self.addresses().await?.as_slice()).await?;
        // A failure of this costs time at most.
        drop(stream.set_nodelay(true));
        match (self.security, &self.tls) {
            (Security::Tls, Some(tls)) => {
                let stream = tls.connector.connect(tls.name.clone(), stream).await?;
                let mut talk = Talk::new(stream);
                talk.answer(220).await?;
                let able = talk.hello().await?;
                self.rest(talk, &able, from, to, message, given).await
            }
            (Security::Starttls, Some(tls)) => {
                let mut talk = Talk::new(stream);
                talk.answer(220).await?;
                let able = talk.hello().await?;
                if !able.iter().any(|line| line.eq_ignore_ascii_case("STARTTLS")) {
                    return Err(Failure::Unfit(format!(
                        "{} offers no STARTTLS; use `security: tls` with its port for that, usually 465",
                        self.host
                    )));
                }
                talk.ask("STARTTLS", 220).await?;
                let stream = talk.into_bare()?;
                let mut talk = Talk::new(tls.connector.connect(tls.name.clone(), stream).await?);
                // What was said in the open does not count any more.
                let able = talk.hello().await?;
                self.rest(talk, &able, from, to, message, given).await
            }
            _ => {
                let mut talk = Talk::new(stream);
                talk.answer(220).await?;
                let able = talk.hello().await?;
                self.rest(talk, &able, from, to, message, given).await
            }
        }
    }

    /// The addresses of the host, if they may be called.
    async fn addresses(&self) -> Spoken<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let found: Vec<SocketAddr> = found.collect();
        if !self.allow_private && found.iter().any(|address| is_private(address.ip())) {
            return Err(Failure::Unfit(format!(
                "the host {} is a private or local address; set `allow_private: true` if this server of your own network is meant",
                self.host
            )));
        }
        Ok(found)
    }

    async fn rest<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut talk: Talk<S>,
        able: &[String],
        from: &Address,
        to: &[Address],
        message: &[u8],
        given: &mut bool,
    ) -> Spoken<Taken> {
        if let Some(login) = &self.login {
            self.log_in(&mut talk, able, login).await?;
        }
        talk.ask(&format!("MAIL FROM:<{}>", from.mailbox), 250).await?;
        let mut refused: Vec<(u16, String)> = Vec::new();
        let mut mailboxes = Vec::with_capacity(to.len());
        for to in to {
            match talk.ask(&format!("RCPT TO:<{}>", to.mailbox), 250).await {
                // Who is unknown keeps nobody else from the message.
                Err(Failure::Refused(code, said)) => {
                    refused.push((code, format!("{said} ({})", to.mailbox)));
                }
                answer => {
                    drop(answer?);
                    mailboxes.push(to.mailbox.clone());
                }
            }
        }
        // If nobody gets it, one that may be taken later decides that it is tried again.
        refused.sort_by_key(|(code, _)| *code >= 500);
        let shown: Vec<String> =
            refused.iter().map(|(code, said)| format!("{code} {said}")).collect();
        let shown = shown.join("; ");
        let first = refused.first().map(|(code, _)| {
            let said = shown.split_once(' ').map_or(shown.as_str(), |(_, said)| said);
            (*code, said.to_owned())
        });
        if let Some((code, said)) = &first
            && mailboxes.is_empty()
        {
            return Err(Failure::Refused(*code, said.clone()));
        }
        talk.ask("DATA", 354).await?;
        talk.stream.write_all(&stuffed(message)).await?;
        *given = true;
        talk.stream.write_all(b".\r\n").await?;
        talk.stream.flush().await?;
        let receipt = talk.answer(250).await?;
        // It is taken, however the goodbye goes.
        drop(talk.say("QUIT").await);
        let receipt = format!("250 {}", receipt.join(" "));
        if refused.is_empty() {
            return Ok(Taken { receipt, mailboxes, put_off: None });
        }
        tracing::warn!(host = %self.host, refused = refused.len(), "not every receiver was taken");
        let receipt = format!("{receipt}; refused: {shown}");
        let put_off = first.filter(|(code, _)| *code < 500);
        let put_off =
            put_off.map(|(code, said)| (code, format!("{said}; everybody else has got it")));
        Ok(Taken { receipt, mailboxes, put_off })
    }

    async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        talk: &mut Talk<S>,
        able: &[String],
        login: &Login,
    ) -> Spoken<()> {
        let offers = |wanted: &str| {
            able.iter().any(|line| {
                let mut words = line.split([' ', '=']);
                words.next().is_some_and(|word| word.eq_ignore_ascii_case("AUTH"))
                    && words.any(|word| word.eq_ignore_ascii_case(wanted))
            })
        };
        let (user, password) = (login.user.as_str(), login.password.expose());
        if offers("PLAIN") {
            let proof = STANDARD.encode(format!("\0{user}\0{password}"));
            talk.ask(&format!("AUTH PLAIN {proof}"), 235).await?;
        } else if offers("LOGIN") {
            talk.ask("AUTH LOGIN", 334).await?;
            talk.ask(&STANDARD.encode(user), 334).await?;
            talk.ask(&STANDARD.encode(password), 235).await?;
        } else {
            return Err(Failure::Unfit(format!(
                "{} takes neither AUTH PLAIN nor AUTH LOGIN",
                self.host
            )));
        }
        Ok(())
    }
}

/// A connection with what was read of it and not understood yet.
struct Talk<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The connection itself. What a server sent before it was secret, somebody else may have sent.
    fn into_bare(self) -> Spoken<S> {
        if !self.stream.buffer().is_empty() {
            return Err(Failure::Broken(
                "something was said before the connection was secret".into(),
            ));
        }
        Ok(self.stream.into_inner())
    }

    /// Says who we are; what the server can do.
    async fn hello(&mut self) -> Spoken<Vec<String>> {
        self.ask(&format!("EHLO {OUR_NAME}"), 250).await
    }

    async fn say(&mut self, command: &str) -> Spoken<()> {
        self.stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    async fn ask(&mut self, command: &str, wanted: u16) -> Spoken<Vec<String>> {
        self.say(command).await?;
        self.answer(wanted).await
    }

    /// Reads an answer, which has to have this code; its lines without it.
    async fn answer(&mut self, wanted: u16) -> Spoken<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let mut bytes = Vec::new();
            let mut limited = (&mut self.stream).take(LINE_BYTES_MAX);
            limited.read_until(b'\n', &mut bytes).await?;
            let line = String::from_utf8_lossy(&bytes);
            if bytes.is_empty() {
                return Err(Failure::Broken("the server closed the connection".to_owned()));
            }
            let strange = || Failure::Broken("what answers is no mail server".to_owned());
            let code: u16 = line.get(..3).and_then(|code| code.parse().ok()).ok_or_else(strange)?;
            let more = match line.as_bytes().get(3) {
                Some(b'-') => true,
                None | Some(b' ' | b'\r' | b'\n') => false,
                Some(_) => return Err(strange()),
            };
            lines.push(line.get(4..).unwrap_or_default().trim().to_owned());
            if lines.len() > LINES_MAX || !bytes.ends_with(b"\n") {
                return Err(strange());
            }
            if more {
                continue;
            }
            // 251 is 250 for somebody who has moved.
            if code == wanted || (wanted == 250 && code == 251) {
                return Ok(lines);
            }
            let said: String = lines.join(" ").chars().take(SAID_CHARS_MAX).collect();
            return Err(Failure::Refused(code, said));
        }
    }
}

/// The message with the dots that keep its lines from ending it; it ends with a line end.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(message.len() + 2);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            all.push(b'.');
        }
        all.extend_from_slice(line);
    }
    if !all.ends_with(b"\r\n") {
        all.extend_from_slice(b"\r\n");
    }
    all
}
