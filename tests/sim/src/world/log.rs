//! GitHub's delivery log and the two shells that make up for what did not
//! arrive: the reader of the log and the sweep of what waits and runs. What
//! the reader wants next is its own business ([`LogReader`]); the world plays
//! GitHub's answers, some of which are lost, and the time they take.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use control::{DeliveryResult, Event, JobAction, JobReport, Source};
use messages::DeliveryKey;

use super::{Happening, SECOND, Step, World, replay::Loss};
use crate::{
    engine::Asker,
    faults::Fault,
    github::{HUB, Progress},
    random::Random,
    replay::{LogEntry, LogPage, LogReader},
};

/// Entries on a page ("List deliveries for an app webhook", GitHub docs).
const PER_PAGE: usize = 100;
/// GitHub gives an attempt this long before it counts as failed.
const ATTEMPT: u64 = 10 * SECOND;
/// How long the daemon waits for an answer.
const DEADLINE: u64 = 15 * SECOND;
/// Of deliveries that are lost, in thousandths, those that GitHub forgets.
const IN_NO_LOG: u64 = 5;

/// What the reader does next.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// Goes on: begins when that is due, asks for the next page.
    On,
    /// It has a page.
    Page(Option<String>),
    /// It has payloads; after these the answer to one more was lost.
    Fetched(Vec<usize>, bool),
    /// An answer was lost: after a wait, the page again.
    Failed,
    /// It has waited.
    Again,
}

/// The log and its reader.
pub(super) struct Log {
    pub(super) reader: Box<dyn LogReader>,
    sweep_ms: u64,
    random: Random,
    entries: BTreeMap<(u64, u64), (LogEntry, usize)>,
    attempts: u64,
    due: u64,
    busy: bool,
    failures: u32,
    page: Option<LogPage>,
    wanted: VecDeque<usize>,
    /// Submitted and not answered yet.
    under_way: usize,
    /// The page has to be read again.
    spoiled: bool,
    swept: BTreeSet<DeliveryKey>,
}

impl Log {
    pub(super) fn new(reader: Box<dyn LogReader>, random: Random, sweep_ms: u64) -> Self {
        Self {
            reader,
            sweep_ms,
            random,
            entries: BTreeMap::new(),
            attempts: 0,
            due: 0,
            busy: false,
            failures: 0,
            page: None,
            wanted: VecDeque::new(),
            under_way: 0,
            spoiled: false,
            swept: BTreeSet::new(),
        }
    }

    /// The newest entries, or those older than the one at a cursor.
    fn page(&self, at: Option<&str>) -> LogPage {
        let mut older = self.entries.values().rev().map(|(entry, _)| entry);
        if let Some(at) = at {
            let last = older.find(|entry| entry.id.to_string() == at);
            debug_assert!(last.is_some(), "a cursor that was given stays");
        }
        let entries: Vec<LogEntry> = older.by_ref().take(PER_PAGE).cloned().collect();
        let next = older.next().and(entries.last());
        LogPage {
            next: next.map(|last| last.id.to_string()),
            entries,
        }
    }
}

impl World {
    /// The shells start.
    pub(super) fn begin_reading(&mut self) {
        self.at(SECOND, Happening::Log(Next::On));
        // What the log holds comes from there.
        if let Some(replay) = self.replay.as_ref() {
            self.at(replay.log.sweep_ms, Happening::Sweep);
        }
    }

    /// GitHub begins to send a delivery: once or twice, maybe late, maybe
    /// into nothing.
    pub(super) fn send(&mut self, index: usize) {
        let mut waits = vec![self.random.between(50, 1500)];
        let mut lost = self.faults.strikes(Fault::Drop);
        let late = self.faults.strikes(Fault::Reorder);
        let double = self.faults.strikes(Fault::Double);
        let Some(replay) = self.replay.as_mut() else {
            return;
        };
        if late {
            waits = vec![self.random.between(5 * SECOND, 160 * SECOND)];
            replay.counts.reordered += u64::from(!lost);
        }
        if double && !lost {
            waits.push(self.random.between(50, 30 * SECOND));
            replay.counts.doubled += 1;
        }
        for wait in waits {
            let began = self.now + wait;
            let took = if lost { ATTEMPT } else { 0 };
            self.at(wait + took, Happening::Attempt { index, began, lost });
            lost = false;
        }
    }

