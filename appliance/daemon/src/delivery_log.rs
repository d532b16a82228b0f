//! Takes in from GitHub's own log what did not arrive: one reader per App.
//!
//! GitHub never delivers again by itself, but keeps each attempt for three
//! days (a server: seven). The reader lists them back to a bookmark, at the
//! start and at a steady pace, skips what was answered when it was sent, and
//! fetches the rest. GitHub gives the payload without the bytes that were
//! signed; trust is TLS and our JWT, and the event names its source.
//!
//! The bookmark moves only after the core has committed. A failure repeats
//! the page, never skips it. What a delivery means is for `control`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use control::{DeliveryResult, Source};
use messages::{HubId, decode, encode};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::Instant};

use crate::{
    engine::{Clock, Engine},
    github::{Cursor, GithubClient, GithubError, LogEntry, LogPage, LoggedDelivery},
    http::Shutdown,
    installations::Installations,
    intake::{self, Delivery},
    reader::{self, Board, Fault},
    retry::Backoff,
    store::{Store, StoreError},
};

mod passes;
mod seen;

pub use passes::Passes;
pub use seen::Seen;

/// Pace while something says that there is news.
const HURRY: Duration = Duration::from_secs(3);
/// How long such news is waited for: GitHub logs an attempt when it has ended,
/// and gives one 10 s (a server: 30 s).
const HURRY_FOR: Duration = Duration::from_secs(40);
/// Payloads fetched at once.
pub const AT_ONCE: usize = 2;
/// Tries at a payload that cannot be read, before it is given up.
const TRIES: u32 = 3;

const DAY_MS: u64 = 24 * 3_600_000;

/// How long GitHub keeps its log, in milliseconds: github.com and GHE.com
/// three days, a server seven (GitHub docs, "Viewing webhook deliveries").
#[must_use]
pub fn kept_ms(api_url: &str) -> u64 {
    let rest = api_url.strip_prefix("https://").unwrap_or(api_url);
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    let hosted = host.eq_ignore_ascii_case("api.github.com")
        || host.to_ascii_lowercase().ends_with(".ghe.com");
    if hosted { 3 * DAY_MS } else { 7 * DAY_MS }
}

/// How the log is read.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// Time between two looks at the newest entries.
    pub pace: Duration,
    /// Whether a 2xx in the log says that we took the delivery. So when it is
    /// sent to `webhook_listen`; not so when a channel or nobody answers.
    pub trust_answers: bool,
    /// See [`kept_ms`].
    pub kept_ms: u64,
}

/// What a reader shares with others.
#[derive(Debug)]
pub struct LogShared {
    /// Deliveries that it need not fetch.
    pub seen: Seen,
    /// How it does.
    pub board: Board,
    /// Whose deliveries are taken.
    pub installations: Arc<Installations>,
    news: Notify,
}

impl Default for LogShared {
    fn default() -> Self {
        Self::of(Arc::default())
    }
}

impl LogShared {
    /// What a reader of deliveries of these installations shares.
    #[must_use]
    pub fn of(installations: Arc<Installations>) -> Self {
        Self {
            seen: Seen::default(),
            board: Board::new("delivery log"),
            installations,
            news: Notify::default(),
        }
    }

    /// Says that a delivery may be in the log soon.
    pub fn hint(&self) {
        self.news.notify_one();
    }

    /// Resolves when somebody gave a [`hint`](Self::hint) since the last time.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }
}

/// Versions of the stored bookmark. Append only.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stored {
    /// All entries up to this time were dealt with, in Unix milliseconds by
    /// GitHub's clock.
    V1(u64),
}

/// Reads one App's log.
pub struct DeliveryLog {
    /// The App's number in the core.
    pub hub: HubId,
    /// The App.
    pub client: GithubClient,
    /// How.
    pub config: LogConfig,
    /// Where deliveries go.
    pub engine: Engine,
    /// Where the bookmark is.
    pub store: Store,
    /// For how far back.
    pub clock: Clock,
    /// What others see and say.
    pub shared: Arc<LogShared>,
}

/// When what happens next.
struct Times {
    /// The newest entries are read again.
    due: Instant,
    /// News is expected until then.
    hurried: Instant,
    backoff: Backoff,
}

impl DeliveryLog {
    /// Reads until the appliance stops.
    pub async fn run(self, shutdown: Shutdown) {
        let name = self.client.name().to_owned();
        self.shared.board.change(|health| health.github = name);
        tokio::select! {
            () = self.read_on() => {}
            () = shutdown.wait() => {}
        }
    }

