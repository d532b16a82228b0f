//! A small rack whose day is decided by the core itself: what the daemon
//! really writes, transaction by transaction.

use std::{fs, os::unix::fs::PermissionsExt as _};

use control::{
    BootStage, Change, Effect, Effects, Event, Hook, Lever, Limits, Outcome, PowerReading,
    PoweredOn, Reply, Source, State, step,
};
use messages::{
    AgentKey, AgentMessage, ApplianceId, BootId, DeliveryKey, Digest, EffectId, Firmware, HubId,
    Millis, RunEnd, RunExit, RunnerId, Scratch, SignatureBytes, SignedReceipt, WipeReport,
};
use ring::signature::Ed25519KeyPair;
use serde_json::json;

use crate::{
    config::{load_config, load_inventory},
    intake::job_report,
    payload::{self, Payload},
};

pub(super) const APPLIANCE: ApplianceId = ApplianceId([0xa1; 4]);

const AGENT: AgentKey = AgentKey([5; 32]);

const CONFIG: &str = r#"
[server]
webhook_listen = "127.0.0.1:8400"
admin_listen = "127.0.0.1:8443"
state_dir = "state"

[[github]]
name = "main"
app_id = 123456
private_key_path = "secret"
webhook_secret_path = "secret"

[[github]]
name = "second"
app_id = 123457
private_key_path = "secret"
webhook_secret_path = "secret"
"#;

const INVENTORY: &str = r#"
[[image]]
name = "debian-12"
kernel = "vmlinuz"
initramfs = "initramfs"
rootfs = "rootfs"

[[pool]]
name = "linux-x64"
github = "main"
scope = { org = "octo-org" }
labels = ["self-hosted", "linux", "x64"]
image = "debian-12"

[[pool]]
name = "large"
github = "second"
scope = { repo = "octo-org/app" }
labels = ["self-hosted", "linux", "large"]
image = "debian-12"
"#;

pub(super) fn limits() -> Limits {
    Limits::default()
}

/// The key that signs the receipts.
pub(super) fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

/// Two pools with two sleds each, as an operator declares them.
fn inventory() -> control::Inventory {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    for name in ["secret", "vmlinuz", "initramfs", "rootfs"] {
        write(name, name);
    }
    let sleds = ["linux-x64", "linux-x64", "large", "large"];
    let sleds = sleds.iter().enumerate().map(|(number, pool)| {
        format!(
            "[[sled]]\nname = \"sled-0{number}\"\npools = [\"{pool}\"]\nmac = \"52:54:00:77:00:0{number}\"\n\
             power = {{ driver = \"ipmi\", address = \"10.78.0.1{number}:623\", username = \"musher\", password_path = \"secret\" }}\n"
        )
    });
    let text = sleds.fold(INVENTORY.to_owned(), |text, sled| text + &sled);
    let config = load_config(&write("musher.toml", CONFIG)).unwrap();
    load_inventory(&config, &write("inventory.toml", &text))
        .unwrap()
        .inventory
}

/// The core, its time, and what it would have committed.
struct Rack {
    state: State,
    now: u64,
    deliveries: u128,
    commits: Vec<Vec<Change>>,
    /// The receipts made, by sequence number less one.
    bodies: Vec<Vec<u8>>,
}

impl Rack {
    fn new() -> Self {
        let mut rack = Self {
            state: State::new(APPLIANCE, limits()),
            now: 1_790_000_000_000,
            deliveries: 0,
            commits: Vec::new(),
            bodies: Vec::new(),
        };
        rack.step(Event::Started);
        rack.step(Event::Inventory(inventory()));
        rack.all_read_off();
        rack.now += 60_000;
        rack
    }

