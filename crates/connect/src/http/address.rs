//! Which addresses may be called: a URL in a project file must not become a way into the company's own network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A host resolved to an address that may not be called.
#[derive(Debug)]
pub(crate) struct PrivateAddress(pub(crate) String);

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host {} is a private or local address", self.0)
    }
}

impl std::error::Error for PrivateAddress {}

/// Resolves names, and refuses a host if any of its addresses is private: the address that was
/// checked is the one that is called, so a name cannot change its mind in between.
#[derive(Debug)]
pub(crate) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if found.iter().any(|address| is_private(address.ip())) {
                return Err(PrivateAddress(host).into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is not one of the open Internet.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(address) => is_private_v4(address),
            None => is_private_v6(address),
        },
    }
}

/// Whether a URL names its host by an address that may not be called. A name is looked at when it is resolved.
///
/// Every way to write an IPv4 address (`127.1`, `0x7f000001`, `2130706433`) is one to the parser of URLs.
pub(crate) fn is_private_host(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    literal.is_ok_and(is_private)
}

/// Whether a URL or a host says by itself that it is not of the open Internet: an address, or a name that means this machine
/// everywhere. Other names are looked at when they are resolved.
#[must_use]
pub fn is_private_place(text: &str) -> bool {
    if let Ok(address) = text.parse::<IpAddr>() {
        return is_private(address);
    }
    let whole = Url::parse(text).ok().filter(Url::has_host);
    let Some(url) = whole.or_else(|| Url::parse(&format!("http://{text}/")).ok()) else {
        return false;
    };
    let local = url.domain().is_some_and(|name| {
        let name = name.trim_end_matches('.');
        name == "localhost" || name.ends_with(".localhost")
    });
    local || is_private_host(&url)
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
}

/// Only 2000::/3 is given out as global unicast; within it, what the registry of special addresses keeps back.
fn is_private_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    first & 0xe000 != 0x2000
        // Protocols of the IETF, Teredo and benchmarks among them.
        || (first == 0x2001 && second < 0x0200)
        // Documentation.
        || (first == 0x2001 && second == 0x0db8)
        || (first == 0x3fff && second < 0x1000)
}

/// The IPv4 address within a mapped (::ffff:0:0/96, ::ffff:0:0:0/96), compatible (::/96), translated (64:ff9b::/96),
/// 6to4 (2002::/16) or ISATAP (…:5efe:…) one: that is who answers.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] if (high, low) > (0, 1) => Some(join(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        [first, _, _, _, 0 | 0x200, 0x5efe, high, low] if first & 0xe000 == 0x2000 => {
            Some(join(high, low))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases: `blocked HOST` or `open HOST`, as a URL has the host.
    const CASES: &str = include_str!("addresses.txt");

    #[test]
    fn what_is_private_by_itself_is_known_before_a_name_is_resolved() {
        for text in [
            "http://127.0.0.1:9000/hook",
            "https://10.1.2.3/x",
            "http://[::1]/",
            "http://0x7f000001/",
            "https://LOCALHOST:8443/x",
            "http://a.localhost./",
            "192.168.0.9",
            "::1",
            "localhost",
            "localhost:25",
        ] {
            assert!(is_private_place(text), "{text}");
        }
        for text in [
            "https://hooks.example.com/x",
            "smtp.example.com",
            "8.8.8.8",
            "",
            "a b",
            "2606:4700::1111",
        ] {
            assert!(!is_private_place(text), "{text}");
        }
    }

    #[tokio::test]
    async fn only_addresses_of_the_open_internet_may_be_called() {
        let (mut blocked, mut open) = (0, 0);
        for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (expected, host) = line.split_once(' ').unwrap();
            // What no URL can have is not called either.
            let private = match Url::parse(&format!("http://{host}/")) {
                Err(_) => true,
                Ok(url) if is_private_host(&url) => true,
                Ok(url) => match url.domain() {
                    // Only names of this machine are in the list.
                    Some(name) => PublicOnly.resolve(name.parse().unwrap()).await.is_err(),
                    None => false,
                },
            };
            assert_eq!(private, expected == "blocked", "{host}");
            *(if private { &mut blocked } else { &mut open }) += 1;
        }
        assert!(blocked >= 40 && open >= 8, "{blocked} blocked, {open} open");
    }
}
