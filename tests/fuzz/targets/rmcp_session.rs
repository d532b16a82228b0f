//! A BMC that answers an IPMI session with anything at all, and the values
//! behind the session's encryption, which random bytes would never get past.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::rmcp::fuzz_session;

fuzz_target!(|input: &[u8]| fuzz_session(input));
