//! The task of one sled's driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use control::{Event, Outcome, PoweredOn};
use messages::{BootId, EffectId, Generation, SledId};
use protocols::rmcp::Firmware;
use tokio::sync::{mpsc, watch};

use super::desk::Errand;
use super::metering::Metering;
use super::{PowerCommand, Shared, power_failure, reading, settings};
use crate::engine::{Clock, report};
use crate::power::{Checked, Driver, PowerError, PowerReading, Switched, Watts};

/// What comes to one sled's driver.
pub(super) struct Work {
    pub(super) sled: SledId,
    pub(super) commands: mpsc::Receiver<PowerCommand>,
    pub(super) asked: mpsc::Receiver<Errand>,
    pub(super) reads: Arc<AtomicBool>,
    /// The boot that it was last turned on for.
    pub(super) boot: watch::Sender<Option<BootId>>,
    pub(super) course: Course,
}

/// How far a sled's task has come.
#[derive(Default)]
pub(super) struct Course {
    newest: Generation,
    outage_settled: bool,
    metering: Metering,
}

impl Work {
    /// One sled's driver: commands and readings strictly in order, questions
    /// when nothing else waits. Its BMC's session is kept warm in between.
    pub(super) async fn drive(mut self, shared: Arc<Shared>, driver: Driver) {
        let mut driver = Checked::new(driver);
        let mut password_settled = false;
        if driver.means().has_controller() {
            let boot = shared.live_boot(self.sled).await;
            if boot.is_some() {
                self.course.metering.start();
            }
            self.boot.send_replace(boot);
        }
        loop {
            if !password_settled {
                password_settled = settings::settle_password(driver.means()).await;
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
                () = sleep_until(self.course.metering.due()) => {
                    self.meter(&shared, driver.means()).await;
                    continue;
                }
                () = sleep_until(warm_at) => {
                    driver.means().keep_warm().await;
                    continue;
                }
            };
            self.carry_out(&shared, &mut driver, command).await;
        }
        driver.means().close().await;
    }

    async fn meter(&mut self, shared: &Shared, driver: &mut Driver) {
        if let Some(Watts { now, meter }) = self.course.metering.read(driver).await {
            let event = Event::WattsRead {
                sled: self.sled,
                watts: now,
                meter,
            };
            drop(shared.engine.submit(event).await);
        }
    }

    /// The settings of a sled's controller. What we want of them is set when
    /// they are about to be adopted, and after that only once they were
    /// compared: whoever changed them shall show.
    async fn facts(&mut self, shared: &Shared, driver: &mut Driver, generation: Generation) {
        let sled = self.sled;
        let result = match shared.is_adopted(sled).await {
            true => driver.facts().await,
            false => match settings::prepare(driver).await {
                Ok(()) => {
                    self.course.outage_settled = true;
                    driver.facts().await
                }
                Err(error) => Err(error),
            },
        };
        let answers = result.is_ok();
        let result = result.map_err(power_failure);
        let event = Event::FactsRead {
            sled,
            generation,
            result,
        };
        drop(shared.engine.submit(event).await);
        if answers && !self.course.outage_settled {
            self.course.outage_settled = settings::keep_off_after_outage(driver).await.is_ok();
        }
    }

    async fn carry_out(&mut self, shared: &Shared, driver: &mut Checked, command: PowerCommand) {
        let sled = self.sled;
        match command {
            PowerCommand::Read { generation } => {
                self.reads.store(false, Ordering::Release);
                let result = driver.read().await;
                if let Ok(PowerReading::Off | PowerReading::Dark) = result {
                    self.course.metering.stop();
                }
                let result = result.map(reading).map_err(power_failure);
                let event = Event::PowerRead {
                    sled,
                    generation,
                    result,
                };
                drop(shared.engine.submit(event).await);
            }
            PowerCommand::Facts { generation } => {
                self.facts(shared, driver.means(), generation).await;
            }
            PowerCommand::On {
                id,
                boot,
                generation,
            } => {
                let wanted = self.is_wanted(shared, id, generation).await;
                let outcome = if wanted {
                    driver.means().claim(generation.0);
                    self.boot.send_replace(boot);
                    let firmware = match boot {
                        Some(_) => Some(shared.firmware(sled).await),
                        None => None,
                    };
                    let done = turn_on(driver, &shared.clock, firmware).await;
                    if boot.is_some() && done.is_ok() {
                        self.course.metering.start();
                    }
                    Outcome::PoweredOn(done.map_err(power_failure))
                } else {
                    Outcome::Stale
                };
                report(&shared.engine, id, outcome).await;
            }
            PowerCommand::Off { id, generation } => {
                let wanted = self.is_wanted(shared, id, generation).await;
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

impl Work {
    async fn is_wanted(&mut self, shared: &Shared, id: EffectId, generation: Generation) -> bool {
        let newest = generation.max(self.course.newest);
        self.course.newest = newest;
        shared.is_wanted(self.sled, id, generation, newest).await
    }
}

/// Never, where there is nothing to wait for.
async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
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
