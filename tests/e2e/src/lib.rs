//! The whole chain, driven through binaries only: what the tests share.
//!
//! Nothing here links the appliance or looks into its store. A test sees what
//! an operator, GitHub, a BMC or a disk would see.

mod delivery;
mod http;
mod hub;
mod image;
mod standalone;
mod summary;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use musher_demo::{JobView, PowerEvent, Rig, RigConfig, wait_for};
use musher_lab::SledConfig;

pub use delivery::workflow_job;
pub use http::{Answer, Request, exchange, exchange_at, send_slowly, sign};
pub use hub::Hub;
pub use image::holds;
pub use standalone::{Standalone, free_port, program, secret};
pub use summary::good_summary;

/// Time for one job from delivery to receipt, on a slow and busy machine.
pub const JOB_LIMIT: Duration = Duration::from_secs(240);
/// How often a fleeting stage is looked for.
const GLANCE: Duration = Duration::from_millis(40);

/// What a rig of this test is made of; its files go to `target/e2e/NAME`.
///
/// # Errors
/// Programs that are not built.
pub fn rig_config(name: &str, sleds: Vec<SledConfig>) -> Result<RigConfig> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e");
    RigConfig::new(target.join(name), sleds)
}

/// Waits until GitHub said how a job ended, and its boot has its receipt: the
/// sled is then proved off.
///
/// # Errors
/// It takes too long; the message says how the job stood.
pub fn wait_for_end(rig: &Rig, job: u64) -> Result<JobView> {
    let mut last = None;
    let done = wait_for(&format!("the end of job {job}"), JOB_LIMIT, || {
        last = rig.job(job)?;
        Ok(last.clone().filter(|view| {
            view.ended() && view.boot.as_ref().is_none_or(|boot| boot.receipt.is_some())
        }))
    });
    done.map_err(|error| error.context(format!("job stood at {last:?}")))
}

/// Waits until the boot of a job is seen in a stage.
///
/// # Errors
/// It takes too long, or the job ends before.
pub fn wait_for_stage(rig: &Rig, job: u64, stage: &str) -> Result<JobView> {
    let start = std::time::Instant::now();
    loop {
        let view = rig.job(job)?;
        if let Some(view) = &view {
            if view.boot.as_ref().is_some_and(|boot| boot.stage == stage) {
                return Ok(view.clone());
            }
            anyhow::ensure!(!view.ended(), "{stage} was never seen of {view:?}");
        }
        anyhow::ensure!(start.elapsed() < JOB_LIMIT, "no {stage} in time: {view:?}");
        std::thread::sleep(GLANCE);
    }
}

/// What a sled's BMC was told about power, and what its machine did, without
/// times and boot devices.
///
/// # Errors
/// The log cannot be read.
pub fn power_edges(rig: &Rig, sled: &str) -> Result<Vec<PowerEvent>> {
    let boot_device = |event: &PowerEvent| matches!(event, PowerEvent::Command(text) if text.starts_with("boot "));
    let log = rig.power_log(sled)?;
    Ok(log
        .into_iter()
        .map(|line| line.event)
        .filter(|event| !boot_device(event))
        .collect())
}
