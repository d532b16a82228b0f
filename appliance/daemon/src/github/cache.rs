//! The last answers to reads that seldom change, and GitHub's names for them.
//!
//! GitHub does not count a request that it answers with 304 (GitHub Docs,
//! "Best practices for using the REST API"). Bounded in entries and bytes;
//! nothing secret is ever read through here.

use std::collections::VecDeque;
use std::sync::Mutex;

use zeroize::Zeroizing;

use super::answer::{Answer, Head};
use super::auth::Identity;
use super::pool::lock;

/// Most answers kept; the one that was used longest ago goes first. A sweep
/// asks for two short ones per repository.
const ENTRIES: usize = 2_048;
/// A larger body is not kept.
const BODY_BYTES: usize = 128 * 1024;
/// Most bytes of all bodies that are kept.
const ALL_BYTES: usize = 8 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Cache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Kept {
    fn remove(&mut self, identity: Identity, path: &str) -> Option<Entry> {
        let of = |entry: &Entry| entry.is(identity, path);
        let entry = self.entries.remove(self.entries.iter().position(of)?)?;
        self.bytes -= entry.body.len();
        Some(entry)
    }

    fn keep(&mut self, entry: Entry) {
        self.bytes += entry.body.len();
        self.entries.push_back(entry);
        while (self.entries.len() > ENTRIES || self.bytes > ALL_BYTES)
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.body.len();
        }
    }
}

struct Entry {
    identity: Identity,
    path: String,
    etag: String,
    head: Head,
    body: Vec<u8>,
}

impl Entry {
    fn is(&self, identity: Identity, path: &str) -> bool {
        self.identity == identity && self.path == path
    }
}

impl Cache {
    /// GitHub's name for the body that is kept.
    pub(super) fn etag(&self, identity: Identity, path: &str) -> Option<String> {
        let kept = lock(&self.0);
        let mut entries = kept.entries.iter();
        let entry = entries.find(|entry| entry.is(identity, path))?;
        Some(entry.etag.clone())
    }

    /// Puts the kept body into a 304, and keeps the body of a 200. A 304 for
    /// what was dropped meanwhile stays one.
    pub(super) fn settle(&self, identity: Identity, path: &str, answer: &mut Answer) {
        let mut kept = lock(&self.0);
        let old = kept.remove(identity, path);
        match (answer.status, old, &answer.head.etag) {
            (304, Some(entry), _) => {
                answer.status = 200;
                answer.body = Zeroizing::new(entry.body.clone());
                answer.head = entry.head.clone();
                kept.keep(entry);
            }
            (200, _, Some(etag)) if answer.body.len() <= BODY_BYTES => {
                kept.keep(Entry {
                    identity,
                    path: path.to_owned(),
                    etag: etag.clone(),
                    head: answer.head.clone(),
                    body: answer.body.to_vec(),
                });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Answer {
        Answer {
            status: 200,
            body: Zeroizing::new(vec![b'x'; bytes]),
            head: Head {
                etag: Some("\"x\"".to_owned()),
                ..Head::default()
            },
        }
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let cache = Cache::default();
        let settle = |number: usize, mut answer: Answer| {
            cache.settle(Identity::App, &number.to_string(), &mut answer);
            answer.body.len()
        };
        let is_kept = |number: usize| cache.etag(Identity::App, &number.to_string()).is_some();
        settle(0, answer(10));
        assert_eq!(cache.etag(Identity::Nobody, "0"), None);
        // As many of the longest bodies as there is room for, less one.
        for number in 1..ALL_BYTES / BODY_BYTES {
            settle(number, answer(BODY_BYTES));
        }
        let unchanged = || Answer {
            status: 304,
            ..answer(0)
        };
        assert_eq!(settle(0, unchanged()), 10, "used again");
        settle(1_000, answer(BODY_BYTES));
        assert!(is_kept(0) && !is_kept(1) && is_kept(2) && is_kept(1_000));
        assert_eq!(settle(1, unchanged()), 0, "it stays a 304");
        settle(2, answer(BODY_BYTES + 1));
        assert!(!is_kept(2), "too long, and the old one is outdated");
        for number in 0..=ENTRIES {
            settle(number, answer(0));
        }
        assert!(!is_kept(0) && is_kept(1) && is_kept(ENTRIES));
    }
}
