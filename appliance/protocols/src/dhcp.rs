//! DHCPv4 as far as a network boot server needs it: the packet codec, the
//! reading of who asks, the lease pool and the answer to each message.
//!
//! It never does IO, never reads a clock and never decides who may boot: the
//! caller says which boot sources a client may see, and time is an argument.
//! Sources: RFC 951, 2131, 2132, 3004, 3046, 3396, 4578, 6842, the PXE 2.1
//! specification and the UEFI specification (section "HTTP Boot").

mod client;
mod leases;
mod mac;
mod options;
mod packet;
mod respond;

pub use client::{Client, FirmwareBoot, MessageType, Stage};
pub use leases::{AddressRange, Lease, LeasePool, PoolError, RangeError};
pub use mac::{MacAddress, ParseMacError};
pub use options::{Options, code};
pub use packet::{DecodeError, EncodeError, MAX_DATAGRAM_BYTES, Op, Packet};
pub use respond::{
    BootSources, Destination, LeaseAnswer, Network, Reply, TFTP_BIOS, TFTP_UEFI_X64, respond, serve,
};

#[cfg(test)]
mod tests;
