//! Frozen bytes of what crosses the wire or is signed, in its first version.
//! The file is only ever added to: an agent of an earlier release must finish
//! under a newer appliance, and a receipt must verify for ever.

use core::fmt::Debug;

use musher_messages::{
    AgentFrame, AgentKey, AgentMessage, ApplianceFrame, ApplianceId, Assignment, Assurance, BootId,
    BootPlan, Digest, Energy, Envelope, Epoch, EpochCause, Generation, Identity, ImageRef,
    Instruction, JobRef, Mac, Millis, Observed, Order, Outcome, PowerMeter, Receipt, ReceiptRecord,
    Registration, Reported, RunEnd, RunExit, RunnerId, Secret, SignatureBytes, Stage, TicketToken,
    decode, encode,
};
use serde::{Serialize, de::DeserializeOwned};

const GOLDEN: &str = include_str!("golden/frames.txt");

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let bytes = encode(value);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let frozen = GOLDEN
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(of, _)| *of == name)
        .map(|(_, hex)| hex);
    assert_eq!(frozen, Some(hex.as_str()), "{name}");
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(value), "{name}");
}

#[test]
fn agent_frames() {
    let end = RunEnd {
        exit: RunExit::Code(7),
        elapsed_ms: 300,
        log_bytes: 9,
    };
    let failed = AgentMessage::Failed {
        stage: Stage::Image,
        reason: "digest".into(),
    };
    let accepted = AgentMessage::Accepted {
        runner_name: "musher-1".into(),
    };
    let log = AgentMessage::Log {
        offset: 300,
        bytes: vec![1, 2],
    };
    check("agent-poll", &AgentFrame::V1(AgentMessage::Poll));
    check("agent-accepted", &AgentFrame::V1(accepted));
    check("agent-log", &AgentFrame::V1(log));
    check(
        "agent-finished",
        &AgentFrame::V1(AgentMessage::Finished(end)),
    );
    check("agent-failed", &AgentFrame::V1(failed));
    let envelope = Envelope {
        ticket: TicketToken([1; 16]),
        key: AgentKey([2; 32]),
        sequence: 3,
        body: vec![4],
        signature: SignatureBytes([5; 64]),
    };
    check("envelope", &envelope);
}

#[test]
fn appliance_frames() {
    let order = Order {
        runner_name: "musher-1".into(),
        jit_config: Secret::new("jit".into()),
        image: ImageRef {
            name: "debian-12".into(),
            digest: Digest([3; 32]),
            bytes: 300,
        },
        max_runtime_s: 3600,
    };
    let plan = BootPlan {
        boot: BootId(1),
        sled: "sled-01".into(),
        log_limit_bytes: 300,
    };
    let off = Instruction::PowerOff {
        reason: "over".into(),
    };
    check("welcome", &ApplianceFrame::V1(Instruction::Welcome(plan)));
    check("continue", &ApplianceFrame::V1(Instruction::Continue));
    check("wait", &ApplianceFrame::V1(Instruction::Wait));
    check("hold", &ApplianceFrame::V1(Instruction::Hold));
    check("order", &ApplianceFrame::V1(Instruction::Order(order)));
    check("discard", &ApplianceFrame::V1(Instruction::Discard));
    check("power-off", &ApplianceFrame::V1(off));
    let by_token = Assignment {
        runner_name: "musher-1".into(),
        identity: Identity::Token(Registration {
            url: "https://ghes/octo".into(),
            token: Secret::new("token".into()),
            labels: vec!["linux".into()],
            group: Some("fast".into()),
        }),
        image: ImageRef {
            name: "debian-12".into(),
            digest: Digest([3; 32]),
            bytes: 300,
        },
        max_runtime_s: 3600,
    };
    let by_token = Instruction::from(by_token);
    check("order-by-token", &ApplianceFrame::V1(by_token));
}

#[test]
fn receipts() {
    let receipt = Receipt {
        sequence: 1,
        previous: Digest([0; 32]),
        appliance: ApplianceId([1; 4]),
        made_at: Millis(300),
        sled: "sled-01".into(),
        mac: Mac([1, 2, 3, 4, 5, 6]),
        boot: BootId(1),
        generation: Generation(2),
        pool: "linux".into(),
        assurance: Assurance::NetbootForced,
        outcome: Outcome::Ran,
        runner_name: Some("musher-1".into()),
        runner_id: Some(RunnerId(9)),
        job: Some(JobRef {
            number: 77,
            repository: "octo/app".into(),
            name: "build".into(),
            conclusion: Some("success".into()),
        }),
        observed: Observed {
            power_on_at: Some(Millis(1)),
            boot_override_confirmed: true,
            dhcp_at: Some(Millis(2)),
            kernel_at: None,
            hello_at: None,
            wiped_at: None,
            order_at: None,
            off_at: Some(Millis(3)),
            power_cut: false,
            kernel_digest: Digest([1; 32]),
            initramfs_digest: Digest([2; 32]),
            image_digest: Digest([3; 32]),
        },
        reported: Reported::default(),
    };
    check("receipt", &ReceiptRecord::V1(receipt.clone()));
    let energy = Energy {
        joules: 5000,
        measured_ms: 60_000,
        meter: PowerMeter::Redfish,
    };
    check("receipt-metered", &ReceiptRecord::Metered(receipt, energy));
    let epoch = Epoch {
        sequence: 9,
        previous: Digest([8; 32]),
        appliance: ApplianceId([1, 2, 3, 4]),
        made_at: Millis(7),
        cause: EpochCause::Retention,
        first: 5,
        before: Digest([4; 32]),
    };
    check("epoch", &ReceiptRecord::Epoch(epoch));
}
