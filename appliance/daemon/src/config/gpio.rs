//! `[gpio]`, and `power = { driver = "relay" | "button", … }` of a sled; `sense`
//! of one that is woken.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ConfigError;
use super::inventory::SledPower;
use super::power::{Place, PlainConfig};
use crate::power::button::{LONGEST_PRESS_MS, PressLengths};
use crate::power::gpio::held::{HeldConfig, HeldKind};
use crate::power::gpio::lines::{DEFAULT_FILE, DEFAULT_SOCKET, LineMap, LineSpec, Usage};
use crate::power::sense::Active;

/// How long a sense line may take to follow, in milliseconds, unless it is said.
const SETTLE_MS: u32 = 5000;
/// And at most.
const LONGEST_SETTLE_MS: u32 = 20_000;

/// `[gpio]`: the lines of this machine.
#[derive(Clone, Debug)]
pub struct Gpio {
    /// Which name is which line.
    pub lines: PathBuf,
    /// Where their holder listens.
    pub socket: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireGpio {
    lines: Option<PathBuf>,
    socket: Option<PathBuf>,
}

impl WireGpio {
    pub(super) fn check(self, base: &Path) -> Gpio {
        let or = |path: Option<PathBuf>, default| base.join(path.unwrap_or(PathBuf::from(default)));
        Gpio {
            lines: or(self.lines, DEFAULT_FILE),
            socket: or(self.socket, DEFAULT_SOCKET),
        }
    }
}

/// The lines, read when the first sled needs them.
#[derive(Default)]
pub(super) struct LazyLines(OnceCell<LineMap>);

impl LazyLines {
    fn get(&self, file: &Path) -> Result<&LineMap, ConfigError> {
        if let Some(map) = self.0.get() {
            return Ok(map);
        }
        let map = LineMap::load(file)?;
        Ok(self.0.get_or_init(|| map))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireRelay {
    line: String,
    sense: Option<String>,
    settle_ms: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireButton {
    line: String,
    sense: Option<String>,
    settle_ms: Option<u32>,
    press_ms: Option<u32>,
    force_ms: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireSense {
    line: String,
}

impl Place<'_> {
    pub(super) fn check_relay(
        &self,
        wire: WireRelay,
        kind: HeldKind,
    ) -> Result<PlainConfig, ConfigError> {
        let line = self.line("line", &wire.line)?;
        let Usage::Relay { latching } = line.usage else {
            return Err(self.wrong_use("line", line, "relay"));
        };
        if !latching {
            self.warn(format!(
                "line \"{}\" is a plain relay: the end of `musher gpio-hold` or a reboot of this machine may cut the sled's power; the holder waits for the sled to be off before it ends. Wire a relay or expander that keeps its level, and say latching = true in {}, to reboot at any time",
                line.name,
                self.config.gpio.lines.display()
            ));
        }
        self.held(kind, line, wire.sense, wire.settle_ms)
    }

    pub(super) fn check_button(&self, wire: WireButton) -> Result<PlainConfig, ConfigError> {
        let line = self.line("line", &wire.line)?;
        if line.usage != Usage::Button {
            return Err(self.wrong_use("line", line, "button"));
        }
        let default = PressLengths::default();
        let lengths = PressLengths {
            on_ms: wire.press_ms.unwrap_or(default.on_ms),
            off_ms: wire.force_ms.unwrap_or(default.off_ms),
        };
        if lengths.on_ms == 0
            || lengths.on_ms >= lengths.off_ms
            || lengths.off_ms > LONGEST_PRESS_MS
        {
            return Err(self.wrong(format!(
                "power.press_ms {} must be shorter than power.force_ms {}, and both 1 to {LONGEST_PRESS_MS}",
                lengths.on_ms, lengths.off_ms
            )));
        }
        self.held(HeldKind::Button(lengths), line, wire.sense, wire.settle_ms)
    }

    fn held(
        &self,
        kind: HeldKind,
        line: &LineSpec,
        sense: Option<String>,
        settle_ms: Option<u32>,
    ) -> Result<PlainConfig, ConfigError> {
        let settle_ms = settle_ms.unwrap_or(SETTLE_MS);
        if !(1..=LONGEST_SETTLE_MS).contains(&settle_ms) {
            let message = format!("power.settle_ms must be 1 to {LONGEST_SETTLE_MS}");
            return Err(self.wrong(message));
        }
        let sense = sense.map(|name| self.sense_line("sense", &name));
        let sense = sense.transpose()?;
        if sense.is_none() {
            self.warn(format!(
                "power.sense is missing: a {} alone proves nothing, so this sled's power is never known and it gets no job; wire its power LED or a supply rail to a sense line",
                line.usage.name()
            ));
        }
        Ok(PlainConfig::Held {
            socket: self.config.gpio.socket.clone(),
            held: HeldConfig {
                kind,
                line: line.name.clone(),
                active: line.active,
                sense,
                settle_ms,
            },
        })
    }

    /// A sense line alone, as the `off` of a machine that is woken.
    pub(super) fn check_sense(&self, wire: &WireSense) -> Result<PlainConfig, ConfigError> {
        let line = self.sense_line("line", &wire.line)?;
        self.warn(
            "power.off is a sense line alone, which cuts no power: when this sled does not turn itself off it is quarantined until you do; a relay in its supply could"
                .to_owned(),
        );
        let socket = self.config.gpio.socket.clone();
        Ok(PlainConfig::Sense { socket, line })
    }

    fn sense_line(&self, key: &str, name: &str) -> Result<(String, Active), ConfigError> {
        let line = self.line(key, name)?;
        match line.usage {
            Usage::Sense { .. } => Ok((line.name.clone(), line.active)),
            Usage::Relay { .. } | Usage::Button => Err(self.wrong_use(key, line, "sense")),
        }
    }

    fn line(&self, key: &str, name: &str) -> Result<&LineSpec, ConfigError> {
        let file = &self.config.gpio.lines;
        self.lines.get(file)?.get(name).ok_or_else(|| {
            self.wrong(format!(
                "power.{key} \"{name}\" is not in {}: add a [[line]] or mend the name",
                file.display()
            ))
        })
    }

    fn wrong_use(&self, key: &str, line: &LineSpec, wanted: &str) -> ConfigError {
        self.wrong(format!(
            "power.{key} \"{}\" is a {} in {}, not a {wanted}: name another line, or mend its use",
            line.name,
            line.usage.name(),
            self.config.gpio.lines.display()
        ))
    }
}

/// No line serves two sleds, nor one sled twice.
pub(super) fn check_each_line_once(file: &Path, sleds: &[SledPower]) -> Result<(), ConfigError> {
    let mut users: BTreeMap<&str, &str> = BTreeMap::new();
    for SledPower { sled, driver, .. } in sleds {
        for name in driver.lines() {
            if let Some(other) = users.insert(name, sled) {
                let message = format!(
                    "line \"{name}\" is used by \"{other}\" too: each sled needs lines of its own"
                );
                let key = format!("sled \"{sled}\" power");
                return Err(ConfigError::value(file, key, message));
            }
        }
    }
    Ok(())
}
