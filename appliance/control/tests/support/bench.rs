//! A small rack by hand, for tests that walk a boot step by step.
#![allow(dead_code, reason = "each test program uses a part of it")]

use messages::{
    AgentKey, AgentMessage, ApplianceId, Assurance, BootId, DeliveryKey, Digest, EffectId,
    Firmware, HubId, ImageRef, Mac, Millis, RunnerId, Scratch, WipeReport,
};
use musher_control::{
    AgedReceipts, AgentReply, BootImage, BootStage, Change, DeliveryResult, Effect, Effects, Event,
    Hook, Inventory, JobAction, JobReport, Labels, Limits, Outcome, PoolPolicy, PoolSpec,
    PowerReading, PoweredOn, Reply, Scope, SledSpec, State, step,
};

/// One pool of two sleds, and whatever a test does to them.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) state: State,
    pub(crate) now: u64,
    deliveries: u128,
    /// Every change so far.
    pub(crate) written: Vec<Change>,
    /// Receipts that the last step asked for.
    pub(crate) aged: Option<AgedReceipts>,
}

pub(crate) const KEY: AgentKey = AgentKey([1; 32]);

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// Its pool, as declared.
    pub(crate) fn pool() -> PoolSpec {
        let image = BootImage {
            kernel: Digest([1; 32]),
            initramfs: Digest([2; 32]),
            rootfs: ImageRef {
                name: "debian-12".into(),
                digest: Digest([3; 32]),
                bytes: 1,
            },
        };
        PoolSpec {
            name: "linux".into(),
            github: "main".into(),
            scope: Scope::Org("octo".into()),
            labels: vec!["linux".into()],
            image,
            max_runtime_s: 6 * 3600,
            min_assurance: Assurance::Claimed,
            policy: PoolPolicy::default(),
            group: None,
            public: Vec::new(),
            acceptance: None,
        }
    }

    /// With a pool that differs.
    pub(crate) fn with(change: impl FnOnce(&mut PoolSpec)) -> Self {
        Self::within(Limits::default(), change)
    }

    /// With other limits.
    pub(crate) fn within(limits: Limits, change: impl FnOnce(&mut PoolSpec)) -> Self {
        let mut bench = Self {
            state: State::new(ApplianceId([1; 4]), limits),
            now: 1_000_000,
            deliveries: 0,
            written: Vec::new(),
            aged: None,
        };
        bench.step(Event::Started);
        let mut pool = Self::pool();
        change(&mut pool);
        bench.declare(pool);
        bench.read_all(PowerReading::Off);
        bench.now += 10_000;
        bench
    }

    /// Two sleds, and their pool as it is declared from now on.
    pub(crate) fn declare(&mut self, pool: PoolSpec) {
        let sled = |n: u8| SledSpec {
            name: format!("sled-{n}"),
            mac: Mac([0, 0, 0, 0, 0, n]),
            pools: vec!["linux".into()],
            circuit: None,
            watts: 0,
        };
        self.step(Event::Inventory(Inventory {
            hubs: vec!["main".into()],
            pools: vec![pool],
            circuits: Vec::new(),
            sleds: vec![sled(1), sled(2)],
        }));
    }

    pub(crate) fn step(&mut self, event: Event) -> Reply {
        let mut entropy = [7; 32];
        entropy[..8].copy_from_slice(&self.now.to_be_bytes());
        let mut fx = Effects::new(entropy);
        step(&mut self.state, Millis(self.now), event, &mut fx);
        self.written.extend(self.state.drain_changes());
        self.aged = fx.aged_receipts;
        fx.reply
    }

    pub(crate) fn read_all(&mut self, reading: PowerReading) {
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

    pub(crate) fn deliver(
        &mut self,
        number: u64,
        action: JobAction,
        runner: Option<RunnerId>,
    ) -> DeliveryResult {
        self.deliver_as(number, action, runner, |_| {})
    }

    /// A delivery that differs.
    pub(crate) fn deliver_as(
        &mut self,
        number: u64,
        action: JobAction,
        runner: Option<RunnerId>,
        change: impl FnOnce(&mut JobReport),
    ) -> DeliveryResult {
        let mut report = Self::report(number, action, runner);
        change(&mut report);
        self.say_hook(Hook::Job(Box::new(report)))
    }

    /// A delivery of any kind.
    pub(crate) fn say_hook(&mut self, hook: Hook) -> DeliveryResult {
        self.deliveries += 1;
        let reply = self.step(Event::Delivery {
            key: DeliveryKey(self.deliveries),
            hub: HubId(1),
            source: musher_control::Source::Tunnel,
            hook,
        });
        match reply {
            Reply::Delivery(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// What GitHub says of a job of the pool.
    pub(crate) fn report(number: u64, action: JobAction, runner: Option<RunnerId>) -> JobReport {
        JobReport {
            number,
            action,
            repository: "octo/app".into(),
            name: "build".into(),
            workflow: "ci".into(),
            run_id: 1,
            run_attempt: 1,
            labels: Labels::new(["linux"]),
            group: None,
            public: false,
            ran_ms: None,
            runner: runner.map(|id| (id, "".into())),
            page: None,
            conclusion: (action == JobAction::Completed).then(|| "success".into()),
        }
    }

    pub(crate) fn effect(&self, name: &str) -> Option<(EffectId, Effect)> {
        self.state
            .due_effects(Millis(u64::MAX))
            .find(|(_, effect)| effect.name() == name)
            .map(|(id, effect)| (id, effect.clone()))
    }

    pub(crate) fn settle(&mut self, name: &str, outcome: Outcome) {
        let (id, _) = self
            .effect(name)
            .unwrap_or_else(|| panic!("no {name} is pending"));
        self.step(Event::Outcome { id, outcome });
    }

    pub(crate) fn live(&self) -> BootId {
        self.state
            .boots()
            .find(|(_, boot)| boot.stage != BootStage::Ended)
            .map(|(id, _)| id)
            .expect("a boot goes on")
    }

    pub(crate) fn stage(&self, boot: BootId) -> BootStage {
        self.state.boot(boot).expect("it is kept").stage.clone()
    }

    pub(crate) fn say(&mut self, boot: BootId, key: AgentKey, message: AgentMessage) -> AgentReply {
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

    pub(crate) fn powered_on(&mut self) {
        let done = PoweredOn {
            at: Millis(self.now),
            edge: true,
            override_confirmed: true,
        };
        self.settle("power-on", Outcome::PoweredOn(Ok(done)));
        self.now += 20_000;
    }

    pub(crate) fn hello() -> AgentMessage {
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
    pub(crate) fn walk(&mut self, to: &BootStage) -> BootId {
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
                BootStage::Ready => self.settle("mint", Outcome::Minted(Ok(Some(RunnerId(5))))),
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
