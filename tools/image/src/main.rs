//! `musher-image` packs what sleds netboot: the kernel, the initramfs with the
//! agent as its `/init`, and the runner's root filesystem.
//!
//! It never writes outside the paths it is given, never needs root, and never
//! touches the machine's own package database: packages are fetched with
//! scratch APT directories and unpacked, not installed.

mod apt;
mod cpio;
mod files;
mod initramfs;
mod kernel;
mod modules;
mod run;
mod runner;
mod userland;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Packs what sleds netboot.
#[derive(Parser)]
#[command(name = "musher-image", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch Debian's kernel, its modules and the few programs the agent calls.
    Kernel {
        /// Where vmlinuz, modules/ and userland/ are written.
        #[arg(long)]
        out: PathBuf,
        /// Debian suite to take the packages from.
        #[arg(long, default_value = "bookworm")]
        suite: String,
        /// Ask the archive for newer packages even when OUT is complete.
        #[arg(long)]
        refresh: bool,
    },
    /// Pack the agent, its modules and mke2fs into an initramfs.
    Initramfs {
        /// A directory written by `musher-image kernel`.
        #[arg(long)]
        kernel: PathBuf,
        /// The static `musher-sled` binary, which becomes /init.
        #[arg(long)]
        agent: PathBuf,
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
        /// Further kernel modules, by name.
        #[arg(long, value_delimiter = ',')]
        modules: Vec<String>,
        /// How the archive is compressed.
        #[arg(long, value_enum, default_value_t = initramfs::Compression::None)]
        compression: initramfs::Compression,
    },
    /// Pack a runner root filesystem as squashfs.
    Runner {
        /// The runner's release tarball, unpacked to /home/runner/actions-runner.
        #[arg(long)]
        tarball: PathBuf,
        /// The squashfs file to write; its manifest goes beside it.
        #[arg(long)]
        out: PathBuf,
        /// The runner's version for the manifest; by the tarball's name without.
        #[arg(long)]
        runner_version: Option<String>,
        /// What the root filesystem is made of.
        #[arg(long, value_enum, default_value_t = runner::Base::Busybox)]
        base: runner::Base,
        /// Debian suite to take the packages from.
        #[arg(long, default_value = "bookworm")]
        suite: String,
        /// Where package lists and packages are kept between runs.
        #[arg(long, default_value = "target/image-cache")]
        cache: PathBuf,
        /// The folder with one recipe per base (only base `debian` reads it).
        #[arg(long, default_value = "images/runner")]
        recipes: PathBuf,
        /// Squashfs compressor.
        #[arg(long, value_enum, default_value_t = runner::Compressor::Zstd)]
        compressor: runner::Compressor,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Kernel {
            out,
            suite,
            refresh,
        } => kernel::fetch(&out, &suite, refresh),
        Command::Initramfs {
            kernel,
            agent,
            out,
            modules,
            compression,
        } => initramfs::pack(&initramfs::Plan {
            kernel,
            agent,
            out,
            modules,
            compression,
        }),
        Command::Runner {
            tarball,
            out,
            runner_version,
            base,
            suite,
            cache,
            recipes,
            compressor,
        } => runner::pack(&runner::Plan {
            tarball,
            out,
            version: runner_version,
            base,
            suite,
            cache,
            recipes,
            compressor,
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("musher-image: {error:#}");
            ExitCode::FAILURE
        }
    }
}
