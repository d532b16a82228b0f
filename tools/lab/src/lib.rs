//! The rack in software: QEMU sleds with persistent disks, each behind a BMC
//! simulator (OpenIPMI's `ipmi_sim`) that starts and stops it, on a bridge in
//! a network namespace of their own.
//!
//! The lab never touches the machine's own network, never stops a process
//! outside its namespace, and leaves nothing behind: when the process that
//! holds a [`Lab`] ends in whatever way, a warden process takes the rack down.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use musher_lab::{Firmware, Lab, LabConfig};
//! let mut config = LabConfig::new("/tmp/rack");
//! config.sleds = vec![Firmware::Bios.into(), Firmware::Uefi.into()];
//! let lab = Lab::up(&config)?;
//! for sled in lab.sleds() {
//!     println!("{} {} {}", sled.name, sled.mac, sled.bmc_address);
//! }
//! lab.command("ip").args(["address"]).status()?;
//! # Ok(()) }
//! ```

mod acceleration;
mod bmc;
pub mod chassis;
mod config;
mod direct;
pub mod keeper;
mod lab;
mod namespace;
mod process;
mod qemu;
mod record;
pub mod warden;

pub use acceleration::Acceleration;
pub use config::{DiskBus, Firmware, LabConfig, SledConfig};
pub use direct::{DirectBoot, DirectBootReport, direct_boot};
pub use lab::{Lab, SledStatus, take_down};
pub use namespace::Mode;
pub use record::LabSled;

/// The appliance's address on the sled network, with its prefix length.
pub const APPLIANCE_ADDRESS: &str = "10.77.0.1/24";
/// The bridge that stands for the provisioning switch.
pub const BRIDGE: &str = "br-sled";