    /// An attempt ended, and GitHub writes that down.
    pub(super) fn attempt(&mut self, index: usize, began: u64, lost: bool) -> Step {
        let in_outage = began < self.tunnel_out_until;
        if !lost && !in_outage {
            self.deliver(index, Source::Tunnel)?;
        }
        let Some(replay) = self.replay.as_mut() else {
            return Ok(());
        };
        let arrived = self.github.deliveries[index].acknowledged;
        let fails = lost || in_outage;
        if fails && !arrived {
            let loss = Loss {
                due: began,
                in_outage,
                known: None,
            };
            replay.losses.entry(index).or_insert(loss);
        }
        if lost && replay.log.random.chance(IN_NO_LOG) {
            replay.counts.in_no_log += 1;
            return Ok(());
        }
        let delivery = &self.github.deliveries[index];
        let log = &mut replay.log;
        log.attempts += 1;
        let entry = LogEntry {
            id: log.attempts,
            guid: delivery.key.0,
            delivered_at_ms: began,
            status_code: if fails { 502 } else { 200 },
            action: word(delivery.report.action),
        };
        log.entries.insert((began, log.attempts), (entry, index));
        Ok(())
    }

    /// A call of GitHub's API by a shell: how long it takes, and whether its
    /// answer is lost.
    fn call(&mut self) -> (u64, bool) {
        let wait = self.random.between(100, SECOND);
        let lost = self.faults.strikes(Fault::Api);
        if let Some(replay) = self.replay.as_mut() {
            replay.counts.calls += 1;
            replay.counts.calls_lost += u64::from(lost);
        }
        (if lost { DEADLINE } else { wait }, lost)
    }

    /// The reader's next step.
    pub(super) fn log(&mut self, next: Next) -> Step {
        match next {
            Next::On => self.read_on(),
            Next::Page(at) => self.has_page(at.as_deref()),
            Next::Fetched(payloads, spoiled) => return self.has_payloads(&payloads, spoiled),
            Next::Failed => self.back_off(),
            Next::Again => {
                if let Some(replay) = self.replay.as_mut() {
                    replay.log.busy = false;
                }
                self.read_on();
            }
        }
        Ok(())
    }

    fn read_on(&mut self) {
        let now = self.now;
        let Some(log) = self.replay.as_mut().map(|replay| &mut replay.log) else {
            return;
        };
        if log.busy {
            return;
        }
        let mut alarm = None;
        if now >= log.due {
            log.reader.begin();
            alarm = Some(log.reader.pace_ms());
            log.due = now + log.reader.pace_ms();
        }
        let page = log.reader.next_page();
        log.busy = page.is_some();
        if let Some(wait) = alarm {
            self.at(wait, Happening::Log(Next::On));
        }
        if let Some(at) = page {
            let (wait, lost) = self.call();
            let next = if lost { Next::Failed } else { Next::Page(at) };
            self.at(wait, Happening::Log(next));
        }
    }

    fn has_page(&mut self, at: Option<&str>) {
        let Some(log) = self.replay.as_mut().map(|replay| &mut replay.log) else {
            return;
        };
        let page = log.page(at);
        let wanted = log.reader.wanted(&page);
        let index = |id: &u64| {
            let mut entries = log.entries.values().rev();
            entries.find(|(entry, _)| entry.id == *id)
        };
        log.wanted = wanted
            .iter()
            .filter_map(index)
            .map(|(_, index)| *index)
            .collect();
        log.page = Some(page);
        self.fetch();
    }

    /// The next payloads of a page, or the next page.
    fn fetch(&mut self) {
        let Some(log) = self.replay.as_mut().map(|replay| &mut replay.log) else {
            return;
        };
        let count = log.reader.at_once().min(log.wanted.len());
        let payloads: Vec<usize> = log.wanted.drain(..count).collect();
        if payloads.is_empty() {
            if let Some(page) = log.page.take() {
                log.reader.settled(&page);
            }
            log.failures = 0;
            log.busy = false;
            return self.read_on();
        }
        let mut longest = 0;
        let mut came = Vec::new();
        let mut spoiled = false;
        for payload in payloads {
            let (wait, lost) = self.call();
            longest = longest.max(wait);
            spoiled |= lost;
            if !spoiled {
                came.push(payload);
            }
        }
        self.at(longest, Happening::Log(Next::Fetched(came, spoiled)));
    }

