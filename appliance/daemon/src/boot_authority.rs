//! The netboot servers' questions, put to `control`, and its answers with the
//! files that belong to them.
//!
//! What comes by IP names a machine only by its word. So it is held against
//! the lease of the address it came from: a job on one sled cannot ask in the
//! name of another, short of forging frames on the wire.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use control::{Event, Reply};
use messages::{AgentKey, CMDLINE_PIN, CMDLINE_TICKET, CMDLINE_URL, Digest, Mac, TicketToken};
use protocols::dhcp::Stage;

use crate::{
    config::Image,
    engine::Engine,
    netboot::{
        BootAnswer, BootAuthority, BootFile, BootOffer, BootQuestion, BootToken, CommandLine,
        LeaseTable, MacAddress,
    },
};

/// Answers what a machine on the sled network may have.
pub struct Authority {
    engine: Engine,
    /// `https://ADDRESS:PORT` of the sled listener.
    url: String,
    /// What agents pin.
    pin: Digest,
    images: BTreeMap<String, Image>,
    leases: LeaseTable,
}

const NOT_ITS_ADDRESS: &str = "the request came from an address that this sled does not hold";

impl Authority {
    /// An authority for these images.
    #[must_use]
    pub fn new(
        engine: Engine,
        url: String,
        pin: Digest,
        images: Vec<Image>,
        leases: LeaseTable,
    ) -> Self {
        let images = images
            .into_iter()
            .map(|image| (image.name.clone(), image))
            .collect();
        Self {
            engine,
            url,
            pin,
            images,
            leases,
        }
    }

    /// Who holds the address that a request came from.
    fn holder(&self, peer: IpAddr) -> Option<Mac> {
        match peer {
            IpAddr::V4(address) => self.leases.holder(address).and_then(mac),
            IpAddr::V6(_) => None,
        }
    }

    /// Whether a request with this ticket comes from the sled it was made for.
    /// `None` when the ticket is unknown or nobody holds the address.
    pub async fn is_from(&self, peer: IpAddr, ticket: TicketToken) -> Option<bool> {
        let holder = self.holder(peer)?;
        let meant = self
            .engine
            .query(move |state, _| state.ticket_mac(ticket))
            .await
            .ok()??;
        Some(meant == holder)
    }

    /// Whether this key redeemed this ticket.
    pub async fn is_redeemed_by(&self, ticket: TicketToken, key: Option<AgentKey>) -> bool {
        let Some(key) = key else {
            return false;
        };
        let known = self
            .engine
            .query(move |state, _| state.redeemed_by(ticket, key));
        known.await.unwrap_or(false)
    }

    /// The runner image of this digest.
    #[must_use]
    pub fn rootfs(&self, digest: Digest) -> Option<PathBuf> {
        let image = self
            .images
            .values()
            .find(|image| image.digests.rootfs.digest == digest)?;
        Some(image.rootfs.clone())
    }

    fn offer(&self, offer: &control::BootOffer) -> Result<BootOffer, String> {
        let name = &offer.image.rootfs.name;
        let image = self
            .images
            .get(name)
            .ok_or_else(|| format!("image {name} is not declared any more"))?;
        // The receipt names what was read at the start, so nothing else boots.
        if image.digests != offer.image || !image.is_unchanged() {
            return Err(format!(
                "a file of image {name} changed since this boot was due: restart musher to take it"
            ));
        }
        let line = format!(
            "{} {CMDLINE_URL}={} {CMDLINE_PIN}={} {CMDLINE_TICKET}={}",
            image.cmdline, self.url, self.pin, offer.ticket
        );
        Ok(BootOffer {
            token: BootToken::parse(&offer.ticket.to_string()).map_err(|e| e.to_string())?,
            kernel: image.kernel.clone(),
            initramfs: image.initramfs.clone(),
            command_line: CommandLine::parse(line.trim()).map_err(|e| e.to_string())?,
        })
    }
}

fn mac(address: MacAddress) -> Option<Mac> {
    address.to_string().parse().ok()
}

fn question(question: &BootQuestion) -> Option<control::BootQuestion> {
    Some(match question {
        BootQuestion::Dhcp {
            mac: address,
            stage,
            ..
        } => control::BootQuestion::Dhcp {
            mac: mac(*address)?,
            wants_boot: match stage {
                Stage::Firmware | Stage::Ipxe => true,
                Stage::System => false,
            },
        },
        BootQuestion::TftpFile { mac: address, .. } | BootQuestion::Script { mac: address, .. } => {
            control::BootQuestion::Loader {
                mac: mac(*address)?,
            }
        }
        BootQuestion::File { token, file, .. } => control::BootQuestion::File {
            ticket: token.to_string().parse::<TicketToken>().ok()?,
            file: match file {
                BootFile::Kernel => control::BootFile::Kernel,
                BootFile::Initramfs => control::BootFile::Initramfs,
            },
        },
    })
}

impl BootAuthority for Authority {
    async fn ask(&self, asked: BootQuestion) -> BootAnswer {
        let Some(question) = question(&asked) else {
            return BootAnswer::Unknown;
        };
        let own_address = match &asked {
            BootQuestion::Script { mac: claimed, peer } => self.holder(peer.ip()) == mac(*claimed),
            BootQuestion::File { token, peer, .. } => match token.as_str().parse() {
                Ok(ticket) => self.is_from(peer.ip(), ticket).await.unwrap_or(false),
                Err(_) => false,
            },
            // DHCP carries the card itself, and TFTP looked the lease up.
            BootQuestion::Dhcp { .. } | BootQuestion::TftpFile { .. } => true,
        };
        if !own_address {
            return BootAnswer::Refused {
                reason: NOT_ITS_ADDRESS.to_owned(),
            };
        }
        let answer = match self.engine.submit(Event::Boot(question)).await {
            Ok(Reply::Boot(answer)) => answer,
            Ok(_) => {
                return BootAnswer::Refused {
                    reason: "no answer".to_owned(),
                };
            }
            Err(error) => {
                return BootAnswer::Refused {
                    reason: error.to_string(),
                };
            }
        };
        match answer {
            control::BootAnswer::Unknown => BootAnswer::Unknown,
            control::BootAnswer::Lease => BootAnswer::LeaseOnly,
            control::BootAnswer::Held(reason) => BootAnswer::Held {
                reason: reason.to_owned(),
            },
            control::BootAnswer::Refused(reason) => BootAnswer::Refused {
                reason: reason.to_owned(),
            },
            control::BootAnswer::Offer(offer) => match self.offer(&offer) {
                Ok(offer) => BootAnswer::Offer(offer),
                Err(reason) => {
                    tracing::error!(%reason, "an armed sled cannot be given its image");
                    BootAnswer::Refused { reason }
                }
            },
        }
    }
}
