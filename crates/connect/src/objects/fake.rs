//! A store that speaks the protocol of S3 on the loopback: it checks signatures, lists in pages, knows
//! ranges, conditional writes and uploads in parts, and fails as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::http::fake::{Fake, Reply, Seen};

pub(crate) const KEY_ID: &str = "AKIDFLYWHEEL";
pub(crate) const SECRET: &str = "canary-secret-key-9b1f";
pub(crate) const REGION: &str = "eu-north-9";
pub(crate) const BUCKET: &str = "shop";

/// What the store does instead of answering.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It answers with this status and code.
    Status(u16, &'static str),
    /// It breaks off so many bytes before the end.
    Cut(usize),
    /// It closes the connection.
    Nothing,
    /// It does what is asked and closes the connection.
    Silent,
}

/// A fault of the next requests of one method for keys with some text.
#[derive(Clone, Debug)]
struct Planned {
    method: &'static str,
    part: String,
    times: usize,
    fault: Fault,
}

/// The store's content and what it counted.
#[derive(Debug, Default)]
pub(crate) struct FakeS3 {
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// Objects in a page of a list at most.
    pub(crate) page_max: usize,
    /// Uploads in parts that were begun and neither completed nor aborted.
    pub(crate) uploads: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
    /// Uploads that were completed, with their parts.
    pub(crate) completed: Vec<usize>,
    planned: Vec<Planned>,
    made: usize,
}

type Shared = Arc<Mutex<FakeS3>>;

impl FakeS3 {
    /// Starts a store; needs a runtime.
    pub(crate) fn start() -> (Fake, Shared) {
        let store = Arc::new(Mutex::new(Self { page_max: 1_000, ..Self::default() }));
        let serving = Arc::clone(&store);
        (Fake::start_now(move |seen| serving.lock().unwrap().answer(seen)), store)
    }

    /// Lets requests fail.
    pub(crate) fn plan(&mut self, method: &'static str, part: &str, times: usize, fault: Fault) {
        self.planned.push(Planned { method, part: part.to_owned(), times, fault });
    }

    /// Lets nothing fail any more.
    pub(crate) fn heal(&mut self) {
        self.planned.clear();
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        if let Err((status, code, message)) = check(seen) {
            return refuse(status, code, message);
        }
        let path = decoded(&seen.path);
        let Some((bucket, key)) = path.trim_start_matches('/').split_once('/').or_else(|| {
            Some((path.trim_matches('/'), "")).filter(|(bucket, _)| !bucket.is_empty())
        }) else {
            return refuse(400, "InvalidRequest", "no bucket");
        };
        if bucket != BUCKET {
            return refuse(404, "NoSuchBucket", "The specified bucket does not exist");
        }
        let planned = self.planned.iter_mut().find(|planned| {
            planned.times > 0
                && planned.method == seen.method
                && seen.target.contains(&planned.part)
        });
        let fault = planned.map(|planned| {
            planned.times -= 1;
            planned.fault.clone()
        });
        match fault {
            Some(Fault::Status(status, code)) => refuse(status, code, "as planned"),
            Some(Fault::Cut(bytes)) => self.act(seen, key).cut(bytes),
            Some(Fault::Nothing) => Reply::nothing(),
            Some(Fault::Silent) => {
                self.act(seen, key);
                Reply::nothing()
            }
            None => self.act(seen, key),
        }
    }

