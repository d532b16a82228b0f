//! Packets on a real socket; a program, and lines through the holder's bench.

use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::{Arc, Mutex};

use embedded_hal::digital::InputPin as _;

use super::*;
use crate::power::command::tests::Program;
use crate::power::gpio::bench::{Bench, BenchPin, Direct};
use crate::power::gpio::held::{HeldConfig, HeldKind, HeldSwitch, SenseOnly};
use crate::power::gpio::wire::Order;
use crate::power::sense::Active;
use crate::power::switch::PowerSwitch;
use crate::power::{Checked, Driver, PowerErrorKind};

/// A machine that a packet wakes.
#[derive(Clone)]
struct Machine(Arc<Mutex<State>>);

struct State {
    card: StdSocket,
    packets: u32,
    /// The packet that wakes it, counted from the start.
    wakes_at: u32,
}

impl Machine {
    fn new(wakes_at: u32) -> Self {
        let card = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        card.set_nonblocking(true).unwrap();
        Self(Arc::new(Mutex::new(State {
            card,
            packets: 0,
            wakes_at,
        })))
    }

    fn address(&self) -> SocketAddrV4 {
        match self.0.lock().unwrap().card.local_addr().unwrap() {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(address) => panic!("{address}"),
        }
    }

    /// Packets so far, each of which must be for this machine.
    fn packets(&self) -> u32 {
        let mut expect = vec![0xff; 6];
        expect.extend([0x52, 0x54, 0x00, 0x77, 0x00, 0x01].repeat(16));
        let mut state = self.0.lock().unwrap();
        let mut buffer = [0; 200];
        while let Ok(length) = state.card.recv(&mut buffer) {
            assert_eq!(&buffer[..length], expect);
            state.packets += 1;
        }
        state.packets
    }

    /// Sleeps until the next packet.
    fn turns_off(&self) {
        let packets = self.packets();
        self.0.lock().unwrap().wakes_at = packets + 1;
    }

    /// What its power LED shows. Without supply it hears nothing.
    fn is_lit(&self, supply: Option<&BenchPin>) -> bool {
        if supply.is_some_and(|relay| relay.clone().is_low().unwrap()) {
            self.turns_off();
        }
        self.packets() >= self.0.lock().unwrap().wakes_at
    }

    fn driver(&self, off: Plain) -> WakeDriver {
        let config = WakeConfig {
            mac: "52:54:00:77:00:01".parse().unwrap(),
            broadcast: self.address(),
        };
        WakeDriver::new(&config, off, "sled-01".to_owned())
    }

    fn checked(&self, off: impl PowerSwitch + Send + 'static) -> Checked {
        let off = Plain::local(off, Some("sled-01".to_owned()), Duration::ZERO);
        let mut driver = Driver::Wake(Box::new(self.driver(off)));
        driver.claim(7);
        Checked::new(driver)
    }

    /// A relay in its supply, and a sense line on its power LED.
    fn behind_relay(&self, bench: &Bench) -> (Direct, Checked) {
        let (machine, relay) = (self.clone(), bench.pin("relay").clone());
        let led = bench.pin("sense");
        led.follows(move || machine.is_lit(Some(&relay)));
        let config = HeldConfig {
            kind: HeldKind::Supply,
            line: "relay".to_owned(),
            active: Active::High,
            sense: Some(("sense".to_owned(), Active::High)),
            settle_ms: 5000,
        };
        let holder = Direct::new(bench);
        let switch = HeldSwitch::new(config, holder.clone(), bench.clock.clone());
        (holder, self.checked(switch))
    }
}

fn drive(high: bool) -> Order {
    let generation = 7;
    Order::Drive { high, generation }
}

