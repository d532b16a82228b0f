//! App keys: reads public keys, verifies App tokens as GitHub does, and makes
//! key pairs and tokens for tests. It never keeps a private key.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{KeyPair as _, UnparsedPublicKey};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};

/// GitHub documents at most ten minutes between now and `exp`.
const MAX_LIFE_S: i64 = 600;
/// Drift that is forgiven for an `iat` in the future. GitHub advises issuers
/// to set `iat` a minute back; it publishes no figure of its own.
const DRIFT_S: i64 = 60;

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a PEM public key.
    #[error("not a PEM block 'PUBLIC KEY' (make one with: openssl rsa -in KEY -pubout)")]
    NotPublicPem,
    /// Not a private RSA key in PEM.
    #[error("not a PEM private RSA key")]
    NotPrivatePem,
    /// A public key of another kind.
    #[error("not an RSA key")]
    NotRsa,
    /// `openssl` did not run.
    #[error("cannot run openssl (install the package openssl): {0}")]
    Openssl(std::io::Error),
    /// `openssl` refused.
    #[error("openssl failed: {0}")]
    OpensslFailed(String),
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// Why a token is refused; the texts are GitHub's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, another algorithm, or a signature by another key.
    #[error("A JSON web token could not be decoded")]
    Undecodable,
    /// No such App.
    #[error("Integration not found")]
    UnknownApp,
    /// `exp` missing or past.
    #[error(
        "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"
    )]
    Expired,
    /// `exp` more than ten minutes ahead.
    #[error("'Expiration time' claim ('exp') is too far in the future")]
    TooLong,
    /// `iat` missing or in the future.
    #[error(
        "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
    )]
    IssuedInFuture,
}

/// The public half of an App's RSA key, as PKCS #1 DER.
#[derive(Clone, Debug)]
pub struct AppKey(Vec<u8>);

impl AppKey {
    /// Reads a `PUBLIC KEY` PEM (RFC 5280 SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// Another kind of PEM or key.
    pub fn from_public_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let spki =
            SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::NotPublicPem)?;
        pkcs1_of(spki.as_ref())
            .map(|der| Self(der.to_vec()))
            .ok_or(KeyError::NotRsa)
    }

    /// The public half of a private key, for tests that keep no files.
    ///
    /// # Errors
    /// Not a private RSA key.
    pub fn from_private_pem(pem: &[u8]) -> Result<Self, KeyError> {
        Ok(Self(key_pair(pem)?.public_key().as_ref().to_vec()))
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

/// Finds the issuer of a token without trusting it, as GitHub must to find
/// the key. Accepts a number, a number as text, or a client id.
fn issuer(claims: &Value) -> Option<String> {
    match claims.get("iss")? {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// Verifies an App token (RFC 7519, RS256 of RFC 7518) at `now_s` Unix
/// seconds; `find` gives the key of an issuer together with a value to return.
///
/// # Errors
/// GitHub's reason.
pub fn verify<'a, T>(
    token: &str,
    now_s: i64,
    find: impl Fn(&str) -> Option<(&'a AppKey, T)>,
) -> Result<T, TokenError> {
    let mut parts = token.split('.');
    let (Some(head), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Undecodable);
    };
    let decode = |part: &str| {
        URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|_| TokenError::Undecodable)
    };
    let parse = |bytes: Vec<u8>| {
        serde_json::from_slice::<Value>(&bytes).map_err(|_| TokenError::Undecodable)
    };
    let header = parse(decode(head)?)?;
    if header.get("alg").and_then(Value::as_str) != Some("RS256") {
        return Err(TokenError::Undecodable);
    }
    let claims = parse(decode(body)?)?;
    let (key, found) = issuer(&claims)
        .and_then(|issuer| find(&issuer))
        .ok_or(TokenError::UnknownApp)?;
    let signed = format!("{head}.{body}");
    if !key.verifies(signed.as_bytes(), &decode(signature)?) {
        return Err(TokenError::Undecodable);
    }
    let expires = claims
        .get("exp")
        .and_then(Value::as_i64)
        .ok_or(TokenError::Expired)?;
    let issued = claims
        .get("iat")
        .and_then(Value::as_i64)
        .ok_or(TokenError::IssuedInFuture)?;
    if expires <= now_s {
        return Err(TokenError::Expired);
    }
    if expires > now_s.saturating_add(MAX_LIFE_S) {
        return Err(TokenError::TooLong);
    }
    if issued > now_s.saturating_add(DRIFT_S) {
        return Err(TokenError::IssuedInFuture);
    }
    Ok(found)
}

/// Signs claims with RS256, for tests and for trying the API with curl.
///
/// # Errors
/// Not a private RSA key.
pub fn sign(private_pem: &[u8], claims: &Value) -> Result<String, KeyError> {
    let pair = key_pair(private_pem)?;
    let head = URL_SAFE_NO_PAD.encode(json!({ "alg": "RS256", "typ": "JWT" }).to_string());
    let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &ring::rand::SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .map_err(|_| KeyError::NotRsa)?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Makes a key pair of 2048 bits with `openssl` and writes the private half
/// (PKCS #1, mode 0600, as GitHub hands it out) and the public half.
///
/// # Errors
/// `openssl` is absent or fails, or a file cannot be written.
pub fn generate(private: &Path, public: &Path) -> Result<(), KeyError> {
    let secret = genrsa()?;
    let open = openssl(&["rsa", "-pubout"], &secret)?;
    write(private, &secret, 0o600)?;
    write(public, &open, 0o644)
}

/// A private key as GitHub hands it out, in memory only.
///
/// # Errors
/// `openssl` is absent or fails.
pub fn generate_pem() -> Result<String, KeyError> {
    String::from_utf8(genrsa()?).map_err(|_| KeyError::NotPrivatePem)
}

fn genrsa() -> Result<Vec<u8>, KeyError> {
    openssl(&["genrsa", "-traditional", "2048"], &[])
}

fn openssl(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, KeyError> {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(KeyError::Openssl)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A closed pipe shows in the exit status below.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(KeyError::Openssl)?;
    if !output.status.success() {
        return Err(KeyError::OpensslFailed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    Ok(output.stdout)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|source| KeyError::Write {
            path: path.display().to_string(),
            source,
        })
}

fn key_pair(pem: &[u8]) -> Result<RsaKeyPair, KeyError> {
    let pair = match PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotPrivatePem)? {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        _ => return Err(KeyError::NotRsa),
    };
    pair.map_err(|_| KeyError::NotRsa)
}

/// The key inside a SubjectPublicKeyInfo: SEQUENCE { SEQUENCE { rsaEncryption,
/// NULL }, BIT STRING { RSAPublicKey } } (RFC 8017, A.1).
fn pkcs1_of(spki: &[u8]) -> Option<&[u8]> {
    const RSA_ENCRYPTION: [u8; 11] = [
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    ];
    let (outer, _) = der_element(spki, 0x30)?;
    let (algorithm, rest) = der_element(outer, 0x30)?;
    let (bits, _) = der_element(rest, 0x03)?;
    algorithm.starts_with(&RSA_ENCRYPTION).then_some(())?;
    // The first octet counts unused bits, none in a whole DER value.
    bits.strip_prefix(&[0])
}

/// The content of the DER element with `tag` at the start, and what follows.
fn der_element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = input.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                bytes
                    .iter()
                    .fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
                rest,
            )
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests;
