//! A driver whose word is checked: after a command the power is read until it
//! shows, the command is given again where that can do no harm, and a BMC
//! whose words and readings deny each other is reported as just that.
//!
//! It withholds nothing and decides nothing: what a contradiction means for a
//! sled is `control`'s business.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::{PowerError, Target};
use super::switch::Power;
use super::{Driver, PowerReading, Switched};

/// How a driver's word is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How often a command is given, at most. One where giving it again could
    /// toggle.
    pub commands: u32,
    /// How long a command may take to show.
    pub settle: Duration,
    /// Pause between two readings.
    pub poll: Duration,
    /// How long a machine that read as off may not read as on without having
    /// been told.
    pub hold: Duration,
    /// How long a cycle stays off: supplies need seconds to drain.
    pub off_time: Duration,
}

impl Default for Proof {
    fn default() -> Self {
        Self {
            commands: 2,
            // sushy-tools takes up to 11 s, and some BMCs not less.
            settle: Duration::from_secs(15),
            poll: Duration::from_millis(500),
            hold: Duration::from_secs(30),
            off_time: Duration::from_secs(5),
        }
    }
}

/// What reads and switches power.
pub trait Means {
    /// Whose power it is.
    fn target(&self) -> Target;

    /// How its word is checked.
    fn proof(&self) -> Proof;

    /// As [`Driver::read`].
    fn read(&mut self) -> impl Future<Output = Result<PowerReading, PowerError>> + Send;

    /// As [`Driver::power_on`] and [`Driver::power_off`].
    fn set(&mut self, power: Power) -> impl Future<Output = Result<Switched, PowerError>> + Send;
}

/// A driver whose word is checked.
pub struct Checked<D = Driver> {
    means: D,
    proof: Proof,
    /// When it read as off last, unless it was told to switch on since.
    off_at: Option<Instant>,
}

impl<D: Means> Checked<D> {
    /// Checks what `means` says, as its kind wants it. Sends nothing yet.
    pub fn new(means: D) -> Self {
        let proof = means.proof();
        Self::with_proof(means, proof)
    }

    /// Checks what `means` says in this way.
    pub fn with_proof(means: D, proof: Proof) -> Self {
        Self {
            means,
            proof,
            off_at: None,
        }
    }

    /// The driver itself, for what needs no check.
    pub fn means(&mut self) -> &mut D {
        &mut self.means
    }

    /// Whether the sled has power.
    ///
    /// # Errors
    /// When the driver cannot find out; [`PowerError::Flipped`] when what was
    /// off is on, and was not told to be.
    pub async fn read(&mut self) -> Result<PowerReading, PowerError> {
        let reading = self.means.read().await?;
        let now = Instant::now();
        match reading {
            PowerReading::Off => self.off_at = Some(now),
            PowerReading::On => {
                if let Some(off_at) = self.off_at.take()
                    && now - off_at <= self.proof.hold
                {
                    return Err(PowerError::Flipped {
                        target: self.means.target(),
                        after_ms: (now - off_at).as_millis(),
                    });
                }
            }
            PowerReading::Dark | PowerReading::Unknown => {}
        }
        Ok(reading)
    }

    /// Switches the sled on, unless it is on, and sees that it is. Where
    /// nobody can see, the command's acceptance must do.
    ///
    /// # Errors
    /// When it could not be switched, or nobody knows whether it was;
    /// [`PowerError::Ignored`] when it was accepted and does not show.
    pub async fn power_on(&mut self) -> Result<Switched, PowerError> {
        self.off_at = None;
        self.switch(Power::On).await
    }

    /// Switches the sled off, unless it is off, and sees that it is. Where
    /// nobody can see, the command's acceptance must do.
    ///
    /// # Errors
    /// As [`Checked::power_on`].
    pub async fn power_off(&mut self) -> Result<Switched, PowerError> {
        self.switch(Power::Off).await
    }

