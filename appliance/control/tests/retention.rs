//! What leaves, and what is said of it.

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, KEY};
use messages::{
    AgentMessage, Digest, Epoch, EpochCause, Millis, ReceiptRecord, RunEnd, RunExit, RunnerId,
    SignedReceipt, decode,
};
use musher_control::{
    AgedReceipts, BootStage, Event, JobAction, Lever, Limits, PowerReading, Reply, TableId,
};

const DAY: u64 = 24 * 60 * 60 * 1000;

/// One job from its delivery to its receipt.
fn serve(bench: &mut Bench, number: u64) {
    bench.deliver(number, JobAction::Queued, None);
    let boot = bench.walk(&BootStage::Running);
    bench.deliver(number, JobAction::InProgress, Some(RunnerId(5)));
    let end = RunEnd {
        exit: RunExit::Code(0),
        elapsed_ms: 1,
        log_bytes: 1,
    };
    bench.say(boot, KEY, AgentMessage::Finished(end));
    bench.deliver(number, JobAction::Completed, Some(RunnerId(5)));
    bench.now += 13_000;
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::Ended);
    bench.now += 60_000;
}

fn tick(bench: &mut Bench, after_ms: u64) -> Option<AgedReceipts> {
    bench.now += after_ms;
    bench.step(Event::Tick);
    bench.aged
}

fn export(bench: &mut Bench, through: u64) {
    let lever = Lever::ReceiptsExported { through };
    assert_eq!(bench.step(Event::Lever(lever)), Reply::Done(Ok(())));
}

fn receipt_keys(bench: &Bench) -> Vec<u64> {
    let mut kept = std::collections::BTreeSet::new();
    for change in &bench.written {
        if change.table == TableId::Receipts {
            let sequence = u64::from_be_bytes(change.key.as_slice().try_into().unwrap());
            match change.value {
                Some(_) => kept.insert(sequence),
                None => kept.remove(&sequence),
            };
        }
    }
    kept.into_iter().collect()
}

fn body(bench: &Bench, sequence: u64) -> Vec<u8> {
    let key = sequence.to_be_bytes();
    let written = bench.written.iter().rev();
    let mut of = written.filter(|change| change.table == TableId::Receipts && change.key == key);
    let found = of.find_map(|change| change.value.clone());
    found.expect("it was written")
}

#[test]
fn receipts_are_kept_unless_told_and_copied() {
    let mut bench = Bench::new();
    serve(&mut bench, 1);
    serve(&mut bench, 2);
    export(&mut bench, 2);
    assert_eq!(tick(&mut bench, 400 * DAY), None, "nobody set a bound");

    let limits = Limits {
        receipts: 1,
        ..Limits::default()
    };
    let mut bench = Bench::within(limits, |_| {});
    for number in 1..=3 {
        serve(&mut bench, number);
    }
    assert_eq!(tick(&mut bench, 2 * DAY), None, "nobody has a copy");
    export(&mut bench, 1);
    let asked = tick(&mut bench, 2 * DAY).expect("one may go");
    assert_eq!((asked.first, asked.surplus, asked.at_most), (1, 2, 1));
    // The newest stays whatever was copied.
    export(&mut bench, 99);
    let asked = tick(&mut bench, 2 * DAY).expect("two may go");
    assert_eq!((asked.surplus, asked.at_most), (2, 2));
    assert_eq!(tick(&mut bench, 1000), None, "looked for once a day");
}

#[test]
fn a_removal_is_on_the_record() {
    let limits = Limits {
        receipts_ms: 30 * DAY,
        ..Limits::default()
    };
    let mut bench = Bench::within(limits, |_| {});
    for number in 1..=3 {
        serve(&mut bench, number);
    }
    export(&mut bench, 3);
    let asked = tick(&mut bench, 31 * DAY).expect("some may go");
    assert_eq!(asked.made_before, Millis(bench.now - 30 * DAY));
    let hash = SignedReceipt::chain_hash(&body(&bench, 2));
    let last = SignedReceipt::chain_hash(&body(&bench, 3));
    bench.step(Event::ReceiptsAged { through: 2, hash });
    assert_eq!(receipt_keys(&bench), [3, 4]);
    let ReceiptRecord::Epoch(epoch) = decode(&body(&bench, 4)).unwrap() else {
        panic!("an epoch record")
    };
    assert_eq!(
        epoch,
        Epoch {
            sequence: 4,
            previous: last,
            appliance: messages::ApplianceId([1; 4]),
            made_at: Millis(bench.now),
            cause: EpochCause::Retention,
            first: 3,
            before: hash,
        }
    );
    assert!(bench.effect("sign-receipt").is_some());
    // The chain goes on behind it.
    serve(&mut bench, 4);
    let ReceiptRecord::V1(next) = decode(&body(&bench, 5)).unwrap() else {
        panic!("a receipt")
    };
    assert_eq!(next.previous, SignedReceipt::chain_hash(&body(&bench, 4)));
    // What was not asked for is not removed.
    bench.step(Event::ReceiptsAged {
        through: 5,
        hash: Digest([0; 32]),
    });
    assert_eq!(receipt_keys(&bench), [3, 4, 5]);
}

#[test]
fn history_leaves_by_age_and_number() {
    let check = |limits: Limits, jobs: usize| {
        let mut bench = Bench::within(limits, |_| {});
        for number in 1..=3 {
            serve(&mut bench, number);
        }
        tick(&mut bench, 10 * DAY);
        serve(&mut bench, 4);
        tick(&mut bench, 1000);
        assert_eq!(bench.state.jobs().count(), jobs);
        let ended = |stage: &BootStage| *stage == BootStage::Ended;
        let boots = bench.state.boots().filter(|(_, boot)| ended(&boot.stage));
        assert_eq!(boots.count(), jobs);
    };
    check(Limits::default(), 4);
    check(
        Limits {
            history: 2,
            ..Limits::default()
        },
        2,
    );
    check(
        Limits {
            history_ms: 5 * DAY,
            ..Limits::default()
        },
        1,
    );
}
