//! Packs a runner as GitHub's releases are packed: `config.sh` and `run.sh` beside
//! `bin/Runner.Listener` in a gzip tar. The same input gives the same bytes.

use std::io::Write as _;

/// Starts the listener as GitHub's `run.sh` does, without its restart loop:
/// the exit code of the listener is the exit code of the script.
const RUN_SH: &str = "#!/bin/sh\n\
    # Runs the listener beside this script and gives back its exit code.\n\
    here=$(cd \"$(dirname \"$0\")\" && pwd) || exit 1\n\
    exec \"$here/bin/Runner.Listener\" run \"$@\"\n";

/// Registers the runner as GitHub's `config.sh` does.
const CONFIG_SH: &str = "#!/bin/sh\n\
    # Registers the runner beside this script.\n\
    here=$(cd \"$(dirname \"$0\")\" && pwd) || exit 1\n\
    exec \"$here/bin/Runner.Listener\" configure \"$@\"\n";

/// Size of a tar block.
const BLOCK: usize = 512;

/// The tarball around a listener program.
///
/// # Errors
/// Only when the system is out of memory; the writer is a buffer.
pub fn pack(listener: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut tar = Vec::new();
    entry(&mut tar, "./bin/", b'5', 0o755, &[]);
    entry(&mut tar, "./bin/Runner.Listener", b'0', 0o755, listener);
    entry(&mut tar, "./config.sh", b'0', 0o755, CONFIG_SH.as_bytes());
    entry(&mut tar, "./run.sh", b'0', 0o755, RUN_SH.as_bytes());
    // Two empty blocks end an archive.
    tar.resize(tar.len() + 2 * BLOCK, 0);
    // No time and no name in the gzip header: the same bytes every time.
    let mut gzip = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
    gzip.write_all(&tar)?;
    gzip.finish()
}

/// One ustar entry (POSIX.1-1988): owner root, time zero.
fn entry(tar: &mut Vec<u8>, name: &str, kind: u8, mode: u32, content: &[u8]) {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(265, b"root");
    put(297, b"root");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_unpacks_what_was_packed() {
        let packed = pack(b"#!/bin/sh\nexit 7\n").expect("memory");
        assert_eq!(
            packed,
            pack(b"#!/bin/sh\nexit 7\n").expect("memory"),
            "deterministic"
        );
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("runner.tar.gz");
        std::fs::write(&file, packed).expect("written");
        let tar = std::process::Command::new("tar")
            .args(["-xzf", "runner.tar.gz"])
            .current_dir(dir.path())
            .status()
            .expect("tar runs");
        assert!(tar.success());
        let run = std::process::Command::new(dir.path().join("run.sh"))
            .status()
            .expect("runs");
        assert_eq!(run.code(), Some(7));
    }
}