    async fn read_on(&self) {
        let mut passes = Passes::since(self.bookmark().await);
        let now = Instant::now();
        let mut times = Times {
            due: now,
            hurried: now,
            backoff: reader::backoff(),
        };
        let mut tries = Tries::default();
        loop {
            if Instant::now() >= times.due {
                passes.begin();
                times.due = Instant::now() + self.pace(&times);
            }
            let Some(at) = passes.next_page() else {
                self.wait_for_news(&mut times).await;
                continue;
            };
            let is_head = at.is_none();
            match self.turn(&mut passes, at, &mut tries).await {
                Ok(()) => {
                    times.backoff.reset();
                    let newest = is_head.then(|| self.clock.now());
                    let backlog = passes.next_page().is_some();
                    self.shared.board.note_read(newest, backlog);
                }
                Err(fault) => {
                    if matches!(&fault, Fault::Github(error) if is_stale_cursor(error)) {
                        passes.start_over();
                    }
                    let wait = fault.wait(&mut times.backoff);
                    self.shared.board.note_problem(&fault);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn pace(&self, times: &Times) -> Duration {
        match Instant::now() < times.hurried {
            true => HURRY.min(self.config.pace),
            false => self.config.pace,
        }
    }

    async fn wait_for_news(&self, times: &mut Times) {
        tokio::select! {
            () = tokio::time::sleep_until(times.due) => {}
            () = self.shared.news() => {
                // Whoever sends hints without end makes us ask at this pace.
                let now = Instant::now();
                if now >= times.hurried {
                    times.due = times.due.min(now + HURRY / 3);
                } else {
                    times.due = times.due.min(now + HURRY);
                }
                times.hurried = now + HURRY_FOR;
            }
        }
    }

    /// Reads a page and takes what did not arrive.
    async fn turn(
        &self,
        passes: &mut Passes,
        at: Option<Cursor>,
        tries: &mut Tries,
    ) -> Result<(), Fault> {
        let page = self.client.deliveries(at).await?;
        let trust_answers = self.config.trust_answers;
        let wanted = wanted(&page, passes.floor_ms(), &self.shared.seen, trust_answers);
        for some in wanted.chunks(AT_ONCE) {
            match *some {
                [one, other] => {
                    let fetched = tokio::join!(
                        self.client.find_delivery(one.id),
                        self.client.find_delivery(other.id)
                    );
                    self.take(one, fetched.0, tries).await?;
                    self.take(other, fetched.1, tries).await?;
                }
                _ => {
                    for one in some {
                        let fetched = self.client.find_delivery(one.id).await;
                        self.take(one, fetched, tries).await?;
                    }
                }
            }
        }
        if let Some(bookmark_ms) = passes.settled(&page) {
            self.keep(bookmark_ms).await?;
        }
        Ok(())
    }

    /// Submits what was fetched. What can never be read is passed over, so
    /// that it does not keep the rest out.
    async fn take(
        &self,
        entry: &LogEntry,
        fetched: Result<Option<LoggedDelivery>, GithubError>,
        tries: &mut Tries,
    ) -> Result<(), Fault> {
        let Some(key) = intake::delivery_key(&entry.guid) else {
            return Ok(());
        };
        let found = match fetched {
            Err(error @ GithubError::Answer { .. }) if tries.are_over(entry.id) => {
                self.give_up(entry, &error);
                None
            }
            result => result?,
        };
        let payload = found.and_then(|found| found.payload);
        let hook = payload.map(|payload| {
            intake::read(&entry.event, payload.as_bytes(), &self.shared.installations)
        });
        match hook {
            // Gone from the log, or given up.
            None => {}
            Some(Err(error)) => self.give_up(entry, &error),
            Some(Ok(hook)) => {
                let delivery = Delivery {
                    id: &entry.guid,
                    key,
                    hub: self.hub,
                    source: Source::DeliveryLog,
                    hook,
                };
                let result = intake::submit(&self.engine, delivery).await?;
                if matches!(result, DeliveryResult::Queued | DeliveryResult::Updated) {
                    self.shared.board.change(|health| health.taken += 1);
                }
            }
        }
        self.shared.seen.insert(key);
        Ok(())
    }

    fn give_up(&self, entry: &LogEntry, error: &dyn std::fmt::Display) {
        tracing::error!(
            github = self.client.name(), delivery = %entry.guid, %error,
            "a delivery in github's log cannot be read, and is passed over",
        );
        self.shared.board.change(|health| health.passed_over += 1);
    }

    fn row(&self) -> String {
        format!("delivery_log.{}", self.client.name())
    }

    /// Where to read from: what was read last, as far as GitHub keeps it.
    async fn bookmark(&self) -> u64 {
        let now = self.clock.now().0;
        let (store, row) = (self.store.clone(), self.row());
        let stored = tokio::task::spawn_blocking(move || store.local(&row)).await;
        let stored = match stored {
            Ok(Ok(Some(bytes))) => decode(&bytes).ok(),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the bookmark of the delivery log cannot be read: reading all of it");
                None
            }
            Ok(Ok(None)) | Err(_) => None,
        };
        let Stored::V1(read_ms) = stored.unwrap_or(Stored::V1(0));
        // A clock that was wrong once must not hide what comes.
        read_ms.clamp(now.saturating_sub(self.config.kept_ms), now)
    }

    async fn keep(&self, bookmark_ms: u64) -> Result<(), StoreError> {
        let (store, row) = (self.store.clone(), self.row());
        let value = encode(&Stored::V1(bookmark_ms));
        let kept = tokio::task::spawn_blocking(move || store.set_local(&row, &value)).await;
        // The task is lost only with the runtime.
        kept.unwrap_or(Ok(()))
    }
}

/// Failed tries at one payload.
#[derive(Debug, Default)]
struct Tries {
    entry: u64,
    count: u32,
}

impl Tries {
    /// One more failed.
    const fn are_over(&mut self, entry: u64) -> bool {
        if self.entry != entry {
            *self = Self { entry, count: 0 };
        }
        self.count += 1;
        self.count >= TRIES
    }
}

/// The entries of a page that have to be fetched, in the order in which they
/// are taken, none older than `floor_ms` (Unix milliseconds by GitHub's clock).
/// What was answered is noted as seen, where an answer is to be trusted
/// ([`LogConfig::trust_answers`]).
#[must_use]
pub fn wanted<'a>(
    page: &'a LogPage,
    floor_ms: u64,
    seen: &Seen,
    trust_answers: bool,
) -> Vec<&'a LogEntry> {
    let mut guids = BTreeSet::new();
    let mut wanted: Vec<&LogEntry> = page
        .entries
        .iter()
        .filter(|entry| entry.delivered_at_ms >= floor_ms)
        .filter(|entry| is_wanted(entry, seen, trust_answers))
        .filter(|entry| guids.insert(entry.guid.as_str()))
        .collect();
    wanted.sort_by_key(|entry| (rank(entry), entry.delivered_at_ms, entry.id));
    wanted
}

/// Whether an entry has to be fetched. The log is read newest first, so an
/// attempt that was answered is met before the failed one before it.
fn is_wanted(entry: &LogEntry, seen: &Seen, trust_answers: bool) -> bool {
    let Some(key) = intake::delivery_key(&entry.guid) else {
        return false;
    };
    if !intake::is_of_use(&entry.event, entry.action.as_deref()) {
        return false;
    }
    if trust_answers && entry.is_answered() {
        seen.insert(key);
    }
    !seen.contains(key)
}

/// In which order a page is taken: what ended first, so that no sled starts
/// for a job that is over, then those that wait, the longest first.
fn rank(entry: &LogEntry) -> u8 {
    match entry.action.as_deref() {
        Some("completed") => 0,
        Some("in_progress") => 1,
        Some(_) | None => 2,
    }
}

/// GitHub answers a cursor that it does not know with 400 or 422.
fn is_stale_cursor(error: &GithubError) -> bool {
    matches!(error, GithubError::Status(status) if matches!(status.status, 400 | 404 | 422))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_logs_are_kept() {
        #[track_caller]
        fn check(api_url: &str, days: u64) {
            assert_eq!(kept_ms(api_url), days * DAY_MS, "{api_url}");
        }
        check("https://api.github.com", 3);
        check("https://api.github.com/", 3);
        check("https://api.octo.ghe.com", 3);
        check("https://github.example.org/api/v3", 7);
        check("https://ghe.com.example.org/api/v3", 7);
        check("http://127.0.0.1:9400", 7);
    }

    #[test]
    fn a_payload_is_tried_three_times() {
        let mut tries = Tries::default();
        assert_eq!(
            [1, 1, 2, 2, 2].map(|id| tries.are_over(id)),
            [false, false, false, false, true]
        );
    }
}
