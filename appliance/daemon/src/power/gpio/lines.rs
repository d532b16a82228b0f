//! `lines.toml`: which name is which line, and how it is wired. Facts of a
//! board and its cables, so that the inventory only names lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::{ConfigError, parse_toml, read_text};
use crate::power::sense::Active;

/// Where the file is, unless it is said.
pub const DEFAULT_FILE: &str = "/etc/musher/lines.toml";
/// Where the holder listens, unless it is said.
pub const DEFAULT_SOCKET: &str = "/run/musher/gpio.sock";

/// Most lines of one holder.
const MAX_LINES: usize = 512;

/// A line's name, place and wiring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineSpec {
    /// Its name, as the inventory has it.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// What hangs on it.
    pub usage: Usage,
    /// The level that is "on", "pressed" or "has power".
    pub active: Active,
}

/// Where a line is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of a GPIO chip of the kernel.
    Chip {
        /// Path of the chip, such as `/dev/gpiochip0`, or its label.
        chip: String,
        /// Its number on that chip.
        offset: u32,
    },
    /// A pin of a PCA9535 or PCA9555 on an I2C bus.
    Expander {
        /// The bus, such as `/dev/i2c-1`.
        bus: PathBuf,
        /// The chip's address on it, 0x20 to 0x27.
        address: u8,
        /// 0 to 7 are P00 to P07, 8 to 15 are P10 to P17.
        pin: u8,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chip { chip, offset } => write!(f, "{chip} line {offset}"),
            Self::Expander { bus, address, pin } => {
                write!(f, "{} 0x{address:02x} pin {pin}", bus.display())
            }
        }
    }
}

/// What hangs on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A relay in the sled's supply: its level is the sled's power.
    Relay {
        /// Its level outlives the holder and a reboot of this machine.
        latching: bool,
    },
    /// The sled's power button.
    Button,
    /// Something that shows whether the sled has power; an input.
    Sense {
        /// The bias of the input.
        pull: Pull,
    },
}

impl Usage {
    /// As the file names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay { .. } => "relay",
            Self::Button => "button",
            Self::Sense { .. } => "sense",
        }
    }
}

/// The bias of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// As it is.
    #[default]
    Keep,
    /// Towards high.
    Up,
    /// Towards low.
    Down,
    /// None.
    None,
}

/// Lines by name.
#[derive(Clone, Debug, Default)]
pub struct LineMap(BTreeMap<String, LineSpec>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default)]
    line: Vec<WireLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLine {
    name: String,
    #[serde(rename = "use")]
    usage: WireUsage,
    #[serde(default)]
    active: WireActive,
    chip: Option<String>,
    offset: Option<u32>,
    i2c_bus: Option<PathBuf>,
    address: Option<u8>,
    pin: Option<u8>,
    latching: Option<bool>,
    pull: Option<Pull>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireUsage {
    Relay,
    Button,
    Sense,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireActive {
    #[default]
    High,
    Low,
}

impl LineMap {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &read_text(file)?)
    }

    /// Checks a file's text; `file` is only named in messages.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let wire: Wire = parse_toml(file, text)?;
        if wire.line.len() > MAX_LINES {
            let message = format!("more than {MAX_LINES} lines: split them between appliances");
            return Err(ConfigError::value(file, "line", message));
        }
        let mut places = BTreeSet::new();
        let mut map = BTreeMap::new();
        for line in wire.line {
            let key = format!("line \"{}\"", line.name);
            let wrong = |message: String| ConfigError::value(file, key.as_str(), message);
            let spec = line.check().map_err(|message| wrong(message.to_owned()))?;
            if !places.insert(spec.place.clone()) {
                return Err(wrong(format!(
                    "{} has two names: remove one of them",
                    spec.place
                )));
            }
            let name = spec.name.clone();
            if map.insert(name, spec).is_some() {
                return Err(wrong("is declared twice: rename one of them".to_owned()));
            }
        }
        Ok(Self(map))
    }

    /// The line of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&LineSpec> {
        self.0.get(name)
    }

    /// Every line, by name.
    pub fn iter(&self) -> impl Iterator<Item = &LineSpec> {
        self.0.values()
    }
}