    fn has_payloads(&mut self, payloads: &[usize], spoiled: bool) -> Step {
        let Some(log) = self.replay.as_mut().map(|replay| &mut replay.log) else {
            return Ok(());
        };
        log.under_way = payloads.len();
        log.spoiled = spoiled;
        for payload in payloads {
            self.deliver(*payload, Source::DeliveryLog)?;
        }
        self.go_on_when_taken();
        Ok(())
    }

    fn go_on_when_taken(&mut self) {
        let Some(log) = self.replay.as_mut().map(|replay| &mut replay.log) else {
            return;
        };
        if log.under_way > 0 || !log.busy || log.page.is_none() {
            return;
        }
        if log.spoiled {
            self.back_off();
        } else {
            self.fetch();
        }
    }

    fn back_off(&mut self) {
        let Some(log) = self.replay.as_mut().map(|replay| &mut replay.log) else {
            return;
        };
        log.page = None;
        log.wanted.clear();
        let (least, most) = log.reader.backoff_ms();
        let whole = (least << log.failures.min(20)).min(most);
        log.failures += 1;
        let wait = log.random.between(whole / 2, whole);
        self.at(wait, Happening::Log(Next::Again));
    }

    /// The core answered a delivery.
    pub(super) fn taken_in(&mut self, index: usize, source: Source, result: DeliveryResult) {
        let now = self.now;
        let key = self.github.deliveries[index].key;
        let Some(replay) = self.replay.as_mut() else {
            return;
        };
        let full = result == DeliveryResult::Full;
        if let Some(loss) = replay.losses.get_mut(&index).filter(|_| !full) {
            loss.known.get_or_insert(now);
        }
        if source == Source::DeliveryLog {
            if !full {
                replay.log.reader.taken(key.0);
            }
            replay.log.spoiled |= full;
            replay.log.under_way = replay.log.under_way.saturating_sub(1);
            self.go_on_when_taken();
        }
    }

    /// The sweep asks for the runs that wait or run, and for their jobs.
    pub(super) fn sweep(&mut self) -> Step {
        let Some(pause) = self.replay.as_ref().map(|replay| replay.log.sweep_ms) else {
            return Ok(());
        };
        self.at(pause, Happening::Sweep);
        let mut runs: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for job in self.github.jobs.values() {
            if job.progress != Progress::Completed {
                runs.entry(job.run).or_default().push(job.number);
            }
        }
        let (mut passed, lost) = self.call();
        if lost {
            return Ok(());
        }
        for numbers in runs.values() {
            let (wait, lost) = self.call();
            passed += wait;
            if lost {
                continue;
            }
            for number in numbers {
                // As it stands when it is asked for; it is told of later.
                if let Some(report) = self.github.report(*number) {
                    let report = Box::new(report);
                    self.at(passed, Happening::Swept { report });
                }
            }
        }
        Ok(())
    }

    /// The sweep tells of a job, once for each state.
    pub(super) fn found(&mut self, report: Box<JobReport>) -> Step {
        let (number, attempt, action) = (report.number, report.run_attempt, report.action);
        let Some(replay) = self.replay.as_mut() else {
            return Ok(());
        };
        // A key of its own for each: the highest bit tells it from a GUID here.
        let status = action as u128;
        let key = 1 << 127 | u128::from(number) << 40 | u128::from(attempt) << 8 | status;
        let key = DeliveryKey(key);
        if !replay.log.swept.insert(key) {
            return Ok(());
        }
        let event = Event::Delivery {
            key,
            hub: HUB,
            source: Source::Sweep,
            hook: control::Hook::Job(report),
        };
        self.submit(event, Asker::Nobody);
        Ok(())
    }
}

const fn word(action: JobAction) -> &'static str {
    match action {
        JobAction::Queued => "queued",
        JobAction::Waiting => "waiting",
        JobAction::InProgress => "in_progress",
        JobAction::Completed => "completed",
    }
}
