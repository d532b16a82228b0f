//! Where a Redfish service is, and what makes it trusted: the fingerprint of
//! its certificate, or authorities of the site. Never the platform's
//! authorities, never nothing; plain HTTP is for this machine alone.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use hyper::Uri;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

const EXPECTED: &str = "expected https://ADDRESS or https://ADDRESS:PORT";

/// SHA-256 of a certificate or of its SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Reads 64 hexadecimal digits; colons between bytes, as openssl prints
    /// them, are skipped.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            if pair.starts_with('+') {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The fingerprint of `der`.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What makes a BMC's certificate trusted.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// It, or its key, has this fingerprint. Name and dates do not matter:
    /// most BMCs sign for themselves and have no good clock.
    Pin(Fingerprint),
    /// An authority in this PEM file signed it for the host of the URL.
    Authorities(&'a Path),
}

/// A checked URL with what makes it trusted.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as they stand in the URL.
    pub(super) authority: String,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    url: String,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Endpoint {
    /// Checks `url`, which names host and port alone.
    ///
    /// # Errors
    /// The key at fault, and what is wrong with it.
    pub fn new(url: &str, trust: Option<Trust<'_>>) -> Result<Self, (&'static str, String)> {
        let wrong = |why: String| ("url", why);
        let uri: Uri = url
            .parse()
            .map_err(|error| wrong(format!("{error}: {EXPECTED}")))?;
        let authority = uri
            .authority()
            .filter(|authority| !authority.host().is_empty())
            .ok_or_else(|| wrong(format!("no host: {EXPECTED}")))?;
        if authority.as_str().contains('@') {
            return Err(wrong(format!("user or password in the url: {EXPECTED}")));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || url.contains('#') {
            return Err(wrong(format!("a path in the url: {EXPECTED}")));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(&host) => false,
            Some("http") => {
                return Err(wrong(format!(
                    "plain http to {host}: the password would cross the network unencrypted; use \
                     https (http is for a loopback address of this machine only)"
                )));
            }
            _ => return Err(wrong(format!("no https scheme: {EXPECTED}"))),
        };
        let tls = if https {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| wrong(format!("{host} is no host name or address: {EXPECTED}")))?;
            Some((Arc::new(client_config(trust)?), name))
        } else if trust.is_some() {
            return Err(wrong(
                "a certificate is named for plain http: use https, or leave it out".to_owned(),
            ));
        } else {
            None
        };
        Ok(Self {
            port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            url: url.trim_end_matches('/').to_owned(),
            host,
            tls,
        })
    }

    /// The address, where the URL names one and no host name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}

fn client_config(trust: Option<Trust<'_>>) -> Result<ClientConfig, (&'static str, String)> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ("url", format!("TLS cannot be set up: {error}")))?;
    let mut config = match trust {
        None => {
            let why = "missing: set it to the SHA-256 fingerprint of the BMC's certificate, which \
                       `openssl s_client -connect ADDRESS:443 </dev/null | openssl x509 -noout \
                       -fingerprint -sha256` prints (compare it with the BMC's own page), or set \
                       ca_file";
            return Err(("certificate_sha256", why.to_owned()));
        }
        Some(Trust::Pin(pin)) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { pin, provider }))
            .with_no_client_auth(),
        Some(Trust::Authorities(path)) => builder
            .with_root_certificates(authorities(path).map_err(|why| ("ca_file", why))?)
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("read {shown}: {error}"))?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let usable = certificate.is_ok_and(|certificate| store.add(certificate).is_ok());
        if !usable {
            return Err(format!("{shown} holds a certificate that cannot be used"));
        }
    }
    if store.is_empty() {
        return Err(format!("{shown} holds no certificate in PEM form"));
    }
    Ok(store)
}

/// Accepts one certificate, or one key, whoever signed it.
#[derive(Debug)]
struct Pinned {
    pin: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = Fingerprint::of(end_entity);
        let is_key = || {
            ParsedCertificate::try_from(end_entity).is_ok_and(|certificate| {
                Fingerprint::of(&certificate.subject_public_key_info()) == self.pin
            })
        };
        if seen == self.pin || is_key() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "its certificate has the SHA-256 fingerprint {seen}, and `certificate_sha256` says \
             {}: if the BMC was given a new certificate, check that on its own page and change \
             the setting; if not, somebody stands between you and it",
            self.pin
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints() {
        let plain = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let parsed = Fingerprint::parse(plain).unwrap();
        assert_eq!(parsed.to_string(), plain);
        let pairs: Vec<&str> = (0..32).map(|i| &plain[2 * i..2 * i + 2]).collect();
        let colons = pairs.join(":").to_uppercase();
        assert_eq!(Fingerprint::parse(&colons), Some(parsed));
        for wrong in [
            "",
            "00",
            &plain[1..],
            &plain.replace('f', "g"),
            &plain.replace("00", "+0"),
        ] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn urls() {
        #[track_caller]
        fn check(url: &str, expect: Result<u16, &str>) {
            let pin = Trust::Pin(Fingerprint::of(b""));
            let trust = url.starts_with("https").then_some(pin);
            match (Endpoint::new(url, trust), expect) {
                (Ok(endpoint), Ok(port)) => assert_eq!(endpoint.port, port),
                (Err((_, why)), Err(words)) => assert!(why.contains(words), "{why}"),
                (result, _) => panic!("{url}: {result:?}"),
            }
        }
        check("https://10.78.0.11", Ok(443));
        check("https://[fd00::11]:8443/", Ok(8443));
        check("https://bmc-01.example.org", Ok(443));
        check("http://127.0.0.1:8000", Ok(8000));
        check("http://[::1]:8000", Ok(8000));
        check("http://localhost:8000", Err("plain http"));
        check("http://10.78.0.11", Err("plain http"));
        check("https://root:calvin@10.78.0.11", Err("user or password"));
        check("https://10.78.0.11/redfish/v1", Err("a path"));
        check("https://10.78.0.11?x", Err("a path"));
        check("ftp://10.78.0.11", Err("https scheme"));
        check("10.78.0.11", Err("https scheme"));
        let (key, why) = Endpoint::new("https://10.78.0.11", None).unwrap_err();
        assert_eq!(key, "certificate_sha256");
        assert!(why.contains("openssl"), "{why}");
        let gone = Trust::Authorities(Path::new("/nowhere/ca.pem"));
        let (key, why) = Endpoint::new("https://10.78.0.11", Some(gone)).unwrap_err();
        assert_eq!(key, "ca_file");
        assert!(why.contains("/nowhere/ca.pem"), "{why}");
    }
}
