//! The launcher: a process of its own that becomes the runner. It enters the
//! root, drops root's privileges and executes the runner's program; it never
//! returns into the agent. A process of its own, because chroot and a
//! session belong to a whole process, and the agent is PID 1.

use std::error::Error;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Gid, Resource, Rlimit, Uid, chdir, chroot, setrlimit, setsid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use super::user::{CONFIGURE, FOLDER, PROGRAM, User};

/// First argument of the launcher.
pub(crate) const COMMAND: &str = "launch";

/// systemd's default hard limit of open files; jobs expect no less.
const MAX_FILES: u64 = 524_288;

/// The launcher's command and arguments for a user. The order's secrets are not among
/// them: arguments can be read by anyone.
pub(super) fn arguments(root: &str, user: &User) -> Vec<String> {
    let mut words = vec![
        COMMAND.to_owned(),
        root.to_owned(),
        user.uid.to_string(),
        user.gid.to_string(),
    ];
    words.extend(user.groups.iter().map(u32::to_string));
    words
}

/// Becomes the runner, or says why not and exits with 126.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let Some((root, user)) = parse(words) else {
        eprintln!("{COMMAND}: not what the agent starts a runner with");
        return ExitCode::from(2);
    };
    let error: Box<dyn Error> = match become_user(root, &user) {
        Ok(()) => match register() {
            Some(code) => return code,
            None => Box::new(runner().exec()),
        },
        Err(error) => error,
    };
    eprintln!("cannot start {PROGRAM}: {error}");
    ExitCode::from(126)
}

/// The variable by which a runner that registers itself gets its token.
pub(super) const TOKEN: &str = "ACTIONS_RUNNER_INPUT_TOKEN";

/// Options of `config.sh`, none of them secret: one job, no questions, no label
/// but the given ones, and the version that the image has.
const OPTIONS: [&str; 4] = [
    "--unattended",
    "--ephemeral",
    "--disableupdate",
    "--no-default-labels",
];

/// Registers the runner, where it got a token to do that with; what to exit with
/// when it could not.
fn register() -> Option<ExitCode> {
    std::env::var_os(TOKEN)?;
    match Command::new(CONFIGURE).args(OPTIONS).status() {
        Ok(status) if status.success() => None,
        Ok(status) => {
            eprintln!("the runner could not register itself: {status}");
            Some(ExitCode::FAILURE)
        }
        Err(error) => {
            eprintln!("cannot start {CONFIGURE}: {error}");
            Some(ExitCode::from(126))
        }
    }
}

/// The runner's program, without what only its registration needed.
fn runner() -> Command {
    let mut runner = Command::new(PROGRAM);
    if std::env::var_os(TOKEN).is_some() {
        for name in ["TOKEN", "NAME", "URL", "LABELS", "RUNNERGROUP"] {
            runner.env_remove(format!("ACTIONS_RUNNER_INPUT_{name}"));
        }
    }
    runner
}

fn parse(words: &[String]) -> Option<(&str, User)> {
    let [root, uid, gid, groups @ ..] = words else {
        return None;
    };
    let number = |word: &String| word.parse::<u32>().ok();
    let user = User {
        uid: number(uid).filter(|uid| *uid != 0)?,
        gid: number(gid)?,
        groups: groups.iter().map(number).collect::<Option<_>>()?,
    };
    Some((root.as_str(), user))
}

/// Jobs use sudo, so `no_new_privs` stays unset.
fn become_user(root: &str, user: &User) -> Result<(), Box<dyn Error>> {
    setsid()?;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(65_536),
            maximum: Some(MAX_FILES),
        },
    )?;
    chroot(root)?;
    chdir(FOLDER)?;
    // The process has one thread, so a thread's ids are the process's.
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups)?;
    set_thread_gid(Gid::from_raw(user.gid))?;
    set_thread_uid(Uid::from_raw(user.uid))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_round_trip() {
        let user = User {
            uid: 1001,
            gid: 1002,
            groups: vec![27, 999],
        };
        let words = arguments("/root-of-job", &user);
        assert_eq!(words.first().map(String::as_str), Some(COMMAND));
        assert_eq!(parse(&words[1..]), Some(("/root-of-job", user)));
    }

    #[test]
    fn nothing_else_launches() {
        let check = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(parse(&words), None, "{words:?}");
        };
        check(&[]);
        check(&["--help"]);
        check(&["/", "0", "0"]);
        check(&["/", "1", "x"]);
    }
}
