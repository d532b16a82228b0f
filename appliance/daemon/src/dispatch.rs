//! Carries out effects: power on tasks of their sleds, GitHub on its client's
//! threads, signatures here. It translates and reports; it decides nothing.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use control::{DispatchedRun, Effect, GithubFailure, JobAnswer, Outcome, PowerFailure, Scope};
use messages::{BootId, EffectId, Generation, HubId, JobId, RunnerId, SignedReceipt, SledId};
use protocols::rmcp::Firmware;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use crate::{
    agents::Wakers,
    console::{self, SerialDevice, Source},
    engine::{Clock, Dispatch, Engine, report},
    github::{self, ErrorKind, GithubClient, GithubError},
    intake::{self, job_report},
    keys::ReceiptKey,
    power::{Driver, PowerError, PowerErrorKind, PowerReading},
    vault::Vault,
};

mod desk;
mod metering;
mod mint;
mod settings;
mod work;

pub use desk::{DeskError, PowerDesk};
use mint::{Entrances, Minting};
use work::{Course, Work};

/// Questions that may wait for one sled's driver.
const ERRANDS: usize = 4;

/// Commands that may wait for one sled's driver.
const POWER_QUEUE: usize = 16;

/// Directory of jobs below the runner's own: GitHub's default.
const WORK_FOLDER: &str = "_work";

/// What effects are carried out with.
pub struct Dispatcher {
    shared: Arc<Shared>,
    drivers: BTreeMap<SledId, PowerQueue>,
    desk: PowerDesk,
    runtime: Handle,
}

/// The way to one sled's driver.
struct PowerQueue {
    commands: mpsc::Sender<PowerCommand>,
    /// A reading waits in it: a second one would tell nothing more.
    reads: Arc<AtomicBool>,
}

struct Shared {
    engine: Engine,
    clock: Clock,
    vault: Vault,
    wakers: Wakers,
    receipts: Arc<ReceiptKey>,
    hubs: BTreeMap<HubId, GithubClient>,
    entrances: Entrances,
}

enum PowerCommand {
    On {
        id: EffectId,
        /// `None` when a person wants it on.
        boot: Option<BootId>,
        generation: Generation,
    },
    Off {
        id: EffectId,
        generation: Generation,
    },
    Read {
        generation: Generation,
    },
    Facts {
        generation: Generation,
    },
}

/// What a dispatcher is built from.
pub struct DispatchConfig {
    /// Where outcomes go.
    pub engine: Engine,
    /// The appliance's time.
    pub clock: Clock,
    /// Identities of runners.
    pub vault: Vault,
    /// Agents that wait.
    pub wakers: Wakers,
    /// Signs receipts.
    pub receipts: Arc<ReceiptKey>,
    /// GitHub clients by App.
    pub hubs: BTreeMap<HubId, GithubClient>,
    /// Power drivers by sled.
    pub drivers: Vec<(SledId, Driver)>,
    /// Serial lines of this machine, by the sled that speaks on them.
    pub serial: BTreeMap<SledId, SerialDevice>,
    /// Where consoles are recorded.
    pub logs: PathBuf,
}

impl DispatchConfig {
    /// Starts one task per sled. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(self) -> Dispatcher {
        let shared = Arc::new(Shared {
            engine: self.engine,
            clock: self.clock,
            vault: self.vault,
            wakers: self.wakers,
            receipts: self.receipts,
            hubs: self.hubs,
            entrances: Entrances::default(),
        });
        let mut serial = self.serial;
        let (mut drivers, mut desk) = (BTreeMap::new(), PowerDesk::default());
        for (sled, driver) in self.drivers {
            let (commands, incoming) = mpsc::channel(POWER_QUEUE);
            let reads = Arc::new(AtomicBool::new(false));
            let (errands, asked) = mpsc::channel(ERRANDS);
            let (boot, boots) = watch::channel(None);
            let queue = PowerQueue {
                commands,
                reads: Arc::clone(&reads),
            };
            drivers.insert(sled, queue);
            desk.add(sled, errands);
            let source = match serial.remove(&sled) {
                Some(device) => Some(Source::Device(device)),
                None => driver.console_source().map(Box::new).map(Source::Bmc),
            };
            if let Some(source) = source {
                let name = driver.target().sled().unwrap_or("(no sled)").to_owned();
                tokio::spawn(console::record(name, source, self.logs.clone(), boots));
            }
            let work = Work {
                sled,
                commands: incoming,
                asked,
                reads,
                boot,
                course: Course::default(),
            };
            tokio::spawn(work.drive(Arc::clone(&shared), driver));
        }
        Dispatcher {
            desk,
            shared,
            drivers,
            runtime: Handle::current(),
        }
    }
}

