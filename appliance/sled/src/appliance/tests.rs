//! The agent against an appliance that is not the pinned one, and against
//! images that are not the ordered ones.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};

use messages::TicketToken;
use rcgen::{KeyPair, PublicKeyData as _, generate_simple_self_signed};
use ring::digest::digest;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;

use super::*;

fn sha256(bytes: &[u8]) -> Digest {
    Digest(
        digest(&SHA256, bytes)
            .as_ref()
            .try_into()
            .expect("32 bytes"),
    )
}

/// Something that answers one connection on loopback, over TLS.
struct Site {
    port: u16,
    /// Digest of its key.
    pin: Digest,
    /// The request that it read, if its key was taken.
    heard: JoinHandle<Option<String>>,
}

impl Site {
    fn answering(answer: Vec<u8>) -> Self {
        let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let pin = sha256(&KeyPair::subject_public_key_info(&made.signing_key));
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a usable key");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = spawn(move || {
            let (stream, _) = listener.accept().ok()?;
            let tls = ServerConnection::new(Arc::new(config)).ok()?;
            let mut stream = StreamOwned::new(tls, stream);
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).ok()?;
                request.extend(byte);
            }
            // Who has heard enough may hang up before the end.
            let _ = stream.write_all(&answer);
            stream.conn.send_close_notify();
            let _ = stream.flush();
            Some(String::from_utf8_lossy(&request).into_owned())
        });
        Self { port, pin, heard }
    }
}

fn ok(length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Fetches `image` once from who listens at the site's port, and trusts `pin`.
/// What came of it, and what was written.
fn fetch(site: &Site, pin: Digest, image: &ImageRef) -> (Result<(), ApplianceError>, Vec<u8>) {
    let arguments = Arguments {
        host: "127.0.0.1".to_owned(),
        port: site.port,
        pin,
        ticket: TicketToken([9; 16]),
    };
    let mut appliance = Appliance::new(&arguments).expect("a client");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image");
    let got = appliance.fetch(image, Duration::ZERO, &|| File::create(&path));
    (got, std::fs::read(path).expect("what was written"))
}

fn image(bytes: &[u8]) -> ImageRef {
    ImageRef {
        name: "debian-12".to_owned(),
        digest: sha256(bytes),
        bytes: bytes.len() as u64,
    }
}

const IMAGE: &[u8] = b"hsqs: the image that was ordered";

#[test]
fn only_the_pinned_key_is_spoken_to() {
    let site = Site::answering(ok(IMAGE.len(), IMAGE));
    let (got, written) = fetch(&site, site.pin, &image(IMAGE));
    got.expect("the ordered image");
    assert_eq!(written, IMAGE);
    let heard = site.heard.join().expect("no panic").expect("a request");
    let ticket = format!("{TICKET_HEADER}: {}", TicketToken([9; 16]));
    assert!(heard.contains(&ticket), "{heard}");

    // Another key, whatever its certificate says, hears nothing of the ticket.
    let site = Site::answering(ok(IMAGE.len(), IMAGE));
    let (got, written) = fetch(&site, sha256(b"another key"), &image(IMAGE));
    let error = got.expect_err("a stranger was believed");
    assert!(matches!(error, ApplianceError::Lost { .. }), "{error}");
    assert!(written.is_empty());
    assert_eq!(site.heard.join().expect("no panic"), None);
}

#[test]
fn an_image_is_the_ordered_one_or_none() {
    #[track_caller]
    fn check(answer: Vec<u8>, expect: &str) {
        let site = Site::answering(answer);
        let (got, written) = fetch(&site, site.pin, &image(IMAGE));
        let said = got.map_or_else(|error| error.to_string(), |()| "taken".to_owned());
        assert!(said.contains(expect), "{said}");
        // One that is too large does not fill the sled's memory.
        assert!(written.len() <= IMAGE.len());
    }
    let whole = IMAGE.len();
    check(ok(whole, IMAGE), "taken");
    let mut other = IMAGE.to_vec();
    other[20] ^= 1;
    check(ok(whole, &other), "not the ordered one");
    check(ok(whole - 1, &IMAGE[1..]), "not the ordered one");
    let longer = [IMAGE, b"and more"].concat();
    check(ok(longer.len(), &longer), "not the ordered one");
    check(ok(1 << 40, &longer), "not the ordered one");
    // Cut short is not the end of an image, but a reason to ask again.
    check(ok(whole, &IMAGE[1..]), "no answer from the appliance");
    let refused = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    check(refused.to_vec(), "refuses this boot");
}
