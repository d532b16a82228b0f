use super::super::bench::{Bench, BenchClock, Direct};
use super::*;
use crate::power::switch::{Error as _, ErrorKind};

const LENGTHS: PressLengths = PressLengths {
    on_ms: 200,
    off_ms: 6000,
};

struct Rig {
    bench: Bench,
    holder: Direct,
}

impl Rig {
    fn new() -> Self {
        let bench = Bench::new(false);
        let holder = Direct::new(&bench);
        Self { bench, holder }
    }

    /// A daemon's life: a switch of claim `generation` that knows nothing.
    fn switch(&self, line: &str, sensed: bool, generation: u64) -> HeldSwitch<Direct, BenchClock> {
        let (kind, active) = match line {
            "button" => (HeldKind::Button(LENGTHS), Active::Low),
            _ => (HeldKind::Relay, Active::High),
        };
        let config = HeldConfig {
            kind,
            line: line.to_owned(),
            active,
            sense: sensed.then(|| ("sense".to_owned(), Active::High)),
            settle_ms: 5000,
        };
        let (holder, clock) = (self.holder.clone(), self.bench.clock.clone());
        let mut switch = HeldSwitch::new(config, holder, clock);
        switch.claim(generation);
        switch
    }
}

#[test]
fn a_relay_is_driven_once_by_any_number_of_daemons() {
    let rig = Rig::new();
    rig.bench.pin("sense").shows(&[(300, true), (9000, false)]);
    let on = |generation| rig.switch("relay", true, generation).set_power(Power::On);
    assert_eq!(on(3).unwrap(), Switched::Commanded);
    assert_eq!(rig.bench.clock.now_ms(), 300, "it waits for the sense line");
    for _ in 0..3 {
        assert_eq!(on(3).unwrap(), Switched::AlreadySo);
    }
    assert_eq!(rig.bench.pin("relay").edges(), [(0, true)]);
    let mut old = rig.switch("relay", true, 2);
    let error = old.set_power(Power::Off).unwrap_err();
    assert!(
        matches!(
            &error,
            HeldError::Refused {
                refusal: Refusal::Stale { newest: 3, .. },
                ..
            }
        ),
        "{error}"
    );
    rig.bench.clock.advance_to(8800);
    let mut off = rig.switch("relay", true, 3);
    assert_eq!(off.set_power(Power::Off).unwrap(), Switched::Commanded);
    assert_eq!(off.sense().unwrap(), Sensed::Off);
    assert_eq!(rig.bench.pin("relay").edges(), [(0, true), (8800, false)]);
}

#[test]
fn a_sense_line_that_does_not_follow_is_an_error() {
    let rig = Rig::new();
    rig.bench.pin("sense").shows(&[(0, false)]);
    let mut switch = rig.switch("relay", true, 1);
    let error = switch.set_power(Power::On).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFollowed);
    let text = "line sense says that the sled is off 5000 ms after it was turned on";
    assert!(error.to_string().starts_with(text), "{error}");
    // Neither on nor off: no light, and the relay is closed.
    assert_eq!(switch.sense().unwrap(), Sensed::Dark);
}

#[test]
fn a_machine_that_turned_itself_off_is_off_once_its_relay_is_open() {
    let rig = Rig::new();
    // Its power LED: lit 300 ms after the edge, dark at 9000 ms by itself.
    let led = [(300, true), (9000, false), (12_400, true)];
    rig.bench.pin("sense").shows(&led);
    let life = |generation| rig.switch("relay", true, generation);
    assert_eq!(life(1).sense().unwrap(), Sensed::Off, "never driven");
    assert_eq!(life(1).set_power(Power::On).unwrap(), Switched::Commanded);
    assert_eq!(life(1).sense().unwrap(), Sensed::On);
    rig.bench.clock.advance_to(10_000);
    assert_eq!(life(1).sense().unwrap(), Sensed::Dark, "closed");
    rig.bench.clock.advance_to(11_000);
    assert_eq!(life(1).set_power(Power::Off).unwrap(), Switched::Commanded);
    assert_eq!(life(1).sense().unwrap(), Sensed::Off);
    rig.bench.clock.advance_to(12_000);
    assert_eq!(life(2).set_power(Power::On).unwrap(), Switched::Commanded);
    assert_eq!(life(2).sense().unwrap(), Sensed::On);
    let edges = [(0, true), (11_000, false), (12_000, true)];
    assert_eq!(rig.bench.pin("relay").edges(), edges);
}

