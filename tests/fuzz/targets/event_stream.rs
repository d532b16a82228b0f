//! Bytes of a public channel, in one piece and in many: the same events,
//! within the bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::event_stream::{EventStream, Item};

/// Most bytes of an event.
const LIMIT: usize = 64;

fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else {
        return;
    };
    let mut whole = EventStream::new(LIMIT);
    let items = whole.push(bytes);
    for item in &items {
        if let Item::Event { kind, data } = item {
            assert!(data.len() <= LIMIT);
            // A byte that is no text becomes a mark of three.
            assert!(kind.len() <= 3 * LIMIT);
        }
    }
    let mut parts = EventStream::new(LIMIT);
    let size = usize::from(*size).max(1);
    let joined: Vec<Item> = bytes
        .chunks(size)
        .flat_map(|part| parts.push(part))
        .collect();
    assert_eq!(joined, items);
    // It becomes the value of a header.
    let id = whole.last_id();
    assert_eq!(id, parts.last_id());
    assert!(id.len() <= LIMIT && id.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
});
