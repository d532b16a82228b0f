//! The registers of a PCA9555 that `i2c-stub` keeps, seen past the holder.
//! The stub has no pins: what its inputs read is ours to set.

use i2cdev::core::I2CDevice as _;
use i2cdev::linux::LinuxI2CDevice;

use crate::Outcome;

fn open() -> Outcome<LinuxI2CDevice> {
    Ok(LinuxI2CDevice::new("/dev/i2c-0", 0x20)?)
}

/// PCA9555 data sheet, power-on reset: all pins inputs, all outputs high.
pub(crate) fn power_up() -> Outcome {
    let mut device = open()?;
    for (register, value) in [0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff]
        .iter()
        .enumerate()
    {
        device.smbus_write_byte_data(u8::try_from(register)?, *value)?;
    }
    Ok(())
}

/// What the pins of a bank show from now on.
pub(crate) fn show(bank: u8, levels: u8) -> Outcome {
    Ok(open()?.smbus_write_byte_data(bank, levels)?)
}

/// Outputs and directions of both banks, in hex.
pub(crate) fn registers() -> Outcome<String> {
    let mut device = open()?;
    let mut text = String::new();
    for register in [2, 3, 6, 7] {
        let value = device.smbus_read_byte_data(register)?;
        text += &format!("{value:02x} ");
    }
    Ok(text.trim_end().to_owned())
}
