//! The traits in front of switches that are wired to this machine, in the
//! manner of embedded-hal: blocking, generic, errors with a common kind.
//! They say nothing about clocks or threads.

use core::convert::Infallible;
use core::fmt;

/// What to do with a sled's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Give it.
    On,
    /// Take it.
    Off,
}

impl Power {
    /// The opposite.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::On => Self::Off,
            Self::Off => Self::On,
        }
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// What a wish for on or off came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switched {
    /// It was so before; nothing was sent.
    AlreadySo,
    /// The command was given and accepted. Whether it took effect is for
    /// sensing to say.
    Commanded,
}

/// What a sense line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensed {
    /// The sled has power.
    On,
    /// The sled has none.
    Off,
    /// The sled has none, but the switch is closed: it may start by itself.
    Dark,
    /// There is no sense line, so nothing is known. Not the same as off, and
    /// not the same as what was commanded.
    Unknown,
}

/// An error of a switch.
pub trait Error: fmt::Debug {
    /// What kind of error it is, for code that knows no concrete switch.
    fn kind(&self) -> ErrorKind;

    /// What it says to people.
    fn detail(&self) -> String {
        format!("{self:?}")
    }
}

/// Kinds of switch errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The output could not be driven; its level is unknown.
    Drive,
    /// The sense line could not be read.
    Sense,
    /// The process that holds the lines does not answer.
    Holder,
    /// The sense line did not follow the command.
    NotFollowed,
    /// There is nothing that could cut the power.
    NoCut,
    /// Anything else.
    Other,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drive => "the output line cannot be driven",
            Self::Sense => "the sense line cannot be read",
            Self::Holder => "the line holder is out of reach",
            Self::NotFollowed => "the sled did not follow",
            Self::NoCut => "nothing can cut it",
            Self::Other => "the switch failed",
        })
    }
}

impl Error for Infallible {
    fn kind(&self) -> ErrorKind {
        match *self {}
    }
}

/// The error type of a switch.
pub trait ErrorType {
    /// Its error.
    type Error: Error;
}

impl<T: ErrorType + ?Sized> ErrorType for &mut T {
    type Error = T::Error;
}

/// A switch for one sled's power.
pub trait PowerSwitch: ErrorType {
    /// Drives the switch to `power`. When it is there already, nothing moves:
    /// not even an edge to the same level.
    ///
    /// # Errors
    /// When it cannot be driven; what was commanded is then unknown.
    fn set_power(&mut self, power: Power) -> Result<Switched, Self::Error>;

    /// What the switch was last driven to, if that is known.
    fn commanded(&self) -> Option<Power>;

    /// What the sled's own sense line says.
    ///
    /// # Errors
    /// When there is a line and it cannot be read.
    fn sense(&mut self) -> Result<Sensed, Self::Error>;

    /// Commands from now on are those of this claim. A switch behind a holder
    /// is refused when a newer claim has moved it.
    fn claim(&mut self, _generation: u64) {}
}

impl<T: PowerSwitch + ?Sized> PowerSwitch for &mut T {
    fn set_power(&mut self, power: Power) -> Result<Switched, Self::Error> {
        T::set_power(self, power)
    }

    fn commanded(&self) -> Option<Power> {
        T::commanded(self)
    }

    fn sense(&mut self) -> Result<Sensed, Self::Error> {
        T::sense(self)
    }

    fn claim(&mut self, generation: u64) {
        T::claim(self, generation);
    }
}
