//! What Activate Payload says about Serial-over-LAN (IPMI table 24-2).

/// Serial-over-LAN as the BMC opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialChannel {
    /// Most payload bytes of a packet to the BMC, header included.
    pub inbound_bytes: u16,
    /// Most payload bytes of a packet from the BMC.
    pub outbound_bytes: u16,
    /// UDP port of the payload. We stay on the session's own.
    pub port: u16,
}

impl SerialChannel {
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let (_auxiliary, rest) = data.split_first_chunk::<4>()?;
        let &[i0, i1, o0, o1, p0, p1, ..] = rest else {
            return None;
        };
        Some(Self {
            inbound_bytes: u16::from_le_bytes([i0, i1]),
            outbound_bytes: u16::from_le_bytes([o0, o1]),
            port: u16::from_le_bytes([p0, p1]),
        })
    }
}
