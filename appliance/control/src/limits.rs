//! How long things may take and how often they may be tried.

/// Deadlines and bounds. Times are spans in milliseconds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the claim until power is proved on.
    pub power_on_ms: u64,
    /// From power on to the agent's hello: firmware self-test, netboot, kernel.
    pub netboot_ms: u64,
    /// From hello to the wipe report.
    pub wipe_ms: u64,
    /// A wiped sled waits this long for its runner to be minted.
    pub ready_ms: u64,
    /// From minting until the agent accepts the order (it fetches the image
    /// in between).
    pub accept_ms: u64,
    /// A started runner that GitHub names in no job is questioned after this.
    pub idle_ms: u64,
    /// After GitHub says the job completed, the runner may take this long to end.
    pub finish_ms: u64,
    /// An agent that runs a job and was not heard for this long is gone: it
    /// gives up by itself after an hour without an answer.
    pub silent_agent_ms: u64,
    /// A sled that was asked to power off is cut after this.
    pub power_off_ms: u64,
    /// A cut is repeated after this.
    pub cut_ms: u64,
    /// Cuts before the sled's power counts as unprovable.
    pub cuts: u32,
    /// Time between power readings while a sled is expected to go off.
    pub off_poll_ms: u64,
    /// Time between power readings otherwise.
    pub power_poll_ms: u64,
    /// Least time off before the next power on.
    pub off_dwell_ms: u64,
    /// Consecutive failed boots after which a sled is quarantined.
    pub failures: u32,
    /// First and largest wait before an effect is tried again.
    pub backoff_ms: (u64, u64),
    /// How long GitHub may stay silent about a job whose boot has ended.
    pub silence_ms: u64,
    /// How long delivery ids are remembered. GitHub's own log keeps them
    /// 3 days, GitHub Enterprise Server 7.
    pub delivery_memory_ms: u64,
    /// At most this many delivery ids are remembered.
    pub deliveries: usize,
    /// Ended jobs, and ended boots, kept for people to look at.
    pub history: usize,
    /// How long they are kept.
    pub history_ms: u64,
    /// Receipts kept, once exported; 0 keeps them all.
    pub receipts: u64,
    /// How long receipts are kept, once exported; 0 keeps them for ever.
    pub receipts_ms: u64,
    /// Jobs that may wait at once; more are refused until some leave.
    pub queue: usize,
    /// Bytes of runner log kept per boot.
    pub log_limit_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const SECOND: u64 = 1_000;
        const MINUTE: u64 = 60 * SECOND;
        const HOUR: u64 = 60 * MINUTE;
        Self {
            power_on_ms: 2 * MINUTE,
            netboot_ms: 10 * MINUTE,
            wipe_ms: 2 * HOUR,
            ready_ms: 10 * MINUTE,
            accept_ms: 10 * MINUTE,
            idle_ms: 5 * MINUTE,
            finish_ms: 5 * MINUTE,
            silent_agent_ms: 70 * MINUTE,
            power_off_ms: MINUTE,
            cut_ms: 20 * SECOND,
            cuts: 5,
            off_poll_ms: 2 * SECOND,
            power_poll_ms: 30 * SECOND,
            off_dwell_ms: 2 * SECOND,
            failures: 3,
            backoff_ms: (SECOND, MINUTE),
            silence_ms: MINUTE,
            delivery_memory_ms: 7 * 24 * HOUR,
            deliveries: 200_000,
            history: 1_000,
            history_ms: 90 * 24 * HOUR,
            receipts: 0,
            receipts_ms: 0,
            queue: 1_000_000,
            log_limit_bytes: 4 << 20,
        }
    }
}

impl Limits {
    /// Wait before try number `attempt` (from 1): doubled each time, bounded.
    #[must_use]
    pub fn backoff(&self, attempt: u32) -> u64 {
        let (first, largest) = self.backoff_ms;
        first
            .saturating_mul(1 << attempt.saturating_sub(1).min(20))
            .min(largest)
    }
}
