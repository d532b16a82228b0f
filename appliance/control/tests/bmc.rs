//! What a sled's controller tells beside its power: settings and watts.

#[path = "support/bench.rs"]
mod bench;

use bench::Bench;
use messages::{Millis, PowerMeter, ReceiptRecord, SledId, decode};
use musher_control::{
    BmcFacts, BootStage, Event, JobAction, Lever, PowerAction, PowerFailure, PowerReading, Reply,
    TableId,
};

const SLED: SledId = SledId(1);

fn facts(user: &str) -> BmcFacts {
    let mut facts = BmcFacts::default();
    facts.note("user.02", user);
    facts
}

fn tell(bench: &mut Bench, result: Result<Option<BmcFacts>, PowerFailure>) {
    let generation = bench.state.generation(SLED).expect("it is there");
    bench.step(Event::FactsRead {
        sled: SLED,
        generation,
        result,
    });
}

fn lever(bench: &mut Bench, lever: Lever) {
    assert_eq!(bench.step(Event::Lever(lever)), Reply::Done(Ok(())));
}

/// A rack in which only the first sled serves.
fn one_sled() -> Bench {
    let mut bench = Bench::new();
    let sled = "sled-2".into();
    lever(&mut bench, Lever::Drain { sled });
    bench
}

/// The boot under way is turned off, and read as off.
fn turn_off(bench: &mut Bench) {
    let (sled, action, force) = ("sled-1".into(), PowerAction::Off, true);
    let off = Lever::Power {
        sled,
        action,
        force,
    };
    lever(bench, off);
    bench.settle("power-off", musher_control::Outcome::PoweredOff(Ok(())));
    bench.read_all(PowerReading::Off);
    bench.now += 10_000;
    bench.step(Event::Tick);
}

fn under_way(bench: &Bench) -> usize {
    let boots = bench.state.boots();
    boots.filter(|(_, boot)| boot.is_under_way()).count()
}

fn why_withheld(bench: &Bench) -> Option<String> {
    let status = bench.state.status(Millis(bench.now), 0);
    let sled = status.sleds.into_iter().find(|sled| sled.name == "sled-1");
    sled.filter(|sled| sled.state == "Quarantined")
        .and_then(|sled| sled.reason)
}

#[test]
fn no_boot_before_the_settings_were_read_again() {
    let mut bench = one_sled();
    tell(&mut bench, Ok(Some(facts("admin"))));
    bench.walk(&BootStage::Netbooting);
    turn_off(&mut bench);
    // Its job waits still, and says for what.
    assert_eq!(under_way(&bench), 0);
    let said = bench.state.explain(Millis(bench.now), 1);
    assert_eq!(said.map(|said| said.reason), Some("bmc-check"));
    let failure = PowerFailure {
        permanent: false,
        contradiction: false,
        message: "no answer".into(),
    };
    tell(&mut bench, Err(failure));
    assert_eq!(under_way(&bench), 0);
    tell(&mut bench, Ok(Some(facts("admin"))));
    assert_eq!(under_way(&bench), 1);
}

#[test]
fn a_sled_without_such_settings_waits_for_nothing() {
    let mut bench = one_sled();
    tell(&mut bench, Ok(None));
    bench.walk(&BootStage::Netbooting);
    turn_off(&mut bench);
    assert_eq!(under_way(&bench), 1);
}

#[test]
fn changed_settings_withhold_until_a_person_acts() {
    let mut bench = one_sled();
    tell(&mut bench, Ok(Some(facts("admin"))));
    bench.walk(&BootStage::Netbooting);
    // An answer to what was asked before this boot proves nothing about it.
    let generation = messages::Generation(0);
    turn_off(&mut bench);
    bench.step(Event::FactsRead {
        sled: SLED,
        generation,
        result: Ok(Some(facts("admin"))),
    });
    assert_eq!(under_way(&bench), 0);
    tell(&mut bench, Ok(Some(facts("evil"))));
    let reason = why_withheld(&bench).expect("it is withheld");
    assert!(
        reason.contains("user.02: was admin, is evil"),
        "it says what differs: {reason}"
    );
    // Released as it is, it is withheld again.
    lever(
        &mut bench,
        Lever::Drain {
            sled: "sled-1".into(),
        },
    );
    lever(
        &mut bench,
        Lever::Release {
            sled: "sled-1".into(),
        },
    );
    assert_eq!(why_withheld(&bench), None);
    tell(&mut bench, Ok(Some(facts("evil"))));
    assert!(why_withheld(&bench).is_some());
    // Adopted anew, it serves.
    lever(
        &mut bench,
        Lever::Resume {
            sled: "sled-1".into(),
        },
    );
    lever(
        &mut bench,
        Lever::Readopt {
            sled: "sled-1".into(),
        },
    );
    tell(&mut bench, Ok(Some(facts("evil"))));
    assert_eq!(why_withheld(&bench), None);
    assert_eq!(under_way(&bench), 1);
}

#[test]
fn readings_become_joules() {
    let mut bench = one_sled();
    tell(&mut bench, Ok(None));
    let boot = bench.walk(&BootStage::Netbooting);
    let draw = |bench: &mut Bench, ms: u64, watts: u32| {
        bench.now += ms;
        bench.step(Event::WattsRead {
            sled: SLED,
            watts,
            meter: PowerMeter::Dcmi,
        });
    };
    draw(&mut bench, 0, 100);
    draw(&mut bench, 10_000, 300);
    draw(&mut bench, 10_000, 300);
    // Nothing is made up for the time in which nothing was read.
    draw(&mut bench, 300_000, 300);
    draw(&mut bench, 1_000, 500);
    bench.deliver(1, JobAction::Completed, None);
    turn_off(&mut bench);
    let energy = bench.state.boot(boot).and_then(|row| row.energy);
    let energy = energy.expect("it was measured");
    assert_eq!(energy.joules, 2_000 + 3_000 + 400);
    assert_eq!(energy.measured_ms, 21_000);
    let mut receipts = bench
        .written
        .iter()
        .filter(|row| row.table == TableId::Receipts);
    let body = receipts.next_back().and_then(|row| row.value.clone());
    let record: ReceiptRecord = decode(&body.expect("a receipt was made")).expect("it reads");
    assert_eq!(record.energy(), Some(energy));
    assert_eq!(record.receipt().map(|receipt| receipt.boot), Some(boot));
}
