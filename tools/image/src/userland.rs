//! Finds a program and the shared libraries it needs in a tree of unpacked
//! packages, by asking that tree's own dynamic loader (ld.so(8), `--list`).
//! It never takes a library from the machine it runs on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cpio::Archive;
use crate::{files, run};

const LOADER: &str = "ld-linux-x86-64.so.2";
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// Adds a program with its loader and libraries to the archive. The archive
/// is laid out with a merged /usr.
///
/// # Errors
/// A program or library that the tree lacks.
pub(crate) fn add_program(archive: &mut Archive, root: &Path, program: &str) -> Result<()> {
    let found = find(root, program)?;
    let loader = find(root, &format!("{LIBRARIES}/{LOADER}"))?;
    let path = format!(
        "{}:{}",
        root.join(LIBRARIES).display(),
        root.join("usr").join(LIBRARIES).display()
    );
    let listed = run::text(
        run::command(&loader)
            .arg("--library-path")
            .arg(path)
            .arg("--list")
            .arg(&found),
    )
    .with_context(|| format!("list the libraries of {program}"))?;
    for (name, file) in libraries(&listed) {
        archive.file(
            &format!("usr/{LIBRARIES}/{name}"),
            0o755,
            files::read(&file)?,
        );
    }
    archive.file(
        &format!("usr/{LIBRARIES}/{LOADER}"),
        0o755,
        files::read(&loader)?,
    );
    // The path that every amd64 program names as its interpreter.
    archive.link(
        &format!("usr/lib64/{LOADER}"),
        &format!("/usr/{LIBRARIES}/{LOADER}"),
    );
    archive.file(&format!("usr/{program}"), 0o755, files::read(&found)?);
    Ok(())
}

/// A file of the tree, below / or below /usr: Debian 12's packages use both.
pub(crate) fn find(root: &Path, path: &str) -> Result<PathBuf> {
    [root.join(path), root.join("usr").join(path)]
        .into_iter()
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{} holds no {path}", root.display()))
}

/// Reads the loader's lines `libc.so.6 => /tree/lib/libc.so.6 (0x…)`; those
/// without an arrow are the kernel's vdso and the loader itself.
fn libraries(listed: &str) -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = listed
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.trim().split_once(" => ")?;
            let file = rest.rsplit_once(" (").map_or(rest, |(file, _)| file);
            (!name.contains('/')).then(|| (name.to_owned(), PathBuf::from(file)))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::libraries;

    #[test]
    fn reads_the_loaders_list() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                      \tlibe2p.so.2 => /t x/lib/libe2p.so.2 (0x00007f1)\n\
                      \t/lib64/ld-linux-x86-64.so.2 => /t/ld (0x00007f2)\n";
        let found = libraries(listed);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "libe2p.so.2");
        assert_eq!(found[0].1.to_str(), Some("/t x/lib/libe2p.so.2"));
    }
}
