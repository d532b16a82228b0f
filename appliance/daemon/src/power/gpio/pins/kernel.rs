//! A line of a GPIO chip of the kernel (GPIO v2 uAPI), by gpiocdev.
//!
//! Not by gpiocdev-embedded-hal: its pins cannot take a line over as it is, and
//! leave out writes that their own memory calls needless, after a failed write
//! too.

use std::path::PathBuf;

use embedded_hal::digital::{ErrorType, InputPin, OutputPin, PinState};
use gpiocdev::Request;
use gpiocdev::chip::Chip;
use gpiocdev::line::{Bias, Direction, Value};

use super::PinError;
use crate::power::gpio::hold::HoldPin;
use crate::power::gpio::lines::Pull;

/// Who holds the line, as `gpioinfo` shows it.
const CONSUMER: &str = "musher";

/// One line, open for as long as this lives.
pub struct KernelPin {
    request: Request,
    offset: u32,
    is_output: bool,
    driven_to: Option<PinState>,
}

impl KernelPin {
    /// Opens line `offset` of a chip, given by path, name or label, as it is:
    /// an output goes on at its level. With a `pull` it is made an input.
    ///
    /// # Errors
    /// When there is no such line, or another process holds it.
    pub(super) fn open(chip: &str, offset: u32, pull: Option<Pull>) -> Result<Self, PinError> {
        let what = format!("open {chip} line {offset}");
        let failed = |error: gpiocdev::Error| PinError::new(&what, &error);
        let path = find(chip)?;
        let info = Chip::from_path(&path).and_then(|chip| chip.line_info(offset));
        let was_driven = info.map_err(failed)?.direction == Direction::Output;
        let mut builder = Request::builder();
        builder.on_chip(path).with_consumer(CONSUMER);
        match pull {
            Some(pull) => builder.as_input().with_bias(bias(pull)),
            None => builder.as_is(),
        };
        let request = builder.with_line(offset).request().map_err(failed)?;
        let mut pin = Self {
            request,
            offset,
            is_output: false,
            driven_to: None,
        };
        if was_driven && pull.is_none() {
            // Said once more, as a line that was requested as it is cannot be
            // set; the level stays.
            let level = PinState::from(pin.is_high()?);
            pin.set_state(level)?;
        }
        Ok(pin)
    }

    /// Makes the line an output at `value`: one call, so that no other level
    /// is seen in between.
    fn begin(&mut self, value: Value) -> gpiocdev::Result<()> {
        let mut config = self.request.config();
        config.with_line(self.offset).as_output(value);
        self.request.reconfigure(&config)?;
        self.is_output = true;
        Ok(())
    }
}

impl ErrorType for KernelPin {
    type Error = PinError;
}

impl OutputPin for KernelPin {
    fn set_low(&mut self) -> Result<(), PinError> {
        self.set_state(PinState::Low)
    }

    fn set_high(&mut self) -> Result<(), PinError> {
        self.set_state(PinState::High)
    }

    fn set_state(&mut self, level: PinState) -> Result<(), PinError> {
        let value = match level {
            PinState::High => Value::Active,
            PinState::Low => Value::Inactive,
        };
        // Unknown until the kernel has said yes.
        self.driven_to = None;
        let set = match self.is_output {
            true => self.request.set_value(self.offset, value).map(|_| ()),
            false => self.begin(value),
        };
        set.map_err(|error| PinError::new("drive the line", &error))?;
        self.driven_to = Some(level);
        Ok(())
    }
}

impl InputPin for KernelPin {
    fn is_high(&mut self) -> Result<bool, PinError> {
        match self.request.value(self.offset) {
            Ok(value) => Ok(value == Value::Active),
            Err(error) => Err(PinError::new("read the line", &error)),
        }
    }

    fn is_low(&mut self) -> Result<bool, PinError> {
        self.is_high().map(|high| !high)
    }
}

impl HoldPin for KernelPin {
    fn driven_to(&mut self) -> Result<Option<PinState>, PinError> {
        Ok(self.driven_to)
    }
}

/// The bias to ask for; `None` leaves it as it is.
fn bias(pull: Pull) -> Option<Bias> {
    match pull {
        Pull::Keep => None,
        Pull::Up => Some(Bias::PullUp),
        Pull::Down => Some(Bias::PullDown),
        Pull::None => Some(Bias::Disabled),
    }
}

/// The path of a chip. Numbers of chips change between starts; a label, such
/// as `pinctrl-bcm2711`, does not.
fn find(chip: &str) -> Result<PathBuf, PinError> {
    if chip.starts_with('/') {
        return Ok(PathBuf::from(chip));
    }
    let chips =
        gpiocdev::chip::chips().map_err(|error| PinError::new("list GPIO chips", &error))?;
    for path in chips {
        let info = Chip::from_path(&path).and_then(|chip| chip.info());
        if info.is_ok_and(|info| info.name == chip || info.label == chip) {
            return Ok(path);
        }
    }
    let error = "there is no GPIO chip of this name or label: see `gpiodetect`";
    Err(PinError::new(chip, &error))
}
