//! `[tunnel]`: how deliveries come in.

use std::{fmt, path::Path, time::Duration};

use serde::Deserialize;

use super::ConfigError;
use crate::github::is_loopback;

/// Slower than this, what was lost would be found too late to be of use.
const MOST_POLL_S: u64 = 3_600;

/// `[tunnel]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// How deliveries come in.
    pub way: Way,
    /// How often each App's delivery log is read.
    pub poll: Duration,
    /// How often GitHub is asked for jobs that no log holds; never without.
    pub sweep: Option<Duration>,
}

/// Seconds between two sweeps, unless configured.
pub const SWEEP_S: u64 = 120;

/// How deliveries come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Something that is not ours forwards them to `webhook_listen`.
    Direct,
    /// As `Direct`, by a program that Musher keeps running.
    Command(TunnelCommand),
    /// Through a public event-stream channel, such as one of smee.io.
    Smee(ChannelUrl),
    /// Nothing comes in: all are read from the App's delivery log.
    Pull,
}

/// A tunnel program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelCommand {
    /// The program, by path or by name in `PATH`.
    pub program: String,
    /// Its arguments. They are seen by every process of this machine.
    pub arguments: Vec<String>,
    /// Names of further environment variables that it gets.
    pub environment: Vec<String>,
}

/// The address of a channel. Whoever knows it reads what is sent there, so it
/// is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelUrl {
    /// Whether TLS is spoken.
    pub https: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl fmt::Debug for ChannelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelUrl")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl ChannelUrl {
    /// Parses an address: https, or http to this machine.
    fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "is not an address such as https://smee.io/CHANNEL";
        let url: hyper::Uri = text.parse().map_err(|_| EXPECTED)?;
        let (Some(scheme), Some(host)) = (url.scheme_str(), url.host()) else {
            return Err(EXPECTED);
        };
        let https = scheme == "https";
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if !https && (scheme != "http" || !is_loopback(host)) {
            return Err("must begin with https:// (http is for this machine only)");
        }
        if url.path() == "/" {
            return Err("names no channel: https://smee.io/new makes one");
        }
        if url.authority().is_some_and(|it| it.as_str().contains('@')) {
            return Err("must not hold a user or password");
        }
        Ok(Self {
            https,
            host: host.to_owned(),
            port: url.port_u16().unwrap_or(if https { 443 } else { 80 }),
            path: url
                .path_and_query()
                .map_or("/", |it| it.as_str())
                .to_owned(),
        })
    }
}

impl Way {
    /// The word in the configuration.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Command(_) => "command",
            Self::Smee(_) => "smee",
            Self::Pull => "pull",
        }
    }

    /// Seconds between two looks at the log, unless configured.
    #[must_use]
    pub const fn poll_s(&self) -> u64 {
        match self {
            Self::Direct | Self::Command(_) | Self::Smee(_) => 60,
            Self::Pull => 5,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireTunnel {
    kind: String,
    poll_s: Option<u64>,
    sweep_s: Option<u64>,
    command: Option<Vec<String>>,
    #[serde(default)]
    environment: Vec<String>,
    url: Option<String>,
}

impl WireTunnel {
    fn direct() -> Self {
        Self {
            kind: "direct".to_owned(),
            poll_s: None,
            sweep_s: None,
            command: None,
            environment: Vec::new(),
            url: None,
        }
    }
}

/// Checks `[tunnel]`; without it, deliveries come in directly.
pub(super) fn check_tunnel(file: &Path, wire: Option<WireTunnel>) -> Result<Tunnel, ConfigError> {
    let refuse =
        |key: &str, message: String| ConfigError::value(file, format!("tunnel.{key}"), message);
    let wire = wire.unwrap_or_else(WireTunnel::direct);
    let of_kinds = [
        ("command", "command", wire.command.is_some()),
        ("environment", "command", !wire.environment.is_empty()),
        ("url", "smee", wire.url.is_some()),
    ];
    for (key, kind, is_there) in of_kinds {
        if is_there && kind != wire.kind {
            let message = format!("is for kind = \"{kind}\": take it out, or change the kind");
            return Err(refuse(key, message));
        }
    }
    let way = match wire.kind.as_str() {
        "direct" => Way::Direct,
        "pull" => Way::Pull,
        "command" => Way::Command(
            command(wire.command, wire.environment)
                .map_err(|(key, message)| refuse(key, message))?,
        ),
        "smee" => {
            let url = wire
                .url
                .as_deref()
                .ok_or("is missing: kind = \"smee\" needs one");
            let url = url.and_then(ChannelUrl::parse);
            Way::Smee(url.map_err(|message| refuse("url", message.to_owned()))?)
        }
        other => {
            let message = format!(
                "\"{other}\" is not known: use \"direct\", \"command\", \"smee\" or \"pull\""
            );
            return Err(refuse("kind", message));
        }
    };
    let poll_s = wire.poll_s.unwrap_or_else(|| way.poll_s());
    if !(1..=MOST_POLL_S).contains(&poll_s) {
        let message = format!("{poll_s} is not between 1 and {MOST_POLL_S}");
        return Err(refuse("poll_s", message));
    }
    let sweep_s = wire.sweep_s.unwrap_or(SWEEP_S);
    if sweep_s > MOST_POLL_S {
        let message = format!("{sweep_s} is not between 0 (never) and {MOST_POLL_S}");
        return Err(refuse("sweep_s", message));
    }
    Ok(Tunnel {
        way,
        poll: Duration::from_secs(poll_s),
        sweep: (sweep_s > 0).then(|| Duration::from_secs(sweep_s)),
    })
}

fn command(
    argv: Option<Vec<String>>,
    environment: Vec<String>,
) -> Result<TunnelCommand, (&'static str, String)> {
    let mut argv = argv.unwrap_or_default().into_iter();
    let program = argv.next().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| {
        let example = "[\"cloudflared\", \"tunnel\", \"run\", \"musher\"]";
        (
            "command",
            format!("must be a list of the program and its arguments, such as {example}"),
        )
    })?;
    if let Some(odd) = environment
        .iter()
        .find(|name| name.is_empty() || name.contains('='))
    {
        let message = format!("\"{odd}\" is not the name of a variable: give names, not values");
        return Err(("environment", message));
    }
    Ok(TunnelCommand {
        program,
        arguments: argv.collect(),
        environment,
    })
}
