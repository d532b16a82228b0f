//! Lines of this machine as embedded-hal pins that are taken over as they are:
//! opening one moves nothing, and an output that nobody has driven yet stays
//! undriven until the first order.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use embedded_hal::digital::{self, ErrorKind, ErrorType, InputPin, OutputPin, PinState};

use super::hold::HoldPin;
use super::lines::{LineSpec, Place, Usage};
use expander::{Expander, ExpanderPin};
use kernel::KernelPin;
use smbus::Smbus;

pub mod expander;
mod kernel;
mod smbus;

/// Why a pin cannot be opened, moved or read: the operation, and what the
/// kernel or the bus said.
#[derive(Clone, PartialEq, Eq)]
pub struct PinError(pub(super) String);

impl PinError {
    fn new(what: &str, error: &dyn fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

impl fmt::Debug for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PinError {}

impl digital::Error for PinError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// A line of this machine.
pub enum LinuxPin {
    /// Of a GPIO chip of the kernel.
    Kernel(KernelPin),
    /// Of an expander on an I2C bus.
    Expander(ExpanderPin<Smbus>),
}

/// Lines that are open, each with its description.
pub type OpenLines = Vec<(LineSpec, LinuxPin)>;

/// Opens every line of a map, as it is. The second value keeps other holders
/// off the buses for as long as it lives.
///
/// # Errors
/// The first line that cannot be opened, by name: it is missing, or somebody
/// else holds it.
pub fn open<'a>(
    lines: impl Iterator<Item = &'a LineSpec>,
) -> Result<(OpenLines, Vec<File>), PinError> {
    let mut expanders: BTreeMap<(PathBuf, u8), Expander<Smbus>> = BTreeMap::new();
    let mut buses: BTreeMap<PathBuf, File> = BTreeMap::new();
    let mut open = Vec::new();
    for spec in lines {
        let named = |error: PinError| PinError(format!("line {}: {error}", spec.name));
        let pin = match &spec.place {
            Place::Chip { chip, offset } => {
                let pull = match spec.usage {
                    Usage::Sense { pull } => Some(pull),
                    Usage::Relay { .. } | Usage::Button => None,
                };
                KernelPin::open(chip, *offset, pull)
                    .map(LinuxPin::Kernel)
                    .map_err(named)?
            }
            Place::Expander { bus, address, pin } => {
                if !buses.contains_key(bus) {
                    buses.insert(bus.clone(), claim(bus).map_err(named)?);
                }
                let key = (bus.clone(), *address);
                if !expanders.contains_key(&key) {
                    let smbus = Smbus::open(bus, *address).map_err(named)?;
                    expanders.insert(key.clone(), Expander::new(smbus, *address));
                }
                let expander = expanders.get(&key).map(|chip| chip.pin(*pin));
                let Some(pin) = expander else { continue };
                LinuxPin::Expander(pin)
            }
        };
        open.push((spec.clone(), pin));
    }
    Ok((open, buses.into_values().collect()))
}

/// The kernel lets one process have a GPIO line, but any number an I2C bus:
/// its device is locked instead.
fn claim(bus: &Path) -> Result<File, PinError> {
    let what = format!("open {}", bus.display());
    let file = File::open(bus).map_err(|error| PinError::new(&what, &error))?;
    let what = format!("lock {} (does another holder run?)", bus.display());
    file.try_lock()
        .map_err(|error| PinError::new(&what, &error))?;
    Ok(file)
}

impl ErrorType for LinuxPin {
    type Error = PinError;
}

impl OutputPin for LinuxPin {
    fn set_low(&mut self) -> Result<(), PinError> {
        self.set_state(PinState::Low)
    }

    fn set_high(&mut self) -> Result<(), PinError> {
        self.set_state(PinState::High)
    }

    fn set_state(&mut self, state: PinState) -> Result<(), PinError> {
        match self {
            Self::Kernel(pin) => pin.set_state(state),
            Self::Expander(pin) => pin.set_state(state),
        }
    }
}

impl InputPin for LinuxPin {
    fn is_high(&mut self) -> Result<bool, PinError> {
        match self {
            Self::Kernel(pin) => pin.is_high(),
            Self::Expander(pin) => pin.is_high(),
        }
    }

    fn is_low(&mut self) -> Result<bool, PinError> {
        self.is_high().map(|high| !high)
    }
}

impl HoldPin for LinuxPin {
    fn driven_to(&mut self) -> Result<Option<PinState>, PinError> {
        match self {
            Self::Kernel(pin) => pin.driven_to(),
            Self::Expander(pin) => pin.driven_to(),
        }
    }
}
