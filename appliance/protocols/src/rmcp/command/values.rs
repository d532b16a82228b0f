//! What commands carry and answers hold.

use core::fmt;

use super::PARAMETER_BOOT_FLAGS;

/// A forced boot device (IPMI table 28-14, parameter 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDevice {
    /// No override: the firmware's own order.
    None,
    /// Network.
    Pxe,
    /// Default hard drive.
    Disk,
    /// Firmware set-up.
    Setup,
    /// A selector that we never set.
    Other(u8),
}

/// The kind of boot that the override asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// PC-compatible ("legacy") boot.
    Bios,
    /// EFI boot. Must be set explicitly on UEFI machines, or many boot legacy.
    Uefi,
}

/// Boot flags (IPMI table 28-14, parameter 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootFlags {
    /// The flags hold; the BMC clears this on its own rules.
    pub valid: bool,
    /// For all boots, not just the next.
    pub persistent: bool,
    /// Kind of boot.
    pub firmware: Firmware,
    /// Device to boot from.
    pub device: BootDevice,
}

impl BootFlags {
    /// Network boot, for the next boot only.
    #[must_use]
    pub fn pxe_once(firmware: Firmware) -> Self {
        Self {
            valid: true,
            persistent: false,
            firmware,
            device: BootDevice::Pxe,
        }
    }

    pub(super) fn encode(self) -> [u8; 5] {
        let bit = |set: bool, bit: u8| u8::from(set) << bit;
        let selector = match self.device {
            BootDevice::None => 0,
            BootDevice::Pxe => 1,
            BootDevice::Disk => 2,
            BootDevice::Setup => 6,
            BootDevice::Other(selector) => selector & 0x0f,
        };
        let efi = bit(self.firmware == Firmware::Uefi, 5);
        [
            bit(self.valid, 7) | bit(self.persistent, 6) | efi,
            selector << 2,
            0,
            0,
            0,
        ]
    }

    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let &[parameter, flags, selector, ..] = data.get(1..)? else {
            return None;
        };
        if parameter & 0x7f != PARAMETER_BOOT_FLAGS {
            return None;
        }
        Some(Self {
            valid: flags & 0x80 != 0,
            persistent: flags & 0x40 != 0,
            firmware: if flags & 0x20 != 0 {
                Firmware::Uefi
            } else {
                Firmware::Bios
            },
            device: match (selector >> 2) & 0x0f {
                0 => BootDevice::None,
                1 => BootDevice::Pxe,
                2 => BootDevice::Disk,
                6 => BootDevice::Setup,
                other => BootDevice::Other(other),
            },
        })
    }
}

/// What a chassis does when mains power comes back (IPMI table 28-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePolicy {
    /// Stays off.
    StaysOff,
    /// Goes back to what it was.
    Restores,
    /// Powers up.
    PowersUp,
    /// The BMC does not say.
    Unknown,
}

/// Which restore policies a chassis knows (IPMI table 28-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreSupport {
    /// It can stay off.
    pub stays_off: bool,
    /// It can go back to what it was.
    pub restores: bool,
    /// It can power up.
    pub powers_up: bool,
}

impl RestoreSupport {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        data.first().map(|bits| Self {
            stays_off: bits & 0x01 != 0,
            restores: bits & 0x02 != 0,
            powers_up: bits & 0x04 != 0,
        })
    }
}

/// What a machine draws from its supply (DCMI 1.5, table 6-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerDraw {
    /// Now, in watts.
    pub now_w: u16,
    /// Least, most and mean over [`PowerDraw::period_ms`], in watts.
    pub least_w: u16,
    /// See [`PowerDraw::least_w`].
    pub most_w: u16,
    /// See [`PowerDraw::least_w`].
    pub mean_w: u16,
    /// What the three are about, in milliseconds.
    pub period_ms: u32,
    /// The BMC measures; if not, the figures are left over.
    pub active: bool,
}

impl PowerDraw {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let &[
            super::request::GROUP_DCMI,
            n0,
            n1,
            l0,
            l1,
            h0,
            h1,
            m0,
            m1,
            _,
            _,
            _,
            _,
            p0,
            p1,
            p2,
            p3,
            state,
            ..,
        ] = data
        else {
            return None;
        };
        Some(Self {
            now_w: u16::from_le_bytes([n0, n1]),
            least_w: u16::from_le_bytes([l0, l1]),
            most_w: u16::from_le_bytes([h0, h1]),
            mean_w: u16::from_le_bytes([m0, m1]),
            period_ms: u32::from_le_bytes([p0, p1, p2, p3]),
            active: state & 0x40 != 0,
        })
    }
}

