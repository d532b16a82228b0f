//! The task of one sled's driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use control::{Event, Outcome, PoweredOn};
use messages::{BootId, Generation, SledId};
use protocols::rmcp::Firmware;
use tokio::sync::{mpsc, watch};

use super::desk::Errand;
use super::{PowerCommand, Shared, power_failure, reading};
use crate::engine::{Clock, report};
use crate::power::{Checked, Driver, PowerError, PowerErrorKind, PowerReading, Settled, Switched};

/// What comes to one sled's driver.
pub(super) struct Work {
    pub(super) sled: SledId,
    pub(super) commands: mpsc::Receiver<PowerCommand>,
    pub(super) asked: mpsc::Receiver<Errand>,
    pub(super) reads: Arc<AtomicBool>,
    /// The boot that it was last turned on for.
    pub(super) boot: watch::Sender<Option<BootId>>,
}

impl Work {
    /// One sled's driver: commands and readings strictly in order, questions
    /// when nothing else waits. Its BMC's session is kept warm in between.
    pub(super) async fn drive(mut self, shared: Arc<Shared>, driver: Driver) {
        let mut driver = Checked::new(driver);
        let mut newest = Generation(0);
        let mut outage_settled = false;
        let mut password_settled = false;
        if driver.means().console_source().is_some() {
            self.boot.send_replace(shared.live_boot(self.sled).await);
        }
        loop {
            if !password_settled {
                password_settled = settle_password(driver.means()).await;
            }
            let warm_at = driver.means().keep_warm_at();
            let command = tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => command,
                    None => break,
                },
                Some(errand) = self.asked.recv() => {
                    errand(driver.means()).await;
                    continue;
                }
                () = sleep_until(warm_at) => {
                    driver.means().keep_warm().await;
                    continue;
                }
            };
            // What we set ourselves is no change of its settings.
            let reads = matches!(
                command,
                PowerCommand::Read { .. } | PowerCommand::Facts { .. }
            );
            if reads && !outage_settled {
                outage_settled = keep_off_after_outage(driver.means()).await;
            }
            self.carry_out(&shared, &mut driver, command, &mut newest)
                .await;
        }
        driver.means().close().await;
    }

    async fn carry_out(
        &self,
        shared: &Shared,
        driver: &mut Checked,
        command: PowerCommand,
        newest: &mut Generation,
    ) {
        let sled = self.sled;
        match command {
            PowerCommand::Read { generation } => {
                self.reads.store(false, Ordering::Release);
                let result = driver.read().await.map(reading).map_err(power_failure);
                let event = Event::PowerRead {
                    sled,
                    generation,
                    result,
                };
                drop(shared.engine.submit(event).await);
            }
            PowerCommand::Facts { generation } => {
                let result = driver.means().facts().await.map_err(power_failure);
                let event = Event::FactsRead {
                    sled,
                    generation,
                    result,
                };
                drop(shared.engine.submit(event).await);
            }
            PowerCommand::On {
                id,
                boot,
                generation,
            } => {
                *newest = generation.max(*newest);
                let wanted = shared.is_wanted(sled, id, generation, *newest).await;
                let outcome = if wanted {
                    driver.means().claim(generation.0);
                    self.boot.send_replace(boot);
                    let firmware = match boot {
                        Some(_) => Some(shared.firmware(sled).await),
                        None => None,
                    };
                    let done = turn_on(driver, &shared.clock, firmware).await;
                    Outcome::PoweredOn(done.map_err(power_failure))
                } else {
                    Outcome::Stale
                };
                report(&shared.engine, id, outcome).await;
            }
            PowerCommand::Off { id, generation } => {
                *newest = generation.max(*newest);
                let wanted = shared.is_wanted(sled, id, generation, *newest).await;
                let outcome = if wanted {
                    driver.means().claim(generation.0);
                    let done = driver.power_off().await;
                    Outcome::PoweredOff(done.map(drop).map_err(power_failure))
                } else {
                    Outcome::Stale
                };
                report(&shared.engine, id, outcome).await;
            }
        }
    }
}

/// Never, where there is nothing to wait for.
async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Once per start, before the BMC is asked anything else: a change of its
/// password may have been cut short. Whether that is settled: a BMC that does
/// not answer is asked again.
async fn settle_password(driver: &mut Driver) -> bool {
    match driver.settle_password().await {
        Ok(Settled::Kept) => true,
        Ok(Settled::Taken) => {
            tracing::info!(
                bmc = %driver.target(),
                "its password was being changed when Musher ended; the new one is in its file now"
            );
            true
        }
        Err(error) => {
            tracing::warn!(%error, "a change of its password was cut short");
            error.kind() != PowerErrorKind::Dead
        }
    }
}

/// Once per start: after an outage no sled shall start by itself. Whether that
/// is settled: a BMC that does not answer is asked again before its next
/// reading, one that refuses is not.
async fn keep_off_after_outage(driver: &mut Driver) -> bool {
    match driver.keep_off_after_outage().await {
        Ok(()) => true,
        Err(error) if error.kind() == PowerErrorKind::Dead => false,
        Err(error) => {
            tracing::warn!(%error, "this sled may start by itself after an outage");
            true
        }
    }
}

/// Turns a sled on; for a boot of ours, with its `firmware`, network boot is set
/// before, while it is off. A sled that is on already is left as it is: nothing
/// would be forced any more.
async fn turn_on(
    driver: &mut Checked,
    clock: &Clock,
    firmware: Option<Firmware>,
) -> Result<PoweredOn, PowerError> {
    if driver.read().await? == PowerReading::On {
        return Ok(PoweredOn {
            at: clock.now(),
            edge: false,
            override_confirmed: false,
        });
    }
    let override_confirmed = match firmware {
        Some(firmware) => driver.means().set_boot_pxe(firmware).await?.confirmed,
        None => false,
    };
    let at = clock.now();
    let switched = driver.power_on().await?;
    Ok(PoweredOn {
        at,
        edge: switched == Switched::Commanded,
        override_confirmed,
    })
}
