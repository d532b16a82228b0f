//! Sockets that hear and speak on one interface only (`SO_BINDTODEVICE`), so
//! that DHCP and TFTP can never leak to the uplink or the admin network.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// A network boot socket could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// UDP.
    #[error(
        "bind {service} to {address} on interface {interface}: {source}; is the interface there, \
         does no other server use the port, and may this process bind it (CAP_NET_BIND_SERVICE, \
         CAP_NET_RAW)?"
    )]
    Bind {
        /// `DHCP` or `TFTP`.
        service: &'static str,
        /// Address and port.
        address: SocketAddrV4,
        /// Name of the interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Raw ICMPv6.
    #[error(
        "open ICMPv6 socket on interface {interface}: {source}; is IPv6 enabled there, and has \
         this process CAP_NET_RAW?"
    )]
    Icmp {
        /// Name of the interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Receiving failed for good.
    #[error("receive {service} datagram: {source}")]
    Receive {
        /// `DHCP`, `TFTP` or `ICMPv6`.
        service: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A UDP socket on `address` that sees `interface` only and may broadcast.
pub(super) fn udp(
    service: &'static str,
    interface: &str,
    address: SocketAddrV4,
) -> Result<UdpSocket, SocketError> {
    let open = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::V4(address).into())?;
        UdpSocket::from_std(socket.into())
    };
    open().map_err(|source| SocketError::Bind {
        service,
        address,
        interface: interface.to_owned(),
        source,
    })
}

/// A raw ICMPv6 socket on `interface` that hears the all-routers group and
/// sends with hop limit 255 (RFC 4861 section 4.2).
pub(super) fn icmpv6(interface: &str) -> Result<(UdpSocket, u32), SocketError> {
    let open = || -> io::Result<(UdpSocket, u32)> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_nonblocking(true)?;
        let hop_limit = u32::from(protocols::router_advertisement::HOP_LIMIT);
        socket.set_multicast_hops_v6(hop_limit)?;
        socket.set_unicast_hops_v6(hop_limit)?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_loop_v6(false)?;
        socket.join_multicast_v6(&Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2), index)?;
        // Datagram calls are the same for raw sockets; tokio has no type of
        // its own for them.
        Ok((UdpSocket::from_std(socket.into())?, index))
    };
    open().map_err(|source| SocketError::Icmp {
        interface: interface.to_owned(),
        source,
    })
}

/// Whether a receive error concerns one peer only: ICMP answers to what was
/// sent before come back as errors of the socket.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}
