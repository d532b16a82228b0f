//! A whole transfer with a client that says anything: after a request, each
//! length byte is followed by a datagram, and length 0 lets time pass.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::tftp::{Packet, ReadRequest, Status, Transfer};

const CONTENT: [u8; 5000] = [0x4d; 5000];
/// A window of the largest blocks and the option acknowledgement before it.
const MOST_DATAGRAMS: usize = 33;

fuzz_target!(|input: &[u8]| {
    let (request, mut rest) = take(input);
    let Ok(packet) = Packet::decode(request) else {
        return;
    };
    let Ok(request) = ReadRequest::of(&packet) else {
        return;
    };
    let mut now_ms = 0;
    let (mut transfer, first) = Transfer::start(&CONTENT[..], request.negotiated, now_ms);
    check(&first);
    while !rest.is_empty() && matches!(transfer.status(), Status::Waiting { .. }) {
        let (datagram, tail) = take(rest);
        rest = tail;
        let answers = if datagram.is_empty() {
            now_ms += request.negotiated.timeout_ms;
            transfer.timeout(now_ms)
        } else {
            transfer.receive(datagram, now_ms)
        };
        check(&answers);
    }
    assert!(transfer.acknowledged_bytes() <= CONTENT.len() as u64);
    if transfer.status() == Status::Done {
        assert_eq!(transfer.acknowledged_bytes(), CONTENT.len() as u64);
    }
});

fn take(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, tail)) = input.split_first() else {
        return (&[], &[]);
    };
    tail.split_at_checked(usize::from(*length))
        .unwrap_or((tail, &[]))
}

fn check(datagrams: &[Vec<u8>]) {
    assert!(datagrams.len() <= MOST_DATAGRAMS);
    for datagram in datagrams {
        assert!(Packet::decode(datagram).is_ok());
    }
}