/// The state of a chassis (IPMI table 28-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChassisStatus {
    /// System power is on (soft-off states read as off).
    pub power_on: bool,
    /// A fault of the main power was detected.
    pub power_fault: bool,
    /// What happens after an outage.
    pub restore_policy: RestorePolicy,
}

impl ChassisStatus {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let &[power, _last_event, _misc, ..] = data else {
            return None;
        };
        Some(Self {
            power_on: power & 0x01 != 0,
            power_fault: power & 0x18 != 0,
            restore_policy: match (power >> 5) & 0x03 {
                0 => RestorePolicy::StaysOff,
                1 => RestorePolicy::Restores,
                2 => RestorePolicy::PowersUp,
                _ => RestorePolicy::Unknown,
            },
        })
    }
}

/// Who a BMC says that it is (IPMI table 20-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceId {
    /// Device id and revision, the vendor's.
    pub device: (u8, u8),
    /// Firmware revision, major and minor (minor is BCD as sent).
    pub firmware: (u8, u8),
    /// IPMI version as sent: low digit major, high digit minor.
    pub ipmi_version: u8,
    /// IANA enterprise number of the manufacturer.
    pub manufacturer: u32,
    /// Product id, the manufacturer's.
    pub product: u16,
}

impl DeviceId {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let &[
            id,
            revision,
            major,
            minor,
            version,
            _support,
            m0,
            m1,
            m2,
            p0,
            p1,
            ..,
        ] = data
        else {
            return None;
        };
        Some(Self {
            device: (id, revision & 0x0f),
            firmware: (major & 0x7f, minor),
            ipmi_version: version,
            // IPMI table 20-2: 20 bits, least significant byte first.
            manufacturer: u32::from_le_bytes([m0, m1, m2 & 0x0f, 0]),
            product: u16::from_le_bytes([p0, p1]),
        })
    }
}

/// Why a BMC did not carry a command out (IPMI table 5-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionCode(pub u8);

impl CompletionCode {
    /// Success.
    pub const OK: Self = Self(0x00);
    /// The BMC is busy: try again soon.
    pub const NODE_BUSY: Self = Self(0xc0);
    /// The session's privilege is too low.
    pub const INSUFFICIENT_PRIVILEGE: Self = Self(0xd4);
    /// The BMC is starting: try again soon.
    pub const STARTING: Self = Self(0xd2);
    /// Not in the present state, such as "off" when it is off.
    pub const NOT_NOW: Self = Self(0xd5);
    /// The BMC does not have the command.
    pub const INVALID_COMMAND: Self = Self(0xc1);
    /// A meaning of each command's own: of Activate Payload, that somebody
    /// has it (IPMI table 24-2); of testing a password, that it differs.
    pub const OWN_80: Self = Self(0x80);

    /// Whether the same command may be accepted a moment later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        self == Self::NODE_BUSY || self == Self::STARTING
    }
}

impl fmt::Display for CompletionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0x00 => "completed",
            0x01..=0x7e => "a code of the manufacturer",
            0x80..=0xbe => "a code of this command",
            0xc0 => "node busy",
            0xc1 => "invalid command",
            0xc2 => "command invalid for the logical unit",
            0xc3 => "timeout in the BMC",
            0xc4 => "out of space",
            0xc5 => "reservation cancelled",
            0xc6 => "request data truncated",
            0xc7 => "request data length invalid",
            0xc8 => "request data too long",
            0xc9 => "parameter out of range",
            0xca => "cannot return that many bytes",
            0xcb => "sensor or record not present",
            0xcc => "invalid data field",
            0xcd => "command illegal for this record",
            0xce => "no response could be provided",
            0xcf => "duplicated request",
            0xd0 => "sensor records are being updated",
            0xd1 => "firmware update in progress",
            0xd2 => "the BMC is starting",
            0xd3 => "destination unavailable",
            0xd4 => "insufficient privilege",
            0xd5 => "not supported in the present state",
            0xd6 => "disabled in the BMC",
            _ => "unspecified error",
        };
        write!(f, "{text} ({:#04x})", self.0)
    }
}