    /// Off, a pause, on, each of which is seen; a sled that is off is only
    /// switched on. Dropping the future in between leaves the sled off.
    ///
    /// Never a BMC's own power cycle: until that has switched on again, "off"
    /// is no proof of off.
    ///
    /// # Errors
    /// As [`Checked::power_on`].
    pub async fn cycle(&mut self) -> Result<(), PowerError> {
        if self.power_off().await? == Switched::Commanded {
            sleep(self.proof.off_time).await;
        }
        self.power_on().await.map(drop)
    }

    async fn switch(&mut self, power: Power) -> Result<Switched, PowerError> {
        let proof = self.proof;
        let wanted = match power {
            Power::On => PowerReading::On,
            Power::Off => PowerReading::Off,
        };
        let start = Instant::now();
        let mut first = None;
        let mut last = Ok(PowerReading::Unknown);
        let mut tries = 0;
        while tries < proof.commands.max(1) {
            if self.means.set(power).await? == Switched::AlreadySo && tries == 0 {
                return Ok(Switched::AlreadySo);
            }
            tries += 1;
            let end = Instant::now() + proof.settle;
            loop {
                last = self.means.read().await;
                match &last {
                    Ok(PowerReading::Unknown) => return Ok(Switched::Commanded),
                    Ok(reading) if *reading == wanted => {
                        if power == Power::Off {
                            self.off_at = Some(Instant::now());
                        }
                        return Ok(Switched::Commanded);
                    }
                    Ok(reading) => drop(first.get_or_insert(*reading)),
                    // A BMC may be silent while it switches.
                    Err(_) => {}
                }
                if Instant::now() >= end {
                    break;
                }
                sleep(proof.poll).await;
            }
        }
        let last = last?;
        Err(PowerError::Ignored {
            target: self.means.target(),
            told: power,
            tries,
            first: first.unwrap_or(last),
            last,
            after_ms: start.elapsed().as_millis(),
        })
    }
}

impl Means for Driver {
    fn target(&self) -> Target {
        Self::target(self)
    }

    fn proof(&self) -> Proof {
        Self::proof(self)
    }

    async fn read(&mut self) -> Result<PowerReading, PowerError> {
        Self::read(self).await
    }

