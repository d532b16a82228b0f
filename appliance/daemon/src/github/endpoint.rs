//! Where GitHub is, and which authorities may vouch for it.
//!
//! Checks what was configured; connects to nothing. Plain HTTP is refused but
//! for this machine itself.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, parse_pem};

/// Where distributions put the authorities they trust, in order of trial.
const PLATFORM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Where GitHub's pages are, by where its API is; `None` when that cannot be told
/// (GitHub Docs: `https://HOST/api/v3`; GHE.com has `https://api.SUBDOMAIN.ghe.com`).
pub fn web_url(api_url: &str) -> Option<String> {
    let api_url = api_url.trim_end_matches('/');
    if let Some(server) = api_url.strip_suffix("/api/v3") {
        return Some(server.to_owned());
    }
    if let Some(tenant) = api_url.strip_prefix("https://api.") {
        return Some(format!("https://{tenant}"));
    }
    // A stand-in on this machine.
    api_url
        .starts_with("http://127.0.0.1")
        .then(|| api_url.to_owned())
}

/// A checked `api_url`.
pub(super) struct Base {
    /// Without a slash at the end.
    pub(super) url: String,
    pub(super) host: String,
    pub(super) https: bool,
    pub(super) loopback: bool,
}

impl Base {
    /// Checks the configured text.
    ///
    /// # Errors
    /// What is wrong with it and what is expected.
    pub(super) fn parse(api_url: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected https://api.github.com or https://HOST/api/v3";
        let uri: Uri = api_url
            .parse()
            .map_err(|error| format!("{error}: {EXPECTED}"))?;
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or(format!("no host: {EXPECTED}"))?;
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(format!("user or password in the url: {EXPECTED}"));
        }
        if uri.query().is_some() || api_url.contains('#') {
            return Err(format!("a query or fragment in the url: {EXPECTED}"));
        }
        let loopback = is_loopback(host);
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if loopback => false,
            Some("http") => {
                return Err(format!(
                    "plain http to {host}: tokens would cross the network unencrypted; \
                     use https (http is for this machine only, such as http://127.0.0.1:8500)"
                ));
            }
            _ => return Err(format!("no https scheme: {EXPECTED}")),
        };
        let url = api_url.trim_end_matches('/').to_owned();
        Ok(Self {
            url,
            host: host.to_owned(),
            https,
            loopback,
        })
    }
}

/// RFC 6761 section 6.3: `localhost` is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The platform's authorities, and those of `ca_file` beside them.
///
/// # Errors
/// The key at fault, and what is wrong with it.
pub(crate) fn roots(
    ca_file: Option<&Path>,
) -> Result<Vec<Certificate<'static>>, (&'static str, String)> {
    let mut roots = platform_roots();
    if let Some(path) = ca_file {
        let own = std::fs::read(path)
            .map_err(|error| ("ca_file", format!("read {}: {error}", path.display())))?;
        let own = certificates(&own);
        let mut store = rustls::RootCertStore::empty();
        let (_, unusable) =
            store.add_parsable_certificates(own.iter().map(|root| root.der().into()));
        if own.is_empty() || unusable > 0 {
            let reason = format!("{} holds no usable certificate in PEM form", path.display());
            return Err(("ca_file", reason));
        }
        roots.extend(own);
    }
    if roots.is_empty() {
        let reason = "this machine has no certificate authorities to trust: install the package \
                      ca-certificates, or set ca_file";
        return Err(("ca_file", reason.to_owned()));
    }
    Ok(roots)
}

fn platform_roots() -> Vec<Certificate<'static>> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named
        .into_iter()
        .chain(PLATFORM_ROOTS.iter().map(PathBuf::from))
        .filter_map(|path| std::fs::read(path).ok())
        .map(|pem| certificates(&pem))
        .find(|roots| !roots.is_empty())
        .unwrap_or_default()
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_githubs_pages_are() {
        #[track_caller]
        fn check(api_url: &str, expect: Option<&str>) {
            assert_eq!(web_url(api_url).as_deref(), expect, "{api_url}");
        }
        check("https://api.github.com", Some("https://github.com"));
        check("https://h:8443/api/v3/", Some("https://h:8443"));
        check("https://api.octo.ghe.com", Some("https://octo.ghe.com"));
        check("http://127.0.0.1:9400", Some("http://127.0.0.1:9400"));
        check("https://example.org", None);
    }

    #[test]
    fn api_url() {
        #[track_caller]
        fn check(url: &str, expect: Result<&str, &str>) {
            match (Base::parse(url), expect) {
                (Ok(base), Ok(expect)) => assert_eq!(base.url, expect),
                (Err(reason), Err(expect)) => {
                    assert!(
                        reason.contains(expect),
                        "{url}: {reason:?} lacks {expect:?}"
                    );
                }
                (result, expect) => panic!("{url}: {:?}, not {expect:?}", result.map(|b| b.url)),
            }
        }
        check("https://api.github.com", Ok("https://api.github.com"));
        check("https://api.github.com/", Ok("https://api.github.com"));
        check(
            "https://ghes.example.org:8443/api/v3/",
            Ok("https://ghes.example.org:8443/api/v3"),
        );
        check("http://127.0.0.1:8500", Ok("http://127.0.0.1:8500"));
        check("http://127.9.9.9/api/v3", Ok("http://127.9.9.9/api/v3"));
        check("http://[::1]:8500", Ok("http://[::1]:8500"));
        check("http://localhost:1", Ok("http://localhost:1"));
        check("http://api.github.com", Err("plain http to api.github.com"));
        check("http://10.0.0.1:8500", Err("plain http"));
        check("http://127.0.0.1.example.org", Err("plain http"));
        check("http://localhost.example.org", Err("plain http"));
        check("http://user:pw@127.0.0.1", Err("user or password"));
        check("https://api.github.com?x=1", Err("query"));
        check("ftp://api.github.com", Err("no https scheme"));
        check("api.github.com", Err("no https scheme"));
        check("/api/v3", Err("no host"));
        check("", Err("expected https"));
        check("https://", Err("expected https"));
    }
}
