//! How pools share sleds: what the operator declares besides labels and images.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use messages::Millis;

/// Where a pool's runners are registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MintScope {
    /// At the pool's own scope. GitHub gives a runner of an organisation any
    /// job that fits, so shares and caps of repositories are advisory.
    #[default]
    Pool,
    /// At the repository of the job it is started for: shares and caps bind.
    Repository,
}

/// A pool's share of what there is. Stored with the pool: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPolicy {
    /// Where its runners are registered.
    pub mint_scope: MintScope,
    /// Takes jobs that several pools fit and none fits best.
    pub default: bool,
    /// Who goes first where pools share sleds: higher is earlier. A job that
    /// waits raises its pool's by one in each [`AGEING_MS`].
    pub priority: i16,
    /// So many of its sleds are kept for it, whatever other pools want.
    pub min_sleds: u32,
    /// It uses at most so many sleds at a time.
    pub max_sleds: Option<u32>,
    /// One repository uses at most so many of them at a time.
    pub max_per_repository: Option<u32>,
    /// Repositories (`owner/name`, lower case) whose share is not 1.
    pub weights: Vec<(String, u32)>,
    /// Sleds booted and wiped ahead of demand.
    pub warm: WarmPolicy,
    /// So often a job is run again at GitHub when its sled failed it.
    pub max_reruns: u32,
}

/// Sleds booted and wiped ahead of demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmPolicy {
    /// How many, outside every window.
    pub count: u32,
    /// How many at certain times.
    pub windows: Vec<WarmWindow>,
    /// So many more at most, as many as jobs came within [`WarmPolicy::idle_ms`].
    pub follow: u32,
    /// One that got no job for this long is powered off.
    pub idle_ms: u64,
    /// One that is older than this is recycled: its image and its proof age.
    pub max_age_ms: u64,
}

/// A time of the week, in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmWindow {
    /// Bit 0 is Monday.
    pub days: u8,
    /// First minute of the day.
    pub from_minute: u16,
    /// First minute that is not part of it.
    pub to_minute: u16,
    /// How many sleds.
    pub count: u32,
}

impl Default for PoolPolicy {
    fn default() -> Self {
        Self {
            mint_scope: MintScope::Pool,
            default: false,
            priority: 0,
            min_sleds: 0,
            max_sleds: None,
            max_per_repository: None,
            weights: Vec::new(),
            warm: WarmPolicy::default(),
            max_reruns: 0,
        }
    }
}

impl Default for WarmPolicy {
    fn default() -> Self {
        Self {
            count: 0,
            windows: Vec::new(),
            follow: 0,
            idle_ms: 15 * 60 * 1000,
            max_age_ms: 4 * 60 * 60 * 1000,
        }
    }
}

/// A waiting job raises its pool's priority by one in this time.
pub const AGEING_MS: u64 = 60_000;

impl PoolPolicy {
    /// The share of a repository beside the others that wait.
    #[must_use]
    pub fn weight(&self, repository: &str) -> u32 {
        self.weights
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(repository))
            .map_or(1, |(_, weight)| (*weight).max(1))
    }

    /// Its priority while its oldest job waits since `oldest`.
    #[must_use]
    pub fn priority_now(&self, oldest: Millis, now: Millis) -> i64 {
        let aged = i64::try_from(now.since(oldest) / AGEING_MS).unwrap_or(i64::MAX);
        i64::from(self.priority).saturating_add(aged)
    }
}

impl WarmPolicy {
    /// How many sleds are to be warm at `now`, apart from [`WarmPolicy::follow`].
    #[must_use]
    pub fn count_at(&self, now: Millis) -> u32 {
        const DAY_MINUTES: u64 = 24 * 60;
        let minutes = now.0 / 60_000;
        // The epoch was a Thursday.
        let day = (minutes / DAY_MINUTES + 3) % 7;
        let minute = minutes % DAY_MINUTES;
        self.windows
            .iter()
            .filter(|window| {
                window.days & (1 << day) != 0
                    && (u64::from(window.from_minute)..u64::from(window.to_minute))
                        .contains(&minute)
            })
            .map(|window| window.count)
            .max()
            .unwrap_or(self.count)
    }
}

/// What people want of a sled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Duty {
    /// It serves its pools.
    #[default]
    InService,
    /// Its boot goes on to its end; it gets no other.
    Drained {
        /// Since when.
        since: Millis,
    },
    /// Drained, and nothing is said of its power: people work on it.
    Maintenance {
        /// Since when.
        since: Millis,
        /// What for.
        reason: String,
    },
}

/// How long the stages of a sled's good boots took, newest last, in
/// milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTimes {
    /// From the claim to power on.
    pub power_on: Vec<u32>,
    /// From power on to the agent.
    pub netboot: Vec<u32>,
    /// From the agent to the end of the wipe.
    pub wipe: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn windows_are_times_of_the_week() {
        let policy = WarmPolicy {
            count: 1,
            windows: vec![WarmWindow {
                days: 0b001_1111,
                from_minute: 8 * 60,
                to_minute: 18 * 60,
                count: 4,
            }],
            ..WarmPolicy::default()
        };
        let check = |day: u64, hour: u64, expect: u32| {
            // 2026-11-16 was a Monday.
            let monday = 1_794_787_200_000;
            let at = Millis(monday + (day * 24 + hour) * 3_600_000);
            assert_eq!(policy.count_at(at), expect, "day {day} hour {hour}");
        };
        check(0, 7, 1);
        check(0, 8, 4);
        check(4, 17, 4);
        check(4, 18, 1);
        check(5, 10, 1);
        check(6, 10, 1);
    }

    #[test]
    fn waiting_raises_a_priority() {
        let policy = PoolPolicy {
            priority: -2,
            ..PoolPolicy::default()
        };
        assert_eq!(policy.priority_now(Millis(0), Millis(0)), -2);
        assert_eq!(policy.priority_now(Millis(0), Millis(5 * AGEING_MS)), 3);
    }

    #[test]
    fn repositories_weigh_one_unless_told() {
        let policy = PoolPolicy {
            weights: vec![("octo/app".into(), 3), ("octo/none".into(), 0)],
            ..PoolPolicy::default()
        };
        assert_eq!(policy.weight("Octo/App"), 3);
        assert_eq!(policy.weight("octo/none"), 1);
        assert_eq!(policy.weight("octo/else"), 1);
    }
}
