//! The TFTP server on the sled interface: two files, read into memory at
//! start. It never opens a file that a client names, never takes a write, and
//! serves only addresses with a lease whose holder the authority lets boot.

mod transfer;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocols::dhcp::{MacAddress, TFTP_BIOS, TFTP_UEFI_X64};
use protocols::tftp::{
    ErrorCode, MAX_REQUEST_BYTES, Packet, ReadRequest, RequestError, encode_error,
};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::authority::{BootAnswer, BootAuthority, BootQuestion, ask};
use super::leases::LeaseTable;
use super::socket::{SocketError, is_transient, udp};

const PORT: u16 = 69;
/// Most transfers at a time.
const MAX_TRANSFERS: usize = 64;
/// Most transfers of one address at a time: UEFI opens a probe and the real
/// one, and may leave one behind.
const MAX_TRANSFERS_PER_PEER: usize = 4;
/// iPXE programs are below 2 MB; the limit bounds what is held in memory.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// How the TFTP server runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the sled interface.
    pub interface: String,
    /// Our address on it.
    pub server: Ipv4Addr,
    /// The files that are served.
    pub files: BootPrograms,
}

/// The iPXE programs by name.
#[derive(Clone)]
pub struct BootPrograms(Arc<[Program]>);

/// Name and content of one program.
type Program = (&'static str, Arc<[u8]>);

impl std::fmt::Debug for BootPrograms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(name, bytes)| (name, bytes.len())))
            .finish()
    }
}

/// An iPXE program cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Missing or unreadable.
    #[error("read boot program {}: {source}; install Debian's package ipxe, or name its folder", path.display())]
    Read {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Too large to be one.
    #[error("read boot program {}: {bytes} bytes is too large for an iPXE program", path.display())]
    TooLarge {
        /// Where it is.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

impl BootPrograms {
    /// Reads `undionly.kpxe` and `snponly.efi` from `folder` (Debian's package
    /// ipxe has them in `/usr/lib/ipxe`). Blocks: call it at start.
    ///
    /// # Errors
    /// [`ProgramError`] when one is missing or larger than 16 MiB.
    pub fn load(folder: &Path) -> Result<Self, ProgramError> {
        let load = |name: &'static str| {
            let path = folder.join(name);
            let failed = |source| ProgramError::Read {
                path: path.clone(),
                source,
            };
            let bytes = std::fs::metadata(&path).map_err(failed)?.len();
            if bytes > MAX_FILE_BYTES {
                return Err(ProgramError::TooLarge { path, bytes });
            }
            let content = std::fs::read(&path).map_err(failed)?;
            Ok((name, Arc::from(content)))
        };
        let programs = [TFTP_BIOS, TFTP_UEFI_X64].map(load);
        let programs: Result<Vec<_>, _> = programs.into_iter().collect();
        programs.map(|programs| Self(programs.into()))
    }

    fn get(&self, name: &str) -> Option<Arc<[u8]>> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, content)| Arc::clone(content))
    }
}

/// Serves TFTP until `shutdown` ends; running transfers are cut then.
///
/// # Errors
/// [`SocketError`] when the socket cannot be bound, or receiving fails for good.
pub async fn run<A: BootAuthority>(
    config: Config,
    authority: Arc<A>,
    leases: LeaseTable,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), SocketError> {
    let listen = SocketAddrV4::new(config.server, PORT);
    let socket = Arc::new(udp("TFTP", &config.interface, listen)?);
    info!(interface = config.interface, server = %config.server, "TFTP server is up");
    let server = Arc::new(Server {
        config,
        authority,
        leases,
        socket,
    });
    let mut work: JoinSet<SocketAddrV4> = JoinSet::new();
    // One entry for each transfer: its client's address and port (RFC 1350
    // calls the port a TID). A repeated request of a running one is dropped.
    let mut running: HashMap<SocketAddrV4, tokio::task::AbortHandle> = HashMap::new();
    let mut buffer = vec![0; MAX_REQUEST_BYTES + 1];
    tokio::pin!(shutdown);
    loop {
        let received = tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(ended) = work.join_next() => {
                match ended {
                    Ok(peer) => drop(running.remove(&peer)),
                    // A panicked task tells no peer: forget all that are over.
                    Err(_) => running.retain(|_, task| !task.is_finished()),
                }
                continue;
            }
            received = server.socket.recv_from(&mut buffer) => received,
        };
        let (length, peer) = match received {
            Ok((length, SocketAddr::V4(peer))) => (length, peer),
            Ok((_, SocketAddr::V6(_))) => continue,
            Err(error) if is_transient(&error) => {
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
            Err(source) => {
                return Err(SocketError::Receive {
                    service: "TFTP",
                    source,
                });
            }
        };
        let of_peer = running
            .keys()
            .filter(|other| other.ip() == peer.ip())
            .count();
        if running.contains_key(&peer) {
            debug!(%peer, "TFTP request repeated");
        } else if running.len() >= MAX_TRANSFERS || of_peer >= MAX_TRANSFERS_PER_PEER {
            warn!(%peer, "TFTP request dropped: too many at once");
        } else {
            let datagram = buffer.get(..length).unwrap_or_default().to_vec();
            let server = Arc::clone(&server);
            let task = work.spawn(async move {
                server.handle(&datagram, peer).await;
                peer
            });
            running.insert(peer, task);
        }
    }
}

