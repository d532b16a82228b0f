//! Pages of made-up logs, read by hand.

use super::*;
use crate::github::LogEntry;

const MINUTE: u64 = 60_000;

fn page(minutes: &[u64], next: Option<&str>) -> LogPage {
    let entries = minutes.iter().map(|minute| LogEntry {
        id: *minute,
        guid: minute.to_string(),
        delivered_at_ms: minute * MINUTE,
        redelivery: false,
        status_code: 0,
        status: String::new(),
        event: "workflow_job".into(),
        action: None,
    });
    LogPage {
        entries: entries.collect(),
        next: next.map(Cursor::from),
    }
}

fn at(text: &str) -> Option<Option<Cursor>> {
    Some(Some(Cursor::from(text)))
}

#[test]
fn the_bookmark_moves_when_the_floor_is_reached() {
    let mut passes = Passes::since(100 * MINUTE);
    assert_eq!(passes.next_page(), None);
    passes.begin();
    assert_eq!(passes.next_page(), Some(None));
    // Ten minutes of overlap.
    assert_eq!(passes.floor_ms(), 90 * MINUTE);
    assert_eq!(passes.settled(&page(&[300, 250], Some("b"))), None);
    assert_eq!(passes.next_page(), at("b"));
    // On the floor is not below it.
    assert_eq!(passes.settled(&page(&[200, 90], Some("c"))), None);
    assert_eq!(passes.next_page(), at("c"));
    let moved = passes.settled(&page(&[89, 88], Some("d")));
    assert_eq!(moved, Some(300 * MINUTE));
    assert_eq!(passes.next_page(), None);
}

#[test]
fn the_logs_end_ends_a_pass_too() {
    let mut passes = Passes::since(0);
    passes.begin();
    assert_eq!(passes.settled(&page(&[5], None)), Some(5 * MINUTE));
    assert_eq!(passes.next_page(), None);
    // Nothing new: nothing to store.
    passes.begin();
    assert_eq!(passes.settled(&page(&[5], None)), None);
    passes.begin();
    assert_eq!(passes.settled(&page(&[], None)), None);
    assert_eq!(passes.next_page(), None);
}

#[test]
fn new_entries_do_not_wait_for_a_backlog() {
    let mut passes = Passes::since(100 * MINUTE);
    passes.begin();
    assert_eq!(passes.settled(&page(&[500], Some("old-1"))), None);
    // The time for a look at the top comes while the backlog is read.
    passes.begin();
    assert_eq!(passes.next_page(), Some(None));
    assert_eq!(passes.floor_ms(), 499 * MINUTE);
    assert_eq!(passes.settled(&page(&[510, 505], Some("new-1"))), None);
    // Once more at once: the one under way goes on.
    passes.begin();
    assert_eq!(passes.next_page(), at("new-1"));
    assert_eq!(passes.settled(&page(&[500, 498], Some("x"))), None);
    // Back to where the backlog was; its end moves the bookmark past both.
    assert_eq!(passes.next_page(), at("old-1"));
    assert_eq!(passes.floor_ms(), 90 * MINUTE);
    assert_eq!(passes.settled(&page(&[80], None)), Some(510 * MINUTE));
}

#[test]
fn a_cursor_that_is_not_known_any_more_starts_over() {
    let mut passes = Passes::since(100 * MINUTE);
    passes.begin();
    assert_eq!(passes.settled(&page(&[500], Some("b"))), None);
    passes.start_over();
    assert_eq!(passes.next_page(), Some(None));
    assert_eq!(passes.settled(&page(&[600, 50], None)), Some(600 * MINUTE));
}

#[test]
fn each_tenth_pass_looks_back_further() {
    let mut passes = Passes::since(100 * MINUTE);
    let mut floors = Vec::new();
    for _ in 0..11 {
        passes.begin();
        floors.push(100 - passes.floor_ms() / MINUTE);
        passes.settled(&page(&[100], None));
    }
    assert_eq!(floors, [10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 10]);
}
