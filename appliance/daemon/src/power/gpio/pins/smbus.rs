//! A device on an I2C bus of Linux, as embedded-hal's `I2c`, by SMBus
//! transfers: every adapter has these, those of x86 chipsets no others.

use std::path::Path;

use embedded_hal::i2c::{self, ErrorKind, I2c, NoAcknowledgeSource, Operation};
use i2cdev::core::I2CDevice;
use i2cdev::linux::{LinuxI2CDevice, LinuxI2CError};

use super::PinError;

/// One device.
pub struct Smbus {
    device: LinuxI2CDevice,
    address: u8,
}

/// Why a transfer failed.
#[derive(Debug)]
pub enum SmbusError {
    /// The kernel refused it, or nobody answered.
    Linux(LinuxI2CError),
    /// The transfer is none that SMBus has, or for another device.
    Unsupported,
}

impl Smbus {
    /// Opens a device that no driver of the kernel has.
    ///
    /// # Errors
    /// When there is no such bus, or a kernel driver has the device.
    pub(super) fn open(bus: &Path, address: u8) -> Result<Self, PinError> {
        let device = LinuxI2CDevice::new(bus, address.into()).map_err(|error| {
            let what = format!("open {} device 0x{address:02x}", bus.display());
            PinError::new(&what, &error)
        })?;
        Ok(Self { device, address })
    }
}

impl i2c::Error for SmbusError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Linux(_) => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown),
            Self::Unsupported => ErrorKind::Other,
        }
    }
}

impl i2c::ErrorType for Smbus {
    type Error = SmbusError;
}

impl I2c for Smbus {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), SmbusError> {
        if address != self.address {
            return Err(SmbusError::Unsupported);
        }
        let done = match operations {
            [Operation::Write([register, value])] => {
                self.device.smbus_write_byte_data(*register, *value)
            }
            [Operation::Write([register]), Operation::Read([value])] => self
                .device
                .smbus_read_byte_data(*register)
                .map(|read| *value = read),
            _ => return Err(SmbusError::Unsupported),
        };
        done.map_err(SmbusError::Linux)
    }
}
