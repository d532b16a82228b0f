//! The whole chain on one machine: the lab's QEMU sleds, the GitHub stand-in
//! and Musher, each as the program that it is, in one network namespace.
//!
//! [`Rig`] brings them up for the demo and for the end-to-end tests. It drives
//! programs and reads what they print and write; it never links the appliance
//! and never looks into its store.

mod files;
pub mod forward;
mod hub;
mod musher;
mod power_log;
mod rig;
mod ssh;
mod uplink;

pub use files::{Deadlines, Github, RUNNER_LABELS, RealGithub, Way};
pub use hub::HubJob;
pub use musher::{BootView, JobView, SledView, Timeline};
pub use power_log::{PowerEvent, PowerLine};
pub use rig::{Rig, RigConfig, wait_for};

/// The repository that every job of a rig belongs to.
pub const REPOSITORY: &str = "octo-org/demo";
