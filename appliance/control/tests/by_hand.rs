//! What people turn on and off by hand, and runners that nobody needs.

#[path = "support/bench.rs"]
mod bench;

use bench::Bench;
use messages::{BootId, HubId, Millis, RunnerId};
use musher_control::{
    BootStage, Effect, Event, InventoryError, Lever, ListedRunner, Outcome, PowerAction,
    PowerReading, PoweredOn, Reply, Scope,
};

fn act(bench: &mut Bench, action: PowerAction, force: bool) -> Result<(), InventoryError> {
    let sled = "sled-1".into();
    match bench.step(Event::Lever(Lever::Power {
        sled,
        action,
        force,
    })) {
        Reply::Done(result) => result,
        other => panic!("{other:?}"),
    }
}

fn maintained() -> Bench {
    let mut bench = Bench::new();
    for n in 1..=2 {
        let sled = format!("sled-{n}");
        let reason = "fan".into();
        bench.step(Event::Lever(Lever::Maintain { sled, reason }));
    }
    bench
}

fn state_of(bench: &Bench, name: &str) -> &'static str {
    let status = bench.state.status(Millis(bench.now), 0);
    let sled = status.sleds.into_iter().find(|sled| sled.name == name);
    sled.map(|sled| sled.state).expect("it is in the rack")
}

fn turned_on(bench: &mut Bench) {
    let done = PoweredOn {
        at: Millis(bench.now),
        edge: true,
        override_confirmed: false,
    };
    bench.settle("power-on-by-hand", Outcome::PoweredOn(Ok(done)));
}

#[test]
fn only_what_is_out_of_service_is_turned_on() {
    let mut bench = Bench::new();
    let name = || "sled-1".to_owned();
    for action in [PowerAction::On, PowerAction::Cycle] {
        assert_eq!(
            act(&mut bench, action, true),
            Err(InventoryError::InService(name()))
        );
    }
    let mut bench = maintained();
    assert_eq!(act(&mut bench, PowerAction::On, false), Ok(()));
    turned_on(&mut bench);
    bench.read_all(PowerReading::On);
    // In service again it still gets nothing until it was off.
    bench.step(Event::Lever(Lever::Resume { sled: name() }));
    assert_eq!(state_of(&bench, "sled-1"), "Unknown");
    assert_eq!(act(&mut bench, PowerAction::Off, false), Ok(()));
    bench.settle("power-off", Outcome::PoweredOff(Ok(())));
    bench.read_all(PowerReading::Off);
    assert_eq!(state_of(&bench, "sled-1"), "Off");
}

#[test]
fn a_cycle_waits_for_the_proof_of_off() {
    let mut bench = maintained();
    bench.read_all(PowerReading::On);
    assert_eq!(act(&mut bench, PowerAction::Cycle, false), Ok(()));
    bench.settle("power-off", Outcome::PoweredOff(Ok(())));
    assert_eq!(bench.effect("power-on-by-hand"), None);
    bench.now += 13_000;
    bench.read_all(PowerReading::Off);
    assert!(bench.effect("power-on-by-hand").is_some());
    turned_on(&mut bench);
    // Once.
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.effect("power-on-by-hand"), None);
}

#[test]
fn a_runner_is_cut_only_when_a_person_insists() {
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Running);
    assert_eq!(
        act(&mut bench, PowerAction::Off, false),
        Err(InventoryError::Runs("sled-1".into()))
    );
    assert_eq!(bench.stage(boot), BootStage::Running);
    assert_eq!(act(&mut bench, PowerAction::Off, true), Ok(()));
    assert_eq!(bench.stage(boot), BootStage::PoweringOff { cuts: 1 });
    // One that has no runner yet goes without.
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Netbooting);
    assert_eq!(act(&mut bench, PowerAction::Off, false), Ok(()));
    assert_eq!(bench.stage(boot), BootStage::PoweringOff { cuts: 1 });
}

fn runner_of(bench: &Bench, boot: BootId) -> String {
    let row = bench.state.boot(boot).and_then(|row| row.runner.clone());
    row.expect("it has a runner").name
}

/// Ids of the runners that a listing has deleted.
fn orphans(bench: &mut Bench, listed: &[(u64, &str, bool, bool)]) -> Vec<u64> {
    let runner = |(id, name, online, busy): &(u64, &str, bool, bool)| ListedRunner {
        id: RunnerId(*id),
        name: (*name).into(),
        online: *online,
        busy: *busy,
    };
    bench.step(Event::RunnersListed {
        hub: HubId(1),
        scope: Scope::Org("octo".into()),
        runners: listed.iter().map(runner).collect(),
    });
    let due = bench.state.due_effects(Millis(u64::MAX));
    due.filter_map(|(_, effect)| match effect {
        Effect::DeleteRunner { id: Some(id), .. } => Some(id.0),
        _ => None,
    })
    .collect()
}

#[test]
fn runners_that_nobody_needs_are_deleted() {
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Running);
    let name = runner_of(&bench, boot);
    let earlier = format!("{}9", name.strip_suffix('1').expect("the first try"));
    let other = name.replace("01010101", "02020202");
    let later = name.replace("-1-1", "-900-1");
    let table: &[(&str, bool, bool, bool)] = &[
        // Name, online, busy: is it an orphan?
        (&name, false, false, false),
        (&name, true, true, false),
        (&earlier, true, false, false),
        (&earlier, false, true, false),
        (&earlier, false, false, true),
        // Of a time that this state does not know.
        (&later, true, false, false),
        (&later, false, false, true),
        // Not ours.
        (&other, false, false, false),
        ("build-box", false, false, false),
    ];
    for (name, online, busy, orphan) in table {
        let mut bench = bench.clone();
        let deleted = orphans(&mut bench, &[(77, name, *online, *busy)]);
        let expected: &[u64] = if *orphan { &[77] } else { &[] };
        assert_eq!(deleted, expected, "{name} online {online} busy {busy}");
        // Once.
        assert_eq!(
            orphans(&mut bench, &[(77, name, *online, *busy)]),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_runner_whose_sled_was_proved_off_is_deleted_though_it_seems_online() {
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Running);
    let name = runner_of(&bench, boot);
    assert_eq!(act(&mut bench, PowerAction::Off, true), Ok(()));
    let listed = [(5, name.as_str(), true, false)];
    // Its deletion is under way: nothing is added.
    assert_eq!(orphans(&mut bench, &listed), [5]);
    bench.settle("delete-runner", Outcome::Deleted(Ok(true)));
    assert_eq!(orphans(&mut bench, &listed), [0; 0]);
    bench.settle("power-off", Outcome::PoweredOff(Ok(())));
    bench.now += 13_000;
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::Ended);
    assert_eq!(orphans(&mut bench, &listed), [5]);
}
