//! The App's JSON Web Token: RS256 over the App's private key.
//!
//! Signs only; it never verifies a token and never reads the time itself.
//!
//! Source: GitHub Docs, "Generating a JSON Web Token (JWT) for a GitHub App":
//! `iat` 60 seconds in the past against clock drift, `exp` at most 10 minutes
//! in the future.

use std::fmt;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

use super::secret::Secret;

/// Seconds by which a token claims to be older than it is.
const BACKDATE_S: u64 = 60;
/// Seconds that a token is good for: one minute less than GitHub's most.
const LIFETIME_S: u64 = 9 * 60;

/// The App's private key.
#[derive(Clone)]
pub(super) struct AppKey {
    key: EncodingKey,
    app_id: u64,
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppKey")
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims {
    iat: u64,
    exp: u64,
    iss: String,
}

impl AppKey {
    /// Reads a PEM key, as GitHub gives it (PKCS #1) or converted (PKCS #8).
    ///
    /// # Errors
    /// What is wrong with the key and how to mend it.
    pub(super) fn from_pem(app_id: u64, pem: &Secret) -> Result<Self, String> {
        let der = match PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()) {
            Ok(der) => der,
            Err(_) => {
                return Err(
                    "not a PEM private key: generate one in the app's settings at github \
                            and download the .pem file"
                        .to_owned(),
                );
            }
        };
        let key = match &der {
            PrivateKeyDer::Pkcs1(der) => EncodingKey::from_rsa_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => EncodingKey::from_rsa_der(der.secret_pkcs8_der()),
            _ => return Err("not an RSA key: github's app keys are RSA".to_owned()),
        };
        if let Err(rejected) = key_pair(key.as_bytes()) {
            return Err(format!(
                "not a usable RSA key of 2048 bits or more ({rejected})"
            ));
        }
        // The library has one provider per process. If somebody installed
        // theirs first, it signs as well as ours.
        let _ = RING.install_default();
        Ok(Self { key, app_id })
    }

    /// The App's id.
    pub(super) fn app_id(&self) -> u64 {
        self.app_id
    }

    /// A token for requests as the App, at `now_ms` (Unix, milliseconds, as
    /// GitHub's clock shows it).
    ///
    /// # Errors
    /// Signing failed: the library's words.
    pub(super) fn sign(&self, now_ms: u64) -> Result<Secret, String> {
        let now_s = now_ms / 1000;
        let claims = Claims {
            iat: now_s.saturating_sub(BACKDATE_S),
            exp: now_s.saturating_add(LIFETIME_S),
            iss: self.app_id.to_string(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key)
            .map(Secret::new)
            .map_err(|error| error.to_string())
    }
}

fn key_pair(der: &[u8]) -> Result<RsaKeyPair, ring::error::KeyRejected> {
    RsaKeyPair::from_der(der).or_else(|_| RsaKeyPair::from_pkcs8(der))
}

/// `jsonwebtoken` over ring: the crate has no such backend, and panics at the
/// first signature when it finds none. RS256 signing is all we need.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: rs256_signer,
    verifier_factory: no_verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

fn rs256_signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    if *algorithm != Algorithm::RS256 {
        return Err(ErrorKind::UnsupportedAlgorithm.into());
    }
    let pair = key_pair(key.as_bytes())
        .map_err(|rejected| Error::from(ErrorKind::InvalidRsaKey(rejected.to_string())))?;
    Ok(Box::new(Rs256(pair)))
}

fn no_verifier(_: &Algorithm, _: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

struct Rs256(RsaKeyPair);

impl Signer<Vec<u8>> for Rs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let mut tag = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut tag)
            .map_err(|_| signature::Error::new())?;
        Ok(tag)
    }
}

impl JwtSigner for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}
