//! Wake-on-LAN: a magic packet turns a machine on, and that is all it can do.
//! So it is paired with a program that reads and cuts power; without that no
//! sled could be proved off.
//!
//! To turn on, the program's `on` comes first: what cuts the supply must give
//! it back before a network card can listen.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use messages::Mac;
use tokio::net::UdpSocket;
use tokio::time::sleep;

use super::command::{CommandConfig, CommandDriver};
use super::error::{PowerError, Target};
use super::switch::Power;
use super::{PowerReading, Switched};

/// The port by convention: discard. Cards look at the bytes alone.
pub const PORT: u16 = 9;
/// Datagrams get lost, and a card that was without supply needs seconds.
const COPIES: u32 = 3;
const GAP: Duration = Duration::from_secs(1);
/// Six bytes of ones, and the address sixteen times (AMD, "Magic Packet
/// Technology", 1995).
const PACKET_BYTES: usize = 6 + 16 * 6;

/// How to wake a machine, and how to see it and cut its power.
#[derive(Clone, Debug)]
pub struct WakeConfig {
    /// The network card that listens.
    pub mac: Mac,
    /// The broadcast address of its network.
    pub broadcast: SocketAddrV4,
    /// What reads and cuts power.
    pub off: CommandConfig,
}

/// A machine that is woken over its network.
pub struct WakeDriver {
    target: Target,
    packet: [u8; PACKET_BYTES],
    broadcast: SocketAddrV4,
    off: CommandDriver,
}

impl WakeDriver {
    /// Sends nothing yet.
    #[must_use]
    pub fn new(config: WakeConfig, sled: String) -> Self {
        Self {
            target: Target::new(
                format!("Wake-on-LAN to {}", config.broadcast),
                Some(sled.clone()),
            ),
            packet: magic_packet(config.mac),
            broadcast: config.broadcast,
            off: CommandDriver::new(config.off, sled),
        }
    }

    /// Whose power it is, for messages.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What the paired program says.
    ///
    /// # Errors
    /// As [`CommandDriver::read`].
    pub async fn read(&self) -> Result<PowerReading, PowerError> {
        self.off.read().await
    }

    /// Wakes the machine, or has the program cut its power.
    ///
    /// # Errors
    /// When the program fails, or no packet can be sent.
    pub async fn set(&self, power: Power) -> Result<Switched, PowerError> {
        if self.off.set(power).await? == Switched::AlreadySo {
            return Ok(Switched::AlreadySo);
        }
        if power == Power::On {
            for copy in 0..COPIES {
                if copy > 0 {
                    sleep(GAP).await;
                }
                self.wake().await.map_err(|source| PowerError::Packet {
                    target: self.target.clone(),
                    source,
                })?;
            }
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
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_supply_comes_first_then_the_packet() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("plug");
        let text = format!(
            "#!/bin/sh\ncd {}\ncase $1 in status) cat power ;; *) echo $1 >> log ;; esac\n",
            folder.path().display()
        );
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let power = |word: &str| fs::write(folder.path().join("power"), word).unwrap();
        let card = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let std::net::SocketAddr::V4(broadcast) = card.local_addr().unwrap() else {
            panic!("an IPv4 address");
        };
        let config = WakeConfig {
            mac: "52:54:00:77:00:01".parse().unwrap(),
            broadcast,
            off: CommandConfig {
                program,
                arguments: Vec::new(),
                deadline: Duration::from_secs(20),
            },
        };
        let driver = WakeDriver::new(config, "sled-01".to_owned());

        power("on");
        assert_eq!(driver.set(Power::On).await.unwrap(), Switched::AlreadySo);
        assert_eq!(driver.set(Power::Off).await.unwrap(), Switched::Commanded);
        power("off");
        assert_eq!(driver.read().await.unwrap(), PowerReading::Off);
        assert_eq!(driver.set(Power::On).await.unwrap(), Switched::Commanded);
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(log, "off\non\n");
        let mut buffer = [0; 200];
        for _ in 0..COPIES {
            let (length, _) = card.try_recv_from(&mut buffer).unwrap();
            let mut expect = vec![0xff; 6];
            expect.extend([0x52, 0x54, 0x00, 0x77, 0x00, 0x01].repeat(16));
            assert_eq!(&buffer[..length], expect);
        }
        assert!(card.try_recv_from(&mut buffer).is_err(), "nothing more");
    }
}