impl WireLine {
    fn check(self) -> Result<LineSpec, &'static str> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !(1..=64).contains(&self.name.len()) || !self.name.bytes().all(plain) {
            return Err("name must be 1 to 64 letters, digits, and -_.");
        }
        let place = match (self.chip, self.offset, self.i2c_bus, self.address, self.pin) {
            (Some(chip), Some(offset), None, None, None) => Place::Chip { chip, offset },
            (None, None, Some(bus), Some(address @ 0x20..=0x27), Some(pin @ 0..=15)) => {
                Place::Expander { bus, address, pin }
            }
            (None, None, Some(_), Some(_), Some(_)) => {
                return Err("a PCA9535 or PCA9555 has an address of 0x20 to 0x27 and pins 0 to 15");
            }
            _ => {
                return Err("needs chip and offset, or i2c_bus, address and pin of an expander");
            }
        };
        let usage = match (self.usage, self.latching, self.pull) {
            (WireUsage::Relay, latching, None) => Usage::Relay {
                latching: latching.unwrap_or(false),
            },
            (WireUsage::Button, None, None) => Usage::Button,
            (WireUsage::Sense, None, pull) => Usage::Sense {
                pull: pull.unwrap_or_default(),
            },
            (_, Some(_), _) => return Err("latching is for relays alone"),
            (_, _, Some(_)) => return Err("pull is for sense lines alone"),
        };
        let has_pull = matches!(usage, Usage::Sense { pull } if pull != Pull::Keep);
        if has_pull && matches!(place, Place::Expander { .. }) {
            return Err("pull cannot be chosen on this expander: put a resistor there");
        }
        Ok(LineSpec {
            name: self.name,
            place,
            usage,
            active: match self.active {
                WireActive::High => Active::High,
                WireActive::Low => Active::Low,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [[line]]
        name = "pwr-01"
        use = "relay"
        active = "low"
        latching = true
        i2c_bus = "/dev/i2c-1"
        address = 0x20
        pin = 8

        [[line]]
        name = "pwr-02"
        use = "button"
        chip = "/dev/gpiochip0"
        offset = 17

        [[line]]
        name = "sense-02"
        use = "sense"
        pull = "up"
        chip = "/dev/gpiochip0"
        offset = 18
    "#;

    #[test]
    fn names_become_lines() {
        let map = LineMap::parse(Path::new("lines.toml"), GOOD).unwrap();
        let relay = map.get("pwr-01").unwrap();
        assert_eq!(relay.place.to_string(), "/dev/i2c-1 0x20 pin 8");
        assert_eq!(relay.usage, Usage::Relay { latching: true });
        assert_eq!(relay.active, Active::Low);
        let button = map.get("pwr-02").unwrap();
        assert_eq!(button.place.to_string(), "/dev/gpiochip0 line 17");
        assert_eq!((button.usage, button.active), (Usage::Button, Active::High));
        let sense = map.get("sense-02").unwrap();
        assert_eq!(sense.usage, Usage::Sense { pull: Pull::Up });
        assert!(map.get("pwr-03").is_none());
        assert_eq!(map.iter().count(), 3);
    }

    #[test]
    fn the_boards_have_good_maps() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../board");
        let mut count = 0;
        for entry in std::fs::read_dir(boards).unwrap() {
            let file = entry.unwrap().path().join("lines.toml");
            if file.exists() {
                LineMap::load(&file).unwrap();
                count += 1;
            }
        }
        assert!(count >= 3);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |line: &str, part: &str| {
            let text = format!("[[line]]\nname = \"a\"\n{line}\n");
            let error = LineMap::parse(Path::new("lines.toml"), &text).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("lines.toml:"), "{text}");
            assert!(text.contains(part), "{part:?} is not in {text}");
        };
        let relay = "use = \"relay\"\nchip = \"c\"\noffset = 1";
        check("use = \"lamp\"\nchip = \"c\"\noffset = 1", "lamp");
        check("use = \"relay\"\nchip = \"c\"", "needs chip and offset");
        check(&format!("{relay}\npin = 3"), "needs chip and offset");
        let far = "use = \"relay\"\ni2c_bus = \"b\"\naddress = 0x48\npin = 1";
        check(far, "0x20 to 0x27");
        check(&format!("{relay}\npull = \"up\""), "pull is for sense");
        check(&format!("{relay}\ncolour = 1"), "lines.toml:6: unknown");
        let button = relay.replace("relay", "button");
        check(&format!("{button}\nlatching = true"), "for relays alone");
        let twice = format!("{relay}\n[[line]]\nname = \"a\"\n{button}0");
        check(&twice, "declared twice");
        let shared = format!("{relay}\n[[line]]\nname = \"b\"\n{button}");
        check(&shared, "has two names");
        let pulled = "use = \"sense\"\npull = \"up\"\ni2c_bus = \"b\"\naddress = 0x20\npin = 1";
        check(pulled, "put a resistor");
    }
}
