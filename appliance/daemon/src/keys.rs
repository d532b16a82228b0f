//! The appliance's own keys and identity, made once and kept in `state_dir`.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use messages::{ApplianceId, Digest, SignatureBytes};
use rcgen::PublicKeyData;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("{path}: {operation} failed: {source}")]
    File {
        /// The file.
        path: String,
        /// What was tried.
        operation: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A secret that others can read.
    #[error(
        "{path} has mode {mode:04o}: others could have read it; run `chmod 0600 {path}` and consider it known to them"
    )]
    Mode {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// Not a key.
    #[error(
        "{path} holds no valid {kind}: restore it from a backup, or remove it to start anew ({consequence})"
    )]
    Invalid {
        /// The file.
        path: String,
        /// What it should hold.
        kind: &'static str,
        /// What starting anew means.
        consequence: &'static str,
    },
    /// A key cannot be made.
    #[error("a {0} cannot be made: the system's random generator or TLS library refused")]
    Make(&'static str),
}

fn file_error(path: &Path, operation: &'static str) -> impl Fn(std::io::Error) -> KeyError {
    move |source| KeyError::File {
        path: path.display().to_string(),
        operation,
        source,
    }
}

/// Reads a secret file, or makes it with mode 0600 and what `make` returns.
fn read_or_make(
    path: &Path,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, KeyError>,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match fs::metadata(path) {
        Ok(meta) => {
            let mode = meta.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Mode {
                    path: path.display().to_string(),
                    mode,
                });
            }
            fs::read(path)
                .map(Zeroizing::new)
                .map_err(file_error(path, "read"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let bytes = make()?;
            write_secret(path, &bytes)?;
            Ok(bytes)
        }
        Err(error) => Err(file_error(path, "look")(error)),
    }
}

/// Writes a secret so that a crash leaves the whole file or none.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let partial = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options
        .open(&partial)
        .map_err(file_error(&partial, "create"))?;
    file.write_all(bytes)
        .map_err(file_error(&partial, "write"))?;
    file.sync_all().map_err(file_error(&partial, "sync"))?;
    fs::rename(&partial, path).map_err(file_error(path, "rename"))?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(file_error(folder, "sync"))
}

/// The appliance's identity.
pub struct Keys {
    /// Its id.
    pub appliance: ApplianceId,
    /// Signs receipts.
    pub receipts: ReceiptKey,
    /// TLS towards agents, who pin it.
    pub sled_tls: TlsIdentity,
    /// TLS towards people.
    pub admin_tls: TlsIdentity,
}

impl Keys {
    /// Reads every key from `state_dir`, making those that are missing.
    ///
    /// # Errors
    /// When one is damaged, or readable by others.
    pub fn load(state_dir: &Path) -> Result<Self, KeyError> {
        Ok(Self {
            appliance: load_appliance(&state_dir.join("appliance-id"))?,
            receipts: ReceiptKey::load(&state_dir.join("receipt-key.pk8"))?,
            sled_tls: TlsIdentity::load(state_dir, "sled-tls")?,
            admin_tls: TlsIdentity::load(state_dir, "admin-tls")?,
        })
    }
}

fn load_appliance(path: &Path) -> Result<ApplianceId, KeyError> {
    let text = read_or_make(path, || {
        let mut id = [0; 4];
        getrandom::fill(&mut id).map_err(|_| KeyError::Make("appliance id"))?;
        Ok(Zeroizing::new(ApplianceId(id).to_string().into_bytes()))
    })?;
    let parsed = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    parsed.ok_or_else(|| KeyError::Invalid {
        path: path.display().to_string(),
        kind: "appliance id",
        consequence: "the database then belongs to nobody",
    })
}

/// The Ed25519 key that signs receipts.
pub struct ReceiptKey {
    pair: Ed25519KeyPair,
}

impl ReceiptKey {
    fn load(path: &Path) -> Result<Self, KeyError> {
        let bytes = read_or_make(path, || {
            let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                .map_err(|_| KeyError::Make("receipt key"))?;
            Ok(Zeroizing::new(document.as_ref().to_vec()))
        })?;
        let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| KeyError::Invalid {
            path: path.display().to_string(),
            kind: "Ed25519 key",
            consequence: "earlier receipts then verify only with the old public key",
        })?;
        Ok(Self { pair })
    }

    /// Signs a receipt's chain hash.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> SignatureBytes {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        SignatureBytes(bytes)
    }

    /// The public half, 32 bytes in hex.
    #[must_use]
    pub fn public_hex(&self) -> String {
        self.pair
            .public_key()
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// A self-signed certificate with its key.
pub struct TlsIdentity {
    /// Server settings with this identity.
    pub config: Arc<ServerConfig>,
    /// SHA-256 of its SubjectPublicKeyInfo: what agents pin.
    pub pin: Digest,
    /// SHA-256 of the certificate: what a browser shows as its fingerprint.
    pub fingerprint: Digest,
}

impl TlsIdentity {
    fn load(state_dir: &Path, name: &'static str) -> Result<Self, KeyError> {
        let key_path: PathBuf = state_dir.join(format!("{name}.key"));
        let certificate_path = state_dir.join(format!("{name}.crt"));
        let invalid = || KeyError::Invalid {
            path: key_path.display().to_string(),
            kind: "TLS key",
            consequence: "browsers will warn again, and sleds that run now lose contact",
        };
        let pem = read_or_make(&key_path, || {
            let key = rcgen::KeyPair::generate().map_err(|_| KeyError::Make("TLS key"))?;
            Ok(Zeroizing::new(key.serialize_pem().into_bytes()))
        })?;
        let pem = std::str::from_utf8(&pem).map_err(|_| invalid())?;
        let pair = rcgen::KeyPair::from_pem(pem).map_err(|_| invalid())?;
        // A certificate of an earlier key would fit nothing.
        let certificate = match fs::read(&certificate_path) {
            Ok(der) if is_of(&der, &pair) => der,
            Ok(_) | Err(_) => {
                let der = self_signed(&pair)?;
                write_secret(&certificate_path, &der)?;
                der
            }
        };
        let pin = Digest(Sha256::digest(pair.subject_public_key_info()).into());
        let fingerprint = Digest(Sha256::digest(&certificate).into());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| KeyError::Make("TLS configuration"))?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate)], key)
            .map_err(|_| invalid())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            pin,
            fingerprint,
        })
    }
}

/// Whether a certificate is for this key.
fn is_of(certificate: &[u8], pair: &rcgen::KeyPair) -> bool {
    rustls::server::ParsedCertificate::try_from(&CertificateDer::from(certificate)).is_ok_and(
        |parsed| parsed.subject_public_key_info().as_ref() == pair.subject_public_key_info(),
    )
}

fn self_signed(pair: &rcgen::KeyPair) -> Result<Vec<u8>, KeyError> {
    let mut params =
        rcgen::CertificateParams::new(vec!["musher".to_owned(), "localhost".to_owned()])
            .map_err(|_| KeyError::Make("certificate"))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Musher appliance");
    let certificate = params
        .self_signed(pair)
        .map_err(|_| KeyError::Make("certificate"))?;
    Ok(certificate.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_last_and_can_be_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let load = || TlsIdentity::load(folder.path(), "sled-tls").unwrap();
        let first = load();
        let second = load();
        assert_eq!(first.pin, second.pin);
        assert_eq!(first.fingerprint, second.fingerprint);
        // What the message about a damaged key advises.
        fs::remove_file(folder.path().join("sled-tls.key")).unwrap();
        let third = load();
        assert_ne!(first.pin, third.pin);
        assert_ne!(first.fingerprint, third.fingerprint);
    }
}