    fn act(&mut self, seen: &Seen, key: &str) -> Reply {
        match seen.method.as_str() {
            "GET" if key.is_empty() => self.list(seen),
            "GET" => self.get(seen, key),
            "HEAD" => self.get(seen, key).head_only(),
            "PUT" if seen.param("uploadId").is_some() => {
                let upload = seen.param("uploadId").unwrap();
                let number = seen.param("partNumber").unwrap().parse().unwrap();
                let Some(parts) = self.uploads.get_mut(upload) else {
                    return refuse(404, "NoSuchUpload", "no such upload");
                };
                parts.insert(number, seen.bytes.clone());
                Reply::new(200, "").header("etag", etag(&seen.bytes))
            }
            "PUT" => self.put(seen, key),
            "POST" if seen.param("delete").is_some() => {
                for key in all_between(&seen.body, "<Key>", "</Key>") {
                    self.objects.remove(&key);
                }
                let deleted = all_between(&seen.body, "<Key>", "</Key>");
                let deleted: String =
                    deleted.iter().map(|k| format!("<Deleted><Key>{k}</Key></Deleted>")).collect();
                xml(&format!("<DeleteResult>{deleted}</DeleteResult>"))
            }
            "POST" if seen.param("uploads").is_some() => {
                self.made += 1;
                let id = format!("upload{}", self.made);
                self.uploads.insert(id.clone(), BTreeMap::new());
                xml(&format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId>\
                     </InitiateMultipartUploadResult>"
                ))
            }
            "POST" => {
                let parts = self.uploads.remove(seen.param("uploadId").unwrap()).unwrap();
                self.completed.push(parts.len());
                let bytes: Vec<u8> = parts.into_values().flatten().collect();
                let tag = etag(&bytes);
                self.objects.insert(key.to_owned(), bytes);
                xml(&format!(
                    "<CompleteMultipartUploadResult><ETag>{tag}</ETag>\
                     </CompleteMultipartUploadResult>"
                ))
            }
            "DELETE" => {
                match seen.param("uploadId") {
                    Some(upload) => drop(self.uploads.remove(upload)),
                    None => drop(self.objects.remove(key)),
                }
                Reply::new(204, "")
            }
            other => refuse(405, "MethodNotAllowed", other),
        }
    }

    fn put(&mut self, seen: &Seen, key: &str) -> Reply {
        if let Some(from) = seen.header("x-amz-copy-source") {
            let from = decoded(from);
            let from = from.trim_start_matches('/').strip_prefix(&format!("{BUCKET}/")).unwrap();
            let Some(bytes) = self.objects.get(from).cloned() else {
                return refuse(404, "NoSuchKey", "no such key");
            };
            let tag = etag(&bytes);
            self.objects.insert(key.to_owned(), bytes);
            return xml(&format!("<CopyObjectResult><ETag>{tag}</ETag></CopyObjectResult>"));
        }
        let there = self.objects.get(key).map(|bytes| etag(bytes));
        let fits = match (seen.header("if-none-match"), seen.header("if-match")) {
            (Some(_), _) => there.is_none(),
            (None, Some(tag)) => there.as_deref() == Some(tag),
            (None, None) => true,
        };
        if !fits {
            return refuse(412, "PreconditionFailed", "At least one of the pre-conditions failed");
        }
        let tag = etag(&seen.bytes);
        self.objects.insert(key.to_owned(), seen.bytes.clone());
        Reply::new(200, "").header("etag", tag)
    }

    fn get(&self, seen: &Seen, key: &str) -> Reply {
        let Some(bytes) = self.objects.get(key) else {
            return refuse(404, "NoSuchKey", "The specified key does not exist.");
        };
        let tag = etag(bytes);
        if seen.header("if-match").is_some_and(|wanted| wanted != tag) {
            return refuse(412, "PreconditionFailed", "At least one of the pre-conditions failed");
        }
        let range = seen.header("range").map(|range| {
            let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let from: usize = from.parse().unwrap();
            let to: usize = to.parse().unwrap();
            (from, (to + 1).min(bytes.len()))
        });
        let reply = match range {
            Some((from, to)) => {
                let told = format!("bytes {from}-{}/{}", to - 1, bytes.len());
                Reply::bytes(206, bytes[from..to].to_vec()).header("content-range", told)
            }
            None => Reply::bytes(200, bytes.clone()),
        };
        reply.header("etag", tag).header("last-modified", "Wed, 01 May 2024 10:00:00 GMT")
    }

    fn list(&self, seen: &Seen) -> Reply {
        assert_eq!(seen.param("list-type"), Some("2"));
        let prefix = seen.param("prefix").unwrap_or_default();
        let after = seen.param("continuation-token").or_else(|| seen.param("start-after"));
        let mut answer = String::new();
        let (mut count, mut last, mut more) = (0, None, false);
        let mut folders: Vec<String> = Vec::new();
        for (key, bytes) in self.objects.range(prefix.to_owned()..) {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            if after.is_some_and(|after| key.as_str() <= after) {
                continue;
            }
            if count >= self.page_max {
                more = true;
                break;
            }
            last = Some(key.clone());
            if seen.param("delimiter").is_some()
                && let Some((folder, _)) = rest.split_once('/')
            {
                let folder = format!("{prefix}{folder}/");
                if folders.last() != Some(&folder) {
                    folders.push(folder);
                    count += 1;
                }
                continue;
            }
            count += 1;
            let (size, tag) = (bytes.len(), etag(bytes).replace('"', "&quot;"));
            answer.push_str(&format!(
                "<Contents><Key>{key}</Key><LastModified>2024-05-01T10:00:00.000Z</LastModified>\
                 <ETag>{tag}</ETag><Size>{size}</Size></Contents>"
            ));
        }
        for folder in folders {
            answer.push_str(&format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"));
        }
        if let (true, Some(last)) = (more, last) {
            answer.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
        }
        xml(&format!(
            "<ListBucketResult><IsTruncated>{more}</IsTruncated>{answer}</ListBucketResult>"
        ))
    }
}

