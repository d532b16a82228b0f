//! `musher-image initramfs`: the archive a sled netboots, with the agent as
//! `/init`. The same inputs give the same bytes. It holds no secret: anyone on
//! the provisioning network may read it.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::modules::Index;
use crate::{files, run, userland};

/// What to pack, and where to.
pub(crate) struct Plan {
    /// A directory written by `musher-image kernel`.
    pub(crate) kernel: PathBuf,
    /// The agent.
    pub(crate) agent: PathBuf,
    /// The file to write.
    pub(crate) out: PathBuf,
    /// Modules beyond those every sled needs.
    pub(crate) modules: Vec<String>,
    /// How to compress.
    pub(crate) compression: Compression,
}

/// Formats that Debian's kernel unpacks by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// As it is: more to fetch, nothing to unpack.
    None,
    /// gzip -9.
    Gzip,
    /// zstd -19: as quick to unpack as zstd -1, smaller to fetch.
    Zstd,
    /// lz4 in the legacy framing, the only one the kernel reads.
    Lz4,
}

impl Compression {
    fn program(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Self::None => None,
            Self::Gzip => Some(("gzip", &["-9", "-n", "-c"])),
            // A window of 8 MiB is the most the kernel's unpacker accepts.
            Self::Zstd => Some(("zstd", &["-q", "-19", "--zstd=wlog=23", "-c"])),
            Self::Lz4 => Some(("lz4", &["-q", "-l", "-9", "-c"])),
        }
    }
}

/// Packs the initramfs.
///
/// # Errors
/// An incomplete kernel directory, an agent that is not static, a module this
/// kernel lacks, or a compressor that is not installed.
pub(crate) fn pack(plan: &Plan) -> Result<()> {
    let kernel = Kernel::open(&plan.kernel)?;
    let mut archive = Archive::default();
    skeleton(&mut archive);
    let agent = files::read(&plan.agent)?;
    ensure!(
        is_static_elf(&agent),
        "{} is no static ELF program; build it with --target x86_64-unknown-linux-musl",
        plan.agent.display()
    );
    archive.file("init", 0o755, agent);

    let order = Index::read(&kernel.modules)?.load_order(&plan.modules)?;
    let folder = format!("usr/lib/modules/{}", kernel.release);
    let mut listed = String::new();
    for path in &order {
        let source = kernel.modules.join(path);
        let (name, bytes) = match path.strip_suffix(".xz") {
            Some(name) => {
                let bytes = run::output(run::command("xz").arg("-dc").arg(&source))?;
                (name, bytes)
            }
            None => (path.as_str(), files::read(&source)?),
        };
        archive.file(&format!("{folder}/{name}"), 0o644, bytes);
        listed += name;
        listed.push('\n');
    }
    archive.file("etc/musher/modules", 0o644, listed.into_bytes());

    userland::add_program(&mut archive, &kernel.userland, "sbin/mke2fs")?;
    let settings = kernel.userland.join("etc/mke2fs.conf");
    archive.file("etc/mke2fs.conf", 0o644, files::read(&settings)?);

    let plain = archive.into_bytes()?;
    let unpacked = plain.len();
    let packed = compress(plan, plain)?;
    files::replace(&plan.out, &packed)?;
    println!(
        "{}: {} ({} unpacked), {} modules for kernel {}",
        plan.out.display(),
        files::mebibytes(packed.len()),
        files::mebibytes(unpacked),
        order.len(),
        kernel.release
    );
    Ok(())
}

/// What must be there before the agent mounts anything.
fn skeleton(archive: &mut Archive) {
    for folder in [
        "dev",
        "etc",
        "proc",
        "run",
        "sys",
        "mnt",
        "usr/bin",
        "usr/sbin",
        "usr/lib64",
    ] {
        archive.directory(folder, 0o755);
    }
    archive.directory("tmp", 0o1777);
    for folder in ["bin", "sbin", "lib", "lib64"] {
        archive.link(folder, &format!("usr/{folder}"));
    }
    // The kernel opens /dev/console for init before devtmpfs can be mounted;
    // numbers from Linux, Documentation/admin-guide/devices.txt.
    archive.character("dev/console", 0o600, 5, 1);
    archive.character("dev/null", 0o666, 1, 3);
    archive.character("dev/kmsg", 0o600, 1, 11);
}

fn compress(plan: &Plan, plain: Vec<u8>) -> Result<Vec<u8>> {
    let Some((program, arguments)) = plan.compression.program() else {
        return Ok(plain);
    };
    let mut beside = plan.out.as_os_str().to_owned();
    beside.push(".cpio");
    let beside = PathBuf::from(beside);
    files::write(&beside, &plain, 0o644)?;
    let packed = run::with_input(run::command(program).args(arguments), &beside);
    std::fs::remove_file(&beside).with_context(|| format!("remove {}", beside.display()))?;
    packed
}

/// Whether the bytes are a 64-bit ELF program that names no interpreter
/// (ELF-64 object file format: program headers, type `PT_INTERP` 3).
fn is_static_elf(bytes: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let word = |at: usize, width: usize| {
        let field = bytes.get(at..at.checked_add(width)?)?;
        Some(
            field
                .iter()
                .rev()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    let headers = || {
        let (start, size, count) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
        (0..count)
            .map(|index| {
                let at = usize::try_from(start.checked_add(index * size)?).ok()?;
                word(at, 4)
            })
            .collect::<Option<Vec<_>>>()
    };
    bytes.starts_with(b"\x7fELF\x02\x01")
        && headers().is_some_and(|kinds| !kinds.contains(&u64::from(PT_INTERP)))
}

#[cfg(test)]
mod tests {
    use super::is_static_elf;

    #[test]
    fn static_programs_only() {
        let check = |bytes: &[u8], expect: bool| assert_eq!(is_static_elf(bytes), expect);
        check(b"#!/bin/sh\n", false);
        check(b"\x7fELF\x02\x01", false);
        // This test itself is linked to glibc's loader.
        check(
            &std::fs::read(std::env::current_exe().unwrap()).unwrap(),
            false,
        );
        let mut made = b"\x7fELF\x02\x01".to_vec();
        made.resize(64 + 56, 0);
        made[32] = 64;
        made[54] = 56;
        made[56] = 1;
        made[64] = 1;
        check(&made, true);
        made[64] = 3;
        check(&made, false);
    }
}
