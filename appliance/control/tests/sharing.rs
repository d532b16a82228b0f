//! How pools share sleds: each rule of the policies with a small table, on
//! sleds whose boots a bench walks on by hand.

use std::collections::BTreeMap;

use messages::{
    AgentKey, AgentMessage, ApplianceId, Assurance, BootId, DeliveryKey, Digest, Firmware, HubId,
    ImageRef, Mac, Millis, RunEnd, RunExit, RunnerId, Scratch, WipeReport,
};
use musher_control::{
    BootImage, BootStage, CircuitSpec, Effect, Effects, Event, Hook, Inventory, InventoryError,
    JobAction, JobReport, Labels, Lever, Limits, MintScope, Outcome, PoolPolicy, PoolSpec,
    PowerFailure, PowerReading, PoweredOn, Reply, Scope, SledSpec, Source, State, WarmPolicy, step,
};

const KEY: AgentKey = AgentKey([1; 32]);

fn pool(name: &str, labels: &[&str], policy: PoolPolicy) -> PoolSpec {
    PoolSpec {
        name: name.into(),
        github: "main".into(),
        scope: Scope::Org("octo".into()),
        labels: labels.iter().map(|label| (*label).into()).collect(),
        image: BootImage {
            kernel: Digest([1; 32]),
            initramfs: Digest([2; 32]),
            rootfs: ImageRef {
                name: "debian-12".into(),
                digest: Digest([3; 32]),
                bytes: 1,
            },
        },
        max_runtime_s: 3600,
        min_assurance: Assurance::Claimed,
        policy,
        group: None,
        public: Vec::new(),
        acceptance: None,
    }
}

fn sleds(count: u8, pools: &[&str]) -> Vec<SledSpec> {
    let sled = |n| SledSpec {
        name: format!("sled-{n}"),
        mac: Mac([0, 0, 0, 0, 0, n]),
        pools: pools.iter().map(|pool| (*pool).into()).collect(),
        circuit: None,
        watts: 0,
    };
    (1..=count).map(sled).collect()
}

struct Rack {
    state: State,
    now: u64,
    deliveries: u128,
    /// Entropy: no two boot tickets may be the same.
    steps: u8,
}

impl Rack {
    fn new(pools: Vec<PoolSpec>, circuits: Vec<CircuitSpec>, sleds: Vec<SledSpec>) -> Self {
        let mut rack = Self {
            state: State::new(ApplianceId([1; 4]), Limits::default()),
            now: 1_000_000_000,
            deliveries: 0,
            steps: 0,
        };
        rack.step(Event::Started);
        let inventory = Inventory {
            hubs: vec!["main".into()],
            pools,
            circuits,
            sleds,
        };
        assert_eq!(rack.step(Event::Inventory(inventory)), Reply::Done(Ok(())));
        let sleds: Vec<_> = rack.state.sleds().map(|(id, _)| id).collect();
        for sled in sleds {
            rack.read_off(sled);
        }
        rack.pass(60_000);
        rack
    }

    fn step(&mut self, event: Event) -> Reply {
        self.steps = self.steps.wrapping_add(1);
        let mut fx = Effects::new([self.steps; 32]);
        step(&mut self.state, Millis(self.now), event, &mut fx);
        self.state.drain_changes();
        fx.reply
    }

    fn read_off(&mut self, sled: messages::SledId) {
        let generation = self.state.generation(sled).unwrap_or_default();
        self.step(Event::PowerRead {
            sled,
            generation,
            result: Ok(PowerReading::Off),
        });
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.step(Event::Tick);
    }

    fn deliver(&mut self, number: u64, action: JobAction, repository: &str, labels: &[&str]) {
        self.deliveries += 1;
        let report = JobReport {
            number,
            action,
            repository: repository.into(),
            name: "build".into(),
            workflow: "ci".into(),
            run_id: 1,
            run_attempt: 1,
            labels: Labels::new(labels.iter().copied()),
            group: None,
            public: false,
            ran_ms: None,
            runner: None,
            page: None,
            conclusion: (action == JobAction::Completed).then(|| "success".into()),
        };
        self.step(Event::Delivery {
            key: DeliveryKey(self.deliveries),
            hub: HubId(1),
            source: Source::Tunnel,
            hook: Hook::Job(Box::new(report)),
        });
    }

