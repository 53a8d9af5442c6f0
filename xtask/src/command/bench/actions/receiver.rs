//! The hostile receiver: counts what it sees, and spoils a fifth of the requests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Result;

/// How long a request that hangs is held; longer than the sender waits.
const HANG: Duration = Duration::from_millis(900);
/// How long the receiver waits for the rest of a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest request.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// What the receiver saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Requests, spoiled ones included.
    pub(super) requests: u64,
    /// Those that went wrong on purpose.
    pub(super) spoiled: u64,
    /// How often each action took effect where keys are honoured, by the unit it is about.
    pub(super) effects: BTreeMap<String, u64>,
    /// How many keys came for the same unit.
    pub(super) keys_of_unit: BTreeMap<String, u64>,
    /// How many requests came for each unit that must be asked once.
    pub(super) once: BTreeMap<String, u64>,
    keys: BTreeSet<String>,
}

/// A receiver on the loopback.
pub(super) struct Receiver {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    seen: Arc<Mutex<Seen>>,
    stopped: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// Taken, and dropped without effect or answer.
    Dropped,
    /// Took effect, and no answer comes in time.
    Hung,
    /// Took effect, and is answered by a failure.
    Failed,
    /// The connection is reset while the request lies unread.
    Reset,
}

/// The fault of the request with this number: a fifth has one, each as often as the others.
fn fault(number: u64) -> Fault {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    match (mixed ^ (mixed >> 27)) % 20 {
        0 => Fault::Dropped,
        1 => Fault::Hung,
        2 => Fault::Failed,
        3 => Fault::Reset,
        _ => Fault::None,
    }
}

impl Receiver {
    /// Starts to listen.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (requests, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (counter, until, notes) =
            (Arc::clone(&requests), Arc::clone(&stopped), Arc::clone(&seen));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if until.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (counter, notes) = (Arc::clone(&counter), Arc::clone(&notes));
                // A sender that is killed leaves a broken connection, which is no concern of the receiver.
                thread::spawn(move || drop(serve(stream, &counter, &notes)));
            }
        });
        Ok(Self { address, requests, seen, stopped, accepting })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests came so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Stops to listen and tells what it saw.
    pub(super) fn stop(self) -> Seen {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
        drop(self.accepting.join());
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves one request and closes the connection.
fn serve(mut stream: TcpStream, counter: &AtomicU64, notes: &Mutex<Seen>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; REQUEST_BYTES_MAX];
    // Looked at first and read later: what lies unread when a connection is closed makes the system reset it.
    let mut text = String::new();
    let mut length = 0;
    for _ in 0..2_000 {
        let found = stream.peek(&mut buffer)?;
        text = String::from_utf8_lossy(buffer.get(..found).unwrap_or_default()).into_owned();
        if found == 0 || complete(&text) {
            length = found;
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let (Some(unit), Some(key)) = (unit(&text), header(&text, "idempotency-key")) else {
        return Ok(());
    };
    let once = text.starts_with("POST /once");
    let number = counter.fetch_add(1, Ordering::SeqCst);
    let fault = fault(number);
    {
        let mut seen = notes.lock().unwrap_or_else(PoisonError::into_inner);
        seen.requests += 1;
        seen.spoiled += u64::from(fault != Fault::None);
        let new_key = seen.keys.insert(format!("{unit} {key}"));
        *seen.keys_of_unit.entry(unit.clone()).or_default() += u64::from(new_key);
        if once {
            *seen.once.entry(unit.clone()).or_default() += 1;
        }
        if matches!(fault, Fault::None | Fault::Hung | Fault::Failed) && !once {
            // Keys are honoured: a second request with the same one has no second effect.
            let effect = seen.keys.insert(format!("effect {key}"));
            *seen.effects.entry(unit).or_default() += u64::from(effect);
        }
    }
    if fault == Fault::Reset {
        return Ok(());
    }
    stream.read_exact(buffer.get_mut(..length).unwrap_or_default())?;
    match fault {
        Fault::Dropped | Fault::Reset => Ok(()),
        Fault::Hung => {
            thread::sleep(HANG);
            Ok(())
        }
        Fault::Failed => answer(&mut stream, "500 Internal Server Error"),
        Fault::None => answer(&mut stream, "200 OK"),
    }
}

fn answer(stream: &mut TcpStream, status: &str) -> std::io::Result<()> {
    let text = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(text.as_bytes())
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let head = text.split("\r\n\r\n").next()?;
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
}

fn complete(text: &str) -> bool {
    let Some((_, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = header(text, "content-length").and_then(|length| length.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

/// The unit that the body names.
fn unit(text: &str) -> Option<String> {
    let (_, body) = text.split_once("\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(body.get("unit_id")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(receiver: &Receiver, path: &str, unit: &str) -> Option<String> {
        let mut stream = TcpStream::connect(receiver.address()).unwrap();
        let body = format!("{{\"unit_id\":\"{unit}\"}}");
        let text = format!(
            "POST /{path} HTTP/1.1\r\nIdempotency-Key: key-{unit}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.lines().next().map(str::to_owned)
    }

    #[test]
    fn a_fifth_goes_wrong_and_a_key_has_one_effect() {
        let spoiled = (0..10_000).filter(|number| fault(*number) != Fault::None).count();
        assert!((1_800..2_200).contains(&spoiled), "{spoiled}");
        let receiver = Receiver::start().unwrap();
        let answers: Vec<_> = (0..12).map(|_| post(&receiver, "keyed", "a")).collect();
        post(&receiver, "once", "b");
        assert!(answers.contains(&Some("HTTP/1.1 200 OK".to_owned())), "{answers:?}");
        assert_eq!(receiver.requests(), 13);
        let seen = receiver.stop();
        assert_eq!((seen.effects["a"], seen.keys_of_unit["a"], seen.once["b"]), (1, 1, 1));
    }
}
