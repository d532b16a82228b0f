//! Runs the programs this tool stands on and turns their failure into a
//! message that names program and reason. It never goes through a shell.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// Debian keeps depmod and mke2fs in directories that an ordinary user's PATH
/// lacks.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command with the system's program directories behind the caller's own.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    let path = match std::env::var("PATH") {
        Ok(path) if !path.is_empty() => format!("{path}:{SYSTEM_PATH}"),
        _ => SYSTEM_PATH.to_owned(),
    };
    command.env("PATH", path).env("LC_ALL", "C");
    command
}

/// Runs to the end and hands back standard output.
///
/// # Errors
/// When the program is absent or ends with another status than 0; the message
/// holds the end of what it wrote to standard error.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    command.stdin(Stdio::null());
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().with_context(|| absent(&name))?;
    check(&name, &done)?;
    Ok(done.stdout)
}

/// Like [`output`], as text.
///
/// # Errors
/// Those of [`output`], and output that is not UTF-8.
pub(crate) fn text(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    String::from_utf8(output(command)?).with_context(|| format!("{name} wrote no UTF-8"))
}

/// Runs with standard input read from a file.
///
/// # Errors
/// Those of [`output`], and a file that cannot be opened.
pub(crate) fn with_input(command: &mut Command, input: &Path) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let file = File::open(input).with_context(|| format!("open {}", input.display()))?;
    let done = command
        .stdin(file)
        .output()
        .with_context(|| absent(&name))?;
    check(&name, &done)?;
    Ok(done.stdout)
}

fn absent(name: &str) -> String {
    let package = match name {
        "depmod" => "kmod",
        "mksquashfs" => "squashfs-tools",
        "xz" => "xz-utils",
        "dpkg-deb" => "dpkg",
        "apt-get" | "apt-cache" => "apt",
        other => other,
    };
    format!("cannot run {name}; install the package {package}")
}

fn check(name: &str, done: &Output) -> Result<()> {
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.trim();
    let start = said.char_indices().rev().nth(1500).map_or(0, |(at, _)| at);
    bail!(
        "{name} failed with {}: {}",
        done.status,
        said.get(start..).unwrap_or_default()
    )
}
