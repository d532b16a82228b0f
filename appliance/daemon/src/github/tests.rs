//! The client against a small server in this process: real sockets, real TLS,
//! a clock that the tests set.

mod auth;
mod deadlines;
mod deliveries;
mod jwt;
mod limits;
mod runners;
mod server;
mod tls;

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::http::Waits;
use super::{Clock, GithubClient, GithubConfig, Secret};
use server::Server;

/// 2026-01-01T00:00:00Z.
const START_MS: u64 = 1_767_225_600_000;

/// A clock that stands still until it is set.
#[derive(Clone)]
struct FakeClock(Arc<AtomicU64>);

impl FakeClock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START_MS)))
    }

    fn set_ms(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    fn clock(&self) -> Clock {
        let now_ms = Arc::clone(&self.0);
        Arc::new(move || now_ms.load(Ordering::Relaxed))
    }
}

/// A key made by openssl: PKCS #8, as OpenSSL 3 writes it.
fn key_pem() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| openssl(&["genrsa", "2048"]))
}

/// Runs openssl and returns what it prints.
fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is installed");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("openssl prints text")
}

fn config(api_url: &str) -> GithubConfig {
    GithubConfig {
        web_url: None,
        name: "main".into(),
        api_url: api_url.into(),
        app_id: 77,
        private_key_pem: Secret::new(key_pem().into()),
        enterprise_token: None,
        ca_file: None,
    }
}

fn client(server: &Server, clock: &FakeClock) -> GithubClient {
    start(config(server.url()), clock)
}

/// A client that does not wait between two tries.
fn start(config: GithubConfig, clock: &FakeClock) -> GithubClient {
    let waits = Waits {
        pause: Arc::new(|_| {}),
        ..Waits::default()
    };
    GithubClient::start_with(config, clock.clock(), waits).expect("client starts")
}

/// RFC 3339 text of a time in Unix milliseconds.
fn rfc3339(time_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(time_ms.cast_signed())
        .unwrap()
        .to_string()
}
