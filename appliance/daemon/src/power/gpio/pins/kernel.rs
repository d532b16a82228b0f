//! A line of a GPIO chip of the kernel (GPIO v2 uAPI), as a pin of
//! gpiocdev-embedded-hal.
//!
//! The constructors of that crate (0.1.3) make a line an input, or an output at
//! a level that they are given: either would move one that is taken over. So a
//! line is requested as it is, and becomes a pin (`TryFrom<Request>`) once its
//! direction is known: a sense line at once, an output when it is driven. An
//! output pin leaves out a write of the level that it remembers, and remembers
//! the one before a write that failed; so after a failure it is a mere request
//! again, and the next order is written whatever it is.

use std::path::PathBuf;

use embedded_hal::digital::{ErrorType, InputPin, OutputPin, PinState, StatefulOutputPin};
use gpiocdev::Request;
use gpiocdev::chip::Chip;
use gpiocdev::line::{Bias, Direction, Value};
use gpiocdev_embedded_hal as hal;

use super::PinError;
use crate::power::gpio::hold::HoldPin;
use crate::power::gpio::lines::Pull;

/// Who holds the line, as `gpioinfo` shows it.
const CONSUMER: &str = "musher";

/// One line, open for as long as this lives.
pub struct KernelPin {
    offset: u32,
    line: Line,
}

enum Line {
    /// As it was found, or left in the dark by a failed write.
    Bare(Request),
    Input(hal::InputPin),
    Output(hal::OutputPin),
    /// On its way from one to the other.
    Between,
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
        let line = match pull {
            Some(_) => hal::InputPin::try_from(request)
                .map(Line::Input)
                .map_err(|error| PinError::new(&what, &error))?,
            None => Line::Bare(request),
        };
        let mut pin = Self { offset, line };
        if was_driven && pull.is_none() {
            // Said once more, as a line that was requested as it is cannot be
            // set; the level stays.
            let level = PinState::from(pin.is_high()?);
            pin.set_state(level)?;
        }
        Ok(pin)
    }
}

/// Makes a line an output at `level`: one call, so that no other level is seen
/// in between.
fn begin(request: &Request, offset: u32, level: PinState) -> gpiocdev::Result<()> {
    let value = match level {
        PinState::High => Value::Active,
        PinState::Low => Value::Inactive,
    };
    let mut config = request.config();
    config.with_line(offset).as_output(value);
    request.reconfigure(&config)
}

/// The line after it was to be driven to `level`, and what went wrong.
fn drive(line: Line, offset: u32, level: PinState) -> (Line, Result<(), PinError>) {
    const WHAT: &str = "drive the line";
    match line {
        Line::Output(mut pin) => match pin.set_state(level) {
            Ok(()) => (Line::Output(pin), Ok(())),
            Err(error) => (Line::Bare(pin.into()), Err(PinError::new(WHAT, &error))),
        },
        Line::Bare(request) => match begin(&request, offset, level) {
            Ok(()) => match hal::OutputPin::try_from(request) {
                Ok(pin) => (Line::Output(pin), Ok(())),
                Err(error) => (Line::Between, Err(PinError::new(WHAT, &error))),
            },
            Err(error) => (Line::Bare(request), Err(PinError::new(WHAT, &error))),
        },
        Line::Input(_) | Line::Between => {
            let error = "it was opened as an input";
            (line, Err(PinError::new(WHAT, &error)))
        }
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
        let line = std::mem::replace(&mut self.line, Line::Between);
        let (line, driven) = drive(line, self.offset, level);
        self.line = line;
        driven
    }
}

impl InputPin for KernelPin {
    fn is_high(&mut self) -> Result<bool, PinError> {
        const WHAT: &str = "read the line";
        let failed = |error: hal::Error| PinError::new(WHAT, &error);
        match &mut self.line {
            Line::Bare(request) => match request.value(self.offset) {
                Ok(value) => Ok(value == Value::Active),
                Err(error) => Err(PinError::new(WHAT, &error)),
            },
            Line::Input(pin) => pin.is_high().map_err(failed),
            Line::Output(pin) => pin.is_high().map_err(failed),
            Line::Between => Err(PinError::new(WHAT, &"it is closed")),
        }
    }

    fn is_low(&mut self) -> Result<bool, PinError> {
        self.is_high().map(|high| !high)
    }
}

impl HoldPin for KernelPin {
    fn driven_to(&mut self) -> Result<Option<PinState>, PinError> {
        match &mut self.line {
            Line::Output(pin) => match pin.is_set_high() {
                Ok(high) => Ok(Some(PinState::from(high))),
                Err(error) => Err(PinError::new("look at the line", &error)),
            },
            Line::Bare(_) | Line::Input(_) | Line::Between => Ok(None),
        }
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
