//! Encryption and padding; the keys themselves are checked against an
//! independent program in `session::tests`.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn keys() -> Keys {
    let suite = CipherSuite::Suite3;
    Keys::new(suite, suite.code(b"secret", &[b"anything"]))
}

#[test]
fn padding_fills_whole_blocks() {
    let check = |plain: usize, sealed: usize| {
        let text = Vec::from_iter((0..plain).map(|byte| byte as u8));
        let bytes = keys().seal(&text, &[9; 16]);
        assert_eq!(bytes.len(), sealed, "{plain} bytes");
        assert_eq!(keys().open(&bytes), Some(text), "{plain} bytes");
    };
    check(0, 32);
    check(1, 32);
    check(15, 32);
    check(16, 48);
    check(31, 48);
    check(32, 64);
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    core::array::from_fn(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
}

#[test]
fn encryption_as_nist_published_it() {
    // NIST SP 800-38A, F.2.1 and F.2.2: CBC-AES128.
    let mut keys = keys();
    keys.confidentiality = bytes("2b7e151628aed2a6abf7158809cf4f3c");
    let plain: [u8; 64] = bytes(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
    );
    let encrypted: [u8; 64] = bytes(
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
         73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
    );
    let iv = core::array::from_fn(|at| at as u8);
    let sealed = keys.seal(&plain, &iv);
    assert_eq!(sealed[16..80], encrypted);
    assert_eq!(keys.open(&sealed), Some(plain.to_vec()));
}

#[test]
fn exchange_codes_as_published() {
    // The example hash of hashcat's mode 7300 ("IPMI2 RAKP HMAC-SHA1"), which
    // is what RAKP 2's code is made of, for the password "hashcat".
    let parts: [u8; 65] = bytes(
        "b7c2d6f13a43dce2e44ad120a9cd8a13d0ca23f0414275c0bbe1070d2d1299b1\
         c04da0f1a0f1e4e2537300263a2200000000000000000000140768617368636174",
    );
    let expected: [u8; 20] = bytes("472bdabe2d5d4bffd6add7b3ba79a291d104a9ef");
    let code = CipherSuite::Suite3.code(b"hashcat", &[&parts]);
    assert_eq!(code.as_slice(), expected);
    // RFC 4231, test case 2.
    let expected: [u8; 32] =
        bytes("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let code = CipherSuite::Suite17.code(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
    assert_eq!(code.as_slice(), expected);
}

#[test]
fn what_was_not_sealed_does_not_open() {
    let check = |sealed: &[u8]| assert_eq!(keys().open(sealed), None, "{sealed:02x?}");
    let good = keys().seal(b"fifteen bytes !", &[9; 16]);
    check(&[]);
    check(&good[..16]);
    check(&good[..31]);
    // The last plain byte is the pad length: 16 and up is no pad. In CBC a
    // changed IV bit changes that bit of the first block.
    let mut bad = good.clone();
    bad[15] ^= 0x10;
    check(&bad);
    let mut wrong_pad = keys().seal(b"five!", &[9; 16]);
    wrong_pad[14] ^= 1;
    check(&wrong_pad);
}

#[test]
fn numbers_name_suites() {
    let check = |number: u8, expect: Result<CipherSuite, UnknownSuite>| {
        assert_eq!(CipherSuite::try_from(number), expect);
    };
    check(3, Ok(CipherSuite::Suite3));
    check(17, Ok(CipherSuite::Suite17));
    check(0, Err(UnknownSuite(0)));
    check(1, Err(UnknownSuite(1)));
}

proptest! {
    #[test]
    fn sealed_bytes_open(plain in proptest::collection::vec(any::<u8>(), 0..200), iv: [u8; 16]) {
        prop_assert_eq!(keys().open(&keys().seal(&plain, &iv)), Some(plain));
    }

    #[test]
    fn any_bytes_are_survived(sealed in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = keys().open(&sealed);
    }
}
