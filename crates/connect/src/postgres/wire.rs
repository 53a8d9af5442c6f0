//! A connection for the replication protocol, which the driver does not speak: the start of a session,
//! and messages in both directions.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use flywheel_base::{Error, ErrorKind, Result};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::fail::refusal;
use super::tls::MakeRustls;
use super::{CONNECT_TIMEOUT, Server, Tls};
use crate::connections::Admitted;

/// Bytes that are asked for at once.
const READ_BYTES: usize = 256 << 10;

/// A connection as bytes.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What the server sends.
pub(super) enum Frame {
    /// A copy in both directions begins.
    CopyBoth,
    /// A part of the copy.
    Data(Bytes),
    /// The copy, or a statement, is over.
    End,
    /// The server waits for the next statement.
    Ready,
    /// The server refuses something.
    Refused(SqlState, String),
    /// Anything else.
    Other(Message),
}

/// An open connection.
pub(super) struct Wire {
    io: Box<dyn Io>,
    incoming: BytesMut,
    server: Server,
    /// Given back after the connection.
    _admitted: Admitted,
}

impl Server {
    /// Opens a connection for replication, with settings of the session.
    pub(super) async fn wire(&self, settings: &[(&str, &str)]) -> Result<Wire> {
        let limit = self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        let opening = Box::pin(self.open_wire(settings, limit));
        tokio::time::timeout(limit * 2, opening).await.unwrap_or_else(|_| {
            Err(Error::unavailable(format!("{} does not answer", self.name))
                .hint("Check `host` and `port`; raise `connect_timeout` if it is only slow."))
        })
    }

    async fn open_wire(&self, settings: &[(&str, &str)], limit: Duration) -> Result<Wire> {
        let mut admitted = self.connections.one().await?;
        let mut last = None;
        let ports = self.config.get_ports();
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
            match tokio::time::timeout(limit, self.reach(host, port)).await {
                Ok(Ok(io)) => {
                    let incoming = BytesMut::new();
                    let _admitted = std::mem::take(&mut admitted);
                    let mut wire = Wire { io, incoming, server: self.clone(), _admitted };
                    wire.begin(settings).await?;
                    return Ok(wire);
                }
                Ok(Err(error)) => last = Some(error),
                Err(_) => {}
            }
        }
        let made = Error::unavailable(format!("{} cannot be reached", self.name))
            .hint("Check `host` and `port`, and whether the server runs.");
        Err(last.unwrap_or(made))
    }

    async fn reach(&self, host: &Host, port: u16) -> Result<Box<dyn Io>> {
        let unreachable = |error: io::Error| {
            Error::unavailable(format!("{} cannot be reached", self.name))
                .caused_by(error)
                .hint("Check `host` and `port`, and whether the server runs.")
        };
        let name = match host {
            Host::Unix(folder) => {
                let socket = folder.join(format!(".s.PGSQL.{port}"));
                return Ok(Box::new(UnixStream::connect(socket).await.map_err(unreachable)?));
            }
            Host::Tcp(name) => name,
        };
        let mut tcp = TcpStream::connect((name.as_str(), port)).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        if self.tls == Tls::Disable {
            return Ok(Box::new(tcp));
        }
        let mut ask = BytesMut::new();
        frontend::ssl_request(&mut ask);
        tcp.write_all(&ask).await.map_err(unreachable)?;
        if tcp.read_u8().await.map_err(unreachable)? != b'S' {
            return Err(Error::invalid(format!("{} does not offer TLS", self.name))
                .hint("Turn on `ssl` in the server's postgresql.conf, or set `tls: disable`."));
        }
        let fails = || {
            let message = format!("{} is not who it should be, or TLS fails", self.name);
            Error::new(ErrorKind::Denied, message).hint(
                "Set `ca_file` to the authority of its certificate, and `host` to a name in it.",
            )
        };
        let mut tls = MakeRustls::new(self.tls, self.ca_file.as_deref())?;
        let connector = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, name)
            .map_err(|error| fails().caused_by(error))?;
        let encrypted = connector.connect(tcp).await.map_err(|error| fails().caused_by(error))?;
        Ok(Box::new(encrypted))
    }
}

