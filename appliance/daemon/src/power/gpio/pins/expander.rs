//! Pins of a PCA9535 or PCA9555 on any embedded-hal I2C bus. The expander's
//! registers keep the levels for as long as it has power, whatever happens to
//! this machine: lines that latch.
//!
//! Every access reads the registers and writes back one changed bit, so
//! taking an expander over and moving one pin moves no other. (A driver that
//! remembers registers, as most do, would write its own idea of the rest.)

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use embedded_hal::digital::{ErrorType, InputPin, OutputPin, PinState};
use embedded_hal::i2c::I2c;
use pca9535::{Expander as _, ExpanderError, GPIOBank, Pca9535Immediate};
use pca9535::{Register, StandardExpanderInterface as _};

use super::PinError;
use crate::power::gpio::hold::HoldPin;

/// An expander.
pub struct Expander<I: I2c>(Arc<Mutex<Pca9535Immediate<I>>>);

/// One of its pins.
pub struct ExpanderPin<I: I2c> {
    chip: Arc<Mutex<Pca9535Immediate<I>>>,
    bank: GPIOBank,
    bit: u8,
}

impl<I: I2c> Expander<I> {
    /// The expander at `address`, 0x20 to 0x27. Sends nothing yet.
    pub fn new(bus: I, address: u8) -> Self {
        // The driver asserts on any other address.
        let address = 0x20 | (address & 7);
        Self(Arc::new(Mutex::new(Pca9535Immediate::new(bus, address))))
    }

    /// Pin 0 to 15. Sends nothing yet.
    #[must_use]
    pub fn pin(&self, pin: u8) -> ExpanderPin<I> {
        ExpanderPin {
            chip: Arc::clone(&self.0),
            bank: match pin & 8 {
                0 => GPIOBank::Bank0,
                _ => GPIOBank::Bank1,
            },
            bit: pin & 7,
        }
    }
}

impl<I: I2c> ExpanderPin<I>
where
    I::Error: fmt::Debug,
{
    fn with<T>(
        &self,
        what: &str,
        call: impl FnOnce(&mut Pca9535Immediate<I>) -> Result<T, ExpanderError<I::Error>>,
    ) -> Result<T, PinError> {
        // The chip's registers are its only state, so a panic spoils nothing.
        let mut chip = self.chip.lock().unwrap_or_else(PoisonError::into_inner);
        call(&mut chip).map_err(|error| {
            let text = match error {
                ExpanderError::WriteError(error) | ExpanderError::WriteReadError(error) => {
                    format!("{error:?}")
                }
            };
            PinError::new(what, &text)
        })
    }
}

impl<I: I2c> ErrorType for ExpanderPin<I> {
    type Error = PinError;
}

impl<I: I2c> OutputPin for ExpanderPin<I>
where
    I::Error: fmt::Debug,
{
    fn set_low(&mut self) -> Result<(), PinError> {
        self.set_state(PinState::Low)
    }

    fn set_high(&mut self) -> Result<(), PinError> {
        self.set_state(PinState::High)
    }

    fn set_state(&mut self, level: PinState) -> Result<(), PinError> {
        let driven = self.is_output()?;
        let (bank, bit) = (self.bank, self.bit);
        self.with("drive the expander's pin", |chip| {
            match level {
                PinState::High => chip.pin_set_high(bank, bit)?,
                PinState::Low => chip.pin_set_low(bank, bit)?,
            }
            // The level comes first: the pin appears at it.
            if !driven {
                chip.pin_into_output(bank, bit)?;
            }
            Ok(())
        })
    }
}

impl<I: I2c> InputPin for ExpanderPin<I>
where
    I::Error: fmt::Debug,
{
    fn is_high(&mut self) -> Result<bool, PinError> {
        let (bank, bit) = (self.bank, self.bit);
        self.with("read the expander's pin", |chip| {
            chip.pin_is_high(bank, bit)
        })
    }

    fn is_low(&mut self) -> Result<bool, PinError> {
        self.is_high().map(|high| !high)
    }
}

impl<I: I2c> ExpanderPin<I>
where
    I::Error: fmt::Debug,
{
    /// The pin's bit of the register of its bank.
    fn bit_of(&self, [bank0, bank1]: [Register; 2]) -> Result<bool, PinError> {
        let register = match self.bank {
            GPIOBank::Bank0 => bank0,
            GPIOBank::Bank1 => bank1,
        };
        let mut bits = 0;
        self.with("read the expander's registers", |chip| {
            chip.read_byte(register, &mut bits)
        })?;
        Ok(bits >> self.bit & 1 == 1)
    }

    fn is_output(&self) -> Result<bool, PinError> {
        let directions = [Register::ConfigurationPort0, Register::ConfigurationPort1];
        self.bit_of(directions).map(|input| !input)
    }
}

impl<I: I2c> HoldPin for ExpanderPin<I>
where
    I::Error: fmt::Debug,
{
    fn driven_to(&mut self) -> Result<Option<PinState>, PinError> {
        if !self.is_output()? {
            return Ok(None);
        }
        let high = self.bit_of([Register::OutputPort0, Register::OutputPort1])?;
        Ok(Some(PinState::from(high)))
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    const ADDRESS: u8 = 0x21;

    fn read(register: u8, value: u8) -> Transaction {
        Transaction::write_read(ADDRESS, vec![register], vec![value])
    }

    fn write(register: u8, value: u8) -> Transaction {
        Transaction::write(ADDRESS, vec![register, value])
    }

    /// PCA9555 data sheet: inputs 0 and 1, outputs 2 and 3, directions 6 and 7.
    fn check(transfers: &[Transaction], work: impl FnOnce(&mut ExpanderPin<Mock>)) {
        let mut bus = Mock::new(transfers);
        let expander = Expander::new(bus.clone(), ADDRESS);
        let mut pin = expander.pin(9);
        work(&mut pin);
        drop((pin, expander));
        bus.done();
    }

    #[test]
    fn opening_sends_nothing() {
        check(&[], |_| {});
    }

    #[test]
    fn a_first_drive_sets_the_level_before_the_direction() {
        let transfers = [
            read(7, 0xff),
            read(3, 0xff),
            write(3, 0xfd),
            read(7, 0xff),
            write(7, 0xfd),
        ];
        check(&transfers, |pin| pin.set_low().unwrap());
    }

    #[test]
    fn other_pins_keep_what_they_latched() {
        let transfers = [
            read(7, 0x00),
            read(3, 0b1010_0100),
            write(3, 0b1010_0110),
            read(1, 0b1010_0110),
        ];
        check(&transfers, |pin| {
            pin.set_high().unwrap();
            assert!(pin.is_high().unwrap());
        });
    }

    #[test]
    fn what_is_driven_is_read_from_the_chip() {
        let check = |directions, outputs: Option<u8>, expect| {
            let mut transfers = vec![read(7, directions)];
            transfers.extend(outputs.map(|outputs| read(3, outputs)));
            super::tests::check(&transfers, |pin| assert_eq!(pin.driven_to(), Ok(expect)));
        };
        check(0x02, None, None);
        check(0xfd, Some(0x02), Some(PinState::High));
        check(0xfd, Some(0xfd), Some(PinState::Low));
    }
}
