//! Who asks: the stage of boot, the architecture and what such firmware can
//! load first. It never trusts what it reads with anything but the choice
//! among files that are public anyway.

use alloc::vec::Vec;

use super::mac::MacAddress;
use super::options::{Options, code};
use super::packet::{Op, Packet};

/// DHCP message types (RFC 2132 section 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    /// Client looks for servers.
    Discover = 1,
    /// Server offers.
    Offer = 2,
    /// Client takes an offer, or renews.
    Request = 3,
    /// Client saw the address in use.
    Decline = 4,
    /// Server confirms.
    Ack = 5,
    /// Server refuses.
    Nak = 6,
    /// Client gives the address back.
    Release = 7,
    /// Client has an address and wants parameters.
    Inform = 8,
}

impl MessageType {
    /// Reads option 53.
    #[must_use]
    pub fn of(options: &Options) -> Option<Self> {
        Some(match options.octet(code::MESSAGE_TYPE)? {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }
}

/// What runs on the client while it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Boot firmware: option 60 starts with `PXEClient` or `HTTPClient`.
    Firmware,
    /// iPXE that can fetch by HTTP: user class `iPXE`.
    Ipxe,
    /// An operating system (our agent, a job): wants a lease and no boot file.
    System,
}

/// What the firmware can load first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareBoot {
    /// PXE on a BIOS: a `.kpxe` by TFTP.
    BiosTftp,
    /// PXE on UEFI x86-64: an EFI program by TFTP.
    UefiX64Tftp,
    /// UEFI HTTP Boot on x86-64: a URL and option 60 `HTTPClient` in the answer.
    UefiX64Http,
    /// Nothing that is served here.
    Unsupported,
}

/// What a request tells about the one who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Ethernet address: the only identity that stays the same from firmware
    /// to iPXE to agent. The client identifier changes between stages.
    pub mac: MacAddress,
    /// What runs there.
    pub stage: Stage,
    /// First architecture of option 93 (RFC 4578, IANA "Processor Architecture
    /// Types"); `None` where the option is missing.
    pub architecture: Option<u16>,
    /// What its firmware can load.
    pub firmware: FirmwareBoot,
    /// Message type.
    pub message: MessageType,
}

impl Client {
    /// Reads a client's packet; `None` for replies, packets without a message
    /// type that a client may send, and impossible MAC addresses.
    #[must_use]
    pub fn of(packet: &Packet) -> Option<Self> {
        let message = MessageType::of(&packet.options)?;
        let by_server = matches!(
            message,
            MessageType::Offer | MessageType::Ack | MessageType::Nak
        );
        if packet.op != Op::Request || by_server || !packet.mac.is_unicast() {
            return None;
        }
        let architectures = architectures(&packet.options);
        let vendor = packet.options.get(code::VENDOR_CLASS).unwrap_or_default();
        let pxe = vendor.starts_with(b"PXEClient");
        let http = vendor.starts_with(b"HTTPClient");
        let stage = if is_ipxe_with_http(&packet.options) {
            Stage::Ipxe
        } else if pxe || http {
            Stage::Firmware
        } else {
            Stage::System
        };
        let firmware = architectures
            .iter()
            .find_map(|architecture| match (*architecture, http) {
                (0, false) => Some(FirmwareBoot::BiosTftp),
                // 7 is "EFI BC", 9 is "EFI x86-64"; x64 machines send either.
                (7 | 9, false) => Some(FirmwareBoot::UefiX64Tftp),
                (16, true) => Some(FirmwareBoot::UefiX64Http),
                _ => None,
            })
            .unwrap_or(FirmwareBoot::Unsupported);
        let architecture = architectures.first().copied();
        Some(Self {
            mac: packet.mac,
            stage,
            architecture,
            firmware,
            message,
        })
    }
}

/// Option 93 as the raw list that it is (RFC 4578 section 2.1).
fn architectures(options: &Options) -> Vec<u16> {
    let raw = options.get(code::ARCHITECTURE).unwrap_or_default();
    raw.chunks_exact(2)
        .filter_map(|pair| <[u8; 2]>::try_from(pair).ok())
        .map(u16::from_be_bytes)
        .collect()
}

/// Whether the client is an iPXE that can take a script by HTTP. A ROM iPXE
/// may be built without HTTP; it lists its features in option 175, where
/// sub-option 19 stands for HTTP. Such a ROM is treated as plain firmware and
/// loads our iPXE, which has HTTP, so it cannot loop.
fn is_ipxe_with_http(options: &Options) -> bool {
    let Some(user_class) = options.get(code::USER_CLASS) else {
        return false;
    };
    if !user_class_contains(user_class, b"iPXE") {
        return false;
    }
    match options.get(code::IPXE) {
        None => true,
        Some(features) => {
            let mut parsed = Options::default();
            parsed.absorb(features).is_ok() && parsed.get(19).is_some()
        }
    }
}

/// RFC 3004 lists length-prefixed classes; iPXE and many others send the bare
/// text.
fn user_class_contains(raw: &[u8], wanted: &[u8]) -> bool {
    if raw == wanted {
        return true;
    }
    let mut rest = raw;
    while let Some((&length, body)) = rest.split_first() {
        let Some((class, tail)) = body.split_at_checked(usize::from(length)) else {
            return false;
        };
        if class == wanted {
            return true;
        }
        rest = tail;
    }
    false
}