    fn queue(&mut self, numbers: std::ops::Range<u64>, repository: &str, labels: &[&str]) {
        for number in numbers {
            self.now += 1;
            self.deliver(number, JobAction::Queued, repository, labels);
        }
    }

    /// Boots under way by the repository that they were started for.
    fn shares(&self) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for (_, boot) in self.state.boots().filter(|(_, boot)| boot.is_under_way()) {
            let name = boot.repository.as_deref().unwrap_or("(warm)");
            *shares.entry(name.to_owned()).or_insert(0) += 1;
        }
        shares
    }

    fn under_way(&self) -> Vec<BootId> {
        let boots = self.state.boots();
        let under_way = boots.filter(|(_, boot)| boot.is_under_way());
        under_way.map(|(id, _)| id).collect()
    }

    fn settle_all(&mut self, name: &str, outcome: &Outcome) {
        let due: Vec<_> = self
            .state
            .due_effects(Millis(self.now))
            .filter(|(_, effect)| effect.name() == name)
            .map(|(id, _)| id)
            .collect();
        for id in due {
            let outcome = outcome.clone();
            self.step(Event::Outcome { id, outcome });
        }
    }

    fn power_all_on(&mut self) {
        let done = PoweredOn {
            at: Millis(self.now),
            edge: true,
            override_confirmed: true,
        };
        self.settle_all("power-on", &Outcome::PoweredOn(Ok(done)));
    }

    fn say(&mut self, boot: BootId, message: AgentMessage) {
        let ticket = self.state.boot(boot).expect("it is kept").ticket;
        self.step(Event::Agent {
            ticket,
            key: KEY,
            message,
        });
    }

    /// Every boot under way goes on until it is wiped.
    fn wipe_all(&mut self) {
        self.power_all_on();
        for boot in self.under_way() {
            self.say(
                boot,
                AgentMessage::Hello(messages::Inventory {
                    agent_version: "1".into(),
                    kernel: "6".into(),
                    firmware: Firmware::Bios,
                    cpus: 1,
                    memory_mib: 1,
                    product: "bench".into(),
                    disks: Vec::new(),
                    uptime_ms: 1,
                }),
            );
            self.say(
                boot,
                AgentMessage::Wiped(WipeReport {
                    disks: Vec::new(),
                    scratch: Scratch {
                        cipher: "aes".into(),
                        disk: None,
                        bytes: 1,
                    },
                    elapsed_ms: 1,
                }),
            );
        }
    }

    /// Mints for every wiped boot that has a job, and lets its runner start.
    fn run_all(&mut self) {
        self.settle_all("mint", &Outcome::Minted(Ok(Some(RunnerId(5)))));
        for boot in self.under_way() {
            let row = self.state.boot(boot).and_then(|row| row.runner.clone());
            if let Some(runner) = row {
                let runner_name = runner.name;
                self.say(boot, AgentMessage::Accepted { runner_name });
            }
        }
    }

    /// The run of a boot ends, and its sled goes off.
    fn end(&mut self, boot: BootId) {
        let end = RunEnd {
            exit: RunExit::Code(0),
            elapsed_ms: 1,
            log_bytes: 0,
        };
        self.say(boot, AgentMessage::Finished(end));
        let sled = self.state.boot(boot).expect("it is kept").sled;
        self.now += 20_000;
        self.read_off(sled);
        assert_eq!(
            self.state.boot(boot).map(|boot| boot.stage.clone()),
            Some(BootStage::Ended)
        );
    }

    fn why(&self, job: u64) -> &'static str {
        let said = self.state.explain(Millis(self.now), job);
        said.unwrap_or_else(|| panic!("job {job} is not known"))
            .reason
    }
}

fn shares<const N: usize>(of: [(&str, usize); N]) -> BTreeMap<String, usize> {
    of.into_iter()
        .map(|(name, n)| (name.to_owned(), n))
        .collect()
}

