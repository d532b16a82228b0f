//! What the operator declares: the one place that knows the fields of pools
//! and sleds.

use control::{
    AcceptanceSpec, BootImage, CircuitSpec, Inventory, MintScope, PoolPolicy, PoolSpec, Scope,
    SledSpec, WarmPolicy,
};
use messages::{Assurance, Digest, ImageRef};

use super::{MAX_RUNTIME_S, MINUTE, SECOND, outages::CIRCUIT};
use crate::{machine::Machine, random::Random, traffic::REPOSITORIES};

/// What every sled draws, in watts.
const WATTS: u32 = 300;

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
        policy: PoolPolicy {
            max_reruns: 1,
            ..PoolPolicy::default()
        },
        group: None,
        public: Vec::new(),
        acceptance: None,
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

/// Pools in which every job of [`crate::traffic`] finds a place, each with all
/// sleds.
pub(super) fn for_everybody(machines: &[Machine]) -> Inventory {
    let labels = ["self-hosted", "linux", "x64", "big", "gpu"];
    let scopes = [
        (11, "org", Scope::Org("octo".to_owned())),
        (12, "solo", Scope::Repo("solo/tool".to_owned())),
    ];
    let pools = scopes
        .map(|(number, name, scope)| pool(number, name, scope, &labels, Assurance::Claimed))
        .to_vec();
    let sleds = machines.iter().map(|machine| SledSpec {
        name: machine.name.clone(),
        mac: machine.mac,
        pools: pools.iter().map(|pool| pool.name.clone()).collect(),
        circuit: None,
        watts: 0,
    });
    Inventory {
        hubs: vec!["main".to_owned()],
        sleds: sleds.collect(),
        pools,
        circuits: Vec::new(),
    }
}

/// Draws how pools share sleds and what circuits bear, in some worlds.
pub(super) fn draw_policies(inventory: &mut Inventory, random: &mut Random) {
    if !random.chance(400) {
        return;
    }
    let sleds = u32::try_from(inventory.sleds.len()).unwrap_or(1);
    let few = |random: &mut Random, most: u32| {
        let drawn = random.between(1, u64::from(most.max(1)));
        u32::try_from(drawn).unwrap_or(1)
    };
    for pool in &mut inventory.pools {
        let policy = &mut pool.policy;
        policy.priority = i16::try_from(random.below(11)).unwrap_or(0) - 5;
        policy.default = random.chance(100);
        policy.max_sleds = random.chance(250).then(|| few(random, sleds));
        policy.max_per_repository = random.chance(250).then(|| few(random, 3));
        if random.chance(300) {
            policy.mint_scope = MintScope::Repository;
        }
        if random.chance(300) {
            let repository = REPOSITORIES[random.index(REPOSITORIES.len())];
            policy.weights = vec![(repository.to_owned(), few(random, 8))];
        }
        if random.chance(100) {
            policy.min_sleds = policy.max_sleds.unwrap_or(2).min(2);
        }
        if random.chance(250) {
            policy.warm = WarmPolicy {
                count: few(random, 2),
                follow: few(random, 3) - 1,
                idle_ms: random.between(5, 20) * MINUTE,
                max_age_ms: random.between(20, 60) * MINUTE,
                ..WarmPolicy::default()
            };
        }
    }
    if random.chance(500) {
        let count = inventory.sleds.len().div_ceil(CIRCUIT);
        inventory.circuits = (0..count)
            .map(|index| CircuitSpec {
                name: format!("circuit-{index}"),
                watts: WATTS * few(random, 4),
                starts: few(random, 3) - 1,
                stagger_ms: random.below(2) * random.between(SECOND, 20 * SECOND),
            })
            .collect();
        for (index, sled) in inventory.sleds.iter_mut().enumerate() {
            sled.circuit = Some(format!("circuit-{}", index / CIRCUIT));
            sled.watts = WATTS;
        }
    }
}

/// In some worlds, some pools have their sleds prove themselves: whether any
/// does.
pub(super) fn draw_proofs(inventory: &mut Inventory, random: &mut Random) -> bool {
    if !random.chance(250) {
        return false;
    }
    for pool in &mut inventory.pools {
        let covered: Vec<&str> = REPOSITORIES
            .into_iter()
            .filter(|name| pool.scope.covers(name))
            .collect();
        let repository = covered[random.index(covered.len())];
        pool.acceptance = random.chance(700).then(|| AcceptanceSpec {
            repository: repository.to_owned(),
            workflow: "accept.yml".to_owned(),
            reference: "main".to_owned(),
            inputs: vec![("runner".to_owned(), "{{label}}".to_owned())],
        });
    }
    inventory.pools.iter().any(|pool| pool.acceptance.is_some())
}

/// Takes away what may rightly keep jobs waiting or sleds on for ever: sleds
/// kept for others, warm ones, and watts that a withheld sled holds.
pub(super) fn relax(inventory: &mut Inventory) {
    for pool in &mut inventory.pools {
        pool.policy.min_sleds = 0;
        pool.policy.warm = WarmPolicy::default();
    }
    for circuit in &mut inventory.circuits {
        circuit.watts = 0;
    }
}
