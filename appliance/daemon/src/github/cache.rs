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

/// Most answers kept; the one that was used longest ago goes first.
const ENTRIES: usize = 64;
/// A larger body is not kept.
const BODY_BYTES: usize = 128 * 1024;

#[derive(Default)]
pub(super) struct Cache(Mutex<VecDeque<Entry>>);

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
        let entries = lock(&self.0);
        let entry = entries.iter().find(|entry| entry.is(identity, path))?;
        Some(entry.etag.clone())
    }

    /// Puts the kept body into a 304, and keeps the body of a 200. A 304 for
    /// what was dropped meanwhile stays one.
    pub(super) fn settle(&self, identity: Identity, path: &str, answer: &mut Answer) {
        let mut entries = lock(&self.0);
        let position = entries.iter().position(|entry| entry.is(identity, path));
        let old = position.and_then(|position| entries.remove(position));
        match (answer.status, old, &answer.head.etag) {
            (304, Some(entry), _) => {
                answer.status = 200;
                answer.body = Zeroizing::new(entry.body.clone());
                answer.head = entry.head.clone();
                entries.push_back(entry);
            }
            (200, _, Some(etag)) if answer.body.len() <= BODY_BYTES => {
                if entries.len() >= ENTRIES {
                    entries.pop_front();
                }
                entries.push_back(Entry {
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
