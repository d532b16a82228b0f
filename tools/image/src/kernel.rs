//! `musher-image kernel`: Debian's kernel and its modules, plus the programs
//! the agent calls, unpacked from packages. It never builds a kernel.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::apt::{self, Apt};
use crate::{files, run};

/// The programs in the initramfs beside the agent come from this package.
const FILESYSTEM_TOOLS: &str = "e2fsprogs";

/// What a directory written by [`fetch`] holds.
pub(crate) struct Kernel {
    /// `uname -r` of the kernel.
    pub(crate) release: String,
    /// The folder with `modules.dep`.
    pub(crate) modules: PathBuf,
    /// Unpacked user programs and their libraries.
    pub(crate) userland: PathBuf,
}

impl Kernel {
    /// Opens a directory that [`fetch`] wrote.
    ///
    /// # Errors
    /// A directory that is incomplete.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let about = folder.join("kernel.json");
        let text = files::read_text(&about).with_context(|| {
            format!("run `musher-image kernel --out {}` first", folder.display())
        })?;
        let about: Value = serde_json::from_str(&text).context("read kernel.json")?;
        let release = about
            .get("release")
            .and_then(Value::as_str)
            .context("kernel.json names no release")?
            .to_owned();
        let modules = folder.join("modules/lib/modules").join(&release);
        let userland = folder.join("userland");
        for part in [
            &modules.join("modules.dep"),
            &userland,
            &folder.join("vmlinuz"),
        ] {
            ensure!(
                part.exists(),
                "{} is missing; run `musher-image kernel --out {} --refresh`",
                part.display(),
                folder.display()
            );
        }
        Ok(Self {
            release,
            modules,
            userland,
        })
    }
}

/// Fetches and unpacks the kernel that `linux-image-amd64` stands for.
///
/// # Errors
/// An archive out of reach, or a package that holds no kernel.
pub(crate) fn fetch(out: &Path, suite: &str, refresh: bool) -> Result<()> {
    if !refresh && let Ok(kernel) = Kernel::open(out) {
        println!(
            "{}: kernel {} is there already",
            out.display(),
            kernel.release
        );
        return Ok(());
    }
    let apt = Apt::open(&out.join("cache"), suite, refresh)?;
    let package = apt
        .depends("linux-image-amd64")?
        .into_iter()
        .find(|name| name.starts_with("linux-image-"))
        .context("linux-image-amd64 depends on no kernel package")?;
    let mut wanted = vec![package.clone()];
    // Kernels from 7.2 on are split: this package depends on the rest.
    let parts = ["linux-binary-", "linux-modules-"];
    let is_part = |name: &String| parts.iter().any(|part| name.starts_with(part));
    wanted.extend(apt.depends(&package)?.into_iter().filter(is_part));
    let kernel_packages = wanted.len();
    wanted.extend(apt.closure(FILESYSTEM_TOOLS)?);
    let downloaded = apt.download(&wanted)?;
    let (kernel, tools) = downloaded.split_at(kernel_packages);

    // Without kernel.json the directory counts as incomplete.
    let about = out.join("kernel.json");
    if about.exists() {
        fs::remove_file(&about).with_context(|| format!("remove {}", about.display()))?;
    }
    let modules = out.join("modules");
    let userland = out.join("userland");
    files::remove_tree(&modules)?;
    files::remove_tree(&userland)?;
    for package in kernel {
        apt::unpack(package, &modules)?;
    }
    for tool in tools {
        apt::unpack(tool, &userland)?;
    }
    // Newer packages keep modules below /usr only.
    let merged = modules.join("usr/lib/modules");
    if merged.exists() {
        files::make_dir(&modules.join("lib"))?;
        fs::rename(&merged, modules.join("lib/modules")).context("move the modules tree")?;
    }
    let release = package.trim_start_matches("linux-image-").to_owned();
    let places = [
        modules.join("boot").join(format!("vmlinuz-{release}")),
        modules.join("lib/modules").join(&release).join("vmlinuz"),
    ];
    let vmlinuz = places.iter().find(|place| place.exists());
    let vmlinuz = vmlinuz.with_context(|| format!("{package} holds no kernel"))?;
    let bytes = files::read(vmlinuz)?;
    files::replace(&out.join("vmlinuz"), &bytes)?;
    run::output(run::command("depmod").arg("-b").arg(&modules).arg(&release))
        .context("index the kernel's modules")?;
    let version = kernel
        .first()
        .and_then(|image| image.file_name())
        .map(|name| name.to_string_lossy().into_owned());
    let about_text = json!({ "release": release, "package": version, "suite": suite });
    files::replace(&about, format!("{about_text:#}\n").as_bytes())?;
    println!(
        "{}: kernel {release}, vmlinuz {}",
        out.display(),
        files::mebibytes(bytes.len())
    );
    Ok(())
}