#[test]
fn repositories_share_by_weight() {
    let check = |weights: &[(&str, u32)], expect: BTreeMap<String, usize>| {
        let policy = PoolPolicy {
            weights: weights.iter().map(|(n, w)| ((*n).into(), *w)).collect(),
            ..PoolPolicy::default()
        };
        // No sled is free while the jobs come: all of them compete.
        let mut rack = Rack::new(
            vec![pool("linux", &["linux"], policy)],
            vec![],
            sleds(8, &["linux"]),
        );
        let paused = Lever::PausePool {
            pool: "linux".into(),
            reason: "test".into(),
        };
        rack.step(Event::Lever(paused));
        rack.queue(1..101, "octo/big", &["linux"]);
        rack.queue(101..111, "octo/small", &["linux"]);
        assert_eq!(rack.shares(), shares([]));
        rack.step(Event::Lever(Lever::ResumePool {
            pool: "linux".into(),
        }));
        assert_eq!(rack.shares(), expect, "{weights:?}");
    };
    check(&[], shares([("octo/big", 4), ("octo/small", 4)]));
    check(
        &[("octo/big", 3)],
        shares([("octo/big", 6), ("octo/small", 2)]),
    );
}

#[test]
fn a_sled_that_comes_free_goes_to_whoever_has_least() {
    let mut rack = Rack::new(
        vec![pool("linux", &["linux"], PoolPolicy::default())],
        vec![],
        sleds(3, &["linux"]),
    );
    rack.queue(1..11, "octo/big", &["linux"]);
    rack.queue(11..13, "octo/late", &["linux"]);
    assert_eq!(rack.shares(), shares([("octo/big", 3)]));
    rack.wipe_all();
    rack.run_all();
    let first = rack.under_way()[0];
    rack.deliver(1, JobAction::Completed, "octo/big", &["linux"]);
    rack.end(first);
    rack.pass(10_000);
    assert_eq!(rack.shares().get("octo/late"), Some(&1));
}

