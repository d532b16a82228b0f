//! Frozen bytes of each stored row in its first version: what is on a disk in
//! the field must be read by every later release. The file is only ever added to.

use alloc::{boxed::Box, string::ToString, vec, vec::Vec};
use core::fmt::Debug;

use messages::{
    AgentKey, ApplianceId, Assurance, BootId, Digest, Generation, HubId, ImageRef, JobId, Mac,
    Millis, PoolId, RunnerId, SledId, TicketToken,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Boot, BootImage, BootStage, Conclusion, Effect, Hub, Job, JobState, Labels, Pending, Pool,
    Power, Quarantine, Runner, Scope, Sled, TableId, Timeline, persist, rows::Meta, state::MetaRow,
};

const GOLDEN: &str = include_str!("../tests/golden/rows.txt");

fn check<V: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, table: TableId, row: &V) {
    let hex: alloc::string::String = persist::to_bytes(row)
        .iter()
        .map(|byte| alloc::format!("{byte:02x}"))
        .collect();
    let frozen = GOLDEN
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(of, _)| *of == name)
        .map(|(_, hex)| hex);
    assert_eq!(frozen, Some(hex.as_str()), "{name}");
    let bytes: Vec<u8> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(persist::from_bytes::<V>(table, &bytes).as_ref(), Ok(row));
    let mut longer = bytes;
    longer.push(0);
    assert!(persist::from_bytes::<V>(table, &longer).is_err(), "{name}");
}

fn image() -> BootImage {
    BootImage {
        kernel: Digest([1; 32]),
        initramfs: Digest([2; 32]),
        rootfs: ImageRef {
            name: "debian-12".to_string(),
            digest: Digest([3; 32]),
            bytes: 300,
        },
    }
}

fn runner() -> Runner {
    Runner {
        name: "musher-1".to_string(),
        id: Some(RunnerId(9)),
        hub: HubId(1),
        scope: Scope::Repo("octo/app".to_string()),
    }
}

fn boot(stage: BootStage) -> Boot {
    Boot {
        sled: SledId(1),
        generation: Generation(2),
        pool: PoolId(3),
        image: image(),
        for_job: Some(JobId {
            hub: HubId(1),
            number: 77,
        }),
        stage,
        deadline: Millis(5000),
        ticket: TicketToken([4; 16]),
        key: Some(AgentKey([5; 32])),
        times: Timeline {
            claimed: Millis(1),
            power_on: Some(Millis(2)),
            ..Timeline::default()
        },
        power_edge: true,
        replayed: false,
        override_confirmed: true,
        runner: Some(runner()),
        mints: 1,
        job: None,
        inventory: None,
        wipe: None,
        end: None,
        outcome: Some(messages::Outcome::Unused {
            reason: "none".to_string(),
        }),
        power_cut: false,
        receipt: Some(6),
    }
}

fn sled(power: Power) -> Sled {
    Sled {
        name: "sled-01".to_string(),
        mac: Mac([1, 2, 3, 4, 5, 6]),
        pools: vec![PoolId(3)],
        power,
        generation: Generation(2),
        quarantine: Some(Quarantine {
            since: Millis(8),
            reason: "why".to_string(),
        }),
        failures: 1,
        retired: false,
        power_problem: None,
        last_boot: Some(BootId(1)),
    }
}

#[test]
fn inventory_rows() {
    let meta = Meta {
        next_boot: BootId(1),
        next_effect: 2,
        next_hub: 3,
        next_pool: 4,
        next_sled: 5,
        receipts: 6,
        last_receipt: Digest([7; 32]),
    };
    let row = MetaRow {
        appliance: ApplianceId([0xa, 0xb, 0xc, 0xd]),
        meta,
    };
    check("meta", TableId::Meta, &row);
    let hub = Hub {
        name: "main".to_string(),
    };
    check("hub", TableId::Hubs, &hub);
    let pool = Pool {
        name: "linux".to_string(),
        hub: HubId(1),
        scope: Scope::Org("octo".to_string()),
        labels: Labels::new(["self-hosted", "Linux"]),
        image: image(),
        max_runtime_s: 3600,
        min_assurance: Assurance::NetbootForced,
        retired: false,
        blocked_until: Some(Millis(1)),
        refusals: 2,
        problem: Some("no".to_string()),
    };
    check("pool", TableId::Pools, &pool);
    let off = sled(Power::Off { since: Millis(9) });
    check("sled-off", TableId::Sleds, &off);
    let claimed = sled(Power::Claimed { boot: BootId(1) });
    check("sled-claimed", TableId::Sleds, &claimed);
    let unknown = sled(Power::Unknown {
        since: Millis(9),
        reason: "dead".to_string(),
    });
    check("sled-unknown", TableId::Sleds, &unknown);
}

#[test]
fn work_rows() {
    for (name, state, conclusion) in [
        ("job-queued", JobState::Queued, None),
        ("job-in-progress", JobState::InProgress, None),
        (
            "job-completed",
            JobState::Completed,
            Some(Conclusion::Said("success".into())),
        ),
        ("job-silent", JobState::Completed, Some(Conclusion::Silent)),
    ] {
        let job = Job {
            repository: "octo/app".into(),
            name: "build".into(),
            workflow: "ci".into(),
            run_id: 1,
            run_attempt: 2,
            labels: Labels::new(["linux"]),
            pool: Some(PoolId(3)),
            state,
            delivered_at: Millis(4),
            completed_at: conclusion.as_ref().map(|_| Millis(5)),
            conclusion,
            boot: Some(BootId(1)),
            taken_by: Some("other".into()),
        };
        check(name, TableId::Jobs, &job);
    }
    for (name, stage) in [
        ("boot-powering-on", BootStage::PoweringOn),
        ("boot-netbooting", BootStage::Netbooting),
        ("boot-wiping", BootStage::Wiping),
        ("boot-ready", BootStage::Ready),
        ("boot-ordered", BootStage::Ordered),
        ("boot-running", BootStage::Running),
        ("boot-powering-off", BootStage::PoweringOff { cuts: 2 }),
        ("boot-ended", BootStage::Ended),
    ] {
        check(name, TableId::Boots, &boot(stage));
    }
    check("delivery", TableId::Deliveries, &());
}

#[test]
fn outbox_rows() {
    let (sled, generation, boot) = (SledId(1), Generation(2), BootId(3));
    let (hub, scope) = (HubId(1), Scope::Org("octo".to_string()));
    let name = "musher-1".to_string();
    let repository: Box<str> = "octo/app".into();
    let effects = [
        Effect::PowerOn {
            sled,
            boot,
            generation,
        },
        Effect::PowerOff { sled, generation },
        Effect::Mint {
            hub,
            scope: scope.clone(),
            name: name.clone(),
            labels: Labels::new(["linux"]),
            boot,
        },
        Effect::DeleteRunner {
            hub,
            scope,
            name,
            id: None,
            boot,
        },
        Effect::LookUpJob {
            job: JobId { hub, number: 77 },
            repository,
        },
        Effect::SignReceipt {
            sequence: 1,
            digest: Digest([1; 32]),
        },
    ];
    for effect in effects {
        let name = alloc::format!("outbox-{}", effect.name());
        let pending = Pending {
            effect,
            due: Millis(300),
            attempts: 1,
            again: true,
        };
        check(&name, TableId::Outbox, &pending);
    }
}
