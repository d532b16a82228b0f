//! Every decision of the appliance, as one deterministic state machine.
//!
//! [`step`] takes one [`Event`] and a time and changes the [`State`]; what must
//! happen in the world comes out as [`Effect`]s. The caller commits
//! [`State::drain_changes`] in one transaction, then answers, then dispatches
//! what [`State::due_effects`] lists. After a crash [`State::load`] restores
//! the committed rows and [`Event::Started`] settles what was under way.
//!
//! This crate never does IO, never reads a clock and never makes randomness:
//! time and entropy are arguments, so a run repeats exactly from its inputs.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod acceptance;
mod agents;
mod boots;
mod by_hand;
mod deliveries;
mod drift;
mod effect;
mod energy;
mod event;
mod explain;
mod facts;
#[cfg(test)]
mod golden;
mod holds;
mod index;
mod interner;
mod inventory;
mod jobs;
mod labels;
mod levers;
mod limits;
mod netboot;
mod orphans;
mod outage;
mod outcomes;
mod persist;
mod placement;
mod policy;
mod power;
mod receipts;
mod reruns;
mod restart;
mod retention;
mod rows;
mod runners;
mod schedule;
mod state;
mod step;
mod table;
mod view;

pub use acceptance::{Acceptance, AcceptanceSpec};
pub use by_hand::PowerAction;
pub use effect::{
    AgedReceipts, Audit, DispatchedRun, Effect, Effects, GithubFailure, JobAnswer, Outcome,
    PowerFailure, PowerReading, PoweredOn, Reply,
};
pub use event::{
    AgentReply, BootAnswer, BootFile, BootOffer, BootQuestion, DeliveryResult, Event, Hook,
    JobAction, JobReport, RunReport, Source,
};
pub use explain::Explanation;
pub use facts::{BmcFacts, Drift};
pub use inventory::{CircuitSpec, Inventory, InventoryError, PoolSpec, SledSpec};
pub use labels::Labels;
pub use levers::Lever;
pub use limits::Limits;
pub use orphans::{ListedRunner, runner_prefix};
pub use persist::{Change, LoadError, TableId};
pub use policy::{AGEING_MS, Duty, MintScope, PoolPolicy, StageTimes, WarmPolicy, WarmWindow};
pub use rows::{
    Boot, BootImage, BootStage, Circuit, Conclusion, Hub, Job, JobState, Pending, Pool, Power,
    Runner, Scope, Sled, Timeline, Withheld,
};
pub use state::State;
pub use step::step;
pub use view::{AcceptanceView, BootView, JobView, PoolView, SledView, StatusView};
