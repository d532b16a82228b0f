//! What a sled's firmware names in a request for a boot file, one per line: a
//! MAC, a boot token, and a `Range` for a file of the size that the first byte
//! says.
#![no_main]

// A module of the daemon, whose dependencies would take minutes to build.
#[rustfmt::skip]
#[path = "../../../appliance/daemon/src/netboot/http/range.rs"]
#[allow(dead_code)]
mod range;

use libfuzzer_sys::fuzz_target;
use protocols::dhcp::MacAddress;
use protocols::ipxe::BootToken;
use range::Selection;

fuzz_target!(|input: &[u8]| {
    let Some((size, text)) = input.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let mut lines = text.splitn(3, '\n');
    let (mac, token) = (lines.next(), lines.next());
    if let Some(mac) = mac.and_then(|mac| mac.parse::<MacAddress>().ok()) {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
    if let Some(token) = token.and_then(|token| BootToken::parse(token).ok()) {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        assert!(token.as_str().bytes().all(digit));
        assert_eq!(BootToken::parse(token.as_str()), Ok(token.clone()));
    }
    let total = u64::from(*size);
    match Selection::of(lines.next(), total) {
        Selection::Part { first, length } => {
            assert!(length > 0 && first < total && length <= total - first);
        }
        Selection::Whole | Selection::Unsatisfiable => {}
    }
});
