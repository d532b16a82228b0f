//! Lines by `gpio-sim`, and the kernel's own record of what was driven when.

use std::ffi::CString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};
use rustix::system::finit_module;

use crate::Outcome;

/// Offsets of the lines.
pub(crate) const BUTTON: u32 = 0;
pub(crate) const SENSE: u32 = 1;
pub(crate) const RELAY: u32 = 2;
/// What the relay feeds.
pub(crate) const RAIL: u32 = 3;

const TRACE: &str = "/sys/kernel/tracing";

/// Mounts what a system has, loads the modules, and hands back how many
/// daemons are to be killed.
pub(crate) fn prepare() -> Outcome<u64> {
    let system = [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
    ];
    for (kind, target) in system {
        fs::create_dir_all(target)?;
        mount(kind, target, kind, MountFlags::empty(), None)?;
    }
    for line in fs::read_to_string("/modules")?.lines() {
        let (file, parameters) = line.split_once(' ').unwrap_or((line, ""));
        finit_module(File::open(file)?, &CString::new(parameters)?, 0)
            .map_err(|error| format!("load {file}: {error}"))?;
    }
    for (kind, target) in [("configfs", "/sys/kernel/config"), ("tracefs", TRACE)] {
        if fs::read_dir(target)?.next().is_none() {
            mount(kind, target, kind, MountFlags::empty(), None)
                .map_err(|error| format!("mount {target}: {error}"))?;
        }
    }
    Ok(fs::read_to_string("/kills")?.trim().parse()?)
}

/// One bank of eight lines.
pub(crate) struct Sim {
    folder: PathBuf,
}

impl Sim {
    /// Makes the bank. Its first line is pulled up: a button at rest.
    pub(crate) fn create() -> Outcome<Self> {
        let config = Path::new("/sys/kernel/config/gpio-sim/rack");
        let bank = config.join("bank0");
        fs::create_dir_all(&bank)?;
        fs::write(bank.join("num_lines"), "8")?;
        fs::write(bank.join("label"), "sled")?;
        fs::write(config.join("live"), "1")?;
        let name = |path: PathBuf| fs::read_to_string(path).map(|text| text.trim().to_owned());
        let folder = Path::new("/sys/devices/platform")
            .join(name(config.join("dev_name"))?)
            .join(name(bank.join("chip_name"))?);
        let sim = Self { folder };
        sim.pull(BUTTON, true)?;
        sim.pull(SENSE, false)?;
        sim.pull(RAIL, false)?;
        let trace = Path::new(TRACE);
        fs::write(trace.join("trace_clock"), "mono")?;
        let events = trace.join("events/gpio/gpio_value");
        fs::write(events.join("filter"), "get == 0")?;
        fs::write(events.join("enable"), "1")?;
        Ok(sim)
    }

    pub(crate) fn attribute(&self, line: u32, name: &str) -> PathBuf {
        self.folder.join(format!("sim_gpio{line}")).join(name)
    }

    /// The level that is on the line: `0` or `1`.
    pub(crate) fn value(&self, line: u32) -> Outcome<String> {
        let text = fs::read_to_string(self.attribute(line, "value"))?;
        Ok(text.trim().to_owned())
    }

    /// Drives a line from outside.
    pub(crate) fn pull(&self, line: u32, up: bool) -> Outcome {
        let level = if up { "pull-up" } else { "pull-down" };
        Ok(fs::write(self.attribute(line, "pull"), level)?)
    }

    /// Every set that the kernel carried out, with its time: what was driven
    /// is seen even where the level did not change. `lowest` is the first of
    /// our lines that was moved.
    pub(crate) fn print_trace(&self, lowest: u32) -> Outcome {
        let trace = fs::read_to_string(Path::new(TRACE).join("trace"))?;
        let mut sets = Vec::new();
        for line in trace.lines() {
            // TASK-PID [CPU] FLAGS SECONDS: gpio_value: NUMBER set LEVEL
            let Some((head, tail)) = line.split_once(": gpio_value: ") else {
                continue;
            };
            let at = head.split_whitespace().last().unwrap_or_default();
            let mut words = tail.split_whitespace();
            let number: u32 = words.next().unwrap_or_default().parse()?;
            sets.push((at, number, words.last().unwrap_or_default()));
        }
        // The kernel numbers lines through all chips.
        let first = sets.iter().map(|(_, number, _)| *number).min();
        for (at, number, level) in sets {
            let line = number - first.unwrap_or_default() + lowest;
            println!("set {at} {line} {level}");
        }
        Ok(())
    }
}
