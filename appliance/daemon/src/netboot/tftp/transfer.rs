//! One transfer on a port of its own (RFC 1350 section 4). It never lasts
//! longer than two minutes, whatever the client does.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use protocols::tftp::{FailReason, MAX_REQUEST_BYTES, ReadRequest, Status, Transfer};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::netboot::socket::{is_transient, udp};

/// Longest transfer. iPXE programs take well below 10 s on any link.
const MAX_DURATION: Duration = Duration::from_secs(120);

/// How a transfer ended, for the log.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    Failed(FailReason),
    TooSlow,
    Socket(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(FailReason::Aborted { code }) => {
                write!(f, "ended by the client with code {code}")
            }
            Self::Failed(FailReason::TimedOut) => f.write_str("client stopped answering"),
            Self::TooSlow => f.write_str("took too long"),
            Self::Socket(error) => write!(f, "socket failed: {error}"),
        }
    }
}

/// Runs one transfer to its end.
pub(super) async fn run(
    interface: &str,
    server: Ipv4Addr,
    peer: SocketAddrV4,
    request: &ReadRequest,
    content: Arc<[u8]>,
) -> Outcome {
    let socket = match udp("TFTP", interface, SocketAddrV4::new(server, 0)) {
        Ok(socket) => socket,
        Err(error) => return Outcome::Socket(error.to_string()),
    };
    // Connected: the kernel drops what comes from another port than the
    // client's, which RFC 1350 section 4 asks for.
    if let Err(error) = socket.connect(peer).await {
        return Outcome::Socket(error.to_string());
    }
    match tokio::time::timeout(MAX_DURATION, exchange(&socket, request, content)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Socket(error.to_string()),
        Err(_) => Outcome::TooSlow,
    }
}

async fn exchange(
    socket: &UdpSocket,
    request: &ReadRequest,
    content: Arc<[u8]>,
) -> io::Result<Outcome> {
    let started = Instant::now();
    let now_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut buffer = [0; MAX_REQUEST_BYTES];
    let (mut transfer, mut outgoing) = Transfer::start(content, request.negotiated, now_ms());
    loop {
        for datagram in outgoing.drain(..) {
            send(socket, &datagram).await?;
        }
        let deadline_ms = match transfer.status() {
            Status::Waiting { deadline_ms } => deadline_ms,
            Status::Done => return Ok(Outcome::Done),
            Status::Failed(reason) => return Ok(Outcome::Failed(reason)),
        };
        let deadline = started + Duration::from_millis(deadline_ms);
        outgoing = match tokio::time::timeout_at(deadline, socket.recv(&mut buffer)).await {
            Ok(Ok(length)) => transfer.receive(buffer.get(..length).unwrap_or_default(), now_ms()),
            // The client closed its port, perhaps between two requests: wait
            // for the deadline, as if the datagram had been lost.
            Ok(Err(error)) if is_transient(&error) => {
                tokio::time::sleep_until(deadline).await;
                transfer.timeout(now_ms())
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => transfer.timeout(now_ms()),
        };
    }
}

/// Sends, taking an ICMP answer to an earlier datagram as a loss.
async fn send(socket: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
    match socket.send(datagram).await {
        Err(error) if !is_transient(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
