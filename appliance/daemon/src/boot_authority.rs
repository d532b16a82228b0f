//! The netboot servers' questions, put to `control`, and its answers with the
//! files that belong to them.

use std::{collections::BTreeMap, path::PathBuf, sync::RwLock};

use control::{Event, Reply};
use messages::{CMDLINE_PIN, CMDLINE_TICKET, CMDLINE_URL, Digest, Mac, TicketToken};
use protocols::dhcp::Stage;

use crate::{
    config::Image,
    engine::Engine,
    netboot::{
        BootAnswer, BootAuthority, BootFile, BootOffer, BootQuestion, BootToken, CommandLine,
        MacAddress,
    },
};

/// Answers what a machine on the sled network may have.
pub struct Authority {
    engine: Engine,
    /// `https://ADDRESS:PORT` of the sled listener.
    url: String,
    /// What agents pin.
    pin: Digest,
    images: RwLock<BTreeMap<String, Image>>,
}

impl Authority {
    /// An authority for these images.
    #[must_use]
    pub fn new(engine: Engine, url: String, pin: Digest, images: Vec<Image>) -> Self {
        let images = images
            .into_iter()
            .map(|image| (image.name.clone(), image))
            .collect();
        Self {
            engine,
            url,
            pin,
            images: RwLock::new(images),
        }
    }

    /// The runner image of this digest.
    #[must_use]
    pub fn rootfs(&self, digest: Digest) -> Option<PathBuf> {
        let images = self.images.read().ok()?;
        let image = images
            .values()
            .find(|image| image.digests.rootfs.digest == digest)?;
        Some(image.rootfs.clone())
    }

    fn offer(&self, offer: &control::BootOffer) -> Result<BootOffer, String> {
        let images = self
            .images
            .read()
            .map_err(|_| "the image list is broken".to_owned())?;
        let image = images
            .get(&offer.image)
            .ok_or_else(|| format!("image {} is not declared any more", offer.image))?;
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
