//! What goes wrong in one world, and what is built wrong on purpose.

use crate::random::Random;

/// How often each thing goes wrong, in 1,000.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// The appliance crashes at a turn of its engine.
    pub(crate) crash: u64,
    /// A transaction cannot be stored.
    pub(crate) store: u64,
    /// A message or answer between sled and appliance is lost.
    pub(crate) lose: u64,
    /// A BMC command fails or its answer is lost.
    pub(crate) bmc: u64,
    /// A BMC does not answer at all for a while (at each command).
    pub(crate) bmc_out: u64,
    /// A sled is switched on or off by hand (at each minute).
    pub(crate) hand: u64,
    /// A sled's agent or firmware dies at a stage.
    pub(crate) die: u64,
    /// A runner hangs after its job.
    pub(crate) hang: u64,
    /// A wipe leaves data behind.
    pub(crate) unclean: u64,
    /// Somebody forges agent messages (at each minute).
    pub(crate) forge: u64,
    /// A delivery is dropped, doubled or late.
    pub(crate) delivery: u64,
    /// GitHub's answer is lost, comes late, or is an error.
    pub(crate) api: u64,
    /// A job is cancelled (while queued or running).
    pub(crate) cancel: u64,
    /// A runner that is not ours takes a job.
    pub(crate) steal: u64,
    /// The operator changes the inventory (at each minute).
    pub(crate) operator: u64,
}

impl Faults {
    /// Draws a mix: each kind is absent in some worlds and heavy in others.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut level = |heavy: u64| match random.below(4) {
            0 | 1 => 0,
            2 => heavy.div_ceil(5),
            _ => heavy,
        };
        Self {
            crash: level(25),
            store: level(15),
            lose: level(200),
            bmc: level(150),
            bmc_out: level(15),
            hand: level(60),
            die: level(80),
            hang: level(120),
            unclean: level(60),
            forge: level(250),
            delivery: level(250),
            api: level(250),
            cancel: level(250),
            steal: level(250),
            operator: level(60),
        }
    }
}

/// A defect put into the harness's engine or world, to prove that the checks
/// can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Deliveries are answered before they are committed.
    AnswerBeforeCommit,
    /// Rows of one table do not reach the disk.
    LoseRows,
    /// Delivery ids do not reach the disk.
    ForgetDeliveryIds,
    /// The driver takes effects of older claims, and sees some twice.
    NoFence,
    /// A minting is sent twice, and GitHub takes the name twice.
    MintTwice,
    /// The appliance turns every sled off when it starts.
    RestartToggles,
    /// Any key may speak for a ticket.
    AnyKey,
    /// An agent's report of its wipe is made up.
    ForgedWipe,
    /// An order goes to whoever polls.
    AnyOrder,
    /// A receipt does not reach the disk.
    LoseReceipt,
    /// The BMC reads as off while the sled is on.
    ReadsOff,
    /// Deleting a runner is only pretended.
    KeepRunners,
    /// Time is not told to the core any more after a while.
    NoTicks,
    /// The engine turns again at once, for ever.
    Spin,
}
