//! What a BMC is set to: users, channels, LAN, and which commands it takes.

use core::fmt;

/// A user's number, 1 to 63 (IPMI table 22-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub(super) u8);

impl UserId {
    /// The user `number`; `None` when there is no such number.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (1..=63).contains(&number).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

/// What a user may do on a channel (IPMI table 22-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserAccess {
    /// How many users the BMC has room for.
    pub most_users: u8,
    /// How many are enabled.
    pub enabled_users: u8,
    /// This user is disabled by name; `None` when the BMC does not say.
    pub enabled: Option<bool>,
    /// May open IPMI sessions on the channel.
    pub messaging: bool,
    /// Highest privilege: 1 callback, 2 user, 3 operator, 4 administrator,
    /// 5 the manufacturer's, 15 no access.
    pub privilege: u8,
}

impl UserAccess {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let &[most, enabled, _fixed, access, ..] = data else {
            return None;
        };
        Some(Self {
            most_users: most & 0x3f,
            enabled_users: enabled & 0x3f,
            enabled: match enabled >> 6 {
                1 => Some(true),
                2 => Some(false),
                _ => None,
            },
            messaging: access & 0x10 != 0,
            privilege: access & 0x0f,
        })
    }
}

/// A user's name as the BMC says it: any bytes, shown escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserName([u8; 16]);

impl UserName {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        data.first_chunk().map(|bytes| Self(*bytes))
    }

    /// The bytes before the first zero.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes().escape_ascii())
    }
}

/// What a channel is made of (IPMI table 6-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A LAN (802.3).
    Lan,
    /// The system interface, such as KCS.
    System,
    /// Something else.
    Other(u8),
}

/// A channel (IPMI table 22-29).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Its number; the one that was meant by "this channel".
    pub number: u8,
    /// What it is made of.
    pub medium: Medium,
}

impl ChannelInfo {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let &[number, medium, _protocol, ..] = data else {
            return None;
        };
        Some(Self {
            number: number & 0x0f,
            medium: match medium & 0x7f {
                0x04 => Medium::Lan,
                0x0c => Medium::System,
                other => Medium::Other(other),
            },
        })
    }
}

/// How a channel may be used (IPMI table 22-28).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelAccess {
    /// 0 disabled, 1 before boot only, 2 always, 3 shared.
    pub mode: u8,
    /// Highest privilege of any user, as in [`UserAccess::privilege`].
    pub privilege: u8,
}

impl ChannelAccess {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let &[mode, privilege, ..] = data else {
            return None;
        };
        Some(Self {
            mode: mode & 0x07,
            privilege: privilege & 0x0f,
        })
    }
}

/// A setting of a LAN channel (IPMI table 23-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LanParameter {
    /// IPv4 address.
    Address,
    /// Where the address is from.
    AddressSource,
    /// MAC address.
    Mac,
    /// IPv4 netmask.
    Netmask,
    /// IPv4 address of the default gateway.
    Gateway,
    /// 802.1q VLAN.
    Vlan,
    /// Highest privilege by cipher suite.
    CipherPrivileges,
}

impl LanParameter {
    /// All that are read here, with the names that people know them by.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Address, "address"),
        (Self::AddressSource, "address-source"),
        (Self::Mac, "mac"),
        (Self::Netmask, "netmask"),
        (Self::Gateway, "gateway"),
        (Self::Vlan, "vlan"),
        (Self::CipherPrivileges, "cipher-privileges"),
    ];

    pub(super) fn number(self) -> u8 {
        match self {
            Self::Address => 3,
            Self::AddressSource => 4,
            Self::Mac => 5,
            Self::Netmask => 6,
            Self::Gateway => 12,
            Self::Vlan => 20,
            Self::CipherPrivileges => 24,
        }
    }
}

/// The value of a [`LanParameter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LanValue {
    /// An IPv4 address or mask.
    Address([u8; 4]),
    /// 1 static, 2 DHCP, 3 BIOS, 4 other.
    Source(u8),
    /// A MAC address.
    Mac([u8; 6]),
    /// The VLAN's number, if there is one.
    Vlan(Option<u16>),
    /// One nibble per cipher suite entry (IPMI table 23-4, parameter 24).
    CipherPrivileges([u8; 8]),
}

impl LanValue {
    pub(super) fn decode(parameter: LanParameter, data: &[u8]) -> Option<Self> {
        let (_revision, data) = data.split_first()?;
        Some(match parameter {
            LanParameter::Address | LanParameter::Netmask | LanParameter::Gateway => {
                Self::Address(*data.first_chunk()?)
            }
            LanParameter::AddressSource => Self::Source(data.first()? & 0x0f),
            LanParameter::Mac => Self::Mac(*data.first_chunk()?),
            LanParameter::Vlan => {
                let [low, high] = *data.first_chunk()?;
                let number = u16::from_le_bytes([low, high & 0x0f]);
                Self::Vlan((high & 0x80 != 0).then_some(number))
            }
            // One reserved byte stands before the nibbles.
            LanParameter::CipherPrivileges => {
                Self::CipherPrivileges(*data.get(1..)?.first_chunk()?)
            }
        })
    }
}

impl fmt::Display for LanValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address([a, b, c, d]) => write!(f, "{a}.{b}.{c}.{d}"),
            Self::Source(1) => f.write_str("static"),
            Self::Source(2) => f.write_str("dhcp"),
            Self::Source(3) => f.write_str("bios"),
            Self::Source(other) => write!(f, "{other}"),
            Self::Mac(bytes) => separated(f, bytes, ":"),
            Self::Vlan(None) => f.write_str("none"),
            Self::Vlan(Some(number)) => write!(f, "{number}"),
            Self::CipherPrivileges(bytes) => separated(f, bytes, ""),
        }
    }
}

fn separated(f: &mut fmt::Formatter<'_>, bytes: &[u8], by: &str) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        let by = if index == 0 { "" } else { by };
        write!(f, "{by}{byte:02x}")?;
    }
    Ok(())
}

/// A set of the commands 00h-7Fh of one network function (IPMI 21.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandMask(pub [u8; 16]);

impl CommandMask {
    /// Whether `command` is in it.
    #[must_use]
    pub fn has(&self, command: u8) -> bool {
        let byte = self.0.get(usize::from(command / 8));
        byte.is_some_and(|byte| byte & (1 << (command % 8)) != 0)
    }

    /// The set without `command`.
    #[must_use]
    pub fn without(mut self, command: u8) -> Self {
        if let Some(byte) = self.0.get_mut(usize::from(command / 8)) {
            *byte &= !(1 << (command % 8));
        }
        self
    }
}