#[test]
fn caps_bind_and_are_explained() {
    let policy = PoolPolicy {
        max_per_repository: Some(2),
        max_sleds: Some(3),
        mint_scope: MintScope::Repository,
        ..PoolPolicy::default()
    };
    let mut rack = Rack::new(
        vec![pool("linux", &["linux"], policy)],
        vec![],
        sleds(5, &["linux"]),
    );
    rack.queue(1..6, "octo/a", &["linux"]);
    assert_eq!(rack.shares(), shares([("octo/a", 2)]));
    assert_eq!(rack.why(5), "repository-cap");
    rack.queue(6..9, "octo/b", &["linux"]);
    assert_eq!(rack.shares(), shares([("octo/a", 2), ("octo/b", 1)]));
    assert_eq!(rack.why(8), "pool-cap");
    // Runners are registered where their jobs are.
    rack.wipe_all();
    let scopes: Vec<String> = rack
        .state
        .due_effects(Millis(rack.now))
        .filter_map(|(_, effect)| match effect {
            Effect::Mint { scope, .. } => Some(scope.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(scopes, ["repo:octo/a", "repo:octo/a", "repo:octo/b"]);
}

#[test]
fn a_runner_of_a_repository_serves_it_out_of_turn() {
    let policy = PoolPolicy {
        mint_scope: MintScope::Repository,
        ..PoolPolicy::default()
    };
    let mut rack = Rack::new(
        vec![pool("linux", &["linux"], policy)],
        vec![],
        sleds(1, &["linux"]),
    );
    rack.queue(1..2, "octo/a", &["linux"]);
    rack.wipe_all();
    rack.run_all();
    rack.deliver(1, JobAction::Completed, "octo/a", &["linux"]);
    assert_eq!(rack.shares(), shares([("(warm)", 1)]));
    rack.queue(2..3, "octo/b", &["linux"]);
    assert_eq!(rack.shares(), shares([("(warm)", 1)]));
    rack.queue(3..4, "octo/a", &["linux"]);
    assert_eq!(rack.shares(), shares([("octo/a", 1)]));
}

#[test]
fn pools_that_share_sleds_go_by_priority_and_age() {
    let policy = |priority| PoolPolicy {
        priority,
        ..PoolPolicy::default()
    };
    let check = |wait_ms: u64, expect: &str| {
        let mut rack = Rack::new(
            vec![
                pool("low", &["low"], policy(0)),
                pool("high", &["high"], policy(5)),
            ],
            vec![],
            sleds(1, &["low", "high"]),
        );
        let drain = Lever::Drain {
            sled: "sled-1".into(),
        };
        rack.step(Event::Lever(drain));
        rack.queue(1..2, "octo/low", &["low"]);
        assert_eq!(rack.why(1), "no-sled");
        rack.pass(wait_ms);
        rack.queue(2..3, "octo/high", &["high"]);
        rack.step(Event::Lever(Lever::Resume {
            sled: "sled-1".into(),
        }));
        assert_eq!(rack.shares(), shares([(expect, 1)]), "after {wait_ms} ms");
    };
    check(60_000, "octo/high");
    check(6 * 60_000, "octo/low");
}

#[test]
fn kept_sleds_stay_free_for_their_pool() {
    let kept = PoolPolicy {
        min_sleds: 2,
        ..PoolPolicy::default()
    };
    let mut rack = Rack::new(
        vec![
            pool("any", &["any"], PoolPolicy::default()),
            pool("kept", &["kept"], kept),
        ],
        vec![],
        sleds(3, &["any", "kept"]),
    );
    rack.queue(1..4, "octo/any", &["any"]);
    assert_eq!(rack.shares(), shares([("octo/any", 1)]));
    assert_eq!(rack.why(3), "kept");
    rack.queue(4..6, "octo/kept", &["kept"]);
    assert_eq!(rack.shares(), shares([("octo/any", 1), ("octo/kept", 2)]));
}

#[test]
fn jobs_wait_rather_than_trip_a_breaker() {
    let circuit = |watts, starts, stagger_ms| CircuitSpec {
        name: "a".into(),
        watts,
        starts,
        stagger_ms,
    };
    let fed = || {
        let mut sleds = sleds(4, &["linux"]);
        for sled in &mut sleds {
            sled.circuit = Some("a".into());
            sled.watts = 400;
        }
        sleds
    };
    let check = |circuit: CircuitSpec, expect: usize| {
        let pools = vec![pool("linux", &["linux"], PoolPolicy::default())];
        let mut rack = Rack::new(pools, vec![circuit.clone()], fed());
        rack.queue(1..5, "octo/app", &["linux"]);
        assert_eq!(rack.under_way().len(), expect, "{circuit:?}");
        if expect < 4 {
            assert_eq!(rack.why(4), "power-budget");
        }
        rack
    };
    check(circuit(0, 0, 0), 4);
    check(circuit(1200, 0, 0), 3);
    let mut starts = check(circuit(0, 2, 0), 2);
    starts.wipe_all();
    assert_eq!(starts.under_way().len(), 4);
    let mut staggered = check(circuit(0, 0, 5_000), 1);
    staggered.pass(4_000);
    assert_eq!(staggered.under_way().len(), 1);
    staggered.pass(1_000);
    assert_eq!(staggered.under_way().len(), 2);
    // Neither are they tried again at the same moment, nor after a restart.
    let failure = PowerFailure {
        permanent: false,
        contradiction: false,
        message: "no answer".into(),
    };
    staggered.settle_all("power-on", &Outcome::PoweredOn(Err(failure)));
    let apart = |rack: &Rack| {
        let due = |at: u64| {
            let due = rack.state.due_effects(Millis(at));
            due.filter(|(_, effect)| effect.name() == "power-on")
                .count()
        };
        let all: Vec<u64> = (rack.now..rack.now + 60_000)
            .step_by(500)
            .filter(|at| due(*at) > due(at.saturating_sub(500)))
            .collect();
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[1] - all[0] >= 5_000, "{all:?}");
    };
    apart(&staggered);
    staggered.step(Event::Started);
    apart(&staggered);
}

#[test]
fn warm_sleds_wait_unregistered_and_serve_at_once() {
    let policy = PoolPolicy {
        warm: WarmPolicy {
            count: 1,
            max_age_ms: 3_600_000,
            ..WarmPolicy::default()
        },
        ..PoolPolicy::default()
    };
    let mut rack = Rack::new(
        vec![pool("linux", &["linux"], policy)],
        vec![],
        sleds(2, &["linux"]),
    );
    assert_eq!(rack.shares(), shares([("(warm)", 1)]));
    rack.wipe_all();
    let warm = rack.under_way()[0];
    let mint = |rack: &Rack| {
        let mut due = rack.state.due_effects(Millis(rack.now));
        due.any(|(_, effect)| effect.name() == "mint")
    };
    assert!(!mint(&rack), "a warm sled is not registered");
    // A job takes the warm sled at once, and another sled gets warm.
    rack.queue(1..2, "octo/app", &["linux"]);
    assert!(mint(&rack));
    let row = rack.state.boot(warm).expect("it goes on");
    assert_eq!(row.repository.as_deref(), Some("octo/app"));
    assert_eq!(rack.shares(), shares([("(warm)", 1), ("octo/app", 1)]));
    // One that is too old is recycled.
    rack.wipe_all();
    rack.run_all();
    let young = rack.under_way();
    rack.pass(3_600_000);
    let old = young.into_iter().find(|id| *id != warm).expect("two boots");
    assert!(!rack.state.boot(old).expect("it is kept").is_under_way());
}

#[test]
fn levers_do_what_they_say() {
    let pools = vec![pool("linux", &["linux"], PoolPolicy::default())];
    let mut rack = Rack::new(pools, vec![], sleds(2, &["linux"]));
    let sled = |rack: &Rack, name: &str| {
        let status = rack.state.status(Millis(rack.now), 0);
        let sled = status.sleds.into_iter().find(|sled| sled.name == name);
        sled.map(|sled| sled.state).expect("it is in the rack")
    };
    let lever = |rack: &mut Rack, lever: Lever| match rack.step(Event::Lever(lever)) {
        Reply::Done(result) => result,
        other => panic!("{other:?}"),
    };
    let name = || "sled-1".to_owned();
    assert_eq!(
        lever(&mut rack, Lever::CancelClaim { sled: name() }),
        Err(InventoryError::NoClaim(name()))
    );
    // Maintenance of a free sled: the other one serves.
    let maintain = Lever::Maintain {
        sled: name(),
        reason: "fan".into(),
    };
    assert_eq!(lever(&mut rack, maintain), Ok(()));
    assert_eq!(sled(&rack, "sled-1"), "Maintenance");
    rack.queue(1..3, "octo/app", &["linux"]);
    assert_eq!(rack.under_way().len(), 1);
    assert_eq!(rack.why(2), "all-busy");
    assert_eq!(lever(&mut rack, Lever::Resume { sled: name() }), Ok(()));
    assert_eq!(rack.under_way().len(), 2);
    // A claim that is cancelled goes off, and its job waits for another.
    assert_eq!(
        lever(&mut rack, Lever::CancelClaim { sled: name() }),
        Ok(())
    );
    assert_eq!(sled(&rack, "sled-1"), "PoweringOff");
    assert_eq!(rack.under_way().len(), 1);
    // What runs is not cut.
    rack.wipe_all();
    rack.run_all();
    assert_eq!(
        lever(
            &mut rack,
            Lever::CancelClaim {
                sled: "sled-2".into()
            }
        ),
        Err(InventoryError::Runs("sled-2".into()))
    );
    assert_eq!(
        lever(
            &mut rack,
            Lever::Drain {
                sled: "sled-2".into()
            }
        ),
        Ok(())
    );
    assert_eq!(sled(&rack, "sled-2"), "Running");
    assert_eq!(
        lever(
            &mut rack,
            Lever::Drain {
                sled: "none".into()
            }
        ),
        Err(InventoryError::NoSuchSled("none".into()))
    );
    assert_eq!(
        lever(
            &mut rack,
            Lever::ResumePool {
                pool: "none".into()
            }
        ),
        Err(InventoryError::UnknownPool("none".into()))
    );
}

#[test]
fn a_job_that_fits_nothing_is_explained() {
    let pools = vec![pool("linux", &["linux"], PoolPolicy::default())];
    let mut rack = Rack::new(pools, vec![], sleds(1, &["linux"]));
    rack.queue(1..2, "octo/app", &["self-hosted", "gpu"]);
    assert_eq!(rack.why(1), "no-pool-fits");
    let said = rack
        .state
        .explain(Millis(rack.now), 1)
        .expect("it is remembered");
    assert!(said.text.contains("lacks label gpu"), "{}", said.text);
    assert_eq!(rack.state.explain(Millis(rack.now), 2), None);
}

#[test]
fn a_grade_that_no_boot_reaches_is_explained() {
    let mut strict = pool("linux", &["linux"], PoolPolicy::default());
    strict.min_assurance = Assurance::NetbootForced;
    let mut rack = Rack::new(vec![strict], vec![], sleds(1, &["linux"]));
    rack.queue(1..2, "octo/app", &["linux"]);
    // No boot request was seen, so nothing shows that this boot was ours.
    rack.wipe_all();
    assert_eq!(rack.why(1), "assurance");
}

#[test]
fn the_expected_start_follows_what_sleds_took() {
    let pools = vec![pool("linux", &["linux"], PoolPolicy::default())];
    let mut rack = Rack::new(pools, vec![], sleds(1, &["linux"]));
    rack.queue(1..5, "octo/app", &["linux"]);
    let said = rack.state.explain(Millis(rack.now), 4).expect("it waits");
    assert_eq!((said.ahead, said.expected_start), (Some(2), None));
    rack.wipe_all();
    rack.run_all();
    let boot = rack.under_way()[0];
    rack.pass(100_000);
    rack.deliver(1, JobAction::Completed, "octo/app", &["linux"]);
    rack.end(boot);
    let said = rack.state.explain(Millis(rack.now), 4).expect("it waits");
    // 120 s for each of the two that come before it, and its own.
    let expected = said.expected_start.expect("one run is known");
    assert_eq!(
        (said.ahead, expected.since(Millis(rack.now))),
        (Some(2), 360_009)
    );
}

#[test]
fn contradictions_are_refused() {
    let check = |policy: PoolPolicy, expect: &str| {
        let inventory = Inventory {
            hubs: vec!["main".into()],
            pools: vec![pool("linux", &["linux"], policy)],
            ..Inventory::default()
        };
        let error = inventory.check().expect_err(expect).to_string();
        assert!(error.contains(expect) && error.contains("linux"), "{error}");
    };
    let unless = PoolPolicy::default;
    check(
        PoolPolicy {
            max_sleds: Some(1),
            min_sleds: 2,
            ..unless()
        },
        "min_sleds is more than max_sleds",
    );
    check(
        PoolPolicy {
            max_per_repository: Some(0),
            ..unless()
        },
        "max_per_repository is 0",
    );
    check(
        PoolPolicy {
            weights: vec![("octo/app".into(), 0)],
            ..unless()
        },
        "a weight is 0",
    );
}

#[test]
fn an_outage_is_no_sleds_fault() {
    let pools = vec![pool("linux", &["linux"], PoolPolicy::default())];
    let mut rack = Rack::new(pools, vec![], sleds(4, &["linux"]));
    rack.queue(1..9, "octo/app", &["linux"]);
    let miss = |rack: &mut Rack| {
        let boots = rack.under_way();
        rack.power_all_on();
        rack.pass(11 * 60_000);
        for boot in boots {
            let sled = rack.state.boot(boot).expect("it is kept").sled;
            rack.settle_all("power-off", &Outcome::PoweredOff(Ok(())));
            rack.now += 5_000;
            rack.read_off(sled);
        }
    };
    let quarantined = |rack: &Rack| {
        let sleds = rack.state.sleds();
        sleds.filter(|(_, sled)| sled.quarantine.is_some()).count()
    };
    // No sled reaches its agent, again and again.
    assert_eq!(rack.under_way().len(), 4);
    miss(&mut rack);
    assert_eq!(rack.under_way().len(), 0);
    assert_eq!(rack.why(1), "outage");
    for _ in 0..6 {
        rack.pass(60_000);
        assert_eq!(rack.under_way().len(), 1, "one is tried at a time");
        rack.pass(1_000);
        assert_eq!(rack.under_way().len(), 1);
        miss(&mut rack);
    }
    assert_eq!(quarantined(&rack), 0);
    // One gets through: the others follow at once.
    rack.pass(60_000);
    rack.wipe_all();
    assert_eq!(rack.under_way().len(), 4);
}

#[test]
fn deadlines_are_learned_from_the_sled() {
    let pools = vec![pool("linux", &["linux"], PoolPolicy::default())];
    let mut rack = Rack::new(pools, vec![], sleds(1, &["linux"]));
    let unless = Limits::default().netboot_ms;
    for run in 0..6 {
        rack.queue(run..run + 1, "octo/app", &["linux"]);
        let boot = rack.under_way()[0];
        rack.power_all_on();
        let deadline = rack.state.boot(boot).expect("it goes on").deadline;
        let left = deadline.since(Millis(rack.now));
        // After five boots: three times what the longest took.
        let expect = if run < 5 { unless } else { 3 * 40_000 };
        assert_eq!(left, expect, "run {run}");
        rack.now += 40_000;
        rack.wipe_all();
        rack.run_all();
        rack.deliver(run, JobAction::Completed, "octo/app", &["linux"]);
        rack.end(boot);
        rack.pass(60_000);
    }
}