impl Wire {
    /// Names the user and the database, and proves who it is.
    async fn begin(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        let database = self.server.config.get_dbname().unwrap_or_default().to_owned();
        let user = self.server.user.clone();
        let mut parameters = vec![
            ("user", user.as_str()),
            ("database", database.as_str()),
            ("replication", "database"),
            ("application_name", "flywheel"),
        ];
        parameters.extend_from_slice(settings);
        let mut bytes = BytesMut::new();
        frontend::startup_message(parameters, &mut bytes).map_err(|error| self.broken(error))?;
        self.write(&bytes).await?;
        let mut scram: Option<ScramSha256> = None;
        loop {
            let mut answer = BytesMut::new();
            match self.next().await? {
                Frame::Ready => return Ok(()),
                Frame::Refused(state, text) => return Err(refusal(&self.server, &state, &text)),
                Frame::Other(Message::AuthenticationCleartextPassword) => {
                    frontend::password_message(&self.password()?, &mut answer)
                }
                Frame::Other(Message::AuthenticationMd5Password(body)) => {
                    let hash = md5_hash(user.as_bytes(), &self.password()?, body.salt());
                    frontend::password_message(hash.as_bytes(), &mut answer)
                }
                Frame::Other(Message::AuthenticationSasl(_)) => {
                    let fresh = ScramSha256::new(&self.password()?, ChannelBinding::unsupported());
                    let begun = scram.insert(fresh);
                    frontend::sasl_initial_response(SCRAM_SHA_256, begun.message(), &mut answer)
                }
                Frame::Other(Message::AuthenticationSaslContinue(body)) => match &mut scram {
                    None => Err(io::ErrorKind::InvalidData.into()),
                    Some(scram) => scram
                        .update(body.data())
                        .and_then(|()| frontend::sasl_response(scram.message(), &mut answer)),
                },
                Frame::Other(Message::AuthenticationSaslFinal(body)) => match &mut scram {
                    None => Err(io::ErrorKind::InvalidData.into()),
                    Some(scram) => scram.finish(body.data()),
                },
                Frame::Other(
                    Message::AuthenticationOk
                    | Message::ParameterStatus(_)
                    | Message::BackendKeyData(_)
                    | Message::NoticeResponse(_),
                ) => Ok(()),
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
            .map_err(|error| {
                let message = format!("{} wants other credentials", self.server.name);
                Error::new(ErrorKind::Denied, message)
                    .caused_by(error)
                    .hint("Use a password with SCRAM or MD5, by reference: ${env:PG_PASSWORD}.")
            })?;
            if !answer.is_empty() {
                self.write(&answer).await?;
            }
        }
    }

    fn password(&self) -> Result<Vec<u8>> {
        let password = self.server.config.get_password().map(<[u8]>::to_vec);
        password.ok_or_else(|| {
            Error::new(ErrorKind::Denied, format!("{} wants a password", self.server.name))
                .hint("Set `password` by reference: ${env:PG_PASSWORD}.")
        })
    }

    /// Sends a statement.
    pub(super) async fn query(&mut self, sql: &str) -> Result<()> {
        let mut bytes = BytesMut::new();
        frontend::query(sql, &mut bytes).map_err(|error| self.broken(error))?;
        self.write(&bytes).await
    }

    /// Sends bytes.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        };
        let written = written.await;
        written.map_err(|error| self.broken(error))
    }

    /// Waits for the next frame.
    pub(super) async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Waits for more bytes; nothing is lost if the wait is given up.
    pub(super) async fn fill(&mut self) -> Result<()> {
        self.incoming.reserve(READ_BYTES);
        let read = self.io.read_buf(&mut self.incoming).await;
        match read.map_err(|error| self.broken(error))? {
            0 => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    /// A frame that has arrived whole.
    pub(super) fn take(&mut self) -> Result<Option<Frame>> {
        match self.incoming.first() {
            // The one message of this protocol that the library does not know.
            Some(b'W') => return Ok(self.body().map(|_| Frame::CopyBoth)),
            Some(b'E') => return Ok(self.body().map(|body| refused(&body))),
            _ => {}
        }
        let message = Message::parse(&mut self.incoming).map_err(|error| {
            Error::corrupt(format!("what {} sends is not understood", self.server.name))
                .caused_by(error)
        })?;
        Ok(message.map(|message| match message {
            Message::CopyData(body) => Frame::Data(body.into_bytes()),
            Message::CopyDone | Message::CommandComplete(_) => Frame::End,
            Message::ReadyForQuery(_) => Frame::Ready,
            other => Frame::Other(other),
        }))
    }

    /// Takes the body of a frame that has arrived whole.
    fn body(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(self.incoming.get(1..5)?.try_into().ok()?) as usize;
        if self.incoming.len() <= length {
            return None;
        }
        let mut frame = self.incoming.split_to(length + 1);
        frame.advance(5.min(frame.len()));
        Some(frame.freeze())
    }

    /// The server.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    fn broken(&self, error: io::Error) -> Error {
        Error::unavailable(format!("the connection to {} broke off", self.server.name))
            .hint("It is tried again from the last commit.")
            .caused_by(error)
    }
}

/// The state and the text of an error.
fn refused(body: &[u8]) -> Frame {
    let (mut state, mut text) = (SqlState::INTERNAL_ERROR, String::new());
    for field in body.split(|byte| *byte == 0) {
        let Some((kind, value)) = field.split_first() else { continue };
        match kind {
            b'C' => state = SqlState::from_code(&String::from_utf8_lossy(value)),
            b'M' => text = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }
    Frame::Refused(state, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_refuses_tells_its_state_and_text() {
        let Frame::Refused(state, text) = refused(b"SERROR\0C55006\0Min use\0\0") else {
            panic!("not refused")
        };
        assert_eq!((state, text.as_str()), (SqlState::OBJECT_IN_USE, "in use"));
    }
}
