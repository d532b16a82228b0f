//! What a sled's BMC was told and what its machine did, from the lab's log.
//! It reads; it never decides what an edge should have been.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerLine {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// What.
    pub event: PowerEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// The BMC was told to switch power on.
    CommandOn,
    /// The BMC was told to cut power.
    CommandOff,
    /// The BMC was told something else, such as a boot device or a reset.
    Command(String),
    /// The machine started.
    Started,
    /// The machine ended, by itself or because its power was cut.
    Exited,
}

/// Reads a sled's power log; a log that is not there yet is empty.
pub(crate) fn read(path: &Path) -> Result<Vec<PowerLine>> {
    match fs::read_to_string(path) {
        Ok(text) => text.lines().map(line).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn line(text: &str) -> Result<PowerLine> {
    let (at, what) = text
        .split_once(' ')
        .with_context(|| format!("power log: {text:?} holds no event"))?;
    let at_ms = at
        .parse()
        .with_context(|| format!("power log: {text:?} begins with no time"))?;
    let event = match what {
        "set power 1" => PowerEvent::CommandOn,
        "set power 0" => PowerEvent::CommandOff,
        _ if what.starts_with("set ") => PowerEvent::Command(what[4..].to_owned()),
        _ if what.starts_with("started") => PowerEvent::Started,
        _ if what.starts_with("exited") => PowerEvent::Exited,
        _ => anyhow::bail!("power log: {text:?} is an unknown event"),
    };
    Ok(PowerLine { at_ms, event })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_lab() {
        let check = |text: &str, expect: Option<(u64, PowerEvent)>| {
            let got = line(text).ok().map(|line| (line.at_ms, line.event));
            assert_eq!(got, expect, "{text:?}");
        };
        check("12 set power 1", Some((12, PowerEvent::CommandOn)));
        check("13 set power 0", Some((13, PowerEvent::CommandOff)));
        check(
            "14 set boot pxe",
            Some((14, PowerEvent::Command("boot pxe".to_owned()))),
        );
        check("15 started", Some((15, PowerEvent::Started)));
        check("16 exited exit status: 0", Some((16, PowerEvent::Exited)));
        check("started", None);
        check("17 melted", None);
    }
}
