//! Growing waits between tries, spread so that many who failed together do
//! not come back together.

use std::time::Duration;

/// Waits that double from the least to the most.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// No failure so far.
    #[must_use]
    pub const fn new(least: Duration, most: Duration) -> Self {
        Self {
            least,
            most,
            failures: 0,
        }
    }

    /// After a success.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure.
    pub fn failed(&mut self) -> Duration {
        self.wait(getrandom::u32().unwrap_or(u32::MAX))
    }

    /// Between half and all of the doubled wait, by `random`.
    fn wait(&mut self, random: u32) -> Duration {
        let doubled = self.least.saturating_mul(1 << self.failures.min(30));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(self.most);
        whole / 2 + (whole / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(60));
        let waits: Vec<u64> = (0..8).map(|_| backoff.wait(u32::MAX).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.wait(0), seconds(30));
        backoff.failures = u32::MAX;
        assert_eq!(backoff.wait(u32::MAX), seconds(60));
        backoff.reset();
        assert_eq!(backoff.wait(u32::MAX), seconds(1));
    }
}
