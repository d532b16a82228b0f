//! Network boot: DHCP, TFTP, boot files by HTTP, and a router advertisement,
//! all bound to the sled interface.
//!
//! It never decides who may boot: each DHCP request and each file is put to a
//! [`BootAuthority`] first, and without its word nothing is given. It never
//! listens on another interface, and never hands a machine to its local disk.
//!
//! The way of a sled:
//!
//! | stage | asks by | gets |
//! | --- | --- | --- |
//! | firmware (BIOS, UEFI x86-64) | DHCP, TFTP | `undionly.kpxe` or `snponly.efi` |
//! | iPXE (from there, or in ROM) | DHCP, HTTP | a script of its own |
//! | script | HTTP | kernel and initramfs under the ticket's token |
//! | agent | DHCP | a lease |

pub mod authority;
pub mod dhcp;
pub mod http;
pub mod leases;
pub mod router_advertisement;
mod socket;
pub mod tftp;

pub use authority::{BootAnswer, BootAuthority, BootFile, BootOffer, BootQuestion};
pub use http::serve_boot_file;
pub use leases::LeaseTable;
pub use protocols::dhcp::{MacAddress, Stage};
pub use protocols::ipxe::{BootToken, CommandLine, ValueError};
pub use socket::SocketError;
