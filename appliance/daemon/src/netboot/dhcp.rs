//! The DHCP server on the sled interface: a thin shell around
//! [`protocols::dhcp`]. It never answers a machine that the authority does not
//! know, and never gives boot files to one that may not have them.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use protocols::dhcp::{
    BootSources, Client, Destination, MAX_DATAGRAM_BYTES, MacAddress, MessageType, Network, Packet,
};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::authority::{BootAnswer, BootAuthority, BootQuestion, ask};
use super::leases::LeaseTable;
use super::socket::{SocketError, is_transient, udp};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Most requests in work at a time; clients repeat what is dropped.
const MAX_IN_WORK: usize = 128;
/// Pause after a receive error that concerns one peer only.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// How the DHCP server runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the sled interface.
    pub interface: String,
    /// What leases say; `server` is our address on that interface.
    pub network: Network,
    /// Where boot files are served by HTTP (`sled_listen`).
    pub http: SocketAddrV4,
}

impl Config {
    fn boot_sources(&self, mac: MacAddress) -> BootSources {
        let script_url = format!("http://{}/boot/script?mac={mac}", self.http);
        BootSources {
            script_url,
            http_boot_url: None,
        }
    }
}

/// Serves DHCP until `shutdown` ends.
///
/// # Errors
/// [`SocketError`] when the socket cannot be bound, or receiving fails for good.
pub async fn run<A: BootAuthority>(
    config: Config,
    authority: Arc<A>,
    leases: LeaseTable,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), SocketError> {
    // Broadcasts reach only a socket without an address of its own.
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT);
    let socket = udp("DHCP", &config.interface, any)?;
    info!(interface = config.interface, server = %config.network.server, "DHCP server is up");
    let server = Arc::new(Server {
        config,
        authority,
        leases,
        socket,
    });
    let mut work = JoinSet::new();
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES + 1];
    tokio::pin!(shutdown);
    loop {
        let received = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = work.join_next() => continue,
            received = server.socket.recv_from(&mut buffer) => received,
        };
        let length = match received {
            Ok((length, _peer)) => length,
            Err(error) if is_transient(&error) => {
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
            Err(source) => {
                return Err(SocketError::Receive {
                    service: "DHCP",
                    source,
                });
            }
        };
        match Packet::decode(buffer.get(..length).unwrap_or_default()) {
            Ok(_) if work.len() >= MAX_IN_WORK => warn!("DHCP request dropped: too many at once"),
            Ok(packet) => {
                let server = Arc::clone(&server);
                work.spawn(async move { server.handle(packet).await });
            }
            Err(error) => debug!(%error, "DHCP datagram dropped"),
        }
    }
    // Requests in work take no longer than the authority may.
    while work.join_next().await.is_some() {}
    Ok(())
}

struct Server<A> {
    config: Config,
    authority: Arc<A>,
    leases: LeaseTable,
    socket: UdpSocket,
}

impl<A: BootAuthority> Server<A> {
    async fn handle(&self, packet: Packet) {
        let Some(client) = Client::of(&packet) else {
            return;
        };
        let (mac, stage, message) = (client.mac, client.stage, client.message);
        let boot = match message {
            // Neither is answered, so there is nothing to ask about. Both touch
            // only a lease that this MAC holds.
            MessageType::Decline | MessageType::Release => None,
            _ => match self.permission(&client).await {
                Permission::Nothing => return,
                Permission::Lease => None,
                Permission::Boot => Some(self.config.boot_sources(mac)),
            },
        };
        let reply = match self
            .leases
            .serve(&self.config.network, &packet, boot.as_ref())
        {
            Ok(Some(reply)) => reply,
            Ok(None) => {
                debug!(%mac, ?stage, ?message, "DHCP message needs no answer");
                return;
            }
            Err(error) => {
                warn!(%mac, ?stage, %error, "DHCP request not answered");
                return;
            }
        };
        // A sled that was told its address must have it after a crash of ours.
        if reply.message == MessageType::Ack && !self.leases.are_stored().await {
            warn!(%mac, ?stage, "DHCP request not answered: its lease could not be stored");
            return;
        }
        let datagram = match reply.encode() {
            Ok(datagram) => datagram,
            Err(error) => {
                warn!(%mac, ?stage, %error, "DHCP request not answered");
                return;
            }
        };
        let to = match reply.destination {
            Destination::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
            Destination::Client(address) => SocketAddrV4::new(address, CLIENT_PORT),
            Destination::Relay(address) => SocketAddrV4::new(address, SERVER_PORT),
        };
        let address = reply.packet.your_address;
        match self.socket.send_to(&datagram, to).await {
            Ok(_) => info!(
                %mac, ?stage, architecture = client.architecture, request = ?message,
                reply = ?reply.message, %address, boot = boot.is_some(), "DHCP answered"
            ),
            Err(error) => warn!(%mac, ?stage, %to, %error, "DHCP answer not sent"),
        }
    }

    async fn permission(&self, client: &Client) -> Permission {
        let (mac, stage) = (client.mac, client.stage);
        let question = BootQuestion::Dhcp {
            mac,
            stage,
            architecture: client.architecture,
        };
        match ask(self.authority.as_ref(), question).await {
            BootAnswer::Offer(_) => Permission::Boot,
            BootAnswer::Held { reason } => {
                info!(%mac, ?stage, reason, "machine is held");
                Permission::Boot
            }
            BootAnswer::LeaseOnly => Permission::Lease,
            BootAnswer::Refused { reason } => {
                info!(%mac, ?stage, reason, "DHCP request refused");
                Permission::Nothing
            }
            BootAnswer::Unknown => {
                debug!(%mac, ?stage, "DHCP request of an unknown machine");
                Permission::Nothing
            }
        }
    }
}

enum Permission {
    Nothing,
    Lease,
    Boot,
}
