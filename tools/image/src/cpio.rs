//! Writes a `newc` cpio archive, the format of an initramfs (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst). The result
//! depends on the entries alone: sorted names, times of 0, owner root.
//! It never reads an archive.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

const KIND_DIRECTORY: u32 = 0o040_000;
const KIND_FILE: u32 = 0o100_000;
const KIND_LINK: u32 = 0o120_000;
const KIND_CHARACTER: u32 = 0o020_000;

/// One thing in the archive.
#[derive(Debug)]
enum Entry {
    Directory { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
    Character { mode: u32, major: u32, minor: u32 },
}

/// An archive being gathered; directories above an entry come by themselves.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    // Sorted by path, so a directory always precedes what it holds.
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds a directory.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.entries.insert(trim(path), Entry::Directory { mode });
    }

    /// Adds a regular file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.parents(path);
        self.entries.insert(trim(path), Entry::File { mode, bytes });
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entries.insert(
            trim(path),
            Entry::Link {
                target: target.to_owned(),
            },
        );
    }

    /// Adds a character device.
    pub(crate) fn character(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.parents(path);
        self.entries
            .insert(trim(path), Entry::Character { mode, major, minor });
    }

    fn parents(&mut self, path: &str) {
        let path = trim(path);
        for (at, _) in path.match_indices('/') {
            if let Some(parent) = path.get(..at) {
                self.entries
                    .entry(parent.to_owned())
                    .or_insert(Entry::Directory { mode: 0o755 });
            }
        }
    }

    /// The archive's bytes.
    ///
    /// # Errors
    /// A file of 4 GiB or more: the format holds 32-bit sizes.
    pub(crate) fn into_bytes(self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut inode = 0;
        for (path, entry) in self.entries {
            inode += 1;
            let (mode, bytes, device) = match entry {
                Entry::Directory { mode } => (KIND_DIRECTORY | mode, Vec::new(), (0, 0)),
                Entry::File { mode, bytes } => (KIND_FILE | mode, bytes, (0, 0)),
                Entry::Link { target } => (KIND_LINK | 0o777, target.into_bytes(), (0, 0)),
                Entry::Character { mode, major, minor } => {
                    (KIND_CHARACTER | mode, Vec::new(), (major, minor))
                }
            };
            member(&mut out, inode, mode, device, &path, &bytes)?;
        }
        member(&mut out, 0, 0, (0, 0), "TRAILER!!!", &[])?;
        // The kernel and cpio(1) both accept padding; 512 is the usual block.
        out.resize(out.len().next_multiple_of(512), 0);
        Ok(out)
    }
}

fn trim(path: &str) -> String {
    path.trim_matches('/').to_owned()
}

fn member(
    out: &mut Vec<u8>,
    inode: u32,
    mode: u32,
    device: (u32, u32),
    path: &str,
    bytes: &[u8],
) -> Result<()> {
    ensure!(
        u32::try_from(bytes.len()).is_ok(),
        "{path} is too large for an initramfs"
    );
    let links = if mode & 0o170_000 == KIND_DIRECTORY {
        2
    } else {
        1
    };
    let fields: [usize; 13] = [
        inode as usize,
        mode as usize,
        0, // uid
        0, // gid
        links,
        0, // mtime
        bytes.len(),
        0, // major and minor of the file system it came from
        0,
        device.0 as usize,
        device.1 as usize,
        path.len() + 1,
        0, // checksum, unused by this magic
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::Archive;

    fn sample() -> Archive {
        let mut archive = Archive::default();
        archive.file("/init", 0o755, b"#!".to_vec());
        archive.file("usr/sbin/tool", 0o755, vec![7; 5]);
        archive.link("/sbin", "usr/sbin");
        archive.character("/dev/console", 0o600, 5, 1);
        archive.directory("/proc", 0o555);
        archive
    }

    #[test]
    fn same_entries_give_same_bytes() {
        assert_eq!(
            sample().into_bytes().unwrap(),
            sample().into_bytes().unwrap()
        );
    }

    #[test]
    fn header_of_the_first_member() {
        let bytes = sample().into_bytes().unwrap();
        let head = std::str::from_utf8(&bytes[..114]).unwrap();
        assert_eq!(
            &head[..22],
            "0707010000000100004 1ED".replace(' ', "").as_str()
        );
        assert_eq!(&head[110..], "dev\0");
    }

    #[test]
    fn cpio_lists_what_was_packed() {
        let bytes = sample().into_bytes().unwrap();
        let mut child = Command::new("cpio")
            .args(["--list", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("install the package cpio");
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let said = child.wait_with_output().unwrap();
        assert!(said.status.success());
        let names = String::from_utf8(said.stdout).unwrap();
        assert_eq!(
            names.lines().collect::<Vec<_>>(),
            [
                "dev",
                "dev/console",
                "init",
                "proc",
                "sbin",
                "usr",
                "usr/sbin",
                "usr/sbin/tool"
            ]
        );
    }
}
