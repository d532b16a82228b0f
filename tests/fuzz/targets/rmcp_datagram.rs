//! One datagram from a BMC's address: the RMCP+ frame, and the IPMI message
//! that a frame carries.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::rmcp::{Message, decode};

fuzz_target!(|datagram: &[u8]| {
    let _ = decode(datagram);
    let _ = Message::decode(datagram);
});