#[test]
fn without_sense_nothing_is_ever_known() {
    let rig = Rig::new();
    for line in ["relay", "button"] {
        let mut switch = rig.switch(line, false, 1);
        assert_eq!(switch.set_power(Power::On).unwrap(), Switched::Commanded);
        assert_eq!(switch.sense().unwrap(), Sensed::Unknown);
        // Yet a wish is carried out once, whoever repeats it.
        let mut again = rig.switch(line, false, 1);
        assert_eq!(again.set_power(Power::On).unwrap(), Switched::AlreadySo);
    }
    assert_eq!(rig.holder.orders().len(), 2);
}

#[test]
fn a_daemon_that_starts_after_a_press_waits_for_its_effect() {
    let rig = Rig::new();
    // The press ends at 200 ms; the sled shows power only at 1200 ms.
    rig.bench.pin("sense").shows(&[(0, false), (1200, true)]);
    let press = Order::Press {
        length_ms: 200,
        generation: 4,
    };
    rig.holder.ask("button", press).unwrap();
    let mut next_life = rig.switch("button", true, 4);
    assert_eq!(next_life.set_power(Power::On).unwrap(), Switched::AlreadySo);
    assert_eq!(rig.holder.orders(), [press]);
    assert_eq!(rig.bench.pin("button").edges(), [(0, false), (200, true)]);
}

#[test]
fn what_the_last_press_is_still_doing_is_waited_for() {
    let rig = Rig::new();
    // Forced off at 6000 ms, but the rail falls only at 7000 ms: a wish for on
    // must not take the old level for its own success.
    rig.bench
        .pin("sense")
        .shows(&[(0, true), (7000, false), (7500, true)]);
    let press = Order::Press {
        length_ms: 6000,
        generation: 4,
    };
    rig.holder.ask("button", press).unwrap();
    let mut next_life = rig.switch("button", true, 5);
    assert_eq!(next_life.set_power(Power::On).unwrap(), Switched::Commanded);
    let edges = [(0, false), (6000, true), (7000, false), (7200, true)];
    assert_eq!(rig.bench.pin("button").edges(), edges);
}

#[test]
fn a_press_that_did_not_take_is_made_again() {
    let rig = Rig::new();
    rig.bench.pin("sense").shows(&[(0, false), (6000, true)]);
    let on = || rig.switch("button", true, 4).set_power(Power::On);
    assert_eq!(on().unwrap_err().kind(), ErrorKind::NotFollowed);
    assert_eq!(on().unwrap(), Switched::Commanded);
    let edges = [(0, false), (200, true), (5200, false), (5400, true)];
    assert_eq!(rig.bench.pin("button").edges(), edges);
}

#[test]
fn a_running_sled_is_not_pressed_to_turn_on() {
    let rig = Rig::new();
    rig.bench.pin("sense").shows(&[(0, true), (6500, false)]);
    let mut switch = rig.switch("button", true, 4);
    assert_eq!(switch.set_power(Power::On).unwrap(), Switched::AlreadySo);
    assert_eq!(switch.set_power(Power::Off).unwrap(), Switched::Commanded);
    assert_eq!(switch.set_power(Power::Off).unwrap(), Switched::AlreadySo);
    assert_eq!(rig.bench.pin("button").edges(), [(0, false), (6000, true)]);
}

#[test]
fn a_missing_holder_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let socket = HolderSocket(folder.path().join("gpio.sock"));
    let error = socket.ask("pwr-01", Order::Look).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Holder);
    assert!(error.to_string().contains("musher gpio-hold"), "{error}");
}
