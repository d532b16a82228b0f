//! Sends router advertisements that offer nothing, so that iPXE need not wait
//! for IPv6. It never makes this machine a router.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use protocols::router_advertisement::{advertisement, parse_solicitation};
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info};

use super::socket::{SocketError, icmpv6, is_transient};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Between two unasked advertisements (RFC 4861 section 6.2.1 allows from 4 s
/// to 1800 s): short, for an iPXE whose solicitation was lost.
const PERIOD: Duration = Duration::from_secs(10);
/// RFC 4861 section 10, MIN_DELAY_BETWEEN_RAS: between two multicasts that
/// were asked for.
const MULTICAST_GAP: Duration = Duration::from_secs(3);
/// Longest message that is read; a solicitation has a few options at most.
const MAX_MESSAGE_BYTES: usize = 256;
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// Advertises on `interface` until `shutdown` ends.
///
/// # Errors
/// [`SocketError`] when the socket cannot be opened, or receiving fails for
/// good. Boots work without this, 13 s slower.
pub async fn run(
    interface_name: &str,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), SocketError> {
    let (socket, index) = icmpv6(interface_name)?;
    info!(
        interface = interface_name,
        "router advertisements (lifetime 0) are up"
    );
    let everybody = SocketAddrV6::new(ALL_NODES, 0, 0, index);
    let mut last_multicast: Option<Instant> = None;
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = [0; MAX_MESSAGE_BYTES];
    tokio::pin!(shutdown);
    loop {
        let received = tokio::select! {
            () = &mut shutdown => return Ok(()),
            _ = period.tick() => {
                advertise(&socket, everybody).await;
                continue;
            }
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(error) if is_transient(&error) => {
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
            Err(source) => {
                return Err(SocketError::Receive {
                    service: "ICMPv6",
                    source,
                });
            }
        };
        // The socket hears every ICMPv6 message of the link.
        if parse_solicitation(buffer.get(..length).unwrap_or_default()).is_err() {
            continue;
        }
        debug!(%peer, "router solicitation");
        match solicitor(peer, index) {
            // RFC 4861 section 6.2.6: an answer may go to the one who asked,
            // and then needs no pause.
            Some(to) => advertise(&socket, to).await,
            None if last_multicast.is_none_or(|last| last.elapsed() >= MULTICAST_GAP) => {
                last_multicast = Some(Instant::now());
                advertise(&socket, everybody).await;
            }
            None => {}
        }
    }
}

/// Where an answer can go alone: a link-local source.
fn solicitor(peer: SocketAddr, index: u32) -> Option<SocketAddrV6> {
    match peer.ip() {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Some(SocketAddrV6::new(address, 0, 0, index))
        }
        IpAddr::V6(_) | IpAddr::V4(_) => None,
    }
}

async fn advertise(socket: &UdpSocket, to: SocketAddrV6) {
    // A link that is down, or an address that is still being checked for
    // duplicates, mends itself: the next period tries again.
    if let Err(error) = socket.send_to(&advertisement(), SocketAddr::V6(to)).await {
        debug!(%to, %error, "router advertisement not sent");
    }
}
