//! `musher-image runner`: a runner's root filesystem as squashfs, with the
//! runner unpacked in the home of an unprivileged user who may become root
//! without a password, as on GitHub's own runners. It needs no root itself:
//! owners are set in a tar stream that mksquashfs reads.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use sha2::{Digest as _, Sha256};

use crate::apt::{self, Apt};
use crate::{files, run, userland};

/// The user and group id of the job's user. GitHub's images use 1001.
const RUNNER_ID: u32 = 1001;
/// Where the runner is unpacked.
const RUNNER_HOME: &str = "home/runner";

/// What to pack, and where to.
pub(crate) struct Plan {
    /// The runner's release tarball.
    pub(crate) tarball: PathBuf,
    /// The squashfs to write.
    pub(crate) out: PathBuf,
    /// The runner's version, if not as the tarball's name has it.
    pub(crate) version: Option<String>,
    /// What the root filesystem is made of.
    pub(crate) base: Base,
    /// Debian suite.
    pub(crate) suite: String,
    /// Where packages are kept between runs.
    pub(crate) cache: PathBuf,
    /// The folder of recipes.
    pub(crate) recipes: PathBuf,
    /// Squashfs compressor.
    pub(crate) compressor: Compressor,
}

/// What a root filesystem is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Base {
    /// Debian's static busybox: a few MiB, for the stub runner and for tests.
    Busybox,
    /// Debian's minimal system with what GitHub's runner needs.
    Debian,
}

/// Squashfs compressors that Debian's kernel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compressor {
    /// Small, and quick to read.
    Zstd,
    /// Quickest to read, a third larger.
    Lz4,
    /// Between the two.
    Lzo,
}

/// Packs the root filesystem.
///
/// # Errors
/// A tarball that cannot be unpacked, a package or program that is missing,
/// a recipe that fails.
pub(crate) fn pack(plan: &Plan) -> Result<()> {
    ensure!(
        plan.tarball.is_file(),
        "there is no tarball {}",
        plan.tarball.display()
    );
    let mut beside = plan.out.as_os_str().to_owned();
    beside.push(".stage");
    let stage = PathBuf::from(beside);
    files::remove_tree(&stage)?;
    files::make_dir(&stage)?;
    let packed = gather(plan, &stage).and_then(|tar| squash(plan, &tar));
    files::remove_tree(&stage)?;
    packed?;
    describe(plan)?;
    let size = fs::metadata(&plan.out).map_or(0, |meta| meta.len());
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    println!("{}: {}", plan.out.display(), files::mebibytes(size));
    Ok(())
}

/// Makes the tar file: the base's files as root's, then the runner's as the
/// runner's.
fn gather(plan: &Plan, stage: &Path) -> Result<PathBuf> {
    let tar = stage.join("root.tar");
    match plan.base {
        Base::Busybox => {
            let root = stage.join("root");
            busybox_root(plan, &root)?;
            archive(&tar, &root, ".", 0, false)?;
        }
        Base::Debian => {
            let recipe = plan.recipes.join("debian/build.sh");
            println!("building Debian {} by {}", plan.suite, recipe.display());
            let mut command = run::command("sh");
            command.arg(&recipe).arg(&plan.suite).arg(&tar);
            run::output(&mut command).context("build the Debian root filesystem")?;
        }
    }
    let home = stage.join("home");
    let runner = home.join(RUNNER_HOME).join("actions-runner");
    files::make_dir(&runner)?;
    run::output(
        run::command("tar")
            .args(["--extract", "--no-same-owner", "--file"])
            .arg(&plan.tarball)
            .arg("--directory")
            .arg(&runner),
    )
    .with_context(|| format!("unpack {}", plan.tarball.display()))?;
    files::set_mode(&runner, 0o755)?;
    files::set_mode(&home.join(RUNNER_HOME), 0o755)?;
    archive(&tar, &home, RUNNER_HOME, RUNNER_ID, true)?;
    Ok(tar)
}

/// Writes or appends `what` below `folder`, all owned by one id.
fn archive(tar: &Path, folder: &Path, what: &str, owner: u32, append: bool) -> Result<()> {
    let mut command = run::command("tar");
    command
        .arg(if append { "--append" } else { "--create" })
        .args([
            "--format=gnu",
            "--numeric-owner",
            "--sort=name",
            "--mtime=@0",
        ])
        .arg(format!("--owner={owner}"))
        .arg(format!("--group={owner}"))
        .arg("--file")
        .arg(tar)
        .arg("--directory")
        .arg(folder)
        .arg(what);
    run::output(&mut command).map(drop)
}

