//! What any machine on the sled network may answer to an agent's DHCP client.
#![no_main]

// A module of a program, not of a library: included as it is.
#[rustfmt::skip]
#[path = "../../../appliance/sled/src/net/dhcp.rs"]
#[allow(dead_code)]
mod dhcp;

use dhcp::{Answer, decode};
use libfuzzer_sys::fuzz_target;

const TRANSACTION: u32 = 0x1234_5678;
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 1];

fuzz_target!(|datagram: &[u8]| {
    if let Some(Answer::Offer(lease) | Answer::Acknowledge(lease)) =
        decode(datagram, TRANSACTION, MAC)
    {
        assert!(lease.dns.len() <= 3);
        // It ends up in resolv.conf, on a line of its own.
        assert!(
            lease
                .domain
                .is_none_or(|domain| !domain.contains(char::is_whitespace))
        );
    }
});
