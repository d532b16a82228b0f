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
