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
    /// The runner's archive comes with one bit changed.
    SpoiltArchive,
    /// The runner's archive breaks off in the middle.
    CutArchive,
    /// The runner's archive says that it has a tebibyte.
    HugeArchive,
}

impl Trouble {
    fn is_of_archives(self) -> bool {
        matches!(
            self,
            Self::SpoiltArchive | Self::CutArchive | Self::HugeArchive
        )
    }
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
        let fits = |fault: &Fault| {
            let here = match fault.path.as_deref() {
                Some(part) => path.contains(part),
                None => !path.starts_with("/_"),
            };
            let method = fault.method.as_deref().is_none_or(|it| it == method);
            here && method && !fault.trouble.is_of_archives()
        };
        self.take_fault(fits)
    }

    /// What strikes this archive.
    pub fn strike_archive(&mut self) -> Option<Trouble> {
        self.take_fault(|fault| fault.trouble.is_of_archives())
    }

    fn take_fault(&mut self, fits: impl Fn(&Fault) -> bool) -> Option<Trouble> {
        let mut faults = self.faults.iter_mut();
        let fault = faults.find(|fault| fault.times > 0 && fits(fault))?;
        fault.times -= 1;
        let trouble = fault.trouble;
        self.faults.retain(|fault| fault.times > 0);
        Some(trouble)
    }
}
