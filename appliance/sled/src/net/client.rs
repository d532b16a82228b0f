//! The DHCP client's conversation (RFC 2131, 4.4): first lease, and renewals
//! for jobs that outlive it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use socket2::{Domain, Protocol, Socket, Type};

use super::Card;
use super::dhcp::{Answer, Ask, Lease, decode, encode};
use crate::console::say;

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// First wait for an answer; doubled up to [`LONGEST_WAIT`]. RFC 2131 says
/// 4 s, but a lost first packet is common while a switch port comes up.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Shortest time between two tries to extend a lease (RFC 2131, 4.4.5).
const SHORTEST_RENEWAL: Duration = Duration::from_secs(60);

/// Gets a lease on `card`, or `None` once `give_up` says so.
///
/// # Errors
/// No socket can be had on the card.
pub(super) fn acquire(card: &Card, give_up: &dyn Fn() -> bool) -> io::Result<Option<Lease>> {
    let socket = socket(card)?;
    let mut wait = FIRST_WAIT;
    while !give_up() {
        let transaction = transaction();
        let offer = exchange(&socket, card, Ask::Discover, transaction, wait);
        if let Ok(Some(Answer::Offer(offer))) = offer {
            let request = Ask::Request {
                address: offer.address,
                server: offer.server,
            };
            if let Ok(Some(Answer::Acknowledge(lease))) =
                exchange(&socket, card, request, transaction, wait)
            {
                return Ok(Some(lease));
            }
        } else if let Err(error) = offer {
            say!("DHCP on {}: {error}", card.name);
            thread::sleep(wait);
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Ok(None)
}

/// Extends the lease for as long as the sled runs.
///
/// A lease that ends is told, not obeyed: the address is kept, for to drop it
/// would kill the job for certain, and the appliance leases by MAC, so that
/// nobody else has it.
pub(super) fn keep(card: &Card, mut lease: Lease) {
    loop {
        let begun = Instant::now();
        let whole = Duration::from_secs(u64::from(lease.seconds).max(120));
        thread::sleep(whole / 2);
        lease = loop {
            if let Some(lease) = extend(card, &lease, begun.elapsed() > whole * 7 / 8) {
                break lease;
            }
            let left = whole.saturating_sub(begun.elapsed());
            if left.is_zero() {
                say!("the lease of {} ended and was not renewed", lease.address);
            }
            thread::sleep((left / 2).max(SHORTEST_RENEWAL));
        };
    }
}

/// One try: RENEWING asks the server itself, REBINDING anyone.
fn extend(card: &Card, lease: &Lease, rebind: bool) -> Option<Lease> {
    let socket = socket(card).ok()?;
    let target = if rebind {
        Ipv4Addr::BROADCAST
    } else {
        lease.server
    };
    let ask = Ask::Extend {
        address: lease.address,
        broadcast: rebind,
    };
    let transaction = transaction();
    send(&socket, card, ask, transaction, target).ok()?;
    match receive(&socket, card, transaction, LONGEST_WAIT) {
        Ok(Some(Answer::Acknowledge(new))) if new.address == lease.address => Some(new),
        _ => None,
    }
}

fn socket(card: &Card) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    // With a device and no address, the kernel sends a limited broadcast from
    // 0.0.0.0, as RFC 2131, 4.1 wants it.
    socket.bind_device(Some(card.name.as_bytes()))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
    Ok(socket.into())
}

fn exchange(
    socket: &UdpSocket,
    card: &Card,
    ask: Ask,
    transaction: u32,
    wait: Duration,
) -> io::Result<Option<Answer>> {
    send(socket, card, ask, transaction, Ipv4Addr::BROADCAST)?;
    receive(socket, card, transaction, wait)
}

fn send(
    socket: &UdpSocket,
    card: &Card,
    ask: Ask,
    transaction: u32,
    target: Ipv4Addr,
) -> io::Result<()> {
    let bytes = encode(ask, transaction, card.mac);
    socket.send_to(&bytes, (target, SERVER_PORT)).map(drop)
}

fn receive(
    socket: &UdpSocket,
    card: &Card,
    transaction: u32,
    wait: Duration,
) -> io::Result<Option<Answer>> {
    let deadline = Instant::now() + wait;
    let mut bytes = [0; 1500];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv_from(&mut bytes) {
            Ok((length, _)) => length,
            Err(error) if is_timeout(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let message = bytes.get(..length).unwrap_or_default();
        if let Some(answer) = decode(message, transaction, card.mac) {
            return Ok(Some(answer));
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// A transaction id that other clients on the wire do not have.
fn transaction() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness the MAC in every message still tells clients apart.
    let _ = SystemRandom::new().fill(&mut bytes);
    u32::from_be_bytes(bytes)
}
