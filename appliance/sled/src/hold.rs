//! A sled that people look at: a root shell in the job's root, on each console
//! of the kernel's command line. The job is over by then, its runner is gone
//! from GitHub, and the sled is wiped before its next one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::{
    Pid, WaitOptions, chdir, chroot, ioctl_tiocsctty, setsid, test_kill_process, wait,
};

use crate::console::say;
use crate::image::ROOT;
use crate::run::user::FOLDER;

/// First argument of a process that becomes a shell.
pub(crate) const COMMAND: &str = "shell";

/// Consoles of the kernel, the names of their devices between spaces.
const CONSOLES: &str = "/sys/class/tty/console/active";

/// What a shell may be, the best first: jobs need one of them too.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// The shells of a held sled.
pub(crate) struct Shells {
    sled: String,
    /// A console, and its shell while it runs.
    consoles: Vec<(String, Option<Pid>)>,
}

impl Shells {
    /// One for each console, none started yet.
    pub(crate) fn new(sled: &str) -> Self {
        let active = fs::read_to_string(CONSOLES).unwrap_or_default();
        Self {
            sled: sled.to_owned(),
            consoles: terminals(&active).map(|name| (name, None)).collect(),
        }
    }

    /// Starts what does not run, or not any more, and reaps whatever ended: as
    /// PID 1, of others too.
    pub(crate) fn keep(&mut self) {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        for (console, shell) in &mut self.consoles {
            if shell.is_some_and(|pid| test_kill_process(pid).is_ok()) {
                continue;
            }
            let child = Command::new("/proc/self/exe")
                .args([COMMAND, ROOT, console, &self.sled])
                .env_clear()
                .spawn();
            match child {
                Ok(child) => *shell = i32::try_from(child.id()).ok().and_then(Pid::from_raw),
                Err(error) => say!("cannot start a shell on {console}: {error}"),
            }
        }
    }
}

/// The terminals behind the kernel's consoles: that of a screen is the one in
/// front of it.
fn terminals(active: &str) -> impl Iterator<Item = String> {
    active.split_whitespace().map(|name| match name {
        "tty0" => "tty1".to_owned(),
        name => name.to_owned(),
    })
}

/// Becomes a shell, or says why not and exits with 126.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let [root, console, sled] = words else {
        eprintln!("{COMMAND}: not what the agent starts a shell with");
        return ExitCode::from(2);
    };
    let Err(error) = become_shell(root, console, sled);
    eprintln!("cannot start a shell on {console}: {error}");
    ExitCode::from(126)
}

fn become_shell(root: &str, console: &str, sled: &str) -> io::Result<std::convert::Infallible> {
    setsid()?;
    let path = Path::new("/dev").join(console);
    let mut terminal = File::options().read(true).write(true).open(path)?;
    ioctl_tiocsctty(&terminal)?;
    write!(
        terminal,
        "\r\n{sled} is held: its job failed. This shell is root in what the job left.\r\n\
         Nothing outlives the hold, which ends early by: musher sled unhold {sled}\r\n"
    )?;
    chroot(root)?;
    chdir(FOLDER)?;
    let found = SHELLS.iter().find(|shell| Path::new(shell).exists());
    let shell = found.ok_or_else(|| io::Error::other("the image has none"))?;
    let (input, errors) = (terminal.try_clone()?, terminal.try_clone()?);
    Err(Command::new(shell)
        .arg("-l")
        .env("HOME", "/root")
        .env("USER", "root")
        .env("LOGNAME", "root")
        .env("SHELL", shell)
        .env("TERM", "vt100")
        .env("LANG", "C.UTF-8")
        .env("PS1", format!("root@{sled}:\\w# "))
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(input)
        .stdout(terminal)
        .stderr(errors)
        .exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_console_has_a_terminal() {
        let check = |active: &str, expected: &[&str]| {
            assert_eq!(terminals(active).collect::<Vec<_>>(), expected, "{active}");
        };
        check("", &[]);
        check("ttyS0\n", &["ttyS0"]);
        check("tty0 ttyS1\n", &["tty1", "ttyS1"]);
    }
}
