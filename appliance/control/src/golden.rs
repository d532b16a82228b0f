//! Frozen bytes of each stored row in its first version: what is on a disk in
//! the field must be read by every later release. The file is only ever added to.

use alloc::{boxed::Box, string::ToString, vec, vec::Vec};
use core::fmt::Debug;

use crate::{
    Acceptance, AcceptanceSpec, Boot, BootImage, BootStage, Circuit, Conclusion, Duty, Effect, Hub,
    Job, JobState, Labels, MintScope, Pending, Pool, PoolPolicy, Power, Runner, Scope, Sled,
    StageTimes, Timeline, WarmPolicy, WarmWindow, Withheld,
    persist::Row,
    rows::{Meta, first, second},
    state::MetaRow,
};
use messages::{
    AgentKey, ApplianceId, Assurance, BootId, CircuitId, Digest, Generation, HubId, ImageRef,
    JobId, Mac, Millis, PoolId, RunnerId, SledId, TicketToken,
};

const GOLDEN: &str = include_str!("../tests/golden/rows.txt");

fn frozen(name: &str) -> Vec<u8> {
    let (_, hex) = GOLDEN
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(of, _)| *of == name)
        .unwrap_or_else(|| panic!("{name} is not frozen"));
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A row of the present version.
fn check<V: Row + PartialEq + Debug>(name: &str, row: &V) {
    let hex: alloc::string::String = row
        .to_bytes()
        .iter()
        .map(|byte| alloc::format!("{byte:02x}"))
        .collect();
    assert_eq!(row.to_bytes(), frozen(name), "{name} {hex}");
    reads(name, row);
}

/// A row of a version that is only read.
fn reads<V: Row + PartialEq + Debug>(name: &str, row: &V) {
    let mut bytes = frozen(name);
    assert_eq!(V::from_bytes(&bytes).as_ref(), Ok(row), "{name}");
    bytes.push(0);
    assert!(V::from_bytes(&bytes).is_err(), "{name}");
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
        energy: None,
        repository: None,
        circuit: None,
        accepts: false,
    }
}

fn metered(stage: BootStage) -> Boot {
    Boot {
        energy: Some(messages::Energy {
            joules: 5000,
            measured_ms: 60_000,
            meter: messages::PowerMeter::Dcmi,
        }),
        ..boot(stage)
    }
}

fn first_sled(power: Power) -> first::Sled {
    first::Sled {
        name: "sled-01".to_string(),
        mac: Mac([1, 2, 3, 4, 5, 6]),
        pools: vec![PoolId(3)],
        power,
        generation: Generation(2),
        quarantine: Some(Withheld {
            since: Millis(8),
            reason: "why".to_string(),
        }),
        failures: 1,
        retired: false,
        power_problem: None,
        last_boot: Some(BootId(1)),
    }
}

fn first_pool() -> first::Pool {
    first::Pool {
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
    }
}

