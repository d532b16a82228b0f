//! The question "may this machine have this?" and its answer. Nothing here
//! decides: the engine implements [`BootAuthority`].

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocols::dhcp::{MacAddress, Stage};
use protocols::ipxe::{BootToken, CommandLine};

/// Longest wait for an answer. Firmware asks again after 2 to 4 s, and an
/// answer that comes after that helps nobody.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// What a machine wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootQuestion {
    /// A DHCP message (DISCOVER, REQUEST or INFORM) came.
    Dhcp {
        /// Who asks.
        mac: MacAddress,
        /// What runs there: firmware, iPXE, or a system such as the agent.
        stage: Stage,
        /// First value of option 93 (0 BIOS, 7 and 9 UEFI x86-64, 16 UEFI
        /// x86-64 HTTP Boot); a system sends none.
        architecture: Option<u16>,
    },
    /// A file by TFTP.
    TftpFile {
        /// Where the request came from.
        address: Ipv4Addr,
        /// Holder of the lease of that address.
        mac: MacAddress,
        /// Name without leading slashes, as sent.
        name: String,
    },
    /// The iPXE script by HTTP.
    Script {
        /// The machine that the URL names: a claim, as all of HTTP.
        mac: MacAddress,
        /// Where the request came from.
        peer: SocketAddr,
    },
    /// Kernel or initramfs by HTTP. Asked for each request: GET, HEAD, ranges.
    File {
        /// Token of a boot ticket, as the URL names it.
        token: BootToken,
        /// Which file.
        file: BootFile,
        /// Where the request came from.
        peer: SocketAddr,
    },
}

/// One of the two files of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootFile {
    /// Linux kernel.
    Kernel,
    /// Its initramfs, with the agent as `/init`.
    Initramfs,
}

/// What a live boot ticket boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOffer {
    /// The ticket's token in URLs.
    pub token: BootToken,
    /// Kernel image on this machine.
    pub kernel: PathBuf,
    /// Initramfs on this machine.
    pub initramfs: PathBuf,
    /// Kernel command line; `initrd=` is added by the script.
    pub command_line: CommandLine,
}

/// The answer. What each question makes of it:
///
/// | answer | DHCP | TFTP | script | file |
/// | --- | --- | --- | --- | --- |
/// | `Offer` | lease and boot file | file | boot script | file |
/// | `Held` | lease and boot file | file | script that powers off | 403 |
/// | `LeaseOnly` | lease | ERROR 2 | 403 | 403 |
/// | `Refused` | silence | ERROR 2 | 403 | 403 |
/// | `Unknown` | silence | ERROR 2 | 404 | 404 |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootAnswer {
    /// A live boot ticket.
    Offer(BootOffer),
    /// A sled of ours that may not boot now: it gets iPXE and a script that
    /// says so and powers off, so that its firmware does not go on to the
    /// local disk.
    Held {
        /// For the sled's screen and our log.
        reason: String,
    },
    /// An address and nothing to boot: the agent, or the job's system.
    LeaseOnly,
    /// Known, and gets nothing.
    Refused {
        /// For our log and the HTTP answer.
        reason: String,
    },
    /// Not one of ours: no such MAC, no such token.
    Unknown,
}

/// Whoever knows the boot tickets.
pub trait BootAuthority: Send + Sync + 'static {
    /// Answers one question. Called once for each message and file request;
    /// an answer that takes longer than [`ANSWER_TIMEOUT`] counts as
    /// [`BootAnswer::Refused`].
    fn ask(&self, question: BootQuestion) -> impl Future<Output = BootAnswer> + Send;
}

impl<A: BootAuthority> BootAuthority for Arc<A> {
    fn ask(&self, question: BootQuestion) -> impl Future<Output = BootAnswer> + Send {
        A::ask(self, question)
    }
}

/// Asks within [`ANSWER_TIMEOUT`].
pub(super) async fn ask<A: BootAuthority>(authority: &A, question: BootQuestion) -> BootAnswer {
    match tokio::time::timeout(ANSWER_TIMEOUT, authority.ask(question)).await {
        Ok(answer) => answer,
        Err(_) => BootAnswer::Refused {
            reason: "no decision in time".to_owned(),
        },
    }
}
