//! Ways through which deliveries reach an appliance that nobody can reach: a
//! tunnel program that is kept running, or an event-stream channel.
//!
//! Neither is trusted: what comes through is verified like anything else.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use messages::Millis;
use serde::Serialize;

pub mod command;
pub mod smee;

/// Lines of a tunnel program that are kept.
const LINES: usize = 20;
/// Most bytes of such a line.
const LINE_BYTES: usize = 300;

/// How a tunnel does, for people.
#[derive(Clone, Debug, Serialize)]
pub struct TunnelView {
    /// `down`, `starting` or `up`.
    pub state: &'static str,
    /// Since when, in Unix milliseconds.
    pub since: Option<Millis>,
    /// How often it had to be started again.
    pub restarts: u64,
    /// Why it ended last.
    pub problem: Option<String>,
    /// What it said last.
    pub lines: VecDeque<String>,
}

/// What a tunnel tells others of itself.
#[derive(Debug)]
pub struct TunnelShared(Mutex<TunnelView>);

impl Default for TunnelShared {
    fn default() -> Self {
        Self(Mutex::new(TunnelView {
            state: "starting",
            since: None,
            restarts: 0,
            problem: None,
            lines: VecDeque::new(),
        }))
    }
}

impl TunnelShared {
    /// How it does.
    #[must_use]
    pub fn view(&self) -> TunnelView {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut TunnelView)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn up(&self, now: Millis) {
        self.change(|view| {
            view.state = "up";
            view.since = Some(now);
            view.problem = None;
        });
    }

    fn down(&self, now: Millis, problem: String) {
        self.change(|view| {
            view.state = "down";
            view.since = Some(now);
            view.restarts += 1;
            view.problem = Some(problem);
        });
    }

    fn said(&self, line: String) {
        self.change(|view| {
            if view.lines.len() == LINES {
                view.lines.pop_front();
            }
            view.lines.push_back(line);
        });
    }
}

/// Text from outside, fit for one line of a log.
fn one_line(bytes: &[u8]) -> String {
    crate::github::one_line(&String::from_utf8_lossy(bytes))
}
