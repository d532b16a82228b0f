//! ICMPv6 messages to all routers, of which one kind is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::router_advertisement::parse_solicitation;

fuzz_target!(|message: &[u8]| {
    if parse_solicitation(message).is_ok() {
        // RFC 4861 section 6.1.1: type 133, code 0, eight octets at least.
        assert!(message.len() >= 8 && message.first() == Some(&133));
        assert_eq!(message.get(1), Some(&0));
    }
});
