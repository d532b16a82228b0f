//! How far the delivery log was read, and what is read next.
//!
//! The log is listed newest first. A *pass* reads from the newest entry down
//! to a floor; one that takes long (days of backlog) is interrupted by short
//! ones from the top, so that new losses do not wait for old ones. Does no
//! IO and reads no clock. Times are Unix milliseconds by GitHub's clock.

use crate::github::{Cursor, LogPage};

/// Entries this much older than the newest one that was seen are looked at
/// again: the log is not promised to be written in the order of its times.
const OVERLAP_MS: u64 = 60_000;

/// The same for every [`DEEP_EVERY`]th pass from the top, and for the first.
const DEEP_OVERLAP_MS: u64 = 10 * 60_000;

/// See [`DEEP_OVERLAP_MS`].
const DEEP_EVERY: u32 = 10;

/// One way from the top to a floor.
#[derive(Debug)]
struct Pass {
    /// The next page; `None` is the newest one.
    at: Option<Cursor>,
    /// Older entries are none of this pass's business.
    floor_ms: u64,
    /// The newest entry that it saw.
    top_ms: Option<u64>,
}

/// The passes under way.
#[derive(Debug)]
pub struct Passes {
    /// All entries up to here were dealt with.
    bookmark_ms: u64,
    /// The long one, if there is one.
    backlog: Option<Pass>,
    /// The one from the top.
    head: Option<Pass>,
    /// Passes begun so far.
    begun: u32,
}

impl Passes {
    /// Nothing was read since `bookmark_ms`.
    #[must_use]
    pub fn since(bookmark_ms: u64) -> Self {
        Self {
            bookmark_ms,
            backlog: None,
            head: None,
            begun: 0,
        }
    }

    /// Begins at the top, unless that is under way already.
    pub fn begin(&mut self) {
        match &self.head {
            None => {}
            // It has read the top just now; what follows is backlog.
            Some(head) if self.backlog.is_none() && head.top_ms.is_some() => {
                self.backlog = self.head.take();
            }
            Some(_) => return,
        }
        let overlap_ms = match self.begun.is_multiple_of(DEEP_EVERY) {
            true => DEEP_OVERLAP_MS,
            false => OVERLAP_MS,
        };
        self.begun = self.begun.wrapping_add(1);
        let read = self.backlog.as_ref().and_then(|pass| pass.top_ms);
        self.head = Some(Pass {
            at: None,
            floor_ms: read.unwrap_or(self.bookmark_ms).saturating_sub(overlap_ms),
            top_ms: None,
        });
    }

    fn current(&mut self) -> Option<&mut Pass> {
        self.head.as_mut().or(self.backlog.as_mut())
    }

    /// The page to read next; `None` when everything was read.
    pub fn next_page(&mut self) -> Option<Option<Cursor>> {
        self.current().map(|pass| pass.at.clone())
    }

    /// Older entries of the page that was read need not be looked at.
    pub fn floor_ms(&mut self) -> u64 {
        self.current().map_or(0, |pass| pass.floor_ms)
    }

    /// GitHub does not know the cursor any more: again from the top.
    pub fn start_over(&mut self) {
        if let Some(pass) = self.current() {
            pass.at = None;
        }
    }

    /// Every entry of the page was dealt with. A new bookmark, if that moves
    /// it.
    pub fn settled(&mut self, page: &LogPage) -> Option<u64> {
        let pass = self.current()?;
        let times = || page.entries.iter().map(|entry| entry.delivered_at_ms);
        pass.top_ms = pass.top_ms.max(times().max());
        let below = times().min().is_some_and(|oldest| oldest < pass.floor_ms);
        if let (Some(next), false) = (&page.next, below) {
            pass.at = Some(next.clone());
            return None;
        }
        let top_ms = pass.top_ms;
        if self.head.take().is_some()
            && let Some(backlog) = &mut self.backlog
        {
            backlog.top_ms = backlog.top_ms.max(top_ms);
            return None;
        }
        self.backlog = None;
        let moved = top_ms.filter(|top| *top > self.bookmark_ms)?;
        self.bookmark_ms = moved;
        Some(moved)
    }
}

#[cfg(test)]
mod tests;
