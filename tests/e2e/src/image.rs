//! Looks for bytes in a disk's image, from outside of the sled.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};

const CHUNK: usize = 1 << 20;

/// Whether the file holds these bytes anywhere.
///
/// # Errors
/// It cannot be read.
pub fn holds(path: &Path, marker: &[u8]) -> Result<bool> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut buffer = vec![0; CHUNK];
    let mut window: Vec<u8> = Vec::with_capacity(CHUNK + marker.len());
    loop {
        let read = file
            .read(&mut buffer)
            .with_context(|| format!("read {}", path.display()))?;
        if read == 0 {
            return Ok(false);
        }
        window.extend_from_slice(&buffer[..read]);
        if contains(&window, marker) {
            return Ok(true);
        }
        // A marker may lie across two chunks.
        let keep = marker.len().saturating_sub(1).min(window.len());
        window.drain(..window.len() - keep);
    }
}

fn contains(bytes: &[u8], marker: &[u8]) -> bool {
    let Some(first) = marker.first() else {
        return true;
    };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(marker) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_marker_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        let check = |at: Option<usize>| {
            let mut bytes = vec![0; 3 * CHUNK];
            if let Some(at) = at {
                bytes[at..at + 6].copy_from_slice(b"marker");
            }
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(holds(&path, b"marker").unwrap(), at.is_some(), "{at:?}");
        };
        check(None);
        check(Some(0));
        check(Some(CHUNK - 3));
        check(Some(3 * CHUNK - 6));
    }
}