/// In real time, as a program lives in it.
#[tokio::test]
async fn the_supply_comes_first_then_the_packet() {
    let (plug, machine) = (Program::plug("on", ""), Machine::new(1));
    let driver = machine.driver(Plain::command(plug.patient()));
    assert_eq!(driver.set(Power::On).await.unwrap(), Switched::AlreadySo);
    assert_eq!(driver.set(Power::Off).await.unwrap(), Switched::Commanded);
    assert_eq!(driver.read().await.unwrap(), PowerReading::Off);
    assert_eq!(machine.packets(), 0);
    assert_eq!(driver.set(Power::On).await.unwrap(), Switched::Commanded);
    assert_eq!(machine.packets(), COPIES);
    let mut verbs = plug.verbs();
    verbs.retain(|verb| verb != "status");
    assert_eq!(verbs, ["off", "on"]);
}

/// Behind a closed relay the machine sleeps, and that is no failure: what counts
/// is what it does when the packet has come.
#[tokio::test(start_paused = true)]
async fn a_relay_gives_the_supply_and_the_packet_wakes() {
    let (bench, machine) = (Bench::new(false), Machine::new(1));
    let (holder, mut driver) = machine.behind_relay(&bench);
    assert_eq!(driver.read().await.unwrap(), PowerReading::Off);
    assert_eq!(driver.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(driver.power_on().await.unwrap(), Switched::AlreadySo);
    assert_eq!(machine.packets(), COPIES);
    // It turned itself off: that is proved, though the relay is closed, and
    // the next packet wakes it.
    machine.turns_off();
    assert_eq!(driver.read().await.unwrap(), PowerReading::Off);
    assert_eq!(driver.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(machine.packets(), 2 * COPIES);
    assert_eq!(holder.orders(), [drive(true)], "the relay moves once");
    assert_eq!(driver.power_off().await.unwrap(), Switched::Commanded);
    assert_eq!(driver.read().await.unwrap(), PowerReading::Off);
    assert_eq!(holder.orders(), [drive(true), drive(false)]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_missed_its_packets_gets_more() {
    let (bench, machine) = (Bench::new(false), Machine::new(1));
    let (holder, mut driver) = machine.behind_relay(&bench);
    let relay = bench.pin("relay").clone();
    // The first command's packets come while it cannot hear yet.
    let deaf = machine.clone();
    bench.pin("sense").follows(move || {
        if deaf.packets() <= COPIES {
            deaf.turns_off();
        }
        deaf.is_lit(Some(&relay))
    });
    assert_eq!(driver.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(machine.packets(), 2 * COPIES);
    assert_eq!(holder.orders(), [drive(true)], "the relay moves once");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_no_packet_wakes_is_reported() {
    let (bench, machine) = (Bench::new(false), Machine::new(1));
    let (_, mut driver) = machine.behind_relay(&bench);
    bench.pin("sense").follows(|| false);
    let error = driver.power_on().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Contradiction, "{error}");
    let start = format!(
        "sled sled-01, Wake-on-LAN to {}: told to switch on 2 times",
        machine.address()
    );
    assert!(error.to_string().starts_with(&start), "{error}");
    assert_eq!(machine.packets(), 2 * COPIES);
}

#[tokio::test(start_paused = true)]
async fn a_sense_line_alone_proves_off_and_cuts_nothing() {
    let (bench, machine) = (Bench::new(false), Machine::new(2));
    let led = machine.clone();
    bench.pin("sense").follows(move || led.is_lit(None));
    let line = ("sense".to_owned(), Active::High);
    let sense = SenseOnly::new(line, Direct::new(&bench), bench.clock.clone());
    let mut driver = machine.checked(sense);
    assert_eq!(driver.power_off().await.unwrap(), Switched::AlreadySo);
    assert_eq!(driver.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(driver.power_on().await.unwrap(), Switched::AlreadySo);
    assert_eq!(machine.packets(), COPIES);
    let error = driver.power_off().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Unsupported, "{error}");
    let text = error.to_string();
    let parts = [
        "sled sled-01",
        "nothing can cut it",
        "line sense",
        "by hand",
    ];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    // It turned itself off, or a person did.
    machine.turns_off();
    assert_eq!(driver.power_off().await.unwrap(), Switched::AlreadySo);
    assert_eq!(driver.read().await.unwrap(), PowerReading::Off);
}