fn powers() -> [(&'static str, Power); 3] {
    [
        ("off", Power::Off { since: Millis(9) }),
        ("claimed", Power::Claimed { boot: BootId(1) }),
        (
            "unknown",
            Power::Unknown {
                since: Millis(9),
                reason: "dead".to_string(),
            },
        ),
    ]
}

#[test]
fn first_inventory_rows_are_read() {
    let meta = first::Meta {
        next_boot: BootId(1),
        next_effect: 2,
        next_hub: 3,
        next_pool: 4,
        next_sled: 5,
        receipts: 6,
        last_receipt: Digest([7; 32]),
    };
    let row = first::MetaRow {
        appliance: ApplianceId([0xa, 0xb, 0xc, 0xd]),
        meta,
    };
    reads("meta", &MetaRow::from(row));
    reads("pool", &Pool::from(first_pool()));
    for (name, power) in powers() {
        let name = alloc::format!("sled-{name}");
        reads(&name, &Sled::from(first_sled(power)));
    }
}

fn second_meta() -> second::MetaRow {
    let meta = second::Meta {
        next_boot: BootId(1),
        next_effect: 2,
        next_hub: 3,
        next_pool: 4,
        next_sled: 5,
        receipts: 6,
        last_receipt: Digest([7; 32]),
        next_circuit: 8,
    };
    second::MetaRow {
        appliance: ApplianceId([0xa, 0xb, 0xc, 0xd]),
        meta,
    }
}

fn second_pool() -> second::Pool {
    let pool = first_pool();
    second::Pool {
        name: pool.name,
        hub: pool.hub,
        scope: pool.scope,
        labels: pool.labels,
        image: pool.image,
        max_runtime_s: pool.max_runtime_s,
        min_assurance: pool.min_assurance,
        retired: pool.retired,
        blocked_until: pool.blocked_until,
        refusals: pool.refusals,
        problem: pool.problem,
        policy: PoolPolicy {
            mint_scope: MintScope::Repository,
            default: true,
            priority: -3,
            min_sleds: 1,
            max_sleds: Some(9),
            max_per_repository: Some(4),
            weights: vec![("octo/app".to_string(), 3)],
            warm: WarmPolicy {
                count: 1,
                windows: vec![WarmWindow {
                    days: 31,
                    from_minute: 480,
                    to_minute: 1080,
                    count: 3,
                }],
                follow: 2,
                idle_ms: 900_000,
                max_age_ms: 14_400_000,
            },
            max_reruns: 1,
        },
        paused: Some(Withheld {
            since: Millis(8),
            reason: "why".to_string(),
        }),
    }
}

#[test]
fn second_inventory_rows_are_read() {
    reads("meta-2", &MetaRow::from(second_meta()));
    reads("pool-2", &Pool::from(second_pool()));
}

#[test]
fn inventory_rows() {
    let hub = Hub {
        name: "main".to_string(),
    };
    check("hub", &hub);
    let before = MetaRow::from(second_meta());
    let meta = Meta {
        first_receipt: 9,
        exported: 10,
        ..before.meta
    };
    check("meta-3", &MetaRow { meta, ..before });
    let pool = Pool {
        group: Some("fast".to_string()),
        public: vec!["octo/open".to_string()],
        ..Pool::from(second_pool())
    };
    reads("pool-3", &pool);
    let asking = Pool {
        acceptance: Some(AcceptanceSpec {
            repository: "octo/infra".to_string(),
            workflow: "accept.yml".to_string(),
            reference: "main".to_string(),
            inputs: vec![("runner".to_string(), "{{label}}".to_string())],
        }),
        ..pool
    };
    check("pool-4", &asking);
    for (name, power) in powers() {
        let name = alloc::format!("sled-2-{name}");
        let sled = Sled {
            circuit: Some(CircuitId(2)),
            watts: 300,
            duty: Duty::Drained { since: Millis(7) },
            hold_until: Some(Millis(70)),
            times: StageTimes {
                power_on: vec![900],
                netboot: vec![40_000, 300],
                wipe: vec![],
            },
            ..Sled::from(first_sled(power))
        };
        check(&name, &sled);
    }
    let kept = Sled {
        duty: Duty::Maintenance {
            since: Millis(7),
            reason: "fan".to_string(),
        },
        ..Sled::from(first_sled(Power::Off { since: Millis(9) }))
    };
    check("sled-2-maintenance", &kept);
    let circuit = Circuit {
        name: "a".to_string(),
        watts: 3000,
        starts: 2,
        stagger_ms: 500,
        retired: false,
    };
    check("circuit", &circuit);
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
            serving: None,
        };
        check(name, &job);
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
        ("boot-held", BootStage::Held),
    ] {
        reads(name, &boot(stage.clone()));
        check(&alloc::format!("{name}-metered"), &metered(stage));
    }
    let mut facts = crate::BmcFacts::default();
    facts.note("user.02", "admin");
    check("facts", &facts);
    let owed = Acceptance {
        pool: PoolId(3),
        since: Millis(4),
        nonce: [5; 16],
        tries: 6,
        not_before: Millis(7),
        problem: Some("why".to_string()),
        boot: Some(BootId(8)),
        job: Some(JobId {
            hub: HubId(1),
            number: 77,
        }),
        page: Some("https://github.com/octo/infra".into()),
        judged: Some(true),
        run: None,
        ended: None,
    };
    reads("acceptance", &owed);
    let led_to_a_run = Acceptance {
        run: Some(9),
        ended: Some("failure".into()),
        ..owed
    };
    check("acceptance-of-run", &led_to_a_run);
    check("delivery", &());
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
        Effect::RerunJob {
            job: JobId { hub, number: 77 },
            repository: "octo/app".into(),
            boot,
        },
        Effect::PowerOnByHand {
            sled: SledId(2),
            generation: Generation(7),
        },
        Effect::DispatchWorkflow {
            hub,
            boot,
            repository: "octo/infra".to_string(),
            workflow: "accept.yml".to_string(),
            reference: "main".to_string(),
            inputs: vec![("runner".to_string(), "label".to_string())],
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
        check(&name, &pending);
    }
}
