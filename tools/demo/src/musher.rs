//! What the `musher` command prints with `--json`, as far as it is looked at.

use serde::{Deserialize, Serialize};

/// A job.
#[derive(Clone, Debug, Deserialize)]
pub struct JobView {
    /// GitHub's number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `queued`, `claimed`, `starting`, `running`, `completed`, `failed`, `cancelled`.
    pub state: String,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// GitHub's conclusion.
    pub conclusion: Option<String>,
    /// When its delivery was committed, in Unix milliseconds.
    pub delivered: u64,
    /// The boot that serves or served it.
    pub boot: Option<BootView>,
}

impl JobView {
    /// Whether GitHub said how it ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self.state.as_str(), "completed" | "failed" | "cancelled")
    }
}

/// A boot.
#[derive(Clone, Debug, Deserialize)]
pub struct BootView {
    /// Its number.
    pub id: u64,
    /// Its sled's name.
    pub sled: String,
    /// Where it stands, in the words of sled states.
    pub stage: String,
    /// When things happened.
    pub timeline: Timeline,
    /// The receipt's grade.
    pub assurance: String,
    /// `ran`, `unused` or `failed`, once that is known.
    pub outcome: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The job that GitHub bound to its runner.
    pub job: Option<u64>,
    /// The number of its receipt.
    pub receipt: Option<u64>,
}

/// When things happened in a boot, in Unix milliseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Timeline {
    /// The job's delivery was committed. The job knows it, not the boot.
    #[serde(default)]
    pub delivered: Option<u64>,
    /// The claim was granted.
    pub claimed: Option<u64>,
    /// The power command was accepted.
    pub power_on: Option<u64>,
    /// First DHCP request.
    pub dhcp: Option<u64>,
    /// First fetch of the kernel.
    pub kernel: Option<u64>,
    /// The agent's hello.
    pub agent: Option<u64>,
    /// The wipe report.
    pub wiped: Option<u64>,
    /// Ready for an order.
    pub ready: Option<u64>,
    /// The order was handed over.
    pub order: Option<u64>,
    /// The runner was started.
    pub running: Option<u64>,
    /// The runner ended.
    pub finished: Option<u64>,
    /// Power was read as off.
    pub off: Option<u64>,
}

impl Timeline {
    /// Its steps in order, by the names of the summary.
    #[must_use]
    pub fn steps(&self) -> [(&'static str, Option<u64>); 12] {
        [
            ("delivered", self.delivered),
            ("claimed", self.claimed),
            ("power_on", self.power_on),
            ("dhcp", self.dhcp),
            ("kernel", self.kernel),
            ("agent", self.agent),
            ("wiped", self.wiped),
            ("ready", self.ready),
            ("order", self.order),
            ("running", self.running),
            ("finished", self.finished),
            ("off", self.off),
        ]
    }
}

/// A sled.
#[derive(Clone, Debug, Deserialize)]
pub struct SledView {
    /// Its name.
    pub name: String,
    /// `Off`, `PoweringOn`, …
    pub state: String,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// Its present boot, or else its last one.
    pub boot: Option<BootView>,
    /// Failed boots in a row.
    pub failures: u32,
}
