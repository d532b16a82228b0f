//! The network: links up, a lease, address, route and resolver. IPv4 only, as
//! the appliance's DHCP server is. It never waits without a bound.

mod client;
mod dhcp;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::console::say;
use crate::inventory::text;
use crate::ioctls;
use dhcp::Lease;

/// A link and a lease must be had within this: spanning tree alone may hold a
/// port for 30 s.
const PATIENCE: Duration = Duration::from_secs(180);
const CARRIER_POLL: Duration = Duration::from_millis(50);

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetError {
    /// No Ethernet card with a driver.
    #[error("this sled has no network card that the kernel drives")]
    NoCard,
    /// No card got a lease.
    #[error("no network card got a DHCP lease within {} s", PATIENCE.as_secs())]
    NoLease,
    /// The lease could not be applied.
    #[error("cannot configure {name}")]
    Configure {
        /// The card.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// `/etc/resolv.conf` could not be written.
    #[error("cannot write /etc/resolv.conf")]
    Resolver(#[source] io::Error),
}

/// An Ethernet card.
#[derive(Clone, Debug)]
struct Card {
    name: String,
    mac: [u8; 6],
}

/// Brings the network up on the first card that gets a lease, and keeps that
/// lease. Returns the text of `resolv.conf`.
///
/// # Errors
/// See [`NetError`].
pub(crate) fn bring_up() -> Result<String, NetError> {
    let socket =
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|source| NetError::Configure {
            name: "lo".to_owned(),
            source,
        })?;
    // The kernel gives lo its address by itself.
    if let Err(error) = ioctls::set_link(&socket, "lo", true) {
        say!("cannot bring up lo: {error}");
    }
    let cards = cards();
    if cards.is_empty() {
        return Err(NetError::NoCard);
    }
    let (card, lease) = first_lease(&socket, cards).ok_or(NetError::NoLease)?;
    configure(&socket, &card, &lease).map_err(|source| NetError::Configure {
        name: card.name.clone(),
        source,
    })?;
    say!(
        "{} ({}) has {} until {} s from now",
        card.name,
        messages::Mac(card.mac),
        lease.address,
        lease.seconds
    );
    let resolver = resolver(&lease);
    fs::create_dir_all("/etc")
        .and_then(|()| fs::write("/etc/resolv.conf", &resolver))
        .map_err(NetError::Resolver)?;
    thread::spawn(move || client::keep(&card, lease));
    Ok(resolver)
}

/// Every Ethernet card with hardware behind it.
fn cards() -> Vec<Card> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten();
    let mut cards: Vec<Card> = entries
        .flatten()
        .filter_map(|entry| {
            let folder = entry.path();
            // ARPHRD_ETHER of linux/if_arp.h; a bridge or a tunnel has no device.
            let real = text(&folder.join("type")) == "1" && folder.join("device").exists();
            let mac: messages::Mac = text(&folder.join("address")).parse().ok()?;
            let name = entry.file_name().into_string().ok()?;
            real.then_some(Card { name, mac: mac.0 })
        })
        .collect();
    cards.sort_by(|a, b| a.name.cmp(&b.name));
    cards
}

/// Asks on every card at once: which of them leads to the appliance is known
/// only when one is answered.
fn first_lease(socket: &UdpSocket, cards: Vec<Card>) -> Option<(Card, Lease)> {
    let (sender, receiver) = mpsc::channel();
    let settled = Arc::new(AtomicBool::new(false));
    let deadline = Instant::now() + PATIENCE;
    for card in cards {
        if let Err(error) = ioctls::set_link(socket, &card.name, true) {
            say!("cannot bring up {}: {error}", card.name);
            continue;
        }
        let (sender, settled) = (sender.clone(), Arc::clone(&settled));
        thread::spawn(move || {
            let give_up = || settled.load(Ordering::Relaxed) || Instant::now() >= deadline;
            if !wait_for_carrier(&card.name, &give_up) {
                return;
            }
            say!("{} has a link", card.name);
            match client::acquire(&card, &give_up) {
                Ok(Some(lease)) => drop(sender.send((card, lease))),
                Ok(None) => {}
                Err(error) => say!("no DHCP on {}: {error}", card.name),
            }
        });
    }
    drop(sender);
    let won = receiver.recv_timeout(PATIENCE).ok();
    settled.store(true, Ordering::Relaxed);
    won
}

fn wait_for_carrier(name: &str, give_up: &dyn Fn() -> bool) -> bool {
    let carrier = Path::new("/sys/class/net").join(name).join("carrier");
    while text(&carrier) != "1" {
        if give_up() {
            return false;
        }
        thread::sleep(CARRIER_POLL);
    }
    true
}

fn configure(socket: &UdpSocket, card: &Card, lease: &Lease) -> io::Result<()> {
    ioctls::set_address(socket, &card.name, lease.address, lease.mask)?;
    if let Some(router) = lease.router
        && let Err(error) = ioctls::add_default_route(socket, router)
    {
        // The appliance is on this very network; a job may miss its way out,
        // and says so itself.
        say!("cannot route by {router}: {error}");
    }
    Ok(())
}

fn resolver(lease: &Lease) -> String {
    let mut text = String::new();
    if let Some(domain) = &lease.domain {
        text.push_str(&format!("search {domain}\n"));
    }
    for server in &lease.dns {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

/// Takes every card's link down, for the moment before the power goes off.
pub(crate) fn all_links_down() {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else {
        return;
    };
    for card in cards() {
        if let Err(error) = ioctls::set_link(&socket, &card.name, false) {
            say!("cannot take {} down: {error}", card.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers() {
        let check = |domain: Option<&str>, dns: &[Ipv4Addr], expect: &str| {
            let lease = Lease {
                domain: domain.map(str::to_owned),
                dns: dns.to_vec(),
                ..Lease::default_for_test()
            };
            assert_eq!(resolver(&lease), expect);
        };
        let (a, b) = (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(9, 9, 9, 9));
        check(None, &[], "");
        check(None, &[a, b], "nameserver 10.77.0.1\nnameserver 9.9.9.9\n");
        check(
            Some("ci.example"),
            &[a],
            "search ci.example\nnameserver 10.77.0.1\n",
        );
    }
}
