//! `[tunnel]`: how deliveries come in.

use std::{path::Path, time::Duration};

use serde::Deserialize;

use super::ConfigError;

/// Slower than this, what was lost would be found too late to be of use.
const MOST_POLL_S: u64 = 3_600;

/// `[tunnel]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// How deliveries come in.
    pub way: Way,
    /// How often each App's delivery log is read.
    pub poll: Duration,
}

/// How deliveries come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Something that is not ours forwards them to `webhook_listen`.
    Direct,
    /// Nothing comes in: all are read from the App's delivery log.
    Pull,
}

impl Way {
    /// The word in the configuration.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Pull => "pull",
        }
    }

    /// Seconds between two looks at the log, unless configured.
    const fn poll_s(&self) -> u64 {
        match self {
            Self::Direct => 60,
            Self::Pull => 5,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireTunnel {
    kind: String,
    poll_s: Option<u64>,
}

/// Checks `[tunnel]`; without it, deliveries come in directly.
pub(super) fn check_tunnel(file: &Path, wire: Option<WireTunnel>) -> Result<Tunnel, ConfigError> {
    let wire = wire.unwrap_or_else(|| WireTunnel {
        kind: "direct".to_owned(),
        poll_s: None,
    });
    let way = match wire.kind.as_str() {
        "direct" => Way::Direct,
        "pull" => Way::Pull,
        other => {
            let message = format!("\"{other}\" is not known: use \"direct\" or \"pull\"");
            return Err(ConfigError::value(file, "tunnel.kind", message));
        }
    };
    let poll_s = wire.poll_s.unwrap_or_else(|| way.poll_s());
    if !(1..=MOST_POLL_S).contains(&poll_s) {
        let message = format!("{poll_s} is not between 1 and {MOST_POLL_S}");
        return Err(ConfigError::value(file, "tunnel.poll_s", message));
    }
    Ok(Tunnel {
        way,
        poll: Duration::from_secs(poll_s),
    })
}
