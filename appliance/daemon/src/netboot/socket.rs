//! Sockets that hear and speak on one interface only (`SO_BINDTODEVICE`), so
//! that network boot can never leak to the uplink or the admin network. An
//! address alone would not do: Linux answers for it on every interface.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A network boot socket could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// UDP or TCP.
    #[error(
        "bind {service} to {address} on interface {interface}: {source}; is the interface there, \
         does no other server use the port, and may this process bind it (CAP_NET_BIND_SERVICE, \
         CAP_NET_RAW)?"
    )]
    Bind {
        /// `DHCP`, `TFTP` or `HTTP`.
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
        let socket = bound(Type::DGRAM, Protocol::UDP, interface, address)?;
        socket.set_broadcast(true)?;
        UdpSocket::from_std(socket.into())
    };
    open().map_err(failed(service, interface, address))
}

/// A TCP listener on `address` that takes connections from `interface` only.
pub(super) fn tcp(
    service: &'static str,
    interface: &str,
    address: SocketAddrV4,
) -> Result<TcpListener, SocketError> {
    let open = || -> io::Result<TcpListener> {
        let socket = bound(Type::STREAM, Protocol::TCP, interface, address)?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(failed(service, interface, address))
}

fn bound(
    kind: Type,
    protocol: Protocol,
    interface: &str,
    address: SocketAddrV4,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, kind, Some(protocol))?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::V4(address).into())?;
    Ok(socket)
}

fn failed(
    service: &'static str,
    interface: &str,
    address: SocketAddrV4,
) -> impl FnOnce(io::Error) -> SocketError {
    let interface = interface.to_owned();
    move |source| SocketError::Bind {
        service,
        address,
        interface,
        source,
    }
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
