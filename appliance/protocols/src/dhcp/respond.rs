//! The server's answer to one message (RFC 2131 section 4.3). It never keeps
//! state of its own and never chooses who may boot: `boot` is present only
//! where the caller allows it.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use super::client::{Client, FirmwareBoot, MessageType, Stage};
use super::leases::{LeasePool, PoolError};
use super::options::{Options, code};
use super::packet::{EncodeError, Op, Packet};

/// First file for a BIOS, by TFTP: iPXE on the firmware's own network driver.
pub const TFTP_BIOS: &str = "undionly.kpxe";
/// First file for UEFI x86-64, by TFTP: iPXE on the firmware's own network driver.
pub const TFTP_UEFI_X64: &str = "snponly.efi";

/// RFC 2132 section 9.10: every client takes 576 octets.
const MIN_CLIENT_LIMIT: u16 = 576;
/// Option 57 counts the IP datagram with most clients: leave its headers room.
const IP_UDP_HEADER_BYTES: u16 = 28;
const MAX_IP_DATAGRAM_BYTES: u16 = 1500;
/// PXE 2.1, tag 6 (PXE_DISCOVERY_CONTROL) with bit 3: load the boot file of
/// this answer without asking a boot server. Without it EDK2 takes option 60
/// `PXEClient` as "ask port 4011" and waits there in vain.
const PXE_BYPASS_DISCOVERY: [u8; 4] = [6, 1, 8, 255];
/// iPXE's option 175.176 (no-pxedhcp): do not wait 3 s for a ProxyDHCP server.
const IPXE_NO_PXE_DHCP: [u8; 3] = [176, 1, 1];

/// What every lease of one network says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// This server on the sled interface: server identifier and TFTP server.
    pub server: Ipv4Addr,
    /// Subnet mask.
    pub netmask: Ipv4Addr,
    /// Default route, where the sleds have one.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Lease time.
    pub lease_seconds: u32,
}

/// Where a client that may boot continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootSources {
    /// URL of the iPXE script.
    pub script_url: String,
    /// URL of an EFI program for UEFI HTTP Boot; without it such firmware
    /// gets a lease and no boot file.
    pub http_boot_url: Option<String>,
}

/// Everything that one answer needs.
#[derive(Clone, Copy, Debug)]
pub struct LeaseAnswer<'a> {
    /// The network.
    pub network: &'a Network,
    /// The address that belongs to the client.
    pub address: Ipv4Addr,
    /// Boot sources, only for a client that may boot.
    pub boot: Option<&'a BootSources>,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// 255.255.255.255, port 68: the client has no address yet.
    Broadcast,
    /// This address, port 68.
    Client(Ipv4Addr),
    /// This relay, port 67.
    Relay(Ipv4Addr),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Offer, Ack or Nak.
    pub message: MessageType,
    /// The packet.
    pub packet: Packet,
    /// Where it goes.
    pub destination: Destination,
    /// Most octets that the client takes.
    limit: usize,
}

impl Reply {
    /// The datagram.
    ///
    /// # Errors
    /// [`EncodeError`] when it does not fit what the client accepts.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        self.packet.encode(self.limit)
    }
}

/// Applies a client's message to the pool and answers it.
/// `None`: nothing is to be sent.
///
/// # Errors
/// [`PoolError::Exhausted`] when there is no address left for it.
pub fn serve(
    pool: &mut LeasePool,
    network: &Network,
    request: &Packet,
    boot: Option<&BootSources>,
    now_ms: u64,
) -> Result<Option<Reply>, PoolError> {
    let Some(client) = Client::of(request) else {
        return Ok(None);
    };
    let hint = request
        .options
        .address(code::REQUESTED_ADDRESS)
        .or_else(|| Some(request.client_address).filter(|address| !address.is_unspecified()));
    let other_server = request
        .options
        .address(code::SERVER_ID)
        .is_some_and(|server| server != network.server);
    let address = match client.message {
        MessageType::Discover => pool.offer(client.mac, hint, now_ms)?,
        // RFC 2131 section 4.3.2: it took another server's offer.
        MessageType::Request if other_server => return Ok(None),
        MessageType::Request => pool.grant(client.mac, hint, now_ms)?,
        MessageType::Inform => request.client_address,
        MessageType::Decline => {
            if let Some(address) = hint.filter(|_| !other_server) {
                pool.decline(client.mac, address, now_ms);
            }
            return Ok(None);
        }
        MessageType::Release => {
            if !other_server {
                pool.release(client.mac, request.client_address);
            }
            return Ok(None);
        }
        MessageType::Offer | MessageType::Ack | MessageType::Nak => return Ok(None),
    };
    Ok(respond(
        request,
        &LeaseAnswer {
            network,
            address,
            boot,
        },
    ))
}

