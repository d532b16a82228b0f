//! Real little programs, written for each case.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::power::{Checked, Driver, Plain, Proof};

/// A program whose folder is `$home`; power is the file `power` in it.
pub(in crate::power) struct Program(TempDir);

impl Program {
    fn new(body: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display();
        let text = format!("#!/bin/sh\nhome={home}\necho \"$*\" >> $home/log\n{body}\n");
        let program = Self(folder);
        // A process that another test forks meanwhile holds what this one has
        // open, and what is open for writing cannot be run (execve(2), ETXTBSY).
        fs::write(program.file("text"), text).unwrap();
        let copy = [program.file("text"), program.path()];
        let copied = std::process::Command::new("cp").args(copy).status();
        assert!(copied.unwrap().success());
        program.mode(0o755);
        program
    }

    /// A plug that keeps its word but for the cases in `body`, which comes
    /// first and sees the verb as `$2`.
    pub(in crate::power) fn plug(power: &str, body: &str) -> Self {
        let honest = "case $2 in status) cat $home/power ;; *) echo $2 > $home/power ;; esac";
        let program = Self::new(&format!("{body}\n{honest}"));
        fs::write(program.file("power"), power).unwrap();
        program
    }

    pub(in crate::power) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn path(&self) -> PathBuf {
        self.file("program")
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn driver(&self, deadline: Duration) -> CommandDriver {
        let config = CommandConfig {
            program: self.path(),
            arguments: vec!["--outlet 4".to_owned()],
            deadline,
        };
        CommandDriver::new(config, "sled-01".to_owned())
    }

    pub(in crate::power) fn patient(&self) -> CommandDriver {
        self.driver(Duration::from_secs(20))
    }

    /// The verbs that it was run with.
    pub(in crate::power) fn verbs(&self) -> Vec<String> {
        let log = fs::read_to_string(self.file("log")).unwrap();
        let verb = |line: &str| {
            let rest = line.strip_prefix("--outlet 4 ").unwrap();
            rest.strip_suffix(" sled-01").unwrap().to_owned()
        };
        log.lines().map(verb).collect()
    }

    fn checked(&self) -> Checked {
        let proof = Proof {
            settle: Duration::from_millis(200),
            poll: Duration::from_millis(10),
            off_time: Duration::from_millis(10),
            ..Proof::default()
        };
        Checked::with_proof(Driver::Plain(Plain::command(self.patient())), proof)
    }
}

fn check(error: &PowerError, kind: PowerErrorKind, part: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.starts_with("sled sled-01, program /"), "{text}");
    assert!(text.contains(part), "{text:?} lacks {part:?}");
    assert!(text.len() < 800 && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn a_plug_is_read_and_switched() {
    let plug = Program::plug("off", "");
    let driver = plug.patient();
    assert_eq!(driver.read().await.unwrap(), PowerReading::Off);
    assert_eq!(driver.set(Power::On).await.unwrap(), Switched::Commanded);
    assert_eq!(driver.set(Power::On).await.unwrap(), Switched::AlreadySo);
    assert_eq!(driver.set(Power::Off).await.unwrap(), Switched::Commanded);
    assert_eq!(
        plug.verbs(),
        ["status", "status", "on", "status", "status", "off"]
    );
}

#[tokio::test]
async fn words_are_exact() {
    let check_word = async |printed: &str, expect: Option<PowerReading>| {
        let program = Program::new(&format!("printf '{printed}'"));
        match (program.patient().read().await, expect) {
            (Ok(reading), expect) => assert_eq!(Some(reading), expect, "{printed}"),
            (Err(error), None) => check(&error, PowerErrorKind::Garbage, "`status` must print"),
            (Err(error), Some(_)) => panic!("{error}"),
        }
    };
    check_word("on\\n", Some(PowerReading::On)).await;
    check_word("off", Some(PowerReading::Off)).await;
    check_word("unknown\\r\\n", Some(PowerReading::Unknown)).await;
    for wrong in ["", "ON", "on off", "on\\nplease", "o\\033[1mn", "\\377"] {
        check_word(wrong, None).await;
    }
}

#[tokio::test]
async fn failures_have_kinds_and_words() {
    let check_exit = async |body: &str, kind, part: &str| {
        let error = Program::new(body).patient().read().await.unwrap_err();
        check(&error, kind, part);
    };
    use PowerErrorKind as Kind;
    let body = "for i in 1 2 3 4; do echo \"line $i\" >&2; done; echo on; exit 1";
    let said = "exit code 1; it said \"line 2 / line 3 / line 4\"";
    check_exit(body, Kind::Refused, said).await;
    check_exit("exit 64", Kind::Unsupported, "does not know that verb").await;
    check_exit("exit 69", Kind::Dead, "does not answer").await;
    check_exit("exit 75", Kind::Dead, "does not answer").await;
    check_exit("exit 77", Kind::WrongPassword, "credentials").await;
    check_exit("kill -TERM $$", Kind::Refused, "signal 15").await;

    let gone = Program::new("");
    fs::remove_file(gone.path()).unwrap();
    let error = gone.patient().read().await.unwrap_err();
    check(&error, Kind::Local, "check that it exists");
    let plain = Program::new("echo on");
    plain.mode(0o644);
    let error = plain.patient().read().await.unwrap_err();
    check(&error, Kind::Local, "may execute it");
}

#[tokio::test]
async fn floods_are_bounded() {
    let flood = Program::new("yes on");
    let error = flood.driver(Duration::from_millis(300)).read().await;
    check(
        &error.unwrap_err(),
        PowerErrorKind::Dead,
        "killed after 300 ms",
    );
    let much = Program::new("echo on; head -c 10000000 /dev/zero | tr '\\0' x | tee /dev/stderr");
    let error = much.patient().read().await.unwrap_err();
    check(&error, PowerErrorKind::Garbage, "it printed \"on x");
}

/// Waits for a process that was killed: it is gone, or is left to be reaped by
/// its parent. Its pipes are closed a moment before that.
fn wait_until_gone(pid: &str) {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
        if stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z ")) {
            return;
        }
        assert!(Instant::now() < patience, "process {pid} lives");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_hanging_program_is_killed_with_its_children() {
    let body = "echo waiting >&2; sleep 1000 & echo $! > $home/child; trap '' TERM; wait";
    let hanging = Program::new(body);
    let start = Instant::now();
    let error = hanging.driver(Duration::from_secs(2)).read().await;
    let error = error.unwrap_err();
    check(
        &error,
        PowerErrorKind::Dead,
        "longer `deadline_s`; it said \"waiting\"",
    );
    assert!(start.elapsed() < Duration::from_secs(60));
    let child = fs::read_to_string(hanging.file("child")).unwrap();
    wait_until_gone(child.trim());
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_killed() {
    let body = "sleep 1000 & echo $! > $home/child; echo on";
    let careless = Program::new(body);
    assert_eq!(careless.patient().read().await.unwrap(), PowerReading::On);
    let child = fs::read_to_string(careless.file("child")).unwrap();
    wait_until_gone(child.trim());
}

#[tokio::test]
async fn the_environment_is_bare() {
    let program = Program::new("env > $home/env; pwd >> $home/env; cat; echo on");
    program.patient().read().await.unwrap();
    let seen = fs::read_to_string(program.file("env")).unwrap();
    let mut names: Vec<&str> = seen
        .lines()
        .map(|line| line.split('=').next().unwrap())
        .collect();
    names.sort_unstable();
    // PWD and _ are the shell's own.
    names.retain(|name| !matches!(*name, "PWD" | "_" | "OLDPWD" | "SHLVL"));
    assert_eq!(names, ["/", "LC_ALL", "PATH"]);
}

#[tokio::test]
async fn lies_are_contradictions() {
    let check_lie = async |power: &str, lie: &str, told: Power, verbs: &[&str]| {
        let plug = Program::plug(power, lie);
        let mut checked = plug.checked();
        let error = match told {
            Power::On => checked.power_on().await,
            Power::Off => checked.power_off().await,
        };
        check(
            &error.unwrap_err(),
            PowerErrorKind::Contradiction,
            "do not rely on what it says",
        );
        let mut seen = plug.verbs();
        seen.retain(|verb| verb != "status");
        assert_eq!(seen, verbs);
    };
    let says = |word: &str| format!("[ $2 = status ] && echo {word} && exit");
    let ignores = "[ $2 = status ] || exit 0";
    check_lie("off", &says("on"), Power::Off, &["off", "off"]).await;
    check_lie("on", &says("off"), Power::On, &["on", "on"]).await;
    check_lie("on", ignores, Power::Off, &["off", "off"]).await;
    check_lie("off", ignores, Power::On, &["on", "on"]).await;
}

#[tokio::test]
async fn off_that_is_taken_back_is_a_contradiction() {
    // The second reading after it went off says on again.
    let flips = "[ $2$(cat $home/power)$(grep -c status $home/log) = statusoff4 ] && \
                 echo on > $home/power";
    let plug = Program::plug("on", flips);
    let mut checked = plug.checked();
    assert_eq!(checked.power_off().await.unwrap(), Switched::Commanded);
    assert_eq!(checked.read().await.unwrap(), PowerReading::Off);
    let error = checked.read().await.unwrap_err();
    check(&error, PowerErrorKind::Contradiction, "read off, and");
}

#[tokio::test]
async fn a_device_that_dies_is_neither_on_nor_off() {
    let dies = "[ -e $home/dead ] && exit 69; [ $2 = off ] && touch $home/dead";
    let plug = Program::plug("on", dies);
    let error = plug.checked().power_off().await.unwrap_err();
    check(&error, PowerErrorKind::Dead, "does not answer");
}