fn squash(plan: &Plan, tar: &Path) -> Result<()> {
    let mut beside = plan.out.as_os_str().to_owned();
    beside.push(".new");
    let mut command = run::command("mksquashfs");
    command.arg("-").arg(&beside);
    command.args(["-tar", "-noappend", "-no-progress", "-quiet"]);
    command.args(["-mkfs-time", "0", "-all-time", "0"]);
    command.args(["-root-mode", "755", "-root-uid", "0", "-root-gid", "0"]);
    match plan.compressor {
        // Level 19 takes minutes for a Debian root; reading is as quick.
        Compressor::Zstd => command.args(["-comp", "zstd", "-Xcompression-level", "6"]),
        Compressor::Lz4 => command.args(["-comp", "lz4", "-Xhc"]),
        Compressor::Lzo => command.args(["-comp", "lzo"]),
    };
    run::with_input(&mut command, tar)?;
    fs::rename(&beside, &plan.out).with_context(|| format!("rename to {}", plan.out.display()))
}

/// Writes beside the squashfs which runner is in it, for the appliance to warn
/// before GitHub gives such runners no more jobs.
fn describe(plan: &Plan) -> Result<()> {
    let mut beside = plan.out.as_os_str().to_owned();
    beside.push(".manifest.toml");
    let beside = PathBuf::from(beside);
    let Some(version) = plan
        .version
        .as_deref()
        .or_else(|| version_of(&plan.tarball))
    else {
        // The one of an image that was here before says nothing of this one.
        return match fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", beside.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        };
    };
    ensure!(
        is_version(version),
        "{version:?} is no version of the runner: write three numbers such as 2.335.0"
    );
    let mut image = fs::File::open(&plan.out).context("open the image")?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        match image.read(&mut piece).context("read the image")? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    let digest = hash.finalize();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("sha256 = \"{hex}\"\nrunner_version = \"{version}\"\n");
    files::write(&beside, text.as_bytes(), 0o644)
}

/// As GitHub names its releases: actions-runner-linux-x64-2.335.0.tar.gz.
fn version_of(tarball: &Path) -> Option<&str> {
    let name = tarball.file_name()?.to_str()?.strip_suffix(".tar.gz")?;
    let version = name.strip_prefix("actions-runner-")?.rsplit('-').next()?;
    Some(version).filter(|version| is_version(version))
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(number)
}

/// Lays out the busybox base.
fn busybox_root(plan: &Plan, root: &Path) -> Result<()> {
    let apt = Apt::open(&plan.cache, &plan.suite, false)?;
    let unpacked = plan.cache.join(format!("busybox-{}", plan.suite));
    files::remove_tree(&unpacked)?;
    for package in apt.download(&["busybox-static".to_owned()])? {
        apt::unpack(&package, &unpacked)?;
    }
    let busybox = userland::find(&unpacked, "bin/busybox")?.canonicalize()?;
    let bytes = files::read(&busybox)?;
    for folder in [
        "bin", "sbin", "usr/bin", "usr/sbin", "dev", "proc", "sys", "run", "mnt", "var", "home",
    ] {
        files::make_dir(&root.join(folder))?;
    }
    for folder in ["tmp", "var/tmp"] {
        files::make_dir(&root.join(folder))?;
        files::set_mode(&root.join(folder), 0o1777)?;
    }
    files::make_dir(&root.join("root"))?;
    files::set_mode(&root.join("root"), 0o700)?;
    // Set-user-id root for su. Every applet that needs no root drops it at
    // once (busybox's FEATURE_SUID); a copy for su alone would not do, as the
    // shell runs applets from its own file before it looks at PATH.
    files::write(&root.join("bin/busybox"), &bytes, 0o4755)?;
    let applets = run::text(run::command(&busybox).arg("--list-full"))?;
    for applet in applets
        .lines()
        .filter(|name| !name.is_empty() && !name.contains(".."))
    {
        let path = root.join(applet.trim_start_matches('/'));
        if !path.exists() && !path.is_symlink() {
            if let Some(parent) = path.parent() {
                files::make_dir(parent)?;
            }
            symlink("/bin/busybox", &path).with_context(|| format!("link {}", path.display()))?;
        }
    }
    files::write(&root.join("usr/bin/sudo"), SUDO.as_bytes(), 0o755)?;
    for (path, text) in SETTINGS {
        files::write(&root.join(path), text.as_bytes(), 0o644)?;
    }
    files::write(&root.join("etc/shadow"), SHADOW.as_bytes(), 0o600)?;
    Ok(())
}

