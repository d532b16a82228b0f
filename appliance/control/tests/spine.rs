//! The spine by hand: one pool, two sleds, each rule with its own small table.

use messages::{
    AgentKey, AgentMessage, ApplianceId, Assurance, BootId, DeliveryKey, Digest, EffectId,
    Firmware, HubId, ImageRef, Mac, Millis, RunEnd, RunExit, RunnerId, Scratch, WipeReport,
};
use musher_control::{
    AgentReply, BootImage, BootStage, DeliveryResult, Effect, Effects, Event, Hook, Inventory,
    JobAction, JobReport, JobState, Labels, Lever, Limits, Outcome, PoolPolicy, PoolSpec, Power,
    PowerReading, PoweredOn, Reply, Scope, SledSpec, State, step,
};

struct Bench {
    state: State,
    now: u64,
    deliveries: u128,
}

const KEY: AgentKey = AgentKey([1; 32]);

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            state: State::new(ApplianceId([1; 4]), Limits::default()),
            now: 1_000_000,
            deliveries: 0,
        };
        bench.step(Event::Started);
        let image = BootImage {
            kernel: Digest([1; 32]),
            initramfs: Digest([2; 32]),
            rootfs: ImageRef {
                name: "debian-12".into(),
                digest: Digest([3; 32]),
                bytes: 1,
            },
        };
        let sled = |n: u8| SledSpec {
            name: format!("sled-{n}"),
            mac: Mac([0, 0, 0, 0, 0, n]),
            pools: vec!["linux".into()],
            circuit: None,
            watts: 0,
        };
        bench.step(Event::Inventory(Inventory {
            hubs: vec!["main".into()],
            pools: vec![PoolSpec {
                name: "linux".into(),
                github: "main".into(),
                scope: Scope::Org("octo".into()),
                labels: vec!["linux".into()],
                image,
                max_runtime_s: 6 * 3600,
                min_assurance: Assurance::Claimed,
                policy: PoolPolicy::default(),
            }],
            circuits: Vec::new(),
            sleds: vec![sled(1), sled(2)],
        }));
        bench.read_all(PowerReading::Off);
        bench.now += 10_000;
        bench
    }

    fn step(&mut self, event: Event) -> Reply {
        let mut fx = Effects::new([7; 32]);
        step(&mut self.state, Millis(self.now), event, &mut fx);
        self.state.drain_changes();
        fx.reply
    }

    fn read_all(&mut self, reading: PowerReading) {
        let sleds: Vec<_> = self
            .state
            .sleds()
            .map(|(id, row)| (id, row.generation))
            .collect();
        for (sled, generation) in sleds {
            self.step(Event::PowerRead {
                sled,
                generation,
                result: Ok(reading),
            });
        }
    }

    fn deliver(
        &mut self,
        number: u64,
        action: JobAction,
        runner: Option<RunnerId>,
    ) -> DeliveryResult {
        self.deliveries += 1;
        let report = JobReport {
            number,
            action,
            repository: "octo/app".into(),
            name: "build".into(),
            workflow: "ci".into(),
            run_id: 1,
            run_attempt: 1,
            labels: Labels::new(["linux"]),
            runner: runner.map(|id| (id, "".into())),
            conclusion: (action == JobAction::Completed).then(|| "success".into()),
        };
        let reply = self.step(Event::Delivery {
            key: DeliveryKey(self.deliveries),
            hub: HubId(1),
            source: musher_control::Source::Tunnel,
            hook: Hook::Job(Box::new(report)),
        });
        match reply {
            Reply::Delivery(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn effect(&self, name: &str) -> Option<(EffectId, Effect)> {
        self.state
            .due_effects(Millis(u64::MAX))
            .find(|(_, effect)| effect.name() == name)
            .map(|(id, effect)| (id, effect.clone()))
    }

    fn settle(&mut self, name: &str, outcome: Outcome) {
        let (id, _) = self
            .effect(name)
            .unwrap_or_else(|| panic!("no {name} is pending"));
        self.step(Event::Outcome { id, outcome });
    }

    fn live(&self) -> BootId {
        self.state
            .boots()
            .find(|(_, boot)| boot.stage != BootStage::Ended)
            .map(|(id, _)| id)
            .expect("a boot goes on")
    }

    fn stage(&self, boot: BootId) -> BootStage {
        self.state.boot(boot).expect("it is kept").stage.clone()
    }

    fn say(&mut self, boot: BootId, key: AgentKey, message: AgentMessage) -> AgentReply {
        let ticket = self.state.boot(boot).expect("it is kept").ticket;
        match self.step(Event::Agent {
            ticket,
            key,
            message,
        }) {
            Reply::Agent(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn powered_on(&mut self) {
        let done = PoweredOn {
            at: Millis(self.now),
            edge: true,
            override_confirmed: true,
        };
        self.settle("power-on", Outcome::PoweredOn(Ok(done)));
        self.now += 20_000;
    }

    fn hello() -> AgentMessage {
        AgentMessage::Hello(messages::Inventory {
            agent_version: "1".into(),
            kernel: "6".into(),
            firmware: Firmware::Bios,
            cpus: 1,
            memory_mib: 1,
            product: "bench".into(),
            disks: Vec::new(),
            uptime_ms: 1,
        })
    }

    /// A job is queued and its boot walked to a stage.
    fn walk(&mut self, to: &BootStage) -> BootId {
        if self.state.jobs().count() == 0 {
            assert_eq!(
                self.deliver(1, JobAction::Queued, None),
                DeliveryResult::Queued
            );
        }
        let boot = self.live();
        let wiped = AgentMessage::Wiped(WipeReport {
            disks: Vec::new(),
            scratch: Scratch {
                cipher: "aes".into(),
                disk: None,
                bytes: 1,
            },
            elapsed_ms: 1,
        });
        while self.stage(boot) != *to {
            match self.stage(boot) {
                BootStage::PoweringOn => self.powered_on(),
                BootStage::Netbooting => drop(self.say(boot, KEY, Self::hello())),
                BootStage::Wiping => drop(self.say(boot, KEY, wiped.clone())),
                BootStage::Ready => self.settle("mint", Outcome::Minted(Ok(RunnerId(5)))),
                BootStage::Ordered => {
                    let row = self.state.boot(boot).and_then(|row| row.runner.clone());
                    let runner_name = row.map(|runner| runner.name).unwrap_or_default();
                    self.say(boot, KEY, AgentMessage::Accepted { runner_name });
                }
                other => panic!("{other:?} leads nowhere"),
            }
        }
        boot
    }
}

const STAGES: [BootStage; 6] = [
    BootStage::PoweringOn,
    BootStage::Netbooting,
    BootStage::Wiping,
    BootStage::Ready,
    BootStage::Ordered,
    BootStage::Running,
];

#[test]
fn jobs_only_move_forward_in_every_order() {
    let actions = [
        JobAction::Queued,
        JobAction::Waiting,
        JobAction::InProgress,
        JobAction::Completed,
    ];
    for code in 0..256usize {
        let mut bench = Bench::new();
        let mut highest = None;
        for place in 0..4 {
            let action = actions[(code >> (2 * place)) & 3];
            bench.deliver(1, action, None);
            let state = match action {
                JobAction::Queued => Some(JobState::Queued),
                // Waiting for an approval says nothing of a job we do not know.
                JobAction::Waiting => highest,
                JobAction::InProgress => Some(JobState::InProgress),
                JobAction::Completed => Some(JobState::Completed),
            };
            highest = highest.max(state);
            let found = bench.state.jobs().next().map(|(_, job)| job.state);
            assert_eq!(found, highest, "order {code:08b}, place {place}");
        }
    }
}

#[test]
fn each_stage_has_a_deadline_after_which_the_sled_goes_off() {
    for stage in STAGES {
        let mut bench = Bench::new();
        let boot = bench.walk(&stage);
        if stage == BootStage::Running {
            bench.deliver(1, JobAction::InProgress, Some(RunnerId(5)));
        }
        bench.now = bench.state.boot(boot).unwrap().deadline.0;
        bench.step(Event::Tick);
        let after = bench.stage(boot);
        assert!(
            matches!(after, BootStage::PoweringOff { .. }),
            "{stage:?} became {after:?}"
        );
    }
}

#[test]
fn an_agent_that_went_silent_in_a_run_is_cut() {
    let silent = Limits::default().silent_agent_ms;
    for (heard_again, expect_off) in [(false, true), (true, false)] {
        let mut bench = Bench::new();
        let boot = bench.walk(&BootStage::Running);
        bench.deliver(1, JobAction::InProgress, Some(RunnerId(5)));
        // The pool's limit must not be what ends it.
        let started = bench.now;
        bench.now = started + silent / 2;
        if heard_again {
            let log = AgentMessage::Log {
                offset: 0,
                bytes: Vec::new(),
            };
            bench.say(boot, KEY, log);
        }
        let deadline = bench.state.boot(boot).unwrap().deadline.0;
        assert!(deadline > started + silent, "{deadline}");
        bench.now = started + silent;
        bench.step(Event::Tick);
        let off = matches!(bench.stage(boot), BootStage::PoweringOff { .. });
        assert_eq!(off, expect_off, "heard again: {heard_again}");
    }
}

#[test]
fn a_job_cancelled_before_pickup_calls_its_boot_off() {
    for stage in STAGES {
        let mut bench = Bench::new();
        let boot = bench.walk(&stage);
        bench.deliver(1, JobAction::Completed, None);
        let after = bench.stage(boot);
        // A runner that was started may have been given another job.
        let left_alone = stage == BootStage::Running;
        assert_eq!(after == stage, left_alone, "{stage:?} became {after:?}");
    }
}

#[test]
fn a_boot_that_failed_is_retried_on_the_other_sled() {
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Netbooting);
    let first = bench.state.boot(boot).unwrap().sled;
    bench.now = bench.state.boot(boot).unwrap().deadline.0;
    bench.step(Event::Tick);
    let second = bench
        .state
        .boots()
        .find(|(_, row)| row.stage == BootStage::PoweringOn)
        .map(|(_, row)| row.sled);
    assert!(second.is_some_and(|second| second != first), "{second:?}");
}

#[test]
fn three_failures_in_a_row_quarantine_a_sled() {
    let mut bench = Bench::new();
    // Two that fail together are nobody's fault.
    let other = "sled-2".into();
    bench.step(Event::Lever(Lever::Drain { sled: other }));
    bench.deliver(1, JobAction::Queued, None);
    for _ in 0..40 {
        bench.now += 11 * 60_000;
        bench.step(Event::Tick);
        while bench.effect("power-off").is_some() {
            bench.settle("power-off", Outcome::PoweredOff(Ok(())));
        }
        bench.read_all(PowerReading::Off);
        bench.now += 3_000;
        bench.step(Event::Tick);
    }
    assert!(
        bench
            .state
            .sleds()
            .all(|(_, sled)| sled.quarantine.is_some() == (sled.name == "sled-1"))
    );
    assert!(
        bench
            .state
            .sleds()
            .all(|(_, sled)| matches!(sled.power, Power::Off { .. }))
    );
    assert_eq!(bench.state.receipt_head().0, 3);
}

#[test]
fn a_second_redeemer_ends_the_boot_at_each_stage() {
    for stage in &STAGES[2..] {
        let mut bench = Bench::new();
        let boot = bench.walk(stage);
        let reply = bench.say(boot, AgentKey([9; 32]), Bench::hello());
        assert!(matches!(reply, AgentReply::Refused(_)), "{stage:?}");
        assert!(
            matches!(bench.stage(boot), BootStage::PoweringOff { .. }),
            "{stage:?}"
        );
        let registered = matches!(stage, BootStage::Ordered | BootStage::Running);
        assert_eq!(
            bench.effect("delete-runner").is_some(),
            registered,
            "{stage:?}"
        );
        let sled = bench.state.boot(boot).unwrap().sled;
        let quarantined = bench
            .state
            .sleds()
            .any(|(id, row)| id == sled && row.quarantine.is_some());
        assert!(quarantined, "{stage:?}");
    }
}

#[test]
fn a_restart_voids_what_was_in_memory_only() {
    for stage in STAGES {
        let mut bench = Bench::new();
        let boot = bench.walk(&stage);
        bench.step(Event::Started);
        let expect = match stage {
            BootStage::Ordered => BootStage::Ready,
            other => other,
        };
        assert_eq!(bench.stage(boot), expect);
        let voided = bench.effect("delete-runner").is_some();
        assert_eq!(voided, expect == BootStage::Ready, "{expect:?}");
        assert!(
            bench.effect("mint").is_none(),
            "a name is deleted before another is minted"
        );
    }
}

#[test]
fn a_minting_that_lands_after_its_boot_is_deleted_by_its_outcome() {
    let mut bench = Bench::new();
    bench.walk(&BootStage::Ready);
    bench.deliver(1, JobAction::Completed, None);
    assert!(
        bench.effect("delete-runner").is_none(),
        "a delete could come first"
    );
    bench.settle("mint", Outcome::Minted(Ok(RunnerId(8))));
    let Some((_, Effect::DeleteRunner { id, .. })) = bench.effect("delete-runner") else {
        panic!("the runner is left");
    };
    assert_eq!(id, Some(RunnerId(8)));
}

#[test]
fn a_run_ends_in_a_receipt_and_a_free_sled() {
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Running);
    bench.deliver(1, JobAction::InProgress, Some(RunnerId(5)));
    let end = RunEnd {
        exit: RunExit::Code(0),
        elapsed_ms: 1,
        log_bytes: 0,
    };
    bench.say(boot, KEY, AgentMessage::Finished(end));
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::Ended);
    assert_eq!(bench.state.receipt_head().0, 1);
}