/// The settings of a connection to a store, for a folder in its bucket.
pub(crate) fn connection(fake: &Fake, folder: &str) -> Value {
    json!({ "root": format!("s3://{BUCKET}/{folder}"), "endpoint": fake.url, "allow_http": true,
            "region": REGION, "access_key": KEY_ID, "secret_key": SECRET })
}

fn xml(body: &str) -> Reply {
    Reply::text("application/xml", format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}"))
}

fn refuse(status: u16, code: &str, message: &str) -> Reply {
    xml(&format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")).status(status)
}

/// The entity tag of a content.
pub(crate) fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", &blake3::hash(bytes).to_hex()[..32])
}

fn all_between(text: &str, start: &str, end: &str) -> Vec<String> {
    text.split(start).skip(1).map(|rest| rest.split_once(end).unwrap().0.to_owned()).collect()
}

fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        if *first == b'%' && more.len() >= 2 {
            let hex = std::str::from_utf8(&more[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Proves a signature as the store would.
fn check(seen: &Seen) -> Result<(), (u16, &'static str, &'static str)> {
    let Some(authorization) = seen.header("authorization") else {
        return Err((403, "AccessDenied", "Access Denied"));
    };
    let field = |name: &str| {
        let rest = authorization.split_once(&format!("{name}=")).unwrap().1;
        rest.split(',').next().unwrap().trim().to_owned()
    };
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 "), "{authorization}");
    let credential = field("Credential");
    let mut scope = credential.split('/');
    if scope.next() != Some(KEY_ID) {
        return Err((403, "InvalidAccessKeyId", "The key does not exist in our records."));
    }
    let (date, region) = (scope.next().unwrap(), scope.next().unwrap());
    if region != REGION {
        return Err((400, "AuthorizationHeaderMalformed", "the region is wrong"));
    }
    let payload = seen.header("x-amz-content-sha256").unwrap();
    if payload != "UNSIGNED-PAYLOAD" {
        assert_eq!(payload, hex(&Sha256::digest(&seen.bytes)), "{}", seen.target);
    }
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let mut query: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    query.sort();
    let signed = field("SignedHeaders");
    let headers: String = signed
        .split(';')
        .map(|name| format!("{name}:{}\n", seen.header(name).unwrap().trim()))
        .collect();
    let canonical =
        format!("{}\n{path}\n{}\n{headers}\n{signed}\n{payload}", seen.method, query.join("&"));
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{date}/{region}/s3/aws4_request\n{}",
        seen.header("x-amz-date").unwrap(),
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in [date, region, "s3", "aws4_request", &text] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(part.as_bytes());
        key = mac.finalize().into_bytes().to_vec();
    }
    if field("Signature") != hex(&key) {
        let message = "The request signature we calculated does not match";
        return Err((403, "SignatureDoesNotMatch", message));
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