impl Dispatch for Dispatcher {
    fn begin(&self, id: EffectId, effect: &Effect) {
        tracing::debug!(effect = effect.name(), id = id.0, "begin");
        match effect {
            Effect::PowerOn {
                sled,
                boot,
                generation,
            } => {
                self.power(
                    *sled,
                    PowerCommand::On {
                        id,
                        boot: Some(*boot),
                        generation: *generation,
                    },
                );
            }
            Effect::PowerOnByHand { sled, generation } => {
                self.power(
                    *sled,
                    PowerCommand::On {
                        id,
                        boot: None,
                        generation: *generation,
                    },
                );
            }
            Effect::PowerOff { sled, generation } => {
                self.power(
                    *sled,
                    PowerCommand::Off {
                        id,
                        generation: *generation,
                    },
                );
            }
            Effect::SignReceipt {
                sequence: _,
                digest,
            } => {
                let signature = self
                    .shared
                    .receipts
                    .sign(&SignedReceipt::signed_hash(digest));
                self.spawn_report(id, async move { Outcome::Signed(signature) });
            }
            Effect::Mint {
                hub,
                scope,
                name,
                labels,
                boot,
            } => {
                let minting = Minting {
                    hub: *hub,
                    scope: scope.clone(),
                    name: name.clone(),
                    labels: labels.clone(),
                    boot: *boot,
                };
                let shared = Arc::clone(&self.shared);
                self.spawn_report(
                    id,
                    async move { Outcome::Minted(shared.mint(minting).await) },
                );
            }
            Effect::DeleteRunner {
                hub,
                scope,
                name,
                id: runner,
                boot,
            } => {
                // Nobody is to have it any more, and nobody may ever ask.
                self.shared.vault.forget_runner(*boot, name);
                let (shared, hub, scope, name, runner) = (
                    Arc::clone(&self.shared),
                    *hub,
                    scope.clone(),
                    name.clone(),
                    *runner,
                );
                self.spawn_report(id, async move {
                    Outcome::Deleted(shared.delete(hub, &scope, name, runner).await)
                });
            }
            Effect::RerunJob {
                job, repository, ..
            } => {
                let (shared, job, repository) =
                    (Arc::clone(&self.shared), *job, repository.to_string());
                self.spawn_report(id, async move {
                    Outcome::Rerun(shared.rerun(job, repository).await)
                });
            }
            Effect::DispatchWorkflow {
                hub,
                boot: _,
                repository,
                workflow,
                reference,
                inputs,
            } => {
                let dispatch = github::Dispatch {
                    repository: repository.clone(),
                    workflow: workflow.clone(),
                    git_ref: reference.clone(),
                    inputs: inputs.iter().cloned().collect(),
                };
                let (shared, hub) = (Arc::clone(&self.shared), *hub);
                self.spawn_report(id, async move {
                    Outcome::Dispatched(shared.dispatch(hub, dispatch).await)
                });
            }
            Effect::LookUpJob { job, repository } => {
                let (shared, job, repository) =
                    (Arc::clone(&self.shared), *job, repository.to_string());
                self.spawn_report(id, async move {
                    Outcome::LookedUp(shared.look_up(job, repository).await)
                });
            }
        }
    }

    fn read_power(&self, sled: SledId, generation: Generation) {
        let waits = |queue: &PowerQueue| queue.reads.swap(true, Ordering::AcqRel);
        if !self.drivers.get(&sled).is_some_and(waits) {
            self.power(sled, PowerCommand::Read { generation });
        }
    }

    fn read_facts(&self, sled: SledId, generation: Generation) {
        self.power(sled, PowerCommand::Facts { generation });
    }

    fn wake(&self, boot: BootId) {
        self.shared.wakers.wake(boot);
    }
}

impl Dispatcher {
    /// The way for people's questions to drivers.
    #[must_use]
    pub fn desk(&self) -> PowerDesk {
        self.desk.clone()
    }

    fn spawn_report(&self, id: EffectId, outcome: impl Future<Output = Outcome> + Send + 'static) {
        let engine = self.shared.engine.clone();
        self.runtime
            .spawn(async move { report(&engine, id, outcome.await).await });
    }

    /// Queues a command for a sled's driver. What does not fit is answered as
    /// a failure, so that it is tried again; a reading is asked for again anyway.
    fn power(&self, sled: SledId, command: PowerCommand) {
        let (command, permanent) = match self.drivers.get(&sled) {
            Some(queue) => match queue.commands.try_send(command) {
                Ok(()) => return,
                Err(
                    mpsc::error::TrySendError::Full(command)
                    | mpsc::error::TrySendError::Closed(command),
                ) => (command, false),
            },
            None => (command, true),
        };
        let failure = PowerFailure {
            permanent,
            contradiction: false,
            message: if permanent {
                "this sled has no power driver: add its power settings to the inventory".to_owned()
            } else {
                "its power driver is busy".to_owned()
            },
        };
        match command {
            PowerCommand::On { id, .. } => {
                self.spawn_report(id, async move { Outcome::PoweredOn(Err(failure)) });
            }
            PowerCommand::Off { id, .. } => {
                self.spawn_report(id, async move { Outcome::PoweredOff(Err(failure)) });
            }
            PowerCommand::Read { .. } => {
                if let Some(queue) = self.drivers.get(&sled) {
                    queue.reads.store(false, Ordering::Release);
                }
            }
            // The core asks again.
            PowerCommand::Facts { .. } => {}
        }
    }
}

