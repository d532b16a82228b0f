//! Hostile bytes to values and back: DHCP, TFTP, IPMI, webhook signatures,
//! event streams, iPXE scripts.
//!
//! Nothing here does IO, reads a clock or draws random numbers: bytes, time
//! and randomness are arguments. Nothing here decides what the appliance does,
//! and no input, however broken, makes it panic.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod dhcp;
pub mod event_stream;
pub mod ipxe;
pub mod rmcp;
pub mod router_advertisement;
pub mod tftp;
pub mod webhook;
