//! Server-sent events, as bytes come: lines to events, bounded.
//!
//! Knows nothing of what an event says. An event that is longer than the
//! bound is passed over whole, and said to have been there.
//!
//! Source: WHATWG HTML, "Server-sent events", section 9.2.6.

use alloc::{string::String, vec::Vec};
use core::mem;

/// What the stream held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event {
        /// Its type; empty is `message`.
        kind: String,
        /// Its data: the lines joined, as bytes that may be anything.
        data: Vec<u8>,
    },
    /// An event longer than the bound.
    TooLong,
}

/// A stream under way.
#[derive(Debug)]
pub struct EventStream {
    /// Most bytes of an event.
    limit: usize,
    line: Vec<u8>,
    kind: String,
    data: Vec<u8>,
    /// The id of the newest event that had one.
    last_id: String,
    /// The id of the event under way.
    id: Option<String>,
    /// The event under way is beyond the limit.
    too_long: bool,
    /// The last byte was a carriage return: a line feed belongs to it.
    after_return: bool,
    /// Nothing came yet: a byte order mark is none of the first line.
    at_start: bool,
}

impl EventStream {
    /// A stream of events of at most `limit` bytes each.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self::resume(limit, String::new())
    }

    /// The same, opened again after the event `last_id`.
    #[must_use]
    pub const fn resume(limit: usize, last_id: String) -> Self {
        Self {
            limit,
            line: Vec::new(),
            kind: String::new(),
            data: Vec::new(),
            last_id,
            id: None,
            too_long: false,
            after_return: false,
            at_start: true,
        }
    }

    /// The value for `Last-Event-ID` when the stream has to be opened again.
    #[must_use]
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// Takes bytes; what they complete, in order.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        for byte in bytes {
            let joined = mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if joined => {}
                b'\n' | b'\r' => items.extend(self.end_line()),
                _ if self.too_long => {
                    // Only whether the line is empty matters any more.
                    if self.line.is_empty() {
                        self.line.push(*byte);
                    }
                }
                _ => {
                    self.line.push(*byte);
                    if self.line.len() + self.data.len() > self.limit {
                        self.too_long = true;
                        self.data = Vec::new();
                        self.line = alloc::vec![*byte];
                    }
                }
            }
        }
        items
    }

    fn end_line(&mut self) -> Option<Item> {
        let mut line = mem::take(&mut self.line);
        if mem::take(&mut self.at_start) && line.starts_with(b"\xEF\xBB\xBF") {
            line.drain(..3);
        }
        if line.is_empty() {
            return self.end_event();
        }
        if self.too_long {
            return None;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            // A comment.
            Some(0) => return None,
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (&line[..], &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
            // It goes into a header when the stream is opened again.
            b"id" if value.iter().all(|byte| (b' '..=b'~').contains(byte)) => {
                self.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            // `retry` is for the server to ask; how often is for us to say.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Item> {
        let kind = mem::take(&mut self.kind);
        let mut data = mem::take(&mut self.data);
        if let Some(id) = self.id.take() {
            self.last_id = id;
        }
        if mem::take(&mut self.too_long) {
            return Some(Item::TooLong);
        }
        // The last line's end is none of the data; without any, no event.
        data.pop().map(|_| Item::Event { kind, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, vec};
    use proptest::prelude::*;

    fn event(kind: &str, data: &str) -> Item {
        Item::Event {
            kind: kind.into(),
            data: data.into(),
        }
    }

    #[track_caller]
    fn check(text: &str, expect: &[Item]) {
        let mut whole = EventStream::new(64);
        assert_eq!(whole.push(text.as_bytes()), expect, "{text:?}");
        let mut bytewise = EventStream::new(64);
        let items: Vec<Item> = text
            .bytes()
            .flat_map(|byte| bytewise.push(&[byte]))
            .collect();
        assert_eq!(items, expect, "{text:?} byte by byte");
        assert_eq!(whole.last_id(), bytewise.last_id());
    }

    #[test]
    fn streams_are_read_as_the_standard_says() {
        check("id: 0\nevent: ready\ndata: {}\n\n", &[event("ready", "{}")]);
        check(
            "data: one\r\n\r\ndata:two\r\r",
            &[event("", "one"), event("", "two")],
        );
        check("data: a\ndata: b\ndata\n\n", &[event("", "a\nb\n")]);
        check("data:  two blanks\n\n", &[event("", " two blanks")]);
        check("\u{FEFF}data: x\n\n", &[event("", "x")]);
        check(": still here\n\n", &[]);
        check("event: ping\n\n", &[]);
        check("data\n\n", &[event("", "")]);
        check("unknown: x\ndata: y\n\n", &[event("", "y")]);
        // A type is for one event.
        check(
            "event: a\ndata: 1\n\ndata: 2\n\n",
            &[event("a", "1"), event("", "2")],
        );
        check("data: unfinished\n", &[]);
        check("", &[]);
    }

    #[test]
    fn ids_are_kept_when_their_event_has_ended() {
        let mut stream = EventStream::new(64);
        stream.push(b"id: 7\ndata: x\n");
        assert_eq!(stream.last_id(), "");
        stream.push(b"\nid: 8\xff\ndata: y\n\n");
        assert_eq!(stream.last_id(), "7", "what is no header value is no id");
        stream.push(b"id\ndata: z\n\n");
        assert_eq!(stream.last_id(), "");
    }

    #[test]
    fn a_long_event_is_passed_over_alone() {
        let long = "x".repeat(100);
        check(
            &format!("data: {long}\ndata: more\n\ndata: short\n\n"),
            &[Item::TooLong, event("", "short")],
        );
        let lines = "data: 0123456789\n".repeat(10);
        check(
            &format!("{lines}\ndata: s\n\n"),
            &[Item::TooLong, event("", "s")],
        );
        check(&format!("{long}\n\n"), &[Item::TooLong]);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it_or_its_bound(chunks in prop::collection::vec(
            prop::collection::vec(prop::sample::select(b"\r\n: datievnx\xff".to_vec()), 0..80), 0..20,
        )) {
            let mut stream = EventStream::new(32);
            for chunk in chunks {
                for item in stream.push(&chunk) {
                    if let Item::Event { data, .. } = item {
                        prop_assert!(data.len() <= 32);
                    }
                }
                prop_assert!(stream.line.len() + stream.data.len() <= 33);
            }
            let mut again = EventStream::new(32);
            prop_assert_eq!(again.push(b"data: x\n\n"), vec![event("", "x")]);
        }
    }
}