struct Server<A> {
    config: Config,
    authority: Arc<A>,
    leases: LeaseTable,
    socket: Arc<UdpSocket>,
}

/// Why a request gets no file: the code and the text of its ERROR.
struct Refusal(ErrorCode, String);

impl<A: BootAuthority> Server<A> {
    async fn handle(&self, datagram: &[u8], peer: SocketAddrV4) {
        match self.file(datagram, peer).await {
            Ok(Some((mac, request, content))) => {
                let name = request.name.clone();
                info!(%mac, %peer, name, bytes = content.len(), "TFTP transfer starts");
                let Config {
                    interface, server, ..
                } = &self.config;
                let outcome = transfer::run(interface, *server, peer, &request, content).await;
                info!(%mac, %peer, name, outcome = %outcome, "TFTP transfer ended");
            }
            Ok(None) => {}
            Err(Refusal(code, text)) => {
                info!(%peer, ?code, text, "TFTP request refused");
                let datagram = encode_error(code, &text);
                if let Err(error) = self.socket.send_to(&datagram, SocketAddr::V4(peer)).await {
                    debug!(%peer, %error, "TFTP refusal not sent");
                }
            }
        }
    }

    /// The file that a request gets; `None`: not a request, no answer.
    async fn file(
        &self,
        datagram: &[u8],
        peer: SocketAddrV4,
    ) -> Result<Option<(MacAddress, ReadRequest, Arc<[u8]>)>, Refusal> {
        let packet = match Packet::decode(datagram) {
            Ok(packet) => packet,
            Err(error) => {
                debug!(%peer, %error, "TFTP datagram dropped");
                return Ok(None);
            }
        };
        let request = match ReadRequest::of(&packet) {
            Ok(request) => request,
            // An ERROR for an ERROR could go back and forth for ever.
            Err(RequestError::NotARequest) => return Ok(None),
            Err(error @ RequestError::Write) => {
                return Err(Refusal(ErrorCode::AccessViolation, error.to_string()));
            }
            Err(error @ RequestError::Mode) => {
                return Err(Refusal(ErrorCode::NotDefined, error.to_string()));
            }
        };
        let not_allowed =
            |why: &str| Refusal(ErrorCode::AccessViolation, format!("not allowed: {why}"));
        let address = *peer.ip();
        let mac = self
            .leases
            .holder(address)
            .ok_or_else(|| not_allowed("no lease"))?;
        let question = BootQuestion::TftpFile {
            address,
            mac,
            name: request.name.clone(),
        };
        match ask(self.authority.as_ref(), question).await {
            BootAnswer::Offer(_) | BootAnswer::Held { .. } => {}
            BootAnswer::LeaseOnly => return Err(not_allowed("no boot is due")),
            BootAnswer::Refused { reason } => return Err(not_allowed(&reason)),
            BootAnswer::Unknown => return Err(not_allowed("unknown machine")),
        }
        // Newer iPXE looks for autoexec.ipxe here and goes on without it.
        match self.config.files.get(&request.name) {
            Some(content) => Ok(Some((mac, request, content))),
            None => Err(Refusal(ErrorCode::NotFound, "no such file".to_owned())),
        }
    }
}