const fn reading(reading: PowerReading) -> control::PowerReading {
    match reading {
        PowerReading::On => control::PowerReading::On,
        PowerReading::Off => control::PowerReading::Off,
        PowerReading::Dark => control::PowerReading::Dark,
        PowerReading::Unknown => control::PowerReading::Unknown,
    }
}

fn power_failure(error: PowerError) -> PowerFailure {
    let permanent = matches!(
        error.kind(),
        PowerErrorKind::WrongPassword | PowerErrorKind::Unsupported | PowerErrorKind::Untrusted
    );
    PowerFailure {
        permanent,
        contradiction: error.kind() == PowerErrorKind::Contradiction,
        message: error.to_string(),
    }
}

impl Shared {
    /// Fences a power command at the last moment: it must still be in the
    /// outbox, and of the newest claim.
    async fn is_wanted(
        &self,
        sled: SledId,
        id: EffectId,
        generation: Generation,
        newest: Generation,
    ) -> bool {
        let current = self
            .engine
            .query(move |state, _| {
                state.is_pending(id) && state.generation(sled) == Some(generation)
            })
            .await;
        generation >= newest && current.unwrap_or(false)
    }

    /// Whether settings of the sled's controller were adopted, with which new
    /// ones are compared.
    async fn is_adopted(&self, sled: SledId) -> bool {
        let known = self
            .engine
            .query(move |state, _| state.bmc_facts(sled).is_some());
        known.await.unwrap_or(true)
    }

    /// The boot that the sled is on for, after a restart of ours.
    async fn live_boot(&self, sled: SledId) -> Option<BootId> {
        let known = self.engine.query(move |state, now| {
            let name = state.sled_name(sled)?.to_owned();
            let sleds = state.status(now, 0).sleds;
            let view = sleds.into_iter().find(|view| view.name == name)?;
            let boot = view.boot.filter(|boot| boot.outcome.is_none())?;
            Some(boot.id)
        });
        known.await.ok().flatten()
    }

    /// The firmware that the sled's agent reported last.
    async fn firmware(&self, sled: SledId) -> Firmware {
        let known = self
            .engine
            .query(move |state, _| state.firmware(sled))
            .await;
        match known.ok().flatten() {
            Some(messages::Firmware::Bios) => Firmware::Bios,
            Some(messages::Firmware::Uefi) | None => Firmware::Uefi,
        }
    }

    fn hub(&self, hub: HubId) -> Result<&GithubClient, GithubFailure> {
        self.hubs.get(&hub).ok_or_else(|| {
            GithubFailure::Refused(
                "its [[github]] entry is not in the configuration any more".to_owned(),
            )
        })
    }

    async fn delete(
        &self,
        hub: HubId,
        scope: &Scope,
        name: String,
        runner: Option<RunnerId>,
    ) -> Result<bool, GithubFailure> {
        let client = self.hub(hub)?;
        let scope = crate::github::Scope::of(scope).map_err(|error| github_failure(&error))?;
        let id = match runner {
            Some(id) => id.0,
            None => match client.find_runner(scope.clone(), name).await {
                Ok(Some(found)) => found.id,
                Ok(None) => return Ok(true),
                Err(error) => return Err(github_failure(&error)),
            },
        };
        match client.delete_runner(scope, id).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Invalid => Ok(false),
            Err(error) => Err(github_failure(&error)),
        }
    }

    async fn rerun(&self, job: JobId, repository: String) -> Result<(), GithubFailure> {
        let client = self.hub(job.hub)?;
        client
            .rerun_job(repository, job.number)
            .await
            .map_err(|error| github_failure(&error))
    }

    async fn dispatch(
        &self,
        hub: HubId,
        dispatch: github::Dispatch,
    ) -> Result<Option<DispatchedRun>, GithubFailure> {
        let client = self.hub(hub)?;
        let run = client
            .dispatch_workflow(dispatch)
            .await
            .map_err(|error| github_failure(&error))?;
        Ok(run.map(|run| DispatchedRun {
            id: run.id,
            page: intake::page(Some(&run.html_url)),
        }))
    }

    async fn look_up(&self, job: JobId, repository: String) -> Result<JobAnswer, GithubFailure> {
        let client = self.hub(job.hub)?;
        match client.find_job(repository, job.number).await {
            Ok(Some(found)) => Ok(JobAnswer::Report(Box::new(job_report(&found)))),
            Ok(None) => Ok(JobAnswer::Gone),
            Err(error) => Err(github_failure(&error)),
        }
    }
}

fn github_failure(error: &GithubError) -> GithubFailure {
    match error.kind() {
        ErrorKind::Conflict => GithubFailure::Conflict,
        ErrorKind::RateLimited { retry_after_ms } => GithubFailure::RateLimited(retry_after_ms),
        ErrorKind::Unavailable => GithubFailure::Unavailable(error.to_string()),
        ErrorKind::Permission
        | ErrorKind::NotFound
        | ErrorKind::Invalid
        | ErrorKind::Unauthorized => GithubFailure::Refused(error.to_string()),
    }
}