/// Root's password is empty on purpose: a job may become root, and a sled
/// that ran one is wiped before anything else uses it. It is kept out of
/// /etc/passwd because busybox finds no user id there behind an empty field.
const SHADOW: &str = "root::1:0:99999:7:::\nnobody:!:1:0:99999:7:::\nrunner:!:1:0:99999:7:::\n";

const SETTINGS: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n\
         runner:x:1001:1001:runner:/home/runner:/bin/sh\n",
    ),
    (
        "etc/group",
        "root:x:0:\ntty:x:5:\ndisk:x:6:\nnogroup:x:65534:\nrunner:x:1001:\n",
    ),
    ("etc/shells", "/bin/sh\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/hostname", "sled\n"),
    // The agent writes the servers that DHCP named over it.
    ("etc/resolv.conf", ""),
    (
        "etc/profile",
        "export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    ),
    (
        "etc/os-release",
        "NAME=\"Musher busybox runner\"\nID=musher-busybox\n",
    ),
];

/// The common forms of sudo(8) over su(1). su takes one string for the shell,
/// so each argument is quoted for it. Another user than root is reached by way
/// of root, who needs no password for it.
const SUDO: &str = r#"#!/bin/sh
user=root
while [ $# -gt 0 ]; do
    case $1 in
    -u | --user) user=$2; shift 2 ;;
    --) shift; break ;;
    -n | -E | -H | -S | -k | --non-interactive | --preserve-env | --set-home) shift ;;
    -*) echo "sudo: option $1 is not supported here" >&2; exit 1 ;;
    *=*) export "$1"; shift ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || { echo "usage: sudo [-u USER] COMMAND [ARGUMENT...]" >&2; exit 1; }
quote() {
    line=exec
    for word in "$@"; do
        # The x keeps trailing newlines that command substitution would drop.
        word=$(printf '%sx' "$word" | sed "s/'/'\\\\''/g")
        line="$line '${word%x}'"
    done
}
quote "$@"
[ "$user" = root ] || quote su "$user" -c "$line"
exec su root -c "$line"
"#;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use std::path::Path;

    use super::{SUDO, files, version_of};

    #[test]
    fn a_release_names_its_version() {
        let check = |name: &str, expect| assert_eq!(version_of(Path::new(name)), expect, "{name}");
        check("a/actions-runner-linux-x64-2.335.0.tar.gz", Some("2.335.0"));
        check("actions-runner-linux-x64.tar.gz", None);
        check("stub-runner.tar.gz", None);
        check("actions-runner-linux-x64-2.335.0-beta.tar.gz", None);
    }

    /// Runs the wrapper with a `su` in PATH that prints what it was given and
    /// then runs it.
    #[test]
    fn sudo_quotes_its_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let su = "#!/bin/sh\n[ \"$2\" = -c ] || exit 9\nprintf '%s|' \"$1\"\nexec sh -c \"$3\"\n";
        files::write(&folder.path().join("su"), su.as_bytes(), 0o755).unwrap();
        files::write(&folder.path().join("sudo"), SUDO.as_bytes(), 0o755).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let check = |arguments: &[&str], expect: &str| {
            let done = Command::new(folder.path().join("sudo"))
                .args(arguments)
                .env("PATH", &path)
                .output()
                .unwrap();
            assert_eq!(
                String::from_utf8(done.stdout).unwrap(),
                expect,
                "{arguments:?}"
            );
        };
        check(
            &["printf", "%s,", "a b", "it's", "$HOME"],
            "root|a b,it's,$HOME,",
        );
        check(
            &["-u", "runner", "printf", "%s", "line\n"],
            "root|runner|line\n",
        );
        check(&["-E", "--", "printf", "%s", "-n"], "root|-n");
        check(&["sh", "-c", "exit 0"], "root|");
        check(&[], "");
    }
}
