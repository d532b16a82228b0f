//! One datagram to UDP port 69: decoded, encoded again, and read as a request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::tftp::{Packet, ReadRequest};

fuzz_target!(|datagram: &[u8]| {
    let Ok(packet) = Packet::decode(datagram) else {
        return;
    };
    assert_eq!(Packet::decode(&packet.encode()).as_ref(), Ok(&packet));
    if let Ok(request) = ReadRequest::of(&packet) {
        let agreed = request.negotiated;
        assert!((8..=1468).contains(&agreed.block_bytes));
        assert!((1..=32).contains(&agreed.window_blocks));
        assert!((1000..=255_000).contains(&agreed.timeout_ms));
    }
});
