//! Inventories: pools and sleds as an operator would declare them.

use control::{BootImage, Inventory, MintScope, PoolPolicy, PoolSpec, Scope, SledSpec};
use messages::{Assurance, ImageRef, Mac};

use super::demand::{FLAVOURS, ORGANIZATIONS};
use super::sleds::digest;

/// The inventory of [`Steady`](super::demand::Steady): 20 pools, and `sleds`
/// spread over them; each tenth serves two pools of its organisation.
pub(crate) fn steady(sleds: usize) -> Inventory {
    let mut pools = Vec::new();
    for organization in ORGANIZATIONS {
        for [system, machine] in FLAVOURS {
            let name = format!("{}-{system}-{machine}", &organization[..4]);
            let labels = ["self-hosted", system, machine];
            pools.push(pool(&name, organization, &labels));
        }
    }
    let sleds = (0..sleds).map(|index| {
        let own = index % pools.len();
        let first = own / FLAVOURS.len() * FLAVOURS.len();
        let next = first + (own - first + 1) % FLAVOURS.len();
        let mut names = vec![pools[own].name.clone()];
        if index / pools.len() % 10 == 9 {
            names.push(pools[next].name.clone());
        }
        sled(index, names)
    });
    Inventory {
        hubs: vec!["main".to_owned()],
        circuits: Vec::new(),
        sleds: sleds.collect(),
        pools,
    }
}

/// One pool of `sleds` for an organisation, whose runners are registered at the
/// repositories, so that shares bind.
pub(crate) fn one_pool(organization: &str, labels: &[&str], sleds: usize) -> Inventory {
    let mut pool = pool("rack", organization, labels);
    pool.policy.mint_scope = MintScope::Repository;
    let names = vec![pool.name.clone()];
    Inventory {
        hubs: vec!["main".to_owned()],
        circuits: Vec::new(),
        pools: vec![pool],
        sleds: (0..sleds).map(|index| sled(index, names.clone())).collect(),
    }
}

fn pool(name: &str, organization: &str, labels: &[&str]) -> PoolSpec {
    PoolSpec {
        name: name.to_owned(),
        github: "main".to_owned(),
        scope: Scope::Org(organization.to_owned()),
        labels: labels.iter().copied().map(str::to_owned).collect(),
        image: BootImage {
            kernel: digest(1),
            initramfs: digest(2),
            rootfs: ImageRef {
                name: "debian-12".to_owned(),
                digest: digest(3),
                bytes: 1 << 30,
            },
        },
        max_runtime_s: 6 * 3600,
        min_assurance: Assurance::Claimed,
        policy: PoolPolicy::default(),
        group: None,
        public: Vec::new(),
        acceptance: None,
    }
}

fn sled(index: usize, pools: Vec<String>) -> SledSpec {
    let number = u32::try_from(index).unwrap_or(u32::MAX).to_be_bytes();
    SledSpec {
        name: format!("sled-{index:05}"),
        mac: Mac([0x52, 0x54, number[0], number[1], number[2], number[3]]),
        pools,
        circuit: None,
        watts: 0,
    }
}
