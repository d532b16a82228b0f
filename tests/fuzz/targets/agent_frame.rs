//! What a sled posts to the agent API: the signed envelope, and the frame
//! inside it, which is decoded only after its signature was verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use messages::{AgentFrame, ApplianceFrame, Envelope, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = decode::<Envelope>(bytes) {
        again(&envelope);
        frame(&envelope.body);
    }
    frame(bytes);
    // The agent reads these from the appliance.
    if let Ok(answer) = decode::<ApplianceFrame>(bytes) {
        again(&answer);
    }
});

fn frame(bytes: &[u8]) {
    if let Ok(frame) = decode::<AgentFrame>(bytes) {
        again(&frame);
    }
}

/// A record that was read is written and read again as the same record.
fn again<T>(value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    assert_eq!(decode::<T>(&encode(value)).as_ref(), Ok(value));
}
