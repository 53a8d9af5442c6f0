//! Addresses of object stores: the scheme, the bucket, and the path behind it.

use flywheel_base::{Error, Result, suggest};

/// Every scheme that names a store.
const SCHEMES: [&str; 9] = ["s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "https", "http"];

/// Which protocol a store speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// That of Amazon S3.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
    /// A web server.
    Web,
}

/// An address of an object store, or a pattern of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// How it is spoken to.
    pub(crate) protocol: Protocol,
    /// `s3://bucket`: all before the path.
    pub(crate) base: String,
    /// The bucket, the container, or the host with its port.
    pub(crate) bucket: String,
    /// The account of Azure, if the address names it.
    pub(crate) account: Option<String>,
    /// The path, without slashes at its ends.
    pub(crate) path: String,
}

impl Address {
    /// Whether a path is an address rather than a file's.
    pub(crate) fn is_one(path: &str) -> bool {
        path.split_once("://").is_some_and(|(scheme, _)| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
    }

    /// Reads an address.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let lower = scheme.to_ascii_lowercase();
        let protocol = match lower.as_str() {
            "s3" | "s3a" => Protocol::S3,
            "gs" => Protocol::Google,
            "az" | "azure" | "abfs" | "abfss" => Protocol::Azure,
            "http" | "https" => Protocol::Web,
            _ => {
                return Err(Error::invalid(format!("\"{lower}://\" is no known kind of store"))
                    .hint(suggest::hint(&lower, SCHEMES)));
            }
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.contains(':') && host.contains('@') {
            // Not repeated: it may be a password.
            return Err(Error::invalid(format!("an address {lower}://… has a password in it"))
                .hint("Set the connection's keys by reference instead."));
        }
        let (bucket, account) = match host.split_once('@') {
            Some((container, host)) if protocol == Protocol::Azure => {
                let account = host.split('.').next().unwrap_or_default();
                (container.to_owned(), Some(account.to_owned()))
            }
            _ => (host.to_owned(), None),
        };
        if bucket.is_empty() || bucket.contains(['*', '?', '[', '@']) {
            let what = if protocol == Protocol::Web { "host" } else { "bucket" };
            return Err(Error::invalid(format!("\"{text}\" names no {what}"))
                .hint(format!("Write {lower}://{what}/folder.")));
        }
        let base = format!("{lower}://{host}");
        let path = path.trim_matches('/').to_owned();
        Ok(Self { protocol, base, bucket, account, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_protocol_a_bucket_and_a_path() {
        let read = |text: &str| {
            let found = Address::parse(text).unwrap();
            (found.protocol, found.base, found.bucket, found.path)
        };
        let s3 = (Protocol::S3, "s3://b".into(), "b".into(), "x/*.csv".into());
        assert_eq!(read("s3://b/x/*.csv"), s3);
        assert_eq!(read("gs://b").0, Protocol::Google);
        let web = read("https://h:8443/a/");
        assert_eq!((web.2.as_str(), web.3.as_str()), ("h:8443", "a"));
        let azure = Address::parse("abfss://c@shop.dfs.core.windows.net/a").unwrap();
        assert_eq!((azure.bucket.as_str(), azure.account.as_deref()), ("c", Some("shop")));
        assert!(Address::is_one("s3://b/a") && !Address::is_one("a/b.csv"));
    }

    #[test]
    fn wrong_addresses_are_explained_and_passwords_not_repeated() {
        for (text, word) in [("s4://b/a", "s4://"), ("s3:///a", "names no bucket")] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.message().contains(word), "{error}");
            assert!(error.hint_text().is_some(), "{error}");
        }
        let error = Address::parse("https://me:canary@host/a").unwrap_err();
        assert!(!error.report().contains("canary"), "{}", error.report());
    }
}
