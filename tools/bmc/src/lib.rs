//! A BMC for tests: IPMI 2.0 over LAN with cipher suites 3 and 17, a chassis
//! that exists in memory only, and manners that can be bad.
//!
//! It shares no code with Musher's client, and no cryptography either: HMACs
//! are ring's, AES is written from FIPS 197 here, where the client has
//! RustCrypto's. ipmitool (OpenSSL) and ipmipower (libgcrypt) accept it, which
//! `tests/conformance` holds. It guards nothing: AES by table leaks its key to
//! whoever shares the processor.

mod aes;
mod bmc;
mod chassis;
mod crypto;
mod server;
mod wire;

pub use bmc::{Bmc, GUID, Outgoing};
pub use chassis::{Chassis, Manner, Quirks, User};
pub use server::Server;