    fn step(&mut self, event: Event) -> Reply {
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&(self.commits.len() as u64).to_be_bytes());
        let mut fx = Effects::new(entropy);
        step(&mut self.state, Millis(self.now), event, &mut fx);
        let changes = self.state.drain_changes();
        for change in &changes {
            if change.table == control::TableId::Receipts {
                self.bodies.extend(change.value.clone());
            }
        }
        if !changes.is_empty() {
            self.commits.push(changes);
        }
        self.now += 50;
        fx.reply
    }

    fn all_read_off(&mut self) {
        let sleds: Vec<_> = self.state.sleds().map(|(id, _)| id).collect();
        for sled in sleds {
            self.step(Event::PowerRead {
                sled,
                generation: self.state.generation(sled).unwrap(),
                result: Ok(PowerReading::Off),
            });
        }
    }

    fn deliver(&mut self, hub: HubId, action: &str, job: u64, label: &str) {
        self.deliveries += 1;
        let runner = (action != "queued")
            .then(|| self.state.boot(self.boot())?.runner.clone())
            .flatten();
        let body = json!({
            "action": action,
            "workflow_job": {
                "id": job, "run_id": 7, "run_attempt": 1, "name": format!("build {job}"),
                "workflow_name": "CI", "labels": ["self-hosted", "linux", label],
                "runner_id": runner.as_ref().and_then(|runner| runner.id).map(|id| id.0),
                "runner_name": runner.as_ref().map(|runner| &runner.name),
                "conclusion": (action == "completed").then_some("success"),
            },
            "repository": {
                "full_name": "octo-org/app", "private": true, "owner": { "login": "octo-org" },
            },
        });
        let parsed = payload::parse("workflow_job", body.to_string().as_bytes()).unwrap();
        let Payload::WorkflowJob(report) = parsed else {
            panic!("{parsed:?}");
        };
        self.step(Event::Delivery {
            key: DeliveryKey(self.deliveries),
            hub,
            source: Source::Tunnel,
            hook: Hook::Job(Box::new(job_report(&report))),
        });
        self.step(Event::Tick);
    }

    /// The effect of this name that was asked for last.
    fn effect(&self, name: &str) -> (EffectId, Effect) {
        let due = self.state.due_effects(Millis(u64::MAX));
        let (id, effect) = due
            .filter(|(_, effect)| effect.name() == name)
            .last()
            .unwrap_or_else(|| panic!("no {name} is wanted"));
        (id, effect.clone())
    }

    fn settle(&mut self, name: &str, outcome: Outcome) {
        let (id, _) = self.effect(name);
        self.step(Event::Outcome { id, outcome });
    }

    /// The boot that was begun last.
    fn boot(&self) -> BootId {
        self.state.boots().last().expect("a boot was begun").0
    }

    fn stage(&self, boot: BootId) -> BootStage {
        self.state.boot(boot).expect("it is kept").stage.clone()
    }

    fn say(&mut self, boot: BootId, message: AgentMessage) {
        let ticket = self.state.boot(boot).expect("it is kept").ticket;
        self.step(Event::Agent {
            ticket,
            key: AGENT,
            message,
        });
    }

    /// Goes from stage to stage until this one.
    fn walk(&mut self, boot: BootId, to: &BootStage) {
        while self.stage(boot) != *to {
            self.now += 5_000;
            match self.stage(boot) {
                BootStage::PoweringOn => {
                    let done = PoweredOn {
                        at: Millis(self.now),
                        edge: true,
                        override_confirmed: true,
                    };
                    self.settle("power-on", Outcome::PoweredOn(Ok(done)));
                }
                BootStage::Netbooting => self.say(boot, hello()),
                BootStage::Wiping => self.say(boot, wiped()),
                BootStage::Ready => {
                    self.settle("mint", Outcome::Minted(Ok(Some(RunnerId(20 + boot.0)))));
                }
                BootStage::Ordered => {
                    let runner = self.state.boot(boot).and_then(|row| row.runner.clone());
                    let runner_name = runner.map(|runner| runner.name).unwrap_or_default();
                    self.say(boot, AgentMessage::Accepted { runner_name });
                }
                other => panic!("{other:?} leads nowhere"),
            }
        }
    }

    /// A whole boot, to its receipt.
    fn run(&mut self, hub: HubId, job: u64, label: &str) {
        self.deliver(hub, "queued", job, label);
        let boot = self.boot();
        self.walk(boot, &BootStage::Running);
        self.deliver(hub, "in_progress", job, label);
        self.deliver(hub, "completed", job, label);
        self.say(
            boot,
            AgentMessage::Finished(RunEnd {
                exit: RunExit::Code(0),
                elapsed_ms: 61_000,
                log_bytes: 812,
            }),
        );
        let sled = self.state.boot(boot).expect("it is kept").sled;
        self.now += 13_000;
        self.step(Event::PowerRead {
            sled,
            generation: self.state.generation(sled).unwrap(),
            result: Ok(PowerReading::Off),
        });
        assert_eq!(self.stage(boot), BootStage::Ended);
        self.now += 60_000;
    }

    fn sign(&mut self) {
        let (id, effect) = self.effect("sign-receipt");
        let Effect::SignReceipt { sequence, digest } = effect else {
            panic!("{effect:?}");
        };
        let body = &self.bodies[usize::try_from(sequence).unwrap() - 1];
        assert_eq!(digest, SignedReceipt::chain_hash(body));
        let signature = signer().sign(&SignedReceipt::signed_bytes(body));
        let signature = SignatureBytes(signature.as_ref().try_into().unwrap());
        self.step(Event::Outcome {
            id,
            outcome: Outcome::Signed(signature),
        });
    }
}

fn hello() -> AgentMessage {
    AgentMessage::Hello(messages::Inventory {
        agent_version: "0.1.0".into(),
        kernel: "6.12".into(),
        firmware: Firmware::Bios,
        cpus: 8,
        memory_mib: 16_384,
        product: "bench".into(),
        disks: Vec::new(),
        uptime_ms: 4_000,
    })
}

fn wiped() -> AgentMessage {
    AgentMessage::Wiped(WipeReport {
        disks: Vec::new(),
        scratch: Scratch {
            cipher: "aes-xts-plain64".into(),
            disk: None,
            bytes: 1 << 30,
        },
        elapsed_ms: 900,
    })
}

/// A day of the rack, as transactions. At its end there are two Apps, two
/// pools and four sleds, one of them quarantined by a person; jobs 1 and 2 have
/// run, each boot with its receipt, of which the first is signed; job 3 runs;
/// job 4 has its sled netbooting; job 5 waits; effects wait in the outbox.
pub(super) fn commits() -> Vec<Vec<Change>> {
    let (main, second) = (HubId(1), HubId(2));
    let mut rack = Rack::new();
    rack.run(main, 1, "x64");
    rack.sign();
    rack.run(second, 2, "large");
    rack.deliver(main, "queued", 3, "x64");
    let boot = rack.boot();
    rack.walk(boot, &BootStage::Running);
    rack.deliver(main, "in_progress", 3, "x64");
    rack.deliver(main, "queued", 4, "x64");
    let boot = rack.boot();
    rack.walk(boot, &BootStage::Netbooting);
    for sled in ["sled-02", "sled-03"] {
        rack.step(Event::Lever(Lever::Quarantine {
            sled: sled.into(),
            reason: "its fan is loud".into(),
        }));
    }
    rack.step(Event::Lever(Lever::Release {
        sled: "sled-03".into(),
    }));
    rack.deliver(main, "queued", 5, "x64");
    assert_eq!(rack.state.receipt_head().0, 2);
    assert_ne!(rack.state.receipt_head().1, Digest([0; 32]));
    rack.commits
}
