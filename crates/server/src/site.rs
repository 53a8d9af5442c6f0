//! Pages of others that something of ours may be used by: origins such as `https://shop.example`.

use crate::problem::{Problem, Result};

/// The scope of a token that holds on one site only, before the site.
pub(crate) const SITE_SCOPE: &str = "site:";
/// Sites that one link or key may have.
pub(crate) const SITES_MAX: usize = 20;
/// The longest name of a host.
const HOST_BYTES_MAX: usize = 253;

/// Checks sites: each scheme, host and perhaps port, as browsers name the origin of a page.
///
/// They become part of a header and are kept among scopes, so nothing is let through that is not plain.
pub(crate) fn checked(sites: &[String]) -> Result<Vec<String>> {
    if sites.len() > SITES_MAX {
        return Err(Problem::invalid(format!("{} sites are too many", sites.len()))
            .hint(format!("Name at most {SITES_MAX}, or make another one for the rest.")));
    }
    let mut all: Vec<String> = Vec::new();
    for site in sites {
        if let Some(problem) = problem(site) {
            return Err(Problem::invalid(format!("\"{site}\" is not a site: {problem}")).hint(
                "Write scheme and host as the browser shows them, such as https://shop.example.",
            ));
        }
        if !all.contains(site) {
            all.push(site.clone());
        }
    }
    Ok(all)
}

fn problem(site: &str) -> Option<&'static str> {
    let Some((scheme, place)) = site.split_once("://") else {
        return Some("it has no scheme such as https://");
    };
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    };
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty()
            && label.chars().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > HOST_BYTES_MAX || !host.split('.').all(label) {
        return Some("after the scheme stands a host in lower case, and no path");
    }
    // Browsers leave it out, so it would never be the same.
    if matches!((scheme, port), ("https", Some("443")) | ("http", Some("80"))) {
        return Some("the port of its scheme is left out");
    }
    match port.map(str::parse::<u16>) {
        None => {}
        Some(Ok(number)) if number > 0 && port == Some(number.to_string().as_str()) => {}
        Some(_) => return Some("its port is no number"),
    }
    match scheme {
        "https" => None,
        "http" if matches!(host, "localhost" | "127.0.0.1") => None,
        "http" => Some("pages without TLS can be changed on their way; only localhost may be http"),
        _ => Some("its scheme is neither https nor http"),
    }
}

/// The sites among scopes.
pub(crate) fn among(scopes: &[String]) -> Vec<String> {
    scopes.iter().filter_map(|scope| scope.strip_prefix(SITE_SCOPE)).map(str::to_owned).collect()
}
