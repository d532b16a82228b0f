//! Processor time of this thread: what others do on the machine does not count
//! as ours, but for the caches they share with us.

use rustix::time::{ClockId, clock_gettime};

/// A moment, by `CLOCK_THREAD_CPUTIME_ID` of clock_gettime(2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTime(u64);

impl CpuTime {
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Self(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0))
    }

    pub(crate) fn elapsed_ns(self) -> u64 {
        Self::now().0.saturating_sub(self.0)
    }

    #[allow(clippy::cast_precision_loss)] // far below 2^52
    pub(crate) fn elapsed_s(self) -> f64 {
        self.elapsed_ns() as f64 / 1e9
    }
}
