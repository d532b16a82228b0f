//! GitHub's bad days: what strikes the next requests, as tests asked.

use serde::Deserialize;

use super::State;

/// Most faults that wait.
const MAX_FAULTS: usize = 100;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Trouble {
    /// Answered with this status, and not done.
    Status {
        /// HTTP status.
        status: u16,
    },
    /// Done, and answered late.
    Slow {
        /// How late.
        delay_ms: u64,
    },
    /// Done, and the connection closed instead of an answer.
    LostAnswer,
    /// Refused as by a secondary rate limit, and not done.
    SecondaryLimit {
        /// When to ask again.
        retry_after_s: u64,
    },
}

/// Trouble for the next requests that fit.
#[derive(Clone, Debug, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub trouble: Trouble,
    /// Upper-case method; any when absent.
    pub method: Option<String>,
    /// Part of the path; any when absent.
    pub path: Option<String>,
    /// How many requests.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

impl State {
    /// Adds a fault; false when too many wait.
    pub fn add_fault(&mut self, fault: Fault) -> bool {
        if self.faults.len() >= MAX_FAULTS {
            return false;
        }
        self.faults.push(fault);
        true
    }

    /// What strikes this request.
    pub fn strike(&mut self, method: &str, path: &str) -> Option<Trouble> {
        let fits = |fault: &&mut Fault| {
            fault.times > 0
                && fault.method.as_deref().is_none_or(|it| it == method)
                && fault.path.as_deref().is_none_or(|it| path.contains(it))
        };
        let fault = self.faults.iter_mut().find(fits)?;
        fault.times -= 1;
        let trouble = fault.trouble;
        self.faults.retain(|fault| fault.times > 0);
        Some(trouble)
    }
}
