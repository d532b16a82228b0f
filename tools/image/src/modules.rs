//! Chooses kernel modules and puts them in the order they must be loaded in,
//! dependencies first, from what `depmod` wrote (modules.dep(5),
//! modules.builtin(5)). It never loads one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail};

use crate::files;

/// What every sled may need to reach the appliance, wipe its disks and mount
/// its scratch and root. Network cards come first: the link comes up while the
/// rest loads.
const REQUIRED: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "e1000e",
    "igb",
    "ixgbe",
    "r8169",
    "tg3",
    "af_packet",
    "virtio_rng",
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "ahci",
    "sd_mod",
    "loop",
    "squashfs",
    "overlay",
    "crc32c_generic",
    "crc16",
    "ext4",
    "dm_mod",
    "ecb",
    "xts",
    "dm_crypt",
    "ipmi_si",
    "ipmi_devintf",
];

/// Faster or hardware-bound variants that some kernels do not have.
const OPTIONAL: &[&str] = &["crc32c_intel", "aesni_intel"];

/// What depmod knows of one kernel.
pub(crate) struct Index {
    /// Module name to its path below the modules folder, and the paths it
    /// depends on.
    modules: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
}

impl Index {
    /// Reads `modules.dep` and `modules.builtin`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let dependencies = files::read_text(&folder.join("modules.dep"))?;
        let builtin = files::read_text(&folder.join("modules.builtin"))?;
        Ok(Self::parse(&dependencies, &builtin))
    }

    fn parse(dependencies: &str, builtin: &str) -> Self {
        let mut modules = BTreeMap::new();
        for line in dependencies.lines() {
            if let Some((path, needs)) = line.split_once(':') {
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                modules.insert(name_of(path), (path.to_owned(), needs));
            }
        }
        Self {
            modules,
            builtin: builtin.lines().map(name_of).collect(),
        }
    }

    /// The paths to load, in order, for the modules every sled needs and
    /// `extra`.
    ///
    /// # Errors
    /// A required or extra module that this kernel neither has nor contains.
    pub(crate) fn load_order(&self, extra: &[String]) -> Result<Vec<String>> {
        let mut order = Vec::new();
        let optional = OPTIONAL.iter().copied();
        // Before ext4 and dm_crypt look their algorithms up, the fast
        // implementations must be registered.
        let wanted = REQUIRED.iter().copied().flat_map(|name| {
            let ahead = if name == "crc32c_generic" {
                OPTIONAL
            } else {
                &[]
            };
            ahead.iter().copied().chain(std::iter::once(name))
        });
        for name in wanted.chain(extra.iter().map(String::as_str)) {
            let known = self.add(&mut order, &canonical(name));
            if !known && !optional.clone().any(|other| other == name) {
                bail!("the kernel has no module {name}");
            }
        }
        Ok(order)
    }

    /// Appends a module behind what it needs; false when there is none.
    fn add(&self, order: &mut Vec<String>, name: &str) -> bool {
        let Some((path, needs)) = self.modules.get(name) else {
            return self.builtin.contains(name);
        };
        // depmod lists the nearest dependency first, so the far end, which
        // must be loaded first, comes last.
        for needed in needs.iter().rev().chain(std::iter::once(path)) {
            if !order.contains(needed) {
                order.push(needed.clone());
            }
        }
        true
    }
}

/// The module's name for its path: `kernel/crypto/dm-mod.ko.xz` is `dm_mod`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    canonical(file.split(".ko").next().unwrap_or(file))
}

/// The kernel takes `-` and `_` in module names as the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::{Index, name_of};

    #[test]
    fn names() {
        let check = |path: &str, expect: &str| assert_eq!(name_of(path), expect);
        check("kernel/drivers/md/dm-mod.ko", "dm_mod");
        check("kernel/net/loop.ko.xz", "loop");
        check("kernel/fs/ext4/ext4.ko", "ext4");
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let index = Index::parse(
            "k/a.ko: k/b.ko k/c.ko\nk/b.ko: k/c.ko\nk/c.ko:\nk/d-d.ko: k/c.ko\n",
            "kernel/x/solid.ko\n",
        );
        let check = |names: &[&str], expect: &[&str]| {
            let mut order = Vec::new();
            for name in names {
                assert!(index.add(&mut order, name), "{name}");
            }
            assert_eq!(order, expect);
        };
        check(&["a"], &["k/c.ko", "k/b.ko", "k/a.ko"]);
        check(&["d_d", "a"], &["k/c.ko", "k/d-d.ko", "k/b.ko", "k/a.ko"]);
        check(&["solid"], &[]);
        assert!(!index.add(&mut Vec::new(), "absent"));
    }
}
