//! A serial line of this machine, where a sled without a BMC speaks: 8 data
//! bits, no parity, one stop bit, no flow control, as Linux' own console has it
//! unless told otherwise. It is only read.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use rustix::fs::OFlags;
use rustix::termios::{self, ControlModes, OptionalActions};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// Read at once, in bytes.
const CHUNK: usize = 4096;

/// A serial device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialDevice {
    /// Its node.
    pub path: PathBuf,
    /// Its speed, in bits per second.
    pub baud: u32,
}

/// An open serial device, which is read as a pipe is: by read(2), when epoll(7)
/// says so.
pub(super) struct DeviceLine(pipe::Receiver);

impl SerialDevice {
    /// Opens it for ourselves alone: of two readers each would get a half.
    ///
    /// # Errors
    /// When there is none, it is no serial line, or has no such speed.
    pub(super) fn open(&self) -> io::Result<DeviceLine> {
        // Not blocking: no carrier is waited for.
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = File::options()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&self.path)?;
        termios::ioctl_tiocexcl(&file)?;
        let mut settings = termios::tcgetattr(&file)?;
        settings.make_raw();
        settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        settings.control_modes -= ControlModes::CSTOPB | ControlModes::CRTSCTS;
        settings.set_speed(self.baud)?;
        termios::tcsetattr(&file, OptionalActions::Now, &settings)?;
        pipe::Receiver::from_file_unchecked(file).map(DeviceLine)
    }
}

impl DeviceLine {
    /// The next bytes; none when the device is gone. May be dropped at any
    /// time: nothing is lost.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; CHUNK];
        let read = self.0.read(&mut bytes).await?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::Write as _;
    use std::os::unix::ffi::OsStringExt as _;
    use std::time::{Duration, Instant};

    use messages::BootId;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;
    use tokio::sync::watch;

    use super::super::{Source, read, record};
    use super::*;
    use crate::boot_logs::console_path;

    async fn wait(what: &str, is_so: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < patience, "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_serial_line_is_recorded_as_it_speaks() {
        // The sled's end of the line, and ours.
        let sled = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&sled).unwrap();
        unlockpt(&sled).unwrap();
        let name = ptsname(&sled, Vec::new()).unwrap();
        let device = SerialDevice {
            path: OsString::from_vec(name.into_bytes()).into(),
            baud: 57_600,
        };
        let logs = tempfile::tempdir().unwrap();
        let (boot, boots) = watch::channel(None);
        let source = Source::Device(device);
        let recorder = record("sled-01".to_owned(), source, logs.path().into(), boots);
        let recorder = tokio::spawn(recorder);
        let settings = || termios::tcgetattr(&sled).unwrap();
        assert_ne!(settings().output_speed(), 57_600, "nothing before a boot");
        // Consoles of boots whose runner never spoke; sparse.
        let old = console_path(logs.path(), BootId(1));
        File::create(&old).unwrap().set_len(2 << 30).unwrap();

        boot.send_replace(Some(BootId(7)));
        wait("opened", || settings().output_speed() == 57_600).await;
        let raw = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        assert!(
            !settings().local_modes.intersects(raw),
            "it is never answered"
        );
        let mut sled = File::from(sled);
        let said = b"Linux\r\n\x03no line end, ghs_0123456789abcdefABCDEF \xff";
        sled.write_all(said).unwrap();
        let path = console_path(logs.path(), BootId(7));
        let expect = b"Linux\r\n\x03no line end, [redacted] \xff";
        wait("recorded", || read(&path).is_ok_and(|kept| kept == expect)).await;
        assert!(!old.exists(), "it makes room");
        // The appliance stops.
        drop(boot);
        recorder.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_serial_line_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let device = SerialDevice {
            path: path.clone(),
            baud: 115_200,
        };
        let kind = |error: Option<io::Error>| error.map(|error| error.kind());
        assert_eq!(kind(device.open().err()), Some(io::ErrorKind::NotFound));
        std::fs::write(&path, "").unwrap();
        let error = device.open().err().unwrap();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::NOTTY.raw_os_error())
        );
    }
}
