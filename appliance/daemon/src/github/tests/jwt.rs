//! The App's JWT, verified by openssl.

use std::fs;

use serde_json::{Value, json};

use super::super::Secret;
use super::super::jwt::AppKey;
use super::{START_MS, key_pem, openssl};

/// RFC 4648 section 5, without padding, as RFC 7515 has it.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let mut bits = 0_u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            other => panic!("{other} in base64url"),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[track_caller]
fn check(pem: &str) {
    let key = AppKey::from_pem(77, &Secret::new(pem.into())).expect("key is read");
    let jwt = key.sign(START_MS + 999).expect("jwt is signed");
    let (message, signature) = jwt.expose().rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let part = |text: &str| serde_json::from_slice::<Value>(&decode(text)).unwrap();
    assert_eq!(part(header), json!({"typ": "JWT", "alg": "RS256"}));
    let now_s = START_MS / 1000;
    assert_eq!(
        part(claims),
        json!({"iat": now_s - 60, "exp": now_s + 540, "iss": "77"})
    );

    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let private = file("key.pem", pem.as_bytes());
    let public = file(
        "public.pem",
        openssl(&["rsa", "-in", &private, "-pubout"]).as_bytes(),
    );
    let signature = file("signature", &decode(signature));
    let message = file("message", message.as_bytes());
    let said = openssl(&[
        "dgst",
        "-sha256",
        "-verify",
        &public,
        "-signature",
        &signature,
        &message,
    ]);
    assert_eq!(said.trim(), "Verified OK");
}

#[test]
fn signed_with_pkcs1_and_pkcs8_keys() {
    check(key_pem());
    assert!(
        key_pem().contains("BEGIN PRIVATE KEY"),
        "openssl 3 writes PKCS #8"
    );
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("key.pem");
    fs::write(&path, key_pem()).unwrap();
    let pkcs1 = openssl(&["rsa", "-traditional", "-in", path.to_str().unwrap()]);
    assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY"));
    check(&pkcs1);
}

#[test]
fn unusable_keys_are_refused_at_the_start() {
    #[track_caller]
    fn check(pem: &str, expect: &str) {
        let error = AppKey::from_pem(77, &Secret::new(pem.into())).expect_err("key is refused");
        assert!(error.contains(expect), "{error:?} lacks {expect:?}");
        assert!(
            pem.is_empty() || !error.contains(pem),
            "the key is in {error:?}"
        );
    }
    check("", "not a PEM private key");
    check("not a key", "not a PEM private key");
    check(
        &key_pem().replace("PRIVATE", "PUBLIC"),
        "not a PEM private key",
    );
    check(&openssl(&["genrsa", "1024"]), "2048 bits");
    check(
        &openssl(&["genpkey", "-algorithm", "ed25519"]),
        "not a usable RSA key",
    );
}

#[test]
fn debug_shows_no_key() {
    let key = AppKey::from_pem(77, &Secret::new(key_pem().into())).unwrap();
    assert_eq!(format!("{key:?}"), "AppKey { app_id: 77, .. }");
    let config = super::config("https://api.github.com");
    assert!(format!("{config:?}").contains("private_key_pem: [redacted]"));
}