/// The answer to a DISCOVER, REQUEST or INFORM whose client owns
/// `answer.address`; `None` for everything that is not answered.
#[must_use]
pub fn respond(request: &Packet, answer: &LeaseAnswer<'_>) -> Option<Reply> {
    let client = Client::of(request)?;
    let message = match client.message {
        MessageType::Discover => MessageType::Offer,
        MessageType::Request => {
            // The requested address stands in option 50 while a client selects
            // or reboots, and in ciaddr while it renews (RFC 2131 table 4).
            let wanted = request
                .options
                .address(code::REQUESTED_ADDRESS)
                .unwrap_or(request.client_address);
            if wanted == answer.address {
                MessageType::Ack
            } else {
                MessageType::Nak
            }
        }
        MessageType::Inform if !request.client_address.is_unspecified() => MessageType::Ack,
        _ => return None,
    };
    let mut packet = blank_reply(request, message, answer.network.server);
    if message != MessageType::Nak {
        if client.message != MessageType::Inform {
            packet.your_address = answer.address;
            let seconds = answer.network.lease_seconds.to_be_bytes();
            packet.options.set(code::LEASE_TIME, seconds);
        }
        put_network(&mut packet.options, answer.network);
        if let Some(boot) = answer.boot {
            put_boot(&mut packet, request, &client, boot, answer.network.server);
        }
    }
    let limit = request
        .options
        .word(code::MAX_MESSAGE_SIZE)
        .unwrap_or(MIN_CLIENT_LIMIT)
        .clamp(MIN_CLIENT_LIMIT, MAX_IP_DATAGRAM_BYTES)
        - IP_UDP_HEADER_BYTES;
    let destination = destination(request, message);
    Some(Reply {
        message,
        packet,
        destination,
        limit: usize::from(limit),
    })
}

/// RFC 2131 table 3, with what is echoed: the client identifier (RFC 6842),
/// relay agent information (RFC 3046) and the machine identifier (PXE 2.1).
fn blank_reply(request: &Packet, message: MessageType, server: Ipv4Addr) -> Packet {
    let mut options = Options::default();
    options.set(code::MESSAGE_TYPE, [message as u8]);
    options.set(code::SERVER_ID, server.octets());
    for echoed in [code::CLIENT_ID, code::RELAY_AGENT, code::MACHINE_ID] {
        if let Some(value) = request.options.get(echoed) {
            options.set(echoed, value);
        }
    }
    let renewing = message == MessageType::Ack;
    Packet {
        op: Op::Reply,
        hops: 0,
        xid: request.xid,
        seconds: 0,
        // RFC 2131 section 4.3.2: a relayed NAK is broadcast, as the client
        // may not have a usable address.
        broadcast: request.broadcast
            || (message == MessageType::Nak && !request.relay.is_unspecified()),
        client_address: if renewing {
            request.client_address
        } else {
            Ipv4Addr::UNSPECIFIED
        },
        your_address: Ipv4Addr::UNSPECIFIED,
        next_server: Ipv4Addr::UNSPECIFIED,
        relay: request.relay,
        mac: request.mac,
        server_name: Vec::new(),
        boot_file: Vec::new(),
        options,
    }
}

fn put_network(options: &mut Options, network: &Network) {
    options.set(code::SUBNET_MASK, network.netmask.octets());
    if let Some(gateway) = network.gateway {
        options.set(code::ROUTER, gateway.octets());
    }
    if !network.dns.is_empty() {
        let list: Vec<u8> = network.dns.iter().flat_map(Ipv4Addr::octets).collect();
        options.set(code::DNS, list);
    }
}

fn put_boot(
    packet: &mut Packet,
    request: &Packet,
    client: &Client,
    boot: &BootSources,
    server: Ipv4Addr,
) {
    match (client.stage, client.firmware) {
        (Stage::Ipxe, _) => {
            put_boot_file(packet, server, &boot.script_url);
            packet.options.set(code::IPXE, IPXE_NO_PXE_DHCP);
        }
        (Stage::Firmware, FirmwareBoot::BiosTftp) => put_pxe(packet, server, TFTP_BIOS),
        (Stage::Firmware, FirmwareBoot::UefiX64Tftp) => put_pxe(packet, server, TFTP_UEFI_X64),
        (Stage::Firmware, FirmwareBoot::UefiX64Http) => {
            if let Some(url) = &boot.http_boot_url {
                put_boot_file(packet, server, url);
                // UEFI "HTTP Boot": only an answer with this class counts.
                packet.options.set(code::VENDOR_CLASS, *b"HTTPClient");
            }
        }
        (Stage::Firmware, FirmwareBoot::Unsupported) | (Stage::System, _) => return,
    }
    // A ROM iPXE without HTTP comes as firmware and reads its own option too.
    if client.stage == Stage::Firmware && request.options.get(code::IPXE).is_some() {
        packet.options.set(code::IPXE, IPXE_NO_PXE_DHCP);
    }
}

fn put_pxe(packet: &mut Packet, server: Ipv4Addr, file: &str) {
    put_boot_file(packet, server, file);
    packet.options.set(code::VENDOR_CLASS, *b"PXEClient");
    packet
        .options
        .set(code::VENDOR_SPECIFIC, PXE_BYPASS_DISCOVERY);
    packet
        .options
        .set(code::TFTP_SERVER, alloc::format!("{server}").into_bytes());
}

/// Both places where firmware looks: the fixed field, where it fits, and
/// option 67.
fn put_boot_file(packet: &mut Packet, server: Ipv4Addr, name: &str) {
    packet.next_server = server;
    packet.options.set(code::BOOT_FILE, name.as_bytes());
    if name.len() < 128 {
        packet.boot_file = name.as_bytes().to_vec();
    }
}

/// RFC 2131 section 4.1. A client without an address is always answered by
/// broadcast, which all of them accept: unicast would need a raw socket to
/// name the Ethernet address.
fn destination(request: &Packet, message: MessageType) -> Destination {
    if !request.relay.is_unspecified() {
        Destination::Relay(request.relay)
    } else if message == MessageType::Ack && !request.client_address.is_unspecified() {
        Destination::Client(request.client_address)
    } else {
        Destination::Broadcast
    }
}