    async fn set(&mut self, power: Power) -> Result<Switched, PowerError> {
        match power {
            Power::On => self.power_on().await,
            Power::Off => self.power_off().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::PowerReading::{Off, On, Unknown};
    use super::*;
    use crate::power::PowerErrorKind;

    /// A BMC with a script of readings; the last one stays. `None` is silence.
    struct Script {
        readings: VecDeque<Option<PowerReading>>,
        told: Vec<Power>,
    }

    impl Script {
        fn next(&mut self) -> Result<PowerReading, PowerError> {
            let reading = match self.readings.len() {
                0 => None,
                1 => self.readings[0],
                _ => self.readings.pop_front().unwrap(),
            };
            reading.ok_or_else(|| PowerError::Random {
                target: self.target(),
                detail: "silence".to_owned(),
            })
        }
    }

    impl Means for Script {
        fn target(&self) -> Target {
            Target::new("script", Some("sled-01".to_owned()))
        }

        fn proof(&self) -> Proof {
            Proof::default()
        }

        async fn read(&mut self) -> Result<PowerReading, PowerError> {
            self.next()
        }

        async fn set(&mut self, power: Power) -> Result<Switched, PowerError> {
            let wanted = if power == Power::On { On } else { Off };
            if self.next()? == wanted {
                return Ok(Switched::AlreadySo);
            }
            self.told.push(power);
            Ok(Switched::Commanded)
        }
    }

    fn script(readings: &[Option<PowerReading>]) -> Checked<Script> {
        Checked::new(Script {
            readings: readings.iter().copied().collect(),
            told: Vec::new(),
        })
    }

    type Outcome = Result<Switched, PowerErrorKind>;

    /// Time is virtual: what must wait costs nothing.
    async fn check(
        power: Power,
        readings: &[Option<PowerReading>],
        expect: Outcome,
        told: usize,
    ) -> Option<PowerError> {
        let mut checked = script(readings);
        let outcome = match power {
            Power::On => checked.power_on().await,
            Power::Off => checked.power_off().await,
        };
        let kind = outcome.as_ref().map(|done| *done).map_err(PowerError::kind);
        assert_eq!(kind, expect, "{power:?} {readings:?}");
        assert_eq!(checked.means.told, vec![power; told], "{readings:?}");
        outcome.err()
    }

    #[tokio::test(start_paused = true)]
    async fn an_honest_bmc_is_told_once() {
        let done = Ok(Switched::Commanded);
        check(Power::On, &[Some(On)], Ok(Switched::AlreadySo), 0).await;
        check(Power::On, &[Some(Off), Some(On)], done, 1).await;
        check(Power::Off, &[Some(On), Some(Off)], done, 1).await;
        // Slow, or silent while it switches.
        let mut slow = vec![Some(Off); 20];
        slow.push(Some(On));
        check(Power::On, &slow, done, 1).await;
        check(Power::Off, &[Some(On), None, None, Some(Off)], done, 1).await;
        // Nobody can see.
        check(Power::On, &[Some(Unknown)], done, 1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_show_is_told_again_and_then_reported() {
        let contradiction = Err(PowerErrorKind::Contradiction);
        let error = check(Power::Off, &[Some(On)], contradiction, 2).await;
        let text = error.unwrap().to_string();
        let start = "sled sled-01, script: told to switch off 2 times, and accepted it each time, \
                     yet it reads on, then on, 30000 ms later";
        assert!(text.starts_with(start), "{text}");
        check(Power::On, &[Some(Off)], contradiction, 2).await;
        // The second command shows.
        let mut late = vec![Some(On); 34];
        late.push(Some(Off));
        check(Power::Off, &late, Ok(Switched::Commanded), 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn death_in_the_middle_proves_nothing() {
        check(Power::Off, &[Some(On), None], Err(PowerErrorKind::Local), 1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_toggle_is_told_once() {
        let mut checked = script(&[Some(On)]);
        checked.proof.commands = 1;
        let error = checked.power_off().await.unwrap_err();
        assert!(
            matches!(error, PowerError::Ignored { tries: 1, .. }),
            "{error}"
        );
        assert_eq!(checked.means.told, [Power::Off]);
    }

    #[tokio::test(start_paused = true)]
    async fn off_that_turns_on_by_itself_is_reported_once() {
        let mut checked = script(&[Some(On), Some(Off), Some(On)]);
        checked.power_off().await.unwrap();
        tokio::time::advance(Duration::from_secs(5)).await;
        let error = checked.read().await.unwrap_err();
        assert_eq!(error.kind(), PowerErrorKind::Contradiction);
        assert!(error.to_string().contains("5000 ms later on"), "{error}");
        assert_eq!(checked.read().await.unwrap(), On);
        // Later, a person may have pressed the button.
        let mut checked = script(&[Some(Off), Some(On)]);
        assert_eq!(checked.read().await.unwrap(), Off);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(checked.read().await.unwrap(), On);
        // And what we switched on may well be on.
        let mut checked = script(&[Some(Off), Some(Off), Some(On)]);
        assert_eq!(checked.read().await.unwrap(), Off);
        checked.power_on().await.unwrap();
        assert_eq!(checked.read().await.unwrap(), On);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cycle_is_seen_off_and_pauses() {
        let mut checked = script(&[Some(On), Some(On), Some(Off), Some(Off), Some(On)]);
        let start = Instant::now();
        checked.cycle().await.unwrap();
        assert_eq!(checked.means.told, [Power::Off, Power::On]);
        assert!(start.elapsed() >= Proof::default().off_time);
    }
}
