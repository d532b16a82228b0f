//! Wake-on-LAN: a magic packet turns a machine on, and that is all it can do.
//! So it is paired with what reads power and, but for a sense line alone, cuts
//! it; without that no sled could be proved off.
//!
//! To turn on, the supply comes first: what cuts it must give it back before a
//! network card can listen. Whether the machine is on is asked after the packet.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use messages::Mac;
use tokio::net::UdpSocket;
use tokio::time::sleep;

use super::PowerReading;
use super::error::{PowerError, Target};
use super::plain::Plain;
use super::switch::{Power, Switched};
use super::truth::Proof;

/// The port by convention: discard. Cards look at the bytes alone.
pub const PORT: u16 = 9;
/// Datagrams get lost, and a card that was without supply needs seconds.
const COPIES: u32 = 3;
const GAP: Duration = Duration::from_secs(1);
/// Six bytes of ones, and the address sixteen times (AMD, "Magic Packet
/// Technology", 1995).
const PACKET_BYTES: usize = 6 + 16 * 6;

/// How to wake a machine.
#[derive(Clone, Debug)]
pub struct WakeConfig {
    /// The network card that listens.
    pub mac: Mac,
    /// The broadcast address of its network.
    pub broadcast: SocketAddrV4,
}

/// A machine that is woken over its network.
pub struct WakeDriver {
    target: Target,
    packet: [u8; PACKET_BYTES],
    broadcast: SocketAddrV4,
    off: Plain,
}

impl WakeDriver {
    /// Wakes by packet; `off` reads and cuts. Sends nothing yet.
    #[must_use]
    pub fn new(config: &WakeConfig, off: Plain, sled: String) -> Self {
        let by = format!("Wake-on-LAN to {}", config.broadcast);
        Self {
            target: Target::new(by, Some(sled)),
            packet: magic_packet(config.mac),
            broadcast: config.broadcast,
            off,
        }
    }

    /// Whose power it is, for messages.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How its word is checked: a second packet does no harm.
    #[must_use]
    pub fn proof(&self) -> Proof {
        Proof {
            commands: Proof::default().commands,
            ..self.off.proof()
        }
    }

    /// As [`Driver::claim`](super::Driver::claim).
    pub fn claim(&mut self, generation: u64) {
        self.off.claim(generation);
    }

    /// What the other half sees.
    ///
    /// # Errors
    /// As [`Plain::read`].
    pub async fn read(&self) -> Result<PowerReading, PowerError> {
        self.off.read().await
    }

    /// Wakes the machine, unless it is on, or has its power cut.
    ///
    /// # Errors
    /// When the other half fails, or no packet can be sent.
    pub async fn set(&self, power: Power) -> Result<Switched, PowerError> {
        let supply = self.off.set(power).await?;
        if power == Power::Off {
            return Ok(supply);
        }
        // A supply that is there says nothing of a machine that sleeps.
        if supply == Switched::AlreadySo && self.read().await? == PowerReading::On {
            return Ok(Switched::AlreadySo);
        }
        for copy in 0..COPIES {
            if copy > 0 {
                sleep(GAP).await;
            }
            self.wake().await.map_err(|source| PowerError::Packet {
                target: self.target.clone(),
                source,
            })?;
        }
        Ok(Switched::Commanded)
    }

    async fn wake(&self) -> std::io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.set_broadcast(true)?;
        socket.send_to(&self.packet, self.broadcast).await.map(drop)
    }
}

fn magic_packet(mac: Mac) -> [u8; PACKET_BYTES] {
    let mut packet = [0xff; PACKET_BYTES];
    for copy in packet.chunks_exact_mut(6).skip(1) {
        copy.copy_from_slice(&mac.0);
    }
    packet
}

#[cfg(test)]
mod tests;
