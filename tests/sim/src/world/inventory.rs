//! What the operator declares: the one place that knows the fields of pools
//! and sleds.

use control::{BootImage, Inventory, PoolPolicy, PoolSpec, Scope, SledSpec};
use messages::{Assurance, Digest, ImageRef};

use super::MAX_RUNTIME_S;
use crate::{machine::Machine, random::Random};

/// The image of every pool.
pub(super) fn rootfs() -> ImageRef {
    ImageRef {
        name: "debian-12".to_owned(),
        digest: Digest([3; 32]),
        bytes: 1,
    }
}

/// A pool. Each has a kernel of its own, by which a boot can be told to be its.
fn pool(number: u8, name: &str, scope: Scope, labels: &[&str], grade: Assurance) -> PoolSpec {
    PoolSpec {
        name: name.to_owned(),
        github: "main".to_owned(),
        scope,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        image: BootImage {
            kernel: Digest([number; 32]),
            initramfs: Digest([2; 32]),
            rootfs: rootfs(),
        },
        max_runtime_s: MAX_RUNTIME_S,
        min_assurance: grade,
        policy: PoolPolicy::default(),
    }
}

/// Draws pools that share sleds.
pub(super) fn draw(machines: &[Machine], random: &mut Random) -> Inventory {
    let org = || Scope::Org("octo".to_owned());
    let repo = |name: &str| Scope::Repo(name.to_owned());
    let mut grade = || {
        if random.chance(150) {
            Assurance::NetbootForced
        } else {
            Assurance::Claimed
        }
    };
    let mut pools = vec![
        pool(
            11,
            "linux",
            org(),
            &["self-hosted", "linux", "x64"],
            grade(),
        ),
        pool(
            12,
            "big",
            repo("octo/app"),
            &["linux", "x64", "big"],
            grade(),
        ),
        pool(
            13,
            "solo",
            repo("solo/tool"),
            &["linux", "x64", "big"],
            grade(),
        ),
        pool(
            14,
            "gpu",
            org(),
            &["self-hosted", "linux", "x64", "big", "gpu"],
            grade(),
        ),
        pool(15, "lib", repo("octo/lib"), &["linux", "x64"], grade()),
    ];
    let count = if random.chance(750) {
        random.between(1, 3)
    } else {
        random.between(4, 5)
    };
    pools.truncate(usize::try_from(count).unwrap_or(1));
    let sleds = machines
        .iter()
        .map(|machine| {
            let mut names: Vec<String> = pools
                .iter()
                .filter(|_| random.chance(600))
                .map(|pool| pool.name.clone())
                .collect();
            if names.is_empty() {
                names.push(pools[random.index(pools.len())].name.clone());
            }
            SledSpec {
                name: machine.name.clone(),
                mac: machine.mac,
                pools: names,
                circuit: None,
                watts: 0,
            }
        })
        .collect();
    Inventory {
        hubs: vec!["main".to_owned()],
        pools,
        circuits: Vec::new(),
        sleds,
    }
}
