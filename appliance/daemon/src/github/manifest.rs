//! GitHub's App manifest flow, its end: a code buys what the App is made of.
//!
//! A code is good for one hour and for one conversion: nothing is repeated.
//!
//! Source: GitHub Docs, "Registering a GitHub App from a manifest".

use std::path::Path;

use serde::Deserialize;

use super::api::parse;
use super::error::GithubError;
use super::http::{Call, Http, Waits};
use super::secret::Secret;
use super::status::{Asked, refuse};
use super::system_clock;

/// Longest code; GitHub's have forty characters.
const CODE_BYTES: usize = 256;

/// An App that was just made.
#[derive(Debug, Clone)]
pub struct MadeApp {
    /// Its id.
    pub id: u64,
    /// Its page; `/installations/new` below it installs it.
    pub html_url: String,
    /// Its private key, PEM. GitHub shows it this once.
    pub private_key_pem: Secret,
    /// Its webhook's secret, if it has a webhook.
    pub webhook_secret: Option<Secret>,
}

/// Buys an App's id, key and secret for the code that the browser brought.
/// Blocks for at most 30 s. Sent once.
///
/// # Errors
/// [`GithubError`]; a code that was used or is older than an hour is
/// `ErrorKind::NotFound`.
pub fn convert_manifest(
    api_url: &str,
    ca_file: Option<&Path>,
    code: &str,
) -> Result<MadeApp, GithubError> {
    #[derive(Deserialize)]
    struct Wire {
        id: u64,
        html_url: String,
        pem: String,
        webhook_secret: Option<String>,
    }
    let plain = code
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if code.is_empty() || code.len() > CODE_BYTES || !plain {
        return Err(GithubError::Argument {
            operation: "convert app manifest",
            reason: "what the browser brought is no code of github's".to_owned(),
        });
    }
    let http = Http::new(api_url, ca_file, Waits::default()).map_err(|(key, reason)| {
        GithubError::Config {
            app: "to be made".to_owned(),
            key,
            reason,
        }
    })?;
    let path = format!("/app-manifests/{code}/conversions");
    let call = Call::once(&path, None);
    let answer = http.send(&call, None, None)?;
    if answer.status != 201 {
        return Err(refuse(Asked::Anybody, &call, &answer, system_clock()));
    }
    let wire: Wire = parse(&call, &answer)?;
    Ok(MadeApp {
        id: wire.id,
        html_url: wire.html_url,
        private_key_pem: Secret::new(wire.pem),
        webhook_secret: wire.webhook_secret.map(Secret::new),
    })
}
