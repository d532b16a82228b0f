//! What is built wrong on purpose, to prove that the checks can fail.

use clap::ValueEnum;

/// A defect put into the harness's engine or world, to prove that the checks
/// can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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
