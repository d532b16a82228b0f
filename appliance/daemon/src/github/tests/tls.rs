//! TLS with a private authority, and without one.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use super::super::{ErrorKind, GithubClient, GithubConfig, GithubError, NetworkFault, Scope};
use super::config;
use super::server::{Reply, Server};

struct Site {
    server: Server,
    ca_pem: String,
}

/// A server whose certificate for `name` an authority of its own signed.
fn site(name: &str, authority: &str, expired: bool) -> Site {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, authority);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    let certificate = params.signed_by(&key, &ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let server = Server::start_tls("localhost", tls, |_| Reply::new(200, r#"{"id":5}"#));
    Site {
        server,
        ca_pem: ca.pem(),
    }
}

async fn ask(config: GithubConfig) -> Result<u64, GithubError> {
    GithubClient::start(config)?
        .installation(Scope::org("octo").unwrap())
        .await
}

fn file(pem: &str) -> (tempfile::TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("ca.pem");
    std::fs::write(&path, pem).unwrap();
    (scratch, path)
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_named() {
    let site = site("localhost", "the site's", false);
    let (_scratch, path) = file(&site.ca_pem);
    let trusting = GithubConfig {
        ca_file: Some(path),
        ..config(site.server.url())
    };
    assert_eq!(ask(trusting).await.unwrap(), 5);
}

#[tokio::test]
async fn certificates_that_are_refused() {
    #[track_caller]
    fn check(result: Result<u64, GithubError>, words: &str) {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            matches!(
                error,
                GithubError::Network {
                    fault: NetworkFault::Tls,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains(words), "{error} lacks {words:?}");
    }
    for authority in ["another", "the site's"] {
        let unknown = site("localhost", "the site's", false);
        let (_scratch, other) = file(&site("localhost", authority, false).ca_pem);
        let trusting = GithubConfig {
            ca_file: Some(other),
            ..config(unknown.server.url())
        };
        let words = "not signed by an authority known here: if it is your own, set ca_file";
        check(ask(trusting).await, words);
        assert!(unknown.server.seen().is_empty(), "no token was sent");
    }

    let named = site("other.example.org", "the site's", false);
    let (_scratch, path) = file(&named.ca_pem);
    let trusting = GithubConfig {
        ca_file: Some(path),
        ..config(named.server.url())
    };
    check(ask(trusting).await, "is for another name: check api_url");

    let old = site("localhost", "the site's", true);
    let (_scratch, path) = file(&old.ca_pem);
    let trusting = GithubConfig {
        ca_file: Some(path),
        ..config(old.server.url())
    };
    check(ask(trusting).await, "check this machine's clock");
}

#[test]
fn unusable_ca_files() {
    #[track_caller]
    fn check(path: PathBuf, words: &str) {
        let config = GithubConfig {
            ca_file: Some(path),
            ..config("https://localhost:1")
        };
        let error = GithubClient::start(config).unwrap_err().to_string();
        assert!(
            error.starts_with("configure github app \"main\": ca_file: "),
            "{error}"
        );
        assert!(error.contains(words), "{error} lacks {words:?}");
    }
    check("/nowhere/ca.pem".into(), "read /nowhere/ca.pem");
    let (_scratch, path) = file("no certificate");
    check(path, "no usable certificate in PEM form");
}
