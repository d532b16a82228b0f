//! What levels mean, and where a sled's real power can be seen: a power LED,
//! a supply's "power good", an opto-coupler on 5 V.

use core::convert::Infallible;
use core::fmt;

use embedded_hal::digital::{InputPin, PinState};

use super::switch::{Power, Sensed};

/// The level that means "on".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// High is on.
    High,
    /// Low is on.
    Low,
}

impl Active {
    /// The level for `power`.
    #[must_use]
    pub fn level(self, power: Power) -> PinState {
        PinState::from((self == Self::High) == (power == Power::On))
    }

    /// Whether this level is on.
    #[must_use]
    pub fn is_on(self, high: bool) -> bool {
        high == (self == Self::High)
    }
}

/// Where a sled's real power state can be seen.
pub trait SenseLine {
    /// Error of reading it.
    type Error: fmt::Debug;

    /// What it says.
    ///
    /// # Errors
    /// When it cannot be read.
    fn sense(&mut self) -> Result<Sensed, Self::Error>;
}

/// No sense line: the state is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSense;

impl SenseLine for NoSense {
    type Error = Infallible;

    fn sense(&mut self) -> Result<Sensed, Infallible> {
        Ok(Sensed::Unknown)
    }
}

/// A sense line on an input pin.
#[derive(Debug)]
pub struct SensePin<I> {
    pin: I,
    active: Active,
}

impl<I> SensePin<I> {
    /// A line on `pin` that says "on" at level `active`.
    pub fn new(pin: I, active: Active) -> Self {
        Self { pin, active }
    }
}

impl<I: InputPin> SenseLine for SensePin<I> {
    type Error = I::Error;

    fn sense(&mut self) -> Result<Sensed, I::Error> {
        let on = self.active.is_on(self.pin.is_high()?);
        Ok(if on { Sensed::On } else { Sensed::Off })
    }
}
