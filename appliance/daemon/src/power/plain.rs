//! Drivers that no BMC stands behind: a program, or lines of this machine. They
//! read power and cut it. What they turn on is a supply or a button, so a
//! machine that sleeps behind its supply may need a packet beside
//! ([`wol`](super::wol)).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::PowerReading;
use super::command::CommandDriver;
use super::error::{PowerError, Target};
use super::switch::{self, ErrorKind, Power, PowerSwitch, Sensed, Switched};
use super::truth::Proof;

/// No local switch takes longer: a press of another claim is waited for, its
/// effect too, then comes our own press and its effect.
const SWITCH_DEADLINE: Duration = Duration::from_secs(90);

/// A driver that no BMC stands behind.
pub enum Plain {
    /// A program of the operator's.
    Command(Box<CommandDriver>),
    /// Lines of this machine.
    Local(LocalSwitch),
}

/// A blocking switch, called on a thread where blocking is allowed.
pub struct LocalSwitch {
    target: Target,
    off_time: Duration,
    generation: u64,
    switch: Arc<Mutex<dyn Erased>>,
}

impl Plain {
    /// The driver for a program.
    #[must_use]
    pub fn command(driver: CommandDriver) -> Self {
        Self::Command(Box::new(driver))
    }

    /// The driver for a local switch; `off_time` is how long a cycle stays off.
    #[must_use]
    pub fn local<S>(switch: S, sled: Option<String>, off_time: Duration) -> Self
    where
        S: PowerSwitch + Send + 'static,
    {
        let (target, switch) = (Target::switch(sled), Arc::new(Mutex::new(switch)));
        Self::Local(LocalSwitch {
            target,
            off_time,
            generation: 0,
            switch,
        })
    }

    /// Whose power it is, for messages.
    #[must_use]
    pub fn target(&self) -> &Target {
        match self {
            Self::Command(command) => command.target(),
            Self::Local(local) => &local.target,
        }
    }

    /// How its word is checked.
    #[must_use]
    pub fn proof(&self) -> Proof {
        let usual = Proof::default();
        match self {
            Self::Command(_) => usual,
            // A second press of a button could undo the first.
            Self::Local(local) => Proof {
                commands: 1,
                off_time: local.off_time,
                ..usual
            },
        }
    }

    /// As [`Driver::claim`](super::Driver::claim).
    pub fn claim(&mut self, generation: u64) {
        if let Self::Local(local) = self {
            local.generation = generation;
        }
    }

    /// What the program or the sense line says.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn read(&self) -> Result<PowerReading, PowerError> {
        match self {
            Self::Command(command) => command.read().await,
            Self::Local(local) => local.read().await,
        }
    }

    /// Gives power or cuts it, unless that is so.
    ///
    /// # Errors
    /// When it could not be switched, or nobody knows whether it was.
    pub async fn set(&self, power: Power) -> Result<Switched, PowerError> {
        match self {
            Self::Command(command) => command.set(power).await,
            Self::Local(local) => local.set(power).await,
        }
    }
}

impl LocalSwitch {
    async fn read(&self) -> Result<PowerReading, PowerError> {
        let sensed = self
            .blocking("sense power", |switch| switch.sense())
            .await?;
        Ok(match sensed {
            Sensed::On => PowerReading::On,
            Sensed::Off => PowerReading::Off,
            Sensed::Dark => PowerReading::Dark,
            Sensed::Unknown => PowerReading::Unknown,
        })
    }

    async fn set(&self, power: Power) -> Result<Switched, PowerError> {
        let generation = self.generation;
        self.blocking("set power", move |switch| {
            switch.claim(generation);
            switch.set_power(power)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl FnOnce(&mut dyn Erased) -> Result<T, SwitchFault> + Send + 'static,
    ) -> Result<T, PowerError> {
        let switch = Arc::clone(&self.switch);
        let task = tokio::task::spawn_blocking(move || {
            // A panic inside of a pin driver leaves `commanded` unknown or
            // right, never wrong, so the lock may be used again.
            call(&mut *switch.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let fault = match tokio::time::timeout(SWITCH_DEADLINE, task).await {
            Ok(Ok(Ok(value))) => return Ok(value),
            Ok(Ok(Err(fault))) => fault,
            Ok(Err(_)) => SwitchFault::other("the pin driver panicked"),
            Err(_) => SwitchFault::other("the pin driver did not return in time"),
        };
        let SwitchFault { kind, detail } = fault;
        Err(PowerError::Switch {
            target: self.target.clone(),
            what,
            kind,
            detail,
        })
    }
}

/// [`PowerSwitch`] without its error type.
trait Erased: Send {
    fn set_power(&mut self, power: Power) -> Result<Switched, SwitchFault>;
    fn sense(&mut self) -> Result<Sensed, SwitchFault>;
    fn claim(&mut self, generation: u64);
}

struct SwitchFault {
    kind: ErrorKind,
    detail: String,
}

impl SwitchFault {
    fn other(detail: &str) -> Self {
        Self {
            kind: ErrorKind::Other,
            detail: detail.to_owned(),
        }
    }

    fn of(error: &impl switch::Error) -> Self {
        Self {
            kind: error.kind(),
            detail: error.detail(),
        }
    }
}

impl<S: PowerSwitch + Send> Erased for S {
    fn set_power(&mut self, power: Power) -> Result<Switched, SwitchFault> {
        PowerSwitch::set_power(self, power).map_err(|error| SwitchFault::of(&error))
    }

    fn sense(&mut self) -> Result<Sensed, SwitchFault> {
        PowerSwitch::sense(self).map_err(|error| SwitchFault::of(&error))
    }

    fn claim(&mut self, generation: u64) {
        PowerSwitch::claim(self, generation);
    }
}
