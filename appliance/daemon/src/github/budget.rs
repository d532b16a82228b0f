//! How much GitHub lets one identity ask, and who may spend it.
//!
//! GitHub counts requests per hour and identity, and may ask for a pause. A
//! pause binds every call; while requests run low, only urgent calls go out,
//! so that sweeps and logs never starve minting. Counts nothing itself: what
//! it knows is what answers said (GitHub Docs, "Rate limits for the REST API").

use super::answer::Answer;
use super::status;

/// Whether a call may use what is kept for minting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A sled or a person waits for it.
    Urgent,
    /// Sweeps, logs, upkeep: later will do.
    Background,
}

/// One part in this many of the hourly requests is kept for urgent calls.
const KEPT_PART: u64 = 4;
/// Limits are per hour: no wait is longer.
const LONGEST_WAIT_MS: u64 = 3_600_000;

/// Why a call is not sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// GitHub asked for a pause.
    Pause {
        /// What is left of it.
        wait_ms: u64,
    },
    /// What is left of the hour is kept for urgent calls.
    Reserve {
        /// Until the hour ends.
        wait_ms: u64,
        /// Requests that are left.
        remaining: u64,
    },
}

impl Hold {
    /// Milliseconds to wait.
    pub fn wait_ms(&self) -> u64 {
        match self {
            Self::Pause { wait_ms } | Self::Reserve { wait_ms, .. } => *wait_ms,
        }
    }
}

/// What is known of one identity's limit.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Budget {
    paused_until_ms: u64,
    limit: u64,
    remaining: u64,
    /// When the hour ends; 0 where no limit was told.
    resets_at_ms: u64,
}

impl Budget {
    /// Whether a call has to wait, by GitHub's clock.
    pub(super) fn hold(&self, urgency: Urgency, now_ms: u64) -> Option<Hold> {
        let left_ms = |until_ms: u64| {
            let left_ms = until_ms.saturating_sub(now_ms).min(LONGEST_WAIT_MS);
            (left_ms > 0).then_some(left_ms)
        };
        if let Some(wait_ms) = left_ms(self.paused_until_ms) {
            return Some(Hold::Pause { wait_ms });
        }
        let wait_ms = left_ms(self.resets_at_ms)?;
        let low = self.remaining < self.limit.div_ceil(KEPT_PART);
        (low && urgency == Urgency::Background).then_some(Hold::Reserve {
            wait_ms,
            remaining: self.remaining,
        })
    }

    /// Takes in what an answer says.
    pub(super) fn learn(&mut self, answer: &Answer, now_ms: u64) {
        let head = &answer.head;
        if let (Some(limit), Some(remaining), Some(reset_s)) =
            (head.rate_limit, head.rate_remaining, head.rate_reset_s)
        {
            let resets_at_ms = reset_s.saturating_mul(1000);
            // Answers cross: within one hour requests only get fewer.
            let same_hour = resets_at_ms == self.resets_at_ms;
            self.remaining = match same_hour {
                true => remaining.min(self.remaining),
                false => remaining,
            };
            (self.limit, self.resets_at_ms) = (limit, resets_at_ms);
        }
        if let Some(wait_ms) = status::asked_to_wait_ms(answer, now_ms) {
            self.paused_until_ms = self.paused_until_ms.max(now_ms.saturating_add(wait_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Head;
    use super::*;
    use zeroize::Zeroizing;

    const NOW_MS: u64 = 1_000_000;

    fn answer(status: u16, remaining: u64, reset_s: u64, retry_after_s: Option<u64>) -> Answer {
        Answer {
            status,
            body: Zeroizing::default(),
            head: Head {
                rate_limit: Some(5_000),
                rate_remaining: Some(remaining),
                rate_reset_s: Some(reset_s),
                retry_after_s,
                ..Head::default()
            },
        }
    }

    #[test]
    fn what_is_left_is_kept_for_urgent_calls() {
        #[track_caller]
        fn check(answers: &[Answer], at_ms: u64, urgent: Option<Hold>, background: Option<Hold>) {
            let mut budget = Budget::default();
            for answer in answers {
                budget.learn(answer, NOW_MS);
            }
            assert_eq!(budget.hold(Urgency::Urgent, at_ms), urgent);
            assert_eq!(budget.hold(Urgency::Background, at_ms), background);
        }
        let reserve = |wait_ms, remaining| Some(Hold::Reserve { wait_ms, remaining });
        let pause = |wait_ms| Some(Hold::Pause { wait_ms });
        check(&[], NOW_MS, None, None);
        check(&[answer(200, 1_250, 2_000, None)], NOW_MS, None, None);
        let low = || answer(200, 1_249, 2_000, None);
        check(&[low()], NOW_MS, None, reserve(1_000_000, 1_249));
        check(&[low()], 2_000_000, None, None);
        // An older answer that comes late, then a new hour.
        let late = || answer(200, 4_000, 2_000, None);
        check(&[low(), late()], NOW_MS, None, reserve(1_000_000, 1_249));
        check(
            &[low(), answer(200, 4_999, 5_600, None)],
            NOW_MS,
            None,
            None,
        );
        // Secondary limits: nothing is sent until the pause is over.
        let secondary = || answer(403, 4_000, 2_000, Some(30));
        check(&[secondary()], NOW_MS, pause(30_000), pause(30_000));
        check(&[secondary()], NOW_MS + 29_999, pause(1), pause(1));
        check(&[secondary()], NOW_MS + 30_000, None, None);
        // A shorter pause does not end a longer one.
        let shorter = || answer(429, 4_000, 2_000, Some(1));
        check(
            &[secondary(), shorter()],
            NOW_MS + 2_000,
            pause(28_000),
            pause(28_000),
        );
        // The hour is used up.
        let used_up = || answer(403, 0, 1_090, None);
        check(&[used_up()], NOW_MS, pause(90_000), pause(90_000));
        // A clock gone wild holds nothing back for longer than an hour.
        check(
            &[answer(200, 0, u64::MAX, None)],
            NOW_MS,
            None,
            reserve(3_600_000, 0),
        );
    }
}
