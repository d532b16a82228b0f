//! The system event log (IPMI 31, 32).

use core::fmt;

/// How full an event log is (IPMI table 31-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelInfo {
    /// Entries in it.
    pub entries: u16,
    /// Bytes that are left.
    pub free_bytes: u16,
    /// Events were lost because it was full.
    pub overflowed: bool,
}

impl SelInfo {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let (&[_version, e0, e1, f0, f1], rest) = data.split_first_chunk::<5>()?;
        // Two time stamps, then what is supported; bit 7: overflow.
        let support = rest.get(8)?;
        Some(Self {
            entries: u16::from_le_bytes([e0, e1]),
            free_bytes: u16::from_le_bytes([f0, f1]),
            overflowed: support & 0x80 != 0,
        })
    }
}

/// One entry of an event log (IPMI table 32-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelEntry {
    /// Id of the entry after this one; `None` for the last.
    pub next: Option<u16>,
    /// Its own id.
    pub id: u16,
    /// Type of record: 2 is a system event, others are the manufacturer's.
    pub record_type: u8,
    /// The 13 bytes behind the type, as sent.
    pub body: [u8; 13],
}

/// IPMI 32.1: record type of system events.
const SYSTEM_EVENT: u8 = 0x02;

impl SelEntry {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let (&[n0, n1, i0, i1, record_type], body) = data.split_first_chunk::<5>()?;
        let next = u16::from_le_bytes([n0, n1]);
        Some(Self {
            next: (next != 0xffff).then_some(next),
            id: u16::from_le_bytes([i0, i1]),
            record_type,
            body: *body.first_chunk()?,
        })
    }

    /// Seconds on the BMC's own clock, which need not be right.
    #[must_use]
    pub fn time_s(&self) -> Option<u32> {
        let [t0, t1, t2, t3, ..] = self.body;
        // Record types from e0h on have no time stamp.
        (self.record_type < 0xe0).then_some(u32::from_le_bytes([t0, t1, t2, t3]))
    }
}

impl fmt::Display for SelEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [.., sensor_type, sensor, kind, d1, d2, d3] = self.body;
        if self.record_type != SYSTEM_EVENT {
            return write!(f, "record of type {:#04x}", self.record_type);
        }
        let direction = if kind & 0x80 == 0 { "on" } else { "off" };
        let kind = kind & 0x7f;
        write!(
            f,
            "sensor {sensor} of type {sensor_type:#04x}: event {kind:#04x} {direction} \
             ({d1:02x} {d2:02x} {d3:02x})"
        )
    }
}
